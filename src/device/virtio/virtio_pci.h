/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI transport: carries any struct virtio as a modern, transitional or legacy function. */
#ifndef DEVICE_VIRTIO_VIRTIO_PCI_H
#define DEVICE_VIRTIO_VIRTIO_PCI_H

#include "bus/pci.h"
#include "device/virtio/virtio.h"

struct virtio_pci_config {
    struct pci_bus *bus;
    int devfn;                       /* -1: the next free slot */
    bool disable_legacy, disable_modern, page_per_queue;
    unsigned vectors;                /* MSI-X; 0: the function has INTx only */
    const void *rom;                 /* option ROM or NULL; stays the caller's, see pci_rom_add */
    uint32_t rom_bytes;
};
/* Takes v over, also when it fails: NULL with *err. */
struct device *virtio_pci_new(const struct virtio_pci_config *config, struct virtio *v, struct error *err);
struct virtio *virtio_pci_device(struct device *d);

#endif
