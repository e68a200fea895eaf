/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * USB of the board: controllers and what is plugged into them. Devices can be plugged in and pulled out while the machine runs, and so can
 * controllers (pc_hotplug.c puts them on the PCI bus, and takes them off), but for the chip set's own.
 */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/usb/hid.h"
#include "device/usb/hub.h"
#include "device/usb/storage.h"
#include "device/usb/uhci.h"
#include "device/usb/xhci.h"
#include "machine/pc_private.h"

enum { CHIPSET_SLOT = 1 };

static struct device *controller_create(struct machine *m, const struct usb_controller_config *c, struct error *err)
{
    struct usb_bus *bus = NULL, **at = &m->usb;
    struct device *d;
    char name[64];

    if (c->id) snprintf(name, sizeof(name), "%s.0", c->id);
    else snprintf(name, sizeof(name), "usb-bus.%u", m->usb_buses_unnamed++);
    if (c->kind == USB_CONTROLLER_UHCI) d = uhci_new(&(struct uhci_config){ m->pci, c->devfn, c->id, name }, &bus, err);
    else d = xhci_new(&(struct xhci_config){ m->pci, c->devfn, c->id, name, c->kind == USB_CONTROLLER_XHCI_NEC, c->ports }, &bus, err);
    if (!d) return NULL;
    pc_device_add(m, d);
    bus->controller = d;
    while (*at) at = &(*at)->next;
    *at = bus;
    return d;
}

static struct usb_device *plug(struct machine *m, const struct usb_device_config *c, struct error *err);

int pc_usb_create(struct machine *m, struct error *err)
{
    for (unsigned i = 0; i < m->config.usb.controllers; i++)
        if (!(m->usb_controller[i] = controller_create(m, &m->config.usb.controller[i], err))) return -1;
    for (unsigned i = 0; i < m->config.usb.devices; i++)
        if (!(m->usb_device[i] = plug(m, &m->config.usb.device[i], err))) return -1;
    return 0;
}

/* ---- devices ---- */

static struct usb_device *storage_create(struct machine *m, const struct usb_device_config *c, struct error *err)
{
    const struct drive_config *d = &m->config.drive[c->drive];
    struct usb_storage_config s = { .id = c->id, .serial = c->serial ? c->serial : d->serial };

    s.unit = (struct scsi_unit_config){ .name = d->is_node ? d->drive_id : d->id, .node = m->drive[c->drive], .is_cdrom = d->media == MEDIA_CDROM, .serial = s.serial, .on_error = pc_error_policy(m, c->drive), .tray = pc_tray_watch(m, c->drive),
                                        .write_cache = pc_write_cache(m, c->drive) };
    return usb_storage_new(&s, err);
}

static struct usb_device *device_create(struct machine *m, const struct usb_device_config *c, struct error *err)
{
    struct hid_config hid = { .id = c->id, .serial = c->serial, .full_speed_only = c->full_speed_only, .input = m->input };

    if (c->kind == USB_KIND_HUB) return usb_hub_new(c->id, c->serial, err);
    if (c->kind == USB_KIND_STORAGE) return storage_create(m, c, err);
    hid.kind = c->kind == USB_KIND_KEYBOARD ? HID_KEYBOARD : c->kind == USB_KIND_MOUSE ? HID_MOUSE : HID_TABLET;
    return hid_new(&hid, err);
}

static struct usb_bus *bus_find(struct machine *m, const char *name, struct error *err)
{
    struct usb_bus *b = m->usb;

    while (b && name && strcmp(b->name, name)) b = b->next;
    if (!b && !m->usb) error_set(err, "there is no USB; add -usb or -device qemu-xhci");
    else if (!b) error_set(err, "there is no USB bus '%s'; the first is '%s'", name, m->usb->name);
    return b;
}

/* The last free port of a bus gets a hub, so that there is always one more. */
static int hub_insert(struct machine *m, struct usb_bus *b, const struct usb_device_config *c, struct error *err)
{
    struct usb_device_config hub = { .kind = USB_KIND_HUB, .bus = b->name };

    if (c->port || c->kind == USB_KIND_HUB || usb_ports_free(b) != 1) return 0;
    return plug(m, &hub, err) ? 0 : -1;
}

static struct usb_device *plug(struct machine *m, const struct usb_device_config *c, struct error *err)
{
    struct usb_bus *b = bus_find(m, c->bus, err);
    struct usb_device *d = b && hub_insert(m, b, c, err) == 0 ? device_create(m, c, err) : NULL;

    if (d && usb_attach(b, c->port, d, err) < 0) {
        device_destroy(&d->device);
        d = NULL;
    }
    if (d) pc_device_add(m, &d->device);
    return d;
}

int pc_usb_add(struct machine *m, const struct usb_device_config *c, const struct machine_memory *memory, struct error *err)
{
    unsigned i = 0;

    while (i < m->config.usb.devices && m->usb_device[i]) i++;
    if (i == CONFIG_USB_DEVICES) return error_set(err, "more than %d USB devices", CONFIG_USB_DEVICES);
    m->usb_device[i] = plug(m, c, err);
    if (!m->usb_device[i]) return -1;
    m->config.usb.device[i] = *c;
    m->config.usb.devices = MAX(m->config.usb.devices, i + 1);
    m->usb_memory[i] = *memory;
    return 0;
}

