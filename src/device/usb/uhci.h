/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UHCI: the USB 1.1 controller of the PIIX3, two ports. PCI 8086:7020. */
#ifndef DEVICE_USB_UHCI_H
#define DEVICE_USB_UHCI_H

#include "bus/pci.h"
#include "bus/usb.h"

struct uhci_config {
    struct pci_bus *pci;
    int devfn;                           /* -1: the next free slot */
    const char *id, *bus_name;           /* id may be NULL */
};
/* *bus is its USB bus, which lives as long. NULL with *err. */
struct device *uhci_new(const struct uhci_config *config, struct usb_bus **bus, struct error *err);

#endif
