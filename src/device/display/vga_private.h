/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the VGA: registers by their datasheet names, shared by its files. */
#ifndef DEVICE_DISPLAY_VGA_PRIVATE_H
#define DEVICE_DISPLAY_VGA_PRIVATE_H

#include "bus/pci.h"
#include "device/display/edid.h"
#include "device/display/vga.h"
#include "memory/dirty.h"
#include "memory/ram.h"

enum { VGA_WINDOW = 0xa0000, VGA_WINDOW_BYTES = 0x20000, VGA_PLANES_BYTES = 256 << 10 };

enum { SEQ_CLOCKING = 1, SEQ_MAP_MASK, SEQ_CHARACTER_MAP, SEQ_MEMORY_MODE, SEQ_COUNT = 8 };
enum { SEQ_CLOCKING_8 = 1, SEQ_CLOCKING_HALF = 8, SEQ_CLOCKING_OFF = 0x20 };
enum { SEQ_MEMORY_EXTENDED = 2, SEQ_MEMORY_SEQUENTIAL = 4, SEQ_MEMORY_CHAIN4 = 8 };
enum { GFX_SET_RESET, GFX_ENABLE_SET_RESET, GFX_COLOR_COMPARE, GFX_DATA_ROTATE, GFX_READ_MAP, GFX_MODE, GFX_MISC,
       GFX_COLOR_DONT_CARE, GFX_BIT_MASK, GFX_COUNT = 16 };
enum {
    GFX_MODE_WRITE = 3,
    GFX_MODE_READ = 8,
    GFX_MODE_ODD_EVEN = 16,
    GFX_MISC_GRAPHICS = 1,
    GFX_MISC_CHAIN_ODD_EVEN = 2
};
enum {
    CRTC_HDISPLAY_END = 1,
    CRTC_OVERFLOW = 7,
    CRTC_PRESET_ROW_SCAN = 8,
    CRTC_MAX_SCAN = 9,
    CRTC_CURSOR_START = 0x0a,
    CRTC_CURSOR_END = 0x0b,
    CRTC_START_HIGH = 0x0c,
    CRTC_START_LOW = 0x0d,
    CRTC_CURSOR_HIGH = 0x0e,
    CRTC_CURSOR_LOW = 0x0f,
    CRTC_VSYNC_END = 0x11,
    CRTC_VDISPLAY_END = 0x12,
    CRTC_OFFSET = 0x13,
    CRTC_UNDERLINE = 0x14,
    CRTC_MODE = 0x17,
    CRTC_LINE_COMPARE = 0x18,
    CRTC_COUNT = 32
};
enum {
    CRTC_MAX_SCAN_DOUBLE = 0x80,
    CRTC_CURSOR_OFF = 0x20,
    CRTC_UNDERLINE_DWORD = 0x40,
    CRTC_MODE_ROW_SCAN_13 = 1,
    CRTC_MODE_ROW_SCAN_14 = 2,
    CRTC_MODE_WRAP = 0x20,
    CRTC_MODE_BYTE = 0x40,
    MISC_COLOR = 1
};
enum { ATTR_MODE = 0x10, ATTR_PLANE_ENABLE = 0x12, ATTR_PEL_PAN, ATTR_COLOR_SELECT, ATTR_COUNT = 32 };
enum {
    ATTR_MODE_LINE_GRAPHICS = 4,
    ATTR_MODE_BLINK = 8,
    ATTR_MODE_PAN_TOP = 0x20,
    ATTR_MODE_P54 = 0x80,
    ATTR_INDEX_VIDEO = 0x20
};
enum { VBE_ID, VBE_XRES, VBE_YRES, VBE_BPP, VBE_ENABLE, VBE_BANK, VBE_VIRT_WIDTH, VBE_VIRT_HEIGHT, VBE_X_OFFSET,
       VBE_Y_OFFSET, VBE_MEMORY_64K, VBE_COUNT };
