/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keyboard: 102 keys and the extra ones, scan sets 1, 2 and 3. The key that was pressed last repeats while it is down, after the
 * delay and at the rate of command F3; viewers whose own keyboards repeat press a key that is down already, which means nothing. Which
 * keys repeat and tell that they went up can be said for set 3 only.
 * Sources: IBM PS/2 Technical Reference (keyboards, 101- and 102-key), Microsoft "Keyboard Scan Code Specification".
 */
#include "device/input/ps2.h"

#include <string.h>

#include "base/bits.h"

enum { ACK = 0xfa, RESEND = 0xfe, SELF_TEST_GOOD = 0xaa, OVERRUN = 0xff };
enum { KEY_REPEATS = 1, KEY_BREAKS = 2 };

/* By QKeyCode: scan set 2 (bit 8: after E0), set 1 without break bit, set 3. Zero: the keyboard has no such key. */
struct key { uint16_t set2; uint8_t set1, set3; };
#define X 0x100
static const struct key keys[] = {
    { 0, 0, 0 }, { 0x12, 0x2a, 0x12 }, { 0x59, 0x36, 0x59 }, { 0x11, 0x38, 0x19 }, { X | 0x11, 0x38, 0x39 }, { 0x14, 0x1d, 0x11 },
    { X | 0x14, 0x1d, 0x58 }, { X | 0x2f, 0x5d, 0x8d }, { 0x76, 0x01, 0x08 },
    { 0x16, 0x02, 0x16 }, { 0x1e, 0x03, 0x1e }, { 0x26, 0x04, 0x26 }, { 0x25, 0x05, 0x25 }, { 0x2e, 0x06, 0x2e }, { 0x36, 0x07, 0x36 },
    { 0x3d, 0x08, 0x3d }, { 0x3e, 0x09, 0x3e }, { 0x46, 0x0a, 0x46 }, { 0x45, 0x0b, 0x45 }, { 0x4e, 0x0c, 0x4e }, { 0x55, 0x0d, 0x55 },
    { 0x66, 0x0e, 0x66 }, { 0x0d, 0x0f, 0x0d },
    { 0x15, 0x10, 0x15 }, { 0x1d, 0x11, 0x1d }, { 0x24, 0x12, 0x24 }, { 0x2d, 0x13, 0x2d }, { 0x2c, 0x14, 0x2c }, { 0x35, 0x15, 0x35 },
    { 0x3c, 0x16, 0x3c }, { 0x43, 0x17, 0x43 }, { 0x44, 0x18, 0x44 }, { 0x4d, 0x19, 0x4d }, { 0x54, 0x1a, 0x54 }, { 0x5b, 0x1b, 0x5b },
    { 0x5a, 0x1c, 0x5a },
    { 0x1c, 0x1e, 0x1c }, { 0x1b, 0x1f, 0x1b }, { 0x23, 0x20, 0x23 }, { 0x2b, 0x21, 0x2b }, { 0x34, 0x22, 0x34 }, { 0x33, 0x23, 0x33 },
    { 0x3b, 0x24, 0x3b }, { 0x42, 0x25, 0x42 }, { 0x4b, 0x26, 0x4b }, { 0x4c, 0x27, 0x4c }, { 0x52, 0x28, 0x52 }, { 0x0e, 0x29, 0x0e },
    { 0x5d, 0x2b, 0x5c },
    { 0x1a, 0x2c, 0x1a }, { 0x22, 0x2d, 0x22 }, { 0x21, 0x2e, 0x21 }, { 0x2a, 0x2f, 0x2a }, { 0x32, 0x30, 0x32 }, { 0x31, 0x31, 0x31 },
    { 0x3a, 0x32, 0x3a }, { 0x41, 0x33, 0x41 }, { 0x49, 0x34, 0x49 }, { 0x4a, 0x35, 0x4a }, { 0x7c, 0x37, 0x7e }, { 0x29, 0x39, 0x29 },
    { 0x58, 0x3a, 0x14 },
    { 0x05, 0x3b, 0x07 }, { 0x06, 0x3c, 0x0f }, { 0x04, 0x3d, 0x17 }, { 0x0c, 0x3e, 0x1f }, { 0x03, 0x3f, 0x27 }, { 0x0b, 0x40, 0x2f },
    { 0x83, 0x41, 0x37 }, { 0x0a, 0x42, 0x3f }, { 0x01, 0x43, 0x47 }, { 0x09, 0x44, 0x4f },
    { 0x77, 0x45, 0x76 }, { 0x7e, 0x46, 0x5f }, { X | 0x4a, 0x35, 0x77 }, { 0x7c, 0x37, 0x7e }, { 0x7b, 0x4a, 0x84 }, { 0x79, 0x4e, 0x7c },
    { X | 0x5a, 0x1c, 0x79 }, { 0x71, 0x53, 0x71 }, { 0x84, 0x54, 0x57 },
    { 0x70, 0x52, 0x70 }, { 0x69, 0x4f, 0x69 }, { 0x72, 0x50, 0x72 }, { 0x7a, 0x51, 0x7a }, { 0x6b, 0x4b, 0x6b }, { 0x73, 0x4c, 0x73 },
    { 0x74, 0x4d, 0x74 }, { 0x6c, 0x47, 0x6c }, { 0x75, 0x48, 0x75 }, { 0x7d, 0x49, 0x7d },
    { 0x61, 0x56, 0x13 }, { 0x78, 0x57, 0x56 }, { 0x07, 0x58, 0x5e }, { X | 0x7c, 0x37, 0x57 },
    { X | 0x6c, 0x47, 0x6e }, { X | 0x7d, 0x49, 0x6f }, { X | 0x7a, 0x51, 0x6d }, { X | 0x69, 0x4f, 0x65 },
    { X | 0x6b, 0x4b, 0x61 }, { X | 0x75, 0x48, 0x63 }, { X | 0x72, 0x50, 0x60 }, { X | 0x74, 0x4d, 0x6a }, { X | 0x70, 0x52, 0x67 },
    { X | 0x71, 0x53, 0x64 },
    { 0 }, { 0 }, { 0 }, { 0 }, { 0 }, { 0 }, { 0 }, { 0 }, { 0 }, { 0 }, { 0 }, { 0 },          /* stop .. help */
    { X | 0x1f, 0x5b, 0x8b }, { X | 0x27, 0x5c, 0x8c }, { X | 0x2f, 0x5d, 0x8d }, { 0xe1, 0, 0x62 },   /* meta, compose, pause */
    { 0x51, 0x73, 0 }, { 0x13, 0x70, 0 }, { 0x64, 0x79, 0 }, { 0x6a, 0x7d, 0 }, { 0x67, 0x7b, 0 }, { 0x13, 0x70, 0 }, { 0x6d, 0x7e, 0 },
    { 0x0f, 0x59, 0 }, { X | 0x37, 0x5e, 0 }, { X | 0x3f, 0x5f, 0 }, { X | 0x5e, 0x63, 0 },
};

