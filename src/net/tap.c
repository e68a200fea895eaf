/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tap interface: frames are written to and read from /dev/net/tun, with the header that tells of checksums and segments in front, so that
 * the kernel's network stack and the guest's leave that work to the last. The interface may exist already (made persistent by
 * an administrator for this user), comes from a helper, or is made here, which takes CAP_NET_ADMIN.
 *
 * Each queue has a descriptor. One round of the main loop takes at most 64 frames from each; what the guest has no room for stays in
 * the kernel's queue. Scripts run with the interface's name as argument.
 * With vhost a queue may be the kernel's for a while; it is not looked at here then. The length of headers is that of the whole interface.
 * Source: Linux Documentation/networking/tuntap.rst.
 */
#include "net/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "net/bridge.h"
#include "net/backend_private.h"
#include "net/vhost.h"

enum { FRAMES_A_ROUND = 64 };
#define IF_UP "/etc/qemu-ifup"
#define IF_DOWN "/etc/qemu-ifdown"

/* vhost may want two bytes more, which it fills itself. */
struct long_header { struct net_header h; uint16_t more; };

struct tap_queue {
    struct tap *t;
    int fd;
    unsigned number;
    bool has_header, full, waiting;                      /* full: a write was refused; waiting: the guest has no room for data */
    bool carried;                                        /* by the kernel */
    bool gone;                                           /* the interface was removed */
    struct long_header header;
    size_t bytes;
    uint8_t data[NET_FRAME_MAX];
};

struct tap {
    struct net_backend base;
    char name[IFNAMSIZ];
    char *up, *down, *bridge;                            /* scripts as they were named */
    unsigned count, header_bytes;
    bool is_up;                                          /* the first script has run */
    struct tap_queue queue[];
};

static struct tap *of(struct net_backend *b) { return container_of(b, struct tap, base); }
static void queue_watch(struct tap_queue *q);

/* ---- frames ---- */

static bool tap_send(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    struct tap_queue *q = &of(b)->queue[queue];
    struct long_header h = { .h = f->header };
    struct iovec iov[NET_PIECES_MAX + 1] = { { &h, q->t->header_bytes } };
    unsigned skip = q->has_header ? 0 : 1, n = MIN(f->count, (unsigned)NET_PIECES_MAX);

    h.h.flags &= NET_NEEDS_CSUM;
    memcpy(iov + 1, f->iov, n * sizeof(*iov));
    if (n + 1 - skip > 1024) {                           /* more than one call takes; no driver does that */
        b->dropped++;
        return true;
    }
    if (writev(q->fd, iov + skip, (int)(n + 1 - skip)) >= 0) return true;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        q->full = true;
        queue_watch(q);
        return false;
    }
    b->dropped++;                                        /* not a frame the kernel likes, or the interface is down */
    return true;
}

/* Whoever removes the interface leaves a descriptor that is always ready. */
static void read_failed(struct tap_queue *q)
{
    if (errno != EBADFD && errno != EIO) return;
    q->gone = true;
    if (!q->number) log_message("network %s: the interface '%s' is gone: %s", q->t->base.id, q->t->name, strerror(errno));
}

static bool frame_read(struct tap_queue *q)
{
    struct iovec iov[2] = { { &q->header, q->t->header_bytes }, { q->data, sizeof(q->data) } };
    unsigned skip = q->has_header ? 0 : 1;
    ssize_t n = readv(q->fd, iov + skip, (int)(2 - skip));

    if (n < 0) read_failed(q);
    if (n <= (ssize_t)(q->has_header ? q->t->header_bytes : 0)) return false;
    q->bytes = (size_t)n - (q->has_header ? q->t->header_bytes : 0);
    if (!q->has_header) q->header.h = (struct net_header){ .flags = 0 };
    return true;
}

static void frames_take(struct tap_queue *q)
{
    struct iovec iov = { q->data, 0 };

    for (unsigned n = 0; n < FRAMES_A_ROUND && (q->waiting || frame_read(q)); n++) {
        iov.iov_len = q->bytes;
        q->waiting = !net_deliver(&q->t->base, q->number, &(struct net_frame){ q->header.h, &iov, 1, q->bytes });
        if (q->waiting) break;
    }
    net_delivered(&q->t->base, q->number);
    queue_watch(q);
}

static void queue_event(void *opaque, int fd, unsigned events)
{
    struct tap_queue *q = opaque;

    if (events & LOOP_WRITE && q->full) {
        q->full = false;
        queue_watch(q);
        net_send_ready(&q->t->base, q->number);
    }
    if (events & (LOOP_READ | LOOP_HANGUP) && !q->waiting) frames_take(q);
}

static void queue_watch(struct tap_queue *q)
{
    if (q->carried || q->gone) loop_fd_unwatch(q->fd);
    else loop_fd_watch(q->fd, (q->waiting ? 0u : LOOP_READ) | (q->full ? LOOP_WRITE : 0u), queue_event, q);
}

static void tap_ready(struct net_backend *b, unsigned queue)
{
    struct tap_queue *q = &of(b)->queue[queue];

    if (q->waiting && !q->carried) frames_take(q);
}

