/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets between the guest and programs on the host, without a network: a queue of packets each way, and one for events (of which there are none,
 * since guests do not move). This file keeps connections and credit; virtio_vsock_host.c has the host's ends, which are Unix sockets.
 *
 * Both directions push back. To the guest: bytes are read from a socket straight into the guest's buffers when there is one and the program in the
 * guest has room; else they stay in the socket. From the guest: what a socket does not take is kept, and the guest knows that it may have at
 * most VSOCK_BUFFER_BYTES of that in flight. Connections with something for the guest take turns, a packet each.
 *
 * The guest is told of what it may not do by RST, as of a connection that does not exist. Only so many of those wait; then its
 * packets wait too until it has taken some (5.10.6.3 allows this much).
 * Limits: stream sockets only; VSOCK_CONNECTIONS_MAX connections; the host is CID 2, other CIDs do not exist.
 * Source: VIRTIO 1.2, section 5.10.
 */
#include "device/virtio/virtio_vsock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "device/virtio/virtio_vsock_private.h"

enum { F_STREAM = 0, QUEUE_RX = 0, QUEUE_TX = 1, QUEUE_EVENT = 2, QUEUES = 3, QUEUE_SIZE = 128, HOST_CID = 2, TYPE_STREAM = 1, PACKET_MAX = 64 << 10 };
enum { OP_REQUEST = 1, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW, OP_CREDIT_UPDATE, OP_CREDIT_REQUEST };

struct header {
    le64 src_cid, dst_cid;
    le32 src_port, dst_port, len;
    le16 type, op;
    le32 flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

static struct vsock *of(struct virtio *v) { return container_of(v, struct vsock, v); }

/* ---- connections ---- */

/* Who waits for nothing but a last word, or has not said yet what it wants, gives way. */
static bool room_make(struct vsock *s)
{
    struct vsock_connection *victim = NULL;

    for (struct vsock_connection *c = s->first; c; c = c->next)
        if (c->state != VSOCK_OPEN && c->state != VSOCK_REQUESTED) victim = c;         /* the oldest is the last */
    if (victim) vsock_connection_free(victim);
    return victim;
}

struct vsock_connection *vsock_connection_new(struct vsock *s, enum vsock_state state, int fd)
{
    struct vsock_connection *c;

    if (s->connections == VSOCK_CONNECTIONS_MAX && !room_make(s)) return NULL;
    c = calloc(1, sizeof(*c));
    if (!c) return NULL;
    c->s = s;
    c->state = state;
    c->fd = fd;
    c->next = s->first;
    s->first = c;
    s->connections++;
    return c;
}

void vsock_connection_free(struct vsock_connection *c)
{
    struct vsock *s = c->s;
    struct vsock_connection **at = &s->first;

    vsock_host_close(c);
    while (*at != c) at = &(*at)->next;
    *at = c->next;
    if (c->is_ready) {
        at = &s->ready;
        while (*at != c) at = &(*at)->next_ready;
        *at = c->next_ready;
        if (!*at) s->ready_last = at;
    }
    s->connections--;
    free(c);
}

static struct vsock_connection *find(struct vsock *s, uint32_t guest_port, uint32_t host_port)
{
    struct vsock_connection *c = s->first;

    while (c && (c->guest_port != guest_port || c->host_port != host_port || c->state == VSOCK_GREETING || c->state == VSOCK_DRAINING)) c = c->next;
    return c;
}

void vsock_due(struct vsock_connection *c, unsigned due)
{
    c->due |= due;
    if (c->is_ready) return;
    c->is_ready = true;
    c->next_ready = NULL;
    *c->s->ready_last = c;
    c->s->ready_last = &c->next_ready;
}

static struct vsock_connection *ready_take(struct vsock *s)
{
    struct vsock_connection *c = s->ready;

