/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floppy controller's registers and commands. A command is a row of a table: its parameters, and what carries it out. While one is
 * executed the data register is closed; results are read one by one, and reading the first takes the interrupt back. Seeks are done
 * at once. The disk change line is up from a change until the head is stepped with a disk in.
 *
 * Limits: no deleted data (there is none on an image), no scan commands (the 82078 of a PC's board has none either), no
 * tape drives; status registers A and B are not connected, as on a PC/AT. Data rates are compared with the disk's format.
 * Sources: Intel 82078 data sheet 290475; 82077AA data sheet 290166 for what drivers ask both.
 */
#include "device/storage/fdc.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "block/block.h"
#include "device/storage/fdc_private.h"

enum { DOR = 2, TDR = 3, MSR = 4, FIFO = 5 };
enum { DOR_DMA = 8, DOR_RUNS = 4, MSR_READY = 0x80, MSR_TO_CPU = 0x40, MSR_NO_DMA = 0x20, MSR_BUSY = 0x10, DSR_RESET = 0x80, DIR_CHANGED = 0x80 };
enum { ST0_INVALID = 0x80, ST0_POLLING = 0xc0, ST0_ABNORMAL = 0x40, ST0_SEEK = 0x20, ST0_CHECK = 0x10, ST0_NOT_READY = 8, ST3_PROTECTED = 0x40, ST3_READY = 0x20,
       ST3_TRACK0 = 0x10, ST3_TWO_SIDES = 0x08 };

void fdc_irq(struct fdc *s, bool level)
{
    s->irq_pending = level;
    irq_set(&s->config.irq, level && s->dor & DOR_DMA);
}

static void command_wait(struct fdc *s)
{
    s->phase = FDC_COMMAND;
    s->command_bytes = s->command_length = 0;
}

void fdc_results(struct fdc *s, const uint8_t *bytes, unsigned count)
{
    memcpy(s->result, bytes, count);
    s->result_bytes = (uint8_t)count;
    s->result_at = 0;
    s->phase = FDC_RESULT;
}

static void result(struct fdc *s, uint8_t byte) { fdc_results(s, &byte, 1); }

/* ---- commands ---- */

static struct fdc_drive *unit_of(struct fdc *s) { return (s->command[1] & 3) < FDC_DRIVES ? &s->drive[s->command[1] & 3] : NULL; }
static bool is_there(const struct fdc_drive *d) { return d && d->config.is_there; }

static void seek_end(struct fdc *s, uint8_t st0)
{
    s->seek_done = true;
    s->seek_st0 = (uint8_t)(st0 | ST0_SEEK | (s->command[1] & 7));
    command_wait(s);
    fdc_irq(s, true);
}

static void head_move(struct fdc *s, int track)
{
    struct fdc_drive *d = unit_of(s);

    if (is_there(d)) {
        d->track = (uint8_t)(track < 0 ? 0 : track > 255 ? 255 : track);
        if (d->geometry) d->changed = false;
    }
}

static void do_recalibrate(struct fdc *s)
{
    head_move(s, 0);
    seek_end(s, is_there(unit_of(s)) ? 0 : ST0_ABNORMAL | ST0_CHECK);
}

static void do_seek(struct fdc *s)
{
    head_move(s, s->command[2]);
    seek_end(s, 0);
}

static void do_relative_seek(struct fdc *s)
{
    int track = unit_of(s) ? unit_of(s)->track : 0;

    head_move(s, s->command[0] & 0x40 ? track + s->command[2] : track - s->command[2]);
    seek_end(s, 0);
}

/* After a reset each of four drives reports once; else the last seek does. With nothing to report it is no command. */
static void do_sense_interrupt(struct fdc *s)
{
    uint8_t r[2] = { ST0_INVALID };

    if (s->reset_senses) {
        unsigned n = 4u - s->reset_senses--;

        r[0] = (uint8_t)(ST0_POLLING | n);
        r[1] = n < FDC_DRIVES ? s->drive[n].track : 0;
    } else if (s->seek_done) {
        unsigned n = s->seek_st0 & 3;

        s->seek_done = false;
        r[0] = s->seek_st0;
        r[1] = n < FDC_DRIVES ? s->drive[n].track : 0;
    }
    fdc_irq(s, false);
    fdc_results(s, r, r[0] == ST0_INVALID ? 1 : 2);
}

static void do_sense_drive(struct fdc *s)
{
    const struct fdc_drive *d = unit_of(s);
    uint8_t st3 = (uint8_t)((s->command[1] & 7) | ST3_READY | ST3_TWO_SIDES);

    if (is_there(d) && d->track == 0) st3 |= ST3_TRACK0;
    if (is_there(d) && fdc_drive_is_protected(d)) st3 |= ST3_PROTECTED;
    result(s, st3);
}

static void do_read_id(struct fdc *s)
{
    struct fdc_drive *d = unit_of(s);
    unsigned head = s->command[1] >> 2 & 1;
    bool good = is_there(d) && d->geometry && (s->ccr & 3) == d->geometry->rate && head < d->geometry->heads && d->track < d->geometry->cylinders;
    uint8_t r[7] = { (uint8_t)((good ? 0 : ST0_ABNORMAL) | (s->command[1] & 7)), good ? 0 : 1, 0, is_there(d) ? d->track : 0, (uint8_t)head, 1, 2 };

    if (good) r[5] = d->next_id = (uint8_t)(d->next_id % d->geometry->sectors + 1);
    fdc_results(s, r, sizeof(r));
    fdc_irq(s, true);
}

static void do_specify(struct fdc *s)
{
    memcpy(s->specify, s->command + 1, 2);
    command_wait(s);
}

static void do_configure(struct fdc *s)
{
    memcpy(s->configure, s->command + 2, 2);
    command_wait(s);
}

static void do_perpendicular(struct fdc *s)
{
    s->perpendicular = s->command[1] & 0x80 ? s->command[1] & 0x7f : (uint8_t)((s->perpendicular & 0x7c) | (s->command[1] & 3));
    command_wait(s);
}

static void do_lock(struct fdc *s)
{
    s->locked = s->command[0] & 0x80;
    result(s, s->locked ? 0x10 : 0);
}

static void do_dump(struct fdc *s)
{
    uint8_t r[10] = { s->drive[0].track, s->drive[1].track, 0, 0, s->specify[0], s->specify[1], s->eot,
                      (uint8_t)(s->locked << 7 | (s->perpendicular & 0x7f)), s->configure[0], s->configure[1] };

    fdc_results(s, r, sizeof(r));
}

static void do_save(struct fdc *s)
{
    uint8_t r[15] = { s->dsr, 0, 0, s->drive[0].track, s->drive[1].track, 0, 0, s->specify[0], s->specify[1], s->eot,
                      (uint8_t)(s->locked << 7 | (s->perpendicular & 0x7f)), s->configure[0], s->configure[1] };

    fdc_results(s, r, sizeof(r));
}

static void do_version(struct fdc *s) { result(s, 0x90); }
static void do_part_id(struct fdc *s) { result(s, 0x41); }
static void do_nothing(struct fdc *s) { command_wait(s); }
static void do_invalid(struct fdc *s) { result(s, ST0_INVALID); }
static void do_read(struct fdc *s) { fdc_transfer_begin(s, FDC_READ); }
static void do_write(struct fdc *s) { fdc_transfer_begin(s, FDC_WRITE); }
static void do_format(struct fdc *s) { fdc_transfer_begin(s, FDC_FORMAT); }
static void do_verify(struct fdc *s) { fdc_transfer_begin(s, FDC_VERIFY); }

static void do_read_track(struct fdc *s)
{
    s->command[4] = 1;
    fdc_transfer_begin(s, FDC_READ);
}

/* mask: the bits of the first byte that name the command; the others are its options. */
static const struct row { uint8_t mask, code, length; void (*run)(struct fdc *s); } commands[] = {
    { 0x1f, 0x06, 9, do_read },          { 0x3f, 0x05, 9, do_write },      { 0xbf, 0x0d, 6, do_format },        { 0x1f, 0x16, 9, do_verify },
    { 0x9f, 0x02, 9, do_read_track },    { 0xff, 0x03, 3, do_specify },    { 0xff, 0x04, 2, do_sense_drive },   { 0xff, 0x07, 2, do_recalibrate },
    { 0xff, 0x08, 1, do_sense_interrupt }, { 0xbf, 0x0a, 2, do_read_id },  { 0xff, 0x0e, 1, do_dump },          { 0xff, 0x0f, 3, do_seek },
    { 0xff, 0x10, 1, do_version },       { 0xff, 0x12, 2, do_perpendicular }, { 0xff, 0x13, 4, do_configure },  { 0x7f, 0x14, 1, do_lock },
    { 0xff, 0x18, 1, do_part_id },       { 0xff, 0x2e, 1, do_save },       { 0xff, 0x17, 2, do_nothing },       { 0xff, 0x33, 2, do_nothing },
    { 0xbf, 0x8f, 3, do_relative_seek },
};
static const struct row invalid = { 0, 0, 1, do_invalid };

static const struct row *row_of(uint8_t code)
{
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
        if ((code & commands[i].mask) == commands[i].code) return &commands[i];
    return &invalid;
}

/* ---- registers ---- */

static void controller_reset(struct fdc *s)
{
    fdc_transfer_drop(s);
    command_wait(s);
    s->seek_done = false;
    s->reset_senses = 0;
    s->multi_track = false;
    if (!s->locked) s->configure[0] = s->configure[1] = 0;
    fdc_irq(s, false);
}

static void controller_start(struct fdc *s)
{
    s->reset_senses = 4;
    fdc_irq(s, true);
}

static void dor_write(struct fdc *s, uint8_t value)
{
    uint8_t before = s->dor;

    s->dor = value;
    if (!(value & DOR_RUNS)) {
        if (before & DOR_RUNS) controller_reset(s);
    } else if (!(before & DOR_RUNS)) controller_start(s);
    else fdc_irq(s, s->irq_pending);
}

static void dsr_write(struct fdc *s, uint8_t value)
{
    s->dsr = value & 0x7f;
    s->ccr = value & 3;
    if (!(value & DSR_RESET) || !(s->dor & DOR_RUNS)) return;
    controller_reset(s);
    controller_start(s);
}

static uint8_t msr_read(const struct fdc *s)
{
    if (!(s->dor & DOR_RUNS)) return 0;
    switch (s->phase) {
    case FDC_COMMAND: return s->command_bytes ? MSR_READY | MSR_BUSY : MSR_READY;
    case FDC_EXECUTION: return MSR_BUSY;
    case FDC_DATA_IN: return MSR_READY | MSR_TO_CPU | MSR_NO_DMA | MSR_BUSY;
    case FDC_DATA_OUT: return MSR_READY | MSR_NO_DMA | MSR_BUSY;
    }
    return MSR_READY | MSR_TO_CPU | MSR_BUSY;
}

static void command_byte(struct fdc *s, uint8_t value)
{
    const struct row *row;

    s->command[s->command_bytes++] = value;
    row = row_of(s->command[0]);
    if (s->command_bytes < row->length) return;
    if (row == &invalid) trace(TRACE_GUEST_ERRORS, "fdc: command %02x is unknown\n", value);
    s->phase = FDC_EXECUTION;
    row->run(s);
}

static void fifo_write(struct fdc *s, uint8_t value)
{
    if (!(s->dor & DOR_RUNS)) return;
    if (s->phase == FDC_COMMAND) command_byte(s, value);
    else if (s->phase == FDC_DATA_OUT) fdc_data_write(s, value);
    else trace(TRACE_GUEST_ERRORS, "fdc: %02x written in phase %u\n", value, s->phase);
}

static uint8_t fifo_read(struct fdc *s)
{
    uint8_t byte;

    if (s->phase == FDC_DATA_IN) return fdc_data_read(s);
    if (s->phase != FDC_RESULT) return 0;
    byte = s->result[s->result_at++];
    fdc_irq(s, false);
    if (s->result_at == s->result_bytes) command_wait(s);
    return byte;
}

/* The line is that of the selected drive, whose motor must run. */
static uint8_t dir_read(const struct fdc *s)
{
    unsigned n = s->dor & 3;

    if (n >= FDC_DRIVES || !(s->dor >> (4 + n) & 1) || !s->drive[n].config.is_there) return 0;
    return s->drive[n].changed || !s->drive[n].geometry ? DIR_CHANGED : 0;
}

static uint64_t fdc_read(void *opaque, uint64_t offset, unsigned size)
{
    struct fdc *s = opaque;

    switch (offset) {
    case DOR: return s->dor;
    case TDR: return s->tdr;
    case MSR: return msr_read(s);
    case FIFO: return fifo_read(s);
    }
    return 0xff;
}

static void fdc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct fdc *s = opaque;

    switch (offset) {
    case DOR: dor_write(s, (uint8_t)value); break;
    case TDR: s->tdr = value & 3; break;
    case MSR: dsr_write(s, (uint8_t)value); break;
    case FIFO: fifo_write(s, (uint8_t)value); break;
    }
}

