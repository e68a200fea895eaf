/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory map: a list of ranges, and the flat view that is computed from it.
 *
 * The view is made from all borders of all enabled ranges: between two neighbouring borders one range wins, the one
 * of the highest priority and among equals the one added last. A new view replaces the old one by one atomic store.
 * Readers announce themselves in one of a few counters (striped, so that vCPUs do not share a cache line); an old
 * view is freed as soon as every counter has been seen at zero after the swap, which a reader that still uses it
 * would have prevented. Until then it waits on the list of retired views.
 */
#include "memory/map.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "memory/map_private.h"

static atomic_uint next_stripe;
static _Thread_local unsigned my_stripe;               /* 0: not given yet, else the number plus one */

static atomic_uint *reader_counter(struct memory_map *m)
{
    if (!my_stripe) my_stripe = atomic_fetch_add(&next_stripe, 1) % MAP_STRIPES + 1;
    return &m->stripe[my_stripe - 1].readers;
}

static void *must_allocate(size_t size)
{
    void *p = calloc(1, size);
    if (!p) abort();                                   /* a few kilobytes: the host is beyond help */
    return p;
}

/* ---- building the view ---- */

static int compare_borders(const void *a, const void *b)
{
    const gpa_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static struct memory_range *winner_at(struct memory_map *m, gpa_t address)
{
    struct memory_range *best = NULL;

    for (struct memory_range *r = m->ranges; r; r = r->next) {
        if (!r->enabled || address < r->start || address - r->start >= r->size) continue;
        if (!best || r->priority > best->priority || (r->priority == best->priority && r->serial > best->serial))
            best = r;
    }
    return best;
}

static void view_append(struct map_view *v, const struct memory_range *r, gpa_t start, uint64_t size)
{
    uint64_t offset = start - r->start;
    bool is_memory = r->hva && !r->registers;
    struct flat_range *last = v->count ? &v->range[v->count - 1] : NULL;

    if (last && v->owner[v->count - 1] == r && last->start + last->size == start) {
        last->size += size;
        return;
    }
    v->owner[v->count] = r;
    v->range[v->count++] = (struct flat_range){
        .start = start, .size = size, .ops = r->ops, .opaque = r->opaque, .offset = offset,
        .kind = is_memory ? (r->readonly ? RANGE_ROM : RANGE_RAM) : RANGE_IO, .hva = is_memory ? r->hva + offset : NULL,
    };
}

static struct map_view *view_build(struct memory_map *m)
{
    size_t ranges = 0, borders = 0, kept = 0;
    struct map_view *v;
    gpa_t *border;

    for (struct memory_range *r = m->ranges; r; r = r->next) ranges++;
    border = must_allocate((2 * ranges + 1) * sizeof *border);
    v = must_allocate(sizeof *v + (2 * ranges + 1) * sizeof v->range[0]);
    v->owner = must_allocate((2 * ranges + 1) * sizeof v->owner[0]);
    for (struct memory_range *r = m->ranges; r; r = r->next) {
        if (!r->enabled) continue;
        border[borders++] = r->start;
        border[borders++] = r->start + r->size;
    }
    qsort(border, borders, sizeof *border, compare_borders);
    for (size_t i = 0; i < borders; i++)
        if (!kept || border[kept - 1] != border[i]) border[kept++] = border[i];
    for (size_t i = 0; i + 1 < kept; i++) {
        struct memory_range *r = winner_at(m, border[i]);
        if (r) view_append(v, r, border[i], border[i + 1] - border[i]);
    }
    free(border);
    return v;
}

static void view_free(struct map_view *v)
{
    free(v->owner);
    free(v);
}

/* Frees retired views when no reader can hold one. */
static void views_reap(struct memory_map *m)
{
    for (unsigned i = 0; i < MAP_STRIPES; i++)
        if (atomic_load(&m->stripe[i].readers)) return;
    while (m->retired) {
        struct map_view *v = m->retired;
        m->retired = v->next;
        view_free(v);
    }
}

static void map_changed(struct memory_map *m)
{
    struct map_view *old, *v;

    if (m->depth) {
        m->pending = true;
        return;
    }
    m->pending = false;
    v = view_build(m);
    old = atomic_exchange(&m->view, v);
    old->next = m->retired;
    m->retired = old;
    for (unsigned i = 0; i < m->listeners; i++) m->listener[i].fn(m->listener[i].opaque, v->range, v->count);
    if (m->doorbells) map_doorbells_tell(m);
    views_reap(m);
}

/* ---- ranges ---- */

struct memory_map *memory_map_new(const char *name, uint64_t limit)
{
    struct memory_map *m = must_allocate(sizeof *m);

    m->name = name;
    m->limit = limit;
    atomic_init(&m->view, view_build(m));
    return m;
}

void memory_map_free(struct memory_map *m)
{
    if (!m) return;
    while (m->ranges) {
        struct memory_range *r = m->ranges;
        m->ranges = r->next;
        free(r);
    }
    while (m->retired) {
        struct map_view *v = m->retired;
        m->retired = v->next;
        view_free(v);
    }
    view_free(atomic_load(&m->view));
    free(m->doorbell);
    free(m->listener);
    free(m);
}

static struct memory_range *range_add(struct memory_map *m, struct memory_range values)
{
    struct memory_range *r = must_allocate(sizeof *r);

    *r = values;
    r->map = m;
    r->serial = m->next_serial++;
    r->enabled = true;
    r->wanted = r->size;
    r->next = m->ranges;
    m->ranges = r;
    memory_range_move(r, values.start);
    return r;
}

struct memory_range *memory_map_add_ram(struct memory_map *m, const char *name, gpa_t start, uint64_t size,
                                        void *hva, bool readonly, int priority)
{
    return range_add(m, (struct memory_range){ .name = name, .start = start, .size = size, .hva = hva,
                                               .readonly = readonly, .priority = priority });
}

struct memory_range *memory_map_add_io(struct memory_map *m, const char *name, gpa_t start, uint64_t size,
                                       const struct io_ops *ops, void *opaque, int priority)
{
    return range_add(m, (struct memory_range){ .name = name, .start = start, .size = size, .ops = ops,
                                               .opaque = opaque, .priority = priority });
}

struct memory_range *memory_map_add_flash(struct memory_map *m, const char *name, gpa_t start, uint64_t size, void *hva,
                                          const struct io_ops *ops, void *opaque, int priority)
{
    return range_add(m, (struct memory_range){ .name = name, .start = start, .size = size, .hva = hva, .readonly = true,
                                               .ops = ops, .opaque = opaque, .priority = priority });
}

void memory_range_set_registers(struct memory_range *r, bool registers)
{
    if (r->registers == registers) return;
    r->registers = registers;
    map_changed(r->map);
}

void memory_range_enable(struct memory_range *r, bool enabled)
{
    if (r->enabled == enabled) return;
    r->enabled = enabled;
    map_changed(r->map);
}

/* A guest may move a BAR anywhere: what lies beyond the last address is cut off. */
void memory_range_move(struct memory_range *r, gpa_t start)
{
    uint64_t limit = r->map->limit;

    r->start = start;
    r->size = start >= limit ? 0 : r->wanted > limit - start ? limit - start : r->wanted;
    map_changed(r->map);
}

void memory_range_set_ram(struct memory_range *r, void *hva)
{
    if (r->hva == hva) return;
    r->hva = hva;
    map_changed(r->map);
}

void memory_range_set_readonly(struct memory_range *r, bool readonly)
{
    if (r->readonly == readonly) return;
    r->readonly = readonly;
    map_changed(r->map);
}

void memory_range_remove(struct memory_range *r)
{
    struct memory_map *m = r->map;
    struct memory_range **link = &m->ranges;

    memory_doorbell_remove(r, -1);
    while (*link != r) link = &(*link)->next;
    *link = r->next;
    map_changed(m);
    free(r);
}

void memory_map_begin(struct memory_map *m)
{
    m->depth++;
}

void memory_map_end(struct memory_map *m)
{
    if (--m->depth == 0 && m->pending) map_changed(m);
}

void memory_map_listen(struct memory_map *m, memory_listener_fn *fn, void *opaque)
{
    struct map_view *v = atomic_load(&m->view);

    m->listener = realloc(m->listener, (m->listeners + 1) * sizeof(*m->listener));
    if (!m->listener) abort();
    m->listener[m->listeners++] = (struct map_listener){ fn, opaque };
    fn(opaque, v->range, v->count);
}

void memory_map_unlisten(struct memory_map *m, void *opaque)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < m->listeners; i++)
        if (m->listener[i].opaque != opaque) m->listener[kept++] = m->listener[i];
    m->listeners = kept;
}

