/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots: a second L1 table that shares L2 tables and clusters with the active one. Each step is on the disk
 * before the next begins, so that a power cut leaves clusters that are counted too often or "copied" flags that are
 * missing: space or a copy too many, never data of the snapshot that are overwritten.
 *
 *   make    flags off; counts up, copy of the L1 table; snapshot table; header
 *   apply   counts of the snapshot up, its L1 table copied; header (size and L1 table in one sector); counts of what
 *           was active down
 *   delete  snapshot table without it; header; counts down; flags on where a cluster has one owner again
 *
 * All of it runs with the whole disk to itself.
 */
#include "block/qcow2/snapshot.h"

#include "block/qcow2/bitmap.h"
#include "block/qcow2/references.h"
#include "block/qcow2/whole.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void l1_flags_clear(uint64_t *l1, uint32_t entries)
{
    for (uint32_t i = 0; i < entries; i++)
        l1[i] &= ~QCOW2_COPIED;
}

static int make(struct qcow2 *q, const struct block_snapshot *s)
{
    struct qcow2_snapshot added = { .l1_entries = q->l1_entries, .disk_bytes = s->disk_bytes };
    uint32_t entry_bytes = 0;
    int r = qcow2_flags_write_locked(q, q->l1, q->l1_entries, true, QCOW2_FLAGS_CLEAR);
    if (!r)
        r = qcow2_settle_locked(q);
    if (!r)
        r = qcow2_references_add_locked(q, q->l1, q->l1_entries);
    if (r)
        return r;
    r = qcow2_l1_write_locked(q, q->l1, q->l1_entries, &added.l1_offset);
    if (!r) {
        uint8_t *entry = qcow2_snapshot_entry_make(s, added.l1_offset, added.l1_entries, &entry_bytes);
        r = entry ? qcow2_snapshot_table_change_locked(q, UINT32_MAX, &added, entry, entry_bytes) : -ENOMEM;
        free(entry);
        if (r && !q->corrupt)
            qcow2_l1_release_locked(q, added.l1_offset, added.l1_entries);
    }
    if (r && !q->corrupt)
        qcow2_references_drop_locked(q, q->l1, q->l1_entries);
    return r;
}

int qcow2_snapshot_create(struct block_node *n, const struct block_snapshot *s, struct error *err)
{
    struct qcow2 *q = n->state;
    struct block_snapshot full = *s;
    struct qcow2_range range;
    if (q->data_external)
        return error_set(err, "'%s': an image with an external data file cannot hold snapshots; use an overlay",
                         n->filename);
    if (!q->refcount_order)
        return error_set(err, "'%s': its refcounts are 1 bit wide, which has no room for snapshots; convert it with "
                         "refcount_bits=16", n->filename);
    if (q->snapshots >= QCOW2_MAX_SNAPSHOTS)
        return error_set(err, "'%s': it has %u snapshots, no more are allowed; delete some", n->filename, q->snapshots);
    int r = qcow2_whole_begin(q, &range);
    if (r)
        return error_set(err, "'%s': its last writes cannot be stored: %s", n->filename, strerror(-r));
    qcow2_snapshot_id_next(q, full.id, sizeof(full.id));
    full.disk_bytes = n->size;
    r = make(q, &full);
    if (r && !q->corrupt) {
        qcow2_flags_write_locked(q, q->l1, q->l1_entries, true, QCOW2_FLAGS_BY_COUNT);
        qcow2_settle_locked(q);
    }
    qcow2_whole_end(q, &range);
    if (r == -ERANGE)
        return error_set(err, "'%s': its refcounts of %u bits have no room for one more snapshot; delete some or convert "
                         "it with refcount_bits=16", n->filename, 1u << q->refcount_order);
    return r ? error_set(err, "'%s': cannot make the snapshot: %s", n->filename, strerror(-r)) : 0;
}

static int delete(struct qcow2 *q, uint32_t index)
{
    struct qcow2_snapshot s = q->snapshot[index];
    uint64_t *l1 = NULL;
    int r = qcow2_words_read(q, s.l1_offset, s.l1_entries, &l1);
    if (!r)
        r = qcow2_snapshot_table_change_locked(q, index, NULL, NULL, 0);
    if (!r)
        r = qcow2_references_drop_locked(q, l1, s.l1_entries);
    free(l1);
    if (r)
        return r;
    qcow2_l1_release_locked(q, s.l1_offset, s.l1_entries);
    r = qcow2_settle_locked(q);
    if (!r)
        r = qcow2_flags_write_locked(q, q->l1, q->l1_entries, true, QCOW2_FLAGS_BY_COUNT);
    return r ? r : qcow2_settle_locked(q);
}

static uint64_t snapshot_disk_bytes(const struct qcow2 *q, const struct qcow2_snapshot *s)
{
    return s->disk_bytes ? ALIGN_UP(s->disk_bytes, 512ull) : q->node->size;
}

/* Its L1 table, long enough for its disk. */
static int snapshot_l1_read(struct qcow2 *q, const struct qcow2_snapshot *s, uint64_t size, uint64_t **l1,
                            uint32_t *entries)
{
    uint64_t per_l1 = BIT(q->l2_bits + q->cluster_bits), wanted = (size + per_l1 - 1) / per_l1;
    *l1 = NULL;
    *entries = MAX((uint32_t)MIN(wanted, (uint64_t)UINT32_MAX), s->l1_entries);
    if (size > BIT(62) || *entries > QCOW2_MAX_L1_BYTES / 8)
        return -EFBIG;
    int r = qcow2_words_read(q, s->l1_offset, s->l1_entries, l1);
    uint64_t *longer = r ? NULL : realloc(*l1, MAX(*entries, 1u) * sizeof(**l1));
    if (!r && !longer)
        r = -ENOMEM;
    if (longer) {
        *l1 = longer;
        memset(longer + s->l1_entries, 0, (*entries - s->l1_entries) * sizeof(*longer));
    }
    return r;
}

