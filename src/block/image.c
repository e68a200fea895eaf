/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tools' side of the format table: each call checks what is the same for all formats and goes through the row of the
 * image's format; one that lacks the function is refused by its name.
 */
#include "block/block_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"

static int cannot(const struct block_node *n, const char *what, struct error *err)
{
    return error_set(err, "'%s': %s images cannot %s; convert it to qcow2", n->filename, n->format->name, what);
}

static int writable_check(const struct block_node *n, struct error *err)
{
    return n->readonly ? error_set(err, "'%s' is open for reading only", n->filename) : 0;
}

int block_measure(const struct block_create_options *o, struct block_node *source, struct block_measure *m,
                  struct error *err)
{
    const struct block_format *f = block_format_find(o->format);
    *m = (struct block_measure){ 0 };
    if (!f || !f->measure)
        return error_set(err, "the size of %s images cannot be measured", o->format);
    if (block_options_check(o->options, f->create_options, f->name, err))
        return -1;
    return f->measure(o, source, m, err);
}

int block_resize(struct block_node *n, uint64_t size_bytes, enum block_preallocation preallocation, struct error *err)
{
    if (writable_check(n, err))
        return -1;
    if (!n->format->resize)
        return cannot(n, "change their size", err);
    if (preallocation != BLOCK_PREALLOCATION_OFF && size_bytes <= n->size)
        return error_set(err, "'%s': preallocation is only for what is added", n->filename);
    bool exact = n->format == &block_format_raw;        /* a file of any length */
    return n->format->resize(n, exact ? size_bytes : ALIGN_UP(size_bytes, 512ull), preallocation, err);
}

int block_grow(struct block_node *n, uint64_t size_bytes, struct error *err)
{
    uint64_t old = n->size;
    if (block_resize(n, size_bytes, BLOCK_PREALLOCATION_OFF, err))
        return -1;
    int r = n->format->new_is_garbage ? block_write_zeroes_sync(n, old, n->size - old, false) : 0;
    return r ? error_set(err, "'%s': zeroes cannot be written: %s", n->filename, strerror(-r)) : 0;
}

int block_info_get(struct block_node *n, struct block_info *info, struct error *err)
{
    *info = (struct block_info){ .cluster_bytes = n->cluster_bytes };
    return n->format->info ? n->format->info(n, info, err) : 0;
}

int64_t block_allocated_bytes(struct block_node *n)
{
    if (n->format->allocated)
        return n->format->allocated(n);
    return n->file->ops->allocated ? n->file->ops->allocated(n->file) : -1;
}

bool block_is_encrypted(const struct block_node *n)
{
    return n->key_secret;
}

struct block_node *block_backing(const struct block_node *n)
{
    return n->backing;
}

uint32_t block_cluster_bytes(const struct block_node *n)
{
    return n->cluster_bytes;
}

char *block_path_join(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    char *out;
    if (!strncmp(name, "file:", 5))
        name += 5;
    if (*name == '/' || !slash || strchr(name, ':'))
        return strdup(name);
    return asprintf(&out, "%.*s%s", (int)(slash - path + 1), path, name) < 0 ? NULL : out;
}

bool block_is_same_file(const struct block_node *a, const struct block_node *b)
{
    if (a->below || b->below)
        return a == b;
    return a->file->ops == b->file->ops && a->file->dev == b->file->dev && a->file->ino == b->file->ino && a->file->ino;
}

bool block_is_device(const struct block_node *n)
{
    struct stat st;
    while (n->below)
        n = n->below;
    return n->file->fd < 0 || fstat(n->file->fd, &st) || !S_ISREG(st.st_mode);
}

