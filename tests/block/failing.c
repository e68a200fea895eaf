/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work on whole qcow2 images on a disk that fails once: each write and each flush of an operation in turn fails, the program goes on
 * and writes elsewhere. What of all that has reached the disk is a matter of chance (block_fault_image). The image must open or be
 * repaired, the disk and its snapshots must hold what they held before, and what was written later and flushed.
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/fault.h"
#include "block/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 32 << 20, DISK = 1 << 20, OLD = 128 << 10, LATER_AT = 512 << 10, LATER = 64 << 10, LOSSES = 3 };

static const struct block_option_value small[] = { { "cluster_size", "512" }, { "refcount_bits", "64" } };
static const struct block_open_options open_options = { .filename = "memory", .format = "qcow2", .discard = true };

static struct block_node *node_over(struct block_protocol *p, bool for_check, const char *snapshot)
{
    struct block_open_options o = open_options;
    struct error err;
    o.for_check = for_check;
    o.internal_snapshot = snapshot;
    o.readonly = snapshot != NULL;
    return block_node_open_over(p, &o, NULL, &err);
}

/* ---- Operations. Each leaves the old part of the disk as it was. ---- */

static int snapshot_make(struct block_node *n)
{
    const struct block_snapshot s = { .name = "s", .date_s = 1 };
    struct error err;
    return block_snapshot_create(n, &s, &err);
}

static int snapshot_apply(struct block_node *n)
{
    struct error err;
    return block_snapshot_apply(n, "s", &err);
}

static int snapshot_delete(struct block_node *n)
{
    struct error err;
    return block_snapshot_delete(n, "s", &err);
}

static int bitmap(struct block_node *n, enum block_bitmap_action action)
{
    const struct block_bitmap_change c = { .action = action, .name = "b", .granularity_bytes = 512 };
    struct error err;
    return block_bitmap_change(n, &c, &err);
}

static int bitmap_add(struct block_node *n)
{
    return bitmap(n, BLOCK_BITMAP_ADD);
}

static int bitmap_remove(struct block_node *n)
{
    return bitmap(n, BLOCK_BITMAP_REMOVE);
}

static int grow(struct block_node *n)
{
    struct error err;
    return block_resize(n, 4 * DISK, BLOCK_PREALLOCATION_OFF, &err);
}

static int shrink(struct block_node *n)
{
    struct error err;
    return block_resize(n, DISK - (128 << 10), BLOCK_PREALLOCATION_OFF, &err);
}

static int amend(struct block_node *n)
{
    const struct block_option_value lazy = { "lazy_refcounts", "on" };
    const struct block_option_set set = { &lazy, 1 };
    struct error err;
    return block_amend(n, &set, false, NULL, &err);
}

static int narrow(struct block_node *n)
{
    const struct block_option_value bits = { "refcount_bits", "32" };
    const struct block_option_set set = { &bits, 1 };
    struct error err;
    return block_amend(n, &set, false, NULL, &err);
}

static int rename_base(struct block_node *n)
{
    struct error err;
    return block_backing_change(n, NULL, NULL, &err);
}

/* Many clusters: the refcount table has to grow. */
static int fill(struct block_node *n)
{
    static uint8_t data[128 << 10];
    int r = block_pwrite(n, OLD, data, sizeof(data));
    return r ? r : block_flush_sync(n);
}

static const struct operation {
    const char *name;
    int (*prepare)(struct block_node *n), (*run)(struct block_node *n);
} operations[] = {
    { "a snapshot is made", NULL, snapshot_make }, { "a snapshot is applied", snapshot_make, snapshot_apply },
    { "a snapshot is deleted", snapshot_make, snapshot_delete }, { "a second snapshot", snapshot_make, snapshot_make },
    { "a bitmap is added", NULL, bitmap_add }, { "a bitmap is removed", bitmap_add, bitmap_remove }, { "it grows", NULL, grow },
    { "it grows with a bitmap", bitmap_add, grow }, { "it shrinks", NULL, shrink }, { "it is amended", NULL, amend },
    { "its counts become narrower", NULL, narrow },
    { "the backing file's name", NULL, rename_base }, { "it is filled", NULL, fill },
};

/* ---- */

static void *image_make(const struct operation *o, const uint8_t *data, size_t *length)
{
    const struct block_option_set set = { small, ARRAY_SIZE(small) };
    const struct block_create_options c = { .filename = "memory", .format = "qcow2", .size_bytes = DISK, .options = &set };
    struct block_protocol *p = block_fault_open(NULL, 0, LIMIT);
    struct error err;
    void *image = NULL;
    check(!block_format_find("qcow2")->create(p, &c, &err), "create");
    struct block_node *n = node_over(p, false, NULL);
    check(n && !block_pwrite(n, 0, data, OLD) && !(o->prepare && o->prepare(n)) && !block_flush_sync(n), "%s: prepared", o->name);
    check(!block_fault_image(p, 0, &image, length), "%s: image", o->name);
    block_close(n);
    return image;
}

