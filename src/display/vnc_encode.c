/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rectangles: their heads, the raw encoding, the zlib streams and palettes that the others share. Source: RFC 6143, 7.6, 7.7. */
#include "display/vnc_private.h"

#include <string.h>

#include "base/bits.h"

void vnc_rect_header(struct vnc_client *c, const struct rect *r, int32_t encoding)
{
    bytes_add_u16(&c->out, r->x);
    bytes_add_u16(&c->out, r->y);
    bytes_add_u16(&c->out, r->width);
    bytes_add_u16(&c->out, r->height);
    bytes_add_u32(&c->out, (uint32_t)encoding);
}

static void raw_encode(struct vnc_client *c, const struct rect *r)
{
    const struct surface *s = display_surface(c->server->display);
    size_t pitch = (size_t)r->width * c->format.bits / 8;
    uint8_t *to;

    vnc_rect_header(c, r, ENC_RAW);
    to = bytes_grow(&c->out, pitch * r->height);
    for (unsigned y = 0; to && y < r->height; y++)
        vnc_pixels_put(&c->format, to + y * pitch, s->pixel + (size_t)(r->y + y) * s->width + r->x, r->width);
}

unsigned vnc_rect_encode(struct vnc_client *c, const struct rect *r)
{
    switch (c->encoding) {
    case ENC_ZRLE: vnc_zrle_encode(c, r); return 1;
    case ENC_TIGHT: return vnc_tight_encode(c, r);
    default: raw_encode(c, r); return 1;
    }
}

void vnc_deflate(struct vnc_client *c, unsigned n)
{
    z_stream *z = &c->stream[n];
    size_t room;
    uint8_t *to;

    if (!c->stream_is_open[n] && deflateInit(z, c->compress) != Z_OK) {
        c->out.broken = true;
        return;
    }
    c->stream_is_open[n] = true;
    room = deflateBound(z, bytes_size(&c->scratch)) + 16;
    to = bytes_grow(&c->out, room);
    if (!to || c->scratch.broken) {
        c->out.broken = true;
        return;
    }
    z->next_in = c->scratch.data + c->scratch.at;
    z->avail_in = (uInt)bytes_size(&c->scratch);
    z->next_out = to;
    z->avail_out = (uInt)room;
    if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in || !z->avail_out) c->out.broken = true;
    c->out.end -= z->avail_out;
}

void vnc_streams_free(struct vnc_client *c)
{
    for (unsigned i = 0; i < ARRAY_SIZE(c->stream); i++)
        if (c->stream_is_open[i]) deflateEnd(&c->stream[i]);
}

/* Colours are found again through a hash table of their numbers. */
unsigned vnc_palette_make(const uint32_t *pixel, unsigned count, unsigned max, uint32_t *color, uint8_t *number)
{
    enum { SLOTS = 1024 };
    uint16_t slot[SLOTS];
    unsigned colors = 0, n = 0;
    uint32_t last = ~pixel[0];

    memset(slot, 0, sizeof(slot));
    for (unsigned i = 0; i < count; i++) {
        if (pixel[i] != last) {
            unsigned at = (pixel[i] * 0x9e3779b1u) >> 22;

            while (slot[at] && color[slot[at] - 1] != pixel[i]) at = (at + 1) % SLOTS;
            if (!slot[at]) {
                if (colors == max) return 0;
                color[colors++] = pixel[i];
                slot[at] = (uint16_t)colors;
            }
            last = pixel[i];
            n = slot[at] - 1u;
        }
        number[i] = (uint8_t)n;
    }
    return colors;
}
