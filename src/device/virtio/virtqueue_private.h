/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two ring layouts offer to virtqueue.c, and the collector of a chain's buffers that they share. */
#ifndef DEVICE_VIRTIO_VIRTQUEUE_PRIVATE_H
#define DEVICE_VIRTIO_VIRTQUEUE_PRIVATE_H

#include "base/bits.h"
#include "device/virtio/virtqueue.h"

enum { DESC_F_NEXT = 1, DESC_F_WRITE = 2, DESC_F_INDIRECT = 4, DESC_F_AVAIL = 1 << 7, DESC_F_USED = 1 << 15 };

/* Buffers of the chain that is being read: those to read grow from the front, those to write follow. */
struct virtqueue_scratch {
    unsigned out_count, in_count;
    uint64_t out_bytes, in_bytes;
    struct iovec iov[VIRTQUEUE_SEGMENTS_MAX];
    gpa_t gpa[VIRTQUEUE_SEGMENTS_MAX];
};

/* Always false; the queue takes nothing any more. */
bool virtqueue_break(struct virtqueue *q, const char *why);
/* One buffer into q->scratch; false: it is not RAM, or there are too many, and q is broken. */
bool virtqueue_buffer_add(struct virtqueue *q, gpa_t gpa, uint32_t length, bool device_writes);
/* Host pointer to a ring area; NULL breaks the queue. */
void *virtqueue_area(struct virtqueue *q, gpa_t gpa, size_t size);

struct virtqueue_layout {
    int (*check)(struct virtqueue *q);                                  /* areas; -1: broken */
    bool (*is_empty)(struct virtqueue *q);
    /* Reads the next chain into the scratch. false: none, or broken. */
    bool (*take)(struct virtqueue *q, uint16_t *id, uint16_t *slots);
    void (*untake)(struct virtqueue *q, const struct virtqueue_chain *c);
    void (*give)(struct virtqueue *q, struct virtqueue_chain *const *chain, const uint32_t *written, unsigned count);
    bool (*wants_interrupt)(struct virtqueue *q);
    void (*notifications_set)(struct virtqueue *q, bool on);
    bool (*areas)(struct virtqueue *q, void **descriptors, void **driver, void **device);
    void (*go_on)(struct virtqueue *q, uint16_t avail_index);
};
extern const struct virtqueue_layout virtqueue_split, virtqueue_packed;

/* Did an index that went from before to after pass event? (virtio 1.2, 2.7.10: the driver asks to be told then.) */
static inline bool virtqueue_passed(uint16_t event, uint16_t after, uint16_t before)
{
    return (uint16_t)(after - event - 1) < (uint16_t)(after - before);
}

#endif
