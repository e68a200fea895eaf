/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where an Apple disk image (UDIF) says what lies where: the last 512 bytes of the file, "koly", name a property list, XML with
 * base64 in <data> elements; those that begin with "mish" are tables of chunks, one for each partition. As QEMU does it, the list's
 * structure is not looked at beyond that: nothing else in it begins so.
 *
 * Sources: newosxbook.com/DMG.html; the hdiutil(1) manual page for the kinds' names.
 */
#include "block/dmg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/block_private.h"

enum { LIST_MAX_BYTES = 16 << 20 };
#define SECTORS_MAX (1ull << 53)

struct koly {
    char magic[4];
    be32 version, header_bytes, flags;
    be64 running_offset, data_offset, data_length, resource_offset, resource_length;
    be32 segment, segments;
    uint8_t segment_id[16], data_checksum[136];
    be64 list_offset, list_length;
    uint8_t reserved[120], checksum[136];
    be32 variant;
    be64 sectors;
    uint8_t rest[12];
} __attribute__((packed));
_Static_assert(sizeof(struct koly) == DMG_TRAILER_BYTES, "a trailer fills a sector");

struct mish {
    char magic[4];
    be32 version;
    be64 sector, sectors, data_offset;
    be32 buffers, descriptors;
    uint8_t reserved[24], checksum[136];
    be32 chunks;
} __attribute__((packed));

struct mish_chunk {
    be32 kind, comment;
    be64 sector, sectors, offset, length;
} __attribute__((packed));

enum what { TAKE, SKIP, REFUSE };
static const struct { uint32_t code; enum what what; enum dmg_kind kind; const char *name; } kinds[] = {
    { 0x00000000, TAKE, DMG_ZEROES, NULL }, { 0x00000001, TAKE, DMG_RAW, NULL }, { 0x00000002, TAKE, DMG_ZEROES, NULL },
    { 0x80000004, TAKE, DMG_ADC, NULL }, { 0x80000005, TAKE, DMG_ZLIB, NULL }, { 0x80000006, REFUSE, 0, "bzip2 (UDBZ)" },
    { 0x80000007, REFUSE, 0, "LZFSE (ULFO)" }, { 0x80000008, REFUSE, 0, "LZMA (ULMO)" }, { 0x7ffffffe, SKIP, 0, NULL },
    { 0xffffffff, SKIP, 0, NULL },
};

bool dmg_is_trailer(const uint8_t trailer[DMG_TRAILER_BYTES])
{
    return !memcmp(trailer, "koly", 4);
}

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* In place, it only gets shorter; white space is skipped. False: that is no base64. */
static bool base64_decode(char *text, size_t length, size_t *out)
{
    uint32_t bits = 0;
    unsigned have = 0;
    *out = 0;
    for (size_t i = 0; i < length; i++) {
        int value = base64_value(text[i]);
        if (text[i] == '=')
            break;
        if (value < 0 && !strchr(" \t\r\n", text[i]))
            return false;
        if (value < 0)
            continue;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        text[(*out)++] = (char)(bits >> have);
    }
    return true;
}

struct reading {
    struct dmg_table *t;
    uint64_t data_offset, file_bytes;
    size_t room;
};

static int chunk_add(struct reading *r, const struct dmg_chunk *c, struct error *err)
{
    struct dmg_table *t = r->t;
    if (t->count == r->room) {
        size_t room = MAX(64u, 2 * r->room);
        struct dmg_chunk *more = realloc(t->chunk, room * sizeof(*more));
        if (!more)
            return error_set(err, "out of memory");
        t->chunk = more;
        r->room = room;
    }
    t->chunk[t->count++] = *c;
    return 0;
}

/* first and base: of the table, for sectors and offsets. */
static int chunk_take(struct reading *r, const struct mish_chunk *m, uint64_t first, uint64_t base, struct error *err)
{
    struct dmg_chunk c = { .sector = be64_get(m->sector), .sectors = be64_get(m->sectors) };
    uint64_t offset = be64_get(m->offset), length = be64_get(m->length);
    size_t i = 0;
    while (i < ARRAY_SIZE(kinds) && kinds[i].code != be32_get(m->kind))
        i++;
    if (i == ARRAY_SIZE(kinds))
        return error_set(err, "it has chunks of the unknown kind %#x", be32_get(m->kind));
    if (kinds[i].what == REFUSE)
        return error_set(err, "its chunks are compressed with %s, which is not supported; convert it with 'qemu-img convert -f dmg'",
                         kinds[i].name);
    if (kinds[i].what == SKIP || !c.sectors)
        return 0;
    if (first >= r->t->sectors || c.sector >= r->t->sectors - first || c.sectors > r->t->sectors - first - c.sector)
        return error_set(err, "a chunk lies outside the disk (sector %llu of %llu)", (unsigned long long)c.sector,
                         (unsigned long long)r->t->sectors);
    c.sector += first;
    c.kind = kinds[i].kind;
    if (c.kind == DMG_ZEROES)
        return chunk_add(r, &c, err);
    if (base > r->file_bytes || offset > r->file_bytes - base || length > r->file_bytes - base - offset)
        return error_set(err, "the chunk for sector %llu lies outside the file", (unsigned long long)c.sector);
    c.offset = base + offset;
    if (c.kind == DMG_RAW && length >> 9 != c.sectors)
        return error_set(err, "the chunk for sector %llu has not as many bytes as sectors", (unsigned long long)c.sector);
    if (c.kind == DMG_RAW)
        return chunk_add(r, &c, err);
    if (c.sectors > DMG_CHUNK_MAX_BYTES / 512 || length > DMG_CHUNK_MAX_BYTES || !length)
        return error_set(err, "the chunk for sector %llu is empty, or larger than %d MiB", (unsigned long long)c.sector,
                         DMG_CHUNK_MAX_BYTES >> 20);
    c.length = (uint32_t)length;
    r->t->largest_bytes = MAX(r->t->largest_bytes, (uint32_t)c.sectors * 512);
    r->t->largest_packed_bytes = MAX(r->t->largest_packed_bytes, c.length);
    return chunk_add(r, &c, err);
}

