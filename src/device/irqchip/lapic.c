/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC: IRR, ISR and TMR as 256-bit sets, the register page, the same registers as MSRs, LVT and timer.
 *
 * Whether something can be delivered is worked out after every change and kept in one flag, which vCPU threads read
 * without a lock. The APIC timer counts virtual time; TSC-deadline mode asks the machine for the guest's TSC.
 * As a BIOS would have left it, LINT0 of the bootstrap processor is an unmasked ExtINT after reset: the 8259 works
 * before anybody touches the APIC. Not made: SMI pins, focus processor checking, performance and thermal events
 * (their LVT entries are kept), EOI-broadcast suppression.
 * Sources: SDM 3A chapter 11.
 */
#include "device/irqchip/lapic.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "device/irqchip/apic_private.h"

enum { ESR_SEND_ILLEGAL = 1 << 5, ESR_RECEIVE_ILLEGAL = 1 << 6, ESR_ILLEGAL_REGISTER = 1 << 7 };
enum { SVR_ENABLE = 1 << 8 };
enum { MODE_ONE_SHOT, MODE_PERIODIC, MODE_TSC_DEADLINE };
enum { MIN_PERIOD_NS = 5000 };         /* a guest's shorter period is stretched: it could not be served anyway */

/* ---- sets of vectors ---- */

static void set_add(uint32_t *set, unsigned vector) { set[vector >> 5] |= 1u << (vector & 31); }
static void set_remove(uint32_t *set, unsigned vector) { set[vector >> 5] &= ~(1u << (vector & 31)); }
static bool set_has(const uint32_t *set, unsigned vector) { return set[vector >> 5] >> (vector & 31) & 1; }

static int set_highest(const uint32_t *set)
{
    for (int n = 7; n >= 0; n--)
        if (set[n]) return n * 32 + 31 - __builtin_clz(set[n]);
    return -1;
}

/* ---- what is deliverable ---- */

uint8_t lapic_ppr(const struct lapic *a)
{
    int served = set_highest(a->isr);
    uint8_t class = served < 0 ? 0 : served & 0xf0;

    return (a->tpr & 0xf0) >= class ? a->tpr : class;
}

/* The vector that would be delivered; -1: none has priority. */
static int deliverable(const struct lapic *a)
{
    int vector = set_highest(a->irr);

    if (vector < 0 || !lapic_is_enabled(a) || !(a->svr & SVR_ENABLE)) return -1;
    return (vector & 0xf0) > (lapic_ppr(a) & 0xf0) ? vector : -1;
}

/* Does the 8259's INT reach the CPU? Around a disabled APIC, or through LINT0 as ExtINT. */
static bool wants_extint(const struct lapic *a)
{
    if (a->extint) return true;
    if (!a->intr) return false;
    if (!lapic_is_enabled(a)) return a->config.is_bsp;
    return !(a->lvt[LVT_LINT0] & LVT_MASKED) && (a->lvt[LVT_LINT0] >> 8 & 7) == APIC_EXTINT;
}

static void update(struct lapic *a)
{
    bool pending = deliverable(a) >= 0 || wants_extint(a);

    __atomic_store_n(&a->pending, pending, __ATOMIC_SEQ_CST);
    if (pending) a->config.bus->config.wake(a->config.bus->config.opaque, a->config.vcpu);
}

bool lapic_is_pending(const struct device *d) { return __atomic_load_n(&((const struct lapic *)d)->pending, __ATOMIC_SEQ_CST); }

int lapic_acknowledge(struct device *d)
{
    struct lapic *a = (struct lapic *)d;
    int vector = deliverable(a);

    if (vector >= 0) {
        set_remove(a->irr, vector);
        set_add(a->isr, vector);
        update(a);
        return vector;
    }
    if (!wants_extint(a) || !a->config.bus->config.inta) return -1;
    a->extint = 0;
    vector = a->config.bus->config.inta(a->config.bus->config.opaque);
    update(a);
    return vector;
}

/* ---- receiving ---- */

static void error_raise(struct lapic *a, uint32_t bit);

