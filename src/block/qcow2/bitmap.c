/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent dirty bitmaps at work. A bitmap is a table of clusters of bits; a table entry without a cluster stands for
 * bits that are all clear, or all set. Tables are in memory, bits in a small cache of pieces of the file, so that
 * memory does not depend on the disk's size.
 *
 * Before the first write of the disk each bitmap that records is marked "in use" in the directory, with a barrier. From
 * then on its bits may reach the file in any order; only what its table leads to has to be right: new clusters are
 * counted before the table names them, old ones given back after it has stopped to. When the image is closed bits,
 * table and, last, the flag are written, a barrier after each. After a crash the flag is still there: the bitmap is
 * inconsistent, and everybody knows. What cannot be kept (a full disk, a table that lies) stays marked in the same way;
 * the guest's write goes on.
 */
#include "block/qcow2/bitmap.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_BYTES (1u << 20)

uint64_t qcow2_bitmap_bits(uint64_t disk_bytes, unsigned granularity_bits)
{
    return (disk_bytes >> granularity_bits) + !!(disk_bytes & (BIT(granularity_bits) - 1));
}

uint64_t qcow2_bitmap_entries(const struct qcow2 *q, uint64_t bits)
{
    uint64_t per_entry = q->cluster_size * 8;
    return (bits + per_entry - 1) / per_entry;
}

const char *qcow2_bitmap_problem(const struct qcow2 *q, const struct qcow2_bitmap *b)
{
    if (b->broken || (b->flags & QCOW2_BITMAP_IN_USE && !b->marked))
        return "is inconsistent: the image was not closed while it recorded; remove it";
    if (b->type != QCOW2_BITMAP_TYPE_DIRTY || b->flags & ~QCOW2_BITMAP_FLAGS)
        return "is of a kind that is not known here; use the program that made it, or remove it";
    if (b->extra_length && !(b->flags & QCOW2_BITMAP_EXTRA_COMPATIBLE))
        return "holds extra data that are not known here; use the program that made it, or remove it";
    if (b->entries != qcow2_bitmap_entries(q, qcow2_bitmap_bits(q->node->size, b->granularity_bits)))
        return "does not fit the disk's size; remove it";
    return NULL;
}

static bool word_is_valid(const struct qcow2 *q, uint64_t word)
{
    uint64_t host = word & QCOW2_OFFSET_MASK;
    if (!host)
        return !(word & ~QCOW2_BITMAP_ONES);
    return word == host && !(host & (q->cluster_size - 1)) && !qcow2_meta_overlaps(q, host, q->cluster_size);
}

static uint64_t tables_bytes(const struct qcow2 *q)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < q->bitmaps; i++)
        bytes += q->bitmap[i].word ? q->bitmap[i].entries * 8ull : 0;
    return bytes;
}

/* The first `entries` clusters of bits, and all of the table, hold metadata, or do so no longer. */
static void clusters_forget(struct qcow2 *q, const struct qcow2_bitmap *b, uint32_t entries)
{
    for (uint32_t i = 0; i < entries; i++)
        if (b->word[i] & QCOW2_OFFSET_MASK)
            qcow2_meta_remove(q, b->word[i] >> q->cluster_bits);
    for (uint64_t at = 0; at < b->entries * 8ull; at += q->cluster_size)
        qcow2_meta_remove(q, (b->table + at) >> q->cluster_bits);
}

static int clusters_take(struct qcow2 *q, struct qcow2_bitmap *b)
{
    int r = 0;
    uint32_t i = 0;
    if (qcow2_meta_overlaps(q, b->table, b->entries * 8ull))
        return -EINVAL;
    for (uint64_t at = 0; !r && at < b->entries * 8ull; at += q->cluster_size)
        r = qcow2_meta_add(q, (b->table + at) >> q->cluster_bits);
    for (; !r && i < b->entries; i++) {
        if (!word_is_valid(q, b->word[i]))
            r = -EINVAL;
        else if (b->word[i] & QCOW2_OFFSET_MASK)
            r = qcow2_meta_add(q, b->word[i] >> q->cluster_bits);
    }
    if (r)
        clusters_forget(q, b, i ? i - 1 : 0);
    return r;
}

