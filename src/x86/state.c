/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers after power-on and after INIT (Intel SDM 3A, table 10-1; XSAVE layout: SDM 1, 13.4). */
#include "x86/state.h"

#include <string.h>

static struct segment reset_segment(uint16_t selector, uint64_t base, uint32_t type)
{
    return (struct segment){ .selector = selector, .base = base, .limit = 0xffff, .attr = type | SEG_ATTR_P };
}

static void reset_fpu(struct x86_state *s)
{
    const uint16_t control = 0x40;                     /* FCW after RESET; FNINIT makes 37F of it */
    const uint32_t mxcsr = 0x1f80;

    memset(s->xsave, 0, sizeof s->xsave);
    memcpy(s->xsave, &control, sizeof control);
    memset(s->xsave + 4, 0xff, 1);                     /* FTW, abridged: all registers hold zero */
    memcpy(s->xsave + 24, &mxcsr, sizeof mxcsr);
    s->xsave[512] = 3;                                 /* XSTATE_BV: x87 and SSE */
}

/* What INIT leaves alone, put into the state of a reset. */
static void keep_over_init(struct x86_state *s, const struct x86_state *old)
{
    s->cr0 |= old->cr0 & (CR0_CD | CR0_NW);
    s->xcr0 = old->xcr0;
    s->star = old->star;
    s->lstar = old->lstar;
    s->cstar = old->cstar;
    s->fmask = old->fmask;
    s->kernel_gs_base = old->kernel_gs_base;
    s->sysenter_cs = old->sysenter_cs;
    s->sysenter_esp = old->sysenter_esp;
    s->sysenter_eip = old->sysenter_eip;
    s->pat = old->pat;
    s->apic_base = old->apic_base;
    s->tsc_aux = old->tsc_aux;
    s->misc_enable = old->misc_enable;
    s->spec_ctrl = old->spec_ctrl;
    s->smbase = old->smbase;
    s->mtrr_def_type = old->mtrr_def_type;
    memcpy(s->mtrr_fixed, old->mtrr_fixed, sizeof s->mtrr_fixed);
    memcpy(s->mtrr_phys_base, old->mtrr_phys_base, sizeof s->mtrr_phys_base);
    memcpy(s->mtrr_phys_mask, old->mtrr_phys_mask, sizeof s->mtrr_phys_mask);
    s->mcg_status = old->mcg_status;
    s->mcg_ctl = old->mcg_ctl;
    s->kvm_system_time = old->kvm_system_time;
    s->kvm_wall_clock = old->kvm_wall_clock;
    s->tsc_offset = old->tsc_offset;
    memcpy(s->xsave, old->xsave, sizeof s->xsave);
}

void x86_state_reset(struct x86_state *s, bool init, uint32_t cpuid_signature)
{
    struct x86_state old = *s;

    memset(s, 0, sizeof *s);
    s->gpr[REG_RDX] = cpuid_signature;
    s->rip = 0xfff0;
    s->rflags = RFLAGS_FIXED;
    for (unsigned n = 0; n < SEG_COUNT; n++) s->seg[n] = reset_segment(0, 0, SEG_ATTR_S | 3);
    s->seg[SEG_CS] = reset_segment(0xf000, 0xffff0000, SEG_ATTR_S | 0xb);
    s->ldtr = reset_segment(0, 0, 2);
    s->tr = reset_segment(0, 0, 0xb);
    s->gdtr.limit = s->idtr.limit = 0xffff;
    s->cr0 = CR0_ET | (init ? 0 : CR0_CD | CR0_NW);
    s->dr[6] = 0xffff0ff0;
    s->dr[7] = 0x400;
    s->xcr0 = 1;
    s->pat = 0x0007040600070406;
    s->apic_base = 0xfee00900;                         /* the machine clears BSP on application processors */
    s->misc_enable = 1;                                /* fast strings */
    s->smbase = 0x30000;
    reset_fpu(s);
    if (init) keep_over_init(s, &old);
}
