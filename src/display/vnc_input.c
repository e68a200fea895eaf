/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys and pointers. A viewer without scan codes says which character it means: if that takes Shift on an American keyboard
 * and none is held (or one is in the way), Shift goes down or up for that key. What a client holds is let go of when it
 * leaves. Positions become movements where the guest has no device that takes positions.
 */
#include <string.h>

#include "base/bits.h"
#include "base/qkeycode.h"
#include "display/layout.h"
#include "display/vnc_private.h"

_Static_assert(QKEY_COUNT <= 256, "key_down");
enum { WHEEL_UP = 8, WHEEL_DOWN = 16, ABSOLUTE_MAX = 32767, RELATIVE_ZERO = 0x7fff };

static void key_send(struct vnc_client *c, unsigned key, bool down)
{
    vnc_key_send(c->server, key, down);
}

static bool is_down(const struct vnc_client *c, unsigned key) { return c->key_down[key / 8] >> (key % 8) & 1; }

static void key_change(struct vnc_client *c, unsigned key, bool down)
{
    if (!down && !is_down(c, key)) return;
    if (down) c->key_down[key / 8] |= (uint8_t)(1 << key % 8);
    else c->key_down[key / 8] &= (uint8_t)~(1 << key % 8);
    if (key == QKEY_CAPS_LOCK && down) c->caps = !c->caps;
    key_send(c, key, down);
}

/* The key that makes a character, with which modifiers: 1, 0, or -1 where it does not matter. */
struct stroke { unsigned key; int shift, altgr; };

static struct stroke stroke_of(const struct vnc_client *c, uint32_t keysym)
{
    const struct layout *l = c->server->config.layout;
    const struct layout_key *k = l ? layout_find(l, keysym) : NULL;
    struct stroke s = { .altgr = l ? 0 : -1 };

    s.key = keysym_key(keysym, &s.shift);
    if (s.shift < 0) s.altgr = -1;                                 /* no character: its place is the same everywhere */
    else if (k) s = (struct stroke){ k->key, k->shift, k->altgr };
    else if (l) s.key = QKEY_UNMAPPED;
    return s.key == QKEY_UNMAPPED && k ? (struct stroke){ k->key, k->shift, k->altgr } : s;
}

void vnc_key(struct vnc_client *c, bool down, uint32_t keysym)
{
    struct stroke s = stroke_of(c, keysym);
    unsigned held = is_down(c, QKEY_SHIFT) ? QKEY_SHIFT : QKEY_SHIFT_R;
    bool has_shift = is_down(c, QKEY_SHIFT) || is_down(c, QKEY_SHIFT_R);
    bool letter = (keysym | 0x20) >= 'a' && (keysym | 0x20) <= 'z';
    bool has_altgr = is_down(c, QKEY_ALT_R), alt = is_down(c, QKEY_ALT) || (has_altgr && !c->server->config.layout);
    bool mends = down && !alt && !is_down(c, QKEY_CTRL) && !is_down(c, QKEY_CTRL_R);
    bool shift = mends && s.shift >= 0 && s.shift != has_shift && !(letter && c->caps), altgr = mends && s.altgr >= 0 && s.altgr != has_altgr;

    if (s.key == QKEY_UNMAPPED) return;
    if (shift) key_send(c, has_shift ? held : QKEY_SHIFT, !has_shift);
    if (altgr) key_send(c, QKEY_ALT_R, !has_altgr);
    key_change(c, s.key, down);
    if (altgr) key_send(c, QKEY_ALT_R, has_altgr);
    if (shift) key_send(c, has_shift ? held : QKEY_SHIFT, has_shift);
}

void vnc_key_extended(struct vnc_client *c, bool down, uint32_t keysym, uint32_t scancode)
{
    unsigned key = scancode_key(scancode);

    if (key == QKEY_UNMAPPED) {
        vnc_key(c, down, keysym);
        return;
    }
    if (down && !is_down(c, key)) vnc_locks_match(c, keysym, key);
    key_change(c, key, down);
}

static unsigned buttons_of(unsigned mask)
{
    return (mask & 1 ? POINTER_LEFT : 0) | (mask & 2 ? POINTER_MIDDLE : 0) | (mask & 4 ? POINTER_RIGHT : 0) | (mask & 0x80 ? POINTER_SIDE : 0);
}

/* A pixel of what this client sees as a part of the whole screen: its middle, so that the guest finds the same pixel, however it rounds. */
static unsigned part(int at, unsigned size)
{
    return (unsigned)((2 * MIN((uint64_t)MAX(at, 0), size - 1ull) + 1) * (ABSOLUTE_MAX + 1) / (2 * (uint64_t)size));
}

static void position_send(struct vnc_client *c, int wheel, unsigned buttons)
{
    const struct surface *s = display_surface(c->server->display);
    const struct display_input *input = display_input(c->server->display);

    input->pointer_absolute(input->opaque, part(c->last_x, s->width), part(c->last_y, s->height), wheel, buttons);
}

void vnc_pointer(struct vnc_client *c, unsigned mask, unsigned x, unsigned y)
{
    const struct display_input *input = display_input(c->server->display);
    unsigned came = mask & ~c->buttons;
    int wheel = (came & WHEEL_DOWN ? 1 : 0) - (came & WHEEL_UP ? 1 : 0);
    int dx = c->has_pointer ? (int)x - c->last_x : 0, dy = c->has_pointer ? (int)y - c->last_y : 0;

    c->buttons = mask;
    c->last_x = (int)x;
    c->last_y = (int)y;
    c->has_pointer = true;
    if (input->pointer_absolute) {
        position_send(c, wheel, buttons_of(mask));
        return;
    }
    if (c->told_pointer == POINTER_MOVES) {
        dx = (int)x - RELATIVE_ZERO;
        dy = (int)y - RELATIVE_ZERO;
    }
    if (input->pointer_relative) input->pointer_relative(input->opaque, dx, dy, wheel, buttons_of(mask));
}

void vnc_input_release(struct vnc_client *c)
{
    const struct display_input *input = display_input(c->server->display);

    for (unsigned key = 0; key < QKEY_COUNT; key++)
        if (is_down(c, key)) key_send(c, key, false);
    memset(c->key_down, 0, sizeof(c->key_down));
    if (!buttons_of(c->buttons)) return;
    if (input->pointer_absolute) position_send(c, 0, 0);
    else if (input->pointer_relative) input->pointer_relative(input->opaque, 0, 0, 0, 0);
    c->buttons = 0;
}
