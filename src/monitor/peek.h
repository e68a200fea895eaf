/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers and page tables can only be read while the machine stands: it is stopped for a moment where it runs. */
#ifndef MONITOR_PEEK_H
#define MONITOR_PEEK_H

#include <stdbool.h>

struct machine;

/* Returns whether it ran, to be handed to peek_end. */
bool peek_begin(struct machine *m);
void peek_end(struct machine *m, bool was_running);
/* The machine stands for such a moment only: nobody else need know. */
bool peek_is_on(void);

#endif
