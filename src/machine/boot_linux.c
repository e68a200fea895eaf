/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux bzImages: the 64-bit entry where the kernel has one, else the 32-bit entry; or the setup code, which the firmware starts.
 * Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst (protocol 2.15).
 *
 * Low memory: 7000h zero page, 8000h GDT, 9000h page tables (4 GiB mapped one to one), 20000h command line. The
 * initrd lies as high as the kernel allows.
 */
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/boot_private.h"

enum {
    ZERO_PAGE = 0x7000,
    GDT = 0x8000,
    PAGE_TABLES = 0x9000,
    COMMAND_LINE = 0x20000,
    COMMAND_LINE_MAX = 0x10000
};
enum { SETUP_MAX = 0x8000, HEAP_END = 0xfe00 };   /* of setup code at BOOT_SETUP; heap and stack lie behind */
enum {
    SETUP_SECTS = 0x1f1,
    SYSSIZE = 0x1f4,
    BOOT_FLAG = 0x1fe,
    HEADER = 0x202,
    VERSION = 0x206,
    TYPE_OF_LOADER = 0x210,
    LOADFLAGS = 0x211,
    CODE32_START = 0x214,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    HEAP_END_PTR = 0x224,
    CMD_LINE_PTR = 0x228,
    INITRD_ADDR_MAX = 0x22c,
    KERNEL_ALIGNMENT = 0x230,
    RELOCATABLE = 0x234,
    XLOADFLAGS = 0x236,
    CMDLINE_SIZE = 0x238,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260
};
enum {
    ZP_ACPI_RSDP = 0x70,
    ZP_ALT_MEM_K = 0x1e0,
    ZP_E820_ENTRIES = 0x1e8,
    ZP_E820_TABLE = 0x2d0,
    ZP_E820_MAX = 128
};
enum { LOADED_HIGH = 1, CAN_USE_HEAP = 0x80, XLF_KERNEL_64 = 1 };

struct setup {
    const struct boot_file *file;
    unsigned version;
    uint64_t kernel_offset, kernel_size, load, init_size;
    uint32_t initrd_max;
    bool has_64bit_entry;
};

static uint32_t get32(const uint8_t *p, unsigned at)
{
    le32 v;

    memcpy(&v, p + at, 4);
    return le32_get(v);
}

static void set32(uint8_t *p, unsigned at, uint32_t value)
{
    le32 v = le32_make(value);

    memcpy(p + at, &v, 4);
}

static void set64(uint8_t *p, unsigned at, uint64_t value)
{
    le64 v = le64_make(value);

    memcpy(p + at, &v, 8);
}

/* Where the kernel goes: where it would like to be, or anywhere aligned if that does not fit. */
static void load_address(const struct boot_image *b, struct setup *s, const uint8_t *h)
{
    uint64_t pref = get32(h, PREF_ADDRESS) | (uint64_t)get32(h, PREF_ADDRESS + 4) << 32;
    uint64_t align = s->version >= 0x205 ? get32(h, KERNEL_ALIGNMENT) : 0;

    s->load = 0x100000;
    s->init_size = s->kernel_size;
    if (s->version < 0x20a) return;
    s->init_size = MAX(s->init_size, get32(h, INIT_SIZE));
    if (!h[RELOCATABLE] ||
        (pref >= 0x100000 && pref < b->config.ram_top && s->init_size <= b->config.ram_top - pref))
        s->load = pref;
    else if (align && (align & (align - 1)) == 0) s->load = ALIGN_UP(s->load, align);
}

/* 1, 0 (no bzImage), -1. */
static int setup_read(const struct boot_image *b, const struct boot_file *f, struct setup *s, struct error *err)
{
    const uint8_t *h = f->data;
    unsigned sectors;

    if (f->size < 0x400 || h[BOOT_FLAG] != 0x55 || h[BOOT_FLAG + 1] != 0xaa || memcmp(h + HEADER, "HdrS", 4))
        return 0;
    s->file = f;
    s->version = h[VERSION] | h[VERSION + 1] << 8;
    if (s->version < 0x202 || !(h[LOADFLAGS] & LOADED_HIGH))
        return error_set(
            err,
            "-kernel: '%s' is a Linux kernel with boot protocol %u.%02u; this needs a bzImage with 2.02 or "
            "later",
            b->config.kernel, s->version >> 8, s->version & 0xff);
    sectors = h[SETUP_SECTS] ? h[SETUP_SECTS] : 4;
    s->kernel_offset = (sectors + 1) * 512ull;
    if (s->kernel_offset >= f->size)
        return error_set(err, "-kernel: '%s' is a truncated bzImage: it ends before the kernel proper",
                         b->config.kernel);
    s->kernel_size = f->size - s->kernel_offset;
    if (s->version >= 0x204 && get32(h, SYSSIZE) * 16ull > s->kernel_size + 16)
        return error_set(err, "-kernel: '%s' is a truncated bzImage: %llu of %llu bytes are there",
                         b->config.kernel, (unsigned long long)s->kernel_size, get32(h, SYSSIZE) * 16ull);
    s->initrd_max = s->version >= 0x203 ? get32(h, INITRD_ADDR_MAX) : 0x37ffffff;
    s->has_64bit_entry = s->version >= 0x20c && (h[XLOADFLAGS] & XLF_KERNEL_64);
    load_address(b, s, h);
    return 1;
}

