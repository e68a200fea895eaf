/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers in and out of the kernel. x86_state's names are the manuals'; KVM spreads them over eight ioctls.
 *
 * A state that is set as it is after power-on resets the chips in the kernel as well: the local APIC of its vCPU and,
 * with vCPU 0, the 8259s, the I/O APIC and the PIT.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "base/bits.h"
#include "base/log.h"
#include "engine/kvm/kvm_private.h"

/* MSRs that are kept in x86_state, with their place there. */
static const struct { uint32_t index; uint32_t offset; } msrs[] = {
#define M(number, field) { number, offsetof(struct x86_state, field) }
    M(0xc0000081, star), M(0xc0000082, lstar), M(0xc0000083, cstar), M(0xc0000084, fmask), M(0xc0000102, kernel_gs_base),
    M(0x174, sysenter_cs), M(0x175, sysenter_esp), M(0x176, sysenter_eip), M(0x277, pat), M(0xc0000103, tsc_aux), M(0x1a0, misc_enable),
    M(0x2ff, mtrr_def_type), M(0x250, mtrr_fixed[0]), M(0x258, mtrr_fixed[1]), M(0x259, mtrr_fixed[2]), M(0x268, mtrr_fixed[3]),
    M(0x269, mtrr_fixed[4]), M(0x26a, mtrr_fixed[5]), M(0x26b, mtrr_fixed[6]), M(0x26c, mtrr_fixed[7]), M(0x26d, mtrr_fixed[8]),
    M(0x26e, mtrr_fixed[9]), M(0x26f, mtrr_fixed[10]),
    M(0x200, mtrr_phys_base[0]), M(0x201, mtrr_phys_mask[0]), M(0x202, mtrr_phys_base[1]), M(0x203, mtrr_phys_mask[1]),
    M(0x204, mtrr_phys_base[2]), M(0x205, mtrr_phys_mask[2]), M(0x206, mtrr_phys_base[3]), M(0x207, mtrr_phys_mask[3]),
    M(0x208, mtrr_phys_base[4]), M(0x209, mtrr_phys_mask[4]), M(0x20a, mtrr_phys_base[5]), M(0x20b, mtrr_phys_mask[5]),
    M(0x20c, mtrr_phys_base[6]), M(0x20d, mtrr_phys_mask[6]), M(0x20e, mtrr_phys_base[7]), M(0x20f, mtrr_phys_mask[7]),
    M(0x17a, mcg_status), M(0x4b564d01, kvm_system_time), M(0x4b564d00, kvm_wall_clock), M(0x6e0, tsc_deadline),
#undef M
};

static uint64_t *msr_place(struct x86_state *s, unsigned n) { return (uint64_t *)((uint8_t *)s + msrs[n].offset); }

/* One at a time: an MSR that this kernel does not know leaves the others alone. */
static void msrs_get(struct kvm_vcpu *v, struct x86_state *s)
{
    struct { struct kvm_msrs head; struct kvm_msr_entry entry; } m = { .head.nmsrs = 1 };

    for (unsigned n = 0; n < ARRAY_SIZE(msrs); n++) {
        m.entry.index = msrs[n].index;
        if (ioctl(v->fd, KVM_GET_MSRS, &m) == 1) *msr_place(s, n) = m.entry.data;
    }
}

static void msrs_set(struct kvm_vcpu *v, const struct x86_state *s)
{
    struct { struct kvm_msrs head; struct kvm_msr_entry entry; } m = { .head.nmsrs = 1 };

    for (unsigned n = 0; n < ARRAY_SIZE(msrs); n++) {
        m.entry.index = msrs[n].index;
        m.entry.data = *msr_place((struct x86_state *)(uintptr_t)s, n);
        if (ioctl(v->fd, KVM_SET_MSRS, &m) != 1)
            trace(TRACE_KVM, "kvm: MSR %x = %llx is refused\n", m.entry.index, (unsigned long long)m.entry.data);
    }
}

/* ---- segments ---- */

static struct segment segment_get(const struct kvm_segment *k)
{
    return (struct segment){
        .base = k->base, .limit = k->limit, .selector = k->selector,
        .attr = k->type | k->s << 4 | k->dpl << 5 | k->present << 7 | k->avl << 8 | k->l << 9 | k->db << 10 | k->g << 11 |
                (k->unusable ? SEG_ATTR_UNUSABLE : 0),
    };
}