void qcow2_bitmap_unprotect(struct qcow2 *q, const struct qcow2_bitmap *b)
{
    if (b->word)
        clusters_forget(q, b, b->entries);
}

void qcow2_bitmap_unload_locked(struct qcow2 *q, struct qcow2_bitmap *b)
{
    qcow2_bitmap_unprotect(q, b);
    free(b->word);
    b->word = NULL;
}

int qcow2_bitmaps_protect(struct qcow2 *q)
{
    int r = qcow2_bitmaps_directory_protect(q);
    for (uint32_t i = 0; !r && i < q->bitmaps; i++)
        r = q->bitmap[i].word ? clusters_take(q, &q->bitmap[i]) : 0;
    return r;
}

int qcow2_bitmap_load_locked(struct qcow2 *q, struct qcow2_bitmap *b)
{
    if (b->word)
        return 0;
    if (tables_bytes(q) + b->entries * 8ull > QCOW2_BITMAP_TABLES_MAX)
        return -EFBIG;
    if (!q->bits.slices && qcow2_cache_init(&q->bits, (uint32_t)MIN(q->cluster_size, 4096ull), CACHE_BYTES))
        return -ENOMEM;
    int r = qcow2_words_read(q, b->table, b->entries, &b->word);
    if (!r)
        r = clusters_take(q, b);
    b->bits = qcow2_bitmap_bits(q->node->size, b->granularity_bits);
    b->changed_from = b->changed_to = 0;
    if (r) {
        free(b->word);
        b->word = NULL;
    }
    return r;
}

int qcow2_bitmap_use_locked(struct qcow2 *q, struct qcow2_bitmap *b)
{
    int r = qcow2_bitmap_load_locked(q, b);
    if (r || b->marked)
        return r;
    r = qcow2_bitmap_flags_write_locked(q, b, b->flags | QCOW2_BITMAP_IN_USE);
    if (!r)
        r = qcow2_barrier_locked(q);
    b->marked = !r;
    q->bitmaps_marked |= b->marked;
    return r;
}

void qcow2_bitmap_entry_set_locked(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t i, uint64_t word)
{
    uint64_t old = b->word[i] & QCOW2_OFFSET_MASK;
    if (old && old != word) {
        qcow2_cache_forget(&q->bits, old, q->cluster_size);
        qcow2_meta_remove(q, old >> q->cluster_bits);
        qcow2_extents_add(&q->bitmap_frees, old, q->cluster_size);  /* without memory for it: a leak */
    }
    b->word[i] = word;
    if (b->changed_from == b->changed_to) {
        b->changed_from = (uint32_t)i;
        b->changed_to = (uint32_t)i + 1;
    }
    b->changed_from = MIN(b->changed_from, (uint32_t)i);
    b->changed_to = MAX(b->changed_to, (uint32_t)i + 1);
}

static int fill(struct qcow2 *q, uint64_t host, bool ones)
{
    if (!ones)
        return block_protocol_write_zeroes(q->file, host, q->cluster_size, false);
    uint8_t *data = malloc(q->cluster_size);
    if (!data)
        return -ENOMEM;
    memset(data, 0xff, q->cluster_size);
    int r = block_protocol_pwrite(q->file, host, data, q->cluster_size);
    free(data);
    return r;
}

/* A cluster of its own for entry i, which holds what the entry stood for. */
static int cluster_own(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t i)
{
    uint64_t host, count;
    if (b->word[i] & QCOW2_OFFSET_MASK)
        return 0;
    int r = qcow2_allocate_locked(q, 1, &host, &count);
    if (r)
        return r;
    r = fill(q, host, b->word[i] == QCOW2_BITMAP_ONES);
    if (!r)
        r = qcow2_meta_add(q, host >> q->cluster_bits);
    if (r) {
        qcow2_allocation_undo_locked(q, host, 1);
        return r;
    }
    qcow2_cache_forget(&q->bits, host, q->cluster_size);
    qcow2_bitmap_entry_set_locked(q, b, i, host);
    return 0;
}

