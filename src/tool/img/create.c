/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite img create'. The size is given, or the backing file's. Every option is checked, the backing file opened once
 * (unless -u), and only then is the file touched; see block/create.c for the rest of the order.
 */
#include "tool/img/img_private.h"

#include <string.h>

struct create_args {
    struct img_common c;
    const char *backing, *backing_format;
    bool unsafe, force;
    struct img_texts options;
};

static const struct img_option options[] = {
    IMG_HELP(struct create_args), IMG_OBJECT_ROW(struct create_args), IMG_QUIET(struct create_args),
    { 'f', "format", "FORMAT", IMG_TEXT, offsetof(struct create_args, c.format), "format of the new image (default raw)" },
    { 'b', "backing", "BASE", IMG_TEXT, offsetof(struct create_args, backing), "backing file: the new image holds what differs" },
    { 'F', "backing-format", "FORMAT", IMG_TEXT, offsetof(struct create_args, backing_format), "format of the backing file" },
    { 'u', "backing-unsafe", NULL, IMG_FLAG, offsetof(struct create_args, unsafe), "do not look at the backing file" },
    { 'o', "options", "KEY=VALUE,...", IMG_OPTIONS, offsetof(struct create_args, options),
      "options of the format; '-o help' lists them" },
    { 0, "force", NULL, IMG_FLAG, offsetof(struct create_args, force), "replace what FILE holds" },
    { 0 },
};

static int backing_look(struct create_args *a, struct block_create_options *o, bool size_known, struct error *err)
{
    char *path = block_path_join(o->filename, o->backing);
    const struct img_open open = { .filename = path, .format = o->backing_format, .no_key = true };
    bool shared = a->c.force_share;
    a->c.force_share = true;        /* it is only looked at */
    struct block_node *n = path ? img_open(&a->c, &open, err) : NULL;
    a->c.force_share = shared;
    free(path);
    if (!n)
        return error_prefix(err, "the backing file is not to be had (-u creates the image without looking at it)");
    if (!size_known)
        o->size_bytes = block_size_bytes(n);
    block_close(n);
    return 0;
}

/* 1: the list of options was asked for. */
static int options_read(struct create_args *a, struct block_create_options *o, struct block_option_set *set,
                        struct error *err)
{
    const char *size = NULL, *operand = a->c.files > 1 ? a->c.file[1] : NULL;
    bool listed;
    if (img_target_options(&a->c, &a->options, o, set, &size, &listed, err))
        return -1;
    if (listed)
        return 1;
    if (img_files_check(&a->c, &img_verb_create, 1, 2, err))
        return -1;
    if (operand && size)
        return error_set(err, "the size is given twice, as an operand and with -o");
    if (operand)
        size = operand;
    if (size && img_size_parse("SIZE", size, &o->size_bytes, err))
        return -1;
    if (!size && !o->backing)
        return error_set(err, "how large? Write: ospite img create -f %s %s 20G", o->format, o->filename);
    if (!size && a->unsafe)
        return error_set(err, "-u does not look at the backing file, so the size has to be given");
    if (o->backing_format && !o->backing)
        return error_set(err, "a backing format (-F) without a backing file (-b)");
    if (o->backing && !*o->backing)
        return error_set(err, "-b: the name of the backing file is empty");
    if (o->backing && !o->backing_format)
        return error_set(err, "-b needs -F, the format of the backing file: guessing it later would let a guest choose");
    if (o->backing_format && !block_format_exists(o->backing_format))
        return error_set(err, "-F: unknown format '%s'; 'ospite img -h' lists the known ones", o->backing_format);
    return o->backing && !a->unsafe ? backing_look(a, o, size, err) : 0;
}

static int create_run(void *args, struct error *err)
{
    struct create_args *a = args;
    struct block_option_set set;
    struct block_create_options o = {
        .filename = a->c.file[0], .format = a->c.format ? a->c.format : "raw", .backing = a->backing,
        .backing_format = a->backing_format, .force = a->force, .objects = img_objects_of(&a->c),
    };
    int r = options_read(a, &o, &set, err);
    if (r)
        return r < 0 ? -1 : 0;
    if (img_target_create(&a->c, &o, err))
        return -1;
    img_target_say(&a->c, &o);
    return 0;
}

const struct img_verb img_verb_create = {
    .name = "create", .operands = "FILE [SIZE]", .summary = "make a new image",
    .example = "ospite img create -f qcow2 -b base.qcow2 -F qcow2 work.qcow2", .options = options,
    .args_bytes = sizeof(struct create_args), .run = create_run,
};
