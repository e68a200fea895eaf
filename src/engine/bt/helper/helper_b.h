/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Helpers of ordinary instructions that are not copied: strings, ports, BCD, odd stack instructions, FPU
 * images, gathers; and the small things that their files share.
 */
#ifndef ENGINE_BT_HELPER_B_H
#define ENGINE_BT_HELPER_B_H

#include "engine/bt/helper/helper.h"

/* Address registers (rSI, rDI, rCX ...) as wide as the address size. */
static inline uint64_t address_get(const struct x86_state *s, unsigned reg, unsigned addrsize)
{
    return s->gpr[reg] & mask_of_size(addrsize);
}
static inline void gpr_set(struct x86_state *s, unsigned reg, uint64_t value, unsigned size)
{
    if (size >= 4) s->gpr[reg] = value & mask_of_size(size);
    else s->gpr[reg] = (s->gpr[reg] & ~mask_of_size(size)) | (value & mask_of_size(size));
}

static inline uint64_t parity_flag(uint64_t value)
{
    return __builtin_parity((uint8_t)value) ? 0 : RFLAGS_PF;
}
/* PF, ZF and SF of a result. */
static inline uint64_t result_flags(uint64_t r, unsigned size)
{
    return parity_flag(r) | (r & mask_of_size(size) ? 0 : RFLAGS_ZF) |
           ((r >> (8 * size - 1)) & 1 ? RFLAGS_SF : 0);
}
/* All arithmetic flags of a - b. */
static inline uint64_t subtraction_flags(uint64_t a, uint64_t b, unsigned size)
{
    uint64_t r = (a - b) & mask_of_size(size), sign = 1ull << (8 * size - 1);
    return result_flags(r, size) | (a < b ? RFLAGS_CF : 0) | ((a ^ b ^ r) & RFLAGS_AF) |
           ((a ^ b) & (a ^ r) & sign ? RFLAGS_OF : 0);
}
static inline void arith_flags_set(struct x86_state *s, uint64_t flags)
{
    s->rflags = (s->rflags & ~(uint64_t)RFLAGS_ARITH) | flags;
}
/* #AC(0) for a misaligned access of size (a power of two) when alignment checking is on. */
static inline void alignment_check(struct bt_vcpu *v, gva_t linear, unsigned size)
{
    const struct x86_state *s = bt_state(v);
    if (!(linear & (size - 1)) || !(s->cr0 & CR0_AM) || !(s->rflags & RFLAGS_AC) || x86_cpl(s) != 3) return;
    bt_raise_error(v, VECTOR_AC, 0);
}

/* string.c: how many elements of size, from offset on in steps of direction, are sure to lie in the segment,
 * in the page of linear and below the wrap of the address size; 0 if the first one does not. The first has
 * passed bt_linear. */
uint64_t string_room(struct bt_vcpu *v, unsigned seg, uint64_t offset, gva_t linear, unsigned size,
                     unsigned addrsize, bool down);
/* Called between two iterations of a rep instruction, registers up to date: leaves if somebody is waiting, a
 * trap is due or a data breakpoint was hit. */
void string_pause(struct bt_vcpu *v);
/* x87env.c: raises a pending unmasked x87 exception, as every waiting instruction does. */
void x87_exception_check(struct bt_vcpu *v);

bt_helper_fn helper_movs, helper_stos, helper_lods, helper_scas, helper_cmps;        /* string.c */
bt_helper_fn helper_in, helper_out, helper_ins, helper_outs;                         /* io.c */
bt_helper_fn helper_daa, helper_das, helper_aaa, helper_aas, helper_aam, helper_aad; /* bcd.c */
bt_helper_fn helper_enter, helper_pusha, helper_popa, helper_bound, helper_into;     /* stack_misc.c */
bt_helper_fn helper_fxsave, helper_fxrstor, helper_xsave, helper_xsavec, helper_xrstor, helper_xgetbv,
    helper_xsetbv;                                                                     /* xstate.c */
bt_helper_fn helper_fnstenv, helper_fldenv, helper_fnsave, helper_frstor, helper_wait; /* x87env.c */
bt_helper_fn helper_gather, helper_masked_move;                                        /* gather.c */
bt_helper_fn helper_cpuid, helper_rdtsc, helper_rdtscp, helper_rdpid, helper_rdpmc, helper_pause,
    helper_monitor, helper_mwait, helper_vmmcall, helper_xlat, helper_salc, helper_clzero,
    helper_movdir64b; /* misc.c */

#endif
