/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User networking by libslirp: a TCP/IP stack whose connections end in sockets of this process.
 *
 * libslirp is made for poll(2) with all its descriptors in every round. Here they lie in an epoll set of their own, which is one
 * descriptor of the main loop; the set follows what libslirp wants after each call into it, and the kernel is told only of
 * changes. Frames from the guest are handed over on the thread that sends them, answers may come at once. If the
 * guest has no room for a frame, up to 256 wait, and no socket is read until they are gone. libslirp cannot be called from within: what
 * somebody on a hub answers at once to a frame of its is lost.
 *
 * Limits: libslirp's (no ICMP but echo, no inbound connections without hostfwd). IPv6 datagrams above the MTU are dropped.
 */
#include "net/user.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "net/user_private.h"

enum { WAITING_MAX = 256, EVENTS = 64, IDLE_MS = 1000 };
#define NS_PER_MS 1000000LL

struct waiting {
    struct waiting *next;
    struct net_header header;
    size_t bytes;
    uint8_t data[];
};

struct user_timer {
    struct user_timer *next;
    struct user *u;
    struct timer *timer;
    SlirpTimerId id;
    void *opaque;
};

static struct user *of(struct net_backend *b) { return container_of(b, struct user, base); }

/* ---- frames ---- */

static void wait_add(struct user *u, const struct net_frame *f)
{
    struct waiting *w = u->waiting_count < WAITING_MAX ? malloc(sizeof(*w) + f->bytes) : NULL;

    if (!w) {
        u->base.dropped++;
        return;
    }
    *w = (struct waiting){ .header = f->header, .bytes = f->bytes };
    net_frame_copy(f, w->data);
    *u->last = w;
    u->last = &w->next;
    u->waiting_count++;
}

void user_deliver(struct user *u, const struct net_frame *f)
{
    if (u->first || !net_deliver(&u->base, 0, f)) wait_add(u, f);
    else u->has_delivered = true;
}

/* Once for all that was: on a hub two of these networks would tell each other without end. */
void user_delivered_tell(struct user *u)
{
    if (!u->has_delivered) return;
    u->has_delivered = false;
    net_delivered(&u->base, 0);
}

/* A card that is handed a frame may say at once that it has room. */
static void waiting_flush(struct user *u)
{
    struct waiting *w;

    if (u->is_flushing) return;
    u->is_flushing = true;
    while ((w = u->first)) {
        struct iovec iov = { w->data, w->bytes };

        if (!net_deliver(&u->base, 0, &(struct net_frame){ w->header, &iov, 1, w->bytes })) break;
        u->has_delivered = true;
        u->first = w->next;
        if (!u->first) u->last = &u->first;
        u->waiting_count--;
        free(w);
    }
    u->is_flushing = false;
}

static void waiting_drop(struct user *u)
{
    for (struct waiting *w; (w = u->first);) {
        u->first = w->next;
        free(w);
    }
    u->last = &u->first;
    u->waiting_count = 0;
}

static bool user_send(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    struct user *u = of(b);

    size_t size = f->bytes <= NET_FRAME_MAX && !u->in_slirp ? net_frame_copy(f, u->frame) : 0;

    if (size && user_is_fragment(u->frame, size) && !(size = user_fragment_take(u, size))) return true;
    if (!size || (u->hides_loopback && user_frame_is_to_loopback(u, size)) || !user_frame_from_guest(u, size, &f->header)) {
        b->dropped++;
        return true;
    }
    u->in_slirp = true;
    slirp_input(u->slirp, u->frame, (int)size);
    u->in_slirp = false;
    return true;
}

static bool user_busy(struct net_backend *b, unsigned queue) { return of(b)->full_pipes; }

static void user_sent(struct net_backend *b, unsigned queue)
{
    user_sync(of(b));
    user_delivered_tell(of(b));
}

/* ---- what libslirp calls ---- */

static ssize_t cb_send(const void *data, size_t size, void *opaque)
{
    user_frame_to_guest(opaque, data, size);
    return (ssize_t)size;
}

static void cb_guest_error(const char *text, void *opaque)
{
    trace(TRACE_GUEST_ERRORS, "user network: %s\n", text);
}

static int64_t cb_clock(void *opaque) { return clock_virtual_ns(); }

static void timer_fire(void *opaque)
{
    struct user_timer *t = opaque;

    t->u->in_slirp = true;
    slirp_handle_timer(t->u->slirp, t->id, t->opaque);
    t->u->in_slirp = false;
    user_sync(t->u);
    user_delivered_tell(t->u);
}

static void *cb_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
    struct user_timer *t = calloc(1, sizeof(*t));
    struct user *u = opaque;

    if (!t) abort();
    *t = (struct user_timer){ u->timers, u, timer_new(TIMER_VIRTUAL, timer_fire, t), id, cb_opaque };
    u->timers = t;
    return t;
}

