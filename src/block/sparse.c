/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images of blocks that get a place when they are first written to (sparse.h).
 *
 * One lock guards the table; data of blocks that have a place move without it, since no block is ever moved. A new block is
 * written whole (what the request does not fill is zeroes or comes from the backing file) before it is entered into the
 * table in memory. Tables reach the file at a flush, behind a barrier: first the data, then the tables, then a second
 * barrier. A power cut therefore loses at most blocks that were never flushed; their space is lost with them.
 */
#include "block/sparse.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FEW = 8 };

void sparse_init(struct sparse *s, const struct sparse_ops *ops, struct block_protocol *file, uint64_t size,
                 uint32_t block_bytes)
{
    *s = (struct sparse){ .ops = ops, .file = file, .size = size, .block_bytes = block_bytes };
    pthread_mutex_init(&s->lock, NULL);
}

void sparse_free(struct sparse *s)
{
    pthread_mutex_destroy(&s->lock);
    free(s->scratch);
}

static int find(struct sparse *s, uint64_t block, uint64_t *offset)
{
    pthread_mutex_lock(&s->lock);
    int r = s->ops->find(s, block, offset);
    pthread_mutex_unlock(&s->lock);
    return r;
}

/* The same, with how much from `at` on, at most length bytes, is known to be alike in one step. */
static int find_run(struct sparse *s, uint64_t at, uint64_t length, uint64_t *offset, uint64_t *take)
{
    uint64_t block = at / s->block_bytes, blocks = 1;
    pthread_mutex_lock(&s->lock);
    int r = s->ops->find(s, block, offset);
    if (!r && *offset >= SPARSE_ZERO && s->ops->run)
        blocks = s->ops->run(s, block);
    pthread_mutex_unlock(&s->lock);
    *take = MIN(length, blocks * s->block_bytes - at % s->block_bytes);
    return r;
}

static int change(struct sparse *s, uint64_t block, uint64_t offset)
{
    if (!s->ops->change)
        return 0;
    pthread_mutex_lock(&s->lock);
    int r = s->ops->change(s, block, offset);
    pthread_mutex_unlock(&s->lock);
    return r;
}

/* What a block that has no place reads as. */
static int hole_read(struct sparse *s, uint64_t at, const struct iovec *iov, int iovcnt)
{
    uint64_t length = block_iov_length(iov, iovcnt);
    uint64_t from = at + s->backing_offset, there = 0;
    int r = 0;
    if (s->backing && from < s->backing->size)
        there = MIN(length, s->backing->size - from);
    if (there) {
        struct iovec *part = malloc(sizeof(*part) * (size_t)iovcnt);
        if (!part)
            return -ENOMEM;
        int used = block_iov_slice(part, iov, iovcnt, 0, there);
        r = block_node_preadv(s->backing, from, part, used);
        free(part);
    }
    block_iov_zero(iov, iovcnt, there, length - there);
    return r;
}

static uint8_t *scratch_of(struct sparse *s)
{
    if (!s->scratch)
        s->scratch = malloc(s->block_bytes);
    return s->scratch;
}

/* A whole block as the disk has it, into the scratch buffer. */
static int block_load_locked(struct sparse *s, uint64_t block, uint64_t offset)
{
    struct iovec iov = { scratch_of(s), s->block_bytes };
    if (!iov.iov_base)
        return -ENOMEM;
    bool packed = offset < SPARSE_ZERO;
    if (packed && offset == s->scratch_offset)
        return 0;                   /* small reads of one block */
    s->scratch_offset = 0;
    if (offset == SPARSE_HOLE)
        return hole_read(s, block * s->block_bytes, &iov, 1);
    int r = packed ? s->ops->unpack(s, offset, s->scratch) : 0;
    if (!packed)
        memset(s->scratch, 0, s->block_bytes);
    else if (!r)
        s->scratch_offset = offset;
    return r;
}

static int packed_read(struct sparse *s, uint64_t block, size_t skip, const struct iovec *iov, int iovcnt)
{
    uint64_t offset;
    pthread_mutex_lock(&s->lock);
    int r = s->ops->find(s, block, &offset);
    if (!r)
        r = block_load_locked(s, block, offset);
    if (!r)
        block_iov_from(iov, iovcnt, 0, s->scratch + skip, block_iov_length(iov, iovcnt));
    pthread_mutex_unlock(&s->lock);
    return r;
}

static int piece_read(struct sparse *s, uint64_t at, const struct iovec *iov, int iovcnt)
{
    uint64_t block = at / s->block_bytes, skip = at % s->block_bytes, offset;
    if (s->ops->unpack)
        return packed_read(s, block, skip, iov, iovcnt);
    int r = find(s, block, &offset);
    if (r)
        return r;
    if (offset == SPARSE_HOLE)
        return hole_read(s, at, iov, iovcnt);
    if (offset == SPARSE_ZERO) {
        block_iov_zero(iov, iovcnt, 0, block_iov_length(iov, iovcnt));
        return 0;
    }
    return s->file->ops->preadv(s->file, offset + skip, iov, iovcnt);
}

