/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NE2000 on PCI (Realtek RTL8029AS): the network card that systems of the nineties know. */
#ifndef DEVICE_NET_NE2K_PCI_H
#define DEVICE_NET_NE2K_PCI_H

#include "device/net/nic.h"

/* NULL with *err. */
struct device *ne2k_pci_new(const struct nic_device_config *config, struct error *err);

#endif
