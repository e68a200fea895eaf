/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images made and filled by qemu-img and qemu-io, read through the block room at random and whole, compared
 * with what qemu-img reads from them. Backing chains with relative names, formats recorded or not, and images
 * that a crashed qemu left dirty are among them.
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "block/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const options[] = {
    "compat=0.10", "compat=0.10,cluster_size=512", "compat=1.1", "cluster_size=512", "cluster_size=1k",
    "cluster_size=4k,refcount_bits=1", "cluster_size=2M", "extended_l2=on", "extended_l2=on,cluster_size=16k",
    "extended_l2=on,cluster_size=2M", "lazy_refcounts=on", "refcount_bits=64", "preallocation=metadata",
    "preallocation=falloc", "preallocation=full", "data_file=d.x", "data_file=d.x,data_file_raw=on",
    "compression_type=zstd",
};

static void image_compare(uint64_t *rng, const char *what, const char *name, const char *format)
{
    size_t size;
    const struct block_open_options o = { .filename = name, .format = format, .readonly = true };
    check(run("rm -f want.raw; qemu-img convert -f qcow2 -O raw %s want.raw", name) == 0, "%s: qemu-img convert", what);
    uint8_t *want = file_read("want.raw", &size), *got = malloc(size);
    struct block_node *n = open_image(&o);
    check(block_size_bytes(n) == size, "%s: size", what);
    check(!block_pread(n, 0, got, size) && !memcmp(got, want, size), "%s: the whole disk differs", what);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t at = 512 * rng_below(rng, size / 512), length = MIN(512 * (1 + rng_below(rng, 300)), size - at);
        check(!block_pread(n, at, got, length) && !memcmp(got, want + at, length), "%s: %llu+%llu differs", what,
              (unsigned long long)at, (unsigned long long)length);
    }
    uint8_t sector[512] = { 0 };
    check(block_pwrite(n, 0, sector, 512) != 0, "%s: a write to a read-only image", what);
    block_close(n);
    free(want);
    free(got);
}

/* Writes, zeroes and discards by qemu-io. */
static void fill(uint64_t *rng, const char *name, unsigned commands)
{
    char line[4096] = "";
    for (unsigned i = 0; i < commands; i++) {
        static const char *const verbs[] = { "write -q -P %u", "write -q -P %u", "write -q -z -u", "write -q -z",
                                             "discard -q" };
        char verb[32];
        size_t used = strlen(line);
        snprintf(verb, sizeof(verb), verbs[rng_below(rng, 5)], 1 + (unsigned)rng_below(rng, 250));
        uint64_t at = 512 * rng_below(rng, 16000), length = 512 * (1 + rng_below(rng, 384));
        snprintf(line + used, sizeof(line) - used, " -c '%s %llu %llu'", verb, (unsigned long long)at,
                 (unsigned long long)length);
    }
    char *script = NULL;
    if (asprintf(&script, "qemu-io -d unmap -f qcow2 %s %s\n", line, name) < 0)
        exit(1);
    file_write("script.sh", script, strlen(script));
    free(script);
    check(run("sh script.sh") == 0, "qemu-io");
}

static void plain_images(uint64_t *rng)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        run("rm -f *.x");
        check(run("qemu-img create -q -f qcow2 -o %s image.x 8M", options[i]) == 0, "create %s", options[i]);
        fill(rng, "image.x", 24);
        if (!strstr(options[i], "data_file") && !strstr(options[i], "refcount_bits=1"))
            check(run("qemu-img snapshot -c one image.x") == 0, "snapshot");
        fill(rng, "image.x", 8);
        image_compare(rng, options[i], "image.x", i & 1 ? "qcow2" : NULL);
    }
}

static void compressed_images(uint64_t *rng)
{
    static const char *const kinds[] = { "compat=0.10", "cluster_size=512", "cluster_size=64k", "cluster_size=2M",
                                         "compression_type=zstd", "compression_type=zstd,cluster_size=2M",
                                         "compression_type=zstd,extended_l2=on" };
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        run("rm -f *.x; (head -c 1000000 /dev/urandom; seq 1 900000) | head -c 8M > p.x; truncate -s 8M p.x");
        check(run("qemu-img convert -c -f raw -O qcow2 -o %s p.x image.x", kinds[i]) == 0, "convert -c");
        image_compare(rng, kinds[i], "image.x", NULL);
        fill(rng, "image.x", 8);
        image_compare(rng, kinds[i], "image.x", NULL);
    }
}