/* The new block is to read as zeroes: past the file's end, growing it is enough. */
static int place_clean(struct sparse *s, uint64_t offset)
{
    int64_t size = s->file->ops->size(s->file);
    if (size < 0)
        return (int)size;
    if (offset >= (uint64_t)size && s->file->ops->truncate) {
        int r = s->file->ops->truncate(s->file, offset + s->block_bytes, BLOCK_PREALLOCATION_OFF);
        if (r != -ENOTSUP)
            return r;
    }
    return block_protocol_write_zeroes(s->file, offset, s->block_bytes, true);
}

/* A block gets a place, filled with what the disk had there and the new data. */
static int block_add_locked(struct sparse *s, uint64_t block, bool hole, size_t skip, const struct iovec *iov, int iovcnt)
{
    size_t length = block_iov_length(iov, iovcnt);
    uint64_t offset, start = block * s->block_bytes;
    int r = s->ops->allocate(s, block, &offset);
    if (!r && length < s->block_bytes) {
        if (hole && s->backing && start + s->backing_offset < s->backing->size) {
            r = block_load_locked(s, block, SPARSE_HOLE);
            if (!r)
                r = block_protocol_pwrite(s->file, offset, s->scratch, s->block_bytes);
        } else {
            r = place_clean(s, offset);
        }
    }
    if (!r)
        r = s->file->ops->pwritev(s->file, offset + skip, iov, iovcnt);
    if (!r)
        r = s->ops->commit(s, block, offset);
    s->dirty |= !r;
    return r;
}

static int packed_write_locked(struct sparse *s, uint64_t block, uint64_t offset, size_t skip, const struct iovec *iov,
                               int iovcnt)
{
    int r = block_load_locked(s, block, offset);
    if (r)
        return r;
    s->scratch_offset = 0;
    block_iov_to(iov, iovcnt, 0, s->scratch + skip, block_iov_length(iov, iovcnt));
    r = s->ops->pack(s, block, s->scratch);
    s->dirty |= !r;
    return r;
}

static int piece_write(struct sparse *s, uint64_t at, const struct iovec *iov, int iovcnt)
{
    uint64_t block = at / s->block_bytes, skip = at % s->block_bytes, offset;
    pthread_mutex_lock(&s->lock);
    int r = s->ops->find(s, block, &offset);
    bool in_place = !r && offset < SPARSE_ZERO && !s->ops->pack;
    if (!r && s->ops->pack)
        r = packed_write_locked(s, block, offset, skip, iov, iovcnt);
    else if (!r && !in_place)
        r = block_add_locked(s, block, offset == SPARSE_HOLE, skip, iov, iovcnt);
    else if (!r && s->ops->change)
        r = s->ops->change(s, block, offset);
    pthread_mutex_unlock(&s->lock);
    return in_place && !r ? s->file->ops->pwritev(s->file, offset + skip, iov, iovcnt) : r;
}

static int pieces(struct sparse *s, uint64_t offset, const struct iovec *iov, int iovcnt,
                  int (*run)(struct sparse *s, uint64_t at, const struct iovec *iov, int iovcnt))
{
    size_t length = block_iov_length(iov, iovcnt), done = 0;
    struct iovec few[FEW], *part = iovcnt <= FEW ? few : malloc(sizeof(*iov) * (size_t)iovcnt);
    int r = part ? 0 : -ENOMEM;
    while (!r && done < length) {
        uint64_t at = offset + done;
        size_t take = MIN(length - done, s->block_bytes - at % s->block_bytes);
        int used = block_iov_slice(part, iov, iovcnt, done, take);
        r = run(s, at, part, used);
        done += take;
    }
    if (part != few)
        free(part);
    return r;
}

int sparse_preadv(struct sparse *s, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    return pieces(s, offset, iov, iovcnt, piece_read);
}

int sparse_pwritev(struct sparse *s, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    return pieces(s, offset, iov, iovcnt, piece_write);
}

/* Zeroes as data, where no other way is. */
static int zeroes_write(struct sparse *s, uint64_t at, uint64_t length)
{
    uint8_t *zeroes = calloc(1, length);
    struct iovec iov = { zeroes, length };
    int r = zeroes ? piece_write(s, at, &iov, 1) : -ENOMEM;
    free(zeroes);
    return r;
}

