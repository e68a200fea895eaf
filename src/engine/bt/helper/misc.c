/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small helpers, each a few lines, and the table of all helpers that are not system instructions.
 *
 * RDPMC: the four counters of every AMD CPU exist and stand at 0. MWAIT wakes at once (it may), after giving
 * the host CPU away. VMMCALL answers as KVM does for an unknown hypercall when CPUID shows KVM's leaves, else
 * it is #UD.
 * Sources: Intel SDM volume 2, AMD APM volume 3, Linux Documentation/virt/kvm/x86/hypercalls.rst.
 */
#include "engine/bt/helper/helper_b.h"

enum { PMC_COUNT = 4, LINE_BYTES = 64, MOVDIR_BYTES = 64 };
enum { KVM_ENOSYS = 1000, KVM_EPERM = 1 };

void helper_cpuid(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint32_t out[4];
    bt_cpuid(v, s->gpr[REG_RAX], s->gpr[REG_RCX], out);
    s->gpr[REG_RAX] = out[0];
    s->gpr[REG_RBX] = out[1];
    s->gpr[REG_RCX] = out[2];
    s->gpr[REG_RDX] = out[3];
}

static void edx_eax_set(struct x86_state *s, uint64_t value)
{
    s->gpr[REG_RAX] = (uint32_t)value;
    s->gpr[REG_RDX] = value >> 32;
}

static void tsc_check(struct bt_vcpu *v)
{
    const struct x86_state *s = bt_state(v);
    if ((s->cr4 & CR4_TSD) && x86_cpl(s)) bt_raise_error(v, VECTOR_GP, 0);
}

void helper_rdtsc(struct bt_vcpu *v, const struct x86_insn *insn)
{
    tsc_check(v);
    edx_eax_set(bt_state(v), bt_tsc(v));
}

void helper_rdtscp(struct bt_vcpu *v, const struct x86_insn *insn)
{
    tsc_check(v);
    edx_eax_set(bt_state(v), bt_tsc(v));
    bt_state(v)->gpr[REG_RCX] = (uint32_t)bt_state(v)->tsc_aux;
}

void helper_rdpid(struct bt_vcpu *v, const struct x86_insn *insn)
{
    bt_state(v)->gpr[insn->operand[0].reg & 15] = (uint32_t)bt_state(v)->tsc_aux;
}

void helper_rdpmc(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    if (!(s->cr4 & CR4_PCE) && x86_cpl(s)) bt_raise_error(v, VECTOR_GP, 0);
    if ((uint32_t)s->gpr[REG_RCX] >= PMC_COUNT) bt_raise_error(v, VECTOR_GP, 0);
    edx_eax_set(s, 0);
}

void helper_pause(struct bt_vcpu *v, const struct x86_insn *insn) { bt_yield(v); }

void helper_monitor(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    if (x86_cpl(s)) bt_raise(v, VECTOR_UD);
    if ((uint32_t)s->gpr[REG_RCX]) bt_raise_error(v, VECTOR_GP, 0);
    gva_t linear = bt_linear(v, insn->seg, address_get(s, REG_RAX, insn->addrsize), 1, BT_READ);
    bt_load(v, linear, 1, BT_READ);
}

void helper_mwait(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    if (x86_cpl(s)) bt_raise(v, VECTOR_UD);
    if ((uint32_t)s->gpr[REG_RCX] & ~1u) bt_raise_error(v, VECTOR_GP, 0);
    s->rip = bt_next_rip(v, insn);
    bt_yield(v);
}

void helper_vmmcall(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint32_t out[4];
    bt_cpuid(v, 0x40000000, 0, out);
    if (out[1] != 0x4b4d564b || out[2] != 0x564b4d56 || out[3] != 0x4d) bt_raise(v, VECTOR_UD);
    int64_t answer = x86_cpl(s) ? -KVM_EPERM : -KVM_ENOSYS;
    s->gpr[REG_RAX] = x86_is_code64(s) ? (uint64_t)answer : (uint32_t)answer;
    s->rip = bt_next_rip(v, insn);
}

void helper_xlat(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint64_t offset = (s->gpr[REG_RBX] + (uint8_t)s->gpr[REG_RAX]) & mask_of_size(insn->addrsize);
    gpr_set(s, REG_RAX, bt_load(v, bt_linear(v, insn->seg, offset, 1, BT_READ), 1, BT_READ), 1);
}

void helper_salc(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    gpr_set(s, REG_RAX, s->rflags & RFLAGS_CF ? 0xff : 0, 1);
}

void helper_clzero(struct bt_vcpu *v, const struct x86_insn *insn)
{
    static const uint8_t zero[LINE_BYTES];
    struct x86_state *s = bt_state(v);
    uint64_t offset = address_get(s, REG_RAX, insn->addrsize) & ~(uint64_t)(LINE_BYTES - 1);
    bt_store_bytes(v, bt_linear(v, insn->seg, offset, LINE_BYTES, BT_WRITE), zero, LINE_BYTES, BT_WRITE);
}

