/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New images: header, refcount table, refcount blocks, L1 table, in this order from the start of the file.
 * The header comes last, so that an image that was cut off while it was made is no image.
 */
#include "block/qcow2/qcow2_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct layout {
    unsigned bits, order;
    uint64_t cluster, l1_entries, l1_clusters, luks_clusters, blocks, table_clusters, total;
};

static int layout_find(const struct qcow2_create_options *o, struct layout *l, struct error *err)
{
    l->bits = o->cluster_bits ? o->cluster_bits : 16;
    l->order = o->version == 2 ? 4 : o->refcount_order;
    if (l->bits < 9 || l->bits > 21 || l->order > 6 || (o->extended_l2 && (l->bits < 14 || o->version == 2)))
        return error_set(err, "cannot create a qcow2 image with this cluster size, refcount width and version");
    l->cluster = BIT(l->bits);
    uint64_t per_l1 = BIT(l->bits + l->bits - (o->extended_l2 ? 4 : 3)), per_block = l->cluster * 8 >> l->order;
    l->l1_entries = (o->size_bytes + per_l1 - 1) / per_l1;
    if (o->size_bytes > BIT(62) || o->size_bytes % 512 || l->l1_entries * 8 > QCOW2_MAX_L1_BYTES)
        return error_set(err, "cannot create a qcow2 image of %llu bytes with clusters of %llu: use larger clusters",
                         (unsigned long long)o->size_bytes, (unsigned long long)l->cluster);
    l->l1_clusters = (l->l1_entries * 8 + l->cluster - 1) >> l->bits;
    l->luks_clusters = o->encrypted ? (luks_header_bytes(&o->luks) + l->cluster - 1) >> l->bits : 0;
    for (uint64_t before = 0, now = 1; now != before;) {
        before = now;
        l->total = now + l->l1_clusters + l->luks_clusters;
        l->blocks = (l->total + per_block - 1) / per_block;
        l->table_clusters = (l->blocks * 8 + l->cluster - 1) >> l->bits;
        now = 1 + l->table_clusters + l->blocks;
        l->total = now + l->l1_clusters + l->luks_clusters;
    }
    return 0;
}

int qcow2_layout_check(const struct qcow2_create_options *o, struct error *err)
{
    struct layout l = { 0 };
    return layout_find(o, &l, err);
}

static uint64_t ones(unsigned order, uint64_t count)
{
    return order < 3 ? ((count << order) + 7) >> 3 : count << (order - 3);
}

/* One refcount block: the first `count` counts are 1. */
static void block_fill(uint8_t *block, unsigned order, uint64_t count)
{
    if (order >= 3) {
        for (uint64_t i = 0; i < count; i++)
            block[ones(order, i + 1) - 1] = 1;
        return;
    }
    for (uint64_t i = 0; i < count; i++)
        block[i >> (3 - order)] |= (uint8_t)(1u << (i << order & 7));
}

/* The LUKS header comes last. */
static uint64_t luks_offset(const struct layout *l)
{
    return (l->total - l->luks_clusters) << l->bits;
}

static int tables_write(struct block_protocol *file, const struct layout *l)
{
    uint64_t per_block = l->cluster * 8 >> l->order, at = l->cluster;
    uint8_t *table = calloc(1, l->table_clusters << l->bits), *block = malloc(l->cluster);
    int r = table && block ? 0 : -ENOMEM;
    for (uint64_t i = 0; !r && i < l->blocks; i++)
        ((be64 *)table)[i] = be64_make((1 + l->table_clusters + i) << l->bits);
    if (!r)
        r = block_protocol_pwrite(file, at, table, l->table_clusters << l->bits);
    at += l->table_clusters << l->bits;
    for (uint64_t i = 0; !r && i < l->blocks; i++, at += l->cluster) {
        memset(block, 0, l->cluster);
        block_fill(block, l->order, MIN(per_block, l->total - i * per_block));
        r = block_protocol_pwrite(file, at, block, l->cluster);
    }
    if (!r && l->l1_clusters)
        r = block_protocol_write_zeroes(file, at, l->l1_clusters << l->bits, false);
    if (!r && l->luks_clusters)     /* key slots that are not in use are part of the file too */
        r = block_protocol_write_zeroes(file, luks_offset(l), l->luks_clusters << l->bits, false);
    free(table);
    free(block);
    return r;
}