static bool holds(struct block_node *n, uint64_t at, const uint8_t *data, size_t length)
{
    static uint8_t found[OLD];
    return n && !block_pread(n, at, found, length) && !memcmp(found, data, length);
}

/* later: what was written afterwards is to be there too. */
static void judge(const char *what, const void *image, size_t length, const uint8_t *data, bool later)
{
    struct block_check c = { .fix = BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS }, again = { 0 };
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    struct error err = { "" };
    struct block_node *n = node_over(p, true, NULL);
    bool repaired = n && !block_check(n, &c, &err) && !block_check(n, &again, &err) && !again.corruptions && !again.check_errors;
    check(repaired, "%s: cannot be repaired: %s, %d errors", what, err.text, (int)again.corruptions);
    check(holds(n, 0, data, OLD), "%s: old data", what);
    check(!later || holds(n, LATER_AT, data, LATER), "%s: later data", what);
    struct block_snapshot *list = NULL;
    unsigned snapshots = 0;
    void *after = NULL;
    size_t after_length = 0;
    bool listed = n && !block_snapshot_list(n, &list, &snapshots, &err) && !block_fault_image(p, 0, &after, &after_length);
    check(listed, "%s: snapshots", what);
    block_close(n);
    for (unsigned i = 0; listed && i < snapshots; i++) {
        n = node_over(block_fault_open(after, after_length, LIMIT), false, list[i].id);
        check(holds(n, 0, data, OLD), "%s: snapshot %s", what, list[i].id);
        block_close(n);
    }
    free(list);
    free(after);
}

/* False: the operation has no such write, or flush. */
static bool failing_test(const struct operation *o, bool flush, unsigned number, const void *image, size_t length, const uint8_t *data)
{
    char what[120];
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    struct block_node *n = node_over(p, false, NULL);
    if (flush)
        block_fault_fail_flush_at(p, number);
    else
        block_fault_fail_at(p, number, EIO);
    int r = o->run(n);
    bool hit = flush ? block_fault_flushes(p) > number : block_fault_writes(p) > number;
    snprintf(what, sizeof(what), "%s, %s %u fails", o->name, flush ? "flush" : "write", number);
    check(hit || !r, "%s: nothing has failed", what);
    bool later = block_size_bytes(n) >= LATER_AT + LATER && !block_pwrite(n, LATER_AT, data, LATER) && !block_flush_sync(n);
    for (unsigned seed = 0; hit && seed < LOSSES; seed++) {
        void *after;
        size_t size;
        if (check(!block_fault_image(p, seed, &after, &size), "%s: image", what))
            judge(what, after, size, data, later);
        free(after);
    }
    block_close(n);
    return hit;
}

/* ---- A disk with some data, on which something else fails. ---- */

static struct block_node *disk_make(uint64_t limit, struct block_protocol **p)
{
    static const struct operation none = { "nothing", NULL, NULL };
    static uint8_t data[OLD];
    size_t length = 0;
    void *image = image_make(&none, data, &length);
    *p = block_fault_open(image, length, limit ? length + limit : LIMIT);
    free(image);
    return node_over(*p, false, NULL);
}

/* Closes it; what is on the disk then has neither errors nor leaks. */
static void clean_judge(struct block_protocol *p, struct block_node *n, const char *what)
{
    struct block_check c = { 0 };
    struct error err = { "" };
    void *after = NULL;
    size_t size = 0;
    check(!block_fault_image(p, 0, &after, &size), "%s: image", what);
    block_close(n);
    n = node_over(block_fault_open(after, size, LIMIT), true, NULL);
    bool checked = n && !block_check(n, &c, &err);
    check(checked && !c.corruptions && !c.leaks, "%s: %d errors, %d leaks %s", what, (int)c.corruptions, (int)c.leaks, err.text);
    block_close(n);
    free(after);
}

static int write_much(struct block_node *n)
{
    static uint8_t data[128 << 10];
    return block_pwrite(n, OLD, data, sizeof(data));
}

/* A write that fails gives its clusters back. False: it has no such write. */
static bool giving_back_test(unsigned number)
{
    char what[80];
    struct block_protocol *p;
    struct block_node *n = disk_make(0, &p);
    snprintf(what, sizeof(what), "write %u of a write fails", number);
    block_fault_fail_at(p, number, EIO);
    int r = write_much(n);
    if (block_flush_sync(n))        /* the header was to name another refcount table: nothing is written any more */
        block_close(n);
    else
        clean_judge(p, n, what);
    return r;
}

/*
 * Growing with preallocation fails at one write, or because the disk has room for so many bytes and no more: the disk is as it was, and
 * nothing has leaked. False: it has not failed.
 */
