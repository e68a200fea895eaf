/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: drives, images, media. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bits.h"
#include "block/block.h"
#include "block/image.h"
#include "block/option.h"
#include "machine/hotplug.h"
#include "monitor/monitor_private.h"
#include "monitor/peek.h"
#include "monitor/qmp_private.h"

enum { CHAIN_MAX = 32 };

/* ---- images ---- */

/* Of what 'info --output=json' tells of an image, the members that the schema has. */
static json_t *qcow2_specific(json_t *data)
{
    static const char *const names[] = { "compat", "data-file", "data-file-raw", "extended-l2", "lazy-refcounts", "corrupt", "refcount-bits",
                                         "compression-type", NULL };
    json_t *out = json_object();

    for (unsigned i = 0; names[i]; i++)
        if (json_object_get(data, names[i])) json_object_set(out, names[i], json_object_get(data, names[i]));
    return json_pack("{s:s, s:o}", "type", "qcow2", "data", out);
}

static void backing_details(json_t *image, const struct block_node *n, const char *backing)
{
    char *full = block_path_join(block_filename(n), backing);

    json_object_set_new(image, "backing-filename", qmp_text(backing, strlen(backing)));
    if (full) json_object_set_new(image, "full-backing-filename", qmp_text(full, strlen(full)));
    free(full);
}

static void image_details(json_t *image, struct block_node *n)
{
    struct block_info info = { 0 };
    int64_t allocated = block_allocated_bytes(n);

    if (allocated >= 0) json_object_set_new(image, "actual-size", json_integer(allocated));
    if (block_info_get(n, &info, NULL) < 0) return;
    json_object_set_new(image, "dirty-flag", json_boolean(info.dirty));
    if (info.cluster_bytes) json_object_set_new(image, "cluster-size", json_integer(info.cluster_bytes));
    if (info.encrypted) json_object_set_new(image, "encrypted", json_true());
    if (info.compressed) json_object_set_new(image, "compressed", json_true());
    if (info.backing) backing_details(image, n, info.backing);
    if (info.backing && info.backing_format)
        json_object_set_new(image, "backing-filename-format", qmp_text(info.backing_format, strlen(info.backing_format)));
    if (info.data && !strcmp(block_format_name(n), "qcow2")) json_object_set_new(image, "format-specific", qcow2_specific(info.data));
    json_decref(info.data);
}

/* What QEMU shows as such: a filter's image, too. */
static struct block_node *shown_below(const struct block_node *n)
{
    return block_filter_below(n) ? block_filter_below(n) : block_backing(n);
}

static json_t *image_info(struct block_node *n, unsigned depth)
{
    const char *name = block_filename(n);
    json_t *image = json_pack("{s:o, s:s, s:I}", "filename", qmp_text(name, strlen(name)), "format", block_format_name(n), "virtual-size",
                              (json_int_t)block_size_bytes(n));

    image_details(image, n);
    if (shown_below(n) && depth < CHAIN_MAX) json_object_set_new(image, "backing-image", image_info(shown_below(n), depth + 1));
    return image;
}

static unsigned chain_depth(const struct block_node *n)
{
    unsigned depth = 0;

    while (depth < CHAIN_MAX && (n = shown_below(n))) depth++;
    return depth;
}

/* layer: how far below the drive's image. */
static json_t *node_name(struct machine *m, unsigned drive, unsigned layer)
{
    const struct drive_config *d = machine_drive_config(m, drive);
    unsigned n = (unsigned)(d - machine_configuration(m)->drive);        /* a name stays while other drives come and go */

    if (layer) return json_sprintf("#block%u-%u", n, layer);
    return d->is_node ? qmp_text(d->id, strlen(d->id)) : json_sprintf("#block%u", n);
}

static const struct drive_config *node_by_name(struct machine *m, const char *name)
{
    for (unsigned i = 0; i < machine_drive_count(m); i++) {
        const struct drive_config *d = machine_drive_config(m, i);

        if (d->is_node && !strcmp(d->id, name)) return d;
    }
    return NULL;
}

/* Of a throttle above a protocol's node. */
static json_t *filter_name(const char *group, const char *driver, const char *name)
{
    json_t *all = json_pack("{s:s, s:s, s:{s:s, s:o}}", "throttle-group", group, "driver", "throttle", "file", "driver", driver, "filename", qmp_text(name, strlen(name)));
    char *text = json_dumps(all, 0);
    json_t *out = json_sprintf("json:%s", text ? text : "{}");

    free(text);
    json_decref(all);
    return out;
}

