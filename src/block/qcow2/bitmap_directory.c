/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The directory of persistent dirty bitmaps: entries of 24 bytes, extra data and a name, padded to 8. It counts only
 * while its autoclear bit is set; a program that does not know of it clears the bit when it writes. In memory is what
 * finds the tables; names are read when somebody asks. A changed directory is written to new clusters, what is not
 * known here byte for byte as it was, and the header is switched over to it.
 * Source: QEMU's docs/interop/qcow2.txt, "Bitmaps".
 */
#include "block/qcow2/bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    be64 table;
    be32 entries, flags;
    uint8_t type, granularity_bits;
    be16 name_length;
    be32 extra_length;
} __attribute__((packed));

static uint64_t entry_bytes(const struct qcow2_bitmap *b)
{
    return ALIGN_UP(sizeof(struct entry) + (uint64_t)b->name_length + b->extra_length, 8ull);
}

static bool is_valid(const struct qcow2 *q, const struct qcow2_bitmap *b, uint64_t end)
{
    return b->name_length && b->name_length <= QCOW2_BITMAP_NAME_MAX && b->granularity_bits <= QCOW2_BITMAP_GRANULARITY_MAX &&
           b->granularity_bits >= QCOW2_BITMAP_GRANULARITY_MIN && b->table && !(b->table & (q->cluster_size - 1)) &&
           b->table < QCOW2_HOST_MAX && b->entries && (uint64_t)b->entries << q->cluster_bits <= QCOW2_BITMAP_BYTES_MAX &&
           entry_bytes(b) <= end - b->at;
}

int qcow2_bitmaps_walk(struct qcow2 *q, qcow2_bitmap_fn *fn, void *opaque)
{
    uint64_t bytes = be64_get(q->bitmaps_raw.directory_bytes), at = be64_get(q->bitmaps_raw.directory_offset);
    uint64_t end = at + bytes;
    uint32_t count = be32_get(q->bitmaps_raw.count);
    int r = 0;
    if (!(q->autoclear & QCOW2_AUTOCLEAR_BITMAPS) || !count)
        return 0;
    if (count > QCOW2_BITMAPS_MAX || bytes > QCOW2_BITMAP_DIRECTORY_MAX || !at || at & (q->cluster_size - 1) ||
        at >= QCOW2_HOST_MAX)
        return -EINVAL;
    for (; !r && count; count--) {
        struct entry e;
        if (end - at < sizeof(e))
            return -EINVAL;
        r = block_protocol_pread(q->file, at, &e, sizeof(e));
        const struct qcow2_bitmap b = {
            .at = at, .table = be64_get(e.table), .entries = be32_get(e.entries), .flags = be32_get(e.flags), .type = e.type,
            .granularity_bits = e.granularity_bits, .name_length = be16_get(e.name_length),
            .extra_length = be32_get(e.extra_length),
        };
        if (!r && !is_valid(q, &b, end))
            return -EINVAL;
        if (!r)
            r = fn(opaque, &b);
        at += entry_bytes(&b);
    }
    return r;
}

static int entry_take(void *opaque, const struct qcow2_bitmap *b)
{
    struct qcow2 *q = opaque;
    q->bitmap[q->bitmaps++] = *b;
    return 0;
}

int qcow2_bitmaps_directory_protect(struct qcow2 *q)
{
    uint64_t at = be64_get(q->bitmaps_raw.directory_offset);
    uint64_t bytes = ALIGN_UP(be64_get(q->bitmaps_raw.directory_bytes), q->cluster_size);
    if (!q->bitmaps)
        return 0;
    return qcow2_meta_overlaps(q, at, bytes) ? -EINVAL : qcow2_extents_add(&q->meta.ranges, at, bytes);
}

/* It is written to in place: not where other metadata lie, nor are data put there. */
int qcow2_bitmaps_open_locked(struct qcow2 *q)
{
    if (q->bitmap)
        return 0;
    q->bitmap = calloc(MIN(be32_get(q->bitmaps_raw.count), (uint32_t)QCOW2_BITMAPS_MAX) + 1u, sizeof(*q->bitmap));
    int r = q->bitmap ? qcow2_bitmaps_walk(q, entry_take, q) : -ENOMEM;
    if (!r)
        r = qcow2_bitmaps_directory_protect(q);
    if (r)
        qcow2_bitmaps_free(q);
    return r;
}

void qcow2_bitmaps_free(struct qcow2 *q)
{
    for (uint32_t i = 0; i < q->bitmaps; i++)
        free(q->bitmap[i].word);
    free(q->bitmap);
    q->bitmap = NULL;
    q->bitmaps = 0;
}

int qcow2_bitmap_name_read(struct qcow2 *q, const struct qcow2_bitmap *b, char name[QCOW2_BITMAP_NAME_MAX + 1])
{
    name[b->name_length] = 0;
    return block_protocol_pread(q->file, b->at + sizeof(struct entry) + b->extra_length, name, b->name_length);
}

