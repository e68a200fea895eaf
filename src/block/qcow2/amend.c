/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing options of an image that is there. Version 3 to 2 takes zero flags out of the L2 tables first (version 2 has
 * none); another width of the counts is a new refcount structure, which the header is switched over to in one write
 * together with the width.
 */
#include "block/qcow2/census.h"
#include "block/qcow2/whole.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int header_change(struct qcow2 *q)
{
    pthread_mutex_lock(&q->lock);
    int r = q->corrupt ? -EIO : qcow2_header_rewrite(q);
    pthread_mutex_unlock(&q->lock);
    return r;
}

/* New counts are made from the tables: what malformed entries lead to would not be counted any more. */
static int tables_check(struct qcow2 *q, struct qcow2_census *c, struct error *err)
{
    c->findings = false;
    int r = qcow2_census_take(c);
    if (r)
        return error_set(err, "its tables cannot be read: %s", strerror(-r));
    return c->malformed ? error_set(err, "entries of its tables are malformed; run 'ospite img check' on it") : 0;
}

static int refcount_width_change(struct qcow2 *q, unsigned order, struct error *err)
{
    struct block_check check = { 0 };
    struct qcow2_census c;
    struct qcow2_range range;
    unsigned before = q->refcount_order;
    int r = qcow2_whole_begin(q, &range);
    if (r)
        return error_set(err, "its last writes cannot be stored: %s", strerror(-r));
    r = qcow2_census_init(&c, q, &check, err);
    if (!r)
        r = tables_check(q, &c, err);
    qcow2_census_free(&c);
    q->refcount_order = order;
    if (!r)
        r = qcow2_census_init(&c, q, &check, err);
    if (!r) {
        r = qcow2_refcounts_replace(&c, err);
        qcow2_census_free(&c);
    }
    if (r)
        q->refcount_order = before;
    q->free_hint = 0;
    q->packed_at = 0;
    if (!r)
        r = qcow2_map_build(q, err);
    qcow2_whole_end(q, &range);
    return r;
}

/* Zero flags become clusters of zeroes where a backing file would show through, else nothing. */
static int zero_flags_remove(struct qcow2 *q, struct block_progress *p)
{
    uint64_t size = q->node->size, chunk = MAX(q->cluster_size, 1ull << 20);
    uint8_t *zeroes = calloc(1, chunk);
    int r = zeroes ? 0 : -ENOMEM;
    for (uint64_t at = 0; !r && at < size;) {
        struct block_map map = { .length_bytes = size - at };
        r = qcow2_tables_map(q, at, size - at, &map);
        uint64_t length = map.length_bytes;
        bool below = q->node->backing && at < q->node->backing->size;
        if (!r && map.zero && !below)
            r = qcow2_data_discard(q, at, length);
        for (uint64_t done = 0; !r && map.zero && below && done < length; done += chunk) {
            struct iovec iov = { zeroes, MIN(chunk, length - done) };
            r = qcow2_data_write(q, at + done, &iov, 1);
        }
        at += length;
        if (p && p->report)
            p->report(p, at, size);
    }
    free(zeroes);
    return r;
}

static int version_lower(struct qcow2 *q, struct block_progress *p, struct error *err)
{
    const char *holds = q->refcount_order != 4 ? "refcounts that are not 16 bits wide (amend refcount_bits=16 first)"
                        : q->data_external ? "an external data file" : q->extended ? "extended L2 entries"
                        : q->compression != QCOW2_ZLIB ? "zstd compression" : q->snapshots ? "internal snapshots"
                        : be32_get(q->bitmaps_raw.count) && q->autoclear & QCOW2_AUTOCLEAR_BITMAPS ? "dirty bitmaps" : NULL;
    if (holds)
        return error_set(err, "it cannot become version 2: it has %s", holds);
    int r = qcow2_write_begin(q);
    if (!r)
        r = zero_flags_remove(q, p);
    if (!r)
        r = qcow2_close_flush(q);
    if (r)
        return error_set(err, "it cannot become version 2: %s", strerror(-r));
    q->version = 2;
    q->lazy = false;
    q->compatible = q->autoclear = q->incompatible = 0;
    r = header_change(q);
    return r ? error_set(err, "its header cannot be written: %s", strerror(-r)) : 0;
}

