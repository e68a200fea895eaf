/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors of the user or the host: one line that says what failed, why, and what to do.
 * The caller owns the struct (usually on its stack) and decides; only main prints and exits.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>

struct error {
    char text[1024];
};

/* Formats the message into *err (NULL is allowed: the message is dropped). Always returns -1. */
int error_set(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " in front of the message that *err holds. Always returns -1. */
int error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
