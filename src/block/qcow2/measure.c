/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How large a file an image needs: metadata of the disk when it is full, plus the clusters that hold data. The figures
 * are those of 'qemu-img measure', since scripts size volumes by them.
 */
#include "block/qcow2/qcow2_private.h"

#include <errno.h>
#include <string.h>

static uint64_t refcount_bytes(uint64_t clusters, const struct qcow2_create_options *o)
{
    uint64_t cluster = BIT(o->cluster_bits), per_block = cluster * 8 >> o->refcount_order, per_table = cluster / 8;
    uint64_t blocks = 0, table = 0, now = 0, before;
    do {
        before = now;
        blocks = (clusters + table + blocks + per_block - 1) / per_block;
        table = (blocks + per_table - 1) / per_table;
        now = clusters + blocks + table;
    } while (now != before);
    return (blocks + table) * cluster;
}

static uint64_t full_bytes(uint64_t size, const struct qcow2_create_options *o)
{
    uint64_t cluster = BIT(o->cluster_bits), entry = o->extended_l2 ? 16 : 8, total = ALIGN_UP(size, cluster);
    uint64_t l2 = ALIGN_UP(total / cluster * entry, cluster), l1 = ALIGN_UP(l2 / cluster * 8, cluster);
    uint64_t meta = cluster + l2 + l1;
    return meta + refcount_bytes((meta + total) / cluster, o) + total;
}

static int data_bytes(struct block_node *source, uint64_t cluster, uint64_t *bytes)
{
    *bytes = 0;
    for (uint64_t at = 0; at < source->size;) {
        struct block_map map;
        int r = block_map_get(source, at, MIN(source->size - at, BIT(40)), 0, &map);
        if (r)
            return r;
        uint64_t end = at + map.length_bytes;
        if (!map.zero) {
            end = MIN(ALIGN_UP(end, cluster), source->size);
            *bytes += at % cluster + (ALIGN_UP(end, cluster) - at);
        }
        at = end;
    }
    return 0;
}

int qcow2_measure(const struct block_create_options *o, struct block_node *source, struct block_measure *m,
                  struct error *err)
{
    struct qcow2_create_options q;
    if (qcow2_options_read(o, &q, err))
        return -1;
    uint64_t cluster = BIT(q.cluster_bits), size = source ? source->size : q.size_bytes, data = 0;
    uint64_t per_l1 = BIT(2 * q.cluster_bits - (q.extended_l2 ? 4 : 3));
    if (size > BIT(62) || (size + per_l1 - 1) / per_l1 * 8 > QCOW2_MAX_L1_BYTES)
        return error_set(err, "%llu bytes are too many for clusters of %llu; use a larger cluster_size",
                         (unsigned long long)size, (unsigned long long)cluster);
    int r = source && !o->backing ? data_bytes(source, cluster, &data) : 0;
    if (r)
        return error_set(err, "cannot read '%s': %s", source->filename, strerror(-r));
    if ((source && o->backing) || q.preallocation != BLOCK_PREALLOCATION_OFF)
        data = ALIGN_UP(size, cluster);
    struct qcow2 *from = source && source->format == &block_format_qcow2 ? source->state : NULL;
    m->has_bitmaps = q.version >= 3 && from && from->version >= 3;
    r = m->has_bitmaps ? qcow2_bitmaps_size(from, cluster, &m->bitmaps_bytes) : 0;
    if (r)
        return error_set(err, "cannot read the dirty bitmaps of '%s': %s", source->filename, strerror(-r));
    m->fully_allocated_bytes = full_bytes(size, &q) + (q.encrypted ? ALIGN_UP(luks_header_bytes(&q.luks), cluster) : 0);
    m->required_bytes = m->fully_allocated_bytes - ALIGN_UP(size, cluster) + data;
    return 0;
}
