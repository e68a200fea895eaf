/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Standard VGA with the Bochs display extensions, or those alone: PCI 1234:1111. */
#ifndef DEVICE_DISPLAY_VGA_H
#define DEVICE_DISPLAY_VGA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus/device.h"
#include "memory/map.h"

struct display;
struct error;
struct pci_bus;

enum { VGA_FONT_HEIGHT = 16, VGA_FONT_BYTES = 256 * VGA_FONT_HEIGHT };
enum { VGA_MEMORY_MIN_MIB = 1, VGA_MEMORY_MAX_MIB = 256 };

struct vga_config {
    struct pci_bus *bus;
    int devfn;                         /* 00:02.0 */
    bool legacy;                       /* VGA's ports, window and ROM; false: the card bochs-display */
    uint64_t vram_bytes;               /* a power of two, within the above */
    unsigned width, height;            /* that the monitor likes best, by its EDID; 0: 1280x800 */
    struct display *display;           /* where the picture goes, or NULL; outlives the device */
    struct memory_map *memory, *ports; /* A0000h-BFFFFh; 3B4h.., 3C0h-3CFh, 3D4h.., 1CEh-1D1h */
    const void *font;                  /* VGA_FONT_BYTES for vga_text_mode_set, copied; NULL: none */
    const void *rom;                   /* the video BIOS, copied; NULL: none */
    uint32_t rom_bytes;                /* at most 64 KiB */
};
/* Realized and reset; NULL with *err. */
struct device *vga_new(const struct vga_config *config, struct error *err);

/* What a video BIOS leaves behind: mode 3, 80x25 text, blank, the font loaded. For kernels that are started without firmware. */
void vga_text_mode_set(struct device *d);

/* The text screen as UTF-8 lines without trailing blanks, at most size bytes with the NUL. False in graphics
 * modes. */
bool vga_text_screen(const struct device *d, char *buf, size_t size);

#endif
