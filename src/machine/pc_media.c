/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Media that are changed while the machine runs: discs of CD-ROM drives at IDE, Serial ATA, SCSI and USB, floppy disks. A new image is opened
 * before the old one goes, so what cannot be opened changes nothing. A drive's medium is an image of its own, or a node (pc_blockdev.c).
 */
#include <stdio.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/storage/ahci.h"
#include "device/storage/fdc.h"
#include "device/storage/ide.h"
#include "device/usb/storage.h"
#include "machine/pc_private.h"

/* The adapter of a SCSI drive, and its number there. NULL: the drive is at none. */
static struct virtio *scsi_find(struct machine *m, unsigned n, unsigned *unit)
{
    for (unsigned i = 0; i < m->config.virtio_count; i++) {
        const struct virtio_device_config *c = &m->config.virtio[i];

        if (!m->virtio[i] || c->kind != VIRTIO_KIND_SCSI) continue;
        for (*unit = 0; *unit < c->scsi.unit_count; ++*unit)
            if (c->scsi_drive[*unit] == n) return virtio_pci_device(m->virtio[i]);
    }
    return NULL;
}

static bool is_removable(struct machine *m, const struct drive_config *d, unsigned n)
{
    unsigned unit;

    if (d->interface == DRIVE_IF_FLOPPY) return m->fdc != NULL;
    if (d->media != MEDIA_CDROM) return false;
    switch (d->interface) {
    case DRIVE_IF_IDE: return m->ide != NULL;
    case DRIVE_IF_AHCI: return m->ahci[d->ahci] != NULL;
    case DRIVE_IF_SCSI: return scsi_find(m, n, &unit) != NULL;
    case DRIVE_IF_USB: return pc_usb_of_drive(m, n) != NULL;
    default: return false;
    }
}

/* What is not at IDE, and no floppy drive. */
static struct scsi_unit *unit_of(struct machine *m, const struct drive_config *d, unsigned n)
{
    struct virtio *scsi;
    unsigned unit = 0;

    if (d->interface == DRIVE_IF_AHCI) return ahci_unit(m->ahci[d->ahci], (unsigned)d->index);
    if (d->interface == DRIVE_IF_USB) return usb_storage_unit((struct usb_device *)(uintptr_t)pc_usb_of_drive(m, n));
    scsi = scsi_find(m, n, &unit);
    return virtio_scsi_unit(scsi, unit);
}

/* All at once: tray, old medium, new one. */
static int medium_change(struct machine *m, const struct drive_config *d, unsigned n, struct block_node *node, bool force, struct block_node **old,
                         struct error *err)
{
    struct virtio *scsi;
    unsigned unit = 0;

    switch (d->interface) {
    case DRIVE_IF_FLOPPY: return fdc_disk_change(m->fdc, (unsigned)d->index, node, old, err);
    case DRIVE_IF_IDE: return ide_cdrom_change(m->ide, (unsigned)d->index, node, force, old, err);
    case DRIVE_IF_AHCI: return ahci_disc_change(m->ahci[d->ahci], (unsigned)d->index, node, force, old, err);
    case DRIVE_IF_USB: return scsi_unit_disc_change(unit_of(m, d, n), node, force, old, err);
    default:
        scsi = scsi_find(m, n, &unit);
        return virtio_scsi_disc_change(scsi, unit, node, force, old, err);
    }
}

/* While the tray is open. */
static int medium_put(struct machine *m, const struct drive_config *d, unsigned n, struct block_node *node, struct error *err)
{
    struct block_node *old;
    unsigned unit = 0;

    switch (d->interface) {
    case DRIVE_IF_FLOPPY: return fdc_disk_change(m->fdc, (unsigned)d->index, node, &old, err);
    case DRIVE_IF_IDE: ide_disc_put(m->ide, (unsigned)d->index, node); return 0;
    case DRIVE_IF_AHCI: ahci_disc_put(m->ahci[d->ahci], (unsigned)d->index, node); return 0;
    case DRIVE_IF_SCSI: {
        struct virtio *scsi = scsi_find(m, n, &unit);

        virtio_scsi_disc_put(scsi, unit, node);
        return 0;
    }
    default: scsi_unit_disc_put(unit_of(m, d, n), node); return 0;
    }
}

