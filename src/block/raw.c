/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The raw format: the bytes of the file are the bytes of the disk; a size that is no multiple of 512 is rounded up. */
#include "block/block_private.h"

#include "base/bits.h"

#include <errno.h>
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

const struct block_format block_format_raw = {
    .name = "raw", .open = raw_open, .close = raw_close, .preadv = raw_preadv, .pwritev = raw_pwritev,
    .flush = raw_flush, .discard = raw_discard, .write_zeroes = raw_write_zeroes, .extent = raw_extent,
};