int block_copy_range(struct block_node *from, uint64_t from_offset, struct block_node *to, uint64_t offset,
                     uint64_t length_bytes)
{
    if (from->format != &block_format_raw || to->format != &block_format_raw || from->file->ops != to->file->ops ||
        !to->file->ops->copy_range || to->readonly)
        return -ENOTSUP;
    if (block_node_check_range(from, from_offset, length_bytes) || block_node_check_range(to, offset, length_bytes))
        return -EINVAL;
    for (uint64_t done = 0; done < length_bytes;) {
        int64_t r = to->file->ops->copy_range(to->file, offset + done, from->file, from_offset + done, length_bytes - done);
        if (r <= 0)
            return r ? (int)r : -ENOTSUP;
        done += (uint64_t)r;
    }
    return 0;
}

int block_protocol_holes_find(struct block_protocol *p, struct block_map *map)
{
    struct block_extent e = { .length_bytes = map->length_bytes };
    int r = p->ops->extent ? p->ops->extent(p, map->offset, map->length_bytes, &e) : 0;
    map->length_bytes = MIN(map->length_bytes, e.length_bytes);
    map->zero = !r && e.zero;
    return r;
}

int block_share_set(struct block_node *n, bool share, struct error *err)
{
    while (n->below)
        n = n->below;
    if (n->format != &block_format_raw || n->probed_raw || n->readonly || n->no_lock || n->force_share || strcmp(n->file->ops->name, "file") || n->file->fd < 0)
        return 0;
    if (share) {
        block_lock_share(n->file->fd);
        return 0;
    }
    struct block_file_options alone = { .readonly = false };
    if (!block_lock_take(n->file->fd, n->filename, &alone, err))
        return 0;
    struct block_file_options shared = { .share_writes = true };
    block_lock_take(n->file->fd, n->filename, &shared, NULL);
    return -1;
}

/* What one image says about itself. */
static int layer_map(struct block_node *n, uint64_t offset, uint64_t length, struct block_map *map)
{
    struct block_extent extent;
    *map = (struct block_map){ .length_bytes = length, .node = n, .present = true };
    if (n->format->map)
        return n->format->map(n, offset, length, map);
    int r = block_extent_get(n, offset, length, &extent);
    map->length_bytes = extent.length_bytes;
    map->zero = extent.zero;
    map->data = !extent.hole;
    return r;
}

int block_map_get(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes, unsigned layers,
                  struct block_map *map)
{
    unsigned depth = 0;
    int r = block_node_check_range(n, offset_bytes, length_bytes);
    if (!r)
        r = layer_map(n, offset_bytes, length_bytes, map);
    while (!r && !map->present && n->backing && (!layers || depth + 1 < layers)) {
        uint64_t length = map->length_bytes;
        n = n->backing;
        depth++;
        if (offset_bytes >= n->size) {
            *map = (struct block_map){ .length_bytes = length, .node = n, .zero = true, .present = true, .past_end = true };
            break;
        }
        r = layer_map(n, offset_bytes, MIN(length, n->size - offset_bytes), map);
    }
    map->depth = depth;
    if (!r && !map->present)
        map->zero = true;
    return r;
}

int block_write_compressed(struct block_node *n, uint64_t offset_bytes, const void *data, uint64_t length_bytes)
{
    int r = block_node_check_range(n, offset_bytes, length_bytes);
    if (!r && n->readonly)
        r = -EROFS;
    if (!r && !n->format->write_compressed)
        r = -ENOTSUP;
    if (!r)
        r = n->format->write_compressed(n, offset_bytes, data, length_bytes);
    block_node_count(n, BLOCK_COUNT_WRITE, r ? 0 : length_bytes);
    return r;
}

int block_check(struct block_node *n, struct block_check *c, struct error *err)
{
    if (!n->format->check)
        return error_set(err, "'%s': %s images hold nothing that could be checked", n->filename, n->format->name);
    if (c->fix && writable_check(n, err))
        return -1;
    return n->format->check(n, c, err);
}

int block_snapshot_list(struct block_node *n, struct block_snapshot **list, unsigned *count, struct error *err)
{
    *list = NULL;
    *count = 0;
    return n->format->snapshot_list ? n->format->snapshot_list(n, list, count, err) : 0;
}

