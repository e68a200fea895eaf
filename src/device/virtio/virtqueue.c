/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What both ring layouts share: chains as the device gets them, and their way back.
 *
 * A descriptor is copied out of guest memory once, and only the copy is checked and used. Buffers must be RAM (ROM
 * where the device only reads); they are turned into host pointers at once, which stay valid because RAM and ROMs are
 * never unmapped while a machine lives. Anything that the driver must not do breaks the queue: q->broken names it, nothing is
 * taken any more, and the device asks for a reset.
 *
 * Limits: queues of at most 1024 entries, chains of at most 1024 pieces (a buffer that crosses from one RAM
 * block into another counts for two), and as many descriptors in an indirect table.
 * Source: Virtual I/O Device (VIRTIO) 1.2, sections 2.6 to 2.8.
 */
#include "device/virtio/virtqueue.h"

#include <stdlib.h>
#include <string.h>

#include "device/virtio/virtqueue_private.h"

static const struct virtqueue_layout *layout(const struct virtqueue *q)
{
    return q->is_packed ? &virtqueue_packed : &virtqueue_split;
}

bool virtqueue_break(struct virtqueue *q, const char *why)
{
    if (!q->broken) q->broken = why;
    return false;
}

void *virtqueue_area(struct virtqueue *q, gpa_t gpa, size_t size)
{
    uint8_t *first = NULL, *expected = NULL;

    do {                                 /* one block of RAM, though the map may have it in several pieces */
        struct flat_range r = memory_map_find(q->memory, gpa);
        uint64_t here = r.start + r.size - gpa;
        uint8_t *p = r.kind == RANGE_RAM ? r.hva + (gpa - r.start) : NULL;

        if (!p || (first && p != expected)) {
            virtqueue_break(q, "a ring lies outside of RAM");
            return NULL;
        }
        if (!first) first = p;
        if (here >= size) break;
        expected = p + here;
        gpa += here;
        size -= here;
    } while (size);
    return first;
}

int virtqueue_start(struct virtqueue *q, uint64_t features)
{
    q->is_packed = features & VIRTIO_F_RING_PACKED;
    q->has_event_index = features & VIRTIO_F_EVENT_IDX;
    q->has_indirect = features & VIRTIO_F_INDIRECT_DESC;
    q->has_notify_on_empty = features & VIRTIO_F_NOTIFY_ON_EMPTY;
    q->avail_index = q->used_index = q->avail_seen = q->signalled = q->in_flight = 0;
    q->unsignalled = 0;
    q->avail_wrap = q->used_wrap = q->signalled_wrap = true;
    q->notifications_off = false;
    q->broken = NULL;
    if (!q->scratch) q->scratch = malloc(sizeof(*q->scratch));
    if (!q->scratch) virtqueue_break(q, "no memory for the queue");
    else if (!q->size || q->size > q->size_max) virtqueue_break(q, "the queue's size is not one the device offers");
    else layout(q)->check(q);
    q->enabled = !q->broken;
    return q->broken ? -1 : 0;
}

void virtqueue_reset(struct virtqueue *q)
{
    q->enabled = false;
    q->broken = NULL;
    q->descriptors = q->driver = q->device = 0;
    q->size = q->size_max;
    q->in_flight = 0;
}

void virtqueue_destroy(struct virtqueue *q)
{
    free(q->scratch);
    q->scratch = NULL;
}

bool virtqueue_areas(struct virtqueue *q, void **descriptors, void **driver, void **device)
{
    return q->enabled && !q->broken && layout(q)->areas && layout(q)->areas(q, descriptors, driver, device);
}

void virtqueue_continue(struct virtqueue *q, uint16_t avail_index)
{
    if (q->enabled && !q->broken && layout(q)->go_on) layout(q)->go_on(q, avail_index);
}

/* ---- taking ---- */

static struct flat_range piece_find(struct virtqueue *q, gpa_t gpa, bool device_writes)
{
    struct flat_range r = memory_map_find(q->memory, gpa);

    if (r.kind != RANGE_RAM && (device_writes || r.kind != RANGE_ROM)) r.hva = NULL;
    return r;
}

bool virtqueue_buffer_add(struct virtqueue *q, gpa_t gpa, uint32_t length, bool device_writes)
{
    struct virtqueue_scratch *s = q->scratch;

    if (!device_writes && s->in_count) return virtqueue_break(q, "a buffer to read follows one to write");
    while (length) {
        struct flat_range r = piece_find(q, gpa, device_writes);
        unsigned n = s->out_count + s->in_count;
        uint32_t here;

        if (!r.hva) return virtqueue_break(q, "a buffer lies outside of RAM");
        if (n == VIRTQUEUE_SEGMENTS_MAX) return virtqueue_break(q, "a chain has too many buffers");
        here = (uint32_t)MIN(r.start + r.size - gpa, (uint64_t)length);
        s->iov[n] = (struct iovec){ r.hva + (gpa - r.start), here };
        s->gpa[n] = gpa;
        if (device_writes) s->in_count++, s->in_bytes += here;
        else s->out_count++, s->out_bytes += here;
        gpa += here;
        length -= here;
    }
    return true;
}

