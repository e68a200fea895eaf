/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing compressed clusters. Packing runs outside of all locks, so that several threads can do it at once. Packed data
 * lie one behind the other, byte by byte, across cluster borders where the next cluster happens to be free; each counts
 * as a reference to every cluster of the file it touches. What does not shrink is written as it is.
 */
#include "block/qcow2/whole.h"

#include "block/qcow2/bitmap.h"
#include "block/qcow2/packer.h"

#include <errno.h>

/* One more packed cluster in the file cluster that is being filled; false: it cannot be counted. */
static bool share_locked(struct qcow2 *q)
{
    uint64_t cluster = q->packed_at >> q->cluster_bits, count;
    return !qcow2_refcount_get_locked(q, cluster, &count) && count && !qcow2_refcount_set_locked(q, cluster, count + 1);
}

static int bytes_place_locked(struct qcow2 *q, size_t bytes, uint64_t *at)
{
    uint64_t end = ALIGN_UP(q->packed_at, q->cluster_size), fresh, count;
    if (q->packed_at != end && end - q->packed_at >= bytes && share_locked(q)) {
        *at = q->packed_at;
    } else {
        int r = qcow2_allocate_locked(q, 1, &fresh, &count);
        if (r)
            return r;
        *at = q->packed_at != end && fresh == end && end - q->packed_at < bytes && share_locked(q) ? q->packed_at : fresh;
    }
    q->packed_at = *at + bytes;
    return 0;
}

static void bytes_give_back_locked(struct qcow2 *q, uint64_t at, size_t bytes)
{
    for (uint64_t c = at >> q->cluster_bits; c <= (at + bytes - 1) >> q->cluster_bits; c++)
        qcow2_cluster_release_locked(q, c);
}

/* *linked: the packed data are part of the disk, whatever is returned. */
static int link_locked(struct qcow2 *q, uint64_t offset, uint64_t at, size_t bytes, bool *linked)
{
    struct qcow2_entry old;
    unsigned split = 62 - (q->cluster_bits - 8);
    uint64_t sectors = ((at + bytes - 1) >> 9) - (at >> 9);
    const struct qcow2_entry e = { .word = QCOW2_COMPRESSED | sectors << split | at };
    int r = at >> split ? -EFBIG : qcow2_entry_get_locked(q, offset, &old);
    qcow2_barrier_want(q);
    if (!r)
        r = qcow2_entry_set_locked(q, offset, e);
    *linked = !r;
    return r ? r : qcow2_entry_free_locked(q, old);
}

static int packed_write(struct qcow2 *q, uint64_t offset, const uint8_t *data, size_t bytes)
{
    struct qcow2_range range;
    uint64_t at = 0;
    qcow2_range_lock(q, &range, offset, q->cluster_size, true);
    pthread_mutex_lock(&q->lock);
    int r = q->corrupt ? -EIO : bytes_place_locked(q, bytes, &at);
    pthread_mutex_unlock(&q->lock);
    bool placed = !r, linked = false;
    if (!r)
        r = block_protocol_pwrite(q->file, at, data, bytes);
    pthread_mutex_lock(&q->lock);
    if (!r)
        r = link_locked(q, offset, at, bytes, &linked);
    if (placed && !linked)
        bytes_give_back_locked(q, at, bytes);
    bool many = q->frees.count > 4096;
    pthread_mutex_unlock(&q->lock);
    qcow2_range_unlock(q, &range);
    return !r && many ? qcow2_flush(q) : r;
}

int qcow2_write_compressed(struct block_node *n, uint64_t offset, const void *data, size_t length)
{
    struct qcow2 *q = n->state;
    if (q->data_external || q->crypt_method)
        return -ENOTSUP;
    if (offset & (q->cluster_size - 1) || length > q->cluster_size ||
        (length < q->cluster_size && offset + length != n->size))
        return -EINVAL;
    int r = qcow2_write_begin(q);
    if (!r)
        r = qcow2_bitmaps_mark(q, offset, length);
    if (r)
        return r;
    struct qcow2_packer *packer;
    size_t bytes;
    const uint8_t *packed = qcow2_packer_pack(&q->packers, q, data, length, &packer, &bytes);
    if (!packed)
        return -ENOMEM;
    struct iovec iov = { (void *)(uintptr_t)data, length };
    r = bytes ? packed_write(q, offset, packed, bytes) : qcow2_data_write(q, offset, &iov, 1);
    qcow2_packer_done(&q->packers, packer);
    return r;
}

/* Readers take whole sectors: the last one must be there. */
int qcow2_packed_end_locked(struct qcow2 *q)
{
    int64_t size = q->file->ops->size(q->file);
    uint64_t end = ALIGN_UP(q->packed_at, 512ull);
    static const uint8_t zeroes[512];
    if (!q->packed_at || size < 0 || (uint64_t)size >= end)
        return 0;
    qcow2_barrier_want(q);
    return block_protocol_pwrite(q->file, (uint64_t)size, zeroes, end - (uint64_t)size);
}