static void put(struct ps2 *p, uint8_t byte)
{
    if (p->count == PS2_QUEUE) return;
    p->queue[(p->first + p->count++) % PS2_QUEUE] = byte;
}

uint8_t ps2_take(struct ps2 *p)
{
    if (!p->count) return 0;
    p->last = p->queue[p->first];
    p->first = (p->first + 1) % PS2_QUEUE;
    p->count--;
    return p->last;
}

static void clear(struct ps2 *p)
{
    p->count = p->first = 0;
    p->awaiting = 0;
}

/* What keys of set 3 are at first, by their code: those that neither repeat nor tell when they go up, those that tell; all others repeat. */
static const uint8_t make_only[] = {
    0x07, 0x08, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x56, 0x5e, 0x57, 0x5f, 0x62, 0x39, 0x58, 0x67, 0x6e, 0x65, 0x6f,
    0x6d, 0x76, 0x6c, 0x6b, 0x69, 0x77, 0x75, 0x73, 0x72, 0x70, 0x7e, 0x7d, 0x74, 0x7a, 0x71, 0x84, 0x79,
};
static const uint8_t make_break[] = { 0x11, 0x12, 0x14, 0x19, 0x59, 0x8b, 0x8c, 0x8d };

static void key_types_default(struct ps2 *p)
{
    for (unsigned k = 0; k < ARRAY_SIZE(keys); k++)
        p->key_type[k] = memchr(make_only, keys[k].set3, sizeof(make_only)) ? 0 : memchr(make_break, keys[k].set3, sizeof(make_break)) ? KEY_BREAKS : KEY_REPEATS;
}

