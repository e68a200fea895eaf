/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A monitor for programs: QMP on a character device. Main thread, machine lock held. */
#ifndef MONITOR_QMP_H
#define MONITOR_QMP_H

#include <stdbool.h>

struct chardev;
struct error;
struct machine;
struct monitor_catalog;
struct qmp;

/* Takes over the chardev, also when it fails. The machine outlives it. */
struct qmp *qmp_new(struct machine *m, struct chardev *c, bool pretty, const struct monitor_catalog *catalog, struct error *err);
void qmp_free(struct qmp *q);                        /* NULL is allowed */

#endif
