/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtqueues as a device sees them: chains of buffers come out, used ones go back. Both ring layouts of virtio 1.2
 * (2.7 split, 2.8 packed) look the same from here. All calls with the machine lock held.
 */
#ifndef DEVICE_VIRTIO_VIRTQUEUE_H
#define DEVICE_VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "memory/map.h"

enum { VIRTQUEUE_SIZE_MAX = 1024, VIRTQUEUE_SEGMENTS_MAX = 1024 };

/* Ring feature bits (virtio 1.2 section 6). */
#define VIRTIO_F_NOTIFY_ON_EMPTY (1ull << 24)
#define VIRTIO_F_ANY_LAYOUT      (1ull << 27)
#define VIRTIO_F_INDIRECT_DESC   (1ull << 28)
#define VIRTIO_F_EVENT_IDX       (1ull << 29)
#define VIRTIO_F_VERSION_1       (1ull << 32)
#define VIRTIO_F_RING_PACKED     (1ull << 34)
#define VIRTIO_F_RING_RESET      (1ull << 40)

/* One request of the driver: what the device may read (out), then what it may write (in). The vectors point into guest
 * RAM, which the guest may change at any time: copy, check, use. */
struct virtqueue_chain {
    struct virtqueue_chain *next;    /* free for the device's own lists */
    void *owner;                     /* likewise */
    uint16_t id, slots;              /* what goes back into the ring; packed: ring entries it took */
    bool is_writable;                /* some of it, whatever the device has cut from in since */
    unsigned out_count, in_count;
    uint64_t out_bytes, in_bytes;
    struct iovec *out, *in;
    gpa_t *in_gpa;                   /* where in[] lies */
};

struct virtqueue {
    /* Set by the transport while the queue is not enabled. */
    struct memory_map *memory;
    uint64_t descriptors, driver, device;    /* guest addresses of the three areas */
    uint16_t size, size_max;
    uint16_t vector;                         /* MSI-X vector, VIRTIO_NO_VECTOR: none */
    bool enabled;

    /* Set by virtqueue_start. */
    bool is_packed, has_event_index, has_indirect, has_notify_on_empty;
    uint16_t avail_index, used_index;        /* split: free running; packed: places in the ring */
    uint16_t avail_seen;                     /* split: the driver's index as last read */
    bool avail_wrap, used_wrap;              /* packed */
    bool notifications_off;
    uint16_t signalled;                      /* used_index when the driver was told last */
    bool signalled_wrap;
    unsigned unsignalled;                    /* packed: ring entries used since, at most twice the size */
    uint16_t in_flight;                      /* popped and not yet pushed (packed: ring entries) */
    const char *broken;                      /* what the driver did wrong; nothing is taken any more */
    struct virtqueue_scratch *scratch;       /* while a chain is read; made by virtqueue_start */
};

/* Checks the areas the driver chose and begins at the start of the ring. 0, or -1: broken says why. */
int virtqueue_start(struct virtqueue *q, uint64_t features);
/* Back to not enabled, addresses forgotten; size is size_max again. Chains in flight must be gone (virtqueue_drop). */
void virtqueue_reset(struct virtqueue *q);
/* Frees what q points to. */
void virtqueue_destroy(struct virtqueue *q);

/* For somebody else who serves a split queue in our place: host pointers to the three areas (false: broken) ... */
bool virtqueue_areas(struct virtqueue *q, void **descriptors, void **driver, void **device);
/* ... and has come to this place when we go on. */
void virtqueue_continue(struct virtqueue *q, uint16_t avail_index);

/* The next chain the driver made available, or NULL: none, not enabled, or broken (see q->broken). */
struct virtqueue_chain *virtqueue_pop(struct virtqueue *q);
/* Puts a chain back unused; only the one popped last. */
void virtqueue_unpop(struct virtqueue *q, struct virtqueue_chain *c);
/* The device is done and wrote the first written bytes of in. Frees c. Interrupts are the caller's. */
void virtqueue_push(struct virtqueue *q, struct virtqueue_chain *c, uint64_t written);
/* The same for several that belong together: the driver sees all of them used, or none. */
void virtqueue_push_together(struct virtqueue *q, struct virtqueue_chain *const *chain, const uint32_t *written, unsigned count);
/* Forgets a chain: the queue is being reset. */
void virtqueue_drop(struct virtqueue *q, struct virtqueue_chain *c);
bool virtqueue_is_empty(struct virtqueue *q);
/* Does the driver want an interrupt for what was pushed since it was last asked for one? Counts as asked if so. */
bool virtqueue_wants_interrupt(struct virtqueue *q);
/* Tells the driver whether the device wants to be notified. After switching on look at the queue once more. */
void virtqueue_notifications_set(struct virtqueue *q, bool on);

/* Bytes copied; less than size where the chain ends. */
size_t virtqueue_read(const struct virtqueue_chain *c, uint64_t offset, void *data, size_t size);
size_t virtqueue_write(struct virtqueue *q, struct virtqueue_chain *c, uint64_t offset, const void *data, size_t size);
/* Drops count bytes from the front of a vector; returns the pieces left. */
unsigned virtqueue_iov_skip(struct iovec **iov, unsigned pieces, uint64_t count);

#endif