/* What waited here is lost, as on a wire. */
static int tap_carried(struct net_backend *b, unsigned queue, unsigned header_bytes)
{
    struct tap_queue *q = &of(b)->queue[queue];
    int bytes = (int)header_bytes;

    q->carried = header_bytes;
    q->waiting = q->full = false;
    if (header_bytes && header_bytes != of(b)->header_bytes && ioctl(of(b)->queue[0].fd, TUNSETVNETHDRSZ, &bytes) == 0) of(b)->header_bytes = header_bytes;
    queue_watch(q);
    return q->fd;
}

/* What the kernel may leave to the guest, and how many queues it spreads frames over. */
static void tap_changed(struct net_backend *b)
{
    static const struct { unsigned offload, tun; } map[] = {
        { NET_CSUM, TUN_F_CSUM }, { NET_TSO4, TUN_F_TSO4 }, { NET_TSO6, TUN_F_TSO6 }, { NET_ECN, TUN_F_TSO_ECN },
    };
    struct tap *t = of(b);
    unsigned long flags = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
        if (b->frontend_offloads & map[i].offload) flags |= map[i].tun;
    if (t->queue[0].has_header) ioctl(t->queue[0].fd, TUNSETOFFLOAD, flags);
    for (unsigned i = 0; i < t->count && t->count > 1; i++) {
        struct ifreq r = { .ifr_flags = (short)(i < b->queues_used ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE) };

        ioctl(t->queue[i].fd, TUNSETQUEUE, &r);          /* fails where it is so already */
    }
}

/* ---- life ---- */

static int script_run(const char *script, const char *name, struct error *err)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        execl(script, script, name, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status))
        return error_set(err, "the script '%s' failed for interface %s%s; script=no runs none", script, name,
                         WIFEXITED(status) && WEXITSTATUS(status) == 127 ? " (it cannot be run)" : "");
    return 0;
}

static bool script_is(const char *script) { return script && *script && strcmp(script, "no"); }

static void tap_describe(const struct net_backend *b, char *text, size_t size)
{
    const struct tap *t = container_of(b, const struct tap, base);

    unsigned poll_us = b->vhost ? net_vhost_poll_us(b->vhost) : 0;
    char queues[32] = "", vhost[32] = "";

    if (t->count > 1) snprintf(queues, sizeof(queues), ",queues=%u", t->count);
    if (poll_us) snprintf(vhost, sizeof(vhost), ",vhost=on,poll-us=%u", poll_us);
    else if (b->vhost) snprintf(vhost, sizeof(vhost), ",vhost=on");
    if (t->bridge) snprintf(text, size, ",ifname=%s,br=%s%s", t->name, t->bridge, vhost);
    else if (!t->up) snprintf(text, size, ",fd=%d,ifname=%s%s%s", t->queue[0].fd, t->name, queues, vhost);
    else snprintf(text, size, ",ifname=%s,script=%s,downscript=%s%s%s", t->name, t->up, t->down, queues, vhost);
}

static void tap_destroy(struct net_backend *b)
{
    struct tap *t = of(b);
    struct error err;

    for (unsigned i = 0; i < t->count; i++) {
        loop_fd_unwatch(t->queue[i].fd);
        if (i) close(t->queue[i].fd);
    }
    if (t->is_up && script_is(t->down) && script_run(t->down, t->name, &err) < 0) log_message("%s", err.text);
    if (t->count) close(t->queue[0].fd);
    free(t->up);
    free(t->down);
    free(t->bridge);
    net_backend_fini(b);
    free(t);
}

static const struct net_backend_ops tap_ops = {
    .type = "tap", .send = tap_send, .ready = tap_ready, .changed = tap_changed, .carried = tap_carried, .describe = tap_describe, .destroy = tap_destroy,
};

static int queue_open(struct tap *t, const struct net_tap_config *c, bool several, struct error *err)
{
    struct ifreq r = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (c->no_header ? 0 : IFF_VNET_HDR) | (several ? IFF_MULTI_QUEUE : 0)) };
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) return error_set(err, "cannot open /dev/net/tun: %s; -netdev user needs no privileges", strerror(errno));
    memcpy(r.ifr_name, t->name, sizeof(r.ifr_name));
    if (ioctl(fd, TUNSETIFF, &r) < 0) {
        const char *hint = errno == EPERM ? "; have it made for you (ip tuntap add dev NAME mode tap user YOU), or use -netdev user" :
                           errno == EINVAL && several ? "; with several queues it has to be a tap interface made with multi_queue" :
                           errno == EINVAL ? "; it has to be a tap interface made without multi_queue" : "";

        if (c->ifname) error_set(err, "cannot use the interface '%s': %s%s", t->name, strerror(errno), hint);
        else error_set(err, "cannot make an interface: %s%s", strerror(errno), hint);
        close(fd);
        return -1;
    }
    memcpy(t->name, r.ifr_name, sizeof(t->name));
    return fd;
}

