/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One row of dots of a text screen. Character codes lie in plane 0, attributes in plane 1, fonts in plane 2: eight
 * of 256 characters with 32 rows each, of which the sequencer selects two; attribute bit 3 picks one of them. With nine
 * dots a character the ninth is background, or a copy of the eighth for the line
 * drawing characters C0h-DFh; here, as on QEMU's card, also for those from B0h, so that shades have no gaps.
 * Source: IBM VGA XGA Technical Reference Manual, alphanumeric modes; attribute controller.
 */
#include "device/display/vga_draw_private.h"

#include "base/bits.h"

/* Character map select: three bits each, the highest of which was added later and picks the odd 8 KiB. */
static uint32_t font_offset(const struct vga *v, bool a)
{
    uint8_t s = v->seq[SEQ_CHARACTER_MAP];
    unsigned n = a ? (s >> 1 & 6) | (s >> 5 & 1) : (s << 1 & 6) | (s >> 4 & 1);

    return n * 8192;
}

bool vga_has_two_fonts(const struct vga *v) { return font_offset(v, true) != font_offset(v, false); }

uint8_t vga_glyph_row(const struct vga *v, const uint8_t *memory, uint8_t character, uint8_t attribute, unsigned row_scan)
{
    uint32_t at = font_offset(v, attribute & 8) + character * 32u + row_scan;

    return memory[vga_plane_index(v->chain4_layout, 2, at & 0xffff)];
}

/* The cursor lies over a character: its rows, unless it is off or in its dark phase. */
static bool is_cursor(const struct vga *v, const struct vga_picture *p, uint32_t address)
{
    const uint8_t *c = v->crtc;
    uint32_t at = (uint32_t)c[CRTC_CURSOR_HIGH] << 8 | c[CRTC_CURSOR_LOW];

    return (address & 0xffff) == at && !p->cursor && !(c[CRTC_CURSOR_START] & CRTC_CURSOR_OFF) &&
           p->row_scan >= (c[CRTC_CURSOR_START] & 0x1f) && p->row_scan <= (c[CRTC_CURSOR_END] & 0x1f);
}

static uint32_t *cell(const struct vga *v, const struct vga_picture *p, uint32_t address, uint32_t *to)
{
    uint32_t offset = vga_crtc_offset(v, address, 0);
    uint8_t character = p->memory[vga_plane_index(v->chain4_layout, 0, offset)], attribute = p->memory[vga_plane_index(v->chain4_layout, 1, offset)];
    uint8_t mask = v->attr[ATTR_PLANE_ENABLE] & 15, mode = v->attr[ATTR_MODE];
    bool blinks = mode & ATTR_MODE_BLINK;
    uint32_t ink = p->color16[attribute & mask & 15], paper = p->color16[attribute >> 4 & (blinks ? 7 : 15) & mask];
    unsigned bits = vga_glyph_row(v, p->memory, character, attribute, p->row_scan) << 1;

    if (p->dots == 9 && (mode & ATTR_MODE_LINE_GRAPHICS) && character >= 0xb0 && character <= 0xdf) bits |= bits >> 1 & 1;
    if (blinks && (attribute & 0x80) && p->blink) bits = 0;
    if (is_cursor(v, p, address)) bits = 0x1ff;
    for (unsigned n = 0; n < p->dots; n++)
        for (unsigned i = 0; i < p->scale; i++) *to++ = bits >> (8 - n) & 1 ? ink : paper;
    return to;
}

void vga_row_text(const struct vga *v, const struct vga_picture *p, uint32_t *to)
{
    for (unsigned n = 0; n <= p->width / (p->dots * p->scale); n++) to = cell(v, p, p->address + n, to);
}
