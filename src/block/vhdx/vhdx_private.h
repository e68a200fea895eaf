/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHDX inside. Structures and field names follow Microsoft's "VHDX Format Specification" [MS-VHDX], version 1.0. */
#ifndef BLOCK_VHDX_PRIVATE_H
#define BLOCK_VHDX_PRIVATE_H

#include "base/bits.h"
#include "block/sparse.h"

enum { VHDX_HEADER_BYTES = 4096, VHDX_TABLE_BYTES = 65536, VHDX_HEADER1_AT = 65536, VHDX_HEADER2_AT = 131072,
       VHDX_REGION1_AT = 196608, VHDX_REGION2_AT = 262144, VHDX_MIB = 1 << 20, VHDX_LOG_SECTOR = 4096 };
#define VHDX_SIZE_MAX (64ull << 40)
#define VHDX_LOG_MAX (64u << 20)

struct vhdx_guid { uint8_t b[16]; };

struct vhdx_header {
    char signature[4];
    le32 checksum;
    le64 sequence;
    struct vhdx_guid file_write, data_write, log;
    le16 log_version, version;
    le32 log_length;
    le64 log_offset;
} __attribute__((packed));

struct vhdx_region_header { char signature[4]; le32 checksum, count, reserved; } __attribute__((packed));
struct vhdx_region { struct vhdx_guid id; le64 offset; le32 length, required; } __attribute__((packed));
struct vhdx_metadata_header { char signature[8]; le16 reserved, count; uint8_t rest[20]; } __attribute__((packed));
struct vhdx_metadata { struct vhdx_guid id; le32 offset, length, flags, reserved; } __attribute__((packed));

extern const struct vhdx_guid vhdx_region_bat, vhdx_region_metadata, vhdx_item_parameters, vhdx_item_size, vhdx_item_id,
    vhdx_item_logical, vhdx_item_physical;

enum { VHDX_FIXED = 1, VHDX_HAS_PARENT = 2 };           /* file parameters */
enum { VHDX_IS_USER = 1, VHDX_IS_DISK = 2, VHDX_IS_REQUIRED = 4 };
enum { VHDX_NOT_PRESENT, VHDX_UNDEFINED, VHDX_ZERO, VHDX_UNMAPPED, VHDX_PRESENT = 6, VHDX_PARTIAL };

struct vhdx {
    struct sparse s;                    /* first: SPARSE_NODE_OPS */
    struct sparse_table table;
    struct vhdx_header header;          /* the current one */
    unsigned current;                   /* 0 or 1: which of the two in the file */
    uint64_t log_offset, bat_offset, metadata_offset;
    uint32_t log_length, bat_length, metadata_length, chunk_ratio;
    uint64_t end;                       /* where the next block goes */
    bool end_known;                     /* not only from the file's size */
    /* The log of this opening: its identifier stands in the header from the first entry on. */
    bool logging, touched;
    pthread_mutex_t touch_lock;
    uint64_t log_sequence;
    uint32_t log_at;
};

/* header.c */
uint32_t vhdx_crc32c(const void *data, size_t length, size_t checksum_at);
int vhdx_guid_make(struct vhdx_guid *g);
int vhdx_headers_read(struct block_node *n, struct vhdx *v, struct error *err);
/* Writes v->header with the next sequence numbers over both copies, one after the other. 0 or -errno. */
int vhdx_header_update(struct vhdx *v, struct block_protocol *file);
int vhdx_regions_read(struct block_node *n, struct vhdx *v, struct error *err);
int vhdx_metadata_read(struct block_node *n, struct vhdx *v, uint32_t *block, struct error *err);

/* log.c */
/* Brings the file to the state that its log says. 0, or -1 with *err. */
int vhdx_log_replay(struct block_node *n, struct vhdx *v, struct error *err);
/* The table's changed pages, through the log. 0 or -errno. */
int vhdx_log_table(struct vhdx *v);

/* create.c */
extern const struct block_option vhdx_create_options[];
int vhdx_create_check(const struct block_create_options *o, struct error *err);
int vhdx_create(struct block_protocol *file, const struct block_create_options *o, struct error *err);

#endif
