/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * snapshot=on: an unlinked temporary qcow2 image over a node; the kernel drops it with the descriptor. What a guest writes to an
 * encrypted disk is not to lie on the host's in clear: then the temporary image is encrypted too.
 */
#include "block/qcow2/crypt.h"

#include <stdlib.h>
#include <string.h>

static bool is_encrypted(const struct block_node *n)
{
    while (n && !n->key_secret)
        n = n->backing;
    return n;
}

struct block_node *qcow2_overlay_open(struct block_node *base, const struct block_open_options *o, struct error *err)
{
    const struct qcow2_create_options create = { .size_bytes = base->size, .version = 3, .cluster_bits = 16,
                                                 .refcount_order = 4 };
    const struct block_open_options open = { .filename = base->filename, .format = "qcow2", .no_lock = true,
                                             .cache = BLOCK_CACHE_UNSAFE, .discard = o->discard };
    char *name = strdup(base->filename);
    struct block_protocol *file = name ? block_file_temporary(err) : NULL;
    if (file && qcow2_create(file, &create, err)) {
        file->ops->close(file);
        file = NULL;
    }
    struct block_node *n = file ? block_node_open_over(file, &open, NULL, err) : NULL;
    int r = n && is_encrypted(base) ? qcow2_crypt_temporary(n->state) : 0;
    if (r) {
        error_set(err, "a key for the temporary image cannot be made: %s", strerror(-r));
        block_close(n);
        n = NULL;
    }
    if (!n) {
        free(name);
        return NULL;
    }
    n->backing = base;
    base->overlay_of = n;
    free(n->filename);
    n->filename = name;
    return n;
}
