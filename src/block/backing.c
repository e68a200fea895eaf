/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Backing files, for all formats that have them: opened read-only under the name that the image records, which counts from the
 * image's own directory, or as the options say, whatever is recorded (block_open_options.backing). An image is looked for among those above it before it is opened, so that loops end at once.
 */
#include "block/block_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int chain_check(struct block_node *top, const struct block_protocol *file, const char *name, struct error *err)
{
    for (struct block_node *n = top; n; n = n->overlay_of)
        if (n->file->dev == file->dev && n->file->ino == file->ino && n->file->fd >= 0)
            return error_set(err, "its chain of backing files loops at '%s'; set another with 'ospite img rebase -u'", name);
    return 0;
}

static int chain_depth_check(struct block_node *top, struct error *err)
{
    unsigned depth = 0;
    for (struct block_node *n = top; n; n = n->overlay_of)
        depth++;
    return depth >= BLOCK_CHAIN_MAX ? error_set(err, "its chain of backing files has more than %d members; shorten it "
                                                "with 'ospite img commit' or 'rebase'", BLOCK_CHAIN_MAX) : 0;
}

/* A loop would be found only after the chain's end was reached, so it is looked for before the file is opened. */
static int loop_check(struct block_node *n, const char *path, struct error *err)
{
    const struct block_file_options o = { .readonly = true, .no_lock = true };
    struct block_protocol *p = strncmp(path, "json:", 5) ? block_protocol_open(path, NULL, NULL, &o, NULL) : NULL;
    if (!p)
        return 0;                   /* the proper open tells why */
    int r = chain_check(n, p, path, err);
    p->ops->close(p);
    return r;
}

/* The same file at two places of a chain is a loop, also when options lead there. */
static int given_open(struct block_node *n, struct error *err)
{
    struct block_open_options o = *n->opening->backing;
    o.readonly = true;
    o.no_lock |= n->no_lock;
    o.force_share |= n->force_share;
    o.no_key |= n->opening->no_key;
    if (chain_depth_check(n, err))
        return -1;
    n->backing = block_node_open(&o, n, err);
    if (!n->backing)
        return -ENOENT;
    return chain_check(n, n->backing->file, n->backing->filename, err);
}

int block_node_backing_open(struct block_node *n, const char *name, const char *format, struct error *err)
{
    int r = -1;
    bool named = name && *name;
    if (n->opening->backing && !n->backing)
        return given_open(n, err);
    if (!named && n->opening->backing_options)
        return error_set(err, "it has no backing file for 'backing.%s'", n->opening->backing_options->item[0].key);
    if (!named || n->backing || n->opening->no_backing)
        return 0;
    char *path = block_path_join(n->filename, name);
    if (!path)
        return error_set(err, "out of memory");
    const struct block_open_options o = {
        .filename = path, .format = format && *format ? format : NULL, .readonly = true,
        .options = n->opening->backing_options, .no_key = n->opening->no_key,
        .no_lock = n->no_lock, .force_share = n->force_share, .objects = n->opening->objects,
        .cache = n->direct ? BLOCK_CACHE_NONE : BLOCK_CACHE_WRITEBACK,
    };
    if (!chain_depth_check(n, err) && !loop_check(n, path, err)) {
        n->backing = block_node_open(&o, n, err);
        if (!n->backing && !n->overlay_of)
            error_prefix(err, "a backing file is not to be had");
        r = n->backing ? 0 : -ENOENT;
    }
    free(path);
    return r;
}

int block_node_open_fail(struct block_node *n, int r, struct error *err)
{
    block_close(n->backing);
    n->backing = NULL;
    return r == -ENOENT && n->overlay_of ? -1 : error_prefix(err, "cannot open '%s'", n->filename);
}
