/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's end of a virtio network card: /dev/vhost-net, one descriptor and one kernel thread a pair of rings. Here are its ioctls and nothing
 * else; what the rings and the memory are is the card's matter. Frames come and go with the header that the driver uses (10 or 12 bytes), so the
 * tap interface is told its length.
 *
 * Limits: split rings; at most as many memory regions as the kernel's vhost module takes (64 by default).
 * Sources: Linux include/uapi/linux/vhost.h, drivers/vhost/net.c.
 */
#include "net/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vhost.h>

#include "base/bits.h"
#include "base/error.h"
#include "net/backend_private.h"

#define DEVICE "/dev/vhost-net"
#define BIT_MRG_RXBUF (1ull << 15)
#define BIT_VERSION_1 (1ull << 32)
/* Bits of the rings and the header. Bit 27 is another thing to this device than to virtio. */
#define RING_BITS (1ull << 24 | 1ull << 28 | 1ull << 29 | BIT_MRG_RXBUF | BIT_VERSION_1 | 1ull << 34)
#define NEEDED_BITS (BIT_MRG_RXBUF | BIT_VERSION_1 | 1ull << VHOST_F_LOG_ALL)

enum { HEADER_OLD = 10, HEADER_NEW = 12 };

struct net_vhost {
    uint64_t features;
    unsigned header_bytes, count;
    bool logs;
    int fd[];
};

/* ---- for backends ---- */

static int device_take(struct net_vhost *k, int given, struct error *err)
{
    uint64_t features = 0;
    int fd = given >= 0 ? given : open(DEVICE, O_RDWR | O_CLOEXEC);

    if (fd < 0) return error_set(err, "cannot open " DEVICE ": %s%s", strerror(errno), errno == ENOENT ? " (modprobe vhost_net)" : "");
    k->fd[k->count++] = fd;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (ioctl(fd, VHOST_SET_OWNER) < 0 || ioctl(fd, VHOST_GET_FEATURES, &features) < 0)
        return error_set(err, "%s: %s", given >= 0 ? "vhostfd= is no descriptor of " DEVICE " that is free" : DEVICE, strerror(errno));
    if (~features & NEEDED_BITS) return error_set(err, DEVICE " of this kernel lacks features (it has %#llx)", (unsigned long long)features);
    k->features &= features;
    return 0;
}

struct net_vhost *net_vhost_open(const int *fds, unsigned fd_count, unsigned queues, struct error *err)
{
    struct net_vhost *k = calloc(1, sizeof(*k) + queues * sizeof(k->fd[0]));

    if (!k) error_set(err, "no memory for vhost");
    if (!k) return NULL;
    k->features = RING_BITS;
    for (unsigned i = 0; i < queues; i++)
        if (device_take(k, i < fd_count ? fds[i] : -1, err) < 0) {
            net_vhost_close(k);
            return NULL;
        }
    return k;
}

int net_vhost_poll_set(struct net_vhost *k, unsigned us, struct error *err)
{
    for (unsigned i = 0; i < 2 * k->count; i++) {
        struct vhost_vring_state state = { i & 1, us };

        if (ioctl(k->fd[i / 2], VHOST_SET_VRING_BUSYLOOP_TIMEOUT, &state) < 0) return error_set(err, "poll-us=%u: %s", us, strerror(errno));
    }
    return 0;
}

unsigned net_vhost_poll_us(const struct net_vhost *k)
{
    struct vhost_vring_state state = { 0 };

    return ioctl(k->fd[0], VHOST_GET_VRING_BUSYLOOP_TIMEOUT, &state) < 0 ? 0 : state.num;
}

void net_vhost_close(struct net_vhost *k)
{
    for (unsigned i = 0; k && i < k->count; i++) close(k->fd[i]);
    free(k);
}

/* ---- for cards ---- */

bool net_has_vhost(const struct net_backend *b) { return b->vhost; }
uint64_t net_vhost_features(const struct net_backend *b) { return b->vhost->features; }

/* The same call for all of them. */
static int call_all(const struct net_vhost *k, unsigned long request, const void *argument, const char *what, struct error *err)
{
    for (unsigned i = 0; i < k->count; i++)
        if (ioctl(k->fd[i], request, argument) < 0) return error_set(err, "vhost-net: %s: %s", what, strerror(errno));
    return 0;
}

