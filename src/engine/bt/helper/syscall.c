/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT.
 *
 * As on AMD's processors: SYSCALL and SYSRET work in legacy protected mode too, and SYSRET does not look whether RCX is
 * canonical (the fetch at CPL 3 faults). As on Intel's: SYSRET loads all of SS, SYSENTER works in long mode.
 * Sources: AMD APM volume 2 section 6.1, volume 3; Intel SDM volume 2.
 */
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper.h"

enum {
    CODE = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_G | 0xb,
    DATA = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_G | SEG_ATTR_DB | 3
};

static _Noreturn void gp(struct bt_vcpu *v) { bt_raise_error(v, VECTOR_GP, 0); }

static void flat(struct x86_state *s, unsigned seg, uint16_t selector, uint32_t attr, unsigned dpl)
{
    s->seg[seg] = (struct segment){ .selector = (selector & ~3u) | dpl, .limit = 0xffffffff,
                                    .attr = attr | dpl << SEG_ATTR_DPL_SHIFT };
}

void helper_syscall(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    if (!(s->efer & EFER_SCE) || !x86_is_protected(s)) bt_raise(v, VECTOR_UD);
    uint64_t rip = bt_next_rip(v, insn), target = s->star & 0xffffffff, mask = RFLAGS_IF | RFLAGS_VM;
    s->gpr[REG_RCX] = rip;
    if (x86_is_long(s)) {
        s->gpr[REG_R11] = s->rflags & ~(uint64_t)RFLAGS_RF;
        target = x86_is_code64(s) ? s->lstar : s->cstar;
        mask = s->fmask;
    }
    uint16_t selector = s->star >> 32;
    if (v->stepping_shadow && (mask & RFLAGS_TF)) v->step_no_trap = true;
    s->rflags = (s->rflags & ~(mask | RFLAGS_RF)) | RFLAGS_FIXED;
    flat(s, SEG_CS, selector, CODE | (x86_is_long(s) ? SEG_ATTR_L : SEG_ATTR_DB), 0);
    flat(s, SEG_SS, (selector & ~3u) + 8, DATA, 0);
    s->rip = target;
    bt_gate_open(v, GATE_KERNEL);
}

void helper_sysret(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    if (!(s->efer & EFER_SCE) || !x86_is_protected(s)) bt_raise(v, VECTOR_UD);
    if (x86_cpl(s)) gp(v);
    uint16_t selector = (s->star >> 48) & ~3u;
    bool wide = insn->opsize == 8 && x86_is_long(s);
    if (x86_is_long(s)) rflags_write(s, s->gpr[REG_R11], 0x3c7fd5);
    else s->rflags |= RFLAGS_IF;
    s->rflags &= ~(uint64_t)(RFLAGS_RF | RFLAGS_VM);
    s->rip = wide ? s->gpr[REG_RCX] : (uint32_t)s->gpr[REG_RCX];
    flat(s, SEG_CS, wide ? selector + 16 : selector, CODE | (wide ? SEG_ATTR_L : SEG_ATTR_DB), 3);
    flat(s, SEG_SS, selector + 8, DATA, 3);
    if (wide) bt_gate_open(v, GATE_USER);
}

void helper_sysenter(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint16_t selector = s->sysenter_cs & ~3u;
    bool wide = x86_is_long(s);
    if (!(s->cr0 & CR0_PE) || !selector) gp(v);
    s->rflags &= ~(uint64_t)(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
    s->gpr[REG_RSP] = wide ? s->sysenter_esp : (uint32_t)s->sysenter_esp;
    s->rip = wide ? s->sysenter_eip : (uint32_t)s->sysenter_eip;
    flat(s, SEG_CS, selector, CODE | (wide ? SEG_ATTR_L : SEG_ATTR_DB), 0);
    flat(s, SEG_SS, selector + 8, DATA, 0);
}

void helper_sysexit(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint16_t selector = s->sysenter_cs & ~3u;
    bool wide = insn->opsize == 8 && x86_is_long(s);
    if (!(s->cr0 & CR0_PE) || is_vm86(s) || !selector || x86_cpl(s)) gp(v);
    if (wide && (!is_canonical(s->gpr[REG_RCX]) || !is_canonical(s->gpr[REG_RDX]))) gp(v);
    s->gpr[REG_RSP] = wide ? s->gpr[REG_RCX] : (uint32_t)s->gpr[REG_RCX];
    s->rip = wide ? s->gpr[REG_RDX] : (uint32_t)s->gpr[REG_RDX];
    flat(s, SEG_CS, selector + (wide ? 32 : 16), CODE | (wide ? SEG_ATTR_L : SEG_ATTR_DB), 3);
    flat(s, SEG_SS, selector + (wide ? 40 : 24), DATA, 3);
}
