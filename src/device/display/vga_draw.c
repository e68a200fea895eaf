/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From registers and video memory to the picture. The display asks when somebody looks; nothing is noted meanwhile:
 *
 *  - all registers that the picture depends on are kept as they were last time (struct vga_shown). If one differs,
 *    the whole picture is made again;
 *  - else only rows whose memory was written, as the dirty tracker tells. VGA modes scatter a row over the planes, so any
 *    write there means all rows; the linear modes of the Bochs extensions know theirs.
 *
 * The CRTC's counters are followed as the chip has them: an address counter and a row scan counter, which the
 * line compare register sets to zero; byte, word and doubleword addressing; row scan bits in place of address
 * bits (CGA and Hercules modes). The overscan border is not drawn. Timing is not simulated: a picture is one moment, so
 * registers that are switched within a frame show one of their values.
 * Sources: IBM VGA XGA Technical Reference Manual, CRT controller; FreeVGA; what QEMU shows (tests/display).
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "device/display/vga_draw_private.h"
#include "display/display.h"

/* The cursor is seen for 16 of 32 frames at 70 Hz and blinks twice as fast as characters do. */
#define BLINK_NS (1000000000LL * 16 / 70)

/* ---- colours ---- */

static uint32_t rgb(const struct vga *v, unsigned index, bool has_8_bits)
{
    uint32_t value = 0;

    index &= v->dac_mask;
    for (unsigned c = 0; c < 3; c++) {
        uint8_t x = v->dac[index * 3 + c];

        value = value << 8 | (has_8_bits ? x : (uint8_t)((x & 0x3f) << 2 | (x & 1) * 3));
    }
    return value;
}

/* Sixteen colours go through the attribute controller, 256 to the DAC as they are. */
static void palette_make(const struct vga *v, struct vga_picture *p)
{
    bool has_8_bits = (v->vbe[VBE_ENABLE] & VBE_ENABLED) && (v->vbe[VBE_ENABLE] & VBE_8BIT_DAC);

    for (unsigned i = 0; i < 16; i++) {
        unsigned index = v->attr[i];

        if (v->attr[ATTR_MODE] & ATTR_MODE_P54) index = (v->attr[ATTR_COLOR_SELECT] & 15u) << 4 | (index & 15);
        else index = (v->attr[ATTR_COLOR_SELECT] & 12u) << 4 | (index & 0x3f);
        p->color16[i] = rgb(v, index, has_8_bits);
    }
    for (unsigned i = 0; i < 256; i++) p->color256[i] = rgb(v, i, has_8_bits);
}

/* ---- geometry ---- */

static void geometry_vbe(const struct vga *v, struct vga_picture *p)
{
    uint32_t bits = v->vbe[VBE_BPP] == 15 ? 16 : v->vbe[VBE_BPP];

    if (bits == 4) bits = 1;           /* in each plane */
    p->width = v->vbe[VBE_XRES];
    p->height = v->vbe[VBE_YRES];
    p->kind = bits == 1 ? PICTURE_VBE_PLANAR : PICTURE_LINEAR;
    p->pitch = v->vbe[VBE_VIRT_WIDTH] * bits / 8;
    p->start = v->vbe[VBE_Y_OFFSET] * p->pitch + v->vbe[VBE_X_OFFSET] * bits / 8;
    p->bpp = v->vbe[VBE_BPP];
}

