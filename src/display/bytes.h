/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Queues of bytes. */
#ifndef DISPLAY_BYTES_H
#define DISPLAY_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A queue of bytes. One that could not grow is broken: what is added is lost, and its client is to be dropped. */
struct bytes {
    uint8_t *data;
    size_t at, end, room;              /* data[at..end) is in it */
    size_t keep;                       /* up to so much room is kept when it is empty; at least 64 KiB */
    bool broken;
};
static inline size_t bytes_size(const struct bytes *b) { return b->end - b->at; }
/* Room for n bytes, counted as added; NULL: broken. */
uint8_t *bytes_grow(struct bytes *b, size_t n);
void bytes_add(struct bytes *b, const void *data, size_t n);
void bytes_add_u8(struct bytes *b, unsigned value);
void bytes_add_u16(struct bytes *b, unsigned value);           /* big-endian, as all of RFB */
void bytes_add_u32(struct bytes *b, uint32_t value);
void bytes_drop(struct bytes *b, size_t n);
void bytes_clear(struct bytes *b);
void bytes_trim(struct bytes *b);                              /* empty, it gives back what keep would hold */
void bytes_free(struct bytes *b);

#endif
