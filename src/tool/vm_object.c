/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects that come and go while the machine is there: sources of random numbers for virtio-rng, secrets for images, limits for drives. They stand beside those of
 * -object; the strings of each have an arena of their own.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/machine.h"
#include "tool/vm_hotplug.h"
#include "tool/vm_throttle.h"
#include "tool/vm_virtio_private.h"

static int refused_check(const char *type, struct error *err)
{
    static const struct { const char *prefix, *why; } refused[] = {
        { "memory-backend-", "the guest's memory is what the machine began with" },
        { "tls-creds-", "those are for -object; start the machine with them" }, { "iothread", "disks have threads of their own always" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++)
        if (!strncmp(type, refused[i].prefix, strlen(refused[i].prefix)))
            return error_set(err, "'%s' cannot be added while the machine is there: %s; rng-random, rng-builtin, secret, throttle-group and filter-dump can", type, refused[i].why);
    return 0;
}

static int rng_find_id(const struct vm_options *o, const char *id)
{
    for (unsigned i = 0; i < o->rng_count; i++)
        if (!strcmp(o->rng[i].id, id)) return (int)i;
    return -1;
}

static int rng_add(struct vm_options *all, struct arena *a, const char *text, struct error *err)
{
    struct vm_options *o = calloc(1, sizeof(*o));
    int result;

    if (!o) return error_set(err, "no memory for an object");
    o->arena = a;
    result = option_object(o, text, err);
    if (result == 0 && all->rng_count == ARRAY_SIZE(all->rng)) result = error_set(err, "more than %zu random number sources", ARRAY_SIZE(all->rng));
    else if (result == 0) {
        const char *filename = o->rng[0].filename;

        all->rng[all->rng_count].id = o->rng[0].id;    /* each has a text of its own: by that a device is known to use it */
        all->rng[all->rng_count++].filename = filename ? arena_format(a, "%s", filename) : NULL;
    }
    free(o);
    return result;
}

/* 1: done, and nothing has to be kept. */
static int dump_add(struct machine *m, const struct option_list *l, struct error *err)
{
    struct net_dump_config d;
    const char *netdev;
    bool off;

    if (filter_dump_read(l, &d, &netdev, &off, err) < 0) return -1;
    if (off) return error_set(err, "object filter-dump: status=off would do nothing; add it when frames shall be written");
    return machine_dump_add(m, netdev, &d, err) < 0 ? -1 : 1;
}

static int object_take(struct vm_options *all, struct machine *m, struct arena *a, const char *text, const char **id, struct error *err)
{
    struct option_list l;
    const char *type;

    if (option_list_parse(&l, a, text, "qom-type", err) < 0) return -1;
    if (!l.count || strcmp(l.pair[0].key, "qom-type") || !strcmp(l.pair[0].value, "help")) return error_set(err, "a type is wanted: rng-random, rng-builtin, secret, throttle-group or filter-dump");
    type = l.pair[0].value;
    *id = option_list_get(&l, "id");
    if (!*id) return error_set(err, "object %s needs id=", type);
    if (refused_check(type, err) < 0 || id_check("object", "id", *id, err) < 0) return -1;
    if (rng_find_id(all, *id) >= 0 || secrets_has(&all->secrets, *id) || throttle_group_has(all, *id) || machine_dump_exists(m, *id))
        return error_set(err, "two objects have the id '%s'", *id);
    if (!strcmp(type, "filter-dump")) return dump_add(m, &l, err);
    if (!strcmp(type, "throttle-group")) return throttle_group_add(all, &l, err) == 0 ? 0 : -1;
    if (strcmp(type, "secret")) return rng_add(all, a, text, err);
    return option_list_apply(&l, "object secret", secret_keys, NULL, err) < 0 ? -1 : secrets_add(&all->secrets, &l, err);
}

int vm_object_add(void *options, struct machine *m, const char *text, struct error *err)
{
    struct vm_options *all = options;
    unsigned n = all->object_count;
    struct arena *a;
    int result;

    if (n == ARRAY_SIZE(all->object)) return error_set(err, "more than %zu objects", ARRAY_SIZE(all->object));
    a = arena_new();
    result = object_take(all, m, a, text, &all->object[n].id, err);
    if (result) {
        arena_free(a);
        return result < 0 ? -1 : 0;
    }
    all->object[n].arena = a;
    all->object_count++;
    return 0;
}

static bool rng_is_used(struct machine *m, const char *filename)
{
    const struct machine_config *c = machine_configuration(m);

    for (unsigned i = 0; i < c->virtio_count; i++)
        if (c->virtio[i].kind == VIRTIO_KIND_RNG && filename && c->virtio[i].rng.filename == filename) return true;
    return false;
}

static bool is_text(const char *a, const char *b) { return a && !strcmp(a, b); }

static bool group_is_used(struct machine *m, const char *id)
{
    const struct machine_config *c = machine_configuration(m);

    for (unsigned i = 0; i < c->drive_count; i++)
        if (c->drive[i].interface != DRIVE_IF_GONE && (is_text(c->drive[i].throttle_group, id) || is_text(c->drive[i].filter_group, id))) return true;
    return false;
}

/* Those of the command line leave their texts in its arena. */
static void texts_free(struct vm_options *all, const char *id)
{
    for (unsigned i = 0; i < all->object_count; i++) {
        struct arena *a = all->object[i].arena;

        if (strcmp(all->object[i].id, id)) continue;
        all->object[i] = all->object[--all->object_count];
        arena_free(a);
        return;
    }
}

int vm_object_del(void *options, struct machine *m, const char *id, struct error *err)
{
    struct vm_options *all = options;
    int i = rng_find_id(all, id);

    if (machine_dump_del(m, id)) return 0;
    if (i < 0 && !secrets_has(&all->secrets, id) && !throttle_group_has(all, id)) return error_set(err, "object '%s' not found", id);
    if ((i >= 0 && rng_is_used(m, all->rng[i].filename)) || (throttle_group_has(all, id) && group_is_used(m, id))) return error_set(err, "object '%s' is in use, can not be deleted", id);
    if (i >= 0) all->rng[i] = all->rng[--all->rng_count];
    else if (throttle_group_has(all, id)) throttle_group_remove(all, id);
    else secrets_remove(&all->secrets, id);
    texts_free(all, id);
    return 0;
}

void vm_objects_free(struct vm_options *all)
{
    for (unsigned i = 0; i < all->object_count; i++) arena_free(all->object[i].arena);
    all->object_count = 0;
}
