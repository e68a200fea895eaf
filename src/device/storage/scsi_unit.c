/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SCSI commands of disks (SBC-3) and CD-ROM drives (MMC-5), a table of handlers by operation code. Reads and writes go straight between
 * image and guest memory; short answers are built in a small buffer and cut to what the initiator gave room for. Who the unit is
 * says scsi_inquiry.c.
 *
 * A request that takes several steps (UNMAP's list, WRITE SAME of a pattern, a write with FUA) keeps the next one in step.
 * Limits: blocks of 512 to 4096 bytes (disks) and 2048 (CD-ROM); fixed-format sense data; no reservations.
 * Sources: SPC-4, SBC-3, MMC-5 (T10).
 */
#include "device/storage/scsi_unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/storage/scsi_private.h"

enum { SENSE_NOT_READY = 2, SENSE_MEDIUM = 3, SENSE_ILLEGAL = 5, SENSE_ATTENTION = 6, SENSE_PROTECT = 7 };
enum { ASC_NOT_READY = 0x0400, ASC_WRITE = 0x0c00, ASC_READ = 0x1100, ASC_OPCODE = 0x2000, ASC_LBA = 0x2100, ASC_FIELD = 0x2400, ASC_PARAMETER = 0x2600,
       ASC_PROTECTED = 0x2700, ASC_CHANGED = 0x2800, ASC_RESET = 0x2900, ASC_LOCKED = 0x5302, ASC_TRAY_OPEN = 0x3a02, ASC_SAVING = 0x3900, ASC_NO_MEDIUM = 0x3a00, ASC_LIST_LENGTH = 0x1a00 };
enum { UNMAP_LIST_BYTES = 8 + 16 * 256, BOUNCE_BYTES = 65536, CD_BLOCK = 2048 };

struct scsi_unit {
    struct scsi_unit_config config;
    uint32_t block;
    bool writeback;
    unsigned attention;                  /* ASC that the next command is told; 0: none */
    bool tray_open, tray_locked;
    uint8_t media_event;                 /* the next answer to who asks: enum */
    unsigned in_flight;
    struct scsi_request *waiting;        /* for scsi_unit_retry */
};

enum { EVENT_EJECT_REQUEST = 1, EVENT_NEW_MEDIUM = 2, EVENT_REMOVAL = 3 };

static bool has_medium(const struct scsi_unit *u) { return u->config.node && !u->tray_open; }
static uint64_t blocks_of(const struct scsi_unit *u) { return has_medium(u) ? block_size_bytes(u->config.node) / u->block : 0; }
static bool is_protected(const struct scsi_unit *u) { return u->config.is_cdrom || (has_medium(u) && block_is_readonly(u->config.node)); }

/* ---- endings ---- */

static void finish(struct scsi_request *r)
{
    free(r->bounce);
    r->bounce = NULL;
    r->done(r);
}

static void good(struct scsi_request *r)
{
    r->status = SCSI_GOOD;
    finish(r);
}

static void fail(struct scsi_request *r, uint8_t key, unsigned asc)
{
    r->status = SCSI_CHECK_CONDITION;
    r->moved = 0;
    memset(r->sense, 0, sizeof(r->sense));
    r->sense[0] = 0x70;
    r->sense[2] = key;
    r->sense[7] = SCSI_SENSE_BYTES - 8;
    r->sense[12] = (uint8_t)(asc >> 8);
    r->sense[13] = (uint8_t)asc;
    finish(r);
}

/* The buffers are too small: the adapter has a word of its own for that. */
static bool has_room(struct scsi_request *r, uint64_t have, uint64_t need)
{
    if (have >= need) return true;
    r->is_short = true;
    r->status = SCSI_GOOD;
    finish(r);
    return false;
}

static void copy_in(const struct scsi_request *r, const uint8_t *from, size_t size)
{
    for (unsigned i = 0; i < r->in_count && size; i++) {
        size_t here = MIN(r->in[i].iov_len, size);

        memcpy(r->in[i].iov_base, from, here);
        from += here;
        size -= here;
    }
}

static size_t copy_out(const struct scsi_request *r, uint8_t *to, size_t size)
{
    size_t done = 0;

    for (unsigned i = 0; i < r->out_count && done < size; i++) {
        size_t here = MIN(r->out[i].iov_len, size - done);

        memcpy(to + done, r->out[i].iov_base, here);
        done += here;
    }
    return done;
}

static void reply(struct scsi_request *r, const uint8_t *data, size_t size, uint64_t allocation)
{
    r->moved = MIN(MIN((uint64_t)size, allocation), r->in_bytes);
    copy_in(r, data, r->moved);
    good(r);
}

/* Cuts a vector to its first bytes; returns the pieces left. */
static unsigned iov_cut(struct iovec *iov, unsigned count, uint64_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        if (iov[i].iov_len >= bytes) {
            iov[i].iov_len = bytes;
            return i + 1;
        }
        bytes -= iov[i].iov_len;
    }
    return count;
}

