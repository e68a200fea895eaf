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
    printf("%zu operations, %u failures\n", ARRAY_SIZE(operations), failed);
    return report("block/failing", seed) || !failed;
}
