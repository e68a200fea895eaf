/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's side of the socket device. A program that wants a port of the guest connects to the device's Unix socket and writes "CONNECT PORT" and
 * a newline; when a program in the guest has accepted, it reads "OK NUMBER" and a newline, and from then on the stream. A connection
 * that the guest makes to port P of CID 2 goes to the Unix socket whose path ends in _P, where the host's program listens. Firecracker and
 * cloud-hypervisor do it like this; programs that were made for them work.
 *
 * Sockets never block. A descriptor is watched only while something can come of it, so an unread byte does not spin the loop. What a socket does
 * not take is kept, at most the room that the guest was told of.
 * Source: Firecracker, docs/vsock.md (the greeting).
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/socket_accept.h"
#include "device/virtio/virtio_vsock_private.h"

enum { BACKLOG = 128, FIRST_PORT = 1 << 30 };

static void fd_ready(void *opaque, int fd, unsigned events);

/* ---- watching ---- */

void vsock_host_watch(struct vsock_connection *c)
{
    bool reads = c->state == VSOCK_GREETING || (c->state == VSOCK_OPEN && !c->readable && !(c->host_shut & VSOCK_NO_SEND) && !(c->guest_shut & VSOCK_NO_RECEIVE));
    unsigned events = (reads ? LOOP_READ : 0) | (c->count ? LOOP_WRITE : 0);

    if (c->fd < 0) return;
    if (events) loop_fd_watch(c->fd, events, fd_ready, c);
    else loop_fd_unwatch(c->fd);
}

void vsock_host_close(struct vsock_connection *c)
{
    if (c->fd < 0) return;
    loop_fd_unwatch(c->fd);
    close(c->fd);
    c->fd = -1;
    free(c->buffer);
    c->buffer = NULL;
    c->count = 0;
}

/* ---- bytes for the host ---- */

/* Nobody reads them any more: they count as taken, and the guest is told. */
static void reader_gone(struct vsock_connection *c)
{
    c->forwarded += (uint32_t)c->count;
    c->count = 0;
    if (c->host_shut & VSOCK_NO_RECEIVE) return;
    c->host_shut |= VSOCK_NO_RECEIVE;
    if (c->state == VSOCK_OPEN) vsock_due(c, DUE_SHUTDOWN);
}

/* -1: there is nobody any more. */
static ssize_t socket_write(struct vsock_connection *c, struct iovec *iov, unsigned pieces)
{
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = pieces };
    ssize_t n;

    do n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n >= 0) c->forwarded += (uint32_t)n;
    return n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) ? 0 : n;
}

/* Room is told of in pieces that are worth a packet. */
static void room_tell(struct vsock_connection *c)
{
    if (c->state == VSOCK_OPEN && c->forwarded - c->forwarded_told >= VSOCK_BUFFER_BYTES / 4) vsock_due(c, DUE_CREDIT);
}

static void keep(struct vsock_connection *c, const struct iovec *iov, unsigned pieces)
{
    for (unsigned i = 0; i < pieces; i++) {
        const uint8_t *from = iov[i].iov_base;
        size_t left = iov[i].iov_len;

        while (left) {
            size_t at = (c->first + c->count) % VSOCK_BUFFER_BYTES, here = MIN(left, VSOCK_BUFFER_BYTES - at);

            memcpy(c->buffer + at, from, here);
            from += here;
            left -= here;
            c->count += here;
        }
    }
}

static uint64_t iov_bytes(const struct iovec *iov, unsigned pieces)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < pieces; i++) bytes += iov[i].iov_len;
    return bytes;
}

void vsock_host_write(struct vsock_connection *c, struct iovec *iov, unsigned pieces)
{
    ssize_t n = c->count || c->host_shut & VSOCK_NO_RECEIVE ? 0 : socket_write(c, iov, pieces);

    if (n < 0 || c->host_shut & VSOCK_NO_RECEIVE) {
        c->forwarded += (uint32_t)iov_bytes(iov, pieces);
        reader_gone(c);
    } else if ((pieces = virtqueue_iov_skip(&iov, pieces, (uint64_t)n))) {
        if (!c->buffer) c->buffer = malloc(VSOCK_BUFFER_BYTES);
        if (c->buffer) keep(c, iov, pieces);
        else {
            vsock_due(c, DUE_RST);                     /* bytes cannot be lost in the middle */
            return;
        }
    }
    room_tell(c);
    vsock_host_watch(c);
}

/* What was kept. */
static void flush(struct vsock_connection *c)
{
    while (c->count) {
        size_t front = MIN(c->count, VSOCK_BUFFER_BYTES - c->first);
        struct iovec iov[2] = { { c->buffer + c->first, front }, { c->buffer, c->count - front } };
        ssize_t n = socket_write(c, iov, iov[1].iov_len ? 2 : 1);

        if (n < 0) reader_gone(c);
        if (n <= 0) break;
        c->first = (c->first + (size_t)n) % VSOCK_BUFFER_BYTES;
        c->count -= (size_t)n;
    }
    room_tell(c);
    if (c->count) return;
    free(c->buffer);
    c->buffer = NULL;
    c->first = 0;
}

void vsock_host_shut(struct vsock_connection *c)
{
    if (c->fd < 0 || (c->state != VSOCK_OPEN && c->state != VSOCK_DRAINING)) return;
    if (c->guest_shut & VSOCK_NO_RECEIVE) {
        shutdown(c->fd, SHUT_RD);
        c->readable = false;
    }
    if (c->guest_shut & VSOCK_NO_SEND && !c->count) shutdown(c->fd, SHUT_WR);
    vsock_host_watch(c);
}

/* ---- bytes for the guest ---- */

