/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For changes that want the whole disk for themselves: everybody waits, everything is on the disk before they begin. */
#include "block/qcow2/whole.h"

#include "block/qcow2/bitmap.h"

#include <errno.h>
#include <stdlib.h>

int qcow2_whole_begin(struct qcow2 *q, struct qcow2_range *range)
{
    int r = qcow2_write_begin(q);
    if (r)
        return r;
    qcow2_range_lock(q, range, 0, MAX(q->node->size, 512ull), true);
    r = qcow2_flush(q);
    pthread_mutex_lock(&q->lock);
    if (!r && q->corrupt)
        r = -EIO;
    if (!r)
        r = qcow2_bitmaps_store_locked(q);
    if (r)
        qcow2_whole_end(q, range);
    return r;
}

void qcow2_whole_end(struct qcow2 *q, struct qcow2_range *range)
{
    pthread_mutex_unlock(&q->lock);
    qcow2_range_unlock(q, range);
}

int qcow2_settle_locked(struct qcow2 *q)
{
    int r = qcow2_refcounts_write_locked(q);
    qcow2_barrier_want(q);
    if (!r)
        r = qcow2_barrier_locked(q);
    if (!r)
        r = qcow2_tables_write_locked(q);
    qcow2_barrier_want(q);
    return r ? r : qcow2_barrier_locked(q);
}

int qcow2_l1_write_locked(struct qcow2 *q, const uint64_t *l1, uint32_t entries, uint64_t *offset)
{
    uint64_t clusters = (entries * 8ull + q->cluster_size - 1) >> q->cluster_bits;
    *offset = 0;
    int r = clusters ? qcow2_allocate_run_locked(q, clusters, offset) : 0;
    be64 *out = r || !clusters ? NULL : calloc(clusters, q->cluster_size);
    if (r || !clusters)
        return r;
    for (uint32_t i = 0; out && i < entries; i++)
        out[i] = be64_make(l1[i]);
    r = out ? block_protocol_pwrite(q->file, *offset, out, clusters << q->cluster_bits) : -ENOMEM;
    free(out);
    if (!r)
        r = qcow2_extents_add(&q->meta.ranges, *offset, clusters << q->cluster_bits);
    if (r)
        qcow2_allocation_undo_locked(q, *offset, clusters);
    return r;
}

void qcow2_l1_release_locked(struct qcow2 *q, uint64_t offset, uint32_t entries)
{
    qcow2_meta_range_remove(q, offset);
    for (uint64_t at = 0; at < entries * 8ull; at += q->cluster_size)
        qcow2_cluster_release_locked(q, (offset + at) >> q->cluster_bits);
}

void qcow2_tail_cut_locked(struct qcow2 *q)
{
    int64_t size = q->file->ops->size(q->file);
    uint64_t count = 0;
    if (size <= 0 || !q->file->ops->truncate)
        return;
    uint64_t last = ((uint64_t)size + q->cluster_size - 1) >> q->cluster_bits, was = last;
    while (last && !qcow2_refcount_get_locked(q, last - 1, &count) && !count)
        last--;
    if (last && last < was)
        q->file->ops->truncate(q->file, last << q->cluster_bits, BLOCK_PREALLOCATION_OFF);
}
