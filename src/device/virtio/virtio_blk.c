/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block device: a request is a header, data, and a status byte. Data go between the image and guest memory without a
 * copy: the chain's buffers are the request's I/O vector. Requests are asynchronous, so that a queue's worth of them is
 * in flight together; they complete in any order. But a few small reads that the host has in its page cache are done before the
 * notification returns: that takes less time than to have somebody else do them.
 *
 * Without write-back (config field writeback, or a driver that knows neither it nor flushes) a write is followed by a flush
 * before it is acknowledged. What failed and stopped the machine waits until that goes on.
 *
 * Limits: one segment a discard or write-zeroes; no secure erase, no zoned devices.
 * Source: VIRTIO 1.2, section 5.2.
 */
#include "device/virtio/virtio_blk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"

enum { F_SEG_MAX = 2, F_GEOMETRY = 4, F_RO = 5, F_BLK_SIZE = 6, F_FLUSH = 9, F_TOPOLOGY = 10, F_CONFIG_WCE = 11, F_MQ = 12,
       F_DISCARD = 13, F_WRITE_ZEROES = 14 };
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13, T_BARRIER = 1u << 31 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum { SECTOR = 512, ID_BYTES = 20, RANGE_UNMAP = 1, DEFAULT_QUEUE_SIZE = 256, DEFAULT_RANGE_SECTORS = 0x3fffff, NOW_BYTES = 32 << 10 };

struct header { le32 type, priority; le64 sector; } __attribute__((packed));
struct range { le64 sector; le32 sectors, flags; } __attribute__((packed));
struct layout {                          /* of the configuration space (5.2.4) */
    le64 capacity;
    le32 size_max, seg_max;
    le16 cylinders;
    uint8_t heads, sectors;
    le32 blk_size;
    uint8_t physical_block_exp, alignment_offset;
    le16 min_io_size;
    le32 opt_io_size;
    uint8_t writeback, unused0;
    le16 num_queues;
    le32 max_discard_sectors, max_discard_seg, discard_sector_alignment, max_write_zeroes_sectors, max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap, unused1[3];
} __attribute__((packed));

struct request {
    struct request *next;                /* in waiting of its disk */
    struct virtio_blk *b;
    struct virtqueue *q;
    struct virtqueue_chain *chain;
    uint32_t type;
    bool flushing;                       /* the write is done, its flush runs */
    struct iovec *iov;                   /* data, without header and status */
    unsigned iovcnt;
    uint64_t bytes, offset;
    struct range range;
    uint8_t *status;
    gpa_t status_gpa;
};

struct virtio_blk {
    struct virtio v;
    struct virtio_blk_config config;
    char serial[ID_BYTES];
    bool writeback;
    unsigned in_flight;
    struct request *waiting;             /* for virtio_blk_retry */
    uint64_t errors, now_bytes;          /* now: how much this notification may still read in place */
};

static struct virtio_blk *of(struct virtio *v) { return container_of(v, struct virtio_blk, v); }
static struct layout *layout_of(struct virtio_blk *b) { return (struct layout *)b->v.config; }

/* ---- the end of a request ---- */

static void request_finish(struct request *r, uint8_t status)
{
    struct virtio_blk *b = r->b;

    *r->status = status;
    memory_written(b->config.memory, r->status_gpa, 1);
    /* Of a failed read nothing is promised, but the status is the last byte and counts. */
    virtqueue_push(r->q, r->chain, r->chain->in_bytes + 1);
    if (status == S_IOERR) b->errors++;
    if (b->in_flight || b->v.is_serving) virtio_interrupt_soon(&b->v, r->q);
    else virtio_interrupt(&b->v, r->q);
    free(r);
}

static void request_done(void *opaque, int result)
{
    struct request *r = opaque;
    struct virtio_blk *b = r->b;
    enum block_error_action action = result ? block_error_action(&b->config.on_error, r->type == T_IN, result) : BLOCK_ERROR_IGNORE;

    if (action == BLOCK_ERROR_IGNORE && !r->flushing && !b->writeback && (r->type == T_OUT || r->type == T_WRITE_ZEROES)) {
        r->flushing = true;
        block_flush(b->config.node, request_done, r);
        return;
    }
    b->in_flight--;
    if (action == BLOCK_ERROR_STOP) {
        r->next = b->waiting;
        b->waiting = r;
        return;
    }
    request_finish(r, action == BLOCK_ERROR_IGNORE ? S_OK : S_IOERR);
}

