/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VGA's register file: miscellaneous output, sequencer, graphics controller, CRT controller, attribute
 * controller and palette DAC. Sources: IBM VGA XGA Technical Reference Manual (1992), section 2; FreeVGA
 * documentation.
 *
 * The retrace bits follow virtual time at 70 Hz and 31.5 kHz whatever the CRTC is programmed to.
 */
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "device/display/vga_private.h"

enum { DAC_STATE_READ = 3, DAC_STATE_WRITE = 0 };
enum {
    FRAME_NS = 14285714,
    RETRACE_NS = 63556 * 2,
    LINE_NS = 31778,
    LINE_BLANK_NS = 6356,
    FRAME_BLANK_NS = 1557000
};

static const uint8_t seq_mask[SEQ_COUNT] = { 3, 0x3d, 0x0f, 0x3f, 0x0e };
static const uint8_t attr_mask[5] = { 0xef, 0xff, 0x3f, 0x0f, 0x0f };      /* mode, overscan, plane enable, panning, color select */
static const uint8_t gfx_mask[GFX_COUNT] = { 0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff };

/* Input status 1: bit 0 while nothing is displayed, bit 3 in vertical retrace. */
static uint8_t status1(void)
{
    uint64_t in_frame = (uint64_t)clock_virtual_ns() % FRAME_NS;

    if (in_frame < RETRACE_NS) return 9;
    if (in_frame >= FRAME_NS - FRAME_BLANK_NS) return 1;
    return in_frame % LINE_NS >= LINE_NS - LINE_BLANK_NS;
}

static void attr_write(struct vga *v, uint8_t value)
{
    unsigned index = v->attr_index & 0x1f;

    if (!v->attr_flip_flop) v->attr_index = value & 0x3f;
    else if (index < 0x10) v->attr[index] = value & 0x3f;
    else if (index < 0x15) v->attr[index] = value & attr_mask[index - 0x10];
    v->attr_flip_flop ^= 1;
}

/* CRTC 0-7 are locked by bit 7 of register 11h, but for the line compare bit in 7. */
static void crtc_write(struct vga *v, unsigned index, uint8_t value)
{
    if (index <= 7 && (v->crtc[CRTC_VSYNC_END] & 0x80)) {
        if (index == CRTC_OVERFLOW) v->crtc[index] = (v->crtc[index] & ~0x10) | (value & 0x10);
        return;
    }
    v->crtc[index] = value;
}

static uint8_t dac_data_read(struct vga *v)
{
    uint8_t value = v->dac[v->dac_read * 3 + v->dac_component];

    if (++v->dac_component == 3) {
        v->dac_component = 0;
        v->dac_read++;
    }
    return value;
}

static void dac_data_write(struct vga *v, uint8_t value)
{
    v->dac_cache[v->dac_component] = v->vbe[VBE_ENABLE] & VBE_8BIT_DAC ? value : value & 0x3f;
    if (++v->dac_component < 3) return;
    memcpy(&v->dac[v->dac_write * 3], v->dac_cache, 3);
    v->dac_component = 0;
    v->dac_write++;
}

/* The CRTC and status 1 lie at 3Bxh for monochrome, 3Dxh for colour. */
static bool is_hidden(const struct vga *v, uint16_t port)
{
    if (port >= 0x3b0 && port <= 0x3bf) return v->misc & MISC_COLOR;
    return port >= 0x3d0 && port <= 0x3df && !(v->misc & MISC_COLOR);
}

uint8_t vga_port_read(struct vga *v, uint16_t port)
{
    if (is_hidden(v, port)) return 0xff;
    switch (port) {
    case 0x3c0: return v->attr_flip_flop ? 0 : v->attr_index;
    case 0x3c1: return v->attr[v->attr_index & 0x1f];
    case 0x3c2: return 0x10;           /* switch sense: a colour monitor is there */
    case 0x3c3: return v->enable;
    case 0x3c4: return v->seq_index;
    case 0x3c5: return v->seq[v->seq_index & 7];
    case 0x3c6: return v->dac_mask;
    case 0x3c7: return v->dac_state;
    case 0x3c8: return v->dac_write;
    case 0x3c9: return dac_data_read(v);
    case 0x3ca: return v->feature;
    case 0x3cc: return v->misc;
    case 0x3ce: return v->gfx_index;
    case 0x3cf: return v->gfx[v->gfx_index & 15];
    case 0x3b4: case 0x3d4: return v->crtc_index;
    case 0x3b5: case 0x3d5: return v->crtc[v->crtc_index & 31];
    case 0x3ba: case 0x3da:
        v->attr_flip_flop = 0;
        return status1();
    }
    return 0xff;
}