bool memory_map_tells_written(const struct memory_map *m) { return m->written_listeners; }

void memory_map_listen_written(struct memory_map *m, memory_written_fn *fn, void *opaque)
{
    if (m->written_listeners == ARRAY_SIZE(m->written_listener)) abort();
    m->written_listener[m->written_listeners++] = (struct written_listener){ fn, opaque };
}

void memory_written(struct memory_map *m, gpa_t address, size_t size)
{
    for (unsigned i = 0; i < m->written_listeners; i++)
        m->written_listener[i].fn(m->written_listener[i].opaque, address, size);
}

/* ---- finding ---- */

/* The hole around address, bounded by the neighbours found. */
static struct flat_range hole(const struct memory_map *m, const struct map_view *v, size_t above)
{
    gpa_t start = above ? v->range[above - 1].start + v->range[above - 1].size : 0;
    gpa_t end = above < v->count ? v->range[above].start : m->limit;

    return (struct flat_range){ .start = start, .size = end - start, .kind = RANGE_NONE };
}

struct flat_range memory_map_find(struct memory_map *m, gpa_t address)
{
    atomic_uint *readers = reader_counter(m);
    struct flat_range found;
    size_t low = 0, high;
    struct map_view *v;

    atomic_fetch_add(readers, 1);
    v = atomic_load(&m->view);
    high = v->count;
    while (low < high) {                               /* low becomes the first range that starts above address */
        size_t middle = (low + high) / 2;
        if (v->range[middle].start <= address) low = middle + 1;
        else high = middle;
    }
    if (address >= m->limit)
        found = (struct flat_range){ .start = m->limit, .size = UINT64_MAX - m->limit, .kind = RANGE_NONE };
    else if (low && address - v->range[low - 1].start < v->range[low - 1].size) found = v->range[low - 1];
    else found = hole(m, v, low);
    atomic_fetch_sub(readers, 1);
    return found;
}