/* ---- requests ---- */

static bool is_inside(const struct virtio_blk *b, uint64_t sector, uint64_t bytes)
{
    uint64_t capacity = block_size_bytes(b->config.node) / SECTOR;
    uint64_t mask = b->config.logical_block_bytes / SECTOR - 1;

    if (sector & mask || bytes % b->config.logical_block_bytes) return false;
    return sector <= capacity && bytes / SECTOR <= capacity - sector;
}

static void transfer(struct request *r)
{
    struct virtio_blk *b = r->b;

    b->in_flight++;
    if (r->type == T_IN) block_read(b->config.node, r->offset, r->iov, (int)r->iovcnt, request_done, r);
    else block_write(b->config.node, r->offset, r->iov, (int)r->iovcnt, request_done, r);
}

static void flush_submit(struct request *r)
{
    r->b->in_flight++;
    block_flush(r->b->config.node, request_done, r);
}

static bool read_now(struct request *r)
{
    struct virtio_blk *b = r->b;

    if (r->type != T_IN || r->bytes > b->now_bytes || !block_read_now(b->config.node, r->offset, r->iov, (int)r->iovcnt)) return false;
    b->now_bytes -= r->bytes;
    return true;
}

static int transfer_start(struct request *r, uint64_t sector)
{
    struct virtio_blk *b = r->b;

    if (!is_inside(b, sector, r->bytes)) return S_IOERR;
    if (r->type == T_OUT && block_is_readonly(b->config.node)) return S_IOERR;
    r->offset = sector * SECTOR;
    if (!r->bytes || read_now(r)) return S_OK;
    transfer(r);
    return -1;
}

static void range_submit(struct request *r)
{
    struct virtio_blk *b = r->b;
    uint64_t offset = le64_get(r->range.sector) * SECTOR, bytes = (uint64_t)le32_get(r->range.sectors) * SECTOR;

    b->in_flight++;
    if (r->type == T_DISCARD) block_discard(b->config.node, offset, bytes, request_done, r);
    else block_write_zeroes(b->config.node, offset, bytes, le32_get(r->range.flags) & RANGE_UNMAP, request_done, r);
}

static int range_start(struct request *r)
{
    struct virtio_blk *b = r->b;
    bool discard = r->type == T_DISCARD;
    uint32_t flags, sectors;

    if (!virtio_has(&b->v, discard ? F_DISCARD : F_WRITE_ZEROES)) return S_UNSUPP;
    if (r->bytes != sizeof(r->range)) return S_UNSUPP; /* one segment */
    virtqueue_read(r->chain, sizeof(struct header), &r->range, sizeof(r->range));
    flags = le32_get(r->range.flags);
    sectors = le32_get(r->range.sectors);
    if (flags & ~(uint32_t)RANGE_UNMAP || (discard && flags)) return S_UNSUPP;
    if (sectors > (discard ? b->config.max_discard_sectors : b->config.max_write_zeroes_sectors)) return S_IOERR;
    if (!is_inside(b, le64_get(r->range.sector), (uint64_t)sectors * SECTOR)) return S_IOERR;
    if (block_is_readonly(b->config.node)) return S_IOERR;
    if (!sectors) return S_OK;
    range_submit(r);
    return -1;
}

static int get_id(struct request *r)
{
    struct virtio_blk *b = r->b;

    virtqueue_write(r->q, r->chain, 0, b->serial, MIN((uint64_t)ID_BYTES, r->bytes));
    return S_OK;
}

/* Returns the status, or -1 if it comes later (r may be gone by then). */
static int request_start(struct request *r, uint64_t sector)
{
    switch (r->type) {
    case T_IN:
    case T_OUT:
        return transfer_start(r, sector);
    case T_FLUSH:
        flush_submit(r);
        return -1;
    case T_GET_ID:
        return get_id(r);
    case T_DISCARD:
    case T_WRITE_ZEROES:
        return range_start(r);
    default:
        return S_UNSUPP;
    }
}

/* The status byte is the last that the device may write; what is left of the chain are data. */
static void status_cut(struct request *r)
{
    struct virtqueue_chain *c = r->chain;
    struct iovec *last = &c->in[c->in_count - 1];

    last->iov_len--;
    c->in_bytes--;
    r->status = (uint8_t *)last->iov_base + last->iov_len;
    r->status_gpa = c->in_gpa[c->in_count - 1] + last->iov_len;
    if (!last->iov_len) c->in_count--;
}

