/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which instructions exist for the guest: one CPUID bit for each feature of the instruction table; others are #UD. */
#include "engine/bt/bt_private.h"

struct feature_bit { uint32_t leaf; uint8_t reg, bit; };
enum { EAX, EBX, ECX, EDX };

static const struct feature_bit table[FEAT_COUNT] = {
    [FEAT_X87] = { 1, EDX, 0 }, [FEAT_MMX] = { 1, EDX, 23 }, [FEAT_SSE] = { 1, EDX, 25 }, [FEAT_SSE2] = { 1, EDX, 26 },
    [FEAT_SSE3] = { 1, ECX, 0 }, [FEAT_SSSE3] = { 1, ECX, 9 }, [FEAT_SSE41] = { 1, ECX, 19 }, [FEAT_SSE42] = { 1, ECX, 20 },
    [FEAT_SSE4A] = { 0x80000001, ECX, 6 }, [FEAT_POPCNT] = { 1, ECX, 23 }, [FEAT_LZCNT] = { 0x80000001, ECX, 5 },
    [FEAT_BMI1] = { 7, EBX, 3 }, [FEAT_BMI2] = { 7, EBX, 8 }, [FEAT_ADX] = { 7, EBX, 19 }, [FEAT_MOVBE] = { 1, ECX, 22 },
    [FEAT_AES] = { 1, ECX, 25 }, [FEAT_PCLMUL] = { 1, ECX, 1 }, [FEAT_SHA] = { 7, EBX, 29 }, [FEAT_AVX] = { 1, ECX, 28 },
    [FEAT_AVX2] = { 7, EBX, 5 }, [FEAT_FMA] = { 1, ECX, 12 }, [FEAT_F16C] = { 1, ECX, 29 }, [FEAT_GFNI] = { 7, ECX, 8 },
    [FEAT_VAES] = { 7, ECX, 9 }, [FEAT_VPCLMUL] = { 7, ECX, 10 }, [FEAT_AVX512] = { 7, EBX, 16 },
    [FEAT_RDRAND] = { 1, ECX, 30 }, [FEAT_RDSEED] = { 7, EBX, 18 }, [FEAT_FSGSBASE] = { 7, EBX, 0 },
    [FEAT_CX16] = { 1, ECX, 13 }, [FEAT_CX8] = { 1, EDX, 8 }, [FEAT_CMOV] = { 1, EDX, 15 }, [FEAT_XSAVE] = { 1, ECX, 26 },
    [FEAT_CLFLUSH] = { 1, EDX, 19 }, [FEAT_CLFLUSHOPT] = { 7, EBX, 23 }, [FEAT_CLWB] = { 7, EBX, 24 },
    [FEAT_RDTSCP] = { 0x80000001, EDX, 27 }, [FEAT_RDPID] = { 7, ECX, 22 }, [FEAT_INVPCID] = { 7, EBX, 10 },
    [FEAT_MONITOR] = { 1, ECX, 3 }, [FEAT_MOVDIRI] = { 7, ECX, 27 }, [FEAT_MOVDIR64B] = { 7, ECX, 28 },
    [FEAT_CLZERO] = { 0x80000008, EBX, 0 }, [FEAT_TBM] = { 0x80000001, ECX, 21 }, [FEAT_SVM] = { 0x80000001, ECX, 2 },
};

static uint32_t leaf_value(const struct cpuid_model *m, uint32_t leaf, uint32_t subleaf, int reg)
{
    for (unsigned i = 0; i < m->count; i++) {
        const struct cpuid_entry *e = &m->entry[i];
        if (e->leaf != leaf || (e->has_subleaf && e->subleaf != subleaf)) continue;
        return reg == EAX ? e->eax : reg == EBX ? e->ebx : reg == ECX ? e->ecx : e->edx;
    }
    return 0;
}

void bt_features_find(const struct cpuid_model *m, bool feature[FEAT_COUNT])
{
    for (unsigned f = 0; f < FEAT_COUNT; f++)
        feature[f] = table[f].leaf && (leaf_value(m, table[f].leaf, 0, table[f].reg) >> table[f].bit & 1);
    feature[FEAT_BASE] = true;
    feature[FEAT_3DNOW_PREFETCH] = true;
    feature[FEAT_XSAVEOPT] = leaf_value(m, 13, 1, EAX) & 1;
    feature[FEAT_XSAVEC] = leaf_value(m, 13, 1, EAX) & 2;
    feature[FEAT_AVX_VNNI] = leaf_value(m, 7, 1, EAX) & 16;
    feature[FEAT_SVM] = false;
}
