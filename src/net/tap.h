/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A network interface of the host: what the guest sends comes out of it. */
#ifndef NET_TAP_H
#define NET_TAP_H

#include "net/backend.h"

enum { NET_TAP_QUEUES = 32 };

struct net_tap_config {
    const char *ifname;                                  /* NULL: the kernel chooses */
    unsigned poll_us;                                    /* vhost: so long the kernel looks for more before it sleeps */
    const char *bridge, *helper;                         /* made by a helper (net/bridge.h) if either is there; then no scripts */
    const char *script, *downscript;                     /* NULL: /etc/qemu-ifup, -ifdown; "no" or "": none */
    int fd[NET_TAP_QUEUES];                              /* open already; fd_count of them */
    unsigned fd_count, queues;
    bool no_header;                                      /* interfaces that are made here do not tell of checksums and segments */
    uint64_t sndbuf;                                     /* bytes on their way to the host, until the guest waits; 0: as many as it likes */
    bool has_sndbuf;
    bool vhost, vhost_off, vhost_force;                  /* the kernel serves virtio cards (net/vhost.h); if it cannot, that is an error only if forced */
    int vhost_fd[NET_TAP_QUEUES];                        /* likewise open already */
    unsigned vhost_fd_count;
};
/* NULL with *err. */
struct net_backend *net_tap_new(const char *id, const struct net_tap_config *c, struct error *err);

#endif
