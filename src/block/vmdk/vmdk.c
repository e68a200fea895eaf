/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMDK, VMware's format: one file (monolithicSparse, streamOptimized), or a descriptor with one or more extents beside it
 * (monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat, vmfs). A request is cut at the extents' borders. The first
 * write gives the disk a new content ID, by which other images notice that it has changed.
 */
#include "block/vmdk/vmdk_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SAID_MAX = 1000 };

static bool text_probe(const uint8_t *head, size_t length)
{
    static const char magic[] = "# Disk DescriptorFile";
    size_t at = 0;
    while (at < length && (head[at] == ' ' || head[at] == '\n' || head[at] == '\r' || head[at] == '\t'))
        at++;
    return length - at >= sizeof(magic) - 1 && !memcmp(head + at, magic, sizeof(magic) - 1);
}

static bool vmdk_probe(const uint8_t *head, size_t length)
{
    return (length >= 4 && !memcmp(head, VMDK_MAGIC, 4)) || text_probe(head, length);
}

static int refuse(struct block_node *n, struct error *err)
{
    return error_prefix(err, "cannot open '%s'", n->filename);
}

/* The descriptor's text, at most VMDK_DESCRIPTOR_MAX bytes of it; *offset: where in the file. */
static char *text_read(struct block_node *n, uint64_t *offset, struct error *err)
{
    struct vmdk_header h;
    int64_t size = n->file->ops->size(n->file);
    uint64_t length = size < 0 ? 0 : (uint64_t)size;
    int r = size < 0 ? (int)size : block_protocol_pread(n->file, 0, &h, sizeof(h));
    *offset = 0;
    if (!r && !memcmp(h.magic, VMDK_MAGIC, 4)) {
        *offset = le64_get(h.descriptor) * VMDK_SECTOR;
        length = le64_get(h.descriptor_sectors) * VMDK_SECTOR;
        if (!*offset || le64_get(h.descriptor) > INT64_MAX / VMDK_SECTOR / 2 || *offset >= (uint64_t)size)
            length = 0;
    }
    char *text = length ? calloc(1, VMDK_DESCRIPTOR_MAX + 1) : NULL;
    if (text)
        r = block_protocol_pread(n->file, *offset, text, MIN(length, (uint64_t)VMDK_DESCRIPTOR_MAX));
    if (text && !r)
        return text;
    free(text);
    error_set(err, r ? "it cannot be read: %s" : "it has no descriptor", strerror(-r));
    return NULL;
}

static struct block_protocol *extent_file_open(struct block_node *n, const char *name, struct error *err)
{
    const struct block_file_options o = { .readonly = n->readonly, .direct = n->direct, .no_lock = n->no_lock,
                                          .force_share = n->force_share, .unsafe = n->unsafe };
    const char *slash = strrchr(n->filename, '/');
    char *path;
    if (asprintf(&path, "%.*s%s", slash ? (int)(slash - n->filename + 1) : 0, n->filename, name) < 0) {
        error_set(err, "out of memory");
        return NULL;
    }
    struct block_protocol *p = block_file_open(path, &o, err);
    free(path);
    return p;
}

static int flat_check(const struct vmdk_extent *e, struct error *err)
{
    int64_t size = e->file->ops->size(e->file);
    if (size < 0 || e->flat_offset > (uint64_t)size || e->length > (uint64_t)size - e->flat_offset)
        return error_set(err, "its extent '%s' is shorter than the descriptor says", e->file->filename);
    return 0;
}

static int extent_open(struct block_node *n, struct vmdk_extent *e, const struct vmdk_line *l, struct error *err)
{
    *e = (struct vmdk_extent){ .kind = l->kind, .length = l->sectors * VMDK_SECTOR,
                               .flat_offset = l->offset_sectors * VMDK_SECTOR };
    if (l->kind == VMDK_ZERO)
        return 0;
    if (l->readonly && !n->readonly)
        return error_set(err, "its extent '%s' is read-only; use readonly=on", l->name);
    e->file = extent_file_open(n, l->name, err);
    if (!e->file)
        return -1;
    e->owns_file = true;
    if (e->file->dev == n->file->dev && e->file->ino == n->file->ino && e->file->ino)
        return error_set(err, "it is its own extent");
    return l->kind == VMDK_FLAT ? flat_check(e, err) : vmdk_extent_open(e, n->readonly, err);
}

