/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A network that is a socket: the other end is another virtual machine, or a program such as passt. */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include "net/backend.h"

struct sockaddr_storage;

enum net_address_type { NET_ADDRESS_UNIX = 1, NET_ADDRESS_INET = 2, NET_ADDRESS_FD = 4 };

struct net_socket_config {
    bool datagrams;                                      /* a frame a datagram; else a stream with a length in front of each */
    bool server;                                         /* stream: waits for the other end */
    const char *path, *local_path;                       /* unix; local: of datagrams */
    const char *host, *port, *local_host, *local_port;   /* inet, if there is no path; a group of IPv4 is host, and local_host says by which interface */
    bool no_ipv4, no_ipv6, numeric, keep_alive;          /* stream, inet */
    unsigned port_to;                                    /* server: the first free one from port on; 0: that one */
    bool is_abstract;                                    /* stream, unix: path is a name without a file */
    unsigned address_types;                              /* what the user said that addresses are, enum net_address_type; checked by whoever reads it */
    int fd;                                              /* open already and connected, or -1 */
    bool fd_of_any_kind;                                 /* what it is says whether it has datagrams */
    unsigned reconnect_ms;                               /* a client tries again so long after it failed or its connection ended; 0: it does not */
    /* A stream has a peer, or none any more (peer NULL). May be NULL. */
    void (*event)(void *opaque, const char *id, const struct sockaddr_storage *peer);
    void *opaque;
};
/* Is that an address of a group, for datagrams to all who are in it? */
bool net_socket_is_group(const char *host);
/* NULL with *err. */
struct net_backend *net_socket_new(const char *id, const struct net_socket_config *c, struct error *err);

#endif
