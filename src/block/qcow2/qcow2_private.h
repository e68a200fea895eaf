/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside qcow2. One lock (q->lock) guards all metadata; functions that end in _locked are called with it
 * held. Data are read and written without it; range.c keeps requests apart that touch the same clusters.
 *
 * The order in which things reach the disk, which makes a crash at any point harmless (see flush.c):
 *   refcounts up, data  ->  reftable  ->  L2 tables  ->  L1 table  ->  refcounts down
 */
#ifndef BLOCK_QCOW2_PRIVATE_H
#define BLOCK_QCOW2_PRIVATE_H

#include "base/bits.h"
#include "block/qcow2/qcow2.h"

#define QCOW2_MAGIC 0x514649fbu
#define QCOW2_INCOMPAT_DIRTY BIT(0)
#define QCOW2_INCOMPAT_CORRUPT BIT(1)
#define QCOW2_INCOMPAT_DATA_FILE BIT(2)
#define QCOW2_INCOMPAT_COMPRESSION BIT(3)
#define QCOW2_INCOMPAT_EXTENDED_L2 BIT(4)
#define QCOW2_COMPAT_LAZY_REFCOUNTS BIT(0)
#define QCOW2_AUTOCLEAR_BITMAPS BIT(0)
#define QCOW2_AUTOCLEAR_DATA_RAW BIT(1)

#define QCOW2_COPIED BIT(63)
#define QCOW2_COMPRESSED BIT(62)
#define QCOW2_ZERO BIT(0)
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull
#define QCOW2_HOST_MAX BIT(56)

#define QCOW2_MAX_L1_BYTES (32u << 20)
#define QCOW2_MAX_REFTABLE_BYTES (8u << 20)
#define QCOW2_MAX_SNAPSHOTS 65536
#define QCOW2_MAX_SNAPSHOT_BYTES (64u << 20)

/* Header extensions. */
#define QCOW2_EXT_END 0u
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_FEATURE_NAMES 0x6803f857u
#define QCOW2_EXT_DATA_FILE 0x44415441u
#define QCOW2_EXT_BITMAPS 0x23852875u
#define QCOW2_EXT_CRYPT 0x0537be77u

struct qcow2_header {
    be32 magic, version;
    be64 backing_offset;
    be32 backing_length, cluster_bits;
    be64 size;
    be32 crypt_method, l1_entries;
    be64 l1_offset, reftable_offset;
    be32 reftable_clusters, snapshots;
    be64 snapshots_offset;
    /* version 3 */
    be64 incompatible, compatible, autoclear;
    be32 refcount_order, header_length;
    uint8_t compression, padding[7];
} __attribute__((packed));

enum qcow2_crypt_method { QCOW2_CRYPT_NONE, QCOW2_CRYPT_AES, QCOW2_CRYPT_LUKS };
enum qcow2_compression { QCOW2_ZLIB, QCOW2_ZSTD };

struct qcow2_slice {
    uint64_t offset;                /* in the file; 0: not in use */
    uint8_t *data;
    bool dirty;
    struct qcow2_slice *hash_next, *newer, *older;
};

/* Pieces of L2 tables or refcount blocks. */
struct qcow2_cache {
    uint32_t slice_bytes, count, buckets, dirty;
    struct qcow2_slice *slices, **bucket;
    struct qcow2_slice *newest, *oldest;
};

struct qcow2_extent {
    uint64_t offset, length;
};

struct qcow2_extents {
    struct qcow2_extent *item;
    size_t count, room;
};

/* Clusters that hold metadata: a set of cluster numbers (open addressing, 0 means empty) and a few long ranges. */
struct qcow2_meta {
    uint64_t *slot;
    size_t slots, used;
    struct qcow2_extents ranges;
};

struct qcow2_snapshot {
    uint64_t l1_offset, at;         /* at: where its entry lies in the file */
    uint64_t disk_bytes;            /* 0: not recorded, that of the image */
    uint32_t l1_entries, length;    /* length: of the entry, padding included */
};

