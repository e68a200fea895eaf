/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Serial ATA controller (AHCI, the ICH9's) with up to six drives. PCI 8086:2922. */
#ifndef DEVICE_STORAGE_AHCI_H
#define DEVICE_STORAGE_AHCI_H

#include "device/storage/ide.h"
#include "device/storage/scsi_unit.h"

enum { AHCI_PORTS = 6 };

struct ahci_config {
    struct pci_bus *bus;
    int devfn;                           /* -1: the next free slot */
    struct memory_map *memory;
    const char *id;
    struct ide_drive_config drive[AHCI_PORTS];
};
/* NULL with *err. */
struct device *ahci_new(const struct ahci_config *config, struct error *err);
/* The CD-ROM drive at a port gets another disc: see scsi_unit_disc_change. */
int ahci_disc_change(struct device *d, unsigned port, struct block_node *node, bool force, struct block_node **old, struct error *err);
/* The unit of a CD-ROM drive, for its tray; its disc is put in by the second. */
struct scsi_unit *ahci_unit(const struct device *d, unsigned port);
void ahci_disc_put(struct device *d, unsigned port, struct block_node *node);
struct tray_state ahci_tray(const struct device *d, unsigned port);
/* Goes on with requests that failed and stopped the machine. */
void ahci_retry(struct device *d);

#endif
