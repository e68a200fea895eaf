/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Repairs of qcow2 images. First single changed entries of the header's tables, L1 tables, L2 tables and refcount tables: after a repair what could be
 * read before can be read, the image is clean, for qemu-img too, and all of the disk can be written; or it is said that not all can be repaired, and
 * what the entry led to is still there when somebody puts it back, whatever was written meanwhile. Then repairs that are cut off at
 * each of their writes, of images with snapshots, bitmaps, compressed clusters, subclusters and encryption.
 *
 * Arguments: the seed, how many damaged images of each kind (6).
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/fault.h"
#include "block/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 32 << 20, DISK = 4 << 20, OLD = 128 << 10, LATER_AT = 5 << 19, LATER = 64 << 10, ALL_FIXES = BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS };

static const struct kind {
    const char *name;
    struct block_option_value option[4];
    unsigned options;
    bool snapshot, bitmap, packed, locked;
} kinds[] = {
    { "512-byte clusters, a snapshot", { { "cluster_size", "512" }, { "refcount_bits", "64" } }, 2, .snapshot = true },
    { "bitmaps", { { "cluster_size", "512" }, { "refcount_bits", "64" } }, 2, .bitmap = true },
    { "compressed, a snapshot", { { "cluster_size", "4k" }, { "refcount_bits", "64" } }, 2, .packed = true, .snapshot = true },
    { "zstd, bitmaps", { { "cluster_size", "4k" }, { "refcount_bits", "64" }, { "compression_type", "zstd" } }, 3, .packed = true, .bitmap = true },
    { "subclusters, a snapshot", { { "cluster_size", "16k" }, { "refcount_bits", "64" }, { "extended_l2", "on" } }, 3, .snapshot = true },
    { "LUKS", { { "refcount_bits", "64" }, { "encrypt.format", "luks" }, { "encrypt.iter-time", "1" }, { "encrypt.key-secret", "s" } }, 4,
      .locked = true, .snapshot = true },
};
static const struct kind plain = { "4 KiB clusters", { { "cluster_size", "4k" } }, 1 },
                         subclusters = { "subclusters", { { "cluster_size", "16k" }, { "extended_l2", "on" } }, 2 };

static const uint8_t *secret_get(const struct block_objects *o, const char *id, size_t *length, struct error *err)
{
    *length = 4;
    return (const uint8_t *)"open";
}

static const struct block_objects objects = { .secret = secret_get };

static struct block_node *node_over(const struct kind *k, const void *image, size_t length, bool for_check, const char *snapshot,
                                    struct block_protocol **p)
{
    static const struct block_option_value key = { "encrypt.key-secret", "s" };
    const struct block_option_set set = { &key, k->locked };
    const struct block_open_options o = { .filename = "memory", .format = "qcow2", .discard = true, .for_check = for_check, .options = &set,
                                          .internal_snapshot = snapshot, .readonly = snapshot != NULL, .objects = &objects };
    struct block_protocol *own = block_fault_open(image, length, LIMIT);
    struct error err;
    if (p)
        *p = own;
    return block_node_open_over(own, &o, NULL, &err);
}

static bool is_checked(struct block_node *n, unsigned fix, struct block_check *c)
{
    struct error err = { "" };
    c->fix = fix;
    return check(n && !block_check(n, c, &err), "a check ends: %s", err.text);
}

/* Half of it shrinks. */
static void data_make(uint64_t *rng, uint8_t *data)
{
    rng_fill(rng, data, OLD);
    for (unsigned at = 0; at < OLD; at += 8192)
        for (unsigned i = 0; i < 4096; i++)
            data[at + i] = (uint8_t)(at / 8192 + i / 64);
}

static int data_write(const struct kind *k, struct block_node *n, const uint8_t *data)
{
    int r = k->packed ? 0 : block_pwrite(n, 0, data, OLD);
    for (unsigned at = 0; !r && k->packed && at < OLD; at += 4096)
        r = block_write_compressed(n, at, data + at, 4096);
    return r;
}

