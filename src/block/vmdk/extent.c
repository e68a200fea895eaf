/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sparse extents: a grain directory of sector numbers of grain tables, which hold sector numbers of grains. Directory and
 * tables exist twice in most images; both are written, the first is read. Tables are read when needed; changed ones stay in
 * memory until a flush, which writes tables, then directories, with a barrier between them when there are new tables.
 * Compressed grains (streamOptimized) are never overwritten: a changed one is appended.
 * Source: VMware, "Virtual Disk Format 5.0", chapters "Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse Extents".
 */
#include "block/vmdk/vmdk_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { TABLES_KEPT = 2048, GRAIN_MIN = 1, GRAIN_MAX = 1 << 15, DIRECTORY_MAX_BYTES = 32 << 20, ZERO_GRAIN = 1 };
#define NUMBER_MAX 0xffffffffull            /* sector numbers are 32 bits wide */

static int extent_sync(struct sparse *s);

static struct vmdk_extent *extent_of(struct sparse *s)
{
    return container_of(s, struct vmdk_extent, s);
}

static void tables_drop(struct vmdk_extent *e)
{
    for (uint32_t i = 0; i < e->directory_entries; i++)
        if (e->table[i] && !e->table[i]->changed) {
            free(e->table[i]);
            e->table[i] = NULL;
            e->tables_loaded--;
        }
}

/* Room for another table. Where all that are kept have changed, they are written: memory does not grow with what is not flushed. */
static int tables_limit(struct vmdk_extent *e)
{
    if (e->tables_loaded < TABLES_KEPT)
        return 0;
    tables_drop(e);
    if (e->tables_loaded < TABLES_KEPT)
        return 0;
    int r = block_protocol_flush(e->file);
    if (!r)
        r = extent_sync(&e->s);
    if (!r)
        tables_drop(e);
    return r;
}

static bool is_uniform(const struct vmdk_extent *e, const struct vmdk_table *t)
{
    return !memcmp(t->entry, t->entry + 1, (e->gtes - 1) * sizeof(le32));
}

/* NULL with *r 0: there is no such table. With make, there will be. */
static struct vmdk_table *table_get(struct vmdk_extent *e, uint32_t i, bool make, int *r)
{
    *r = 0;
    if (e->table[i])
        return e->table[i];
    uint64_t at = (uint64_t)le32_get(e->directory[i]) * VMDK_SECTOR;
    if (!at && !make)
        return NULL;
    *r = tables_limit(e);
    if (*r)
        return NULL;
    struct vmdk_table *t = calloc(1, sizeof(*t));
    if (!t) {
        *r = -ENOMEM;
        return NULL;
    }
    int64_t size = e->file->ops->size(e->file);
    if (at && (size < 0 || at < e->protected_bytes || at >= (uint64_t)size))
        *r = -EIO;
    if (at && !*r)
        *r = block_protocol_pread(e->file, at, t->entry, e->gtes * sizeof(le32));
    if (*r) {
        free(t);
        return NULL;
    }
    t->uniform = is_uniform(e, t);
    e->table[i] = t;
    e->tables_loaded++;
    return t;
}

static int extent_find(struct sparse *s, uint64_t block, uint64_t *offset)
{
    struct vmdk_extent *e = extent_of(s);
    int r;
    struct vmdk_table *t = table_get(e, (uint32_t)(block / e->gtes), false, &r);
    uint32_t number = t ? le32_get(t->entry[block % e->gtes]) : 0;
    if (!number || r) {
        *offset = SPARSE_HOLE;
        return r;
    }
    if (number == ZERO_GRAIN && e->zero_grains) {
        *offset = SPARSE_ZERO;
        return 0;
    }
    *offset = (uint64_t)number * VMDK_SECTOR;
    uint64_t directory = e->directory_offset, bytes = (uint64_t)e->directory_entries * sizeof(le32);
    if (*offset < e->protected_bytes || (*offset < directory + bytes && *offset + s->block_bytes > directory &&
                                         !e->compressed) || *offset >= e->next)
        return -EIO;
    return 0;
}

