/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A header with other extensions, or another backing file. A power cut may leave some sectors of the old one and some of
 * the new one, so what counts is switched over by one write of the first sector:
 *
 *   the name of the backing file goes where neither the old one nor any extension, old or new, is;
 *   the first sector, with the extensions that matter, and the end mark behind them;
 *   the names of features, which are for messages only, go behind it: their tail first, then the first sector once more.
 *
 * A barrier after each. Unknown extensions are kept; only when they are so long that they leave the first sector is the
 * header written in one go.
 */
#include "block/qcow2/qcow2_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512 };

struct rewrite {
    struct qcow2 *q;
    uint8_t *old, *new;
    uint64_t old_end;               /* of the extensions */
    uint64_t end, essential_end;    /* of all new ones with the end mark; of those before the names of features */
    uint64_t name_at;
};

static int extension_add(struct rewrite *w, uint32_t type, const void *data, uint32_t length)
{
    be32 raw[2] = { be32_make(type), be32_make(length) };
    uint64_t next = w->end + 8 + ALIGN_UP((uint64_t)length, 8ull);
    if (next > w->q->cluster_size)
        return -ENOSPC;
    memcpy(w->new + w->end, raw, sizeof(raw));
    memcpy(w->new + w->end + 8, data, length);
    w->end = next;
    return 0;
}

/* Those that are not made anew. names: only the names of features, else all others. */
static int extensions_keep(struct rewrite *w, uint64_t from, uint64_t limit, bool names)
{
    int r = 0;
    w->old_end = from;
    while (!r && from + 8 <= limit) {
        be32 raw[2];
        memcpy(raw, w->old + from, 8);
        uint32_t type = be32_get(raw[0]), length = be32_get(raw[1]);
        if (type == QCOW2_EXT_END || length > limit - from - 8)
            break;
        if (type != QCOW2_EXT_BACKING_FORMAT && type != QCOW2_EXT_BITMAPS && (type == QCOW2_EXT_FEATURE_NAMES) == names)
            r = extension_add(w, type, w->old + from + 8, length);
        from += 8 + ALIGN_UP((uint64_t)length, 8ull);
        w->old_end = from;
    }
    w->old_end += 8;
    return r;
}

static int extensions_make(struct rewrite *w, const struct qcow2_header *was)
{
    struct qcow2 *q = w->q;
    uint64_t from = be32_get(was->version) == 2 ? 72 : be32_get(was->header_length), limit = be64_get(was->backing_offset);
    limit = limit && limit < q->cluster_size ? limit : q->cluster_size;
    int r = 0;
    if (*q->backing && *q->backing_format)
        r = extension_add(w, QCOW2_EXT_BACKING_FORMAT, q->backing_format, (uint32_t)strlen(q->backing_format));
    if (!r && be32_get(q->bitmaps_raw.count) && q->autoclear & QCOW2_AUTOCLEAR_BITMAPS)
        r = extension_add(w, QCOW2_EXT_BITMAPS, &q->bitmaps_raw, sizeof(q->bitmaps_raw));
    if (!r)
        r = extensions_keep(w, from, limit, false);
    w->essential_end = w->end + 8;
    if (!r)
        r = extensions_keep(w, from, limit, true);
    w->end += 8;
    return r;
}

static bool is_apart(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
    return a_end <= b || b_end <= a;
}

/* Where it is, behind the extensions, or behind all there was. */
static int name_place(struct rewrite *w, const struct qcow2_header *was)
{
    struct qcow2 *q = w->q;
    uint64_t length = strlen(q->backing), at = be64_get(was->backing_offset), at_end = at + be32_get(was->backing_length);
    uint64_t taken = MAX(w->end, w->old_end), behind = ALIGN_UP(MAX(taken, at_end), 8ull);
    bool same = length && at && length == be32_get(was->backing_length) && at_end <= q->cluster_size &&
                !memcmp(w->old + at, q->backing, length);
    if (!length || (same && at >= w->end)) {
        w->name_at = length ? at : 0;
        return 0;
    }
    w->name_at = is_apart(taken, taken + length, at, at_end) ? taken : behind;
    if (w->name_at + length > q->cluster_size)
        w->name_at = w->end;        /* a small cluster: then it is one sector, or has to be written in one go */
    return w->name_at + length <= q->cluster_size ? 0 : -ENOSPC;
}

static int header_make(struct rewrite *w)
{
    struct qcow2 *q = w->q;
    struct qcow2_header h;
    memcpy(&h, w->old, sizeof(h));
    const struct qcow2_header was = h;
    unsigned kept = be32_get(was.version) == 2 ? 72 : be32_get(was.header_length);
    w->end = q->version == 2 ? 72 : MAX(be32_get(was.version) == 2 ? 0 : kept, 112u);
    if (w->end > 112)
        memcpy(w->new + 112, w->old + 112, w->end - 112);
    unsigned length = (unsigned)w->end;
    int r = extensions_make(w, &was);
    if (!r)
        r = name_place(w, &was);
    h.version = be32_make(q->version);
    h.incompatible = be64_make(q->incompatible);
    h.compatible = be64_make(q->compatible);
    h.autoclear = be64_make(q->autoclear);
    h.refcount_order = be32_make(q->refcount_order);
    h.header_length = be32_make(length);
    h.compression = (uint8_t)q->compression;
    memset(h.padding, 0, sizeof(h.padding));
    h.backing_offset = be64_make(w->name_at);
    h.backing_length = be32_make((uint32_t)strlen(q->backing));
    memcpy(w->new, &h, q->version == 2 ? 72 : sizeof(h));
    if (!r) {
        q->header_length = length;
        q->backing_offset = w->name_at;
        q->backing_length = (uint32_t)strlen(q->backing);
    }
    return r;
}

static int part_write(struct rewrite *w, uint64_t from, uint64_t to)
{
    int r = from < to ? block_protocol_pwrite(w->q->file, from, w->new + from, to - from) : 0;
    qcow2_barrier_want(w->q);
    return r ? r : qcow2_barrier_locked(w->q);
}

/* The first sector, as it is when the end mark comes before the names of features. */
static int sector_switch(struct rewrite *w)
{
    uint8_t sector[SECTOR] = { 0 };
    memcpy(sector, w->new, w->essential_end - 8);
    int r = block_protocol_pwrite(w->q->file, 0, sector, sizeof(sector));
    qcow2_barrier_want(w->q);
    return r ? r : qcow2_barrier_locked(w->q);
}

static int parts_write(struct rewrite *w)
{
    struct qcow2 *q = w->q;
    uint64_t name_end = w->name_at + strlen(q->backing), size = q->cluster_size;
    memcpy(w->new + w->name_at, q->backing, name_end - w->name_at);
    if (w->essential_end > SECTOR || (w->name_at && w->name_at < SECTOR))
        return part_write(w, 0, size);
    int r = part_write(w, w->name_at, name_end);
    if (!r)
        r = sector_switch(w);
    if (!r)
        r = part_write(w, SECTOR, w->end);
    return r ? r : part_write(w, 0, SECTOR);
}

int qcow2_header_rewrite(struct qcow2 *q)
{
    struct rewrite w = { .q = q, .old = calloc(2, q->cluster_size) };
    if (!w.old)
        return -ENOMEM;
    w.new = w.old + q->cluster_size;
    int r = block_protocol_pread(q->file, 0, w.old, q->cluster_size);
    if (!r)
        r = header_make(&w);
    qcow2_barrier_want(q);
    if (!r)
        r = qcow2_barrier_locked(q);
    if (!r)
        r = qcow2_switch_end_locked(q, parts_write(&w));
    free(w.old);
    return r;
}
