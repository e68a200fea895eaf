/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers to INQUIRY: who a unit is and what it can do. What the user chose goes first, the rest is as QEMU has it, so that a guest
 * that changes monitors finds the same drive.
 * Sources: SPC-4 (6.4, 7.8), SBC-3 (6.5).
 */
#include <string.h>

#include "base/bits.h"
#include "device/storage/scsi_private.h"

enum { DEVICE_ID_BYTES = 160, SERIAL_ID_BYTES = 20, SERIAL_BYTES = 36, TYPE_DISK = 0, TYPE_CDROM = 5 };

static uint8_t type_of(const struct scsi_unit_config *c) { return c->is_cdrom ? TYPE_CDROM : TYPE_DISK; }

static void text_put(uint8_t *to, size_t size, const char *text)
{
    memset(to, ' ', size);
    for (size_t i = 0; i < size && text[i]; i++) to[i] = (uint8_t)text[i];
}

size_t scsi_inquiry_put(const struct scsi_unit_config *c, uint8_t p[SCSI_REPLY_BYTES])
{
    const struct drive_identity *i = &c->identity;

    memcpy(p, (const uint8_t[8]){ type_of(c), c->is_cdrom ? 0x80 : 0, 5, 0x12, 31, 0, 0, 2 }, 8);
    text_put(p + 8, 8, i->vendor ? i->vendor : "QEMU");
    text_put(p + 16, 16, i->product ? i->product : c->is_cdrom ? "QEMU CD-ROM" : "QEMU HARDDISK");
    text_put(p + 32, 4, i->version ? i->version : "2.5+");
    return 36;
}

/* ---- vital product data ---- */

/* Code set and protocol, association and type, and what follows (SPC-5, 7.7.6). */
static size_t designator_put(uint8_t *p, size_t n, uint8_t set, uint8_t type, const void *data, size_t length)
{
    p[n] = set;
    p[n + 1] = type;
    p[n + 3] = (uint8_t)length;
    memcpy(p + n + 4, data, length);
    return n + 4 + length;
}

/* What the vendor calls it in ASCII, its world wide name, that of its port on SAS, and which port it is: as QEMU has them. */
static size_t designators_put(const struct scsi_unit_config *c, uint8_t *p)
{
    const struct drive_identity *i = &c->identity;
    const char *id = i->device_id ? i->device_id : c->serial ? c->serial : c->name ? c->name : "";
    uint8_t number[8];
    size_t n = 4;

    if (*id) n = designator_put(p, n, 2, 0, id, strnlen(id, id == c->serial ? SERIAL_ID_BYTES : DEVICE_ID_BYTES));
    put_be(number, i->wwn, 8);
    if (i->wwn) n = designator_put(p, n, 1, 3, number, 8);
    put_be(number, i->port_wwn, 8);
    if (i->port_wwn) n = designator_put(p, n, 0x61, 0x93, number, 8);
    put_be(number, i->port_index, 4);
    if (i->port_index) n = designator_put(p, n, 0x61, 0x94, number, 4);
    return n;
}

/* Lengths are in blocks. */
static size_t limits_put(const struct drive_identity *i, uint8_t *p)
{
    uint32_t granularity = i->discard_granularity_bytes ? i->discard_granularity_bytes : MAX(4096u, i->physical_block_bytes), block = drive_block_bytes(i);

    put_be(p + 6, i->min_io_bytes / block, 2);
    put_be(p + 8, SCSI_MAX_BLOCKS, 4);
    put_be(p + 12, i->opt_io_bytes / block, 4);
    put_be(p + 20, SCSI_MAX_BLOCKS, 4);
    put_be(p + 24, 255, 4);
    put_be(p + 28, granularity / block, 4);
    put_be(p + 36, SCSI_MAX_BLOCKS, 8);
    return 64;
}

size_t scsi_inquiry_page_put(const struct scsi_unit_config *c, unsigned page, uint8_t p[SCSI_REPLY_BYTES])
{
    const char *serial = c->serial ? c->serial : "";
    size_t n = 4;

    memset(p, 0, SCSI_REPLY_BYTES);
    p[0] = type_of(c);
    p[1] = (uint8_t)page;
    switch (page) {
    case 0x00:                                         /* the pages there are */
        memcpy(p + 4, (const uint8_t[]){ 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 }, 6);
        n += c->is_cdrom ? 3 : 6;
        break;
    case 0x80:
        n += strnlen(serial, SERIAL_BYTES);
        memcpy(p + 4, serial, n - 4);
        break;
    case 0x83: n = designators_put(c, p); break;
    case 0xb0: n = limits_put(&c->identity, p); break;
    case 0xb1:
        put_be(p + 4, drive_rotation_rate(&c->identity), 2);
        n = 64;
        break;
    case 0xb2:                                         /* thin; UNMAP and both WRITE SAMEs unmap */
        p[5] = 0xe0;
        p[6] = 2;
        n = 8;
        break;
    default: return 0;
    }
    put_be(p + 2, n - 4, 2);
    return n;
}