static void cb_timer_free(void *timer, void *opaque)
{
    struct user *u = opaque;

    for (struct user_timer **link = &u->timers; *link; link = &(*link)->next) {
        if (*link != timer) continue;
        *link = (*link)->next;
        timer_free(((struct user_timer *)timer)->timer);
        free(timer);
        return;
    }
}

static void cb_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    timer_arm_ns(((struct user_timer *)timer)->timer, expire_ms * NS_PER_MS);
}

/* A descriptor is new or about to be closed: what epoll knew of this number is void. */
static void cb_fd_changed(int fd, void *opaque)
{
    struct user *u = opaque;

    if (fd < 0 || (unsigned)fd >= u->watch_count || !u->watch[fd].events) return;
    epoll_ctl(u->epoll, EPOLL_CTL_DEL, fd, NULL);
    u->watch[fd].events = 0;
}

static void cb_notify(void *opaque) {}

static const SlirpCb callbacks = {
    .send_packet = cb_send, .guest_error = cb_guest_error, .clock_get_ns = cb_clock, .timer_new_opaque = cb_timer_new, .timer_free = cb_timer_free,
    .timer_mod = cb_timer_mod, .register_poll_fd = cb_fd_changed, .unregister_poll_fd = cb_fd_changed, .notify = cb_notify,
};

/* ---- descriptors ---- */

static int poll_add(int fd, int events, void *opaque)
{
    struct user *u = opaque;

    if (u->poll_count == u->poll_room) {
        unsigned room = u->poll_room ? u->poll_room * 2 : 64;
        struct user_poll *p = realloc(u->poll, room * sizeof(*p));

        if (!p) return -1;
        u->poll = p;
        u->poll_room = room;
    }
    u->poll[u->poll_count] = (struct user_poll){ fd, events, 0 };
    return (int)u->poll_count++;
}

static bool watch_grow(struct user *u, unsigned fd)
{
    unsigned count = ALIGN_UP(fd + 1, 64u);
    struct user_watch *w;

    if (fd < u->watch_count) return true;
    w = realloc(u->watch, count * sizeof(*w));
    if (!w) return false;
    memset(w + u->watch_count, 0, (count - u->watch_count) * sizeof(*w));
    u->watch = w;
    u->watch_count = count;
    return true;
}

static uint32_t to_epoll(int events)
{
    return (events & SLIRP_POLL_IN ? EPOLLIN : 0) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0) | (events & SLIRP_POLL_PRI ? EPOLLPRI : 0);
}

