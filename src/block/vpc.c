/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VHD, the format of Virtual PC and Hyper-V ("vpc"). A fixed image is the disk with a footer of 512 bytes behind it. A
 * dynamic one has a copy of the footer in front, a second header, a table of 32-bit sector numbers, and blocks, each with a
 * bitmap of written sectors before its data, then the footer. New blocks take the
 * footer's place and the footer moves on when tables are written; until then the copy in front has to do.
 *
 * Bitmaps are written full. Others mark sector by sector, and read zeroes where no bit is set: a block of theirs gets a full bitmap
 * before its first change here. Reading takes the data as they lie, as QEMU does.
 *
 * How large the disk is depends on who made the image: Virtual PC and QEMU mean the geometry, Hyper-V and others the size.
 * Differencing images are refused. Source: Microsoft, "Virtual Hard Disk Image Format Specification", 2006.
 */
#include "block/sparse.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { FOOTER_BYTES = 512, HEADER_BYTES = 1024, TYPE_FIXED = 2, TYPE_DYNAMIC = 3, TYPE_DIFFERENCING = 4 };
enum { BLOCK = 2 << 20, BLOCK_MAX = 256 << 20, TABLE_AT = 1536 };
#define EPOCH 946684800                     /* 2000-01-01 in the seconds of 1970 */
#define ENTRY_FREE 0xffffffffu
#define SECTORS_MAX 0xff000000ull           /* what fits into 32-bit sector numbers with bitmaps: 2040 GiB */
#define CHS_MAX (65535ull * 16 * 255)

struct vpc_footer {
    char cookie[8];
    be32 features, version;
    be64 data_offset;
    be32 time;
    char creator[4];
    be16 major, minor;
    char system[4];
    be64 original_size, size;
    be16 cylinders;
    uint8_t heads, sectors;
    be32 type, checksum;
    uint8_t uuid[16], saved, rest[427];
} __attribute__((packed));
_Static_assert(sizeof(struct vpc_footer) == FOOTER_BYTES, "VHD footer");

struct vpc_header {
    char cookie[8];
    be64 data_offset, table_offset;
    be32 version, entries, block_size, checksum;
    uint8_t parent[HEADER_BYTES - 40];
} __attribute__((packed));
_Static_assert(sizeof(struct vpc_header) == HEADER_BYTES, "VHD header");

struct vpc {
    struct sparse s;                        /* first: SPARSE_NODE_OPS */
    struct sparse_table table;
    struct vpc_footer footer;
    bool fixed;
    uint32_t bitmap_bytes;
    uint64_t header_at, table_offset;
    uint64_t table_bytes;                   /* with the entries that the disk does not need */
    uint64_t end;                           /* of the blocks; the footer's place */
    uint8_t *full;                          /* a bit for each block whose bitmap is known to be full */
};

static struct vpc *vpc_of(struct sparse *s)
{
    return container_of(s, struct vpc, s);
}

static bool vpc_probe(const uint8_t *head, size_t length)
{
    return length >= 8 && !memcmp(head, "conectix", 8);
}

/* The ones' complement of the sum of all bytes, the checksum's own left out. */
static be32 checksum(const void *data, size_t length, size_t at)
{
    const uint8_t *p = data;
    uint32_t sum = 0;
    for (size_t i = 0; i < length; i++)
        if (i < at || i >= at + 4)
            sum += p[i];
    return be32_make(~sum);
}

static bool footer_is_good(const struct vpc_footer *f)
{
    return !memcmp(f->cookie, "conectix", 8) &&
           checksum(f, sizeof(*f), offsetof(struct vpc_footer, checksum)).raw == f->checksum.raw;
}

static int entry_get(struct vpc *v, uint64_t block, uint32_t *sector)
{
    be32 entry;
    int r;
    void *at = sparse_table_at(&v->table, block * sizeof(entry), &r);
    if (!at)
        return r;
    memcpy(&entry, at, sizeof(entry));
    *sector = be32_get(entry);
    return 0;
}

static bool is_over(uint64_t from, uint64_t to, uint64_t start, uint64_t length)
{
    return from < start + length && to > start;
}

