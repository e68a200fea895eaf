/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parallels' expanding disks ("hdd" files): a header and a table of 32-bit places, in sectors or, in the extended kind, in blocks.
 * Read only. Source: QEMU's docs/interop/parallels.txt.
 */
#include "block/sparse.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC_SECTORS "WithoutFreeSpace"
#define MAGIC_BLOCKS "WithouFreSpacExt"

struct parallels_header {
    char magic[16];
    le32 version, heads, cylinders, block_sectors, entries;
    le64 sectors;
    le32 in_use, data_sector, flags;
    le64 extension;
} __attribute__((packed));
_Static_assert(sizeof(struct parallels_header) == 64, "Parallels header");

struct parallels {
    struct sparse s;                /* first: SPARSE_NODE_OPS */
    struct sparse_table table;
    uint64_t unit;                  /* bytes that the table counts in */
    uint32_t entries;
};

static bool parallels_probe(const uint8_t *head, size_t length)
{
    return length >= 16 && (!memcmp(head, MAGIC_SECTORS, 16) || !memcmp(head, MAGIC_BLOCKS, 16));
}

static int parallels_find(struct sparse *s, uint64_t block, uint64_t *offset)
{
    struct parallels *p = container_of(s, struct parallels, s);
    int64_t size = s->file->ops->size(s->file);
    le32 entry = { 0 };
    int r = 0;
    *offset = SPARSE_HOLE;
    if (block >= p->entries)
        return 0;
    void *at = sparse_table_at(&p->table, block * sizeof(entry), &r);
    if (!at)
        return r;
    memcpy(&entry, at, sizeof(entry));
    if (!le32_get(entry))
        return 0;
    *offset = le32_get(entry) * p->unit;
    return *offset < sizeof(struct parallels_header) + p->entries * sizeof(entry) || size < 0 || *offset >= (uint64_t)size ? -EIO : 0;
}

/* Behind the table's end there is nothing. */
static uint64_t parallels_run(struct sparse *s, uint64_t block)
{
    const struct parallels *p = container_of(s, struct parallels, s);
    return block < p->entries ? 1 : (s->size - 1) / s->block_bytes - block + 1;
}

static const char *header_wrong(const struct parallels_header *h, uint64_t file_size)
{
    uint64_t block = le32_get(h->block_sectors), sectors = le64_get(h->sectors), table = (uint64_t)le32_get(h->entries) * sizeof(le32);
    if (le32_get(h->version) != 2)
        return "its version is not 2";
    if (!block || block > 1 << 20)
        return "its block size is 0 or above 512 MiB";
    if (!sectors || sectors > INT64_MAX / 1024)
        return "its disk size is no valid one";
    if (table > SPARSE_TABLE_MAX_BYTES)
        return "its table of blocks is larger than 256 MiB";
    return table > file_size ? "its table of blocks lies outside the file" : NULL;
}

static int parallels_open(struct block_node *n, struct error *err)
{
    static const struct sparse_ops ops = { .find = parallels_find, .run = parallels_run };
    struct parallels_header h;
    int64_t size = n->file->ops->size(n->file);
    int r = size < 0 ? (int)size : block_protocol_pread(n->file, 0, &h, sizeof(h));
    if (r)
        return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
    const char *wrong = !n->readonly ? "parallels images can only be read here; use readonly=on or snapshot=on" :
                        header_wrong(&h, (uint64_t)size);
    if (wrong)
        return error_set(err, "cannot open '%s': %s", n->filename, wrong);
    struct parallels *p = calloc(1, sizeof(*p));
    if (!p || sparse_table_init(&p->table, n->file, sizeof(h), (uint64_t)le32_get(h.entries) * sizeof(le32))) {
        if (p)
            sparse_table_free(&p->table);
        free(p);
        return error_set(err, "cannot open '%s': out of memory", n->filename);
    }
    bool extended = !memcmp(h.magic, MAGIC_BLOCKS, 16);
    p->entries = le32_get(h.entries);
    n->cluster_bytes = le32_get(h.block_sectors) * 512;
    p->unit = extended ? n->cluster_bytes : 512;
    /* The first kind has 32 bits for its size. */
    n->size = (extended ? le64_get(h.sectors) : le64_get(h.sectors) & UINT32_MAX) * 512;
    sparse_init(&p->s, &ops, n->file, n->size, n->cluster_bytes);
    n->state = p;
    return 0;
}

static void parallels_close(struct block_node *n)
{
    struct parallels *p = n->state;
    sparse_table_free(&p->table);
    sparse_free(&p->s);
    free(p);
}

const struct block_format block_format_parallels = {
    .name = "parallels", .probe = parallels_probe, .open = parallels_open, .close = parallels_close, SPARSE_NODE_OPS,
};
