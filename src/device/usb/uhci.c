/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UHCI: registers, root ports, time. A frame begins every millisecond while the controller runs.
 *
 * Guests change the schedule in memory without telling anybody, so it has to be looked at; but not every millisecond. When nothing has moved
 * for a while frames are gathered and walked a few at a time, which costs one wake-up instead of many; what a device has to say ends that at once
 * (usb_ready), and who reads FRNUM sees frames walked up to now.
 * Limits: no legacy keyboard emulation (SMIs), no isochronous devices.
 * Sources: Universal Host Controller Interface 1.1, 2.1 (registers), 2.2 (LEGSUP); 82371SB data sheet 290550, function 2.
 */
#include "device/usb/uhci.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "device/usb/uhci_private.h"

enum { USBCMD = 0, USBSTS = 2, USBINTR = 4, FRNUM = 6, FLBASEADD = 8, SOFMOD = 12, PORTSC = 16, IO_BYTES = 32, SOFMOD_DEFAULT = 64 };
enum { PORT_CCS = 1, PORT_CSC = 2, PORT_PED = 4, PORT_PEDC = 8, PORT_RESUME = 0x40, PORT_ONE = 0x80, PORT_LOW_SPEED = 0x100, PORT_RESET = 0x200, PORT_SUSPEND = 0x1000,
       PORT_WRITABLE = PORT_PED | PORT_RESUME | PORT_RESET | PORT_SUSPEND };
enum { SBRN = 0x60, LEGSUP = 0xc0, LEGSUP_PIRQ = 0x2000, INTERRUPT_PIN = 0x3d, PIN_D = 4 };
enum { NS_PER_FRAME = 1000000, QUIET_FRAMES = 16, QUIET_STRIDE = 8, FRAMES_AT_ONCE = 32 };

static struct uhci *of(struct device *d) { return container_of(d, struct uhci, pci.device); }

/* ---- interrupts ---- */

static void interrupt_update(struct uhci *s)
{
    bool up = (s->sts & STS_USBINT && s->causes & s->intr) || (s->sts & STS_ERROR && s->intr & INTR_TIMEOUT) ||
              (s->sts & STS_RESUME && s->intr & INTR_RESUME) || s->sts & (STS_HSE | STS_HCPE);

    pci_intx_set(&s->pci, up && s->pci.config[LEGSUP + 1] & LEGSUP_PIRQ >> 8);
}

/* ---- time ---- */

static bool runs(const struct uhci *s) { return s->cmd & CMD_RS && !(s->cmd & CMD_EGSM); }

static void frame_one(struct uhci *s)
{
    struct uhci_result r = uhci_frame_run(s);

    s->quiet = r.moved ? 0 : s->quiet + 1;
    if (r.causes) {
        s->causes |= r.causes;
        s->sts |= STS_USBINT;
    }
    s->sts |= r.errors;
    if (r.errors & (STS_HSE | STS_HCPE)) {
        s->cmd &= ~CMD_RS;
        s->sts |= STS_HCHALTED;
    }
    s->frnum = (s->frnum + 1) & 0x7ff;
    s->frame_ns += NS_PER_FRAME;
}

/* Frames that have begun. A host that was away for long has missed some. */
static void frames_run(struct uhci *s)
{
    int64_t now = clock_virtual_ns(), late = (now - s->frame_ns) / NS_PER_FRAME - FRAMES_AT_ONCE;

    if (late > 0 && runs(s)) {
        s->frnum = (uint16_t)((s->frnum + late) & 0x7ff);
        s->frame_ns += late * NS_PER_FRAME;
    }
    while (runs(s) && s->frame_ns <= now) frame_one(s);
    interrupt_update(s);
}

static void timer_set(struct uhci *s)
{
    if (!runs(s)) timer_disarm(s->timer);
    else timer_arm_ns(s->timer, s->frame_ns + (s->quiet > QUIET_FRAMES ? (QUIET_STRIDE - 1) * (int64_t)NS_PER_FRAME : 0));
}

static void frame_due(void *opaque)
{
    struct uhci *s = opaque;

    frames_run(s);
    timer_set(s);
}

/* Something is about to happen: every frame counts. */
static void wake(struct uhci *s)
{
    s->quiet = 0;
    if (runs(s)) timer_set(s);
}

static void device_ready(struct usb_bus *b, struct usb_device *d, unsigned endpoint) { wake(b->owner); }

/* ---- ports ---- */

static void resume_detected(struct uhci *s)
{
    if (!(s->cmd & CMD_EGSM)) return;
    s->cmd |= CMD_FGR;
    s->sts |= STS_RESUME;
    interrupt_update(s);
}

