/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random register contents that are likely to matter: small, negative, one bit, 32 bits, anything.
 */
#ifndef TESTS_CPU_ORACLE_VALUES_H
#define TESTS_CPU_ORACLE_VALUES_H

#include "../system/misc/bench.h"

static inline uint64_t random_value(uint64_t *seed)
{
    uint64_t r = bench_random(seed);

    switch (bench_random(seed) % 8) {
    case 0: return r & 0xff;
    case 1: return 0 - (r & 0xff);
    case 2: return (uint64_t)1 << (r & 63);
    case 3: return (uint64_t)(int64_t)(int32_t)r;
    case 4: return r & 0xffffffff;
    default: return r;
    }
}

static const char *const register_names[16] = { "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                                "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15" };

#endif
