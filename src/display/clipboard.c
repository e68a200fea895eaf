/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text is cleaned once, when it comes, since guests and viewers write it; those who pass it on may rely on it. */
#include "display/clipboard.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct clipboard {
    char *text;                        /* NULL: none so far */
    size_t size;
    struct clipboard_user *users;
};

struct clipboard *clipboard_new(void) { return calloc(1, sizeof(struct clipboard)); }

void clipboard_free(struct clipboard *c)
{
    if (!c) return;
    free(c->text);
    free(c);
}

void clipboard_user_add(struct clipboard *c, struct clipboard_user *u)
{
    u->next = c->users;
    c->users = u;
}

void clipboard_user_remove(struct clipboard *c, struct clipboard_user *u)
{
    for (struct clipboard_user **at = &c->users; *at; at = &(*at)->next) {
        if (*at != u) continue;
        *at = u->next;
        return;
    }
}

/* The bytes of a character in its shortest form, 0: it is none. */
static size_t character_bytes(const uint8_t *at, size_t size)
{
    size_t n = *at < 0x80 ? 1 : *at >= 0xc2 && *at < 0xe0 ? 2 : *at >= 0xe0 && *at < 0xf0 ? 3 : *at >= 0xf0 && *at < 0xf5 ? 4 : 0;

    if (!n || n > size) return 0;
    for (size_t i = 1; i < n; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f)) return 0;
    return n;
}

static size_t clean(char *to, const char *text, size_t size)
{
    const uint8_t *at = (const uint8_t *)text, *end = at + size;
    size_t used = 0;

    while (at < end && *at) {
        size_t n = character_bytes(at, (size_t)(end - at));

        if (*at == '\r' && at + 1 < end && at[1] == '\n') at++;
        if (n) memcpy(to + used, at, n);
        else to[used] = '?';
        used += n ? n : 1;
        at += n ? n : 1;
    }
    return used;
}

void clipboard_set(struct clipboard *c, const void *by, const char *text, size_t size)
{
    char *copy = size <= CLIPBOARD_MAX ? malloc(size + 1) : NULL;

    if (!copy) return;
    c->size = clean(copy, text, size);
    copy[c->size] = 0;
    free(c->text);
    c->text = copy;
    for (struct clipboard_user *u = c->users, *next; u; u = next) {
        next = u->next;
        u->changed(u->opaque, by);
    }
}

const char *clipboard_text(const struct clipboard *c, size_t *size)
{
    *size = c->size;
    return c->text ? c->text : "";
}