static void defaults(struct ps2 *p)
{
    p->scan_set = 2;
    p->typematic = 0x2b;
    key_types_default(p);
}

void ps2_keyboard_reset(struct ps2 *p)
{
    clear(p);
    defaults(p);
    p->leds = p->repeats = 0;
    memset(p->down, 0, sizeof(p->down));
    p->enabled = true;
}

static void data_byte(struct ps2 *p, uint8_t byte)
{
    uint8_t command = p->awaiting;

    p->awaiting = 0;
    put(p, ACK);
    if (command == 0xed) p->leds = byte & 7;
    if (command == 0xf3) p->typematic = byte & 0x7f;
    if (command != 0xf0) return;
    if (byte == 0) put(p, p->scan_set);
    else if (byte <= 3) p->scan_set = byte;
}

/* F7 to FA, all keys, and FB to FD, one key each: typematic, make and break, make, all of it. */
static uint8_t type_of_command(uint8_t command)
{
    static const uint8_t types[] = { KEY_REPEATS, KEY_BREAKS, 0, KEY_REPEATS | KEY_BREAKS, KEY_REPEATS, KEY_BREAKS, 0 };

    return types[command - 0xf7];
}

/* Further keys may follow, until the next command. */
static void key_type_byte(struct ps2 *p, uint8_t code)
{
    bool found = false;

    for (unsigned k = 0; k < ARRAY_SIZE(keys); k++) {
        if (!code || keys[k].set3 != code) continue;
        p->key_type[k] = type_of_command(p->awaiting);
        found = true;
    }
    put(p, found ? ACK : RESEND);
}

static bool takes_key_types(const struct ps2 *p)
{
    return p->awaiting >= 0xfb && p->awaiting <= 0xfd;
}

void ps2_keyboard_write(struct ps2 *p, uint8_t byte)
{
    if (takes_key_types(p) && byte < 0xed) {
        key_type_byte(p, byte);
        return;
    }
    if (p->awaiting && !takes_key_types(p) && byte < 0x80) {
        data_byte(p, byte);
        return;
    }
    p->awaiting = 0;
    if (byte != 0xfe) p->count = 0;                    /* a command makes the keyboard drop what it had to say */
    switch (byte) {
    case 0xed: case 0xf0: case 0xf3: case 0xfb: case 0xfc: case 0xfd:
        p->awaiting = byte;
        put(p, ACK);
        break;
    case 0xee: put(p, 0xee); break;
    case 0xf2:
        put(p, ACK);
        put(p, 0xab);
        put(p, 0x83);
        break;
    case 0xf4: p->enabled = true; put(p, ACK); break;
    case 0xf5: p->enabled = false; p->repeats = 0; defaults(p); put(p, ACK); break;
    case 0xf6: defaults(p); put(p, ACK); break;
    case 0xf7 ... 0xfa:
        memset(p->key_type, type_of_command(byte), sizeof(p->key_type));
        put(p, ACK);
        break;
    case 0xfe: put(p, p->last); break;
    case 0xff:
        ps2_keyboard_reset(p);
        put(p, ACK);
        put(p, SELF_TEST_GOOD);
        break;
    default: put(p, RESEND); break;
    }
}

/* ---- keys ---- */

static bool is_down(const struct ps2 *p, unsigned key) { return p->down[key / 8] >> key % 8 & 1; }
static bool is_control(const struct ps2 *p) { return is_down(p, QKEY_CTRL) || is_down(p, QKEY_CTRL_R); }
static bool is_alt(const struct ps2 *p) { return is_down(p, QKEY_ALT) || is_down(p, QKEY_ALT_R); }
static bool is_shift(const struct ps2 *p) { return is_down(p, QKEY_SHIFT) || is_down(p, QKEY_SHIFT_R); }

