/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The human monitor: commands on a character device. Main thread, machine lock held, for all functions. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

struct error;
struct machine;
struct monitor;

/* spec is a chardev's text. NULL with *err. The machine outlives it. */
struct monitor *monitor_new(struct machine *m, const char *spec, struct error *err);
/* As the command 'commit all'. The number of drives that had something, or -1 with *err. */
int monitor_commit_all(struct machine *m, struct error *err);
void monitor_free(struct monitor *mon);              /* NULL is allowed */

#endif
