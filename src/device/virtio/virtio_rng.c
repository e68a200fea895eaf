/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entropy source: one queue of buffers that are filled with random bytes of the host, from getrandom(2) or from a file such as
 * /dev/hwrng. Such a file may have nothing yet; then the buffer waits, and nobody else does.
 *
 * Limits: at most 64 KiB a buffer, which is what the specification leaves to the device; with max-bytes no more than that in a
 * period of virtual time. A file that ends or fails gives nothing more.
 * Source: VIRTIO 1.2, section 5.4.
 */
#include "device/virtio/virtio_rng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"

enum { QUEUE_SIZE = 8, BUFFER_BYTES = 65536, PIECE_BYTES = 1024, SEED_MS = 100, NS_PER_MS = 1000000 };

struct rng {
    struct virtio v;
    struct virtio_rng_config config;
    int fd;                              /* -1: getrandom */
    bool ended, watched;
    uint64_t quota;
    struct timer *timer;
};

static struct rng *of(struct virtio *v) { return container_of(v, struct rng, v); }

/* Bytes got, 0: none now. */
static size_t random_get(struct rng *r, uint8_t *to, size_t size)
{
    ssize_t n = r->fd < 0 ? getrandom(to, size, GRND_NONBLOCK) : r->ended ? 0 : read(r->fd, to, size);

    if (n > 0) return (size_t)n;
    if (r->fd >= 0 && !r->ended && (n == 0 || (errno != EAGAIN && errno != EINTR))) {
        log_message("virtio-rng: '%s' %s; the guest gets no more random bytes", r->config.filename, n ? strerror(errno) : "has ended");
        r->ended = true;
    }
    return 0;
}

/* Fills the chain as far as there are bytes; returns their number. */
static uint64_t fill(struct rng *r, struct virtqueue *q, struct virtqueue_chain *c)
{
    uint64_t want = MIN(c->in_bytes, (uint64_t)BUFFER_BYTES), done = 0;
    uint8_t piece[PIECE_BYTES];

    if (r->config.max_bytes) want = MIN(want, r->quota);
    while (done < want) {
        size_t n = random_get(r, piece, MIN(want - done, sizeof(piece)));

        if (!n) break;
        virtqueue_write(q, c, done, piece, n);
        done += n;
    }
    explicit_bzero(piece, sizeof(piece));
    r->quota -= r->config.max_bytes ? done : 0;
    return done;
}

static void fd_ready(void *opaque, int fd, unsigned events);

/* What is missing comes with the next period, or when the file has some. */
static void wait_for_more(struct rng *r)
{
    bool used_up = r->config.max_bytes && !r->quota;

    if (used_up || r->fd < 0) {                        /* or the host's generator is not seeded yet */
        int64_t wait_ms = used_up ? r->config.period_ms : SEED_MS;

        if (!timer_is_armed(r->timer)) timer_arm_ns(r->timer, clock_virtual_ns() + wait_ms * NS_PER_MS);
    } else if (!r->ended && !r->watched) {
        loop_fd_watch(r->fd, LOOP_READ, fd_ready, r);
        r->watched = true;
    }
}

static bool serve(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    struct rng *r = of(v);
    uint64_t got = fill(r, q, c);

    if (!got && c->in_bytes) {
        virtqueue_unpop(q, c);
        wait_for_more(r);
        return false;
    }
    virtqueue_push(q, c, got);
    return true;
}

static void notify(struct virtio *v, unsigned n)
{
    virtio_serve(v, n, serve);
    virtio_interrupt(v, &v->queue[n]);
}

static void watch_end(struct rng *r)
{
    if (r->watched) loop_fd_unwatch(r->fd);
    r->watched = false;
}

static void fd_ready(void *opaque, int fd, unsigned events)
{
    struct rng *r = opaque;

    watch_end(r);
    virtio_queue_notify(&r->v, 0);
}

static void period_passed(void *opaque)
{
    struct rng *r = opaque;

    r->quota = r->config.max_bytes;
    virtio_queue_notify(&r->v, 0);
}

/* The period goes on: a driver gets no more by making its queue anew. */
static void queue_stop(struct virtio *v, unsigned n) { watch_end(of(v)); }

static void destroy(struct virtio *v)
{
    struct rng *r = of(v);

    watch_end(r);
    timer_free(r->timer);
    if (r->fd >= 0) close(r->fd);
    virtio_fini(v);
    free(r);
}

static const struct virtio_ops ops = {
    .name = "virtio-rng-pci", .description = "virtio entropy source", .type = VIRTIO_RNG, .pci_class = 0x00ff00, .notify = notify,
    .queue_stop = queue_stop, .destroy = destroy,
};

struct virtio *virtio_rng_new(const struct virtio_rng_config *config, struct error *err)
{
    struct rng *r = calloc(1, sizeof(*r));
    uint16_t size = QUEUE_SIZE;

    if (!r) {
        error_set(err, "no memory for virtio-rng");
        return NULL;
    }
    r->config = *config;
    r->quota = config->max_bytes;
    r->v.id = config->id;
    r->fd = -1;
    r->timer = timer_new(TIMER_VIRTUAL, period_passed, r);
    if (config->filename) {
        r->fd = open(config->filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (r->fd < 0) {
            error_set(err, "virtio-rng: cannot open '%s': %s; leave out -object rng-random to use the host's generator", config->filename, strerror(errno));
            destroy(&r->v);
            return NULL;
        }
    }
    if (virtio_init(&r->v, &ops, config->memory, 0, &config->options, 1, &size, err) < 0) {
        destroy(&r->v);
        return NULL;
    }
    return &r->v;
}
