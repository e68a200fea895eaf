/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite img convert': one or more images become one. All is opened and checked first, the target is made or (-n) opened,
 * and copy.c does the rest. The target is written with cache=unsafe unless -t says otherwise: like cp, the command does
 * not wait for the disk.
 */
#include "tool/img/copy.h"

#include <string.h>

#include "tool/image_options.h"

enum { THREADS_MAX = 16, SPARSE_MAX_BYTES = 16 << 20 };

struct convert_args {
    struct img_common c;
    struct block_create_options create;
    struct block_option_set set;
    struct img_copy copy;
    struct img_texts options;
    const char *target_format, *backing, *backing_format, *snapshot, *sparse, *threads, *rate;
    bool compress, no_create, out_of_order, target_is_zero, target_image_opts, bitmaps, skip_broken, salvage, offload;
    bool force;
    enum block_cache target_cache, source_cache;
};

#define AT(field) offsetof(struct convert_args, field)
static const struct img_option options[] = {
    IMG_HELP(struct convert_args), IMG_OBJECT_ROW(struct convert_args), IMG_IMAGE_OPTS(struct convert_args),
    IMG_FORMAT(struct convert_args),
    { 'O', "target-format", "FORMAT", IMG_TEXT, AT(target_format), "format of the target (default raw)" },
    { 'o', "options", "KEY=VALUE,...", IMG_OPTIONS, AT(options), "options of the target's format; '-o help' lists them" },
    { 'c', "compress", NULL, IMG_FLAG, AT(compress), "compress the target" },
    { 'B', "backing", "BASE", IMG_TEXT, AT(backing), "backing file of the target, which then holds what differs" },
    { 'F', "backing-format", "FORMAT", IMG_TEXT, AT(backing_format), "format of that backing file" },
    { 'n', "no-create", NULL, IMG_FLAG, AT(no_create), "the target is there; write into it" },
    { 0, "target-is-zero", NULL, IMG_FLAG, AT(target_is_zero), "with -n: the target reads as zeroes already" },
    { 0, "target-image-opts", NULL, IMG_FLAG, AT(target_image_opts), "with -n: the target is driver=...,file.filename=..." },
    { 'l', "snapshot", "SNAPSHOT", IMG_TEXT, AT(snapshot), "the disk as it was in this internal snapshot (ID or name)" },
    { 'S', "sparse-size", "SIZE", IMG_TEXT, AT(sparse), "zeroes of this length, up to 16M, are left out (default 4k; 0: none)" },
    { 'm', "parallel", "NUM", IMG_TEXT, AT(threads), "how many threads, 1 to 16 (default: as many as processors, and at least four)" },
    { 'W', "out-of-order", NULL, IMG_FLAG, AT(out_of_order), "write in any order (that is always so)" },
    { 'r', "rate-limit", "BYTES", IMG_TEXT, AT(rate), "at most so much a second" },
    { 't', "target-cache", "MODE", IMG_CACHE, AT(target_cache), "cache mode of the target (default unsafe)" },
    { 'T', "source-cache", "MODE", IMG_CACHE, AT(source_cache), "cache mode of the sources (default writeback)" },
    { 'C', "copy-offload", NULL, IMG_FLAG, AT(offload), "let the file system copy (raw to raw; no zeroes are looked for)" },
    { 0, "bitmaps", NULL, IMG_FLAG, AT(bitmaps), "copy dirty bitmaps too" },
    { 0, "skip-broken-bitmaps", NULL, IMG_FLAG, AT(skip_broken), "with --bitmaps: leave out the inconsistent ones" },
    { 0, "salvage", NULL, IMG_FLAG, AT(salvage), "zeroes for what cannot be read" },
    { 0, "force", NULL, IMG_FLAG, AT(force), "replace what the target holds" },
    IMG_PROGRESS(struct convert_args), IMG_QUIET(struct convert_args), IMG_SHARE(struct convert_args),
    { 0 },
};

