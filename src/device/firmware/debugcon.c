/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The debug console of Bochs and QEMU (a port that takes characters, read back as E9h) and QEMU's
 * isa-debug-exit (a write ends the machine with the exit status value << 1 | 1, never 0).
 */
#include "device/firmware/debugcon.h"

#include <stdlib.h>

#include "base/bits.h"
#include "base/error.h"
#include "chardev/chardev.h"

struct debugcon {
    struct device device;
    struct memory_range *range;
    struct chardev *backend;
};

static uint64_t debugcon_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0xe9;
}

static void debugcon_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    const struct debugcon *c = opaque;
    uint8_t byte = (uint8_t)value;

    if (c->backend) chardev_write(c->backend, &byte, 1);
}

static const struct io_ops debugcon_io = { debugcon_read, debugcon_write, 1, 1 };

static void debugcon_destroy(struct device *d)
{
    struct debugcon *c = container_of(d, struct debugcon, device);

    memory_range_remove(c->range);
    free(c);
}

static const struct device_ops debugcon_ops = {
    .name = "isa-debugcon",
    .description = "debug console",
    .destroy = debugcon_destroy,
};

struct device *debugcon_new(const struct debugcon_config *config, struct error *err)
{
    struct debugcon *c = calloc(1, sizeof(*c));

    if (!c) {
        error_set(err, "isa-debugcon: no memory");
        return NULL;
    }
    c->device.ops = &debugcon_ops;
    c->backend = config->backend;
    c->range = memory_map_add_io(config->ports, "isa-debugcon", config->port, 1, &debugcon_io, c, 2);
    return &c->device;
}

struct isa_debug_exit {
    struct device device;
    struct memory_range *range;
    struct isa_debug_exit_config config;
};

static uint64_t exit_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    const struct isa_debug_exit *e = opaque;

    e->config.exit(e->config.opaque, (int)((value << 1 | 1) & 0xff));
}

static const struct io_ops exit_io = { exit_read, exit_write, 1, 4 };

static void exit_destroy(struct device *d)
{
    struct isa_debug_exit *e = container_of(d, struct isa_debug_exit, device);

    memory_range_remove(e->range);
    free(e);
}

static const struct device_ops exit_ops = {
    .name = "isa-debug-exit",
    .description = "ends the machine with a status",
    .destroy = exit_destroy,
};

struct device *isa_debug_exit_new(const struct isa_debug_exit_config *config, struct error *err)
{
    struct isa_debug_exit *e = calloc(1, sizeof(*e));

    if (!e) {
        error_set(err, "isa-debug-exit: no memory");
        return NULL;
    }
    e->device.ops = &exit_ops;
    e->config = *config;
    e->range = memory_map_add_io(config->ports, "isa-debug-exit", config->port, 4, &exit_io, e, 2);
    return &e->device;
}
