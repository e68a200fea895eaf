/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Direct boot without a vCPU: made-up bzImages, ELF and multiboot files; what lies in memory and the entry
 * registers against the protocols; then truncated and random files, which must be refused and never read out of
 * bounds.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/boot.h"
#include "memory/map.h"
#include "x86/state.h"

enum { SEED = 4711, RAM_BYTES = 32 << 20, KERNEL_BYTES = 70000, SETUP_SECTORS = 3, RANDOM_FILES = 3000 };

static unsigned checks, failures;
#define CHECK(condition, ...) \
    do { \
        checks++; \
        if (condition) break; \
        failures++; \
        printf("%s:%d: %s: ", __FILE__, __LINE__, #condition); \
        printf(__VA_ARGS__); \
        printf("\n"); \
    } while (0)

static struct memory_map *memory;
static uint8_t *ram, kernel[KERNEL_BYTES], initrd[5000];
static char dir[] = "/tmp/ospite-boot-XXXXXX", kernel_path[64], initrd_path[64];

static uint32_t get32(const void *p) { le32 v; memcpy(&v, p, 4); return le32_get(v); }
static uint64_t get64(const void *p) { le64 v; memcpy(&v, p, 8); return le64_get(v); }
static void set16(uint8_t *p, uint16_t value) { le16 v = le16_make(value); memcpy(p, &v, 2); }
static void set32(uint8_t *p, uint32_t value) { le32 v = le32_make(value); memcpy(p, &v, 4); }
static void set64(uint8_t *p, uint64_t value) { le64 v = le64_make(value); memcpy(p, &v, 8); }

static void file_write(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "w");

    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) exit(2);
}

static const struct boot_memory_range e820[] = { { 0, 0x9fc00, 1 },
                                                 { 0x100000, RAM_BYTES - 0x100000 - 0x20000, 1 } };
static struct boot_image *load(size_t size, const char *initrd_text, const char *append, struct error *err)
{
    struct boot_config c = { .kernel = kernel_path,
                             .initrd = initrd_text,
                             .append = append,
                             .ram_below_4g = RAM_BYTES,
                             .e820 = e820,
                             .e820_count = 2,
                             .rsdp = 0xf0000,
                             .ram_top = RAM_BYTES - 0x20000 };

    file_write(kernel_path, kernel, size);
    err->text[0] = 0;
    return boot_load(&c, err);
}

static void bzimage_make(bool has_64, uint64_t pref, bool relocatable)
{
    for (unsigned i = 0; i < KERNEL_BYTES; i++) kernel[i] = (uint8_t)(i * 7 ^ i >> 8);
    memset(kernel, 0, 0x300);
    kernel[0x1f1] = SETUP_SECTORS;
    set32(kernel + 0x1f4, (KERNEL_BYTES - (SETUP_SECTORS + 1) * 512 + 15) / 16);
    set16(kernel + 0x1fe, 0xaa55);
    kernel[0x201] = 0x6a;
    memcpy(kernel + 0x202, "HdrS", 4);
    set16(kernel + 0x206, 0x20f);
    kernel[0x211] = 1;
    set32(kernel + 0x22c, 0x7fffffff);
    set32(kernel + 0x230, 0x200000);
    kernel[0x234] = relocatable;
    set16(kernel + 0x236, has_64);
    set32(kernel + 0x238, 100);
    set64(kernel + 0x258, pref);
    set32(kernel + 0x260, 0x100000);
}

