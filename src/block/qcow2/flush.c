/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is written when. Tables are changed in memory and go to the disk in this order, a barrier (fdatasync)
 * between steps where the later relies on the earlier one:
 *
 *   1. refcount blocks (counts that went up), and before them, on their own, the data of new clusters
 *   2. entries of the refcount table that name new blocks
 *   3. L2 tables
 *   4. entries of the L1 table that name new L2 tables
 *   5. after one more barrier: counts that go down
 *
 * A power cut between any two writes leaves at most clusters that are counted and not used. With lazy
 * refcounts steps 1 and 2 wait until the image is closed; a bit in the header says so, set before the first
 * allocation, and whoever opens the image after a crash counts anew (repair.c).
 */
#include "block/qcow2/bitmap.h"

#include <errno.h>
#include <stdlib.h>

static int both_flush(struct qcow2 *q)
{
    int r = block_protocol_flush(q->file);
    if (!r && q->data != q->file)
        r = block_protocol_flush(q->data);
    return r;
}

int qcow2_barrier_locked(struct qcow2 *q)
{
    if (!q->barrier_needed)
        return 0;
    int r = both_flush(q);
    if (!r)
        q->barrier_needed = false;
    return r;
}

int qcow2_words_write(struct qcow2 *q, uint64_t offset, const uint64_t *table, uint32_t *from, uint32_t *to)
{
    uint32_t count = *to - *from;
    be64 *out = malloc(count * sizeof(*out));
    if (!out)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        out[i] = be64_make(table[*from + i]);
    int r = block_protocol_pwrite(q->file, offset + *from * 8ull, out, count * sizeof(*out));
    free(out);
    if (!r)
        *from = *to = 0;
    return r;
}

int qcow2_refcounts_write_locked(struct qcow2 *q)
{
    int r = qcow2_cache_write_locked(q, &q->refcounts);
    if (r || q->reftable_dirty_from == q->reftable_dirty_to)
        return r;
    r = qcow2_barrier_locked(q);
    if (!r)
        r = qcow2_words_write(q, q->reftable_offset, q->reftable, &q->reftable_dirty_from, &q->reftable_dirty_to);
    qcow2_barrier_want(q);
    return r;
}

int qcow2_tables_write_locked(struct qcow2 *q)
{
    int r = 0;
    if (q->corrupt)
        return -EIO;
    if (!q->lazy)
        r = qcow2_refcounts_write_locked(q);
    if (!r && q->l2.dirty) {
        r = qcow2_barrier_locked(q);
        if (!r)
            r = qcow2_cache_write_locked(q, &q->l2);
    }
    if (!r && q->l1_dirty_from != q->l1_dirty_to) {
        qcow2_barrier_want(q);
        r = qcow2_barrier_locked(q);
        if (!r)
            r = qcow2_words_write(q, q->l1_offset, q->l1, &q->l1_dirty_from, &q->l1_dirty_to);
    }
    return r;
}

/*
 * Makes the barrier before the L2 tables without the lock, so that others can go on. It counts unless
 * somebody wrote data for a new cluster meanwhile; then the one under the lock has little left to do.
 */
static int barrier_ahead_locked(struct qcow2 *q)
{
    int r = q->lazy ? 0 : qcow2_refcounts_write_locked(q);
    uint64_t wants = q->barrier_wants;
    if (r || !q->barrier_needed)
        return r;
    pthread_mutex_unlock(&q->lock);
    r = both_flush(q);
    pthread_mutex_lock(&q->lock);
    if (!r && wants == q->barrier_wants)
        q->barrier_needed = false;
    return r;
}

/* The last barrier is made without the lock too. References that were dropped before it may then go. */
int qcow2_flush(struct qcow2 *q)
{
    struct qcow2_extents frees = { 0 };
    if (q->node->readonly)
        return 0;
    pthread_mutex_lock(&q->lock);
    int r = q->corrupt ? -EIO : 0;
    if (!r && q->l2.dirty)
        r = barrier_ahead_locked(q);
    if (!r)
        r = qcow2_tables_write_locked(q);
    if (!r) {
        frees = q->frees;
        q->frees = (struct qcow2_extents){ 0 };
    }
    uint64_t wants = q->barrier_wants;
    pthread_mutex_unlock(&q->lock);
    if (r)
        return r;
    r = both_flush(q);
    pthread_mutex_lock(&q->lock);
    if (!r && wants == q->barrier_wants)
        q->barrier_needed = false;
    if (!r)
        qcow2_frees_apply_locked(q, &frees);
    for (size_t i = 0; i < frees.count; i++)
        qcow2_extents_add(&q->frees, frees.item[i].offset, frees.item[i].length);
    pthread_mutex_unlock(&q->lock);
    free(frees.item);
    return r;
}

int qcow2_dirty_mark_locked(struct qcow2 *q)
{
    if (!q->lazy || q->dirty_marked)
        return 0;
    q->incompatible |= QCOW2_INCOMPAT_DIRTY;
    int r = qcow2_header_features_write(q);
    if (!r)
        r = block_protocol_flush(q->file);
    q->dirty_marked = !r;
    return r;
}

/* After the flush all is on the disk but what it leaves to do: counts that went down, the end of bitmaps, padding. */
int qcow2_close_flush(struct qcow2 *q)
{
    int r = qcow2_flush(q);
    pthread_mutex_lock(&q->lock);
    if (!r && !q->corrupt)
        r = qcow2_bitmaps_store_locked(q);
    if (!r && !q->corrupt)
        r = qcow2_refcounts_write_locked(q);
    if (!r)
        r = qcow2_packed_end_locked(q);
    if (!r)
        r = qcow2_barrier_locked(q);
    if (!r && q->dirty_marked && !q->corrupt) {
        q->incompatible &= ~QCOW2_INCOMPAT_DIRTY;
        r = qcow2_header_features_write(q);
        if (!r)
            r = block_protocol_flush(q->file);
        q->dirty_marked = r != 0;
    }
    pthread_mutex_unlock(&q->lock);
    return r;
}