static void port_attached(struct usb_port *p)
{
    struct uhci *s = p->owner;
    uint16_t *sc = &s->portsc[p->number];

    *sc |= PORT_CCS | PORT_CSC;
    *sc = p->device->speed == USB_LOW ? *sc | PORT_LOW_SPEED : *sc & ~PORT_LOW_SPEED;
    resume_detected(s);
}

static void port_detached(struct usb_port *p)
{
    struct uhci *s = p->owner;
    uint16_t *sc = &s->portsc[p->number];

    *sc = (*sc & ~(PORT_CCS | PORT_LOW_SPEED | PORT_RESUME | PORT_SUSPEND)) | PORT_CSC;
    if (*sc & PORT_PED) *sc = (*sc & ~PORT_PED) | PORT_PEDC;
    resume_detected(s);
}

static void port_wakeup(struct usb_port *p)
{
    struct uhci *s = p->owner;

    if (s->portsc[p->number] & PORT_SUSPEND && !(s->portsc[p->number] & PORT_RESUME)) s->portsc[p->number] |= PORT_RESUME;
    else if (!(s->cmd & CMD_EGSM)) return;
    resume_detected(s);
}

static const struct usb_port_ops port_ops = { port_attached, port_detached, port_wakeup };

static void port_write(struct uhci *s, unsigned n, uint16_t value)
{
    uint16_t *sc = &s->portsc[n];
    bool resets = value & PORT_RESET && !(*sc & PORT_RESET), resumed = *sc & PORT_RESUME && !(value & PORT_RESUME);

    *sc &= ~(value & (PORT_CSC | PORT_PEDC));
    *sc = (*sc & ~PORT_WRITABLE) | (value & PORT_WRITABLE);
    if (resumed) *sc &= ~PORT_SUSPEND;
    if (resets && s->port[n].device) usb_reset(s->port[n].device);
    if (*sc & PORT_RESET || !(*sc & PORT_CCS)) *sc &= ~PORT_PED;
    wake(s);
}

static void bus_reset(struct uhci *s)
{
    for (unsigned n = 0; n < UHCI_PORTS; n++) {
        struct usb_device *d = s->port[n].device;

        s->portsc[n] = PORT_ONE | (d ? PORT_CCS | PORT_CSC | (d->speed == USB_LOW ? PORT_LOW_SPEED : 0) : 0);
        if (d) usb_reset(d);
    }
}

/* ---- registers ---- */

static void controller_reset(struct uhci *s)
{
    s->cmd = s->intr = s->frnum = s->causes = 0;
    s->sts = STS_HCHALTED;
    s->flbase = 0;
    s->sofmod = SOFMOD_DEFAULT;
    s->quiet = 0;
    timer_disarm(s->timer);
    bus_reset(s);
    interrupt_update(s);
}

static void command_write(struct uhci *s, uint16_t value)
{
    bool ran = runs(s);

    if (value & CMD_HCRESET) {
        controller_reset(s);
        return;
    }
    if (value & CMD_GRESET && !(s->cmd & CMD_GRESET)) bus_reset(s);
    s->cmd = value & CMD_MASK;
    s->sts = s->cmd & CMD_RS ? s->sts & ~STS_HCHALTED : s->sts | STS_HCHALTED;
    if (runs(s) && !ran) s->frame_ns = clock_virtual_ns();
    s->quiet = 0;
    timer_set(s);
}

static void io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct uhci *s = opaque;

    if (size == 4) {
        if (offset == FLBASEADD) s->flbase = (uint32_t)value & ~0xfffu;
        else {
            io_write(s, offset, value & 0xffff, 2);
            io_write(s, offset + 2, value >> 16, 2);
        }
        return;
    }
    switch (offset) {
    case USBCMD: command_write(s, (uint16_t)value); break;
    case USBSTS:
        s->sts &= ~((uint16_t)value & STS_CLEARABLE);
        if (value & STS_USBINT) s->causes = 0;
        interrupt_update(s);
        break;
    case USBINTR:
        s->intr = value & 15;
        interrupt_update(s);
        break;
    case FRNUM: if (s->sts & STS_HCHALTED) s->frnum = value & 0x7ff; break;
    case FLBASEADD: if (size == 2) s->flbase = (s->flbase & 0xffff0000) | (value & 0xf000); break;
    case FLBASEADD + 2: if (size == 2) s->flbase = (s->flbase & 0xffff) | (uint32_t)(value & 0xffff) << 16; break;
    case SOFMOD: s->sofmod = value & 0x7f; break;
    case PORTSC: case PORTSC + 2: if (size == 2) port_write(s, (unsigned)(offset - PORTSC) / 2, (uint16_t)value); break;
    default: trace(TRACE_UNIMP, "uhci: write of %#llx to %#llx\n", (unsigned long long)value, (unsigned long long)offset);
    }
}

