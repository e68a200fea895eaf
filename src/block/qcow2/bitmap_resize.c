/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps of a disk that changes its size. All are marked in use before, so that a crash in between leaves them
 * inconsistent, and the image sound; tables of another length are written to new clusters and named by a new directory.
 * Bits of what is added are clear, those behind a new end are cleared.
 */
#include "block/qcow2/bitmap.h"

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_inconsistent(const struct qcow2_bitmap *b)
{
    return b->broken || (b->flags & QCOW2_BITMAP_IN_USE && !b->marked);
}

static int all_use_locked(struct qcow2 *q)
{
    int r = 0;
    for (uint32_t i = 0; !r && i < q->bitmaps; i++) {
        if (is_inconsistent(&q->bitmap[i]))
            continue;
        r = qcow2_bitmap_problem(q, &q->bitmap[i]) ? -ENOTSUP : qcow2_bitmap_use_locked(q, &q->bitmap[i]);
    }
    return r;
}

void qcow2_bitmaps_give_up_locked(struct qcow2 *q)
{
    for (uint32_t i = 0; i < q->bitmaps; i++)
        q->bitmap[i].broken |= q->bitmap[i].marked;
    q->bitmap_frees.count = 0;      /* what is on the disk still leads to them */
}

int qcow2_bitmaps_resize_check_locked(struct qcow2 *q, uint64_t disk_bytes, struct error *err)
{
    int r = qcow2_bitmaps_open_locked(q);
    if (r)
        return error_set(err, "its dirty bitmaps cannot be read: %s", strerror(-r));
    for (uint32_t i = 0; i < q->bitmaps; i++) {
        const struct qcow2_bitmap *b = &q->bitmap[i];
        char name[QCOW2_BITMAP_NAME_MAX + 1];
        const char *problem = is_inconsistent(b) ? NULL : qcow2_bitmap_problem(q, b);
        if (!problem && !disk_bytes)
            problem = "has no place on a disk of 0 bytes; remove it";
        else if (!problem && (qcow2_bitmap_bits(disk_bytes, b->granularity_bits) + 7) / 8 > QCOW2_BITMAP_BYTES_MAX)
            problem = "would take more than 512 MiB; remove it, or make one with a larger granularity";
        if (problem && !qcow2_bitmap_name_read(q, b, name))
            return error_set(err, "the dirty bitmap '%.200s' %s", name, problem);
    }
    return 0;
}

int qcow2_bitmaps_resize_check(struct qcow2 *q, uint64_t disk_bytes, struct error *err)
{
    pthread_mutex_lock(&q->lock);
    int r = qcow2_bitmaps_resize_check_locked(q, disk_bytes, err);
    pthread_mutex_unlock(&q->lock);
    return r;
}

/* Bits from `bits` on are clear; those of whole entries behind are dropped with them. */
static int end_clear(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t bits)
{
    uint64_t per_entry = q->cluster_size * 8, i = bits / per_entry;
    int r = 0;
    if (bits >= b->bits)
        return 0;
    if (bits % per_entry && b->word[i])
        r = qcow2_bitmap_range_clear_locked(q, b, bits, MIN((i + 1) * per_entry, b->bits) - 1);
    for (i += bits % per_entry != 0; !r && i < b->entries; i++)
        if (b->word[i])
            qcow2_bitmap_entry_set_locked(q, b, i, 0);
    return r;
}

/* An entry of all ones that was the last one stands for more bits now: only the old ones are set. */
static int end_keep(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t bits)
{
    uint64_t per_entry = q->cluster_size * 8, old = b->bits, i = old / per_entry;
    if (bits <= old || !(old % per_entry) || b->word[i] != QCOW2_BITMAP_ONES)
        return 0;
    b->bits = MIN(bits, (i + 1) * per_entry);
    return qcow2_bitmap_range_clear_locked(q, b, old, b->bits - 1);
}

/* A longer or shorter table in new clusters. */
static int table_change(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t disk_bytes)
{
    uint64_t bits = qcow2_bitmap_bits(disk_bytes, b->granularity_bits), offset;
    uint32_t entries = (uint32_t)qcow2_bitmap_entries(q, bits), from = 0, to = entries;
    uint64_t clusters = (entries * 8ull + q->cluster_size - 1) >> q->cluster_bits;
    int r = bits < b->bits ? end_clear(q, b, bits) : end_keep(q, b, bits);
    uint64_t *word = r ? NULL : calloc(clusters, q->cluster_size);
    if (r || !word)
        return r ? r : -ENOMEM;
    memcpy(word, b->word, MIN(entries, b->entries) * sizeof(*word));
    r = qcow2_allocate_run_locked(q, clusters, &offset);
    if (!r) {
        r = qcow2_words_write(q, offset, word, &from, &to);
        for (uint64_t c = 0; !r && c < clusters; c++)
            r = qcow2_meta_add(q, (offset >> q->cluster_bits) + c);
        if (r)
            qcow2_allocation_undo_locked(q, offset, clusters);
    }
    if (r) {
        free(word);
        return r;
    }
    for (uint64_t at = 0; at < b->entries * 8ull; at += q->cluster_size) {
        qcow2_meta_remove(q, (b->table + at) >> q->cluster_bits);
        qcow2_extents_add(&q->bitmap_frees, b->table + at, q->cluster_size);
    }
    free(b->word);
    b->word = word;
    b->table = offset;
    b->entries = entries;
    b->bits = bits;
    b->changed_from = b->changed_to = 0;
    return 0;
}

int qcow2_bitmaps_resize_locked(struct qcow2 *q, uint64_t disk_bytes)
{
    int r = qcow2_bitmaps_open_locked(q);
    if (r || !q->bitmaps)
        return r;
    r = all_use_locked(q);
    struct qcow2_bitmap *list = r ? NULL : calloc(q->bitmaps, sizeof(*list));
    if (r || !list)
        return r ? r : -ENOMEM;
    for (uint32_t i = 0; !r && i < q->bitmaps; i++)
        if (!is_inconsistent(&q->bitmap[i]))
            r = table_change(q, &q->bitmap[i], disk_bytes);
    memcpy(list, q->bitmap, q->bitmaps * sizeof(*list));
    if (!r)
        r = qcow2_bitmaps_switch_locked(q, list, q->bitmaps, NULL);
    if (!r)
        return 0;
    free(list);
    qcow2_bitmaps_give_up_locked(q);
    return r;
}
