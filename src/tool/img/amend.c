/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite img amend': options of an image that can be changed after it was made. */
#include "tool/img/img_private.h"

struct amend_args {
    struct img_common c;
    struct img_texts options;
    bool force;
    enum block_cache cache;
};

static const struct img_option options[] = {
    IMG_HELP(struct amend_args), IMG_OBJECT_ROW(struct amend_args), IMG_IMAGE_OPTS(struct amend_args),
    IMG_FORMAT(struct amend_args), IMG_PROGRESS(struct amend_args), IMG_QUIET(struct amend_args),
    { 'o', "options", "KEY=VALUE,...", IMG_OPTIONS, offsetof(struct amend_args, options), "what changes; '-o help' lists them" },
    { 't', "cache", "MODE", IMG_CACHE, offsetof(struct amend_args, cache), "cache mode (default writeback)" },
    { 0, "force", NULL, IMG_FLAG, offsetof(struct amend_args, force), "also what can lose data, such as the last key" },
    { 0 },
};

static int amend(struct amend_args *a, struct block_node *n, const struct block_option_set *set, struct error *err)
{
    struct img_progress progress;
    img_progress_begin(&progress, &a->c);
    int r = block_amend(n, set, a->force, &progress.p, err);
    img_progress_end(&progress, !r);
    return r ? r : img_flush(n, err);
}

static int amend_run(void *args, struct error *err)
{
    struct amend_args *a = args;
    struct block_option_set set;
    bool help;
    if (!a->options.count)
        return error_set(err, "what is to change? Give -o KEY=VALUE; '-f FORMAT -o help' lists what can");
    if (img_options_set(&a->c, &a->options, &set, &help, err))
        return -1;
    if (help) {
        const char *format = a->c.format ? a->c.format : "qcow2";
        printf("Amend options for '%s':\n", format);
        img_options_list(block_create_table(format), true);
        img_options_list(block_amend_table(format), true);
        return 0;
    }
    if (img_files_check(&a->c, &img_verb_amend, 1, 1, err))
        return -1;
    const struct img_open o = { .filename = a->c.file[0], .format = a->c.format, .image_opts = a->c.image_opts,
                                .writable = true, .cache = a->cache };
    struct block_node *n = img_open(&a->c, &o, err);
    int r = n ? amend(a, n, &set, err) : -1;
    block_close(n);
    return r;
}

const struct img_verb img_verb_amend = {
    .name = "amend", .operands = "FILE", .summary = "change options of an image",
    .example = "ospite img amend -f qcow2 -o compat=0.10 disk.qcow2", .options = options,
    .args_bytes = sizeof(struct amend_args), .run = amend_run,
};
