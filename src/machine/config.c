/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a machine is like when nothing is asked for. */
#include "machine/config.h"

#include <string.h>

void machine_config_defaults(struct machine_config *c)
{
    memset(c, 0, sizeof(*c));
    c->machine = "pc";
    c->accel = ACCEL_DEFAULT;
    c->ram_bytes = 128ull << 20;
    c->ram.mergeable = true;
    c->cpus = 1;
    c->topology = (struct cpuid_topology){ 1, 1, 1, 1 };
    c->boot_menu_timeout_ms = -1;
    c->boot_retry_ms = -1;
    c->isa_debug_exit_port = 0x501;
    c->has_vga = c->has_hpet = c->has_acpi = true;
    c->vga.vram_bytes = 16ull << 20;
    c->vga.devfn = -1;
    c->mem_merge = true;
    c->rtc_base = RTC_UTC;
}
