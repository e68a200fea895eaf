/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exports. NBD clients may address single bytes, nodes want sectors: a request with a ragged edge reads the sectors at
 * its edges first. Such a write holds the export's lock alone, so that no other write can fall between its read and
 * its write and be undone; whole-sector writes share the lock.
 */
#include "nbd/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/image.h"
#include "block/nbd_wire.h"

enum { SECTOR = 512, BOUNCE = 1 << 20 };

uint64_t nbd_export_size(const struct nbd_export *x)
{
    uint64_t node = block_size_bytes(x->node);
    return x->offset >= node ? 0 : MIN(x->length, node - x->offset);
}

static bool is_whole(uint64_t offset, uint64_t length)
{
    return !((offset | length) & (SECTOR - 1));
}

int nbd_export_read(struct nbd_export *x, uint64_t offset, void *data, uint64_t length)
{
    uint8_t *to = data, *bounce = NULL;
    int r = 0;
    offset += x->offset;
    if (is_whole(offset, length))
        return block_pread(x->node, offset, data, length);
    while (!r && length) {
        uint64_t first = ALIGN_DOWN(offset, (uint64_t)SECTOR), skip = offset - first;
        uint64_t take = MIN(length, BOUNCE - skip), whole = ALIGN_UP(skip + take, (uint64_t)SECTOR);
        if (!bounce && !(bounce = malloc(MIN((uint64_t)BOUNCE, ALIGN_UP(length, (uint64_t)SECTOR) + SECTOR))))
            return -ENOMEM;
        r = block_pread(x->node, first, bounce, whole);
        if (!r)
            memcpy(to, bounce + skip, take);
        to += take;
        offset += take;
        length -= take;
    }
    free(bounce);
    return r;
}

/* Bytes within one sector; data NULL: zeroes. */
static int part_write(struct nbd_export *x, uint64_t offset, const void *data, uint64_t length)
{
    uint8_t sector[SECTOR];
    uint64_t first = ALIGN_DOWN(offset, (uint64_t)SECTOR);
    int r = block_pread(x->node, first, sector, SECTOR);
    if (r)
        return r;
    if (data)
        memcpy(sector + (offset - first), data, length);
    else
        memset(sector + (offset - first), 0, length);
    return block_pwrite(x->node, first, sector, SECTOR);
}

static int whole_write(struct nbd_export *x, uint64_t offset, const void *data, uint64_t length, bool may_unmap)
{
    if (!length)
        return 0;
    return data ? block_pwrite(x->node, offset, data, length) :
           block_write_zeroes_sync(x->node, offset, length, may_unmap);
}

static int ragged_write(struct nbd_export *x, uint64_t offset, const uint8_t *data, uint64_t length, bool may_unmap)
{
    uint64_t head = MIN(length, -offset & (SECTOR - 1));
    int r = head ? part_write(x, offset, data, head) : 0;
    uint64_t rest = length - head, whole = ALIGN_DOWN(rest, (uint64_t)SECTOR);
    if (!r)
        r = whole_write(x, offset + head, data ? data + head : NULL, whole, may_unmap);
    if (!r && rest > whole)
        r = part_write(x, offset + head + whole, data ? data + head + whole : NULL, rest - whole);
    return r;
}

static int write_locked(struct nbd_export *x, uint64_t offset, const void *data, uint64_t length, bool may_unmap)
{
    int r;
    offset += x->offset;
    if (is_whole(offset, length)) {
        pthread_rwlock_rdlock(&x->partial);
        r = whole_write(x, offset, data, length, may_unmap);
    } else {
        pthread_rwlock_wrlock(&x->partial);
        r = ragged_write(x, offset, data, length, may_unmap);
    }
    pthread_rwlock_unlock(&x->partial);
    return r;
}

int nbd_export_write(struct nbd_export *x, uint64_t offset, const void *data, uint64_t length)
{
    const uint8_t *bytes = data;
    if (x->detect != NBD_DETECT_OFF && length && !bytes[0] && !memcmp(bytes, bytes + 1, length - 1))
        return write_locked(x, offset, NULL, length, x->detect == NBD_DETECT_UNMAP);
    return write_locked(x, offset, data, length, false);
}

int nbd_export_zero(struct nbd_export *x, uint64_t offset, uint64_t length, bool may_unmap)
{
    return write_locked(x, offset, NULL, length, may_unmap);
}

