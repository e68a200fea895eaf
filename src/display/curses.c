/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's text screen, drawn by ncurses, and consoles: the monitor and the serial ports. Alt-1 is the screen, Alt-2 and up are the consoles. A
 * console's bytes go to the terminal as they are, which knows more of escape sequences than a terminal inside of a terminal would;
 * of each the last 64 KiB are kept and shown again when somebody comes back to it, without what a terminal would answer.
 *
 * The screen is read by a timer, 30 times a second, 10 when it does not change; nothing is drawn while the terminal has not taken what was drawn before.
 * Keys are pressed one after the other, 40 a second, so that pasted text finds room in the guest's keyboard.
 */
#include "display/curses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "base/qkeycode.h"
#include "display/curses_private.h"
#include "display/curses_terminal.h"
#include "display/display.h"

enum { BUSY_MS = 33, IDLE_MS = 100, IDLE_ROUNDS = 30, KEY_MS = 25, HISTORY = 64 << 10, PIECE = 4096, ESCAPE = 27, SCREEN = -1, FAREWELL = 256, TYPED = 4096 };
#define NS_PER_MS 1000000LL

struct console {
    char name[16];
    uint8_t *ring;                     /* HISTORY bytes, when it has put out something */
    uint64_t end, shown;               /* of what it put out; what the terminal was sent */
    struct bytes typed;                /* and not taken */
};

struct curses {
    struct curses_config config;
    struct display *display;
    struct curses_terminal *terminal;
    struct curses_screen *screen;
    struct timer *timer, *key_timer;
    struct console console[CURSES_CONSOLES_MAX];
    unsigned consoles;
    int on;                            /* SCREEN or a console */
    unsigned rows, columns, quiet_rounds;
    struct curses_text text;
    struct bytes out;
    char help[160];
};

static void out_send(struct curses *c)
{
    curses_terminal_write(c->terminal, c->out.data + c->out.at, bytes_size(&c->out));
    bytes_clear(&c->out);
}

/* ---- consoles ---- */

/* Questions to a terminal (where its cursor is, what it is) that were answered long ago: the end of such a sequence, or NULL. */
static const uint8_t *question_end(const uint8_t *at, const uint8_t *end)
{
    if (end - at < 3 || at[0] != ESCAPE || at[1] != '[') return NULL;
    for (at += 2; at < end && (*at < 0x40 || *at > 0x7e); at++) {}
    return at < end && (*at == 'n' || *at == 'c') ? at + 1 : NULL;
}

static void history_add(struct curses *c, const struct console *k, uint64_t from, uint64_t to)
{
    size_t size = (size_t)(to - from), at = from % HISTORY, first = MIN(size, HISTORY - at);
    uint8_t *text = malloc(size + 1);
    const uint8_t *end;

    if (!text) return;
    if (first) memcpy(text, k->ring + at, first);
    if (size > first) memcpy(text + first, k->ring, size - first);
    for (const uint8_t *i = text; i < text + size; i = end) {
        end = question_end(i, text + size);
        if (end) continue;
        end = i + 1;
        bytes_add(&c->out, i, 1);
    }
    free(text);
}

static void console_show(struct curses *c, unsigned number)
{
    struct console *k = &c->console[number];
    char head[64];

    curses_screen_leave(c->screen, &c->out);
    snprintf(head, sizeof(head), "\033[H\033[2J[%.15s; Alt-1: the screen]\r\n", k->name);
    bytes_add(&c->out, head, strlen(head));
    k->shown = k->end;
    history_add(c, k, k->end > HISTORY ? k->end - HISTORY : 0, k->end);
    out_send(c);
}

/* The next piece of the console that is looked at; who reads slowly loses the middle. */
static void console_go_on(struct curses *c)
{
    struct console *k = &c->console[c->on];

    while (k->shown < k->end && curses_terminal_is_idle(c->terminal)) {
        size_t at, n;

        if (k->end - k->shown > HISTORY) k->shown = k->end - HISTORY;
        at = k->shown % HISTORY;
        n = (size_t)MIN(MIN(k->end - k->shown, (uint64_t)PIECE), (uint64_t)(HISTORY - at));
        k->shown += n;
        curses_terminal_write(c->terminal, k->ring + at, n);
    }
}

