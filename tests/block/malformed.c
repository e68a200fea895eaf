/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bad images: a table of single changed fields with the message that must come, wrong formats, chains that
 * loop or are too deep, files cut short, tables that overlap, pointers into metadata met while running, and
 * thousands of images with random bytes changed, which must neither crash nor hang nor be written outside.
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "block/fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLUSTER = 4096, LIMIT = 64 << 20 };

static const struct field {
    const char *what;
    uint32_t offset, width;
    uint64_t value;
    const char *message;
    bool readonly_too;
} fields[] = {
    { "version 1", 4, 4, 1, "not a qcow2 image", true },
    { "version 4", 4, 4, 4, "version 4", true },
    { "cluster bits 8", 20, 4, 8, "cluster size", true },
    { "cluster bits 22", 20, 4, 22, "cluster size", true },
    { "cluster bits 2^31", 20, 4, 0x80000000u, "cluster size", true },
    { "encrypted", 32, 4, 1, "encrypted", true },
    { "LUKS", 32, 4, 2, "encrypted", true },
    { "huge disk", 24, 8, UINT64_MAX, "disk size", true },
    { "disk too large for the L1 table", 24, 8, 1ull << 40, "L1 table is too small", true },
    { "huge L1 table", 36, 4, 0xffffffffu, "L1 table is larger", true },
    { "no L1 entries", 36, 4, 0, "L1 table is too small", true },
    { "L1 table not aligned", 40, 8, 3 * CLUSTER + 8, "L1 table does not begin", true },
    { "L1 table past the end", 40, 8, 1ull << 40, "L1 table lies past the end", true },
    { "L1 table offset overflows", 40, 8, UINT64_MAX & ~(CLUSTER - 1ull), "L1 table lies past the end", true },
    { "L1 table in the header", 40, 8, 0, "L1 table lies past the end", true },
    { "refcount table not aligned", 48, 8, CLUSTER + 1, "refcount table does not begin", true },
    { "refcount table past the end", 48, 8, 1ull << 41, "refcount table lies past the end", true },
    { "refcount table on the L1 table", 48, 8, 3 * CLUSTER, "overlaps", false },
    { "huge refcount table", 56, 4, 0xffffffffu, "refcount table has no valid size", true },
    { "no refcount table", 56, 4, 0, "refcount table has no valid size", true },
    { "too many snapshots", 60, 4, 70000, "snapshots", true },
    { "snapshots without a table", 60, 4, 3, "snapshot table lies past", true },
    { "backing name outside the header", 12, 8, CLUSTER * 0x100000000ull + 16, "backing file name lies outside", true },
    { "backing name past the cluster", 12, 8, 512 * 0x100000000ull + 4000, "backing file name lies outside", true },
    { "backing name too long", 12, 8, 512 * 0x100000000ull + 1024, "longer than 1023", true },
    { "backing name with zeroes", 12, 8, 512 * 0x100000000ull + 16, "zero byte", true },
    { "an unknown feature", 72, 8, 1ull << 20, "not supported: bit 20", true },
    { "two unknown features", 72, 8, 3ull << 62, "bit 62, bit 63", true },
    { "data file without a name", 72, 8, 4, "does not name one", true },
    { "compression bit without a type", 72, 8, 8, "disagree", true },
    { "compression type without a bit", 104, 1, 1, "disagree", true },
    { "unknown compression type", 104, 1, 77, "compression type 77", true },
    { "extended L2 entries with small clusters", 72, 8, 16, "16 KiB", true },
    { "marked corrupt", 72, 8, 2, "marked corrupt", false },
    { "refcount order 7", 96, 4, 7, "refcounts are 2^7", true },
    { "header length 96", 100, 4, 96, "header length", true },
    { "header length 107", 100, 4, 107, "header length", true },
    { "header length past the cluster", 100, 4, 65536, "header length", true },
    { "endless extension", 112, 8, 0x6803f857fffffff0ull, "header extension", true },
    { "L2 table not aligned", 3 * CLUSTER, 8, 1ull << 63 | (4 * CLUSTER + 512), "L2 table number 0 does not begin" },
    { "L2 table in the refcount table", 3 * CLUSTER, 8, 1ull << 63 | CLUSTER, "L2 table number 0 overlaps" },
    { "two L1 entries, one table", 3 * CLUSTER + 8, 8, 1ull << 63 | 4 * CLUSTER, "overlaps" },
    { "refcount block in the header's way", CLUSTER, 8, 3 * CLUSTER, "overlaps" },
    { "refcount block not aligned", CLUSTER, 8, 3 * CLUSTER + 512, "refcount block number 0 does not begin" },
};

