/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NBD client: a protocol under any format. The callers are many threads; each sends its request, with a slot's number as
 * handle, and sleeps until the reader thread has put the reply where it belongs (nbd_reply.c). A request whose connection
 * went before the answer came is asked again on the next one, if there is to be one (nbd_link.c); otherwise it fails with EIO,
 * as all do from then on, and one message says why.
 *
 * Source: proto.md of the NetworkBlockDevice project.
 */
#include "block/nbd_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bits.h"
#include "base/clock.h"
#include "block/nbd_wire.h"

#define RANGE_MAX (1u << 30)        /* of trim, zeroes, block status */

static struct nbd_client *nbd_of(struct block_protocol *p)
{
    return container_of(p, struct nbd_client, p);
}

struct ask {
    enum nbd_command command;
    uint16_t flags;
    uint64_t offset;
    uint32_t length;
    const struct iovec *iov;        /* read: where to; write: the data */
    int iovcnt;
};

/* Whether there may soon be a slot: one is free, or will be, and the connection stands, or is waited for. */
static bool slot_wait_locked(struct nbd_client *c)
{
    if (c->dead || (c->away && clock_host_ns() >= c->deadline_ns))
        return false;
    if (!c->away) {
        pthread_cond_wait(&c->free_slot, &c->lock);
        return true;
    }
    const struct timespec until = { c->deadline_ns / NS_PER_SECOND, c->deadline_ns % NS_PER_SECOND };
    pthread_cond_timedwait(&c->free_slot, &c->lock, &until);
    return true;
}

static struct nbd_slot *slot_find_locked(struct nbd_client *c)
{
    for (unsigned i = 0; i < NBD_SLOTS && !c->dead && !c->away; i++)
        if (!c->slot[i].used)
            return &c->slot[i];
    return NULL;
}

/* Filled under the lock: a server may guess handles. NULL when the connection has ended. */
static struct nbd_slot *slot_take(struct nbd_client *c, const struct ask *q, uint32_t *epoch)
{
    struct nbd_slot *s;
    pthread_mutex_lock(&c->lock);
    while (!(s = slot_find_locked(c)) && slot_wait_locked(c))
        continue;
    if (s) {
        s->used = true;
        s->finished = s->extent_seen = false;
        s->generation++;
        s->received = 0;
        s->error = 0;
        s->since_ns = clock_host_ns();
        s->command = q->command;
        s->offset = q->offset;
        s->length = q->length;
        s->iov = q->iov;
        s->iovcnt = q->iovcnt;
        *epoch = c->epoch;
        c->unflushed &= q->command != NBD_CMD_FLUSH;
    }
    pthread_mutex_unlock(&c->lock);
    return s;
}

/* iov[0] is for the head. What cannot be sent ends the connection; that the reader does: it may be writing to our memory. */
static void request_send(struct nbd_client *c, const struct nbd_slot *s, const struct ask *q, uint32_t epoch, struct iovec *iov)
{
    struct nbd_wire_request w = {
        .magic = be32_make(NBD_MAGIC_REQUEST), .flags = be16_make(q->flags), .command = be16_make(q->command),
        .handle = be64_make((uint64_t)s->generation * NBD_SLOTS + (uint64_t)(s - c->slot)), .offset = be64_make(q->offset),
        .length = be32_make(q->length),
    };
    int count = 1;
    iov[0] = (struct iovec){ &w, sizeof(w) };
    if (q->command == NBD_CMD_WRITE) {
        memcpy(iov + 1, q->iov, sizeof(*iov) * (size_t)q->iovcnt);
        count += q->iovcnt;
    }
    pthread_mutex_lock(&c->send);
    if (c->epoch == epoch && nbd_stream_sendv(&c->stream, iov, count))
        shutdown(c->stream.fd, SHUT_RDWR);
    pthread_mutex_unlock(&c->send);
}

/* What was acknowledged and not flushed may go with the server's machine. */
static void unflushed_note_locked(struct nbd_client *c, enum nbd_command command, int result)
{
    if (command == NBD_CMD_WRITE || command == NBD_CMD_WRITE_ZEROES || command == NBD_CMD_TRIM)
        c->unflushed |= !result;
    else if (command == NBD_CMD_FLUSH)
        c->unflushed |= result != 0;
}

