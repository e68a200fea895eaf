/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xHCI: capability, operational, runtime and doorbell registers. Work happens when a doorbell rings, as much as is bounded; the rest, and what
 * devices become ready for, is done by the main loop, in virtual time: while the machine is stopped nothing begins. Nothing runs by itself, so an
 * idle controller costs nothing.
 * Limits: contexts of 32 bytes, event rings of one segment, no streams, no saved state (CRS says so).
 * Sources: xHCI 1.1, 5.3-5.6 (registers), 7.2 (supported protocols).
 */
#include "device/usb/xhci.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "device/usb/xhci_private.h"

enum { OPERATIONAL = 0x40, PORTS_AT = 0x440, RUNTIME = 0x1000, INTERRUPTERS_AT = 0x1020, DOORBELLS = 0x2000, MMIO_BYTES = 0x4000, PROTOCOLS = 0x20 };
enum { USBCMD = 0x40, USBSTS = 0x44, PAGESIZE = 0x48, DNCTRL = 0x54, CRCR = 0x58, DCBAAP = 0x70, CONFIG = 0x78 };
enum { CRCR_CYCLE = 1, CRCR_STOP = 2, CRCR_ABORT = 4, CRCR_RUNNING = 8, STS_CLEARABLE = STS_HSE | STS_EINT | STS_PCD | STS_SRE, NS_PER_MICROFRAME = 125000 };
enum { SBRN = 0x60, MSIX_AT = 0x90, MSIX_BAR = 2, INTERRUPT_PIN = 0x3d, CACHE_LINE = 0xc };

static struct xhci *of(struct device *d) { return container_of(d, struct xhci, pci.device); }

/* ---- work ---- */

static void work(void *opaque)
{
    struct xhci *s = opaque;

    if (!(s->cmd & CMD_RS)) return;
    if (s->command_more) {
        s->command_more = false;
        xhci_commands_run(s);
    }
    for (unsigned slot = 1; slot <= XHCI_SLOTS; slot++)
        for (unsigned n = 1; s->slot[slot].enabled && n < XHCI_ENDPOINTS; n++)
            if (s->slot[slot].ep[n].ready) xhci_endpoint_run(s, slot, n);
}

void xhci_work_post(struct xhci *s)
{
    if (!timer_is_armed(s->work)) timer_arm_ns(s->work, clock_virtual_ns());
}

static void device_ready(struct usb_bus *b, struct usb_device *d, unsigned endpoint)
{
    unsigned n = 2 * (endpoint & 15) + (endpoint & USB_REQUEST_IN ? 1 : 0);
    struct xhci *s = b->owner;

    for (unsigned slot = 1; slot <= XHCI_SLOTS; slot++) {
        struct xhci_endpoint *e = &s->slot[slot].ep[n];

        if (!s->slot[slot].enabled || !d->port || strcmp(s->slot[slot].path, d->port->path)) continue;
        e->ready = true;
        xhci_work_post(s);
    }
}

static void doorbell(struct xhci *s, unsigned slot, uint32_t value)
{
    unsigned n = value & 255;

    if (!(s->cmd & CMD_RS)) return;
    if (!slot) {
        if (n) return;
        s->command_runs = true;
        xhci_commands_run(s);
        return;
    }
    if (slot > XHCI_SLOTS || !s->slot[slot].enabled || !n || n >= XHCI_ENDPOINTS) return;
    if (s->slot[slot].ep[n].state == EP_STOPPED) xhci_endpoint_state_set(s, &s->slot[slot].ep[n], EP_RUNNING);
    xhci_endpoint_run(s, slot, n);
}

/* ---- operational registers ---- */

void xhci_controller_reset(struct xhci *s)
{
    for (unsigned n = 0; n < XHCI_INTERRUPTERS; n++) s->intr[n] = (struct xhci_interrupter){ 0 };
    memset(s->slot, 0, sizeof(s->slot));
    s->cmd = s->dnctrl = s->config = 0;
    s->dcbaap = 0;
    s->command = (struct xhci_ring){ 0 };
    s->command_runs = s->command_more = false;
    s->sts = STS_HCH;
    s->start_ns = clock_virtual_ns();
    xhci_ports_reset(s);
    xhci_interrupt_update(s);
}

static void command_write(struct xhci *s, uint32_t value)
{
    if (value & CMD_HCRST) {
        xhci_controller_reset(s);
        return;
    }
    if (value & CMD_CRS) s->sts |= STS_SRE;              /* nothing was kept */
    if (value & CMD_RS && !(s->cmd & CMD_RS)) s->sts &= ~(uint32_t)STS_HCH;
    if (!(value & CMD_RS) && s->cmd & CMD_RS) {
        s->sts |= STS_HCH;
        s->command_runs = false;
    }
    s->cmd = value & CMD_MASK;
    xhci_interrupt_update(s);
}