static struct block_node *open_bytes(const void *image, size_t length, bool readonly, struct error *err)
{
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    const struct block_open_options o = { .filename = "memory", .format = "qcow2", .readonly = readonly,
                                          .discard = true };
    return block_node_open_over(p, &o, NULL, err);
}

static void put(uint8_t *at, uint32_t width, uint64_t value)
{
    for (uint32_t i = 0; i < width; i++)
        at[i] = (uint8_t)(value >> 8 * (width - 1 - i));
}

static void field_test(const uint8_t *image, size_t length, const struct field *f)
{
    uint8_t *bad = malloc(length);
    for (unsigned readonly = 0; readonly < 2; readonly++) {
        struct error err = { 0 };
        memcpy(bad, image, length);
        put(bad + f->offset, f->width, f->value);
        struct block_node *n = open_bytes(bad, length, readonly, &err);
        if (readonly && !f->readonly_too)
            check(n != NULL, "%s: cannot even be read: %s", f->what, err.text);
        else
            check(!n && strstr(err.text, f->message), "%s: '%s'", f->what, n ? "was opened" : err.text);
        check(n || !strchr(err.text, '\n'), "%s: more than one line", f->what);
        block_close(n);
    }
    free(bad);
}

static void file_test(const char *make, const struct block_open_options *o, const char *message)
{
    struct error err = { 0 };
    check(run("rm -f x*; %s", make) == 0, "%s", make);
    struct block_node *n = block_open(o, &err);
    check(!n && strstr(err.text, message), "%s: '%s'", make, n ? "was opened" : err.text);
    block_close(n);
}

static void files(void)
{
    const struct block_open_options probe = { .filename = "x" }, qcow2 = { .filename = "x", .format = "qcow2" },
        other = { .filename = "x", .format = "nosuch" }, missing = { .filename = "y" }, empty = { .filename = "" },
        nbd = { .filename = "rbd:pool/image" }, json = { .filename = "json:{\"driver\":\"raw\"}" },
        dir = { .filename = "." }, fifo = { .filename = "xf" };
    file_test("truncate -s 1M x", &qcow2, "not a qcow2 image");
    file_test("truncate -s 1M x", &qcow2, "format=raw");
    file_test("qemu-img create -q -f vmdk x 1M", &qcow2, "looks like vmdk");
    file_test("qemu-img create -q -f qcow x 1M", &probe, "can only be read");
    file_test("qemu-img create -q -f qed x 1M", &probe, "can only be read");
    file_test("printf 'Bochs Virtual HD Image' > x && truncate -s 1M x", &probe, "which is not supported");
    file_test("qemu-img create -q -f parallels x 1M", &probe, "can only be read");
    file_test("printf 'LUKS\\272\\276\\000\\001' > x && truncate -s 1M x", &probe, "name of its cipher");
    file_test("qemu-img create -q -f qcow2 x 1M", &other, "unknown format 'nosuch'");
    file_test("true", &missing, "there is no such file");
    file_test("true", &empty, "empty");
    file_test("true", &nbd, "the protocol 'rbd' is not one of");
    file_test("true", &json, "name of the file is missing");
    file_test("true", &dir, "directory");
    file_test("mkfifo xf", &fifo, "neither a file");
    file_test("qemu-img create -q -f qcow2 x 1M && truncate -s 70000 x", &probe, "past the end of the file");
    file_test("qemu-img create -q -f qcow2 x 1M && truncate -s 300 x", &probe, "past the end of the file");
    file_test("printf 'QFI\\373' > x", &qcow2, "not a qcow2 image");
    file_test("qemu-img create -q -f qcow2 -u -b gone -F raw x 1M", &probe, "a backing file is not to be had");
    file_test("qemu-img create -q -f qcow2 -u -b x -F qcow2 z 1M && mv z x", &probe, "loops");
    file_test("qemu-img create -q -f qcow2 -u -b x2 -F qcow2 x 1M && qemu-img create -q -f qcow2 -u -b x -F qcow2 x2 1M",
              &probe, "loops");
    file_test("qemu-img create -q -f qcow2 -u -b rbd:x -F raw x 1M", &probe, "the protocol 'rbd' is not one of");
    file_test("qemu-img create -q -f qcow2 -u -b x130 -F qcow2 x 1M; i=130; qemu-img create -q -f qcow2 x0 1M; "
              "for i in $(seq 1 130); do cp x x$i; qemu-img rebase -u -f qcow2 -F qcow2 -b x$((i-1)) x$i; done", &probe,
              "more than 128");
    file_test("qemu-img create -q -f qcow2 -o data_file=xd x 1M && rm xd", &probe, "data file is not to be had");
    file_test("qemu-img create -q -f qcow2 x 1M && printf '\\001' | dd of=x bs=1 seek=78 conv=notrunc", &probe, "bit 8");
}

