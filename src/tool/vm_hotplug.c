/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each text is read by the option's own handler into options of its own, which hold nothing else; what came of it is the request, and
 * the strings' arena goes with it. Names of other things stay names: the machine looks them up.
 */
#include "tool/vm_hotplug.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tool/vm_throttle.h"
#include "tool/vm_virtio_private.h"

static void arena_release(void *arena) { arena_free(arena); }

static struct vm_options *begin(struct error *err)
{
    struct vm_options *o = calloc(1, sizeof(*o));

    if (!o) error_set(err, "no memory for options");
    else {
        o->arena = arena_new();
        o->is_quiet_help = true;
    }
    return o;
}

/* result 0: the strings go with the request. */
static int end(struct vm_options *o, int result, struct machine_memory *memory)
{
    if (result == 0) *memory = (struct machine_memory){ arena_release, o->arena };
    else arena_free(o->arena);
    free(o);
    return result == 0 ? 0 : -1;
}

/* The program's standard output is not where this monitor is: it may be QMP's. */
static int help_refuse(const char *option, struct error *err)
{
    return error_set(err, "'help' is for the command line: 'ospite -%s help' lists what there is", option);
}

typedef int option_fn(struct vm_options *o, const char *arg, struct error *err);

static int option_read(struct vm_options *o, const char *option, option_fn *read, const char *text, struct error *err)
{
    int result;

    if (!strcmp(text, "help") || !strcmp(text, "?")) return help_refuse(option, err);
    result = read(o, text, err);
    return result == VM_OPTIONS_HELP_SHOWN ? help_refuse(option, err) : result;
}

/* ---- devices ---- */

static int errors_read(struct vm_options *o, const struct drive_errors *e, struct machine_device_request *r, struct error *err)
{
    struct drive_config d = { .id = NULL };

    if (drive_errors_set(o, &d, e, err) < 0) return -1;
    r->share_writes = d.open.share_writes;
    r->on_error.has_read = e->read && strcmp(e->read, "auto");
    r->on_error.has_write = e->write && strcmp(e->write, "auto");
    r->on_error.read = d.on_read_error;
    r->on_error.write = d.on_write_error;
    r->write_cache = d.write_cache;
    r->boot_rank = d.boot_rank;
    return 0;
}

/* What -object and -fsdev made is among the options that the machine was begun with. */
static int virtio_read(struct vm_options *o, struct vm_options *all, struct machine_device_request *r, struct error *err)
{
    r->kind = DEVICE_REQUEST_VIRTIO;
    r->virtio = o->config.virtio[0];
    if (iothread_check(all, o->virtio_iothread[0], err) < 0) return -1;
    if (rng_find(all, o->virtio_rng[0], &r->virtio.rng, err) < 0) return -1;
    if (r->virtio.kind == VIRTIO_KIND_9P && share_find(all, o->virtio_fsdev[0], &r->virtio.share, err) < 0) return -1;
    r->virtio.nic.id = r->virtio.id;
    r->drive = o->virtio_drive[0];
    r->netdev = o->virtio_netdev[0];
    r->has_mac = o->virtio_has_mac[0];
    return errors_read(o, &o->virtio_errors[0], r, err);
}

static int usb_read(struct vm_options *o, struct machine_device_request *r, struct error *err)
{
    r->kind = DEVICE_REQUEST_USB;
    r->usb = o->usb_device[0];
    r->drive = o->usb_drive[0];
    return errors_read(o, &o->usb_errors[0], r, err);
}

static int nic_read(struct vm_options *o, struct machine_device_request *r)
{
    r->kind = DEVICE_REQUEST_NIC;
    r->nic = o->config.nic[0];
    r->netdev = o->nic_netdev[0];
    r->has_mac = o->nic_has_mac[0];
    return 0;
}

static int unit_read(struct vm_options *o, struct machine_device_request *r, struct error *err)
{
    struct unit_request u;

    if (scsi_unit_parse(o, o->scsi_device[0], &u, err) < 0) return -1;
    if (!u.drive && !u.is_cdrom) return error_set(err, "%s needs drive=ID; drive_add makes one", u.what);
    r->kind = DEVICE_REQUEST_SCSI;
    r->drive = u.drive;
    r->scsi.id = u.id;
    r->scsi.bus = u.bus;
    r->scsi.serial = u.serial;
    r->scsi.identity = u.identity;
    r->scsi.target = (unsigned)u.target;
    r->scsi.lun = (unsigned)u.lun;
    r->scsi.has_place = u.has_target || u.has_lun;
    r->scsi.is_cdrom = u.is_cdrom;
    return errors_read(o, &u.errors, r, err);
}

