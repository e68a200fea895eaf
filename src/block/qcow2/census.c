/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counting all references anew, from the header, the tables and every L1 and L2 table of the active image and its
 * snapshots. Memory is bounded whatever the image's size: counts live in chunks that are made where a reference
 * leads; when there are too many, the last ones are given up and the window ends before them. The caller then
 * takes the census again from there on.
 *
 * An L2 table that several snapshots share is read once and counted as often as it is referred to: tables are
 * gathered, sorted and read in the order of the file.
 */
#include "block/qcow2/census.h"

#include "block/qcow2/bitmap.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNKS = 2048, CHUNKS_MIN = 64, SLOTS = 8192, TABLES = 1 << 20, L1_PIECE_BYTES = 64 << 10 };

/* A count with bits for its uses above it. */
#define COUNT_MASK 0x1fffffffu
#define USE_SHIFT 29

struct census_chunk {
    uint64_t number;
    uint32_t count[QCOW2_CENSUS_CHUNK];
};

void qcow2_check_say(struct block_check *c, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    if (!c->say)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    c->say(c, line);
}

int qcow2_census_init(struct qcow2_census *c, struct qcow2 *q, struct block_check *check, struct error *err)
{
    int64_t end = q->file->ops->size(q->file);
    uint64_t per_block = qcow2_refcounts_per_block(q);
    *c = (struct qcow2_census){ .q = q, .check = check, .findings = true };
    if (end < 0)
        return error_set(err, "its size cannot be read: %s", strerror((int)-end));
    c->file_bytes = (uint64_t)end;
    c->file_clusters = (c->file_bytes + q->cluster_size - 1) >> q->cluster_bits;
    /* No more than a small file needs; a window has to hold what a refcount block counts. */
    c->chunks_max = (uint32_t)MIN(MAX((uint64_t)CHUNKS, per_block / QCOW2_CENSUS_CHUNK + 1),
                                  c->file_clusters / QCOW2_CENSUS_CHUNK + CHUNKS_MIN);
    c->tables_max = (uint32_t)MIN((uint64_t)TABLES, c->file_clusters + CHUNKS_MIN) + c->chunks_max;
    c->slot = calloc(SLOTS, sizeof(*c->slot));
    c->chunk = calloc(c->chunks_max, sizeof(*c->chunk));
    c->table = malloc(c->tables_max * sizeof(*c->table));
    c->cluster = malloc(MAX(q->cluster_size, (uint64_t)L1_PIECE_BYTES));
    c->over = malloc(QCOW2_CENSUS_OVER_MAX * sizeof(*c->over));
    if (c->slot && c->chunk && c->table && c->cluster && c->over)
        return 0;
    qcow2_census_free(c);
    return error_set(err, "out of memory");
}

void qcow2_census_free(struct qcow2_census *c)
{
    free(c->slot);
    free(c->chunk);
    free(c->table);
    free(c->cluster);
    free(c->over);
    c->over = NULL;
    c->slot = NULL;
    c->chunk = NULL;
    c->table = NULL;
    c->cluster = NULL;
}

static uint32_t slot_of(uint64_t number)
{
    return (uint32_t)(number * 0x9e3779b97f4a7c15ull >> 32) & (SLOTS - 1);
}

static struct census_chunk *chunk_find(const struct qcow2_census *c, uint64_t number)
{
    for (uint32_t s = slot_of(number); c->slot[s]; s = (s + 1) & (SLOTS - 1))
        if (c->chunk[c->slot[s] - 1].number == number)
            return &c->chunk[c->slot[s] - 1];
    return NULL;
}

static void slots_fill(struct qcow2_census *c)
{
    memset(c->slot, 0, SLOTS * sizeof(*c->slot));
    for (uint32_t i = 0; i < c->chunks; i++) {
        uint32_t s = slot_of(c->chunk[i].number);
        while (c->slot[s])
            s = (s + 1) & (SLOTS - 1);
        c->slot[s] = (uint16_t)(i + 1);
    }
}

