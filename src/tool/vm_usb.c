/* SPDX-License-Identifier: GPL-2.0-or-later */
/* USB: -usb, -usbdevice, controllers and devices of -device. Those of -usbdevice come before the others, as in qemu. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/nearest.h"
#include "device/usb/xhci.h"
#include "tool/vm_options_private.h"
#include "tool/vm_virtio_private.h"

enum { DEVFN_UHCI = 1 << 3 | 2 };

/* ---- the board's own controller ---- */

int usb_enable(struct vm_options *o, bool on, struct error *err)
{
    o->usb = on;
    return 0;
}

int option_usb(struct vm_options *o, const char *arg, struct error *err) { return usb_enable(o, true, err); }

/* ---- devices ---- */

struct usb_request_option {
    struct vm_options *o;
    struct usb_device_config d;
    const char *drive;
    struct drive_errors errors;
};

static struct usb_device_config *of(void *t) { return &((struct usb_request_option *)t)->d; }
static int set_accept(void *t, const char *v, struct error *err) { return 0; }
static int set_id(void *t, const char *v, struct error *err) { of(t)->id = v; return 0; }
static int set_bus(void *t, const char *v, struct error *err) { of(t)->bus = v; return 0; }
static int set_port(void *t, const char *v, struct error *err) { of(t)->port = v; return 0; }

static int set_serial(void *t, const char *v, struct error *err)
{
    if (strlen(v) > 80) return error_set(err, "serial: at most 80 characters");
    of(t)->serial = v;
    return 0;
}

static int set_version(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("usb_version", v, 2, &n, err) < 0) return -1;
    if (!n) return error_set(err, "usb_version=%s: it is 1 or 2", v);
    of(t)->full_speed_only = n == 1;
    return 0;
}

static int set_drive(void *t, const char *v, struct error *err) { ((struct usb_request_option *)t)->drive = v; return 0; }
static int set_werror(void *t, const char *v, struct error *err) { ((struct usb_request_option *)t)->errors.write = v; return 0; }
static int set_boot_index(void *t, const char *v, struct error *err) { ((struct usb_request_option *)t)->errors.boot_index = v; return 0; }
static int set_share_rw(void *t, const char *v, struct error *err) { ((struct usb_request_option *)t)->errors.share_rw = v; return 0; }
static int set_write_cache(void *t, const char *v, struct error *err) { ((struct usb_request_option *)t)->errors.write_cache = v; return 0; }
static int set_rerror(void *t, const char *v, struct error *err) { ((struct usb_request_option *)t)->errors.read = v; return 0; }

static int set_removable(void *t, const char *v, struct error *err)
{
    bool on;

    if (value_bool("removable", v, &on, err) < 0) return -1;
    return on ? error_set(err, "removable=on: the stick's medium cannot be taken out in this version; leave it out") : 0;
}

#define COMMON_KEYS { "driver", set_accept, NULL }, { "id", set_id, NULL }, { "bus", set_bus, NULL }, { "port", set_port, NULL }, { "serial", set_serial, NULL }
static const struct option_key hid_keys[] = { COMMON_KEYS, { "usb_version", set_version, NULL }, { NULL, NULL, NULL } };

static const struct option_key hub_keys[] = { COMMON_KEYS, { NULL, NULL, NULL } };
static const struct option_key storage_keys[] = {
    COMMON_KEYS, { "drive", set_drive, NULL }, { "werror", set_werror, NULL }, { "rerror", set_rerror, NULL }, { "share-rw", set_share_rw, NULL },
    { "write-cache", set_write_cache, NULL }, { "removable", set_removable, NULL }, { "bootindex", set_boot_index, NULL }, { NULL, NULL, NULL },
};