static int extents_open(struct block_node *n, struct vmdk *v, struct error *err)
{
    uint64_t start = 0;
    unsigned count = v->d.is_split ? v->d.lines : 1;
    if (!count)
        return error_set(err, "it has no extents");
    v->extent = calloc(count, sizeof(*v->extent));
    if (!v->extent)
        return error_set(err, "out of memory");
    while (v->extents < count) {
        struct vmdk_extent *e = &v->extent[v->extents++];
        if (v->d.is_split) {
            if (extent_open(n, e, &v->d.line[v->extents - 1], err))
                return -1;
        } else {
            *e = (struct vmdk_extent){ .kind = VMDK_SPARSE, .file = n->file };
            if (vmdk_extent_open(e, n->readonly, err))
                return -1;
        }
        e->start = start;
        start += e->length;
    }
    n->size = start;
    return 0;
}

/* What this image does not hold is in its parent, as that was when this one was made over it. */
static int parent_open(struct block_node *n, struct vmdk *v, struct error *err)
{
    int r = block_node_backing_open(n, v->d.parent, "vmdk", err);
    if (r || !n->backing)
        return r;
    const struct vmdk *parent = n->backing->state;
    if (parent->d.cid != v->d.parent_cid)
        return error_set(err, "its parent '%s' has been written to since (CID %08x, not %08x): their contents do not belong together "
                         "any more", n->backing->filename, parent->d.cid, v->d.parent_cid);
    for (unsigned i = 0; i < v->extents; i++) {
        v->extent[i].s.backing = n->backing;
        v->extent[i].s.backing_offset = v->extent[i].start;
    }
    return 0;
}

static void vmdk_free(struct vmdk *v)
{
    for (unsigned i = 0; i < v->extents; i++) {
        vmdk_extent_close(&v->extent[i]);
        if (v->extent[i].owns_file)
            v->extent[i].file->ops->close(v->extent[i].file);
    }
    free(v->extent);
    vmdk_descriptor_free(&v->d);
    pthread_mutex_destroy(&v->cid_lock);
    free(v);
}

static int vmdk_open(struct block_node *n, struct error *err)
{
    struct vmdk *v = calloc(1, sizeof(*v));
    uint64_t at;
    char *text = v ? text_read(n, &at, err) : NULL;
    if (!text) {
        free(v);
        return refuse(n, err);
    }
    pthread_mutex_init(&v->cid_lock, NULL);
    int r = vmdk_descriptor_parse(&v->d, text, err);
    if (!r) {
        long cid = vmdk_descriptor_cid_find(text);
        v->cid_offset = cid < 0 ? 0 : at + (uint64_t)cid;
        r = extents_open(n, v, err);
    }
    if (!r)
        r = parent_open(n, v, err);
    free(text);
    if (r) {
        vmdk_free(v);
        return block_node_open_fail(n, r, err);
    }
    for (unsigned i = 0; i < v->extents; i++)
        if (v->extent[i].kind == VMDK_SPARSE)
            n->cluster_bytes = v->extent[i].s.block_bytes;
    n->state = v;
    return 0;
}

static void vmdk_close(struct block_node *n)
{
    vmdk_free(n->state);
}

static struct vmdk_extent *extent_at(struct vmdk *v, uint64_t offset)
{
    unsigned low = 0, high = v->extents - 1;
    while (low < high) {
        unsigned middle = (low + high + 1) / 2;
        if (v->extent[middle].start <= offset)
            low = middle;
        else
            high = middle - 1;
    }
    return &v->extent[low];
}

/* An extent's part of a request: offset counts in the extent. */
typedef int part_fn(struct vmdk_extent *e, uint64_t offset, const struct iovec *iov, int iovcnt);

static int parts(struct vmdk *v, uint64_t offset, const struct iovec *iov, int iovcnt, part_fn *run)
{
    size_t length = block_iov_length(iov, iovcnt), done = 0;
    struct vmdk_extent *e = extent_at(v, offset);
    if (length <= e->length - (offset - e->start))
        return run(e, offset - e->start, iov, iovcnt);
    struct iovec *part = malloc(sizeof(*part) * (size_t)iovcnt);
    int r = part ? 0 : -ENOMEM;
    while (!r && done < length) {
        e = extent_at(v, offset + done);
        uint64_t at = offset + done - e->start;
        size_t take = MIN(length - done, e->length - at);
        r = run(e, at, part, block_iov_slice(part, iov, iovcnt, done, take));
        done += take;
    }
    free(part);
    return r;
}

