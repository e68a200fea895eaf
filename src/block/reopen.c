/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image with other options under a node that stays where it is, since devices hold it: read-only or not, other caches, another backing
 * file. Two descriptors of one process are two to the locks, so an image that may be written cannot be open twice. It is tried first, for
 * reading and without locks, as a closed one would lie there, then closed and opened; what the trial did not find brings the old options back.
 */
#include "block/block_private.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

static int try_it(const struct block_node *n, const struct block_open_options *o, struct error *err)
{
    struct block_open_options trial = *o;
    struct block_node *t;
    uint64_t size;

    trial.readonly = trial.no_lock = true;
    t = block_open(&trial, err);
    if (!t)
        return -1;
    size = t->size;
    block_close(t);
    return size == n->size ? 0 : error_set(err, "'%s' has %llu bytes and would have %llu; a disk's size is changed by block_resize", n->filename,
                                           (unsigned long long)n->size, (unsigned long long)size);
}

static void image_drop(struct block_node *n)
{
    struct block_node empty = { .overlay_of = n->overlay_of, .stats = n->stats, .size = n->size, .done_anywhere = n->done_anywhere };

    memcpy(empty.throttled, n->throttled, sizeof(empty.throttled));
    block_node_image_close(n);
    free(n->key_secret);
    free(n->filename);
    *n = empty;
}

/* The node has no image now. */
static void put_back(struct block_node *n, const struct block_open_options *before, char *name)
{
    struct error why = { 0 };

    if (block_node_open_into(n, before, &why) == 0)
        return;
    log_message("'%s' is lost to the guest: it cannot be opened again: %s", name, why.text);
    n->filename = strdup(name);
    block_node_forsake(n);
}

int block_reopen(struct block_node *n, const struct block_open_options *o, const struct block_open_options *before, struct error *err)
{
    uint64_t size = n->size;
    char *name = strdup(n->filename);
    int r;

    if (!name)
        return error_set(err, "out of memory");
    if (n->queue)
        block_queue_close(n->queue);
    n->queue = NULL;
    r = n->readonly ? 0 : n->format->flush(n);
    if (!r && !n->readonly && n->format->rest)
        r = n->format->rest(n);
    if (r)
        error_set(err, "'%s' cannot be written: %s", n->filename, strerror(-r));
    if (!r && !(r = try_it(n, o, err))) {
        image_drop(n);
        r = block_node_open_into(n, o, err);
        if (r)
            put_back(n, before, name);
        n->size = r && block_is_abandoned(n) ? size : n->size;
    }
    free(name);
    return r ? -1 : 0;
}
