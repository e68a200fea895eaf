/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Port 92h, "system control port A": fast A20 and fast reset. It keeps the board's one A20 gate, which the keyboard
 * controller switches too: who wrote last wins, and both read back what it is.
 */
#ifndef DEVICE_INPUT_PORT92_H
#define DEVICE_INPUT_PORT92_H

#include <stdbool.h>

#include "bus/device.h"
#include "memory/map.h"

struct error;

struct port92_config {
    struct memory_map *ports;                             /* 92h */
    void *opaque;
    void (*a20)(void *opaque, bool enabled);              /* the gate changed; not called for the initial "enabled" */
    void (*reset)(void *opaque);                          /* the CPU's reset pin was pulsed */
};
/* Realized and reset (A20 enabled); NULL with *err when out of memory. */
struct device *port92_new(const struct port92_config *config, struct error *err);

/* The gate; also for other ways to it. */
void port92_a20_set(struct device *d, bool enabled);
bool port92_a20(const struct device *d);
/* Has the machine reset, as the port's bit 0 does. */
void port92_reset_request(struct device *d);

#endif
