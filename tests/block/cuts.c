/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power cuts in the work on whole images: random series of writes, snapshots made, applied and deleted, resizes, options
 * amended, bitmaps changed, images emptied after a commit and given another backing file. A series runs once over a
 * recorder; then the power goes before each of its writes (or many of them), with orders and losses that a disk with a
 * volatile cache allows. What is found must open; its check must be clean but for leaks (where the documents allow
 * it, counts and flags that a repair mends), before and after a repair the disk, its size, its snapshots and its bitmaps must
 * be those before or after the operation that was cut off, and a repaired image must be clean. qemu-img looks at a sample.
 *
 * Arguments: how many cuts (2600), the seed.
 */
#include "common.h"
#include "recorder.h"

#include "base/error.h"
#include "base/bits.h"
#include "base/loop.h"
#include "block/fault.h"
#include "block/qcow2/bitmap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPS = 16, SNAPSHOTS = 4, SAMPLE = 50, LIMIT = 64 << 20, WRITE_CUTS = 6, OTHER_CUTS = 40 };

struct kind {
    const char *name, *create;
    uint64_t size;
    bool snapshots, bitmaps, amends, backing, resizes;
};

static const struct kind kinds[] = {
    { "v3, 4 KiB clusters", "-o cluster_size=4k image.x 512k", 512 << 10, true, true, true, false, true },
    { "v3, 512-byte clusters", "-o cluster_size=512 image.x 192k", 192 << 10, true, true, true, false, true },
    { "v3, extended L2, 16 KiB clusters", "-o cluster_size=16k,extended_l2=on image.x 1M", 1 << 20, true, true, true, false, true },
    { "v3, lazy refcounts", "-o cluster_size=2k,lazy_refcounts=on image.x 256k", 256 << 10, true, true, true, false, true },
    { "v2, 1 KiB clusters", "-o cluster_size=1k,compat=0.10 image.x 256k", 256 << 10, true, false, false, false, false },
    { "v3, 1-bit refcounts", "-o cluster_size=2k,refcount_bits=1 image.x 256k", 256 << 10, false, true, false, false, true },
    { "v3 over raw, 4 KiB clusters", "-b base.x -F raw -o cluster_size=4k image.x 512k", 512 << 10, true, true, true, true, true },
    { "v3 over raw, extended L2", "-b base.x -F raw -o cluster_size=16k,extended_l2=on image.x 512k", 512 << 10, false, true, false,
      true, true },
};

/* What the image is between two operations. */
struct state {
    uint64_t size;
    uint8_t *disk;
    struct { char name[8]; uint64_t size; uint8_t *disk; } snapshot[SNAPSHOTS];
    unsigned snapshots;
    bool bitmap;                    /* "b" is there, and records; since: the disk when it was last clear */
    uint64_t since_size;
    uint8_t *since;
    struct { uint8_t *data; uint64_t size; } base[2];   /* the files that may be its backing file */
};

enum what { WRITE, SNAPSHOT_MAKE, SNAPSHOT_APPLY, SNAPSHOT_DELETE, RESIZE, AMEND, BITMAP_ADD, BITMAP_REMOVE, BITMAP_CLEAR, EMPTY,
            REBASE, WHATS };
static const char *const names[] = { "write", "snapshot -c", "snapshot -a", "snapshot -d", "resize", "amend", "bitmap --add",
                                     "bitmap --remove", "bitmap --clear", "commit", "rebase" };

static const char *const base_names[] = { "base.x", "base2.x" };

struct write { uint64_t offset, length; uint8_t *data; };

struct op {
    enum what what;
    size_t from, to;                /* positions in the log */
    struct write *write;            /* of WRITE, which are not in order */
    unsigned writes;
};

struct series {
    const struct kind *k;
    struct block_protocol *p;
    struct block_node *n;
    struct op op[OPS];
    struct state state[OPS + 1];
    unsigned ops, numbers, base;
    const struct op *judged;        /* whose base files lie there */
};

static unsigned cuts, repairs, whats[WHATS];