/* ---- reading and writing ---- */

static void io_done(void *opaque, int result)
{
    struct scsi_request *r = opaque;
    struct scsi_unit *u = r->unit;

    u->in_flight--;
    switch (result ? block_error_action(&u->config.on_error, r->is_read, result) : BLOCK_ERROR_IGNORE) {
    case BLOCK_ERROR_STOP:
        r->next = u->waiting;
        u->waiting = r;
        return;
    case BLOCK_ERROR_IGNORE: break;
    default:
        fail(r, SENSE_MEDIUM, r->is_read ? ASC_READ : ASC_WRITE);
        return;
    }
    if (r->step) r->step(r);
    else good(r);
}

static void flush_submit(struct scsi_request *r)
{
    r->step = NULL;
    r->again = flush_submit;
    r->flush_after = r->is_read = false;
    r->unit->in_flight++;
    block_flush(r->unit->config.node, io_done, r);
}

/* The step that does, or does again, what the request is about. */
static void submit(struct scsi_request *r)
{
    struct scsi_unit *u = r->unit;

    u->in_flight++;
    r->again = submit;
    r->is_read = false;
    if (r->bounce) {
        struct iovec iov = { r->bounce, MIN((uint64_t)r->bounce_bytes, r->bytes - r->at) };

        block_write(u->config.node, r->offset + r->at, &iov, 1, io_done, r);
    } else if (r->zeroes) block_write_zeroes(u->config.node, r->offset, r->bytes, r->unmap, io_done, r);
    else if (r->out_count) block_write(u->config.node, r->offset, r->out, (int)r->out_count, io_done, r);
    else {
        r->is_read = true;
        block_read(u->config.node, r->offset, r->in, (int)r->in_count, io_done, r);
    }
}

/* Where and how much a READ or WRITE of any length is about. false: the request has ended. */
static bool range_get(struct scsi_request *r, uint64_t *lba, uint64_t *count)
{
    const uint8_t *c = r->cdb;

    switch (c[0] >> 5) {
    case 0:
        *lba = be(c + 1, 3) & 0x1fffff;
        *count = c[4] ? c[4] : 256;
        break;
    case 1: case 2: *lba = be(c + 2, 4), *count = be(c + 7, 2); break;
    case 4: *lba = be(c + 2, 8), *count = be(c + 10, 4); break;
    default: *lba = be(c + 2, 4), *count = be(c + 6, 4);
    }
    if (*lba <= blocks_of(r->unit) && *count <= blocks_of(r->unit) - *lba) return true;
    fail(r, SENSE_ILLEGAL, ASC_LBA);
    return false;
}

static bool read_now(struct scsi_request *r)
{
    if (!r->now_bytes || r->bytes > *r->now_bytes || !block_read_now(r->unit->config.node, r->offset, r->in, (int)r->in_count)) return false;
    *r->now_bytes -= r->bytes;
    return true;
}

static void cmd_read(struct scsi_request *r)
{
    uint64_t lba, count;

    if (!range_get(r, &lba, &count)) return;
    r->offset = lba * r->unit->block;
    r->bytes = r->moved = count * r->unit->block;
    if (!has_room(r, r->in_bytes, r->bytes)) return;
    r->out_count = 0;
    r->in_count = iov_cut(r->in, r->in_count, r->bytes);
    if (!count || read_now(r)) good(r);
    else submit(r);
}

