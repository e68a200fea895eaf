/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bad images of other programs' formats: a table of single changed fields, each with words that the refusal must hold, and
 * entries that are only found bad when they are used; small files that stand for giant disks. Checksums are put right where a format
 * has them.
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "block/fault.h"
#include "block/image.h"
#include "block/vhdx/vhdx_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 64 << 20, USED = 1 };        /* USED: opens, but a read of the first block fails */

static const struct image {
    const char *format, *key, *value;
} images[] = {
    { "vdi", NULL, NULL }, { "vpc", NULL, NULL }, { "vpc", "subformat", "fixed" }, { "vmdk", NULL, NULL },
    { "vmdk", "subformat", "streamOptimized" }, { "vhdx", "block_size", "1M" },
};
enum { VDI, VPC, VPC_FIXED, VMDK, STREAM, VHDX };

static const struct field {
    unsigned image;
    const char *what;
    int64_t offset;                 /* below 0: from the end */
    unsigned width;
    bool big_endian;
    uint64_t value;
    const char *message;            /* NULL: USED */
} fields[] = {
    { VDI, "version", 0x44, 4, false, 0x20001, "version is not 1.1" },
    { VDI, "type", 0x4c, 4, false, 4, "neither a dynamic nor a static" },
    { VDI, "table in the header", 0x154, 4, false, 256, "table of blocks begins inside" },
    { VDI, "data in the table", 0x158, 4, false, 512, "data begin inside" },
    { VDI, "sector size", 0x168, 4, false, 4096, "sector size" },
    { VDI, "huge disk", 0x170, 8, false, UINT64_MAX, "larger than its table" },
    { VDI, "no disk", 0x170, 8, false, 0, "larger than its table" },
    { VDI, "block size", 0x178, 4, false, 1 << 30, "block size is not 1 MiB" },
    { VDI, "extra bytes a block", 0x17c, 4, false, 512, "block size is not 1 MiB" },
    { VDI, "huge table", 0x180, 4, false, 0xfffffff0u, "larger than 256 MiB" },
    { VDI, "too many used blocks", 0x184, 4, false, 1000, "more used blocks" },
    { VDI, "a parent", 0x1a8, 4, false, 1, "differencing" },
    { VDI, "block past the last", 512, 4, false, 1000, NULL },
    { VPC, "dynamic header past the end", 16, 8, true, 1ull << 40, "dynamic header lies outside" },
    { VPC, "dynamic header not at a sector", 16, 8, true, 513, "dynamic header lies outside" },
    { VPC, "differencing", 60, 4, true, 4, "differencing" },
    { VPC, "type", 60, 4, true, 9, "neither a fixed nor a dynamic" },
    { VPC, "cookie of the dynamic header", 512, 4, true, 1, "dynamic header is damaged" },
    { VPC, "table past the end", 528, 8, true, 1ull << 50, "table of blocks lies outside" },
    { VPC, "table too small", 540, 4, true, 1, "too small for its disk" },
    { VPC, "more entries than the file has room for", 540, 4, true, 1 << 20, "table of blocks lies outside" },
    { VPC, "table over the dynamic header", 528, 8, true, 1024, "overlaps its dynamic header" },
    { VPC, "block size 0", 544, 4, true, 0, "no power of two" },
    { VPC, "block size 4 GiB - 1", 544, 4, true, UINT32_MAX, "no power of two" },
    { VPC, "block over the header", 1536, 4, true, 0, NULL },
    { VPC, "block over the table", 1536, 4, true, 3, NULL },
    { VPC, "block past the end", 1536, 4, true, 0x7fffffff, NULL },
    { VPC_FIXED, "longer than the file", -512 + 56, 4, true, 0xffff1011, "shorter than its disk" },
    { VPC_FIXED, "no cookie", -512, 4, true, 1, "no footer" },
    { VMDK, "version", 4, 4, false, 9, "version 9" },
    { VMDK, "no capacity", 12, 8, false, 0, "capacity" },
    { VMDK, "huge capacity", 12, 8, false, UINT64_MAX, "capacity" },
    { VMDK, "capacity of too many tables", 12, 8, false, 1ull << 41, "larger than 32 MiB" },
    { VMDK, "grain of 0", 20, 8, false, 0, "grain size" },
    { VMDK, "grain of 3 sectors", 20, 8, false, 3, "grain size" },
    { VMDK, "grain of 2 GiB", 20, 8, false, 1 << 22, "grain size" },
    { VMDK, "no descriptor", 28, 8, false, 0, "no descriptor" },
    { VMDK, "descriptor past the end", 28, 8, false, 1ull << 60, "no descriptor" },
    { VMDK, "tables of 0 entries", 44, 4, false, 0, "grain tables have 0" },
    { VMDK, "tables of 2^31 entries", 44, 4, false, 1u << 31, "1 to 512" },
    { VMDK, "second directory past the end", 48, 8, false, 1ull << 50, "second grain directory" },
    { VMDK, "directory past the end", 56, 8, false, 1ull << 50, "grain directory lies outside" },
    { VMDK, "directory over the descriptor", 56, 8, false, 1, "over header or descriptor" },
    { VMDK, "table over the header", 26 * 512, 4, false, 0, NULL },
    { VMDK, "unknown kind", 512 + 77, 1, false, 'X', "not supported" },
    { STREAM, "compression", 77, 2, false, 5, "compression" },
    { STREAM, "no markers", 8, 4, false, 0x10003, "compression" },
    { VHDX, "both headers", 65536, 4, false, 0, "neither of its two headers" },
    { VHDX, "version", 65536 + 66, 2, false, 2, "version is not 1" },
    { VHDX, "huge log", 65536 + 68, 4, false, 1u << 31, "log does not begin" },
    { VHDX, "log not at a MiB", 65536 + 72, 8, false, 12345, "log does not begin" },
    { VHDX, "log over the table", 65536 + 72, 8, false, 3 << 20, "overlap" },
    { VHDX, "table past the end", 196608 + 16 + 16, 8, false, 1ull << 40, "outside the file" },
    { VHDX, "table of no length", 196608 + 16 + 24, 4, false, 0, "outside the file" },
    { VHDX, "unknown region", 196608 + 16, 4, false, 1, "not known here" },
    { VHDX, "metadata signature", 2 << 20, 4, false, 1, "metadata table is damaged" },
    { VHDX, "unknown item", (2 << 20) + 32, 4, false, 1, "not known here" },
    { VHDX, "item past its region", (2 << 20) + 32 + 16, 4, false, 0xfffffff0u, "wrong place" },
    { VHDX, "block size", (2 << 20) + 65536, 4, false, 512, "block size" },
    { VHDX, "a parent", (2 << 20) + 65536 + 4, 4, false, 2, "differencing" },
    { VHDX, "huge disk", (2 << 20) + 65536 + 8, 8, false, UINT64_MAX & ~511ull, "above 64 TiB" },
    { VHDX, "disk too large for the table", (2 << 20) + 65536 + 8, 8, false, 1ull << 45, "too small for its disk" },
    { VHDX, "sector size", (2 << 20) + 65536 + 32, 4, false, 77, "sector size" },
    { VHDX, "block over the log", 3 << 20, 8, false, 1 << 20 | VHDX_PRESENT, NULL },
    { VHDX, "block past the end", 3 << 20, 8, false, 1ull << 50 | VHDX_PRESENT, NULL },
    { VHDX, "block in a parent", 3 << 20, 8, false, VHDX_PARTIAL, NULL },
};

