/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bt engine's own header: one vCPU's memory, and what helpers may call.
 *
 * Two worlds. Guest world: generated code and the helpers of this folder. The guest's x87, vector and mask registers
 * are live in the host's, so everything here is compiled with -mgeneral-regs-only, calls no C library function that
 * could use vector registers (memcpy, memset, printf ...: use bt_copy and bt_fill) and does not take locks of the
 * machine. Host world: ordinary C, entered by bt_host_call, which puts the guest's vector registers away first and
 * restores them afterwards (world.c; they are in s.xsave only while the vCPU does not run).
 *
 * While generated code runs, the host's RSP holds the address of struct bt_vcpu: fields are at fixed offsets from
 * it, and the stack of helpers lies below. Guest registers live in host registers; on a call to a helper they are all
 * written to s.gpr, s.rip (address of the current instruction) and s.rflags, and read back afterwards, so a helper
 * is plain C on struct x86_state.
 */
#ifndef ENGINE_BT_BT_H
#define ENGINE_BT_BT_H

#include "engine/engine.h"
#include "x86/decode.h"
#include "x86/state.h"

struct bt_vcpu;

/* A helper executes one instruction on v->s, exactly as the manual says, faults included.
 *
 * On entry v->s is complete and s.rip is the address of the instruction. A helper that may fault checks everything
 * first and changes v->s (and memory) last: bt_raise does not return and leaves v->s as it is at that moment.
 * HELPER_NEXT: straight-line; the engine goes on with the following instruction; s.rip is ignored.
 * HELPER_END: the block ends; the helper sets s.rip (bt_next_rip for "the following one"), and may have changed mode,
 * segments, CRs, flags, anything. */
typedef void bt_helper_fn(struct bt_vcpu *v, const struct x86_insn *insn);
enum bt_helper_kind { HELPER_NONE, HELPER_NEXT, HELPER_END };
struct bt_helper { bt_helper_fn *fn; enum bt_helper_kind kind; };
/* The helper of an instruction (by mnemonic, operands, mode); fn NULL: none, the translator has its own rule or the
 * instruction is #UD. One table in helper_table.c. */
struct bt_helper bt_helper_find(const struct x86_insn *insn);

/* ---- What helpers may call ---- */

/* Delivers an exception: leaves generated code and the helper, does not return. Error code only where the vector has
 * one. s.rip must be the address the exception frame shall hold (faults: the instruction, as on entry). */
_Noreturn void bt_raise(struct bt_vcpu *v, unsigned vector);
_Noreturn void bt_raise_error(struct bt_vcpu *v, unsigned vector, uint32_t error);
_Noreturn void bt_raise_page_fault(struct bt_vcpu *v, gva_t address, uint32_t error);

enum bt_access {
    BT_READ = 0, BT_WRITE = 1, BT_FETCH = 2,
    BT_SYSTEM = 4,      /* implicit supervisor access, whatever CPL is: descriptor tables, TSS (SMAP applies) */
};
/* Linear memory. size 1..8 (little endian); page crossings and device memory are handled; faults are raised. */
uint64_t bt_load(struct bt_vcpu *v, gva_t linear, unsigned size, unsigned access);
void bt_store(struct bt_vcpu *v, gva_t linear, uint64_t value, unsigned size, unsigned access);
/* Any size; faults before anything is written. */
void bt_load_bytes(struct bt_vcpu *v, gva_t linear, void *data, unsigned size, unsigned access);
void bt_store_bytes(struct bt_vcpu *v, gva_t linear, const void *data, unsigned size, unsigned access);
/* Raises the fault that access to these bytes would raise, or returns. access BT_WRITE checks for writing. */
void bt_probe(struct bt_vcpu *v, gva_t linear, unsigned size, unsigned access);
/* Host pointer for linear (valid up to the end of its 4 KiB page, until the next call into the engine), or NULL if
 * the page is device memory or writes to it must be watched (translated code, data breakpoints): then use
 * bt_load/bt_store. Faults are raised. */
uint8_t *bt_host_pointer(struct bt_vcpu *v, gva_t linear, unsigned access);
/* Is it a device, at *gpa? As bt_host_pointer; false while the debugger watches anything. */
bool bt_is_device(struct bt_vcpu *v, gva_t linear, unsigned access, gpa_t *gpa);
/* Elements of a string instruction, of which one side at least is a device: from (NULL: value) to to, towards lower addresses or higher ones.
 * A side is a pointer, or a device's address where that is NULL. Ends early when somebody wants the vCPU; returns how many were moved, 1 at
 * least. */
struct bt_string_side { uint8_t *host; gpa_t gpa; };
uint64_t bt_string_io(struct bt_vcpu *v, const struct bt_string_side *from, const struct bt_string_side *to, uint64_t value, unsigned size,
                      uint64_t count, bool down);
/* Segment checks (present, type, limit, expand-down, canonical) for [seg:offset, +size): returns the linear address
 * or raises #GP/#SS. */
gva_t bt_linear(struct bt_vcpu *v, unsigned seg, uint64_t offset, unsigned size, unsigned access);
/* Effective address (offset) of the memory operand, wrapped to the address size; not yet segmented. */
uint64_t bt_effective_offset(struct bt_vcpu *v, const struct x86_insn *insn);
/* bt_linear(v, insn->seg, bt_effective_offset(v, insn), size, access) */
gva_t bt_operand_linear(struct bt_vcpu *v, const struct x86_insn *insn, unsigned size, unsigned access);

