/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A protocol in memory that remembers every write, zeroing, truncation and flush, to work out any power cut afterwards. */
#ifndef TESTS_BLOCK_RECORDER_H
#define TESTS_BLOCK_RECORDER_H

#include "block/block_private.h"

/* Starts with a copy of these bytes, which are on stable storage. Nodes over it may come and go. */
struct block_protocol *recorder_open(const void *image, size_t length);
void recorder_free(struct block_protocol *p);
/* Changes so far: a cut goes between two of them. */
size_t recorder_count(const struct block_protocol *p);
/*
 * What is on the disk when the power goes before change number `cut`: what was flushed, and of the others a choice that
 * depends on the seed: whole changes in any subset, single sectors, the first ones, the last ones. malloc'ed.
 */
void *recorder_cut(const struct block_protocol *p, size_t cut, uint64_t seed, size_t *length);

#endif
