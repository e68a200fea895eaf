/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hub: ports with a status and a change word each, requests of the hub class, and an interrupt endpoint that tells which ports have changed.
 * Packets do not go through it: who looks for an address asks it (find), as far as a port is on and enabled.
 * Limits: full speed; power is always there.
 * Source: Universal Serial Bus Specification 2.0, 11.23 (descriptors), 11.24 (requests).
 */
#include "device/usb/hub.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"

enum { PORTS = 8, ENDPOINT = 0x81 };
enum { GET_STATUS = 0, CLEAR_FEATURE = 1, SET_FEATURE = 3, GET_DESCRIPTOR = 6, FROM_HUB = 0xa0, FROM_PORT = 0xa3, TO_HUB = 0x20, TO_PORT = 0x23, D_HUB = 0x29 };
enum { CONNECTION = 1, ENABLE = 2, SUSPEND = 4, RESET = 0x10, POWER = 0x100, LOW_SPEED = 0x200 };
enum { F_ENABLE = 1, F_SUSPEND = 2, F_RESET = 4, F_POWER = 8, F_CHANGES = 16, F_CHANGES_END = 21, F_INDICATOR = 22 };

struct hub {
    struct usb_device usb;
    struct usb_port port[PORTS];
    uint16_t status[PORTS], change[PORTS];
};

static struct hub *of(struct usb_device *d) { return container_of(d, struct hub, usb); }

/* ---- ports ---- */

static void changed(struct hub *h, unsigned n, uint16_t bits)
{
    h->change[n] |= bits;
    usb_ready(&h->usb, ENDPOINT);
}

static void port_attached(struct usb_port *p)
{
    struct hub *h = p->owner;

    h->status[p->number] = POWER | CONNECTION | (p->device->speed == USB_LOW ? LOW_SPEED : 0);
    changed(h, p->number, CONNECTION);
}

static void port_detached(struct usb_port *p)
{
    struct hub *h = p->owner;
    uint16_t lost = h->status[p->number] & ENABLE;

    h->status[p->number] = POWER;
    changed(h, p->number, CONNECTION | lost);
}

static void port_wakeup(struct usb_port *p)
{
    struct hub *h = p->owner;

    if (h->status[p->number] & SUSPEND) {
        h->status[p->number] &= ~SUSPEND;
        changed(h, p->number, SUSPEND);
    }
}

static const struct usb_port_ops port_ops = { port_attached, port_detached, port_wakeup };

static struct usb_device *find(struct usb_device *d, unsigned address)
{
    struct hub *h = of(d);
    struct usb_device *found = NULL;

    for (unsigned n = 0; n < PORTS && !found; n++)
        if (h->status[n] & ENABLE && !(h->status[n] & SUSPEND)) found = usb_find(&h->port[n], address);
    return found;
}

/* ---- requests ---- */

static int feature_set(struct hub *h, unsigned n, unsigned feature)
{
    switch (feature) {
    case F_RESET:
        if (!h->port[n].device) return 0;
        usb_reset(h->port[n].device);
        h->status[n] = (h->status[n] & ~SUSPEND) | ENABLE;
        changed(h, n, RESET);
        return 0;
    case F_SUSPEND: if (h->status[n] & ENABLE) h->status[n] |= SUSPEND; return 0;
    case F_POWER: case F_INDICATOR: return 0;
    default: return USB_STALL;
    }
}

static int feature_clear(struct hub *h, unsigned n, unsigned feature)
{
    switch (feature) {
    case F_ENABLE: h->status[n] &= ~(ENABLE | SUSPEND); return 0;
    case F_SUSPEND:
        if (h->status[n] & SUSPEND) {
            h->status[n] &= ~SUSPEND;
            changed(h, n, SUSPEND);
        }
        return 0;
    case F_CHANGES ... F_CHANGES_END - 1: h->change[n] &= ~(1 << (feature - F_CHANGES)); return 0;
    case F_POWER: case F_INDICATOR: return 0;
    default: return USB_STALL;
    }
}

