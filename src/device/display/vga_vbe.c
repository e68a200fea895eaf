/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Bochs display interface (VBE_DISPI) at ports 1CEh (index) and 1CFh/1D0h (data), and the same registers in
 * the card's memory BAR 2 (0: EDID, 400h: ports 3C0h-3DFh, 500h: VBE, 600h: byte order). Source: VBE_DISPI description
 * of Bochs' vgabios, QEMU's specification standard-vga.
 */
#include <string.h>

#include "base/bits.h"
#include "device/display/vga_private.h"

enum { MAX_XRES = 16000, MAX_YRES = 12000, ID_FIRST = 0xb0c0, ID_LAST = 0xb0c5 };
enum { MMIO_PORTS = 0x400, MMIO_VBE = 0x500, MMIO_BYTE_ORDER = 0x600 };

uint16_t vga_vbe_read(const struct vga *v, unsigned index)
{
    if (index >= VBE_COUNT) return 0;
    if (v->vbe[VBE_ENABLE] & VBE_GETCAPS) {
        switch (index) {
        case VBE_XRES: return MAX_XRES;
        case VBE_YRES: return MAX_YRES;
        case VBE_BPP: return 32;
        }
    }
    return index == VBE_MEMORY_64K ? (uint16_t)(v->vram.size_bytes >> 16) : v->vbe[index];
}

static uint16_t clamp(uint32_t value, uint32_t low, uint32_t high)
{
    return (uint16_t)(value < low ? low : value > high ? high : value);
}

/* A picture that would begin too late begins at the first line, and if need be at the first pixel. */
static void offset_check(struct vga *v, uint32_t pixel_bits)
{
    uint16_t *r = v->vbe;
    uint64_t line = r[VBE_VIRT_WIDTH] * pixel_bits / 8, x = r[VBE_X_OFFSET] * pixel_bits / 8;

    if ((r[VBE_Y_OFFSET] + (uint64_t)r[VBE_YRES]) * line + x > v->vram.size_bytes) r[VBE_Y_OFFSET] = 0;
    if (r[VBE_YRES] * line + x > v->vram.size_bytes) r[VBE_X_OFFSET] = 0;
}

/* Whatever was asked for is brought to values for which every pixel lies inside of the video memory. */
static void geometry_check(struct vga *v)
{
    uint16_t *r = v->vbe;
    uint32_t pixel_bits, lines;

    if (r[VBE_BPP] != 4 && r[VBE_BPP] != 8 && r[VBE_BPP] != 15 && r[VBE_BPP] != 16 && r[VBE_BPP] != 24 &&
        r[VBE_BPP] != 32)
        r[VBE_BPP] = 8;
    pixel_bits = r[VBE_BPP] == 15 ? 16 : r[VBE_BPP];
    r[VBE_XRES] = clamp(r[VBE_XRES] & ~7u, 8, MAX_XRES);
    r[VBE_VIRT_WIDTH] = clamp(r[VBE_VIRT_WIDTH] & ~7u, r[VBE_XRES], MAX_XRES);
    lines = (uint32_t)v->vram.size_bytes / (r[VBE_VIRT_WIDTH] * pixel_bits / 8);
    r[VBE_YRES] = clamp(r[VBE_YRES], 1, clamp(lines, 1, MAX_YRES));
    r[VBE_VIRT_HEIGHT] = clamp(lines, 1, 0xffff);
    offset_check(v, pixel_bits);
}

void vga_vbe_check(struct vga *v)
{
    if (v->vbe[VBE_ENABLE] & VBE_ENABLED) geometry_check(v);
}

void vga_vbe_force(struct vga *v)
{
    const uint16_t *r = v->vbe;
    unsigned last = r[VBE_YRES] - 1u, bits = r[VBE_BPP] == 15 ? 16 : r[VBE_BPP];

    if (!(r[VBE_ENABLE] & VBE_ENABLED)) return;
    v->gfx[GFX_MISC] = (v->gfx[GFX_MISC] & ~0x0c) | 4 | GFX_MISC_GRAPHICS;
    v->gfx[GFX_MODE] = (v->gfx[GFX_MODE] & ~0x60) | (bits == 4 ? 0 : 0x40);
    v->crtc[CRTC_MODE] |= CRTC_MODE_ROW_SCAN_13 | CRTC_MODE_ROW_SCAN_14;
    v->crtc[CRTC_OFFSET] = (uint8_t)(r[VBE_VIRT_WIDTH] * bits / 64);
    v->crtc[CRTC_HDISPLAY_END] = (uint8_t)(r[VBE_XRES] / 8 - 1);
    v->crtc[CRTC_VDISPLAY_END] = (uint8_t)last;
    v->crtc[CRTC_OVERFLOW] = (uint8_t)((v->crtc[CRTC_OVERFLOW] & ~0x42) | (last >> 7 & 2) | (last >> 3 & 0x40) | 0x10);
    v->crtc[CRTC_LINE_COMPARE] = 0xff;
    v->crtc[CRTC_MAX_SCAN] = (v->crtc[CRTC_MAX_SCAN] & ~0x9f) | 0x40;
}

