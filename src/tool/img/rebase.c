/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite img rebase': another backing file. Where the image holds nothing itself and the old and the new one differ, the
 * old data go into the image; only when they are on stable storage is the new name recorded, so that a crash leaves either
 * the old state or the new one. With -u only the name changes.
 */
#include "tool/img/img_private.h"

#include <errno.h>
#include <string.h>

#define CHUNK_BYTES (256u << 10)

struct rebase_args {
    struct img_common c;
    const char *backing, *backing_format;
    bool unsafe;
    enum block_cache cache, source_cache;
};

#define AT(field) offsetof(struct rebase_args, field)
static const struct img_option options[] = {
    IMG_HELP(struct rebase_args), IMG_OBJECT_ROW(struct rebase_args), IMG_IMAGE_OPTS(struct rebase_args),
    IMG_QUIET(struct rebase_args), IMG_FORMAT(struct rebase_args),
    { 'b', "backing", "BASE", IMG_TEXT, AT(backing), "the new backing file; an empty name: none" },
    { 'F', "backing-format", "FORMAT", IMG_TEXT, AT(backing_format), "its format" },
    { 'u', "unsafe", NULL, IMG_FLAG, AT(unsafe), "record the name and nothing else: the contents have to be the same" },
    { 't', "cache", "MODE", IMG_CACHE, AT(cache), "cache mode of FILE (default writeback)" },
    { 'T', "source-cache", "MODE", IMG_CACHE, AT(source_cache), "cache mode of the backing files" },
    IMG_PROGRESS(struct rebase_args), IMG_SHARE(struct rebase_args),
    { 0 },
};

enum kind { KEEP, LOOK };

struct job {
    struct img_walk walk;
    struct block_node *image, *old, *new;
};

/* Bytes from `at` on that read as zeroes in one of the backing files, at most length; 0: there are data, or it is not known. */
static uint64_t zero_length(struct block_node *n, uint64_t at, uint64_t length)
{
    struct block_map m;
    uint64_t size = n ? block_size_bytes(n) : 0;
    if (at >= size)
        return length;
    return block_map_get(n, at, MIN(length, size - at), 0, &m) || !m.zero ? 0 : m.length_bytes;
}

/* What the image does not hold itself is looked at, unless both have zeroes there: huge empty disks go by in one step. */
static int next(struct img_walk *w, struct img_piece *piece)
{
    struct job *j = container_of(w, struct job, walk);
    struct block_map m;
    int r = block_map_get(j->image, piece->offset, piece->length, 1, &m);
    if (r)
        return r;
    piece->length = m.length_bytes;
    piece->kind = m.present ? KEEP : LOOK;
    uint64_t zero = m.present ? 0 : zero_length(j->old, piece->offset, piece->length);
    if (zero)
        zero = zero_length(j->new, piece->offset, zero);
    if (zero) {
        piece->kind = KEEP;
        piece->length = zero;
    }
    if (piece->kind == LOOK)
        piece->length = MIN(piece->length, CHUNK_BYTES - piece->offset % CHUNK_BYTES);
    return 0;
}

static int below_read(struct block_node *n, uint64_t at, uint8_t *data, uint64_t length)
{
    uint64_t size = n ? block_size_bytes(n) : 0, there = at < size ? MIN(length, size - at) : 0;
    memset(data + there, 0, length - there);
    return there ? block_pread(n, at, data, there) : 0;
}

static int work(struct img_walk *w, const struct img_piece *piece, uint8_t *buffer)
{
    struct job *j = container_of(w, struct job, walk);
    uint8_t *old = buffer, *new = buffer + CHUNK_BYTES;
    if (piece->kind == KEEP)
        return 0;
    int r = below_read(j->old, piece->offset, old, piece->length);
    if (!r)
        r = below_read(j->new, piece->offset, new, piece->length);
    if (r || !memcmp(old, new, piece->length))
        return r;
    if (img_is_zero(old, piece->length))
        return block_write_zeroes_sync(j->image, piece->offset, piece->length, true);
    return block_pwrite(j->image, piece->offset, old, piece->length);
}

static int data_take(struct rebase_args *a, struct job *j, struct error *err)
{
    struct img_progress progress;
    j->old = block_backing(j->image);
    j->walk = (struct img_walk){ .to = block_size_bytes(j->image), .threads = img_threads(), .buffer_bytes = CHUNK_BYTES,
                                 .buffers = 2, .next = next, .work = work, .progress = &progress };
    img_progress_begin(&progress, &a->c);
    int r = img_walk_run(&j->walk);
    img_progress_end(&progress, !r);
    if (r)
        return error_set(err, "at offset %llu: %s; the image still has its old backing file",
                         (unsigned long long)j->walk.failed_at, strerror(-r));
    return img_flush(j->image, err);
}

static struct block_node *new_open(struct rebase_args *a, struct error *err)
{
    char *path = block_path_join(a->c.file[0], a->backing);
    const struct img_open o = { .filename = path, .format = a->backing_format, .cache = a->source_cache };
    struct block_node *n = path ? img_open(&a->c, &o, err) : NULL;
    free(path);
    if (!n)
        error_prefix(err, "the new backing file is not to be had");
    return n;
}

static int rebase(struct rebase_args *a, struct job *j, struct error *err)
{
    const struct img_open o = { .filename = a->c.file[0], .format = a->c.format, .image_opts = a->c.image_opts,
                                .writable = true, .no_backing = a->unsafe, .cache = a->cache };
    bool none = !*a->backing;
    j->image = img_open(&a->c, &o, err);
    if (!j->image)
        return -1;
    if (!block_format_has_backing(block_format_name(j->image)))
        return error_set(err, "%s images have no backing file", block_format_name(j->image));
    if (!block_format_can_rebase(block_format_name(j->image)))
        return error_set(err, "the backing file of a %s image cannot be changed; convert it to qcow2 first",
                         block_format_name(j->image));
    if (!a->unsafe && !none && !(j->new = new_open(a, err)))
        return -1;
    block_backing_will_change(j->image);
    if (!a->unsafe && data_take(a, j, err))
        return -1;
    return block_backing_change(j->image, none ? NULL : a->backing, none ? NULL : a->backing_format, err) ||
           img_flush(j->image, err);
}

static int rebase_run(void *args, struct error *err)
{
    struct rebase_args *a = args;
    struct job j = { .image = NULL };
    if (img_files_check(&a->c, &img_verb_rebase, 1, 1, err))
        return -1;
    if (!a->backing)
        return error_set(err, "which backing file? Give -b BASE, or -b '' for none");
    if (*a->backing && !a->backing_format)
        return error_set(err, "-b needs -F, the format of the backing file: guessing it later would let a guest choose");
    if (a->backing_format && !block_format_exists(a->backing_format))
        return error_set(err, "-F: unknown format '%s'", a->backing_format);
    int r = rebase(a, &j, err) ? -1 : 0;
    block_close(j.new);
    block_close(j.image);
    return r;
}

const struct img_verb img_verb_rebase = {
    .name = "rebase", .operands = "FILE", .summary = "give an image another backing file",
    .example = "ospite img rebase -b new-base.qcow2 -F qcow2 work.qcow2", .options = options,
    .args_bytes = sizeof(struct rebase_args), .run = rebase_run,
};