static uint64_t extent_run(struct sparse *s, uint64_t block)
{
    const struct vmdk_extent *e = extent_of(s);
    const struct vmdk_table *t = e->table[block / e->gtes];
    return t && !t->uniform ? 1 : e->gtes - block % e->gtes;
}

/* What is appended lies behind the footer, which nobody would find any more: the true header moves to the beginning first. */
static int footer_settle(struct vmdk_extent *e)
{
    if (!e->footer)
        return 0;
    int r = block_protocol_pwrite(e->file, 0, e->footer, sizeof(*e->footer));
    if (!r)
        r = block_protocol_flush(e->file);
    if (r)
        return r;
    free(e->footer);
    e->footer = NULL;
    return 0;
}

/* Something in the file, as it was when it was opened. The last one may go on behind the end of a file that was cut short. */
static void place_note(struct vmdk_extent *e, uint64_t offset, uint64_t bytes, uint64_t *end)
{
    if (offset >= e->next)
        e->s.cut_short = true;
    else
        *end = MAX(*end, offset + bytes);
}

static int table_note(struct vmdk_extent *e, uint32_t i, uint64_t *end)
{
    uint64_t at = (uint64_t)le32_get(e->directory[i]) * VMDK_SECTOR, bytes = e->gtes * sizeof(le32);
    le32 entry[VMDK_GTES];
    place_note(e, at, bytes, end);
    if (e->redundant && le32_get(e->redundant[i]))
        place_note(e, (uint64_t)le32_get(e->redundant[i]) * VMDK_SECTOR, bytes, end);
    int r = e->s.cut_short ? 0 : block_protocol_pread(e->file, at, entry, bytes);
    for (uint32_t k = 0; !r && !e->s.cut_short && k < e->gtes; k++)
        if (le32_get(entry[k]) > ZERO_GRAIN)
            place_note(e, (uint64_t)le32_get(entry[k]) * VMDK_SECTOR, e->compressed ? VMDK_SECTOR : e->s.block_bytes, end);
    return r;
}

/* Before the first grain is put at the end. */
static int end_find(struct vmdk_extent *e)
{
    uint64_t end = e->next;
    int r = 0;
    for (uint32_t i = 0; !r && !e->s.cut_short && !e->end_known && i < e->directory_entries; i++)
        if (le32_get(e->directory[i]) && (!i || le32_get(e->directory[i]) != le32_get(e->directory[i - 1])))
            r = table_note(e, i, &end);
    if (r)
        return r;
    e->next = ALIGN_UP(end, (uint64_t)VMDK_SECTOR);
    e->end_known = true;
    return sparse_grow_check(&e->s);
}

/* Room at the end. */
static int room_take(struct vmdk_extent *e, uint64_t bytes, uint64_t align, uint64_t *offset)
{
    *offset = ALIGN_UP(e->next, align);
    if ((*offset + bytes) / VMDK_SECTOR > NUMBER_MAX)
        return -EFBIG;
    e->next = *offset + ALIGN_UP(bytes, (uint64_t)VMDK_SECTOR);
    return 0;
}

static int extent_allocate(struct sparse *s, uint64_t block, uint64_t *offset)
{
    struct vmdk_extent *e = extent_of(s);
    int r = end_find(e);
    if (r)
        return r;
    *offset = ALIGN_UP(e->next, (uint64_t)s->block_bytes);
    return (*offset + s->block_bytes) / VMDK_SECTOR > NUMBER_MAX ? -EFBIG : footer_settle(e);
}

/* A table that is not in the directory yet gets a place, twice where there are two directories. */
static int table_place(struct vmdk_extent *e, uint32_t i)
{
    uint64_t bytes = e->gtes * sizeof(le32), first, second = 0;
    if (le32_get(e->directory[i]))
        return 0;
    int r = room_take(e, bytes, VMDK_SECTOR, &first);
    if (!r && e->redundant)
        r = room_take(e, bytes, VMDK_SECTOR, &second);
    if (r)
        return r;
    e->directory[i] = le32_make((uint32_t)(first / VMDK_SECTOR));
    if (e->redundant)
        e->redundant[i] = le32_make((uint32_t)(second / VMDK_SECTOR));
    e->directory_changed = true;
    return 0;
}

