/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC of one vCPU: xAPIC and x2APIC (SDM 3A, chapter 11).
 *
 * These functions are what the machine puts behind engine_host. All but lapic_is_pending and lapic_tpr_get want the
 * machine lock.
 */
#ifndef DEVICE_IRQCHIP_LAPIC_H
#define DEVICE_IRQCHIP_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "bus/device.h"
#include "memory/map.h"

struct apic_bus;
struct error;

struct lapic_config {
    struct apic_bus *bus;
    unsigned vcpu;                 /* index: 0 .. max_cpus - 1 */
    uint32_t id;                   /* initial APIC ID */
    bool is_bsp;
    bool virtual_wire;             /* reset leaves LINT0 as unmasked ExtINT, as a BIOS would */
};
/* Realized and reset; NULL with *err. The bus must outlive it. */
struct device *lapic_new(const struct lapic_config *config, struct error *err);

/* engine_host.interrupt_is_pending: lock-free read of one flag, any thread. */
bool lapic_is_pending(const struct device *d);
/* engine_host.interrupt_acknowledge: the vector, now in service (or an 8259's); -1: nothing waits any more. */
int lapic_acknowledge(struct device *d);

/* engine_host.mmio asks this first: does the address lie in this vCPU's APIC page (enabled, xAPIC mode)? If so the
 * access is carried out and true returned. Else go on with the memory map. */
bool lapic_mmio(struct device *d, gpa_t address, void *data, unsigned size, bool write);

/* engine_host.apic_msr_*: IA32_APIC_BASE 1Bh, IA32_TSC_DEADLINE 6E0h, x2APIC 800h-8FFh. false: #GP. */
bool lapic_msr_read(struct device *d, uint32_t reg, uint64_t *value);
bool lapic_msr_write(struct device *d, uint32_t reg, uint64_t value);

/* engine_host.tpr_*: CR8, 0..15. */
uint8_t lapic_tpr_get(const struct device *d);
void lapic_tpr_set(struct device *d, uint8_t cr8);

/* What INIT does to the APIC (all but its ID and IA32_APIC_BASE). An INIT message does this by itself. */
void lapic_init(struct device *d);

#endif
