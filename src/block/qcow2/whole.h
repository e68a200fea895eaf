/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of the image as a whole. _locked: with q->lock held. 0 or -errno. */
#ifndef BLOCK_QCOW2_WHOLE_H
#define BLOCK_QCOW2_WHOLE_H

#include "block/qcow2/qcow2_private.h"

/* Ends with the lock held, nobody else at work and everything on the disk. */
int qcow2_whole_begin(struct qcow2 *q, struct qcow2_range *range);
void qcow2_whole_end(struct qcow2 *q, struct qcow2_range *range);
/* Counts, then tables, a barrier after each. */
int qcow2_settle_locked(struct qcow2 *q);
/* An L1 table in new clusters; they are metadata from now on. entries may be 0. */
int qcow2_l1_write_locked(struct qcow2 *q, const uint64_t *l1, uint32_t entries, uint64_t *offset);
void qcow2_l1_release_locked(struct qcow2 *q, uint64_t offset, uint32_t entries);
/* The file ends where nothing is in use any more. */
void qcow2_tail_cut_locked(struct qcow2 *q);
/* preallocate.c: places all clusters of [from, to) that are not placed yet. Not locked. */
int qcow2_preallocate(struct qcow2 *q, uint64_t from, uint64_t to, enum block_preallocation mode);

#endif
