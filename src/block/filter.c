/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filters: nodes without an image, which hand every request on to the node below (request.c does it for those of devices, the functions here for the
 * synchronous ones). What a filter does to requests are the limits that the node itself has, see throttle.h.
 */
#include "block/block_private.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int filter_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt) { return block_node_preadv(n->below, offset, iov, iovcnt); }
static int filter_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt) { return block_node_pwritev(n->below, offset, iov, iovcnt); }
static int filter_flush(struct block_node *n) { return block_node_flush(n->below); }
static int filter_discard(struct block_node *n, uint64_t offset, uint64_t length) { return block_node_discard(n->below, offset, length); }
static int filter_extent(struct block_node *n, uint64_t offset, uint64_t length, struct block_extent *extent) { return block_extent_get(n->below, offset, length, extent); }
static int64_t filter_allocated(struct block_node *n) { return block_allocated_bytes(n->below); }

static void filter_close(struct block_node *n)
{
    free(n->state);
    n->state = NULL;
}

static int filter_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap)
{
    return block_node_write_zeroes(n->below, offset, length, may_unmap);
}

static int filter_resize(struct block_node *n, uint64_t size, enum block_preallocation preallocation, struct error *err)
{
    if (block_resize(n->below, size, preallocation, err)) return -1;
    n->size = n->below->size;
    return 0;
}

static const struct block_format filter = {
    .name = "throttle", .close = filter_close, .preadv = filter_preadv, .pwritev = filter_pwritev, .flush = filter_flush, .discard = filter_discard,
    .write_zeroes = filter_write_zeroes, .extent = filter_extent, .allocated = filter_allocated, .resize = filter_resize,
};

/* How the node below would be written in a json: name. */
static json_t *description(const struct block_node *n)
{
    if (n->below) return json_pack("{s:s, s:s, s:o}", "throttle-group", n->state, "driver", n->format->name, "file", description(n->below));
    return json_pack("{s:s, s:{s:s, s:s}}", "driver", n->format->name, "file", "driver", n->file ? n->file->ops->name : "file", "filename", n->filename);
}

static char *name_make(const struct block_node *n)
{
    json_t *all = description(n);
    char *text = all ? json_dumps(all, 0) : NULL, *name = NULL;

    if (!text || asprintf(&name, "json:%s", text) < 0) name = NULL;
    free(text);
    json_decref(all);
    return name ? name : strdup("json:{}");              /* a name that is no UTF-8 */
}

struct block_node *block_filter_new(struct block_node *below, const char *group, const struct block_open_options *o, struct error *err)
{
    struct block_node *n = calloc(1, sizeof(*n));

    if (n) {
        n->format = &filter;
        n->below = below;
        n->objects = below->objects;
        block_filter_update(n, group, o);
        if (n->state && n->filename) return n;
        free(n->state);
        free(n->filename);
        free(n);
    }
    error_set(err, "no memory for a filter");
    return NULL;
}

struct block_node *block_filter_below(const struct block_node *n) { return n->below; }

/* Without memory the old name stays. */
static void text_replace(char **old, char *text)
{
    if (!text) return;
    free(*old);
    *old = text;
}

void block_filter_update(struct block_node *n, const char *group, const struct block_open_options *o)
{
    char *state = n->state;

    if (group) text_replace(&state, strdup(group));
    n->state = state;
    text_replace(&n->filename, state ? name_make(n) : NULL);
    n->size = n->below->size;
    n->cluster_bytes = n->below->cluster_bytes;
    if (!o) return;
    n->readonly = o->readonly || n->below->readonly;
    n->discard = o->discard;
    n->detect_zeroes = o->detect_zeroes;
}