static void *image_make(const struct kind *k, const uint8_t *data, size_t *length)
{
    const struct block_option_set set = { k->option, k->options };
    const struct block_create_options c = { .filename = "memory", .format = "qcow2", .size_bytes = DISK, .options = &set, .objects = &objects };
    const struct block_bitmap_change add = { .action = BLOCK_BITMAP_ADD, .name = "b", .granularity_bytes = 512 };
    const struct block_snapshot s = { .name = "s", .date_s = 1 };
    struct block_protocol *p = block_fault_open(NULL, 0, LIMIT);
    struct error err = { "" };
    void *image = NULL, *made = NULL;
    size_t made_length = 0;
    check(!block_format_find("qcow2")->create(p, &c, &err) && !block_protocol_flush(p) && !block_fault_image(p, 0, &made, &made_length),
          "%s: create: %s", k->name, err.text);
    p->ops->close(p);
    struct block_node *n = node_over(k, made, made_length, false, NULL, &p);
    check(n && !(k->bitmap && block_bitmap_change(n, &add, &err)) && !data_write(k, n, data) && !(k->snapshot && block_snapshot_create(n, &s, &err)) &&
          !block_flush_sync(n), "%s: %s", k->name, err.text);
    n->format->close(n);            /* bitmaps are stored */
    n->format = &block_format_raw;
    check(!block_protocol_flush(p) && !block_fault_image(p, 0, &image, length), "%s: image", k->name);
    block_close(n);
    free(made);
    return image;
}

static bool holds(struct block_node *n, uint64_t at, const uint8_t *data, size_t length)
{
    static uint8_t found[OLD];
    return n && !block_pread(n, at, found, length) && !memcmp(found, data, length);
}

/* ---- Single entries ---- */

enum table { L1, L2, REFTABLE };
enum target { VALUE, OLD_ENTRY, L1_AT, L2_AT, REFTABLE_AT, BLOCK_AT, PAST_END };
#define COPIED BIT(63)
#define PACKED BIT(62)

static const struct row {
    const char *what;
    enum table table;
    unsigned entry;
    bool bitmap;                    /* the second word of an entry */
    enum target target;             /* the new word is this, with `change` added */
    uint64_t change;
    const struct kind *kind;
    bool left;                      /* not all of it can be repaired */
    const char *says;               /* the check, or the repair */
} rows[] = {
    { "data at no cluster's beginning", L2, 1, false, OLD_ENTRY, 512, &plain, true, "ERROR L2 entry" },
    { "data past the end", L2, 1, false, PAST_END, COPIED, &plain, true, "past the end" },
    { "compressed data past the end", L2, 1, false, PAST_END, PACKED, &plain, true, "past the end" },
    { "zeroes at no cluster's beginning", L2, 40, false, VALUE, COPIED | 0x7201, &plain, false, "becomes 0x1" },
    { "low reserved bits", L2, 1, false, OLD_ENTRY, 2, &plain, false, "Repairing L2 entry" },
    { "high reserved bits", L2, 1, false, OLD_ENTRY, BIT(57), &plain, false, "Repairing L2 entry" },
    { "data in the L1 table", L2, 40, false, L1_AT, COPIED, &plain, false, "refcount=1 reference=2" },
    { "data in the refcount table", L2, 40, false, REFTABLE_AT, COPIED, &plain, false, "refcount=1 reference=2" },
    { "data in a refcount block", L2, 40, false, BLOCK_AT, COPIED, &plain, false, "Rebuilding" },
    { "data in their own L2 table", L2, 40, false, L2_AT, COPIED, &plain, true, "refcount=1 reference=2" },
    { "two entries, one cluster", L2, 40, false, VALUE, COPIED | 0x6000, &plain, false, "refcount=1 reference=2" },
    { "an L2 table at no cluster's beginning", L1, 0, false, OLD_ENTRY, 512, &plain, true, "ERROR L1 entry" },
    { "an L2 table past the end", L1, 0, false, PAST_END, COPIED, &plain, true, "past the end" },
    { "low reserved bits in the L1 table", L1, 0, false, OLD_ENTRY, 5, &plain, false, "Repairing L1 entry" },
    { "high reserved bits in the L1 table", L1, 0, false, OLD_ENTRY, BIT(58), &plain, false, "Repairing L1 entry" },
    { "two L1 entries, one table", L1, 1, false, L2_AT, COPIED, &plain, false, "refcount=1 reference=2" },
    { "a refcount block as L2 table", L1, 1, false, BLOCK_AT, COPIED, &plain, true, "Rebuilding" },
    { "the L1 table as L2 table", L1, 1, false, L1_AT, COPIED, &plain, true, "refcount=1 reference=" },
    { "data as L2 table", L1, 1, false, VALUE, COPIED | 0x6000, &plain, true, "ERROR" },
    { "a refcount block at no cluster's beginning", REFTABLE, 0, false, OLD_ENTRY, 512, &plain, false, "Rebuilding" },
    { "a refcount block past the end", REFTABLE, 0, false, PAST_END, 0, &plain, false, "Rebuilding" },
    { "an L2 table as refcount block", REFTABLE, 0, false, L2_AT, 0, &plain, false, "Rebuilding" },
    { "the L1 table as refcount block", REFTABLE, 0, false, L1_AT, 0, &plain, false, "Rebuilding" },
    { "a refcount block twice", REFTABLE, 1, false, BLOCK_AT, 0, &plain, false, "Rebuilding" },
    { "no refcount block", REFTABLE, 0, false, VALUE, 0, &plain, false, "Rebuilding" },
    { "reserved bits in the refcount table", REFTABLE, 0, false, OLD_ENTRY, 3, &plain, false, "Rebuilding" },
    { "subclusters both data and zero", L2, 1, true, OLD_ENTRY, 3ull << 32, &subclusters, false, "Repairing L2 entry" },
    { "subclusters of no cluster", L2, 40, true, VALUE, 3, &subclusters, true, "ERROR L2 entry" },
    { "zero subclusters at no cluster's beginning", L2, 40, false, VALUE, COPIED | 0x4200, &subclusters, false, "becomes 0" },
};

