/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NBD client: a protocol under any format. The callers are many threads; each sends its request, with a slot's number as
 * handle, and sleeps until the reader thread has put the reply where it belongs, straight into the caller's memory. The
 * server is a stranger: a reply must belong to a request in flight, data must lie inside of what was asked for, all of it must
 * have come, and what breaks these rules ends the connection. So does silence: requests that are not answered for five
 * minutes. A connection that ended stays so: all requests fail with EIO from then on, and one message says why.
 *
 * Source: proto.md of the NetworkBlockDevice project.
 */
#include "block/nbd_client.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "block/nbd_wire.h"

enum { SLOTS = 64, STALL_S = 60, SILENCE_S = 300, POLL_MS = 5000, HANDSHAKE_S = 30, MESSAGE_MAX = 4096 };
#define RANGE_MAX (1u << 30)        /* of trim, zeroes, block status */

struct slot {
    bool used, finished;
    uint32_t generation;
    enum nbd_command command;
    uint64_t offset;
    uint32_t length;
    const struct iovec *iov;        /* of a read */
    int iovcnt;
    uint64_t received;              /* bytes of it */
    uint32_t extent_length, extent_flags;
    bool extent_seen;
    int error;
    time_t since;
    pthread_cond_t done;
};

struct nbd {
    struct block_protocol p;
    struct nbd_export_facts x;
    struct nbd_stream stream;
    struct nbd_tls *own_tls;
    pthread_mutex_t send, lock, partial;
    pthread_cond_t free_slot;
    struct slot slot[SLOTS];
    bool dead, closing;
    pthread_t reader;
};

static struct nbd *nbd_of(struct block_protocol *p)
{
    return container_of(p, struct nbd, p);
}

static time_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

/* Wire numbers are Linux's; what is not one of them is EINVAL, says the protocol. */
static int error_of(uint32_t code)
{
    static const struct { uint32_t wire; int number; } known[] = {
        { NBD_EPERM, EPERM }, { NBD_EIO, EIO }, { NBD_ENOMEM, ENOMEM }, { NBD_EINVAL, EINVAL }, { NBD_ENOSPC, ENOSPC },
        { NBD_EOVERFLOW, EOVERFLOW }, { NBD_ENOTSUP, ENOTSUP }, { NBD_ESHUTDOWN, EIO },
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].wire == code)
            return -known[i].number;
    return code ? -EINVAL : 0;
}

static void finish_locked(struct slot *s, int error)
{
    s->error = s->error ? s->error : error;
    s->finished = true;
    pthread_cond_signal(&s->done);
}

/* The end of the connection: everybody is told. */
static void die(struct nbd *c, const char *why)
{
    pthread_mutex_lock(&c->lock);
    if (!c->dead && !c->closing)
        log_message("'%s': %s; the connection is closed, open the image again", c->p.filename, why);
    c->dead = true;
    shutdown(c->stream.fd, SHUT_RDWR);
    for (unsigned i = 0; i < SLOTS; i++)
        if (c->slot[i].used && !c->slot[i].finished)
            finish_locked(&c->slot[i], -EIO);
    pthread_cond_broadcast(&c->free_slot);
    pthread_mutex_unlock(&c->lock);
}

/* The request in flight that a handle means, or NULL. */
static struct slot *slot_of(struct nbd *c, uint64_t handle)
{
    struct slot *s = &c->slot[handle % SLOTS];
    pthread_mutex_lock(&c->lock);
    bool good = s->used && !s->finished && s->generation == handle / SLOTS;
    pthread_mutex_unlock(&c->lock);
    return good ? s : NULL;
}

static void slot_finish(struct nbd *c, struct slot *s, int error)
{
    pthread_mutex_lock(&c->lock);
    if (!s->error && !error && s->command == NBD_CMD_READ && s->received != s->length)
        error = -EIO;               /* not all of it came */
    finish_locked(s, error);
    pthread_mutex_unlock(&c->lock);
}

/* Data for a part of a read go straight to the caller's memory. */
static int payload_receive(struct nbd *c, struct slot *s, size_t skip, size_t length)
{
    for (int i = 0; i < s->iovcnt && length; i++) {
        if (skip >= s->iov[i].iov_len) {
            skip -= s->iov[i].iov_len;
            continue;
        }
        size_t take = MIN(length, s->iov[i].iov_len - skip);
        int r = nbd_stream_recv(&c->stream, (uint8_t *)s->iov[i].iov_base + skip, take);
        if (r)
            return r;
        skip = 0;
        length -= take;
    }
    return 0;
}