static void cmd_write(struct scsi_request *r)
{
    bool fua = r->cdb[0] >> 5 && r->cdb[1] & 8;
    uint64_t lba, count;

    if (is_protected(r->unit)) {
        fail(r, SENSE_PROTECT, ASC_PROTECTED);
        return;
    }
    if (!range_get(r, &lba, &count)) return;
    r->offset = lba * r->unit->block;
    r->bytes = r->moved = count * r->unit->block;
    if (!has_room(r, r->out_bytes, r->bytes)) return;
    r->out_count = iov_cut(r->out, r->out_count, r->bytes);
    r->step = fua || !r->unit->writeback ? flush_submit : NULL;
    if (count) submit(r);
    else good(r);
}

/* Without a comparison of bytes it only says whether the blocks are there. */
static void cmd_verify(struct scsi_request *r)
{
    uint64_t lba, count;

    if (r->cdb[1] & 6) fail(r, SENSE_ILLEGAL, ASC_FIELD);
    else if (range_get(r, &lba, &count)) good(r);
}

static void cmd_synchronize(struct scsi_request *r) { flush_submit(r); }

/* ---- unmapping, and writing the same everywhere ---- */

static void unmap_next(struct scsi_request *r);

static void unmap_again(struct scsi_request *r)
{
    r->at -= 16;
    unmap_next(r);
}

static void unmap_next(struct scsi_request *r)
{
    while (r->at < r->bounce_bytes) {
        const uint8_t *d = r->bounce + r->at;
        uint64_t lba = be(d, 8), count = be(d + 8, 4);

        r->at += 16;
        if (!count) continue;
        if (lba > blocks_of(r->unit) || count > blocks_of(r->unit) - lba) {
            fail(r, SENSE_ILLEGAL, ASC_LBA);
            return;
        }
        r->again = unmap_again;
        r->unit->in_flight++;
        block_discard(r->unit->config.node, lba * r->unit->block, count * r->unit->block, io_done, r);
        return;
    }
    good(r);
}

static void cmd_unmap(struct scsi_request *r)
{
    uint64_t length = be(r->cdb + 7, 2), list;

    if (is_protected(r->unit)) {
        fail(r, SENSE_PROTECT, ASC_PROTECTED);
        return;
    }
    if (!has_room(r, r->out_bytes, length)) return;
    if (!length) {
        good(r);
        return;
    }
    if (length < 8 || length > UNMAP_LIST_BYTES || !(r->bounce = calloc(1, UNMAP_LIST_BYTES))) {
        fail(r, SENSE_ILLEGAL, ASC_LIST_LENGTH);
        return;
    }
    copy_out(r, r->bounce, length);
    list = be(r->bounce + 2, 2) & ~15ull;
    if (list > length - 8) {
        fail(r, SENSE_ILLEGAL, ASC_LIST_LENGTH);
        return;
    }
    r->moved = length;
    r->at = 8;
    r->bounce_bytes = (uint32_t)(8 + list);
    r->step = unmap_next;
    unmap_next(r);
}

static void same_next(struct scsi_request *r)
{
    r->at += MIN((uint64_t)r->bounce_bytes, r->bytes - r->at);
    if (r->at < r->bytes) submit(r);
    else if (r->flush_after) flush_submit(r);
    else good(r);
}

static bool is_zero(const uint8_t *p, size_t size)
{
    return !p[0] && !memcmp(p, p + 1, size - 1);
}

static void cmd_write_same(struct scsi_request *r)
{
    bool no_data = r->cdb[0] == 0x93 && r->cdb[1] & 1, unmap = r->cdb[1] & 8;
    uint32_t block = r->unit->block;
    uint8_t pattern[SCSI_DISK_BLOCK_MAX] = { 0 };
    uint64_t lba, count;

    if (is_protected(r->unit)) {
        fail(r, SENSE_PROTECT, ASC_PROTECTED);
        return;
    }
    if (!range_get(r, &lba, &count)) return;
    if (!count || count > SCSI_MAX_BLOCKS) {
        fail(r, SENSE_ILLEGAL, ASC_FIELD);
        return;
    }
    if (!no_data && !has_room(r, r->out_bytes, block)) return;
    if (!no_data) copy_out(r, pattern, block);
    r->moved = no_data ? 0 : block;
    r->offset = lba * block;
    r->bytes = count * block;
    r->out_count = 0;
    r->flush_after = !r->unit->writeback;
    if (is_zero(pattern, block)) {
        r->zeroes = true;
        r->unmap = unmap;
        r->step = r->flush_after ? flush_submit : NULL;
        submit(r);
        return;
    }
    r->bounce_bytes = (uint32_t)MIN((uint64_t)BOUNCE_BYTES, r->bytes);
    if (!(r->bounce = malloc(r->bounce_bytes))) {
        fail(r, SENSE_MEDIUM, ASC_WRITE);
        return;
    }
    for (uint32_t at = 0; at < r->bounce_bytes; at += block) memcpy(r->bounce + at, pattern, block);
    r->step = same_next;
    submit(r);
}

