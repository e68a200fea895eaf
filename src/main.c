/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The multi-call binary: which tool was meant, and its exit status. Everything else lies in src/tool. */
#include <string.h>

#include "base/bits.h"
#include "tool/doctor.h"
#include "tool/img/img.h"
#include "tool/ksm.h"
#include "tool/mount.h"
#include "tool/nbd.h"
#include "tool/vm_run.h"

static const struct tool {
    const char *name, *old_name;    /* first argument; what the peer's tool is called, if it has one */
    int (*run)(int argc, char **argv);
} tools[] = {
    { "img", "qemu-img", img_tool_run },
    { "nbd", "qemu-nbd", nbd_tool_run },
    { "doctor", NULL, doctor_tool_run },
    { "ksm", NULL, ksm_tool_run },
    { "mount", NULL, mount_tool_run },
    { "umount", NULL, umount_tool_run },
};

int main(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL, *called = slash ? slash + 1 : argc > 0 ? argv[0] : "";

    for (unsigned i = 0; i < ARRAY_SIZE(tools); i++) {
        if (tools[i].old_name && !strcmp(called, tools[i].old_name)) return tools[i].run(argc, argv);
        if (argc > 1 && !strcmp(argv[1], tools[i].name)) return tools[i].run(argc - 1, argv + 1);
    }
    return vm_run(argc, argv);
}
