/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits on I/O: how much buckets let through in made-up time, for random limits and requests; then nodes with limits, whose requests are counted: order,
 * turns of nodes and of reads and writes, that none comes too early, drains, changes and ends while requests wait.
 * Source: QEMU docs/throttle.txt: what the numbers mean.
 */
#include "common.h"

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block_private.h"
#include "block/fault.h"
#include "block/throttle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NODES = 3, IMAGE = 1 << 20, SEED = 71 };

/* ---- buckets ---- */

/* Requests of this size as fast as they may, for so many seconds: units let through. */
static double flood(const struct block_limit *l, double units, double seconds)
{
    struct block_bucket b = { 0, 0 };
    int64_t now = 0, end = (int64_t)(seconds * NS_PER_SECOND);
    double through = 0;

    while (now < end) {
        int64_t wait = block_bucket_wait_ns(&b, l);

        if (wait) {
            block_bucket_leak(&b, l, wait);
            now += wait;
            continue;
        }
        block_bucket_fill(&b, l, units);
        through += units;
    }
    return through;
}

static void floods(uint64_t *rng)
{
    for (unsigned i = 0; i < 2000; i++) {
        struct block_limit l = { 100 + rng_below(rng, 100000), 0, 1 };
        double units = 1 + (double)rng_below(rng, 5000), seconds = 2 + (double)rng_below(rng, 20), got, most, least = (double)l.average * seconds;
        const double average = (double)l.average;

        if (i % 3) l.maximum = l.average + rng_below(rng, 10 * l.average);
        if (i % 3 == 2) l.burst_s = 2 + rng_below(rng, 5);
        got = flood(&l, units, seconds);
        most = average * seconds + (l.maximum ? (double)(l.maximum * l.burst_s) : average / 10) + 2 * units;
        /* What the average lets leak is let through, and as much more as the bucket holds; with a long burst first at the maximum. */
        if (l.burst_s > 1) most = MIN(most, (double)l.maximum * seconds + (double)l.maximum / 10 + 2 * units);
        check(got >= least - units && got <= most, "%llu/s, at most %llu/s for %llu s, %g at once: %g in %g s, and not %g to %g", (unsigned long long)l.average,
              (unsigned long long)l.maximum, (unsigned long long)l.burst_s, units, got, seconds, least, most);
    }
}

static void bursts(void)
{
    const struct block_limit l = { 100, 1000, 3 };
    double three = flood(&l, 1, 3), four = flood(&l, 1, 4), thirty = flood(&l, 1, 30);

    /* The level leaks at the average all the while, so the burst is somewhat longer than 3 s: 3000 / (1000 - 100). */
    check(three >= 3000 && three <= 3102, "%g in the burst", three);
    check(four >= 3350 && four <= 3500, "%g in 4 s", four);
    check(thirty >= 6000 && thirty <= 6002, "%g in 30 s", thirty);
}

static void contradictions(void)
{
    static const struct { struct block_limits l; bool fine; } rows[] = {
        { { .limit[LIMIT_OPS] = { 1, 0, 1 } }, true }, { { .limit[LIMIT_OPS] = { 1, 0, 1 }, .limit[LIMIT_OPS_READ] = { 1, 0, 1 } }, false },
        { { .limit[LIMIT_OPS] = { 1, 0, 1 }, .limit[LIMIT_BYTES_READ] = { 1, 0, 1 } }, true }, { { .limit[LIMIT_BYTES] = { 10, 9, 1 } }, false },
        { { .limit[LIMIT_BYTES] = { 0, 9, 1 } }, false }, { { .limit[LIMIT_BYTES] = { 10, 0, 2 } }, false }, { { .limit[LIMIT_BYTES] = { 10, 10, 2 } }, true },
        { { .limit[LIMIT_BYTES] = { 10, 10, 2 }, .op_bytes = 512 }, false }, { { .limit[LIMIT_OPS_WRITE] = { 10, 10, 2 }, .op_bytes = 512 }, true },
        { { .limit[LIMIT_OPS] = { 1000000000000001ull, 0, 1 } }, false }, { { .limit[LIMIT_OPS] = { 10, 1000000000000000ull, 2 } }, false },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct block_limits l = rows[i].l;
        struct error err;

        for (unsigned n = 0; n < LIMITS; n++)
            if (!l.limit[n].burst_s) l.limit[n].burst_s = 1;
        check((block_limits_check(&l, &err) == 0) == rows[i].fine, "row %u of limits", i);
    }
}

