/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Monitors: the human one, commands on a character device, and QMP. Main thread, machine lock held, for all functions. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include <stdbool.h>

struct error;
struct machine;
struct monitors;

/* What the command line knows, which clients of QMP ask for: names by number, NULL behind the last. */
struct monitor_catalog {
    const char *(*device)(unsigned i);
    const char *(*object)(unsigned i);
    const char *(*option)(unsigned i);
    /* The properties of a type (a device, object or machine), those of an option; false: there is no such. */
    bool (*properties)(const char *type, void (*tell)(void *opaque, const char *name), void *opaque);
    bool (*parameters)(const char *option, void (*tell)(void *opaque, const char *name), void *opaque);
};
/* All that the machine's configuration asks for. NULL with *err. The machine outlives them; catalog may be NULL. */
struct monitors *monitors_new(struct machine *m, const struct monitor_catalog *catalog, struct error *err);
void monitors_free(struct monitors *all);            /* NULL is allowed */
/* As the command 'commit all'. The number of drives that had something, or -1 with *err. */
int monitor_commit_all(struct machine *m, struct error *err);

#endif
