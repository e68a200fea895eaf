/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers of one vCPU as the manuals name them: what both engines read and write, so that one can take over
 * from the other. Sources: Intel SDM volumes 1 and 3, AMD APM volume 2.
 */
#ifndef X86_STATE_H
#define X86_STATE_H

#include <stdbool.h>
#include <stdint.h>

enum { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
       REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

/* Attributes in the layout of a descriptor's bytes 5 and 6: type 0-3, S 4, DPL 5-6, P 7, AVL 8, L 9, D/B 10, G 11.
 * Bit 16 is set when the segment is unusable (null selector). limit is in bytes, already scaled. */
enum { SEG_ATTR_TYPE = 0xf, SEG_ATTR_S = 1 << 4, SEG_ATTR_DPL_SHIFT = 5, SEG_ATTR_DPL = 3 << 5, SEG_ATTR_P = 1 << 7,
       SEG_ATTR_AVL = 1 << 8, SEG_ATTR_L = 1 << 9, SEG_ATTR_DB = 1 << 10, SEG_ATTR_G = 1 << 11,
       SEG_ATTR_UNUSABLE = 1 << 16 };
struct segment {
    uint64_t base;
    uint32_t limit;
    uint32_t attr;
    uint16_t selector;
    uint16_t pad[3];
};
struct descriptor_table {
    uint64_t base;
    uint16_t limit;
    uint16_t pad[3];
};

enum { RFLAGS_CF = 1 << 0, RFLAGS_FIXED = 1 << 1, RFLAGS_PF = 1 << 2, RFLAGS_AF = 1 << 4, RFLAGS_ZF = 1 << 6,
       RFLAGS_SF = 1 << 7, RFLAGS_TF = 1 << 8, RFLAGS_IF = 1 << 9, RFLAGS_DF = 1 << 10, RFLAGS_OF = 1 << 11,
       RFLAGS_IOPL = 3 << 12, RFLAGS_IOPL_SHIFT = 12, RFLAGS_NT = 1 << 14, RFLAGS_RF = 1 << 16,
       RFLAGS_VM = 1 << 17, RFLAGS_AC = 1 << 18, RFLAGS_VIF = 1 << 19, RFLAGS_VIP = 1 << 20, RFLAGS_ID = 1 << 21,
       RFLAGS_ARITH = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF };
#define CR0_PE (1u << 0)
#define CR0_MP (1u << 1)
#define CR0_EM (1u << 2)
#define CR0_TS (1u << 3)
#define CR0_ET (1u << 4)
#define CR0_NE (1u << 5)
#define CR0_WP (1u << 16)
#define CR0_AM (1u << 18)
#define CR0_NW (1u << 29)
#define CR0_CD (1u << 30)
#define CR0_PG (1u << 31)
enum { CR4_VME = 1 << 0, CR4_PVI = 1 << 1, CR4_TSD = 1 << 2, CR4_DE = 1 << 3, CR4_PSE = 1 << 4, CR4_PAE = 1 << 5,
       CR4_MCE = 1 << 6, CR4_PGE = 1 << 7, CR4_PCE = 1 << 8, CR4_OSFXSR = 1 << 9, CR4_OSXMMEXCPT = 1 << 10,
       CR4_UMIP = 1 << 11, CR4_FSGSBASE = 1 << 16, CR4_PCIDE = 1 << 17, CR4_OSXSAVE = 1 << 18, CR4_SMEP = 1 << 20,
       CR4_SMAP = 1 << 21 };
enum { EFER_SCE = 1 << 0, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11, EFER_SVME = 1 << 12, EFER_AIBRSE = 1 << 21 };

enum { VECTOR_DE = 0, VECTOR_DB, VECTOR_NMI, VECTOR_BP, VECTOR_OF, VECTOR_BR, VECTOR_UD, VECTOR_NM, VECTOR_DF,
       VECTOR_TS = 10, VECTOR_NP, VECTOR_SS, VECTOR_GP, VECTOR_PF, VECTOR_MF = 16, VECTOR_AC, VECTOR_MC, VECTOR_XM };

#define X86_XSAVE_BYTES 2816   /* standard format: x87, SSE, AVX, AVX-512, PKRU */

struct x86_state {
    uint64_t gpr[16];
    uint64_t rip;
    uint64_t rflags;
    struct segment seg[SEG_COUNT];
    struct segment ldtr, tr;
    struct descriptor_table gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, cr8;
    uint64_t dr[8];                    /* 0-3, 6, 7 used */
    uint64_t efer;
    uint64_t xcr0;
    uint64_t star, lstar, cstar, fmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, apic_base, tsc_aux, misc_enable, spec_ctrl, smbase;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_phys_base[8], mtrr_phys_mask[8];
    uint64_t mcg_status, mcg_ctl;
    uint64_t kvm_system_time, kvm_wall_clock;   /* MSRs of the paravirtual clock */
    int64_t tsc_offset;                          /* guest TSC = host TSC + this */
    uint64_t tsc_deadline;
    /* What the vCPU is in the middle of. */
    uint8_t interrupt_shadow;          /* 1: after sti, 2: after mov/pop ss; until the next instruction is done */
    uint8_t nmi_blocked, nmi_pending;
    uint8_t halted;                    /* in HLT (or wait-for-SIPI when an AP) */
    uint8_t wait_for_sipi;
    uint8_t exception_pending, exception_has_error, exception_vector;
    uint32_t exception_error;
    uint32_t pad;
    uint8_t xsave[X86_XSAVE_BYTES] __attribute__((aligned(64)));
    int64_t tsc_adjust;                          /* MSR 3Bh: sum of what software moved the TSC by */
};

/* CPL: of SS.DPL in protected mode, 0 in real mode, 3 in virtual-8086 mode. */
static inline unsigned x86_cpl(const struct x86_state *s)
{
    if (!(s->cr0 & CR0_PE)) return 0;
    if (s->rflags & RFLAGS_VM) return 3;
    return (s->seg[SEG_SS].attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
}
static inline bool x86_is_long(const struct x86_state *s) { return s->efer & EFER_LMA; }
static inline bool x86_is_code64(const struct x86_state *s)
{
    return (s->efer & EFER_LMA) && (s->seg[SEG_CS].attr & SEG_ATTR_L);
}
/* Protected mode without VM86: descriptors, not paragraphs. */
static inline bool x86_is_protected(const struct x86_state *s)
{
    return (s->cr0 & CR0_PE) && !(s->rflags & RFLAGS_VM);
}

/* Values after power-on or RESET# (init: INIT keeps CR0.CD/NW, MSRs, FPU). SDM 3A table 10-1. */
void x86_state_reset(struct x86_state *s, bool init, uint32_t cpuid_signature);

#endif
