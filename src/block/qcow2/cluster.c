/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From guest offsets to L2 entries and what they mean, with and without subclusters. L2 tables that a
 * snapshot also uses are copied before they change. New tables are filled on the disk at once; the L1 entry
 * follows at the next flush, after them.
 */
#include "block/qcow2/qcow2_private.h"

#include <errno.h>
#include <stdlib.h>

struct place {
    uint64_t slice;                 /* file offset; 0: no L2 table */
    uint32_t at;                    /* byte in the slice */
};

static int place_find(struct qcow2 *q, uint64_t offset, struct place *p)
{
    uint64_t index = offset >> (q->cluster_bits + q->l2_bits);
    if (index >= q->l1_entries)
        return -EINVAL;
    uint64_t table = q->l1[index] & QCOW2_OFFSET_MASK;
    if (table & (q->cluster_size - 1))
        return qcow2_corrupt(q, "entry %llu of its L1 table is malformed", (unsigned long long)index);
    uint64_t at = (offset >> q->cluster_bits & (BIT(q->l2_bits) - 1)) * q->entry_bytes;
    p->slice = table ? table + ALIGN_DOWN(at, (uint64_t)q->l2.slice_bytes) : 0;
    p->at = (uint32_t)(at & (q->l2.slice_bytes - 1));
    return 0;
}

static void entry_load(const struct qcow2 *q, const struct qcow2_slice *s, uint32_t at, struct qcow2_entry *e)
{
    e->word = be64_get(*(const be64 *)(s->data + at));
    if (q->extended)
        e->bitmap = be64_get(*(const be64 *)(s->data + at + 8));
}

bool qcow2_entry_cached_locked(struct qcow2 *q, uint64_t offset, struct qcow2_entry *e)
{
    uint64_t index = offset >> (q->cluster_bits + q->l2_bits);
    struct place p = { 0 };
    *e = (struct qcow2_entry){ 0 };
    if (index >= q->l1_entries || q->l1[index] & QCOW2_OFFSET_MASK & (q->cluster_size - 1) || place_find(q, offset, &p))
        return false;
    struct qcow2_slice *s = p.slice ? qcow2_cache_find(&q->l2, p.slice) : NULL;
    if (s)
        entry_load(q, s, p.at, e);
    return s;
}

int qcow2_entry_get_locked(struct qcow2 *q, uint64_t offset, struct qcow2_entry *e)
{
    struct place p = { 0 };
    struct qcow2_slice *s;
    *e = (struct qcow2_entry){ 0 };
    int r = place_find(q, offset, &p);
    if (r || !p.slice)
        return r;
    r = qcow2_cache_get_locked(q, &q->l2, p.slice, &s);
    if (r)
        return r;
    entry_load(q, s, p.at, e);
    return 0;
}

uint64_t qcow2_entry_repeats_locked(struct qcow2 *q, uint64_t offset, struct qcow2_entry e)
{
    struct place p = { 0 };
    struct qcow2_slice *s;
    uint64_t count = 0;
    if (place_find(q, offset, &p) || !p.slice || qcow2_cache_get_locked(q, &q->l2, p.slice, &s))
        return 0;
    for (uint32_t at = p.at; at < q->l2.slice_bytes && be64_get(*(const be64 *)(s->data + at)) == e.word; at += q->entry_bytes) {
        if (q->extended && be64_get(*(const be64 *)(s->data + at + 8)) != e.bitmap)
            break;
        count++;
    }
    return count;
}

int qcow2_entry_set_locked(struct qcow2 *q, uint64_t offset, struct qcow2_entry e)
{
    struct place p = { 0 };
    struct qcow2_slice *s;
    int r = qcow2_l2_own_locked(q, offset);
    if (!r)
        r = place_find(q, offset, &p);
    if (!r)
        r = qcow2_cache_get_locked(q, &q->l2, p.slice, &s);
    if (r)
        return r;
    *(be64 *)(s->data + p.at) = be64_make(e.word);
    if (q->extended)
        *(be64 *)(s->data + p.at + 8) = be64_make(e.bitmap);
    qcow2_cache_dirty(&q->l2, s);
    return 0;
}

static int table_fill(struct qcow2 *q, uint64_t to, uint64_t from)
{
    if (!from)
        return block_protocol_write_zeroes(q->file, to, q->cluster_size, false);
    uint8_t *copy = malloc(q->cluster_size);
    if (!copy)
        return -ENOMEM;
    int r = block_protocol_pread(q->file, from, copy, q->cluster_size);
    if (!r)
        r = block_protocol_pwrite(q->file, to, copy, q->cluster_size);
    free(copy);
    return r;
}

void qcow2_l1_set_locked(struct qcow2 *q, uint32_t index, uint64_t value)
{
    q->l1[index] = value;
    if (q->l1_dirty_from == q->l1_dirty_to) {
        q->l1_dirty_from = index;
        q->l1_dirty_to = index + 1;
    }
    q->l1_dirty_from = MIN(q->l1_dirty_from, index);
    q->l1_dirty_to = MAX(q->l1_dirty_to, index + 1);
}

