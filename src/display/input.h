/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which of the guest's keyboards and pointers gets what people type and point at. Of several the one that was activated last does, as in QEMU: a
 * USB keyboard from the moment it is there, a USB pointer when the guest's driver wakes it up. All calls come with the machine lock held.
 */
#ifndef DISPLAY_INPUT_H
#define DISPLAY_INPUT_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct input;

/* Functions that do not belong to its kind are NULL. */
enum input_kind { INPUT_KEYBOARD, INPUT_RELATIVE, INPUT_ABSOLUTE };
struct input_device {
    const char *name;                  /* for people: "USB Tablet" */
    enum input_kind kind;
    void (*key)(void *opaque, unsigned qkeycode, bool down);
    /* Movement in counts, wheel towards the user, POINTER_* buttons that are down. */
    void (*relative)(void *opaque, int dx, int dy, int wheel, unsigned buttons);
    void (*absolute)(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons);    /* 0 to INPUT_MAX */
    unsigned (*leds)(void *opaque);    /* INPUT_LED_*, as the guest lit them */
    void *opaque;
    /* input.c's own. */
    unsigned number;
    struct input_device *next;
};
enum { INPUT_MAX = 32767 };
enum { INPUT_LED_NUM = 1, INPUT_LED_CAPS = 2, INPUT_LED_SCROLL = 4 };

struct input *input_new(void);
void input_free(struct input *i);
/* d stays the caller's. The first of a kind is active at once. */
void input_add(struct input *i, struct input_device *d);
void input_remove(struct input *i, struct input_device *d);
void input_activate(struct input *i, struct input_device *d);
/* The last of all: its guest does not listen any more. */
void input_deactivate(struct input *i, struct input_device *d);
bool input_is_active(const struct input *i, const struct input_device *d);

void input_key(struct input *i, unsigned qkeycode, bool down);
void input_relative(struct input *i, int dx, int dy, int wheel, unsigned buttons);
void input_absolute(struct input *i, unsigned x, unsigned y, int wheel, unsigned buttons);
/* Of the keyboard that is in use. */
unsigned input_leds(const struct input *i);
bool input_has_keyboard(const struct input *i);
bool input_is_absolute(const struct input *i);
/* Called when input_is_absolute changed. One watcher. */
void input_watch(struct input *i, void (*changed)(void *opaque), void *opaque);

/* Of all keyboards and pointers; d NULL: the first. NULL behind the last. */
const struct input_device *input_next(const struct input *i, const struct input_device *d);
/* For 'info mice' and 'mouse_set'. */
void input_mice_info(const struct input *i, void (*print)(void *opaque, const char *line), void *opaque);
int input_mouse_choose(struct input *i, unsigned number, struct error *err);

#endif
