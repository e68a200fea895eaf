/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening a node: what the name and the options mean, the protocol, and the format by name or by content. Options come
 * as dotted keys, from --image-opts or from a json: name (which may stand in an image's header): "driver" is the format
 * (or a protocol, for its bytes as they are), "file.*" goes to the protocol, a few keys are the same for all, the rest
 * has to be in the format's table.
 */
#include "block/block_private.h"

#include "base/bits.h"
#include "base/log.h"
#include "block/qcow2/qcow2.h"
#include "block/throttle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What an open wants, with the options taken apart. */
struct wish {
    struct block_open_options o;
    struct block_options_arena all, file, rest, backing;
    bool by_name;                   /* o.filename is a name, not options */
};

static int format_choose(struct block_node *n, const char *format, struct error *err)
{
    uint8_t head[4096];
    int r = block_protocol_pread(n->file, 0, head, sizeof(head));
    if (r)
        return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
    const char *looks = block_format_looks_like(head, sizeof(head));
    if (format) {
        n->format = block_format_find(format);
        if (!n->format)
            return error_set(err, "cannot open '%s': unknown format '%s'; it looks like %s. Known: %s",
                             n->filename, format, looks, block_format_names());
        if (n->format->probe && !n->format->probe_is_hint && !n->format->probe(head, sizeof(head)))
            return error_set(err, "cannot open '%s': not a %s image (its first bytes are not that format's), it looks "
                             "like %s; use format=%s", n->filename, format, looks,
                             block_format_find(looks) ? looks : "raw, or convert it with qemu-img convert");
        return 0;
    }
    n->format = block_format_find(looks);
    if (n->format == &block_format_raw && block_format_probe_end(n->file))
        n->format = block_format_probe_end(n->file);
    if (!n->format)
        return error_set(err, "cannot open '%s': it looks like a %s image, which is not supported; convert it with "
                         "'qemu-img convert -O qcow2', or use format=raw if it is a raw disk", n->filename, looks);
    n->probed_raw = n->format == &block_format_raw;
    return 0;
}

static int rest_check(const struct block_node *n, const struct block_open_options *o, struct error *err)
{
    char what[32];
    snprintf(what, sizeof(what), "format %s", n->format->name);
    if (block_options_check(o->options, n->format->open_options, what, err))
        return error_prefix(err, "cannot open '%s'", n->filename);
    if (o->backing_options && !n->format->has_backing)
        return error_set(err, "cannot open '%s': %s images have no backing file for 'backing.%s'", n->filename,
                         n->format->name, o->backing_options->item[0].key);
    if (o->detect_zeroes == BLOCK_DETECT_UNMAP && !o->discard)
        return error_set(err, "cannot open '%s': setting detect-zeroes to unmap is not allowed without setting discard operation to unmap", n->filename);
    if (o->internal_snapshot && !n->format->snapshot_list)
        return error_set(err, "cannot open '%s': %s images have no internal snapshots", n->filename, n->format->name);
    return 0;
}

/* o->options: what the format gets. 0, or -1 with *err: then n holds nothing, and the protocol is closed. */
static int image_open(struct block_node *n, struct block_protocol *file, const struct block_open_options *o, struct error *err)
{
    n->file = file;
    n->filename = strdup(file->filename);
    n->readonly = o->readonly || o->internal_snapshot;
    n->discard = o->discard;
    n->detect_zeroes = o->detect_zeroes;
    n->no_lock = o->no_lock;
    n->force_share = o->force_share;
    n->unsafe = o->cache == BLOCK_CACHE_UNSAFE;
    n->direct = o->cache == BLOCK_CACHE_NONE || o->cache == BLOCK_CACHE_DIRECTSYNC;
    n->write_through = o->cache == BLOCK_CACHE_WRITETHROUGH || o->cache == BLOCK_CACHE_DIRECTSYNC;
    n->objects = o->objects;
    n->opening = o;
    if (!n->filename)
        error_set(err, "cannot open '%s': out of memory", file->filename);
    else if (!format_choose(n, o->format, err) && !rest_check(n, o, err) && !n->format->open(n, err)) {
        n->opening = NULL;
        return 0;
    }
    file->ops->close(file);
    free(n->key_secret);
    free(n->filename);
    n->file = NULL;
    n->key_secret = n->filename = NULL;
    n->opening = NULL;
    return -1;
}

struct block_node *block_node_open_over(struct block_protocol *file, const struct block_open_options *o,
                                        struct block_node *overlay_of, struct error *err)
{
    struct block_node *n = calloc(1, sizeof(*n));
    if (!n) {
        error_set(err, "cannot open '%s': out of memory", file->filename);
        file->ops->close(file);
        return NULL;
    }
    n->overlay_of = overlay_of;
    if (!image_open(n, file, o, err))
        return n;
    free(n);
    return NULL;
}

/* Keys that mean the same for every format and, behind "file.", every protocol. 1: taken, 0: not one of them. */
static int common_take(struct wish *w, const char *key, const char *value, struct error *err)
{
    const struct block_option_value item = { key, value };
    const struct block_option_set set = { &item, 1 };
    static const char *const detections[] = { "off", "on", "unmap", NULL };
    static const char *const discards[] = { "ignore", "off", "unmap", "on", NULL };
    bool flag = false;
    unsigned i = 0;
    if (!strcmp(key, "driver") || !strcmp(key, "format")) {
        w->o.format = value;
        return 1;
    }
    if (!strcmp(key, "detect-zeroes")) {
        if (block_option_choice(&set, key, detections, &i, err))
            return -1;
        w->o.detect_zeroes = MAX(w->o.detect_zeroes, (enum block_detect_zeroes)i);
        return 1;
    }
    if (!strcmp(key, "discard")) {
        if (block_option_choice(&set, key, discards, &i, err))
            return -1;
        w->o.discard = i >= 2;
        return 1;
    }
    if (strcmp(key, "read-only") && strcmp(key, "force-share") && strcmp(key, "cache.direct") &&
        strcmp(key, "cache.no-flush") && strcmp(key, "auto-read-only") && strcmp(key, "node-name"))
        return 0;
    if (!strcmp(key, "node-name") || !strcmp(key, "auto-read-only"))
        return 1;
    if (block_option_bool(&set, key, &flag, err))
        return -1;
    if (!strcmp(key, "read-only"))
        w->o.readonly |= flag;
    else if (!strcmp(key, "force-share"))
        w->o.force_share |= flag;
    else if (flag && !strcmp(key, "cache.direct"))
        w->o.cache = BLOCK_CACHE_NONE;
    else if (flag && w->o.cache != BLOCK_CACHE_NONE)
        w->o.cache = BLOCK_CACHE_UNSAFE;
    return 1;
}

int block_filter_options(const struct block_option_set *set, struct block_open_options *o, struct error *err)
{
    struct wish w = { .o = *o };
    for (unsigned i = 0; i < set->count; i++) {
        int r = common_take(&w, set->item[i].key, set->item[i].value, err);
        if (r <= 0)
            return r ? -1 : error_set(err, "Parameter '%s' is unexpected", set->item[i].key);
    }
    if (w.o.detect_zeroes == BLOCK_DETECT_UNMAP && !w.o.discard)
        return error_set(err, "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
    *o = w.o;
    o->format = NULL;
    return 0;
}

static int item_take(struct wish *w, const char *key, const char *value, struct error *err)
{
    bool below = !strncmp(key, "file.", 5);
    int r = below && !strcmp(key, "file.driver") ? 0 : common_take(w, below ? key + 5 : key, value, err);
    if (r)
        return r < 0 ? -1 : 0;
    if (!strcmp(key, "filename"))
        return block_options_add(&w->file, key, value) ? error_set(err, "out of memory") : 0;
    if (!strncmp(key, "backing.", 8) && strlen(key) >= 10 && !strcmp(key + strlen(key) - 10, "key-secret"))
        return block_options_add(&w->backing, key + 8, value) ? error_set(err, "out of memory") : 0;
    if (!strcmp(key, "file") || !strncmp(key, "backing", 7))
        return error_set(err, "'%s' is not supported in a name; give the file as file.filename=, and record the backing "
                         "file in the image", key);
    return block_options_add(below ? &w->file : &w->rest, below ? key + 5 : key, value) ? error_set(err, "out of memory") : 0;
}

/* The keys of a chain: encrypt.key-secret, backing.encrypt.key-secret, ... */
static int keys_add(struct wish *w)
{
    char key[8 * BLOCK_CHAIN_MAX + 32] = "";
    unsigned depth = 0;
    for (const struct block_node *n = w->o.keys_of; n && depth < BLOCK_CHAIN_MAX; n = n->backing, depth++) {
        strcpy(key + 8 * depth, n->format->has_backing ? "encrypt.key-secret" : "key-secret");
        if (n->key_secret && block_options_add(&w->all, key, n->key_secret))
            return -1;
        strcpy(key + 8 * depth, "backing.");
    }
    if (w->o.keys_of && !w->o.objects)
        w->o.objects = w->o.keys_of->objects;
    return 0;
}

static int wish_parse(struct wish *w, struct error *err)
{
    const char *explicit_format = w->o.format;
    w->by_name = w->o.filename && strncmp(w->o.filename, "json:", 5);
    if (w->o.filename && !w->by_name && block_options_from_json(w->o.filename + 5, &w->all, err))
        return -1;
    for (unsigned i = 0; w->o.options && i < w->o.options->count; i++)
        if (block_options_add(&w->all, w->o.options->item[i].key, w->o.options->item[i].value))
            return error_set(err, "out of memory");
    if (keys_add(w))
        return error_set(err, "out of memory");
    w->o.format = NULL;
    for (unsigned i = 0; i < w->all.set.count; i++)
        if (item_take(w, w->all.item[i].key, w->all.item[i].value, err))
            return -1;
    /* A protocol as driver: its bytes as they are, and all items are its own. */
    if (w->o.format && !block_format_find(w->o.format) && block_protocol_driver_find(w->o.format)) {
        block_options_add(&w->file, "driver", w->o.format);
        for (unsigned i = 0; i < w->rest.set.count; i++)
            block_options_add(&w->file, w->rest.item[i].key, w->rest.item[i].value);
        block_options_free(&w->rest);
        w->o.format = "raw";
    }
    if (explicit_format)
        w->o.format = explicit_format;
    w->o.options = &w->rest.set;
    w->o.backing_options = w->backing.set.count ? &w->backing.set : NULL;
    return 0;
}

int block_node_open_into(struct block_node *n, const struct block_open_options *o, struct error *err)
{
    struct wish w = { .o = *o };
    int r = -1;
    if (wish_parse(&w, err)) {
        error_prefix(err, "cannot open '%.200s'", o->filename ? o->filename : "image");
    } else {
        const struct block_file_options fo = {
            .readonly = w.o.readonly || w.o.internal_snapshot, .no_lock = w.o.no_lock, .force_share = w.o.force_share,
            .share_writes = w.o.share_writes && w.o.format && !strcmp(w.o.format, "raw"), .unsafe = w.o.cache == BLOCK_CACHE_UNSAFE,
            .direct = w.o.cache == BLOCK_CACHE_NONE || w.o.cache == BLOCK_CACHE_DIRECTSYNC,
        };
        struct block_protocol *file = block_protocol_open(w.by_name ? w.o.filename : NULL, &w.file.set, w.o.objects, &fo, err);
        r = file ? image_open(n, file, &w.o, err) : -1;
    }
    block_options_free(&w.all);
    block_options_free(&w.file);
    block_options_free(&w.rest);
    block_options_free(&w.backing);
    return r;
}

struct block_node *block_node_open(const struct block_open_options *o, struct block_node *overlay_of,
                                   struct error *err)
{
    struct block_node *n = calloc(1, sizeof(*n));
    if (!n) {
        error_set(err, "cannot open an image: out of memory");
        return NULL;
    }
    n->overlay_of = overlay_of;
    if (!block_node_open_into(n, o, err))
        return n;
    free(n);
    return NULL;
}

void block_node_key_note(struct block_node *n, const char *id)
{
    n->key_secret = id ? strdup(id) : NULL;
}

struct block_node *block_open(const struct block_open_options *o, struct error *err)
{
    struct block_open_options base = *o;
    if (!(o->options && o->options->count) && (!o->filename || !*o->filename)) {
        error_set(err, "cannot open an image: its file name is empty; give file=NAME");
        return NULL;
    }
    if (o->snapshot) {
        base.readonly = true;
        base.snapshot = false;
    }
    struct block_node *n = block_node_open(&base, NULL, err);
    if (!n || !o->snapshot || o->readonly)
        return n;
    struct block_node *top = qcow2_overlay_open(n, o, err);
    if (!top)
        block_close(n);
    return top;
}

void block_node_image_close(struct block_node *n)
{
    int r = n->readonly || n->format->close_flushes ? 0 : n->format->flush(n);
    if (r)
        log_message("'%s': the last changes could not be written: %s", n->filename, strerror(-r));
    n->format->close(n);
    if (n->file)
        n->file->ops->close(n->file);
    block_close(n->backing);
    n->file = NULL;
    n->backing = NULL;
}

void block_close(struct block_node *n)
{
    if (!n)
        return;
    if (n->queue)
        block_queue_close(n->queue);
    block_throttle_end(n);
    block_node_image_close(n);
    free(n->key_secret);
    free(n->filename);
    free(n);
}
