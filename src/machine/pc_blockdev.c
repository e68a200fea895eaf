/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes of -blockdev: images put together of named pieces, as management software does it. A format's node is opened when it comes, with
 * the options of the nodes it stands on (pc_node_options.c); a protocol's node is tried, and opened only if a device wants its bytes as they
 * are. A device that goes leaves the node.
 *
 * A throttle node above a format's is a node of its own; one above a protocol's is like a protocol's, and its limits are those of whoever opens it.
 */
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/pc_node.h"

/* A node is limited by itself, if it is a throttle, or by the throttles between it and its file. */
static const struct drive_config *throttle_next(const struct machine *m, const struct drive_config *d, bool is_first)
{
    while (d) {
        int k = d->file_node ? pc_drive_find(m, d->file_node) : -1;

        if (d->is_filter && is_first) return d;
        d = k < 0 ? NULL : &m->config.drive[k];
        is_first = true;
    }
    return NULL;
}

static int group_enter(struct machine *m, unsigned n, unsigned place, const struct drive_config *d, struct error *err)
{
    const struct block_limits *l;
    const char *group;

    if (!m->throttles && !(m->throttles = block_throttles_new())) return error_set(err, "no memory for limits");
    if (block_throttle_get(m->drive[n], place, &group) && !strcmp(group, d->filter_group)) return 0;
    l = block_throttle_group(m->throttles, d->filter_group);
    return block_throttle_set(m->drive[n], place, m->throttles, d->filter_group, l ? l : &d->filter_limits, err);
}

int pc_node_throttle(struct machine *m, unsigned n, struct error *err)
{
    const struct drive_config *d = throttle_next(m, &m->config.drive[n], true);
    bool is_one = block_filter_below(m->drive[n]);

    for (unsigned place = BLOCK_THROTTLE_NODE; place < BLOCK_THROTTLES; place++) {
        if (!d) block_throttle_set(m->drive[n], place, NULL, NULL, NULL, NULL);
        else if (group_enter(m, n, place, d, err) < 0) return -1;
        d = !d || is_one ? NULL : throttle_next(m, d, false);
    }
    return d ? error_set(err, "more than %d throttle nodes on top of each other", BLOCK_THROTTLE_NODES) : 0;
}

int pc_node_filter_place(const struct machine *m, struct drive_config *d, struct error *err)
{
    int k = d->is_filter ? pc_drive_find(m, d->file_node) : -1;

    if (!d->is_filter) return 0;
    if (k < 0 || !m->config.drive[k].is_node) return error_set(err, "Cannot find device='%s' nor node-name='%s'", d->file_node, d->file_node);
    d->is_protocol = m->config.drive[k].is_protocol;
    return k;
}

static int filter_open(struct machine *m, unsigned n, int k, struct error *err)
{
    const struct drive_config *d = &m->config.drive[n];
    struct block_open_options o = { .readonly = false };

    if (m->config.drive[k].interface != DRIVE_IF_NONE) return error_set(err, "node '%s': '%s' below is in use by a device", d->id, d->file_node);
    if (!m->drive[k]) return error_set(err, "node '%s': '%s' below must come first", d->id, d->file_node);
    if (block_filter_options(d->node_options, &o, err) < 0) return error_prefix(err, "node '%s'", d->id);
    m->drive[n] = block_filter_new(m->drive[k], d->filter_group, &o, err);
    if (m->drive[n] && pc_node_throttle(m, n, err) == 0) return 0;
    block_close(m->drive[n]);
    m->drive[n] = NULL;
    return -1;
}

int pc_node_open(struct machine *m, unsigned n, struct error *err)
{
    struct drive_config *d = &m->config.drive[n];
    struct pc_node_layer *layer;
    struct block_node *node;
    int below = pc_node_filter_place(m, d, err);
    bool is_trial = d->is_protocol && d->interface == DRIVE_IF_NONE;

    if (below < 0) return -1;
    if (d->is_filter && !d->is_protocol) return filter_open(m, n, below, err);
    layer = pc_node_layer_new(m, d, err);
    if (!layer) return error_prefix(err, "node '%s'", d->id);
    layer->open.readonly |= is_trial;
    layer->open.no_lock |= is_trial;
    node = block_open(&layer->open, err);
    pc_node_layer_free(layer);
    if (!node) return error_prefix(err, "node '%s'", d->id);
    if (is_trial) {
        block_close(node);
        return 0;
    }
    m->drive[n] = node;
    if (pc_node_throttle(m, n, err) == 0) return 0;
    block_close(node);
    m->drive[n] = NULL;
    return -1;
}

static bool is_below_another(const struct machine *m, const struct block_node *n)
{
    for (unsigned i = 0; i < m->config.drive_count; i++)
        if (m->drive[i] && block_filter_below(m->drive[i]) == n) return true;
    return false;
}

void pc_drives_close(struct machine *m)
{
    for (bool again = true; again;) {
        again = false;
        for (unsigned n = 0; n < m->config.drive_count; n++) {
            if (!m->drive[n] || is_below_another(m, m->drive[n])) continue;
            block_close(m->drive[n]);
            m->drive[n] = NULL;
            again = true;
        }
    }
}

