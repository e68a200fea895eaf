/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tools do to dirty bitmaps: make, remove, clear, merge, switch recording on and off, list, look into. Each change
 * is on the disk when it returns. Those of bits go the way of recording (marked in use, changed, stored); new and
 * removed bitmaps are a new directory that the header is switched over to.
 */
#include "block/qcow2/bitmap.h"
#include "block/qcow2/whole.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct change {
    struct qcow2 *q;
    const struct block_bitmap_change *c;
    struct qcow2_bitmap *b;         /* NULL for add */
    struct error *err;
};

static int failed(const struct change *x, int r)
{
    return error_set(x->err, "the dirty bitmap '%s' cannot be changed: %s", x->c->name, strerror(-r));
}

static int usable_check(struct qcow2 *q, const struct qcow2_bitmap *b, const char *name, struct error *err)
{
    const char *problem = qcow2_bitmap_problem(q, b);
    return problem ? error_set(err, "the dirty bitmap '%s' %s", name, problem) : 0;
}

static int granularity_find(struct change *x, unsigned *bits)
{
    uint64_t bytes = x->c->granularity_bytes;
    if (!bytes)
        bytes = MIN(MAX(x->q->cluster_size, 4096ull), 65536ull);
    if (bytes & (bytes - 1) || bytes < 512)
        return error_set(x->err, "the granularity of a bitmap is a power of two from 512 to 2G");
    *bits = (unsigned)__builtin_ctzll(bytes);
    if ((qcow2_bitmap_bits(x->q->node->size, *bits) + 7) / 8 > QCOW2_BITMAP_BYTES_MAX)
        return error_set(x->err, "with a granularity of %llu the bitmap would take more than 512 MiB; use a larger one",
                         (unsigned long long)bytes);
    return 0;
}

static int add_check(struct change *x, unsigned *granularity)
{
    size_t length = strlen(x->c->name);
    int r;
    if (x->q->version < 3)
        return error_set(x->err, "version 2 has no dirty bitmaps; raise it with 'ospite img amend -o compat=1.1'");
    if (!length || length > QCOW2_BITMAP_NAME_MAX)
        return error_set(x->err, "the name of a bitmap has 1 to %d bytes", QCOW2_BITMAP_NAME_MAX);
    if (!x->q->node->size)
        return error_set(x->err, "a disk of 0 bytes has no place for a bitmap; resize it first");
    if (x->q->bitmaps >= QCOW2_BITMAPS_MAX)
        return error_set(x->err, "it has %u dirty bitmaps, no more are allowed; remove some", x->q->bitmaps);
    if (qcow2_bitmap_find_locked(x->q, x->c->name, &r))
        return error_set(x->err, "it has a dirty bitmap '%s' already; choose another name", x->c->name);
    return granularity_find(x, granularity);
}

/* A table of zeroes. */
static int table_make(struct qcow2 *q, uint32_t entries, uint64_t *offset)
{
    uint64_t clusters = (entries * 8ull + q->cluster_size - 1) >> q->cluster_bits;
    int r = qcow2_allocate_run_locked(q, clusters, offset);
    if (r)
        return r;
    r = block_protocol_write_zeroes(q->file, *offset, clusters << q->cluster_bits, false);
    if (r)
        qcow2_allocation_undo_locked(q, *offset, clusters);
    return r;
}

static void table_release(struct qcow2 *q, uint64_t offset, uint32_t entries)
{
    for (uint64_t at = 0; at < entries * 8ull; at += q->cluster_size)
        qcow2_cluster_release_locked(q, (offset + at) >> q->cluster_bits);
}

