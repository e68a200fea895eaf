/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control and debug registers: MOV CR, MOV DR, CLTS, SMSW, LMSW.
 *
 * The softmmu keeps no PCID: a CR3 write that keeps its entries (bit 63 with CR4.PCIDE) drops them too, which the
 * architecture allows at any time. Reserved bits of the lower halves of CR0 are ignored, as AMD's processors do; bits
 * of CR4 without their CPUID feature are #GP.
 * Sources: Intel SDM 3A 2.5, 17.2 (debug registers), volume 2 (MOV CR); AMD APM volume 2 sections 3.1, 13.1.
 */
#include "base/log.h"
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper.h"

static _Noreturn void gp(struct bt_vcpu *v) { bt_raise_error(v, VECTOR_GP, 0); }

static void next(struct bt_vcpu *v, const struct x86_insn *insn) { bt_state(v)->rip = bt_next_rip(v, insn); }

static const struct x86_operand *gpr_operand(const struct x86_insn *insn)
{
    return &insn->operand[insn->operand[0].reg_class == RC_GPR ? 0 : 1];
}

static unsigned special_register(const struct x86_insn *insn)
{
    return insn->operand[insn->operand[0].reg_class == RC_GPR ? 1 : 0].reg;
}

static uint64_t source(struct bt_vcpu *v, const struct x86_insn *insn)
{
    uint64_t value = bt_state(v)->gpr[gpr_operand(insn)->reg & 15];
    return insn->mode == X86_CODE64 ? value : (uint32_t)value;
}

static void destination(struct bt_vcpu *v, const struct x86_insn *insn, uint64_t value)
{
    bt_state(v)->gpr[gpr_operand(insn)->reg & 15] = insn->mode == X86_CODE64 ? value : (uint32_t)value;
}

/* ---- CR0 ---- */

enum { CR0_DEFINED_LOW = 0x5003f };
#define CR0_DEFINED (CR0_DEFINED_LOW | CR0_NW | CR0_CD | CR0_PG)

/* Paging goes on with EFER.LME set, or off: long mode follows. */
static void long_mode_follow(struct bt_vcpu *v, uint64_t value)
{
    struct x86_state *s = bt_state(v);
    bool on = (value & CR0_PG) && !(s->cr0 & CR0_PG), off = !(value & CR0_PG) && (s->cr0 & CR0_PG);
    if (on && (s->efer & EFER_LME)) {
        if (!(s->cr4 & CR4_PAE) || (s->seg[SEG_CS].attr & SEG_ATTR_L)) gp(v);
        s->efer |= EFER_LMA;
    }
    if (off) {
        if (x86_is_code64(s) || (s->cr4 & CR4_PCIDE)) gp(v);
        s->efer &= ~(uint64_t)EFER_LMA;
    }
}

static void cr0_write(struct bt_vcpu *v, uint64_t value)
{
    struct x86_state *s = bt_state(v);
    if (value >> 32 || ((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
        gp(v);
    value = (value & CR0_DEFINED) | CR0_ET;
    long_mode_follow(v, value);
    bool mapping = (value ^ s->cr0) & (CR0_PG | CR0_WP);      /* CR0.PE alone changes no translation */
    s->cr0 = value;
    if (mapping) bt_tlb_flush(v, true);
}

/* ---- CR3, CR4 ---- */

void cr3_set(struct bt_vcpu *v, uint64_t value, bool keep)
{
    struct x86_state *s = bt_state(v);
    s->cr3 = value;
    if (trace_is_on(TRACE_MMU)) trace_cr3(v, value, keep);
    bt_tlb_switch(v, s->cr4 & CR4_PCIDE ? value & 0xfff : 0, keep);
}

static void cr3_write(struct bt_vcpu *v, uint64_t value)
{
    struct x86_state *s = bt_state(v);
    bool keep = false;
    if (s->cr4 & CR4_PCIDE) {
        keep = value >> 63;
        value &= ~(1ull << 63);
    }
    if (x86_is_long(s) && (value & ~v->engine->host_phys_mask)) gp(v);
    cr3_set(v, value, keep);
}

/* Bits that a guest with this CPUID may set. */
static uint64_t cr4_allowed(struct bt_vcpu *v)
{
    static const struct { uint32_t leaf; uint8_t reg, bit; uint32_t cr4; } rows[] = {
        { 1, 3, 1, CR4_VME | CR4_PVI }, { 1, 3, 4, CR4_TSD },      { 1, 3, 2, CR4_DE },
        { 1, 3, 3, CR4_PSE },           { 1, 3, 6, CR4_PAE },      { 1, 3, 7, CR4_MCE },
        { 1, 3, 13, CR4_PGE },          { 1, 3, 24, CR4_OSFXSR },  { 1, 3, 25, CR4_OSXMMEXCPT },
        { 7, 2, 2, CR4_UMIP },          { 7, 1, 0, CR4_FSGSBASE }, { 1, 2, 17, CR4_PCIDE },
        { 1, 2, 26, CR4_OSXSAVE },      { 7, 1, 7, CR4_SMEP },     { 7, 1, 20, CR4_SMAP },
    };
    uint64_t allowed = CR4_PCE;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (bt_has(v, rows[i].leaf, 0, rows[i].reg, rows[i].bit)) allowed |= rows[i].cr4;
    return allowed;
}

static void cr4_write(struct bt_vcpu *v, uint64_t value)
{
    struct x86_state *s = bt_state(v);
    uint64_t change = value ^ s->cr4;
    if (value & ~cr4_allowed(v)) gp(v);
    if (x86_is_long(s) && !(value & CR4_PAE)) gp(v);
    if ((change & value & CR4_PCIDE) && (!x86_is_long(s) || (s->cr3 & 0xfff))) gp(v);
    s->cr4 = value;
    if (change & CR4_PCIDE) bt_tlb_switch(v, value & CR4_PCIDE ? s->cr3 & 0xfff : 0, false);
    if (change & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PCIDE)) bt_tlb_flush(v, true);
}

void helper_mov_to_cr(struct bt_vcpu *v, const struct x86_insn *insn)
{
    uint64_t value = source(v, insn);
    unsigned n = special_register(insn);
    if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8) bt_raise(v, VECTOR_UD);
    require_cpl0(v);
    switch (n) {
    case 0: cr0_write(v, value); break;
    case 2: bt_state(v)->cr2 = value; break;
    case 3: cr3_write(v, value); break;
    case 4: cr4_write(v, value); break;
    default:
        if (value & ~15ull) gp(v);
        bt_tpr_set(v, value);
    }
    next(v, insn);
}

void helper_mov_from_cr(struct bt_vcpu *v, const struct x86_insn *insn)
{
    const struct x86_state *s = bt_state(v);
    uint64_t value;
    unsigned n = special_register(insn);
    if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8) bt_raise(v, VECTOR_UD);
    require_cpl0(v);
    switch (n) {
    case 0: value = s->cr0; break;
    case 2: value = s->cr2; break;
    case 3: value = s->cr3; break;
    case 4: value = s->cr4; break;
    default: value = bt_tpr_get(v);
    }
    destination(v, insn, value);
}

