/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests in flight together that touch the same clusters, where these have to be copied first: from a backing file, a shorter one too, from
 * compressed clusters, from a snapshot, and where a cluster is given up under reads and writes. What two write at once is one's or
 * the other's, sector by sector; what only one writes is his, and what nobody writes stays: copies of a cluster must not bring back what
 * was there before. Reads see each byte as it was or as it becomes. Many rounds with real files, with io_uring and with threads.
 *
 * Arguments: the seed, rounds for each kind (60).
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DISK = 1 << 20, SECTORS = DISK / 512, IN_FLIGHT = 12, MOST = 48 << 10 };

static const struct kind {
    const char *name, *make;
    bool discard;
} kinds[] = {
    { "over raw", "qemu-img create -q -f qcow2 -b base.x -F raw image.x 1M", false },
    { "over raw, 4 KiB clusters", "qemu-img create -q -f qcow2 -o cluster_size=4k -b base.x -F raw image.x 1M", true },
    { "over a shorter raw", "head -c 300000 base.x > short.x && qemu-img create -q -f qcow2 -b short.x -F raw image.x 1M", true },
    { "subclusters over raw", "qemu-img create -q -f qcow2 -o extended_l2=on -b base.x -F raw image.x 1M", true },
    { "compressed", "qemu-img convert -c -f raw -O qcow2 base.x image.x", false },
    { "compressed, zstd, 16 KiB clusters", "qemu-img convert -c -f raw -O qcow2 -o cluster_size=16k,compression_type=zstd base.x image.x", true },
    { "a snapshot", "qemu-img convert -f raw -O qcow2 base.x image.x && qemu-img snapshot -c s image.x", true },
    { "VMDK over VMDK", "qemu-img convert -f raw -O vmdk base.x parent.x && qemu-img create -q -f vmdk -b parent.x -F vmdk image.x", false },
    { "VDI", "qemu-img convert -f raw -O vdi base.x image.x", true },
};

enum op { READ, WRITE, ZEROES, DISCARD };

struct job {
    enum op op;
    uint32_t first, count;          /* sectors */
    int result;
    uint8_t mark, data[MOST];       /* writes: each sector is full of the mark, and begins with its number */
};

static struct job jobs[IN_FLIGHT];

static void job_done(void *opaque, int result)
{
    ((struct job *)opaque)->result = result;
}

static void sector_fill(uint8_t *to, uint32_t sector, uint8_t mark)
{
    memset(to, mark, 512);
    memcpy(to, &sector, sizeof(sector));
}

/* All in the same few clusters. */
static void job_make(uint64_t *rng, struct job *j, const struct kind *k, uint32_t near, uint8_t mark)
{
    unsigned dice = (unsigned)rng_below(rng, 10);
    j->op = dice < 2 ? READ : dice == 2 ? ZEROES : dice == 3 && k->discard ? DISCARD : WRITE;
    j->first = MIN(near + (uint32_t)rng_below(rng, 128), SECTORS - 1u);
    j->count = MIN(1 + (uint32_t)rng_below(rng, rng_below(rng, 2) ? 4 : MOST / 512), SECTORS - j->first);
    j->mark = mark;
    j->result = 1;
    for (uint32_t i = 0; i < j->count; i++)
        sector_fill(j->data + i * 512, j->first + i, mark);
}

static void job_go(struct block_node *n, struct job *j)
{
    const struct iovec iov = { j->data, j->count * 512 };
    uint64_t at = j->first * 512ull;
    if (j->op == READ)
        block_read(n, at, &iov, 1, job_done, j);
    else if (j->op == WRITE)
        block_write(n, at, &iov, 1, job_done, j);
    else if (j->op == ZEROES)
        block_write_zeroes(n, at, iov.iov_len, j->mark & 1, job_done, j);
    else
        block_discard(n, at, iov.iov_len, job_done, j);
}

