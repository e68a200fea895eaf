/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys and pointers between those who type and a guest that asks every few milliseconds. Each change of a key or button is a report of its own,
 * so that none is lost between two questions; movement is gathered.
 * Sources: HID Usage Tables 1.12, 10 (keyboard page); HID 1.11, appendix B and C (boot reports, phantom state).
 */
#include <string.h>

#include "base/bits.h"
#include "base/qkeycode.h"
#include "device/usb/hid_private.h"

enum { USAGE_ROLLOVER = 1, USAGE_MODIFIERS = 0xe0, TABLET_BYTES = 6, KEYBOARD_BYTES = 8, MOUSE_BYTES = 4, BOOT_MOUSE_BYTES = 3, STEP_MAX = 127 };
enum { COORDINATE_MAX = 0x7fff, MOVE_MAX = 10000 };

static const uint8_t usages[QKEY_COUNT] = {
    [QKEY_SHIFT] = 0xe1, [QKEY_SHIFT_R] = 0xe5, [QKEY_ALT] = 0xe2, [QKEY_ALT_R] = 0xe6, [QKEY_CTRL] = 0xe0, [QKEY_CTRL_R] = 0xe4, [QKEY_MENU] = 0x76,
    [QKEY_ESC] = 0x29, [QKEY_1] = 0x1e, [QKEY_2] = 0x1f, [QKEY_3] = 0x20, [QKEY_4] = 0x21, [QKEY_5] = 0x22, [QKEY_6] = 0x23, [QKEY_7] = 0x24,
    [QKEY_8] = 0x25, [QKEY_9] = 0x26, [QKEY_0] = 0x27, [QKEY_MINUS] = 0x2d, [QKEY_EQUAL] = 0x2e, [QKEY_BACKSPACE] = 0x2a, [QKEY_TAB] = 0x2b,
    [QKEY_Q] = 0x14, [QKEY_W] = 0x1a, [QKEY_E] = 0x08, [QKEY_R] = 0x15, [QKEY_T] = 0x17, [QKEY_Y] = 0x1c, [QKEY_U] = 0x18, [QKEY_I] = 0x0c,
    [QKEY_O] = 0x12, [QKEY_P] = 0x13, [QKEY_BRACKET_LEFT] = 0x2f, [QKEY_BRACKET_RIGHT] = 0x30, [QKEY_RET] = 0x28, [QKEY_A] = 0x04, [QKEY_S] = 0x16,
    [QKEY_D] = 0x07, [QKEY_F] = 0x09, [QKEY_G] = 0x0a, [QKEY_H] = 0x0b, [QKEY_J] = 0x0d, [QKEY_K] = 0x0e, [QKEY_L] = 0x0f, [QKEY_SEMICOLON] = 0x33,
    [QKEY_APOSTROPHE] = 0x34, [QKEY_GRAVE_ACCENT] = 0x35, [QKEY_BACKSLASH] = 0x31, [QKEY_Z] = 0x1d, [QKEY_X] = 0x1b, [QKEY_C] = 0x06, [QKEY_V] = 0x19,
    [QKEY_B] = 0x05, [QKEY_N] = 0x11, [QKEY_M] = 0x10, [QKEY_COMMA] = 0x36, [QKEY_DOT] = 0x37, [QKEY_SLASH] = 0x38, [QKEY_ASTERISK] = 0x55,
    [QKEY_SPC] = 0x2c, [QKEY_CAPS_LOCK] = 0x39, [QKEY_F1] = 0x3a, [QKEY_F2] = 0x3b, [QKEY_F3] = 0x3c, [QKEY_F4] = 0x3d, [QKEY_F5] = 0x3e,
    [QKEY_F6] = 0x3f, [QKEY_F7] = 0x40, [QKEY_F8] = 0x41, [QKEY_F9] = 0x42, [QKEY_F10] = 0x43, [QKEY_NUM_LOCK] = 0x53, [QKEY_SCROLL_LOCK] = 0x47,
    [QKEY_KP_DIVIDE] = 0x54, [QKEY_KP_MULTIPLY] = 0x55, [QKEY_KP_SUBTRACT] = 0x56, [QKEY_KP_ADD] = 0x57, [QKEY_KP_ENTER] = 0x58,
    [QKEY_KP_DECIMAL] = 0x63, [QKEY_SYSRQ] = 0x46, [QKEY_KP_0] = 0x62, [QKEY_KP_1] = 0x59, [QKEY_KP_2] = 0x5a, [QKEY_KP_3] = 0x5b, [QKEY_KP_4] = 0x5c,
    [QKEY_KP_5] = 0x5d, [QKEY_KP_6] = 0x5e, [QKEY_KP_7] = 0x5f, [QKEY_KP_8] = 0x60, [QKEY_KP_9] = 0x61, [QKEY_LESS] = 0x64, [QKEY_F11] = 0x44,
    [QKEY_F12] = 0x45, [QKEY_PRINT] = 0x46, [QKEY_HOME] = 0x4a, [QKEY_PGUP] = 0x4b, [QKEY_PGDN] = 0x4e, [QKEY_END] = 0x4d, [QKEY_LEFT] = 0x50,
    [QKEY_UP] = 0x52, [QKEY_DOWN] = 0x51, [QKEY_RIGHT] = 0x4f, [QKEY_INSERT] = 0x49, [QKEY_DELETE] = 0x4c, [QKEY_STOP] = 0x78, [QKEY_AGAIN] = 0x79,
    [QKEY_PROPS] = 0x76, [QKEY_UNDO] = 0x7a, [QKEY_FRONT] = 0x77, [QKEY_COPY] = 0x7c, [QKEY_OPEN] = 0x74, [QKEY_PASTE] = 0x7d, [QKEY_FIND] = 0x7e,
    [QKEY_CUT] = 0x7b, [QKEY_HELP] = 0x75, [QKEY_META_L] = 0xe3, [QKEY_META_R] = 0xe7, [QKEY_COMPOSE] = 0x65, [QKEY_PAUSE] = 0x48, [QKEY_RO] = 0x87,
    [QKEY_HIRAGANA] = 0x93, [QKEY_HENKAN] = 0x8a, [QKEY_YEN] = 0x89, [QKEY_MUHENKAN] = 0x8b, [QKEY_KATAKANAHIRAGANA] = 0x88, [QKEY_KP_COMMA] = 0x85,
    [QKEY_KP_EQUALS] = 0x67, [QKEY_POWER] = 0x66, [QKEY_AUDIOMUTE] = 0x7f, [QKEY_VOLUMEUP] = 0x80, [QKEY_VOLUMEDOWN] = 0x81, [QKEY_LANG1] = 0x90,
    [QKEY_LANG2] = 0x91, [QKEY_F13] = 0x68, [QKEY_F14] = 0x69, [QKEY_F15] = 0x6a, [QKEY_F16] = 0x6b, [QKEY_F17] = 0x6c, [QKEY_F18] = 0x6d,
    [QKEY_F19] = 0x6e, [QKEY_F20] = 0x6f, [QKEY_F21] = 0x70, [QKEY_F22] = 0x71, [QKEY_F23] = 0x72, [QKEY_F24] = 0x73,
};

