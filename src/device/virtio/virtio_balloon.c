/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Balloon: the guest gives pages up (inflates) until it keeps what the host wants it to keep, and takes them back (deflates) later; it
 * may also report pages that are free at the moment. Either way the host forgets their content (MADV_DONTNEED) and has the
 * memory back; when the guest touches such a page it finds zeroes. Translations of code there are dropped.
 *
 * Statistics: the driver leaves a buffer with numbers; giving it back asks for new ones.
 * Pages are given up some at a time, so that others get their turn however many a driver names.
 * Limits: 16384 page numbers a request, the rest is passed over; pages of other blocks than main RAM are left alone; no free page hinting (that serves migration).
 * Source: VIRTIO 1.2, section 5.5.
 */
#include "device/virtio/virtio_balloon.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"

enum { F_STATS_VQ = 1, F_DEFLATE_ON_OOM = 2, F_PAGE_POISON = 4, F_REPORTING = 5 };
enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATS, QUEUE_REPORTING, QUEUE_SIZE = 128, REPORTING_QUEUE_SIZE = 32 };
enum { PAGE = 4096, STATS = 16, PFNS = 256, CHAIN_BYTES = 65536, ROUND_PAGES = 32768 };

struct layout { le32 num_pages, actual, free_page_hint_cmd_id, poison_val; } __attribute__((packed));
struct stat { le16 tag; le64 value; } __attribute__((packed));
static const char *const stat_names[] = {
    "swapped in", "swapped out", "major faults", "minor faults", "free memory", "total memory", "available memory", "disk caches",
    "huge pages allocated", "huge pages failed",
};

struct balloon {
    struct virtio v;
    struct virtio_balloon_config config;
    struct virtqueue_chain *stats_chain; /* until new ones are wanted */
    uint64_t stat[STATS];
    uint32_t wanted_pages;               /* the guest shall give up */
    uint32_t stats_seen;                 /* a bit a tag */
    int64_t stats_s;                     /* when they came */
    struct timer *timer;
    uint64_t released_bytes;             /* given back to the host since the start */
    uint64_t round_pages;                /* named since the queue's turn began */
};

static struct balloon *of(struct virtio *v) { return container_of(v, struct balloon, v); }
static struct layout *layout_of(struct virtio *v) { return (struct layout *)v->config; }

/* ---- pages ---- */

/* Whole pages of main RAM within size bytes at gpa. */
static void pages_release(struct balloon *b, gpa_t gpa, uint64_t size)
{
    b->round_pages += (size + PAGE - 1) / PAGE;
    while (size) {
        struct flat_range r = memory_map_find(b->config.memory, gpa);
        uint64_t here = MIN(r.start + r.size - gpa, size);
        uint8_t *p = r.kind == RANGE_RAM ? r.hva + (gpa - r.start) : NULL, *ram = b->config.ram_hva;

        if (!here) return;                             /* the end of the address space */
        if (p && p >= ram && (uint64_t)(p - ram) < b->config.ram_bytes) {
            uint8_t *from = (uint8_t *)ALIGN_UP((uintptr_t)p, (uintptr_t)PAGE), *to = (uint8_t *)ALIGN_DOWN((uintptr_t)p + here, (uintptr_t)PAGE);

            if (from < to && madvise(from, (size_t)(to - from), b->config.ram_shared ? MADV_REMOVE : MADV_DONTNEED) == 0) {
                memory_written(b->config.memory, gpa + (uint64_t)(from - p), (size_t)(to - from));
                b->released_bytes += (uint64_t)(to - from);
            }
        }
        gpa += here;
        size -= here;
    }
}

/* Page numbers, released in runs of neighbours: drivers give them in falling or rising order. */
static bool inflate(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    uint64_t at = 0, first = 0, count = 0;
    le32 pfns[PFNS];
    size_t n;

    while (at < CHAIN_BYTES && (n = virtqueue_read(c, at, pfns, sizeof(pfns)) / sizeof(pfns[0]))) {
        for (size_t i = 0; i < n; i++) {
            uint64_t pfn = le32_get(pfns[i]);

            if (count && pfn == first + count) count++;
            else if (count && pfn + 1 == first) first--, count++;
            else {
                pages_release(of(v), first * PAGE, count * PAGE);
                first = pfn;
                count = 1;
            }
        }
        at += n * sizeof(pfns[0]);
    }
    pages_release(of(v), first * PAGE, count * PAGE);
    virtqueue_push(q, c, 0);
    return of(v)->round_pages < ROUND_PAGES;
}

