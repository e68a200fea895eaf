/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One export: a part of a node, addressed by bytes. */
#ifndef NBD_EXPORT_H
#define NBD_EXPORT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "nbd/server.h"

struct nbd_export {
    struct nbd_export *next;
    char *name, *description;
    struct block_node *node;
    uint64_t offset, length;
    bool readonly;
    enum nbd_detect_zeroes detect;
    char *bitmap;                   /* its name, or NULL */
    struct block_node *bitmap_node; /* who has it */
    bool depth;                     /* qemu:allocation-depth is shown */
    pthread_rwlock_t partial;       /* writers of parts of a sector exclude all other writers */
};

uint64_t nbd_export_size(const struct nbd_export *x);

/* Any offset and length, the caller has checked them against the size; any thread. 0 or -errno. */
int nbd_export_read(struct nbd_export *x, uint64_t offset, void *data, uint64_t length);
int nbd_export_write(struct nbd_export *x, uint64_t offset, const void *data, uint64_t length);
int nbd_export_zero(struct nbd_export *x, uint64_t offset, uint64_t length, bool may_unmap);
int nbd_export_trim(struct nbd_export *x, uint64_t offset, uint64_t length);
int nbd_export_flush(struct nbd_export *x);

/* state: what the context sends. */
struct nbd_extent { uint64_t length; uint32_t state; };
/* What the bytes from offset on are (NBD_STATE_HOLE, NBD_STATE_ZERO), at most *count extents of at most length bytes in all, at least
 * one. */
int nbd_export_status(struct nbd_export *x, uint64_t offset, uint64_t length, struct nbd_extent *extent,
                      unsigned *count);

/* The same for its dirty bitmap (NBD_STATE_DIRTY); for which image of the chain decides: 1 is the first, 0 none. */
int nbd_export_dirty(struct nbd_export *x, uint64_t offset, uint64_t length, struct nbd_extent *extent, unsigned *count);
int nbd_export_depth(struct nbd_export *x, uint64_t offset, uint64_t length, struct nbd_extent *extent, unsigned *count);
/* Finds o's bitmap in the node or its backing files. 0, or -1 with *err. */
int nbd_export_bitmap_set(struct nbd_export *x, const char *bitmap, struct error *err);

#endif
