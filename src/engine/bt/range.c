/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How large can the value of a register be? Followed through a block's instructions, so that of an address's two registers the one that is the
 * pointer can be told from the one that is only an index (group.c). Whatever is not known to be small may be anything.
 */
#include "base/bits.h"
#include "engine/bt/range.h"

static const struct range ANY = { 64, true };
static struct range up_to(unsigned bits) { return (struct range){ bits, false }; }
static struct range both_signs(unsigned bits) { return bits < 64 ? (struct range){ bits, true } : ANY; }
static unsigned bits_of(uint64_t value) { return value ? 64 - __builtin_clzll(value) : 0; }

static struct range of_constant(int64_t value, unsigned size)
{
    if (size == 4) return up_to(bits_of((uint32_t)value));
    return value >= 0 ? up_to(bits_of(value)) : both_signs(bits_of(~(uint64_t)value) + 1);
}

/* Cut to the lower half, the rest cleared. */
static struct range low_half(struct range r) { return r.is_signed || r.bits > 32 ? up_to(32) : r; }

static struct range sum(struct range a, struct range b)
{
    if (a.bits >= 63 || b.bits >= 63) return ANY;
    return (struct range){ MAX(a.bits, b.bits) + 1, a.is_signed || b.is_signed };
}

static struct range scaled(struct range r, unsigned shift)
{
    return r.bits + shift < 64 ? (struct range){ r.bits + shift, r.is_signed } : ANY;
}

/* The value of a source operand, as a number of the operation's size. */
static struct range source(const struct range *r, const struct x86_insn *i, unsigned n)
{
    const struct x86_operand *o = &i->operand[n];
    if (o->kind == OPND_IMM) return of_constant(i->imm, i->opsize);
    if (o->kind == OPND_REG && o->reg_class == RC_GPR && o->size == 8) return r[o->reg];
    if (o->kind == OPND_REG && o->reg_class == RC_GPR && !r[o->reg].is_signed && r[o->reg].bits <= 8u * o->size) return r[o->reg];
    return o->size < 8 ? up_to(8 * o->size) : ANY;
}

static struct range extended(const struct range *r, const struct x86_insn *i)
{
    struct range from = source(r, i, 1);
    unsigned bits = 8 * i->operand[1].size;
    if (i->mnemonic == X86_MOVZX || (!from.is_signed && from.bits < bits)) return from;
    return both_signs(bits);
}

static struct range address(const struct range *r, const struct x86_insn *i)
{
    struct range v = of_constant(i->disp, 8);
    if (i->rip_relative || i->addrsize != 8) return i->addrsize == 8 ? ANY : up_to(32);
    if (i->base >= 0) v = sum(v, r[i->base]);
    if (i->index >= 0) v = sum(v, scaled(r[i->index], __builtin_ctz(i->scale)));
    return v;
}

static struct range shifted(struct range v, const struct x86_insn *i)
{
    unsigned by = i->imm & (i->opsize == 8 ? 63 : 31), width = 8 * i->opsize;
    if (i->operand[1].kind != OPND_IMM) return ANY;
    if (i->mnemonic == X86_SHL) return scaled(v, by);
    if (i->mnemonic == X86_SAR && (v.is_signed || v.bits == width)) return v.bits == 64 ? ANY : v;
    if (v.is_signed) v = up_to(width);
    return up_to(v.bits > by ? v.bits - by : 0);
}

static struct range masked(struct range a, struct range b)
{
    if (a.is_signed && b.is_signed) return a.bits > b.bits ? a : b;
    if (a.is_signed || b.is_signed) return a.is_signed ? b : a;
    return a.bits < b.bits ? a : b;
}

/* What a write of 4 or 8 bytes to the first operand leaves there, before it is cut to 4. */
static struct range result(const struct range *r, const struct x86_insn *i)
{
    struct range a = r[i->operand[0].reg], b = i->operand_count > 1 ? source(r, i, 1) : ANY;
    if (i->opsize == 4) a = low_half(a);
    switch (i->mnemonic) {
    case X86_MOV: return b;
    case X86_MOVZX: case X86_MOVSX: case X86_MOVSXD: return extended(r, i);
    case X86_LEA: return address(r, i);
    case X86_ADD: return sum(a, b);
    case X86_SUB: return both_signs(sum(a, b).bits);
    case X86_INC: case X86_DEC: return both_signs(sum(a, up_to(1)).bits);
    case X86_NEG: return both_signs(sum(a, up_to(0)).bits);
    case X86_AND: return masked(a, b);
    case X86_OR: return (struct range){ MAX(a.bits, b.bits), a.is_signed || b.is_signed };
    case X86_XOR:
        if (i->operand[1].kind == OPND_REG && i->operand[1].reg == i->operand[0].reg) return up_to(0);
        return (struct range){ MAX(a.bits, b.bits), a.is_signed || b.is_signed };
    case X86_SHL: case X86_SHR: case X86_SAR: return shifted(a, i);
    default: return ANY;
    }
}

void t_range_forget(struct range *r)
{
    for (int g = 0; g < 16; g++) r[g] = ANY;
}

void t_range_step(struct range *r, const struct x86_insn *i)
{
    const struct x86_operand *o = &i->operand[0];
    bool first = i->operand_count && o->kind == OPND_REG && o->reg_class == RC_GPR && o->access & ACCESS_WRITE;
    struct range v = ANY, old = first ? r[o->reg] : ANY;
    bool keeps = i->mnemonic == X86_BSF || i->mnemonic == X86_BSR || i->mnemonic == X86_CMPXCHG || o->access & ACCESS_COND;
    if (i->attr & IA_STRING) keeps = true;             /* perhaps no times */
    for (unsigned n = 1; n < i->operand_count; n++) keeps |= i->operand[n].access & ACCESS_WRITE;         /* the same register perhaps: XADD AL, AH */
    if (first && !keeps && o->size >= 4 && i->opsize == o->size && !(i->attr & (IA_SSE | IA_AVX | IA_MMX))) v = result(r, i);
    if (first && !keeps && o->size == 4) v = low_half(v);
    if (first && o->size < 4 && !keeps) v = (struct range){ MAX(old.bits, 8u * o->size), old.is_signed };
    if (first && o->size < 4 && old.bits >= 64) v = ANY;
    for (int g = 0; g < 16; g++)
        if (i->gpr_written >> g & 1) r[g] = ANY;
    if (first && i->gpr_written >> o->reg & 1) r[o->reg] = v;
}
