/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file protocol as with O_DIRECT on a disk with blocks of 4096 bytes, whatever this one has: what is no whole block is read, merged
 * and written. Between the read and the write of one request others run, which must not be undone: zeroes and holes in the same block, and
 * writes that make the file longer. A read that ends inside a block has come to the file's end: a strict file system would refuse to go on.
 */
#include "common.h"

#include <errno.h>
#include <pthread.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BLOCK = 4096, PATIENCE_US = 100000 };

static ssize_t strict_preadv(int fd, const struct iovec *iov, int count, off_t at);
static ssize_t paused_pwritev(int fd, const struct iovec *iov, int count, off_t at);
#define preadv(fd, iov, count, at) strict_preadv(fd, iov, count, at)
#define pwritev(fd, iov, count, at) paused_pwritev(fd, iov, count, at)
#include "block/file.c"
#undef preadv
#undef pwritev

#include "base/error.h"

static bool armed;                  /* the next write waits for the other request */

static struct other {
    struct file *f;
    int (*run)(struct file *f);
    pthread_t thread;
    bool done;
    int result;
} other;

static void *other_run(void *opaque)
{
    other.result = other.run(other.f);
    __atomic_store_n(&other.done, true, __ATOMIC_RELEASE);
    return NULL;
}

static ssize_t strict_preadv(int fd, const struct iovec *iov, int count, off_t at)
{
    if (at % BLOCK) {
        errno = EINVAL;
        return -1;
    }
    return preadv(fd, iov, count, at);
}

static ssize_t paused_pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
    if (armed) {
        armed = false;
        check(!pthread_create(&other.thread, NULL, other_run, NULL), "a thread");
        for (unsigned us = 0; us < PATIENCE_US && !__atomic_load_n(&other.done, __ATOMIC_ACQUIRE); us += 1000)
            usleep(1000);
    }
    return pwritev(fd, iov, count, at);
}

static struct file *file_of_bytes(const char *name, uint8_t byte, size_t length)
{
    const struct block_file_options o = { .no_lock = true };
    struct error err = { "" };
    uint8_t *data = malloc(length + 1);
    memset(data, byte, length);
    file_write(name, data, length);
    free(data);
    struct block_protocol *p = block_file_open(name, &o, &err);
    if (!check(p, "%s", err.text))
        exit(1);
    struct file *f = file_of(p);
    f->align = f->memory_align = BLOCK;
    return f;
}

static int first_zeroes(struct file *f)
{
    return block_protocol_write_zeroes(&f->p, 0, BLOCK / 2, false);
}

static int first_unmapped(struct file *f)
{
    return block_protocol_write_zeroes(&f->p, 0, BLOCK / 2, true);
}

static int first_discarded(struct file *f)
{
    return f->p.ops->discard(&f->p, 0, BLOCK / 2);
}

static int farther(struct file *f)
{
    uint8_t *data = aligned_alloc(BLOCK, BLOCK);
    memset(data, 7, BLOCK);
    int r = block_protocol_pwrite(&f->p, 16 * BLOCK, data, BLOCK);
    free(data);
    return r;
}

static int longer(struct file *f)
{
    return f->p.ops->truncate(&f->p, 17 * BLOCK, BLOCK_PREALLOCATION_OFF);
}

static int zeroes_behind(struct file *f)
{
    return block_protocol_write_zeroes(&f->p, 16 * BLOCK, BLOCK, false);
}

/* A write of a quarter of a block, and the other one while it is under way. All of both is there afterwards. */
static void pair_test(const char *what, int (*run)(struct file *f), uint64_t at, bool first_is_zero)
{
    uint8_t data[BLOCK / 4], found[BLOCK / 2];
    struct file *f = file_of_bytes("pair", 3, BLOCK);
    other = (struct other){ .f = f, .run = run };
    memset(data, 5, sizeof(data));
    armed = true;
    check(!block_protocol_pwrite(&f->p, at, data, sizeof(data)), "%s: a write", what);
    pthread_join(other.thread, NULL);
    check(!other.result, "%s: %s", what, strerror(-other.result));
    check(!block_protocol_pread(&f->p, at, found, sizeof(data)) && !memcmp(found, data, sizeof(data)), "%s: the write is lost", what);
    check(!block_protocol_pread(&f->p, 0, found, sizeof(found)) && found[0] == (first_is_zero ? 0 : 3) &&
          found[sizeof(found) - 1] == found[0], "%s: the block begins with %u", what, found[0]);
    int64_t size = file_size(&f->p), wanted = first_is_zero ? BLOCK : 17 * BLOCK;
    check(size == wanted, "%s: the file has %lld bytes, not %lld", what, (long long)size, (long long)wanted);
    if (run == farther)
        check(!block_protocol_pread(&f->p, 16 * BLOCK, found, 512) && found[0] == 7 && found[511] == 7, "%s: what lay behind is lost", what);
    f->p.ops->close(&f->p);
}

static void end_test(size_t length)
{
    uint8_t *found = aligned_alloc(BLOCK, 8 * BLOCK);
    struct file *f = file_of_bytes("end", 9, length);
    for (unsigned misaligned = 0; misaligned < 2; misaligned++) {
        size_t take = 8 * BLOCK - 512 * misaligned;
        memset(found, 1, 8 * BLOCK);
        check(!block_protocol_pread(&f->p, 0, found, take), "%zu bytes: reading past the end", length);
        for (size_t i = 0; i < take; i++)
            if (!check(found[i] == (i < length ? 9 : 0), "%zu bytes: byte %zu is %u", length, i, found[i]))
                break;
    }
    f->p.ops->close(&f->p);
    free(found);
}

/* The end of a file stays where a write ends. */
static void length_test(void)
{
    uint8_t data[1024] = { 1 };
    struct file *f = file_of_bytes("length", 3, 1000);
    check(!block_protocol_pwrite(&f->p, 512, data, 512) && file_size(&f->p) == 1024, "a last sector grows to %lld", (long long)file_size(&f->p));
    check(!block_protocol_pwrite(&f->p, 0, data, 512) && file_size(&f->p) == 1024, "a first sector does not shorten it");
    f->p.ops->close(&f->p);
}

int main(void)
{
    test_directory_enter();
    end_test(1000);
    end_test(BLOCK + 512);
    end_test(5 * BLOCK + 1);
    end_test(2 * BLOCK);
    length_test();
    pair_test("zeroes", first_zeroes, BLOCK / 2, true);
    pair_test("a hole", first_unmapped, BLOCK / 2, true);
    pair_test("a discard", first_discarded, BLOCK / 2, true);
    pair_test("a write far behind", farther, BLOCK, false);
    pair_test("a longer file", longer, BLOCK, false);
    pair_test("zeroes far behind", zeroes_behind, BLOCK, false);
    return report("block/direct", 0);
}
