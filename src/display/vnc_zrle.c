/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ZRLE: tiles of 64x64 pixels, each in the shortest of five forms, all through one zlib stream. A form's length before
 * compression is what decides. Source: RFC 6143, 7.7.6.
 */
#include <string.h>

#include "base/bits.h"
#include "display/vnc_private.h"

enum { TILE = 64, ZRLE_STREAM = VNC_STREAMS, PLAIN_RLE = 128, RLE_COLORS_MAX = 127, PACKED_COLORS_MAX = 16 };

struct tile {
    unsigned width, height, count;
    uint32_t pixel[TILE * TILE];
    uint8_t number[TILE * TILE];
    uint32_t color[RLE_COLORS_MAX];
    unsigned colors;                   /* 0: more than the above */
    size_t raw, plain, packed, palette;
};

static void cpixel_put(struct vnc_client *c, uint32_t rgb)
{
    uint32_t value = vnc_pixel(&c->format, rgb);

    bytes_add(&c->scratch, (uint8_t *)&value + c->format.short_at, c->format.short_bytes);
}

static void tile_load(struct tile *t, const struct surface *s, unsigned x, unsigned y)
{
    for (unsigned row = 0; row < t->height; row++)
        memcpy(t->pixel + row * t->width, s->pixel + (size_t)(y + row) * s->width + x, t->width * sizeof(*t->pixel));
    t->count = t->width * t->height;
    t->colors = vnc_palette_make(t->pixel, t->count, RLE_COLORS_MAX, t->color, t->number);
}

static unsigned run_at(const struct tile *t, unsigned i)
{
    unsigned n = 1;

    while (i + n < t->count && t->pixel[i + n] == t->pixel[i]) n++;
    return n;
}

static unsigned bits_of(const struct tile *t) { return t->colors <= 2 ? 1 : t->colors <= 4 ? 2 : 4; }

static void lengths(struct tile *t, unsigned pixel_bytes)
{
    t->raw = (size_t)t->count * pixel_bytes;
    t->plain = 0;
    t->palette = (size_t)t->colors * pixel_bytes;
    t->packed = t->palette + (size_t)t->height * ((t->width * bits_of(t) + 7) / 8);
    for (unsigned i = 0, n; i < t->count; i += n) {
        size_t length;

        n = run_at(t, i);
        length = (n - 1) / 255 + 1;
        t->plain += pixel_bytes + length;
        t->palette += n == 1 ? 1 : 1 + length;
    }
    if (!t->colors) t->palette = t->packed = SIZE_MAX;
    if (t->colors > PACKED_COLORS_MAX) t->packed = SIZE_MAX;
}

static void length_put(struct vnc_client *c, unsigned n)
{
    for (n--; n >= 255; n -= 255) bytes_add_u8(&c->scratch, 255);
    bytes_add_u8(&c->scratch, n);
}

static void plain_put(struct vnc_client *c, const struct tile *t)
{
    bytes_add_u8(&c->scratch, PLAIN_RLE);
    for (unsigned i = 0, n; i < t->count; i += n) {
        n = run_at(t, i);
        cpixel_put(c, t->pixel[i]);
        length_put(c, n);
    }
}

static void palette_put(struct vnc_client *c, const struct tile *t)
{
    bytes_add_u8(&c->scratch, PLAIN_RLE + t->colors);
    for (unsigned i = 0; i < t->colors; i++) cpixel_put(c, t->color[i]);
    for (unsigned i = 0, n; i < t->count; i += n) {
        n = run_at(t, i);
        bytes_add_u8(&c->scratch, t->number[i] | (n > 1 ? 0x80 : 0));
        if (n > 1) length_put(c, n);
    }
}

static void packed_put(struct vnc_client *c, const struct tile *t)
{
    unsigned bits = bits_of(t);

    bytes_add_u8(&c->scratch, t->colors);
    for (unsigned i = 0; i < t->colors; i++) cpixel_put(c, t->color[i]);
    for (unsigned y = 0; y < t->height; y++)
        for (unsigned x = 0; x < t->width; x += 8 / bits) {
            unsigned byte = 0;

            for (unsigned n = 0; n < 8 / bits && x + n < t->width; n++) byte |= (unsigned)t->number[y * t->width + x + n] << (8 - bits * (n + 1));
            bytes_add_u8(&c->scratch, byte);
        }
}

static void tile_put(struct vnc_client *c, struct tile *t)
{
    if (t->colors == 1) {
        bytes_add_u8(&c->scratch, 1);
        cpixel_put(c, t->color[0]);
        return;
    }
    lengths(t, c->format.short_bytes);
    if (t->raw <= t->plain && t->raw <= t->packed && t->raw <= t->palette) {
        bytes_add_u8(&c->scratch, 0);
        for (unsigned i = 0; i < t->count; i++) cpixel_put(c, t->pixel[i]);
    } else if (t->packed <= t->plain && t->packed <= t->palette) packed_put(c, t);
    else if (t->palette <= t->plain) palette_put(c, t);
    else plain_put(c, t);
}

void vnc_zrle_encode(struct vnc_client *c, const struct rect *r)
{
    const struct surface *s = display_surface(c->server->display);
    struct tile t;
    size_t at;

    bytes_clear(&c->scratch);
    for (unsigned y = 0; y < r->height; y += TILE)
        for (unsigned x = 0; x < r->width; x += TILE) {
            t.width = MIN((unsigned)TILE, r->width - x);
            t.height = MIN((unsigned)TILE, r->height - y);
            tile_load(&t, s, r->x + x, r->y + y);
            tile_put(c, &t);
        }
    vnc_rect_header(c, r, ENC_ZRLE);
    at = bytes_size(&c->out);
    bytes_add_u32(&c->out, 0);
    vnc_deflate(c, ZRLE_STREAM);
    if (!c->out.broken) {
        be32 length = be32_make((uint32_t)(bytes_size(&c->out) - at - 4));

        memcpy(c->out.data + c->out.at + at, &length, sizeof(length));
    }
}
