/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The high precision event timers: IA-PC HPET specification 1.0a; 3 comparators, 64-bit counter at 100 MHz. */
#ifndef DEVICE_TIMER_HPET_H
#define DEVICE_TIMER_HPET_H

#include "bus/device.h"
#include "bus/irq.h"
#include "memory/map.h"

struct error;

enum { HPET_DEFAULT_BASE = 0xfed00000, HPET_PERIOD_FS = 10000000, HPET_TIMERS = 3 };

struct hpet_config {
    struct memory_map *memory;
    gpa_t base;                    /* HPET_DEFAULT_BASE */
    struct irq_line gsi;           /* set is called with n = gsi.n + I/O APIC pin, 0..23 */
    struct irq_line irq0, irq8;    /* where PIT and RTC end, and timers 0 and 1 under legacy replacement: ISA IRQ 0, 8 */
    struct msi_target msi;         /* FSB delivery; .send may be NULL: not offered */
};
/* Realized and reset; NULL with *err when out of memory. */
struct device *hpet_new(const struct hpet_config *config, struct error *err);

/* For struct irq_line, opaque is the device: what PIT (n 0) and RTC (n 8) drive. Passed on to irq0 and irq8 while
 * legacy replacement is off. */
void hpet_legacy_irq_set(void *opaque, int n, int level);

#endif
