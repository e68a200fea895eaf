/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packed rings: one ring of descriptors that both sides write. Two flag bits in each, compared with a counter that flips at
 * every wrap, tell whose it is; two small areas say which side wants to be told about what.
 * Source: virtio 1.2, section 2.8.
 */
#include "device/virtio/virtqueue_private.h"

struct descriptor { le64 address; le32 length; le16 id, flags; } __attribute__((packed));
struct events { uint16_t place, flags; };              /* place: 15 bits, the wrap counter above */
enum { EVENTS_ENABLE, EVENTS_DISABLE, EVENTS_AT_PLACE, EVENTS_MASK = 3 };

static struct descriptor *ring_area(struct virtqueue *q) { return virtqueue_area(q, q->descriptors, 16u * q->size); }

static int check(struct virtqueue *q)
{
    if (q->descriptors & 15 || q->driver & 3 || q->device & 3) return virtqueue_break(q, "a ring is not aligned"), -1;
    if (!ring_area(q) || !virtqueue_area(q, q->driver, 4) || !virtqueue_area(q, q->device, 4)) return -1;
    return 0;
}

static uint16_t flags_load(const struct descriptor *d)
{
    return __atomic_load_n(&((const uint16_t *)(const void *)d)[7], __ATOMIC_ACQUIRE);
}

static bool is_available(uint16_t flags, bool wrap)
{
    return !!(flags & DESC_F_AVAIL) == wrap && !!(flags & DESC_F_USED) != wrap;
}

static bool is_empty(struct virtqueue *q)
{
    const struct descriptor *ring = ring_area(q);

    return !ring || !is_available(flags_load(&ring[q->avail_index]), q->avail_wrap);
}

static bool indirect_walk(struct virtqueue *q, const struct descriptor *d)
{
    uint32_t length = le32_get(d->length);
    const struct descriptor *table;

    if (!q->has_indirect) return virtqueue_break(q, "an indirect descriptor was not negotiated");
    if (!length || length % sizeof(*table) || length / sizeof(*table) > VIRTQUEUE_SEGMENTS_MAX)
        return virtqueue_break(q, "an indirect table has an impossible length");
    table = virtqueue_area(q, le64_get(d->address), length);
    for (unsigned i = 0; table && i < length / sizeof(*table); i++) {
        struct descriptor e = *(const volatile struct descriptor *)&table[i];
        unsigned flags = le16_get(e.flags);

        if (flags & DESC_F_INDIRECT) return virtqueue_break(q, "an indirect table points to another");
        if (!virtqueue_buffer_add(q, le64_get(e.address), le32_get(e.length), flags & DESC_F_WRITE)) return false;
    }
    return table != NULL;
}

static void advance(const struct virtqueue *q, uint16_t *place, bool *wrap, unsigned by)
{
    unsigned at = *place + by;

    if (at >= q->size) {
        at -= q->size;
        *wrap = !*wrap;
    }
    *place = (uint16_t)at;
}

static bool take(struct virtqueue *q, uint16_t *id, uint16_t *slots)
{
    const struct descriptor *ring = ring_area(q);
    unsigned taken = 0;

    if (!ring || !is_available(flags_load(&ring[q->avail_index]), q->avail_wrap)) return false;
    for (;;) {
        unsigned at = q->avail_index + taken;
        struct descriptor d = *(const volatile struct descriptor *)&ring[at >= q->size ? at - q->size : at];
        unsigned flags = le16_get(d.flags);

        taken++;
        if (flags & DESC_F_INDIRECT) {
            if (taken > 1 || flags & DESC_F_NEXT) return virtqueue_break(q, "an indirect descriptor is part of a chain");
            if (!indirect_walk(q, &d)) return false;
        } else if (!virtqueue_buffer_add(q, le64_get(d.address), le32_get(d.length), flags & DESC_F_WRITE)) return false;
        *id = le16_get(d.id);
        if (flags & DESC_F_INDIRECT || !(flags & DESC_F_NEXT)) break;
        if (q->in_flight + taken >= q->size) return virtqueue_break(q, "a chain of descriptors loops");
    }
    if (q->in_flight + taken > q->size) return virtqueue_break(q, "more chains are in flight than the queue has entries");
    *slots = (uint16_t)taken;
    advance(q, &q->avail_index, &q->avail_wrap, taken);
    return true;
}

