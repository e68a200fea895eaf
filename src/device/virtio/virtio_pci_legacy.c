/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The legacy register interface of the PCI transport: a few registers in I/O space, then the device's configuration. Rings
 * are where a page number says, in one piece. With MSI-X on, two vector registers push the configuration 4 bytes back.
 * Sources: VIRTIO 1.2, sections 4.1.4.10 (register block), 2.7.2 (ring layout), 4.1.5.1.3.1.
 */
#include "base/bits.h"
#include "device/virtio/virtio_pci_private.h"

enum { HOST_FEATURES = 0, GUEST_FEATURES = 4, QUEUE_PFN = 8, QUEUE_SIZE = 12, QUEUE_SELECT = 14, QUEUE_NOTIFY = VIRTIO_PCI_LEGACY_NOTIFY, STATUS = 18,
       ISR = 19, CONFIG_VECTOR = 20, QUEUE_VECTOR = 22, CONFIG = 20, CONFIG_WITH_MSIX = 24, RING_ALIGN = 4096 };

static struct virtqueue *selected(struct virtio_pci *p)
{
    return p->queue_select < p->v->queue_count ? &p->v->queue[p->queue_select] : NULL;
}

static unsigned config_at(const struct virtio_pci *p) { return pci_msix_is_enabled(&p->msix) ? CONFIG_WITH_MSIX : CONFIG; }

static uint64_t register_read(struct virtio_pci *p, unsigned offset)
{
    struct virtqueue *q = selected(p);

    switch (offset) {
    case HOST_FEATURES: return virtio_features_legacy(p->v);
    case GUEST_FEATURES: return (uint32_t)p->v->features;
    case QUEUE_PFN: return q ? q->descriptors / RING_ALIGN : 0;
    case QUEUE_SIZE: return q ? q->size : 0;
    case QUEUE_SELECT: return p->queue_select;
    case STATUS: return p->v->status;
    case ISR: return virtio_pci_isr_take(p);
    case CONFIG_VECTOR: return p->config_vector;
    case QUEUE_VECTOR: return q ? q->vector : VIRTIO_NO_VECTOR;
    default: return UINT32_MAX;
    }
}

static uint64_t legacy_read(void *opaque, uint64_t offset, unsigned size)
{
    struct virtio_pci *p = opaque;
    uint64_t value = 0;

    if (offset < config_at(p)) return register_read(p, (unsigned)offset);
    virtio_config_read(p->v, (unsigned)offset - config_at(p), &value, size);
    return value;
}

/* The page number is that of the descriptor table; both rings follow it. 0 takes the device back to its start. */
static void pfn_write(struct virtio_pci *p, struct virtqueue *q, uint32_t pfn)
{
    if (!pfn) {
        virtio_pci_device_reset(p);
        return;
    }
    if (q->enabled) return;
    q->descriptors = (uint64_t)pfn * RING_ALIGN;
    q->driver = q->descriptors + 16u * q->size;
    q->device = ALIGN_UP(q->driver + 4 + 2u * q->size + 2, (uint64_t)RING_ALIGN);
    virtio_queue_enable(p->v, p->queue_select);
}

static void status_write(struct virtio_pci *p, uint8_t status)
{
    enum { COMMAND = 4, COMMAND_MASTER = 4 };

    if (!status) virtio_pci_device_reset(p);
    else virtio_status_write(p->v, status, true);
    /* Linux before 2.6.34 drives the device without setting the bus master bit. */
    if (status == (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER)) p->pci.config[COMMAND] |= COMMAND_MASTER;
}

static void legacy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct virtio_pci *p = opaque;
    struct virtqueue *q = selected(p);

    if (offset >= config_at(p)) {
        virtio_config_write(p->v, (unsigned)offset - config_at(p), &value, size);
        return;
    }
    switch (offset) {
    case GUEST_FEATURES: p->v->features = value & virtio_features_legacy(p->v); break;
    case QUEUE_PFN: if (q) pfn_write(p, q, (uint32_t)value); break;
    case QUEUE_SELECT: p->queue_select = (uint16_t)value; break;
    case QUEUE_NOTIFY: virtio_pci_notified(p, (uint16_t)value); break;
    case STATUS: status_write(p, (uint8_t)value); break;
    case CONFIG_VECTOR: p->config_vector = virtio_pci_vector(p, (uint16_t)value); break;
    case QUEUE_VECTOR: if (q) virtio_pci_vector_set(p, q, (uint16_t)value); break;
    default: break;
    }
}

static const struct io_ops legacy_io = { legacy_read, legacy_write, 1, 4 };

void virtio_pci_legacy_add(struct virtio_pci *p)
{
    unsigned bytes = (p->config.vectors ? CONFIG_WITH_MSIX : CONFIG) + p->v->config_bytes, size = 32;

    while (size < bytes) size *= 2;
    pci_bar_add_io(&p->pci, 0, size, PCI_BAR_IO, &legacy_io, p, "virtio-legacy");
}