static const char *simple_take(struct nbd *c)
{
    struct nbd_wire_simple h = { .magic = be32_make(NBD_MAGIC_SIMPLE_REPLY) };
    if (nbd_stream_recv(&c->stream, (uint8_t *)&h + sizeof(h.magic), sizeof(h) - sizeof(h.magic)))
        return "the server broke the connection";
    struct slot *s = slot_of(c, be64_get(h.handle));
    int error = error_of(be32_get(h.error));
    if (!s)
        return "the server answers what it was not asked";
    if (s->command == NBD_CMD_BLOCK_STATUS || (s->command == NBD_CMD_READ && c->x.structured))
        error = error ? error : -EIO;
    if (!error && s->command == NBD_CMD_READ) {
        if (payload_receive(c, s, 0, s->length))
            return "the server broke the connection";
        s->received = s->length;
    }
    slot_finish(c, s, error);
    return NULL;
}

/* A part of a read: its offset has to lie in what was asked for. */
static const char *data_chunk(struct nbd *c, struct slot *s, bool hole, uint32_t length)
{
    be64 offset;
    be32 zeroes = { 0 };
    if (s->command != NBD_CMD_READ || length < sizeof(offset) || (hole && length != sizeof(offset) + sizeof(zeroes)))
        return "the server sends data that were not asked for";
    if (nbd_stream_recv(&c->stream, &offset, sizeof(offset)) ||
        (hole && nbd_stream_recv(&c->stream, &zeroes, sizeof(zeroes))))
        return "the server broke the connection";
    uint64_t from = be64_get(offset), count = hole ? be32_get(zeroes) : length - sizeof(offset);
    if (from < s->offset || from - s->offset > s->length || count > s->length - (from - s->offset) || !count ||
        count > s->length - s->received)
        return "the server sends data outside of what was asked for";
    if (hole)
        block_iov_zero(s->iov, s->iovcnt, from - s->offset, count);
    else if (payload_receive(c, s, from - s->offset, count))
        return "the server broke the connection";
    s->received += count;
    return NULL;
}

static const char *status_chunk(struct nbd *c, struct slot *s, uint32_t length)
{
    struct { be32 context; struct nbd_wire_extent first; } __attribute__((packed)) x;
    if (s->command != NBD_CMD_BLOCK_STATUS || length < sizeof(x) || (length - sizeof(be32)) % sizeof(struct nbd_wire_extent) ||
        length > NBD_STREAM_BUFFER)
        return "the server sends a block status that was not asked for";
    if (nbd_stream_recv(&c->stream, &x, sizeof(x)) || nbd_stream_skip(&c->stream, length - sizeof(x)))
        return "the server broke the connection";
    if (be32_get(x.context) != c->x.allocation_id)
        return NULL;
    s->extent_length = be32_get(x.first.length);
    s->extent_flags = be32_get(x.first.flags);
    s->extent_seen = s->extent_length != 0;
    return NULL;
}

static const char *error_chunk(struct nbd *c, struct slot *s, uint32_t length)
{
    struct { be32 error; be16 length; } __attribute__((packed)) e;
    if (length < sizeof(e) || length > MESSAGE_MAX + sizeof(e) + sizeof(be64))
        return "the server sends an error of a wrong length";
    if (nbd_stream_recv(&c->stream, &e, sizeof(e)) || nbd_stream_skip(&c->stream, length - sizeof(e)))
        return "the server broke the connection";
    int error = error_of(be32_get(e.error));
    s->error = s->error ? s->error : error ? error : -EIO;
    return NULL;
}

