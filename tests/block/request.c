/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every node promises, whatever its format: callbacks in order of the loop or of a drain, the same
 * results with io_uring and with threads, ranges and read-only checked, counters, closing with requests in
 * flight, callbacks that submit, snapshot=on, the sector 0 guard, cache modes that flush; which requests of a
 * qcow2 image are a transfer of its file, and that nothing moves them meanwhile; reads that do not wait.
 */
#include "common.h"

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block_private.h"
#include "block/fault.h"
#include "block/image.h"
#include "block/throttle.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

struct reply {
    unsigned count;
    int result;
};

static void replied(void *opaque, int result)
{
    struct reply *r = opaque;
    check(machine_is_locked(), "a callback runs without the machine lock");
    r->count++;
    r->result = result;
}

static int wait_for(struct reply *r, unsigned count)
{
    while (r->count < count)
        loop_step(1000);
    return r->result;
}

/* Which zeroes a guest writes take space, by the option; one byte among them that is none, in the last piece, and all is written. */
static void zeroes_detected(void)
{
    static uint8_t zeroes[2 * 65536], data[65536];
    static const struct { const char *format; enum block_detect_zeroes detect; bool takes_none; } rows[] = {
        { "qcow2", BLOCK_DETECT_OFF, false }, { "qcow2", BLOCK_DETECT_ON, true }, { "qcow2", BLOCK_DETECT_UNMAP, true },
        { "raw", BLOCK_DETECT_OFF, false }, { "raw", BLOCK_DETECT_UNMAP, true },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct block_open_options o = { .filename = "zeroes", .format = rows[i].format, .discard = true, .detect_zeroes = rows[i].detect };
        const struct iovec iov[2] = { { zeroes, 65536 }, { zeroes + 65536, 65536 } };
        struct block_extent e;
        struct reply r = { 0 };
        run("rm -f zeroes; qemu-img create -f %s zeroes 1M", rows[i].format);
        struct block_node *n = open_image(&o);
        memset(data, 7, sizeof(data));
        check(block_pwrite(n, 0, data, sizeof(data)) == 0, "data");
        block_write(n, 0, iov, 2, replied, &r);
        check(wait_for(&r, 1) == 0, "zeroes");
        for (unsigned half = 0; half < 2; half++)
            check(block_extent_get(n, half * 65536, 65536, &e) == 0 && e.zero == rows[i].takes_none, "%s, detect-zeroes %d: half %u", rows[i].format, rows[i].detect, half);
        zeroes[131071] = 1;
        block_write(n, 131072, iov, 2, replied, &r);
        check(wait_for(&r, 2) == 0 && block_extent_get(n, 131072, 131072, &e) == 0 && !e.zero, "one byte is none");
        zeroes[131071] = 0;
        check(block_pread(n, 0, data, 65536) == 0 && !data[0] && !memcmp(data, data + 1, 65535), "zeroes are read");
        check(block_pread(n, 262144 - 512, data, 512) == 0 && data[511] == 1 && !data[510], "the byte is read");
        block_close(n);
    }
    const struct block_open_options wrong = { .filename = "zeroes", .format = "raw", .detect_zeroes = BLOCK_DETECT_UNMAP };
    struct error err = { "" };
    check(!block_open(&wrong, &err) && strstr(err.text, "without setting discard operation to unmap"), "unmap without discard: %s", err.text);
}

