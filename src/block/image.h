/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images as wholes, for the tools: make, describe, check, resize, snapshots, bitmaps. Each call goes through the format's
 * row (struct block_format in block_private.h); a format without the function gets a message that names it. All calls are
 * synchronous, no request may be in flight on the node meanwhile. They return 0, or -1 with *err unless said otherwise.
 */
#ifndef BLOCK_IMAGE_H
#define BLOCK_IMAGE_H

#include "block/block.h"
#include "block/option.h"

#include <jansson.h>

/* done and total in any unit; total 0: not known yet. */
struct block_progress {
    void (*report)(struct block_progress *p, uint64_t done, uint64_t total);
};

/* Formats, by their place in the list. NULL behind the last. */
const char *block_format_nth(unsigned i);
/* Protocols, likewise. */
const char *block_protocol_nth(unsigned i);
/* Whether a format of this name is there; its creation options, NULL: it cannot be created. */
bool block_format_exists(const char *format);
const struct block_option *block_create_table(const char *format);
/* Options that only amend has; NULL: none. */
const struct block_option *block_amend_table(const char *format);
/* What was never written to a new image (of files) reads as zeroes. */
bool block_format_new_is_zero(const char *format);
bool block_format_can_rebase(const char *format);
bool block_format_has_backing(const char *format);
bool block_format_has_compression(const char *format);
bool block_format_has_bitmaps(const char *format);
bool block_format_has_check(const char *format);
bool block_format_has_repair(const char *format);
bool block_format_has_make_empty(const char *format);

struct block_create_options {
    const char *filename;
    const char *format;
    uint64_t size_bytes;
    const char *backing, *backing_format;       /* recorded as they are; NULL: none */
    /* -o, the keys of the table; size, backing_file and backing_fmt were moved to the fields above. */
    const struct block_option_set *options;
    const struct block_objects *objects;
    bool compress;                              /* all that is written will be compressed */
    bool force;                                 /* replace what is there */
};
/* Refuses what the format cannot do. Touches nothing. */
int block_create_check(const struct block_create_options *o, struct error *err);
/* Checks, then makes the image. Without force, nothing that holds data is replaced. What was not there before is removed
 * when it fails. */
int block_create(const struct block_create_options *o, struct error *err);
/* Whether create would replace something, and what, in words ("a qcow2 image", "data"). */
enum { BLOCK_LOOK_BYTES = 64 };
bool block_create_look(const char *filename, char what[BLOCK_LOOK_BYTES]);

struct block_measure {
    uint64_t required_bytes, fully_allocated_bytes, bitmaps_bytes;
    bool has_bitmaps;
};
/* The file size of an image of this format: with the data of source, or, where that is NULL, empty with size_bytes. */
int block_measure(const struct block_create_options *o, struct block_node *source, struct block_measure *m,
                  struct error *err);

/* Grows with zeroes, whatever the backing file holds there. Shrinking is the caller's decision. */
int block_resize(struct block_node *n, uint64_t size_bytes, enum block_preallocation preallocation, struct error *err);

/* Grows likewise, also where the format would show noise. */
int block_grow(struct block_node *n, uint64_t size_bytes, struct error *err);

/* Strings live as long as the node. */
struct block_info {
    uint32_t cluster_bytes;         /* 0: none */
    bool encrypted, compressed, dirty;
    const char *backing, *backing_format;       /* as recorded; NULL: none */
    /* What "format-specific"."data" of 'info --output=json' holds, NULL: nothing. The caller's reference. */
    json_t *data;
};
int block_info_get(struct block_node *n, struct block_info *info, struct error *err);
/* Bytes that its files take; -1: not known. */
int64_t block_allocated_bytes(struct block_node *n);
bool block_is_encrypted(const struct block_node *n);
/* NULL: none, or not opened. */
struct block_node *block_backing(const struct block_node *n);
/* A name that an image at path records, as a name for open: relative ones count from its directory. malloc'ed. */
char *block_path_join(const char *path, const char *name);
/* Whether both are the same file of the host. */
bool block_is_same_file(const struct block_node *a, const struct block_node *b);
/* Its bytes lie on a block device, which is not zero when it is new. */
bool block_is_device(const struct block_node *n);
/* Copies a range between two raw images without moving it through here. 0, or -errno; -ENOTSUP: read and write it. */
int block_copy_range(struct block_node *from, uint64_t from_offset, struct block_node *to, uint64_t offset,
                     uint64_t length_bytes);
