/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a network on a socket comes about: addresses, listening, connecting, joining a group, and what was handed over open. A connection that takes
 * longer is waited for in the loop, not here. Names are resolved once, when the network is made.
 *
 * A group's datagrams go out by a second socket, whose address tells our own from those of others at the same port. They may stay on this host or not,
 * as its routes or localaddr= have it.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stddef.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/socket_accept.h"
#include "base/socket_path.h"
#include "net/socket_private.h"

enum { ANSWER_MS = 200, BUSY_MS = 100 };
#define NS_PER_MS 1000000LL

/* A name without a file begins with a zero, and is as long as it is. */
static int unix_address(const char *path, bool is_abstract, struct sockaddr_storage *a, socklen_t *bytes, struct error *err)
{
    struct sockaddr_un *u = (struct sockaddr_un *)a;

    *u = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (!*path || strlen(path) >= sizeof(u->sun_path)) return error_set(err, "path=%s: a socket's path has 1 to %zu bytes", path, sizeof(u->sun_path) - 1);
    memcpy(u->sun_path + is_abstract, path, strlen(path));
    *bytes = is_abstract ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(path)) : sizeof(*u);
    return 0;
}

static int inet_address(const struct net_socket_config *c, const char *host, const char *port, bool here, struct sockaddr_storage *a, socklen_t *bytes, struct error *err)
{
    struct addrinfo hints = { .ai_family = c->no_ipv6 ? AF_INET : c->no_ipv4 ? AF_INET6 : AF_UNSPEC, .ai_socktype = c->datagrams ? SOCK_DGRAM : SOCK_STREAM,
                              .ai_flags = (here ? AI_PASSIVE : 0) | (c->numeric ? AI_NUMERICHOST | AI_NUMERICSERV : 0) }, *list;
    char *end;
    int why;

    if (port && strtoul(port, &end, 10) > 65535 && !*end) return error_set(err, "'%s:%s': a port is a number up to 65535", host ? host : "", port);
    why = getaddrinfo(host && *host ? host : NULL, port, &hints, &list);
    if (why) return error_set(err, "'%s:%s': %s", host ? host : "", port, gai_strerror(why));
    memcpy(a, list->ai_addr, list->ai_addrlen);
    *bytes = list->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

static int address(const struct net_socket_config *c, bool local, struct sockaddr_storage *a, socklen_t *bytes, struct error *err)
{
    const char *path = local ? c->local_path : c->path, *host = local ? c->local_host : c->host, *port = local ? c->local_port : c->port;

    if (path) return unix_address(path, c->is_abstract, a, bytes, err);
    return inet_address(c, host, port, local || c->server, a, bytes, err);
}

static int failed(const char *what, const struct net_socket_config *c, bool local, struct error *err)
{
    const char *path = local ? c->local_path : c->path, *host = local ? c->local_host : c->host, *port = local ? c->local_port : c->port;

    return error_set(err, "cannot %s '%s%s%s': %s", what, path ? path : host ? host : "", path ? "" : ":", path ? "" : port ? port : "", strerror(errno));
}

/* ---- clients ---- */

static void later(struct net_socket *s, int64_t ms) { timer_arm_ns(s->again, clock_host_ns() + ms * NS_PER_MS); }

/* A port of the loopback at which nobody listens may be given to the very socket that asks for it, and TCP connects that to itself. */
static bool is_itself(int fd)
{
    struct sockaddr_storage a = { 0 }, b = { 0 };
    socklen_t x = sizeof(a), y = sizeof(b);

    return getsockname(fd, (struct sockaddr *)&a, &x) == 0 && getpeername(fd, (struct sockaddr *)&b, &y) == 0 && a.ss_family != AF_UNIX && x == y && !memcmp(&a, &b, x);
}

/* What came of a connection; 0: it is the peer's now. */
static int outcome_take(struct net_socket *s, int fd)
{
    int why = 0;
    socklen_t bytes = sizeof(why);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &bytes) < 0) why = errno;
    if (!why && is_itself(fd)) why = ECONNREFUSED;
    if (why) {
        close(fd);
        return why;
    }
    s->complained = false;
    net_socket_peer_take(s, fd);
    return 0;
}