static int mish_take(struct reading *r, const char *data, size_t length, struct error *err)
{
    struct mish h;
    if (length < 4 || memcmp(data, "mish", 4))
        return 0;                   /* something else of the list */
    if (length < sizeof(h))
        return error_set(err, "a table of chunks is too short");
    memcpy(&h, data, sizeof(h));
    if (be32_get(h.chunks) > (length - sizeof(h)) / sizeof(struct mish_chunk))
        return error_set(err, "a table says that it has %u chunks, and is too short", be32_get(h.chunks));
    uint64_t base = be64_get(h.data_offset) + r->data_offset;
    if (base < r->data_offset)
        return error_set(err, "a table's data offset lies outside the file");
    for (uint32_t i = 0; i < be32_get(h.chunks); i++) {
        struct mish_chunk m;
        memcpy(&m, data + sizeof(h) + i * sizeof(m), sizeof(m));
        if (chunk_take(r, &m, be64_get(h.sector), base, err))
            return -1;
    }
    return 0;
}

/* text ends with a zero byte. */
static int list_take(struct reading *r, char *text, struct error *err)
{
    static const char open[] = "<data>", close[] = "</data>";
    for (char *at = text; (at = strstr(at, open));) {
        at += sizeof(open) - 1;
        char *end = strstr(at, close);
        size_t length;
        if (!end)
            return error_set(err, "its property list ends within <data>");
        if (!base64_decode(at, (size_t)(end - at), &length))
            return error_set(err, "its property list has <data> that is no base64");
        if (mish_take(r, at, length, err))
            return -1;
        at = end + sizeof(close) - 1;
    }
    return 0;
}

static int chunk_order(const void *a, const void *b)
{
    const struct dmg_chunk *x = a, *y = b;
    return (x->sector > y->sector) - (x->sector < y->sector);
}

static int order_check(struct dmg_table *t, struct error *err)
{
    uint64_t at = 0;
    if (t->count)
        qsort(t->chunk, t->count, sizeof(*t->chunk), chunk_order);
    for (size_t i = 0; i < t->count; i++) {
        if (t->chunk[i].sector != at)
            return error_set(err, t->chunk[i].sector < at ? "two chunks have sector %llu" : "no chunk has sector %llu",
                             (unsigned long long)MIN(at, t->chunk[i].sector));
        at += t->chunk[i].sectors;
    }
    return at == t->sectors ? 0 : error_set(err, "no chunk has sector %llu", (unsigned long long)at);
}

static int koly_check(const struct koly *k, uint64_t file_bytes, struct error *err)
{
    uint64_t offset = be64_get(k->list_offset), length = be64_get(k->list_length);
    if (memcmp(k->magic, "koly", 4))
        return error_set(err, "it is not a DMG image: its last 512 bytes do not begin with 'koly'");
    if (be32_get(k->segments) > 1)
        return error_set(err, "it is one of %u segments; join them with hdiutil", be32_get(k->segments));
    if (!be64_get(k->sectors) || be64_get(k->sectors) > SECTORS_MAX)
        return error_set(err, "its disk has %llu sectors", (unsigned long long)be64_get(k->sectors));
    if (!length)
        return error_set(err, "it has no property list%s", be64_get(k->resource_length) ? ", but a resource fork, which is not "
                         "supported; convert it with 'qemu-img convert -f dmg'" : "");
    if (length > LIST_MAX_BYTES)
        return error_set(err, "its property list is larger than %d MiB", LIST_MAX_BYTES >> 20);
    return offset > file_bytes || length > file_bytes - offset ? error_set(err, "its property list lies outside the file") : 0;
}

int dmg_table_read(struct dmg_table *t, struct block_protocol *file, struct error *err)
{
    struct koly k;
    int64_t size = file->ops->size(file);
    *t = (struct dmg_table){ .chunk = NULL };
    int r = size < 0 ? (int)size : size < (int64_t)sizeof(k) ? -EIO :
            block_protocol_pread(file, (uint64_t)size - sizeof(k), &k, sizeof(k));
    if (r)
        return error_set(err, size >= 0 && size < (int64_t)sizeof(k) ? "it is smaller than a DMG's trailer" : "its trailer cannot be "
                         "read: %s", strerror(-r));
    if (koly_check(&k, (uint64_t)size, err))
        return -1;
    struct reading reading = { .t = t, .data_offset = be64_get(k.data_offset), .file_bytes = (uint64_t)size };
    uint64_t length = be64_get(k.list_length);
    char *text = malloc(length + 1);
    t->sectors = be64_get(k.sectors);
    if (!text)
        return error_set(err, "out of memory");
    text[length] = 0;
    r = block_protocol_pread(file, be64_get(k.list_offset), text, length);
    r = r ? error_set(err, "its property list cannot be read: %s", strerror(-r)) : list_take(&reading, text, err);
    free(text);
    if (!r)
        r = order_check(t, err);
    if (r)
        dmg_table_free(t);
    return r;
}

void dmg_table_free(struct dmg_table *t)
{
    free(t->chunk);
    t->chunk = NULL;
}
