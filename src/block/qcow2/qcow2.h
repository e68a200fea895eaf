/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 format, versions 2 and 3, for a running machine. Source: QEMU's docs/interop/qcow2.txt.
 * Only what other files of the block room use; the rest is in qcow2_private.h.
 */
#ifndef BLOCK_QCOW2_QCOW2_H
#define BLOCK_QCOW2_QCOW2_H

#include "block/block_private.h"
#include "block/crypt/luks.h"

struct qcow2_create_options {
    uint64_t size_bytes;            /* a multiple of 512 */
    unsigned version;               /* 2, 3; 0: 3 */
    unsigned cluster_bits;          /* 9..21; 0: 16 */
    unsigned refcount_order;        /* 0..6, 4 for version 2 */
    bool extended_l2, lazy_refcounts, zstd;
    const char *data_file;          /* recorded as it is; NULL: none */
    bool data_raw;
    bool encrypted;
    struct luks_options luks;       /* then */
    enum block_preallocation preallocation;     /* qcow2_create leaves this to its caller */
    const char *backing, *backing_format;   /* recorded as they are; NULL: none */
};
/* Writes an empty image to an empty file. 0, or -1 with *err. */
int qcow2_create(struct block_protocol *file, const struct qcow2_create_options *o, struct error *err);

/* Refuses what qcow2_create would. */
int qcow2_layout_check(const struct qcow2_create_options *o, struct error *err);

/* snapshot=on: a node that reads base and writes to an unlinked temporary image. base becomes the new node's (when it
 * fails it stays the caller's). */
struct block_node *qcow2_overlay_open(struct block_node *base, const struct block_open_options *o, struct error *err);

#endif
