/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Intel PRO/1000 MT Desktop (82540EM): the network card that all operating systems since 2001 know. */
#ifndef DEVICE_NET_E1000_H
#define DEVICE_NET_E1000_H

#include "bus/pci.h"
#include "net/backend.h"

struct nic_device_config {               /* of all cards that are no virtio */
    struct pci_bus *bus;
    int devfn;                           /* -1: the next free slot */
    struct memory_map *memory;
    struct net_backend *backend;
    const char *id;
    uint8_t mac[6];
    const void *rom;                     /* option ROM or NULL; stays the caller's, see pci_rom_add */
    uint32_t rom_bytes;
};
/* NULL with *err. */
struct device *e1000_new(const struct nic_device_config *config, struct error *err);

#endif