static const char *chunk_take(struct nbd *c)
{
    struct nbd_wire_chunk h = { .magic = be32_make(NBD_MAGIC_CHUNK) };
    if (nbd_stream_recv(&c->stream, (uint8_t *)&h + sizeof(h.magic), sizeof(h) - sizeof(h.magic)))
        return "the server broke the connection";
    struct slot *s = slot_of(c, be64_get(h.handle));
    uint16_t type = be16_get(h.type);
    uint32_t length = be32_get(h.length);
    const char *wrong = NULL;
    if (!s || !c->x.structured)
        return "the server answers what it was not asked";
    if (type == NBD_CHUNK_OFFSET_DATA || type == NBD_CHUNK_OFFSET_HOLE)
        wrong = data_chunk(c, s, type == NBD_CHUNK_OFFSET_HOLE, length);
    else if (type == NBD_CHUNK_BLOCK_STATUS)
        wrong = status_chunk(c, s, length);
    else if (type & 0x8000)
        wrong = error_chunk(c, s, length);
    else if (type != NBD_CHUNK_NONE || length || !(be16_get(h.flags) & NBD_CHUNK_FLAG_DONE))
        wrong = "the server sends a reply of an unknown kind";
    if (!wrong && be16_get(h.flags) & NBD_CHUNK_FLAG_DONE)
        slot_finish(c, s, 0);
    return wrong;
}

/* Waits for the next reply. False when a request has waited for too long. */
static bool reply_wait(struct nbd *c)
{
    struct pollfd p = { .fd = c->stream.fd, .events = POLLIN };
    while (!nbd_stream_has(&c->stream, 1) && !(c->stream.tls && gnutls_record_check_pending(c->stream.tls))) {
        int r = poll(&p, 1, POLL_MS);
        if (r > 0)
            break;
        bool late = false;
        pthread_mutex_lock(&c->lock);
        for (unsigned i = 0; i < SLOTS; i++)
            late |= c->slot[i].used && !c->slot[i].finished && now_s() - c->slot[i].since > SILENCE_S;
        pthread_mutex_unlock(&c->lock);
        if (late || (r < 0 && errno != EINTR))
            return false;
    }
    return true;
}

static void *reader_thread(void *opaque)
{
    struct nbd *c = opaque;
    const char *wrong = NULL;
    while (!wrong) {
        be32 magic;
        if (!reply_wait(c))
            wrong = "the server has not answered for five minutes";
        else if (nbd_stream_recv(&c->stream, &magic, sizeof(magic)))
            wrong = "the server broke the connection";
        else if (be32_get(magic) == NBD_MAGIC_SIMPLE_REPLY)
            wrong = simple_take(c);
        else if (be32_get(magic) == NBD_MAGIC_CHUNK)
            wrong = chunk_take(c);
        else
            wrong = "the server sends what is no reply";
    }
    die(c, wrong);
    return NULL;
}

struct ask {
    enum nbd_command command;
    uint16_t flags;
    uint64_t offset;
    uint32_t length;
    const struct iovec *iov;        /* read: where to; write: the data */
    int iovcnt;
};

/* Filled under the lock: a server may guess handles. NULL when the connection has ended. */
static struct slot *slot_take(struct nbd *c, const struct ask *q)
{
    struct slot *s = NULL;
    pthread_mutex_lock(&c->lock);
    while (!c->dead && !s) {
        for (unsigned i = 0; i < SLOTS && !s; i++)
            if (!c->slot[i].used)
                s = &c->slot[i];
        if (!s)
            pthread_cond_wait(&c->free_slot, &c->lock);
    }
    if (c->dead)
        s = NULL;
    if (s) {
        s->used = true;
        s->finished = s->extent_seen = false;
        s->generation++;
        s->received = 0;
        s->error = 0;
        s->since = now_s();
        s->command = q->command;
        s->offset = q->offset;
        s->length = q->length;
        s->iov = q->iov;
        s->iovcnt = q->iovcnt;
    }
    pthread_mutex_unlock(&c->lock);
    return s;
}

