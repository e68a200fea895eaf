/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Queues of bytes. */
#include "display/bytes.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

enum { KEEP = 64 << 10 };

uint8_t *bytes_grow(struct bytes *b, size_t n)
{
    uint8_t *data;

    if (b->broken) return NULL;
    if (b->at && (b->at == b->end || b->end + n > b->room)) {
        memmove(b->data, b->data + b->at, bytes_size(b));
        b->end -= b->at;
        b->at = 0;
    }
    if (b->end + n > b->room) {
        size_t room = (b->end + n) * 3 / 2 + 256;

        data = realloc(b->data, room);
        if (!data) {
            b->broken = true;
            return NULL;
        }
        b->data = data;
        b->room = room;
    }
    b->end += n;
    return b->data + b->end - n;
}

void bytes_add(struct bytes *b, const void *data, size_t n)
{
    uint8_t *to = n ? bytes_grow(b, n) : NULL;

    if (to) memcpy(to, data, n);
}

void bytes_add_u8(struct bytes *b, unsigned value) { bytes_add(b, &(uint8_t){ (uint8_t)value }, 1); }
void bytes_add_u16(struct bytes *b, unsigned value) { bytes_add(b, &(uint16_t){ htobe16((uint16_t)value) }, 2); }
void bytes_add_u32(struct bytes *b, uint32_t value) { bytes_add(b, &(uint32_t){ htobe32(value) }, 4); }

static void room_limit(struct bytes *b, size_t keep)
{
    if (b->room <= MAX(keep, (size_t)KEEP)) return;
    free(b->data);
    b->data = NULL;
    b->room = 0;
}

void bytes_drop(struct bytes *b, size_t n)
{
    b->at += n;
    if (b->at != b->end) return;
    b->at = b->end = 0;
    room_limit(b, b->keep);            /* one big picture is no reason to keep megabytes */
}

void bytes_trim(struct bytes *b)
{
    if (b->at == b->end) room_limit(b, 0);
}

void bytes_clear(struct bytes *b) { b->at = b->end = 0; }

void bytes_free(struct bytes *b)
{
    free(b->data);
    memset(b, 0, sizeof(*b));
}
