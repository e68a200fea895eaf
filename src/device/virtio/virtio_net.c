/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network card. A frame goes from the guest's buffers to the backend as an I/O vector, on the thread that notified, and from the
 * backend straight into the guest's buffers; with mergeable buffers into as many as it takes. All offloads are on offer
 * whatever the backend: what it cannot do, net/backend.c does.
 *
 * The guest is asked to notify about buffers for receiving only while a frame waits for them. A batch of frames makes one
 * interrupt. What the driver asks for through the control queue is in virtio_net_control.c, a data path in the kernel in virtio_net_vhost.c.
 *
 * Limits: no UFO/USO, RSS, hash reports.
 * Source: VIRTIO 1.2, section 5.1.
 */
#include "device/virtio/virtio_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/virtio/virtio_net_private.h"

enum { DEFAULT_QUEUE_SIZE = 256, CONTROL_QUEUE_SIZE = 64, ETHER_BYTES = 14, LEGACY_HEADER = 10, PIECES_A_ROUND = 8192 };

struct header { struct net_header h; uint16_t num_buffers; } __attribute__((packed));

static struct virtio_net *of(struct virtio *v) { return container_of(v, struct virtio_net, v); }

/* 5.1.6.1: the last field is there with mergeable buffers, and always since 1.0. */
static unsigned header_bytes(const struct virtio *v)
{
    return virtio_is_modern(v) || virtio_has(v, VIRTIO_NET_MRG_RXBUF) ? sizeof(struct header) : LEGACY_HEADER;
}

static unsigned control_queue(const struct virtio_net *n)
{
    return n->config.multiqueue && virtio_has(&n->v, VIRTIO_NET_MQ) ? 2 * n->pairs : 2;
}

/* ---- from the guest ---- */

/* What was not agreed on is not looked at. */
static bool header_is_fine(const struct virtio *v, struct net_header *h)
{
    static const uint8_t feature[] = { [NET_GSO_TCPV4] = VIRTIO_NET_HOST_TSO4, [NET_GSO_TCPV6] = VIRTIO_NET_HOST_TSO6 };
    unsigned type = h->gso_type & ~NET_GSO_ECN;

    h->flags &= virtio_has(v, VIRTIO_NET_CSUM) ? NET_NEEDS_CSUM : 0;
    if (h->gso_type == NET_GSO_NONE) return true;
    if (type >= ARRAY_SIZE(feature) || !feature[type] || !virtio_has(v, feature[type])) return false;
    if (h->gso_type & NET_GSO_ECN && !virtio_has(v, VIRTIO_NET_HOST_ECN)) return false;
    return h->flags & NET_NEEDS_CSUM && h->gso_bytes;
}

static bool transmit(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    struct virtio_net *n = of(v);
    unsigned pair = (unsigned)(q - v->queue) / 2, skip = header_bytes(v);
    struct header h = { .num_buffers = 0 };
    struct net_frame f;
    struct iovec *iov = c->out;

    if (c->out_bytes < skip) {
        virtio_broken(v, "a frame is shorter than its header");
        virtqueue_drop(q, c);
        return false;
    }
    virtqueue_read(c, 0, &h, skip);
    f = (struct net_frame){ .header = h.h, .bytes = c->out_bytes - skip };
    f.count = virtqueue_iov_skip(&iov, c->out_count, skip);
    f.iov = iov;
    if (f.bytes < ETHER_BYTES || f.bytes > NET_FRAME_MAX || !header_is_fine(v, &f.header)) n->wrong++;
    else if (!net_send(n->config.backend, pair % net_queues(n->config.backend), &f)) {
        virtqueue_unpop(q, c);                           /* send_ready comes */
        return false;
    }
    virtqueue_push(q, c, 0);
    n->pieces += net_send_pieces(n->config.backend, &f);
    if (n->pieces < PIECES_A_ROUND) return true;
    virtio_notify_later(v, (unsigned)(q - v->queue));    /* so that others get their turn */
    return false;
}