size_t vsock_host_read(struct vsock_connection *c, struct iovec *iov, unsigned pieces)
{
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = pieces };
    struct pollfd p = { .fd = c->fd, .events = POLLIN };
    ssize_t n;

    do n = recvmsg(c->fd, &m, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) return (size_t)n;
    c->readable = false;
    if (n == 0 || (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM)) {
        /* A program that only says that it has said all may still listen. */
        c->host_shut |= VSOCK_NO_SEND | (poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR) ? VSOCK_NO_RECEIVE : 0);
        c->due |= DUE_SHUTDOWN;
    }
    vsock_host_watch(c);
    return 0;
}

/* ---- the greeting ---- */

static uint32_t port_make(struct vsock *s, uint32_t guest_port)
{
    for (;;) {
        const struct vsock_connection *c = s->first;

        s->last_port = s->last_port < FIRST_PORT || s->last_port == UINT32_MAX - 1 ? FIRST_PORT : s->last_port + 1;
        while (c && !(c->guest_port == guest_port && c->host_port == s->last_port)) c = c->next;
        if (!c) return s->last_port;
    }
}

static bool port_read(const char *line, uint32_t *port)
{
    uint64_t n = 0;

    if (strncmp(line, "CONNECT ", 8) && strncmp(line, "connect ", 8)) return false;
    line += 8;
    if (!*line || strlen(line) > 10) return false;
    for (; *line; line++) {
        if (*line < '0' || *line > '9') return false;
        n = n * 10 + (uint64_t)(*line - '0');
    }
    *port = (uint32_t)n;
    return n < UINT32_MAX;
}

/* Byte by byte: what stands behind the line is the guest's. 1: there it is, 0: more is to come, -1: this is no greeting. */
static int line_read(struct vsock_connection *c)
{
    while (c->line_bytes < VSOCK_LINE_MAX) {
        ssize_t n = recv(c->fd, c->line + c->line_bytes, 1, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
        if (n <= 0) return -1;
        if (c->line[c->line_bytes] == '\n') {
            c->line[c->line_bytes] = 0;
            return 1;
        }
        c->line_bytes++;
    }
    return -1;
}

static void greet(struct vsock_connection *c)
{
    int got = line_read(c);
    uint32_t port;

    if (got == 0) return;
    if (got < 0 || !port_read(c->line, &port) || !(c->s->v.status & VIRTIO_STATUS_DRIVER_OK)) {
        vsock_connection_free(c);
        return;
    }
    c->host_port = port_make(c->s, port);
    c->guest_port = port;
    c->state = VSOCK_REQUESTED;
    vsock_host_watch(c);
    vsock_due(c, DUE_REQUEST);
}

bool vsock_host_welcome(struct vsock_connection *c)
{
    char text[24];
    int size = snprintf(text, sizeof(text), "OK %u\n", c->host_port);

    return send(c->fd, text, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) == size;
}

/* ---- what happens ---- */

static void fd_ready(void *opaque, int fd, unsigned events)
{
    struct vsock_connection *c = opaque;
    struct vsock *s = c->s;

    if (c->state == VSOCK_GREETING) greet(c);
    else {
        bool had = c->count != 0;

        if (had && events & (LOOP_WRITE | LOOP_HANGUP)) flush(c);
        if (events & (LOOP_READ | LOOP_HANGUP) && c->state == VSOCK_OPEN && !(c->host_shut & VSOCK_NO_SEND) && !(c->guest_shut & VSOCK_NO_RECEIVE)) {
            c->readable = true;
            vsock_due(c, 0);
        }
        if (had && !c->count && c->state == VSOCK_DRAINING) vsock_connection_free(c);
        else if (had && !c->count && c->guest_shut == VSOCK_NEITHER) vsock_finish(c);
        else if (had && !c->count) vsock_host_shut(c);
        else vsock_host_watch(c);
    }
    vsock_pump(s);
}

/* ---- the listener ---- */

static void peer_ready(void *opaque, int listener, unsigned events)
{
    struct vsock *s = opaque;
    int fd = socket_accept(listener);
    struct vsock_connection *c;

    if (fd < 0) return;
    c = vsock_connection_new(s, VSOCK_GREETING, fd);
    if (c) vsock_host_watch(c);
    else close(fd);
}

/* A socket that a killed machine has left goes; one where somebody listens stays. */
static bool leftover_remove(const struct sockaddr_un *a)
{
    int why = errno;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool dead = fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 && errno == ECONNREFUSED;
    struct stat st;

    if (fd >= 0) close(fd);
    if (dead && lstat(a->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && unlink(a->sun_path) == 0) return true;
    errno = why;
    return false;
}

int vsock_listen(struct vsock *s, struct error *err)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", s->path);
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listener < 0) return error_set(err, "virtio-vsock: cannot make a socket: %s", strerror(errno));
    if (bind(s->listener, (struct sockaddr *)&a, sizeof(a)) < 0 && !(leftover_remove(&a) && bind(s->listener, (struct sockaddr *)&a, sizeof(a)) == 0)) {
        error_set(err, "virtio-vsock: cannot make the socket '%s': %s; give another path=", s->path, strerror(errno));
        close(s->listener);
        s->listener = -1;
        return -1;
    }
    if (listen(s->listener, BACKLOG) < 0) return error_set(err, "virtio-vsock: cannot listen on '%s': %s", s->path, strerror(errno));
    loop_fd_watch(s->listener, LOOP_READ, peer_ready, s);
    return 0;
}

void vsock_unlisten(struct vsock *s)
{
    if (s->listener < 0) return;
    loop_fd_unwatch(s->listener);
    close(s->listener);
    unlink(s->path);
}

int vsock_host_connect(struct vsock *s, uint32_t port)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%.*s_%u", VIRTIO_VSOCK_PATH_MAX, s->path, port);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) return fd;
    close(fd);
    return -1;
}
