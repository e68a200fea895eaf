/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CD-ROM drive: ATAPI packets carrying MMC commands over an image with 2048-byte sectors.
 *
 * A reply is at most one buffer and goes out in pieces that are no longer than the byte count the guest set; READ fetches
 * its sectors piece by piece. Every error leaves a sense key with its codes for REQUEST SENSE. After a change of the disc
 * the next command reports it (unit attention).
 * Sources: SFF-8020i, MMC-5 (T10 1675D), SPC-3.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "device/storage/ide_private.h"

enum { SENSE_NONE = 0, SENSE_NOT_READY = 2, SENSE_MEDIUM = 3, SENSE_ILLEGAL = 5, SENSE_ATTENTION = 6 };
enum { ASC_OPCODE = 0x20, ASC_LBA = 0x21, ASC_FIELD = 0x24, ASC_CHANGED = 0x28, ASC_NO_MEDIUM = 0x3a, ASC_SAVING = 0x39, ASC_LOCKED = 0x53,
       ASC_READ = 0x11, ASC_MODE_TRACK = 0x64 };
enum { RAW_SECTOR = 2352 };

static uint32_t be(const uint8_t *p, unsigned bytes)
{
    uint32_t value = 0;

    while (bytes--) value = value << 8 | *p++;
    return value;
}

static void put_be(uint8_t *p, uint32_t value, unsigned bytes)
{
    while (bytes--) {
        p[bytes] = value;
        value >>= 8;
    }
}

static bool has_disc(const struct ide_drive *d) { return d->config.node && !d->tray_open; }
static uint64_t disc_sectors(const struct ide_drive *d) { return has_disc(d) ? block_size_bytes(d->config.node) / CD_SECTOR : 0; }

/* ---- endings ---- */

static void good(struct ide_drive *d)
{
    d->error = 0;
    d->sense_key = SENSE_NONE;
    d->asc = d->ascq = 0;
    d->count = REASON_CD | REASON_IO;
    ide_finish(d);
}

static void fail(struct ide_drive *d, uint8_t key, uint8_t asc)
{
    d->sense_key = key;
    d->asc = asc;
    d->ascq = 0;
    d->count = REASON_CD | REASON_IO;
    ide_abort(d, key << 4 | (key == SENSE_ILLEGAL ? ER_ABRT : 0));
}

/* ---- replies ---- */

/* The next piece of data[reply_at .. reply_bytes) through the data port. */
static void reply_next(struct ide_drive *d)
{
    uint32_t n = d->reply_bytes - d->reply_at;

    if (!n) {
        good(d);
        return;
    }
    if (n > d->byte_limit) n = d->byte_limit & ~1u;
    memmove(d->data, d->data + d->reply_at, d->reply_bytes - d->reply_at);
    d->reply_bytes -= d->reply_at + n;
    /* What is left stays behind this piece, in place. */
    d->reply_at = n;
    d->reply_bytes += n;
    d->mid = n;
    d->high = n >> 8;
    d->count = REASON_IO;
    ide_pio(d, n, false, reply_next, true);
}

static void reply_dma(struct ide_drive *d)
{
    if (ide_prd_copy(d, d->data, d->reply_bytes, true) < d->reply_bytes) ide_dma_fail(d);
    else ide_dma_end(d);
    good(d);
}

/* Sends data[0..bytes), cut to what the command allows for. */
static void reply(struct ide_drive *d, uint32_t bytes, uint32_t allocation)
{
    d->reply_bytes = MIN(bytes, allocation);
    d->reply_at = 0;
    if (!d->reply_bytes) good(d);
    else if (d->packet_dma) ide_dma(d, reply_dma);
    else reply_next(d);
}

/* ---- reading ---- */

static void read_next(struct ide_drive *d);

static void read_failed(struct ide_drive *d)
{
    ide_dma_end(d);
    fail(d, SENSE_MEDIUM, ASC_READ);
}

static void read_pio_done(struct ide_drive *d, int result)
{
    if (result < 0) {
        read_failed(d);
        return;
    }
    memcpy(d->data, d->request->buffer, d->chunk * CD_SECTOR);
    d->cd_sector += d->chunk;
    d->cd_left -= d->chunk;
    d->reply_bytes = d->chunk * CD_SECTOR;
    d->reply_at = 0;
    d->step = NULL;
    read_next(d);
}

