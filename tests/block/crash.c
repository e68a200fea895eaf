/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power cuts. An image lives in the fault protocol, which drops and reorders what was written since its last
 * flush. Random writes, zeroes, discards and flushes run until the n-th write of the image file; then the
 * disk as it would be found must have no corruption by 'qemu-img check' (leaks are allowed), every sector
 * must hold what it held at the last completed flush or something written to it since, and snapshots must be
 * as they were. Images with lazy refcounts are first repaired, by ospite's first write or by qemu-img. The
 * same with eight requests in flight; a last part lets single writes fail with ENOSPC and EIO. Arguments: the
 * seed, and how much to do in percent (50).
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 64 << 20 };

struct kind {
    const char *name, *create;
    unsigned cuts;                  /* at 100 percent */
    bool lazy, snapshot, backing;
};

#define FILLED "qemu-io -f qcow2 -c 'write -P 17 1M 1M' -c 'write -P 5 2500k 300k' image.x"
#define BASE "head -c 3000320 /dev/urandom > base.x && "

static const struct kind kinds[] = {
    { "v3", "qemu-img create -q -f qcow2 image.x 4M", 60 },
    { "v2", "qemu-img create -q -f qcow2 -o compat=0.10 image.x 4M && " FILLED, 30 },
    { "v3, 512-byte clusters", "qemu-img create -q -f qcow2 -o cluster_size=512 image.x 2M", 60 },
    { "v3, 512-byte clusters, 64-bit refcounts",
      "qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 image.x 4M", 40 },
    { "v3, 4 KiB clusters over raw",
      BASE "qemu-img create -q -f qcow2 -b base.x -F raw -o cluster_size=4k image.x 4M", 60, .backing = true },
    { "v3, extended L2 over raw",
      BASE "qemu-img create -q -f qcow2 -b base.x -F raw -o extended_l2=on,cluster_size=16k image.x 4M", 60,
      .backing = true },
    { "v3, snapshot", "qemu-img create -q -f qcow2 -o cluster_size=4k image.x 4M && " FILLED
      " && qemu-img snapshot -c s1 image.x", 60, .snapshot = true },
    { "v3, extended L2, snapshot", "qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=16k image.x 4M && " FILLED
      " && qemu-img snapshot -c s1 image.x", 40, .snapshot = true },
    { "v3, zstd, 4 KiB clusters", "seq 1 700000 | head -c 4194304 > p && qemu-img convert -c -f raw -O qcow2 "
      "-o cluster_size=4k,compression_type=zstd p image.x", 60 },
    { "v3, lazy refcounts", "qemu-img create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on image.x 4M", 60,
      .lazy = true },
    { "v3, lazy refcounts, 512-byte clusters",
      "qemu-img create -q -f qcow2 -o cluster_size=512,lazy_refcounts=on image.x 2M", 40, .lazy = true },
    { "v3, lazy refcounts, snapshot", "qemu-img create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on image.x 4M && "
      FILLED " && qemu-img snapshot -c s1 image.x", 40, .lazy = true, .snapshot = true },
};

/* What each sector may hold: the state at the last flush, and the writes since, by number. */
struct model {
    uint64_t size;
    uint8_t *flushed, *now;
    struct change {
        uint64_t offset, length;
        uint8_t *data;              /* NULL: zeroes */
        bool discard;               /* zeroes or what was there */
    } *changes;
    size_t count;
};

static void change_apply(uint8_t *disk, const struct change *c)
{
    if (c->data)
        memcpy(disk + c->offset, c->data, c->length);
    else
        memset(disk + c->offset, 0, c->length);
}

static void model_forget(struct model *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->changes[i].data);
    m->count = 0;
}

static bool sector_is_possible(const struct model *m, uint64_t at, const uint8_t *found)
{
    static const uint8_t zeroes[512];
    if (!memcmp(found, m->flushed + at, 512))
        return true;
    for (size_t i = m->count; i--;) {
        const struct change *c = &m->changes[i];
        if (at >= c->offset && at < c->offset + c->length &&
            !memcmp(found, c->data ? c->data + (at - c->offset) : zeroes, 512))
            return true;
    }
    return false;
}

static struct block_node *node_over(struct block_protocol *p, const char *backing)
{
    struct error err;
    const struct block_open_options o = { .filename = "memory", .format = "qcow2", .discard = true, .no_lock = true };
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    if (!n) {
        printf("FAILED: %s\n", err.text);
        exit(1);
    }
    return n;
}

