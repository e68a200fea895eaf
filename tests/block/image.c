/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tools do to whole qcow2 images, with qemu-img as the judge: internal snapshots, check and repair of damaged
 * counts and flags. Every step is followed by 'qemu-img check', contents are compared with a copy in memory and what
 * qemu-img reads. Arguments: the seed, and how many rounds a kind of image gets.
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SNAPSHOTS = 6 };

static const char *const kinds[] = {
    "qemu-img create -q -f qcow2 image.x 8M",
    "qemu-img create -q -f qcow2 -o cluster_size=512 image.x 3M",
    "qemu-img create -q -f qcow2 -o cluster_size=4k,refcount_bits=64 image.x 8M",
    "qemu-img create -q -f qcow2 -o cluster_size=4k,refcount_bits=4,lazy_refcounts=on image.x 8M",
    "qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=4k image.x 8M",
    "qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=16k image.x 8M",
    "seq 1 900000 | head -c 6000128 > p.x && qemu-img convert -c -f raw -O qcow2 -o cluster_size=4k p.x image.x",
};

static struct block_node *open_as(const char *snapshot, bool readonly, bool for_check)
{
    const struct block_open_options o = { .filename = "image.x", .format = "qcow2", .readonly = readonly,
                                          .for_check = for_check, .internal_snapshot = snapshot, .discard = true };
    return open_image(&o);
}

static void *node_read(struct block_node *n, uint64_t *size)
{
    *size = block_size_bytes(n);
    void *data = malloc(*size);
    check(!block_pread(n, 0, data, *size), "reading all of it");
    return data;
}

static void writes(uint64_t *rng, struct block_node *n, uint8_t *copy, unsigned count)
{
    static const uint16_t limits[] = { 1, 16, 128, 600 };
    static uint8_t data[600 * 512];
    uint64_t size = block_size_bytes(n);
    for (unsigned i = 0; i < count; i++) {
        uint64_t length = 512 * (1 + rng_below(rng, limits[rng_below(rng, 4)])), at = 512 * rng_below(rng, size / 512);
        length = MIN(length, size - at);
        if (rng_below(rng, 4)) {
            rng_fill(rng, data, length);
            memcpy(copy + at, data, length);
            check(!block_pwrite(n, at, data, length), "write");
        } else {
            memset(copy + at, 0, length);
            check(!block_write_zeroes_sync(n, at, length, rng_below(rng, 2)), "zeroes");
        }
    }
}

static void qemu_judge(const char *what, const uint8_t *copy, uint64_t size)
{
    file_write("copy.x", copy, size);
    check(run("qemu-img check -f qcow2 image.x") == 0, "%s: qemu-img check:\n%s", what,
          run_output("qemu-img check -f qcow2 image.x 2>&1 | tail -n 8"));
    check(run("qemu-img compare -f qcow2 -F raw image.x copy.x") == 0, "%s: qemu-img compare", what);
    struct block_check c = { 0 };
    struct error err;
    struct block_node *n = open_as(NULL, true, true);
    check(!block_check(n, &c, &err) && !c.corruptions && !c.leaks && !c.check_errors,
          "%s: own check: %llu corruptions, %llu leaks", what, (unsigned long long)c.corruptions,
          (unsigned long long)c.leaks);
    block_close(n);
}

struct held {
    char name[8];
    uint8_t *data;
    uint64_t size;
};

static void snapshots_judge(struct held *held)
{
    struct block_snapshot *list;
    struct error err;
    unsigned count, known = 0;
    for (struct held *h = held; h < held + SNAPSHOTS; h++) {
        if (!h->data)
            continue;
        uint64_t size;
        known++;
        struct block_node *n = open_as(h->name, true, false);
        uint8_t *data = node_read(n, &size);
        check(size == h->size && !memcmp(data, h->data, size), "snapshot %s has changed", h->name);
        free(data);
        block_close(n);
        size_t length;
        check(run("rm -f s.x; qemu-img convert -f qcow2 -O raw -l snapshot.name=%s image.x s.x", h->name) == 0,
              "qemu-img cannot read the snapshot");
        data = file_read("s.x", &length);
        check(length == h->size && !memcmp(data, h->data, length), "snapshot %s differs for qemu-img", h->name);
        free(data);
    }
    struct block_node *n = open_as(NULL, true, false);
    check(!block_snapshot_list(n, &list, &count, &err) && count == known, "%u snapshots, not %u", count, known);
    free(list);
    block_close(n);
}

