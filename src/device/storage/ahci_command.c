/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of a Serial ATA drive. Sectors go between the image and guest memory without a copy: the PRDs are the request's I/O vector.
 * A CD-ROM drive's packets are scsi_unit.c's; its sense data are kept for REQUEST SENSE.
 *
 * Limits: at most 1024 pieces a command; no SMART attributes, security, or host-protected area.
 * Sources: ATA8-ACS, SATA 3.x (native command queuing), AHCI 1.3.1, 4.2.3 (command tables).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "device/storage/ahci_private.h"
#include "device/storage/ide_private.h"

enum { TRIM_MOST = 64 * AHCI_SECTOR, LOG_NCQ_ERROR = 0x10, REQUEST_SENSE = 3 };

static uint64_t sectors_of(const struct ahci_request *r) { return block_size_bytes(r->node) / AHCI_SECTOR; }
static void abort_command(struct ahci_request *r) { ahci_end(r, ATA_GOOD | ATA_ERR, ATA_ABRT); }
static void good(struct ahci_request *r) { ahci_end(r, ATA_GOOD, 0); }

static uint64_t lba48_get(const uint8_t *f)
{
    return f[4] | f[5] << 8 | (uint64_t)f[6] << 16 | (uint64_t)f[8] << 24 | (uint64_t)f[9] << 32 | (uint64_t)f[10] << 40;
}
static uint32_t lba28_get(const uint8_t *f) { return f[4] | (uint32_t)f[5] << 8 | (uint32_t)f[6] << 16 | (uint32_t)(f[7] & 15) << 24; }

/* ---- guest memory ---- */

/* The first bytes of what the PRDs name, as host pointers. false: they are fewer, not memory, or in too many pieces. */
static bool pieces_map(struct ahci_request *r, uint64_t bytes)
{
    struct ahci *s = r->port->ahci;
    struct { le64 address; le32 reserved, count; } __attribute__((packed)) prd;

    r->iov = malloc(AHCI_PIECES * sizeof(*r->iov));
    r->gpa = malloc(AHCI_PIECES * sizeof(*r->gpa));
    if (!r->iov || !r->gpa || !(s->pci.config[4] & 4)) return false;
    for (uint32_t n = 0; r->bytes < bytes && n < r->prd_count && n < AHCI_PIECES; n++) {
        uint64_t here;

        if (!pci_dma_read(&s->pci, r->table + 0x80 + n * sizeof(prd), &prd, sizeof(prd))) return false;
        here = MIN((uint64_t)(le32_get(prd.count) & 0x3fffff) + 1, bytes - r->bytes);
        r->gpa[r->count] = le64_get(prd.address) & ~1ull;
        r->iov[r->count] = (struct iovec){ memory_ram_pointer(s->config.memory, r->gpa[r->count], here), here };
        if (!r->iov[r->count++].iov_base) return false;
        r->bytes += here;
    }
    return r->bytes == bytes;
}

static void pieces_written(struct ahci_request *r, uint64_t bytes)
{
    for (unsigned i = 0; i < r->count && bytes; i++) {
        uint64_t here = MIN(bytes, r->iov[i].iov_len);

        memory_written(r->port->ahci->config.memory, r->gpa[i], here);
        bytes -= here;
    }
}

/* All that the PRDs name, up to a limit: how much a packet moves is known later. */
static void pieces_map_most(struct ahci_request *r, uint64_t most)
{
    pieces_map(r, most);
    if (r->count && !r->iov[r->count - 1].iov_base) r->count--;
}

static void data_give(struct ahci_request *r, const void *data, uint32_t bytes)
{
    const uint8_t *from = data;

    pieces_map_most(r, bytes);
    for (unsigned i = 0; i < r->count; i++) {
        memcpy(r->iov[i].iov_base, from, r->iov[i].iov_len);
        from += r->iov[i].iov_len;
    }
    bytes = (uint32_t)(from - (const uint8_t *)data);
    pieces_written(r, bytes);
    ahci_end_data(r, bytes);
}

/* ---- requests of the image ---- */

