/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Announcements: switches shall learn where the machine's network cards are. As in QEMU each card sends a RARP frame, which any switch
 * understands, and a virtio card has its driver send what that knows (ARP, neighbour advertisements) if it knows how. A few times, since the first
 * ones may get lost in a switch that is learning: the first at once, the next ones by the clock.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "device/virtio/virtio_net.h"
#include "machine/pc_private.h"
#include "net/backend.h"

enum { ANNOUNCES_MAX = 16, NS_PER_MS = 1000000 };

struct pc_announce {
    struct pc_announce *next;
    struct machine *m;
    struct machine_announce how;
    char *id;
    char **names;                      /* of the cards, to a NULL; NULL: all */
    unsigned left;                     /* rounds */
    struct timer *timer;
};

static void nic_announce(struct machine_nic *n)
{
    net_announce(n->backend, n->mac);
    if (n->v) virtio_net_announce(n->v);
}

static bool is_named(char *const *names, const char *name)
{
    for (unsigned i = 0; names && names[i]; i++)
        if (!strcmp(names[i], name)) return true;
    return !names;
}

static void announce_free(struct pc_announce *a)
{
    for (unsigned i = 0; a->names && a->names[i]; i++) free(a->names[i]);
    free(a->names);
    free(a->id);
    if (a->timer) timer_free(a->timer);
    free(a);
}

static void drop(struct pc_announce *a)
{
    struct pc_announce **at = &a->m->announce;

    while (*at && *at != a) at = &(*at)->next;
    if (*at) *at = a->next;
    announce_free(a);
}

static void announce_round(void *opaque)
{
    struct pc_announce *a = opaque;
    struct machine *m = a->m;
    int64_t wait_ms = a->how.initial_ms + (int64_t)(a->how.rounds - a->left) * a->how.step_ms;

    for (unsigned i = 0; i < m->nic_count; i++)
        if (m->nic[i].backend && is_named(a->names, m->nic[i].name)) nic_announce(&m->nic[i]);
    if (--a->left) timer_arm_ns(a->timer, clock_host_ns() + MIN(wait_ms, a->how.max_ms) * NS_PER_MS);
    else drop(a);
}

static int names_check(const struct machine *m, const struct machine_announce *how, struct error *err)
{
    for (unsigned n = 0; how->names && n < how->name_count; n++) {
        unsigned i = 0;

        while (i < m->nic_count && (!m->nic[i].backend || strcmp(m->nic[i].name, how->names[n]))) i++;
        if (i == m->nic_count) return error_set(err, "there is no network card '%.100s'; 'info network' lists them", how->names[n]);
    }
    return 0;
}

static struct pc_announce *announce_new(struct machine *m, const struct machine_announce *how)
{
    struct pc_announce *a = calloc(1, sizeof(*a));
    bool complete;

    if (!a) return NULL;
    a->m = m;
    a->how = *how;
    a->left = how->rounds;
    a->id = strdup(how->id ? how->id : "");
    a->timer = timer_new(TIMER_HOST, announce_round, a);
    a->names = how->names ? calloc(how->name_count + 1, sizeof(*a->names)) : NULL;
    complete = a->id && a->timer && (a->names || !how->names);
    for (unsigned i = 0; complete && how->names && i < how->name_count; i++) complete = (a->names[i] = strdup(how->names[i]));
    if (complete) return a;
    announce_free(a);
    return NULL;
}

int machine_announce(struct machine *m, const struct machine_announce *how, struct error *err)
{
    const char *id = how->id ? how->id : "";
    struct pc_announce *a = m->announce;
    unsigned count = 0;

    if (names_check(m, how, err) < 0) return -1;
    while (a && strcmp(a->id, id)) a = a->next;
    if (a) drop(a);
    if (!how->rounds) return 0;
    for (a = m->announce; a; a = a->next) count++;
    if (count == ANNOUNCES_MAX) return error_set(err, "%d announcements are under way; wait for one, or end it with rounds 0", ANNOUNCES_MAX);
    if (!(a = announce_new(m, how))) return error_set(err, "no memory for an announcement");
    a->next = m->announce;
    m->announce = a;
    announce_round(a);
    return 0;
}

void pc_announces_end(struct machine *m)
{
    while (m->announce) drop(m->announce);
}
