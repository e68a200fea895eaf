/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copying: the walk's lock serves to find the next piece in the sources' maps (holes go by in one step, however large),
 * the threads read, look for zeroes, compress and write. A target that is known to read as zeroes gets no zeroes written.
 * Compressed targets get whole clusters.
 */
#include "tool/img/copy.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#define CHUNK_BYTES (512u << 10)
#define HOLE_MAX_BYTES (4ull << 30)

enum kind { DATA, ZEROES, SKIP };

struct job {
    struct img_walk walk;           /* first */
    struct img_copy *c;
    struct img_map known;
    uint64_t unit;                  /* zeroes are looked for in multiples of this */
    int64_t started_ns;
    uint64_t moved_bytes;           /* atomic */
    const char *failed_what;
    const struct block_node *failed_node;
};

/* The source that has byte `at` of all, and where in it. */
static struct block_node *source_at(const struct img_copy *c, uint64_t at, uint64_t *in, uint64_t *left)
{
    unsigned i = 0;
    while (i + 1 < c->sources && at >= block_size_bytes(c->source[i]))
        at -= block_size_bytes(c->source[i++]);
    *in = at;
    *left = block_size_bytes(c->source[i]) - at;
    return c->source[i];
}

static void fail(struct job *j, const char *what, const struct block_node *n)
{
    j->failed_what = what;
    j->failed_node = n;
}

static int next(struct img_walk *w, struct img_piece *piece)
{
    struct job *j = container_of(w, struct job, walk);
    struct img_copy *c = j->c;
    uint64_t in, left, align = c->compress ? block_cluster_bytes(c->target) : 512, whole = piece->length;
    struct block_node *n = source_at(c, c->skip_bytes + piece->offset, &in, &left);
    struct block_map map = { .length_bytes = left };
    left = MIN(left, whole);
    int r = 0;
    if (c->sparse_bytes || c->layers)
        r = img_map_get(&j->known, n, in, MIN(left, HOLE_MAX_BYTES), c->layers, &map);
    else
        map.data = map.present = true;
    if (r && !c->salvage) {
        fail(j, "read the map of", n);
        return r;
    }
    if (r)
        map = (struct block_map){ .length_bytes = left, .data = true, .present = true };
    piece->kind = c->layers && !map.present ? SKIP : map.zero && c->sparse_bytes ? ZEROES : DATA;
    piece->length = MIN(map.length_bytes, left);
    if (piece->kind == DATA)
        piece->length = MIN(piece->length, (uint64_t)CHUNK_BYTES);
    /* Whole clusters for compression, however the sources' pieces lie. */
    uint64_t end = piece->offset + piece->length;
    if (end % align && end < w->to) {
        if (ALIGN_DOWN(end, align) > piece->offset) {
            piece->length = ALIGN_DOWN(end, align) - piece->offset;
        } else {
            piece->length = MIN(ALIGN_UP(end, align), w->to) - piece->offset;
            piece->kind = DATA;
        }
    }
    return 0;
}

/* Sector by sector; what cannot be read becomes zeroes. */
static void salvage_read(struct block_node *n, uint64_t in, uint8_t *data, uint64_t length)
{
    uint64_t lost = 0;
    for (uint64_t at = 0; at < length; at += 512) {
        if (!block_pread(n, in + at, data + at, 512))
            continue;
        memset(data + at, 0, 512);
        lost += 512;
    }
    if (lost)
        log_message("img: '%s': %llu bytes at %llu cannot be read; there are zeroes now", block_filename(n),
                    (unsigned long long)lost, (unsigned long long)in);
}

static int sources_read(struct job *j, uint64_t at, uint8_t *data, uint64_t length)
{
    while (length) {
        uint64_t in, left;
        struct block_node *n = source_at(j->c, j->c->skip_bytes + at, &in, &left);
        uint64_t take = MIN(left, length);
        int r = block_pread(n, in, data, take);
        if (r && j->c->salvage) {
            salvage_read(n, in, data, take);
            r = 0;
        }
        if (r) {
            fail(j, "read", n);
            return r;
        }
        at += take;
        data += take;
        length -= take;
    }
    return 0;
}

static int zeroes_write(struct job *j, uint64_t offset, uint64_t length)
{
    if (j->c->target_is_zero)
        return 0;
    int r = block_write_zeroes_sync(j->c->target, offset, length, true);
    if (r)
        fail(j, "write", j->c->target);
    return r;
}