static int number_compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Gives up the upper half of the chunks; the window ends before them. */
static void chunks_drop(struct qcow2_census *c)
{
    uint64_t *number = c->table + c->tables_max - c->chunks;   /* never in use here, see gather */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->chunks; i++)
        number[i] = c->chunk[i].number;
    qsort(number, c->chunks, sizeof(*number), number_compare);
    uint64_t limit = number[c->chunks / 4 * 3];
    c->end = limit * QCOW2_CENSUS_CHUNK;
    for (uint32_t i = 0; i < c->chunks; i++)
        if (c->chunk[i].number < limit) {
            if (kept != i)
                c->chunk[kept] = c->chunk[i];
            kept++;
        }
    c->chunks = kept;
    c->last = NULL;
    slots_fill(c);
}

/* NULL: outside the window, which may have become smaller just now. */
static struct census_chunk *chunk_get(struct qcow2_census *c, uint64_t cluster)
{
    uint64_t number = cluster / QCOW2_CENSUS_CHUNK;
    if (cluster < c->start || cluster >= c->end)
        return NULL;
    if (c->last && c->last->number == number)
        return c->last;
    struct census_chunk *k = chunk_find(c, number);
    if (!k && c->chunks == c->chunks_max) {
        chunks_drop(c);
        if (cluster >= c->end)
            return NULL;
    }
    if (!k) {
        k = &c->chunk[c->chunks++];
        memset(k, 0, sizeof(*k));
        k->number = number;
        uint32_t s = slot_of(number);
        while (c->slot[s])
            s = (s + 1) & (SLOTS - 1);
        c->slot[s] = (uint16_t)c->chunks;
    }
    c->last = k;
    return k;
}

static uint32_t word_of(struct qcow2_census *c, uint64_t cluster)
{
    struct census_chunk *k = c->last && c->last->number == cluster / QCOW2_CENSUS_CHUNK
                                 ? c->last : chunk_find(c, cluster / QCOW2_CENSUS_CHUNK);
    if (k)
        c->last = k;
    return k ? k->count[cluster % QCOW2_CENSUS_CHUNK] : 0;
}

uint64_t qcow2_census_count(struct qcow2_census *c, uint64_t cluster)
{
    return word_of(c, cluster) & COUNT_MASK;
}

void qcow2_census_over_note(struct qcow2_census *c, uint64_t cluster)
{
    uint32_t word = word_of(c, cluster), uses = word >> USE_SHIFT;
    bool over = uses & (uses - 1) || (uses == 1u << QCOW2_USE_L1 && (word & COUNT_MASK) > 1);
    if (over && c->overs < QCOW2_CENSUS_OVER_MAX)
        c->over[c->overs++] = cluster;
}

bool qcow2_census_is_over(const struct qcow2_census *c, uint64_t offset)
{
    uint64_t cluster = offset >> c->q->cluster_bits;
    return c->overs == QCOW2_CENSUS_OVER_MAX || bsearch(&cluster, c->over, c->overs, sizeof(cluster), number_compare);
}

uint64_t qcow2_census_next(const struct qcow2_census *c, uint64_t cluster)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < c->chunks; i++) {
        uint64_t first = c->chunk[i].number * QCOW2_CENSUS_CHUNK;
        if (first + QCOW2_CENSUS_CHUNK > cluster)
            next = MIN(next, MAX(first, cluster));
    }
    return next;
}

static void malformed(struct qcow2_census *c, const char *what, uint64_t where, uint64_t value)
{
    c->malformed++;
    if (!c->findings)
        return;
    c->check->corruptions++;
    qcow2_check_say(c->check, "ERROR %s %#llx: %#llx", what, (unsigned long long)where, (unsigned long long)value);
}

/* What it leads to is clear all the same. */
static void reserved_found(struct qcow2_census *c, const char *table, uint64_t where, uint64_t value)
{
    if (!c->findings)
        return;
    c->check->corruptions++;
    qcow2_check_say(c->check, "ERROR %s entry at %#llx with reserved bits set: %#llx", table, (unsigned long long)where,
                    (unsigned long long)value);
}

