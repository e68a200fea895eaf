/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The task state segment: stack pointers of the inner levels, and the hardware task switch.
 *
 * All of the old and new TSS is probed before the first change, so a page fault leaves the old task. Once TR is
 * loaded, faults belong to the new task: its selectors are loaded, and what fails raises #TS, #NP or #SS there.
 * A 16-bit TSS sets the upper halves of the general registers to ones, as processors do.
 * Sources: Intel SDM 3A chapter 7; AMD APM volume 2 chapter 12.
 */
#include "base/log.h"
#include "engine/bt/helper/helper.h"

enum { TSS32_LIMIT = 0x67, TSS16_LIMIT = 0x2b };
enum {
    TSS32_CR3 = 0x1c,
    TSS32_EIP = 0x20,
    TSS32_EFLAGS = 0x24,
    TSS32_GPR = 0x28,
    TSS32_SEG = 0x48,
    TSS32_LDT = 0x60,
    TSS32_T = 0x64
};
enum { TSS16_IP = 0x0e, TSS16_FLAGS = 0x10, TSS16_GPR = 0x12, TSS16_SEG = 0x22, TSS16_LDT = 0x2a };
#define ACCESS_LOAD (BT_READ | BT_SYSTEM)
#define ACCESS_STORE (BT_WRITE | BT_SYSTEM)

/* ---- Stack pointers ---- */

static uint64_t tss_field(struct bt_vcpu *v, unsigned offset, unsigned size)
{
    const struct segment *tr = &bt_state(v)->tr;
    uint64_t linear = tr->base + offset;
    return bt_load(v, x86_is_long(bt_state(v)) ? linear : (uint32_t)linear, size, ACCESS_LOAD);
}

static void need_limit(struct bt_vcpu *v, uint32_t last)
{
    const struct segment *tr = &bt_state(v)->tr;
    if (last > tr->limit || (tr->attr & SEG_ATTR_UNUSABLE)) bt_raise_error(v, VECTOR_TS, tr->selector & ~3u);
}

void tss_stack(struct bt_vcpu *v, unsigned cpl, uint16_t *ss, uint64_t *sp)
{
    if (bt_state(v)->tr.attr & 8) {
        need_limit(v, 4 + 8 * cpl + 5);
        *sp = tss_field(v, 4 + 8 * cpl, 4);
        *ss = tss_field(v, 8 + 8 * cpl, 2);
    } else {
        need_limit(v, 2 + 4 * cpl + 3);
        *sp = tss_field(v, 2 + 4 * cpl, 2);
        *ss = tss_field(v, 4 + 4 * cpl, 2);
    }
}

uint64_t tss_stack64(struct bt_vcpu *v, unsigned index)
{
    need_limit(v, 4 + 8 * index + 7);
    return tss_field(v, 4 + 8 * index, 8);
}

/* ---- The old task ---- */

