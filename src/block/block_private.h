/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the block room: a node is a format over a protocol. Both are tables of synchronous functions that
 * worker threads call; they return 0 or -errno and may be called by several threads at once. Offsets and
 * lengths in bytes.
 */
#ifndef BLOCK_BLOCK_PRIVATE_H
#define BLOCK_BLOCK_PRIVATE_H

#include "base/error.h"
#include "block/block.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

struct block_protocol;
struct block_uring;
struct block_queue;

/* Where the bytes of an image lie. Reads past the end give zeroes, writes past the end grow it. */
struct block_protocol_ops {
    const char *name;
    int (*preadv)(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt);
    int (*pwritev)(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt);
    int (*flush)(struct block_protocol *p);
    int (*discard)(struct block_protocol *p, uint64_t offset, uint64_t length);
    /* -ENOTSUP when there is no way quicker than writing zeroes. */
    int (*write_zeroes)(struct block_protocol *p, uint64_t offset, uint64_t length, bool may_unmap);
    int64_t (*size)(struct block_protocol *p);
    /* Optional. At most length bytes, inside the size. */
    int (*extent)(struct block_protocol *p, uint64_t offset, uint64_t length, struct block_extent *extent);
    void (*close)(struct block_protocol *p);
};

struct block_protocol {
    const struct block_protocol_ops *ops;
    char *filename;
    bool readonly;
    bool flush_ignored;             /* cache=unsafe */
    dev_t dev;                      /* identity, to find a file twice in one chain */
    ino_t ino;
    int fd;                         /* -1 when io_uring cannot be used on it */
    int flush_error;                /* of the first flush that failed; atomic */
};

struct block_format {
    const char *name;
    /* Whether these first bytes of a file (at least 512, zero padded) are this format. */
    bool (*probe)(const uint8_t *head, size_t length);
    /* Sets n->size and n->state. n->file is open. */
    int (*open)(struct block_node *n, struct error *err);
    void (*close)(struct block_node *n);
    int (*preadv)(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
    int (*pwritev)(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
    int (*flush)(struct block_node *n);
    int (*discard)(struct block_node *n, uint64_t offset, uint64_t length);
    int (*write_zeroes)(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap);
    /* Optional. At most length bytes. */
    int (*extent)(struct block_node *n, uint64_t offset, uint64_t length, struct block_extent *extent);
};

struct block_node {
    const struct block_format *format;
    struct block_protocol *file;
    struct block_node *backing;     /* NULL: none; owned */
    struct block_node *overlay_of;  /* who opened this node as its backing file */
    void *state;                    /* the format's */
    uint64_t size;
    char *filename;
    bool readonly;
    bool probed_raw;                /* sector 0 guard */
    bool discard;
    bool unsafe, write_through, direct;
    bool no_lock, force_share;
    struct block_queue *queue;
    struct block_stats stats;       /* atomics */
};

extern const struct block_format block_format_raw, block_format_qcow2;
#define BLOCK_CHAIN_MAX 128         /* nodes in a backing chain */

/* format.c. NULL when nothing but raw fits / the name is unknown. */
const struct block_format *block_format_probe(const uint8_t *head, size_t length);
const struct block_format *block_format_find(const char *name);
/* What a file looks like to a person ("qcow2", "VMDK", "raw", ...). */
const char *block_format_looks_like(const uint8_t *head, size_t length);

struct block_file_options {
    bool readonly, direct, no_lock, force_share, unsafe;
};
/* file.c: a file or block device, locked. */
struct block_protocol *block_file_open(const char *filename, const struct block_file_options *o, struct error *err);
/* An unlinked temporary file in $TMPDIR or /var/tmp. */
struct block_protocol *block_file_temporary(struct error *err);

/* lock.c: QEMU's byte locks on fd. */
int block_lock_take(int fd, const char *filename, bool readonly, bool force_share, struct error *err);

/* node.c: a node over a protocol that is open already; the protocol is the node's even when this fails. */
struct block_node *block_node_open_over(struct block_protocol *file, const struct block_open_options *o,
                                        struct block_node *overlay_of, struct error *err);
struct block_node *block_node_open(const struct block_open_options *o, struct block_node *overlay_of,
                                   struct error *err);
/* Checked, counted, with the cache mode's flushes: what workers and the synchronous calls run. */
int block_node_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
int block_node_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
int block_node_flush(struct block_node *n);
int block_node_discard(struct block_node *n, uint64_t offset, uint64_t length);
int block_node_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap);
int block_node_check_range(const struct block_node *n, uint64_t offset, uint64_t length);

enum block_count { BLOCK_COUNT_READ, BLOCK_COUNT_WRITE, BLOCK_COUNT_FLUSH };
void block_node_count(struct block_node *n, enum block_count what, uint64_t bytes);

/* protocol helpers (node.c) */
int block_protocol_pread(struct block_protocol *p, uint64_t offset, void *data, size_t length);
int block_protocol_pwrite(struct block_protocol *p, uint64_t offset, const void *data, size_t length);
/* The kernel tells only once that it lost data, so a flush that failed makes all later ones fail. */
int block_protocol_flush(struct block_protocol *p);
void block_protocol_flush_failed(struct block_protocol *p, int error);
int block_protocol_write_zeroes(struct block_protocol *p, uint64_t offset, uint64_t length, bool may_unmap);

/* request.c */
struct block_queue *block_queue_new(struct block_node *n);
void block_queue_close(struct block_queue *q);

/* iov.c */
size_t block_iov_length(const struct iovec *iov, int iovcnt);
/* The bytes [skip, skip + length) of src as an iovec array in dst, which has room for iovcnt entries. Entries used. */
int block_iov_slice(struct iovec *dst, const struct iovec *src, int iovcnt, size_t skip, size_t length);
void block_iov_from(const struct iovec *iov, int iovcnt, size_t skip, const void *data, size_t length);
void block_iov_to(const struct iovec *iov, int iovcnt, size_t skip, void *data, size_t length);
void block_iov_zero(const struct iovec *iov, int iovcnt, size_t skip, size_t length);

#endif