static int ask_once(struct nbd_client *c, const struct ask *q, struct iovec *iov, struct block_extent *extent)
{
    uint32_t epoch = 0;
    struct nbd_slot *s = slot_take(c, q, &epoch);
    if (!s)
        return -EIO;
    request_send(c, s, q, epoch, iov);
    pthread_mutex_lock(&c->lock);
    while (!s->finished)
        pthread_cond_wait(&s->done, &c->lock);
    int r = s->error;
    if (extent && !r && s->extent_seen)
        *extent = (struct block_extent){ .length_bytes = s->extent_length, .zero = s->extent_flags & NBD_STATE_ZERO,
                                         .hole = s->extent_flags & NBD_STATE_HOLE };
    s->used = false;
    unflushed_note_locked(c, q->command, r);
    pthread_cond_signal(&c->free_slot);
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* One request and its reply. extent: of a block status, or NULL. A request that ends every connection is not repeated forever. */
static int exchange(struct nbd_client *c, const struct ask *q, struct block_extent *extent)
{
    struct iovec few[9], *iov = q->command == NBD_CMD_WRITE && q->iovcnt > 8 ? malloc(sizeof(*iov) * ((size_t)q->iovcnt + 1)) : few;
    int64_t until = 0;
    int r = iov ? NBD_LOST : -ENOMEM;
    while (r == NBD_LOST) {
        r = ask_once(c, q, iov, extent);
        if (r == NBD_LOST && until && clock_host_ns() > until)
            r = -EIO;
        else if (r == NBD_LOST && !until)
            until = clock_host_ns() + (int64_t)c->address.reconnect_s * NS_PER_SECOND;
    }
    if (iov != few)
        free(iov);
    return r;
}

static int transfer(struct nbd_client *c, bool write, uint64_t offset, const struct iovec *iov, int iovcnt, size_t skip, size_t length)
{
    struct iovec *part = iovcnt ? malloc(sizeof(*part) * (size_t)iovcnt) : NULL;
    int r = part || !iovcnt ? 0 : -ENOMEM;
    for (size_t done = 0; !r && done < length;) {
        size_t take = MIN(length - done, (size_t)c->x.max_block);
        int used = block_iov_slice(part, iov, iovcnt, skip + done, take);
        const struct ask q = { .command = write ? NBD_CMD_WRITE : NBD_CMD_READ, .offset = offset + done,
                               .length = (uint32_t)take, .iov = part, .iovcnt = used };
        r = exchange(c, &q, NULL);
        done += take;
    }
    free(part);
    return r;
}

static bool is_ragged(const struct nbd_client *c, uint64_t offset, uint64_t length)
{
    return (offset | length) & (c->x.min_block - 1);
}

/* A server with large blocks: whole ones are read, changed, and written. */
static int ragged(struct nbd_client *c, bool write, uint64_t offset, const struct iovec *iov, int iovcnt, size_t length)
{
    uint64_t first = ALIGN_DOWN(offset, (uint64_t)c->x.min_block), last = ALIGN_UP(offset + length, (uint64_t)c->x.min_block);
    uint8_t *data = malloc(last - first);
    struct iovec whole = { data, last - first };
    if (!data)
        return -ENOMEM;
    pthread_mutex_lock(&c->partial);
    int r = last > c->x.size ? -EINVAL : transfer(c, false, first, &whole, 1, 0, whole.iov_len);
    if (!r && write) {
        block_iov_to(iov, iovcnt, 0, data + (offset - first), length);
        r = transfer(c, true, first, &whole, 1, 0, whole.iov_len);
    } else if (!r) {
        block_iov_from(iov, iovcnt, 0, data + (offset - first), length);
    }
    pthread_mutex_unlock(&c->partial);
    free(data);
    return r;
}

static int nbd_preadv(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct nbd_client *c = nbd_of(p);
    size_t length = block_iov_length(iov, iovcnt), there = offset < c->x.size ? MIN(length, c->x.size - offset) : 0;
    block_iov_zero(iov, iovcnt, there, length - there);
    return is_ragged(c, offset, there) ? ragged(c, false, offset, iov, iovcnt, there) :
           transfer(c, false, offset, iov, iovcnt, 0, there);
}

/* An export cannot grow; but a disk's last sector may reach past its end. */
static int nbd_pwritev(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct nbd_client *c = nbd_of(p);
    size_t length = block_iov_length(iov, iovcnt), there = offset < c->x.size ? MIN(length, c->x.size - offset) : 0;
    if (length - there >= 512)
        return -ENOSPC;
    return is_ragged(c, offset, there) ? ragged(c, true, offset, iov, iovcnt, there) :
           transfer(c, true, offset, iov, iovcnt, 0, there);
}

static int nbd_flush(struct block_protocol *p)
{
    const struct ask q = { .command = NBD_CMD_FLUSH };
    return nbd_of(p)->x.flags & NBD_FLAG_SEND_FLUSH ? exchange(nbd_of(p), &q, NULL) : 0;
}

static int ranges(struct nbd_client *c, enum nbd_command command, uint16_t flags, uint64_t offset, uint64_t length)
{
    int r = 0;
    while (!r && length) {
        const struct ask q = { .command = command, .flags = flags, .offset = offset,
                               .length = (uint32_t)MIN(length, (uint64_t)RANGE_MAX) };
        r = exchange(c, &q, NULL);
        offset += q.length;
        length -= q.length;
    }
    return r;
}

static int nbd_discard(struct block_protocol *p, uint64_t offset, uint64_t length)
{
    struct nbd_client *c = nbd_of(p);
    uint64_t from = ALIGN_UP(offset, (uint64_t)c->x.min_block);
    uint64_t to = ALIGN_DOWN(MIN(offset + length, c->x.size), (uint64_t)c->x.min_block);
    if (!(c->x.flags & NBD_FLAG_SEND_TRIM) || to <= from)
        return 0;
    int r = ranges(c, NBD_CMD_TRIM, 0, from, to - from);
    return r == -ENOTSUP ? 0 : r;
}

static int nbd_write_zeroes(struct block_protocol *p, uint64_t offset, uint64_t length, bool may_unmap)
{
    struct nbd_client *c = nbd_of(p);
    if (!(c->x.flags & NBD_FLAG_SEND_WRITE_ZEROES) || offset > c->x.size || length > c->x.size - offset ||
        is_ragged(c, offset, length))
        return -ENOTSUP;
    return ranges(c, NBD_CMD_WRITE_ZEROES, may_unmap ? 0 : NBD_CMD_FLAG_NO_HOLE, offset, length);
}

static int64_t nbd_size(struct block_protocol *p)
{
    return (int64_t)nbd_of(p)->x.size;
}

static int nbd_extent(struct block_protocol *p, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    struct nbd_client *c = nbd_of(p);
    *extent = (struct block_extent){ .length_bytes = length };
    uint64_t first = ALIGN_DOWN(offset, (uint64_t)c->x.min_block);
    uint64_t take = offset < c->x.size ? MIN(MIN(length, c->x.size - offset) + offset - first, (uint64_t)RANGE_MAX) : 0;
    take = MIN(ALIGN_UP(take, (uint64_t)c->x.min_block), c->x.size > first ? c->x.size - first : 0);
    if (!c->x.allocation || !take)
        return 0;
    const struct ask q = { .command = NBD_CMD_BLOCK_STATUS, .flags = NBD_CMD_FLAG_REQ_ONE, .offset = first,
                           .length = (uint32_t)take };
    struct block_extent got = { .length_bytes = 0 };
    int r = exchange(c, &q, &got);
    if (r || got.length_bytes <= offset - first)
        return r == -EIO ? r : 0;   /* a server that cannot say: data */
    got.length_bytes = MIN(got.length_bytes - (offset - first), length);
    /* Sectors are what counts above: a border within one is moved so that a sector with any data is data. */
    uint64_t end = got.length_bytes < length ? ALIGN_DOWN(offset + got.length_bytes, 512ull) : offset + length;
    if (end > offset)
        *extent = (struct block_extent){ .length_bytes = end - offset, .zero = got.zero, .hole = got.hole };
    else
        extent->length_bytes = MIN(length, 512ull);
    return 0;
}

static void nbd_free(struct nbd_client *c)
{
    for (unsigned i = 0; i < NBD_SLOTS; i++)
        pthread_cond_destroy(&c->slot[i].done);
    pthread_cond_destroy(&c->free_slot);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->send);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->partial);
    nbd_address_free(&c->address);
    free(c->p.filename);
    free(c);
}

