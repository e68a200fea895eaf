/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of networks on sockets share: socket.c has the frames, socket_open.c how the socket comes about. */
#ifndef NET_SOCKET_PRIVATE_H
#define NET_SOCKET_PRIVATE_H

#include <sys/socket.h>

#include "base/bits.h"
#include "net/backend_private.h"
#include "net/socket.h"

struct net_socket {
    struct net_backend base;
    struct net_socket_config config;
    char *unlink_path;
    int listener, fd, connecting;                        /* connecting: on its way to become fd */
    int group_fd;                                        /* multicast: what frames go out by; -1: fd */
    struct sockaddr_storage to, own;                     /* where to; group_fd's own address, whose frames are ours */
    socklen_t to_bytes, own_bytes;
    struct timer *again;                                 /* a client connects, datagrams are sent again; NULL: none of these */
    bool complained;
    uint8_t *out, *in;
    size_t out_at, out_bytes, in_at, in_bytes;           /* what is in them */
    bool waiting, refused;                               /* the guest has no room for the first of in; a send was refused */
};

extern const struct net_backend_ops net_datagram_ops;

/* socket.c: a connection that was made. */
void net_socket_peer_take(struct net_socket *s, int fd);
void net_socket_watch(struct net_socket *s);
/* The timer's call where only trying tells of room for datagrams. */
void net_socket_again(void *opaque);
/* socket_open.c: makes what the configuration says. 0, or -1 with *err. */
int net_socket_start(struct net_socket *s, struct error *err);
/* The connection has ended: waits for the next one, if there may be one. */
void net_socket_wait(struct net_socket *s);

#endif
