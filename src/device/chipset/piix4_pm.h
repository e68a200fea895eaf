/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Power management of the 82371AB: ACPI PM1 events, PM timer, GPE0, sleep states, SMI command port. PCI 8086:7113. */
#ifndef DEVICE_CHIPSET_PIIX4_PM_H
#define DEVICE_CHIPSET_PIIX4_PM_H

#include "bus/pci.h"

struct piix4_pm_config {
    struct pci_bus *bus;
    int devfn;                         /* 00:01.3 */
    struct memory_map *ports;          /* B2h-B3h; PMBASE; GPE0 at gpe_base */
    uint16_t gpe_base;                 /* AFE0h */
    struct irq_line sci;               /* IRQ 9 */
    void *opaque;
    void (*power_off)(void *opaque);   /* the guest entered S5 */
    void (*suspend)(void *opaque);     /* S3; NULL: ignored */
};
struct device *piix4_pm_new(const struct piix4_pm_config *config, struct error *err);
/* The power button is pressed: PM1 event, SCI if the guest enabled it. Machine lock held. */
void acpi_power_button(struct device *d);
/* General purpose event 0..15. */
void acpi_gpe_raise(struct device *d, unsigned bit);

#endif
