/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preallocation: every cluster gets its place in the file before anything is written to it. Metadata alone leave the
 * data to holes; falloc has the file system reserve them, full writes zeroes.
 */
#include "block/qcow2/whole.h"

#include <errno.h>
#include <stdlib.h>

#define CHUNK_BYTES (1u << 20)
#define ROUND_CLUSTERS 4096

static int zeroes_write(struct block_protocol *p, uint64_t offset, uint64_t length)
{
    uint8_t *zeroes = calloc(1, CHUNK_BYTES);
    int r = zeroes ? 0 : -ENOMEM;
    while (!r && length) {
        size_t take = MIN(length, (uint64_t)CHUNK_BYTES);
        r = block_protocol_pwrite(p, offset, zeroes, take);
        offset += take;
        length -= take;
    }
    free(zeroes);
    return r;
}

/* Clusters inside the file may have been somebody's before. */
static int reused_clear(struct qcow2 *q, uint64_t host, uint64_t length)
{
    int64_t size = q->file->ops->size(q->file);
    if (size < 0)
        return (int)size;
    return host < (uint64_t)size ? block_protocol_write_zeroes(q->file, host, MIN(length, (uint64_t)size - host), true) : 0;
}

static int data_reserve(struct qcow2 *q, uint64_t host, uint64_t length, enum block_preallocation mode)
{
    if (mode == BLOCK_PREALLOCATION_FULL)
        return zeroes_write(q->data, host, length);
    if (mode == BLOCK_PREALLOCATION_FALLOC)
        return block_protocol_write_zeroes(q->data, host, length, false);
    return q->data_external ? 0 : reused_clear(q, host, length);
}

static int place(struct qcow2 *q, uint64_t at, uint64_t wanted, uint64_t *host, uint64_t *count)
{
    *host = at;
    *count = wanted;
    return q->data_external ? 0 : qcow2_allocate_locked(q, wanted, host, count);
}

/* Zeroes in the file would not be zeroes of an encrypted disk: there a flag says that they are. */
static struct qcow2_entry placed_entry(const struct qcow2 *q, uint64_t host)
{
    struct qcow2_entry e = { .word = host | QCOW2_COPIED };
    if (q->extended)
        e.bitmap = q->crypt_method ? 0xffffffffull << 32 : 0xffffffffu;
    else if (q->crypt_method)
        e.word |= QCOW2_ZERO;
    return e;
}

/* Some clusters in a row; 0 in *count: the first is placed already. */
static int run_place_locked(struct qcow2 *q, uint64_t at, uint64_t wanted, uint64_t *host, uint64_t *count)
{
    struct qcow2_entry e;
    int r = qcow2_entry_get_locked(q, at, &e);
    *count = 0;
    if (r || e.word || e.bitmap)
        return r;
    uint64_t free_run = 1;
    while (free_run < wanted && !qcow2_entry_get_locked(q, at + (free_run << q->cluster_bits), &e) && !e.word && !e.bitmap)
        free_run++;
    r = qcow2_l2_own_locked(q, at);
    if (!r)
        r = place(q, at, free_run, host, count);
    if (r) {
        *count = 0;
        return r;
    }
    uint64_t linked = 0;
    for (; !r && linked < *count; linked += !r)
        r = qcow2_entry_set_locked(q, at + (linked << q->cluster_bits), placed_entry(q, *host + (linked << q->cluster_bits)));
    if (r && !q->data_external)
        qcow2_allocation_undo_locked(q, *host + (linked << q->cluster_bits), *count - linked);
    return r;
}

int qcow2_preallocate(struct qcow2 *q, uint64_t from, uint64_t to, enum block_preallocation mode)
{
    uint64_t at = ALIGN_DOWN(from, q->cluster_size), end = 0;
    int r = 0;
    while (!r && at < to) {
        uint64_t host, count, wanted = (to - at + q->cluster_size - 1) >> q->cluster_bits;
        pthread_mutex_lock(&q->lock);
        r = run_place_locked(q, at, MIN(wanted, (uint64_t)ROUND_CLUSTERS), &host, &count);
        pthread_mutex_unlock(&q->lock);
        if (!r && count) {
            r = data_reserve(q, host, count << q->cluster_bits, mode);
            end = MAX(end, host + (count << q->cluster_bits));
        }
        at += MAX(count, 1ull) << q->cluster_bits;
    }
    int64_t size = q->file->ops->size(q->file);
    if (!r && !q->data_external && size >= 0 && (uint64_t)size < end)
        r = q->file->ops->truncate ? q->file->ops->truncate(q->file, end, BLOCK_PREALLOCATION_OFF)
                                   : block_protocol_write_zeroes(q->file, (uint64_t)size, end - (uint64_t)size, true);
    return r;
}

/* As QEMU judges it: more clusters are counted, by a ninth and by two, than the file takes space for. */
static bool hollow_find_locked(struct qcow2 *q)
{
    int64_t size = q->file->ops->size(q->file), taken = q->file->ops->allocated ? q->file->ops->allocated(q->file) : -1;
    uint64_t clusters = size > 0 ? ((uint64_t)size + q->cluster_size - 1) >> q->cluster_bits : 0, counted = 0, count;
    uint64_t real = (uint64_t)taken >> q->cluster_bits, enough = MAX(real * 10 / 9, real + 2);
    if (taken < 0)
        return false;
    for (uint64_t i = 0; i < clusters && counted < enough && clusters - i >= enough - counted; i++)
        if (qcow2_refcount_get_locked(q, i, &count))
            return false;
        else
            counted += count != 0;
    return counted >= enough;
}

bool qcow2_is_hollow(struct qcow2 *q)
{
    pthread_mutex_lock(&q->lock);
    if (!q->hollow_known)
        q->hollow = !q->data_external && hollow_find_locked(q);
    q->hollow_known = true;
    bool hollow = q->hollow;
    pthread_mutex_unlock(&q->lock);
    return hollow;
}
