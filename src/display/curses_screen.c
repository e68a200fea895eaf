/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ncurses knows terminals: what moves their cursor and sets their colours, and which bytes are which key. It writes into a file in memory,
 * so it never waits for the terminal; it reads the terminal itself, without waiting either.
 *
 * VGA's sixteen colours are those of terminals in another order. Where a terminal has eight, bright letters are bold ones. The library is loaded
 * when it is wanted, like SDL (sdl.c).
 */
#define NCURSES_WIDECHAR 1
#define NCURSES_NOMACROS 1
#include <ncursesw/curses.h>

#include <dlfcn.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cp437.h"
#include "base/error.h"
#include "display/curses_private.h"

enum { ESCAPE_WAIT_MS = 10, COLORS_MAX = 16 };
#define LIBRARY "libncursesw.so.6"

#define FUNCTIONS(X) X(newterm) X(delscreen) X(endwin) X(newwin) X(newpad) X(delwin) X(noecho) X(typeahead) X(keypad) X(define_key) X(nodelay) X(set_escdelay) X(wget_wch) \
    X(resizeterm) X(wresize) X(start_color) X(has_colors) X(init_pair) X(assume_default_colors) X(setcchar) X(mvwadd_wch) X(mvwaddnstr) X(werase) X(wmove) \
    X(wrefresh) X(clearok) X(leaveok) X(curs_set) X(tigetstr) X(tigetnum) X(keyname)
struct ncurses {
#define MEMBER(name) __typeof__(name) *name;
    FUNCTIONS(MEMBER)
#undef MEMBER
};

struct curses_screen {
    struct ncurses n;
    void *library;
    FILE *out;                         /* in memory */
    SCREEN *screen;
    WINDOW *window, *keys;
    unsigned rows, columns;
    unsigned colors;                   /* 1, 8 or 16 */
    bool is_ascii, all_due, is_left;
    struct curses_text shown;
    unsigned left, top;                /* the character at the terminal's corner */
    unsigned right, down;              /* or where the guest's corner is in a large terminal */
};

/* ---- colours ---- */

/* Blue and red change places. */
static unsigned color_of(unsigned vga) { return (vga & 10) | (vga & 1) << 2 | (vga >> 2 & 1); }

/* Pair 0 cannot be set: it is what the terminal starts with, grey on black. */
static short pair_of(const struct curses_screen *s, unsigned ink, unsigned paper) { return (short)(paper * s->colors + (COLOR_WHITE ^ ink)); }

static void colors_set(struct curses_screen *s)
{
    int colors = s->n.tigetnum("colors"), pairs = s->n.tigetnum("pairs");

    s->colors = 1;
    if (!s->n.has_colors() || s->n.start_color() == ERR || colors < 8 || pairs < 64) return;
    s->colors = colors >= COLORS_MAX && pairs >= COLORS_MAX * COLORS_MAX ? COLORS_MAX : 8;
    s->n.assume_default_colors(COLOR_WHITE, COLOR_BLACK);
    for (unsigned paper = 0; paper < s->colors; paper++)
        for (unsigned ink = 0; ink < s->colors; ink++)
            if (pair_of(s, ink, paper)) s->n.init_pair(pair_of(s, ink, paper), (short)ink, (short)paper);
}

static attr_t look_of(const struct curses_screen *s, uint8_t attribute, bool blinks, short *pair)
{
    unsigned ink = color_of(attribute & 15), paper = color_of(attribute >> 4 & (blinks ? 7 : 15));
    attr_t look = blinks && attribute & 0x80 ? A_BLINK : A_NORMAL;

    *pair = 0;
    if (s->colors == 1) return look | (ink & 8 ? A_BOLD : 0) | ((paper & 7) > (ink & 7) ? A_REVERSE : 0);
    *pair = pair_of(s, ink & (s->colors - 1), paper & (s->colors - 1));
    return look | (s->colors == 8 && ink & 8 ? A_BOLD : 0);
}

/* ---- drawing ---- */

static void cell_draw(struct curses_screen *s, const struct curses_text *t, unsigned x, unsigned y)
{
    uint16_t cell = t->cell[y * t->width + x];
    uint8_t c = (uint8_t)cell;
    wchar_t text[2] = { s->is_ascii ? cp437_ascii(c) : cp437_unicode(c), 0 };
    short pair;
    attr_t look = look_of(s, cell >> 8, t->blinks, &pair);
    cchar_t character;

    if (c == 255) text[0] = ' ';
    s->n.setcchar(&character, text, look, pair, NULL);
    s->n.mvwadd_wch(s->window, (int)(y - s->top + s->down), (int)(x - s->left + s->right), &character);
}

