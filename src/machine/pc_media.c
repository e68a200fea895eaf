/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Media that are changed while the machine runs: discs of CD-ROM drives at IDE, Serial ATA and SCSI, floppy disks. A new image is opened
 * before the old one goes, so what cannot be opened changes nothing.
 */
#include "base/bits.h"
#include "base/error.h"
#include "device/storage/ahci.h"
#include "device/storage/fdc.h"
#include "device/storage/ide.h"
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
    default: return false;
    }
}

static int medium_put(struct machine *m, const struct drive_config *d, unsigned n, struct block_node *node, bool force, struct block_node **old,
                      struct error *err)
{
    struct virtio *scsi;
    unsigned unit = 0;

    switch (d->interface) {
    case DRIVE_IF_FLOPPY: return fdc_disk_change(m->fdc, (unsigned)d->index, node, old, err);
    case DRIVE_IF_IDE: return ide_cdrom_change(m->ide, (unsigned)d->index, node, force, old, err);
    case DRIVE_IF_AHCI: return ahci_disc_change(m->ahci[d->ahci], (unsigned)d->index, node, force, old, err);
    default:
        scsi = scsi_find(m, n, &unit);
        return virtio_scsi_disc_change(scsi, unit, node, force, old, err);
    }
}

int machine_drive_change(struct machine *m, unsigned i, const struct block_open_options *options, bool force,
                         struct error *err)
{
    const struct drive_config *d = machine_drive_config(m, i);
    struct block_node *node = NULL, *old = NULL;
    int n = machine_drive_place(m, i);

    if (!d) return error_set(err, "there is no such drive");
    if (!is_removable(m, d, (unsigned)n)) return error_set(err, "'%s' is not a CD-ROM or floppy drive; its medium cannot be changed", d->id ? d->id : "drive");
    if (options && !(node = block_open(options, err))) return -1;
    if (m->drive[n]) block_drain(m->drive[n]);
    if (medium_put(m, d, (unsigned)n, node, force, &old, err) < 0) {
        if (node) block_close(node);
        return -1;
    }
    m->drive[n] = node;
    if (old) block_close(old);
    return 0;
}

bool machine_drive_tray(struct machine *m, unsigned i, bool *open, bool *locked)
{
    const struct drive_config *d = machine_drive_config(m, i);
    unsigned n = (unsigned)machine_drive_place(m, i), unit = 0;
    struct tray_state t = { false, false };

    if (!d || !is_removable(m, d, n)) return false;
    if (d->interface == DRIVE_IF_IDE) t = ide_tray(m->ide, (unsigned)d->index);
    if (d->interface == DRIVE_IF_AHCI) t = ahci_tray(m->ahci[d->ahci], (unsigned)d->index);
    if (d->interface == DRIVE_IF_SCSI) t = virtio_scsi_tray(scsi_find(m, n, &unit), unit);
    if (d->interface == DRIVE_IF_FLOPPY) t.open = !m->drive[n];
    *open = t.open;
    *locked = t.locked;
    return true;
}
