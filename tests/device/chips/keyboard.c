/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keyboard behind its controller: typematic in all 128 settings against the formula of the data sheet, which key repeats, what stops
 * it, that a guest which does not read is not flooded; Print Screen and Pause with other keys; set 3 with its kinds of keys; commands
 * that few use. Expectations: IBM PS/2 Technical Reference, Microsoft "Keyboard Scan Code Specification".
 */
#include <string.h>

#include "base/bits.h"
#include "base/qkeycode.h"
#include "bus/device.h"
#include "device/input/i8042.h"
#include "device/input/port92.h"
#include "world.h"

enum { SEED = 11, MS = 1000000 };

static struct device *k;
static unsigned interrupts;
static int level;

static void irq_seen(void *opaque, int n, int on)
{
    interrupts += on && !level;
    level = on;
}

static uint8_t status(void) { return (uint8_t)memory_io_read(ports, 0x64, 1); }
static uint8_t data(void) { return (uint8_t)memory_io_read(ports, 0x60, 1); }
static void command(uint8_t v) { memory_io_write(ports, 0x64, v, 1); }

/* All that waits, as text: "1c f0 1c". */
static const char *got(void)
{
    static char text[1024];
    size_t n = 0;

    *text = 0;
    while (status() & 1 && n < sizeof(text) - 4) n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%02x", n ? " " : "", data());
    return text;
}

static void expect(const char *wanted, const char *what)
{
    const char *text = got();

    CHECK(!strcmp(text, wanted), "%s: '%s', not '%s'", what, text, wanted);
}

static void keyboard(uint8_t byte, const char *wanted)
{
    char what[32];

    snprintf(what, sizeof(what), "keyboard %02x", byte);
    memory_io_write(ports, 0x60, byte, 1);
    expect(wanted, what);
}

static void press(unsigned key) { keyboard_send_key(k, key, true); }
static void let_go(unsigned key) { keyboard_send_key(k, key, false); }

/* Codes that come in so many ms, read as they come. */
static unsigned repeats_in(unsigned ms)
{
    unsigned n = 0;

    for (unsigned i = 0; i < ms; i++) {
        time_step(MS);
        for (; status() & 1; n++) data();
    }
    return n;
}

static void as_new(uint8_t set)
{
    device_reset(k);
    command(0x60);
    memory_io_write(ports, 0x60, 0x07, 1);              /* interrupts, no translation */
    got();
    keyboard(0xf0, "fa");
    keyboard(set, "fa");
}

static void rates(void)
{
    for (unsigned v = 0; v < 128; v++) {
        unsigned delay = 250 * (1 + (v >> 5)), first = 0, n;
        double period = (8 + (v & 7)) * (1 << (v >> 3 & 3)) * 4.17;

        as_new(2);
        keyboard(0xf3, "fa");
        keyboard((uint8_t)v, "fa");
        press(QKEY_A);
        expect("1c", "a");
        while (first < 2000 && !(status() & 1)) {
            time_step(MS);
            first++;
        }
        CHECK(first == delay, "typematic %02x: the first repeat after %u ms, not %u", v, first, delay);
        expect("1c", "a again");
        n = repeats_in(2000);
        CHECK(n >= (unsigned)(2000 / period) - 1 && n <= (unsigned)(2000 / period) + 1, "typematic %02x: %u repeats in 2 s, not %.1f", v, n, 2000 / period);
        let_go(QKEY_A);
        expect("f0 1c", "a is let go");
        CHECK(repeats_in(1500) == 0, "typematic %02x: repeats of what is up", v);
    }
}

