/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What snapshot.c and snapshot_table.c share. */
#ifndef BLOCK_QCOW2_SNAPSHOT_H
#define BLOCK_QCOW2_SNAPSHOT_H

#include "block/qcow2/qcow2_private.h"

int qcow2_snapshot_describe(struct qcow2 *q, uint32_t index, struct block_snapshot *s);
int qcow2_snapshot_find(struct qcow2 *q, const char *id_or_name, bool name_first, uint32_t *index, struct error *err);
void qcow2_snapshot_id_next(struct qcow2 *q, char *id, size_t room);
uint8_t *qcow2_snapshot_entry_make(const struct block_snapshot *s, uint64_t l1_offset, uint32_t l1_entries,
                                   uint32_t *length);
/*
 * Writes a new table, switches the header over and gives the old table back. Entry `without` is left out (UINT32_MAX:
 * none), `added` (may be NULL) comes last, its bytes are entry. 0 or -errno: then the old table counts.
 */
int qcow2_snapshot_table_change_locked(struct qcow2 *q, uint32_t without, const struct qcow2_snapshot *added,
                                       const uint8_t *entry, uint32_t entry_bytes);

/* snapshot_check.c: refuses a snapshot that cannot be gone back to, or deleted, without harm to others. Everything is on the disk.
 * 0, or -1 with *err. */
int qcow2_snapshot_check_locked(struct qcow2 *q, const struct qcow2_snapshot *s, struct error *err);

#endif
