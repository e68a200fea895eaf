/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network card whose data path is the kernel's (vhost-net). The kernel serves a pair of queues while the driver has set it up, the cable is in and
 * the guest runs; before, after and in between virtio_net.c does. What decides that may change at any time, and whoever changes it calls
 * virtio_net_vhost_settle. The way there: features, memory table, rings, eventfds, the tap's descriptor; the way back: the kernel lets go, and says
 * which chain is next.
 *
 * Where the transport has eventfds for notifications and interrupts (KVM), the kernel gets these and no thread of ours takes part. Else the driver's
 * notification is written into one here; the kernel asks for an interrupt by another, which the main loop reads: masks, vectors
 * and the old interrupt line are those of the transport. An engine that wants to know which pages devices write (bt) has the kernel keep a
 * bitmap, which is read at each interrupt and notification.
 *
 * Limits: the card's filters are not applied (a bridge or the guest drops what is not for it), frames are not counted.
 * Source: Linux include/uapi/linux/vhost.h; VIRTIO 1.2, section 5.1.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "device/virtio/virtio_net_private.h"
#include "net/vhost.h"

enum { PAGE = 4096, WORD = 64, AREAS = 3 };
#define LOG_LIMIT (1ull << 42)                             /* what lies above is no RAM of a guest */

struct ring {
    struct virtio_net_vhost *k;
    unsigned queue;
    int kick, call, err;
    int bell, direct;                                      /* the transport's, while the kernel has them; -1: kick and call are ours */
    void *area[AREAS];
};

struct pair { bool runs; struct ring ring[2]; };

struct virtio_net_vhost {
    struct virtio_net *net;
    bool listens, in_listener, failed;
    unsigned running, pairs, regions, regions_max;
    struct net_vhost_region *region;
    uint64_t *log;                                         /* a bit a page; NULL: not wanted */
    uint64_t log_bytes;
    struct pair pair[];
};

/* ---- memory ---- */

/* The regions may be new ones already that reach beyond it. */
static void log_read(struct virtio_net_vhost *k)
{
    for (unsigned i = 0; i < k->regions && k->log; i++) {
        const struct net_vhost_region *r = &k->region[i];
        uint64_t end = MIN((r->gpa + r->bytes - 1) / PAGE / WORD + 1, k->log_bytes / sizeof(*k->log));

        for (uint64_t n = r->gpa / PAGE / WORD; n < end; n++) {
            uint64_t bits = __atomic_load_n(&k->log[n], __ATOMIC_RELAXED) ? __atomic_exchange_n(&k->log[n], 0, __ATOMIC_ACQ_REL) : 0;

            for (; bits; bits &= bits - 1) memory_written(k->net->v.memory, (n * WORD + (unsigned)__builtin_ctzll(bits)) * PAGE, PAGE);
        }
    }
}

static void log_free(struct virtio_net_vhost *k)
{
    if (k->log) munmap(k->log, k->log_bytes);
    k->log = NULL;
    k->log_bytes = 0;
}

/* The kernel must not know the old one any more when it goes. */
static int log_grow(struct virtio_net_vhost *k, struct error *err)
{
    uint64_t top = 0, bytes;
    void *log;

    for (unsigned i = 0; i < k->regions; i++) top = MAX(top, k->region[i].gpa + k->region[i].bytes);
    bytes = ALIGN_UP(top / PAGE / 8 + 8, (uint64_t)PAGE);
    if (bytes <= k->log_bytes) return 0;
    log = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (log == MAP_FAILED) return error_set(err, "no memory for the log of written pages");
    if (net_vhost_log_set(k->net->config.backend, log, err) < 0) {
        munmap(log, bytes);
        return -1;
    }
    log_read(k);
    log_free(k);
    k->log = log;
    k->log_bytes = bytes;
    return 0;
}

