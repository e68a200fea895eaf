/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile driver: queues in both layouts whose rings, descriptors and indirect tables are overwritten at random while the device
 * takes and gives back chains. Every byte of every buffer that comes out is touched: the sanitizers see what lies outside of guest
 * memory. The queue may break at any time; then it is started again.
 *
 *   fuzz-virtqueue [STEPS [SEED]]          or, built with clang, fuzzer-virtqueue as a libFuzzer program: input is a list of steps
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "device/virtio/virtqueue.h"
#include "fuzz.h"
#include "replay.h"

enum { RAM_BYTES = 64 << 10, RINGS_BYTES = 0x3000, TABLES = 0x3000, IN_FLIGHT = 64, NEXT = 1, WRITE = 2, INDIRECT = 4 };

static uint8_t *ram;
static struct memory_map *map;
static uint64_t sum, chains, breaks, starts;

static struct fuzz_source source;

static uint32_t below(uint32_t n) { return fuzz_below(&source, n); }
static uint32_t next(void) { return below(0); }

static void put(uint32_t at, uint64_t v, unsigned size)
{
    if (at + size <= RAM_BYTES) memcpy(ram + at, &v, size);
}

static void start(struct virtqueue *q)
{
    static const uint64_t features[] = { 0, VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_PACKED, VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX };

    virtqueue_reset(q);
    q->descriptors = below(64) ? 0 : (uint64_t)next() << below(33);
    q->driver = below(64) ? 0x1000 : next() & ~3ull;
    q->device = below(64) ? 0x2000 : next() & ~3ull;
    q->size = below(64) ? 4u << below(7) : next();
    virtqueue_start(q, features[below(4)] | (below(8) ? VIRTIO_F_INDIRECT_DESC : 0) | (below(4) ? 0 : VIRTIO_F_NOTIFY_ON_EMPTY));
    starts++;
}

/* Mostly what a descriptor looks like. */
static void descriptor(uint32_t at, bool packed, bool wrap)
{
    static const uint32_t lengths[] = { 0, 1, 16, 32, 48, 160, 512, 4096, RAM_BYTES };
    static const uint8_t kinds[] = { 0, 0, WRITE, WRITE, WRITE, NEXT, NEXT, NEXT, NEXT | WRITE, NEXT | WRITE, INDIRECT, INDIRECT, 5, 6, 7, 0 };
    uint32_t flags = kinds[below(ARRAY_SIZE(kinds))] | (below(16) ? wrap ? 0x80 : 0x8000 : next() & 0x8080);

    put(at, below(64) ? flags & INDIRECT ? TABLES + 16 * below(32) : below(RAM_BYTES - 4096) : (uint64_t)next() << below(33), 8);
    put(at + 8, below(64) ? lengths[below(ARRAY_SIZE(lengths) - (below(16) != 0))] : next(), 4);
    put(at + 12, packed ? below(256) : flags, 2);
    put(at + 14, packed ? flags : below(8) ? below(16) : next(), 2);
}

static void scribble(const struct virtqueue *q)
{
    switch (below(16) ? 1 + below(3) : 0) {
    case 0: put(below(RINGS_BYTES), next(), 1u << below(4)); break;
    case 1: descriptor(16 * below(64), q->is_packed, q->avail_wrap); break;
    case 2: descriptor(TABLES + 16 * below(64), q->is_packed, true); break;
    default:
        if (q->is_packed) {
            descriptor(16u * q->avail_index, true, q->avail_wrap);
            break;
        }
        put(0x1004 + 2 * (q->avail_index & (q->size - 1)), below(64) ? below(MAX(q->size, 1u)) : next(), 2);
        put(0x1002, q->avail_index + below(3), 2);
    }
}

static void touch(struct virtqueue_chain *c)
{
    for (unsigned i = 0; i < c->out_count; i++)
        for (size_t n = 0; n < c->out[i].iov_len; n += 61) sum += ((uint8_t *)c->out[i].iov_base)[n];
    for (unsigned i = 0; i < c->in_count; i++) {
        uint8_t *p = c->in[i].iov_base;
        p[0] ^= 1;
        p[c->in[i].iov_len - 1] ^= 1;
    }
}

static void run(uint64_t steps)
{
    struct virtqueue q = { .memory = map, .size_max = 256 };
    struct virtqueue_chain *flight[IN_FLIGHT] = { 0 };
    uint8_t bytes[64];

    memset(ram, 0, RAM_BYTES);
    start(&q);
    while (source.input ? source.left > 0 : steps-- > 0) {
        unsigned slot = below(IN_FLIGHT);
        struct virtqueue_chain **c = &flight[slot];

        for (unsigned n = below(4); n-- > 0;) scribble(&q);
        if (!*c && (*c = virtqueue_pop(&q))) {
            chains++;
            if (below(8)) touch(*c);
            else sum += virtqueue_read(*c, next(), bytes, sizeof(bytes)) + virtqueue_write(&q, *c, next(), bytes, sizeof(bytes));
        } else if (*c) {
            if (below(8)) virtqueue_push(&q, *c, next());
            else virtqueue_drop(&q, *c);
            *c = NULL;
        }
        sum += virtqueue_wants_interrupt(&q) + virtqueue_is_empty(&q);
        virtqueue_notifications_set(&q, below(2));
        breaks += q.broken != NULL;
        if ((q.broken && below(4) == 0) || below(512) == 0) {
            for (unsigned i = 0; i < IN_FLIGHT; i++)
                if (flight[i]) virtqueue_drop(&q, flight[i]);
            memset(flight, 0, sizeof(flight));
            memset(ram, 0, RINGS_BYTES);
            start(&q);
        }
    }
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        if (flight[i]) virtqueue_drop(&q, flight[i]);
    virtqueue_reset(&q);
    virtqueue_destroy(&q);
}

static void memory_make(void)
{
    ram = aligned_alloc(4096, RAM_BYTES);
    map = memory_map_new("memory", 1ull << 40);
    memory_map_add_ram(map, "ram", 0, RAM_BYTES, ram, false, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!map) memory_make();
    source = (struct fuzz_source){ 0, data, size };
    run(0);
    return 0;
}

#ifndef FUZZER
int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 1500000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0xf022;

    if (argc > 2 && !strcmp(argv[1], "--replay")) return fuzz_replay("fuzz-virtqueue", argv[2]);
    source.state = seed;
    memory_make();
    run(steps);
    memory_map_free(map);
    free(ram);
    printf("fuzz-virtqueue: %llu steps, %llu chains, broken after %llu, %llu starts, seed %#llx, sum %llx\n", (unsigned long long)steps,
           (unsigned long long)chains, (unsigned long long)breaks, (unsigned long long)starts, (unsigned long long)seed, (unsigned long long)sum);
    return chains > steps / 100 && breaks > steps / 100 ? 0 : 1;
}
#endif