static void untake(struct virtqueue *q, const struct virtqueue_chain *c)
{
    if (q->avail_index < c->slots) {
        q->avail_index += q->size;
        q->avail_wrap = !q->avail_wrap;
    }
    q->avail_index -= c->slots;
}

static void flags_store(struct virtqueue *q, struct descriptor *ring, uint16_t at, bool wrap, const struct virtqueue_chain *c)
{
    uint16_t flags = (wrap ? DESC_F_AVAIL | DESC_F_USED : 0) | (c->is_writable ? DESC_F_WRITE : 0);

    __atomic_store_n(&((uint16_t *)(void *)&ring[at])[7], flags, __ATOMIC_RELEASE);
    memory_written(q->memory, q->descriptors + 16u * at, sizeof(ring[at]));
}

/* The driver comes to the first of them first: its flags are written last. */
static void give(struct virtqueue *q, struct virtqueue_chain *const *chain, const uint32_t *written, unsigned count)
{
    struct descriptor *ring = ring_area(q);
    uint16_t first = q->used_index;
    bool first_wrap = q->used_wrap;

    if (!ring) return;
    for (unsigned i = 0; i < count; i++) {
        ring[q->used_index].id = le16_make(chain[i]->id);
        ring[q->used_index].length = le32_make(written[i]);
        if (i) flags_store(q, ring, q->used_index, q->used_wrap, chain[i]);
        advance(q, &q->used_index, &q->used_wrap, chain[i]->slots);
        q->unsignalled = MIN(q->unsignalled + chain[i]->slots, 2u * q->size);
    }
    flags_store(q, ring, first, first_wrap, chain[0]);
}

static bool wants_interrupt(struct virtqueue *q)
{
    const struct events *e = virtqueue_area(q, q->driver, sizeof(*e));
    uint16_t before = q->signalled, after = q->used_index, event;
    bool wrapped = q->signalled_wrap != q->used_wrap, is_far = q->unsignalled == 2u * q->size;
    uint32_t both;

    if (!e) return false;
    both = __atomic_load_n((const uint32_t *)(const void *)e, __ATOMIC_ACQUIRE);
    q->signalled = q->used_index;
    q->signalled_wrap = q->used_wrap;
    q->unsignalled = 0;
    if ((both >> 16 & EVENTS_MASK) == EVENTS_DISABLE) return false;
    if ((both >> 16 & EVENTS_MASK) != EVENTS_AT_PLACE || !q->has_event_index) return true;
    if (is_far) return true;                           /* a driver that polled meanwhile: each place was passed, in either round */
    /* As numbers that do not wrap: what was used in the round before lies a ring's size lower. */
    event = both & 0x7fff;
    if (!!(both & 0x8000) != q->used_wrap) event -= q->size;
    if (wrapped) before -= q->size;
    return virtqueue_passed(event, after, before);
}

static void notifications_set(struct virtqueue *q, bool on)
{
    struct events *e = virtqueue_area(q, q->device, sizeof(*e));
    uint16_t place = q->avail_index | (q->avail_wrap ? 0x8000 : 0);

    if (!e) return;
    if (on && q->has_event_index) __atomic_store_n(&e->place, place, __ATOMIC_RELEASE);
    __atomic_store_n(&e->flags, !on ? EVENTS_DISABLE : q->has_event_index ? EVENTS_AT_PLACE : EVENTS_ENABLE, __ATOMIC_RELEASE);
    /* A frame may want more buffers than there are, which stay in the ring: the next one comes to another place. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (on && q->has_event_index && !is_empty(q)) __atomic_store_n(&e->flags, EVENTS_ENABLE, __ATOMIC_RELEASE);
    memory_written(q->memory, q->device, sizeof(*e));
}

const struct virtqueue_layout virtqueue_packed = {
    check, is_empty, take, untake, give, wants_interrupt, notifications_set, NULL, NULL,
};
