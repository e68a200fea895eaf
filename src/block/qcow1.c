/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first version of qcow, which QEMU made before 2008: two levels of tables, clusters as they are or compressed (deflate). Read
 * only, so that such images can be converted; encrypted ones are refused.
 * Source: QEMU's description of the format in Mark McLoughlin's "The QCOW Image Format", version 1.
 */
#include "block/sparse.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MAGIC = 0x514649fb, NAME_MAX_BYTES = 1023, WINDOW_BITS = -15 };
#define COMPRESSED (1ull << 63)

struct qcow1_header {
    be32 magic, version;
    be64 backing_offset;
    be32 backing_length, mtime;
    be64 size;
    uint8_t cluster_bits, l2_bits, unused[2];
    be32 crypt_method;
    be64 l1_offset;
} __attribute__((packed));

struct qcow1 {
    struct sparse s;                /* first: SPARSE_NODE_OPS */
    struct sparse_table l1;
    unsigned cluster_bits, l2_bits;
    uint8_t *packed;                /* a cluster */
    char backing[NAME_MAX_BYTES + 1];
};

static bool qcow1_probe(const uint8_t *head, size_t length)
{
    struct qcow1_header h;
    if (length < sizeof(h))
        return false;
    memcpy(&h, head, sizeof(h));
    return be32_get(h.magic) == MAGIC && be32_get(h.version) == 1;
}

/* *word: the entry of the L2 table, which tells how the cluster is stored. */
static int qcow1_find(struct sparse *s, uint64_t block, uint64_t *word)
{
    struct qcow1 *q = container_of(s, struct qcow1, s);
    int64_t size = s->file->ops->size(s->file);
    be64 entry;
    int r;
    void *at = sparse_table_at(&q->l1, (block >> q->l2_bits) * sizeof(entry), &r);
    if (!at)
        return r;
    memcpy(&entry, at, sizeof(entry));
    uint64_t table = be64_get(entry);
    *word = SPARSE_HOLE;
    if (!table)
        return 0;
    if (size < 0 || table >= (uint64_t)size)
        return -EIO;
    r = block_protocol_pread(s->file, table + (block & (BIT(q->l2_bits) - 1)) * sizeof(entry), &entry, sizeof(entry));
    if (r || !be64_get(entry))
        return r;
    *word = be64_get(entry);
    return *word >= SPARSE_ZERO || (!(*word & COMPRESSED) && *word >= (uint64_t)size) ? -EIO : 0;
}

static uint64_t qcow1_run(struct sparse *s, uint64_t block)
{
    struct qcow1 *q = container_of(s, struct qcow1, s);
    uint64_t i = block & (BIT(q->l2_bits) - 1), left = BIT(q->l2_bits) - i;
    be64 entry;
    int r;
    void *at = sparse_table_at(&q->l1, (block >> q->l2_bits) * sizeof(entry), &r);
    if (!at)
        return 1;
    memcpy(&entry, at, sizeof(entry));
    return be64_get(entry) ? sparse_entries_alike(s->file, be64_get(entry) + i * sizeof(entry), left) : left;
}

static int inflate_all(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)in_bytes, .next_out = out, .avail_out = (uInt)out_bytes };
    if (inflateInit2(&z, WINDOW_BITS) != Z_OK)
        return -ENOMEM;
    int r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return z.avail_out == 0 && (r == Z_STREAM_END || r == Z_BUF_ERROR || r == Z_OK) ? 0 : -EIO;
}

static int qcow1_unpack(struct sparse *s, uint64_t word, uint8_t *data)
{
    struct qcow1 *q = container_of(s, struct qcow1, s);
    unsigned split = 63 - q->cluster_bits;
    if (!(word & COMPRESSED))
        return block_protocol_pread(s->file, word, data, s->block_bytes);
    uint64_t offset = word & (BIT(split) - 1);
    size_t bytes = word >> split & (s->block_bytes - 1);
    int r = block_protocol_pread(s->file, offset, q->packed, bytes);
    return r ? r : inflate_all(q->packed, bytes, data, s->block_bytes);
}