static void put(uint8_t *at, const struct field *f)
{
    for (unsigned i = 0; i < f->width; i++)
        at[i] = (uint8_t)(f->value >> (f->big_endian ? 8 * (f->width - 1 - i) : 8 * i));
}

static void vpc_sum(uint8_t *p, size_t length, size_t at)
{
    uint32_t sum = 0;
    memset(p + at, 0, 4);
    for (size_t i = 0; i < length; i++)
        sum += p[i];
    const be32 v = be32_make(~sum);
    memcpy(p + at, &v, sizeof(v));
}

static void vhdx_sum(uint8_t *p, size_t length)
{
    const le32 v = le32_make(vhdx_crc32c(p, length, 4));
    memcpy(p + 4, &v, sizeof(v));
}

/* The change goes into both copies of what is there twice. */
static void change(const struct field *f, uint8_t *data, size_t length)
{
    uint64_t at = f->offset < 0 ? length - (uint64_t)-f->offset : (uint64_t)f->offset;
    put(data + at, f);
    if (f->image == VPC && at < 512)
        vpc_sum(data, 512, 64);
    if (f->image == VPC && at >= 512 && at < 1536)
        vpc_sum(data + 512, 1024, 36);
    if (f->image == VPC_FIXED)
        vpc_sum(data + length - 512, 512, 64);
    if (f->image == VHDX && at >= 65536 && at < 131072)
        put(data + at + 65536, f);
    if (f->image == VHDX && at >= 196608 && at < 262144)
        put(data + at + 65536, f);
    if (f->image != VHDX)
        return;
    vhdx_sum(data + 65536, 4096);
    vhdx_sum(data + 131072, 4096);
    vhdx_sum(data + 196608, 65536);
    vhdx_sum(data + 262144, 65536);
}

