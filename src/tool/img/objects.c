/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --object of 'ospite img': the same objects as those of 'ospite nbd', looked up when an image asks for one. */
#include "tool/img/img_private.h"

#include <string.h>

#include "block/nbd_tls.h"
#include "tool/nbd_options.h"

struct img_objects {
    struct nbd_tool tool;           /* holds the objects as given */
    struct { const char *id; struct nbd_tls *tls; } tls[IMG_OBJECTS];
};

static struct img_objects *objects_of(const struct block_objects *o)
{
    return container_of((struct block_objects *)(uintptr_t)o, struct img_objects, tool.secrets.interface);
}

static struct nbd_tls *tls_get(const struct block_objects *interface, const char *id, struct error *err)
{
    struct img_objects *o = objects_of(interface);
    for (unsigned i = 0; i < o->tool.objects; i++) {
        if (strcmp(o->tool.object[i].id, id))
            continue;
        o->tool.tls_creds = id;
        if (!o->tls[i].tls && nbd_objects_tls(&o->tool, false, &o->tls[i].tls, err))
            return NULL;
        return o->tls[i].tls;
    }
    error_set(err, "no --object has the id '%s'", id);
    return NULL;
}

int img_objects_make(struct img_common *c, struct error *err)
{
    if (!c->object.count)
        return 0;
    struct img_objects *o = c->objects = calloc(1, sizeof(*o));
    if (!o)
        return error_set(err, "out of memory");
    o->tool.secrets.interface.tls = tls_get;
    o->tool.arena = c->arena;
    for (unsigned i = 0; i < c->object.count; i++) {
        struct nbd_object *item = &o->tool.object[o->tool.objects++];
        if (option_list_parse(&item->list, c->arena, c->object.text[i], "qom-type", err))
            return error_prefix(err, "--object");
        item->type = option_list_get(&item->list, "qom-type");
        item->id = option_list_get(&item->list, "id");
        if (!item->type || !item->id)
            return error_set(err, "--object: write TYPE,id=NAME,...");
    }
    return nbd_objects_check(&o->tool, err);
}

const struct block_objects *img_objects_of(struct img_common *c)
{
    return c->objects ? &c->objects->tool.secrets.interface : NULL;
}

void img_objects_free(struct img_common *c)
{
    struct img_objects *o = c->objects;
    for (unsigned i = 0; o && i < IMG_OBJECTS; i++)
        nbd_tls_free(o->tls[i].tls);
    if (o)
        secrets_free(&o->tool.secrets);
    free(o);
    c->objects = NULL;
}