/* Said once, however often it is tried. */
static void failure_note(struct net_socket *s, int why)
{
    struct error err;

    errno = why;
    failed("connect to", &s->config, false, &err);
    if (!s->complained) log_message("network %s: %s%s", s->base.id, err.text, s->config.reconnect_ms ? "; it is tried again" : "");
    s->complained = true;
    if (s->config.reconnect_ms) later(s, s->config.reconnect_ms);
}

static void connect_done(void *opaque, int fd, unsigned events)
{
    struct net_socket *s = opaque;
    int why;

    loop_fd_unwatch(fd);
    s->connecting = -1;
    why = outcome_take(s, fd);
    if (why) failure_note(s, why);
}

/* 0: it is made or on its way; else why not. Whoever is near answers in wait_ms. */
static int connect_begin(struct net_socket *s, int wait_ms)
{
    int fd = socket(s->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), why;
    struct pollfd p = { fd, POLLOUT, 0 };

    if (fd < 0) return errno;
    if (connect(fd, (struct sockaddr *)&s->to, s->to_bytes) == 0) return outcome_take(s, fd);
    why = errno;
    if (why == EINPROGRESS && poll(&p, 1, wait_ms) > 0) return outcome_take(s, fd);
    if (why == EINPROGRESS) {
        s->connecting = fd;
        loop_fd_watch(fd, LOOP_WRITE, connect_done, s);
        return 0;
    }
    close(fd);
    if (why != EAGAIN) return why;
    later(s, BUSY_MS);                                   /* a Unix socket whose queue is full */
    return 0;
}

static void connect_again(void *opaque)
{
    struct net_socket *s = opaque;
    int why = connect_begin(s, 0);

    if (why) failure_note(s, why);
}

static int client_start(struct net_socket *s, struct error *err)
{
    int why;

    if (address(&s->config, false, &s->to, &s->to_bytes, err) < 0) return -1;
    s->again = timer_new(TIMER_HOST, connect_again, s);
    why = connect_begin(s, ANSWER_MS);
    if (why && s->config.reconnect_ms) failure_note(s, why);
    else if (why) {
        errno = why;
        return failed("connect to", &s->config, false, err);
    }
    return 0;
}

/* ---- servers ---- */

static void peer_ready(void *opaque, int fd, unsigned events)
{
    int peer = socket_accept(fd);

    if (peer < 0) return;
    loop_fd_unwatch(fd);
    net_socket_peer_take(opaque, peer);
}

static int port_bind(const struct net_socket *s, struct sockaddr_storage *a, socklen_t bytes)
{
    in_port_t *port = a->ss_family == AF_INET6 ? &((struct sockaddr_in6 *)a)->sin6_port : &((struct sockaddr_in *)a)->sin_port;

    for (;;) {
        if (bind(s->listener, (struct sockaddr *)a, bytes) == 0) return 0;
        if (s->config.path || errno != EADDRINUSE || ntohs(*port) >= s->config.port_to) return -1;
        *port = htons((uint16_t)(ntohs(*port) + 1));
    }
}

static int server_start(struct net_socket *s, struct error *err)
{
    struct sockaddr_storage a;
    socklen_t bytes;
    int on = 1;

    if (address(&s->config, false, &a, &bytes, err) < 0) return -1;
    s->listener = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listener < 0) return failed("make a socket for", &s->config, false, err);
    if (!s->config.path) setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    else if (!s->config.is_abstract) socket_path_clear(s->config.path);
    if (port_bind(s, &a, bytes) < 0 || listen(s->listener, 1) < 0) return failed("listen on", &s->config, false, err);
    s->unlink_path = s->config.path && !s->config.is_abstract ? strdup(s->config.path) : NULL;
    loop_fd_watch(s->listener, LOOP_READ, peer_ready, s);
    return 0;
}

void net_socket_wait(struct net_socket *s)
{
    if (s->listener >= 0) loop_fd_watch(s->listener, LOOP_READ, peer_ready, s);
    else if (s->again && s->config.reconnect_ms) later(s, s->config.reconnect_ms);
}

