/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits on I/O by leaky buckets: a request fills the buckets of its kind, they leak at the average's rate, and whoever finds one too full waits until
 * it is not. A bucket without maximum takes a tenth of a second's worth on top; one with a maximum takes burst_s seconds of it, while a second bucket,
 * which leaks at the maximum's rate, bounds how fast. A request larger than the bucket runs when there is room for any, and those behind it pay.
 *
 * A request passes the places of its node one after the other. Requests of one node and direction run in their order. In a group the nodes take turns, and so do reads and writes, one request each; one timer
 * wakes the group. Whoever drains a node does not wait for time to pass: its requests run at once, and count.
 * Source: the names and meanings of QEMU's docs/throttle.txt.
 */
#include "block/throttle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block_private.h"

#define AT_ONCE 10.0                                     /* a bucket without maximum takes the tenth part of a second */
#define LIMIT_MAX 1000000000000000ull

struct fifo { struct block_throttle_wait *first, **last; };

struct block_throttled {
    struct group *group;
    struct block_throttled *next;                        /* of the group, whose last one is first again */
    struct fifo wait[2];                                 /* reads, writes */
};

struct group {
    struct group *next;
    struct block_throttles *all;
    char *name;
    struct block_limits limits;
    struct block_bucket bucket[LIMITS];
    int64_t leaked_ns;
    struct timer *timer;
    struct block_throttled *turn[2];                     /* whose request goes next; NULL: the group is empty */
    bool write_next;
    unsigned members, waiting[2];
};

struct block_throttles { struct group *first; };

/* ---- limits ---- */

bool block_limits_any(const struct block_limits *l)
{
    for (unsigned i = 0; i < LIMITS; i++)
        if (l->limit[i].average) return true;
    return false;
}

int block_limits_check(const struct block_limits *l, struct error *err)
{
    for (unsigned i = 0; i < LIMITS; i++) {
        const struct block_limit *one = &l->limit[i];

        if (one->average > LIMIT_MAX || one->maximum > LIMIT_MAX) return error_set(err, "bps/iops/max values must be within [0, %llu]", LIMIT_MAX);
        if (i % 3 && one->average && l->limit[i - i % 3].average) return error_set(err, "bps/iops/max total values and read/write values cannot be used at the same time");
        if (i % 3 && one->maximum && l->limit[i - i % 3].maximum) return error_set(err, "bps/iops/max total values and read/write values cannot be used at the same time");
        if (one->maximum && !one->average) return error_set(err, "bps_max/iops_max require corresponding bps/iops values");
        if (one->maximum && one->maximum < one->average) return error_set(err, "bps_max/iops_max cannot be lower than bps/iops");
        if (!one->burst_s) return error_set(err, "the burst length cannot be 0");
        if (one->burst_s > 1 && !one->maximum) return error_set(err, "burst length set without burst rate");
        if (one->maximum && one->burst_s > LIMIT_MAX / one->maximum) return error_set(err, "burst length too high for this burst rate");
    }
    if (l->op_bytes && !l->limit[LIMIT_OPS].average && !l->limit[LIMIT_OPS_READ].average && !l->limit[LIMIT_OPS_WRITE].average)
        return error_set(err, "iops size requires an iops value to be set");
    return 0;
}

/* ---- buckets ---- */

void block_bucket_leak(struct block_bucket *b, const struct block_limit *l, int64_t ns)
{
    double seconds = (double)MAX(ns, (int64_t)0) / NS_PER_SECOND;

    b->level = MAX(b->level - seconds * (double)l->average, 0);
    if (l->burst_s > 1) b->burst = MAX(b->burst - seconds * (double)l->maximum, 0);
}

void block_bucket_fill(struct block_bucket *b, const struct block_limit *l, double units)
{
    if (!l->average) return;
    b->level += units;
    if (l->burst_s > 1) b->burst += units;
}

static int64_t run_out_ns(double extra, uint64_t rate)
{
    return extra <= 0 ? 0 : (int64_t)(MIN(extra / (double)rate, 1e9) * NS_PER_SECOND) + 1;
}

