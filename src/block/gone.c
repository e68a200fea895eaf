/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image that was taken away from under its device (drive_del), or could not be opened again (reopen.c): the node stays, so that the device may go on asking, and every
 * request fails with ENOMEDIUM. Files and locks are let go.
 */
#include "block/block_private.h"
#include "block/throttle.h"

#include <errno.h>
#include <stdlib.h>

static int gone_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt) { return -ENOMEDIUM; }
static int gone_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt) { return -ENOMEDIUM; }
static int gone_flush(struct block_node *n) { return -ENOMEDIUM; }
static int gone_discard(struct block_node *n, uint64_t offset, uint64_t length) { return -ENOMEDIUM; }
static int gone_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap) { return -ENOMEDIUM; }
static int64_t gone_allocated(struct block_node *n) { return 0; }
static void gone_close(struct block_node *n) {}

static const struct block_format gone = {
    .name = "gone", .close = gone_close, .close_flushes = true, .preadv = gone_preadv, .pwritev = gone_pwritev, .flush = gone_flush,
    .discard = gone_discard, .write_zeroes = gone_write_zeroes, .allocated = gone_allocated,
};

void block_node_forsake(struct block_node *n)
{
    n->format = &gone;
    n->below = NULL;
    n->probed_raw = false;
}

void block_abandon(struct block_node *n)
{
    if (n->queue) block_queue_close(n->queue);
    n->queue = NULL;
    block_throttle_end(n);
    block_node_image_close(n);
    block_node_forsake(n);
}

bool block_is_abandoned(const struct block_node *n) { return n->format == &gone; }