static uint64_t dir_port_read(void *opaque, uint64_t offset, unsigned size) { return dir_read(opaque); }
static void ccr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size) { ((struct fdc *)opaque)->ccr = value & 3; }

static const struct io_ops fdc_io = { fdc_read, fdc_write, 1, 1 };
static const struct io_ops dir_io = { dir_port_read, ccr_write, 1, 1 };

/* ---- life ---- */

static void fdc_reset(struct device *d)
{
    struct fdc *s = container_of(d, struct fdc, device);

    s->locked = false;
    s->dor = DOR_RUNS | DOR_DMA;
    s->tdr = s->dsr = s->perpendicular = 0;
    s->ccr = 2;
    memset(s->specify, 0, sizeof(s->specify));
    for (unsigned n = 0; n < FDC_DRIVES; n++) s->drive[n].track = s->drive[n].next_id = 0;
    controller_reset(s);
}

static void requests_end(struct fdc *s)
{
    for (unsigned n = 0; n < FDC_DRIVES; n++)
        if (s->drive[n].config.node) block_drain(s->drive[n].config.node);
}

static void fdc_destroy(struct device *d)
{
    struct fdc *s = container_of(d, struct fdc, device);

    fdc_transfer_drop(s);
    requests_end(s);
    for (unsigned i = 0; i < ARRAY_SIZE(s->range); i++)
        if (s->range[i]) memory_range_remove(s->range[i]);
    if (s->timer) timer_free(s->timer);
    free(s);
}

