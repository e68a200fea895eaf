/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Standard VGA as a PCI card: BAR 0 is the linear frame buffer, BAR 2 the registers, and a ROM. The
 * legacy window and ports answer whatever the command register says, as on QEMU's card. Without them, and with
 * another class code, it is the card bochs-display.
 *
 * VGA modes use the first 256 KiB of the video memory as four planes (see vga_plane_index), the Bochs
 * extensions all of it as it lies. vga_draw.c makes the picture.
 */
#include "device/display/vga.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/display/vga_private.h"
#include "display/display.h"

struct vga *vga_of_device(struct device *d) { return container_of(d, struct vga, pci.device); }

/* Each range of ports begins at a port of its own; its io_ops need the base, so there is one opaque a range. */
#define PORT_RANGE(first) \
    static uint64_t ports_##first##_read(void *opaque, uint64_t offset, unsigned size) \
    { \
        return vga_port_read(opaque, (uint16_t)(0x##first + offset)); \
    } \
    static void ports_##first##_write(void *opaque, uint64_t offset, uint64_t value, unsigned size) \
    { \
        vga_port_write(opaque, (uint16_t)(0x##first + offset), (uint8_t)value); \
    } \
    static const struct io_ops ports_##first = { ports_##first##_read, ports_##first##_write, 1, 1 }

PORT_RANGE(3b4);
PORT_RANGE(3ba);
PORT_RANGE(3c0);
PORT_RANGE(3d4);
PORT_RANGE(3da);

static const struct io_ops window_io = { vga_window_read, vga_window_write, 1, 8, true };

void vga_part_reset(struct vga *v)
{
    vga_registers_reset(v);
    memset(v->vbe, 0, sizeof(v->vbe));
    v->vbe[VBE_ID] = 0xb0c5;
    v->vbe_index = 0;
    v->redraw = true;
    vga_mapping_update(v);
}

static void vga_reset(struct device *d) { vga_part_reset(vga_of_device(d)); }
void vga_redraw(void *opaque) { ((struct vga *)opaque)->redraw = true; }

void vga_part_free(struct vga *v)
{
    for (unsigned i = 0; i < ARRAY_SIZE(v->port_range); i++)
        if (v->port_range[i]) memory_range_remove(v->port_range[i]);
    if (v->text) memory_range_remove(v->text);
    if (v->linear) memory_range_remove(v->linear);
    if (v->window) memory_range_remove(v->window);
    dirty_tracker_free(v->dirty);
    ram_free(&v->vram);
    free(v->rom);
    free(v->font);
    free(v->row);
    free(v);
}

static void vga_destroy(struct device *d)
{
    struct vga *v = vga_of_device(d);

    if (v->display) display_source_set(v->display, NULL, NULL);
    if (v->pci.bus) pci_device_remove(&v->pci);
    vga_part_free(v);
}

void vga_describe(const struct vga *v, char *line, size_t size)
{
    if (v->vbe[VBE_ENABLE] & VBE_ENABLED)
        snprintf(line, size, "VBE mode %ux%u, %u bits", v->vbe[VBE_XRES], v->vbe[VBE_YRES], v->vbe[VBE_BPP]);
    else if (!v->has_legacy) snprintf(line, size, "off");
    else
        snprintf(line, size, "VGA %s mode, window %s", v->gfx[GFX_MISC] & GFX_MISC_GRAPHICS ? "graphics" : "text",
                 v->plain != VGA_PLAIN_NOT ? "mapped as memory" : "through the planes");
}

static void vga_info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    char line[128];

    vga_describe(vga_of_device(d), line, sizeof(line));
    print(opaque, line);
}

static void vga_after_load(struct device *d)
{
    struct vga *v = vga_of_device(d);

    v->seq_index &= 7;
    v->gfx_index &= 15;
    v->crtc_index &= 31;
    if (v->dac_component > 2) v->dac_component = 0;
    if (v->vbe[VBE_BANK] >= v->vram.size_bytes >> 16) v->vbe[VBE_BANK] = 0;
    vga_vbe_check(v);
    v->redraw = true;
    vga_mapping_update(v);
}

static const struct state_field vga_state[] = {
    STATE_FIELD(struct vga, misc), STATE_FIELD(struct vga, feature), STATE_FIELD(struct vga, enable),
    STATE_FIELD(struct vga, seq_index), STATE_ARRAY(struct vga, seq), STATE_FIELD(struct vga, gfx_index),
    STATE_ARRAY(struct vga, gfx), STATE_FIELD(struct vga, crtc_index), STATE_ARRAY(struct vga, crtc),
    STATE_FIELD(struct vga, attr_index), STATE_FIELD(struct vga, attr_flip_flop), STATE_ARRAY(struct vga, attr),
    STATE_FIELD(struct vga, dac_mask), STATE_FIELD(struct vga, dac_state), STATE_FIELD(struct vga, dac_read),
    STATE_FIELD(struct vga, dac_write), STATE_FIELD(struct vga, dac_component), STATE_ARRAY(struct vga, dac_cache),
    STATE_ARRAY(struct vga, dac), STATE_ARRAY(struct vga, latch), STATE_FIELD(struct vga, vbe_index),
    STATE_ARRAY(struct vga, vbe), STATE_FIELD(struct vga, chain4_layout), STATE_END
};

static const struct pci_device_ops vga_ops = {
    .device = {
        .name = "VGA",
        .description = "standard VGA",
        .reset = vga_reset,
        .destroy = vga_destroy,
        .state = vga_state,
        .after_load = vga_after_load,
        .info = vga_info,
    },
};

static const struct pci_device_ops bochs_display_ops = {
    .device = {
        .name = "bochs-display",
        .description = "frame buffer with the Bochs extensions, without VGA",
        .reset = vga_reset,
        .destroy = vga_destroy,
        .state = vga_state,
        .after_load = vga_after_load,
        .info = vga_info,
    },
};

static void legacy_map(struct vga *v)
{
    static const struct { uint16_t first, count; const struct io_ops *ops; } ports[] = {
        { 0x3b4, 2, &ports_3b4 }, { 0x3ba, 1, &ports_3ba }, { 0x3c0, 16, &ports_3c0 }, { 0x3d4, 2, &ports_3d4 },
        { 0x3da, 1, &ports_3da }, { 0x1ce, 4, &vga_vbe_port_io },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
        v->port_range[i] = memory_map_add_io(v->ports, "vga", ports[i].first, ports[i].count, ports[i].ops, v, 2);
    v->window = memory_map_add_io(v->memory, "vga", VGA_WINDOW, VGA_WINDOW_BYTES, &window_io, v, 2);
    v->text = memory_map_add_ram(v->memory, "vga-text", VGA_WINDOW + 0x18000, 0x8000, v->vram.hva, false, 3);
    memory_range_enable(v->text, false);
    v->linear = memory_map_add_ram(v->memory, "vga-linear", VGA_WINDOW, 0x10000, v->vram.hva, false, 3);
    memory_range_enable(v->linear, false);
}

static int rom_copy(struct vga *v, const struct vga_config *config, struct error *err)
{
    uint32_t size = 0x1000;            /* whole pages, for the memory map */

    if (config->font) {
        v->font = malloc(VGA_FONT_BYTES);
        if (!v->font) return error_set(err, "VGA: no memory");
        memcpy(v->font, config->font, VGA_FONT_BYTES);
    }
    if (!config->rom) return 0;
    if (config->rom_bytes > 0x10000) return error_set(err, "VGA: the video BIOS is larger than 64 KiB");
    while (size < config->rom_bytes) size <<= 1;
    v->rom = aligned_alloc(0x1000, size);
    if (!v->rom) return error_set(err, "VGA: no memory");
    memset(v->rom, 0xff, size);
    memcpy(v->rom, config->rom, config->rom_bytes);
    v->rom_bytes = size;
    return 0;
}

/* The memory, who tells of its changes, and the monitor's description. */
static int memory_create(struct vga *v, const struct vga_config *config, struct error *err)
{
    struct edid_config monitor = { config->width ? config->width : 1280, config->height ? config->height : 800 };

    edid_make(v->edid, &monitor);
    if (ram_allocate(&v->vram, config->vram_bytes, false, err) < 0) return -1;
    v->display = config->display;
    if (!v->display) return 0;
    v->dirty = dirty_tracker_new(v->vram.hva, v->vram.size_bytes);
    return v->dirty ? 0 : error_set(err, "VGA: no memory");
}

struct vga *vga_part_new(const struct vga_config *config, struct error *err)
{
    struct vga *v = calloc(1, sizeof(*v));

    if (!v) {
        error_set(err, "VGA: no memory");
        return NULL;
    }
    v->memory = config->memory;
    v->ports = config->ports;
    v->has_legacy = config->legacy;
    if (memory_create(v, config, err) < 0 || rom_copy(v, config, err) < 0) {
        vga_part_free(v);
        return NULL;
    }
    if (v->has_legacy) legacy_map(v);
    vga_part_reset(v);
    return v;
}

void vga_part_attach(struct vga *v, struct pci_device *function)
{
    pci_bar_add_ram(function, 0, v->vram.size_bytes, PCI_BAR_PREFETCH, v->vram.hva, "vga-framebuffer");
    if (v->rom) pci_rom_add(function, v->rom, v->rom_bytes);
}

struct device *vga_new(const struct vga_config *config, struct error *err)
{
    const struct pci_device_ops *ops = config->legacy ? &vga_ops : &bochs_display_ops;
    struct vga *v = vga_part_new(config, err);

    if (!v) return NULL;
    if (pci_device_init(&v->pci, ops, config->bus, config->devfn, 0x1234, 0x1111, config->legacy ? 0x03000002 : 0x03800002, err) < 0) {
        vga_part_free(v);
        return NULL;
    }
    vga_part_attach(v, &v->pci);
    pci_bar_add_io(&v->pci, 2, 0x1000, 0, &vga_mmio_io, v, "vga-registers");
    if (v->display) display_source_set(v->display, vga_update, v);
    return &v->pci.device;
}
