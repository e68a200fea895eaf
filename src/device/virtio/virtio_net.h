/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio network card. */
#ifndef DEVICE_VIRTIO_VIRTIO_NET_H
#define DEVICE_VIRTIO_VIRTIO_NET_H

#include "device/virtio/virtio.h"
#include "net/backend.h"

enum { VIRTIO_NET_PAIRS_MAX = 256 };

/* Feature bits (5.1.3) that a user may leave out. */
enum virtio_net_feature {
    VIRTIO_NET_CSUM = 0, VIRTIO_NET_GUEST_CSUM = 1, VIRTIO_NET_CTRL_GUEST_OFFLOADS = 2, VIRTIO_NET_MTU = 3, VIRTIO_NET_MAC = 5,
    VIRTIO_NET_GUEST_TSO4 = 7, VIRTIO_NET_GUEST_TSO6 = 8, VIRTIO_NET_GUEST_ECN = 9, VIRTIO_NET_HOST_TSO4 = 11, VIRTIO_NET_HOST_TSO6 = 12,
    VIRTIO_NET_HOST_ECN = 13, VIRTIO_NET_MRG_RXBUF = 15, VIRTIO_NET_STATUS = 16, VIRTIO_NET_CTRL_VQ = 17, VIRTIO_NET_CTRL_RX = 18,
    VIRTIO_NET_CTRL_VLAN = 19, VIRTIO_NET_CTRL_RX_EXTRA = 20, VIRTIO_NET_GUEST_ANNOUNCE = 21, VIRTIO_NET_MQ = 22, VIRTIO_NET_CTRL_MAC_ADDR = 23,
    VIRTIO_NET_SPEED_DUPLEX = 63,
};

struct virtio_net_config {
    struct memory_map *memory;
    struct net_backend *backend;
    const char *id;
    uint8_t mac[6];
    uint64_t left_out;                   /* feature bits */
    bool multiqueue;                     /* a pair of queues for each of the backend's */
    uint16_t rx_queue_size, tx_queue_size;   /* 0: 256 */
    uint16_t mtu;                        /* 0: not told */
    int32_t speed_mbit;                  /* 0: not told */
    bool half_duplex;
    struct virtio_options options;
    void (*filter_changed)(void *opaque, struct virtio *v);    /* the first time, and once after each look; may be NULL */
    void *opaque;
};
/* NULL with *err. */
struct virtio *virtio_net_new(const struct virtio_net_config *config, struct error *err);
/* Has the guest announce its addresses to the network, if its driver knows how. */
void virtio_net_announce(struct virtio *v);

/* What the driver wants to receive. Pointers are good until the guest runs on. */
struct virtio_net_rx {
    enum virtio_net_rx_state { VIRTIO_NET_RX_NORMAL, VIRTIO_NET_RX_NONE, VIRTIO_NET_RX_ALL } unicast, multicast, vlan;
    bool promiscuous, broadcast, unicast_overflow, multicast_overflow;
    const uint8_t *mac, (*unicast_table)[6], (*multicast_table)[6];
    unsigned unicast_count, multicast_count, vlan_count;
    const uint64_t *vlans;               /* a bit each, for vlan_count */
};
void virtio_net_rx_get(struct virtio *v, struct virtio_net_rx *rx);

#endif
