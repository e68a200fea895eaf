/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RDMSR and WRMSR. Three kinds of register: plain ones that live in struct x86_state (a table), constants and
 * write-ignored ones that operating systems touch on processors of this vendor (a second table), and those that do
 * something (functions). All others are #GP, with a trace line, since kernels probe.
 *
 * The machine-check banks report nothing and take everything. DEBUGCTL's branch stepping is not offered.
 * Sources: AMD APM volume 2 appendix A, BKDG family 10h-19h; Intel SDM volume 4; Linux Documentation/virt/kvm/x86/msr.rst.
 */
#include "base/log.h"
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper.h"

enum {
    MSR_TSC = 0x10,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_ARCH_CAPABILITIES = 0x10a,
    MSR_MTRR_PHYS = 0x200,
    MSR_MTRR_PHYS_LAST = 0x20f,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K = 0x258,
    MSR_MTRR_FIX4K = 0x268,
    MSR_PAT = 0x277,
    MSR_MC0_CTL = 0x400,
    MSR_MC_LAST = 0x417,
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
    MSR_KVM_WALL_OLD = 0x11,
    MSR_KVM_SYSTEM_OLD = 0x12,
    MSR_KVM_WALL = 0x4b564d00,
    MSR_KVM_SYSTEM = 0x4b564d01
};
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_SFMASK 0xc0000084u
#define MSR_TSC_AUX 0xc0000103u

/* ---- Plain registers ---- */

struct plain { uint32_t msr, offset; uint64_t writable; bool canonical; };
#define FIELD(member) (uint32_t)offsetof(struct x86_state, member)
static const struct plain plain[] = {
    { 0x174, FIELD(sysenter_cs), 0xffffffff, false },
    { 0x175, FIELD(sysenter_esp), ~0ull, true },
    { 0x176, FIELD(sysenter_eip), ~0ull, true },
    { 0x17a, FIELD(mcg_status), 7, false },
    { 0x17b, FIELD(mcg_ctl), ~0ull, false },
    { 0x1a0, FIELD(misc_enable), ~0ull, false },
    { 0x2ff, FIELD(mtrr_def_type), 0xcff, false },
    { MSR_STAR, FIELD(star), ~0ull, false },
    { 0xc0000082, FIELD(lstar), ~0ull, true },
    { 0xc0000083, FIELD(cstar), ~0ull, true },
    { MSR_SFMASK, FIELD(fmask), 0xffffffff, false },
    { 0xc0000100, FIELD(seg[SEG_FS].base), ~0ull, true },
    { 0xc0000101, FIELD(seg[SEG_GS].base), ~0ull, true },
    { 0xc0000102, FIELD(kernel_gs_base), ~0ull, true },
};

static const struct plain *plain_find(uint32_t msr)
{
    for (unsigned i = 0; i < ARRAY_SIZE(plain); i++)
        if (plain[i].msr == msr) return &plain[i];
    return NULL;
}

static uint64_t *plain_field(struct x86_state *s, const struct plain *p)
{
    return (uint64_t *)((uint8_t *)s + p->offset);
}

/* ---- Constants ---- */