/* The image names its feature itself. */
static void feature_name(const uint8_t *image, size_t length)
{
    static const char name[] = "time travel";
    struct error err = { 0 };
    uint8_t *bad = malloc(length);
    memcpy(bad, image, length);
    put(bad + 72, 8, 1ull << 9);
    memset(bad + 112, 0, 64);
    put(bad + 112, 4, 0x6803f857);
    put(bad + 116, 4, 48);
    bad[121] = 9;
    memcpy(bad + 122, name, sizeof(name));
    struct block_node *n = open_bytes(bad, length, true, &err);
    check(!n && strstr(err.text, "'time travel'"), "feature name: %s", n ? "opened" : err.text);
    block_close(n);
    free(bad);
}

/* Entries that are only found bad when they are used: the request fails, metadata stay as they are. */
static void bad_entry(const uint8_t *image, size_t length, const char *what, uint64_t entry)
{
    struct error err = { 0 };
    uint8_t *bad = malloc(length), data[CLUSTER] = { 1, 2, 3 }, after[4 * CLUSTER];
    memcpy(bad, image, length);
    put(bad + 4 * CLUSTER, 8, entry);
    struct block_protocol *p = block_fault_open(bad, length, LIMIT);
    const struct block_open_options o = { .filename = "memory", .format = "qcow2" };
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    if (check(n != NULL, "%s: %s", what, err.text)) {
        check(block_pwrite(n, 0, data, sizeof(data)) == -EIO, "%s: a write went through", what);
        check(!block_protocol_pread(p, CLUSTER, after, 3 * CLUSTER) && !memcmp(after, bad + CLUSTER, 3 * CLUSTER),
              "%s: metadata were overwritten", what);
        check(!block_protocol_pread(p, 0, after, CLUSTER) && after[79] & 2, "%s: not marked corrupt", what);
        check(block_pwrite(n, 1 << 20, data, sizeof(data)) == -EIO, "%s: a later write went through", what);
        block_close(n);
    }
    free(bad);
}

/* A snapshot's table entry, and how often the cluster that it leads to is counted then (0: as before). */
struct astray {
    const char *what;
    bool in_l1;
    uint64_t entry;
    unsigned count;
    const char *message;
};