/* The header extension. */
struct qcow2_bitmaps_extension {
    be32 count, reserved;
    be64 directory_bytes, directory_offset;
} __attribute__((packed));

struct qcow2_crypt_extension {
    be64 offset, bytes;
} __attribute__((packed));

struct qcow2_bitmap;

struct qcow2_range {
    uint64_t start, end;            /* cluster numbers, end excluded */
    bool exclusive;
    struct qcow2_range *next;
};

struct qcow2_packers {
    pthread_mutex_t lock;
    struct qcow2_packer *free;
};

struct qcow2 {
    struct block_node *node;
    struct block_protocol *file;
    struct block_protocol *data;    /* file, or the external data file */
    bool data_external, data_raw;

    unsigned version, cluster_bits, refcount_order, header_length, sub_bits, entry_bytes, l2_bits;
    uint64_t cluster_size;
    bool extended;
    enum qcow2_compression compression;
    uint64_t incompatible, compatible, autoclear;
    uint64_t backing_offset;
    uint32_t backing_length;
    uint32_t crypt_method;
    uint64_t crypt_offset, crypt_bytes;     /* of the LUKS header; see crypt.c */
    struct luks *luks;              /* NULL: none */
    struct crypt_cipher *aes;       /* NULL: none */
    struct crypt_cipher *temporary; /* of an image that goes when it is closed, with a key of its own; NULL: none */
    const struct crypt_cipher *cipher;      /* one of these; NULL: not encrypted, or locked */
    char backing[1024], backing_format[32], data_filename[1024];

    pthread_mutex_t lock;
    uint64_t *l1;                   /* host byte order */
    uint64_t l1_offset;
    uint32_t l1_entries, l1_dirty_from, l1_dirty_to;
    bool l1_shared;                 /* several entries lead to one L2 table */
    uint64_t *reftable;
    uint64_t reftable_offset;
    uint32_t reftable_clusters, reftable_entries, reftable_dirty_from, reftable_dirty_to;
    uint64_t snapshots_offset, snapshots_bytes;
    uint32_t snapshots;
    struct qcow2_snapshot *snapshot;
    bool snapshots_bad;             /* their table is not valid; the image was opened to be read */

    struct qcow2_bitmaps_extension bitmaps_raw;
    struct qcow2_bitmap *bitmap;    /* NULL: not read yet */
    uint32_t bitmaps;
    bool bitmaps_recording;         /* atomic: writes have to be marked */
    bool bitmaps_marked, recorders_marked;      /* some, and all that record, are in use on the disk */
    struct qcow2_extents bitmap_frees;          /* clusters that tables in memory do not lead to any more */

    struct qcow2_cache l2, refcounts, bits;
    struct qcow2_meta meta;
    struct qcow2_extents frees;     /* references dropped, not yet safe to take back */
    uint64_t packed_at;             /* where the next compressed cluster may go; 0: to a new cluster */
    uint64_t free_hint;             /* no free cluster below this number, apart from waste */
    bool barrier_needed;            /* something was written that L2 tables will rely on */
    uint64_t barrier_wants;         /* how often */
    bool lazy, dirty_marked, corrupt, begun;
    bool hollow_known, hollow;      /* see qcow2_is_hollow */

    pthread_mutex_t range_lock;
    pthread_cond_t range_changed;
    struct qcow2_range *ranges;

    struct qcow2_packers packers;   /* see packer.h */
    pthread_mutex_t unpack_lock;
    uint8_t *unpacked;              /* the last decompressed cluster */
    uint64_t unpacked_entry;        /* its L2 entry; 0: none */
};

/* header.c, header_write.c */
int qcow2_header_read(struct qcow2 *q, struct error *err);
int qcow2_header_features_write(struct qcow2 *q);
/* 0 or -errno. */
int qcow2_header_reftable_write(struct qcow2 *q, uint64_t offset, uint32_t clusters);
/* Disk size and L1 table in one write, between barriers. 0 or -errno. */
/* After the header was switched over to other tables, with result r. When that failed, either header may be on the disk: what both name
 * must stay as it is, so the image is closed to writes. Returns r. */