static void bzimage_check(bool has_64, uint64_t at)
{
    struct x86_state s = { 0 };
    struct error err;
    struct boot_image *b = load(KERNEL_BYTES, initrd_path, "a=b c", &err);
    uint64_t rd;

    CHECK(b, "%s", err.text);
    if (!b) return;
    memset(ram, 0xcc, RAM_BYTES);
    boot_place(b, memory);
    boot_registers(b, &s);
    CHECK(!memcmp(ram + at, kernel + (SETUP_SECTORS + 1) * 512, KERNEL_BYTES - (SETUP_SECTORS + 1) * 512),
          "kernel at %llx", (unsigned long long)at);
    CHECK(s.rip == at + (has_64 ? 0x200 : 0) && s.gpr[REG_RSI] == 0x7000, "entry %llx", (unsigned long long)s.rip);
    CHECK(x86_is_code64(&s) == has_64 && (s.cr0 & CR0_PE) && !(s.cr0 & CR0_PG) == !has_64, "mode");
    CHECK(!memcmp(ram + 0x7202, "HdrS", 4) && ram[0x7210] == 0xff && ram[0x71ef] == 0, "zero page");
    CHECK(!strcmp((char *)ram + get32(ram + 0x7228), "a=b c"), "command line");
    rd = get32(ram + 0x7218);
    CHECK(get32(ram + 0x721c) == sizeof(initrd) && rd % 4096 == 0 && rd + sizeof(initrd) <= RAM_BYTES - 0x20000 &&
          !memcmp(ram + rd, initrd, sizeof(initrd)), "initrd at %llx", (unsigned long long)rd);
    CHECK(ram[0x71e8] == 2 && get64(ram + 0x72d0 + 20) == 0x100000 && get32(ram + 0x72d0 + 36) == 1, "e820");
    CHECK(get64(ram + 0x7070) == 0xf0000, "RSDP");
    if (has_64) {
        const uint8_t *pml4 = ram + s.cr3, *pdpt = ram + (get64(pml4) & ~0xfffull),
                      *pd = ram + (get64(pdpt + 24) & ~0xfffull);

        CHECK(get64(pd + 511 * 8) == (0xffe00000 | 0x83), "last page mapped");
        CHECK(get64(ram + s.gdtr.base + 0x10) == 0x00af9b000000ffff, "64-bit code segment");
    }
    boot_free(b);
}

static void test_bzimage(void)
{
    struct error err;
    char line[200];

    bzimage_make(true, 0x1000000, true);
    bzimage_check(true, 0x1000000);
    bzimage_make(true, 0x4000000, true);               /* does not fit there: aligned from 1 MiB on */
    bzimage_check(true, 0x200000);
    bzimage_make(false, 0x100000, false);
    bzimage_check(false, 0x100000);
    bzimage_make(true, 0x4000000, false);
    CHECK(!load(KERNEL_BYTES, NULL, NULL, &err) && strstr(err.text, "-m"), "%s", err.text);
    bzimage_make(true, 0x1000000, true);
    CHECK(!load(KERNEL_BYTES - 5000, NULL, NULL, &err) && strstr(err.text, "truncated"), "%s", err.text);
    CHECK(!load(1500, NULL, NULL, &err) && strstr(err.text, "truncated"), "%s", err.text);
    memset(line, 'x', sizeof(line));
    line[199] = 0;
    CHECK(!load(KERNEL_BYTES, NULL, line, &err) && strstr(err.text, "at most 100"), "%s", err.text);
    CHECK(!load(KERNEL_BYTES, "/nowhere", NULL, &err) && strstr(err.text, "-initrd: cannot open '/nowhere'"),
          "%s", err.text);
    set32(kernel + 0x22c, 0x1000000);                  /* initrd must end below 16 MiB, where the kernel begins */
    CHECK(!load(KERNEL_BYTES, initrd_path, NULL, &err) && strstr(err.text, "do not fit"), "%s", err.text);
}