static void order_and_ranges(const char *name, const char *format)
{
    static uint8_t data[65536], back[65536];
    const struct block_open_options o = { .filename = name, .format = format };
    struct block_node *n = open_image(&o);
    const int64_t began = clock_host_ns();
    struct reply r = { 0 };
    struct iovec iov = { data, sizeof(data) }, in = { back, sizeof(back) }, odd = { data, 100 };
    memset(data, 0x5a, sizeof(data));
    block_write(n, MIB, &iov, 1, replied, &r);
    check(r.count == 0, "%s: a callback was made by the submitter", name);
    check(wait_for(&r, 1) == 0, "%s: write", name);
    block_read(n, MIB, &in, 1, replied, &r);
    check(wait_for(&r, 2) == 0 && !memcmp(data, back, sizeof(data)), "%s: read", name);
    uint64_t size = block_size_bytes(n);
    block_read(n, size, &in, 1, replied, &r);
    check(wait_for(&r, 3) == -EINVAL, "%s: read past the end", name);
    block_write(n, UINT64_MAX - 511, &iov, 1, replied, &r);
    check(wait_for(&r, 4) == -EINVAL, "%s: write at an offset that overflows", name);
    block_write(n, 512, &odd, 1, replied, &r);
    check(wait_for(&r, 5) == -EINVAL, "%s: write of 100 bytes", name);
    block_write(n, 100, &iov, 1, replied, &r);
    check(wait_for(&r, 6) == -EINVAL, "%s: write at 100", name);
    block_discard(n, size - 512, 1024, replied, &r);
    check(wait_for(&r, 7) == -EINVAL, "%s: discard past the end", name);
    block_write_zeroes(n, MIB, 4096, false, replied, &r);
    check(wait_for(&r, 8) == 0, "%s: zeroes", name);
    block_flush(n, replied, &r);
    check(wait_for(&r, 9) == 0, "%s: flush", name);
    check(!block_pread(n, MIB, back, 8192) && !back[0] && !back[4095] && back[4096] == 0x5a, "%s: zeroes", name);
    block_write(n, size - sizeof(data), &iov, 1, replied, &r);
    block_read(n, 0, &in, 0, replied, &r);
    check(wait_for(&r, 11) == 0, "%s: the last bytes, and nothing", name);
    struct block_stats s = block_stats_get(n);
    check(s.reads == 4 && s.writes == 6 && s.flushes == 1 && s.read_bytes == 65536 + 8192 &&
          s.written_bytes == 2 * 65536 + 4096, "%s: counters %llu %llu %llu %llu %llu", name,
          (unsigned long long)s.reads, (unsigned long long)s.writes, (unsigned long long)s.flushes,
          (unsigned long long)s.read_bytes, (unsigned long long)s.written_bytes);
    check(s.failed_reads == 1 && s.failed_writes == 3 && s.failed_discards == 1 && !s.failed_flushes && !s.discards && s.highest_write_end == size,
          "%s: %llu %llu %llu %llu failed, written up to %llu", name, (unsigned long long)s.failed_reads, (unsigned long long)s.failed_writes,
          (unsigned long long)s.failed_flushes, (unsigned long long)s.failed_discards, (unsigned long long)s.highest_write_end);
    uint64_t most = (uint64_t)(clock_host_ns() - began);
    check(s.read_ns && s.write_ns && s.flush_ns && s.read_ns <= 3 * most && s.write_ns <= 6 * most && s.flush_ns <= most, "%s: times", name);
    block_discard(n, MIB, MIB, replied, &r);
    check(wait_for(&r, 12) == 0, "%s: discard", name);
    s = block_stats_get(n);
    check(s.discards == 1 && s.discarded_bytes == MIB && s.discard_ns, "%s: discards", name);
    block_close(n);
}

