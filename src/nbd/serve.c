/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The transmission phase of one connection. Its threads take turns: who holds the receive lock reads requests.
 *
 * A small request that is likely to be quick (small requests of this connection took less than QUICK_NS of late, larger
 * ones less than that for each QUICK_BYTES: the data lie in the page cache) is done at once by its reader, and its reply
 * waits until no further whole request has been received: a burst of eight costs one receive, eight copies, one send,
 * and no other thread wakes. Before anything else (large, flushing, or on a disk that makes us wait) the reader sends
 * the replies it holds and hands the lock on, so that up to THREADS requests are with the disk at a time. What was measured decides, request by request. A request
 * that was slow because others had the processor is no sign of a slow disk; the thread's own count of waits tells.
 *
 * Payloads go through PIECE bytes of memory a thread however large the request is. Replies larger than that are sent in
 * pieces (structured replies: as chunks). An error in a later piece of a simple reply cannot be told any more, so the
 * connection ends, as the protocol provides.
 *
 * Source: proto.md, "Transmission phase", "Reads", "Block status".
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "base/bits.h"
#include "block/nbd_wire.h"
#include "nbd/client_private.h"

enum { THREADS = 16, PIECE = 1 << 20, SMALL = 256 << 10, BATCH = 32, QUICK_NS = 50000, QUICK_BYTES = 32 << 10,
       WATCH = 16 };

struct request {
    unsigned flags, command;
    be64 handle;
    uint64_t offset, length;
};

union reply_head {
    struct nbd_wire_simple simple;
    struct nbd_wire_chunk chunk;
    struct { struct nbd_wire_chunk chunk; be64 offset; } __attribute__((packed)) data;
    struct { struct nbd_wire_chunk chunk; be32 error; be16 length; } __attribute__((packed)) error;
};

struct worker {
    struct nbd_client *c;
    uint8_t *memory;                /* PIECE bytes */
    size_t used;                    /* of it, by replies that wait */
    unsigned waiting;
    union reply_head head[BATCH];
    struct iovec iov[2 * BATCH];
    int iovcnt;
    unsigned watch;                 /* so many small requests have their waits counted */
};

/* When a small request of so many bytes began. */
struct service { uint64_t began_ns; long waits; uint64_t length; };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void end(struct nbd_client *c, bool at_once)
{
    __atomic_store_n(&c->ended, true, __ATOMIC_RELEASE);
    if (at_once)
        shutdown(c->stream.fd, SHUT_RDWR);
}

static bool has_ended(const struct nbd_client *c)
{
    return __atomic_load_n(&c->ended, __ATOMIC_ACQUIRE);
}

static void send_all(struct worker *w, struct iovec *iov, int iovcnt)
{
    pthread_mutex_lock(&w->c->send);
    int r = nbd_stream_sendv(&w->c->stream, iov, iovcnt);
    pthread_mutex_unlock(&w->c->send);
    if (r)
        end(w->c, true);
}

static void replies_send(struct worker *w)
{
    if (w->iovcnt)
        send_all(w, w->iov, w->iovcnt);
    w->iovcnt = 0;
    w->waiting = 0;
    w->used = 0;
}

static uint32_t wire_error(int r)
{
    switch (-r) {
    case EPERM: case EROFS: return NBD_EPERM;
    case ENOMEM: return NBD_ENOMEM;
    case EINVAL: return NBD_EINVAL;
    case ENOSPC: case EDQUOT: case EFBIG: return NBD_ENOSPC;
    case EOVERFLOW: return NBD_EOVERFLOW;
    case ENOTSUP: return NBD_ENOTSUP;
    case ESHUTDOWN: return NBD_ESHUTDOWN;
    default: return NBD_EIO;
    }
}

static void chunk_fill(struct nbd_wire_chunk *k, const struct request *q, unsigned flags, enum nbd_chunk type,
                       size_t length)
{
    *k = (struct nbd_wire_chunk){ be32_make(NBD_MAGIC_CHUNK), be16_make((uint16_t)flags), be16_make((uint16_t)type),
                                  q->handle, be32_make((uint32_t)length) };
}

/* A reply without data. Structured replies are asked for reads and block status only, but allowed everywhere; simple
 * ones are shorter. */
static size_t head_fill(const struct nbd_client *c, union reply_head *h, const struct request *q, int r)
{
    if (!c->structured || (q->command != NBD_CMD_READ && q->command != NBD_CMD_BLOCK_STATUS)) {
        h->simple = (struct nbd_wire_simple){ be32_make(NBD_MAGIC_SIMPLE_REPLY), be32_make(r ? wire_error(r) : 0),
                                              q->handle };
        return sizeof(h->simple);
    }
    chunk_fill(&h->chunk, q, NBD_CHUNK_FLAG_DONE, r ? NBD_CHUNK_ERROR : NBD_CHUNK_NONE, r ? 6 : 0);
    h->error.error = be32_make(r ? wire_error(r) : 0);
    h->error.length = be16_make(0);
    return r ? sizeof(h->error) : sizeof(h->chunk);
}