static void read_dma_done(struct ide_drive *d, int result)
{
    uint32_t bytes = d->chunk * CD_SECTOR;

    if (result < 0) {
        read_failed(d);
        return;
    }
    if (ide_prd_copy(d, d->request->buffer, bytes, true) < bytes) {
        ide_dma_fail(d);
        read_failed(d);
        return;
    }
    d->cd_sector += d->chunk;
    d->cd_left -= d->chunk;
    read_next(d);
}

/* PIO: hands out what is in the buffer, piece by piece, then fetches more. DMA: fetches until all is there. */
static void read_next(struct ide_drive *d)
{
    uint32_t n = d->reply_bytes - d->reply_at;

    if (!d->packet_dma && n) {
        uint32_t limit = d->byte_limit >= CD_SECTOR ? d->byte_limit / CD_SECTOR * CD_SECTOR : d->byte_limit & ~1u;
        n = MIN(n, limit);
        memmove(d->data, d->data + d->reply_at, d->reply_bytes - d->reply_at);
        d->reply_bytes -= d->reply_at;
        d->reply_at = n;
        d->mid = n;
        d->high = n >> 8;
        d->count = REASON_IO;
        ide_pio(d, n, false, read_next, true);
        return;
    }
    if (!d->cd_left) {
        if (d->packet_dma) ide_dma_end(d);
        good(d);
        return;
    }
    d->chunk = MIN(d->cd_left, (uint64_t)(d->packet_dma ? IDE_DMA_CHUNK / CD_SECTOR : 32));
    d->reply_bytes = d->reply_at = 0;
    ide_read(d, d->cd_sector * CD_SECTOR, d->chunk * CD_SECTOR, d->packet_dma ? read_dma_done : read_pio_done);
}

static void read_sectors(struct ide_drive *d, uint64_t sector, uint64_t count)
{
    if (!count) {
        good(d);
        return;
    }
    if (sector >= disc_sectors(d) || count > disc_sectors(d) - sector) {
        fail(d, SENSE_ILLEGAL, ASC_LBA);
        return;
    }
    d->cd_sector = sector;
    d->cd_left = count;
    d->reply_bytes = d->reply_at = 0;
    if (d->packet_dma) ide_dma(d, read_next);
    else read_next(d);
}

static void read_cd(struct ide_drive *d)
{
    uint32_t count = be(d->packet + 6, 3);

    switch (d->packet[9] & 0xf8) {
    case 0x00: good(d); break;
    case 0x10: read_sectors(d, be(d->packet + 2, 4), count); break;
    default: fail(d, SENSE_ILLEGAL, ASC_MODE_TRACK); break;    /* raw sectors: an image has only the data */
    }
}

/* ---- information ---- */

static void request_sense(struct ide_drive *d)
{
    memset(d->data, 0, 18);
    d->data[0] = 0xf0;
    d->data[2] = d->sense_key;
    d->data[7] = 10;
    d->data[12] = d->asc;
    d->data[13] = d->ascq;
    if (d->sense_key == SENSE_ATTENTION) d->attention = false;
    reply(d, 18, d->packet[4]);
}

static void put_padded(uint8_t *to, const char *text, unsigned bytes)
{
    memset(to, ' ', bytes);
    memcpy(to, text, MIN((size_t)bytes, strlen(text)));
}

static void inquiry(struct ide_drive *d)
{
    if (d->packet[1] & 1) {
        if (d->packet[2] != 0) {
            fail(d, SENSE_ILLEGAL, ASC_FIELD);
            return;
        }
        memcpy(d->data, (uint8_t[]){ 5, 0, 0, 1, 0 }, 5);
        reply(d, 5, be(d->packet + 3, 2));
        return;
    }
    memset(d->data, 0, 36);
    d->data[0] = 5;
    d->data[1] = 0x80;
    d->data[3] = 0x21;
    d->data[4] = 31;
    put_padded(d->data + 8, "ospite", 8);
    put_padded(d->data + 16, "DVD-ROM", 16);
    put_padded(d->data + 32, d->config.identity.version ? d->config.identity.version : "1.0", 4);
    reply(d, 36, be(d->packet + 3, 2));
}

