/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ids of the command line and the monitors: which texts are some, and that a device's or an object's is given once. */
#include <string.h>

#include "base/error.h"
#include "tool/vm_options_private.h"

struct vm_id {
    struct vm_id *next;
    const char *id;
};

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* As QEMU's. */
int id_check(const char *option, const char *key, const char *id, struct error *err)
{
    if (!id || (*id && strchr(LETTERS, *id) && !id[strspn(id, LETTERS "0123456789-._")])) return 0;
    return error_set(err, "%s: %s=%s: it begins with a letter; letters, digits, '-', '.' and '_' follow", option, key, id);
}

int id_take(struct vm_options *o, struct vm_id **taken, const char *what, const struct option_list *l, struct error *err)
{
    const char *id = option_list_get(l, "id");
    struct vm_id *v;

    if (!id) return 0;
    if (id_check(arena_format(o->arena, "-%s", what), "id", id, err) < 0) return -1;
    for (v = *taken; v; v = v->next)
        if (!strcmp(v->id, id)) return error_set(err, "two %ss have the id '%s'", what, id);
    v = arena_room(o->arena, sizeof(*v));
    *v = (struct vm_id){ *taken, id };
    *taken = v;
    return 0;
}