static void accept(struct lapic *a, uint8_t vector, bool is_level)
{
    if (vector < 16) {
        error_raise(a, ESR_RECEIVE_ILLEGAL);
        return;
    }
    if (is_level) set_add(a->tmr, vector);
    else set_remove(a->tmr, vector);
    set_add(a->irr, vector);
    update(a);
}

static void error_raise(struct lapic *a, uint32_t bit)
{
    uint32_t lvt = a->lvt[LVT_ERROR];

    a->esr_pending |= bit;
    if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16) accept(a, lvt, false);
}

/* Cluster and place in it follow from the ID. */
static uint32_t x2_ldr(const struct lapic *a) { return a->config.id >> 4 << 16 | 1u << (a->config.id & 15); }

static bool logical_match(const struct lapic *a, const struct apic_message *m)
{
    if (lapic_is_x2(a)) {
        uint32_t ldr = x2_ldr(a);
        return (ldr >> 16) == (m->destination >> 16) && (ldr & m->destination & 0xffff);
    }
    if (m->is_wide && m->destination > 0xff) return false;
    if (a->dfr >> 28 == 15) return a->ldr >> 24 & m->destination;
    return (a->ldr >> 28) == (m->destination >> 4 & 15) && (a->ldr >> 24 & m->destination & 15);
}

bool lapic_matches(const struct lapic *a, const struct apic_message *m)
{
    if (!lapic_is_enabled(a)) return false;
    if (m->destination == (m->is_wide ? 0xffffffffu : 0xffu)) return true;
    if (m->is_logical) return logical_match(a, m);
    return m->destination == (lapic_is_x2(a) ? a->config.id : a->id);
}

void lapic_deliver(struct lapic *a, const struct apic_message *m)
{
    const struct apic_bus_config *c = &a->config.bus->config;

    switch (m->mode) {
    case APIC_FIXED: case APIC_LOWEST: accept(a, m->vector, m->is_level); break;
    case APIC_NMI: c->nmi(c->opaque, a->config.vcpu); break;
    case APIC_SMI: if (c->smi) c->smi(c->opaque, a->config.vcpu); break;
    case APIC_INIT:
        if (m->is_level && !m->level) return;          /* de-assert: for processors before the Pentium 4 */
        lapic_init(&a->device);
        c->init(c->opaque, a->config.vcpu);
        break;
    case APIC_STARTUP: c->startup(c->opaque, a->config.vcpu, m->vector); break;
    case APIC_EXTINT:
        a->extint = 1;
        update(a);
        break;
    default: break;
    }
}

void lapic_lint_set(struct lapic *a, unsigned n, int level)
{
    const struct apic_bus_config *c = &a->config.bus->config;
    uint32_t lvt = a->lvt[n];

    if (n == LVT_LINT0) a->intr = level;
    if (level && lapic_is_enabled(a) && !(lvt & LVT_MASKED)) {
        unsigned mode = lvt >> 8 & 7;
        if (mode == APIC_NMI) c->nmi(c->opaque, a->config.vcpu);
        if (mode == APIC_FIXED) accept(a, lvt, lvt & LVT_LEVEL);
    }
    update(a);
}

static void eoi(struct lapic *a)
{
    int vector = set_highest(a->isr);

    if (vector < 0) return;
    set_remove(a->isr, vector);
    if (set_has(a->tmr, vector)) apic_bus_eoi(a->config.bus, vector);
    update(a);
}

/* ---- sending ---- */

static void send_icr(struct lapic *a)
{
    uint32_t low = a->icr;
    struct apic_message m = {
        .destination = lapic_is_x2(a) ? a->icr >> 32 : a->icr >> 56, .is_wide = lapic_is_x2(a), .is_logical = low >> 11 & 1,
        .mode = low >> 8 & 7, .vector = low, .level = low >> 14 & 1, .is_level = low >> 15 & 1,
    };
    unsigned shorthand = low >> 18 & 3;

    if ((m.mode == APIC_FIXED || m.mode == APIC_LOWEST)) {
        m.is_level = false;                            /* IPIs are edges, whatever the bit says */
        if (m.vector < 16) {
            error_raise(a, ESR_SEND_ILLEGAL);
            return;
        }
    }
    if (shorthand == 0) {
        apic_bus_send(a->config.bus, &m);
        return;
    }
    for (unsigned i = 0; i < a->config.bus->config.max_cpus; i++) {
        struct lapic *to = a->config.bus->lapic[i];
        if (!to || (shorthand == 1 ? to != a : shorthand == 3 && to == a) || !lapic_is_enabled(to)) continue;
        lapic_deliver(to, &m);
    }
}

