/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD client's reader: puts replies where they belong, straight into the memory of those who wait. The server is a
 * stranger: a reply must belong to a request in flight, data must lie inside of what was asked for, all of it must have
 * come, and what breaks these rules ends the connection for good. So does, until it is made anew, silence: requests that
 * are not answered for five minutes.
 *
 * Source: proto.md of the NetworkBlockDevice project.
 */
#include "block/nbd_client.h"

#include <errno.h>
#include <poll.h>

#include "base/bits.h"
#include "base/clock.h"
#include "block/nbd_wire.h"

enum { POLL_MS = 5000, MESSAGE_MAX = 4096 };
#define SILENCE_NS (300 * NS_PER_SECOND)

const char nbd_broken[] = "the server broke the connection";
const char nbd_silent[] = "the server has not answered for five minutes";

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

void nbd_slot_finish_locked(struct nbd_slot *s, int error)
{
    s->error = s->error ? s->error : error;
    s->finished = true;
    pthread_cond_signal(&s->done);
}

/* The request in flight that a handle means, or NULL. */
static struct nbd_slot *slot_of(struct nbd_client *c, uint64_t handle)
{
    struct nbd_slot *s = &c->slot[handle % NBD_SLOTS];
    pthread_mutex_lock(&c->lock);
    bool good = s->used && !s->finished && s->generation == handle / NBD_SLOTS;
    pthread_mutex_unlock(&c->lock);
    return good ? s : NULL;
}

static void slot_finish(struct nbd_client *c, struct nbd_slot *s, int error)
{
    pthread_mutex_lock(&c->lock);
    if (!s->error && !error && s->command == NBD_CMD_READ && s->received != s->length)
        error = -EIO;               /* not all of it came */
    nbd_slot_finish_locked(s, error);
    pthread_mutex_unlock(&c->lock);
}

/* Data for a part of a read go straight to the caller's memory. */
static int payload_receive(struct nbd_client *c, struct nbd_slot *s, size_t skip, size_t length)
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

static const char *simple_take(struct nbd_client *c)
{
    struct nbd_wire_simple h = { .magic = be32_make(NBD_MAGIC_SIMPLE_REPLY) };
    if (nbd_stream_recv(&c->stream, (uint8_t *)&h + sizeof(h.magic), sizeof(h) - sizeof(h.magic)))
        return nbd_broken;
    struct nbd_slot *s = slot_of(c, be64_get(h.handle));
    int error = error_of(be32_get(h.error));
    if (!s)
        return "the server answers what it was not asked";
    if (s->command == NBD_CMD_BLOCK_STATUS || (s->command == NBD_CMD_READ && c->x.structured))
        error = error ? error : -EIO;
    if (!error && s->command == NBD_CMD_READ) {
        if (payload_receive(c, s, 0, s->length))
            return nbd_broken;
        s->received = s->length;
    }
    slot_finish(c, s, error);
    return NULL;
}

/* A part of a read: its offset has to lie in what was asked for. */
static const char *data_chunk(struct nbd_client *c, struct nbd_slot *s, bool hole, uint32_t length)
{
    be64 offset;
    be32 zeroes = { 0 };
    if (s->command != NBD_CMD_READ || length < sizeof(offset) || (hole && length != sizeof(offset) + sizeof(zeroes)))
        return "the server sends data that were not asked for";
    if (nbd_stream_recv(&c->stream, &offset, sizeof(offset)) ||
        (hole && nbd_stream_recv(&c->stream, &zeroes, sizeof(zeroes))))
        return nbd_broken;
    uint64_t from = be64_get(offset), count = hole ? be32_get(zeroes) : length - sizeof(offset);
    if (from < s->offset || from - s->offset > s->length || count > s->length - (from - s->offset) || !count ||
        count > s->length - s->received)
        return "the server sends data outside of what was asked for";
    if (hole)
        block_iov_zero(s->iov, s->iovcnt, from - s->offset, count);
    else if (payload_receive(c, s, from - s->offset, count))
        return nbd_broken;
    s->received += count;
    return NULL;
}

static const char *status_chunk(struct nbd_client *c, struct nbd_slot *s, uint32_t length)
{
    struct { be32 context; struct nbd_wire_extent first; } __attribute__((packed)) x;
    if (s->command != NBD_CMD_BLOCK_STATUS || length < sizeof(x) || (length - sizeof(be32)) % sizeof(struct nbd_wire_extent) ||
        length > NBD_STREAM_BUFFER)
        return "the server sends a block status that was not asked for";
    if (nbd_stream_recv(&c->stream, &x, sizeof(x)) || nbd_stream_skip(&c->stream, length - sizeof(x)))
        return nbd_broken;
    if (be32_get(x.context) != c->x.allocation_id)
        return NULL;
    s->extent_length = be32_get(x.first.length);
    s->extent_flags = be32_get(x.first.flags);
    s->extent_seen = s->extent_length != 0;
    return NULL;
}

static const char *error_chunk(struct nbd_client *c, struct nbd_slot *s, uint32_t length)
{
    struct { be32 error; be16 length; } __attribute__((packed)) e;
    if (length < sizeof(e) || length > MESSAGE_MAX + sizeof(e) + sizeof(be64))
        return "the server sends an error of a wrong length";
    if (nbd_stream_recv(&c->stream, &e, sizeof(e)) || nbd_stream_skip(&c->stream, length - sizeof(e)))
        return nbd_broken;
    int error = error_of(be32_get(e.error));
    s->error = s->error ? s->error : error ? error : -EIO;
    return NULL;
}

static const char *chunk_take(struct nbd_client *c)
{
    struct nbd_wire_chunk h = { .magic = be32_make(NBD_MAGIC_CHUNK) };
    if (nbd_stream_recv(&c->stream, (uint8_t *)&h + sizeof(h.magic), sizeof(h) - sizeof(h.magic)))
        return nbd_broken;
    struct nbd_slot *s = slot_of(c, be64_get(h.handle));
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
static bool reply_wait(struct nbd_client *c)
{
    struct pollfd p = { .fd = c->stream.fd, .events = POLLIN };
    while (!nbd_stream_has(&c->stream, 1) && !(c->stream.tls && gnutls_record_check_pending(c->stream.tls))) {
        int r = poll(&p, 1, POLL_MS);
        if (r > 0)
            break;
        bool late = false;
        pthread_mutex_lock(&c->lock);
        for (unsigned i = 0; i < NBD_SLOTS; i++)
            late |= c->slot[i].used && !c->slot[i].finished && clock_host_ns() - c->slot[i].since_ns > SILENCE_NS;
        pthread_mutex_unlock(&c->lock);
        if (late || (r < 0 && errno != EINTR))
            return false;
    }
    return true;
}

const char *nbd_replies_take(struct nbd_client *c)
{
    const char *wrong = NULL;
    while (!wrong) {
        be32 magic;
        if (!reply_wait(c))
            wrong = nbd_silent;
        else if (nbd_stream_recv(&c->stream, &magic, sizeof(magic)))
            wrong = nbd_broken;
        else if (be32_get(magic) == NBD_MAGIC_SIMPLE_REPLY)
            wrong = simple_take(c);
        else if (be32_get(magic) == NBD_MAGIC_CHUNK)
            wrong = chunk_take(c);
        else
            wrong = "the server sends what is no reply";
    }
    return wrong;
}