/* A descriptor that was opened by somebody else. */
static int queue_inherit(struct tap *t, int fd, struct error *err)
{
    struct ifreq r;

    memset(&r, 0, sizeof(r));
    if (ioctl(fd, TUNGETIFF, &r) < 0 || !(r.ifr_flags & IFF_TAP)) return error_set(err, "fd=%d is no tap interface", fd);
    memcpy(t->name, r.ifr_name, sizeof(t->name));
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

static int queue_by_helper(struct tap *t, const struct net_tap_config *c, struct error *err)
{
    int fd = net_bridge_open(t->bridge, c->helper, err);

    if (fd < 0 || queue_inherit(t, fd, err) >= 0) return fd;
    close(fd);
    return error_set(err, "what the bridge helper gave is no tap interface");
}

static int queues_make(struct tap *t, const struct net_tap_config *c, unsigned count, struct error *err)
{
    int header_bytes = sizeof(struct net_header), sndbuf = c->sndbuf ? (int)MIN(c->sndbuf, (uint64_t)INT32_MAX) : INT32_MAX;
    struct ifreq r;

    t->header_bytes = sizeof(struct net_header);

    for (unsigned i = 0; i < count; i++) {
        struct tap_queue *q = &t->queue[i];

        q->fd = t->bridge ? queue_by_helper(t, c, err) : c->fd_count ? queue_inherit(t, c->fd[i], err) : queue_open(t, c, count > 1, err);
        if (q->fd < 0) return -1;
        t->count++;
        q->t = t;
        q->number = i;
        memset(&r, 0, sizeof(r));
        q->has_header = ioctl(q->fd, TUNGETIFF, &r) == 0 && r.ifr_flags & IFF_VNET_HDR;
        if (q->has_header) ioctl(q->fd, TUNSETVNETHDRSZ, &header_bytes);
        if (c->has_sndbuf && ioctl(q->fd, TUNSETSNDBUF, &sndbuf) < 0)
            return error_set(err, "sndbuf=%llu: the kernel does not limit '%s': %s", (unsigned long long)c->sndbuf, t->name, strerror(errno));
    }
    t->base.queues = count;
    t->base.offloads = t->queue[0].has_header ? NET_ALL_OFFLOADS : 0;
    return 0;
}

/* Without it everything works too, only slower: the user decides whether that will do. */
static int vhost_make(struct tap *t, const struct net_tap_config *c, struct error *err)
{
    if (!c->vhost) return 0;
    if (c->vhost_fd_count && c->vhost_fd_count != t->count)
        return error_set(err, "%u vhostfds for %u queues; there is one for each", c->vhost_fd_count, t->count);
    if (!t->queue[0].has_header) error_set(err, "the interface was opened without IFF_VNET_HDR");
    else t->base.vhost = net_vhost_open(c->vhost_fd, c->vhost_fd_count, t->count, err);
    if (t->base.vhost) return c->poll_us ? net_vhost_poll_set(t->base.vhost, c->poll_us, err) : 0;
    if (c->vhost_fd_count) return -1;                    /* whoever opened them counts on them */
    if (c->vhost_force) return error_prefix(err, "vhostforce=on");
    log_message("warning: %s: no vhost: %s; the network works without it", t->base.id, err->text);
    return 0;
}

static int tap_start(struct tap *t, const struct net_tap_config *c, unsigned count, struct error *err)
{
    const char *up = c->script ? c->script : IF_UP, *down = c->downscript ? c->downscript : IF_DOWN;

    if (c->bridge || c->helper) {
        t->bridge = strdup(c->bridge ? c->bridge : NET_BRIDGE_DEFAULT);
        up = down = "no";
        if (!t->bridge) return error_set(err, "no memory for a tap network");
    }
    snprintf(t->name, sizeof(t->name), "%s", c->ifname ? c->ifname : "tap%d");
    if (queues_make(t, c, count, err) < 0 || vhost_make(t, c, err) < 0) return -1;
    if (!c->fd_count) {
        t->up = strdup(up);
        t->down = strdup(down);
        if (!t->up || !t->down) return error_set(err, "no memory for a tap network");
        if (script_is(up) && script_run(up, t->name, err) < 0) return -1;
        t->is_up = true;
    }
    tap_changed(&t->base);
    for (unsigned i = 0; i < count; i++) queue_watch(&t->queue[i]);
    return 0;
}

struct net_backend *net_tap_new(const char *id, const struct net_tap_config *c, struct error *err)
{
    unsigned count = c->fd_count ? c->fd_count : c->queues ? c->queues : 1;
    struct tap *t;

    if (c->ifname && strlen(c->ifname) >= IFNAMSIZ) {
        error_set(err, "ifname=%s: at most %d characters", c->ifname, IFNAMSIZ - 1);
        return NULL;
    }
    t = calloc(1, sizeof(*t) + count * sizeof(t->queue[0]));
    if (!t || net_backend_init(&t->base, &tap_ops, id, err) < 0) {
        if (!t) error_set(err, "no memory for a tap network");
        free(t);
        return NULL;
    }
    if (tap_start(t, c, count, err) == 0) return &t->base;
    tap_destroy(&t->base);
    return NULL;
}