/* An open node of a protocol is a raw image to the block layer, and a throttle above it is that image's limits. */
static void protocol_show(json_t *info, struct machine *m, const struct drive_config *top)
{
    const struct drive_config *d = top;
    json_t *image = json_object_get(info, "image"), *name;
    const char *driver;

    while (d && d->is_filter) d = node_by_name(m, d->file_node);
    driver = d ? block_option_get(d->node_options, "driver") : NULL;
    if (!driver) return;
    json_object_set_new(image, "format", json_string(driver));
    json_object_set_new(info, "drv", json_string(driver));
    if (!top->is_filter) return;
    name = filter_name(top->filter_group, driver, json_string_value(json_object_get(info, "file")));
    json_object_set_new(image, "backing-image", json_copy(image));
    json_object_set(image, "filename", name);
    json_object_set_new(image, "format", json_string("throttle"));
    json_object_set_new(info, "file", name);
    json_object_set_new(info, "drv", json_string("throttle"));
    json_object_set_new(info, "backing_file_depth", json_integer(1));
}

static json_t *node_info(struct machine *m, unsigned drive, struct block_node *n, unsigned layer)
{
    enum block_cache cache = machine_drive_config(m, drive)->open.cache;
    static const char *const detections[] = { "off", "on", "unmap" };
    const char *file = block_filename(n);
    struct block_node *backing = block_backing(n);
    json_t *info = json_pack(
        "{s:o, s:b, s:s, s:i, s:b, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:{s:b, s:b, s:b}, s:i, s:o}", "file", qmp_text(file, strlen(file)),
        "ro", block_is_readonly(n), "drv", block_format_name(n), "backing_file_depth", (int)chain_depth(n), "encrypted", block_is_encrypted(n),
        "detect_zeroes", detections[block_detects_zeroes(n)], "bps", 0, "bps_rd", 0, "bps_wr", 0, "iops", 0, "iops_rd", 0, "iops_wr", 0, "image", image_info(n, 0), "cache",
        "writeback", cache != BLOCK_CACHE_WRITETHROUGH && cache != BLOCK_CACHE_DIRECTSYNC, "direct",
        cache == BLOCK_CACHE_NONE || cache == BLOCK_CACHE_DIRECTSYNC, "no-flush", cache == BLOCK_CACHE_UNSAFE, "write_threshold", 0, "node-name",
        node_name(m, drive, layer));

    if (!layer) qmp_throttle_fill(info, m, drive);
    if (!layer && machine_drive_config(m, drive)->is_protocol) protocol_show(info, m, machine_drive_config(m, drive));
    if (backing) json_object_set_new(info, "backing_file", qmp_text(block_filename(backing), strlen(block_filename(backing))));
    return info;
}

/* ---- drives ---- */

static void qdev_set(json_t *b, struct machine *m, unsigned drive)
{
    char name[MACHINE_PATH_BYTES];

    if (machine_drive_device(m, drive, name, sizeof(name))) json_object_set_new(b, "qdev", qmp_text(name, strlen(name)));
}

static json_t *drive_name(const struct drive_config *d)
{
    const char *name = config_drive_name(d);

    return qmp_text(name, strlen(name));
}

/* A node that is connected to nothing is none. */
static bool is_drive(const struct drive_config *d) { return !d->is_node || d->interface != DRIVE_IF_NONE; }

const char *io_status_name(int error) { return !error ? "ok" : error == ENOSPC ? "nospace" : "failed"; }

json_t *qmp_query_block(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct machine *m = qmp_machine(q);
    json_t *all = json_array();

    for (unsigned i = 0; i < machine_drive_count(m); i++) {
        const struct drive_config *d = machine_drive_config(m, i);
        struct block_node *n = machine_drive(m, i);
        bool open = false, locked = false, removable = machine_drive_tray(m, i, &open, &locked);
        json_t *b;

        if (!is_drive(d)) continue;
        b = json_pack("{s:o, s:s, s:b, s:b, s:s}", "device", drive_name(d), "type", "unknown", "removable", removable, "locked", locked, "io-status",
                      io_status_name(machine_drive_error(m, i)));
        qdev_set(b, m, i);
        if (n) json_object_set_new(b, "inserted", node_info(m, i, n, 0));
        if (removable && d->interface != DRIVE_IF_FLOPPY) json_object_set_new(b, "tray_open", json_boolean(open));
        json_array_append_new(all, b);
    }
    return all;
}

