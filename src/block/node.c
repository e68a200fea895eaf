/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes: the operations with what is the same for every format: range checks, read-only, the flush after each write of
 * cache=writethrough, counters. Opening is in open.c.
 *
 * The sector 0 guard: a guest that may write sector 0 of an image whose format was probed as raw could write
 * a qcow2 header there, and have the next start open any file of the host as its backing file. Such a write
 * is refused.
 */
#include "block/block_private.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ZERO_CHUNK_BYTES (256u << 10)

int block_protocol_pread(struct block_protocol *p, uint64_t offset, void *data, size_t length)
{
    struct iovec iov = { data, length };
    return p->ops->preadv(p, offset, &iov, 1);
}

int block_protocol_pwrite(struct block_protocol *p, uint64_t offset, const void *data, size_t length)
{
    struct iovec iov = { (void *)(uintptr_t)data, length };
    return p->ops->pwritev(p, offset, &iov, 1);
}

int block_protocol_flush(struct block_protocol *p)
{
    if (p->flush_ignored || p->readonly)
        return 0;
    int r = __atomic_load_n(&p->flush_error, __ATOMIC_RELAXED);
    if (r)
        return r;
    r = p->ops->flush(p);
    if (r)
        block_protocol_flush_failed(p, r);
    return r;
}

