/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite img bench': many requests of one size, a number of them in flight, through the path that a machine's disk takes. */
#include "tool/img/img_private.h"

#include <string.h>

#include "base/clock.h"
#include "base/loop.h"

struct bench_args {
    struct img_common c;
    const char *count, *depth, *flush_interval, *aio, *offset, *pattern, *size, *step;
    bool native, no_drain, write;
    enum block_cache cache;
};

#define AT(field) offsetof(struct bench_args, field)
static const struct img_option options[] = {
    IMG_HELP(struct bench_args), IMG_OBJECT_ROW(struct bench_args), IMG_IMAGE_OPTS(struct bench_args),
    IMG_FORMAT(struct bench_args), IMG_QUIET(struct bench_args),
    { 'c', "count", "NUM", IMG_TEXT, AT(count), "how many requests (default 75000)" },
    { 'd', "depth", "NUM", IMG_TEXT, AT(depth), "how many in flight (default 64)" },
    { 's', "buffer-size", "SIZE", IMG_TEXT, AT(size), "size of each (default 4k)" },
    { 'S', "step-size", "SIZE", IMG_TEXT, AT(step), "from one to the next (default: the size)" },
    { 'o', "offset", "OFFSET", IMG_TEXT, AT(offset), "where to begin (default 0)" },
    { 'w', "write", NULL, IMG_FLAG, AT(write), "write instead of reading: FILE loses what it holds there" },
    { 0, "pattern", "BYTE", IMG_TEXT, AT(pattern), "with -w: what is written (default 0)" },
    { 0, "flush-interval", "NUM", IMG_TEXT, AT(flush_interval), "with -w: a flush after so many requests" },
    { 0, "no-drain", NULL, IMG_FLAG, AT(no_drain), "with --flush-interval: go on while the flush runs" },
    { 'n', NULL, NULL, IMG_FLAG, AT(native), "the same as -i native" },
    { 't', "cache", "MODE", IMG_CACHE, AT(cache), "cache mode (default writeback)" },
    { 'i', "aio", "MODE", IMG_TEXT, AT(aio), "threads, native (with -t none), io_uring: chosen by the image's format here" },
    IMG_SHARE(struct bench_args),
    { 0 },
};

struct bench {
    struct block_node *n;
    uint64_t count, depth, size, step, at, flush_every, submitted, finished, since_flush;
    bool write, drain, flushing;
    unsigned flushes;
    int failed;
    struct iovec iov;
};

static void more_submit(struct bench *b);

static void request_done(void *opaque, int result)
{
    struct bench *b = opaque;
    b->finished++;
    if (result && !b->failed)
        b->failed = result;
    more_submit(b);
}

static void flush_done(void *opaque, int result)
{
    struct bench *b = opaque;
    b->flushing = false;
    b->flushes--;
    if (result && !b->failed)
        b->failed = result;
    more_submit(b);
}

static void one_submit(struct bench *b)
{
    uint64_t at = b->at;
    b->at += b->step;
    if (b->at > block_size_bytes(b->n) - b->size)
        b->at = 0;
    b->submitted++;
    b->since_flush++;
    if (b->write)
        block_write(b->n, at, &b->iov, 1, request_done, b);
    else
        block_read(b->n, at, &b->iov, 1, request_done, b);
}

static void more_submit(struct bench *b)
{
    while (!b->failed && b->submitted < b->count && b->submitted - b->finished < b->depth && !(b->drain && b->flushing)) {
        if (b->flush_every && b->since_flush == b->flush_every) {
            if (b->drain && b->submitted != b->finished)
                return;
            b->since_flush = 0;
            b->flushing = true;
            b->flushes++;
            block_flush(b->n, flush_done, b);
            continue;
        }
        one_submit(b);
    }
}

static int number(const char *what, const char *text, uint64_t *value, struct error *err)
{
    return text ? value_unsigned(what, text, INT32_MAX, value, err) : 0;
}

