/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One CPU's registers in qemu's layout. */
#ifndef MONITOR_REGISTERS_PRINT_H
#define MONITOR_REGISTERS_PRINT_H

#include "monitor/monitor_private.h"

/* a20: whether address line 20 is let through, which is the board's, not the CPU's. */
void registers_print(struct monitor *mon, const struct x86_state *s, bool a20);

#endif