bool pc_node_is_used(const struct machine *m, const char *name)
{
    for (unsigned n = 0; n < m->config.drive_count; n++) {
        const struct drive_config *d = &m->config.drive[n];

        if (d->interface == DRIVE_IF_GONE || !d->is_node) continue;
        if ((d->file_node && !strcmp(d->file_node, name)) || (d->backing_node && !strcmp(d->backing_node, name))) return true;
    }
    return false;
}

/* ---- nodes as media ---- */

void pc_node_copy(struct drive_config *to, const struct drive_config *from)
{
    static const struct drive_config none = { .open.readonly = true };

    if (!from) from = &none;
    to->id = from->id;
    to->open = from->open;
    to->is_node = from->is_node;
    to->is_protocol = from->is_protocol;
    to->file_node = from->file_node;
    to->backing_node = from->backing_node;
    to->node_options = from->node_options;
    to->is_filter = from->is_filter;
    to->filter_group = from->filter_group;
    to->filter_limits = from->filter_limits;
}

static void memory_move(struct machine_memory *to, struct machine_memory *from)
{
    *to = *from;
    *from = (struct machine_memory){ NULL, NULL };
}

int pc_node_part(struct machine *m, unsigned n, struct error *err)
{
    int k = pc_drive_place(m, "", err);
    struct drive_config *d = &m->config.drive[n];

    if (k < 0) return -1;
    pc_throttle_lift(m, n);
    m->config.drive[k] = (struct drive_config){ .interface = DRIVE_IF_NONE, .on_write_error = BLOCK_ERROR_ENOSPC };
    pc_node_copy(&m->config.drive[k], d);
    m->config.drive_count = MAX(m->config.drive_count, (unsigned)k + 1);
    m->drive[k] = m->drive[n];
    m->drive[n] = NULL;
    if (m->node_memory[n].free) memory_move(&m->drive_memory[k], &m->node_memory[n]);
    else if (!d->drive_id) memory_move(&m->drive_memory[k], &m->drive_memory[n]);
    pc_node_copy(d, NULL);
    d->id = d->drive_id ? d->drive_id : "";
    d->drive_id = NULL;
    if (!m->config.drive[k].is_protocol) return 0;
    block_close(m->drive[k]);
    m->drive[k] = NULL;
    return 0;
}

int pc_node_join(struct machine *m, unsigned n, const char *name, struct error *err)
{
    struct drive_config *d = &m->config.drive[n], *node;
    int k = pc_drive_find(m, name);

    if (k < 0 || !m->config.drive[k].is_node) return error_set(err, "Node '%s' not found", name);
    node = &m->config.drive[k];
    if (node->interface != DRIVE_IF_NONE || pc_node_is_used(m, name)) return error_set(err, "Node '%s' is already in use", name);
    if (node->is_protocol) {
        node->interface = d->interface;                /* so that it is opened for good */
        if (pc_node_open(m, (unsigned)k, err) < 0) {
            node->interface = DRIVE_IF_NONE;
            return -1;
        }
    }
    if (!node->is_protocol && block_share_set(m->drive[k], false, err) < 0) return -1;
    node->open.share_writes = false;
    d->drive_id = *d->id ? d->id : NULL;
    pc_node_copy(d, node);
    m->drive[n] = m->drive[k];
    m->drive[k] = NULL;
    memory_move(&m->node_memory[n], &m->drive_memory[k]);
    *node = (struct drive_config){ .interface = DRIVE_IF_GONE };
    return pc_throttle_apply(m, n, err);
}

/* ---- what comes and goes ---- */

static int node_check(const struct machine *m, const struct drive_config *d, struct error *err)
{
    if (!d->file_node || !pc_node_is_used(m, d->file_node)) return 0;
    return error_set(err, "node '%s' is in use already", d->file_node);
}

int machine_blockdev_add(struct machine *m, const char *text, struct error *err)
{
    struct machine_memory memory = { NULL, NULL };
    struct drive_config d;
    int n = -1;

    if (m->parser.blockdev(m->parser.opaque, text, &d, &memory, err) == 0 && node_check(m, &d, err) == 0) n = pc_drive_place(m, d.id, err);
    d.open.share_writes = true;                          /* until a device has it, which says whether that stays so */
    if (n >= 0) {
        m->config.drive[n] = d;
        m->config.drive_count = MAX(m->config.drive_count, (unsigned)n + 1);
        if (pc_node_open(m, (unsigned)n, err) == 0) {
            m->drive_memory[n] = memory;
            return 0;
        }
        m->config.drive[n] = (struct drive_config){ .interface = DRIVE_IF_GONE };
    }
    machine_memory_free(&memory);
    return -1;
}

int machine_blockdev_del(struct machine *m, const char *name, struct error *err)
{
    int n = pc_drive_find(m, name);

    if (n < 0 || !m->config.drive[n].is_node) return error_set(err, "Failed to find node with node-name='%s'", name);
    if (m->config.drive[n].interface != DRIVE_IF_NONE || pc_node_is_used(m, name)) return error_set(err, "Node %s is in use", name);
    pc_drive_remove(m, (unsigned)n);
    return 0;
}