static void *copy(const void *data, uint64_t length)
{
    void *c = malloc(length + 1);
    memcpy(c, data, length);
    return c;
}

static struct state state_copy(const struct state *s)
{
    struct state n = *s;
    n.disk = copy(s->disk, s->size);
    n.since = s->since ? copy(s->since, s->since_size) : NULL;
    for (unsigned i = 0; i < 2; i++)
        n.base[i].data = s->base[i].data ? copy(s->base[i].data, s->base[i].size) : NULL;
    for (unsigned i = 0; i < n.snapshots; i++)
        n.snapshot[i].disk = copy(s->snapshot[i].disk, s->snapshot[i].size);
    return n;
}

static void state_free(struct state *s)
{
    free(s->disk);
    free(s->since);
    free(s->base[0].data);
    free(s->base[1].data);
    for (unsigned i = 0; i < s->snapshots; i++)
        free(s->snapshot[i].disk);
}

static void *disk_read(struct block_node *n)
{
    void *disk = malloc(block_size_bytes(n) + 1);
    check(!block_pread(n, 0, disk, block_size_bytes(n)), "reading the disk");
    return disk;
}

static struct block_node *node_over(struct block_protocol *p, bool readonly, const char *snapshot, bool for_check, struct error *err)
{
    const struct block_open_options o = { .filename = "memory", .format = "qcow2", .no_lock = true, .readonly = readonly,
                                          .internal_snapshot = snapshot, .for_check = for_check, .discard = true };
    return block_node_open_over(p, &o, NULL, err);
}

static void reopen(struct series *s, struct error *err)
{
    block_close(s->n);
    s->n = node_over(s->p, false, NULL, false, err);
    if (!s->n) {
        printf("FAILED: %s: %s\n", s->k->name, err->text);
        exit(1);
    }
}

/* ---- The series ---- */

static void writes_do(uint64_t *rng, struct series *s, struct op *o, struct state *t)
{
    o->writes = 1 + (unsigned)rng_below(rng, 12);
    o->write = calloc(o->writes, sizeof(*o->write));
    for (unsigned i = 0; i < o->writes; i++) {
        struct write *w = &o->write[i];
        w->offset = 512 * rng_below(rng, t->size / 512);
        w->length = MIN(512 * (1 + rng_below(rng, rng_below(rng, 2) ? 8 : 100)), t->size - w->offset);
        if (rng_below(rng, 4)) {
            w->data = malloc(w->length);
            rng_fill(rng, w->data, w->length);
            memcpy(t->disk + w->offset, w->data, w->length);
            check(!block_pwrite(s->n, w->offset, w->data, w->length), "a write");
        } else {
            memset(t->disk + w->offset, 0, w->length);
            check(!block_write_zeroes_sync(s->n, w->offset, w->length, rng_below(rng, 2)), "zeroes");
        }
    }
}

static void snapshot_do(uint64_t *rng, struct series *s, enum what what, struct state *t, struct error *err)
{
    unsigned i = t->snapshots ? (unsigned)rng_below(rng, t->snapshots) : 0;
    if (what == SNAPSHOT_MAKE) {
        struct block_snapshot made = { .date_s = 1 };
        snprintf(made.name, sizeof(made.name), "s%u", s->numbers++);
        strcpy(t->snapshot[t->snapshots].name, made.name);
        t->snapshot[t->snapshots].size = t->size;
        t->snapshot[t->snapshots++].disk = copy(t->disk, t->size);
        check(!block_snapshot_create(s->n, &made, err), "%s: %s", s->k->name, err->text);
    } else if (what == SNAPSHOT_APPLY) {
        check(!block_snapshot_apply(s->n, t->snapshot[i].name, err), "%s: %s", s->k->name, err->text);
        free(t->disk);
        t->size = t->snapshot[i].size;
        t->disk = copy(t->snapshot[i].disk, t->size);
        t->since_size = MIN(t->since_size, t->size);
    } else {
        check(!block_snapshot_delete(s->n, t->snapshot[i].name, err), "%s: %s", s->k->name, err->text);
        free(t->snapshot[i].disk);
        t->snapshot[i] = t->snapshot[--t->snapshots];
    }
}