static void which(void)
{
    as_new(2);
    press(QKEY_A);
    press(QKEY_B);
    expect("1c 32", "two keys");
    CHECK(repeats_in(499) == 0, "before the delay is over");
    time_step(MS);
    expect("32", "the last one repeats");
    let_go(QKEY_A);
    expect("f0 1c", "the other goes up");
    CHECK(repeats_in(1000) >= 9, "the last one goes on");
    press(QKEY_B);
    expect("", "a key that is down cannot go down");
    let_go(QKEY_B);
    let_go(QKEY_B);
    expect("f0 32", "or up twice");
    press(QKEY_A);
    press(QKEY_B);
    got();
    let_go(QKEY_B);
    got();
    CHECK(repeats_in(2000) == 0, "when the last one goes up, the one before does not take over");
    let_go(QKEY_A);
    got();

    press(QKEY_C);                                      /* nobody reads */
    time_step(5000ll * MS);
    expect("21", "one code only while nobody reads");
    CHECK(repeats_in(1000) >= 9, "and more when somebody does");
    command(0xad);
    time_step(3000ll * MS);
    command(0xae);
    CHECK(repeats_in(5) <= 2, "no flood behind a clock that was off");
    keyboard(0xf5, "fa");
    CHECK(repeats_in(1000) == 0, "switched off");
    keyboard(0xf4, "fa");
    CHECK(repeats_in(1000) == 0, "and on again: the key has to be pressed anew");
    let_go(QKEY_C);
    got();
    press(QKEY_D);
    got();
    keyboard(0xff, "fa aa");
    CHECK(repeats_in(1000) == 0, "reset");
    press(QKEY_PAUSE);
    expect("e1 14 77 e1 f0 14 f0 77", "pause");
    CHECK(repeats_in(1000) == 0, "pause does not repeat");
    let_go(QKEY_PAUSE);
    expect("", "and tells nothing when it goes up");
    press(QKEY_E);
    got();
    device_reset(k);
    got();
    CHECK(repeats_in(1000) == 0, "the machine is reset");
}

