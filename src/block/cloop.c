/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed loop images (cloop 2), the disks of Knoppix and other live systems: after a shell script of 128 bytes come block size and
 * number of blocks, a table of 64-bit offsets, one more than there are blocks, and the blocks, each a zlib stream. Read only.
 * Source: the head of the files that cloop-utils' create_compressed_fs writes.
 */
#include "block/sparse.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { HEAD = 128, BLOCK_MAX_BYTES = 4 << 20 };

static const char script[] = "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";

struct cloop_header {
    char script[HEAD];
    be32 block_bytes, blocks;
} __attribute__((packed));

struct cloop {
    struct sparse s;                /* first: SPARSE_NODE_OPS */
    struct sparse_table table;
    uint8_t *packed;
    size_t packed_max;
};

static bool cloop_probe(const uint8_t *head, size_t length)
{
    return length >= sizeof(script) - 1 && !memcmp(head, script, sizeof(script) - 1);
}

/* A block's number, from 1, stands for its place: the length is needed too. */
static int cloop_find(struct sparse *s, uint64_t block, uint64_t *word)
{
    *word = block + 1;
    return 0;
}

static int offset_get(struct cloop *c, uint64_t i, uint64_t *offset)
{
    be64 entry;
    int r;
    void *at = sparse_table_at(&c->table, i * sizeof(entry), &r);
    if (!at)
        return r;
    memcpy(&entry, at, sizeof(entry));
    *offset = be64_get(entry);
    return 0;
}

static int cloop_unpack(struct sparse *s, uint64_t word, uint8_t *data)
{
    struct cloop *c = container_of(s, struct cloop, s);
    uint64_t from = 0, to = 0;
    int r = offset_get(c, word - 1, &from);
    if (!r)
        r = offset_get(c, word, &to);
    if (r)
        return r;
    if (from >= to || to - from > c->packed_max)
        return -EIO;
    if (!c->packed && !(c->packed = malloc(c->packed_max)))
        return -ENOMEM;
    r = block_protocol_pread(s->file, from, c->packed, to - from);
    uLongf length = s->block_bytes;
    if (!r && (uncompress(data, &length, c->packed, (uLong)(to - from)) != Z_OK || length != s->block_bytes))
        r = -EIO;
    return r;
}

static const char *header_wrong(const struct cloop_header *h, uint64_t file_size)
{
    uint32_t block = be32_get(h->block_bytes), blocks = be32_get(h->blocks);
    if (!cloop_probe((const uint8_t *)h->script, HEAD))
        return "it is not a cloop image";
    if (!block || block % 512 || block > BLOCK_MAX_BYTES)
        return "its block size is no multiple of 512, or above 4 MiB";
    if (!blocks || blocks >= SPARSE_TABLE_MAX_BYTES / sizeof(be64))
        return "its number of blocks is 0, or its table larger than 256 MiB";
    return sizeof(*h) + (blocks + 1ull) * sizeof(be64) > file_size ? "its table of blocks lies outside the file" : NULL;
}

static int cloop_open(struct block_node *n, struct error *err)
{
    static const struct sparse_ops ops = { .find = cloop_find, .unpack = cloop_unpack };
    struct cloop_header h;
    int64_t size = n->file->ops->size(n->file);
    int r = size < 0 ? (int)size : block_protocol_pread(n->file, 0, &h, sizeof(h));
    if (r)
        return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
    const char *wrong = !n->readonly ? "cloop images can only be read; use readonly=on or snapshot=on" : header_wrong(&h, (uint64_t)size);
    if (wrong)
        return error_set(err, "cannot open '%s': %s", n->filename, wrong);
    struct cloop *c = calloc(1, sizeof(*c));
    if (!c || sparse_table_init(&c->table, n->file, sizeof(h), (be32_get(h.blocks) + 1ull) * sizeof(be64))) {
        if (c)
            sparse_table_free(&c->table);
        free(c);
        return error_set(err, "cannot open '%s': out of memory", n->filename);
    }
    n->cluster_bytes = be32_get(h.block_bytes);
    n->size = (uint64_t)n->cluster_bytes * be32_get(h.blocks);
    c->packed_max = n->cluster_bytes + n->cluster_bytes / 1000 + 64;    /* what zlib makes of noise */
    sparse_init(&c->s, &ops, n->file, n->size, n->cluster_bytes);
    n->state = c;
    return 0;
}

static void cloop_close(struct block_node *n)
{
    struct cloop *c = n->state;
    sparse_table_free(&c->table);
    sparse_free(&c->s);
    free(c->packed);
    free(c);
}

const struct block_format block_format_cloop = {
    .name = "cloop", .probe = cloop_probe, .open = cloop_open, .close = cloop_close, SPARSE_NODE_OPS,
};