/* ---- names ---- */

static void drive_path(const struct drive_config *d, unsigned n, char *path, size_t size)
{
    const char *id = d->device_id;

    if (d->interface == DRIVE_IF_PFLASH) snprintf(path, size, "/machine/system.flash%d", d->index);      /* of the board: libvirt wants a name of every drive */
    else if (!id) snprintf(path, size, "/machine/unattached/drive[%u]", n);
    else if (d->interface == DRIVE_IF_VIRTIO) snprintf(path, size, "/machine/peripheral/%s/virtio-backend", id);
    else if (d->interface == DRIVE_IF_USB) snprintf(path, size, "/machine/peripheral/%s/%s.0/legacy[0]", id, id);
    else snprintf(path, size, "/machine/peripheral/%s", id);
}

/* As in QEMU, where virtio disks and sticks are made of several devices, and that which has the drive has no id. */
static void device_name(const struct drive_config *d, unsigned n, char *name, size_t size)
{
    bool is_inner = d->interface == DRIVE_IF_VIRTIO || d->interface == DRIVE_IF_USB;

    if (d->device_id && !is_inner) snprintf(name, size, "%s", d->device_id);
    else drive_path(d, n, name, size);
}

bool machine_drive_path(struct machine *m, unsigned i, char *path, size_t size)
{
    const struct drive_config *d = machine_drive_config(m, i);

    if (!d || d->interface == DRIVE_IF_NONE) return false;
    drive_path(d, (unsigned)machine_drive_place(m, i), path, size);
    return true;
}

bool machine_drive_device(struct machine *m, unsigned i, char *name, size_t size)
{
    const struct drive_config *d = machine_drive_config(m, i);

    if (!d || d->interface == DRIVE_IF_NONE) return false;
    device_name(d, (unsigned)machine_drive_place(m, i), name, size);
    return true;
}

void pc_drive_label(const struct machine *m, unsigned n, char *name, size_t size)
{
    const struct drive_config *d = &m->config.drive[n];

    if (d->id && *d->id) snprintf(name, size, "%s", d->id);
    else device_name(d, n, name, size);
}

void machine_drive_label(struct machine *m, unsigned i, char *name, size_t size)
{
    pc_drive_label(m, (unsigned)machine_drive_place(m, i), name, size);
}

/* ---- trays ---- */

static void moved_tell(void *opaque, bool open)
{
    struct drive_owner *o = opaque;
    const struct drive_config *d = &o->m->config.drive[o->drive];
    char device[MACHINE_PATH_BYTES];

    device_name(d, o->drive, device, sizeof(device));
    machine_event(o->m, "DEVICE_TRAY_MOVED", json_pack("{s:s, s:s, s:b}", "device", config_drive_name(d), "id", device, "tray-open", open));
}

struct tray_watch pc_tray_watch(struct machine *m, unsigned drive)
{
    m->drive_owner[drive] = (struct drive_owner){ m, drive };
    return (struct tray_watch){ moved_tell, &m->drive_owner[drive] };
}

bool machine_drive_tray(struct machine *m, unsigned i, bool *open, bool *locked)
{
    const struct drive_config *d = machine_drive_config(m, i);
    unsigned n = (unsigned)machine_drive_place(m, i);
    struct tray_state t;

    if (!d || !is_removable(m, d, n)) return false;
    if (d->interface == DRIVE_IF_IDE) t = ide_tray(m->ide, (unsigned)d->index);
    else if (d->interface == DRIVE_IF_FLOPPY) t = (struct tray_state){ !m->drive[n], false };
    else t = scsi_unit_tray(unit_of(m, d, n));
    *open = t.open;
    *locked = t.locked;
    return true;
}

/* The drive at i if its medium can be changed; its place. NULL with *err. */
static const struct drive_config *removable_find(struct machine *m, unsigned i, unsigned *n, struct error *err)
{
    const struct drive_config *d = machine_drive_config(m, i);

    *n = (unsigned)machine_drive_place(m, i);
    if (!d) error_set(err, "there is no such drive");
    else if (is_removable(m, d, *n)) return d;
    else error_set(err, "'%s' is not a CD-ROM or floppy drive; its medium cannot be changed", d->id && *d->id ? d->id : d->device_id ? d->device_id : "drive");
    return NULL;
}

