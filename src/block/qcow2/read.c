/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading: the request is cut into runs of the same kind (data that lie together in the file, zeroes, not
 * here). What is not here comes from the backing file; past its end there are zeroes.
 */
#include "block/qcow2/qcow2_private.h"

#include <errno.h>
#include <stdlib.h>

struct run {
    enum qcow2_kind kind;
    uint64_t host, word, length;
};

/* Subclusters of one kind from offset on, inside its cluster. */
static void run_in_cluster(const struct qcow2 *q, uint64_t offset, struct qcow2_entry e, uint64_t max, struct run *run)
{
    uint64_t in = offset & (q->cluster_size - 1);
    unsigned subs = 1u << (q->cluster_bits - q->sub_bits), sub = (unsigned)(in >> q->sub_bits);
    run->kind = qcow2_entry_kind(q, e, sub);
    run->word = e.word;
    run->host = qcow2_entry_host(q, e) + in;
    while (++sub < subs && qcow2_entry_kind(q, e, sub) == run->kind)
        ;
    run->length = MIN(((uint64_t)sub << q->sub_bits) - in, max);
}

/* What has no L2 table goes by in one step: huge empty disks are mapped in seconds. */
static uint64_t empty_length(const struct qcow2 *q, uint64_t offset, uint64_t max)
{
    unsigned shift = q->cluster_bits + q->l2_bits;
    uint64_t index = offset >> shift, end = offset;
    while (index < q->l1_entries && !(q->l1[index] & QCOW2_OFFSET_MASK) && end - offset < max)
        end = ++index << shift;
    return MIN(end - offset, max);
}

/* Whole clusters from offset on that go on like e, which has no place in the file, without a look at each. */
static uint64_t same_length(struct qcow2 *q, uint64_t offset, struct qcow2_entry e, enum qcow2_kind kind, uint64_t max)
{
    uint64_t empty = kind == QCOW2_UNALLOCATED ? empty_length(q, offset, max) : 0;
    bool uniform = !q->extended || !e.bitmap || e.bitmap == 0xffffffffull << 32;
    if (empty || qcow2_entry_host(q, e) || !uniform || (kind != QCOW2_UNALLOCATED && kind != QCOW2_ZEROES))
        return empty;
    return MIN(qcow2_entry_repeats_locked(q, offset, e) << q->cluster_bits, max);
}

static int run_find_locked(struct qcow2 *q, uint64_t offset, uint64_t max, struct run *run)
{
    struct qcow2_entry e;
    uint64_t empty = empty_length(q, offset, max);
    if (empty) {
        *run = (struct run){ .kind = QCOW2_UNALLOCATED, .length = empty };
        return 0;
    }
    int r = qcow2_entry_get_locked(q, offset, &e);
    if (r)
        return r;
    run_in_cluster(q, offset, e, max, run);
    if (q->data_external && run->kind == QCOW2_DATA && run->host != offset)
        return qcow2_corrupt(q, "an L2 entry does not match the external data file");
    while (run->length < max && run->kind != QCOW2_PACKED && run->kind != QCOW2_INVALID &&
           !((offset + run->length) & (q->cluster_size - 1))) {
        struct run next;
        uint64_t same = same_length(q, offset + run->length, e, run->kind, max - run->length);
        if (same) {
            run->length += same;
            continue;
        }
        r = qcow2_entry_get_locked(q, offset + run->length, &e);
        if (r)
            return 0;               /* this run is good; the error comes with the next */
        run_in_cluster(q, offset + run->length, e, max - run->length, &next);
        if (next.kind != run->kind || (run->kind == QCOW2_DATA && next.host != run->host + run->length))
            break;
        run->length += next.length;
    }
    return 0;
}

static int backing_read(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iovcnt, size_t skip,
                        size_t length, struct iovec *scratch)
{
    struct block_node *b = q->node->backing;
    size_t there = b && offset < b->size ? (size_t)MIN((uint64_t)length, b->size - offset) : 0;
    block_iov_zero(iov, iovcnt, skip + there, length - there);
    if (!there)
        return 0;
    int used = block_iov_slice(scratch, iov, iovcnt, skip, there);
    return b->format->preadv(b, offset, scratch, used);
}

