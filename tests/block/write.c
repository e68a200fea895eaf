/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random writes, zeroes, discards and reads through the block room, many in flight, against a copy in memory;
 * then the image is judged by 'qemu-img check' and 'qemu-img compare'. One line of the table is one kind of
 * image. Data, sizes and order come from a fixed seed (an argument sets another).
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IN_FLIGHT = 16, ROUNDS = 12 };

struct kind {
    const char *name, *format, *create;     /* create: shell commands that make image.x */
    unsigned mib;
    enum block_cache cache;
    const char *snapshot;                   /* internal snapshot that must stay as it was */
    bool may_leak;
};

#define CREATE(options) "qemu-img create -q -f qcow2 -o " options " image.x %uM"
#define FILLED "qemu-io -f qcow2 -c 'write -P 17 1M 3M' -c 'write -P 5 5000k 300k' -c 'write -P 9 7M 512' image.x"
#define BASE "head -c 6000128 /dev/urandom > base.x"
#define OVER(options) BASE " && qemu-img create -q -f qcow2 -b base.x -F raw -o " options " image.x %uM"
#define PACKED(options) "head -c 3000000 /dev/urandom > p && seq 1 400000 >> p && truncate -s %uM p && " \
                        "qemu-img convert -c -f raw -O qcow2 -o " options " p image.x"

static const struct kind kinds[] = {
    { "raw", "raw", "truncate -s %uM image.x", 8, BLOCK_CACHE_WRITEBACK },
    { "raw, cache=none", "raw", "truncate -s %uM image.x", 8, BLOCK_CACHE_NONE },
    { "raw, cache=directsync", "raw", "truncate -s %uM image.x", 8, BLOCK_CACHE_DIRECTSYNC },
    { "v2", "qcow2", CREATE("compat=0.10"), 16 },
    { "v2 over raw", "qcow2", OVER("compat=0.10"), 16 },
    { "v3", "qcow2", CREATE("compat=1.1"), 16 },
    { "v3, cache=none", "qcow2", CREATE("compat=1.1"), 16, BLOCK_CACHE_NONE },
    { "v3, cache=writethrough", "qcow2", CREATE("compat=1.1"), 8, BLOCK_CACHE_WRITETHROUGH },
    { "v3, cache=unsafe", "qcow2", CREATE("compat=1.1"), 16, BLOCK_CACHE_UNSAFE },
    { "v3, 512-byte clusters", "qcow2", CREATE("cluster_size=512"), 8 },
    { "v3, 512-byte clusters, 64-bit refcounts", "qcow2", CREATE("cluster_size=512,refcount_bits=64"), 8 },
    { "v3, 4 KiB clusters, 1-bit refcounts", "qcow2", CREATE("cluster_size=4k,refcount_bits=1"), 16 },
    { "v3, 4 KiB clusters, 2-bit refcounts", "qcow2", CREATE("cluster_size=4k,refcount_bits=2"), 16 },
    { "v3, 8-bit refcounts", "qcow2", CREATE("refcount_bits=8"), 16 },
    { "v3, 32-bit refcounts", "qcow2", CREATE("refcount_bits=32"), 16 },
    { "v3, 2 MiB clusters", "qcow2", CREATE("cluster_size=2M"), 32 },
    { "v3, odd size", "qcow2", "qemu-img create -q -f qcow2 -o cluster_size=64k image.x 9999872; : %u", 0 },
    { "v3 over raw", "qcow2", OVER("compat=1.1"), 16 },
    { "v3 over qcow2 over raw", "qcow2", OVER("cluster_size=4k") " && qemu-io -f qcow2 -c 'write -P 3 2M 1M' image.x && "
      "mv image.x mid.x && qemu-img create -q -f qcow2 -b mid.x -F qcow2 image.x", 16 },
    { "v3, 2 MiB clusters over raw", "qcow2", OVER("cluster_size=2M"), 16 },
    { "v3, extended L2", "qcow2", CREATE("extended_l2=on"), 16 },
    { "v3, extended L2, 16 KiB clusters", "qcow2", CREATE("extended_l2=on,cluster_size=16k"), 16 },
    { "v3, extended L2 over raw", "qcow2", OVER("extended_l2=on"), 16 },
    { "v3, lazy refcounts", "qcow2", CREATE("lazy_refcounts=on"), 16 },
    { "v3, preallocated", "qcow2", CREATE("preallocation=metadata"), 16 },
    { "v2, zlib", "qcow2", PACKED("compat=0.10"), 16 },
    { "v3, zlib", "qcow2", PACKED("compat=1.1"), 16 },
    { "v3, zlib, 2 MiB clusters", "qcow2", PACKED("cluster_size=2M"), 16 },
    { "v3, zstd", "qcow2", PACKED("compression_type=zstd"), 16 },
    { "v3, zstd, extended L2", "qcow2", PACKED("compression_type=zstd,extended_l2=on"), 16 },
    { "v3, snapshot", "qcow2", CREATE("compat=1.1") " && " FILLED " && qemu-img snapshot -c s1 image.x", 16,
      .snapshot = "s1" },
    { "v2, snapshot", "qcow2", CREATE("compat=0.10") " && " FILLED " && qemu-img snapshot -c s1 image.x", 16,
      .snapshot = "s1" },
    { "v3, extended L2, snapshot", "qcow2", CREATE("extended_l2=on") " && " FILLED " && qemu-img snapshot -c s1 image.x",
      16, .snapshot = "s1" },
    { "v3, 4 KiB clusters, zlib, snapshot", "qcow2", PACKED("cluster_size=4k") " && qemu-img snapshot -c s1 image.x",
      16, .snapshot = "s1" },
    { "v3, external data file", "qcow2", CREATE("data_file=data.x"), 16 },
    { "v3, external raw data file", "qcow2", CREATE("data_file=data.x,data_file_raw=on"), 16 },
};