/* What is active from now on. The old L1 table is the caller's. */
static int active_take(struct qcow2 *q, uint64_t *l1, uint32_t entries, uint64_t offset, uint64_t size)
{
    struct error err;
    q->l1 = l1;
    q->l1_entries = entries;
    q->l1_offset = offset;
    q->l1_dirty_from = q->l1_dirty_to = 0;
    q->node->size = size;
    if (qcow2_map_build(q, &err))
        return qcow2_corrupt(q, "%s", err.text);
    return 0;
}

/* Another disk: all of it is dirty in those that record. */
static int bitmaps_prepare(struct qcow2 *q, uint64_t size)
{
    int r = size != q->node->size ? qcow2_bitmaps_resize_locked(q, size) : 0;
    return r || !q->bitmaps_recording || !size ? r : qcow2_bitmaps_mark_locked(q, 0, size);
}

static int apply(struct qcow2 *q, const struct qcow2_snapshot *s)
{
    uint64_t size = snapshot_disk_bytes(q, s), *l1, offset;
    uint64_t *old = q->l1, old_offset = q->l1_offset;
    uint32_t entries, old_entries = q->l1_entries;
    int r = snapshot_l1_read(q, s, size, &l1, &entries);
    if (!r)
        r = qcow2_flags_write_locked(q, l1, s->l1_entries, false, QCOW2_FLAGS_CLEAR);
    if (!r)
        r = qcow2_settle_locked(q);
    if (!r)
        r = qcow2_references_add_locked(q, l1, entries);
    if (r) {
        free(l1);
        return r;
    }
    l1_flags_clear(l1, entries);
    r = qcow2_l1_write_locked(q, l1, entries, &offset);
    if (!r) {
        r = qcow2_settle_locked(q);
        if (!r)
            r = bitmaps_prepare(q, size);
        if (!r)
            r = qcow2_header_disk_write(q, size, offset, entries);
        if (r && !q->corrupt)
            qcow2_l1_release_locked(q, offset, entries);
    }
    if (r) {
        if (!q->corrupt)
            qcow2_references_drop_locked(q, l1, entries);
        qcow2_bitmaps_give_up_locked(q);
        free(l1);
        return r;
    }
    r = active_take(q, l1, entries, offset, size);
    if (!r)
        r = qcow2_references_drop_locked(q, old, old_entries);
    free(old);
    if (r)
        return r;
    qcow2_l1_release_locked(q, old_offset, old_entries);
    r = qcow2_bitmaps_store_locked(q);
    return r ? r : qcow2_settle_locked(q);
}

static int bitmaps_check_locked(struct qcow2 *q, const struct qcow2_snapshot *s, struct error *err)
{
    uint64_t size = snapshot_disk_bytes(q, s);
    return size == q->node->size ? 0 : qcow2_bitmaps_resize_check_locked(q, size, err);
}

/* Finds the snapshot and runs a change with the whole disk to itself. */
static int snapshot_change(struct block_node *n, const char *id_or_name, bool applies, struct error *err)
{
    struct qcow2 *q = n->state;
    struct qcow2_range range;
    uint32_t index;
    int r = qcow2_whole_begin(q, &range);
    if (r)
        return error_set(err, "'%s': its last writes cannot be stored: %s", n->filename, strerror(-r));
    /* As QEMU does it: what is deleted by a number that is another one's name is not to be the wrong one. */
    bool found = !qcow2_snapshot_find(q, id_or_name, !applies, &index, err) &&
                 !(applies && bitmaps_check_locked(q, &q->snapshot[index], err)) &&
                 !qcow2_snapshot_check_locked(q, &q->snapshot[index], err);
    r = !found ? 0 : applies ? apply(q, &q->snapshot[index]) : delete(q, index);
    qcow2_whole_end(q, &range);
    if (!found)
        return error_prefix(err, "'%s'", n->filename);
    return r ? error_set(err, "'%s': cannot %s the snapshot: %s", n->filename, applies ? "go back to" : "delete", strerror(-r)) : 0;
}

int qcow2_snapshot_apply(struct block_node *n, const char *id_or_name, struct error *err)
{
    return snapshot_change(n, id_or_name, true, err);
}

int qcow2_snapshot_delete(struct block_node *n, const char *id_or_name, struct error *err)
{
    return snapshot_change(n, id_or_name, false, err);
}

int qcow2_snapshot_use(struct qcow2 *q, const char *id_or_name, struct error *err)
{
    uint32_t index, entries;
    uint64_t *l1;
    if (qcow2_snapshot_find(q, id_or_name, false, &index, err))
        return -1;
    if (!q->node->readonly)
        return error_set(err, "a snapshot can only be opened for reading; use 'ospite img snapshot -a' to go back to it");
    const struct qcow2_snapshot *s = &q->snapshot[index];
    uint64_t size = snapshot_disk_bytes(q, s);
    int r = snapshot_l1_read(q, s, size, &l1, &entries);
    if (r) {
        free(l1);
        return error_set(err, "the snapshot's tables cannot be read: %s", strerror(-r));
    }
    free(q->l1);
    q->l1 = l1;
    q->l1_entries = entries;
    q->node->size = size;
    return 0;
}
