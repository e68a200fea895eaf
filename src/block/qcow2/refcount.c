/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Refcounts: how many tables refer to each cluster of the file. Widths from 1 to 64 bits. New refcount blocks
 * are put first into the range that they describe themselves; when the refcount table is full, a larger one
 * with the blocks for itself is written behind everything, and the header is switched over after a barrier.
 *
 * References are dropped later than they disappear from memory: the cluster must not be used again before the
 * table that pointed to it is safely overwritten.
 */
#include "block/qcow2/qcow2_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The index-th refcount of a block. */
static uint64_t value_get(const uint8_t *block, uint64_t index, unsigned order)
{
    switch (order) {
    case 0: case 1: case 2:
        return block[index >> (3 - order)] >> (index << order & 7) & (BIT(BIT(order)) - 1);
    case 3:
        return block[index];
    case 4:
        return be16_get(((const be16 *)block)[index]);
    case 5:
        return be32_get(((const be32 *)block)[index]);
    default:
        return be64_get(((const be64 *)block)[index]);
    }
}

void qcow2_refcount_put(uint8_t *block, uint64_t index, unsigned order, uint64_t value)
{
    switch (order) {
    case 0: case 1: case 2: {
        unsigned shift = (unsigned)(index << order & 7);
        uint8_t *byte = &block[index >> (3 - order)];
        *byte = (uint8_t)((*byte & ~((BIT(BIT(order)) - 1) << shift)) | value << shift);
        break;
    }
    case 3:
        block[index] = (uint8_t)value;
        break;
    case 4:
        ((be16 *)block)[index] = be16_make((uint16_t)value);
        break;
    case 5:
        ((be32 *)block)[index] = be32_make((uint32_t)value);
        break;
    default:
        ((be64 *)block)[index] = be64_make(value);
        break;
    }
}

/* The slice with a cluster's refcount; *slice is NULL where there is no block: all zero. */
static int slice_find(struct qcow2 *q, uint64_t cluster, struct qcow2_slice **slice, uint64_t *index)
{
    uint64_t per_block = qcow2_refcounts_per_block(q), block = cluster / per_block;
    *slice = NULL;
    if (block >= q->reftable_entries || !(q->reftable[block] & ~511ull))
        return 0;
    uint64_t offset = q->reftable[block] & ~511ull;
    if (offset & (q->cluster_size - 1) || offset >= QCOW2_HOST_MAX)
        return qcow2_corrupt(q, "entry %llu of its refcount table is malformed", (unsigned long long)block);
    uint64_t per_slice = (uint64_t)q->refcounts.slice_bytes * 8 >> q->refcount_order, in_block = cluster % per_block;
    *index = in_block % per_slice;
    return qcow2_cache_get_locked(q, &q->refcounts, offset + in_block / per_slice * q->refcounts.slice_bytes, slice);
}

int qcow2_refcount_get_locked(struct qcow2 *q, uint64_t cluster, uint64_t *value)
{
    struct qcow2_slice *s;
    uint64_t index = 0;
    int r = slice_find(q, cluster, &s, &index);
    *value = !r && s ? value_get(s->data, index, q->refcount_order) : 0;
    return r;
}

static int block_new(struct qcow2 *q, uint64_t block);

int qcow2_refcount_set_locked(struct qcow2 *q, uint64_t cluster, uint64_t value)
{
    struct qcow2_slice *s;
    uint64_t index;
    if (q->refcount_order < 6 && value >= BIT(BIT(q->refcount_order)))
        return -ERANGE;
    int r = slice_find(q, cluster, &s, &index);
    if (!r && !s) {
        r = block_new(q, cluster / qcow2_refcounts_per_block(q));
        if (!r)
            r = slice_find(q, cluster, &s, &index);
    }
    if (r)
        return r;
    qcow2_refcount_put(s->data, index, q->refcount_order, value);
    qcow2_cache_dirty(&q->refcounts, s);
    return 0;
}