static const struct { const char *name, *legacy; enum usb_kind kind; const struct option_key *keys; } kinds[] = {
    { "usb-tablet", "tablet", USB_KIND_TABLET, hid_keys }, { "usb-mouse", "mouse", USB_KIND_MOUSE, hid_keys },
    { "usb-kbd", "keyboard", USB_KIND_KEYBOARD, hid_keys },
    { "usb-hub", NULL, USB_KIND_HUB, hub_keys }, { "usb-storage", NULL, USB_KIND_STORAGE, storage_keys },
};

int device_usb(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    struct usb_request_option r = { .o = o };
    unsigned n = 0;

    while (strcmp(kinds[n].name, l->pair[0].value)) n++;
    if (option_list_get(l, "help")) return keys_show(o, kinds[n].name, kinds[n].keys);
    if (o->usb_device_count == ARRAY_SIZE(o->usb_device)) return error_set(err, "-device %s: more than %zu USB devices", kinds[n].name, ARRAY_SIZE(o->usb_device));
    if (option_list_apply(l, arena_format(o->arena, "-device %s", kinds[n].name), kinds[n].keys, &r, err) < 0) return -1;
    r.d.kind = kinds[n].kind;
    if (r.d.kind == USB_KIND_STORAGE && !r.drive) return error_set(err, "-device usb-storage needs drive=ID of a -drive if=none");
    o->usb_drive[o->usb_device_count] = r.drive;
    o->usb_errors[o->usb_device_count] = r.errors;
    o->usb_device[o->usb_device_count++] = r.d;
    return 0;
}

int option_usbdevice(struct vm_options *o, const char *arg, struct error *err)
{
    struct usb_config *c = &o->config.usb;
    struct nearest near;

    if (!strncmp(arg, "disk:", 5))
        return error_set(err, "-usbdevice %s: use -drive file=%s,if=none,id=stick -device usb-storage,drive=stick", arg, arg + 5);
    nearest_begin(&near, arg);
    for (unsigned n = 0; n < ARRAY_SIZE(kinds); n++) {
        if (!kinds[n].legacy) continue;
        nearest_offer(&near, kinds[n].legacy);
        if (strcmp(kinds[n].legacy, arg)) continue;
        if (c->devices == CONFIG_USB_DEVICES) return error_set(err, "-usbdevice %s: more than %d USB devices", arg, CONFIG_USB_DEVICES);
        c->device[c->devices++] = (struct usb_device_config){ .kind = kinds[n].kind };
        return usb_enable(o, true, err);
    }
    if (nearest_result(&near)) return error_set(err, "-usbdevice %s is not known; did you mean '%s'?", arg, near.best);
    return error_set(err, "-usbdevice %s is not known; known are tablet, mouse, keyboard; -device has more", arg);
}

/* ---- controllers ---- */

/* The virtio request is for its handlers of id=, bus= and addr=. */
struct controller_request { struct virtio_request r; uint64_t p2, p3; };

static int set_ports(const char *key, const char *v, uint64_t *ports, struct error *err)
{
    if (value_unsigned(key, v, XHCI_PORTS_EACH_MOST, ports, err) < 0) return -1;
    return *ports ? 0 : error_set(err, "%s=0: 1 to %d ports are wanted", key, XHCI_PORTS_EACH_MOST);
}

static int set_p2(void *t, const char *v, struct error *err) { return set_ports("p2", v, &((struct controller_request *)t)->p2, err); }
static int set_p3(void *t, const char *v, struct error *err) { return set_ports("p3", v, &((struct controller_request *)t)->p3, err); }

#define CONTROLLER_KEYS { "driver", set_accept, NULL }, { "id", virtio_set_id, NULL }, { "bus", virtio_set_bus, NULL }, { "addr", virtio_set_addr, NULL }, \
    { "multifunction", virtio_set_multifunction, NULL }
static const struct option_key uhci_keys[] = { CONTROLLER_KEYS, { NULL, NULL, NULL } };
static const struct option_key xhci_keys[] = { CONTROLLER_KEYS, { "p2", set_p2, NULL }, { "p3", set_p3, NULL }, { NULL, NULL, NULL } };

