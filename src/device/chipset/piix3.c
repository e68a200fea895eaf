/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 82371SB, function 0. Registers 60h-63h route PIRQA-D to ISA IRQs (bit 7: off); an IRQ is up while any PIRQ routed to it
 * is. CF9h: bit 1 chooses a hard reset, bit 2 rising does it.
 * Source: Intel 82371FB/82371SB data sheet 290550.
 */
#include "device/chipset/piix3.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"

enum { ROUTE = 0x60, ROUTABLE = 0xdef8 };              /* IRQs 3-7, 9-12, 14, 15 */

struct piix3 {
    struct pci_device pci;
    struct piix3_config config;
    uint8_t pirq[4], irq_level[16], reset_control;
};

static void route_update(struct piix3 *s)
{
    uint8_t level[16] = { 0 };

    for (unsigned n = 0; n < 4; n++) {
        uint8_t route = s->pci.config[ROUTE + n];
        if (!(route & 0x80) && ROUTABLE >> (route & 15) & 1) level[route & 15] |= s->pirq[n];
    }
    for (unsigned n = 0; n < 16; n++) {
        if (level[n] == s->irq_level[n]) continue;
        s->irq_level[n] = level[n];
        irq_set(&s->config.irq[n], level[n]);
    }
}

void piix3_pirq_set(void *opaque, int pirq, int level)
{
    struct piix3 *s = opaque;

    s->pirq[pirq & 3] = level != 0;
    route_update(s);
}

uint8_t piix3_reset_control_read(void *opaque) { return ((struct piix3 *)opaque)->reset_control; }

void piix3_reset_control_write(void *opaque, uint8_t value)
{
    struct piix3 *s = opaque;
    bool resets = value & 4 && !(s->reset_control & 4);

    s->reset_control = value & 2;                      /* bit 2 falls with the reset itself */
    if (resets && s->config.reset) s->config.reset(s->config.opaque);
}

static void config_write(struct pci_device *d, unsigned offset, uint32_t value, unsigned size)
{
    if (offset < ROUTE + 4 && offset + size > ROUTE) route_update((struct piix3 *)d);
}

static void piix3_reset(struct device *d)
{
    struct piix3 *s = (struct piix3 *)d;
    static const struct { uint8_t at, value; } initial[] = {
        { 0x4c, 0x4d }, { 0x4e, 0x03 }, { 0x4f, 0 }, { 0x60, 0x80 }, { 0x61, 0x80 }, { 0x62, 0x80 }, { 0x63, 0x80 }, { 0x69, 0x02 },
        { 0x70, 0x80 }, { 0x76, 0x0c }, { 0x77, 0x0c }, { 0x78, 0x02 }, { 0xa0, 0x08 }, { 0xa8, 0x0f },
    };

    memset(s->pci.config + 0x40, 0, 0xc0);
    for (unsigned n = 0; n < ARRAY_SIZE(initial); n++) s->pci.config[initial[n].at] = initial[n].value;
    s->reset_control = 0;
    route_update(s);
}

static void piix3_destroy(struct device *d) { free(d); }

static const struct state_field piix3_state[] = {
    STATE_ARRAY(struct piix3, pci.config), STATE_ARRAY(struct piix3, pirq), STATE_FIELD(struct piix3, reset_control), STATE_END,
};
static const struct pci_device_ops piix3_ops = {
    .device = { "PIIX3", "82371SB ISA bridge", piix3_reset, piix3_destroy, piix3_state, NULL, NULL }, .config_write = config_write,
};

struct device *piix3_new(const struct piix3_config *config, struct error *err)
{
    struct piix3 *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "PIIX3: out of memory");
        return NULL;
    }
    s->config = *config;
    if (pci_device_init(&s->pci, &piix3_ops, config->bus, config->devfn, 0x8086, 0x7000, 0x06010000, err) < 0) {
        free(s);
        return NULL;
    }
    s->pci.config[0xe] |= 0x80;                        /* multifunction by design */
    s->pci.config[7] = 2;                              /* medium DEVSEL timing */
    memset(s->pci.writable + 0x4c, 0xff, 4);
    memset(s->pci.writable + ROUTE, 0x8f, 4);
    memset(s->pci.writable + 0x69, 0xff, 0xb0 - 0x69);
    piix3_reset(&s->pci.device);
    return &s->pci.device;
}
