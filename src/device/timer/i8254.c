/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8254: three counters, each loaded at some time and counting down from then on.
 *
 * Nothing ticks: count and output are worked out from the ticks that went by since the load (or the gate's edge). Only
 * counter 0 has its output wired to an interrupt; a timer is armed for its next edge.
 * A gate that goes down in modes 0 and 4 freezes the count; in 2 and 3 it stops the counter with the output high.
 * Source: Intel 8254 data sheet 231164-005.
 */
#include "device/timer/i8254.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"

enum { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };

struct counter {
    uint32_t reload;                 /* 1 .. 10000h (or 10000 in BCD) */
    uint64_t start;                  /* tick at which counting began */
    uint64_t frozen;                 /* ticks counted before the gate stopped it */
    uint16_t latch;
    uint8_t mode, access, bcd, gate;
    uint8_t loaded;                  /* a count was written since the mode was set */
    uint8_t running;
    uint8_t latched;                 /* bytes of latch still to be read: 0..2 */
    uint8_t status_latched, status;
    uint8_t read_high, write_high, write_low_byte;
    uint8_t null_count;
};

struct i8254 {
    struct device device;
    struct i8254_config config;
    struct counter counter[3];
    struct memory_range *range;
    struct timer *timer;
    uint8_t out0;
};

static uint64_t ticks_now(void) { return muldiv64((uint64_t)clock_virtual_ns(), I8254_HZ, NS_PER_SECOND); }
static int64_t tick_ns(uint64_t tick) { return (int64_t)muldiv64(tick, NS_PER_SECOND, I8254_HZ) + 1; }

/* Ticks counted since the load. */
static uint64_t elapsed(const struct counter *c, uint64_t now)
{
    if (!c->running) return c->frozen;
    return c->frozen + (now > c->start ? now - c->start : 0);
}

static bool counter_out(const struct counter *c, uint64_t now)
{
    uint64_t t = elapsed(c, now);

    switch (c->mode) {
    case 0: return c->loaded && t >= c->reload;
    case 1: return !c->loaded || !(c->running || c->frozen) || t >= c->reload;
    case 2: return !c->running || t % c->reload != c->reload - 1;
    case 3: return !c->running || t % c->reload < (c->reload + 1) / 2;
    default: return !c->loaded || !(c->running || c->frozen) || t != c->reload;
    }
}

static uint32_t modulus(const struct counter *c) { return c->bcd ? 10000 : 0x10000; }

/* The counting element as a number. */
static uint32_t counter_value(const struct counter *c, uint64_t now)
{
    uint64_t t = elapsed(c, now);
    uint32_t m = modulus(c);

    switch (c->mode) {
    case 2: return c->reload - t % c->reload;
    case 3: {
        uint32_t left = t % c->reload, half = (c->reload + 1) / 2;      /* counts by two in each half */
        uint32_t value = left < half ? c->reload - 2 * left : c->reload - 2 * (left - half) - (c->reload & 1);
        return value & ~1u ? value & ~1u : m;
    }
    default: return (uint32_t)((c->reload + (uint64_t)m - t % m) % m);
    }
}

static uint16_t to_register(const struct counter *c, uint32_t value)
{
    if (!c->bcd) return value;
    return value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 % 10 << 12;
}

static uint32_t from_register(const struct counter *c, uint16_t value)
{
    uint32_t n = value;

    if (c->bcd) n = (value & 15) + (value >> 4 & 15) * 10 + (value >> 8 & 15) * 100 + (value >> 12) * 1000;
    return n ? n : modulus(c);
}

/* ---- output of counter 0 ---- */

/* The tick of the next edge of OUT; 0: none. */
static uint64_t next_edge(const struct counter *c, uint64_t now)
{
    uint64_t t = elapsed(c, now), base = now - t, phase;

    if (!c->running) return 0;
    switch (c->mode) {
    case 2: return base + (t / c->reload + 1) * c->reload;      /* the end of the period, where OUT rises */
    case 3:
        phase = t % c->reload;
        return base + t + (phase < (c->reload + 1) / 2 ? (c->reload + 1) / 2 - phase : c->reload - phase);
    case 4: case 5:
        if (t == c->reload) return base + t + 1;
        /* fall through */
    default: return t < c->reload ? base + c->reload : 0;
    }
}

static void out0_update(struct i8254 *s)
{
    struct counter *c = &s->counter[0];
    uint64_t now = ticks_now(), edge = next_edge(c, now);
    bool out = c->mode == 2 || counter_out(c, now);    /* a rate generator's low tick is made by timer_fired */

    if (out != s->out0) irq_set(&s->config.out0, out);
    s->out0 = out;
    if (edge) timer_arm_ns(s->timer, tick_ns(edge));
    else timer_disarm(s->timer);
}

static void timer_fired(void *opaque)
{
    struct i8254 *s = opaque;

    if (s->counter[0].running && s->counter[0].mode == 2) {
        irq_set(&s->config.out0, 0);
        irq_set(&s->config.out0, 1);
    }
    out0_update(s);
}

/* ---- registers ---- */

static void counter_start(struct counter *c, uint64_t now)
{
    c->start = now;
    c->frozen = 0;
    c->running = 1;
    c->null_count = 0;
}

static void counter_load(struct i8254 *s, unsigned n, uint16_t value)
{
    struct counter *c = &s->counter[n];
    uint64_t now = ticks_now();

    c->reload = from_register(c, value);
    if ((c->mode == 2 || c->mode == 3) && c->reload < 2) c->reload = 2;        /* 1 is illegal there */
    c->null_count = 1;
    switch (c->mode) {
    case 1: case 5: break;                             /* the gate's edge starts it */
    case 2: case 3:
        /* A running generator takes the new count at the end of its period; the difference is one period. */
        if (c->gate) counter_start(c, now);
        break;
    default:
        counter_start(c, now + 1);
        if (!c->gate) c->running = 0;
        break;
    }
    c->loaded = 1;
    if (n == 0) out0_update(s);
}

static void latch_count(struct counter *c)
{
    if (c->latched) return;
    c->latch = to_register(c, counter_value(c, ticks_now()));
    c->latched = c->access == ACCESS_BOTH ? 2 : 1;
    c->read_high = 0;
}

static void latch_status(struct counter *c)
{
    if (c->status_latched) return;
    c->status = (uint8_t)(counter_out(c, ticks_now()) << 7 | c->null_count << 6 | c->access << 4 | c->mode << 1 | c->bcd);
    c->status_latched = 1;
}

static void control_write(struct i8254 *s, uint8_t value)
{
    unsigned n = value >> 6, access = value >> 4 & 3;
    struct counter *c;

    if (n == 3) {                                      /* read-back */
        for (unsigned k = 0; k < 3; k++) {
            if (!(value >> (k + 1) & 1)) continue;
            if (!(value & 0x20)) latch_count(&s->counter[k]);
            if (!(value & 0x10)) latch_status(&s->counter[k]);
        }
        return;
    }
    c = &s->counter[n];
    if (access == ACCESS_LATCH) {
        latch_count(c);
        return;
    }
    c->mode = value >> 1 & 7;
    if (c->mode > 5) c->mode -= 4;
    c->access = access;
    c->bcd = value & 1;
    c->loaded = c->running = c->latched = c->status_latched = c->read_high = c->write_high = 0;
    c->frozen = 0;
    c->null_count = 1;
    if (n == 0) out0_update(s);
}

static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i8254 *s = opaque;
    struct counter *c = &s->counter[offset & 3];
    uint16_t value;

    if (offset == 3) return 0xff;                      /* the control word cannot be read */
    if (c->status_latched) {
        c->status_latched = 0;
        return c->status;
    }
    value = c->latched ? c->latch : to_register(c, counter_value(c, ticks_now()));
    if (c->latched) c->latched--;
    if (c->access == ACCESS_LOW) return value & 0xff;
    if (c->access == ACCESS_HIGH) return value >> 8;
    c->read_high = !c->read_high;
    return c->read_high ? value & 0xff : value >> 8;
}

