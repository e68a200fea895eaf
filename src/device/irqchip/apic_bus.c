/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bus between APICs: finds who a message is for. Lowest-priority messages go to the one with the lowest PPR, in turn
 * among equals.
 * Sources: SDM 3A 11.6.2 (destinations), 11.11 (MSI address and data).
 */
#include "device/irqchip/apic_bus.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "device/irqchip/apic_private.h"

enum { MSI_WINDOW = 0xfee00000, MSI_WINDOW_BYTES = 0x100000 };

static struct lapic *lowest_priority(struct apic_bus *bus, const struct apic_message *m)
{
    struct lapic *best = NULL;
    unsigned n = bus->config.max_cpus;

    for (unsigned i = 0; i < n; i++) {
        struct lapic *a = bus->lapic[(bus->next_lowest + i) % n];
        if (!a || !lapic_matches(a, m) || !(a->svr & 0x100)) continue;
        if (!best || lapic_ppr(a) < lapic_ppr(best)) best = a;
    }
    if (best) bus->next_lowest = best->config.vcpu + 1;
    return best;
}

void apic_bus_send(struct apic_bus *bus, const struct apic_message *m)
{
    trace(TRACE_IRQ, "apic: message mode %u vector %02x to %x%s\n", m->mode, m->vector, m->destination, m->is_logical ? " logical" : "");
    if (m->mode == APIC_LOWEST) {
        struct lapic *a = lowest_priority(bus, m);
        if (a) lapic_deliver(a, m);
        return;
    }
    for (unsigned i = 0; i < bus->config.max_cpus; i++)
        if (bus->lapic[i] && lapic_matches(bus->lapic[i], m)) lapic_deliver(bus->lapic[i], m);
}

void apic_bus_msi(void *opaque, unsigned long address, unsigned data)
{
    struct apic_message m = {
        .destination = address >> 12 & 0xff, .is_logical = address >> 2 & 1, .mode = data >> 8 & 7, .vector = data,
        .is_level = data >> 15 & 1, .level = data >> 14 & 1,
    };

    if ((address & ~0xffffful) != MSI_WINDOW) return;  /* an ordinary write to nowhere */
    apic_bus_send(opaque, &m);
}

void apic_bus_intr_set(void *opaque, int n, int level)
{
    struct apic_bus *bus = opaque;

    for (unsigned i = 0; i < bus->config.max_cpus; i++)
        if (bus->lapic[i]) lapic_lint_set(bus->lapic[i], LVT_LINT0, level);
}

void apic_bus_lint1_set(void *opaque, int n, int level)
{
    struct apic_bus *bus = opaque;

    for (unsigned i = 0; i < bus->config.max_cpus; i++)
        if (bus->lapic[i]) lapic_lint_set(bus->lapic[i], LVT_LINT1, level);
}

void apic_bus_listen_eoi(struct apic_bus *bus, void (*fn)(void *opaque, uint8_t vector), void *opaque)
{
    if (bus->eoi_listeners == 8) abort();
    bus->eoi_listener[bus->eoi_listeners].fn = fn;
    bus->eoi_listener[bus->eoi_listeners++].opaque = opaque;
}

void apic_bus_eoi(struct apic_bus *bus, uint8_t vector)
{
    for (unsigned i = 0; i < bus->eoi_listeners; i++) bus->eoi_listener[i].fn(bus->eoi_listener[i].opaque, vector);
}

/* Devices write messages to the window; a CPU's own accesses never come here while its APIC is in xAPIC mode. */
static uint64_t window_read(void *opaque, uint64_t offset, unsigned size) { return 0; }
static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    if ((offset & 3) == 0) apic_bus_msi(opaque, MSI_WINDOW + offset, (unsigned)value);
}
static const struct io_ops window_ops = { window_read, window_write, 4, 4 };

struct apic_bus *apic_bus_new(const struct apic_bus_config *config, struct error *err)
{
    struct apic_bus *bus = calloc(1, sizeof *bus);

    if (bus) bus->lapic = calloc(config->max_cpus, sizeof *bus->lapic);
    if (!bus || !bus->lapic) {
        free(bus);
        error_set(err, "apic: out of memory");
        return NULL;
    }
    bus->config = *config;
    if (!bus->config.timer_hz) bus->config.timer_hz = 1000000000;
    bus->window = memory_map_add_io(config->memory, "apic-msi", MSI_WINDOW, MSI_WINDOW_BYTES, &window_ops, bus, 2);
    return bus;
}

void apic_bus_free(struct apic_bus *bus)
{
    if (!bus) return;
    memory_range_remove(bus->window);
    free(bus->lapic);
    free(bus);
}