/* A table that is not owned was never changed in the cache, so that the file has all of it. */
int qcow2_l2_own_locked(struct qcow2 *q, uint64_t offset)
{
    uint64_t index = offset >> (q->cluster_bits + q->l2_bits), table, count;
    if (index >= q->l1_entries)
        return -EINVAL;
    if (q->l1[index] & QCOW2_COPIED && q->l1[index] & QCOW2_OFFSET_MASK)
        return 0;
    uint64_t old = q->l1[index] & QCOW2_OFFSET_MASK;
    int r = qcow2_allocate_locked(q, 1, &table, &count);
    if (r)
        return r;
    r = table_fill(q, table, old);
    if (!r)
        r = qcow2_meta_add(q, table >> q->cluster_bits);
    if (r) {
        qcow2_allocation_undo_locked(q, table, 1);
        return r;
    }
    qcow2_cache_forget(&q->l2, table, q->cluster_size);
    qcow2_barrier_want(q);
    qcow2_l1_set_locked(q, (uint32_t)index, table | QCOW2_COPIED);
    if (old) {
        qcow2_l2_unprotect(q, old);
        r = qcow2_free_later_locked(q, old, q->cluster_size);
    }
    return r;
}

uint64_t qcow2_entry_host(const struct qcow2 *q, struct qcow2_entry e)
{
    return e.word & QCOW2_COMPRESSED ? 0 : e.word & QCOW2_OFFSET_MASK;
}

static bool has_host(const struct qcow2 *q, struct qcow2_entry e)
{
    return qcow2_entry_host(q, e) || (q->data_external && e.word & QCOW2_COPIED);
}

enum qcow2_kind qcow2_entry_kind(const struct qcow2 *q, struct qcow2_entry e, unsigned sub)
{
    if (e.word & QCOW2_COMPRESSED)
        return q->data_external ? QCOW2_INVALID : QCOW2_PACKED;
    if (qcow2_entry_host(q, e) & (q->cluster_size - 1))
        return QCOW2_INVALID;
    if (q->extended) {
        bool allocated = e.bitmap >> sub & 1, zero = e.bitmap >> (32 + sub) & 1;
        if ((allocated && zero) || (allocated && !has_host(q, e)))
            return QCOW2_INVALID;
        return zero ? QCOW2_ZEROES : allocated ? QCOW2_DATA : QCOW2_UNALLOCATED;
    }
    if (e.word & QCOW2_ZERO)
        return q->version < 3 ? QCOW2_INVALID : QCOW2_ZEROES;
    return has_host(q, e) ? QCOW2_DATA : QCOW2_UNALLOCATED;
}

bool qcow2_entry_is_malformed(const struct qcow2 *q, struct qcow2_entry e)
{
    for (unsigned sub = 0; sub < 1u << (q->cluster_bits - q->sub_bits); sub++)
        if (qcow2_entry_kind(q, e, sub) == QCOW2_INVALID)
            return true;
    return false;
}

bool qcow2_entry_is_owned(const struct qcow2 *q, struct qcow2_entry e)
{
    return e.word & QCOW2_COPIED && !(e.word & QCOW2_COMPRESSED) && has_host(q, e);
}

struct qcow2_extent qcow2_packed_extent(const struct qcow2 *q, uint64_t word)
{
    unsigned split = 62 - (q->cluster_bits - 8);
    uint64_t offset = word & (BIT(split) - 1);
    uint64_t sectors = (word >> split & (BIT(q->cluster_bits - 8) - 1)) + 1;
    return (struct qcow2_extent){ offset, sectors * 512 - (offset & 511) };
}

/* What an entry led to is not taken for free, and maybe punched out of the file, when metadata alone are counted there. */
static int metadata_keep(struct qcow2 *q, struct qcow2_extent x)
{
    for (uint64_t at = ALIGN_DOWN(x.offset, q->cluster_size); at < x.offset + x.length; at += q->cluster_size) {
        uint64_t count;
        if (!qcow2_meta_overlaps(q, at, q->cluster_size))
            continue;
        int r = qcow2_refcount_get_locked(q, at >> q->cluster_bits, &count);
        if (r || count < 2)
            return r ? r : qcow2_corrupt(q, "an L2 entry leads to metadata, at %#llx", (unsigned long long)at);
    }
    return 0;
}

int qcow2_entry_free_locked(struct qcow2 *q, struct qcow2_entry e)
{
    struct qcow2_extent x = { qcow2_entry_host(q, e), q->cluster_size };
    if (e.word & QCOW2_COMPRESSED)
        x = qcow2_packed_extent(q, e.word);
    else if (q->data_external || !x.offset)
        return 0;
    else if (x.offset & (q->cluster_size - 1))
        return qcow2_corrupt(q, "an L2 entry does not lead to the start of a cluster");
    int r = metadata_keep(q, x);
    return r ? r : qcow2_free_later_locked(q, x.offset, x.length);
}
