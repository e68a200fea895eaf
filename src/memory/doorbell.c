/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Doorbells: registers that are only rung. They belong to a range and lie where it does, so the list that an engine gets is made anew whenever the
 * view changes or a doorbell comes or goes; one whose range is off, cut off or hidden there is not in it.
 */
#include <stdlib.h>

#include "memory/map_private.h"

/* Is this byte of the range what the guest sees at its address? */
static bool is_seen(const struct map_view *v, const struct memory_doorbell *d)
{
    gpa_t address = d->range->start + d->offset;
    size_t low = 0, high = v->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (v->range[middle].start <= address) low = middle + 1;
        else high = middle;
    }
    return low && v->owner[low - 1] == d->range && address - v->range[low - 1].start < v->range[low - 1].size;
}

void map_doorbells_tell(struct memory_map *m)
{
    const struct map_view *v = m->view;
    struct memory_bell *seen;
    size_t count = 0;

    if (!m->doorbell_listener.fn) return;
    seen = malloc((m->doorbells + 1) * sizeof(*seen));
    if (!seen) abort();
    for (unsigned i = 0; i < m->doorbells; i++) {
        const struct memory_doorbell *d = &m->doorbell[i];

        if (is_seen(v, d)) seen[count++] = (struct memory_bell){ d->range->start + d->offset, d->fd, d->value, d->size };
    }
    m->doorbell_listener.fn(m->doorbell_listener.opaque, seen, count);
    free(seen);
}

void memory_map_listen_doorbells(struct memory_map *m, memory_doorbells_fn *fn, void *opaque)
{
    m->doorbell_listener = (struct doorbell_listener){ fn, opaque };
    map_doorbells_tell(m);
}

bool memory_range_may_ring(const struct memory_range *r) { return r->map->doorbell_listener.fn; }

void memory_doorbell_add(struct memory_range *r, uint64_t offset, unsigned size, int64_t value, int fd)
{
    struct memory_map *m = r->map;

    m->doorbell = realloc(m->doorbell, (m->doorbells + 1) * sizeof(*m->doorbell));
    if (!m->doorbell) abort();
    m->doorbell[m->doorbells++] = (struct memory_doorbell){ r, offset, value, size, fd };
    map_doorbells_tell(m);
}

/* fd -1: all of the range. */
void memory_doorbell_remove(struct memory_range *r, int fd)
{
    struct memory_map *m = r->map;
    unsigned kept = 0, before = m->doorbells;

    for (unsigned i = 0; i < before; i++)
        if (m->doorbell[i].range != r || (fd >= 0 && m->doorbell[i].fd != fd)) m->doorbell[kept++] = m->doorbell[i];
    m->doorbells = kept;
    if (kept != before) map_doorbells_tell(m);
}