static int add(struct change *x)
{
    struct qcow2 *q = x->q;
    unsigned granularity = 0;
    if (add_check(x, &granularity))
        return -1;
    struct qcow2_bitmap *list = calloc(q->bitmaps + 1u, sizeof(*list)), *b;
    if (!list)
        return failed(x, -ENOMEM);
    if (q->bitmaps)
        memcpy(list, q->bitmap, q->bitmaps * sizeof(*list));
    b = &list[q->bitmaps];
    *b = (struct qcow2_bitmap){ .flags = x->c->disabled ? 0 : QCOW2_BITMAP_AUTO, .type = QCOW2_BITMAP_TYPE_DIRTY,
                                .name_length = (uint16_t)strlen(x->c->name), .granularity_bits = (uint8_t)granularity };
    b->entries = (uint32_t)qcow2_bitmap_entries(q, qcow2_bitmap_bits(q->node->size, granularity));
    int r = table_make(q, b->entries, &b->table);
    if (!r) {
        r = qcow2_bitmaps_switch_locked(q, list, q->bitmaps + 1, x->c->name);
        if (r && !q->corrupt)
            table_release(q, b->table, b->entries);
    }
    if (r)
        free(list);
    return r == -ENOSPC && q->cluster_size < 4096 ?
           error_set(x->err, "its first cluster (%llu bytes) has no room for bitmaps, or the disk is full",
                     (unsigned long long)q->cluster_size) : r ? failed(x, r) : 0;
}

/* A table that lies is let go of with what it leads to: the space is lost until a check finds it. */
static int remove_bitmap(struct change *x)
{
    struct qcow2 *q = x->q;
    struct qcow2_bitmap gone = *x->b, *list = calloc(q->bitmaps, sizeof(*list));
    uint32_t index = (uint32_t)(x->b - q->bitmap), count = q->bitmaps - 1;
    if (!list)
        return failed(x, -ENOMEM);
    bool known = !qcow2_bitmap_load_locked(q, x->b);
    gone.word = x->b->word;
    memcpy(list, q->bitmap, index * sizeof(*list));
    memcpy(list + index, q->bitmap + index + 1, (count - index) * sizeof(*list));
    int r = qcow2_bitmaps_switch_locked(q, list, count, NULL);
    if (r) {
        free(list);
        return failed(x, r);
    }
    x->b = NULL;
    qcow2_bitmap_unprotect(q, &gone);
    for (uint32_t i = 0; known && i < gone.entries; i++)
        if (gone.word[i] & QCOW2_OFFSET_MASK)
            qcow2_cluster_release_locked(q, gone.word[i] >> q->cluster_bits);
    if (known)
        table_release(q, gone.table, gone.entries);
    qcow2_bitmap_unload_locked(q, &gone);
    return q->corrupt ? failed(x, -EIO) : 0;
}

static int clear(struct change *x)
{
    int r = qcow2_bitmap_use_locked(x->q, x->b);
    if (r)
        return failed(x, r);
    qcow2_bitmap_clear_locked(x->q, x->b);
    return 0;
}

static int recording_set(struct change *x)
{
    uint32_t on = x->c->action == BLOCK_BITMAP_ENABLE ? QCOW2_BITMAP_AUTO : 0;
    if ((x->b->flags & QCOW2_BITMAP_AUTO) == on)
        return 0;
    int r = qcow2_bitmap_flags_write_locked(x->q, x->b, x->b->flags ^ QCOW2_BITMAP_AUTO);
    if (!r)
        r = qcow2_barrier_locked(x->q);
    return r ? failed(x, r) : 0;
}

/* Runs of dirty bits, in bytes of the disk. */
static int bits_merge(struct change *x, struct qcow2 *from, const struct qcow2_bitmap *source)
{
    struct qcow2 *q = x->q;
    uint64_t length;
    int r = 0;
    for (uint64_t bit = 0; !r && bit < source->bits; bit += length) {
        bool set = false;
        if (from != q)
            pthread_mutex_lock(&from->lock);
        r = qcow2_bitmap_run_locked(from, source, bit, source->bits - bit, &set, &length);
        if (from != q)
            pthread_mutex_unlock(&from->lock);
        if (r || !set)
            continue;
        uint64_t start = bit << source->granularity_bits;
        uint64_t end = MIN((bit + length) << source->granularity_bits, q->node->size);
        r = qcow2_bitmap_set_locked(q, x->b, start >> x->b->granularity_bits, (end - 1) >> x->b->granularity_bits);
    }
    return r;
}

