/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The graphic card: one of four, at slot 2 of the PCI bus if no other is wanted, and the display that shows its picture. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "device/display/virtio_vga.h"
#include "display/display.h"
#include "machine/pc_private.h"

#define ROMS "/usr/share/seabios/"

enum { DEVFN_VGA = 2 << 3, GPU_VECTORS = 3, GPU_VRAM_BYTES = 8 << 20 };  /* the last two as QEMU has them */

static const struct { const char *rom; bool has_vga; } cards[] = {
    [VGA_CARD_STD] = { ROMS "vgabios-stdvga.bin", true }, [VGA_CARD_BOCHS] = { NULL, false },
    [VGA_CARD_VIRTIO] = { ROMS "vgabios-virtio.bin", true }, [VGA_CARD_GPU] = { NULL, false },
};

bool pc_vga_has_text(const struct machine *m) { return m->config.has_vga && cards[m->config.vga.card].has_vga; }

/* A kernel that is started without firmware finds the font that the video BIOS would have loaded. It is known by its
 * second character, the white face. NULL: it is not in there. */
static const uint8_t *font_find(const uint8_t *rom, size_t size)
{
    static const uint8_t face[VGA_FONT_HEIGHT] = { 0, 0, 0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd, 0x99, 0x81, 0x81, 0x7e };
    const uint8_t *at = rom ? memmem(rom, size, face, sizeof(face)) : NULL;

    if (!at || at - rom < VGA_FONT_HEIGHT || (size_t)(rom + size - at) < VGA_FONT_BYTES - VGA_FONT_HEIGHT) return NULL;
    return at - VGA_FONT_HEIGHT;
}

/* virtio-gpu alone, or with a VGA in the same function. */
static struct device *gpu_create(struct machine *m, const struct vga_config *vga, struct error *err)
{
    const struct virtio_device_config *d = &m->config.vga.virtio;
    struct virtio_vga_config c = { .pci = d->pci, .gpu = d->gpu, .vga = *vga };
    struct virtio *gpu;

    c.pci.bus = vga->bus;
    c.pci.devfn = vga->devfn;
    if (!d->has_vectors) c.pci.vectors = GPU_VECTORS;
    c.gpu.memory = m->memory;
    c.gpu.id = d->id;
    c.gpu.options = d->options;
    c.gpu.display = m->display;
    c.gpu.is_vga = vga->legacy;
    c.vga.vram_bytes = GPU_VRAM_BYTES;
    if (c.gpu.is_vga) return virtio_vga_new(&c, &m->vga, err);
    gpu = virtio_gpu_new(&c.gpu, err);
    return gpu ? virtio_pci_new(&c.pci, gpu, err) : NULL;
}

static int card_create(struct machine *m, const struct vga_config *c, struct error *err)
{
    bool is_gpu = m->config.vga.card == VGA_CARD_VIRTIO || m->config.vga.card == VGA_CARD_GPU;
    struct device *d = is_gpu ? gpu_create(m, c, err) : vga_new(c, err);

    if (!d) return -1;
    if (is_gpu) m->gpu = virtio_pci_device(d);
    else {
        m->vga = vga_of_device(d);
        d->id = m->config.vga.id;
    }
    pc_device_add(m, d);
    return 0;
}

int pc_vga_create(struct machine *m, struct error *err)
{
    const struct vga_settings *s = &m->config.vga;
    struct vga_config c = { .bus = m->pci, .devfn = s->devfn < 0 ? DEVFN_VGA : s->devfn, .legacy = cards[s->card].has_vga,
                            .vram_bytes = s->vram_bytes, .width = s->width, .height = s->height, .memory = m->memory,
                            .ports = m->ports };
    uint8_t *rom = NULL;
    size_t size = 0;
    int result;

    if (!m->config.has_vga) return 0;
    m->display = c.display = display_new();
    if (!m->display) return error_set(err, "no memory for the screen");
    if (cards[s->card].rom) {
        rom = pc_file_read("video BIOS", cards[s->card].rom, 0x10000, &size, err);
        if (!rom) return error_prefix(err, "run 'apt install seabios' or use -vga none");
    }
    if (m->is_direct) c.font = font_find(rom, size);
    else {
        c.rom = rom;
        c.rom_bytes = (uint32_t)size;
    }
    result = card_create(m, &c, err);
    free(rom);
    return result;
}