static size_t elf_make(unsigned bits, bool note)
{
    static const uint8_t pvh[20] = { 4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0x34, 0x12, 0x10, 0 };

    memset(kernel, 0, sizeof(kernel));
    for (unsigned i = 0x1000; i < 0x2000; i++) kernel[i] = (uint8_t)i;
    memcpy(kernel + 0x800, pvh, sizeof(pvh));
    if (bits == 64) {
        Elf64_Ehdr e = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
                         .e_machine = EM_X86_64,
                         .e_entry = 0x100040,
                         .e_phoff = 64,
                         .e_phentsize = sizeof(Elf64_Phdr),
                         .e_phnum = note ? 2 : 1 };
        Elf64_Phdr p[2] = { { .p_type = PT_LOAD,
                              .p_offset = 0x1000,
                              .p_paddr = 0x100000,
                              .p_filesz = 0x1000,
                              .p_memsz = 0x3000 },
                            { .p_type = PT_NOTE, .p_offset = 0x800, .p_filesz = 20, .p_align = 4 } };

        memcpy(kernel, &e, sizeof(e));
        memcpy(kernel + 64, p, sizeof(p));
    } else {
        Elf32_Ehdr e = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1 },
                         .e_machine = EM_386,
                         .e_entry = 0x100040,
                         .e_phoff = 64,
                         .e_phentsize = sizeof(Elf32_Phdr),
                         .e_phnum = note ? 2 : 1 };
        Elf32_Phdr p[2] = { { .p_type = PT_LOAD,
                              .p_offset = 0x1000,
                              .p_paddr = 0x100000,
                              .p_filesz = 0x1000,
                              .p_memsz = 0x3000 },
                            { .p_type = PT_NOTE, .p_offset = 0x800, .p_filesz = 20, .p_align = 4 } };

        memcpy(kernel, &e, sizeof(e));
        memcpy(kernel + 64, p, sizeof(p));
    }
    return 0x2000;
}

static struct boot_image *load_setup(size_t size, const char *initrd_text, const char *append, struct error *err)
{
    struct boot_config c = { .kernel = kernel_path, .initrd = initrd_text, .append = append, .ram_top = RAM_BYTES,
                             .by_firmware = true };

    file_write(kernel_path, kernel, size);
    err->text[0] = 0;
    return boot_load(&c, err);
}

/* Images that the firmware starts. */
static void test_setup_code(void)
{
    enum { SETUP_BYTES = (SETUP_SECTORS + 1) * 512 };
    struct error err;
    struct boot_image *b;
    uint32_t rd;

    bzimage_make(false, 0x1000000, true);
    file_write(kernel_path, kernel, KERNEL_BYTES);
    CHECK(!boot_bios_is_wanted(kernel_path, false) && boot_bios_is_wanted(kernel_path, true), "protocol 2.15");
    set16(kernel + 0x206, 0x209);
    file_write(kernel_path, kernel, KERNEL_BYTES);
    CHECK(boot_bios_is_wanted(kernel_path, false), "protocol 2.09");
    b = load_setup(KERNEL_BYTES, initrd_path, "old", &err);
    CHECK(b, "%s", err.text);
    if (!b) return;
    memset(ram, 0xcc, RAM_BYTES);
    boot_place(b, memory);
    CHECK(!memcmp(ram + 0x10000, kernel, 0x210) && !memcmp(ram + 0x10230, kernel + 0x230, SETUP_BYTES - 0x230), "setup code");
    CHECK(ram[0x10210] == 0xff && ram[0x10211] == 0x81 && (get32(ram + 0x10224) & 0xffff) == 0xfe00, "loader, heap");
    CHECK(!memcmp(ram + 0x100000, kernel + SETUP_BYTES, KERNEL_BYTES - SETUP_BYTES), "kernel");
    CHECK(!strcmp((char *)ram + get32(ram + 0x10228), "old"), "command line");
    rd = get32(ram + 0x10218);
    CHECK(get32(ram + 0x1021c) == sizeof(initrd) && rd % 4096 == 0 && !memcmp(ram + rd, initrd, sizeof(initrd)), "initrd at %x", rd);
    boot_free(b);
    kernel[0x1f1] = 0x40;                              /* more than fits */
    set32(kernel + 0x1f4, 0);
    CHECK(!load_setup(KERNEL_BYTES, NULL, NULL, &err) && strstr(err.text, "setup code"), "%s", err.text);
    set16(kernel + 0x1fe, 0);
    file_write(kernel_path, kernel, KERNEL_BYTES);
    CHECK(!boot_bios_is_wanted(kernel_path, true) && !boot_bios_is_wanted("/nowhere", true), "no bzImage");
}

