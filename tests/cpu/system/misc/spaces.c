/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Crossings between program and kernel while address spaces change: a program, one page mapped to either of two that count differently, asks its
 * kernel 2000 times, whose first page is mapped to either of two, too. The kernel follows a script at random: it loads CR3 with and without bit 63,
 * or changes one or both mappings of one or both PCIDs and flushes them, by INVLPG, all types of INVPCID, CR3, CR4.PGE. What was counted must be
 * what the mappings say. Every second run the kernel's pages are global.
 *     spaces [runs]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bench.h"

enum {
    PROGRAM = 0x140000, ENTRY = 0x142000, PROGRAM_AT = 0x150000, ENTRY_AT = 0x152000, REST = 0x170000, SCRIPT = 0x180000,
    TABLES_A = 0x8000, TABLES_B = 0x190000, DESCRIPTORS = 0x1a0000,
    STEPS = 2000, DEFAULT_RUNS = 400
};
enum { SPACE_A = 1, SPACE_B, SPACE_A_ANEW, SPACE_B_ANEW, ADDRESS_A, ADDRESS_B, PCID_A, PCID_B, ALL_LOCAL, PGE, RELOAD_A, ALL, PAGE, TSD, END, OPS = END };

/* RBX: script; R8: what flips the kernel's page where flushes leave global ones; R12 to R15: counts. RDX, RSI: CR3 of the spaces. */
#define OP(n, text) "cmp $" #n ", %al; jne 1f; " text "; jmp 9f\n1: "
#define FLIP_A "xorl $0x1000, 0xba00; "
#define FLIP_B "xorl $0x1000, 0x193a00; "
#define ENTRY_A "xor %r8d, 0xba10; "
#define ENTRY_B "xor %r8d, 0x193a10; "
#define ENTRIES "xorl $0x1000, 0xba10; xorl $0x1000, 0x193a10; "
#define INVPCID(type, pcid) "mov $" #type ", %edi; invpcid 0x1a0000 + 16 * " #pcid ", %rdi"
extern const char spaces_rest[], spaces_rest_end[];
__asm__(".text\n"
        "spaces_rest: movzbl 0x180000(%rbx), %eax; inc %rbx; mov $0x8001, %edx; mov $0x190002, %esi; mov $1, %r9d; shl $63, %r9\n"
        OP(1, "or %r9, %rdx; mov %rdx, %cr3")
        OP(2, "or %r9, %rsi; mov %rsi, %cr3")
        OP(3, "mov %rdx, %cr3")
        OP(4, "mov %rsi, %cr3")
        OP(5, FLIP_A INVPCID(0, 0))
        OP(6, FLIP_B INVPCID(0, 1))
        OP(7, FLIP_A ENTRY_A INVPCID(1, 0))
        OP(8, FLIP_B ENTRY_B INVPCID(1, 1))
        OP(9, FLIP_A ENTRY_A FLIP_B ENTRY_B INVPCID(3, 0))
        OP(10, FLIP_A FLIP_B ENTRIES "mov %cr4, %rax; xor $0x80, %eax; mov %rax, %cr4")
        OP(11, FLIP_A ENTRY_A "mov %rdx, %cr3")
        OP(12, FLIP_A FLIP_B ENTRIES INVPCID(2, 0))
        OP(13, "mov %cr3, %rax; test $1, %al; jz 2f; " FLIP_A "jmp 3f; 2: " FLIP_B "3: invlpg 0x140000")
        OP(14, "mov %cr4, %rax; xor $4, %eax; mov %rax, %cr4")
        "cmp $15, %al; jne 9f; int $0x30\n"
        "9: mov $0x140000, %ecx; mov $0x202, %r11d; sysretq\n"
        "spaces_rest_end:\n");

static const struct { uint8_t program, entry; } flips[OPS + 1] = {          /* bits: of A, of B; entry: only where it is not global, 4: always */
    [ADDRESS_A] = { 1, 0 }, [ADDRESS_B] = { 2, 0 }, [PCID_A] = { 1, 1 }, [PCID_B] = { 2, 2 }, [ALL_LOCAL] = { 3, 3 },
    [PGE] = { 3, 4 | 3 }, [RELOAD_A] = { 1, 1 }, [ALL] = { 3, 4 | 3 }
};

