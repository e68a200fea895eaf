/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Delivery of exceptions, interrupts and software interrupts, and the instructions that ask for it.
 *
 * One attempt (deliver) changes nothing until all its checks and pushes are done; it runs under bt_try. When it faults
 * itself, the fault takes the event's place, or becomes a double fault, or, during a double fault, a shutdown.
 * Error codes of #TS, #NP, #SS and #GP get their EXT bit there.
 * Sources: Intel SDM 3A chapter 6 (table 6-5 for double faults), 20.3 and 21 (real mode, VM86, VME), volume 2 (INT n);
 * AMD APM volume 2 chapter 8.
 */
#include "base/log.h"
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper.h"

static _Noreturn void gp(struct bt_vcpu *v, uint32_t error) { bt_raise_error(v, VECTOR_GP, error); }
static uint32_t idt_error(const struct bt_event *e) { return e->vector * 8u + 2; }
static bool is_software(const struct bt_event *e) { return e->kind == BT_EVENT_SOFTWARE; }

/* ---- What is pushed ---- */

static uint64_t pushed_rip(struct bt_vcpu *v, const struct bt_event *e)
{
    uint64_t rip = bt_state(v)->rip + e->insn_len;
    return x86_is_code64(bt_state(v)) ? rip : (uint32_t)rip;
}

/* Faults are resumed with RF set, so that a breakpoint on the instruction does not hit twice. */
static uint64_t pushed_flags(struct bt_vcpu *v, const struct bt_event *e)
{
    uint64_t flags = bt_state(v)->rflags & ~(uint64_t)RFLAGS_RF;
    bool is_fault = e->kind == BT_EVENT_EXCEPTION && e->vector != VECTOR_DB && e->vector != VECTOR_BP &&
                    e->vector != VECTOR_OF && e->vector != VECTOR_DF && e->vector != VECTOR_MC;
    return is_fault ? flags | RFLAGS_RF : flags;
}

static void flags_enter(struct x86_state *s, bool interrupt_gate)
{
    s->rflags &= ~(uint64_t)(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | (interrupt_gate ? RFLAGS_IF : 0));
    s->interrupt_shadow = 0;
}

/* ---- Real mode; VM86 by the redirection bitmap ---- */

static void enter_8086(struct bt_vcpu *v, const struct bt_event *e, gva_t table, uint64_t flags, uint64_t clear)
{
    struct x86_state *s = bt_state(v);
    uint32_t pointer = bt_load(v, table + 4 * e->vector, 4, BT_READ | BT_SYSTEM);
    struct stack k = stack_current(v);
    stack_push(&k, flags, 2);
    stack_push(&k, s->seg[SEG_CS].selector, 2);
    stack_push(&k, pushed_rip(v, e), 2);
    s->gpr[REG_RSP] = k.sp;
    segment_set_paragraph(s, SEG_CS, pointer >> 16);
    s->rip = (uint16_t)pointer;
    s->rflags &= ~clear;
    s->interrupt_shadow = 0;
}

