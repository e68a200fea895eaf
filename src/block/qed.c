/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QED, a format of QEMU's that qcow2 has replaced: two levels of tables of 64-bit offsets. Read only.
 * Source: QEMU's docs/interop/qed_spec.txt.
 */
#include "block/sparse.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURE_BACKING = 1, FEATURE_CHECK = 2, FEATURE_NO_PROBE = 4, OFFSET_ZERO = 1, NAME_MAX_BYTES = 1023 };

struct qed_header {
    char magic[4];
    le32 cluster_size, table_size, header_size;
    le64 features, compatible, autoclear, l1_offset, image_size;
    le32 backing_offset, backing_length;
} __attribute__((packed));

struct qed {
    struct sparse s;                /* first: SPARSE_NODE_OPS */
    struct sparse_table l1;
    uint64_t entries;               /* of a table */
    uint32_t first_cluster;         /* where data and tables may begin, in bytes */
    char backing[NAME_MAX_BYTES + 1];
    bool backing_is_raw;
};

static bool qed_probe(const uint8_t *head, size_t length)
{
    return length >= 4 && !memcmp(head, "QED\0", 4);
}

static int qed_find(struct sparse *s, uint64_t block, uint64_t *offset)
{
    struct qed *q = container_of(s, struct qed, s);
    int64_t size = s->file->ops->size(s->file);
    le64 entry;
    int r;
    void *at = sparse_table_at(&q->l1, block / q->entries * sizeof(entry), &r);
    if (!at)
        return r;
    memcpy(&entry, at, sizeof(entry));
    uint64_t place = le64_get(entry);
    for (unsigned level = 1; place > OFFSET_ZERO; level++) {
        if (place % s->block_bytes || place < q->first_cluster || size < 0 || place >= (uint64_t)size)
            return -EIO;
        *offset = place;
        if (level == 2)
            return 0;
        r = block_protocol_pread(s->file, place + block % q->entries * sizeof(entry), &entry, sizeof(entry));
        if (r)
            return r;
        place = le64_get(entry);
    }
    *offset = place == OFFSET_ZERO ? SPARSE_ZERO : SPARSE_HOLE;
    return 0;
}

static uint64_t qed_run(struct sparse *s, uint64_t block)
{
    struct qed *q = container_of(s, struct qed, s);
    uint64_t i = block % q->entries;
    le64 entry;
    int r;
    void *at = sparse_table_at(&q->l1, block / q->entries * sizeof(entry), &r);
    if (!at)
        return 1;
    memcpy(&entry, at, sizeof(entry));
    return le64_get(entry) <= OFFSET_ZERO ? q->entries - i :
           sparse_entries_alike(s->file, le64_get(entry) + i * sizeof(entry), q->entries - i);
}

static const char *header_wrong(const struct qed_header *h, uint64_t file_size)
{
    uint32_t cluster = le32_get(h->cluster_size), table = le32_get(h->table_size);
    uint64_t l1 = le64_get(h->l1_offset), size = le64_get(h->image_size);
    if (cluster < 4096 || cluster > 64u << 20 || cluster & (cluster - 1))
        return "its cluster size is no power of two from 4 KiB to 64 MiB";
    if (table < 1 || table > 16 || table & (table - 1))
        return "its tables are not 1, 2, 4, 8 or 16 clusters long";
    if (le64_get(h->features) & ~(uint64_t)(FEATURE_CHECK | FEATURE_NO_PROBE | FEATURE_BACKING))
        return "it needs a feature that is not known here";
    uint64_t name = le32_get(h->backing_offset), length = le32_get(h->backing_length);
    if (le64_get(h->features) & FEATURE_BACKING && (length > NAME_MAX_BYTES || name < sizeof(*h) || name + length > cluster))
        return "its backing file name is too long, or lies outside the header";
    if (l1 % cluster || l1 < cluster || l1 >= file_size)
        return "its L1 table lies outside the file";
    uint64_t entries = (uint64_t)table * cluster / sizeof(le64);
    if (!size || size % 512 || size > INT64_MAX / 2 || size / cluster / entries >= entries)
        return "its disk size is 0, no multiple of 512, or too large for its tables";
    return (uint64_t)table * cluster > SPARSE_TABLE_MAX_BYTES ? "its L1 table is larger than 256 MiB" : NULL;
}

static int backing_open(struct block_node *n, struct qed *q, const struct qed_header *h, struct error *err)
{
    if (!(le64_get(h->features) & FEATURE_BACKING))
        return block_node_backing_open(n, NULL, NULL, err);
    int r = block_protocol_pread(n->file, le32_get(h->backing_offset), q->backing, le32_get(h->backing_length));
    if (r)
        return error_set(err, "its backing file name cannot be read: %s", strerror(-r));
    q->backing_is_raw = le64_get(h->features) & FEATURE_NO_PROBE;
    r = block_node_backing_open(n, q->backing, q->backing_is_raw ? "raw" : NULL, err);
    q->s.backing = n->backing;
    return r;
}

static void qed_close(struct block_node *n)
{
    struct qed *q = n->state;
    sparse_table_free(&q->l1);
    sparse_free(&q->s);
    free(q);
}

static int qed_open(struct block_node *n, struct error *err)
{
    static const struct sparse_ops ops = { .find = qed_find, .run = qed_run };
    struct qed_header h;
    int64_t size = n->file->ops->size(n->file);
    int r = size < 0 ? (int)size : block_protocol_pread(n->file, 0, &h, sizeof(h));
    if (r)
        return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
    const char *wrong = !n->readonly ? "qed images can only be read here; use readonly=on or snapshot=on" :
                        header_wrong(&h, (uint64_t)size);
    if (wrong)
        return error_set(err, "cannot open '%s': %s", n->filename, wrong);
    struct qed *q = calloc(1, sizeof(*q));
    uint64_t table = (uint64_t)le32_get(h.table_size) * le32_get(h.cluster_size);
    if (!q || sparse_table_init(&q->l1, n->file, le64_get(h.l1_offset), table)) {
        if (q)
            sparse_table_free(&q->l1);
        free(q);
        return error_set(err, "cannot open '%s': out of memory", n->filename);
    }
    q->entries = table / sizeof(le64);
    q->first_cluster = le32_get(h.cluster_size);
    n->size = le64_get(h.image_size);
    n->cluster_bytes = le32_get(h.cluster_size);
    sparse_init(&q->s, &ops, n->file, n->size, n->cluster_bytes);
    n->state = q;
    r = backing_open(n, q, &h, err);
    if (r)
        qed_close(n);
    return r ? block_node_open_fail(n, r, err) : 0;
}

static int qed_info(struct block_node *n, struct block_info *info, struct error *err)
{
    const struct qed *q = n->state;
    info->backing = *q->backing ? q->backing : NULL;
    info->backing_format = q->backing_is_raw ? "raw" : NULL;
    return 0;
}

const struct block_format block_format_qed = {
    .name = "qed", .probe = qed_probe, .open = qed_open, .close = qed_close, SPARSE_NODE_OPS, .info = qed_info,
    .has_backing = true,
};
