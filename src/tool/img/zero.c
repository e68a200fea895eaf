/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding zeroes in data, with wide words: data that are not zero mostly show that in their first bytes. */
#include "tool/img/img_private.h"

#include <string.h>

typedef uint64_t wide __attribute__((vector_size(32), aligned(1)));

bool img_is_zero(const void *data, size_t length)
{
    const uint8_t *at = data, *end = at + length;
    for (; end - at >= 128; at += 128) {
        const wide *w = (const wide *)(const void *)at;
        wide any = w[0] | w[1] | w[2] | w[3];
        if (any[0] | any[1] | any[2] | any[3])
            return false;
    }
    for (; at < end; at++)
        if (*at)
            return false;
    return true;
}

size_t img_zero_run(const uint8_t *data, size_t length, size_t unit, bool *zero)
{
    size_t at = MIN(unit, length);
    *zero = img_is_zero(data, at);
    while (at < length && img_is_zero(data + at, MIN(unit, length - at)) == *zero)
        at += MIN(unit, length - at);
    return at;
}