void qcow2_reftable_set_locked(struct qcow2 *q, uint32_t block, uint64_t offset)
{
    q->reftable[block] = offset;
    if (q->reftable_dirty_from == q->reftable_dirty_to) {
        q->reftable_dirty_from = block;
        q->reftable_dirty_to = block + 1;
    }
    q->reftable_dirty_from = MIN(q->reftable_dirty_from, block);
    q->reftable_dirty_to = MAX(q->reftable_dirty_to, block + 1);
}

/* What a larger table must hold: itself and the blocks that count it, from cluster base on. */
struct growth {
    uint64_t base, blocks, table_clusters, entries;
};

static int growth_plan(struct qcow2 *q, uint64_t block, struct growth *g)
{
    uint64_t per_block = qcow2_refcounts_per_block(q), per_cluster = q->cluster_size / 8;
    uint64_t first = MAX(block, (uint64_t)q->reftable_entries);
    g->base = first * per_block;
    g->blocks = 1;
    for (;;) {
        uint64_t wanted = first + g->blocks + 1;
        wanted = MIN(wanted + wanted / 2, (uint64_t)QCOW2_MAX_REFTABLE_BYTES / 8);
        g->table_clusters = (MAX(wanted, first + g->blocks) + per_cluster - 1) / per_cluster;
        if (g->blocks * per_block >= g->blocks + g->table_clusters)
            break;
        g->blocks++;
    }
    g->entries = g->table_clusters * per_cluster;
    if (g->entries * 8 > QCOW2_MAX_REFTABLE_BYTES)
        return -EFBIG;
    if ((g->base + g->blocks * per_block) << q->cluster_bits >= QCOW2_HOST_MAX)
        return -EFBIG;
    return 0;
}

static int growth_write(struct qcow2 *q, const struct growth *g, const uint64_t *table)
{
    uint64_t per_block = qcow2_refcounts_per_block(q), used = g->blocks + g->table_clusters;
    uint8_t *block = malloc(q->cluster_size);
    be64 *out = malloc(g->entries * sizeof(*out));
    int r = block && out ? 0 : -ENOMEM;
    for (uint64_t b = 0; !r && b < g->blocks; b++) {
        memset(block, 0, q->cluster_size);
        for (uint64_t i = 0; i < per_block && b * per_block + i < used; i++)
            qcow2_refcount_put(block, i, q->refcount_order, 1);
        r = block_protocol_pwrite(q->file, (g->base + b) << q->cluster_bits, block, q->cluster_size);
    }
    for (uint64_t i = 0; !r && i < g->entries; i++)
        out[i] = be64_make(table[i]);
    if (!r)
        r = block_protocol_pwrite(q->file, (g->base + g->blocks) << q->cluster_bits, out, g->entries * sizeof(*out));
    /* The blocks that the new table names must be there before it counts. */
    if (!r)
        r = qcow2_cache_write_locked(q, &q->refcounts);
    qcow2_barrier_want(q);
    if (!r)
        r = qcow2_barrier_locked(q);
    if (!r) {
        r = qcow2_header_reftable_write(q, (g->base + g->blocks) << q->cluster_bits, (uint32_t)g->table_clusters);
        qcow2_barrier_want(q);
        r = qcow2_switch_end_locked(q, r ? r : qcow2_barrier_locked(q));
    }
    free(block);
    free(out);
    return r;
}