/* In front of length bytes of data that begin at offset. */
static size_t data_head_fill(const struct nbd_client *c, union reply_head *h, const struct request *q, uint64_t offset,
                             size_t length, bool last)
{
    if (!c->structured)
        return head_fill(c, h, q, 0);
    chunk_fill(&h->chunk, q, last ? NBD_CHUNK_FLAG_DONE : 0, NBD_CHUNK_OFFSET_DATA, length + 8);
    h->data.offset = be64_make(offset);
    return sizeof(h->data);
}

static void reply(struct worker *w, const struct request *q, int r)
{
    union reply_head h;
    struct iovec iov = { &h, head_fill(w->c, &h, q, r) };
    send_all(w, &iov, 1);
}

/* A read of any length, with the lock handed on. */
static void read_run(struct worker *w, const struct request *q)
{
    struct nbd_client *c = w->c;
    bool in_pieces = !c->structured && q->length > PIECE;
    if (in_pieces)
        pthread_mutex_lock(&c->send);           /* nothing may come between the pieces */
    for (uint64_t done = 0; done < q->length && !has_ended(c);) {
        size_t take = MIN(q->length - done, (uint64_t)PIECE);
        int r = nbd_export_read(c->export, q->offset + done, w->memory, take);
        union reply_head h;
        struct iovec iov[2] = { { &h, 0 }, { w->memory, take } };
        if (r) {
            if (in_pieces && done)
                end(c, true);
            iov[0].iov_len = head_fill(c, &h, q, r);
        } else if (!in_pieces || !done) {
            iov[0].iov_len = data_head_fill(c, &h, q, q->offset + done, take, done + take == q->length);
        }
        if (!in_pieces)
            send_all(w, iov, r ? 1 : 2);
        else if (nbd_stream_sendv(&c->stream, iov, r ? 1 : 2))
            end(c, true);
        if (r)
            break;
        done += take;
    }
    if (in_pieces)
        pthread_mutex_unlock(&c->send);
}

/* One context's answer as a chunk. False: it could not be found out, *r says why. */
static bool context_status(struct worker *w, const struct request *q, enum nbd_context which, bool last, int *r)
{
    enum { EXTENTS = 4096 };
    static int (*const status_get[])(struct nbd_export *, uint64_t, uint64_t, struct nbd_extent *, unsigned *) = {
        [NBD_CONTEXT_ALLOCATION] = nbd_export_status, [NBD_CONTEXT_BITMAP] = nbd_export_dirty, [NBD_CONTEXT_DEPTH] = nbd_export_depth,
    };
    struct nbd_wire_extent *wire = (struct nbd_wire_extent *)(w->memory + 64);
    struct nbd_extent extent[64];
    unsigned limit = q->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : EXTENTS, count = 0;
    uint64_t done = 0;
    *r = 0;
    while (!*r && done < q->length && count < limit) {
        unsigned got = MIN(limit - count, (unsigned)ARRAY_SIZE(extent));
        *r = status_get[which](w->c->export, q->offset + done, q->length - done, extent, &got);
        for (unsigned i = 0; !*r && i < got; i++, count++) {
            wire[count] = (struct nbd_wire_extent){ be32_make((uint32_t)extent[i].length), be32_make(extent[i].state) };
            done += extent[i].length;
        }
    }
    if (!count)
        return false;
    struct { struct nbd_wire_chunk chunk; be32 context; } __attribute__((packed)) h;
    chunk_fill(&h.chunk, q, last ? NBD_CHUNK_FLAG_DONE : 0, NBD_CHUNK_BLOCK_STATUS, 4 + count * sizeof(*wire));
    h.context = be32_make(which);
    struct iovec iov[2] = { { &h, sizeof(h) }, { wire, count * sizeof(*wire) } };
    send_all(w, iov, 2);
    return true;
}

static void status_run(struct worker *w, const struct request *q)
{
    int r = 0;
    for (unsigned which = NBD_CONTEXT_ALLOCATION; which <= NBD_CONTEXT_DEPTH; which++)
        if (w->c->contexts >> which & 1 && !context_status(w, q, which, !(w->c->contexts >> which >> 1), &r)) {
            reply(w, q, r);
            return;
        }
}

static int prefetch(struct worker *w, const struct request *q)
{
    int r = 0;
    for (uint64_t done = 0; !r && done < q->length && !has_ended(w->c); done += PIECE)
        r = nbd_export_read(w->c->export, q->offset + done, w->memory, MIN(q->length - done, (uint64_t)PIECE));
    return r;
}