static void resize_do(uint64_t *rng, struct series *s, struct state *t, struct error *err)
{
    uint64_t size = 512 * (1 + rng_below(rng, s->k->size * 5 / 4 / 512));
    check(!block_resize(s->n, size, BLOCK_PREALLOCATION_OFF, err), "%s: %s", s->k->name, err->text);
    uint8_t *disk = calloc(1, size + 1);
    memcpy(disk, t->disk, MIN(size, t->size));
    free(t->disk);
    t->disk = disk;
    t->size = size;
    t->since_size = MIN(t->since_size, size);
}

static void amend_do(uint64_t *rng, struct series *s, struct error *err)
{
    static const struct block_option_value values[] = {
        { "refcount_bits", "8" }, { "refcount_bits", "16" }, { "refcount_bits", "64" }, { "lazy_refcounts", "on" },
        { "lazy_refcounts", "off" },
    };
    const struct block_option_set set = { &values[rng_below(rng, ARRAY_SIZE(values))], 1 };
    check(!block_amend(s->n, &set, false, NULL, err), "%s: %s", s->k->name, err->text);
}

static void bitmap_do(struct series *s, enum what what, struct state *t, struct error *err)
{
    const struct block_bitmap_change c = {
        .action = what == BITMAP_ADD ? BLOCK_BITMAP_ADD : what == BITMAP_REMOVE ? BLOCK_BITMAP_REMOVE : BLOCK_BITMAP_CLEAR,
        .name = "b", .granularity_bytes = 512,
    };
    check(!block_bitmap_change(s->n, &c, err), "%s: %s", s->k->name, err->text);
    free(t->since);
    t->since = what == BITMAP_REMOVE ? NULL : copy(t->disk, t->size);
    t->since_size = t->size;
    t->bitmap = what != BITMAP_REMOVE;
}

/* What commit does when the data are in the base: it lets go of them. */
static void empty_do(struct series *s, struct state *t, struct error *err)
{
    file_write(base_names[s->base], t->disk, t->size);
    free(t->base[s->base].data);
    t->base[s->base].data = copy(t->disk, t->size);
    t->base[s->base].size = t->size;
    reopen(s, err);                 /* the base may have another size now */
    check(!block_make_empty(s->n, err), "%s: %s", s->k->name, err->text);
}

/* What rebase does: the old base's data go into the image, then the header names the new one. */
static void rebase_do(struct series *s, struct state *t, struct error *err)
{
    for (uint64_t at = 0; at < t->size; at += 4096) {
        struct block_map m = { .present = true };
        uint64_t length = MIN(t->size - at, 4096ull);
        check(!block_map_get(s->n, at, length, 1, &m), "the map");
        if (!m.present || m.length_bytes < length)
            check(!block_pwrite(s->n, at, t->disk + at, length), "a write");
    }
    s->base = !s->base;
    check(!block_flush_sync(s->n), "a flush");
    check(!block_backing_change(s->n, base_names[s->base], "raw", err), "%s: %s", s->k->name, err->text);
}

static bool can_do(const struct series *s, enum what what, const struct state *t)
{
    const struct kind *k = s->k;
    switch (what) {
    case WRITE: return true;
    case SNAPSHOT_MAKE: return k->snapshots && t->snapshots < SNAPSHOTS;
    case SNAPSHOT_APPLY: case SNAPSHOT_DELETE: return k->snapshots && t->snapshots;
    case RESIZE: return k->resizes && !(t->snapshots && s->k->backing);
    case AMEND: return k->amends;
    case BITMAP_ADD: return k->bitmaps && !t->bitmap;
    case BITMAP_REMOVE: case BITMAP_CLEAR: return t->bitmap;
    case EMPTY: return k->backing && !t->snapshots;
    default: return k->backing && !t->snapshots;
    }
}

