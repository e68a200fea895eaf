/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HPET: one 64-bit counter at 100 MHz of virtual time, three comparators, each with a timer of the event loop.
 *
 * Edge interrupts are pulses, level ones hold their pin until the status bit is cleared. A periodic comparator that was
 * served late moves on to the first multiple of its period that is still to come.
 * Source: IA-PC HPET specification 1.0a.
 */
#include "device/timer/hpet.h"

#include <stdlib.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"

enum { NS_PER_TICK = HPET_PERIOD_FS / 1000000 };
enum { CONFIG_ENABLE = 1, CONFIG_LEGACY = 2 };
enum { T_LEVEL = 1 << 1, T_ENABLE = 1 << 2, T_PERIODIC = 1 << 3, T_CAN_PERIODIC = 1 << 4, T_64BIT = 1 << 5, T_SET_VALUE = 1 << 6,
       T_32BIT = 1 << 8, T_ROUTE = 31 << 9, T_FSB = 1 << 14, T_CAN_FSB = 1 << 15 };
#define ROUTES 0x00ff0104ull           /* pins a comparator may drive: 2, 8, 16-23 */

struct comparator {
    uint64_t config, value, period, fsb;
    uint64_t due;                    /* all of the counter when it is value next */
    struct timer *timer;
    struct hpet *hpet;
    bool set_value;                  /* the next write goes to the comparator itself */
};

struct hpet {
    struct device device;
    struct hpet_config config;
    struct memory_range *range;
    uint64_t general, status, counter;   /* counter: value while stopped */
    int64_t start_ns;                /* virtual time at which it was zero */
    struct comparator comparator[HPET_TIMERS];
    uint8_t legacy_level[2];         /* what PIT and RTC drive */
};

static bool runs(const struct hpet *s) { return s->general & CONFIG_ENABLE; }

static uint64_t counter_now(const struct hpet *s)
{
    return runs(s) ? (uint64_t)(clock_virtual_ns() - s->start_ns) / NS_PER_TICK : s->counter;
}

static uint64_t width(const struct comparator *c) { return c->config & T_32BIT ? UINT32_MAX : UINT64_MAX; }

/* ---- interrupts ---- */

static void pin_set(struct hpet *s, unsigned n, int level)
{
    unsigned pin = s->comparator[n].config >> 9 & 31;

    if (s->general & CONFIG_LEGACY && n < 2) {
        irq_set(n ? &s->config.irq8 : &s->config.irq0, level);
        return;
    }
    if (ROUTES >> pin & 1 && s->config.gsi.set) s->config.gsi.set(s->config.gsi.opaque, s->config.gsi.n + (int)pin, level);
}

static void interrupt(struct hpet *s, unsigned n)
{
    struct comparator *c = &s->comparator[n];

    if (c->config & T_LEVEL) s->status |= 1u << n;
    if (!(c->config & T_ENABLE)) return;
    if (c->config & T_FSB && s->config.msi.send) {
        s->config.msi.send(s->config.msi.opaque, c->fsb >> 32, (unsigned)c->fsb);
        return;
    }
    /* The 8259 wants an edge's level to last until it is acknowledged; a pin shared with PCI must come down again. */
    if (!(c->config & T_LEVEL) && s->general & CONFIG_LEGACY && n < 2) pin_set(s, n, 0);
    pin_set(s, n, 1);
    if (!(c->config & T_LEVEL) && !(s->general & CONFIG_LEGACY && n < 2)) pin_set(s, n, 0);
}

/* Does anybody see it when the value is reached? An edge that is disabled leaves no mark; Linux leaves a periodic comparator behind so. */
static bool is_seen(const struct comparator *c) { return c->config & (T_ENABLE | T_LEVEL); }

/* A periodic comparator that has been reached is on its way to the next value. */
static void settle(struct comparator *c)
{
    uint64_t now = counter_now(c->hpet), periods;

    if (!runs(c->hpet) || !(c->config & T_PERIODIC) || !c->period || now < c->due) return;
    periods = (now - c->due) / c->period + 1;
    c->value = (c->value + periods * c->period) & width(c);
    c->due += periods * c->period;
}