/* ---- timer ---- */

static unsigned timer_mode(const struct lapic *a) { return a->lvt[LVT_TIMER] >> 17 & 3; }

static unsigned divider(const struct lapic *a)
{
    unsigned code = (a->divide & 3) | (a->divide >> 1 & 4);

    return code == 7 ? 1 : 2u << code;
}

static uint64_t ticks_to_ns(const struct lapic *a, uint64_t ticks)
{
    return muldiv64(ticks, (uint64_t)NS_PER_SECOND * divider(a), a->config.bus->config.timer_hz);
}

static uint64_t elapsed_ticks(const struct lapic *a)
{
    int64_t ns = clock_virtual_ns() - a->count_start_ns;

    return ns <= 0 ? 0 : muldiv64((uint64_t)ns, a->config.bus->config.timer_hz, (uint64_t)NS_PER_SECOND * divider(a));
}

static uint32_t current_count(const struct lapic *a)
{
    uint64_t ticks;

    if (timer_mode(a) == MODE_TSC_DEADLINE || !a->initial_count) return 0;
    ticks = elapsed_ticks(a);
    if (timer_mode(a) == MODE_PERIODIC) return a->initial_count - ticks % a->initial_count;
    return ticks >= a->initial_count ? 0 : a->initial_count - ticks;
}

/* Arms the host timer for what the registers say. */
static void timer_plan(struct lapic *a)
{
    const struct apic_bus_config *c = &a->config.bus->config;
    int64_t now = clock_virtual_ns(), at;

    timer_disarm(a->timer);
    if (timer_mode(a) == MODE_TSC_DEADLINE) {
        uint64_t tsc;
        if (!a->tsc_deadline || !c->tsc) return;
        tsc = c->tsc(c->opaque, a->config.vcpu);
        at = a->tsc_deadline <= tsc ? now : now + (int64_t)MIN(muldiv64(a->tsc_deadline - tsc, NS_PER_SECOND, c->tsc_hz), (uint64_t)INT64_MAX / 4);
        timer_arm_ns(a->timer, at);
        return;
    }
    if (!a->initial_count) return;
    at = a->count_start_ns + (int64_t)ticks_to_ns(a, a->initial_count);
    if (at > now) timer_arm_ns(a->timer, at);
    else if (timer_mode(a) == MODE_PERIODIC) timer_arm_ns(a->timer, now + MIN_PERIOD_NS);
}

static void timer_fired(void *opaque)
{
    struct lapic *a = opaque;
    uint32_t lvt = a->lvt[LVT_TIMER];
    unsigned mode = timer_mode(a);

    if (mode == MODE_TSC_DEADLINE) a->tsc_deadline = 0;
    if (!(lvt & LVT_MASKED)) accept(a, lvt, false);
    if (mode != MODE_PERIODIC || !a->initial_count) return;
    /* From the period's grid, not from now: late service does not slow the guest's clock. Missed periods are dropped. */
    a->count_start_ns += (int64_t)ticks_to_ns(a, elapsed_ticks(a) / a->initial_count * a->initial_count);
    timer_plan(a);
}

/* ---- registers; index is the offset / 16, as in the MSR numbers ---- */