static void op_run(uint64_t *rng, struct series *s, struct op *o, struct state *t)
{
    struct error err = { "" };
    do
        o->what = rng_below(rng, 3) ? (enum what)rng_below(rng, WHATS) : WRITE;
    while (!can_do(s, o->what, t));
    o->from = recorder_count(s->p);
    if (o->what == WRITE)
        writes_do(rng, s, o, t);
    else if (o->what <= SNAPSHOT_DELETE)
        snapshot_do(rng, s, o->what, t, &err);
    else if (o->what == RESIZE)
        resize_do(rng, s, t, &err);
    else if (o->what == AMEND)
        amend_do(rng, s, &err);
    else if (o->what <= BITMAP_CLEAR)
        bitmap_do(s, o->what, t, &err);
    else if (o->what == EMPTY)
        empty_do(s, t, &err);
    else
        rebase_do(s, t, &err);
    check(!block_flush_sync(s->n), "a flush");
    if (o->what == REBASE || rng_below(rng, 3) == 0)
        reopen(s, &err);
    o->to = recorder_count(s->p);
    uint8_t *now = disk_read(s->n);
    check(block_size_bytes(s->n) == t->size && !memcmp(now, t->disk, t->size), "%s: the disk differs after %s", s->k->name,
          names[o->what]);
    free(now);
}

/* ---- What is found ---- */

struct found {
    struct series *s;
    const struct op *o;
    size_t cut;
    uint64_t seed;
    const char *when;
};

static bool judge(const struct found *f, bool ok, const char *what)
{
    return check(ok, "%s: %s, cut before write %zu (%zu to %zu), seed %llu, %s: %s", f->s->k->name, names[f->o->what], f->cut,
                 f->o->from, f->o->to, (unsigned long long)f->seed, f->when, what);
}

static bool disk_is(const struct state *t, uint64_t size, const uint8_t *disk)
{
    return t->size == size && !memcmp(t->disk, disk, size);
}

/* Each sector is what it was before, or something written to it since. */
static bool disk_is_mixed(const struct op *o, const struct state *before, const uint8_t *disk)
{
    static const uint8_t zeroes[512];
    for (uint64_t at = 0; at < before->size; at += 512) {
        bool ok = !memcmp(disk + at, before->disk + at, 512);
        for (unsigned i = 0; !ok && i < o->writes; i++) {
            const struct write *w = &o->write[i];
            ok = at >= w->offset && at < w->offset + w->length &&
                 !memcmp(disk + at, w->data ? w->data + (at - w->offset) : zeroes, 512);
        }
        if (!ok)
            return false;
    }
    return true;
}

/* A bitmap that counts has every sector that differs from when it was clear. */
static bool bitmap_covers(struct block_node *n, const struct state *t, const uint8_t *disk)
{
    struct block_bitmap_status b;
    struct error err;
    uint64_t size = block_size_bytes(n);
    for (uint64_t at = 0; at < MIN(size, t->since_size); at += 512) {
        if (!memcmp(disk + at, t->since + at, 512))
            continue;
        if (block_bitmap_status_get(n, "b", at, 512, &b, &err) || !b.dirty)
            return false;
    }
    return true;
}

static bool bitmap_is_right(struct block_node *n, const struct state *before, const struct state *after, const uint8_t *disk)
{
    struct block_bitmap *list;
    unsigned count;
    struct error err;
    if (block_bitmap_list(n, &list, &count, &err))
        return false;
    bool there = count, in_use = count && list[0].in_use;
    free(list);
    if (there != before->bitmap && there != after->bitmap)
        return false;
    return !there || in_use || (before->bitmap && bitmap_covers(n, before, disk)) ||
           (after->bitmap && bitmap_covers(n, after, disk));
}

static bool snapshots_are(const struct state *t, const void *image, size_t length, struct block_node *n)
{
    struct block_snapshot *list;
    unsigned count;
    struct error err;
    if (block_snapshot_list(n, &list, &count, &err))
        return false;
    bool ok = count == t->snapshots;
    for (unsigned i = 0; ok && i < count; i++) {
        struct block_protocol *p = block_fault_open(image, length, LIMIT);
        struct block_node *s = node_over(p, true, t->snapshot[i].name, false, &err);
        ok = s && block_size_bytes(s) == t->snapshot[i].size;
        uint8_t *disk = ok ? disk_read(s) : NULL;
        ok = ok && !memcmp(disk, t->snapshot[i].disk, t->snapshot[i].size);
        free(disk);
        block_close(s);
    }
    free(list);
    return ok;
}

