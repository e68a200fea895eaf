/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two 8259A, the slave's INT on the master's IR2.
 *
 * A chip keeps its three registers: IRR (requests), ISR (in service), IMR (masked). An edge-triggered input sets IRR when
 * it rises and clears it when it falls before it was acknowledged; a level-triggered one (ELCR) is IRR. INT is up while a
 * request has priority over everything in service; priorities rotate by lowest_priority.
 * Not made: MCS-80 mode, buffered mode (no effect in a PC), special fully nested mode of the slave's side is the
 * master's business and is there.
 * Sources: Intel 8259A data sheet 231468-003; 82371SB data sheet (ELCR).
 */
#include "device/irqchip/i8259.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"

struct chip {
    uint8_t irr, isr, imr, elcr, elcr_mask;
    uint8_t lines;                   /* levels of the inputs */
    uint8_t vector_base;             /* ICW2 */
    uint8_t lowest_priority;         /* IR with the lowest priority: 7 after initialisation */
    uint8_t init_step;               /* 0: initialised, else the ICW that is awaited (2, 3, 4) */
    uint8_t read_isr, poll;
    uint8_t single, needs_icw4, auto_eoi, rotate_on_auto_eoi, special_mask, special_nested;
    uint8_t out;
};

struct i8259 {
    struct device device;
    struct i8259_config config;
    struct chip chip[2];             /* master, slave */
    struct memory_range *range[3];
};

static void chip_update(struct i8259 *s, unsigned n);

/* Rank of IR: 0 is the highest priority. */
static unsigned rank(const struct chip *c, unsigned ir) { return (ir - c->lowest_priority - 1u) & 7; }

/* IR of the highest priority in set; 8: none. */
static unsigned highest(const struct chip *c, uint8_t set)
{
    for (unsigned r = 0; r < 8; r++) {
        unsigned ir = (c->lowest_priority + 1u + r) & 7;
        if (set >> ir & 1) return ir;
    }
    return 8;
}

/* The request that would be acknowledged; 8: none has priority. */
static unsigned chip_request(const struct chip *c, bool is_master)
{
    uint8_t blocking = c->special_mask ? c->isr & ~c->imr : c->isr;
    unsigned ir = highest(c, c->irr & ~c->imr), served;

    if (ir == 8 || c->init_step) return 8;
    if (is_master && c->special_nested && ir == 2) blocking &= ~(1u << 2);     /* the slave sorts its own out */
    served = highest(c, blocking);
    if (c->special_mask) return blocking >> ir & 1 ? 8 : ir;
    return served == 8 || rank(c, ir) < rank(c, served) ? ir : 8;
}

static void chip_line(struct chip *c, unsigned ir, int level)
{
    uint8_t bit = 1u << ir;

    if (c->elcr & bit) {
        c->irr = level ? c->irr | bit : c->irr & ~bit;
    } else if (level) {
        if (!(c->lines & bit)) c->irr |= bit;
    } else {
        c->irr &= ~bit;
    }
    c->lines = level ? c->lines | bit : c->lines & ~bit;
}

static void chip_update(struct i8259 *s, unsigned n)
{
    struct chip *c = &s->chip[n];
    uint8_t out = chip_request(c, n == 0) != 8;

    if (n == 1) {
        if (out != c->out) {
            c->out = out;
            chip_line(&s->chip[0], 2, out);
        }
        chip_update(s, 0);
        return;
    }
    if (out == c->out) return;
    c->out = out;
    irq_set(&s->config.intr, out);
}

static unsigned chip_acknowledge(struct i8259 *s, unsigned n)
{
    struct chip *c = &s->chip[n];
    unsigned ir = chip_request(c, n == 0);

    if (ir == 8) return 8;
    if (!(c->elcr >> ir & 1)) c->irr &= ~(1u << ir);
    if (!c->auto_eoi) c->isr |= 1u << ir;
    else if (c->rotate_on_auto_eoi) c->lowest_priority = ir;
    return ir;
}

int i8259_acknowledge(struct device *d)
{
    struct i8259 *s = (struct i8259 *)d;
    unsigned ir = chip_acknowledge(s, 0), vector;

    if (ir == 2) {
        unsigned low = chip_acknowledge(s, 1);
        vector = s->chip[1].vector_base | (low == 8 ? 7 : low);
        /* The request line falls with INTA and may rise again at once: an edge for the master's edge mode. */
        s->chip[1].out = 0;
        chip_line(&s->chip[0], 2, 0);
        chip_update(s, 1);
    } else {
        vector = s->chip[0].vector_base | (ir == 8 ? 7 : ir);
        chip_update(s, 0);
    }
    return (int)vector;
}

bool i8259_is_pending(const struct device *d) { return ((const struct i8259 *)d)->chip[0].out; }

void i8259_irq_set(void *opaque, int irq, int level)
{
    struct i8259 *s = opaque;

    if (irq < 0 || irq > 15 || irq == 2) return;
    chip_line(&s->chip[irq >> 3], irq & 7, level != 0);
    chip_update(s, irq >> 3);
}

/* ---- registers ---- */

static void end_of_interrupt(struct chip *c, unsigned ir, bool rotate)
{
    if (ir == 8) return;
    c->isr &= ~(1u << ir);
    if (rotate) c->lowest_priority = ir;
}

static void ocw2(struct chip *c, uint8_t value)
{
    unsigned level = value & 7, served = highest(c, c->special_mask ? c->isr & ~c->imr : c->isr);

    switch (value >> 5) {
    case 0: case 4: c->rotate_on_auto_eoi = value >> 7; break;
    case 1: end_of_interrupt(c, served, false); break;
    case 3: end_of_interrupt(c, level, false); break;
    case 5: end_of_interrupt(c, served, true); break;
    case 6: c->lowest_priority = level; break;
    case 7: end_of_interrupt(c, level, true); break;
    default: break;                                    /* 2: no operation */
    }
}