static void pit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i8254 *s = opaque;
    struct counter *c = &s->counter[offset & 3];

    if (offset == 3) {
        control_write(s, value);
        return;
    }
    switch (c->access) {
    case ACCESS_LOW: counter_load(s, offset, value & 0xff); break;
    case ACCESS_HIGH: counter_load(s, offset, (value & 0xff) << 8); break;
    default:
        c->write_high = !c->write_high;
        if (c->write_high) {
            c->write_low_byte = value;
            if (c->mode == 0) c->running = 0;          /* the first byte stops counting */
        } else {
            counter_load(s, offset, c->write_low_byte | (value & 0xff) << 8);
        }
        break;
    }
}

static const struct io_ops pit_io = { pit_read, pit_write, 1, 1 };

/* ---- gates and outputs ---- */

void i8254_gate_set(struct device *d, unsigned n, bool level)
{
    struct i8254 *s = (struct i8254 *)d;
    struct counter *c = &s->counter[n % 3];
    uint64_t now = ticks_now();
    bool rises = level && !c->gate;

    if (c->gate == level) return;
    c->gate = level;
    switch (c->mode) {
    case 1: case 5: if (rises && c->loaded) counter_start(c, now + 1); break;
    case 2: case 3:
        if (rises && c->loaded) counter_start(c, now);
        if (!level) c->running = 0;
        break;
    default:
        if (!level && c->running) {
            c->frozen = elapsed(c, now);
            c->running = 0;
        } else if (rises && c->loaded) {
            c->start = now;
            c->running = 1;
        }
        break;
    }
    if (n == 0) out0_update(s);
}

