/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What connects the local APICs of all vCPUs with each other, with the I/O APIC, with the 8259 pair and with devices
 * that write message-signalled interrupts (SDM 3A, chapter 11: "APIC bus").
 *
 * The machine makes one bus, then one lapic per vCPU. All calls with the machine lock held, except where said.
 */
#ifndef DEVICE_IRQCHIP_APIC_BUS_H
#define DEVICE_IRQCHIP_APIC_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "bus/irq.h"
#include "memory/map.h"

struct apic_bus;
struct device;
struct error;
struct lapic;

/* Delivery modes, as ICR, I/O APIC entries and MSI data encode them. */
enum apic_delivery { APIC_FIXED, APIC_LOWEST, APIC_SMI, APIC_RESERVED, APIC_NMI, APIC_INIT, APIC_STARTUP, APIC_EXTINT };

struct apic_message {
    uint32_t destination;          /* 8 bits in xAPIC format, else 32 */
    bool is_logical;
    bool is_wide;                  /* destination is an x2APIC's 32 bits */
    uint8_t mode;                  /* enum apic_delivery */
    uint8_t vector;
    bool is_level;                 /* trigger mode: its EOI is broadcast */
    bool level;                    /* INIT only: false is the de-assert message */
};

struct apic_bus_config {
    struct memory_map *memory;     /* MSI window FEE00000h-FEEFFFFFh is put here */
    unsigned max_cpus;
    void *opaque;                  /* of the callbacks below; each is called with the machine lock held */
    void (*wake)(void *opaque, unsigned vcpu);      /* an interrupt became deliverable: kick it, or end its HLT */
    void (*nmi)(void *opaque, unsigned vcpu);
    void (*smi)(void *opaque, unsigned vcpu);       /* may be NULL */
    void (*init)(void *opaque, unsigned vcpu);      /* the vCPU goes to its INIT state; its lapic already has */
    void (*startup)(void *opaque, unsigned vcpu, uint8_t vector);   /* start at vector << 12 if it waits for one */
    int (*inta)(void *opaque);     /* i8259_acknowledge for ExtINT; NULL: there is no 8259 */
    uint64_t (*tsc)(void *opaque, unsigned vcpu);   /* the guest's TSC now; NULL: no TSC-deadline mode */
    uint64_t tsc_hz;               /* ticks of that in a second of virtual time */
    uint64_t timer_hz;             /* of the APIC timer before its divider; 0: 1 GHz */
};
/* NULL with *err when out of memory. */
struct apic_bus *apic_bus_new(const struct apic_bus_config *config, struct error *err);
/* After the devices on it are gone. */
void apic_bus_free(struct apic_bus *bus);

void apic_bus_send(struct apic_bus *bus, const struct apic_message *m);
/* As a write of data to address in the MSI window; also struct msi_target's send (opaque is the bus). */
void apic_bus_msi(void *opaque, unsigned long address, unsigned data);
/* For struct irq_line: the 8259's INT pin, wired to LINT0 of every local APIC. n is ignored. */
void apic_bus_intr_set(void *opaque, int n, int level);
/* NMI source of the chip set (SERR#, IOCHK#, watchdog), wired to LINT1 of every local APIC. n is ignored. */
void apic_bus_lint1_set(void *opaque, int n, int level);
/* Calls fn on each broadcast EOI. At most 8 listeners. */
void apic_bus_listen_eoi(struct apic_bus *bus, void (*fn)(void *opaque, uint8_t vector), void *opaque);

#endif
