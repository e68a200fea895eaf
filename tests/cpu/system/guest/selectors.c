/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every kind of descriptor, selected with every RPL at every CPL, by each instruction that looks at descriptors. */
#include "legacy.h"

/* EAX: selector; EDX: 0x12345678. Results in EDX and ZF. */
#define SNIPPET(name, text) \
    extern const char name[]; \
    __asm__(".text\n" #name ":\n" text "\nint $0x80\n")

SNIPPET(use_ds, "mov %eax, %ds; mov %ds, %edx");
SNIPPET(use_es, "mov %eax, %es; mov %es, %edx");
SNIPPET(use_fs, "push %eax; pop %fs; mov %fs, %edx");
SNIPPET(use_ss, "mov %ss, %ebx; mov %eax, %ss; mov %ebx, %ss");
SNIPPET(use_lar, "lar %eax, %edx");
SNIPPET(use_lar16, "lar %ax, %dx");
SNIPPET(use_lsl, "lsl %eax, %edx");
SNIPPET(use_verr, "xor %edx, %edx; verr %ax; setz %dl");
SNIPPET(use_verw, "xor %edx, %edx; verw %ax; setz %dl");
SNIPPET(use_lldt, "lldt %ax; sldt %edx; xor %ecx, %ecx; lldt %cx");
SNIPPET(use_ltr, "ltr %ax; str %edx");

static const struct { const char *name; const char *code; u8 rings; } users[] = {
    { "mov-ds", use_ds, 15 }, { "mov-es", use_es, 15 }, { "pop-fs", use_fs, 15 }, { "mov-ss", use_ss, 15 },
    { "lar", use_lar, 15 }, { "lar16", use_lar16, 9 }, { "lsl", use_lsl, 15 }, { "verr", use_verr, 15 },
    { "verw", use_verw, 15 }, { "lldt", use_lldt, 9 }, { "ltr", use_ltr, 9 },
};

static void one(unsigned user, unsigned ring, unsigned access, unsigned flags)
{
    for (unsigned rpl = 0; rpl < 4; rpl++) {
        gdt[SEL_TEST / 8] = descriptor(0x1000, 0x0fff, access, flags);
        run_registers.eax = SEL_TEST | rpl;
        run_registers.edx = 0x12345678;
        run(ring, users[user].code);
        u32 result = outcome();
        row_add(result ? result : trap_record.edx);
        row_add((gdt[SEL_TEST / 8] >> 40 & 0xff) ^ access);        /* accessed, busy */
        if (users[user].code == use_ltr) {
            gdt[SEL_TSS / 8] &= ~(2ull << 40);
            __asm__ volatile("ltr %0" : : "r"((u16)SEL_TSS));
        }
    }
}

static void outside(unsigned user, unsigned ring)
{
    static const u16 selectors[] = { 0,      1,     2, 3, SEL_LAST + 8, SEL_LAST + 8 + 3, 4, SEL_TEST | 4,
                                     0xfff8, 0xffff };
    for (unsigned i = 0; i < sizeof(selectors) / sizeof(*selectors); i++) {
        if (users[user].code == use_ltr && selectors[i] < 4) continue;      /* some emulators take a null TR */
        run_registers.eax = selectors[i];
        run_registers.edx = 0x12345678;
        run(ring, users[user].code);
        u32 result = outcome();
        row_add(result ? result : trap_record.edx);
    }
}

void test_selectors(void)
{
    for (unsigned user = 0; user < sizeof(users) / sizeof(*users); user++) {
        for (unsigned ring = 0; ring < 4; ring++) {
            if (!(users[user].rings >> ring & 1)) continue;
            for (unsigned access = 0; access < 256; access++) {
                one(user, ring, access, 12);
                row_end(users[user].name, ring << 8 | access);
            }
            one(user, ring, 0x93, 0);
            row_end(users[user].name, ring << 8);
            outside(user, ring);
            row_end("selectors outside", ring);
            row_flush();
        }
    }
}
