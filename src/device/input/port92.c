/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Port 92h: bit 0 rising resets the machine, bit 1 is the A20 gate. Source: 82371SB data sheet, Port 92. */
#include "device/input/port92.h"

#include <stdlib.h>

#include "base/error.h"

struct port92 {
    struct device device;
    struct port92_config config;
    struct memory_range *range;
    uint8_t value;                   /* bit 0 reset, bit 1 A20, others kept */
};

void port92_a20_set(struct device *d, bool enabled)
{
    struct port92 *s = (struct port92 *)d;

    if (enabled == (s->value >> 1 & 1)) return;
    s->value = enabled ? s->value | 2 : s->value & ~2;
    if (s->config.a20) s->config.a20(s->config.opaque, enabled);
}

bool port92_a20(const struct device *d) { return ((const struct port92 *)d)->value >> 1 & 1; }

void port92_reset_request(struct device *d)
{
    struct port92 *s = (struct port92 *)d;

    if (s->config.reset) s->config.reset(s->config.opaque);
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size) { return ((struct port92 *)opaque)->value; }

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct port92 *s = opaque;
    bool resets = value & 1 && !(s->value & 1);

    port92_a20_set(&s->device, value & 2);
    s->value = (s->value & 2) | (value & 0xf9);
    if (resets) port92_reset_request(&s->device);
}

static const struct io_ops port_io = { port_read, port_write, 1, 1 };

static void port92_reset(struct device *d)
{
    struct port92 *s = (struct port92 *)d;

    port92_a20_set(d, true);
    s->value = 2;
}

static void port92_destroy(struct device *d)
{
    memory_range_remove(((struct port92 *)d)->range);
    free(d);
}

static const struct state_field port92_state[] = { STATE_FIELD(struct port92, value), STATE_END };
static const struct device_ops port92_ops = { "port92", "fast A20 and reset", port92_reset, port92_destroy, port92_state, NULL, NULL };

struct device *port92_new(const struct port92_config *config, struct error *err)
{
    struct port92 *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "port92: out of memory");
        return NULL;
    }
    s->device.ops = &port92_ops;
    s->config = *config;
    s->value = 2;
    s->range = memory_map_add_io(config->ports, "port92", 0x92, 1, &port_io, s, 2);
    return &s->device;
}
