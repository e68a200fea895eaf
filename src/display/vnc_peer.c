/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who is at the ends of a VNC server's sockets, for monitors. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "display/vnc_private.h"

static void peer_fill(struct vnc_peer *p, const struct sockaddr_storage *a, socklen_t n, bool web)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)a;

    *p = (struct vnc_peer){ .family = a->ss_family == AF_INET6 ? "ipv6" : a->ss_family == AF_INET ? "ipv4" : "unix", .is_web = web };
    if (a->ss_family == AF_UNIX) {
        if (n > offsetof(struct sockaddr_un, sun_path)) snprintf(p->service, sizeof(p->service), "%.107s", un->sun_path);
    } else getnameinfo((const struct sockaddr *)a, n, p->host, sizeof(p->host), p->service, sizeof(p->service), NI_NUMERICHOST | NI_NUMERICSERV);
}

static void peer_of(int fd, bool far, bool web, struct vnc_peer *p)
{
    struct sockaddr_storage a = { .ss_family = AF_UNIX };
    socklen_t n = sizeof(a);

    if ((far ? getpeername(fd, (struct sockaddr *)&a, &n) : getsockname(fd, (struct sockaddr *)&a, &n)) < 0) n = 0;
    peer_fill(p, &a, n, web);
}

void vnc_socket_name(int fd, struct vnc_peer *p) { peer_of(fd, false, false, p); }

bool vnc_listener(const struct vnc_server *s, unsigned i, struct vnc_peer *p)
{
    bool web = i == s->listeners && s->web_fd >= 0;

    if (i >= s->listeners && !web) return false;
    peer_of(web ? s->web_fd : s->listener[i].fd, false, web, p);
    return true;
}

void vnc_clients_list(const struct vnc_server *s, void (*fn)(void *opaque, const struct vnc_peer *client), void *opaque)
{
    for (const struct vnc_client *c = s->clients; c; c = c->next)
        if (c->ready && !c->gone) fn(opaque, &c->far);
}

const char *vnc_auth_name(const struct vnc_server *s)
{
    return s->config.tls ? "vencrypt" : s->config.password ? "vnc" : "none";
}

void vnc_event_tell(struct vnc_client *c, enum vnc_event event)
{
    const struct vnc_server *s = c->server;

    if (event == VNC_CONNECTED) {
        peer_of(c->fd, false, c->web != NULL, &c->near);
        peer_of(c->fd, true, c->web != NULL, &c->far);
    }
    if (s->config.event) s->config.event(s->config.event_opaque, event, &c->near, &c->far);
}
