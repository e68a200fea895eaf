/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Discard and write zeroes. Whole clusters (with extended L2 entries: subclusters) become zero by a flag in
 * their L2 entry; the ends of the request are written. Discard leaves the ends alone. Version 2 has no flag:
 * there a cluster can only be dropped when no backing file would show through, else zeroes are written. An
 * external data file that is to be a raw image too gets the zeroes written.
 */
#include "block/qcow2/write.h"

#include "block/qcow2/bitmap.h"

#include <errno.h>
#include <stdlib.h>

#define ZERO_CHUNK_BYTES (1u << 20)

static int zeroes_write(struct qcow2 *q, uint64_t offset, uint64_t length)
{
    size_t chunk = MIN(length, (uint64_t)ZERO_CHUNK_BYTES);
    uint8_t *zeroes = calloc(1, chunk);
    int r = zeroes ? 0 : -ENOMEM;
    while (!r && length) {
        size_t take = MIN(length, (uint64_t)chunk);
        struct iovec iov = { zeroes, take }, scratch[3];
        const struct qcow2_io io = { .offset = offset, .length = take, .iov = &iov, .iovcnt = 1, .scratch = scratch };
        r = qcow2_write_exclusive(q, &io, 0);
        offset += take;
        length -= take;
    }
    free(zeroes);
    return r;
}

/* Part of one cluster. */
static int part_zero(struct qcow2 *q, uint64_t offset, uint64_t length)
{
    struct qcow2_entry e;
    bool zero = true;
    pthread_mutex_lock(&q->lock);
    int r = qcow2_entry_get_locked(q, offset, &e);
    pthread_mutex_unlock(&q->lock);
    if (r || !length)
        return r;
    uint64_t in = offset & (q->cluster_size - 1);
    for (unsigned sub = (unsigned)(in >> q->sub_bits); zero && (uint64_t)sub << q->sub_bits < in + length; sub++) {
        enum qcow2_kind k = qcow2_entry_kind(q, e, sub);
        zero = k == QCOW2_ZEROES || (k == QCOW2_UNALLOCATED && qcow2_below_is_zero(q, offset));
    }
    return zero && !q->data_raw ? 0 : zeroes_write(q, offset, length);
}

/* Subclusters [first, end) of a cluster that is not compressed. */
static int subclusters_zero(struct qcow2 *q, uint64_t cluster, unsigned first, unsigned end)
{
    struct qcow2_entry e;
    uint64_t bits = (BIT(end) - 1) & ~(BIT(first) - 1);
    pthread_mutex_lock(&q->lock);
    int r = q->corrupt ? -EIO : qcow2_entry_get_locked(q, cluster, &e);
    bool packed = !r && e.word & QCOW2_COMPRESSED;
    if (!r && !packed) {
        e.bitmap = (e.bitmap & ~bits) | bits << 32;
        r = qcow2_entry_set_locked(q, cluster, e);
    }
    pthread_mutex_unlock(&q->lock);
    if (!r && packed)
        r = part_zero(q, cluster + ((uint64_t)first << q->sub_bits), (uint64_t)(end - first) << q->sub_bits);
    return r;
}

/* Bytes inside one cluster, less than all of it. */
static int piece_zero(struct qcow2 *q, uint64_t offset, uint64_t length)
{
    if (!q->extended || q->data_raw)
        return part_zero(q, offset, length);
    uint64_t cluster = ALIGN_DOWN(offset, q->cluster_size), sub = BIT(q->sub_bits);
    uint64_t from = ALIGN_UP(offset, sub), to = ALIGN_DOWN(offset + length, sub);
    if (from >= to)
        return part_zero(q, offset, length);
    int r = from > offset ? part_zero(q, offset, from - offset) : 0;
    if (!r)
        r = subclusters_zero(q, cluster, (unsigned)((from - cluster) >> q->sub_bits),
                             (unsigned)((to - cluster) >> q->sub_bits));
    if (!r && to < offset + length)
        r = part_zero(q, to, offset + length - to);
    return r;
}

static struct qcow2_entry zero_entry(const struct qcow2 *q, uint64_t kept)
{
    struct qcow2_entry e = { .word = kept };
    if (q->extended)
        e.bitmap = 0xffffffffull << 32;
    else
        e.word |= QCOW2_ZERO;
    return e;
}

