/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Port 61h, "NMI status and control": gate and output of counter 2, speaker data, refresh toggle, NMI masks. */
#ifndef DEVICE_TIMER_PORT61_H
#define DEVICE_TIMER_PORT61_H

#include "bus/device.h"
#include "memory/map.h"

struct error;

struct port61_config {
    struct memory_map *ports;      /* 61h */
    struct device *pit;            /* an i8254 that outlives it; NULL: there is none (KVM's own PIT) */
};
/* Realized and reset; NULL with *err when out of memory. */
struct device *port61_new(const struct port61_config *config, struct error *err);

#endif
