/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors, segment registers and stacks: what far transfers, events and task switches are made of.
 *
 * SS.DPL is the CPL of protected mode (x86_cpl), so every load of SS leaves the new CPL there, a null one too. In real
 * mode a load changes the base alone: limit and size stay ("unreal mode").
 * Sources: Intel SDM 3A chapters 3, 5; AMD APM volume 2 chapter 4.
 */
#include "engine/bt/helper/helper.h"

/* ---- Descriptors ---- */

static void take_low(struct descriptor *d, uint16_t selector, gva_t linear, uint64_t low)
{
    *d = (struct descriptor){ .low = low, .linear = linear, .selector = selector,
                              .attr = (uint32_t)((low >> 40 & 0xff) | (low >> 52 & 0xf) << 8) };
}

/* false: bytes first .. first + 7 of the descriptor lie outside the selector's table. */
static bool find(struct bt_vcpu *v, uint16_t selector, unsigned first, gva_t *linear)
{
    const struct x86_state *s = bt_state(v);
    uint64_t base = s->gdtr.base;
    uint32_t limit = s->gdtr.limit, offset = (selector & ~7u) + first;
    if (selector & 4) {
        if (s->ldtr.attr & SEG_ATTR_UNUSABLE) return false;
        base = s->ldtr.base;
        limit = s->ldtr.limit;
    }
    if (offset + 7 > limit) return false;
    *linear = base + offset;
    if (!x86_is_long(s)) *linear = (uint32_t)*linear;
    return true;
}

bool descriptor_read(struct bt_vcpu *v, uint16_t selector, struct descriptor *d)
{
    gva_t linear;
    if (!find(v, selector, 0, &linear)) return false;
    take_low(d, selector, linear, bt_load(v, linear, 8, BT_READ | BT_SYSTEM));
    return true;
}

void descriptor_need(struct bt_vcpu *v, uint16_t selector, struct descriptor *d, unsigned vector)
{
    if (!descriptor_read(v, selector, d)) bt_raise_error(v, vector, selector & ~3u);
}

bool descriptor_read_high(struct bt_vcpu *v, struct descriptor *d)
{
    gva_t linear;
    if (!find(v, d->selector, 8, &linear)) return false;
    d->high = bt_load(v, linear, 8, BT_READ | BT_SYSTEM);
    return !(d->high >> 40 & 0x1f);
}

uint64_t descriptor_base(const struct descriptor *d)
{
    return (d->low >> 16 & 0xffffff) | (d->low >> 32 & 0xff000000) | d->high << 32;
}

uint32_t descriptor_limit(const struct descriptor *d)
{
    uint32_t limit = (d->low & 0xffff) | (d->low >> 32 & 0xf0000);
    return d->attr & SEG_ATTR_G ? limit << 12 | 0xfff : limit;
}

struct segment descriptor_segment(const struct descriptor *d, uint16_t selector)
{
    return (struct segment){ .base = descriptor_base(d), .limit = descriptor_limit(d), .attr = d->attr,
                             .selector = selector };
}

/* Byte 5 of a descriptor, changed as one locked access where it lies in memory. */
static void type_change(struct bt_vcpu *v, struct descriptor *d, uint8_t set, uint8_t clear)
{
    uint8_t *p = bt_host_pointer(v, d->linear + 5, BT_WRITE | BT_SYSTEM);
    if (p && set) __atomic_or_fetch(p, set, __ATOMIC_SEQ_CST);
    if (p && clear) __atomic_and_fetch(p, (uint8_t)~clear, __ATOMIC_SEQ_CST);
    uint8_t byte = ((d->attr & 0xff) | set) & ~clear;
    if (!p) bt_store(v, d->linear + 5, byte, 1, BT_WRITE | BT_SYSTEM);
    d->attr = (d->attr & ~0xffu) | byte;
}

void descriptor_set_accessed(struct bt_vcpu *v, struct descriptor *d)
{
    if (!(d->attr & TYPE_ACCESSED)) type_change(v, d, TYPE_ACCESSED, 0);
}

void descriptor_set_busy(struct bt_vcpu *v, struct descriptor *d, bool busy)
{
    type_change(v, d, busy ? 2 : 0, busy ? 0 : 2);
}

/* ---- Segment registers ---- */

void segment_set_paragraph(struct x86_state *s, unsigned seg, uint16_t selector)
{
    struct segment *g = &s->seg[seg];
    g->selector = selector;
    g->base = (uint32_t)selector << 4;
    if (is_vm86(s)) {
        g->limit = 0xffff;
        g->attr = SEG_ATTR_P | SEG_ATTR_DPL | SEG_ATTR_S | TYPE_WRITABLE | TYPE_ACCESSED;
    } else {
        g->attr = (g->attr & (SEG_ATTR_DB | SEG_ATTR_G)) | SEG_ATTR_P | SEG_ATTR_S | TYPE_WRITABLE |
                  TYPE_ACCESSED;
    }
}

void segment_set_null(struct x86_state *s, unsigned seg, uint16_t selector, unsigned cpl)
{
    s->seg[seg] = (struct segment){ .selector = selector, .attr = SEG_ATTR_UNUSABLE };
    if (seg == SEG_SS) s->seg[seg].attr |= cpl << SEG_ATTR_DPL_SHIFT;
}