static int clamp(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

void hid_events_reset(struct hid_events *e)
{
    e->first = e->count = e->keys = e->modifiers = e->buttons = 0;
    e->x = e->y = 0;
}

static struct hid_event *last(struct hid_events *e) { return e->count ? &e->event[(e->first + e->count - 1) % HID_EVENTS] : NULL; }

static struct hid_event *add(struct hid_events *e)
{
    struct hid_event *n = &e->event[(e->first + e->count) % HID_EVENTS];

    if (e->count == HID_EVENTS) return NULL;
    e->count++;
    *n = (struct hid_event){ 0 };
    return n;
}

bool hid_key(struct hid_events *e, unsigned qkeycode, bool down)
{
    struct hid_event *n = qkeycode < QKEY_COUNT && usages[qkeycode] ? add(e) : NULL;

    if (!n) return false;
    n->usage = usages[qkeycode];
    n->down = down;
    return true;
}

bool hid_pointer(struct hid_events *e, int x, int y, int wheel, unsigned buttons)
{
    bool is_tablet = e->kind == HID_TABLET, clicks, moves;
    struct hid_event *n = last(e), *more;

    clicks = buttons != (n ? n->buttons : e->buttons);
    moves = wheel || (is_tablet ? x != (n ? n->x : e->x) || y != (n ? n->y : e->y) : x || y);
    if (!clicks && !moves) return false;
    /* What moved before a click or after it is not added to it. When the queue is full it is, and the click in between is lost. */
    if ((!n || n->clicks || clicks) && (more = add(e))) n = more;
    n->x = is_tablet ? clamp(x, 0, COORDINATE_MAX) : clamp(n->x + clamp(x, -MOVE_MAX, MOVE_MAX), -MOVE_MAX, MOVE_MAX);
    n->y = is_tablet ? clamp(y, 0, COORDINATE_MAX) : clamp(n->y + clamp(y, -MOVE_MAX, MOVE_MAX), -MOVE_MAX, MOVE_MAX);
    n->wheel = clamp(n->wheel + clamp(wheel, -MOVE_MAX, MOVE_MAX), -MOVE_MAX, MOVE_MAX);
    n->buttons = (uint8_t)buttons;
    n->clicks |= clicks;
    return true;
}

/* ---- reports ---- */

static void key_apply(struct hid_events *e, const struct hid_event *n)
{
    unsigned at = 0;

    if (n->usage >= USAGE_MODIFIERS) {
        uint8_t bit = (uint8_t)(1 << (n->usage & 7));

        e->modifiers = n->down ? e->modifiers | bit : e->modifiers & (uint8_t)~bit;
        return;
    }
    while (at < e->keys && e->key[at] != n->usage) at++;
    if (n->down && at == e->keys && e->keys < sizeof(e->key)) e->key[e->keys++] = n->usage;
    if (!n->down && at < e->keys) e->key[at] = e->key[--e->keys];
}

static size_t keyboard_report(struct hid_events *e, uint8_t *report)
{
    report[0] = e->modifiers;
    if (e->keys > HID_KEYS) memset(report + 2, USAGE_ROLLOVER, HID_KEYS);
    else memcpy(report + 2, e->key, e->keys);
    return KEYBOARD_BYTES;
}

/* Takes from *count what fits into a byte. */
static int step_take(int *count)
{
    int n = clamp(*count, -STEP_MAX, STEP_MAX);

    *count -= n;
    return n;
}

static size_t pointer_report(struct hid_events *e, struct hid_event *n, bool boot, uint8_t *report)
{
    int wheel = -step_take(&n->wheel);               /* HID counts away from the user */

    report[0] = e->buttons = n->buttons;
    if (e->kind == HID_TABLET) {
        e->x = n->x;
        e->y = n->y;
        le16 place[2] = { le16_make((uint16_t)e->x), le16_make((uint16_t)e->y) };

        memcpy(report + 1, place, sizeof(place));
        report[5] = (uint8_t)wheel;
        return TABLET_BYTES;
    }
    report[1] = (uint8_t)step_take(&n->x);
    report[2] = (uint8_t)step_take(&n->y);
    report[3] = (uint8_t)wheel;
    return boot ? BOOT_MOUSE_BYTES : MOUSE_BYTES;
}

size_t hid_report(struct hid_events *e, bool boot, uint8_t report[HID_REPORT_BYTES])
{
    struct hid_event still = { .buttons = e->buttons, .x = e->kind == HID_TABLET ? e->x : 0, .y = e->kind == HID_TABLET ? e->y : 0 };
    struct hid_event *n = e->count ? &e->event[e->first] : &still;
    size_t size;

    memset(report, 0, HID_REPORT_BYTES);
    if (e->kind == HID_KEYBOARD) {
        if (e->count) key_apply(e, n);
        size = keyboard_report(e, report);
    } else {
        size = pointer_report(e, n, boot, report);
        if (n->wheel || (e->kind == HID_MOUSE && (n->x || n->y))) return size;     /* there is more of it */
    }
    if (e->count) {
        e->first = (e->first + 1) % HID_EVENTS;
        e->count--;
    }
    return size;
}
