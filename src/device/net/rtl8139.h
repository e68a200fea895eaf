/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Realtek RTL8139C+: the 100 Mbit/s network card that systems around 2000 know. */
#ifndef DEVICE_NET_RTL8139_H
#define DEVICE_NET_RTL8139_H

#include "device/net/nic.h"

/* NULL with *err. */
struct device *rtl8139_new(const struct nic_device_config *config, struct error *err);

#endif
