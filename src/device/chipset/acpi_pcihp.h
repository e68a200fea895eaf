/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers by which firmware tables (dsdt.asl) learn of PCI functions that come and go. */
#ifndef DEVICE_CHIPSET_ACPI_PCIHP_H
#define DEVICE_CHIPSET_ACPI_PCIHP_H

#include "bus/device.h"
#include "memory/map.h"

enum { ACPI_PCIHP_PORT = 0xae00, ACPI_PCIHP_GPE = 1 };
struct acpi_pcihp_config {
    struct memory_map *ports;
    void *opaque;
    void (*notify)(void *opaque);                    /* raises the GPE */
    void (*eject)(void *opaque, unsigned slot);      /* the guest is done with what is there; any slot it likes */
};
struct device *acpi_pcihp_new(const struct acpi_pcihp_config *config, struct error *err);
/* A bit for each slot whose function may go: others are not ejected. */
void acpi_pcihp_removable_set(struct device *d, uint32_t slots);
void acpi_pcihp_plugged(struct device *d, unsigned slot);
void acpi_pcihp_unplug_request(struct device *d, unsigned slot);
/* Slots whose function was asked to go and is still there. */
uint32_t acpi_pcihp_pending(const struct device *d);
/* Nothing is pending there any more. */
void acpi_pcihp_slot_clear(struct device *d, unsigned slot);

#endif
