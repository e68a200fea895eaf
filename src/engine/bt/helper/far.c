/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Far JMP, CALL and RET: paragraphs, code segments, call gates with their stack switch; TSS and task gates go to task.c.
 *
 * m16:64 operands (REX.W) are taken in 64-bit mode, as Intel's processors do; AMD's read m16:32 there.
 * Every check comes before the first change of a register; what is pushed before a fault lies below the old stack
 * pointer. Sources: Intel SDM volume 2 (JMP, CALL, RET), 3A 5.8; AMD APM volume 2 chapter 4.
 */
#include "base/log.h"
#include "engine/bt/helper/helper.h"

static uint32_t error_of(uint16_t selector) { return selector & ~3u; }
static _Noreturn void gp(struct bt_vcpu *v, uint32_t error) { bt_raise_error(v, VECTOR_GP, error); }

/* ---- Code targets ---- */

static bool is_target64(struct bt_vcpu *v, const struct code_target *t)
{
    return x86_is_long(bt_state(v)) && (t->d.attr & SEG_ATTR_L);
}

void code_target_check(struct bt_vcpu *v, struct code_target *t)
{
    bool wide = is_target64(v, t);
    if (wide && (t->d.attr & SEG_ATTR_DB)) gp(v, error_of(t->selector));
    if (!(t->d.attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, error_of(t->selector));
    if (wide ? !is_canonical(t->rip) : t->rip > descriptor_limit(&t->d)) gp(v, 0);
}

void code_target_take(struct bt_vcpu *v, struct code_target *t, unsigned cpl)
{
    struct x86_state *s = bt_state(v);
    if (trace_is_on(TRACE_PCALL)) trace_far(v, "far transfer", (uint16_t)((t->selector & ~3u) | cpl), t->rip);
    s->seg[SEG_CS] = descriptor_segment(&t->d, (t->selector & ~3u) | cpl);
    s->rip = t->rip;
}

/* Reads what a JMP or CALL without gate may enter. */
static void direct_check(struct bt_vcpu *v, struct code_target *t)
{
    unsigned cpl = x86_cpl(bt_state(v)), dpl = dpl_of(t->d.attr);
    bool ok = is_conforming(&t->d) ? dpl <= cpl : dpl == cpl && (t->selector & 3u) <= cpl;
    if (!ok) gp(v, error_of(t->selector));
    code_target_check(v, t);
}

/* ---- Frames ---- */

static void push_return(struct bt_vcpu *v, const struct x86_insn *insn, struct stack *k, unsigned size)
{
    stack_push(k, bt_state(v)->seg[SEG_CS].selector, size);
    stack_push(k, bt_next_rip(v, insn), size);
}

/* ---- Call gates ---- */

/* The code segment that a call gate leads to; checked but for privilege. */
static void gate_target(struct bt_vcpu *v, const struct descriptor *gate, struct code_target *t)
{
    const struct x86_state *s = bt_state(v);
    t->selector = gate_selector(gate);
    t->rip = gate_offset(gate);
    if (type_of(gate) == TYPE_CALL16) t->rip = (uint16_t)t->rip;
    if (is_null_selector(t->selector)) gp(v, 0);
    descriptor_need(v, t->selector, &t->d, VECTOR_GP);
    if (!is_code(&t->d) || dpl_of(t->d.attr) > x86_cpl(s)) gp(v, error_of(t->selector));
    if (x86_is_long(s) && (t->d.attr & (SEG_ATTR_L | SEG_ATTR_DB)) != SEG_ATTR_L) gp(v, error_of(t->selector));
}

/* Copies the gate's parameters from the old stack, oldest first. */
static void copy_parameters(const struct stack *old, struct stack *new, unsigned count, unsigned size)
{
    for (unsigned n = count; n-- > 0;) stack_push(new, stack_peek(old, n * size, size), size);
}

static void call_gate_inner(struct bt_vcpu *v, const struct x86_insn *insn, const struct descriptor *gate,
                            struct code_target *t)
{
    struct x86_state *s = bt_state(v);
    unsigned cpl = dpl_of(t->d.attr), size = x86_is_long(s) ? 8 : type_of(gate) == TYPE_CALL32 ? 4 : 2;
    struct stack old = stack_current(v), new;
    struct segment ss = { .selector = cpl, .attr = SEG_ATTR_UNUSABLE | cpl << SEG_ATTR_DPL_SHIFT };
    if (size == 8) {
        new = stack_make(v, &ss, tss_stack64(v, cpl), true);
    } else {
        struct descriptor d;
        uint16_t selector;
        uint64_t sp;
        tss_stack(v, cpl, &selector, &sp);
        if (is_null_selector(selector)) bt_raise_error(v, VECTOR_TS, error_of(selector));
        stack_segment_check(v, selector, cpl, VECTOR_TS, &d);
        descriptor_set_accessed(v, &d);
        ss = descriptor_segment(&d, selector);
        new = stack_make(v, &ss, sp, false);
        new.error = error_of(selector);
    }
    new.access = BT_SYSTEM;
    code_target_check(v, t);
    stack_push(&new, s->seg[SEG_SS].selector, size);
    stack_push(&new, s->gpr[REG_RSP], size);
    if (size != 8) copy_parameters(&old, &new, gate->low >> 32 & 31, size);
    push_return(v, insn, &new, size);
    descriptor_set_accessed(v, &t->d);
    s->seg[SEG_SS] = ss;
    s->gpr[REG_RSP] = new.sp;
    code_target_take(v, t, cpl);
}

static void through_call_gate(struct bt_vcpu *v, const struct x86_insn *insn, struct descriptor *gate,
                              bool call)
{
    struct x86_state *s = bt_state(v);
    struct code_target t;
    if (x86_is_long(s) && !descriptor_read_high(v, gate)) gp(v, error_of(gate->selector));
    if (!(gate->attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, error_of(gate->selector));
    gate_target(v, gate, &t);
    unsigned cpl = x86_cpl(s);
    if (!is_conforming(&t.d) && dpl_of(t.d.attr) < cpl) {
        if (!call) gp(v, error_of(t.selector));
        if (!(t.d.attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, error_of(t.selector));
        call_gate_inner(v, insn, gate, &t);
        return;
    }
    code_target_check(v, &t);
    if (call) {
        struct stack k = stack_current(v);
        if (x86_is_long(s)) k = stack_make(v, &s->seg[SEG_SS], s->gpr[REG_RSP], true);
        push_return(v, insn, &k, x86_is_long(s) ? 8 : type_of(gate) == TYPE_CALL32 ? 4 : 2);
        s->gpr[REG_RSP] = k.sp;
    }
    descriptor_set_accessed(v, &t.d);
    code_target_take(v, &t, cpl);
}

static void through_system(struct bt_vcpu *v, const struct x86_insn *insn, struct descriptor *d, bool call)
{
    struct x86_state *s = bt_state(v);
    uint32_t error = error_of(d->selector);
    unsigned type = type_of(d);
    bool known = x86_is_long(s) ? type == TYPE_CALL32
                                : type == TYPE_CALL16 || type == TYPE_CALL32 || type == TYPE_TASK ||
                                      type == TYPE_TSS16 || type == TYPE_TSS32;
    if (!known || dpl_of(d->attr) < x86_cpl(s) || dpl_of(d->attr) < (d->selector & 3u)) gp(v, error);
    if (type == TYPE_CALL16 || type == TYPE_CALL32) {
        through_call_gate(v, insn, d, call);
        return;
    }
    if (!(d->attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, error);
    if (type == TYPE_TASK) task_gate(v, insn->len, d, call ? TASK_CALL : TASK_JMP, false, 0);
    else if (d->selector & 4) gp(v, error);
    else task_switch(v, insn->len, d, call ? TASK_CALL : TASK_JMP, false, 0);
}

/* ---- JMP and CALL ---- */

static void far_operand(struct bt_vcpu *v, const struct x86_insn *insn, uint64_t *offset, uint16_t *selector)
{
    unsigned n = insn->opsize;
    if (insn->operand[0].kind == OPND_FAR) {
        *offset = insn->imm & mask_of_size(n);
        *selector = insn->imm2;
        return;
    }
    if (!insn->has_mem) bt_raise(v, VECTOR_UD);
    far_pointer_load(v, bt_operand_linear(v, insn, n + 2, BT_READ), n, offset, selector);
}

static void transfer(struct bt_vcpu *v, const struct x86_insn *insn, bool call)
{
    struct x86_state *s = bt_state(v);
    struct code_target t;
    far_operand(v, insn, &t.rip, &t.selector);
    struct stack k = stack_current(v);
    if (has_paragraphs(s)) {
        if (t.rip > s->seg[SEG_CS].limit) gp(v, 0);
        if (call) push_return(v, insn, &k, insn->opsize);
        s->gpr[REG_RSP] = k.sp;
        segment_set_paragraph(s, SEG_CS, t.selector);
        s->rip = t.rip;
        return;
    }
    if (is_null_selector(t.selector)) gp(v, 0);
    descriptor_need(v, t.selector, &t.d, VECTOR_GP);
    if (is_system(&t.d)) {
        through_system(v, insn, &t.d, call);
        return;
    }
    if (!is_code(&t.d)) gp(v, error_of(t.selector));
    direct_check(v, &t);
    if (call) push_return(v, insn, &k, insn->opsize);
    descriptor_set_accessed(v, &t.d);
    s->gpr[REG_RSP] = k.sp;
    code_target_take(v, &t, x86_cpl(s));
}

void helper_jmp_far(struct bt_vcpu *v, const struct x86_insn *insn) { transfer(v, insn, false); }
void helper_call_far(struct bt_vcpu *v, const struct x86_insn *insn) { transfer(v, insn, true); }

/* ---- RET ---- */

void return_target_check(struct bt_vcpu *v, struct code_target *t)
{
    uint32_t error = error_of(t->selector);
    unsigned rpl = t->selector & 3;
    if (is_null_selector(t->selector)) gp(v, 0);
    descriptor_need(v, t->selector, &t->d, VECTOR_GP);
    if (!is_code(&t->d) || rpl < x86_cpl(bt_state(v))) gp(v, error);
    if (is_conforming(&t->d) ? dpl_of(t->d.attr) > rpl : dpl_of(t->d.attr) != rpl) gp(v, error);
    code_target_check(v, t);
}

void return_with_stack(struct bt_vcpu *v, struct code_target *t, uint16_t ss, uint64_t sp, uint64_t extra)
{
    struct x86_state *s = bt_state(v);
    unsigned rpl = t->selector & 3;
    bool wide = is_target64(v, t), outer = rpl != x86_cpl(s);
    struct segment g = { .selector = ss, .attr = SEG_ATTR_UNUSABLE | rpl << SEG_ATTR_DPL_SHIFT };
    if (is_null_selector(ss)) {
        if (!wide || rpl == 3 || (ss & 3u) != rpl) gp(v, 0);
    } else {
        struct descriptor d;
        stack_segment_check(v, ss, rpl, VECTOR_GP, &d);
        descriptor_set_accessed(v, &d);
        g = descriptor_segment(&d, ss);
    }
    descriptor_set_accessed(v, &t->d);
    uint64_t mask = wide ? ~0ull : g.attr & SEG_ATTR_DB ? 0xffffffff : 0xffff;
    uint64_t kept = mask == 0xffff ? s->gpr[REG_RSP] & 0xffff0000 : 0;
    s->seg[SEG_SS] = g;
    s->gpr[REG_RSP] = kept | ((sp + extra) & mask);
    code_target_take(v, t, rpl);
    if (outer) segments_null_for(s, rpl);
}

void helper_ret_far(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    unsigned n = insn->opsize;
    uint16_t extra = insn->operand[0].kind == OPND_IMM ? insn->imm : 0;
    struct stack k = stack_current(v);
    struct code_target t;
    t.rip = stack_pop(&k, n);
    t.selector = stack_pop(&k, n);
    if (has_paragraphs(s)) {
        if (t.rip > s->seg[SEG_CS].limit) gp(v, 0);
        stack_skip(&k, extra);
        s->gpr[REG_RSP] = k.sp;
        segment_set_paragraph(s, SEG_CS, t.selector);
        s->rip = t.rip;
        return;
    }
    return_target_check(v, &t);
    stack_skip(&k, extra);
    if ((t.selector & 3u) == x86_cpl(s)) {
        descriptor_set_accessed(v, &t.d);
        s->gpr[REG_RSP] = k.sp;
        code_target_take(v, &t, x86_cpl(s));
        return;
    }
    uint64_t sp = stack_pop(&k, n);
    return_with_stack(v, &t, stack_pop(&k, n), sp, extra);
}