static void tables_make(struct bench *b, bool global)
{
    for (unsigned page = 0; page < BENCH_RAM_BYTES / BENCH_PAGE; page++) bench_map(b, page * BENCH_PAGE, page * BENCH_PAGE, MAP_ALL);
    bench_map(b, PROGRAM, PROGRAM_AT, MAP_ALL);
    bench_map(b, ENTRY, ENTRY_AT, MAP_ALL | (global ? 0x100 : 0));
    bench_map(b, REST, REST, MAP_ALL | (global ? 0x100 : 0));
    memcpy(b->ram + TABLES_B, b->ram + TABLES_A, 4 * BENCH_PAGE);
    for (unsigned level = 0; level < 3; level++) {
        uint64_t next = (TABLES_B + (level + 1) * BENCH_PAGE) | MAP_ALL;
        memcpy(b->ram + TABLES_B + level * BENCH_PAGE, &next, 8);
    }
    uint64_t descriptor[4] = { 1, PROGRAM, 2, PROGRAM };
    memcpy(b->ram + DESCRIPTORS, descriptor, sizeof(descriptor));
}

static void code_make(struct bench *b)
{
    static const char *const program[2] = { "\x49\xff\xc4\x0f\x05", "\x49\xff\xc5\x0f\x05" };       /* inc r12 (r13); syscall */
    for (unsigned n = 0; n < 2; n++) {
        uint8_t entry[8] = { 0x49, 0xff, 0xc6 + n, 0xe9 };                     /* inc r14 (r15); jmp */
        int32_t to = REST - (ENTRY + 8);
        memcpy(entry + 4, &to, 4);
        memcpy(b->ram + PROGRAM_AT + n * BENCH_PAGE, program[n], 5);
        memcpy(b->ram + ENTRY_AT + n * BENCH_PAGE, entry, sizeof(entry));
    }
    memcpy(b->ram + REST, spaces_rest, spaces_rest_end - spaces_rest);
}

/* The script, and what it makes R12 to R15 count. */
static void script_make(struct bench *b, uint64_t *seed, bool global, uint64_t want[4])
{
    unsigned space = 0, program[2] = { 0, 0 }, entry[2] = { 0, 0 };
    memset(want, 0, 4 * sizeof(*want));
    for (unsigned n = 0; n <= STEPS; n++) {
        unsigned op = n == STEPS ? END : bench_random(seed) % 4 ? 0 : 1 + bench_random(seed) % (OPS - 1);
        b->ram[SCRIPT + n] = op;
        want[program[space]]++;
        want[2 + entry[space]]++;
        bool with_entry = !global || flips[op].entry & 4;
        for (unsigned k = 0; k < 2; k++) {
            program[k] ^= flips[op].program >> k & 1;
            entry[k] ^= with_entry && flips[op].entry >> k & 1;
        }
        if (op == PAGE) program[space] ^= 1;
        if (op == SPACE_A || op == SPACE_A_ANEW || op == RELOAD_A) space = 0;
        if (op == SPACE_B || op == SPACE_B_ANEW) space = 1;
    }
}

static bool run(struct bench *b, uint64_t *seed, bool global)
{
    struct x86_state s;
    struct result r;
    uint64_t want[4];
    tables_make(b, global);
    code_make(b);
    script_make(b, seed, global, want);
    memory_written(b->map, 0, BENCH_RAM_BYTES);
    bench_state(b, &s, BENCH_LONG, 3);
    s.rip = PROGRAM;
    s.cr3 = TABLES_A | 1;
    s.cr4 |= CR4_PCIDE | CR4_PGE;
    s.efer |= EFER_SCE;
    s.lstar = ENTRY;
    s.star = 0x18ull << 32 | 0x2bull << 48;
    s.fmask = 0x47fd5;
    s.rflags |= RFLAGS_IF;
    s.gpr[REG_RBX] = 0;
    s.gpr[REG_R8] = global ? 0 : BENCH_PAGE;
    for (unsigned n = 0; n < 4; n++) s.gpr[REG_R12 + n] = 0;
    bench_run(b, &s, BENCH_LONG, &r);
    return r.vector == BENCH_DONE && !memcmp(&r.s.gpr[REG_R12], want, sizeof(want));
}

int main(int argc, char **argv)
{
    unsigned runs = argc > 1 ? strtoul(argv[1], NULL, 0) : DEFAULT_RUNS, failed = 0;
    uint64_t seed = 7;
    struct bench *b = bench_new();
    if (!b) return 1;
    printf("seed %lu\n", (unsigned long)seed);
    for (unsigned n = 0; n < runs; n++) failed += !run(b, &seed, n % 2);
    printf("%u runs of %d crossings, %u differ\n", runs, STEPS, failed);
    bench_free(b);
    return failed ? 1 : 0;
}
