/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all backends share: the pair of card and backend, the cable between them (set_link), and the work on frames that one
 * side gives and the other cannot take. Such a frame is copied, and finished or cut, here; one that both understand
 * goes through as it is. While the guest stands still nothing is delivered.
 */
#include "net/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "net/backend_private.h"
#include "net/offload.h"
#include "net/vhost.h"

int net_backend_init(struct net_backend *b, const struct net_backend_ops *ops, const char *id, struct error *err)
{
    b->ops = ops;
    b->id = strdup(id);
    b->queues = b->queues_used = 1;
    return b->id ? 0 : error_set(err, "no memory for network backend %s", id);
}

void net_backend_fini(struct net_backend *b)
{
    if (b->dump) net_dump_free(b->dump);
    net_vhost_close(b->vhost);
    free(b->scratch);
    free(b->id);
}

void net_free(struct net_backend *b)
{
    if (b) b->ops->destroy(b);
}

/* ---- the pair ---- */

void net_attach(struct net_backend *b, const struct net_frontend *f)
{
    b->has_frontend = f != NULL;
    b->frontend = f ? *f : (struct net_frontend){ .name = NULL };
    b->frontend_offloads = 0;
    b->queues_used = 1;
    b->given.pieces = 0;
    b->card_down = false;
    if (b->ops->changed) b->ops->changed(b);
    if (!f) net_resume(b);                               /* what waits for the old card's room goes to nobody, and others may follow */
}

bool net_is_attached(const struct net_backend *b) { return b->has_frontend; }
const char *net_id(const struct net_backend *b) { return b->id; }
unsigned net_queues(const struct net_backend *b) { return b->queues; }
bool net_link_is_up(const struct net_backend *b) { return !b->network_down && !b->card_down; }

static void link_set(struct net_backend *b, bool network_down, bool card_down)
{
    bool was_up = net_link_is_up(b);

    b->network_down = network_down;
    b->card_down = card_down;
    if (net_link_is_up(b) == was_up) return;
    b->given.pieces = 0;
    if (b->has_frontend && b->frontend.link_changed) b->frontend.link_changed(b->frontend.opaque, !was_up);
    if (!was_up) net_resume(b);
}

void net_link_set(struct net_backend *b, bool up) { link_set(b, !up, !up); }
void net_card_link_set(struct net_backend *b, bool up) { link_set(b, b->network_down, !up); }

void net_offloads_set(struct net_backend *b, unsigned offloads)
{
    if (b->frontend_offloads == offloads) return;
    b->frontend_offloads = offloads;
    if (b->ops->changed) b->ops->changed(b);
}

void net_queues_set(struct net_backend *b, unsigned queues)
{
    if (b->queues_used == queues || queues > b->queues) return;
    b->queues_used = queues;
    if (b->ops->changed) b->ops->changed(b);
}

void net_receive_ready(struct net_backend *b, unsigned queue)
{
    if (queue < b->queues && b->ops->ready) b->ops->ready(b, queue);
}

void net_resume(struct net_backend *b)
{
    for (unsigned q = 0; q < b->queues; q++) net_receive_ready(b, q);
}

/* A reverse ARP request (RFC 903): bridges learn from whom it comes. */
void net_announce(struct net_backend *b, const uint8_t mac[6])
{
    static const uint8_t kind[] = { 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3 };
    uint8_t frame[60] = { 0 };
    struct iovec iov = { frame, sizeof(frame) };

    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    memcpy(frame + 12, kind, sizeof(kind));
    memcpy(frame + 22, mac, 6);
    memcpy(frame + 32, mac, 6);
    net_send(b, 0, &(struct net_frame){ .iov = &iov, .count = 1, .bytes = sizeof(frame) });
    net_send_end(b, 0);
}

void net_runs_changed(struct net_backend *b)
{
    if (b->has_frontend && b->frontend.runs_changed) b->frontend.runs_changed(b->frontend.opaque);
}

void net_send_ready(struct net_backend *b, unsigned queue)
{
    if (b->has_frontend && b->frontend.send_ready) b->frontend.send_ready(b->frontend.opaque, queue);
}

void net_describe(const struct net_backend *b, char *text, size_t size)
{
    int n = snprintf(text, size, "%s: index=0,type=%s%s", b->id, b->ops->type, b->network_down ? ",link=off" : "");

    if (n > 0 && (size_t)n < size && b->ops->describe) b->ops->describe(b, text + n, size - (size_t)n);
}

/* ---- frames ---- */

size_t net_frame_copy(const struct net_frame *f, uint8_t *to)
{
    size_t done = 0;

    for (unsigned i = 0; i < f->count && done < NET_FRAME_MAX; i++) {
        size_t here = MIN(f->iov[i].iov_len, NET_FRAME_MAX - done);

        memcpy(to + done, f->iov[i].iov_base, here);
        done += here;
    }
    return done;
}

static unsigned offloads_needed(const struct net_header *h)
{
    static const uint8_t gso[] = { [NET_GSO_TCPV4] = NET_TSO4, [NET_GSO_TCPV6] = NET_TSO6 };
    unsigned type = h->gso_type & ~NET_GSO_ECN;

    if (type == NET_GSO_NONE) return h->flags & NET_NEEDS_CSUM ? NET_CSUM : 0;
    if (h->gso_bytes < NET_GSO_LEAST) return ~0u;        /* thousands of frames for one */
    if (type >= ARRAY_SIZE(gso) || !gso[type]) return ~0u;   /* nobody takes it */
    return gso[type] | NET_CSUM | (h->gso_type & NET_GSO_ECN ? NET_ECN : 0);
}

