/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VHDX, Hyper-V's format: blocks of 1 to 256 MiB, a table of 64-bit entries (state and place), all metadata in regions at whole
 * MiB. The table has an entry for a sector bitmap after each chunk of blocks, which images without a parent do not use. The
 * first write gives the file new identifiers; changes of the table go through the log (log.c).
 */
#include "block/vhdx/vhdx_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct vhdx *vhdx_of(struct sparse *s)
{
    return container_of(s, struct vhdx, s);
}

static bool vhdx_probe(const uint8_t *head, size_t length)
{
    return length >= 8 && !memcmp(head, "vhdxfile", 8);
}

static uint64_t entry_at(const struct vhdx *v, uint64_t block)
{
    return (block + block / v->chunk_ratio) * sizeof(le64);
}

static bool is_over(uint64_t at, uint64_t length, uint64_t region, uint64_t region_length)
{
    return at < region + region_length && region < at + length;
}

static int entry_get(struct vhdx *v, uint64_t block, unsigned *state, uint64_t *place)
{
    le64 entry;
    int r;
    void *at = sparse_table_at(&v->table, entry_at(v, block), &r);
    if (!at)
        return r;
    memcpy(&entry, at, sizeof(entry));
    *state = le64_get(entry) & 7;
    *place = ALIGN_DOWN(le64_get(entry), (uint64_t)VHDX_MIB);
    return 0;
}

static int vhdx_find(struct sparse *s, uint64_t block, uint64_t *offset)
{
    struct vhdx *v = vhdx_of(s);
    unsigned state = VHDX_NOT_PRESENT;
    uint64_t place = 0;
    int r = entry_get(v, block, &state, &place);
    if (r)
        return r;
    switch (state) {
    case VHDX_NOT_PRESENT:
    case VHDX_UNDEFINED:
        *offset = SPARSE_HOLE;
        return 0;
    case VHDX_ZERO:
    case VHDX_UNMAPPED:
        *offset = SPARSE_ZERO;
        return 0;
    case VHDX_PRESENT:
        break;
    default:
        return -EIO;
    }
    if (place < VHDX_MIB || place >= v->end || is_over(place, s->block_bytes, v->log_offset, v->log_length) ||
        is_over(place, s->block_bytes, v->bat_offset, v->bat_length) ||
        is_over(place, s->block_bytes, v->metadata_offset, v->metadata_length))
        return -EIO;
    *offset = place;
    return 0;
}

/* The last block of a file that was cut short, or of a fixed image, goes on behind the file's end; the next is not to lie over it. */
static int end_find(struct vhdx *v)
{
    uint64_t blocks = (v->s.size + v->s.block_bytes - 1) / v->s.block_bytes, end = v->end, place = 0;
    for (uint64_t i = 0; i < blocks; i++) {
        unsigned state = VHDX_NOT_PRESENT;
        int r = entry_get(v, i, &state, &place);
        if (r)
            return r;
        if (state != VHDX_PRESENT)
            continue;
        if (place < v->end)
            end = MAX(end, place + v->s.block_bytes);
        else
            v->s.cut_short = true;
    }
    v->end = end;
    v->end_known = true;
    return 0;
}

static int vhdx_allocate(struct sparse *s, uint64_t block, uint64_t *offset)
{
    struct vhdx *v = vhdx_of(s);
    int r = v->end_known ? 0 : end_find(v);
    if (!r)
        r = sparse_grow_check(s);
    if (r)
        return r;
    *offset = v->end;
    return *offset + s->block_bytes > 2 * VHDX_SIZE_MAX ? -EFBIG : 0;
}

static int vhdx_commit(struct sparse *s, uint64_t block, uint64_t offset)
{
    struct vhdx *v = vhdx_of(s);
    const le64 entry = le64_make(offset | VHDX_PRESENT);
    int r;
    void *at = sparse_table_at(&v->table, entry_at(v, block), &r);
    if (!at)
        return r;
    memcpy(at, &entry, sizeof(entry));
    sparse_table_changed(&v->table, entry_at(v, block));
    v->end = ALIGN_UP(offset + s->block_bytes, (uint64_t)VHDX_MIB);
    return 0;
}

static int vhdx_sync(struct sparse *s)
{
    return vhdx_log_table(vhdx_of(s));
}

