/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt wiring: ISA IRQ n goes to the 8259s and to I/O APIC pin n, but IRQ 0 to pin 2 (which is what the
 * MADT says). Every device gets a line of its own into an IRQ; those of one IRQ are or-ed, so that devices
 * which share it need not know. With an irqchip in the engine the same lines end there.
 */
#include <stdlib.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "device/irqchip/apic_bus.h"
#include "device/irqchip/i8259.h"
#include "device/irqchip/ioapic.h"
#include "device/irqchip/lapic.h"
#include "machine/pc_private.h"

enum { PIN_OF_IRQ0 = 2, CALIBRATE_NS = 1000000 };

static void irq_out(struct machine *m, unsigned irq, int level)
{
    if (m->has_irqchip) {
        m->ops->irq_line(m->engine, (int)irq, level);
        return;
    }
    i8259_irq_set(m->pic, (int)irq, level);
    ioapic_irq_set(m->ioapic, irq ? (int)irq : PIN_OF_IRQ0, level);
}

/* n: the source, as pc_isa_irq gave it out. */
static void isa_source_set(void *opaque, int n, int level)
{
    struct machine *m = opaque;
    unsigned irq = m->isa_source_irq[n];
    uint64_t before = m->isa_high[irq], after = level ? before | BIT(n) : before & ~BIT(n);

    m->isa_high[irq] = after;
    if (!before != !after) irq_out(m, irq, after != 0);
}

struct irq_line pc_isa_irq(struct machine *m, unsigned irq)
{
    unsigned n = m->isa_source_count++;

    if (n >= ARRAY_SIZE(m->isa_source_irq)) abort();   /* more devices on the board than it was made for */
    m->isa_source_irq[n] = (uint8_t)irq;
    return (struct irq_line){ isa_source_set, m, (int)n };
}

/* The HPET drives I/O APIC pins; those below 16 are ISA IRQs, and its sources are the first 16. */
static void gsi_set(void *opaque, int pin, int level)
{
    struct machine *m = opaque;

    if (pin < 16) isa_source_set(m, pin, level);
    else if (m->has_irqchip) m->ops->irq_line(m->engine, pin, level);
    else ioapic_irq_set(m->ioapic, pin, level);
}

struct irq_line pc_gsi(struct machine *m)
{
    return (struct irq_line){ gsi_set, m, 0 };
}

static void engine_msi(void *opaque, unsigned long address, unsigned data)
{
    struct machine *m = opaque;

    m->ops->msi(m->engine, address, data);
}

static bool engine_msi_event(void *opaque, int fd, bool on, unsigned long address, unsigned data)
{
    struct machine *m = opaque;

    return m->ops->msi_event(m->engine, fd, on, address, data);
}

struct msi_target pc_msi(struct machine *m)
{
    if (m->has_irqchip) return (struct msi_target){ engine_msi, m->ops->msi_event ? engine_msi_event : NULL, m };
    return (struct msi_target){ apic_bus_msi, NULL, m->apic_bus };
}

static int inta(void *opaque)
{
    return i8259_acknowledge(((struct machine *)opaque)->pic);
}

/* Ticks of the host's TSC in a second, over at least 1 ms since the machine was begun. */
static uint64_t tsc_hz(const struct machine *m)
{
    int64_t ns;
    uint64_t tsc;

    do {
        ns = clock_host_ns() - m->tsc_start_ns;
        tsc = __builtin_ia32_rdtsc() - m->tsc_start;
    } while (ns < CALIBRATE_NS);
    return muldiv64(tsc, NS_PER_SECOND, (uint64_t)ns);
}

static int apics_create(struct machine *m, struct error *err)
{
    struct apic_bus_config bus = {
        .memory = m->memory, .max_cpus = m->config.cpus, .opaque = m, .wake = vcpu_apic_wake, .nmi = vcpu_apic_nmi,
        .init = vcpu_apic_init, .startup = vcpu_apic_startup, .inta = inta, .tsc = vcpu_tsc, .tsc_hz = tsc_hz(m),
    };

    m->apic_bus = apic_bus_new(&bus, err);
    if (!m->apic_bus) return -1;
    for (unsigned i = 0; i < m->config.cpus; i++) {
        struct lapic_config c = {
            .bus = m->apic_bus, .vcpu = i, .id = cpuid_apic_id(&m->config.topology, i), .is_bsp = i == 0, .virtual_wire = m->is_direct
        };
        struct device *d = lapic_new(&c, err);

        if (!d) return -1;
        m->vcpu[i].lapic = d;
        pc_device_add(m, d);
    }
    return 0;
}

int pc_irqchip_create(struct machine *m, struct error *err)
{
    struct i8259_config pic = { .ports = m->ports };
    struct ioapic_config ioapic = { .memory = m->memory, .base = IOAPIC_DEFAULT_BASE };

    for (unsigned irq = 0; irq < 16; irq++) pc_isa_irq(m, irq == PIN_OF_IRQ0 ? 0 : irq);
    if (m->has_irqchip) return 0;
    if (apics_create(m, err) < 0) return -1;
    pic.intr = (struct irq_line){ apic_bus_intr_set, m->apic_bus, 0 };
    m->pic = i8259_new(&pic, err);
    if (!m->pic) return -1;
    pc_device_add(m, m->pic);
    ioapic.bus = m->apic_bus;
    m->ioapic = ioapic_new(&ioapic, err);
    if (!m->ioapic) return -1;
    pc_device_add(m, m->ioapic);
    return 0;
}

/* ---- FERR# ---- */

struct ferr {
    struct device device;
    struct irq_line irq13;
    struct memory_range *range;
};

static uint64_t ferr_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0xff;
}

static void ferr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    irq_set(&((struct ferr *)opaque)->irq13, 0);
}

static const struct io_ops ferr_io = { ferr_read, ferr_write, 1, 1 };

static void ferr_reset(struct device *d)
{
    irq_set(&container_of(d, struct ferr, device)->irq13, 0);
}

static void ferr_destroy(struct device *d)
{
    struct ferr *f = container_of(d, struct ferr, device);

    memory_range_remove(f->range);
    free(f);
}

static const struct device_ops ferr_ops = {
    .name = "ferr",
    .description = "x87 error latch, ports F0h and F1h",
    .reset = ferr_reset,
    .destroy = ferr_destroy,
};

int pc_ferr_create(struct machine *m, struct error *err)
{
    struct ferr *f = calloc(1, sizeof(*f));

    if (!f) return error_set(err, "no memory");
    f->device.ops = &ferr_ops;
    f->irq13 = m->ferr_irq = pc_isa_irq(m, 13);
    f->range = memory_map_add_io(m->ports, "ferr", 0xf0, 2, &ferr_io, f, 2);
    pc_device_add(m, &f->device);
    return 0;
}
