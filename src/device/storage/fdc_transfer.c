/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of the floppy controller that move data. A span of sectors, from the first one to the last of the track (with MT of the
 * cylinder), is read into a buffer and then handed to the DMA controller or to the data port, or comes from there and is then written.
 * TC, or the end of the span, ends the command. A DMA channel that stays masked is an overrun after a while; the rest of a
 * sector that TC cut short is written as zeros. The head goes to the command's cylinder by itself, as in QEMU's model.
 * Source: Intel 82078 data sheet 290475, "Data Transfer Commands" and "Result Phase Table".
 */
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "block/block.h"
#include "device/dma/i8237.h"
#include "device/storage/fdc_private.h"

enum { ST0_ABNORMAL = 0x40, ST0_SEEK = 0x20, ST0_NOT_READY = 0x08, ST1_END = 0x80, ST1_DATA_ERROR = 0x20, ST1_OVERRUN = 0x10, ST1_NO_DATA = 0x04,
       ST1_PROTECTED = 0x02, ST1_NO_MARK = 0x01, ST2_DATA_ERROR = 0x20, ST2_WRONG_CYLINDER = 0x10 };
enum { DMA_CHANNEL = 2, WAIT_NS = 1000000, WAITS = 500, SIZE_CODE = 2, NO_DMA = 1, FORMAT_ID_BYTES = 4, BIT_MT = 0x80 };

static struct fdc_drive *current(struct fdc *s) { return s->unit < FDC_DRIVES ? &s->drive[s->unit] : NULL; }
static uint64_t offset_of(const struct fdc_geometry *g, unsigned c, unsigned h, unsigned r)
{
    return ((uint64_t)(c * g->heads + h) * g->sectors + r - 1) * FDC_SECTOR;
}

/* ---- the end ---- */

static void finish(struct fdc *s, uint8_t st0, uint8_t st1, uint8_t st2)
{
    uint8_t result[7] = { (uint8_t)(st0 | s->h << 2 | s->unit), st1, st2, s->c, s->h, s->r, s->work == FDC_FORMAT ? s->command[2] : s->command[5] };

    s->work = FDC_NO_WORK;
    timer_disarm(s->timer);
    fdc_results(s, result, sizeof(result));
    fdc_irq(s, true);
}

static void abnormal(struct fdc *s, uint8_t st1, uint8_t st2) { finish(s, ST0_ABNORMAL, st1, st2); }

/* C, H, R of the result: the sector behind the last one that was moved. */
static void advance(struct fdc *s, unsigned sectors)
{
    while (sectors--) {
        if (s->r++ != s->eot) continue;
        s->r = 1;
        if (s->multi_track && s->h == 0) {
            s->h = 1;
            continue;
        }
        s->c++;
        if (s->multi_track) s->h = 0;
    }
}

/* All bytes that will come have come. Without DMA there is no TC, and the last sector is a good end. */
static void data_finish(struct fdc *s)
{
    unsigned sectors = (s->at + FDC_SECTOR - 1) / FDC_SECTOR;
    bool good = s->tc || s->specify[1] & NO_DMA || s->work == FDC_FORMAT || s->work == FDC_VERIFY;

    if (s->work != FDC_FORMAT) advance(s, sectors);
    if (good) finish(s, 0, 0, 0);
    else abnormal(s, ST1_END, 0);
}

/* ---- the image ---- */

static void io_done(void *opaque, int result)
{
    struct fdc *s = opaque;
    bool is_read = s->work == FDC_READ || s->work == FDC_VERIFY;

    s->in_flight = false;
    if (s->dropped) {
        s->dropped = false;
        return;
    }
    if (result < 0) switch (block_error_action(&current(s)->config.on_error, is_read, result)) {
    case BLOCK_ERROR_STOP: case BLOCK_ERROR_ENOSPC: s->stopped = true; return;
    case BLOCK_ERROR_IGNORE: break;
    case BLOCK_ERROR_REPORT: abnormal(s, ST1_DATA_ERROR, ST2_DATA_ERROR); return;
    }
    if (!is_read) data_finish(s);
    else if (s->work == FDC_VERIFY) {
        s->at = s->bytes;
        data_finish(s);
    } else fdc_transfer_wait(s);
}

