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
        return error_set(err, "its %s overlaps other metadata", what);
    return qcow2_extents_add(&q->meta.ranges, offset, length) ? error_set(err, "out of memory") : 0;
}

static int entry_check(struct qcow2 *q, uint64_t offset, const char *what, uint32_t number, struct error *err)
{
    if (offset & (q->cluster_size - 1))
        return error_set(err, "its %s number %u does not begin at a cluster", what, number);
    if (qcow2_meta_overlaps(q, offset, q->cluster_size))
        return error_set(err, "its %s number %u overlaps other metadata", what, number);
    return 0;
}

static int refcount_blocks_protect(struct qcow2 *q, struct error *err)
{
    for (uint32_t i = 0; i < q->reftable_entries; i++) {
        uint64_t offset = q->reftable[i] & ~511ull;
        if (!offset)
            continue;
        if (entry_check(q, offset, "refcount block", i, err))
            return -1;
        if (qcow2_meta_add(q, offset >> q->cluster_bits))
            return error_set(err, "out of memory");
    }
    return 0;
}

/*
 * Several L1 entries may lead to one L2 table, as a repair leaves it, when none of them says that it has it alone: whoever writes
 * copies it first. So those that do not say it come first, after all were compared with what is no L2 table.
 */
static int l2_tables_protect(struct qcow2 *q, struct error *err)
{
    q->l1_shared = false;
    for (unsigned round = 0; round < 3; round++)
        for (uint32_t i = 0; i < q->l1_entries; i++) {
            uint64_t offset = q->l1[i] & QCOW2_OFFSET_MASK;
            bool owned = q->l1[i] & QCOW2_COPIED;
            if (!offset || (round == 1 && owned) || (round == 2 && !owned))
                continue;
            if (round != 1 && entry_check(q, offset, "L2 table", i, err))
                return -1;
            if (round == 1)
                q->l1_shared |= qcow2_meta_overlaps(q, offset, q->cluster_size);
            if (round && qcow2_meta_add(q, offset >> q->cluster_bits))
                return error_set(err, "out of memory");
        }
    return 0;
}

void qcow2_l2_unprotect(struct qcow2 *q, uint64_t table)
{
    for (uint32_t i = 0; q->l1_shared && i < q->l1_entries; i++)
        if ((q->l1[i] & QCOW2_OFFSET_MASK) == table)
            return;
    qcow2_meta_remove(q, table >> q->cluster_bits);
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
    if (refcount_blocks_protect(q, err) || l2_tables_protect(q, err))
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
    struct error why;
    if (qcow2_snapshots_read(q, q->node->readonly && !check ? NULL : err)) {
        if (!q->node->readonly || check)
            return -1;
        q->snapshots_bad = true;    /* the disk itself can be read all the same */
    }
    if (q->node->readonly || check || !qcow2_map_build(q, &why))
        return 0;
    return error_set(err, "%.300s; " CHECK_HINT, why.text);
}
