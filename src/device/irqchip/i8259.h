/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pair of 8259A interrupt controllers of a PC, with the edge/level registers (ELCR) of the south bridge. */
#ifndef DEVICE_IRQCHIP_I8259_H
#define DEVICE_IRQCHIP_I8259_H

#include <stdbool.h>

#include "bus/device.h"
#include "bus/irq.h"
#include "memory/map.h"

struct error;

struct i8259_config {
    struct memory_map *ports;      /* 20h-21h, A0h-A1h, 4D0h-4D1h */
    struct irq_line intr;          /* INT pin of the master */
};
/* The pair, realized and reset; NULL with *err when out of memory. Freed by device_destroy. */
struct device *i8259_new(const struct i8259_config *config, struct error *err);

/* For struct irq_line: opaque is the device, irq 0..15. IRQ 2 is the cascade and ignored. Machine lock held. */
void i8259_irq_set(void *opaque, int irq, int level);

/* The CPU's two INTA cycles: the vector to deliver, that of IR7 when the request went away (8259A data sheet,
 * "Interrupt sequence"). Machine lock held. */
int i8259_acknowledge(struct device *d);

/* Level of the INT pin to the CPU. */
bool i8259_is_pending(const struct device *d);

#endif
