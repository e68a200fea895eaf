/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's text screen, its monitor and its serial ports in the terminal that ospite was started in. Main thread, machine lock held. */
#ifndef DISPLAY_CURSES_H
#define DISPLAY_CURSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct curses;
struct display;
struct error;
struct layout;

enum { CURSES_CONSOLES_MAX = 8, CURSES_CELLS = 1 << 15 };

/* What the graphic card shows. A cell is a character of code page 437 and, in the high byte, VGA's attribute. */
struct curses_text {
    enum { CURSES_BLANK, CURSES_TEXT, CURSES_GRAPHICS } kind;
    unsigned width, height;            /* characters, at most CURSES_CELLS; or pixels */
    bool has_cursor, blinks;           /* blinks: attributes' bit 7 has characters blink; else it belongs to the background */
    unsigned cursor_x, cursor_y;
    uint16_t cell[CURSES_CELLS];
};

struct curses_config {
    const struct layout *layout;       /* of the guest's keyboard; NULL: American */
    void (*text)(void *opaque, struct curses_text *to);
    /* Keys for a console, which has its own; how many bytes it took. curses_console_ready tells when to come with the rest. */
    size_t (*console_input)(void *opaque, unsigned console, const uint8_t *data, size_t size);
    void *opaque;
};
/* NULL with *err: no terminal, or no ncurses. */
struct curses *curses_new(struct display *d, const struct curses_config *config, struct error *err);
void curses_free(struct curses *c);
/* One more console; its number, or -1: there are too many. The first is Alt-2. name for people: "monitor". */
int curses_console_add(struct curses *c, const char *name);
void curses_console_output(struct curses *c, unsigned console, const uint8_t *data, size_t size);
void curses_console_ready(struct curses *c, unsigned console);

#endif
