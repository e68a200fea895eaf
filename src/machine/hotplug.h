/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices, drives and networks that come and go while the machine is there: what both monitors call. Main thread, machine lock held.
 *
 * What to add is text in the grammar of the command line's option of the same name, or its JSON form; who reads it is handed in
 * (machine_parser_set), since the machine knows no command line. What was added may be removed, and so may what the command line
 * added, if it has an id.
 *
 * A PCI device is only asked to go by machine_device_del: the guest lets go of it (or does not: it stays, and may be asked again after
 * a reset, which ejects it). A SCSI drive goes at once, and so does what is plugged into USB. When it is gone, its drive and network are free again, and the event
 * DEVICE_DELETED is told (machine/event.h): "path", and "device" with the id; first the path of a virtio device's inner part alone.
 */
#ifndef MACHINE_HOTPLUG_H
#define MACHINE_HOTPLUG_H

#include "machine/config.h"

struct error;
struct machine;

/* All return 0, or -1 with *err, and then nothing has changed. */
int machine_device_add(struct machine *m, const char *text, struct error *err);       /* "virtio-blk-pci,drive=d,id=x" */
int machine_device_del(struct machine *m, const char *id, struct error *err);
/* -drive with if=none. It goes with the device that uses it. */
int machine_drive_add(struct machine *m, const char *text, struct error *err);        /* "if=none,id=d,file=a.qcow2" */
/* While a device uses it, that stays without its image, and its id is free. */
int machine_drive_del(struct machine *m, const char *id, struct error *err);
/* i as machine_drive has it. The guest is told where its device can. */
int machine_drive_resize(struct machine *m, unsigned i, uint64_t size_bytes, struct error *err);
/* Limits on its I/O, those of all drives of the group: group NULL: the one that it is in, or one of its own. get: NULL: there are none. */
int machine_throttle_set(struct machine *m, unsigned i, const char *group, const struct block_limits *l, struct error *err);
const struct block_limits *machine_throttle_get(struct machine *m, unsigned i, const char **group);
/* Of -object throttle-group; get: NULL: there is none. */
const struct block_limits *machine_throttle_group(struct machine *m, const char *id);
int machine_throttle_group_set(struct machine *m, const char *id, const struct block_limits *l, struct error *err);
/* -blockdev. It stays when its device goes; the second is refused while a device or another node uses it. */
int machine_blockdev_add(struct machine *m, const char *text, struct error *err);     /* {"driver":"raw","node-name":"n","file":"p"} */
/* Other options for nodes that are there: texts as above, with all options that shall not be the default. All of them, or none. */
int machine_blockdev_reopen(struct machine *m, const char *const *text, unsigned count, struct error *err);
int machine_blockdev_del(struct machine *m, const char *name, struct error *err);
int machine_netdev_add(struct machine *m, const char *text, struct error *err);       /* "user,id=n" */
int machine_netdev_del(struct machine *m, const char *id, struct error *err);         /* refused while a card uses it */

/* -chardev, as BACKEND,id=ID,... or its JSON; *description: "pty:/dev/pts/3". It stays when its device goes; the second is refused while one uses it. */
int machine_chardev_add(struct machine *m, const char *text, const char **description, struct error *err);
int machine_chardev_remove(struct machine *m, const char *id, struct error *err);
/* -object filter-dump; the strings of d may go. */
int machine_dump_add(struct machine *m, const char *netdev, const struct net_dump_config *d, struct error *err);
bool machine_dump_exists(const struct machine *m, const char *id);
bool machine_dump_del(struct machine *m, const char *id);
/* -object: rng-random, rng-builtin, secret, throttle-group, filter-dump. */
int machine_object_add(struct machine *m, const char *text, struct error *err);
int machine_object_del(struct machine *m, const char *id, struct error *err);
/* A port of a virtio serial bus has this id. */
bool machine_port_exists(const struct machine *m, const char *id);

/* Was it asked to go, and is still there? */
bool machine_device_is_leaving(struct machine *m, const char *id);

/* ---- for who reads the texts ---- */

/* What the strings of a request live in; the machine gives it back when the thing is gone. */
struct machine_memory { void (*free)(void *memory); void *memory; };

struct machine_device_request {
    enum { DEVICE_REQUEST_VIRTIO, DEVICE_REQUEST_NIC, DEVICE_REQUEST_SCSI, DEVICE_REQUEST_USB, DEVICE_REQUEST_PORT, DEVICE_REQUEST_CONTROLLER } kind;
    struct virtio_device_config virtio;
    struct nic_config nic;                     /* cards that are no virtio */
    struct usb_device_config usb;              /* drive is filled in by the machine */
    struct usb_controller_config controller;
    const char *drive, *netdev;                /* ids; NULL: none */
    bool has_mac;                              /* else one is made up */
    int write_cache;                           /* as in struct drive_config */
    unsigned boot_rank;                        /* of the drive; likewise */
    bool share_writes;                         /* with other machines */
    struct { bool has_read, has_write; enum block_error_action read, write; } on_error;    /* else the drive's */
    struct {                                   /* a drive at a SCSI adapter */
        const char *id, *bus, *serial;         /* bus NULL: the first */
        struct drive_identity identity;
        unsigned target, lun;
        bool has_place, is_cdrom;
    } scsi;
    struct {                                   /* a port of a virtio serial bus */
        const char *bus, *chardev, *spec;      /* bus NULL: the first; chardev is an id, spec is how to open it if it is not there (NULL: unknown) */
        struct virtio_console_port_config port;
        unsigned nr;
        bool has_nr;
    } port;
};
struct machine_parser {
    int (*device)(void *opaque, const char *text, struct machine_device_request *r, struct machine_memory *memory, struct error *err);
    int (*drive)(void *opaque, const char *text, struct drive_config *d, struct machine_memory *memory, struct error *err);
    int (*blockdev)(void *opaque, const char *text, struct drive_config *d, struct machine_memory *memory, struct error *err);
    int (*netdev)(void *opaque, const char *text, struct netdev_config *d, struct machine_memory *memory, struct error *err);
    int (*chardev)(void *opaque, const char *text, const char **id, const char **spec, struct machine_memory *memory, struct error *err);
    int (*object_add)(void *opaque, struct machine *m, const char *text, struct error *err);
    int (*object_del)(void *opaque, struct machine *m, const char *id, struct error *err);
    struct block_limits *(*group)(void *opaque, const char *id);       /* of -object throttle-group; NULL: there is none */
    void *opaque;
};
void machine_parser_set(struct machine *m, const struct machine_parser *p);

#endif