/* Neighbours in the map that are so in our memory too make one region. */
static int regions_build(struct virtio_net_vhost *k, const struct flat_range *range, size_t count, bool logs)
{
    k->regions = 0;
    for (size_t i = 0; i < count; i++) {
        struct net_vhost_region *last = k->regions ? &k->region[k->regions - 1] : NULL;

        if (range[i].kind != RANGE_RAM || (logs && range[i].start + range[i].size > LOG_LIMIT)) continue;
        if (last && last->gpa + last->bytes == range[i].start && (uint8_t *)last->hva + last->bytes == range[i].hva) {
            last->bytes += range[i].size;
            continue;
        }
        if (k->regions == k->regions_max) {
            struct net_vhost_region *more = realloc(k->region, (k->regions_max + 16) * sizeof(*more));

            if (!more) return -1;
            k->region = more;
            k->regions_max += 16;
        }
        k->region[k->regions++] = (struct net_vhost_region){ range[i].start, range[i].size, range[i].hva };
    }
    return 0;
}

static void fail(struct virtio_net_vhost *k, const struct error *err)
{
    if (!k->failed) log_message("warning: %s: %s; the network works on without vhost", k->net->v.id ? k->net->v.id : "virtio-net-pci", err->text);
    k->failed = true;
    virtio_net_vhost_settle(k->net);
}

/* A ring that is not where it was is not the kernel's to write into. */
static void rings_check(struct virtio_net_vhost *k)
{
    struct virtio *v = &k->net->v;

    for (unsigned n = 0; n < 2 * k->pairs; n++) {
        struct ring *r = &k->pair[n / 2].ring[n % 2];
        void *now[AREAS];

        if (!k->pair[n / 2].runs || (virtqueue_areas(&v->queue[n], &now[0], &now[1], &now[2]) && !memcmp(now, r->area, sizeof(now)))) continue;
        virtio_broken(v, v->queue[n].broken ? v->queue[n].broken : "a ring's memory has moved");
    }
}

static void memory_changed(void *opaque, const struct flat_range *range, size_t count)
{
    struct virtio_net_vhost *k = opaque;
    bool logs = memory_map_tells_written(k->net->v.memory);
    struct error err = { "" };

    k->in_listener = true;
    log_read(k);
    if (regions_build(k, range, count, logs) < 0) error_set(&err, "no memory for vhost");
    if (*err.text || (logs && log_grow(k, &err) < 0) || net_vhost_memory_set(k->net->config.backend, k->region, k->regions, &err) < 0) fail(k, &err);
    rings_check(k);
    k->in_listener = false;
}

/* ---- events ---- */

static int kick_of(const struct ring *r) { return r->bell >= 0 ? r->bell : r->kick; }
static int call_of(const struct ring *r) { return r->direct >= 0 ? r->direct : r->call; }

static bool event_take(int fd)
{
    uint64_t n;

    return read(fd, &n, sizeof(n)) == sizeof(n);
}

static void event_send(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN) log_message("vhost-net: a notification is lost: %s", strerror(errno));
}

static void called(void *opaque, int fd, unsigned events)
{
    struct ring *r = opaque;
    struct virtio *v = &r->k->net->v;

    if (!event_take(fd)) return;
    log_read(r->k);
    v->transport.interrupt(v->transport.opaque, v->queue[r->queue].vector);
}

static void went_wrong(void *opaque, int fd, unsigned events)
{
    struct ring *r = opaque;

    if (event_take(fd)) virtio_broken(&r->k->net->v, "the kernel cannot make sense of a ring");
}

bool virtio_net_vhost_serves(const struct virtio_net *n, unsigned pair) { return n->vhost && pair < n->vhost->pairs && n->vhost->pair[pair].runs; }

unsigned virtio_net_vhost_served(const struct virtio_net *n) { return n->vhost ? n->vhost->running : 0; }

bool virtio_net_vhost_kick(struct virtio_net *n, unsigned queue)
{
    if (!virtio_net_vhost_serves(n, queue / 2)) return false;
    log_read(n->vhost);
    event_send(kick_of(&n->vhost->pair[queue / 2].ring[queue % 2]));
    return true;
}

