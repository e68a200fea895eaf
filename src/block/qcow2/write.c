/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing. Where clusters (or subclusters) are there already and belong to the active image alone, data go
 * straight to them, many requests at once. Otherwise the request takes its clusters exclusively, allocates
 * new ones, writes its data together with what must be copied around them (copy-on-write from the backing
 * file, a snapshot's or a compressed cluster), and only then links the new clusters into the L2 table. A
 * failed write gives its clusters back.
 */
#include "block/qcow2/write.h"

#include "block/qcow2/bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ZERO_RANGE_MIN_BYTES (32u << 10)    /* below, writing zeroes along with the data is cheaper */
#define FREES_MAX 2048

/* Bytes from offset on that can be written in place, and where; 0 when none. */
static int in_place_find_locked(struct qcow2 *q, uint64_t offset, uint64_t max, uint64_t *host, uint64_t *length)
{
    *length = 0;
    while (*length < max) {
        struct qcow2_entry e;
        uint64_t at = offset + *length, in = at & (q->cluster_size - 1);
        int r = qcow2_entry_get_locked(q, at, &e);
        if (r)
            return r;
        if (!qcow2_entry_is_owned(q, e))
            return 0;
        uint64_t here = qcow2_entry_host(q, e) + in;
        if (*length && here != *host + *length)
            return 0;
        unsigned sub = (unsigned)(in >> q->sub_bits), subs = 1u << (q->cluster_bits - q->sub_bits), first = sub;
        while (sub < subs && qcow2_entry_kind(q, e, sub) == QCOW2_DATA)
            sub++;
        if (sub == first)
            return 0;
        if (q->data_external ? here != at : qcow2_meta_overlaps(q, here - in, q->cluster_size))
            return qcow2_corrupt(q, "the L2 entry for disk offset %#llx leads to the wrong place",
                                 (unsigned long long)at);
        if (!*length)
            *host = here;
        *length += MIN(((uint64_t)sub << q->sub_bits) - in, max - *length);
        if (sub < subs)
            return 0;
    }
    return 0;
}

static int data_write(struct qcow2 *q, uint64_t host, const struct qcow2_io *io, size_t skip, size_t length)
{
    int used = block_iov_slice(io->scratch, io->iov, io->iovcnt, skip, length);
    return qcow2_data_pwritev(q, host, io->offset + skip, io->scratch, used);
}

/* Writes what can be written in place from *done on and moves *done. */
static int in_place_write(struct qcow2 *q, const struct qcow2_io *io, size_t *done)
{
    int r = 0;
    while (!r && *done < io->length) {
        uint64_t host = 0, length = 0;
        pthread_mutex_lock(&q->lock);
        r = q->corrupt ? -EIO : in_place_find_locked(q, io->offset + *done, io->length - *done, &host, &length);
        pthread_mutex_unlock(&q->lock);
        if (r || !length)
            break;
        r = data_write(q, host, io, *done, length);
        if (!r)
            *done += length;
    }
    return r;
}

/* One allocation: clusters from `cluster` (disk offset) on, that lie at host. The window is what is written of them. */
struct placement {
    uint64_t cluster, host, count;
    uint64_t from, to;              /* the guest's data */
    uint64_t window_from, window_to;
    bool fresh;                     /* allocated just now */
};

/* Whether only subclusters need to be filled up: nothing of the cluster's old data has to move. */
static bool fills_subclusters(const struct qcow2 *q, struct qcow2_entry e)
{
    if (!q->extended || e.word & QCOW2_COMPRESSED)
        return false;
    return qcow2_entry_is_owned(q, e) || !qcow2_entry_host(q, e);
}

/* Clusters in a row that need a new place; first is the entry of the first, last becomes that of the last. */
static int count_new_locked(struct qcow2 *q, uint64_t cluster, uint64_t max, uint64_t *count, struct qcow2_entry *last)
{
    for (*count = 1; *count < max; ++*count) {
        struct qcow2_entry e;
        int r = qcow2_entry_get_locked(q, cluster + (*count << q->cluster_bits), &e);
        if (r)
            return r;
        if (qcow2_entry_is_malformed(q, e) || qcow2_entry_is_owned(q, e))
            break;
        *last = e;
    }
    return 0;
}

static int clusters_place_locked(struct qcow2 *q, struct placement *p, struct qcow2_entry first, struct qcow2_entry *last)
{
    uint64_t max = (p->to - p->cluster + q->cluster_size - 1) >> q->cluster_bits;
    *last = first;
    p->count = 1;
    p->fresh = false;
    if (qcow2_entry_is_malformed(q, first))
        return qcow2_corrupt(q, "the L2 entry for disk offset %#llx is malformed", (unsigned long long)p->cluster);
    int r = qcow2_l2_own_locked(q, p->cluster);
    if (r)
        return r;
    if (qcow2_entry_is_owned(q, first)) {
        p->host = qcow2_entry_host(q, first);
        if (q->data_external ? p->host != p->cluster : qcow2_meta_overlaps(q, p->host, q->cluster_size))
            return qcow2_corrupt(q, "the L2 entry for disk offset %#llx leads to the wrong place",
                                 (unsigned long long)p->cluster);
        return 0;
    }
    uint64_t wanted;
    r = count_new_locked(q, p->cluster, max, &wanted, last);
    if (r)
        return r;
    if (q->data_external) {
        p->host = p->cluster;
        p->count = wanted;
        return 0;
    }
    r = qcow2_allocate_locked(q, wanted, &p->host, &p->count);
    p->fresh = !r;
    if (!r && p->count < wanted)
        r = qcow2_entry_get_locked(q, p->cluster + ((p->count - 1) << q->cluster_bits), last);
    return r;
}

static void window_find(const struct qcow2 *q, struct placement *p, struct qcow2_entry first, struct qcow2_entry last)
{
    uint64_t end = p->cluster + (p->count << q->cluster_bits);
    p->to = MIN(p->to, end);
    p->window_from = ALIGN_DOWN(p->from, fills_subclusters(q, first) ? BIT(q->sub_bits) : q->cluster_size);
    p->window_to = ALIGN_UP(p->to, fills_subclusters(q, last) ? BIT(q->sub_bits) : q->cluster_size);
}

static bool reads_zero(const struct qcow2 *q, struct qcow2_entry e, uint64_t offset)
{
    for (unsigned sub = 0; sub < 1u << (q->cluster_bits - q->sub_bits); sub++) {
        enum qcow2_kind k = qcow2_entry_kind(q, e, sub);
        if (k != QCOW2_ZEROES && !(k == QCOW2_UNALLOCATED && qcow2_below_is_zero(q, offset)))
            return false;
    }
    return true;
}

/* Data and what surrounds them in one write. */
static int window_write(struct qcow2 *q, const struct qcow2_io *io, const struct placement *p, bool zero_around)
{
    size_t head = p->from - p->window_from, tail = p->window_to - p->to;
    uint64_t host = p->host + (p->window_from - p->cluster);
    if (zero_around && !q->crypt_method && head + tail >= ZERO_RANGE_MIN_BYTES &&
        !q->data->ops->write_zeroes(q->data, host, p->window_to - p->window_from, false))
        return data_write(q, host + head, io, p->from - io->offset, p->to - p->from);
    uint8_t *around = head + tail ? malloc(head + tail) : NULL;
    if (head + tail && !around)
        return -ENOMEM;
    struct iovec h = { around, head }, t = { tail ? around + head : NULL, tail };
    int r = head ? qcow2_read_unlocked(q, p->window_from, &h, 1, 0, head) : 0;
    if (!r && tail)
        r = qcow2_read_unlocked(q, p->to, &t, 1, 0, tail);
    if (!r) {
        int used = 0;
        if (head)
            io->scratch[used++] = h;
        used += block_iov_slice(io->scratch + used, io->iov, io->iovcnt, p->from - io->offset, p->to - p->from);
        if (tail)
            io->scratch[used++] = t;
        r = qcow2_data_pwritev(q, host, p->window_from, io->scratch, used);
    }
    free(around);
    return r;
}

/* The bits of the subclusters of the cluster at `cluster` that the window covers. */
static uint64_t window_bits(const struct qcow2 *q, const struct placement *p, uint64_t cluster)
{
    uint64_t from = MAX(p->window_from, cluster) - cluster;
    uint64_t to = MIN(p->window_to, cluster + q->cluster_size) - cluster;
    return (BIT(to >> q->sub_bits) - 1) & ~(BIT(from >> q->sub_bits) - 1);
}

/* *linked: how many are part of the disk from now on, whatever is returned. */
static int clusters_link_locked(struct qcow2 *q, const struct placement *p, uint64_t *linked)
{
    int r = 0;
    qcow2_barrier_want(q);
    while (!r && *linked < p->count) {
        uint64_t at = *linked << q->cluster_bits;
        struct qcow2_entry old, e = { .word = (p->host + at) | QCOW2_COPIED };
        r = qcow2_entry_get_locked(q, p->cluster + at, &old);
        if (r)
            break;
        if (q->extended) {
            uint64_t bits = window_bits(q, p, p->cluster + at);
            e.bitmap = (old.word & QCOW2_COMPRESSED ? 0 : old.bitmap & ~(bits << 32)) | bits;
        }
        bool keeps = qcow2_entry_is_owned(q, old);
        r = qcow2_entry_set_locked(q, p->cluster + at, e);
        *linked += !r;
        if (!r && !keeps)
            r = qcow2_entry_free_locked(q, old);
    }
    return r;
}

/* Places and writes as much as one allocation gives; moves *done. */
static int new_write(struct qcow2 *q, const struct qcow2_io *io, size_t *done)
{
    struct qcow2_entry first, last;
    struct placement p = { .from = io->offset + *done, .to = io->offset + io->length };
    uint64_t linked = 0;
    p.cluster = ALIGN_DOWN(p.from, q->cluster_size);
    pthread_mutex_lock(&q->lock);
    int r = q->corrupt ? -EIO : qcow2_entry_get_locked(q, p.cluster, &first);
    if (!r)
        r = clusters_place_locked(q, &p, first, &last);
    bool zero_around = !r && reads_zero(q, first, p.cluster) &&
                       reads_zero(q, last, p.cluster + ((p.count - 1) << q->cluster_bits));
    pthread_mutex_unlock(&q->lock);
    if (!r) {
        window_find(q, &p, first, last);
        r = window_write(q, io, &p, zero_around);
    }
    pthread_mutex_lock(&q->lock);
    if (!r)
        r = clusters_link_locked(q, &p, &linked);
    if (r && p.fresh)
        qcow2_allocation_undo_locked(q, p.host + (linked << q->cluster_bits), p.count - linked);
    bool many = q->frees.count > FREES_MAX;
    pthread_mutex_unlock(&q->lock);
    if (!r && many)
        r = qcow2_flush(q);
    if (!r)
        *done = p.to - io->offset;
    return r;
}

int qcow2_write_exclusive(struct qcow2 *q, const struct qcow2_io *io, size_t done)
{
    int r = 0;
    while (!r && done < io->length) {
        r = in_place_write(q, io, &done);
        if (!r && done < io->length)
            r = new_write(q, io, &done);
    }
    return r;
}

int qcow2_data_write(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct qcow2_range range;
    struct qcow2_io io = { .offset = offset, .length = block_iov_length(iov, iovcnt), .iov = iov, .iovcnt = iovcnt };
    size_t done = 0;
    int r;
    io.scratch = malloc(sizeof(*io.scratch) * ((size_t)iovcnt + 2));
    if (!io.scratch)
        return -ENOMEM;
    qcow2_range_lock(q, &range, offset, io.length, false);
    r = in_place_write(q, &io, &done);
    qcow2_range_unlock(q, &range);
    if (!r && done < io.length) {
        qcow2_range_lock(q, &range, offset + done, io.length - done, true);
        r = qcow2_write_exclusive(q, &io, done);
        qcow2_range_unlock(q, &range);
    }
    free(io.scratch);
    return r;
}

int qcow2_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct qcow2 *q = n->state;
    int r = qcow2_write_begin(q);
    if (!r)
        r = qcow2_bitmaps_mark(q, offset, block_iov_length(iov, iovcnt));
    return r ? r : qcow2_data_write(q, offset, iov, iovcnt);
}