/* The guest's screen in the middle of a larger terminal; of a larger screen the part with the cursor. */
static bool place(unsigned size, unsigned room, unsigned cursor, unsigned *first, unsigned *space)
{
    unsigned old_first = *first, old_space = *space;

    *space = size < room ? (room - size) / 2 : 0;
    if (size <= room) *first = 0;
    else if (cursor < *first) *first = cursor;
    else if (cursor >= *first + room) *first = cursor - room + 1;
    if (*first + room > size && size > room) *first = size - room;
    return *first != old_first || *space != old_space;
}

static void text_draw(struct curses_screen *s, const struct curses_text *t, bool all)
{
    bool moved = place(t->width, s->columns, t->has_cursor ? t->cursor_x : s->left, &s->left, &s->right);
    unsigned cursor_x, cursor_y;

    if (place(t->height, s->rows, t->has_cursor ? t->cursor_y : s->top, &s->top, &s->down)) moved = true;
    if (moved || all) s->n.werase(s->window);
    for (unsigned y = s->top; y < t->height && y - s->top < s->rows; y++)
        for (unsigned x = s->left; x < t->width && x - s->left < s->columns; x++)
            if (moved || all || t->cell[y * t->width + x] != s->shown.cell[y * t->width + x]) cell_draw(s, t, x, y);
    cursor_x = t->cursor_x - s->left + s->right;
    cursor_y = t->cursor_y - s->top + s->down;
    s->n.curs_set(t->has_cursor && cursor_x < s->columns && cursor_y < s->rows);
    if (t->has_cursor) s->n.wmove(s->window, (int)cursor_y, (int)cursor_x);
}

static void line_draw(struct curses_screen *s, unsigned row, const char *text)
{
    unsigned size = (unsigned)MIN(strlen(text), (size_t)s->columns);

    if (row < s->rows) s->n.mvwaddnstr(s->window, (int)row, (int)(s->columns - size) / 2, text, (int)size);
}

static void size_draw(struct curses_screen *s, const struct curses_text *t, const char *help)
{
    char text[64];

    s->n.werase(s->window);
    s->n.curs_set(0);
    if (t->kind == CURSES_BLANK) snprintf(text, sizeof(text), "the screen is blank");
    else snprintf(text, sizeof(text), "%u x %u Graphic mode", t->width, t->height);
    line_draw(s, s->rows / 2, text);
    line_draw(s, s->rows / 2 + 1, help);
}

/* What ncurses has written. */
static void written_take(struct curses_screen *s, struct bytes *out)
{
    int fd = fileno(s->out);
    off_t size = lseek(fd, 0, SEEK_CUR);
    uint8_t *to = size > 0 ? bytes_grow(out, (size_t)size) : NULL;

    if (size <= 0) return;
    if (to && pread(fd, to, (size_t)size, 0) != size) memset(to, 0, (size_t)size);
    if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0) return;
}

/* What is compared without its cells. */
static bool is_like(const struct curses_text *a, const struct curses_text *b)
{
    return a->kind == b->kind && a->width == b->width && a->height == b->height && a->blinks == b->blinks;
}

static bool is_same(const struct curses_text *a, const struct curses_text *b)
{
    if (!is_like(a, b)) return false;
    if (a->kind != CURSES_TEXT) return true;
    return a->has_cursor == b->has_cursor && a->cursor_x == b->cursor_x && a->cursor_y == b->cursor_y &&
           !memcmp(a->cell, b->cell, a->width * a->height * sizeof(*a->cell));
}

void curses_screen_draw(struct curses_screen *s, const struct curses_text *t, const char *help, struct bytes *out)
{
    bool all = s->all_due || !is_like(t, &s->shown);

    if (!s->all_due && is_same(t, &s->shown)) return;
    if (s->is_left) s->n.clearok(s->window, TRUE);
    if (t->kind == CURSES_TEXT) text_draw(s, t, all);
    else size_draw(s, t, help);
    s->n.wrefresh(s->window);
    s->shown = *t;
    s->all_due = s->is_left = false;
    written_take(s, out);
}

void curses_screen_leave(struct curses_screen *s, struct bytes *out)
{
    s->n.endwin();
    s->all_due = s->is_left = true;
    written_take(s, out);
}