static int vpc_find(struct sparse *s, uint64_t block, uint64_t *offset)
{
    struct vpc *v = vpc_of(s);
    uint32_t sector = ENTRY_FREE;
    int r = entry_get(v, block, &sector);
    if (r)
        return r;
    uint64_t from = (uint64_t)sector * 512, to = from + v->bitmap_bytes + s->block_bytes;
    if (sector == ENTRY_FREE)
        *offset = SPARSE_HOLE;
    else if (from < FOOTER_BYTES || is_over(from, to, v->header_at, HEADER_BYTES) ||
             is_over(from, to, v->table_offset, v->table_bytes) || to > v->end)
        return -EIO;                        /* over headers or table, or past the end */
    else
        *offset = from + v->bitmap_bytes;
    return 0;
}

static int bitmap_fill(struct vpc *v, uint64_t at)
{
    uint8_t *bitmap = malloc(v->bitmap_bytes);
    if (!bitmap)
        return -ENOMEM;
    memset(bitmap, 0xff, v->bitmap_bytes);
    int r = block_protocol_pwrite(v->s.file, at, bitmap, v->bitmap_bytes);
    free(bitmap);
    return r;
}

static bool is_full(const uint8_t *bitmap, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (bitmap[i] != 0xff)
            return false;
    return true;
}

static int vpc_change(struct sparse *s, uint64_t block, uint64_t offset)
{
    struct vpc *v = vpc_of(s);
    uint64_t at = offset - v->bitmap_bytes;
    if (v->full[block / 8] >> block % 8 & 1)
        return 0;
    uint8_t *bitmap = malloc(v->bitmap_bytes);
    int r = bitmap ? block_protocol_pread(s->file, at, bitmap, v->bitmap_bytes) : -ENOMEM;
    if (!r && !is_full(bitmap, v->bitmap_bytes))
        r = bitmap_fill(v, at);
    free(bitmap);
    if (!r)
        v->full[block / 8] |= (uint8_t)(1u << block % 8);
    return r;
}

static int vpc_allocate(struct sparse *s, uint64_t block, uint64_t *offset)
{
    struct vpc *v = vpc_of(s);
    int r = sparse_grow_check(s);
    if (r)
        return r;
    if ((v->end + v->bitmap_bytes + s->block_bytes) / 512 > UINT32_MAX - 1)
        return -EFBIG;
    *offset = v->end + v->bitmap_bytes;
    /* The bitmap covers where the footer was: it has to be written again even if nothing comes of this. */
    s->dirty = true;
    return bitmap_fill(v, v->end);
}

static int vpc_commit(struct sparse *s, uint64_t block, uint64_t offset)
{
    struct vpc *v = vpc_of(s);
    const be32 entry = be32_make((uint32_t)(v->end / 512));
    int r;
    void *at = sparse_table_at(&v->table, block * sizeof(entry), &r);
    if (!at)
        return r;
    memcpy(at, &entry, sizeof(entry));
    sparse_table_changed(&v->table, block * sizeof(entry));
    v->full[block / 8] |= (uint8_t)(1u << block % 8);
    v->end = offset + s->block_bytes;
    return 0;
}

static int vpc_sync(struct sparse *s)
{
    struct vpc *v = vpc_of(s);
    int r = block_protocol_pwrite(s->file, v->end, &v->footer, sizeof(v->footer));
    return r ? r : sparse_table_sync(&v->table);
}

static uint64_t disk_size(const struct vpc_footer *f)
{
    static const char *const by_size[] = { "win ", "qem2", "d2v ", "tap", "CXSH", "wa" };
    uint64_t chs = (uint64_t)be16_get(f->cylinders) * f->heads * f->sectors;
    for (size_t i = 0; i < ARRAY_SIZE(by_size); i++)
        if (!strncmp(f->creator, by_size[i], 4))
            return be64_get(f->size);
    return chs >= CHS_MAX || !chs ? be64_get(f->size) : chs * 512;
}

/* Where the last block ends: other writers may have left the footer anywhere behind it. */
static int end_find(struct vpc *v, uint64_t blocks, uint64_t file_size)
{
    uint64_t end = ALIGN_UP(MAX(v->table_offset + v->table_bytes, v->header_at + HEADER_BYTES), 512ull);
    for (uint64_t i = 0; i < blocks; i++) {
        uint32_t sector = ENTRY_FREE;
        int r = entry_get(v, i, &sector);
        if (r)
            return r;
        uint64_t to = (uint64_t)sector * 512 + v->bitmap_bytes + v->s.block_bytes;
        if (sector == ENTRY_FREE)
            continue;
        if (to <= file_size)
            end = MAX(end, to);
        else
            v->s.cut_short = true;
    }
    v->end = end;
    return 0;
}

