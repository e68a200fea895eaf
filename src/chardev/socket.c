/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unix:PATH, tcp:HOST:PORT and fd:NUMBER (a socket that whoever started us has made), as client or (server=on) as server for one peer at a time. A server waits for its
 * first peer before the machine starts, unless wait=off; when a peer goes, the next may come. Output while nobody is
 * there is dropped. A client whose peer goes stays disconnected.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "chardev/chardev_private.h"

struct socket_chardev {
    struct stream stream;
    int listener;                      /* -1: client */
    char *unlink_path;
    char address[130];
};

struct socket_options {
    bool server, wait, nodelay, ipv4, ipv6;
};

static void describe(struct socket_chardev *c)
{
    snprintf(c->stream.base.description, sizeof(c->stream.base.description), "%s%.*s%s",
             c->stream.in_fd < 0 ? "disconnected:" : "", (int)sizeof(c->address), c->address,
             c->listener >= 0 ? ",server=on" : "");
}

static void peer_ready(void *opaque, int fd, unsigned events);

static void peer_gone(struct stream *s)
{
    struct socket_chardev *c = (struct socket_chardev *)s;

    stream_disconnect(s);
    describe(c);
    if (c->listener >= 0) loop_fd_watch(c->listener, LOOP_READ, peer_ready, c);
}

static void peer_take(struct socket_chardev *c, int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    stream_connect(&c->stream, fd, true);
    describe(c);
}

static void peer_ready(void *opaque, int fd, unsigned events)
{
    struct socket_chardev *c = opaque;
    int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (peer < 0) return;
    loop_fd_unwatch(fd);
    peer_take(c, peer);
}

static void socket_closing(struct stream *s)
{
    struct socket_chardev *c = (struct socket_chardev *)s;

    if (c->listener >= 0) {
        loop_fd_unwatch(c->listener);
        close(c->listener);
    }
    if (c->unlink_path) unlink(c->unlink_path);
    free(c->unlink_path);
}

bool socket_client_add(struct chardev *base, int fd)
{
    struct socket_chardev *c = container_of(base, struct socket_chardev, stream.base);

    if (base->ops != &stream_ops || c->stream.closing != socket_closing || c->listener < 0 || c->stream.in_fd >= 0) return false;
    loop_fd_unwatch(c->listener);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    peer_take(c, fd);
    return true;
}

static int options_read(const char *kind, const char *text, struct socket_options *o, struct error *err)
{
    static const char *const names[] = { "server", "wait", "nodelay", "delay", "ipv4", "ipv6", "to", NULL };
    bool delay = false;

    *o = (struct socket_options){ .wait = true };
    if (chardev_options_check(kind, text, names, err) < 0 || chardev_option_bool(text, "server", &o->server, err) < 0 ||
        chardev_option_bool(text, "wait", &o->wait, err) < 0 || chardev_option_bool(text, "delay", &delay, err) < 0 ||
        chardev_option_bool(text, "nodelay", &o->nodelay, err) < 0 ||
        chardev_option_bool(text, "ipv4", &o->ipv4, err) < 0 || chardev_option_bool(text, "ipv6", &o->ipv6, err) < 0)
        return -1;
    return 0;
}

/* Takes over fd: a listening socket or a connected one. */
static struct chardev *socket_chardev_new(int fd, const struct socket_options *o, const char *address,
                                          const char *unlink_path, struct error *err)
{
    struct socket_chardev *c = calloc(1, sizeof(*c));
    int peer = fd;

    if (!c) {
        close(fd);
        error_set(err, "out of memory");
        return NULL;
    }
    stream_init(&c->stream, -1, -1);
    c->stream.hung_up = peer_gone;
    c->stream.closing = socket_closing;
    c->listener = o->server ? fd : -1;
    c->unlink_path = unlink_path ? strdup(unlink_path) : NULL;
    snprintf(c->address, sizeof(c->address), "%s", address);
    describe(c);
    if (o->server) {
        peer = -1;
        if (o->wait) {
            log_message("waiting for connection on: %s", c->stream.base.description);
            peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        }
        if (peer < 0) loop_fd_watch(fd, LOOP_READ, peer_ready, c);
    }
    if (peer >= 0) peer_take(c, peer);
    return &c->stream.base;
}

