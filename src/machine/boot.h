/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Direct boot: a kernel in the place of firmware. The files are read once; each reset puts them into RAM again.
 */
#ifndef MACHINE_BOOT_H
#define MACHINE_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "memory/map.h"

struct boot_image;
struct device;
struct error;
struct x86_state;

struct boot_memory_range { uint64_t start, size; uint32_t type; /* as in E820: 1 RAM, 2 reserved */ };
struct boot_config {
    const char *kernel, *initrd, *append;
    gpa_t ram_below_4g;                /* bytes of RAM from 0 on */
    const struct boot_memory_range *e820;
    unsigned e820_count;
    gpa_t rsdp;                        /* 0: no ACPI */
    bool has_text_screen;              /* a VGA in mode 3 */
    bool by_firmware;                  /* entered through its setup code, by an option ROM: see boot_bios.c */
    gpa_t ram_top;                     /* initrd and modules stay below: ACPI tables may lie above */
};
/* Reads and checks the files. NULL with *err: what is wrong with which file. */
struct boot_image *boot_load(const struct boot_config *config, struct error *err);
void boot_free(struct boot_image *b);
/* Puts kernel, initrd and what it expects into guest memory. */
void boot_place(const struct boot_image *b, struct memory_map *memory);
/* Turns registers as after reset into those of the kernel's entry. */
void boot_registers(const struct boot_image *b, struct x86_state *s);
/* "bzImage", "PVH", "multiboot". */
const char *boot_protocol(const struct boot_image *b);

/* boot_bios.c. Whether this kernel is one for by_firmware; has_bios: the user chose the firmware. */
bool boot_bios_is_wanted(const char *kernel, bool has_bios);
/* Gives a by_firmware image to the firmware, as the file BOOT_BIOS_ROM and what that loads. 0, or -1 with *err. */
int boot_bios_publish(const struct boot_image *b, struct device *fw_cfg, struct error *err);
/* The same for UEFI, which starts the files as they are. */
int boot_uefi_publish(const struct boot_image *b, struct device *fw_cfg, struct error *err);
#define BOOT_BIOS_ROM "genroms/kernel.bin"

#endif
