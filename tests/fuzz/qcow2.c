/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of the qcow2 driver. An input is 32 bytes of script (which requests to make) and then an image. The
 * image lives in memory; names of backing and data files are taken out, so that no input opens files of the
 * host.
 *
 * Under clang 'ninja fuzzer-qcow2' makes a libFuzzer program: 'fuzzer-qcow2 --seeds DIR' is not one of its
 * options, so seeds come from 'fuzz-qcow2 --seeds DIR'. The plain program without arguments makes its own
 * seeds and changes them at random, with a fixed seed, a number of times ('fuzz-qcow2 COUNT SEED'); with file
 * names it replays those inputs.
 */
#include "base/bits.h"
#include "base/error.h"
#include "block/fault.h"
#include "block/qcow2/qcow2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCRIPT = 32, LIMIT = 8 << 20, IMAGE_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void request(struct block_node *n, uint8_t what, uint8_t where, uint8_t *data)
{
    uint64_t size = block_size_bytes(n), length = 512ull << (what >> 3 & 7);
    uint64_t at = where & 0x80 ? size / 128 * (where & 0x7f) : where * 4096ull;
    at = ALIGN_DOWN(at, 512ull);
    switch (what & 7) {
    case 0: case 1:
        block_pread(n, at, data, length);
        break;
    case 2: case 3: case 4:
        block_pwrite(n, at, data, length);
        break;
    case 5:
        block_node_discard(n, at, length);
        break;
    case 6:
        block_node_write_zeroes(n, at, length, what & 0x40);
        break;
    default:
        block_flush_sync(n);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static uint8_t data[65536];
    struct error err;
    if (size < SCRIPT + 80 || size > IMAGE_MAX)
        return 0;
    uint8_t *image = malloc(size - SCRIPT);
    memcpy(image, input + SCRIPT, size - SCRIPT);
    memset(image + 8, 0, 12);
    image[79] &= (uint8_t)~4;
    struct block_protocol *p = block_fault_open(image, size - SCRIPT, LIMIT);
    free(image);
    if (!p)
        return 0;
    const struct block_open_options o = { .filename = "memory", .format = "qcow2", .readonly = input[0] & 1,
                                          .discard = input[0] & 2 };
    if (input[0] & 4)
        block_fault_fail_at(p, input[1], 5);
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    for (unsigned i = 2; n && i + 1 < SCRIPT; i += 2)
        request(n, input[i], input[i + 1], data);
    block_close(n);
    return 0;
}

#ifndef FUZZER
static uint64_t dice(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static const struct qcow2_create_options seeds[] = {
    { .size_bytes = 1 << 20, .version = 2, .cluster_bits = 9 },
    { .size_bytes = 1 << 20, .version = 3, .cluster_bits = 9, .refcount_order = 4 },
    { .size_bytes = 1 << 20, .version = 3, .cluster_bits = 12, .refcount_order = 0 },
    { .size_bytes = 1 << 20, .version = 3, .cluster_bits = 9, .refcount_order = 6, .lazy_refcounts = true },
    { .size_bytes = 1 << 20, .version = 3, .cluster_bits = 14, .refcount_order = 4, .extended_l2 = true },
    { .size_bytes = 1ull << 40, .version = 3, .cluster_bits = 16, .refcount_order = 4 },
};

/* An image with some data in it, behind an empty script. */
static uint8_t *seed_make(const struct qcow2_create_options *o, size_t *length)
{
    struct error err;
    void *image;
    uint8_t *out, data[1536];
    struct block_protocol *p = block_fault_open(NULL, 0, LIMIT);
    const struct block_open_options open = { .filename = "memory", .format = "qcow2" };
    if (!p || qcow2_create(p, o, &err))
        return NULL;
    struct block_node *n = block_node_open_over(p, &open, NULL, &err);
    memset(data, 0x42, sizeof(data));
    if (!n)
        return NULL;
    for (uint64_t at = 0; at < 1 << 20; at += 147456)
        block_pwrite(n, at, data, sizeof(data));
    block_node_write_zeroes(n, 65536, 32768, true);
    if (o->lazy_refcounts ? block_flush_sync(n) : n->format->flush(n))
        return NULL;
    if (block_protocol_flush(p) || block_fault_image(p, 0, &image, length))
        return NULL;
    block_close(n);
    out = calloc(1, *length + SCRIPT);
    memcpy(out + SCRIPT, image, *length);
    *length += SCRIPT;
    free(image);
    return out;
}

static void change(uint64_t *rng, uint8_t *input, size_t length)
{
    for (unsigned i = 0; i < SCRIPT; i++)
        input[i] = (uint8_t)dice(rng);
    for (unsigned k = (unsigned)(dice(rng) % 8); k; k--) {
        size_t at = SCRIPT + dice(rng) % (dice(rng) & 1 ? MIN(length - SCRIPT, (size_t)128) : length - SCRIPT);
        if (dice(rng) & 1) {
            input[at] ^= (uint8_t)(1u << dice(rng) % 8);
        } else if (at + 8 <= length) {          /* a table entry that leads somewhere near */
            at = SCRIPT + ALIGN_DOWN(at - SCRIPT, (size_t)8);
            be64 entry = be64_make((dice(rng) & 1) << 63 | (dice(rng) % 64) << (9 + dice(rng) % 8));
            memcpy(input + at, &entry, sizeof(entry));
        }
    }
}

static int replay(const char *name)
{
    static uint8_t input[IMAGE_MAX];
    FILE *f = fopen(name, "r");
    if (!f) {
        perror(name);
        return 1;
    }
    size_t n = fread(input, 1, sizeof(input), f);
    fclose(f);
    LLVMFuzzerTestOneInput(input, n);
    return 0;
}

static int seeds_write(const char *directory)
{
    for (size_t i = 0; i < ARRAY_SIZE(seeds); i++) {
        char name[512];
        size_t length;
        uint8_t *s = seed_make(&seeds[i], &length);
        snprintf(name, sizeof(name), "%s/seed%zu", directory, i);
        FILE *f = s ? fopen(name, "w") : NULL;
        if (!f || fwrite(s, length, 1, f) != 1 || fclose(f))
            return 1;
        free(s);
    }
    return 0;
}

int main(int argc, char **argv)
{
    unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : 6000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 7, rng = seed;
    if (argc > 2 && !strcmp(argv[1], "--seeds"))
        return seeds_write(argv[2]);
    if (argc > 1 && !count) {
        for (int i = 1; i < argc; i++)
            if (replay(argv[i]))
                return 1;
        printf("fuzz/qcow2: %d inputs replayed\n", argc - 1);
        return 0;
    }
    stderr = fopen("/dev/null", "w");   /* the sanitizers' words still come through */
    for (size_t i = 0; i < ARRAY_SIZE(seeds); i++) {
        size_t length;
        uint8_t *s = seed_make(&seeds[i], &length), *input = s ? malloc(length) : NULL;
        if (!input) {
            printf("FAILED: seed image %zu\n", i);
            return 1;
        }
        for (unsigned k = 0; k < count / ARRAY_SIZE(seeds); k++) {
            memcpy(input, s, length);
            change(&rng, input, length);
            LLVMFuzzerTestOneInput(input, length);
        }
        free(input);
        free(s);
    }
    printf("fuzz/qcow2: %u inputs, seed %llu\n", count, (unsigned long long)seed);
    return 0;
}
#endif