/* ---- who and how large ---- */

static void cmd_inquiry(struct scsi_request *r)
{
    const struct scsi_unit_config *c = &r->unit->config;
    bool wants_page = r->cdb[1] & 1;
    uint8_t p[SCSI_REPLY_BYTES];
    size_t n = 0;

    if (wants_page) n = scsi_inquiry_page_put(c, r->cdb[2], p);
    else if (!(r->cdb[1] & 2) && !r->cdb[2]) n = scsi_inquiry_put(c, p);
    if (n) reply(r, p, n, be(r->cdb + 3, 2));
    else fail(r, SENSE_ILLEGAL, ASC_FIELD);
}

static void cmd_capacity10(struct scsi_request *r)
{
    uint64_t blocks = blocks_of(r->unit), last = blocks - 1;
    uint8_t p[8];

    if (!blocks) {                                     /* there is no answer for that */
        fail(r, SENSE_NOT_READY, ASC_NOT_READY);
        return;
    }
    put_be(p, MIN(last, (uint64_t)0xffffffff), 4);
    put_be(p + 4, r->unit->block, 4);
    reply(r, p, sizeof(p), sizeof(p));
}

static void cmd_capacity16(struct scsi_request *r)
{
    uint8_t p[32] = { 0 };

    if ((r->cdb[1] & 31) != 0x10) {
        fail(r, SENSE_ILLEGAL, ASC_FIELD);
        return;
    }
    if (!blocks_of(r->unit)) {
        fail(r, SENSE_NOT_READY, ASC_NOT_READY);
        return;
    }
    put_be(p, blocks_of(r->unit) - 1, 8);
    put_be(p + 8, r->unit->block, 4);
    p[13] = (uint8_t)drive_physical_exponent(&r->unit->config.identity);
    p[14] = r->unit->config.is_cdrom ? 0 : 0x80;       /* provisioning is managed */
    reply(r, p, sizeof(p), be(r->cdb + 10, 4));
}

static void cmd_ready(struct scsi_request *r) { good(r); }

static void cmd_sense(struct scsi_request *r)
{
    uint8_t p[SCSI_SENSE_BYTES] = { 0x70, 0, 0, 0, 0, 0, 0, SCSI_SENSE_BYTES - 8 };

    reply(r, p, sizeof(p), r->cdb[4]);
}

/* ---- mode pages ---- */

/* Returns the bytes of one page; 0: there is no such page. changeable: the mask of what may be changed. */
static size_t page_put(const struct scsi_unit *u, uint8_t *p, unsigned page, bool changeable)
{
    if (page == 0x01) {
        memcpy(p, (const uint8_t[12]){ 0x01, 10, changeable ? 0 : 0x80 }, 12);       /* errors are mended */
        return 12;
    }
    if (page == 0x08 && !u->config.is_cdrom) {
        memcpy(p, (const uint8_t[20]){ 0x08, 18, changeable || u->writeback ? 4 : 0 }, 20);
        return 20;
    }
    if (page == 0x2a && u->config.is_cdrom) {          /* what a CD-ROM drive can do: read all kinds, be locked, eject; 706 KB/s */
        memcpy(p, (const uint8_t[22]){ 0x2a, 20, 0x3b, 0, 0x70, 0, 0x29 | (u->tray_locked ? 2 : 0), 0, 0x02, 0xc2, 0, 2, 2, 0, 0x02, 0xc2 }, 22);
        if (changeable) memset(p + 2, 0, 20);
        return 22;
    }
    return 0;
}

