/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes for people: three digits and a unit. */
#include "tool/img/img_private.h"

const char *img_size_text(uint64_t bytes, char out[32])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double value = (double)bytes;
    unsigned unit = 0;
    while (value >= 1000 && unit + 1 < ARRAY_SIZE(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(out, 32, "%.3g %s", value, units[unit]);
    return out;
}