static void read_capacity(struct ide_drive *d)
{
    put_be(d->data, (uint32_t)disc_sectors(d) - 1, 4);
    put_be(d->data + 4, CD_SECTOR, 4);
    reply(d, 8, 8);
}

static void put_address(uint8_t *p, uint32_t sector, bool msf)
{
    if (!msf) {
        put_be(p, sector, 4);
        return;
    }
    sector += 150;
    p[0] = 0;
    p[1] = sector / 75 / 60;
    p[2] = sector / 75 % 60;
    p[3] = sector % 75;
}

static void read_toc(struct ide_drive *d)
{
    bool msf = d->packet[1] & 2;
    unsigned format = d->packet[2] & 15, first = d->packet[6], n = 4;
    uint8_t *p = d->data;

    if (!format) format = d->packet[9] >> 6;
    memset(p, 0, 64);
    p[2] = p[3] = 1;
    switch (format) {
    case 0:
        if (first > 1 && first != 0xaa) {
            fail(d, SENSE_ILLEGAL, ASC_FIELD);
            return;
        }
        if (first <= 1) {
            p[n + 1] = 0x14;
            p[n + 2] = 1;
            put_address(p + n + 4, 0, msf);
            n += 8;
        }
        p[n + 1] = 0x16;
        p[n + 2] = 0xaa;
        put_address(p + n + 4, (uint32_t)disc_sectors(d), msf);
        n += 8;
        break;
    case 1:
        p[5] = 0x14;
        p[6] = 1;
        put_address(p + 8, 0, msf);
        n = 12;
        break;
    case 2: {
        static const uint8_t points[4] = { 0xa0, 0xa1, 0xa2, 1 };
        for (unsigned k = 0; k < 4; k++, n += 11) {
            p[n] = 1;
            p[n + 1] = 0x14;
            p[n + 3] = points[k];
            if (k < 2) p[n + 8] = 1;
            else put_address(p + n + 7, k == 2 ? (uint32_t)disc_sectors(d) : 0, true);
            if (k >= 2) p[n + 7] = 0;
        }
        break;
    }
    default:
        fail(d, SENSE_ILLEGAL, ASC_FIELD);
        return;
    }
    put_be(p, n - 2, 2);
    reply(d, n, be(d->packet + 7, 2));
}

static unsigned mode_page(struct ide_drive *d, unsigned page, uint8_t *p)
{
    switch (page) {
    case 0x01:
        memset(p, 0, 8);
        p[0] = 1;
        p[1] = 6;
        p[3] = 5;
        return 8;
    case 0x0e:
        memset(p, 0, 16);
        p[0] = 0x0e;
        p[1] = 14;
        p[2] = 4;
        p[9] = p[11] = 0xff;
        p[8] = 1;
        p[10] = 2;
        return 16;
    case 0x2a:
        memset(p, 0, 22);
        p[0] = 0x2a;
        p[1] = 20;
        p[2] = 0x3b;                                   /* reads CD-R, CD-RW, DVD */
        p[4] = 0x70;
        p[5] = 3;
        p[6] = 0x29 | (d->tray_locked ? 2 : 0);
        put_be(p + 8, 706, 2);
        p[11] = 2;
        put_be(p + 12, 512, 2);
        put_be(p + 14, 706, 2);
        return 22;
    default: return 0;
    }
}

static void mode_sense(struct ide_drive *d)
{
    unsigned page = d->packet[2] & 0x3f, n = 8;

    if (d->packet[2] >> 6 == 3) {
        fail(d, SENSE_ILLEGAL, ASC_SAVING);
        return;
    }
    memset(d->data, 0, 8);
    d->data[2] = has_disc(d) ? 1 : 0x70;
    if (page == 0x3f) {
        n += mode_page(d, 0x01, d->data + n);
        n += mode_page(d, 0x0e, d->data + n);
        n += mode_page(d, 0x2a, d->data + n);
    } else {
        n += mode_page(d, page, d->data + n);
    }
    if (n == 8) {
        fail(d, SENSE_ILLEGAL, ASC_FIELD);
        return;
    }
    put_be(d->data, n - 2, 2);
    reply(d, n, be(d->packet + 7, 2));
}