static void cmd_mode_sense(struct scsi_request *r)
{
    static const uint8_t pages[] = { 0x01, 0x08, 0x2a };
    bool ten = r->cdb[0] == 0x5a, changeable = r->cdb[2] >> 6 == 1;
    const struct scsi_unit *u = r->unit;
    unsigned page = r->cdb[2] & 0x3f, found = 0;
    size_t head = ten ? 8 : 4, n = head;
    uint8_t p[SCSI_REPLY_BYTES] = { 0 };

    if (r->cdb[2] >> 6 == 3) {
        fail(r, SENSE_ILLEGAL, ASC_SAVING);
        return;
    }
    if (!(r->cdb[1] & 8) && !u->config.is_cdrom) {     /* a block descriptor */
        put_be(p + n, MIN(blocks_of(u), (uint64_t)0xffffffff), 4);
        put_be(p + n + 5, u->block, 3);
        p[ten ? 7 : 3] = 8;
        n += 8;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
        size_t size = page == 0x3f || page == pages[i] ? page_put(u, p + n, pages[i], changeable) : 0;

        n += size;
        found += size != 0;
    }
    if (!found || r->cdb[3]) {
        fail(r, SENSE_ILLEGAL, ASC_FIELD);
        return;
    }
    p[ten ? 3 : 2] = u->config.is_cdrom ? 0 : (is_protected(u) ? 0x80 : 0) | 0x10;   /* FUA is understood */
    if (ten) put_be(p, n - 2, 2);
    else p[0] = (uint8_t)(n - 1);
    reply(r, p, n, ten ? be(r->cdb + 7, 2) : r->cdb[4]);
}

/* Only the write cache can be switched. */
static void cmd_mode_select(struct scsi_request *r)
{
    bool ten = r->cdb[0] == 0x55;
    uint64_t length = ten ? be(r->cdb + 7, 2) : r->cdb[4];
    uint8_t p[SCSI_REPLY_BYTES];
    size_t size, at, head = ten ? 8 : 4;

    if (!has_room(r, r->out_bytes, length)) return;
    size = copy_out(r, p, MIN(length, (uint64_t)sizeof(p)));
    at = size >= head ? head + (ten ? be(p + 6, 2) : p[3]) : size;
    if (length > sizeof(p) || (length && size < head) || r->unit->config.is_cdrom) {
        fail(r, SENSE_ILLEGAL, ASC_PARAMETER);
        return;
    }
    while (at + 2 <= size) {
        size_t page = p[at + 1] + 2u;

        if ((p[at] & 0x3f) != 0x08 || page != 20 || at + page > size) {
            fail(r, SENSE_ILLEGAL, ASC_PARAMETER);
            return;
        }
        r->unit->writeback = p[at + 2] & 4;
        at += page;
    }
    r->moved = length;
    good(r);
}

/* ---- CD-ROM ---- */

/* One data track and the lead-out. */
static void cmd_toc(struct scsi_request *r)
{
    bool msf = r->cdb[1] & 2;
    unsigned format = r->cdb[2] & 15, first = r->cdb[6];
    uint64_t end = blocks_of(r->unit), start = 0;
    uint8_t p[20] = { 0, 0, 1, 1 };
    size_t n = 4;

    if (!format) format = r->cdb[9] >> 6;
    if (format > 1 || (format == 0 && first > 1 && first != 0xaa)) {
        fail(r, SENSE_ILLEGAL, ASC_FIELD);
        return;
    }
    for (unsigned track = format == 0 && first == 0xaa ? 1 : 0; track < (format ? 1u : 2u); track++) {
        uint64_t at = track ? end : start;

        p[n + 1] = 0x14;                               /* data, copying allowed */
        p[n + 2] = track ? 0xaa : 1;
        if (msf) {
            at += 150;
            p[n + 5] = (uint8_t)(at / (75 * 60));
            p[n + 6] = (uint8_t)(at / 75 % 60);
            p[n + 7] = (uint8_t)(at % 75);
        } else put_be(p + n + 4, at, 4);
        n += 8;
    }
    put_be(p, n - 2, 2);
    reply(r, p, n, be(r->cdb + 7, 2));
}

