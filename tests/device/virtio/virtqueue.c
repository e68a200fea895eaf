/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtqueues against a driver of the test's own (driver.c): random chains, direct and indirect, through both layouts, finished in
 * random order, with interrupts and notifications checked by counting; then one malformed ring after the other, each of which must
 * break the queue with the reason, and nothing else.
 *
 *   test-virtqueue [CHAINS [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "device/virtio/virtqueue.h"
#include "driver.h"

enum { RAM_BYTES = 1 << 20, LOW_BYTES = 0x90000, BASE = 0x10000, DATA = 0x70000, DATA_BYTES = 0x40000 };

static uint8_t *ram, *upper;             /* guest memory is two blocks side by side, not neighbours on the host */
static struct memory_map *map;
static uint64_t checks, failures, state;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1d;
}

static unsigned below(unsigned n) { return (unsigned)((next_random() >> 20) % n); }

static void check(bool ok, const char *what)
{
    checks++;
    if (!ok && failures++ < 20) printf("failed: %s\n", what);
}

static uint8_t *host(uint64_t gpa) { return gpa < LOW_BYTES ? ram + gpa : upper + (gpa - LOW_BYTES); }

struct flight { bool used; unsigned count; struct driver_piece piece[8]; struct virtqueue_chain *chain; uint32_t written; };

/* Does the chain consist of these pieces? Its vectors may be cut where blocks meet. */
static bool is_same(const struct virtqueue_chain *c, const struct flight *f)
{
    unsigned at = 0, n = c->out_count + c->in_count;
    uint64_t out = 0, in = 0;

    for (unsigned i = 0; i < f->count; i++) {
        uint64_t gpa = f->piece[i].gpa, left = f->piece[i].length;

        *(f->piece[i].device_writes ? &in : &out) += left;
        while (left) {
            const struct iovec *v = at < c->out_count ? &c->out[at] : &c->in[at - c->out_count];

            if (at == n || v->iov_base != host(gpa) || v->iov_len > left) return false;
            if (f->piece[i].device_writes != (at >= c->out_count)) return false;
            if (at >= c->out_count && c->in_gpa[at - c->out_count] != gpa) return false;
            gpa += v->iov_len;
            left -= v->iov_len;
            at++;
        }
    }
    return at == n && c->out_bytes == out && c->in_bytes == in;
}

static void add_some(struct driver *d, struct flight *flights)
{
    struct flight f = { .used = true, .count = 1 + below(6) };
    unsigned readable = below(f.count + 1);
    int id;

    for (unsigned i = 0; i < f.count; i++)
        f.piece[i] = (struct driver_piece){ DATA + below(DATA_BYTES - 70000), below(8) ? below(5000) : below(70000), i >= readable };
    id = driver_add(d, f.piece, f.count, below(3) == 0);
    if (id < 0) return;
    check(!flights[id].used, "the driver's id is free");
    flights[id] = f;
}

static void pop_some(struct virtqueue *q, struct flight *flights)
{
    struct virtqueue_chain *c = virtqueue_pop(q);

    check(!q->broken, "the queue is sound");
    if (!c) return;
    if (below(8) == 0) {                 /* back it goes, and comes again */
        unsigned id = c->id;

        virtqueue_unpop(q, c);
        c = virtqueue_pop(q);
        check(c && c->id == id, "what was put back comes again");
        if (!c) return;
    }
    check(c->id < q->size && flights[c->id].used && !flights[c->id].chain, "a chain that was made available comes out, once");
    if (c->id >= q->size) exit(1);
    check(is_same(c, &flights[c->id]), "the chain's buffers are those of the driver");
    flights[c->id].chain = c;
}

/* Pushes a few of those in flight and compares the wish for an interrupt with the driver's. */
static void push_some(struct virtqueue *q, struct driver *d, struct flight *flights, uint64_t *pushed, uint64_t *told)
{
    uint64_t event = d->seen_used + below(d->size / 2 + 1);
    unsigned mode = d->event_index ? 2 : below(2), start = below(d->size);
    bool want, got;

    if (mode == 2) driver_event_set(d, event);
    else driver_interrupts_set(d, mode);
    for (unsigned i = 0, left = below(4); i < d->size && left; i++) {
        struct flight *f = &flights[(start + i) % d->size];

        if (!f->chain) continue;
        f->written = below(f->chain->in_bytes + 1);
        *pushed += d->packed ? f->chain->slots : 1;
        virtqueue_push(q, f->chain, f->written);
        f->chain = NULL;
        left--;
    }
    got = virtqueue_wants_interrupt(q);
    want = mode == 2 ? *told <= event && event < *pushed : mode;
    check(got == want, "an interrupt exactly when the driver wants one");
    *told = *pushed;
}

static void take_all(struct driver *d, struct flight *flights)
{
    uint32_t written;

    for (int id; (id = driver_take(d, &written)) >= 0;) {
        check((unsigned)id < d->size && flights[id].used && !flights[id].chain, "a used id is one that was pushed");
        if ((unsigned)id >= d->size) exit(1);
        check(written == flights[id].written, "the length is what was written");
        flights[id].used = false;
    }
}

static void queue_begin(struct virtqueue *q, const struct driver *d, uint64_t features)
{
    *q = (struct virtqueue){ .memory = map, .size = (uint16_t)d->size, .size_max = VIRTQUEUE_SIZE_MAX,
                             .descriptors = d->descriptors, .driver = d->avail, .device = d->used };
    virtqueue_start(q, features | (d->packed ? VIRTIO_F_RING_PACKED : 0) | (d->event_index ? VIRTIO_F_EVENT_IDX : 0));
}

static void random_run(bool packed, bool event_index, unsigned size, unsigned chains)
{
    static struct flight flights[DRIVER_QUEUE_MAX];
    static struct driver d;
    struct virtqueue q;
    uint64_t pushed = 0, told = 0;

    memset(flights, 0, sizeof(flights));
    driver_init(&d, ram, packed, event_index, size, BASE);
    queue_begin(&q, &d, VIRTIO_F_INDIRECT_DESC);
    check(q.enabled, "the queue starts");
    while (d.made_available < chains) {
        uint64_t before = d.made_available;

        virtqueue_notifications_set(&q, true);
        for (unsigned n = below(5); n-- > 0;) add_some(&d, flights);
        if (d.made_available != before) {
            check(!virtqueue_is_empty(&q), "what was made available is seen");
            check(driver_must_notify(&d, before), "the driver notifies of the first");
        }
        virtqueue_notifications_set(&q, false);
        if (packed || !event_index) check(!driver_must_notify(&d, before), "the driver is quiet while it shall be");
        for (unsigned n = below(8); n-- > 0;) pop_some(&q, flights);
        push_some(&q, &d, flights, &pushed, &told);
        if (below(2)) take_all(&d, flights);
    }
    for (unsigned i = 0; i < size; i++)
        if (flights[i].chain) virtqueue_drop(&q, flights[i].chain);
    virtqueue_reset(&q);
    check(!q.enabled && !q.in_flight && !virtqueue_pop(&q), "a reset queue gives nothing");
    virtqueue_destroy(&q);
}

/* A driver that polls takes what is used, while the device does not come to look whether an interrupt is wanted; then it wants one of the last. */
static void polled_run(bool packed, unsigned size, unsigned polled)
{
    static struct driver d;
    struct driver_piece p = { DATA, 8, true };
    struct virtqueue q;
    uint32_t written;

    driver_init(&d, ram, packed, true, size, BASE);
    queue_begin(&q, &d, 0);
    for (unsigned i = 0; i <= polled; i++) {
        struct virtqueue_chain *c = driver_add(&d, &p, 1, false) < 0 ? NULL : virtqueue_pop(&q);

        check(c, "a buffer comes");
        if (!c) break;
        driver_event_set(&d, i);
        virtqueue_push(&q, c, 8);
        if (i < polled) check(driver_take(&d, &written) >= 0, "it goes back");
    }
    check(virtqueue_wants_interrupt(&q), "an interrupt, however much was used before");
    virtqueue_reset(&q);
    virtqueue_destroy(&q);
}

/* ---- malformed rings ---- */

static void put(uint64_t at, uint64_t v, unsigned size) { memcpy(ram + at, &v, size); }

/* A descriptor of either layout: word 12 is flags or id, word 14 next or flags. */
static void descriptor(uint64_t at, uint64_t gpa, uint32_t length, unsigned a, unsigned b)
{
    put(at, gpa, 8);
    put(at + 8, length, 4);
    put(at + 12, a, 2);
    put(at + 14, b, 2);
}

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, A = 0x80, TABLE = 0x60000, T = 0x60000 };
static const struct malformed {
    const char *why;
    bool packed;
    struct { uint64_t at, gpa; uint32_t length; unsigned a, b; } d[3];   /* at: from the ring's start; TABLE: there */
    unsigned head, avail;                                                /* split: what the available ring says */
    bool no_indirect;
} malformed[] = {
    { "head is outside", false, { { 0, DATA, 16, 0, 0 } }, 8, 1, false },
    { "successor is outside", false, { { 0, DATA, 16, NEXT, 8 } }, 0, 1, false },
    { "loops", false, { { 0, DATA, 16, NEXT, 1 }, { 16, DATA, 16, NEXT, 0 } }, 0, 1, false },
    { "loops", false, { { 0, DATA, 0, NEXT, 0 } }, 0, 1, false },
    { "outside of RAM", false, { { 0, 0x200000, 16, 0, 0 } }, 0, 1, false },
    { "outside of RAM", false, { { 0, 0xfffffffffffffff8, 16, WRITE, 0 } }, 0, 1, false },
    { "outside of RAM", false, { { 0, RAM_BYTES - 8, 16, WRITE, 0 } }, 0, 1, false },
    { "outside of RAM", false, { { 0, DATA, 0xffffffff, 0, 0 } }, 0, 1, false },
    { "follows one to write", false, { { 0, DATA, 16, NEXT | WRITE, 1 }, { 16, DATA, 16, 0, 0 } }, 0, 1, false },
    { "points to another", false, { { 0, TABLE, 16, INDIRECT, 0 }, { T, TABLE, 16, INDIRECT, 0 } }, 0, 1, false },
    { "has a successor", false, { { 0, TABLE, 16, INDIRECT | NEXT, 1 } }, 0, 1, false },
    { "impossible length", false, { { 0, TABLE, 24, INDIRECT, 0 } }, 0, 1, false },
    { "impossible length", false, { { 0, TABLE, 0, INDIRECT, 0 } }, 0, 1, false },
    { "impossible length", false, { { 0, TABLE, 0xfffffff0, INDIRECT, 0 } }, 0, 1, false },
    { "successor is outside", false, { { 0, TABLE, 32, INDIRECT, 0 }, { T, DATA, 1, NEXT, 2 } }, 0, 1, false },
    { "loops", false, { { 0, TABLE, 32, INDIRECT, 0 }, { T, DATA, 1, NEXT, 1 }, { T + 16, DATA, 1, NEXT, 0 } }, 0, 1, false },
    { "too many buffers", false, { { 0, TABLE, 4096 * 16, INDIRECT, 0 }, { T, DATA, 0, NEXT, 1 }, { T + 16, DATA, 0, NEXT, 0 } }, 0, 1, false },
    { "ring lies outside", false, { { 0, 0x1000000, 16, INDIRECT, 0 } }, 0, 1, false },
    { "was not negotiated", false, { { 0, TABLE, 16, INDIRECT, 0 } }, 0, 1, true },
    { "jumped", false, { { 0, DATA, 16, 0, 0 } }, 0, 9, false },
    { "loops", true, { { 0, DATA, 16, 0, NEXT | A }, { 16, DATA, 16, 0, NEXT | A }, { 32, DATA, 16, 0, NEXT | A } }, 0, 0, false },
    { "outside of RAM", true, { { 0, 0x200000, 16, 0, A } }, 0, 0, false },
    { "follows one to write", true, { { 0, DATA, 16, 0, NEXT | WRITE | A }, { 16, DATA, 16, 0, A } }, 0, 0, false },
    { "part of a chain", true, { { 0, DATA, 16, 0, NEXT | A }, { 16, TABLE, 16, 0, INDIRECT | A } }, 0, 0, false },
    { "part of a chain", true, { { 0, TABLE, 16, 0, NEXT | INDIRECT | A } }, 0, 0, false },
    { "points to another", true, { { 0, TABLE, 16, 0, INDIRECT | A }, { T, TABLE, 16, 0, INDIRECT } }, 0, 0, false },
    { "impossible length", true, { { 0, TABLE, 17, 0, INDIRECT | A } }, 0, 0, false },
    { "was not negotiated", true, { { 0, TABLE, 16, 0, INDIRECT | A } }, 0, 0, true },
};