/* The host tells whether it can read without waiting; what it has not got in its page cache is left to block_read, and for a while not looked for. */
static void now(const char *name, const char *format, bool by_ring)
{
    static uint8_t data[65536], back[65536];
    const struct block_open_options o = { .filename = name, .format = format, .discard = true };
    struct iovec two[2] = { { back, 512 }, { back + 512, 3584 } }, odd = { back, 100 }, probe = { back, 512 }, nowhere = { (void *)8, 4096 };
    struct block_node *n = open_image(&o);
    uint64_t state = 7, size = block_size_bytes(n);
    unsigned tries = 0;

    rng_fill(&state, data, sizeof(data));
    check(block_discard_sync(n, 0, size) == 0 && block_pwrite(n, MIB, data, sizeof(data)) == 0 && block_flush_sync(n) == 0, "%s: data", name);
    bool can = by_ring && preadv2(n->file->fd, &probe, 1, 0, RWF_NOWAIT) > 0;
    struct block_stats before = block_stats_get(n);
    machine_lock();
    check(block_read_now(n, MIB + 8192, two, 2) == can && (!can || !memcmp(back, data + 8192, 4096)), "%s: read at once", name);
    struct block_stats after = block_stats_get(n);
    check(after.reads == before.reads + can && after.read_bytes == before.read_bytes + can * 4096, "%s: it is counted", name);
    check(!block_read_now(n, size - 512, two, 2) && !block_read_now(n, UINT64_MAX - 511, two, 2) && !block_read_now(n, MIB, &odd, 1) && !block_read_now(n, 100, two, 2), "%s: outside", name);
    if (strcmp(format, "raw")) check(!block_read_now(n, 4 * MIB, two, 2), "%s: what is nowhere", name);
    check(!block_read_now(n, MIB, &nowhere, 1), "%s: into nothing", name);
    for (tries = 0; tries < 8 && block_read_now(n, MIB + 512, two, 2) != can;) tries++;
    check(tries < 8, "%s: again", name);
    tries = 0;
    if (can && posix_fadvise(n->file->fd, 0, 0, POSIX_FADV_DONTNEED) == 0 && !block_read_now(n, MIB, two, 2)) {
        check(block_pread(n, MIB, back, 4096) == 0 && !memcmp(back, data, 4096), "%s: from the disk", name);
        while (tries < 1000 && !block_read_now(n, MIB, two, 2)) tries++;
        check(tries <= 2, "%s: looked for again after %u times", name, tries);
    }
    struct block_throttles *t = block_throttles_new();
    struct error err = { "" };
    check(block_throttle_set(n, BLOCK_THROTTLE_DEVICE, t, "g", &(struct block_limits){ .limit[LIMIT_OPS] = { .average = 1 << 20 } }, &err) == 0, "limits: %s", err.text);
    check(!block_read_now(n, MIB, two, 2), "%s: limited", name);
    block_throttle_end(n);
    check(block_read_now(n, MIB, two, 2) == can, "%s: not any more", name);
    machine_unlock();
    block_close(n);
    block_throttles_free(t);
}

/* A callback that submits the next request, until ten have run. */
struct chain {
    struct block_node *node;
    struct iovec iov;
    unsigned left;
};

static void chain_next(void *opaque, int result)
{
    struct chain *c = opaque;
    check(result == 0, "a request of the chain: %d", result);
    if (--c->left)
        block_write(c->node, c->left * 4096ull, &c->iov, 1, chain_next, c);
}

static void drains(const char *name, const char *format)
{
    static uint8_t data[64][4096];
    const struct block_open_options o = { .filename = name, .format = format };
    struct block_node *n = open_image(&o);
    struct reply r = { 0 };
    for (unsigned i = 0; i < 64; i++) {
        struct iovec iov = { data[i], 4096 };
        memset(data[i], (int)i + 1, 4096);
        block_write(n, i * 70000ull / 512 * 512, &iov, 1, replied, &r);
    }
    block_drain(n);
    check(r.count == 64, "%s: %u callbacks after a drain", name, r.count);
    struct chain c = { n, { data[3], 4096 }, 10 };
    block_write(n, 0, &c.iov, 1, chain_next, &c);
    block_drain(n);
    check(c.left == 0, "%s: a drain left requests that callbacks made", name);
    for (unsigned i = 0; i < 32; i++) {
        struct iovec iov = { data[i], 4096 };
        block_write(n, i * 4096ull, &iov, 1, replied, &r);
    }
    block_close(n);
    check(r.count == 96, "%s: %u callbacks after closing", name, r.count);
    loop_step(0);                   /* the posted calls of a closed node find nothing */
    n = open_image(&o);
    static uint8_t back[32][4096];
    check(!block_pread(n, 0, back, sizeof(back)) && !memcmp(back, data, sizeof(back)), "%s: written before closing", name);
    block_close(n);
}

struct place {
    pthread_t thread;
    atomic_uint count;
};

static void placed_reply(void *opaque, int result)
{
    struct place *p = opaque;
    check(!result && machine_is_locked(), "called back with %d", result);
    p->thread = pthread_self();
    p->count++;
}

