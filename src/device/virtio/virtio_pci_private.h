/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the modern and the legacy register interface of the PCI transport share. */
#ifndef DEVICE_VIRTIO_VIRTIO_PCI_PRIVATE_H
#define DEVICE_VIRTIO_VIRTIO_PCI_PRIVATE_H

#include "bus/pci_msix.h"
#include "device/virtio/virtio_pci.h"

enum { ISR_QUEUE = 1, ISR_CONFIG = 2, VIRTIO_PCI_LEGACY_NOTIFY = 16 };

struct virtio_pci {
    struct pci_device pci;
    struct pci_device_ops ops;       /* with the virtio device's name */
    struct virtio *v;
    struct virtio_pci_config config;
    struct virtio_pci_part part;     /* registers NULL: none */
    struct pci_msix msix;
    struct virtio_pci_bell *bell;    /* a queue; NULL: notifications are writes to registers */
    uint64_t rung_by_event, rung_by_write;
    bool has_legacy;
    uint8_t isr;
    uint16_t config_vector, queue_select;
    uint32_t device_feature_select, driver_feature_select;
    unsigned modern_bar, common_at, isr_at;
    unsigned notify_stride;          /* bytes between the notify registers of two queues */
    unsigned window_cap;             /* offset of the PCI configuration access capability; 0: none */
};

uint8_t virtio_pci_isr_take(struct virtio_pci *p);
/* The driver wrote a queue's notify register. */
void virtio_pci_notified(struct virtio_pci *p, unsigned queue);
/* A vector register's new value: one that is not there reads back as none. */
uint16_t virtio_pci_vector(const struct virtio_pci *p, uint16_t wanted);
/* A queue's. */
void virtio_pci_vector_set(struct virtio_pci *p, struct virtqueue *q, uint16_t wanted);
void virtio_pci_device_reset(struct virtio_pci *p);

/* virtio_pci_legacy.c: BAR 0. */
void virtio_pci_legacy_add(struct virtio_pci *p);
/* virtio_pci_modern.c: BAR 4 (2 beside another part), the capabilities, and the access to the BAR through configuration space. */
void virtio_pci_modern_add(struct virtio_pci *p);
void virtio_pci_window_read(struct virtio_pci *p);
void virtio_pci_window_write(struct virtio_pci *p);
/* Offset of a queue's notify register in the modern BAR. */
uint64_t virtio_pci_modern_notify(const struct virtio_pci *p, unsigned queue);

/* virtio_pci_events.c: notifications by eventfd. free: before the function leaves the bus. */
void virtio_pci_bells_make(struct virtio_pci *p);
void virtio_pci_bells_free(struct virtio_pci *p);
void virtio_pci_queue_changed(void *opaque, unsigned queue);
int virtio_pci_bell_take(void *opaque, unsigned queue);
void virtio_pci_bell_give(void *opaque, unsigned queue);
int virtio_pci_call(void *opaque, unsigned queue);

#endif
