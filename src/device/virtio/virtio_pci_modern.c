/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The modern register interface of the PCI transport: four regions of BAR 4 (common, ISR, device configuration,
 * notifications), the vendor capabilities that say where they are, and the capability through which firmware that cannot
 * reach the BAR gets at them. Beside another part of the function it is BAR 2, the part's registers come first, and the first two regions are
 * half as long.
 * Source: VIRTIO 1.2, sections 4.1.3 and 4.1.4.
 */
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "device/virtio/virtio_pci_private.h"

enum { BAR = 4, BAR_BESIDE = 2, ISR_AT = 0x1000, COMMON_BESIDE = 0x1000, ISR_BESIDE = 0x1800, DEVICE_AT = 0x2000, NOTIFY_AT = 0x3000, REGION = 0x1000, STRIDE = 4, PAGE = 4096 };
enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4, CAP_WINDOW = 5 };

/* struct virtio_pci_common_cfg (4.1.4.3). */
struct common {
    uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
    uint16_t config_vector, num_queues;
    uint8_t status, generation;
    uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
    uint64_t queue_descriptors, queue_driver, queue_device;
    uint16_t queue_notify_data, queue_reset;
} __attribute__((packed));

static void common_fill(struct virtio_pci *p, struct common *c)
{
    const struct virtqueue *q = p->queue_select < p->v->queue_count ? &p->v->queue[p->queue_select] : NULL;

    *c = (struct common){
        .device_feature_select = p->device_feature_select, .driver_feature_select = p->driver_feature_select,
        .config_vector = p->config_vector, .num_queues = (uint16_t)p->v->queue_count,
        .status = p->v->status, .generation = p->v->config_generation, .queue_select = p->queue_select,
    };
    if (c->device_feature_select < 2)
        c->device_feature = (uint32_t)(virtio_features_modern(p->v) >> 32 * c->device_feature_select);
    if (c->driver_feature_select < 2) c->driver_feature = (uint32_t)(p->v->features >> 32 * c->driver_feature_select);
    c->queue_notify_off = p->queue_select;
    c->queue_vector = VIRTIO_NO_VECTOR;
    if (!q) return;
    c->queue_size = q->size;
    c->queue_vector = q->vector;
    c->queue_enable = q->enabled;
    c->queue_descriptors = q->descriptors;
    c->queue_driver = q->driver;
    c->queue_device = q->device;
    c->queue_notify_data = p->queue_select;
}

static uint64_t common_read(struct virtio_pci *p, unsigned offset, unsigned size)
{
    struct common c;
    uint64_t value = 0;

    if (offset + size > sizeof(c)) return 0;
    common_fill(p, &c);
    memcpy(&value, (const uint8_t *)&c + offset, size);
    return value;
}

