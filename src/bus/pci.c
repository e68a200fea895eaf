/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One PCI bus with 32 slots of 8 functions.
 *
 * Configuration space is bytes, with a mask of what the guest may write and what a written one clears. After each write to
 * the command register, a BAR or the ROM register the ranges are put where they now belong. INTx wires of all devices end at
 * four lines; a line is up while any device on it is up.
 * Sources: PCI Local Bus Specification 3.0, chapter 6 and 2.2.6 (interrupt pins).
 */
#include "bus/pci.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"

enum { VENDOR = 0, DEVICE = 2, COMMAND = 4, STATUS = 6, REVISION = 8, CACHE_LINE = 0xc, LATENCY = 0xd, HEADER = 0xe, BAR0 = 0x10,
       SUBSYSTEM = 0x2c, ROM = 0x30, CAPABILITIES = 0x34, INTERRUPT_LINE = 0x3c, INTERRUPT_PIN = 0x3d };
enum { COMMAND_IO = 1, COMMAND_MEMORY = 2, COMMAND_MASTER = 4, COMMAND_NO_INTX = 0x400, STATUS_INTX = 8, STATUS_CAPABILITIES = 0x10 };
enum { MSI_CONTROL = 2, MSI_ADDRESS = 4, MSI_DATA = 12, MSI_MASK = 16, MSI_PENDING = 20, MSI_BYTES = 24 };
enum { PRIORITY_BAR = 3 };

struct pci_bus {
    struct pci_bus_config config;
    struct pci_device *device[256];
    uint64_t line[4][4];             /* per line: a bit for each devfn that holds it up */
};

static uint32_t get(const uint8_t *p, unsigned size)
{
    uint32_t value = 0;

    memcpy(&value, p, size);
    return value;
}

static void put(uint8_t *p, uint32_t value, unsigned size) { memcpy(p, &value, size); }

struct pci_bus *pci_bus_new(const struct pci_bus_config *config)
{
    struct pci_bus *bus = calloc(1, sizeof *bus);

    if (bus) bus->config = *config;
    return bus;
}

void pci_bus_free(struct pci_bus *bus) { free(bus); }
struct memory_map *pci_bus_memory(struct pci_bus *bus) { return bus->config.memory; }
struct pci_device *pci_bus_device(struct pci_bus *bus, unsigned devfn) { return devfn < 256 ? bus->device[devfn] : NULL; }

/* ---- interrupts ---- */

static void line_set(struct pci_bus *bus, unsigned n, unsigned devfn, bool level)
{
    uint64_t *set = bus->line[n];
    bool before = set[0] | set[1] | set[2] | set[3], after;

    if (level) set[devfn >> 6] |= 1ull << (devfn & 63);
    else set[devfn >> 6] &= ~(1ull << (devfn & 63));
    after = set[0] | set[1] | set[2] | set[3];
    if (before != after) irq_set(&bus->config.intx[n], after);
}

static void intx_update(struct pci_device *d)
{
    unsigned pin = d->config[INTERRUPT_PIN];
    bool up = d->intx_level && !(get(d->config + COMMAND, 2) & COMMAND_NO_INTX);

    d->config[STATUS] = d->intx_level ? d->config[STATUS] | STATUS_INTX : d->config[STATUS] & ~STATUS_INTX;
    if (pin) line_set(d->bus, ((d->devfn >> 3) + pin - 1) & 3, d->devfn, up);
}

void pci_intx_set(struct pci_device *d, int level)
{
    if (!d->intx_level == !level) return;
    d->intx_level = level != 0;
    intx_update(d);
}

void pci_capability_add(struct pci_device *d, uint8_t id, uint8_t offset)
{
    d->config[offset] = id;
    d->config[offset + 1] = d->config[CAPABILITIES];
    d->config[CAPABILITIES] = offset;
    d->config[STATUS] |= STATUS_CAPABILITIES;
}

bool pci_is_master(const struct pci_device *d) { return get(d->config + COMMAND, 2) & COMMAND_MASTER; }
const struct msi_target *pci_bus_msi(const struct pci_bus *bus) { return &bus->config.msi; }

void pci_message_send(struct pci_device *d, uint64_t address, uint32_t data)
{
    if (!pci_is_master(d) || !d->bus->config.msi.send) return;
    d->bus->config.msi.send(d->bus->config.msi.opaque, address, data);
}

