/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite img info'. Takes no lock: it reads what is on the disk at this moment, so that a running machine's image can be
 * looked at. With --backing-chain each image of the chain is opened by itself and described.
 */
#include "tool/img/img_private.h"

#include <string.h>
#include <time.h>

struct info_args {
    struct img_common c;
    bool chain;
};

static const struct img_option options[] = {
    IMG_HELP(struct info_args), IMG_OBJECT_ROW(struct info_args), IMG_IMAGE_OPTS(struct info_args),
    IMG_FORMAT(struct info_args), IMG_OUTPUT(struct info_args),
    { 0, "backing-chain", NULL, IMG_FLAG, offsetof(struct info_args, chain), "describe all images of the chain" },
    { 'U', "force-share", NULL, IMG_FLAG, offsetof(struct info_args, c.force_share), "accepted; info needs no lock anyway" },
    { 0 },
};

static json_t *snapshot_json(const struct block_snapshot *s)
{
    json_t *o = json_object();
    if (s->has_icount)
        json_object_set_new(o, "icount", json_integer((json_int_t)s->icount));
    json_object_set_new(o, "vm-clock-nsec", json_integer((json_int_t)(s->vm_clock_ns % 1000000000)));
    json_object_set_new(o, "name", json_string(s->name));
    json_object_set_new(o, "date-sec", json_integer(s->date_s));
    json_object_set_new(o, "date-nsec", json_integer(s->date_ns));
    json_object_set_new(o, "vm-clock-sec", json_integer((json_int_t)(s->vm_clock_ns / 1000000000)));
    json_object_set_new(o, "id", json_string(s->id));
    json_object_set_new(o, "vm-state-size", json_integer((json_int_t)s->vm_state_bytes));
    return o;
}

static int snapshots_add(json_t *o, struct block_node *n, struct error *err)
{
    struct block_snapshot *list;
    unsigned count;
    if (block_snapshot_list(n, &list, &count, err))
        return -1;
    json_t *all = count ? json_array() : NULL;
    for (unsigned i = 0; i < count; i++)
        json_array_append_new(all, snapshot_json(&list[i]));
    if (all)
        json_object_set_new(o, "snapshots", all);
    free(list);
    return 0;
}

/* Everything about one image, with the keys of qemu-img. full: what to open next, NULL at the end. */
static json_t *describe(struct block_node *n, const char *filename, char **full, struct error *err)
{
    struct block_info info;
    json_t *o = json_object();
    int64_t allocated = block_allocated_bytes(n);
    *full = NULL;
    if (block_info_get(n, &info, err) || snapshots_add(o, n, err)) {
        json_decref(o);
        return NULL;
    }
    if (info.backing_format)
        json_object_set_new(o, "backing-filename-format", json_string(info.backing_format));
    json_object_set_new(o, "virtual-size", json_integer((json_int_t)block_size_bytes(n)));
    json_object_set_new(o, "filename", json_string(filename));
    if (info.cluster_bytes)
        json_object_set_new(o, "cluster-size", json_integer(info.cluster_bytes));
    json_object_set_new(o, "format", json_string(block_format_name(n)));
    if (allocated >= 0)
        json_object_set_new(o, "actual-size", json_integer(allocated));
    if (info.encrypted)
        json_object_set_new(o, "encrypted", json_true());
    if (info.compressed)
        json_object_set_new(o, "compressed", json_true());
    if (info.data)
        json_object_set_new(o, "format-specific", json_pack("{s:s,s:o}", "type", block_format_name(n), "data", info.data));
    if (info.backing) {
        *full = block_path_join(block_filename(n), info.backing);
        json_object_set_new(o, "full-backing-filename", json_string(*full ? *full : info.backing));
        json_object_set_new(o, "backing-filename", json_string(info.backing));
    }
    json_object_set_new(o, "dirty-flag", json_boolean(info.dirty));
    return o;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static uint64_t number_of(const json_t *o, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(o, key));
}

