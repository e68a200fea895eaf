/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New images for create, convert and dd: what -o means, what would be replaced, and the line that says what is made. */
#include "tool/img/img_private.h"

#include <stdlib.h>
#include <string.h>

int img_target_options(struct img_common *c, const struct img_texts *texts, struct block_create_options *o,
                       struct block_option_set *set, const char **size, bool *listed, struct error *err)
{
    bool help;
    *listed = false;
    if (!block_format_exists(o->format))
        return error_set(err, "unknown format '%s'; 'ospite img -h' lists the known ones", o->format);
    const struct block_option *table = block_create_table(o->format);
    if (!table)
        return error_set(err, "%s images can be read but not created; use qcow2", o->format);
    if (img_options_set(c, texts, set, &help, err))
        return -1;
    if (help) {
        printf("Supported %s options:\n", o->format);
        img_options_list(table, false);
        *listed = true;
        return 0;
    }
    *size = img_options_take(set, "size");
    const char *backing = img_options_take(set, "backing_file"), *format = img_options_take(set, "backing_fmt");
    if ((backing && o->backing) || (format && o->backing_format))
        return error_set(err, "the backing %s is given twice, as an option and with -o", backing ? "file" : "format");
    if (backing)
        o->backing = backing;
    if (format)
        o->backing_format = format;
    o->options = set;
    return 0;
}

void img_target_say(const struct img_common *c, const struct block_create_options *o)
{
    if (c->quiet)
        return;
    printf("Formatting '%s', fmt=%s size=%llu", o->filename, o->format, (unsigned long long)o->size_bytes);
    if (o->backing)
        printf(" backing_file=%s", o->backing);
    if (o->backing_format)
        printf(" backing_fmt=%s", o->backing_format);
    for (unsigned i = 0; o->options && i < o->options->count; i++)
        printf(" %s=%s", o->options->item[i].key, o->options->item[i].value);
    printf("\n");
}

static void replaced_say(const char *filename)
{
    char what[BLOCK_LOOK_BYTES];
    if (block_create_look(filename, what))
        log_message("img: '%s' holds %s, which is replaced", filename, what);
}

/* Under the name of the peer, what it would write over is written over, and said. */
int img_target_create(struct img_common *c, struct block_create_options *o, struct error *err)
{
    const char *data_file = block_option_get(o->options, "data_file");
    o->objects = img_objects_of(c);
    if (!c->old_name || o->force)
        return block_create_check(o, err) ? -1 : block_create(o, err);
    o->force = true;
    if (block_create_check(o, err))
        return -1;
    replaced_say(o->filename);
    char *data = data_file ? block_path_join(o->filename, data_file) : NULL;
    if (data)
        replaced_say(data);
    free(data);
    return block_create(o, err);
}
