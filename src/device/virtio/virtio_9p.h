/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio 9P transport: a folder of the host for the guest. */
#ifndef DEVICE_VIRTIO_VIRTIO_9P_H
#define DEVICE_VIRTIO_VIRTIO_9P_H

#include "device/virtio/virtio.h"
#include "p9/server.h"

enum { VIRTIO_9P_TAG_MAX = 32 };

struct virtio_9p_config {
    struct memory_map *memory;
    const char *id, *tag;                /* tag: what the guest mounts, 1 to 32 characters */
    struct p9_config share;
    struct virtio_options options;
};
/* NULL with *err. */
struct virtio *virtio_9p_new(const struct virtio_9p_config *config, struct error *err);

#endif
