/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMDK inside: a descriptor (text) that lists extents; each is a file, or part of one, flat or sparse. */
#ifndef BLOCK_VMDK_PRIVATE_H
#define BLOCK_VMDK_PRIVATE_H

#include "base/bits.h"
#include "block/sparse.h"

enum { VMDK_EXTENTS_MAX = 1024, VMDK_DESCRIPTOR_MAX = 64 << 10, VMDK_NAME_MAX = 512, VMDK_SECTOR = 512 };
#define VMDK_MAGIC "KDMV"
#define VMDK_GD_AT_END UINT64_MAX
enum { VMDK_FLAG_NEWLINE = 1, VMDK_FLAG_RGD = 2, VMDK_FLAG_ZERO_GRAIN = 4, VMDK_FLAG_COMPRESSED = 1 << 16,
       VMDK_FLAG_MARKERS = 1 << 17 };
enum { VMDK_COMPRESSION_DEFLATE = 1, VMDK_GTES = 512, VMDK_GRAIN_SECTORS = 128, VMDK_DESCRIPTOR_SECTORS = 20 };

struct vmdk_header {
    char magic[4];
    le32 version, flags;
    le64 capacity, grain, descriptor, descriptor_sectors;
    le32 gtes;
    le64 rgd, gd, overhead;
    uint8_t unclean, newline[4];
    le16 compression;
    uint8_t rest[433];
} __attribute__((packed));
_Static_assert(sizeof(struct vmdk_header) == VMDK_SECTOR, "VMDK header");

struct vmdk_marker {                        /* before a compressed grain */
    le64 sector;
    le32 length;
} __attribute__((packed));

enum vmdk_kind { VMDK_FLAT, VMDK_SPARSE, VMDK_ZERO };

/* What a line of the descriptor says. */
struct vmdk_line {
    enum vmdk_kind kind;
    bool readonly;
    uint64_t sectors, offset_sectors;
    char name[VMDK_NAME_MAX];
};

struct vmdk_descriptor {
    uint32_t cid, parent_cid;
    char type[32], parent[VMDK_NAME_MAX];   /* parent: as the image names it; empty: none */
    bool is_split;                          /* extents are files of their own */
    struct vmdk_line *line;
    unsigned lines;
};

struct vmdk_table {                         /* a grain table in memory */
    bool changed, uniform;                  /* uniform: all entries are the same */
    le32 entry[VMDK_GTES];
};

struct vmdk_extent {
    struct sparse s;
    enum vmdk_kind kind;
    struct block_protocol *file;
    bool owns_file;
    uint64_t start, length, flat_offset;    /* bytes; start in the disk */
    /* sparse ones: */
    bool compressed, zero_grains, directory_changed;
    struct vmdk_header *footer;             /* the true header, as long as it is at the end of the file; NULL: it is at the beginning */
    uint32_t gtes, directory_entries;
    uint64_t protected_bytes;               /* header and descriptor, where no grain may lie */
    uint64_t directory_offset, redundant_offset;    /* redundant 0: none */
    le32 *directory, *redundant;
    struct vmdk_table **table;
    unsigned tables_loaded;
    uint64_t next;                          /* where the next grain goes */
    bool end_known;                         /* next is behind all that the tables lead to */
};

struct vmdk {
    struct vmdk_descriptor d;
    struct vmdk_extent *extent;
    unsigned extents;
    /* The descriptor's place, for a new CID at the first write. */
    pthread_mutex_t cid_lock;
    bool cid_changed;
    uint64_t cid_offset;                    /* of eight digits in n->file; 0: cannot be replaced */
};

/* descriptor.c. text ends with a zero byte. 0, or -1 with *err (without the file's name). */
int vmdk_descriptor_parse(struct vmdk_descriptor *d, const char *text, struct error *err);
void vmdk_descriptor_free(struct vmdk_descriptor *d);
/* The eight digits of CID= in the text, or -1. */
long vmdk_descriptor_cid_find(const char *text);

/* extent.c: a sparse extent; e->file, start are set, length is checked against the header's capacity if it is not 0. */
int vmdk_extent_open(struct vmdk_extent *e, bool readonly, struct error *err);
void vmdk_extent_close(struct vmdk_extent *e);

/* create.c */
extern const struct block_option vmdk_create_options[];
int vmdk_create_check(const struct block_create_options *o, struct error *err);
int vmdk_create(struct block_protocol *file, const struct block_create_options *o, struct error *err);

#endif
