/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another disk size. Growing makes the L1 table long enough (a new one; the header is switched over to it), sees to it
 * that zeroes are read behind the old end, whatever a backing file or an earlier, larger disk has there, and only then
 * writes the size. When that fails (a full disk), what was placed behind the old end is given back. Shrinking writes the size
 * first and gives back clusters afterwards: a power cut leaves clusters behind the end, which the next growth takes care of.
 *
 * Emptying an image (for commit) is the same at offset 0, with the size kept.
 */
#include "block/qcow2/bitmap.h"
#include "block/qcow2/references.h"
#include "block/qcow2/whole.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int l1_grow_locked(struct qcow2 *q, uint64_t size)
{
    uint64_t per_l1 = BIT(q->l2_bits + q->cluster_bits), wanted = (size + per_l1 - 1) / per_l1, offset;
    if (wanted <= q->l1_entries)
        return 0;
    uint32_t entries = (uint32_t)(ALIGN_UP(wanted * 8, q->cluster_size) / 8), old_entries = q->l1_entries;
    uint64_t *l1 = calloc(entries, sizeof(*l1)), old_offset = q->l1_offset;
    if (!l1)
        return -ENOMEM;
    memcpy(l1, q->l1, q->l1_entries * sizeof(*l1));
    int r = qcow2_l1_write_locked(q, l1, entries, &offset);
    if (!r) {
        r = qcow2_settle_locked(q);
        if (!r)
            r = qcow2_header_disk_write(q, q->node->size, offset, entries);
        if (r && !q->corrupt)
            qcow2_l1_release_locked(q, offset, entries);
    }
    if (r) {
        free(l1);
        return r;
    }
    free(q->l1);
    q->l1 = l1;
    q->l1_entries = entries;
    q->l1_offset = offset;
    qcow2_l1_release_locked(q, old_offset, old_entries);
    return qcow2_settle_locked(q);
}

/* Behind the old end: the rest of its last cluster, what a backing file has, and what an earlier disk left. */
static int tail_clear(struct qcow2 *q, uint64_t from, uint64_t to)
{
    uint64_t rest = MIN(ALIGN_UP(from, q->cluster_size), to), per_l1 = BIT(q->l2_bits + q->cluster_bits);
    struct block_node *b = q->node->backing;
    int r = rest > from ? qcow2_data_zero(q, from, rest - from, false) : 0;
    if (!r && b && b->size > rest)
        r = qcow2_data_zero(q, rest, MIN(to, b->size) - rest, true);
    for (uint64_t at = rest; !r && at < to;) {
        uint64_t next = MIN(ALIGN_DOWN(at, per_l1) + per_l1, to);
        if (q->l1[at / per_l1] & QCOW2_OFFSET_MASK)
            r = qcow2_data_discard(q, at, next - at);
        at = next;
    }
    return r;
}

static int data_file_size(struct qcow2 *q, uint64_t size, enum block_preallocation mode)
{
    if (!q->data_external || !q->data->ops->truncate)
        return 0;
    return q->data->ops->truncate(q->data, size, mode);
}

/* The size is changed, or it could not be. */
static int bitmaps_end_locked(struct qcow2 *q, int r)
{
    if (r)
        qcow2_bitmaps_give_up_locked(q);
    return r ? r : qcow2_bitmaps_store_locked(q);
}

/* Entries from `from` to the end of its L2 table. */
static int table_end_drop_locked(struct qcow2 *q, uint64_t from)
{
    uint64_t per_l1 = BIT(q->l2_bits + q->cluster_bits), end = ALIGN_UP(from, per_l1);
    int r = 0;
    if (from == end || from / per_l1 >= q->l1_entries || !(q->l1[from / per_l1] & QCOW2_OFFSET_MASK))
        return 0;
    for (uint64_t at = from; !r && at < end; at += q->cluster_size) {
        struct qcow2_entry e;
        r = qcow2_entry_get_locked(q, at, &e);
        if (r || (!e.word && !e.bitmap))
            continue;
        r = qcow2_entry_set_locked(q, at, (struct qcow2_entry){ 0 });
        if (!r)
            r = qcow2_entry_free_locked(q, e);
    }
    return r;
}

/* Everything from `from` (a multiple of the cluster size) on loses its place. */
static int content_drop_locked(struct qcow2 *q, uint64_t from)
{
    uint64_t per_l1 = BIT(q->l2_bits + q->cluster_bits), first = (from + per_l1 - 1) / per_l1;
    uint32_t count = first < q->l1_entries ? q->l1_entries - (uint32_t)first : 0;
    uint64_t *gone = calloc(count + 1u, sizeof(*gone));
    struct qcow2_extents frees;
    struct error err;
    int r = gone ? table_end_drop_locked(q, from) : -ENOMEM;
    for (uint32_t i = 0; !r && i < count; i++) {
        gone[i] = q->l1[first + i];
        if (gone[i])
            qcow2_l1_set_locked(q, (uint32_t)first + i, 0);
        if (gone[i] & QCOW2_OFFSET_MASK && !q->l1_shared)
            qcow2_meta_remove(q, (gone[i] & QCOW2_OFFSET_MASK) >> q->cluster_bits);
    }
    if (!r && q->l1_shared && qcow2_map_build(q, &err))
        r = qcow2_corrupt(q, "%s", err.text);
    if (!r)
        r = qcow2_settle_locked(q);
    if (!r)
        r = qcow2_references_drop_locked(q, gone, count);
    if (!r) {
        frees = q->frees;
        q->frees = (struct qcow2_extents){ 0 };
        qcow2_frees_apply_locked(q, &frees);
        r = qcow2_settle_locked(q);
    }
    free(gone);
    return r;
}

