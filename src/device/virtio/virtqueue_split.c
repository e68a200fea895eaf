/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Split rings: a table of descriptors, a ring of chain heads from the driver, a ring of used heads from the device.
 * Indices run freely and are taken modulo the size, a power of two.
 * Source: virtio 1.2, section 2.7.
 */
#include "device/virtio/virtqueue_private.h"

struct descriptor { le64 address; le32 length; le16 flags, next; } __attribute__((packed));
struct avail { uint16_t flags, index, ring[]; };       /* then used_event */
struct used_entry { uint32_t id, length; };
struct used { uint16_t flags, index; struct used_entry ring[]; };   /* then avail_event */
enum { AVAIL_F_NO_INTERRUPT = 1, USED_F_NO_NOTIFY = 1 };

static size_t avail_bytes(const struct virtqueue *q) { return 4 + 2u * q->size + (q->has_event_index ? 2 : 0); }
static size_t used_bytes(const struct virtqueue *q) { return 4 + 8u * q->size + (q->has_event_index ? 2 : 0); }

static struct avail *avail_area(struct virtqueue *q) { return virtqueue_area(q, q->driver, avail_bytes(q)); }
static struct used *used_area(struct virtqueue *q) { return virtqueue_area(q, q->device, used_bytes(q)); }

/* The driver writes these while we look: each is read or written once, as a whole. Little endian as the host. */
static uint16_t load16(const void *p) { return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE); }
static void store16(void *p, uint16_t v) { __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELEASE); }

static int check(struct virtqueue *q)
{
    if (q->size & (q->size - 1)) return virtqueue_break(q, "the size of a split queue is no power of two"), -1;
    if (q->descriptors & 15 || q->driver & 1 || q->device & 3) return virtqueue_break(q, "a ring is not aligned"), -1;
    if (!virtqueue_area(q, q->descriptors, 16u * q->size) || !avail_area(q) || !used_area(q)) return -1;
    return 0;
}

static bool is_empty(struct virtqueue *q)
{
    const struct avail *a;

    if (q->avail_seen != q->avail_index) return false;
    a = avail_area(q);
    if (!a) return true;
    q->avail_seen = load16(&a->index);
    return q->avail_seen == q->avail_index;
}

/* A chain within one table (the queue's or an indirect one) of entries descriptors. The table may be longer than a chain may be; empty buffers count. */
static bool table_walk(struct virtqueue *q, const struct descriptor *table, unsigned entries, unsigned at, bool inside);

static bool indirect_walk(struct virtqueue *q, const struct descriptor *d)
{
    uint32_t length = le32_get(d->length);
    const struct descriptor *table;

    if (!q->has_indirect) return virtqueue_break(q, "an indirect descriptor was not negotiated");
    if (!length || length % sizeof(*table) || length / sizeof(*table) > 65536)
        return virtqueue_break(q, "an indirect table has an impossible length");
    table = virtqueue_area(q, le64_get(d->address), length);
    return table && table_walk(q, table, (unsigned)(length / sizeof(*table)), 0, true);
}

static bool table_walk(struct virtqueue *q, const struct descriptor *table, unsigned entries, unsigned at, bool inside)
{
    for (unsigned seen = 0; seen < MIN(entries, (unsigned)VIRTQUEUE_SEGMENTS_MAX); seen++) {
        struct descriptor d = *(const volatile struct descriptor *)&table[at];
        unsigned flags = le16_get(d.flags);

        if (flags & DESC_F_INDIRECT) {
            if (inside) return virtqueue_break(q, "an indirect table points to another");
            if (flags & DESC_F_NEXT) return virtqueue_break(q, "an indirect descriptor has a successor");
            return indirect_walk(q, &d);
        }
        if (!virtqueue_buffer_add(q, le64_get(d.address), le32_get(d.length), flags & DESC_F_WRITE)) return false;
        if (!(flags & DESC_F_NEXT)) return true;
        at = le16_get(d.next);
        if (at >= entries) return virtqueue_break(q, "a descriptor's successor is outside of its table");
    }
    return virtqueue_break(q, entries > VIRTQUEUE_SEGMENTS_MAX ? "a chain has too many buffers" : "a chain of descriptors loops");
}

