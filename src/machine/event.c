/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A list of listeners. Whoever has news calls, nobody keeps them: who comes later asks for the state. */
#include "machine/event.h"

#include <stdlib.h>

#include "base/bits.h"
#include "machine/machine_private.h"

void machine_event(struct machine *m, const char *name, json_t *data)
{
    for (unsigned i = 0; i < ARRAY_SIZE(m->event_listener); i++)
        if (m->event_listener[i].fn) m->event_listener[i].fn(m->event_listener[i].opaque, name, data);
    json_decref(data);
}

void machine_event_listen(struct machine *m, machine_event_fn *fn, void *opaque)
{
    for (unsigned i = 0; i < ARRAY_SIZE(m->event_listener); i++) {
        if (m->event_listener[i].fn) continue;
        m->event_listener[i].fn = fn;
        m->event_listener[i].opaque = opaque;
        return;
    }
    abort();                                     /* there are as many as there can be monitors */
}

void machine_event_forget(struct machine *m, machine_event_fn *fn, void *opaque)
{
    for (unsigned i = 0; i < ARRAY_SIZE(m->event_listener); i++)
        if (m->event_listener[i].fn == fn && m->event_listener[i].opaque == opaque) m->event_listener[i].fn = NULL;
}