struct disk {
    struct block_node *node;
    uint8_t *copy;
    uint64_t size;
};

enum op { WRITE, ZERO, DISCARD, READ, FLUSH };
struct job {
    struct disk *d;
    enum op op;
    uint64_t offset, length;
    uint8_t *data;
    bool busy;
};
static unsigned pending;

static void job_done(void *opaque, int result)
{
    struct job *j = opaque;
    pending--;
    j->busy = false;
    check(result == 0, "operation %d at %llu+%llu gives %d", j->op, (unsigned long long)j->offset,
          (unsigned long long)j->length, result);
    if (j->op == READ)
        check(!memcmp(j->data, j->d->copy + j->offset, j->length), "read at %llu+%llu differs",
              (unsigned long long)j->offset, (unsigned long long)j->length);
}

/* Disjoint from the other requests in flight; neighbours in one cluster are wanted. */
static bool is_disjoint(const struct job *jobs, const struct job *j)
{
    for (const struct job *o = jobs; o < jobs + IN_FLIGHT; o++)
        if (o != j && o->busy && o->offset < j->offset + j->length && j->offset < o->offset + o->length)
            return false;
    return true;
}

static void range_pick(uint64_t *rng, struct disk *d, struct job *jobs, struct job *j)
{
    static const uint32_t limits[] = { 1, 8, 64, 200, 700 };
    do {
        j->length = 512 * (1 + rng_below(rng, limits[rng_below(rng, ARRAY_SIZE(limits))]));
        j->offset = 512 * rng_below(rng, d->size / 512);
        if (rng_below(rng, 3) == 0)
            j->offset = ALIGN_DOWN(j->offset, 65536ull);
        j->length = MIN(j->length, d->size - j->offset);
    } while (!is_disjoint(jobs, j));
}

static int pieces(uint64_t *rng, uint8_t *data, uint64_t length, struct iovec *iov)
{
    int n = 0;
    while (length) {
        uint64_t take = n == 7 ? length : MIN(512 * (1 + rng_below(rng, length / 512)), length);
        iov[n++] = (struct iovec){ data, take };
        data += take;
        length -= take;
    }
    return n;
}

static void job_start(uint64_t *rng, struct disk *d, struct job *jobs, struct job *j)
{
    unsigned dice = (unsigned)rng_below(rng, 20);
    struct iovec iov[8];
    *j = (struct job){ .d = d, .data = j->data, .op = dice < 12 ? WRITE : dice < 14 ? ZERO : dice < 15 ? DISCARD :
                       dice < 19 ? READ : FLUSH };
    if (j->op != FLUSH)
        range_pick(rng, d, jobs, j);
    j->busy = j->op != FLUSH;
    pending++;
    if (j->op == WRITE) {
        rng_fill(rng, j->data, j->length);
        memcpy(d->copy + j->offset, j->data, j->length);
        block_write(d->node, j->offset, iov, pieces(rng, j->data, j->length, iov), job_done, j);
    } else if (j->op == READ) {
        block_read(d->node, j->offset, iov, pieces(rng, j->data, j->length, iov), job_done, j);
    } else if (j->op == ZERO) {
        memset(d->copy + j->offset, 0, j->length);
        block_write_zeroes(d->node, j->offset, j->length, rng_below(rng, 2), job_done, j);
    } else if (j->op == DISCARD) {
        block_discard(d->node, j->offset, j->length, job_done, j);
    } else {
        block_flush(d->node, job_done, j);
    }
}