/* What a job leaves in a sector; false: it does not touch it. */
static bool job_leaves(const struct job *j, uint32_t sector, uint8_t wanted[512])
{
    if (j->op == READ || sector < j->first || sector >= j->first + j->count)
        return false;
    memset(wanted, 0, 512);
    if (j->op == WRITE)
        sector_fill(wanted, sector, j->mark);
    return true;
}

static bool sector_is_possible(const uint8_t *was, uint32_t sector, const uint8_t *found)
{
    uint8_t wanted[512];
    bool covered = false;
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        if (!job_leaves(&jobs[i], sector, wanted))
            continue;
        if (!memcmp(found, wanted, 512))
            return true;
        covered |= jobs[i].op != DISCARD;       /* which may leave what was there */
    }
    return !covered && !memcmp(found, was, 512);
}

/* While writes are under way, a host's page cache shows parts of sectors. */
static bool sector_is_possible_now(const uint8_t *was, uint32_t sector, const uint8_t *found)
{
    uint8_t wanted[512], good[512];
    for (unsigned k = 0; k < 512; k++)
        good[k] = found[k] == was[k];
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        if (job_leaves(&jobs[i], sector, wanted))
            for (unsigned k = 0; k < 512; k++)
                good[k] |= found[k] == wanted[k];
    return !memchr(good, 0, sizeof(good));
}

static void round_run(uint64_t *rng, const struct kind *k, struct block_node *n, uint8_t *disk, unsigned round)
{
    static uint8_t now[DISK];
    uint32_t near = (uint32_t)rng_below(rng, SECTORS);
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        job_make(rng, &jobs[i], k, near, (uint8_t)(1 + (round * IN_FLIGHT + i) % 250));
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        job_go(n, &jobs[i]);
    block_drain(n);
    check(!block_pread(n, 0, now, DISK), "%s: reading the disk", k->name);
    for (uint32_t s = 0; s < SECTORS; s++)
        if (!check(sector_is_possible(disk + s * 512, s, now + s * 512), "%s, round %u: sector %u holds what nobody has written", k->name, round, s))
            break;
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        struct job *j = &jobs[i];
        check(!j->result, "%s: request %u gives %d", k->name, i, j->result);
        for (uint32_t s = 0; j->op == READ && s < j->count; s++)
            check(sector_is_possible_now(disk + (j->first + s) * 512, j->first + s, j->data + s * 512),
                  "%s, round %u: sector %u was read as it never was", k->name, round, j->first + s);
    }
    memcpy(disk, now, DISK);
}

static void kind_test(uint64_t *rng, const struct kind *k, unsigned rounds)
{
    static uint8_t disk[DISK], found[DISK];
    if (!check(run("rm -f *.x; seq 1 200000 | head -c 1048576 > base.x; %s", k->make) == 0, "%s: made", k->name))
        return;
    const struct block_open_options o = { .filename = "image.x", .discard = true };
    struct block_node *n = open_image(&o);
    check(!block_pread(n, 0, disk, DISK), "%s: reading the disk", k->name);
    for (unsigned i = 0; i < rounds; i++) {
        round_run(rng, k, n, disk, i);
        if (i % 16 == 15)
            check(!block_flush_sync(n), "%s: a flush", k->name);
    }
    block_close(n);
    check(run("qemu-img check -q image.x") == 0, "%s: %s", k->name, run_output("qemu-img check image.x 2>&1 | head -4"));
    n = open_image(&o);
    check(!block_pread(n, 0, found, DISK) && !memcmp(found, disk, DISK), "%s: opened again, it is another disk", k->name);
    block_close(n);
    check(strcmp(k->name, "a snapshot") || run("qemu-img convert -f qcow2 -O raw -l s image.x s.x && cmp s.x base.x") == 0, "the snapshot has changed");
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 2718, rng = seed;
    unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 60;
    test_directory_enter();
    loop_init();
    stderr = fopen("messages", "w");
    for (unsigned threads = 0; threads < 2; threads++) {
        if (threads)
            setenv("OSPITE_AIO", "threads", 1);
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
            kind_test(&rng, &kinds[i], rounds);
    }
    return report("block/overlap", seed);
}
