/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu's option grammar: "value,key=value,flag,noflag", with ",," for a comma inside a value. The first item may lack
 * its key where the option has an implied one.
 */
#ifndef TOOL_OPTION_LIST_H
#define TOOL_OPTION_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct error;

/* Strings that live as long as the options do. */
struct arena;
struct arena *arena_new(void);
void arena_free(struct arena *a);
char *arena_copy(struct arena *a, const char *text, size_t length);
/* Zeroed, aligned for pointers. */
void *arena_room(struct arena *a, size_t bytes);
char *arena_format(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

enum { OPTION_PAIRS = 48 };
struct option_list {
    unsigned count;
    struct { const char *key, *value; bool bare; } pair[OPTION_PAIRS];  /* bare: no '=' stood there */
};
/* 0, or -1 with *err: too many items, an empty one. implied_key NULL: every item needs its key; with one the text may be JSON. */
int option_list_parse(struct option_list *l, struct arena *a, const char *text, const char *implied_key,
                      struct error *err);
/* option_json.c: an object; the implied key's pair comes first. */
int option_list_parse_json(struct option_list *l, struct arena *a, const char *text, const char *implied_key, struct error *err);
/* "NAME,help" and nothing else. */
static inline bool option_list_wants_help(const struct option_list *l)
{
    return l->count == 2 && l->pair[1].bare && (!strcmp(l->pair[1].key, "help") || !strcmp(l->pair[1].key, "?"));
}
/* The last value of key, or NULL. */
const char *option_list_get(const struct option_list *l, const char *key);

/* One known key. set NULL: refused with the words in refuse (or accepted without effect, if that is NULL too). */
struct option_key {
    const char *name;
    int (*set)(void *target, const char *value, struct error *err);
    const char *refuse;
};
/* The set of keys that are there for who writes them out: off, or auto; the message has the key. */
int option_off_only(void *target, const char *value, struct error *err);
/* Calls set for every item in order; unknown keys are named with the nearest known one. keys ends with a NULL name.
 * what names the option for messages: "-drive". */
int option_list_apply(const struct option_list *l, const char *what, const struct option_key *keys, void *target,
                      struct error *err);

/* Values. All return 0, or -1 with *err naming what (an option or key) and the text. */
int value_bool(const char *what, const char *text, bool *value, struct error *err);
int value_unsigned(const char *what, const char *text, uint64_t max, uint64_t *value, struct error *err);
/* A number (fractions allowed) with an optional suffix b k m g t p e; default_unit is used without one. */
int value_size(const char *what, const char *text, uint64_t default_unit, uint64_t *bytes, struct error *err);
/* text is one of names (NULL ends): *index. */
int value_choice(const char *what, const char *text, const char *const *names, unsigned *index, struct error *err);

#endif
