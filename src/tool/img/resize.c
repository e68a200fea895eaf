/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite img resize': a new size, or what to add or take away. Nothing is cut off without --shrink. */
#include "tool/img/img_private.h"

#include <string.h>

struct resize_args {
    struct img_common c;
    const char *preallocation;
    bool shrink;
};

static const struct img_option options[] = {
    IMG_HELP(struct resize_args), IMG_OBJECT_ROW(struct resize_args), IMG_IMAGE_OPTS(struct resize_args),
    IMG_FORMAT(struct resize_args), IMG_QUIET(struct resize_args),
    { 0, "shrink", NULL, IMG_FLAG, offsetof(struct resize_args, shrink), "allow a smaller size; what lies behind it is lost" },
    { 0, "preallocation", "MODE", IMG_TEXT, offsetof(struct resize_args, preallocation),
      "off (default), metadata, falloc, full: for what is added" },
    { 0 },
};

static int size_find(const char *text, uint64_t old, uint64_t *size, struct error *err)
{
    uint64_t n;
    char sign = *text == '+' || *text == '-' ? *text : 0;
    if (img_size_parse("SIZE", text + (sign != 0), &n, err))
        return -1;
    *size = sign == '+' ? old + n : sign == '-' ? old - n : n;
    if (sign == '+' && *size < old)
        return error_set(err, "SIZE: '%s' is too large", text);
    if (sign == '-' && n >= old)
        return error_set(err, "SIZE: the image has %llu bytes, '%s' would leave nothing", (unsigned long long)old, text);
    return 0;
}

static int resize(struct resize_args *a, struct block_node *n, enum block_preallocation mode, struct error *err)
{
    uint64_t old = block_size_bytes(n), size;
    if (size_find(a->c.file[1], old, &size, err))
        return -1;
    if (!size)
        return error_set(err, "SIZE: a disk has at least one sector, not 0 bytes");
    if (size % 512 && strcmp(block_format_name(n), "raw"))
        return error_set(err, "SIZE: the disk of a %s image has whole sectors of 512 bytes, not %llu bytes: the nearest is %llu",
                         block_format_name(n), (unsigned long long)size, ALIGN_UP((unsigned long long)size, 512ull));
    if (size < old && !a->shrink)
        return error_set(err, "%llu bytes are less than the %llu of now, and what lies behind is lost; give --shrink if that "
                         "is meant", (unsigned long long)size, (unsigned long long)old);
    if (block_resize(n, size, mode, err) || img_flush(n, err))
        return -1;
    if (!a->c.quiet)
        printf("Image resized.\n");
    return 0;
}

static int resize_run(void *args, struct error *err)
{
    static const char *const modes[] = { "off", "metadata", "falloc", "full", NULL };
    struct resize_args *a = args;
    unsigned mode = 0;
    uint64_t probe;
    if (img_files_check(&a->c, &img_verb_resize, 2, 2, err) ||
        (a->preallocation && value_choice("--preallocation", a->preallocation, modes, &mode, err)) ||
        size_find(a->c.file[1], 1ull << 62, &probe, err))
        return -1;
    struct block_node *n = img_open_file(&a->c, 0, true, err);
    int r = n ? resize(a, n, (enum block_preallocation)mode, err) : -1;
    block_close(n);
    return r;
}

const struct img_verb img_verb_resize = {
    .name = "resize", .operands = "FILE [+|-]SIZE", .summary = "make the disk larger or smaller",
    .example = "ospite img resize disk.qcow2 +10G", .options = options, .args_bytes = sizeof(struct resize_args),
    .size_operand = true, .run = resize_run,
};