bool i8254_gate(const struct device *d, unsigned n) { return ((const struct i8254 *)d)->counter[n % 3].gate; }
bool i8254_out(struct device *d, unsigned n) { return counter_out(&((struct i8254 *)d)->counter[n % 3], ticks_now()); }

/* ---- device ---- */

static void i8254_reset(struct device *d)
{
    struct i8254 *s = (struct i8254 *)d;

    for (unsigned n = 0; n < 3; n++)
        s->counter[n] = (struct counter){ .mode = 3, .access = ACCESS_BOTH, .gate = n != 2, .reload = 0x10000, .null_count = 1 };
    s->out0 = 1;
    timer_disarm(s->timer);
}

static void i8254_info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    struct i8254 *s = (struct i8254 *)d;
    char line[96];

    for (unsigned n = 0; n < 3; n++) {
        const struct counter *c = &s->counter[n];
        snprintf(line, sizeof line, "pit%u: mode %u count %u reload %u gate %u out %u", n, c->mode, counter_value(c, ticks_now()), c->reload,
                 c->gate, counter_out(c, ticks_now()));
        print(opaque, line);
    }
}

static void i8254_destroy(struct device *d)
{
    struct i8254 *s = (struct i8254 *)d;

    memory_range_remove(s->range);
    timer_free(s->timer);
    free(s);
}

static const struct state_field i8254_state[] = { STATE_ARRAY(struct i8254, counter), STATE_FIELD(struct i8254, out0), STATE_END };
static const struct device_ops i8254_ops = { "i8254", "programmable interval timer", i8254_reset, i8254_destroy, i8254_state, NULL, i8254_info };

struct device *i8254_new(const struct i8254_config *config, struct error *err)
{
    struct i8254 *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "i8254: out of memory");
        return NULL;
    }
    s->device.ops = &i8254_ops;
    s->config = *config;
    s->timer = timer_new(TIMER_VIRTUAL, timer_fired, s);
    s->range = memory_map_add_io(config->ports, "pit", config->base, 4, &pit_io, s, 2);
    i8254_reset(&s->device);
    return &s->device;
}