/* ---- datagrams ---- */

static bool is_group(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET && IN_MULTICAST(ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr));
}

bool net_socket_is_group(const char *host)
{
    struct in_addr a;

    return host && inet_pton(AF_INET, host, &a) == 1 && IN_MULTICAST(ntohl(a.s_addr));
}

static int group_join(struct net_socket *s, struct error *err)
{
    const struct sockaddr_in *group = (const struct sockaddr_in *)&s->to;
    struct ip_mreq member = { .imr_multiaddr = group->sin_addr, .imr_interface.s_addr = INADDR_ANY };
    const char *local = s->config.local_host;
    int on = 1;

    if (local && *local && inet_pton(AF_INET, local, &member.imr_interface) != 1)
        return error_set(err, "'%s': for a group that is an IPv4 address of this host", local);
    s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    s->group_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0 || s->group_fd < 0 || setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(s->fd, (const struct sockaddr *)group, sizeof(*group)) < 0) return failed("listen on", &s->config, false, err);
    if (setsockopt(s->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &member, sizeof(member)) < 0 ||
        setsockopt(s->group_fd, IPPROTO_IP, IP_MULTICAST_LOOP, &on, sizeof(on)) < 0 ||
        (member.imr_interface.s_addr != INADDR_ANY &&
         setsockopt(s->group_fd, IPPROTO_IP, IP_MULTICAST_IF, &member.imr_interface, sizeof(member.imr_interface)) < 0) ||
        connect(s->group_fd, (const struct sockaddr *)group, sizeof(*group)) < 0) return failed("join the group", &s->config, false, err);
    s->own_bytes = sizeof(s->own);
    getsockname(s->group_fd, (struct sockaddr *)&s->own, &s->own_bytes);
    s->to_bytes = 0;                                     /* it is connected there */
    return 0;
}

static int datagrams_bind(struct net_socket *s, struct error *err)
{
    struct sockaddr_storage a;
    socklen_t bytes;

    if (address(&s->config, true, &a, &bytes, err) < 0) return -1;
    s->fd = socket(a.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->config.local_path) socket_path_clear(s->config.local_path);
    if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&a, bytes) < 0) return failed("listen on", &s->config, true, err);
    s->unlink_path = s->config.local_path ? strdup(s->config.local_path) : NULL;
    return 0;
}

static int datagrams_start(struct net_socket *s, struct error *err)
{
    if (address(&s->config, false, &s->to, &s->to_bytes, err) < 0 || (is_group(&s->to) ? group_join : datagrams_bind)(s, err) < 0) return -1;
    if (s->to.ss_family == AF_UNIX) s->again = timer_new(TIMER_HOST, net_socket_again, s);
    net_socket_watch(s);
    return 0;
}

/* What was handed over: a connection, of the kind that the frames travel on. */
static int inherited_take(struct net_socket *s, int fd, struct error *err)
{
    int type, listens = 0, wanted = s->config.datagrams ? SOCK_DGRAM : SOCK_STREAM;
    socklen_t bytes = sizeof(type), more = sizeof(listens);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0) return error_set(err, "fd=%d is no socket that was handed over: %s", fd, strerror(errno));
    if (type == SOCK_DGRAM && !s->config.datagrams && s->config.fd_of_any_kind) {
        s->config.datagrams = true;
        s->base.ops = &net_datagram_ops;
        wanted = type;
    }
    if (type != wanted) return error_set(err, "fd=%d is a socket for %s", fd, type == SOCK_STREAM ? "a stream; use -netdev stream" : "datagrams; use -netdev dgram");
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &more) == 0 && listens) return error_set(err, "fd=%d listens; it has to be connected", fd);
    net_socket_peer_take(s, fd);
    return 0;
}

int net_socket_start(struct net_socket *s, struct error *err)
{
    if (s->config.fd >= 0) return inherited_take(s, s->config.fd, err);
    return (s->config.datagrams ? datagrams_start : s->config.server ? server_start : client_start)(s, err);
}
