/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 82441FX host bridge: configuration mechanism 1, shadow RAM (PAM) of C0000h-FFFFFh. PCI 8086:1237. */
#ifndef DEVICE_CHIPSET_I440FX_H
#define DEVICE_CHIPSET_I440FX_H

#include "bus/pci.h"

struct i440fx_config {
    struct pci_bus *bus;               /* it takes 00:00.0 */
    struct memory_map *memory, *ports; /* ports CF8h-CFFh */
    uint8_t *shadow;                   /* RAM behind C0000h-FFFFFh, 256 KiB; NULL: no PAM */
    const uint8_t *rom;                /* firmware that is seen where shadow reads are off; ends at FFFFFh; NULL: none */
    uint32_t rom_bytes;
    /* Byte accesses to CF9h, which the south bridge decodes (piix3_reset_control_*). */
    void *opaque;
    uint8_t (*reset_control_read)(void *opaque);
    void (*reset_control_write)(void *opaque, uint8_t value);
};
/* Realized; NULL with *err. */
struct device *i440fx_new(const struct i440fx_config *config, struct error *err);

#endif