void curses_screen_resize(struct curses_screen *s, unsigned rows, unsigned columns)
{
    s->n.resizeterm((int)rows, (int)columns);
    s->n.wresize(s->window, (int)rows, (int)columns);
    s->rows = rows;
    s->columns = columns;
    s->all_due = s->is_left = true;
}

/* ---- keys ---- */

enum curses_input curses_screen_key(struct curses_screen *s, unsigned *value)
{
    wint_t c;
    int kind = s->n.wget_wch(s->keys, &c);

    if (kind == ERR) return CURSES_NOTHING;
    *value = c;
    return kind == KEY_CODE_YES ? CURSES_KEY : CURSES_CHARACTER;
}

const char *curses_screen_key_name(struct curses_screen *s, unsigned value) { return s->n.keyname((int)value); }

/* ---- life ---- */

/* Delays ("$<5>") are for terminals of old. */
static void capability_add(struct curses_screen *s, char *text, size_t size, const char *name)
{
    const char *c = s->n.tigetstr(name);
    size_t at = strlen(text);

    if (!c || c == (const char *)-1) return;
    while (*c && at + 1 < size) {
        const char *end = c[0] == '$' && c[1] == '<' ? strchr(c, '>') : NULL;

        if (end) c = end + 1;
        else text[at++] = *c++;
    }
    text[at] = 0;
}

void curses_screen_farewell(struct curses_screen *s, char *text, size_t size)
{
    static const char *const names[] = { "rmkx", "sgr0", "op", "cnorm", "rmcup" };

    text[0] = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) capability_add(s, text, size, names[i]);
}

/* Terminals that do not change their cursor keys when they are told to. */
static void keys_define(struct curses_screen *s)
{
    static const struct { const char *sent; int key; } more[] = {
        { "\033[A", KEY_UP }, { "\033[B", KEY_DOWN }, { "\033[C", KEY_RIGHT }, { "\033[D", KEY_LEFT }, { "\033[H", KEY_HOME }, { "\033[F", KEY_END },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(more); i++) s->n.define_key(more[i].sent, more[i].key);
}

static int library_load(struct curses_screen *s, struct error *err)
{
    s->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!s->library) return error_set(err, "no text screen without ncurses: %s; install the package libncursesw6", dlerror());
#define LOAD(name) if (!(*(void **)&s->n.name = dlsym(s->library, #name))) return error_set(err, LIBRARY " has no " #name "; version 6 is wanted");
    FUNCTIONS(LOAD)
#undef LOAD
    return 0;
}

static int screen_make(struct curses_screen *s, struct error *err)
{
    const char *type = getenv("TERM");
    int fd = memfd_create("screen", MFD_CLOEXEC);

    setlocale(LC_CTYPE, "");
    s->is_ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
    s->out = fd < 0 ? NULL : fdopen(fd, "w");
    if (!s->out) return error_set(err, "no memory for the screen");
    s->screen = s->n.newterm(type, s->out, stdin);
    if (!s->screen) return error_set(err, "ncurses does not know this terminal (TERM=%s); set TERM, install the package ncurses-term, or use -nographic", type ? type : "");
    s->n.set_escdelay(ESCAPE_WAIT_MS);
    s->n.typeahead(-1);                /* what was begun is drawn */
    s->n.noecho();
    colors_set(s);
    s->window = s->n.newwin(0, 0, 0, 0);
    s->keys = s->n.newpad(1, 1);       /* is never drawn */
    if (!s->window || !s->keys) return error_set(err, "no memory for the screen");
    s->n.keypad(s->keys, TRUE);
    s->n.nodelay(s->keys, TRUE);
    keys_define(s);
    s->n.leaveok(s->window, FALSE);
    s->all_due = s->is_left = true;
    return 0;
}

struct curses_screen *curses_screen_new(struct error *err)
{
    struct curses_screen *s = calloc(1, sizeof(*s));

    if (!s) {
        error_set(err, "no memory for the screen");
        return NULL;
    }
    if (library_load(s, err) == 0 && screen_make(s, err) == 0) return s;
    curses_screen_free(s);
    return NULL;
}

void curses_screen_free(struct curses_screen *s)
{
    if (!s) return;
    if (s->keys) s->n.delwin(s->keys);
    if (s->window) s->n.delwin(s->window);
    if (s->screen) s->n.delscreen(s->screen);
    if (s->out) fclose(s->out);
    if (s->library) dlclose(s->library);
    free(s);
}
