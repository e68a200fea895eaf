/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unix:PATH, tcp:HOST:PORT and fd:NUMBER (a socket that whoever started us has made), as client or (server=on) as server for one peer at a time. A server waits for its
 * first peer before the machine starts, unless wait=off; when a peer goes, the next may come. Output while nobody is
 * there is dropped. A client whose peer goes, or is not there yet, tries again every reconnect= seconds (socket_retry.c); without, it stays
 * disconnected. telnet:HOST:PORT, or telnet=on, speaks telnet with the peer.
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
#include "base/socket_accept.h"
#include "base/socket_path.h"
#include "chardev/chardev_private.h"
#include "chardev/socket_retry.h"
#include "chardev/telnet.h"

struct socket_chardev {
    struct stream stream;
    int listener;                      /* -1: client */
    char *unlink_path;
    char address[130];
    struct socket_retry *retry;        /* NULL: a peer that is gone is gone */
    struct telnet telnet;              /* with stream.decode */
};

struct socket_options {
    bool server, wait, nodelay, ipv4, ipv6, telnet;
    unsigned reconnect_s, last_port;   /* 0: none */
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
    else if (c->retry) socket_retry_later(c->retry);
}

/* ---- telnet ---- */

static size_t telnet_decode(struct stream *s, uint8_t *data, size_t size)
{
    struct telnet *t = &((struct socket_chardev *)s)->telnet;
    const struct chardev_frontend *f = &s->base.frontend;
    uint8_t answer[TELNET_ANSWER_BYTES];
    size_t n = 0, answer_bytes;
    bool has_break;

    for (size_t i = 0; i < size; i++) {
        n += telnet_take(t, data[i], &data[n], &has_break, answer, &answer_bytes);
        if (answer_bytes) stream_put(s, answer, answer_bytes);
        if (has_break && f->send_break) f->send_break(f->opaque);
    }
    return n;
}

static size_t encode(struct stream *s, const uint8_t *data, size_t size, uint8_t *out) { return telnet_encode(data, size, out); }

static void telnet_use(struct socket_chardev *c)
{
    uint8_t greeting[TELNET_GREETING_BYTES];

    telnet_begin(&c->telnet, greeting);
    stream_put(&c->stream, greeting, sizeof(greeting));
}

/* ---- peers ---- */

static void peer_take(struct socket_chardev *c, int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    stream_connect(&c->stream, fd, true);
    if (c->stream.decode) telnet_use(c);
    describe(c);
}

static void peer_found(void *opaque, int fd) { peer_take(opaque, fd); }

