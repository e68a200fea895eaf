/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The known name that a mistyped one most likely meant, for "did you mean ...?" in error messages. */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include <stddef.h>

/* Search over names that lie in no plain array: nearest_begin, nearest_offer for each, nearest_result. */
struct nearest {
    const char *word, *best;
    unsigned distance;
};
void nearest_begin(struct nearest *n, const char *word);
void nearest_offer(struct nearest *n, const char *name);
/* NULL when nothing is near enough to be a plausible slip. */
const char *nearest_result(const struct nearest *n);

/* The same over an array of count names (NULL entries are skipped). */
const char *nearest_name(const char *word, const char *const *names, size_t count);

/* Edit distance, ignoring case: insertions, deletions, substitutions and swaps of neighbours count one each. Words
 * longer than 63 bytes are compared by their first 63. */
unsigned nearest_distance(const char *a, const char *b);

#endif
