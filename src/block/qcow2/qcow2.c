/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening and closing qcow2 images: header, tables, backing file, external data file. Opening writes nothing.
 * Before the first write an image has its unknown autoclear bits cleared, one that was not closed (lazy
 * refcounts) its references counted anew; an image that is marked corrupt is only opened for reading.
 */
#include "block/qcow2/bitmap.h"
#include "block/qcow2/crypt.h"
#include "block/qcow2/packer.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the image that is opened; each backing file below has half of what is above it. */
#define L2_CACHE_MAX_BYTES (8ull << 20)
#define L2_CACHE_LEAST_BYTES (256ull << 10)
#define REFCOUNT_CACHE_BYTES (1ull << 20)

static bool qcow2_probe(const uint8_t *head, size_t length)
{
    be32 magic, version;
    if (length < 8)
        return false;
    memcpy(&magic, head, 4);
    memcpy(&version, head + 4, 4);
    return be32_get(magic) == QCOW2_MAGIC && be32_get(version) >= 2;
}

static int data_file_open(struct qcow2 *q, struct error *err)
{
    struct block_node *n = q->node;
    q->data = q->file;
    if (!(q->incompatible & QCOW2_INCOMPAT_DATA_FILE))
        return 0;
    if (!*q->data_filename)
        return error_set(err, "it needs an external data file but does not name one");
    if (q->snapshots)
        return error_set(err, "it has both snapshots and an external data file, which is not valid");
    char *path = block_path_join(n->filename, q->data_filename);
    if (!path)
        return error_set(err, "out of memory");
    const struct block_file_options o = { .readonly = n->readonly, .direct = n->direct, .no_lock = n->no_lock,
                                          .force_share = n->force_share, .unsafe = n->unsafe };
    q->data_external = true;
    q->data_raw = q->autoclear & QCOW2_AUTOCLEAR_DATA_RAW;
    q->data = block_file_open(path, &o, err);
    free(path);
    return q->data ? 0 : error_prefix(err, "its external data file is not to be had");
}

int qcow2_refcount_cache_init(struct qcow2 *q)
{
    return qcow2_cache_init(&q->refcounts, (uint32_t)MIN(q->cluster_size, 4096ull), REFCOUNT_CACHE_BYTES);
}

static int caches_init(struct qcow2 *q)
{
    uint32_t slice = (uint32_t)MIN(q->cluster_size, 4096ull);
    uint64_t l2 = qcow2_virtual_clusters(q) * q->entry_bytes, most = L2_CACHE_MAX_BYTES;
    for (const struct block_node *n = q->node->overlay_of; n && most > L2_CACHE_LEAST_BYTES; n = n->overlay_of)
        most /= 2;
    if (qcow2_cache_init(&q->l2, slice, MIN(l2 + 16 * slice, most)))
        return -ENOMEM;
    return qcow2_refcount_cache_init(q);
}

static int writable_check(struct qcow2 *q, struct error *err)
{
    if (q->node->readonly)
        return 0;
    if (q->incompatible & QCOW2_INCOMPAT_CORRUPT && !q->node->opening->for_check)
        return error_set(err, "it is marked corrupt; run 'ospite img check -r all' on it, or use readonly=on");
    q->lazy = q->version >= 3 && q->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;
    return 0;
}

/* What is said about bitmaps may be wrong; then they do not count any more, as after a program that knows none. */
static int bitmaps_begin_locked(struct qcow2 *q, uint64_t *known)
{
    if (!(q->autoclear & QCOW2_AUTOCLEAR_BITMAPS) || q->version < 3)
        return 0;
    int r = qcow2_bitmaps_begin_locked(q);
    if (r == -EINVAL)
        log_message("'%s': the directory of its dirty bitmaps is not valid; they do not count from now on", q->node->filename);
    else if (!r && q->bitmaps)
        *known |= QCOW2_AUTOCLEAR_BITMAPS;
    return r == -EINVAL ? 0 : r;
}

static int first_write_locked(struct qcow2 *q)
{
    struct error err;
    uint64_t known = q->data_external ? QCOW2_AUTOCLEAR_DATA_RAW : 0;
    int begun = bitmaps_begin_locked(q, &known);
    if (begun)
        return begun;
    if (q->autoclear & ~known) {
        q->autoclear &= known;
        int r = qcow2_header_features_write(q);
        if (!r)
            r = block_protocol_flush(q->file);
        if (r)
            return r;
    }
    if (q->incompatible & QCOW2_INCOMPAT_DIRTY && qcow2_refcounts_rebuild(q, &err)) {
        log_message("'%s': cannot write: %s", q->node->filename, err.text);
        q->corrupt = true;
        return -EIO;
    }
    return 0;
}

