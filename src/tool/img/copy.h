/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copying disks, for convert, dd and commit. */
#ifndef TOOL_IMG_COPY_H
#define TOOL_IMG_COPY_H

#include "tool/img/img_private.h"

struct img_copy {
    /* Sources, one behind the other. */
    struct block_node *source[IMG_FILES];
    unsigned sources;
    uint64_t skip_bytes, length_bytes;      /* of all of them together */
    struct block_node *target;              /* gets them from its start on */
    unsigned layers;                /* of a source's chain, the rest is what the target shows there anyway; 0: all */
    bool target_is_zero;            /* what is not written reads as zeroes */
    bool compress, salvage, offload;
    uint64_t sparse_bytes;          /* zeroes of this length are not written; 0: all is written */
    unsigned threads;               /* 0: as many as there are processors */
    uint64_t rate_bytes;            /* a second; 0: no limit */
    struct img_progress *progress;
};

/* 0, or -1 with *err. Does not flush. */
int img_copy_run(struct img_copy *copy, struct error *err);

#endif
