/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images as the specifications allow them and other programs make them, but neither qemu-img nor we: VHD whose table has more entries
 * than the disk needs, whose dynamic header lies behind the table, whose bitmaps are not full; VHDX whose last block goes on behind the
 * end of the file, whose log names much more than there is. All are made of images of ours in memory and written to at random; a copy
 * of the disk judges what is read, and what must not be overwritten is compared.
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "block/fault.h"
#include "block/image.h"
#include "block/vhdx/vhdx_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DISK = 24 << 20, LIMIT = 256 << 20, VHD_BLOCK = 2 << 20, ROUNDS = 60, SEED = 77 };

struct disk {
    const char *format, *what;
    uint8_t *copy;
    uint64_t rng;
};

static uint8_t *image_make(const char *format, const char *key, const char *value, size_t room, size_t *length)
{
    struct error err = { { 0 } };
    void *data = NULL;
    const struct block_option_value item = { key, value };
    const struct block_option_set set = { &item, 1 };
    const struct block_create_options c = { .filename = "memory", .format = format, .size_bytes = DISK, .options = &set };
    struct block_protocol *p = block_fault_open(NULL, 0, LIMIT);
    if (!p || block_format_find(format)->create(p, &c, &err) || block_fault_image(p, 0, &data, length)) {
        printf("FAILED: %s: %s\n", format, err.text);
        exit(1);
    }
    p->ops->close(p);
    uint8_t *larger = calloc(1, MAX(room, *length));
    memcpy(larger, data, *length);
    free(data);
    return larger;
}

static void put(uint8_t *at, unsigned width, bool big_endian, uint64_t value)
{
    for (unsigned i = 0; i < width; i++)
        at[i] = (uint8_t)(value >> 8 * (big_endian ? width - 1 - i : i));
}

static void vhd_sum(uint8_t *p, size_t length, size_t at)
{
    uint32_t sum = 0;
    memset(p + at, 0, 4);
    for (size_t i = 0; i < length; i++)
        sum += p[i];
    put(p + at, 4, true, ~sum);
}

static struct block_node *node_open(const struct disk *d, const void *image, size_t length)
{
    struct error err = { { 0 } };
    const struct block_open_options o = { .filename = "memory", .format = d->format };
    struct block_node *n = block_node_open_over(block_fault_open(image, length, LIMIT), &o, NULL, &err);
    check(n != NULL, "%s, %s: %s", d->format, d->what, err.text);
    return n;
}

static void all_compare(const struct disk *d, struct block_node *n, const char *when)
{
    uint8_t *data = malloc(DISK);
    check(!block_pread(n, 0, data, DISK) && !memcmp(data, d->copy, DISK), "%s, %s: what is read %s", d->format, d->what, when);
    free(data);
}

/* Writes at random, flushes, and gives back what is in the file. */
static uint8_t *changed(struct disk *d, const uint8_t *image, size_t *length)
{
    struct block_node *n = node_open(d, image, *length);
    void *after = NULL;
    if (!n)
        exit(1);
    all_compare(d, n, "at first");
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t bytes = (1 + rng_below(&d->rng, 100)) * 512, at = rng_below(&d->rng, (DISK - bytes) / 512) * 512;
        if (rng_below(&d->rng, 4)) {
            rng_fill(&d->rng, d->copy + at, bytes);
            check(!block_pwrite(n, at, d->copy + at, bytes), "%s, %s: write", d->format, d->what);
        } else {
            memset(d->copy + at, 0, bytes);
            check(!block_write_zeroes_sync(n, at, bytes, true), "%s, %s: zeroes", d->format, d->what);
        }
    }
    check(!block_flush_sync(n), "%s, %s: flush", d->format, d->what);
    all_compare(d, n, "then");
    check(!block_fault_image(n->file, 0, &after, length), "%s, %s: image", d->format, d->what);
    block_close(n);
    return after;
}

static void finish(struct disk *d, uint8_t *image, uint8_t *after, size_t length)
{
    struct block_node *n = node_open(d, after, length);
    if (n)
        all_compare(d, n, "again");
    block_close(n);
    free(d->copy);
    free(image);
    free(after);
}