/* A character device of -chardev that nothing used yet is opened now. */
static int port_read(struct vm_options *o, struct vm_options *all, struct machine_device_request *r, struct error *err)
{
    struct port_request p;

    if (virtio_port_parse(o, o->virtio_port[0], &p, err) < 0) return -1;
    r->kind = DEVICE_REQUEST_PORT;
    r->port.bus = p.bus;
    r->port.port = (struct virtio_console_port_config){ .is_console = p.is_console, .name = p.name, .id = p.id };
    r->port.nr = (unsigned)p.nr;
    r->port.has_nr = p.has_nr;
    r->port.chardev = p.chardev;
    if (p.chardev) r->port.spec = chardev_resolve(all, arena_format(o->arena, "chardev:%s", p.chardev), NULL);
    return 0;
}

static int controller_read(struct vm_options *o, struct machine_device_request *r)
{
    r->kind = DEVICE_REQUEST_CONTROLLER;
    r->controller = o->config.usb.controller[0];
    return 0;
}

static int refused(struct vm_options *o, const char *text, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, o->arena, text, "driver", err) < 0) return -1;
    return error_set(err, "'%s' cannot be added while the machine is there; virtio devices and their ports, scsi-hd, scsi-cd, network cards, USB controllers and USB devices can",
                     option_list_get(&l, "driver"));
}

static int request_read(struct vm_options *o, struct vm_options *all, const char *text, struct machine_device_request *r, struct error *err)
{
    memcpy(o->global, all->global, sizeof(o->global));
    o->global_count = all->global_count;
    /* What is read later is read from a copy that lives as long as the request. */
    if (option_read(o, "device", option_device, arena_format(o->arena, "%s", text), err) < 0) return -1;
    if (o->config.virtio_count) return virtio_read(o, all, r, err);
    if (o->usb_device_count) return usb_read(o, r, err);
    if (o->config.nic_count) return nic_read(o, r);
    if (o->scsi_device_count) return unit_read(o, r, err);
    if (o->virtio_port_count) return port_read(o, all, r, err);
    if (o->config.usb.controllers) return controller_read(o, r);
    return refused(o, text, err);
}

static int device(void *opaque, const char *text, struct machine_device_request *r, struct machine_memory *memory, struct error *err)
{
    struct vm_options *o = begin(err);

    return o ? end(o, request_read(o, opaque, text, r, err), memory) : -1;
}

/* ---- drives and networks ---- */

static int drive(void *opaque, const char *text, struct drive_config *d, struct machine_memory *memory, struct error *err)
{
    struct vm_options *o = begin(err);
    int result;

    if (!o) return -1;
    result = option_drive(o, text, err);
    if (result == 0) {
        *d = o->config.drive[0];
        d->open.objects = secrets_objects(&((struct vm_options *)opaque)->secrets);
        result = throttle_group_join(opaque, d, err);
    }
    return end(o, result, memory);
}

static int blockdev(void *opaque, const char *text, struct drive_config *d, struct machine_memory *memory, struct error *err)
{
    struct vm_options *o = begin(err);
    int result;

    if (!o) return -1;
    result = blockdev_read(o, text, d, err) < 0 || blockdev_filter_join(opaque, d, err) < 0 ? -1 : 0;
    d->open.objects = secrets_objects(&((struct vm_options *)opaque)->secrets);
    return end(o, result, memory);
}

static int netdev(void *opaque, const char *text, struct netdev_config *d, struct machine_memory *memory, struct error *err)
{
    struct vm_options *o = begin(err);
    int result;

    if (!o) return -1;
    result = option_read(o, "netdev", option_netdev, text, err);
    if (result == 0 && o->hub_joins) result = error_set(err, "a network joins a hub when the machine starts; leave out netdev=");
    if (result == 0) {
        *d = o->config.netdev[0];
        guestfwds_resolve(opaque, d, chardev_resolve, NULL);     /* what is none of -chardev may have come by chardev-add */
    }
    return end(o, result, memory);
}

static int chardev(void *opaque, const char *text, const char **id, const char **spec, struct machine_memory *memory, struct error *err)
{
    struct vm_options *o = begin(err), *all = opaque;
    int result;

    if (!o) return -1;
    result = option_read(o, "chardev", option_chardev, text, err);
    if (result == 0) {
        *id = o->chardev[0].id;
        *spec = chardev_resolve(o, arena_format(o->arena, "chardev:%s", *id), err);
        if (chardev_resolve(all, arena_format(o->arena, "chardev:%s", *id), NULL)) result = error_set(err, "Chardev with id '%s' already exists", *id);
        else if (!strncmp(*spec, "mon:", 4) || !strncmp(*spec, "stdio", 5)) result = error_set(err, "a character device that is added cannot be the terminal, or be shared");
    }
    return end(o, result, memory);
}

static struct block_limits *group(void *opaque, const char *id) { return throttle_group_limits(opaque, id); }

void vm_hotplug_parser_set(struct machine *m, struct vm_options *o)
{
    machine_parser_set(m, &(struct machine_parser){ device, drive, blockdev, netdev, chardev, vm_object_add, vm_object_del, group, o });
}