uint8_t pci_msi_add(struct pci_device *d, unsigned vectors)
{
    unsigned at = 0x40, log2 = 0;

    /* The first gap between the registers of its own. */
    for (unsigned n = at; n < at + MSI_BYTES && at <= 256 - MSI_BYTES; n++)
        if (d->config[n] || d->writable[n]) at = n = (n + 4) & ~3u;
    while (1u << log2 < vectors) log2++;
    d->config[at] = 5;
    d->config[at + 1] = d->config[CAPABILITIES];
    d->config[CAPABILITIES] = at;
    d->config[STATUS] |= STATUS_CAPABILITIES;
    put(d->config + at + MSI_CONTROL, 0x180 | log2 << 1, 2);   /* 64-bit addresses, a mask bit per vector */
    put(d->writable + at + MSI_CONTROL, 0x71, 2);
    put(d->writable + at + MSI_ADDRESS, 0xfffffffc, 4);
    put(d->writable + at + MSI_ADDRESS + 4, 0xffffffff, 4);
    put(d->writable + at + MSI_DATA, 0xffff, 2);
    put(d->writable + at + MSI_MASK, vectors >= 32 ? 0xffffffff : (1u << vectors) - 1, 4);
    d->msi_cap = at;
    return at;
}

bool pci_msi_is_enabled(const struct pci_device *d) { return d->msi_cap && d->config[d->msi_cap + MSI_CONTROL] & 1; }

void pci_msi_send(struct pci_device *d, unsigned vector)
{
    uint8_t *c = d->config + d->msi_cap;
    unsigned enabled = 1u << (c[MSI_CONTROL] >> 4 & 7);
    uint32_t data = get(c + MSI_DATA, 2);

    if (!pci_msi_is_enabled(d) || !(get(d->config + COMMAND, 2) & COMMAND_MASTER) || !d->bus->config.msi.send) return;
    vector &= enabled - 1;
    if (get(c + MSI_MASK, 4) >> vector & 1) {
        put(c + MSI_PENDING, get(c + MSI_PENDING, 4) | 1u << vector, 4);
        return;
    }
    d->bus->config.msi.send(d->bus->config.msi.opaque, get(c + MSI_ADDRESS, 4) | (uint64_t)get(c + MSI_ADDRESS + 4, 4) << 32,
                            (data & ~(enabled - 1)) | vector);
}

/* Messages that waited behind a mask bit. */
static void msi_flush(struct pci_device *d)
{
    uint8_t *c = d->config + d->msi_cap;
    uint32_t ready = get(c + MSI_PENDING, 4) & ~get(c + MSI_MASK, 4);

    for (unsigned n = 0; n < 32 && pci_msi_is_enabled(d); n++) {
        if (!(ready >> n & 1)) continue;
        put(c + MSI_PENDING, get(c + MSI_PENDING, 4) & ~(1u << n), 4);
        pci_msi_send(d, n);
    }
}

/* ---- where BARs are ---- */

static void bar_place(struct pci_device *d, unsigned n)
{
    struct pci_bar *bar = &d->bar[n];
    uint16_t command = get(d->config + COMMAND, 2);
    uint64_t at = get(d->config + BAR0 + 4 * n, 4);
    bool is_io = bar->flags & PCI_BAR_IO, on;

    if (!bar->range) return;
    if (bar->flags & PCI_BAR_64) at |= (uint64_t)get(d->config + BAR0 + 4 * n + 4, 4) << 32;
    at &= ~(bar->size - 1);
    /* Address 0 and the top (a BAR that is being sized) are not places. */
    on = command & (is_io ? COMMAND_IO : COMMAND_MEMORY) && at && at + bar->size > at;
    if (is_io) on = on && at + bar->size <= 0x10000;
    else if (!(bar->flags & PCI_BAR_64)) on = on && at + bar->size < 1ull << 32;
    if (!on) {
        memory_range_enable(bar->range, false);
        return;
    }
    memory_range_move(bar->range, at);
    memory_range_enable(bar->range, true);
}

static void rom_place(struct pci_device *d)
{
    uint32_t at = get(d->config + ROM, 4);
    bool on = at & 1 && get(d->config + COMMAND, 2) & COMMAND_MEMORY;

    if (!d->rom.range) return;
    at &= ~(d->rom.size - 1);
    on = on && at && at + d->rom.size > at;
    if (on) memory_range_move(d->rom.range, at);
    memory_range_enable(d->rom.range, on);
}

static void ranges_place(struct pci_device *d)
{
    memory_map_begin(d->bus->config.memory);
    memory_map_begin(d->bus->config.ports);
    for (unsigned n = 0; n < 6; n++) bar_place(d, n);
    rom_place(d);
    memory_map_end(d->bus->config.ports);
    memory_map_end(d->bus->config.memory);
}