/* One request and its reply. extent: of a block status, or NULL. */
static int exchange(struct nbd *c, const struct ask *q, struct block_extent *extent)
{
    struct iovec few[9], *iov = q->command == NBD_CMD_WRITE && q->iovcnt > 8 ? malloc(sizeof(*iov) * ((size_t)q->iovcnt + 1)) : few;
    struct slot *s = iov ? slot_take(c, q) : NULL;
    int count = 1;
    if (!s) {
        if (iov != few)
            free(iov);
        return iov ? -EIO : -ENOMEM;
    }
    struct nbd_wire_request w = {
        .magic = be32_make(NBD_MAGIC_REQUEST), .flags = be16_make(q->flags), .command = be16_make(q->command),
        .handle = be64_make((uint64_t)s->generation * SLOTS + (uint64_t)(s - c->slot)), .offset = be64_make(q->offset),
        .length = be32_make(q->length),
    };
    iov[0] = (struct iovec){ &w, sizeof(w) };
    if (q->command == NBD_CMD_WRITE) {
        memcpy(iov + 1, q->iov, sizeof(*iov) * (size_t)q->iovcnt);
        count += q->iovcnt;
    }
    pthread_mutex_lock(&c->send);
    int r = nbd_stream_sendv(&c->stream, iov, count);
    pthread_mutex_unlock(&c->send);
    if (iov != few)
        free(iov);
    if (r)
        shutdown(c->stream.fd, SHUT_RDWR);  /* the reader ends all: it may be writing to our memory */
    pthread_mutex_lock(&c->lock);
    while (!s->finished)
        pthread_cond_wait(&s->done, &c->lock);
    r = s->error;
    if (extent && !r && s->extent_seen)
        *extent = (struct block_extent){ .length_bytes = s->extent_length, .zero = s->extent_flags & NBD_STATE_ZERO,
                                         .hole = s->extent_flags & NBD_STATE_HOLE };
    s->used = false;
    pthread_cond_signal(&c->free_slot);
    pthread_mutex_unlock(&c->lock);
    return r;
}

static int transfer(struct nbd *c, bool write, uint64_t offset, const struct iovec *iov, int iovcnt, size_t skip, size_t length)
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

static bool is_ragged(const struct nbd *c, uint64_t offset, uint64_t length)
{
    return (offset | length) & (c->x.min_block - 1);
}

/* A server with large blocks: whole ones are read, changed, and written. */
static int ragged(struct nbd *c, bool write, uint64_t offset, const struct iovec *iov, int iovcnt, size_t length)
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
    struct nbd *c = nbd_of(p);
    size_t length = block_iov_length(iov, iovcnt), there = offset < c->x.size ? MIN(length, c->x.size - offset) : 0;
    block_iov_zero(iov, iovcnt, there, length - there);
    return is_ragged(c, offset, there) ? ragged(c, false, offset, iov, iovcnt, there) :
           transfer(c, false, offset, iov, iovcnt, 0, there);
}

/* An export cannot grow; but a disk's last sector may reach past its end. */
static int nbd_pwritev(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct nbd *c = nbd_of(p);
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

static int ranges(struct nbd *c, enum nbd_command command, uint16_t flags, uint64_t offset, uint64_t length)
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
    struct nbd *c = nbd_of(p);
    uint64_t from = ALIGN_UP(offset, (uint64_t)c->x.min_block);
    uint64_t to = ALIGN_DOWN(MIN(offset + length, c->x.size), (uint64_t)c->x.min_block);
    if (!(c->x.flags & NBD_FLAG_SEND_TRIM) || to <= from)
        return 0;
    int r = ranges(c, NBD_CMD_TRIM, 0, from, to - from);
    return r == -ENOTSUP ? 0 : r;
}