/* Adds `weight` references to the clusters that these bytes touch. */
static int add(struct qcow2_census *c, uint64_t offset, uint64_t length, uint32_t weight, enum qcow2_use use)
{
    struct qcow2 *q = c->q;
    if (!length)
        return 0;
    if (offset + length < offset || offset + length > c->file_clusters << q->cluster_bits) {
        malformed(c, "reference past the end of the file, length and offset", length, offset);
        return 0;
    }
    uint64_t first = offset >> q->cluster_bits, last = (offset + length - 1) >> q->cluster_bits;
    c->highest = MAX(c->highest, last);
    for (uint64_t i = first; i <= last; i++) {
        struct census_chunk *k = chunk_get(c, i);
        uint32_t *count = k ? &k->count[i % QCOW2_CENSUS_CHUNK] : NULL;
        if (count)
            *count = (*count & ~COUNT_MASK) | 1u << (USE_SHIFT + use) | MIN((*count & COUNT_MASK) + weight, COUNT_MASK);
        else if (i >= c->end)
            break;
    }
    return 0;
}

/* Where the clusters of one table of the active image lie, for the figures of check. */
struct layout {
    bool counts;
    uint64_t next;
};

static void layout_add(struct qcow2_census *c, struct layout *l, uint64_t host, bool packed)
{
    if (!l->counts || !c->findings)
        return;
    c->check->allocated_clusters++;
    if (packed) {
        c->check->compressed_clusters++;
        c->check->fragmented_clusters++;
        return;
    }
    if (l->next && host != l->next)
        c->check->fragmented_clusters++;
    l->next = host + c->q->cluster_size;
}

static int l2_entry_count(struct qcow2_census *c, uint64_t where, struct qcow2_entry e, uint32_t weight,
                          struct layout *l)
{
    struct qcow2 *q = c->q;
    uint64_t host = qcow2_entry_host(q, e);
    struct qcow2_entry mended = e;
    bool mendable = qcow2_entry_mend(q, &mended);
    if (qcow2_entry_is_malformed(q, e))
        malformed(c, "L2 entry at", where, e.word);
    else if (mendable)
        reserved_found(c, "L2", where, e.word);
    c->mendable += mendable;
    if (e.word & QCOW2_COMPRESSED) {
        struct qcow2_extent x = qcow2_packed_extent(q, e.word);
        layout_add(c, l, 0, true);
        return q->data_external ? 0 : add(c, x.offset, x.length, weight, QCOW2_USE_OTHER);
    }
    if (!host && !(q->data_external && e.word & QCOW2_COPIED))
        return 0;
    layout_add(c, l, host, false);
    if (q->data_external || host & (q->cluster_size - 1))
        return 0;
    return add(c, host, q->cluster_size, weight, QCOW2_USE_OTHER);
}

static int l2_count(struct qcow2_census *c, uint64_t offset, uint32_t weight, bool active)
{
    struct qcow2 *q = c->q;
    struct layout l = { .counts = active };
    int r = add(c, offset, q->cluster_size, weight, QCOW2_USE_L2);
    if (r || offset >= c->file_bytes)
        return r;
    r = block_protocol_pread(q->file, offset, c->cluster, q->cluster_size);
    if (!r && c->mend)
        r = qcow2_l2_mend(c, offset, c->cluster);
    for (uint64_t at = 0; !r && at < q->cluster_size; at += q->entry_bytes) {
        struct qcow2_entry e = { .word = be64_get(*(const be64 *)(c->cluster + at)) };
        if (q->extended)
            e.bitmap = be64_get(*(const be64 *)(c->cluster + at + 8));
        if (e.word || e.bitmap)
            r = l2_entry_count(c, offset + at, e, weight, &l);
    }
    return r;
}

static int tables_count(struct qcow2_census *c)
{
    size_t count = c->tables;
    int r = 0;
    c->tables = 0;
    qsort(c->table, count, sizeof(*c->table), number_compare);
    for (size_t i = 0, k; !r && i < count; i = k) {
        uint64_t offset = c->table[i] & ~1ull;
        bool active = false;
        for (k = i; k < count && (c->table[k] & ~1ull) == offset; k++)
            active |= c->table[k] & 1;
        r = l2_count(c, offset, (uint32_t)(k - i), active);
    }
    return r;
}