static void cmd_configuration(struct scsi_request *r)
{
    uint8_t p[20] = { 0, 0, 0, 16, 0, 0, 0, 8, 0, 0, 3, 8, 0, 0x10, 0, 0, 0, 8, 1, 0 };   /* profiles: DVD-ROM, CD-ROM */
    bool is_dvd = blocks_of(r->unit) > 405000;         /* 90 minutes */

    p[7] = !has_medium(r->unit) ? 0 : is_dvd ? 0x10 : 8;
    p[14] = has_medium(r->unit) && is_dvd;
    p[18] = has_medium(r->unit) && !is_dvd;
    reply(r, p, sizeof(p), be(r->cdb + 7, 2));
}

static void cmd_event(struct scsi_request *r)
{
    struct scsi_unit *u = r->unit;
    uint8_t p[8] = { 0, 6, 4, 0x10, u->media_event, (uint8_t)((u->tray_open ? 1 : 0) | (has_medium(u) ? 2 : 0)) };

    if (!(r->cdb[1] & 1)) {                            /* only by asking */
        fail(r, SENSE_ILLEGAL, ASC_FIELD);
        return;
    }
    if (!(r->cdb[4] & 0x10)) {
        p[1] = 2;
        p[2] = 0x80;
    } else u->media_event = 0;
    reply(r, p, r->cdb[4] & 0x10 ? 8 : 4, be(r->cdb + 7, 2));
}

static void tray_set(struct scsi_unit *u, bool open)
{
    u->tray_open = open;
    u->media_event = has_medium(u) ? EVENT_NEW_MEDIUM : EVENT_REMOVAL;
    if (u->config.tray.moved) u->config.tray.moved(u->config.tray.opaque, open);
}

static void cmd_start_stop(struct scsi_request *r)
{
    struct scsi_unit *u = r->unit;
    bool start = r->cdb[4] & 1, load_eject = r->cdb[4] & 2 && u->config.is_cdrom;

    if (load_eject && !start && u->tray_locked) {
        fail(r, has_medium(u) ? SENSE_ILLEGAL : SENSE_NOT_READY, ASC_LOCKED);
        return;
    }
    if (load_eject && u->tray_open == start) tray_set(u, !start);
    good(r);
}

static void cmd_prevent(struct scsi_request *r)
{
    r->unit->tray_locked = r->cdb[4] & 1;
    good(r);
}

/* ---- the table ---- */

enum { DISK = 1, CD = 2, BOTH = 3, MEDIUM = 4, ALWAYS = 8 };   /* MEDIUM: needs one; ALWAYS: even while an attention waits */
static const struct { uint8_t opcode, flags; void (*run)(struct scsi_request *r); } commands[] = {
    { 0x00, BOTH | MEDIUM, cmd_ready }, { 0x03, BOTH | ALWAYS, cmd_sense }, { 0x08, BOTH | MEDIUM, cmd_read }, { 0x0a, BOTH | MEDIUM, cmd_write },
    { 0x12, BOTH | ALWAYS, cmd_inquiry }, { 0x15, DISK, cmd_mode_select }, { 0x1a, BOTH, cmd_mode_sense }, { 0x1b, BOTH, cmd_start_stop },
    { 0x1e, CD, cmd_prevent }, { 0x25, BOTH | MEDIUM, cmd_capacity10 }, { 0x28, BOTH | MEDIUM, cmd_read }, { 0x2a, BOTH | MEDIUM, cmd_write },
    { 0x2f, BOTH | MEDIUM, cmd_verify }, { 0x35, BOTH | MEDIUM, cmd_synchronize }, { 0x41, DISK, cmd_write_same }, { 0x42, DISK, cmd_unmap },
    { 0x43, CD | MEDIUM, cmd_toc }, { 0x46, CD, cmd_configuration }, { 0x4a, CD, cmd_event }, { 0x55, DISK, cmd_mode_select },
    { 0x5a, BOTH, cmd_mode_sense }, { 0x88, DISK, cmd_read }, { 0x8a, DISK, cmd_write }, { 0x8f, DISK, cmd_verify }, { 0x91, DISK, cmd_synchronize },
    { 0x93, DISK, cmd_write_same }, { 0x9e, DISK, cmd_capacity16 }, { 0xa8, BOTH | MEDIUM, cmd_read }, { 0xaa, DISK, cmd_write },
};

