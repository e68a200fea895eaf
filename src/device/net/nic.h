/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all network cards that are no virtio are made from. */
#ifndef DEVICE_NET_NIC_H
#define DEVICE_NET_NIC_H

#include "bus/pci.h"
#include "net/backend.h"

struct nic_device_config {
    struct pci_bus *bus;
    int devfn;                           /* -1: the next free slot */
    struct memory_map *memory;
    struct net_backend *backend;
    const char *id;
    uint8_t mac[6];
    const void *rom;                     /* option ROM or NULL; stays the caller's, see pci_rom_add */
    uint32_t rom_bytes;
};

/* CRC-32 of IEEE 802.3, of a frame or an address. */
static inline uint32_t nic_crc32(uint32_t crc, const uint8_t *data, size_t size)
{
    crc = ~crc;
    while (size--) {
        crc ^= *data++;
        for (unsigned i = 0; i < 8; i++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

/* Which of 64 bits of a multicast filter an address stands for: the first six bits of its CRC as they come over the wire. */
static inline unsigned nic_hash64(const uint8_t *mac)
{
    uint32_t crc = ~nic_crc32(0, mac, 6), hash = 0;

    for (unsigned i = 0; i < 6; i++) hash = hash << 1 | (crc >> i & 1);
    return hash;
}

#endif
