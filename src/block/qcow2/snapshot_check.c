/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a snapshot's tables have to be like before it is gone back to or deleted. Both write to them, or change the counts of all they lead
 * to: a table that lies over the guest's data, or a cluster that is counted less often than it is used, would cost data elsewhere. So all
 * counts are compared with the census first, and nothing is written when one is too low.
 */
#include "block/qcow2/snapshot.h"

#include "base/error.h"
#include "block/qcow2/census.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_past_end(const struct qcow2_census *c, uint64_t offset, uint64_t length)
{
    return offset + length > c->file_clusters << c->q->cluster_bits;
}

static bool l2_entry_is_bad(const struct qcow2_census *c, struct qcow2_entry e)
{
    const struct qcow2 *q = c->q;
    struct qcow2_extent x = { qcow2_entry_host(q, e), q->cluster_size };
    if (qcow2_entry_is_malformed(q, e))
        return true;
    if (e.word & QCOW2_COMPRESSED)
        x = qcow2_packed_extent(q, e.word);
    return x.offset && (x.offset & (e.word & QCOW2_COMPRESSED ? 0 : q->cluster_size - 1) || is_past_end(c, x.offset, x.length));
}

static int l2_check(struct qcow2_census *c, uint64_t table, struct error *err)
{
    struct qcow2 *q = c->q;
    int r = block_protocol_pread(q->file, table, c->cluster, q->cluster_size);
    if (r)
        return error_set(err, "the snapshot's L2 table at %#llx cannot be read: %s", (unsigned long long)table, strerror(-r));
    for (uint64_t at = 0; at < q->cluster_size; at += q->entry_bytes) {
        const be64 *raw = (const be64 *)(c->cluster + at);
        const struct qcow2_entry e = { be64_get(raw[0]), q->extended ? be64_get(raw[1]) : 0 };
        if (l2_entry_is_bad(c, e))
            return error_set(err, "entry %llu of the snapshot's L2 table at %#llx is malformed: %#llx",
                             (unsigned long long)at / q->entry_bytes, (unsigned long long)table, (unsigned long long)e.word);
    }
    return 0;
}

static int l1_check(struct qcow2_census *c, const uint64_t *l1, uint32_t entries, struct error *err)
{
    const struct qcow2 *q = c->q;
    for (uint32_t i = 0; i < entries; i++) {
        uint64_t table = l1[i] & QCOW2_OFFSET_MASK;
        const char *problem = table & (q->cluster_size - 1) ? "not the start of a cluster" :
                              is_past_end(c, table, q->cluster_size) ? "past the end of the file" :
                              qcow2_census_is_over(c, table) ? "where data or other metadata lie, too" : NULL;
        if (!table)
            continue;
        if (problem)
            return error_set(err, "entry %u of the snapshot's L1 table leads to %#llx, %s", i, (unsigned long long)table, problem);
        if (l2_check(c, table, err))
            return -1;
    }
    return 0;
}

static int tables_check(struct qcow2_census *c, const struct qcow2_snapshot *s, struct error *err)
{
    uint64_t *l1 = NULL, low;
    int r = qcow2_census_compare(c, &low);
    if (!r)
        r = qcow2_words_read(c->q, s->l1_offset, s->l1_entries, &l1);
    if (r)
        r = error_set(err, "its tables cannot be read: %s", strerror(-r));
    else if (!l1_check(c, l1, s->l1_entries, err))
        r = low == UINT64_MAX ? 0 : error_set(err, "cluster %llu is counted less often than it is used", (unsigned long long)low);
    else
        r = -1;
    free(l1);
    return r;
}

int qcow2_snapshot_check_locked(struct qcow2 *q, const struct qcow2_snapshot *s, struct error *err)
{
    struct block_check silent = { 0 };
    struct qcow2_census c;
    struct error why;
    if (qcow2_census_init(&c, q, &silent, err))
        return -1;
    int r = tables_check(&c, s, &why);
    qcow2_census_free(&c);
    return !r ? 0 : error_set(err, "%.300s. Nothing was changed; run 'ospite img check -r all' on a copy, or read the snapshot with 'ospite img convert -l'",
                     why.text);
}