static int compressed_write(struct job *j, uint64_t offset, const uint8_t *data, uint64_t length)
{
    uint64_t cluster = block_cluster_bytes(j->c->target);
    int r = 0;
    for (uint64_t at = 0; !r && at < length; at += cluster) {
        uint64_t take = MIN(cluster, length - at);
        if (img_is_zero(data + at, take))
            r = zeroes_write(j, offset + at, take);
        else
            r = block_write_compressed(j->c->target, offset + at, data + at, take);
    }
    return r;
}

static int plain_write(struct job *j, uint64_t offset, const uint8_t *data, uint64_t length)
{
    int r = 0;
    if (!j->c->sparse_bytes)
        return block_pwrite(j->c->target, offset, data, length);
    while (!r && length) {
        bool zero;
        /* Pieces begin where the disk has multiples of the unit, so that runs do not depend on the chunks. */
        uint64_t lead = offset % j->unit ? MIN(j->unit - offset % j->unit, length) : 0;
        size_t run = lead ? (zero = img_is_zero(data, lead), lead) : img_zero_run(data, length, j->unit, &zero);
        r = zero ? zeroes_write(j, offset, run) : block_pwrite(j->c->target, offset, data, run);
        offset += run;
        data += run;
        length -= run;
    }
    return r;
}

static void rate_keep(struct job *j, uint64_t length)
{
    uint64_t moved = __atomic_add_fetch(&j->moved_bytes, length, __ATOMIC_RELAXED);
    if (!j->c->rate_bytes)
        return;
    int64_t due = j->started_ns + (int64_t)((double)moved / (double)j->c->rate_bytes * 1e9) - clock_host_ns();
    if (due > 0) {
        const struct timespec t = { due / NS_PER_SECOND, due % NS_PER_SECOND };
        nanosleep(&t, NULL);
    }
}

/* A piece lies in one source. */
static bool offloaded(struct job *j, const struct img_piece *piece)
{
    uint64_t in, left;
    if (!j->c->offload)
        return false;
    struct block_node *n = source_at(j->c, j->c->skip_bytes + piece->offset, &in, &left);
    return !block_copy_range(n, in, j->c->target, piece->offset, piece->length);
}

static int work(struct img_walk *w, const struct img_piece *piece, uint8_t *buffer)
{
    struct job *j = container_of(w, struct job, walk);
    if (piece->kind == SKIP)
        return 0;
    if (piece->kind == ZEROES)
        return zeroes_write(j, piece->offset, piece->length);
    if (offloaded(j, piece)) {
        rate_keep(j, piece->length);
        return 0;
    }
    int r = sources_read(j, piece->offset, buffer, piece->length);
    if (r)
        return r;
    r = j->c->compress ? compressed_write(j, piece->offset, buffer, piece->length)
                       : plain_write(j, piece->offset, buffer, piece->length);
    if (r && !j->failed_what)
        fail(j, "write", j->c->target);
    rate_keep(j, piece->length);
    return r;
}

int img_copy_run(struct img_copy *copy, struct error *err)
{
    struct job j = { .c = copy, .unit = MAX(copy->sparse_bytes, 512ull), .started_ns = clock_host_ns() };
    uint32_t cluster = block_cluster_bytes(copy->target);
    if (copy->sparse_bytes && copy->target_is_zero && !copy->compress && cluster > j.unit && copy->sparse_bytes == 4096)
        j.unit = MIN(cluster, 65536u);      /* a cluster with any data takes its space anyway */
    j.walk = (struct img_walk){
        .to = copy->length_bytes, .threads = copy->threads ? copy->threads : MIN(img_threads(), 16u),
        .buffer_bytes = MAX((uint64_t)CHUNK_BYTES, copy->compress ? (uint64_t)cluster : 0), .buffers = 1, .next = next,
        .work = work, .progress = copy->progress,
    };
    int r = img_walk_run(&j.walk);
    if (!r)
        return 0;
    return error_set(err, "cannot %s '%s' at offset %llu: %s", j.failed_what ? j.failed_what : "copy",
                     block_filename(j.failed_node ? j.failed_node : copy->target), (unsigned long long)j.walk.failed_at,
                     strerror(-r));
}