static int nbd_write_zeroes(struct block_protocol *p, uint64_t offset, uint64_t length, bool may_unmap)
{
    struct nbd *c = nbd_of(p);
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
    struct nbd *c = nbd_of(p);
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

static void timeouts_set(int fd, int seconds)
{
    const struct timeval t = { .tv_sec = seconds };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

static void nbd_free(struct nbd *c)
{
    nbd_stream_close(&c->stream);
    nbd_tls_free(c->own_tls);
    for (unsigned i = 0; i < SLOTS; i++)
        pthread_cond_destroy(&c->slot[i].done);
    pthread_cond_destroy(&c->free_slot);
    pthread_mutex_destroy(&c->send);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->partial);
    free(c->p.filename);
    free(c);
}

static void nbd_close(struct block_protocol *p)
{
    struct nbd *c = nbd_of(p);
    struct nbd_wire_request bye = { .magic = be32_make(NBD_MAGIC_REQUEST), .command = be16_make(NBD_CMD_DISC) };
    pthread_mutex_lock(&c->lock);
    bool dead = c->dead;
    c->closing = true;
    pthread_mutex_unlock(&c->lock);
    if (!dead)
        nbd_stream_send(&c->stream, &bye, sizeof(bye));
    shutdown(c->stream.fd, SHUT_RD);
    pthread_join(c->reader, NULL);
    nbd_free(c);
}

static const struct block_protocol_ops nbd_ops = {
    .name = "nbd", .preadv = nbd_preadv, .pwritev = nbd_pwritev, .flush = nbd_flush, .discard = nbd_discard,
    .write_zeroes = nbd_write_zeroes, .size = nbd_size, .extent = nbd_extent, .close = nbd_close,
};

static int tls_find(struct nbd *c, const struct nbd_address *a, const struct block_objects *objects, struct nbd_tls **tls,
                    struct error *err)
{
    *tls = NULL;
    if (!a->tls)
        return 0;
    if (a->tls_creds) {
        *tls = objects && objects->tls ? objects->tls(objects, a->tls_creds, err) : NULL;
        return *tls ? 0 : objects && objects->tls ? -1 : error_set(err, "tls-creds: there is no --object '%s'", a->tls_creds);
    }
    if (!a->tls_directory)
        return error_set(err, "TLS needs certificates: add ?tls-certificates=DIRECTORY to the URI, or use --object "
                         "tls-creds-x509 and tls-creds=ID");
    const struct nbd_tls_options o = { .kind = NBD_TLS_X509, .verify_peer = true, .directory = a->tls_directory };
    *tls = c->own_tls = nbd_tls_new(&o, err);
    return *tls ? 0 : -1;
}

static int reader_start(struct nbd *c, struct error *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&c->reader, NULL, reader_thread, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r ? error_set(err, "cannot start a thread: %s", strerror(r)) : 0;
}

static int nbd_start(struct nbd *c, const struct nbd_address *a, const struct block_objects *objects,
                     const struct block_file_options *o, struct error *err)
{
    struct nbd_tls *tls;
    if (tls_find(c, a, objects, &tls, err))
        return -1;
    int fd = nbd_address_connect(a, err);
    if (fd < 0)
        return -1;
    nbd_stream_init(&c->stream, fd);
    timeouts_set(fd, HANDSHAKE_S);
    if (nbd_handshake(&c->stream, a, tls, &c->x, err))
        return -1;
    if (c->x.flags & NBD_FLAG_READ_ONLY && !o->readonly)
        return error_set(err, "the export is read-only; use readonly=on or snapshot=on");
    timeouts_set(fd, STALL_S);
    return reader_start(c, err);
}

static struct block_protocol *nbd_open(const char *filename, const struct block_option_set *options,
                                       const struct block_objects *objects, const struct block_file_options *o,
                                       struct error *err)
{
    struct nbd *c = calloc(1, sizeof(*c));
    struct nbd_address a = { 0 };
    if (!c) {
        error_set(err, "cannot open '%s': out of memory", filename ? filename : "nbd");
        return NULL;
    }
    c->stream.fd = -1;
    c->p.ops = &nbd_ops;
    c->p.fd = -1;
    c->p.readonly = o->readonly;
    c->p.flush_ignored = o->unsafe;
    c->p.ino = (ino_t)(uintptr_t)c;         /* no other's */
    pthread_mutex_init(&c->send, NULL);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->partial, NULL);
    pthread_cond_init(&c->free_slot, NULL);
    for (unsigned i = 0; i < SLOTS; i++)
        pthread_cond_init(&c->slot[i].done, NULL);
    int r = nbd_address_parse(&a, filename, options, err);
    if (!r)
        r = (c->p.filename = filename ? strdup(filename) : NULL) || asprintf(&c->p.filename, "nbd:%s%s%s:exportname=%s",
             a.path ? "unix:" : a.host, a.path ? "" : ":", a.path ? a.path : a.port, a.export) >= 0 ? 0 :
            error_set(err, "out of memory");
    if (!r)
        r = nbd_start(c, &a, objects, o, err);
    nbd_address_free(&a);
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
    { "reconnect-delay", BLOCK_OPTION_NUMBER, "0: never", "0", false },
    { .name = NULL },
};
static const char *const prefixes[] = { "nbd:", "nbd+tcp:", "nbd+unix:", "nbds:", "nbds+tcp:", "nbds+unix:", NULL };

const struct block_protocol_driver block_protocol_nbd = { "nbd", prefixes, open_options, nbd_open };
