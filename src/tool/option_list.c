/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parsing of option text; see option_list.h. */
#include "tool/option_list.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/nearest.h"

struct piece {
    struct piece *next;
    char text[];
};

struct arena {
    struct piece *first;
};

struct arena *arena_new(void)
{
    struct arena *a = calloc(1, sizeof(*a));

    if (!a) abort();
    return a;
}

void arena_free(struct arena *a)
{
    if (!a) return;
    while (a->first) {
        struct piece *p = a->first;

        a->first = p->next;
        free(p);
    }
    free(a);
}

char *arena_copy(struct arena *a, const char *text, size_t length)
{
    struct piece *p = malloc(sizeof(*p) + length + 1);

    if (!p) abort();
    memcpy(p->text, text, length);
    p->text[length] = 0;
    p->next = a->first;
    a->first = p;
    return p->text;
}

void *arena_room(struct arena *a, size_t bytes)
{
    struct piece *p = calloc(1, sizeof(*p) + bytes);

    if (!p) abort();
    p->next = a->first;
    a->first = p;
    return p->text;
}

char *arena_format(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    char *text, *kept;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0) abort();
    kept = arena_copy(a, text, n);
    free(text);
    return kept;
}

/* One item up to a single comma, with ",," turned into ",". Returns where the next one begins, or NULL at the end. */
static const char *item_take(const char *text, char *out)
{
    while (*text) {
        if (*text == ',') {
            if (text[1] != ',') {
                *out = 0;
                return text + 1;
            }
            text++;
        }
        *out++ = *text++;
    }
    *out = 0;
    return NULL;
}

int option_list_parse(struct option_list *l, struct arena *a, const char *text, const char *implied_key,
                      struct error *err)
{
    const char *next = *text ? text : NULL;

    if (*text == '{' && implied_key) return option_list_parse_json(l, a, text, implied_key, err);
    l->count = 0;
    while (next) {
        char *item = arena_copy(a, next, strlen(next)), *equals;
        bool first = next == text;

        next = item_take(next, item);
        if (l->count == OPTION_PAIRS) return error_set(err, "more than %d items in '%.40s...'", OPTION_PAIRS, text);
        if (!*item) return error_set(err, "an empty item in '%s'; a comma inside a value is written ',,'", text);
        equals = strchr(item, '=');
        l->pair[l->count].bare = false;
        if (first && implied_key && (!equals || strcspn(item, "/.:") < (size_t)(equals - item))) {
            l->pair[l->count].key = implied_key;
            l->pair[l->count++].value = item;
        } else if (equals) {
            *equals = 0;
            l->pair[l->count].key = item;
            l->pair[l->count++].value = equals + 1;
        } else {
            l->pair[l->count].bare = true;
            l->pair[l->count].key = item;
            l->pair[l->count++].value = "on";
        }
    }
    return 0;
}

const char *option_list_get(const struct option_list *l, const char *key)
{
    for (unsigned i = l->count; i-- > 0;)
        if (!strcmp(l->pair[i].key, key)) return l->pair[i].value;
    return NULL;
}

/* Of a list in JSON only the whole can be refused. */
static bool is_item(const struct option_key *k, const char *name)
{
    size_t length = strlen(k->name);

    return !k->set && k->refuse && !strncmp(k->name, name, length) && name[length] == '.' && isdigit((unsigned char)name[length + 1]);
}

static const struct option_key *key_find(const struct option_key *keys, const char *name)
{
    for (; keys->name; keys++)
        if (!strcmp(keys->name, name) || is_item(keys, name)) return keys;
    return NULL;
}

int option_off_only(void *target, const char *value, struct error *err)
{
    if (!strcmp(value, "off") || !strcmp(value, "auto")) return 0;
    return error_set(err, "'%s' is not supported in this version; only 'off' is", value);
}

int option_list_apply(const struct option_list *l, const char *what, const struct option_key *keys, void *target,
                      struct error *err)
{
    for (unsigned i = 0; i < l->count; i++) {
        const char *name = l->pair[i].key, *value = l->pair[i].value;
        const struct option_key *k = key_find(keys, name);
        struct nearest near;

        if (!k && l->pair[i].bare && !strncmp(name, "no", 2) && (k = key_find(keys, name + 2))) value = "off";
        if (k && k->set) {
            if (k->set(target, value, err) == 0) continue;
            if (k->set == option_off_only) error_prefix(err, "%s", name);
            return error_prefix(err, "%s", what);
        }
        if (k && !k->refuse) continue;
        if (k) return error_set(err, "%s: %s: %s", what, k->name, k->refuse);
        nearest_begin(&near, name);
        for (k = keys; k->name; k++) nearest_offer(&near, k->name);
        if (nearest_result(&near))
            return error_set(err, "%s: unknown item '%s'; did you mean '%s'?", what, name, near.best);
        return error_set(err, "%s: unknown item '%s'", what, name);
    }
    return 0;
}

int value_bool(const char *what, const char *text, bool *value, struct error *err)
{
    static const char *const yes[] = { "on", "yes", "true", "y" }, *const no[] = { "off", "no", "false", "n" };

    for (unsigned i = 0; i < 4; i++) {
        if (!strcmp(text, yes[i])) *value = true;
        else if (!strcmp(text, no[i])) *value = false;
        else continue;
        return 0;
    }
    return error_set(err, "%s wants on or off, not '%s'", what, text);
}

int value_unsigned(const char *what, const char *text, uint64_t max, uint64_t *value, struct error *err)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 0);
    if (!isdigit((unsigned char)*text) || *end || errno)
        return error_set(err, "%s wants a number, not '%s'", what, text);
    if (*value > max) return error_set(err, "%s: %s is too much; at most %llu", what, text, (unsigned long long)max);
    return 0;
}

int value_size(const char *what, const char *text, uint64_t default_unit, uint64_t *bytes, struct error *err)
{
    static const char units[] = "bkmgtpe";
    double number, unit = (double)default_unit;
    const char *u;
    char *end;

    number = strtod(text, &end);
    if (!isdigit((unsigned char)*text) || end == text || !isfinite(number))
        return error_set(err, "%s wants a size such as 512M or 2G, not '%s'", what, text);
    if (*end && (u = strchr(units, tolower((unsigned char)*end)))) {
        unit = ldexp(1.0, 10 * (int)(u - units));
        end++;
    }
    if (*end) return error_set(err, "%s wants a size such as 512M or 2G, not '%s'", what, text);
    if (number * unit >= ldexp(1.0, 62)) return error_set(err, "%s: '%s' is beyond every machine", what, text);
    *bytes = (uint64_t)(number * unit);
    return 0;
}

int value_choice(const char *what, const char *text, const char *const *names, unsigned *index, struct error *err)
{
    struct nearest near;
    char all[400] = "";

    nearest_begin(&near, text);
    for (unsigned i = 0; names[i]; i++) {
        if (!strcmp(names[i], text)) {
            *index = i;
            return 0;
        }
        nearest_offer(&near, names[i]);
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "", names[i]);
    }
    if (nearest_result(&near))
        return error_set(err, "%s: unknown value '%s'; did you mean '%s'?", what, text, near.best);
    return error_set(err, "%s: unknown value '%s'; known are %s", what, text, all);
}
