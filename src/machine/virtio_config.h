/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio devices that a command line asked for. */
#ifndef MACHINE_VIRTIO_CONFIG_H
#define MACHINE_VIRTIO_CONFIG_H

#include "device/virtio/virtio_blk.h"
#include "device/virtio/virtio_pci.h"

enum virtio_kind { VIRTIO_KIND_BLK };

struct virtio_device_config {
    enum virtio_kind kind;
    const char *id;                    /* the user's or NULL */
    struct virtio_pci_config pci;      /* bus is filled in when it is made; vectors only if has_vectors */
    bool has_vectors;
    struct virtio_options options;
    unsigned drive;                    /* blk: which of machine_config's */
    struct virtio_blk_config blk;      /* queues 0: one a CPU */
};

#endif
