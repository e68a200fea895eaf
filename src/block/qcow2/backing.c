/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Another backing file in the header. */
#include "block/qcow2/qcow2_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int change_locked(struct qcow2 *q, const char *backing, const char *format)
{
    char old[sizeof(q->backing)], old_format[sizeof(q->backing_format)];
    uint64_t offset = q->backing_offset;
    uint32_t length = q->backing_length;
    memcpy(old, q->backing, sizeof(old));
    memcpy(old_format, q->backing_format, sizeof(old_format));
    strcpy(q->backing, backing ? backing : "");
    strcpy(q->backing_format, backing && *backing && format ? format : "");
    int r = qcow2_header_rewrite(q);
    if (r) {
        memcpy(q->backing, old, sizeof(old));
        memcpy(q->backing_format, old_format, sizeof(old_format));
        q->backing_offset = offset;
        q->backing_length = length;
    }
    return r;
}

int qcow2_backing_change(struct block_node *n, const char *backing, const char *backing_format, struct error *err)
{
    struct qcow2 *q = n->state;
    if (backing && strlen(backing) >= sizeof(q->backing))
        return error_set(err, "'%s': the name of a backing file has at most %zu bytes", n->filename, sizeof(q->backing) - 1);
    if (backing_format && strlen(backing_format) >= sizeof(q->backing_format))
        return error_set(err, "'%s': the format name '%s' is too long", n->filename, backing_format);
    int r = qcow2_write_begin(q);
    if (r)
        return error_set(err, "'%s' cannot be written: %s", n->filename, strerror(-r));
    pthread_mutex_lock(&q->lock);
    r = change_locked(q, backing, backing_format);
    pthread_mutex_unlock(&q->lock);
    if (r == -ENOSPC)
        return error_set(err, "'%s': its first cluster (%llu bytes) has no room for this name; use a shorter one", n->filename,
                         (unsigned long long)q->cluster_size);
    return r ? error_set(err, "'%s': the header cannot be written: %s", n->filename, strerror(-r)) : 0;
}