struct places {
    uint64_t l1, l2, reftable, block;
};

static uint64_t word_at(const uint8_t *image, uint64_t at)
{
    return be64_get(*(const be64 *)(image + at));
}

static void word_put(uint8_t *image, uint64_t at, uint64_t value)
{
    *(be64 *)(image + at) = be64_make(value);
}

static struct places places_find(const uint8_t *image)
{
    struct places p = { .l1 = word_at(image, 40), .reftable = word_at(image, 48) };
    p.l2 = word_at(image, p.l1) & (BIT(56) - 512);
    p.block = word_at(image, p.reftable);
    return p;
}

/* Where the row's word lies. */
static uint64_t row_at(const struct row *r, const struct places *p)
{
    if (r->table == L2)
        return p->l2 + (r->kind == &subclusters ? 16 : 8) * r->entry + 8 * r->bitmap;
    return (r->table == L1 ? p->l1 : p->reftable) + 8 * r->entry;
}

static uint64_t row_word(const struct row *r, const struct places *p, uint64_t old)
{
    const uint64_t of[] = { [VALUE] = 0, [OLD_ENTRY] = old, [L1_AT] = p->l1, [L2_AT] = p->l2, [REFTABLE_AT] = p->reftable,
                            [BLOCK_AT] = p->block, [PAST_END] = 0x700000 };
    return of[r->target] + r->change;
}

/* What can be read, by 4 KiB; the image is not changed. */
struct disk {
    uint8_t data[DISK];
    bool good[DISK / 4096];
};

static void disk_read(const struct kind *k, const void *image, size_t length, struct disk *d)
{
    const struct block_open_options o = { .filename = "memory", .format = "qcow2", .readonly = true };
    struct error err = { "" };
    memset(d, 0, sizeof(*d));
    struct block_node *n = block_node_open_over(block_fault_open(image, length, LIMIT), &o, NULL, &err);
    for (unsigned i = 0; check(n, "%s: %s", k->name, err.text) && i < DISK / 4096; i++)
        d->good[i] = !block_pread(n, i * 4096, d->data + i * 4096, 4096);
    block_close(n);
}

static char said[256 << 10];

static void line_keep(struct block_check *c, const char *line)
{
    size_t used = strlen(said);
    snprintf(said + used, sizeof(said) - used, "%s\n", line);
}

