/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all virtio devices share: negotiation, status, needs-reset, and when interrupts go out.
 *
 * Requests are taken on the thread that notified; some finish there, the others mostly on the main thread. Interrupts for completions
 * wait until that thread has taken all requests, or until the loop has made all calls that are ready (one posted call a device), so
 * that a batch of finished requests costs the guest one interrupt; the ring says whether it wants even that.
 * Source: VIRTIO 1.2, chapters 2 and 3.
 */
#include "device/virtio/virtio.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"

/* Bits that only the legacy interface knows. */
#define LEGACY_ONLY (VIRTIO_F_NOTIFY_ON_EMPTY | VIRTIO_F_ANY_LAYOUT)

int virtio_init(struct virtio *v, const struct virtio_ops *ops, struct memory_map *memory, uint64_t features,
                const struct virtio_options *options, unsigned queue_count, const uint16_t *queue_sizes, struct error *err)
{
    v->ops = ops;
    v->memory = memory;
    v->offered = features | LEGACY_ONLY | VIRTIO_F_VERSION_1;
    if (!options->no_indirect) v->offered |= VIRTIO_F_INDIRECT_DESC;
    if (!options->no_event_index) v->offered |= VIRTIO_F_EVENT_IDX;
    if (!options->no_queue_reset) v->offered |= VIRTIO_F_RING_RESET;
    if (options->packed) v->offered |= VIRTIO_F_RING_PACKED;
    if (!queue_count || queue_count > VIRTIO_QUEUES_MAX) return error_set(err, "%s: %u queues; at most %d", ops->name, queue_count, VIRTIO_QUEUES_MAX);
    v->queue = calloc(queue_count, sizeof(*v->queue));
    if (!v->queue) return error_set(err, "%s: no memory for %u queues", ops->name, queue_count);
    v->queue_count = queue_count;
    for (unsigned n = 0; n < queue_count; n++)
        v->queue[n] = (struct virtqueue){ .memory = memory, .size_max = queue_sizes[n], .size = queue_sizes[n], .vector = VIRTIO_NO_VECTOR };
    return 0;
}

void virtio_fini(struct virtio *v)
{
    loop_post_cancel(v);
    for (unsigned n = 0; n < v->queue_count; n++) virtqueue_destroy(&v->queue[n]);
    free(v->queue);
    v->queue = NULL;
    v->queue_count = 0;
}

uint64_t virtio_features_modern(const struct virtio *v) { return v->offered & ~LEGACY_ONLY; }
uint32_t virtio_features_legacy(const struct virtio *v) { return (uint32_t)v->offered; }

/* ---- interrupts ---- */

void virtio_interrupt(struct virtio *v, struct virtqueue *q)
{
    if (virtqueue_wants_interrupt(q)) v->transport.interrupt(v->transport.opaque, q->vector);
    if (q->broken) virtio_broken(v, q->broken);
}

static void interrupt_settle(struct virtio *v, unsigned n)
{
    uint64_t bit = BIT(n % 64);

    if (!(v->interrupt_due[n / 64] & bit)) return;
    v->interrupt_due[n / 64] &= ~bit;
    virtio_interrupt(v, &v->queue[n]);
}

static void posted_run(void *opaque)
{
    struct virtio *v = opaque;

    v->interrupt_posted = false;
    for (unsigned n = 0; n < v->queue_count; n++) {
        uint64_t bit = BIT(n % 64);

        if (v->notify_due[n / 64] & bit) {
            v->notify_due[n / 64] &= ~bit;
            virtio_queue_notify(v, n);
        }
        interrupt_settle(v, n);
    }
}

static void post(struct virtio *v)
{
    if (v->interrupt_posted) return;
    v->interrupt_posted = true;
    loop_post(posted_run, v);
}

void virtio_interrupt_soon(struct virtio *v, struct virtqueue *q)
{
    unsigned n = (unsigned)(q - v->queue);

    v->interrupt_due[n / 64] |= BIT(n % 64);
    if (!v->is_serving) post(v);
}

void virtio_notify_later(struct virtio *v, unsigned n)
{
    v->notify_due[n / 64] |= BIT(n % 64);
    post(v);
}

void virtio_settle(struct virtio *v)
{
    for (unsigned n = 0; n < v->queue_count; n++) {
        if (!(v->notify_due[n / 64] & BIT(n % 64))) continue;
        v->notify_due[n / 64] &= ~BIT(n % 64);
        virtio_queue_notify(v, n);
    }
}

void virtio_config_changed(struct virtio *v)
{
    if (v->status & VIRTIO_STATUS_DRIVER_OK) v->transport.config_changed(v->transport.opaque);
}

void virtio_live_changed(struct virtio *v)
{
    if (v->ops->live_changed) v->ops->live_changed(v);
}

void virtio_broken(struct virtio *v, const char *why)
{
    trace(TRACE_GUEST_ERRORS, "%s: %s; the device needs a reset\n", v->ops->name, why);
    if (v->status & VIRTIO_STATUS_NEEDS_RESET) return;
    v->status |= VIRTIO_STATUS_NEEDS_RESET;
    virtio_live_changed(v);
    if (virtio_is_modern(v)) virtio_config_changed(v);
}

/* ---- queues ---- */

bool virtio_is_live(struct virtio *v, struct virtqueue *q)
{
    if (v->status & (VIRTIO_STATUS_NEEDS_RESET | VIRTIO_STATUS_FAILED) || !q->enabled) return false;
    /* Drivers of before 1.0 may use a queue that is set up before they say DRIVER_OK. */
    if (virtio_is_modern(v) && !(v->status & VIRTIO_STATUS_DRIVER_OK)) return false;
    return v->transport.may_dma(v->transport.opaque);
}