void vga_port_write(struct vga *v, uint16_t port, uint8_t value)
{
    if (is_hidden(v, port)) return;
    switch (port) {
    case 0x3c0: attr_write(v, value); break;
    case 0x3c2: v->misc = value & ~0x10; break;
    case 0x3c3: v->enable = value & 1; break;
    case 0x3c4: v->seq_index = value & 7; break;
    case 0x3c5: v->seq[v->seq_index] = value & seq_mask[v->seq_index]; break;
    case 0x3c6: v->dac_mask = value; break;
    case 0x3c7:
        v->dac_read = value;
        v->dac_component = 0;
        v->dac_state = DAC_STATE_READ;
        break;
    case 0x3c8:
        v->dac_write = value;
        v->dac_component = 0;
        v->dac_state = DAC_STATE_WRITE;
        break;
    case 0x3c9: dac_data_write(v, value); break;
    case 0x3ce: v->gfx_index = value & 15; break;
    case 0x3cf: v->gfx[v->gfx_index] = value & gfx_mask[v->gfx_index]; break;
    case 0x3b4: case 0x3d4: v->crtc_index = value & 31; break;
    case 0x3b5: case 0x3d5: crtc_write(v, v->crtc_index, value); break;
    case 0x3ba: case 0x3da: v->feature = value & 0x10; break;
    }
    if (port == 0x3cf || port == 0x3b5 || port == 0x3d5) vga_vbe_force(v);
    if (port == 0x3c5 || port == 0x3cf) vga_mapping_update(v);
}

void vga_registers_reset(struct vga *v)
{
    v->misc = MISC_COLOR;
    v->feature = 0;
    v->enable = 1;
    v->seq_index = v->gfx_index = v->crtc_index = v->attr_index = v->attr_flip_flop = 0;
    memset(v->seq, 0, sizeof(v->seq));
    memset(v->gfx, 0, sizeof(v->gfx));
    memset(v->crtc, 0, sizeof(v->crtc));
    memset(v->attr, 0, sizeof(v->attr));
    memset(v->dac, 0, sizeof(v->dac));
    memset(v->latch, 0, sizeof(v->latch));
    v->dac_mask = 0xff;
    v->dac_state = v->dac_read = v->dac_write = v->dac_component = 0;
}

/* Video BIOS mode 3 (IBM VGA XGA Technical Reference, table of mode parameters). The palette's 64 colours are
 * those of an EGA monitor: bits 0-2 are two thirds of blue, green and red, bits 3-5 one third. */
void vga_text_mode_set(struct vga *v)
{
    static const uint8_t seq[5] = { 3, 0, 3, 0, 2 }, gfx[9] = { 0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff };
    static const uint8_t crtc[25] = { 0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0,    0x4f, 0x0d, 0x0e, 0,
                                      0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff };
    static const uint8_t attr[21] = { 0,    1,    2,    3,    4,    5,    0x14, 7,    0x38, 0x39, 0x3a,
                                      0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0,    0x0f, 8,    0 };
    uint8_t *vram = v->vram.hva;

    if (!v->has_legacy) return;
    v->misc = 0x67;
    memcpy(v->seq, seq, sizeof(seq));
    memcpy(v->gfx, gfx, sizeof(gfx));
    memcpy(v->crtc, crtc, sizeof(crtc));
    memcpy(v->attr, attr, sizeof(attr));
    v->attr_index = 0x20;
    for (unsigned i = 0; i < 64; i++)
        for (unsigned c = 0; c < 3; c++)
            v->dac[i * 3 + c] = (uint8_t)((i >> (2 - c) & 1) * 0x2a + (i >> (5 - c) & 1) * 0x15);
    for (unsigned i = 0; i < 0x8000; i += 2) {
        vram[i] = ' ';
        vram[i + 1] = 7;
    }
    for (unsigned i = 0; v->font && i < VGA_FONT_BYTES; i++)       /* 32 rows a character */
        vram[vga_plane_index(v->chain4_layout, 2, i / VGA_FONT_HEIGHT * 32 + i % VGA_FONT_HEIGHT)] = v->font[i];
    vga_mapping_update(v);
}