typedef bool frame_fn(struct net_backend *b, unsigned queue, const struct net_frame *f);
struct way { struct net_backend *b; unsigned queue; frame_fn *fn; unsigned skip, taken; bool refused; };

static bool emit(void *opaque, const struct net_frame *f)
{
    struct way *w = opaque;

    if (w->taken >= w->skip) w->refused = !w->fn(w->b, w->queue, f);
    w->taken += !w->refused;
    return !w->refused;
}

/* Hands f on by fn as one that needs no offloads, or as several, but for the first few. *taken: how many are through. false: there is
 * no room for more. */
static bool finish_and(struct net_backend *b, unsigned queue, const struct net_frame *f, frame_fn *fn, unsigned skip, unsigned *taken)
{
    struct way w = { .b = b, .queue = queue, .fn = fn, .skip = skip };
    bool good = false;
    size_t size;

    if (!b->scratch) b->scratch = malloc(NET_FRAME_MAX);
    if (b->scratch && f->bytes <= NET_FRAME_MAX) {
        size = net_frame_copy(f, b->scratch);
        if (f->header.gso_type) good = net_gso_cut(b->scratch, size, &f->header, emit, &w);
        else if ((good = net_csum_finish(b->scratch, size, &f->header))) {
            struct iovec piece = { b->scratch, size };
            struct net_frame plain = { .header = { .flags = NET_DATA_VALID }, .iov = &piece, .count = 1, .bytes = size };

            emit(&w, &plain);
        }
    }
    if (!good && !w.refused) b->dropped++;
    *taken = w.taken;
    return !w.refused;
}

static bool send_plain(struct net_backend *b, unsigned queue, const struct net_frame *f) { return b->ops->send(b, queue, f); }

bool net_send(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    unsigned needed = offloads_needed(&f->header), taken;

    if (!net_link_is_up(b) || queue >= b->queues) return true;
    if (b->ops->is_busy && b->ops->is_busy(b, queue)) return false;
    if (needed & ~b->offloads) {
        if (!finish_and(b, queue, f, send_plain, 0, &taken) && !taken) return false;   /* the rest is lost, as on a wire */
    } else if (!b->ops->send(b, queue, f)) return false;
    b->sent++;
    b->sent_bytes += f->bytes;
    if (b->dump) net_dump_frame(b->dump, f, false);
    return true;
}

unsigned net_send_pieces(const struct net_backend *b, const struct net_frame *f)
{
    unsigned needed = offloads_needed(&f->header);

    return needed != ~0u && needed & ~b->offloads && f->header.gso_type ? (unsigned)(f->bytes / f->header.gso_bytes) + 1 : 1;
}

void net_send_end(struct net_backend *b, unsigned queue)
{
    if (b->ops->sent && queue < b->queues) b->ops->sent(b, queue);
}

static bool receive_plain(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    return b->frontend.receive(b->frontend.opaque, queue, f);
}

/* A small card has no room for all pieces of a large frame at once: which it has is kept until the frame comes again. */
static bool deliver_pieces(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    bool again = b->given.pieces && b->given.queue == queue && b->given.bytes == f->bytes;
    unsigned taken;
    bool done = finish_and(b, queue, f, receive_plain, again ? b->given.pieces : 0, &taken);

    b->given.queue = queue;
    b->given.bytes = f->bytes;
    b->given.pieces = done ? 0 : taken;
    return done;
}

bool net_deliver(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    unsigned needed = offloads_needed(&f->header);

    if (!b->has_frontend || !net_link_is_up(b)) {
        b->dropped++;
        return true;
    }
    if (!clock_virtual_is_running()) return false;
    if (needed & ~b->frontend_offloads) {
        if (!deliver_pieces(b, queue, f)) return false;
    } else if (!receive_plain(b, queue, f)) return false;
    b->received++;
    b->received_bytes += f->bytes;
    if (b->dump) net_dump_frame(b->dump, f, true);
    return true;
}

void net_delivered(struct net_backend *b, unsigned queue)
{
    if (b->has_frontend && b->frontend.received) b->frontend.received(b->frontend.opaque, queue);
}

void net_counts(const struct net_backend *b, uint64_t *sent, uint64_t *received, uint64_t *dropped)
{
    *sent = b->sent;
    *received = b->received;
    *dropped = b->dropped;
}

void net_bytes(const struct net_backend *b, uint64_t *sent, uint64_t *received)
{
    *sent = b->sent_bytes;
    *received = b->received_bytes;
}

/* ---- none ---- */

static bool none_send(struct net_backend *b, unsigned queue, const struct net_frame *f) { return true; }

static void none_destroy(struct net_backend *b)
{
    net_backend_fini(b);
    free(b);
}

static const struct net_backend_ops none_ops = { .type = "none", .send = none_send, .destroy = none_destroy };

struct net_backend *net_none_new(const char *id, struct error *err)
{
    struct net_backend *b = calloc(1, sizeof(*b));

    if (b && net_backend_init(b, &none_ops, id, err) == 0) {
        b->offloads = NET_ALL_OFFLOADS;
        return b;
    }
    free(b);
    return NULL;
}