static void bar_register(struct pci_device *d, unsigned n, uint64_t size, uint8_t flags)
{
    uint64_t mask = ~(size - 1) & ~(uint64_t)(flags & PCI_BAR_IO ? 3 : 15);

    d->bar[n].size = size;
    d->bar[n].flags = flags;
    put(d->config + BAR0 + 4 * n, flags, 4);
    put(d->writable + BAR0 + 4 * n, mask, 4);
    if (flags & PCI_BAR_64) put(d->writable + BAR0 + 4 * n + 4, mask >> 32, 4);
}

static void bar_range(struct pci_device *d, unsigned n, struct memory_range *(*add)(struct pci_device *, const void *), const void *what)
{
    struct memory_map *map = d->bar[n].flags & PCI_BAR_IO ? d->bus->config.ports : d->bus->config.memory;

    memory_map_begin(map);                             /* never seen at address 0 */
    d->bar[n].range = add(d, what);
    memory_range_enable(d->bar[n].range, false);
    memory_map_end(map);
}

struct io_bar { unsigned n; const struct io_ops *ops; void *opaque; const char *name; };
static struct memory_range *add_io(struct pci_device *d, const void *what)
{
    const struct io_bar *b = what;
    struct memory_map *map = d->bar[b->n].flags & PCI_BAR_IO ? d->bus->config.ports : d->bus->config.memory;

    return memory_map_add_io(map, b->name, 0, d->bar[b->n].size, b->ops, b->opaque, PRIORITY_BAR);
}

void pci_bar_add_io(struct pci_device *d, unsigned n, uint64_t size, uint8_t flags, const struct io_ops *ops, void *opaque, const char *name)
{
    bar_register(d, n, size, flags);
    bar_range(d, n, add_io, &(struct io_bar){ n, ops, opaque, name });
}

struct ram_bar { unsigned n; void *hva; const char *name; };
static struct memory_range *add_ram(struct pci_device *d, const void *what)
{
    const struct ram_bar *b = what;

    return memory_map_add_ram(d->bus->config.memory, b->name, 0, d->bar[b->n].size, b->hva, false, PRIORITY_BAR);
}

void pci_bar_add_ram(struct pci_device *d, unsigned n, uint64_t size, uint8_t flags, void *hva, const char *name)
{
    bar_register(d, n, size, flags);
    bar_range(d, n, add_ram, &(struct ram_bar){ n, hva, name });
}

/* rom stays the caller's and must be size bytes, a power of two of at least 2 KiB and whole host pages. */
void pci_rom_add(struct pci_device *d, const void *rom, uint32_t size)
{
    d->rom.rom = (void *)(uintptr_t)rom;
    d->rom.size = size;
    put(d->writable + ROM, ~(size - 1) | 1, 4);
    memory_map_begin(d->bus->config.memory);
    d->rom.range = memory_map_add_ram(d->bus->config.memory, "pci-rom", 0, size, d->rom.rom, true, PRIORITY_BAR);
    memory_range_enable(d->rom.range, false);
    memory_map_end(d->bus->config.memory);
}

/* ---- devices ---- */

static int free_slot(const struct pci_bus *bus)
{
    for (int devfn = 0; devfn < 256; devfn += 8)
        if (!bus->device[devfn]) return devfn;
    return -1;
}

int pci_device_init(struct pci_device *d, const struct pci_device_ops *ops, struct pci_bus *bus, int devfn, uint16_t vendor,
                    uint16_t device, uint32_t class_revision, struct error *err)
{
    if (devfn < 0) devfn = free_slot(bus);
    if (devfn < 0) return error_set(err, "%s: all 32 PCI slots are taken", ops->device.name);
    if (devfn > 255 || bus->device[devfn])
        return error_set(err, "%s: PCI slot %02x.%x is taken; choose another", ops->device.name, devfn >> 3 & 31, devfn & 7);
    d->device.ops = &ops->device;
    d->bus = bus;
    d->devfn = devfn;
    put(d->config + VENDOR, vendor, 2);
    put(d->config + DEVICE, device, 2);
    put(d->config + REVISION, class_revision, 4);
    put(d->config + SUBSYSTEM, PCI_SUBSYSTEM, 4);
    put(d->writable + COMMAND, 0x0547, 2);
    put(d->write_one_clears + STATUS, 0xf900, 2);
    d->writable[CACHE_LINE] = d->writable[LATENCY] = d->writable[INTERRUPT_LINE] = 0xff;
    bus->device[devfn] = d;
    if (devfn & 7 && bus->device[devfn & ~7]) bus->device[devfn & ~7]->config[HEADER] |= 0x80;
    for (int f = 1; f < 8 && !(devfn & 7); f++)
        if (bus->device[devfn + f]) d->config[HEADER] |= 0x80;
    return 0;
}

