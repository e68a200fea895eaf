/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Paging: every combination of present, writable, user and no-execute at two levels with reads, writes and fetches from
 * both privileges, under CR0.WP, SMEP, SMAP, RFLAGS.AC and EFER.NXE: error code, CR2, accessed and dirty bits. Then user memory
 * opened and closed by STAC and CLAC, reserved bits, page crossings, large pages, invalidation.
 */
#include "long.h"

enum {
    AT = 0x40000000,
    P = 1,
    W = 2,
    U = 4,
    A = 32,
    D = 64,
    PS = 128,
    EFLAGS_AC = 1 << 18,
    USER_ALIAS = AT + 0x200000
};
#define NX (1ul << 63)
static u8 page[2][4096] __attribute__((aligned(4096)));
static u8 large_page_marker;

SNIPPET(do_read, "mov (%rax), %edx");
SNIPPET(do_write, "mov %edx, (%rax)");
SNIPPET(do_rmw, "addl $0, (%rax)");
SNIPPET(do_read8, "mov (%rax), %rdx");
SNIPPET(do_write8, "mov %rdx, (%rax)");
SNIPPET(do_cmpxchg, "mov $1, %rbx; lock cmpxchg %rbx, (%rsi)");
SNIPPET(do_push, "mov %rsp, %rbx; mov %rax, %rsp; push %rdx; mov %rbx, %rsp");
SNIPPET(do_stack_read, "mov %rbp, %rbx; mov %rax, %rbp; mov (%rbp), %rdx; mov %rbx, %rbp");
SNIPPET(do_rep, "mov %rax, %rdi; mov $16, %ecx; rep stosl");

static void flush(void)
{
    u64 cr3;
    __asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(cr3) : : "memory");
}

static u64 cr2(void)
{
    u64 value;
    __asm__ volatile("mov %%cr2, %0" : "=r"(value));
    return value;
}

static void set_pages(u64 pde, u64 pte0, u64 pte1)
{
    pdpt[1] = (u64)test_pd | P | W | U;
    test_pd[0] = (u64)test_pt | pde;
    test_pt[0] = (u64)page[0] | pte0;
    test_pt[1] = (u64)page[1] | pte1;
    flush();
}

/* reads_first: qemu's read-modify-write faults as a read, processors' as a write. With RSVD, P is set, but not by qemu. */
static void show(int reads_first)
{
    u64 o = outcome();
    if (o >> 16 == 14 && (o & 8)) o |= 1;
    row_add(reads_first ? o & ~2ul : o);
    if (outcome() >> 16 == 14) row_add(cr2());
    if (outcome()) return; /* upper levels may be marked by an access that faults, or not */
    row_add((test_pd[0] & (A | D)) | (test_pt[0] & (A | D)) << 8 | (test_pt[1] & (A | D)) << 16);
}

static void set_modes(unsigned modes)
{
    u64 cr0, cr4;
    __asm__ volatile("mov %%cr0, %0; mov %%cr4, %1" : "=r"(cr0), "=r"(cr4));
    cr0 = modes & 1 ? cr0 | 0x10000 : cr0 & ~0x10000ul;
    cr4 &= ~0x300000ul;
    if (modes & 2) cr4 |= 1 << 20;
    if (modes & 4) cr4 |= 1 << 21;
    __asm__ volatile("mov %0, %%cr0; mov %1, %%cr4" : : "r"(cr0), "r"(cr4));
    u64 efer = rdmsr(0xc0000080);
    wrmsr(0xc0000080, modes & 8 ? efer & ~0x800ul : efer | 0x800);
    run_rflags = modes & 16 ? EFLAGS_AC : 0;
}

static u64 pte_of(unsigned n) { return (n & 1 ? P : 0) | (n & 2 ? W : 0) | (n & 4 ? U : 0) | (n & 8 ? NX : 0); }

/* With SMEP or SMAP the kernel could not go on in user pages: its memory becomes supervisor's, and snippets at CPL 3 run from
 * a second mapping of it. */
