/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A flash chip of 4 KiB blocks, one byte wide, with Intel's command set: program, buffered program of up to 256 bytes,
 * block erase, lock (accepted), status, identifiers, CFI query. While the chip shows its array it is memory that the guest reads and
 * runs from at full speed; the first command makes all reads come here, until a command shows the array again.
 *
 * What was programmed reaches the image when the guest can know that it is done: when it reads the status, goes back to the
 * array or gives the next command that needs one. It is written at once, on the guest's thread, so that a guest that was told
 * loses nothing by the end of this process; the file is flushed behind it, as often as the last flush lets it be. A
 * write that the host fails sets the program error bit. As in QEMU's model, programming stores bytes instead of clearing bits,
 * identifiers are 0, and erasing begins with the first cycle.
 * Sources: Intel 28F128J3 data sheet 290667 (commands, status), JEDEC JEP137 and JESD68.01 (CFI).
 */
#include "device/firmware/pflash.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "block/block.h"
#include "memory/ram.h"

enum { READ_ARRAY = 0xff, READ_ARRAY_AMD = 0xf0, PROGRAM = 0x40, PROGRAM_OTHER = 0x10, ERASE = 0x20, CLEAR_STATUS = 0x50, LOCK = 0x60,
       READ_STATUS = 0x70, READ_ID = 0x90, QUERY = 0x98, WRITE_BUFFER = 0xe8, CONFIRM = 0xd0, LOCK_CONFIRM = 0x01 };
enum { STATUS_READY = 0x80, STATUS_ERASE_ERROR = 0x20, STATUS_PROGRAM_ERROR = 0x10 };
enum { BUFFER_BYTES = 256, CFI_BYTES = 0x52 };

struct pflash {
    struct device device;
    struct pflash_config config;
    struct ram_block ram;
    struct memory_range *range;
    uint8_t cfi[CFI_BYTES];
    uint8_t command, cycle, status;    /* command 0: the array is shown */
    uint8_t buffer[BUFFER_BYTES];
    uint32_t left;                     /* bytes of the buffered write still to come */
    uint64_t buffer_at;
    uint64_t dirty_start, dirty_end;   /* not in the image yet */
    bool flushing, flush_again, told;
};

static uint8_t *bytes(const struct pflash *f) { return f->ram.hva; }
static bool is_readonly(const struct pflash *f) { return block_is_readonly(f->config.node); }

/* ---- the image ---- */

static void flush_done(void *opaque, int result)
{
    struct pflash *f = opaque;

    f->flushing = false;
    if (result < 0) log_message("%s: the host cannot flush the image: %s", f->config.name, strerror(-result));
    if (!f->flush_again) return;
    f->flush_again = false;
    f->flushing = true;
    block_flush(f->config.node, flush_done, f);
}

static void flush_begin(struct pflash *f)
{
    if (f->flushing) {
        f->flush_again = true;
        return;
    }
    f->flushing = true;
    block_flush(f->config.node, flush_done, f);
}

static void image_update(struct pflash *f)
{
    uint64_t start = ALIGN_DOWN(f->dirty_start, (uint64_t)PFLASH_BLOCK_BYTES), end = ALIGN_UP(f->dirty_end, (uint64_t)PFLASH_BLOCK_BYTES);
    int result;

    if (f->dirty_start == f->dirty_end) return;
    f->dirty_start = f->dirty_end = 0;
    result = block_pwrite(f->config.node, start, bytes(f) + start, end - start);
    if (result == 0) {
        flush_begin(f);
        return;
    }
    f->status |= STATUS_PROGRAM_ERROR;
    if (!f->told) log_message("%s: cannot write to '%s': %s; what the firmware stores is lost with this machine", f->config.name,
                              block_filename(f->config.node), strerror(-result));
    f->told = true;
}

/* One stretch at a time waits for the image: another place sends the first one there. */
static void array_changed(struct pflash *f, uint64_t offset, uint64_t size)
{
    bool adjoins = offset <= f->dirty_end && offset + size >= f->dirty_start;

    if (f->dirty_start != f->dirty_end && !adjoins) image_update(f);
    if (f->dirty_start == f->dirty_end) f->dirty_start = offset, f->dirty_end = offset;
    f->dirty_start = MIN(f->dirty_start, offset);
    f->dirty_end = MAX(f->dirty_end, offset + size);
    memory_written(f->config.memory, f->config.start + offset, size);
}

/* ---- commands ---- */

static void array_show(struct pflash *f)
{
    image_update(f);
    f->command = f->cycle = 0;
    memory_range_set_registers(f->range, false);
}

