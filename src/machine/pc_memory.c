/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RAM, firmware ROM and the A20 alias. RAM up to 3 GiB lies at 0, the rest from 4 GiB on. The firmware's last
 * byte is at 4 GiB - 1; its last 128 KiB are seen below 1 MiB too. With the A20 gate closed the 64 KiB above 1
 * MiB show address 0: enough for programs that test or rely on the wrap, other odd megabytes are not masked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/pc_private.h"

enum { PRIORITY_ROM = 1, PRIORITY_A20 = 20, BIOS_MAX = 16 << 20, ISA_BIOS_MAX = 0x20000 };
#define GIB_4 (1ull << 32)

static void e820_add(struct machine *m, uint64_t start, uint64_t size, uint32_t type)
{
    if (size) m->e820[m->e820_count++] = (struct boot_memory_range){ start, size, type };
}

/* As a kernel without firmware is told; firmware gets RAM only and reserves its own. */
static void e820_fill(struct machine *m)
{
    enum { RAM = 1, RESERVED = 2, ACPI = 3 };

    if (!m->is_direct) {
        e820_add(m, 0, m->ram_below_4g, RAM);
        e820_add(m, GIB_4, m->ram_above_4g, RAM);
        return;
    }
    e820_add(m, 0, 0x9fc00, RAM);
    e820_add(m, 0x9fc00, 0x400, RESERVED);
    e820_add(m, 0xf0000, 0x10000, RESERVED);
    e820_add(m, 0x100000, m->ram_below_4g - PC_TABLES_BYTES - 0x100000, RAM);
    e820_add(m, m->ram_below_4g - PC_TABLES_BYTES, PC_TABLES_BYTES, ACPI);
    e820_add(m, GIB_4, m->ram_above_4g, RAM);
}

int pc_ram_create(struct machine *m, struct error *err)
{
    uint64_t size = ALIGN_UP(m->config.ram_bytes, (uint64_t)0x1000);
    struct ram_config ram = m->config.ram;

    if (size < 1 << 20) return error_set(err, "-m: a PC needs at least 1 MiB of memory");
    if (m->config.kernel && size < 2 << 20)
        return error_set(err, "-m: starting a kernel needs at least 2 MiB of memory");
    ram.size_bytes = size;
    ram.mergeable &= m->config.mem_merge;
    ram.merge_asked = m->config.mem_merge_asked;
    ram.shareable = m->ops == &engine_bt && !m->config.no_windows && ram.kind == RAM_ANONYMOUS && !ram.id;
    if (ram_create(&m->ram, &ram, err) < 0) return -1;
    m->ram_below_4g = MIN(size, PC_LOW_MAX);
    m->ram_above_4g = size - m->ram_below_4g;
    memory_map_add_ram(m->memory, "ram-below-4g", 0, m->ram_below_4g, m->ram.hva, false, 0);
    if (m->ram_above_4g)
        memory_map_add_ram(m->memory, "ram-above-4g", GIB_4, m->ram_above_4g,
                           (uint8_t *)m->ram.hva + m->ram_below_4g, false, 0);
    m->a20_alias = memory_map_add_ram(m->memory, "a20-alias", 0x100000, 0x10000, m->ram.hva, false, PRIORITY_A20);
    memory_range_enable(m->a20_alias, false);
    e820_fill(m);
    return 0;
}

uint8_t *pc_file_read(const char *what, const char *path, size_t max, size_t *size, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *data = NULL;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) error_set(err, "%s: cannot open '%s': %s", what, path, strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size == 0 || (uint64_t)st.st_size > max)
        error_set(err, "%s: '%s' must be a file of 1 to %zu bytes", what, path, max);
    else if (!(data = malloc((size_t)st.st_size))) error_set(err, "%s: no memory", what);
    else if (read(fd, data, (size_t)st.st_size) != st.st_size) {
        error_set(err, "%s: cannot read '%s'", what, path);
        free(data);
        data = NULL;
    } else *size = (size_t)st.st_size;
    if (fd >= 0) close(fd);
    return data;
}

/* 256 KiB is what Debian's QEMU takes; the 128 KiB one has fewer drivers. */
static const char *bios_find(void)
{
    static const char *const known[] = { "/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/bios.bin",
                                         "/usr/share/qemu/bios-256k.bin" };

    for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
        if (access(known[i], R_OK) == 0) return known[i];
    return NULL;
}

void pc_isa_bios_show(struct machine *m, const uint8_t *firmware, uint64_t size)
{
    m->isa_bios_bytes = (uint32_t)MIN(size, (uint64_t)ISA_BIOS_MAX);
    m->isa_bios = firmware + size - m->isa_bios_bytes;
    memory_map_add_ram(m->memory, "isa-bios", 0x100000 - m->isa_bios_bytes, m->isa_bios_bytes,
                       (void *)(uintptr_t)m->isa_bios, true, PRIORITY_ROM);
}

int pc_bios_load(struct machine *m, struct error *err)
{
    const char *path = m->config.bios ? m->config.bios : bios_find();
    uint8_t *data;
    size_t size;

    if (!path)
        return error_set(err,
                         "no firmware: SeaBIOS is not installed; run 'apt install seabios' or give -bios FILE");
    data = pc_file_read("-bios", path, BIOS_MAX, &size, err);
    if (!data) return -1;
    if (size % 0x1000) {
        free(data);
        return error_set(err, "-bios: the size of '%s' is not a multiple of 4 KiB; this is no firmware image",
                         path);
    }
    if (ram_allocate(&m->bios, size, false, err) < 0) {
        free(data);
        return -1;
    }
    memcpy(m->bios.hva, data, size);
    free(data);
    memory_map_add_ram(m->memory, "bios", GIB_4 - size, size, m->bios.hva, true, PRIORITY_ROM);
    pc_isa_bios_show(m, m->bios.hva, size);
    return 0;
}

/* The ranges go with their maps. */
void pc_memory_destroy(struct machine *m)
{
    ram_free(&m->bios);
    ram_free(&m->ram);
}