/* A whole cluster; unmap: its place in the file is given back, plain: it may become unallocated. */
static int cluster_zero_locked(struct qcow2 *q, uint64_t cluster, bool unmap)
{
    struct qcow2_entry old, e = { 0 };
    int r = qcow2_entry_get_locked(q, cluster, &old);
    if (r)
        return r;
    if (!old.word && !old.bitmap && qcow2_below_is_zero(q, cluster))
        return 0;
    bool keeps = !unmap && qcow2_entry_is_owned(q, old);
    if (keeps)
        e = zero_entry(q, old.word & (QCOW2_OFFSET_MASK | QCOW2_COPIED));
    else if (!unmap || !qcow2_below_is_zero(q, cluster))
        e = zero_entry(q, 0);
    r = qcow2_entry_set_locked(q, cluster, e);
    if (!r && !keeps)
        r = qcow2_entry_free_locked(q, old);
    return r;
}

static bool can_flag(const struct qcow2 *q, uint64_t cluster, bool unmap)
{
    if (q->data_raw)
        return false;
    return q->version >= 3 || (unmap && qcow2_below_is_zero(q, cluster));
}

/* What has no L2 table and no backing file below is zero already: where that ends. Huge empty disks go by in one step. */
static uint64_t empty_end_locked(const struct qcow2 *q, uint64_t cluster, uint64_t end)
{
    unsigned shift = q->cluster_bits + q->l2_bits;
    uint64_t index = cluster >> shift;
    if (!qcow2_below_is_zero(q, cluster))
        return cluster;
    while (cluster < end && index < q->l1_entries && !(q->l1[index] & QCOW2_OFFSET_MASK))
        cluster = ++index << shift;
    return MIN(cluster, end);
}

static int clusters_zero(struct qcow2 *q, uint64_t offset, uint64_t length, bool unmap, bool discard)
{
    int r = 0;
    for (uint64_t c = offset; !r && c < offset + length; c += q->cluster_size) {
        pthread_mutex_lock(&q->lock);
        uint64_t next = q->data_external ? c : empty_end_locked(q, c, offset + length);
        pthread_mutex_unlock(&q->lock);
        if (next > c) {
            c = next - q->cluster_size;
            continue;
        }
        if (!can_flag(q, c, unmap)) {
            if (!discard)
                r = zeroes_write(q, c, MIN(q->cluster_size, q->node->size - c));
            continue;
        }
        pthread_mutex_lock(&q->lock);
        r = q->corrupt ? -EIO : cluster_zero_locked(q, c, unmap);
        bool many = q->frees.count > 4096;
        pthread_mutex_unlock(&q->lock);
        if (!r && many)
            r = qcow2_flush(q);
        if (!r && unmap && q->data_external)
            r = q->data->ops->discard(q->data, c, q->cluster_size);
    }
    return r;
}

/* Behind the end of the disk there is nothing to keep: a last cluster that is cut off counts as whole. */
static int zero(struct qcow2 *q, uint64_t offset, uint64_t length, bool unmap, bool discard)
{
    struct qcow2_range range;
    uint64_t end = offset + length;
    uint64_t whole_end = end == q->node->size ? ALIGN_UP(end, q->cluster_size) : ALIGN_DOWN(end, q->cluster_size);
    int r = 0;
    qcow2_range_lock(q, &range, offset, length, true);
    for (uint64_t at = offset; !r && at < end;) {
        uint64_t next = ALIGN_DOWN(at, q->cluster_size) + q->cluster_size;
        if (!(at & (q->cluster_size - 1)) && at < whole_end) {
            next = whole_end;
            r = clusters_zero(q, at, next - at, unmap, discard);
        } else if (!discard) {
            r = piece_zero(q, at, MIN(next, end) - at);
        }
        at = next;
    }
    qcow2_range_unlock(q, &range);
    return r;
}

int qcow2_data_zero(struct qcow2 *q, uint64_t offset, uint64_t length, bool may_unmap)
{
    return zero(q, offset, length, may_unmap, false);
}

int qcow2_data_discard(struct qcow2 *q, uint64_t offset, uint64_t length)
{
    return zero(q, offset, length, true, true);
}

static int begin(struct qcow2 *q, uint64_t offset, uint64_t length)
{
    int r = qcow2_write_begin(q);
    return r ? r : qcow2_bitmaps_mark(q, offset, length);
}

int qcow2_discard(struct block_node *n, uint64_t offset, uint64_t length)
{
    int r = begin(n->state, offset, length);
    return r ? r : qcow2_data_discard(n->state, offset, length);
}

int qcow2_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap)
{
    int r = begin(n->state, offset, length);
    return r ? r : qcow2_data_zero(n->state, offset, length, may_unmap);
}