/* What the driver may take: bits that are not on offer are seen when it sets FEATURES_OK. */
static void driver_feature_write(struct virtio_pci *p, uint32_t value)
{
    unsigned shift = 32 * p->driver_feature_select;

    if (p->driver_feature_select > 1 || p->v->status & VIRTIO_STATUS_FEATURES_OK) return;
    p->v->features = (p->v->features & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

static void status_write(struct virtio_pci *p, uint8_t status)
{
    if (!status) virtio_pci_device_reset(p);
    else virtio_status_write(p->v, status, false);
}

static void put_half(uint64_t *to, unsigned at, uint64_t value, unsigned size)
{
    if (at + size <= 8) memcpy((uint8_t *)to + at, &value, size);
}

/* A size that is none shows as that of a queue that is not there, and such a queue is not enabled. */
static uint16_t size_checked(const struct virtio_pci *p, uint16_t size)
{
    return size & (size - 1) && !(p->v->features & VIRTIO_F_RING_PACKED) ? 0 : size;
}

static void queue_write(struct virtio_pci *p, unsigned offset, uint64_t value, unsigned size)
{
    struct virtqueue *q = &p->v->queue[p->queue_select];

    if (offset == offsetof(struct common, queue_vector)) virtio_pci_vector_set(p, q, (uint16_t)value);
    else if (offset == offsetof(struct common, queue_reset)) {
        if (value == 1 && p->v->features & VIRTIO_F_RING_RESET) virtio_queue_stop(p->v, p->queue_select);
    } else if (q->enabled) return;                     /* 4.1.4.3.2: not while it is enabled */
    else if (offset == offsetof(struct common, queue_size)) q->size = size_checked(p, (uint16_t)value);
    else if (offset == offsetof(struct common, queue_enable)) {
        if (value == 1 && p->v->status & VIRTIO_STATUS_FEATURES_OK) virtio_queue_enable(p->v, p->queue_select);
    } else if (offset >= offsetof(struct common, queue_device))
        put_half(&q->device, offset - offsetof(struct common, queue_device), value, size);
    else if (offset >= offsetof(struct common, queue_driver))
        put_half(&q->driver, offset - offsetof(struct common, queue_driver), value, size);
    else if (offset >= offsetof(struct common, queue_descriptors))
        put_half(&q->descriptors, offset - offsetof(struct common, queue_descriptors), value, size);
}

static void common_write(struct virtio_pci *p, unsigned offset, uint64_t value, unsigned size)
{
    switch (offset) {
    case offsetof(struct common, device_feature_select): p->device_feature_select = (uint32_t)value; break;
    case offsetof(struct common, driver_feature_select): p->driver_feature_select = (uint32_t)value; break;
    case offsetof(struct common, driver_feature): driver_feature_write(p, (uint32_t)value); break;
    case offsetof(struct common, config_vector): p->config_vector = virtio_pci_vector(p, (uint16_t)value); break;
    case offsetof(struct common, status): status_write(p, (uint8_t)value); break;
    case offsetof(struct common, queue_select): p->queue_select = (uint16_t)value; break;
    default:
        if (offset >= offsetof(struct common, queue_size) && p->queue_select < p->v->queue_count) queue_write(p, offset, value, size);
    }
}

static uint64_t modern_read(void *opaque, uint64_t offset, unsigned size)
{
    struct virtio_pci *p = opaque;
    uint64_t value = 0;

    if (offset < p->common_at) return p->part.registers->read(p->part.opaque, offset, size);
    if (offset < p->isr_at) return common_read(p, (unsigned)offset - p->common_at, size);
    if (offset == p->isr_at) return virtio_pci_isr_take(p);
    if (offset >= DEVICE_AT && offset < NOTIFY_AT) virtio_config_read(p->v, (unsigned)offset - DEVICE_AT, &value, size);
    return value;
}

static void modern_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct virtio_pci *p = opaque;

    if (offset >= NOTIFY_AT) virtio_pci_notified(p, (unsigned)(offset - NOTIFY_AT) / p->notify_stride);
    else if (offset >= DEVICE_AT) virtio_config_write(p->v, (unsigned)offset - DEVICE_AT, &value, size);
    else if (offset < p->common_at) p->part.registers->write(p->part.opaque, offset, value, size);
    else if (offset < p->isr_at) common_write(p, (unsigned)offset - p->common_at, value, size);
}

uint64_t virtio_pci_modern_notify(const struct virtio_pci *p, unsigned queue) { return NOTIFY_AT + (uint64_t)queue * p->notify_stride; }

static const struct io_ops modern_io = { modern_read, modern_write, 1, 4 };

/* ---- through configuration space (4.1.4.9) ---- */

enum { WINDOW_BAR = 4, WINDOW_OFFSET = 8, WINDOW_LENGTH = 12, WINDOW_DATA = 16 };

static bool window_get(const struct virtio_pci *p, uint32_t *offset, uint32_t *length)
{
    const uint8_t *c = p->pci.config + p->window_cap;

    memcpy(offset, c + WINDOW_OFFSET, 4);
    memcpy(length, c + WINDOW_LENGTH, 4);
    if (c[WINDOW_BAR] != p->modern_bar || (*length != 1 && *length != 2 && *length != 4)) return false;
    return !(*offset & (*length - 1)) && *offset < p->pci.bar[p->modern_bar].size;
}

void virtio_pci_window_read(struct virtio_pci *p)
{
    uint32_t offset, length;
    uint64_t value;

    if (!window_get(p, &offset, &length)) return;
    value = modern_read(p, offset, length);
    memcpy(p->pci.config + p->window_cap + WINDOW_DATA, &value, length);
}

void virtio_pci_window_write(struct virtio_pci *p)
{
    uint32_t offset, length;
    uint64_t value = 0;

    if (!window_get(p, &offset, &length)) return;
    memcpy(&value, p->pci.config + p->window_cap + WINDOW_DATA, length);
    modern_write(p, offset, value, length);
}

/* ---- capabilities ---- */

static void capability(struct virtio_pci *p, uint8_t at, uint8_t length, uint8_t type, uint32_t offset, uint32_t bytes)
{
    uint8_t *c = p->pci.config + at;

    pci_capability_add(&p->pci, 9, at);
    c[2] = length;
    c[3] = type;
    c[4] = type == CAP_WINDOW ? 0 : (uint8_t)p->modern_bar;
    memcpy(c + 8, &offset, 4);
    memcpy(c + 12, &bytes, 4);
}

void virtio_pci_modern_add(struct virtio_pci *p)
{
    uint32_t notify_bytes = REGION, size = NOTIFY_AT;
    bool beside = p->part.registers;
    uint32_t region = beside ? REGION / 2 : REGION;

    p->modern_bar = beside ? BAR_BESIDE : BAR;
    p->common_at = beside ? COMMON_BESIDE : 0;
    p->isr_at = beside ? ISR_BESIDE : ISR_AT;
    p->notify_stride = p->config.page_per_queue ? PAGE : STRIDE;
    while (notify_bytes < p->v->queue_count * p->notify_stride) notify_bytes *= 2;
    while (size < NOTIFY_AT + notify_bytes) size = size == NOTIFY_AT ? 0x4000 : size * 2;
    capability(p, 0x40, 16, CAP_COMMON, p->common_at, region);
    capability(p, 0x50, 16, CAP_ISR, p->isr_at, region);
    capability(p, 0x60, 16, CAP_DEVICE, DEVICE_AT, REGION);
    capability(p, 0x70, 20, CAP_NOTIFY, NOTIFY_AT, notify_bytes);
    memcpy(p->pci.config + 0x80, &p->notify_stride, 4);
    capability(p, 0x84, 20, CAP_WINDOW, 0, 0);
    p->window_cap = 0x84;
    p->pci.writable[0x84 + WINDOW_BAR] = 0xff;
    memset(p->pci.writable + 0x84 + WINDOW_OFFSET, 0xff, 12);
    pci_bar_add_io(&p->pci, p->modern_bar, size, PCI_BAR_64 | PCI_BAR_PREFETCH, &modern_io, p, "virtio");
}