static void notify(struct virtio *v, unsigned queue)
{
    struct virtio_net *n = of(v);
    struct virtqueue *q = &v->queue[queue];

    if (virtio_net_vhost_kick(n, queue)) return;
    if (queue == control_queue(n)) {
        virtio_serve(v, queue, virtio_net_control);
        virtio_interrupt(v, q);
    } else if (queue >= 2 * n->pairs) {
        return;                                          /* the control queue's place, if there were more pairs */
    } else if (queue & 1) {
        n->pieces = 0;
        virtio_serve(v, queue, transmit);
        net_send_end(n->config.backend, queue / 2);
        virtio_interrupt(v, q);
    } else {
        virtqueue_notifications_set(q, false);
        if (n->starved[queue / 2]) {
            n->starved[queue / 2] = false;
            net_receive_ready(n->config.backend, queue / 2);
        }
    }
}

static void send_ready(void *opaque, unsigned queue)
{
    struct virtio_net *n = opaque;

    for (unsigned pair = queue; pair < n->pairs; pair += net_queues(n->config.backend)) virtio_queue_notify(&n->v, 2 * pair + 1);
}

/* ---- to the guest ---- */

/* Chains for bytes; 0: there are not enough, and all are in the ring again. */
static unsigned chains_take(struct virtio *v, unsigned queue, size_t bytes, struct virtqueue_chain **chain)
{
    bool mergeable = virtio_has(v, VIRTIO_NET_MRG_RXBUF);
    unsigned count = 0;
    size_t room = 0;

    while (room < bytes && count < RX_CHAINS_MAX && (mergeable || !count)) {
        chain[count] = virtio_pop(v, queue);
        if (!chain[count]) break;
        room += chain[count++]->in_bytes;
    }
    if (count && room >= bytes) return count;
    /* A buffer without merging that is too small stays so: the frame is the one to go. */
    if (count && !mergeable) of(v)->wrong++;
    while (count) virtqueue_unpop(&v->queue[queue], chain[--count]);
    return 0;
}

struct cursor { struct virtqueue_chain **chain; unsigned piece; size_t at; };

/* Copies to where the cursor is, over pieces and chains. The chain's part that is filled counts in its owner field. */
static void put(struct cursor *to, const uint8_t *data, size_t size)
{
    while (size) {
        struct virtqueue_chain *c = *to->chain;
        size_t here;

        if (to->piece == c->in_count) {
            to->chain++;
            to->piece = 0;
            continue;
        }
        here = MIN(size, c->in[to->piece].iov_len - to->at);
        memcpy((uint8_t *)c->in[to->piece].iov_base + to->at, data, here);
        c->owner = (void *)((uintptr_t)c->owner + here);
        data += here;
        size -= here;
        to->at += here;
        if (to->at < c->in[to->piece].iov_len) continue;
        to->piece++;
        to->at = 0;
    }
}

static void frame_put(struct virtio_net *n, unsigned queue, const struct net_frame *f, struct virtqueue_chain **chain, unsigned count)
{
    struct header h = { .h = f->header, .num_buffers = (uint16_t)count };
    struct cursor to = { chain, 0, 0 };
    uint32_t written[RX_CHAINS_MAX];

    for (unsigned i = 0; i < count; i++) chain[i]->owner = NULL;
    h.h.flags &= virtio_has(&n->v, VIRTIO_NET_GUEST_CSUM) ? NET_NEEDS_CSUM | NET_DATA_VALID : 0;
    put(&to, (const uint8_t *)&h, header_bytes(&n->v));
    for (unsigned i = 0; i < f->count; i++) put(&to, f->iov[i].iov_base, f->iov[i].iov_len);
    for (unsigned i = 0; i < count; i++) written[i] = (uint32_t)(uintptr_t)chain[i]->owner;
    virtqueue_push_together(&n->v.queue[queue], chain, written, count);
}

/* 5.1.4.1: whoever took the MTU is not given longer frames, but for the segmentation it asked for. */
static bool is_too_long(const struct virtio_net *n, const struct net_frame *f)
{
    enum { VLAN_TAG = 4 };                               /* is part of the header, if there is one */
    size_t most = ETHER_BYTES + (size_t)n->config.mtu;

    if (!virtio_has(&n->v, VIRTIO_NET_MTU) || f->header.gso_type & ~NET_GSO_ECN || f->bytes <= most) return false;
    return f->bytes > most + VLAN_TAG || !virtio_net_has_vlan(f);
}