static void device_unlist(struct machine *m, const struct device *d)
{
    struct device **at = &m->devices;

    while (*at && *at != d) at = &(*at)->next;
    if (*at) *at = d->next;
}

/* Something that hangs on d, or NULL. */
static struct usb_device *behind(const struct usb_device *d)
{
    size_t n = d->port ? strlen(d->port->path) : 0;

    for (const struct usb_port *p = n ? d->port->bus->ports : NULL; p; p = p->next)
        if (p->device && !strncmp(p->path, d->port->path, n) && p->path[n] == '.') return p->device;
    return NULL;
}

/* Of a hub that came by itself there is no place. */
static void place_free(struct machine *m, const struct usb_device *d)
{
    unsigned i = 0;

    while (i < m->config.usb.devices && m->usb_device[i] != d) i++;
    if (i == m->config.usb.devices) return;
    m->usb_device[i] = NULL;
    if (m->config.usb.device[i].kind == USB_KIND_STORAGE) pc_drive_release(m, m->config.usb.device[i].drive);
    pc_device_deleted(m, m->config.usb.device[i].id, false);
    machine_memory_free(&m->usb_memory[i]);
}

void pc_usb_remove(struct machine *m, struct usb_device *d)
{
    for (struct usb_device *child; (child = behind(d));) pc_usb_remove(m, child);
    device_unlist(m, &d->device);
    device_destroy(&d->device);
    place_free(m, d);
}

struct usb_device *pc_usb_find(const struct machine *m, const char *id)
{
    for (unsigned i = 0; i < m->config.usb.devices; i++)
        if (m->usb_device[i] && m->config.usb.device[i].id && !strcmp(m->config.usb.device[i].id, id)) return m->usb_device[i];
    return NULL;
}

const struct usb_device *pc_usb_of_drive(const struct machine *m, unsigned n)
{
    for (unsigned i = 0; i < m->config.usb.devices; i++)
        if (m->usb_device[i] && m->config.usb.device[i].kind == USB_KIND_STORAGE && m->config.usb.device[i].drive == n) return m->usb_device[i];
    return NULL;
}

void pc_usb_started(struct machine *m)
{
    for (const struct usb_bus *b = m->usb; b; b = b->next)
        for (const struct usb_port *p = b->ports; p; p = p->next)
            if (p->device) usb_storage_retry(p->device);
}

/* ---- controllers that come and go ---- */

struct device *pc_usb_controller_add(struct machine *m, const struct usb_controller_config *c, const struct machine_memory *memory, struct error *err)
{
    struct device *d;
    unsigned i = 0;

    while (i < m->config.usb.controllers && m->usb_controller[i]) i++;
    if (i == CONFIG_USB_CONTROLLERS) {
        error_set(err, "more than %d USB controllers", CONFIG_USB_CONTROLLERS);
        return NULL;
    }
    d = controller_create(m, c, err);
    if (!d) return NULL;
    m->usb_controller[i] = d;
    m->config.usb.controller[i] = *c;
    m->config.usb.controllers = MAX(m->config.usb.controllers, i + 1);
    m->usb_controller_memory[i] = *memory;
    return d;
}

int pc_usb_controller_place(const struct machine *m, const struct device *d)
{
    for (unsigned i = 0; i < m->config.usb.controllers; i++)
        if (m->usb_controller[i] == d && m->config.usb.controller[i].devfn >> 3 != CHIPSET_SLOT) return (int)i;
    return -1;
}

static struct usb_device *any_at(const struct usb_bus *b)
{
    for (const struct usb_port *p = b->ports; p; p = p->next)
        if (p->device) return p->device;
    return NULL;
}

void pc_usb_controller_empty(struct machine *m, const struct device *d)
{
    struct usb_bus **at = &m->usb;

    while (*at && (*at)->controller != d) at = &(*at)->next;
    if (!*at) return;
    for (struct usb_device *u; (u = any_at(*at));) pc_usb_remove(m, u);
    *at = (*at)->next;
}

void pc_usb_controller_forget(struct machine *m, int place)
{
    m->usb_controller[place] = NULL;
    machine_memory_free(&m->usb_controller_memory[place]);
}

/* ---- for the monitor ---- */

int machine_usb_info(struct machine *m, void (*print)(void *opaque, const char *line), void *opaque, struct error *err)
{
    static const char *const speeds[] = { [USB_LOW] = "1.5", [USB_FULL] = "12", [USB_HIGH] = "480", [USB_SUPER] = "5000" };
    unsigned number = 0;
    char line[256];

    if (!m->usb) return error_set(err, "there is no USB; start the machine with -usb");
    for (const struct usb_bus *b = m->usb; b; b = b->next, number++)
        for (const struct usb_port *p = b->ports; p; p = p->next) {
            const struct usb_device *d = p->device;

            if (!d) continue;
            snprintf(line, sizeof(line), "  Device %u.%u, Port %s, Speed %s Mb/s, Product %s%s%s", number, d->address, p->path, speeds[d->speed],
                     usb_ops(d)->description->string[usb_ops(d)->description->name], d->device.id ? ", ID: " : "", d->device.id ? d->device.id : "");
            print(opaque, line);
        }
    return 0;
}