/* One random step by us or by qemu-img. */
static void snapshot_step(uint64_t *rng, struct held *held, uint8_t **copy, uint64_t *size)
{
    struct held *h = &held[rng_below(rng, SNAPSHOTS)];
    struct error err = { 0 };
    bool peer = rng_below(rng, 4) == 0, apply = h->data && rng_below(rng, 2);
    struct block_node *n = peer ? NULL : open_as(NULL, false, false);
    int r;
    if (!h->data) {
        struct block_snapshot s = { .date_s = 1700000000, .date_ns = 5 };
        snprintf(s.name, sizeof(s.name), "%s", h->name);
        r = peer ? run("qemu-img snapshot -c %s image.x", h->name) : block_snapshot_create(n, &s, &err);
        h->data = malloc(*size);
        h->size = *size;
        memcpy(h->data, *copy, *size);
    } else if (apply) {
        r = peer ? run("qemu-img snapshot -a %s image.x", h->name) : block_snapshot_apply(n, h->name, &err);
        *size = h->size;
        *copy = realloc(*copy, *size);
        memcpy(*copy, h->data, *size);
    } else {
        r = peer ? run("qemu-img snapshot -d %s image.x", h->name) : block_snapshot_delete(n, h->name, &err);
        free(h->data);
        h->data = NULL;
    }
    check(!r, "%s: step: %s", peer ? "qemu-img" : "ospite", err.text);
    block_close(n);
}

static void snapshots_test(uint64_t *rng, const char *make, unsigned rounds)
{
    struct held held[SNAPSHOTS] = { 0 };
    unsigned failed = failures;
    uint64_t size;
    if (!check(run("rm -f *.x; %s", make) == 0, "making the image"))
        return;
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        snprintf(held[i].name, sizeof(held[i].name), "s%u", i + 50);
    struct block_node *n = open_as(NULL, true, false);
    uint8_t *copy = node_read(n, &size);
    block_close(n);
    for (unsigned i = 0; i < rounds && failures == failed; i++) {
        n = open_as(NULL, false, false);
        writes(rng, n, copy, 12);
        block_close(n);
        snapshot_step(rng, held, &copy, &size);
        qemu_judge("snapshots", copy, size);
        if (i % 4 == 3)
            snapshots_judge(held);
    }
    snapshots_judge(held);
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        free(held[i].data);
    free(copy);
    printf("  snapshots: %-72.72s %s\n", make, failures == failed ? "ok" : "FAILED");
}

static long peer_number(const char *json, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    const char *at = strstr(json, quoted);
    return at ? strtol(at + strlen(quoted), NULL, 10) : 0;
}

/* Single bits and words of refcount blocks, refcount table, L1 and L2 tables. */
static void damage(uint64_t *rng, uint8_t *image, size_t length, unsigned mode)
{
    uint64_t cluster = 1ull << image[23], table, block;
    memcpy(&table, image + (mode == 2 ? 40 : 48), 8);
    table = be64toh(table);
    memcpy(&block, image + table, 8);
    block = be64toh(block) & 0xfffffffffffe00ull;
    if (mode == 0)                  /* counts */
        for (unsigned i = 0; i < 5; i++)
            image[block + rng_below(rng, MIN(cluster, 200ull))] = (uint8_t)rng_below(rng, 3);
    else if (mode == 1)             /* the refcount table */
        image[table + 5 + rng_below(rng, 3)] ^= (uint8_t)(1u << rng_below(rng, 8));
    else if (block && block + cluster <= length)                     /* flags in the L1 table and an L2 table */
        for (unsigned i = 0; i < 4; i++)
            image[rng_below(rng, 2) ? block + 8 * rng_below(rng, 60) : table] ^= 0x80;
}

