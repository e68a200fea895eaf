/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tools ask of a qcow2 image: options of new ones, and what an image says about itself. */
#include "block/qcow2/crypt.h"
#include "block/qcow2/whole.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct block_option qcow2_create_options_table[] = {
    { "backing_file", BLOCK_OPTION_TEXT, "File name of a base image", NULL, true },
    { "backing_fmt", BLOCK_OPTION_TEXT, "Image format of the base image", NULL, true },
    { "cluster_size", BLOCK_OPTION_SIZE, "qcow2 cluster size", "65536", false },
    { "compat", BLOCK_OPTION_TEXT, "Compatibility level (v2 [0.10] or v3 [1.1])", "v3", true },
    { "compression_type", BLOCK_OPTION_TEXT, "Compression method used for image cluster compression (zlib, zstd)", "zlib",
      false },
    { "data_file", BLOCK_OPTION_TEXT, "File name of an external data file", NULL, false },
    { "data_file_raw", BLOCK_OPTION_BOOL, "The external data file must stay valid as a raw image", "off", false },
    { "encrypt.format", BLOCK_OPTION_TEXT, "Encrypt the image: 'luks'", NULL, false },
    LUKS_CREATE_ROWS("encrypt."),
    { "encrypt.key-secret", BLOCK_OPTION_TEXT, "ID of secret providing LUKS passphrase", NULL, false },
    { "encryption", BLOCK_OPTION_BOOL, "Only off: QEMU's old encryption is not made any more", "off", false },
    { "extended_l2", BLOCK_OPTION_BOOL, "Extended L2 tables", "off", false },
    { "lazy_refcounts", BLOCK_OPTION_BOOL, "Postpone refcount updates", "off", true },
    { "nocow", BLOCK_OPTION_BOOL, "Turn off copy-on-write (valid only on btrfs)", "off", false },
    { "preallocation", BLOCK_OPTION_TEXT, "Preallocation mode (allowed values: off, metadata, falloc, full)", "off", false },
    { "refcount_bits", BLOCK_OPTION_NUMBER, "Width of a reference count entry in bits", "16", true },
    { "size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL, true },
    { .name = NULL },
};

const struct block_option qcow2_amend_options_table[] = { LUKS_AMEND_ROWS("encrypt."), { .name = NULL } };

static int order_find(uint64_t bits, unsigned version, unsigned *order, struct error *err)
{
    for (*order = 0; *order <= 6; ++*order)
        if (bits == BIT(*order))
            return *order != 4 && version == 2 ? error_set(err, "compat=0.10 has refcount_bits=16 and no other") : 0;
    return error_set(err, "refcount_bits is a power of two from 1 to 64, not %llu", (unsigned long long)bits);
}

