/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames through a socket, in QEMU's formats: on a stream each has its length in front, four bytes, big endian; as datagrams each is one. A
 * server takes one peer at a time and then the next. While nobody is there, frames are lost, as on a cable without end.
 *
 * What the kernel's buffer does not take of a stream waits here, up to 256 KiB and one frame; more is refused until it is gone. Of datagrams
 * one waits, or what is left of a frame that was cut, in the same form, and the next is refused: a peer on a Unix socket that does not read has
 * the guest wait. On UDP the kernel loses what a peer does not read, and room is that of the host's own interface.
 *
 * The peer is a stranger: a length beyond the longest frame ends the connection.
 */
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "net/socket_private.h"

enum { LENGTH_BYTES = 4, OUT_LIMIT = 256 << 10, OUT_BYTES = OUT_LIMIT + NET_FRAME_MAX + LENGTH_BYTES, IN_BYTES = 256 << 10, FRAMES_A_ROUND = 64,
       AGAIN_NS = 1000000 };

static struct net_socket *of(struct net_backend *b) { return container_of(b, struct net_socket, base); }
static void fd_event(void *opaque, int fd, unsigned events);

/* Of a Unix socket that is not connected the kernel does not tell whether the one it sends to has room: that is tried again. */
static bool is_tried(const struct net_socket *s) { return s->config.datagrams && s->again; }

void net_socket_watch(struct net_socket *s)
{
    unsigned in = s->waiting ? 0u : LOOP_READ, out = s->out_bytes && !is_tried(s) ? LOOP_WRITE : 0u;

    if (s->group_fd >= 0) loop_fd_watch(s->group_fd, out, fd_event, s);
    if (s->fd >= 0) loop_fd_watch(s->fd, in | (s->group_fd >= 0 ? 0u : out), fd_event, s);
    if (s->out_bytes && is_tried(s) && !timer_is_armed(s->again)) timer_arm_ns(s->again, clock_host_ns() + AGAIN_NS);
}

/* ---- peers ---- */

static void tell(struct net_socket *s, bool is_there)
{
    struct sockaddr_storage peer = { .ss_family = AF_UNSPEC };
    socklen_t bytes = sizeof(peer);

    if (!s->config.event || s->config.datagrams) return;
    /* Who connects to a Unix socket has no name: the socket's own stands for it. */
    if (is_there) (s->listener >= 0 && s->config.path ? getsockname : getpeername)(s->fd, (struct sockaddr *)&peer, &bytes);
    s->config.event(s->config.opaque, s->base.id, is_there ? &peer : NULL);
}

static void peer_gone(struct net_socket *s)
{
    loop_fd_unwatch(s->fd);
    close(s->fd);
    s->fd = -1;
    s->out_at = s->out_bytes = s->in_at = s->in_bytes = 0;
    s->waiting = false;
    if (s->listener < 0) log_message("network %s: the other end has gone", s->base.id);
    tell(s, false);
    net_socket_wait(s);
    if (s->refused) s->refused = false, net_send_ready(&s->base, 0);
}

void net_socket_peer_take(struct net_socket *s, int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (s->config.keep_alive) setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    s->fd = fd;
    net_socket_watch(s);
    tell(s, true);
}

/* ---- from the guest ---- */

static void out_keep(struct net_socket *s, const struct iovec *iov, int count, size_t skip)
{
    if (s->out_at) memmove(s->out, s->out + s->out_at, s->out_bytes);
    s->out_at = 0;
    for (int i = 0; i < count; i++) {
        size_t part = MIN(skip, iov[i].iov_len);

        skip -= part;
        memcpy(s->out + s->out_bytes, (const uint8_t *)iov[i].iov_base + part, iov[i].iov_len - part);
        s->out_bytes += iov[i].iov_len - part;
    }
    net_socket_watch(s);
}

static bool stream_busy(struct net_backend *b, unsigned queue)
{
    struct net_socket *s = of(b);

    if (s->out_bytes >= OUT_LIMIT) s->refused = true;
    return s->out_bytes >= OUT_LIMIT;
}

static bool stream_send(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    struct net_socket *s = of(b);
    be32 length = be32_make((uint32_t)f->bytes);
    struct iovec iov[NET_PIECES_MAX + 1] = { { &length, LENGTH_BYTES } };
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = MIN(f->count, 1023u) + 1 };
    ssize_t n = 0;

    if (s->fd < 0 || f->count > 1023 || s->out_bytes + f->bytes + LENGTH_BYTES > OUT_BYTES) {
        b->dropped++;
        return true;
    }
    memcpy(iov + 1, f->iov, f->count * sizeof(*iov));
    if (!s->out_bytes) n = sendmsg(s->fd, &m, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        b->dropped++;                                    /* if the peer has gone, the reader sees it */
        return true;
    }
    if ((size_t)MAX(n, (ssize_t)0) < f->bytes + LENGTH_BYTES) out_keep(s, iov, (int)f->count + 1, (size_t)MAX(n, (ssize_t)0));
    return true;
}

