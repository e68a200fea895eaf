/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Under the peer's name the line is as its own would be, so that what a script takes out of it is the version that it knows; ours follows. */
#include "tool/version.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"

static const struct { const char *called, *tool, *line; } names[] = {
    { "qemu-kvm", "ospite", "QEMU emulator version" },
    { "kvm", "ospite", "QEMU emulator version" },
    { "qemu-system-x86_64", "ospite", "QEMU emulator version" },
    { "qemu-system-i386", "ospite", "QEMU emulator version" },
    { "qemu-img", "ospite-img", "qemu-img version" },
    { "qemu-nbd", "ospite-nbd", "qemu-nbd" },
};

void version_print(const char *tool)
{
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i].called, program_invocation_short_name) || strcmp(names[i].tool, tool)) continue;
        printf("%s " QEMU_VERSION " (%s " OSPITE_VERSION ")\n", names[i].line, tool);
        return;
    }
    printf("%s " OSPITE_VERSION "\n", tool);
}
