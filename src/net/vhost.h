/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhost-net: the kernel carries frames between a card's rings and a tap interface by itself. The card (device/virtio/virtio_net_vhost.c) says
 * where the guest's memory and the rings are; a queue of the backend is two rings, that for receiving first. All calls with the machine lock held.
 */
#ifndef NET_VHOST_H
#define NET_VHOST_H

#include "net/backend.h"

struct net_vhost;

struct net_vhost_region { uint64_t gpa, bytes; void *hva; };
struct net_vhost_ring {
    uint16_t size, base;                                 /* base: the next chain to take */
    void *descriptors, *driver, *device;
    uint64_t device_gpa;                                 /* of the used ring, for the log */
    int kick, call, err;                                 /* eventfds: from the driver, to it, and when it breaks the rules */
};

/* ---- for backends ---- */

/* A descriptor of /dev/vhost-net for each of queues, or those given, which are closed at the end. NULL with *err. */
struct net_vhost *net_vhost_open(const int *fds, unsigned fd_count, unsigned queues, struct error *err);
/* How many microseconds the kernel's threads look at rings and the interface before they sleep. 0, or -1 with *err. */
int net_vhost_poll_set(struct net_vhost *k, unsigned us, struct error *err);
/* That time, as the kernel has it; 0: none. */
unsigned net_vhost_poll_us(const struct net_vhost *k);
void net_vhost_close(struct net_vhost *k);

/* ---- for cards ---- */

bool net_has_vhost(const struct net_backend *b);
/* Feature bits of virtio that the kernel knows for its rings. */
uint64_t net_vhost_features(const struct net_backend *b);
/* Before the first start: what was agreed on, and a bitmap of the pages that the kernel writes (NULL: not wanted). 0, or -1 with *err. */
int net_vhost_features_set(struct net_backend *b, uint64_t features, const void *log, struct error *err);
int net_vhost_log_set(struct net_backend *b, const void *log, struct error *err);
int net_vhost_memory_set(struct net_backend *b, const struct net_vhost_region *region, unsigned count, struct error *err);
/* From now on the kernel serves the queue; the frontend is not called for it, and does not send. */
int net_vhost_start(struct net_backend *b, unsigned queue, const struct net_vhost_ring ring[2], struct error *err);
/* The ring's call from now on; errors are those of net_vhost_start. */
int net_vhost_call_set(struct net_backend *b, unsigned queue, unsigned ring, int call, struct error *err);
/* It does not any more. base[2]: the next chains to take. */
void net_vhost_stop(struct net_backend *b, unsigned queue, uint16_t base[2]);

#endif
