/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keeps three things: the bytes as the program sees them, the bytes as they were at the last flush, and a
 * list of the writes in between. A power cut is worked out from the latter two. A sector of 512 bytes is
 * written whole or not.
 */
#include "block/fault.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512 };

struct fault_write {
    uint64_t offset;
    size_t length;
    uint8_t *data;                  /* NULL: zeroes */
};

struct fault {
    struct block_protocol p;
    pthread_mutex_t lock;
    uint8_t *now, *stable;
    size_t size, stable_size, room, stable_room;
    uint64_t limit;
    struct fault_write *write;
    size_t pending, pending_room;
    uint64_t writes, flushes, cut_at, fail_at, fail_flush_at;
    int fail_error, read_error, flush_error;
    bool cut;
};

static struct fault *fault_of(const struct block_protocol *p)
{
    return container_of(p, struct fault, p);
}

static int grow(uint8_t **data, size_t *room, size_t wanted)
{
    if (wanted <= *room)
        return 0;
    size_t more = MAX(wanted, *room + *room / 2);
    uint8_t *d = realloc(*data, more);
    if (!d)
        return -ENOMEM;
    memset(d + *room, 0, more - *room);
    *data = d;
    *room = more;
    return 0;
}

static int apply(uint8_t **data, size_t *size, size_t *room, const struct fault_write *w)
{
    int r = grow(data, room, w->offset + w->length);
    if (r)
        return r;
    if (w->data)
        memcpy(*data + w->offset, w->data, w->length);
    else
        memset(*data + w->offset, 0, w->length);
    *size = MAX(*size, w->offset + w->length);
    return 0;
}

/* Owns w->data. */
static int record_locked(struct fault *f, struct fault_write w)
{
    int r = 0;
    if (f->cut || f->writes == f->cut_at) {
        f->cut = true;
        r = -EIO;
    } else if (f->writes++ == f->fail_at) {
        r = -f->fail_error;
    } else if (w.offset > f->limit || w.length > f->limit - w.offset) {
        r = -ENOSPC;
    } else if (f->pending == f->pending_room) {
        size_t room = f->pending_room ? f->pending_room * 2 : 64;
        struct fault_write *more = realloc(f->write, room * sizeof(*more));
        if (more) {
            f->write = more;
            f->pending_room = room;
        } else {
            r = -ENOMEM;
        }
    }
    if (!r)
        r = apply(&f->now, &f->size, &f->room, &w);
    if (r)
        free(w.data);
    else
        f->write[f->pending++] = w;
    return r;
}

static int fault_pwritev(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct fault *f = fault_of(p);
    struct fault_write w = { .offset = offset, .length = block_iov_length(iov, iovcnt) };
    w.data = malloc(w.length ? w.length : 1);
    if (!w.data)
        return -ENOMEM;
    block_iov_to(iov, iovcnt, 0, w.data, w.length);
    pthread_mutex_lock(&f->lock);
    int r = record_locked(f, w);
    pthread_mutex_unlock(&f->lock);
    return r;
}

static int fault_write_zeroes(struct block_protocol *p, uint64_t offset, uint64_t length, bool may_unmap)
{
    struct fault *f = fault_of(p);
    pthread_mutex_lock(&f->lock);
    int r = record_locked(f, (struct fault_write){ .offset = offset, .length = length });
    pthread_mutex_unlock(&f->lock);
    return r;
}

static int fault_discard(struct block_protocol *p, uint64_t offset, uint64_t length)
{
    struct fault *f = fault_of(p);
    pthread_mutex_lock(&f->lock);
    uint64_t there = offset < f->size ? MIN(length, f->size - offset) : 0;
    int r = there ? record_locked(f, (struct fault_write){ .offset = offset, .length = there }) : 0;
    pthread_mutex_unlock(&f->lock);
    return r;
}

static int fault_preadv(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct fault *f = fault_of(p);
    size_t length = block_iov_length(iov, iovcnt);
    pthread_mutex_lock(&f->lock);
    size_t there = offset < f->size ? MIN(length, f->size - offset) : 0;
    int r = f->cut ? -EIO : -f->read_error;
    f->read_error = 0;
    if (there && !r)
        block_iov_from(iov, iovcnt, 0, f->now + offset, there);
    pthread_mutex_unlock(&f->lock);
    if (!r)
        block_iov_zero(iov, iovcnt, there, length - there);
    return r;
}

static int settle_locked(struct fault *f)
{
    for (size_t i = 0; i < f->pending; i++) {
        int r = apply(&f->stable, &f->stable_size, &f->stable_room, &f->write[i]);
        if (r)
            return r;
    }
    for (size_t i = 0; i < f->pending; i++)
        free(f->write[i].data);
    f->pending = 0;
    return 0;
}

