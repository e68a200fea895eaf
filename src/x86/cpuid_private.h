/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CPUID flags by name, and the named processor models. */
#ifndef X86_CPUID_PRIVATE_H
#define X86_CPUID_PRIVATE_H

#include <stddef.h>
#include "x86/cpuid.h"

enum { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };
/* What bt makes of a flag: not offered; offered if the host's processor has it; done in software, always offered; says that a guest
 * needs no defence against side channels, always offered on bt (what kvm says of that is the host's). */
enum cpuid_bt { BT_NO, BT_HOST, BT_SOFT, BT_CALM };

struct cpuid_flag {
    const char *name;                /* as qemu spells it */
    uint32_t leaf, subleaf;
    uint8_t reg, bit, bt;
};
extern const struct cpuid_flag cpuid_flags[];
extern const size_t cpuid_flag_count;

/* Other spellings of a flag; NULL ends the list. */
extern const struct cpuid_alias { const char *name, *flag; } cpuid_aliases[];

struct cpuid_named_model {
    const char *name, *parent, *vendor, *brand;
    uint8_t family, model, stepping;
    const char *flags;               /* added to the parent's; space separated */
};
extern const struct cpuid_named_model cpuid_named_models[];
extern const size_t cpuid_named_model_count;

const struct cpuid_flag *cpuid_flag_find(const char *name, size_t length);

#endif
