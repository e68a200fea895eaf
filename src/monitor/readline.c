/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The line is redrawn as a whole after each change: lines are short and terminals fast. Escape sequences understood
 * are those of cursor keys, Home, End and Delete in their common spellings.
 */
#include "monitor/readline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CTRL_A = 1, CTRL_B, CTRL_C, CTRL_D, CTRL_E, CTRL_F, BACKSPACE = 8, TAB = 9, CTRL_K = 11, CTRL_L = 12, CTRL_N = 14,
       CTRL_P = 16, CTRL_U = 21, CTRL_W = 23, ESCAPE = 27, RUBOUT = 127 };
enum { ESC_NONE, ESC_SEEN, ESC_CSI, ESC_CSI_NUMBER };

static void put(struct readline *r, const char *text)
{
    r->write(r->opaque, text, strlen(text));
}

void readline_redraw(struct readline *r)
{
    char move[32];

    if (!r->edit) return;
    put(r, "\r\033[K");
    put(r, r->prompt);
    r->write(r->opaque, r->text, r->length);
    if (r->cursor < r->length) {
        snprintf(move, sizeof(move), "\033[%zuD", r->length - r->cursor);
        put(r, move);
    }
}

void readline_prompt(struct readline *r)
{
    r->length = r->cursor = 0;
    r->escape = ESC_NONE;
    r->history_at = r->history_count;
    put(r, r->prompt);
}

static void insert(struct readline *r, const char *text, size_t n)
{
    if (r->length + n >= READLINE_BYTES) return;
    memmove(r->text + r->cursor + n, r->text + r->cursor, r->length - r->cursor);
    memcpy(r->text + r->cursor, text, n);
    r->length += n;
    r->cursor += n;
}

static void erase(struct readline *r, size_t from, size_t to)
{
    memmove(r->text + from, r->text + to, r->length - to);
    r->length -= to - from;
    r->cursor = from;
}

static void history_add(struct readline *r)
{
    if (!r->length) return;
    if (r->history_count && !strcmp(r->history[r->history_count - 1], r->text)) return;
    if (r->history_count == READLINE_HISTORY) {
        free(r->history[0]);
        memmove(r->history, r->history + 1, (READLINE_HISTORY - 1) * sizeof(r->history[0]));
        r->history_count--;
    }
    r->history[r->history_count] = strdup(r->text);
    if (r->history[r->history_count]) r->history_count++;
}

static void history_go(struct readline *r, int step)
{
    unsigned to = r->history_at + step;

    if (to > r->history_count) return;           /* also below 0, which wraps */
    r->text[r->length] = 0;
    if (r->history_at == r->history_count) strcpy(r->saved, r->text);
    r->history_at = to;
    strcpy(r->text, to == r->history_count ? r->saved : r->history[to]);
    r->length = r->cursor = strlen(r->text);
}

static size_t common_prefix(const char *a, const char *b, size_t limit)
{
    size_t n = 0;

    while (n < limit && a[n] && a[n] == b[n]) n++;
    return n;
}

static void complete(struct readline *r)
{
    const char *first = NULL, *name;
    size_t common = READLINE_BYTES;
    unsigned matches = 0;

    for (unsigned i = 0; (name = r->name(r->opaque, i)); i++) {
        if (strncmp(name, r->text, r->cursor)) continue;
        if (!first) first = name;
        common = common_prefix(first, name, common);
        matches++;
    }
    if (!matches) return;
    if (common > r->cursor) insert(r, first + r->cursor, common - r->cursor);
    if (matches == 1) {
        insert(r, " ", 1);
        return;
    }
    put(r, "\r\n");
    for (unsigned i = 0; (name = r->name(r->opaque, i)); i++) {
        if (strncmp(name, r->text, r->cursor)) continue;
        put(r, name);
        put(r, "  ");
    }
    put(r, "\r\n");
}

static void word_erase(struct readline *r)
{
    size_t from = r->cursor;

    while (from && r->text[from - 1] == ' ') from--;
    while (from && r->text[from - 1] != ' ') from--;
    erase(r, from, r->cursor);
}

/* Keys that are one control byte; escape sequences are translated to them. */
static void key(struct readline *r, unsigned char c)
{
    switch (c) {
    case CTRL_A: r->cursor = 0; break;
    case CTRL_E: r->cursor = r->length; break;
    case CTRL_B: if (r->cursor) r->cursor--; break;
    case CTRL_F: if (r->cursor < r->length) r->cursor++; break;
    case CTRL_D: if (r->cursor < r->length) erase(r, r->cursor, r->cursor + 1); break;
    case BACKSPACE: case RUBOUT: if (r->cursor) erase(r, r->cursor - 1, r->cursor); break;
    case CTRL_K: r->length = r->cursor; break;
    case CTRL_U: case CTRL_C: erase(r, 0, c == CTRL_C ? r->length : r->cursor); break;
    case CTRL_W: word_erase(r); break;
    case CTRL_L: put(r, "\033[H\033[2J"); break;
    case CTRL_P: history_go(r, -1); break;
    case CTRL_N: history_go(r, 1); break;
    case TAB: complete(r); break;
    default: return;
    }
    readline_redraw(r);
}

static void escape_byte(struct readline *r, unsigned char c)
{
    static const struct { char from, to; } keys[] = {
        { 'A', CTRL_P }, { 'B', CTRL_N }, { 'C', CTRL_F }, { 'D', CTRL_B }, { 'H', CTRL_A }, { 'F', CTRL_E },
        { '1', CTRL_A }, { '7', CTRL_A }, { '4', CTRL_E }, { '8', CTRL_E }, { '3', CTRL_D },
    };
    int state = r->escape;

    r->escape = ESC_NONE;
    if (state == ESC_SEEN) {
        if (c == '[' || c == 'O') r->escape = ESC_CSI;
        return;
    }
    if (state == ESC_CSI_NUMBER) {
        if (c != '~' && (c < '@' || c > '~')) r->escape = ESC_CSI_NUMBER;
        return;
    }
    if (c >= '0' && c <= '9') r->escape = ESC_CSI_NUMBER;
    for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if ((unsigned char)keys[i].from == c) key(r, keys[i].to);
}

static void enter(struct readline *r)
{
    r->text[r->length] = 0;
    if (r->edit) {
        put(r, "\r\n");
        history_add(r);
    }
    r->line(r->opaque, r->text);
}

void readline_byte(struct readline *r, unsigned char c)
{
    if (r->edit && r->escape) escape_byte(r, c);
    else if (c == '\r' || c == '\n') {
        if (c == '\n' || r->edit) enter(r);
    } else if (r->edit && c == ESCAPE) r->escape = ESC_SEEN;
    else if (c >= ' ' && c != RUBOUT) {
        insert(r, (const char *)&c, 1);
        if (!r->edit) return;
        if (r->cursor == r->length) r->write(r->opaque, (const char *)&c, 1);
        else readline_redraw(r);
    } else if (r->edit) key(r, c);
}

void readline_free(struct readline *r)
{
    for (unsigned i = 0; i < r->history_count; i++) free(r->history[i]);
}