static int part_read(struct vmdk_extent *e, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    if (e->kind == VMDK_SPARSE)
        return sparse_preadv(&e->s, offset, iov, iovcnt);
    if (e->kind == VMDK_FLAT)
        return e->file->ops->preadv(e->file, e->flat_offset + offset, iov, iovcnt);
    block_iov_zero(iov, iovcnt, 0, block_iov_length(iov, iovcnt));
    return 0;
}

static int part_write(struct vmdk_extent *e, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    if (e->kind == VMDK_SPARSE)
        return sparse_pwritev(&e->s, offset, iov, iovcnt);
    return e->kind == VMDK_FLAT ? e->file->ops->pwritev(e->file, e->flat_offset + offset, iov, iovcnt) : -EROFS;
}

static int cid_change(struct block_node *n)
{
    struct vmdk *v = n->state;
    uint32_t cid;
    char text[9];
    int r = 0;
    pthread_mutex_lock(&v->cid_lock);
    if (!v->cid_changed && v->cid_offset) {
        do
            r = getrandom(&cid, sizeof(cid), 0) == sizeof(cid) ? 0 : -EIO;
        while (!r && (cid >= UINT32_MAX - 1 || cid == v->d.cid));
        snprintf(text, sizeof(text), "%08x", cid);
        if (!r)
            r = block_protocol_pwrite(n->file, v->cid_offset, text, 8);
        if (!r)
            v->d.cid = cid;
    }
    v->cid_changed |= !r;
    pthread_mutex_unlock(&v->cid_lock);
    return r;
}

static int vmdk_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    return parts(n->state, offset, iov, iovcnt, part_read);
}

static int vmdk_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    int r = cid_change(n);
    return r ? r : parts(n->state, offset, iov, iovcnt, part_write);
}

/* A streamOptimized image compresses all that is written to it. */
static int vmdk_write_compressed(struct block_node *n, uint64_t offset, const void *data, size_t length)
{
    const struct vmdk *v = n->state;
    const struct iovec iov = { (void *)(uintptr_t)data, length };
    for (unsigned i = 0; i < v->extents; i++)
        if (!v->extent[i].compressed)
            return -ENOTSUP;
    return vmdk_pwritev(n, offset, &iov, 1);
}

static int vmdk_flush(struct block_node *n)
{
    struct vmdk *v = n->state;
    int r = 0;
    for (unsigned i = 0; i < v->extents; i++) {
        struct vmdk_extent *e = &v->extent[i];
        int one = e->kind == VMDK_SPARSE ? sparse_flush(&e->s) : e->kind == VMDK_FLAT ? block_protocol_flush(e->file) : 0;
        r = r ? r : one;
    }
    int own = v->d.is_split ? block_protocol_flush(n->file) : 0;
    return r ? r : own;
}

static int range_part(struct vmdk_extent *e, uint64_t offset, uint64_t length, bool zero, bool may_unmap)
{
    if (e->kind == VMDK_ZERO)
        return 0;
    if (e->kind == VMDK_SPARSE)
        return zero ? sparse_write_zeroes(&e->s, offset, length, may_unmap) : sparse_discard(&e->s, offset, length);
    return zero ? block_protocol_write_zeroes(e->file, e->flat_offset + offset, length, may_unmap) :
           e->file->ops->discard(e->file, e->flat_offset + offset, length);
}

static int range(struct block_node *n, uint64_t offset, uint64_t length, bool zero, bool may_unmap)
{
    int r = cid_change(n);
    while (!r && length) {
        struct vmdk_extent *e = extent_at(n->state, offset);
        uint64_t take = MIN(length, e->length - (offset - e->start));
        r = range_part(e, offset - e->start, take, zero, may_unmap);
        offset += take;
        length -= take;
    }
    return r;
}

static int vmdk_discard(struct block_node *n, uint64_t offset, uint64_t length)
{
    return range(n, offset, length, false, false);
}

static int vmdk_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap)
{
    return range(n, offset, length, true, may_unmap);
}

static int vmdk_extent_get(struct block_node *n, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    struct vmdk_extent *e = extent_at(n->state, offset);
    uint64_t at = offset - e->start, take = MIN(length, e->length - at);
    *extent = (struct block_extent){ .length_bytes = take, .zero = e->kind == VMDK_ZERO, .hole = e->kind == VMDK_ZERO };
    if (e->kind == VMDK_SPARSE)
        return sparse_extent(&e->s, at, take, extent);
    return e->kind == VMDK_FLAT && e->file->ops->extent ? e->file->ops->extent(e->file, e->flat_offset + at, take, extent) : 0;
}

