/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Malformed entries of L1 and L2 tables that mean something all the same: bits that have no meaning are cleared, zeroes whose place
 * is not that of a cluster lose it, compressed clusters lose their subclusters' bits, and a subcluster that is said to be data and
 * zeroes is data, which nobody can then say was thrown away. Data at no cluster's beginning or past the end of the file are left as they are: only
 * whoever has the rest of the file, or wrote the entry, knows better.
 *
 * A table is not written where something else lies, too: what looks like entries may be the guest's data.
 */
#include "block/qcow2/census.h"

bool qcow2_entry_mend(const struct qcow2 *q, struct qcow2_entry *e)
{
    const struct qcow2_entry was = *e;
    uint64_t host = e->word & QCOW2_OFFSET_MASK, data = e->bitmap & 0xffffffff;
    if (e->word & QCOW2_COMPRESSED) {
        e->bitmap = 0;
        return was.bitmap;
    }
    e->word &= QCOW2_OFFSET_MASK | QCOW2_COPIED | QCOW2_ZERO;
    bool zeroes = q->extended ? !data : q->version >= 3 && e->word & QCOW2_ZERO;
    if (host & (q->cluster_size - 1) && zeroes)
        e->word = q->extended ? 0 : QCOW2_ZERO;
    else if (q->extended && (host || q->data_external) && !(host & (q->cluster_size - 1)))
        e->bitmap &= ~(data << 32);
    return e->word != was.word || e->bitmap != was.bitmap;
}

static void mended(struct qcow2_census *c, const char *table, uint64_t where, uint64_t was, uint64_t is)
{
    c->check->corruptions_fixed++;
    qcow2_check_say(c->check, "Repairing %s entry at %#llx: %#llx becomes %#llx", table, (unsigned long long)where,
                    (unsigned long long)was, (unsigned long long)is);
}

int qcow2_l2_mend(struct qcow2_census *c, uint64_t offset, uint8_t *table)
{
    struct qcow2 *q = c->q;
    bool changed = false;
    if (qcow2_census_is_over(c, offset))
        return 0;
    for (uint64_t at = 0; at < q->cluster_size; at += q->entry_bytes) {
        be64 *raw = (be64 *)(table + at);
        struct qcow2_entry e = { be64_get(raw[0]), q->extended ? be64_get(raw[1]) : 0 };
        uint64_t was = e.word;
        if (!qcow2_entry_mend(q, &e))
            continue;
        mended(c, "L2", offset + at, was, e.word);
        raw[0] = be64_make(e.word);
        if (q->extended)
            raw[1] = be64_make(e.bitmap);
        changed = true;
    }
    if (!changed)
        return 0;
    qcow2_cache_forget(&q->l2, offset, q->cluster_size);
    qcow2_barrier_want(q);
    return block_protocol_pwrite(q->file, offset, table, q->cluster_size);
}

int qcow2_l1_mend(struct qcow2_census *c, uint64_t where, uint64_t *entry, bool active)
{
    struct qcow2 *q = c->q;
    uint64_t was = *entry;
    if (!(was & QCOW2_L1_RESERVED) || qcow2_census_is_over(c, where))
        return 0;
    *entry &= ~QCOW2_L1_RESERVED;
    mended(c, "L1", where, was, *entry);
    if (active)
        q->l1[(where - q->l1_offset) / 8] = *entry;
    be64 raw = be64_make(*entry);
    qcow2_barrier_want(q);
    return block_protocol_pwrite(q->file, where, &raw, sizeof(raw));
}
