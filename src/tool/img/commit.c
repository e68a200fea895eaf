/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite img commit': what an image holds goes into its backing file, or with -b into one further down. Three views: the
 * base and the image itself are open for writing and locked, the chain is read through a third one. The base is on
 * stable storage before the image is emptied, so a crash at any point loses nothing: until then all is in the image, too.
 */
#include "tool/img/copy.h"

#include <string.h>

struct commit_args {
    struct img_common c;
    const char *base, *rate;
    bool keep;
    enum block_cache cache;
};

static const struct img_option options[] = {
    IMG_HELP(struct commit_args), IMG_OBJECT_ROW(struct commit_args), IMG_IMAGE_OPTS(struct commit_args),
    IMG_QUIET(struct commit_args), IMG_FORMAT(struct commit_args),
    { 't', "cache", "MODE", IMG_CACHE, offsetof(struct commit_args, cache), "cache mode (default writeback)" },
    { 'b', "base", "BASE", IMG_TEXT, offsetof(struct commit_args, base),
      "the image of the chain that gets the data (default: the next); FILE is kept as it is" },
    { 'r', "rate-limit", "BYTES", IMG_TEXT, offsetof(struct commit_args, rate), "at most so much a second" },
    { 'd', "keep", NULL, IMG_FLAG, offsetof(struct commit_args, keep), "do not empty FILE afterwards" },
    IMG_PROGRESS(struct commit_args),
    { 0 },
};

struct views {
    struct block_node *chain, *base, *image;
    unsigned layers;                /* above the base */
};

static int base_find(struct commit_args *a, struct views *v, struct error *err)
{
    const struct block_node *n = block_backing(v->chain);
    struct block_node *wanted = NULL;
    if (!n)
        return error_set(err, "'%s' has no backing file", a->c.file[0]);
    if (!a->keep && !a->base && !block_format_has_make_empty(block_format_name(v->image)))
        return error_set(err, "%s images cannot be emptied; give -d to keep what '%s' holds", block_format_name(v->image),
                         a->c.file[0]);
    v->layers = 1;
    if (a->base) {
        const struct img_open o = { .filename = a->base, .no_lock = true, .no_backing = true, .no_key = true };
        wanted = img_open(&a->c, &o, err);
        if (!wanted)
            return -1;
    }
    while (n && wanted && !block_is_same_file(n, wanted)) {
        n = block_backing(n);
        v->layers++;
    }
    block_close(wanted);
    if (!n)
        return error_set(err, "'%s' is not in the chain of backing files of '%s'", a->base, a->c.file[0]);
    const struct img_open o = { .filename = block_filename(n), .format = block_format_name(n), .writable = true,
                                .cache = a->cache, .keys_of = n };
    v->base = img_open(&a->c, &o, err);
    return v->base ? 0 : -1;
}

static int views_open(struct commit_args *a, struct views *v, struct error *err)
{
    struct img_open o = { .filename = a->c.file[0], .format = a->c.format, .image_opts = a->c.image_opts, .writable = true,
                          .no_backing = true, .cache = a->cache };
    v->image = img_open(&a->c, &o, err);
    if (!v->image)
        return -1;
    o.writable = o.no_backing = false;
    o.no_lock = true;
    v->chain = img_open(&a->c, &o, err);
    return v->chain ? base_find(a, v, err) : -1;
}

static int commit(struct commit_args *a, struct views *v, struct error *err)
{
    struct img_progress progress;
    struct img_copy copy = { .source = { v->chain }, .sources = 1, .length_bytes = block_size_bytes(v->chain),
                             .target = v->base, .layers = v->layers, .sparse_bytes = 4096, .progress = &progress };
    if (a->rate && img_size_parse("-r", a->rate, &copy.rate_bytes, err))
        return -1;
    if (block_size_bytes(v->base) < copy.length_bytes && block_grow(v->base, copy.length_bytes, err))
        return error_prefix(err, "the base is smaller than the image");
    img_progress_begin(&progress, &a->c);
    int r = img_copy_run(&copy, err);
    img_progress_end(&progress, !r);
    return r ? r : img_flush(v->base, err);
}

static int commit_run(void *args, struct error *err)
{
    struct commit_args *a = args;
    struct views v = { 0 };
    int r = img_files_check(&a->c, &img_verb_commit, 1, 1, err);
    if (!r)
        r = views_open(a, &v, err);
    if (!r)
        r = commit(a, &v, err);
    block_close(v.chain);
    block_close(v.base);
    if (!r && !a->keep && !a->base)
        r = block_make_empty(v.image, err) || img_flush(v.image, err) ?
            error_prefix(err, "the data are in the base, but '%s' could not be emptied", a->c.file[0]) : 0;
    block_close(v.image);
    if (!r && !a->c.quiet)
        printf("Image committed.\n");
    return r;
}

const struct img_verb img_verb_commit = {
    .name = "commit", .operands = "FILE", .summary = "write what an image holds into its backing file",
    .example = "ospite img commit -p work.qcow2", .options = options, .args_bytes = sizeof(struct commit_args),
    .run = commit_run,
};
