/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -blockdev: one node of an image, which others stand on by name. Keys of formats and protocols are checked when it is opened. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "block/image.h"
#include "block/option.h"
#include "tool/vm_options_private.h"
#include "tool/vm_throttle.h"

static bool is_format(const char *driver)
{
    for (unsigned i = 0; block_format_nth(i); i++)
        if (!strcmp(block_format_nth(i), driver)) return true;
    return false;
}

static bool is_protocol(const char *driver)
{
    for (unsigned i = 0; block_protocol_nth(i); i++)
        if (!strcmp(block_protocol_nth(i), driver)) return true;
    return false;
}

int blockdev_driver_check(const char *driver, bool protocols_only, struct error *err)
{
    char names[240] = "";

    if (is_protocol(driver) || (!protocols_only && (is_format(driver) || !strcmp(driver, "throttle")))) return 0;
    for (unsigned i = 0; block_protocol_nth(i); i++) snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? ", " : "", block_protocol_nth(i));
    for (unsigned i = 0; !protocols_only && block_format_nth(i); i++) snprintf(names + strlen(names), sizeof(names) - strlen(names), ", %s", block_format_nth(i));
    return error_set(err, "driver=%s is not in this version; known are %s%s", driver, names, protocols_only ? "" : ", throttle");
}

/* Keys that say how nodes hang together; false: it was none. */
static bool key_take(struct drive_config *d, const char *key, const char *value)
{
    if (d->is_filter && !strcmp(key, "throttle-group")) {
        d->filter_group = value;
        return true;
    }
    if (!strcmp(key, "node-name")) d->id = value;
    else if (!strcmp(key, "file")) d->file_node = value;
    else if (!strcmp(key, "backing")) d->backing_node = value;
    else return false;
    return true;
}

static int filter_check(const struct drive_config *d, struct error *err)
{
    for (unsigned i = 0; i < d->node_options->count; i++)
        if (!strncmp(d->node_options->item[i].key, "file.", 5)) return error_set(err, "-blockdev: a throttle stands on a node that is there, by its name (file=NODE)");
    if (!d->filter_group) return error_set(err, "Parameter 'throttle-group' is missing");
    if (!d->file_node) return error_set(err, "Parameter 'file' is missing");
    return d->backing_node ? error_set(err, "Parameter 'backing' is unexpected") : 0;
}

/* Here, since groups that come by object_add are not in the options of the node. */
int blockdev_filter_join(struct vm_options *o, struct drive_config *d, struct error *err)
{
    const struct block_limits *l = d->is_filter ? throttle_group_limits(o, d->filter_group) : NULL;

    if (!d->is_filter) return 0;
    if (!l) return error_set(err, "Throttle group '%s' does not exist", d->filter_group);
    d->filter_limits = *l;
    return 0;
}

int blockdev_read(struct vm_options *o, const char *arg, struct drive_config *d, struct error *err)
{
    struct block_option_set *set = arena_room(o->arena, sizeof(*set));
    struct block_option_value *item = arena_room(o->arena, OPTION_PAIRS * sizeof(*item));
    struct option_list l;

    *d = (struct drive_config){ .interface = DRIVE_IF_NONE, .is_node = true, .node_options = set, .on_write_error = BLOCK_ERROR_ENOSPC };
    if (option_list_parse(&l, o->arena, arg, "driver", err) < 0) return error_prefix(err, "-blockdev");
    if (!l.count || strcmp(l.pair[0].key, "driver")) return error_set(err, "-blockdev needs driver=, a format or a protocol such as file");
    if (blockdev_driver_check(l.pair[0].value, false, err) < 0) return error_prefix(err, "-blockdev");
    d->is_filter = !strcmp(l.pair[0].value, "throttle");
    for (unsigned i = 0; i < l.count; i++) {
        if (!key_take(d, l.pair[i].key, l.pair[i].value)) item[set->count++] = (struct block_option_value){ l.pair[i].key, l.pair[i].value };
    }
    set->item = item;
    if (!d->id || !*d->id) return error_set(err, "-blockdev needs node-name=, by which devices and other nodes find it");
    if (id_check("-blockdev", "node-name", d->id, err) < 0) return -1;
    if (d->is_filter) return filter_check(d, err);
    d->is_protocol = !is_format(l.pair[0].value);
    if (d->is_protocol && (d->file_node || d->backing_node)) return error_set(err, "-blockdev: '%s' is a protocol; it stands on no other node", l.pair[0].value);
    d->open.objects = secrets_objects(&o->secrets);
    return 0;
}

int option_blockdev(struct vm_options *o, const char *arg, struct error *err)
{
    struct machine_config *c = &o->config;
    struct drive_config d;

    if (blockdev_read(o, arg, &d, err) < 0) return -1;
    if (c->drive_count == CONFIG_DRIVES) return error_set(err, "-blockdev: more than %d nodes and drives", CONFIG_DRIVES);
    for (unsigned i = 0; i < c->drive_count; i++) {
        if (c->drive[i].id && !strcmp(c->drive[i].id, d.id)) return error_set(err, "-blockdev: two drives or nodes have the name '%s'", d.id);
        if (c->drive[i].file_node && d.file_node && !strcmp(c->drive[i].file_node, d.file_node))
            return error_set(err, "-blockdev: node '%s' is in use already", d.file_node);
    }
    c->drive[c->drive_count++] = d;
    return 0;
}
