/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits on I/O (throttling.*): requests and bytes a second of all, of reads, of writes. Nodes of one group share its limits. All calls with the
 * machine lock held.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

struct block_node;
struct error;

enum block_limited { LIMIT_BYTES, LIMIT_BYTES_READ, LIMIT_BYTES_WRITE, LIMIT_OPS, LIMIT_OPS_READ, LIMIT_OPS_WRITE, LIMITS };

/* average 0: no limit. maximum: a second, in bursts (0: a tenth of a second's average at once); burst_s: for so long, 1 by default. */
struct block_limit { uint64_t average, maximum, burst_s; };
struct block_limits {
    struct block_limit limit[LIMITS];
    uint64_t op_bytes;               /* a larger request counts as several; 0: as one */
};
bool block_limits_any(const struct block_limits *l);
/* 0, or -1 with *err: what contradicts itself. */
int block_limits_check(const struct block_limits *l, struct error *err);

/* ---- buckets ---- */

struct block_bucket { double level, burst; };
/* What has run out of b in so much time. */
void block_bucket_leak(struct block_bucket *b, const struct block_limit *l, int64_t ns);
void block_bucket_fill(struct block_bucket *b, const struct block_limit *l, double units);
/* How long the next one waits. */
int64_t block_bucket_wait_ns(const struct block_bucket *b, const struct block_limit *l);

/* ---- nodes ---- */

/* Where a node has limits: those of its device, and those of the throttle nodes that it is put together with, each of a group of its own. */
enum { BLOCK_THROTTLE_DEVICE, BLOCK_THROTTLE_NODE, BLOCK_THROTTLE_NODES = 4, BLOCK_THROTTLES = BLOCK_THROTTLE_NODE + BLOCK_THROTTLE_NODES };
struct block_throttles;              /* the groups of a machine, by name */
struct block_throttles *block_throttles_new(void);
void block_throttles_free(struct block_throttles *t);                    /* after the nodes were closed */
/* At this place the node is in this group from now on, which has these limits from now on. NULL: in none. 0, or -1 with *err. */
int block_throttle_set(struct block_node *n, unsigned place, struct block_throttles *t, const char *group, const struct block_limits *l, struct error *err);
/* It is in no group any more. */
void block_throttle_end(struct block_node *n);
/* The limits of the node's group, and its name; NULL: it is in none. */
const struct block_limits *block_throttle_get(const struct block_node *n, unsigned place, const char **group);
/* Those of a group by its name; NULL: nobody is in it. */
const struct block_limits *block_throttle_group(const struct block_throttles *t, const char *group);
/* Other limits for a group; nothing if nobody is in it. */
void block_throttle_group_set(struct block_throttles *t, const char *group, const struct block_limits *l);

/* For request.c: a request that waits; go is called when it may run. */
struct block_throttle_wait { struct block_throttle_wait *next; bool is_write; uint64_t bytes; void (*go)(struct block_throttle_wait *w); };
/* false: as far as this place goes it may run now. */
bool block_throttle_hold(struct block_node *n, unsigned place, struct block_throttle_wait *w);
/* All that wait may run now. */
void block_throttle_release(struct block_node *n);

#endif
