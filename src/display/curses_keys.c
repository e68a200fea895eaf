/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What terminals send to keys of the guest. A terminal tells characters, not keys that go up and down, so the key that makes it is pressed, with Shift or AltGr
 * if the layout wants it. Function keys come by ncurses' numbers: those with modifiers as higher function keys (as xterm's description has
 * it: F13 is Shift-F1, F25 Ctrl-F1, F49 Alt-F1), cursor keys with modifiers by names ("kUP5": Ctrl-Up).
 * Sources: terminfo(5); ncurses' terminfo.src, xterm's function keys.
 */
#define NCURSES_NOMACROS 1
#include <ncursesw/curses.h>

#include <string.h>

#include "base/bits.h"
#include "base/qkeycode.h"
#include "display/curses_private.h"
#include "display/layout.h"
#include "display/vnc_private.h"

enum { FUNCTION_KEYS = 12, DELETE = 127 };

static const struct { int number; uint8_t key, modifiers; } keys[] = {
    { KEY_DOWN, QKEY_DOWN }, { KEY_UP, QKEY_UP }, { KEY_LEFT, QKEY_LEFT }, { KEY_RIGHT, QKEY_RIGHT }, { KEY_HOME, QKEY_HOME }, { KEY_END, QKEY_END },
    { KEY_PPAGE, QKEY_PGUP }, { KEY_NPAGE, QKEY_PGDN }, { KEY_IC, QKEY_INSERT }, { KEY_DC, QKEY_DELETE }, { KEY_BACKSPACE, QKEY_BACKSPACE },
    { KEY_ENTER, QKEY_KP_ENTER }, { KEY_B2, QKEY_KP_5 }, { KEY_A1, QKEY_KP_7 }, { KEY_A3, QKEY_KP_9 }, { KEY_C1, QKEY_KP_1 }, { KEY_C3, QKEY_KP_3 },
    { KEY_PRINT, QKEY_PRINT }, { KEY_BTAB, QKEY_TAB, CURSES_SHIFT }, { KEY_SLEFT, QKEY_LEFT, CURSES_SHIFT }, { KEY_SRIGHT, QKEY_RIGHT, CURSES_SHIFT },
    { KEY_SF, QKEY_DOWN, CURSES_SHIFT }, { KEY_SR, QKEY_UP, CURSES_SHIFT }, { KEY_SHOME, QKEY_HOME, CURSES_SHIFT }, { KEY_SEND, QKEY_END, CURSES_SHIFT },
    { KEY_SPREVIOUS, QKEY_PGUP, CURSES_SHIFT }, { KEY_SNEXT, QKEY_PGDN, CURSES_SHIFT }, { KEY_SDC, QKEY_DELETE, CURSES_SHIFT },
    { KEY_SIC, QKEY_INSERT, CURSES_SHIFT },
};

/* With the number of their modifiers behind. */
static const struct { const char *name; uint8_t key; } named[] = {
    { "kUP", QKEY_UP }, { "kDN", QKEY_DOWN }, { "kLFT", QKEY_LEFT }, { "kRIT", QKEY_RIGHT }, { "kHOM", QKEY_HOME }, { "kEND", QKEY_END },
    { "kPRV", QKEY_PGUP }, { "kNXT", QKEY_PGDN }, { "kDC", QKEY_DELETE }, { "kIC", QKEY_INSERT },
};

static unsigned function_key(unsigned n) { return n <= 10 ? QKEY_F1 + n - 1 : QKEY_F11 + n - 11; }

static struct curses_stroke function_stroke(unsigned n)
{
    static const uint8_t modifiers[] = { 0, CURSES_SHIFT, CURSES_CTRL, CURSES_CTRL | CURSES_SHIFT, CURSES_ALT, CURSES_ALT | CURSES_SHIFT };
    unsigned row = (n - 1) / FUNCTION_KEYS;

    return (struct curses_stroke){ function_key((n - 1) % FUNCTION_KEYS + 1), row < ARRAY_SIZE(modifiers) ? modifiers[row] : 0 };
}

/* xterm's number less one has a bit for each of Shift, Alt and Ctrl, as CURSES_SHIFT and its like. */
static struct curses_stroke named_stroke(const char *name)
{
    size_t size = name ? strlen(name) : 0;
    struct curses_stroke none = { QKEY_UNMAPPED, 0 };

    if (size < 3 || name[size - 1] < '2' || name[size - 1] > '8') return none;
    for (unsigned i = 0; i < ARRAY_SIZE(named); i++)
        if (strlen(named[i].name) == size - 1 && !strncmp(named[i].name, name, size - 1))
            return (struct curses_stroke){ named[i].key, (unsigned)(name[size - 1] - '1') };
    return none;
}

struct curses_stroke curses_stroke_of_key(struct curses_screen *s, unsigned value)
{
    if (value > KEY_F0 && value <= KEY_F0 + 6 * FUNCTION_KEYS && value < KEY_DL) return function_stroke(value - KEY_F0);
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
        if (keys[i].number == (int)value) return (struct curses_stroke){ keys[i].key, keys[i].modifiers };
    return named_stroke(curses_screen_key_name(s, value));
}

static struct curses_stroke printable(uint32_t c, const struct layout *layout)
{
    const struct layout_key *k = layout ? layout_find(layout, c < 0x100 ? c : 0x1000000 | c) : NULL;
    int shift = 0;
    unsigned key = layout ? k ? k->key : QKEY_UNMAPPED : keysym_key(c, &shift);

    if (layout && !k && c == ' ') key = QKEY_SPC;
    if (k) return (struct curses_stroke){ key, (k->shift ? CURSES_SHIFT : 0) | (k->altgr ? CURSES_ALTGR : 0) };
    return (struct curses_stroke){ key, shift > 0 ? CURSES_SHIFT : 0 };
}

struct curses_stroke curses_stroke_of_character(uint32_t c, const struct layout *layout)
{
    static const struct { uint8_t character, key; } special[] = {
        { '\t', QKEY_TAB }, { '\r', QKEY_RET }, { '\n', QKEY_RET }, { 27, QKEY_ESC }, { 8, QKEY_BACKSPACE }, { DELETE, QKEY_BACKSPACE },
    };
    struct curses_stroke s;

    for (unsigned i = 0; i < ARRAY_SIZE(special); i++)
        if (special[i].character == c) return (struct curses_stroke){ special[i].key, 0 };
    if (c >= ' ') return printable(c, layout);
    s = printable(c ? c < 27 ? c + 'a' - 1 : c + '@' : ' ', layout);     /* Ctrl-A to Ctrl-_ */
    s.modifiers |= CURSES_CTRL;
    return s;
}