static bool receive(void *opaque, unsigned backend_queue, const struct net_frame *f)
{
    struct virtqueue_chain *chain[RX_CHAINS_MAX];
    struct virtio_net *n = opaque;
    unsigned pair = backend_queue % n->pairs_used, queue = 2 * pair, count;
    struct virtqueue *q = &n->v.queue[queue];
    uint64_t wrong = n->wrong;

    if (!virtio_is_live(&n->v, q) || virtio_net_vhost_serves(n, pair)) return true;   /* a card without a driver: the wire ends here */
    if (is_too_long(n, f)) {
        n->wrong++;
        return true;
    }
    if (!virtio_net_wants(n, f)) return true;
    while (!(count = chains_take(&n->v, queue, header_bytes(&n->v) + f->bytes, chain))) {
        if (n->wrong != wrong || !virtio_is_live(&n->v, q)) return true;
        if (n->starved[pair]) return false;
        n->starved[pair] = true;
        virtqueue_notifications_set(q, true);            /* and look once more */
    }
    if (n->starved[pair]) {
        n->starved[pair] = false;
        virtqueue_notifications_set(q, false);
    }
    frame_put(n, queue, f, chain, count);
    n->filled[pair] = true;
    return true;
}

static void received(void *opaque, unsigned backend_queue)
{
    struct virtio_net *n = opaque;
    unsigned pair = backend_queue % n->pairs_used;

    if (!n->filled[pair]) return;
    n->filled[pair] = false;
    virtio_interrupt(&n->v, &n->v.queue[2 * pair]);
}

/* ---- configuration and state ---- */

void virtio_net_config_fill(struct virtio_net *n)
{
    const struct virtio_net_config *c = &n->config;
    struct virtio_net_layout *l = (struct virtio_net_layout *)n->v.config;

    *l = (struct virtio_net_layout){
        .status = le16_make((uint16_t)((net_link_is_up(c->backend) ? STATUS_LINK_UP : 0) | (n->announce ? STATUS_ANNOUNCE : 0))),
        .max_virtqueue_pairs = le16_make((uint16_t)n->pairs), .mtu = le16_make(c->mtu), .speed = le32_make((uint32_t)c->speed_mbit),
        .duplex = !c->half_duplex,
    };
    memcpy(l->mac, n->mac, sizeof(l->mac));
}

/* Drivers of before the control queue set their address here. */
static void config_written(struct virtio *v, unsigned offset, unsigned size)
{
    struct virtio_net *n = of(v);

    if (!virtio_has(v, VIRTIO_NET_CTRL_MAC_ADDR) && !virtio_is_modern(v)) memcpy(n->mac, v->config, sizeof(n->mac));
    virtio_net_config_fill(n);
}

static void link_changed(void *opaque, bool up)
{
    struct virtio_net *n = opaque;

    virtio_net_config_fill(n);
    if (virtio_has(&n->v, VIRTIO_NET_STATUS)) virtio_config_changed(&n->v);
    virtio_net_vhost_settle(n);
}

static void live_changed(struct virtio *v) { virtio_net_vhost_settle(of(v)); }
static void runs_changed(void *opaque) { virtio_net_vhost_settle(opaque); }

void virtio_net_announce(struct virtio *v)
{
    struct virtio_net *n = of(v);

    if (!virtio_has(v, VIRTIO_NET_GUEST_ANNOUNCE)) return;
    n->announce = true;
    virtio_net_config_fill(n);
    virtio_config_changed(v);
}

void virtio_net_offloads_apply(struct virtio_net *n, uint64_t features)
{
    static const struct { uint8_t feature, offload; } map[] = {
        { VIRTIO_NET_GUEST_CSUM, NET_CSUM }, { VIRTIO_NET_GUEST_TSO4, NET_TSO4 }, { VIRTIO_NET_GUEST_TSO6, NET_TSO6 }, { VIRTIO_NET_GUEST_ECN, NET_ECN },
    };
    unsigned offloads = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
        if (features >> map[i].feature & 1) offloads |= map[i].offload;
    net_offloads_set(n->config.backend, offloads & NET_CSUM ? offloads : 0);
}