static void nbd_close(struct block_protocol *p)
{
    nbd_link_close(nbd_of(p));
    nbd_free(nbd_of(p));
}

static const struct block_protocol_ops nbd_ops = {
    .name = "nbd", .preadv = nbd_preadv, .pwritev = nbd_pwritev, .flush = nbd_flush, .discard = nbd_discard,
    .write_zeroes = nbd_write_zeroes, .size = nbd_size, .extent = nbd_extent, .close = nbd_close,
};

static struct nbd_client *nbd_new(const struct block_file_options *o)
{
    struct nbd_client *c = calloc(1, sizeof(*c));
    pthread_condattr_t monotonic;
    if (!c)
        return NULL;
    c->stream.fd = -1;
    c->p.fd = -1;
    c->p.readonly = o->readonly;
    c->p.flush_ignored = o->unsafe;
    c->p.ino = (ino_t)(uintptr_t)c;         /* no other's */
    pthread_mutex_init(&c->send, NULL);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->partial, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->free_slot, &monotonic);
    pthread_cond_init(&c->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (unsigned i = 0; i < NBD_SLOTS; i++)
        pthread_cond_init(&c->slot[i].done, NULL);
    return c;
}

static struct block_protocol *nbd_open(const char *filename, const struct block_option_set *options,
                                       const struct block_objects *objects, const struct block_file_options *o,
                                       struct error *err)
{
    struct nbd_client *c = nbd_new(o);
    if (!c) {
        error_set(err, "cannot open '%s': out of memory", filename ? filename : "nbd");
        return NULL;
    }
    const struct nbd_address *a = &c->address;
    c->p.ops = &nbd_ops;
    int r = nbd_address_parse(&c->address, filename, options, err);
    if (!r)
        r = (c->p.filename = filename ? strdup(filename) : NULL) || asprintf(&c->p.filename, "nbd:%s%s%s:exportname=%s",
             a->path ? "unix:" : a->host, a->path ? "" : ":", a->path ? a->path : a->port, a->export) >= 0 ? 0 :
            error_set(err, "out of memory");
    if (!r)
        r = nbd_link_open(c, objects, err);
    if (!r)
        return &c->p;
    error_prefix(err, "cannot open '%.300s'", c->p.filename ? c->p.filename : filename ? filename : "nbd");
    nbd_free(c);
    return NULL;
}

