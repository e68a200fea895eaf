/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What VDI, VHD, VHDX and VMDK have in common: the disk is cut into blocks of one size, a table says where in the file
 * each lies, and blocks get a place when they are first written to. The formats say how the table is read and changed.
 */
#ifndef BLOCK_SPARSE_H
#define BLOCK_SPARSE_H

#include "block/block_private.h"

#define SPARSE_HOLE UINT64_MAX          /* nothing was written there: zeroes, or what the backing file has */
#define SPARSE_ZERO (UINT64_MAX - 1)    /* zeroes */

struct sparse;
/* Called with the lock held. 0 or -errno. */
struct sparse_ops {
    /* Where the block's data lie in the file, checked; or SPARSE_HOLE, SPARSE_ZERO. */
    int (*find)(struct sparse *s, uint64_t block, uint64_t *offset);
    /* Optional: how many blocks from this one on, which has no place, are like it. A file of a few bytes may stand for a disk of
     * exabytes: what has no table goes by in one step. */
    uint64_t (*run)(struct sparse *s, uint64_t block);
    /* Optional: the data of a block that has a place are about to change. */
    int (*change)(struct sparse *s, uint64_t block, uint64_t offset);
    /* A place for a block, not yet in the table, and not taken when the next call comes before commit. */
    int (*allocate)(struct sparse *s, uint64_t block, uint64_t *offset);
    /* The data are written: enters the place into the table. */
    int (*commit)(struct sparse *s, uint64_t block, uint64_t offset);
    /* Writes what has changed in tables and headers; the data are on stable storage. */
    int (*sync)(struct sparse *s);
    /* Optional: blocks that are not stored as they are (compressed): whole ones. Then allocate and commit are not used. */
    int (*unpack)(struct sparse *s, uint64_t offset, uint8_t *data);
    int (*pack)(struct sparse *s, uint64_t block, const uint8_t *data);
};

struct sparse {
    const struct sparse_ops *ops;
    struct block_protocol *file;
    struct block_node *backing;         /* NULL: holes are zeroes */
    uint64_t backing_offset;            /* where in it this disk begins */
    uint64_t size;
    uint32_t block_bytes;
    bool has_no_backing;                /* the format knows none: what has no place is zeroes by this image's own word */
    pthread_mutex_t lock;
    bool dirty;                         /* set by commit and pack */
    bool cut_short;                     /* the table leads past the end that the file had: see sparse_grow_check */
    bool cut_short_said;
    uint8_t *scratch;                   /* one block, for packed ones; under the lock */
    uint64_t scratch_offset;            /* where the packed block lies that it holds; 0: none */
};

void sparse_init(struct sparse *s, const struct sparse_ops *ops, struct block_protocol *file, uint64_t size,
                 uint32_t block_bytes);
void sparse_free(struct sparse *s);
int sparse_preadv(struct sparse *s, uint64_t offset, const struct iovec *iov, int iovcnt);
int sparse_pwritev(struct sparse *s, uint64_t offset, const struct iovec *iov, int iovcnt);
int sparse_write_zeroes(struct sparse *s, uint64_t offset, uint64_t length, bool may_unmap);
int sparse_discard(struct sparse *s, uint64_t offset, uint64_t length);
int sparse_flush(struct sparse *s);
int sparse_map(struct sparse *s, uint64_t offset, uint64_t length, struct block_map *map);
int sparse_extent(struct sparse *s, uint64_t offset, uint64_t length, struct block_extent *extent);

/*
 * Before a block gets a place at the file's end, with the lock held. Where the table leads to places behind it (the file was cut short),
 * those would be given twice: nothing is added then. 0 or -EIO, with a message the first time.
 */
int sparse_grow_check(struct sparse *s);

/* For ops->run: how many of count 64-bit entries in the file, from offset on, are like the first. Looks at some of them only. */
uint64_t sparse_entries_alike(struct block_protocol *file, uint64_t offset, uint64_t count);

/* For formats that are nothing but one of these: n->state begins with a struct sparse. */
int sparse_node_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
int sparse_node_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
int sparse_node_flush(struct block_node *n);
int sparse_node_discard(struct block_node *n, uint64_t offset, uint64_t length);
int sparse_node_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap);
int sparse_node_extent(struct block_node *n, uint64_t offset, uint64_t length, struct block_extent *extent);
int sparse_node_map(struct block_node *n, uint64_t offset, uint64_t length, struct block_map *map);
#define SPARSE_NODE_OPS \
    .preadv = sparse_node_preadv, .pwritev = sparse_node_pwritev, .flush = sparse_node_flush, \
    .discard = sparse_node_discard, .write_zeroes = sparse_node_write_zeroes, .extent = sparse_node_extent, \
    .map = sparse_node_map

/* A table in the file, read by pages when needed, so that its size costs nothing; changed pages stay until sync. */
enum { SPARSE_PAGE_BYTES = 4096 };
#define SPARSE_TABLE_MAX_BYTES (256u << 20)         /* what most formats allow */
struct sparse_table {
    struct block_protocol *file;
    uint64_t offset, bytes;
    uint8_t **page;
    bool *changed;
    uint64_t pages, loaded;
};
int sparse_table_init(struct sparse_table *t, struct block_protocol *file, uint64_t offset, uint64_t bytes);
/* The bytes from at on, which do not cross a page; they are good until the next call. NULL with *r -errno. */
void *sparse_table_at(struct sparse_table *t, uint64_t at, int *r);
/* They were changed. */
void sparse_table_changed(struct sparse_table *t, uint64_t at);
int sparse_table_sync(struct sparse_table *t);
void sparse_table_free(struct sparse_table *t);

#endif