/* Going back to it, or deleting it, is refused before anything is written. */
static void astray_test(const uint8_t *image, size_t length, uint64_t at, const struct astray *a, bool applies)
{
    struct error err = { 0 };
    uint8_t *bad = malloc(length), *after = malloc(length), data[CLUSTER];
    const char *what = applies ? "going back to" : "deleting";
    uint64_t table = be64_get(*(be64 *)(image + 48)), block = be64_get(*(be64 *)(image + table));
    memcpy(bad, image, length);
    put(bad + at, 8, a->entry);
    if (a->count)
        put(bad + block + (a->entry & (BIT(56) - 512)) / CLUSTER * 2, 2, a->count);
    struct block_protocol *p = block_fault_open(bad, length, LIMIT);
    const struct block_open_options o = { .filename = "memory", .format = "qcow2", .discard = true };
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    if (check(n, "a snapshot over the %s: %s", a->what, err.text)) {
        int r = applies ? block_snapshot_apply(n, "s", &err) : block_snapshot_delete(n, "s", &err);
        check(r && strstr(err.text, a->message), "%s a snapshot over the %s: %d '%s'", what, a->what, r, err.text);
        check(!block_protocol_pread(p, 0, after, length) && !memcmp(after, bad, length) && p->ops->size(p) == (int64_t)length,
              "%s a snapshot over the %s has changed the image", what, a->what);
        for (uint64_t disk = 0; disk < 68 << 10; disk += CLUSTER)
            check(!block_pread(n, disk, data, CLUSTER) && data[0] == 0xcd && !memcmp(data, data + 1, CLUSTER - 1),
                  "%s a snapshot over the %s spoils the disk at %d", what, a->what, (int)disk);
        block_close(n);
    }
    free(bad);
    free(after);
}

/* A snapshot's tables that lead to the disk's metadata, to its data, or nowhere. */
static void snapshot_astray(void)
{
    size_t length;
    run("rm -f x; qemu-img create -q -f qcow2 -o cluster_size=4k x 4M && qemu-io -f qcow2 -c 'write 0 64k' x && "
        "qemu-img snapshot -c s x && qemu-io -f qcow2 -c 'write 4k 64k' x");
    uint8_t *image = file_read("x", &length);
    uint64_t l1 = be64_get(*(be64 *)(image + 40)), table = be64_get(*(be64 *)(image + 48)), list = be64_get(*(be64 *)(image + 64));
    uint64_t snapshot_l1 = be64_get(*(be64 *)(image + list)), mask = BIT(56) - 512, block = be64_get(*(be64 *)(image + table));
    uint64_t snapshot_l2 = be64_get(*(be64 *)(image + snapshot_l1)) & mask, l2 = be64_get(*(be64 *)(image + l1)) & mask;
    uint64_t data = be64_get(*(be64 *)(image + l2 + 8)) & mask, shared = be64_get(*(be64 *)(image + l2)) & mask;
    static const char low[] = "counted less often", over[] = "L1 table leads to", wrong[] = "is malformed";
    const struct astray rows[] = {
        { "L1 table", true, l1, 0, over }, { "L1 table, as data", false, l1, 0, low }, { "L1 table, counted twice", true, l1, 2, over },
        { "refcount table", true, table, 0, over }, { "refcount table, as data", false, table, 0, low },
        { "refcount block", true, block, 0, over }, { "refcount block, as data", false, block, 0, low },
        { "L2 table", true, l2, 0, low }, { "L2 table, as data", false, l2, 0, low }, { "snapshot table", true, list, 0, over },
        { "snapshot table, as data", false, list, 0, low }, { "snapshot's L1 table", true, snapshot_l1, 0, over },
        { "snapshot's L1 table, as data", false, snapshot_l1, 0, low }, { "L1 table, with a flag", true, 1ull << 63 | l1, 0, over },
        { "disk's data", true, data, 0, over }, { "disk's data, counted twice", true, data, 2, over },
        { "disk's data, as data", false, data, 0, low }, { "data of both", true, shared, 3, over },
        { "end of the file", true, 1 << 30, 0, "past the end" }, { "end of the file, as data", false, 1 << 30, 0, wrong },
        { "middle of a cluster", true, snapshot_l2 + 512, 0, "not the start of a cluster" },
        { "middle of a cluster, as data", false, data + 512, 0, wrong },
    };
    check(snapshot_l2 != l2, "the snapshot has an L2 table of its own");
    for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++)
        astray_test(image, length, rows[i / 2].in_l1 ? snapshot_l1 : snapshot_l2 + 8, &rows[i / 2], i % 2);
    free(image);
}