void curses_console_output(struct curses *c, unsigned console, const uint8_t *data, size_t size)
{
    struct console *k = &c->console[console];

    if (!k->ring && !(k->ring = malloc(HISTORY))) return;
    for (size_t n; size; data += n, size -= n, k->end += n) {
        size_t at = k->end % HISTORY;

        n = MIN(size, HISTORY - at);
        memcpy(k->ring + at, data, n);
    }
    if (c->on == (int)console) console_go_on(c);
}

static void typed_deliver(struct curses *c, unsigned console)
{
    struct bytes *typed = &c->console[console].typed;

    if (bytes_size(typed)) bytes_drop(typed, c->config.console_input(c->config.opaque, console, typed->data + typed->at, bytes_size(typed)));
}

void curses_console_ready(struct curses *c, unsigned console) { typed_deliver(c, console); }

int curses_console_add(struct curses *c, const char *name)
{
    struct console *k = &c->console[c->consoles];
    size_t used = strlen(c->help);

    if (c->consoles == CURSES_CONSOLES_MAX) return -1;
    snprintf(k->name, sizeof(k->name), "%s", name);
    snprintf(c->help + used, sizeof(c->help) - used, "%sAlt-%u: %s", used ? ", " : "", c->consoles + 2, k->name);
    return (int)c->consoles++;
}

/* ---- the screen ---- */

static void size_follow(struct curses *c)
{
    unsigned rows, columns;

    curses_terminal_size(c->terminal, &rows, &columns);
    if (rows == c->rows && columns == c->columns) return;
    c->rows = rows;
    c->columns = columns;
    curses_screen_resize(c->screen, rows, columns);
    c->quiet_rounds = 0;
}

static void screen_draw(struct curses *c)
{
    if (c->on != SCREEN || !curses_terminal_is_idle(c->terminal)) return;
    size_follow(c);
    c->config.text(c->config.opaque, &c->text);
    curses_screen_draw(c->screen, &c->text, c->help, &c->out);
    c->quiet_rounds = bytes_size(&c->out) ? 0 : c->quiet_rounds + 1;
    out_send(c);
}

static void round_due(void *opaque)
{
    struct curses *c = opaque;

    screen_draw(c);
    timer_arm_ns(c->timer, clock_host_ns() + (c->quiet_rounds > IDLE_ROUNDS ? IDLE_MS : BUSY_MS) * NS_PER_MS);
}

static void look_at(struct curses *c, int on)
{
    if (on == c->on || on >= (int)c->consoles) return;
    c->on = on;
    c->quiet_rounds = 0;
    if (on == SCREEN) timer_arm_ns(c->timer, clock_host_ns());
    else console_show(c, (unsigned)on);
}

/* ---- keys ---- */

static void key_send(struct curses *c, unsigned key, bool down)
{
    const struct display_input *input = display_input(c->display);

    if (input->key) input->key(input->opaque, key, down);
}

static void stroke_send(struct curses *c, struct curses_stroke s)
{
    static const struct { uint8_t modifier, key; } modifiers[] = {
        { CURSES_CTRL, QKEY_CTRL }, { CURSES_ALT, QKEY_ALT }, { CURSES_ALTGR, QKEY_ALT_R }, { CURSES_SHIFT, QKEY_SHIFT },
    };

    if (s.key == QKEY_UNMAPPED) return;
    for (unsigned i = 0; i < ARRAY_SIZE(modifiers); i++)
        if (s.modifiers & modifiers[i].modifier) key_send(c, modifiers[i].key, true);
    key_send(c, s.key, true);
    key_send(c, s.key, false);
    for (unsigned i = ARRAY_SIZE(modifiers); i-- > 0;)
        if (s.modifiers & modifiers[i].modifier) key_send(c, modifiers[i].key, false);
}