/* The pages come back by being touched. */
static bool deflate(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    virtqueue_push(q, c, 0);
    return true;
}

/* A guest that fills free pages with a pattern expects to find that again, not zeroes. */
static bool report(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    bool keep = virtio_has(v, F_PAGE_POISON) && le32_get(layout_of(v)->poison_val);

    uint64_t left = of(v)->config.ram_bytes;             /* more is free nowhere */

    for (unsigned i = 0; i < c->in_count && !keep; i++) {
        uint64_t here = MIN((uint64_t)c->in[i].iov_len, left);

        pages_release(of(v), c->in_gpa[i], here);
        left -= here;
    }
    virtqueue_push(q, c, 0);
    return of(v)->round_pages < ROUND_PAGES;
}

/* ---- statistics ---- */

static void stats_request(struct balloon *b)
{
    struct virtqueue *q = &b->v.queue[QUEUE_STATS];

    if (!b->stats_chain) return;
    virtqueue_push(q, b->stats_chain, 0);
    b->stats_chain = NULL;
    virtio_interrupt(&b->v, q);
}

static void stats_due(void *opaque)
{
    struct balloon *b = opaque;

    stats_request(b);
    timer_arm_ns(b->timer, clock_virtual_ns() + b->config.poll_s * NS_PER_SECOND);
}

static bool stats(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    struct balloon *b = of(v);
    struct stat s;

    for (uint64_t at = 0; at < STATS * 2 * sizeof(s) && virtqueue_read(c, at, &s, sizeof(s)) == sizeof(s); at += sizeof(s)) {
        if (le16_get(s.tag) >= STATS) continue;
        b->stat[le16_get(s.tag)] = le64_get(s.value);
        b->stats_seen |= 1u << le16_get(s.tag);
    }
    b->stats_s = time(NULL);
    if (b->stats_chain) virtqueue_push(q, b->stats_chain, 0);    /* a driver has one; if it gives another, the old goes back */
    b->stats_chain = c;
    return true;
}

/* ---- life ---- */

static void config_fill(struct balloon *b) { *layout_of(&b->v) = (struct layout){ .num_pages = le32_make(b->wanted_pages) }; }

static void notify(struct virtio *v, unsigned n)
{
    static bool (*const serve[])(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c) = { inflate, deflate, stats, report };

    of(v)->round_pages = 0;
    virtio_serve(v, n, serve[n]);
    if (of(v)->round_pages >= ROUND_PAGES) virtio_notify_later(v, n);
    virtio_interrupt(v, &v->queue[n]);
}

static void driver_ok(struct virtio *v)
{
    struct balloon *b = of(v);

    if (b->config.poll_s) timer_arm_ns(b->timer, clock_virtual_ns() + b->config.poll_s * NS_PER_SECOND);
}

void virtio_balloon_target_set(struct virtio *v, uint64_t bytes)
{
    struct balloon *b = of(v);
    uint64_t give = b->config.ram_bytes - MIN(bytes, b->config.ram_bytes);

    b->wanted_pages = (uint32_t)(give / PAGE);
    layout_of(v)->num_pages = le32_make(b->wanted_pages);
    virtio_config_changed(v);
}

uint64_t virtio_balloon_actual_bytes(const struct virtio *v)
{
    const struct balloon *b = container_of(v, struct balloon, v);
    uint64_t given = (uint64_t)le32_get(((const struct layout *)v->config)->actual) * PAGE;

    return b->config.ram_bytes - MIN(given, b->config.ram_bytes);
}

