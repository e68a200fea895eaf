/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Apple's disk images (UDIF, "dmg"), read only: a disk in chunks that are zeroes, stored as they are, or packed with zlib or ADC; the
 * tables are in dmg_table.c. One packed chunk is kept unpacked, for the small reads that go through it. Images with other
 * compressions are refused when they are opened, not when a read comes to one of their chunks.
 *
 * ADC is a byte code: 1nnnnnnn: n + 1 plain bytes follow; 0nnnnnoo oooooooo: n + 3 bytes from o + 1 back; 01nnnnnn and 16 bits: n + 4
 * bytes from so far + 1 back.
 */
#include "block/dmg.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/block_private.h"

struct dmg {
    struct dmg_table table;
    pthread_mutex_t lock;           /* of what follows */
    uint8_t *packed, *data;
    const struct dmg_chunk *loaded; /* what data holds; NULL: nothing */
};

static const struct dmg_chunk *chunk_find(const struct dmg_table *t, uint64_t sector)
{
    size_t low = 0, high = t->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (t->chunk[middle].sector <= sector)
            low = middle;
        else
            high = middle;
    }
    return &t->chunk[low];
}

/* False: that is not length bytes. */
static bool adc_unpack(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t length)
{
    size_t at = 0, done = 0;
    while (done < length && at < in_bytes) {
        uint8_t code = in[at];
        size_t head = code & 0x80 ? 1 : code & 0x40 ? 3 : 2;
        if (head > in_bytes - at)
            return false;
        size_t run = code & 0x80 ? (code & 0x7fu) + 1 : code & 0x40 ? (code & 0x3fu) + 4 : (code >> 2 & 0xfu) + 3;
        size_t back = code & 0x80 ? 0 : 1 + (code & 0x40 ? (size_t)in[at + 1] << 8 | in[at + 2] : (code & 3u) << 8 | in[at + 1]);
        at += head;
        if (run > length - done || back > done || (!back && run > in_bytes - at))
            return false;
        for (size_t i = 0; i < run; i++, done++)        /* what is copied may begin within what it makes */
            out[done] = back ? out[done - back] : in[at + i];
        at += back ? 0 : run;
    }
    return done == length;
}

static bool unpack(const struct dmg_chunk *c, const uint8_t *packed, uint8_t *data)
{
    uLongf length = (uLongf)c->sectors * 512;
    if (c->kind == DMG_ADC)
        return adc_unpack(packed, c->length, data, length);
    return uncompress(data, &length, packed, c->length) == Z_OK && length == c->sectors * 512;
}

static int load_locked(struct block_node *n, struct dmg *d, const struct dmg_chunk *c)
{
    if (d->loaded == c)
        return 0;
    if (!d->data)
        d->data = malloc(d->table.largest_bytes);
    if (!d->packed)
        d->packed = malloc(d->table.largest_packed_bytes);
    if (!d->data || !d->packed)
        return -ENOMEM;
    d->loaded = NULL;
    int r = block_protocol_pread(n->file, c->offset, d->packed, c->length);
    if (!r && !unpack(c, d->packed, d->data))
        r = -EIO;
    if (!r)
        d->loaded = c;
    return r;
}

/* skip: in the chunk. */
static int piece_read(struct block_node *n, const struct dmg_chunk *c, uint64_t skip, const struct iovec *iov, int iovcnt)
{
    struct dmg *d = n->state;
    size_t length = block_iov_length(iov, iovcnt);
    if (c->kind == DMG_RAW)
        return n->file->ops->preadv(n->file, c->offset + skip, iov, iovcnt);
    if (c->kind == DMG_ZEROES) {
        block_iov_zero(iov, iovcnt, 0, length);
        return 0;
    }
    pthread_mutex_lock(&d->lock);
    int r = load_locked(n, d, c);
    if (!r)
        block_iov_from(iov, iovcnt, 0, d->data + skip, length);
    pthread_mutex_unlock(&d->lock);
    return r;
}

static int dmg_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    const struct dmg *d = n->state;
    size_t length = block_iov_length(iov, iovcnt);
    struct iovec *part = malloc(sizeof(*part) * (size_t)MAX(iovcnt, 1));
    int r = part ? 0 : -ENOMEM;
    for (size_t done = 0; !r && done < length;) {
        const struct dmg_chunk *c = chunk_find(&d->table, (offset + done) / 512);
        uint64_t skip = offset + done - c->sector * 512;
        size_t take = (size_t)MIN((uint64_t)(length - done), c->sectors * 512 - skip);
        int used = block_iov_slice(part, iov, iovcnt, done, take);
        r = piece_read(n, c, skip, part, used);
        done += take;
    }
    free(part);
    return r;
}

static int dmg_extent(struct block_node *n, uint64_t offset, uint64_t length, struct block_extent *e)
{
    const struct dmg *d = n->state;
    const struct dmg_chunk *c = chunk_find(&d->table, offset / 512), *end = d->table.chunk + d->table.count;
    bool zero = c->kind == DMG_ZEROES;
    uint64_t to = 0;
    for (; c < end && (c->kind == DMG_ZEROES) == zero && to < offset + length; c++)
        to = (c->sector + c->sectors) * 512;
    *e = (struct block_extent){ .length_bytes = MIN(length, to - offset), .zero = zero, .hole = zero };
    return 0;
}

static int dmg_open(struct block_node *n, struct error *err)
{
    struct dmg *d = calloc(1, sizeof(*d));
    if (!d)
        return error_set(err, "cannot open '%s': out of memory", n->filename);
    int r = !n->readonly ? error_set(err, "DMG images can only be read; use readonly=on or snapshot=on") :
            dmg_table_read(&d->table, n->file, err);
    if (r) {
        free(d);
        return error_prefix(err, "cannot open '%s'", n->filename);
    }
    pthread_mutex_init(&d->lock, NULL);
    n->size = d->table.sectors * 512;
    n->state = d;
    return 0;
}

static void dmg_close(struct block_node *n)
{
    struct dmg *d = n->state;
    dmg_table_free(&d->table);
    pthread_mutex_destroy(&d->lock);
    free(d->packed);
    free(d->data);
    free(d);
}

const struct block_format block_format_dmg = {
    .name = "dmg", .suffix = ".dmg", .probe_end = dmg_is_trailer, .open = dmg_open, .close = dmg_close, .preadv = dmg_preadv,
    .extent = dmg_extent,
};
