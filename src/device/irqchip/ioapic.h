/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The I/O APIC: 82093AA registers, version 20h (24 pins, with the EOI register). */
#ifndef DEVICE_IRQCHIP_IOAPIC_H
#define DEVICE_IRQCHIP_IOAPIC_H

#include "bus/device.h"
#include "memory/map.h"

struct apic_bus;
struct error;

enum { IOAPIC_PINS = 24, IOAPIC_DEFAULT_BASE = 0xfec00000 };

struct ioapic_config {
    struct memory_map *memory;
    gpa_t base;                    /* IOAPIC_DEFAULT_BASE */
    struct apic_bus *bus;          /* where messages go and EOIs come from */
};
/* Realized and reset; NULL with *err when out of memory. The bus must outlive it. */
struct device *ioapic_new(const struct ioapic_config *config, struct error *err);

/* For struct irq_line: opaque is the device, pin 0..23 (others are ignored). Machine lock held. */
void ioapic_irq_set(void *opaque, int pin, int level);

#endif
