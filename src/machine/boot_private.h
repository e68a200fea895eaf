/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of direct boot: an image is a list of pieces of memory and the registers to start with. */
#ifndef MACHINE_BOOT_PRIVATE_H
#define MACHINE_BOOT_PRIVATE_H

#include <stddef.h>

#include "machine/boot.h"

struct boot_file {
    uint8_t *data;
    size_t size;
};

struct boot_piece {
    gpa_t address;
    const uint8_t *data;
    uint64_t size, memory_bytes;       /* what is behind size is zeros */
};

enum { BOOT_PIECES = 96, BOOT_FILES = 34 };
enum { BOOT_SETUP = 0x10000 };         /* where setup code lies if it is run */
struct boot_image {
    struct boot_config config;
    struct boot_memory_range e820[16];
    const char *protocol;
    struct boot_file file[BOOT_FILES]; /* 0: the kernel; also blocks made here */
    unsigned file_count;
    struct boot_piece piece[BOOT_PIECES];
    unsigned piece_count;
    bool is_long;                      /* entered in 64-bit mode with these tables, else in flat 32-bit mode */
    gpa_t page_table, gdt;
    uint64_t entry, eax, ebx, rsi;
    gpa_t kernel_end;                  /* first byte behind all pieces above 1 MiB */
};

/* A file read whole; NULL with *err. Belongs to b. */
struct boot_file *boot_file_read(struct boot_image *b, const char *what, const char *path, size_t length,
                                 struct error *err);
/* A zeroed block that belongs to b. */
uint8_t *boot_block_new(struct boot_image *b, size_t size, struct error *err);
/* 0, or -1 with *err if it does not lie in RAM. data must belong to b. */
int boot_piece_add(struct boot_image *b, gpa_t address, const uint8_t *data, uint64_t size, uint64_t memory_bytes,
                   struct error *err);

/* Each: 1 it was that and is loaded, 0 it is something else, -1 with *err. */
int boot_linux_load(struct boot_image *b, const struct boot_file *kernel, struct error *err);
/* The same, to be entered through its setup code. */
int boot_linux_setup_load(struct boot_image *b, const struct boot_file *kernel, struct error *err);
int boot_multiboot_load(struct boot_image *b, const struct boot_file *kernel, struct error *err);
int boot_pvh_load(struct boot_image *b, const struct boot_file *kernel, struct error *err);

/* elf.c: PT_LOAD segments of a 32- or 64-bit little-endian x86 ELF to their physical addresses. */
struct boot_elf { uint64_t entry; bool is_64; uint64_t phys32_entry; bool has_phys32_entry; };
bool boot_elf_is(const struct boot_file *f);
int boot_elf_inspect(const struct boot_file *f, struct boot_elf *elf, struct error *err);
int boot_elf_load(struct boot_image *b, const struct boot_file *f, struct error *err);

#endif
