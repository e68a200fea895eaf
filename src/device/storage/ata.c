/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ATA command set of a disk.
 *
 * A transfer is cut into pieces: one interrupt's worth of sectors in PIO (one, or as many as SET MULTIPLE MODE said), a
 * fixed number in DMA. Each piece is one request to the block layer.
 * Source: ATA/ATAPI-6 (T13 1410D), chapter 8; DATA SET MANAGEMENT from ATA8-ACS.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "device/storage/ide_private.h"

enum { MAX_MULTIPLE = 16, MODE_UDMA5 = 0x45 };

static uint64_t disk_sectors(const struct ide_drive *d) { return block_size_bytes(d->config.node) / SECTOR; }

/* ---- addresses ---- */

static uint64_t sector_get(const struct ide_drive *d, bool lba48)
{
    if (lba48)
        return (uint64_t)d->hob_high << 40 | (uint64_t)d->hob_mid << 32 | (uint64_t)d->hob_low << 24 | d->high << 16 | d->mid << 8 | d->low;
    if (d->device & DEV_LBA) return (uint64_t)(d->device & 15) << 24 | d->high << 16 | d->mid << 8 | d->low;
    if (!d->low) return UINT64_MAX;                    /* sectors count from one */
    return ((uint64_t)(d->high << 8 | d->mid) * d->heads + (d->device & 15)) * d->sectors_per_track + d->low - 1;
}

static void sector_put(struct ide_drive *d, uint64_t sector, bool lba48)
{
    if (!lba48 && !(d->device & DEV_LBA)) {
        uint64_t track = sector / d->sectors_per_track, cylinder = track / d->heads;
        d->low = sector % d->sectors_per_track + 1;
        d->device = (d->device & 0xf0) | (track % d->heads);
        d->mid = cylinder;
        d->high = cylinder >> 8;
        return;
    }
    d->low = sector;
    d->mid = sector >> 8;
    d->high = sector >> 16;
    if (lba48) {
        d->hob_low = sector >> 24;
        d->hob_mid = sector >> 32;
        d->hob_high = sector >> 40;
    } else {
        d->device = (d->device & 0xf0) | (sector >> 24 & 15);
    }
}

static uint64_t count_get(const struct ide_drive *d, bool lba48)
{
    uint64_t n = lba48 ? d->hob_count << 8 | d->count : d->count;

    return n ? n : lba48 ? 65536 : 256;
}

/* Notes what the task file asks for. false: it lies beyond the end; the command was aborted. */
static bool transfer_begin(struct ide_drive *d, bool lba48, bool is_write)
{
    d->lba48 = lba48;
    d->is_write = is_write;
    d->sector = sector_get(d, lba48);
    d->sectors_left = count_get(d, lba48);
    if (d->sector < disk_sectors(d) && d->sectors_left <= disk_sectors(d) - d->sector) return true;
    ide_abort(d, ER_ABRT | ER_IDNF);
    return false;
}

static void piece_done(struct ide_drive *d)
{
    d->sector += d->chunk;
    d->sectors_left -= d->chunk;
}

/* At the end the registers tell the last sector; after an error the one that failed. */
static void transfer_end(struct ide_drive *d)
{
    sector_put(d, d->sector - 1, d->lba48);
    d->count = d->hob_count = 0;
    ide_finish(d);
}

/* false: the piece failed and the command is over. */
static bool piece_is_good(struct ide_drive *d, int result)
{
    if (result == 0) return true;
    sector_put(d, d->sector, d->lba48);
    ide_dma_end(d);
    ide_abort(d, d->is_write || result != -EIO ? ER_ABRT : ER_UNC);
    return false;
}

/* ---- PIO ---- */

static uint32_t pio_piece(const struct ide_drive *d)
{
    bool multiple = d->command == 0xc4 || d->command == 0xc5 || d->command == 0x29 || d->command == 0x39 || d->command == 0xce;

    return MIN(d->sectors_left, (uint64_t)(multiple ? d->multiple : 1));
}

static void pio_read_next(struct ide_drive *d);

static void pio_read_done(struct ide_drive *d, int result)
{
    if (!piece_is_good(d, result)) return;
    memcpy(d->data, d->request->buffer, d->chunk * SECTOR);
    piece_done(d);
    if (!d->sectors_left) {
        sector_put(d, d->sector - 1, d->lba48);
        d->count = d->hob_count = 0;
    }
    ide_pio(d, d->chunk * SECTOR, false, d->sectors_left ? pio_read_next : NULL, true);
}

static void pio_read_next(struct ide_drive *d)
{
    d->chunk = pio_piece(d);
    ide_read(d, d->sector * SECTOR, d->chunk * SECTOR, pio_read_done);
}

static void pio_write_piece(struct ide_drive *d);

