/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What happens to a machine, for those who watch it: monitors' clients. Names and data are those of events in src/monitor/qmp.schema. */
#ifndef MACHINE_EVENT_H
#define MACHINE_EVENT_H

#include <jansson.h>

struct machine;

typedef void machine_event_fn(void *opaque, const char *name, json_t *data);

/* Tells all who listen. data: a reference, which is taken, or NULL. Any thread, with the machine lock held. */
void machine_event(struct machine *m, const char *name, json_t *data);
/* Both in the main thread. fn borrows data, and must neither listen nor forget from inside the call. */
void machine_event_listen(struct machine *m, machine_event_fn *fn, void *opaque);
void machine_event_forget(struct machine *m, machine_event_fn *fn, void *opaque);

#endif