static int initrd_add(struct boot_image *b, const struct setup *s, uint8_t *zero_page, struct error *err)
{
    const struct boot_file *f;
    uint64_t top, at;

    if (!b->config.initrd) return 0;
    f = boot_file_read(b, "-initrd", b->config.initrd, strlen(b->config.initrd), err);
    if (!f) return -1;
    top = MIN((uint64_t)s->initrd_max + 1, b->config.ram_top);
    at = f->size <= top ? ALIGN_DOWN(top - f->size, 4096) : 0;
    if (at < s->load + s->init_size)
        return error_set(
            err,
            "-initrd: '%s' (%zu MiB) and the kernel do not fit into the guest's memory; give it more with -m",
            b->config.initrd, f->size >> 20);
    set32(zero_page, RAMDISK_IMAGE, (uint32_t)at);
    set32(zero_page, RAMDISK_SIZE, (uint32_t)f->size);
    return boot_piece_add(b, at, f->data, f->size, f->size, err);
}

static int command_line_add(struct boot_image *b, const struct setup *s, uint8_t *zero_page, struct error *err)
{
    const char *text = b->config.append ? b->config.append : "";
    uint64_t most = s->version >= 0x206 ? get32(s->file->data, CMDLINE_SIZE) : 255;
    uint8_t *copy;

    most = MIN(most, (uint64_t)COMMAND_LINE_MAX - 1);
    if (strlen(text) > most)
        return error_set(err,
                         "-append: the kernel command line has %zu characters; this kernel takes at most %llu",
                         strlen(text), (unsigned long long)most);
    copy = boot_block_new(b, strlen(text) + 1, err);
    if (!copy) return -1;
    memcpy(copy, text, strlen(text));
    set32(zero_page, CMD_LINE_PTR, COMMAND_LINE);
    return boot_piece_add(b, COMMAND_LINE, copy, strlen(text) + 1, 0, err);
}

/* struct screen_info: 80x25 colour text on a VGA, as the real-mode setup code would find it. */
static void screen_info_fill(uint8_t *zp)
{
    enum { MODE = 6, COLUMNS = 7, EGA_BX = 10, LINES = 14, IS_VGA = 15, POINTS = 16 };

    zp[MODE] = 3;
    zp[COLUMNS] = 80;
    zp[EGA_BX] = 3;
    zp[LINES] = 25;
    zp[IS_VGA] = 1;
    zp[POINTS] = 16;
}

static void zero_page_fill(const struct boot_image *b, const struct setup *s, uint8_t *zp)
{
    const uint8_t *h = s->file->data;
    unsigned header_end = MIN(0x202u + h[0x201], 0x290u), count = MIN(b->config.e820_count, (unsigned)ZP_E820_MAX);

    memcpy(zp + SETUP_SECTS, h + SETUP_SECTS, MAX(header_end, 0x230u) - SETUP_SECTS);
    zp[TYPE_OF_LOADER] = 0xff;
    set32(zp, CODE32_START, (uint32_t)s->load);
    set32(zp, RAMDISK_IMAGE, 0);
    set32(zp, RAMDISK_SIZE, 0);
    if (b->config.has_text_screen) screen_info_fill(zp);
    set64(zp, ZP_ACPI_RSDP, b->config.rsdp);
    set32(zp, ZP_ALT_MEM_K, (uint32_t)((b->config.ram_below_4g - 0x100000) >> 10));
    zp[ZP_E820_ENTRIES] = (uint8_t)count;
    for (unsigned i = 0; i < count; i++) {
        set64(zp, ZP_E820_TABLE + i * 20, b->e820[i].start);
        set64(zp, ZP_E820_TABLE + i * 20 + 8, b->e820[i].size);
        set32(zp, ZP_E820_TABLE + i * 20 + 16, b->e820[i].type);
    }
}