void helper_movdir64b(struct bt_vcpu *v, const struct x86_insn *insn)
{
    uint8_t line[MOVDIR_BYTES];
    struct x86_state *s = bt_state(v);
    gva_t from = bt_operand_linear(v, insn, MOVDIR_BYTES, BT_READ);
    uint64_t offset = address_get(s, insn->operand[0].reg & 15, insn->addrsize);
    gva_t to = bt_linear(v, SEG_ES, offset, MOVDIR_BYTES, BT_WRITE);
    if (to & (MOVDIR_BYTES - 1)) bt_raise_error(v, VECTOR_GP, 0);
    bt_load_bytes(v, from, line, MOVDIR_BYTES, BT_READ);
    bt_store_bytes(v, to, line, MOVDIR_BYTES, BT_WRITE);
}

const struct helper_row helper_rows_misc[] = {
    { X86_MOVS, HELPER_NEXT, helper_movs },
    { X86_STOS, HELPER_NEXT, helper_stos },
    { X86_LODS, HELPER_NEXT, helper_lods },
    { X86_SCAS, HELPER_NEXT, helper_scas },
    { X86_CMPS, HELPER_NEXT, helper_cmps },
    /* What a device does on a write (move memory, reset, stop) must count at once: the block ends. */
    { X86_IN, HELPER_NEXT, helper_in },
    { X86_OUT, HELPER_END, helper_out },
    { X86_INS, HELPER_END, helper_ins },
    { X86_OUTS, HELPER_END, helper_outs },
    { X86_DAA, HELPER_NEXT, helper_daa },
    { X86_DAS, HELPER_NEXT, helper_das },
    { X86_AAA, HELPER_NEXT, helper_aaa },
    { X86_AAS, HELPER_NEXT, helper_aas },
    { X86_AAM, HELPER_NEXT, helper_aam },
    { X86_AAD, HELPER_NEXT, helper_aad },
    { X86_ENTER, HELPER_NEXT, helper_enter },
    { X86_PUSHA, HELPER_NEXT, helper_pusha },
    { X86_POPA, HELPER_NEXT, helper_popa },
    { X86_BOUND, HELPER_NEXT, helper_bound },
    { X86_INTO, HELPER_END, helper_into },
    { X86_FXSAVE, HELPER_NEXT, helper_fxsave },
    { X86_FXRSTOR, HELPER_NEXT, helper_fxrstor },
    { X86_XSAVE, HELPER_NEXT, helper_xsave },
    { X86_XSAVEOPT, HELPER_NEXT, helper_xsave },
    { X86_XSAVEC, HELPER_NEXT, helper_xsavec },
    { X86_XRSTOR, HELPER_NEXT, helper_xrstor },
    { X86_XGETBV, HELPER_NEXT, helper_xgetbv },
    { X86_XSETBV, HELPER_END, helper_xsetbv },
    { X86_FNSTENV, HELPER_NEXT, helper_fnstenv },
    { X86_FLDENV, HELPER_NEXT, helper_fldenv },
    { X86_FNSAVE, HELPER_NEXT, helper_fnsave },
    { X86_FRSTOR, HELPER_NEXT, helper_frstor },
    { X86_WAIT, HELPER_NEXT, helper_wait },
    { X86_VMASKMOVPS, HELPER_NEXT, helper_masked_move, NULL },
    { X86_VMASKMOVPD, HELPER_NEXT, helper_masked_move, NULL },
    { X86_VPMASKMOVD, HELPER_NEXT, helper_masked_move, NULL },
    { X86_VPMASKMOVQ, HELPER_NEXT, helper_masked_move, NULL },
    { X86_VPGATHERDD, HELPER_NEXT, helper_gather },
    { X86_VPGATHERDQ, HELPER_NEXT, helper_gather },
    { X86_VPGATHERQD, HELPER_NEXT, helper_gather },
    { X86_VPGATHERQQ, HELPER_NEXT, helper_gather },
    { X86_VGATHERDPS, HELPER_NEXT, helper_gather },
    { X86_VGATHERDPD, HELPER_NEXT, helper_gather },
    { X86_VGATHERQPS, HELPER_NEXT, helper_gather },
    { X86_VGATHERQPD, HELPER_NEXT, helper_gather },
    { X86_CPUID, HELPER_NEXT, helper_cpuid },
    { X86_RDTSC, HELPER_NEXT, helper_rdtsc },
    { X86_RDTSCP, HELPER_NEXT, helper_rdtscp },
    { X86_RDPID, HELPER_NEXT, helper_rdpid },
    { X86_RDPMC, HELPER_NEXT, helper_rdpmc },
    { X86_PAUSE, HELPER_NEXT, helper_pause },
    { X86_MONITOR, HELPER_NEXT, helper_monitor },
    { X86_MWAIT, HELPER_END, helper_mwait },
    { X86_VMMCALL, HELPER_END, helper_vmmcall },
    { X86_VMCALL, HELPER_END, helper_vmmcall },
    { X86_XLAT, HELPER_NEXT, helper_xlat },
    { X86_SALC, HELPER_NEXT, helper_salc },
    { X86_CLZERO, HELPER_NEXT, helper_clzero },
    { X86_MOVDIR64B, HELPER_NEXT, helper_movdir64b },
};
const unsigned helper_rows_misc_count = ARRAY_SIZE(helper_rows_misc);