/* ---- nodes ---- */

static uint8_t image[NODES][IMAGE], buffer[65536];
static struct block_node *node[NODES];
static unsigned done[NODES][2], last[NODES][2], disorder;

struct note { unsigned node, number; bool is_write; };

static void finished(void *opaque, int result)
{
    struct note *n = opaque;

    check(!result, "a request failed: %d", result);
    done[n->node][n->is_write]++;
    if (n->number < last[n->node][n->is_write]) disorder++;
    last[n->node][n->is_write] = n->number;
    free(n);
}

static void ask(unsigned n, unsigned number, bool is_write, size_t bytes)
{
    struct note *note = malloc(sizeof(*note));
    struct iovec iov = { buffer, bytes };

    *note = (struct note){ n, number, is_write };
    (is_write ? block_write : block_read)(node[n], 0, &iov, 1, finished, note);
}

static unsigned all_done(void)
{
    unsigned sum = 0;

    for (unsigned n = 0; n < NODES; n++) sum += done[n][0] + done[n][1];
    return sum;
}

static unsigned seconds_since(int64_t start) { return (unsigned)((clock_host_ns() - start) / NS_PER_SECOND); }

static void turn(void)
{
    machine_unlock();
    loop_step(100);
    machine_lock();
}

static void begin(void)
{
    memset(done, 0, sizeof(done));
    memset(last, 0, sizeof(last));
    for (unsigned n = 0; n < NODES; n++) {
        struct block_open_options o = { .format = "raw", .filename = "disk" };
        struct error err;

        node[n] = block_node_open_over(block_fault_open(image[n], IMAGE, IMAGE), &o, NULL, &err);
        if (!node[n]) exit(1);
    }
}

static void end(void)
{
    for (unsigned n = 0; n < NODES; n++) block_close(node[n]);
}

static struct block_limits limits(enum block_limited which, uint64_t average)
{
    struct block_limits l = { .op_bytes = 0 };

    for (unsigned n = 0; n < LIMITS; n++) l.limit[n].burst_s = 1;
    l.limit[which].average = average;
    return l;
}

static void limit(struct block_throttles *t, unsigned n, const char *group, struct block_limits l)
{
    struct error err = { "" };

    check(block_throttle_set(node[n], BLOCK_THROTTLE_DEVICE, t, group, &l, &err) == 0, "limits are taken: %s", err.text);
}

/* At 200 a second 100 more than the bucket holds take half a second; a slow machine takes longer, a wrong one less. */
static void rate(struct block_throttles *t, enum block_limited which, uint64_t average, size_t bytes, uint64_t op_bytes, unsigned count, double least_s)
{
    int64_t start;
    struct block_limits l = limits(which, average);

    begin();
    l.op_bytes = op_bytes;
    limit(t, 0, "a", l);
    start = clock_host_ns();
    for (unsigned i = 0; i < count; i++) ask(0, i, which % 3 == 2, bytes);
    while (all_done() < count) turn();
    check((double)(clock_host_ns() - start) / NS_PER_SECOND >= least_s, "limit %u of %llu: %u requests came before %g s", which, (unsigned long long)average, count, least_s);
    end();
}

/* One limit for all: the nodes, and reads and writes of each, get the same share. Counted each time the first node gets further. */
static void turns(struct block_throttles *t)
{
    unsigned worst = 0;

    begin();
    for (unsigned n = 0; n < NODES; n++) limit(t, n, "shared", limits(LIMIT_OPS, 300));
    for (unsigned n = 0; n < NODES; n++)                 /* the first node asks for everything first */
        for (unsigned i = 0; i < 40; i++) {
            ask(n, i, false, 512);
            ask(n, i, true, 512);
        }
    while (all_done() < NODES * 80) {
        unsigned low = UINT32_MAX, high = 0;

        turn();
        for (unsigned n = 1; n < NODES * 2; n++) {
            low = MIN(low, done[n / 2][n % 2]);
            high = MAX(high, done[n / 2][n % 2]);
        }
        if (low < 40) worst = MAX(worst, high - low);
    }
    /* Some 30 went at once, all of the first node; 8 workers may finish in another order. */
    check(worst <= 30 + 8, "one was %u requests ahead of another", worst);
    end();
}

