/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A window on the desktop with the guest's screen, by SDL. Main thread, machine lock held. */
#ifndef DISPLAY_SDL_H
#define DISPLAY_SDL_H

#include <stdbool.h>

struct display;
struct error;
struct sdl_window;

struct sdl_config {
    const char *name;                  /* of the guest, or NULL */
    bool full_screen, hides_cursor;    /* of the desktop, over the window; the guest's is shown */
    void (*closed)(void *opaque);      /* somebody closed the window */
    void *opaque;
};
/* NULL with *err: no desktop, or no SDL. */
struct sdl_window *sdl_window_new(struct display *d, const struct sdl_config *config, struct error *err);
void sdl_window_free(struct sdl_window *w);

#endif
