/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Monitors: the human one, commands on a character device, and QMP. Main thread, machine lock held, for all functions. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

struct error;
struct machine;
struct monitors;

/* All that the machine's configuration asks for. NULL with *err. The machine outlives them. */
struct monitors *monitors_new(struct machine *m, struct error *err);
void monitors_free(struct monitors *all);            /* NULL is allowed */
/* As the command 'commit all'. The number of drives that had something, or -1 with *err. */
int monitor_commit_all(struct machine *m, struct error *err);

#endif