static bool growing_test(enum block_preallocation mode, unsigned number, uint64_t room)
{
    char what[80];
    static uint8_t found[OLD], zeroes[OLD];
    struct block_protocol *p;
    struct error err = { "" };
    struct block_node *n = disk_make(room, &p);
    snprintf(what, sizeof(what), "growing, preallocation %d, write %u fails, room %u", mode, number, (unsigned)room);
    if (!room)
        block_fault_fail_at(p, number, ENOSPC);
    int r = block_resize(n, 2 * DISK, mode, &err);
    bool hit = room ? r : block_fault_writes(p) > number;
    check(block_size_bytes(n) == (r ? DISK : 2 * DISK), "%s: %llu bytes", what, (unsigned long long)block_size_bytes(n));
    check(!r || strstr(err.text, "No space left"), "%s: '%s'", what, err.text);
    check(!block_pread(n, 0, found, OLD) && !memcmp(found, zeroes, OLD), "%s: old data", what);
    if (block_flush_sync(n))
        block_close(n);
    else
        clean_judge(p, n, what);
    return hit;
}

/* ---- One read fails, and the disk is well again. ---- */

static struct {
    const struct block_protocol_ops *ops;
    unsigned until;
} reads;

static int read_or_fail(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    return reads.until-- ? reads.ops->preadv(p, offset, iov, iovcnt) : -EIO;
}

/* False: writing takes no more reads. */
static bool reading_test(unsigned number)
{
    char what[80];
    static uint8_t data[OLD];
    struct block_protocol *p;
    struct block_node *n = disk_make(0, &p);
    snprintf(what, sizeof(what), "read %u of a write fails", number);
    reads.ops = p->ops;
    reads.until = number;
    struct block_protocol_ops failing = *p->ops;
    failing.preadv = read_or_fail;
    p->ops = &failing;
    int r = write_much(n);
    bool hit = reads.until > number;
    p->ops = reads.ops;
    check(hit == !!r, "%s: it gives %d", what, r);
    check(!block_pwrite(n, LATER_AT, data, LATER) && !block_flush_sync(n), "%s: later writes", what);
    clean_judge(p, n, what);
    return hit;
}

/* ---- How often a disk is flushed that is written to and closed. ---- */

static unsigned flushes;
static const struct block_protocol_ops *flushed_ops;

static int flush_counted(struct block_protocol *p)
{
    flushes++;
    return flushed_ops->flush(p);
}

/* Data before the tables that lead to them, and these at the end; one more for a new L2 table, and for counts that go down. */
static void closing_test(const char *what, uint64_t at, bool zeroes, unsigned most)
{
    static uint8_t data[4096];
    struct block_protocol *p;
    struct block_node *n = disk_make(0, &p);
    flushed_ops = p->ops;
    struct block_protocol_ops counting = *p->ops;
    counting.flush = flush_counted;
    p->ops = &counting;
    flushes = 0;
    check(!(zeroes ? block_write_zeroes_sync(n, at, sizeof(data), true) : block_pwrite(n, at, data, sizeof(data))), "%s: a write", what);
    block_close(n);
    check(flushes <= most, "%s: %u flushes, at most %u are needed", what, flushes, most);
}

/* What a disk cannot store when it is closed is told: nobody is left who could ask. */
static void last_words_test(const char *format)
{
    const struct block_create_options c = { .filename = "memory", .format = format, .size_bytes = 8 << 20,
                                            .options = &(const struct block_option_set){ NULL, 0 } };
    const struct block_open_options o = { .filename = "memory", .format = format };
    static uint8_t data[65536] = { 1 };
    struct block_protocol *p = block_fault_open(NULL, 0, LIMIT);
    struct error err = { "" };
    FILE *own = stderr;
    char *said = NULL;
    size_t length;
    check(!block_format_find(format)->create(p, &c, &err), "%s: %s", format, err.text);
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    check(n && !block_pwrite(n, 0, data, sizeof(data)), "%s: a write: %s", format, err.text);
    block_fault_fail_at(p, block_fault_writes(p), ENOSPC);
    stderr = open_memstream(&said, &length);
    block_close(n);
    fclose(stderr);
    stderr = own;
    check(strstr(said, "last changes could not be written: No space left"), "%s: closed with '%s'", format, said);
    free(said);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1212, rng = seed;
    static uint8_t data[OLD];
    unsigned failed = 0;
    loop_init();
    rng_fill(&rng, data, sizeof(data));
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        size_t length = 0;
        void *image = image_make(&operations[i], data, &length);
        for (unsigned flush = 0; flush < 2; flush++)
            for (unsigned k = 0; failing_test(&operations[i], flush, k, image, length, data); k++)
                failed++;
        free(image);
    }
    for (unsigned k = 0; giving_back_test(k); k++)
        failed++;
    for (unsigned k = 0; reading_test(k); k++)
        failed++;
    for (enum block_preallocation mode = BLOCK_PREALLOCATION_METADATA; mode <= BLOCK_PREALLOCATION_FULL; mode++) {
        for (unsigned k = 0; growing_test(mode, k, 0); k++)
            failed++;
        for (uint64_t room = 512; growing_test(mode, 0, room); room += 512 * 61)
            failed++;
    }
    last_words_test("vdi");
    last_words_test("vmdk");
    last_words_test("qcow2");
    closing_test("an old cluster", 0, false, 1);
    closing_test("a new cluster", OLD, false, 3);
    closing_test("a cluster given up", 4096, true, 2);
    printf("%zu operations, %u failures\n", ARRAY_SIZE(operations), failed);
    return report("block/failing", seed) || !failed;
}
