/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another backing file in the header. The new name goes where the old one is not, and is on the disk before one write of
 * the header and its extensions switches over, so that a crash leaves either name whole. Extensions that are not ours
 * to change are kept as they are.
 */
#include "block/qcow2/qcow2_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EXT_BACKING_FORMAT 0xe2792acau

struct head {
    uint8_t *old, *new;             /* the first cluster */
    uint64_t end;                   /* of the new extensions */
    uint64_t name_offset;
};

static int extension_put(const struct qcow2 *q, struct head *h, uint32_t type, const void *data, uint32_t length)
{
    be32 raw[2] = { be32_make(type), be32_make(length) };
    uint64_t padded = ALIGN_UP((uint64_t)length, 8ull);
    if (h->end + 8 + padded > q->cluster_size)
        return -ENOSPC;
    memcpy(h->new + h->end, raw, sizeof(raw));
    memset(h->new + h->end + 8, 0, padded);
    memcpy(h->new + h->end + 8, data, length);
    h->end += 8 + padded;
    return 0;
}

/* The format of the new backing file, and all that is not the format of the old one. */
static int extensions_make(const struct qcow2 *q, struct head *h, const char *format)
{
    uint64_t limit = q->backing_offset && q->backing_offset < q->cluster_size ? q->backing_offset : q->cluster_size;
    int r = format ? extension_put(q, h, EXT_BACKING_FORMAT, format, (uint32_t)strlen(format)) : 0;
    for (uint64_t at = q->header_length; !r && at + 8 <= limit;) {
        be32 raw[2];
        memcpy(raw, h->old + at, sizeof(raw));
        uint32_t type = be32_get(raw[0]), length = be32_get(raw[1]);
        if (!type)
            break;
        if (length > limit - at - 8)
            return -EINVAL;
        if (type != EXT_BACKING_FORMAT)
            r = extension_put(q, h, type, h->old + at + 8, length);
        at += 8 + ALIGN_UP((uint64_t)length, 8ull);
    }
    return r ? r : extension_put(q, h, 0, "", 0);
}

/* Behind the extensions, and behind the old name where that still is in the way. */
static int name_place(const struct qcow2 *q, struct head *h, size_t length)
{
    uint64_t old_end = q->backing_offset + q->backing_length;
    h->name_offset = h->end;
    if (q->backing_offset < h->end + length && h->end < old_end && old_end + length <= q->cluster_size)
        h->name_offset = old_end;
    return h->name_offset + length <= q->cluster_size ? 0 : -ENOSPC;
}

static int head_write(struct qcow2 *q, struct head *h, const char *backing, size_t length)
{
    struct qcow2_header fields;
    memcpy(&fields, h->new, sizeof(fields));
    fields.backing_offset = be64_make(length ? h->name_offset : 0);
    fields.backing_length = be32_make((uint32_t)length);
    memcpy(h->new, &fields, q->version == 2 ? 72 : MIN(sizeof(fields), (size_t)q->header_length));
    int r = length ? block_protocol_pwrite(q->file, h->name_offset, backing, length) : 0;
    if (!r)
        r = block_protocol_flush(q->file);
    if (!r)
        r = block_protocol_pwrite(q->file, 0, h->new, h->end);
    return r ? r : block_protocol_flush(q->file);
}

static int change_locked(struct qcow2 *q, const char *backing, const char *format)
{
    size_t length = backing ? strlen(backing) : 0;
    struct head h = { .old = malloc(q->cluster_size), .new = malloc(q->cluster_size), .end = q->header_length };
    int r = h.old && h.new ? block_protocol_pread(q->file, 0, h.old, q->cluster_size) : -ENOMEM;
    if (!r)
        memcpy(h.new, h.old, q->cluster_size);
    if (!r)
        r = extensions_make(q, &h, length ? format : NULL);
    if (!r)
        r = name_place(q, &h, length);
    if (!r)
        r = head_write(q, &h, backing, length);
    if (!r) {
        q->backing_offset = length ? h.name_offset : 0;
        q->backing_length = (uint32_t)length;
        memcpy(q->backing, length ? backing : "", length + 1);
        strcpy(q->backing_format, length && format ? format : "");
    }
    free(h.old);
    free(h.new);
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