/* A node of a protocol is not open by itself; of a file its size and name tell enough. */
static json_t *file_node_info(struct machine *m, const struct drive_config *d)
{
    const char *id = d->id, *group = d->filter_group;
    bool readonly = d->open.readonly, direct = false, no_flush = false;
    const char *driver = NULL, *name = NULL;
    json_t *shown;
    struct stat s;

    while (d && d->is_filter) d = node_by_name(m, d->file_node);
    for (unsigned i = 0; d && i < d->node_options->count; i++) {
        const struct block_option_value *o = &d->node_options->item[i];

        if (!strcmp(o->key, "driver")) driver = o->value;
        if (!strcmp(o->key, "filename")) name = o->value;
        if (!strcmp(o->key, "read-only")) readonly = !strcmp(o->value, "on");
        if (!strcmp(o->key, "cache.direct")) direct = !strcmp(o->value, "on");
        if (!strcmp(o->key, "cache.no-flush")) no_flush = !strcmp(o->value, "on");
    }
    if (!driver || !name || strcmp(driver, "file") || stat(name, &s) < 0) return NULL;
    shown = group ? filter_name(group, driver, name) : qmp_text(name, strlen(name));
    if (group) driver = "throttle";
    return json_pack("{s:O, s:b, s:s, s:i, s:b, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:{s:o, s:s, s:I, s:I, s:b}, s:{s:b, s:b, s:b}, s:i, s:o}", "file",
                     shown, "ro", readonly, "drv", driver, "backing_file_depth", 0, "encrypted", false, "detect_zeroes", "off",
                     "bps", 0, "bps_rd", 0, "bps_wr", 0, "iops", 0, "iops_rd", 0, "iops_wr", 0, "image", "filename", shown,
                     "format", driver, "virtual-size", (json_int_t)s.st_size, "actual-size", (json_int_t)s.st_blocks * 512, "dirty-flag", false, "cache",
                     "writeback", true, "direct", direct, "no-flush", no_flush, "write_threshold", 0, "node-name", qmp_text(id, strlen(id)));
}

json_t *qmp_query_named_block_nodes(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct machine *m = qmp_machine(q);
    bool flat = qmp_bool(args, "flat", false);
    json_t *all = json_array();

    for (unsigned i = 0; i < machine_drive_count(m); i++) {
        const struct drive_config *d = machine_drive_config(m, i);
        struct block_node *n = machine_drive(m, i);
        json_t *file = d->is_protocol && !n ? file_node_info(m, d) : NULL;
        unsigned layers = d->backing_node ? 1 : CHAIN_MAX;       /* a node below has an entry of its own */

        if (file) json_array_append_new(all, file);
        for (unsigned layer = 0; n && layer < layers; n = block_backing(n), layer++) {
            json_t *info = node_info(m, i, n, layer);

            if (flat) {
                json_object_del(json_object_get(info, "image"), "backing-image");
                json_object_set_new(info, "backing_file_depth", json_integer(0));
            }
            json_array_append_new(all, info);
        }
    }
    return all;
}

static json_t *stats(const struct block_node *n)
{
    struct block_stats s = n ? block_stats_get(n) : (struct block_stats){ 0 };
    const struct { const char *name; uint64_t value; } rows[] = {
        { "rd_bytes", s.read_bytes }, { "wr_bytes", s.written_bytes }, { "unmap_bytes", s.discarded_bytes }, { "rd_operations", s.reads },
        { "wr_operations", s.writes }, { "flush_operations", s.flushes }, { "unmap_operations", s.discards }, { "rd_total_time_ns", s.read_ns },
        { "wr_total_time_ns", s.write_ns }, { "flush_total_time_ns", s.flush_ns }, { "unmap_total_time_ns", s.discard_ns },
        { "wr_highest_offset", s.highest_write_end }, { "rd_merged", 0 }, { "wr_merged", 0 }, { "unmap_merged", 0 },
        { "failed_rd_operations", s.failed_reads }, { "failed_wr_operations", s.failed_writes }, { "failed_flush_operations", s.failed_flushes },
        { "failed_unmap_operations", s.failed_discards }, { "invalid_rd_operations", 0 }, { "invalid_wr_operations", 0 },
        { "invalid_flush_operations", 0 }, { "invalid_unmap_operations", 0 },
    };
    json_t *out = json_pack("{s:b, s:b, s:[]}", "account_invalid", false, "account_failed", true, "timed_stats");

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) json_object_set_new(out, rows[i].name, json_integer((json_int_t)rows[i].value));
    return out;
}

json_t *qmp_query_blockstats(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct machine *m = qmp_machine(q);
    bool nodes = qmp_bool(args, "query-nodes", false);
    json_t *all = json_array();

    for (unsigned i = 0; i < machine_drive_count(m); i++) {
        struct block_node *n = machine_drive(m, i);
        const struct drive_config *d = machine_drive_config(m, i);
        json_t *b;

        if (nodes ? !n : !is_drive(d)) continue;
        b = json_pack("{s:o}", "stats", stats(n));
        if (!nodes) {
            json_object_set_new(b, "device", drive_name(d));
            qdev_set(b, m, i);
        }
        if (n) json_object_set_new(b, "node-name", node_name(m, i, 0));
        json_array_append_new(all, b);
    }
    return all;
}