static int reftable_grow(struct qcow2 *q, uint64_t block)
{
    struct growth g;
    int r = growth_plan(q, block, &g);
    uint64_t *table = r ? NULL : calloc(g.entries, sizeof(*table));
    if (!r && qcow2_meta_overlaps(q, g.base << q->cluster_bits, (g.blocks + g.table_clusters) << q->cluster_bits)) {
        free(table);
        return qcow2_corrupt(q, "metadata lie behind what its refcount table counts");
    }
    if (r || !table)
        return r ? r : -ENOMEM;
    memcpy(table, q->reftable, q->reftable_entries * sizeof(*table));
    for (uint64_t b = 0; b < g.blocks; b++)
        table[g.base / qcow2_refcounts_per_block(q) + b] = (g.base + b) << q->cluster_bits;
    r = growth_write(q, &g, table);
    if (r) {
        free(table);
        return r;
    }
    uint64_t old = q->reftable_offset, old_bytes = (uint64_t)q->reftable_clusters << q->cluster_bits;
    for (size_t i = 0; i < q->meta.ranges.count; i++)
        if (q->meta.ranges.item[i].offset == old)
            q->meta.ranges.item[i] = (struct qcow2_extent){ (g.base + g.blocks) << q->cluster_bits,
                                                            g.table_clusters << q->cluster_bits };
    free(q->reftable);
    q->reftable = table;
    q->reftable_offset = (g.base + g.blocks) << q->cluster_bits;
    q->reftable_clusters = (uint32_t)g.table_clusters;
    q->reftable_entries = (uint32_t)g.entries;
    q->reftable_dirty_from = q->reftable_dirty_to = 0;
    for (uint64_t b = 0; b < g.blocks; b++)
        if (qcow2_meta_add(q, g.base + b))
            return -ENOMEM;
    return qcow2_free_later_locked(q, old, old_bytes);
}

/* Puts the missing block number `block` at the start of what it counts. */
static int block_new(struct qcow2 *q, uint64_t block)
{
    if (block >= q->reftable_entries)
        return reftable_grow(q, block);
    uint64_t cluster = block * qcow2_refcounts_per_block(q);
    uint64_t offset = cluster << q->cluster_bits;
    if (!cluster || offset >= QCOW2_HOST_MAX || qcow2_meta_overlaps(q, offset, q->cluster_size))
        return qcow2_corrupt(q, "refcount block %llu is missing", (unsigned long long)block);
    int r = block_protocol_write_zeroes(q->file, offset, q->cluster_size, false);
    if (r)
        return r;
    qcow2_cache_forget(&q->refcounts, offset, q->cluster_size);
    qcow2_barrier_want(q);
    r = qcow2_meta_add(q, cluster);
    if (r)
        return r;
    qcow2_reftable_set_locked(q, (uint32_t)block, offset);
    r = qcow2_refcount_set_locked(q, cluster, 1);
    if (r) {                        /* as if it had never been: it does not count itself */
        qcow2_reftable_set_locked(q, (uint32_t)block, 0);
        qcow2_meta_remove(q, cluster);
    }
    return r;
}

/*
 * Looks for free clusters from *cluster on in one slice and takes at most max of them. *cluster becomes the
 * first that was taken, or the first after the slice when there was none. -ENOENT: no refcount block.
 */
static int run_take(struct qcow2 *q, uint64_t *cluster, uint64_t max, uint64_t *taken)
{
    struct qcow2_slice *s;
    uint64_t index, count = 0, per_slice = (uint64_t)q->refcounts.slice_bytes * 8 >> q->refcount_order;
    int r = slice_find(q, *cluster, &s, &index);
    *taken = 0;
    if (r || !s)
        return r ? r : -ENOENT;
    for (; index < per_slice && value_get(s->data, index, q->refcount_order); index++)
        ++*cluster;
    while (count < max && index + count < per_slice && !value_get(s->data, index + count, q->refcount_order))
        count++;
    if (!count)
        return 0;
    if (qcow2_meta_overlaps(q, *cluster << q->cluster_bits, count << q->cluster_bits))
        return qcow2_corrupt(q, "metadata at cluster %llu have a refcount of 0", (unsigned long long)*cluster);
    for (uint64_t i = 0; i < count; i++)
        qcow2_refcount_put(s->data, index + i, q->refcount_order, 1);
    qcow2_cache_dirty(&q->refcounts, s);
    *taken = count;
    return 0;
}