static void malformed_run(const struct malformed *m)
{
    struct driver d;
    struct virtqueue q;

    driver_init(&d, ram, m->packed, false, 8, BASE);
    memset(ram + TABLE, 0, 4096);
    /* Entries beyond the rows repeat the last, so that a chain that should have ended goes on. */
    for (unsigned i = 0; i < 8 && m->packed && m->d[2].at; i++) descriptor(BASE + 16 * i, m->d[2].gpa, m->d[2].length, m->d[2].a, m->d[2].b);
    for (unsigned i = 0; i < 3 && (i == 0 || m->d[i].at); i++)
        descriptor(m->d[i].at >= TABLE ? m->d[i].at : BASE + m->d[i].at, m->d[i].gpa, m->d[i].length, m->d[i].a, m->d[i].b);
    if (!m->packed) {
        put(d.avail + 4, m->head, 2);
        put(d.avail + 2, m->avail, 2);
    }
    queue_begin(&q, &d, m->no_indirect ? 0 : VIRTIO_F_INDIRECT_DESC);
    check(!virtqueue_pop(&q) && q.broken && strstr(q.broken, m->why), m->why);
    check(!virtqueue_pop(&q) && !virtqueue_wants_interrupt(&q) && virtqueue_is_empty(&q), "a broken queue is silent");
    virtqueue_notifications_set(&q, true);
    virtqueue_destroy(&q);
}