/* Afterwards the image is what the repair has left; after is malloc'ed. */
static bool repair(const struct row *r, const void *image, size_t length, void **after, size_t *after_length)
{
    struct block_check c = { .say = line_keep }, again = { 0 };
    struct block_protocol *p;
    struct block_node *n = node_over(r->kind, image, length, true, NULL, &p);
    *said = 0;
    bool ok = is_checked(n, ALL_FIXES, &c) && !block_protocol_flush(p) && is_checked(n, 0, &again) &&
              check(!block_protocol_flush(p) && !block_fault_image(p, 0, after, after_length), "%s: image", r->what);
    check(strstr(said, r->says), "%s: '%s' is not said, but:\n%s", r->what, r->says, said);
    check(!strstr(said, "Not repaired") == !r->left, "%s: %s:\n%s", r->what, r->left ? "it is not said that some is left" : "some is left", said);
    check(!again.corruptions == !r->left && (r->left || !again.leaks), "%s: %d errors, %d leaks are left", r->what, (int)again.corruptions, (int)again.leaks);
    block_close(n);
    return ok;
}

/* All of the disk can be written, and then nothing is wrong. */
static void use_all(const struct row *r, const void *image, size_t length)
{
    static uint8_t data[OLD];
    struct block_check c = { 0 };
    struct block_node *n = node_over(r->kind, image, length, false, NULL, NULL);
    check(n, "%s: cannot be opened for writing", r->what);
    for (uint64_t at = 0; n && at < DISK; at += OLD) {
        memset(data, (int)(1 + at / OLD), OLD);
        if (!check(!block_pwrite(n, at, data, OLD), "%s: writing at %u", r->what, (unsigned)at))
            break;
    }
    check(n && !block_flush_sync(n), "%s: flush", r->what);
    for (uint64_t at = 0; n && at < DISK; at += OLD) {
        memset(data, (int)(1 + at / OLD), OLD);
        check(holds(n, at, data, OLD), "%s: what was written at %u", r->what, (unsigned)at);
    }
    if (n && is_checked(n, 0, &c))
        check(!c.corruptions, "%s: %d errors after use", r->what, (int)c.corruptions);
    block_close(n);
}

/* What was not repaired was not given up: others write, somebody puts the entry right, and all is there. */
static void put_back(const struct row *r, uint8_t *image, size_t length, uint64_t at, uint64_t word, const uint8_t *data)
{
    static uint8_t later[LATER];
    struct block_protocol *p;
    void *written = NULL, *after = NULL;
    size_t size = 0, after_size = 0;
    struct block_check c = { 0 }, again = { 0 };
    bool writes = !(r->table == L1 && r->entry);
    struct block_node *n = node_over(r->kind, image, length, true, NULL, &p);   /* as one that would open it all the same */
    memset(later, 3, sizeof(later));
    if (!check(n, "%s: opened", r->what))
        return;
    if (writes)
        check(!block_pwrite(n, LATER_AT, later, LATER) && !block_flush_sync(n), "%s: writing elsewhere", r->what);
    check(!block_fault_image(p, 0, &written, &size), "%s: image", r->what);
    block_close(n);
    word_put(written, at, word);
    n = node_over(r->kind, written, size, true, NULL, &p);
    if (is_checked(n, ALL_FIXES, &c) && is_checked(n, 0, &again))
        check(!again.corruptions && !again.leaks, "%s: put back, %d errors and %d leaks remain", r->what, (int)again.corruptions, (int)again.leaks);
    check(!block_protocol_flush(p) && !block_fault_image(p, 0, &after, &after_size), "%s: image", r->what);
    block_close(n);
    n = node_over(r->kind, after, after_size, false, NULL, NULL);
    check(holds(n, 0, data, OLD), "%s: put back, the data are others", r->what);
    check(!writes || holds(n, LATER_AT, later, LATER), "%s: put back, later data are others", r->what);
    block_close(n);
    free(written);
    free(after);
}