static void io_submit(struct ahci_request *r);

static bool result_is_kept(struct ahci_request *r, int *result)
{
    switch (block_error_action(&r->port->config.on_error, r->io == AHCI_READ, *result)) {
    case BLOCK_ERROR_STOP:
        r->held = true;
        return true;
    case BLOCK_ERROR_IGNORE: *result = 0; return false;
    default: return false;
    }
}

static void io_done(void *opaque, int result)
{
    struct ahci_request *r = opaque;

    r->in_flight = false;
    if (!r->port) {
        ahci_request_free(r);
        return;
    }
    if (result && result_is_kept(r, &result)) return;
    if (result) {
        ahci_end(r, ATA_GOOD | ATA_ERR, r->io == AHCI_READ && result == -EIO ? ATA_UNC : ATA_ABRT);
        return;
    }
    if (r->io == AHCI_READ) pieces_written(r, r->bytes);
    if (r->range_at < r->range_bytes || r->flush_after) {
        if (r->flush_after) r->io = AHCI_FLUSH;
        r->flush_after = false;
        io_submit(r);
    } else if (r->count && !r->ranges) ahci_end_packet(r, (uint32_t)r->bytes);
    else good(r);
}

static void discard_next(struct ahci_request *r)
{
    while (r->range_at < r->range_bytes) {
        uint64_t entry, sector, count;

        memcpy(&entry, r->ranges + r->range_at, 8);
        r->range_at += 8;
        sector = entry & 0xffffffffffffull;
        count = entry >> 48;
        if (!count || sector >= sectors_of(r) || count > sectors_of(r) - sector) continue;
        r->in_flight = true;
        block_discard(r->node, sector * AHCI_SECTOR, count * AHCI_SECTOR, io_done, r);
        return;
    }
    good(r);
}

static void io_submit(struct ahci_request *r)
{
    if (r->io == AHCI_DISCARD) {
        discard_next(r);
        return;
    }
    r->in_flight = true;
    switch (r->io) {
    case AHCI_READ: block_read(r->node, r->offset, r->iov, (int)r->count, io_done, r); break;
    case AHCI_WRITE: block_write(r->node, r->offset, r->iov, (int)r->count, io_done, r); break;
    default: block_flush(r->node, io_done, r); break;
    }
}

void ahci_command_retry(struct ahci_request *r)
{
    r->held = false;
    if (r->io == AHCI_DISCARD) r->range_at -= 8;
    io_submit(r);
}

static void transfer(struct ahci_request *r, uint64_t sector, uint64_t count, bool is_write, bool fua)
{
    if (is_write && block_is_readonly(r->node)) {
        abort_command(r);
        return;
    }
    if (sector >= sectors_of(r) || count > sectors_of(r) - sector) {
        ahci_end(r, ATA_GOOD | ATA_ERR, ATA_ABRT | ATA_IDNF);
        return;
    }
    if (!pieces_map(r, count * AHCI_SECTOR)) {
        abort_command(r);
        return;
    }
    r->io = is_write ? AHCI_WRITE : AHCI_READ;
    r->flush_after = is_write && (fua || !r->port->write_cache);
    r->offset = sector * AHCI_SECTOR;
    io_submit(r);
}

static void transfer28(struct ahci_request *r, bool is_write) { transfer(r, lba28_get(r->fis), r->fis[12] ? r->fis[12] : 256, is_write, false); }

static void transfer48(struct ahci_request *r, bool is_write, bool fua)
{
    uint64_t count = r->fis[12] | r->fis[13] << 8;

    transfer(r, lba48_get(r->fis), count ? count : 65536, is_write, fua);
}

/* The count is where the features are elsewhere; the tag must be the slot. */
static void transfer_queued(struct ahci_request *r, bool is_write)
{
    uint64_t count = r->fis[3] | r->fis[11] << 8;

    if (r->fis[12] >> 3 != r->slot) abort_command(r);
    else transfer(r, lba48_get(r->fis), count ? count : 65536, is_write, r->fis[7] & 0x80);
}