/* 0: the format has none. */
uint32_t block_cluster_bytes(const struct block_node *n);

/* Where a range of the disk comes from. */
struct block_map {
    uint64_t length_bytes;
    unsigned depth;                 /* 0: this image, 1: its backing file, ... */
    bool present;                   /* some image of the chain decides; otherwise zeroes because nobody does */
    bool past_end;                  /* what decides is that the backing file ends before: zeroes of the image at depth - 1 */
    bool zero, data;                /* reads as zeroes; takes space in a file */
    bool compressed;
    bool has_offset;
    uint64_t offset;                /* of the data in the file, where they lie there as they are */
    const struct block_node *node;  /* whose image decides */
};
/* Any thread. layers: how many images of the chain to look at, 0: all. 0 or -errno. */
int block_map_get(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes, unsigned layers,
                  struct block_map *map);

/* One whole cluster (less at the end of the disk) in an image that does not have it yet. Data that do not shrink are
 * written as they are. Several threads may do so at once. 0 or -errno; -ENOTSUP: no compression. */
int block_write_compressed(struct block_node *n, uint64_t offset_bytes, const void *data, uint64_t length_bytes);

enum block_fix { BLOCK_FIX_LEAKS = 1, BLOCK_FIX_ERRORS = 2 };
struct block_check {
    unsigned fix;                   /* in: enum block_fix */
    void (*say)(struct block_check *c, const char *line);   /* in: a finding; may be NULL */
    void *opaque;
    uint64_t check_errors, corruptions, leaks, corruptions_fixed, leaks_fixed;
    uint64_t image_end_offset, total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
};
/* The node was opened with for_check. 0 when the check ran to its end, whatever it found. */
int block_check(struct block_node *n, struct block_check *c, struct error *err);

struct block_snapshot {
    char id[128], name[256];
    uint64_t vm_state_bytes, disk_bytes;
    int64_t date_s;
    uint32_t date_ns;
    uint64_t vm_clock_ns;
    bool has_icount;
    uint64_t icount;
};
/* *list is malloc'ed. */
int block_snapshot_list(struct block_node *n, struct block_snapshot **list, unsigned *count, struct error *err);
/* s: name and date; the format gives the id. */
int block_snapshot_create(struct block_node *n, const struct block_snapshot *s, struct error *err);
/* id_or_name: an id is looked for first, then a name. */
int block_snapshot_apply(struct block_node *n, const char *id_or_name, struct error *err);
int block_snapshot_delete(struct block_node *n, const char *id_or_name, struct error *err);

enum block_bitmap_action { BLOCK_BITMAP_ADD, BLOCK_BITMAP_REMOVE, BLOCK_BITMAP_CLEAR, BLOCK_BITMAP_ENABLE,
                           BLOCK_BITMAP_DISABLE, BLOCK_BITMAP_MERGE };
struct block_bitmap_change {
    enum block_bitmap_action action;
    const char *name;
    uint32_t granularity_bytes;     /* add; 0: the format's choice */
    bool disabled;                  /* add */
    struct block_node *source;      /* merge: from the bitmap source_name of this image; may be the node itself */
    const char *source_name;
};
int block_bitmap_change(struct block_node *n, const struct block_bitmap_change *c, struct error *err);
struct block_bitmap {
    char name[1024];
    uint32_t granularity_bytes;
    bool in_use, automatic;
};
int block_bitmap_list(struct block_node *n, struct block_bitmap **list, unsigned *count, struct error *err);
struct block_bitmap_status {
    uint64_t length_bytes;          /* so much is alike, at least 1 byte */
    bool dirty;
    bool records;                   /* the bitmap itself: it records writes */
};
/* What the bitmap says about the disk from an offset on. Any thread. */
int block_bitmap_status_get(struct block_node *n, const char *name, uint64_t offset_bytes, uint64_t length_bytes,
                            struct block_bitmap_status *status, struct error *err);

/* Changes options of an image; keys are those of the creation table whose row says amends. */
int block_amend(struct block_node *n, const struct block_option_set *changes, bool force, struct block_progress *p,
                struct error *err);
/* Lets go of all the image itself holds, so that its backing file shows through; for commit. */
int block_make_empty(struct block_node *n, struct error *err);
/* From now on zeroes are written so that they hide what any other backing file has there. */
void block_backing_will_change(struct block_node *n);
/* Records another backing file (NULL: none). Only the header changes. */
int block_backing_change(struct block_node *n, const char *backing, const char *backing_format, struct error *err);

#endif