static void rights(void)
{
    static const struct {
        const char *name, *code;
    } how[] = { { "read", do_read }, { "write", do_write }, { "rmw", do_rmw },
                { "rep", do_rep },   { "push", do_push },   { "fetch", 0 } };
    static const u8 pdes[] = { 7, 5, 3, 1, 15, 6 };
    for (unsigned modes = 0; modes < 32; modes++)
        for (unsigned mode = 0; mode < 2; mode++) {
            for (unsigned h = 0; h < sizeof(how) / sizeof(*how); h++) {
                if (mode == 0 && how[h].code == do_push) continue;         /* nowhere to push the fault */
                for (unsigned d = 0; d < sizeof(pdes); d++) {
                    for (unsigned pte = 0; pte < 16; pte++) {
                        set_modes(0);
                        page[0][0] = 0xcd;
                        page[0][1] = VECTOR_DONE;
                        set_pages(pte_of(pdes[d]), pte_of(pte), 0);
                        if (modes & 6) pd[0] &= ~(u64)U;
                        test_pd[1] = P | W | U | PS;
                        set_modes(modes);
                        flush();
                        run_registers = (struct registers){ .rax = AT + (how[h].code == do_push ? 8 : 0),
                                                            .rdx = 0x80cd };
                        run(mode, how[h].code ? how[h].code + (mode ? USER_ALIAS : 0) : (const char *)AT);
                        set_modes(1);
                        pd[0] |= U;
                        flush();
                        show(how[h].code == do_rmw);
                    }
                    row_end(how[h].name, modes << 12 | mode << 8 | pdes[d]);
                }
            }
            row_flush();
        }
    set_modes(1);
}

/* The kernel opens and closes user memory (STAC, CLAC) so often that what does it is translated, chained and warm, and then reads
 * once while it is closed. */
SNIPPET(open_rounds, "1: stac; mov (%rax), %edx; add %rdx, %rbx; clac; dec %ecx; jnz 1b; inc %r8d; mov (%rax), %edx; add %rdx, %rbx");
SNIPPET(open_by_turns, "1: stac; test $1, %cl; jz 2f; mov (%rax), %edx; clac; add %rdx, %rbx; 2: dec %ecx; jnz 1b;"
                       "clac; inc %r8d; cmp %rbx, (%rax)");
SNIPPET(open_calls, "jmp 3f; 1: stac; ret; 2: clac; ret; 4: mov (%rax), %edx; add %rdx, %rbx; ret;"
                    "3: call 1b; call 4b; call 2b; dec %ecx; jnz 3b; inc %r8d; call 4b");
SNIPPET(open_flags, "1: pushf; stac; pop %rsi; pushf; pop %rdi; add (%rax), %rbx; push %rsi; popf; pushf; pop %rdx; dec %ecx; jnz 1b;"
                    "inc %r8d; add (%rax), %rbx");
SNIPPET(open_write, "1: stac; addl %ecx, (%rax); clac; dec %ecx; jnz 1b; inc %r8d; addl $1, (%rax)");

static void opened(void)
{
    static const struct { const char *name, *code;
    } how[] = { { "open-rounds", open_rounds }, { "open-turns", open_by_turns }, { "open-calls", open_calls }, { "open-flags", open_flags },
                { "open-write", open_write } };
    for (unsigned modes = 1; modes < 32; modes += 2)
        for (unsigned h = 0; h < sizeof(how) / sizeof(*how); h++) {
            for (unsigned rounds = 1; rounds < 300; rounds = rounds * 3 + 1) {
                set_modes(0);
                set_pages(7, 7, 7);
                *(volatile u32 *)page[0] = 5;
                pd[0] &= ~(u64)U;
                set_modes(modes);
                flush();
                run_registers = (struct registers){ .rax = AT, .rcx = rounds };
                run(0, how[h].code);
                set_modes(1);
                pd[0] |= U;
                flush();
                row_add(outcome() & ~2ul);             /* as in show */
                row_add(trap_record.r8);
                row_add(trap_record.rbx);
                row_add(trap_record.rflags & EFLAGS_AC);
                row_add(*(volatile u32 *)page[0]);
            }
            row_end(how[h].name, modes);
        }
    set_modes(1);
    row_flush();
}

