/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A frontend of a character device that keeps what it gets, as the tests of that room share it. */
#ifndef TESTS_UNIT_SINK_H
#define TESTS_UNIT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chardev;
struct chardevs;

enum { SINK = 1 << 20 };

/* text ends with a 0; room is what it takes at once, as long as there is so much left. */
struct sink {
    struct chardev *c;
    char text[SINK + 1];
    size_t size, room;
    unsigned opened, closed, focused, unfocused, breaks;
};

/* Opens a device with the sink as its frontend, or says why not. */
bool sink_open(struct sink *s, struct chardevs *all, const char *spec);
/* Makes it the frontend of its device again. */
void sink_attach(struct sink *s);
/* A device that must not open, for a reason that names part. */
void sink_refused(struct chardevs *all, const char *spec, const char *part);

/* Runs the loop until there is so much, at most 20 s. */
void wait_size(const size_t *value, size_t least);
void wait_count(const unsigned *value, unsigned least);
void some_steps(void);

#endif