static int from_epoll(uint32_t events)
{
    return (events & EPOLLIN ? SLIRP_POLL_IN : 0) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) | (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) |
           (events & EPOLLERR ? SLIRP_POLL_ERR : 0) | (events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

static void watch_set(struct user *u, unsigned index)
{
    struct user_poll *p = &u->poll[index];
    struct epoll_event e = { .events = to_epoll(p->events), .data.u32 = (uint32_t)p->fd };
    struct user_watch *w;

    if (p->fd < 0 || !e.events || !watch_grow(u, (unsigned)p->fd)) return;
    w = &u->watch[p->fd];
    w->round = u->round;
    if (w->events == e.events) return;
    if (epoll_ctl(u->epoll, w->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, p->fd, &e) < 0 &&
        epoll_ctl(u->epoll, errno == ENOENT ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, p->fd, &e) < 0) return;
    w->events = e.events;
}

static void timer_set(struct user *u, uint32_t timeout_ms)
{
    int64_t now = clock_virtual_ns() / NS_PER_MS, at = now + timeout_ms;

    if (timeout_ms >= IDLE_MS) return;                   /* it says so when nothing has to happen */
    if (timer_is_armed(u->timer) && u->timer_at_ms <= at && u->timer_at_ms >= now) return;
    u->timer_at_ms = at;
    timer_arm_ns(u->timer, at * NS_PER_MS);
}

static void events_take(void *opaque, int fd, unsigned events);

/* After each call into libslirp: what it waits for now. */
void user_sync(struct user *u)
{
    uint32_t timeout = UINT32_MAX;
    bool hold = u->first != NULL;

    u->poll_count = 0;
    u->round++;
    slirp_pollfds_fill(u->slirp, &timeout, poll_add, u);
    for (unsigned i = 0; i < u->poll_count; i++) watch_set(u, i);
    for (unsigned fd = 0; fd < u->watch_count; fd++)
        if (u->watch[fd].events && u->watch[fd].round != u->round) cb_fd_changed((int)fd, u);
    timer_set(u, timeout);
    if (hold != u->holds_back) {
        u->holds_back = hold;
        if (hold) loop_fd_unwatch(u->epoll);
        else loop_fd_watch(u->epoll, LOOP_READ, events_take, u);
    }
    if (!hold) user_pipes_resume(u);
}

static int ready_get(int index, void *opaque)
{
    struct user *u = opaque;

    return index >= 0 && (unsigned)index < u->poll_count ? u->poll[index].ready : 0;
}

static void sockets_serve(struct user *u, bool failed)
{
    u->in_slirp = true;
    slirp_pollfds_poll(u->slirp, failed, ready_get, u);
    u->in_slirp = false;
    user_sync(u);
    user_delivered_tell(u);
}

static void events_take(void *opaque, int fd, unsigned events)
{
    struct epoll_event e[EVENTS];
    struct user *u = opaque;
    int n = epoll_wait(u->epoll, e, EVENTS, 0);

    for (int i = 0; i < n; i++)
        for (unsigned k = 0; k < u->poll_count; k++)
            if ((uint32_t)u->poll[k].fd == e[i].data.u32) u->poll[k].ready = from_epoll(e[i].events) & (u->poll[k].events | SLIRP_POLL_ERR | SLIRP_POLL_HUP);
    sockets_serve(u, n < 0);
}

/* Retransmissions and delayed acknowledgements. */
static void timer_due(void *opaque)
{
    struct user *u = opaque;

    for (unsigned k = 0; k < u->poll_count; k++) u->poll[k].ready = 0;
    sockets_serve(u, false);
}

static void user_ready(struct net_backend *b, unsigned queue)
{
    struct user *u = of(b);

    if (!u->first) return;
    waiting_flush(u);
    user_delivered_tell(u);
    user_sync(u);
}

static void user_changed(struct net_backend *b)
{
    if (!b->has_frontend) waiting_drop(of(b));
}

/* ---- life ---- */

static void user_describe(const struct net_backend *b, char *text, size_t size)
{
    const struct user *u = container_of(b, const struct user, base);
    char net[INET_ADDRSTRLEN];

    if (u->no_ipv4) {
        snprintf(text, size, ",ipv4=off,restrict=%s", u->restricted ? "on" : "off");
        return;
    }
    inet_ntop(AF_INET, &u->network, net, sizeof(net));
    snprintf(text, size, ",net=%s,restrict=%s", net, u->restricted ? "on" : "off");
}

static void user_destroy(struct net_backend *b)
{
    struct user *u = of(b);

    loop_fd_unwatch(u->epoll);
    if (u->slirp) slirp_cleanup(u->slirp);
    user_pipes_free(u);
    waiting_drop(u);
    while (u->timers) cb_timer_free(u->timers, u);
    timer_free(u->timer);
    timer_free(u->pipes_timer);
    if (u->epoll >= 0) close(u->epoll);
    free(u->poll);
    free(u->watch);
    free(u->fragments);
    net_backend_fini(b);
    free(u);
}

static const struct net_backend_ops user_ops = {
    .type = "user", .send = user_send, .is_busy = user_busy, .sent = user_sent, .ready = user_ready, .changed = user_changed, .describe = user_describe, .destroy = user_destroy,
};

static int forwards_add(struct user *u, const struct net_user_config *c, struct error *err)
{
    for (unsigned i = 0; i < c->hostfwd_count; i++)
        if (net_user_forward_add(&u->base, c->hostfwd[i], err) < 0) return -1;
    for (unsigned i = 0; i < c->guestfwd_count; i++)
        if (!net_user_guestfwd_device(c->guestfwd[i]) && user_guestfwd_add(u, c->guestfwd[i], err) < 0) return -1;
    return 0;
}

static int user_start(struct user *u, const struct net_user_config *c, struct error *err)
{
    SlirpConfig s;

    if (user_config_read(&s, c, err) < 0) return -1;
    u->network = s.vnetwork;
    u->restricted = c->restricted;
    u->hides_loopback = c->no_host_loopback;
    u->dns = s.vnameserver;
    u->dns6 = s.vnameserver6;
    u->no_ipv4 = c->no_ipv4;
    u->slirp = slirp_new(&s, &callbacks, u);
    if (!u->slirp) return error_set(err, "libslirp does not start");
    if (forwards_add(u, c, err) < 0) return -1;
    loop_fd_watch(u->epoll, LOOP_READ, events_take, u);
    user_sync(u);
    return 0;
}

struct net_backend *net_user_new(const char *id, const struct net_user_config *c, struct error *err)
{
    struct user *u = calloc(1, sizeof(*u));

    if (!u || net_backend_init(&u->base, &user_ops, id, err) < 0) {
        if (!u) error_set(err, "no memory for a user network");
        free(u);
        return NULL;
    }
    u->base.offloads = NET_ALL_OFFLOADS;
    u->last = &u->first;
    u->timer = timer_new(TIMER_VIRTUAL, timer_due, u);
    u->pipes_timer = timer_new(TIMER_HOST, user_pipes_flush, u);
    u->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (u->epoll < 0) error_set(err, "no descriptor for a user network: %s", strerror(errno));
    if (u->epoll >= 0 && user_start(u, c, err) == 0) return &u->base;
    user_destroy(&u->base);
    return NULL;
}

bool net_is_user(const struct net_backend *b) { return b->ops == &user_ops; }