struct chardev *unix_open(const char *path, const char *options, struct error *err)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct socket_options o;
    char address[130];
    int fd;

    if (options_read("unix", options, &o, err) < 0) return NULL;
    if (!*path || strlen(path) >= sizeof(a.sun_path)) {
        error_set(err, "'unix:' needs a path of 1 to %zu bytes", sizeof(a.sun_path) - 1);
        return NULL;
    }
    strcpy(a.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && o.server) unlink(path);
    if (fd < 0 || (o.server ? bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0
                            : connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)) {
        error_set(err, "cannot %s the socket '%s': %s%s", o.server ? "listen on" : "connect to", path, strerror(errno),
                  o.server ? "" : "; to wait there for others add ',server=on'");
        if (fd >= 0) close(fd);
        return NULL;
    }
    snprintf(address, sizeof(address), "unix:%s", path);
    return socket_chardev_new(fd, &o, address, o.server ? path : NULL, err);
}

/* "host:port", "[v6]:port", ":port" */
static int address_split(const char *text, char *host, size_t host_size, char *port, size_t port_size, struct error *err)
{
    const char *colon = strrchr(text, ':'), *end = colon;

    if (!colon || !colon[1]) return error_set(err, "'tcp:%s': no port; write tcp:HOST:PORT", text);
    if (*text == '[') {
        text++;
        if (end == text || end[-1] != ']') return error_set(err, "'[' without ']' in front of the port");
        end--;
    }
    if ((size_t)(end - text) >= host_size || strlen(colon + 1) >= port_size)
        return error_set(err, "the address 'tcp:%.60s' is too long", text);
    snprintf(host, host_size, "%.*s", (int)(end - text), text);
    snprintf(port, port_size, "%s", colon + 1);
    return 0;
}

static int tcp_try(const struct addrinfo *a, bool server)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, keep;

    if (fd < 0) return -1;
    if (server) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (server ? bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 1) == 0
               : connect(fd, a->ai_addr, a->ai_addrlen) == 0) return fd;
    keep = errno;
    close(fd);
    errno = keep;
    return -1;
}

static void tcp_describe(int fd, bool server, char *text, size_t size)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof(a);
    char host[64] = "?", port[16] = "?";

    if ((server ? getsockname(fd, (struct sockaddr *)&a, &len) : getpeername(fd, (struct sockaddr *)&a, &len)) == 0)
        getnameinfo((struct sockaddr *)&a, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(text, size, strchr(host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
}

struct chardev *tcp_open(const char *text, const char *options, struct error *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
    struct socket_options o;
    char host[256], port[32], address[130];
    int fd = -1, why;

    if (options_read("tcp", options, &o, err) < 0) return NULL;
    if (address_split(text, host, sizeof(host), port, sizeof(port), err) < 0) return NULL;
    hints.ai_flags = o.server ? AI_PASSIVE : 0;
    hints.ai_family = o.ipv4 ? AF_INET : o.ipv6 ? AF_INET6 : AF_UNSPEC;
    why = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (why) {
        error_set(err, "'tcp:%s': %s", text, gai_strerror(why));
        return NULL;
    }
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) fd = tcp_try(a, o.server);
    freeaddrinfo(list);
    if (fd < 0) {
        error_set(err, "cannot %s 'tcp:%s': %s%s", o.server ? "listen on" : "connect to", text, strerror(errno),
                  o.server ? "" : "; to wait there for others add ',server=on'");
        return NULL;
    }
    tcp_describe(fd, o.server, address, sizeof(address));
    return socket_chardev_new(fd, &o, address, NULL, err);
}

/* libvirt listens before it starts us, so that nobody misses the monitor. */
struct chardev *fd_open(const char *number, const char *options, struct error *err)
{
    struct socket_options o;
    int fd = -1, listens = 0;
    socklen_t len = sizeof(listens);
    char address[130], *end;

    if (options_read("fd", options, &o, err) < 0) return NULL;
    fd = (int)strtol(number, &end, 10);
    if (!*number || *end || fd < 3 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0) {
        error_set(err, "'fd:%s' is no socket that was handed over; a number from 3 on is wanted", number);
        return NULL;
    }
    if (o.server != (listens != 0)) {
        error_set(err, "the socket 'fd:%s' is %s; %s server=on", number, listens ? "one to listen on" : "connected", listens ? "add" : "leave out");
        return NULL;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (o.server) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    snprintf(address, sizeof(address), "fd:%d", fd);
    return socket_chardev_new(fd, &o, address, NULL, err);
}
