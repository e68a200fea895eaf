/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUID flags by name, with what the engine bt promises for each, and the named models of -cpu.
 *
 * A model's flags are what its guests may count on; the families are those of qemu, so that disks move between both.
 * Sources: Intel SDM volume 2 (CPUID), AMD APM volume 3 appendix E.
 */
#include <string.h>
#include <strings.h>

#include "base/bits.h"
#include "x86/cpuid_private.h"

#define L1 0x1, 0
#define L6 0x6, 0
#define L7 0x7, 0
#define L7_1 0x7, 1
#define L7_2 0x7, 2
#define LD 0xd, 1
#define LK 0x40000001, 0
#define L81 0x80000001, 0
#define L87 0x80000007, 0
#define L88 0x80000008, 0
#define L8A 0x8000000a, 0
#define L821 0x80000021, 0
#define A CPUID_EAX
#define B CPUID_EBX
#define C CPUID_ECX
#define D CPUID_EDX

const struct cpuid_flag cpuid_flags[] = {
    { "fpu", L1, D, 0, BT_SOFT }, { "vme", L1, D, 1, BT_SOFT }, { "de", L1, D, 2, BT_SOFT }, { "pse", L1, D, 3, BT_SOFT },
    { "tsc", L1, D, 4, BT_SOFT }, { "msr", L1, D, 5, BT_SOFT }, { "pae", L1, D, 6, BT_SOFT }, { "mce", L1, D, 7, BT_SOFT },
    { "cx8", L1, D, 8, BT_SOFT }, { "apic", L1, D, 9, BT_SOFT }, { "sep", L1, D, 11, BT_SOFT }, { "mtrr", L1, D, 12, BT_SOFT },
    { "pge", L1, D, 13, BT_SOFT }, { "mca", L1, D, 14, BT_SOFT }, { "cmov", L1, D, 15, BT_SOFT }, { "pat", L1, D, 16, BT_SOFT },
    { "pse36", L1, D, 17, BT_SOFT }, { "clflush", L1, D, 19, BT_SOFT }, { "mmx", L1, D, 23, BT_HOST },
    { "fxsr", L1, D, 24, BT_SOFT }, { "sse", L1, D, 25, BT_SOFT }, { "sse2", L1, D, 26, BT_SOFT }, { "ss", L1, D, 27, BT_NO },
    { "ht", L1, D, 28, BT_SOFT },
    { "pni", L1, C, 0, BT_HOST }, { "pclmulqdq", L1, C, 1, BT_HOST }, { "monitor", L1, C, 3, BT_NO }, { "vmx", L1, C, 5, BT_NO },
    { "ssse3", L1, C, 9, BT_HOST }, { "fma", L1, C, 12, BT_HOST }, { "cx16", L1, C, 13, BT_HOST }, { "pcid", L1, C, 17, BT_SOFT },
    { "sse4.1", L1, C, 19, BT_HOST }, { "sse4.2", L1, C, 20, BT_HOST }, { "x2apic", L1, C, 21, BT_SOFT },
    { "movbe", L1, C, 22, BT_HOST }, { "popcnt", L1, C, 23, BT_HOST }, { "tsc-deadline", L1, C, 24, BT_SOFT },
    { "aes", L1, C, 25, BT_HOST }, { "xsave", L1, C, 26, BT_HOST }, { "avx", L1, C, 28, BT_HOST }, { "f16c", L1, C, 29, BT_HOST },
    { "rdrand", L1, C, 30, BT_HOST }, { "hypervisor", L1, C, 31, BT_SOFT },
    { "arat", L6, A, 2, BT_SOFT },
    { "fsgsbase", L7, B, 0, BT_SOFT }, { "tsc-adjust", L7, B, 1, BT_SOFT }, { "bmi1", L7, B, 3, BT_HOST },
    { "avx2", L7, B, 5, BT_HOST }, { "smep", L7, B, 7, BT_SOFT }, { "bmi2", L7, B, 8, BT_HOST }, { "erms", L7, B, 9, BT_SOFT },
    { "invpcid", L7, B, 10, BT_SOFT }, { "rtm", L7, B, 11, BT_NO }, { "mpx", L7, B, 14, BT_NO }, { "avx512f", L7, B, 16, BT_NO },
    { "avx512dq", L7, B, 17, BT_NO }, { "rdseed", L7, B, 18, BT_HOST }, { "adx", L7, B, 19, BT_HOST }, { "smap", L7, B, 20, BT_SOFT },
    { "avx512ifma", L7, B, 21, BT_NO }, { "clflushopt", L7, B, 23, BT_HOST }, { "clwb", L7, B, 24, BT_HOST },
    { "avx512cd", L7, B, 28, BT_NO }, { "sha-ni", L7, B, 29, BT_HOST }, { "avx512bw", L7, B, 30, BT_NO }, { "avx512vl", L7, B, 31, BT_NO },
    { "avx512vbmi", L7, C, 1, BT_NO }, { "umip", L7, C, 2, BT_SOFT }, { "pku", L7, C, 3, BT_NO }, { "avx512vbmi2", L7, C, 6, BT_NO },
    { "gfni", L7, C, 8, BT_HOST }, { "vaes", L7, C, 9, BT_HOST }, { "vpclmulqdq", L7, C, 10, BT_HOST }, { "avx512vnni", L7, C, 11, BT_NO },
    { "avx512bitalg", L7, C, 12, BT_NO }, { "avx512-vpopcntdq", L7, C, 14, BT_NO }, { "la57", L7, C, 16, BT_NO },
    { "rdpid", L7, C, 22, BT_SOFT }, { "movdiri", L7, C, 27, BT_HOST }, { "movdir64b", L7, C, 28, BT_NO },
    { "fsrm", L7, D, 4, BT_SOFT }, { "avx512-vp2intersect", L7, D, 8, BT_NO }, { "md-clear", L7, D, 10, BT_NO },
    { "serialize", L7, D, 14, BT_NO }, { "spec-ctrl", L7, D, 26, BT_CALM }, { "stibp", L7, D, 27, BT_NO },
    { "arch-capabilities", L7, D, 29, BT_CALM }, { "ssbd", L7, D, 31, BT_NO },
    { "avx-vnni", L7_1, A, 4, BT_HOST }, { "avx512-bf16", L7_1, A, 5, BT_NO }, { "bhi-ctrl", L7_2, D, 4, BT_CALM },
    { "xsaveopt", LD, A, 0, BT_HOST }, { "xsavec", LD, A, 1, BT_HOST }, { "xgetbv1", LD, A, 2, BT_HOST }, { "xsaves", LD, A, 3, BT_NO },
    { "kvmclock", LK, A, 0, BT_SOFT }, { "kvm-nopiodelay", LK, A, 1, BT_SOFT }, { "kvm-mmu", LK, A, 2, BT_NO },
    { "kvmclock2", LK, A, 3, BT_SOFT }, { "kvm-asyncpf", LK, A, 4, BT_NO }, { "kvm-steal-time", LK, A, 5, BT_NO },
    { "kvm-pv-eoi", LK, A, 6, BT_NO }, { "kvm-pv-unhalt", LK, A, 7, BT_NO }, { "kvm-pv-tlb-flush", LK, A, 9, BT_NO },
    { "kvm-pv-ipi", LK, A, 11, BT_NO }, { "kvm-poll-control", LK, A, 12, BT_NO }, { "kvmclock-stable-bit", LK, A, 24, BT_SOFT },
    { "lahf-lm", L81, C, 0, BT_SOFT }, { "cmp-legacy", L81, C, 1, BT_NO }, { "svm", L81, C, 2, BT_NO }, { "cr8legacy", L81, C, 4, BT_NO },
    { "abm", L81, C, 5, BT_HOST }, { "sse4a", L81, C, 6, BT_HOST }, { "misalignsse", L81, C, 7, BT_NO },
    { "3dnowprefetch", L81, C, 8, BT_SOFT }, { "osvw", L81, C, 9, BT_NO }, { "xop", L81, C, 11, BT_NO }, { "fma4", L81, C, 16, BT_NO },
    { "tbm", L81, C, 21, BT_NO }, { "topoext", L81, C, 22, BT_SOFT }, { "perfctr-core", L81, C, 23, BT_NO },
    { "syscall", L81, D, 11, BT_SOFT }, { "nx", L81, D, 20, BT_SOFT }, { "mmxext", L81, D, 22, BT_HOST },
    { "fxsr-opt", L81, D, 25, BT_NO }, { "pdpe1gb", L81, D, 26, BT_SOFT }, { "rdtscp", L81, D, 27, BT_SOFT }, { "lm", L81, D, 29, BT_SOFT },
    { "3dnowext", L81, D, 30, BT_NO }, { "3dnow", L81, D, 31, BT_NO },
    { "invtsc", L87, D, 8, BT_SOFT },
    { "clzero", L88, B, 0, BT_HOST }, { "xsaveerptr", L88, B, 2, BT_NO }, { "wbnoinvd", L88, B, 9, BT_SOFT }, { "ibpb", L88, B, 12, BT_NO },
    { "ibrs", L88, B, 14, BT_NO }, { "amd-stibp", L88, B, 15, BT_NO }, { "amd-ssbd", L88, B, 24, BT_NO }, { "virt-ssbd", L88, B, 25, BT_NO },
    { "amd-no-ssb", L88, B, 26, BT_CALM },
    { "npt", L8A, D, 0, BT_NO }, { "nrip-save", L8A, D, 3, BT_NO },
    { "no-nested-data-bp", L821, A, 0, BT_NO }, { "lfence-always-serializing", L821, A, 2, BT_SOFT }, { "null-sel-clr-base", L821, A, 6, BT_SOFT },
    { "auto-ibrs", L821, A, 8, BT_CALM }, { "srso-no", L821, A, 29, BT_CALM }, { "tsa-sq-no", L821, C, 1, BT_CALM }, { "tsa-l1-no", L821, C, 2, BT_CALM },
};
const size_t cpuid_flag_count = ARRAY_SIZE(cpuid_flags);

