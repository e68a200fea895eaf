/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Standard VGA with the Bochs display extensions, or those alone: PCI 1234:1111; or a part of another function. */
#ifndef DEVICE_DISPLAY_VGA_H
#define DEVICE_DISPLAY_VGA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus/device.h"
#include "memory/map.h"

struct curses_text;
struct display;
struct error;
struct pci_bus;
struct pci_device;
struct vga;

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
struct vga *vga_of_device(struct device *d);

/* For a function that is more than a VGA: the same without PCI, reset, and then its BAR 0 and ROM. config->bus and devfn do not count, and who draws
 * the display's picture is the function's business: vga_update or itself. It removes BARs and ROM before vga_part_free. */
struct vga *vga_part_new(const struct vga_config *config, struct error *err);
void vga_part_attach(struct vga *v, struct pci_device *function);
void vga_part_free(struct vga *v);
void vga_part_reset(struct vga *v);
/* The first 4 KiB of BAR 2: registers, opaque is the VGA. */
extern const struct io_ops vga_mmio_io;
/* The display's source, opaque is the VGA; everything is drawn the next time. */
void vga_update(void *opaque);
void vga_redraw(void *opaque);
/* What it shows, in a line for people. */
void vga_describe(const struct vga *v, char *line, size_t size);

/* What a video BIOS leaves behind: mode 3, 80x25 text, blank, the font loaded. For kernels that are started without firmware. */
void vga_text_mode_set(struct vga *v);

/* The text screen as UTF-8 lines without trailing blanks, at most size bytes with the NUL. False in graphics
 * modes. */
bool vga_text_screen(const struct vga *v, char *buf, size_t size);
/* The same with attributes and cursor, or what is shown instead. */
void vga_text_cells(const struct vga *v, struct curses_text *to);

#endif