static int numbers_read(struct bench_args *a, struct bench *b, uint64_t *pattern, struct error *err)
{
    static const char *const aios[] = { "threads", "native", "io_uring", NULL };
    unsigned aio = 0;
    *b = (struct bench){ .count = 75000, .depth = 64, .size = 4096, .write = a->write, .drain = !a->no_drain };
    if (number("-c", a->count, &b->count, err) || number("-d", a->depth, &b->depth, err) ||
        number("--flush-interval", a->flush_interval, &b->flush_every, err) ||
        (a->pattern && value_unsigned("--pattern", a->pattern, 255, pattern, err)) ||
        (a->size && img_size_parse("-s", a->size, &b->size, err)) ||
        (a->offset && img_size_parse("-o", a->offset, &b->at, err)) ||
        (a->aio && value_choice("-i", a->aio, aios, &aio, err)))
        return -1;
    b->step = b->size;
    if (a->step && img_size_parse("-S", a->step, &b->step, err))
        return -1;
    if (!b->count || !b->depth || b->depth > 4096 || !b->size || b->size > 64u << 20)
        return error_set(err, "-c and -d are at least 1, -d at most 4096, -s at most 64M");
    if ((b->size | b->step | b->at) % 512)
        return error_set(err, "-s, -S and -o are multiples of 512");
    if (!a->write && (a->pattern || a->flush_interval))
        return error_set(err, "--pattern and --flush-interval are only good with -w");
    if ((a->native || aio == 1) && a->cache != BLOCK_CACHE_NONE && a->cache != BLOCK_CACHE_DIRECTSYNC)
        return error_set(err, "native requests need a cache mode without the host's cache: -t none or directsync");
    return 0;
}

static int bench(struct bench_args *a, struct bench *b, struct error *err)
{
    if (block_size_bytes(b->n) < b->size || b->at > block_size_bytes(b->n) - b->size)
        return error_set(err, "the requests do not fit into the image (%llu bytes)",
                         (unsigned long long)block_size_bytes(b->n));
    if (!a->c.quiet) {
        printf("Sending %llu %s requests, %llu bytes each, %llu in parallel (starting at offset %llu, step size %llu)\n",
               (unsigned long long)b->count, b->write ? "write" : "read", (unsigned long long)b->size,
               (unsigned long long)b->depth, (unsigned long long)b->at, (unsigned long long)b->step);
        fflush(stdout);
    }
    int64_t start = clock_host_ns();
    more_submit(b);
    while (b->submitted != b->finished || b->flushes || (!b->failed && b->finished < b->count))
        loop_step(-1);
    if (b->failed)
        return error_set(err, "a request failed: %s", strerror(-b->failed));
    if (!a->c.quiet)
        printf("Run completed in %.3f seconds.\n", (double)(clock_host_ns() - start) / 1e9);
    return b->write ? img_flush(b->n, err) : 0;
}

static int bench_run(void *args, struct error *err)
{
    struct bench_args *a = args;
    struct bench b;
    uint64_t pattern = 0;
    if (img_files_check(&a->c, &img_verb_bench, 1, 1, err) || numbers_read(a, &b, &pattern, err))
        return -1;
    const struct img_open o = { .filename = a->c.file[0], .format = a->c.format, .image_opts = a->c.image_opts,
                                .writable = a->write, .cache = a->cache };
    b.iov = (struct iovec){ aligned_alloc(4096, ALIGN_UP(b.size, 4096ull)), b.size };
    if (!b.iov.iov_base)
        return error_set(err, "out of memory");
    memset(b.iov.iov_base, (int)pattern, b.size);
    loop_init();
    b.n = img_open(&a->c, &o, err);
    int r = b.n ? bench(a, &b, err) : -1;
    block_close(b.n);
    free(b.iov.iov_base);
    return r;
}

const struct img_verb img_verb_bench = {
    .name = "bench", .operands = "FILE", .summary = "measure the speed of requests",
    .example = "ospite img bench -c 100000 -d 32 disk.qcow2", .options = options, .args_bytes = sizeof(struct bench_args),
    .run = bench_run,
};