/* ---- start and stop ---- */

static void pair_watch(struct pair *p)
{
    for (unsigned i = 0; i < 2; i++) {
        struct ring *r = &p->ring[i];

        loop_fd_watch(r->call, LOOP_READ, called, r);
        loop_fd_watch(r->err, LOOP_READ, went_wrong, r);
        event_send(kick_of(r));                            /* what is in the ring already */
    }
}

/* The log of written pages is read when we are called. */
static int direct_call(const struct ring *r)
{
    const struct virtio *v = &r->k->net->v;

    return v->transport.call && !r->k->log ? v->transport.call(v->transport.opaque, r->queue) : -1;
}

static void bells_give(struct pair *p)
{
    for (unsigned i = 0; i < 2; i++) {
        struct ring *r = &p->ring[i];
        struct virtio *v = &r->k->net->v;

        if (r->bell >= 0) v->transport.bell_give(v->transport.opaque, r->queue);
        r->bell = r->direct = -1;
    }
}

/* The vector of a ring that runs may be another one. What the old one kept for itself is told once more. */
static void calls_settle(struct virtio_net_vhost *k, unsigned pair)
{
    struct virtio *v = &k->net->v;

    for (unsigned i = 0; i < 2; i++) {
        struct ring *r = &k->pair[pair].ring[i];
        int now = direct_call(r);
        struct error err;

        if (now == r->direct) continue;
        r->direct = now;
        if (net_vhost_call_set(k->net->config.backend, pair, i, call_of(r), &err) < 0) {
            fail(k, &err);
            return;
        }
        v->transport.interrupt(v->transport.opaque, v->queue[r->queue].vector);
    }
}

static int pair_rings(struct virtio_net_vhost *k, struct pair *p, struct net_vhost_ring *ring, struct error *err)
{
    for (unsigned i = 0; i < 2; i++) {
        struct ring *r = &p->ring[i];
        struct virtio *v = &k->net->v;
        struct virtqueue *q = &v->queue[r->queue];

        if (!virtqueue_areas(q, &r->area[0], &r->area[1], &r->area[2])) return error_set(err, "a ring lies outside of RAM");
        r->bell = v->transport.bell_take ? v->transport.bell_take(v->transport.opaque, r->queue) : -1;
        r->direct = direct_call(r);
        ring[i] = (struct net_vhost_ring){ q->size, q->avail_index, r->area[0], r->area[1], r->area[2], q->device, kick_of(r), call_of(r), r->err };
        event_take(r->call);
        event_take(r->err);
    }
    return 0;
}

static void begin(struct virtio_net_vhost *k)
{
    struct error err;

    k->listens = true;
    memory_map_listen(k->net->v.memory, memory_changed, k);
    if (!k->failed && net_vhost_features_set(k->net->config.backend, k->net->v.features, k->log, &err) < 0) fail(k, &err);
}

static void pair_start(struct virtio_net_vhost *k, unsigned pair)
{
    struct pair *p = &k->pair[pair];
    struct net_vhost_ring ring[2];
    struct error err;

    if (!k->listens) begin(k);
    if (k->failed) return;
    k->net->starved[pair] = k->net->filled[pair] = false;
    if (pair_rings(k, p, ring, &err) < 0 || net_vhost_start(k->net->config.backend, pair, ring, &err) < 0) {
        bells_give(p);
        fail(k, &err);
        return;
    }
    p->runs = true;
    k->running++;
    pair_watch(p);
}

static void pair_stop(struct virtio_net_vhost *k, unsigned pair)
{
    struct virtio *v = &k->net->v;
    struct pair *p = &k->pair[pair];
    uint16_t base[2];

    if (!p->runs) return;
    p->runs = false;
    k->running--;
    net_vhost_stop(k->net->config.backend, pair, base);
    for (unsigned i = 0; i < 2; i++) {
        struct ring *r = &p->ring[i];

        loop_fd_unwatch(r->call);
        loop_fd_unwatch(r->err);
        virtqueue_continue(&v->queue[r->queue], base[i]);
        called(r, r->call, LOOP_READ);
    }
    bells_give(p);
    log_read(k);
}