static const char *header_wrong(const struct qcow1_header *h, uint64_t file_size)
{
    uint64_t size = be64_get(h->size), name = be64_get(h->backing_offset), length = be32_get(h->backing_length);
    if (be32_get(h->version) != 1)
        return "its version is not 1; try another format";
    if (be32_get(h->crypt_method))
        return "it is encrypted with QEMU's old encryption; decrypt it with 'qemu-img convert' of a version before 2.9";
    if (h->cluster_bits < 9 || h->cluster_bits > 16)
        return "its cluster size is not from 512 bytes to 64 KiB";
    if (h->l2_bits < 6 || h->l2_bits > 13)
        return "its L2 tables have not from 64 to 8192 entries";
    if (size < 512 || size > INT64_MAX / 2 ||
        ((size - 1) >> (h->cluster_bits + h->l2_bits)) >= SPARSE_TABLE_MAX_BYTES / sizeof(be64))
        return "its disk size is 0, or too large for its tables";
    if (be64_get(h->l1_offset) >= file_size)
        return "its L1 table lies outside the file";
    return name && (length > NAME_MAX_BYTES || name > file_size || length > file_size - name) ?
           "its backing file name is too long, or lies outside the file" : NULL;
}

static int backing_open(struct block_node *n, struct qcow1 *q, const struct qcow1_header *h, struct error *err)
{
    if (be64_get(h->backing_offset)) {
        int r = block_protocol_pread(n->file, be64_get(h->backing_offset), q->backing, be32_get(h->backing_length));
        if (r)
            return error_set(err, "its backing file name cannot be read: %s", strerror(-r));
    }
    int r = block_node_backing_open(n, q->backing, NULL, err);
    q->s.backing = n->backing;
    return r;
}

static void qcow1_close(struct block_node *n)
{
    struct qcow1 *q = n->state;
    sparse_table_free(&q->l1);
    sparse_free(&q->s);
    free(q->packed);
    free(q);
}

static int qcow1_open(struct block_node *n, struct error *err)
{
    static const struct sparse_ops ops = { .find = qcow1_find, .run = qcow1_run, .unpack = qcow1_unpack };
    struct qcow1_header h;
    int64_t size = n->file->ops->size(n->file);
    int r = size < 0 ? (int)size : block_protocol_pread(n->file, 0, &h, sizeof(h));
    if (r)
        return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
    const char *wrong = be32_get(h.magic) != MAGIC ? "it is not a qcow image" : !n->readonly ?
                        "qcow images can only be read here; use readonly=on or snapshot=on" : header_wrong(&h, (uint64_t)size);
    if (wrong)
        return error_set(err, "cannot open '%s': %s", n->filename, wrong);
    struct qcow1 *q = calloc(1, sizeof(*q));
    n->size = ALIGN_DOWN(be64_get(h.size), 512ull);
    n->cluster_bytes = 1u << h.cluster_bits;
    uint64_t entries = ((n->size - 1) >> (h.cluster_bits + h.l2_bits)) + 1;
    if (q)
        q->packed = malloc(n->cluster_bytes);
    if (!q || !q->packed || sparse_table_init(&q->l1, n->file, be64_get(h.l1_offset), entries * sizeof(be64))) {
        if (q && q->packed)
            sparse_table_free(&q->l1);
        free(q ? q->packed : NULL);
        free(q);
        return error_set(err, "cannot open '%s': out of memory", n->filename);
    }
    q->cluster_bits = h.cluster_bits;
    q->l2_bits = h.l2_bits;
    sparse_init(&q->s, &ops, n->file, n->size, n->cluster_bytes);
    n->state = q;
    r = backing_open(n, q, &h, err);
    if (r)
        qcow1_close(n);
    return r ? block_node_open_fail(n, r, err) : 0;
}

static int qcow1_info(struct block_node *n, struct block_info *info, struct error *err)
{
    const struct qcow1 *q = n->state;
    info->backing = *q->backing ? q->backing : NULL;
    return 0;
}

const struct block_format block_format_qcow1 = {
    .name = "qcow", .probe = qcow1_probe, .open = qcow1_open, .close = qcow1_close, SPARSE_NODE_OPS, .info = qcow1_info,
    .has_backing = true,
};
