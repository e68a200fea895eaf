/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decimal adjustment: DAA, DAS, AAA, AAS, AAM, AAD. Flags that the manual leaves undefined come out as on AMD
 * CPUs, where they are those of the addition or subtraction inside, of AX in AAA and AAS (AAM: CF, AF and OF
 * are 0).
 * Sources: Intel SDM volume 2, AMD APM volume 3.
 */
#include "engine/bt/helper/helper_b.h"

static void al_set(struct x86_state *s, uint8_t al) { gpr_set(s, REG_RAX, al, 1); }
static void ax_set(struct x86_state *s, uint16_t ax) { gpr_set(s, REG_RAX, ax, 2); }

static uint64_t overflow(uint8_t a, uint8_t b, uint8_t sum)
{
    return (a ^ sum) & (b ^ sum) & 0x80 ? RFLAGS_OF : 0;
}

void helper_daa(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint8_t old = s->gpr[REG_RAX], al = old;
    bool low = (old & 15) > 9 || (s->rflags & RFLAGS_AF);
    bool high = old > 0x99 || (s->rflags & RFLAGS_CF);
    if (low) al += 6;
    if (high) al += 0x60;
    al_set(s, al);
    uint64_t of = overflow(old, al - old, al);
    arith_flags_set(s, result_flags(al, 1) | of | (low ? RFLAGS_AF : 0) | (high ? RFLAGS_CF : 0));
}

void helper_das(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint8_t old = s->gpr[REG_RAX], al = old;
    bool low = (old & 15) > 9 || (s->rflags & RFLAGS_AF);
    bool high = old > 0x99 || (s->rflags & RFLAGS_CF), carry = high || (low && old < 6);
    if (low) al -= 6;
    if (high) al -= 0x60;
    al_set(s, al);
    uint64_t of = overflow(al, old - al, old);
    arith_flags_set(s, result_flags(al, 1) | of | (low ? RFLAGS_AF : 0) | (carry ? RFLAGS_CF : 0));
}

static void ascii_adjust(struct x86_state *s, bool subtract)
{
    uint16_t old = s->gpr[REG_RAX];
    bool adjust = (old & 15) > 9 || (s->rflags & RFLAGS_AF);
    uint16_t change = !adjust ? 0 : 0x106, ax = subtract ? old - change : old + change;
    uint16_t over = subtract ? (old ^ change) & (old ^ ax) : (old ^ ax) & (change ^ ax);
    ax_set(s, ax & 0xff0f);
    arith_flags_set(s, result_flags(ax, 2) | (over & 0x8000 ? RFLAGS_OF : 0) |
                           (adjust ? RFLAGS_AF | RFLAGS_CF : 0));
}

void helper_aaa(struct bt_vcpu *v, const struct x86_insn *insn) { ascii_adjust(bt_state(v), false); }
void helper_aas(struct bt_vcpu *v, const struct x86_insn *insn) { ascii_adjust(bt_state(v), true); }

void helper_aam(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint8_t al = s->gpr[REG_RAX], base = insn->imm;
    if (!base) bt_raise(v, VECTOR_DE);
    ax_set(s, (al / base) << 8 | al % base);
    arith_flags_set(s, result_flags(al % base, 1));
}

void helper_aad(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint8_t old = s->gpr[REG_RAX], add = (s->gpr[REG_RAX] >> 8 & 0xff) * (uint8_t)insn->imm, al = old + add;
    ax_set(s, al);
    arith_flags_set(s, result_flags(al, 1) | overflow(old, add, al) | ((old ^ add ^ al) & RFLAGS_AF) |
                           (al < old ? RFLAGS_CF : 0));
}