static bool is_wanted(struct virtio_net_vhost *k, unsigned pair)
{
    struct virtio_net *n = k->net;
    struct virtio *v = &n->v;

    return !k->failed && pair < n->pairs_used && v->status & VIRTIO_STATUS_DRIVER_OK && net_link_is_up(n->config.backend) && clock_virtual_is_running() &&
           virtio_is_live(v, &v->queue[2 * pair]) && virtio_is_live(v, &v->queue[2 * pair + 1]);
}

void virtio_net_vhost_settle(struct virtio_net *n)
{
    struct virtio_net_vhost *k = n->vhost;

    for (unsigned i = 0; k && i < k->pairs; i++) {
        bool wanted = is_wanted(k, i);

        if (wanted && k->pair[i].runs) calls_settle(k, i);
        if (wanted == k->pair[i].runs) continue;
        if (wanted) pair_start(k, i);
        else pair_stop(k, i);
        /* The ring may hold what nobody was told of. */
        if (!k->pair[i].runs && clock_virtual_is_running()) virtio_queue_notify(&n->v, 2 * i + 1);
    }
    if (!k || k->running || !k->listens || k->in_listener) return;
    k->listens = false;
    memory_map_unlisten(n->v.memory, k);
    log_free(k);
}

void virtio_net_vhost_queue_stop(struct virtio_net *n, unsigned queue)
{
    if (virtio_net_vhost_serves(n, queue / 2)) pair_stop(n->vhost, queue / 2);
}

void virtio_net_vhost_reset(struct virtio_net *n)
{
    if (n->vhost) n->vhost->failed = false;
    virtio_net_vhost_settle(n);
}

/* ---- life ---- */

/* Rings that the kernel does not know are not on offer, so that the driver need not be served in two ways. */
static void features_limit(struct virtio *v, uint64_t known)
{
    v->offered &= known | ~(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED | VIRTIO_F_RING_RESET | VIRTIO_F_NOTIFY_ON_EMPTY);
}

static int event_new(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }

int virtio_net_vhost_new(struct virtio_net *n, struct error *err)
{
    unsigned pairs = MIN(n->pairs, net_queues(n->config.backend));
    struct virtio_net_vhost *k;

    if (!net_has_vhost(n->config.backend)) return 0;
    n->vhost = k = calloc(1, sizeof(*k) + pairs * sizeof(k->pair[0]));
    if (!k) return error_set(err, "no memory for vhost");
    k->net = n;
    features_limit(&n->v, net_vhost_features(n->config.backend));
    for (; k->pairs < pairs; k->pairs++)
        for (unsigned i = 0; i < 2; i++) {
            struct ring *r = &k->pair[k->pairs].ring[i];

            *r = (struct ring){ .k = k, .queue = 2 * k->pairs + i, .kick = event_new(), .call = event_new(), .err = event_new(), .bell = -1, .direct = -1 };
            if (r->kick >= 0 && r->call >= 0 && r->err >= 0) continue;
            k->pairs++;
            return error_set(err, "vhost wants six descriptors for each pair of queues: %s", strerror(errno));
        }
    return 0;
}

void virtio_net_vhost_free(struct virtio_net *n)
{
    struct virtio_net_vhost *k = n->vhost;

    for (unsigned i = 0; k && i < 2 * k->pairs; i++) {
        const struct ring *r = &k->pair[i / 2].ring[i % 2];

        const int fd[] = { r->kick, r->call, r->err };     /* 0: not come to */

        for (unsigned n = 0; n < ARRAY_SIZE(fd); n++)
            if (fd[n] > 0) close(fd[n]);
    }
    if (k) free(k->region);
    free(k);
    n->vhost = NULL;
}