int qcow2_switch_end_locked(struct qcow2 *q, int r);
int qcow2_header_disk_write(struct qcow2 *q, uint64_t size, uint64_t l1_offset, uint32_t l1_entries);
/*
 * The header with its extensions from what *q says (version, features, backing file, bitmaps); unknown extensions stay.
 * A power cut leaves the old one or the new one. -ENOSPC: it does not fit into a cluster.
 */
int qcow2_header_rewrite(struct qcow2 *q);
/* Says it once, marks a writable image corrupt and stops writes. Returns -EIO. */
int qcow2_corrupt(struct qcow2 *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* tables.c: L1, reftable and snapshot table at open; the metadata map */
int qcow2_tables_read(struct qcow2 *q, struct error *err);
/* An array of big-endian words; *words is malloc'ed, also when it fails (NULL: out of memory). */
int qcow2_words_read(struct qcow2 *q, uint64_t offset, uint32_t count, uint64_t **words);
/* Makes the map of metadata anew. */
int qcow2_map_build(struct qcow2 *q, struct error *err);
void qcow2_meta_range_remove(struct qcow2 *q, uint64_t offset);
int qcow2_meta_add(struct qcow2 *q, uint64_t cluster);
void qcow2_meta_remove(struct qcow2 *q, uint64_t cluster);
/* An L1 entry does not lead to this L2 table any more. */
void qcow2_l2_unprotect(struct qcow2 *q, uint64_t table);
bool qcow2_meta_overlaps(const struct qcow2 *q, uint64_t offset, uint64_t length);
int qcow2_extents_add(struct qcow2_extents *e, uint64_t offset, uint64_t length);

/* cache.c. The pointer is valid until the next get on this cache. */
int qcow2_cache_init(struct qcow2_cache *c, uint32_t slice_bytes, uint64_t bytes);
void qcow2_cache_destroy(struct qcow2_cache *c);
/* NULL: not there. */
struct qcow2_slice *qcow2_cache_find(struct qcow2_cache *c, uint64_t offset);
int qcow2_cache_get_locked(struct qcow2 *q, struct qcow2_cache *c, uint64_t offset, struct qcow2_slice **slice);
void qcow2_cache_dirty(struct qcow2_cache *c, struct qcow2_slice *s);
int qcow2_cache_write_locked(struct qcow2 *q, struct qcow2_cache *c);
void qcow2_cache_forget(struct qcow2_cache *c, uint64_t offset, uint64_t length);

/* refcount.c. Cluster numbers; 0 or -errno. */
int qcow2_refcount_get_locked(struct qcow2 *q, uint64_t cluster, uint64_t *value);
int qcow2_refcount_set_locked(struct qcow2 *q, uint64_t cluster, uint64_t value);
/* The index-th count of a block in memory. */
void qcow2_refcount_put(uint8_t *block, uint64_t index, unsigned order, uint64_t value);
/* 1 to max contiguous clusters, refcount 1; *count says how many. */
int qcow2_allocate_locked(struct qcow2 *q, uint64_t max, uint64_t *offset, uint64_t *count);
/* Exactly so many, contiguous. */
int qcow2_allocate_run_locked(struct qcow2 *q, uint64_t clusters, uint64_t *offset);
/* One reference less, now: whatever held it is safely gone from the disk. */
void qcow2_cluster_release_locked(struct qcow2 *q, uint64_t cluster);
/* Takes back clusters that nothing on disk refers to. */
void qcow2_allocation_undo_locked(struct qcow2 *q, uint64_t offset, uint64_t count);
/* Drops one reference to each cluster that the bytes touch, once the tables that held it are safe. */
int qcow2_free_later_locked(struct qcow2 *q, uint64_t offset, uint64_t length);
/* Takes back what e holds; empties e. */
void qcow2_frees_apply_locked(struct qcow2 *q, struct qcow2_extents *e);

/* qcow2.c: before every write; does what the image needs before its first one. 0 or -errno. */
int qcow2_write_begin(struct qcow2 *q);
int qcow2_refcount_cache_init(struct qcow2 *q);

/* flush.c */
int qcow2_barrier_locked(struct qcow2 *q);
int qcow2_tables_write_locked(struct qcow2 *q);
int qcow2_refcounts_write_locked(struct qcow2 *q);
int qcow2_flush(struct qcow2 *q);
int qcow2_close_flush(struct qcow2 *q);
int qcow2_dirty_mark_locked(struct qcow2 *q);
/* Entries [*from, *to) of a table of big-endian words; then there are none. */
int qcow2_words_write(struct qcow2 *q, uint64_t offset, const uint64_t *table, uint32_t *from, uint32_t *to);

void qcow2_reftable_set_locked(struct qcow2 *q, uint32_t block, uint64_t offset);
void qcow2_l1_set_locked(struct qcow2 *q, uint32_t index, uint64_t value);

/* cluster.c: guest offset -> what is there */
enum qcow2_kind { QCOW2_UNALLOCATED, QCOW2_ZEROES, QCOW2_DATA, QCOW2_PACKED, QCOW2_INVALID };
struct qcow2_entry {
    uint64_t word, bitmap;
};
int qcow2_entry_get_locked(struct qcow2 *q, uint64_t offset, struct qcow2_entry *e);
/* The same if nothing has to be read for it, and the L1 entry is fine. */
bool qcow2_entry_cached_locked(struct qcow2 *q, uint64_t offset, struct qcow2_entry *e);
/* How many entries from offset on are the same as e, as far as one piece of the table goes. */
uint64_t qcow2_entry_repeats_locked(struct qcow2 *q, uint64_t offset, struct qcow2_entry e);
int qcow2_entry_set_locked(struct qcow2 *q, uint64_t offset, struct qcow2_entry e);
/* Makes the L2 table for offset one that only the active image uses. */
int qcow2_l2_own_locked(struct qcow2 *q, uint64_t offset);
/* sub: subcluster number (0 without extended L2 entries). */
enum qcow2_kind qcow2_entry_kind(const struct qcow2 *q, struct qcow2_entry e, unsigned sub);
uint64_t qcow2_entry_host(const struct qcow2 *q, struct qcow2_entry e);
bool qcow2_entry_is_malformed(const struct qcow2 *q, struct qcow2_entry e);
bool qcow2_entry_is_owned(const struct qcow2 *q, struct qcow2_entry e);
int qcow2_entry_free_locked(struct qcow2 *q, struct qcow2_entry e);
/* File bytes of a compressed cluster. */
struct qcow2_extent qcow2_packed_extent(const struct qcow2 *q, uint64_t word);

/* compressed.c */
int qcow2_packed_read(struct qcow2 *q, uint64_t word, uint32_t from, const struct iovec *iov, int iovcnt, size_t skip,
                      size_t length);

/* crypt.c: data in the file, guest: where on the disk. */
int qcow2_data_preadv(struct qcow2 *q, uint64_t host, uint64_t guest, const struct iovec *iov, int iovcnt);
int qcow2_data_pwritev(struct qcow2 *q, uint64_t host, uint64_t guest, const struct iovec *iov, int iovcnt);

/* range.c */
void qcow2_range_lock(struct qcow2 *q, struct qcow2_range *r, uint64_t offset, uint64_t length, bool exclusive);
/* To share the clusters, if nothing is in the way. */
bool qcow2_range_try(struct qcow2 *q, struct qcow2_range *r, uint64_t offset, uint64_t length);
void qcow2_range_unlock(struct qcow2 *q, struct qcow2_range *r);

/* place.c: see block_format */
bool qcow2_place(struct block_node *n, uint64_t offset, uint64_t length, bool write, struct block_place *p);
void qcow2_place_end(struct block_node *n, struct block_place *p);

/* read.c, write.c, zero.c */
int qcow2_read_unlocked(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iovcnt, size_t skip,
                        size_t length);
int qcow2_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
int qcow2_extent(struct block_node *n, uint64_t offset, uint64_t length, struct block_extent *extent);
int qcow2_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
int qcow2_discard(struct block_node *n, uint64_t offset, uint64_t length);
int qcow2_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap);
/* The same for changes that nobody sees: they are not marked in dirty bitmaps. */
int qcow2_data_write(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iovcnt);
int qcow2_data_zero(struct qcow2 *q, uint64_t offset, uint64_t length, bool may_unmap);
int qcow2_data_discard(struct qcow2 *q, uint64_t offset, uint64_t length);