static void data_find(struct request *r)
{
    struct virtqueue_chain *c = r->chain;

    status_cut(r);
    if (r->type == T_IN || r->type == T_GET_ID) {
        r->iov = c->in;
        r->iovcnt = c->in_count;
        r->bytes = c->in_bytes;
        return;
    }
    r->iov = c->out;
    r->iovcnt = virtqueue_iov_skip(&r->iov, c->out_count, sizeof(struct header));
    r->bytes = c->out_bytes - sizeof(struct header);
}

static bool serve(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    struct virtio_blk *b = of(v);
    struct request *r = malloc(sizeof(*r));
    struct header h;
    int status;

    if (!r || c->out_bytes < sizeof(h) || !c->in_bytes) {
        virtio_broken(&b->v, r ? "a request lacks its header or status" : "no memory for a request");
        virtqueue_drop(q, c);
        free(r);
        return false;
    }
    virtqueue_read(c, 0, &h, sizeof(h));
    *r = (struct request){ .b = b, .q = q, .chain = c, .type = le32_get(h.type) & ~(uint32_t)T_BARRIER };
    data_find(r);
    status = request_start(r, le64_get(h.sector));
    if (status >= 0) request_finish(r, (uint8_t)status);
    return true;
}

static void notify(struct virtio *v, unsigned n)
{
    of(v)->now_bytes = NOW_BYTES;
    virtio_serve(v, n, serve);
}

/* ---- configuration ---- */

static void config_fill(struct virtio_blk *b)
{
    const struct virtio_blk_config *c = &b->config;
    uint64_t sectors = block_size_bytes(c->node) / SECTOR, cylinders = sectors / (16 * 63);
    unsigned exponent = 0;

    uint32_t discard = c->no_discard ? 0 : 1, zeroes = c->no_write_zeroes ? 0 : 1;

    while (c->logical_block_bytes << exponent < c->physical_block_bytes) exponent++;
    *layout_of(b) = (struct layout){
        .capacity = le64_make(sectors), .seg_max = le32_make(c->queue_size - 2u),
        .cylinders = le16_make((uint16_t)MIN(MAX(cylinders, (uint64_t)2), (uint64_t)16383)), .heads = 16,
        .sectors = 63 & ~(uint8_t)(c->logical_block_bytes / SECTOR - 1),
        .blk_size = le32_make(c->logical_block_bytes), .physical_block_exp = (uint8_t)exponent,
        .min_io_size = le16_make((uint16_t)(c->min_io_bytes / c->logical_block_bytes)),
        .opt_io_size = le32_make(c->opt_io_bytes / c->logical_block_bytes),
        .writeback = b->writeback, .num_queues = le16_make((uint16_t)c->queues),
        .max_discard_sectors = le32_make(discard * c->max_discard_sectors), .max_discard_seg = le32_make(discard),
        .discard_sector_alignment = le32_make(discard * c->discard_granularity_bytes / SECTOR),
        .max_write_zeroes_sectors = le32_make(zeroes * c->max_write_zeroes_sectors), .max_write_zeroes_seg = le32_make(zeroes),
        .write_zeroes_may_unmap = (uint8_t)zeroes,
    };
}

static void config_written(struct virtio *v, unsigned offset, unsigned size)
{
    struct virtio_blk *b = of(v);
    bool wanted = layout_of(b)->writeback & 1;

    if (v->offered & BIT(F_CONFIG_WCE)) b->writeback = wanted;
    config_fill(b);                                    /* all else is read-only */
}

static void features_ok(struct virtio *v)
{
    struct virtio_blk *b = of(v);

    /* 5.2.5.2: a driver that cannot ask for flushes must find its writes stable. */
    b->writeback = b->config.write_cache && virtio_has(v, F_FLUSH);
    config_fill(b);
}

static uint64_t features(const struct virtio_blk_config *c)
{
    uint64_t f = BIT(F_SEG_MAX) | BIT(F_GEOMETRY) | BIT(F_BLK_SIZE) | BIT(F_FLUSH) | BIT(F_TOPOLOGY);

    if (!c->no_config_wce) f |= BIT(F_CONFIG_WCE);
    if (block_is_readonly(c->node)) f |= BIT(F_RO);
    if (c->queues > 1) f |= BIT(F_MQ);
    if (!c->no_discard) f |= BIT(F_DISCARD);
    if (!c->no_write_zeroes) f |= BIT(F_WRITE_ZEROES);
    return f;
}

