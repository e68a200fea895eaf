/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A protocol in memory that behaves like a disk with a volatile write cache: what was written since the last
 * flush may be lost in part when the power goes. For tests and fuzzing, so that they run the production path.
 */
#ifndef BLOCK_FAULT_H
#define BLOCK_FAULT_H

#include "block/block_private.h"

/* Starts with a copy of these bytes. It grows up to limit_bytes, beyond is -ENOSPC. NULL: out of memory. */
struct block_protocol *block_fault_open(const void *image, size_t length, uint64_t limit_bytes);
/* The power goes before write number `write` (from 0): it and all later operations fail with -EIO. */
void block_fault_cut_at(struct block_protocol *p, uint64_t write);
/* Write number `write` and nothing else fails with -error. */
void block_fault_fail_at(struct block_protocol *p, uint64_t write, int error);
/* The next read, or flush, and nothing else fails with -error. */
void block_fault_fail_read(struct block_protocol *p, int error);
void block_fault_fail_flush(struct block_protocol *p, int error);
/* Flush number `flush` (from 0) and nothing else fails with -EIO; what was written before it may be on the disk all the same. */
void block_fault_fail_flush_at(struct block_protocol *p, uint64_t flush);
uint64_t block_fault_writes(const struct block_protocol *p);
uint64_t block_fault_flushes(const struct block_protocol *p);
bool block_fault_is_cut(const struct block_protocol *p);
/*
 * What is on the disk if the power goes now: of the writes since the last flush a choice that depends on the
 * seed: whole writes in any subset, single sectors, or the first few. The caller frees *image.
 */
int block_fault_image(struct block_protocol *p, uint64_t seed, void **image, size_t *length);

#endif
