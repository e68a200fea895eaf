/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets that servers of the screen listen on: non-blocking, closed on exec. */
#ifndef DISPLAY_LISTEN_H
#define DISPLAY_LISTEN_H

#include <stddef.h>

struct error;

enum listen_family { LISTEN_ANY, LISTEN_IPV4, LISTEN_IPV6 };
struct listen_where {
    const char *host;                  /* NULL or "": all addresses of the host */
    unsigned port, port_to;            /* the first free one of them; port 0: any that is free */
    enum listen_family family;
    const char *hint;                  /* of what to use another, for messages */
};

/* where gets "HOST:PORT". -1 with *err. */
int listen_tcp(const struct listen_where *w, char *where, size_t size, struct error *err);
int listen_unix(const char *path, struct error *err);
void listen_where_name(const char *host, unsigned port, char *where, size_t size);
/* "ADDRESS:PORT", or "unix". */
void listen_peer_name(int fd, char *name, size_t size);

#endif