static int version_change(struct qcow2 *q, unsigned version, struct block_progress *p, struct error *err)
{
    if (version == q->version)
        return 0;
    if (version == 2)
        return version_lower(q, p, err);
    int r = qcow2_write_begin(q);
    q->version = 3;
    if (!r)
        r = header_change(q);
    if (r) {
        q->version = 2;
        return error_set(err, "its header cannot be written: %s", strerror(-r));
    }
    return 0;
}

static int lazy_change(struct qcow2 *q, bool lazy, struct error *err)
{
    if (lazy == !!(q->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS))
        return 0;
    if (lazy && q->version < 3)
        return error_set(err, "lazy_refcounts needs compat=1.1");
    int r = qcow2_write_begin(q);
    if (!r)
        r = qcow2_close_flush(q);   /* no counts wait any more */
    if (!r) {
        q->compatible ^= QCOW2_COMPAT_LAZY_REFCOUNTS;
        q->lazy = lazy;
        r = header_change(q);
    }
    return r ? error_set(err, "its header cannot be written: %s", strerror(-r)) : 0;
}

static int order_of(uint64_t bits, unsigned *order, struct error *err)
{
    for (*order = 0; *order <= 6; ++*order)
        if (bits == BIT(*order))
            return 0;
    return error_set(err, "refcount_bits is a power of two from 1 to 64, not %llu", (unsigned long long)bits);
}

static int keys_change(struct qcow2 *q, const struct block_option_set *changes, bool force, struct error *err)
{
    int r = q->luks ? qcow2_write_begin(q) : 0;
    return r ? error_set(err, "it cannot be written: %s", strerror(-r)) :
           luks_amend(q->luks, changes, "encrypt.", q->node->objects, force, err);
}

/* Raising the version comes first, lowering it last, so that the others find what they need. */
static int changes_apply(struct qcow2 *q, const struct block_option_set *changes, bool force, struct block_progress *p,
                         struct error *err)
{
    static const char *const levels[] = { "0.10", "v2", "1.1", "v3", NULL };
    unsigned level = q->version == 2 ? 0 : 3, order;
    uint64_t bits = 1ull << q->refcount_order, size = q->node->size;
    bool lazy = q->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;
    const char *backing = block_option_get(changes, "backing_file"), *format = block_option_get(changes, "backing_fmt");
    if (block_option_choice(changes, "compat", levels, &level, err) ||
        block_option_number(changes, "refcount_bits", 64, &bits, err) || order_of(bits, &order, err) ||
        block_option_bool(changes, "lazy_refcounts", &lazy, err) || block_option_size(changes, "size", &size, err))
        return -1;
    if (level < 2 && (order != 4 || (lazy && block_option_get(changes, "lazy_refcounts"))))
        return error_set(err, "compat=0.10 has refcount_bits=16 and no lazy_refcounts");
    if ((backing && strcmp(backing, q->backing)) || (format && strcmp(format, q->backing_format)))
        return error_set(err, "amend does not change the backing file: the disk would change with it; use 'ospite img rebase'");
    if (keys_change(q, changes, force, err))
        return -1;
    if (level >= 2 && version_change(q, 3, p, err))
        return -1;
    if (order != q->refcount_order && refcount_width_change(q, order, err))
        return -1;
    if (lazy_change(q, level < 2 ? false : lazy, err))
        return -1;
    if (ALIGN_UP(size, 512ull) != q->node->size &&
        qcow2_resize(q->node, ALIGN_UP(size, 512ull), BLOCK_PREALLOCATION_OFF, err))
        return -1;
    return level < 2 ? version_change(q, 2, p, err) : 0;
}

int qcow2_amend(struct block_node *n, const struct block_option_set *changes, bool force, struct block_progress *p,
                struct error *err)
{
    return changes_apply(n->state, changes, force, p, err) ? error_prefix(err, "'%s'", n->filename) : 0;
}