int qcow2_options_read(const struct block_create_options *o, struct qcow2_create_options *q, struct error *err)
{
    static const char *const levels[] = { "0.10", "v2", "1.1", "v3", NULL };
    uint64_t cluster = 65536, refcount_bits = 16;
    unsigned level = 3, compression = 0;
    static const char *const compressions[] = { "zlib", "zstd", NULL };
    *q = (struct qcow2_create_options){ .size_bytes = ALIGN_UP(o->size_bytes, 512ull), .backing = o->backing,
                                        .backing_format = o->backing_format };
    if (block_option_size(o->options, "cluster_size", &cluster, err) ||
        block_option_number(o->options, "refcount_bits", 64, &refcount_bits, err) ||
        block_option_choice(o->options, "compat", levels, &level, err) ||
        block_option_bool(o->options, "extended_l2", &q->extended_l2, err) ||
        block_option_bool(o->options, "lazy_refcounts", &q->lazy_refcounts, err) ||
        block_option_choice(o->options, "compression_type", compressions, &compression, err) ||
        block_option_bool(o->options, "data_file_raw", &q->data_raw, err) ||
        block_option_preallocation(o->options, 15, &q->preallocation, err))
        return -1;
    q->zstd = compression == 1;
    q->data_file = block_option_get(o->options, "data_file");
    q->version = level < 2 ? 2 : 3;
    if (cluster < 512 || cluster > 2u << 20 || cluster & (cluster - 1))
        return error_set(err, "cluster_size is a power of two from 512 to 2M");
    q->cluster_bits = (unsigned)__builtin_ctzll(cluster);
    const char *three = q->extended_l2 ? "extended_l2" : q->lazy_refcounts ? "lazy_refcounts" : q->zstd ?
                        "compression_type=zstd" : q->data_file ? "data_file" : NULL;
    if (q->version == 2 && three)
        return error_set(err, "%s needs compat=1.1", three);
    if (q->data_raw && !q->data_file)
        return error_set(err, "data_file_raw needs data_file=NAME");
    if (q->data_raw && q->backing)
        return error_set(err, "an image with data_file_raw cannot have a backing file: its data file alone is the disk");
    if (q->preallocation != BLOCK_PREALLOCATION_OFF && q->backing && !q->extended_l2)
        return error_set(err, "preallocation would hide the backing file; use preallocation=off, or extended_l2=on");
    if (qcow2_crypt_create_read(o, q, err))
        return -1;
    if (q->encrypted && q->data_raw)
        return error_set(err, "an encrypted disk cannot be read in its data file: leave out data_file_raw");
    if (q->encrypted && q->version == 2 && q->preallocation != BLOCK_PREALLOCATION_OFF)
        return error_set(err, "preallocation of encrypted images needs compat=1.1");
    if (q->extended_l2 && q->cluster_bits < 14)
        return error_set(err, "extended_l2 needs a cluster_size of 16K or more");
    return order_find(refcount_bits, q->version, &q->refcount_order, err);
}

int qcow2_create_check(const struct block_create_options *o, struct error *err)
{
    struct qcow2_create_options q;
    char what[BLOCK_LOOK_BYTES];
    if (qcow2_options_read(o, &q, err) || qcow2_layout_check(&q, err))
        return -1;
    const char *not = q.encrypted ? "encryption" : q.data_file ? "data_file" :
                      q.preallocation != BLOCK_PREALLOCATION_OFF ? "preallocation" : NULL;
    if (o->compress && not)
        return error_set(err, "compression and %s do not go together; leave out one of them", not);
    char *data = q.data_file ? block_path_join(o->filename, q.data_file) : NULL;
    int r = q.data_file && !data ? error_set(err, "out of memory") : 0;
    if (data && !o->force && block_create_look(data, what))
        r = error_set(err, "the data file '%s' holds %s; give another name, or --force to replace it", data, what);
    free(data);
    return r;
}

static int data_file_create(const char *name, const struct qcow2_create_options *q, bool *created, struct error *err)
{
    struct block_protocol *p = block_file_create(name, created, err);
    int r = p ? 0 : -1;
    if (p && p->ops->truncate) {
        r = p->ops->truncate(p, 0, BLOCK_PREALLOCATION_OFF);
        if (!r)
            r = p->ops->truncate(p, q->size_bytes, q->preallocation);
        if (r)
            r = error_set(err, "cannot make the data file '%s': %s", name, strerror(-r));
    }
    if (p)
        p->ops->close(p);
    return r;
}

static void not_closed(struct block_protocol *p)
{
}

