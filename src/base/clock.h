/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clocks. Host time is CLOCK_MONOTONIC. Virtual time is what guest timers count: it runs with host time while
 * the VM runs and stands still while it is stopped. All functions may be called from any thread.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_SECOND 1000000000LL

int64_t clock_host_ns(void);        /* CLOCK_MONOTONIC */
int64_t clock_wall_ns(void);        /* CLOCK_REALTIME, since 1970 */
int64_t clock_virtual_ns(void);     /* starts at 0 */
int64_t clock_host_deadline_ns(int64_t virtual_ns);      /* the host time at which virtual time is that; INT64_MAX: it stands still */
void clock_virtual_start(void);
void clock_virtual_stop(void);
bool clock_virtual_is_running(void);
/* a * b / c with a 128-bit product; for converting between ns and ticks. */
static inline uint64_t muldiv64(uint64_t a, uint64_t b, uint64_t c)
{
    return (uint64_t)((unsigned __int128)a * b / c);
}

#endif
