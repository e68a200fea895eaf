/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all devices share. A device is a struct that begins with struct device, a const ops table and a constructor
 * NAME_new(config) in its own file, which returns it realized or NULL with *err. What it talks to (bus, IRQ line,
 * backend, address spaces) is handed in through its config struct. device_ops' state list names what reset,
 * snapshot and migration touch.
 */
#ifndef BUS_DEVICE_H
#define BUS_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device;
struct error;

/* A saved field: sizes 1, 2, 4, 8 are integers, count > 1 arrays of them; size 0 ends the list. */
struct state_field {
    const char *name;
    uint32_t offset, size, count;
};
#define STATE_FIELD(type, member) \
    { #member, offsetof(type, member), sizeof(((type *)0)->member), 1 }
#define STATE_ARRAY(type, member) \
    { #member, offsetof(type, member), sizeof(((type *)0)->member[0]), \
      sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]) }
#define STATE_END { 0 }

struct device_ops {
    const char *name;                     /* "i8254"; as in -device where a user can add it */
    const char *description;
    void (*reset)(struct device *d);      /* power-on values */
    void (*destroy)(struct device *d);    /* frees d and what it owns */
    const struct state_field *state;
    void (*after_load)(struct device *d); /* state came from outside: check it, derive the rest */
    void (*info)(struct device *d, void (*print)(void *opaque, const char *line), void *opaque);
};

struct device {
    const struct device_ops *ops;
    const char *id;                       /* user's id or NULL */
    struct device *next;                  /* in its machine's list */
};

static inline void device_reset(struct device *d) { if (d->ops->reset) d->ops->reset(d); }
static inline void device_destroy(struct device *d) { if (d && d->ops->destroy) d->ops->destroy(d); }

#endif