/* Bits [from, to] of a cluster of bits become value. */
static int bits_put(struct qcow2 *q, uint64_t host, uint64_t from, uint64_t to, bool value)
{
    for (uint64_t bit = from; bit <= to;) {
        struct qcow2_slice *s;
        uint64_t slice_bits = q->bits.slice_bytes * 8ull, first = bit % slice_bits;
        uint64_t last = MIN(to - (bit - first), slice_bits - 1);
        int r = qcow2_cache_get_locked(q, &q->bits, host + bit / slice_bits * q->bits.slice_bytes, &s);
        if (r)
            return r;
        bit += last - first + 1;
        for (; first <= last; first++) {
            uint8_t mask = (uint8_t)(1u << (first & 7)), *byte = &s->data[first >> 3];
            if (!(first & 7) && first + 7 <= last) {
                mask = 0xff;
                first += 7;
            }
            uint8_t now = value ? *byte | mask : *byte & (uint8_t)~mask;
            if (now != *byte) {
                *byte = now;
                qcow2_cache_dirty(&q->bits, s);
            }
        }
    }
    return 0;
}

int qcow2_bitmap_set_locked(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t first, uint64_t last)
{
    uint64_t per_entry = q->cluster_size * 8;
    int r = 0;
    for (uint64_t bit = first; !r && bit <= last;) {
        uint64_t i = bit / per_entry, entry_last = MIN((i + 1) * per_entry, b->bits) - 1, to = MIN(last, entry_last);
        if (b->word[i] != QCOW2_BITMAP_ONES && bit == i * per_entry && to == entry_last)
            qcow2_bitmap_entry_set_locked(q, b, i, QCOW2_BITMAP_ONES);
        if (b->word[i] != QCOW2_BITMAP_ONES) {
            r = cluster_own(q, b, i);
            if (!r)
                r = bits_put(q, b->word[i], bit - i * per_entry, to - i * per_entry, true);
        }
        bit = to + 1;
    }
    return r;
}

int qcow2_bitmap_range_clear_locked(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t first, uint64_t last)
{
    uint64_t per_entry = q->cluster_size * 8, i = first / per_entry;
    int r = cluster_own(q, b, i);
    return r ? r : bits_put(q, b->word[i], first - i * per_entry, last - i * per_entry, false);
}

void qcow2_bitmap_clear_locked(struct qcow2 *q, struct qcow2_bitmap *b)
{
    for (uint32_t i = 0; i < b->entries; i++)
        if (b->word[i])
            qcow2_bitmap_entry_set_locked(q, b, i, 0);
}

int qcow2_bitmap_run_locked(struct qcow2 *q, const struct qcow2_bitmap *b, uint64_t bit, uint64_t max, bool *set,
                            uint64_t *length)
{
    uint64_t per_entry = q->cluster_size * 8, i = bit / per_entry, word = b->word[i], slice_bits = q->bits.slice_bytes * 8ull;
    struct qcow2_slice *s;
    if (!(word & QCOW2_OFFSET_MASK)) {
        while (++i < b->entries && b->word[i] == word && i * per_entry - bit < max)
            ;
        *set = word;
        *length = MIN(i * per_entry - bit, max);
        return 0;
    }
    uint64_t in = bit % per_entry, at = in % slice_bits;
    int r = qcow2_cache_get_locked(q, &q->bits, word + in / slice_bits * q->bits.slice_bytes, &s);
    if (r)
        return r;
    *set = s->data[at >> 3] >> (at & 7) & 1;
    uint8_t alike = *set ? 0xff : 0;
    for (*length = 1; *length < max && at + *length < slice_bits;) {
        uint64_t next = at + *length;
        if (!(next & 7) && s->data[next >> 3] == alike)
            *length += 8;
        else if ((s->data[next >> 3] >> (next & 7) & 1) == *set)
            ++*length;
        else
            break;
    }
    *length = MIN(*length, max);
    return 0;
}

/* problem: what it is, else why: what failed. */
static void give_up(struct qcow2 *q, struct qcow2_bitmap *b, const char *problem, const char *why)
{
    char name[QCOW2_BITMAP_NAME_MAX + 1];
    if (b->broken)
        return;
    b->broken = true;
    if (qcow2_bitmap_name_read(q, b, name))
        strcpy(name, "?");
    log_message("'%s': the dirty bitmap '%s' %s%s. It is inconsistent from now on", q->node->filename, name,
                problem ? problem : "cannot be kept: ", problem ? "" : why);
}

