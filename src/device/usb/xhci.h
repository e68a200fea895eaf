/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xHCI: a USB 3 controller with as many ports for USB 2 as for USB 3, four or as asked. PCI 1b36:000d (qemu-xhci) or 1033:0194 (nec-usb-xhci). */
#ifndef DEVICE_USB_XHCI_H
#define DEVICE_USB_XHCI_H

#include "bus/pci.h"
#include "bus/usb.h"

enum { XHCI_PORTS_EACH_MOST = 15 };
struct xhci_config {
    struct pci_bus *pci;
    int devfn;                           /* -1: the next free slot */
    const char *id, *bus_name;           /* id may be NULL */
    bool is_nec;
    unsigned ports;                      /* 1 to XHCI_PORTS_EACH_MOST; 0: four */
};
/* *bus is its USB bus, which lives as long. NULL with *err. */
struct device *xhci_new(const struct xhci_config *config, struct usb_bus **bus, struct error *err);

#endif
