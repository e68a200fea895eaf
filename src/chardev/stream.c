/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backend over file descriptors. Input is read only as far as the frontend takes it; output goes out at once where
 * it can and waits in a ring otherwise. Nothing here blocks: output descriptors are non-blocking (or regular files),
 * input is read only after the loop called it readable.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/loop.h"
#include "chardev/chardev_private.h"

enum { QUEUE_BYTES = 1 << 20, READ_BYTES = 4096, FLUSH_MS = 1000, ENCODE_BYTES = 1024 };

static void stream_watch(struct stream *s);

static struct stream *to_stream(struct chardev *c)
{
    return container_of(c, struct stream, base);
}

static ssize_t stream_send(struct stream *s, const uint8_t *data, size_t size)
{
    ssize_t n;

    do {
        n = s->out_is_socket ? send(s->out_fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) : write(s->out_fd, data, size);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* The peer is gone or broken: what waits for it is dropped. */
static void output_fail(struct stream *s)
{
    s->queue_used = s->queue_at = 0;
    if (s->hung_up) s->hung_up(s);
}

static void queue_send(struct stream *s)
{
    while (s->queue_used && s->out_fd >= 0) {
        size_t part = MIN(s->queue_used, QUEUE_BYTES - s->queue_at);
        ssize_t n = stream_send(s, s->queue + s->queue_at, part);

        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n <= 0) {
            output_fail(s);
            return;
        }
        s->queue_at = (s->queue_at + n) % QUEUE_BYTES;
        s->queue_used -= n;
    }
}

static size_t queue_add(struct stream *s, const uint8_t *data, size_t size)
{
    size_t end, part;

    if (!s->queue && !(s->queue = malloc(QUEUE_BYTES))) return 0;
    size = MIN(size, QUEUE_BYTES - s->queue_used);
    end = (s->queue_at + s->queue_used) % QUEUE_BYTES;
    part = MIN(size, QUEUE_BYTES - end);
    memcpy(s->queue + end, data, part);
    memcpy(s->queue, data + part, size - part);
    s->queue_used += size;
    return size;
}

static size_t bytes_put(struct stream *s, const uint8_t *data, size_t size)
{
    size_t done = 0;

    if (s->out_fd < 0) return size;
    if (!s->queue_used) {
        ssize_t n = stream_send(s, data, size);

        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            output_fail(s);
            return size;
        }
        done = n < 0 ? 0 : n;
    }
    if (done < size) done += queue_add(s, data + done, size - done);
    return done;
}

void stream_put(struct stream *s, const uint8_t *data, size_t size)
{
    if (size <= QUEUE_BYTES - s->queue_used) bytes_put(s, data, size);
}

/* A piece goes out whole or stays with the caller. */
static size_t encoded_put(struct stream *s, const uint8_t *data, size_t size)
{
    uint8_t out[2 * ENCODE_BYTES];
    size_t done = 0;

    while (done < size && QUEUE_BYTES - s->queue_used >= sizeof(out)) {
        size_t n = MIN(size - done, (size_t)ENCODE_BYTES);

        bytes_put(s, out, s->encode(s, data + done, n, out));
        done += n;
    }
    return done;
}

static size_t stream_write(struct chardev *c, const uint8_t *data, size_t size)
{
    struct stream *s = to_stream(c);
    size_t done;

    if (s->out_fd < 0) return size;
    done = s->encode ? encoded_put(s, data, size) : bytes_put(s, data, size);
    stream_watch(s);
    return done;
}

static void input_end(struct stream *s)
{
    s->ended = true;
    if (s->hung_up) s->hung_up(s);
    else if (s->base.frontend.event) s->base.frontend.event(s->base.frontend.opaque, false);
}

/* ---- descriptors beside the bytes ---- */

static void descriptors_drop(struct stream *s)
{
    while (s->descriptors) close(s->descriptor[--s->descriptors]);
}

/* Those of one message; what there is no room for is closed. */
static void descriptors_keep(struct stream *s, const struct cmsghdr *c)
{
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    int fd;

    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) return;
    descriptors_drop(s);
    for (size_t i = 0; i < n; i++) {
        memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
        if (s->descriptors < STREAM_DESCRIPTORS) s->descriptor[s->descriptors++] = fd;
        else close(fd);
    }
}

static ssize_t message_read(struct stream *s, uint8_t *data, size_t size)
{
    union { struct cmsghdr align; char bytes[CMSG_SPACE(STREAM_DESCRIPTORS * sizeof(int))]; } control;
    struct iovec part = { data, size };
    struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    ssize_t n = recvmsg(s->in_fd, &m, MSG_CMSG_CLOEXEC);

    for (struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL; c; c = CMSG_NXTHDR(&m, c)) descriptors_keep(s, c);
    return n;
}

void stream_descriptors_accept(struct stream *s)
{
    s->takes_descriptors = true;
}

int stream_descriptor_take(struct stream *s)
{
    int fd = s->descriptors ? s->descriptor[0] : -1;

    if (fd < 0) return -1;
    memmove(s->descriptor, s->descriptor + 1, --s->descriptors * sizeof(fd));
    return fd;
}