void block_protocol_flush_failed(struct block_protocol *p, int error)
{
    int none = 0;
    if (__atomic_compare_exchange_n(&p->flush_error, &none, error, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        log_message("'%s': the host could not store what was written: %s. Later flushes fail too; check the disk "
                    "and start the machine again", p->filename, strerror(-error));
}

int block_protocol_write_zeroes(struct block_protocol *p, uint64_t offset, uint64_t length, bool may_unmap)
{
    int r = p->ops->write_zeroes(p, offset, length, may_unmap);
    if (r != -ENOTSUP)
        return r;
    size_t chunk = MIN(length, (uint64_t)ZERO_CHUNK_BYTES);
    uint8_t *zeroes = calloc(1, chunk ? chunk : 1);
    if (!zeroes)
        return -ENOMEM;
    for (r = 0; !r && length;) {
        size_t take = MIN(length, (uint64_t)chunk);
        r = block_protocol_pwrite(p, offset, zeroes, take);
        offset += take;
        length -= take;
    }
    free(zeroes);
    return r;
}

uint64_t block_size_bytes(const struct block_node *n)
{
    return n->size;
}

bool block_is_readonly(const struct block_node *n)
{
    return n->readonly;
}

enum block_detect_zeroes block_detects_zeroes(const struct block_node *n) { return n->detect_zeroes; }

const char *block_filename(const struct block_node *n)
{
    return n->filename;
}

const char *block_format_name(const struct block_node *n)
{
    return n->format->name;
}

int block_node_check_range(const struct block_node *n, uint64_t offset, uint64_t length)
{
    if ((offset | length) & 511 || offset > n->size || length > n->size - offset)
        return -EINVAL;
    return 0;
}

static void count(uint64_t *counter, uint64_t by)
{
    __atomic_add_fetch(counter, by, __ATOMIC_RELAXED);
}

void block_node_count(struct block_node *n, enum block_count what, uint64_t bytes)
{
    if (what == BLOCK_COUNT_FLUSH) {
        count(&n->stats.flushes, 1);
        return;
    }
    count(what == BLOCK_COUNT_READ ? &n->stats.reads : &n->stats.writes, 1);
    count(what == BLOCK_COUNT_READ ? &n->stats.read_bytes : &n->stats.written_bytes, bytes);
}

struct block_stats block_stats_get(const struct block_node *n)
{
    const uint64_t *from = (const uint64_t *)&n->stats;
    struct block_stats s;
    for (size_t i = 0; i < sizeof(s) / sizeof(uint64_t); i++)
        ((uint64_t *)&s)[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    return s;
}

static void operation_trace(const struct block_node *n, const char *what, uint64_t offset, uint64_t length, int r)
{
    trace(TRACE_BLOCK, "block: %s %s %#llx+%#llx -> %d\n", n->filename, what, (unsigned long long)offset,
          (unsigned long long)length, r);
}

int block_node_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    uint64_t length = block_iov_length(iov, iovcnt);
    int r = block_node_check_range(n, offset, length);
    if (!r && length)
        r = n->format->preadv(n, offset, iov, iovcnt);
    operation_trace(n, "read", offset, length, r);
    block_node_count(n, BLOCK_COUNT_READ, r ? 0 : length);
    return r;
}

static int write_finish(struct block_node *n, int r)
{
    return !r && n->write_through ? n->format->flush(n) : r;
}

/* The guest could change the memory between check and write: sector 0 goes through a copy. */
static int write_guarded(struct block_node *n, const struct iovec *iov, int iovcnt)
{
    uint8_t sector[512];
    size_t length = block_iov_length(iov, iovcnt);
    block_iov_to(iov, iovcnt, 0, sector, sizeof(sector));
    if (strcmp(block_format_looks_like(sector, sizeof(sector)), "raw")) {
        log_message("'%s': a write that would make this image look like another format was refused; "
                    "give format=raw to allow it", n->filename);
        return -EPERM;
    }
    struct iovec *copy = calloc((size_t)iovcnt + 1, sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    copy[0] = (struct iovec){ sector, sizeof(sector) };
    int used = block_iov_slice(copy + 1, iov, iovcnt, sizeof(sector), length - sizeof(sector));
    int r = n->format->pwritev(n, 0, copy, used + 1);
    free(copy);
    return r;
}

int block_node_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    uint64_t length = block_iov_length(iov, iovcnt);
    int r = block_node_check_range(n, offset, length);
    if (!r && n->readonly)
        r = -EROFS;
    if (!r && length)
        r = n->probed_raw && offset == 0 ? write_guarded(n, iov, iovcnt) : n->format->pwritev(n, offset, iov, iovcnt);
    operation_trace(n, "write", offset, length, r);
    block_node_count(n, BLOCK_COUNT_WRITE, r ? 0 : length);
    return write_finish(n, r);
}

int block_node_flush(struct block_node *n)
{
    block_node_count(n, BLOCK_COUNT_FLUSH, 0);
    int r = n->readonly ? 0 : n->format->flush(n);
    operation_trace(n, "flush", 0, 0, r);
    return r;
}

int block_node_discard(struct block_node *n, uint64_t offset, uint64_t length)
{
    int r = block_node_check_range(n, offset, length);
    if (!r && n->readonly)
        r = -EROFS;
    if (!r && length && n->discard)
        r = n->format->discard(n, offset, length);
    operation_trace(n, "discard", offset, length, r);
    return r;
}

int block_node_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap)
{
    int r = block_node_check_range(n, offset, length);
    if (!r && n->readonly)
        r = -EROFS;
    if (!r && length)
        r = n->format->write_zeroes(n, offset, length, may_unmap && n->discard);
    operation_trace(n, "write zeroes", offset, length, r);
    block_node_count(n, BLOCK_COUNT_WRITE, r ? 0 : length);
    return write_finish(n, r);
}

int block_pread(struct block_node *n, uint64_t offset_bytes, void *data, uint64_t length_bytes)
{
    struct iovec iov = { data, length_bytes };
    return block_node_preadv(n, offset_bytes, &iov, 1);
}

int block_pwrite(struct block_node *n, uint64_t offset_bytes, const void *data, uint64_t length_bytes)
{
    struct iovec iov = { (void *)(uintptr_t)data, length_bytes };
    return block_node_pwritev(n, offset_bytes, &iov, 1);
}

int block_flush_sync(struct block_node *n)
{
    return block_node_flush(n);
}

int block_discard_sync(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes)
{
    return block_node_discard(n, offset_bytes, length_bytes);
}

int block_write_zeroes_sync(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes, bool may_unmap)
{
    return block_node_write_zeroes(n, offset_bytes, length_bytes, may_unmap);
}

int block_extent_get(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes, struct block_extent *extent)
{
    int r = block_node_check_range(n, offset_bytes, length_bytes);
    *extent = (struct block_extent){ .length_bytes = length_bytes };
    return r || !length_bytes || !n->format->extent ? r : n->format->extent(n, offset_bytes, length_bytes, extent);
}
