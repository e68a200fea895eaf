/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flash chips for UEFI firmware: chip 0 (its code) ends at 4 GiB, chip 1 (its variables) lies right below, as on QEMU's
 * pc. Both together are at most 8 MiB; the I/O APIC lies farther below. What is seen below 1 MiB is a copy of the
 * first chip's end as it was when the machine began.
 */
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/firmware/pflash.h"
#include "machine/pc_private.h"

enum { CHIPS = 2, FLASH_MAX = 8 << 20, ISA_BIOS_MAX = 0x20000, PRIORITY_ROM = 1 };
#define GIB_4 (1ull << 32)

const struct drive_config *pc_flash_drive(const struct machine *m, int chip, unsigned *drive)
{
    for (unsigned i = 0; i < m->config.drive_count; i++) {
        if (m->config.drive[i].interface != DRIVE_IF_PFLASH || m->config.drive[i].index != chip) continue;
        *drive = i;
        return &m->config.drive[i];
    }
    return NULL;
}

bool pc_flash_is_there(const struct machine *m)
{
    unsigned drive;

    return pc_flash_drive(m, 0, &drive) != NULL;
}

static int chip_create(struct machine *m, int chip, gpa_t *end, struct error *err)
{
    static const char *const names[CHIPS] = { "system.flash0", "system.flash1" };
    struct pflash_config c = { .memory = m->memory, .name = names[chip], .priority = PRIORITY_ROM };
    unsigned i;

    if (!pc_flash_drive(m, chip, &i)) return 0;
    c.node = m->drive[i];
    c.size_bytes = block_size_bytes(c.node);
    if (!c.size_bytes || c.size_bytes % PFLASH_BLOCK_BYTES)
        return error_set(err, "'%s' is %llu bytes long, which are no whole blocks of %u; this is no image of a flash chip", block_filename(c.node),
                         (unsigned long long)c.size_bytes, PFLASH_BLOCK_BYTES);
    if (c.size_bytes > *end - (GIB_4 - FLASH_MAX))
        return error_set(err, "'%s' is too large: flash chips may have %u MiB in all", block_filename(c.node), FLASH_MAX >> 20);
    c.start = *end -= c.size_bytes;
    m->flash[chip] = pflash_new(&c, err);
    if (!m->flash[chip]) return -1;
    pc_device_add(m, m->flash[chip]);
    return 0;
}

int pc_flash_create(struct machine *m, struct error *err)
{
    uint64_t size, isa_bytes;
    gpa_t end = GIB_4;

    for (int chip = 0; chip < CHIPS; chip++)
        if (chip_create(m, chip, &end, err) < 0) return -1;
    if (!m->flash[0]) return 0;
    size = pflash_size_bytes(m->flash[0]);
    isa_bytes = MIN(size, (uint64_t)ISA_BIOS_MAX);
    if (ram_allocate(&m->bios, isa_bytes, false, err) < 0) return -1;
    memcpy(m->bios.hva, pflash_bytes(m->flash[0]) + size - isa_bytes, isa_bytes);
    pc_isa_bios_show(m, m->bios.hva, isa_bytes);
    return 0;
}
