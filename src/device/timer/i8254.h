/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8254 programmable interval timer at 1.193182 MHz. */
#ifndef DEVICE_TIMER_I8254_H
#define DEVICE_TIMER_I8254_H

#include <stdbool.h>
#include <stdint.h>

#include "bus/device.h"
#include "bus/irq.h"
#include "memory/map.h"

struct error;

#define I8254_HZ 1193182u

struct i8254_config {
    struct memory_map *ports;
    uint16_t base;                 /* 40h */
    struct irq_line out0;          /* output of counter 0: IRQ 0, or the HPET's switch in between */
};
/* Realized and reset; NULL with *err when out of memory. */
struct device *i8254_new(const struct i8254_config *config, struct error *err);

/* Gate input of a counter, 0..2 (those of 0 and 1 are tied high on a PC); what the chip's modes make of it happens. */
void i8254_gate_set(struct device *d, unsigned counter, bool level);
bool i8254_gate(const struct device *d, unsigned counter);
/* Level of a counter's OUT pin now. */
bool i8254_out(struct device *d, unsigned counter);

#endif