/* The span's part that the image has; the rest of a read is zeros. */
static uint32_t in_image(struct fdc *s, uint64_t offset, uint32_t bytes)
{
    uint64_t size = block_size_bytes(current(s)->config.node);

    return offset >= size ? 0 : (uint32_t)MIN((uint64_t)bytes, ALIGN_DOWN(size, (uint64_t)FDC_SECTOR) - offset);
}

static void io_begin(struct fdc *s)
{
    struct fdc_drive *d = current(s);
    uint64_t offset = offset_of(d->geometry, s->c, s->h, s->r);
    bool is_read = s->work == FDC_READ || s->work == FDC_VERIFY;
    uint32_t there = in_image(s, offset, is_read ? s->bytes : s->padded);
    struct iovec iov = { s->buffer, there };

    s->phase = FDC_EXECUTION;
    if (!is_read && there < s->padded) {
        abnormal(s, ST1_NO_DATA, 0);
        return;
    }
    if (is_read) memset(s->buffer, 0, s->bytes);
    s->in_flight = true;
    if (!there) {
        s->in_flight = false;
        if (is_read) io_done(s, 0);
        else data_finish(s);
        return;
    }
    if (is_read) block_read(d->config.node, offset, &iov, 1, io_done, s);
    else block_write(d->config.node, offset, &iov, 1, io_done, s);
}

void fdc_transfer_retry(struct fdc *s)
{
    if (!s->stopped) return;
    s->stopped = false;
    io_begin(s);
}

/* ---- formatting: an ID (C, H, R, N) for each sector comes in, the fill byte is written to those places ---- */

static void format_track(struct fdc *s)
{
    const struct fdc_geometry *g = current(s)->geometry;
    unsigned count = s->at / FORMAT_ID_BYTES;
    uint8_t ids[256 * FORMAT_ID_BYTES];

    memcpy(ids, s->buffer, count * FORMAT_ID_BYTES);
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *id = ids + i * FORMAT_ID_BYTES;

        if (id[0] != s->c || id[1] != s->h || !id[2] || id[2] > g->sectors || id[3] != SIZE_CODE || count != g->sectors) {
            abnormal(s, ST1_NO_DATA, 0);               /* another format than the image's size can hold */
            return;
        }
    }
    s->r = 1;
    s->padded = s->bytes = g->sectors * FDC_SECTOR;
    memset(s->buffer, s->command[5], s->bytes);
    io_begin(s);
}

/* ---- data, by DMA or through the port ---- */

static void data_arrived(struct fdc *s)
{
    if (s->work == FDC_FORMAT) {
        format_track(s);
        return;
    }
    s->padded = ALIGN_UP(s->at, (uint32_t)FDC_SECTOR);
    memset(s->buffer + s->at, 0, s->padded - s->at);
    if (s->padded) io_begin(s);
    else data_finish(s);
}

static void moved(struct fdc *s)
{
    if (s->work == FDC_READ) data_finish(s);
    else data_arrived(s);
}

/* Hands the buffer to the DMA controller, or fills it; comes again while the channel is not ready. */
void fdc_transfer_wait(void *opaque)
{
    struct fdc *s = opaque;

    if (s->work == FDC_NO_WORK || s->in_flight) return;
    if (s->specify[1] & NO_DMA) {
        s->phase = s->work == FDC_READ ? FDC_DATA_IN : FDC_DATA_OUT;
        fdc_irq(s, true);
        return;
    }
    if (s->dor & 8) s->at += (uint32_t)i8237_transfer(s->config.dma, DMA_CHANNEL, s->buffer + s->at, s->bytes - s->at, &s->tc);
    if (s->tc || s->at == s->bytes) {
        moved(s);
        return;
    }
    if (++s->waits > WAITS) {
        abnormal(s, ST1_OVERRUN, 0);
        return;
    }
    timer_arm_ns(s->timer, clock_virtual_ns() + WAIT_NS);
}