static uint64_t extension_put(uint8_t *head, uint64_t at, uint32_t type, const void *data, size_t bytes)
{
    uint32_t length = (uint32_t)bytes;
    be32 raw[2] = { be32_make(type), be32_make(length) };
    memcpy(head + at, raw, sizeof(raw));
    memcpy(head + at + 8, data, length);
    return at + 8 + ALIGN_UP((uint64_t)length, 8ull);
}

static int header_fill(uint8_t *head, const struct qcow2_create_options *o, const struct layout *l, struct error *err)
{
    uint64_t at = o->version == 2 ? 72 : 112;
    struct qcow2_header h = {
        .magic = be32_make(QCOW2_MAGIC), .version = be32_make(o->version == 2 ? 2 : 3),
        .crypt_method = be32_make(o->encrypted ? QCOW2_CRYPT_LUKS : QCOW2_CRYPT_NONE),
        .cluster_bits = be32_make(l->bits), .size = be64_make(o->size_bytes),
        .l1_entries = be32_make((uint32_t)l->l1_entries),
        .l1_offset = be64_make(l->l1_entries ? (1 + l->table_clusters + l->blocks) << l->bits : 0),
        .reftable_offset = be64_make(l->cluster), .reftable_clusters = be32_make((uint32_t)l->table_clusters),
        .incompatible = be64_make((o->extended_l2 ? QCOW2_INCOMPAT_EXTENDED_L2 : 0) |
                                  (o->zstd ? QCOW2_INCOMPAT_COMPRESSION : 0) |
                                  (o->data_file ? QCOW2_INCOMPAT_DATA_FILE : 0)),
        .autoclear = be64_make(o->data_raw ? QCOW2_AUTOCLEAR_DATA_RAW : 0),
        .compression = o->zstd ? QCOW2_ZSTD : QCOW2_ZLIB,
        .compatible = be64_make(o->lazy_refcounts ? QCOW2_COMPAT_LAZY_REFCOUNTS : 0),
        .refcount_order = be32_make(l->order), .header_length = be32_make(112),
    };
    size_t name = o->backing ? strlen(o->backing) : 0, format = o->backing_format ? strlen(o->backing_format) : 0;
    size_t data = o->data_file ? ALIGN_UP(strlen(o->data_file), (size_t)8) + 8 : 0;
    if (data > 1024 || at + data + 8 > l->cluster)
        return error_set(err, "cannot record the data file's name: it is too long");
    if (data)
        at = extension_put(head, at, 0x44415441, o->data_file, strlen(o->data_file));
    const struct qcow2_crypt_extension crypt = { be64_make(luks_offset(l)), be64_make(o->encrypted ? luks_header_bytes(&o->luks) : 0) };
    if (o->encrypted)
        at = extension_put(head, at, 0x0537be77, &crypt, sizeof(crypt));
    if (name > 1023 || format > 31 || at + 8 + ALIGN_UP(format, (size_t)8) + 8 + name > l->cluster)
        return error_set(err, "cannot record the backing file name: it is too long");
    if (format)
        at = extension_put(head, at, 0xe2792acau, o->backing_format, format);
    at += 8;                        /* the end mark, zero */
    if (name) {
        h.backing_offset = be64_make(at);
        h.backing_length = be32_make((uint32_t)name);
        memcpy(head + at, o->backing, name);
    }
    memcpy(head, &h, o->version == 2 ? 72 : 112);
    return 0;
}

int qcow2_create(struct block_protocol *file, const struct qcow2_create_options *o, struct error *err)
{
    struct layout l = { 0 };
    if (layout_find(o, &l, err))
        return -1;
    uint8_t *head = calloc(1, l.cluster);
    if (!head)
        return error_set(err, "out of memory");
    int r = header_fill(head, o, &l, err);
    if (!r) {
        r = tables_write(file, &l);
        if (!r && o->encrypted && luks_create(file, luks_offset(&l), &o->luks, err)) {
            free(head);
            return -1;
        }
        if (!r)
            r = block_protocol_flush(file);
        if (!r)
            r = block_protocol_pwrite(file, 0, head, l.cluster);
        if (!r)
            r = block_protocol_flush(file);
        if (r)
            r = error_set(err, "cannot write '%s': %s", file->filename, strerror(-r));
    }
    free(head);
    return r;
}
