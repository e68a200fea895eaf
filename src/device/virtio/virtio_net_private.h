/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State of a virtio network card: the data path is virtio_net.c, the control queue and the filters virtio_net_control.c. */
#ifndef DEVICE_VIRTIO_VIRTIO_NET_PRIVATE_H
#define DEVICE_VIRTIO_VIRTIO_NET_PRIVATE_H

#include "base/bits.h"
#include "device/virtio/virtio_net.h"

enum { MAC_TABLE_MAX = 64, VLANS = 4096, RX_CHAINS_MAX = 256, STATUS_LINK_UP = 1, STATUS_ANNOUNCE = 2 };

struct virtio_net_layout {               /* of the configuration space (5.1.4) */
    uint8_t mac[6];
    le16 status, max_virtqueue_pairs, mtu;
    le32 speed;
    uint8_t duplex;
} __attribute__((packed));

struct mac_table { unsigned count; bool overflow; uint8_t mac[MAC_TABLE_MAX][6]; };

struct virtio_net {
    struct virtio v;
    struct virtio_net_config config;
    unsigned pairs, pairs_used;
    uint8_t mac[6];
    struct {
        bool promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast;
        struct mac_table unicast, multicast;
    } filter;
    uint64_t vlan[VLANS / 64];           /* those that pass */
    bool announce, attached, rx_told;     /* of filters that changed since somebody looked */
    bool *starved, *filled;              /* by pair: a frame waits for buffers; an interrupt is due */
    uint64_t wrong;                      /* frames that broke the rules */
    unsigned pieces;                     /* that frames were cut into since the driver notified */
    struct virtio_net_vhost *vhost;      /* NULL: the backend has none */
};

/* virtio_net_vhost.c: the kernel serves pairs of queues. Does nothing for a backend without vhost. */
int virtio_net_vhost_new(struct virtio_net *n, struct error *err);
void virtio_net_vhost_free(struct virtio_net *n);
/* Has the kernel serve what it should, and only that. */
void virtio_net_vhost_settle(struct virtio_net *n);
void virtio_net_vhost_queue_stop(struct virtio_net *n, unsigned queue);
void virtio_net_vhost_reset(struct virtio_net *n);
bool virtio_net_vhost_serves(const struct virtio_net *n, unsigned pair);
unsigned virtio_net_vhost_served(const struct virtio_net *n);   /* how many pairs */
/* false: the queue is not the kernel's. */
bool virtio_net_vhost_kick(struct virtio_net *n, unsigned queue);

void virtio_net_config_fill(struct virtio_net *n);
/* features: bits GUEST_* of what the guest can take. */
void virtio_net_offloads_apply(struct virtio_net *n, uint64_t features);
bool virtio_net_has_vlan(const struct net_frame *f);
/* Does the frame pass the filters? */
bool virtio_net_wants(const struct virtio_net *n, const struct net_frame *f);
/* One request of the control queue; for virtio_serve. */
bool virtio_net_control(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c);

#endif
