/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Address spaces: a random walk over four of them, with local, global and large pages that are mapped anew, each time with an
 * invalidation that the manual says is enough (SDM 3A 4.10.4): MOV to CR3 with and without PCIDs and with bit 63,
 * INVLPG, INVPCID of all types, CR4.PGE. After each step a page is read, or called from both privileges, or jumped to from the page
 * before it; what is found must be what was mapped last.
 */
#include "long.h"

enum { SPACES = 4, PAGES = 8, GLOBALS = 2, POOL = 32, AT = 0x40000000, LARGE_AT = AT + 0x200000, LARGE_FIRST = 0x800000, P = 7, PS = 128, G = 256,
       CR4_PGE = 1 << 7, CR4_PCIDE = 1 << 17, STEPS = 100000 };
#define LARGE_COUNT 4
#define JUMP_AT 64                     /* in a page: a direct jump to the start of the next */
static u64 tables[SPACES][4][512] __attribute__((aligned(4096)));  /* PML4, PDPT, PD, PT */
static u8 pool[POOL][4096] __attribute__((aligned(4096)));
static u32 mapped[SPACES][PAGES], large[SPACES];
static unsigned space, wrong, checks, pcids, seed;

static unsigned below(unsigned n)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

static u64 cr4(void)
{
    u64 value;
    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}

