/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options that a node of -blockdev is opened with: its own, in front of them ("file.") those of the nodes below it, and beside them the
 * options of the node that is named for its backing file, which is opened for this node a second time, whatever the image records. Null as
 * backing means that there is none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "machine/pc_node.h"

enum { DEPTH_MAX = 8, KEY_BYTES = 256 };

static int item_add(struct pc_node_layer *l, const char *prefix, const struct block_option_value *from)
{
    struct block_option_value *more = realloc(l->item, (l->set.count + 1) * sizeof(*more));
    char *key = NULL, *value = strdup(from->value);

    if (more) l->set.item = l->item = more;
    if (asprintf(&key, "%s%s", prefix, from->key) < 0) key = NULL;
    if (!more || !key || !value) {
        free(key);
        free(value);
        return -1;
    }
    l->item[l->set.count++] = (struct block_option_value){ key, value };
    return 0;
}

/* What the node and those below it say. */
static int options_gather(const struct machine *m, const struct drive_config *d, const char *prefix, unsigned depth, struct pc_node_layer *l,
                          struct error *err)
{
    char below[KEY_BYTES];
    int n = d->file_node ? pc_drive_find(m, d->file_node) : -1;

    if (d->file_node && n < 0) return error_set(err, "there is no node '%s'; it must come first", d->file_node);
    if (depth == DEPTH_MAX) return error_set(err, "more than %d nodes on top of each other", DEPTH_MAX);
    for (unsigned i = 0; d->node_options && i < d->node_options->count; i++)
        if (!(d->is_filter && !strcmp(d->node_options->item[i].key, "driver")) && item_add(l, prefix, &d->node_options->item[i]) < 0) return error_set(err, "no memory for the options of node '%s'", d->id);
    snprintf(below, sizeof(below), "%s%s", prefix, d->is_filter ? "" : "file.");
    return n < 0 ? 0 : options_gather(m, &m->config.drive[n], below, depth + 1, l, err);
}

void pc_node_layer_free(struct pc_node_layer *l)
{
    while (l) {
        struct pc_node_layer *backing = l->backing;

        for (unsigned i = 0; i < l->set.count; i++) {
            free((char *)(uintptr_t)l->item[i].key);
            free((char *)(uintptr_t)l->item[i].value);
        }
        free(l->item);
        free(l);
        l = backing;
    }
}

static int layer_fill(const struct machine *m, const struct drive_config *d, unsigned depth, struct pc_node_layer *l, struct error *err);

static struct pc_node_layer *layer_make(const struct machine *m, const struct drive_config *d, unsigned depth, struct error *err)
{
    struct pc_node_layer *l = calloc(1, sizeof(*l));

    if (!l) error_set(err, "no memory for the options of node '%s'", d->id);
    else if (layer_fill(m, d, depth, l, err) == 0) return l;
    pc_node_layer_free(l);
    return NULL;
}

static int layer_fill(const struct machine *m, const struct drive_config *d, unsigned depth, struct pc_node_layer *l, struct error *err)
{
    int n = d->backing_node && *d->backing_node ? pc_drive_find(m, d->backing_node) : -1;

    if (options_gather(m, d, "", 0, l, err) < 0) return -1;
    l->open = d->open;
    l->open.options = &l->set;
    l->open.no_backing = d->backing_node && !*d->backing_node;
    if (!d->backing_node || !*d->backing_node) return 0;
    if (n < 0 || !m->config.drive[n].is_node) return error_set(err, "there is no node '%s'; it must come first", d->backing_node);
    if (m->config.drive[n].is_filter) return error_set(err, "node '%s' is a throttle; it can stand above a disk or below a format, and not be a backing file", d->backing_node);
    if (depth == CONFIG_DRIVES || &m->config.drive[n] == d) return error_set(err, "Making '%s' a backing child of '%s' would create a cycle", d->backing_node, d->id);
    l->backing = layer_make(m, &m->config.drive[n], depth + 1, err);
    if (l->backing) l->open.backing = &l->backing->open;
    return l->backing ? 0 : -1;
}

struct pc_node_layer *pc_node_layer_new(const struct machine *m, const struct drive_config *d, struct error *err) { return layer_make(m, d, 0, err); }
