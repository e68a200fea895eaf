/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions on segment registers and selectors: MOV, PUSH, POP, LDS and kin, LAR, LSL, VERR, VERW, ARPL.
 *
 * A 32-bit PUSH of a segment register writes four bytes, the upper two zero, as AMD's processors do.
 * Sources: Intel SDM volume 2, AMD APM volume 3.
 */
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper.h"

static void register_write(struct x86_state *s, unsigned reg, uint64_t value, unsigned size)
{
    uint64_t *g = &s->gpr[reg & 15];
    *g = size == 2 ? (*g & ~0xffffull) | (uint16_t)value : size == 4 ? (uint32_t)value : value;
}

static void next(struct bt_vcpu *v, const struct x86_insn *insn, unsigned seg)
{
    struct x86_state *s = bt_state(v);
    s->rip = bt_next_rip(v, insn);
    if (seg != SEG_SS) return;
    /* A load of SS holds back its own single-step trap, not that of the next instruction, which run.c would leave out
     * after a shadow of kind 2. */
    if (v->stepping_shadow) v->step_no_trap = true;
    s->interrupt_shadow = s->rflags & RFLAGS_TF ? 1 : 2;
}

/* Reads 2 bytes of a register or memory operand. */
static uint16_t word_operand(struct bt_vcpu *v, const struct x86_insn *insn, unsigned n)
{
    const struct x86_operand *o = &insn->operand[n];
    if (o->kind == OPND_MEM) return bt_load(v, bt_operand_linear(v, insn, 2, BT_READ), 2, BT_READ);
    return bt_state(v)->gpr[o->reg & 15];
}

void helper_mov_to_sreg(struct bt_vcpu *v, const struct x86_insn *insn)
{
    unsigned seg = insn->operand[0].reg;
    if (seg == SEG_CS || seg >= SEG_COUNT) bt_raise(v, VECTOR_UD);
    segment_load(v, seg, word_operand(v, insn, 1));
    next(v, insn, seg);
}

void helper_mov_from_sreg(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    if (insn->operand[1].reg >= SEG_COUNT) bt_raise(v, VECTOR_UD);
    uint16_t selector = s->seg[insn->operand[1].reg].selector;
    if (insn->operand[0].kind == OPND_MEM)
        bt_store(v, bt_operand_linear(v, insn, 2, BT_WRITE), selector, 2, BT_WRITE);
    else
        register_write(s, insn->operand[0].reg, selector, insn->opsize);
}

static unsigned stack_bytes(const struct x86_insn *insn)
{
    return insn->mode == X86_CODE64 && insn->opsize == 4 ? 8 : insn->opsize;
}

void helper_push_sreg(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    struct stack k = stack_current(v);
    stack_push(&k, s->seg[insn->operand[0].reg % SEG_COUNT].selector, stack_bytes(insn));
    s->gpr[REG_RSP] = k.sp;
}

void helper_pop_sreg(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    unsigned seg = insn->operand[0].reg;
    if (seg == SEG_CS || seg >= SEG_COUNT) bt_raise(v, VECTOR_UD);
    struct stack k = stack_current(v);
    uint16_t selector = stack_pop(&k, stack_bytes(insn));
    segment_load(v, seg, selector);
    s->gpr[REG_RSP] = k.sp;
    next(v, insn, seg);
}

void helper_load_far_pointer(struct bt_vcpu *v, const struct x86_insn *insn)
{
    unsigned n = insn->opsize, seg;
    switch (insn->mnemonic) {
    case X86_LES: seg = SEG_ES; break;
    case X86_LDS: seg = SEG_DS; break;
    case X86_LSS: seg = SEG_SS; break;
    case X86_LFS: seg = SEG_FS; break;
    default: seg = SEG_GS; break;
    }
    if (!insn->has_mem) bt_raise(v, VECTOR_UD);
    uint64_t offset;
    uint16_t selector;
    far_pointer_load(v, bt_operand_linear(v, insn, n + 2, BT_READ), n, &offset, &selector);
    segment_load(v, seg, selector);
    register_write(bt_state(v), insn->operand[0].reg, offset, n);
    next(v, insn, SEG_DS); /* LSS casts no interrupt shadow: it loads SS and SP at once */
}

/* ---- Looking at descriptors ---- */

static void set_zf(struct x86_state *s, bool on)
{
    s->rflags = on ? s->rflags | RFLAGS_ZF : s->rflags & ~(uint64_t)RFLAGS_ZF;
}

/* May the current privilege see the descriptor? types: bits of the system types that the instruction knows. */
static bool is_visible(struct bt_vcpu *v, uint16_t selector, struct descriptor *d, uint32_t types)
{
    const struct x86_state *s = bt_state(v);
    if (is_null_selector(selector) || !descriptor_read(v, selector, d)) return false;
    if (is_system(d)) {
        if (!(types >> type_of(d) & 1)) return false;
        if (x86_is_long(s) && !descriptor_read_high(v, d)) return false;
    } else if (is_code(d) && is_conforming(d)) {
        return true;
    }
    return dpl_of(d->attr) >= x86_cpl(s) && dpl_of(d->attr) >= (selector & 3u);
}

static void need_protected(struct bt_vcpu *v)
{
    if (!x86_is_protected(bt_state(v))) bt_raise(v, VECTOR_UD);
}

void helper_lar(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    struct descriptor d;
    need_protected(v);
    uint32_t types = x86_is_long(s)
                         ? 1u << 2 | 1u << 9 | 1u << 11 | 1u << 12
                         : 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 9 | 1u << 11 | 1u << 12;
    bool ok = is_visible(v, word_operand(v, insn, 1), &d, types);
    set_zf(s, ok);
    if (ok) register_write(s, insn->operand[0].reg, d.low >> 32 & 0xf0ff00, insn->opsize);
}

void helper_lsl(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    struct descriptor d;
    need_protected(v);
    uint32_t types = x86_is_long(s) ? 1u << 2 | 1u << 9 | 1u << 11
                                    : 1u << 1 | 1u << 2 | 1u << 3 | 1u << 9 | 1u << 11;
    bool ok = is_visible(v, word_operand(v, insn, 1), &d, types);
    set_zf(s, ok);
    if (ok) register_write(s, insn->operand[0].reg, descriptor_limit(&d), insn->opsize);
}

void helper_verr(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct descriptor d;
    need_protected(v);
    bool ok = is_visible(v, word_operand(v, insn, 0), &d, 0);
    set_zf(bt_state(v), ok && (!is_code(&d) || (d.attr & TYPE_READABLE)));
}

void helper_verw(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct descriptor d;
    need_protected(v);
    bool ok = is_visible(v, word_operand(v, insn, 0), &d, 0);
    set_zf(bt_state(v), ok && !is_code(&d) && (d.attr & TYPE_WRITABLE));
}

void helper_arpl(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    const struct x86_operand *o = &insn->operand[0];
    need_protected(v);
    gva_t linear = 0;
    uint16_t to, from = s->gpr[insn->operand[1].reg & 15];
    if (o->kind == OPND_MEM) {
        linear = bt_operand_linear(v, insn, 2, BT_WRITE);
        bt_probe(v, linear, 2, BT_WRITE);
        to = bt_load(v, linear, 2, BT_READ);
    } else {
        to = s->gpr[o->reg & 15];
    }
    bool raise = (to & 3) < (from & 3);
    uint16_t result = raise ? (to & ~3) | (from & 3) : to;
    if (o->kind == OPND_MEM) bt_store(v, linear, result, 2, BT_WRITE);
    else register_write(s, o->reg, result, 2);
    set_zf(s, raise);
}
