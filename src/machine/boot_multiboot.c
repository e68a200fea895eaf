/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multiboot 1 kernels: ELF, or raw with the address fields of the header. Source: Multiboot Specification
 * 0.6.96. Modules come from -initrd "FILE ARGS,FILE ARGS" (a comma in a name is written twice); they lie
 * page-aligned behind the kernel. The information block lies at 9000h.
 *
 * Limits: no video mode is set, no drives, no symbol table.
 */
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/boot_private.h"

#define HEADER_MAGIC 0x1badb002u
#define BOOTED_MAGIC 0x2badb002u

enum { SEARCH_BYTES = 8192, HEADER_ADDRESSES = 1 << 16, INFO_AT = 0x9000, INFO_MAX = 0x80000, MODULES_MAX = 32 };
enum {
    INFO_MEMORY = 1,
    INFO_COMMAND_LINE = 4,
    INFO_MODULES = 8,
    INFO_MEMORY_MAP = 0x40,
    INFO_LOADER_NAME = 0x200
};

struct header {
    le32 magic, flags, checksum, header_address, load_address, load_end, bss_end, entry;
} __attribute__((packed));
struct info {
    le32 flags, memory_lower, memory_upper, boot_device, command_line, module_count, modules, symbols[4],
        memory_map_bytes, memory_map, drives_bytes, drives, config_table, loader_name, apm, vbe[4];
} __attribute__((packed));
struct module { le32 start, end, text, reserved; } __attribute__((packed));
struct map_entry { le32 size; le64 address, length; le32 type; } __attribute__((packed));
struct block {
    struct info info;
    struct map_entry map[16];
    struct module module[MODULES_MAX];
    char loader_name[8];
    char text[];
} __attribute__((packed));

/* Offset of the header in the file, or -1. */
static int64_t header_find(const struct boot_file *f, struct header *h)
{
    for (size_t at = 0; at + 12 <= f->size && at + 12 <= SEARCH_BYTES; at += 4) {
        memset(h, 0, sizeof(*h));
        memcpy(h, f->data + at, MIN(sizeof(*h), f->size - at));
        if (le32_get(h->magic) != HEADER_MAGIC) continue;
        if ((uint32_t)(le32_get(h->magic) + le32_get(h->flags) + le32_get(h->checksum)) == 0) return (int64_t)at;
    }
    return -1;
}

/* The "a.out kludge": 3.1.3 of the specification. */
static int raw_load(struct boot_image *b, const struct boot_file *f, const struct header *h, uint64_t header_at,
                    struct error *err)
{
    uint64_t load = le32_get(h->load_address), header = le32_get(h->header_address),
             end = le32_get(h->load_end), offset, size;
    uint64_t bss_end = le32_get(h->bss_end);

    if (header < load || header - load > header_at)
        return error_set(err, "-kernel: '%s' has a multiboot header with impossible addresses", b->config.kernel);
    offset = header_at - (header - load);
    size = end ? end - load : f->size - offset;
    if ((end && end < load) || size > f->size - offset)
        return error_set(err, "-kernel: '%s' is shorter than its multiboot header says", b->config.kernel);
    b->entry = le32_get(h->entry);
    return boot_piece_add(b, load, f->data + offset, size, bss_end > load ? bss_end - load : 0, err);
}

static int elf_load(struct boot_image *b, const struct boot_file *f, struct error *err)
{
    struct boot_elf elf;

    if (!boot_elf_is(f))
        return error_set(err, "-kernel: '%s' has a multiboot header but is neither ELF nor tells its addresses",
                         b->config.kernel);
    if (boot_elf_inspect(f, &elf, err) < 0) return error_prefix(err, "-kernel: '%s'", b->config.kernel);
    if (elf.entry > UINT32_MAX) return error_set(err, "-kernel: '%s' has its entry above 4 GiB", b->config.kernel);
    b->entry = elf.entry;
    return boot_elf_load(b, f, err);
}