int net_vhost_log_set(struct net_backend *b, const void *log, struct error *err)
{
    uint64_t base = (uint64_t)(uintptr_t)log;

    return call_all(b->vhost, VHOST_SET_LOG_BASE, &base, "the log of written pages", err);
}

int net_vhost_features_set(struct net_backend *b, uint64_t features, const void *log, struct error *err)
{
    uint64_t take = (features & b->vhost->features) | (log ? 1ull << VHOST_F_LOG_ALL : 0);

    b->vhost->logs = log;
    b->vhost->header_bytes = features & (BIT_MRG_RXBUF | BIT_VERSION_1) ? HEADER_NEW : HEADER_OLD;
    if (log && net_vhost_log_set(b, log, err) < 0) return -1;
    return call_all(b->vhost, VHOST_SET_FEATURES, &take, "features", err);
}

int net_vhost_memory_set(struct net_backend *b, const struct net_vhost_region *region, unsigned count, struct error *err)
{
    struct vhost_memory *m = calloc(1, sizeof(*m) + count * sizeof(m->regions[0]));
    int r;

    if (!m) return error_set(err, "no memory for vhost");
    m->nregions = count;
    for (unsigned i = 0; i < count; i++)
        m->regions[i] = (struct vhost_memory_region){ region[i].gpa, region[i].bytes, (uint64_t)(uintptr_t)region[i].hva, 0 };
    r = call_all(b->vhost, VHOST_SET_MEM_TABLE, m, "the memory table", err);
    free(m);
    return r;
}

static int ring_set(int fd, unsigned n, const struct net_vhost_ring *r, bool log)
{
    struct vhost_vring_state size = { n, r->size }, base = { n, r->base };
    struct vhost_vring_addr at = { .index = n, .flags = log ? 1u << VHOST_VRING_F_LOG : 0, .desc_user_addr = (uintptr_t)r->descriptors,
                                   .used_user_addr = (uintptr_t)r->device, .avail_user_addr = (uintptr_t)r->driver, .log_guest_addr = r->device_gpa };
    struct vhost_vring_file kick = { n, r->kick }, call = { n, r->call }, err = { n, r->err };

    if (ioctl(fd, VHOST_SET_VRING_NUM, &size) < 0 || ioctl(fd, VHOST_SET_VRING_BASE, &base) < 0 || ioctl(fd, VHOST_SET_VRING_ADDR, &at) < 0) return -1;
    return ioctl(fd, VHOST_SET_VRING_KICK, &kick) < 0 || ioctl(fd, VHOST_SET_VRING_CALL, &call) < 0 || ioctl(fd, VHOST_SET_VRING_ERR, &err) < 0 ? -1 : 0;
}

static int backend_set(int fd, unsigned ring, int tap)
{
    struct vhost_vring_file file = { ring, tap };

    return ioctl(fd, VHOST_NET_SET_BACKEND, &file);
}

int net_vhost_start(struct net_backend *b, unsigned queue, const struct net_vhost_ring ring[2], struct error *err)
{
    int fd = b->vhost->fd[queue], tap = b->ops->carried(b, queue, b->vhost->header_bytes);

    for (unsigned n = 0; n < 2; n++) {
        if (ring_set(fd, n, &ring[n], b->vhost->logs) == 0 && backend_set(fd, n, tap) == 0) continue;
        error_set(err, "vhost-net: ring %u: %s", n, strerror(errno));
        net_vhost_stop(b, queue, (uint16_t[2]){ 0 });
        return -1;
    }
    return 0;
}

int net_vhost_call_set(struct net_backend *b, unsigned queue, unsigned ring, int call, struct error *err)
{
    struct vhost_vring_file file = { ring, call };

    if (ioctl(b->vhost->fd[queue], VHOST_SET_VRING_CALL, &file) == 0) return 0;
    return error_set(err, "vhost-net: ring %u: %s", ring, strerror(errno));
}

void net_vhost_stop(struct net_backend *b, unsigned queue, uint16_t base[2])
{
    int fd = b->vhost->fd[queue];

    for (unsigned n = 0; n < 2; n++) {
        struct vhost_vring_state state = { .index = n };

        backend_set(fd, n, -1);                          /* returns when the thread has let go of the ring */
        ioctl(fd, VHOST_GET_VRING_BASE, &state);
        base[n] = (uint16_t)state.num;
    }
    b->ops->carried(b, queue, 0);
}
