/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of the formats of other programs, as qcow2.c does it: 32 bytes of script, then an image in memory; its first
 * bytes say which format it is (none: dmg or vpc, whose images may have only a footer), unless OSPITE_FUZZ_FORMAT in the environment
 * does, so that libFuzzer's time goes to one format. Checksums are put right, so that
 * changes get past them. Extents are looked for in an empty directory of the process's own, so no input opens files
 * of the host.
 *
 * corpus/formats holds the smallest of what libFuzzer found worth keeping.
 */
#include "base/bits.h"
#include "base/error.h"
#include "block/fault.h"
#include "block/image.h"
#include "block/vhdx/vhdx_private.h"

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SCRIPT = 32, LIMIT = 24 << 20, IMAGE_MAX = 4 << 20, FOOTER = 512, DYNAMIC = 1024 };

static void request(struct block_node *n, uint8_t what, uint8_t where, uint8_t *data)
{
    uint64_t size = block_size_bytes(n), length = 512ull << (what >> 3 & 7);
    uint64_t at = where & 0x80 ? size / 128 * (where & 0x7f) : where * 4096ull;
    struct block_extent e;
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
        block_extent_get(n, at, length, &e);
        break;
    case 6:
        block_node_write_zeroes(n, at, length, what & 0x40);
        break;
    default:
        block_flush_sync(n);
        break;
    }
}

static void vpc_sum(uint8_t *p, size_t length, size_t at)
{
    uint32_t sum = 0;
    memset(p + at, 0, 4);
    for (size_t i = 0; i < length; i++)
        sum += p[i];
    const be32 v = be32_make(~sum);
    memcpy(p + at, &v, sizeof(v));
}

static void checksums_mend(uint8_t *image, size_t size)
{
    if (size >= FOOTER && !memcmp(image + size - FOOTER, "conectix", 8))
        vpc_sum(image + size - FOOTER, FOOTER, 64);
    if (size >= FOOTER + DYNAMIC && !memcmp(image, "conectix", 8)) {
        be64 at;
        memcpy(&at, image + 16, sizeof(at));
        vpc_sum(image, FOOTER, 64);
        if (be64_get(at) <= size - DYNAMIC)
            vpc_sum(image + be64_get(at), DYNAMIC, 36);
    }
}

static void crc_mend(uint8_t *p, size_t length)
{
    const le32 v = le32_make(vhdx_crc32c(p, length, 4));
    memcpy(p + 4, &v, sizeof(v));
}

/* VHDX has its parts at whole MiB, which would make inputs of megabytes: inputs hold them one after the other. */
static const struct { size_t packed, at, length; } parts[] = {
    { 0, 0, 327680 }, { 327680, 2 << 20, 69632 }, { 397312, 3 << 20, 4096 }, { 401408, 1 << 20, 16384 },
};
enum { PACKED = 417792, SPREAD = 4 << 20 };

static uint8_t *vhdx_spread(uint8_t *packed, size_t *length)
{
    uint8_t *image = calloc(1, SPREAD);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        memcpy(image + parts[i].at, packed + parts[i].packed, parts[i].length);
    free(packed);
    crc_mend(image + 65536, 4096);
    crc_mend(image + 131072, 4096);
    crc_mend(image + 196608, 65536);
    crc_mend(image + 262144, 65536);
    *length = SPREAD;
    return image;
}

static bool is_packed(const uint8_t *image, size_t length)
{
    return length == PACKED && !memcmp(image, "vhdxfile", 8);
}