static void flushed(struct ide_drive *d, int result)
{
    if (result < 0) ide_abort(d, ER_ABRT);
    else transfer_end(d);
}

static void transfer_end_durable(struct ide_drive *d)
{
    if (d->fua || !d->write_cache) ide_flush(d, flushed);
    else transfer_end(d);
}

static void pio_write_done(struct ide_drive *d, int result)
{
    if (!piece_is_good(d, result)) return;
    piece_done(d);
    if (!d->sectors_left) {
        transfer_end_durable(d);
        return;
    }
    d->chunk = pio_piece(d);
    ide_pio(d, d->chunk * SECTOR, true, pio_write_piece, true);
}

static void pio_write_piece(struct ide_drive *d)
{
    ide_write(d, d->sector * SECTOR, d->data, d->chunk * SECTOR, pio_write_done);
}

static void pio_transfer(struct ide_drive *d, bool lba48, bool is_write)
{
    if (!transfer_begin(d, lba48, is_write)) return;
    if (!is_write) {
        pio_read_next(d);
        return;
    }
    d->chunk = pio_piece(d);
    ide_pio(d, d->chunk * SECTOR, true, pio_write_piece, false);
}

static void multiple_transfer(struct ide_drive *d, bool lba48, bool is_write)
{
    if (d->multiple) pio_transfer(d, lba48, is_write);
    else ide_abort(d, ER_ABRT);
}

/* ---- DMA ---- */

static void dma_next(struct ide_drive *d);

static void dma_short(struct ide_drive *d)
{
    ide_dma_fail(d);
    ide_abort(d, ER_ABRT);
}

static void dma_read_done(struct ide_drive *d, int result)
{
    uint32_t bytes = d->chunk * SECTOR;

    if (!piece_is_good(d, result)) return;
    if (ide_prd_copy(d, d->request->buffer, bytes, true) < bytes) {
        dma_short(d);
        return;
    }
    piece_done(d);
    dma_next(d);
}

static void dma_write_done(struct ide_drive *d, int result)
{
    if (!piece_is_good(d, result)) return;
    piece_done(d);
    dma_next(d);
}

static void dma_next(struct ide_drive *d)
{
    if (!d->sectors_left) {
        ide_dma_end(d);
        if (d->is_write) transfer_end_durable(d);
        else transfer_end(d);
        return;
    }
    d->chunk = MIN(d->sectors_left, (uint64_t)(IDE_DMA_CHUNK / SECTOR));
    if (!d->is_write) {
        ide_read(d, d->sector * SECTOR, d->chunk * SECTOR, dma_read_done);
        return;
    }
    if (ide_prd_copy(d, d->data, d->chunk * SECTOR, false) < d->chunk * SECTOR) dma_short(d);
    else ide_write(d, d->sector * SECTOR, d->data, d->chunk * SECTOR, dma_write_done);
}

static void dma_transfer(struct ide_drive *d, bool lba48, bool is_write)
{
    if (transfer_begin(d, lba48, is_write)) ide_dma(d, dma_next);
}

/* ---- DATA SET MANAGEMENT: TRIM ---- */

static void trim_next(struct ide_drive *d);

static void trim_done(void *opaque, int result)
{
    struct ide_request *r = opaque;
    struct ide_drive *d = r->drive;

    if (d) {
        d->request = NULL;
        trim_next(d);                                  /* a discard that failed is a discard not done: allowed */
    }
    free(r);
}

static void trim_next(struct ide_drive *d)
{
    while (d->at < d->end) {
        uint64_t entry, sector, count;
        struct ide_request *r;
        memcpy(&entry, d->data + d->at, 8);
        d->at += 8;
        sector = entry & 0xffffffffffffull;
        count = entry >> 48;
        if (!count || sector >= disk_sectors(d) || count > disk_sectors(d) - sector) continue;
        r = calloc(1, sizeof *r);
        if (!r) continue;
        r->drive = d;
        d->request = r;
        d->status |= ST_BSY;
        block_discard(d->config.node, sector * SECTOR, count * SECTOR, trim_done, r);
        return;
    }
    ide_finish(d);
}

static void trim_start(struct ide_drive *d)
{
    uint32_t bytes = MIN(d->sectors_left * SECTOR, (uint64_t)IDE_BUFFER);

    if (ide_prd_copy(d, d->data, bytes, false) < bytes) {
        dma_short(d);
        return;
    }
    ide_dma_end(d);
    d->status = ST_BSY;
    d->at = 0;
    d->end = bytes;
    trim_next(d);
}

static void data_set_management(struct ide_drive *d)
{
    d->sectors_left = count_get(d, true);
    if (!(d->feature & 1) || d->sectors_left * SECTOR > IDE_BUFFER) ide_abort(d, ER_ABRT);
    else ide_dma(d, trim_start);
}

/* ---- IDENTIFY DEVICE ---- */