static void test_elf(void)
{
    struct x86_state s = { 0 };
    struct error err;
    struct boot_image *b;

    for (unsigned bits = 32; bits <= 64; bits += 32) {
        const uint8_t *info;

        b = load(elf_make(bits, true), initrd_path, "pvh line", &err);
        CHECK(b, "%s", err.text);
        if (!b) continue;
        memset(ram, 0xcc, RAM_BYTES);
        boot_place(b, memory);
        boot_registers(b, &s);
        info = ram + s.gpr[REG_RBX];
        CHECK(s.rip == 0x101234 && !x86_is_long(&s) && !(s.cr0 & CR0_PG), "entry %llx", (unsigned long long)s.rip);
        CHECK(!memcmp(ram + 0x100000, kernel + 0x1000, 0x1000) && ram[0x101000] == 0 && ram[0x102fff] == 0 &&
                  ram[0x103000] == 0xcc,
              "segment and its bss");
        CHECK(get32(info) == 0x336ec578 && get32(info + 4) == 1 && get32(info + 12) == 1, "start info");
        CHECK(!strcmp((char *)ram + get64(info + 24), "pvh line") && get64(info + 32) == 0xf0000,
              "command line, RSDP");
        CHECK(!memcmp(ram + get64(ram + get64(info + 16)), initrd, sizeof(initrd)) &&
              get64(ram + get64(info + 16) + 8) == sizeof(initrd), "module");
        CHECK(get32(info + 48) == 2 && get64(ram + get64(info + 40) + 24) == 0x100000, "memory map");
        boot_free(b);
        CHECK(!load(elf_make(bits, false), NULL, NULL, &err) && strstr(err.text, "without a PVH note"), "%s",
              err.text);
    }
    set32(kernel + 0x100, 0);
    kernel[18] = 183;
    CHECK(!load(0x2000, NULL, NULL, &err) && strstr(err.text, "another processor"), "%s", err.text);
    elf_make(64, true);
    CHECK(!load(0x1800, NULL, NULL, &err) && strstr(err.text, "truncated"), "%s", err.text);
}

static void test_multiboot(void)
{
    char modules[256];
    struct x86_state s = { 0 };
    struct error err;
    struct boot_image *b;
    const uint8_t *info, *module;

    elf_make(32, false);
    set32(kernel + 0x1000, 0x1badb002);
    set32(kernel + 0x1004, 3);
    set32(kernel + 0x1008, -(0x1badb002u + 3));
    snprintf(modules, sizeof(modules), "%s one,,two,%s", initrd_path, initrd_path);
    b = load(0x2000, modules, "mb", &err);
    CHECK(b, "%s", err.text);
    if (!b) return;
    boot_place(b, memory);
    boot_registers(b, &s);
    info = ram + s.gpr[REG_RBX];
    CHECK(s.gpr[REG_RAX] == 0x2badb002 && s.rip == 0x100040, "registers");
    CHECK((get32(info) & 0x4d) == 0x4d && get32(info + 8) == (RAM_BYTES >> 10) - 1024, "memory");
    CHECK(get32(info + 20) == 2, "modules");
    module = ram + get32(info + 24);
    for (unsigned i = 0; i < 2; i++, module += 16) {
        char expected[128];

        snprintf(expected, sizeof(expected), "%s%s", initrd_path, i ? "" : " one,two");
        CHECK(get32(module) % 4096 == 0 && get32(module) >= 0x103000 &&
                  get32(module + 4) - get32(module) == sizeof(initrd) &&
                  !memcmp(ram + get32(module), initrd, sizeof(initrd)),
              "module %u", i);
        CHECK(!strcmp((char *)ram + get32(module + 8), expected), "'%s'", (char *)ram + get32(module + 8));
    }
    boot_free(b);
    /* Addresses in the header instead of ELF. */
    memset(kernel, 0x90, sizeof(kernel));
    set32(kernel + 0x40, 0x1badb002);
    set32(kernel + 0x44, 0x10000);
    set32(kernel + 0x48, -(0x1badb002u + 0x10000));
    set32(kernel + 0x4c, 0x200040);
    set32(kernel + 0x50, 0x200020);
    set32(kernel + 0x54, 0x201000);
    set32(kernel + 0x58, 0x202000);
    set32(kernel + 0x5c, 0x200080);
    b = load(0x3000, NULL, NULL, &err);
    CHECK(b, "%s", err.text);
    if (!b) return;
    boot_place(b, memory);
    boot_registers(b, &s);
    CHECK(s.rip == 0x200080 && ram[0x200fff] == 0x90 && ram[0x201000] == 0 &&
              get32(ram + 0x200040) == 0x1badb002,
          "raw");
    boot_free(b);
    set32(kernel + 0x50, 0x300000);                    /* loads behind its own header */
    CHECK(!load(0x3000, NULL, NULL, &err) && strstr(err.text, "impossible"), "%s", err.text);
}