static uint16_t word_read(struct uhci *s, unsigned offset)
{
    switch (offset) {
    case USBCMD: return s->cmd;
    case USBSTS: return s->sts;
    case USBINTR: return s->intr;
    case FRNUM:
        frames_run(s);
        return s->frnum;
    case FLBASEADD: return (uint16_t)s->flbase;
    case FLBASEADD + 2: return (uint16_t)(s->flbase >> 16);
    case SOFMOD: return s->sofmod;
    case PORTSC: case PORTSC + 2: return s->portsc[(offset - PORTSC) / 2] | PORT_ONE;
    default: return 0xff7f;                              /* says that there is no such port */
    }
}

static uint64_t io_read(void *opaque, uint64_t offset, unsigned size)
{
    struct uhci *s = opaque;
    uint32_t value = word_read(s, offset & ~1u);

    if (size == 4) return value | (uint32_t)word_read(s, (offset & ~1u) + 2) << 16;
    return size == 1 && offset & 1 ? value >> 8 : size == 1 ? value & 0xff : value;
}

static const struct io_ops io = { io_read, io_write, 1, 4 };

static void config_write(struct pci_device *d, unsigned offset, uint32_t value, unsigned size)
{
    if (offset < LEGSUP + 2 && offset + size > LEGSUP) interrupt_update((struct uhci *)d);
}

/* ---- life ---- */

static void uhci_reset(struct device *d)
{
    struct uhci *s = of(d);

    s->pci.config[LEGSUP] = 0;
    s->pci.config[LEGSUP + 1] = LEGSUP_PIRQ >> 8;
    controller_reset(s);
}

static void uhci_destroy(struct device *d)
{
    struct uhci *s = of(d);

    for (unsigned n = 0; n < UHCI_PORTS; n++)
        if (s->port[n].device) usb_detach(s->port[n].device);
    pci_device_remove(&s->pci);
    timer_free(s->timer);
    free(s);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct uhci, portsc), STATE_FIELD(struct uhci, cmd), STATE_FIELD(struct uhci, sts), STATE_FIELD(struct uhci, intr), STATE_FIELD(struct uhci, frnum),
    STATE_FIELD(struct uhci, flbase), STATE_FIELD(struct uhci, sofmod), STATE_FIELD(struct uhci, causes), STATE_FIELD(struct uhci, frame_ns), STATE_END,
};
static void after_load(struct device *d) { timer_set(of(d)); }
static const struct pci_device_ops ops = { { "piix3-usb-uhci", "USB 1.1 controller", uhci_reset, uhci_destroy, state, after_load, NULL }, NULL, config_write };

struct device *uhci_new(const struct uhci_config *config, struct usb_bus **bus, struct error *err)
{
    struct uhci *s = calloc(1, sizeof(*s));

    if (!s || !(s->timer = timer_new(TIMER_VIRTUAL, frame_due, s))) {
        free(s);
        error_set(err, "piix3-usb-uhci: no memory");
        return NULL;
    }
    if (pci_device_init(&s->pci, &ops, config->pci, config->devfn, 0x8086, 0x7020, 0x0c030001, err) < 0) {
        timer_free(s->timer);
        free(s);
        return NULL;
    }
    s->pci.device.id = config->id;
    s->pci.config[INTERRUPT_PIN] = PIN_D;
    s->pci.config[SBRN] = 0x10;
    memcpy(s->pci.writable + LEGSUP, (const uint8_t[]){ 0xbf, 0x20 }, 2);
    s->pci.write_one_clears[LEGSUP + 1] = 0x8f;
    pci_bar_add_io(&s->pci, 4, IO_BYTES, PCI_BAR_IO, &io, s, "uhci");
    snprintf(s->bus.name, sizeof(s->bus.name), "%s", config->bus_name);
    snprintf(s->bus.place, sizeof(s->bus.place), "0000:00:%02x.%x", s->pci.devfn >> 3, s->pci.devfn & 7);
    s->bus.ready = device_ready;
    s->bus.owner = s;
    for (unsigned n = 0; n < UHCI_PORTS; n++) {
        s->port[n] = (struct usb_port){ .ops = &port_ops, .owner = s, .number = n, .speeds = 1 << USB_LOW | 1 << USB_FULL };
        usb_port_add(&s->bus, &s->port[n], NULL);
    }
    *bus = &s->bus;
    uhci_reset(&s->pci.device);
    return &s->pci.device;
}
