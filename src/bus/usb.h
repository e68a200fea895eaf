/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * USB: a host controller's bus with its ports, hubs and devices. A device answers each packet at once: with bytes, with a stall, or that it has
 * nothing now (NAK); then it says usb_ready when it has, and the controller asks again. So nobody keeps a pointer to a transfer under way, and
 * devices come and go at any time. All calls come with the machine lock held.
 * Sources: Universal Serial Bus Specification 2.0, chapters 8 and 9; USB 3.0, chapter 9.
 */
#ifndef BUS_USB_H
#define BUS_USB_H

#include "bus/device.h"

enum usb_speed { USB_LOW, USB_FULL, USB_HIGH, USB_SUPER, USB_SPEEDS };
enum usb_pid { USB_OUT = 0xe1, USB_IN = 0x69, USB_SETUP = 0x2d };
/* Other answers than a number of bytes. BABBLE: the device has more than it was asked for. GONE: nobody answers. */
enum { USB_NAK = -1, USB_STALL = -2, USB_BABBLE = -3, USB_GONE = -4 };
enum { USB_REQUEST_IN = 0x80, USB_CONTROL_BYTES = 1024, USB_PATH_BYTES = 32, USB_TIERS = 5 };

struct usb_bus;
struct usb_device;
struct usb_port;

/* ---- what a device is ---- */

struct usb_endpoint { uint8_t address, attributes, interval; uint16_t packet; };
/* At one speed: one configuration with one interface, as all devices here have. */
struct usb_form {
    uint16_t version;                    /* bcdUSB */
    uint8_t packet0, name;               /* largest packet of endpoint 0; string of the configuration */
    uint8_t attributes, power;           /* bmAttributes; in 2 mA (8 mA at USB_SUPER) */
    uint8_t interface_class, interface_subclass, interface_protocol;
    const uint8_t *extra;                /* between interface and endpoints */
    uint8_t extra_bytes;
    struct usb_endpoint endpoint[2];
    uint8_t endpoints, burst;
};
struct usb_description {
    uint16_t vendor, product, release;
    uint8_t device_class, manufacturer, name, serial;     /* the latter three are numbers of strings */
    const char *const *string;           /* [0] is not used; the serial number is the device's own; NULL ends */
    const struct usb_form *form[USB_SPEEDS];              /* NULL: not at this speed */
};

struct usb_request { uint8_t type, request; uint16_t value, index, length; };

struct usb_device_ops {
    struct device_ops device;
    const struct usb_description *description;
    /* Requests that are not answered from the description; data has USB_CONTROL_BYTES, r->length of them from the host if it sends any. The
     * number of bytes for the host, or USB_STALL. */
    int (*control)(struct usb_device *d, const struct usb_request *r, uint8_t *data);
    /* endpoint with USB_REQUEST_IN or without. Bytes moved, less than size only at the end of what the device has; or USB_*. */
    int (*transfer)(struct usb_device *d, unsigned endpoint, uint8_t *data, size_t size);
    void (*configured)(struct usb_device *d);             /* configuration changed; after a reset it is 0. May be NULL */
    struct usb_device *(*find)(struct usb_device *d, unsigned address);   /* of hubs: behind which port; else NULL */
    void (*attached)(struct usb_device *d, bool is);      /* to a port, or from now on no more; may be NULL */
};

struct usb_device {
    struct device device;
    struct usb_port *port;               /* NULL: lies on the table */
    uint8_t speeds;                      /* a bit for each enum usb_speed it can do here */
    enum usb_speed speed;
    char serial[96];
    uint8_t serial_prefix;               /* so much of it is there before it is plugged in; 0: it is all there */
    uint8_t address, configuration;
    bool remote_wakeup;
    uint32_t halted;                     /* endpoints 0..15, those towards the host 16..31 */
    enum { USB_STAGE_NONE, USB_STAGE_DATA, USB_STAGE_STATUS } stage;
    struct usb_request request;          /* of the control transfer under way */
    int control_result;
    uint32_t control_at;
    uint8_t control_data[USB_CONTROL_BYTES];
};

static inline const struct usb_device_ops *usb_ops(const struct usb_device *d) { return (const struct usb_device_ops *)(const void *)d->device.ops; }

/* ---- ports and buses ---- */

struct usb_port_ops {
    void (*attached)(struct usb_port *p);
    void (*detached)(struct usb_port *p);                 /* p->device is still there */
    void (*wakeup)(struct usb_port *p);                   /* a device on a suspended port wants attention */
};
struct usb_port {
    const struct usb_port_ops *ops;
    void *owner;
    unsigned number;                     /* from 0, the owner's */
    uint8_t speeds;
    char path[USB_PATH_BYTES];           /* "2", behind its hub "2.1" */
    struct usb_bus *bus;
    struct usb_device *device;           /* NULL: nothing plugged in */
    struct usb_port *next;
};
struct usb_bus {
    char name[64], place[16];            /* "usb-bus.0"; place is that of the controller, for serial numbers */
    struct usb_port *ports;              /* those of hubs too, in the order in which they came */
    void (*ready)(struct usb_bus *b, struct usb_device *d, unsigned endpoint);
    void *owner;
    const struct device *controller;     /* set by its machine */
    struct usb_bus *next;                /* in its machine's list */
};

void usb_port_add(struct usb_bus *b, struct usb_port *p, const struct usb_port *parent);
void usb_port_remove(struct usb_port *p);
unsigned usb_ports_free(const struct usb_bus *b);
/* Plugs d into the port of this path, or (NULL) into the first that is free and suits. 0, or -1 with *err. */
int usb_attach(struct usb_bus *b, const char *path, struct usb_device *d, struct error *err);
void usb_detach(struct usb_device *d);

/* ---- for devices ---- */

/* serial NULL: made of prefix and the place where it is plugged in. */
void usb_device_init(struct usb_device *d, const struct usb_device_ops *ops, const char *id, const char *serial, const char *prefix);
/* An endpoint that had nothing has something now. */
void usb_ready(struct usb_device *d, unsigned endpoint);

/* ---- for controllers and hubs ---- */

void usb_reset(struct usb_device *d);
/* Who answers to address on this port or behind it; NULL: nobody. */
struct usb_device *usb_find(struct usb_port *p, unsigned address);
/* One packet, or a transfer of several: only the last of them may be shorter than the endpoint's packets. SETUP has 8 bytes. */
int usb_packet(struct usb_device *d, enum usb_pid pid, unsigned endpoint, uint8_t *data, size_t size);

#endif
