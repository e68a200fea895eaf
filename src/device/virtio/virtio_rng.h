/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio entropy source. */
#ifndef DEVICE_VIRTIO_VIRTIO_RNG_H
#define DEVICE_VIRTIO_VIRTIO_RNG_H

#include "device/virtio/virtio.h"

struct virtio_rng_config {
    struct memory_map *memory;
    const char *id;
    const char *filename;                /* where random bytes come from; NULL: the host's generator */
    uint64_t max_bytes;                  /* in a period; 0: no limit */
    uint32_t period_ms;
    struct virtio_options options;
};
/* NULL with *err: the file cannot be opened. */
struct virtio *virtio_rng_new(const struct virtio_rng_config *config, struct error *err);

#endif