/* 1000 entries in the table, 12 are needed. */
static void long_table_test(void)
{
    struct disk d = { "vpc", "a long table", calloc(1, DISK), SEED };
    size_t length, table = 1536, entries = 1000, end = ALIGN_UP(table + entries * 4, (size_t)512);
    uint8_t *image = image_make("vpc", "force_size", "on", end + 512, &length);
    memset(image + table, 0xff, end - table);
    memcpy(image + end, image, 512);
    put(image + 512 + 28, 4, true, entries);
    vhd_sum(image + 512, 1024, 36);
    length = end + 512;
    uint8_t *after = changed(&d, image, &length);
    bool whole = true;
    for (size_t i = table + DISK / VHD_BLOCK * 4; i < end; i++)
        whole &= after[i] == 0xff;
    check(whole, "vpc: a block was put over entries that the disk does not need");
    finish(&d, image, after, length);
}

/* Footer, table, header. */
static void late_header_test(void)
{
    struct disk d = { "vpc", "a late header", calloc(1, DISK), SEED };
    size_t length, at = 2048;
    uint8_t *image = image_make("vpc", "force_size", "on", 4096, &length);
    memmove(image + at, image + 512, 1024);
    memset(image + 512, 0xff, 1024);
    put(image + at + 16, 8, true, 512);
    vhd_sum(image + at, 1024, 36);
    put(image + 16, 8, true, at);
    vhd_sum(image, 512, 64);
    memcpy(image + at + 1024, image, 512);
    length = at + 1024 + 512;
    uint8_t *after = changed(&d, image, &length);
    check(!memcmp(image + at, after + at, 1024), "vpc: a block was put over the dynamic header");
    finish(&d, image, after, length);
}

/* Some sectors of each block are marked as written. Others read zeroes where no bit is: what is written here has to have one. */
static void bitmap_test(void)
{
    struct disk d = { "vpc", "bitmaps with holes", calloc(1, DISK), SEED };
    size_t length, table = 1536, first = 2048;
    uint8_t *image = image_make("vpc", "force_size", "on", LIMIT / 4, &length);
    for (size_t i = 0; i < DISK / VHD_BLOCK; i++) {
        size_t at = first + i * (512 + VHD_BLOCK);
        put(image + table + 4 * i, 4, true, at / 512);
        memset(image + at, i % 3 ? 0x0f : 0, 512);
    }
    length = first + DISK / VHD_BLOCK * (512 + VHD_BLOCK);
    memcpy(image + length, image, 512);
    length += 512;
    uint8_t *after = changed(&d, image, &length);
    for (uint64_t s = 0; s < DISK / 512; s++) {
        const uint8_t *bitmap = after + first + s / (VHD_BLOCK / 512) * (512 + VHD_BLOCK);
        unsigned bit = (unsigned)(s % (VHD_BLOCK / 512));
        bool zero = true;
        for (unsigned i = 0; i < 512; i++)
            zero &= !d.copy[s * 512 + i];
        if (!zero && !(bitmap[bit / 8] << bit % 8 & 0x80)) {
            check(false, "vpc: sector %llu was written and is not marked", (unsigned long long)s);
            break;
        }
    }
    check(true, "vpc: bitmaps");
    finish(&d, image, after, length);
}

/* The only block begins in the last MiB of the file, and is 8 MiB. */
static void short_file_test(void)
{
    struct disk d = { "vhdx", "a last block cut short", calloc(1, DISK), SEED };
    size_t length, table = 3 << 20, place = 4 << 20;
    uint8_t *image = image_make("vhdx", "block_size", "8M", place + VHDX_MIB, &length);
    put(image + table + 8, 8, false, place | VHDX_PRESENT);
    rng_fill(&d.rng, image + place, VHDX_MIB);
    memcpy(d.copy + (8 << 20), image + place, VHDX_MIB);
    length = place + VHDX_MIB;
    uint8_t *after = changed(&d, image, &length);
    finish(&d, image, after, length);
}

int main(void)
{
    long_table_test();
    late_header_test();
    bitmap_test();
    short_file_test();
    return report("block/formats_foreign", SEED);
}