/* PML4, PDPT, four directories of 2 MiB pages; behind them nothing. */
static int page_tables_add(struct boot_image *b, struct error *err)
{
    uint8_t *t = boot_block_new(b, 6 * 4096, err);

    if (!t) return -1;
    set64(t, 0, (PAGE_TABLES + 0x1000) | 3);
    for (unsigned i = 0; i < 4; i++) set64(t, 0x1000 + i * 8, (PAGE_TABLES + 0x2000 + i * 0x1000) | 3);
    for (unsigned i = 0; i < 2048; i++) set64(t, 0x2000 + i * 8, (uint64_t)i << 21 | 0x83);
    b->page_table = PAGE_TABLES;
    return boot_piece_add(b, PAGE_TABLES, t, 6 * 4096, 0, err);
}

static int gdt_add(struct boot_image *b, struct error *err)
{
    uint8_t *gdt = boot_block_new(b, 32, err);

    if (!gdt) return -1;
    set64(gdt, 0x10, b->is_long ? 0x00af9b000000ffff : 0x00cf9b000000ffff);
    set64(gdt, 0x18, 0x00cf93000000ffff);
    b->gdt = GDT;
    return boot_piece_add(b, GDT, gdt, 32, 0, err);
}

static int init_size_check(const struct boot_image *b, const struct setup *s, struct error *err)
{
    if (s->load <= b->config.ram_top && s->init_size <= b->config.ram_top - s->load) return 0;
    return error_set(err, "-kernel: '%s' needs %llu MiB to unpack itself; give the guest more memory with -m",
                     b->config.kernel, (unsigned long long)((s->load + s->init_size) >> 20) + 1);
}

int boot_linux_load(struct boot_image *b, const struct boot_file *kernel, struct error *err)
{
    struct setup s = { 0 };
    uint8_t *zero_page;
    int result = setup_read(b, kernel, &s, err);

    if (result <= 0) return result;
    b->protocol = s.has_64bit_entry ? "bzImage, 64-bit entry" : "bzImage, 32-bit entry";
    b->is_long = s.has_64bit_entry;
    zero_page = boot_block_new(b, 4096, err);
    if (!zero_page) return -1;
    zero_page_fill(b, &s, zero_page);
    if (boot_piece_add(b, s.load, kernel->data + s.kernel_offset, s.kernel_size, 0, err) < 0) return -1;
    if (init_size_check(b, &s, err) < 0) return -1;
    if (initrd_add(b, &s, zero_page, err) < 0 || command_line_add(b, &s, zero_page, err) < 0) return -1;
    if (boot_piece_add(b, ZERO_PAGE, zero_page, 4096, 0, err) < 0 || gdt_add(b, err) < 0) return -1;
    if (b->is_long && page_tables_add(b, err) < 0) return -1;
    b->entry = s.load + (b->is_long ? 0x200 : 0);
    b->rsi = ZERO_PAGE;
    return 1;
}

/* The header is where it is in the zero page, counted from the setup code's begin. */
int boot_linux_setup_load(struct boot_image *b, const struct boot_file *kernel, struct error *err)
{
    struct setup s = { 0 };
    uint8_t *code;
    int result = setup_read(b, kernel, &s, err);

    if (result < 0) return -1;
    if (!result) return error_set(err, "-kernel: '%s' is no bzImage any more: somebody changed it", b->config.kernel);
    b->protocol = "bzImage, setup code";
    s.load = 0x100000;
    if (s.kernel_offset > SETUP_MAX)
        return error_set(err, "-kernel: the setup code of '%s' has %llu bytes; at most %d can be loaded", b->config.kernel,
                         (unsigned long long)s.kernel_offset, SETUP_MAX);
    code = boot_block_new(b, s.kernel_offset, err);
    if (!code) return -1;
    memcpy(code, kernel->data, s.kernel_offset);
    code[TYPE_OF_LOADER] = 0xff;
    code[LOADFLAGS] |= CAN_USE_HEAP;
    set32(code, HEAP_END_PTR, (get32(code, HEAP_END_PTR) & 0xffff0000) | HEAP_END);
    set32(code, RAMDISK_IMAGE, 0);
    set32(code, RAMDISK_SIZE, 0);
    if (init_size_check(b, &s, err) < 0) return -1;
    if (boot_piece_add(b, BOOT_SETUP, code, s.kernel_offset, 0, err) < 0) return -1;
    if (boot_piece_add(b, s.load, kernel->data + s.kernel_offset, s.kernel_size, 0, err) < 0) return -1;
    if (initrd_add(b, &s, code, err) < 0 || command_line_add(b, &s, code, err) < 0) return -1;
    return 1;
}
