/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite img compare'. Exit status: 0 same, 1 different, 2 and more: could not be done. Where both maps say zeroes
 * nothing is read. What one image has more than the other has to be zero, unless -s.
 */
#include "tool/img/img_private.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define CHUNK_BYTES (256u << 10)

struct compare_args {
    struct img_common c;
    const char *second_format;
    bool strict;
    enum block_cache cache;
};

static const struct img_option options[] = {
    IMG_HELP(struct compare_args), IMG_OBJECT_ROW(struct compare_args), IMG_IMAGE_OPTS(struct compare_args),
    { 'f', "format", "FORMAT", IMG_TEXT, offsetof(struct compare_args, c.format), "format of the first image" },
    { 'F', "second-format", "FORMAT", IMG_TEXT, offsetof(struct compare_args, second_format), "format of the second image" },
    { 's', "strict", NULL, IMG_FLAG, offsetof(struct compare_args, strict), "sizes and allocation have to be the same too" },
    { 'T', "source-cache", "MODE", IMG_CACHE, offsetof(struct compare_args, cache), "cache mode (default writeback)" },
    IMG_PROGRESS(struct compare_args), IMG_QUIET(struct compare_args), IMG_SHARE(struct compare_args),
    { 0 },
};

enum { STATUS_DIFFERENT = 1, STATUS_FAILED = 2 };
enum kind { BOTH_ZERO, ONE_ZERO, BOTH_DATA, ALLOCATION_DIFFERS };

struct job {
    struct img_walk walk;
    struct block_node *n[2];
    struct img_map known[2];
    bool strict;
    pthread_mutex_t lock;
    uint64_t differs_at;            /* the lowest found, UINT64_MAX: none */
    bool allocation;
};

/* Past the end of an image there are zeroes. */
static int map_of(struct job *j, unsigned i, uint64_t at, uint64_t length, struct block_map *m)
{
    uint64_t size = block_size_bytes(j->n[i]);
    *m = (struct block_map){ .length_bytes = length, .zero = true };
    return at >= size ? 0 : img_map_get(&j->known[i], j->n[i], at, MIN(length, size - at), 0, m);
}

static int next(struct img_walk *w, struct img_piece *piece)
{
    struct job *j = container_of(w, struct job, walk);
    struct block_map a, b;
    int r = map_of(j, 0, piece->offset, piece->length, &a);
    if (!r)
        r = map_of(j, 1, piece->offset, piece->length, &b);
    if (r)
        return r;
    piece->length = MIN(a.length_bytes, b.length_bytes);
    piece->kind = a.zero && b.zero ? BOTH_ZERO : a.zero || b.zero ? ONE_ZERO : BOTH_DATA;
    if (j->strict && a.present != b.present)
        piece->kind = ALLOCATION_DIFFERS;
    if (piece->kind == ONE_ZERO || piece->kind == BOTH_DATA)
        piece->length = MIN(piece->length, (uint64_t)CHUNK_BYTES);
    return 0;
}

static int differs(struct job *j, uint64_t at, bool allocation)
{
    pthread_mutex_lock(&j->lock);
    if (at < j->differs_at) {
        j->differs_at = at;
        j->allocation = allocation;
    }
    pthread_mutex_unlock(&j->lock);
    return 1;
}

static int data_read(struct block_node *n, uint64_t at, uint8_t *data, uint64_t length)
{
    uint64_t size = block_size_bytes(n), there = at < size ? MIN(length, size - at) : 0;
    memset(data + there, 0, length - there);
    return there ? block_pread(n, at, data, there) : 0;
}

static int work(struct img_walk *w, const struct img_piece *piece, uint8_t *buffer)
{
    struct job *j = container_of(w, struct job, walk);
    uint8_t *a = buffer, *b = buffer + CHUNK_BYTES;
    if (piece->kind == BOTH_ZERO)
        return 0;
    if (piece->kind == ALLOCATION_DIFFERS)
        return differs(j, piece->offset, true);
    int r = data_read(j->n[0], piece->offset, a, piece->length);
    if (!r)
        r = data_read(j->n[1], piece->offset, b, piece->length);
    if (r || !memcmp(a, b, piece->length))
        return r;
    uint64_t at = 0;
    while (!memcmp(a + at, b + at, 512))
        at += 512;
    return differs(j, piece->offset + at, false);
}

static int compare(struct compare_args *a, struct job *j, struct error *err)
{
    uint64_t size[2] = { block_size_bytes(j->n[0]), block_size_bytes(j->n[1]) };
    struct img_progress progress;
    bool quiet = a->c.quiet;
    if (size[0] != size[1] && a->strict) {
        if (!quiet)
            printf("Strict mode: Image size mismatch!\n");
        return STATUS_DIFFERENT;
    }
    if (size[0] != size[1] && !quiet)
        printf("Warning: Image size mismatch!\n");
    img_progress_begin(&progress, &a->c);
    j->walk = (struct img_walk){ .to = MAX(size[0], size[1]), .threads = img_threads(), .buffer_bytes = CHUNK_BYTES,
                                 .buffers = 2, .next = next, .work = work, .progress = &progress };
    int r = img_walk_run(&j->walk);
    img_progress_end(&progress, !r);
    if (r < 0)
        return error_set(err, "cannot read at offset %llu: %s", (unsigned long long)j->walk.failed_at, strerror(-r));
    if (!quiet && !r)
        printf("Images are identical.\n");
    else if (!quiet)
        printf(j->allocation ? "Strict mode: Offset %llu block status mismatch!\n" : "Content mismatch at offset %llu!\n",
               (unsigned long long)j->differs_at);
    return r ? STATUS_DIFFERENT : 0;
}

static int compare_run(void *args, struct error *err)
{
    struct compare_args *a = args;
    struct job j = { .strict = a->strict, .lock = PTHREAD_MUTEX_INITIALIZER, .differs_at = UINT64_MAX };
    int r = img_files_check(&a->c, &img_verb_compare, 2, 2, err);
    for (unsigned i = 0; !r && i < 2; i++) {
        const struct img_open o = { .filename = a->c.file[i], .format = i ? a->second_format : a->c.format,
                                    .image_opts = a->c.image_opts, .cache = a->cache };
        j.n[i] = img_open(&a->c, &o, err);
        r = j.n[i] ? 0 : -1;
    }
    if (!r)
        r = compare(a, &j, err);
    block_close(j.n[0]);
    block_close(j.n[1]);
    if (r >= 0)
        return r;
    log_message("img compare: %s", err->text);
    return STATUS_FAILED;
}

const struct img_verb img_verb_compare = {
    .name = "compare", .operands = "FILE FILE", .summary = "tell whether two images hold the same disk",
    .example = "ospite img compare -f raw -F qcow2 disk.img disk.qcow2", .options = options,
    .args_bytes = sizeof(struct compare_args), .run = compare_run,
};
