/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits on I/O of -drive: the names that programs use and those that people do. */
#ifndef TOOL_VM_THROTTLE_H
#define TOOL_VM_THROTTLE_H

#include "block/throttle.h"
#include "tool/option_list.h"

#define THROTTLE_NAMES(ROW) \
    ROW("bps", "throttling.bps-total", LIMIT_BYTES) ROW("bps_rd", "throttling.bps-read", LIMIT_BYTES_READ) \
    ROW("bps_wr", "throttling.bps-write", LIMIT_BYTES_WRITE) ROW("iops", "throttling.iops-total", LIMIT_OPS) \
    ROW("iops_rd", "throttling.iops-read", LIMIT_OPS_READ) ROW("iops_wr", "throttling.iops-write", LIMIT_OPS_WRITE)
#define THROTTLE_MAX_NAMES(ROW) \
    ROW("bps_max", "throttling.bps-total-max", LIMIT_BYTES) ROW("bps_rd_max", "throttling.bps-read-max", LIMIT_BYTES_READ) \
    ROW("bps_wr_max", "throttling.bps-write-max", LIMIT_BYTES_WRITE) ROW("iops_max", "throttling.iops-total-max", LIMIT_OPS) \
    ROW("iops_rd_max", "throttling.iops-read-max", LIMIT_OPS_READ) ROW("iops_wr_max", "throttling.iops-write-max", LIMIT_OPS_WRITE)
#define THROTTLE_LENGTH_NAMES(ROW) \
    ROW("bps_max_length", "throttling.bps-total-max-length", LIMIT_BYTES) ROW("bps_rd_max_length", "throttling.bps-read-max-length", LIMIT_BYTES_READ) \
    ROW("bps_wr_max_length", "throttling.bps-write-max-length", LIMIT_BYTES_WRITE) ROW("iops_max_length", "throttling.iops-total-max-length", LIMIT_OPS) \
    ROW("iops_rd_max_length", "throttling.iops-read-max-length", LIMIT_OPS_READ) ROW("iops_wr_max_length", "throttling.iops-write-max-length", LIMIT_OPS_WRITE)

/* Rows of a table of keys, which throttle_parse looks at by itself. */
#define THROTTLE_KEY(old, new, limit) { old, NULL, NULL }, { new, NULL, NULL },
#define THROTTLE_KEYS \
    THROTTLE_NAMES(THROTTLE_KEY) THROTTLE_MAX_NAMES(THROTTLE_KEY) THROTTLE_LENGTH_NAMES(THROTTLE_KEY) THROTTLE_KEY("iops_size", "throttling.iops-size", 0) \
    THROTTLE_KEY("group", "throttling.group", 0)

/* What l says of limits: they are zeroes if it says nothing. *group is left as it is without one. */
int throttle_parse(const struct option_list *l, struct block_limits *limits, const char **group, struct error *err);
struct vm_options;
struct drive_config;
/* -object throttle-group. */
int throttle_group_add(struct vm_options *o, const struct option_list *l, struct error *err);
bool throttle_group_has(const struct vm_options *o, const char *id);
void throttle_group_remove(struct vm_options *o, const char *id);
/* NULL: there is no such group. */
struct block_limits *throttle_group_limits(struct vm_options *o, const char *id);
/* A drive that names a group and no limits has the group's. */
int throttle_group_join(const struct vm_options *o, struct drive_config *d, struct error *err);

#endif
