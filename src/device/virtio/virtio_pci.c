/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI transport: identity, interrupts, reset. Registers are in virtio_pci_modern.c and virtio_pci_legacy.c. BARs and
 * capabilities lie where QEMU has them, so that a guest which moves finds its hardware: BAR 0 legacy registers (I/O), BAR 1
 * MSI-X, BAR 4 modern registers; vendor capabilities from 40h, MSI-X at 98h. With a VGA in the function: BAR 2 modern registers, BAR 4 MSI-X.
 * Source: VIRTIO 1.2, section 4.1.
 */
#include "device/virtio/virtio_pci.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/virtio/virtio_pci_private.h"

enum { VENDOR_REDHAT = 0x1af4, MODERN_BASE = 0x1040, COMMAND = 4, COMMAND_MASTER = 4, SUBSYSTEM_ID = 0x2e, INTERRUPT_PIN = 0x3d };
enum { MSIX_BAR = 1, MSIX_BAR_BESIDE = 4, MSIX_AT = 0x98 };

static struct virtio_pci *of(struct pci_device *d) { return container_of(d, struct virtio_pci, pci); }

/* Transitional IDs go their own ways (4.1.2.1). */
static uint16_t transitional_id(enum virtio_type type)
{
    static const struct { uint8_t type; uint16_t id; } ids[] = {
        { VIRTIO_NET, 0x1000 }, { VIRTIO_BLK, 0x1001 }, { VIRTIO_BALLOON, 0x1002 }, { VIRTIO_CONSOLE, 0x1003 },
        { VIRTIO_SCSI, 0x1004 }, { VIRTIO_RNG, 0x1005 }, { VIRTIO_9P, 0x1009 },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
        if (ids[i].type == type) return ids[i].id;
    return 0;
}

/* ---- interrupts ---- */

/* With MSI-X the bits are set all the same (4.1.4.5.1), but the line is not used. */
static void isr_set(struct virtio_pci *p, uint8_t bits)
{
    p->isr |= bits;
    pci_intx_set(&p->pci, p->isr && !pci_msix_is_enabled(&p->msix));
}

uint8_t virtio_pci_isr_take(struct virtio_pci *p)
{
    uint8_t isr = p->isr;

    p->isr = 0;
    pci_intx_set(&p->pci, 0);
    return isr;
}

static void interrupt(void *opaque, uint16_t vector)
{
    struct virtio_pci *p = opaque;

    if (!pci_msix_is_enabled(&p->msix)) isr_set(p, ISR_QUEUE);
    else if (vector != VIRTIO_NO_VECTOR) pci_msix_send(&p->msix, vector);
}

static void config_changed(void *opaque)
{
    struct virtio_pci *p = opaque;

    isr_set(p, ISR_QUEUE | ISR_CONFIG);
    if (pci_msix_is_enabled(&p->msix) && p->config_vector != VIRTIO_NO_VECTOR) pci_msix_send(&p->msix, p->config_vector);
}

static bool may_dma(void *opaque)
{
    const struct virtio_pci *p = opaque;

    return p->pci.config[COMMAND] & COMMAND_MASTER;
}

uint16_t virtio_pci_vector(const struct virtio_pci *p, uint16_t wanted)
{
    return wanted < p->msix.vectors ? wanted : VIRTIO_NO_VECTOR;
}

void virtio_pci_notified(struct virtio_pci *p, unsigned queue)
{
    p->rung_by_write++;
    virtio_queue_notify(p->v, queue);
}

void virtio_pci_vector_set(struct virtio_pci *p, struct virtqueue *q, uint16_t wanted)
{
    q->vector = virtio_pci_vector(p, wanted);
    virtio_live_changed(p->v);
}

/* ---- life ---- */

void virtio_pci_device_reset(struct virtio_pci *p)
{
    virtio_reset(p->v);
    virtio_pci_isr_take(p);
    p->config_vector = VIRTIO_NO_VECTOR;
    p->queue_select = 0;
}

static void reset(struct device *d)
{
    struct virtio_pci *p = container_of(d, struct virtio_pci, pci.device);

    virtio_pci_device_reset(p);
    p->device_feature_select = p->driver_feature_select = 0;
    pci_msix_reset(&p->msix);
    if (p->part.reset) p->part.reset(p->part.opaque);
}

static void destroy(struct device *d)
{
    struct virtio_pci *p = container_of(d, struct virtio_pci, pci.device);

    virtio_reset(p->v);
    pci_msix_reset(&p->msix);                            /* its descriptors go while the bus is there */
    virtio_pci_bells_free(p);
    if (p->pci.bus) pci_device_remove(&p->pci);
    p->v->ops->destroy(p->v);
    if (p->part.destroy) p->part.destroy(p->part.opaque);
    pci_msix_destroy(&p->msix);
    free(p);
}

static void info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    struct virtio_pci *p = container_of(d, struct virtio_pci, pci.device);
    char line[160];
    unsigned enabled = 0;

    for (unsigned n = 0; n < p->v->queue_count; n++) enabled += p->v->queue[n].enabled;
    snprintf(line, sizeof(line), "status %02x, features %llx, %u of %u queues in use, %s rings%s", p->v->status,
             (unsigned long long)p->v->features, enabled, p->v->queue_count,
             p->v->features & VIRTIO_F_RING_PACKED ? "packed" : "split",
             p->v->status & VIRTIO_STATUS_NEEDS_RESET ? "; NEEDS RESET: the driver broke the rules" : "");
    print(opaque, line);
    snprintf(line, sizeof(line), "notifications: %llu by descriptors, %llu by writes%s", (unsigned long long)p->rung_by_event,
             (unsigned long long)p->rung_by_write, p->bell ? "" : " (ioeventfd is off)");
    print(opaque, line);
    if (p->v->ops->info) p->v->ops->info(p->v, print, opaque);
    if (p->part.info) p->part.info(p->part.opaque, print, opaque);
}

