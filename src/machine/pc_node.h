/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside the room: what nodes of -blockdev are opened with. */
#ifndef MACHINE_PC_NODE_H
#define MACHINE_PC_NODE_H

#include "block/option.h"
#include "machine/pc_private.h"

/* A node's options, with those of the protocol's nodes below it; the strings are its own. */
struct pc_node_layer {
    struct block_open_options open;
    struct block_option_set set;
    struct block_option_value *item;
    struct pc_node_layer *backing;     /* NULL: what the image says */
};
/* NULL with *err. */
struct pc_node_layer *pc_node_layer_new(const struct machine *m, const struct drive_config *d, struct error *err);
void pc_node_layer_free(struct pc_node_layer *l);      /* NULL is fine */

/* Where a throttle's node stands on, which also tells whether it is like a protocol's: its place, 0 if d is no throttle, -1 with *err. */
int pc_node_filter_place(const struct machine *m, struct drive_config *d, struct error *err);
/* The open node is in the groups of its throttles, and in no others. 0, or -1 with *err. */
int pc_node_throttle(struct machine *m, unsigned n, struct error *err);

/* What makes a node of a drive; from NULL: nothing does. */
void pc_node_copy(struct drive_config *to, const struct drive_config *from);

#endif
