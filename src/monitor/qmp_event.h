/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lets events through, those that a guest can cause without end at most once a second. */
#ifndef MONITOR_QMP_EVENT_H
#define MONITOR_QMP_EVENT_H

#include <jansson.h>

struct qmp_throttle;

/* fn gets what comes through. NULL: out of memory. */
struct qmp_throttle *qmp_throttle_new(void (*fn)(void *opaque, const char *name, json_t *data), void *opaque);
void qmp_throttle_free(struct qmp_throttle *t);              /* NULL is allowed */
void qmp_throttle_event(struct qmp_throttle *t, const char *name, json_t *data);
void qmp_throttle_clear(struct qmp_throttle *t);             /* what waits is forgotten */

#endif
