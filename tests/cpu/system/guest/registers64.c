/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MOV CR and DR, LMSW, SMSW, MSRs with their reserved bits; table registers and UMIP; privileged instructions at CPL 3. */
#include "long.h"

u8 memory[64] __attribute__((aligned(16)));
SNIPPET(cr0_write, "mov %cr0, %rbx; mov %rax, %cr0; mov %cr0, %rdx; mov %rbx, %cr0");
SNIPPET(cr3_write, "mov %cr3, %rbx; mov %rax, %cr3; mov %cr3, %rdx; mov %rbx, %cr3");
SNIPPET(cr4_write, "mov %cr4, %rbx; mov %rax, %cr4; mov %cr4, %rdx; mov %rbx, %cr4");
SNIPPET(cr8_write, "mov %rax, %cr8; mov %cr8, %rdx; xor %eax, %eax; mov %rax, %cr8");
SNIPPET(cr1_read, ".byte 0x0f, 0x20, 0xc8");
SNIPPET(cr5_read, ".byte 0x0f, 0x20, 0xe8");
SNIPPET(cr2_write, "mov %rax, %cr2; mov %cr2, %rdx");
SNIPPET(msr_write, "wrmsr; rdmsr; shl $32, %rdx; or %rax, %rdx");
SNIPPET(msr_read, "rdmsr; xor %edx, %edx");
SNIPPET(dr_write0, "mov %rax, %dr0; mov %dr0, %rdx");
SNIPPET(dr_write4, "mov %rax, %dr4; mov %dr6, %rdx");
SNIPPET(dr_write6, "mov %rax, %dr6; mov %dr6, %rdx");
SNIPPET(dr_write7, "mov %rax, %dr7; mov %dr7, %rdx; mov $0x400, %eax; mov %rax, %dr7");
SNIPPET(dr_read5, "mov %dr5, %rdx");
SNIPPET(do_lmsw, "mov %cr0, %rbx; lmsw %ax; mov %cr0, %rdx; mov %rbx, %cr0");
SNIPPET(do_smsw, "mov $-1, %rdx; smsw %rdx");
SNIPPET(do_smsw16, "mov $-1, %rdx; smsw %dx");
SNIPPET(do_smswm, "movq $-1, memory; smsw memory; mov memory, %rdx");
SNIPPET(do_clts, "clts");
SNIPPET(do_hlt, "hlt");
SNIPPET(do_cli, "cli");
SNIPPET(do_invlpg, "invlpg (%rax)");
SNIPPET(do_wbinvd, "wbinvd");
SNIPPET(do_invd, "invd");
SNIPPET(do_sgdt, "sgdt memory; movzwl memory, %edx");
SNIPPET(do_sidt, "sidt memory; movzwl memory, %edx");
SNIPPET(do_lgdt, "sgdt memory; lgdt memory; xor %edx, %edx");
SNIPPET(do_lidt, "sidt memory; lidt memory; xor %edx, %edx");
SNIPPET(do_sldt, "mov $-1, %rdx; sldt %rdx");
SNIPPET(do_str, "mov $-1, %rdx; str %dx");
SNIPPET(do_rsm, "rsm");
SNIPPET(do_in, "in $0x61, %al; xor %edx, %edx");
SNIPPET(do_stac, "stac; pushf; pop %rdx");
SNIPPET(do_clac, "clac; pushf; pop %rdx");
SNIPPET(do_rdpmc, "xor %ecx, %ecx; rdpmc; xor %edx, %edx");

static void bits(const char *name, const char *code, u64 base, u64 skip)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        if (skip >> bit & 1) continue;
        run_registers = (struct registers){ .rax = base ^ 1ul << bit };
        run(0, code);
        row_add(outcome());
        row_add(outcome() ? 0 : trap_record.rdx);
        row_end(name, bit);
    }
    row_flush();
}

static void control(void)
{
    u64 cr0, cr3, cr4;
    __asm__ volatile("mov %%cr0, %0; mov %%cr3, %1; mov %%cr4, %2" : "=r"(cr0), "=r"(cr3), "=r"(cr4));
    bits("cr0", cr0_write, cr0, 1ul << 4 | 1ul << 29 | 0xffffffff9ffaffc1ul);
    bits("cr3", cr3_write, cr3, ~0x18ul);
    /* only the bits that every machine with long mode has: others depend on its CPUID */
    bits("cr4", cr4_write, cr4, ~(1ul << 2 | 1ul << 3 | 1ul << 7 | 1ul << 8 | 1ul << 9 | 1ul << 10));
    bits("cr8", cr8_write, 0, ~15ul);
    bits("cr2", cr2_write, 0x1234, 0);
    bits("dr0", dr_write0, 0, 0);
    bits("dr4", dr_write4, 0, 1ul << 16 | 1ul << 12);
    bits("dr6", dr_write6, 0, 1ul << 16 | 1ul << 12);
    bits("dr7", dr_write7, 0x400, 0xf800);
    for (unsigned de = 0; de < 2; de++) {
        __asm__ volatile("mov %0, %%cr4" : : "r"(de ? cr4 | 8 : cr4 & ~8ul));
        run(0, dr_read5);
        row_add(outcome());
        run(0, dr_write4);
        row_add(outcome());
    }
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
    row_end("debug-extensions", 0);
    run_registers.rax = 0;
    run(0, dr_write6);
}