static void info_look(struct block_node *n)
{
    struct block_info info;
    struct block_check c = { 0 };
    struct error err;
    if (!block_info_get(n, &info, &err))
        json_decref(info.data);
    if (block_size_bytes(n) < 1ull << 32)
        block_check(n, &c, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static uint8_t data[65536];
    static bool moved;
    struct error err;
    if (size < SCRIPT + 512 || size > IMAGE_MAX)
        return 0;
    if (!moved) {
        char directory[] = "/tmp/ospite-fuzz-XXXXXX";
        if (!mkdtemp(directory) || chdir(directory) || rmdir(directory))
            return 0;               /* a directory that is gone: no name leads anywhere */
        moved = true;
    }
    uint8_t *image = malloc(size - SCRIPT);
    memcpy(image, input + SCRIPT, size - SCRIPT);
    size_t length = size - SCRIPT;
    if (is_packed(image, length))
        image = vhdx_spread(image, &length);
    checksums_mend(image, length);
    const char *only = getenv("OSPITE_FUZZ_FORMAT");
    const struct block_format *f = only ? block_format_find(only) : block_format_probe(image, MIN(length, (size_t)4096));
    if (!f && length >= FOOTER && block_format_dmg.probe_end(image + length - FOOTER))
        f = &block_format_dmg;
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    free(image);
    if (!p || (f && !strcmp(f->name, "qcow2"))) {
        if (p)
            p->ops->close(p);
        return 0;
    }
    const struct block_open_options o = { .filename = "memory", .format = f ? f->name : "vpc", .readonly = input[0] & 1,
                                          .discard = input[0] & 2, .no_backing = true };
    if (input[0] & 4)
        block_fault_fail_at(p, input[1], 5);
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    for (unsigned i = 2; n && i + 1 < SCRIPT; i += 2)
        request(n, input[i], input[i + 1], data);
    if (n)
        info_look(n);
    block_close(n);
    return 0;
}

#ifndef FUZZER
static const struct { const char *format, *key, *value; } seeds[] = {
    { "vdi", NULL, NULL }, { "vdi", "static", "on" }, { "vpc", NULL, NULL }, { "vpc", "subformat", "fixed" },
    { "vhdx", "block_size", "1M" }, { "vmdk", NULL, NULL }, { "vmdk", "zeroed_grain", "on" }, { "vmdk", "subformat", "streamOptimized" },
};

/* An image with some data in it, behind an empty script; its end is cut off if it is long. */
static uint8_t *seed_make(unsigned i, size_t *length)
{
    struct error err;
    void *image;
    uint8_t data[4096];
    const struct block_option_value item = { seeds[i].key, seeds[i].value };
    const struct block_option_set set = { &item, item.key ? 1 : 0 };
    const struct block_create_options c = { .filename = "memory", .format = seeds[i].format, .size_bytes = 1 << 20,
                                            .options = &set };
    const struct block_open_options open = { .filename = "memory", .format = seeds[i].format };
    struct block_protocol *p = block_fault_open(NULL, 0, LIMIT);
    if (!p || block_format_find(seeds[i].format)->create(p, &c, &err))
        return NULL;
    struct block_node *n = block_node_open_over(p, &open, NULL, &err);
    for (size_t k = 0; k < sizeof(data); k++)
        data[k] = (uint8_t)(k * k >> 4);
    if (!n || block_pwrite(n, 65536, data, sizeof(data)) || block_pwrite(n, 196608, data, 512) || block_flush_sync(n) ||
        block_protocol_flush(p) || block_fault_image(p, 0, &image, length))
        return NULL;
    block_close(n);
    bool packs = !strcmp(seeds[i].format, "vhdx");
    size_t whole = *length;
    *length = packs ? (size_t)PACKED : MIN(whole, (size_t)IMAGE_MAX - SCRIPT);
    uint8_t *out = calloc(1, *length + SCRIPT);
    for (size_t k = 0; packs && k < ARRAY_SIZE(parts); k++)
        memcpy(out + SCRIPT + parts[k].packed, (uint8_t *)image + parts[k].at, parts[k].length);
    if (!packs)
        memcpy(out + SCRIPT, image, *length);
    *length += SCRIPT;
    free(image);
    return out;
}

/* Headers and tables lie in front, most of the changes too; a few are numbers of sectors or blocks. */
static size_t change(uint64_t *rng, uint8_t *input, size_t length)
{
    for (unsigned i = 0; i < SCRIPT; i++)
        input[i] = (uint8_t)fuzz_dice(rng);
    for (unsigned k = (unsigned)(fuzz_dice(rng) % 8); k; k--) {
        size_t range = fuzz_dice(rng) & 1 ? 512 : fuzz_dice(rng) & 1 ? 4096 : fuzz_dice(rng) & 1 ? 65536 : length - SCRIPT;
        size_t at = SCRIPT + fuzz_dice(rng) % MIN(range, length - SCRIPT);
        if (fuzz_dice(rng) % 8 == 0)
            at = length - 1 - fuzz_dice(rng) % MIN((size_t)512, length - SCRIPT);
        if (fuzz_dice(rng) & 1) {
            input[at] ^= (uint8_t)(1u << fuzz_dice(rng) % 8);
        } else if (at + 8 <= length) {
            at = SCRIPT + ALIGN_DOWN(at - SCRIPT, (size_t)4);
            uint32_t v = (uint32_t)fuzz_dice(rng) >> fuzz_dice(rng) % 32;
            v = fuzz_dice(rng) & 1 ? v : __builtin_bswap32(v);
            memcpy(input + at, &v, sizeof(v));
        }
    }
    return length;
}

int main(int argc, char **argv)
{
    static const struct fuzz_target target = { .name = "formats", .count = 7000, .input_max = IMAGE_MAX, .seeds = ARRAY_SIZE(seeds),
                                               .seed_make = seed_make, .change = change };
    return fuzz_main(&target, argc, argv);
}
#endif