static int fault_flush(struct block_protocol *p)
{
    struct fault *f = fault_of(p);
    pthread_mutex_lock(&f->lock);
    if (f->flushes++ == f->fail_flush_at)
        f->flush_error = EIO;
    int r = f->cut ? -EIO : f->flush_error ? -f->flush_error : settle_locked(f);
    f->flush_error = 0;
    pthread_mutex_unlock(&f->lock);
    return r;
}

static int64_t fault_size(struct block_protocol *p)
{
    struct fault *f = fault_of(p);
    pthread_mutex_lock(&f->lock);
    int64_t size = (int64_t)f->size;
    pthread_mutex_unlock(&f->lock);
    return size;
}

static void fault_close(struct block_protocol *p)
{
    struct fault *f = fault_of(p);
    for (size_t i = 0; i < f->pending; i++)
        free(f->write[i].data);
    free(f->write);
    free(f->now);
    free(f->stable);
    free(f->p.filename);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static const struct block_protocol_ops fault_ops = {
    .name = "fault", .preadv = fault_preadv, .pwritev = fault_pwritev, .flush = fault_flush,
    .discard = fault_discard, .write_zeroes = fault_write_zeroes, .size = fault_size, .close = fault_close,
};

struct block_protocol *block_fault_open(const void *image, size_t length, uint64_t limit_bytes)
{
    struct fault *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->p.ops = &fault_ops;
    f->p.fd = -1;
    f->p.filename = strdup("memory");
    f->limit = MAX(limit_bytes, length);
    f->cut_at = f->fail_at = f->fail_flush_at = UINT64_MAX;
    pthread_mutex_init(&f->lock, NULL);
    if (!f->p.filename || grow(&f->now, &f->room, length) || grow(&f->stable, &f->stable_room, length)) {
        fault_close(&f->p);
        return NULL;
    }
    if (length) {
        memcpy(f->now, image, length);
        memcpy(f->stable, image, length);
    }
    f->size = f->stable_size = length;
    return &f->p;
}

void block_fault_cut_at(struct block_protocol *p, uint64_t write)
{
    fault_of(p)->cut_at = write;
}

void block_fault_fail_at(struct block_protocol *p, uint64_t write, int error)
{
    fault_of(p)->fail_at = write;
    fault_of(p)->fail_error = error;
}

void block_fault_fail_read(struct block_protocol *p, int error)
{
    fault_of(p)->read_error = error;
}

void block_fault_fail_flush(struct block_protocol *p, int error)
{
    fault_of(p)->flush_error = error;
}

void block_fault_fail_flush_at(struct block_protocol *p, uint64_t flush)
{
    fault_of(p)->fail_flush_at = flush;
}

uint64_t block_fault_writes(const struct block_protocol *p)
{
    return fault_of(p)->writes;
}

uint64_t block_fault_flushes(const struct block_protocol *p)
{
    return fault_of(p)->flushes;
}

bool block_fault_is_cut(const struct block_protocol *p)
{
    return fault_of(p)->cut;
}

/* splitmix64 */
static uint64_t dice(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static int sectors_apply(uint8_t **data, size_t *size, size_t *room, const struct fault_write *w, uint64_t *rng)
{
    int r = 0;
    for (size_t at = 0; !r && at < w->length;) {
        size_t take = MIN(SECTOR - (w->offset + at) % SECTOR, w->length - at);
        const struct fault_write part = { w->offset + at, take, w->data ? w->data + at : NULL };
        if (dice(rng) & 1)
            r = apply(data, size, room, &part);
        at += take;
    }
    return r;
}

int block_fault_image(struct block_protocol *p, uint64_t seed, void **image, size_t *length)
{
    struct fault *f = fault_of(p);
    uint8_t *data = NULL;
    size_t room = 0;
    pthread_mutex_lock(&f->lock);
    *length = f->stable_size;
    int r = grow(&data, &room, MAX(f->stable_size, (size_t)1));
    if (!r)
        memcpy(data, f->stable, f->stable_size);
    unsigned mode = (unsigned)(dice(&seed) % 4);
    size_t first = f->pending ? dice(&seed) % (f->pending + 1) : 0;
    for (size_t i = 0; !r && i < f->pending; i++) {
        if (mode == 0)
            r = i < first ? apply(&data, length, &room, &f->write[i]) : 0;
        else if (mode == 1)
            r = sectors_apply(&data, length, &room, &f->write[i], &seed);
        else if (mode == 2)
            r = dice(&seed) & 1 ? apply(&data, length, &room, &f->write[i]) : 0;
        else                        /* the last writes are there and the first are not */
            r = i >= first ? apply(&data, length, &room, &f->write[i]) : 0;
    }
    pthread_mutex_unlock(&f->lock);
    if (r)
        free(data);
    else
        *image = data;
    return r;
}