/* The upper end of the array is scratch for chunks_drop. */
static int gather(struct qcow2_census *c, uint64_t where, uint64_t entry, bool active)
{
    int r = c->mend ? qcow2_l1_mend(c, where, &entry, active) : 0;
    uint64_t offset = entry & QCOW2_OFFSET_MASK;
    if (entry & QCOW2_L1_RESERVED) {
        reserved_found(c, "L1", where, entry);
        c->mendable++;
    }
    if (r || !offset)
        return r;
    if (offset & (c->q->cluster_size - 1)) {
        malformed(c, "L1 entry at", where, entry);
        return 0;
    }
    c->table[c->tables++] = offset | active;
    return c->tables < c->tables_max - c->chunks_max ? 0 : tables_count(c);
}

/* How many of the bytes from offset on are a hole of the file; *data: up to where there is none. */
static uint64_t hole_length(const struct qcow2_census *c, uint64_t offset, uint64_t length, uint64_t *data)
{
    struct block_protocol *p = c->q->file;
    struct block_extent extent = { 0 };
    if (offset < *data || !p->ops->extent || p->ops->extent(p, offset, length, &extent) || !extent.length_bytes) {
        *data = MAX(*data, offset + MIN(length, (uint64_t)L1_PIECE_BYTES));
        return 0;
    }
    if (!extent.zero)
        *data = offset + extent.length_bytes;
    return extent.zero ? ALIGN_DOWN(MIN(extent.length_bytes, length), 8ull) : 0;
}

/* Each entry of a table. A thousand tables of 32 MiB take no space in a sparse file, so holes go by in one step. */
static int table_walk(struct qcow2_census *c, uint64_t offset, uint64_t bytes, enum qcow2_use use, bool active,
                      int (*entry)(struct qcow2_census *c, uint64_t where, uint64_t word, bool active))
{
    be64 *piece = malloc(L1_PIECE_BYTES);
    uint64_t data = 0;
    int r = piece ? add(c, offset, bytes, 1, use) : -ENOMEM;
    for (uint64_t at = 0, take; !r && at < bytes; at += take) {
        take = hole_length(c, offset + at, bytes - at, &data);
        if (take)
            continue;
        take = MIN(bytes - at, (uint64_t)L1_PIECE_BYTES);
        r = block_protocol_pread(c->q->file, offset + at, piece, take);
        for (uint64_t i = 0; !r && i < take / 8; i++)
            r = entry(c, offset + at + i * 8, be64_get(piece[i]), active);
    }
    free(piece);
    return r;
}

/* L1 tables do not overlap each other: those of a sound image are no larger together than the file. */
static int snapshots_count(struct qcow2_census *c)
{
    struct qcow2 *q = c->q;
    uint64_t bytes = 0;
    int r = add(c, q->snapshots_offset, q->snapshots_bytes, 1, QCOW2_USE_OTHER);
    for (uint32_t i = 0; !r && i < q->snapshots; i++) {
        bytes += q->snapshot[i].l1_entries * 8ull;
        if (bytes > c->file_bytes) {
            malformed(c, "L1 tables of snapshots overlap, bytes up to number", i, bytes);
            break;
        }
        r = table_walk(c, q->snapshot[i].l1_offset, q->snapshot[i].l1_entries * 8ull, QCOW2_USE_L1, false, gather);
    }
    return r;
}

static int refcounts_count(struct qcow2_census *c)
{
    struct qcow2 *q = c->q;
    int r = add(c, q->reftable_offset, (uint64_t)q->reftable_clusters << q->cluster_bits, 1, QCOW2_USE_OTHER);
    for (uint32_t b = 0; !r && b < q->reftable_entries; b++) {
        uint64_t offset = q->reftable[b];
        if (!offset)
            continue;
        if (offset & (q->cluster_size - 1) || offset >= c->file_clusters << q->cluster_bits) {
            c->refcounts_broken = true;
            if (c->findings) {
                c->check->corruptions++;
                qcow2_check_say(c->check, "ERROR refcount block %u is %s", b, offset & (q->cluster_size - 1)
                                ? "not cluster aligned; refcount table entry corrupted" : "outside image");
            }
            continue;
        }
        r = add(c, offset, q->cluster_size, 1, QCOW2_USE_OTHER);
        if (!r && offset >> q->cluster_bits >= c->start && offset >> q->cluster_bits < c->end &&
            qcow2_census_count(c, offset >> q->cluster_bits) != 1) {
            c->refcounts_broken = true;
            if (c->findings) {
                c->check->corruptions++;
                qcow2_check_say(c->check, "ERROR refcount block %u refcount=%llu", b,
                                (unsigned long long)qcow2_census_count(c, offset >> q->cluster_bits));
            }
        }
    }
    return r;
}