static void ocw3(struct chip *c, uint8_t value)
{
    if (value & 0x40) c->special_mask = value >> 5 & 1;
    if (value & 4) c->poll = 1;
    else if (value & 2) c->read_isr = value & 1;
}

static void icw1(struct chip *c, uint8_t value)
{
    c->init_step = 2;
    c->needs_icw4 = value & 1;
    c->single = value >> 1 & 1;
    c->imr = c->isr = c->read_isr = c->poll = 0;
    c->irr &= c->elcr;                                 /* edge detection starts over: an edge is needed */
    c->lowest_priority = 7;
    c->special_mask = c->special_nested = c->auto_eoi = c->rotate_on_auto_eoi = 0;
    if (value & 8) trace(TRACE_UNIMP, "i8259: level triggering by ICW1 is for MCA machines; the ELCR decides\n");
}

static void command_write(struct chip *c, uint8_t value)
{
    if (value & 0x10) icw1(c, value);
    else if (value & 8) ocw3(c, value);
    else ocw2(c, value);
}

static void data_write(struct chip *c, uint8_t value)
{
    switch (c->init_step) {
    case 2:
        c->vector_base = value & 0xf8;
        c->init_step = c->single ? (c->needs_icw4 ? 4 : 0) : 3;
        break;
    case 3: c->init_step = c->needs_icw4 ? 4 : 0; break;       /* wired as it is */
    case 4:
        c->special_nested = value >> 4 & 1;
        c->auto_eoi = value >> 1 & 1;
        c->init_step = 0;
        break;
    default: c->imr = value; break;
    }
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size, unsigned n)
{
    struct i8259 *s = opaque;

    if (offset & 1) data_write(&s->chip[n], value);
    else command_write(&s->chip[n], value);
    chip_update(s, n);
}

static uint64_t poll_read(struct i8259 *s, unsigned n)
{
    unsigned ir;

    s->chip[n].poll = 0;
    ir = chip_acknowledge(s, n);
    chip_update(s, n);
    return ir == 8 ? 7 : 0x80 | ir;
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned n)
{
    struct i8259 *s = opaque;
    struct chip *c = &s->chip[n];

    if (c->poll) return poll_read(s, n);
    if (offset & 1) return c->imr;
    return c->read_isr ? c->isr : c->irr;
}

static uint64_t master_read(void *o, uint64_t offset, unsigned size) { return port_read(o, offset, 0); }
static uint64_t slave_read(void *o, uint64_t offset, unsigned size) { return port_read(o, offset, 1); }
static void master_write(void *o, uint64_t offset, uint64_t value, unsigned size) { port_write(o, offset, value, size, 0); }
static void slave_write(void *o, uint64_t offset, uint64_t value, unsigned size) { port_write(o, offset, value, size, 1); }

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size) { return ((struct i8259 *)opaque)->chip[offset & 1].elcr; }

static void elcr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i8259 *s = opaque;
    struct chip *c = &s->chip[offset & 1];

    c->elcr = value & c->elcr_mask;
    c->irr = (c->irr & ~c->elcr) | (c->lines & c->elcr);
    chip_update(s, offset & 1);
}

static const struct io_ops master_ops = { master_read, master_write, 1, 1 };
static const struct io_ops slave_ops = { slave_read, slave_write, 1, 1 };
static const struct io_ops elcr_ops = { elcr_read, elcr_write, 1, 1 };

/* ---- device ---- */

static void i8259_reset(struct device *d)
{
    struct i8259 *s = (struct i8259 *)d;

    for (unsigned n = 0; n < 2; n++) {
        struct chip *c = &s->chip[n];
        uint8_t lines = c->lines;
        *c = (struct chip){ .lines = lines, .lowest_priority = 7, .elcr_mask = n ? 0xde : 0xf8 };
    }
    s->chip[0].lines &= ~(1u << 2);
    irq_set(&s->config.intr, 0);
}

static void i8259_info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    struct i8259 *s = (struct i8259 *)d;
    char line[128];

    for (unsigned n = 0; n < 2; n++) {
        const struct chip *c = &s->chip[n];
        snprintf(line, sizeof line, "pic%u: irr=%02x imr=%02x isr=%02x hprio=%u irq_base=%02x rr_sel=%u elcr=%02x fnm=%u", n, c->irr,
                 c->imr, c->isr, (c->lowest_priority + 1u) & 7, c->vector_base, c->read_isr, c->elcr, c->special_nested);
        print(opaque, line);
    }
}

static void i8259_destroy(struct device *d)
{
    struct i8259 *s = (struct i8259 *)d;

    for (unsigned n = 0; n < ARRAY_SIZE(s->range); n++) memory_range_remove(s->range[n]);
    free(s);
}

static const struct state_field i8259_state[] = { STATE_ARRAY(struct i8259, chip), STATE_END };
static const struct device_ops i8259_ops = { "i8259", "8259A interrupt controllers", i8259_reset, i8259_destroy, i8259_state, NULL,
                                             i8259_info };

struct device *i8259_new(const struct i8259_config *config, struct error *err)
{
    struct i8259 *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "i8259: out of memory");
        return NULL;
    }
    s->device.ops = &i8259_ops;
    s->config = *config;
    s->range[0] = memory_map_add_io(config->ports, "pic", 0x20, 2, &master_ops, s, 2);
    s->range[1] = memory_map_add_io(config->ports, "pic", 0xa0, 2, &slave_ops, s, 2);
    s->range[2] = memory_map_add_io(config->ports, "elcr", 0x4d0, 2, &elcr_ops, s, 2);
    i8259_reset(&s->device);
    return &s->device;
}
