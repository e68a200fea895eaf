/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partition tables of a disk image: GPT, or MBR with logical partitions. */
#ifndef TOOL_PARTITION_H
#define TOOL_PARTITION_H

#include <stdint.h>

struct block_node;
struct error;

enum { PARTITIONS_MAX = 256 };
struct partition {
    unsigned number;                /* as Linux counts: logical ones from 5 */
    uint64_t offset_bytes, length_bytes;
};
struct partition_table {
    const char *kind;               /* "gpt", "mbr", or "none" */
    unsigned count;
    struct partition partition[PARTITIONS_MAX];
};
/* Partitions that reach past the end of the disk are left out. 0, or -1 with *err when the disk cannot be read. */
int partition_table_read(struct block_node *n, struct partition_table *t, struct error *err);
const struct partition *partition_find(const struct partition_table *t, unsigned number);

#endif