uint8_t fdc_data_read(struct fdc *s)
{
    uint8_t byte = s->buffer[s->at++];

    fdc_irq(s, s->at < s->bytes);
    if (s->at == s->bytes) moved(s);
    return byte;
}

void fdc_data_write(struct fdc *s, uint8_t value)
{
    s->buffer[s->at++] = value;
    fdc_irq(s, s->at < s->bytes);
    if (s->at == s->bytes) moved(s);
}

/* ---- the beginning ---- */

/* Whether the disk can do that at all; false: the results are there. */
static bool is_possible(struct fdc *s)
{
    const struct fdc_drive *d = current(s);
    bool writes = s->work == FDC_WRITE || s->work == FDC_FORMAT;

    if (!d || !d->geometry) finish(s, ST0_ABNORMAL | ST0_NOT_READY, 0, 0);
    else if (writes && fdc_drive_is_protected(d)) abnormal(s, ST1_PROTECTED, 0);
    else if ((s->ccr & 3) != d->geometry->rate && !(d->geometry->type == FDC_360K && (s->ccr & 3) == 1)) abnormal(s, ST1_NO_MARK, 0);
    else if (s->h >= d->geometry->heads) abnormal(s, ST1_NO_MARK, 0);
    else if (s->c >= d->geometry->cylinders) abnormal(s, ST1_NO_DATA, ST2_WRONG_CYLINDER);
    else return true;
    return false;
}

static bool span_find(struct fdc *s)
{
    const struct fdc_geometry *g = current(s)->geometry;
    unsigned count;

    if (s->command[5] != SIZE_CODE || !s->r || s->r > g->sectors) {
        abnormal(s, ST1_NO_DATA, 0);
        return false;
    }
    s->eot = MIN(s->eot, g->sectors);
    count = s->r <= s->eot ? s->eot - s->r + 1 : 1;
    if (s->multi_track && s->h == 0 && g->heads == 2 && s->r <= s->eot && s->eot == g->sectors) count += s->eot;
    s->bytes = count * FDC_SECTOR;
    return true;
}

void fdc_transfer_begin(struct fdc *s, enum fdc_work work)
{
    const uint8_t *p = s->command;
    bool is_format = work == FDC_FORMAT;

    s->work = work;
    s->unit = p[1] & 3;
    s->multi_track = !is_format && p[0] & BIT_MT;
    s->h = p[1] >> 2 & 1;
    s->c = is_format ? (current(s) ? current(s)->track : 0) : p[2];
    s->r = is_format ? 1 : p[4];
    s->eot = is_format ? p[3] : p[6];
    s->at = s->padded = s->waits = 0;
    s->tc = false;
    s->phase = FDC_EXECUTION;
    if (!is_format && s->h != p[3]) {
        s->h = p[3] & 1;
        abnormal(s, ST1_NO_DATA, 0);
        return;
    }
    if (!is_possible(s)) return;
    if (current(s)->track != s->c) current(s)->changed = false;
    current(s)->track = s->c;
    if (is_format) s->bytes = s->eot * FORMAT_ID_BYTES;
    else if (!span_find(s)) return;
    if (work == FDC_READ || work == FDC_VERIFY) io_begin(s);
    else if (s->bytes) fdc_transfer_wait(s);
    else abnormal(s, ST1_NO_DATA, 0);
}

/* A reset, or another disk: what is under way ends without results. The buffer is free again afterwards. */
void fdc_transfer_drop(struct fdc *s)
{
    s->work = FDC_NO_WORK;
    s->stopped = false;
    timer_disarm(s->timer);
    if (!s->in_flight) return;
    s->dropped = true;
    block_drain(current(s)->config.node);
}