static uint8_t *image_make(const struct image *i, size_t *length)
{
    struct error err = { { 0 } };
    void *data = NULL;
    const struct block_option_value item = { i->key, i->value };
    const struct block_option_set set = { &item, i->key ? 1 : 0 };
    const struct block_create_options c = { .filename = "memory", .format = i->format, .size_bytes = 8 << 20, .options = &set };
    struct block_protocol *p = block_fault_open(NULL, 0, LIMIT);
    if (!p || block_format_find(i->format)->create(p, &c, &err) || block_fault_image(p, 0, &data, length)) {
        printf("FAILED: %s: %s\n", i->format, err.text);
        exit(1);
    }
    p->ops->close(p);
    return data;
}

static void field_test(const struct field *f)
{
    struct error err = { { 0 } };
    size_t length;
    uint8_t *data = image_make(&images[f->image], &length), sector[512] = { 0 };
    const struct block_open_options o = { .filename = "memory", .format = images[f->image].format };
    change(f, data, length);
    struct block_protocol *p = block_fault_open(data, length, LIMIT);
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    if (f->message) {
        check(!n && strstr(err.text, f->message), "%s, %s: '%s'", o.format, f->what, n ? "was opened" : err.text);
    } else if (check(n != NULL, "%s, %s: '%s'", o.format, f->what, n ? "" : err.text) && strcmp(f->what, "table over the header")) {
        check(block_pread(n, 0, sector, 512) == -EIO, "%s, %s: read", o.format, f->what);
        check(block_pwrite(n, 0, sector, 512) == -EIO, "%s, %s: written", o.format, f->what);
    }
    block_close(n);
    free(data);
}

/* Descriptors that name what is not theirs. */
static void descriptor_test(const char *extent, const char *message)
{
    struct error err = { { 0 } };
    char text[600];
    snprintf(text, sizeof(text), "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
             "createType=\"monolithicFlat\"\n%s\n", extent);
    file_write("d.vmdk", text, strlen(text));
    const struct block_open_options o = { .filename = "d.vmdk" };
    struct block_node *n = block_open(&o, &err);
    check(!n && strstr(err.text, message), "%s: '%s'", extent, n ? "was opened" : err.text);
    block_close(n);
}

static void word_put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

/* A count of used blocks that is too low (one place for two blocks), and one that a power cut left too high (no place for any). */
static void vdi_count_test(void)
{
    const struct image vdi = { .format = "vdi" };
    const struct block_open_options o = { .filename = "memory", .format = "vdi" };
    for (unsigned high = 0; high < 2; high++) {
        struct error err = { { 0 } };
        uint8_t a[512], b[512], got[512];
        size_t length;
        uint8_t *data = image_make(&vdi, &length);
        memset(a, 'a', sizeof(a));
        memset(b, 'b', sizeof(b));
        word_put(data + 388, high ? 8 : 0, 4);
        if (!high)
            word_put(data + 512, 0, 4);     /* block 0 is at place 0 all the same */
        struct block_protocol *p = block_fault_open(data, length, LIMIT);
        struct block_node *n = block_node_open_over(p, &o, NULL, &err);
        if (check(n != NULL, "vdi, a wrong count: %s", err.text)) {
            check(!block_pwrite(n, 0, a, sizeof(a)) && !block_pwrite(n, 1 << 20, b, sizeof(b)), "vdi, a wrong count: cannot be written");
            check(!block_pread(n, 0, got, sizeof(got)) && !memcmp(a, got, sizeof(a)), "vdi: two blocks at one place");
        }
        block_close(n);
        free(data);
    }
}