static unsigned feature(uint8_t *p, uint16_t number, uint8_t flags, const uint8_t *data, unsigned bytes)
{
    put_be(p, number, 2);
    p[2] = flags;
    p[3] = bytes;
    memcpy(p + 4, data, bytes);
    return 4 + bytes;
}

static void get_configuration(struct ide_drive *d)
{
    unsigned n = 8, only = (d->packet[1] & 3) == 2, start = be(d->packet + 2, 2);
    bool dvd = disc_sectors(d) > 450000;
    const struct { uint16_t number; uint8_t flags, bytes, data[12]; } features[] = {
        { 0, 3, 8, { 0, 0x10, dvd, 0, 0, 8, has_disc(d) && !dvd, 0 } }, { 1, 0x0b, 8, { 0, 0, 0, 2, 1 } }, { 2, 7, 4, { 2 } },
        { 3, 3, 4, { 0x29 } }, { 0x10, 1, 8, { 0, 0, 8, 0, 0, 0x10, 1 } }, { 0x1e, 9, 4, { 0 } }, { 0x1f, 1, 4, { 0 } },
    };

    memset(d->data, 0, 8);
    put_be(d->data + 6, !has_disc(d) ? 0 : dvd ? 0x10 : 8, 2);
    for (unsigned k = 0; k < ARRAY_SIZE(features); k++) {
        if (only ? features[k].number != start : features[k].number < start) continue;
        n += feature(d->data + n, features[k].number, features[k].flags, features[k].data, features[k].bytes);
    }
    put_be(d->data, n - 4, 4);
    reply(d, n, be(d->packet + 7, 2));
}

static void event_status(struct ide_drive *d)
{
    if (!(d->packet[1] & 1)) {                         /* only polling */
        fail(d, SENSE_ILLEGAL, ASC_FIELD);
        return;
    }
    memset(d->data, 0, 8);
    d->data[3] = 0x10;
    if (!(d->packet[4] & 0x10)) {
        d->data[1] = 2;
        d->data[2] = 0x80;                             /* no event of these classes */
        reply(d, 4, be(d->packet + 7, 2));
        return;
    }
    d->data[1] = 6;
    d->data[2] = 4;
    d->data[4] = d->media_event ? (has_disc(d) ? 2 : 3) : d->eject_request ? 1 : 0;
    d->data[5] = (d->tray_open ? 1 : 0) | (has_disc(d) ? 2 : 0);
    d->media_event = d->eject_request = false;
    reply(d, 8, be(d->packet + 7, 2));
}

static void disc_information(struct ide_drive *d)
{
    if (d->packet[1] & 7) {
        fail(d, SENSE_ILLEGAL, ASC_FIELD);
        return;
    }
    memset(d->data, 0, 34);
    d->data[1] = 32;
    d->data[2] = 0x0e;                                 /* complete */
    d->data[3] = d->data[4] = d->data[5] = d->data[6] = 1;
    d->data[7] = 0x20;
    memset(d->data + 16, 0xff, 8);
    reply(d, 34, be(d->packet + 7, 2));
}

static void dvd_structure(struct ide_drive *d)
{
    uint64_t total = disc_sectors(d);

    if (d->packet[7] != 0 || d->packet[1] & 15) {
        fail(d, SENSE_ILLEGAL, ASC_FIELD);
        return;
    }
    memset(d->data, 0, 2052);
    put_be(d->data, 2050, 2);
    d->data[4] = 1;
    d->data[5] = 0x0f;
    d->data[6] = 1;
    put_be(d->data + 8, 0x30000, 4);
    put_be(d->data + 12, (uint32_t)(0x30000 + total - 1), 4);
    reply(d, 2052, be(d->packet + 8, 2));
}

static void tray_set(struct ide_drive *d, bool open)
{
    d->tray_open = open;
    d->media_event = true;
    if (d->config.tray.moved) d->config.tray.moved(d->config.tray.opaque, open);
}

static void start_stop(struct ide_drive *d)
{
    bool start = d->packet[4] & 1, load_eject = d->packet[4] & 2;

    if (load_eject && !start && d->tray_locked) {
        fail(d, has_disc(d) ? SENSE_ILLEGAL : SENSE_NOT_READY, ASC_LOCKED);
        return;
    }
    if (load_eject && d->tray_open == start) tray_set(d, !start);
    good(d);
}

