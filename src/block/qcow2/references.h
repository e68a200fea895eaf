/* SPDX-License-Identifier: GPL-2.0-or-later */
/* References of a whole L1 table. All with q->lock held and no changed L2 tables in the cache; 0 or -errno. */
#ifndef BLOCK_QCOW2_REFERENCES_H
#define BLOCK_QCOW2_REFERENCES_H

#include "block/qcow2/qcow2_private.h"

/* One more, one less for the L2 tables of l1 (host byte order) and all they lead to. Add undoes what it did on failure. */
int qcow2_references_add_locked(struct qcow2 *q, const uint64_t *l1, uint32_t entries);
int qcow2_references_drop_locked(struct qcow2 *q, const uint64_t *l1, uint32_t entries);

enum qcow2_flags { QCOW2_FLAGS_CLEAR, QCOW2_FLAGS_BY_COUNT };
/* The "copied" flags in the L2 tables of l1; active: l1 is q->l1, whose entries have flags too. */
int qcow2_flags_write_locked(struct qcow2 *q, uint64_t *l1, uint32_t entries, bool active, enum qcow2_flags mode);

#endif
