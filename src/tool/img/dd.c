/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite img dd': a part of an image as a new one, with the operands of dd(1). */
#include "tool/img/copy.h"

#include <string.h>

struct dd_args {
    struct img_common c;
    const char *target_format;
    bool force;
};

static const struct img_option options[] = {
    IMG_HELP(struct dd_args), IMG_OBJECT_ROW(struct dd_args), IMG_IMAGE_OPTS(struct dd_args), IMG_FORMAT(struct dd_args),
    { 'O', "target-format", "FORMAT", IMG_TEXT, offsetof(struct dd_args, target_format), "format of the target (default raw)" },
    { 0, "force", NULL, IMG_FLAG, offsetof(struct dd_args, force), "replace what the target holds" },
    IMG_PROGRESS(struct dd_args), IMG_SHARE(struct dd_args),
    { 0 },
};

struct operands {
    const char *in, *out;
    uint64_t block, count, skip;
};

static int operands_parse(const struct dd_args *a, struct operands *o, struct error *err)
{
    static const char *const names[] = { "if", "of", "bs", "count", "skip", NULL };
    *o = (struct operands){ .block = 512, .count = UINT64_MAX };
    for (unsigned i = 0; i < a->c.files; i++) {
        const char *text = a->c.file[i], *equals = strchr(text, '=');
        char name[16];
        unsigned k;
        snprintf(name, sizeof(name), "%.*s", (int)(equals ? equals - text : 15), text);
        if (!equals || value_choice("operand", name, names, &k, err))
            return equals ? -1 : error_set(err, "'%s' is no operand; write if=FILE of=TARGET bs=SIZE count=N skip=N", text);
        uint64_t *number = k == 2 ? &o->block : k == 3 ? &o->count : &o->skip;
        if (k < 2)
            *(k ? &o->out : &o->in) = equals + 1;
        else if (img_size_parse(name, equals + 1, number, err))
            return -1;
    }
    if (!o->in || !o->out)
        return error_set(err, "if=FILE and of=TARGET are both needed");
    return o->block && o->block <= INT32_MAX ? 0 : error_set(err, "bs is from 1 byte to 2G");
}

/* Skip and length in bytes. */
static int range_find(const struct operands *o, uint64_t size, struct img_copy *c, struct error *err)
{
    uint64_t skip, length;
    if (__builtin_mul_overflow(o->skip, o->block, &skip) || skip > size)
        return error_set(err, "skip is behind the end of the image");
    if (o->count == UINT64_MAX || __builtin_mul_overflow(o->count, o->block, &length) || length > size - skip)
        length = size - skip;
    if (skip % 512)
        return error_set(err, "skip times bs has to be a multiple of 512");
    c->skip_bytes = skip;
    c->length_bytes = length;
    return 0;
}

/* What was copied with the last sector, but not asked for. */
static int tail_clear(struct block_node *n, uint64_t length, struct error *err)
{
    uint64_t at = ALIGN_DOWN(length, 512ull);
    uint8_t sector[512];
    if (at == length)
        return 0;
    int r = block_pread(n, at, sector, sizeof(sector));
    memset(sector + (length - at), 0, sizeof(sector) - (length - at));
    if (!r)
        r = block_pwrite(n, at, sector, sizeof(sector));
    return r ? error_set(err, "cannot write the end of '%s': %s", block_filename(n), strerror(-r)) : 0;
}

static int dd(struct dd_args *a, const struct operands *o, struct img_copy *c, struct error *err)
{
    const struct img_open in = { .filename = o->in, .format = a->c.format, .image_opts = a->c.image_opts };
    struct block_create_options create = { .filename = o->out, .format = a->target_format ? a->target_format : "raw",
                                           .force = a->force };
    const struct img_open out = { .filename = o->out, .format = create.format, .writable = true,
                                  .cache = BLOCK_CACHE_UNSAFE };
    struct img_progress progress;
    c->source[0] = img_open(&a->c, &in, err);
    c->sources = 1;
    if (!c->source[0] || range_find(o, block_size_bytes(c->source[0]), c, err))
        return -1;
    create.size_bytes = c->length_bytes;
    c->length_bytes = ALIGN_UP(c->length_bytes, 512ull);
    if (img_target_create(&a->c, &create, err) || !(c->target = img_open(&a->c, &out, err)))
        return -1;
    c->target_is_zero = block_format_new_is_zero(create.format) && (strcmp(create.format, "raw") || !block_is_device(c->target));
    c->sparse_bytes = 4096;
    c->progress = &progress;
    img_progress_begin(&progress, &a->c);
    int r = img_copy_run(c, err);
    img_progress_end(&progress, !r);
    if (!r)
        r = tail_clear(c->target, create.size_bytes, err);
    return r ? r : img_flush(c->target, err);
}

static int dd_run(void *args, struct error *err)
{
    struct dd_args *a = args;
    struct operands o;
    struct img_copy c = { .sources = 0 };
    if (operands_parse(a, &o, err))
        return -1;
    int r = dd(a, &o, &c, err);
    block_close(c.source[0]);
    block_close(c.target);
    return r;
}

const struct img_verb img_verb_dd = {
    .name = "dd", .operands = "if=FILE of=TARGET [bs=SIZE] [count=N] [skip=N]", .summary = "copy a part of an image",
    .example = "ospite img dd -O qcow2 if=disk.img of=start.qcow2 bs=1M count=100", .options = options,
    .args_bytes = sizeof(struct dd_args), .run = dd_run,
};