static void ring_control_low(struct xhci *s, uint32_t value)
{
    if (value & (CRCR_STOP | CRCR_ABORT) && s->command_runs) {
        s->command_runs = s->command_more = false;
        xhci_event(s, 0, &(struct xhci_trb){ s->command.dequeue, CODE_RING_STOPPED << 24, EVENT_COMMAND << 10, 0 });
        return;
    }
    if (s->command_runs) return;
    s->command.dequeue = (s->command.dequeue & ~(gpa_t)UINT32_MAX) | (value & ~63u);
    s->command.cycle = value & CRCR_CYCLE;
}

static void low_set(uint64_t *to, uint32_t value) { *to = (*to & ~(uint64_t)UINT32_MAX) | value; }
static void high_set(uint64_t *to, uint32_t value) { *to = (*to & UINT32_MAX) | (uint64_t)value << 32; }

static void operational_write(struct xhci *s, unsigned at, uint32_t value)
{
    if (at >= PORTS_AT) {
        unsigned n = (at - PORTS_AT) / 16;

        if (n < 2 * s->ports_each && at % 16 == 0) xhci_port_write(s, n, value);
        return;
    }
    switch (at) {
    case USBCMD: command_write(s, value); break;
    case USBSTS: s->sts &= ~(value & STS_CLEARABLE); break;
    case DNCTRL: s->dnctrl = value & 0xffff; break;
    case CRCR: ring_control_low(s, value); break;
    case CRCR + 4: if (!s->command_runs) high_set(&s->command.dequeue, value); break;
    case DCBAAP: low_set(&s->dcbaap, value & ~63u); break;
    case DCBAAP + 4: high_set(&s->dcbaap, value); break;
    case CONFIG: s->config = value & 0xff; break;
    default: trace(TRACE_UNIMP, "xhci: write of %#x to %#x\n", value, at);
    }
}

static uint32_t operational_read(struct xhci *s, unsigned at)
{
    if (at >= PORTS_AT) return (at - PORTS_AT) / 16 < 2 * s->ports_each && at % 16 == 0 ? s->portsc[(at - PORTS_AT) / 16] : 0;
    switch (at) {
    case USBCMD: return s->cmd;
    case USBSTS: return s->sts;
    case PAGESIZE: return 1;
    case DNCTRL: return s->dnctrl;
    case CRCR: return s->command_runs ? CRCR_RUNNING : 0;
    case DCBAAP: return (uint32_t)s->dcbaap;
    case DCBAAP + 4: return (uint32_t)(s->dcbaap >> 32);
    case CONFIG: return s->config;
    default: return 0;
    }
}

/* ---- capabilities ---- */

static uint32_t capability_read(const struct xhci *s, unsigned at)
{
    const uint32_t words[OPERATIONAL / 4] = {
        0x01000040, 2 * s->ports_each << 24 | XHCI_INTERRUPTERS << 8 | XHCI_SLOTS, 0x0000000f, 0, 0x00080001, DOORBELLS, RUNTIME, 0,
        /* USB 2.0 on the first ports, USB 3.0 on the others; "USB ". */
        0x02000402, 0x20425355, s->ports_each << 8 | 1, 0, 0x03000002, 0x20425355, s->ports_each << 8 | (s->ports_each + 1), 0,
    };

    return words[at / 4];
}

/* ---- runtime registers ---- */

static void runtime_write(struct xhci *s, unsigned at, uint32_t value)
{
    unsigned n = (at - INTERRUPTERS_AT) / 32;
    struct xhci_interrupter *i = &s->intr[n < XHCI_INTERRUPTERS ? n : 0];

    if (at < INTERRUPTERS_AT || n >= XHCI_INTERRUPTERS) return;
    switch (at % 32) {
    case 0:
        i->iman = (i->iman & ~(value & 1) & 1) | (value & 2);
        xhci_interrupt_update(s);
        break;
    case 4: i->imod = value; break;
    case 8: i->erstsz = value & 0xffff; break;
    case 16: low_set(&i->erstba, value & ~63u); break;
    case 20:
        high_set(&i->erstba, value);
        xhci_event_ring_set(s, n);
        break;
    case 24: xhci_dequeue_set(s, n, (i->erdp & ~(uint64_t)UINT32_MAX) | value); break;
    case 28: xhci_dequeue_set(s, n, (i->erdp & UINT32_MAX & ~8ull) | (uint64_t)value << 32); break;
    default: break;
    }
}

static uint32_t runtime_read(struct xhci *s, unsigned at)
{
    unsigned n = (at - INTERRUPTERS_AT) / 32;
    const struct xhci_interrupter *i = &s->intr[n < XHCI_INTERRUPTERS ? n : 0];

    if (at == RUNTIME) return (uint32_t)((clock_virtual_ns() - s->start_ns) / NS_PER_MICROFRAME) & 0x3fff;
    if (at < INTERRUPTERS_AT || n >= XHCI_INTERRUPTERS) return 0;
    switch (at % 32) {
    case 0: return i->iman;
    case 4: return i->imod;
    case 8: return i->erstsz;
    case 16: return (uint32_t)i->erstba;
    case 20: return (uint32_t)(i->erstba >> 32);
    case 24: return (uint32_t)i->erdp;
    case 28: return (uint32_t)(i->erdp >> 32);
    default: return 0;
    }
}

