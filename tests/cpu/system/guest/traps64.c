/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Debug traps: single steps (with STI, MOV SS, INT n, SYSCALL, POPF, REP), breakpoints on code and data, RF; double
 * faults. The handler counts #DB and goes on, so that a row shows the addresses where traps came.
 */
#include "long.h"

enum { TF = 0x100, RF = 0x10000, STEPS = 40 };
u64 step_at[STEPS], step_dr6[STEPS], step_count;
static u64 variable[4] __attribute__((aligned(32)));
extern char step_handler[], trap_0[];
/* Notes RIP and DR6, sets RF so that a breakpoint is passed, goes on; after STEPS it clears TF. */
__asm__(".text\n"
        "step_handler: push %rax; push %rbx\n"
        "mov step_count, %rbx; cmp $40, %rbx; jae 1f\n"
        "mov 16(%rsp), %rax; mov %rax, step_at(,%rbx,8)\n"
        "mov %dr6, %rax; mov %rax, step_dr6(,%rbx,8); mov $0xffff0ff0, %eax; mov %rax, %dr6\n"
        "incq step_count; jmp 2f\n"
        "1: andq $~0x100, 32(%rsp)\n"
        "2: orq $0x10000, 32(%rsp)\n"
        "pop %rbx; pop %rax; iretq\n");

SNIPPET(step_plain, "nop; add %eax, %eax; jmp 1f; nop; 1: push %rax; pop %rbx");
SNIPPET(step_sti, "sti; nop; nop; cli");
SNIPPET(step_ss, "mov %ss, %eax; mov %eax, %ss; nop; nop");
SNIPPET(step_popf, "pushf; andl $~0x100, (%rsp); popf; nop; nop");
SNIPPET(step_set, "pushf; orl $0x100, (%rsp); popf; nop; nop");
SNIPPET(step_int, "int $0x61; nop; nop");
SNIPPET(step_syscall, "syscall; nop");
SNIPPET(step_rep, "mov $3, %ecx; lea variable_copy, %rdi; rep stosb; nop");
SNIPPET(step_fault, "nop; ud2");
SNIPPET(step_cpuid, "xor %eax, %eax; mov %rbx, %r8; nop; nop");
SNIPPET(step_call, "call 1f; jmp 2f; 1: ret; 2: nop");
SNIPPET(step_iret, "mov %rsp, %rax; push $0x10; push %rax; push $2; push $8; push $1f; iretq; 1: nop; nop");
SNIPPET(step_in, "in $0x61, %al; nop");
SNIPPET(step_xchg, "xchg %rax, (%rsi); nop");
SNIPPET(fault_ud, "ud2");
u8 variable_copy[16];
extern char int_handler[], break_here[], break_write[], break_end[];
__asm__(".text\nint_handler: nop; iretq\n"
        "break_write: mov %eax, (%rsi); nop; mov (%rsi), %ebx; nop; addl $1, 4(%rsi); nop; push %rax; pop %rax; nop\n"
        "break_here: add $1, %eax; nop; nop\n"
        "break_end: int $0x80\n");

static void begin(void)
{
    step_count = 0;
    gate_set(&idt[2], SEL_CODE, (u64)step_handler, 0x8e, 0);
    gate_set(&idt[2 * 0x61], SEL_CODE, (u64)int_handler, 0xee, 0);
    __asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ul));
    run_registers = (struct registers){ .rsi = (u64)variable, .rcx = 1 };
}

static void end(const char *name, u64 key, const char *from)
{
    u64 dr6;
    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    __asm__ volatile("mov %0, %%dr7" : : "r"(0x400ul));
    gate_set(&idt[2], SEL_CODE, (u64)trap_0 + 16, 0x8e, 0);
    row_add(outcome());
    row_add(dr6);
    row_add(trap_record.rflags & TF);
    row_add(step_count);
    for (unsigned i = 0; i < step_count && i < 30; i++) {
        u64 distance = step_at[i] - (u64)from;
        row_add(distance < 256                       ? distance
                : step_at[i] == (u64)int_handler     ? 0x111
                : step_at[i] == (u64)int_handler + 1 ? 0x112
                                                     : 0x999);
        row_add(step_dr6[i] & 0xf00f);
    }
    row_end(name, key);
}