static struct kvm_segment segment_set(const struct segment *s)
{
    return (struct kvm_segment){
        .base = s->base, .limit = s->limit, .selector = s->selector, .type = s->attr & 15, .s = s->attr >> 4 & 1, .dpl = s->attr >> 5 & 3,
        .present = s->attr >> 7 & 1, .avl = s->attr >> 8 & 1, .l = s->attr >> 9 & 1, .db = s->attr >> 10 & 1, .g = s->attr >> 11 & 1,
        .unusable = (s->attr & SEG_ATTR_UNUSABLE) != 0,
    };
}

static void sregs_to_state(const struct kvm_sregs *k, struct x86_state *s)
{
    const struct kvm_segment *seg[SEG_COUNT] = { &k->es, &k->cs, &k->ss, &k->ds, &k->fs, &k->gs };

    for (unsigned n = 0; n < SEG_COUNT; n++) s->seg[n] = segment_get(seg[n]);
    s->ldtr = segment_get(&k->ldt);
    s->tr = segment_get(&k->tr);
    s->gdtr = (struct descriptor_table){ .base = k->gdt.base, .limit = k->gdt.limit };
    s->idtr = (struct descriptor_table){ .base = k->idt.base, .limit = k->idt.limit };
    s->cr0 = k->cr0;
    s->cr2 = k->cr2;
    s->cr3 = k->cr3;
    s->cr4 = k->cr4;
    s->cr8 = k->cr8;
    s->efer = k->efer;
    s->apic_base = k->apic_base;
}

static void state_to_sregs(const struct x86_state *s, struct kvm_sregs *k)
{
    struct kvm_segment *seg[SEG_COUNT] = { &k->es, &k->cs, &k->ss, &k->ds, &k->fs, &k->gs };

    for (unsigned n = 0; n < SEG_COUNT; n++) *seg[n] = segment_set(&s->seg[n]);
    k->ldt = segment_set(&s->ldtr);
    k->tr = segment_set(&s->tr);
    k->gdt.base = s->gdtr.base;
    k->gdt.limit = s->gdtr.limit;
    k->idt.base = s->idtr.base;
    k->idt.limit = s->idtr.limit;
    k->cr0 = s->cr0;
    k->cr2 = s->cr2;
    k->cr3 = s->cr3;
    k->cr4 = s->cr4;
    k->cr8 = s->cr8;
    k->efer = s->efer;
    k->apic_base = s->apic_base;
    memset(k->interrupt_bitmap, 0, sizeof k->interrupt_bitmap);
}

/* ---- general registers; KVM's order is its own ---- */

static void regs_copy(struct kvm_regs *k, struct x86_state *s, bool get)
{
    __u64 *const place[16] = { &k->rax, &k->rcx, &k->rdx, &k->rbx, &k->rsp, &k->rbp, &k->rsi, &k->rdi,
                               &k->r8, &k->r9, &k->r10, &k->r11, &k->r12, &k->r13, &k->r14, &k->r15 };

    for (unsigned n = 0; n < 16; n++) {
        if (get) s->gpr[n] = *place[n];
        else *place[n] = s->gpr[n];
    }
    if (get) {
        s->rip = k->rip;
        s->rflags = k->rflags;
    } else {
        k->rip = s->rip;
        k->rflags = s->rflags;
    }
}

/* ---- events ---- */

static void events_get(struct kvm_vcpu *v, struct x86_state *s)
{
    struct kvm_vcpu_events e = { 0 };
    struct kvm_mp_state mp = { 0 };

    if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &e) == 0) {
        s->interrupt_shadow = e.interrupt.shadow;
        s->nmi_blocked = e.nmi.masked;
        s->nmi_pending = e.nmi.pending;
        s->exception_pending = e.exception.injected;
        s->exception_vector = e.exception.nr;
        s->exception_has_error = e.exception.has_error_code;
        s->exception_error = e.exception.error_code;
    }
    if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) == 0) {
        s->halted = mp.mp_state == KVM_MP_STATE_HALTED;
        s->wait_for_sipi = mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED;
    }
}