static int bitmap_entry(struct qcow2_census *c, uint64_t where, uint64_t word, bool active)
{
    uint64_t host = word & QCOW2_OFFSET_MASK;
    if (!host && !(word & ~QCOW2_BITMAP_ONES))
        return 0;
    if (word == host && !(host & (c->q->cluster_size - 1)))
        return add(c, host, c->q->cluster_size, 1, QCOW2_USE_OTHER);
    malformed(c, "bitmap table entry at", where, word);
    return 0;
}

/* One bitmap's table and data. Tables do not overlap either: together they are no larger than the file. */
static int bitmap_count(void *opaque, const struct qcow2_bitmap *b)
{
    struct qcow2_census *c = opaque;
    c->bitmap_bytes += b->entries * 8ull;
    if (c->bitmap_bytes > c->file_bytes) {
        malformed(c, "bitmap tables overlap, entries and offset", b->entries, b->table);
        return 0;
    }
    return table_walk(c, b->table, b->entries * 8ull, QCOW2_USE_OTHER, false, bitmap_entry);
}

static int inconsistent_say(void *opaque, const struct qcow2_bitmap *b)
{
    struct qcow2_census *c = opaque;
    char name[QCOW2_BITMAP_NAME_MAX + 1];
    int r = b->flags & QCOW2_BITMAP_IN_USE ? qcow2_bitmap_name_read(c->q, b, name) : 0;
    if (!r && b->flags & QCOW2_BITMAP_IN_USE)
        qcow2_check_say(c->check, "The dirty bitmap '%.160s' is in use, or inconsistent: the image was not closed", name);
    return r;
}

/* Dirty bitmaps, as long as the header says that they are valid. */
static int bitmaps_count(struct qcow2_census *c)
{
    struct qcow2 *q = c->q;
    uint64_t bytes = be64_get(q->bitmaps_raw.directory_bytes), at = be64_get(q->bitmaps_raw.directory_offset);
    bool any = q->autoclear & QCOW2_AUTOCLEAR_BITMAPS && be32_get(q->bitmaps_raw.count);
    c->bitmap_bytes = 0;
    int r = qcow2_bitmaps_walk(q, bitmap_count, c);
    if (!r && c->findings)
        r = qcow2_bitmaps_walk(q, inconsistent_say, c);
    if (r == -EINVAL) {
        malformed(c, "bitmap directory, bytes and offset", bytes, at);
        return 0;
    }
    return r || !any ? r : add(c, at, bytes, 1, QCOW2_USE_OTHER);
}

int qcow2_census_take(struct qcow2_census *c)
{
    struct qcow2 *q = c->q;
    c->chunks = 0;
    c->tables = 0;
    c->last = NULL;
    c->malformed = c->mendable = 0;
    c->end = UINT64_MAX;
    memset(c->slot, 0, SLOTS * sizeof(*c->slot));
    int r = add(c, 0, q->cluster_size, 1, QCOW2_USE_OTHER);
    if (!r && q->luks)
        r = add(c, q->crypt_offset, q->crypt_bytes, 1, QCOW2_USE_OTHER);
    if (!r)
        r = table_walk(c, q->l1_offset, q->l1_entries * 8ull, QCOW2_USE_L1, true, gather);
    if (!r)
        r = snapshots_count(c);
    if (!r)
        r = tables_count(c);
    if (!r)
        r = bitmaps_count(c);
    if (!r && !c->no_refcounts)
        r = refcounts_count(c);
    return r;
}
