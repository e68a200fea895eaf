/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ports. Each socket is two ports of the controller, one for USB 2 and one for USB 3; a device is seen at the one of its speed.
 * Source: xHCI 1.1, 4.19 (port state machines), 5.4.8 (PORTSC).
 */
#include "base/bits.h"
#include "device/usb/xhci_private.h"

enum { CCS = 1, PED = 2, PR = 0x10, PLS = 0x1e0, PP = 0x200, SPEED = 0x3c00, LWS = 1 << 16, CSC = 1 << 17, PEC = 1 << 18, WRC = 1 << 19, OCC = 1 << 20, PRC = 1 << 21,
       PLC = 1 << 22, CEC = 1 << 23, WAKES = 0xe000000, CHANGES = CSC | PEC | WRC | OCC | PRC | PLC | CEC };
#define WPR 0x80000000u
enum { U0 = 0, U3 = 3, DISABLED = 4, RX_DETECT = 5, POLLING = 7, RESUME = 15, PLS_AT = 5, SPEED_AT = 10 };

static bool is_super(const struct xhci *s, unsigned n) { return n >= s->ports_each; }

static void link_set(uint32_t *sc, unsigned state) { *sc = (*sc & ~(uint32_t)PLS) | state << PLS_AT; }

static void changed(struct xhci *s, unsigned n, uint32_t bits)
{
    struct xhci_trb event = { (uint64_t)(n + 1) << 24, CODE_SUCCESS << 24, EVENT_PORT << 10, 0 };

    if ((s->portsc[n] & bits) == bits) return;
    s->portsc[n] |= bits;
    s->sts |= STS_PCD;
    if (s->cmd & CMD_RS) xhci_event(s, 0, &event);
}

/* At which of its two ports a device is. */
static unsigned place(const struct usb_port *p) { return p->number + (p->device->speed == USB_SUPER ? ((const struct xhci *)p->owner)->ports_each : 0); }

static void port_fill(struct xhci *s, unsigned n, const struct usb_device *d)
{
    static const uint8_t speeds[] = { [USB_LOW] = 2, [USB_FULL] = 1, [USB_HIGH] = 3, [USB_SUPER] = 4 };

    s->portsc[n] = (s->portsc[n] & (WAKES | CHANGES)) | PP;
    link_set(&s->portsc[n], RX_DETECT);
    if (!d) return;
    s->portsc[n] |= CCS | (uint32_t)speeds[d->speed] << SPEED_AT | (is_super(s, n) ? PED : 0);
    link_set(&s->portsc[n], is_super(s, n) ? U0 : POLLING);
}

static void attached(struct usb_port *p)
{
    struct xhci *s = p->owner;

    port_fill(s, place(p), p->device);
    changed(s, place(p), CSC);
}

static void detached(struct usb_port *p)
{
    struct xhci *s = p->owner;
    unsigned n = place(p);

    port_fill(s, n, NULL);
    changed(s, n, CSC);
}

static void wakeup(struct usb_port *p)
{
    struct xhci *s = p->owner;
    unsigned n = place(p);

    if ((s->portsc[n] & PLS) >> PLS_AT != U3) return;
    link_set(&s->portsc[n], RESUME);
    changed(s, n, PLC);
}

const struct usb_port_ops xhci_port_ops = { attached, detached, wakeup };

void xhci_ports_reset(struct xhci *s)
{
    for (unsigned n = 0; n < 2 * s->ports_each; n++) {
        struct usb_device *d = s->port[n % s->ports_each].device;

        if (d && (d->speed == USB_SUPER) != is_super(s, n)) d = NULL;
        s->portsc[n] = 0;
        port_fill(s, n, d);
        if (d) {
            usb_reset(d);
            s->portsc[n] |= CSC;
        }
    }
}

static void port_reset(struct xhci *s, unsigned n, bool warm)
{
    struct usb_device *d = s->port[n % s->ports_each].device;

    if (!(s->portsc[n] & CCS) || !d) return;
    usb_reset(d);
    s->portsc[n] |= PED;
    link_set(&s->portsc[n], U0);
    changed(s, n, PRC | (warm && is_super(s, n) ? WRC : 0));
}

static void link_write(struct xhci *s, unsigned n, unsigned to)
{
    unsigned now = (s->portsc[n] & PLS) >> PLS_AT;

    if (to == U3 && now < U3 && s->portsc[n] & PED) link_set(&s->portsc[n], U3);
    else if (to == RESUME && now == U3 && !is_super(s, n)) link_set(&s->portsc[n], RESUME);
    else if (to == U0 && (now == U3 || now == RESUME)) {
        link_set(&s->portsc[n], U0);
        changed(s, n, PLC);
    } else if (to == RX_DETECT && now == DISABLED) link_set(&s->portsc[n], RX_DETECT);
}

void xhci_port_write(struct xhci *s, unsigned n, uint32_t value)
{
    uint32_t *sc = &s->portsc[n];

    *sc &= ~(value & CHANGES);
    *sc = (*sc & ~(uint32_t)WAKES) | (value & WAKES);
    if (value & PR || (value & WPR && is_super(s, n))) {
        port_reset(s, n, value & WPR);
        return;
    }
    if (value & PED && *sc & PED) {                     /* writing one switches off */
        *sc &= ~(uint32_t)PED;
        link_set(sc, is_super(s, n) ? DISABLED : POLLING);
    }
    if (value & LWS) link_write(s, n, (value & PLS) >> PLS_AT);
}