static int controller_add(struct vm_options *o, const struct usb_controller_config *controller, struct error *err)
{
    struct usb_config *c = &o->config.usb;

    if (c->controllers == CONFIG_USB_CONTROLLERS) return error_set(err, "more than %d USB controllers", CONFIG_USB_CONTROLLERS);
    c->controller[c->controllers++] = *controller;
    return 0;
}

int device_usb_controller(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    struct controller_request c = { .r = { .o = o, .d.pci.devfn = -1 } };
    static const struct { const char *name; enum usb_controller_kind kind; const struct option_key *keys; } controllers[] = {
        { "piix3-usb-uhci", USB_CONTROLLER_UHCI, uhci_keys }, { "qemu-xhci", USB_CONTROLLER_XHCI, xhci_keys },
        { "nec-usb-xhci", USB_CONTROLLER_XHCI_NEC, xhci_keys },
    };
    const char *name = l->pair[0].value;
    unsigned n = 0;

    while (strcmp(controllers[n].name, name)) n++;
    if (option_list_get(l, "help")) return keys_show(o, name, controllers[n].keys);
    if (option_list_apply(l, arena_format(o->arena, "-device %s", name), controllers[n].keys, &c, err) < 0) return -1;
    /* Each socket is a port of both kinds. */
    if (c.p2 && c.p3 && c.p2 != c.p3) return error_set(err, "-device %s: p2= and p3= are the same number here", name);
    return controller_add(o, &(struct usb_controller_config){ controllers[n].kind, c.r.d.id, c.r.d.pci.devfn, (unsigned)MAX(c.p2, c.p3) }, err);
}

static int drive_resolve(struct vm_options *o, unsigned n, struct error *err)
{
    const char *id = o->usb_drive[n];
    struct drive_config *d = drive_by_id(o, id);

    if (!d) return error_set(err, "-device usb-storage: no -drive has the id '%s'", id);
    if (d->interface != DRIVE_IF_NONE) return error_set(err, "-device usb-storage: drive '%s' is in use already; give it if=none", id);
    if (!drive_has_image(d) && d->media == MEDIA_DISK) return error_set(err, "-device usb-storage: drive '%s' has no file=", id);
    if (drive_errors_set(o, d, &o->usb_errors[n], err) < 0) return error_prefix(err, "-device usb-storage");
    if (d->media == MEDIA_CDROM) d->open.readonly = true;
    d->interface = DRIVE_IF_USB;
    d->device_id = o->usb_device[n].id;
    o->usb_device[n].drive = (unsigned)(d - o->config.drive);
    return 0;
}

int usb_drives_finish(struct vm_options *o, struct error *err)
{
    for (unsigned i = 0; i < o->usb_device_count; i++)
        if (o->usb_device[i].kind == USB_KIND_STORAGE && drive_resolve(o, i, err) < 0) return -1;
    return 0;
}

int usb_finish(struct vm_options *o, struct error *err)
{
    struct usb_config *c = &o->config.usb;

    if (o->usb) {
        if (c->controllers == CONFIG_USB_CONTROLLERS) return error_set(err, "more than %d USB controllers", CONFIG_USB_CONTROLLERS);
        memmove(c->controller + 1, c->controller, c->controllers * sizeof(c->controller[0]));
        c->controller[0] = (struct usb_controller_config){ USB_CONTROLLER_UHCI, NULL, DEVFN_UHCI };
        c->controllers++;
    }
    for (unsigned i = 0; i < o->usb_device_count; i++) {
        if (c->devices == CONFIG_USB_DEVICES) return error_set(err, "more than %d USB devices", CONFIG_USB_DEVICES);
        c->device[c->devices++] = o->usb_device[i];
    }
    if (c->devices && !c->controllers) return error_set(err, "a USB device needs a USB controller; add -usb or -device qemu-xhci");
    return 0;
}
