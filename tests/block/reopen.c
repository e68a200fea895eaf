/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * block_reopen: an image whose options change again and again under requests in flight, against a copy in memory: read-only or not, caches,
 * with two backing files by turns. What cannot be opened leaves it as it was; an image that vanished meanwhile is abandoned.
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

enum { ROUNDS = 60, WRITES = 20, SIZE = 4 << 20, HALF = SIZE / 2, CHUNK = 8192 };

struct write { uint8_t data[CHUNK]; struct iovec iov; unsigned *left; };

static void write_done(void *opaque, int result)
{
    struct write *w = opaque;

    check(result == 0, "a write in flight: %d", result);
    --*w->left;
}

/* Some writes to the lower half, not waited for. */
static void writes_begin(struct block_node *n, struct write *w, unsigned *left, uint8_t *copy, uint64_t *seed)
{
    uint64_t at = rng_below(seed, HALF / CHUNK / WRITES) * CHUNK;

    for (*left = 0; *left < WRITES; ++*left, at += HALF / WRITES / CHUNK * CHUNK) {
        struct write *x = &w[*left];

        rng_fill(seed, x->data, CHUNK);
        memcpy(copy + at, x->data, CHUNK);
        x->iov = (struct iovec){ x->data, CHUNK };
        x->left = left;
        block_write(n, at, &x->iov, 1, write_done, x);
    }
}

static bool half_is(struct block_node *n, const uint8_t *copy)
{
    uint8_t *seen = malloc(HALF);
    bool same = seen && !block_pread(n, 0, seen, HALF) && !memcmp(seen, copy, HALF);

    free(seen);
    return same;
}

static uint8_t byte_at(struct block_node *n, uint64_t at)
{
    uint8_t sector[512] = { 0 };

    check(block_pread(n, at, sector, 512) == 0, "read");
    return sector[0];
}

/* Both backing files have a letter of their own in the upper half, which nobody writes. */
static void rounds(const char *image, uint64_t *seed)
{
    struct block_open_options backing[] = { { .filename = "a.x", .format = "qcow2" }, { .filename = "b.x", .format = "raw" } };
    struct block_open_options o = { .filename = image }, before;
    struct block_node *n = open_image(&o);
    struct write *w = calloc(WRITES, sizeof(*w));
    uint8_t *copy = calloc(1, HALF), sector[512] = { 1 };
    struct error err = { "" };
    unsigned left = 0;

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t which = rng_below(seed, 3);

        if (!block_is_readonly(n)) writes_begin(n, w, &left, copy, seed);
        before = o;
        o.readonly = rng_below(seed, 2);
        o.cache = rng_below(seed, BLOCK_CACHE_UNSAFE + 1);
        o.backing = which < 2 ? &backing[which] : NULL;
        check(block_reopen(n, &o, &before, &err) == 0 && left == 0, "%s: %s", image, err.text);
        check(half_is(n, copy), "%s: what was written before is there", image);
        check(byte_at(n, HALF) == "ABA"[which], "%s: the backing file is the %u.", image, (unsigned)which);
        check(!!block_pwrite(n, SIZE - 512, sector, 512) == o.readonly, "%s: writes", image);
        check(run("qemu-img info %s", image) == (o.readonly ? 0 : 1), "%s: locks", image);
    }
    block_close(n);
    check(run("qemu-img check -q %s", image) == 0, "%s: clean", image);
    free(copy);
    free(w);
}

