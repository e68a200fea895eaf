/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program that asks its kernel six times, by SYSCALL and SYSRET. When it does so for the fourth time (or for the third and the fifth) the kernel
 * changes something that one of the two, or the program behind them, depends on: an engine that remembers how it crossed the last time must notice.
 */
#include "long.h"

enum { ROUNDS = 6, VALUES = 8, IRQ = 0x50 };
u64 crossing_log[ROUNDS * VALUES], crossing_change[ROUNDS];
extern char crossing_user[], crossing_back[], crossing_compat[], crossing_compat2[], crossing_kernel[], crossing_kernel2[], interrupt_handler[];
extern u64 taken_at[8], taken_count;
/* RBP: round, RDI: log, R8: what marks the kernel's second entry. The kernel runs on the program's stack. */
__asm__(".text\n"
        "crossing_user: cld; rdtsc; fnop; mov 1(%rdi), %rax\n"
        "crossing_break: nop; xor %r8d, %r8d; mov $0x11111111, %ecx; mov %ecx, %r11d; cmp $8, %ebp; syscall\n"
        "crossing_back: pushfq; pop (%rdi); mov %cs, %eax; mov %ss, %edx; shl $16, %eax; or %edx, %eax; mov %rax, 8(%rdi)\n"
        "lea crossing_back, %rdx; sub %rdx, %rcx; mov %rcx, 16(%rdi); mov %r11, 24(%rdi)\n"
        "add $64, %rdi; inc %ebp; cmp $6, %ebp; jb crossing_user; int $0x80\n"
        "crossing_kernel2: mov $2, %r8d\n"
        "crossing_kernel: pushfq; pop 32(%rdi); mov %cs, %eax; mov %ss, %edx; shl $16, %eax; or %edx, %eax; mov %rax, 40(%rdi)\n"
        "lea crossing_back, %rdx; mov %rcx, %rax; sub %rdx, %rax; mov %rax, 48(%rdi); lea (%r11, %r8), %rax; mov %rax, 56(%rdi)\n"
        "mov crossing_change(, %rbp, 8), %rax; test %rax, %rax; jz 1f; push %rcx; push %r11; call *%rax; pop %r11; pop %rcx; 1: sysretq\n");

/* Through 32-bit code, which asks the kernel too. */
__asm__(".text\n.code32\n"
        "crossing_compat: ljmp $0x2b, $crossing_back\n"
        "crossing_compat2: syscall; jmp 1f\n"
        ".code64\n1: jmp crossing_back\n");