/* A stream's header is at its end, and has to be found when something was appended. */
static void vmdk_footer_test(void)
{
    const struct image vmdk = { .format = "vmdk", .key = "subformat", .value = "streamOptimized" };
    const struct block_open_options o = { .filename = "memory", .format = "vmdk" };
    struct error err = { { 0 } };
    uint8_t a[512], got[512];
    size_t length, after;
    void *image = NULL;
    uint8_t *data = image_make(&vmdk, &length), *stream = calloc(1, length + 4 * 512);
    memset(a, 'a', sizeof(a));
    length = ALIGN_UP(length, (size_t)512);
    memcpy(stream, data, length);
    word_put(stream + length, 1, 8);
    word_put(stream + length + 12, 3, 4);               /* the marker of a footer */
    memcpy(stream + length + 512, data, 512);
    word_put(stream + 56, UINT64_MAX, 8);               /* the directory is at the end */
    struct block_protocol *p = block_fault_open(stream, length + 3 * 512, LIMIT);
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    if (check(n != NULL, "vmdk with a footer: %s", err.text)) {
        check(!block_pwrite(n, 65536, a, sizeof(a)) && !block_flush_sync(n), "vmdk with a footer: cannot be written");
        check(!block_fault_image(p, 0, &image, &after), "out of memory");
    }
    block_close(n);
    n = image ? block_node_open_over(block_fault_open(image, after, LIMIT), &o, NULL, &err) : NULL;
    check(n && !block_pread(n, 65536, got, sizeof(got)) && !memcmp(a, got, sizeof(a)), "vmdk with a footer, written to: '%s'", err.text);
    block_close(n);
    free(image);
    free(stream);
    free(data);
}

/*
 * A file that lost its end, and with it the place of its second block: what is written to others must not come to lie where the
 * table looks for that one.
 */
static void cut_short_test(const struct image *i, uint64_t unit)
{
    const struct block_open_options o = { .filename = "memory", .format = i->format };
    struct error err = { { 0 } };
    uint8_t *unmade = malloc(unit), *got = malloc(unit), kept[512];
    size_t length, before = 0, after = 0;
    void *one = NULL, *two = NULL;
    uint8_t *data = image_make(i, &length);
    for (uint64_t k = 0; k < unit; k++)
        unmade[k] = (uint8_t)(k * 2654435761u >> 13);           /* what does not pack well */
    memset(kept, 'k', sizeof(kept));
    struct block_protocol *p = block_fault_open(data, length, LIMIT);
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    check(n && !block_pwrite(n, 0, kept, sizeof(kept)) && !block_flush_sync(n) && !block_fault_image(p, 0, &one, &before), "%s: %s",
          i->format, err.text);
    check(n && !block_pwrite(n, unit, unmade, unit) && !block_flush_sync(n) && !(n->format->rest && n->format->rest(n)) &&
          !block_fault_image(p, 0, &two, &after), "%s: %s", i->format, err.text);
    block_close(n);
    n = block_node_open_over(block_fault_open(two, MIN(before, after), LIMIT), &o, NULL, &err);
    if (check(n != NULL, "%s, cut short: %s", i->format, err.text)) {
        check(block_pread(n, unit, got, 512) == -EIO, "%s, cut short: what is lost can be read", i->format);
        memset(unmade, 'n', unit);
        for (uint64_t at = 2 * unit; at < 4 * unit; at += unit)
            check(block_pwrite(n, at, unmade, unit) == -EIO, "%s, cut short: a new block was put there", i->format);
        check(block_pread(n, unit, got, 512) == -EIO, "%s, cut short: what is lost can be read after writing", i->format);
        check(!block_pread(n, 0, got, 512) && !memcmp(got, kept, 512), "%s, cut short: what is there cannot be read", i->format);
        check(!strcmp(i->value ? i->value : "", "streamOptimized") || (!block_pwrite(n, 512, kept, 512) && !block_flush_sync(n)),
              "%s, cut short: what is there cannot be written", i->format);
    }
    block_close(n);
    free(one);
    free(two);
    free(data);
    free(unmade);
    free(got);
}

