/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two 8237A controllers: the first has channels 0-3 (bytes), the second 4-7 (words; its registers are two ports
 * apart, channel 4 is the cascade). A page register per channel holds the address bits that the chip lacks; the
 * address counter does not carry into it. Source: Intel 8237A data sheet; IBM PC/AT technical reference (page
 * registers).
 *
 * Limits: memory-to-memory transfers and the timing of the bus are not modelled; software requests only set the
 * request bit. Software that probes or sets up the controllers gets its values back.
 */
#include "device/dma/i8237.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"

enum { STATUS_COMMAND = 8, REQUEST, SINGLE_MASK, MODE, CLEAR_FLIP_FLOP, MASTER_CLEAR, CLEAR_MASK, ALL_MASK };
enum { COMMAND_DISABLE = 4, MODE_TRANSFER = 0x0c, MODE_WRITE = 4, MODE_READ = 8, MODE_AUTO_INIT = 0x10,
       MODE_DECREMENT = 0x20 };

struct controller {
    uint16_t base_address[4], base_count[4], address[4], count[4];
    uint8_t mode[4];
    uint8_t command, status, mask, request, temporary, flip_flop;
};

struct i8237 {
    struct device device;
    struct memory_map *memory;
    struct memory_range *range[3];
    struct controller chip[2];
    uint8_t page[16];
};

static void controller_clear(struct controller *c)
{
    c->command = c->status = c->request = c->temporary = c->flip_flop = 0;
    c->mask = 0x0f;
}

static uint8_t controller_read(struct controller *c, unsigned reg)
{
    uint8_t value;

    if (reg < 8) {
        uint16_t word = reg & 1 ? c->count[reg >> 1] : c->address[reg >> 1];

        value = (uint8_t)(c->flip_flop ? word >> 8 : word);
        c->flip_flop ^= 1;
        return value;
    }
    switch (reg) {
    case STATUS_COMMAND:
        value = c->status;
        c->status &= 0xf0;             /* terminal counts are cleared by reading */
        return value;
    case MASTER_CLEAR:
        return c->temporary;
    case ALL_MASK:
        return c->mask | 0xf0;
    }
    return 0;
}

static void count_write(struct controller *c, unsigned reg, uint8_t value)
{
    uint16_t *base = reg & 1 ? &c->base_count[reg >> 1] : &c->base_address[reg >> 1];

    *base = (uint16_t)(c->flip_flop ? (*base & 0xff) | value << 8 : (*base & 0xff00) | value);
    c->flip_flop ^= 1;
    c->address[reg >> 1] = c->base_address[reg >> 1];
    c->count[reg >> 1] = c->base_count[reg >> 1];
}

static void controller_write(struct controller *c, unsigned reg, uint8_t value)
{
    uint8_t bit = (uint8_t)(1u << (value & 3));

    if (reg < 8) {
        count_write(c, reg, value);
        return;
    }
    switch (reg) {
    case STATUS_COMMAND: c->command = value; break;
    case REQUEST: c->request = value & 4 ? c->request | bit : c->request & ~bit; break;
    case SINGLE_MASK: c->mask = value & 4 ? c->mask | bit : c->mask & ~bit; break;
    case MODE: c->mode[value & 3] = value; break;
    case CLEAR_FLIP_FLOP: c->flip_flop = 0; break;
    case MASTER_CLEAR: controller_clear(c); break;
    case CLEAR_MASK: c->mask = 0; break;
    case ALL_MASK: c->mask = value & 0x0f; break;
    }
}

static uint64_t first_read(void *opaque, uint64_t offset, unsigned size)
{
    return controller_read(&((struct i8237 *)opaque)->chip[0], (unsigned)offset);
}

static void first_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    controller_write(&((struct i8237 *)opaque)->chip[0], (unsigned)offset, (uint8_t)value);
}

static uint64_t second_read(void *opaque, uint64_t offset, unsigned size)
{
    return controller_read(&((struct i8237 *)opaque)->chip[1], (unsigned)offset >> 1);
}

static void second_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    controller_write(&((struct i8237 *)opaque)->chip[1], (unsigned)offset >> 1, (uint8_t)value);
}