static const struct state_field fdc_state[] = {
    STATE_FIELD(struct fdc, dor), STATE_FIELD(struct fdc, tdr), STATE_FIELD(struct fdc, dsr), STATE_FIELD(struct fdc, ccr),
    STATE_ARRAY(struct fdc, specify), STATE_ARRAY(struct fdc, configure), STATE_FIELD(struct fdc, perpendicular), STATE_FIELD(struct fdc, locked),
    STATE_FIELD(struct fdc, irq_pending), STATE_FIELD(struct fdc, reset_senses), STATE_FIELD(struct fdc, seek_done), STATE_FIELD(struct fdc, seek_st0),
    STATE_FIELD(struct fdc, phase), STATE_ARRAY(struct fdc, command), STATE_FIELD(struct fdc, command_bytes), STATE_FIELD(struct fdc, command_length),
    STATE_ARRAY(struct fdc, result), STATE_FIELD(struct fdc, result_bytes), STATE_FIELD(struct fdc, result_at), STATE_END,
};

/* A transfer is not carried over: its driver finds the controller waiting for a command and tries again. */
static void fdc_after_load(struct device *d)
{
    struct fdc *s = container_of(d, struct fdc, device);

    if (s->result_bytes > FDC_RESULTS || s->result_at >= s->result_bytes || s->phase != FDC_RESULT) command_wait(s);
    if (s->reset_senses > 4) s->reset_senses = 4;
    fdc_irq(s, s->irq_pending);
}