static void cr4_set(u64 value) { __asm__ volatile("mov %0, %%cr4" : : "r"(value) : "memory"); }
static void cr3_set(u64 value) { __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory"); }
static void invlpg(u64 at) { __asm__ volatile("invlpg (%0)" : : "r"(at) : "memory"); }

static void invpcid(u64 type, u64 pcid, u64 at)
{
    u64 what[2] = { pcid, at };
    __asm__ volatile("invpcid (%1), %0" : : "r"(type), "r"(what) : "memory");
}

static u64 pcid_of(unsigned s) { return pcids ? s + 1 : 0; }

/* mov $n, %eax; int $0x80 */
static void program(u8 *at, u32 n)
{
    at[0] = 0xb8;
    *(volatile u32 *)(at + 1) = n;
    at[5] = 0xcd;
    at[6] = VECTOR_DONE;
}

static void jump_on(u8 *page)
{
    page[JUMP_AT] = 0xe9;
    *(volatile u32 *)(page + JUMP_AT + 1) = 4096 - (JUMP_AT + 5);
}

static void map(unsigned s, unsigned page, unsigned frame)
{
    mapped[s][page] = frame;
    tables[s][3][page] = (u64)pool[frame] | P | (page >= PAGES - GLOBALS ? G : 0);
}

static void map_large(unsigned s, unsigned frame)
{
    large[s] = frame;
    tables[s][2][1] = (LARGE_FIRST + frame * 0x200000ul) | P | PS;
}

static void build(void)
{
    for (unsigned i = 0; i < POOL; i++) program(pool[i], 0x1000 + i), jump_on(pool[i]);
    for (unsigned i = 0; i < LARGE_COUNT; i++)
        for (unsigned k = 0; k < 512; k++) program((u8 *)(LARGE_FIRST + i * 0x200000ul + k * 4096ul), 0x2000 + i);
    for (unsigned s = 0; s < SPACES; s++) {
        tables[s][0][0] = (u64)tables[s][1] | P;
        tables[s][1][0] = (u64)pd | P;
        tables[s][1][1] = (u64)tables[s][2] | P;
        tables[s][2][0] = (u64)tables[s][3] | P;
        for (unsigned page = 0; page < PAGES; page++) map(s, page, page >= PAGES - GLOBALS ? page : below(POOL));
        map_large(s, below(LARGE_COUNT));
    }
}

/* Bit 63 is only set when nothing that was not invalidated changed. */
static void enter(unsigned s, int keep)
{
    space = s;
    cr3_set((u64)tables[s][0] | pcid_of(s) | (pcids && keep ? 1ul << 63 : 0));
}

static void call(unsigned mode, u64 at, u32 expected)
{
    run(mode, (const char *)at);
    wrong += outcome() || trap_record.rax != expected;
}

static void check_call(unsigned mode, u64 at, u32 expected)
{
    checks++;
    call(mode, at, expected);
}

static void check(u64 at, u32 expected)
{
    unsigned mode = below(3);
    if (mode < 2) {
        check_call(mode, at, expected);
        return;
    }
    checks++;
    wrong += *(volatile u32 *)(at + 1) != expected;
}

/* Mostly the types that leave other address spaces alone. */
static unsigned invpcid_type(void) { return below(16) ? below(2) : 2 + below(2); }

static void remap_here(void)
{
    unsigned page = below(PAGES - GLOBALS);
    map(space, page, below(POOL));
    unsigned way = below(pcids ? 3 : 2);
    if (way == 0) invlpg(AT + page * 4096);
    else if (way == 1) enter(space, 0);
    else invpcid(invpcid_type(), pcid_of(space), AT + page * 4096);
}

/* Under a jump that has found its way there, with nothing in between that would forget it. */
static void remap_jumped_to(void)
{
    unsigned page = 1 + below(PAGES - GLOBALS - 1), mode = below(2);
    u64 at = AT + (page - 1) * 4096 + JUMP_AT;
    for (unsigned n = 0; n < 3; n++) call(mode, at, 0x1000 + mapped[space][page]);
    map(space, page, below(POOL));
    invlpg(AT + page * 4096);
    call(mode, at, 0x1000 + mapped[space][page]);
}

static void remap_large(void)
{
    map_large(space, below(LARGE_COUNT));
    if (below(2)) invlpg(LARGE_AT + below(4) * 0x47000ul);
    else enter(space, 0);
}

static void remap_elsewhere(void)
{
    unsigned s = below(SPACES), page = below(PAGES - GLOBALS);
    if (s == space) return;
    map(s, page, below(POOL));
    if (!pcids) return;                                /* going there flushes */
    if (below(4)) invpcid(invpcid_type(), pcid_of(s), AT + page * 4096);
    else enter(s, 0);
}

static void remap_global(void)
{
    unsigned page = PAGES - 1 - below(GLOBALS), frame = below(POOL);
    for (unsigned s = 0; s < SPACES; s++) map(s, page, frame);
    unsigned way = below(pcids ? 3 : 2);
    if (way == 0) invlpg(AT + page * 4096);
    else if (way == 1) cr4_set(cr4() ^ CR4_PGE), cr4_set(cr4() ^ CR4_PGE);
    else invpcid(2, 0, 0);
}

static void walk(const char *name, u64 modes)
{
    u64 old_cr4 = cr4(), old_cr3;
    __asm__ volatile("mov %%cr3, %0" : "=r"(old_cr3));
    seed = 0x5eed + modes;
    build();
    pcids = 0;
    enter(0, 0);
    cr4_set((old_cr4 & ~(u64)(CR4_PGE | CR4_PCIDE)) | modes);
    pcids = modes & CR4_PCIDE ? 1 : 0;
    enter(0, 0);
    if (pcids) for (unsigned s = SPACES; s-- > 0;) enter(s, 0);
    wrong = checks = 0;
    for (unsigned n = 0; n < STEPS; n++) {
        switch (below(64)) {
        case 0: case 1: case 2: case 3: remap_here(); break;
        case 4: case 5: case 6: case 7: remap_elsewhere(); break;
        case 8: remap_global(); break;
        case 9: case 10: remap_large(); break;
        case 11 ... 26: enter(below(SPACES), below(8)); break;
        case 27: remap_jumped_to(); break;
        }
        unsigned page = below(PAGES);
        switch (below(5)) {
        case 0: check(LARGE_AT + below(4) * 0x47000ul, 0x2000 + large[space]); break;
        case 1:
            if (page) check_call(below(2), AT + (page - 1) * 4096 + JUMP_AT, 0x1000 + mapped[space][page]);
            else check(AT, 0x1000 + mapped[space][0]);
            break;
        default: check(AT + page * 4096, 0x1000 + mapped[space][page]);
        }
    }
    pcids = 0;
    enter(0, 0);
    cr4_set(old_cr4 & ~(u64)CR4_PCIDE);
    cr3_set(old_cr3 & ~0xffful);
    cr4_set(old_cr4);
    row_add(checks);
    row_add(wrong);
    row_end(name, modes);
    row_flush();
}

void test_spaces(void)
{
    print("golden spaces\n");                          /* qemu 7.2 finds an old mapping now and then, and has no PCIDs */
    walk("spaces", 0);
    walk("spaces", CR4_PGE);
    if (has(1, 2, 17)) {
        walk("pcids", CR4_PCIDE);
        walk("pcids", CR4_PCIDE | CR4_PGE);
    }
    print("golden end\n");
}