static int refuse(const struct block_node *n, const char *why, struct error *err)
{
    return error_set(err, "cannot open '%s': %s", n->filename, why);
}

static int tables_load(struct block_node *n, struct vpc *v, uint64_t blocks, uint64_t file_size)
{
    int r = sparse_table_init(&v->table, n->file, v->table_offset, blocks * sizeof(be32));
    v->full = calloc(blocks / 8 + 1, 1);
    if (!r && !v->full)
        r = -ENOMEM;
    return r ? r : end_find(v, blocks, file_size);
}

static int dynamic_open(struct block_node *n, struct vpc *v, uint64_t file_size, struct error *err)
{
    static const struct sparse_ops ops = { .find = vpc_find, .change = vpc_change, .allocate = vpc_allocate,
                                          .commit = vpc_commit, .sync = vpc_sync };
    struct vpc_header h;
    uint64_t at = be64_get(v->footer.data_offset), blocks;
    if (at < FOOTER_BYTES || at > file_size || at % 512)
        return refuse(n, "its dynamic header lies outside the file", err);
    int r = block_protocol_pread(n->file, at, &h, sizeof(h));
    if (r)
        return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
    uint32_t block = be32_get(h.block_size);
    v->header_at = at;
    v->table_offset = be64_get(h.table_offset);
    if (memcmp(h.cookie, "cxsparse", 8) || checksum(&h, sizeof(h), offsetof(struct vpc_header, checksum)).raw != h.checksum.raw)
        return refuse(n, "its dynamic header is damaged", err);
    if (block < 512 || block > BLOCK_MAX || block & (block - 1))
        return refuse(n, "its block size is no power of two from 512 bytes to 256 MiB", err);
    blocks = (n->size + block - 1) / block;
    v->table_bytes = (uint64_t)be32_get(h.entries) * sizeof(be32);
    v->bitmap_bytes = ALIGN_UP(block / 512 / 8 + !(block / 512 / 8), 512u);
    if (be32_get(h.entries) < blocks)
        return refuse(n, "its table of blocks is too small for its disk size", err);
    if (blocks * sizeof(be32) > SPARSE_TABLE_MAX_BYTES)
        return refuse(n, "its table of blocks is larger than 256 MiB", err);
    if (v->table_offset < FOOTER_BYTES || v->table_offset > file_size || v->table_bytes > file_size - v->table_offset)
        return refuse(n, "its table of blocks lies outside the file", err);
    if (is_over(at, at + HEADER_BYTES, v->table_offset, v->table_bytes))
        return refuse(n, "its table of blocks overlaps its dynamic header", err);
    sparse_init(&v->s, &ops, n->file, n->size, block);
    v->s.has_no_backing = true;
    n->cluster_bytes = block;
    r = tables_load(n, v, blocks, file_size);
    if (!r)
        return 0;
    sparse_table_free(&v->table);
    sparse_free(&v->s);
    free(v->full);
    return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
}

static int vpc_open_into(struct block_node *n, struct vpc *v, struct error *err)
{
    struct vpc_footer last;
    int64_t size = n->file->ops->size(n->file);
    if (size < FOOTER_BYTES)
        return refuse(n, "it is too short for a VHD image", err);
    int r = block_protocol_pread(n->file, 0, &v->footer, sizeof(v->footer));
    if (!r)
        r = block_protocol_pread(n->file, (uint64_t)size - FOOTER_BYTES, &last, sizeof(last));
    if (r)
        return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
    bool head = footer_is_good(&v->footer) && be32_get(v->footer.type) != TYPE_FIXED;
    if (!head && !footer_is_good(&last))
        return refuse(n, "it has no footer with a right checksum, so it is no VHD image, or was cut short", err);
    if (!head)
        v->footer = last;
    uint32_t type = be32_get(v->footer.type);
    if (type == TYPE_DIFFERENCING)
        return refuse(n, "it is a differencing image, whose other half is elsewhere; merge it with Hyper-V first", err);
    if (type != TYPE_FIXED && type != TYPE_DYNAMIC)
        return refuse(n, "it is neither a fixed nor a dynamic image", err);
    v->fixed = type == TYPE_FIXED;
    n->size = disk_size(&v->footer);
    if (!n->size || n->size % 512 || n->size / 512 > SECTORS_MAX)
        return refuse(n, "its disk size is 0, no multiple of 512, or above 2040 GiB", err);
    if (!v->fixed)
        return dynamic_open(n, v, (uint64_t)size, err);
    /* A fixed image never grows over its footer. */
    if (n->size > (uint64_t)size - FOOTER_BYTES)
        return refuse(n, "it is shorter than its disk", err);
    sparse_init(&v->s, NULL, n->file, n->size, BLOCK);
    return 0;
}