static void trim(struct ahci_request *r)
{
    uint64_t bytes = (uint64_t)(r->fis[12] | r->fis[13] << 8) * AHCI_SECTOR;
    uint8_t *to;

    if (!(r->fis[3] & 1) || !bytes || bytes > TRIM_MOST || block_is_readonly(r->node) || !(to = r->ranges = malloc(bytes)) || !pieces_map(r, bytes)) {
        abort_command(r);
        return;
    }
    for (unsigned i = 0; i < r->count; to += r->iov[i++].iov_len) memcpy(to, r->iov[i].iov_base, r->iov[i].iov_len);
    r->range_bytes = (uint32_t)bytes;
    r->io = AHCI_DISCARD;
    io_submit(r);
}

static void flush(struct ahci_request *r)
{
    r->io = AHCI_FLUSH;
    io_submit(r);
}

/* ---- identity ---- */

static void identify(struct ahci_request *r)
{
    const struct ahci_port *p = r->port;
    bool cd = p->config.kind == IDE_CDROM;
    uint64_t total = cd ? 0 : sectors_of(r), cylinders = MIN(total / (16 * 63), (uint64_t)16383);
    uint16_t w[256] = { 0 };
    char serial[24];
    uint8_t sum = 0, *bytes = (uint8_t *)w;

    snprintf(serial, sizeof(serial), "QM%05u", p->number + 1);
    w[0] = cd ? 0x85c0 : 0x0040;
    w[1] = (uint16_t)cylinders;
    w[3] = cd ? 0 : 16;
    w[6] = cd ? 0 : 63;
    ide_put_text(w + 10, p->config.serial ? p->config.serial : serial, 20);
    w[49] = 0x0b00;
    w[53] = 6;
    w[63] = 7;
    w[64] = 3;
    w[65] = w[66] = w[67] = w[68] = 120;
    w[75] = cd ? 0 : 31;
    w[76] = cd ? 2 : 0x102;                              /* 1.5 Gbit/s; queuing */
    w[80] = 0x1f0;
    w[82] = cd ? 0x4010 : 0x4020;
    w[83] = cd ? 0x4000 : 0x7400;
    w[84] = cd ? 0x4000 : 0x4040;
    w[85] = cd ? 0x4010 : 0x4000 | (p->write_cache ? 0x20 : 0);
    w[86] = cd ? 0 : 0x3400;
    w[87] = cd ? 0x4000 : 0x4040;
    w[88] = 0x203f;
    if (!cd) {
        uint32_t small = (uint32_t)MIN(total, (uint64_t)0x0fffffff);

        w[47] = 0x8010;
        w[59] = 0x110;
        memcpy(w + 60, &small, 4);
        memcpy(w + 100, &total, 8);
        w[169] = 1;                                      /* TRIM */
        ide_put_medium(w, &p->config.identity);
    }
    ide_put_identity(w, &p->config.identity, cd ? "ospite DVD-ROM" : "ospite HARDDISK");
    w[255] = 0xa5;
    for (unsigned n = 0; n < AHCI_SECTOR - 1; n++) sum += bytes[n];
    bytes[AHCI_SECTOR - 1] = (uint8_t)-sum;
    data_give(r, w, sizeof(w));
}

static void set_features(struct ahci_request *r)
{
    switch (r->fis[3]) {
    case 0x02: r->port->write_cache = true; good(r); break;
    case 0x82:
        r->port->write_cache = false;
        if (r->node) flush(r);
        else good(r);
        break;
    case 0x03: case 0x05: case 0x85: case 0x10: case 0x90: case 0x55: case 0xaa: case 0x66: case 0xcc: good(r); break;
    default: abort_command(r); break;
    }
}

static void read_log(struct ahci_request *r)
{
    static const uint8_t empty[AHCI_SECTOR];
    unsigned page = r->fis[4], count = r->fis[12] | r->fis[13] << 8;

    if (count != 1 || (page != 0 && page != LOG_NCQ_ERROR)) abort_command(r);
    else if (page == LOG_NCQ_ERROR) data_give(r, r->port->log, AHCI_SECTOR);
    else {
        uint8_t directory[AHCI_SECTOR];

        memcpy(directory, empty, sizeof(directory));
        directory[0] = 1;
        directory[2 * LOG_NCQ_ERROR] = 1;
        data_give(r, directory, AHCI_SECTOR);
    }
}

