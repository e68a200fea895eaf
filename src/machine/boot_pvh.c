/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF kernels with a PVH note: flat 32-bit entry, EBX points at the start info. Source: Xen's
 * docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h. Start info, memory map and command line lie from
 * 6000h on, the initrd (module 0) at the top of memory.
 */
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/boot_private.h"

#define START_MAGIC 0x336ec578u

struct start_info {
    le32 magic, version, flags, module_count;
    le64 modules, command_line, rsdp, memory_map;
    le32 memory_map_entries, reserved;
} __attribute__((packed));
struct module { le64 address, size, command_line, reserved; } __attribute__((packed));
struct map_entry { le64 address, size; le32 type, reserved; } __attribute__((packed));

enum { START_AT = 0x6000, BLOCK_MAX = 0x80000 };
struct block {
    struct start_info info;
    struct module module;
    struct map_entry map[16];
    char command_line[];
} __attribute__((packed));

static int initrd_add(struct boot_image *b, struct block *k, struct error *err)
{
    const struct boot_file *f;
    uint64_t at;

    if (!b->config.initrd) return 0;
    f = boot_file_read(b, "-initrd", b->config.initrd, strlen(b->config.initrd), err);
    if (!f) return -1;
    at = f->size < b->config.ram_top ? ALIGN_DOWN(b->config.ram_top - f->size, 4096) : 0;
    if (at < b->kernel_end)
        return error_set(
            err,
            "-initrd: '%s' (%zu MiB) and the kernel do not fit into the guest's memory; give it more with -m",
            b->config.initrd, f->size >> 20);
    k->info.module_count = le32_make(1);
    k->info.modules = le64_make(START_AT + offsetof(struct block, module));
    k->module.address = le64_make(at);
    k->module.size = le64_make(f->size);
    return boot_piece_add(b, at, f->data, f->size, 0, err);
}

static int start_info_add(struct boot_image *b, struct error *err)
{
    const char *text = b->config.append ? b->config.append : "";
    size_t size = sizeof(struct block) + strlen(text) + 1;
    struct block *k;

    if (size > BLOCK_MAX) return error_set(err, "-append: the kernel command line is too long");
    k = (struct block *)boot_block_new(b, size, err);
    if (!k) return -1;
    k->info.magic = le32_make(START_MAGIC);
    k->info.version = le32_make(1);
    k->info.command_line = le64_make(START_AT + offsetof(struct block, command_line));
    k->info.rsdp = le64_make(b->config.rsdp);
    k->info.memory_map = le64_make(START_AT + offsetof(struct block, map));
    k->info.memory_map_entries = le32_make(b->config.e820_count);
    for (unsigned i = 0; i < b->config.e820_count; i++)
        k->map[i] = (struct map_entry){
            le64_make(b->e820[i].start), le64_make(b->e820[i].size), le32_make(b->e820[i].type), { 0 }
        };
    memcpy(k->command_line, text, strlen(text));
    if (initrd_add(b, k, err) < 0) return -1;
    return boot_piece_add(b, START_AT, (const uint8_t *)k, size, 0, err);
}

int boot_pvh_load(struct boot_image *b, const struct boot_file *kernel, struct error *err)
{
    struct boot_elf elf;

    if (!boot_elf_is(kernel)) return 0;
    if (boot_elf_inspect(kernel, &elf, err) < 0) return error_prefix(err, "-kernel: '%s'", b->config.kernel);
    if (!elf.has_phys32_entry)
        return error_set(
            err,
            "-kernel: '%s' is an ELF file without a PVH note or multiboot header; use the bzImage of this "
            "kernel, or build it with CONFIG_PVH",
            b->config.kernel);
    if (elf.phys32_entry > UINT32_MAX)
        return error_set(err, "-kernel: '%s' has a PVH entry above 4 GiB", b->config.kernel);
    b->protocol = "PVH";
    if (boot_elf_load(b, kernel, err) < 0 || start_info_add(b, err) < 0) return -1;
    b->entry = elf.phys32_entry;
    b->ebx = START_AT;
    return 1;
}