static int vpc_open(struct block_node *n, struct error *err)
{
    struct vpc *v = calloc(1, sizeof(*v));
    if (!v)
        return error_set(err, "cannot open '%s': out of memory", n->filename);
    n->state = v;
    if (!vpc_open_into(n, v, err))
        return 0;
    free(v);
    return -1;
}

static void vpc_close(struct block_node *n)
{
    struct vpc *v = n->state;
    if (!v->fixed)
        sparse_table_free(&v->table);
    sparse_free(&v->s);
    free(v->full);
    free(v);
}

static bool is_fixed(const struct block_node *n)
{
    return ((struct vpc *)n->state)->fixed;
}

static int vpc_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    return is_fixed(n) ? n->file->ops->preadv(n->file, offset, iov, iovcnt) : sparse_node_preadv(n, offset, iov, iovcnt);
}

static int vpc_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    return is_fixed(n) ? n->file->ops->pwritev(n->file, offset, iov, iovcnt) : sparse_node_pwritev(n, offset, iov, iovcnt);
}

static int vpc_flush(struct block_node *n)
{
    return is_fixed(n) ? block_protocol_flush(n->file) : sparse_node_flush(n);
}

static int vpc_discard(struct block_node *n, uint64_t offset, uint64_t length)
{
    return is_fixed(n) ? n->file->ops->discard(n->file, offset, length) : sparse_node_discard(n, offset, length);
}

static int vpc_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap)
{
    return is_fixed(n) ? block_protocol_write_zeroes(n->file, offset, length, may_unmap) :
           sparse_node_write_zeroes(n, offset, length, may_unmap);
}

static int vpc_extent(struct block_node *n, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    if (!is_fixed(n))
        return sparse_node_extent(n, offset, length, extent);
    return n->file->ops->extent ? n->file->ops->extent(n->file, offset, length, extent) : 0;
}

static int vpc_map(struct block_node *n, uint64_t offset, uint64_t length, struct block_map *map)
{
    struct block_extent e = { .length_bytes = length };
    if (!is_fixed(n))
        return sparse_node_map(n, offset, length, map);
    int r = vpc_extent(n, offset, length, &e);
    map->length_bytes = e.length_bytes;
    map->zero = e.zero;
    map->data = true;
    map->has_offset = true;
    map->offset = offset;
    return r;
}