int qcow2_allocate_locked(struct qcow2 *q, uint64_t max, uint64_t *offset, uint64_t *count)
{
    int r = qcow2_dirty_mark_locked(q);
    uint64_t cluster = q->free_hint;
    while (!r) {
        if ((cluster + max) << q->cluster_bits >= QCOW2_HOST_MAX)
            return -EFBIG;
        r = run_take(q, &cluster, max, count);
        if (r == -ENOENT)
            r = block_new(q, cluster / qcow2_refcounts_per_block(q));
        else if (!r && *count) {
            *offset = cluster << q->cluster_bits;
            q->free_hint = cluster + *count;
            return 0;
        }
    }
    return r;
}

/* What was taken on the way is given back only at the end, so that the search goes on. */
int qcow2_allocate_run_locked(struct qcow2 *q, uint64_t clusters, uint64_t *offset)
{
    struct qcow2_extents passed = { 0 };
    uint64_t have = 0, at = 0, count;
    int r = 0;
    while (!r && have < clusters) {
        r = qcow2_allocate_locked(q, clusters - have, &at, &count);
        if (r)
            break;
        if (have && at != *offset + (have << q->cluster_bits)) {
            r = qcow2_extents_add(&passed, *offset, have);
            have = 0;
        }
        if (!have)
            *offset = at;
        have += count;
    }
    if (r && have)
        qcow2_allocation_undo_locked(q, *offset, have);
    for (size_t i = 0; i < passed.count; i++)
        qcow2_allocation_undo_locked(q, passed.item[i].offset, passed.item[i].length);
    free(passed.item);
    return r;
}

void qcow2_allocation_undo_locked(struct qcow2 *q, uint64_t offset, uint64_t count)
{
    uint64_t first = offset >> q->cluster_bits;
    for (uint64_t i = 0; i < count; i++)
        qcow2_refcount_set_locked(q, first + i, 0);
    q->free_hint = MIN(q->free_hint, first);
}

int qcow2_free_later_locked(struct qcow2 *q, uint64_t offset, uint64_t length)
{
    struct qcow2_extent *last = q->frees.count ? &q->frees.item[q->frees.count - 1] : NULL;
    if (last && last->offset + last->length == offset && !(offset & (q->cluster_size - 1))) {
        last->length += length;
        return 0;
    }
    return qcow2_extents_add(&q->frees, offset, length);
}

void qcow2_cluster_release_locked(struct qcow2 *q, uint64_t cluster)
{
    uint64_t value;
    if (qcow2_refcount_get_locked(q, cluster, &value))
        return;
    if (!value) {
        qcow2_corrupt(q, "cluster %llu is freed more often than it is used", (unsigned long long)cluster);
        return;
    }
    if (value == 1 && qcow2_meta_overlaps(q, cluster << q->cluster_bits, q->cluster_size)) {
        qcow2_corrupt(q, "metadata at cluster %llu would be given up", (unsigned long long)cluster);
        return;
    }
    if (qcow2_refcount_set_locked(q, cluster, value - 1) || value > 1)
        return;
    qcow2_cache_forget(&q->l2, cluster << q->cluster_bits, q->cluster_size);
    qcow2_cache_forget(&q->refcounts, cluster << q->cluster_bits, q->cluster_size);
    qcow2_cache_forget(&q->bits, cluster << q->cluster_bits, q->cluster_size);
    q->free_hint = MIN(q->free_hint, cluster);
    pthread_mutex_lock(&q->unpack_lock);
    q->unpacked_entry = 0;          /* the same place may hold something else soon */
    pthread_mutex_unlock(&q->unpack_lock);
    if (q->packed_at >> q->cluster_bits == cluster)
        q->packed_at = 0;
    if (q->node->discard)
        q->file->ops->discard(q->file, cluster << q->cluster_bits, q->cluster_size);
}

void qcow2_frees_apply_locked(struct qcow2 *q, struct qcow2_extents *e)
{
    for (size_t i = 0; i < e->count; i++) {
        uint64_t last = (e->item[i].offset + e->item[i].length - 1) >> q->cluster_bits;
        for (uint64_t c = e->item[i].offset >> q->cluster_bits; c <= last; c++)
            qcow2_cluster_release_locked(q, c);
    }
    free(e->item);
    *e = (struct qcow2_extents){ 0 };
}