struct constant { uint32_t first, last; uint64_t value; bool write_ignored; };
static const struct constant constants[] = {
    { 0x17, 0x17, 0, false },                          /* platform id */
    { 0x3a, 0x3a, 1, false },                          /* feature control: locked */
    { 0x79, 0x79, 0, true },                           /* microcode load */
    { 0x8b, 0x8b, 0x01000065, true },                  /* PATCH_LEVEL */
    { 0xfe, 0xfe, 0x508, false },                      /* MTRRCAP: 8 variable, fixed, write combining */
    { 0x179, 0x179, 0x106, false },                    /* MCG_CAP: MCG_CTL, 6 banks */
    { 0x198, 0x199, 0, true },                         /* PERF_STATUS, PERF_CTL */
    { 0x1d9, 0x1d9, 0, true },                         /* DEBUGCTL */
    { 0x1db, 0x1de, 0, false },                        /* last branch, last exception */
    { 0xc0010000, 0xc0010007, 0, true },               /* PerfEvtSel, PerfCtr */
    { 0xc0010010, 0xc0010010, 0, true },               /* SYSCFG */
    { 0xc0010015, 0xc0010015, 1 << 24, true },         /* HWCR: TscFreqSel, the TSC counts at P0 */
    { 0xc0010016, 0xc0010019, 0, true },               /* IORR */
    { 0xc001001a, 0xc001001a, 0, true },               /* TOP_MEM */
    { 0xc001001d, 0xc001001d, 0, true },               /* TOP_MEM2 */
    { 0xc001001f, 0xc001001f, 0, true },               /* NB_CFG */
    { 0xc0010020, 0xc0010020, 0, true },               /* microcode load */
    { 0xc0010055, 0xc0010055, 0, true },               /* interrupt pending message (C1E) */
    { 0xc0010058, 0xc0010058, 0, true },               /* MMIO configuration base */
    { 0xc0010061, 0xc001006b, 0, true },               /* P-states */
    { 0xc0010112, 0xc0010113, 0, true },               /* TSEG */
    { 0xc0010114, 0xc0010114, 0x18, true },            /* VM_CR: SVM is off, and locked so */
    { 0xc0010117, 0xc0010117, 0, true },               /* VM_HSAVE_PA */
    { 0xc0010140, 0xc0010141, 0, true },               /* OS visible workarounds */
    { 0xc0011020, 0xc0011023, 0, true },               /* LS_CFG, IC_CFG, DC_CFG, CU_CFG */
    { 0xc0011028, 0xc0011028, 0, true },               /* FP_CFG */
    { 0xc0011029, 0xc0011029, 2, true },               /* DE_CFG: LFENCE is serializing */
    { 0xc001102a, 0xc001102d, 0, true },               /* BU_CFG2, CU_CFG2 ... */
};

static const struct constant *constant_find(uint32_t msr)
{
    for (unsigned i = 0; i < ARRAY_SIZE(constants); i++)
        if (msr >= constants[i].first && msr <= constants[i].last) return &constants[i];
    return NULL;
}

/* ---- Memory types ---- */

