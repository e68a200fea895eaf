/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asynchronous reads, writes and flushes of one descriptor through io_uring, driven by one thread. */
#ifndef BLOCK_URING_H
#define BLOCK_URING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct block_uring;

enum block_uring_kind { BLOCK_URING_READ, BLOCK_URING_WRITE, BLOCK_URING_FLUSH };

/* Belongs to the caller until complete has been called with it. */
struct block_uring_op {
    enum block_uring_kind kind;
    uint64_t offset;
    const struct iovec *iov;
    int iovcnt;
    bool stable;                    /* a write that returns when its data are on stable storage */
    struct block_uring_op *next;
};
/* result: bytes moved, or -errno. Called in the ring's thread. */
typedef void block_uring_fn(struct block_uring_op *op, int result);

/* NULL where the kernel has no io_uring or forbids it. */
struct block_uring *block_uring_new(int fd, block_uring_fn *complete);
/* From any thread. */
void block_uring_submit(struct block_uring *u, struct block_uring_op *op);
/* Reads in this thread what is in the page cache. False: not all of it was, or it is not worth a look now; iov's memory may have changed. One thread at a time. */
bool block_uring_read_now(struct block_uring *u, uint64_t offset, const struct iovec *iov, int iovcnt, uint64_t length);
/* No operation may be in flight. */
void block_uring_free(struct block_uring *u);

#endif