int machine_tray_move(struct machine *m, unsigned i, bool open, bool force, struct error *err)
{
    unsigned n;
    const struct drive_config *d = removable_find(m, i, &n, err);

    if (!d) return -1;
    if (d->interface == DRIVE_IF_FLOPPY) return 0;
    if (m->drive[n]) block_drain(m->drive[n]);
    if (d->interface == DRIVE_IF_IDE) return ide_tray_move(m->ide, (unsigned)d->index, open, force, err);
    return scsi_unit_tray_move(unit_of(m, d, n), open, force, err);
}

/* ---- media ---- */

static int open_check(struct machine *m, unsigned i, struct error *err)
{
    const struct drive_config *d = machine_drive_config(m, i);
    bool open = false, locked;

    machine_drive_tray(m, i, &open, &locked);
    if (open || d->interface == DRIVE_IF_FLOPPY) return 0;
    return error_set(err, "Tray of device '%s' is not open", d->device_id ? d->device_id : d->id);
}

/* The medium has left the device: a node goes its own way, all else is closed. */
static int medium_drop(struct machine *m, unsigned n, struct error *err)
{
    if (m->config.drive[n].is_node) return pc_node_part(m, n, err);
    block_close(m->drive[n]);
    m->drive[n] = NULL;
    return 0;
}

int machine_medium_remove(struct machine *m, unsigned i, struct error *err)
{
    unsigned n;
    const struct drive_config *d = removable_find(m, i, &n, err);

    if (!d || open_check(m, i, err) < 0) return -1;
    if (!m->drive[n]) return 0;
    if (d->is_node && pc_drive_place(m, "", err) < 0) return -1;
    block_drain(m->drive[n]);
    return medium_put(m, d, n, NULL, err) < 0 ? -1 : medium_drop(m, n, err);
}

int machine_medium_insert(struct machine *m, unsigned i, const char *node, struct error *err)
{
    unsigned n;
    const struct drive_config *d = removable_find(m, i, &n, err);

    if (!d || open_check(m, i, err) < 0) return -1;
    if (m->drive[n]) return error_set(err, "There already is a medium in device '%s'", d->device_id ? d->device_id : d->id);
    if (pc_node_join(m, n, node, err) < 0) return -1;
    if (medium_put(m, d, n, m->drive[n], err) == 0) return 0;
    pc_node_part(m, n, NULL);
    return -1;
}

static int medium_eject(struct machine *m, unsigned i, bool force, struct error *err)
{
    return machine_tray_move(m, i, true, force, err) < 0 ? -1 : machine_medium_remove(m, i, err);
}

/* A tray that was shut opens and shuts again. */
static void change_tell(struct machine *m, unsigned n, bool was_open)
{
    if (m->config.drive[n].interface == DRIVE_IF_FLOPPY) return;
    if (!was_open) moved_tell(&m->drive_owner[n], true);
    moved_tell(&m->drive_owner[n], false);
}

int machine_drive_change(struct machine *m, unsigned i, const struct block_open_options *options, bool force, struct error *err)
{
    struct block_node *node = NULL, *old = NULL;
    bool was_open = false, locked;
    unsigned n;
    const struct drive_config *d = removable_find(m, i, &n, err);

    if (!d) return -1;
    if (!options) return medium_eject(m, i, force, err);
    machine_drive_tray(m, i, &was_open, &locked);
    if (d->is_node && pc_drive_place(m, "", err) < 0) return -1;
    if (!(node = block_open(options, err))) return -1;
    if (m->drive[n]) block_drain(m->drive[n]);
    if (medium_change(m, d, n, node, force, &old, err) < 0) {
        block_close(node);
        return -1;
    }
    if (m->drive[n]) medium_drop(m, n, NULL);
    m->drive[n] = node;
    pc_throttle_apply(m, n, NULL);
    change_tell(m, n, was_open);
    return 0;
}