static int entry_set(struct vmdk_extent *e, uint64_t block, uint64_t offset)
{
    uint32_t i = (uint32_t)(block / e->gtes);
    int r;
    struct vmdk_table *t = table_get(e, i, true, &r);
    if (t)
        r = table_place(e, i);
    if (r)
        return r;
    t->entry[block % e->gtes] = le32_make((uint32_t)(offset / VMDK_SECTOR));
    t->changed = true;
    t->uniform = false;
    return 0;
}

static int extent_commit(struct sparse *s, uint64_t block, uint64_t offset)
{
    struct vmdk_extent *e = extent_of(s);
    e->next = offset + s->block_bytes;
    return entry_set(e, block, offset);
}

static int tables_write(struct vmdk_extent *e)
{
    int r = 0;
    for (uint32_t i = 0; !r && i < e->directory_entries; i++) {
        struct vmdk_table *t = e->table[i];
        if (!t || !t->changed)
            continue;
        uint64_t again = e->redundant ? (uint64_t)le32_get(e->redundant[i]) * VMDK_SECTOR : 0;
        r = block_protocol_pwrite(e->file, (uint64_t)le32_get(e->directory[i]) * VMDK_SECTOR, t->entry,
                                  e->gtes * sizeof(le32));
        if (!r && again >= e->protected_bytes && again < e->next)
            r = block_protocol_pwrite(e->file, again, t->entry, e->gtes * sizeof(le32));
        t->changed = r != 0;
    }
    return r;
}

static int extent_sync(struct sparse *s)
{
    struct vmdk_extent *e = extent_of(s);
    size_t bytes = e->directory_entries * sizeof(le32);
    int r = tables_write(e);
    if (r || !e->directory_changed)
        return r;
    r = block_protocol_flush(e->file);
    if (!r)
        r = block_protocol_pwrite(e->file, e->directory_offset, e->directory, bytes);
    if (!r && e->redundant)
        r = block_protocol_pwrite(e->file, e->redundant_offset, e->redundant, bytes);
    e->directory_changed = r != 0;
    return r;
}

static int inflate_into(const uint8_t *from, size_t length, uint8_t *to, size_t room)
{
    uLongf out = room;
    if (uncompress(to, &out, from, length) != Z_OK)
        return -EIO;
    memset(to + out, 0, room - out);    /* a grain that the disk's end cuts */
    return 0;
}

static int extent_unpack(struct sparse *s, uint64_t offset, uint8_t *data)
{
    struct vmdk_extent *e = extent_of(s);
    struct vmdk_marker m;
    int r = block_protocol_pread(e->file, offset, &m, sizeof(m));
    uint32_t length = le32_get(m.length);
    if (r || !length || length > 2 * s->block_bytes)
        return r ? r : -EIO;
    uint8_t *packed = malloc(length);
    if (!packed)
        return -ENOMEM;
    r = block_protocol_pread(e->file, offset + sizeof(m), packed, length);
    if (!r)
        r = inflate_into(packed, length, data, s->block_bytes);
    free(packed);
    return r;
}

static bool is_zero(const uint8_t *data, size_t length)
{
    return !data[0] && !memcmp(data, data + 1, length - 1);
}

