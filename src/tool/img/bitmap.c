/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite img bitmap': persistent dirty bitmaps. Actions are done in the order in which bitmaps come to life and go. */
#include "tool/img/img_private.h"

struct bitmap_args {
    struct img_common c;
    bool add, remove, clear, enable, disable;
    struct img_texts merge;
    const char *granularity, *source, *source_format;
};

#define AT(field) offsetof(struct bitmap_args, field)
static const struct img_option options[] = {
    IMG_HELP(struct bitmap_args), IMG_OBJECT_ROW(struct bitmap_args), IMG_IMAGE_OPTS(struct bitmap_args),
    IMG_FORMAT(struct bitmap_args), IMG_QUIET(struct bitmap_args),
    { 0, "add", NULL, IMG_FLAG, AT(add), "make the bitmap (recording; with --disable: not recording)" },
    { 'g', "granularity", "SIZE", IMG_TEXT, AT(granularity), "with --add: how much one bit stands for" },
    { 0, "remove", NULL, IMG_FLAG, AT(remove), "remove the bitmap" },
    { 0, "clear", NULL, IMG_FLAG, AT(clear), "nothing is dirty any more" },
    { 0, "enable", NULL, IMG_FLAG, AT(enable), "record writes" },
    { 0, "disable", NULL, IMG_FLAG, AT(disable), "do not record writes" },
    { 0, "merge", "SOURCE", IMG_OPTIONS, AT(merge), "what is dirty in that bitmap is dirty in this one too" },
    { 'b', "source-file", "FILE", IMG_TEXT, AT(source), "with --merge: the image that has SOURCE" },
    { 'F', "source-format", "FORMAT", IMG_TEXT, AT(source_format), "its format" },
    { 0 },
};

static int change(struct block_node *n, struct block_bitmap_change c, enum block_bitmap_action action, struct error *err)
{
    c.action = action;
    return block_bitmap_change(n, &c, err);
}

static int actions(struct bitmap_args *a, struct block_node *n, struct block_node *source, struct error *err)
{
    struct block_bitmap_change c = { .name = a->c.file[1], .disabled = a->disable, .source = source };
    uint64_t granularity = 0;
    if (a->granularity && img_size_parse("-g", a->granularity, &granularity, err))
        return -1;
    if (granularity > 1u << 31 || granularity & (granularity - 1))
        return error_set(err, "-g wants a power of two up to 2G");
    c.granularity_bytes = (uint32_t)granularity;
    int r = a->add ? change(n, c, BLOCK_BITMAP_ADD, err) : 0;
    if (!r && a->clear)
        r = change(n, c, BLOCK_BITMAP_CLEAR, err);
    for (unsigned i = 0; !r && i < a->merge.count; i++) {
        c.source_name = a->merge.text[i];
        r = change(n, c, BLOCK_BITMAP_MERGE, err);
    }
    if (!r && a->enable)
        r = change(n, c, BLOCK_BITMAP_ENABLE, err);
    if (!r && a->disable && !a->add)
        r = change(n, c, BLOCK_BITMAP_DISABLE, err);
    if (!r && a->remove)
        r = change(n, c, BLOCK_BITMAP_REMOVE, err);
    return r ? r : img_flush(n, err);
}

static int together_check(const struct bitmap_args *a, struct error *err)
{
    if (img_files_check(&a->c, &img_verb_bitmap, 2, 2, err))
        return -1;
    if (!a->add && !a->remove && !a->clear && !a->enable && !a->disable && !a->merge.count)
        return error_set(err, "what is to be done? --add, --remove, --clear, --enable, --disable or --merge");
    if (a->remove && (a->add || a->clear || a->enable || a->disable || a->merge.count))
        return error_set(err, "--remove stands alone");
    if (a->enable && a->disable)
        return error_set(err, "--enable and --disable exclude each other");
    if (a->granularity && !a->add)
        return error_set(err, "-g is only good with --add");
    if ((a->source || a->source_format) && !a->merge.count)
        return error_set(err, "-b and -F are only good with --merge");
    return a->source_format && !a->source ? error_set(err, "-F needs -b") : 0;
}

static int bitmap_run(void *args, struct error *err)
{
    struct bitmap_args *a = args;
    if (together_check(a, err))
        return -1;
    struct block_node *n = img_open_file(&a->c, 0, true, err), *source = n;
    if (n && a->source) {
        const struct img_open o = { .filename = a->source, .format = a->source_format };
        source = img_open(&a->c, &o, err);
    }
    int r = n && source ? actions(a, n, source, err) : -1;
    if (source != n)
        block_close(source);
    block_close(n);
    return r;
}

const struct img_verb img_verb_bitmap = {
    .name = "bitmap", .operands = "FILE BITMAP", .summary = "make, change and remove dirty bitmaps",
    .example = "ospite img bitmap --add -g 64k disk.qcow2 since-monday", .options = options,
    .args_bytes = sizeof(struct bitmap_args), .run = bitmap_run,
};
