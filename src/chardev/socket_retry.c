/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections that are made again. Nothing here waits: a connection that is on its way is seen by the loop. Each round tries all addresses; when the
 * last of them has failed the clock starts. Names were resolved once, when the device was opened.
 */
#include "chardev/socket_retry.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "chardev/chardev_private.h"

struct socket_retry {
    struct sockaddr_storage to[SOCKET_RETRY_ADDRESSES];
    socklen_t length[SOCKET_RETRY_ADDRESSES];
    unsigned count, tried, seconds;    /* tried in this round */
    struct timer *timer;
    int fd;                            /* on its way; -1: none */
    void (*found)(void *opaque, int fd);
    void *opaque;
};

void socket_retry_later(struct socket_retry *r)
{
    r->tried = 0;
    timer_arm_ns(r->timer, clock_host_ns() + r->seconds * NS_PER_SECOND);
}

/* A port of the loopback at which nobody listens may be given to the very socket that asks for it, and TCP connects that to itself. */
static bool is_itself(int fd)
{
    struct sockaddr_storage a = { 0 }, b = { 0 };
    socklen_t x = sizeof(a), y = sizeof(b);

    return getsockname(fd, (struct sockaddr *)&a, &x) == 0 && getpeername(fd, (struct sockaddr *)&b, &y) == 0 && a.ss_family != AF_UNIX && x == y && !memcmp(&a, &b, x);
}

static void failed(struct socket_retry *r)
{
    if (r->tried < r->count) timer_arm_ns(r->timer, clock_host_ns());
    else socket_retry_later(r);
}

static void result_take(struct socket_retry *r, int fd, bool good)
{
    if (good && !is_itself(fd)) {
        r->found(r->opaque, fd);
        return;
    }
    close(fd);
    failed(r);
}

static void connected(void *opaque, int fd, unsigned events)
{
    struct socket_retry *r = opaque;
    socklen_t length = sizeof(int);
    int error = 0;

    loop_fd_unwatch(fd);
    r->fd = -1;
    result_take(r, fd, getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && !error);
}

static void again(void *opaque)
{
    struct socket_retry *r = opaque;
    unsigned i = r->tried++;
    int fd = socket(r->to[i].ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) failed(r);
    else if (connect(fd, (struct sockaddr *)&r->to[i], r->length[i]) == 0) result_take(r, fd, true);
    else if (errno != EINPROGRESS) result_take(r, fd, false);
    else loop_fd_watch(r->fd = fd, LOOP_WRITE, connected, r);
}

struct socket_retry *socket_retry_new(const struct sockaddr_storage *to, const socklen_t *length, unsigned count, unsigned seconds,
                                      void (*found)(void *opaque, int fd), void *opaque)
{
    struct socket_retry *r = calloc(1, sizeof(*r));

    if (!r) return NULL;
    memcpy(r->to, to, count * sizeof(*to));
    memcpy(r->length, length, count * sizeof(*length));
    r->count = count;
    r->seconds = seconds;
    r->found = found;
    r->opaque = opaque;
    r->fd = -1;
    r->timer = timer_new(TIMER_HOST, again, r);
    timer_arm_ns(r->timer, clock_host_ns());
    return r;
}

void socket_retry_free(struct socket_retry *r)
{
    if (!r) return;
    timer_free(r->timer);
    if (r->fd >= 0) {
        loop_fd_unwatch(r->fd);
        close(r->fd);
    }
    free(r);
}