static struct virtqueue_chain *chain_make(const struct virtqueue_scratch *s)
{
    unsigned n = s->out_count + s->in_count;
    struct virtqueue_chain *c = malloc(sizeof(*c) + n * sizeof(struct iovec) + s->in_count * sizeof(gpa_t));

    if (!c) return NULL;
    *c = (struct virtqueue_chain){ .out_count = s->out_count, .in_count = s->in_count, .out_bytes = s->out_bytes,
                                   .in_bytes = s->in_bytes, .is_writable = s->in_count, .out = (struct iovec *)(c + 1) };
    c->in = c->out + s->out_count;
    c->in_gpa = (gpa_t *)(c->in + s->in_count);
    memcpy(c->out, s->iov, n * sizeof(struct iovec));
    memcpy(c->in_gpa, s->gpa + s->out_count, s->in_count * sizeof(gpa_t));
    return c;
}

struct virtqueue_chain *virtqueue_pop(struct virtqueue *q)
{
    struct virtqueue_scratch *s = q->scratch;
    struct virtqueue_chain *c;
    uint16_t id, slots;

    if (!q->enabled || q->broken) return NULL;
    s->out_count = s->in_count = 0;
    s->out_bytes = s->in_bytes = 0;
    if (!layout(q)->take(q, &id, &slots)) return NULL;
    c = chain_make(s);
    if (!c) {
        virtqueue_break(q, "no memory for a chain");
        return NULL;
    }
    c->id = id;
    c->slots = slots;
    q->in_flight += slots;
    return c;
}

void virtqueue_unpop(struct virtqueue *q, struct virtqueue_chain *c)
{
    layout(q)->untake(q, c);
    q->in_flight -= c->slots;
    free(c);
}

/* ---- giving back ---- */

static void data_written(struct virtqueue *q, const struct virtqueue_chain *c, uint64_t written)
{
    uint64_t left = MIN(written, c->in_bytes);

    for (unsigned i = 0; i < c->in_count && left; i++) {
        size_t here = MIN(c->in[i].iov_len, left);

        memory_written(q->memory, c->in_gpa[i], here);
        left -= here;
    }
}

void virtqueue_push_together(struct virtqueue *q, struct virtqueue_chain *const *chain, const uint32_t *written, unsigned count)
{
    for (unsigned i = 0; i < count; i++) data_written(q, chain[i], written[i]);
    if (q->enabled && !q->broken) layout(q)->give(q, chain, written, count);
    for (unsigned i = 0; i < count; i++) {
        q->in_flight -= chain[i]->slots;
        free(chain[i]);
    }
}

void virtqueue_push(struct virtqueue *q, struct virtqueue_chain *c, uint64_t written)
{
    virtqueue_push_together(q, &c, &(uint32_t){ (uint32_t)MIN(written, (uint64_t)UINT32_MAX) }, 1);
}

void virtqueue_drop(struct virtqueue *q, struct virtqueue_chain *c)
{
    q->in_flight -= c->slots;
    free(c);
}

bool virtqueue_is_empty(struct virtqueue *q)
{
    return !q->enabled || q->broken || layout(q)->is_empty(q);
}

bool virtqueue_wants_interrupt(struct virtqueue *q)
{
    if (!q->enabled || q->broken) return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);           /* what was pushed is seen before we look at what is wanted */
    if (q->has_notify_on_empty && !q->in_flight && layout(q)->is_empty(q)) return true;
    return layout(q)->wants_interrupt(q);
}

void virtqueue_notifications_set(struct virtqueue *q, bool on)
{
    if (!q->enabled || q->broken) return;
    q->notifications_off = !on;
    layout(q)->notifications_set(q, on);
    if (on) __atomic_thread_fence(__ATOMIC_SEQ_CST);   /* the caller looks at the ring next */
}

/* ---- bytes ---- */

size_t virtqueue_read(const struct virtqueue_chain *c, uint64_t offset, void *data, size_t size)
{
    uint8_t *to = data;

    for (unsigned i = 0; i < c->out_count && size; i++) {
        size_t here = c->out[i].iov_len;

        if (offset >= here) {
            offset -= here;
            continue;
        }
        here = MIN(here - offset, size);
        memcpy(to, (uint8_t *)c->out[i].iov_base + offset, here);
        to += here;
        size -= here;
        offset = 0;
    }
    return (size_t)(to - (uint8_t *)data);
}

size_t virtqueue_write(struct virtqueue *q, struct virtqueue_chain *c, uint64_t offset, const void *data, size_t size)
{
    const uint8_t *from = data;

    for (unsigned i = 0; i < c->in_count && size; i++) {
        size_t here = c->in[i].iov_len;

        if (offset >= here) {
            offset -= here;
            continue;
        }
        here = MIN(here - offset, size);
        memcpy((uint8_t *)c->in[i].iov_base + offset, from, here);
        memory_written(q->memory, c->in_gpa[i] + offset, here);
        from += here;
        size -= here;
        offset = 0;
    }
    return (size_t)(from - (const uint8_t *)data);
}

unsigned virtqueue_iov_skip(struct iovec **iov, unsigned pieces, uint64_t count)
{
    while (pieces && count >= (*iov)->iov_len) {
        count -= (*iov)->iov_len;
        (*iov)++;
        pieces--;
    }
    if (pieces) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + count;
        (*iov)->iov_len -= count;
    }
    return pieces;
}