/* Advice: what is no whole sector stays. */
int nbd_export_trim(struct nbd_export *x, uint64_t offset, uint64_t length)
{
    uint64_t from = ALIGN_UP(offset + x->offset, (uint64_t)SECTOR);
    uint64_t to = ALIGN_DOWN(offset + x->offset + length, (uint64_t)SECTOR);
    return to > from ? block_discard_sync(x->node, from, to - from) : 0;
}

int nbd_export_flush(struct nbd_export *x)
{
    return block_flush_sync(x->node);
}

/* Makes the last one longer, or adds one. False: there is no room. */
static bool extent_add(struct nbd_extent *extent, unsigned *used, unsigned room, uint64_t length, uint32_t state)
{
    if (*used && extent[*used - 1].state == state)
        extent[*used - 1].length += length;
    else if (*used < room)
        extent[(*used)++] = (struct nbd_extent){ length, state };
    else
        return false;
    return true;
}

int nbd_export_status(struct nbd_export *x, uint64_t offset, uint64_t length, struct nbd_extent *extent,
                      unsigned *count)
{
    uint64_t at = offset + x->offset, end = at + length;
    unsigned used = 0;
    while (at < end) {
        struct block_extent e;
        uint64_t first = ALIGN_DOWN(at, (uint64_t)SECTOR);
        int r = block_extent_get(x->node, first, ALIGN_UP(end, (uint64_t)SECTOR) - first, &e);
        if (r && !used)
            return r;
        if (r)
            break;                  /* the error comes with the next question */
        uint64_t take = MIN(first + e.length_bytes, end) - at;
        if (!extent_add(extent, &used, *count, take, (e.hole ? NBD_STATE_HOLE : 0) | (e.zero ? NBD_STATE_ZERO : 0)))
            break;
        at += take;
    }
    *count = used;
    return 0;
}

int nbd_export_dirty(struct nbd_export *x, uint64_t offset, uint64_t length, struct nbd_extent *extent, unsigned *count)
{
    uint64_t at = offset + x->offset, end = at + length, size = block_size_bytes(x->bitmap_node);
    unsigned used = 0;
    while (at < end) {
        struct block_bitmap_status s = { .length_bytes = end - at };
        struct error err;
        if (at < size && block_bitmap_status_get(x->bitmap_node, x->bitmap, at, MIN(end, size) - at, &s, &err)) {
            if (!used)
                return -EIO;
            break;
        }
        if (!extent_add(extent, &used, *count, s.length_bytes, s.dirty ? NBD_STATE_DIRTY : 0))
            break;
        at += s.length_bytes;
    }
    *count = used;
    return 0;
}

int nbd_export_depth(struct nbd_export *x, uint64_t offset, uint64_t length, struct nbd_extent *extent, unsigned *count)
{
    uint64_t at = offset + x->offset, end = at + length;
    unsigned used = 0;
    while (at < end) {
        struct block_map m;
        uint64_t first = ALIGN_DOWN(at, (uint64_t)SECTOR);
        int r = block_map_get(x->node, first, ALIGN_UP(end, (uint64_t)SECTOR) - first, 0, &m);
        if (r && !used)
            return r;
        uint64_t take = r ? 0 : MIN(first + m.length_bytes, end) - at;
        if (r || !extent_add(extent, &used, *count, take, m.present || m.past_end ? m.depth + 1 : 0))
            break;
        at += take;
    }
    *count = used;
    return 0;
}

static bool has_bitmap(struct block_node *n, const char *name)
{
    struct block_bitmap *list;
    unsigned count;
    bool found = false;
    if (block_bitmap_list(n, &list, &count, NULL))
        return false;
    for (unsigned i = 0; i < count; i++)
        found |= !strcmp(list[i].name, name);
    free(list);
    return found;
}

int nbd_export_bitmap_set(struct nbd_export *x, const char *bitmap, struct error *err)
{
    struct block_node *n = x->node;
    struct block_bitmap_status s;
    while (n && !has_bitmap(n, bitmap))
        n = block_backing(n);
    if (!n)
        return error_set(err, "'%s' has no dirty bitmap '%.200s', nor have its backing files; 'ospite img info' lists them",
                         block_filename(x->node), bitmap);
    if (block_bitmap_status_get(n, bitmap, 0, block_size_bytes(n), &s, err))
        return -1;
    x->bitmap = strdup(bitmap);
    x->bitmap_node = n;
    return x->bitmap ? 0 : error_set(err, "out of memory");
}
