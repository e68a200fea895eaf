/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VDI, VirtualBox's format, version 1.1: a header, a table of 32-bit block numbers, then the blocks, of 1 MiB. A new block
 * is put behind all others; the header counts them. Differencing images (a parent's UUID) are refused.
 * Sources: the fields as VirtualBox's VDICore.h names them; images of QEMU 7.2.
 */
#include "block/sparse.h"

#include "base/bits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { HEADER_BYTES = 512, BLOCK = 1 << 20, TYPE_DYNAMIC = 1, TYPE_STATIC = 2, DATA_ALIGN = 4096 };
#define SIGNATURE 0xbeda107fu
#define VERSION_1_1 0x00010001u
#define ENTRY_FREE 0xffffffffu
#define ENTRY_ZERO 0xfffffffeu

struct vdi_header {
    char text[64];
    le32 signature, version, header_size, type, flags;
    char description[256];
    le32 table_offset, data_offset, cylinders, heads, sectors, sector_size, unused;
    le64 disk_size;
    le32 block_size, block_extra, blocks, blocks_used;
    uint8_t uuid[16], uuid_snapshot[16], uuid_link[16], uuid_parent[16];
    uint8_t rest[HEADER_BYTES - 456];
} __attribute__((packed));
_Static_assert(sizeof(struct vdi_header) == HEADER_BYTES, "VDI header");

struct vdi {
    struct sparse s;                /* first: SPARSE_NODE_OPS */
    struct sparse_table table;
    struct vdi_header header;
    uint32_t blocks, used;          /* used: the first place behind all that are taken */
    uint64_t data_offset;
    uint8_t *taken;                 /* a bit for each place in the file, made when the first block wants one */
};

static struct vdi *vdi_of(struct sparse *s)
{
    return container_of(s, struct vdi, s);
}

static bool vdi_probe(const uint8_t *head, size_t length)
{
    static const uint8_t magic[4] = { 0x7f, 0x10, 0xda, 0xbe };
    return length >= 0x44 && !memcmp(head + 0x40, magic, sizeof(magic));
}

static int vdi_find(struct sparse *s, uint64_t block, uint64_t *offset)
{
    struct vdi *v = vdi_of(s);
    le32 entry;
    int r;
    void *at = sparse_table_at(&v->table, block * sizeof(entry), &r);
    if (!at)
        return r;
    memcpy(&entry, at, sizeof(entry));
    uint32_t number = le32_get(entry);
    if (number == ENTRY_FREE || number == ENTRY_ZERO)
        *offset = number == ENTRY_FREE ? SPARSE_HOLE : SPARSE_ZERO;
    else if (number >= v->blocks)
        return -EIO;
    else
        *offset = v->data_offset + (uint64_t)number * BLOCK;
    return 0;
}

static bool is_taken(const struct vdi *v, uint32_t place)
{
    return v->taken[place / 8] >> place % 8 & 1;
}

static void take(struct vdi *v, uint32_t place)
{
    v->taken[place / 8] |= (uint8_t)(1 << place % 8);
    v->used = MAX(v->used, place + 1);
}

/* The header's count is only a hint: after a power cut, or by malice, it may be too low for what the table says. */
static int places_find(struct vdi *v)
{
    int r = 0;
    if (v->taken)
        return 0;
    v->taken = calloc(1, v->blocks / 8 + 1);
    if (!v->taken)
        return -ENOMEM;
    for (uint32_t i = 0; !r && i < v->blocks; i++) {
        const le32 *at = sparse_table_at(&v->table, i * sizeof(*at), &r);
        if (at && le32_get(*at) < v->blocks)
            take(v, le32_get(*at));
    }
    if (!r)
        return 0;
    free(v->taken);
    v->taken = NULL;
    return r;
}

/* Behind the others; when there is no more room, where a power cut left a place that nobody got. */
static int vdi_allocate(struct sparse *s, uint64_t block, uint64_t *offset)
{
    struct vdi *v = vdi_of(s);
    int r = places_find(v);
    uint32_t place = v->used;
    if (!r && place >= v->blocks)
        for (place = 0; place < v->blocks && is_taken(v, place);)
            place++;
    if (r || place >= v->blocks)
        return r ? r : -EIO;        /* the table has more blocks than the disk */
    *offset = v->data_offset + (uint64_t)place * BLOCK;
    return 0;
}

static int vdi_commit(struct sparse *s, uint64_t block, uint64_t offset)
{
    struct vdi *v = vdi_of(s);
    uint32_t place = (uint32_t)((offset - v->data_offset) / BLOCK);
    const le32 entry = le32_make(place);
    int r;
    void *at = sparse_table_at(&v->table, block * sizeof(entry), &r);
    if (!at)
        return r;
    memcpy(at, &entry, sizeof(entry));
    sparse_table_changed(&v->table, block * sizeof(entry));
    take(v, place);
    return 0;
}

/* The count goes first: others take the place behind it for free, whatever the table says. */
static int vdi_sync(struct sparse *s)
{
    struct vdi *v = vdi_of(s);
    int r = 0;
    if (le32_get(v->header.blocks_used) != v->used) {
        v->header.blocks_used = le32_make(v->used);
        r = block_protocol_pwrite(s->file, 0, &v->header, sizeof(v->header));
        if (!r)
            r = block_protocol_flush(s->file);
        if (r)
            v->header.blocks_used = le32_make(UINT32_MAX);  /* once more the next time */
    }
    return r ? r : sparse_table_sync(&v->table);
}

static int header_check(const struct block_node *n, const struct vdi_header *h, struct error *err)
{
    static const uint8_t no_uuid[16];
    uint64_t size = le64_get(h->disk_size), blocks = le32_get(h->blocks);
    uint64_t table = le32_get(h->table_offset), data = le32_get(h->data_offset);
    const char *wrong = NULL;
    if (le32_get(h->signature) != SIGNATURE)
        wrong = "it is not a VDI image";
    else if (le32_get(h->version) != VERSION_1_1)
        wrong = "its version is not 1.1";
    else if (le32_get(h->type) != TYPE_DYNAMIC && le32_get(h->type) != TYPE_STATIC)
        wrong = "it is neither a dynamic nor a static image";
    else if (memcmp(h->uuid_link, no_uuid, 16) || memcmp(h->uuid_parent, no_uuid, 16))
        wrong = "it is a differencing image, whose other half is elsewhere; merge it with 'VBoxManage clonemedium'";
    else if (le32_get(h->sector_size) != 512)
        wrong = "its sector size is not 512";
    else if (le32_get(h->block_size) != BLOCK || le32_get(h->block_extra))
        wrong = "its block size is not 1 MiB";
    else if (!size || size > blocks * BLOCK)
        wrong = "its disk size is larger than its table of blocks";
    else if (blocks > SPARSE_TABLE_MAX_BYTES / sizeof(le32))
        wrong = "its table of blocks is larger than 256 MiB";
    else if (table < HEADER_BYTES || table % 512)
        wrong = "its table of blocks begins inside the header or a sector";
    else if (data % 512 || data < table + blocks * sizeof(le32))
        wrong = "its data begin inside the table of blocks or a sector";
    else if (le32_get(h->blocks_used) > blocks)
        wrong = "it has more used blocks than blocks";
    return wrong ? error_set(err, "cannot open '%s': %s", n->filename, wrong) : 0;
}

static int vdi_open(struct block_node *n, struct error *err)
{
    struct vdi *v = calloc(1, sizeof(*v));
    int r = v ? block_protocol_pread(n->file, 0, &v->header, sizeof(v->header)) : -ENOMEM;
    if (r || header_check(n, &v->header, err)) {
        free(v);
        return r ? error_set(err, "cannot read '%s': %s", n->filename, strerror(-r)) : -1;
    }
    v->blocks = le32_get(v->header.blocks);
    v->used = le32_get(v->header.blocks_used);
    v->data_offset = le32_get(v->header.data_offset);
    n->size = ALIGN_UP(le64_get(v->header.disk_size), 512ull);
    static const struct sparse_ops ops = { .find = vdi_find, .allocate = vdi_allocate, .commit = vdi_commit, .sync = vdi_sync };
    sparse_init(&v->s, &ops, n->file, n->size, BLOCK);
    v->s.has_no_backing = true;
    n->state = v;
    n->cluster_bytes = BLOCK;
    r = sparse_table_init(&v->table, n->file, le32_get(v->header.table_offset), (uint64_t)v->blocks * sizeof(le32));
    if (!r)
        return 0;
    sparse_table_free(&v->table);
    sparse_free(&v->s);
    free(v);
    return error_set(err, "cannot open '%s': %s", n->filename, strerror(-r));
}

static void vdi_close(struct block_node *n)
{
    struct vdi *v = n->state;
    sparse_table_free(&v->table);
    sparse_free(&v->s);
    free(v->taken);
    free(v);
}

static const struct block_option create_options[] = {
    { "size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL, false },
    { "static", BLOCK_OPTION_BOOL, "VDI static (pre-allocated) image", "off", false },
    { .name = NULL },
};

static int vdi_create_check(const struct block_create_options *o, struct error *err)
{
    const uint64_t max = (uint64_t)SPARSE_TABLE_MAX_BYTES / sizeof(le32) * BLOCK;
    return o->size_bytes && o->size_bytes <= max ? 0 : error_set(err, "a VDI image holds 1 byte to 64 TiB, not %llu",
                                                               (unsigned long long)o->size_bytes);
}

static int table_write(struct block_protocol *file, uint64_t blocks, bool is_static)
{
    le32 entry[1024];
    for (uint64_t at = 0; at < blocks; at += ARRAY_SIZE(entry)) {
        size_t count = MIN(blocks - at, (uint64_t)ARRAY_SIZE(entry));
        for (size_t i = 0; i < count; i++)
            entry[i] = le32_make(is_static ? (uint32_t)(at + i) : ENTRY_FREE);
        int r = block_protocol_pwrite(file, HEADER_BYTES + at * sizeof(le32), entry, count * sizeof(le32));
        if (r)
            return r;
    }
    return 0;
}

static int vdi_create(struct block_protocol *file, const struct block_create_options *o, struct error *err)
{
    bool is_static = false;
    if (vdi_create_check(o, err) || block_option_bool(o->options, "static", &is_static, err))
        return -1;
    uint64_t size = ALIGN_UP(o->size_bytes, 512ull), blocks = (size + BLOCK - 1) / BLOCK;
    uint64_t data = ALIGN_UP(HEADER_BYTES + blocks * sizeof(le32), (uint64_t)DATA_ALIGN);
    struct vdi_header h = {
        .text = "<<< ospite Virtual Disk Image >>>\n", .signature = le32_make(SIGNATURE), .version = le32_make(VERSION_1_1),
        .header_size = le32_make(0x180), .type = le32_make(is_static ? TYPE_STATIC : TYPE_DYNAMIC),
        .table_offset = le32_make(HEADER_BYTES), .data_offset = le32_make((uint32_t)data), .sector_size = le32_make(512),
        .disk_size = le64_make(size), .block_size = le32_make(BLOCK), .blocks = le32_make((uint32_t)blocks),
        .blocks_used = le32_make(is_static ? (uint32_t)blocks : 0),
    };
    int r = getrandom(h.uuid, 16, 0) != 16 || getrandom(h.uuid_snapshot, 16, 0) != 16 ? -EIO : 0;
    h.uuid[6] = h.uuid_snapshot[6] = (uint8_t)((h.uuid[6] & 0x0f) | 0x40);
    h.uuid[8] = h.uuid_snapshot[8] = (uint8_t)((h.uuid[8] & 0x3f) | 0x80);
    if (!r)
        r = block_protocol_pwrite(file, 0, &h, sizeof(h));
    if (!r)
        r = table_write(file, blocks, is_static);
    if (!r && file->ops->truncate)
        r = file->ops->truncate(file, data + (is_static ? blocks * BLOCK : 0), BLOCK_PREALLOCATION_OFF);
    if (!r)
        r = block_protocol_flush(file);
    return r ? error_set(err, "cannot write '%s': %s", o->filename, strerror(-r)) : 0;
}

static void say(struct block_check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct block_check *c, const char *fmt, ...)
{
    char line[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (c->say)
        c->say(c, line);
}

/* Every number is below the count of blocks and there once; as many as the header says. */
static int vdi_check(struct block_node *n, struct block_check *c, struct error *err)
{
    struct vdi *v = n->state;
    uint8_t *seen = calloc(1, v->blocks / 8 + 1);
    int r = seen ? 0 : -ENOMEM;
    uint64_t blocks = (n->size + BLOCK - 1) / BLOCK;
    uint32_t used = 0;
    for (uint32_t i = 0; !r && i < blocks; i++) {
        le32 *at = sparse_table_at(&v->table, i * sizeof(le32), &r);
        if (!at)
            break;
        uint32_t number = le32_get(*at);
        if (number == ENTRY_FREE || number == ENTRY_ZERO)
            continue;
        if (number >= v->blocks || seen[number / 8] >> number % 8 & 1) {
            say(c, "ERROR: block index %u %s: %u", i, number >= v->blocks ? "out of range" : "is used twice", number);
            c->corruptions++;
            continue;
        }
        seen[number / 8] |= (uint8_t)(1 << number % 8);
        used++;
    }
    free(seen);
    if (r)
        return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
    if (used != v->used) {
        say(c, "ERROR: the header says that %u blocks are used, the table has %u", v->used, used);
        c->corruptions++;
    }
    return 0;
}

/* A static image has all its blocks; what was not written to is a hole of the file. */
static int vdi_map(struct block_node *n, uint64_t offset, uint64_t length, struct block_map *map)
{
    const struct vdi *v = n->state;
    int r = sparse_node_map(n, offset, length, map);
    if (!r && map->data && le32_get(v->header.type) == TYPE_STATIC)
        r = block_protocol_holes_find(n->file, map);
    return r;
}

const struct block_format block_format_vdi = {
    .name = "vdi", .probe = vdi_probe, .open = vdi_open, .close = vdi_close, .preadv = sparse_node_preadv,
    .pwritev = sparse_node_pwritev, .flush = sparse_node_flush, .discard = sparse_node_discard,
    .write_zeroes = sparse_node_write_zeroes, .extent = sparse_node_extent, .map = vdi_map,
    .create_options = create_options, .create_check = vdi_create_check, .create = vdi_create, .check = vdi_check,
};
