/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of helpers share: the table row, descriptors, stacks, small questions about the vCPU. Guest world
 * (see bt.h): no vector registers, no C library.
 */
#ifndef ENGINE_BT_HELPER_H
#define ENGINE_BT_HELPER_H

#include "base/bits.h"
#include "engine/bt/bt.h"

struct bt_engine;

/* The first row of the mnemonic whose is_for says yes (NULL: always) is taken. */
struct helper_row {
    uint16_t mnemonic;
    uint8_t kind;                      /* enum bt_helper_kind */
    bt_helper_fn *fn;
    bool (*is_for)(const struct x86_insn *insn);
};
extern const struct helper_row helper_rows_system[], helper_rows_misc[];
extern const unsigned helper_rows_system_count, helper_rows_misc_count;

static inline bool is_canonical(uint64_t a) { return (uint64_t)((int64_t)(a << 16) >> 16) == a; }
static inline bool is_vm86(const struct x86_state *s) { return (s->cr0 & CR0_PE) && (s->rflags & RFLAGS_VM); }
static inline unsigned iopl_of(const struct x86_state *s)
{
    return (s->rflags & RFLAGS_IOPL) >> RFLAGS_IOPL_SHIFT;
}
static inline unsigned dpl_of(uint32_t attr) { return (attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT; }
/* Real mode and VM86: selectors are paragraphs. */
static inline bool has_paragraphs(const struct x86_state *s) { return !x86_is_protected(s); }
/* #GP(0) unless CPL is 0. */
static inline void require_cpl0(struct bt_vcpu *v)
{
    if (x86_cpl(bt_state(v))) bt_raise_error(v, VECTOR_GP, 0);
}
static inline uint64_t mask_of_size(unsigned size) { return size >= 8 ? ~0ull : (1ull << (8 * size)) - 1; }

/* ---- Descriptors (descriptor.c) ---- */

enum {
    TYPE_TSS16 = 1,
    TYPE_LDT = 2,
    TYPE_TSS16_BUSY = 3,
    TYPE_CALL16 = 4,
    TYPE_TASK = 5,
    TYPE_INT16 = 6,
    TYPE_TRAP16 = 7,
    TYPE_TSS32 = 9,
    TYPE_TSS32_BUSY = 11,
    TYPE_CALL32 = 12,
    TYPE_INT32 = 14,
    TYPE_TRAP32 = 15
};
enum {
    TYPE_CODE = 8,
    TYPE_CONFORMING = 4,
    TYPE_READABLE = 2,
    TYPE_DOWN = 4,
    TYPE_WRITABLE = 2,
    TYPE_ACCESSED = 1
};

struct descriptor {
    uint64_t low, high;                /* high: bytes 8-15 of a system descriptor in long mode, else 0 */
    gva_t linear;                      /* where it stands */
    uint32_t attr;                     /* in the layout of struct segment */
    uint16_t selector;
};
static inline bool is_null_selector(uint16_t selector) { return (selector & ~3) == 0; }
static inline bool is_system(const struct descriptor *d) { return !(d->attr & SEG_ATTR_S); }
static inline bool is_code(const struct descriptor *d)
{
    return (d->attr & SEG_ATTR_S) && (d->attr & TYPE_CODE);
}
static inline bool is_conforming(const struct descriptor *d) { return d->attr & TYPE_CONFORMING; }
static inline unsigned type_of(const struct descriptor *d) { return d->attr & SEG_ATTR_TYPE; }

/* Reads the descriptor that selector names (not null: the caller looks first). false: outside its table, or the LDT
 * is unusable. High half: only in long mode and for system descriptors, see descriptor_read_high. */
bool descriptor_read(struct bt_vcpu *v, uint16_t selector, struct descriptor *d);
/* The same, raising vector(selector) when it lies outside. */
void descriptor_need(struct bt_vcpu *v, uint16_t selector, struct descriptor *d, unsigned vector);
/* Bytes 8-15; false: outside the table, or the type field there is not 0. */
bool descriptor_read_high(struct bt_vcpu *v, struct descriptor *d);
uint64_t descriptor_base(const struct descriptor *d);
uint32_t descriptor_limit(const struct descriptor *d);
struct segment descriptor_segment(const struct descriptor *d, uint16_t selector);
/* Sets the accessed bit in memory (if it is clear) and in d->attr. */
void descriptor_set_accessed(struct bt_vcpu *v, struct descriptor *d);
void descriptor_set_busy(struct bt_vcpu *v, struct descriptor *d, bool busy);
/* Gate fields. */
static inline uint16_t gate_selector(const struct descriptor *d) { return d->low >> 16; }
static inline uint64_t gate_offset(const struct descriptor *d)
{
    return (d->low & 0xffff) | (d->low >> 32 & 0xffff0000) | d->high << 32;
}

/* ---- Segment registers (descriptor.c) ---- */

/* seg as a load in real mode or VM86 leaves it. */
void segment_set_paragraph(struct x86_state *s, unsigned seg, uint16_t selector);
void segment_set_null(struct x86_state *s, unsigned seg, uint16_t selector, unsigned cpl);
/* MOV to a data segment register or SS in the current mode, with all checks; changes nothing if it faults. */
void segment_load(struct bt_vcpu *v, unsigned seg, uint16_t selector);
/* Checks for a stack segment at privilege cpl: raises vector(selector) (#TS or #GP), #SS when not present. */
void stack_segment_check(struct bt_vcpu *v, uint16_t selector, unsigned cpl, unsigned vector,
                         struct descriptor *d);
/* The data segments that an outer privilege may not see become null (return to outer level). */
void segments_null_for(struct x86_state *s, unsigned cpl);

/* ---- Stacks that are not (yet) SS:RSP (descriptor.c) ---- */

struct stack {
    struct bt_vcpu *v;
    struct segment ss;
    uint64_t sp, mask;                 /* mask: 0xffff, 0xffffffff or all */
    unsigned access;                   /* 0, or BT_SYSTEM for the stack of an inner level */
    uint32_t error;                    /* error code of #SS */
};
struct stack stack_current(struct bt_vcpu *v);
struct stack stack_make(struct bt_vcpu *v, const struct segment *ss, uint64_t sp, bool wide);
void stack_push(struct stack *k, uint64_t value, unsigned size);
uint64_t stack_pop(struct stack *k, unsigned size);
/* Value at sp + offset; nothing moves. */
uint64_t stack_peek(const struct stack *k, uint64_t offset, unsigned size);
void stack_skip(struct stack *k, uint64_t bytes);

/* ---- Code targets (far.c) ---- */

/* Where a far transfer goes: the segment with its selector's RPL set to the new CPL, and the offset. */
struct code_target { struct descriptor d; uint16_t selector; uint64_t rip; };
/* Raises #GP(selector) for a code descriptor with L and D both set, #NP(selector), #GP(0) for an offset outside. */
void code_target_check(struct bt_vcpu *v, struct code_target *t);
/* Traces; only when trace_is_on. */
void trace_far(struct bt_vcpu *v, const char *what, uint16_t selector, uint64_t rip);
void trace_cr3(struct bt_vcpu *v, uint64_t value, bool keep);
void code_target_take(struct bt_vcpu *v, struct code_target *t, unsigned cpl);
/* Return to CS:RIP: reads the descriptor and checks it against the RPL; a null selector is #GP(0). */
void return_target_check(struct bt_vcpu *v, struct code_target *t);
/* Return to an outer level (or, in 64-bit mode, any): checks SS, then takes CS, SS and RSP + extra. */
void return_with_stack(struct bt_vcpu *v, struct code_target *t, uint16_t ss, uint64_t sp, uint64_t extra);
/* Bytes at linear, then a selector of 2: m16:16, m16:32, m16:64. */
static inline void far_pointer_load(struct bt_vcpu *v, gva_t linear, unsigned size, uint64_t *offset,
                                    uint16_t *selector)
{
    uint8_t raw[10];
    bt_load_bytes(v, linear, raw, size + 2, BT_READ);
    *offset = 0;
    bt_copy(offset, raw, size);
    bt_copy(selector, raw + size, 2);
}

/* ---- Stack pointers of inner levels, task switch (task.c) ---- */

void tss_stack(struct bt_vcpu *v, unsigned cpl, uint16_t *ss, uint64_t *sp);
uint64_t tss_stack64(struct bt_vcpu *v, unsigned index /* 0-2 RSP, 4-10 IST1-7 */);
enum task_switch { TASK_JMP, TASK_CALL, TASK_INT, TASK_IRET };
/* To the TSS that d describes; the old task resumes at s.rip + insn_len. */
void task_switch(struct bt_vcpu *v, unsigned insn_len, struct descriptor *d, enum task_switch why,
                 bool has_error, uint32_t error);
void task_gate(struct bt_vcpu *v, unsigned insn_len, const struct descriptor *gate, enum task_switch why,
               bool has_error, uint32_t error);

/* ---- Others that files share ---- */

/* flags.c: RFLAGS as POPF and IRET write it. may: bits that may change. */
void rflags_write(struct x86_state *s, uint64_t value, uint64_t may);
/* event.c: int n, int3 and into; does not come back to the instruction. */
void software_interrupt(struct bt_vcpu *v, const struct x86_insn *insn, uint8_t vector,
                        enum bt_event_kind kind);
/* cr.c: CR3 without checks of privilege: flushes as the architecture says. */
void cr3_set(struct bt_vcpu *v, uint64_t value, bool keep);
/* msr.c */
bool msr_read(struct bt_vcpu *v, uint32_t msr, uint64_t *value);      /* false: #GP */
bool msr_write(struct bt_vcpu *v, uint32_t msr, uint64_t value);
/* kvmclock.c */
void kvmclock_start(struct bt_engine *e);              /* when the engine is created */
void kvmclock_update(struct bt_vcpu *v);
void kvmclock_wall_write(struct bt_vcpu *v, gpa_t gpa);
uint64_t kvmclock_tsc_khz(struct bt_vcpu *v);

/* ---- Helpers, by file ---- */

bt_helper_fn helper_mov_to_sreg, helper_mov_from_sreg, helper_push_sreg, helper_pop_sreg,
    helper_load_far_pointer, helper_lar, helper_lsl, helper_verr, helper_verw, helper_arpl; /* segment.c */
bt_helper_fn helper_jmp_far, helper_call_far, helper_ret_far;                             /* far.c */
bt_helper_fn helper_iret;                                                                 /* iret.c */
bt_helper_fn helper_int, helper_int3, helper_int1;                                        /* event.c */
bt_helper_fn helper_syscall, helper_sysret, helper_sysenter, helper_sysexit;              /* syscall.c */
bt_helper_fn helper_pushf, helper_popf, helper_cli, helper_sti, helper_clac, helper_stac; /* flags.c */
bt_helper_fn helper_mov_from_cr, helper_mov_to_cr, helper_mov_from_dr, helper_mov_to_dr, helper_clts,
    helper_smsw, helper_lmsw; /* cr.c */
bt_helper_fn helper_sgdt, helper_sidt, helper_sldt, helper_str, helper_lgdt, helper_lidt, helper_lldt,
    helper_ltr, helper_swapgs, helper_rdfsgsbase, helper_wrfsgsbase, helper_hlt, helper_invlpg,
    helper_invpcid, helper_wbinvd;       /* system.c */
bt_helper_fn helper_rdmsr, helper_wrmsr; /* msr.c */

#endif