/* ---- The machine status word ---- */

void helper_clts(struct bt_vcpu *v, const struct x86_insn *insn)
{
    require_cpl0(v);
    bt_state(v)->cr0 &= ~(uint64_t)CR0_TS;
    next(v, insn);
}

void helper_smsw(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    if ((s->cr4 & CR4_UMIP) && x86_cpl(s) == 3) gp(v);
    if (insn->operand[0].kind == OPND_MEM) {
        bt_store(v, bt_operand_linear(v, insn, 2, BT_WRITE), s->cr0, 2, BT_WRITE);
    } else {
        uint64_t *g = &s->gpr[insn->operand[0].reg & 15];
        *g = insn->opsize == 2 ? (*g & ~0xffffull) | (uint16_t)s->cr0 : s->cr0;
    }
}

void helper_lmsw(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    const struct x86_operand *o = &insn->operand[0];
    require_cpl0(v);
    uint64_t value = o->kind == OPND_MEM ? bt_load(v, bt_operand_linear(v, insn, 2, BT_READ), 2, BT_READ)
                                         : s->gpr[o->reg & 15];
    uint64_t keep = s->cr0 & CR0_PE;                   /* PE can be set, not cleared */
    cr0_write(v, (s->cr0 & ~15ull) | (value & 15) | keep);
    next(v, insn);
}

/* ---- Debug registers ---- */

#define DR6_FIXED 0xffff0ff0ull
#define DR6_DEFINED 0xe00full
#define DR7_FIXED 0x400ull
#define DR7_DEFINED 0xffff23ffull

/* The register that MOV DR names; DR4 and DR5 are DR6 and DR7, or #UD with CR4.DE. */
static unsigned debug_register(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    unsigned n = special_register(insn);
    if (n > 7 || ((n == 4 || n == 5) && (s->cr4 & CR4_DE))) bt_raise(v, VECTOR_UD);
    require_cpl0(v);
    if (s->dr[7] & 1 << 13) {
        s->dr[6] |= 1 << 13;
        bt_raise(v, VECTOR_DB);
    }
    return n == 4 || n == 5 ? n + 2 : n;
}

void helper_mov_from_dr(struct bt_vcpu *v, const struct x86_insn *insn)
{
    const struct x86_state *s = bt_state(v);
    unsigned n = debug_register(v, insn);
    uint64_t value = n == 6   ? (s->dr[6] & DR6_DEFINED) | DR6_FIXED
                     : n == 7 ? (s->dr[7] & DR7_DEFINED) | DR7_FIXED
                              : s->dr[n];
    destination(v, insn, value);
}

void helper_mov_to_dr(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    unsigned n = debug_register(v, insn);
    uint64_t value = source(v, insn);
    if (n >= 6 && value >> 32) gp(v);
    bool active = s->dr[7] & 0xff;
    if (n == 6) s->dr[6] = (value & DR6_DEFINED) | DR6_FIXED;
    else if (n == 7) s->dr[7] = (value & DR7_DEFINED) | DR7_FIXED;
    else s->dr[n] = value;
    if (n != 6 && (active || (s->dr[7] & 0xff))) {
        /* Blocks end at breakpoints, watched pages have no TLB entry. */
        s->rflags &= ~(uint64_t)RFLAGS_RF;
        v->engine->flush_all = true;
        bt_tlb_flush(v, true);
    }
    next(v, insn);
}