static void reserved(void)
{
    static const u64 bits[] = { 1ul << 51, 1ul << 52, 1ul << 62, 1ul << 8, 1ul << 7, 1ul << 9 };
    for (unsigned i = 0; i < sizeof(bits) / sizeof(*bits); i++)
        for (unsigned mode = 0; mode < 2; mode++) {
            set_pages(7, 7 | bits[i], 7);
            run_registers.rax = AT;
            run(mode, do_read);
            show(0);
            set_pages(7 | bits[i], 7, 7);
            if (bits[i] == PS) test_pd[0] = 7 | PS | 0x2000;
            flush();
            run(mode, do_write);
            show(0);
            set_pages(7, 7, 7);
            pdpt[1] |= bits[i];
            if (bits[i] == PS) continue;
            flush();
            run(mode, do_read);
            show(0);
            row_end("reserved", i << 4 | mode);
        }
    row_flush();
}

static void crossings(void)
{
    static const struct {
        const char *name, *code;
    } how[] = { { "read8", do_read8 }, { "write8", do_write8 }, { "rep", do_rep } };
    for (unsigned h = 0; h < 3; h++)
        for (unsigned mode = 0; mode < 2; mode++)
            for (unsigned pte = 0; pte < 64; pte++) {
                set_pages(7, pte_of(pte & 7), pte_of(pte >> 3));
                page[0][4093] = page[0][4094] = page[0][4095] = 0x11;
                page[1][0] = page[1][1] = 0x22;
                run_registers = (struct registers){ .rax = AT + 4093, .rdx = 0x7766554433221100 };
                if (h == 2) run_registers.rax = AT + 4096 - 8;
                run(mode, how[h].code);
                show(0);
                row_add(page[0][4093] << 16 | page[0][4095] << 8 | page[1][0]);
                if (h == 2) row_add(outcome() ? trap_record.rcx << 32 | (trap_record.rdi - AT) : 0);
                row_end(how[h].name, mode << 8 | pte);
            }
    row_flush();
}

static void large(void)
{
    for (unsigned bits = 0; bits < 8; bits++) {
        for (unsigned mode = 0; mode < 2; mode++) {
            test_pd[0] = pte_of(bits) | PS;            /* the first 2 MiB */
            flush();
            run_registers.rax = AT + (u64)&large_page_marker;
            run(mode, do_read);
            row_add(outcome());
            row_add(test_pd[0] & (A | D));
            run(mode, do_write);
            row_add(outcome());
            row_add(test_pd[0] & (A | D));
        }
        row_end("large", bits);
    }
    row_flush();
}

static void invalidation(void)
{
    set_pages(7, 7, 7);
    page[0][0] = 0x10;
    page[1][0] = 0x20;
    volatile u8 *p = (volatile u8 *)AT;
    row_add(*p);
    test_pt[0] = (u64)page[1] | 7;
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    row_add(*p);
    test_pt[0] = (u64)page[0] | 7;
    flush();
    row_add(*p);
    *p = 0x30;
    row_add(page[0][0]);
    row_add(test_pt[0] & (A | D));
    test_pt[0] &= ~(u64)(A | D);
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    row_add(*p);
    row_add(test_pt[0] & (A | D));
    *p = 0x31;
    row_add(test_pt[0] & (A | D));
    row_end("invalidation", 0);
    row_flush();
}

/* ---- Code that string instructions overwrite ---- */

enum { FUNCTIONS = 256, FUNCTION_BYTES = 16 };
static u8 code_to[4096] __attribute__((aligned(4096))), code_from[4096] __attribute__((aligned(4096)));

