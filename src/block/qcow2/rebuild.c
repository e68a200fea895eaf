/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A new refcount table with new blocks, written behind everything that is in use: for images whose refcount structure
 * cannot be used. Blocks are made from the census, window by window, and lie one behind the other, then come blocks for
 * the new clusters themselves, then the table. The block in whose range the new clusters begin counts old ones too and waits
 * until it is known how many there are. The header is switched over when all of it is on the disk.
 *
 * While entries of other tables are malformed, what they led to is not given up: clusters of the file that were counted, or whose
 * counts cannot be read, stay counted.
 */
#include "block/qcow2/census.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct rebuild {
    struct qcow2_census *c;
    uint64_t *table, entries;
    uint64_t base, used;            /* the new clusters: from here on, so many */
    uint64_t malformed, file_clusters;      /* of the image as it was */
    uint8_t *shared;                /* the block that counts the last old clusters and the first new ones */
};

/* Windows end where a block ends. */
static int window_take(struct rebuild *b)
{
    struct qcow2_census *c = b->c;
    uint64_t per_block = qcow2_refcounts_per_block(c->q);
    int r = qcow2_census_take(c);
    if (!r && c->end != UINT64_MAX) {
        c->end = ALIGN_DOWN(c->end, per_block);
        if (c->end <= c->start)
            return -EFBIG;
    }
    return r;
}

/* What the census has, or more, where malformed entries may have led. Counts that are too high to be true may be no counts. */
static uint64_t count_of(struct rebuild *b, uint64_t cluster)
{
    struct qcow2 *q = b->c->q;
    uint64_t count = qcow2_census_count(b->c, cluster), block = cluster / qcow2_refcounts_per_block(q), stored = 0;
    if (!b->malformed || cluster >= b->file_clusters)
        return count;
    uint64_t at = block < q->reftable_entries ? q->reftable[block] : 0;
    bool readable = at && !(at & (q->cluster_size - 1)) && at < b->file_clusters << q->cluster_bits &&
                    !qcow2_refcount_get_locked(q, cluster, &stored);
    return readable ? MAX(count, MIN(stored, count + b->malformed)) : MAX(count, 1ull);
}

static bool counts_fill(struct rebuild *b, uint64_t block, int *r)
{
    struct qcow2 *q = b->c->q;
    uint64_t per_block = qcow2_refcounts_per_block(q);
    bool used = false;
    memset(b->c->cluster, 0, q->cluster_size);
    for (uint64_t i = 0; i < per_block && !*r; i++) {
        uint64_t count = count_of(b, block * per_block + i);
        if (count && q->refcount_order < 6 && count >= BIT(BIT(q->refcount_order)))
            *r = -ERANGE;
        if (count)
            qcow2_refcount_put(b->c->cluster, i, q->refcount_order, count);
        used |= count != 0;
    }
    return used;
}

static int counts_write(struct rebuild *b, uint64_t block)
{
    struct qcow2 *q = b->c->q;
    int r = 0;
    if (!counts_fill(b, block, &r) || r)
        return r;
    if (block >= b->entries)
        return -EFBIG;
    if (block == b->base / qcow2_refcounts_per_block(q)) {
        memcpy(b->shared, b->c->cluster, q->cluster_size);
        return 0;
    }
    b->table[block] = (b->base + b->used++) << q->cluster_bits;
    return block_protocol_pwrite(q->file, b->table[block], b->c->cluster, q->cluster_size);
}

/* Where a count may not be zero. */
static uint64_t next_counted(struct rebuild *b, uint64_t cluster)
{
    const struct qcow2 *q = b->c->q;
    uint64_t per_block = qcow2_refcounts_per_block(q), next = qcow2_census_next(b->c, cluster), block = cluster / per_block;
    uint64_t end = MIN(next, b->file_clusters);
    for (; b->malformed && block < q->reftable_entries && MAX(cluster, block * per_block) < end; block++)
        if (q->reftable[block])
            return MAX(cluster, block * per_block);
    return next;
}

static int old_blocks_write(struct rebuild *b)
{
    struct qcow2_census *c = b->c;
    uint64_t per_block = qcow2_refcounts_per_block(c->q);
    int r = 0;
    for (c->start = 0; !r; c->start = c->end) {
        r = window_take(b);
        uint64_t i = r ? UINT64_MAX : next_counted(b, c->start);
        while (!r && i < c->end && i != UINT64_MAX) {
            r = counts_write(b, i / per_block);
            i = next_counted(b, (i / per_block + 1) * per_block);
        }
        if (c->end == UINT64_MAX)
            break;
    }
    c->start = 0;
    return r;
}