static void steps(void)
{
    static const struct { const char *name, *code; u8 modes;
    } how[] = {
        { "step", step_plain, 3 },       { "step-popf", step_popf, 3 },       { "step-set", step_set, 3 },
        { "step-int", step_int, 3 },     { "step-rep", step_rep, 3 },         { "step-fault", step_fault, 3 },
        { "step-cpuid", step_cpuid, 3 }, { "step-call", step_call, 3 },       { "step-in", step_in, 1 },
        { "step-xchg", step_xchg, 3 },   { "step-syscall", step_syscall, 2 }, { "step-iret", step_iret, 1 },
    };
    wrmsr(0xc0000084, 0x47700);
    wrmsr(0xc0000082, (u64)step_plain);
    for (unsigned h = 0; h < sizeof(how) / sizeof(*how); h++)
        for (unsigned mode = 0; mode < 2; mode++)
            for (unsigned tf = 0; tf < 2; tf++) {
                if (!(how[h].modes >> mode & 1)) continue;
                begin();
                run_rflags = tf ? TF : 0;
                run(mode, how[h].code);
                run_rflags = 0;
                end(how[h].name, mode << 4 | tf, how[h].code);
            }
    row_flush();
}

static void shadow(void)
{
    for (unsigned mode = 0; mode < 2; mode++) {
        begin();
        run_rflags = TF;
        run(mode, step_ss);
        run_rflags = 0;
        end("step-ss", mode, step_ss);
    }
    begin();
    run_rflags = TF;
    run(0, step_sti);
    run_rflags = 0;
    end("step-sti", 0, step_sti);
    row_flush();
}

static void breakpoints(void)
{
    for (unsigned mode = 0; mode < 2; mode++)
        for (unsigned enable = 0; enable < 3; enable++) {
            begin();
            __asm__ volatile("mov %0, %%dr1; mov %1, %%dr7" : : "r"(break_here), "r"(0x400ul | enable << 2));
            run(mode, break_write);
            end("break-code", mode << 4 | enable, break_write);
            begin();
            __asm__ volatile("mov %0, %%dr1; mov %1, %%dr7" : : "r"(break_here), "r"(0x400ul | enable << 2));
            run_rflags = RF;
            run(mode, break_here);
            run_rflags = 0;
            end("break-rf", mode << 4 | enable, break_write);
        }
    row_flush();
    for (unsigned type = 1; type < 4; type += 2)
        for (unsigned length = 0; length < 4; length++)
            for (unsigned at = 0; at < 8; at++) {
                if (length == 1 && (at & 1)) continue;
                if (length == 3 && (at & 3)) continue;
                if (length == 2 && (at & 7)) continue;
                begin();
                __asm__ volatile("mov %0, %%dr2; mov %1, %%dr7"
                                 :
                                 : "r"((u64)variable + at), "r"(0x400ul | 0x20 | type << 24 | length << 26));
                run(1, break_write);
                end("break-data", type << 8 | length << 4 | at, break_write);
            }
    row_flush();
}

static void double_faults(void)
{
    u64 old[2] = { idt[2 * 6], idt[2 * 6 + 1] };
    u64 gp[2] = { idt[2 * 13], idt[2 * 13 + 1] };
    gate_set(&idt[2 * 6], SEL_CODE, (u64)trap_0 + 96, 0x0e, 0);        /* #UD not present: #NP comes instead */
    run(1, fault_ud);
    row_add(outcome() >> 16);
    gate_set(&idt[2 * 6], SEL_CODE, 0x800000000000, 0x8e, 0);          /* #UD to nowhere: #GP */
    run(1, fault_ud);
    row_add(outcome() >> 16);
    idt[2 * 6] = old[0];
    idt[2 * 6 + 1] = old[1];
    gate_set(&idt[2 * 13], SEL_LAST + 8, (u64)trap_0, 0x8e, 0);        /* #GP during #GP */
    run_registers.rax = SEL_LAST + 8;
    run(1, step_in);
    row_add(outcome());
    idt[2 * 13] = gp[0];
    idt[2 * 13 + 1] = gp[1];
    row_end("double-fault", 0);
    row_flush();
}

void test_traps(void)
{
    steps();
    breakpoints();
    double_faults();
    print("golden shadow\n");                          /* qemu loses a trap after MOV SS and STI */
    shadow();
    print("golden end\n");
}
