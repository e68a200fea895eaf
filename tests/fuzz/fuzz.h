/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzz targets share. Those that take an input define LLVMFuzzerTestOneInput; under libFuzzer (-DFUZZER) that is all,
 * else their main is fuzz_main, which makes inputs of its own: NAME [COUNT [SEED]], --seeds DIR writes them, --replay DIR
 * runs what is in a directory, 0 FILE... runs these files.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_target {
    const char *name;
    unsigned count;                 /* inputs without arguments */
    size_t input_max;
    unsigned seeds;
    /* Seed number i, in malloc'ed memory; NULL: it could not be made. */
    uint8_t *(*seed_make)(unsigned i, size_t *length);
    /* Changes an input, which has room for input_max bytes. Its new length. */
    size_t (*change)(uint64_t *rng, uint8_t *input, size_t length);
    unsigned alarm_s;               /* all of it takes less, or something hangs; 0: no matter */
};
int fuzz_main(const struct fuzz_target *t, int argc, char **argv);

/* splitmix64 */
static inline uint64_t fuzz_dice(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* xorshift64*, for those that poke devices a million times. The state is not 0. */
static inline uint64_t fuzz_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 0x2545f4914f6cdd1d;
}

/* Where a target that makes its own steps has its numbers from: a generator, or libFuzzer's input while there is some. */
struct fuzz_source {
    uint64_t state;
    const uint8_t *input;
    size_t left;
};

/* A number below n (2^32 if n is 0). An input spends no more bytes than it takes. */
static inline uint32_t fuzz_below(struct fuzz_source *s, uint32_t n)
{
    size_t size = n - 1 < 0x100 ? 1 : n - 1 < 0x10000 ? 2 : 4;
    uint32_t v = 0;

    if (!s->input) v = (uint32_t)(fuzz_next(&s->state) >> 32);
    else {
        if (size > s->left) size = s->left;
        if (size) memcpy(&v, s->input, size);
        s->input += size;
        s->left -= size;
    }
    return n ? v % n : v;
}

#endif