/* mov eax, n * 3 + add; ret */
static void functions_make(u8 *page, u32 add)
{
    for (u32 n = 0; n < FUNCTIONS; n++) {
        volatile u8 *p = page + n * FUNCTION_BYTES;
        p[0] = 0xb8;
        for (unsigned k = 0; k < 4; k++) p[1 + k] = (u8)((n * 3 + add) >> 8 * k);
        p[5] = 0xc3;
    }
}

static u64 call(const u8 *code, u64 rax, void *rdi, u64 rcx)
{
    __asm__ volatile("call *%3" : "+a"(rax), "+D"(rdi), "+c"(rcx) : "r"(code) : "memory", "cc");
    return rax;
}

static u64 functions_call(void)
{
    u64 sum = 0;
    for (u32 n = 0; n < FUNCTIONS; n++) sum = sum * 31 + call(code_to + n * FUNCTION_BYTES, 7, 0, 0);
    return sum;
}

static void overwrite(unsigned kind, u8 *to, u64 bytes)
{
    u8 *from = code_from + (to - code_to);
    u64 words = bytes / 8, rets = 0xc3c3c3c3c3c3c3c3;
    if (kind == 0) __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(rets) : "memory");
    if (kind == 1) __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(rets) : "memory");
    if (kind == 2) __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
    if (kind == 3) __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    to += words * 8 - 8;
    if (kind == 4) __asm__ volatile("std; rep stosq; cld" : "+D"(to), "+c"(words) : "a"(rets) : "memory");
}

/* rep stosb runs over what follows it, 128 times inc eax: the processor goes on with what it wrote. */
static void overwritten_itself(void)
{
    volatile u8 *p = code_to;
    for (unsigned run = 0; run < 3; run++)
        for (u64 bytes = 0; bytes <= 256; bytes += 32) {
            p[0] = 0xf3, p[1] = 0xaa;
            for (unsigned n = 0; n < 128; n++) p[2 + 2 * n] = 0xff, p[3 + 2 * n] = 0xc0;
            p[258] = 0xc3;
            row_add(call(code_to, 0x90, code_to + 2, bytes));
        }
    row_end("overwritten itself", 0);
}

static void overwritten(void)
{
    static const struct { u32 at, bytes; } range[] = { { 0, 4096 }, { 16, 64 }, { 160, 72 }, { 1024, 2048 }, { 4032, 64 }, { 48, 4048 }, { 512, 8 } };
    for (unsigned kind = 0; kind < 5; kind++)
        for (unsigned n = 0; n < sizeof(range) / sizeof(*range); n++) {
            functions_make(code_to, 1000 * n);
            functions_make(code_from, 1000 * n + 500);
            row_add(functions_call());
            overwrite(kind, code_to + range[n].at, range[n].bytes);
            row_add(functions_call());
            row_end("overwritten", kind << 4 | n);
        }
    overwritten_itself();
    row_flush();
}

/* qemu looks at the first byte only, and raises #GP for #SS. */
static void canonical(void)
{
    static const u64 at[] = { 0x7ffffffffffd, 0x800000000000, 0xffff7fffffffffff, 0x8000000000000000 };
    static const char *const code[] = { do_read, do_write, do_read8, do_push, do_stack_read, do_cmpxchg };
    for (unsigned i = 0; i < 4; i++)
        for (unsigned mode = 0; mode < 2; mode++) {
            for (unsigned c = 0; c < sizeof(code) / sizeof(*code); c++) {
                if (mode == 0 && code[c] == do_push) continue;
                run_registers = (struct registers){ .rax = at[i], .rsi = at[i] };
                run(mode, code[c]);
                row_add(outcome());
            }
            row_end("canonical", i << 4 | mode);
        }
    row_flush();
}

void test_pages(void)
{
    rights();
    opened();
    reserved();
    crossings();
    large();
    invalidation();
    overwritten();
    print("golden canonical\n");
    canonical();
    print("golden end\n");
}