    if (!c) return NULL;
    if (!(s->ready = c->next_ready)) s->ready_last = &s->ready;
    c->is_ready = false;
    return c;
}

/* The host's end closes, the guest's gets a reset. */
static void kill_connection(struct vsock_connection *c)
{
    vsock_host_close(c);
    c->state = VSOCK_CLOSING;
    c->due = 0;
    vsock_due(c, DUE_RST);
}

void vsock_finish(struct vsock_connection *c) { kill_connection(c); }

/* ---- packets to the guest ---- */

static void packet_put(struct vsock *s, struct virtqueue *q, struct virtqueue_chain *chain, struct vsock_connection *c, unsigned op, uint32_t flags, uint32_t len)
{
    struct header h = {
        .src_cid = le64_make(HOST_CID), .dst_cid = le64_make(s->config.guest_cid), .src_port = le32_make(c->host_port), .dst_port = le32_make(c->guest_port),
        .len = le32_make(len), .type = le16_make(TYPE_STREAM), .op = le16_make((uint16_t)op), .flags = le32_make(flags),
        .buf_alloc = le32_make(VSOCK_BUFFER_BYTES), .fwd_cnt = le32_make(c->forwarded),
    };

    c->forwarded_told = c->forwarded;
    c->due &= ~(unsigned)DUE_CREDIT;
    virtqueue_write(q, chain, 0, &h, sizeof(h));
    virtqueue_push(q, chain, sizeof(h) + len);
}

static void reset_put(struct vsock *s, struct virtqueue *q, struct virtqueue_chain *chain)
{
    unsigned n = s->reset_first;
    struct header h = {
        .src_cid = le64_make(s->reset[n].cid), .dst_cid = le64_make(s->config.guest_cid), .src_port = le32_make(s->reset[n].from),
        .dst_port = le32_make(s->reset[n].to), .type = le16_make((uint16_t)s->reset[n].type), .op = le16_make(OP_RST),
    };

    s->reset_first = (n + 1) % VSOCK_RESETS_MAX;
    s->resets--;
    virtqueue_write(q, chain, 0, &h, sizeof(h));
    virtqueue_push(q, chain, sizeof(h));
    if (!s->tx_waits) return;
    s->tx_waits = false;
    virtio_notify_later(&s->v, QUEUE_TX);
}

/* What the guest's program has room for. */
static uint32_t credit(const struct vsock_connection *c)
{
    uint32_t in_flight = c->sent - c->peer_forwarded;

    return in_flight < c->peer_room ? c->peer_room - in_flight : 0;
}

/* The part of a chain behind the header, at most so many bytes. */
static unsigned payload(const struct iovec *from, unsigned pieces, uint64_t limit, struct iovec *to, unsigned most)
{
    uint64_t skip = sizeof(struct header);
    unsigned n = 0;

    for (unsigned i = 0; i < pieces && n < most && limit; i++) {
        size_t here = from[i].iov_len;

        if (skip >= here) {
            skip -= here;
            continue;
        }
        here = MIN(here - skip, limit);
        to[n++] = (struct iovec){ (uint8_t *)from[i].iov_base + skip, here };
        limit -= here;
        skip = 0;
    }
    return n;
}

/* Bytes of the host's socket; false: none now. */
static bool data_put(struct vsock_connection *c, struct virtqueue *q, struct virtqueue_chain *chain)
{
    struct iovec iov[VSOCK_PIECES_MAX];
    uint32_t room = MIN(credit(c), (uint32_t)PACKET_MAX);
    unsigned pieces = payload(chain->in, chain->in_count, room, iov, VSOCK_PIECES_MAX);
    size_t n;

    if (!room && !c->credit_asked) {                   /* it tells by itself, but who knows every driver */
        c->credit_asked = true;
        c->due |= DUE_CREDIT_REQUEST;
    }
    if (!room || !pieces) return false;
    n = vsock_host_read(c, iov, pieces);
    if (!n) return false;
    c->sent += (uint32_t)n;
    packet_put(c->s, q, chain, c, OP_RW, 0, (uint32_t)n);
    vsock_due(c, 0);
    return true;
}

static bool due_take(struct vsock_connection *c, unsigned due)
{
    bool was = c->due & due;

    c->due &= ~due;
    return was;
}

/* One packet of this connection; false: it has none. It may be gone afterwards. */
static bool connection_put(struct vsock_connection *c, struct virtqueue *q, struct virtqueue_chain *chain)
{
    static const struct { unsigned due; uint8_t op; } plain[] = {
        { DUE_REQUEST, OP_REQUEST }, { DUE_RESPONSE, OP_RESPONSE }, { DUE_CREDIT, OP_CREDIT_UPDATE }, { DUE_CREDIT_REQUEST, OP_CREDIT_REQUEST },
    };
    struct vsock *s = c->s;

    if (c->due & DUE_RST) {
        packet_put(s, q, chain, c, OP_RST, 0, 0);
        vsock_connection_free(c);
        return true;
    }
    if (!c->due && c->state == VSOCK_OPEN && c->readable && data_put(c, q, chain)) return true;
    for (unsigned i = 0; i < ARRAY_SIZE(plain); i++) {
        if (!due_take(c, plain[i].due)) continue;
        packet_put(s, q, chain, c, plain[i].op, 0, 0);
        if (c->due || c->readable) vsock_due(c, 0);
        return true;
    }
    if (!due_take(c, DUE_SHUTDOWN)) return false;
    packet_put(s, q, chain, c, OP_SHUTDOWN, c->host_shut, 0);
    if (c->host_shut == VSOCK_NEITHER) {
        vsock_host_close(c);
        c->state = VSOCK_CLOSING;
    } else if (c->readable) vsock_due(c, 0);
    return true;
}

static bool rx_serve(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *chain)
{
    struct vsock *s = of(v);
    struct vsock_connection *c;

    if (chain->in_bytes < sizeof(struct header)) {
        virtqueue_unpop(q, chain);
        virtio_broken(v, "a buffer for packets is smaller than their header");
        return false;
    }
    if (s->resets) {
        reset_put(s, q, chain);
        return true;
    }
    while ((c = ready_take(s)))
        if (connection_put(c, q, chain)) return true;
    virtqueue_unpop(q, chain);
    return false;
}

void vsock_pump(struct vsock *s)
{
    if (s->ready || s->resets) virtio_queue_notify(&s->v, QUEUE_RX);
}

/* ---- packets of the guest ---- */

static void refuse(struct vsock *s, const struct header *h)
{
    unsigned n = (s->reset_first + s->resets) % VSOCK_RESETS_MAX;

    if (le16_get(h->op) == OP_RST) return;             /* or it would never end */
    s->reset[n].cid = le64_get(h->dst_cid);
    s->reset[n].from = le32_get(h->dst_port);
    s->reset[n].to = le32_get(h->src_port);
    s->reset[n].type = le16_get(h->type);
    s->resets++;
}

static void guest_connects(struct vsock *s, const struct header *h)
{
    int fd = vsock_host_connect(s, le32_get(h->dst_port));
    struct vsock_connection *c = fd < 0 ? NULL : vsock_connection_new(s, VSOCK_OPEN, fd);

    if (!c) {
        if (fd >= 0) close(fd);
        refuse(s, h);
        return;
    }
    c->guest_port = le32_get(h->src_port);
    c->host_port = le32_get(h->dst_port);
    c->peer_room = le32_get(h->buf_alloc);
    c->peer_forwarded = le32_get(h->fwd_cnt);
    vsock_due(c, DUE_RESPONSE);
    vsock_host_watch(c);
}

static void guest_accepts(struct vsock_connection *c)
{
    if (c->state != VSOCK_REQUESTED || !vsock_host_welcome(c)) {
        kill_connection(c);
        return;
    }
    c->state = VSOCK_OPEN;
    vsock_host_watch(c);
}

/* What the host's program has not read yet is still its own. */
static void guest_resets(struct vsock_connection *c)
{
    if (c->state != VSOCK_OPEN || !c->count) {
        vsock_connection_free(c);
        return;
    }
    c->state = VSOCK_DRAINING;
    c->due = 0;
    c->readable = false;
    vsock_host_watch(c);
}

static void guest_sends(struct vsock_connection *c, struct virtqueue_chain *chain, uint32_t len)
{
    struct iovec *iov = chain->out;
    unsigned pieces;

    if (c->state == VSOCK_CLOSING) return;
    if (c->state != VSOCK_OPEN || c->guest_shut & VSOCK_NO_SEND || len > VSOCK_BUFFER_BYTES - c->count) {
        trace(TRACE_GUEST_ERRORS, "virtio-vsock: the guest sends what it may not, on port %u\n", c->guest_port);
        kill_connection(c);
        return;
    }
    pieces = payload(chain->out, chain->out_count, len, iov, chain->out_count);
    if (pieces) vsock_host_write(c, iov, pieces);
}

static void guest_shuts(struct vsock_connection *c, unsigned flags)
{
    c->guest_shut |= flags & VSOCK_NEITHER;
    if (c->state == VSOCK_CLOSING || c->state == VSOCK_REQUESTED || (c->guest_shut == VSOCK_NEITHER && !c->count)) vsock_finish(c);
    else vsock_host_shut(c);
}

static void connection_handle(struct vsock_connection *c, struct virtqueue_chain *chain, const struct header *h)
{
    if (le16_get(h->op) == OP_RST) {
        guest_resets(c);
        return;
    }
    if (c->due & DUE_RST) return;                      /* it is over */
    c->peer_room = le32_get(h->buf_alloc);
    c->peer_forwarded = le32_get(h->fwd_cnt);
    if (credit(c)) c->credit_asked = false;
    if (c->readable) vsock_due(c, 0);
    switch (le16_get(h->op)) {
    case OP_RESPONSE: guest_accepts(c); break;
    case OP_RW: guest_sends(c, chain, le32_get(h->len)); break;
    case OP_SHUTDOWN: guest_shuts(c, le32_get(h->flags)); break;
    case OP_CREDIT_UPDATE: break;
    case OP_CREDIT_REQUEST: vsock_due(c, DUE_CREDIT); break;
    default: kill_connection(c); break;
    }
}

static void packet_handle(struct vsock *s, struct virtqueue_chain *chain, const struct header *h)
{
    bool fits = le32_get(h->len) <= chain->out_bytes - sizeof(*h);
    struct vsock_connection *c = NULL;

    if (le64_get(h->src_cid) != s->config.guest_cid) {
        trace(TRACE_GUEST_ERRORS, "virtio-vsock: a packet from CID %llu, which is not the guest's\n", (unsigned long long)le64_get(h->src_cid));
        return;
    }
    if (le64_get(h->dst_cid) == HOST_CID && le16_get(h->type) == TYPE_STREAM) c = find(s, le32_get(h->src_port), le32_get(h->dst_port));
    else {
        refuse(s, h);
        return;
    }
    if (c && fits) connection_handle(c, chain, h);
    else if (c) kill_connection(c);
    else if (fits && le16_get(h->op) == OP_REQUEST) guest_connects(s, h);
    else refuse(s, h);
}

static bool tx_serve(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *chain)
{
    struct vsock *s = of(v);
    struct header h;

    if (s->resets == VSOCK_RESETS_MAX) {
        s->tx_waits = true;
        virtqueue_unpop(q, chain);
        return false;
    }
    if (virtqueue_read(chain, 0, &h, sizeof(h)) != sizeof(h)) {
        virtqueue_unpop(q, chain);
        virtio_broken(v, "a packet is shorter than its header");
        return false;
    }
    packet_handle(s, chain, &h);
    virtqueue_push(q, chain, 0);
    return true;
}

/* ---- life ---- */

static void notify(struct virtio *v, unsigned n)
{
    if (n == QUEUE_EVENT) return;                      /* buffers for events that never come */
    virtio_serve(v, n, n == QUEUE_RX ? rx_serve : tx_serve);
    virtio_interrupt(v, &v->queue[n]);
    if (n == QUEUE_TX) vsock_pump(of(v));
}

static void queue_stop(struct virtio *v, unsigned n) { }

static void reset(struct virtio *v)
{
    struct vsock *s = of(v);

    while (s->first) vsock_connection_free(s->first);
    s->resets = s->reset_first = 0;
    s->tx_waits = false;
}

static void destroy(struct virtio *v)
{
    struct vsock *s = of(v);

    reset(v);
    vsock_unlisten(s);
    virtio_fini(v);
    free(s->path);
    free(s);
}

static void info(struct virtio *v, void (*print)(void *opaque, const char *line), void *opaque)
{
    const struct vsock *s = of(v);
    char line[192];

    snprintf(line, sizeof(line), "CID %u, socket %s, %u connections", s->config.guest_cid, s->path, s->connections);
    print(opaque, line);
}

static const struct virtio_ops ops = {
    .name = "virtio-vsock-pci", .description = "sockets between host and guest", .type = VIRTIO_VSOCK, .pci_class = 0x078000, .notify = notify,
    .queue_stop = queue_stop, .reset = reset, .destroy = destroy, .info = info,
};

struct virtio *virtio_vsock_new(const struct virtio_vsock_config *config, struct error *err)
{
    struct vsock *s = calloc(1, sizeof(*s));
    uint16_t sizes[QUEUES] = { QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE };
    le64 cid = le64_make(config->guest_cid);

    if (!s) {
        error_set(err, "no memory for virtio-vsock");
        return NULL;
    }
    s->config = *config;
    s->path = strdup(config->path);
    s->listener = -1;
    s->ready_last = &s->ready;
    s->v.id = config->id;
    s->v.config_bytes = sizeof(cid);
    memcpy(s->v.config, &cid, sizeof(cid));
    if (s->path && virtio_init(&s->v, &ops, config->memory, BIT(F_STREAM), &config->options, QUEUES, sizes, err) == 0 && vsock_listen(s, err) == 0) return &s->v;
    destroy(&s->v);
    return NULL;
}