static bool is_memory_type(unsigned type, bool pat)
{
    return type <= 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static bool are_memory_types(uint64_t value, bool pat)
{
    for (unsigned i = 0; i < 8; i++)
        if (!is_memory_type(value >> (8 * i) & 0xff, pat)) return false;
    return true;
}

static uint64_t *mtrr_fixed(struct x86_state *s, uint32_t msr)
{
    if (msr == MSR_MTRR_FIX64K) return &s->mtrr_fixed[0];
    if (msr == MSR_MTRR_FIX16K || msr == MSR_MTRR_FIX16K + 1) return &s->mtrr_fixed[1 + msr - MSR_MTRR_FIX16K];
    if (msr >= MSR_MTRR_FIX4K && msr < MSR_MTRR_FIX4K + 8) return &s->mtrr_fixed[3 + msr - MSR_MTRR_FIX4K];
    return NULL;
}

static uint64_t *mtrr_variable(struct x86_state *s, uint32_t msr)
{
    if (msr < MSR_MTRR_PHYS || msr > MSR_MTRR_PHYS_LAST) return NULL;
    return msr & 1 ? &s->mtrr_phys_mask[(msr - MSR_MTRR_PHYS) / 2]
                   : &s->mtrr_phys_base[(msr - MSR_MTRR_PHYS) / 2];
}

static bool mtrr_write(struct bt_vcpu *v, uint32_t msr, uint64_t value, bool *ok)
{
    struct x86_state *s = bt_state(v);
    uint64_t *fixed = mtrr_fixed(s, msr), *variable = mtrr_variable(s, msr);
    if (!fixed && !variable) return false;
    uint64_t defined = v->engine->host_phys_mask & (msr & 1 ? ~0x7ffull : ~0xf00ull);
    *ok = fixed ? are_memory_types(value, false) : !(value & ~defined) && ((msr & 1) || is_memory_type(value & 0xff, false));
    if (*ok) *(fixed ? fixed : variable) = value;
    return true;
}

/* ---- Those that do something ---- */

static bool efer_write(struct bt_vcpu *v, uint64_t value)
{
    struct x86_state *s = bt_state(v);
    uint64_t allowed = EFER_SCE | EFER_LME | EFER_LMA;
    if (bt_has(v, 0x80000001, 0, 3, 20)) allowed |= EFER_NXE;
    if (bt_has(v, 0x80000021, 0, 0, 8)) allowed |= EFER_AIBRSE;
    if (value & ~allowed) return false;
    if (((value ^ s->efer) & EFER_LME) && (s->cr0 & CR0_PG)) return false;
    bool flush = (value ^ s->efer) & EFER_NXE;
    s->efer = (value & ~(uint64_t)EFER_LMA) | (s->efer & EFER_LMA);
    if (flush) bt_tlb_flush(v, true);
    bt_gates_shut(v);
    return true;
}

static bool has_kvmclock(struct bt_vcpu *v, bool old) { return bt_has(v, 0x40000001, 0, 0, old ? 0 : 3); }
static bool is_apic_msr(uint32_t msr)
{
    return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE || (msr >= MSR_X2APIC && msr <= MSR_X2APIC_LAST);
}
static bool has_spec_ctrl(struct bt_vcpu *v)
{
    return bt_has(v, 7, 0, 3, 26) || bt_has(v, 0x80000008, 0, 1, 14);
}

/* That the processor has none of the faults which kernels work around, and that IBRS is set once if at all: what a guest could do about
 * them would do nothing here (x86/cpuid.c). SDM volume 4, table 2-2. */
static uint64_t arch_capabilities(struct bt_vcpu *v)
{
    enum { RDCL_NO = 0, IBRS_ALL = 1, SKIP_L1DFL = 3, SSB_NO = 4, MDS_NO = 5, PSCHANGE_MC_NO = 6, TAA_NO = 8, SBDR_SSDP_NO = 13, FBSDP_NO = 14,
           PSDP_NO = 15, BHI_NO = 20, PBRSB_NO = 24, GDS_NO = 26, RFDS_NO = 27, ITS_NO = 62 };
    static const uint8_t free_of[] = { RDCL_NO, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO,
                                       GDS_NO, RFDS_NO, ITS_NO };
    uint64_t value = has_spec_ctrl(v) ? 1ull << IBRS_ALL : 0;
    for (unsigned i = 0; i < ARRAY_SIZE(free_of); i++) value |= 1ull << free_of[i];
    return value;
}
static bool has_tsc_aux(struct bt_vcpu *v) { return bt_has(v, 0x80000001, 0, 3, 27) || bt_has(v, 7, 0, 2, 22); }

/* The other registers. *ok: exists and could be read. */
static uint64_t active_read(struct bt_vcpu *v, uint32_t msr, bool *ok)
{
    struct x86_state *s = bt_state(v);
    const uint64_t *mtrr = mtrr_fixed(s, msr) ? mtrr_fixed(s, msr) : mtrr_variable(s, msr);
    uint64_t value = 0;
    *ok = true;
    if (mtrr) return *mtrr;
    if (is_apic_msr(msr)) {
        *ok = bt_apic_msr_read(v, msr, &value);
        return value;
    }
    if (msr >= MSR_MC0_CTL && msr <= MSR_MC_LAST) return msr & 3 ? 0 : ~0ull;
    switch (msr) {
    case MSR_EFER: return s->efer;
    case MSR_TSC: return bt_tsc(v);
    case MSR_PAT: return s->pat;
    case MSR_TSC_AUX: *ok = has_tsc_aux(v); return s->tsc_aux;
    case MSR_SPEC_CTRL: *ok = has_spec_ctrl(v); return s->spec_ctrl;
    case MSR_ARCH_CAPABILITIES: *ok = bt_has(v, 7, 0, 3, 29); return arch_capabilities(v);
    case MSR_TSC_ADJUST: *ok = bt_has(v, 7, 0, 1, 1); return s->tsc_adjust;
    case MSR_KVM_WALL:
    case MSR_KVM_WALL_OLD: *ok = has_kvmclock(v, msr == MSR_KVM_WALL_OLD); return s->kvm_wall_clock;
    case MSR_KVM_SYSTEM:
    case MSR_KVM_SYSTEM_OLD: *ok = has_kvmclock(v, msr == MSR_KVM_SYSTEM_OLD); return s->kvm_system_time;
    default: *ok = false; return 0;
    }
}

/* The guest's TSC moves by delta. */
static void tsc_move(struct bt_vcpu *v, int64_t delta)
{
    struct x86_state *s = bt_state(v);
    s->tsc_offset = (int64_t)((uint64_t)s->tsc_offset + (uint64_t)delta);
    s->tsc_adjust = (int64_t)((uint64_t)s->tsc_adjust + (uint64_t)delta);
    kvmclock_update(v);
}

static bool kvm_write(struct bt_vcpu *v, uint32_t msr, uint64_t value)
{
    struct x86_state *s = bt_state(v);
    if (!has_kvmclock(v, msr == MSR_KVM_WALL_OLD || msr == MSR_KVM_SYSTEM_OLD)) return false;
    if (msr == MSR_KVM_WALL || msr == MSR_KVM_WALL_OLD) {
        s->kvm_wall_clock = value;
        kvmclock_wall_write(v, value);
    } else {
        s->kvm_system_time = value;
        kvmclock_update(v);
    }
    return true;
}

static bool active_write(struct bt_vcpu *v, uint32_t msr, uint64_t value)
{
    struct x86_state *s = bt_state(v);
    bool ok;
    if (mtrr_write(v, msr, value, &ok)) return ok;
    if (is_apic_msr(msr)) return bt_apic_msr_write(v, msr, value);
    if (msr >= MSR_MC0_CTL && msr <= MSR_MC_LAST) return true;
    switch (msr) {
    case MSR_EFER: return efer_write(v, value);
    case MSR_TSC: tsc_move(v, (int64_t)(value - bt_tsc(v))); return true;
    case MSR_TSC_ADJUST:
        if (!bt_has(v, 7, 0, 1, 1)) return false;
        tsc_move(v, (int64_t)(value - (uint64_t)s->tsc_adjust));
        return true;
    case MSR_PAT:
        if (!are_memory_types(value, true)) return false;
        s->pat = value;
        return true;
    case MSR_TSC_AUX:
        if (!has_tsc_aux(v) || value >> 32) return false;
        s->tsc_aux = value;
        return true;
    case MSR_SPEC_CTRL:
        if (!has_spec_ctrl(v) || (value & ~(bt_has(v, 7, 2, 3, 4) ? 0x407ull : 7ull))) return false;
        s->spec_ctrl = value;
        return true;
    case MSR_PRED_CMD: return (has_spec_ctrl(v) || bt_has(v, 0x80000008, 0, 1, 12)) && !(value & ~1ull);
    case MSR_KVM_WALL:
    case MSR_KVM_WALL_OLD:
    case MSR_KVM_SYSTEM:
    case MSR_KVM_SYSTEM_OLD: return kvm_write(v, msr, value);
    default: return false;
    }
}

/* ---- The instructions ---- */

bool msr_read(struct bt_vcpu *v, uint32_t msr, uint64_t *value)
{
    const struct plain *p = plain_find(msr);
    const struct constant *c = p ? NULL : constant_find(msr);
    bool ok = true;
    *value = p ? *plain_field(bt_state(v), p) : c ? c->value : active_read(v, msr, &ok);
    return ok;
}

bool msr_write(struct bt_vcpu *v, uint32_t msr, uint64_t value)
{
    const struct plain *p = plain_find(msr);
    if (p) {
        if (p->canonical && !is_canonical(value)) return false;
        if (value & ~p->writable) return false;
        *plain_field(bt_state(v), p) = value;
        if (msr == MSR_STAR || msr == MSR_SFMASK) bt_gates_shut(v);
        return true;
    }
    const struct constant *c = constant_find(msr);
    return c ? c->write_ignored : active_write(v, msr, value);
}

struct trace_call { uint32_t msr; uint64_t value; const char *what; };
static void trace_unknown(struct bt_vcpu *v, void *arg)
{
    const struct trace_call *t = arg;
    trace_print("%s of MSR %#x, value %#lx, at %#lx: #GP\n", t->what, t->msr, (unsigned long)t->value,
                (unsigned long)v->s.rip);
}

static _Noreturn void refuse(struct bt_vcpu *v, uint32_t msr, uint64_t value, const char *what)
{
    struct trace_call t = { msr, value, what };
    if (trace_is_on(TRACE_UNIMP)) bt_host_call(v, trace_unknown, &t);
    bt_raise_error(v, VECTOR_GP, 0);
}

void helper_rdmsr(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint64_t value = 0;
    require_cpl0(v);
    if (!msr_read(v, s->gpr[REG_RCX], &value)) refuse(v, s->gpr[REG_RCX], 0, "read");
    s->gpr[REG_RAX] = (uint32_t)value;
    s->gpr[REG_RDX] = value >> 32;
}

void helper_wrmsr(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    uint64_t value = (uint32_t)s->gpr[REG_RAX] | s->gpr[REG_RDX] << 32;
    require_cpl0(v);
    if (!msr_write(v, s->gpr[REG_RCX], value)) refuse(v, s->gpr[REG_RCX], value, "write");
    s->rip = bt_next_rip(v, insn);
}