static void input_read(struct stream *s)
{
    const struct chardev_frontend *f = &s->base.frontend;
    uint8_t data[READ_BYTES];
    size_t room = f->receive ? f->can_receive(f->opaque) : 0;
    ssize_t n;

    if (!room || s->ended) return;
    if (s->takes_descriptors && s->out_is_socket) n = message_read(s, data, MIN(room, sizeof(data)));
    else n = read(s->in_fd, data, MIN(room, sizeof(data)));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        input_end(s);
        return;
    }
    s->reading = true;
    if (s->decode) n = (ssize_t)s->decode(s, data, (size_t)n);
    if (n) f->receive(f->opaque, data, (size_t)n);
    s->reading = false;
}

/* A peer that closed while nobody reads: it is gone, unless it has left bytes for somebody who will. */
static void peer_check(struct stream *s)
{
    int left = 0;

    s->closed_noticed = true;
    if (ioctl(s->in_fd, FIONREAD, &left) == 0 && left == 0) input_end(s);
}

static void stream_ready(void *opaque, int fd, unsigned events)
{
    struct stream *s = opaque;

    if (fd == s->out_fd && (events & (LOOP_WRITE | LOOP_HANGUP))) {
        if ((events & LOOP_HANGUP) && fd != s->in_fd) output_fail(s);
        else {
            queue_send(s);
            if (!s->queue_used && s->out_fd >= 0 && s->base.frontend.writable) s->base.frontend.writable(s->base.frontend.opaque);
        }
    }
    if (fd == s->in_fd && (events & LOOP_HANGUP) && s->hung_up && !s->in_watched) peer_check(s);
    else if (fd == s->in_fd && (events & (LOOP_READ | LOOP_HANGUP))) input_read(s);
    stream_watch(s);
}

/* Watches what there is a reason to wait for. A hang-up is reported whether asked for or not, so a descriptor that
 * nobody wants to read must leave the loop altogether; but a peer that goes makes room for the next, read or not. */
static void stream_watch(struct stream *s)
{
    const struct chardev_frontend *f = &s->base.frontend;
    bool in = s->in_fd >= 0 && !s->ended && !s->reading && f->receive && f->can_receive(f->opaque) > 0;
    bool out = s->out_fd >= 0 && s->queue_used > 0, peer = s->in_fd >= 0 && s->hung_up && !s->closed_noticed;

    if (s->reading) in = s->in_watched;
    if (s->in_fd == s->out_fd) {
        if (s->in_fd < 0 || (in == s->in_watched && out == s->out_watched && peer == s->peer_watched)) return;
        loop_fd_watch(s->in_fd, (in ? LOOP_READ : 0) | (out ? LOOP_WRITE : 0) | (peer ? LOOP_HANGUP : 0), stream_ready, s);
        s->peer_watched = peer;
    } else {
        if (in != s->in_watched) loop_fd_watch(s->in_fd, in ? LOOP_READ : 0, stream_ready, s);
        if (out != s->out_watched) loop_fd_watch(s->out_fd, out ? LOOP_WRITE : 0, stream_ready, s);
    }
    s->in_watched = in;
    s->out_watched = out;
}

static void stream_accept_input(struct chardev *c)
{
    stream_watch(to_stream(c));
}

void stream_init(struct stream *s, int in_fd, int out_fd)
{
    s->base.ops = &stream_ops;
    s->in_fd = in_fd;
    s->out_fd = out_fd;
}

void stream_connect(struct stream *s, int fd, bool is_socket)
{
    s->in_fd = s->out_fd = fd;
    s->own_in = true;
    s->own_out = false;
    s->out_is_socket = is_socket;
    s->ended = s->closed_noticed = false;
    s->queue_at = s->queue_used = 0;
    if (s->base.frontend.event) s->base.frontend.event(s->base.frontend.opaque, true);
    stream_watch(s);
}

void stream_disconnect(struct stream *s)
{
    if (s->in_fd < 0) return;
    loop_fd_unwatch(s->in_fd);
    close(s->in_fd);
    s->in_fd = s->out_fd = -1;
    s->in_watched = s->out_watched = s->peer_watched = false;
    s->queue_at = s->queue_used = 0;
    descriptors_drop(s);
    if (s->base.frontend.event) s->base.frontend.event(s->base.frontend.opaque, false);
}

/* The last lines of a guest shall not be lost: a short wait for a peer that is slow, not for one that sleeps. */
static void stream_flush(struct stream *s)
{
    int64_t end = clock_host_ns() + FLUSH_MS * 1000000LL;

    s->hung_up = NULL;
    while (s->queue_used && s->out_fd >= 0 && clock_host_ns() < end) {
        struct pollfd p = { s->out_fd, POLLOUT, 0 };

        if (poll(&p, 1, 50) > 0) queue_send(s);
    }
}

static void stream_close(struct chardev *c)
{
    struct stream *s = to_stream(c);

    stream_flush(s);
    if (s->in_fd >= 0) loop_fd_unwatch(s->in_fd);
    if (s->out_fd >= 0) loop_fd_unwatch(s->out_fd);
    if (s->closing) s->closing(s);
    if (s->own_out && s->out_fd >= 0 && s->out_fd != s->in_fd) close(s->out_fd);
    if (s->own_in && s->in_fd >= 0) close(s->in_fd);
    descriptors_drop(s);
    free(s->queue);
    free(s);
}

const struct chardev_ops stream_ops = { stream_write, stream_accept_input, stream_close };
