/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The MC146818 real-time clock with 128 bytes of CMOS RAM. */
#ifndef DEVICE_TIMER_MC146818_H
#define DEVICE_TIMER_MC146818_H

#include <stdint.h>

#include "bus/device.h"
#include "bus/irq.h"
#include "memory/map.h"

struct error;

enum mc146818_base { MC146818_UTC, MC146818_LOCALTIME, MC146818_DATE };
/* Virtual time, the host's monotonic clock, the host's wall clock: the latter two go on while the machine is stopped. */
enum mc146818_clock { MC146818_CLOCK_VM, MC146818_CLOCK_RT, MC146818_CLOCK_HOST };

struct mc146818_config {
    struct memory_map *ports;
    uint16_t port;                 /* 70h: index and data */
    struct irq_line irq;           /* IRQ 8, or the HPET's switch in between */
    struct irq_line nmi_disable;   /* bit 7 of the index register; .set may be NULL */
    enum mc146818_base base;       /* what the clock shows at power-on */
    enum mc146818_clock clock;     /* what drives it from then on */
    bool slew;                     /* periodic interrupts that the guest missed are made good */
    int64_t date_s;                /* for MC146818_DATE: seconds since 1970, shown as they are */
    /* The guest has set it: so many seconds from what it would show otherwise. NULL: nobody wants to know. */
    void (*changed)(void *opaque, int64_t offset_s);
    void *opaque;
};
/* Realized and reset; NULL with *err when out of memory. */
struct device *mc146818_new(const struct mc146818_config *config, struct error *err);

/* CMOS bytes of the board: memory size, boot order, drive types... index 0Eh..7Fh but not the century byte 32h. They
 * are kept over a reset. Others are ignored. */
void mc146818_cmos_set(struct device *d, uint8_t index, uint8_t value);
uint8_t mc146818_cmos_get(const struct device *d, uint8_t index);

#endif