static int numbers_read(struct convert_args *a, struct error *err)
{
    uint64_t n = 0;
    a->copy.sparse_bytes = 4096;
    if (a->sparse && img_size_parse("-S", a->sparse, &a->copy.sparse_bytes, err))
        return -1;
    if (a->copy.sparse_bytes % 512 || a->copy.sparse_bytes > SPARSE_MAX_BYTES)
        return error_set(err, "-S wants a multiple of 512 up to 16M, not '%s'", a->sparse);
    if (a->threads && value_unsigned("-m", a->threads, THREADS_MAX, &n, err))
        return -1;
    a->copy.threads = (unsigned)n;
    if (a->threads && !n)
        return error_set(err, "-m: 1 to %d threads", THREADS_MAX);
    return a->rate ? img_size_parse("-r", a->rate, &a->copy.rate_bytes, err) : 0;
}

static int together_check(struct convert_args *a, struct error *err)
{
    if (img_files_check(&a->c, &img_verb_convert, 2, IMG_FILES, err) || numbers_read(a, err))
        return -1;
    if (a->no_create && (a->options.count || a->backing || a->force))
        return error_set(err, "-n writes into an image that is there: -o, -B and --force are for new ones");
    if (!a->no_create && (a->target_is_zero || a->target_image_opts))
        return error_set(err, "--target-is-zero and --target-image-opts need -n");
    if (a->target_image_opts && a->target_format)
        return error_set(err, "--target-image-opts and -O both give the format");
    if (a->offload && (a->compress || a->sparse || a->salvage))
        return error_set(err, "-C copies images as they are: not with -c, -S or --salvage");
    if (a->skip_broken && !a->bitmaps)
        return error_set(err, "--skip-broken-bitmaps is only good with --bitmaps");
    if (a->backing && a->c.files != 2)
        return error_set(err, "-B works with one source image");
    if (a->snapshot && a->c.files != 2)
        return error_set(err, "-l works with one source image");
    if (a->backing && !a->backing_format)
        return error_set(err, "-B needs -F, the format of the backing file");
    return 0;
}

static int sources_open(struct convert_args *a, struct error *err)
{
    const char *snapshot = a->snapshot ? image_snapshot_name(a->c.arena, a->snapshot, err) : NULL;
    if (a->snapshot && !snapshot)
        return -1;
    for (unsigned i = 0; i + 1 < a->c.files; i++) {
        const struct img_open o = { .filename = a->c.file[i], .format = a->c.format, .image_opts = a->c.image_opts,
                                    .cache = a->source_cache, .internal_snapshot = snapshot };
        struct block_node *n = img_open(&a->c, &o, err);
        if (!n)
            return -1;
        a->copy.source[a->copy.sources++] = n;
        a->copy.length_bytes += block_size_bytes(n);
    }
    return 0;
}

/* How many images of the source's chain lie above the target's backing file: only what they hold has to be copied. */
static int layers_find(struct convert_args *a, struct error *err)
{
    const struct block_create_options *o = &a->create;
    if (!o->backing)
        return 0;
    char *path = block_path_join(o->filename, o->backing);
    const struct img_open open = { .filename = path, .format = o->backing_format, .no_key = true };
    struct block_node *base = path ? img_open(&a->c, &open, err) : NULL;
    free(path);
    if (!base)
        return error_prefix(err, "the backing file of the target is not to be had");
    unsigned depth = 0;
    struct block_node *n = a->copy.source[0];
    while (n && !block_is_same_file(n, base)) {
        n = block_backing(n);
        depth++;
    }
    /* What lies beyond a shorter backing file reads as zeroes in both. */
    a->copy.layers = n && depth ? depth : 0;
    block_close(base);
    return 0;
}

static bool is_version_2(const char *compat)
{
    return compat && (!strcmp(compat, "0.10") || !strcmp(compat, "v2"));
}

