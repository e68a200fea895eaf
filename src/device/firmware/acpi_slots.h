/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI slots as ACPI devices, for hot-plug. */
#ifndef DEVICE_FIRMWARE_ACPI_SLOTS_H
#define DEVICE_FIRMWARE_ACPI_SLOTS_H

#include <stddef.h>
#include <stdint.h>

enum { ACPI_SLOTS_BYTES_MAX = 4096 };
/* AML for a bit set of slots; returns its size, at most ACPI_SLOTS_BYTES_MAX. */
size_t acpi_slots_aml(uint8_t *to, uint32_t slots);

#endif