static void row_test(const struct row *r, const uint8_t *image, size_t length, const uint8_t *data)
{
    static struct disk before, now;
    struct places p = places_find(image);
    uint64_t at = row_at(r, &p), old = word_at(image, at);
    uint8_t *bad = malloc(length);
    void *after = NULL;
    size_t size = 0;
    memcpy(bad, image, length);
    word_put(bad, at, row_word(r, &p, old));
    disk_read(r->kind, bad, length, &before);
    if (repair(r, bad, length, &after, &size)) {
        disk_read(r->kind, after, size, &now);
        /* Metadata that are read as data may change. */
        for (unsigned i = 0; i < DISK / 4096; i++)
            if (before.good[i] && (i < OLD / 4096 || r->target == VALUE || r->target == OLD_ENTRY))
                check(now.good[i] && !memcmp(now.data + i * 4096, before.data + i * 4096, 4096), "%s: cluster %u is another", r->what, i);
        if (!r->left) {
            file_write("repaired.x", after, size);
            check(run("qemu-img check -q -f qcow2 repaired.x") == 0, "%s: qemu-img: %s", r->what, run_output("qemu-img check repaired.x 2>&1 | head -3"));
            use_all(r, after, size);
        } else {
            put_back(r, after, size, at, old, data);
        }
    }
    free(after);
    free(bad);
}

/* What a malformed L1 entry led to is not given up either when the counts have to be made anew. */
static void two_rows_test(const uint8_t *image, size_t length, const uint8_t *data)
{
    static const struct row both = { "no refcount block, and an L2 table at no cluster's beginning", L1, 0, false, OLD_ENTRY, 512, &plain, true,
                                     "Rebuilding" };
    struct places p = places_find(image);
    uint64_t at = row_at(&both, &p), old = word_at(image, at);
    static const uint64_t blocks[] = { 0, 0x700000, 0x2200 };
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
        uint8_t *bad = malloc(length);
        void *after = NULL;
        size_t size = 0;
        memcpy(bad, image, length);
        word_put(bad, at, old + 512);
        word_put(bad, p.reftable, blocks[i]);
        if (repair(&both, bad, length, &after, &size))
            put_back(&both, after, size, at, old, data);
        free(after);
        free(bad);
    }
}

/* ---- Repairs that are cut off ---- */

/* Counts too high and too low, entries of the refcount table that are gone or lead astray, flags of the L1 table and of L2 tables. */
static void damage(uint64_t *rng, uint8_t *image)
{
    enum { FLAG_BYTE = 0x80, LOW_RESERVED = 2 };
    uint64_t cluster = BIT(be32_get(*(be32 *)(image + 20))), table = word_at(image, 48), l1 = word_at(image, 40);
    uint64_t l1_entries = be32_get(*(be32 *)(image + 36)), counts = cluster / 8, blocks = 0, entry = word_at(image, 72) & 16 ? 16 : 8;
    unsigned kinds_of = 1 + (unsigned)rng_below(rng, 31);
    while (blocks < cluster / 8 && word_at(image, table + 8 * blocks))
        blocks++;
    for (unsigned i = 0; kinds_of & 1 && i < 12; i++) {
        uint64_t block = word_at(image, table + 8 * rng_below(rng, blocks));
        image[block + 8 * rng_below(rng, MIN(counts, 512ull)) + 7] = (uint8_t)rng_below(rng, 4);
    }
    for (unsigned i = 0; kinds_of & 18 && i < 6; i++) {
        uint64_t l1_at = l1 + 8 * rng_below(rng, l1_entries), l2 = word_at(image, l1_at) & (BIT(56) - 512);
        uint64_t at = l2 && rng_below(rng, 2) ? l2 + entry * rng_below(rng, cluster / entry) : l1_at;
        if (kinds_of & 2 && word_at(image, at) & (BIT(56) - 512))
            image[at] ^= FLAG_BYTE;
        if (kinds_of & 16 && !(image[at] & 0x40) && word_at(image, at) & (BIT(56) - 512))
            image[at + 7] |= LOW_RESERVED;
    }
    if (kinds_of & 4)
        memset(image + table + 8 * rng_below(rng, blocks), 0, 8);
    if (kinds_of & 8)
        image[table + 8 * rng_below(rng, blocks) + 4 + rng_below(rng, 4)] ^= (uint8_t)(1 << rng_below(rng, 8));
}

