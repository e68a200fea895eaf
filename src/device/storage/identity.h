/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a drive says of itself where the user chose it; NULL and 0: what it says otherwise. */
#ifndef DEVICE_STORAGE_IDENTITY_H
#define DEVICE_STORAGE_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

struct drive_identity {
    const char *vendor, *product, *version;  /* SCSI: 8, 16, 4 characters; ATA: product is the model, 40, and the version 8 */
    const char *device_id;                   /* SCSI: how it is told from others; at most 160 characters. NULL: by its serial number, else its name */
    uint64_t wwn, port_wwn;                  /* world wide names; port: SCSI */
    uint16_t port_index;                     /* SCSI */
    uint16_t rotation_rate;                  /* of a disk: 1 does not rotate, else turns a minute; 0 is not told */
    bool has_rotation_rate;                  /* false: it does not rotate */
    uint32_t logical_block_bytes;            /* SCSI disks: 512, the default, to 4096 */
    uint32_t physical_block_bytes;           /* of a disk: a power of two, at least the logical one */
    uint32_t min_io_bytes, opt_io_bytes, discard_granularity_bytes;      /* SCSI */
};

static inline unsigned drive_rotation_rate(const struct drive_identity *i) { return i->has_rotation_rate ? i->rotation_rate : 1; }

static inline uint32_t drive_block_bytes(const struct drive_identity *i) { return i->logical_block_bytes ? i->logical_block_bytes : 512; }

/* 2 to the power of this are the logical blocks of a physical one. */
static inline unsigned drive_physical_exponent(const struct drive_identity *i)
{
    unsigned n = 0;

    while ((uint64_t)drive_block_bytes(i) << n < i->physical_block_bytes) n++;
    return n;
}

#endif
