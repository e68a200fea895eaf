/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ENTER, PUSHA, POPA, BOUND, INTO. Registers change when nothing can fault any more; bytes that were pushed
 * before a fault stay below the stack pointer, as on a CPU. ENTER writes as much of rBP as its operand size,
 * whatever the stack's width is: measured on an AMD CPU.
 * Sources: Intel SDM volume 2, AMD APM volume 3.
 */
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper_b.h"

void helper_enter(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = &v->s;
    struct stack k = stack_current(v);
    unsigned size = insn->mode == X86_CODE64 && insn->opsize == 4 ? 8 : insn->opsize, level = insn->imm2 & 31;
    uint64_t frame_below = s->gpr[REG_RBP];
    stack_push(&k, s->gpr[REG_RBP], size);
    uint64_t frame = k.sp;
    for (unsigned i = 1; i < level; i++) {
        frame_below -= size;
        gva_t linear = bt_linear(v, SEG_SS, frame_below & k.mask, size, BT_READ);
        stack_push(&k, bt_load(v, linear, size, BT_READ), size);
    }
    if (level) stack_push(&k, frame, size);
    stack_skip(&k, -(uint64_t)(uint16_t)insn->imm);
    gva_t top = bt_linear(v, SEG_SS, k.sp & k.mask, size, BT_WRITE);
    bt_probe(v, top, size, BT_WRITE);                  /* it must be writable */
    s->gpr[REG_RSP] = k.sp;
    gpr_set(s, REG_RBP, frame, size);
}

void helper_pusha(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = &v->s;
    struct stack k = stack_current(v);
    for (unsigned reg = REG_RAX; reg <= REG_RDI; reg++) stack_push(&k, s->gpr[reg], insn->opsize);
    s->gpr[REG_RSP] = k.sp;
}

void helper_popa(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = &v->s;
    struct stack k = stack_current(v);
    uint64_t value[8];
    for (int reg = REG_RDI; reg >= REG_RAX; reg--) {
        if (reg == REG_RSP) stack_skip(&k, insn->opsize);
        else value[reg] = stack_pop(&k, insn->opsize);
    }
    for (unsigned reg = REG_RAX; reg <= REG_RDI; reg++)
        if (reg != REG_RSP) gpr_set(s, reg, value[reg], insn->opsize);
    s->gpr[REG_RSP] = k.sp;
}

static int64_t sign_extended(uint64_t value, unsigned size)
{
    return size == 2 ? (int16_t)value : (int32_t)value;
}

void helper_bound(struct bt_vcpu *v, const struct x86_insn *insn)
{
    unsigned size = insn->opsize;
    gva_t linear = bt_operand_linear(v, insn, 2 * size, BT_READ);
    uint64_t both = bt_load(v, linear, 2 * size, BT_READ);
    int64_t index = sign_extended(v->s.gpr[insn->operand[0].reg & 15], size);
    int64_t lower = sign_extended(both, size), upper = sign_extended(both >> (8 * size), size);
    if (index < lower || index > upper) bt_raise(v, VECTOR_BR);
}

void helper_into(struct bt_vcpu *v, const struct x86_insn *insn)
{
    if (v->s.rflags & RFLAGS_OF) software_interrupt(v, insn, VECTOR_OF, BT_EVENT_SOFTWARE);
    else v->s.rip = bt_next_rip(v, insn);
}
