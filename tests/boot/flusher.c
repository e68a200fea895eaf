/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flusher write DEVICE SEED   in the guest: four workers write their parts of a disk, past the page cache, and flush; each says
 *                             "<worker GENERATION>" after a flush that covers all its writes up to GENERATION.
 * flusher tell DEVICE SEED    the same without flushes; each says "[SEED WORKER GENERATION]" after a write that was done.
 * flusher verify IMAGE SEED GENERATION...   on the host: whether every sector holds the newest write that was flushed, or a later one.
 *
 * A worker's writes follow from its seed, so both sides know them; each sector tells which write it is from.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 4, SECTOR = 512, PART_SECTORS = 16384, SECTORS_MOST = 256, FLUSH_MOST = 24 };

struct sector { uint64_t magic, seed, number, generation, fill[60]; };
struct write { uint64_t first, count; unsigned until_flush; };

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Mostly small, some of 128 KiB; within the worker's part. */
static struct write write_get(uint64_t seed, unsigned worker, uint64_t generation)
{
    uint64_t r = mix(seed * 0x9e3779b97f4a7c15u + worker * 0x100000001b3u + generation), count = r >> 56 < 200 ? 1 + (r >> 32) % 16 : 1 + (r >> 32) % SECTORS_MOST;

    return (struct write){ worker * (uint64_t)PART_SECTORS + r % (PART_SECTORS - count), count, 1 + (unsigned)(r >> 48) % FLUSH_MOST };
}

static void sector_fill(struct sector *s, uint64_t seed, uint64_t number, uint64_t generation)
{
    *s = (struct sector){ 0x72656873756c66, seed, number, generation, { 0 } };
    for (unsigned i = 0; i < 60; i++) s->fill[i] = mix(seed + number * 61 + generation * 3607 + i);
}

static void work(const char *device, uint64_t seed, unsigned worker, int tells)
{
    struct sector *data = aligned_alloc(4096, SECTORS_MOST * SECTOR);
    int fd = open(device, O_RDWR | O_DIRECT);
    unsigned left = 1;
    char line[64];

    for (uint64_t generation = 1; fd >= 0 && data; generation++) {
        struct write w = write_get(seed, worker, generation);

        for (uint64_t i = 0; i < w.count; i++) sector_fill(data + i, seed, w.first + i, generation);
        if (pwrite(fd, data, w.count * SECTOR, (off_t)(w.first * SECTOR)) != (ssize_t)(w.count * SECTOR)) break;
        snprintf(line, sizeof(line), "[%" PRIu64 " %u %" PRIu64 "]\n", seed, worker, generation);
        if (!tells) {
            if (--left) continue;
            left = w.until_flush;
            if (fsync(fd)) break;
            snprintf(line, sizeof(line), "<%u %" PRIu64 ">\n", worker, generation);
        }
        if (write(1, line, strlen(line)) < 0) break;
        if (tells) usleep(1000 * (unsigned)(generation % 4));        /* the line is slow */
    }
    perror("WRONG flusher");
    exit(1);
}

/* Returns 0, or the number of wrong sectors. */
static unsigned part_verify(int fd, uint64_t seed, unsigned worker, uint64_t flushed, uint64_t *newest)
{
    uint64_t *wanted = calloc(PART_SECTORS, sizeof(*wanted)), base = worker * (uint64_t)PART_SECTORS;
    unsigned wrong = 0;

    for (uint64_t g = 1; g <= flushed; g++) {
        struct write w = write_get(seed, worker, g);
        for (uint64_t i = 0; i < w.count; i++) wanted[w.first + i - base] = g;
    }
    for (uint64_t n = 0; n < PART_SECTORS; n++) {
        struct sector is, right;
        struct write w;

        if (pread(fd, &is, SECTOR, (off_t)((base + n) * SECTOR)) != SECTOR) return PART_SECTORS;
        if (!is.magic && !wanted[n]) continue;
        sector_fill(&right, seed, base + n, is.generation);
        w = write_get(seed, worker, is.generation);
        if (is.generation > *newest) *newest = is.generation;
        if (!memcmp(&is, &right, SECTOR) && is.generation >= wanted[n] && base + n - w.first < w.count) continue;
        if (wrong++ < 5) printf("sector %" PRIu64 ": write %" PRIu64 " was flushed, it holds %" PRIu64 "\n", base + n, wanted[n], is.generation);
    }
    free(wanted);
    return wrong;
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
    unsigned wrong = 0;
    int fd;

    if (argc == 4 && (!strcmp(argv[1], "write") || !strcmp(argv[1], "tell"))) {
        for (unsigned n = 0; n < WORKERS; n++)
            if (!fork()) work(argv[2], seed, n, !strcmp(argv[1], "tell"));
        wait(NULL);
        return 1;
    }
    if (argc != 4 + WORKERS || strcmp(argv[1], "verify") || (fd = open(argv[2], O_RDONLY)) < 0) return 2;
    for (unsigned n = 0; n < WORKERS; n++) {
        uint64_t flushed = strtoull(argv[4 + n], NULL, 0), newest = 0;

        wrong += part_verify(fd, seed, n, flushed, &newest);
        printf("worker %u: %" PRIu64 " writes flushed, the newest there is %" PRIu64 "\n", n, flushed, newest);
    }
    return wrong != 0;
}
