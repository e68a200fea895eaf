/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The characters of a PC's ROM font. */
#ifndef BASE_CP437_H
#define BASE_CP437_H

#include <stdint.h>

/* In Unicode. */
uint16_t cp437_unicode(uint8_t character);
/* What is nearest in ASCII. */
char cp437_ascii(uint8_t character);

#endif
