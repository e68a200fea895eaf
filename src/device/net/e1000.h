/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Intel PRO/1000 MT Desktop (82540EM): the network card that all operating systems since 2001 know. */
#ifndef DEVICE_NET_E1000_H
#define DEVICE_NET_E1000_H

#include "device/net/nic.h"

/* NULL with *err. */
struct device *e1000_new(const struct nic_device_config *config, struct error *err);

#endif