enum { REG_ID = 2, REG_VERSION = 3, REG_TPR = 8, REG_APR = 9, REG_PPR = 10, REG_EOI = 11, REG_LDR = 13, REG_DFR = 14, REG_SVR = 15,
       REG_ISR = 16, REG_TMR = 24, REG_IRR = 32, REG_ESR = 40, REG_LVT_CMCI = 47, REG_ICR = 48, REG_ICR_HIGH = 49, REG_LVT = 50,
       REG_INITIAL = 56, REG_CURRENT = 57, REG_DIVIDE = 62, REG_SELF_IPI = 63 };

static bool register_read(struct lapic *a, unsigned reg, uint64_t *value)
{
    bool x2 = lapic_is_x2(a);

    switch (reg) {
    case REG_ID: *value = x2 ? a->config.id : a->id << 24; break;
    case REG_VERSION: *value = (LVT_COUNT - 1) << 16 | 0x14; break;
    case REG_TPR: *value = a->tpr; break;
    case REG_APR: if (x2) return false; *value = 0; break;
    case REG_PPR: *value = lapic_ppr(a); break;
    case REG_LDR: *value = x2 ? x2_ldr(a) : a->ldr; break;
    case REG_DFR: if (x2) return false; *value = a->dfr; break;
    case REG_SVR: *value = a->svr; break;
    case REG_ISR ... REG_ISR + 7: *value = a->isr[reg - REG_ISR]; break;
    case REG_TMR ... REG_TMR + 7: *value = a->tmr[reg - REG_TMR]; break;
    case REG_IRR ... REG_IRR + 7: *value = a->irr[reg - REG_IRR]; break;
    case REG_ESR: *value = a->esr; break;
    case REG_ICR: *value = x2 ? a->icr : (uint32_t)a->icr; break;
    case REG_ICR_HIGH: if (x2) return false; *value = a->icr >> 32; break;
    case REG_LVT ... REG_LVT + LVT_COUNT - 1: *value = a->lvt[reg - REG_LVT]; break;
    case REG_INITIAL: *value = a->initial_count; break;
    case REG_CURRENT: *value = current_count(a); break;
    case REG_DIVIDE: *value = a->divide; break;
    default: return false;
    }
    return true;
}

static void lvt_write(struct lapic *a, unsigned n, uint32_t value)
{
    static const uint32_t writable[LVT_COUNT] = { 0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff };
    unsigned old_mode = timer_mode(a);

    value &= writable[n];
    if (!(a->svr & SVR_ENABLE)) value |= LVT_MASKED;
    a->lvt[n] = value;
    if (n == LVT_TIMER && timer_mode(a) != old_mode) {
        a->tsc_deadline = 0;
        if (old_mode == MODE_TSC_DEADLINE || timer_mode(a) == MODE_TSC_DEADLINE) a->initial_count = 0;
        timer_plan(a);
    }
    if (n == LVT_LINT0) lapic_lint_set(a, LVT_LINT0, a->intr);
}

static void svr_write(struct lapic *a, uint32_t value)
{
    a->svr = value & 0x1ff;
    if (!(value & SVR_ENABLE))
        for (unsigned n = 0; n < LVT_COUNT; n++) a->lvt[n] |= LVT_MASKED;
    update(a);
}

static bool icr_write(struct lapic *a, uint64_t value)
{
    a->icr = value & ~(uint64_t)(1 << 12);             /* delivery is never pending */
    send_icr(a);
    return true;
}