static uint32_t config_read(struct pci_device *d, unsigned offset, unsigned size)
{
    struct virtio_pci *p = of(d);
    uint32_t value = 0;

    if (p->window_cap && offset + size > p->window_cap + 16 && offset < p->window_cap + 20) virtio_pci_window_read(p);
    memcpy(&value, d->config + offset, size);
    return value;
}

static void config_write(struct pci_device *d, unsigned offset, uint32_t value, unsigned size)
{
    struct virtio_pci *p = of(d);

    pci_msix_config_written(&p->msix, offset, size);
    isr_set(p, 0);                                       /* MSI-X may have been switched on or off */
    if (offset <= COMMAND && offset + size > COMMAND) pci_msix_settle(&p->msix);
    virtio_live_changed(p->v);                           /* bus mastering, MSI-X */
    if (p->window_cap && offset + size > p->window_cap + 16 && offset < p->window_cap + 20) virtio_pci_window_write(p);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct virtio_pci, pci.config), STATE_FIELD(struct virtio_pci, isr), STATE_FIELD(struct virtio_pci, config_vector),
    STATE_FIELD(struct virtio_pci, queue_select), STATE_FIELD(struct virtio_pci, device_feature_select),
    STATE_FIELD(struct virtio_pci, driver_feature_select), STATE_ARRAY(struct virtio_pci, msix.pending), STATE_END,
};

static int function_init(struct virtio_pci *p, struct error *err)
{
    const struct virtio_ops *o = p->v->ops;
    bool transitional = transitional_id(o->type) && !p->config.disable_legacy;
    uint16_t id = transitional ? transitional_id(o->type) : MODERN_BASE + o->type;

    if (!transitional && p->config.disable_modern)
        return error_set(err, "%s has no legacy interface; leave out disable-modern or disable-legacy", o->name);
    p->ops = (struct pci_device_ops){ { o->name, o->description, reset, destroy, state, NULL, info }, config_read, config_write };
    if (pci_device_init(&p->pci, &p->ops, p->config.bus, p->config.devfn, VENDOR_REDHAT, id, o->pci_class << 8 | !transitional, err) < 0) {
        p->pci.bus = NULL;
        return -1;
    }
    p->pci.device.id = p->v->id;
    p->pci.config[SUBSYSTEM_ID - 2] = VENDOR_REDHAT & 0xff;
    p->pci.config[SUBSYSTEM_ID - 1] = VENDOR_REDHAT >> 8;
    p->pci.config[SUBSYSTEM_ID] = transitional ? (uint8_t)o->type : 0x00;
    p->pci.config[SUBSYSTEM_ID + 1] = transitional ? 0 : 0x11;
    p->pci.config[INTERRUPT_PIN] = 1;
    if (!p->config.disable_modern) virtio_pci_modern_add(p);
    if (p->config.vectors && pci_msix_add(&p->msix, &p->pci, p->config.vectors, p->part.registers ? MSIX_BAR_BESIDE : MSIX_BAR, MSIX_AT, err) < 0) return -1;
    p->has_legacy = transitional;
    if (transitional) virtio_pci_legacy_add(p);
    if (p->config.rom) pci_rom_add(&p->pci, p->config.rom, p->config.rom_bytes);
    virtio_pci_bells_make(p);
    return 0;
}

struct pci_device *virtio_pci_function(struct device *d) { return &container_of(d, struct virtio_pci, pci.device)->pci; }
struct virtio *virtio_pci_device(struct device *d) { return container_of(d, struct virtio_pci, pci.device)->v; }

struct device *virtio_pci_new(const struct virtio_pci_config *config, struct virtio *v, struct error *err)
{
    struct virtio_pci *p = calloc(1, sizeof(*p));

    if (!p) {
        v->ops->destroy(v);
        if (config->part) config->part->destroy(config->part->opaque);
        error_set(err, "no memory for a virtio device");
        return NULL;
    }
    p->v = v;
    p->config = *config;
    if (config->part) p->part = *config->part;
    v->transport = (struct virtio_transport){ interrupt, config_changed, may_dma, virtio_pci_queue_changed, virtio_pci_bell_take, virtio_pci_bell_give, virtio_pci_call, p };
    if (function_init(p, err) < 0) {
        destroy(&p->pci.device);
        return NULL;
    }
    virtio_pci_device_reset(p);
    return &p->pci.device;
}