static void enable_write(struct vga *v, uint16_t value)
{
    bool was = v->vbe[VBE_ENABLE] & VBE_ENABLED;
    uint16_t *r = v->vbe;

    r[VBE_ENABLE] = value & (VBE_ENABLED | VBE_GETCAPS | VBE_8BIT_DAC | VBE_LFB | VBE_NO_CLEAR);
    if ((value & VBE_ENABLED) && !was) {
        r[VBE_VIRT_WIDTH] = r[VBE_XRES];
        r[VBE_X_OFFSET] = r[VBE_Y_OFFSET] = r[VBE_BANK] = 0;
        geometry_check(v);
        if (!(value & VBE_NO_CLEAR)) {
            uint32_t bits = r[VBE_BPP] == 15 ? 16 : r[VBE_BPP];

            memset(v->vram.hva, 0,
                   MIN((uint64_t)r[VBE_YRES] * r[VBE_VIRT_WIDTH] * bits / 8, v->vram.size_bytes));
        }
    } else if (!(value & VBE_ENABLED)) r[VBE_BANK] = 0;
    vga_vbe_force(v);
    vga_mapping_update(v);
}

void vga_vbe_write(struct vga *v, unsigned index, uint16_t value)
{
    switch (index) {
    case VBE_ID:
        if (value >= ID_FIRST && value <= ID_LAST) v->vbe[index] = value;
        break;
    case VBE_XRES: case VBE_YRES: case VBE_BPP:
        if (!(v->vbe[VBE_ENABLE] & VBE_ENABLED)) v->vbe[index] = value;
        break;
    case VBE_BANK:
        v->vbe[index] = MIN(value, (uint16_t)((v->vram.size_bytes >> 16) - 1));
        vga_mapping_update(v);
        break;
    case VBE_VIRT_WIDTH: case VBE_X_OFFSET: case VBE_Y_OFFSET:
        v->vbe[index] = value;
        if (v->vbe[VBE_ENABLE] & VBE_ENABLED) geometry_check(v);
        vga_vbe_force(v);
        break;
    case VBE_ENABLE:
        enable_write(v, value);
        break;
    }
}

static uint64_t vbe_port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vga *v = opaque;

    return offset == 0 ? v->vbe_index : vga_vbe_read(v, v->vbe_index);
}

static void vbe_port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct vga *v = opaque;

    if (offset == 0) v->vbe_index = (uint16_t)value;
    else vga_vbe_write(v, v->vbe_index, (uint16_t)value);
}

const struct io_ops vga_vbe_port_io = { vbe_port_read, vbe_port_write, 1, 2 };

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vga *v = opaque;
    uint64_t value = 0;

    if (offset < sizeof(v->edid)) {
        for (unsigned i = 0; i < size && offset + i < sizeof(v->edid); i++) value |= (uint64_t)v->edid[offset + i] << (8 * i);
        return value;
    }
    if (v->has_legacy && offset >= MMIO_PORTS && offset + size <= MMIO_PORTS + 0x20) {
        for (unsigned i = 0; i < size; i++)
            value |= (uint64_t)vga_port_read(v, (uint16_t)(0x3c0 + offset - MMIO_PORTS + i)) << (8 * i);
        return value;
    }
    if (offset >= MMIO_VBE && offset < MMIO_VBE + 2 * VBE_COUNT)
        return vga_vbe_read(v, (unsigned)(offset - MMIO_VBE) / 2);
    if (offset == MMIO_BYTE_ORDER) return 8;                   /* size of this block */
    if (offset == MMIO_BYTE_ORDER + 4) return 0x1e1e1e1e;      /* little-endian, always */
    return 0;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct vga *v = opaque;

    if (v->has_legacy && offset >= MMIO_PORTS && offset + size <= MMIO_PORTS + 0x20) {
        for (unsigned i = 0; i < size; i++)
            vga_port_write(v, (uint16_t)(0x3c0 + offset - MMIO_PORTS + i), (uint8_t)(value >> (8 * i)));
    } else if (size == 2 && offset >= MMIO_VBE && offset < MMIO_VBE + 2 * VBE_COUNT)
        vga_vbe_write(v, (unsigned)(offset - MMIO_VBE) / 2, (uint16_t)value);
}

const struct io_ops vga_mmio_io = { mmio_read, mmio_write, 1, 4 };
