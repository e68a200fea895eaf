/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Selector loads and descriptor queries in long mode: 64-bit and compatibility mode, CPL 0 and 3. */
#include "long.h"

SNIPPET(use_ds, "mov %eax, %ds; mov %ds, %edx");
SNIPPET(use_fs, "mov %eax, %fs; mov %fs, %edx");
SNIPPET(use_ss, "mov %ss, %ebx; mov %eax, %ss; mov %ss, %edx; mov %ebx, %ss");
SNIPPET(use_lar, "lar %eax, %edx");
SNIPPET(use_lsl, "lsl %eax, %edx");
SNIPPET(use_verr, "xor %edx, %edx; verr %ax; setz %dl");
SNIPPET(use_verw, "xor %edx, %edx; verw %ax; setz %dl");
SNIPPET(use_lldt, "lldt %ax; sldt %edx; xor %ecx, %ecx; lldt %cx");
SNIPPET(use_ltr, "ltr %ax; str %edx");
SNIPPET32(use_ds32, "mov %eax, %ds; mov %ds, %edx; mov %ebx, %ds");
SNIPPET32(use_ss32, "mov %ss, %ebx; mov %eax, %ss; mov %ss, %edx; mov %ebx, %ss");
SNIPPET32(use_lar32, "lar %eax, %edx");

static const struct { const char *name, *code; u8 modes;
} users[] = {
    { "mov-ds", use_ds, 3 },      { "mov-fs", use_fs, 3 },      { "mov-ss", use_ss, 3 },
    { "lar", use_lar, 3 },        { "lsl", use_lsl, 3 },        { "verr", use_verr, 3 },
    { "verw", use_verw, 3 },      { "lldt", use_lldt, 3 },      { "ltr", use_ltr, 3 },
    { "mov-ds32", use_ds32, 12 }, { "mov-ss32", use_ss32, 12 }, { "lar32", use_lar32, 12 },
};

static void one(unsigned user, unsigned mode, unsigned access, u64 high)
{
    for (unsigned rpl = 0; rpl < 4; rpl++) {
        gdt[SEL_TEST / 8] = descriptor(0x1000, 0x0fff, access, 12);
        gdt[SEL_TEST / 8 + 1] = high;
        run_registers.rax = SEL_TEST | rpl;
        run_registers.rbx = SEL_DATA3 + 3;
        run_registers.rdx = 0x1234567812345678;
        run(mode, users[user].code);
        row_add(outcome() ? outcome() : trap_record.rdx);
        row_add((gdt[SEL_TEST / 8] >> 40 & 0xff) ^ access);
        if (users[user].code == use_ltr) {
            gdt[SEL_TSS / 8] &= ~(2ull << 40);
            __asm__ volatile("ltr %0" : : "r"((u16)SEL_TSS));
        }
    }
}

/* Outcomes of FS bases: what a load of FS leaves in the hidden base. */
static void bases(void)
{
    gdt[SEL_TEST / 8] = descriptor(0x12345678, 0xfffff, 0xf3, 12);
    for (unsigned mode = 0; mode < 2; mode++) {
        wrmsr(0xc0000100, 0xffff800000001234);
        run_registers.rax = SEL_TEST + 3;
        run(mode, use_fs);
        row_add(rdmsr(0xc0000100));
        run_registers.rax = SEL_DATA3 + 3;
        run(mode, use_fs);
        row_add(rdmsr(0xc0000100));
        row_end("fs-base", mode);
    }
    row_flush();
}

void test_segments(void)
{
    static const u16 outside[] = {
        0, 1, 2, 3, SEL_LAST + 8, SEL_LAST + 8 + 3, 4, SEL_TEST | 4, 0xfff8, 0xffff
    };
    for (unsigned user = 0; user < sizeof(users) / sizeof(*users); user++)
        for (unsigned mode = 0; mode < 4; mode++) {
            if (!(users[user].modes >> mode & 1)) continue;
            for (unsigned access = 0; access < 256; access++) {
                /* 16-bit system types do not exist in long mode; qemu's LAR and LSL know them */
                if (!(access & 0x18) && (access & 7) != 2) continue;
                one(user, mode, access, 0);
                row_end(users[user].name, mode << 8 | access);
            }
            for (unsigned i = 0; i < sizeof(outside) / sizeof(*outside); i++) {
                if ((users[user].code == use_ltr || users[user].code == use_ss) && outside[i] < 4) continue;
                run_registers.rax = outside[i];
                run_registers.rdx = 0x1234567812345678;
                run(mode, users[user].code);
                row_add(outcome() ? outcome() : trap_record.rdx);
            }
            row_end("selectors outside", mode);
            row_flush();
        }
    bases();
}
