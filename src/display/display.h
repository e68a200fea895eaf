/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A screen: between one source that draws (a graphic card) and any number of viewers (VNC clients, screen dumps). While
 * nobody looks the source is never asked. All calls come with the machine lock held.
 */
#ifndef DISPLAY_DISPLAY_H
#define DISPLAY_DISPLAY_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct display;

/* Rows of width pixels without gaps, 0x00RRGGBB. */
struct surface {
    unsigned width, height;
    uint32_t *pixel;
};
/* A pointer's picture, which viewers draw themselves: 0xAARRGGBB, colours not multiplied by alpha. */
struct cursor_image {
    unsigned width, height, hot_x, hot_y;
    const uint32_t *pixel;
};
enum { DISPLAY_MAX_SIDE = 16384, DISPLAY_MAX_PIXELS = 64 << 20, CURSOR_MAX_SIDE = 512 };

/* The surface is 640x480 and black until a source changes it. NULL: out of memory. */
struct display *display_new(void);
void display_free(struct display *d);
const struct surface *display_surface(const struct display *d);

/* ---- sources ---- */

/* update brings the surface up to date, by the calls below. */
void display_source_set(struct display *d, void (*update)(void *opaque), void *opaque);
/* The mode: a black surface of another size, or the same one. -1: no memory for it, or nonsense; nothing changed. */
int display_resize(struct display *d, unsigned width, unsigned height);
/* Pixels of four bytes, blue, green, red and one that is nobody's, as a row's. */
void pixels_plain(uint32_t *to, const uint8_t *from, unsigned count);
/* A row as it is now; viewers are told of the parts that differ. */
void display_row_put(struct display *d, unsigned y, const uint32_t *pixel);
void display_clear(struct display *d);
/* For a source that knows: something changed, viewers that have waited for long need not wait for the next slow round. Any thread. */
void display_source_changed(struct display *d);
/* NULL: no pointer of the hardware's. */
void display_cursor_set(struct display *d, const struct cursor_image *image);
const struct cursor_image *display_cursor(const struct display *d);

/* ---- viewers ---- */

struct display_viewer {
    void (*resized)(void *opaque);                                        /* everything changed */
    void (*changed)(void *opaque, unsigned x, unsigned y, unsigned width); /* part of a row */
    void (*updated)(void *opaque, bool any);                              /* a round of such calls is over */
    void (*cursor)(void *opaque);
    void (*input_changed)(void *opaque);                                  /* display_input_set: positions or movement are wanted now */
    void *opaque;
    struct display_viewer *next;
    bool paused;                       /* for now wants no rounds: does not count as somebody who looks */
};
/* Each may be NULL. v stays the caller's; the source is asked some thirty times a second from now on. */
void display_viewer_add(struct display *d, struct display_viewer *v);
void display_viewer_remove(struct display *d, struct display_viewer *v);
/* paused was changed. */
void display_viewer_wake(struct display *d);
/* A round now. */
void display_refresh(struct display *d);

/* ---- input from viewers ---- */

enum { POINTER_LEFT = 1, POINTER_RIGHT = 2, POINTER_MIDDLE = 4, POINTER_SIDE = 8, POINTER_EXTRA = 16 };
struct display_input {
    void (*key)(void *opaque, unsigned qkeycode, bool down);
    unsigned (*leds)(void *opaque);    /* of the keyboard, INPUT_LED_*; NULL: nobody knows */
    /* Movement in counts and the buttons that are down; wheel towards the user. */
    void (*pointer_relative)(void *opaque, int dx, int dy, int wheel, unsigned buttons);
    /* x and y from 0 to 32767 over the screen; NULL: there is no such device. */
    void (*pointer_absolute)(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons);
    /* A viewer would like this size; NULL: it cannot be changed from here. */
    void (*size_wish)(void *opaque, unsigned width, unsigned height);
    void *opaque;
};
void display_input_set(struct display *d, const struct display_input *input);
const struct display_input *display_input(const struct display *d);

/* ---- screen dumps ---- */

enum dump_format { DUMP_PPM, DUMP_PNG };
/* Refreshes, then writes the picture to a file, which is made or emptied. */
int display_dump(struct display *d, const char *path, enum dump_format format, struct error *err);

#endif
