/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A picture that is being drawn, and the functions that fill one row of it, by the kind of mode. */
#ifndef DEVICE_DISPLAY_VGA_DRAW_PRIVATE_H
#define DEVICE_DISPLAY_VGA_DRAW_PRIVATE_H

#include "device/display/vga_private.h"

/* 16 colours in four planes; CGA's four colours in pairs of bits; 256 colours a byte each; and those of the Bochs
 * extensions: planes without the CRTC's address games, and memory as it lies, 8 to 32 bits a pixel. */
enum picture_kind { PICTURE_TEXT, PICTURE_PLANAR, PICTURE_CGA, PICTURE_256, PICTURE_VBE_PLANAR, PICTURE_LINEAR, PICTURE_KINDS };

/* A row is filled somewhat further than it is wide: panning shows what follows. */
enum { VGA_ROW_SPARE = 64 };

struct vga_picture {
    const uint8_t *memory;             /* what the dirty tracker told of */
    enum picture_kind kind;
    unsigned width, height;            /* in pixels on the screen */
    unsigned dots, scale;              /* VGA modes: a character's width, and each pixel's */
    unsigned max_scan, line_compare, bpp;
    uint32_t start, pitch;             /* VGA: counts of the CRTC; VBE: bytes */
    uint32_t address;                  /* of the row, likewise */
    unsigned row_scan;
    bool cursor, blink;                /* the cursor is hidden now; blinking characters are */
    uint32_t color16[16], color256[256];
    uint32_t *row;
};

typedef void vga_row_fn(const struct vga *v, const struct vga_picture *p, uint32_t *to);
extern vga_row_fn *const vga_row_fill[PICTURE_KINDS];
/* vga_draw_text.c */
vga_row_fn vga_row_text;
/* Attribute bit 3 picks another font; a character's row of dots, in that video memory, in the one that its attribute picks. */
bool vga_has_two_fonts(const struct vga *v);
uint8_t vga_glyph_row(const struct vga *v, const uint8_t *memory, uint8_t character, uint8_t attribute, unsigned row_scan);

bool vga_is_blank(const struct vga *v);
void vga_size(const struct vga *v, unsigned *width, unsigned *height);

/* Where in its plane the byte of an address of the CRTC lies. */
uint32_t vga_crtc_offset(const struct vga *v, uint32_t address, unsigned row_scan);

#endif
