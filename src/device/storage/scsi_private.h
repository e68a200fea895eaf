/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of SCSI units share. */
#ifndef DEVICE_STORAGE_SCSI_PRIVATE_H
#define DEVICE_STORAGE_SCSI_PRIVATE_H

#include "device/storage/scsi_unit.h"

enum { SCSI_REPLY_BYTES = 256, SCSI_DISK_BLOCK_MAX = 4096, SCSI_MAX_BLOCKS = 0x3fffff };

static inline uint64_t be(const uint8_t *p, unsigned bytes)
{
    uint64_t value = 0;

    while (bytes--) value = value << 8 | *p++;
    return value;
}

static inline void put_be(uint8_t *p, uint64_t value, unsigned bytes)
{
    while (bytes--) {
        p[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

/* scsi_inquiry.c: what the unit says of itself, standard data and vital product data pages; the bytes of it. 0: there is no such page. */
size_t scsi_inquiry_put(const struct scsi_unit_config *c, uint8_t p[SCSI_REPLY_BYTES]);
size_t scsi_inquiry_page_put(const struct scsi_unit_config *c, unsigned page, uint8_t p[SCSI_REPLY_BYTES]);

#endif
