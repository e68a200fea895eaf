/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the verbs open images: what -f, --image-opts, -U, -t and -T mean for block_open. */
#include "tool/img/img_private.h"

#include "tool/image_options.h"

#include <string.h>

int img_cache_parse(const char *option, const char *text, enum block_cache *cache, struct error *err)
{
    static const char *const names[] = { "writeback", "writethrough", "none", "directsync", "unsafe", "off", NULL };
    unsigned i;
    if (value_choice(option, text, names, &i, err))
        return -1;
    *cache = i == 5 ? BLOCK_CACHE_NONE : (enum block_cache)i;
    return 0;
}

struct block_node *img_open(struct img_common *c, const struct img_open *o, struct error *err)
{
    struct block_option_set set = { 0 };
    if (o->image_opts && o->format) {
        error_set(err, "--image-opts and -f both give the format: use driver=%s in the options", o->format);
        return NULL;
    }
    struct block_open_options open = {
        .filename = o->filename, .format = o->format, .readonly = !o->writable, .cache = o->cache, .discard = true,
        .no_backing = o->no_backing, .for_check = o->for_check, .no_lock = o->no_lock,
        .force_share = c->force_share && !o->writable, .internal_snapshot = o->internal_snapshot,
        .objects = img_objects_of(c), .options = o->options, .keys_of = o->keys_of, .no_key = o->no_key,
    };
    if (o->image_opts) {
        if (image_options_parse(c->arena, o->filename, &set, err))
            return NULL;
        open.filename = NULL;
        open.options = &set;
    }
    return block_open(&open, err);
}

struct block_node *img_open_file(struct img_common *c, unsigned i, bool writable, struct error *err)
{
    const struct img_open o = { .filename = c->file[i], .format = c->format, .image_opts = c->image_opts,
                                .writable = writable };
    return img_open(c, &o, err);
}

int img_flush(struct block_node *n, struct error *err)
{
    int r = block_flush_sync(n);
    return r ? error_set(err, "'%s': what was written could not be stored: %s", block_filename(n), strerror(-r)) : 0;
}
