/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * L1 table, refcount table and snapshot table are read whole when an image is opened. From them comes the map
 * of all clusters that hold metadata. A writable image whose tables overlap is refused, and later no data are
 * ever written to a cluster of the map, wherever a malformed pointer leads. (L2 tables that only snapshots
 * use are not in the map.)
 */
#include "block/qcow2/bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_HINT "run 'ospite img check -r all' on a copy, or restore a backup"

int qcow2_extents_add(struct qcow2_extents *e, uint64_t offset, uint64_t length)
{
    if (e->count == e->room) {
        size_t room = e->room ? e->room * 2 : 16;
        struct qcow2_extent *more = realloc(e->item, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        e->item = more;
        e->room = room;
    }
    e->item[e->count++] = (struct qcow2_extent){ offset, length };
    return 0;
}

static size_t slot_of(const struct qcow2_meta *m, uint64_t cluster)
{
    return (size_t)(cluster * 0x9e3779b97f4a7c15ull >> 20) & (m->slots - 1);
}

static void slot_fill(struct qcow2_meta *m, uint64_t cluster)
{
    size_t i = slot_of(m, cluster);
    while (m->slot[i] && m->slot[i] != cluster)
        i = (i + 1) & (m->slots - 1);
    m->used += !m->slot[i];
    m->slot[i] = cluster;
}

int qcow2_meta_add(struct qcow2 *q, uint64_t cluster)
{
    struct qcow2_meta *m = &q->meta;
    if ((m->used + 1) * 2 > m->slots) {
        struct qcow2_meta larger = { .slots = m->slots ? m->slots * 2 : 64 };
        larger.slot = calloc(larger.slots, sizeof(*larger.slot));
        if (!larger.slot)
            return -ENOMEM;
        for (size_t i = 0; i < m->slots; i++)
            if (m->slot[i])
                slot_fill(&larger, m->slot[i]);
        free(m->slot);
        m->slot = larger.slot;
        m->slots = larger.slots;
        m->used = larger.used;
    }
    slot_fill(m, cluster);
    return 0;
}

static bool set_has(const struct qcow2_meta *m, uint64_t cluster)
{
    if (!m->slots)
        return false;
    for (size_t i = slot_of(m, cluster); m->slot[i]; i = (i + 1) & (m->slots - 1))
        if (m->slot[i] == cluster)
            return true;
    return false;
}

/* What follows in the same run is put in anew, so that no search ends at the hole. */
void qcow2_meta_remove(struct qcow2 *q, uint64_t cluster)
{
    struct qcow2_meta *m = &q->meta;
    if (!set_has(m, cluster))
        return;
    size_t i = slot_of(m, cluster);
    while (m->slot[i] != cluster)
        i = (i + 1) & (m->slots - 1);
    m->slot[i] = 0;
    m->used--;
    for (i = (i + 1) & (m->slots - 1); m->slot[i]; i = (i + 1) & (m->slots - 1)) {
        uint64_t moved = m->slot[i];
        m->slot[i] = 0;
        m->used--;
        slot_fill(m, moved);
    }
}

void qcow2_meta_range_remove(struct qcow2 *q, uint64_t offset)
{
    struct qcow2_extents *e = &q->meta.ranges;
    for (size_t i = 0; i < e->count; i++)
        if (e->item[i].offset == offset) {
            e->item[i] = e->item[--e->count];
            return;
        }
}

bool qcow2_meta_overlaps(const struct qcow2 *q, uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length;
    for (size_t i = 0; i < q->meta.ranges.count; i++) {
        struct qcow2_extent e = q->meta.ranges.item[i];
        if (offset < e.offset + e.length && e.offset < end)
            return true;
    }
    for (uint64_t c = offset >> q->cluster_bits; c << q->cluster_bits < end; c++)
        if (set_has(&q->meta, c))
            return true;
    return false;
}

int qcow2_words_read(struct qcow2 *q, uint64_t offset, uint32_t count, uint64_t **words)
{
    *words = calloc(count ? count : 1, sizeof(**words));
    if (!*words)
        return -ENOMEM;
    int r = count ? block_protocol_pread(q->file, offset, *words, count * sizeof(**words)) : 0;
    for (uint32_t i = 0; i < count; i++)
        (*words)[i] = be64toh((*words)[i]);
    return r;
}

static int range_protect(struct qcow2 *q, uint64_t offset, uint64_t length, const char *what, struct error *err)
{
    if (!length)
        return 0;
    length = ALIGN_UP(length, q->cluster_size);
    if (qcow2_meta_overlaps(q, offset, length))
        return error_set(err, "its %s overlaps other metadata; " CHECK_HINT, what);
    return qcow2_extents_add(&q->meta.ranges, offset, length) ? error_set(err, "out of memory") : 0;
}

static int entries_protect(struct qcow2 *q, const uint64_t *table, uint32_t count, uint64_t mask, const char *what,
                           struct error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = table[i] & mask;
        if (!offset)
            continue;
        if (offset & (q->cluster_size - 1))
            return error_set(err, "its %s number %u does not begin at a cluster; " CHECK_HINT, what, i);
        if (qcow2_meta_overlaps(q, offset, q->cluster_size))
            return error_set(err, "its %s number %u overlaps other metadata; " CHECK_HINT, what, i);
        if (qcow2_meta_add(q, offset >> q->cluster_bits))
            return error_set(err, "out of memory");
    }
    return 0;
}

int qcow2_map_build(struct qcow2 *q, struct error *err)
{
    free(q->meta.slot);
    q->meta.slot = NULL;
    q->meta.slots = q->meta.used = 0;
    q->meta.ranges.count = 0;
    if (range_protect(q, 0, q->cluster_size, "header", err) ||
        range_protect(q, q->l1_offset, q->l1_entries * 8ull, "L1 table", err) ||
        range_protect(q, q->reftable_offset, (uint64_t)q->reftable_clusters << q->cluster_bits, "refcount table", err) ||
        range_protect(q, q->crypt_offset, q->luks ? q->crypt_bytes : 0, "LUKS header", err) ||
        range_protect(q, q->snapshots_offset, q->snapshots_bytes, "snapshot table", err))
        return -1;
    for (uint32_t i = 0; i < q->snapshots; i++)
        if (range_protect(q, q->snapshot[i].l1_offset, q->snapshot[i].l1_entries * 8ull, "snapshot's L1 table", err))
            return -1;
    if (entries_protect(q, q->reftable, q->reftable_entries, ~511ull, "refcount block", err) ||
        entries_protect(q, q->l1, q->l1_entries, QCOW2_OFFSET_MASK, "L2 table", err))
        return -1;
    int r = qcow2_bitmaps_protect(q);
    return r ? error_set(err, "its dirty bitmaps overlap other metadata: %s", strerror(-r)) : 0;
}

int qcow2_tables_read(struct qcow2 *q, struct error *err)
{
    int r = qcow2_words_read(q, q->l1_offset, q->l1_entries, &q->l1);
    if (!r)
        r = qcow2_words_read(q, q->reftable_offset, q->reftable_entries, &q->reftable);
    if (r)
        return error_set(err, "its tables cannot be read: %s", strerror(-r));
    bool check = q->node->opening->for_check;
    if (qcow2_snapshots_read(q, q->node->readonly && !check ? NULL : err)) {
        if (!q->node->readonly || check)
            return -1;
        q->snapshots_bad = true;    /* the disk itself can be read all the same */
    }
    return q->node->readonly || check ? 0 : qcow2_map_build(q, err);
}