/* The blocks that count the new clusters, and the table. */
static int own_blocks_write(struct rebuild *b, uint64_t *table_clusters, uint64_t *table_at)
{
    struct qcow2 *q = b->c->q;
    uint64_t per_block = qcow2_refcounts_per_block(q), per_cluster = q->cluster_size / 8;
    uint64_t first = b->base / per_block, skip = b->base % per_block, own = 1, total;
    int r = 0;
    for (;; own++) {
        *table_clusters = (first + own + per_cluster) / per_cluster;
        total = b->used + own + *table_clusters;
        if (own * per_block >= skip + total)
            break;
    }
    if ((first + own) > b->entries || *table_clusters << q->cluster_bits > QCOW2_MAX_REFTABLE_BYTES)
        return -EFBIG;
    for (uint64_t k = 0; !r && k < own; k++) {
        memset(b->c->cluster, 0, q->cluster_size);
        if (!k)
            memcpy(b->c->cluster, b->shared, q->cluster_size);
        for (uint64_t i = k ? 0 : skip; i < per_block && k * per_block + i < skip + total; i++)
            qcow2_refcount_put(b->c->cluster, i, q->refcount_order, 1);
        b->table[first + k] = (b->base + b->used + k) << q->cluster_bits;
        r = block_protocol_pwrite(q->file, b->table[first + k], b->c->cluster, q->cluster_size);
    }
    *table_at = b->base + b->used + own;
    return r;
}

static int table_write(struct rebuild *b, uint64_t offset, uint64_t entries)
{
    struct qcow2 *q = b->c->q;
    be64 *out = malloc(entries * sizeof(*out));
    if (!out)
        return -ENOMEM;
    for (uint64_t i = 0; i < entries; i++)
        out[i] = be64_make(b->table[i]);
    int r = block_protocol_pwrite(q->file, offset, out, entries * sizeof(*out));
    free(out);
    return r;
}

static int rebuild_write(struct rebuild *b)
{
    struct qcow2 *q = b->c->q;
    uint64_t clusters, at;
    int r = old_blocks_write(b);
    if (!r)
        r = own_blocks_write(b, &clusters, &at);
    if (!r)
        r = table_write(b, at << q->cluster_bits, clusters * q->cluster_size / 8);
    qcow2_barrier_want(q);
    if (!r)
        r = qcow2_barrier_locked(q);
    if (!r) {
        r = qcow2_header_reftable_write(q, at << q->cluster_bits, (uint32_t)clusters);
        qcow2_barrier_want(q);
        r = qcow2_switch_end_locked(q, r ? r : qcow2_barrier_locked(q));
    }
    if (r)
        return r;
    free(q->reftable);
    q->reftable = b->table;
    b->table = NULL;
    q->reftable_offset = at << q->cluster_bits;
    q->reftable_clusters = (uint32_t)clusters;
    q->reftable_entries = (uint32_t)(clusters * q->cluster_size / 8);
    q->reftable_dirty_from = q->reftable_dirty_to = 0;
    return 0;
}

int qcow2_refcounts_replace(struct qcow2_census *c, struct error *err)
{
    struct qcow2 *q = c->q;
    struct rebuild b = { .c = c, .entries = QCOW2_MAX_REFTABLE_BYTES / 8, .malformed = c->malformed, .file_clusters = c->file_clusters };
    b.table = calloc(b.entries, sizeof(*b.table));
    b.shared = calloc(1, q->cluster_size);
    if (!b.table || !b.shared) {
        free(b.table);
        free(b.shared);
        return error_set(err, "out of memory");
    }
    b.base = MAX(c->highest + 1, c->file_clusters);
    c->no_refcounts = true;
    c->findings = false;
    int r = rebuild_write(&b);
    c->no_refcounts = false;
    c->refcounts_broken = false;
    free(b.table);
    free(b.shared);
    if (r)
        return error_set(err, "its refcounts cannot be written anew: %s", strerror(-r));
    int64_t end = q->file->ops->size(q->file);
    qcow2_cache_destroy(&q->refcounts);
    if (qcow2_refcount_cache_init(q) || end < 0)
        return error_set(err, "its refcounts cannot be read again");
    c->file_bytes = (uint64_t)end;
    c->file_clusters = (c->file_bytes + q->cluster_size - 1) >> q->cluster_bits;
    return 0;
}