static void put_all(struct ps2 *p, const char *bytes)
{
    while (*bytes) put(p, (uint8_t)*bytes++);
}

/* It is sent as pressed and let go at once. */
static void put_pause(struct ps2 *p, bool down)
{
    bool breaks = is_control(p), set1 = p->scan_set == 1;

    if (!down) return;
    if (breaks) put_all(p, set1 ? "\xe0\x46\xe0\xc6" : "\xe0\x7e\xe0\xf0\x7e");
    else put_all(p, set1 ? "\xe1\x1d\x45\xe1\x9d\xc5" : "\xe1\x14\x77\xe1\xf0\x14\xf0\x77");
}

/* Print Screen pretends to be shifted unless something of the kind is held; with Alt it is System Request. */
static void put_print(struct ps2 *p, bool down)
{
    bool set1 = p->scan_set == 1, plain = !is_control(p) && !is_shift(p);

    if (is_alt(p)) put_all(p, set1 ? down ? "\x54" : "\xd4" : down ? "\x84" : "\xf0\x84");
    else {
        if (plain && down) put_all(p, set1 ? "\xe0\x2a" : "\xe0\x12");
        put_all(p, set1 ? down ? "\xe0\x37" : "\xe0\xb7" : down ? "\xe0\x7c" : "\xe0\xf0\x7c");
        if (plain && !down) put_all(p, set1 ? "\xe0\xaa" : "\xe0\xf0\x12");
    }
}

static void put_plain(struct ps2 *p, const struct key *k, bool down)
{
    if (k->set2 & X) put(p, 0xe0);
    if (p->scan_set == 1) {
        put(p, k->set1 | (down ? 0 : 0x80));
        return;
    }
    if (!down) put(p, 0xf0);
    put(p, k->set2 & 0xff);
}

static void put_key(struct ps2 *p, unsigned key, bool down)
{
    if (p->scan_set == 3) {
        if (!keys[key].set3 || (!down && !(p->key_type[key] & KEY_BREAKS))) return;
        if (!down) put(p, 0xf0);
        put(p, keys[key].set3);
    } else if (key == QKEY_PAUSE) put_pause(p, down);
    else if (key == QKEY_PRINT) put_print(p, down);
    else put_plain(p, &keys[key], down);
}

/* Notes it; false: the key is that way already. */
static bool key_moves(struct ps2 *p, unsigned key, bool down)
{
    if (is_down(p, key) == down) return false;
    p->down[key / 8] ^= (uint8_t)(1 << key % 8);
    if (down) p->repeats = (uint8_t)key;
    else if (p->repeats == key) p->repeats = 0;
    return true;
}

bool ps2_key(struct ps2 *p, unsigned key, bool down)
{
    uint8_t before = p->repeats;

    if (key >= ARRAY_SIZE(keys) || !keys[key].set2 || !key_moves(p, key, down)) return false;
    if (!p->enabled) p->repeats = 0;
    else if (p->count <= PS2_KEYS_QUEUED * 4) put_key(p, key, down);
    else if (p->count < PS2_KEYS_QUEUED * 4 + 8) put(p, p->scan_set == 1 ? OVERRUN : 0);
    return p->repeats != before;
}

/* ---- typematic ---- */

int64_t ps2_repeat_delay_ns(const struct ps2 *p)
{
    return (1 + (p->typematic >> 5 & 3)) * 250000000ll;
}

int64_t ps2_repeat_period_ns(const struct ps2 *p)
{
    return ((int64_t)(8 + (p->typematic & 7)) << (p->typematic >> 3 & 3)) * 4170000;
}

bool ps2_repeat(struct ps2 *p)
{
    bool can = p->repeats && p->enabled && p->repeats != QKEY_PAUSE;

    if (!can || (p->scan_set == 3 && !(p->key_type[p->repeats] & KEY_REPEATS))) return false;
    if (!p->count && !p->awaiting) put_key(p, p->repeats, true);
    return true;
}