static void geometry_vga(const struct vga *v, struct vga_picture *p)
{
    const uint8_t *c = v->crtc;
    bool text = !(v->gfx[GFX_MISC] & GFX_MISC_GRAPHICS), half = v->seq[SEQ_CLOCKING] & SEQ_CLOCKING_HALF;
    unsigned shift = v->gfx[GFX_MODE] >> 5 & 3, columns = c[CRTC_HDISPLAY_END] + 1u;
    unsigned lines = (c[CRTC_VDISPLAY_END] | (c[CRTC_OVERFLOW] & 2) << 7 | (c[CRTC_OVERFLOW] & 0x40) << 3) + 1u;

    p->kind = text ? PICTURE_TEXT : shift == 0 ? PICTURE_PLANAR : shift == 1 ? PICTURE_CGA : PICTURE_256;
    p->dots = text && !(v->seq[SEQ_CLOCKING] & SEQ_CLOCKING_8) ? 9 : 8;
    p->scale = half && p->kind != PICTURE_256 ? 2 : 1;
    if (p->scale == 2) p->dots = 8;
    p->max_scan = c[CRTC_MAX_SCAN] & 0x1f;
    p->width = columns * p->dots * p->scale;
    p->height = text ? lines / (p->max_scan + 1u) * (p->max_scan + 1u) : lines;
    p->pitch = c[CRTC_OFFSET] * 2u;
    p->start = (uint32_t)c[CRTC_START_HIGH] << 8 | c[CRTC_START_LOW];
    p->line_compare = c[CRTC_LINE_COMPARE] | (c[CRTC_OVERFLOW] & 0x10u) << 4 | (c[CRTC_MAX_SCAN] & 0x40u) << 3;
}

bool vga_is_blank(const struct vga *v)
{
    if (!v->has_legacy) return !(v->vbe[VBE_ENABLE] & VBE_ENABLED);
    return !(v->attr_index & ATTR_INDEX_VIDEO) || (v->seq[SEQ_CLOCKING] & SEQ_CLOCKING_OFF);
}

static void geometry(const struct vga *v, struct vga_picture *p)
{
    if (v->vbe[VBE_ENABLE] & VBE_ENABLED) geometry_vbe(v, p);
    else geometry_vga(v, p);
}

void vga_size(const struct vga *v, unsigned *width, unsigned *height)
{
    struct vga_picture p = { 0 };

    geometry(v, &p);
    *width = p.width;
    *height = p.height;
}

/* ---- rows ---- */

/* Pixels that the attribute controller shifts out at the left; the byte pan is done by the CRTC. */
static unsigned pel_pan(const struct vga *v, const struct vga_picture *p)
{
    unsigned pan = v->attr[ATTR_PEL_PAN] & 15;

    if (p->kind == PICTURE_256) return (pan & 7) / 2 * 2;
    if (p->dots == 9) return pan > 7 ? 0 : pan + 1;
    return (pan & 7) * p->scale;
}

uint32_t vga_crtc_offset(const struct vga *v, uint32_t address, unsigned row_scan)
{
    uint8_t mode = v->crtc[CRTC_MODE];
    uint32_t at = address & 0xffff;

    if (v->crtc[CRTC_UNDERLINE] & CRTC_UNDERLINE_DWORD) at = at << 2;
    else if (!(mode & CRTC_MODE_BYTE)) at = at << 1 | (mode & CRTC_MODE_WRAP ? at >> 15 : at >> 13 & 1);
    if (!(mode & CRTC_MODE_ROW_SCAN_13)) at = (at & ~0x2000u) | (row_scan & 1) << 13;
    if (!(mode & CRTC_MODE_ROW_SCAN_14)) at = (at & ~0x4000u) | (row_scan & 2) << 13;
    return at & 0xffff;
}

static void rows_vga(struct vga *v, struct vga_picture *p)
{
    unsigned row_scan = v->crtc[CRTC_PRESET_ROW_SCAN] & 0x1f, pan = pel_pan(v, p);
    uint32_t address = p->start + (v->crtc[CRTC_PRESET_ROW_SCAN] >> 5 & 3);
    bool doubles = v->crtc[CRTC_MAX_SCAN] & CRTC_MAX_SCAN_DOUBLE, second = false;

    if (p->kind == PICTURE_TEXT) doubles = false;
    for (unsigned y = 0; y < p->height; y++) {
        p->address = address;
        p->row_scan = row_scan;
        vga_row_fill[p->kind](v, p, p->row);
        display_row_put(v->display, y, p->row + pan);
        if (y == p->line_compare) {
            address = row_scan = 0;
            second = false;
            if (v->attr[ATTR_MODE] & ATTR_MODE_PAN_TOP) pan = 0;
            continue;
        }
        second = doubles && !second;
        if (second) continue;
        if (row_scan++ != p->max_scan) row_scan &= 0x1f;
        else {
            row_scan = 0;
            address += p->pitch;
        }
    }
}

