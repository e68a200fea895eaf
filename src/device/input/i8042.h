/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The i8042 keyboard controller of a PS/2 machine, with a keyboard and a mouse plugged in. */
#ifndef DEVICE_INPUT_I8042_H
#define DEVICE_INPUT_I8042_H

#include <stdbool.h>
#include <stdint.h>

#include "bus/device.h"
#include "bus/irq.h"
#include "memory/map.h"

struct error;

struct i8042_config {
    struct memory_map *ports;      /* 60h, 64h */
    struct irq_line keyboard_irq;  /* IRQ 1 */
    struct irq_line mouse_irq;     /* IRQ 12 */
    struct device *port92;         /* keeps the A20 gate and the reset request; must outlive it */
};
/* Realized and reset; NULL with *err when out of memory. */
struct device *i8042_new(const struct i8042_config *config, struct error *err);

/* A key of enum qkeycode went down or up. Keys the PS/2 keyboard does not have, and more than its buffer holds, are
 * dropped (the latter with the keyboard's overrun code). Machine lock held. */
void keyboard_send_key(struct device *d, unsigned qkeycode, bool down);
/* Movement in counts: x to the right, y downwards, wheel towards the user. */
void mouse_move(struct device *d, int dx, int dy, int wheel);
enum { MOUSE_LEFT = 1, MOUSE_RIGHT = 2, MOUSE_MIDDLE = 4, MOUSE_SIDE = 8, MOUSE_EXTRA = 16 };
/* MOUSE_* bits that are down now. */
void mouse_buttons(struct device *d, unsigned buttons);
/* LEDs as the guest set them: bit 0 scroll lock, 1 num lock, 2 caps lock. */
unsigned keyboard_leds(const struct device *d);

#endif