/* A table may be longer than any chain, if the one that is in it is not. */
static void long_table_run(void)
{
    struct virtqueue_chain *c;
    struct driver d;
    struct virtqueue q;

    driver_init(&d, ram, false, false, 8, BASE);
    descriptor(BASE, TABLE, 16 * 4096, INDIRECT, 0);
    descriptor(TABLE, DATA, 16, NEXT, 4095);
    descriptor(TABLE + 16 * 4095, DATA, 32, WRITE, 0);
    put(d.avail + 4, 0, 2);
    put(d.avail + 2, 1, 2);
    queue_begin(&q, &d, VIRTIO_F_INDIRECT_DESC);
    c = virtqueue_pop(&q);
    check(c && c->out_bytes == 16 && c->in_bytes == 32, "a short chain in a long table");
    if (c) virtqueue_drop(&q, c);
    virtqueue_destroy(&q);
}

static void start_check(bool packed, unsigned size, uint64_t descriptors, uint64_t driver, uint64_t device, const char *why)
{
    struct virtqueue q = { .memory = map, .size = (uint16_t)size, .size_max = 256, .descriptors = descriptors, .driver = driver, .device = device };
    int result = virtqueue_start(&q, packed ? VIRTIO_F_RING_PACKED : 0);

    check(why ? result < 0 && !q.enabled && q.broken && strstr(q.broken, why) : result == 0, why ? why : "a sound queue starts");
    virtqueue_destroy(&q);
}