static int extent_pack(struct sparse *s, uint64_t block, const uint8_t *data)
{
    struct vmdk_extent *e = extent_of(s);
    uint64_t before, at;
    uLongf length = compressBound(s->block_bytes);
    uint64_t room = ALIGN_UP(sizeof(struct vmdk_marker) + length, (uint64_t)VMDK_SECTOR);
    int r = extent_find(s, block, &at);
    bool zero_already = at == SPARSE_ZERO || (at == SPARSE_HOLE && !s->backing);
    if (r || (zero_already && is_zero(data, s->block_bytes)))
        return r;
    r = end_find(e);
    if (r)
        return r;
    before = e->next;
    uint8_t *packed = calloc(1, room);
    if (!packed)
        return -ENOMEM;
    struct vmdk_marker m = { .sector = le64_make(block * s->block_bytes / VMDK_SECTOR) };
    if (compress2(packed + sizeof(m), &length, data, s->block_bytes, Z_DEFAULT_COMPRESSION) != Z_OK)
        r = -EIO;
    m.length = le32_make((uint32_t)length);
    memcpy(packed, &m, sizeof(m));
    uint64_t whole = ALIGN_UP(sizeof(m) + length, (uint64_t)VMDK_SECTOR);
    if (!r)
        r = footer_settle(e);
    if (!r)
        r = room_take(e, whole, VMDK_SECTOR, &at);
    if (!r)
        r = block_protocol_pwrite(e->file, at, packed, whole);
    if (!r)
        r = entry_set(e, block, at);
    else
        e->next = before;
    free(packed);
    return r;
}

static int header_read(struct vmdk_extent *e, struct vmdk_header *h, uint64_t file_size, struct error *err)
{
    int r = block_protocol_pread(e->file, 0, h, sizeof(*h));
    /* Written as a stream: the true header is before the last sector. */
    bool at_end = !r && le64_get(h->gd) == VMDK_GD_AT_END && file_size >= 4 * VMDK_SECTOR;
    if (at_end)
        r = block_protocol_pread(e->file, ALIGN_DOWN(file_size, (uint64_t)VMDK_SECTOR) - 2 * VMDK_SECTOR, h, sizeof(*h));
    if (at_end && !r) {
        e->footer = malloc(sizeof(*h));
        r = e->footer ? 0 : -ENOMEM;
    }
    if (r)
        return error_set(err, "it cannot be read: %s", strerror(-r));
    if (at_end)
        *e->footer = *h;
    return memcmp(h->magic, VMDK_MAGIC, 4) ? error_set(err, "a sparse extent has no VMDK header") : 0;
}

static int header_check(const struct vmdk_header *h, uint64_t file_size, struct error *err)
{
    uint32_t flags = le32_get(h->flags), version = le32_get(h->version), gtes = le32_get(h->gtes);
    uint64_t grain = le64_get(h->grain), capacity = le64_get(h->capacity), gd = le64_get(h->gd), rgd = le64_get(h->rgd);
    bool packed = flags & VMDK_FLAG_COMPRESSED;
    if (version < 1 || version > 3)
        return error_set(err, "version %u is not supported", version);
    if (packed && (le16_get(h->compression) != VMDK_COMPRESSION_DEFLATE || !(flags & VMDK_FLAG_MARKERS)))
        return error_set(err, "its compression is not the known one");
    if (grain < GRAIN_MIN || grain > GRAIN_MAX || grain & (grain - 1))
        return error_set(err, "its grain size is no power of two from 512 bytes to 16 MiB");
    if (gtes < 1 || gtes > VMDK_GTES)
        return error_set(err, "its grain tables have %u entries; 1 to 512 are possible", gtes);
    if (!capacity || capacity > INT64_MAX / VMDK_SECTOR / VMDK_EXTENTS_MAX)
        return error_set(err, "its capacity is no valid size");
    uint64_t entries = (capacity + grain * gtes - 1) / (grain * gtes), bytes = entries * sizeof(le32);
    if (bytes > DIRECTORY_MAX_BYTES)
        return error_set(err, "its grain directory is larger than 32 MiB");
    uint64_t sectors = file_size / VMDK_SECTOR;
    if (!gd || gd >= sectors || bytes > (sectors - gd) * VMDK_SECTOR)
        return error_set(err, "its grain directory lies outside the file");
    if (flags & VMDK_FLAG_RGD && rgd && (rgd >= sectors || bytes > (sectors - rgd) * VMDK_SECTOR))
        return error_set(err, "its second grain directory lies outside the file");
    if (le64_get(h->descriptor) > sectors || le64_get(h->descriptor_sectors) > sectors)
        return error_set(err, "its descriptor lies outside the file");
    return 0;
}