static void command_finish(struct pflash *f)
{
    f->cycle = 0;
    f->status |= STATUS_READY;
}

static void erase(struct pflash *f, uint64_t offset)
{
    offset = ALIGN_DOWN(offset, (uint64_t)PFLASH_BLOCK_BYTES);
    if (is_readonly(f)) f->status |= STATUS_ERASE_ERROR;
    else {
        memset(bytes(f) + offset, 0xff, PFLASH_BLOCK_BYTES);
        array_changed(f, offset, PFLASH_BLOCK_BYTES);
    }
    f->status |= STATUS_READY;
}

static void program(struct pflash *f, uint64_t offset, const uint8_t *data, uint32_t size)
{
    if (is_readonly(f)) f->status |= STATUS_PROGRAM_ERROR;
    else {
        memcpy(bytes(f) + offset, data, size);
        array_changed(f, offset, size);
    }
}

static void unknown(struct pflash *f, uint64_t offset, uint8_t value)
{
    trace(TRACE_GUEST_ERRORS, "%s: %02x is no command, or not in cycle %u of %02x (at %llx)\n", f->config.name, value, f->cycle,
          f->command, (unsigned long long)offset);
    array_show(f);
}

static void first_cycle(struct pflash *f, uint64_t offset, uint8_t value)
{
    switch (value) {
    case 0: case READ_ARRAY: case READ_ARRAY_AMD:
        array_show(f);
        return;
    case CLEAR_STATUS:
        f->status = 0;
        array_show(f);
        return;
    case ERASE: erase(f, offset); break;
    case WRITE_BUFFER: f->status |= STATUS_READY; break;
    case READ_STATUS: case READ_ID: case QUERY: case LOCK: case PROGRAM: case PROGRAM_OTHER: break;
    default:
        unknown(f, offset, value);
        return;
    }
    f->command = value;
    f->cycle = value == READ_STATUS || value == READ_ID ? 0 : 1;
}

static void second_cycle(struct pflash *f, uint64_t offset, uint8_t value)
{
    switch (f->command) {
    case PROGRAM: case PROGRAM_OTHER:
        program(f, offset, &value, 1);
        command_finish(f);
        return;
    case WRITE_BUFFER:
        f->left = value + 1u;
        f->buffer_at = UINT64_MAX;
        f->cycle = 2;
        return;
    case ERASE:
        if (value == CONFIRM) command_finish(f);
        else unknown(f, offset, value);
        return;
    case LOCK:
        if (value == CONFIRM || value == LOCK_CONFIRM) command_finish(f);
        else array_show(f);
        return;
    case QUERY:
        if (value == READ_ARRAY) array_show(f);
        return;
    }
}

/* The first byte names the block of the buffer; what lies outside spoils the command. */
static void buffer_fill(struct pflash *f, uint64_t offset, uint8_t value)
{
    if (f->buffer_at == UINT64_MAX) {
        f->buffer_at = ALIGN_DOWN(offset, (uint64_t)BUFFER_BYTES);
        memcpy(f->buffer, bytes(f) + f->buffer_at, BUFFER_BYTES);
    }
    if (is_readonly(f) || offset - f->buffer_at >= BUFFER_BYTES) f->status |= STATUS_PROGRAM_ERROR;
    else f->buffer[offset - f->buffer_at] = value;
    f->status |= STATUS_READY;
    if (--f->left == 0) f->cycle = 3;
}

static void buffer_confirm(struct pflash *f, uint64_t offset, uint8_t value)
{
    if (value != CONFIRM || f->status & STATUS_PROGRAM_ERROR) {
        unknown(f, offset, value);
        return;
    }
    program(f, f->buffer_at, f->buffer, BUFFER_BYTES);
    command_finish(f);
}

static void pflash_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pflash *f = opaque;

    memory_range_set_registers(f->range, true);
    switch (f->cycle) {
    case 0: first_cycle(f, offset, (uint8_t)value); break;
    case 1: second_cycle(f, offset, (uint8_t)value); break;
    case 2: buffer_fill(f, offset, (uint8_t)value); break;
    case 3: buffer_confirm(f, offset, (uint8_t)value); break;
    }
}

static uint64_t pflash_read(void *opaque, uint64_t offset, unsigned size)
{
    struct pflash *f = opaque;

    switch (f->command) {
    case 0: return bytes(f)[offset];
    case READ_ID: return 0;
    case QUERY: return (offset & 0xff) < CFI_BYTES ? f->cfi[offset & 0xff] : 0;
    }
    image_update(f);
    return f->status;
}