static int source_find(struct change *x, struct qcow2 *from, struct qcow2_bitmap **source)
{
    int r;
    const char *name = x->c->source_name;
    *source = qcow2_bitmap_find_locked(from, name, &r);
    if (!*source)
        return r == -ENOENT ? error_set(x->err, "'%s' has no dirty bitmap '%s'; 'ospite img info' lists them",
                                        from->node->filename, name)
                            : error_set(x->err, "the dirty bitmaps of '%s' cannot be read: %s", from->node->filename,
                                        strerror(-r));
    if (usable_check(from, *source, name, x->err))
        return -1;
    r = qcow2_bitmap_load_locked(from, *source);
    return r ? error_set(x->err, "the dirty bitmap '%s' of '%s' cannot be read: %s", name, from->node->filename,
                         strerror(-r)) : 0;
}

static int merge(struct change *x)
{
    struct block_node *n = x->c->source;
    struct qcow2_bitmap *source;
    if (n->format != &block_format_qcow2)
        return error_set(x->err, "'%s': %s images hold no dirty bitmaps", n->filename, n->format->name);
    struct qcow2 *from = n->state;
    if (n->size != x->q->node->size)
        return error_set(x->err, "the disk of '%s' has another size, %llu and not %llu bytes, so that its bitmaps do not fit",
                         n->filename, (unsigned long long)n->size, (unsigned long long)x->q->node->size);
    if (from != x->q)
        pthread_mutex_lock(&from->lock);
    int r = source_find(x, from, &source);
    if (from != x->q)
        pthread_mutex_unlock(&from->lock);
    if (r || source == x->b)
        return r;
    r = qcow2_bitmap_use_locked(x->q, x->b);
    if (!r)
        r = bits_merge(x, from, source);
    return r ? failed(x, r) : 0;
}

/* any: also one that cannot be used. */
static const struct { int (*run)(struct change *x); bool any; } actions[] = {
    [BLOCK_BITMAP_ADD] = { add, false }, [BLOCK_BITMAP_REMOVE] = { remove_bitmap, true },
    [BLOCK_BITMAP_CLEAR] = { clear, false }, [BLOCK_BITMAP_ENABLE] = { recording_set, false },
    [BLOCK_BITMAP_DISABLE] = { recording_set, false }, [BLOCK_BITMAP_MERGE] = { merge, false },
};

static int change_locked(struct change *x)
{
    int r = qcow2_bitmaps_open_locked(x->q);
    if (r)
        return error_set(x->err, "its dirty bitmaps cannot be read: %s", strerror(-r));
    if (x->c->action != BLOCK_BITMAP_ADD) {
        x->b = qcow2_bitmap_find_locked(x->q, x->c->name, &r);
        if (!x->b)
            return r == -ENOENT ? error_set(x->err, "it has no dirty bitmap '%s'; 'ospite img info' lists them",
                                            x->c->name) : failed(x, r);
        if (!actions[x->c->action].any && usable_check(x->q, x->b, x->c->name, x->err))
            return -1;
    }
    if (actions[x->c->action].run(x))
        return -1;
    r = qcow2_bitmaps_store_locked(x->q);
    if (!r)
        r = qcow2_bitmaps_begin_locked(x->q);
    return r ? failed(x, r) : 0;
}

int qcow2_bitmap_change(struct block_node *n, const struct block_bitmap_change *c, struct error *err)
{
    struct qcow2 *q = n->state;
    struct qcow2_range range;
    struct change x = { .q = q, .c = c, .err = err };
    int r = qcow2_whole_begin(q, &range);
    if (r)
        return error_set(err, "'%s': its last writes cannot be stored: %s", n->filename, strerror(-r));
    r = change_locked(&x);
    qcow2_whole_end(q, &range);
    return r ? error_prefix(err, "'%s'", n->filename) : 0;
}

