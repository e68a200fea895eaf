/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "driver.h"

#include <string.h>

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 0x80, USED = 0x8000, TABLE_BYTES = 16 * DRIVER_PIECES_MAX };

static void put(struct driver *d, uint64_t at, uint64_t v, unsigned size) { memcpy(d->ram + at, &v, size); }
static uint64_t get(const struct driver *d, uint64_t at, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, d->ram + at, size);
    return v;
}

void driver_init(struct driver *d, uint8_t *ram, bool packed, bool event_index, unsigned size, uint64_t base)
{
    memset(d, 0, sizeof(*d));
    d->ram = ram;
    d->packed = packed;
    d->event_index = event_index;
    d->size = size;
    d->descriptors = base;
    d->avail = base + 16 * DRIVER_QUEUE_MAX;
    d->used = d->avail + 4096;
    d->indirect = d->used + 16384;
    memset(ram + base, 0, d->indirect - base);
    d->free_count = d->id_free_count = size;
    for (unsigned i = 0; i < size; i++) d->free_list[i] = d->id_free[i] = (uint16_t)(size - 1 - i);
}

static void split_descriptor(struct driver *d, uint64_t at, const struct driver_piece *p, unsigned flags, unsigned next)
{
    put(d, at, p->gpa, 8);
    put(d, at + 8, p->length, 4);
    put(d, at + 12, flags | (p->device_writes ? WRITE : 0), 2);
    put(d, at + 14, next, 2);
}

static int split_add(struct driver *d, const struct driver_piece *pieces, unsigned count, bool indirect)
{
    unsigned slots = indirect ? 1 : count;
    uint16_t *chain, head;

    if (d->free_count < slots) return -1;
    head = d->free_list[d->free_count - 1];
    chain = d->chain_of[head];
    for (unsigned i = 0; i < slots; i++) chain[i] = d->free_list[--d->free_count];
    d->slots_of[head] = slots;
    if (indirect) {
        struct driver_piece table = { d->indirect + (uint64_t)TABLE_BYTES * head, 16 * count, false };

        for (unsigned i = 0; i < count; i++)
            split_descriptor(d, table.gpa + 16 * i, &pieces[i], i + 1 < count ? NEXT : 0, i + 1);
        split_descriptor(d, d->descriptors + 16u * head, &table, INDIRECT, 0);
    } else {
        for (unsigned i = 0; i < count; i++)
            split_descriptor(d, d->descriptors + 16u * chain[i], &pieces[i], i + 1 < count ? NEXT : 0, i + 1 < count ? chain[i + 1] : 0);
    }
    put(d, d->avail + 4 + 2 * (d->made_available % d->size), head, 2);
    put(d, d->avail + 2, ++d->made_available, 2);
    return head;
}

static unsigned packed_flags(const struct driver *d, uint64_t place) { return place / d->size % 2 ? USED : AVAIL; }

static void packed_descriptor(struct driver *d, uint64_t at, const struct driver_piece *p, unsigned id, unsigned flags)
{
    put(d, at, p->gpa, 8);
    put(d, at + 8, p->length, 4);
    put(d, at + 12, id, 2);
    put(d, at + 14, flags | (p->device_writes ? WRITE : 0), 2);
}

/* The first descriptor's flags are written last: with them the whole chain is the device's. */
static int packed_add(struct driver *d, const struct driver_piece *pieces, unsigned count, bool indirect)
{
    unsigned slots = indirect ? 1 : count, id;
    uint64_t first = d->made_available;

    if (d->free_count < slots || !d->id_free_count) return -1;
    id = d->id_free[--d->id_free_count];
    d->free_count -= slots;
    d->slots_of[id] = slots;
    if (indirect) {
        struct driver_piece table = { d->indirect + (uint64_t)TABLE_BYTES * id, 16 * count, false };

        for (unsigned i = 0; i < count; i++) packed_descriptor(d, table.gpa + 16 * i, &pieces[i], 0, 0);
        packed_descriptor(d, d->descriptors + 16 * (first % d->size), &table, id, INDIRECT | packed_flags(d, first));
    }
    for (unsigned i = slots; !indirect && i-- > 0;)
        packed_descriptor(d, d->descriptors + 16 * ((first + i) % d->size), &pieces[i], id,
                          packed_flags(d, first + i) | (i + 1 < count ? NEXT : 0));
    d->made_available += slots;
    return (int)id;
}

int driver_add(struct driver *d, const struct driver_piece *pieces, unsigned count, bool indirect)
{
    return d->packed ? packed_add(d, pieces, count, indirect) : split_add(d, pieces, count, indirect);
}

static int split_take(struct driver *d, uint32_t *written)
{
    uint64_t entry = d->used + 4 + 8 * (d->seen_used % d->size);
    unsigned id;

    if (get(d, d->used + 2, 2) == (d->seen_used & 0xffff)) return -1;
    id = (unsigned)get(d, entry, 4);
    *written = (uint32_t)get(d, entry + 4, 4);
    d->seen_used++;
    if (id >= d->size) return (int)id;
    for (unsigned i = d->slots_of[id]; i-- > 0;) d->free_list[d->free_count++] = d->chain_of[id][i];
    return (int)id;
}

static int packed_take(struct driver *d, uint32_t *written)
{
    uint64_t entry = d->descriptors + 16 * (d->seen_used % d->size);
    unsigned flags = (unsigned)get(d, entry + 14, 2) & (AVAIL | USED), id;

    if (flags != (d->seen_used / d->size % 2 ? 0u : AVAIL | USED)) return -1;
    id = (unsigned)get(d, entry + 12, 2);
    *written = (uint32_t)get(d, entry + 8, 4);
    if (id >= d->size) return (int)id;
    d->seen_used += d->slots_of[id];
    d->free_count += d->slots_of[id];
    d->id_free[d->id_free_count++] = (uint16_t)id;
    return (int)id;
}

int driver_take(struct driver *d, uint32_t *written) { return d->packed ? packed_take(d, written) : split_take(d, written); }

void driver_event_set(struct driver *d, uint64_t at)
{
    if (!d->packed) put(d, d->avail + 4 + 2 * d->size, at, 2);
    else put(d, d->avail, 2ull << 16 | (at / d->size % 2 ? 0 : 0x8000) | at % d->size, 4);
}

void driver_interrupts_set(struct driver *d, bool on)
{
    put(d, d->packed ? d->avail + 2 : d->avail, !on, 2);
}

bool driver_must_notify(const struct driver *d, uint64_t before)
{
    uint64_t word = get(d, d->packed ? d->used : d->used + (d->event_index ? 4 + 8 * d->size : 0), 4);
    uint64_t event;

    if (!d->packed && !d->event_index) return !(word & 1);
    if (!d->packed) return (uint16_t)(d->made_available - (uint16_t)word - 1) < (uint16_t)(d->made_available - before);
    if ((word >> 16 & 3) != 2) return !(word >> 16 & 3);
    event = word & 0x7fff;
    for (uint64_t at = before; at < d->made_available; at++)
        if (at % d->size == event && !!(word & 0x8000) == !(at / d->size % 2)) return true;
    return false;
}
