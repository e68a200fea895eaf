/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Check and repair. The census says how often each cluster is referred to; it is compared with the counts in the file,
 * window by window. Then the "copied" flags of the active tables are compared with the counts. What is counted too
 * often is a leak, everything else a corruption; the figures are those of qemu-img.
 *
 * Repair first mends entries whose meaning is plain (mend.c). It raises counts that are too low before it lowers those that are too high, and touches flags when the counts are
 * on the disk, so that it may be cut off anywhere and started again. Nothing is lowered while entries are malformed: what
 * they led to may be data that somebody wants back. A refcount structure that cannot be used is replaced (rebuild.c). Tables that
 * something else lies over are not written, and tables that the image could not be opened with for writing are a finding too.
 *
 * An image with lazy refcounts that was not closed goes through the same before its first write, in silence; anything
 * but wrong counts and flags then stops it.
 */
#include "block/qcow2/census.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_HINT "run 'ospite img check -r all' on it"

struct comparison {
    struct qcow2_census *c;
    unsigned fix;
    bool raises_only;               /* what is too high is left for a later pass */
    bool missing;                   /* a cluster in use lies where no refcount block is */
    uint64_t highest, low;          /* low: the first that is counted less often than it is used */
};

static void count_wrong(struct comparison *m, uint64_t cluster, uint64_t stored, uint64_t wanted)
{
    struct block_check *check = m->c->check;
    bool leak = stored > wanted, inside = cluster < m->c->file_clusters;
    if (!leak)
        m->low = MIN(m->low, cluster);
    if (leak && m->raises_only)
        return;
    bool fix = m->fix & (leak ? BLOCK_FIX_LEAKS : BLOCK_FIX_ERRORS) && !(leak && m->c->malformed) &&
               !qcow2_refcount_set_locked(m->c->q, cluster, wanted);
    if (!inside || (m->raises_only && !fix))
        return;
    if (leak)
        *(fix ? &check->leaks_fixed : &check->leaks) += 1;
    else
        *(fix ? &check->corruptions_fixed : &check->corruptions) += 1;
    qcow2_check_say(check, "%s cluster %llu refcount=%llu reference=%llu", fix ? "Repairing" : leak ? "Leaked" : "ERROR",
                    (unsigned long long)cluster, (unsigned long long)stored, (unsigned long long)wanted);
}

static bool block_is_there(const struct qcow2 *q, uint64_t block)
{
    uint64_t offset = block < q->reftable_entries ? q->reftable[block] : 0;
    return offset && !(offset & (q->cluster_size - 1)) && offset < QCOW2_HOST_MAX;
}

/* Clusters of one refcount block, or of a range that has none. */
static int range_compare(struct comparison *m, uint64_t from, uint64_t to)
{
    struct qcow2 *q = m->c->q;
    bool there = block_is_there(q, from / qcow2_refcounts_per_block(q));
    for (uint64_t i = from; i < to; i++) {
        uint64_t wanted = qcow2_census_count(m->c, i), stored = 0;
        qcow2_census_over_note(m->c, i);
        int r = there ? qcow2_refcount_get_locked(q, i, &stored) : 0;
        if (r)
            return r;
        m->missing |= wanted && !there;
        if ((stored || wanted) && i < m->c->file_clusters)
            m->highest = MAX(m->highest, i);
        if (stored != wanted)
            count_wrong(m, i, stored, wanted);
    }
    return 0;
}

static int window_compare(struct comparison *m)
{
    struct qcow2 *q = m->c->q;
    uint64_t per_block = qcow2_refcounts_per_block(q), at = m->c->start, end = m->c->end;
    uint64_t last = MAX(m->c->file_clusters, (uint64_t)q->reftable_entries * per_block);
    while (at < MIN(end, last)) {
        uint64_t block_end = MIN((at / per_block + 1) * per_block, end);
        uint64_t block = at / per_block;
        if (!block_is_there(q, block)) {
            uint64_t next = qcow2_census_next(m->c, at);
            while (block < q->reftable_entries && !block_is_there(q, block))
                block++;
            if (block < q->reftable_entries)
                next = MIN(next, block * per_block);
            if (next >= block_end) {
                at = next;
                continue;
            }
            at = MAX(at, next);
            block_end = MIN(block_end, ALIGN_DOWN(at, (uint64_t)QCOW2_CENSUS_CHUNK) + QCOW2_CENSUS_CHUNK);
        }
        int r = range_compare(m, at, block_end);
        if (r)
            return r;
        at = block_end;
    }
    return 0;
}

/* say: what the tables have wrong is a finding of this pass. */
static int compare_all(struct comparison *m, bool say)
{
    struct qcow2_census *c = m->c;
    int r = 0;
    m->low = UINT64_MAX;
    c->overs = 0;
    c->findings = say;
    for (c->start = 0; !r; c->start = c->end) {
        r = qcow2_census_take(c);
        if (!r)
            r = window_compare(m);
        c->findings = false;
        if (c->end == UINT64_MAX)
            break;
    }
    c->start = 0;
    return r;
}

