/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A network that is a socket: the other end is another virtual machine, or a program such as passt. */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include "net/backend.h"

struct net_socket_config {
    bool datagrams;                                      /* a frame a datagram; else a stream with a length in front of each */
    bool server;                                         /* stream: waits for the other end */
    const char *path, *local_path;                       /* unix; local: of datagrams */
    const char *host, *port, *local_host, *local_port;   /* inet, if there is no path */
    int fd;                                              /* open already, or -1 */
};
/* NULL with *err. */
struct net_backend *net_socket_new(const char *id, const struct net_socket_config *c, struct error *err);

#endif
