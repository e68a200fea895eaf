/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The directory of persistent dirty bitmaps: entries of 24 bytes, extra data and a name, padded to 8. It counts only while
 * its autoclear bit is set; a program that does not know of it clears the bit when it writes.
 * Source: QEMU's docs/interop/qcow2.txt, "Bitmaps".
 */
#include "block/qcow2/qcow2_private.h"

#include <errno.h>

int qcow2_bitmaps_walk(struct qcow2 *q, qcow2_bitmap_fn *fn, void *opaque)
{
    uint64_t bytes = be64_get(q->bitmaps_raw.directory_bytes), at = be64_get(q->bitmaps_raw.directory_offset);
    uint32_t count = be32_get(q->bitmaps_raw.count);
    int r = 0;
    if (!(q->autoclear & QCOW2_AUTOCLEAR_BITMAPS) || !count)
        return 0;
    if (bytes > QCOW2_MAX_SNAPSHOT_BYTES || at & (q->cluster_size - 1) || at > INT64_MAX - bytes)
        return -EINVAL;
    struct {
        be64 table;
        be32 entries, flags;
        uint8_t type, granularity_bits;
        be16 name_length;
        be32 extra_length;
    } __attribute__((packed)) e;
    for (uint64_t end = at + bytes; !r && count && at + sizeof(e) <= end; count--) {
        r = block_protocol_pread(q->file, at, &e, sizeof(e));
        struct qcow2_bitmap_entry entry = { be64_get(e.table), be32_get(e.entries), be16_get(e.name_length), e.granularity_bits };
        if (!r)
            r = fn(opaque, &entry);
        at += ALIGN_UP(sizeof(e) + (uint64_t)be16_get(e.name_length) + be32_get(e.extra_length), 8ull);
    }
    return r;
}

struct sizes { uint64_t disk_bytes, cluster_size, bytes, directory_bytes; };

static int size_add(void *opaque, const struct qcow2_bitmap_entry *e)
{
    struct sizes *s = opaque;
    if (e->granularity_bits > 31)
        return -EINVAL;
    uint64_t bits = (s->disk_bytes + BIT(e->granularity_bits) - 1) >> e->granularity_bits;
    uint64_t clusters = ((bits + 7) / 8 + s->cluster_size - 1) / s->cluster_size;
    s->bytes += clusters * s->cluster_size + ALIGN_UP(clusters * 8, s->cluster_size);
    s->directory_bytes += ALIGN_UP(24ull + e->name_length, 8ull);
    return 0;
}

int qcow2_bitmaps_size(struct qcow2 *q, uint64_t cluster_size, uint64_t *bytes)
{
    struct sizes s = { .disk_bytes = q->node->size, .cluster_size = cluster_size };
    int r = qcow2_bitmaps_walk(q, size_add, &s);
    *bytes = s.bytes + ALIGN_UP(s.directory_bytes, cluster_size);
    return r;
}