static bool bitmap_is_right(struct block_node *n)
{
    struct block_bitmap *list = NULL;
    struct block_bitmap_status b = { 0 };
    unsigned count = 0;
    struct error err;
    bool ok = !block_bitmap_list(n, &list, &count, &err) && count == 1;
    if (ok && !list[0].in_use)
        ok = !block_bitmap_status_get(n, "b", 0, OLD, &b, &err) && b.dirty && b.length_bytes == OLD;
    free(list);
    return ok;
}

/* What is found after a cut: it can be repaired, once more too, all is there, and it can be used. */
static void cut_judge(const struct kind *k, const void *image, size_t length, const uint8_t *data)
{
    static uint8_t later[LATER];
    struct block_check c = { 0 }, again = { 0 }, used = { 0 };
    struct block_protocol *p;
    struct block_node *n = node_over(k, image, length, true, NULL, &p);
    void *after = NULL;
    size_t size = 0;
    if (!check(n, "%s: what is found cannot be opened", k->name))
        return;
    if (is_checked(n, ALL_FIXES, &c) && is_checked(n, 0, &again))
        check(!again.corruptions && !again.leaks && !again.check_errors, "%s: %d errors and %d leaks are left", k->name, (int)again.corruptions,
              (int)again.leaks);
    check(!block_protocol_flush(p) && !block_fault_image(p, 0, &after, &size), "%s: image", k->name);
    block_close(n);
    n = node_over(k, after, size, false, NULL, &p);
    free(after);
    if (!check(n, "%s: it cannot be opened for writing", k->name))
        return;
    check(holds(n, 0, data, OLD), "%s: the disk is another", k->name);
    check(!k->bitmap || bitmap_is_right(n), "%s: the bitmap lies", k->name);
    memset(later, 5, sizeof(later));
    check(!block_pwrite(n, LATER_AT, later, LATER) && !block_flush_sync(n) && holds(n, 0, data, OLD), "%s: it cannot be used", k->name);
    if (is_checked(n, 0, &used))
        check(!used.corruptions, "%s: %d errors after use", k->name, (int)used.corruptions);
    check(!block_fault_image(p, 0, &after, &size), "%s: image", k->name);
    block_close(n);
    n = k->snapshot ? node_over(k, after, size, false, "s", NULL) : NULL;
    check(!k->snapshot || holds(n, 0, data, OLD), "%s: the snapshot is another", k->name);
    block_close(n);
    free(after);
}

/* How many cuts. */
static unsigned cuts_test(uint64_t *rng, const struct kind *k, const uint8_t *image, size_t length, const uint8_t *data)
{
    uint8_t *bad = malloc(length);
    bool cut = true;
    unsigned cuts = 0;
    memcpy(bad, image, length);
    damage(rng, bad);
    for (; cut; cuts++) {
        struct block_check c = { .fix = ALL_FIXES };
        struct block_protocol *p;
        struct block_node *n = node_over(k, bad, length, true, NULL, &p);
        struct error err = { "" };
        void *after = NULL;
        size_t size = 0;
        block_fault_cut_at(p, cuts);
        bool ended = n && !block_check(n, &c, &err);
        cut = block_fault_is_cut(p);
        check(cut || ended, "%s: a repair fails: %s", k->name, err.text);
        if (check(!block_fault_image(p, rng_next(rng), &after, &size), "%s: image", k->name))
            cut_judge(k, after, size, data);
        free(after);
        block_close(n);
    }
    free(bad);
    return cuts;
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1414, rng = seed;
    unsigned images = argc > 2 ? (unsigned)atoi(argv[2]) : 6;
    static uint8_t data[OLD];
    size_t length;
    test_directory_enter();
    loop_init();
    stderr = fopen("messages", "w");
    data_make(&rng, data);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        void *image = image_make(rows[i].kind, data, &length);
        row_test(&rows[i], image, length, data);
        free(image);
    }
    void *image = image_make(&plain, data, &length);
    two_rows_test(image, length, data);
    free(image);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        unsigned failed = failures, cuts = 0;
        image = image_make(&kinds[i], data, &length);
        for (unsigned k = 0; k < images && failures == failed; k++)
            cuts += cuts_test(&rng, &kinds[i], image, length, data);
        free(image);
        printf("  %-32s %u damaged images, %u cuts in their repair\n", kinds[i].name, images, cuts);
        fflush(stdout);
    }
    return report("block/repairs", seed);
}