static void starts_run(void)
{
    start_check(false, 128, BASE, BASE + 0x2000, BASE + 0x3000, NULL);
    start_check(true, 100, BASE, BASE + 0x2000, BASE + 0x3000, NULL);
    start_check(false, 100, BASE, BASE + 0x2000, BASE + 0x3000, "power of two");
    start_check(false, 512, BASE, BASE + 0x2000, BASE + 0x3000, "size");
    start_check(true, 0, BASE, BASE + 0x2000, BASE + 0x3000, "size");
    start_check(false, 128, BASE + 8, BASE + 0x2000, BASE + 0x3000, "aligned");
    start_check(false, 128, BASE, BASE + 0x2001, BASE + 0x3000, "aligned");
    start_check(true, 128, BASE, BASE + 0x2002, BASE + 0x3000, "aligned");
    start_check(false, 128, BASE, BASE + 0x2000, BASE + 0x3002, "aligned");
    start_check(false, 128, 0x800000, BASE + 0x2000, BASE + 0x3000, "outside of RAM");
    start_check(false, 128, BASE, RAM_BYTES - 16, BASE + 0x3000, "outside of RAM");
    start_check(true, 128, BASE, BASE + 0x2000, ~0ull << 4, "outside of RAM");
    start_check(true, 128, LOW_BYTES - 64, BASE + 0x2000, BASE, "outside of RAM");   /* the ring would lie in two blocks */
}

int main(int argc, char **argv)
{
    unsigned chains = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 40000, runs = 0;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x5eed0005;
    static const uint16_t sizes[] = { 4, 16, 256, 1024 };

    state = seed;
    ram = aligned_alloc(4096, RAM_BYTES);
    upper = aligned_alloc(4096, RAM_BYTES);
    memset(ram, 0, RAM_BYTES);
    map = memory_map_new("memory", 1ull << 40);
    memory_map_add_ram(map, "low", 0, LOW_BYTES, ram, false, 0);
    memory_map_add_ram(map, "high", LOW_BYTES, RAM_BYTES - LOW_BYTES, upper, false, 0);
    for (unsigned i = 0; i < 4 * ARRAY_SIZE(sizes); i++, runs++) random_run(i & 1, i & 2, sizes[i / 4], chains);
    random_run(true, true, 7, chains);                 /* packed rings need no power of two */
    random_run(true, false, 1000, chains);
    for (unsigned i = 0; i < 100; i++) polled_run(i & 1, i & 1 ? 7 : 16, i / 2);
    for (unsigned i = 0; i < ARRAY_SIZE(malformed); i++) malformed_run(&malformed[i]);
    long_table_run();
    starts_run();
    memory_map_free(map);
    free(ram);
    free(upper);
    printf("virtqueue: %u runs of %u chains, %zu malformed rings, 13 starts: %llu checks, %llu failed, seed %#llx\n", runs + 2, chains,
           ARRAY_SIZE(malformed), (unsigned long long)checks, (unsigned long long)failures, (unsigned long long)seed);
    return failures != 0;
}