/*
 * Growing has failed: nothing is left behind the old end, and dirty bitmaps are as they were, as far as the disk can still be written.
 * The last cluster stays as it is, since somebody may have written to it meanwhile.
 */
static void grow_undo(struct qcow2 *q, uint64_t old, uint64_t size, int64_t data_bytes)
{
    struct qcow2_range range;
    if (qcow2_whole_begin(q, &range)) {
        pthread_mutex_lock(&q->lock);
        q->node->size = old;
        qcow2_bitmaps_give_up_locked(q);
        pthread_mutex_unlock(&q->lock);
        return;
    }
    q->node->size = size;           /* that of the bitmaps */
    int r = content_drop_locked(q, ALIGN_UP(old, q->cluster_size));
    if (!r)
        r = qcow2_bitmaps_resize_locked(q, old);
    q->node->size = old;
    if (data_bytes >= 0 && q->data_external && q->data->ops->truncate)
        q->data->ops->truncate(q->data, (uint64_t)data_bytes, BLOCK_PREALLOCATION_OFF);
    if (!bitmaps_end_locked(q, r))
        qcow2_tail_cut_locked(q);
    qcow2_whole_end(q, &range);
}

/* With the disk to itself, which others have again when it is larger. */
static int grow_steps(struct qcow2 *q, struct qcow2_range *whole, uint64_t size, enum block_preallocation mode)
{
    uint64_t old = q->node->size;
    int r = qcow2_bitmaps_resize_locked(q, size);
    if (!r)
        r = l1_grow_locked(q, size);
    if (!r)
        r = data_file_size(q, size, mode);
    if (!r)
        q->node->size = size;
    qcow2_whole_end(q, whole);
    if (!r)
        r = tail_clear(q, old, size);
    /* What a backing file has in the cluster of the old end is to be seen, so that one stays as it is. */
    if (!r && mode != BLOCK_PREALLOCATION_OFF)
        r = qcow2_preallocate(q, q->node->backing ? ALIGN_UP(old, q->cluster_size) : old, size, mode);
    if (!r)
        r = qcow2_flush(q);
    pthread_mutex_lock(&q->lock);
    if (!r)
        r = qcow2_header_disk_write(q, size, q->l1_offset, q->l1_entries);
    pthread_mutex_unlock(&q->lock);
    return r;
}

static int grow(struct qcow2 *q, uint64_t size, enum block_preallocation mode)
{
    struct qcow2_range range;
    uint64_t old = q->node->size;
    int64_t data_bytes = q->data_external ? q->data->ops->size(q->data) : -1;
    int r = qcow2_whole_begin(q, &range);
    if (r)
        return r;
    r = grow_steps(q, &range, size, mode);
    if (r) {
        grow_undo(q, old, size, data_bytes);
        return r;
    }
    pthread_mutex_lock(&q->lock);
    r = bitmaps_end_locked(q, 0);
    pthread_mutex_unlock(&q->lock);
    return r;
}

static int shrink(struct qcow2 *q, uint64_t size)
{
    struct qcow2_range range;
    int r = qcow2_whole_begin(q, &range);
    if (r)
        return r;
    r = qcow2_bitmaps_resize_locked(q, size);
    if (!r)
        r = qcow2_header_disk_write(q, size, q->l1_offset, q->l1_entries);
    if (!r) {
        q->node->size = size;
        r = content_drop_locked(q, ALIGN_UP(size, q->cluster_size));
    }
    if (!r)
        r = data_file_size(q, size, BLOCK_PREALLOCATION_OFF);
    r = bitmaps_end_locked(q, r);
    if (!r)
        qcow2_tail_cut_locked(q);
    qcow2_whole_end(q, &range);
    return r;
}

int qcow2_resize(struct block_node *n, uint64_t size, enum block_preallocation mode, struct error *err)
{
    struct qcow2 *q = n->state;
    uint64_t per_l1 = BIT(q->l2_bits + q->cluster_bits);
    if (q->snapshots && q->version < 3)
        return error_set(err, "'%s': an image of version 2 with snapshots cannot change its size; delete them, or raise it "
                         "with 'ospite img amend -o compat=1.1'", n->filename);
    if (size > BIT(62) || (size + per_l1 - 1) / per_l1 * 8 > QCOW2_MAX_L1_BYTES)
        return error_set(err, "'%s': %llu bytes are too many for clusters of %llu; convert it with larger ones",
                         n->filename, (unsigned long long)size, (unsigned long long)q->cluster_size);
    if (mode != BLOCK_PREALLOCATION_OFF && q->crypt_method && q->version < 3)
        return error_set(err, "'%s': an encrypted image of version 2 cannot be preallocated; use preallocation=off", n->filename);
    int r = qcow2_write_begin(q);
    if (!r && size != n->size && qcow2_bitmaps_resize_check(q, size, err))
        return error_prefix(err, "'%s'", n->filename);
    if (!r)
        r = size > n->size ? grow(q, size, mode) : size < n->size ? shrink(q, size) : 0;
    return r ? error_set(err, "'%s': cannot change its size: %s", n->filename, strerror(-r)) : 0;
}

int qcow2_make_empty(struct block_node *n, struct error *err)
{
    struct qcow2 *q = n->state;
    struct qcow2_range range;
    int r = qcow2_whole_begin(q, &range);
    if (!r) {
        r = content_drop_locked(q, 0);
        if (!r)
            qcow2_tail_cut_locked(q);
        qcow2_whole_end(q, &range);
    }
    return r ? error_set(err, "'%s': cannot be emptied: %s", n->filename, strerror(-r)) : 0;
}