/* One that records; what cannot is marked all the same. An error is that of the mark. */
static int recorder_begin(struct qcow2 *q, struct qcow2_bitmap *b)
{
    const char *problem = qcow2_bitmap_problem(q, b);
    int r = problem ? 0 : qcow2_bitmap_load_locked(q, b);
    if (problem || r)
        give_up(q, b, problem, r == -EINVAL ? "its table is not valid" : strerror(-r));
    if (b->flags & QCOW2_BITMAP_IN_USE)
        return 0;
    r = qcow2_bitmap_flags_write_locked(q, b, b->flags | QCOW2_BITMAP_IN_USE);
    b->marked = !r;
    return r;
}

static bool records(const struct qcow2_bitmap *b)
{
    return b->flags & QCOW2_BITMAP_AUTO && (!(b->flags & QCOW2_BITMAP_IN_USE) || b->marked);
}

int qcow2_bitmaps_begin_locked(struct qcow2 *q)
{
    bool any = false;
    int r = qcow2_bitmaps_open_locked(q);
    for (uint32_t i = 0; !r && i < q->bitmaps; i++)
        any |= records(&q->bitmap[i]) && !q->bitmap[i].broken;
    __atomic_store_n(&q->bitmaps_recording, any, __ATOMIC_RELEASE);
    return r;
}

/* All that record are in use: with one barrier. */
static int recorders_begin(struct qcow2 *q)
{
    int r = 0;
    for (uint32_t i = 0; !r && i < q->bitmaps; i++)
        if (records(&q->bitmap[i]) && !q->bitmap[i].marked)
            r = recorder_begin(q, &q->bitmap[i]);
    if (!r)
        r = qcow2_barrier_locked(q);
    q->bitmaps_marked = true;
    q->recorders_marked = !r;
    return r;
}

int qcow2_bitmaps_mark_locked(struct qcow2 *q, uint64_t offset, uint64_t length)
{
    int r = q->recorders_marked ? 0 : recorders_begin(q);
    for (uint32_t i = 0; !r && i < q->bitmaps; i++) {
        struct qcow2_bitmap *b = &q->bitmap[i];
        if (!records(b) || b->broken)
            continue;
        int failed = qcow2_bitmap_set_locked(q, b, offset >> b->granularity_bits,
                                             (offset + length - 1) >> b->granularity_bits);
        if (failed)
            give_up(q, b, NULL, strerror(-failed));
    }
    return r;
}

int qcow2_bitmaps_mark(struct qcow2 *q, uint64_t offset, uint64_t length)
{
    if (!__atomic_load_n(&q->bitmaps_recording, __ATOMIC_ACQUIRE) || !length)
        return 0;
    pthread_mutex_lock(&q->lock);
    int r = q->corrupt ? -EIO : qcow2_bitmaps_mark_locked(q, offset, length);
    pthread_mutex_unlock(&q->lock);
    return r;
}

static int barrier(struct qcow2 *q)
{
    qcow2_barrier_want(q);
    return qcow2_barrier_locked(q);
}

static int table_write(struct qcow2 *q, struct qcow2_bitmap *b)
{
    if (!b->marked || b->broken || b->changed_from == b->changed_to)
        return 0;
    return qcow2_words_write(q, b->table, b->word, &b->changed_from, &b->changed_to);
}

int qcow2_bitmaps_store_locked(struct qcow2 *q)
{
    if (!q->bitmaps_marked)
        return 0;
    int r = q->bits.slices ? qcow2_cache_write_locked(q, &q->bits) : 0;
    if (!r)
        r = qcow2_refcounts_write_locked(q);
    if (!r)
        r = barrier(q);
    for (uint32_t i = 0; !r && i < q->bitmaps; i++)
        r = table_write(q, &q->bitmap[i]);
    if (!r)
        r = barrier(q);
    for (uint32_t i = 0; !r && i < q->bitmaps; i++) {
        struct qcow2_bitmap *b = &q->bitmap[i];
        if (b->marked && !b->broken)
            r = qcow2_bitmap_flags_write_locked(q, b, b->flags & ~(uint32_t)QCOW2_BITMAP_IN_USE);
        b->marked &= r || b->broken;
    }
    if (!r)
        r = barrier(q);
    q->recorders_marked = false;
    if (r)
        return r;
    q->bitmaps_marked = false;
    qcow2_frees_apply_locked(q, &q->bitmap_frees);
    return 0;
}
