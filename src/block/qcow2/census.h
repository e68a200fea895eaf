/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How often each cluster of the file is referred to, counted anew from the tables; what check, repair and rebuild share. */
#ifndef BLOCK_QCOW2_CENSUS_H
#define BLOCK_QCOW2_CENSUS_H

#include "block/qcow2/qcow2_private.h"

#define QCOW2_CENSUS_CHUNK 4096u    /* counts in a chunk */
#define QCOW2_CENSUS_OVER_MAX 4096u

/* As what a cluster is referred to. */
enum qcow2_use { QCOW2_USE_L1, QCOW2_USE_L2, QCOW2_USE_OTHER };

struct qcow2_census {
    struct qcow2 *q;
    struct block_check *check;      /* findings are said and added here */
    uint64_t file_bytes, file_clusters;
    uint64_t start, end;            /* the window: only these clusters are counted */
    uint64_t highest;               /* the last cluster that is referred to, window or not */
    bool findings;                  /* say and count them: once, not in every window */
    bool no_refcounts;              /* leave out refcount table and blocks */
    bool refcounts_broken;          /* the refcount table or a block of it cannot be used */
    uint64_t bitmap_bytes;          /* of all tables of dirty bitmaps */
    uint64_t malformed;             /* findings that no change of counts mends */
    uint64_t mendable;              /* entries that mend.c can put right */
    bool mend;                      /* do so while they are counted */
    uint64_t *over;                 /* clusters with tables that something else lies over, in order; see qcow2_census_is_over */
    size_t overs;

    struct census_chunk *chunk, *last;
    uint32_t chunks, chunks_max;
    uint16_t *slot;                 /* hash of chunk numbers: 1 + index, 0: empty */
    uint64_t *table;                /* tables gathered: offset | 1 when the active image has it */
    size_t tables, tables_max;
    uint8_t *cluster;               /* one cluster of scratch */
};

/* 0 or -1 with *err. */
int qcow2_census_init(struct qcow2_census *c, struct qcow2 *q, struct block_check *check, struct error *err);
/* Counts for a window that begins at c->start; c->end says how far it came. 0 or -errno. */
int qcow2_census_take(struct qcow2_census *c);
uint64_t qcow2_census_count(struct qcow2_census *c, uint64_t cluster);
/* The first cluster at or after `cluster` that lies in a chunk with counts; UINT64_MAX: none. */
uint64_t qcow2_census_next(const struct qcow2_census *c, uint64_t cluster);
void qcow2_census_free(struct qcow2_census *c);
/* Notes the cluster, if it is used as a table and as something else, or as two L1 tables. Clusters come in order. */
void qcow2_census_over_note(struct qcow2_census *c, uint64_t cluster);
/* Whether that was noted of the cluster at offset, or might have been: tables there are not to be written. */
bool qcow2_census_is_over(const struct qcow2_census *c, uint64_t offset);

void qcow2_check_say(struct block_check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* check.c: takes the census of all clusters, with c->over; *low: the first one that is counted less often than it is used, or
 * UINT64_MAX. 0 or -errno. */
int qcow2_census_compare(struct qcow2_census *c, uint64_t *low);

/* mend.c: an entry whose meaning is plain as it should be. Whether it was changed. */
bool qcow2_entry_mend(const struct qcow2 *q, struct qcow2_entry *e);
#define QCOW2_L1_RESERVED (~(QCOW2_OFFSET_MASK | QCOW2_COPIED))
/* All entries of an L2 table that was read from offset, and an L1 entry, on the disk too. 0 or -errno. */
int qcow2_l2_mend(struct qcow2_census *c, uint64_t offset, uint8_t *table);
int qcow2_l1_mend(struct qcow2_census *c, uint64_t where, uint64_t *entry, bool active);

/* rebuild.c: a refcount table and blocks made anew from the census and written behind everything else. */
int qcow2_refcounts_replace(struct qcow2_census *c, struct error *err);

#endif
