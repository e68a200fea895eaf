/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 64-bit guest: like the 32-bit one, for long mode and its compatibility mode. See legacy.c.
 */
#include <stdarg.h>
#include "long.h"

u64 gdt[SEL_LAST / 8 + 1] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
const struct { u16 limit; const void *base; } __attribute__((packed)) gdt_pointer = { SEL_LAST + 7, gdt };
u64 idt[512];
struct tss64 tss;
struct registers run_registers;
u64 run_frame[5], run_rflags;
u8 ring_stack[4][8192] __attribute__((aligned(4096)));

static void put(char c) { __asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((u16)0x3f8)); }

static void put_hex(u64 value)
{
    int n = 16;
    while (n > 1 && !(value >> (4 * (n - 1)))) n--;
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
        if (*++format == 'x') put_hex(va_arg(ap, u64));
        else for (const char *s = va_arg(ap, const char *); *s; s++) put(*s);
    }
    va_end(ap);
}

static u64 row[80], last_row[80];
static unsigned row_count, last_count;
static u64 repeats;
static const char *last_name;

void row_add(u64 value) { if (row_count < 80) row[row_count++] = value; }
void row_add_address(u64 value) { row_add(value >= 0x100000 && value < 0x200000 ? 0xadd : value); }

void row_flush(void)
{
    if (repeats) print("  and %x more like it\n", repeats);
    repeats = 0;
    last_count = 0;
    last_name = 0;
}

void row_end(const char *name, u64 key)
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

u64 descriptor(u32 base, u32 limit, u8 access, u8 flags)
{
    u64 d = (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40;
    return d | (u64)(limit >> 16 & 15) << 48 | (u64)(flags & 15) << 52 | (u64)(base >> 24) << 56;
}

void gate_set(u64 *to, u16 selector, u64 offset, u8 access, u8 ist)
{
    to[0] = (offset & 0xffff) | (u64)selector << 16 | (u64)ist << 32 | (u64)access << 40 |
            (offset >> 16 & 0xffff) << 48;
    to[1] = offset >> 32;
}

u64 rdmsr(u32 msr)
{
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return low | (u64)high << 32;
}

void wrmsr(u32 msr, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

int has(u32 leaf, unsigned reg, unsigned bit)
{
    u32 r[4];
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
    return r[reg] >> bit & 1;
}

int is_qemu(void)
{
    u32 a, b, c, d;
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0x40000000), "c"(0));
    return b == 0x54474354;                            /* "TCGT" */
}

void run(unsigned mode, const void *code)
{
    static const u16 cs[] = { SEL_CODE, SEL_CODE3 + 3, SEL_CODE32_3 + 3, SEL_CODE32 },
                     ss[] = { SEL_DATA, SEL_DATA3 + 3, SEL_DATA3 + 3, SEL_DATA };
    run_frame[0] = (u64)code;
    run_frame[1] = cs[mode];
    run_frame[2] = 2 | run_rflags;
    run_frame[3] = (u64)ring_stack[mode] + sizeof(ring_stack[mode]) - 256;
    run_frame[4] = ss[mode];
    run_at();
}

u64 outcome(void)
{
    if (trap_record.vector == VECTOR_DONE) return 0;
    return trap_record.vector << 16 | (trap_record.error & 0xffff);
}

extern char trap_0[], trap_128[];

static void tables(void)
{
    gdt[SEL_CODE32_3 / 8] = descriptor(0, 0xfffff, 0xfb, 12);
    gdt[SEL_DATA3 / 8] = descriptor(0, 0xfffff, 0xf3, 12);
    gdt[SEL_CODE3 / 8] = descriptor(0, 0xfffff, 0xfb, 10);
    gdt[SEL_CODE32 / 8] = descriptor(0, 0xfffff, 0x9b, 12);
    gdt[SEL_TSS / 8] = descriptor((u32)(u64)&tss, sizeof(tss) - 1, 0x89, 0);
    for (unsigned n = 0; n < 32; n++) gate_set(&idt[2 * n], SEL_CODE, (u64)trap_0 + 16 * n, 0x8e, 0);
    gate_set(&idt[2 * VECTOR_DONE], SEL_CODE, (u64)trap_128, 0xee, 0);
    for (unsigned i = 0; i < 3; i++) tss.rsp[i] = (u64)ring_stack[0] + 4096;
    for (unsigned i = 0; i < 7; i++) tss.ist[i] = (u64)ring_stack[0] + 4096 + 256 * (i + 1) + 8;
    tss.iomap = sizeof(tss) - 1;
}

int guest_main(void)
{
    struct { u16 limit; const void *base; } __attribute__((packed)) p = { sizeof(idt) - 1, idt };
    tables();
    __asm__ volatile("outb %0, $0x21; outb %0, $0xa1" : : "a"((u8)0xff));
    __asm__ volatile("lidt %0" : : "m"(p));
    __asm__ volatile("lldt %0" : : "r"((u16)0));
    __asm__ volatile("ltr %0" : : "r"((u16)SEL_TSS));
    print("long guest\n");
    test_segments();
    test_gates();
    test_syscalls();
    test_registers();
    test_pages();
    test_spaces();
    test_traps();
    test_interrupts();
    test_crossings();
    print("end\n");
    return 0;
}
