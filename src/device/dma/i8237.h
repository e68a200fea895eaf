/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pair of 8237A DMA controllers of a PC, with the page registers. */
#ifndef DEVICE_DMA_I8237_H
#define DEVICE_DMA_I8237_H

#include <stdbool.h>
#include <stddef.h>

#include "bus/device.h"
#include "memory/map.h"

struct error;

struct i8237_config {
    struct memory_map *ports;          /* 00h-0Fh, C0h-DFh, 80h-8Fh */
    struct memory_map *memory;
};
/* Realized and reset; NULL with *err when out of memory. */
struct device *i8237_new(const struct i8237_config *config, struct error *err);

/* A device on channel 0-3 (bytes) or 5-7 (16-bit words) moves up to size bytes in the direction and mode that
 * the guest programmed, as long as DREQ would be honoured: what goes into memory is taken from data, what comes
 * out is put there. Returns the bytes moved; *done tells that terminal count was reached. Machine lock held. */
size_t i8237_transfer(struct device *d, unsigned channel, void *data, size_t size, bool *done);

#endif