/* One random request; true when it completed. A flush that completed moves the model's stable state. */
static bool request(uint64_t *rng, struct block_node *n, struct model *m)
{
    static uint8_t data[256 << 10];
    static const uint16_t limits[] = { 1, 8, 64, 512 };
    unsigned dice = (unsigned)rng_below(rng, 16);
    struct change c = { .length = 512 * (1 + rng_below(rng, limits[rng_below(rng, 4)])),
                        .offset = 512 * rng_below(rng, m->size / 512) };
    c.length = MIN(c.length, m->size - c.offset);
    if (dice == 0) {
        int r = block_flush_sync(n);
        if (r)
            return false;
        model_forget(m);
        memcpy(m->flushed, m->now, m->size);
        uint8_t *all = malloc(m->size);
        r = block_pread(n, 0, all, m->size);
        check(r || !memcmp(all, m->now, m->size), "the disk differs while it runs");
        free(all);
        return !r;
    }
    if (dice < 11) {
        rng_fill(rng, data, c.length);
        c.data = malloc(c.length);
        memcpy(c.data, data, c.length);
    }
    c.discard = dice == 11;
    m->changes = realloc(m->changes, (m->count + 1) * sizeof(*m->changes));
    m->changes[m->count++] = c;
    int r = c.data ? block_pwrite(n, c.offset, data, c.length) :
            c.discard ? block_node_discard(n, c.offset, c.length) :
            block_node_write_zeroes(n, c.offset, c.length, rng_below(rng, 2));
    if (r)
        return false;
    if (c.discard)
        r = block_pread(n, c.offset, m->now + c.offset, c.length);
    else
        change_apply(m->now, &c);
    return !r;
}

static void repaired(uint64_t *rng, const struct kind *k)
{
    uint8_t sector[512];
    if (rng_below(rng, 3) == 0) {
        run("qemu-img check -q -r all -f qcow2 crash.x");
        return;
    }
    const struct block_open_options o = { .filename = "crash.x", .format = "qcow2" };
    struct block_node *n = open_image(&o);
    check(!block_pread(n, 0, sector, 512) && !block_pwrite(n, 0, sector, 512), "%s: the repair", k->name);
    block_close(n);
}

static void found_check(uint64_t *rng, const struct kind *k, const struct model *m, const void *before,
                        const char *how)
{
    size_t length;
    if (k->lazy)
        repaired(rng, k);
    int r = run("qemu-img check -q -f qcow2 crash.x");
    check(r == 0 || r == 3, "%s: qemu-img check gives %d:\n%s", k->name, r,
          run_output("qemu-img check -f qcow2 crash.x 2>&1 | tail -n 12"));
    const struct block_open_options o = { .filename = "crash.x", .format = "qcow2", .readonly = true };
    struct block_node *n = open_image(&o);
    uint8_t *found = malloc(m->size);
    check(!block_pread(n, 0, found, m->size), "%s: reading after the crash", k->name);
    block_close(n);
    unsigned wrong = 0;
    uint64_t first = 0;
    for (uint64_t at = m->size; at; at -= 512)
        if (!sector_is_possible(m, at - 512, found + at - 512)) {
            wrong++;
            first = at - 512;
        }
    check(!wrong, "%s, %s: %u sectors hold what was never there, the first at %llu", k->name, how, wrong,
          (unsigned long long)first);
    free(found);
    if (!k->snapshot)
        return;
    run("rm -f s.x; qemu-img convert -f qcow2 -O raw -l s1 crash.x s.x");
    void *s = file_read("s.x", &length);
    check(length == m->size && !memcmp(s, before, length), "%s: the snapshot has changed", k->name);
    free(s);
}

/* Closes the format with the power on or off, so that what closing writes is cut too; the protocol stays. */
static void format_close(struct block_node *n)
{
    n->format->close(n);
    n->format = &block_format_raw;
}

static void cut_test(uint64_t *rng, const struct kind *k, const void *image, size_t length, const void *before,
                     uint64_t size)
{
    struct model m = { .size = size, .flushed = malloc(size), .now = malloc(size) };
    void *left;
    size_t left_length;
    memcpy(m.flushed, before, size);
    memcpy(m.now, before, size);
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    block_fault_cut_at(p, rng_below(rng, 400));
    struct block_node *n = node_over(p, NULL);
    unsigned requests = (unsigned)rng_below(rng, 2) ? 400 : 1 + (unsigned)rng_below(rng, 60);
    for (unsigned i = 0; i < requests && request(rng, n, &m); i++)
        ;
    if (rng_below(rng, 2))
        format_close(n);
    check(!block_fault_image(p, rng_next(rng), &left, &left_length), "out of memory");
    file_write("crash.x", left, left_length);
    free(left);
    block_close(n);
    found_check(rng, k, &m, before, "power cut");
    model_forget(&m);
    free(m.changes);
    free(m.flushed);
    free(m.now);
}

static unsigned pending, batch_failed;

static void batch_done(void *opaque, int result)
{
    pending--;
    batch_failed += result != 0;
    if (opaque)
        *(bool *)opaque = result == 0;
}

/* What was complete before a flush began that has succeeded is what must be found. */
static void model_settle(struct model *m, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        change_apply(m->flushed, &m->changes[i]);
        free(m->changes[i].data);
    }
    m->count -= count;
    memmove(m->changes, m->changes + count, m->count * sizeof(*m->changes));
}

