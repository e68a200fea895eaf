/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUID: which leaves a guest sees. A model is built from the host's CPUID, masked to what the engine keeps its
 * promises for, then -cpu NAME,+flag,-flag is applied.
 */
#ifndef X86_CPUID_H
#define X86_CPUID_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct error;
struct cpuid_entry { uint32_t leaf, subleaf; bool has_subleaf; uint32_t eax, ebx, ecx, edx; };
struct cpuid_model {
    char name[32];
    unsigned count;
    struct cpuid_entry entry[96];
    uint64_t xcr0_allowed;            /* XCR0 bits a guest may set */
    uint32_t signature;               /* leaf 1 EAX: RDX at reset */
};

enum cpuid_engine { CPUID_FOR_KVM, CPUID_FOR_BT };

/* spec: "max", "host", "qemu64,+avx2,-x2apic", NULL for the default (max on bt, host on kvm). 0, or -1 with *err that
 * names the unknown model or flag and the nearest known one, or the flag this host cannot give. */
int cpuid_model_build(struct cpuid_model *m, const char *spec, enum cpuid_engine engine, unsigned cpus, struct error *err);

/* What CPUID returns to vCPU index; fills in APIC id, OSXSAVE (cr4), leaf 0xD sizes (xcr0). */
void cpuid_query(const struct cpuid_model *m, uint32_t leaf, uint32_t subleaf, unsigned vcpu, uint64_t cr4, uint64_t xcr0,
                 uint32_t out[4]);
bool cpuid_has(const struct cpuid_model *m, uint32_t leaf, uint32_t subleaf, int reg /* 0 eax .. 3 edx */, unsigned bit);
void cpuid_help(FILE *out);           /* -cpu help */

#endif
