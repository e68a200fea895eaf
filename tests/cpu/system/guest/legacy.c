/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 32-bit guest: runs snippets of system instructions at all privileges in many settings and prints what came of
 * each, a fault with its error code or the registers. The transcript is compared between machines.
 */
#include <stdarg.h>
#include "legacy.h"

u64 gdt[SEL_LAST / 8 + 1] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };   /* start.S needs these two */
const struct { u16 limit; const void *base; } __attribute__((packed)) gdt_pointer = { SEL_LAST + 7, gdt };
u64 idt[256];
struct tss32 tss_main, tss_b, tss_df;
struct tss16 tss_16;
struct registers run_registers;
u32 run_frame[9], run_frame_words, run_segments[2], run_eflags;
static u8 ring_stack[4][8192] __attribute__((aligned(16)));

/* ---- Printing ---- */

static void put(char c) { __asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((u16)0x3f8)); }

static void put_hex(u32 value, int digits)
{
    int n = 8;
    while (n > digits && n > 1 && !(value >> (4 * (n - 1)))) n--;
    while (n--) put("0123456789abcdef"[value >> (4 * n) & 15]);
}

void print(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        switch (*++format) {
        case 'x': put_hex(va_arg(ap, u32), 1); break;
        case 'X': put_hex(va_arg(ap, u32), 8); break;
        case 'c': put(va_arg(ap, int)); break;
        case 's': for (const char *s = va_arg(ap, const char *); *s; s++) put(*s); break;
        }
    }
    va_end(ap);
}

static u32 row[64], last_row[64];
static unsigned row_count, last_count, repeats;
static const char *last_name;

void row_add(u32 value) { if (row_count < 64) row[row_count++] = value; }

void row_flush(void)
{
    if (repeats) print("  and %x more like it\n", repeats);
    repeats = 0;
    last_count = 0;
    last_name = 0;
}

void row_end(const char *name, u32 key)
{
    int same = last_name == name && row_count == last_count;
    for (unsigned i = 0; same && i < row_count; i++) same = row[i] == last_row[i];
    if (same) {
        repeats++;
    } else {
        row_flush();
        print("%s %x:", name, key);
        for (unsigned i = 0; i < row_count; i++) print(" %x", row[i]);
        print("\n");
        for (unsigned i = 0; i < row_count; i++) last_row[i] = row[i];
        last_count = row_count;
        last_name = name;
    }
    row_count = 0;
}

/* ---- Descriptors ---- */

u64 descriptor(u32 base, u32 limit, u8 access, u8 flags)
{
    u64 d = (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40;
    return d | (u64)(limit >> 16 & 15) << 48 | (u64)(flags & 15) << 52 | (u64)(base >> 24) << 56;
}

u64 gate(u16 selector, u32 offset, u8 access, u8 count)
{
    return (offset & 0xffff) | (u64)selector << 16 | (u64)count << 32 | (u64)access << 40 |
           (u64)(offset >> 16) << 48;
}

/* ---- Snippets ---- */

void run(unsigned ring, const void *code)
{
    run_frame[0] = (u32)code;
    run_frame[1] = (SEL_CODE0 + 16 * ring) | ring;
    run_frame[2] = 2 | run_eflags;
    run_frame[3] = (u32)(ring_stack[ring] + sizeof(ring_stack[ring]) - 256);
    run_frame[4] = (SEL_DATA0 + 16 * ring) | ring;
    run_frame_words = ring ? 5 : 3;
    run_segments[0] = run_segments[1] = SEL_DATA0 + 48 + 3;
    run_at();
}

u32 outcome(void)
{
    if (trap_record.vector == VECTOR_DONE) return 0;
    return trap_record.vector << 16 | (trap_record.error & 0xffff);
}

/* ---- Setting up ---- */

extern char trap_0[], trap_128[], stack_top[];

static void tables(void)
{
    for (unsigned ring = 0; ring < 4; ring++) {
        gdt[(SEL_CODE0 + 16 * ring) / 8] = descriptor(0, 0xfffff, 0x9b | ring << 5, 12);
        gdt[(SEL_DATA0 + 16 * ring) / 8] = descriptor(0, 0xfffff, 0x93 | ring << 5, 12);
    }
    gdt[SEL_TSS / 8] = descriptor((u32)&tss_main, sizeof(tss_main) - 1, 0x89, 0);
    gdt[SEL_CODE16 / 8] = descriptor(0, 0xffff, 0x9b, 0);
    gdt[SEL_DATA16 / 8] = descriptor(0, 0xffff, 0x93, 0);
    for (unsigned n = 0; n < 32; n++) idt[n] = gate(SEL_CODE0, (u32)trap_0 + 16 * n, 0x8e, 0);
    idt[VECTOR_DONE] = gate(SEL_CODE0, (u32)trap_128, 0xee, 0);
    tss_main.esp0 = (u32)(ring_stack[0] + sizeof(ring_stack[0]) - 4096);
    tss_main.ss0 = SEL_DATA0;
    tss_main.esp1 = (u32)(ring_stack[1] + sizeof(ring_stack[1]) - 4096);
    tss_main.ss1 = (SEL_DATA0 + 16) | 1;
    tss_main.esp2 = (u32)(ring_stack[2] + sizeof(ring_stack[2]) - 4096);
    tss_main.ss2 = (SEL_DATA0 + 32) | 2;
    tss_main.iomap = 0x68 + 32;
}

int guest_main(void)
{
    struct { u16 limit; const void *base; } __attribute__((packed)) p = { sizeof(idt) - 1, idt };
    tables();
    __asm__ volatile("outb %0, $0x21; outb %0, $0xa1" : : "a"((u8)0xff));
    __asm__ volatile("lidt %0" : : "m"(p));
    __asm__ volatile("ltr %0" : : "r"((u16)SEL_TSS));
    __asm__ volatile("lldt %0" : : "r"((u16)0));
    print("legacy guest\n");
    test_selectors();
    test_transfers();
    test_tasks();
    test_flags();
    test_vm86();
    test_real();
    test_limits();
    print("end\n");
    return 0;
}
