/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The formats of other programs against qemu-img and qemu-io, both ways: images they make are read and changed by us,
 * images we make are read, checked and changed by them. Each side writes at random; a copy in memory and 'qemu-img
 * compare' judge. 'formats SEED'.
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block.h"
#include "block/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 20 * 1024 * 1024 + 3 * 512, IN_FLIGHT = 16 };

static const struct row {
    const char *format, *options;   /* options of creation, for both sides */
    bool check;                     /* qemu-img can check it */
    bool only_ours;                 /* qemu-io cannot write to it */
    bool only_read;                 /* by us */
} rows[] = {
    { "vdi", "", true, false },
    { "vdi", "static=on", true, false },
    { "vmdk", "", true, false },
    { "vmdk", "zeroed_grain=on", true, false },
    { "vmdk", "subformat=streamOptimized", true, true },
    { "vmdk", "subformat=monolithicFlat", true, false },
    { "vmdk", "subformat=twoGbMaxExtentSparse,adapter_type=lsilogic", true, false },
    { "vmdk", "subformat=twoGbMaxExtentFlat", true, false },
    { "vhdx", "", true, false },
    { "vhdx", "block_size=1M,log_size=2M", true, false },
    { "vhdx", "subformat=fixed", true, false },
    { "vhdx", "block_state_zero=off", true, false },
    { "vpc", "", false, false },
    { "vpc", "force_size=on", false, false },
    { "vpc", "subformat=fixed", false, false },
    { "vpc", "subformat=fixed,force_size=on", false, false },
    { "qed", "", .only_read = true },
    { "qed", "cluster_size=4k,table_size=4", .only_read = true },
    { "parallels", "", .only_read = true }, { "qcow", "", .only_read = true },
};

struct disk {
    const struct row *row;
    uint8_t *data;
    uint64_t size;
    uint64_t *rng;
};

static unsigned cases;

static struct block_node *disk_open(const struct disk *d, bool readonly)
{
    const struct block_open_options o = { .filename = "x", .format = d->row->format, .readonly = readonly, .discard = true };
    return open_image(&o);
}

static void model_write(struct disk *d)
{
    file_write("model", d->data, d->size);
}

static void disk_compare(const struct disk *d, const char *when)
{
    model_write((struct disk *)(uintptr_t)d);
    cases++;
    check(run("qemu-img compare -f raw -F %s model x", d->row->format) == 0, "%s %s: %s: qemu-img reads something else",
          d->row->format, d->row->options, when);
    if (d->row->check)
        check(run("qemu-img check -f %s x", d->row->format) == 0, "%s %s: %s: qemu-img check", d->row->format,
              d->row->options, when);
}

static void disk_read_all(struct disk *d, const char *when)
{
    struct block_node *n = disk_open(d, true);
    uint8_t *got = malloc(d->size);
    cases++;
    check(block_size_bytes(n) == d->size, "%s %s: %s: size %llu, not %llu", d->row->format, d->row->options, when,
          (unsigned long long)block_size_bytes(n), (unsigned long long)d->size);
    check(!block_pread(n, 0, got, d->size) && !memcmp(got, d->data, d->size), "%s %s: %s: read something else",
          d->row->format, d->row->options, when);
    for (uint64_t at = 0; at < d->size;) {
        struct block_extent e;
        if (!check(!block_extent_get(n, at, d->size - at, &e) && e.length_bytes, "%s: extent at %llu", d->row->format,
                   (unsigned long long)at))
            break;
        for (uint64_t i = at; e.zero && i < at + e.length_bytes; i++)
            if (d->data[i]) {
                check(false, "%s %s: zero extent with data", d->row->format, d->row->options);
                break;
            }
        at += e.length_bytes;
    }
    block_close(n);
    free(got);
}

static void done(void *opaque, int result)
{
    check(!result, "request: %s", strerror(-result));
}

/* Requests that are in flight together do not overlap. */
static void ours_write(struct disk *d, unsigned rounds)
{
    struct block_node *n = disk_open(d, false);
    uint64_t share = ALIGN_DOWN(d->size / IN_FLIGHT, 512ull);
    for (unsigned i = 0; i < rounds; i++) {
        struct iovec iov[IN_FLIGHT][2];
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            uint64_t take = 512 * (1 + rng_below(d->rng, rng_below(d->rng, 4) ? 32 : 700));
            uint64_t at = k * share + 512 * rng_below(d->rng, (share - take) / 512), half = take / 2 & ~7ull;
            uint64_t what = rng_below(d->rng, 12);
            if (what == 0) {
                memset(d->data + at, 0, take);
                block_write_zeroes(n, at, take, rng_below(d->rng, 2), done, NULL);
                continue;
            }
            if (what == 1) {
                block_flush(n, done, NULL);
                continue;
            }
            rng_fill(d->rng, d->data + at, take);
            iov[k][0] = (struct iovec){ d->data + at, half };
            iov[k][1] = (struct iovec){ d->data + at + half, take - half };
            block_write(n, at, iov[k], 2, done, NULL);
        }
        block_drain(n);
    }
    block_close(n);
}