int sparse_write_zeroes(struct sparse *s, uint64_t offset, uint64_t length, bool may_unmap)
{
    int r = 0;
    while (!r && length) {
        uint64_t skip = offset % s->block_bytes, place, take;
        r = find_run(s, offset, length, &place, &take);
        if (!r && place < SPARSE_ZERO && !s->ops->pack) {
            r = change(s, offset / s->block_bytes, place);
            if (!r)
                r = block_protocol_write_zeroes(s->file, place + skip, take, may_unmap);
        } else if (!r && place != SPARSE_ZERO && (place != SPARSE_HOLE || s->backing)) {
            take = MIN(take, s->block_bytes - skip);
            r = zeroes_write(s, offset, take);
        }
        offset += take;
        length -= take;
    }
    return r;
}

/* What has a place keeps it; its space in the host's file is given back. */
int sparse_discard(struct sparse *s, uint64_t offset, uint64_t length)
{
    int r = 0;
    while (!r && length) {
        uint64_t skip = offset % s->block_bytes, place, take;
        r = find_run(s, offset, length, &place, &take);
        if (!r && place < SPARSE_ZERO && !s->ops->pack)
            r = s->file->ops->discard(s->file, place + skip, take);
        offset += take;
        length -= take;
    }
    return r;
}

int sparse_flush(struct sparse *s)
{
    int r = 0;
    pthread_mutex_lock(&s->lock);
    if (s->dirty) {
        r = block_protocol_flush(s->file);
        if (!r)
            r = s->ops->sync(s);
        s->dirty = r != 0;
    }
    pthread_mutex_unlock(&s->lock);
    return r ? r : block_protocol_flush(s->file);
}

/* Neighbours of the same kind, one after the other in the file, count as one. */
int sparse_map(struct sparse *s, uint64_t offset, uint64_t length, struct block_map *map)
{
    uint64_t place, done = 0, take;
    int r = find_run(s, offset, length, &place, &take);
    if (r)
        return r;
    uint64_t skip = offset % s->block_bytes, first = place;
    bool stored = place < SPARSE_ZERO, packed = s->ops->unpack;
    while (done < length) {
        if (done && ((r = find_run(s, offset + done, length - done, &place, &take)) || (stored && (packed || place != first + skip + done)) ||
                     (!stored && place != first)))
            break;
        done += take;
    }
    map->length_bytes = done;
    map->present = first != SPARSE_HOLE || s->has_no_backing;
    map->data = stored;
    map->zero = !stored && (first == SPARSE_ZERO || !s->backing);
    map->compressed = stored && packed;
    map->has_offset = stored && !packed;
    map->offset = map->has_offset ? first + skip : 0;
    return 0;
}

int sparse_extent(struct sparse *s, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    struct block_map map = { 0 };
    int r = sparse_map(s, offset, length, &map);
    if (r)
        return r;
    *extent = (struct block_extent){ .length_bytes = map.length_bytes, .zero = map.zero, .hole = !map.data };
    uint64_t from = offset + s->backing_offset;
    if (!map.present && s->backing && from < s->backing->size) {
        uint64_t there = MIN(map.length_bytes, s->backing->size - from);
        r = block_extent_get(s->backing, from, there, extent);
    } else if (!map.present) {
        extent->zero = true;
    }
    return r;
}

uint64_t sparse_entries_alike(struct block_protocol *file, uint64_t offset, uint64_t count)
{
    uint64_t entry[512], alike = 1;
    count = MIN(count, (uint64_t)ARRAY_SIZE(entry));
    if (block_protocol_pread(file, offset, entry, count * sizeof(*entry)))
        return 1;                   /* find will say so */
    while (alike < count && entry[alike] == entry[0])
        alike++;
    return alike;
}

int sparse_grow_check(struct sparse *s)
{
    if (!s->cut_short)
        return 0;
    if (!s->cut_short_said)
        log_message("'%s': its table leads past the end of the file, which was cut short. No new blocks are put there, where they would "
                    "be taken for those that are missing; copy the image again, or convert what there is", s->file->filename);
    s->cut_short_said = true;
    return -EIO;
}

int sparse_node_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    return sparse_preadv(n->state, offset, iov, iovcnt);
}

int sparse_node_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    return sparse_pwritev(n->state, offset, iov, iovcnt);
}

int sparse_node_flush(struct block_node *n)
{
    return sparse_flush(n->state);
}

int sparse_node_discard(struct block_node *n, uint64_t offset, uint64_t length)
{
    return sparse_discard(n->state, offset, length);
}

int sparse_node_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap)
{
    return sparse_write_zeroes(n->state, offset, length, may_unmap);
}

int sparse_node_extent(struct block_node *n, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    return sparse_extent(n->state, offset, length, extent);
}

int sparse_node_map(struct block_node *n, uint64_t offset, uint64_t length, struct block_map *map)
{
    return sparse_map(n->state, offset, length, map);
}