enum { VBE_ENABLED = 1, VBE_GETCAPS = 2, VBE_8BIT_DAC = 0x20, VBE_LFB = 0x40, VBE_NO_CLEAR = 0x80 };

/* What the picture was made of last time, but for the memory: see vga_draw.c. */
struct vga_shown {
    uint8_t seq[SEQ_COUNT], gfx[GFX_COUNT], crtc[CRTC_COUNT], attr[ATTR_COUNT], dac[768], dac_mask;
    uint16_t vbe[VBE_COUNT];
    bool blank, cursor, blink;
};

enum vga_plain { VGA_PLAIN_NOT, VGA_PLAIN_TEXT, VGA_PLAIN_CHAIN4, VGA_PLAIN_BANK };

struct vga {
    struct pci_device pci;             /* unused where another function has the VGA in it */
    struct memory_map *memory, *ports;
    struct ram_block vram;
    uint8_t *rom, *font;               /* may be NULL */
    uint32_t rom_bytes;
    struct memory_range *window, *text, *linear, *port_range[6];
    enum vga_plain plain;              /* what of the window is mapped as memory, */
    unsigned plain_at;                 /* and which part of it */
    unsigned window_accesses;          /* since the last change of what the mapping depends on */
    bool chain4_layout;                /* see vga_plane_index */
    bool has_legacy;                   /* ports and window of a VGA */
    uint8_t edid[EDID_BYTES];

    struct display *display;           /* NULL: nobody can look */
    struct dirty_tracker *dirty;
    struct vga_shown shown;
    bool redraw;
    uint32_t *row;                     /* being drawn */
    size_t row_pixels;

    uint8_t misc, feature, enable;
    uint8_t seq_index, seq[SEQ_COUNT];
    uint8_t gfx_index, gfx[GFX_COUNT];
    uint8_t crtc_index, crtc[CRTC_COUNT];
    uint8_t attr_index, attr_flip_flop, attr[ATTR_COUNT];
    uint8_t dac_mask, dac_state, dac_read, dac_write, dac_component, dac_cache[3], dac[768];
    uint8_t latch[4];
    uint16_t vbe_index, vbe[VBE_COUNT];
};

/* Where byte offset of a plane lies in vram. In one layout planes 0 and 1 alternate, so do 2 and 3: text as the CPU sees it
 * in odd/even mode is then plain memory. In the other each fourth byte of the four planes does: so is what chain 4 reaches.
 * What lies beyond 64 KiB is only reached by the banks of VBE modes. */
static inline uint32_t vga_plane_index(bool chain4, unsigned plane, uint32_t offset)
{
    if (chain4) return offset >> 16 << 18 | (offset & 3) << 16 | (offset & 0xfffc) | plane;
    return offset >> 16 << 18 | (plane >> 1) << 17 | (offset & 1) << 16 | (offset & 0xfffe) | (plane & 1);
}

/* vga_memory.c */
uint64_t vga_window_read(void *opaque, uint64_t offset, unsigned size);
void vga_window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size);
/* vga_mapping.c: what lies as plain memory is mapped as such. After each change of what it depends on; at each access. */
void vga_mapping_update(struct vga *v);
void vga_mapping_count(struct vga *v);
/* vga_registers.c */
uint8_t vga_port_read(struct vga *v, uint16_t port);
void vga_port_write(struct vga *v, uint16_t port, uint8_t value);
void vga_registers_reset(struct vga *v);
/* vga_vbe.c */
uint16_t vga_vbe_read(const struct vga *v, unsigned index);
void vga_vbe_write(struct vga *v, unsigned index, uint16_t value);
/* Registers came from outside. */
void vga_vbe_check(struct vga *v);
/* While the Bochs extensions are on, registers of the CRTC and the graphics controller follow them. */
void vga_vbe_force(struct vga *v);
extern const struct io_ops vga_vbe_port_io;

#endif