struct qcow2_bitmap *qcow2_bitmap_find_locked(struct qcow2 *q, const char *name, int *r)
{
    char here[QCOW2_BITMAP_NAME_MAX + 1];
    size_t length = strlen(name);
    *r = qcow2_bitmaps_open_locked(q);
    for (uint32_t i = 0; !*r && i < q->bitmaps; i++) {
        if (q->bitmap[i].name_length != length)
            continue;
        *r = qcow2_bitmap_name_read(q, &q->bitmap[i], here);
        if (!*r && !memcmp(here, name, length))
            return &q->bitmap[i];
    }
    *r = *r ? *r : -ENOENT;
    return NULL;
}

int qcow2_bitmap_flags_write_locked(struct qcow2 *q, struct qcow2_bitmap *b, uint32_t flags)
{
    const be32 word = be32_make(flags);
    int r = block_protocol_pwrite(q->file, b->at + offsetof(struct entry, flags), &word, sizeof(word));
    qcow2_barrier_want(q);
    if (!r)
        b->flags = flags;
    return r;
}

static void entry_put(uint8_t *to, const struct qcow2_bitmap *b)
{
    const struct entry e = {
        be64_make(b->table), be32_make(b->entries), be32_make(b->flags), b->type, b->granularity_bits,
        be16_make(b->name_length), be32_make(b->extra_length),
    };
    memcpy(to, &e, sizeof(e));
}

/* The directory as bytes; each entry's place in it goes to place[]. */
static int directory_make(struct qcow2 *q, const struct qcow2_bitmap *list, uint32_t count, const char *name, uint8_t *to,
                          uint64_t *place)
{
    uint64_t at = 0;
    int r = 0;
    for (uint32_t i = 0; !r && i < count; i++) {
        const struct qcow2_bitmap *b = &list[i];
        entry_put(to + at, b);
        if (b->at)
            r = block_protocol_pread(q->file, b->at + sizeof(struct entry), to + at + sizeof(struct entry),
                                     entry_bytes(b) - sizeof(struct entry));
        else
            memcpy(to + at + sizeof(struct entry), name, b->name_length);
        place[i] = at;
        at += entry_bytes(b);
    }
    return r;
}

/* Counts, a barrier, the header. */
static int header_switch(struct qcow2 *q, uint64_t offset, uint64_t bytes, uint32_t count)
{
    const struct qcow2_bitmaps_extension before = q->bitmaps_raw;
    uint64_t autoclear = q->autoclear;
    q->bitmaps_raw = (struct qcow2_bitmaps_extension){ .count = be32_make(count), .directory_bytes = be64_make(bytes),
                                                       .directory_offset = be64_make(offset) };
    q->autoclear = count ? autoclear | QCOW2_AUTOCLEAR_BITMAPS : autoclear & ~QCOW2_AUTOCLEAR_BITMAPS;
    qcow2_barrier_want(q);
    int r = qcow2_refcounts_write_locked(q);
    if (!r)
        r = qcow2_header_rewrite(q);
    if (r) {
        q->bitmaps_raw = before;
        q->autoclear = autoclear;
    }
    return r;
}

int qcow2_bitmaps_switch_locked(struct qcow2 *q, struct qcow2_bitmap *list, uint32_t count, const char *name)
{
    uint64_t bytes = 0, offset = 0, old = be64_get(q->bitmaps_raw.directory_offset);
    uint64_t old_bytes = q->bitmaps ? be64_get(q->bitmaps_raw.directory_bytes) : 0;
    for (uint32_t i = 0; i < count; i++)
        bytes += entry_bytes(&list[i]);
    if (bytes > QCOW2_BITMAP_DIRECTORY_MAX)
        return -EFBIG;
    uint64_t clusters = (bytes + q->cluster_size - 1) >> q->cluster_bits;
    uint8_t *out = calloc(1, (clusters << q->cluster_bits) + 1);
    uint64_t *place = calloc(count + 1u, sizeof(*place));
    int r = out && place ? directory_make(q, list, count, name, out, place) : -ENOMEM;
    if (!r && clusters)
        r = qcow2_allocate_run_locked(q, clusters, &offset);
    if (!r && clusters)
        r = block_protocol_pwrite(q->file, offset, out, clusters << q->cluster_bits);
    if (!r)
        r = header_switch(q, offset, bytes, count);
    if (r && offset && !q->corrupt)
        qcow2_allocation_undo_locked(q, offset, clusters);
    if (!r) {
        for (uint32_t i = 0; i < count; i++)
            list[i].at = offset + place[i];
        if (q->bitmaps)
            qcow2_meta_range_remove(q, old);
        free(q->bitmap);
        q->bitmap = list;
        q->bitmaps = count;
        qcow2_bitmaps_directory_protect(q);     /* new clusters; without memory for it, they are only counted */
        for (uint64_t c = 0; c < (old_bytes + q->cluster_size - 1) >> q->cluster_bits; c++)
            qcow2_cluster_release_locked(q, (old >> q->cluster_bits) + c);
    }
    free(out);
    free(place);
    return r;
}
