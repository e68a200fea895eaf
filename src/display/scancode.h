/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scan codes of clients to keys. */
#ifndef DISPLAY_SCANCODE_H
#define DISPLAY_SCANCODE_H

#include <stdint.h>

/* Of set 1, with bit 7 or the byte E0 in front for those behind it; 0 (QKEY_UNMAPPED): no key. */
unsigned scancode_key(uint32_t scancode);

#endif