static void driver_ok(struct virtio *v)
{
    struct virtio_net *n = of(v);

    virtio_net_offloads_apply(n, v->features);
    /* 5.1.5: without the feature there is no filter. */
    memset(n->vlan, virtio_has(v, VIRTIO_NET_CTRL_VLAN) ? 0 : 0xff, sizeof(n->vlan));
}

static void queue_stop(struct virtio *v, unsigned queue)
{
    struct virtio_net *n = of(v);

    virtio_net_vhost_queue_stop(n, queue);
    /* Nothing is in flight between two calls. A frame that waits for a buffer comes when the queue has some again. */
    if (queue < 2 * n->pairs && !(queue & 1)) n->filled[queue / 2] = false;
}

static void reset(struct virtio *v)
{
    struct virtio_net *n = of(v);

    memcpy(n->mac, n->config.mac, sizeof(n->mac));
    memset(&n->filter, 0, sizeof(n->filter));
    memset(n->vlan, 0xff, sizeof(n->vlan));
    n->filter.promiscuous = true;                        /* for drivers without CTRL_RX */
    n->announce = false;
    n->pairs_used = 1;
    memset(n->starved, 0, n->pairs * sizeof(*n->starved));
    net_offloads_set(n->config.backend, 0);
    net_queues_set(n->config.backend, 1);
    virtio_net_config_fill(n);
    virtio_net_vhost_reset(n);
    net_resume(n->config.backend);                       /* what waits for buffers of the old driver goes to nobody */
}

static void destroy(struct virtio *v)
{
    struct virtio_net *n = of(v);

    if (n->attached) net_attach(n->config.backend, NULL);
    virtio_net_vhost_free(n);
    virtio_fini(v);
    free(n->starved);
    free(n);
}

static void info(struct virtio *v, void (*print)(void *opaque, const char *line), void *opaque)
{
    const struct virtio_net *n = of(v);
    uint64_t sent, got, dropped;
    char line[240];

    net_counts(n->config.backend, &sent, &got, &dropped);
    snprintf(line, sizeof(line), "mac %02x:%02x:%02x:%02x:%02x:%02x, link %s, %u of %u queue pairs, %u served by the kernel%s, %llu frames sent, %llu received, %llu dropped, %llu wrong",
             n->mac[0], n->mac[1], n->mac[2], n->mac[3], n->mac[4], n->mac[5], net_link_is_up(n->config.backend) ? "up" : "down", n->pairs_used, n->pairs, virtio_net_vhost_served(n),
             n->filter.promiscuous ? ", promiscuous" : "", (unsigned long long)sent, (unsigned long long)got, (unsigned long long)dropped,
             (unsigned long long)n->wrong);
    print(opaque, line);
}

static const struct virtio_ops ops = {
    .name = "virtio-net-pci", .description = "virtio network card", .type = VIRTIO_NET, .pci_class = 0x020000, .notify = notify,
    .config_written = config_written, .driver_ok = driver_ok, .live_changed = live_changed, .queue_stop = queue_stop, .reset = reset, .destroy = destroy, .info = info,
};

/* ---- life ---- */

