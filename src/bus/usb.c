/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What USB devices have in common: endpoint 0 with the standard requests, descriptors made from a description, and being plugged in.
 *
 * A control transfer is SETUP, data packets, and an empty packet the other way. Requests that give data are carried out at SETUP, the others
 * when their data is there and the host asks for the status, so that a new address holds only afterwards.
 * Sources: USB 2.0, 8.5.3 (control transfers), 9.4 (requests), 9.6 (descriptors); USB 3.0, 9.6.2 (BOS), 9.6.7 (companions).
 */
#include "bus/usb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"

enum { GET_STATUS = 0, CLEAR_FEATURE = 1, SET_FEATURE = 3, SET_ADDRESS = 5, GET_DESCRIPTOR = 6, GET_CONFIGURATION = 8, SET_CONFIGURATION = 9,
       GET_INTERFACE = 10, SET_INTERFACE = 11, SET_SEL = 48, SET_ISOCH_DELAY = 49 };
enum { TO_DEVICE = 0, TO_INTERFACE = 1, TO_ENDPOINT = 2, FEATURE_HALT = 0, FEATURE_WAKEUP = 1, FEATURE_U1 = 48, FEATURE_LTM = 50 };
enum { D_DEVICE = 1, D_CONFIGURATION, D_STRING, D_INTERFACE, D_ENDPOINT, D_QUALIFIER, D_OTHER_SPEED, D_BOS = 15, D_CAPABILITY, D_COMPANION = 48 };

static const struct usb_form *form_of(const struct usb_device *d) { return usb_ops(d)->description->form[d->speed]; }

/* ---- descriptors ---- */