/* false: there is no room now. */
static bool datagram_out(struct net_socket *s, const struct iovec *iov, unsigned count)
{
    int fd = s->group_fd >= 0 ? s->group_fd : s->fd;
    struct msghdr m = { .msg_name = s->to_bytes ? &s->to : NULL, .msg_namelen = s->to_bytes, .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count };

    if (sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return true;
    if (errno == EAGAIN) return false;
    s->base.dropped++;
    return true;
}

static bool datagram_busy(struct net_backend *b, unsigned queue)
{
    struct net_socket *s = of(b);

    if (s->out_bytes) s->refused = true;
    return s->out_bytes;
}

static bool datagram_send(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    struct net_socket *s = of(b);
    be32 length = be32_make((uint32_t)f->bytes);

    if (f->count > 1024 || s->out_bytes + f->bytes + LENGTH_BYTES > OUT_BYTES) {
        b->dropped++;
        return true;
    }
    if (!s->out_bytes && datagram_out(s, f->iov, f->count)) return true;
    out_keep(s, &(struct iovec){ &length, LENGTH_BYTES }, 1, 0);
    out_keep(s, f->iov, (int)f->count, 0);
    return true;
}

static void datagrams_flush(struct net_socket *s)
{
    while (s->out_bytes) {
        size_t bytes = be32_get(*(const be32 *)(s->out + s->out_at));

        if (!datagram_out(s, &(struct iovec){ s->out + s->out_at + LENGTH_BYTES, bytes }, 1)) break;
        s->out_at += bytes + LENGTH_BYTES;
        s->out_bytes -= bytes + LENGTH_BYTES;
    }
    net_socket_watch(s);
    if (s->out_bytes) return;
    s->out_at = 0;
    if (s->refused) s->refused = false, net_send_ready(&s->base, 0);
}

void net_socket_again(void *opaque) { datagrams_flush(opaque); }

static void out_flush(struct net_socket *s)
{
    ssize_t n = send(s->fd, s->out + s->out_at, s->out_bytes, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN && errno != EINTR) {    /* nobody reads there any more, though they may go on writing */
        peer_gone(s);
        return;
    }
    if (n <= 0) return;
    s->out_at += (size_t)n;
    s->out_bytes -= (size_t)n;
    if (!s->out_bytes) s->out_at = 0;
    if (!s->refused || s->out_bytes >= OUT_LIMIT / 2) return;
    s->refused = false;
    net_send_ready(&s->base, 0);
}

/* ---- to the guest ---- */

static bool frame_give(struct net_socket *s, uint8_t *data, size_t bytes)
{
    struct iovec iov = { data, bytes };

    return net_deliver(&s->base, 0, &(struct net_frame){ .iov = &iov, .count = 1, .bytes = bytes });
}

/* Whole frames out of in; false: the peer does not speak this. */
static bool stream_parse(struct net_socket *s)
{
    while (s->in_bytes >= LENGTH_BYTES) {
        uint8_t *p = s->in + s->in_at;
        size_t length = be32_get(*(const be32 *)p);

        if (!length || length > NET_FRAME_MAX) return false;
        if (s->in_bytes < length + LENGTH_BYTES) break;
        s->waiting = false;                              /* the card may ask for more while it gets this one */
        s->waiting = !frame_give(s, p + LENGTH_BYTES, length);
        if (s->waiting) break;
        s->in_at += length + LENGTH_BYTES;
        s->in_bytes -= length + LENGTH_BYTES;
    }
    return true;
}

static void stream_take(struct net_socket *s)
{
    ssize_t n = 0;

    if (!s->waiting) {
        if (s->in_at) memmove(s->in, s->in + s->in_at, s->in_bytes);
        s->in_at = 0;
        n = recv(s->fd, s->in + s->in_bytes, IN_BYTES - s->in_bytes, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            peer_gone(s);
            return;
        }
        if (n > 0) s->in_bytes += (size_t)n;
    }
    if (!stream_parse(s)) {
        log_message("network %s: the other end sends no frames; it is disconnected", s->base.id);
        peer_gone(s);
        return;
    }
    net_delivered(&s->base, 0);
    net_socket_watch(s);
}

/* What a member of a group sends it gets itself, too. */
static bool is_own(const struct net_socket *s, const struct sockaddr_storage *from, socklen_t bytes)
{
    return s->own_bytes && bytes == s->own_bytes && !memcmp(from, &s->own, bytes);
}

static void datagrams_take(struct net_socket *s)
{
    for (unsigned i = 0; i < FRAMES_A_ROUND; i++) {
        if (!s->waiting) {
            struct sockaddr_storage from;
            socklen_t bytes = sizeof(from);
            ssize_t n = recvfrom(s->fd, s->in, NET_FRAME_MAX, MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&from, &bytes);

            if (n <= 0) break;
            if (is_own(s, &from, bytes)) continue;
            if (n > NET_FRAME_MAX) {                     /* only a part of it is there */
                s->base.dropped++;
                continue;
            }
            s->in_bytes = (size_t)n;
        }
        s->waiting = false;
        s->waiting = !frame_give(s, s->in, s->in_bytes);
        if (s->waiting) break;
    }
    net_delivered(&s->base, 0);
    net_socket_watch(s);
}

static void fd_event(void *opaque, int fd, unsigned events)
{
    struct net_socket *s = opaque;

    if (s->out_bytes && s->config.datagrams) datagrams_flush(s);         /* whatever it is: an error stays until a call has told it */
    else if (s->out_bytes && events & LOOP_WRITE) out_flush(s);
    if (s->fd != fd) return;
    net_socket_watch(s);
    if (s->waiting) {
        if (events & LOOP_HANGUP && !s->config.datagrams) peer_gone(s);
    } else if (events & (LOOP_READ | LOOP_HANGUP)) (s->config.datagrams ? datagrams_take : stream_take)(s);
}

static void socket_ready(struct net_backend *b, unsigned queue)
{
    struct net_socket *s = of(b);

    if (s->waiting) (s->config.datagrams ? datagrams_take : stream_take)(s);
}

/* ---- life ---- */

static void socket_describe(const struct net_backend *b, char *text, size_t size)
{
    const struct net_socket *s = container_of(b, const struct net_socket, base);
    const struct net_socket_config *c = &s->config;

    if (c->fd >= 0) {
        snprintf(text, size, ",fd=%d%s", c->fd, s->fd >= 0 ? "" : ",disconnected");
        return;
    }
    if (c->datagrams && !c->path) {
        if (net_socket_is_group(c->host)) snprintf(text, size, ",mcast=%s:%s", c->host, c->port);
        else snprintf(text, size, ",udp=%s:%s/%s:%s", c->local_host ? c->local_host : "", c->local_port, c->host ? c->host : "", c->port);
        return;
    }
    snprintf(text, size, ",%s%s%s%s%s%s", c->path ? "path=" : c->host ? "addr=" : "", c->path ? c->path : c->host ? c->host : "", c->path || !c->port ? "" : ":",
             c->path || !c->port ? "" : c->port, c->server ? ",server=on" : "", c->datagrams || s->fd >= 0 ? "" : ",disconnected");
}

static void socket_destroy(struct net_backend *b)
{
    struct net_socket *s = of(b);

    const int fds[] = { s->fd, s->listener, s->connecting, s->group_fd };

    for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0) loop_fd_unwatch(fds[i]), close(fds[i]);
    timer_free(s->again);
    if (s->unlink_path) unlink(s->unlink_path);
    free(s->unlink_path);
    free(s->out);
    free(s->in);
    net_backend_fini(b);
    free(s);
}

static const struct net_backend_ops stream_ops = {
    .type = "stream", .send = stream_send, .is_busy = stream_busy, .ready = socket_ready, .describe = socket_describe, .destroy = socket_destroy,
};
const struct net_backend_ops net_datagram_ops = {
    .type = "dgram", .send = datagram_send, .is_busy = datagram_busy, .ready = socket_ready, .describe = socket_describe, .destroy = socket_destroy,
};

struct net_backend *net_socket_new(const char *id, const struct net_socket_config *c, struct error *err)
{
    struct net_socket *s = calloc(1, sizeof(*s));

    if (!s || net_backend_init(&s->base, c->datagrams ? &net_datagram_ops : &stream_ops, id, err) < 0) {
        if (!s) error_set(err, "no memory for a network");
        free(s);
        return NULL;
    }
    s->config = *c;
    s->fd = s->listener = s->connecting = s->group_fd = -1;
    s->in = malloc(IN_BYTES);
    s->out = malloc(OUT_BYTES);
    if (!s->in || !s->out) error_set(err, "no memory for a network");
    else if (net_socket_start(s, err) == 0) return &s->base;
    socket_destroy(&s->base);
    return NULL;
}
