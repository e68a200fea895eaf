/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite img check'. Exit status: 0 nothing wrong (or all repaired), 1 the check did not run to its end, 2 errors, 3
 * leaked clusters only, 63 the format has nothing to check. After a repair the image is checked once more.
 */
#include "tool/img/img_private.h"

#include <string.h>

struct check_args {
    struct img_common c;
    const char *repair;
    enum block_cache cache;
};

static const struct img_option options[] = {
    IMG_HELP(struct check_args), IMG_OBJECT_ROW(struct check_args), IMG_IMAGE_OPTS(struct check_args),
    IMG_QUIET(struct check_args), IMG_FORMAT(struct check_args), IMG_OUTPUT(struct check_args),
    { 'r', "repair", "leaks|all", IMG_TEXT, offsetof(struct check_args, repair), "mend leaked clusters, or all that is wrong" },
    { 'T', "source-cache", "MODE", IMG_CACHE, offsetof(struct check_args, cache), "cache mode (default writeback)" },
    IMG_SHARE(struct check_args),
    { 0 },
};

enum { STATUS_ERRORS = 2, STATUS_LEAKS = 3, STATUS_UNSUPPORTED = 63 };

static void say(struct block_check *c, const char *line)
{
    const struct check_args *a = c->opaque;
    if (!a->c.quiet)
        fprintf(a->c.output && !strcmp(a->c.output, "json") ? stderr : stdout, "%s\n", line);
}

static void number_add(json_t *o, const char *key, uint64_t value, bool always)
{
    if (value || always)
        json_object_set_new(o, key, json_integer((json_int_t)value));
}

static void json_print(const struct check_args *a, const struct block_node *n, const struct block_check *c)
{
    json_t *o = json_object();
    number_add(o, "image-end-offset", c->image_end_offset, false);
    number_add(o, "compressed-clusters", c->compressed_clusters, false);
    number_add(o, "total-clusters", c->total_clusters, false);
    number_add(o, "check-errors", c->check_errors, true);
    number_add(o, "corruptions", c->corruptions, false);
    number_add(o, "corruptions-fixed", c->corruptions_fixed, false);
    number_add(o, "leaks", c->leaks, false);
    number_add(o, "leaks-fixed", c->leaks_fixed, false);
    number_add(o, "allocated-clusters", c->allocated_clusters, false);
    number_add(o, "fragmented-clusters", c->fragmented_clusters, false);
    json_object_set_new(o, "filename", json_string(a->c.file[0]));
    json_object_set_new(o, "format", json_string(block_format_name(n)));
    img_json_print(o);
    json_decref(o);
}

static void human_print(const struct block_check *c)
{
    if (!c->corruptions && !c->leaks && !c->check_errors)
        printf("No errors were found on the image.\n");
    if (c->corruptions)
        printf("\n%llu errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt "
               "it. 'ospite img check -r all' mends what can be mended; work on a copy.\n", (unsigned long long)c->corruptions);
    if (c->leaks)
        printf("\n%llu leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n",
               (unsigned long long)c->leaks);
    if (c->check_errors)
        printf("\n%llu internal errors have occurred during the check.\n", (unsigned long long)c->check_errors);
    if (c->total_clusters && c->allocated_clusters)
        printf("%llu/%llu = %.2f%% allocated, %.2f%% fragmented, %.2f%% compressed clusters\n",
               (unsigned long long)c->allocated_clusters, (unsigned long long)c->total_clusters,
               100.0 * (double)c->allocated_clusters / (double)c->total_clusters,
               100.0 * (double)c->fragmented_clusters / (double)c->allocated_clusters,
               100.0 * (double)c->compressed_clusters / (double)c->allocated_clusters);
    if (c->image_end_offset)
        printf("Image end offset: %llu\n", (unsigned long long)c->image_end_offset);
}

/* Checks, and again when something was mended, so that what is told is the state now. */
static int check_twice(struct check_args *a, struct block_node *n, struct block_check *c, struct error *err)
{
    if (block_check(n, c, err))
        return -1;
    if (!c->corruptions_fixed && !c->leaks_fixed)
        return 0;
    struct block_check again = { .say = say, .opaque = a };
    if (!a->c.quiet && !(a->c.output && !strcmp(a->c.output, "json")))
        printf("The following inconsistencies were found and repaired:\n\n    %llu leaked clusters\n    %llu corruptions\n\n"
               "Double checking the fixed image now...\n", (unsigned long long)c->leaks_fixed,
               (unsigned long long)c->corruptions_fixed);
    if (img_flush(n, err) || block_check(n, &again, err))
        return -1;
    again.corruptions_fixed = c->corruptions_fixed;
    again.leaks_fixed = c->leaks_fixed;
    *c = again;
    return 0;
}

static int node_check(struct check_args *a, struct block_node *n, unsigned fix, bool json, struct error *err)
{
    struct block_check c = { .fix = fix, .say = say, .opaque = a };
    if (!block_format_has_check(block_format_name(n))) {
        error_set(err, "'%s': %s images hold nothing that could be checked", a->c.file[0], block_format_name(n));
        log_message("img check: %s", err->text);
        return STATUS_UNSUPPORTED;
    }
    if (fix && !block_format_has_repair(block_format_name(n))) {
        error_set(err, "'%s': %s images are looked at but not repaired; leave out -r", a->c.file[0], block_format_name(n));
        log_message("img check: %s", err->text);
        return STATUS_UNSUPPORTED;
    }
    if (check_twice(a, n, &c, err))
        return -1;
    if (json)
        json_print(a, n, &c);
    else if (!a->c.quiet)
        human_print(&c);
    return c.check_errors ? 1 : c.corruptions ? STATUS_ERRORS : c.leaks ? STATUS_LEAKS : 0;
}

static int check_run(void *args, struct error *err)
{
    static const char *const repairs[] = { "leaks", "all", NULL };
    struct check_args *a = args;
    unsigned which = 0;
    bool json;
    if (img_files_check(&a->c, &img_verb_check, 1, 1, err) || img_json_wanted(&a->c, &json, err) ||
        (a->repair && value_choice("-r", a->repair, repairs, &which, err)))
        return -1;
    unsigned fix = !a->repair ? 0 : which ? BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS : BLOCK_FIX_LEAKS;
    if (fix && a->c.force_share)
        return error_set(err, "-r and -U do not go together: nobody else may use an image that is being repaired");
    const struct img_open o = { .filename = a->c.file[0], .format = a->c.format, .image_opts = a->c.image_opts,
                                .writable = fix, .no_backing = true, .for_check = true, .no_key = true, .cache = a->cache };
    struct block_node *n = img_open(&a->c, &o, err);
    if (!n)
        return -1;
    int r = node_check(a, n, fix, json, err);
    block_close(n);
    return r;
}

const struct img_verb img_verb_check = {
    .name = "check", .operands = "FILE", .summary = "look for errors in an image, and repair them",
    .example = "ospite img check -r leaks disk.qcow2", .options = options, .args_bytes = sizeof(struct check_args),
    .run = check_run,
};