static const struct device_ops fdc_ops = {
    .name = "isa-fdc",
    .description = "floppy controller",
    .reset = fdc_reset,
    .destroy = fdc_destroy,
    .state = fdc_state,
    .after_load = fdc_after_load,
};

enum fdc_drive_type fdc_drive_type(const struct device *d, unsigned drive)
{
    const struct fdc_drive *f = &container_of(d, struct fdc, device)->drive[drive];

    if (!f->config.is_there) return FDC_NONE;
    return f->type ? f->type : FDC_2880K;
}

int fdc_disk_change(struct device *d, unsigned drive, struct block_node *node, struct block_node **old, struct error *err)
{
    struct fdc *s = container_of(d, struct fdc, device);
    struct fdc_drive *f = &s->drive[drive];

    *old = f->config.node;
    if (!f->config.is_there) return error_set(err, "there is no floppy drive %u", drive);
    if (node && !fdc_geometry_find(block_size_bytes(node))) return fdc_drive_load(f, node, err);
    if (s->work != FDC_NO_WORK && s->unit == drive) {
        fdc_transfer_drop(s);
        fdc_results(s, (const uint8_t[]){ (uint8_t)(ST0_ABNORMAL | ST0_NOT_READY | s->h << 2 | s->unit), 0, 0, s->c, s->h, s->r, 2 }, 7);
        fdc_irq(s, true);
    }
    return fdc_drive_load(f, node, err);
}

void fdc_retry(struct device *d) { fdc_transfer_retry(container_of(d, struct fdc, device)); }

struct device *fdc_new(const struct fdc_config *config, struct error *err)
{
    struct fdc *s = calloc(1, sizeof(*s));

    if (!s) {
        error_set(err, "isa-fdc: no memory");
        return NULL;
    }
    s->device.ops = &fdc_ops;
    s->config = *config;
    s->timer = timer_new(TIMER_VIRTUAL, fdc_transfer_wait, s);
    for (unsigned n = 0; n < FDC_DRIVES; n++) {
        s->drive[n].config = config->drive[n];
        s->drive[n].type = config->drive[n].type;
        if (fdc_drive_load(&s->drive[n], config->drive[n].node, err) < 0) {
            s->drive[n].config.node = NULL;
            fdc_destroy(&s->device);
            return NULL;
        }
    }
    s->range[0] = memory_map_add_io(config->ports, "fdc", 0x3f0, 6, &fdc_io, s, 2);
    s->range[1] = memory_map_add_io(config->ports, "fdc-dir", 0x3f7, 1, &dir_io, s, 2);
    fdc_reset(&s->device);
    return &s->device;
}
