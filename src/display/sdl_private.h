/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the window. */
#ifndef DISPLAY_SDL_PRIVATE_H
#define DISPLAY_SDL_PRIVATE_H

/* The key at SDL's scan code; QKEY_UNMAPPED: there is none. */
unsigned sdl_key(unsigned scancode);

#endif