/* Requests that wait run when somebody drains, limits go, the node goes or the image is taken away. */
static void ends(struct block_throttles *t)
{
    for (unsigned way = 0; way < 5; way++) {
        struct error err;
        int64_t start;

        begin();
        limit(t, 0, "a", limits(LIMIT_OPS, 1));
        limit(t, 1, "a", limits(LIMIT_OPS, 1));
        start = clock_host_ns();
        for (unsigned i = 0; i < 50; i++) ask(0, i, i % 2, 512);
        for (unsigned i = 0; i < 3; i++) turn();
        check(all_done() < 5 + seconds_since(start), "%u requests ran at 1 a second", all_done());
        if (way == 0) block_drain(node[0]);
        if (way == 1) block_throttle_set(node[0], BLOCK_THROTTLE_DEVICE, NULL, NULL, NULL, &err);
        if (way == 2) limit(t, 1, "a", limits(LIMIT_OPS, 1000000));
        if (way == 3) limit(t, 0, "b", limits(LIMIT_OPS, 1));
        if (way == 4) block_abandon(node[0]);
        while (way && all_done() < 50) turn();
        check(all_done() == 50, "way %u: %u of 50 requests finished", way, all_done());
        end();
    }
}

/* A day's wait of the other direction holds up nobody: writes that come later and may go sooner do. */
static void sooner(struct block_throttles *t)
{
    struct block_limits l = limits(LIMIT_BYTES_READ, 1);
    const unsigned count = 130;
    int64_t end_ns = clock_host_ns() + 60 * NS_PER_SECOND;

    l.limit[LIMIT_OPS_WRITE].average = 1000;
    begin();
    limit(t, 0, "a", l);
    ask(0, 0, false, sizeof(buffer));
    ask(0, 1, false, sizeof(buffer));
    for (unsigned i = 0; i < count; i++) ask(0, i, true, 512);
    while (done[0][1] < count && clock_host_ns() < end_ns) turn();
    check(done[0][1] == count && done[0][0] == 1, "%u of %u writes and %u reads have come", done[0][1], count, done[0][0]);
    end();
}

/* An image that is opened again has its limits still, and its group knows it. */
static void reopened(struct block_throttles *t)
{
    char name[] = "/tmp/ospite-throttle-XXXXXX";
    struct block_open_options o = { .format = "raw", .filename = name };
    struct block_limits l = limits(LIMIT_OPS, 77);
    const char *group = NULL;
    const struct block_limits *now;
    struct block_node *n;
    struct error err = { "" };
    int fd = mkstemp(name);

    check(fd >= 0 && ftruncate(fd, IMAGE) == 0, "a file");
    n = open_image(&o);
    check(block_throttle_set(n, BLOCK_THROTTLE_DEVICE, t, "r", &l, &err) == 0 && block_reopen(n, &o, &o, &err) == 0, "opened again: %s", err.text);
    now = block_throttle_get(n, BLOCK_THROTTLE_DEVICE, &group);
    check(now && now->limit[LIMIT_OPS].average == 77 && !strcmp(group, "r"), "the limits are still there");
    block_close(n);
    close(fd);
    unlink(name);
}

