/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The window A0000h-BFFFFh onto the four planes: write modes 0-3, read modes 0 and 1, odd/even, chain 4, and
 * the banks of the Bochs extensions. Source: IBM VGA XGA Technical Reference Manual, graphics controller;
 * FreeVGA.
 *
 * Plane bytes are addressed as the chip does it: in odd/even mode A0 picks the plane and is zero in the offset
 * (in the 128 KiB window A16 takes its place), in chain 4 A0 and A1 do. The odd/even page bit of the
 * miscellaneous output register is not looked at.
 */
#include "device/display/vga_private.h"

#include "base/bits.h"

/* Start and length of the window that graphics register 6 selects. */
static bool window_decode(const struct vga *v, uint64_t offset, uint32_t *address)
{
    static const uint32_t start[4] = { 0, 0, 0x10000, 0x18000 }, length[4] = { 0x20000, 0x10000, 0x8000, 0x8000 };
    unsigned map = v->gfx[GFX_MISC] >> 2 & 3;

    if (offset < start[map] || offset - start[map] >= length[map]) return false;
    *address = (uint32_t)(offset - start[map]);
    return true;
}

/* Modes of 8 bits and more: memory as it lies, seen through a bank. With 4 bits the bank is one of the planes. */
static bool is_linear(const struct vga *v)
{
    return (v->vbe[VBE_ENABLE] & VBE_ENABLED) && v->vbe[VBE_BPP] != 4;
}

static uint8_t *bank_byte(const struct vga *v, uint64_t offset)
{
    uint64_t at = (uint64_t)v->vbe[VBE_BANK] << 16 | (offset & 0xffff);

    return offset < 0x10000 && at < v->vram.size_bytes ? (uint8_t *)v->vram.hva + at : NULL;
}

/* Byte of a plane that is switched to a bank; false: beyond the memory. */
static bool bank_offset(const struct vga *v, uint32_t *at)
{
    if (v->vbe[VBE_ENABLE] & VBE_ENABLED) *at |= (uint32_t)v->vbe[VBE_BANK] << 16;
    return vga_plane_index(v->chain4_layout, 3, *at) < v->vram.size_bytes;
}

static uint32_t odd_even_offset(const struct vga *v, uint32_t address)
{
    unsigned map = v->gfx[GFX_MISC] >> 2 & 3;

    return (address & 0xfffe) | (map == 0 ? address >> 16 & 1 : 0);
}

static uint8_t byte_read(struct vga *v, uint64_t offset)
{
    const uint8_t *vram = v->vram.hva;
    unsigned plane = v->gfx[GFX_READ_MAP] & 3;
    uint32_t address, at;
    uint8_t differs = 0;

    if (is_linear(v)) {
        const uint8_t *p = bank_byte(v, offset);

        return p ? *p : 0xff;
    }
    if (!window_decode(v, offset, &address)) return 0xff;
    at = address & 0xffff;
    if (v->seq[SEQ_MEMORY_MODE] & SEQ_MEMORY_CHAIN4) {
        plane = address & 3;
        at &= 0xfffc;
    } else if (v->gfx[GFX_MODE] & GFX_MODE_ODD_EVEN) {
        plane = (plane & 2) | (address & 1);
        at = odd_even_offset(v, address);
    }
    if (!bank_offset(v, &at)) return 0xff;
    for (unsigned p = 0; p < 4; p++) v->latch[p] = vram[vga_plane_index(v->chain4_layout, p, at)];
    if (!(v->gfx[GFX_MODE] & GFX_MODE_READ)) return v->latch[plane];
    for (unsigned p = 0; p < 4; p++) {
        uint8_t wanted = v->gfx[GFX_COLOR_COMPARE] >> p & 1 ? 0xff : 0;

        if (v->gfx[GFX_COLOR_DONT_CARE] >> p & 1) differs |= v->latch[p] ^ wanted;
    }
    return (uint8_t)~differs;
}

/* Function select of the data rotate register. */
static uint8_t combine(unsigned function, uint8_t value, uint8_t latch)
{
    switch (function) {
    case 1: return value & latch;
    case 2: return value | latch;
    case 3: return value ^ latch;
    }
    return value;
}

static uint8_t rotated(const struct vga *v, uint8_t value)
{
    unsigned by = v->gfx[GFX_DATA_ROTATE] & 7;

    return (uint8_t)(value >> by | value << (8 - by));
}

/* What a CPU write makes of one plane. */
static uint8_t plane_value(const struct vga *v, unsigned p, uint8_t value)
{
    unsigned function = v->gfx[GFX_DATA_ROTATE] >> 3 & 3;
    uint8_t mask = v->gfx[GFX_BIT_MASK], fill = v->gfx[GFX_SET_RESET] >> p & 1 ? 0xff : 0, result = value;

    switch (v->gfx[GFX_MODE] & GFX_MODE_WRITE) {
    case 0:
        result = v->gfx[GFX_ENABLE_SET_RESET] >> p & 1 ? fill : rotated(v, value);
        break;
    case 1:
        return v->latch[p];
    case 2:
        result = value >> p & 1 ? 0xff : 0;
        break;
    case 3:
        mask &= rotated(v, value);
        result = fill;
        break;
    }
    result = combine(function, result, v->latch[p]);
    return (result & mask) | (v->latch[p] & ~mask);
}

static void byte_write(struct vga *v, uint64_t offset, uint8_t value)
{
    uint8_t *vram = v->vram.hva;
    unsigned planes = v->seq[SEQ_MAP_MASK];
    uint32_t address, at;

    if (is_linear(v)) {
        uint8_t *p = bank_byte(v, offset);

        if (p) *p = value;
        return;
    }
    if (!window_decode(v, offset, &address)) return;
    at = address & 0xffff;
    if (v->seq[SEQ_MEMORY_MODE] & SEQ_MEMORY_CHAIN4) {
        planes &= 1u << (address & 3);
        at &= 0xfffc;
    } else if (!(v->seq[SEQ_MEMORY_MODE] & SEQ_MEMORY_SEQUENTIAL)) {
        planes &= address & 1 ? 0xa : 5;
        at = odd_even_offset(v, address);
    }
    if (!bank_offset(v, &at)) return;
    for (unsigned p = 0; p < 4; p++)
        if (planes >> p & 1) vram[vga_plane_index(v->chain4_layout, p, at)] = plane_value(v, p, value);
}

uint64_t vga_window_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = 0;

    vga_mapping_count(opaque);
    for (unsigned i = 0; i < size; i++) value |= (uint64_t)byte_read(opaque, offset + i) << (8 * i);
    return value;
}

void vga_window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    vga_mapping_count(opaque);
    for (unsigned i = 0; i < size; i++) byte_write(opaque, offset + i, (uint8_t)(value >> (8 * i)));
}
