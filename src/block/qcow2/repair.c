/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counting all references anew, for an image with lazy refcounts that was not closed: from the header, the
 * tables and every L1 and L2 table of the active image and its snapshots. Only counts and the "copied" flags
 * are mended. Where pointers lead out of the file or tables are malformed nothing is written and the user is
 * sent to qemu-img check.
 */
#include "block/qcow2/qcow2_private.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COUNTS_MAX (1ull << 28)
#define CHECK_HINT "run 'qemu-img check -r all' on it"

struct census {
    struct qcow2 *q;
    uint32_t *count;
    uint64_t clusters, room;
    uint8_t *table;                 /* one cluster */
    struct error *err;
};

static int census_grow(struct census *c, uint64_t clusters)
{
    if (clusters > c->room) {
        uint64_t room = clusters + clusters / 4;
        uint32_t *more = room > COUNTS_MAX ? NULL : realloc(c->count, room * sizeof(*more));
        if (!more)
            return error_set(c->err, "it was not closed and is too large to be repaired here; " CHECK_HINT);
        memset(more + c->room, 0, (room - c->room) * sizeof(*more));
        c->count = more;
        c->room = room;
    }
    c->clusters = MAX(c->clusters, clusters);
    return 0;
}

static int census_add(struct census *c, uint64_t offset, uint64_t length)
{
    if (!length)
        return 0;
    uint64_t first = offset >> c->q->cluster_bits, last = (offset + length - 1) >> c->q->cluster_bits;
    if (last >= c->clusters || offset + length < offset)
        return error_set(c->err, "it was not closed, and something in it lies past the end of the file; " CHECK_HINT);
    for (uint64_t i = first; i <= last; i++)
        c->count[i]++;
    return 0;
}

static int l2_count(struct census *c, uint64_t offset)
{
    struct qcow2 *q = c->q;
    if (offset & (q->cluster_size - 1))
        return error_set(c->err, "it was not closed, and an L1 entry is malformed; " CHECK_HINT);
    if (census_add(c, offset, q->cluster_size))
        return -1;
    int r = block_protocol_pread(q->file, offset, c->table, q->cluster_size);
    if (r)
        return error_set(c->err, "an L2 table cannot be read: %s", strerror(-r));
    for (uint64_t at = 0; at < q->cluster_size; at += q->entry_bytes) {
        struct qcow2_entry e = { .word = be64_get(*(const be64 *)(c->table + at)) };
        struct qcow2_extent x = { qcow2_entry_host(q, e), q->cluster_size };
        if (e.word & QCOW2_COMPRESSED)
            x = qcow2_packed_extent(q, e.word);
        else if (!x.offset || q->data_external)
            continue;
        else if (x.offset & (q->cluster_size - 1))
            return error_set(c->err, "it was not closed, and an L2 entry is malformed; " CHECK_HINT);
        if (census_add(c, x.offset, x.length))
            return -1;
    }
    return 0;
}

static int l1_count(struct census *c, uint64_t offset, uint32_t entries)
{
    be64 *l1 = malloc(entries ? entries * 8ull : 1);
    int r = l1 ? 0 : -ENOMEM;
    if (!r && entries)
        r = block_protocol_pread(c->q->file, offset, l1, entries * 8ull);
    if (r)
        r = error_set(c->err, "an L1 table cannot be read: %s", strerror(-r));
    else
        r = census_add(c, offset, entries * 8ull);
    for (uint32_t i = 0; !r && i < entries; i++)
        if (be64_get(l1[i]) & QCOW2_OFFSET_MASK)
            r = l2_count(c, be64_get(l1[i]) & QCOW2_OFFSET_MASK);
    free(l1);
    return r;
}

static int census_take(struct census *c)
{
    struct qcow2 *q = c->q;
    if (census_add(c, 0, q->cluster_size) || l1_count(c, q->l1_offset, q->l1_entries) ||
        census_add(c, q->reftable_offset, (uint64_t)q->reftable_clusters << q->cluster_bits) ||
        census_add(c, q->snapshots_offset, q->snapshots_bytes))
        return -1;
    for (uint32_t i = 0; i < q->snapshots; i++)
        if (l1_count(c, q->snapshot[i].l1_offset, q->snapshot[i].l1_entries))
            return -1;
    for (uint32_t b = 0; b < q->reftable_entries; b++)
        if (q->reftable[b] & ~511ull && census_add(c, q->reftable[b] & ~511ull, q->cluster_size))
            return -1;
    return 0;
}

/* A block that is missing is put where nothing lies: at the start of its range, else behind the file. */
static int block_place(struct census *c, uint64_t block)
{
    struct qcow2 *q = c->q;
    uint64_t at = block * qcow2_refcounts_per_block(q);
    if (block >= q->reftable_entries)
        return error_set(c->err, "it was not closed, and its refcount table is too small; " CHECK_HINT);
    if (c->count[at]) {
        at = c->clusters;
        if (census_grow(c, at + 1))
            return -1;
    }
    int r = block_protocol_write_zeroes(q->file, at << q->cluster_bits, q->cluster_size, false);
    if (!r)
        r = qcow2_meta_add(q, at);
    if (r)
        return error_set(c->err, "a refcount block cannot be written: %s", strerror(-r));
    c->count[at] = 1;
    qcow2_cache_forget(&q->refcounts, at << q->cluster_bits, q->cluster_size);
    qcow2_reftable_set_locked(q, (uint32_t)block, at << q->cluster_bits);
    return 0;
}

