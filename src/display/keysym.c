/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * X keysyms and scan codes of set 1 to keys. Keysyms are those of an American keyboard: who has another and wants the
 * guest's layout to decide needs a viewer that sends scan codes (TigerVNC, gtk-vnc, noVNC do).
 * Sources: X11's keysymdef.h; IBM PS/2 Technical Reference, scan code set 1.
 */
#include <stddef.h>

#include "base/bits.h"
#include "base/qkeycode.h"
#include "display/vnc_private.h"

/* The characters of each key, without and with Shift. */
static const struct { char plain, shifted; uint8_t key; } characters[] = {
    { '`', '~', QKEY_GRAVE_ACCENT }, { '1', '!', QKEY_1 }, { '2', '@', QKEY_2 }, { '3', '#', QKEY_3 }, { '4', '$', QKEY_4 }, { '5', '%', QKEY_5 },
    { '6', '^', QKEY_6 }, { '7', '&', QKEY_7 }, { '8', '*', QKEY_8 }, { '9', '(', QKEY_9 }, { '0', ')', QKEY_0 }, { '-', '_', QKEY_MINUS },
    { '=', '+', QKEY_EQUAL }, { 'q', 'Q', QKEY_Q }, { 'w', 'W', QKEY_W }, { 'e', 'E', QKEY_E }, { 'r', 'R', QKEY_R }, { 't', 'T', QKEY_T },
    { 'y', 'Y', QKEY_Y }, { 'u', 'U', QKEY_U }, { 'i', 'I', QKEY_I }, { 'o', 'O', QKEY_O }, { 'p', 'P', QKEY_P }, { '[', '{', QKEY_BRACKET_LEFT },
    { ']', '}', QKEY_BRACKET_RIGHT }, { '\\', '|', QKEY_BACKSLASH }, { 'a', 'A', QKEY_A }, { 's', 'S', QKEY_S }, { 'd', 'D', QKEY_D },
    { 'f', 'F', QKEY_F }, { 'g', 'G', QKEY_G }, { 'h', 'H', QKEY_H }, { 'j', 'J', QKEY_J }, { 'k', 'K', QKEY_K }, { 'l', 'L', QKEY_L },
    { ';', ':', QKEY_SEMICOLON }, { '\'', '"', QKEY_APOSTROPHE }, { 'z', 'Z', QKEY_Z }, { 'x', 'X', QKEY_X }, { 'c', 'C', QKEY_C },
    { 'v', 'V', QKEY_V }, { 'b', 'B', QKEY_B }, { 'n', 'N', QKEY_N }, { 'm', 'M', QKEY_M }, { ',', '<', QKEY_COMMA }, { '.', '>', QKEY_DOT },
    { '/', '?', QKEY_SLASH },
};

