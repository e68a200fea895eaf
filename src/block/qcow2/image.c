/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tools ask of a qcow2 image: options of new ones, and what an image says about itself. */
#include "block/qcow2/qcow2_private.h"

#include <stdlib.h>

const struct block_option qcow2_create_options_table[] = {
    { "backing_file", BLOCK_OPTION_TEXT, "File name of a base image", NULL, false },
    { "backing_fmt", BLOCK_OPTION_TEXT, "Image format of the base image", NULL, false },
    { "cluster_size", BLOCK_OPTION_SIZE, "qcow2 cluster size", "65536", false },
    { "compat", BLOCK_OPTION_TEXT, "Compatibility level (v2 [0.10] or v3 [1.1])", "v3", false },
    { "extended_l2", BLOCK_OPTION_BOOL, "Extended L2 tables", "off", false },
    { "lazy_refcounts", BLOCK_OPTION_BOOL, "Postpone refcount updates", "off", false },
    { "refcount_bits", BLOCK_OPTION_NUMBER, "Width of a reference count entry in bits", "16", false },
    { "size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL, false },
    { .name = NULL },
};

static int order_find(uint64_t bits, unsigned version, unsigned *order, struct error *err)
{
    for (*order = 0; *order <= 6; ++*order)
        if (bits == BIT(*order))
            return *order != 4 && version == 2 ? error_set(err, "compat=0.10 has refcount_bits=16 and no other") : 0;
    return error_set(err, "refcount_bits is a power of two from 1 to 64, not %llu", (unsigned long long)bits);
}

static int options_read(const struct block_create_options *o, struct qcow2_create_options *q, struct error *err)
{
    static const char *const levels[] = { "0.10", "v2", "1.1", "v3", NULL };
    uint64_t cluster = 65536, refcount_bits = 16;
    unsigned level = 3;
    *q = (struct qcow2_create_options){ .size_bytes = ALIGN_UP(o->size_bytes, 512ull), .backing = o->backing,
                                        .backing_format = o->backing_format };
    if (block_option_size(o->options, "cluster_size", &cluster, err) ||
        block_option_number(o->options, "refcount_bits", 64, &refcount_bits, err) ||
        block_option_choice(o->options, "compat", levels, &level, err) ||
        block_option_bool(o->options, "extended_l2", &q->extended_l2, err) ||
        block_option_bool(o->options, "lazy_refcounts", &q->lazy_refcounts, err))
        return -1;
    q->version = level < 2 ? 2 : 3;
    if (cluster < 512 || cluster > 2u << 20 || cluster & (cluster - 1))
        return error_set(err, "cluster_size is a power of two from 512 to 2M");
    q->cluster_bits = (unsigned)__builtin_ctzll(cluster);
    if (q->version == 2 && (q->extended_l2 || q->lazy_refcounts))
        return error_set(err, "%s needs compat=1.1", q->extended_l2 ? "extended_l2" : "lazy_refcounts");
    if (q->extended_l2 && q->cluster_bits < 14)
        return error_set(err, "extended_l2 needs a cluster_size of 16K or more");
    return order_find(refcount_bits, q->version, &q->refcount_order, err);
}

int qcow2_create_check(const struct block_create_options *o, struct error *err)
{
    struct qcow2_create_options q;
    return options_read(o, &q, err);
}

int qcow2_image_create(struct block_protocol *file, const struct block_create_options *o, struct error *err)
{
    struct qcow2_create_options q;
    return options_read(o, &q, err) ? -1 : qcow2_create(file, &q, err);
}

int qcow2_info(struct block_node *n, struct block_info *info, struct error *err)
{
    const struct qcow2 *q = n->state;
    info->backing = *q->backing ? q->backing : NULL;
    info->backing_format = *q->backing_format ? q->backing_format : NULL;
    info->dirty = q->incompatible & QCOW2_INCOMPAT_DIRTY;
    info->data = json_object();
    if (!info->data)
        return error_set(err, "out of memory");
    json_object_set_new(info->data, "compat", json_string(q->version == 2 ? "0.10" : "1.1"));
    json_object_set_new(info->data, "compression-type", json_string(q->compression == QCOW2_ZSTD ? "zstd" : "zlib"));
    json_object_set_new(info->data, "refcount-bits", json_integer(1 << q->refcount_order));
    if (q->version == 2)
        return 0;
    json_object_set_new(info->data, "lazy-refcounts", json_boolean(q->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS));
    json_object_set_new(info->data, "corrupt", json_boolean(q->incompatible & QCOW2_INCOMPAT_CORRUPT));
    json_object_set_new(info->data, "extended-l2", json_boolean(q->extended));
    return 0;
}
