/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty pages: random stores, then random ranges are asked for; every page that was stored to and not reported since must be
 * reported, and no other, whether the kernel tracks (where it can) or pages are compared. Then something shows for a moment
 * only, and one thread stores while another asks: the last round must see what came last. Then a film.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/dirty.h"
#include "unit.h"

enum { SEED = 20261128, PAGES = 512, PAGE = 4096, ROUNDS = 2000 };

static bool pending[PAGES], seen[PAGES];

static unsigned pick(unsigned below) { return (unsigned)(random() >> 4) % below; }

static void run(void *opaque, uint64_t offset, uint64_t size)
{
    check(!(offset % PAGE) && !(size % PAGE) && size && offset + size <= (uint64_t)PAGES * PAGE, "whole pages (%u)", (unsigned)offset);
    for (uint64_t at = offset; at < offset + size; at += PAGE) seen[at / PAGE] = true;
}

static void take(struct dirty_tracker *t, unsigned from, unsigned count, unsigned round)
{
    memset(seen, 0, sizeof(seen));
    dirty_tracker_take(t, (uint64_t)from * PAGE + pick(PAGE), (uint64_t)(count - 1) * PAGE + 1, run, NULL);
    for (unsigned i = 0; i < PAGES; i++) {
        bool asked = i >= from && i < from + count;

        /* An unaligned range touches one page more. */
        if (i == from + count && seen[i]) pending[i] = false;
        else check(seen[i] == (asked && pending[i]), "%s page (%u)", asked ? "asked" : "other", round);
        if (asked) pending[i] = false;
    }
}

static void random_stores(uint8_t *memory, struct dirty_tracker *t)
{
    for (unsigned i = 0; i < PAGES; i++) pending[i] = true;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned from = pick(PAGES), count = 1 + pick(PAGES - from);

        for (unsigned n = pick(40); n--;) {
            unsigned page = pick(PAGES);

            memory[page * PAGE + pick(PAGE)]++;
            pending[page] = true;
        }
        take(t, from, count, round);
    }
    take(t, 0, PAGES, ROUNDS);
    take(t, 0, PAGES, ROUNDS + 1);
}

static void report_count(void *opaque, uint64_t offset, uint64_t size) { ++*(unsigned *)opaque; }

/* What a page held just when it was read, and neither before nor after, is not what is shown in the end. */
static void a_moment(uint8_t *memory, struct dirty_tracker *t)
{
    unsigned reports = 0;
    uint8_t shown;

    memory[PAGE] = 1;
    dirty_tracker_take(t, PAGE, PAGE, report_count, &reports);
    memory[PAGE] = 2;
    shown = dirty_tracker_bytes(t)[PAGE];
    memory[PAGE] = 1;
    reports = 0;
    dirty_tracker_take(t, PAGE, PAGE, report_count, &reports);
    if (reports) shown = dirty_tracker_bytes(t)[PAGE];
    check(shown == 1, "what was there for a moment does not stay (%u)", shown);
}

static atomic_bool stop;

static void *storer(void *memory)
{
    for (unsigned n = 1; !stop; n++) ((volatile uint8_t *)memory)[n * 1237 % PAGES * PAGE] = (uint8_t)(n / PAGES);
    return NULL;
}

static void beside_a_writer(uint8_t *memory, struct dirty_tracker *t)
{
    uint8_t *mirror = malloc((size_t)PAGES * PAGE);
    pthread_t thread;

    memcpy(mirror, memory, (size_t)PAGES * PAGE);
    pthread_create(&thread, NULL, storer, memory);
    for (unsigned round = 0; round < 300; round++) {
        if (round == 299) {
            stop = true;
            pthread_join(thread, NULL);
        }
        memset(seen, 0, sizeof(seen));
        dirty_tracker_take(t, 0, (uint64_t)PAGES * PAGE, run, NULL);
        for (unsigned i = 0; i < PAGES; i++)
            if (seen[i]) memcpy(mirror + i * PAGE, dirty_tracker_bytes(t) + i * PAGE, PAGE);
    }
    check(!memcmp(mirror, memory, (size_t)PAGES * PAGE), "nothing is missed beside a writer");
    free(mirror);
}

static unsigned seen_count(struct dirty_tracker *t)
{
    unsigned n = 0;

    memset(seen, 0, sizeof(seen));
    dirty_tracker_take(t, 0, (uint64_t)PAGES * PAGE, run, NULL);
    for (unsigned i = 0; i < PAGES; i++) n += seen[i];
    return n;
}

/* What is written again and again may be told without a look; when that ends, it is told exactly again, soon. */
static void a_film(uint8_t *memory, struct dirty_tracker *t)
{
    enum { FILM = 300, SOON = 20 };                    /* pages: some blocks, and a part of one */
    unsigned looks = 0;

    for (unsigned round = 0; round < 100; round++) {
        for (unsigned page = 0; page < FILM; page++) memory[page * PAGE + round] ^= 0xff;
        check(seen_count(t) >= FILM, "a film is seen (%u)", round);
        for (unsigned page = 0; page < FILM; page++) check(seen[page], "each page of it (%u)", page);
    }
    while (looks < SOON && seen_count(t)) looks++;
    check(looks < SOON, "it ends soon");
    for (unsigned round = 0; round < 40; round++) {
        memory[(round * 7 % PAGES) * PAGE] ^= 0xff;
        check(seen_count(t) == 1 && seen[round * 7 % PAGES], "one page is one page (%u)", round);
    }
}

static void both(const char *how)
{
    uint8_t *memory = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct dirty_tracker *t;

    setenv("OSPITE_DIRTY", how, 1);
    t = dirty_tracker_new(memory, (uint64_t)PAGES * PAGE);
    stop = false;
    random_stores(memory, t);
    dirty_tracker_take(t, (uint64_t)PAGES * PAGE, 100, run, NULL);     /* beyond the end: nothing */
    a_moment(memory, t);
    beside_a_writer(memory, t);
    seen_count(t);
    a_film(memory, t);
    dirty_tracker_free(t);
    munmap(memory, (size_t)PAGES * PAGE);
}

int main(void)
{
    printf("seed %d\n", SEED);
    srandom(SEED);
    both("compare");
    both("kernel");
    return report("dirty");
}