int64_t block_bucket_wait_ns(const struct block_bucket *b, const struct block_limit *l)
{
    double room = l->maximum ? (double)l->maximum * (double)l->burst_s : (double)l->average / AT_ONCE;
    int64_t wait;

    if (!l->average) return 0;
    wait = run_out_ns(b->level - room, l->average);
    return wait || l->burst_s <= 1 ? wait : run_out_ns(b->burst - (double)l->maximum / AT_ONCE, l->maximum);
}

/* ---- a group ---- */

static void leak(struct group *g)
{
    int64_t now = clock_host_ns();

    for (unsigned i = 0; i < LIMITS; i++) block_bucket_leak(&g->bucket[i], &g->limits.limit[i], now - g->leaked_ns);
    g->leaked_ns = now;
}

/* The buckets of a direction: that of all, and its own. */
static int64_t wait_ns(const struct group *g, bool is_write)
{
    int64_t longest = 0;

    for (unsigned i = 0; i < LIMITS; i++)
        if (i % 3 == 0 || i % 3 == 1u + is_write) longest = MAX(longest, block_bucket_wait_ns(&g->bucket[i], &g->limits.limit[i]));
    return longest;
}

static void account(struct group *g, const struct block_throttle_wait *w)
{
    double operations = g->limits.op_bytes && w->bytes > g->limits.op_bytes ? (double)w->bytes / (double)g->limits.op_bytes : 1;

    for (unsigned i = 0; i < LIMITS; i++)
        if (i % 3 == 0 || i % 3 == 1u + w->is_write) block_bucket_fill(&g->bucket[i], &g->limits.limit[i], i < LIMIT_OPS ? (double)w->bytes : operations);
}

static struct block_throttle_wait *take(struct block_throttled *t, bool is_write)
{
    struct fifo *f = &t->wait[is_write];
    struct block_throttle_wait *w = f->first;

    if (!w) return NULL;
    if (!(f->first = w->next)) f->last = &f->first;
    t->group->waiting[is_write]--;
    return w;
}

/* From the node whose turn it is on; that behind the one that is served is next. */
static void serve(struct group *g, bool is_write)
{
    struct block_throttled *t = g->turn[is_write];
    struct block_throttle_wait *w;

    while (!t->wait[is_write].first) t = t->next;
    g->turn[is_write] = t->next;
    g->write_next = !is_write;
    w = take(t, is_write);
    account(g, w);
    w->go(w);
}

static void group_run(void *opaque)
{
    struct group *g = opaque;
    int64_t soonest;
    bool served;

    leak(g);
    do {
        soonest = INT64_MAX;
        served = false;
        for (unsigned i = 0; i < 2 && !served; i++) {
            bool is_write = g->write_next ^ (i == 1);
            int64_t wait = g->waiting[is_write] ? wait_ns(g, is_write) : INT64_MAX;

            served = !wait;
            if (served) serve(g, is_write);
            soonest = MIN(soonest, wait);
        }
    } while (served);
    if (soonest == INT64_MAX) timer_disarm(g->timer);
    else timer_arm_ns(g->timer, g->leaked_ns + soonest);
}

bool block_throttle_hold(struct block_node *n, unsigned place, struct block_throttle_wait *w)
{
    struct block_throttled *t = n->throttled[place];
    struct group *g = t->group;

    leak(g);
    if (!g->waiting[w->is_write] && !wait_ns(g, w->is_write)) {
        account(g, w);
        return false;
    }
    w->next = NULL;
    *t->wait[w->is_write].last = w;
    t->wait[w->is_write].last = &w->next;
    g->waiting[w->is_write]++;
    group_run(g);                                        /* the other direction may have armed the timer for much later */
    return true;
}

static void member_release(struct block_throttled *t)
{
    struct block_throttle_wait *w;

    for (unsigned is_write = 0; is_write < 2; is_write++)
        while ((w = take(t, is_write))) {
            account(t->group, w);
            w->go(w);
        }
}

