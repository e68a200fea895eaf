/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The IDE function of the 82371SB: two channels with two drives each, PIO and bus-master DMA. PCI 8086:7010. */
#ifndef DEVICE_STORAGE_IDE_H
#define DEVICE_STORAGE_IDE_H

#include "block/on_error.h"
#include "bus/pci.h"
#include "device/storage/scsi_unit.h"
#include "device/storage/identity.h"

struct block_node;

enum ide_drive_kind { IDE_NONE, IDE_DISK, IDE_CDROM };
struct ide_drive_config {
    enum ide_drive_kind kind;
    struct block_node *node;           /* stays the caller's; NULL for a CD-ROM drive without a disc */
    const char *serial;                /* up to 20 characters; NULL: QM0000n */
    bool write_cache;
    struct block_error_policy on_error;   /* what stops is tried again by ide_retry */
    struct tray_watch tray;            /* of a CD-ROM drive */
    struct drive_identity identity;
};
struct ide_config {
    struct pci_bus *bus;
    int devfn;                         /* 00:01.1 */
    struct memory_map *memory, *ports; /* 1F0h, 3F6h; 170h, 376h */
    struct irq_line irq[2];            /* 14, 15 */
    struct ide_drive_config drive[4];  /* primary master, slave, secondary master, slave */
};
struct device *ide_new(const struct ide_config *config, struct error *err);
/* Another disc, or none (NULL), in a CD-ROM drive. Returns the old node; -1 with *err when the guest locked the tray and
 * force is off. Machine lock held. */
int ide_cdrom_change(struct device *d, unsigned drive, struct block_node *node, bool force, struct block_node **old, struct error *err);
/* The same in two steps; see scsi_unit_tray_move. */
int ide_tray_move(struct device *d, unsigned drive, bool open, bool force, struct error *err);
void ide_disc_put(struct device *d, unsigned drive, struct block_node *node);
struct tray_state ide_tray(const struct device *d, unsigned drive);
/* Goes on with requests that failed and stopped the machine. */
void ide_retry(struct device *d);

#endif