static const struct block_option create_options[] = {
    { "force_size", BLOCK_OPTION_BOOL, "Force disk size calculation to use the actual size specified, rather than using the "
      "nearest CHS-based calculation", "off", false },
    { "size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL, false },
    { "subformat", BLOCK_OPTION_TEXT, "Type of virtual hard disk format (allowed values: dynamic, fixed)", "dynamic", false },
    { .name = NULL },
};

struct plan {
    bool fixed, force;
    uint64_t sectors;
    struct { unsigned cylinders, heads, sectors; } chs;
};

/* The specification's appendix, "CHS Calculation". */
static void geometry(uint64_t total, struct plan *p)
{
    uint64_t tracks;
    total = MIN(total, CHS_MAX);
    if (total >= 65535ull * 16 * 63) {
        p->chs.sectors = 255;
        p->chs.heads = 16;
        tracks = total / 255;
    } else {
        p->chs.sectors = 17;
        tracks = total / 17;
        p->chs.heads = MAX((unsigned)((tracks + 1023) / 1024), 4u);
        if (tracks >= p->chs.heads * 1024ull || p->chs.heads > 16) {
            p->chs.sectors = 31;
            p->chs.heads = 16;
            tracks = total / 31;
        }
        if (tracks >= p->chs.heads * 1024ull) {
            p->chs.sectors = 63;
            p->chs.heads = 16;
            tracks = total / 63;
        }
    }
    p->chs.cylinders = (unsigned)(tracks / p->chs.heads);
}

static uint64_t geometry_sectors(const struct plan *p)
{
    return (uint64_t)p->chs.cylinders * p->chs.heads * p->chs.sectors;
}

static int plan_make(const struct block_create_options *o, struct plan *p, struct error *err)
{
    static const char *const kinds[] = { "dynamic", "fixed", NULL };
    unsigned kind = 0;
    *p = (struct plan){ .sectors = ALIGN_UP(o->size_bytes, 512ull) / 512 };
    if (block_option_choice(o->options, "subformat", kinds, &kind, err) ||
        block_option_bool(o->options, "force_size", &p->force, err))
        return -1;
    p->fixed = kind == 1;
    if (!p->sectors || p->sectors > SECTORS_MAX)
        return error_set(err, "a VHD image holds 1 byte to 2040 GiB, not %llu", (unsigned long long)o->size_bytes);
    geometry(p->sectors, p);
    if (p->force)
        return 0;
    for (uint64_t more = 0; geometry_sectors(p) < MIN(p->sectors, CHS_MAX); more++)
        geometry(p->sectors + more, p);
    if (geometry_sectors(p) < CHS_MAX)
        p->sectors = geometry_sectors(p);
    return 0;
}

static int vpc_create_check(const struct block_create_options *o, struct error *err)
{
    struct plan p;
    return plan_make(o, &p, err);
}

static int footer_make(struct vpc_footer *f, const struct plan *p)
{
    *f = (struct vpc_footer){
        .cookie = "conectix", .features = be32_make(2), .version = be32_make(0x00010000),
        .data_offset = be64_make(p->fixed ? UINT64_MAX : FOOTER_BYTES), .time = be32_make((uint32_t)(time(NULL) - EPOCH)),
        .major = be16_make(5), .minor = be16_make(3), .original_size = be64_make(p->sectors * 512),
        .size = be64_make(p->sectors * 512), .cylinders = be16_make((uint16_t)p->chs.cylinders),
        .heads = (uint8_t)p->chs.heads, .sectors = (uint8_t)p->chs.sectors,
        .type = be32_make(p->fixed ? TYPE_FIXED : TYPE_DYNAMIC),
    };
    /* QEMU's two names are what readers know to tell geometry from size. */
    memcpy(f->creator, p->force ? "qem2" : "qemu", 4);
    memcpy(f->system, "Wi2k", 4);
    if (getrandom(f->uuid, sizeof(f->uuid), 0) != sizeof(f->uuid))
        return -EIO;
    f->checksum = checksum(f, sizeof(*f), offsetof(struct vpc_footer, checksum));
    return 0;
}

static int dynamic_create(struct block_protocol *file, const struct vpc_footer *f, uint64_t sectors)
{
    uint64_t entries = (sectors * 512 + BLOCK - 1) / BLOCK, bytes = ALIGN_UP(entries * sizeof(be32), 512ull);
    struct vpc_header h = { .cookie = "cxsparse", .data_offset = be64_make(UINT64_MAX), .table_offset = be64_make(TABLE_AT),
                            .version = be32_make(0x00010000), .entries = be32_make((uint32_t)entries),
                            .block_size = be32_make(BLOCK) };
    h.checksum = checksum(&h, sizeof(h), offsetof(struct vpc_header, checksum));
    uint8_t *table = malloc(bytes);
    if (!table)
        return -ENOMEM;
    memset(table, 0xff, bytes);
    int r = block_protocol_pwrite(file, 0, f, sizeof(*f));
    if (!r)
        r = block_protocol_pwrite(file, FOOTER_BYTES, &h, sizeof(h));
    if (!r)
        r = block_protocol_pwrite(file, TABLE_AT, table, bytes);
    if (!r)
        r = block_protocol_pwrite(file, TABLE_AT + bytes, f, sizeof(*f));
    free(table);
    return r;
}

static int vpc_create(struct block_protocol *file, const struct block_create_options *o, struct error *err)
{
    struct vpc_footer f;
    struct plan p;
    if (plan_make(o, &p, err))
        return -1;
    int r = footer_make(&f, &p);
    if (!r)
        r = p.fixed ? block_protocol_pwrite(file, p.sectors * 512, &f, sizeof(f)) : dynamic_create(file, &f, p.sectors);
    if (!r)
        r = block_protocol_flush(file);
    return r ? error_set(err, "cannot write '%s': %s", o->filename, strerror(-r)) : 0;
}

const struct block_format block_format_vpc = {
    .name = "vpc", .probe = vpc_probe, .probe_is_hint = true, .open = vpc_open, .close = vpc_close, .preadv = vpc_preadv,
    .pwritev = vpc_pwritev, .flush = vpc_flush, .discard = vpc_discard, .write_zeroes = vpc_write_zeroes,
    .extent = vpc_extent, .map = vpc_map, .create_options = create_options, .create_check = vpc_create_check,
    .create = vpc_create,
};