static void peer_ready(void *opaque, int fd, unsigned events)
{
    struct socket_chardev *c = opaque;
    int peer = socket_accept(fd);

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
    socket_retry_free(c->retry);
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

/* Does a switch stand there at all? Then it is the same whatever it was before. */
static bool is_given(const char *text, const char *name)
{
    struct error unused;
    bool on = true, off = false;

    return chardev_option_bool(text, name, &on, &unused) == 0 && chardev_option_bool(text, name, &off, &unused) == 0 && on == off;
}

static int options_read(const char *kind, const char *text, struct socket_options *o, struct error *err)
{
    static const char *const names[] = { "server", "wait", "nodelay", "delay", "ipv4", "ipv6", "to", "telnet", "reconnect", "websocket", NULL };
    char text_of[16];
    bool delay = false, no_v4, no_v6;

    *o = (struct socket_options){ .wait = true };
    if (chardev_options_check(kind, text, names, err) < 0 || chardev_option_bool(text, "server", &o->server, err) < 0 ||
        chardev_option_bool(text, "wait", &o->wait, err) < 0 || chardev_option_bool(text, "delay", &delay, err) < 0 ||
        chardev_option_bool(text, "nodelay", &o->nodelay, err) < 0 ||
        chardev_option_bool(text, "telnet", &o->telnet, err) < 0 || chardev_option_number(text, "reconnect", 86400, &o->reconnect_s, err) < 0 ||
        chardev_option_number(text, "to", 65535, &o->last_port, err) < 0 ||
        chardev_option_bool(text, "ipv4", &o->ipv4, err) < 0 || chardev_option_bool(text, "ipv6", &o->ipv6, err) < 0)
        return -1;
    if (chardev_option_text(text, "websocket", text_of, sizeof(text_of)) && strcmp(text_of, "off"))
        return error_set(err, "websocket=%s is not supported in this version; use telnet=on, or the web page's terminals (-display web)", text_of);
    no_v4 = is_given(text, "ipv4") && !o->ipv4;
    no_v6 = is_given(text, "ipv6") && !o->ipv6;
    if (no_v4 && no_v6) return error_set(err, "'ipv4=off' and 'ipv6=off' leave no address; give at most one of them");
    o->ipv4 |= no_v6;
    o->ipv6 |= no_v4;
    if (!o->server && is_given(text, "wait"))
        return error_set(err, "'wait' is for who waits; add server=on, or leave it out");
    if (o->server && o->reconnect_s) return error_set(err, "'reconnect' option is incompatible with 'server=on'");
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
    if (o->telnet) {
        c->stream.decode = telnet_decode;
        c->stream.encode = encode;
    }
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

/* A client that tries again: the first time, too, at which nobody waits for it. */
static struct chardev *retrying_new(const struct sockaddr_storage *to, const socklen_t *length, unsigned count, const struct socket_options *o, const char *address,
                                    struct error *err)
{
    struct socket_chardev *c = (struct socket_chardev *)socket_chardev_new(-1, o, address, NULL, err);

    if (!c) return NULL;
    c->retry = socket_retry_new(to, length, count, o->reconnect_s, peer_found, c);
    if (c->retry) return &c->stream.base;
    error_set(err, "out of memory");
    free(c);
    return NULL;
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
    snprintf(address, sizeof(address), "unix:%s", path);
    if (o.reconnect_s) {
        struct sockaddr_storage to = { .ss_family = AF_UNIX };

        memcpy(&to, &a, sizeof(a));
        return retrying_new(&to, &(socklen_t){ sizeof(a) }, 1, &o, address, err);
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && o.server) socket_path_clear(path);
    if (fd < 0 || (o.server ? bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0
                            : connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)) {
        error_set(err, "cannot %s the socket '%s': %s%s", o.server ? "listen on" : "connect to", path, strerror(errno),
                  o.server ? "" : "; to wait there for others add ',server=on'");
        if (fd >= 0) close(fd);
        return NULL;
    }
    return socket_chardev_new(fd, &o, address, o.server ? path : NULL, err);
}

int chardev_address_split(const char *kind, const char *text, char *host, size_t host_size, char *port, size_t port_size, struct error *err)
{
    const char *colon = strrchr(text, ':'), *end = colon;

    if (!colon || !colon[1]) return error_set(err, "'%s:%s': no port; write %s:HOST:PORT", kind, text, kind);
    if (*text == '[') {
        text++;
        if (end == text || end[-1] != ']') return error_set(err, "'[' without ']' in front of the port");
        end--;
    }
    if ((size_t)(end - text) >= host_size || strlen(colon + 1) >= port_size)
        return error_set(err, "the address '%s:%.60s' is too long", kind, text);
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

/* The last address at which nobody listens yet; with to=, of several ports. */
static int tcp_listen(struct addrinfo *list, unsigned last_port)
{
    int fd = -1;

    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        in_port_t *port = a->ai_family == AF_INET6 ? &((struct sockaddr_in6 *)a->ai_addr)->sin6_port : &((struct sockaddr_in *)a->ai_addr)->sin_port;

        while ((fd = tcp_try(a, true)) < 0 && errno == EADDRINUSE && ntohs(*port) < last_port) *port = htons((uint16_t)(ntohs(*port) + 1));
    }
    return fd;
}

static struct chardev *tcp_retrying_new(const struct addrinfo *list, const struct socket_options *o, const char *address, struct error *err)
{
    struct sockaddr_storage to[SOCKET_RETRY_ADDRESSES];
    socklen_t length[SOCKET_RETRY_ADDRESSES];
    unsigned count = 0;

    for (const struct addrinfo *a = list; a && count < SOCKET_RETRY_ADDRESSES; a = a->ai_next) {
        memcpy(&to[count], a->ai_addr, a->ai_addrlen);
        length[count++] = a->ai_addrlen;
    }
    return retrying_new(to, length, count, o, address, err);
}

static void tcp_describe(const char *kind, int fd, bool server, char *text, size_t size)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof(a);
    char host[64] = "?", port[16] = "?";

    if ((server ? getsockname(fd, (struct sockaddr *)&a, &len) : getpeername(fd, (struct sockaddr *)&a, &len)) == 0)
        getnameinfo((struct sockaddr *)&a, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(text, size, strchr(host, ':') ? "%s:[%s]:%s" : "%s:%s:%s", kind, host, port);
}

static struct chardev *tcp_open_as(const char *kind, const char *text, const char *options, struct error *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
    struct chardev *c;
    struct socket_options o;
    char host[256], port[32], address[130];
    int fd = -1, why;

    if (options_read(kind, options, &o, err) < 0) return NULL;
    o.telnet |= !strcmp(kind, "telnet");
    if (o.telnet) kind = "telnet";
    if (chardev_address_split(kind, text, host, sizeof(host), port, sizeof(port), err) < 0) return NULL;
    hints.ai_flags = o.server ? AI_PASSIVE : 0;
    hints.ai_family = o.ipv4 ? AF_INET : o.ipv6 ? AF_INET6 : AF_UNSPEC;
    why = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (why) {
        error_set(err, "'%s:%s': %s", kind, text, gai_strerror(why));
        return NULL;
    }
    if (o.reconnect_s) {
        snprintf(address, sizeof(address), "%s:%.100s", kind, text);
        c = tcp_retrying_new(list, &o, address, err);
        freeaddrinfo(list);
        return c;
    }
    if (o.server) fd = tcp_listen(list, o.last_port);
    else for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) fd = tcp_try(a, false);
    freeaddrinfo(list);
    if (fd < 0) {
        error_set(err, "cannot %s '%s:%s': %s%s", o.server ? "listen on" : "connect to", kind, text, strerror(errno),
                  o.server ? "" : "; to wait there for others add ',server=on'");
        return NULL;
    }
    tcp_describe(kind, fd, o.server, address, sizeof(address));
    return socket_chardev_new(fd, &o, address, NULL, err);
}

struct chardev *tcp_open(const char *text, const char *options, struct error *err) { return tcp_open_as("tcp", text, options, err); }
struct chardev *telnet_open(const char *text, const char *options, struct error *err) { return tcp_open_as("telnet", text, options, err); }

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
    if (o.reconnect_s) {
        error_set(err, "reconnect= needs an address; the socket 'fd:%s' was connected elsewhere", number);
        return NULL;
    }
    if (o.server) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    snprintf(address, sizeof(address), "fd:%d", fd);
    return socket_chardev_new(fd, &o, address, NULL, err);
}
