/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver's side of a virtqueue, for tests: both ring layouts over a piece of guest memory, as VIRTIO 1.2 sections 2.7 and
 * 2.8 tell drivers to do it. Own bookkeeping, nothing shared with the device's side. */
#ifndef TESTS_VIRTIO_DRIVER_H
#define TESTS_VIRTIO_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

enum { DRIVER_QUEUE_MAX = 1024, DRIVER_PIECES_MAX = 16 };

struct driver_piece { uint64_t gpa; uint32_t length; bool device_writes; };

struct driver {
    uint8_t *ram;                    /* guest address 0 */
    bool packed, event_index;
    unsigned size;
    uint64_t descriptors, avail, used, indirect;   /* areas; indirect: tables of 256 bytes, one an id */
    uint64_t made_available, seen_used;            /* split: chains, packed: ring entries; since the start */
    unsigned free_count;                           /* descriptors, or ring entries */
    uint16_t free_list[DRIVER_QUEUE_MAX], id_free[DRIVER_QUEUE_MAX];
    unsigned id_free_count;
    unsigned slots_of[DRIVER_QUEUE_MAX];           /* by id */
    uint16_t chain_of[DRIVER_QUEUE_MAX][DRIVER_PIECES_MAX];
};

void driver_init(struct driver *d, uint8_t *ram, bool packed, bool event_index, unsigned size, uint64_t base);
/* Makes a chain available; its id, or -1 while there is no room. */
int driver_add(struct driver *d, const struct driver_piece *pieces, unsigned count, bool indirect);
/* Takes the next used chain: its id and *written, or -1. */
int driver_take(struct driver *d, uint32_t *written);
/* Interrupt me when chain/entry number at (counted from the start) has been used; needs event_index. */
void driver_event_set(struct driver *d, uint64_t at);
void driver_interrupts_set(struct driver *d, bool on);
/* Would the driver have to notify for what it made available between before and made_available? */
bool driver_must_notify(const struct driver *d, uint64_t before);

#endif
