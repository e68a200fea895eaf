/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * External interrupts and NMIs, asked for through the board's own ports (see board.c): when they are taken with regard to
 * IF, STI, MOV SS, HLT, REP and a running NMI handler; and the paravirtual clock. The machine compared with has neither, so
 * the rows were checked against the manual and stand in golden/.
 */
#include "long.h"

u64 taken_at[8], taken_count, nmi_count, resume_count;
extern char interrupt_handler[], nmi_handler[], nmi_slow_handler[];
__asm__(".text\n"
        ".globl interrupt_handler\ninterrupt_handler: push %rax; push %rbx; mov taken_count, %rbx; and $7, %ebx; mov 16(%rsp), %rax; mov %rax, taken_at(,%rbx,8)\n"
        "incq taken_count; pop %rbx; pop %rax; iretq\n"
        "nmi_handler: incq nmi_count; iretq\n"
        /* asks for another NMI: it must wait for IRET */
        "nmi_slow_handler: incq nmi_count; cmpq $1, nmi_count; jne 1f; push %rax; mov $1, %al; out %al, $0xf6; nop; nop; mov nmi_count, %rax\n"
        "mov %rax, resume_count; pop %rax; 1: iretq\n");

#define ASK "mov $0x50, %al; out %al, $0xf5; "
SNIPPET(int_closed, "cli; " ASK "nop; nop; mov taken_count, %rdx");
SNIPPET(int_sti, "cli; " ASK "sti; nop; nop; nop; cli");
SNIPPET(int_sti_sti, "cli; " ASK "sti; sti; nop; nop; cli");
SNIPPET(int_sti_cli, "cli; " ASK "sti; cli; nop; nop");
SNIPPET(int_popf, "cli; " ASK "pushf; orl $0x200, (%rsp); popf; nop; nop; cli");
SNIPPET(int_ss, "cli; mov %ss, %ebx; " ASK
                "pushf; orl $0x200, (%rsp); popf; nop; cli; sti; mov %ebx, %ss; nop; nop; cli");
SNIPPET(int_ss_open, "mov %ss, %ebx; sti; mov $0x50, %al; mov %ebx, %ss; out %al, $0xf5; nop; cli");
SNIPPET(int_hlt, "cli; " ASK "sti; hlt; nop; cli");
SNIPPET(int_open, "sti; " ASK "nop; nop; cli");
SNIPPET(int_two, "cli; " ASK "mov $0x61, %al; out %al, $0xf5; sti; nop; nop; nop; cli");
SNIPPET(int_cr8, "cli; mov $6, %eax; mov %rax, %cr8; mov %cr8, %rdx; xor %eax, %eax; mov %rax, %cr8");
SNIPPET(int_nmi, "cli; mov $1, %al; out %al, $0xf6; nop; nop; mov nmi_count, %rdx");
SNIPPET(int_nmi_ss, "cli; mov %ss, %ebx; mov $1, %al; mov %ebx, %ss; out %al, $0xf6; nop; mov nmi_count, %rdx");
SNIPPET(int_user, "nop; nop");

static void show(const char *name, const char *from)
{
    row_add(outcome());
    row_add(trap_record.rdx);
    row_add(taken_count);
    for (unsigned i = 0; i < taken_count && i < 8; i++) row_add(taken_at[i] - (u64)from);
    row_add(nmi_count);
    row_add(resume_count);
    row_end(name, 0);
}

static void interrupts(void)
{
    static const struct { const char *name, *code;
    } how[] = {
        { "closed", int_closed }, { "sti", int_sti }, { "sti-sti", int_sti_sti }, { "sti-cli", int_sti_cli },
        { "popf", int_popf },     { "ss", int_ss },   { "ss-open", int_ss_open }, { "hlt", int_hlt },
        { "open", int_open },     { "two", int_two }, { "cr8", int_cr8 },         { "nmi", int_nmi },
        { "nmi-ss", int_nmi_ss },
    };
    for (unsigned n = 0; n < 2; n++) {
        gate_set(&idt[2 * 0x50], SEL_CODE, (u64)interrupt_handler, 0x8e, 0);
        gate_set(&idt[2 * 0x61], SEL_CODE, (u64)interrupt_handler, 0x8e, 0);
        gate_set(&idt[4], SEL_CODE, (u64)(n ? nmi_slow_handler : nmi_handler), 0x8e, 0);
        for (unsigned h = 0; h < sizeof(how) / sizeof(*how); h++) {
            taken_count = nmi_count = resume_count = 0;
            run_registers = (struct registers){ .rdx = 0 };
            run(0, how[h].code);
            if (how[h].code == int_closed) {
                __asm__ volatile("sti; nop; nop; cli");
                taken_at[0] = (u64)how[h].code;        /* taken here, not there */
            }
            show(how[h].name, how[h].code);
        }
    }
    taken_count = nmi_count = 0;
    __asm__ volatile("cli; mov $0x50, %%al; out %%al, $0xf5" : : : "rax");
    run_rflags = 0x200;
    run(1, int_user);                                  /* IRET opens: taken before its first instruction */
    run_rflags = 0;
    show("user", int_user);
    row_flush();
}

static struct {
    u32 version, pad;
    u64 tsc, ns;
    u32 mul;
    signed char shift;
    u8 flags, pad2[2];
} volatile clock_info __attribute__((aligned(64)));
static struct { u32 version, sec, nsec; } volatile wall_info __attribute__((aligned(64)));

static u64 tsc(void)
{
    u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return low | (u64)high << 32;
}

static u64 clock_ns(void)
{
    u64 ticks = tsc() - clock_info.tsc;
    ticks = clock_info.shift < 0 ? ticks >> -clock_info.shift : ticks << clock_info.shift;
    return clock_info.ns + (u64)((unsigned __int128)ticks * clock_info.mul >> 32);
}

static void paravirtual_clock(void)
{
    wrmsr(0x4b564d01, (u64)&clock_info | 1);
    wrmsr(0x4b564d00, (u64)&wall_info);
    row_add(clock_info.version & 1);
    row_add(clock_info.version >= 2);
    row_add(clock_info.flags);
    row_add(clock_info.mul >= 0x80000000);
    u64 before = 0, passed = 0;
    for (unsigned tries = 0; tries < 10 && !(passed > 1000000 && passed < 1000000000); tries++) {       /* a host may have others to care for */
        before = clock_ns();
        u64 first = tsc();
        while (tsc() - first < 20000000) { }
        passed = clock_ns() - before;
    }
    row_add(passed > 1000000 && passed < 1000000000);  /* 20 M ticks of a TSC between 20 MHz and 20 GHz */
    row_add(wall_info.version & 1);
    row_add(wall_info.sec > 1700000000);
    row_add(wall_info.nsec < 1000000000);
    row_add(rdmsr(0x4b564d01) == ((u64)&clock_info | 1));
    wrmsr(0x10, tsc() + 1000000000000);                /* the TSC jumps, by more than 50 s at 20 GHz; time does not */
    row_add(clock_ns() - before < 50000000000);
    row_add(rdmsr(0x3b) > 900000000000);
    wrmsr(0x4b564d01, 0);
    row_end("pvclock", 0);
    row_flush();
}

void test_interrupts(void)
{
    print("golden interrupts\n");
    if (!is_qemu()) interrupts();
    if (!is_qemu()) paravirtual_clock();
    print("golden end\n");
}