static bool take(struct virtqueue *q, uint16_t *id, uint16_t *slots)
{
    const struct descriptor *table;
    const struct avail *a;
    uint16_t head;

    if (is_empty(q)) return false;
    if ((uint16_t)(q->avail_seen - q->avail_index) > q->size)
        return virtqueue_break(q, "the available index jumped by more than the queue's size");
    if (q->in_flight >= q->size) return virtqueue_break(q, "more chains are in flight than the queue has entries");
    a = avail_area(q);
    table = virtqueue_area(q, q->descriptors, 16u * q->size);
    if (!a || !table) return false;
    head = *(const volatile uint16_t *)&a->ring[q->avail_index & (q->size - 1)];
    if (head >= q->size) return virtqueue_break(q, "a chain's head is outside of the table");
    if (!table_walk(q, table, q->size, head, false)) return false;
    q->avail_index++;
    *id = head;
    *slots = 1;
    return true;
}

static void untake(struct virtqueue *q, const struct virtqueue_chain *c)
{
    q->avail_index--;
}

/* The index moves once for all. */
static void give(struct virtqueue *q, struct virtqueue_chain *const *chain, const uint32_t *written, unsigned count)
{
    struct used *u = used_area(q);

    if (!u) return;
    for (unsigned i = 0; i < count; i++) {
        unsigned at = (q->used_index + i) & (q->size - 1u);

        u->ring[at] = (struct used_entry){ chain[i]->id, written[i] };
        memory_written(q->memory, q->device + 4 + 8u * at, sizeof(u->ring[at]));
    }
    q->used_index += (uint16_t)count;
    store16(&u->index, q->used_index);
    memory_written(q->memory, q->device, 4);
}

static bool wants_interrupt(struct virtqueue *q)
{
    const struct avail *a = avail_area(q);
    uint16_t before = q->signalled;

    if (!a) return false;
    if (!q->has_event_index) return !(load16(&a->flags) & AVAIL_F_NO_INTERRUPT);
    q->signalled = q->used_index;
    return virtqueue_passed(load16(&a->ring[q->size]), q->used_index, before);
}

/* The driver notifies when it passes the index we leave behind. That is the one it has come to, not ours: a frame may want more buffers than
 * there are, and those stay in the ring. */
static void event_index_leave(struct virtqueue *q, struct used *u)
{
    const struct avail *a = avail_area(q);

    for (unsigned tries = 0; a && tries < q->size; tries++) {
        uint16_t index = load16(&a->index);

        store16(&u->ring[q->size], index);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (load16(&a->index) == index) break;
    }
}

/* With event indices "off" needs no word. */
static void notifications_set(struct virtqueue *q, bool on)
{
    struct used *u = used_area(q);

    if (!u || (q->has_event_index && !on)) return;
    if (q->has_event_index) event_index_leave(q, u);
    else store16(&u->flags, on ? 0 : USED_F_NO_NOTIFY);
    memory_written(q->memory, q->has_event_index ? q->device + 4 + 8u * q->size : q->device, 2);
}

static bool areas(struct virtqueue *q, void **descriptors, void **driver, void **device)
{
    *descriptors = virtqueue_area(q, q->descriptors, 16u * q->size);
    *driver = avail_area(q);
    *device = used_area(q);
    return *descriptors && *driver && *device;
}

/* Who served the queue has told of all that was used; with event indices the next chain is told of in any case. */
static void go_on(struct virtqueue *q, uint16_t avail_index)
{
    const struct used *u = used_area(q);

    q->avail_index = q->avail_seen = avail_index;
    if (u) q->used_index = load16(&u->index);
    q->signalled = (uint16_t)(q->used_index - q->size);
}

const struct virtqueue_layout virtqueue_split = {
    check, is_empty, take, untake, give, wants_interrupt, notifications_set, areas, go_on,
};