static uint64_t page_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((struct i8237 *)opaque)->page[offset & 15];
}

static void page_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ((struct i8237 *)opaque)->page[offset & 15] = (uint8_t)value;
}

static const struct io_ops first_io = { first_read, first_write, 1, 1 };
static const struct io_ops second_io = { second_read, second_write, 1, 1 };
static const struct io_ops page_io = { page_read, page_write, 1, 1 };

/* ---- transfers ---- */

/* One byte or word at the channel's address. */
static void unit_move(struct i8237 *d, struct controller *c, unsigned n, bool wide, uint8_t *data)
{
    static const uint8_t page_of[2][4] = { { 7, 3, 1, 2 }, { 15, 11, 9, 10 } };
    gpa_t page = d->page[page_of[wide][n]], address;
    unsigned size = wide ? 2 : 1;

    address = wide ? (page & 0xfe) << 16 | (gpa_t)c->address[n] << 1 : page << 16 | c->address[n];
    if ((c->mode[n] & MODE_TRANSFER) == MODE_WRITE) memory_dma_write(d->memory, address, data, size);
    else if ((c->mode[n] & MODE_TRANSFER) == MODE_READ) memory_dma_read(d->memory, address, data, size);
    c->address[n] += c->mode[n] & MODE_DECREMENT ? -1 : 1;
    c->count[n]--;
}

size_t i8237_transfer(struct device *dev, unsigned channel, void *data, size_t size, bool *done)
{
    struct i8237 *d = container_of(dev, struct i8237, device);
    unsigned n = channel & 3, unit = channel & 4 ? 2 : 1;
    struct controller *c = &d->chip[channel >> 2 & 1];
    size_t moved = 0;

    *done = false;
    if ((c->mask >> n & 1) || (c->command & COMMAND_DISABLE)) return 0;
    while (moved + unit <= size && !*done) {
        unit_move(d, c, n, unit == 2, (uint8_t *)data + moved);
        moved += unit;
        *done = c->count[n] == 0xffff;
    }
    if (!*done) return moved;
    c->status |= (uint8_t)(1u << n);
    if (c->mode[n] & MODE_AUTO_INIT) {
        c->address[n] = c->base_address[n];
        c->count[n] = c->base_count[n];
    } else c->mask |= (uint8_t)(1u << n);
    return moved;
}

/* ---- life ---- */

static void i8237_reset(struct device *dev)
{
    struct i8237 *d = container_of(dev, struct i8237, device);

    memset(d->chip, 0, sizeof(d->chip));
    memset(d->page, 0, sizeof(d->page));
    controller_clear(&d->chip[0]);
    controller_clear(&d->chip[1]);
}

static void i8237_destroy(struct device *dev)
{
    struct i8237 *d = container_of(dev, struct i8237, device);

    for (unsigned i = 0; i < ARRAY_SIZE(d->range); i++) memory_range_remove(d->range[i]);
    free(d);
}

static const struct state_field i8237_state[] = { { "chip", offsetof(struct i8237, chip), 1,
                                                    sizeof(((struct i8237 *)0)->chip) },
                                                  STATE_ARRAY(struct i8237, page),
                                                  STATE_END };

static const struct device_ops i8237_ops = {
    .name = "i8237",
    .description = "DMA controllers",
    .reset = i8237_reset,
    .destroy = i8237_destroy,
    .state = i8237_state,
};

struct device *i8237_new(const struct i8237_config *config, struct error *err)
{
    struct i8237 *d = calloc(1, sizeof(*d));

    if (!d) {
        error_set(err, "i8237: no memory");
        return NULL;
    }
    d->device.ops = &i8237_ops;
    d->memory = config->memory;
    d->range[0] = memory_map_add_io(config->ports, "dma1", 0x00, 16, &first_io, d, 2);
    d->range[1] = memory_map_add_io(config->ports, "dma2", 0xc0, 32, &second_io, d, 2);
    d->range[2] = memory_map_add_io(config->ports, "dma-page", 0x80, 16, &page_io, d, 2);
    i8237_reset(&d->device);
    return &d->device;
}