void scsi_unit_start(struct scsi_unit *u, struct scsi_request *r)
{
    uint8_t kind = u->config.is_cdrom ? CD : DISK;
    unsigned i = 0;

    r->unit = u;
    r->bounce = NULL;
    r->moved = r->at = 0;
    r->zeroes = r->unmap = r->flush_after = r->is_short = r->is_read = false;
    r->step = r->again = NULL;
    while (i < ARRAY_SIZE(commands) && !(commands[i].opcode == r->cdb[0] && commands[i].flags & kind)) i++;
    if (i < ARRAY_SIZE(commands) && u->attention && !(commands[i].flags & ALWAYS)) {
        unsigned asc = u->attention;

        u->attention = 0;
        fail(r, SENSE_ATTENTION, asc);
    } else if (i == ARRAY_SIZE(commands)) fail(r, SENSE_ILLEGAL, ASC_OPCODE);
    else if (commands[i].flags & MEDIUM && !has_medium(u)) fail(r, SENSE_NOT_READY, u->tray_open ? ASC_TRAY_OPEN : ASC_NO_MEDIUM);
    else commands[i].run(r);
}

/* ---- life ---- */

struct scsi_unit *scsi_unit_new(const struct scsi_unit_config *config)
{
    struct scsi_unit *u = calloc(1, sizeof(*u));

    if (!u) return NULL;
    u->config = *config;
    block_done_anywhere(config->node);
    u->block = config->is_cdrom ? CD_BLOCK : drive_block_bytes(&config->identity);
    scsi_unit_reset(u);
    return u;
}

void scsi_unit_free(struct scsi_unit *u) { free(u); }

void scsi_unit_reset(struct scsi_unit *u)
{
    u->writeback = u->config.write_cache;
    u->attention = ASC_RESET;
    u->tray_locked = false;
}

void scsi_unit_drain(struct scsi_unit *u, void (*drop)(struct scsi_request *r))
{
    if (u->config.node) block_drain(u->config.node);
    while (u->waiting) {
        struct scsi_request *r = u->waiting;

        u->waiting = r->next;
        free(r->bounce);
        r->bounce = NULL;
        drop(r);
    }
}

void scsi_unit_retry(struct scsi_unit *u)
{
    struct scsi_request *list = u->waiting;

    u->waiting = NULL;
    while (list) {
        struct scsi_request *r = list;

        list = r->next;
        r->again(r);
    }
}

void scsi_unit_resized(struct scsi_unit *u) { u->attention = SCSI_ASC_CAPACITY; }

unsigned scsi_unit_in_flight(const struct scsi_unit *u) { return u->in_flight; }

/* ---- another disc ---- */

/* What waits to be tried again would be with the new disc, or with none: the guest may have opened the tray behind it. */
static void waiting_end(struct scsi_unit *u)
{
    while (u->waiting) {
        struct scsi_request *r = u->waiting;

        u->waiting = r->next;
        fail(r, SENSE_ATTENTION, ASC_CHANGED);
    }
}

int scsi_unit_disc_change(struct scsi_unit *u, struct block_node *node, bool force, struct block_node **old, struct error *err)
{
    if (u->tray_locked && !force && has_medium(u)) {
        u->media_event = EVENT_EJECT_REQUEST;
        return error_set(err, "the guest has locked the tray and was told that the disc is wanted; try again, or use -f to take it out anyway");
    }
    *old = u->config.node;
    u->config.node = node;
    u->tray_open = false;
    u->attention = ASC_CHANGED;
    u->media_event = node ? EVENT_NEW_MEDIUM : EVENT_REMOVAL;
    waiting_end(u);
    return 0;
}

int scsi_unit_tray_move(struct scsi_unit *u, bool open, bool force, struct error *err)
{
    if (u->tray_open && open) waiting_end(u);
    if (u->tray_open == open) return 0;
    if (open && u->tray_locked && !force) {
        u->media_event = EVENT_EJECT_REQUEST;
        return error_set(err, "the guest has locked the tray and was told that the disc is wanted; wait until it opens, or use force");
    }
    tray_set(u, open);
    u->attention = ASC_CHANGED;
    waiting_end(u);
    return 0;
}

void scsi_unit_disc_put(struct scsi_unit *u, struct block_node *node)
{
    u->config.node = node;
    waiting_end(u);
}

struct tray_state scsi_unit_tray(const struct scsi_unit *u) { return (struct tray_state){ u->tray_open, u->tray_locked }; }
