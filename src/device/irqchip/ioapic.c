/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC: 24 pins, each with a redirection entry; index and data register, EOI register of version 20h.
 *
 * An edge sends one message when the pin rises while unmasked (a rise while masked is remembered in irr and sent on
 * unmasking). A level entry sends while the pin is up and Remote IRR is clear; the EOI of its vector clears Remote IRR.
 * Sources: Intel 82093AA data sheet 290566; ICH9 data sheet (EOI register).
 */
#include "device/irqchip/ioapic.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/irqchip/apic_bus.h"

#define ENTRY_REMOTE_IRR (1ull << 14)
#define ENTRY_LEVEL (1ull << 15)
#define ENTRY_MASKED (1ull << 16)
#define ENTRY_READ_ONLY (ENTRY_REMOTE_IRR | 1ull << 12)

struct ioapic {
    struct device device;
    struct ioapic_config config;
    uint8_t index, id;
    uint32_t irr, lines;
    uint64_t entry[IOAPIC_PINS];
    struct memory_range *range;
};

static void service(struct ioapic *s, unsigned pin)
{
    uint64_t e = s->entry[pin];
    struct apic_message m = { .destination = e >> 56, .is_logical = e >> 11 & 1, .mode = e >> 8 & 7, .vector = e,
                              .is_level = (e & ENTRY_LEVEL) != 0, .level = true };

    if (!(s->irr >> pin & 1) || e & ENTRY_MASKED) return;
    if (e & ENTRY_LEVEL) {
        if (e & ENTRY_REMOTE_IRR) return;
        if (m.mode == APIC_FIXED || m.mode == APIC_LOWEST) s->entry[pin] |= ENTRY_REMOTE_IRR;
    } else {
        s->irr &= ~(1u << pin);
    }
    apic_bus_send(s->config.bus, &m);
}

void ioapic_irq_set(void *opaque, int pin, int level)
{
    struct ioapic *s = opaque;
    uint32_t bit;

    if (pin < 0 || pin >= IOAPIC_PINS) return;
    bit = 1u << pin;
    if (s->entry[pin] & ENTRY_LEVEL) s->irr = level ? s->irr | bit : s->irr & ~bit;
    else if (level && !(s->lines & bit)) s->irr |= bit;
    s->lines = level ? s->lines | bit : s->lines & ~bit;
    if (level) service(s, pin);
}

static void eoi(void *opaque, uint8_t vector)
{
    struct ioapic *s = opaque;

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        if ((s->entry[pin] & 0xff) != vector || !(s->entry[pin] & ENTRY_LEVEL) || !(s->entry[pin] & ENTRY_REMOTE_IRR)) continue;
        s->entry[pin] &= ~ENTRY_REMOTE_IRR;
        service(s, pin);
    }
}

static void entry_write(struct ioapic *s, unsigned pin, bool high, uint32_t value)
{
    uint64_t old = s->entry[pin], e;

    e = high ? (uint64_t)value << 32 | (uint32_t)old : (old >> 32 << 32) | value;
    e = (e & ~ENTRY_READ_ONLY) | (old & ENTRY_READ_ONLY);
    if (!(e & ENTRY_LEVEL)) e &= ~ENTRY_REMOTE_IRR;
    s->entry[pin] = e & 0xff0000000001ffffull;
    if (e & ENTRY_LEVEL) s->irr = (s->irr & ~(1u << pin)) | (s->lines & 1u << pin);
    service(s, pin);
}

static uint32_t data_read(const struct ioapic *s)
{
    switch (s->index) {
    case 0: case 2: return (uint32_t)s->id << 24;
    case 1: return 0x20 | (IOAPIC_PINS - 1) << 16;
    default:
        if (s->index < 0x10 || s->index >= 0x10 + 2 * IOAPIC_PINS) return 0;
        return s->entry[(s->index - 0x10) >> 1] >> (s->index & 1 ? 32 : 0);
    }
}

static uint64_t ioapic_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ioapic *s = opaque;

    switch (offset) {
    case 0: return s->index;
    case 0x10: return data_read(s);
    default: return 0;
    }
}

static void ioapic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ioapic *s = opaque;

    switch (offset) {
    case 0: s->index = value; break;
    case 0x10:
        if (s->index == 0) s->id = value >> 24 & 15;
        else if (s->index >= 0x10 && s->index < 0x10 + 2 * IOAPIC_PINS) entry_write(s, (s->index - 0x10) >> 1, s->index & 1, value);
        break;
    case 0x40: eoi(s, value); break;
    default: break;
    }
}

static const struct io_ops ioapic_io = { ioapic_read, ioapic_write, 4, 4 };

static void ioapic_reset(struct device *d)
{
    struct ioapic *s = (struct ioapic *)d;

    s->index = s->id = 0;
    s->irr = 0;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) s->entry[pin] = ENTRY_MASKED;
}

static void ioapic_info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    struct ioapic *s = (struct ioapic *)d;
    char line[96];

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        snprintf(line, sizeof line, "ioapic: pin %2u entry %016llx line %u irr %u", pin, (unsigned long long)s->entry[pin],
                 s->lines >> pin & 1, s->irr >> pin & 1);
        print(opaque, line);
    }
}

static void ioapic_destroy(struct device *d)
{
    memory_range_remove(((struct ioapic *)d)->range);
    free(d);
}

static const struct state_field ioapic_state[] = {
    STATE_FIELD(struct ioapic, index), STATE_FIELD(struct ioapic, id), STATE_FIELD(struct ioapic, irr),
    STATE_FIELD(struct ioapic, lines), STATE_ARRAY(struct ioapic, entry), STATE_END,
};
static const struct device_ops ioapic_ops = { "ioapic", "I/O APIC", ioapic_reset, ioapic_destroy, ioapic_state, NULL, ioapic_info };

struct device *ioapic_new(const struct ioapic_config *config, struct error *err)
{
    struct ioapic *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "ioapic: out of memory");
        return NULL;
    }
    s->device.ops = &ioapic_ops;
    s->config = *config;
    s->range = memory_map_add_io(config->memory, "ioapic", config->base, 0x1000, &ioapic_io, s, 2);
    apic_bus_listen_eoi(config->bus, eoi, s);
    ioapic_reset(&s->device);
    return &s->device;
}