static le32 *directory_read(struct vmdk_extent *e, uint64_t offset, struct error *err)
{
    size_t bytes = e->directory_entries * sizeof(le32);
    le32 *d = calloc(1, bytes);
    int r = d ? block_protocol_pread(e->file, offset, d, bytes) : -ENOMEM;
    if (!r)
        return d;
    free(d);
    error_set(err, "its grain directory cannot be read: %s", strerror(-r));
    return NULL;
}

int vmdk_extent_open(struct vmdk_extent *e, bool readonly, struct error *err)
{
    static const struct sparse_ops ops = { .find = extent_find, .run = extent_run, .allocate = extent_allocate, .commit = extent_commit,
                                           .sync = extent_sync };
    static const struct sparse_ops packed_ops = { .find = extent_find, .run = extent_run, .sync = extent_sync, .unpack = extent_unpack,
                                                  .pack = extent_pack };
    struct vmdk_header h;
    int64_t size = e->file->ops->size(e->file);
    if (size < VMDK_SECTOR)
        return error_set(err, "a sparse extent is shorter than its header");
    if (header_read(e, &h, (uint64_t)size, err) || header_check(&h, (uint64_t)size, err))
        return -1;
    uint32_t grain = (uint32_t)le64_get(h.grain) * VMDK_SECTOR, flags = le32_get(h.flags);
    uint64_t capacity = le64_get(h.capacity) * VMDK_SECTOR;
    if (e->length && e->length != capacity)
        return error_set(err, "a sparse extent has another size than its descriptor says");
    e->length = capacity;
    e->gtes = le32_get(h.gtes);
    e->compressed = flags & VMDK_FLAG_COMPRESSED;
    e->zero_grains = flags & VMDK_FLAG_ZERO_GRAIN && le32_get(h.version) >= 2;
    e->directory_entries = (uint32_t)((capacity + (uint64_t)grain * e->gtes - 1) / ((uint64_t)grain * e->gtes));
    e->directory_offset = le64_get(h.gd) * VMDK_SECTOR;
    e->redundant_offset = flags & VMDK_FLAG_RGD ? le64_get(h.rgd) * VMDK_SECTOR : 0;
    e->protected_bytes = MAX((uint64_t)VMDK_SECTOR, (le64_get(h.descriptor) + le64_get(h.descriptor_sectors)) * VMDK_SECTOR);
    e->next = ALIGN_UP((uint64_t)size, (uint64_t)VMDK_SECTOR);
    if (e->directory_offset < e->protected_bytes || (e->redundant_offset && e->redundant_offset < e->protected_bytes))
        return error_set(err, "its grain directory lies over header or descriptor");
    e->directory = directory_read(e, e->directory_offset, err);
    if (e->directory && e->redundant_offset && !readonly)
        e->redundant = directory_read(e, e->redundant_offset, err);
    e->table = calloc(e->directory_entries, sizeof(struct vmdk_table *));
    if (e->directory && e->table && (e->redundant || !e->redundant_offset || readonly)) {
        sparse_init(&e->s, e->compressed ? &packed_ops : &ops, e->file, capacity, grain);
        return 0;
    }
    if (e->directory && !e->table)
        error_set(err, "out of memory");
    vmdk_extent_close(e);
    return -1;
}

void vmdk_extent_close(struct vmdk_extent *e)
{
    for (uint32_t i = 0; e->table && i < e->directory_entries; i++)
        free(e->table[i]);
    free(e->table);
    free(e->directory);
    free(e->redundant);
    free(e->footer);
    e->footer = NULL;
    e->table = NULL;
    e->directory = e->redundant = NULL;
    if (e->s.ops)
        sparse_free(&e->s);
    e->s.ops = NULL;
}