/* A target that is there says what it is only when it is open. */
static int bitmaps_target_check(struct block_node *n, struct error *err)
{
    struct block_info info;
    if (!block_format_has_bitmaps(block_format_name(n)))
        return error_set(err, "the target's format, %s, holds no dirty bitmaps; leave out --bitmaps", block_format_name(n));
    if (block_info_get(n, &info, err))
        return -1;
    bool old = is_version_2(json_string_value(json_object_get(info.data, "compat")));
    json_decref(info.data);
    return old ? error_set(err, "version 2 has no dirty bitmaps; raise it with 'ospite img amend -o compat=1.1', or leave out "
                           "--bitmaps") : 0;
}

static int target_options_read(struct convert_args *a, bool *listed, struct error *err)
{
    const char *size = NULL;
    a->create = (struct block_create_options){ .format = a->target_format ? a->target_format : "raw",
                                               .backing = a->backing, .backing_format = a->backing_format,
                                               .compress = a->compress, .force = a->force, .objects = img_objects_of(&a->c) };
    if (img_target_options(&a->c, &a->options, &a->create, &a->set, &size, listed, err) || *listed)
        return *listed ? 0 : -1;
    if (a->create.backing && !a->create.backing_format)
        return error_set(err, "backing_file= needs backing_fmt=, its format: guessing it later would let a guest choose");
    if (a->bitmaps && !block_format_has_bitmaps(a->create.format) && !a->no_create)
        return error_set(err, "%s images hold no dirty bitmaps; use -O qcow2, or leave out --bitmaps", a->create.format);
    if (a->bitmaps && is_version_2(block_option_get(&a->set, "compat")))
        return error_set(err, "compat=0.10 has no dirty bitmaps; use compat=1.1, or leave out --bitmaps");
    if (a->compress && !block_format_has_compression(a->create.format) && !a->no_create)
        return error_set(err, "%s images cannot be compressed; use -O qcow2", a->create.format);
    if (size && img_size_parse("size", size, &a->create.size_bytes, err))
        return -1;
    if (size)
        return error_set(err, "-o size: the target is as large as the source; use 'ospite img resize' afterwards");
    return 0;
}

/* A new image that is encrypted is opened with the secret it was made with. */
static struct block_option_set target_keys(const struct convert_args *a, struct block_option_value item[2])
{
    static const char *const keys[] = { "key-secret", "encrypt.key-secret" };
    struct block_option_set set = { item, 0 };
    for (unsigned i = 0; !a->no_create && i < ARRAY_SIZE(keys); i++)
        if (block_option_get(&a->set, keys[i]))
            item[set.count++] = (struct block_option_value){ keys[i], block_option_get(&a->set, keys[i]) };
    return set;
}

static int target_open(struct convert_args *a, struct error *err)
{
    const char *filename = a->c.file[a->c.files - 1];
    struct block_option_value key[2];
    const struct block_option_set keys = target_keys(a, key);
    const struct img_open o = { .filename = filename, .format = a->target_format ? a->target_format : a->no_create &&
                                a->target_image_opts ? NULL : a->create.format, .image_opts = a->target_image_opts,
                                .writable = true, .cache = a->target_cache, .options = &keys };
    a->create.filename = filename;
    a->create.size_bytes = a->copy.length_bytes;
    if (!a->no_create && (layers_find(a, err) || img_target_create(&a->c, &a->create, err)))
        return -1;
    a->copy.target = img_open(&a->c, &o, err);
    if (!a->copy.target)
        return -1;
    const char *format = block_format_name(a->copy.target);
    if (block_size_bytes(a->copy.target) < a->copy.length_bytes)
        return error_set(err, "the target '%s' is smaller than the source: %llu and %llu bytes", filename,
                         (unsigned long long)block_size_bytes(a->copy.target), (unsigned long long)a->copy.length_bytes);
    if (a->compress && !block_format_has_compression(format))
        return error_set(err, "%s images cannot be compressed", format);
    if (a->compress && block_is_encrypted(a->copy.target))
        return error_set(err, "'%s' is encrypted and cannot be compressed: leave out -c", filename);
    if (a->bitmaps && bitmaps_target_check(a->copy.target, err))
        return error_prefix(err, "'%s'", filename);
    a->copy.target_is_zero = a->target_is_zero || (!a->no_create && !a->create.backing &&
                             block_format_new_is_zero(format) && (strcmp(format, "raw") || !block_is_device(a->copy.target)));
    return 0;
}

