/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the IDE controller: channels, drives, and what the two command sets (ata.c, atapi.c) build on. */
#ifndef DEVICE_STORAGE_IDE_PRIVATE_H
#define DEVICE_STORAGE_IDE_PRIVATE_H

#include "block/block.h"
#include "device/storage/ide.h"

enum { SECTOR = 512, CD_SECTOR = 2048, IDE_BUFFER = 256 * 1024, IDE_DMA_CHUNK = 128 * 1024 };
enum { ST_ERR = 1, ST_DRQ = 8, ST_DSC = 0x10, ST_DF = 0x20, ST_DRDY = 0x40, ST_BSY = 0x80 };
enum { ER_ABRT = 4, ER_MCR = 8, ER_IDNF = 0x10, ER_UNC = 0x40 };
enum { DEV_UNIT = 0x10, DEV_LBA = 0x40 };
enum { REASON_CD = 1, REASON_IO = 2 };   /* ATAPI interrupt reason, in the count register */

struct ide;
struct ide_channel;
struct ide_drive;
typedef void ide_step_fn(struct ide_drive *d);
typedef void ide_result_fn(struct ide_drive *d, int result);

enum ide_request_kind { IDE_READ, IDE_WRITE, IDE_FLUSH };
/* A request on its way through the block layer, or held until the machine goes on. It owns its memory and outlives a drive's reset. */
struct ide_request {
    enum ide_request_kind kind;
    bool held;
    uint64_t offset;
    uint32_t bytes;
    struct ide_drive *drive;         /* NULL: nobody waits any more */
    ide_result_fn *done;
    uint8_t *buffer;
};

struct ide_drive {
    struct ide *ide;
    struct ide_channel *channel;
    unsigned number;                 /* 0..3 */
    struct ide_drive_config config;
    /* Task file; hob: what was written before, for 48-bit commands. */
    uint8_t feature, count, low, mid, high, device, hob_feature, hob_count, hob_low, hob_mid, hob_high;
    uint8_t status, error, irq;
    uint8_t command;
    /* PIO data phase: bytes of data[] from at to end go through the data port; then step. */
    uint8_t *data;
    uint32_t at, end;
    bool to_device;
    ide_step_fn *step;
    struct ide_request *request;
    /* A transfer of sectors. */
    uint64_t sector, sectors_left;
    uint32_t chunk;                  /* sectors in the piece under way */
    bool lba48, is_write, fua;
    bool dma_waiting;                /* for the bus master to start */
    ide_step_fn *dma_start;
    uint8_t multiple, heads, sectors_per_track, transfer_mode;
    bool write_cache, smart;
    /* ATAPI. */
    uint8_t packet[12];
    uint8_t sense_key, asc, ascq;
    bool tray_locked, tray_open, attention, media_event, eject_request;
    bool packet_dma;
    uint32_t byte_limit, reply_bytes, reply_at;
    uint64_t cd_sector, cd_left;
};

struct ide_channel {
    struct ide *ide;
    unsigned number;
    struct ide_drive drive[2];
    uint8_t select, control;         /* device register's unit bit; nIEN and SRST */
    uint8_t bm_command, bm_status;
    uint32_t prd_table, prd_next;
    uint32_t prd_address, prd_left;
    bool prd_end;
    struct memory_range *range[2];
};

struct ide {
    struct pci_device pci;
    struct ide_config config;
    struct ide_channel channel[2];
};

/* ---- ide.c: for the command sets ---- */

void ide_irq(struct ide_drive *d);
/* The command is over: status, interrupt. */
void ide_finish(struct ide_drive *d);
void ide_abort(struct ide_drive *d, uint8_t error);
/* A PIO data phase over data[0..bytes). interrupt: announced by one. */
void ide_pio(struct ide_drive *d, uint32_t bytes, bool to_device, ide_step_fn *then, bool interrupt);
/* Starts then when the bus master runs. */
void ide_dma(struct ide_drive *d, ide_step_fn *then);
/* Moves up to bytes between buffer and the guest's memory along the PRD table; returns how many fitted. */
uint32_t ide_prd_copy(struct ide_drive *d, uint8_t *buffer, uint32_t bytes, bool to_memory);
/* The bus master's part of the command is over. */
void ide_dma_end(struct ide_drive *d);
/* It cannot go on: no memory to move data to, or to read the PRD table from. The bus master stops with its error bit. */
void ide_dma_fail(struct ide_drive *d);
/* Requests; done gets 0 or -errno unless the drive was reset. A read's bytes are in request->buffer until done returns. */
void ide_read(struct ide_drive *d, uint64_t offset_bytes, uint32_t bytes, ide_result_fn *done);
void ide_write(struct ide_drive *d, uint64_t offset_bytes, const uint8_t *from, uint32_t bytes, ide_result_fn *done);
void ide_flush(struct ide_drive *d, ide_result_fn *done);
/* Whoever waits for the request in flight waits no more; it ends by itself. */
void ide_orphan(struct ide_drive *d);
void ide_signature(struct ide_drive *d);
void ide_put_text(uint16_t *words, const char *text, unsigned bytes);
/* Words 106 and 217 of a disk: its physical blocks, and how fast it rotates. */
void ide_put_medium(uint16_t *w, const struct drive_identity *i);
/* Version, model (the default) and world wide name, over the words that are set already. */
void ide_put_identity(uint16_t *w, const struct drive_identity *i, const char *model);

void ata_command(struct ide_drive *d);
void ata_reset(struct ide_drive *d);
void atapi_command(struct ide_drive *d);
void atapi_reset(struct ide_drive *d);

#endif
