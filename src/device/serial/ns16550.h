/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A PC16550D UART: a serial port of a PC. */
#ifndef DEVICE_SERIAL_NS16550_H
#define DEVICE_SERIAL_NS16550_H

#include <stdint.h>

#include "bus/device.h"
#include "bus/irq.h"
#include "memory/map.h"

struct chardev;
struct error;

struct ns16550_config {
    struct memory_map *ports;
    uint16_t port;                 /* 3F8h, 2F8h, 3E8h, 2E8h */
    struct irq_line irq;           /* 4, 3, 4, 3; the OUT2 gate of the PC's boards is in here */
    struct chardev *backend;       /* stays the caller's; NULL: nothing is plugged in */
};
/* Realized, reset, attached to its backend; NULL with *err when out of memory. */
struct device *ns16550_new(const struct ns16550_config *config, struct error *err);

#endif
