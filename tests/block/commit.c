/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * block_commit: random writes, zeroes and discards go into an image over another, with commits in between, against a copy in memory;
 * after each commit the image below, seen by qemu-img, is the copy, and both images are clean. With one that others use nothing is
 * written; a backing file that cannot be written leaves everything in the image.
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 4, OPERATIONS = 60, MOST_BYTES = 8 << 20 };

/* Shell commands that make base.x, and with one more image.x over it; without, the image is a temporary one. */
static const struct kind { const char *name, *format, *base, *image; unsigned bytes; } kinds[] = {
    { "snapshot over raw", "raw", "head -c 5000704 /dev/urandom > base.x", NULL, 5000704 },
    { "snapshot over qcow2", "qcow2", "qemu-img create -q -f qcow2 base.x 6M", NULL, 6 << 20 },
    { "snapshot over qcow2 v2, zlib", "qcow2", "head -c 3M /dev/zero > r && seq 1 90000 >> r && truncate -s 6M r && "
      "qemu-img convert -c -f raw -O qcow2 -o compat=0.10 r base.x", NULL, 6 << 20 },
    { "snapshot over qcow2 over raw", "qcow2", "head -c 4M /dev/urandom > r && qemu-img create -q -f qcow2 -b r -F raw base.x 6M", NULL, 6 << 20 },
    { "snapshot over vmdk", "vmdk", "qemu-img create -q -f vmdk base.x 6M", NULL, 6 << 20 },
    { "qcow2 over raw", "qcow2", "head -c 5M /dev/urandom > base.x", "qemu-img create -q -f qcow2 -b base.x -F raw image.x", 5 << 20 },
    { "larger qcow2 over qcow2", "qcow2", "qemu-img create -q -f qcow2 base.x 3M", "qemu-img create -q -f qcow2 -b base.x -F qcow2 image.x 6M", 6 << 20 },
    { "extended L2 over 512-byte clusters", "qcow2", "qemu-img create -q -f qcow2 -o cluster_size=512 base.x 6M",
      "qemu-img create -q -f qcow2 -b base.x -F qcow2 -o extended_l2=on,cluster_size=128k image.x", 6 << 20 },
    { "data in a file of their own", "qcow2", "qemu-img create -q -f qcow2 base.x 6M",
      "qemu-img create -q -f qcow2 -b base.x -F qcow2 -o data_file=data.x image.x", 6 << 20 },
};

static void change(struct block_node *n, uint8_t *copy, uint64_t size, uint64_t *seed)
{
    static uint8_t data[400 * 512];
    uint64_t sectors = rng_below(seed, rng_below(seed, 4) ? 10 : 400) + 1, length = sectors * 512, at = rng_below(seed, size / 512 - sectors) * 512;

    switch (rng_below(seed, 4)) {
    case 0:
        check(!block_write_zeroes_sync(n, at, length, rng_below(seed, 2)), "zeroes");
        memset(copy + at, 0, length);
        break;
    default:
        rng_fill(seed, data, length);
        check(!block_pwrite(n, at, data, length), "write");
        memcpy(copy + at, data, length);
    }
}

static bool reads_as(struct block_node *n, const uint8_t *copy, uint64_t size)
{
    uint8_t *seen = malloc(size);
    bool same = seen && !block_pread(n, 0, seen, size) && !memcmp(seen, copy, size);

    free(seen);
    return same;
}

static void commit(const struct kind *k, struct block_node *n, const uint8_t *copy, const char *format)
{
    struct error err = { "" };
    size_t length = 0;
    uint8_t *seen;

    check(!block_commit(n, &err), "%s: %s", k->name, err.text);
    check(reads_as(n, copy, k->bytes), "%s: after the commit", k->name);
    check(run("qemu-img convert -U -f %s -O raw base.x seen.x", format) == 0, "%s: convert", k->name);
    seen = file_read("seen.x", &length);
    check(length == k->bytes && !memcmp(seen, copy, length), "%s: the image below is different", k->name);
    free(seen);
}

static void kind_test(const struct kind *k, uint64_t *seed)
{
    const char *format = k->image && strstr(k->image, "-F raw") ? "raw" : k->image ? "qcow2" : k->format;
    struct block_open_options o = { .filename = k->image ? "image.x" : "base.x", .format = k->format, .snapshot = !k->image };
    struct block_node *n;
    uint8_t *copy = calloc(1, MOST_BYTES);

    check(run("rm -f *.x && %s", k->base) == 0 && (!k->image || run("%s", k->image) == 0), "%s: cannot be made", k->name);
    n = open_image(&o);
    check(block_size_bytes(n) == k->bytes && !block_pread(n, 0, copy, k->bytes), "%s: size", k->name);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < OPERATIONS; i++) change(n, copy, k->bytes, seed);
        commit(k, n, copy, format);
        if (round == 1) commit(k, n, copy, format);            /* nothing new */
    }
    block_close(n);
    if (strcmp(format, "raw")) check(run("qemu-img check -q -f %s base.x", format) == 0, "%s: the image below is not clean", k->name);
    if (k->image) check(run("qemu-img check -q image.x") == 0, "%s: the image is not clean", k->name);
    free(copy);
}

static void refused(void)
{
    struct block_open_options o = { .filename = "base.x", .format = "raw", .snapshot = true }, top = { .filename = "image.x", .format = "qcow2" };
    struct block_node *n, *other;
    struct error err = { "" };
    uint8_t byte[512] = { 'x' };

    check(run("rm -f *.x && truncate -s 1M base.x seen.x && qemu-img create -q -f qcow2 -b base.x -F raw image.x") == 0, "images");
    n = open_image(&o);
    other = open_image(&top);
    check(!block_pwrite(n, 0, byte, 512) && block_commit(n, &err) < 0 && strstr(err.text, "perhaps as a backing file"), "in use: %s", err.text);
    check(!block_pread(other, 0, byte, 512) && byte[0] == 0, "written all the same");
    block_close(other);
    check(!block_commit(n, &err) && !block_pread(n, 0, byte, 512) && byte[0] == 'x', "not in use any more: %s", err.text);
    block_close(n);
    n = open_image(&top);
    check(!block_pwrite(n, 4096, byte, 512) && !unlink("base.x"), "backing file away");
    check(block_commit(n, &err) < 0 && strstr(err.text, "base.x"), "away: %s", err.text);
    memset(byte, 0, 512);
    check(!block_pread(n, 4096, byte, 512) && byte[0] == 'x', "the image keeps it");
    block_close(n);
    n = open_image(&(struct block_open_options){ .filename = "seen.x", .format = "raw" });
    check(block_commit(n, &err) < 0 && strstr(err.text, "no backing file"), "no backing file: %s", err.text);
    block_close(n);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 20, first = seed;

    test_directory_enter();
    loop_init();
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) kind_test(&kinds[i], &seed);
    refused();
    return report("commit", first);
}