const struct cpuid_alias cpuid_aliases[] = {
    { "sse3", "pni" }, { "sse4_1", "sse4.1" }, { "sse4-1", "sse4.1" }, { "sse4_2", "sse4.2" }, { "sse4-2", "sse4.2" }, { "lzcnt", "abm" },
    { "lahf_lm", "lahf-lm" }, { "i64", "lm" }, { "xd", "nx" }, { "fxsr_opt", "fxsr-opt" }, { "ffxsr", "fxsr-opt" }, { "sha_ni", "sha-ni" },
    { "tsc_adjust", "tsc-adjust" }, { "pclmuldq", "pclmulqdq" }, { "kvm_clock", "kvmclock" }, { "cmp_legacy", "cmp-legacy" }, { NULL, NULL },
};

/* Flags of every x86-64 processor that matter here. */
#define LEVEL1 "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2"
const struct cpuid_named_model cpuid_named_models[] = {
    { "base", NULL, NULL, "ospite Virtual CPU", 6, 6, 3, "" },
    { "486", NULL, "GenuineIntel", "", 4, 8, 0, "fpu vme pse" },
    { "pentium", NULL, "GenuineIntel", "", 5, 4, 3, "fpu vme de pse tsc msr mce cx8 mmx apic" },
    { "pentium2", "pentium", "GenuineIntel", "", 6, 5, 2, "pae sep mtrr pge mca cmov pat pse36 fxsr" },
    { "pentium3", "pentium2", "GenuineIntel", "", 6, 7, 3, "sse" },
    { "qemu32", NULL, "GenuineIntel", "QEMU Virtual CPU", 6, 6, 3, LEVEL1 " vme pni" },
    { "kvm32", NULL, "GenuineIntel", "Common 32-bit KVM processor", 15, 6, 1, LEVEL1 " vme pni" },
    { "qemu64", NULL, NULL, "QEMU Virtual CPU", 15, 107, 1, LEVEL1 " vme syscall nx lm pni cx16 lahf-lm" },
    { "kvm64", NULL, "GenuineIntel", "Common KVM processor", 15, 6, 1, LEVEL1 " vme syscall nx lm pni cx16" },
    { "core2duo", "qemu64", "GenuineIntel", "Intel Core 2 Duo", 6, 15, 11, "ssse3 lahf-lm" },
    { "Conroe", "qemu64", "GenuineIntel", "Intel Core 2 (Conroe)", 6, 15, 3, "ssse3" },
    { "Penryn", "Conroe", "GenuineIntel", "Intel Core 2 (Penryn)", 6, 23, 3, "sse4.1" },
    { "Nehalem", "Penryn", "GenuineIntel", "Intel Core i7 9xx (Nehalem)", 6, 26, 3, "sse4.2 popcnt" },
    { "Westmere", "Nehalem", "GenuineIntel", "Intel Xeon (Westmere)", 6, 44, 1, "aes pclmulqdq arat" },
    { "SandyBridge", "Westmere", "GenuineIntel", "Intel Xeon (Sandy Bridge)", 6, 42, 1, "avx xsave xsaveopt tsc-deadline x2apic rdtscp" },
    { "IvyBridge", "SandyBridge", "GenuineIntel", "Intel Xeon (Ivy Bridge)", 6, 58, 9, "f16c rdrand fsgsbase smep erms" },
    { "Haswell", "IvyBridge", "GenuineIntel", "Intel Core (Haswell)", 6, 60, 4, "fma movbe bmi1 bmi2 avx2 invpcid pcid abm" },
    { "Broadwell", "Haswell", "GenuineIntel", "Intel Core (Broadwell)", 6, 61, 2, "rdseed adx smap 3dnowprefetch" },
    { "Skylake-Client", "Broadwell", "GenuineIntel", "Intel Core (Skylake)", 6, 94, 3, "xsavec xgetbv1" },
    { "Skylake-Server", "Skylake-Client", "GenuineIntel", "Intel Xeon (Skylake)", 6, 85, 4, "pdpe1gb clwb avx512f avx512dq avx512bw avx512cd avx512vl" },
    { "Cascadelake-Server", "Skylake-Server", "GenuineIntel", "Intel Xeon (Cascade Lake)", 6, 85, 6, "clflushopt avx512vnni" },
    { "Icelake-Server", "Cascadelake-Server", "GenuineIntel", "Intel Xeon (Ice Lake)", 6, 106, 0, "umip gfni vaes vpclmulqdq avx512vbmi avx512vbmi2 avx512bitalg avx512-vpopcntdq avx512ifma rdpid fsrm sha-ni" },
    { "Opteron_G1", "qemu64", "AuthenticAMD", "AMD Opteron 240 (Gen 1)", 15, 6, 1, "" },
    { "Opteron_G2", "Opteron_G1", "AuthenticAMD", "AMD Opteron 22xx (Gen 2)", 15, 6, 1, "cx16 lahf-lm" },
    { "Opteron_G3", "Opteron_G2", "AuthenticAMD", "AMD Opteron 23xx (Gen 3)", 16, 2, 3, "popcnt abm sse4a rdtscp" },
    { "phenom", "Opteron_G3", "AuthenticAMD", "AMD Phenom", 16, 2, 3, "pdpe1gb mmxext" },
    { "EPYC", "Opteron_G3", "AuthenticAMD", "AMD EPYC Processor", 23, 1, 2, "ssse3 sse4.1 sse4.2 aes pclmulqdq avx f16c fma xsave rdrand movbe fsgsbase bmi1 bmi2 avx2 smep rdseed adx smap clflushopt sha-ni xsaveopt xsavec xgetbv1 pdpe1gb mmxext fxsr-opt 3dnowprefetch topoext arat" },
    { "EPYC-Rome", "EPYC", "AuthenticAMD", "AMD EPYC-Rome Processor", 23, 49, 0, "umip rdpid clwb wbnoinvd clzero" },
    { "EPYC-Milan", "EPYC-Rome", "AuthenticAMD", "AMD EPYC-Milan Processor", 25, 1, 1, "invpcid pcid erms fsrm vaes vpclmulqdq" },
};
const size_t cpuid_named_model_count = ARRAY_SIZE(cpuid_named_models);

static const struct cpuid_flag *plain_find(const char *name, size_t length)
{
    for (size_t n = 0; n < cpuid_flag_count; n++)
        if (strncasecmp(cpuid_flags[n].name, name, length) == 0 && !cpuid_flags[n].name[length]) return &cpuid_flags[n];
    return NULL;
}

/* name needs no terminator. NULL: not known. */
const struct cpuid_flag *cpuid_flag_find(const char *name, size_t length)
{
    for (const struct cpuid_alias *a = cpuid_aliases; a->name; a++)
        if (strncasecmp(a->name, name, length) == 0 && !a->name[length]) return plain_find(a->flag, strlen(a->flag));
    return plain_find(name, length);
}
