/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Port 61h. Bits 0 and 1 (gate of counter 2, speaker data) and 2 and 3 (NMI masks, kept) are written; bit 4 toggles with
 * each memory refresh (every 15.085 us, counter 1's job), bit 5 is the output of counter 2.
 * Source: 82371SB data sheet, NMISC register.
 */
#include "device/timer/port61.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "device/timer/i8254.h"

enum { REFRESH_NS = 15085 };

struct port61 {
    struct device device;
    struct port61_config config;
    struct memory_range *range;
    uint8_t value;
};

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct port61 *s = opaque;
    uint64_t refresh = (uint64_t)clock_virtual_ns() / REFRESH_NS & 1;
    bool out = s->config.pit && i8254_out(s->config.pit, 2);

    return s->value | refresh << 4 | out << 5;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct port61 *s = opaque;

    s->value = value & 15;
    if (s->config.pit) i8254_gate_set(s->config.pit, 2, value & 1);
}

static const struct io_ops port_io = { port_read, port_write, 1, 1 };

static void port61_reset(struct device *d) { port_write(d, 0, 0, 1); }

static void port61_destroy(struct device *d)
{
    memory_range_remove(((struct port61 *)d)->range);
    free(d);
}

static const struct state_field port61_state[] = { STATE_FIELD(struct port61, value), STATE_END };
static const struct device_ops port61_ops = { "port61", "NMI status and control, speaker gate", port61_reset, port61_destroy,
                                              port61_state, NULL, NULL };

struct device *port61_new(const struct port61_config *config, struct error *err)
{
    struct port61 *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "port61: out of memory");
        return NULL;
    }
    s->device.ops = &port61_ops;
    s->config = *config;
    s->range = memory_map_add_io(config->ports, "port61", 0x61, 1, &port_io, s, 2);
    port61_reset(&s->device);
    return &s->device;
}
