/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ISA bridge of the 82371SB: PIRQ routing, reset control. PCI 8086:7000, 00:01.0. */
#ifndef DEVICE_CHIPSET_PIIX3_H
#define DEVICE_CHIPSET_PIIX3_H

#include "bus/pci.h"

struct piix3_config {
    struct pci_bus *bus;
    int devfn;
    struct irq_line irq[16];           /* ISA IRQs that PIRQs may be routed to; .set NULL: cannot */
    void *opaque;
    void (*reset)(void *opaque);       /* hard reset by CF9h */
};
struct device *piix3_new(const struct piix3_config *config, struct error *err);
/* For struct irq_line, pirq 0..3: PCI INTA#..INTD# of slot 0 as the bus numbers them. */
void piix3_pirq_set(void *opaque, int pirq, int level);
/* CF9h; for i440fx_config. */
uint8_t piix3_reset_control_read(void *opaque);
void piix3_reset_control_write(void *opaque, uint8_t value);

#endif