static void geometry(const struct ide_drive *d, unsigned *cylinders, unsigned *heads, unsigned *sectors)
{
    *heads = 16;
    *sectors = 63;
    *cylinders = MIN(disk_sectors(d) / (16 * 63), (uint64_t)16383);
    if (*cylinders < 2) *cylinders = 2;
}

static void put32(uint16_t *w, uint32_t value)
{
    w[0] = value;
    w[1] = value >> 16;
}

static void identify(struct ide_drive *d)
{
    uint16_t w[256] = { 0 };
    unsigned cylinders, heads, sectors;
    uint64_t total = disk_sectors(d), current;
    char serial[24];
    uint8_t sum = 0;

    geometry(d, &cylinders, &heads, &sectors);
    snprintf(serial, sizeof serial, "QM%05u", d->number + 1);
    current = (uint64_t)cylinders * d->heads * d->sectors_per_track;
    w[0] = 0x0040;
    w[1] = cylinders;
    w[3] = heads;
    w[6] = sectors;
    ide_put_text(w + 10, d->config.serial ? d->config.serial : serial, 20);
    w[47] = 0x8000 | MAX_MULTIPLE;
    w[48] = 1;                                         /* 32-bit PIO */
    w[49] = 0x0b00;                                    /* LBA, DMA, IORDY may be disabled */
    w[50] = 0x4000;
    w[51] = w[52] = 0x200;
    w[53] = 7;
    w[54] = cylinders;
    w[55] = d->heads;
    w[56] = d->sectors_per_track;
    put32(w + 57, MIN(current, (uint64_t)0x0fffffff));
    w[59] = d->multiple ? 0x100 | d->multiple : 0;
    put32(w + 60, MIN(total, (uint64_t)0x0fffffff));
    w[63] = 7 | ((d->transfer_mode & 0xf8) == 0x20 ? 0x100 << (d->transfer_mode & 7) : 0);
    w[64] = 3;
    w[65] = w[66] = w[67] = w[68] = 120;
    w[80] = 0xf0;                                      /* ATA-4 to ATA-7 */
    w[81] = 0x16;
    w[82] = 0x4021;                                    /* NOP, write cache, SMART */
    w[83] = 0x7400;                                    /* FLUSH CACHE EXT, FLUSH CACHE, 48-bit */
    w[84] = 0x4040;                                    /* WRITE DMA FUA EXT */
    w[85] = 0x4000 | (d->write_cache ? 0x20 : 0) | (d->smart ? 1 : 0);
    w[86] = 0x3400;
    w[87] = 0x4040;
    w[88] = 0x3f | ((d->transfer_mode & 0xf8) == 0x40 ? 0x100 << (d->transfer_mode & 7) : 0);
    w[93] = d->number & 1 ? 0x6200 : 0x6001;           /* 80-conductor cable, this drive */
    memcpy(w + 100, &total, 8);
    w[119] = w[120] = 0x4000;
    w[169] = 1;                                        /* TRIM */
    w[69] = 0;
    ide_put_medium(w, &d->config.identity);
    ide_put_identity(w, &d->config.identity, "ospite HARDDISK");
    w[255] = 0xa5;
    memcpy(d->data, w, SECTOR);
    for (unsigned n = 0; n < SECTOR - 1; n++) sum += d->data[n];
    d->data[SECTOR - 1] = -sum;
    ide_pio(d, SECTOR, false, NULL, true);
}

/* ---- the rest ---- */

static void flush_done(struct ide_drive *d, int result)
{
    if (result < 0) ide_abort(d, ER_ABRT);
    else ide_finish(d);
}

static void set_features(struct ide_drive *d)
{
    switch (d->feature) {
    case 0x02: d->write_cache = true; break;
    case 0x82:
        d->write_cache = false;
        ide_flush(d, flush_done);
        return;
    case 0x03: {
        uint8_t type = d->count >> 3, mode = d->count & 7;
        bool known = type <= 1 ? mode <= 4 : type == 4 ? mode <= 2 : type == 8 && mode <= 5;
        if (!known) {
            ide_abort(d, ER_ABRT);
            return;
        }
        d->transfer_mode = d->count;
        break;
    }
    case 0x05: case 0x85: case 0x42: case 0xc2: case 0x66: case 0xcc: case 0x55: case 0xaa: case 0x69: case 0x67: case 0x96: case 0x9a: break;
    default:
        ide_abort(d, ER_ABRT);
        return;
    }
    ide_finish(d);
}

