/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPUID of a vCPU: the model, cut down to what this kernel's KVM supports. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/bits.h"
#include "base/error.h"
#include "engine/kvm/kvm_private.h"

enum { ENTRIES = 256 };
struct table { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 entry[ENTRIES]; };

static const struct kvm_cpuid_entry2 *find(const struct table *t, uint32_t leaf, uint32_t subleaf)
{
    for (unsigned n = 0; n < t->head.nent; n++)
        if (t->entry[n].function == leaf && (!(t->entry[n].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || t->entry[n].index == subleaf))
            return &t->entry[n];
    return NULL;
}

/* Registers that hold feature bits are and-ed with what KVM has. */
static void restrict_entry(struct kvm_cpuid_entry2 *e, const struct kvm_cpuid_entry2 *s, bool tsc_deadline)
{
    static const struct kvm_cpuid_entry2 none;

    if (!s) s = &none;
    switch (e->function) {
    case 1:
        /* Done by KVM whatever it lists: the hypervisor bit, the deadline timer. */
        e->ecx &= s->ecx | 1u << 31 | (tsc_deadline ? 1u << 24 : 0);
        e->edx &= s->edx | 1u << 28;
        break;
    case 7:
        if (e->index == 0) {
            e->ebx &= s->ebx;
            e->ecx &= s->ecx;
            e->edx &= s->edx;
        } else {
            e->eax &= s->eax;
        }
        break;
    case 0xd: if (e->index == 1) e->eax &= s->eax; break;
    case 0x40000001: e->eax = s->eax; break;
    case 0x80000001:
        e->ecx &= s->ecx | 1u << 22;
        e->edx &= s->edx;
        break;
    case 0x80000008: e->ebx &= s->ebx; break;
    case 0x80000021: e->eax &= s->eax; break;
    }
}

int kvm_cpuid_set(struct kvm_vcpu *v, struct error *err)
{
    const struct cpuid_model *m = v->engine->config.cpuid;
    struct table *supported = calloc(1, sizeof *supported), *t = calloc(1, sizeof *t);
    bool deadline = ioctl(v->engine->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
    int r = -1;

    if (!supported || !t) {
        error_set(err, "KVM: out of memory");
        goto out;
    }
    supported->head.nent = ENTRIES;
    if (ioctl(v->engine->kvm_fd, KVM_GET_SUPPORTED_CPUID, supported) < 0) {
        error_set(err, "KVM: cannot read the supported CPUID: %s", strerror(errno));
        goto out;
    }
    for (unsigned n = 0; n < m->count; n++) {
        const struct cpuid_entry *from = &m->entry[n];
        struct kvm_cpuid_entry2 *e = &t->entry[t->head.nent++];
        uint32_t out[4];
        cpuid_query(m, from->leaf, from->subleaf, v->base.index, 0, m->xcr0_allowed, out);
        *e = (struct kvm_cpuid_entry2){ .function = from->leaf, .index = from->subleaf, .eax = out[0], .ebx = out[1], .ecx = out[2],
                                        .edx = out[3], .flags = from->has_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0 };
        restrict_entry(e, find(supported, from->leaf, from->subleaf), deadline);
    }
    if (ioctl(v->fd, KVM_SET_CPUID2, t) < 0) {
        error_set(err, "KVM: this kernel refuses the guest's CPUID: %s; try another -cpu", strerror(errno));
        goto out;
    }
    r = 0;
out:
    free(supported);
    free(t);
    return r;
}