struct virtqueue_chain *virtio_pop(struct virtio *v, unsigned n)
{
    struct virtqueue *q = &v->queue[n];
    struct virtqueue_chain *c;

    if (!virtio_is_live(v, q)) return NULL;
    c = virtqueue_pop(q);
    if (q->broken) virtio_broken(v, q->broken);
    return c;
}

void virtio_serve(struct virtio *v, unsigned n, bool (*one)(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c))
{
    struct virtqueue *q = &v->queue[n];
    struct virtqueue_chain *c;
    bool more = true, outer = v->is_serving;
    unsigned served = 0;

    v->is_serving = true;
    do {
        virtqueue_notifications_set(q, false);
        while (more && served++ < q->size && (c = virtio_pop(v, n))) more = one(v, q, c);
        virtqueue_notifications_set(q, true);
    } while (more && served < q->size && virtio_is_live(v, q) && !virtqueue_is_empty(q));
    if (more && virtio_is_live(v, q) && !virtqueue_is_empty(q)) virtio_notify_later(v, n);
    v->is_serving = outer;
    interrupt_settle(v, n);
    for (unsigned i = 0; i < ARRAY_SIZE(v->interrupt_due) && !outer; i++)
        if (v->interrupt_due[i]) post(v);                /* other queues' */
}

void virtio_queue_notify(struct virtio *v, unsigned n)
{
    if (n < v->queue_count && virtio_is_live(v, &v->queue[n])) v->ops->notify(v, n);
}

void virtio_queue_enable(struct virtio *v, unsigned n)
{
    struct virtqueue *q = &v->queue[n];

    if (q->enabled) return;
    if (virtqueue_start(q, v->features) < 0) {
        virtio_broken(v, q->broken);
        return;
    }
    if (v->transport.queue_changed) v->transport.queue_changed(v->transport.opaque, n);
    virtio_live_changed(v);
}

void virtio_queue_stop(struct virtio *v, unsigned n)
{
    struct virtqueue *q = &v->queue[n];

    if (q->enabled) v->ops->queue_stop(v, n);
    virtqueue_reset(q);
    if (v->transport.queue_changed) v->transport.queue_changed(v->transport.opaque, n);
    q->vector = VIRTIO_NO_VECTOR;
    v->interrupt_due[n / 64] &= ~BIT(n % 64);
    v->notify_due[n / 64] &= ~BIT(n % 64);
}

/* ---- status ---- */

void virtio_reset(struct virtio *v)
{
    for (unsigned n = 0; n < v->queue_count; n++) virtio_queue_stop(v, n);
    v->status = 0;
    v->features = 0;
    if (v->ops->reset) v->ops->reset(v);
}

static bool features_are_fine(const struct virtio *v)
{
    return virtio_is_modern(v) && !(v->features & ~virtio_features_modern(v));
}

void virtio_status_write(struct virtio *v, uint8_t status, bool legacy)
{
    uint8_t before = v->status, set = status & ~before;

    if (!status) {
        virtio_reset(v);
        return;
    }
    /* Bits are only ever added (3.1.1), but drivers of before 1.0 that write anything else were always obeyed. */
    if (!legacy && set & VIRTIO_STATUS_FEATURES_OK && !features_are_fine(v)) {
        trace(TRACE_GUEST_ERRORS, "%s: features %#llx are not on offer\n", v->ops->name, (unsigned long long)v->features);
        status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    }
    if (!legacy && !(status & VIRTIO_STATUS_FEATURES_OK)) status &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
    v->status = (status & (uint8_t)~VIRTIO_STATUS_NEEDS_RESET) | (before & VIRTIO_STATUS_NEEDS_RESET);
    if (v->ops->features_ok && v->status & ~before & (legacy ? VIRTIO_STATUS_DRIVER_OK : VIRTIO_STATUS_FEATURES_OK)) v->ops->features_ok(v);
    if (!(v->status & ~before & VIRTIO_STATUS_DRIVER_OK)) {
        virtio_live_changed(v);
        return;
    }
    for (unsigned n = 0; legacy && n < v->queue_count; n++) {
        /* They may also agree on features after having set up the queues. */
        v->queue[n].has_event_index = v->features & VIRTIO_F_EVENT_IDX;
        v->queue[n].has_indirect = v->features & VIRTIO_F_INDIRECT_DESC;
        v->queue[n].has_notify_on_empty = v->features & VIRTIO_F_NOTIFY_ON_EMPTY;
    }
    if (v->ops->driver_ok) v->ops->driver_ok(v);
    virtio_live_changed(v);
    for (unsigned n = 0; n < v->queue_count; n++) virtio_queue_notify(v, n);
}

/* ---- configuration space ---- */

/* A new generation when a change is read, not when it is made: no number of changes can bring an old one back (4.1.4.3.1). */
static void generation_settle(struct virtio *v)
{
    if (!memcmp(v->config_seen, v->config, v->config_bytes)) return;
    v->config_generation += v->config_was_read;
    memcpy(v->config_seen, v->config, v->config_bytes);
}

void virtio_config_read(struct virtio *v, unsigned offset, void *data, unsigned size)
{
    memset(data, 0xff, size);
    if (offset >= v->config_bytes || size > v->config_bytes - offset) return;
    if (v->ops->config_reading) v->ops->config_reading(v);
    generation_settle(v);
    v->config_was_read = true;
    memcpy(data, v->config + offset, size);
}

void virtio_config_write(struct virtio *v, unsigned offset, const void *data, unsigned size)
{
    if (offset >= v->config_bytes || size > v->config_bytes - offset || !v->ops->config_written) return;
    generation_settle(v);
    memcpy(v->config + offset, data, size);
    v->ops->config_written(v, offset, size);
    memcpy(v->config_seen, v->config, v->config_bytes);    /* what the driver's own write changes is no news to it */
}
