/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the chips stand on, for tests: a clock that the test sets, timers that run on it, a serial backend kept in memory
 * (instead of base/clock.c, base/loop.c and chardev), and QEMU as the other world, driven through its qtest protocol.
 */
#ifndef TESTS_DEVICE_CHIPS_WORLD_H
#define TESTS_DEVICE_CHIPS_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "memory/map.h"

extern unsigned checks, failures;
extern struct memory_map *memory, *ports;
extern int64_t now_ns;                 /* the host's time, and virtual time; moved by time_step */
extern int64_t stopped_ns;             /* how much of it the machine was stopped: virtual time is that much behind */
extern int64_t wall_ns;                /* wall time less host time; a test may set the clock */
extern uint8_t sent[4096];             /* what went to the serial backend */
extern size_t sent_bytes;

#define CHECK(condition, ...) \
    do { \
        checks++; \
        if (condition) break; \
        if (failures++ > 20) break; \
        printf("%s:%d: %s: ", __FILE__, __LINE__, #condition); \
        printf(__VA_ARGS__); \
        printf("\n"); \
    } while (0)

void world_new(void);
/* Advances virtual time; timers that are due run at their own times, in order. */
void time_step(int64_t ns);
extern unsigned timers_fired;          /* how often one did */
/* Bytes arrive at the serial port; false: it has no room. */
bool serial_input(uint8_t byte);
uint64_t random_next(void);
void random_seed(uint64_t seed);

/* false: it is not installed. */
bool qemu_start(const char *rtc);
uint64_t qemu_ask(const char *format, uint64_t a, uint64_t b);
void qemu_stop(void);
/* Lets its virtual time run for about us; its virtual time afterwards, to 10 ns. It stands still otherwise. */
int64_t qemu_run(unsigned us);

#endif