/* Before anything is made: bitmaps that cannot be copied. */
static int bitmaps_check(struct convert_args *a, struct error *err)
{
    struct block_bitmap *list = NULL;
    unsigned count = 0;
    if (!a->bitmaps)
        return 0;
    if (a->copy.sources != 1)
        return error_set(err, "--bitmaps works with one source image");
    if (!block_format_has_bitmaps(block_format_name(a->copy.source[0])))
        return error_set(err, "the source's format, %s, holds no dirty bitmaps; leave out --bitmaps", block_format_name(a->copy.source[0]));
    int r = block_bitmap_list(a->copy.source[0], &list, &count, err);
    for (unsigned i = 0; !r && !a->skip_broken && i < count; i++)
        if (list[i].in_use)
            r = error_set(err, "the bitmap '%.200s' is inconsistent; use --skip-broken-bitmaps, or remove it with 'ospite img "
                          "bitmap --remove'", list[i].name);
    free(list);
    return r;
}

static int bitmaps_copy(struct convert_args *a, struct error *err)
{
    struct block_bitmap *list;
    unsigned count;
    int r = block_bitmap_list(a->copy.source[0], &list, &count, err);
    for (unsigned i = 0; !r && i < count; i++) {
        if (list[i].in_use) {
            log_message("img: the bitmap '%s' is inconsistent and was left out", list[i].name);
            continue;
        }
        struct block_bitmap_change c = { .action = BLOCK_BITMAP_ADD, .name = list[i].name, .disabled = !list[i].automatic,
                                         .granularity_bytes = list[i].granularity_bytes };
        r = block_bitmap_change(a->copy.target, &c, err);
        c.action = BLOCK_BITMAP_MERGE;
        c.source = a->copy.source[0];
        c.source_name = list[i].name;
        if (!r)
            r = block_bitmap_change(a->copy.target, &c, err);
    }
    free(list);
    return r;
}

static int copy(struct convert_args *a, struct error *err)
{
    struct img_progress progress;
    a->copy.compress = a->compress;
    a->copy.salvage = a->salvage;
    a->copy.offload = a->offload;
    a->copy.progress = &progress;
    img_progress_begin(&progress, &a->c);
    int r = img_copy_run(&a->copy, err);
    img_progress_end(&progress, !r);
    if (!r && a->bitmaps)
        r = bitmaps_copy(a, err);
    return r ? r : img_flush(a->copy.target, err);
}

static void convert_defaults(void *args)
{
    struct convert_args *a = args;
    a->target_cache = BLOCK_CACHE_UNSAFE;
}

static int convert_run(void *args, struct error *err)
{
    struct convert_args *a = args;
    bool listed = false;
    int r = target_options_read(a, &listed, err);
    if (r || listed)
        return r;
    r = together_check(a, err);
    if (!r)
        r = sources_open(a, err);
    if (!r)
        r = bitmaps_check(a, err);
    if (!r)
        r = target_open(a, err);
    if (!r)
        r = copy(a, err);
    block_close(a->copy.target);
    for (unsigned i = 0; i < a->copy.sources; i++)
        block_close(a->copy.source[i]);
    return r;
}

const struct img_verb img_verb_convert = {
    .name = "convert", .operands = "FILE... TARGET", .summary = "copy images into a new one, of any format",
    .example = "ospite img convert -p -O qcow2 -c disk.vmdk disk.qcow2", .options = options,
    .args_bytes = sizeof(struct convert_args), .defaults = convert_defaults, .run = convert_run,
};