static void put16(uint8_t *p, unsigned value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static size_t device_put(const struct usb_device *d, uint8_t *p)
{
    const struct usb_description *t = usb_ops(d)->description;
    const struct usb_form *f = form_of(d);
    uint8_t head[18] = { 18, D_DEVICE, 0, 0, t->device_class, 0, 0, f->packet0, [14] = t->manufacturer, t->name, t->serial, 1 };

    put16(head + 2, f->version);
    put16(head + 8, t->vendor);
    put16(head + 10, t->product);
    put16(head + 12, t->release);
    memcpy(p, head, sizeof(head));
    return sizeof(head);
}

static size_t configuration_put(const struct usb_form *f, bool is_super, unsigned type, uint8_t *p)
{
    uint8_t head[18] = { 9, (uint8_t)type, 0, 0, 1, 1, f->name, f->attributes, f->power,
                         9, D_INTERFACE, 0, 0, f->endpoints, f->interface_class, f->interface_subclass, f->interface_protocol, 0 };
    size_t n = sizeof(head);

    memcpy(p, head, n);
    if (f->extra) memcpy(p + n, f->extra, f->extra_bytes);
    n += f->extra_bytes;
    for (unsigned i = 0; i < f->endpoints; i++) {
        const struct usb_endpoint *e = &f->endpoint[i];
        uint8_t end[13] = { 7, D_ENDPOINT, e->address, e->attributes, 0, 0, e->interval, 6, D_COMPANION, f->burst };

        put16(end + 4, e->packet);
        if ((e->attributes & 3) == 3) put16(end + 11, e->packet);      /* bytes an interval */
        memcpy(p + n, end, is_super ? 13 : 7);
        n += is_super ? 13 : 7;
    }
    put16(p + 2, (unsigned)n);
    return n;
}

static const struct usb_form *other_form(const struct usb_device *d)
{
    const struct usb_description *t = usb_ops(d)->description;

    return d->speed == USB_FULL ? t->form[USB_HIGH] : d->speed == USB_HIGH ? t->form[USB_FULL] : NULL;
}

static int qualifier_put(const struct usb_device *d, uint8_t *p)
{
    const struct usb_form *f = other_form(d);
    uint8_t head[10] = { 10, D_QUALIFIER, 0, 0, usb_ops(d)->description->device_class, 0, 0, f ? f->packet0 : 0, 1, 0 };

    if (!f) return USB_STALL;
    put16(head + 2, f->version);
    memcpy(p, head, sizeof(head));
    return sizeof(head);
}

static int string_put(const struct usb_device *d, unsigned n, uint8_t *p)
{
    const struct usb_description *t = usb_ops(d)->description;
    const char *text = NULL;
    size_t length;

    if (n == 0) {
        memcpy(p, (const uint8_t[]){ 4, D_STRING, 0x09, 0x04 }, 4);    /* American English */
        return 4;
    }
    if (n == t->serial) text = d->serial;
    else
        for (unsigned i = 1; t->string[i] && i <= n; i++) text = i == n ? t->string[i] : NULL;
    if (!text) return USB_STALL;
    length = MIN(strlen(text), (size_t)126);
    p[0] = (uint8_t)(2 + 2 * length);
    p[1] = D_STRING;
    for (size_t i = 0; i < length; i++) put16(p + 2 + 2 * i, (uint8_t)text[i]);
    return p[0];
}

/* What it can do besides: a device of USB 3 must say so. */
static int bos_put(const struct usb_device *d, uint8_t *p)
{
    const struct usb_description *t = usb_ops(d)->description;
    unsigned speeds = (t->form[USB_FULL] ? 2u : 0) | (t->form[USB_HIGH] ? 4u : 0) | 8u, lowest = t->form[USB_FULL] ? 1 : t->form[USB_HIGH] ? 2 : 3;
    const uint8_t bos[] = { 5, D_BOS, 22, 0, 2, 7, D_CAPABILITY, 2, 2, 0, 0, 0, 10, D_CAPABILITY, 3, 0, (uint8_t)speeds, 0, (uint8_t)lowest, 10, 0x20, 0 };

    if (d->speed != USB_SUPER) return USB_STALL;
    memcpy(p, bos, sizeof(bos));
    return sizeof(bos);
}

static int descriptor_get(struct usb_device *d, const struct usb_request *r, uint8_t *p)
{
    const struct usb_form *other = other_form(d);

    switch (r->value >> 8) {
    case D_DEVICE: return (int)device_put(d, p);
    case D_CONFIGURATION: return r->value & 0xff ? USB_STALL : (int)configuration_put(form_of(d), d->speed == USB_SUPER, D_CONFIGURATION, p);
    case D_STRING: return string_put(d, r->value & 0xff, p);
    case D_QUALIFIER: return qualifier_put(d, p);
    case D_OTHER_SPEED: return other ? (int)configuration_put(other, false, D_OTHER_SPEED, p) : USB_STALL;
    case D_BOS: return bos_put(d, p);
    default: return USB_STALL;
    }
}

/* ---- standard requests ---- */

static uint32_t halt_bit(unsigned endpoint) { return 1u << ((endpoint & 15) + (endpoint & USB_REQUEST_IN ? 16 : 0)); }

static bool endpoint_is(const struct usb_device *d, unsigned address)
{
    const struct usb_form *f = form_of(d);

    for (unsigned i = 0; i < f->endpoints; i++)
        if (f->endpoint[i].address == address) return true;
    return false;
}

static void configuration_set(struct usb_device *d, unsigned value)
{
    d->configuration = (uint8_t)value;
    d->halted = 0;
    if (usb_ops(d)->configured) usb_ops(d)->configured(d);
}

static int status_get(struct usb_device *d, const struct usb_request *r, uint8_t *p)
{
    unsigned to = r->type & 31, value = 0;

    if (to == TO_DEVICE) value = (form_of(d)->attributes >> 6 & 1) | (d->remote_wakeup ? 2 : 0);
    else if (to == TO_ENDPOINT) value = d->halted & halt_bit(r->index) ? 1 : 0;
    put16(p, value);
    return 2;
}

static int feature_change(struct usb_device *d, const struct usb_request *r, bool set)
{
    if ((r->type & 31) == TO_DEVICE && r->value == FEATURE_WAKEUP) d->remote_wakeup = set;
    else if ((r->type & 31) == TO_DEVICE && d->speed == USB_SUPER && r->value >= FEATURE_U1 && r->value <= FEATURE_LTM) return 0;
    else if ((r->type & 31) == TO_INTERFACE && d->speed == USB_SUPER && r->value == 0) d->remote_wakeup = set && r->index >> 8 & 2;
    else if ((r->type & 31) == TO_ENDPOINT && r->value == FEATURE_HALT && endpoint_is(d, r->index & 0x8f))
        d->halted = set ? d->halted | halt_bit(r->index) : d->halted & ~halt_bit(r->index);
    else return USB_STALL;
    return 0;
}

/* USB_STALL: it is none of these; perhaps the device knows it. */
static int standard_request(struct usb_device *d, const struct usb_request *r, uint8_t *p)
{
    switch (r->request) {
    case GET_STATUS: return status_get(d, r, p);
    case CLEAR_FEATURE: case SET_FEATURE: return feature_change(d, r, r->request == SET_FEATURE);
    case SET_ADDRESS: d->address = r->value & 127; return 0;
    case GET_DESCRIPTOR: return (r->type & 31) == TO_DEVICE ? descriptor_get(d, r, p) : USB_STALL;
    case GET_CONFIGURATION: p[0] = d->configuration; return 1;
    case SET_CONFIGURATION:
        if (r->value > 1) return USB_STALL;
        configuration_set(d, r->value);
        return 0;
    case GET_INTERFACE: p[0] = 0; return r->index ? USB_STALL : 1;
    case SET_INTERFACE: return r->index || r->value ? USB_STALL : 0;
    case SET_SEL: case SET_ISOCH_DELAY: return d->speed == USB_SUPER ? 0 : USB_STALL;
    default: return USB_STALL;
    }
}

static int request_run(struct usb_device *d)
{
    bool is_standard = (d->request.type & 0x60) == 0;
    int n = is_standard ? standard_request(d, &d->request, d->control_data) : USB_STALL;

    if (n == USB_STALL && usb_ops(d)->control) n = usb_ops(d)->control(d, &d->request, d->control_data);
    return n;
}

/* ---- endpoint 0 ---- */

static int setup(struct usb_device *d, const uint8_t *data, size_t size)
{
    struct usb_request *r = &d->request;

    if (size != 8) return USB_STALL;
    *r = (struct usb_request){ data[0], data[1], (uint16_t)(data[2] | data[3] << 8), (uint16_t)(data[4] | data[5] << 8), (uint16_t)(data[6] | data[7] << 8) };
    d->stage = r->length ? USB_STAGE_DATA : USB_STAGE_STATUS;
    d->control_at = 0;
    d->control_result = 0;
    memset(d->control_data, 0, sizeof(d->control_data));
    if (r->type & USB_REQUEST_IN) {
        d->control_result = request_run(d);
        if (d->control_result > 0) d->control_result = MIN(d->control_result, (int)r->length);
    } else if (r->length > USB_CONTROL_BYTES) d->control_result = USB_STALL;
    return 8;
}

static int stalled(struct usb_device *d)
{
    d->stage = USB_STAGE_NONE;
    return USB_STALL;
}

static int control_in(struct usb_device *d, uint8_t *data, size_t size)
{
    size_t n;

    if (d->request.type & USB_REQUEST_IN && d->stage == USB_STAGE_DATA) {
        if (d->control_result < 0) return stalled(d);
        n = MIN(size, (size_t)d->control_result - d->control_at);
        memcpy(data, d->control_data + d->control_at, n);
        d->control_at += (uint32_t)n;
        return (int)n;
    }
    if (d->stage == USB_STAGE_NONE || d->control_result < 0) return stalled(d);
    d->stage = USB_STAGE_NONE;
    if (d->request.type & USB_REQUEST_IN) return 0;                    /* it wanted no data */
    if (d->control_at < d->request.length) return USB_STALL;
    return request_run(d) < 0 ? USB_STALL : 0;
}

static int control_out(struct usb_device *d, const uint8_t *data, size_t size)
{
    if (d->request.type & USB_REQUEST_IN) {                            /* the status */
        bool good = d->stage != USB_STAGE_NONE && d->control_result >= 0;

        d->stage = USB_STAGE_NONE;
        return good ? (int)size : USB_STALL;
    }
    if (d->stage != USB_STAGE_DATA || d->control_result < 0 || size > d->request.length - d->control_at) return stalled(d);
    memcpy(d->control_data + d->control_at, data, size);
    d->control_at += (uint32_t)size;
    return (int)size;
}

/* ---- packets ---- */

int usb_packet(struct usb_device *d, enum usb_pid pid, unsigned endpoint, uint8_t *data, size_t size)
{
    unsigned address = endpoint | (pid == USB_IN ? USB_REQUEST_IN : 0);
    int n;

    if (pid == USB_SETUP) return endpoint ? USB_STALL : setup(d, data, size);
    if (!endpoint) return pid == USB_IN ? control_in(d, data, size) : control_out(d, data, size);
    if (!d->configuration || !endpoint_is(d, address)) return USB_GONE;
    if (d->halted & halt_bit(address)) return USB_STALL;
    n = usb_ops(d)->transfer(d, address, data, size);
    if (n == USB_STALL) d->halted |= halt_bit(address);
    return n;
}

void usb_reset(struct usb_device *d)
{
    d->address = 0;
    d->remote_wakeup = false;
    d->stage = USB_STAGE_NONE;
    configuration_set(d, 0);
}

void usb_ready(struct usb_device *d, unsigned endpoint)
{
    if (!d->port) return;
    if (d->remote_wakeup) d->port->ops->wakeup(d->port);
    if (d->port) d->port->bus->ready(d->port->bus, d, endpoint);
}

struct usb_device *usb_find(struct usb_port *p, unsigned address)
{
    struct usb_device *d = p->device;

    if (!d) return NULL;
    if (d->address == address) return d;
    return usb_ops(d)->find ? usb_ops(d)->find(d, address) : NULL;
}

/* ---- plugging in ---- */

void usb_device_init(struct usb_device *d, const struct usb_device_ops *ops, const char *id, const char *serial, const char *prefix)
{
    const struct usb_description *t = ops->description;

    d->device.ops = &ops->device;
    d->device.id = id;
    for (unsigned s = 0; s < USB_SPEEDS; s++)
        if (t->form[s]) d->speeds |= (uint8_t)(1u << s);
    snprintf(d->serial, sizeof(d->serial), "%s", serial ? serial : prefix);
    if (!serial) d->serial_prefix = (uint8_t)strlen(d->serial);
}

void usb_port_add(struct usb_bus *b, struct usb_port *p, const struct usb_port *parent)
{
    struct usb_port **at = &b->ports;

    p->bus = b;
    p->next = NULL;
    if (!parent || snprintf(p->path, sizeof(p->path), "%s.%u", parent->path, p->number + 1) >= (int)sizeof(p->path))
        snprintf(p->path, sizeof(p->path), "%u", p->number + 1);
    while (*at) at = &(*at)->next;
    *at = p;
}

void usb_port_remove(struct usb_port *p)
{
    struct usb_port **at = &p->bus->ports;

    while (*at && *at != p) at = &(*at)->next;
    if (*at) *at = p->next;
}

unsigned usb_ports_free(const struct usb_bus *b)
{
    unsigned n = 0;

    for (const struct usb_port *p = b->ports; p; p = p->next) n += !p->device;
    return n;
}

static struct usb_port *port_choose(struct usb_bus *b, const char *path, const struct usb_device *d, struct error *err)
{
    struct usb_port *p = b->ports;

    while (p && (path ? strcmp(p->path, path) != 0 : p->device || !(p->speeds & d->speeds))) p = p->next;
    if (!p && path) error_set(err, "%s: bus %s has no port %s", d->device.ops->name, b->name, path);
    else if (!p) error_set(err, "%s: all ports of bus %s are taken; add a usb-hub", d->device.ops->name, b->name);
    else if (p->device) error_set(err, "%s: port %s of bus %s is taken by a %s", d->device.ops->name, path, b->name, p->device->device.ops->name);
    else if (!(p->speeds & d->speeds)) error_set(err, "%s: it does not have the speed of port %s of bus %s", d->device.ops->name, path, b->name);
    else return p;
    return NULL;
}

int usb_attach(struct usb_bus *b, const char *path, struct usb_device *d, struct error *err)
{
    struct usb_port *p = port_choose(b, path, d, err);
    size_t n = d->serial_prefix;

    if (!p) return -1;
    if (n) snprintf(d->serial + n, sizeof(d->serial) - n, "-%s-%s", b->place, p->path);
    for (unsigned s = 0; s < USB_SPEEDS; s++)
        if (p->speeds & d->speeds & 1u << s) d->speed = (enum usb_speed)s;
    d->port = p;
    p->device = d;
    usb_reset(d);
    if (usb_ops(d)->attached) usb_ops(d)->attached(d, true);
    p->ops->attached(p);
    return 0;
}

void usb_detach(struct usb_device *d)
{
    struct usb_port *p = d->port;

    if (!p) return;
    if (usb_ops(d)->attached) usb_ops(d)->attached(d, false);
    p->ops->detached(p);
    p->device = NULL;
    d->port = NULL;
    usb_reset(d);
}
