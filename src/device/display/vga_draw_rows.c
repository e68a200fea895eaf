/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One row of graphics. A row begins at p->address and is filled to the width and a character more. Pixels of 5 or 6 bits
 * are widened by repeating their high bits, so that white is white.
 */
#include <string.h>

#include "base/bits.h"
#include "device/display/vga_draw_private.h"
#include "display/display.h"

static uint8_t plane_byte(const struct vga *v, const struct vga_picture *p, unsigned plane, uint32_t offset)
{
    return p->memory[vga_plane_index(v->chain4_layout, plane, offset)];
}

/* The four planes' bytes at one offset, those that the attribute controller hides as zeros. */
static void planes_read(const struct vga *v, const struct vga_picture *p, uint32_t offset, uint8_t byte[4])
{
    for (unsigned n = 0; n < 4; n++) byte[n] = v->attr[ATTR_PLANE_ENABLE] >> n & 1 ? plane_byte(v, p, n, offset) : 0;
}

static uint32_t *pixel_put(uint32_t *to, uint32_t color, unsigned times)
{
    while (times--) *to++ = color;
    return to;
}

static uint32_t *planar_8(const struct vga_picture *p, const uint8_t byte[4], uint32_t *to)
{
    for (int bit = 7; bit >= 0; bit--)
        to = pixel_put(to, p->color16[(byte[0] >> bit & 1) | (byte[1] >> bit & 1) << 1 | (byte[2] >> bit & 1) << 2 |
                                      (byte[3] >> bit & 1) << 3], p->scale);
    return to;
}

static void row_planar(const struct vga *v, const struct vga_picture *p, uint32_t *to)
{
    uint8_t byte[4];

    for (unsigned n = 0; n <= p->width / (8 * p->scale); n++) {
        planes_read(v, p, vga_crtc_offset(v, p->address + n, p->row_scan), byte);
        to = planar_8(p, byte, to);
    }
}

static void row_vbe_planar(const struct vga *v, const struct vga_picture *p, uint32_t *to)
{
    struct vga_picture plain = *p;
    uint8_t byte[4];

    plain.scale = 1;
    for (unsigned n = 0; n < p->width / 8; n++) {
        uint32_t at = p->address + n;

        for (unsigned i = 0; i < 4; i++)
            byte[i] = vga_plane_index(v->chain4_layout, i, at) < v->vram.size_bytes && (v->attr[ATTR_PLANE_ENABLE] >> i & 1) ? plane_byte(v, p, i, at) : 0;
        to = planar_8(&plain, byte, to);
    }
}

/* Pairs of bits: the left four pixels from planes 0 and 2, the right four from 1 and 3. */
static void row_cga(const struct vga *v, const struct vga_picture *p, uint32_t *to)
{
    uint8_t byte[4];

    for (unsigned n = 0; n <= p->width / (8 * p->scale); n++) {
        planes_read(v, p, vga_crtc_offset(v, p->address + n, p->row_scan), byte);
        for (unsigned half = 0; half < 2; half++)
            for (int bit = 6; bit >= 0; bit -= 2)
                to = pixel_put(to, p->color16[(byte[half] >> bit & 3) | (byte[half + 2] >> bit & 3) << 2], p->scale);
    }
}

/* Four pixels, each two dots wide, a character. */
static void row_256(const struct vga *v, const struct vga_picture *p, uint32_t *to)
{
    for (unsigned n = 0; n <= p->width / 8; n++) {
        uint32_t offset = vga_crtc_offset(v, p->address + n, p->row_scan);

        for (unsigned i = 0; i < 4; i++) to = pixel_put(to, p->color256[plane_byte(v, p, i, offset)], 2);
    }
}

/* ---- memory as it lies ---- */

static uint32_t from_15(uint32_t x)
{
    uint32_t r = x >> 10 & 31, g = x >> 5 & 31, b = x & 31;

    return (r << 3 | r >> 2) << 16 | (g << 3 | g >> 2) << 8 | b << 3 | b >> 2;
}

static uint32_t from_16(uint32_t x)
{
    uint32_t r = x >> 11 & 31, g = x >> 5 & 63, b = x & 31;

    return (r << 3 | r >> 2) << 16 | (g << 2 | g >> 4) << 8 | b << 3 | b >> 2;
}

static void row_linear(const struct vga *v, const struct vga_picture *p, uint32_t *to)
{
    unsigned bytes = (p->bpp + 7) / 8;
    const uint8_t *from = p->memory + p->address;

    if (p->address + (uint64_t)p->width * bytes > v->vram.size_bytes) {
        memset(to, 0, p->width * sizeof(*to));
        return;
    }
    switch (p->bpp) {
    case 8: for (unsigned x = 0; x < p->width; x++) to[x] = p->color256[from[x]]; break;
    case 15: for (unsigned x = 0; x < p->width; x++) to[x] = from_15(from[2 * x] | from[2 * x + 1] << 8); break;
    case 16: for (unsigned x = 0; x < p->width; x++) to[x] = from_16(from[2 * x] | from[2 * x + 1] << 8); break;
    case 24: for (unsigned x = 0; x < p->width; x++) to[x] = from[3 * x] | from[3 * x + 1] << 8 | from[3 * x + 2] << 16; break;
    default:
        pixels_plain(to, from, p->width);
    }
}

vga_row_fn *const vga_row_fill[PICTURE_KINDS] = { vga_row_text, row_planar, row_cga, row_256, row_vbe_planar, row_linear };
