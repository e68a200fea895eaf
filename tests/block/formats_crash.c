/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power cuts under the formats of other programs, in the fault protocol as crash.c does it for qcow2. Each sector holds
 * its number and the count of the write that made it; after a cut every sector must be one that was written there, and not
 * older than the last flush that succeeded. The image is opened again by us (VHDX: its log is carried out), and what is left
 * is checked by qemu-img where it can. Then a sector of each 64 KiB is written, which must change no other: two blocks at one
 * place would. 'formats_crash SEED CUTS'.
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "block/fault.h"
#include "block/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 6 << 20, SECTORS = SIZE / 512, LIMIT = 64 << 20, STEPS = 60, CHECK_EVERY = 8 };

static const struct row {
    const char *format, *key, *value;
    const char *check;              /* how qemu-img has to like it, or NULL */
    unsigned more;                  /* so many times as many cuts: it takes few writes for each */
} rows[] = {
    { "vdi", NULL, NULL, NULL, 6 }, { "vpc", "force_size", "on", NULL }, { "vmdk", NULL, NULL, "qemu-img check -f vmdk x" },
    { "vmdk", "subformat", "streamOptimized", "qemu-img check -f vmdk x" },
    { "vhdx", "block_size", "1M", "qemu-img check -r all -f vhdx x" },
};

static struct {
    uint64_t stable[SECTORS], newest[SECTORS], pending[SECTORS];
} versions;

static void sector_make(uint8_t *data, uint64_t sector, uint64_t version)
{
    for (unsigned i = 0; i < 512; i += 16) {
        memcpy(data + i, &sector, 8);
        memcpy(data + i + 8, &version, 8);
    }
}

static bool sector_is_good(const uint8_t *data, uint64_t sector)
{
    uint8_t want[512] = { 0 };
    uint64_t version;
    memcpy(&version, data + 8, 8);
    if (version < versions.stable[sector] || version > versions.newest[sector])
        return false;
    if (version)
        sector_make(want, sector, version);
    return !memcmp(data, want, 512);
}

static void workload(struct block_node *n, uint64_t *rng)
{
    uint8_t *data = malloc(64 * 512);
    uint64_t version = 1;
    for (unsigned i = 0; i < STEPS; i++, version++) {
        if (rng_below(rng, 6) == 0) {
            memcpy(versions.pending, versions.newest, sizeof(versions.newest));
            if (!block_flush_sync(n))
                memcpy(versions.stable, versions.pending, sizeof(versions.stable));
            continue;
        }
        uint64_t count = 1 + rng_below(rng, 64), first = rng_below(rng, SECTORS - count);
        for (uint64_t k = 0; k < count; k++) {
            sector_make(data + k * 512, first + k, version);
            versions.newest[first + k] = version;
        }
        if (block_pwrite(n, first * 512, data, count * 512))
            break;
    }
    free(data);
}

static struct block_protocol *image_make(const struct row *row)
{
    struct error err;
    const struct block_option_value item = { row->key, row->value };
    const struct block_option_set set = { &item, row->key ? 1 : 0 };
    const struct block_create_options c = { .filename = "memory", .format = row->format, .size_bytes = SIZE, .options = &set };
    struct block_protocol *p = block_fault_open(NULL, 0, LIMIT);
    if (!p || block_format_find(row->format)->create(p, &c, &err) || block_protocol_flush(p)) {
        check(false, "%s: %s", row->format, err.text);
        exit(1);
    }
    return p;
}

/* False: what is written to one place shows at another. */
static bool goes_on(struct block_node *n, uint8_t *all)
{
    uint8_t *now = calloc(1, SIZE);
    bool good = true;
    for (uint64_t s = 3; good && s < SECTORS; s += 128) {
        sector_make(all + s * 512, s, 1ull << 40);
        good = !block_pwrite(n, s * 512, all + s * 512, 512);
    }
    good = good && !block_flush_sync(n) && !block_pread(n, 0, now, SIZE) && !memcmp(all, now, SIZE);
    free(now);
    return good;
}

static void judge(const struct row *row, void *image, size_t length, uint64_t cut, bool ask)
{
    const struct block_open_options o = { .filename = "memory", .format = row->format };
    struct error err;
    uint8_t *all = calloc(1, SIZE);
    if (ask && row->check) {
        file_write("x", image, length);
        check(!run("%s", row->check), "%s, cut at write %llu: %s", row->format, (unsigned long long)cut, row->check);
    }
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    if (check(n != NULL, "%s, cut at write %llu: %s", row->format, (unsigned long long)cut, n ? "" : err.text)) {
        check(!block_pread(n, 0, all, SIZE), "%s, cut at write %llu: cannot be read", row->format, (unsigned long long)cut);
        for (uint64_t s = 0; s < SECTORS; s++)
            if (!sector_is_good(all + s * 512, s)) {
                check(false, "%s, cut at write %llu: sector %llu is wrong", row->format, (unsigned long long)cut, (unsigned long long)s);
                break;
            }
        check(goes_on(n, all), "%s, cut at write %llu: writing on spoils it", row->format, (unsigned long long)cut);
        block_close(n);
    }
    free(all);
}

static void cut_test(const struct row *row, uint64_t *rng, uint64_t at, bool ask)
{
    const struct block_open_options o = { .filename = "memory", .format = row->format };
    struct error err;
    void *image;
    size_t length;
    memset(&versions, 0, sizeof(versions));
    struct block_protocol *p = image_make(row);
    uint64_t before = block_fault_writes(p);
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    if (!check(n != NULL, "%s: %s", row->format, n ? "" : err.text))
        return;
    block_fault_cut_at(p, before + at);
    workload(n, rng);
    if (check(!block_fault_image(p, rng_next(rng), &image, &length), "out of memory")) {
        judge(row, image, length, at, ask);
        free(image);
    }
    block_close(n);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 90210, rng = seed;
    unsigned cuts = argc > 2 ? (unsigned)atoi(argv[2]) : 60;
    test_directory_enter();
    stderr = fopen("messages", "w");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (unsigned k = 0; k < cuts * MAX(rows[i].more, 1u); k++)
            cut_test(&rows[i], &rng, rng_below(&rng, 120), k % CHECK_EVERY == 0);
    printf("%zu kinds of image, %u cuts each\n", ARRAY_SIZE(rows), cuts);
    return report("block/formats_crash", seed);
}
