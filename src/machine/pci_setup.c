/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What firmware does to the chip set and to PCI devices, for kernels that are started without: shadow RAM open,
 * PIRQ routes, power management at 600h, IDE channels on, BARs placed, interrupt lines noted. Values are those
 * SeaBIOS chooses. Sources: 82441FX (PAM), 82371SB/AB data sheets, PCI 3.0 section 6.2.5.
 */
#include "base/bits.h"
#include "bus/pci.h"
#include "machine/pc_private.h"

enum { COMMAND = 4, COMMAND_IO = 1, COMMAND_MEMORY = 2, COMMAND_MASTER = 4, BAR0 = 0x10, INTERRUPT_LINE = 0x3c,
       INTERRUPT_PIN = 0x3d, HEADER_DEVFN_HOST = 0, DEVFN_ISA = 8, DEVFN_IDE = 9, DEVFN_PM = 11 };
enum { IO_START = 0xc000, IO_END = 0x10000, MEMORY_END = 0xfeb00000 };

static const uint8_t pirq_route[4] = { 10, 10, 11, 11 };

struct windows { uint32_t io, memory; };

static uint32_t config_read(struct machine *m, unsigned devfn, unsigned reg, unsigned size)
{
    return pci_config_read(m->pci, devfn << 8 | reg, size);
}

static void config_write(struct machine *m, unsigned devfn, unsigned reg, uint32_t value, unsigned size)
{
    pci_config_write(m->pci, devfn << 8 | reg, value, size);
}

/* Sizes one BAR by writing ones and gives it the next aligned place. Returns how many registers it takes. */
static unsigned bar_place(struct machine *m, unsigned devfn, unsigned bar, struct windows *w, uint32_t *command)
{
    unsigned reg = BAR0 + bar * 4;
    uint32_t mask, size;
    bool is_io, is_64;

    config_write(m, devfn, reg, 0xffffffff, 4);
    mask = config_read(m, devfn, reg, 4);
    if (mask == 0 || mask == 0xffffffff) return 1;
    is_io = mask & 1;
    is_64 = !is_io && (mask & 6) == 4;
    mask &= is_io ? 0xfffffffc : 0xfffffff0;
    size = -mask;
    if (is_io) {
        uint32_t at = ALIGN_UP(w->io, size & 0xffff ? size & 0xffff : 0x10000);

        if (at + (size & 0xffff) <= IO_END) {
            config_write(m, devfn, reg, at, 4);
            w->io = at + (size & 0xffff);
            *command |= COMMAND_IO;
        }
    } else {
        uint32_t at = ALIGN_UP(w->memory, size);

        if (at >= w->memory && at < MEMORY_END && size <= MEMORY_END - at) {
            config_write(m, devfn, reg, at, 4);
            if (is_64) config_write(m, devfn, reg + 4, 0, 4);
            w->memory = at + size;
            *command |= COMMAND_MEMORY;
        }
    }
    return is_64 ? 2 : 1;
}

static void device_setup(struct machine *m, unsigned devfn, struct windows *w)
{
    uint32_t command = config_read(m, devfn, COMMAND, 2), pin = config_read(m, devfn, INTERRUPT_PIN, 1);

    for (unsigned bar = 0; bar < 6;) bar += bar_place(m, devfn, bar, w, &command);
    if (pin >= 1 && pin <= 4)
        config_write(m, devfn, INTERRUPT_LINE, pirq_route[((devfn >> 3) + pin - 2) & 3], 1);
    config_write(m, devfn, COMMAND, command | COMMAND_MASTER, 2);
}

static void chipset_setup(struct machine *m)
{
    config_write(m, HEADER_DEVFN_HOST, 0x59, 0x30, 1);                  /* F0000h: RAM */
    for (unsigned reg = 0x5a; reg <= 0x5f; reg++) config_write(m, HEADER_DEVFN_HOST, reg, 0x33, 1);
    for (unsigned i = 0; i < 4; i++) config_write(m, DEVFN_ISA, 0x60 + i, pirq_route[i], 1);
    memory_io_write(m->ports, 0x4d0, 0x00, 1); /* 10 and 11 are level-triggered, 9 is the SCI */
    memory_io_write(m->ports, 0x4d1, 0x0e, 1);
    config_write(m, DEVFN_IDE, 0x40, 0x8000, 2);                        /* both channels decode */
    config_write(m, DEVFN_IDE, 0x42, 0x8000, 2);
    config_write(m, DEVFN_IDE, COMMAND, COMMAND_IO, 2);
    config_write(m, DEVFN_PM, 0x40, 0x601, 4);
    config_write(m, DEVFN_PM, 0x80, 0x01, 1);
    config_write(m, DEVFN_PM, 0x90, 0x701, 4);
    config_write(m, DEVFN_PM, 0xd2, 0x09, 1);
    config_write(m, DEVFN_PM, COMMAND, COMMAND_IO, 2);
}

void pc_pci_setup(struct machine *m)
{
    struct windows w = { IO_START, (uint32_t)MAX(m->ram_below_4g, (gpa_t)0xe0000000) };

    if (!m->pci) return;
    memory_map_begin(m->memory);
    memory_map_begin(m->ports);
    chipset_setup(m);
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        if (devfn == HEADER_DEVFN_HOST || devfn == DEVFN_ISA || !pci_bus_device(m->pci, devfn)) continue;
        device_setup(m, devfn, &w);
        if (devfn == DEVFN_PM) config_write(m, devfn, INTERRUPT_LINE, 9, 1);
    }
    memory_map_end(m->ports);
    memory_map_end(m->memory);
}