static void read_subchannel(struct ide_drive *d)
{
    memset(d->data, 0, 16);
    d->data[1] = 0x15;                                 /* no audio is played */
    if (d->packet[2] & 0x40) {
        d->data[3] = 12;
        d->data[4] = 1;
        d->data[5] = 0x14;
        d->data[6] = d->data[7] = 1;
    }
    reply(d, d->packet[2] & 0x40 ? 16 : 4, be(d->packet + 7, 2));
}

static void mechanism_status(struct ide_drive *d)
{
    memset(d->data, 0, 8);
    d->data[5] = 1;
    if (d->tray_open) d->data[1] = 0x10;
    reply(d, 8, be(d->packet + 8, 2));
}

/* ---- packets ---- */

static bool needs_disc(uint8_t op)
{
    switch (op) {
    case 0x00: case 0x25: case 0x28: case 0xa8: case 0xbe: case 0xb9: case 0x43: case 0x42: case 0x51: case 0xad: case 0x2b: return true;
    default: return false;
    }
}

static void packet_run(struct ide_drive *d)
{
    const uint8_t *p = d->packet;

    switch (p[0]) {
    case 0x00: good(d); break;
    case 0x03: request_sense(d); break;
    case 0x12: inquiry(d); break;
    case 0x1b: start_stop(d); break;
    case 0x1e: d->tray_locked = p[4] & 1; good(d); break;
    case 0x25: read_capacity(d); break;
    case 0x28: read_sectors(d, be(p + 2, 4), be(p + 7, 2)); break;
    case 0xa8: read_sectors(d, be(p + 2, 4), be(p + 6, 4)); break;
    case 0x2b:
        if (be(p + 2, 4) >= disc_sectors(d)) fail(d, SENSE_ILLEGAL, ASC_LBA);
        else good(d);
        break;
    case 0x42: read_subchannel(d); break;
    case 0x43: read_toc(d); break;
    case 0x46: get_configuration(d); break;
    case 0x4a: event_status(d); break;
    case 0x51: disc_information(d); break;
    case 0x5a: mode_sense(d); break;
    case 0xad: dvd_structure(d); break;
    case 0xbb: good(d); break;                         /* SET CD SPEED */
    case 0xbd: mechanism_status(d); break;
    case 0xbe: read_cd(d); break;
    default: fail(d, SENSE_ILLEGAL, ASC_OPCODE); break;
    }
}

static void packet_received(struct ide_drive *d)
{
    uint8_t op;

    memcpy(d->packet, d->data, sizeof d->packet);
    op = d->packet[0];
    trace(TRACE_IDE, "ide%u: packet %02x %02x %02x%02x%02x%02x %02x%02x%02x %02x limit %u%s\n", d->number, op, d->packet[1], d->packet[2],
          d->packet[3], d->packet[4], d->packet[5], d->packet[6], d->packet[7], d->packet[8], d->packet[9], d->byte_limit,
          d->packet_dma ? " dma" : "");
    if (d->attention && op != 0x12 && op != 0x03 && op != 0x46 && op != 0x4a) {
        d->attention = false;
        fail(d, SENSE_ATTENTION, ASC_CHANGED);
        return;
    }
    if (needs_disc(op) && !has_disc(d)) {
        fail(d, SENSE_NOT_READY, ASC_NO_MEDIUM);
        return;
    }
    packet_run(d);
}

static void packet(struct ide_drive *d)
{
    if (d->feature & 2) {                              /* overlapped */
        ide_abort(d, ER_ABRT);
        return;
    }
    d->packet_dma = d->feature & 1;
    d->byte_limit = d->mid | d->high << 8;
    if (d->byte_limit == 0xffff) d->byte_limit = 0xfffe;
    if (d->byte_limit < 2) d->byte_limit = 0xfffe;
    d->count = REASON_CD;
    ide_pio(d, sizeof d->packet, true, packet_received, false);
}