static void row_vbe(struct vga *v, struct vga_picture *p, unsigned y)
{
    p->address = p->start + y * p->pitch;
    vga_row_fill[p->kind](v, p, p->row);
    display_row_put(v->display, y, p->row);
}

/* ---- what is to be drawn again ---- */

static void shown_note(const struct vga *v, const struct vga_picture *p, struct vga_shown *to)
{
    int64_t blinks = clock_virtual_ns() / BLINK_NS;

    memset(to, 0, sizeof(*to));
    to->blank = vga_is_blank(v);
    if (p->kind == PICTURE_TEXT) {
        to->cursor = blinks & 1;
        to->blink = (v->attr[ATTR_MODE] & ATTR_MODE_BLINK) && (blinks & 2);
    }
    memcpy(to->seq, v->seq, sizeof(to->seq));
    memcpy(to->gfx, v->gfx, sizeof(to->gfx));
    memcpy(to->crtc, v->crtc, sizeof(to->crtc));
    memcpy(to->attr, v->attr, sizeof(to->attr));
    memcpy(to->dac, v->dac, sizeof(to->dac));
    memcpy(to->vbe, v->vbe, sizeof(to->vbe));
    to->vbe[VBE_BANK] = 0;
    to->dac_mask = v->dac_mask;
}

struct dirty_rows {
    struct vga *v;
    struct vga_picture *p;
    unsigned next;                     /* first row that was not drawn yet */
    bool any;
};

static void any_dirty(void *opaque, uint64_t offset, uint64_t size) { ((struct dirty_rows *)opaque)->any = true; }

static void rows_dirty(void *opaque, uint64_t offset, uint64_t size)
{
    struct dirty_rows *d = opaque;
    uint64_t end = offset + size - MIN(offset + size, (uint64_t)d->p->start);
    uint64_t first = (offset - MIN(offset, (uint64_t)d->p->start)) / d->p->pitch, last = (end + d->p->pitch - 1) / d->p->pitch;

    if (first > d->next) d->next = (unsigned)MIN(first, (uint64_t)d->p->height);
    for (; d->next < last && d->next < d->p->height; d->next++) row_vbe(d->v, d->p, d->next);
}

static void draw(struct vga *v, struct vga_picture *p, bool all)
{
    struct dirty_rows d = { .v = v, .p = p };

    if (p->kind == PICTURE_LINEAR) {
        uint64_t bytes = (uint64_t)p->height * p->pitch;

        dirty_tracker_take(v->dirty, p->start, bytes, all ? any_dirty : rows_dirty, &d);
        for (unsigned y = 0; all && y < p->height; y++) row_vbe(v, p, y);
        return;
    }
    dirty_tracker_take(v->dirty, 0, v->vram.size_bytes < VGA_PLANES_BYTES || p->kind == PICTURE_VBE_PLANAR ?
                       v->vram.size_bytes : VGA_PLANES_BYTES, any_dirty, &d);
    if (!all && !d.any) return;
    if (p->kind == PICTURE_VBE_PLANAR)
        for (unsigned y = 0; y < p->height; y++) row_vbe(v, p, y);
    else rows_vga(v, p);
}

static bool row_reserve(struct vga *v, const struct vga_picture *p)
{
    size_t pixels = p->width + VGA_ROW_SPARE;
    uint32_t *row;

    if (v->row_pixels >= pixels) return true;
    row = realloc(v->row, pixels * sizeof(*row));
    if (!row) return false;
    v->row = row;
    v->row_pixels = pixels;
    return true;
}

void vga_update(void *opaque)
{
    struct vga *v = opaque;
    struct vga_picture p = { 0 };
    struct vga_shown now;
    bool all;

    geometry(v, &p);
    shown_note(v, &p, &now);
    all = v->redraw || memcmp(&now, &v->shown, sizeof(now));
    v->shown = now;
    v->redraw = false;
    if (now.blank) {
        if (all) display_clear(v->display);
        return;
    }
    if (!row_reserve(v, &p) || display_resize(v->display, p.width, p.height) < 0) {
        v->redraw = true;
        return;
    }
    p.row = v->row;
    p.memory = dirty_tracker_bytes(v->dirty);
    p.cursor = now.cursor;
    p.blink = now.blink;
    palette_make(v, &p);
    draw(v, &p, all);
}
