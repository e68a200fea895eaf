/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite img measure': how large a file convert or create would make. */
#include "tool/img/img_private.h"

#include "tool/image_options.h"

struct measure_args {
    struct img_common c;
    const char *target_format, *size, *snapshot;
    struct img_texts options;
};

static const struct img_option options[] = {
    IMG_HELP(struct measure_args), IMG_OBJECT_ROW(struct measure_args), IMG_IMAGE_OPTS(struct measure_args),
    IMG_FORMAT(struct measure_args), IMG_OUTPUT(struct measure_args),
    { 'O', "target-format", "FORMAT", IMG_TEXT, offsetof(struct measure_args, target_format), "format (default raw)" },
    { 'o', "options", "KEY=VALUE,...", IMG_OPTIONS, offsetof(struct measure_args, options), "options of that format" },
    { 0, "size", "SIZE", IMG_TEXT, offsetof(struct measure_args, size), "of an empty image, instead of FILE" },
    { 'l', "snapshot", "SNAPSHOT", IMG_TEXT, offsetof(struct measure_args, snapshot), "FILE as it was in this snapshot" },
    IMG_SHARE(struct measure_args),
    { 0 },
};

static void print(const struct block_measure *m, bool json)
{
    if (!json) {
        printf("required size: %llu\nfully allocated size: %llu\n", (unsigned long long)m->required_bytes,
               (unsigned long long)m->fully_allocated_bytes);
        if (m->has_bitmaps)
            printf("bitmaps size: %llu\n", (unsigned long long)m->bitmaps_bytes);
        return;
    }
    json_t *o = json_object();
    if (m->has_bitmaps)
        json_object_set_new(o, "bitmaps", json_integer((json_int_t)m->bitmaps_bytes));
    json_object_set_new(o, "required", json_integer((json_int_t)m->required_bytes));
    json_object_set_new(o, "fully-allocated", json_integer((json_int_t)m->fully_allocated_bytes));
    img_json_print(o);
    json_decref(o);
}

static int measure_run(void *args, struct error *err)
{
    struct measure_args *a = args;
    struct block_create_options o = { .filename = "image", .format = a->target_format ? a->target_format : "raw",
                                      .objects = img_objects_of(&a->c) };
    struct block_option_set set;
    struct block_measure m;
    const char *size = NULL;
    bool listed, json;
    if (img_target_options(&a->c, &a->options, &o, &set, &size, &listed, err) || listed)
        return listed ? 0 : -1;
    if (img_json_wanted(&a->c, &json, err) || (a->size && img_size_parse("--size", a->size, &o.size_bytes, err)))
        return -1;
    if (!a->size == !a->c.files)
        return error_set(err, "give either --size or FILE");
    if (a->size && (a->snapshot || a->c.format))
        return error_set(err, "-f and -l are about FILE, which --size stands for");
    if (!a->size && img_files_check(&a->c, &img_verb_measure, 1, 1, err))
        return -1;
    const char *snapshot = a->snapshot ? image_snapshot_name(a->c.arena, a->snapshot, err) : NULL;
    if (a->snapshot && !snapshot)
        return -1;
    const struct img_open open = { .filename = a->c.file[0], .format = a->c.format, .image_opts = a->c.image_opts,
                                   .internal_snapshot = snapshot };
    struct block_node *n = a->size ? NULL : img_open(&a->c, &open, err);
    if (!a->size && !n)
        return -1;
    int r = block_measure(&o, n, &m, err);
    if (!r)
        print(&m, json);
    block_close(n);
    return r;
}

const struct img_verb img_verb_measure = {
    .name = "measure", .operands = "[FILE]", .summary = "tell how large a file a new image would need",
    .example = "ospite img measure -O qcow2 disk.img", .options = options, .args_bytes = sizeof(struct measure_args),
    .run = measure_run,
};
