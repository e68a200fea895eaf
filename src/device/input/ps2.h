/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A PS/2 keyboard and a PS/2 mouse: bytes in from the host computer, bytes out through a small queue. */
#ifndef DEVICE_INPUT_PS2_H
#define DEVICE_INPUT_PS2_H

#include <stdbool.h>
#include <stdint.h>

#include "base/qkeycode.h"

enum { PS2_QUEUE = 256, PS2_KEYS_QUEUED = 16 };

struct ps2 {
    uint8_t queue[PS2_QUEUE], first;
    unsigned count;
    uint8_t last;                    /* sent last, for RESEND */
    uint8_t awaiting;                /* command that wants a data byte */
    bool enabled;
    uint8_t scan_set, leds, typematic;               /* keyboard */
    uint8_t down[(QKEY_COUNT + 7) / 8];              /* its keys, by QKeyCode */
    uint8_t repeats;                                 /* the key that was pressed last and is still down; 0: none */
    uint8_t key_type[QKEY_COUNT];                    /* of set 3: KEY_REPEATS, KEY_BREAKS */
    uint8_t buttons, resolution, rate, id;           /* mouse */
    uint8_t rates[3];                                /* the last three, newest last: knocking for a wheel */
    bool remote, wrap, scale2;
    int dx, dy, wheel;
};

uint8_t ps2_take(struct ps2 *p);
void ps2_keyboard_reset(struct ps2 *p);
void ps2_keyboard_write(struct ps2 *p, uint8_t byte);
/* key: number of a QKeyCode. true: another key repeats now, or none. */
bool ps2_key(struct ps2 *p, unsigned key, bool down);
/* Typematic: how long after the key's first code the next one comes, and those after that. */
int64_t ps2_repeat_delay_ns(const struct ps2 *p);
int64_t ps2_repeat_period_ns(const struct ps2 *p);
/* Sends that key's code once more, unless something waits to be sent. false: nothing repeats (any more). */
bool ps2_repeat(struct ps2 *p);
void ps2_mouse_reset(struct ps2 *p);
void ps2_mouse_write(struct ps2 *p, uint8_t byte);
void ps2_mouse_move(struct ps2 *p, int dx, int dy, int wheel);
void ps2_mouse_buttons(struct ps2 *p, unsigned buttons);

#endif
