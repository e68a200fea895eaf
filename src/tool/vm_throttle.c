/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits on I/O of -drive. */
#include "tool/vm_throttle.h"

#include <string.h>

#include "base/bits.h"
#include "base/error.h"

struct row { const char *old, *name; enum block_limited limit; };
#define ROW(old, name, limit) { old, name, limit },

static const struct row averages[] = { THROTTLE_NAMES(ROW) }, maxima[] = { THROTTLE_MAX_NAMES(ROW) }, lengths[] = { THROTTLE_LENGTH_NAMES(ROW) };

static bool is_key(const char *key, const char *old, const char *name) { return !strcmp(key, old) || !strcmp(key, name); }

/* The number that a key of this table sets; NULL: it is none of them. */
static uint64_t *number_of(struct block_limits *l, const char *key)
{
    for (unsigned i = 0; i < LIMITS; i++) {
        if (is_key(key, averages[i].old, averages[i].name)) return &l->limit[averages[i].limit].average;
        if (is_key(key, maxima[i].old, maxima[i].name)) return &l->limit[maxima[i].limit].maximum;
        if (is_key(key, lengths[i].old, lengths[i].name)) return &l->limit[lengths[i].limit].burst_s;
    }
    return is_key(key, "iops_size", "throttling.iops-size") ? &l->op_bytes : NULL;
}

int throttle_parse(const struct option_list *l, struct block_limits *limits, const char **group, struct error *err)
{
    bool given = false;

    for (unsigned i = 0; i < LIMITS; i++) limits->limit[i].burst_s = 1;
    for (unsigned i = 0; i < l->count; i++) {
        const char *key = l->pair[i].key, *value = l->pair[i].value;
        uint64_t *number = number_of(limits, key);

        if (is_key(key, "group", "throttling.group")) *group = value;
        if (number && value_unsigned(key, value, INT64_MAX, number, err) < 0) return -1;
        given |= number != NULL;
    }
    if (given && block_limits_check(limits, err) < 0) return -1;
    if (*group && !block_limits_any(limits)) return error_set(err, "group=%s: a group of drives shares limits, and there is none here; give one, for example iops=100", *group);
    return 0;
}