static void everything(void)
{
    static const struct { const char *name, *code;
    } all[] = {
        { "cr1", cr1_read },      { "cr5", cr5_read },        { "lmsw", do_lmsw },
        { "smsw", do_smsw },      { "smsw16", do_smsw16 },    { "smsw-m", do_smswm },
        { "clts", do_clts },      { "cli", do_cli },          { "invlpg", do_invlpg },
        { "wbinvd", do_wbinvd },  { "invd", do_invd },        { "sgdt", do_sgdt },
        { "sidt", do_sidt },      { "lgdt", do_lgdt },        { "lidt", do_lidt },
        { "sldt", do_sldt },      { "str", do_str },          { "rsm", do_rsm },
        { "in", do_in },          { "stac", do_stac },        { "clac", do_clac },
        { "msr-read", msr_read }, { "msr-write", msr_write }, { "cr0", cr0_write },
        { "cr2", cr2_write },     { "cr3", cr3_write },       { "cr4", cr4_write },
        { "cr8", cr8_write },     { "dr0", dr_write0 },       { "dr7", dr_write7 },
        { "hlt", do_hlt },        { "rdpmc", do_rdpmc },
    };
    u64 cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    for (unsigned umip = 0; umip < 2; umip++) {
        if (umip && !has(7, 2, 2)) continue;
        __asm__ volatile("mov %0, %%cr4" : : "r"(umip ? cr4 | 1 << 11 : cr4 & ~(1ul << 11)));
        for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++)
            for (unsigned mode = umip; mode < 2; mode++) {
                if (mode && i < 2) continue;           /* CR1, CR5 at CPL 3: #UD or #GP */
                if (mode == 0 &&
                    (all[i].code == do_hlt || all[i].code == cr0_write || all[i].code == cr3_write ||
                     all[i].code == cr4_write || all[i].code == do_rdpmc))
                    continue;
                run_registers = (struct registers){ .rax = 0xe, .rcx = 0xc0000084, .rdx = 0 };
                run(mode, all[i].code);
                row_add(outcome());
                row_add(outcome() ? 0 : trap_record.rdx & ~0x40000ul);
                row_end(all[i].name, umip << 4 | mode);
            }
    }
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
    row_flush();
}

static void msrs(void)
{
    static const u32 plain[] = { 0x175,      0x176,      0xc0000081, 0xc0000082, 0xc0000083,
                                 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102 };
    static const u64 values[] = { 0, 0x12345678, 0x123456789abc, 0x7fffffffffff, 0xffff800000000000 };
    for (unsigned m = 0; m < sizeof(plain) / sizeof(*plain); m++) {
        u64 old = rdmsr(plain[m]);
        for (unsigned i = 0; i < sizeof(values) / sizeof(*values); i++) {
            if (plain[m] == 0xc0000084 && values[i] >> 32) continue;
            run_registers = (struct registers){ .rcx = plain[m],
                                                .rax = (u32)values[i],
                                                .rdx = values[i] >> 32 };
            run(0, msr_write);
            row_add(outcome());
            row_add(outcome() ? 0 : trap_record.rdx);
        }
        wrmsr(plain[m], old);
        row_end("msr", plain[m]);
    }
    row_flush();
}

/* Writes that qemu's TCG lets through, some of them to its own ruin. */
static void reserved(void)
{
    u64 cr0, cr3, cr4;
    __asm__ volatile("mov %%cr0, %0; mov %%cr3, %1; mov %%cr4, %2" : "=r"(cr0), "=r"(cr3), "=r"(cr4));
    if (is_qemu()) return;
    bits("cr0", cr0_write, cr0, 0x1ffdfffe);
    bits("cr3", cr3_write, cr3, 0x000ffffffffffffful);
    bits("cr4", cr4_write, cr4, ~0xfffffffffe000020ul);
    bits("cr8", cr8_write, 0, 15);
    bits("dr6", dr_write6, 0, ~0x1000ul);
    bits("dr7", dr_write7, 0x400, ~0xf000ul);
}

void test_registers(void)
{
    control();
    print("golden reserved\n");
    reserved();
    print("golden end\n");
    everything();
    msrs();
}