#define CHANGE(name, text) \
    extern const char change_##name[]; \
    __asm__(".text\nchange_" #name ": " text "; ret\n")
#define OR_CR(n, bits) "mov %cr" #n ", %rax; or $" #bits ", %eax; mov %rax, %cr" #n
#define MSR(n, low, high) "mov $" #n ", %ecx; mov $" #low ", %eax; mov $" #high ", %edx; wrmsr"
#define OR_R11(bits) "orl $" #bits ", 8(%rsp)"
#define BREAK(at) "lea " #at ", %rax; mov %rax, %dr0; mov $0x402, %eax; mov %rax, %dr7"
CHANGE(none, "nop");
CHANGE(ts, OR_CR(0, 8));
CHANGE(tsd, OR_CR(4, 4));
CHANGE(no_mask, MSR(0xc0000084, 0, 0));
CHANGE(part_mask, MSR(0xc0000084, 0x47300, 0));
CHANGE(star, MSR(0xc0000081, 0, 0x00400048));
CHANGE(entry, "lea crossing_kernel2, %rax; mov $0xc0000082, %ecx; xor %edx, %edx; wrmsr");
CHANGE(sce, "mov $0xc0000080, %ecx; rdmsr; and $~1, %eax; wrmsr");
CHANGE(space, "mov %cr3, %rax; mov %rax, %cr3");
CHANGE(global, "mov %cr4, %rax; xor $0x80, %eax; mov %rax, %cr4");
CHANGE(direction, OR_R11(0x400));
CHANGE(levels, OR_R11(0x7000));
CHANGE(step, OR_R11(0x100));
CHANGE(ac, OR_R11(0x40000));
CHANGE(am, OR_CR(0, 0x40000));
CHANGE(am_ac, OR_CR(0, 0x40000) "; " OR_R11(0x40000));
CHANGE(closed, "andl $~0x200, 8(%rsp)");
CHANGE(break_user, BREAK(crossing_break));
CHANGE(break_kernel, BREAK(crossing_kernel));
CHANGE(watch, "lea crossing_log + 320, %rax; mov %rax, %dr0; mov $0xd0402, %eax; mov %rax, %dr7");
CHANGE(unbreak, "mov $0x400, %eax; mov %rax, %dr7");
CHANGE(unts, "clts");
CHANGE(untsd, "mov %cr4, %rax; and $~4, %eax; mov %rax, %cr4");
CHANGE(page, "invlpg crossing_user; invlpg (%rsp)");
CHANGE(iret, "pop %rax; pop %r11; pop %rcx; mov %rsp, %rax; push $0x23; push %rax; push %r11; push $0x2b; push %rcx; iretq");
CHANGE(iret_closed, "pop %rax; pop %r11; pop %rcx; mov %rsp, %rax; push $0x23; push %rax; and $~0x200, %r11d; push %r11; push $0x2b; push %rcx; iretq");
CHANGE(compat, "lea crossing_compat, %rcx; pop %rax; pop %r11; pop %rax; sysretl");
CHANGE(compat2, "movq $0, crossing_change(, %rbp, 8); mov $0xc0000083, %ecx; lea crossing_kernel, %rax; xor %edx, %edx; wrmsr\n"
       "lea crossing_compat2, %rcx; pop %rax; pop %r11; pop %rax; sysretl");
CHANGE(canonical, "movabs $0x800000000000, %rax; mov %rax, 16(%rsp)");
CHANGE(ask, "mov $0x50, %al; out %al, $0xf5");

void run_user(void);

static void begin(void)
{
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
    wrmsr(0xc0000081, (u64)SEL_CODE << 32 | (u64)SEL_CODE32_3 << 48);
    wrmsr(0xc0000082, (u64)crossing_kernel);
    wrmsr(0xc0000084, 0x47fd5);
    for (unsigned i = 0; i < ROUNDS * VALUES; i++) crossing_log[i] = 0;
}

/* The changes are in crossing_change. kernel_flags: those of the kernel that are shown. */
static void cross_as_told(const char *name, u64 key, u64 kernel_flags)
{
    u64 cr0, cr4;
    __asm__ volatile("mov %%cr0, %0; mov %%cr4, %1" : "=r"(cr0), "=r"(cr4));
    begin();
    run_registers = (struct registers){ .rdi = (u64)crossing_log };
    run_rflags = 0x200;
    __asm__ volatile("push %%rbp; xor %%ebp, %%ebp; call run_user; pop %%rbp"
                     : : : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
    run_rflags = 0;
    __asm__ volatile("mov %0, %%cr0; mov %1, %%cr4; mov %2, %%dr7; mov %2, %%dr6" : : "r"(cr0), "r"(cr4), "r"(0x400ul));
    row_add(outcome());
    for (unsigned i = 0; i < ROUNDS * VALUES; i++)
        row_add(crossing_log[i] & (i % VALUES == 4 ? kernel_flags : ~0ul));
    row_end(name, key);
    for (unsigned i = 0; i < ROUNDS; i++) crossing_change[i] = 0;
}

static void cross(const char *name, const char *change, u64 kernel_flags)
{
    crossing_change[3] = (u64)change;
    cross_as_told(name, 0, kernel_flags);
}

/* As run(1, crossing_user), which leaves RBP alone. */
void run_user(void)
{
    run_frame[0] = (u64)crossing_user;
    run_frame[1] = SEL_CODE3 + 3;
    run_frame[2] = 2 | run_rflags;
    run_frame[3] = (u64)ring_stack[1] + sizeof(ring_stack[1]) - 256;
    run_frame[4] = SEL_DATA3 + 3;
    run_at();
}

/* Two changes, of which the second may undo the first. qemu has no #AC. */
static void cross_pairs(void)
{
    static const char *const change[] = {
        change_ts, change_unts, change_tsd, change_untsd, change_part_mask, change_star, change_entry, change_sce, change_space, change_global,
        change_direction, change_levels, change_step, change_ac, change_am, change_closed, change_break_user, change_break_kernel, change_watch,
        change_unbreak, change_page, change_iret, change_iret_closed, change_compat,
        change_compat2,
    };
    enum { CHANGES = sizeof(change) / sizeof(*change) };
    for (unsigned n = 0; n < CHANGES * CHANGES; n++) {
        const char *first = change[n / CHANGES], *second = change[n % CHANGES];
        if ((first == change_am && second == change_ac) || (first == change_ac && second == change_am)) continue;
        crossing_change[2] = (u64)first;
        crossing_change[4] = (u64)second;
        cross_as_told("cross-two", n, ~0x8d5ul);
    }
}

void test_crossings(void)
{
    static const struct { const char *name, *change; } how[] = {
        { "cross-none", change_none },           { "cross-ts", change_ts },           { "cross-tsd", change_tsd },
        { "cross-no-mask", change_no_mask },     { "cross-part-mask", change_part_mask }, { "cross-star", change_star },
        { "cross-entry", change_entry },         { "cross-sce", change_sce },         { "cross-space", change_space },
        { "cross-global", change_global },       { "cross-direction", change_direction }, { "cross-levels", change_levels },
        { "cross-step", change_step },           { "cross-ac", change_ac },           { "cross-am", change_am },
        { "cross-closed", change_closed },   { "cross-break-user", change_break_user },
        { "cross-break-kernel", change_break_kernel }, { "cross-watch", change_watch }, { "cross-iret", change_iret },
    };
    for (unsigned n = 0; n < sizeof(how) / sizeof(*how); n++)
        cross(how[n].name, how[n].change, ~0x8d5ul);   /* qemu's SYSCALL loses the arithmetic flags */
    cross_pairs();
    row_flush();
    print("golden crossings\n");                       /* an interrupt asked for while the kernel holds them off; #AC, which qemu has not; a SYSRET to nowhere */
    if (!is_qemu()) {
        cross("cross-am-ac", change_am_ac, ~0ul);
        cross("cross-no-mask", change_no_mask, ~0ul);
        cross("cross-part-mask", change_part_mask, ~0ul);
        crossing_change[0] = (u64)change_canonical;    /* SYSRET by the helper, then without */
        cross_as_told("cross-canonical", 0, ~0ul);
        cross("cross-canonical", change_canonical, ~0ul);
        gate_set(&idt[2 * IRQ], SEL_CODE, (u64)interrupt_handler, 0x8e, 0);
        taken_count = 0;
        cross("cross-ask", change_ask, ~0ul);
        row_add(taken_count);
        row_add(taken_at[0] == (u64)crossing_back);
        row_end("cross-taken", 0);
        row_flush();
    }
    print("golden end\n");
}