/* A filter over a node: both have limits, what is slower counts; what it does to the node below, and what a change below does to it. */
static void filtered(struct block_throttles *t)
{
    const struct block_open_options plain = { .discard = true }, dull = { .discard = false };
    struct block_node *below, *top;
    struct block_limits few = limits(LIMIT_OPS_WRITE, 200), many = limits(LIMIT_OPS, 1000000);
    struct error err = { "" };
    int64_t start;
    uint8_t sector[512];

    begin();
    below = node[0];
    top = node[0] = block_filter_new(below, "f", &plain, &err);
    check(top && block_filter_below(top) == below && block_size_bytes(top) == IMAGE, "a filter");
    check(!strcmp(block_format_name(top), "throttle") && strstr(block_filename(top), "\"throttle-group\": \"f\""), "its name is %s", block_filename(top));
    check(block_throttle_set(top, BLOCK_THROTTLE_NODE, t, "f", &few, &err) == 0, "limits of a node");
    check(block_throttle_set(top, BLOCK_THROTTLE_DEVICE, t, "d", &many, &err) == 0, "limits of its device");
    check(block_throttle_set(below, BLOCK_THROTTLE_NODE + 1, t, "f", &few, &err) == 0, "limits below of the same group");
    memset(buffer, 0x5a, sizeof(buffer));
    start = clock_host_ns();
    for (unsigned i = 0; i < 60; i++) ask(0, i, true, 512);                 /* each counts twice in the group */
    while (all_done() < 60) turn();
    check((double)(clock_host_ns() - start) / NS_PER_SECOND >= 99 / 200.0, "120 writes of a group came before their time");
    check(block_pread(below, 0, sector, sizeof(sector)) == 0 && sector[7] == 0x5a, "the node below has what was written");
    check(block_stats_get(top).writes == 60 && block_stats_get(below).writes == 60 && block_stats_get(top).written_bytes == 60 * 512, "both count");
    for (unsigned i = 0; i < 500; i++) ask(0, 60 + i, true, 512);
    block_drain(top);
    check(all_done() == 560, "a drain lets %u of 560 through", all_done());
    few = limits(LIMIT_OPS, 1);
    block_throttle_group_set(t, "f", &few);
    check(block_throttle_group(t, "f")->limit[LIMIT_OPS].average == 1 && !block_throttle_group(t, "g"), "a group by its name");
    start = clock_host_ns();
    for (unsigned i = 0; i < 50; i++) ask(0, 560 + i, false, 512);
    for (unsigned i = 0; i < 3; i++) turn();
    check(all_done() < 570 + seconds_since(start), "%u requests ran at 1 a second", all_done());
    block_throttle_group_set(t, "f", &many);
    while (all_done() < 610) turn();
    check(block_resize(top, IMAGE / 2, BLOCK_PREALLOCATION_OFF, &err) < 0 || block_size_bytes(below) == IMAGE / 2, "a filter's size is that below");
    check(block_write_zeroes_sync(top, 0, 512, true) == 0 && block_pread(top, 0, sector, sizeof(sector)) == 0 && !sector[0], "zeroes go through");
    block_filter_update(top, NULL, &dull);
    check(block_discard_sync(top, 0, 512) == 0 && block_flush_sync(top) == 0, "discards may be dropped");
    block_filter_update(top, NULL, &(struct block_open_options){ .readonly = true });
    check(block_pwrite(top, 0, sector, sizeof(sector)) < 0 && block_pwrite(below, 0, sector, sizeof(sector)) == 0, "read-only is the filter's own");
    ask(0, 610, false, 512);
    block_close(top);
    check(all_done() == 611 && block_pread(below, 0, sector, sizeof(sector)) == 0, "the node below stays");
    node[0] = below;
    end();
}

/* At a node of a throttle discards count, at a device they do not. */
static void discards(struct block_throttles *t)
{
    const struct block_limits one = limits(LIMIT_OPS, 1);
    struct error err;

    for (unsigned place = BLOCK_THROTTLE_DEVICE; place <= BLOCK_THROTTLE_NODE; place++) {
        const int64_t start = clock_host_ns();

        begin();
        check(block_throttle_set(node[0], place, t, "x", &one, &err) == 0, "limits");
        for (unsigned i = 0; i < 10; i++) {
            struct note *note = malloc(sizeof(*note));

            *note = (struct note){ 0, i, true };
            block_discard(node[0], 0, 512, finished, note);
        }
        for (unsigned i = 0; i < 3 || (place == BLOCK_THROTTLE_DEVICE && all_done() < 10); i++) turn();
        check(place == BLOCK_THROTTLE_DEVICE || all_done() < 8 + seconds_since(start), "%u discards ran at one a second", all_done());
        block_drain(node[0]);
        check(all_done() == 10, "%u of 10 discards", all_done());
        end();
    }
}

int main(void)
{
    struct block_throttles *t = block_throttles_new();
    uint64_t rng = SEED;

    loop_init();
    machine_lock();
    floods(&rng);
    bursts();
    contradictions();
    rate(t, LIMIT_OPS, 200, 512, 0, 120, 99 / 200.0);
    rate(t, LIMIT_OPS_WRITE, 200, 512, 0, 120, 99 / 200.0);
    rate(t, LIMIT_BYTES_READ, 1 << 20, 65536, 0, 10, 7 / 16.0);
    rate(t, LIMIT_OPS, 200, 4096, 1024, 30, 95 / 200.0);
    rate(t, LIMIT_OPS_READ, 1, 512, 0, 1, 0);
    turns(t);
    ends(t);
    sooner(t);
    reopened(t);
    filtered(t);
    discards(t);
    block_throttles_free(t);
    machine_unlock();
    printf("requests that came back in another order: %u\n", disorder);
    return report("block-throttle", SEED);
}