static void damage_test(uint64_t *rng, const char *make, unsigned rounds)
{
    unsigned failed = failures, same = 0;
    size_t length;
    uint64_t size;
    if (!check(run("rm -f *.x; %s", make) == 0, "making the image"))
        return;
    struct block_node *n = open_as(NULL, false, false);
    uint8_t *copy = node_read(n, &size);
    for (uint64_t at = 0; at < size; at += size / 16)
        writes(rng, n, copy, 1);
    block_close(n);
    uint8_t *sound = file_read("image.x", &length), *image = malloc(length);
    for (unsigned i = 0; i < rounds; i++) {
        struct block_check c = { 0 };
        struct error err = { 0 };
        memcpy(image, sound, length);
        damage(rng, image, length, i % 3);
        file_write("image.x", image, length);
        const char *peer = run_output("qemu-img check -f qcow2 --output=json image.x 2>/dev/null");
        n = open_as(NULL, true, true);
        check(!block_check(n, &c, &err), "check: %s", err.text);
        block_close(n);
        if (i % 3 != 1) {           /* a table that leads astray is described differently */
            check((long)c.leaks == peer_number(peer, "leaks") && (long)c.corruptions == peer_number(peer, "corruptions") &&
                  (long)c.allocated_clusters == peer_number(peer, "allocated-clusters") &&
                  (long)c.fragmented_clusters == peer_number(peer, "fragmented-clusters") &&
                  (long)c.compressed_clusters == peer_number(peer, "compressed-clusters") &&
                  (long)c.image_end_offset == peer_number(peer, "image-end-offset") &&
                  (long)c.total_clusters == peer_number(peer, "total-clusters"),
                  "round %u: %llu leaks, %llu corruptions, %llu allocated, %llu fragmented, end %llu; qemu-img: %s", i,
                  (unsigned long long)c.leaks, (unsigned long long)c.corruptions, (unsigned long long)c.allocated_clusters,
                  (unsigned long long)c.fragmented_clusters, (unsigned long long)c.image_end_offset, peer);
            same++;
        } else {
            check(!!(c.leaks + c.corruptions) == !!(peer_number(peer, "leaks") + peer_number(peer, "corruptions")),
                  "round %u: found %llu, qemu-img: %s", i, (unsigned long long)(c.leaks + c.corruptions), peer);
        }
        c = (struct block_check){ .fix = BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS };
        n = open_as(NULL, false, true);
        check(!block_check(n, &c, &err) && !c.leaks && !c.corruptions, "repair: %llu leaks, %llu corruptions left; %s",
              (unsigned long long)c.leaks, (unsigned long long)c.corruptions, err.text);
        block_close(n);
        qemu_judge("repair", copy, size);
    }
    free(image);
    free(sound);
    free(copy);
    printf("  damage:    %-72.72s %u of %u the same figures  %s\n", make, same, rounds, failures == failed ? "ok" : "FAILED");
}

/* Sizes up and down, with data in a file of their own: what lies behind the end is gone, and what lies before it stays. */
static void data_file_test(uint64_t *rng, const char *options)
{
    unsigned failed = failures;
    uint64_t size = 2 << 20;
    uint8_t *copy = calloc(1, size);
    check(run("rm -f *.x; qemu-img create -q -f qcow2 -o data_file=data.x,%s image.x 2M", options) == 0, "making the image");
    for (unsigned i = 0; i < 12 && failures == failed; i++) {
        uint64_t next = 512 * (1 + rng_below(rng, 4096)), kept = MIN(next, size);
        struct error err = { "" };
        struct block_node *n = open_as(NULL, false, false);
        writes(rng, n, copy, 20);
        check(!block_resize(n, next, BLOCK_PREALLOCATION_OFF, &err), "%s: from %d to %d: %s", options, (int)size, (int)next, err.text);
        block_close(n);
        copy = realloc(copy, next);
        memset(copy + kept, 0, next - kept);
        size = next;
        qemu_judge("resize", copy, size);
    }
    free(copy);
    printf("  data file: %-72.72s %s\n", options, failures == failed ? "ok" : "FAILED");
}

/* Clusters that were given up are placed anew without being written to: what they held must not be seen. */
static void reused_test(const char *options)
{
    enum { OLD = 1 << 20, NEW = 3 << 20 };
    uint8_t *copy = calloc(1, NEW);
    struct error err = { "" };
    const struct block_open_options o = { .filename = "image.x", .format = "qcow2" };
    check(run("rm -f *.x; qemu-img create -q -f qcow2 -o %s image.x 1M", options) == 0, "making the image");
    struct block_node *n = open_image(&o);
    memset(copy, 'o', OLD);
    check(!block_pwrite(n, 0, copy, OLD) && !block_flush_sync(n) && !block_write_zeroes_sync(n, 0, OLD, true) && !block_flush_sync(n), "%s",
          options);
    memset(copy, 0, OLD);
    check(!block_resize(n, NEW, BLOCK_PREALLOCATION_METADATA, &err), "%s: %s", options, err.text);
    block_close(n);
    qemu_judge(options, copy, NEW);
    free(copy);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 60660, rng = seed;
    unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 12;
    test_directory_enter();
    loop_init();
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        snapshots_test(&rng, kinds[i], rounds);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        damage_test(&rng, kinds[i], rounds);
    reused_test("cluster_size=4k");
    reused_test("extended_l2=on,cluster_size=16k");
    data_file_test(&rng, "cluster_size=512");
    data_file_test(&rng, "cluster_size=512,data_file_raw=on");
    data_file_test(&rng, "cluster_size=64k");
    return report("block/image", seed);
}