static const struct { uint16_t keysym; uint8_t key; } others[] = {
    { 0x20, QKEY_SPC }, { 0xff08, QKEY_BACKSPACE }, { 0xff09, QKEY_TAB }, { 0xfe20, QKEY_TAB }, { 0xff0d, QKEY_RET }, { 0xff13, QKEY_PAUSE },
    { 0xff14, QKEY_SCROLL_LOCK }, { 0xff15, QKEY_SYSRQ }, { 0xff1b, QKEY_ESC }, { 0xff20, QKEY_COMPOSE }, { 0xff50, QKEY_HOME }, { 0xff51, QKEY_LEFT },
    { 0xff52, QKEY_UP }, { 0xff53, QKEY_RIGHT }, { 0xff54, QKEY_DOWN }, { 0xff55, QKEY_PGUP }, { 0xff56, QKEY_PGDN }, { 0xff57, QKEY_END },
    { 0xff61, QKEY_PRINT }, { 0xff63, QKEY_INSERT }, { 0xff67, QKEY_MENU }, { 0xff6b, QKEY_PAUSE }, { 0xff7f, QKEY_NUM_LOCK },
    { 0xff8d, QKEY_KP_ENTER }, { 0xff95, QKEY_KP_7 }, { 0xff96, QKEY_KP_4 }, { 0xff97, QKEY_KP_8 }, { 0xff98, QKEY_KP_6 }, { 0xff99, QKEY_KP_2 },
    { 0xff9a, QKEY_KP_9 }, { 0xff9b, QKEY_KP_3 }, { 0xff9c, QKEY_KP_1 }, { 0xff9d, QKEY_KP_5 }, { 0xff9e, QKEY_KP_0 }, { 0xff9f, QKEY_KP_DECIMAL },
    { 0xffaa, QKEY_KP_MULTIPLY }, { 0xffab, QKEY_KP_ADD }, { 0xffac, QKEY_KP_COMMA }, { 0xffad, QKEY_KP_SUBTRACT }, { 0xffae, QKEY_KP_DECIMAL },
    { 0xffaf, QKEY_KP_DIVIDE }, { 0xffb0, QKEY_KP_0 }, { 0xffb1, QKEY_KP_1 }, { 0xffb2, QKEY_KP_2 }, { 0xffb3, QKEY_KP_3 }, { 0xffb4, QKEY_KP_4 },
    { 0xffb5, QKEY_KP_5 }, { 0xffb6, QKEY_KP_6 }, { 0xffb7, QKEY_KP_7 }, { 0xffb8, QKEY_KP_8 }, { 0xffb9, QKEY_KP_9 }, { 0xffbd, QKEY_KP_EQUALS },
    { 0xffe1, QKEY_SHIFT }, { 0xffe2, QKEY_SHIFT_R }, { 0xffe3, QKEY_CTRL }, { 0xffe4, QKEY_CTRL_R }, { 0xffe5, QKEY_CAPS_LOCK },
    { 0xffe7, QKEY_ALT }, { 0xffe8, QKEY_ALT_R }, { 0xffe9, QKEY_ALT }, { 0xffea, QKEY_ALT_R }, { 0xfe03, QKEY_ALT_R }, { 0xff7e, QKEY_ALT_R },
    { 0xffeb, QKEY_META_L }, { 0xffec, QKEY_META_R }, { 0xffff, QKEY_DELETE },
};

unsigned keysym_key(uint32_t keysym, int *shift)
{
    *shift = -1;
    if (keysym >= 0xffbe && keysym <= 0xffc7) return QKEY_F1 + keysym - 0xffbe;
    if (keysym == 0xffc8 || keysym == 0xffc9) return QKEY_F11 + keysym - 0xffc8;
    for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
        if (others[i].keysym == keysym) return others[i].key;
    for (unsigned i = 0; i < ARRAY_SIZE(characters); i++) {
        if ((uint8_t)characters[i].plain != keysym && (uint8_t)characters[i].shifted != keysym) continue;
        *shift = (uint8_t)characters[i].shifted == keysym;
        return characters[i].key;
    }
    return QKEY_UNMAPPED;
}