/* rip of the following instruction, wrapped to 16/32 bits by code size. */
uint64_t bt_next_rip(struct bt_vcpu *v, const struct x86_insn *insn);

/* Operand values of general instructions: registers (high bytes too), memory, immediates, size 1..8. */
uint64_t bt_operand_read(struct bt_vcpu *v, const struct x86_insn *insn, unsigned n);
void bt_operand_write(struct bt_vcpu *v, const struct x86_insn *insn, unsigned n, uint64_t value);

/* After a change of CR0, CR3, CR4, EFER, CPL, SMAP's AC, a segment, or page tables: HELPER_END instructions need
 * nothing for mode bits (the engine looks at v->s again). Softmmu: */
/* A line of -d mmu, when that is on. */
void trace_page_fault(struct bt_vcpu *v, uint64_t address, uint32_t error);
void bt_tlb_flush(struct bt_vcpu *v, bool global_too);
void bt_tlb_flush_page(struct bt_vcpu *v, gva_t linear);
void bt_tlb_flush_pcid(struct bt_vcpu *v, unsigned pcid);   /* non-global entries of that PCID */
void bt_tlb_flush_pcid_page(struct bt_vcpu *v, unsigned pcid, gva_t linear);
/* CR3 was loaded; pcid is the new address space's (0 without CR4.PCIDE); keep: its entries are still good. */
void bt_tlb_switch(struct bt_vcpu *v, unsigned pcid, bool keep);

/* Runs fn(v, arg) in the host world (see above). May lock the machine. */
void bt_host_call(struct bt_vcpu *v, void (*fn)(struct bt_vcpu *v, void *arg), void *arg);
/* Device accesses (these do bt_host_call themselves). */
void bt_pio(struct bt_vcpu *v, uint16_t port, void *data, unsigned size, unsigned count, bool write);
bool bt_apic_msr_read(struct bt_vcpu *v, uint32_t msr, uint64_t *value);
bool bt_apic_msr_write(struct bt_vcpu *v, uint32_t msr, uint64_t value);
uint8_t bt_tpr_get(struct bt_vcpu *v);
void bt_tpr_set(struct bt_vcpu *v, uint8_t tpr);
/* CPUID as the guest sees it. */
void bt_cpuid(struct bt_vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
/* Does CPUID offer this? (reg 0 eax .. 3 edx) */
bool bt_has(struct bt_vcpu *v, uint32_t leaf, uint32_t subleaf, int reg, unsigned bit);
uint64_t bt_xcr0_allowed(struct bt_vcpu *v);
uint64_t bt_tsc(struct bt_vcpu *v);                          /* guest's TSC now */
/* HLT: the run loop returns EXIT_HALTED unless an interrupt is waiting. Call from HELPER_END after setting s.rip. */
void bt_halt(struct bt_vcpu *v);
/* Guest pause/mwait: give the host CPU away for a moment. */
void bt_yield(struct bt_vcpu *v);
/* Is somebody waiting for this vCPU (kick, interrupt)? Long rep instructions look after each page and stop early. */
bool bt_wanted(struct bt_vcpu *v);
/* Triple fault. */
_Noreturn void bt_shutdown(struct bt_vcpu *v);
/* 'rep' string instructions that stop early: s is up to date with s.rip at the instruction itself; leaves to the run
 * loop so that the interrupt is taken; the instruction is then started again. */
_Noreturn void bt_restart(struct bt_vcpu *v);

static inline void bt_copy(void *to, const void *from, uint64_t n)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}
static inline void bt_fill(void *to, uint8_t byte, uint64_t n)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
}

/* The vCPU's architectural state. */
enum { BT_STATE_AT = 128 };            /* of the registers in struct bt_vcpu, which helpers do not see into */
static inline struct x86_state *bt_state(struct bt_vcpu *v) { return (struct x86_state *)((uint8_t *)v + BT_STATE_AT); }

/* ---- What the run loop calls (exception.c, far.c ...) ---- */

/* Delivers exception, interrupt or software interrupt through the IDT/IVT: real mode, VM86 (with VME), protected,
 * long; gates, stacks, task gates, error code pushes. Changes s.rip, cs, ss, rsp, rflags. Faults during delivery
 * follow the double-fault rules and are handled inside (they end in another delivery or in bt_shutdown).
 * May raise nothing to its caller. s.rip is what is pushed. */
enum bt_event_kind { BT_EVENT_EXTERNAL, BT_EVENT_NMI, BT_EVENT_EXCEPTION, BT_EVENT_SOFTWARE /* int n, int3, into */,
                     BT_EVENT_INT1 };
struct bt_event { enum bt_event_kind kind; uint8_t vector; bool has_error; uint32_t error; uint8_t insn_len; };
void bt_event_deliver(struct bt_vcpu *v, const struct bt_event *e);

/* setjmp/longjmp of the guest world, for code that must look at a fault instead of passing it on (event delivery):
 * returns false if fn raised; v->s is then as fn left it and *e says what was raised. */
bool bt_try(struct bt_vcpu *v, void (*fn)(struct bt_vcpu *v, void *arg), void *arg, struct bt_event *e);

#endif
