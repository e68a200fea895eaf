/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operands as helpers see them: effective addresses, segment checks, register and memory values.
 * Sources: Intel SDM 3A chapter 5 (limit and type checks), AMD APM volume 2 chapter 4.
 */
#include "engine/bt/bt_private.h"

uint64_t bt_next_rip(struct bt_vcpu *v, const struct x86_insn *insn)
{
    return bt_rip_mask(v, v->s.rip + insn->len);
}

static uint64_t wrap_address(uint64_t a, unsigned size) { return size == 8 ? a : size == 4 ? (uint32_t)a : (uint16_t)a; }

uint64_t bt_effective_offset(struct bt_vcpu *v, const struct x86_insn *insn)
{
    uint64_t a = insn->disp;
    if (insn->rip_relative) return wrap_address(v->s.rip + insn->len + a, insn->addrsize);
    if (insn->base >= 0) a += v->s.gpr[insn->base & 15];
    if (insn->index >= 0 && insn->index < 16) a += v->s.gpr[insn->index] * insn->scale;
    return wrap_address(a, insn->addrsize);
}

static _Noreturn void segment_fault(struct bt_vcpu *v, unsigned seg)
{
    bt_raise_error(v, seg == SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
}

static bool is_canonical(uint64_t a) { return (uint64_t)((int64_t)(a << 16) >> 16) == a; }

static bool is_within_limit(const struct segment *g, uint64_t offset, unsigned size, bool big)
{
    uint64_t last = offset + size - 1;
    if ((g->attr & 8) || !(g->attr & 4)) return last <= g->limit;
    return offset > g->limit && last <= (big ? 0xffffffffull : 0xffffull);       /* expand-down */
}

gva_t bt_linear(struct bt_vcpu *v, unsigned seg, uint64_t offset, unsigned size, unsigned access)
{
    const struct segment *g = &v->s.seg[seg];
    if (!size) size = 1;
    if (x86_is_code64(&v->s)) {
        uint64_t linear = offset + (seg == SEG_FS || seg == SEG_GS ? g->base : 0);
        if (!is_canonical(linear) || !is_canonical(linear + size - 1)) segment_fault(v, seg);
        return linear;
    }
    if (x86_is_protected(&v->s)) {
        unsigned type = g->attr & SEG_ATTR_TYPE;
        bool write = access & BT_WRITE;
        if (g->attr & SEG_ATTR_UNUSABLE) segment_fault(v, seg);
        if (write ? (type & 8) || !(type & 2) : (type & 8) && !(type & 2)) segment_fault(v, seg);
        if (!is_within_limit(g, offset, size, g->attr & SEG_ATTR_DB)) segment_fault(v, seg);
    } else if (offset + size - 1 > g->limit) {
        segment_fault(v, seg);
    }
    return (uint32_t)(g->base + offset);
}

gva_t bt_operand_linear(struct bt_vcpu *v, const struct x86_insn *insn, unsigned size, unsigned access)
{
    return bt_linear(v, insn->seg, bt_effective_offset(v, insn), size, access);
}

static uint64_t low(uint64_t value, unsigned size) { return size == 8 ? value : value & ((1ull << (8 * size)) - 1); }

uint64_t bt_operand_read(struct bt_vcpu *v, const struct x86_insn *insn, unsigned n)
{
    const struct x86_operand *o = &insn->operand[n];
    switch (o->kind) {
    case OPND_REG:
        if (o->reg_class == RC_GPR8_HIGH) return (v->s.gpr[o->reg - 4] >> 8) & 0xff;
        if (o->reg_class == RC_SEG) return v->s.seg[o->reg].selector;
        return low(v->s.gpr[o->reg & 15], o->size);
    case OPND_MEM: return bt_load(v, bt_operand_linear(v, insn, o->size, BT_READ), o->size, BT_READ);
    case OPND_MOFFS:
        return bt_load(v, bt_linear(v, insn->seg, wrap_address(insn->disp, insn->addrsize), o->size, BT_READ), o->size, BT_READ);
    default: return low(insn->imm, o->size ? o->size : 8);
    }
}

void bt_operand_write(struct bt_vcpu *v, const struct x86_insn *insn, unsigned n, uint64_t value)
{
    const struct x86_operand *o = &insn->operand[n];
    if (o->kind == OPND_MEM) {
        bt_store(v, bt_operand_linear(v, insn, o->size, BT_WRITE), value, o->size, BT_WRITE);
    } else if (o->kind == OPND_REG) {
        uint64_t *g = &v->s.gpr[(o->reg_class == RC_GPR8_HIGH ? o->reg - 4 : o->reg) & 15];
        if (o->reg_class == RC_GPR8_HIGH) *g = (*g & ~0xff00ull) | (value & 0xff) << 8;
        else if (o->size == 8) *g = value;
        else if (o->size == 4) *g = (uint32_t)value;
        else if (o->size == 2) *g = (*g & ~0xffffull) | (uint16_t)value;
        else *g = (*g & ~0xffull) | (uint8_t)value;
    }
}
