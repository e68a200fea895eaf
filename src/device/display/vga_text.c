/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text screen as lines of UTF-8. Geometry, start address, row pitch and split screen come from the CRTC as
 * programmed; characters are taken for code page 437, whatever font is loaded.
 */
#include <string.h>

#include "base/bits.h"
#include "device/display/vga_private.h"

/* Code page 437: 00h-1Fh, 7Fh, and 80h-FFh. */
static const uint16_t cp437_low[32] = {
    0x0020, 0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25d8, 0x25cb, 0x25d9,
    0x2642, 0x2640, 0x266a, 0x266b, 0x263c, 0x25ba, 0x25c4, 0x2195, 0x203c, 0x00b6, 0x00a7,
    0x25ac, 0x21a8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc,
};
static const uint16_t cp437_high[128] = {
    0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef, 0x00ee,
    0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9, 0x00ff, 0x00d6,
    0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa,
    0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593, 0x2502,
    0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510, 0x2514,
    0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550,
    0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c,
    0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4,
    0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320,
    0x2321, 0x00f7, 0x2248, 0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
};

struct text_geometry { unsigned columns, rows, start, pitch, split_row; };

static struct text_geometry geometry(const struct vga *v)
{
    const uint8_t *c = v->crtc;
    unsigned scan_lines = c[CRTC_VDISPLAY_END] | (c[CRTC_OVERFLOW] & 2) << 7 | (c[CRTC_OVERFLOW] & 0x40) << 3;
    unsigned compare = c[CRTC_LINE_COMPARE] | (c[CRTC_OVERFLOW] & 0x10) << 4 | (c[CRTC_MAX_SCAN] & 0x40) << 3;
    unsigned height = ((c[CRTC_MAX_SCAN] & 0x1f) + 1) << (c[CRTC_MAX_SCAN] >> 7);
    struct text_geometry g = {
        .columns = c[CRTC_HDISPLAY_END] + 1u,
        .rows = (scan_lines + 1) / height,
        .start = c[CRTC_START_HIGH] << 8 | c[CRTC_START_LOW],
        .pitch = c[CRTC_OFFSET] * 2u,
    };

    g.split_row = compare < scan_lines ? (compare + height) / height : g.rows;
    return g;
}

static uint8_t character(const struct vga *v, unsigned address)
{
    uint32_t offset = v->crtc[CRTC_MODE] & CRTC_MODE_BYTE ? address : address << 1;

    return ((const uint8_t *)v->vram.hva)[vga_plane_index(v->chain4_layout, 0, offset & 0xffff)];
}

static unsigned utf8_put(char *out, uint8_t byte)
{
    unsigned c = byte < 0x20    ? cp437_low[byte]
                 : byte < 0x7f  ? byte
                 : byte == 0x7f ? 0x2302
                                : cp437_high[byte - 0x80];

    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    out[0] = (char)(0xe0 | c >> 12);
    out[1] = (char)(0x80 | (c >> 6 & 0x3f));
    out[2] = (char)(0x80 | (c & 0x3f));
    return 3;
}

static unsigned line_length(const struct vga *v, unsigned address, unsigned columns)
{
    while (columns) {
        uint8_t c = character(v, address + columns - 1);

        if (c != ' ' && c != 0 && c != 0xff) break;
        columns--;
    }
    return columns;
}

bool vga_text_screen(const struct vga *v, char *buf, size_t size)
{
    struct text_geometry g = geometry(v);
    size_t at = 0;

    if (!size || (v->vbe[VBE_ENABLE] & VBE_ENABLED) || (v->gfx[GFX_MISC] & GFX_MISC_GRAPHICS)) return false;
    for (unsigned row = 0; row < g.rows; row++) {
        unsigned line = row >= g.split_row ? (row - g.split_row) * g.pitch : g.start + row * g.pitch;
        unsigned length = line_length(v, line, g.columns);

        for (unsigned column = 0; column < length && at + 5 < size; column++)
            at += utf8_put(buf + at, character(v, line + column));
        if (at + 1 < size) buf[at++] = '\n';
    }
    buf[at] = 0;
    return true;
}
