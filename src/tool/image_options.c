/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What --image-opts of the tools means: items for block_open, which knows the keys. */
#include "tool/image_options.h"

#include "base/error.h"

#include <string.h>

int image_options_parse(struct arena *arena, const char *text, struct block_option_set *set, struct error *err)
{
    struct option_list l;
    if (option_list_parse(&l, arena, text, NULL, err))
        return error_prefix(err, "--image-opts");
    struct block_option_value *item = arena_room(arena, OPTION_PAIRS * sizeof(*item));
    for (unsigned i = 0; i < l.count; i++) {
        if (l.pair[i].bare)
            return error_set(err, "--image-opts: '%s' has no '='; write driver=qcow2,file.filename=NAME", l.pair[i].key);
        item[i] = (struct block_option_value){ l.pair[i].key, l.pair[i].value };
    }
    *set = (struct block_option_set){ item, l.count };
    return 0;
}

const char *image_options_name(const struct block_option_set *set, const char *text)
{
    const char *name = block_option_get(set, "file.filename");
    if (!name)
        name = block_option_get(set, "filename");
    return name ? name : text;
}

const char *image_snapshot_name(struct arena *arena, const char *text, struct error *err)
{
    struct option_list l;
    if (strncmp(text, "snapshot.", 9))
        return text;
    if (option_list_parse(&l, arena, text, NULL, err))
        return NULL;
    const char *id = option_list_get(&l, "snapshot.id"), *name = option_list_get(&l, "snapshot.name");
    return id ? id : name ? name : text;
}
