/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pixel formats: the client says how many bits a colour has and where they lie. With a colour map (no client of today wants
 * one) it gets 256 colours of three, three and two bits. Source: RFC 6143, 7.4.
 */
#include <string.h>

#include "base/bits.h"
#include "display/vnc_private.h"

static unsigned width_of(unsigned max) { return (unsigned)__builtin_popcount(max); }

static uint32_t mask_of(const struct pixel_format *f)
{
    return (uint32_t)f->max[0] << f->shift[0] | (uint32_t)f->max[1] << f->shift[1] | (uint32_t)f->max[2] << f->shift[2];
}

static void derive(struct pixel_format *f)
{
    uint32_t mask = mask_of(f);
    bool low = !(mask & 0xff000000), high = !(mask & 0xff);

    f->is_ours = f->bits == 32 && !f->big_endian && mask == 0xffffff && f->max[0] == 255 && f->max[1] == 255 && f->shift[0] == 16 && f->shift[1] == 8;
    f->is_tight = f->bits == 32 && f->depth == 24 && f->max[0] == 255 && f->max[1] == 255 && f->max[2] == 255;
    f->short_bytes = f->bits / 8;
    f->short_at = 0;
    if (f->bits != 32 || f->depth > 24 || !(low || high)) return;
    f->short_bytes = 3;
    f->short_at = low == f->big_endian;                            /* the byte without colour comes first */
}

int vnc_format_set(struct pixel_format *f, const uint8_t data[16])
{
    struct pixel_format n = { .bits = data[0], .depth = data[1], .big_endian = data[2], .true_color = data[3] };

    if (n.bits != 8 && n.bits != 16 && n.bits != 32) return -1;
    if (!n.true_color) {
        if (n.bits != 8) return -1;
        n = (struct pixel_format){ .bits = 8, .depth = 8, .max = { 7, 7, 3 }, .shift = { 0, 3, 6 } };
    } else
        for (unsigned i = 0; i < 3; i++) {
            n.max[i] = (uint16_t)(data[4 + 2 * i] << 8 | data[5 + 2 * i]);
            n.shift[i] = data[10 + i];
            if (!n.max[i] || (n.max[i] & (n.max[i] + 1)) || n.shift[i] + width_of(n.max[i]) > n.bits) return -1;
        }
    derive(&n);
    *f = n;
    return 0;
}

void vnc_format_default(struct pixel_format *f)
{
    *f = (struct pixel_format){ .bits = 32, .depth = 24, .true_color = true, .max = { 255, 255, 255 }, .shift = { 16, 8, 0 } };
    derive(f);
}

void vnc_format_put(struct bytes *b)
{
    static const uint8_t format[16] = { 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0 };

    bytes_add(b, format, sizeof(format));
}

void vnc_color_map_put(struct bytes *b)
{
    bytes_add_u16(b, 0x100);           /* SetColourMapEntries, and padding */
    bytes_add_u16(b, 0);
    bytes_add_u16(b, 256);
    for (unsigned i = 0; i < 256; i++) {
        bytes_add_u16(b, (i & 7) * 65535 / 7);
        bytes_add_u16(b, (i >> 3 & 7) * 65535 / 7);
        bytes_add_u16(b, (i >> 6) * 65535 / 3);
    }
}

uint32_t vnc_pixel(const struct pixel_format *f, uint32_t rgb)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 3; i++) value |= ((rgb >> (16 - 8 * i) & 0xff) * f->max[i] / 255) << f->shift[i];
    if (!f->big_endian) return value;
    return f->bits == 32 ? __builtin_bswap32(value) : f->bits == 16 ? __builtin_bswap16((uint16_t)value) : value;
}

void vnc_pixels_put(const struct pixel_format *f, uint8_t *to, const uint32_t *from, unsigned count)
{
    unsigned bytes = f->bits / 8;

    if (!to) return;
    if (f->is_ours) {
        memcpy(to, from, (size_t)count * 4);
        return;
    }
    for (unsigned i = 0; i < count; i++, to += bytes) {
        uint32_t value = vnc_pixel(f, from[i]);

        memcpy(to, &value, bytes);
    }
}
