/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the text screen in a terminal: what ncurses draws, and what it makes of keys. */
#ifndef DISPLAY_CURSES_PRIVATE_H
#define DISPLAY_CURSES_PRIVATE_H

#include "display/bytes.h"
#include "display/curses.h"

struct curses_screen;
/* ncurses, with the library loaded, at the terminal's type. NULL with *err. */
struct curses_screen *curses_screen_new(struct error *err);
void curses_screen_free(struct curses_screen *s);
/* The terminal's state without the picture, for curses_terminal_farewell_set. */
void curses_screen_farewell(struct curses_screen *s, char *text, size_t size);
void curses_screen_resize(struct curses_screen *s, unsigned rows, unsigned columns);
/* Draws what differs from the last time; out gets what the terminal is to be sent. help: a line below the size of a graphics mode. */
void curses_screen_draw(struct curses_screen *s, const struct curses_text *t, const char *help, struct bytes *out);
/* Leaves the terminal to others, until the next curses_screen_draw, which draws all. */
void curses_screen_leave(struct curses_screen *s, struct bytes *out);
/* The next key, if there is one: a character of the host's, or ncurses' number of another key. */
enum curses_input { CURSES_NOTHING, CURSES_CHARACTER, CURSES_KEY };
enum curses_input curses_screen_key(struct curses_screen *s, unsigned *value);
/* "kUP5": the capability's name of a key that ncurses numbers by itself; or NULL. */
const char *curses_screen_key_name(struct curses_screen *s, unsigned value);

/* curses_keys.c: a key of the guest's and the modifiers that are held while it is pressed. */
enum { CURSES_SHIFT = 1, CURSES_ALT = 2, CURSES_CTRL = 4, CURSES_ALTGR = 8 };
struct curses_stroke { unsigned key, modifiers; };
/* key is QKEY_UNMAPPED where there is none. */
struct curses_stroke curses_stroke_of_character(uint32_t character, const struct layout *layout);
struct curses_stroke curses_stroke_of_key(struct curses_screen *s, unsigned value);

#endif
