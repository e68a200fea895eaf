/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two one-register devices for firmware and tests: the debug console and the exit port. */
#ifndef DEVICE_FIRMWARE_DEBUGCON_H
#define DEVICE_FIRMWARE_DEBUGCON_H

#include <stdint.h>

#include "bus/device.h"
#include "memory/map.h"

struct chardev;
struct error;

struct debugcon_config {
    struct memory_map *ports;
    uint16_t port;                     /* 402h */
    struct chardev *backend;           /* stays the caller's; NULL: output is dropped */
};
/* Bytes written go to the backend; reads give E9h, by which SeaBIOS knows that it is there. */
struct device *debugcon_new(const struct debugcon_config *config, struct error *err);

struct isa_debug_exit_config {
    struct memory_map *ports;
    uint16_t port;                     /* 501h by default, 4 bytes */
    void *opaque;
    void (*exit)(void *opaque, int status);   /* value << 1 | 1, as seen by wait(2): 8 bits */
};
struct device *isa_debug_exit_new(const struct isa_debug_exit_config *config, struct error *err);

#endif