/* The drive that 'device' or 'id' of args means; -1 with *err. */
int qmp_drive_find(struct machine *m, json_t *args, struct qmp_error *err)
{
    const char *device = qmp_string(args, "device"), *id = qmp_string(args, "id"), *name = device ? device : id;

    if (!device == !id) {
        qmp_fail(err, QMP_GENERIC, "Need exactly one of 'device' and 'id'");
        return -1;
    }
    for (unsigned i = 0; i < machine_drive_count(m); i++) {
        const struct drive_config *d = machine_drive_config(m, i);
        const char *have = !device ? d->device_id : d->is_node ? d->drive_id : d->id;
        char path[MACHINE_PATH_BYTES];

        if (have && *have && !strcmp(have, name)) return (int)i;
        if (id && machine_drive_path(m, i, path, sizeof(path)) && !strcmp(path, id)) return (int)i;
    }
    qmp_no_device(err, name);
    return -1;
}

/* What 'device' and 'node-name' of args mean, in this order; -1 with *err. */
static int node_of(struct machine *m, json_t *args, struct qmp_error *err)
{
    const char *device = qmp_string(args, "device"), *name = qmp_string(args, "node-name");

    for (unsigned i = 0; i < machine_drive_count(m); i++) {
        const struct drive_config *d = machine_drive_config(m, i);
        json_t *own = node_name(m, i, 0);
        bool found = name && !strcmp(json_string_value(own), name);

        json_decref(own);
        if (found || (device && !d->is_node && *d->id && !strcmp(d->id, device))) return (int)i;
    }
    qmp_fail(err, QMP_GENERIC, "Cannot find device='%.200s' nor node-name='%.200s'", device ? device : "", name ? name : "");
    return -1;
}

json_t *qmp_block_resize(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct machine *m = qmp_machine(q);
    int64_t size = qmp_int(args, "size", 0);
    int i = node_of(m, args, err);

    if (i < 0) return NULL;
    if (size < 0) return qmp_fail(err, QMP_GENERIC, "Parameter 'size' expects a >0 size");
    return qmp_result(machine_drive_resize(m, (unsigned)i, (uint64_t)size, &err->error));
}

/* The same, where it is a drive whose medium can be changed. */
static int removable_of(struct machine *m, json_t *args, struct qmp_error *err)
{
    int i = qmp_drive_find(m, args, err);
    bool open, locked;

    if (i < 0 || machine_drive_tray(m, (unsigned)i, &open, &locked)) return i;
    qmp_fail(err, QMP_GENERIC, "Device '%.200s' is not removable", qmp_string(args, "device") ? qmp_string(args, "device") : qmp_string(args, "id"));
    return -1;
}

json_t *qmp_eject(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct machine *m = qmp_machine(q);
    int i = removable_of(m, args, err);

    return i < 0 ? NULL : qmp_result(machine_drive_change(m, (unsigned)i, NULL, qmp_bool(args, "force", false), &err->error));
}

json_t *qmp_blockdev_change_medium(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct block_open_options o = { .filename = qmp_string(args, "filename"), .format = qmp_string(args, "format") };
    const char *mode = qmp_string(args, "read-only-mode");
    struct machine *m = qmp_machine(q);
    const struct drive_config *d;
    int i = removable_of(m, args, err);

    if (i < 0) return NULL;
    d = machine_drive_config(m, (unsigned)i);
    o.readonly = d->media == MEDIA_CDROM || (mode && !strcmp(mode, "read-only")) || ((!mode || !strcmp(mode, "retain")) && d->open.readonly);
    return qmp_result(machine_drive_change(m, (unsigned)i, &o, qmp_bool(args, "force", false), &err->error));
}

json_t *qmp_blockdev_open_tray(struct qmp *q, json_t *args, struct qmp_error *err)
{
    int i = removable_of(qmp_machine(q), args, err);

    return i < 0 ? NULL : qmp_result(machine_tray_move(qmp_machine(q), (unsigned)i, true, qmp_bool(args, "force", false), &err->error));
}

json_t *qmp_blockdev_close_tray(struct qmp *q, json_t *args, struct qmp_error *err)
{
    int i = removable_of(qmp_machine(q), args, err);

    return i < 0 ? NULL : qmp_result(machine_tray_move(qmp_machine(q), (unsigned)i, false, false, &err->error));
}

json_t *qmp_blockdev_remove_medium(struct qmp *q, json_t *args, struct qmp_error *err)
{
    int i = removable_of(qmp_machine(q), args, err);

    return i < 0 ? NULL : qmp_result(machine_medium_remove(qmp_machine(q), (unsigned)i, &err->error));
}

json_t *qmp_blockdev_insert_medium(struct qmp *q, json_t *args, struct qmp_error *err)
{
    int i = removable_of(qmp_machine(q), args, err);

    return i < 0 ? NULL : qmp_result(machine_medium_insert(qmp_machine(q), (unsigned)i, qmp_string(args, "node-name"), &err->error));
}

json_t *qmp_query_jobs(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
json_t *qmp_query_block_jobs(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
