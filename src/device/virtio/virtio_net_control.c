/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the driver asks for through the control queue: receive filters, its address, VLANs, announcements, number of queue pairs,
 * offloads. A request is class, command, and their data; one byte of answer follows.
 *
 * Address tables of more than 64 entries let all frames of their kind pass, as the specification allows.
 * Source: VIRTIO 1.2, section 5.1.6.5.
 */
#include <string.h>

#include "device/virtio/virtio_net_private.h"

enum { OK = 0, ERR = 1, MAC = 6 };
enum { CLASS_RX = 0, CLASS_MAC = 1, CLASS_VLAN = 2, CLASS_ANNOUNCE = 3, CLASS_MQ = 4, CLASS_GUEST_OFFLOADS = 5 };
enum { MAC_TABLE_SET = 0, MAC_ADDR_SET = 1, VLAN_ADD = 0, VLAN_DEL = 1, ANNOUNCE_ACK = 0, VQ_PAIRS_SET = 0, OFFLOADS_SET = 0 };
enum { TYPE_VLAN = 0x8100, HEAD_BYTES = 16, HEAD = 2 };

/* ---- filters ---- */

static bool table_has(const struct mac_table *t, const uint8_t *mac)
{
    for (unsigned i = 0; i < t->count; i++)
        if (!memcmp(t->mac[i], mac, MAC)) return true;
    return t->overflow;
}

static bool address_passes(const struct virtio_net *n, const uint8_t *to)
{
    static const uint8_t broadcast[MAC] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

    if (!memcmp(to, broadcast, MAC)) return !n->filter.no_broadcast;
    if (to[0] & 1) return !n->filter.no_multicast && (n->filter.all_multicast || table_has(&n->filter.multicast, to));
    if (n->filter.no_unicast) return false;
    return n->filter.all_unicast || !memcmp(to, n->mac, MAC) || table_has(&n->filter.unicast, to);
}

static bool head_read(const struct net_frame *f, uint8_t head[HEAD_BYTES])
{
    size_t have = 0;

    for (unsigned i = 0; i < f->count && have < HEAD_BYTES; i++) {
        size_t here = MIN(HEAD_BYTES - have, f->iov[i].iov_len);

        memcpy(head + have, f->iov[i].iov_base, here);
        have += here;
    }
    return have == HEAD_BYTES;
}

static bool is_tagged(const uint8_t *head) { return (head[12] << 8 | head[13]) == TYPE_VLAN; }

bool virtio_net_has_vlan(const struct net_frame *f)
{
    uint8_t head[HEAD_BYTES];

    return head_read(f, head) && is_tagged(head);
}

bool virtio_net_wants(const struct virtio_net *n, const struct net_frame *f)
{
    uint8_t head[HEAD_BYTES];

    if (n->filter.promiscuous) return true;
    if (!head_read(f, head)) return false;
    if (is_tagged(head)) {
        unsigned id = (head[14] << 8 | head[15]) & (VLANS - 1);

        if (!(n->vlan[id / 64] >> id % 64 & 1)) return false;
    }
    return address_passes(n, head);
}

static enum virtio_net_rx_state rx_state(bool none, bool all) { return none ? VIRTIO_NET_RX_NONE : all ? VIRTIO_NET_RX_ALL : VIRTIO_NET_RX_NORMAL; }

void virtio_net_rx_get(struct virtio *v, struct virtio_net_rx *rx)
{
    struct virtio_net *n = container_of(v, struct virtio_net, v);
    bool no_vlans = true;

    for (unsigned i = 0; i < ARRAY_SIZE(n->vlan); i++) no_vlans &= !n->vlan[i];
    *rx = (struct virtio_net_rx){
        .unicast = rx_state(n->filter.no_unicast, n->filter.all_unicast), .multicast = rx_state(n->filter.no_multicast, n->filter.all_multicast),
        .vlan = rx_state(no_vlans, !virtio_has(v, VIRTIO_NET_CTRL_VLAN)), .promiscuous = n->filter.promiscuous, .broadcast = !n->filter.no_broadcast,
        .unicast_overflow = n->filter.unicast.overflow, .multicast_overflow = n->filter.multicast.overflow, .mac = n->mac,
        .unicast_table = n->filter.unicast.mac, .unicast_count = n->filter.unicast.count, .multicast_table = n->filter.multicast.mac,
        .multicast_count = n->filter.multicast.count, .vlans = n->vlan, .vlan_count = VLANS,
    };
    n->rx_told = false;
}

static void rx_changed(struct virtio_net *n)
{
    if (n->rx_told || !n->config.filter_changed) return;
    n->rx_told = true;
    n->config.filter_changed(n->config.opaque, &n->v);
}

/* ---- requests ---- */

static int rx_mode(struct virtio_net *n, unsigned command, const struct virtqueue_chain *c)
{
    bool *const mode[] = { &n->filter.promiscuous, &n->filter.all_multicast, &n->filter.all_unicast, &n->filter.no_multicast, &n->filter.no_unicast,
                           &n->filter.no_broadcast };
    uint8_t on;

    if (command >= ARRAY_SIZE(mode) || c->out_bytes != HEAD + 1) return ERR;
    if (!virtio_has(&n->v, command < 2 ? VIRTIO_NET_CTRL_RX : VIRTIO_NET_CTRL_RX_EXTRA)) return ERR;
    virtqueue_read(c, HEAD, &on, 1);
    *mode[command] = on;
    return OK;
}