static void specials(void)
{
    static const struct { unsigned with; const char *print[2], *pause, *print1[2], *pause1; } rows[] = {
        { 0, { "e0 12 e0 7c", "e0 f0 7c e0 f0 12" }, "e1 14 77 e1 f0 14 f0 77", { "e0 2a e0 37", "e0 b7 e0 aa" }, "e1 1d 45 e1 9d c5" },
        { QKEY_SHIFT, { "e0 7c", "e0 f0 7c" }, "e1 14 77 e1 f0 14 f0 77", { "e0 37", "e0 b7" }, "e1 1d 45 e1 9d c5" },
        { QKEY_CTRL_R, { "e0 7c", "e0 f0 7c" }, "e0 7e e0 f0 7e", { "e0 37", "e0 b7" }, "e0 46 e0 c6" },
        { QKEY_ALT, { "84", "f0 84" }, "e1 14 77 e1 f0 14 f0 77", { "54", "d4" }, "e1 1d 45 e1 9d c5" },
        { QKEY_ALT_R, { "84", "f0 84" }, "e1 14 77 e1 f0 14 f0 77", { "54", "d4" }, "e1 1d 45 e1 9d c5" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        for (unsigned set = 1; set <= 2; set++) {
            as_new((uint8_t)set);
            if (rows[i].with) press(rows[i].with);
            got();
            press(QKEY_PRINT);
            expect(set == 1 ? rows[i].print1[0] : rows[i].print[0], "print");
            let_go(QKEY_PRINT);
            expect(set == 1 ? rows[i].print1[1] : rows[i].print[1], "print goes up");
            press(QKEY_PAUSE);
            expect(set == 1 ? rows[i].pause1 : rows[i].pause, "pause");
            let_go(QKEY_PAUSE);
            expect("", "pause goes up");
        }
}

/* What a key of set 3 says in a second and when it goes up: 'r' repeats, 'b' break. */
static void kind_check(unsigned key, const char *code, const char *kind, const char *when)
{
    char up[16];
    unsigned n;

    press(key);
    expect(code, when);
    n = repeats_in(1000);
    CHECK((n > 0) == (strchr(kind, 'r') != NULL), "%s: key %u repeats %u times", when, key, n);
    let_go(key);
    snprintf(up, sizeof(up), "f0 %s", code);
    expect(strchr(kind, 'b') ? up : "", when);
}

static void set3(void)
{
    as_new(3);
    kind_check(QKEY_A, "1c", "r", "at first");
    kind_check(QKEY_SHIFT, "12", "b", "at first");
    kind_check(QKEY_F1, "07", "", "at first");
    kind_check(QKEY_KP_ADD, "7c", "r", "at first");
    kind_check(QKEY_DELETE, "64", "r", "at first");
    kind_check(QKEY_HOME, "6e", "", "at first");
    kind_check(QKEY_PAUSE, "62", "", "at first");
    keyboard(0xfa, "fa");
    kind_check(QKEY_A, "1c", "rb", "all of all");
    kind_check(QKEY_F1, "07", "rb", "all of all");
    keyboard(0xf7, "fa");
    kind_check(QKEY_F1, "07", "r", "all typematic");
    keyboard(0xf8, "fa");
    kind_check(QKEY_A, "1c", "b", "all make and break");
    keyboard(0xf9, "fa");
    kind_check(QKEY_SHIFT, "12", "", "all make");
    keyboard(0xfb, "fa");
    keyboard(0x1c, "fa");
    keyboard(0x07, "fa");
    keyboard(0x00, "fe");
    keyboard(0x02, "fe");
    keyboard(0x84, "fa");                               /* a code, not the end */
    keyboard(0xfc, "fa");
    keyboard(0x12, "fa");
    keyboard(0xee, "ee");
    keyboard(0x12, "fe");                               /* no command */
    kind_check(QKEY_A, "1c", "r", "one by one");
    kind_check(QKEY_F1, "07", "r", "one by one");
    kind_check(QKEY_KP_SUBTRACT, "84", "r", "one by one");
    kind_check(QKEY_SHIFT, "12", "b", "one by one");
    kind_check(QKEY_B, "32", "", "one by one");
    keyboard(0xfd, "fa");
    keyboard(0x1c, "fa");
    keyboard(0xf4, "fa");
    kind_check(QKEY_A, "1c", "", "one by one");
    keyboard(0xf0, "fa");
    keyboard(0x02, "fa");
    kind_check(QKEY_A, "1c", "rb", "in set 2 none of that counts");
    keyboard(0xf6, "fa");
    keyboard(0xf0, "fa");
    keyboard(0x03, "fa");
    kind_check(QKEY_A, "1c", "r", "after defaults");
}

static void rest(void)
{
    as_new(2);
    command(0xa4);
    expect("f1", "no password");
    command(0xe0);
    expect("03", "test inputs");
    command(0xad);
    command(0xe0);
    expect("02", "with the keyboard off");
    command(0xae);
    command(0xc0);
    expect("80", "input port");
    command(0xc1);
    CHECK((status() & 0xf0) == 0x00, "status %02x with the input port's low half", status());
    command(0xc2);
    CHECK((status() & 0xf0) == 0x80, "status %02x with its high half", status());
    keyboard(0xee, "ee");
    CHECK((status() & 0xf0) == 0x10, "status %02x, its own again", status());
    keyboard(0xfe, "ee");
    interrupts = 0;
    press(QKEY_A);
    CHECK(interrupts == 1, "%u interrupts", interrupts);
    got();
    for (unsigned i = 0; i < 50; i++) {
        time_step(100ll * MS);
        got();
    }
    CHECK(interrupts > 40, "repeats make interrupts: %u", interrupts);
    let_go(QKEY_A);
    got();
}

/* Keys and commands at random; nothing waits for ever, nothing repeats once all is up. */
static void random_walk(void)
{
    as_new(2);
    random_seed(SEED);
    for (unsigned i = 0; i < 60000; i++) {
        unsigned key = (unsigned)(random_next() % QKEY_COUNT);

        switch (random_next() % 6) {
        case 0: case 1: keyboard_send_key(k, key, random_next() & 1); break;
        case 2: time_step((int64_t)(random_next() % 400) * MS); break;
        case 3: memory_io_write(ports, 0x60, random_next() % 3 ? 0xed + random_next() % 19 : random_next() & 0xff, 1); break;
        case 4: memory_io_write(ports, 0x64, random_next() % 8 ? 0xae : 0x20 + random_next() % 0xa0, 1); break;
        default: for (unsigned n = (unsigned)(random_next() % 300); n-- && status() & 1;) data();
        }
    }
    for (unsigned key = 0; key < QKEY_COUNT; key++) let_go(key);
    for (unsigned n = 0; n < 2000 && status() & 1; n++) data();
    CHECK(!(status() & 1), "there is no end of bytes");
    CHECK(repeats_in(2000) == 0, "all keys are up");
}

int main(void)
{
    struct port92_config p92 = { 0 };
    struct i8042_config config = { .keyboard_irq = { irq_seen, NULL, 1 } };

    world_new();
    p92.ports = ports;
    config.ports = ports;
    config.port92 = port92_new(&p92, NULL);
    k = i8042_new(&config, NULL);
    rates();
    which();
    specials();
    set3();
    rest();
    random_walk();
    device_destroy(k);
    device_destroy(config.port92);
    printf("keyboard: %u checks, seed %d, %u failures\n", checks, SEED, failures);
    return failures != 0;
}