/* Files of a few bytes that stand for disks whose blocks nobody can go through one by one. */
static const struct giant {
    const char *format;
    size_t file_bytes;
    struct { size_t offset; unsigned width; bool big_endian; uint64_t value; } field[11];
} giants[] = {
    { "parallels", 512, { { 0, 8, true, 0x576974686f754672 }, { 8, 8, true, 0x6553706163457874 },
                          { 16, 4, false, 2 }, { 28, 4, false, 1 }, { 36, 8, false, 1ull << 52 } } },
    { "qed", (1 << 20) + 512, { { 0, 4, true, 0x51454400 }, { 4, 4, false, 1 << 20 }, { 8, 4, false, 16 }, { 12, 4, false, 1 },
                                { 40, 8, false, 1 << 20 }, { 48, 8, false, 1ull << 61 } } },
    { "qcow", 512, { { 0, 4, true, 0x514649fb }, { 4, 4, true, 1 }, { 24, 8, true, 1ull << 50 }, { 32, 1, true, 16 }, { 33, 1, true, 13 },
                     { 40, 8, true, 48 } } },
    { "vmdk", 9 << 20, { { 0, 4, true, 0x4b444d56 }, { 4, 4, false, 1 }, { 12, 8, false, 1 << 30 }, { 20, 8, false, 1 }, { 28, 8, false, 1 },
                         { 36, 8, false, 20 }, { 44, 4, false, 512 }, { 56, 8, false, 128 }, { 64, 8, false, 20480 } } },
};

static void giant_test(const struct giant *g)
{
    static const char descriptor[] = "# Disk DescriptorFile\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n";
    uint8_t *image = calloc(1, g->file_bytes);
    struct error err = { { 0 } };
    struct block_map m = { 0 };
    struct block_extent e = { 0 };
    struct block_check c = { 0 };
    for (size_t i = 0; i < ARRAY_SIZE(g->field); i++)
        for (unsigned k = 0; k < g->field[i].width; k++)
            image[g->field[i].offset + k] =
                (uint8_t)(g->field[i].value >> 8 * (g->field[i].big_endian ? g->field[i].width - 1 - k : k));
    if (!strcmp(g->format, "vmdk"))
        memcpy(image + 512, descriptor, sizeof(descriptor));
    const struct block_open_options o = { .filename = "memory", .format = g->format, .readonly = true };
    struct block_node *n = block_node_open_over(block_fault_open(image, g->file_bytes, g->file_bytes), &o, NULL, &err);
    if (check(n != NULL, "giant %s: %s", g->format, err.text)) {
        uint64_t size = block_size_bytes(n);
        check(size >= 1ull << 39, "giant %s: %llu bytes", g->format, (unsigned long long)size);
        check(!block_map_get(n, 0, size, 0, &m) && m.zero && m.length_bytes == size, "giant %s: its map", g->format);
        check(!block_extent_get(n, 512, size - 512, &e) && e.zero && e.length_bytes == size - 512, "giant %s: its extent", g->format);
        check(!block_format_has_check(g->format) || (!block_check(n, &c, &err) && !c.corruptions), "giant %s: its check", g->format);
    }
    block_close(n);
    free(image);
}

int main(void)
{
    test_directory_enter();
    for (size_t i = 0; i < ARRAY_SIZE(giants); i++)
        giant_test(&giants[i]);
    vdi_count_test();
    vmdk_footer_test();
    cut_short_test(&images[VPC], 2 << 20);
    cut_short_test(&images[VMDK], 64 << 10);
    cut_short_test(&images[STREAM], 64 << 10);
    cut_short_test(&images[VHDX], 1 << 20);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        field_test(&fields[i]);
    run("truncate -s 1M e");
    descriptor_test("RW 2048 FLAT \"/etc/passwd\" 0", "own directory");
    descriptor_test("RW 2048 FLAT \"../e\" 0", "own directory");
    descriptor_test("RW 2048 FLAT \"..\" 0", "own directory");
    descriptor_test("RW 2049 FLAT \"e\" 0", "shorter than the descriptor");
    descriptor_test("RW 2048 FLAT \"e\" 1", "shorter than the descriptor");
    descriptor_test("RW 2048 FLAT \"e\" 99999999999999999", "past every file's end");
    descriptor_test("RW 0 FLAT \"e\" 0", "no valid size");
    descriptor_test("RW 2048 FLAT \"missing\" 0", "no such file");
    descriptor_test("RW 1 FLAT \"d.vmdk\" 0", "");
    descriptor_test("RW 2048 SPARSE \"e\"", "no VMDK header");
    descriptor_test("RW 2048 SESPARSE \"e\"", "not supported");
    descriptor_test("NOACCESS 2048 FLAT \"e\" 0", "NOACCESS");
    descriptor_test("RDONLY 2048 FLAT \"e\" 0", "read-only");
    descriptor_test("", "no extents");
    printf("%zu fields\n", ARRAY_SIZE(fields));
    return report("block/formats_malformed", 0);
}