/* A disk that is well: no attributes, no logs, status good. */
static void smart(struct ide_drive *d)
{
    uint8_t sum = 0;

    if (d->mid != 0x4f || d->high != 0xc2 || (!d->smart && d->feature != 0xd8)) {
        ide_abort(d, ER_ABRT);
        return;
    }
    switch (d->feature) {
    case 0xd8: case 0xd9: d->smart = d->feature == 0xd8; break;
    case 0xd2: case 0xd4: break;
    case 0xda: break;                                  /* 4F C2 stay: no threshold is exceeded */
    case 0xd0: case 0xd1:
        memset(d->data, 0, SECTOR);
        d->data[0] = 1;
        if (d->feature == 0xd0) {
            d->data[362] = 2;                          /* off-line collection: completed */
            d->data[368] = 3;
            d->data[369] = 0;
        }
        for (unsigned n = 0; n < SECTOR - 1; n++) sum += d->data[n];
        d->data[SECTOR - 1] = -sum;
        ide_pio(d, SECTOR, false, NULL, true);
        return;
    default:
        ide_abort(d, ER_ABRT);
        return;
    }
    ide_finish(d);
}

static void initialize_parameters(struct ide_drive *d)
{
    if (!d->count) {
        ide_abort(d, ER_ABRT);
        return;
    }
    d->heads = (d->device & 15) + 1;
    d->sectors_per_track = d->count;
    ide_finish(d);
}

static void set_multiple(struct ide_drive *d)
{
    if (d->count > MAX_MULTIPLE || d->count & (d->count - 1)) {
        ide_abort(d, ER_ABRT);
        return;
    }
    d->multiple = d->count;
    ide_finish(d);
}

static void verify(struct ide_drive *d, bool lba48)
{
    if (!transfer_begin(d, lba48, false)) return;
    d->sector += d->sectors_left;
    transfer_end(d);
}

static void native_max(struct ide_drive *d, bool lba48)
{
    uint64_t last = disk_sectors(d) ? disk_sectors(d) - 1 : 0;

    if (!lba48) {
        last = MIN(last, (uint64_t)0x0ffffffe);
        d->device |= DEV_LBA;
    }
    sector_put(d, last, lba48);
    ide_finish(d);
}

static bool is_write_command(uint8_t c)
{
    return c == 0x30 || c == 0x31 || c == 0x34 || c == 0x35 || c == 0x39 || c == 0x3d || c == 0xc5 || c == 0xca || c == 0xcb || c == 0xce || c == 0x06;
}

static void other_command(struct ide_drive *d)
{
    switch (d->command) {
    case 0x06: data_set_management(d); break;
    case 0x10 ... 0x1f: case 0x70 ... 0x7f: ide_finish(d); break;      /* RECALIBRATE, SEEK */
    case 0x40: case 0x41: verify(d, false); break;
    case 0x42: verify(d, true); break;
    case 0x91: initialize_parameters(d); break;
    case 0xb0: smart(d); break;
    case 0xc6: set_multiple(d); break;
    case 0x94 ... 0x97: case 0x99: case 0xe0 ... 0xe3: case 0xe6: case 0xf5: ide_finish(d); break;     /* power, SECURITY FREEZE LOCK */
    case 0x98: case 0xe5:
        d->count = 0xff;                               /* active */
        ide_finish(d);
        break;
    case 0xe7: case 0xea: ide_flush(d, flush_done); break;
    case 0xec: identify(d); break;
    case 0xef: set_features(d); break;
    case 0x27: native_max(d, true); break;
    case 0xf8: native_max(d, false); break;
    default: ide_abort(d, ER_ABRT); break;
    }
}

void ata_command(struct ide_drive *d)
{
    if (is_write_command(d->command) && block_is_readonly(d->config.node)) {
        ide_abort(d, ER_ABRT);
        return;
    }
    d->fua = d->command == 0x3d || d->command == 0xce;
    switch (d->command) {
    case 0x20: case 0x21: pio_transfer(d, false, false); break;
    case 0x24: pio_transfer(d, true, false); break;
    case 0x30: case 0x31: pio_transfer(d, false, true); break;
    case 0x34: pio_transfer(d, true, true); break;
    case 0xc4: multiple_transfer(d, false, false); break;
    case 0x29: multiple_transfer(d, true, false); break;
    case 0xc5: multiple_transfer(d, false, true); break;
    case 0x39: case 0xce: multiple_transfer(d, true, true); break;
    case 0xc8: case 0xc9: dma_transfer(d, false, false); break;
    case 0x25: dma_transfer(d, true, false); break;
    case 0xca: case 0xcb: dma_transfer(d, false, true); break;
    case 0x35: case 0x3d: dma_transfer(d, true, true); break;
    default: other_command(d); break;
    }
}

void ata_reset(struct ide_drive *d)
{
    unsigned cylinders, heads, sectors;

    geometry(d, &cylinders, &heads, &sectors);
    d->heads = heads;
    d->sectors_per_track = sectors;
    d->multiple = MAX_MULTIPLE;
    d->transfer_mode = MODE_UDMA5;
    d->write_cache = d->config.write_cache;
    d->smart = true;
}