/* ---- life ---- */

static void waiting_drop(struct virtio_blk *b, const struct virtqueue *q)
{
    for (struct request **link = &b->waiting, *r; (r = *link);) {
        if (r->q != q) {
            link = &r->next;
            continue;
        }
        *link = r->next;
        virtqueue_drop(r->q, r->chain);
        free(r);
    }
}

static void queue_stop(struct virtio *v, unsigned n)
{
    struct virtio_blk *b = of(v);

    block_drain(b->config.node);
    waiting_drop(b, &v->queue[n]);
}

static void reset(struct virtio *v)
{
    struct virtio_blk *b = of(v);

    b->writeback = b->config.write_cache;
    config_fill(b);
}

static void destroy(struct virtio *v)
{
    virtio_fini(v);
    free(of(v));
}

static void info(struct virtio *v, void (*print)(void *opaque, const char *line), void *opaque)
{
    const struct virtio_blk *b = of(v);
    char line[128];

    snprintf(line, sizeof(line), "%llu sectors%s, write cache %s, %u requests in flight%s, %llu errors",
             (unsigned long long)(block_size_bytes(b->config.node) / SECTOR), block_is_readonly(b->config.node) ? ", read-only" : "",
             b->writeback ? "on" : "off", b->in_flight, b->waiting ? ", some wait until the machine goes on" : "",
             (unsigned long long)b->errors);
    print(opaque, line);
}

static const struct virtio_ops ops = {
    .name = "virtio-blk-pci", .description = "virtio disk", .type = VIRTIO_BLK, .pci_class = 0x010000, .notify = notify,
    .config_written = config_written, .features_ok = features_ok, .queue_stop = queue_stop, .reset = reset, .destroy = destroy, .info = info,
};

void virtio_blk_retry(struct virtio *v)
{
    struct virtio_blk *b = of(v);
    struct request *list = b->waiting;

    b->waiting = NULL;
    while (list) {
        struct request *r = list;

        list = r->next;
        if (r->flushing || r->type == T_FLUSH) flush_submit(r);
        else if (r->type == T_OUT || r->type == T_IN) transfer(r);
        else range_submit(r);
    }
}

void virtio_blk_resized(struct virtio *v)
{
    config_fill(of(v));
    virtio_config_changed(v);
}

static void defaults_fill(struct virtio_blk_config *c)
{
    if (!c->queues) c->queues = 1;
    if (!c->queue_size) c->queue_size = DEFAULT_QUEUE_SIZE;
    if (!c->logical_block_bytes) c->logical_block_bytes = SECTOR;
    if (!c->physical_block_bytes) c->physical_block_bytes = c->logical_block_bytes;
    if (!c->discard_granularity_bytes) c->discard_granularity_bytes = c->logical_block_bytes;
    if (!c->max_discard_sectors) c->max_discard_sectors = DEFAULT_RANGE_SECTORS;
    if (!c->max_write_zeroes_sectors) c->max_write_zeroes_sectors = DEFAULT_RANGE_SECTORS;
}

struct virtio *virtio_blk_new(const struct virtio_blk_config *config, struct error *err)
{
    struct virtio_blk *b = calloc(1, sizeof(*b));
    uint16_t sizes[VIRTIO_QUEUES_MAX];

    if (!b) {
        error_set(err, "no memory for a virtio disk");
        return NULL;
    }
    b->config = *config;
    defaults_fill(&b->config);
    block_done_anywhere(b->config.node);
    for (unsigned n = 0; n < b->config.queues && n < ARRAY_SIZE(sizes); n++) sizes[n] = b->config.queue_size;
    if (config->serial) memcpy(b->serial, config->serial, strnlen(config->serial, ID_BYTES));
    b->v.id = config->id;
    /* It ends with the last field that a feature brings. */
    b->v.config_bytes = !config->no_write_zeroes ? offsetof(struct layout, unused1) :
                        !config->no_discard ? offsetof(struct layout, max_write_zeroes_sectors) : offsetof(struct layout, max_discard_sectors);
    if (virtio_init(&b->v, &ops, config->memory, features(&b->config), &config->options, b->config.queues, sizes, err) < 0) {
        destroy(&b->v);
        return NULL;
    }
    reset(&b->v);
    return &b->v;
}
