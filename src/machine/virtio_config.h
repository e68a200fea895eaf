/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio devices that a command line asked for. */
#ifndef MACHINE_VIRTIO_CONFIG_H
#define MACHINE_VIRTIO_CONFIG_H

#include "device/virtio/virtio_9p.h"
#include "device/virtio/virtio_balloon.h"
#include "device/virtio/virtio_blk.h"
#include "device/virtio/virtio_console.h"
#include "device/virtio/virtio_gpu.h"
#include "device/virtio/virtio_input.h"
#include "device/virtio/virtio_net.h"
#include "device/virtio/virtio_pci.h"
#include "device/virtio/virtio_rng.h"
#include "device/virtio/virtio_scsi.h"
#include "device/virtio/virtio_vsock.h"
#include "machine/net_config.h"

enum virtio_kind { VIRTIO_KIND_BLK, VIRTIO_KIND_RNG, VIRTIO_KIND_SERIAL, VIRTIO_KIND_BALLOON, VIRTIO_KIND_SCSI, VIRTIO_KIND_NET, VIRTIO_KIND_9P,
                   VIRTIO_KIND_INPUT, VIRTIO_KIND_VSOCK };

struct virtio_device_config {
    enum virtio_kind kind;
    const char *id;                    /* the user's or NULL */
    struct virtio_pci_config pci;      /* bus is filled in when it is made; vectors only if has_vectors */
    bool has_vectors;
    struct virtio_options options;
    unsigned drive;                    /* blk: which of machine_config's */
    struct virtio_blk_config blk;      /* queues 0: one a CPU */
    struct virtio_rng_config rng;
    struct virtio_balloon_config balloon;
    struct virtio_console_config console;
    struct virtio_scsi_config scsi;    /* queues 0: one a CPU */
    unsigned scsi_drive[VIRTIO_SCSI_UNITS];          /* which of machine_config's each unit is */
    struct virtio_9p_config share;     /* 9p */
    struct virtio_gpu_config gpu;      /* of the graphic card, which has a place of its own */
    struct virtio_input_config input;
    struct virtio_vsock_config vsock;
    struct virtio_net_config net;
    struct nic_common nic;             /* net: the rest of it */
    const char *chardev[VIRTIO_CONSOLE_PORTS_MAX];   /* what each port is connected to, as in -serial */
};

#endif