void *memory_ram_pointer(struct memory_map *m, gpa_t address, size_t size)
{
    uint8_t *first = NULL, *expected = NULL;

    do {
        struct flat_range r = memory_map_find(m, address);
        uint64_t here = r.start + r.size - address;
        uint8_t *p = r.kind == RANGE_RAM ? r.hva + (address - r.start) : NULL;
        if (!p || (first && p != expected)) return NULL;
        if (!first) first = p;
        if (here >= size) break;
        expected = p + here;
        address += here;
        size -= here;
    } while (size);
    return first;
}

void memory_map_print(struct memory_map *m, memory_print_fn *fn, void *opaque)
{
    static const char *const kinds[] = { "ram", "rom", "i/o", "none" };
    struct map_view *v = atomic_load(&m->view);
    int digits = m->limit > 65536 ? 16 : 4;
    char line[160];

    snprintf(line, sizeof line, "address-space: %s", m->name);
    fn(opaque, line);
    for (size_t i = 0; i < v->count; i++) {
        const struct flat_range *r = &v->range[i];
        snprintf(line, sizeof line, "  %0*" PRIx64 "-%0*" PRIx64 " (prio %d, %s): %s", digits, r->start, digits,
                 r->start + r->size - 1, v->owner[i]->priority, kinds[r->kind], v->owner[i]->name);
        fn(opaque, line);
    }
}
