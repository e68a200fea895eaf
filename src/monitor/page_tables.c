/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page tables of the three kinds, read from the guest's memory. A guest may make tables point at themselves or at each other, so that a
 * few pages map all there is: levels bound the depth, and the number of tables that are looked at bounds the rest.
 * Source: SDM 3A chapter 4.
 */
#include "monitor/page_tables.h"

#include <string.h>

#include "machine/machine.h"
#include "memory/map.h"

enum { TABLES_MAX = 1 << 18, TABLE_BYTES = 4096 };         /* of 4 KiB pages that is half a terabyte */
static const uint64_t frame_mask = 0xffffffffff000ull;

struct walk {
    struct memory_map *memory;
    page_mapping_fn *fn;
    void *opaque;
    int top;                           /* levels there are */
    unsigned entry_bytes, tables;
    bool over;
};

static uint64_t canonical(uint64_t gva, int top)
{
    return top == 4 ? (uint64_t)((int64_t)(gva << 16) >> 16) : gva;
}

static uint64_t entry_at(const struct walk *w, const uint8_t *table, unsigned i)
{
    uint64_t entry = 0;

    memcpy(&entry, table + i * w->entry_bytes, w->entry_bytes);
    return entry;
}

/* All in one piece of memory: tables are pages, but for the four entries of PAE. */
static bool table_read(const struct walk *w, gpa_t at, unsigned bytes, uint8_t *table)
{
    struct flat_range r = memory_map_find(w->memory, at);

    return (r.kind == RANGE_RAM || r.kind == RANGE_ROM) && r.start + r.size - at >= bytes && memory_read(w->memory, at, table, bytes);
}

static void table_walk(struct walk *w, gpa_t at, int level, uint64_t base, uint64_t rights)
{
    bool is_pdpt = w->top == 3 && level == 3;              /* PAE's: four entries, without rights and large pages */
    unsigned bits = w->entry_bytes == 8 ? 9 : 10, shift = 12 + bits * (unsigned)(level - 1), count = is_pdpt ? 4 : 1u << bits;
    uint8_t table[TABLE_BYTES];

    if (w->tables++ == TABLES_MAX) w->over = true;
    if (w->over || !table_read(w, at, count * w->entry_bytes, table)) return;
    for (unsigned i = 0; i < count && !w->over; i++) {
        uint64_t entry = entry_at(w, table, i), gva = base | (uint64_t)i << shift, mine = is_pdpt ? rights : rights & entry;
        uint64_t size = 1ull << shift, frame = entry & (w->entry_bytes == 8 ? frame_mask : 0xfffff000);

        if (!(entry & PTE_PRESENT)) continue;
        if (level == 1 || (level <= 3 && entry & PTE_PSE && !is_pdpt)) {
            struct page_mapping p = { canonical(gva, w->top), frame & ~(size - 1), size, entry, mine };

            if (w->entry_bytes == 4 && level == 2) p.gpa |= (entry >> 13 & 0xff) << 32;     /* PSE-36 */
            w->over = !w->fn(w->opaque, &p);
        } else table_walk(w, frame, level - 1, gva, mine);
    }
}

enum page_tables_result page_tables_walk(struct machine *m, const struct x86_state *s, page_mapping_fn *fn, void *opaque)
{
    struct walk w = { .memory = machine_memory(m), .fn = fn, .opaque = opaque, .entry_bytes = s->cr4 & CR4_PAE ? 8 : 4 };

    if (!(s->cr0 & CR0_PG)) return PAGES_NONE;
    w.top = w.entry_bytes == 4 ? 2 : x86_is_long(s) ? 4 : 3;
    table_walk(&w, s->cr3 & (w.top == 2 ? 0xfffff000 : w.top == 3 ? 0xffffffe0 : frame_mask), w.top, 0, PTE_USER | PTE_WRITE);
    return w.over ? PAGES_CUT : PAGES_ALL;
}