/* Those let go at one place wait at the next one, which is later. */
void block_throttle_release(struct block_node *n)
{
    for (unsigned i = 0; i < BLOCK_THROTTLES; i++)
        if (n->throttled[i]) member_release(n->throttled[i]);
}

/* ---- who is in which ---- */

struct block_throttles *block_throttles_new(void) { return calloc(1, sizeof(struct block_throttles)); }

void block_throttles_free(struct block_throttles *t) { free(t); }

static struct group *group_find(const struct block_throttles *t, const char *name)
{
    struct group *g = t->first;

    while (g && strcmp(g->name, name)) g = g->next;
    return g;
}

static struct group *group_get(struct block_throttles *t, const char *name, struct error *err)
{
    struct group *g = group_find(t, name);

    if (g) return g;
    g = calloc(1, sizeof(*g));
    if (!g || !(g->name = strdup(name))) {
        free(g);
        error_set(err, "no memory for limits");
        return NULL;
    }
    g->all = t;
    g->timer = timer_new(TIMER_HOST, group_run, g);
    g->leaked_ns = clock_host_ns();
    g->next = t->first;
    t->first = g;
    return g;
}

static void group_forget(struct group *g)
{
    struct group **link = &g->all->first;

    if (g->members) return;
    while (*link != g) link = &(*link)->next;
    *link = g->next;
    timer_free(g->timer);
    free(g->name);
    free(g);
}

static void enter(struct group *g, struct block_throttled *t)
{
    t->group = g;
    t->next = t;
    for (unsigned i = 0; i < 2; i++) t->wait[i] = (struct fifo){ NULL, &t->wait[i].first };
    if (g->members++) {
        t->next = g->turn[0]->next;
        g->turn[0]->next = t;
    } else g->turn[0] = g->turn[1] = t;
}

static void leave(struct block_node *n, unsigned place)
{
    struct block_throttled *t = n->throttled[place], *before = t;
    struct group *g = t->group;

    n->throttled[place] = NULL;
    member_release(t);
    while (before->next != t) before = before->next;
    before->next = t->next;
    for (unsigned i = 0; i < 2; i++)
        if (g->turn[i] == t) g->turn[i] = t->next == t ? NULL : t->next;
    g->members--;
    if (g->members) group_run(g);
    else group_forget(g);
    free(t);
}

static void limits_set(struct group *g, const struct block_limits *l)
{
    leak(g);
    if (memcmp(&g->limits, l, sizeof(*l))) memset(g->bucket, 0, sizeof(g->bucket));
    g->limits = *l;
    group_run(g);
}

int block_throttle_set(struct block_node *n, unsigned place, struct block_throttles *t, const char *name, const struct block_limits *l, struct error *err)
{
    struct group *g = name ? group_get(t, name, err) : NULL;

    if (name && !g) return -1;
    if (n->throttled[place] && n->throttled[place]->group != g) leave(n, place);
    if (!g) return 0;
    if (!n->throttled[place]) {
        struct block_throttled *member = calloc(1, sizeof(*member));

        if (!member) {
            group_forget(g);
            return error_set(err, "no memory for limits");
        }
        enter(g, member);
        n->throttled[place] = member;
    }
    limits_set(g, l);
    return 0;
}

void block_throttle_end(struct block_node *n)
{
    for (unsigned i = 0; i < BLOCK_THROTTLES; i++)
        if (n->throttled[i]) leave(n, i);
}

const struct block_limits *block_throttle_get(const struct block_node *n, unsigned place, const char **group)
{
    if (!n->throttled[place]) return NULL;
    *group = n->throttled[place]->group->name;
    return &n->throttled[place]->group->limits;
}

const struct block_limits *block_throttle_group(const struct block_throttles *t, const char *name)
{
    const struct group *g = group_find(t, name);

    return g ? &g->limits : NULL;
}

void block_throttle_group_set(struct block_throttles *t, const char *name, const struct block_limits *l)
{
    struct group *g = group_find(t, name);

    if (g) limits_set(g, l);
}
