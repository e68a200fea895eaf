/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio sockets between the guest and Unix sockets of the host. */
#ifndef DEVICE_VIRTIO_VIRTIO_VSOCK_H
#define DEVICE_VIRTIO_VIRTIO_VSOCK_H

#include "device/virtio/virtio.h"

enum { VIRTIO_VSOCK_CID_MIN = 3, VIRTIO_VSOCK_PATH_MAX = 96 };     /* "_4294967295" fits behind the path in a socket's address */

struct virtio_vsock_config {
    struct memory_map *memory;
    const char *id;
    const char *path;                    /* of the socket for connections to the guest; with _PORT behind it, of those that the guest makes */
    uint32_t guest_cid;
    struct virtio_options options;
};
/* NULL with *err: the socket cannot be made. */
struct virtio *virtio_vsock_new(const struct virtio_vsock_config *config, struct error *err);

#endif