/* tables: what they say, whether the clusters' place in the file is a hole or not. */
int qcow2_map(struct block_node *n, uint64_t offset, uint64_t length, struct block_map *map);
int qcow2_tables_map(struct qcow2 *q, uint64_t offset, uint64_t length, struct block_map *map);
/* preallocate.c: whether preallocation left the data to holes of the file; found out once. */
bool qcow2_is_hollow(struct qcow2 *q);

/* bitmap_change.c */
int qcow2_bitmap_change(struct block_node *n, const struct block_bitmap_change *c, struct error *err);
int qcow2_bitmap_list(struct block_node *n, struct block_bitmap **list, unsigned *count, struct error *err);
int qcow2_bitmap_status(struct block_node *n, const char *name, uint64_t offset, uint64_t length,
                        struct block_bitmap_status *status, struct error *err);
/* Bytes that they take in an image with such clusters when every bit is stored. 0 or -errno. */
int qcow2_bitmaps_size(struct qcow2 *q, uint64_t cluster_size, uint64_t *bytes);

/* backing.c */
int qcow2_backing_change(struct block_node *n, const char *backing, const char *backing_format, struct error *err);

/* image.c: what the tools ask for */
extern const struct block_option qcow2_create_options_table[], qcow2_amend_options_table[];
int qcow2_create_check(const struct block_create_options *o, struct error *err);
int qcow2_image_create(struct block_protocol *file, const struct block_create_options *o, struct error *err);
int qcow2_info(struct block_node *n, struct block_info *info, struct error *err);
int qcow2_options_read(const struct block_create_options *o, struct qcow2_create_options *q, struct error *err);