static int vhdx_open_into(struct block_node *n, struct vhdx *v, struct error *err)
{
    static const struct sparse_ops ops = { .find = vhdx_find, .allocate = vhdx_allocate, .commit = vhdx_commit, .sync = vhdx_sync };
    uint32_t block;
    if (vhdx_headers_read(n, v, err) || vhdx_log_replay(n, v, err) || vhdx_regions_read(n, v, err) ||
        vhdx_metadata_read(n, v, &block, err))
        return -1;
    int64_t size = n->file->ops->size(n->file);
    uint64_t blocks = (n->size + block - 1) / block;
    uint64_t bytes = (blocks + (blocks - 1) / v->chunk_ratio) * sizeof(le64);
    int r = size < 0 ? (int)size : sparse_table_init(&v->table, n->file, v->bat_offset, ALIGN_UP(bytes, (uint64_t)SPARSE_PAGE_BYTES));
    if (r) {
        sparse_table_free(&v->table);
        return error_set(err, "cannot open '%s': %s", n->filename, strerror(-r));
    }
    v->end = ALIGN_UP((uint64_t)size, (uint64_t)VHDX_MIB);
    v->end = MAX(v->end, v->bat_offset + v->bat_length);
    v->end = MAX(v->end, MAX(v->metadata_offset + v->metadata_length, v->log_offset + v->log_length));
    sparse_init(&v->s, &ops, n->file, n->size, block);
    v->s.has_no_backing = true;
    n->cluster_bytes = block;
    return 0;
}

static int vhdx_open(struct block_node *n, struct error *err)
{
    struct vhdx *v = calloc(1, sizeof(*v));
    if (!v)
        return error_set(err, "cannot open '%s': out of memory", n->filename);
    if (vhdx_open_into(n, v, err)) {
        free(v);
        return -1;
    }
    pthread_mutex_init(&v->touch_lock, NULL);
    n->state = v;
    return 0;
}

/* All was flushed: everything is in place, and the log is no longer needed. */
static int vhdx_rest(struct block_node *n)
{
    struct vhdx *v = n->state;
    if (!v->logging || v->s.dirty)
        return 0;
    v->header.log = (struct vhdx_guid){ { 0 } };
    int r = vhdx_header_update(v, n->file);
    v->logging = r;
    return r;
}

static void vhdx_close(struct block_node *n)
{
    struct vhdx *v = n->state;
    vhdx_rest(n);
    sparse_table_free(&v->table);
    sparse_free(&v->s);
    pthread_mutex_destroy(&v->touch_lock);
    free(v);
}

/* Before the first write: others see by the identifiers that the contents are not what they knew. */
static int touch(struct block_node *n)
{
    struct vhdx *v = n->state;
    int r = 0;
    pthread_mutex_lock(&v->touch_lock);
    if (!v->touched) {
        r = vhdx_guid_make(&v->header.file_write);
        if (!r)
            r = vhdx_guid_make(&v->header.data_write);
        if (!r)
            r = vhdx_header_update(v, n->file);
        v->touched = !r;
    }
    pthread_mutex_unlock(&v->touch_lock);
    return r;
}

static int vhdx_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    int r = touch(n);
    return r ? r : sparse_node_pwritev(n, offset, iov, iovcnt);
}

static int vhdx_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap)
{
    int r = touch(n);
    return r ? r : sparse_node_write_zeroes(n, offset, length, may_unmap);
}

static int vhdx_discard(struct block_node *n, uint64_t offset, uint64_t length)
{
    int r = touch(n);
    return r ? r : sparse_node_discard(n, offset, length);
}

/* The log was carried out at the opening; every block has to lie where blocks may. */
static int vhdx_check(struct block_node *n, struct block_check *c, struct error *err)
{
    struct vhdx *v = n->state;
    uint64_t blocks = (n->size + v->s.block_bytes - 1) / v->s.block_bytes;
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t at;
        pthread_mutex_lock(&v->s.lock);
        int r = vhdx_find(&v->s, i, &at);
        pthread_mutex_unlock(&v->s.lock);
        if (r && r != -EIO)
            return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
        if (r && c->say)
            c->say(c, "ERROR: a block lies outside the file or over metadata");
        c->corruptions += r == -EIO;
    }
    return 0;
}

/* No offsets, as QEMU, whose reader does not tell them. */
static int vhdx_map(struct block_node *n, uint64_t offset, uint64_t length, struct block_map *map)
{
    int r = sparse_node_map(n, offset, length, map);
    map->has_offset = false;
    return r;
}

const struct block_format block_format_vhdx = {
    .name = "vhdx", .probe = vhdx_probe, .open = vhdx_open, .close = vhdx_close, .preadv = sparse_node_preadv,
    .pwritev = vhdx_pwritev, .flush = sparse_node_flush, .rest = vhdx_rest, .discard = vhdx_discard, .write_zeroes = vhdx_write_zeroes,
    .extent = sparse_node_extent, .map = vhdx_map, .check = vhdx_check, .create_options = vhdx_create_options,
    .create_check = vhdx_create_check, .create = vhdx_create,
};
