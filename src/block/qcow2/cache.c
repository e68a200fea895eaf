/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Caches of L2 tables, refcount blocks and bits of dirty bitmaps, in slices of at most 4 KiB: a hash table over file offsets and a
 * list by last use. Slices are changed in memory and written back in the order that flush.c keeps; before a
 * changed L2 slice makes room for another, everything it relies on is written.
 */
#include "block/qcow2/qcow2_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int qcow2_cache_init(struct qcow2_cache *c, uint32_t slice_bytes, uint64_t bytes)
{
    c->slice_bytes = slice_bytes;
    c->count = (uint32_t)MAX(bytes / slice_bytes, 16ull);
    for (c->buckets = 16; c->buckets < c->count;)
        c->buckets *= 2;
    c->slices = calloc(c->count, sizeof(*c->slices));
    c->bucket = calloc(c->buckets, sizeof(*c->bucket));
    if (!c->slices || !c->bucket)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->count; i++) {
        c->slices[i].newer = i ? &c->slices[i - 1] : NULL;
        c->slices[i].older = i + 1 < c->count ? &c->slices[i + 1] : NULL;
    }
    c->newest = &c->slices[0];
    c->oldest = &c->slices[c->count - 1];
    return 0;
}

void qcow2_cache_destroy(struct qcow2_cache *c)
{
    for (uint32_t i = 0; c->slices && i < c->count; i++)
        free(c->slices[i].data);
    free(c->slices);
    free(c->bucket);
    *c = (struct qcow2_cache){ 0 };
}

static struct qcow2_slice **bucket_of(struct qcow2_cache *c, uint64_t offset)
{
    return &c->bucket[(offset / c->slice_bytes * 0x9e3779b97f4a7c15ull >> 32) & (c->buckets - 1)];
}

static void unlink_slice(struct qcow2_cache *c, struct qcow2_slice *s)
{
    *(s->newer ? &s->newer->older : &c->newest) = s->older;
    *(s->older ? &s->older->newer : &c->oldest) = s->newer;
}

static void make_newest(struct qcow2_cache *c, struct qcow2_slice *s)
{
    if (c->newest == s)
        return;
    unlink_slice(c, s);
    s->newer = NULL;
    s->older = c->newest;
    c->newest->newer = s;
    c->newest = s;
}

static void unhash(struct qcow2_cache *c, struct qcow2_slice *s)
{
    struct qcow2_slice **p = bucket_of(c, s->offset);
    while (*p != s)
        p = &(*p)->hash_next;
    *p = s->hash_next;
    if (s->dirty)
        c->dirty--;
    s->dirty = false;
    s->offset = 0;
}

void qcow2_cache_dirty(struct qcow2_cache *c, struct qcow2_slice *s)
{
    if (!s->dirty)
        c->dirty++;
    s->dirty = true;
}

static int slice_write(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_slice *s)
{
    int r = block_protocol_pwrite(q->file, s->offset, s->data, c->slice_bytes);
    if (r)
        return r;
    c->dirty--;
    s->dirty = false;
    if (c == &q->refcounts)
        qcow2_barrier_want(q);
    return 0;
}

static int offset_compare(const void *a, const void *b)
{
    const struct qcow2_slice *const *x = a, *const *y = b;
    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

/* Writes all changed slices, in file order. */
int qcow2_cache_write_locked(struct qcow2 *q, struct qcow2_cache *c)
{
    if (!c->dirty)
        return 0;
    uint32_t count = c->dirty, i = 0;
    struct qcow2_slice **list = calloc(count, sizeof(*list));
    if (!list)
        return -ENOMEM;
    for (uint32_t k = 0; k < c->count && i < count; k++)
        if (c->slices[k].dirty)
            list[i++] = &c->slices[k];
    qsort(list, count, sizeof(*list), offset_compare);
    int r = 0;
    for (i = 0; !r && i < count; i++)
        r = slice_write(q, c, list[i]);
    free(list);
    return r;
}

/* A refcount slice alone may be written at any time: what it holds too much is only a leak. Nor has a bitmap in use any order. */
static int make_clean(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_slice *s)
{
    if (!s->dirty)
        return 0;
    return c == &q->l2 ? qcow2_tables_write_locked(q) : slice_write(q, c, s);
}

struct qcow2_slice *qcow2_cache_find(struct qcow2_cache *c, uint64_t offset)
{
    struct qcow2_slice *s = *bucket_of(c, offset);
    while (s && s->offset != offset)
        s = s->hash_next;
    if (s)
        make_newest(c, s);
    return s;
}

int qcow2_cache_get_locked(struct qcow2 *q, struct qcow2_cache *c, uint64_t offset, struct qcow2_slice **slice)
{
    struct qcow2_slice *s = qcow2_cache_find(c, offset);
    if (!s) {
        s = c->oldest;
        int r = make_clean(q, c, s);
        if (r)
            return r;
        if (s->offset)
            unhash(c, s);
        if (!s->data && !(s->data = malloc(c->slice_bytes)))
            return -ENOMEM;
        r = block_protocol_pread(q->file, offset, s->data, c->slice_bytes);
        if (r)
            return r;
        s->offset = offset;
        s->hash_next = *bucket_of(c, offset);
        *bucket_of(c, offset) = s;
        make_newest(c, s);
    }
    *slice = s;
    return 0;
}

void qcow2_cache_forget(struct qcow2_cache *c, uint64_t offset, uint64_t length)
{
    for (uint64_t at = offset; c->slices && at < offset + length; at += c->slice_bytes) {
        struct qcow2_slice *s = *bucket_of(c, at);
        while (s && s->offset != at)
            s = s->hash_next;
        if (s)
            unhash(c, s);
    }
}
