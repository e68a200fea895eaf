/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an open image holds goes into its backing file, and the image is empty afterwards, both staying in use. The backing file is
 * written through a second node; the first, which may have cached its tables, is opened anew behind the image when all is done.
 *
 * Locks: the backing node's descriptor holds "reads, and nobody else writes". It says "writes" in addition for as long as this takes,
 * so others that use the file, as a backing file of their own perhaps, make this fail before anything is written. The data are on
 * stable storage before the image is emptied: a crash loses nothing.
 */
#include "block/block_private.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { STEP_BYTES = 1 << 20 };

static enum block_cache cache_of(const struct block_node *n)
{
    if (n->unsafe)
        return BLOCK_CACHE_UNSAFE;
    if (n->direct)
        return n->write_through ? BLOCK_CACHE_DIRECTSYNC : BLOCK_CACHE_NONE;
    return n->write_through ? BLOCK_CACHE_WRITETHROUGH : BLOCK_CACHE_WRITEBACK;
}

/* A second node for the same image. A raw image that was found out to be one is found out again, so its first sector stays guarded. */
static struct block_node *open_again(const struct block_node *n, bool readonly, struct block_node *overlay_of, struct error *err)
{
    const struct block_open_options o = {
        .filename = n->filename, .format = n->probed_raw ? NULL : n->format->name, .readonly = readonly, .no_lock = !readonly || n->no_lock,
        .force_share = n->force_share, .cache = cache_of(n), .discard = n->discard, .keys_of = n,
    };

    return block_node_open(&o, overlay_of, err);
}

static int piece_copy(struct block_node *from, struct block_node *to, uint64_t offset, const struct block_map *map, void *buffer)
{
    int r = map->zero ? block_write_zeroes_sync(to, offset, map->length_bytes, true) : block_pread(from, offset, buffer, map->length_bytes);

    if (!map->zero && !r)
        r = block_pwrite(to, offset, buffer, map->length_bytes);
    return r;
}

static int all_copy(struct block_node *from, struct block_node *to, struct error *err)
{
    void *buffer = aligned_alloc(4096, STEP_BYTES);
    int r = buffer ? 0 : -ENOMEM;

    for (uint64_t at = 0; !r && at < from->size;) {
        struct block_map map;

        r = block_map_get(from, at, MIN((uint64_t)STEP_BYTES, from->size - at), 1, &map);
        if (!r && map.present)
            r = piece_copy(from, to, at, &map, buffer);
        at += map.length_bytes;
    }
    free(buffer);
    if (!r)
        r = block_flush_sync(to);
    return r ? error_set(err, "cannot write '%s': %s; nothing is lost, '%s' still has all of it", to->filename, strerror(-r), from->filename) : 0;
}

static int base_write(struct block_node *n, struct error *err)
{
    struct block_node *base = open_again(n->backing, false, NULL, err);
    int r = base ? 0 : -1;

    if (base && base->size < n->size)
        r = block_grow(base, n->size, err);
    if (!r)
        r = all_copy(n, base, err);
    block_close(base);
    return r;
}

int block_commit(struct block_node *n, struct error *err)
{
    struct block_node *old = n->backing, *fresh;
    int r;

    if (!old)
        return error_set(err, "'%s' has no backing file", n->filename);
    if (n->readonly)
        return error_set(err, "'%s' is open for reading only", n->filename);
    if (!n->format->make_empty)
        return error_set(err, "%s images cannot be emptied", n->format->name);
    block_drain(n);
    if (!old->no_lock && old->file->fd >= 0 && block_lock_upgrade(old->file->fd, old->filename, err))
        return -1;
    r = base_write(n, err);
    if (!old->no_lock && old->file->fd >= 0)
        block_lock_downgrade(old->file->fd);
    /* Also after a failure: some of it may have been written. */
    fresh = open_again(old, true, n, err);
    if (!fresh)
        return -1;
    n->backing = fresh;
    block_close(old);
    if (!r && (block_make_empty(n, err) || block_flush_sync(n)))
        return error_prefix(err, "the data are in '%s', but '%s' could not be emptied", fresh->filename, n->filename);
    return r;
}