struct listing {
    struct qcow2 *q;
    struct block_bitmap *item;
    unsigned count;
};

static int list_add(void *opaque, const struct qcow2_bitmap *b)
{
    struct listing *l = opaque;
    struct block_bitmap *more = realloc(l->item, (l->count + 1u) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    l->item = more;
    more = &l->item[l->count++];
    *more = (struct block_bitmap){ .granularity_bytes = 1u << b->granularity_bits, .in_use = b->flags & QCOW2_BITMAP_IN_USE,
                                   .automatic = b->flags & QCOW2_BITMAP_AUTO };
    return qcow2_bitmap_name_read(l->q, b, more->name);
}

/* What the file says: of an image that is being written, that its bitmaps are in use. */
int qcow2_bitmap_list(struct block_node *n, struct block_bitmap **list, unsigned *count, struct error *err)
{
    struct listing l = { .q = n->state };
    pthread_mutex_lock(&l.q->lock);
    int r = qcow2_bitmaps_walk(l.q, list_add, &l);
    pthread_mutex_unlock(&l.q->lock);
    if (r) {
        free(l.item);
        return error_set(err, "'%s': its dirty bitmaps cannot be read: %s", n->filename,
                         r == -EINVAL ? "their directory is not valid" : strerror(-r));
    }
    *list = l.item;
    *count = l.count;
    return 0;
}

static int status_locked(struct qcow2 *q, const char *name, uint64_t offset, uint64_t length,
                         struct block_bitmap_status *status, struct error *err)
{
    int r;
    struct qcow2_bitmap *b = qcow2_bitmap_find_locked(q, name, &r);
    if (!b)
        return r == -ENOENT ? error_set(err, "it has no dirty bitmap '%s'", name) : error_set(err, "%s", strerror(-r));
    if (usable_check(q, b, name, err))
        return -1;
    r = qcow2_bitmap_load_locked(q, b);
    uint64_t bit = offset >> b->granularity_bits, run = 0;
    if (!r)
        r = qcow2_bitmap_run_locked(q, b, bit, b->bits - bit, &status->dirty, &run);
    if (r)
        return error_set(err, "the dirty bitmap '%s' cannot be read: %s", name, strerror(-r));
    status->length_bytes = MIN(((bit + run) << b->granularity_bits) - offset, length);
    status->records = b->flags & QCOW2_BITMAP_AUTO;
    return 0;
}

int qcow2_bitmap_status(struct block_node *n, const char *name, uint64_t offset, uint64_t length,
                        struct block_bitmap_status *status, struct error *err)
{
    struct qcow2 *q = n->state;
    pthread_mutex_lock(&q->lock);
    int r = status_locked(q, name, offset, length, status, err);
    pthread_mutex_unlock(&q->lock);
    return r ? error_prefix(err, "'%s'", n->filename) : 0;
}

struct sizes { uint64_t disk_bytes, cluster_size, bytes, directory_bytes; };

static int size_add(void *opaque, const struct qcow2_bitmap *b)
{
    struct sizes *s = opaque;
    uint64_t bits = qcow2_bitmap_bits(s->disk_bytes, b->granularity_bits);
    uint64_t clusters = ((bits + 7) / 8 + s->cluster_size - 1) / s->cluster_size;
    s->bytes += clusters * s->cluster_size + ALIGN_UP(clusters * 8, s->cluster_size);
    s->directory_bytes += ALIGN_UP(24ull + b->name_length, 8ull);
    return 0;
}

int qcow2_bitmaps_size(struct qcow2 *q, uint64_t cluster_size, uint64_t *bytes)
{
    struct sizes s = { .disk_bytes = q->node->size, .cluster_size = cluster_size };
    int r = qcow2_bitmaps_walk(q, size_add, &s);
    *bytes = s.bytes + ALIGN_UP(s.directory_bytes, cluster_size);
    return r;
}