/* A bitmap's entry that lies in the L1 table: to mark it as in use would change where the disk's tables are. */
static void directory_over_l1(void)
{
    size_t length;
    struct error err = { 0 };
    uint8_t data[CLUSTER] = { 1 }, after[CLUSTER];
    run("rm -f x; qemu-img create -q -f qcow2 -o cluster_size=4k x 8M && qemu-io -f qcow2 -c 'write 0 64k' x");
    uint8_t *image = file_read("x", &length);
    uint64_t l1 = be64_get(*(be64 *)(image + 40));
    put(image + l1, 8, be64_get(*(be64 *)(image + l1)) & ~(1ull << 63));    /* its table */
    put(image + l1 + 8, 4, 1);                                              /* entries */
    put(image + l1 + 12, 4, 2);                                             /* it records */
    put(image + l1 + 16, 8, 0x0110000100000000);                            /* type, granularity, length of the name */
    put(image + 95, 1, 1);
    memset(image + 112, 0, 64);
    put(image + 112, 4, 0x23852875);
    put(image + 116, 4, 24);
    put(image + 120, 4, 1);
    put(image + 128, 8, 32);
    put(image + 136, 8, l1);
    struct block_node *n = open_bytes(image, length, false, &err);
    if (check(n, "a bitmap in the L1 table: %s", err.text)) {
        check(!block_pwrite(n, 8192, data, sizeof(data)) && !block_flush_sync(n), "a bitmap in the L1 table: a write");
        check(!block_protocol_pread(n->file, l1, after, CLUSTER) && !memcmp(after + 8, image + l1 + 8, CLUSTER - 8),
              "a bitmap in the L1 table: entry 1 became %#llx", (unsigned long long)be64_get(*(be64 *)(after + 8)));
        block_close(n);
    }
    free(image);
}

/* Counts of another width are made from what the tables say: not when they are malformed. */
static void amended(const uint8_t *image, size_t length)
{
    const struct block_option_value bits = { "refcount_bits", "64" };
    const struct block_option_set set = { &bits, 1 };
    struct error err = { 0 };
    uint8_t *bad = malloc(length), after[CLUSTER];
    memcpy(bad, image, length);
    put(bad + 4 * CLUSTER, 8, 1ull << 63 | (6 * CLUSTER + 512));
    struct block_protocol *p = block_fault_open(bad, length, LIMIT);
    const struct block_open_options o = { .filename = "memory", .format = "qcow2" };
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    check(n && block_amend(n, &set, false, NULL, &err) && strstr(err.text, "malformed"), "amending a malformed image: %s", err.text);
    check(!block_protocol_pread(p, 0, after, CLUSTER) && !memcmp(after, bad, 104), "amending a malformed image: the header was changed");
    block_close(n);
    free(bad);
}

/* An L2 table where the refcount table ends: a larger table would be written over it. */
static void growth_over_metadata(void)
{
    enum { SMALL = 512, END = 8 << 20, PER_BLOCK = SMALL / 2 };
    struct error err = { 0 };
    size_t length;
    run("rm -f x; qemu-img create -q -f qcow2 -o cluster_size=512 x 64k");
    uint8_t *made = file_read("x", &length), *bad = calloc(1, END + SMALL), data[SMALL] = { 1 }, after[SMALL];
    uint64_t table = be64_get(*(be64 *)(made + 48)), l1 = be64_get(*(be64 *)(made + 40));
    memcpy(bad, made, length);
    for (uint64_t i = 0; i < SMALL / 8; i++) {
        uint64_t block = i ? i * PER_BLOCK * SMALL : be64_get(*(be64 *)(made + table));
        put(bad + table + i * 8, 8, block);
        for (unsigned k = 0; k < PER_BLOCK; k++)
            put(bad + block + k * 2, 2, 1);
    }
    put(bad + l1, 8, 1ull << 63 | END);
    struct block_protocol *p = block_fault_open(bad, END + SMALL, LIMIT);
    const struct block_open_options o = { .filename = "memory", .format = "qcow2" };
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    if (check(n && be32_get(*(be32 *)(made + 56)) == 1, "an L2 table behind the refcount table's end: %s", err.text)) {
        check(block_pwrite(n, 0, data, sizeof(data)) == -EIO, "the refcount table grew over an L2 table");
        check(!block_protocol_pread(p, END, after, SMALL) && !memcmp(after, bad + END, SMALL), "an L2 table was overwritten");
    }
    block_close(n);
    free(made);
    free(bad);
}