/* Entry count and entries at *at; moves *at behind them. */
static bool table_read(const struct virtqueue_chain *c, uint64_t *at, struct mac_table *t)
{
    le32 count;
    uint64_t bytes;

    *t = (struct mac_table){ .count = 0 };
    if (virtqueue_read(c, *at, &count, sizeof(count)) != sizeof(count)) return false;
    *at += sizeof(count);
    bytes = (uint64_t)le32_get(count) * MAC;
    if (bytes > c->out_bytes - *at) return false;
    if (le32_get(count) > MAC_TABLE_MAX) t->overflow = true;
    else {
        t->count = le32_get(count);
        virtqueue_read(c, *at, t->mac, bytes);
    }
    *at += bytes;
    return true;
}

static int mac_set(struct virtio_net *n, unsigned command, const struct virtqueue_chain *c)
{
    struct mac_table unicast, multicast;
    uint64_t at = HEAD;

    if (command == MAC_ADDR_SET) {
        if (!virtio_has(&n->v, VIRTIO_NET_CTRL_MAC_ADDR) || c->out_bytes != HEAD + MAC) return ERR;
        virtqueue_read(c, HEAD, n->mac, MAC);
        virtio_net_config_fill(n);
        return OK;
    }
    if (command != MAC_TABLE_SET || !virtio_has(&n->v, VIRTIO_NET_CTRL_RX)) return ERR;
    if (!table_read(c, &at, &unicast) || !table_read(c, &at, &multicast) || at != c->out_bytes) return ERR;
    n->filter.unicast = unicast;
    n->filter.multicast = multicast;
    return OK;
}

static int vlan_set(struct virtio_net *n, unsigned command, const struct virtqueue_chain *c)
{
    le16 wire;
    unsigned id;

    if (!virtio_has(&n->v, VIRTIO_NET_CTRL_VLAN) || command > VLAN_DEL || c->out_bytes != HEAD + sizeof(wire)) return ERR;
    virtqueue_read(c, HEAD, &wire, sizeof(wire));
    id = le16_get(wire);
    if (id >= VLANS) return ERR;
    if (command == VLAN_ADD) n->vlan[id / 64] |= BIT(id % 64);
    else n->vlan[id / 64] &= ~BIT(id % 64);
    return OK;
}

static int announce(struct virtio_net *n, unsigned command, const struct virtqueue_chain *c)
{
    if (command != ANNOUNCE_ACK || !n->announce) return ERR;
    n->announce = false;
    virtio_net_config_fill(n);
    return OK;
}

static int pairs_set(struct virtio_net *n, unsigned command, const struct virtqueue_chain *c)
{
    le16 wire;
    unsigned pairs;

    if (!virtio_has(&n->v, VIRTIO_NET_MQ) || command != VQ_PAIRS_SET || c->out_bytes != HEAD + sizeof(wire)) return ERR;
    virtqueue_read(c, HEAD, &wire, sizeof(wire));
    pairs = le16_get(wire);
    if (!pairs || pairs > n->pairs) return ERR;
    n->pairs_used = pairs;
    net_queues_set(n->config.backend, pairs);
    virtio_net_vhost_settle(n);
    return OK;
}

static int offloads_set(struct virtio_net *n, unsigned command, const struct virtqueue_chain *c)
{
    const uint64_t known = BIT(VIRTIO_NET_GUEST_CSUM) | BIT(VIRTIO_NET_GUEST_TSO4) | BIT(VIRTIO_NET_GUEST_TSO6) | BIT(VIRTIO_NET_GUEST_ECN);
    le64 wire;

    if (!virtio_has(&n->v, VIRTIO_NET_CTRL_GUEST_OFFLOADS) || command != OFFLOADS_SET || c->out_bytes != HEAD + sizeof(wire)) return ERR;
    virtqueue_read(c, HEAD, &wire, sizeof(wire));
    if (le64_get(wire) & ~(n->v.features & known)) return ERR;
    virtio_net_offloads_apply(n, le64_get(wire));
    return OK;
}

static int (*const classes[])(struct virtio_net *n, unsigned command, const struct virtqueue_chain *c) = {
    [CLASS_RX] = rx_mode, [CLASS_MAC] = mac_set, [CLASS_VLAN] = vlan_set, [CLASS_ANNOUNCE] = announce, [CLASS_MQ] = pairs_set,
    [CLASS_GUEST_OFFLOADS] = offloads_set,
};

bool virtio_net_control(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    struct virtio_net *n = container_of(v, struct virtio_net, v);
    uint8_t head[HEAD], answer;

    if (c->out_bytes < HEAD || !c->in_bytes) {
        virtio_broken(v, "a control request lacks its header or the byte for the answer");
        virtqueue_drop(q, c);
        return false;
    }
    virtqueue_read(c, 0, head, HEAD);
    answer = head[0] < ARRAY_SIZE(classes) ? (uint8_t)classes[head[0]](n, head[1], c) : ERR;
    if (answer == OK && head[0] <= CLASS_VLAN) rx_changed(n);
    virtqueue_write(q, c, 0, &answer, 1);
    virtqueue_push(q, c, 1);
    return true;
}