static bool register_write(struct lapic *a, unsigned reg, uint64_t value)
{
    bool x2 = lapic_is_x2(a);

    if (x2 && reg != REG_ICR && value >> 32) return false;
    switch (reg) {
    case REG_ID: if (x2) return false; a->id = value >> 24; break;
    case REG_TPR:
        if (x2 && value > 0xff) return false;
        __atomic_store_n(&a->tpr, (uint8_t)value, __ATOMIC_SEQ_CST);
        update(a);
        break;
    case REG_EOI: if (x2 && value) return false; eoi(a); break;
    case REG_LDR: if (x2) return false; a->ldr = value & 0xff000000; break;
    case REG_DFR: if (x2) return false; a->dfr = value | 0x0fffffff; break;
    case REG_SVR: svr_write(a, value); break;
    case REG_ESR:
        if (x2 && value) return false;
        a->esr = a->esr_pending;
        a->esr_pending = 0;
        break;
    case REG_ICR: return icr_write(a, x2 ? value : (a->icr >> 32 << 32) | (uint32_t)value);
    case REG_ICR_HIGH: if (x2) return false; a->icr = value << 32 | (uint32_t)a->icr; break;
    case REG_LVT ... REG_LVT + LVT_COUNT - 1: lvt_write(a, reg - REG_LVT, value); break;
    case REG_INITIAL:
        if (timer_mode(a) == MODE_TSC_DEADLINE) break;
        a->initial_count = value;
        a->count_start_ns = clock_virtual_ns();
        timer_plan(a);
        break;
    case REG_DIVIDE:
        if (x2 && value & ~0xbull) return false;
        a->divide = value & 11;
        timer_plan(a);
        break;
    case REG_SELF_IPI:
        if (!x2) return false;
        accept(a, value, false);
        break;
    default: return false;
    }
    return true;
}

bool lapic_mmio(struct device *d, gpa_t address, void *data, unsigned size, bool write)
{
    struct lapic *a = (struct lapic *)d;
    unsigned offset = address & 0xfff;
    uint64_t value = 0;
    bool good;

    if (!lapic_is_enabled(a) || lapic_is_x2(a) || (address & ~0xfffull) != (a->apic_base & ~0xfffull)) return false;
    if (write) {
        memcpy(&value, data, MIN(size, 4u));
        if (offset & 15) return true;                  /* between registers: undefined, nothing here */
        good = register_write(a, offset >> 4, value);
    } else {
        good = register_read(a, offset >> 4, &value);
        value = (offset & 15) < 4 ? value >> 8 * (offset & 3) : 0;
        memcpy(data, &value, MIN(size, 8u));
    }
    if (!good) error_raise(a, ESR_ILLEGAL_REGISTER);
    return true;
}

/* ---- MSRs ---- */

static bool base_write(struct lapic *a, uint64_t value)
{
    uint64_t old = a->apic_base;
    bool was_x2 = lapic_is_x2(a), enable = value & APIC_BASE_ENABLE, extended = value & APIC_BASE_EXTD;

    if (value & ~((1ull << 52) - 1) || value & 0x2ff || (extended && !enable)) return false;
    if (extended && !(old & APIC_BASE_ENABLE)) return false;           /* disabled to x2APIC */
    if (was_x2 && enable && !extended) return false;                   /* x2APIC to xAPIC */
    a->apic_base = (value & ~(uint64_t)APIC_BASE_BSP) | (old & APIC_BASE_BSP);
    if (!enable && old & APIC_BASE_ENABLE) lapic_init(&a->device);
    if (extended && !was_x2) a->icr = 0;
    update(a);
    return true;
}

bool lapic_msr_read(struct device *d, uint32_t reg, uint64_t *value)
{
    struct lapic *a = (struct lapic *)d;

    if (reg == 0x1b) *value = a->apic_base;
    else if (reg == 0x6e0) *value = a->tsc_deadline;
    else return reg >= 0x800 && reg < 0x840 && lapic_is_x2(a) && register_read(a, reg - 0x800, value);
    return true;
}

bool lapic_msr_write(struct device *d, uint32_t reg, uint64_t value)
{
    struct lapic *a = (struct lapic *)d;

    if (reg == 0x1b) return base_write(a, value);
    if (reg == 0x6e0) {
        if (timer_mode(a) != MODE_TSC_DEADLINE) return true;           /* ignored, SDM 11.5.4.1 */
        a->tsc_deadline = value;
        timer_plan(a);
        return true;
    }
    return reg >= 0x800 && reg < 0x840 && lapic_is_x2(a) && register_write(a, reg - 0x800, value);
}

uint8_t lapic_tpr_get(const struct device *d) { return __atomic_load_n(&((const struct lapic *)d)->tpr, __ATOMIC_SEQ_CST) >> 4; }

void lapic_tpr_set(struct device *d, uint8_t cr8)
{
    struct lapic *a = (struct lapic *)d;

    __atomic_store_n(&a->tpr, (uint8_t)(cr8 << 4), __ATOMIC_SEQ_CST);
    update(a);
}

