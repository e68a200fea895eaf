/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A ring in memory: of what the frontend writes, and of what the monitor's ringbuf-write adds, the last bytes are kept until the monitor
 * reads them. Nothing ever comes in.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "chardev/chardev_private.h"

enum { DEFAULT_BYTES = 64 << 10, BYTES_MAX = 64 << 20 };

struct ringbuf {
    struct chardev base;
    size_t size;                       /* a power of two */
    uint64_t begin, end;               /* bytes read, or overwritten, and written so far */
    uint8_t data[];
};

static size_t ring_write(struct chardev *c, const uint8_t *data, size_t size)
{
    struct ringbuf *r = container_of(c, struct ringbuf, base);

    for (size_t i = size > r->size ? size - r->size : 0; i < size; i++) r->data[r->end++ & (r->size - 1)] = data[i];
    r->begin = r->end - MIN(r->end - r->begin, (uint64_t)r->size);
    return size;
}

static void ring_accept_input(struct chardev *c) { }
static void ring_close(struct chardev *c) { free(container_of(c, struct ringbuf, base)); }

static const struct chardev_ops ringbuf_ops = { .write = ring_write, .accept_input = ring_accept_input, .close = ring_close };

struct chardev *ringbuf_open(const char *path, const char *options, struct error *err)
{
    static const char *const names[] = { "size", NULL };
    unsigned size = DEFAULT_BYTES;
    struct ringbuf *r;

    if (chardev_options_check("ringbuf", options, names, err) < 0 || chardev_option_number(options, "size", BYTES_MAX, &size, err) < 0) return NULL;
    if (!size || (size & (size - 1))) {
        error_set(err, "size of ringbuf chardev must be power of two");
        return NULL;
    }
    r = calloc(1, sizeof(*r) + size);
    if (!r) {
        error_set(err, "out of memory");
        return NULL;
    }
    r->base.ops = &ringbuf_ops;
    r->size = size;
    return &r->base;
}

bool chardev_is_ring(const struct chardev *c) { return c->ops == &ringbuf_ops; }

size_t chardev_ring_read(struct chardev *c, uint8_t *data, size_t size)
{
    struct ringbuf *r = container_of(c, struct ringbuf, base);

    size = (size_t)MIN((uint64_t)size, r->end - r->begin);
    for (size_t i = 0; i < size; i++) data[i] = r->data[r->begin++ & (r->size - 1)];
    return size;
}

size_t chardev_ring_used(const struct chardev *c)
{
    const struct ringbuf *r = container_of(c, const struct ringbuf, base);

    return (size_t)(r->end - r->begin);
}