static void chains(uint64_t *rng)
{
    run("rm -rf *.x sub; mkdir sub; head -c 5000704 /dev/urandom > sub/base.x");
    check(run("cd sub && qemu-img create -q -f qcow2 -b base.x -F raw one.x && "
              "qemu-img create -q -f qcow2 -o cluster_size=4k -b one.x -F qcow2 two.x 8M && "
              "qemu-img create -q -f qcow2 -o extended_l2=on -b \"$PWD/two.x\" -F qcow2 three.x") == 0, "chain");
    fill(rng, "sub/two.x", 10);
    fill(rng, "sub/three.x", 10);
    image_compare(rng, "chain of four, relative and absolute names", "sub/three.x", "qcow2");
    check(run("qemu-img rebase -u -f qcow2 -b two.x -F qcow2 sub/three.x") == 0, "rebase");
    image_compare(rng, "chain of four, relative names", "sub/three.x", NULL);
}

/* qemu-io is killed with lazy refcounts in use; ospite must mend them at its first write, not before. */
static void dirty_images(uint64_t *rng)
{
    static const char *const kinds[] = { "lazy_refcounts=on", "lazy_refcounts=on,cluster_size=512",
                                         "lazy_refcounts=on,cluster_size=4k,refcount_bits=8" };
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        uint8_t sector[512];
        run("rm -f *.x; qemu-img create -q -f qcow2 -o %s image.x 8M", kinds[i]);
        run("qemu-io -f qcow2 -c 'write -P 3 1M 3M' -c 'write -P 4 70k 9k' -c flush -c 'sigraise 9' image.x");
        check(strstr(run_output("qemu-img info -f qcow2 image.x 2>&1"), "corrupt: false") != NULL, "info");
        check(run("qemu-img check -q -f qcow2 image.x") != 0, "%s: qemu-io left no dirty image", kinds[i]);
        image_compare(rng, "dirty image", "image.x", NULL);
        check(run("qemu-img check -q -f qcow2 image.x") != 0, "%s: a reader repaired the image", kinds[i]);
        const struct block_open_options o = { .filename = "image.x" };
        struct block_node *n = open_image(&o);
        rng_fill(rng, sector, sizeof(sector));
        check(!block_pwrite(n, 6 << 20, sector, 512), "first write");
        block_close(n);
        check(run("qemu-img check -q -f qcow2 image.x") == 0, "%s: the repair: %s", kinds[i],
              run_output("qemu-img check -f qcow2 image.x 2>&1 | tail -n 8"));
        image_compare(rng, "repaired image", "image.x", NULL);
    }
}

/* An unknown autoclear bit is cleared by the first write, and not by opening; the bitmaps', which are kept, stays. */
static void autoclear_bits(uint64_t *rng)
{
    uint8_t sector[512] = { 1 };
    run("rm -f *.x; qemu-img create -q -f qcow2 image.x 8M && qemu-img bitmap --add image.x b0");
    const struct block_open_options o = { .filename = "image.x" };
    size_t length;
    uint8_t *head = file_read("image.x", &length);
    head[95] |= 32;
    file_write("image.x", head, length);
    free(head);
    struct block_node *n = open_image(&o);
    block_close(n);
    head = file_read("image.x", &length);
    check(head[95] == 33, "opening cleared an autoclear bit");
    free(head);
    n = open_image(&o);
    check(!block_pwrite(n, 0, sector, 512), "write");
    block_close(n);
    head = file_read("image.x", &length);
    check(head[95] == 1, "a write left an unknown autoclear bit, or dropped the bitmaps");
    free(head);
    image_compare(rng, "image with a bitmap", "image.x", NULL);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 4711, rng = seed;
    test_directory_enter();
    plain_images(&rng);
    compressed_images(&rng);
    chains(&rng);
    dirty_images(&rng);
    autoclear_bits(&rng);
    return report("block/read", seed);
}