/* What depends on something that was left out goes with it (5.1.3.1). */
static uint64_t features(const struct virtio_net_config *c)
{
    static const struct { uint8_t feature, needs; } rules[] = {
        { VIRTIO_NET_HOST_TSO4, VIRTIO_NET_CSUM }, { VIRTIO_NET_HOST_TSO6, VIRTIO_NET_CSUM }, { VIRTIO_NET_GUEST_TSO4, VIRTIO_NET_GUEST_CSUM },
        { VIRTIO_NET_GUEST_TSO6, VIRTIO_NET_GUEST_CSUM }, { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_VQ }, { VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VQ },
        { VIRTIO_NET_CTRL_RX_EXTRA, VIRTIO_NET_CTRL_VQ }, { VIRTIO_NET_GUEST_ANNOUNCE, VIRTIO_NET_CTRL_VQ }, { VIRTIO_NET_MQ, VIRTIO_NET_CTRL_VQ },
        { VIRTIO_NET_CTRL_MAC_ADDR, VIRTIO_NET_CTRL_VQ }, { VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_VQ },
    };
    uint64_t f = BIT(VIRTIO_NET_CSUM) | BIT(VIRTIO_NET_GUEST_CSUM) | BIT(VIRTIO_NET_CTRL_GUEST_OFFLOADS) | BIT(VIRTIO_NET_MAC) | BIT(VIRTIO_NET_GUEST_TSO4) |
                 BIT(VIRTIO_NET_GUEST_TSO6) | BIT(VIRTIO_NET_GUEST_ECN) | BIT(VIRTIO_NET_HOST_TSO4) | BIT(VIRTIO_NET_HOST_TSO6) | BIT(VIRTIO_NET_HOST_ECN) |
                 BIT(VIRTIO_NET_MRG_RXBUF) | BIT(VIRTIO_NET_STATUS) | BIT(VIRTIO_NET_CTRL_VQ) | BIT(VIRTIO_NET_CTRL_RX) | BIT(VIRTIO_NET_CTRL_VLAN) |
                 BIT(VIRTIO_NET_CTRL_RX_EXTRA) | BIT(VIRTIO_NET_GUEST_ANNOUNCE) | BIT(VIRTIO_NET_CTRL_MAC_ADDR);

    if (c->multiqueue) f |= BIT(VIRTIO_NET_MQ);
    if (c->mtu) f |= BIT(VIRTIO_NET_MTU);
    if (c->speed_mbit) f |= BIT(VIRTIO_NET_SPEED_DUPLEX);
    f &= ~c->left_out;
    for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
        if (!(f >> rules[i].needs & 1)) f &= ~BIT(rules[i].feature);
    if (!(f & (BIT(VIRTIO_NET_HOST_TSO4) | BIT(VIRTIO_NET_HOST_TSO6)))) f &= ~BIT(VIRTIO_NET_HOST_ECN);
    if (!(f & (BIT(VIRTIO_NET_GUEST_TSO4) | BIT(VIRTIO_NET_GUEST_TSO6)))) f &= ~BIT(VIRTIO_NET_GUEST_ECN);
    return f;
}

/* It ends with the last field that a feature brings. */
static unsigned config_bytes(uint64_t f)
{
    return f & BIT(VIRTIO_NET_SPEED_DUPLEX) ? sizeof(struct virtio_net_layout) : f & BIT(VIRTIO_NET_MTU) ? offsetof(struct virtio_net_layout, speed) :
           f & BIT(VIRTIO_NET_MQ) ? offsetof(struct virtio_net_layout, mtu) : f & BIT(VIRTIO_NET_STATUS) ?
           offsetof(struct virtio_net_layout, max_virtqueue_pairs) : offsetof(struct virtio_net_layout, status);
}

struct virtio *virtio_net_new(const struct virtio_net_config *config, struct error *err)
{
    struct virtio_net *n = calloc(1, sizeof(*n));
    struct net_frontend f = { "virtio-net-pci", receive, received, send_ready, link_changed, runs_changed, n };
    uint16_t sizes[2 * VIRTIO_NET_PAIRS_MAX + 1];
    uint64_t offered = features(config);

    if (!n) {
        error_set(err, "no memory for a virtio network card");
        return NULL;
    }
    n->config = *config;
    n->pairs = config->multiqueue ? MIN(net_queues(config->backend), (unsigned)VIRTIO_NET_PAIRS_MAX) : 1;
    for (unsigned pair = 0; pair < n->pairs; pair++) {
        sizes[2 * pair] = config->rx_queue_size ? config->rx_queue_size : DEFAULT_QUEUE_SIZE;
        sizes[2 * pair + 1] = config->tx_queue_size ? config->tx_queue_size : DEFAULT_QUEUE_SIZE;
    }
    sizes[2 * n->pairs] = CONTROL_QUEUE_SIZE;
    n->v.id = config->id;
    n->v.config_bytes = config_bytes(offered);
    n->starved = calloc(n->pairs, 2 * sizeof(*n->starved));
    n->filled = n->starved + n->pairs;
    n->pairs_used = 1;
    if (!n->starved || virtio_init(&n->v, &ops, config->memory, offered, &config->options,
                                   2 * n->pairs + (offered >> VIRTIO_NET_CTRL_VQ & 1), sizes, err) < 0 || virtio_net_vhost_new(n, err) < 0) {
        destroy(&n->v);
        return NULL;
    }
    net_attach(config->backend, &f);
    n->attached = true;
    reset(&n->v);
    return &n->v;
}