/* A discarded sector reads as before or as zeroes; which is taken over into the copy. */
static void discard_settle(struct disk *d, struct job *j)
{
    static const uint8_t zeroes[512];
    check(!block_pread(d->node, j->offset, j->data, j->length), "read after discard");
    for (uint64_t at = 0; at < j->length; at += 512) {
        uint8_t *was = d->copy + j->offset + at;
        check(!memcmp(j->data + at, was, 512) || !memcmp(j->data + at, zeroes, 512), "discard left something else");
        memcpy(was, j->data + at, 512);
    }
}

static void rounds(uint64_t *rng, struct disk *d, struct job *jobs)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (struct job *j = jobs; j < jobs + IN_FLIGHT; j++)
            job_start(rng, d, jobs, j);
        if (i & 1)
            block_drain(d->node);
        while (pending)
            loop_step(100);
        for (struct job *j = jobs; j < jobs + IN_FLIGHT; j++)
            if (j->op == DISCARD)
                discard_settle(d, j);
    }
}

static void whole_compare(struct disk *d)
{
    uint8_t *all = malloc(d->size);
    check(!block_pread(d->node, 0, all, d->size), "reading all of it");
    check(!memcmp(all, d->copy, d->size), "the disk is not what was written");
    free(all);
}

/* A file system may have no O_DIRECT (tmpfs of older kernels). */
static bool is_possible(const struct kind *k)
{
    const struct block_open_options o = { .filename = "image.x", .format = k->format, .cache = k->cache };
    struct error err = { 0 };
    struct block_node *n = block_open(&o, &err);
    block_close(n);
    return n || !strstr(err.text, "O_DIRECT");
}

static void kind_test(const struct kind *k, uint64_t *rng, struct job *jobs)
{
    struct disk d = { 0 };
    size_t before_size, snapshot_size;
    unsigned failed = failures;
    char create[1024];
    snprintf(create, sizeof(create), k->create, k->mib);
    if (!check(run("rm -f *.x; %s", create) == 0, "making the image"))
        return;
    if (!is_possible(k)) {
        printf("  %-45s SKIPPED: this directory's file system has no O_DIRECT\n", k->name);
        return;
    }
    run("qemu-img convert -f %s -O raw image.x before.x", k->format);
    d.copy = file_read("before.x", &before_size);
    for (unsigned pass = 0; pass < 2; pass++) {
        const struct block_open_options o = { .filename = "image.x", .format = k->format, .cache = k->cache,
                                              .discard = true };
        d.node = open_image(&o);
        d.size = block_size_bytes(d.node);
        check(d.size == before_size, "size is %llu, not %zu", (unsigned long long)d.size, before_size);
        whole_compare(&d);
        rounds(rng, &d, jobs);
        whole_compare(&d);
        block_close(d.node);
    }
    file_write("copy.x", d.copy, d.size);
    if (strcmp(k->format, "raw"))
        check(run("qemu-img check -f qcow2 image.x") == 0, "qemu-img check: see\n%s",
              run_output("qemu-img check -f qcow2 image.x 2>&1 | tail -n 15"));
    check(run("qemu-img compare -f %s -F raw image.x copy.x", k->format) == 0, "qemu-img compare");
    if (k->snapshot) {
        run("qemu-img convert -f qcow2 -O raw -l %s image.x snapshot.x", k->snapshot);
        void *s = file_read("snapshot.x", &snapshot_size), *b = file_read("before.x", &before_size);
        check(snapshot_size == before_size && !memcmp(s, b, before_size), "the snapshot has changed");
        free(s);
        free(b);
    }
    free(d.copy);
    printf("  %-45s %s\n", k->name, failures == failed ? "ok" : "FAILED");
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 20240607, rng = seed;
    struct job jobs[IN_FLIGHT] = { 0 };
    test_directory_enter();
    loop_init();
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        jobs[i].data = aligned_alloc(4096, 1 << 20);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        kind_test(&kinds[i], &rng, jobs);
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        free(jobs[i].data);
    printf("%zu kinds of image, %u operations each\n", ARRAY_SIZE(kinds), 2 * ROUNDS * IN_FLIGHT);
    return report("block/write", seed);
}