static void settle_unseen(struct comparator *c)
{
    if (!is_seen(c)) settle(c);
}

static void plan(struct comparator *c)
{
    struct hpet *s = c->hpet;
    uint64_t left, now = counter_now(s);

    if (!runs(s)) {
        timer_disarm(c->timer);
        return;
    }
    left = (c->value - now) & width(c);
    if (!left) left = width(c);
    c->due = left > UINT64_MAX - now ? UINT64_MAX : now + left;
    if (!is_seen(c)) timer_disarm(c->timer);
    else timer_arm_ns(c->timer, clock_virtual_ns() + (int64_t)MIN(left, (uint64_t)INT64_MAX / (4 * NS_PER_TICK)) * NS_PER_TICK);
}

static void reached(void *opaque)
{
    struct comparator *c = opaque;
    struct hpet *s = c->hpet;

    if (!runs(s)) return;
    settle(c);
    interrupt(s, c - s->comparator);
    plan(c);
}

void hpet_legacy_irq_set(void *opaque, int n, int level)
{
    struct hpet *s = opaque;

    s->legacy_level[n != 0] = level != 0;
    if (!(s->general & CONFIG_LEGACY)) irq_set(n ? &s->config.irq8 : &s->config.irq0, level);
}

/* ---- registers ---- */

static uint64_t comparator_config(const struct comparator *c)
{
    return c->config | T_CAN_PERIODIC | T_64BIT | (c->hpet->config.msi.send ? T_CAN_FSB : 0) | ROUTES << 32;
}

static uint64_t register_read(struct hpet *s, unsigned at)
{
    unsigned n = (at - 0x100) >> 5;

    if (at >= 0x100 && n < HPET_TIMERS) {
        switch (at & 0x18) {
        case 0x00: return comparator_config(&s->comparator[n]);
        case 0x08: settle_unseen(&s->comparator[n]); return s->comparator[n].value;
        case 0x10: return s->comparator[n].fsb;
        default: return 0;
        }
    }
    switch (at) {
    case 0x00: return (uint64_t)HPET_PERIOD_FS << 32 | 0x8086u << 16 | 1 << 15 | 1 << 13 | (HPET_TIMERS - 1) << 8 | 1;
    case 0x10: return s->general;
    case 0x20: return s->status;
    case 0xf0: return counter_now(s);
    default: return 0;
    }
}

static void general_write(struct hpet *s, uint64_t value)
{
    uint64_t old = s->general;

    for (unsigned n = 0; n < HPET_TIMERS; n++) settle_unseen(&s->comparator[n]);
    value &= CONFIG_ENABLE | CONFIG_LEGACY;
    if (old & CONFIG_ENABLE && !(value & CONFIG_ENABLE)) s->counter = counter_now(s);
    if (!(old & CONFIG_ENABLE) && value & CONFIG_ENABLE) s->start_ns = clock_virtual_ns() - (int64_t)(s->counter * NS_PER_TICK);
    if ((old ^ value) & CONFIG_LEGACY) {
        s->general = value;
        irq_set(&s->config.irq0, value & CONFIG_LEGACY ? 0 : s->legacy_level[0]);
        irq_set(&s->config.irq8, value & CONFIG_LEGACY ? 0 : s->legacy_level[1]);
    }
    s->general = value;
    for (unsigned n = 0; n < HPET_TIMERS; n++) plan(&s->comparator[n]);
}

static void status_write(struct hpet *s, uint64_t value)
{
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        if (value & s->status & 1u << n) pin_set(s, n, 0);
    s->status &= ~value;
}