static void disk_command(struct ahci_request *r)
{
    uint8_t op = r->fis[2];

    switch (op) {
    case 0x60: case 0x61: transfer_queued(r, op == 0x61); break;
    case 0x20: case 0x21: case 0xc4: case 0xc8: case 0xc9: transfer28(r, false); break;
    case 0x30: case 0x31: case 0xc5: case 0xca: case 0xcb: transfer28(r, true); break;
    case 0x24: case 0x25: case 0x29: transfer48(r, false, false); break;
    case 0x34: case 0x35: case 0x39: transfer48(r, true, false); break;
    case 0x3d: case 0xce: transfer48(r, true, true); break;
    case 0x06: trim(r); break;
    case 0x2f: case 0x47: read_log(r); break;
    case 0xe7: case 0xea: flush(r); break;
    case 0xec: identify(r); break;
    case 0xef: set_features(r); break;
    case 0x10: case 0x40: case 0x42: case 0x70: case 0x91: case 0xc6: case 0xe0 ... 0xe3: case 0xe6: case 0xf5: good(r); break;
    case 0xe5:
        r->fis[12] = 0xff;                               /* active */
        good(r);
        break;
    default: abort_command(r); break;
    }
}

/* ---- CD-ROM ---- */

static void packet_done(struct scsi_request *q)
{
    struct ahci_request *r = container_of(q, struct ahci_request, scsi);

    r->in_flight = false;
    if (!r->port) {
        ahci_request_free(r);
        return;
    }
    r->fis[12] = 3;                                      /* interrupt reason: status */
    if (q->is_short) abort_command(r);
    else if (q->status != SCSI_GOOD) {
        memcpy(r->port->sense, q->sense, SCSI_SENSE_BYTES);
        ahci_end(r, ATA_GOOD | ATA_ERR, (uint8_t)(q->sense[2] << 4 | ATA_ABRT));
    } else if (q->moved && r->scsi.in_bytes) {
        pieces_written(r, q->moved);
        ahci_end_packet(r, (uint32_t)q->moved);
    } else good(r);
}

void ahci_unit_drop(struct scsi_request *q)
{
    container_of(q, struct ahci_request, scsi)->in_flight = false;
}

static void packet(struct ahci_request *r)
{
    static const uint8_t none[SCSI_SENSE_BYTES] = { 0x70, 0, 0, 0, 0, 0, 0, SCSI_SENSE_BYTES - 8 };

    if (r->cdb[0] == REQUEST_SENSE) {
        uint8_t sense[SCSI_SENSE_BYTES];

        memcpy(sense, r->port->sense[0] ? r->port->sense : none, sizeof(sense));
        memset(r->port->sense, 0, sizeof(r->port->sense));
        data_give(r, sense, MIN((uint32_t)r->cdb[4], (uint32_t)sizeof(sense)));
        return;
    }
    pieces_map_most(r, 65536ull * 2048);
    memcpy(r->scsi.cdb, r->cdb, sizeof(r->cdb));
    r->scsi.in = r->iov;
    r->scsi.in_count = r->count;
    r->scsi.in_bytes = r->bytes;
    r->scsi.done = packet_done;
    r->in_flight = true;
    scsi_unit_start(r->port->unit, &r->scsi);
}

static void cdrom_command(struct ahci_request *r)
{
    switch (r->fis[2]) {
    case 0xa0: packet(r); break;
    case 0xa1: identify(r); break;
    case 0xef: set_features(r); break;
    case 0x08: case 0xe0 ... 0xe3: case 0xe5: case 0xe6: case 0xe7: good(r); break;
    default: abort_command(r); break;
    }
}

void ahci_command_start(struct ahci_request *r)
{
    if (r->port->config.kind == IDE_CDROM) cdrom_command(r);
    else disk_command(r);
}
