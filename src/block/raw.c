/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The raw format: the bytes of the file are the bytes of the disk; a size that is no multiple of 512 is rounded up. */
#include "block/block_private.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int raw_open(struct block_node *n, struct error *err)
{
    int64_t size = n->file->ops->size(n->file);
    if (size < 0)
        return error_set(err, "cannot open '%s': its size cannot be read: %s", n->filename, strerror((int)-size));
    n->size = ALIGN_UP((uint64_t)size, 512ull);
    return 0;
}

static void raw_close(struct block_node *n)
{
    (void)n;
}

static int raw_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    return n->file->ops->preadv(n->file, offset, iov, iovcnt);
}

static int raw_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    return n->file->ops->pwritev(n->file, offset, iov, iovcnt);
}

static int raw_flush(struct block_node *n)
{
    return block_protocol_flush(n->file);
}

static int raw_discard(struct block_node *n, uint64_t offset, uint64_t length)
{
    return n->file->ops->discard(n->file, offset, length);
}

static int raw_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap)
{
    return block_protocol_write_zeroes(n->file, offset, length, may_unmap);
}

/* A last sector that the file has only a part of counts with what lies before it. */
static int raw_extent(struct block_node *n, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    if (!n->file->ops->extent)
        return 0;
    int r = n->file->ops->extent(n->file, offset, length, extent);
    extent->length_bytes = MIN(ALIGN_UP(extent->length_bytes, 512ull), length);
    return r;
}

static int raw_map(struct block_node *n, uint64_t offset, uint64_t length, struct block_map *map)
{
    struct block_extent extent = { .length_bytes = length };
    int r = raw_extent(n, offset, length, &extent);
    map->length_bytes = extent.length_bytes;
    map->zero = extent.zero;
    map->data = !extent.hole;
    map->has_offset = true;
    map->offset = offset;
    return r;
}

static const struct block_option create_options[] = {
    { "size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL, false },
    { "preallocation", BLOCK_OPTION_TEXT, "Preallocation mode (allowed values: off, falloc, full)", "off", false },
    { "nocow", BLOCK_OPTION_BOOL, "Turn off copy-on-write (valid only on btrfs)", "off", false },
    { "extent_size_hint", BLOCK_OPTION_SIZE, "Extent size hint for the image file, 0 to disable", NULL, false },
    { .name = NULL },
};

static const unsigned preallocations = 1u << BLOCK_PREALLOCATION_OFF | 1u << BLOCK_PREALLOCATION_FALLOC |
                                       1u << BLOCK_PREALLOCATION_FULL;

static int raw_create_check(const struct block_create_options *o, struct error *err)
{
    enum block_preallocation mode = BLOCK_PREALLOCATION_OFF;
    return block_option_preallocation(o->options, preallocations, &mode, err);
}

static int resize_fail(const char *filename, uint64_t size, int r, struct error *err)
{
    return error_set(err, "cannot make '%s' %llu bytes long: %s%s", filename, (unsigned long long)size, strerror(-r),
                     r == -EOPNOTSUPP ? "; the file system or device cannot do that" : "");
}

static int raw_create(struct block_protocol *file, const struct block_create_options *o, struct error *err)
{
    enum block_preallocation mode = BLOCK_PREALLOCATION_OFF;
    uint64_t size = ALIGN_UP(o->size_bytes, 512ull);
    if (block_option_preallocation(o->options, preallocations, &mode, err))
        return -1;
    int r = file->ops->truncate ? file->ops->truncate(file, size, mode) : -EOPNOTSUPP;
    return r ? resize_fail(file->filename, size, r, err) : 0;
}

static int raw_resize(struct block_node *n, uint64_t size, enum block_preallocation mode, struct error *err)
{
    if (mode == BLOCK_PREALLOCATION_METADATA)
        return error_set(err, "'%s': raw images have no metadata; use preallocation=falloc or full", n->filename);
    int r = n->file->ops->truncate ? n->file->ops->truncate(n->file, size, mode) : -EOPNOTSUPP;
    if (r)
        return resize_fail(n->filename, size, r, err);
    n->size = ALIGN_UP(size, 512ull);
    return 0;
}

static int raw_measure(const struct block_create_options *o, struct block_node *source, struct block_measure *m,
                       struct error *err)
{
    uint64_t size = source ? source->size : ALIGN_UP(o->size_bytes, 512ull);
    *m = (struct block_measure){ .required_bytes = size, .fully_allocated_bytes = size };
    return 0;
}

const struct block_format block_format_raw = {
    .name = "raw", .open = raw_open, .close = raw_close, .preadv = raw_preadv, .pwritev = raw_pwritev,
    .flush = raw_flush, .discard = raw_discard, .write_zeroes = raw_write_zeroes, .extent = raw_extent,
    .create_options = create_options, .create_check = raw_create_check, .create = raw_create, .measure = raw_measure,
    .resize = raw_resize, .map = raw_map,
};
