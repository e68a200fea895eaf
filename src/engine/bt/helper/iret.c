/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IRET in all modes: paragraphs, VM86 (with CR4.VME), nested task, same and outer level, to VM86, long mode.
 * NMIs are unblocked even if the instruction faults (SDM 3A 6.7.1).
 * Sources: Intel SDM volume 2 (IRET), AMD APM volume 3 (IRET).
 */
#include "engine/bt/helper/helper.h"

enum {
    FLAGS_USER = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT,
    FLAGS_UPPER = RFLAGS_RF | RFLAGS_AC | RFLAGS_ID
};

static _Noreturn void gp(struct bt_vcpu *v, uint32_t error) { bt_raise_error(v, VECTOR_GP, error); }

/* Which flags an IRET at this privilege may write. */
static uint64_t may_write(const struct x86_state *s, unsigned size)
{
    unsigned cpl = x86_cpl(s);
    uint64_t may = FLAGS_USER;
    if (size > 2) may |= FLAGS_UPPER;
    if (cpl <= iopl_of(s)) may |= RFLAGS_IF;
    if (cpl == 0) may |= RFLAGS_IOPL;
    if (cpl == 0 && size > 2) may |= RFLAGS_VIF | RFLAGS_VIP;
    return may;
}

static void iret_paragraphs(struct bt_vcpu *v, unsigned n)
{
    struct x86_state *s = bt_state(v);
    bool vm = is_vm86(s), virtual_if = false;
    if (vm && iopl_of(s) < 3) {
        if (!(s->cr4 & CR4_VME) || n != 2) gp(v, 0);
        virtual_if = true;
    }
    struct stack k = stack_current(v);
    uint64_t rip = stack_pop(&k, n);
    uint16_t cs = stack_pop(&k, n);
    uint64_t flags = stack_pop(&k, n);
    if (virtual_if && ((flags & RFLAGS_TF) || ((flags & RFLAGS_IF) && (s->rflags & RFLAGS_VIP)))) gp(v, 0);
    if (rip > s->seg[SEG_CS].limit) gp(v, 0);
    uint64_t may = FLAGS_USER | (virtual_if ? 0 : RFLAGS_IF) | (vm ? 0 : RFLAGS_IOPL) |
                   (n > 2 ? FLAGS_UPPER : 0);
    rflags_write(s, flags, may);
    if (virtual_if) rflags_write(s, flags & RFLAGS_IF ? RFLAGS_VIF : 0, RFLAGS_VIF);
    s->gpr[REG_RSP] = k.sp;
    segment_set_paragraph(s, SEG_CS, cs);
    s->rip = rip;
}

static void iret_task(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    struct descriptor d;
    if (x86_is_long(s)) gp(v, 0);
    uint16_t link = bt_load(v, (uint32_t)s->tr.base, 2, BT_READ | BT_SYSTEM);
    uint32_t error = link & ~3u;
    if ((link & 4) || is_null_selector(link)) bt_raise_error(v, VECTOR_TS, error);
    descriptor_need(v, link, &d, VECTOR_TS);
    if (!is_system(&d) || (type_of(&d) != TYPE_TSS16_BUSY && type_of(&d) != TYPE_TSS32_BUSY))
        bt_raise_error(v, VECTOR_TS, error);
    if (!(d.attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, error);
    task_switch(v, insn->len, &d, TASK_IRET, false, 0);
}

static void iret_to_vm86(struct bt_vcpu *v, struct stack *k, uint32_t rip, uint16_t cs, uint32_t flags)
{
    struct x86_state *s = bt_state(v);
    static const uint8_t order[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    uint16_t selector[4];
    uint32_t esp = stack_pop(k, 4);
    uint16_t ss = stack_pop(k, 4);
    for (unsigned i = 0; i < 4; i++) selector[i] = stack_pop(k, 4);
    rflags_write(s, flags,
                 FLAGS_USER | FLAGS_UPPER | RFLAGS_IF | RFLAGS_IOPL | RFLAGS_VIF | RFLAGS_VIP | RFLAGS_VM);
    segment_set_paragraph(s, SEG_CS, cs);
    segment_set_paragraph(s, SEG_SS, ss);
    for (unsigned i = 0; i < 4; i++) segment_set_paragraph(s, order[i], selector[i]);
    s->gpr[REG_RSP] = esp;
    s->rip = (uint16_t)rip;
}

static void iret_protected(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    unsigned n = insn->opsize;
    struct stack k = stack_current(v);
    struct code_target t;
    t.rip = stack_pop(&k, n);
    t.selector = stack_pop(&k, n);
    uint64_t flags = stack_pop(&k, n), may = may_write(s, n);
    if ((flags & RFLAGS_VM) && n == 4 && x86_cpl(s) == 0 && !x86_is_long(s)) {
        iret_to_vm86(v, &k, t.rip, t.selector, flags);
        return;
    }
    return_target_check(v, &t);
    if (x86_is_code64(s) || (t.selector & 3u) != x86_cpl(s)) {
        uint64_t sp = stack_pop(&k, n);
        return_with_stack(v, &t, stack_pop(&k, n), sp, 0);
    } else {
        descriptor_set_accessed(v, &t.d);
        s->gpr[REG_RSP] = k.sp;
        code_target_take(v, &t, x86_cpl(s));
    }
    rflags_write(s, flags, may);
}

void helper_iret(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    s->nmi_blocked = 0;
    if (has_paragraphs(s)) iret_paragraphs(v, insn->opsize);
    else if (s->rflags & RFLAGS_NT) iret_task(v, insn);
    else iret_protected(v, insn);
}
