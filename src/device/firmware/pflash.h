/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A parallel flash chip with Intel's command set, as firmware and its variables lie in one. */
#ifndef DEVICE_FIRMWARE_PFLASH_H
#define DEVICE_FIRMWARE_PFLASH_H

#include "bus/device.h"
#include "memory/map.h"

struct block_node;
struct error;

enum { PFLASH_BLOCK_BYTES = 4096 };

struct pflash_config {
    struct memory_map *memory;
    const char *name;                  /* for 'info mtree'; stays the caller's */
    gpa_t start;
    int priority;
    uint64_t size_bytes;               /* whole blocks; of the node */
    struct block_node *node;           /* stays the caller's; a read-only one makes a chip that refuses to be programmed */
};
/* Realized and reset, its contents read; NULL with *err. */
struct device *pflash_new(const struct pflash_config *config, struct error *err);
/* Its contents, for those who show a part of the chip elsewhere. */
const uint8_t *pflash_bytes(const struct device *d);
uint64_t pflash_size_bytes(const struct device *d);

#endif