/* Who says that its callbacks may come from any thread has them without the main loop, unless the machine is locked. */
static void anywhere(const char *name)
{
    static uint8_t data[4096];
    const struct block_open_options o = { .filename = name };
    struct block_node *n = open_image(&o);
    struct iovec iov = { data, sizeof(data) };
    struct place p = { .count = 0 };
    block_done_anywhere(n);
    for (unsigned i = 1; i <= 200; i++) {
        if (i % 2)
            block_write(n, i * 4096, &iov, 1, placed_reply, &p);
        else
            block_read(n, i * 4096, &iov, 1, placed_reply, &p);
        for (unsigned ms = 0; p.count < i && ms < 60000; ms++)
            usleep(1000);
        check(p.count == i && !pthread_equal(p.thread, pthread_self()), "%s: request %u was not called back by who made it", name, i);
    }
    machine_lock();
    block_write(n, 0, &iov, 1, placed_reply, &p);
    usleep(20000);
    check(p.count == 200, "%s: a callback ran in a locked machine", name);
    machine_unlock();
    while (p.count < 201)
        loop_step(1000);
    check(pthread_equal(p.thread, pthread_self()), "%s: not in the main thread", name);
    for (unsigned i = 0; i < 64; i++)
        block_write(n, i * 4096, &iov, 1, placed_reply, &p);
    block_close(n);
    check(p.count == 265, "%s: %u callbacks after closing", name, p.count);
    loop_step(0);
}

static void snapshot(const char *name)
{
    size_t length, after;
    uint8_t *before = file_read(name, &length), data[8192], back[8192];
    const struct block_open_options o = { .filename = name, .snapshot = true }, both = { .filename = name, .snapshot = true,
                                          .readonly = true };
    struct block_node *n = open_image(&o), *m = open_image(&o);
    memset(data, 0x77, sizeof(data));
    check(!block_is_readonly(n) && !strcmp(block_filename(n), name), "snapshot=on: name");
    check(!block_pwrite(n, 12800, data, sizeof(data)) && !block_flush_sync(n), "snapshot=on: write");
    check(!block_pread(n, 12800, back, sizeof(back)) && !memcmp(data, back, sizeof(data)), "snapshot=on: read back");
    check(!block_pread(m, 12800, back, sizeof(back)) && memcmp(data, back, sizeof(data)), "two overlays are one");
    check(!block_node_write_zeroes(n, 0, MIB, true) && !block_pread(n, 4096, back, 4096) && !back[0], "zeroes");
    block_close(n);
    block_close(m);
    uint8_t *now = file_read(name, &after);
    check(after == length && !memcmp(before, now, length), "%s: snapshot=on wrote to the image", name);
    free(before);
    free(now);
    n = open_image(&both);
    check(block_is_readonly(n) && block_pwrite(n, 0, data, 512) == -EROFS, "read-only and snapshot=on");
    block_close(n);
}

static void guard(void)
{
    uint8_t sectors[1024] = "QFI\xfb\0\0\0\3", back[1024];
    static const char *const magics[] = { "KDMV", "conectix", "vhdxfile", "QED", "LUKS\xba\xbe" };
    const struct block_open_options probed = { .filename = "image.raw" }, named = { .filename = "image.raw",
                                               .format = "raw" };
    struct block_node *n = open_image(&probed);
    struct reply r = { 0 };
    struct iovec iov[2] = { { sectors, 3 }, { sectors + 3, 1021 } };
    block_write(n, 0, iov, 2, replied, &r);
    check(wait_for(&r, 1) == -EPERM, "a guest turned a raw image into qcow2");
    check(!block_pread(n, 0, back, 1024) && memcmp(back, "QFI", 3), "the refused write was made");
    check(!block_pwrite(n, 512, sectors, 1024), "the same bytes elsewhere");
    for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
        memset(sectors, 0, sizeof(sectors));
        memcpy(sectors, magics[i], strlen(magics[i]));
        check(block_pwrite(n, 0, sectors, 1024) == -EPERM, "a guest turned a raw image into %s", magics[i]);
    }
    memset(sectors, 0x11, sizeof(sectors));
    check(!block_pwrite(n, 0, sectors, 1024) && !block_pread(n, 0, back, 1024) && !memcmp(back, sectors, 1024),
          "an ordinary write of sector 0");
    block_close(n);
    memcpy(sectors, "QFI\xfb\0\0\0\3", 8);
    n = open_image(&named);
    check(!block_pwrite(n, 0, sectors, 1024), "format=raw does not allow everything");
    memset(sectors, 0, sizeof(sectors));
    check(!block_pwrite(n, 0, sectors, 1024), "sector 0");
    block_close(n);
}

