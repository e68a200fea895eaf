/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options as key=value text, and the const tables that say which keys a format knows: one table a format serves
 * 'create -o', '-o help', 'amend' and their checks. Values are checked by type against the table before a format sees
 * them; a format then asks for single values with the functions below, which cannot fail on the type any more but still
 * tell a missing key (the variable keeps what it held: put the default there).
 */
#ifndef BLOCK_OPTION_H
#define BLOCK_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* Keys may be dotted ("encrypt.key-secret"). Of equal keys the last counts. */
struct block_option_value {
    const char *key, *value;
};
struct block_option_set {
    const struct block_option_value *item;
    unsigned count;
};

enum block_option_type { BLOCK_OPTION_TEXT, BLOCK_OPTION_BOOL, BLOCK_OPTION_NUMBER, BLOCK_OPTION_SIZE };

/* A table ends with a NULL name. */
struct block_option {
    const char *name;
    enum block_option_type type;
    const char *help, *standard;    /* standard: the default as text, NULL: none */
    bool amends;                    /* 'amend' can change it */
};

enum block_preallocation {
    BLOCK_PREALLOCATION_OFF, BLOCK_PREALLOCATION_METADATA, BLOCK_PREALLOCATION_FALLOC, BLOCK_PREALLOCATION_FULL
};

/* NULL: not given. set may be NULL in all of these. */
const char *block_option_get(const struct block_option_set *set, const char *key);
/* 0, or -1 with *err that names key and value. *value is only changed when the key is there. */
int block_option_bool(const struct block_option_set *set, const char *key, bool *value, struct error *err);
int block_option_number(const struct block_option_set *set, const char *key, uint64_t max, uint64_t *value,
                        struct error *err);
/* With suffixes b k M G T P E. */
int block_option_size(const struct block_option_set *set, const char *key, uint64_t *value, struct error *err);
/* names ends with NULL. */
int block_option_choice(const struct block_option_set *set, const char *key, const char *const *names, unsigned *index,
                        struct error *err);
/* The key "preallocation"; allowed is a bit a mode. */
int block_option_preallocation(const struct block_option_set *set, unsigned allowed, enum block_preallocation *mode,
                               struct error *err);
/* Every key is in the table (unknown ones are refused with the nearest) and every value of its type. what: "qcow2". */
int block_options_check(const struct block_option_set *set, const struct block_option *table, const char *what,
                        struct error *err);
/* text is a size; the same rules. */
int block_size_parse(const char *text, uint64_t *bytes, struct error *err);

#endif
