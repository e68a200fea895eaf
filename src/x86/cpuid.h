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
/* How the processors lie: sockets * dies * cores * threads of them, each factor at least 1. */
struct cpuid_topology { unsigned sockets, dies, cores, threads; };
static inline unsigned cpuid_topology_size(const struct cpuid_topology *t) { return t->sockets * t->dies * t->cores * t->threads; }
/* The APIC ID of a processor: thread, core, die and socket number in as many bits each as their counts want (SDM 3A, 9.9.1). */
uint32_t cpuid_apic_id(const struct cpuid_topology *t, unsigned index);

struct cpuid_entry { uint32_t leaf, subleaf; bool has_subleaf; uint32_t eax, ebx, ecx, edx; };
struct cpuid_model {
    char name[32];
    unsigned count;
    struct cpuid_entry entry[96];
    uint64_t xcr0_allowed;            /* XCR0 bits a guest may set */
    uint32_t signature;               /* leaf 1 EAX: RDX at reset */
    struct cpuid_topology topology;
    char missing[512];                /* flags of the named model that the guest does not get */
    bool check;                       /* tell the user about them */
};

enum cpuid_engine { CPUID_FOR_KVM, CPUID_FOR_BT };

/* spec: "max", "host", "qemu64,+avx2,-x2apic", NULL for the default (max on bt, host on kvm). 0, or -1 with *err that
 * names the unknown model or flag and the nearest known one, or the flag this host cannot give. t NULL: one processor. */
int cpuid_model_build(struct cpuid_model *m, const char *spec, enum cpuid_engine engine, const struct cpuid_topology *t,
                      struct error *err);

/* What CPUID returns to vCPU index; fills in APIC id, OSXSAVE (cr4), leaf 0xD sizes (xcr0). */
void cpuid_query(const struct cpuid_model *m, uint32_t leaf, uint32_t subleaf, unsigned vcpu, uint64_t cr4, uint64_t xcr0,
                 uint32_t out[4]);
bool cpuid_has(const struct cpuid_model *m, uint32_t leaf, uint32_t subleaf, int reg /* 0 eax .. 3 edx */, unsigned bit);
/* The flags that there are by name, by number, and whether m has one; NULL behind the last. */
const char *cpuid_flag_name(unsigned i);
bool cpuid_flag_is_set(const struct cpuid_model *m, unsigned i);
const char *cpuid_model_name(unsigned i);   /* of all models, by number; NULL behind the last */
void cpuid_help(FILE *out);           /* -cpu help */

#endif