/* Random damage, anywhere in the metadata; then reads and writes everywhere. */
static void damage(uint64_t *rng, const uint8_t *image, size_t length, unsigned times, unsigned *opened)
{
    uint8_t *bad = malloc(length), *data = calloc(1, 64 << 10);
    for (unsigned i = 0; i < times; i++) {
        struct error err;
        memcpy(bad, image, length);
        for (unsigned k = 1 + (unsigned)rng_below(rng, 6); k; k--) {
            uint64_t at = rng_below(rng, 3) ? rng_below(rng, 120) : rng_below(rng, length);
            at = rng_below(rng, 4) ? at : ALIGN_DOWN(at, (uint64_t)CLUSTER) + rng_below(rng, 64);
            bad[at] = (uint8_t)(rng_below(rng, 3) ? rng_next(rng) : 1u << rng_below(rng, 8));
        }
        struct block_node *n = open_bytes(bad, length, rng_below(rng, 4) == 0, &err);
        checks++;
        if (!n)
            continue;
        ++*opened;
        for (unsigned k = 0; k < 12; k++) {
            uint64_t size = block_size_bytes(n), take = 512 * (1 + rng_below(rng, 100));
            uint64_t at = rng_below(rng, 2) ? 512 * rng_below(rng, 4096) : 512 * rng_below(rng, size / 512 + 1);
            if (k % 3 == 0)
                block_pread(n, at, data, take);
            else if (k % 3 == 1)
                block_pwrite(n, at, data, take);
            else
                block_node_write_zeroes(n, at, take, true);
        }
        block_close(n);
    }
    free(bad);
    free(data);
}

int main(int argc, char **argv)
{
    static const char *const makes[] = {
        "qemu-img create -q -f qcow2 -o cluster_size=4k x 4M && qemu-io -f qcow2 -c 'write 0 64k' -c 'write 2M 8k' x",
        "qemu-img create -q -f qcow2 -o cluster_size=4k x 4M && qemu-io -f qcow2 -c 'write 0 64k' x && "
        "qemu-img snapshot -c s x && qemu-io -f qcow2 -c 'write 4k 64k' x",
        "qemu-img create -q -f qcow2 -o cluster_size=16k,extended_l2=on x 4M && qemu-io -f qcow2 -c 'write 0 60k' x",
        "seq 1 300000 > p; qemu-img convert -c -O qcow2 -o cluster_size=4k,compression_type=zstd p x",
        "seq 1 300000 > p; qemu-img convert -c -O qcow2 -o cluster_size=4k,compat=0.10 p x",
        "qemu-img create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on x 4M; "
        "qemu-io -f qcow2 -c 'write 0 64k' -c flush -c 'sigraise 9' x",
    };
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 31337, rng = seed;
    unsigned opened = 0, times = argc > 2 ? (unsigned)atoi(argv[2]) : 1500;
    size_t length;
    test_directory_enter();
    stderr = fopen("messages", "w");    /* what the block room says; the sanitizers' words still come through */
    run("%s", makes[0]);
    uint8_t *image = file_read("x", &length);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        field_test(image, length, &fields[i]);
    feature_name(image, length);
    bad_entry(image, length, "data in the L1 table", 1ull << 63 | 3 * CLUSTER);
    bad_entry(image, length, "data in the refcount table", 1ull << 63 | CLUSTER);
    bad_entry(image, length, "data in an L2 table", 1ull << 63 | 4 * CLUSTER);
    bad_entry(image, length, "data that are not aligned", 1ull << 63 | (6 * CLUSTER + 512));
    bad_entry(image, length, "the refcount block's cluster given up", 2 * CLUSTER);
    bad_entry(image, length, "the L1 table's cluster given up", 3 * CLUSTER);
    directory_over_l1();
    amended(image, length);
    growth_over_metadata();
    snapshot_astray();
    files();
    free(image);
    for (size_t i = 0; i < ARRAY_SIZE(makes); i++) {
        run("rm -f x; %s", makes[i]);
        image = file_read("x", &length);
        damage(&rng, image, length, times, &opened);
        free(image);
    }
    printf("%zu fields, %zu x %u damaged images, %u of them opened\n", ARRAY_SIZE(fields), ARRAY_SIZE(makes), times, opened);
    return report("block/malformed", seed);
}
