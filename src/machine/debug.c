/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest-virtual memory as a debugger sees it: a page walk over the stopped vCPU's registers that changes nothing and
 * knows no permissions, then plain memory access. Source: Intel SDM volume 3A, chapter 4.
 * Limits: 5-level paging is not walked (the CPU model does not offer it).
 */
#include <string.h>

#include "base/bits.h"
#include "machine/machine.h"

enum { PTE_P = 1 << 0, PTE_PS = 1 << 7 };
#define PHYSICAL_MASK 0x000ffffffffff000ull

static bool entry_read(struct machine *m, gpa_t address, unsigned size, uint64_t *entry)
{
    struct flat_range r = memory_map_find(machine_memory(m), address);

    *entry = 0;
    if (r.kind != RANGE_RAM && r.kind != RANGE_ROM) return false;
    return memory_read(machine_memory(m), address, entry, size) && (*entry & PTE_P);
}

/* 32-bit paging: two levels of 1024, 4 MiB pages with CR4.PSE. */
static bool walk_32bit(struct machine *m, const struct x86_state *s, gva_t gva, gpa_t *gpa)
{
    uint64_t entry;

    if (!entry_read(m, (s->cr3 & 0xfffff000) + (gva >> 22 & 0x3ff) * 4, 4, &entry)) return false;
    if ((entry & PTE_PS) && (s->cr4 & CR4_PSE)) {
        *gpa = (entry & 0xffc00000) | bits_get(entry, 20, 13) << 32 | (gva & 0x3fffff);
        return true;
    }
    if (!entry_read(m, (entry & 0xfffff000) + (gva >> 12 & 0x3ff) * 4, 4, &entry)) return false;
    *gpa = (entry & 0xfffff000) | (gva & 0xfff);
    return true;
}

/* PAE and 4-level paging: tables of 512 from level downwards; a PS entry at level 3 or 2 ends the walk. */
static bool walk_64bit(struct machine *m, gpa_t table, int level, gva_t gva, gpa_t *gpa)
{
    for (; level >= 1; level--) {
        unsigned shift = 12 + 9 * (level - 1);
        uint64_t entry;

        if (!entry_read(m, table + (gva >> shift & 0x1ff) * 8, 8, &entry)) return false;
        table = entry & PHYSICAL_MASK;
        if (level == 1 || (level <= 3 && (entry & PTE_PS))) {
            uint64_t inside = (1ull << shift) - 1;

            *gpa = (table & ~inside) | (gva & inside);
            return true;
        }
    }
    return false;
}

static bool walk_pae(struct machine *m, const struct x86_state *s, gva_t gva, gpa_t *gpa)
{
    uint64_t entry;

    if (!entry_read(m, (s->cr3 & 0xffffffe0) + (gva >> 30 & 3) * 8, 8, &entry)) return false;
    return walk_64bit(m, entry & PHYSICAL_MASK, 2, gva, gpa);
}

static bool is_canonical(gva_t gva)
{
    return (int64_t)(gva << 16) >> 16 == (int64_t)gva;
}

static bool translate(struct machine *m, const struct x86_state *s, gva_t gva, gpa_t *gpa)
{
    if (!x86_is_long(s)) gva = (uint32_t)gva;
    if (!(s->cr0 & CR0_PG)) {
        *gpa = gva;
        return true;
    }
    if (!(s->cr4 & CR4_PAE)) return walk_32bit(m, s, gva, gpa);
    if (!x86_is_long(s)) return walk_pae(m, s, gva, gpa);
    return is_canonical(gva) && walk_64bit(m, s->cr3 & PHYSICAL_MASK, 4, gva, gpa);
}

bool machine_translate(struct machine *m, unsigned vcpu, gva_t gva, gpa_t *gpa)
{
    struct x86_state s;

    machine_vcpu_get(m, vcpu, &s);
    return translate(m, &s, gva, gpa);
}

static size_t debug_access(struct machine *m, unsigned vcpu, gva_t gva, uint8_t *data, size_t size, bool write)
{
    struct x86_state s;
    size_t done = 0;

    machine_vcpu_get(m, vcpu, &s);
    while (done < size) {
        size_t part = MIN(size - done, (size_t)(0x1000 - ((gva + done) & 0xfff)));
        struct flat_range r;
        gpa_t gpa;

        if (!translate(m, &s, gva + done, &gpa)) break;
        r = memory_map_find(machine_memory(m), gpa);
        if (r.kind != RANGE_RAM && (write || r.kind != RANGE_ROM)) break;
        part = MIN(part, r.start + r.size - gpa);
        if (write) memcpy(r.hva + (gpa - r.start), data + done, part);
        else memcpy(data + done, r.hva + (gpa - r.start), part);
        if (write) memory_written(machine_memory(m), gpa, part);
        done += part;
    }
    return done;
}

size_t machine_debug_read(struct machine *m, unsigned vcpu, gva_t gva, void *data, size_t size)
{
    return debug_access(m, vcpu, gva, data, size, false);
}

size_t machine_debug_write(struct machine *m, unsigned vcpu, gva_t gva, const void *data, size_t size)
{
    return debug_access(m, vcpu, gva, (uint8_t *)(uintptr_t)data, size, true);
}
