/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio disk. */
#ifndef DEVICE_VIRTIO_VIRTIO_BLK_H
#define DEVICE_VIRTIO_VIRTIO_BLK_H

#include "block/block.h"
#include "block/on_error.h"
#include "device/virtio/virtio.h"

struct virtio_blk_config {
    struct memory_map *memory;
    const char *id;
    struct block_node *node;             /* stays the caller's and must outlive the device */
    const char *serial;                  /* at most 20 characters; NULL: none */
    unsigned queues;                     /* 1..1023 */
    uint16_t queue_size;                 /* power of two, 4..1024; 0: 256 */
    bool write_cache;                    /* at the start; the driver may change it */
    bool no_config_wce, no_discard, no_write_zeroes;
    uint32_t logical_block_bytes, physical_block_bytes;     /* 0: 512 and as logical */
    uint32_t min_io_bytes, opt_io_bytes, discard_granularity_bytes;
    uint32_t max_discard_sectors, max_write_zeroes_sectors; /* 0: 4194303 */
    struct virtio_options options;
    struct block_error_policy on_error;  /* what stops waits for virtio_blk_retry */
};
/* NULL with *err. */
struct virtio *virtio_blk_new(const struct virtio_blk_config *config, struct error *err);
/* Requests that waited for room on the host are tried again. */
void virtio_blk_retry(struct virtio *v);
/* The node has another size. */
void virtio_blk_resized(struct virtio *v);

#endif