/* Valid files with some bytes changed and a random length. */
static void test_random(void)
{
    unsigned loaded = 0;
    struct error err;

    srandom(SEED);
    for (unsigned n = 0; n < RANDOM_FILES; n++) {
        struct boot_image *b;
        size_t size = KERNEL_BYTES;
        unsigned kind = n % 4;

        if (kind == 0) bzimage_make(n & 4, 0x1000000, true);
        else size = elf_make(kind == 1 ? 32 : 64, kind != 3);
        if (kind == 3)
            set32(kernel + 0x400, 0x1badb002), set32(kernel + 0x404, n << 14),
                set32(kernel + 0x408, -(0x1badb002u + (n << 14)));
        for (unsigned i = (unsigned)random() % 6; i > 0; i--) {
            unsigned span = kind == 0 ? 0x90 : 0xd0, base = kind == 0 ? 0x1f0 : 4;

            kernel[base + (unsigned)random() % span] = (uint8_t)random();
        }
        if (random() % 4 == 0) size = (size_t)random() % size;
        b = kind == 0 && n & 16 ? load_setup(size, n & 8 ? initrd_path : NULL, "x", &err)
                                : load(size, n & 8 ? initrd_path : NULL, "x", &err);
        if (b) {
            struct x86_state s = { 0 };

            boot_place(b, memory);
            boot_registers(b, &s);
            boot_free(b);
            loaded++;
        } else CHECK(strncmp(err.text, "-", 1) == 0 || strstr(err.text, kernel_path), "message: '%s'", err.text);
    }
    CHECK(loaded > RANDOM_FILES / 10 && loaded < RANDOM_FILES, "%u of %u loaded", loaded, RANDOM_FILES);
}

int main(void)
{
    memory = memory_map_new("memory", 1ull << 52);
    ram = aligned_alloc(4096, RAM_BYTES);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    if (!mkdtemp(dir)) return 2;
    snprintf(kernel_path, sizeof(kernel_path), "%s/kernel", dir);
    snprintf(initrd_path, sizeof(initrd_path), "%s/initrd", dir);
    for (unsigned i = 0; i < sizeof(initrd); i++) initrd[i] = (uint8_t)(i ^ 0x77);
    file_write(initrd_path, initrd, sizeof(initrd));
    test_bzimage();
    test_setup_code();
    test_elf();
    test_multiboot();
    test_random();
    unlink(kernel_path);
    unlink(initrd_path);
    rmdir(dir);
    memory_map_free(memory);
    free(ram);
    printf("boot: seed %d, %u checks, %u failed\n", SEED, checks, failures);
    return failures != 0;
}
