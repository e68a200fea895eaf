/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tight without JPEG: a rectangle of one colour, one of at most 256 colours (a bit or a byte a pixel), or its pixels as they
 * are; the data go through one of three zlib streams, so that each sees data of its kind. Short data are not compressed.
 * Source: github.com/rfbproto, Tight encoding.
 */
#include <string.h>

#include "base/bits.h"
#include "display/vnc_private.h"

enum { FILL = 0x80, EXPLICIT_FILTER = 0x40, FILTER_PALETTE = 1, MIN_TO_COMPRESS = 12, PIECE_WIDTH = 512 };
enum { STREAM_FULL, STREAM_MONO, STREAM_INDEXED };

static void tpixels_put(const struct vnc_client *c, struct bytes *to, const uint32_t *pixel, unsigned count)
{
    uint8_t *p;

    if (!c->format.is_tight) {
        vnc_pixels_put(&c->format, bytes_grow(to, (size_t)count * c->format.bits / 8), pixel, count);
        return;
    }
    p = bytes_grow(to, (size_t)count * 3);
    for (unsigned i = 0; p && i < count; i++) {
        *p++ = (uint8_t)(pixel[i] >> 16);
        *p++ = (uint8_t)(pixel[i] >> 8);
        *p++ = (uint8_t)pixel[i];
    }
}

/* Seven bits a byte, low ones first, at most 22 bits. */
static unsigned compact(uint8_t to[3], size_t n)
{
    to[0] = (uint8_t)(n & 0x7f);
    if (n < 0x80) return 1;
    to[0] |= 0x80;
    to[1] = (uint8_t)(n >> 7 & 0x7f);
    if (n < 0x4000) return 2;
    to[1] |= 0x80;
    to[2] = (uint8_t)(n >> 14);
    return 3;
}

/* scratch, with its length in front. */
static void data_put(struct vnc_client *c, unsigned stream)
{
    uint8_t length[3];
    size_t at = bytes_size(&c->out), n;
    unsigned bytes;

    if (bytes_size(&c->scratch) < MIN_TO_COMPRESS) {
        bytes_add(&c->out, c->scratch.data + c->scratch.at, bytes_size(&c->scratch));
        return;
    }
    bytes_grow(&c->out, sizeof(length));
    vnc_deflate(c, stream);
    if (c->out.broken) return;
    n = bytes_size(&c->out) - at - sizeof(length);
    bytes = compact(length, n);
    memmove(c->out.data + c->out.at + at + bytes, c->out.data + c->out.at + at + sizeof(length), n);
    memcpy(c->out.data + c->out.at + at, length, bytes);
    c->out.end -= sizeof(length) - bytes;
}

static void mono_rows(struct bytes *to, const uint8_t *number, unsigned width, unsigned height)
{
    for (unsigned y = 0; y < height; y++)
        for (unsigned x = 0; x < width; x += 8) {
            unsigned byte = 0;

            for (unsigned n = 0; n < 8 && x + n < width; n++) byte |= (unsigned)number[y * width + x + n] << (7 - n);
            bytes_add_u8(to, byte);
        }
}

static void palette_put(struct vnc_client *c, const struct rect *r, const uint32_t *color, unsigned colors, const uint8_t *number)
{
    unsigned stream = colors == 2 ? STREAM_MONO : STREAM_INDEXED;

    bytes_add_u8(&c->out, stream << 4 | EXPLICIT_FILTER);
    bytes_add_u8(&c->out, FILTER_PALETTE);
    bytes_add_u8(&c->out, colors - 1);
    tpixels_put(c, &c->out, color, colors);
    if (colors == 2) mono_rows(&c->scratch, number, r->width, r->height);
    else bytes_add(&c->scratch, number, (size_t)r->width * r->height);
    data_put(c, stream);
}

static void piece_encode(struct vnc_client *c, const struct rect *r)
{
    const struct surface *s = display_surface(c->server->display);
    uint32_t pixel[PIECE_WIDTH * RECT_HEIGHT], color[PALETTE_MAX];
    uint8_t number[PIECE_WIDTH * RECT_HEIGHT];
    unsigned count = r->width * r->height, colors, max = c->format.bits == 8 ? 2 : (unsigned)PALETTE_MAX;

    for (unsigned y = 0; y < r->height; y++)
        memcpy(pixel + y * r->width, s->pixel + (size_t)(r->y + y) * s->width + r->x, r->width * sizeof(*pixel));
    colors = vnc_palette_make(pixel, count, MIN(max, count / 4 + 2), color, number);
    bytes_clear(&c->scratch);
    vnc_rect_header(c, r, ENC_TIGHT);
    if (colors == 1) {
        bytes_add_u8(&c->out, FILL);
        tpixels_put(c, &c->out, color, 1);
    } else if (colors) palette_put(c, r, color, colors, number);
    else {
        bytes_add_u8(&c->out, STREAM_FULL << 4);
        tpixels_put(c, &c->scratch, pixel, count);
        data_put(c, STREAM_FULL);
    }
}

unsigned vnc_tight_encode(struct vnc_client *c, const struct rect *r)
{
    unsigned count = 0;

    for (unsigned x = 0; x < r->width; x += PIECE_WIDTH) {
        struct rect piece = { r->x + x, r->y, MIN((unsigned)PIECE_WIDTH, r->width - x), r->height };

        piece_encode(c, &piece);
        count++;
    }
    return count;
}
