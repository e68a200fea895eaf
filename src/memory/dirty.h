/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which pages of a block of guest memory were written, by whomever: vCPUs of any engine, device models, disk requests. */
#ifndef MEMORY_DIRTY_H
#define MEMORY_DIRTY_H

#include <stdint.h>

struct dirty_tracker;

/* hva and size_bytes are multiples of a page, of private anonymous memory that outlives the tracker. NULL: out of memory. */
struct dirty_tracker *dirty_tracker_new(void *hva, uint64_t size_bytes);
void dirty_tracker_free(struct dirty_tracker *t);

/* Calls fn for runs of whole pages that touch [offset, offset + size) and may have been written since they were last
 * reported, in rising order. Everything counts as written at first. One thread at a time; the guest may go on writing. */
typedef void dirty_run_fn(void *opaque, uint64_t offset, uint64_t size);
void dirty_tracker_take(struct dirty_tracker *t, uint64_t offset, uint64_t size, dirty_run_fn *fn, void *opaque);

/* What to read of reported pages, at the same offsets. Where pages are compared it is not hva but the copy: what a page held
 * for a moment after it was reported, and no longer at the next look, would be shown and never be corrected. Owned by t. */
const uint8_t *dirty_tracker_bytes(const struct dirty_tracker *t);

#endif
