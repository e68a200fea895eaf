/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a drive says of itself where the user chose it; NULL and 0: what it says otherwise. */
#ifndef DEVICE_STORAGE_IDENTITY_H
#define DEVICE_STORAGE_IDENTITY_H

#include <stdint.h>

struct drive_identity {
    const char *vendor, *product, *version;  /* SCSI: 8, 16, 4 characters; ATA: product is the model, 40, and the version 8 */
    const char *device_id;                   /* SCSI: how it is told from others; at most 160 characters. NULL: by its serial number, else its name */
    uint64_t wwn, port_wwn;                  /* world wide names; port: SCSI */
    uint16_t port_index;                     /* SCSI */
};

#endif