/* Flushes that reach the disk: none without asking in writeback, one at least for each write in writethrough. */
static void cache_modes(void)
{
    static const struct {
        enum block_cache cache;
        unsigned least, most;
    } modes[] = { { BLOCK_CACHE_WRITEBACK, 0, 0 }, { BLOCK_CACHE_WRITETHROUGH, 8, 40 }, { BLOCK_CACHE_UNSAFE, 0, 0 } };
    size_t length;
    uint8_t data[512] = { 9 }, *image;
    run("qemu-img create -q -f qcow2 image.cache 8M");
    image = file_read("image.cache", &length);
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        struct error err;
        struct block_protocol *p = block_fault_open(image, length, 64 * MIB);
        const struct block_open_options o = { .filename = "memory", .format = "qcow2", .cache = modes[i].cache };
        p->flush_ignored = modes[i].cache == BLOCK_CACHE_UNSAFE;
        struct block_node *n = block_node_open_over(p, &o, NULL, &err);
        for (unsigned k = 0; k < 8; k++)
            check(!block_pwrite(n, k * 65536ull, data, 512), "write");
        uint64_t flushes = block_fault_flushes(p);
        check(flushes >= modes[i].least && flushes <= modes[i].most, "cache mode %d: %llu flushes for 8 writes",
              modes[i].cache, (unsigned long long)flushes);
        check(!block_flush_sync(n), "flush");
        check((block_fault_flushes(p) > flushes) == (modes[i].cache != BLOCK_CACHE_UNSAFE), "cache mode %d: the guest's flush",
              modes[i].cache);
        block_close(n);
    }
    free(image);
}

/* Threads that use the synchronous calls while the loop runs requests. */
static void *hammer(void *opaque)
{
    struct block_node *n = opaque;
    static _Thread_local uint8_t data[20480];
    uint64_t rng = (uintptr_t)&data | 1;
    for (unsigned i = 0; i < 150; i++) {
        uint64_t at = 512 * rng_below(&rng, 12000);
        if (i % 3)
            block_pread(n, at, data, sizeof(data));
        else if (i % 30)
            block_pwrite(n, at, data, sizeof(data));
        else
            block_flush_sync(n);
    }
    return NULL;
}

static void threads(void)
{
    pthread_t t[4];
    run("qemu-img create -q -f qcow2 -o cluster_size=4k image.threads 8M");
    const struct block_open_options o = { .filename = "image.threads" };
    struct block_node *n = open_image(&o);
    for (unsigned i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, hammer, n);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    block_close(n);
    check(run("qemu-img check -q -f qcow2 image.threads") == 0, "qemu-img check after four threads");
}

static bool is_placed(struct block_node *n, uint64_t offset, uint64_t length, bool write)
{
    struct block_place p;
    bool placed = n->format->place(n, offset, length, write, &p);
    if (placed)
        n->format->place_end(n, &p);
    return placed;
}

