/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The networks and network cards that a command line asked for. Virtio cards of -device are in virtio_config.h. */
#ifndef MACHINE_NET_CONFIG_H
#define MACHINE_NET_CONFIG_H

#include "net/backend.h"
#include "net/socket.h"
#include "net/tap.h"
#include "net/user.h"

enum { CONFIG_NETDEVS = 32, CONFIG_NICS = 16, CONFIG_DUMPS = 8, NIC_LEGACY = -1 };

enum netdev_kind { NETDEV_NONE, NETDEV_USER, NETDEV_TAP, NETDEV_STREAM, NETDEV_DGRAM, NETDEV_HUBPORT };
struct netdev_config {
    const char *id;
    enum netdev_kind kind;
    bool has_card;                     /* or is on a hub */
    bool goes_with_card;               /* NONE: made for a card that was added without a network */
    bool has_hub;                      /* HUBPORT: a card's place on it; else the network is on it */
    unsigned hub;
    struct net_user_config user;
    struct net_tap_config tap;
    struct net_socket_config socket;   /* stream and dgram */
};

struct nic_common {                    /* what all cards have */
    const char *id;                    /* the user's or NULL */
    unsigned netdev;                   /* which of machine_config's */
    uint8_t mac[6];
    unsigned boot_rank;                /* as a drive's */
    const char *rom;                   /* file of the option ROM; NULL: the model's own; "": none */
};

enum nic_model { NIC_VIRTIO, NIC_E1000, NIC_RTL8139, NIC_NE2K_PCI };
struct nic_config {
    enum nic_model model;
    struct nic_common common;
    int devfn;                         /* -1: the next free slot */
    int vectors;                       /* virtio: -1: as many as the card likes */
    int before;                        /* made before virtio device of this number; NIC_LEGACY: before all */
};

struct net_dump_config {
    const char *id, *file;
    unsigned netdev, most_bytes;
    enum net_dump_way way;
};

#endif