int block_snapshot_create(struct block_node *n, const struct block_snapshot *s, struct error *err)
{
    if (!n->format->snapshot_create)
        return cannot(n, "hold snapshots", err);
    return writable_check(n, err) ? -1 : n->format->snapshot_create(n, s, err);
}

int block_snapshot_apply(struct block_node *n, const char *id_or_name, struct error *err)
{
    if (!n->format->snapshot_apply)
        return cannot(n, "hold snapshots", err);
    return writable_check(n, err) ? -1 : n->format->snapshot_apply(n, id_or_name, err);
}

int block_snapshot_delete(struct block_node *n, const char *id_or_name, struct error *err)
{
    if (!n->format->snapshot_delete)
        return cannot(n, "hold snapshots", err);
    return writable_check(n, err) ? -1 : n->format->snapshot_delete(n, id_or_name, err);
}

int block_bitmap_change(struct block_node *n, const struct block_bitmap_change *c, struct error *err)
{
    if (!n->format->bitmap_change)
        return cannot(n, "hold dirty bitmaps", err);
    return writable_check(n, err) ? -1 : n->format->bitmap_change(n, c, err);
}

int block_bitmap_list(struct block_node *n, struct block_bitmap **list, unsigned *count, struct error *err)
{
    *list = NULL;
    *count = 0;
    return n->format->bitmap_list ? n->format->bitmap_list(n, list, count, err) : 0;
}

static bool table_has(const struct block_option *table, const char *key)
{
    while (table && table->name && strcmp(table->name, key))
        table++;
    return table && table->name;
}

/* Each key in the table that knows it; a key that neither knows is told with the nearest of those of create. */
static int amend_keys_check(const struct block_format *f, const struct block_option_set *changes, struct error *err)
{
    for (unsigned i = 0; i < changes->count; i++) {
        const struct block_option_set one = { &changes->item[i], 1 };
        const char *key = changes->item[i].key;
        if (block_options_check(&one, table_has(f->amend_options, key) ? f->amend_options : f->create_options, f->name, err))
            return -1;
    }
    return 0;
}

int block_bitmap_status_get(struct block_node *n, const char *name, uint64_t offset_bytes, uint64_t length_bytes,
                            struct block_bitmap_status *status, struct error *err)
{
    if (!n->format->bitmap_status)
        return cannot(n, "hold dirty bitmaps", err);
    if (!length_bytes || offset_bytes >= n->size || length_bytes > n->size - offset_bytes)
        return error_set(err, "'%s': offset %llu lies outside of the disk", n->filename, (unsigned long long)offset_bytes);
    return n->format->bitmap_status(n, name, offset_bytes, length_bytes, status, err);
}

int block_amend(struct block_node *n, const struct block_option_set *changes, bool force, struct block_progress *p,
                struct error *err)
{
    if (!n->format->amend)
        return cannot(n, "have their options changed", err);
    if (writable_check(n, err) || amend_keys_check(n->format, changes, err))
        return -1;
    for (unsigned i = 0; i < changes->count; i++)
        for (const struct block_option *o = n->format->create_options; o->name; o++)
            if (!strcmp(o->name, changes->item[i].key) && !o->amends)
                return error_set(err, "'%s': the option '%s' can only be given when an image is created; convert it with "
                                 "-o %s=%s", n->filename, o->name, o->name, changes->item[i].value);
    return n->format->amend(n, changes, force, p, err);
}

int block_make_empty(struct block_node *n, struct error *err)
{
    if (!n->format->make_empty)
        return cannot(n, "be emptied", err);
    return writable_check(n, err) ? -1 : n->format->make_empty(n, err);
}

void block_backing_will_change(struct block_node *n)
{
    n->backing_changes = true;
}

int block_backing_change(struct block_node *n, const char *backing, const char *backing_format, struct error *err)
{
    if (!n->format->backing_change)
        return cannot(n, "have a backing file", err);
    return writable_check(n, err) ? -1 : n->format->backing_change(n, backing, backing_format, err);
}
