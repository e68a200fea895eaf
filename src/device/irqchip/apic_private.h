/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the local APICs and the bus between them know of each other. */
#ifndef DEVICE_IRQCHIP_APIC_PRIVATE_H
#define DEVICE_IRQCHIP_APIC_PRIVATE_H

#include "base/loop.h"
#include "device/irqchip/apic_bus.h"
#include "device/irqchip/lapic.h"

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
enum { LVT_MASKED = 1 << 16, LVT_LEVEL = 1 << 15 };
enum { APIC_BASE_BSP = 1 << 8, APIC_BASE_EXTD = 1 << 10, APIC_BASE_ENABLE = 1 << 11 };

struct lapic {
    struct device device;
    struct lapic_config config;
    uint64_t apic_base;
    uint32_t id;                     /* xAPIC ID, movable by the guest */
    uint32_t ldr, dfr, svr;
    uint32_t isr[8], irr[8], tmr[8];
    uint32_t esr, esr_pending;
    uint64_t icr;
    uint32_t lvt[LVT_COUNT];
    uint32_t initial_count, divide;
    int64_t count_start_ns;          /* when initial_count began to count down */
    uint64_t tsc_deadline;
    uint8_t tpr;                     /* read without the lock by lapic_tpr_get */
    uint8_t intr, extint;            /* 8259's INT; an ExtINT message waits */
    bool pending;                    /* read without the lock */
    struct timer *timer;
};

struct apic_bus {
    struct apic_bus_config config;
    struct lapic **lapic;
    struct memory_range *window;
    unsigned next_lowest;            /* where the search for the lowest priority starts */
    unsigned eoi_listeners;
    struct { void (*fn)(void *opaque, uint8_t vector); void *opaque; } eoi_listener[8];
};

static inline bool lapic_is_enabled(const struct lapic *a) { return a->apic_base & APIC_BASE_ENABLE; }
static inline bool lapic_is_x2(const struct lapic *a) { return (a->apic_base & (APIC_BASE_ENABLE | APIC_BASE_EXTD)) == (APIC_BASE_ENABLE | APIC_BASE_EXTD); }

bool lapic_matches(const struct lapic *a, const struct apic_message *m);
uint8_t lapic_ppr(const struct lapic *a);
/* One message that reached its destination. */
void lapic_deliver(struct lapic *a, const struct apic_message *m);
void lapic_lint_set(struct lapic *a, unsigned lvt, int level);
void apic_bus_eoi(struct apic_bus *bus, uint8_t vector);

#endif