/* The next module's text: up to a single comma; doubled ones stand for themselves. Returns what is behind it. */
static const char *module_text(const char *from, char *to)
{
    for (; *from; from++) {
        if (*from == ',' && from[1] != ',') return from + 1;
        if (*from == ',') from++;
        *to++ = *from;
    }
    return from;
}

/* Adds modules; texts lie one behind the other at text (a copy of config.initrd is as long as all of them). */
static int modules_add(struct boot_image *b, struct block *k, char *text, struct error *err)
{
    const char *from = b->config.initrd;
    uint32_t count = 0;

    while (from && *from) {
        const struct boot_file *f;
        uint64_t at = ALIGN_UP(MAX(b->kernel_end, (gpa_t)0x100000), 4096);

        from = module_text(from, text);
        if (count == MODULES_MAX)
            return error_set(err, "-initrd: at most %d multiboot modules can be given", MODULES_MAX);
        f = boot_file_read(b, "-initrd", text, strcspn(text, " "), err);
        if (!f || boot_piece_add(b, at, f->data, f->size, 0, err) < 0) return -1;
        k->module[count++] = (struct module){ le32_make((uint32_t)at), le32_make((uint32_t)(at + f->size)),
                                              le32_make((uint32_t)(INFO_AT + (text - (char *)k))), { 0 } };
        text += strlen(text) + 1;
    }
    k->info.module_count = le32_make(count);
    k->info.modules = le32_make(INFO_AT + offsetof(struct block, module));
    return 0;
}

static void memory_fill(const struct boot_image *b, struct block *k)
{
    k->info.memory_lower = le32_make(639);
    k->info.memory_upper = le32_make((uint32_t)((b->config.ram_below_4g - 0x100000) >> 10));
    for (unsigned i = 0; i < b->config.e820_count; i++)
        k->map[i] = (struct map_entry){ le32_make(sizeof(struct map_entry) - 4), le64_make(b->e820[i].start),
                                        le64_make(b->e820[i].size), le32_make(b->e820[i].type) };
    k->info.memory_map = le32_make(INFO_AT + offsetof(struct block, map));
    k->info.memory_map_bytes = le32_make(b->config.e820_count * sizeof(struct map_entry));
}

static int info_add(struct boot_image *b, struct error *err)
{
    const char *append = b->config.append ? b->config.append : "",
               *initrd = b->config.initrd ? b->config.initrd : "";
    size_t line = strlen(b->config.kernel) + 1 + strlen(append) + 1,
           size = sizeof(struct block) + line + strlen(initrd) + 2;
    struct block *k;

    if (size > INFO_MAX) return error_set(err, "-append: the kernel command line is too long");
    k = (struct block *)boot_block_new(b, size, err);
    if (!k) return -1;
    k->info.flags = le32_make(INFO_MEMORY | INFO_COMMAND_LINE | INFO_MODULES | INFO_MEMORY_MAP | INFO_LOADER_NAME);
    memory_fill(b, k);
    memcpy(k->loader_name, "ospite", 7);
    k->info.loader_name = le32_make(INFO_AT + offsetof(struct block, loader_name));
    strcpy(k->text, b->config.kernel);
    if (*append) strcat(strcat(k->text, " "), append);
    k->info.command_line = le32_make(INFO_AT + offsetof(struct block, text));
    if (modules_add(b, k, k->text + line, err) < 0) return -1;
    return boot_piece_add(b, INFO_AT, (const uint8_t *)k, size, 0, err);
}

int boot_multiboot_load(struct boot_image *b, const struct boot_file *kernel, struct error *err)
{
    struct header h;
    int64_t at = header_find(kernel, &h);
    int result;

    if (at < 0) return 0;
    b->protocol = "multiboot";
    if (le32_get(h.flags) & HEADER_ADDRESSES) result = raw_load(b, kernel, &h, (uint64_t)at, err);
    else result = elf_load(b, kernel, err);
    if (result < 0 || info_add(b, err) < 0) return -1;
    b->eax = BOOTED_MAGIC;
    b->ebx = INFO_AT;
    return 1;
}
