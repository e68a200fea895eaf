/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A monitor's description of itself (VESA EDID 1.4) for display adapters without a real one. */
#ifndef DEVICE_DISPLAY_EDID_H
#define DEVICE_DISPLAY_EDID_H

#include <stdint.h>

enum { EDID_BYTES = 128 };
struct edid_config {
    unsigned width, height;            /* preferred mode, 64 to 4095 */
};
void edid_make(uint8_t edid[EDID_BYTES], const struct edid_config *config);

#endif
