/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ACPI tables of the PC. They are built once, with pointers relative to their file, together with the
 * script by which firmware links them (fw_cfg file etc/table-loader); direct boot runs the same script itself.
 */
#ifndef DEVICE_FIRMWARE_ACPI_H
#define DEVICE_FIRMWARE_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "memory/map.h"

struct device;
struct error;

enum { ACPI_CPUS = 255 };
struct acpi_config {
    unsigned cpus;                     /* at most ACPI_CPUS: places for processors; the first cpus_present are taken */
    unsigned cpus_present;
    uint8_t apic_id[ACPI_CPUS];
    bool has_hpet, has_floppy;
    uint8_t serial_mask;               /* bit n: COMn+1 is there */
    uint32_t pci_hole_start; /* memory below the I/O APIC that belongs to PCI: start and end (exclusive) */
    uint32_t pci_hole_end;
    uint64_t pci_hole64_start, pci_hole64_end;   /* the same above 4 GiB; both 0: none */
    uint16_t pm_base;                  /* PIIX4 power management: 600h, or where the firmware put it */
    uint16_t gpe_base;                 /* AFE0h */
    uint32_t hotplug_slots;            /* a bit for each PCI slot whose function may come and go */
};

struct acpi_loader_entry;
struct acpi_tables {
    uint8_t *tables;
    uint32_t tables_bytes;
    uint8_t rsdp[36];
    struct acpi_loader_entry *loader;
    unsigned loader_count;
};

/* 0, or -1 with *err when out of memory. */
int acpi_build(struct acpi_tables *t, const struct acpi_config *config, struct error *err);
void acpi_free(struct acpi_tables *t);
/* etc/acpi/tables, etc/acpi/rsdp, etc/table-loader. */
int acpi_publish(const struct acpi_tables *t, struct device *fw_cfg, struct error *err);
/* Links the tables for these addresses and writes them to memory. The addresses are 16-byte aligned, tables_at
 * to 64. */
void acpi_place(const struct acpi_tables *t, struct memory_map *memory, gpa_t tables_at, gpa_t rsdp_at);

#endif
