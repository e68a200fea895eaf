/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * As in QEMU: the first of a kind goes out at once; what comes within the second after it waits, and each that comes later takes the place
 * of the one that waits. Events about different devices ("id", "qom-path" of their data) are different kinds.
 */
#include "monitor/qmp_event.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/loop.h"
#include "monitor/qmp_schema.h"

enum { KINDS = 32 };

struct kind {
    const struct qmp_event *event;     /* NULL: free */
    char about[64];
    bool waits;
    json_t *data;                      /* of the one that waits */
    int64_t until_ns;
};
struct qmp_throttle {
    void (*fn)(void *opaque, const char *name, json_t *data);
    void *opaque;
    struct timer *timer;
    struct kind kind[KINDS];
};

static const struct qmp_event *event_find(const char *name)
{
    for (unsigned i = 0; i < qmp_event_count; i++)
        if (!strcmp(qmp_events[i].name, name)) return &qmp_events[i];
    return NULL;
}

static const char *about(json_t *data)
{
    const char *id = json_string_value(json_object_get(data, "id")), *path = json_string_value(json_object_get(data, "qom-path"));

    return id ? id : path ? path : "";
}

static void kind_free(struct kind *k)
{
    json_decref(k->data);
    *k = (struct kind){ 0 };
}

/* The kind's entry, or a new one; NULL: all are taken. */
static struct kind *kind_find(struct qmp_throttle *t, const struct qmp_event *e, const char *id)
{
    struct kind *unused = NULL;

    for (unsigned i = 0; i < KINDS; i++) {
        struct kind *k = &t->kind[i];

        if (!k->event) unused = k;
        else if (k->event == e && !strncmp(k->about, id, sizeof(k->about) - 1)) return k;
    }
    if (unused) {
        unused->event = e;
        strncpy(unused->about, id, sizeof(unused->about) - 1);
    }
    return unused;
}

static void rearm(struct qmp_throttle *t)
{
    int64_t first = INT64_MAX;

    for (unsigned i = 0; i < KINDS; i++)
        if (t->kind[i].event) first = MIN(first, t->kind[i].until_ns);
    if (first != INT64_MAX) timer_arm_ns(t->timer, first);
    else timer_disarm(t->timer);
}

static void second_over(void *opaque)
{
    struct qmp_throttle *t = opaque;
    int64_t now = clock_host_ns();

    for (unsigned i = 0; i < KINDS; i++) {
        struct kind *k = &t->kind[i];

        if (!k->event || k->until_ns > now) continue;
        if (!k->waits) {
            kind_free(k);
            continue;
        }
        t->fn(t->opaque, k->event->name, k->data);
        json_decref(k->data);
        k->data = NULL;
        k->waits = false;
        k->until_ns = now + NS_PER_SECOND;
    }
    rearm(t);
}

void qmp_throttle_event(struct qmp_throttle *t, const char *name, json_t *data)
{
    const struct qmp_event *e = event_find(name);
    struct kind *k;

    if (!e) return;                    /* not in the schema: no client could know it */
    k = e->is_throttled ? kind_find(t, e, about(data)) : NULL;
    if (k && k->until_ns) {
        json_decref(k->data);
        k->data = json_incref(data);
        k->waits = true;
        return;
    }
    if (e->is_throttled && !k) return;
    t->fn(t->opaque, name, data);
    if (!k) return;
    k->until_ns = clock_host_ns() + NS_PER_SECOND;
    rearm(t);
}

void qmp_throttle_clear(struct qmp_throttle *t)
{
    for (unsigned i = 0; i < KINDS; i++) kind_free(&t->kind[i]);
    timer_disarm(t->timer);
}

struct qmp_throttle *qmp_throttle_new(void (*fn)(void *opaque, const char *name, json_t *data), void *opaque)
{
    struct qmp_throttle *t = calloc(1, sizeof(*t));

    if (!t || !(t->timer = timer_new(TIMER_HOST, second_over, t))) {
        free(t);
        return NULL;
    }
    t->fn = fn;
    t->opaque = opaque;
    return t;
}

void qmp_throttle_free(struct qmp_throttle *t)
{
    if (!t) return;
    qmp_throttle_clear(t);
    timer_free(t->timer);
    free(t);
}