static void theirs_write(struct disk *d, unsigned times)
{
    if (d->row->only_ours)
        return;
    char *script = malloc(times * 64 + 64);
    size_t used = 0;
    for (unsigned i = 0; i < times; i++) {
        uint64_t take = 512 * (1 + rng_below(d->rng, rng_below(d->rng, 4) ? 32 : 700));
        uint64_t at = 512 * rng_below(d->rng, (d->size - take) / 512);
        unsigned pattern = (unsigned)rng_below(d->rng, 256);
        memset(d->data + at, (int)pattern, take);
        used += (size_t)sprintf(script + used, "write -P %u %llu %llu\n", pattern, (unsigned long long)at, (unsigned long long)take);
    }
    file_write("script", script, used);
    free(script);
    check(run("qemu-io -f %s x < script", d->row->format) == 0, "qemu-io on %s %s", d->row->format, d->row->options);
}

static void size_take(struct disk *d)
{
    struct block_node *n = disk_open(d, true);
    d->size = block_size_bytes(n);
    block_close(n);
    d->data = calloc(1, d->size);
}

static bool ours_create(const struct row *row)
{
    struct block_option_value item[8];
    struct block_option_set set = { item, 0 };
    struct error err;
    char text[128], *save;
    strcpy(text, row->options);
    for (char *w = strtok_r(text, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        char *equals = strchr(w, '=');
        *equals = 0;
        item[set.count++] = (struct block_option_value){ w, equals + 1 };
    }
    const struct block_create_options o = { .filename = "x", .format = row->format, .size_bytes = SIZE, .options = &set,
                                            .force = true };
    run("rm -f x x-*");
    bool made = block_create(&o, &err) == 0;
    return check(made, "create %s %s: %s", row->format, row->options, made ? "" : err.text);
}

static void theirs_first(const struct row *row, uint64_t *rng)
{
    struct disk d = { .row = row, .rng = rng };
    run("rm -f x x-*");
    check(run("qemu-img create -f %s %s%s x %d", row->format, *row->options ? "-o " : "", row->options, SIZE) == 0,
          "qemu-img create %s %s", row->format, row->options);
    size_take(&d);
    disk_read_all(&d, "their empty image");
    theirs_write(&d, 60);
    disk_read_all(&d, "their image");
    if (!row->only_read) {
        ours_write(&d, 12);
        disk_read_all(&d, "their image, ours on it");
        disk_compare(&d, "their image, ours on it");
    }
    free(d.data);
}

static void ours_first(const struct row *row, uint64_t *rng)
{
    struct disk d = { .row = row, .rng = rng };
    if (!ours_create(row))
        return;
    size_take(&d);
    disk_compare(&d, "our empty image");
    for (unsigned i = 0; i < 3; i++) {
        ours_write(&d, 6);
        disk_compare(&d, "our image");
    }
    disk_read_all(&d, "our image");
    theirs_write(&d, 40);
    disk_read_all(&d, "our image, theirs on it");
    ours_write(&d, 3);
    disk_compare(&d, "our image, both on it");
    free(d.data);
}

/* What convert makes of random contents, and sizes that fit no block. */
static void converted(const struct row *row, uint64_t *rng)
{
    struct disk d = { .row = row, .rng = rng, .size = 512 * (1 + rng_below(rng, 20000)) };
    d.data = calloc(1, d.size + (64 << 20));
    for (unsigned i = 0; i < 5; i++)
        rng_fill(rng, d.data + rng_below(rng, d.size / 2), d.size / 9);
    model_write(&d);
    run("rm -f x x-*");
    check(run("qemu-img convert -f raw -O %s %s%s model x", row->format, *row->options ? "-o " : "", row->options) == 0,
          "qemu-img convert to %s", row->format);
    struct block_node *n = disk_open(&d, true);
    d.size = block_size_bytes(n);       /* VHD may have rounded up */
    block_close(n);
    disk_read_all(&d, "a converted image");
    free(d.data);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 4711, rng = seed;
    loop_init();
    test_directory_enter();
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (argc > 2 && strcmp(argv[2], rows[i].format))
            continue;
        theirs_first(&rows[i], &rng);
        if (!rows[i].only_read)
            ours_first(&rows[i], &rng);
        converted(&rows[i], &rng);
        converted(&rows[i], &rng);
    }
    printf("%zu kinds of image, %u cases\n", ARRAY_SIZE(rows), cases);
    return report("block/formats", seed);
}
