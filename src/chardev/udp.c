/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * udp:[HOST]:PORT[@[HOST]:PORT]: datagrams to the first address, from the second. What a frontend writes at once is one datagram; what cannot be
 * sent is lost, as is the way of datagrams. Of what comes in, one datagram at a time is kept until the frontend has taken it. Only the
 * first address' datagrams come in.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "chardev/chardev_private.h"

enum { DATAGRAM_MAX = 65536, PIECE_MAX = 1400 };

struct udp {
    struct chardev base;
    int fd;
    bool watched, handing;
    size_t at, end;
    uint8_t datagram[DATAGRAM_MAX];
};

static struct udp *udp_of(struct chardev *c) { return container_of(c, struct udp, base); }

static size_t udp_write(struct chardev *c, const uint8_t *data, size_t size)
{
    for (size_t done = 0, n; done < size; done += n) {
        n = MIN(size - done, (size_t)PIECE_MAX);
        if (send(udp_of(c)->fd, data + done, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == ECONNREFUSED)
            send(udp_of(c)->fd, data + done, n, MSG_DONTWAIT | MSG_NOSIGNAL);   /* that was about an earlier one */
    }
    return size;
}

static void udp_accept_input(struct chardev *c);

static void udp_ready(void *opaque, int fd, unsigned events)
{
    struct udp *u = opaque;
    ssize_t n = recv(fd, u->datagram, sizeof(u->datagram), MSG_DONTWAIT);

    u->at = 0;
    u->end = n > 0 ? (size_t)n : 0;
    udp_accept_input(&u->base);
}

/* A frontend may ask for more from inside of receive. */
static void udp_accept_input(struct chardev *c)
{
    struct udp *u = udp_of(c);
    const struct chardev_frontend *f = &c->frontend;
    bool wants;

    if (u->handing) return;
    u->handing = true;
    for (size_t n; u->at < u->end && f->receive && (n = MIN(f->can_receive(f->opaque), u->end - u->at)); u->at += n) f->receive(f->opaque, u->datagram + u->at, n);
    u->handing = false;
    wants = u->at == u->end && f->receive && f->can_receive(f->opaque);
    if (wants != u->watched) loop_fd_watch(u->fd, wants ? LOOP_READ : 0, udp_ready, u);
    u->watched = wants;
}

static void udp_close(struct chardev *c)
{
    loop_fd_unwatch(udp_of(c)->fd);
    close(udp_of(c)->fd);
    free(udp_of(c));
}

static const struct chardev_ops udp_ops = { udp_write, udp_accept_input, udp_close };

/* ---- addresses ---- */

struct ends { char host[256], port[32], local_host[256], local_port[32]; };

static int ends_read(const char *text, struct ends *e, struct error *err)
{
    const char *at = strchr(text, '@');
    char remote[320];

    *e = (struct ends){ .local_port = "0" };
    snprintf(remote, sizeof(remote), "%.*s", at ? (int)(at - text) : (int)sizeof(remote) - 1, text);
    if (chardev_address_split("udp", remote, e->host, sizeof(e->host), e->port, sizeof(e->port), err) < 0) return -1;
    return at ? chardev_address_split("udp", at + 1, e->local_host, sizeof(e->local_host), e->local_port, sizeof(e->local_port), err) : 0;
}

static struct addrinfo *resolve(const char *host, const char *port, int family, bool passive, struct error *err)
{
    struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_DGRAM, .ai_flags = passive ? AI_PASSIVE : 0 }, *list;
    int why = getaddrinfo(*host ? host : NULL, port, &hints, &list);

    if (!why) return list;
    error_set(err, "'udp:%s:%s': %s", host, port, gai_strerror(why));
    return NULL;
}

static int udp_socket(const struct ends *e, const struct addrinfo *to, struct error *err)
{
    struct addrinfo *from = resolve(e->local_host, e->local_port, to->ai_family, true, err);
    int fd = from ? socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;

    if (!from) return -1;
    if (fd < 0 || bind(fd, from->ai_addr, from->ai_addrlen) < 0 || connect(fd, to->ai_addr, to->ai_addrlen) < 0) {
        error_set(err, "cannot send from 'udp:%s:%s' to '%s:%s': %s", e->local_host, e->local_port, e->host, e->port, strerror(errno));
        if (fd >= 0) close(fd);
        fd = -1;
    }
    freeaddrinfo(from);
    return fd;
}

struct chardev *udp_open(const char *text, const char *options, struct error *err)
{
    static const char *const names[] = { "ipv4", "ipv6", NULL };
    bool ipv4 = false, ipv6 = false;
    struct addrinfo *to;
    struct ends e;
    struct udp *u;
    int fd;

    if (chardev_options_check("udp", options, names, err) < 0 || chardev_option_bool(options, "ipv4", &ipv4, err) < 0 ||
        chardev_option_bool(options, "ipv6", &ipv6, err) < 0 || ends_read(text, &e, err) < 0) return NULL;
    to = resolve(e.host, e.port, ipv4 ? AF_INET : ipv6 ? AF_INET6 : AF_UNSPEC, false, err);
    if (!to) return NULL;
    fd = udp_socket(&e, to, err);
    freeaddrinfo(to);
    if (fd < 0) return NULL;
    u = malloc(sizeof(*u));
    if (!u) {
        close(fd);
        error_set(err, "out of memory");
        return NULL;
    }
    memset(u, 0, offsetof(struct udp, datagram));
    u->base.ops = &udp_ops;
    u->fd = fd;
    return &u->base;
}