static void failures_test(void)
{
    struct block_open_options good = { .filename = "top.x" }, bad = { .filename = "none.x" }, other = { .filename = "small.x" };
    struct block_open_options over_b = { .filename = "top.x", .backing = &(struct block_open_options){ .filename = "b.x", .format = "raw" } };
    struct block_open_options over_a = { .filename = "a.x", .format = "qcow2" }, loop = { .filename = "top.x" }, raw = { .filename = "top.x", .format = "raw" };
    struct block_node *n = open_image(&good), *holder;
    uint8_t sector[512] = { 'x' };
    struct error err = { "" };

    check(!block_pwrite(n, 0, sector, 512), "write");
    check(block_reopen(n, &bad, &good, &err) < 0 && strstr(err.text, "none.x") && byte_at(n, 0) == 'x', "no such image: %s", err.text);
    check(block_reopen(n, &other, &good, &err) < 0 && strstr(err.text, "block_resize") && byte_at(n, 0) == 'x', "other size: %s", err.text);
    check(block_reopen(n, &raw, &good, &err) < 0 && byte_at(n, 0) == 'x', "other format, other size: %s", err.text);
    loop.backing = &loop;
    check(block_reopen(n, &loop, &good, &err) < 0 && byte_at(n, 0) == 'x', "a loop: %s", err.text);
    check(block_reopen(n, &over_b, &good, &err) == 0 && byte_at(n, HALF) == 'B', "over another: %s", err.text);
    holder = open_image(&over_a);
    loop.backing = &over_a;
    check(block_reopen(n, &loop, &over_b, &err) < 0 && strstr(err.text, "another process") && byte_at(n, 0) == 'x', "backing file in use: %s", err.text);
    check(!block_pwrite(n, 512, sector, 512) && byte_at(n, 512) == 'x', "it can still be written");
    block_close(holder);
    check(block_reopen(n, &loop, &over_b, &err) == 0 && byte_at(n, HALF) == 'A', "not in use any more: %s", err.text);
    check(!unlink("top.x") && block_reopen(n, &good, &loop, &err) < 0 && byte_at(n, 0) == 'x', "the name is gone, the image is not");
    block_close(n);
}

/* In every format that can be written an image stays what it is, written to or not; several mark the file while it is open for writing. */
static void formats_test(uint64_t *seed)
{
    static const char *const formats[] = { "raw", "qcow2 -o lazy_refcounts=on", "vdi", "vhdx", "vmdk", "vpc" };
    uint8_t *copy = calloc(1, HALF), data[CHUNK];

    for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
        struct block_open_options o = { .filename = "f.x" }, before;
        struct block_node *n;
        struct error err = { "" };
        char name[16];

        snprintf(name, sizeof(name), "%.*s", (int)strcspn(formats[i], " "), formats[i]);
        o.format = name;
        check(run("rm -f f.x; qemu-img create -q -f %s f.x 4M", formats[i]) == 0, "%s: image", formats[i]);
        memset(copy, 0, HALF);
        n = open_image(&o);
        for (unsigned k = 0; k < 6; k++) {
            uint64_t at = rng_below(seed, HALF / CHUNK) * CHUNK;

            if (!o.readonly) {
                rng_fill(seed, data, CHUNK);
                memcpy(copy + at, data, CHUNK);
                check(block_pwrite(n, at, data, CHUNK) == 0, "%s: write", name);
            }
            before = o;
            o.readonly = k % 3 == 1;
            check(block_reopen(n, &o, &before, &err) == 0, "%s, %u.: %s", name, k, err.text);
            check(!block_is_abandoned(n) && half_is(n, copy), "%s, %u.: what was written is there", name, k);
        }
        block_close(n);
    }
    free(copy);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 7, first = seed;

    test_directory_enter();
    loop_init();
    check(run("head -c 4M /dev/zero | tr '\\0' A > r && truncate -s 2M z && head -c 2M r >> z && mv z r && qemu-img convert -f raw -O qcow2 r a.x && "
              "truncate -s 2M b.x && head -c 2M /dev/zero | tr '\\0' B >> b.x && qemu-img create -q -f qcow2 -b a.x -F qcow2 top.x && "
              "qemu-img create -q -f qed -b a.x -F qcow2 qed.x && qemu-img create -q -f qcow2 small.x 1M") == 0, "images");
    rounds("top.x", &seed);
    failures_test();
    formats_test(&seed);
    return report("reopen", first);
}