static void content_judge(const struct found *f, const void *image, size_t length)
{
    const struct state *before = &f->s->state[f->o - f->s->op], *after = before + 1;
    struct error err = { "" };
    struct block_node *n = node_over(block_fault_open(image, length, LIMIT), true, NULL, false, &err);
    if (!judge(f, n, err.text))
        return;
    uint64_t size = block_size_bytes(n);
    uint8_t *disk = disk_read(n);
    judge(f, disk_is(before, size, disk) || disk_is(after, size, disk) ||
          (f->o->what == WRITE && size == before->size && disk_is_mixed(f->o, before, disk)), "the disk is another");
    judge(f, snapshots_are(before, image, length, n) || snapshots_are(after, image, length, n), "the snapshots are others");
    judge(f, bitmap_is_right(n, before, after, disk), "the bitmap lies");
    free(disk);
    block_close(n);
}

static char first_line[256];
static void line_keep(struct block_check *c, const char *line)
{
    if (!*first_line && strncmp(line, "The dirty bitmap", 16))
        snprintf(first_line, sizeof(first_line), "%s", line);
}

/* Where counts and flags may be wrong until somebody mends them. */
static bool may_need_repair(const struct found *f, const struct qcow2 *q)
{
    return q->incompatible & QCOW2_INCOMPAT_DIRTY || (f->o->what >= SNAPSHOT_MAKE && f->o->what <= SNAPSHOT_DELETE);
}

static void found_judge(struct found *f, void *image, size_t length)
{
    struct error err = { "" };
    f->when = "as found";
    content_judge(f, image, length);
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    struct block_node *n = node_over(p, false, NULL, true, &err);
    if (!judge(f, n, err.text))
        return;
    struct block_check c = { .say = line_keep }, fix = { .fix = BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS }, again = { .say = line_keep };
    *first_line = 0;
    judge(f, !block_check(n, &c, &err) && !c.check_errors, err.text);
    judge(f, !c.corruptions || may_need_repair(f, n->state), first_line);
    repairs += c.corruptions != 0;
    if (c.corruptions || c.leaks || f->seed % 8 == 0) {
        size_t mended;
        void *after;
        f->when = "repaired";
        judge(f, !block_check(n, &fix, &err), err.text);
        judge(f, !block_flush_sync(n), "flush");
        *first_line = 0;
        judge(f, !block_check(n, &again, &err) && !again.corruptions && !again.leaks, first_line);
        block_protocol_flush(p);
        if (!block_fault_image(p, 0, &after, &mended)) {
            content_judge(f, after, mended);
            free(after);
        }
    }
    block_close(n);
}

/* The image goes on being used without a repair. */
static void use_judge(struct found *f, void *image, size_t length)
{
    struct error err = { "" };
    uint8_t sector[512];
    f->when = "used";
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    struct block_node *n = node_over(p, false, NULL, false, &err);
    if (!judge(f, n, err.text))
        return;
    void *after;
    size_t mended;
    judge(f, !block_pread(n, 0, sector, 512) && !block_pwrite(n, 0, sector, 512) && !block_flush_sync(n), "a write fails");
    n->format->close(n);
    n->format = &block_format_raw;
    block_protocol_flush(p);
    if (!block_fault_image(p, 0, &after, &mended)) {
        f->when = "closed after use";
        content_judge(f, after, mended);
        free(after);
    }
    block_close(n);
}

static void qemu_judge(struct found *f, const void *image, size_t length)
{
    f->when = "qemu-img";
    file_write("crash.x", image, length);
    int r = run("qemu-img check -q -f qcow2 crash.x");
    if (r == 2 && (f->o->what == SNAPSHOT_MAKE || f->o->what == SNAPSHOT_APPLY || f->o->what == SNAPSHOT_DELETE))
        r = run("qemu-img check -q -r all -f qcow2 crash.x; qemu-img check -q -f qcow2 crash.x");
    judge(f, r == 0 || r == 3 || run("qemu-img info crash.x | grep -q 'shut down: no\\|lazy refcounts: true'") == 0,
          run_output("qemu-img check -f qcow2 crash.x 2>&1 | head -3"));
}