int qcow2_census_compare(struct qcow2_census *c, uint64_t *low)
{
    struct comparison m = { .c = c };
    int r = compare_all(&m, false);
    *low = m.low;
    return r;
}

static bool flag_is_right(struct qcow2 *q, uint64_t word, uint64_t *count, int *r)
{
    uint64_t cluster = (word & QCOW2_OFFSET_MASK) >> q->cluster_bits;
    *count = 0;
    if (word & QCOW2_COMPRESSED)
        return !(word & QCOW2_COPIED);
    if (block_is_there(q, cluster / qcow2_refcounts_per_block(q)))
        *r = qcow2_refcount_get_locked(q, cluster, count);
    return *r || (*count == 1) == !!(word & QCOW2_COPIED);
}

static void flag_found(struct qcow2_census *c, const char *what, uint64_t word, uint64_t count, bool repair)
{
    *(repair ? &c->check->corruptions_fixed : &c->check->corruptions) += 1;
    qcow2_check_say(c->check, "%s OFLAG_COPIED %s: entry=%llx refcount=%llu", repair ? "Repairing" : "ERROR", what,
                    (unsigned long long)word, (unsigned long long)count);
}

static int l2_flags(struct qcow2_census *c, uint64_t table, bool repair)
{
    struct qcow2 *q = c->q;
    bool changed = false;
    int r = block_protocol_pread(q->file, table, c->cluster, q->cluster_size);
    repair &= !qcow2_census_is_over(c, table);
    for (uint64_t at = 0; !r && at < q->cluster_size; at += q->entry_bytes) {
        be64 *entry = (be64 *)(c->cluster + at);
        uint64_t word = be64_get(*entry), host = word & QCOW2_OFFSET_MASK, count;
        bool packed = word & QCOW2_COMPRESSED;
        if (!packed && (!host || host & (q->cluster_size - 1)))
            continue;
        if (flag_is_right(q, word, &count, &r))
            continue;
        flag_found(c, packed ? "compressed cluster" : "data cluster", word, count, repair);
        *entry = be64_make(word ^ QCOW2_COPIED);
        changed = true;
    }
    if (r || !repair || !changed)
        return r;
    qcow2_cache_forget(&q->l2, table, q->cluster_size);
    return block_protocol_pwrite(q->file, table, c->cluster, q->cluster_size);
}

static int flags_check(struct qcow2_census *c, bool repair)
{
    struct qcow2 *q = c->q;
    int r = 0;
    for (uint32_t i = 0; !r && i < q->l1_entries; i++) {
        uint64_t table = q->l1[i] & QCOW2_OFFSET_MASK, count;
        if (!table || table & (q->cluster_size - 1) || table >= c->file_bytes)
            continue;
        if (!flag_is_right(q, q->l1[i], &count, &r)) {
            bool mends = repair && !qcow2_census_is_over(c, q->l1_offset + i * 8ull);
            flag_found(c, "L2 cluster", q->l1[i], count, mends);
            if (mends)
                qcow2_l1_set_locked(q, i, q->l1[i] ^ QCOW2_COPIED);
        }
        if (!r && !q->data_external)
            r = l2_flags(c, table, repair);
    }
    return r;
}

static int counts_settle(struct qcow2 *q)
{
    int r = qcow2_refcounts_write_locked(q);
    qcow2_barrier_want(q);
    return r ? r : qcow2_barrier_locked(q);
}

static bool flags_may_change(const struct block_check *check)
{
    if (check->fix & BLOCK_FIX_ERRORS)
        return true;
    return check->fix && !check->check_errors && !check->corruptions && !check->leaks;
}

static int entries_mend(struct qcow2_census *c)
{
    c->mend = true;
    c->findings = false;
    int r = qcow2_census_take(c);
    c->mend = false;
    return r ? r : qcow2_barrier_locked(c->q);
}

/*
 * What goes before the counts: entries that can be mended, and, without a usable refcount structure, another one, since counts cannot be
 * mended one by one then. What it had wrong counts as mended.
 */
static int structure_repair(struct qcow2_census *c, struct error *err)
{
    struct block_check silent = { 0 }, *check = c->check;
    struct comparison m = { .c = c };
    uint64_t entries = 0;
    c->check = &silent;
    int r = compare_all(&m, true);
    c->check = check;
    if (!r && check->fix & BLOCK_FIX_ERRORS && c->mendable) {
        entries = c->mendable;
        r = entries_mend(c);
    }
    if (r)
        return error_set(err, "its tables cannot be read, or mended: %s", strerror(-r));
    if (!(check->fix & BLOCK_FIX_ERRORS) || !(c->refcounts_broken || m.missing))
        return 0;
    qcow2_check_say(check, "Rebuilding refcount structure");
    if (qcow2_refcounts_replace(c, err))
        return -1;
    check->corruptions_fixed += silent.corruptions - MIN(silent.corruptions, c->malformed + entries);
    return 0;
}

