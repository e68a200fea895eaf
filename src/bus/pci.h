/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI: a bus with configuration space, BARs mapped into the two address spaces, INTx lines, MSI.
 * Source: PCI Local Bus Specification 3.0.
 */
#ifndef BUS_PCI_H
#define BUS_PCI_H

#include "bus/device.h"
#include "bus/irq.h"
#include "memory/map.h"

struct pci_bus;
struct pci_device;

struct pci_bar {
    uint64_t size;                       /* power of two; 0: none */
    uint8_t flags;                       /* PCI_BAR_* */
    struct memory_range *range;          /* added disabled, moved and enabled as the guest programs it */
};
enum { PCI_BAR_IO = 1, PCI_BAR_64 = 4, PCI_BAR_PREFETCH = 8 };

struct pci_device_ops {
    struct device_ops device;
    /* Both may be NULL: the default handles everything. Called before/after the standard registers change. */
    uint32_t (*config_read)(struct pci_device *d, unsigned offset, unsigned size);
    void (*config_write)(struct pci_device *d, unsigned offset, uint32_t value, unsigned size);
};

struct pci_device {
    struct device device;
    struct pci_bus *bus;
    uint8_t devfn;
    uint8_t config[256];
    uint8_t writable[256];               /* bits the guest may write */
    uint8_t write_one_clears[256];
    struct pci_bar bar[6];
    struct { struct memory_range *range; uint32_t size; void *rom; } rom;
    uint8_t intx_level;
    uint8_t msi_cap;                     /* offset of the capability; 0: none */
};

struct pci_bus_config {
    struct memory_map *memory, *ports;
    struct irq_line intx[4];             /* INTA#..INTD# of device 0 after swizzling: line (slot + pin) & 3 */
    struct msi_target msi;
};
struct pci_bus *pci_bus_new(const struct pci_bus_config *config);
void pci_bus_free(struct pci_bus *bus);
struct memory_map *pci_bus_memory(struct pci_bus *bus);

/* Subsystem IDs of all functions that do not set others: those of QEMU's board, so that a guest which moves from there
 * finds the hardware it knows. */
enum { PCI_SUBSYSTEM = 0x11001af4 };

/* Fills identity and standard registers, puts d on the bus. devfn -1: next free slot. ops->device is copied into
 * d->device.ops by pointer. 0, or -1 with *err (slot taken). */
int pci_device_init(struct pci_device *d, const struct pci_device_ops *ops, struct pci_bus *bus, int devfn,
                    uint16_t vendor, uint16_t device, uint32_t class_revision, struct error *err);
void pci_bar_add_io(struct pci_device *d, unsigned bar, uint64_t size, uint8_t flags, const struct io_ops *ops,
                    void *opaque, const char *name);
void pci_bar_add_ram(struct pci_device *d, unsigned bar, uint64_t size, uint8_t flags, void *hva, const char *name);
void pci_rom_add(struct pci_device *d, const void *rom, uint32_t size);
void pci_intx_set(struct pci_device *d, int level);
/* Puts a capability with this id at offset in front of the list; its other bytes are the caller's. */
void pci_capability_add(struct pci_device *d, uint8_t id, uint8_t offset);
bool pci_is_master(const struct pci_device *d);
const struct msi_target *pci_bus_msi(const struct pci_bus *bus);
/* The write that an MSI or MSI-X message is; dropped while the command register forbids bus mastering. */
void pci_message_send(struct pci_device *d, uint64_t address, uint32_t data);
/* Takes d off the bus and its ranges out of the address spaces; what it is made of stays the caller's. */
void pci_device_remove(struct pci_device *d);
uint8_t pci_msi_add(struct pci_device *d, unsigned vectors);  /* returns the capability's offset */
bool pci_msi_is_enabled(const struct pci_device *d);
void pci_msi_send(struct pci_device *d, unsigned vector);
/* Bus-master access to guest memory; refused (false) while the command register forbids it. */
bool pci_dma_read(struct pci_device *d, gpa_t address, void *data, size_t size);
bool pci_dma_write(struct pci_device *d, gpa_t address, const void *data, size_t size);

/* For host bridges: address = bus << 16 | devfn << 8 | register. Nothing there reads all ones. */
uint32_t pci_config_read(struct pci_bus *bus, uint32_t address, unsigned size);
void pci_config_write(struct pci_bus *bus, uint32_t address, uint32_t value, unsigned size);
void pci_bus_reset(struct pci_bus *bus);
struct pci_device *pci_bus_device(struct pci_bus *bus, unsigned devfn);  /* NULL: empty */

#endif