/* The new image is opened over a file that stays the caller's. */
static int preallocate(struct block_protocol *file, const struct qcow2_create_options *q, struct error *err)
{
    const struct block_protocol_ops *ops = file->ops;
    struct block_protocol_ops borrowed = *ops;
    struct error ignored;
    const struct block_open_options o = { .filename = file->filename, .format = "qcow2", .no_lock = true, .no_backing = true,
                                          .no_key = true };
    borrowed.close = not_closed;
    file->ops = &borrowed;
    struct block_node *n = block_node_open_over(file, &o, NULL, err);
    int r = n ? qcow2_write_begin(n->state) : -1;
    if (n && !r)
        r = qcow2_preallocate(n->state, 0, q->size_bytes, q->preallocation);
    if (n && !r)
        r = block_node_flush(n);
    if (n && r) {
        qcow2_make_empty(n, &ignored);      /* on a device it stays */
        error_set(err, "cannot preallocate '%s': %s", file->filename, strerror(-r));
    }
    block_close(n);
    file->ops = ops;
    return r ? -1 : 0;
}

int qcow2_image_create(struct block_protocol *file, const struct block_create_options *o, struct error *err)
{
    struct qcow2_create_options q;
    bool data_created = false;
    if (qcow2_options_read(o, &q, err))
        return -1;
    char *data = q.data_file ? block_path_join(o->filename, q.data_file) : NULL;
    int r = q.data_file && !data ? error_set(err, "out of memory") : 0;
    if (data)
        r = data_file_create(data, &q, &data_created, err);
    if (!r)
        r = qcow2_create(file, &q, err);
    if (!r && q.preallocation != BLOCK_PREALLOCATION_OFF && q.size_bytes)
        r = preallocate(file, &q, err);
    if (r && data_created)
        unlink(data);
    free(data);
    return r;
}

static void bitmaps_describe(struct block_node *n, json_t *data, struct error *err)
{
    struct block_bitmap *list;
    unsigned count;
    if (qcow2_bitmap_list(n, &list, &count, err)) {
        log_message("%s", err->text);   /* the rest can be told all the same */
        return;
    }
    json_t *all = count ? json_array() : NULL;
    for (unsigned i = 0; i < count; i++) {
        json_t *flags = json_array(), *o = json_object();
        if (list[i].in_use)
            json_array_append_new(flags, json_string("in-use"));
        if (list[i].automatic)
            json_array_append_new(flags, json_string("auto"));
        json_object_set_new(o, "flags", flags);
        json_object_set_new(o, "name", json_string(list[i].name));
        json_object_set_new(o, "granularity", json_integer(list[i].granularity_bytes));
        json_array_append_new(all, o);
    }
    if (all)
        json_object_set_new(data, "bitmaps", all);
    free(list);
}

int qcow2_info(struct block_node *n, struct block_info *info, struct error *err)
{
    const struct qcow2 *q = n->state;
    info->backing = *q->backing ? q->backing : NULL;
    info->backing_format = *q->backing_format ? q->backing_format : NULL;
    info->encrypted = q->luks || q->crypt_method == QCOW2_CRYPT_AES;
    info->dirty = q->incompatible & QCOW2_INCOMPAT_DIRTY;
    info->data = json_object();
    if (!info->data)
        return error_set(err, "out of memory");
    json_object_set_new(info->data, "compat", json_string(q->version == 2 ? "0.10" : "1.1"));
    json_object_set_new(info->data, "compression-type", json_string(q->compression == QCOW2_ZSTD ? "zstd" : "zlib"));
    json_object_set_new(info->data, "refcount-bits", json_integer(1 << q->refcount_order));
    if (info->encrypted)
        json_object_set_new(info->data, "encrypt", qcow2_crypt_info(q));
    if (q->version == 2)
        return 0;
    bitmaps_describe(n, info->data, err);
    json_object_set_new(info->data, "lazy-refcounts", json_boolean(q->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS));
    json_object_set_new(info->data, "corrupt", json_boolean(q->incompatible & QCOW2_INCOMPAT_CORRUPT));
    json_object_set_new(info->data, "extended-l2", json_boolean(q->extended));
    if (q->data_external) {
        json_object_set_new(info->data, "data-file", json_string(q->data_filename));
        json_object_set_new(info->data, "data-file-raw", json_boolean(q->data_raw));
    }
    return 0;
}