static int counts_check(struct qcow2_census *c)
{
    struct comparison m = { .c = c, .fix = BLOCK_FIX_ERRORS, .raises_only = true };
    int r = 0;
    if (c->check->fix & BLOCK_FIX_ERRORS)
        r = compare_all(&m, false);
    if (!r && c->check->fix)
        r = counts_settle(c->q);
    m = (struct comparison){ .c = c, .fix = c->check->fix };
    if (!r)
        r = compare_all(&m, true);
    if (!r && c->check->fix)
        r = counts_settle(c->q);
    c->check->image_end_offset = (m.highest + 1) << c->q->cluster_bits;
    return r;
}

static int flags_repair(struct qcow2_census *c)
{
    bool repair = flags_may_change(c->check);
    int r = flags_check(c, repair);
    if (r || !repair)
        return r;
    qcow2_barrier_want(c->q);
    return qcow2_tables_write_locked(c->q);
}

/* Everything was mended: the header says so. */
static int marks_clear(struct qcow2 *q)
{
    uint64_t marks = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT;
    qcow2_barrier_want(q);
    int r = qcow2_barrier_locked(q);
    if (r || !(q->incompatible & marks))
        return r;
    q->incompatible &= ~marks;
    r = qcow2_header_features_write(q);
    return r ? r : block_protocol_flush(q->file);
}

/* Tables that overlap are not opened for writing, however their clusters are counted. */
static void map_check(struct qcow2 *q, struct block_check *check)
{
    struct error err;
    if (check->corruptions || check->check_errors || !qcow2_map_build(q, &err))
        return;
    check->corruptions++;
    qcow2_check_say(check, "ERROR %s", err.text);
}

static void rest_say(struct qcow2_census *c)
{
    struct block_check *check = c->check;
    if (!(check->fix & BLOCK_FIX_ERRORS) || !check->corruptions)
        return;
    qcow2_check_say(check, "Not repaired: %llu errors of its tables, since nobody can say what they should lead to%s. 'ospite img convert "
                    "--salvage' copies what can be read", (unsigned long long)check->corruptions,
                    c->malformed ? "; what they may have led to stays as it is, also as leaks" : "");
}

static int check_locked(struct qcow2 *q, struct block_check *check, struct error *err)
{
    struct qcow2_census c;
    if (qcow2_census_init(&c, q, check, err))
        return -1;
    check->total_clusters = qcow2_virtual_clusters(q);
    int r = check->fix ? structure_repair(&c, err) : 0;
    if (!r) {
        r = counts_check(&c);
        if (!r)
            r = flags_repair(&c);
        if (!r) {
            map_check(q, check);
            rest_say(&c);
        }
        if (!r && check->fix && !check->corruptions && !check->check_errors)
            r = marks_clear(q);
        if (r)
            r = error_set(err, "%s: %s", check->fix ? "it cannot be repaired" : "it cannot be checked", strerror(-r));
    }
    qcow2_census_free(&c);
    return r;
}

int qcow2_check(struct block_node *n, struct block_check *check, struct error *err)
{
    struct qcow2 *q = n->state;
    if (n->readonly && check->fix)
        return error_set(err, "cannot repair '%s': it is open for reading only", n->filename);
    pthread_mutex_lock(&q->lock);
    bool corrupt = q->corrupt;
    q->corrupt = false;             /* a finding of the past must not stop the repair */
    int r = check_locked(q, check, err);
    bool closed = r && q->corrupt;  /* nobody knows which header it has */
    q->corrupt = closed || (corrupt && (!check->fix || check->corruptions));
    pthread_mutex_unlock(&q->lock);
    return r ? error_prefix(err, "cannot check '%s'", n->filename) : 0;
}

int qcow2_refcounts_rebuild(struct qcow2 *q, struct error *err)
{
    struct block_check check = { 0 };
    struct qcow2_census c;
    if (qcow2_census_init(&c, q, &check, err))
        return -1;
    int r = qcow2_census_take(&c);
    uint64_t malformed = c.malformed;
    qcow2_census_free(&c);
    if (r)
        return error_set(err, "it was not closed and its tables cannot be read: %s", strerror(-r));
    if (malformed)
        return error_set(err, "it was not closed, and %llu of its entries are malformed; " CHECK_HINT,
                         (unsigned long long)malformed);
    check = (struct block_check){ .fix = BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS };
    r = check_locked(q, &check, err);
    if (!r && check.corruptions)
        r = error_set(err, "it was not closed, and not all of it can be mended; " CHECK_HINT);
    q->free_hint = 0;
    if (!r)
        r = qcow2_map_build(q, err);    /* refcount blocks may lie elsewhere now */
    trace(TRACE_BLOCK, "block: '%s' was not closed: %llu refcounts mended\n", q->node->filename,
          (unsigned long long)(check.leaks_fixed + check.corruptions_fixed));
    return r;
}