static int control(struct usb_device *d, const struct usb_request *r, uint8_t *data)
{
    /* Ports, power and overcurrent one by one, power after 2 ms, all removable. */
    static const uint8_t descriptor[] = { 11, D_HUB, PORTS, 0x0a, 0, 1, 0, 0, 0, 0xff, 0xff };
    unsigned n = (r->index & 0xff) - 1u;
    struct hub *h = of(d);

    if (r->type == FROM_HUB && r->request == GET_DESCRIPTOR) {
        memcpy(data, descriptor, sizeof(descriptor));
        return sizeof(descriptor);
    }
    if (r->type == FROM_HUB && r->request == GET_STATUS) return 4;              /* nothing is wrong */
    if (r->type == TO_HUB && (r->request == SET_FEATURE || r->request == CLEAR_FEATURE)) return r->value < 2 ? 0 : USB_STALL;
    if (n >= PORTS) return USB_STALL;
    if (r->type == FROM_PORT && r->request == GET_STATUS) {
        le16 words[2] = { le16_make(h->status[n]), le16_make(h->change[n]) };

        memcpy(data, words, sizeof(words));
        return sizeof(words);
    }
    if (r->type == TO_PORT && r->request == SET_FEATURE) return feature_set(h, n, r->value);
    if (r->type == TO_PORT && r->request == CLEAR_FEATURE) return feature_clear(h, n, r->value);
    return USB_STALL;
}

static int transfer(struct usb_device *d, unsigned endpoint, uint8_t *data, size_t size)
{
    uint8_t map[2] = { 0 };
    size_t n = MIN(size, sizeof(map));

    for (unsigned i = 0; i < PORTS; i++)
        if (of(d)->change[i]) map[(i + 1) / 8] |= (uint8_t)(1 << ((i + 1) & 7));
    if (!map[0] && !map[1]) return USB_NAK;
    memcpy(data, map, n);
    return (int)n;
}

/* ---- life ---- */

static void configured(struct usb_device *d)
{
    struct hub *h = of(d);

    if (d->configuration) return;
    for (unsigned n = 0; n < PORTS; n++) {
        struct usb_device *child = h->port[n].device;

        h->status[n] = POWER | (child ? CONNECTION | (child->speed == USB_LOW ? LOW_SPEED : 0) : 0);
        h->change[n] = child ? CONNECTION : 0;
        if (child) usb_reset(child);
    }
}

static void attached(struct usb_device *d, bool is)
{
    struct hub *h = of(d);

    for (unsigned n = 0; n < PORTS; n++) {
        if (!is && h->port[n].device) usb_detach(h->port[n].device);
        if (!is) usb_port_remove(&h->port[n]);
        else usb_port_add(d->port->bus, &h->port[n], d->port);
    }
}

static void destroy(struct device *d)
{
    struct hub *h = container_of(d, struct hub, usb.device);

    usb_detach(&h->usb);
    free(h);
}

enum { S_MANUFACTURER = 1, S_PRODUCT, S_SERIAL };
static const char *const strings[] = { "", "QEMU", "QEMU USB Hub", "", NULL };
static const struct usb_form full = { .version = 0x110, .packet0 = 8, .attributes = 0xe0, .interface_class = 9, .endpoint = { { ENDPOINT, 3, 255, 2 } }, .endpoints = 1 };
static const struct usb_description description = { 0x409, 0x55aa, 0x101, 9, S_MANUFACTURER, S_PRODUCT, S_SERIAL, strings, { [USB_FULL] = &full } };
static const struct state_field state[] = {
    STATE_ARRAY(struct hub, status), STATE_ARRAY(struct hub, change), STATE_FIELD(struct hub, usb.address), STATE_FIELD(struct hub, usb.configuration), STATE_END,
};
static const struct usb_device_ops ops = { { "usb-hub", "USB hub with eight ports", NULL, destroy, state, NULL, NULL }, &description, control, transfer, configured, find, attached };

struct usb_device *usb_hub_new(const char *id, const char *serial, struct error *err)
{
    struct hub *h = calloc(1, sizeof(*h));

    if (!h) {
        error_set(err, "usb-hub: no memory");
        return NULL;
    }
    for (unsigned n = 0; n < PORTS; n++) {
        h->port[n] = (struct usb_port){ .ops = &port_ops, .owner = h, .number = n, .speeds = 1 << USB_LOW | 1 << USB_FULL };
        h->status[n] = POWER;
    }
    usb_device_init(&h->usb, &ops, id, serial, "314159");
    return &h->usb;
}