static const struct io_ops pflash_io = { pflash_read, pflash_write, 1, 1 };

/* ---- CFI ---- */

static void cfi_fill(struct pflash *f)
{
    static const struct { uint8_t at, value; } fixed[] = {
        { 0x10, 'Q' }, { 0x11, 'R' }, { 0x12, 'Y' }, { 0x13, 1 }, { 0x15, 0x31 },       /* Intel's commands, its table at 31h */
        { 0x1b, 0x45 }, { 0x1c, 0x55 }, { 0x1f, 7 }, { 0x20, 7 }, { 0x21, 10 },         /* 4.5 to 5.5 V; 2^n us, us, ms typically */
        { 0x23, 4 }, { 0x24, 4 }, { 0x25, 4 },                                          /* 2^n times that at most */
        { 0x28, 2 }, { 0x2a, 8 }, { 0x2c, 1 },                                          /* x8 and x16; buffer of 2^8; blocks of one size */
        { 0x31, 'P' }, { 0x32, 'R' }, { 0x33, 'I' }, { 0x34, '1' }, { 0x35, '0' }, { 0x3f, 1 },
    };
    uint32_t blocks = (uint32_t)(f->config.size_bytes / PFLASH_BLOCK_BYTES);

    for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++) f->cfi[fixed[i].at] = fixed[i].value;
    f->cfi[0x27] = (uint8_t)__builtin_ctzll(f->config.size_bytes);
    f->cfi[0x2d] = (uint8_t)(blocks - 1);
    f->cfi[0x2e] = (uint8_t)((blocks - 1) >> 8);
    f->cfi[0x2f] = PFLASH_BLOCK_BYTES >> 8 & 0xff;
    f->cfi[0x30] = PFLASH_BLOCK_BYTES >> 16;
}

/* ---- life ---- */

static void pflash_reset(struct device *d)
{
    struct pflash *f = container_of(d, struct pflash, device);

    array_show(f);
    f->status = STATUS_READY;
}

static void pflash_destroy(struct device *d)
{
    struct pflash *f = container_of(d, struct pflash, device);

    image_update(f);
    f->flush_again = false;
    block_drain(f->config.node);
    if (f->range) memory_range_remove(f->range);
    ram_free(&f->ram);
    free(f);
}

static void pflash_after_load(struct device *d)
{
    struct pflash *f = container_of(d, struct pflash, device);
    bool is_whole = f->left <= BUFFER_BYTES && (f->buffer_at == UINT64_MAX || f->buffer_at <= f->config.size_bytes - BUFFER_BYTES);

    if (f->cycle > 3 || (f->cycle == 2 && !f->left) || (f->cycle == 3 && f->buffer_at == UINT64_MAX) || !is_whole) f->cycle = f->command = 0;
    memory_range_set_registers(f->range, f->command != 0);
}

static const struct state_field pflash_state[] = {
    STATE_FIELD(struct pflash, command), STATE_FIELD(struct pflash, cycle), STATE_FIELD(struct pflash, status),
    STATE_ARRAY(struct pflash, buffer), STATE_FIELD(struct pflash, left), STATE_FIELD(struct pflash, buffer_at), STATE_END,
};

static const struct device_ops pflash_ops = {
    .name = "cfi.pflash01",
    .description = "flash chip, Intel's commands",
    .reset = pflash_reset,
    .destroy = pflash_destroy,
    .state = pflash_state,
    .after_load = pflash_after_load,
};

const uint8_t *pflash_bytes(const struct device *d) { return bytes(container_of(d, struct pflash, device)); }
uint64_t pflash_size_bytes(const struct device *d) { return container_of(d, struct pflash, device)->config.size_bytes; }

struct device *pflash_new(const struct pflash_config *config, struct error *err)
{
    struct pflash *f = calloc(1, sizeof(*f));
    int result;

    if (!f || ram_allocate(&f->ram, config->size_bytes, false, err) < 0) {
        if (!f) error_set(err, "%s: no memory", config->name);
        free(f);
        return NULL;
    }
    f->device.ops = &pflash_ops;
    f->config = *config;
    result = block_pread(config->node, 0, f->ram.hva, config->size_bytes);
    if (result < 0) {
        error_set(err, "%s: cannot read '%s': %s", config->name, block_filename(config->node), strerror(-result));
        ram_free(&f->ram);
        free(f);
        return NULL;
    }
    cfi_fill(f);
    f->range = memory_map_add_flash(config->memory, config->name, config->start, config->size_bytes, f->ram.hva, &pflash_io, f, config->priority);
    pflash_reset(&f->device);
    return &f->device;
}
