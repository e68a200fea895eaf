/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the AHCI controller: ports, commands under way. Register and FIS names are those of AHCI 1.3.1 and SATA 3.x. */
#ifndef DEVICE_STORAGE_AHCI_PRIVATE_H
#define DEVICE_STORAGE_AHCI_PRIVATE_H

#include "device/storage/ahci.h"
#include "device/storage/scsi_unit.h"

enum { AHCI_SECTOR = 512, AHCI_PIECES = 1024, AHCI_FIS_BYTES = 20, AHCI_CDB_BYTES = 12 };
enum { ATA_ERR = 1, ATA_GOOD = 0x50, ATA_DRQ = 8, ATA_BSY = 0x80, ATA_ABRT = 4, ATA_IDNF = 0x10, ATA_UNC = 0x40 };
enum { IS_DHRS = 1, IS_PSS = 2, IS_SDBS = 8, IS_PRCS = 1 << 22, IS_PCS = 1 << 6, IS_TFES = 1 << 30 };

struct ahci;
struct ahci_port;

enum ahci_io { AHCI_READ, AHCI_WRITE, AHCI_FLUSH, AHCI_DISCARD };

/* One command. It outlives a reset of its port, unheard. */
struct ahci_request {
    struct ahci_request *next;           /* in its port's list */
    struct ahci_port *port;              /* NULL: nobody waits any more */
    unsigned slot;
    bool is_queued, flush_after, held, in_flight;
    uint8_t fis[AHCI_FIS_BYTES], cdb[AHCI_CDB_BYTES];
    gpa_t table;                         /* command table, for the PRDs */
    uint32_t prd_count;
    struct iovec *iov;
    gpa_t *gpa;
    unsigned count;
    uint64_t bytes, offset;
    enum ahci_io io;
    struct block_node *node;
    uint8_t *ranges;                     /* of TRIM */
    uint32_t range_at, range_bytes;
    struct scsi_request scsi;
};

struct ahci_port {
    struct ahci *ahci;
    unsigned number;
    struct ide_drive_config config;
    uint32_t clb, clbu, fb, fbu, is, ie, cmd, tfd, sig, sctl, serr, sact, ci;
    uint32_t taken;                      /* slots whose command is under way */
    bool is_busy, is_halted, in_reset;   /* a command that is not queued runs; an error waits for ST to be cleared */
    bool write_cache;
    struct ahci_request *first;
    struct scsi_unit *unit;              /* CD-ROM drives */
    uint8_t sense[SCSI_SENSE_BYTES];
    uint8_t log[AHCI_SECTOR];            /* page 10h: the queued command that failed */
};

struct ahci {
    struct pci_device pci;
    struct ahci_config config;
    uint32_t ghc, is, index;
    struct ahci_port port[AHCI_PORTS];
};

/* ahci.c */
/* Ends a command: with the drive's status and error, by the FIS that its kind has. Frees r. */
void ahci_end(struct ahci_request *r, uint8_t status, uint8_t error);
/* Ends one that gives data: those bytes of the guest's memory are in place. */
void ahci_end_data(struct ahci_request *r, uint32_t bytes);
/* One that read with DMA: likewise, by the FIS of those. */
void ahci_end_packet(struct ahci_request *r, uint32_t bytes);
void ahci_request_free(struct ahci_request *r);
/* ahci_command.c */
void ahci_command_start(struct ahci_request *r);
void ahci_command_retry(struct ahci_request *r);
void ahci_unit_drop(struct scsi_request *q);

#endif
