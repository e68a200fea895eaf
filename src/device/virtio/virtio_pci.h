/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI transport: carries any struct virtio as a modern, transitional or legacy function. */
#ifndef DEVICE_VIRTIO_VIRTIO_PCI_H
#define DEVICE_VIRTIO_VIRTIO_PCI_H

#include "bus/pci.h"
#include "device/virtio/virtio.h"

/* Another device in the same function (virtio-vga's VGA): its registers are the first page of BAR 2, where the modern ones then follow; BARs 0 and
 * 1 and the ROM are its own. */
struct virtio_pci_part {
    const struct io_ops *registers;
    void (*reset)(void *opaque);
    void (*destroy)(void *opaque);   /* the function's BARs and ROM are gone by then */
    void (*info)(void *opaque, void (*print)(void *opaque, const char *line), void *print_opaque);
    void *opaque;
};

struct virtio_pci_config {
    struct pci_bus *bus;
    int devfn;                       /* -1: the next free slot */
    bool disable_legacy, disable_modern, page_per_queue, no_events;
    unsigned vectors;                /* MSI-X; 0: the function has INTx only */
    const void *rom;                 /* option ROM or NULL; stays the caller's, see pci_rom_add */
    uint32_t rom_bytes;
    const struct virtio_pci_part *part;  /* copied; NULL: none */
};
/* Takes v over, and the part, also when it fails: NULL with *err. */
struct device *virtio_pci_new(const struct virtio_pci_config *config, struct virtio *v, struct error *err);
/* The processors stand: what they rang for is served now. */
void virtio_pci_settle(struct device *d);
struct virtio *virtio_pci_device(struct device *d);
struct pci_device *virtio_pci_function(struct device *d);

#endif