static const struct block_option open_options[] = {
    { "host", BLOCK_OPTION_TEXT, "host", NULL, false }, { "port", BLOCK_OPTION_TEXT, "port", "10809", false },
    { "path", BLOCK_OPTION_TEXT, "path of a unix socket", NULL, false },
    { "server.type", BLOCK_OPTION_TEXT, "inet or unix", NULL, false },
    { "server.host", BLOCK_OPTION_TEXT, "host", NULL, false }, { "server.port", BLOCK_OPTION_TEXT, "port", NULL, false },
    { "server.path", BLOCK_OPTION_TEXT, "path of a unix socket", NULL, false },
    { "export", BLOCK_OPTION_TEXT, "name of the export", "", false },
    { "tls-creds", BLOCK_OPTION_TEXT, "id of an --object tls-creds-...", NULL, false },
    { "tls-hostname", BLOCK_OPTION_TEXT, "name in the server's certificate", NULL, false },
    { "x-dirty-bitmap", BLOCK_OPTION_TEXT, "the map shows this context of the server: dirty is no data", NULL, false },
    { "reconnect-delay", BLOCK_OPTION_NUMBER, "seconds that requests wait for a new connection; 0: none is made", "0", false },
    { "open-timeout", BLOCK_OPTION_NUMBER, "seconds in which the first connection is tried for", "0", false },
    { .name = NULL },
};
static const char *const prefixes[] = { "nbd:", "nbd+tcp:", "nbd+unix:", "nbds:", "nbds+tcp:", "nbds+unix:", NULL };

const struct block_protocol_driver block_protocol_nbd = { "nbd", prefixes, open_options, nbd_open };