void stack_segment_check(struct bt_vcpu *v, uint16_t selector, unsigned cpl, unsigned vector,
                         struct descriptor *d)
{
    uint32_t error = selector & ~3u;
    descriptor_need(v, selector, d, vector);
    if ((selector & 3) != cpl || dpl_of(d->attr) != cpl) bt_raise_error(v, vector, error);
    if (is_system(d) || is_code(d) || !(d->attr & TYPE_WRITABLE)) bt_raise_error(v, vector, error);
    if (!(d->attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_SS, error);
}

static void load_ss(struct bt_vcpu *v, uint16_t selector)
{
    struct x86_state *s = bt_state(v);
    unsigned cpl = x86_cpl(s);
    struct descriptor d;
    if (is_null_selector(selector)) {
        if (!x86_is_code64(s) || cpl == 3 || (selector & 3) != cpl) bt_raise_error(v, VECTOR_GP, 0);
        segment_set_null(s, SEG_SS, selector, cpl);
        return;
    }
    stack_segment_check(v, selector, cpl, VECTOR_GP, &d);
    descriptor_set_accessed(v, &d);
    s->seg[SEG_SS] = descriptor_segment(&d, selector);
}

static void load_data(struct bt_vcpu *v, unsigned seg, uint16_t selector)
{
    struct x86_state *s = bt_state(v);
    uint32_t error = selector & ~3u;
    struct descriptor d;
    if (is_null_selector(selector)) {
        segment_set_null(s, seg, selector, 0);
        return;
    }
    descriptor_need(v, selector, &d, VECTOR_GP);
    if (is_system(&d) || (is_code(&d) && !(d.attr & TYPE_READABLE))) bt_raise_error(v, VECTOR_GP, error);
    if (!(is_code(&d) && is_conforming(&d))) {
        unsigned dpl = dpl_of(d.attr);
        if ((selector & 3u) > dpl || x86_cpl(s) > dpl) bt_raise_error(v, VECTOR_GP, error);
    }
    if (!(d.attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, error);
    descriptor_set_accessed(v, &d);
    s->seg[seg] = descriptor_segment(&d, selector);
}

void segment_load(struct bt_vcpu *v, unsigned seg, uint16_t selector)
{
    struct x86_state *s = bt_state(v);
    if (has_paragraphs(s)) segment_set_paragraph(s, seg, selector);
    else if (seg == SEG_SS) load_ss(v, selector);
    else load_data(v, seg, selector);
}

void segments_null_for(struct x86_state *s, unsigned cpl)
{
    static const uint8_t data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    for (unsigned i = 0; i < sizeof(data); i++) {
        struct segment *g = &s->seg[data[i]];
        bool conforming = (g->attr & TYPE_CODE) && (g->attr & TYPE_CONFORMING);
        if (!(g->attr & SEG_ATTR_UNUSABLE) && !conforming && dpl_of(g->attr) < cpl)
            segment_set_null(s, data[i], 0, 0);
    }
}

/* ---- Stacks ---- */

struct stack stack_make(struct bt_vcpu *v, const struct segment *ss, uint64_t sp, bool wide)
{
    struct stack k = { .v = v, .ss = *ss, .sp = sp };
    k.mask = wide ? ~0ull : ss->attr & SEG_ATTR_DB ? 0xffffffff : 0xffff;
    if (k.mask == 0xffffffff) k.sp = (uint32_t)sp;
    return k;
}

struct stack stack_current(struct bt_vcpu *v)
{
    struct x86_state *s = bt_state(v);
    return stack_make(v, &s->seg[SEG_SS], s->gpr[REG_RSP], x86_is_code64(s));
}

static uint64_t moved(const struct stack *k, uint64_t bytes)
{
    return (k->sp & ~k->mask) | ((k->sp + bytes) & k->mask);
}

static bool is_within(const struct stack *k, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;
    if (k->mask == ~0ull) return is_canonical(offset) && is_canonical(last);
    if (x86_is_protected(bt_state(k->v)) && (k->ss.attr & (TYPE_CODE | TYPE_DOWN)) == TYPE_DOWN)
        return offset > k->ss.limit && last <= (k->ss.attr & SEG_ATTR_DB ? 0xffffffffull : 0xffffull);
    return last <= k->ss.limit;
}

static gva_t locate(const struct stack *k, uint64_t sp, unsigned size)
{
    uint64_t offset = sp & k->mask;
    if ((k->mask != ~0ull && (k->ss.attr & SEG_ATTR_UNUSABLE)) || !is_within(k, offset, size))
        bt_raise_error(k->v, VECTOR_SS, k->error);
    return k->mask == ~0ull ? offset : (uint32_t)(k->ss.base + offset);
}

void stack_push(struct stack *k, uint64_t value, unsigned size)
{
    uint64_t sp = moved(k, -(uint64_t)size);
    bt_store(k->v, locate(k, sp, size), value, size, BT_WRITE | k->access);
    k->sp = sp;
}

uint64_t stack_peek(const struct stack *k, uint64_t offset, unsigned size)
{
    return bt_load(k->v, locate(k, moved(k, offset), size), size, BT_READ | k->access);
}

uint64_t stack_pop(struct stack *k, unsigned size)
{
    uint64_t value = stack_peek(k, 0, size);
    k->sp = moved(k, size);
    return value;
}

void stack_skip(struct stack *k, uint64_t bytes) { k->sp = moved(k, bytes); }
