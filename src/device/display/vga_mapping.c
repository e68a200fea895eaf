/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What of the window A0000h-BFFFFh behaves as plain memory is mapped as such, so that the CPU reaches it without the card:
 *
 *  - text: odd/even addressing with nothing else in play; the planes lie in memory so that this is linear;
 *  - 256 colours in chain 4 (mode 13h): the planes are laid out anew, since no order is linear for both; the other order
 *    comes back with the next text mode. Each byte's way through the registers works in either;
 *  - the bank of a Bochs mode of 8 bits and more.
 *
 * A change of the map has the engines forget what they know of memory, which costs about as much as some hundred accesses
 * through the registers. So graphics are mapped only after as many since the last change: a guest that switches banks at
 * each pixel is not made slower. Reads of mapped memory do not load the latches.
 */
#include "device/display/vga_private.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 0x8000, LINEAR_BYTES = 0x10000, MAP_AFTER = 256 };

static bool is_unmodified(const struct vga *v)
{
    const uint8_t *g = v->gfx;

    return !g[GFX_ENABLE_SET_RESET] && !g[GFX_DATA_ROTATE] && g[GFX_BIT_MASK] == 0xff;
}

static bool text_is_plain(const struct vga *v)
{
    const uint8_t *g = v->gfx;

    return !(v->seq[SEQ_MEMORY_MODE] & (SEQ_MEMORY_SEQUENTIAL | SEQ_MEMORY_CHAIN4)) && v->seq[SEQ_MAP_MASK] == 3 &&
           g[GFX_MODE] == GFX_MODE_ODD_EVEN && is_unmodified(v) && !(g[GFX_READ_MAP] & 2) && (g[GFX_MISC] & 8);
}

static bool chain4_is_plain(const struct vga *v)
{
    const uint8_t *g = v->gfx;

    return (v->seq[SEQ_MEMORY_MODE] & SEQ_MEMORY_CHAIN4) && v->seq[SEQ_MAP_MASK] == 15 &&
           !(g[GFX_MODE] & (GFX_MODE_WRITE | GFX_MODE_READ)) && is_unmodified(v) && (g[GFX_MISC] >> 2 & 3) == 1;
}

static enum vga_plain plain_kind(const struct vga *v)
{
    if (v->vbe[VBE_ENABLE] & VBE_ENABLED) return v->vbe[VBE_BPP] != 4 ? VGA_PLAIN_BANK : VGA_PLAIN_NOT;
    return text_is_plain(v) ? VGA_PLAIN_TEXT : chain4_is_plain(v) ? VGA_PLAIN_CHAIN4 : VGA_PLAIN_NOT;
}

/* The planes in the other order. Without memory for it everything stays as it is, and is right but slow. */
static bool layout_set(struct vga *v, bool chain4)
{
    uint8_t *vram = v->vram.hva, *old;

    if (v->chain4_layout == chain4) return true;
    old = malloc(VGA_PLANES_BYTES);
    if (!old) return false;
    memcpy(old, vram, VGA_PLANES_BYTES);
    for (unsigned p = 0; p < 4; p++)
        for (uint32_t at = 0; at < 0x10000; at++) vram[vga_plane_index(chain4, p, at)] = old[vga_plane_index(!chain4, p, at)];
    v->chain4_layout = chain4;
    free(old);
    return true;
}

static void plain_unmap(struct vga *v)
{
    memory_range_enable(v->text, false);
    memory_range_enable(v->linear, false);
    v->plain = VGA_PLAIN_NOT;
}

static void text_map(struct vga *v)
{
    memory_range_move(v->text, VGA_WINDOW + (v->gfx[GFX_MISC] & 4 ? 0x18000 : 0x10000));
    memory_range_enable(v->text, true);
}

static void linear_map(struct vga *v, enum vga_plain kind)
{
    uint64_t offset = kind == VGA_PLAIN_BANK ? (uint64_t)v->vbe[VBE_BANK] << 16 : 0;

    if (offset + LINEAR_BYTES > v->vram.size_bytes) return;
    memory_range_set_ram(v->linear, (uint8_t *)v->vram.hva + offset);
    memory_range_enable(v->linear, true);
}

static void plain_map(struct vga *v, enum vga_plain kind)
{
    memory_map_begin(v->memory);
    plain_unmap(v);
    if (kind == VGA_PLAIN_TEXT) text_map(v);
    if (kind == VGA_PLAIN_CHAIN4 || kind == VGA_PLAIN_BANK) linear_map(v, kind);
    memory_map_end(v->memory);
    v->plain = kind;
}

/* Does what is mapped still lie where it did? */
static bool is_in_place(const struct vga *v, enum vga_plain kind)
{
    if (kind != v->plain) return false;
    if (kind == VGA_PLAIN_TEXT) return v->plain_at == (v->gfx[GFX_MISC] & 4u);
    return kind != VGA_PLAIN_BANK || v->plain_at == v->vbe[VBE_BANK];
}

void vga_mapping_update(struct vga *v)
{
    enum vga_plain kind = plain_kind(v);

    if (!v->has_legacy) return;
    v->window_accesses = 0;
    if (is_in_place(v, kind)) return;
    if (kind == VGA_PLAIN_TEXT && layout_set(v, false)) {
        plain_map(v, kind);
        v->plain_at = v->gfx[GFX_MISC] & 4u;
    } else if (v->plain != VGA_PLAIN_NOT) plain_map(v, VGA_PLAIN_NOT);
}

void vga_mapping_count(struct vga *v)
{
    enum vga_plain kind;

    if (++v->window_accesses != MAP_AFTER) return;
    kind = plain_kind(v);
    if (kind != VGA_PLAIN_CHAIN4 && kind != VGA_PLAIN_BANK) return;
    if (kind == VGA_PLAIN_CHAIN4 && !layout_set(v, true)) return;
    plain_map(v, kind);
    v->plain_at = kind == VGA_PLAIN_BANK ? v->vbe[VBE_BANK] : 0;
}