static void io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct xhci *s = opaque;
    unsigned at = (unsigned)offset;

    if (size != 4 || at % 4) return;
    trace(TRACE_IO, "xhci: write %#x = %#x\n", at, (unsigned)value);
    if (at >= DOORBELLS) doorbell(s, (at - DOORBELLS) / 4, (uint32_t)value);
    else if (at >= RUNTIME) runtime_write(s, at, (uint32_t)value);
    else if (at >= OPERATIONAL) operational_write(s, at, (uint32_t)value);
}

static uint64_t io_read(void *opaque, uint64_t offset, unsigned size)
{
    unsigned at = (unsigned)offset & ~3u;
    uint32_t value = at >= DOORBELLS ? 0 : at >= RUNTIME ? runtime_read(opaque, at) : at >= OPERATIONAL ? operational_read(opaque, at) : capability_read(opaque, at);

    value >>= 8 * (offset & 3);
    return size == 4 ? value : value & ((1u << 8 * size) - 1);
}

static const struct io_ops io = { io_read, io_write, 1, 4 };

static void config_write(struct pci_device *d, unsigned offset, uint32_t value, unsigned size)
{
    struct xhci *s = (struct xhci *)d;

    pci_msix_config_written(&s->msix, offset, size);
    xhci_interrupt_update(s);
}

/* ---- life ---- */

static void xhci_reset(struct device *d)
{
    pci_msix_reset(&of(d)->msix);
    xhci_controller_reset(of(d));
}

static void xhci_destroy(struct device *d)
{
    struct xhci *s = of(d);

    s->cmd = 0;
    for (unsigned n = 0; n < s->ports_each; n++)
        if (s->port[n].device) usb_detach(s->port[n].device);
    timer_free(s->work);
    pci_msix_destroy(&s->msix);
    pci_device_remove(&s->pci);
    free(s);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct xhci, portsc), STATE_FIELD(struct xhci, cmd), STATE_FIELD(struct xhci, sts), STATE_FIELD(struct xhci, dnctrl), STATE_FIELD(struct xhci, config),
    STATE_FIELD(struct xhci, dcbaap), STATE_FIELD(struct xhci, command.dequeue), STATE_FIELD(struct xhci, command.cycle), STATE_FIELD(struct xhci, command_runs), STATE_END,
};
static const struct pci_device_ops xhci_ops = { { "qemu-xhci", "USB 3 controller", xhci_reset, xhci_destroy, state, NULL, NULL }, NULL, config_write };
static const struct pci_device_ops nec_ops = { { "nec-usb-xhci", "USB 3 controller (NEC)", xhci_reset, xhci_destroy, state, NULL, NULL }, NULL, config_write };

struct device *xhci_new(const struct xhci_config *config, struct usb_bus **bus, struct error *err)
{
    const struct pci_device_ops *ops = config->is_nec ? &nec_ops : &xhci_ops;
    struct xhci *s = calloc(1, sizeof(*s));

    if (!s || !(s->work = timer_new(TIMER_VIRTUAL, work, s))) {
        error_set(err, "%s: no memory", ops->device.name);
        free(s);
        return NULL;
    }
    if (pci_device_init(&s->pci, ops, config->pci, config->devfn, config->is_nec ? 0x1033 : 0x1b36, config->is_nec ? 0x194 : 0xd,
                        config->is_nec ? 0x0c033003 : 0x0c033001, err) < 0) {
        timer_free(s->work);
        free(s);
        return NULL;
    }
    s->pci.device.id = config->id;
    s->is_nec = config->is_nec;
    s->ports_each = config->ports ? config->ports : XHCI_PORTS_DEFAULT;
    s->pci.config[INTERRUPT_PIN] = 1;
    s->pci.config[CACHE_LINE] = 0x10;
    s->pci.config[SBRN] = 0x30;
    pci_bar_add_io(&s->pci, 0, MMIO_BYTES, PCI_BAR_64, &io, s, "xhci");
    if (pci_msix_add(&s->msix, &s->pci, XHCI_INTERRUPTERS, MSIX_BAR, MSIX_AT, err) < 0) {
        pci_device_remove(&s->pci);
        free(s);
        return NULL;
    }
    snprintf(s->bus.name, sizeof(s->bus.name), "%s", config->bus_name);
    snprintf(s->bus.place, sizeof(s->bus.place), "0000:00:%02x.%x", s->pci.devfn >> 3, s->pci.devfn & 7);
    s->bus.ready = device_ready;
    s->bus.owner = s;
    for (unsigned n = 0; n < s->ports_each; n++) {
        s->port[n] = (struct usb_port){ .ops = &xhci_port_ops, .owner = s, .number = n, .speeds = (1 << USB_SPEEDS) - 1 };
        usb_port_add(&s->bus, &s->port[n], NULL);
    }
    *bus = &s->bus;
    xhci_reset(&s->pci.device);
    return &s->pci.device;
}
