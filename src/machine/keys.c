/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'sendkey': names of keys to key codes, and a queue that holds each combination for a while and lets go of it before
 * the next goes down. Names and their order are those of QKeyCode in QEMU's qapi/ui.json, which are also the numbers
 * that input_key takes. Virtual time counts: nothing is typed into a stopped machine.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/nearest.h"
#include "base/qkeycode.h"
#include "device/display/vga.h"
#include "display/scancode.h"
#include "machine/machine_private.h"

enum { KEYS_AT_ONCE = 16, HOLD_DEFAULT_MS = 100, HOLD_MAX_MS = 60000, QUEUE_MAX = 1024 };
#define NS_PER_MS 1000000LL

static const char *const key_names[QKEY_COUNT] = {
    "unmapped", "shift", "shift_r", "alt", "alt_r", "ctrl", "ctrl_r", "menu", "esc", "1", "2", "3", "4",
    "5", "6", "7", "8", "9", "0", "minus", "equal", "backspace", "tab", "q", "w", "e", "r", "t", "y", "u",
    "i", "o", "p", "bracket_left", "bracket_right", "ret", "a", "s", "d", "f", "g", "h", "j", "k", "l",
    "semicolon", "apostrophe", "grave_accent", "backslash", "z", "x", "c", "v", "b", "n", "m", "comma",
    "dot", "slash", "asterisk", "spc", "caps_lock", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9",
    "f10", "num_lock", "scroll_lock", "kp_divide", "kp_multiply", "kp_subtract", "kp_add", "kp_enter",
    "kp_decimal", "sysrq", "kp_0", "kp_1", "kp_2", "kp_3", "kp_4", "kp_5", "kp_6", "kp_7", "kp_8", "kp_9",
    "less", "f11", "f12", "print", "home", "pgup", "pgdn", "end", "left", "up", "down", "right", "insert",
    "delete", "stop", "again", "props", "undo", "front", "copy", "open", "paste", "find", "cut", "lf",
    "help", "meta_l", "meta_r", "compose", "pause", "ro", "hiragana", "henkan", "yen", "muhenkan",
    "katakanahiragana", "kp_comma", "kp_equals", "power", "sleep", "wake", "audionext", "audioprev",
    "audiostop", "audioplay", "audiomute", "volumeup", "volumedown", "mediaselect", "mail", "calculator",
    "computer", "ac_home", "ac_back", "ac_forward", "ac_refresh", "ac_bookmarks", "lang1", "lang2", "f13",
    "f14", "f15", "f16", "f17", "f18", "f19", "f20", "f21", "f22", "f23", "f24",
};

struct key_event {
    struct key_event *next;
    unsigned count;
    uint16_t key[KEYS_AT_ONCE];
    int64_t hold_ns;
    bool is_down;
};

/* "0x1c", as QEMU takes it; +80h or E0h in front for those of the extended keyboard. */
static int key_of_scancode(const char *text, size_t length, struct error *err)
{
    char *end;
    unsigned long code = strtoul(text, &end, 16);
    unsigned key = end == text + length && code <= 0xffff ? scancode_key((uint32_t)code) : QKEY_UNMAPPED;

    return key == QKEY_UNMAPPED ? error_set(err, "'%.*s' is no scan code of a key", (int)MIN(length, (size_t)40), text) : (int)key;
}

static int key_find(const char *name, size_t length, struct error *err)
{
    struct nearest near;
    char word[32];

    if (length == 1 && *name == '<') return key_find("less", 4, err);
    if (length > 2 && !strncmp(name, "0x", 2)) return key_of_scancode(name, length, err);
    if (length >= sizeof(word) || !length)
        return error_set(err, "'%.*s' is no key", (int)MIN(length, (size_t)40), name);
    memcpy(word, name, length);
    word[length] = 0;
    nearest_begin(&near, word);
    for (unsigned i = 1; i < ARRAY_SIZE(key_names); i++) {
        if (!strcmp(word, key_names[i])) return (int)i;
        nearest_offer(&near, key_names[i]);
    }
    if (nearest_result(&near)) return error_set(err, "unknown key '%s'; did you mean '%s'?", word, near.best);
    return error_set(err, "unknown key '%s'; names are as in qemu: a, ret, ctrl, alt, delete, f1, spc, minus ...",
                     word);
}

static int keys_parse(struct key_event *e, const char *keys, struct error *err)
{
    for (;;) {
        /* "minus" is the name of the key '-'; the character only separates. */
        size_t length = strcspn(keys, "-");
        int key = key_find(keys, length, err);

        if (key < 0) return -1;
        if (e->count == KEYS_AT_ONCE) return error_set(err, "at most %d keys can be held at once", KEYS_AT_ONCE);
        e->key[e->count++] = (uint16_t)key;
        if (!keys[length]) return 0;
        keys += length + 1;
    }
}

static void keys_down(struct machine *m, const struct key_event *e)
{
    for (unsigned i = 0; i < e->count; i++) input_key(m->input, e->key[i], true);
}

static void keys_up(struct machine *m, const struct key_event *e)
{
    for (unsigned i = e->count; i-- > 0;) input_key(m->input, e->key[i], false);
}

/* The first combination goes down, comes up after its time, and is forgotten after as long again. */
static void keys_step(void *opaque)
{
    struct machine *m = opaque;
    struct key_event *e = m->key_first;

    if (e && e->is_down) {
        keys_up(m, e);
        e->is_down = false;
        m->key_first = e->next;
        if (!m->key_first) m->key_last = NULL;
        timer_arm_ns(m->key_timer, clock_virtual_ns() + e->hold_ns);
        free(e);
    } else if (e) {
        keys_down(m, e);
        e->is_down = true;
        timer_arm_ns(m->key_timer, clock_virtual_ns() + e->hold_ns);
    }
}

static unsigned queue_length(const struct machine *m)
{
    unsigned n = 0;

    for (const struct key_event *e = m->key_first; e; e = e->next) n++;
    return n;
}

int machine_send_keys(struct machine *m, const char *keys, int hold_ms, struct error *err)
{
    struct key_event *e;

    if (!input_has_keyboard(m->input)) return error_set(err, "this machine has no keyboard");
    if (queue_length(m) == QUEUE_MAX)
        return error_set(err, "%d key combinations are waiting to be typed already", QUEUE_MAX);
    e = calloc(1, sizeof(*e));
    if (!e) return error_set(err, "no memory");
    if (keys_parse(e, keys, err) < 0) {
        free(e);
        return -1;
    }
    if (hold_ms <= 0) hold_ms = HOLD_DEFAULT_MS;
    e->hold_ns = MIN(hold_ms, HOLD_MAX_MS) * NS_PER_MS;
    if (m->key_last) m->key_last->next = e;
    else m->key_first = e;
    m->key_last = e;
    if (!m->key_timer) m->key_timer = timer_new(TIMER_VIRTUAL, keys_step, m);
    if (!timer_is_armed(m->key_timer)) keys_step(m);
    return 0;
}

void keys_destroy(struct machine *m)
{
    while (m->key_first) {
        struct key_event *e = m->key_first;

        m->key_first = e->next;
        free(e);
    }
    m->key_last = NULL;
    timer_free(m->key_timer);
    m->key_timer = NULL;
}

bool machine_text_screen(struct machine *m, char *buf, size_t size)
{
    return m->vga && vga_text_screen(m->vga, buf, size);
}