/* What is wrong with a request, as -errno. */
static int request_check(const struct nbd_client *c, const struct request *q)
{
    static const unsigned flags[] = {
        [NBD_CMD_READ] = NBD_CMD_FLAG_DF | NBD_CMD_FLAG_FUA, [NBD_CMD_WRITE] = NBD_CMD_FLAG_FUA,
        [NBD_CMD_FLUSH] = NBD_CMD_FLAG_FUA, [NBD_CMD_TRIM] = NBD_CMD_FLAG_FUA, [NBD_CMD_CACHE] = NBD_CMD_FLAG_FUA,
        [NBD_CMD_WRITE_ZEROES] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE,
        [NBD_CMD_BLOCK_STATUS] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE,
    };
    if (q->command >= ARRAY_SIZE(flags) || q->flags & ~flags[q->command])
        return -EINVAL;
    bool writes = q->command == NBD_CMD_WRITE || q->command == NBD_CMD_TRIM || q->command == NBD_CMD_WRITE_ZEROES;
    if (writes && c->export->readonly)
        return -EPERM;
    if (q->command == NBD_CMD_FLUSH)
        return q->offset || q->length ? -EINVAL : 0;
    if (q->flags & NBD_CMD_FLAG_DF && !c->structured)
        return -EINVAL;
    if (q->flags & NBD_CMD_FLAG_DF && q->length > PIECE)
        return -EOVERFLOW;
    if (q->command <= NBD_CMD_WRITE && q->length > NBD_PAYLOAD_MAX)
        return -EINVAL;
    if (q->command == NBD_CMD_BLOCK_STATUS && (!c->contexts || !c->structured || !q->length))
        return -EINVAL;
    uint64_t size = nbd_export_size(c->export);
    if (q->offset > size || q->length > size - q->offset)
        return writes ? -ENOSPC : -EINVAL;
    return 0;
}

static int write_finish(const struct worker *w, const struct request *q, int r)
{
    return !r && q->flags & NBD_CMD_FLAG_FUA ? nbd_export_flush(w->c->export) : r;
}

/* With the receive lock handed on, nothing of the request left to receive. */
static void request_run(struct worker *w, const struct request *q)
{
    struct nbd_export *x = w->c->export;
    int r;
    switch (q->command) {
    case NBD_CMD_READ:
        if (q->length)
            read_run(w, q);
        else
            reply(w, q, 0);
        return;
    case NBD_CMD_BLOCK_STATUS:
        status_run(w, q);
        return;
    case NBD_CMD_WRITE:
        r = write_finish(w, q, nbd_export_write(x, q->offset, w->memory, q->length));
        break;
    case NBD_CMD_TRIM:
        r = write_finish(w, q, nbd_export_trim(x, q->offset, q->length));
        break;
    case NBD_CMD_WRITE_ZEROES:
        r = write_finish(w, q, nbd_export_zero(x, q->offset, q->length, !(q->flags & NBD_CMD_FLAG_NO_HOLE)));
        break;
    case NBD_CMD_CACHE:
        r = prefetch(w, q);
        break;
    default:
        r = nbd_export_flush(x);
        break;
    }
    reply(w, q, r);
}

static long waits_count(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) ? 0 : u.ru_nvcsw;
}

static struct service service_begin(const struct worker *w, uint64_t length)
{
    return (struct service){ now_ns(), w->watch ? waits_count() : 0, length };
}

/* The system call that counts waits is only made for a while after something was slow. */
static void service_end(struct worker *w, const struct service *s)
{
    struct nbd_client *c = w->c;
    uint64_t took_ns = (now_ns() - s->began_ns) * QUICK_BYTES / MAX(s->length, (uint64_t)QUICK_BYTES);
    uint64_t before = __atomic_load_n(&c->service_ns, __ATOMIC_RELAXED);
    if (took_ns > QUICK_NS) {
        bool known = w->watch;
        w->watch = WATCH;
        if (!known || waits_count() == s->waits)
            return;
    } else if (w->watch) {
        w->watch--;
    }
    __atomic_store_n(&c->service_ns, before - before / 8 + MIN(took_ns, (uint64_t)100000000) / 8, __ATOMIC_RELAXED);
}

static bool is_small(const struct request *q)
{
    return q->command <= NBD_CMD_WRITE && q->length && q->length <= SMALL && !(q->flags & NBD_CMD_FLAG_FUA);
}

