/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What write.c and zero.c share. */
#ifndef BLOCK_QCOW2_WRITE_H
#define BLOCK_QCOW2_WRITE_H

#include "block/qcow2/qcow2_private.h"

/* A write of a whole request; scratch has room for two entries more than iov. */
struct qcow2_io {
    uint64_t offset;
    size_t length;
    const struct iovec *iov;
    int iovcnt;
    struct iovec *scratch;
};

/* Writes from byte `done` of the request on. The caller has the clusters exclusively. 0 or -errno. */
int qcow2_write_exclusive(struct qcow2 *q, const struct qcow2_io *io, size_t done);

/* Nothing but zeroes shows through where the cluster at offset is not allocated. */
static inline bool qcow2_below_is_zero(const struct qcow2 *q, uint64_t offset)
{
    return !q->node->backing_changes && (!q->node->backing || offset >= q->node->backing->size);
}

#endif
