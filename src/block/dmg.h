/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Apple's disk images (UDIF) between their tables (dmg_table.c) and reading (dmg.c). */
#ifndef BLOCK_DMG_H
#define BLOCK_DMG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block_protocol;
struct error;

enum dmg_kind { DMG_ZEROES, DMG_RAW, DMG_ADC, DMG_ZLIB };
enum { DMG_TRAILER_BYTES = 512, DMG_CHUNK_MAX_BYTES = 16 << 20 };

/* A part of the disk that is stored in one piece. */
struct dmg_chunk {
    uint64_t sector, sectors;
    uint64_t offset;                /* in the file */
    uint32_t length;                /* there; raw ones: sectors tell */
    enum dmg_kind kind;
};
struct dmg_table {
    struct dmg_chunk *chunk;        /* sorted, without gaps, from sector 0 to the end */
    size_t count;
    uint64_t sectors;
    uint32_t largest_bytes, largest_packed_bytes;   /* of those that are packed */
};

bool dmg_is_trailer(const uint8_t trailer[DMG_TRAILER_BYTES]);
/* Everything is checked: places lie in the file, chunks do not overlap, kinds are known. 0, or -1 with *err. */
int dmg_table_read(struct dmg_table *t, struct block_protocol *file, struct error *err);
void dmg_table_free(struct dmg_table *t);

#endif