static void cut_judge(struct series *s, struct op *o, size_t cut, uint64_t seed)
{
    struct found f = { .s = s, .o = o, .cut = cut, .seed = seed };
    size_t length;
    void *image = recorder_cut(s->p, cut, seed, &length);
    const struct state *after = &s->state[o - s->op + 1];
    for (unsigned i = 0; i < 2 && s->k->backing && s->judged != o; i++)
        file_write(base_names[i], after->base[i].data, after->base[i].size);
    s->judged = o;
    cuts++;
    whats[o->what]++;
    found_judge(&f, image, length);
    if (seed % 4 == 0)
        use_judge(&f, image, length);
    if (cuts % SAMPLE == 0)
        qemu_judge(&f, image, length);
    free(image);
}

/* Every position of a short operation, so many of a long one; each position of what is no plain write twice. */
static void series_cut(uint64_t *rng, struct series *s)
{
    for (struct op *o = s->op; o < s->op + s->ops; o++) {
        size_t all = o->to - o->from, wanted = MIN(all, (size_t)(o->what == WRITE ? WRITE_CUTS : OTHER_CUTS));
        for (size_t i = 0; i < wanted; i++) {
            size_t cut = o->from + 1 + (wanted == all ? i : rng_below(rng, all));
            for (unsigned k = 0; k < (o->what == WRITE ? 1u : 2u); k++)
                cut_judge(s, o, cut, rng_next(rng) >> 16);
        }
    }
}

static void series_free(struct series *s)
{
    for (unsigned i = 0; i <= s->ops; i++)
        state_free(&s->state[i]);
    for (unsigned i = 0; i < s->ops; i++) {
        for (unsigned k = 0; k < s->op[i].writes; k++)
            free(s->op[i].write[k].data);
        free(s->op[i].write);
    }
    block_close(s->n);
    recorder_free(s->p);
}

static void series_run(uint64_t *rng, const struct kind *k)
{
    struct series s = { .k = k };
    struct error err;
    size_t length;
    run("rm -f *.x; head -c %llu /dev/urandom > base.x; head -c %llu /dev/urandom > base2.x",
        (unsigned long long)k->size, (unsigned long long)k->size);
    if (!check(run("qemu-img create -q -f qcow2 %s", k->create) == 0, "making the image"))
        return;
    void *image = file_read("image.x", &length);
    s.p = recorder_open(image, length);
    free(image);
    s.n = node_over(s.p, false, NULL, false, &err);
    if (!check(s.n, "%s: %s", k->name, err.text))
        return;
    s.state[0] = (struct state){ .size = block_size_bytes(s.n), .disk = disk_read(s.n) };
    for (unsigned i = 0; i < 2; i++) {
        s.state[0].base[i].data = file_read(base_names[i], &length);
        s.state[0].base[i].size = length;
    }
    for (; s.ops < OPS; s.ops++) {
        s.state[s.ops + 1] = state_copy(&s.state[s.ops]);
        op_run(rng, &s, &s.op[s.ops], &s.state[s.ops + 1]);
    }
    series_cut(rng, &s);
    series_free(&s);
}

int main(int argc, char **argv)
{
    unsigned wanted = argc > 1 ? (unsigned)atoi(argv[1]) : 2600;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 20020422, rng = seed;
    test_directory_enter();
    loop_init();
    stderr = fopen("messages", "w");
    for (unsigned i = 0; cuts < wanted && i < 100000; i++)
        series_run(&rng, &kinds[i % ARRAY_SIZE(kinds)]);
    printf("  %u cuts, %u of them found counts or flags that a repair had to mend; while:\n ", cuts, repairs);
    for (unsigned i = 0; i < WHATS; i++)
        printf(" %s %u%s", names[i], whats[i], i + 1 < WHATS ? "," : "\n");
    return report("block/cuts", seed);
}