static int blocks_place(struct census *c)
{
    uint64_t per_block = qcow2_refcounts_per_block(c->q);
    for (bool again = true; again;) {
        again = false;
        for (uint64_t i = 0; i < c->clusters; i++) {
            uint64_t b = i / per_block;
            if (!c->count[i] || (b < c->q->reftable_entries && c->q->reftable[b]))
                continue;
            if (block_place(c, b))
                return -1;
            again = true;
        }
    }
    return 0;
}

/* Counts on the disk that differ; those past the end of the file too. */
static int counts_mend(struct census *c, uint64_t *mended)
{
    struct qcow2 *q = c->q;
    uint64_t per_block = qcow2_refcounts_per_block(q);
    for (uint64_t b = 0; b < q->reftable_entries; b++) {
        for (uint64_t i = b * per_block; q->reftable[b] && i < (b + 1) * per_block; i++) {
            uint64_t wanted = i < c->clusters ? c->count[i] : 0, stored;
            int r = qcow2_refcount_get_locked(q, i, &stored);
            if (!r && stored != wanted) {
                r = qcow2_refcount_set_locked(q, i, wanted);
                ++*mended;
            }
            if (r)
                return error_set(c->err, "its refcounts cannot be mended: %s", strerror(-r));
        }
    }
    return 0;
}

static uint64_t flag_right(const struct census *c, uint64_t word)
{
    uint64_t at = (word & QCOW2_OFFSET_MASK) >> c->q->cluster_bits;
    return c->count[at] == 1 ? word | QCOW2_COPIED : word & ~QCOW2_COPIED;
}

static int l2_flags_mend(struct census *c, uint64_t table)
{
    struct qcow2 *q = c->q;
    for (uint64_t at = 0; at < q->cluster_size; at += q->l2.slice_bytes) {
        struct qcow2_slice *s;
        int r = qcow2_cache_get_locked(q, &q->l2, table + at, &s);
        if (r)
            return r;
        for (uint32_t k = 0; k < q->l2.slice_bytes; k += q->entry_bytes) {
            be64 *entry = (be64 *)(s->data + k);
            uint64_t word = be64_get(*entry);
            if (word & QCOW2_COMPRESSED || !(word & QCOW2_OFFSET_MASK) || q->data_external ||
                flag_right(c, word) == word)
                continue;
            *entry = be64_make(flag_right(c, word));
            qcow2_cache_dirty(&q->l2, s);
        }
    }
    return 0;
}

static int flags_mend(struct census *c)
{
    struct qcow2 *q = c->q;
    int r = 0;
    for (uint32_t i = 0; !r && i < q->l1_entries; i++) {
        if (!(q->l1[i] & QCOW2_OFFSET_MASK))
            continue;
        if (flag_right(c, q->l1[i]) != q->l1[i])
            qcow2_l1_set_locked(q, i, flag_right(c, q->l1[i]));
        r = l2_flags_mend(c, q->l1[i] & QCOW2_OFFSET_MASK);
    }
    if (!r)
        r = qcow2_tables_write_locked(q);
    return r;
}

static int mend(struct census *c)
{
    struct qcow2 *q = c->q;
    uint64_t mended = 0;
    if (census_take(c) || blocks_place(c) || counts_mend(c, &mended))
        return -1;
    int r = qcow2_refcounts_write_locked(q);
    qcow2_barrier_want(q);
    if (!r)
        r = qcow2_barrier_locked(q);
    if (!r)
        r = flags_mend(c);
    qcow2_barrier_want(q);
    if (!r)
        r = qcow2_barrier_locked(q);
    if (!r) {
        q->incompatible &= ~QCOW2_INCOMPAT_DIRTY;
        r = qcow2_header_features_write(q);
    }
    if (!r)
        r = block_protocol_flush(q->file);
    if (r)
        return error_set(c->err, "it was not closed and cannot be repaired: %s", strerror(-r));
    trace(TRACE_BLOCK, "block: '%s' was not closed: %llu refcounts mended\n", q->node->filename,
          (unsigned long long)mended);
    return 0;
}

int qcow2_refcounts_rebuild(struct qcow2 *q, struct error *err)
{
    struct census c = { .q = q, .err = err };
    int64_t end = q->file->ops->size(q->file);
    if (end < 0)
        return error_set(err, "its size cannot be read: %s", strerror((int)-end));
    c.table = malloc(q->cluster_size);
    int r = c.table ? census_grow(&c, ((uint64_t)end + q->cluster_size - 1) >> q->cluster_bits)
                    : error_set(err, "out of memory");
    if (!r)
        r = mend(&c);
    free(c.table);
    free(c.count);
    return r;
}
