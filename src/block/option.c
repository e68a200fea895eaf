/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options as text: looking up, checking by type against a format's table, and turning into values. See option.h. */
#include "block/option.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/nearest.h"

const char *block_option_get(const struct block_option_set *set, const char *key)
{
    for (unsigned i = set ? set->count : 0; i-- > 0;)
        if (!strcmp(set->item[i].key, key))
            return set->item[i].value;
    return NULL;
}

static int bool_parse(const char *key, const char *text, bool *value, struct error *err)
{
    static const char *const yes[] = { "on", "yes", "true", "y" }, *const no[] = { "off", "no", "false", "n" };
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        if (!strcmp(text, yes[i]))
            *value = true;
        else if (!strcmp(text, no[i]))
            *value = false;
        else
            continue;
        return 0;
    }
    return error_set(err, "%s wants on or off, not '%s'", key, text);
}

static int number_parse(const char *key, const char *text, uint64_t max, uint64_t *value, struct error *err)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 0);
    if (!isdigit((unsigned char)*text) || *end || errno)
        return error_set(err, "%s wants a number, not '%s'", key, text);
    if (n > max)
        return error_set(err, "%s: %s is too much, at most %llu", key, text, (unsigned long long)max);
    *value = n;
    return 0;
}

/* "1.5" without a unit is no number of bytes. */
int block_size_parse(const char *text, uint64_t *bytes, struct error *err)
{
    static const char units[] = "bkmgtpe";
    unsigned shift = 0;
    char *end, *dot_end;
    errno = 0;
    unsigned long long whole = strtoull(text, &end, 0);
    if (!isdigit((unsigned char)*text))
        return error_set(err, "'%s' is no size; write one like 512M or 20G", text);
    bool overflow = errno == ERANGE;
    double fraction = *end == '.' ? strtod(end, &dot_end) : 0;
    bool has_fraction = *end == '.';
    if (has_fraction)
        end = dot_end;
    const char *u = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
    if (u) {
        shift = 10 * (unsigned)(u - units);
        end++;
    }
    if (*end || (has_fraction && (!u || !shift)))
        return error_set(err, "'%s' is no size; write one like 512M or 20G (units b, k, M, G, T, P, E)", text);
    if (overflow || whole >= (BIT(63) >> shift))
        return error_set(err, "'%s' is too large, images have less than 8 EiB", text);
    *bytes = (whole << shift) + (uint64_t)ldexp(fraction, (int)shift);
    return 0;
}

int block_option_bool(const struct block_option_set *set, const char *key, bool *value, struct error *err)
{
    const char *text = block_option_get(set, key);
    return text ? bool_parse(key, text, value, err) : 0;
}

int block_option_number(const struct block_option_set *set, const char *key, uint64_t max, uint64_t *value,
                        struct error *err)
{
    const char *text = block_option_get(set, key);
    return text ? number_parse(key, text, max, value, err) : 0;
}

int block_option_size(const struct block_option_set *set, const char *key, uint64_t *value, struct error *err)
{
    const char *text = block_option_get(set, key);
    return text && block_size_parse(text, value, err) ? error_prefix(err, "%s", key) : 0;
}

int block_option_choice(const struct block_option_set *set, const char *key, const char *const *names, unsigned *index,
                        struct error *err)
{
    const char *text = block_option_get(set, key);
    char all[256] = "";
    for (unsigned i = 0; text && names[i]; i++) {
        if (!strcmp(text, names[i])) {
            *index = i;
            return 0;
        }
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "", names[i]);
    }
    return text ? error_set(err, "%s: unknown value '%s'; known are %s", key, text, all) : 0;
}

int block_option_preallocation(const struct block_option_set *set, unsigned allowed, enum block_preallocation *mode,
                               struct error *err)
{
    static const char *const names[] = { "off", "metadata", "falloc", "full", NULL };
    unsigned i = *mode;
    char all[64] = "";
    if (block_option_choice(set, "preallocation", names, &i, err))
        return -1;
    for (unsigned k = 0; !(allowed >> i & 1) && names[k]; k++)
        if (allowed >> k & 1)
            snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", *all ? ", " : "", names[k]);
    if (!(allowed >> i & 1))
        return error_set(err, "preallocation=%s is not possible here; possible are %s", names[i], all);
    *mode = (enum block_preallocation)i;
    return 0;
}

static int value_check(const struct block_option *o, const char *text, struct error *err)
{
    uint64_t number;
    bool flag;
    switch (o->type) {
    case BLOCK_OPTION_BOOL:
        return bool_parse(o->name, text, &flag, err);
    case BLOCK_OPTION_NUMBER:
        return number_parse(o->name, text, UINT64_MAX, &number, err);
    case BLOCK_OPTION_SIZE:
        return block_size_parse(text, &number, err) ? error_prefix(err, "%s", o->name) : 0;
    default:
        return 0;
    }
}

int block_options_check(const struct block_option_set *set, const struct block_option *table, const char *what,
                        struct error *err)
{
    for (unsigned i = 0; set && i < set->count; i++) {
        const struct block_option *o = table;
        struct nearest near;
        nearest_begin(&near, set->item[i].key);
        for (; o && o->name && strcmp(o->name, set->item[i].key); o++)
            nearest_offer(&near, o->name);
        if (o && o->name) {
            if (value_check(o, set->item[i].value, err))
                return -1;
        } else if (nearest_result(&near)) {
            return error_set(err, "%s has no option '%s'; did you mean '%s'?", what, set->item[i].key, near.best);
        } else {
            return error_set(err, "%s has no option '%s'; '-o help' lists what it has", what, set->item[i].key);
        }
    }
    return 0;
}
