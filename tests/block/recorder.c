/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log holds changes in order, each with the position in the log at which a flush settled it. A cut at a position where a
 * flush came may have been before or after it. Single threaded.
 */
#include "recorder.h"

#include "base/bits.h"
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, LIMIT = 64 << 20 };

struct change {
    uint64_t offset;
    size_t length;
    uint8_t *data;                  /* NULL: zeroes */
    bool truncates;                 /* to offset */
    size_t settled;                 /* the log's length when it was flushed; SIZE_MAX: never */
};

struct bytes {
    uint8_t *data;
    size_t size, room;
};

struct recorder {
    struct block_protocol p;
    struct bytes begun, now;
    struct change *change;
    size_t count, room, settled;    /* settled: so many are flushed */
};

static struct recorder *recorder_of(const struct block_protocol *p)
{
    return container_of(p, struct recorder, p);
}

static void reach(struct bytes *b, size_t size)
{
    if (size > b->room) {
        size_t room = MAX(size, b->room + b->room / 2);
        b->data = realloc(b->data, room);
        b->room = room;
    }
    if (size > b->size)
        memset(b->data + b->size, 0, size - b->size);
    b->size = MAX(b->size, size);
}

static void apply(struct bytes *b, const struct change *c, size_t from, size_t length)
{
    if (c->truncates) {
        b->size = MIN(b->size, (size_t)c->offset);
        reach(b, c->offset);
        return;
    }
    reach(b, c->offset + from + length);
    if (c->data)
        memcpy(b->data + c->offset + from, c->data + from, length);
    else
        memset(b->data + c->offset + from, 0, length);
}

static int record(struct recorder *r, struct change c)
{
    if (c.offset > LIMIT || c.length > LIMIT - c.offset) {
        free(c.data);
        return -ENOSPC;
    }
    if (r->count == r->room) {
        r->room = r->room ? r->room * 2 : 256;
        r->change = realloc(r->change, r->room * sizeof(*r->change));
    }
    c.settled = SIZE_MAX;
    r->change[r->count++] = c;
    apply(&r->now, &c, 0, c.length);
    return 0;
}

static int recorder_pwritev(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct change c = { .offset = offset, .length = block_iov_length(iov, iovcnt) };
    c.data = malloc(c.length + 1);
    block_iov_to(iov, iovcnt, 0, c.data, c.length);
    return record(recorder_of(p), c);
}

static int recorder_write_zeroes(struct block_protocol *p, uint64_t offset, uint64_t length, bool may_unmap)
{
    return record(recorder_of(p), (struct change){ .offset = offset, .length = length });
}

static int recorder_discard(struct block_protocol *p, uint64_t offset, uint64_t length)
{
    struct recorder *r = recorder_of(p);
    uint64_t there = offset < r->now.size ? MIN(length, r->now.size - offset) : 0;
    return there ? recorder_write_zeroes(p, offset, there, true) : 0;
}

static int recorder_truncate(struct block_protocol *p, uint64_t size, enum block_preallocation mode)
{
    return record(recorder_of(p), (struct change){ .offset = size, .truncates = true });
}

static int recorder_preadv(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    const struct bytes *b = &recorder_of(p)->now;
    size_t length = block_iov_length(iov, iovcnt), there = offset < b->size ? MIN(length, b->size - offset) : 0;
    if (there)
        block_iov_from(iov, iovcnt, 0, b->data + offset, there);
    block_iov_zero(iov, iovcnt, there, length - there);
    return 0;
}

static int recorder_flush(struct block_protocol *p)
{
    struct recorder *r = recorder_of(p);
    for (; r->settled < r->count; r->settled++)
        r->change[r->settled].settled = r->count;
    return 0;
}

static int64_t recorder_size(struct block_protocol *p)
{
    return (int64_t)recorder_of(p)->now.size;
}

static void recorder_close(struct block_protocol *p)
{
}

void recorder_free(struct block_protocol *p)
{
    struct recorder *r = recorder_of(p);
    for (size_t i = 0; i < r->count; i++)
        free(r->change[i].data);
    free(r->change);
    free(r->begun.data);
    free(r->now.data);
    free(r->p.filename);
    free(r);
}

struct block_protocol *recorder_open(const void *image, size_t length)
{
    static const struct block_protocol_ops ops = {
        .name = "recorder", .preadv = recorder_preadv, .pwritev = recorder_pwritev, .flush = recorder_flush,
        .discard = recorder_discard, .write_zeroes = recorder_write_zeroes, .size = recorder_size,
        .truncate = recorder_truncate, .close = recorder_close,
    };
    struct recorder *r = calloc(1, sizeof(*r));
    r->p.ops = &ops;
    r->p.fd = -1;
    r->p.filename = strdup("memory");
    reach(&r->begun, length);
    memcpy(r->begun.data, image, length);
    reach(&r->now, length);
    memcpy(r->now.data, image, length);
    return &r->p;
}

size_t recorder_count(const struct block_protocol *p)
{
    return recorder_of(p)->count;
}

static void sectors_apply(struct bytes *b, const struct change *c, uint64_t *rng)
{
    if (c->truncates && rng_below(rng, 2))
        apply(b, c, 0, 0);
    for (size_t at = 0; at < c->length;) {
        size_t take = MIN(SECTOR - (c->offset + at) % SECTOR, c->length - at);
        if (rng_below(rng, 2))
            apply(b, c, at, take);
        at += take;
    }
}

void *recorder_cut(const struct block_protocol *p, size_t cut, uint64_t seed, size_t *length)
{
    const struct recorder *r = recorder_of(p);
    struct bytes b = { 0 };
    uint64_t rng = seed | 1;
    bool flushed = rng_below(&rng, 2);
    unsigned mode = (unsigned)rng_below(&rng, 5);
    size_t certain = 0, middle;
    reach(&b, r->begun.size);
    memcpy(b.data, r->begun.data, r->begun.size);
    while (certain < cut && (r->change[certain].settled < cut || (flushed && r->change[certain].settled == cut)))
        certain++;
    middle = certain + (cut > certain ? rng_below(&rng, cut - certain + 1) : 0);
    for (size_t i = 0; i < cut; i++) {
        const struct change *c = &r->change[i];
        if (i < certain || mode == 0 || (mode == 1 && i < middle) || (mode == 2 && i >= middle) ||
            (mode == 3 && rng_below(&rng, 2)))
            apply(&b, c, 0, c->length);
        else if (mode == 4)
            sectors_apply(&b, c, &rng);
    }
    *length = b.size;
    return b.data;
}
