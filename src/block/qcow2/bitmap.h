/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Persistent dirty bitmaps. _locked: with q->lock held. 0 or -errno; -EINVAL: what the image says of them is not valid. */
#ifndef BLOCK_QCOW2_BITMAP_H
#define BLOCK_QCOW2_BITMAP_H

#include "block/qcow2/qcow2_private.h"

#define QCOW2_BITMAP_IN_USE BIT(0)
#define QCOW2_BITMAP_AUTO BIT(1)
#define QCOW2_BITMAP_EXTRA_COMPATIBLE BIT(2)
#define QCOW2_BITMAP_FLAGS (QCOW2_BITMAP_IN_USE | QCOW2_BITMAP_AUTO | QCOW2_BITMAP_EXTRA_COMPATIBLE)
#define QCOW2_BITMAP_TYPE_DIRTY 1
#define QCOW2_BITMAP_ONES 1ull          /* a table entry without a cluster: every bit is set */

enum {
    QCOW2_BITMAP_NAME_MAX = 1023, QCOW2_BITMAP_GRANULARITY_MIN = 9, QCOW2_BITMAP_GRANULARITY_MAX = 31,
    QCOW2_BITMAPS_MAX = 65535, QCOW2_BITMAP_BYTES_MAX = 512 << 20, QCOW2_BITMAP_DIRECTORY_MAX = 16 << 20,
    QCOW2_BITMAP_TABLES_MAX = 32 << 20,     /* bytes of all tables in memory */
};

struct qcow2_bitmap {
    uint64_t at, table;             /* in the file: its directory entry (0: not there yet), its table */
    uint32_t entries, flags, extra_length;
    uint16_t name_length;
    uint8_t type, granularity_bits;
    /* Once it is in use here. */
    uint64_t *word;                 /* its table; NULL: not read */
    uint64_t bits;
    uint32_t changed_from, changed_to;      /* entries that the file does not have yet */
    bool marked, broken;            /* we have set its flag in_use; it could not be kept */
};

/* bitmap_directory.c */
typedef int qcow2_bitmap_fn(void *opaque, const struct qcow2_bitmap *b);
/* Calls fn for each entry, if the header says that they count, until it returns other than 0, and returns that. */
int qcow2_bitmaps_walk(struct qcow2 *q, qcow2_bitmap_fn *fn, void *opaque);
/* Reads the directory into q->bitmap, once. */
int qcow2_bitmaps_open_locked(struct qcow2 *q);
/* Puts the directory into the map of metadata. */
int qcow2_bitmaps_directory_protect(struct qcow2 *q);
void qcow2_bitmaps_free(struct qcow2 *q);
int qcow2_bitmap_name_read(struct qcow2 *q, const struct qcow2_bitmap *b, char name[QCOW2_BITMAP_NAME_MAX + 1]);
/* NULL with -ENOENT in *r, or another error. */
struct qcow2_bitmap *qcow2_bitmap_find_locked(struct qcow2 *q, const char *name, int *r);
/* Flags, written over those in the directory; atomic on the disk. The barrier is the caller's. */
int qcow2_bitmap_flags_write_locked(struct qcow2 *q, struct qcow2_bitmap *b, uint32_t flags);
/*
 * Makes these the image's bitmaps: a new directory, and a header that names it, between barriers. list takes the place of
 * q->bitmap, whose memory is freed; the new one (at 0) is called name.
 */
int qcow2_bitmaps_switch_locked(struct qcow2 *q, struct qcow2_bitmap *list, uint32_t count, const char *name);

/* bitmap.c */
uint64_t qcow2_bitmap_bits(uint64_t disk_bytes, unsigned granularity_bits);
uint64_t qcow2_bitmap_entries(const struct qcow2 *q, uint64_t bits);
/* Whether this program may read and change it: NULL, or why not. */
const char *qcow2_bitmap_problem(const struct qcow2 *q, const struct qcow2_bitmap *b);
/* Reads the table. */
int qcow2_bitmap_load_locked(struct qcow2 *q, struct qcow2_bitmap *b);
void qcow2_bitmap_unload_locked(struct qcow2 *q, struct qcow2_bitmap *b);
/* Its clusters are not protected as metadata any more. */
void qcow2_bitmap_unprotect(struct qcow2 *q, const struct qcow2_bitmap *b);
/* Puts the clusters of all that are loaded into a new map of metadata. -EINVAL: they overlap others. */
int qcow2_bitmaps_protect(struct qcow2 *q);
/* Loads it and marks it in use on the disk, with a barrier. */
int qcow2_bitmap_use_locked(struct qcow2 *q, struct qcow2_bitmap *b);
int qcow2_bitmap_set_locked(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t first, uint64_t last);
/* Within what one entry stands for. */
int qcow2_bitmap_range_clear_locked(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t first, uint64_t last);
void qcow2_bitmap_clear_locked(struct qcow2 *q, struct qcow2_bitmap *b);
void qcow2_bitmap_entry_set_locked(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t i, uint64_t word);
/* Bits from `bit` on that are alike, at most max, at least 1. */
int qcow2_bitmap_run_locked(struct qcow2 *q, const struct qcow2_bitmap *b, uint64_t bit, uint64_t max, bool *set,
                            uint64_t *length);
/* At the first write: which bitmaps record. Sets q->bitmaps_recording. */
int qcow2_bitmaps_begin_locked(struct qcow2 *q);
/* Before anything of the disk changes. */
int qcow2_bitmaps_mark(struct qcow2 *q, uint64_t offset, uint64_t length);
int qcow2_bitmaps_mark_locked(struct qcow2 *q, uint64_t offset, uint64_t length);
/* All that is in memory goes to the file, then the flags in_use go. */
int qcow2_bitmaps_store_locked(struct qcow2 *q);

/* bitmap_resize.c. Whether they can follow the disk: 0, or -1 with *err. */
int qcow2_bitmaps_resize_check_locked(struct qcow2 *q, uint64_t disk_bytes, struct error *err);
int qcow2_bitmaps_resize_check(struct qcow2 *q, uint64_t disk_bytes, struct error *err);
/* Tables for another disk size; they stay marked as in use until they are stored. */
int qcow2_bitmaps_resize_locked(struct qcow2 *q, uint64_t disk_bytes);
/* Those that are in use stay so on the disk: the change of the disk failed. */
void qcow2_bitmaps_give_up_locked(struct qcow2 *q);

#endif
