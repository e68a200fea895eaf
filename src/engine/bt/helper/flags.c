/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PUSHF, POPF, CLI, STI, CLAC, STAC: which flags may be seen and changed by CPL, IOPL, VM86, CR4.VME and CR4.PVI.
 * Sources: Intel SDM volume 2 (POPF table 4-16, STI), 3B 21.3 (VME); AMD APM volume 2 section 3.1.4.
 */
#include "engine/bt/helper/helper.h"

static _Noreturn void gp(struct bt_vcpu *v) { bt_raise_error(v, VECTOR_GP, 0); }

void rflags_write(struct x86_state *s, uint64_t value, uint64_t may)
{
    s->rflags = (s->rflags & ~may) | (value & may) | RFLAGS_FIXED;
}

static unsigned stack_bytes(const struct x86_insn *insn)
{
    return insn->mode == X86_CODE64 && insn->opsize == 4 ? 8 : insn->opsize;
}

/* VM86 with IOPL below 3: the virtual IF stands in, but for 16-bit operands only. */
static bool has_virtual_if(struct bt_vcpu *v, unsigned size)
{
    const struct x86_state *s = bt_state(v);
    if (!is_vm86(s) || iopl_of(s) == 3) return false;
    if (!(s->cr4 & CR4_VME) || size != 2) gp(v);
    return true;
}

void helper_pushf(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    unsigned n = stack_bytes(insn);
    uint64_t flags = s->rflags & ~(uint64_t)(RFLAGS_VM | RFLAGS_RF);
    if (has_virtual_if(v, n)) {
        flags = (flags & ~(uint64_t)RFLAGS_IF) | RFLAGS_IOPL;
        if (s->rflags & RFLAGS_VIF) flags |= RFLAGS_IF;
    }
    struct stack k = stack_current(v);
    stack_push(&k, flags, n);
    s->gpr[REG_RSP] = k.sp;
}

void helper_popf(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    unsigned n = stack_bytes(insn), cpl = x86_cpl(s);
    bool virtual_if = has_virtual_if(v, n);
    struct stack k = stack_current(v);
    uint64_t flags = stack_pop(&k, n);
    if (virtual_if && ((flags & RFLAGS_TF) || ((flags & RFLAGS_IF) && (s->rflags & RFLAGS_VIP)))) gp(v);
    uint64_t may = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
    if (n > 2) may |= RFLAGS_AC | RFLAGS_ID;
    if (!virtual_if && cpl <= iopl_of(s)) may |= RFLAGS_IF;
    if (cpl == 0) may |= RFLAGS_IOPL;
    rflags_write(s, flags, may);
    if (virtual_if) rflags_write(s, flags & RFLAGS_IF ? RFLAGS_VIF : 0, RFLAGS_VIF);
    s->rflags &= ~(uint64_t)RFLAGS_RF;
    s->gpr[REG_RSP] = k.sp;
    s->rip = bt_next_rip(v, insn);
}

/* What CLI and STI work on: IF, VIF, or nothing (#GP). */
static uint64_t interrupt_flag(struct bt_vcpu *v)
{
    const struct x86_state *s = bt_state(v);
    unsigned cpl = x86_cpl(s);
    if (cpl <= iopl_of(s)) return RFLAGS_IF;
    if (is_vm86(s) ? s->cr4 & CR4_VME : cpl == 3 && (s->cr4 & CR4_PVI)) return RFLAGS_VIF;
    gp(v);
}

void helper_cli(struct bt_vcpu *v, const struct x86_insn *insn) { bt_state(v)->rflags &= ~interrupt_flag(v); }

void helper_sti(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint64_t flag = interrupt_flag(v);
    if (flag == RFLAGS_VIF && (s->rflags & RFLAGS_VIP)) gp(v);
    if (flag == RFLAGS_IF && !(s->rflags & RFLAGS_IF)) s->interrupt_shadow = 1;
    s->rflags |= flag;
    s->rip = bt_next_rip(v, insn);
}

static void ac_write(struct bt_vcpu *v, const struct x86_insn *insn, uint64_t value)
{
    struct x86_state *s = bt_state(v);
    bool offered = (s->cr4 & CR4_SMAP) || bt_has(v, 7, 0, 1, 20);      /* CR4 first: these are frequent */
    if (x86_cpl(s) || !offered) bt_raise(v, VECTOR_UD);
    rflags_write(s, value, RFLAGS_AC);
    s->rip = bt_next_rip(v, insn);
}

void helper_clac(struct bt_vcpu *v, const struct x86_insn *insn) { ac_write(v, insn, 0); }
void helper_stac(struct bt_vcpu *v, const struct x86_insn *insn) { ac_write(v, insn, RFLAGS_AC); }
