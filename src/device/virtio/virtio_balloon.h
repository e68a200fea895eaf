/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio memory balloon. */
#ifndef DEVICE_VIRTIO_VIRTIO_BALLOON_H
#define DEVICE_VIRTIO_VIRTIO_BALLOON_H

#include "device/virtio/virtio.h"

struct virtio_balloon_config {
    struct memory_map *memory;
    const char *id;
    void *ram_hva;                       /* pages given up are taken from this block only */
    uint64_t ram_bytes;
    bool ram_shared;                     /* MADV_REMOVE gives the memory back then */
    bool deflate_on_oom, free_page_reporting;
    uint32_t poll_s;                     /* ask for statistics so often; 0: only when they are shown */
    void (*changed)(void *opaque, uint64_t actual_bytes);    /* the guest keeps so much now; may be NULL */
    void *opaque;
    struct virtio_options options;
};
/* NULL with *err. */
struct virtio *virtio_balloon_new(const struct virtio_balloon_config *config, struct error *err);
/* What the guest shall keep, in bytes; it gives up the rest as it can. Any value up to its RAM. */
void virtio_balloon_target_set(struct virtio *v, uint64_t bytes);
/* What it has kept so far. */
uint64_t virtio_balloon_actual_bytes(const struct virtio *v);
/* A statistic by its tag, and when the guest told it (seconds since 1970). false: it has not. */
bool virtio_balloon_stat(const struct virtio *v, unsigned tag, uint64_t *value, int64_t *updated_s);
uint32_t virtio_balloon_poll(const struct virtio *v);        /* config's poll_s */
void virtio_balloon_poll_set(struct virtio *v, uint32_t seconds);

#endif