int qcow2_write_begin(struct qcow2 *q)
{
    if (__atomic_load_n(&q->begun, __ATOMIC_ACQUIRE))
        return q->corrupt ? -EIO : 0;
    pthread_mutex_lock(&q->lock);
    int r = q->begun ? 0 : first_write_locked(q);
    if (!r)
        __atomic_store_n(&q->begun, true, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&q->lock);
    return r;
}

static void state_free(struct qcow2 *q)
{
    if (q->data && q->data != q->file)
        q->data->ops->close(q->data);
    qcow2_crypt_close(q);
    qcow2_cache_destroy(&q->l2);
    qcow2_cache_destroy(&q->refcounts);
    qcow2_cache_destroy(&q->bits);
    qcow2_bitmaps_free(q);
    free(q->bitmap_frees.item);
    free(q->l1);
    free(q->reftable);
    free(q->snapshot);
    free(q->meta.slot);
    free(q->meta.ranges.item);
    free(q->frees.item);
    free(q->unpacked);
    pthread_mutex_destroy(&q->lock);
    pthread_mutex_destroy(&q->range_lock);
    pthread_mutex_destroy(&q->unpack_lock);
    qcow2_packers_free(&q->packers);
    pthread_cond_destroy(&q->range_changed);
    free(q);
}

static int qcow2_open(struct block_node *n, struct error *err)
{
    struct qcow2 *q = calloc(1, sizeof(*q));
    if (!q)
        return error_set(err, "cannot open '%s': out of memory", n->filename);
    q->node = n;
    q->file = n->file;
    pthread_mutex_init(&q->lock, NULL);
    pthread_mutex_init(&q->range_lock, NULL);
    pthread_mutex_init(&q->unpack_lock, NULL);
    qcow2_packers_init(&q->packers);
    pthread_cond_init(&q->range_changed, NULL);
    int r = qcow2_header_read(q, err);
    if (!r)
        r = data_file_open(q, err);
    if (!r)
        r = qcow2_crypt_open(q, err);
    if (!r)
        r = qcow2_tables_read(q, err);
    if (!r && caches_init(q))
        r = error_set(err, "out of memory");
    if (!r)
        r = block_node_backing_open(n, q->backing, q->backing_format, err);
    if (!r)
        r = writable_check(q, err);
    if (!r && n->opening->internal_snapshot)
        r = qcow2_snapshot_use(q, n->opening->internal_snapshot, err);
    if (r) {
        state_free(q);
        return block_node_open_fail(n, r, err);
    }
    n->state = q;
    n->cluster_bytes = (uint32_t)q->cluster_size;
    return 0;
}

static void qcow2_close(struct block_node *n)
{
    struct qcow2 *q = n->state;
    int r = n->readonly || q->corrupt || !q->begun ? 0 : qcow2_close_flush(q);
    if (r)
        log_message("'%s': the last changes could not be written: %s", n->filename, strerror(-r));
    state_free(q);
}

static int qcow2_node_flush(struct block_node *n)
{
    struct qcow2 *q = n->state;
    return __atomic_load_n(&q->begun, __ATOMIC_ACQUIRE) ? qcow2_flush(q) : 0;
}

const struct block_format block_format_qcow2 = {
    .name = "qcow2", .probe = qcow2_probe, .open = qcow2_open, .close = qcow2_close, .close_flushes = true, .preadv = qcow2_preadv,
    .pwritev = qcow2_pwritev, .flush = qcow2_node_flush, .discard = qcow2_discard,
    .write_zeroes = qcow2_write_zeroes, .place = qcow2_place, .place_end = qcow2_place_end, .extent = qcow2_extent, .has_backing = true,
    .create_options = qcow2_create_options_table, .create_check = qcow2_create_check, .create = qcow2_image_create,
    .backing_change = qcow2_backing_change,
    .info = qcow2_info, .map = qcow2_map, .check = qcow2_check, .repairs = true,
    .snapshot_list = qcow2_snapshot_list, .snapshot_create = qcow2_snapshot_create,
    .resize = qcow2_resize, .make_empty = qcow2_make_empty, .write_compressed = qcow2_write_compressed,
    .measure = qcow2_measure, .amend = qcow2_amend, .amend_options = qcow2_amend_options_table, .open_options = qcow2_open_options,
    .bitmap_change = qcow2_bitmap_change, .bitmap_list = qcow2_bitmap_list, .bitmap_status = qcow2_bitmap_status,
    .snapshot_apply = qcow2_snapshot_apply, .snapshot_delete = qcow2_snapshot_delete,
};