/* A small request, done by its reader; payload of a write is at w->memory + w->used. */
static void quick_run(struct worker *w, const struct request *q)
{
    struct nbd_client *c = w->c;
    uint8_t *data = w->memory + w->used;
    struct service service = service_begin(w, q->length);
    int r = q->command == NBD_CMD_READ ? nbd_export_read(c->export, q->offset, data, q->length) :
            nbd_export_write(c->export, q->offset, data, q->length);
    service_end(w, &service);
    union reply_head *h = &w->head[w->waiting++];
    bool sends_data = q->command == NBD_CMD_READ && !r;
    w->iov[w->iovcnt++] = (struct iovec){ h, sends_data ? data_head_fill(c, h, q, q->offset, q->length, true) :
                                          head_fill(c, h, q, r) };
    if (sends_data) {
        w->iov[w->iovcnt++] = (struct iovec){ data, q->length };
        w->used += q->length;
    }
    if (w->waiting == BATCH || PIECE - w->used < SMALL)
        replies_send(w);
}

/* Makes sure that somebody reads on, and lets go of the lock. */
static void hand_on(struct worker *w)
{
    struct nbd_client *c = w->c;
    if (!__atomic_load_n(&c->waiting, __ATOMIC_RELAXED) && __atomic_load_n(&c->threads, __ATOMIC_RELAXED) < THREADS)
        nbd_client_thread_start(c);
    pthread_mutex_unlock(&c->receive);
}

static void take_turn(struct nbd_client *c)
{
    __atomic_add_fetch(&c->waiting, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&c->receive);
    __atomic_sub_fetch(&c->waiting, 1, __ATOMIC_RELAXED);
}

/* A write of more than PIECE bytes is written as it comes in, by its reader. */
static int large_write(struct worker *w, struct request *q)
{
    int r = 0, io = 0;
    for (uint64_t done = 0; done < q->length && !io;) {
        size_t take = MIN(q->length - done, (uint64_t)PIECE);
        io = nbd_stream_recv(&w->c->stream, w->memory, take);
        if (!io && !r)
            r = nbd_export_write(w->c->export, q->offset + done, w->memory, take);
        done += take;
    }
    if (!io)
        reply(w, q, write_finish(w, q, r));
    return io;
}

/* Does one request; the receive lock is held before and after. 0, or -errno of a connection that is to end. */
static int request_serve(struct worker *w, struct request *q)
{
    struct nbd_client *c = w->c;
    int wrong = request_check(c, q);
    bool has_payload = q->command == NBD_CMD_WRITE;
    if (wrong) {
        int r = 0;
        if (has_payload)
            r = q->length > NBD_PAYLOAD_MAX ? -EPROTO : nbd_stream_skip(&c->stream, q->length);
        replies_send(w);
        if (!r)
            reply(w, q, wrong);
        return r;
    }
    bool small = is_small(q);
    if (!small)
        replies_send(w);
    if (has_payload && q->length > PIECE)
        return large_write(w, q);
    if (has_payload && q->length) {
        if (!nbd_stream_has(&c->stream, q->length))
            replies_send(w);
        int r = nbd_stream_recv(&c->stream, w->memory + w->used, q->length);
        if (r)
            return r;
    }
    if (small && __atomic_load_n(&c->service_ns, __ATOMIC_RELAXED) < QUICK_NS) {
        quick_run(w, q);
        return 0;
    }
    if (w->waiting) {
        size_t payload = w->used;
        replies_send(w);
        if (has_payload)
            memmove(w->memory, w->memory + payload, q->length);
    }
    hand_on(w);
    struct service service = service_begin(w, q->length);
    request_run(w, q);
    if (small)
        service_end(w, &service);
    take_turn(c);
    return 0;
}

static int request_receive(struct worker *w, struct request *q)
{
    struct nbd_client *c = w->c;
    struct nbd_wire_request wire;
    if (!nbd_stream_has(&c->stream, sizeof(wire)))
        replies_send(w);
    int r = nbd_stream_recv(&c->stream, &wire, sizeof(wire));
    if (r)
        return r;
    if (be32_get(wire.magic) != NBD_MAGIC_REQUEST) {
        nbd_server_note(c->server, "a client sent something that is no request; its connection ends");
        return -EPROTO;
    }
    *q = (struct request){ be16_get(wire.flags), be16_get(wire.command), wire.handle, be64_get(wire.offset),
                           be32_get(wire.length) };
    return 0;
}

void nbd_client_serve(struct nbd_client *c)
{
    struct worker w;
    void *memory = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        /* Others may go on; the last one finds nobody to serve its peer. */
        if (__atomic_load_n(&c->threads, __ATOMIC_RELAXED) == 1)
            end(c, true);
        return;
    }
    w.c = c;
    w.memory = memory;
    w.used = 0;
    w.waiting = w.watch = 0;
    w.iovcnt = 0;
    take_turn(c);
    while (!has_ended(c)) {
        struct request q;
        int r = request_receive(&w, &q);
        if (r || q.command == NBD_CMD_DISC)
            end(c, r && r != -ESHUTDOWN);
        else if ((r = request_serve(&w, &q)))
            end(c, true);
    }
    replies_send(&w);
    pthread_mutex_unlock(&c->receive);
    munmap(memory, PIECE);
}