static void events_set(struct kvm_vcpu *v, const struct x86_state *s)
{
    struct kvm_vcpu_events e = { 0 };
    struct kvm_mp_state mp = { .mp_state = s->wait_for_sipi ? KVM_MP_STATE_UNINITIALIZED : s->halted ? KVM_MP_STATE_HALTED : KVM_MP_STATE_RUNNABLE };

    e.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    e.interrupt.shadow = s->interrupt_shadow;
    e.nmi.masked = s->nmi_blocked;
    e.nmi.pending = s->nmi_pending;
    e.exception.injected = s->exception_pending;
    e.exception.nr = s->exception_vector;
    e.exception.has_error_code = s->exception_has_error;
    e.exception.error_code = s->exception_error;
    ioctl(v->fd, KVM_SET_VCPU_EVENTS, &e);
    ioctl(v->fd, KVM_SET_MP_STATE, &mp);
}

/* ---- all of it ---- */

void kvm_vcpu_get(struct engine_vcpu *base, struct x86_state *s)
{
    struct kvm_vcpu *v = kvm_vcpu_of(base);
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xsave xsave;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debug;

    kvm_access_finish(v);
    memset(s, 0, sizeof *s);
    if (ioctl(v->fd, KVM_GET_REGS, &regs) == 0) regs_copy(&regs, s, true);
    if (ioctl(v->fd, KVM_GET_SREGS, &sregs) == 0) sregs_to_state(&sregs, s);
    if (ioctl(v->fd, KVM_GET_XSAVE, &xsave) == 0) memcpy(s->xsave, &xsave, sizeof s->xsave);
    s->xcr0 = 1;
    if (ioctl(v->fd, KVM_GET_XCRS, &xcrs) == 0 && xcrs.nr_xcrs) s->xcr0 = xcrs.xcrs[0].value;
    if (ioctl(v->fd, KVM_GET_DEBUGREGS, &debug) == 0) {
        memcpy(s->dr, debug.db, sizeof debug.db);
        s->dr[6] = debug.dr6;
        s->dr[7] = debug.dr7;
    }
    msrs_get(v, s);
    events_get(v, s);
}

static bool is_power_on(const struct x86_state *s)
{
    return !s->lstar && !s->star && !s->sysenter_eip && !s->mtrr_def_type && !s->kvm_system_time && !s->idtr.base && s->idtr.limit == 0xffff &&
           s->apic_base >> 12 == 0xfee00;
}

void kvm_vcpu_set(struct engine_vcpu *base, const struct x86_state *s)
{
    struct kvm_vcpu *v = kvm_vcpu_of(base);
    struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0] = { .xcr = 0, .value = s->xcr0 } };
    struct kvm_debugregs debug = { .dr6 = s->dr[6], .dr7 = s->dr[7] };
    struct kvm_sregs sregs;
    struct kvm_xsave xsave;
    struct kvm_regs regs = { 0 };

    kvm_access_finish(v);
    if (ioctl(v->fd, KVM_GET_SREGS, &sregs) < 0) memset(&sregs, 0, sizeof sregs);
    state_to_sregs(s, &sregs);
    if (ioctl(v->fd, KVM_SET_SREGS, &sregs) < 0) log_message("KVM refuses the system registers of vCPU %u", base->index);
    if (is_power_on(s)) {
        ioctl(v->fd, KVM_SET_LAPIC, &v->lapic);
        if (base->index == 0) kvm_chips_reset(v->engine);
    }
    regs_copy(&regs, (struct x86_state *)(uintptr_t)s, false);
    ioctl(v->fd, KVM_SET_REGS, &regs);
    ioctl(v->fd, KVM_SET_XCRS, &xcrs);
    memset(&xsave, 0, sizeof xsave);
    memcpy(&xsave, s->xsave, MIN(sizeof xsave, sizeof s->xsave));
    ioctl(v->fd, KVM_SET_XSAVE, &xsave);
    memcpy(debug.db, s->dr, sizeof debug.db);
    ioctl(v->fd, KVM_SET_DEBUGREGS, &debug);
    msrs_set(v, s);
    events_set(v, s);
}