static void places(void)
{
    static uint8_t data[3 * 65536];
    const struct block_snapshot snapshot = { .name = "s" };
    const struct block_open_options o = { .filename = "image.place", .format = "qcow2", .discard = true };
    struct block_place p;
    struct reply r = { 0 };
    struct error err;
    size_t size;
    run("qemu-img create -q -f qcow2 image.place 64M");
    struct block_node *n = open_image(&o);
    memset(data, 0x37, sizeof(data));
    check(!is_placed(n, 0, 4096, false) && !is_placed(n, 0, 4096, true), "a place without a cluster");
    check(!block_pwrite(n, MIB, data, sizeof(data)) && !block_pwrite(n, 8 * MIB, data, 65536), "write");
    check(is_placed(n, MIB + 512, sizeof(data) - 512, false) && is_placed(n, MIB, sizeof(data), true), "no place for three clusters in a row");
    check(!is_placed(n, MIB, sizeof(data) + 512, false) && !is_placed(n, MIB - 512, 1024, true), "a place beyond the clusters");
    check(n->format->place(n, MIB + 66048, 4096, true, &p), "no place");
    memset(data, 0x38, 4096);
    check(!block_protocol_pwrite(n->file, p.offset, data, 4096), "write at the place");
    block_discard(n, MIB + 65536, 65536, replied, &r);          /* waits for what is under way there */
    loop_step(20);
    check(r.count == 0 && !is_placed(n, MIB + 66048, 4096, false), "a cluster goes while it is held, or who waits is overtaken");
    check(is_placed(n, 8 * MIB, 65536, true), "another cluster is not held");
    n->format->place_end(n, &p);
    check(wait_for(&r, 1) == 0 && !is_placed(n, MIB + 66048, 4096, false), "a place after discard");
    check(!block_pwrite(n, MIB, data, 4096) && is_placed(n, MIB, 4096, true), "the first cluster is still there");
    check(block_snapshot_create(n, &snapshot, &err) == 0, "snapshot");
    check(!block_pread(n, MIB, data, 512), "read, which brings the table back into the cache");
    check(is_placed(n, MIB, 65536, false) && !is_placed(n, MIB, 65536, true), "a place to write in a cluster of a snapshot");
    check(!block_pwrite(n, MIB, data, 4096) && is_placed(n, MIB, 4096, true), "no place in the cluster's copy");
    block_close(n);
    check(run("qemu-img check -q -f qcow2 image.place") == 0 && run("qemu-img convert -f qcow2 -O raw image.place image.flat") == 0, "qemu-img");
    uint8_t *flat = file_read("image.flat", &size);
    check(size == 64 * MIB && flat[MIB] == 0x38 && flat[MIB + 4096] == 0x37 && !flat[MIB + 66048], "the image holds something else");
    free(flat);
}

/* A compressed cluster lies where another one lay that was read before. */
static void unpacked_is_forgotten(void)
{
    static uint8_t data[65536], found[65536];
    const struct block_open_options o = { .filename = "image.packed", .format = "qcow2" };
    struct error err = { "" };
    run("qemu-img create -q -f qcow2 image.packed 8M");
    struct block_node *n = open_image(&o);
    for (unsigned i = 1; i < 4; i++) {
        memset(data, (int)i, sizeof(data));
        check(!block_write_compressed(n, 0, data, sizeof(data)) && !block_pread(n, 0, found, sizeof(found)), "compressed");
        check(!memcmp(data, found, sizeof(data)), "a compressed cluster reads as %u, not as %u", found[0], i);
        check(!block_make_empty(n, &err), "%s", err.text);
    }
    block_close(n);
}

int main(void)
{
    test_directory_enter();
    stderr = fopen("messages", "w");    /* what the block room says; the sanitizers' words still come through */
    loop_init();
    for (unsigned aio = 0; aio < 2; aio++) {
        setenv("OSPITE_AIO", aio ? "threads" : "auto", 1);
        run("rm -f image.*; truncate -s 8M image.raw; qemu-img create -q -f qcow2 image.qcow2 8M");
        zeroes_detected();
        order_and_ranges("image.raw", "raw");
        order_and_ranges("image.qcow2", "qcow2");
        now("image.raw", "raw", !aio);
        now("image.qcow2", "qcow2", !aio);
        drains("image.raw", "raw");
        drains("image.raw", NULL);
        drains("image.qcow2", NULL);
        anywhere("image.qcow2");
        anywhere("image.raw");
        snapshot("image.qcow2");
        snapshot("image.raw");
        guard();
    }
    run("truncate -s 1000001 image.odd");
    const struct block_open_options odd = { .filename = "image.odd", .format = "raw" };
    struct block_node *n = open_image(&odd);
    uint8_t sector[512] = { 0 };
    struct reply r = { 0 };
    struct iovec iov = { sector, 512 };
    check(block_size_bytes(n) == 1000448, "an odd size is rounded up");
    block_read(n, 999936, &iov, 1, replied, &r);
    check(wait_for(&r, 1) == 0, "the last sector, half of it in the file");
    block_close(n);
    cache_modes();
    threads();
    places();
    unpacked_is_forgotten();
    return report("block/request", 0);
}