static const uint8_t set1[128] = {
    [0x01] = QKEY_ESC, [0x02] = QKEY_1, [0x03] = QKEY_2, [0x04] = QKEY_3, [0x05] = QKEY_4, [0x06] = QKEY_5, [0x07] = QKEY_6, [0x08] = QKEY_7,
    [0x09] = QKEY_8, [0x0a] = QKEY_9, [0x0b] = QKEY_0, [0x0c] = QKEY_MINUS, [0x0d] = QKEY_EQUAL, [0x0e] = QKEY_BACKSPACE, [0x0f] = QKEY_TAB,
    [0x10] = QKEY_Q, [0x11] = QKEY_W, [0x12] = QKEY_E, [0x13] = QKEY_R, [0x14] = QKEY_T, [0x15] = QKEY_Y, [0x16] = QKEY_U, [0x17] = QKEY_I,
    [0x18] = QKEY_O, [0x19] = QKEY_P, [0x1a] = QKEY_BRACKET_LEFT, [0x1b] = QKEY_BRACKET_RIGHT, [0x1c] = QKEY_RET, [0x1d] = QKEY_CTRL,
    [0x1e] = QKEY_A, [0x1f] = QKEY_S, [0x20] = QKEY_D, [0x21] = QKEY_F, [0x22] = QKEY_G, [0x23] = QKEY_H, [0x24] = QKEY_J, [0x25] = QKEY_K,
    [0x26] = QKEY_L, [0x27] = QKEY_SEMICOLON, [0x28] = QKEY_APOSTROPHE, [0x29] = QKEY_GRAVE_ACCENT, [0x2a] = QKEY_SHIFT, [0x2b] = QKEY_BACKSLASH,
    [0x2c] = QKEY_Z, [0x2d] = QKEY_X, [0x2e] = QKEY_C, [0x2f] = QKEY_V, [0x30] = QKEY_B, [0x31] = QKEY_N, [0x32] = QKEY_M, [0x33] = QKEY_COMMA,
    [0x34] = QKEY_DOT, [0x35] = QKEY_SLASH, [0x36] = QKEY_SHIFT_R, [0x37] = QKEY_KP_MULTIPLY, [0x38] = QKEY_ALT, [0x39] = QKEY_SPC,
    [0x3a] = QKEY_CAPS_LOCK, [0x3b] = QKEY_F1, [0x3c] = QKEY_F2, [0x3d] = QKEY_F3, [0x3e] = QKEY_F4, [0x3f] = QKEY_F5, [0x40] = QKEY_F6,
    [0x41] = QKEY_F7, [0x42] = QKEY_F8, [0x43] = QKEY_F9, [0x44] = QKEY_F10, [0x45] = QKEY_NUM_LOCK, [0x46] = QKEY_SCROLL_LOCK, [0x47] = QKEY_KP_7,
    [0x48] = QKEY_KP_8, [0x49] = QKEY_KP_9, [0x4a] = QKEY_KP_SUBTRACT, [0x4b] = QKEY_KP_4, [0x4c] = QKEY_KP_5, [0x4d] = QKEY_KP_6,
    [0x4e] = QKEY_KP_ADD, [0x4f] = QKEY_KP_1, [0x50] = QKEY_KP_2, [0x51] = QKEY_KP_3, [0x52] = QKEY_KP_0, [0x53] = QKEY_KP_DECIMAL,
    [0x54] = QKEY_SYSRQ, [0x56] = QKEY_LESS, [0x57] = QKEY_F11, [0x58] = QKEY_F12, [0x59] = QKEY_KP_EQUALS, [0x70] = QKEY_KATAKANAHIRAGANA,
    [0x73] = QKEY_RO, [0x79] = QKEY_HENKAN, [0x7b] = QKEY_MUHENKAN, [0x7d] = QKEY_YEN, [0x7e] = QKEY_KP_COMMA,
};
static const uint8_t after_e0[128] = {
    [0x10] = QKEY_AUDIOPREV, [0x19] = QKEY_AUDIONEXT, [0x1c] = QKEY_KP_ENTER, [0x1d] = QKEY_CTRL_R, [0x20] = QKEY_AUDIOMUTE, [0x21] = QKEY_CALCULATOR,
    [0x22] = QKEY_AUDIOPLAY, [0x24] = QKEY_AUDIOSTOP, [0x2e] = QKEY_VOLUMEDOWN, [0x30] = QKEY_VOLUMEUP, [0x32] = QKEY_AC_HOME,
    [0x35] = QKEY_KP_DIVIDE, [0x37] = QKEY_PRINT, [0x38] = QKEY_ALT_R, [0x46] = QKEY_PAUSE, [0x47] = QKEY_HOME, [0x48] = QKEY_UP, [0x49] = QKEY_PGUP,
    [0x4b] = QKEY_LEFT, [0x4d] = QKEY_RIGHT, [0x4f] = QKEY_END, [0x50] = QKEY_DOWN, [0x51] = QKEY_PGDN, [0x52] = QKEY_INSERT, [0x53] = QKEY_DELETE,
    [0x5b] = QKEY_META_L, [0x5c] = QKEY_META_R, [0x5d] = QKEY_MENU, [0x5e] = QKEY_POWER, [0x5f] = QKEY_SLEEP, [0x63] = QKEY_WAKE,
};

/* The prefix E0 is bit 7 on the wire. */
unsigned scancode_key(uint32_t scancode)
{
    if (scancode >> 8 == 0xe0) scancode = (scancode & 0x7f) | 0x80;
    if (scancode > 255) return QKEY_UNMAPPED;
    return scancode & 0x80 ? after_e0[scancode & 0x7f] : set1[scancode];
}