bool virtio_balloon_stat(const struct virtio *v, unsigned tag, uint64_t *value, int64_t *updated_s)
{
    const struct balloon *b = container_of(v, struct balloon, v);

    if (tag >= STATS || !(b->stats_seen & 1u << tag)) return false;
    *value = b->stat[tag];
    *updated_s = b->stats_s;
    return true;
}

uint32_t virtio_balloon_poll(const struct virtio *v)
{
    return container_of(v, struct balloon, v)->config.poll_s;
}

void virtio_balloon_poll_set(struct virtio *v, uint32_t seconds)
{
    struct balloon *b = of(v);

    b->config.poll_s = seconds;
    if (seconds) timer_arm_ns(b->timer, clock_virtual_ns());
    else timer_disarm(b->timer);
}

/* The driver writes actual, and poison_val if it took that feature. */
static void config_written(struct virtio *v, unsigned offset, unsigned size)
{
    const struct layout written = *layout_of(v);
    const struct virtio_balloon_config *c = &of(v)->config;

    config_fill(of(v));
    layout_of(v)->actual = written.actual;
    if (c->changed && offset <= offsetof(struct layout, actual) && offset + size > offsetof(struct layout, actual))
        c->changed(c->opaque, virtio_balloon_actual_bytes(v));
    if (virtio_has(v, F_PAGE_POISON)) layout_of(v)->poison_val = written.poison_val;
}

static void queue_stop(struct virtio *v, unsigned n)
{
    struct balloon *b = of(v);

    if (n != QUEUE_STATS) return;
    if (b->stats_chain) virtqueue_drop(&v->queue[n], b->stats_chain);
    b->stats_chain = NULL;
    timer_disarm(b->timer);
}

static void reset(struct virtio *v)
{
    config_fill(of(v));
    of(v)->stats_seen = 0;
}

static void destroy(struct virtio *v)
{
    timer_free(of(v)->timer);
    virtio_fini(v);
    free(of(v));
}

static void info(struct virtio *v, void (*print)(void *opaque, const char *line), void *opaque)
{
    struct balloon *b = of(v);
    char line[128];

    snprintf(line, sizeof(line), "balloon: actual=%" PRIu64 " MiB, wanted %" PRIu64 " MiB, %" PRIu64 " MiB were given back to the host so far",
             virtio_balloon_actual_bytes(v) >> 20, (b->config.ram_bytes - (uint64_t)b->wanted_pages * PAGE) >> 20,
             b->released_bytes >> 20);
    print(opaque, line);
    for (unsigned i = 0; i < ARRAY_SIZE(stat_names); i++) {
        if (!(b->stats_seen & 1u << i)) continue;
        snprintf(line, sizeof(line), "  %-22s %" PRIu64, stat_names[i], b->stat[i]);
        print(opaque, line);
    }
    stats_request(b);                                  /* newer ones for the next time */
}

static const struct virtio_ops ops = {
    .name = "virtio-balloon-pci", .description = "virtio memory balloon", .type = VIRTIO_BALLOON, .pci_class = 0x00ff00, .notify = notify,
    .config_written = config_written, .driver_ok = driver_ok, .queue_stop = queue_stop, .reset = reset, .destroy = destroy, .info = info,
};

struct virtio *virtio_balloon_new(const struct virtio_balloon_config *config, struct error *err)
{
    static const uint16_t sizes[] = { QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, REPORTING_QUEUE_SIZE };
    struct balloon *b = calloc(1, sizeof(*b));
    uint64_t features = BIT(F_STATS_VQ) | BIT(F_PAGE_POISON);

    if (!b) {
        error_set(err, "no memory for virtio-balloon");
        return NULL;
    }
    if (config->deflate_on_oom) features |= BIT(F_DEFLATE_ON_OOM);
    if (config->free_page_reporting) features |= BIT(F_REPORTING);
    b->config = *config;
    b->v.id = config->id;
    b->v.config_bytes = sizeof(struct layout);
    b->timer = timer_new(TIMER_VIRTUAL, stats_due, b);
    if (virtio_init(&b->v, &ops, config->memory, features, &config->options, config->free_page_reporting ? 4 : 3, sizes, err) < 0) {
        destroy(&b->v);
        return NULL;
    }
    return &b->v;
}