static void deliver_real(struct bt_vcpu *v, const struct bt_event *e)
{
    struct x86_state *s = bt_state(v);
    if (4u * e->vector + 3 > s->idtr.limit) gp(v, idt_error(e));
    enter_8086(v, e, s->idtr.base, pushed_flags(v, e), RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
}

/* ---- Gates ---- */

static void read_gate(struct bt_vcpu *v, const struct bt_event *e, struct descriptor *gate)
{
    const struct x86_state *s = bt_state(v);
    unsigned size = x86_is_long(s) ? 16 : 8;
    if (e->vector * size + size - 1 > s->idtr.limit) gp(v, idt_error(e));
    gva_t linear = s->idtr.base + e->vector * size;
    if (size == 8) linear = (uint32_t)linear;
    *gate = (struct descriptor){ .linear = linear, .low = bt_load(v, linear, 8, BT_READ | BT_SYSTEM) };
    if (size == 16) gate->high = bt_load(v, linear + 8, 8, BT_READ | BT_SYSTEM);
    gate->attr = gate->low >> 40 & 0xff;
    unsigned type = type_of(gate);
    bool known = type == TYPE_INT32 || type == TYPE_TRAP32 ||
                 (size == 8 && (type == TYPE_INT16 || type == TYPE_TRAP16 || type == TYPE_TASK));
    if (!is_system(gate) || !known) gp(v, idt_error(e));
    if (is_software(e) && dpl_of(gate->attr) < x86_cpl(s)) gp(v, idt_error(e));
    if (!(gate->attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, idt_error(e));
}

/* The handler's segment. Returns the CPL it runs at. */
static unsigned read_target(struct bt_vcpu *v, const struct descriptor *gate, struct code_target *t)
{
    const struct x86_state *s = bt_state(v);
    unsigned cpl = x86_cpl(s);
    t->selector = gate_selector(gate);
    t->rip = x86_is_long(s)      ? gate_offset(gate)
             : type_of(gate) & 8 ? (uint32_t)gate_offset(gate)
                                 : (uint16_t)gate_offset(gate);
    uint32_t error = t->selector & ~3u;
    if (is_null_selector(t->selector)) gp(v, 0);
    descriptor_need(v, t->selector, &t->d, VECTOR_GP);
    unsigned dpl = dpl_of(t->d.attr);
    if (!is_code(&t->d) || dpl > cpl) gp(v, error);
    if (x86_is_long(s) && (t->d.attr & (SEG_ATTR_L | SEG_ATTR_DB)) != SEG_ATTR_L) gp(v, error);
    if (is_vm86(s) && (is_conforming(&t->d) || dpl != 0)) gp(v, error);
    if (!(t->d.attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, error);
    return is_conforming(&t->d) ? cpl : dpl;
}

/* The stack of privilege cpl from a 16- or 32-bit TSS. */
static struct stack inner_stack(struct bt_vcpu *v, unsigned cpl)
{
    struct descriptor d;
    uint16_t selector;
    uint64_t sp;
    tss_stack(v, cpl, &selector, &sp);
    if (is_null_selector(selector)) bt_raise_error(v, VECTOR_TS, selector & ~3u);
    stack_segment_check(v, selector, cpl, VECTOR_TS, &d);
    descriptor_set_accessed(v, &d);
    struct segment ss = descriptor_segment(&d, selector);
    struct stack k = stack_make(v, &ss, sp, false);
    k.error = selector & ~3u;
    k.access = BT_SYSTEM;
    return k;
}

static void push_vm86(struct bt_vcpu *v, struct stack *k, unsigned size)
{
    const struct x86_state *s = bt_state(v);
    static const uint8_t order[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };
    for (unsigned i = 0; i < sizeof(order); i++) stack_push(k, s->seg[order[i]].selector, size);
}

static void push_frame(struct bt_vcpu *v, const struct bt_event *e, struct stack *k, unsigned size,
                       bool has_stack)
{
    const struct x86_state *s = bt_state(v);
    if (has_stack) {
        stack_push(k, s->seg[SEG_SS].selector, size);
        stack_push(k, s->gpr[REG_RSP], size);
    }
    stack_push(k, pushed_flags(v, e), size);
    stack_push(k, s->seg[SEG_CS].selector, size);
    stack_push(k, pushed_rip(v, e), size);
    if (e->has_error) stack_push(k, e->error, size);
}

static void deliver_protected(struct bt_vcpu *v, const struct bt_event *e)
{
    struct x86_state *s = bt_state(v);
    struct descriptor gate;
    struct code_target t;
    read_gate(v, e, &gate);
    if (type_of(&gate) == TYPE_TASK) {
        task_gate(v, e->insn_len, &gate, TASK_INT, e->has_error, e->error);
        return;
    }
    unsigned size = type_of(&gate) & 8 ? 4 : 2, cpl = read_target(v, &gate, &t);
    bool inner = cpl < x86_cpl(s), vm = is_vm86(s);
    struct stack k = inner ? inner_stack(v, cpl) : stack_current(v);
    code_target_check(v, &t);
    if (vm) push_vm86(v, &k, size);
    push_frame(v, e, &k, size, inner);
    descriptor_set_accessed(v, &t.d);
    flags_enter(s, !(type_of(&gate) & 1));
    if (vm)
        for (unsigned seg = 0; seg < SEG_COUNT; seg++)
            if (seg != SEG_CS && seg != SEG_SS) segment_set_null(s, seg, 0, 0);
    if (inner) s->seg[SEG_SS] = k.ss;
    s->gpr[REG_RSP] = k.sp;
    code_target_take(v, &t, cpl);
}

static void deliver_long(struct bt_vcpu *v, const struct bt_event *e)
{
    struct x86_state *s = bt_state(v);
    struct descriptor gate;
    struct code_target t;
    read_gate(v, e, &gate);
    unsigned cpl = read_target(v, &gate, &t), ist = gate.low >> 32 & 7;
    bool inner = cpl < x86_cpl(s);
    struct segment ss = inner ? (struct segment){ .selector = cpl,
                                                  .attr = SEG_ATTR_UNUSABLE | cpl << SEG_ATTR_DPL_SHIFT }
                              : s->seg[SEG_SS];
    uint64_t sp = ist ? tss_stack64(v, ist + 3) : inner ? tss_stack64(v, cpl) : s->gpr[REG_RSP];
    code_target_check(v, &t);
    struct stack k = stack_make(v, &ss, sp & ~15ull, true);
    if (inner) k.access = BT_SYSTEM;
    push_frame(v, e, &k, 8, true);
    descriptor_set_accessed(v, &t.d);
    flags_enter(s, !(type_of(&gate) & 1));
    s->seg[SEG_SS] = ss;
    s->gpr[REG_RSP] = k.sp;
    code_target_take(v, &t, cpl);
}

static void deliver(struct bt_vcpu *v, void *arg)
{
    const struct bt_event *e = arg;
    const struct x86_state *s = bt_state(v);
    if (x86_is_long(s)) deliver_long(v, e);
    else if (s->cr0 & CR0_PE) deliver_protected(v, e);
    else deliver_real(v, e);
}

/* ---- Faults while delivering ---- */

static void trace_event(struct bt_vcpu *v, void *arg)
{
    const struct bt_event *e = arg;
    const struct x86_state *s = bt_state(v);
    trace_print("event: v=%02x e=%04x kind=%d cpl=%u IP=%04x:%016lx SP=%04x:%016lx CR2=%016lx RFL=%08lx\n",
                e->vector, e->has_error ? e->error : 0, e->kind, x86_cpl(s), s->seg[SEG_CS].selector,
                (unsigned long)s->rip, s->seg[SEG_SS].selector, (unsigned long)s->gpr[REG_RSP],
                (unsigned long)s->cr2, (unsigned long)s->rflags);
}

static bool is_contributory(const struct bt_event *e)
{
    return e->kind == BT_EVENT_EXCEPTION &&
           (e->vector == VECTOR_DE || (e->vector >= VECTOR_TS && e->vector <= VECTOR_GP));
}
static bool is_page_fault(const struct bt_event *e)
{
    return e->kind == BT_EVENT_EXCEPTION && e->vector == VECTOR_PF;
}
static bool is_double_fault(const struct bt_event *e)
{
    return e->kind == BT_EVENT_EXCEPTION && e->vector == VECTOR_DF;
}

/* What is delivered after second was raised by the delivery of first. */
static struct bt_event combine(struct bt_vcpu *v, const struct bt_event *first, struct bt_event second)
{
    bool serious = is_contributory(&second) || is_page_fault(&second);
    if (is_double_fault(first) && serious) bt_shutdown(v);
    if ((is_contributory(first) && is_contributory(&second)) || (is_page_fault(first) && serious))
        return (struct bt_event){ .kind = BT_EVENT_EXCEPTION, .vector = VECTOR_DF, .has_error = true };
    if (second.has_error && !is_page_fault(&second) && !is_software(first)) second.error |= 1;
    return second;
}

void bt_event_deliver(struct bt_vcpu *v, const struct bt_event *e)
{
    struct bt_event now = *e, fault;
    for (;;) {
        if (trace_is_on(TRACE_INT)) bt_host_call(v, trace_event, &now);
        if (now.vector == VECTOR_DB && !is_software(&now)) bt_state(v)->dr[7] &= ~(1ull << 13);
        if (bt_try(v, deliver, &now, &fault)) return;
        now = combine(v, &now, fault);
    }
}

/* ---- INT n, INT3, INT1 ---- */

void software_interrupt(struct bt_vcpu *v, const struct x86_insn *insn, uint8_t vector, enum bt_event_kind kind)
{
    struct bt_event e = { .kind = kind, .vector = vector, .insn_len = insn->len };
    if (v->stepping_shadow) v->step_no_trap = true;    /* TF is cleared before the trap could be taken */
    bt_event_deliver(v, &e);
}

/* CR4.VME: does the redirection bitmap (32 bytes below the I/O bitmap) leave this vector to the 8086 program? */
static bool is_redirected(struct bt_vcpu *v, uint8_t vector)
{
    const struct x86_state *s = bt_state(v);
    if (!(s->cr4 & CR4_VME)) return false;
    if (s->tr.limit < 0x67) gp(v, 0);
    uint32_t base = s->tr.base;
    uint32_t at = (uint32_t)bt_load(v, base + 0x66, 2, BT_READ | BT_SYSTEM) - 32 + vector / 8;
    if (at > s->tr.limit) gp(v, 0);
    return !(bt_load(v, base + at, 1, BT_READ | BT_SYSTEM) >> (vector & 7) & 1);
}

static void enter_redirected(struct bt_vcpu *v, const struct bt_event *e)
{
    struct x86_state *s = bt_state(v);
    uint64_t flags = s->rflags, clear = RFLAGS_TF | RFLAGS_RF | RFLAGS_NT;
    if (iopl_of(s) == 3) {
        clear |= RFLAGS_IF;
    } else {
        flags = (flags & ~(uint64_t)RFLAGS_IF) | RFLAGS_IOPL | (flags & RFLAGS_VIF ? RFLAGS_IF : 0);
        clear |= RFLAGS_VIF;
    }
    enter_8086(v, e, 0, flags, clear);
}

void helper_int(struct bt_vcpu *v, const struct x86_insn *insn)
{
    const struct x86_state *s = bt_state(v);
    uint8_t vector = insn->imm;
    if (is_vm86(s)) {
        struct bt_event e = { .kind = BT_EVENT_SOFTWARE, .vector = vector, .insn_len = insn->len };
        if (is_redirected(v, vector)) {
            if (v->stepping_shadow) v->step_no_trap = true;
            enter_redirected(v, &e);
            return;
        }
        if (iopl_of(s) < 3) gp(v, 0);
    }
    software_interrupt(v, insn, vector, BT_EVENT_SOFTWARE);
}

void helper_int3(struct bt_vcpu *v, const struct x86_insn *insn)
{
    software_interrupt(v, insn, VECTOR_BP, BT_EVENT_SOFTWARE);
}
void helper_int1(struct bt_vcpu *v, const struct x86_insn *insn)
{
    software_interrupt(v, insn, VECTOR_DB, BT_EVENT_INT1);
}
