/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI hot-plug as QEMU's PIIX4 has it, a bit a slot in 32-bit registers from AE00h:
 *
 *   0  up       functions that came; reading forgets them     4  down  functions that shall go
 *   8  eject    written: the guest has let go of them; read: features, none      Ch  removable
 *   10h bus     which bus the others mean; there is bus 0 only    14h  index of a network card's slot, always 0
 *
 * A change raises GPE 1, whose method in the DSDT reads up and down and notifies the slots' devices; their _EJ0 writes eject.
 * Source: QEMU 7.2, docs/specs/acpi_pci_hotplug.txt.
 */
#include "device/chipset/acpi_pcihp.h"

#include <stdlib.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"

enum { UP = 0, DOWN = 4, EJECT = 8, REMOVABLE = 0xc, BUS = 0x10, BYTES = 0x18 };

struct pcihp {
    struct device device;
    struct acpi_pcihp_config config;
    struct memory_range *range;
    uint32_t up, down, removable, bus;
};

static struct pcihp *of(struct device *d) { return container_of(d, struct pcihp, device); }

static uint64_t read(void *opaque, uint64_t offset, unsigned size)
{
    struct pcihp *s = opaque;
    uint32_t up = s->up;

    if (offset == BUS) return s->bus;
    if (offset == REMOVABLE) return s->bus ? UINT32_MAX : s->removable;
    if (s->bus) return 0;
    if (offset == DOWN) return s->down;
    if (offset != UP) return 0;
    s->up = 0;
    return up;
}

/* One slot a write, the lowest. */
static void eject(struct pcihp *s, uint32_t slots)
{
    unsigned slot;

    if (s->bus || !slots) return;
    slot = (unsigned)__builtin_ctz(slots);
    acpi_pcihp_slot_clear(&s->device, slot);
    if (s->removable >> slot & 1) s->config.eject(s->config.opaque, slot);
    else trace(TRACE_GUEST_ERRORS, "acpi-pcihp: slot %u cannot be ejected\n", slot);
}

static void write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pcihp *s = opaque;

    if (offset == BUS) s->bus = (uint32_t)value;
    if (offset == EJECT) eject(s, (uint32_t)value);
}

static const struct io_ops io = { read, write, 4, 4 };

void acpi_pcihp_removable_set(struct device *d, uint32_t slots) { of(d)->removable = slots; }
uint32_t acpi_pcihp_pending(const struct device *d) { return of((struct device *)(uintptr_t)d)->down; }

void acpi_pcihp_plugged(struct device *d, unsigned slot)
{
    of(d)->up |= 1u << slot;
    of(d)->config.notify(of(d)->config.opaque);
}

void acpi_pcihp_unplug_request(struct device *d, unsigned slot)
{
    of(d)->down |= 1u << slot;
    of(d)->config.notify(of(d)->config.opaque);
}

void acpi_pcihp_slot_clear(struct device *d, unsigned slot)
{
    of(d)->up &= ~(1u << slot);
    of(d)->down &= ~(1u << slot);
}

/* Firmware and kernel look at all slots anew. */
static void reset(struct device *d) { of(d)->up = of(d)->down = of(d)->bus = 0; }

static void destroy(struct device *d)
{
    if (of(d)->range) memory_range_remove(of(d)->range);
    free(of(d));
}

static const struct state_field state[] = {
    STATE_FIELD(struct pcihp, up), STATE_FIELD(struct pcihp, down), STATE_FIELD(struct pcihp, removable), STATE_FIELD(struct pcihp, bus), STATE_END,
};
static const struct device_ops ops = { .name = "acpi-pci-hotplug", .description = "ACPI PCI hot-plug", .reset = reset, .destroy = destroy, .state = state };

struct device *acpi_pcihp_new(const struct acpi_pcihp_config *config, struct error *err)
{
    struct pcihp *s = calloc(1, sizeof(*s));

    if (!s) {
        error_set(err, "no memory for PCI hot-plug");
        return NULL;
    }
    s->device.ops = &ops;
    s->config = *config;
    s->range = memory_map_add_io(config->ports, "acpi-pci-hotplug", ACPI_PCIHP_PORT, BYTES, &io, s, 2);
    return &s->device;
}
