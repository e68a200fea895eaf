/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes of -blockdev: images put together of named pieces, as management software does it. A format's node is opened when it comes, with
 * the options of the nodes it stands on (pc_node_options.c); a protocol's node is tried, and opened only if a device wants its bytes as they
 * are. A device that goes leaves the node.
 */
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/pc_node.h"

int pc_node_open(struct machine *m, unsigned n, struct error *err)
{
    const struct drive_config *d = &m->config.drive[n];
    bool is_trial = d->is_protocol && d->interface == DRIVE_IF_NONE;
    struct pc_node_layer *layer = pc_node_layer_new(m, d, err);
    struct block_node *node;

    if (!layer) return error_prefix(err, "node '%s'", d->id);
    layer->open.readonly |= is_trial;
    layer->open.no_lock |= is_trial;
    node = block_open(&layer->open, err);
    pc_node_layer_free(layer);
    if (!node) return error_prefix(err, "node '%s'", d->id);
    if (is_trial) block_close(node);
    else m->drive[n] = node;
    return 0;
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
