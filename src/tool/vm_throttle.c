/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits on I/O: of -drive, and of groups of drives, -object throttle-group. */
#include "tool/vm_throttle.h"

#include <stdio.h>

#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/nearest.h"
#include "tool/vm_options_private.h"

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
    return given && block_limits_check(limits, err) < 0 ? -1 : 0;
}

/* ---- groups ---- */

static const char *const properties[] = { "x-", "limits." };         /* QEMU has both: properties of their own, and members of one */
#define GROUP_PREFIX "throttling."

static const char *key_tail(const char *key)
{
    for (unsigned i = 0; i < ARRAY_SIZE(properties); i++)
        if (!strncmp(key, properties[i], strlen(properties[i]))) return key + strlen(properties[i]);
    return NULL;
}

static void name_offer(const char *name, void *near) { nearest_offer(near, name); }
static void name_print(const char *name, void *unused) { printf("  %s=<value>\n", name); }

static void names_all(struct arena *a, const char *property, void (*fn)(const char *name, void *opaque), void *opaque)
{
    const struct row *table[] = { averages, maxima, lengths };

    for (unsigned t = 0; t < ARRAY_SIZE(table); t++)
        for (unsigned i = 0; i < LIMITS; i++) fn(arena_format(a, "%s%s", property, table[t][i].name + strlen(GROUP_PREFIX)), opaque);
    fn(arena_format(a, "%siops-size", property), opaque);
}

static int key_unknown(struct vm_options *o, const char *key, struct error *err)
{
    struct nearest near;

    nearest_begin(&near, key);
    for (unsigned i = 0; i < ARRAY_SIZE(properties); i++) names_all(o->arena, properties[i], name_offer, &near);
    if (nearest_result(&near)) return error_set(err, "-object throttle-group: unknown item '%s'; did you mean '%s'?", key, near.best);
    return error_set(err, "-object throttle-group: unknown item '%s'; '-object throttle-group,help' lists them", key);
}

static int group_read(struct vm_options *o, const struct option_list *l, const char **id, struct block_limits *limits, struct error *err)
{
    for (unsigned i = 0; i < LIMITS; i++) limits->limit[i].burst_s = 1;
    for (unsigned i = 0; i < l->count; i++) {
        const char *key = l->pair[i].key, *tail = key_tail(key);
        uint64_t *number = tail ? number_of(limits, arena_format(o->arena, GROUP_PREFIX "%s", tail)) : NULL;

        if (!strcmp(key, "id")) *id = l->pair[i].value;
        else if (number && value_unsigned(key, l->pair[i].value, INT64_MAX, number, err) < 0) return error_prefix(err, "-object throttle-group");
        else if (!number && strcmp(key, "qom-type")) return key_unknown(o, key, err);
    }
    return block_limits_check(limits, err) < 0 ? error_prefix(err, "-object throttle-group") : 0;
}

static int group_find(const struct vm_options *o, const char *id)
{
    for (unsigned i = 0; i < o->throttle_group_count; i++)
        if (!strcmp(o->throttle_group[i].id, id)) return (int)i;
    return -1;
}

struct block_limits *throttle_group_limits(struct vm_options *o, const char *id)
{
    int i = group_find(o, id);

    return i < 0 ? NULL : &o->throttle_group[i].limits;
}

bool throttle_group_has(const struct vm_options *o, const char *id) { return group_find(o, id) >= 0; }

int throttle_group_add(struct vm_options *o, const struct option_list *l, struct error *err)
{
    struct block_limits limits = { .op_bytes = 0 };
    const char *id = NULL;

    if (option_list_wants_help(l)) {
        printf("throttle-group options:\n");
        for (unsigned i = 0; i < ARRAY_SIZE(properties); i++) names_all(o->arena, properties[i], name_print, NULL);
        return VM_OPTIONS_HELP_SHOWN;
    }
    if (group_read(o, l, &id, &limits, err) < 0) return -1;
    if (!id) return error_set(err, "-object throttle-group needs id=");
    if (o->throttle_group_count == ARRAY_SIZE(o->throttle_group)) return error_set(err, "-object: more than %zu of throttle-group", ARRAY_SIZE(o->throttle_group));
    o->throttle_group[o->throttle_group_count].id = id;
    o->throttle_group[o->throttle_group_count++].limits = limits;
    return 0;
}

void throttle_group_remove(struct vm_options *o, const char *id)
{
    int i = group_find(o, id);

    if (i >= 0) o->throttle_group[i] = o->throttle_group[--o->throttle_group_count];
}

int throttle_group_join(const struct vm_options *o, struct drive_config *d, struct error *err)
{
    int i = d->throttle_group && !block_limits_any(&d->limits) ? group_find(o, d->throttle_group) : 0;

    if (!d->throttle_group || block_limits_any(&d->limits)) return 0;
    if (i < 0) return error_set(err, "group=%s: a group of drives shares limits, and there is none here; give one, for example iops=100, or -object throttle-group,id=%s", d->throttle_group,
                                d->throttle_group);
    d->limits = o->throttle_group[i].limits;
    return 0;
}
