/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A keyboard's layout: which key, with which of Shift and AltGr, makes a character. For viewers that send characters. */
#ifndef DISPLAY_LAYOUT_H
#define DISPLAY_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct layout;

struct layout_key { uint32_t keysym, character; uint8_t key; bool shift, altgr; };   /* character: in UTF-32, 0: none */

/* By QEMU's name ("de", "fr-ch"). NULL with *err, which names the nearest. */
struct layout *layout_new(const char *name, struct error *err);
void layout_free(struct layout *l);
/* Is there one of this name? -1 with *err. */
int layout_check(const char *name, struct error *err);
/* NULL: no key makes this. */
const struct layout_key *layout_find(const struct layout *l, uint32_t keysym);
/* The names, a line for each. */
void layout_names(void (*print)(void *opaque, const char *line), void *opaque);

#endif
