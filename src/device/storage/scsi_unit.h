/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A SCSI logical unit, disk or CD-ROM, over a block node. Knows no bus: an adapter hands it commands. Machine lock held. */
#ifndef DEVICE_STORAGE_SCSI_UNIT_H
#define DEVICE_STORAGE_SCSI_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "block/block.h"
#include "block/on_error.h"
#include "device/storage/identity.h"

struct error;
struct scsi_unit;

enum { SCSI_CDB_BYTES = 32, SCSI_SENSE_BYTES = 18, SCSI_GOOD = 0, SCSI_CHECK_CONDITION = 2 };
enum { SCSI_ASC_CAPACITY = 0x2a09 };       /* capacity data has changed */

/* Told when the tray opens or shuts, whoever did it. */
struct tray_watch { void (*moved)(void *opaque, bool open); void *opaque; };

struct scsi_unit_config {
    struct block_node *node;             /* stays the caller's; NULL: a CD-ROM drive without a disc */
    bool is_cdrom, write_cache;
    const char *serial;                  /* at most 36 characters; NULL: none */
    struct block_error_policy on_error;  /* what stops waits for scsi_unit_retry */
    struct tray_watch tray;              /* CD-ROM; moved may be NULL */
    struct drive_identity identity;
    const char *name;                    /* what tells it from others without device_id and serial; NULL: nothing */
};
/* NULL: no memory. */
struct scsi_unit *scsi_unit_new(const struct scsi_unit_config *config);
void scsi_unit_free(struct scsi_unit *u);        /* nothing may be in flight */

/* One command. The vectors point to guest memory and stay the caller's until done, which may come before scsi_unit_start
 * returns; the vectors are changed. */
struct scsi_request {
    uint8_t cdb[SCSI_CDB_BYTES];
    struct iovec *out, *in;
    unsigned out_count, in_count;
    uint64_t out_bytes, in_bytes;
    uint64_t *now_bytes;                 /* how much may still be read before scsi_unit_start returns (block_read_now); NULL: nothing */
    /* The unit's answer. */
    uint8_t status, sense[SCSI_SENSE_BYTES];
    uint64_t moved;                      /* bytes in either direction */
    bool is_short;                       /* the buffers are smaller than what the command moves; nothing was done */
    void (*done)(struct scsi_request *r);
    void *owner;
    /* The unit's own. */
    struct scsi_unit *unit;
    struct scsi_request *next;
    uint64_t offset, bytes, at;
    uint8_t *bounce;
    uint32_t bounce_bytes;
    bool zeroes, unmap, flush_after, is_read;
    void (*step)(struct scsi_request *r);        /* after the one under way */
    void (*again)(struct scsi_request *r);       /* the one under way, once more */
};
void scsi_unit_start(struct scsi_unit *u, struct scsi_request *r);
/* Waits until nothing is in flight; requests that wait for a retry are handed to drop, which must free them. */
void scsi_unit_drain(struct scsi_unit *u, void (*drop)(struct scsi_request *r));
/* Power-on values; the next command learns of it. */
void scsi_unit_reset(struct scsi_unit *u);
void scsi_unit_retry(struct scsi_unit *u);
/* The node has another size: the next command learns of it. */
void scsi_unit_resized(struct scsi_unit *u);
unsigned scsi_unit_in_flight(const struct scsi_unit *u);
/* CD-ROM: another disc, or none (NULL); the guest learns of it by its next command. Nothing may be in flight at the old node, which *old gets. -1 with
 * *err when the guest locked the tray and force is off: then it is told that somebody wants the disc. */
int scsi_unit_disc_change(struct scsi_unit *u, struct block_node *node, bool force, struct block_node **old, struct error *err);
/* In two steps: the tray opens (-1 with *err as above) or shuts, and while it is open the disc in it is replaced. */
int scsi_unit_tray_move(struct scsi_unit *u, bool open, bool force, struct error *err);
void scsi_unit_disc_put(struct scsi_unit *u, struct block_node *node);
struct tray_state { bool open, locked; };
struct tray_state scsi_unit_tray(const struct scsi_unit *u);

#endif
