/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contexts for packing clusters, one for each thread that does so at a time, kept until the image is closed. */
#ifndef BLOCK_QCOW2_PACKER_H
#define BLOCK_QCOW2_PACKER_H

#include "block/qcow2/qcow2_private.h"

struct qcow2_packer;

/*
 * Packs a cluster; what lacks of it after length bytes is zeroes. The packed *bytes (0: does not shrink) stay until 'done' is told
 * *packer, unless NULL is returned: out of memory.
 */
const uint8_t *qcow2_packer_pack(struct qcow2_packers *p, const struct qcow2 *q, const void *data, size_t length,
                                 struct qcow2_packer **packer, size_t *bytes);
void qcow2_packer_done(struct qcow2_packers *p, struct qcow2_packer *k);
void qcow2_packers_init(struct qcow2_packers *p);
void qcow2_packers_free(struct qcow2_packers *p);

#endif