/* ---- device ---- */

void lapic_init(struct device *d)
{
    struct lapic *a = (struct lapic *)d;

    a->ldr = 0;
    a->dfr = 0xffffffff;
    a->svr = 0xff;
    a->tpr = 0;
    memset(a->isr, 0, sizeof a->isr);
    memset(a->irr, 0, sizeof a->irr);
    memset(a->tmr, 0, sizeof a->tmr);
    a->esr = a->esr_pending = 0;
    a->icr = 0;
    for (unsigned n = 0; n < LVT_COUNT; n++) a->lvt[n] = LVT_MASKED;
    if (a->config.is_bsp || a->config.virtual_wire) a->lvt[LVT_LINT0] = APIC_EXTINT << 8;
    a->initial_count = a->divide = 0;
    a->tsc_deadline = 0;
    a->extint = 0;
    timer_disarm(a->timer);
    update(a);
}

static void lapic_reset(struct device *d)
{
    struct lapic *a = (struct lapic *)d;

    a->id = a->config.id;
    a->apic_base = 0xfee00000 | APIC_BASE_ENABLE | (a->config.is_bsp ? APIC_BASE_BSP : 0);
    lapic_init(d);
}

static void lapic_info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    struct lapic *a = (struct lapic *)d;
    char line[160];

    snprintf(line, sizeof line, "lapic%u: base=%llx id=%x svr=%x tpr=%02x ppr=%02x irr=%d isr=%d esr=%x lint0=%05x lint1=%05x timer=%05x",
             a->config.vcpu, (unsigned long long)a->apic_base, a->id, a->svr, a->tpr, lapic_ppr(a), set_highest(a->irr),
             set_highest(a->isr), a->esr, a->lvt[LVT_LINT0], a->lvt[LVT_LINT1], a->lvt[LVT_TIMER]);
    print(opaque, line);
}

static void lapic_destroy(struct device *d)
{
    struct lapic *a = (struct lapic *)d;

    if (a->config.bus->lapic[a->config.vcpu] == a) a->config.bus->lapic[a->config.vcpu] = NULL;
    timer_free(a->timer);
    free(a);
}

static const struct state_field lapic_state[] = {
    STATE_FIELD(struct lapic, apic_base), STATE_FIELD(struct lapic, id), STATE_FIELD(struct lapic, ldr), STATE_FIELD(struct lapic, dfr),
    STATE_FIELD(struct lapic, svr), STATE_ARRAY(struct lapic, isr), STATE_ARRAY(struct lapic, irr), STATE_ARRAY(struct lapic, tmr),
    STATE_FIELD(struct lapic, esr), STATE_FIELD(struct lapic, icr), STATE_ARRAY(struct lapic, lvt), STATE_FIELD(struct lapic, initial_count),
    STATE_FIELD(struct lapic, divide), STATE_FIELD(struct lapic, count_start_ns), STATE_FIELD(struct lapic, tsc_deadline),
    STATE_FIELD(struct lapic, tpr), STATE_FIELD(struct lapic, intr), STATE_FIELD(struct lapic, extint), STATE_END,
};

static void lapic_after_load(struct device *d)
{
    timer_plan((struct lapic *)d);
    update((struct lapic *)d);
}

static const struct device_ops lapic_ops = { "lapic", "local APIC", lapic_reset, lapic_destroy, lapic_state, lapic_after_load, lapic_info };

struct device *lapic_new(const struct lapic_config *config, struct error *err)
{
    struct lapic *a = calloc(1, sizeof *a);

    if (!a || config->vcpu >= config->bus->config.max_cpus) {
        free(a);
        error_set(err, "lapic: out of memory");
        return NULL;
    }
    a->device.ops = &lapic_ops;
    a->config = *config;
    a->timer = timer_new(TIMER_VIRTUAL, timer_fired, a);
    config->bus->lapic[config->vcpu] = a;
    lapic_reset(&a->device);
    return &a->device;
}
