/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The terminal that ospite was started in, taken whole: raw input, output that never waits, and its state put back however the program ends. */
#ifndef DISPLAY_CURSES_TERMINAL_H
#define DISPLAY_CURSES_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

struct curses_terminal;
struct error;

struct curses_terminal_user {
    void (*input)(void *opaque);       /* there is something to read */
    void (*idle)(void *opaque);        /* all that was written is out */
    void *opaque;
};
/* NULL with *err. There is one terminal, so one of these. */
struct curses_terminal *curses_terminal_open(const struct curses_terminal_user *user, struct error *err);
/* Writes what is queued, if the terminal takes it, and puts back what was before. */
void curses_terminal_close(struct curses_terminal *t);
/* What the terminal is sent when the program ends in another way than curses_terminal_close: at exit and at fatal signals. */
void curses_terminal_farewell_set(struct curses_terminal *t, const char *text);
/* Queued as far as the terminal does not take it now. */
void curses_terminal_write(struct curses_terminal *t, const void *data, size_t size);
bool curses_terminal_is_idle(const struct curses_terminal *t);
/* input is called, or not: while keys are taken slowly. */
void curses_terminal_input_watch(struct curses_terminal *t, bool on);
void curses_terminal_size(const struct curses_terminal *t, unsigned *rows, unsigned *columns);

#endif
