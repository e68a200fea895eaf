/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text screen as lines of UTF-8, or as characters with attributes. Geometry, start address, row pitch and split screen come from the CRTC as
 * programmed; characters are taken for code page 437, whatever font is loaded. Where attribute bit 3 picks a second font, its characters are those of the
 * first that look the same, else question marks.
 */
#include <string.h>

#include "base/bits.h"
#include "base/cp437.h"
#include "device/display/vga_draw_private.h"
#include "display/curses.h"

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

    g.rows = MIN(g.rows, (unsigned)CURSES_CELLS / g.columns);
    g.split_row = compare < scan_lines ? (compare + height) / height : g.rows;
    return g;
}

static uint8_t plane_byte(const struct vga *v, unsigned plane, unsigned address)
{
    uint32_t offset = v->crtc[CRTC_MODE] & CRTC_MODE_BYTE ? address : address << 1;

    return ((const uint8_t *)v->vram.hva)[vga_plane_index(v->chain4_layout, plane, offset & 0xffff)];
}

/* ---- 512 characters ---- */

enum { SECOND_FONT = 8, UNKNOWN = '?' };
struct text_fonts { bool has_second; uint8_t alike[256]; };

static bool looks_alike(const struct vga *v, uint8_t second, uint8_t first, unsigned height)
{
    for (unsigned y = 0; y < height; y++)
        if (vga_glyph_row(v, v->vram.hva, second, SECOND_FONT, y) != vga_glyph_row(v, v->vram.hva, first, 0, y)) return false;
    return true;
}

static uint8_t alike(const struct vga *v, uint8_t second, unsigned height)
{
    if (looks_alike(v, second, second, height)) return second;
    for (unsigned first = 0; first < 256; first++)
        if (looks_alike(v, second, (uint8_t)first, height)) return (uint8_t)first;
    return UNKNOWN;
}

static void fonts_read(const struct vga *v, struct text_fonts *f)
{
    unsigned height = (v->crtc[CRTC_MAX_SCAN] & 0x1f) + 1u;

    f->has_second = vga_has_two_fonts(v);
    for (unsigned c = 0; f->has_second && c < 256; c++) f->alike[c] = alike(v, (uint8_t)c, height);
}

static uint8_t character(const struct vga *v, const struct text_fonts *f, unsigned address)
{
    uint8_t code = plane_byte(v, 0, address);

    return f->has_second && plane_byte(v, 1, address) & SECOND_FONT ? f->alike[code] : code;
}

/* As the picture shows it: planes that are off have no part in colours. */
static uint8_t attribute(const struct vga *v, unsigned address)
{
    uint8_t a = plane_byte(v, 1, address), mask = v->attr[ATTR_PLANE_ENABLE] & 15;
    uint8_t kept = v->attr[ATTR_MODE] & ATTR_MODE_BLINK ? 0x80 : 0;

    return a & (uint8_t)(mask << 4 | mask | kept);
}

/* ---- lines ---- */

static unsigned utf8_put(char *out, uint8_t byte)
{
    unsigned c = cp437_unicode(byte);

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

static unsigned line_length(const struct vga *v, const struct text_fonts *f, unsigned address, unsigned columns)
{
    while (columns) {
        uint8_t c = character(v, f, address + columns - 1);

        if (c != ' ' && c != 0 && c != 0xff) break;
        columns--;
    }
    return columns;
}

static unsigned row_address(const struct text_geometry *g, unsigned row)
{
    return row >= g->split_row ? (row - g->split_row) * g->pitch : g->start + row * g->pitch;
}

static bool is_graphics(const struct vga *v) { return (v->vbe[VBE_ENABLE] & VBE_ENABLED) || (v->gfx[GFX_MISC] & GFX_MISC_GRAPHICS) || !v->has_legacy; }

static void cursor_find(const struct vga *v, const struct text_geometry *g, struct curses_text *to)
{
    const uint8_t *c = v->crtc;
    unsigned at = ((unsigned)c[CRTC_CURSOR_HIGH] << 8 | c[CRTC_CURSOR_LOW]) - g->start, row = g->pitch ? at / g->pitch : 0;

    to->has_cursor = !(c[CRTC_CURSOR_START] & CRTC_CURSOR_OFF) && (c[CRTC_CURSOR_START] & 0x1f) <= (c[CRTC_CURSOR_END] & 0x1f) && g->pitch &&
                     row < MIN(g->split_row, g->rows) && at % g->pitch < g->columns;
    to->cursor_x = to->has_cursor ? at % g->pitch : 0;
    to->cursor_y = to->has_cursor ? row : 0;
}

void vga_text_cells(const struct vga *v, struct curses_text *to)
{
    struct text_geometry g = geometry(v);
    struct text_fonts fonts;

    to->kind = vga_is_blank(v) ? CURSES_BLANK : is_graphics(v) ? CURSES_GRAPHICS : CURSES_TEXT;
    if (to->kind != CURSES_TEXT) {
        vga_size(v, &to->width, &to->height);
        return;
    }
    to->width = g.columns;
    to->height = g.rows;
    to->blinks = v->attr[ATTR_MODE] & ATTR_MODE_BLINK;
    cursor_find(v, &g, to);
    fonts_read(v, &fonts);
    for (unsigned row = 0; row < g.rows; row++)
        for (unsigned column = 0, at = row_address(&g, row); column < g.columns; column++, at++)
            to->cell[row * g.columns + column] = (uint16_t)(attribute(v, at) << 8 | character(v, &fonts, at));
}

bool vga_text_screen(const struct vga *v, char *buf, size_t size)
{
    struct text_geometry g = geometry(v);
    struct text_fonts fonts;
    size_t at = 0;

    if (!size || is_graphics(v)) return false;
    fonts_read(v, &fonts);
    for (unsigned row = 0; row < g.rows; row++) {
        unsigned line = row_address(&g, row);
        unsigned length = line_length(v, &fonts, line, g.columns);

        for (unsigned column = 0; column < length && at + 5 < size; column++)
            at += utf8_put(buf + at, character(v, &fonts, line + column));
        if (at + 1 < size) buf[at++] = '\n';
    }
    buf[at] = 0;
    return true;
}
