/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Edit distance with transpositions ("optimal string alignment"), three rows of a table kept at a time. */
#include "base/nearest.h"

#include <ctype.h>
#include <string.h>

enum { WORD_MAX = 63 };

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;

    return m < c ? m : c;
}

static int same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

unsigned nearest_distance(const char *a, const char *b)
{
    unsigned row[3][WORD_MAX + 1];
    size_t na = strnlen(a, WORD_MAX), nb = strnlen(b, WORD_MAX);

    for (size_t j = 0; j <= nb; j++) row[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        unsigned *now = row[i % 3], *up = row[(i - 1) % 3], *up2 = row[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned d = min3(up[j] + 1, now[j - 1] + 1, up[j - 1] + !same(a[i - 1], b[j - 1]));

            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]) && up2[j - 2] + 1 < d)
                d = up2[j - 2] + 1;
            now[j] = d;
        }
    }
    return row[na % 3][nb];
}

void nearest_begin(struct nearest *n, const char *word)
{
    *n = (struct nearest){ word, NULL, ~0u };
}

void nearest_offer(struct nearest *n, const char *name)
{
    size_t len = strlen(n->word);
    unsigned d;

    if (!name) return;
    d = nearest_distance(n->word, name);
    /* A word that the name begins with, or the reverse, is a likelier slip than its length says. */
    if (d > 2 && len >= 3 && strlen(name) >= 3 && (!strncasecmp(name, n->word, len) || !strncasecmp(name, n->word, strlen(name))))
        d = 2;
    if (d < n->distance) {
        n->distance = d;
        n->best = name;
    }
}

const char *nearest_result(const struct nearest *n)
{
    size_t len = strlen(n->word);
    /* A quarter of the word: more changes make another one of it. */
    unsigned limit = len <= 4 ? 1 : len <= 8 ? 2 : 3;

    return n->best && n->distance <= limit ? n->best : NULL;
}

const char *nearest_name(const char *word, const char *const *names, size_t count)
{
    struct nearest n;

    nearest_begin(&n, word);
    for (size_t i = 0; i < count; i++) nearest_offer(&n, names[i]);
    return nearest_result(&n);
}