/* Up to eight requests on worker threads at once, each in its own eighth of the disk, and perhaps a flush. */
static bool batch(uint64_t *rng, struct block_node *n, struct model *m)
{
    size_t settled = m->count, flush_at = rng_below(rng, 24);
    bool flushed = false;
    m->changes = realloc(m->changes, (m->count + 8) * sizeof(*m->changes));
    for (unsigned i = 0; i < 8; i++) {
        struct change c = { .length = 512 * (1 + rng_below(rng, 100)) };
        c.offset = m->size / 8 * i + 512 * rng_below(rng, m->size / 8 / 512 - 100);
        if (rng_below(rng, 5)) {
            c.data = malloc(c.length);
            rng_fill(rng, c.data, c.length);
        }
        m->changes[m->count++] = c;
        struct iovec iov = { c.data, c.length };
        pending++;
        if (c.data)
            block_write(n, c.offset, &iov, 1, batch_done, NULL);
        else
            block_write_zeroes(n, c.offset, c.length, rng_below(rng, 2), batch_done, NULL);
        if (i == flush_at) {
            pending++;
            block_flush(n, batch_done, &flushed);
        }
    }
    block_drain(n);
    if (flushed)
        model_settle(m, settled);
    return !batch_failed;
}

static void parallel_cut_test(uint64_t *rng, const struct kind *k, const void *image, size_t length,
                              const void *before, uint64_t size)
{
    struct model m = { .size = size, .flushed = malloc(size) };
    void *left;
    size_t left_length;
    memcpy(m.flushed, before, size);
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    block_fault_cut_at(p, rng_below(rng, 600));
    struct block_node *n = node_over(p, NULL);
    batch_failed = 0;
    for (unsigned i = 0; i < 100 && batch(rng, n, &m); i++)
        ;
    check(!block_fault_image(p, rng_next(rng), &left, &left_length), "out of memory");
    file_write("crash.x", left, left_length);
    free(left);
    block_close(n);
    found_check(rng, k, &m, before, "power cut with requests in flight");
    model_forget(&m);
    free(m.changes);
    free(m.flushed);
}

/* One write fails; the machine goes on. The image must be sound, and what was acknowledged must be there. */
static void failure_test(uint64_t *rng, const struct kind *k, const void *image, size_t length, const void *before,
                         uint64_t size)
{
    struct model m = { .size = size, .flushed = malloc(size), .now = malloc(size) };
    void *left;
    size_t left_length;
    memcpy(m.flushed, before, size);
    memcpy(m.now, before, size);
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    block_fault_fail_at(p, 3 + rng_below(rng, 200), rng_below(rng, 2) ? ENOSPC : EIO);
    struct block_node *n = node_over(p, NULL);
    for (unsigned i = 0; i < 100; i++)
        if (!request(rng, n, &m))       /* what a failed request did to its range is open; it is read back */
            check(!block_pread(n, 0, m.now, m.size), "%s: reading after a failed write", k->name);
    check(!block_flush_sync(n) || !block_flush_sync(n), "%s: flush after a failed write", k->name);
    model_forget(&m);
    memcpy(m.flushed, m.now, size);
    block_node_flush(n);
    check(!block_fault_image(p, rng_next(rng), &left, &left_length), "out of memory");
    file_write("crash.x", left, left_length);
    free(left);
    block_close(n);
    found_check(rng, k, &m, before, "failed write");
    free(m.changes);
    free(m.flushed);
    free(m.now);
}

static void kind_test(uint64_t *rng, const struct kind *k, unsigned percent)
{
    size_t length, size;
    unsigned failed = failures;
    if (!check(run("rm -f *.x; %s", k->create) == 0, "making the image"))
        return;
    run("qemu-img convert -f qcow2 -O raw image.x before.x");
    void *image = file_read("image.x", &length), *before = file_read("before.x", &size);
    unsigned cuts = (k->cuts * percent + 99) / 100, parallel = cuts / 3, failing = cuts / 4;
    for (unsigned i = 0; i < cuts; i++)
        cut_test(rng, k, image, length, before, size);
    for (unsigned i = 0; i < parallel; i++)
        parallel_cut_test(rng, k, image, length, before, size);
    for (unsigned i = 0; i < failing; i++)
        failure_test(rng, k, image, length, before, size);
    free(image);
    free(before);
    printf("  %-42s %3u power cuts, %2u under load, %2u failed writes  %s\n", k->name, cuts, parallel, failing,
           failures == failed ? "ok" : "FAILED");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 19991231, rng = seed;
    unsigned percent = argc > 2 ? (unsigned)atoi(argv[2]) : 50;
    test_directory_enter();
    loop_init();
    stderr = fopen("messages", "w");    /* what the block room says; the sanitizers' words still come through */
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        kind_test(&rng, &kinds[i], percent);
    return report("block/crash", seed);
}
