/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the sampling profile notes: profile.c writes it, profile_report.c reads it. */
#ifndef ENGINE_BT_PROFILE_H
#define ENGINE_BT_PROFILE_H

#include <time.h>
#include "engine/bt/bt_private.h"

enum { SAMPLE_BITS = 15, SAMPLES = 1 << SAMPLE_BITS, SAMPLE_NO_INSN = 0xffff };
/* Of a sample that is in no block. */
enum bt_sample_place { SAMPLE_THUNK, SAMPLE_ENGINE, SAMPLE_MACHINE, SAMPLE_OUTSIDE, SAMPLE_PLACES };

struct bt_sample {
    uint64_t pc;                       /* of a block: guest-physical; else host address */
    uint64_t rip;                      /* of a block's first instruction */
    uint32_t flags;                    /* TBF_*; no block: enum bt_sample_place */
    uint16_t insn;                     /* which instruction of the block; SAMPLE_NO_INSN: no block */
    uint32_t count;                    /* 0: a free entry */
};
struct bt_profile {
    volatile bool on;
    timer_t timer;
    uint64_t samples, lost;
    struct bt_sample sample[SAMPLES];
};

/* profile_symbols.c: the host function at pc, with its file if that is not this program. */
struct bt_symbols;
struct bt_symbols *bt_symbols_load(void);
void bt_symbols_free(struct bt_symbols *s);
void bt_symbol_name(const struct bt_symbols *s, uint64_t pc, char *name, size_t size);

#endif