/* One key, or a chord with Alt, which terminals send as Esc in front of the other. */
static bool key_take(struct curses *c)
{
    struct curses_stroke s;
    unsigned value, alt = 0;
    enum curses_input kind = curses_screen_key(c->screen, &value);

    if (kind == CURSES_NOTHING) return false;
    if (kind == CURSES_CHARACTER && value == ESCAPE) {
        unsigned second;
        enum curses_input then = curses_screen_key(c->screen, &second);

        if (then == CURSES_CHARACTER && second >= '1' && second <= '9') {
            look_at(c, (int)(second - '2'));
            return true;
        }
        if (then != CURSES_NOTHING) {
            alt = CURSES_ALT;
            value = second;
            kind = then;
        }
    }
    s = kind == CURSES_KEY ? curses_stroke_of_key(c->screen, value) : curses_stroke_of_character(value, c->config.layout);
    s.modifiers |= alt;
    stroke_send(c, s);
    c->quiet_rounds = 0;
    return true;
}

static void keys_due(void *opaque)
{
    struct curses *c = opaque;

    if (c->on == SCREEN && key_take(c)) {
        curses_terminal_input_watch(c->terminal, false);
        timer_arm_ns(c->key_timer, clock_host_ns() + KEY_MS * NS_PER_MS);
    } else curses_terminal_input_watch(c->terminal, true);
}

/* For a console: bytes as they come; Alt-1 and its like only where they come alone. */
static void console_type(struct curses *c)
{
    struct bytes *typed = &c->console[c->on].typed;
    uint8_t data[TYPED];
    ssize_t n = read(STDIN_FILENO, data, sizeof(data));

    if (n == 0) curses_terminal_input_watch(c->terminal, false);
    if (n <= 0) return;
    if (n == 2 && data[0] == ESCAPE && data[1] >= '1' && data[1] <= '9') {
        look_at(c, data[1] - '2');
        return;
    }
    bytes_add(typed, data, MIN((size_t)n, TYPED - MIN(bytes_size(typed), (size_t)TYPED)));
    typed_deliver(c, (unsigned)c->on);
}

static void on_input(void *opaque)
{
    struct curses *c = opaque;

    if (c->on != SCREEN) console_type(c);
    else if (!timer_is_armed(c->key_timer)) keys_due(c);
}

static void on_idle(void *opaque)
{
    struct curses *c = opaque;

    if (c->on != SCREEN) console_go_on(c);
}

/* ---- life ---- */

static int begin(struct curses *c, struct error *err)
{
    struct curses_terminal_user user = { on_input, on_idle, c };
    char farewell[FAREWELL];

    c->terminal = curses_terminal_open(&user, err);
    if (!c->terminal) return -1;
    c->screen = curses_screen_new(err);
    c->timer = timer_new(TIMER_HOST, round_due, c);
    c->key_timer = timer_new(TIMER_HOST, keys_due, c);
    if (!c->screen) return -1;
    if (!c->timer || !c->key_timer) return error_set(err, "no memory");
    curses_screen_farewell(c->screen, farewell, sizeof(farewell));
    curses_terminal_farewell_set(c->terminal, farewell);
    timer_arm_ns(c->timer, clock_host_ns());
    return 0;
}

struct curses *curses_new(struct display *d, const struct curses_config *config, struct error *err)
{
    struct curses *c = calloc(1, sizeof(*c));

    if (!c) {
        error_set(err, "no memory");
        return NULL;
    }
    c->config = *config;
    c->display = d;
    c->on = SCREEN;
    if (begin(c, err) == 0) return c;
    curses_free(c);
    return NULL;
}

void curses_free(struct curses *c)
{
    if (!c) return;
    if (c->timer) timer_free(c->timer);
    if (c->key_timer) timer_free(c->key_timer);
    if (c->screen) {
        if (c->on == SCREEN) {
            curses_screen_leave(c->screen, &c->out);
            out_send(c);
        }
        curses_screen_free(c->screen);
    }
    if (c->terminal) curses_terminal_close(c->terminal);
    for (unsigned i = 0; i < c->consoles; i++) {
        bytes_free(&c->console[i].typed);
        free(c->console[i].ring);
    }
    bytes_free(&c->out);
    free(c);
}