static void identify_packet(struct ide_drive *d)
{
    uint16_t w[256] = { 0 };
    char serial[24];

    snprintf(serial, sizeof serial, "QM%05u", d->number + 1);
    w[0] = 0x85c0;                                     /* CD-ROM, DRQ within 50 us, 12-byte packets */
    ide_put_text(w + 10, d->config.serial ? d->config.serial : serial, 20);
    w[48] = 1;
    w[49] = 0x0b00;
    w[53] = 7;
    w[63] = 7;
    w[64] = 3;
    w[65] = w[66] = 0xb4;
    w[67] = w[68] = 0x12c;
    w[71] = w[72] = 30;
    w[80] = 0x1e;
    w[82] = 0x4210;                                    /* NOP, DEVICE RESET, PACKET */
    w[83] = w[84] = 0x4000;
    w[85] = 0x4210;
    w[87] = 0x4000;
    w[88] = 0x3f | ((d->transfer_mode & 0xf8) == 0x40 ? 0x100 << (d->transfer_mode & 7) : 0);
    ide_put_identity(w, &d->config.identity, "ospite DVD-ROM");
    memcpy(d->data, w, sizeof w);
    ide_pio(d, sizeof w, false, NULL, true);
}

void atapi_command(struct ide_drive *d)
{
    switch (d->command) {
    case 0x08:                                         /* DEVICE RESET: no interrupt */
        atapi_reset(d);
        ide_signature(d);
        d->status = 0;
        d->error = 1;
        break;
    case 0xa0: packet(d); break;
    case 0xa1: identify_packet(d); break;
    case 0xec: case 0x20:                              /* the way to tell it is no disk */
        ide_signature(d);
        ide_abort(d, ER_ABRT);
        break;
    case 0xef:
        if (d->feature != 3) {
            ide_abort(d, ER_ABRT);
            break;
        }
        d->transfer_mode = d->count;
        ide_finish(d);
        break;
    case 0x00: ide_abort(d, ER_ABRT); break;
    case 0xe0 ... 0xe3: case 0xe6: case 0xe7: ide_finish(d); break;
    case 0xe5:
        d->count = 0xff;
        ide_finish(d);
        break;
    default: ide_abort(d, ER_ABRT); break;
    }
}

void atapi_reset(struct ide_drive *d)
{
    d->sense_key = d->asc = d->ascq = 0;
    d->tray_locked = false;
    d->transfer_mode = 0x42;
    d->reply_bytes = d->reply_at = 0;
    d->cd_left = 0;
}

struct tray_state ide_tray(const struct device *device, unsigned number)
{
    const struct ide_drive *d = &((const struct ide *)device)->channel[number >> 1 & 1].drive[number & 1];

    return (struct tray_state){ d->tray_open, d->tray_locked };
}

/* The rest of its command would read from the new disc, or from none. */
static void command_end(struct ide_drive *d)
{
    d->attention = true;
    ide_orphan(d);
    if (d->status & (ST_BSY | ST_DRQ)) fail(d, SENSE_ATTENTION, ASC_CHANGED);
}

int ide_cdrom_change(struct device *device, unsigned number, struct block_node *node, bool force, struct block_node **old, struct error *err)
{
    struct ide *s = (struct ide *)device;
    struct ide_drive *d = number < 4 ? &s->channel[number >> 1].drive[number & 1] : NULL;

    if (!d || d->config.kind != IDE_CDROM) return error_set(err, "drive %u is not a CD-ROM drive", number);
    if (d->tray_locked && !force && has_disc(d)) {
        d->eject_request = true;
        return error_set(err, "the guest has locked the tray and was told that the disc is wanted; try again, or use -f to take it out anyway");
    }
    *old = d->config.node;
    d->config.node = node;
    d->tray_open = false;
    d->media_event = true;
    command_end(d);
    return 0;
}

int ide_tray_move(struct device *device, unsigned number, bool open, bool force, struct error *err)
{
    struct ide_drive *d = &((struct ide *)device)->channel[number >> 1 & 1].drive[number & 1];

    if (d->tray_open == open) return 0;
    if (open && d->tray_locked && !force) {
        d->eject_request = true;
        return error_set(err, "the guest has locked the tray and was told that the disc is wanted; wait until it opens, or use force");
    }
    tray_set(d, open);
    command_end(d);
    return 0;
}

void ide_disc_put(struct device *device, unsigned number, struct block_node *node)
{
    ((struct ide *)device)->channel[number >> 1 & 1].drive[number & 1].config.node = node;
}