static int vmdk_map(struct block_node *n, uint64_t offset, uint64_t length, struct block_map *map)
{
    struct vmdk_extent *e = extent_at(n->state, offset);
    struct block_extent x;
    if (e->kind == VMDK_SPARSE)
        return sparse_map(&e->s, offset - e->start, MIN(length, e->length - (offset - e->start)), map);
    int r = vmdk_extent_get(n, offset, length, &x);
    map->length_bytes = x.length_bytes;
    map->zero = x.zero;
    map->data = e->kind == VMDK_FLAT;
    map->has_offset = e->kind == VMDK_FLAT;
    map->offset = e->flat_offset + offset - e->start;
    return r;
}

static int64_t vmdk_allocated(struct block_node *n)
{
    struct vmdk *v = n->state;
    int64_t all = n->file->ops->allocated ? n->file->ops->allocated(n->file) : -1;
    for (unsigned i = 0; all >= 0 && i < v->extents; i++) {
        struct block_protocol *p = v->extent[i].owns_file ? v->extent[i].file : NULL;
        int64_t one = p ? p->ops->allocated ? p->ops->allocated(p) : -1 : 0;
        all = one < 0 ? one : all + one;
    }
    return all;
}

static int vmdk_info(struct block_node *n, struct block_info *info, struct error *err)
{
    static const char *const formats[] = { "FLAT", "SPARSE", "ZERO" };
    struct vmdk *v = n->state;
    json_t *extents = json_array();
    info->backing = *v->d.parent ? v->d.parent : NULL;
    info->backing_format = info->backing ? "vmdk" : NULL;
    info->data = json_object();
    for (unsigned i = 0; i < v->extents; i++) {
        struct vmdk_extent *e = &v->extent[i];
        json_t *x = json_object();
        if (e->compressed)
            json_object_set_new(x, "compressed", json_true());
        json_object_set_new(x, "virtual-size", json_integer((json_int_t)e->length));
        json_object_set_new(x, "filename", json_string(e->file ? e->file->filename : ""));
        if (e->kind == VMDK_SPARSE)
            json_object_set_new(x, "cluster-size", json_integer(e->s.block_bytes));
        json_object_set_new(x, "format", json_string(v->d.is_split ? formats[e->kind] : ""));
        json_array_append_new(extents, x);
    }
    json_object_set_new(info->data, "cid", json_integer(v->d.cid));
    json_object_set_new(info->data, "parent-cid", json_integer(v->d.parent_cid));
    json_object_set_new(info->data, "create-type", json_string(v->d.type));
    json_object_set_new(info->data, "extents", extents);
    return 0;
}

/* One finding for each table that cannot be had, or whose entries are all the same. */
static int extent_check(struct vmdk_extent *e, struct block_check *c)
{
    uint64_t blocks = (e->length + e->s.block_bytes - 1) / e->s.block_bytes, at;
    for (uint64_t b = 0, run; b < blocks; b += run) {
        pthread_mutex_lock(&e->s.lock);
        int r = e->s.ops->find(&e->s, b, &at);
        run = r || at >= SPARSE_ZERO ? e->s.ops->run(&e->s, b) : 1;
        pthread_mutex_unlock(&e->s.lock);
        if (r && r != -EIO)
            return r;
        c->corruptions += r != 0;
        if (r && c->say && c->corruptions <= SAID_MAX)
            c->say(c, c->corruptions < SAID_MAX ? "ERROR: a grain or its table lies outside the file or over metadata" :
                   "ERROR: and more of these");
    }
    return 0;
}

/* Every grain lies where grains may lie. */
static int vmdk_check(struct block_node *n, struct block_check *c, struct error *err)
{
    struct vmdk *v = n->state;
    for (unsigned i = 0; i < v->extents; i++) {
        int r = v->extent[i].kind == VMDK_SPARSE ? extent_check(&v->extent[i], c) : 0;
        if (r)
            return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
    }
    return 0;
}

const struct block_format block_format_vmdk = {
    .name = "vmdk", .probe = vmdk_probe, .open = vmdk_open, .close = vmdk_close, .preadv = vmdk_preadv,
    .pwritev = vmdk_pwritev, .flush = vmdk_flush, .discard = vmdk_discard, .write_zeroes = vmdk_write_zeroes,
    .extent = vmdk_extent_get, .map = vmdk_map, .allocated = vmdk_allocated, .info = vmdk_info, .check = vmdk_check,
    .write_compressed = vmdk_write_compressed, .has_backing = true, .create_options = vmdk_create_options,
    .create_check = vmdk_create_check, .create = vmdk_create,
};