static int run_read(struct qcow2 *q, const struct run *run, uint64_t offset, const struct iovec *iov, int iovcnt,
                    size_t skip, struct iovec *scratch)
{
    switch (run->kind) {
    case QCOW2_DATA: {
        int used = block_iov_slice(scratch, iov, iovcnt, skip, run->length);
        return qcow2_data_preadv(q, run->host, offset, scratch, used);
    }
    case QCOW2_ZEROES:
        block_iov_zero(iov, iovcnt, skip, run->length);
        return 0;
    case QCOW2_UNALLOCATED:
        return backing_read(q, offset, iov, iovcnt, skip, run->length, scratch);
    case QCOW2_PACKED:
        return qcow2_packed_read(q, run->word, (uint32_t)(offset & (q->cluster_size - 1)), iov, iovcnt, skip,
                                 run->length);
    default:
        return qcow2_corrupt(q, "the L2 entry for disk offset %#llx is malformed", (unsigned long long)offset);
    }
}

/* The list from byte skip on; the caller holds the range. */
int qcow2_read_unlocked(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iovcnt, size_t skip,
                        size_t length)
{
    struct iovec *scratch = malloc(sizeof(*scratch) * (size_t)iovcnt);
    int r = scratch ? 0 : -ENOMEM;
    while (!r && length) {
        struct run run;
        pthread_mutex_lock(&q->lock);
        r = run_find_locked(q, offset, length, &run);
        pthread_mutex_unlock(&q->lock);
        if (!r)
            r = run_read(q, &run, offset, iov, iovcnt, skip, scratch);
        if (!r) {
            offset += run.length;
            skip += run.length;
            length -= run.length;
        }
    }
    free(scratch);
    return r;
}

int qcow2_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct qcow2 *q = n->state;
    struct qcow2_range range;
    size_t length = block_iov_length(iov, iovcnt);
    if (n->readonly)
        return qcow2_read_unlocked(q, offset, iov, iovcnt, 0, length);
    qcow2_range_lock(q, &range, offset, length, false);
    int r = qcow2_read_unlocked(q, offset, iov, iovcnt, 0, length);
    qcow2_range_unlock(q, &range);
    return r;
}

int qcow2_extent(struct block_node *n, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    struct qcow2 *q = n->state;
    struct block_node *b = n->backing;
    struct run run;
    pthread_mutex_lock(&q->lock);
    int r = run_find_locked(q, offset, length, &run);
    pthread_mutex_unlock(&q->lock);
    if (r)
        return r;
    *extent = (struct block_extent){ .length_bytes = run.length, .zero = run.kind == QCOW2_ZEROES };
    if (run.kind != QCOW2_UNALLOCATED)
        return 0;
    if (b && offset < b->size)
        return block_extent_get(b, offset, MIN(run.length, b->size - offset), extent);
    extent->zero = extent->hole = true;
    return 0;
}

int qcow2_tables_map(struct qcow2 *q, uint64_t offset, uint64_t length, struct block_map *map)
{
    struct run run;
    pthread_mutex_lock(&q->lock);
    int r = run_find_locked(q, offset, length, &run);
    pthread_mutex_unlock(&q->lock);
    if (r)
        return r;
    map->length_bytes = run.length;
    map->present = run.kind != QCOW2_UNALLOCATED;
    map->zero = run.kind == QCOW2_ZEROES;
    map->data = run.kind == QCOW2_DATA || run.kind == QCOW2_PACKED;
    map->compressed = run.kind == QCOW2_PACKED;
    map->has_offset = run.kind == QCOW2_DATA && !q->crypt_method;
    map->offset = run.host;
    return run.kind == QCOW2_INVALID ? -EIO : 0;
}

int qcow2_map(struct block_node *n, uint64_t offset, uint64_t length, struct block_map *map)
{
    struct qcow2 *q = n->state;
    int r = qcow2_tables_map(q, offset, length, map);
    if (!r && map->data && map->has_offset && qcow2_is_hollow(q))
        r = block_protocol_holes_find(q->data, map);
    return r;
}