void pci_device_remove(struct pci_device *d)
{
    pci_intx_set(d, 0);
    put(d->config + COMMAND, 0, 2);                    /* no access to memory, no message from here on */
    for (unsigned n = 0; n < 6; n++) {
        if (d->bar[n].range) memory_range_remove(d->bar[n].range);
        d->bar[n].range = NULL;
    }
    if (d->rom.range) memory_range_remove(d->rom.range);
    d->rom.range = NULL;
    if (d->bus->device[d->devfn] == d) d->bus->device[d->devfn] = NULL;
}

bool pci_dma_read(struct pci_device *d, gpa_t address, void *data, size_t size)
{
    if (!(get(d->config + COMMAND, 2) & COMMAND_MASTER)) return false;
    return memory_dma_read(d->bus->config.memory, address, data, size);
}

bool pci_dma_write(struct pci_device *d, gpa_t address, const void *data, size_t size)
{
    if (!(get(d->config + COMMAND, 2) & COMMAND_MASTER)) return false;
    return memory_dma_write(d->bus->config.memory, address, data, size);
}

/* ---- configuration accesses ---- */

static struct pci_device *target(struct pci_bus *bus, uint32_t address, unsigned size)
{
    if (address >> 16 || (address & 0xff) + size > 256) return NULL;
    return bus->device[address >> 8 & 0xff];
}

uint32_t pci_config_read(struct pci_bus *bus, uint32_t address, unsigned size)
{
    struct pci_device *d = target(bus, address, size);
    const struct pci_device_ops *ops;
    uint32_t value;

    if (!d) return size == 4 ? 0xffffffff : (1u << 8 * size) - 1;
    ops = container_of(d->device.ops, struct pci_device_ops, device);
    value = ops->config_read ? ops->config_read(d, address & 0xff, size) : get(d->config + (address & 0xff), size);
    trace(TRACE_PCI, "pci: %02x.%x read %02x.%u = %x\n", d->devfn >> 3, d->devfn & 7, address & 0xff, size, value);
    return value;
}

void pci_config_write(struct pci_bus *bus, uint32_t address, uint32_t value, unsigned size)
{
    struct pci_device *d = target(bus, address, size);
    unsigned offset = address & 0xff;
    const struct pci_device_ops *ops;

    if (!d) return;
    trace(TRACE_PCI, "pci: %02x.%x write %02x.%u = %x\n", d->devfn >> 3, d->devfn & 7, offset, size, value);
    for (unsigned n = 0; n < size; n++) {
        uint8_t byte = value >> 8 * n, *c = &d->config[offset + n];
        *c = (*c & ~d->writable[offset + n]) | (byte & d->writable[offset + n]);
        *c &= ~(byte & d->write_one_clears[offset + n]);
    }
    if (offset < BAR0 + 24 && offset + size > COMMAND) ranges_place(d);
    else if (offset < ROM + 4 && offset + size > ROM) ranges_place(d);
    if (offset <= COMMAND + 1 && offset + size > COMMAND) intx_update(d);
    if (d->msi_cap && offset + size > d->msi_cap && offset < (unsigned)d->msi_cap + MSI_BYTES) msi_flush(d);
    ops = container_of(d->device.ops, struct pci_device_ops, device);
    if (ops->config_write) ops->config_write(d, offset, value, size);
}

static void device_config_reset(struct pci_device *d)
{
    put(d->config + COMMAND, 0, 2);
    d->config[CACHE_LINE] = d->config[LATENCY] = d->config[INTERRUPT_LINE] = 0;
    for (unsigned n = 0; n < 6; n++)
        if (d->bar[n].size) {
            put(d->config + BAR0 + 4 * n, d->bar[n].flags, 4);
            if (d->bar[n].flags & PCI_BAR_64) put(d->config + BAR0 + 4 * n + 4, 0, 4);
        }
    put(d->config + ROM, 0, 4);
    if (d->msi_cap) {
        d->config[d->msi_cap + MSI_CONTROL] &= 0x8e;
        memset(d->config + d->msi_cap + MSI_ADDRESS, 0, MSI_BYTES - MSI_ADDRESS);
    }
    pci_intx_set(d, 0);
    ranges_place(d);
}

void pci_bus_reset(struct pci_bus *bus)
{
    for (unsigned devfn = 0; devfn < 256; devfn++)
        if (bus->device[devfn]) device_config_reset(bus->device[devfn]);
}