/* resize.c, pack.c, measure.c, amend.c */
int qcow2_resize(struct block_node *n, uint64_t size, enum block_preallocation mode, struct error *err);
int qcow2_make_empty(struct block_node *n, struct error *err);
int qcow2_write_compressed(struct block_node *n, uint64_t offset, const void *data, size_t length);
int qcow2_packed_end_locked(struct qcow2 *q);
int qcow2_measure(const struct block_create_options *o, struct block_node *source, struct block_measure *m,
                  struct error *err);
int qcow2_amend(struct block_node *n, const struct block_option_set *changes, bool force, struct block_progress *p,
                struct error *err);

/* check.c. rebuild: counts all references anew, for images that were not closed. */
int qcow2_check(struct block_node *n, struct block_check *check, struct error *err);
int qcow2_refcounts_rebuild(struct qcow2 *q, struct error *err);

/* snapshot.c */
int qcow2_snapshots_read(struct qcow2 *q, struct error *err);
int qcow2_snapshot_list(struct block_node *n, struct block_snapshot **list, unsigned *count, struct error *err);
int qcow2_snapshot_create(struct block_node *n, const struct block_snapshot *s, struct error *err);
int qcow2_snapshot_apply(struct block_node *n, const char *id_or_name, struct error *err);
int qcow2_snapshot_delete(struct block_node *n, const char *id_or_name, struct error *err);
/* The node reads what the snapshot holds; it must be open for reading. */
int qcow2_snapshot_use(struct qcow2 *q, const char *id_or_name, struct error *err);

static inline void qcow2_barrier_want(struct qcow2 *q)
{
    q->barrier_needed = true;
    q->barrier_wants++;
}

static inline uint64_t qcow2_refcounts_per_block(const struct qcow2 *q)
{
    return q->cluster_size * 8 >> q->refcount_order;
}

static inline uint64_t qcow2_virtual_clusters(const struct qcow2 *q)
{
    return (q->node->size + q->cluster_size - 1) >> q->cluster_bits;
}

#endif