static void comparator_write(struct comparator *c, unsigned at, uint64_t value)
{
    struct hpet *s = c->hpet;
    unsigned n = c - s->comparator;
    const uint64_t writable = T_LEVEL | T_ENABLE | T_PERIODIC | T_32BIT | T_ROUTE | (s->config.msi.send ? T_FSB : 0);

    settle_unseen(c);
    switch (at & 0x18) {
    case 0x00:
        if (s->status & 1u << n) pin_set(s, n, 0);
        c->config = value & writable;
        c->set_value = value & T_SET_VALUE;
        if (c->config & T_32BIT) {
            c->value &= UINT32_MAX;
            c->period &= UINT32_MAX;
        }
        if (s->status & 1u << n && c->config & T_ENABLE && c->config & T_LEVEL) pin_set(s, n, 1);
        break;
    case 0x08:
        value &= width(c);
        if (!(c->config & T_PERIODIC) || c->set_value) c->value = value;
        if (c->config & T_PERIODIC) c->period = value;
        c->set_value = false;
        break;
    case 0x10: c->fsb = value; break;
    default: break;
    }
    plan(c);
}

static void register_write(struct hpet *s, unsigned at, uint64_t value)
{
    unsigned n = (at - 0x100) >> 5;

    if (at >= 0x100) {
        if (n < HPET_TIMERS) comparator_write(&s->comparator[n], at, value);
        return;
    }
    switch (at) {
    case 0x10: general_write(s, value); break;
    case 0x20: status_write(s, value); break;
    case 0xf0:
        if (runs(s)) break;                            /* only while it stands */
        s->counter = value;
        break;
    default: break;
    }
}

static uint64_t hpet_read(void *opaque, uint64_t offset, unsigned size)
{
    return register_read(opaque, offset & ~7u) >> 8 * (offset & 7);
}

/* Does a write to this register go to a period only? */
static bool is_period(const struct hpet *s, unsigned at)
{
    unsigned n = (at - 0x100) >> 5;

    return at >= 0x100 && n < HPET_TIMERS && (at & 0x18) == 8 && s->comparator[n].config & T_PERIODIC && !s->comparator[n].set_value;
}

static void hpet_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct hpet *s = opaque;
    unsigned at = offset & ~7u;
    uint64_t old;

    if (size < 8) {
        /* Half a register. A comparator's own write is the low half; SET_VALUE must not be lost in between. */
        if (offset & 4 && at >= 0x100 && (at & 0x18) == 8 && !(s->comparator[((at - 0x100) >> 5) % HPET_TIMERS].config & T_32BIT) && !value) return;
        old = at == 0x20 ? 0 : register_read(s, at);
        if (is_period(s, at)) old = s->comparator[(at - 0x100) >> 5].period;
        value = offset & 4 ? (uint32_t)old | value << 32 : (old >> 32 << 32) | (uint32_t)value;
    }
    register_write(s, at, value);
}

static const struct io_ops hpet_io = { hpet_read, hpet_write, 4, 8 };

/* ---- device ---- */

static void hpet_reset(struct device *d)
{
    struct hpet *s = (struct hpet *)d;

    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        struct comparator *c = &s->comparator[n];
        if (s->status & 1u << n) pin_set(s, n, 0);
        c->config = c->period = c->fsb = 0;
        c->value = UINT64_MAX;
        c->set_value = false;
        timer_disarm(c->timer);
    }
    s->general = s->status = s->counter = 0;
}

static void hpet_destroy(struct device *d)
{
    struct hpet *s = (struct hpet *)d;

    for (unsigned n = 0; n < HPET_TIMERS; n++) timer_free(s->comparator[n].timer);
    memory_range_remove(s->range);
    free(s);
}

static const struct state_field hpet_state[] = {
    STATE_FIELD(struct hpet, general), STATE_FIELD(struct hpet, status), STATE_FIELD(struct hpet, counter),
    STATE_FIELD(struct hpet, start_ns), STATE_END,
};
static const struct device_ops hpet_ops = { "hpet", "high precision event timers", hpet_reset, hpet_destroy, hpet_state, NULL, NULL };

struct device *hpet_new(const struct hpet_config *config, struct error *err)
{
    struct hpet *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "hpet: out of memory");
        return NULL;
    }
    s->device.ops = &hpet_ops;
    s->config = *config;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        s->comparator[n].hpet = s;
        s->comparator[n].timer = timer_new(TIMER_VIRTUAL, reached, &s->comparator[n]);
    }
    s->range = memory_map_add_io(config->memory, "hpet", config->base, 0x400, &hpet_io, s, 2);
    hpet_reset(&s->device);
    return &s->device;
}