static const uint8_t segment_order[] = { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

static void save_old(struct bt_vcpu *v, uint64_t rip, uint64_t flags)
{
    struct x86_state *s = bt_state(v);
    uint32_t base = s->tr.base;
    bool wide = s->tr.attr & 8;
    unsigned n = wide ? 4 : 2, segments = wide ? 6 : 4;
    bt_store(v, base + (wide ? TSS32_EIP : TSS16_IP), rip, n, ACCESS_STORE);
    bt_store(v, base + (wide ? TSS32_EFLAGS : TSS16_FLAGS), flags, n, ACCESS_STORE);
    for (unsigned i = 0; i < 8; i++)
        bt_store(v, base + (wide ? TSS32_GPR : TSS16_GPR) + n * i, s->gpr[i], n, ACCESS_STORE);
    for (unsigned i = 0; i < segments; i++)
        bt_store(v, base + (wide ? TSS32_SEG : TSS16_SEG) + n * i, s->seg[segment_order[i]].selector, 2,
                 ACCESS_STORE);
}

/* ---- The new task ---- */

struct new_task { uint64_t cr3, rip, flags, gpr[8]; uint16_t seg[6], ldt; bool trap, wide; };

static struct new_task read_new(struct bt_vcpu *v, uint32_t base, bool wide)
{
    struct new_task t = { .wide = wide };
    unsigned n = wide ? 4 : 2, segments = wide ? 6 : 4;
    if (wide) t.cr3 = bt_load(v, base + TSS32_CR3, 4, ACCESS_LOAD);
    t.rip = bt_load(v, base + (wide ? TSS32_EIP : TSS16_IP), n, ACCESS_LOAD);
    t.flags = bt_load(v, base + (wide ? TSS32_EFLAGS : TSS16_FLAGS), n, ACCESS_LOAD);
    for (unsigned i = 0; i < 8; i++)
        t.gpr[i] = bt_load(v, base + (wide ? TSS32_GPR : TSS16_GPR) + n * i, n, ACCESS_LOAD) |
                   (wide ? 0 : 0xffff0000);
    for (unsigned i = 0; i < segments; i++)
        t.seg[i] = bt_load(v, base + (wide ? TSS32_SEG : TSS16_SEG) + n * i, 2, ACCESS_LOAD);
    t.ldt = bt_load(v, base + (wide ? TSS32_LDT : TSS16_LDT), 2, ACCESS_LOAD);
    if (wide) t.trap = bt_load(v, base + TSS32_T, 1, ACCESS_LOAD) & 1;
    return t;
}

static _Noreturn void ts(struct bt_vcpu *v, uint16_t selector) { bt_raise_error(v, VECTOR_TS, selector & ~3u); }

static void load_ldt(struct bt_vcpu *v, uint16_t selector)
{
    struct x86_state *s = bt_state(v);
    struct descriptor d;
    s->ldtr = (struct segment){ .selector = selector, .attr = SEG_ATTR_UNUSABLE };
    if (is_null_selector(selector)) return;
    if (selector & 4) ts(v, selector);
    descriptor_need(v, selector, &d, VECTOR_TS);
    if (!is_system(&d) || type_of(&d) != TYPE_LDT || !(d.attr & SEG_ATTR_P)) ts(v, selector);
    s->ldtr = descriptor_segment(&d, selector);
}

static void load_code(struct bt_vcpu *v, uint16_t selector)
{
    struct descriptor d;
    unsigned rpl = selector & 3;
    if (is_null_selector(selector)) ts(v, selector);
    descriptor_need(v, selector, &d, VECTOR_TS);
    if (!is_code(&d)) ts(v, selector);
    if (is_conforming(&d) ? dpl_of(d.attr) > rpl : dpl_of(d.attr) != rpl) ts(v, selector);
    if (!(d.attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, selector & ~3u);
    descriptor_set_accessed(v, &d);
    bt_state(v)->seg[SEG_CS] = descriptor_segment(&d, selector);
}

static void load_stack(struct bt_vcpu *v, uint16_t selector, unsigned cpl)
{
    struct descriptor d;
    if (is_null_selector(selector)) ts(v, selector);
    stack_segment_check(v, selector, cpl, VECTOR_TS, &d);
    descriptor_set_accessed(v, &d);
    bt_state(v)->seg[SEG_SS] = descriptor_segment(&d, selector);
}

static void load_data(struct bt_vcpu *v, unsigned seg, uint16_t selector, unsigned cpl)
{
    struct descriptor d;
    if (is_null_selector(selector)) return;
    descriptor_need(v, selector, &d, VECTOR_TS);
    if (is_system(&d) || (is_code(&d) && !(d.attr & TYPE_READABLE))) ts(v, selector);
    if (!(is_code(&d) && is_conforming(&d)) && ((selector & 3u) > dpl_of(d.attr) || cpl > dpl_of(d.attr)))
        ts(v, selector);
    if (!(d.attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, selector & ~3u);
    descriptor_set_accessed(v, &d);
    bt_state(v)->seg[seg] = descriptor_segment(&d, selector);
}

/* From here on the new task runs: registers first, then what may fault. */
static void enter_new(struct bt_vcpu *v, const struct new_task *t)
{
    struct x86_state *s = bt_state(v);
    bool vm = t->flags & RFLAGS_VM;
    unsigned cpl = vm ? 3 : t->seg[1] & 3;
    s->cr0 |= CR0_TS;
    s->dr[7] &= ~0x155ull;                             /* L0-L3, LE */
    if (t->wide && (s->cr0 & CR0_PG)) cr3_set(v, t->cr3, false);
    s->rip = t->rip;
    s->rflags = (t->flags & 0x3f7fd5) | RFLAGS_FIXED;
    for (unsigned i = 0; i < 8; i++) s->gpr[i] = t->gpr[i];
    for (unsigned i = 0; i < 6; i++) segment_set_null(s, segment_order[i], t->seg[i], cpl);
    if (vm) for (unsigned i = 0; i < 6; i++) segment_set_paragraph(s, segment_order[i], t->seg[i]);
    load_ldt(v, t->ldt);
    if (vm) return;
    load_code(v, t->seg[1]);
    load_stack(v, t->seg[2], cpl);
    load_data(v, SEG_DS, t->seg[3], cpl);
    load_data(v, SEG_ES, t->seg[0], cpl);
    load_data(v, SEG_FS, t->seg[4], cpl);
    load_data(v, SEG_GS, t->seg[5], cpl);
}

static void push_error(struct bt_vcpu *v, bool wide, uint32_t error)
{
    struct stack k = stack_current(v);
    stack_push(&k, error, wide ? 4 : 2);
    bt_state(v)->gpr[REG_RSP] = k.sp;
}

static void old_busy_clear(struct bt_vcpu *v)
{
    struct descriptor old;
    if (descriptor_read(v, bt_state(v)->tr.selector, &old)) descriptor_set_busy(v, &old, false);
}

void task_switch(struct bt_vcpu *v, unsigned insn_len, struct descriptor *d, enum task_switch why,
                 bool has_error, uint32_t error)
{
    struct x86_state *s = bt_state(v);
    bool wide = type_of(d) & 8, old_wide = s->tr.attr & 8;
    uint32_t base = descriptor_base(d), limit = descriptor_limit(d), old_last = old_wide ? 0x5f : 0x29;
    if (limit < (wide ? (uint32_t)TSS32_LIMIT : (uint32_t)TSS16_LIMIT)) ts(v, d->selector);
    need_limit(v, old_last);
    bt_probe(v, (uint32_t)s->tr.base, old_last + 1, ACCESS_STORE);
    bt_probe(v, base, (wide ? TSS32_LIMIT : TSS16_LIMIT) + 1,
             why == TASK_CALL || why == TASK_INT ? ACCESS_STORE : ACCESS_LOAD);
    if (why == TASK_JMP || why == TASK_IRET) old_busy_clear(v);
    uint64_t rip = s->rip + insn_len;
    if (trace_is_on(TRACE_PCALL)) trace_far(v, "task switch", d->selector, 0);
    save_old(v, s->seg[SEG_CS].attr & SEG_ATTR_DB ? (uint32_t)rip : (uint16_t)rip,
             why == TASK_IRET ? s->rflags & ~(uint64_t)RFLAGS_NT : s->rflags);
    struct new_task t = read_new(v, base, wide);
    if (why == TASK_CALL || why == TASK_INT) {
        bt_store(v, base, s->tr.selector, 2, ACCESS_STORE);
        t.flags |= RFLAGS_NT;
    }
    if (why != TASK_IRET) descriptor_set_busy(v, d, true);
    s->tr = descriptor_segment(d, d->selector);
    enter_new(v, &t);
    if (has_error) push_error(v, wide, error);
    if (!(s->rflags & RFLAGS_VM) && s->rip > s->seg[SEG_CS].limit) bt_raise_error(v, VECTOR_GP, 0);
    if (t.trap) {
        s->dr[6] |= 1u << 15;
        bt_raise(v, VECTOR_DB);
    }
}

void task_gate(struct bt_vcpu *v, unsigned insn_len, const struct descriptor *gate, enum task_switch why,
               bool has_error, uint32_t error)
{
    struct descriptor d;
    uint16_t selector = gate_selector(gate);
    if (selector & 4) bt_raise_error(v, VECTOR_GP, selector & ~3u);
    if (is_null_selector(selector)) bt_raise_error(v, VECTOR_GP, 0);
    descriptor_need(v, selector, &d, VECTOR_GP);
    if (!is_system(&d) || (type_of(&d) != TYPE_TSS16 && type_of(&d) != TYPE_TSS32))
        bt_raise_error(v, VECTOR_GP, selector & ~3u);
    if (!(d.attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, selector & ~3u);
    task_switch(v, insn_len, &d, why, has_error, error);
}
