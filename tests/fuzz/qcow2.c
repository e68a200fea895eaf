/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of the qcow2 driver. An input is 32 bytes of script (which requests to make, and which work on the whole image) and
 * then an image. The image lives in memory; names of backing and data files are taken out, so that no input opens files of
 * the host. What was written at last is read back.
 */
#include "base/bits.h"
#include "base/error.h"
#include "block/fault.h"
#include "block/image.h"
#include "block/qcow2/qcow2.h"

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { SCRIPT = 32, LIMIT = 8 << 20, IMAGE_MAX = 2 << 20 };

/* Work on the whole image, and what describes it. Messages are not looked at. */
static void whole(struct block_node *n, uint8_t where)
{
    static const char *const bits[] = { "1", "8", "16", "64" };
    const struct block_option_value value = { where & 16 ? "lazy_refcounts" : "refcount_bits", where & 16 ? where & 32 ? "on" : "off" :
                                              bits[where >> 5 & 3] };
    const struct block_option_set set = { &value, 1 };
    struct block_bitmap_change c = { .action = where >> 4 & 7, .name = where & 128 ? "b" : "c", .source = n, .source_name = "b",
                                     .granularity_bytes = 512, .disabled = where & 64 };
    struct block_check check = { .fix = where >> 4 & 3 };
    struct block_snapshot snapshot = { .name = "s" }, *snapshots;
    struct block_bitmap *bitmaps;
    struct block_info info = { 0 };
    struct error err;
    unsigned count;
    switch (where & 15) {
    case 0: block_snapshot_create(n, &snapshot, &err); break;
    case 1: block_snapshot_apply(n, where & 16 ? "s" : "1", &err); break;
    case 2: block_snapshot_delete(n, where & 16 ? "s" : "1", &err); break;
    case 3: block_resize(n, (uint64_t)(where >> 4) << 16, BLOCK_PREALLOCATION_OFF, &err); break;
    case 4: block_resize(n, block_size_bytes(n) + ((uint64_t)where << 12), BLOCK_PREALLOCATION_METADATA, &err); break;
    case 5: case 6:
        if (c.action <= BLOCK_BITMAP_MERGE)
            block_bitmap_change(n, &c, &err);
        break;
    case 7: block_amend(n, &set, false, NULL, &err); break;
    case 8: block_make_empty(n, &err); break;
    case 9: block_check(n, &check, &err); break;
    case 10: block_backing_change(n, NULL, NULL, &err); break;
    case 11:
        if (!block_snapshot_list(n, &snapshots, &count, &err))
            free(snapshots);
        break;
    case 12:
        if (!block_bitmap_list(n, &bitmaps, &count, &err))
            free(bitmaps);
        break;
    default:
        if (!block_info_get(n, &info, &err))
            json_decref(info.data);
    }
}

static void packed_write(struct block_node *n, uint64_t at, uint8_t *data)
{
    uint64_t cluster = block_cluster_bytes(n);
    at = ALIGN_DOWN(at, cluster);
    if (cluster <= 65536 && at < block_size_bytes(n))
        block_write_compressed(n, at, data, MIN(cluster, block_size_bytes(n) - at));
}

static void request(struct block_node *n, uint8_t what, uint8_t where, uint8_t *data)
{
    uint64_t size = block_size_bytes(n), length = 512ull << (what >> 4 & 7);
    uint64_t at = where & 0x80 ? size / 128 * (where & 0x7f) : where * 4096ull;
    struct block_map map;
    at = ALIGN_DOWN(at, 512ull);
    switch (what & 15) {
    case 0: case 1: case 2:
        block_pread(n, at, data, length);
        break;
    case 3: case 4: case 5:
        block_pwrite(n, at, data, length);
        break;
    case 6:
        block_node_discard(n, at, length);
        break;
    case 7:
        block_node_write_zeroes(n, at, length, what & 0x80);
        break;
    case 8:
        packed_write(n, at, data);
        break;
    case 9:
        if (at < size)
            block_map_get(n, at, size - at, 0, &map);
        break;
    case 10: case 11: case 12:
        block_flush_sync(n);
        break;
    default:
        whole(n, where);
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
                                          .discard = input[0] & 2, .for_check = (input[0] & 24) == 24 };
    if (input[0] & 4)
        block_fault_fail_at(p, input[1], 5);
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    for (unsigned i = 2; n && i + 1 < SCRIPT; i += 2)
        request(n, input[i], input[i + 1], data);
    block_close(n);
    return 0;
}

#ifndef FUZZER
static const struct qcow2_create_options seeds[] = {
    { .size_bytes = 1 << 20, .version = 2, .cluster_bits = 9 },
    { .size_bytes = 1 << 20, .version = 3, .cluster_bits = 9, .refcount_order = 4 },
    { .size_bytes = 1 << 20, .version = 3, .cluster_bits = 12, .refcount_order = 0 },
    { .size_bytes = 1 << 20, .version = 3, .cluster_bits = 9, .refcount_order = 6, .lazy_refcounts = true },
    { .size_bytes = 1 << 20, .version = 3, .cluster_bits = 14, .refcount_order = 4, .extended_l2 = true },
    { .size_bytes = 1ull << 40, .version = 3, .cluster_bits = 16, .refcount_order = 4 },
};

/* An image with some data in it, behind an empty script. */
static uint8_t *seed_make(unsigned i, size_t *length)
{
    const struct qcow2_create_options *o = &seeds[i];
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
    const struct block_bitmap_change c = { .action = BLOCK_BITMAP_ADD, .name = "b", .granularity_bytes = 512 };
    const struct block_snapshot snapshot = { .name = "s", .date_s = 1 };
    if (i & 1 && block_bitmap_change(n, &c, &err))
        return NULL;
    if (o->refcount_order && block_snapshot_create(n, &snapshot, &err))
        return NULL;
    block_pwrite(n, 0, data, sizeof(data));
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

static size_t change(uint64_t *rng, uint8_t *input, size_t length)
{
    for (unsigned i = 0; i < SCRIPT; i++)
        input[i] = (uint8_t)fuzz_dice(rng);
    for (unsigned k = (unsigned)(fuzz_dice(rng) % 8); k; k--) {
        size_t at = SCRIPT + fuzz_dice(rng) % (fuzz_dice(rng) & 1 ? MIN(length - SCRIPT, (size_t)128) : length - SCRIPT);
        if (fuzz_dice(rng) & 1) {
            input[at] ^= (uint8_t)(1u << fuzz_dice(rng) % 8);
        } else if (at + 8 <= length) {          /* a table entry that leads somewhere near */
            at = SCRIPT + ALIGN_DOWN(at - SCRIPT, (size_t)8);
            be64 entry = be64_make((fuzz_dice(rng) & 1) << 63 | (fuzz_dice(rng) % 64) << (9 + fuzz_dice(rng) % 8));
            memcpy(input + at, &entry, sizeof(entry));
        }
    }
    return length;
}

int main(int argc, char **argv)
{
    static const struct fuzz_target target = { .name = "qcow2", .count = 6000, .input_max = IMAGE_MAX, .seeds = ARRAY_SIZE(seeds),
                                               .seed_make = seed_make, .change = change };
    return fuzz_main(&target, argc, argv);
}
#endif
