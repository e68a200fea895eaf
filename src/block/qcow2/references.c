/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * References of a whole L1 table at once: what making, applying and deleting a snapshot add and drop. Tables are read
 * from and written to the file, so nothing may be waiting in the cache of L2 tables.
 */
#include "block/qcow2/references.h"

#include <errno.h>
#include <stdlib.h>

/* Calls for every cluster that an L2 table leads to; stops where it fails. */
struct walk {
    struct qcow2 *q;
    uint8_t *table;
    uint64_t steps, limit;          /* how many references were changed; where to stop */
    bool drop;
};

static int reference_change(struct walk *w, uint64_t cluster)
{
    uint64_t count;
    if (w->steps == w->limit)
        return 0;
    int r = 0;
    if (w->drop) {
        qcow2_cluster_release_locked(w->q, cluster);
        r = w->q->corrupt ? -EIO : 0;
    } else {
        r = qcow2_refcount_get_locked(w->q, cluster, &count);
        if (!r && !count)
            r = qcow2_corrupt(w->q, "cluster %llu is in use but not counted", (unsigned long long)cluster);
        if (!r)
            r = qcow2_refcount_set_locked(w->q, cluster, count + 1);
    }
    w->steps += !r;
    return r;
}

static int range_change(struct walk *w, uint64_t offset, uint64_t length)
{
    int r = 0;
    if (offset >= QCOW2_HOST_MAX)
        return qcow2_corrupt(w->q, "a table leads to %#llx, outside of the file", (unsigned long long)offset);
    for (uint64_t c = offset >> w->q->cluster_bits; !r && c <= (offset + length - 1) >> w->q->cluster_bits; c++)
        r = reference_change(w, c);
    return r;
}

/* What the disk needs is not given up with all that it leads to, because a snapshot's table says that it had it, too. */
static int drop_check(struct walk *w, uint64_t offset)
{
    uint64_t count;
    if (!w->drop || w->limit != UINT64_MAX || !qcow2_meta_overlaps(w->q, offset, w->q->cluster_size))
        return 0;
    int r = qcow2_refcount_get_locked(w->q, offset >> w->q->cluster_bits, &count);
    return r || count > 1 ? r : qcow2_corrupt(w->q, "a table of a snapshot lies over metadata at %#llx", (unsigned long long)offset);
}

static int table_change(struct walk *w, uint64_t offset)
{
    struct qcow2 *q = w->q;
    if (offset & (q->cluster_size - 1))
        return qcow2_corrupt(q, "an L1 entry is malformed");
    int r = drop_check(w, offset);
    if (!r)
        r = block_protocol_pread(q->file, offset, w->table, q->cluster_size);
    /* Data in a file of their own are not counted. */
    for (uint64_t at = 0; !r && !q->data_external && at < q->cluster_size; at += q->entry_bytes) {
        struct qcow2_entry e = { .word = be64_get(*(const be64 *)(w->table + at)) };
        struct qcow2_extent x = { qcow2_entry_host(q, e), q->cluster_size };
        if (e.word & QCOW2_COMPRESSED)
            x = qcow2_packed_extent(q, e.word);
        else if (!x.offset)
            continue;
        else if (x.offset & (q->cluster_size - 1))
            return qcow2_corrupt(q, "an L2 entry does not lead to the start of a cluster");
        r = range_change(w, x.offset, x.length);
    }
    return r ? r : range_change(w, offset, q->cluster_size);
}

static int walk_run(struct walk *w, const uint64_t *l1, uint32_t entries)
{
    int r = 0;
    w->table = malloc(w->q->cluster_size);
    if (!w->table)
        return -ENOMEM;
    for (uint32_t i = 0; !r && i < entries && w->steps < w->limit; i++)
        if (l1[i] & QCOW2_OFFSET_MASK)
            r = table_change(w, l1[i] & QCOW2_OFFSET_MASK);
    free(w->table);
    return r;
}

int qcow2_references_add_locked(struct qcow2 *q, const uint64_t *l1, uint32_t entries)
{
    struct walk add = { .q = q, .limit = UINT64_MAX };
    int r = walk_run(&add, l1, entries);
    if (r && !q->corrupt) {
        struct walk undo = { .q = q, .limit = add.steps, .drop = true };
        walk_run(&undo, l1, entries);
    }
    return r;
}

int qcow2_references_drop_locked(struct qcow2 *q, const uint64_t *l1, uint32_t entries)
{
    struct walk drop = { .q = q, .limit = UINT64_MAX, .drop = true };
    return walk_run(&drop, l1, entries);
}

static int wanted_flag(struct qcow2 *q, uint64_t word, enum qcow2_flags mode, uint64_t *wanted)
{
    uint64_t count;
    *wanted = word & ~QCOW2_COPIED;
    if (mode == QCOW2_FLAGS_CLEAR)
        return 0;
    int r = qcow2_refcount_get_locked(q, (word & QCOW2_OFFSET_MASK) >> q->cluster_bits, &count);
    if (!r && count == 1)
        *wanted |= QCOW2_COPIED;
    return r;
}

static int table_flags(struct qcow2 *q, uint64_t offset, enum qcow2_flags mode, uint8_t *table)
{
    bool changed = false;
    int r = block_protocol_pread(q->file, offset, table, q->cluster_size);
    for (uint64_t at = 0; !r && at < q->cluster_size; at += q->entry_bytes) {
        be64 *entry = (be64 *)(table + at);
        uint64_t word = be64_get(*entry), wanted;
        if (word & QCOW2_COMPRESSED || !(word & QCOW2_OFFSET_MASK))
            continue;
        r = wanted_flag(q, word, mode, &wanted);
        if (!r && wanted != word) {
            *entry = be64_make(wanted);
            changed = true;
        }
    }
    if (r || !changed)
        return r;
    qcow2_cache_forget(&q->l2, offset, q->cluster_size);
    qcow2_barrier_want(q);
    return block_protocol_pwrite(q->file, offset, table, q->cluster_size);
}

int qcow2_flags_write_locked(struct qcow2 *q, uint64_t *l1, uint32_t entries, bool active, enum qcow2_flags mode)
{
    uint8_t *table = malloc(q->cluster_size);
    int r = table ? 0 : -ENOMEM;
    for (uint32_t i = 0; !r && i < entries; i++) {
        uint64_t offset = l1[i] & QCOW2_OFFSET_MASK, wanted;
        if (!offset)
            continue;
        if (offset & (q->cluster_size - 1))
            r = qcow2_corrupt(q, "an L1 entry is malformed");
        if (!r)
            r = table_flags(q, offset, mode, table);
        if (!r)
            r = wanted_flag(q, l1[i], mode, &wanted);
        if (!r && active && wanted != l1[i])
            qcow2_l1_set_locked(q, i, wanted);
    }
    free(table);
    return r;
}