void img_snapshots_head(void)
{
    printf("Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
}

void img_snapshot_line(const struct block_snapshot *s)
{
    char size[32], date[32], icount[24] = "";
    time_t when = (time_t)s->date_s;
    uint64_t clock = s->vm_clock_ns / 1000000000;
    struct tm tm;
    localtime_r(&when, &tm);
    strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    if (s->has_icount)
        snprintf(icount, sizeof(icount), "%llu", (unsigned long long)s->icount);
    printf("%-9s %-16s %8s%20s  %02u:%02u:%02u.%03u %10s\n", s->id, s->name, img_size_text(s->vm_state_bytes, size), date,
           (unsigned)(clock / 3600), (unsigned)(clock / 60 % 60), (unsigned)(clock % 60),
           (unsigned)(s->vm_clock_ns % 1000000000 / 1000000), icount);
}

/* Back from what snapshot_json made of it. */
static void snapshots_print(const json_t *all)
{
    json_t *o;
    size_t i;
    img_snapshots_head();
    json_array_foreach(all, i, o) {
        struct block_snapshot s = {
            .vm_state_bytes = number_of(o, "vm-state-size"), .date_s = (int64_t)number_of(o, "date-sec"),
            .vm_clock_ns = number_of(o, "vm-clock-sec") * 1000000000 + number_of(o, "vm-clock-nsec"),
            .has_icount = json_object_get(o, "icount"), .icount = number_of(o, "icount"),
        };
        snprintf(s.id, sizeof(s.id), "%s", text_of(o, "id"));
        snprintf(s.name, sizeof(s.name), "%s", text_of(o, "name"));
        img_snapshot_line(&s);
    }
}

static void human_print(const json_t *o)
{
    char size[32];
    const char *backing = text_of(o, "backing-filename"), *full = text_of(o, "full-backing-filename");
    const json_t *specific = json_object_get(json_object_get(o, "format-specific"), "data");
    printf("image: %s\nfile format: %s\n", text_of(o, "filename"), text_of(o, "format"));
    printf("virtual size: %s (%llu bytes)\n", img_size_text(number_of(o, "virtual-size"), size),
           (unsigned long long)number_of(o, "virtual-size"));
    if (json_object_get(o, "actual-size"))
        printf("disk size: %s\n", img_size_text(number_of(o, "actual-size"), size));
    else
        printf("disk size: unavailable\n");
    if (json_object_get(o, "encrypted"))
        printf("encrypted: yes\n");
    if (json_object_get(o, "cluster-size"))
        printf("cluster_size: %llu\n", (unsigned long long)number_of(o, "cluster-size"));
    if (json_is_true(json_object_get(o, "dirty-flag")))
        printf("cleanly shut down: no\n");
    if (backing)
        printf("backing file: %s", backing);
    if (backing && full && strcmp(backing, full))
        printf(" (actual path: %s)", full);
    if (backing)
        printf("\n");
    if (text_of(o, "backing-filename-format"))
        printf("backing file format: %s\n", text_of(o, "backing-filename-format"));
    if (json_object_get(o, "snapshots"))
        snapshots_print(json_object_get(o, "snapshots"));
    if (json_object_size(specific)) {
        printf("Format specific information:\n");
        img_json_print_human(specific, 4);
    }
}

/* The same file twice in one chain would go on for ever. */
static bool is_in(const json_t *list, const char *name)
{
    json_t *o;
    size_t i;
    json_array_foreach(list, i, o)
        if (!strcmp(text_of(o, "filename"), name))
            return true;
    return false;
}

static int chain_collect(struct info_args *a, json_t *list, struct error *err)
{
    struct img_open o = { .filename = a->c.file[0], .format = a->c.format, .image_opts = a->c.image_opts,
                          .no_backing = true, .no_lock = true, .for_check = true, .no_key = true };
    char *next = NULL, *current = NULL;
    int r = 0;
    do {
        struct block_node *n = img_open(&a->c, &o, err);
        json_t *item = n ? describe(n, o.image_opts ? block_filename(n) : o.filename, &next, err) : NULL;
        block_close(n);
        free(current);
        current = next;
        if (!item)
            return current ? free(current), -1 : -1;
        json_array_append_new(list, item);
        const char *format = text_of(item, "backing-filename-format");
        o = (struct img_open){ .filename = current, .format = format, .no_backing = true, .no_lock = true, .for_check = true,
                               .no_key = true };
        if (a->chain && current && (is_in(list, current) || json_array_size(list) > 128))
            r = error_set(err, "the chain of backing files loops at '%s'; set another with 'ospite img rebase -u'", current);
    } while (!r && a->chain && current);
    free(current);
    return r;
}

static int info_run(void *args, struct error *err)
{
    struct info_args *a = args;
    bool json;
    json_t *o;
    size_t i;
    if (img_files_check(&a->c, &img_verb_info, 1, 1, err) || img_json_wanted(&a->c, &json, err))
        return -1;
    json_t *list = json_array();
    int r = chain_collect(a, list, err);
    if (!r && json)
        img_json_print(a->chain ? list : json_array_get(list, 0));
    json_array_foreach(list, i, o) {
        if (r || json)
            break;
        if (i)
            printf("\n");
        human_print(o);
    }
    json_decref(list);
    return r;
}

const struct img_verb img_verb_info = {
    .name = "info", .operands = "FILE", .summary = "tell what an image is",
    .example = "ospite img info --backing-chain --output=json work.qcow2", .options = options,
    .args_bytes = sizeof(struct info_args), .run = info_run,
};
