/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS, RDFSBASE and kin: registers, selectors, flags and who may use them. */
#include "long.h"

SNIPPET(do_syscall, "syscall");
SNIPPET32(do_syscall32, "syscall");
SNIPPET(do_sysret64, "sysretq");
SNIPPET(do_sysret32, "sysretl");
SNIPPET(do_sysexit64, "sysexitq");
SNIPPET(do_sysexit32, "sysexitl");
SNIPPET32(do_sysexit_compat, "sysexit");
SNIPPET32(do_sysret_compat, "sysret");
SNIPPET32(do_sysenter32, "sysenter");
SNIPPET(do_swapgs, "swapgs");
SNIPPET32(do_swapgs32, ".byte 0x0f, 0x01, 0xf8");
SNIPPET(do_rdfs, "mov $-1, %rdx; rdfsbase %rdx");
SNIPPET(do_rdfs32, "mov $-1, %rdx; rdfsbase %edx");
SNIPPET(do_wrfs, "wrfsbase %rax; rdfsbase %rdx");
SNIPPET(do_wrfs32, "wrfsbase %eax; rdfsbase %rdx");
SNIPPET(do_wrgs, "wrgsbase %rax; rdgsbase %rdx");
SNIPPET(landing, "mov %cs, %r8d");
SNIPPET32(landing32, "nop");

static void show(const char *name, u64 key)
{
    row_add(outcome());
    row_add(trap_record.cs);
    row_add(trap_record.ss);
    /* qemu's SYSCALL loses the arithmetic flags */
    row_add(trap_record.rflags & (name[3] == 'c' ? ~0x10cd5ul : ~0x10000ul));
    row_add_address(trap_record.rcx);
    row_add(trap_record.r11);
    row_add_address(trap_record.rip);
    row_end(name, key);
}

static void syscalls(void)
{
    static const u64 masks[] = { 0, 0x47700, 0xffffffff, 0x200 };
    for (unsigned sce = 0; sce < 2; sce++) {
        wrmsr(0xc0000080, (rdmsr(0xc0000080) & ~1ul) | sce);
        for (unsigned m = 0; m < 4; m++)
            for (unsigned mode = 0; mode < 3; mode++) {
                wrmsr(0xc0000081, (u64)SEL_CODE << 32 | (u64)SEL_CODE32_3 << 48);
                wrmsr(0xc0000082, (u64)landing);
                wrmsr(0xc0000083, (u64)landing);
                wrmsr(0xc0000084, masks[m]);
                run_registers = (struct registers){ .rcx = 0x77, .r11 = 0x88, .rdx = 0x99 };
                run_rflags = 0x40e95;
                run(mode, mode == 2 ? do_syscall32 : do_syscall);
                show("syscall", sce << 8 | m << 4 | mode);
            }
        for (unsigned mode = 0; mode < 2; mode++)
            for (unsigned wide = 0; wide < 2; wide++)
                for (unsigned flags = 0; flags < 3; flags++) {
                    run_rflags = 0;
                    run_registers = (struct registers){ .rcx = (u64)(wide ? landing : landing32),
                                                        .r11 = flags == 0   ? 2
                                                               : flags == 1 ? 0x244ed7
                                                                            : 0x13002 };
                    run(mode, wide ? do_sysret64 : do_sysret32);
                    show("sysret", sce << 8 | mode << 4 | wide << 2 | flags);
                }
    }
    run(3, do_sysret_compat);
    show("sysret32", 0);
    row_flush();
}

static void sysenters(void)
{
    static const u64 cs[] = { 0, 3, SEL_CODE, SEL_CODE | 3 };
    wrmsr(0x175, (u64)ring_stack[0] + 2048);
    wrmsr(0x176, (u64)landing);
    for (unsigned i = 0; i < 4; i++) {
        wrmsr(0x174, cs[i]);
        run_rflags = 0x40e95;
        run_registers = (struct registers){ .rcx = (u64)ring_stack[2] + 1024, .rdx = (u64)landing };
        run(2, do_sysenter32);
        show("sysenter", i);
        run_rflags = 0;
        wrmsr(0x174, i < 2 ? cs[i] : 8 | cs[i]);       /* + 16: SEL_CODE32_3 */
        for (unsigned mode = 0; mode < 2; mode++) {
            run_registers.rdx = (u64)landing32;
            run(mode, do_sysexit32);
            show("sysexit32", i << 4 | mode);
            wrmsr(0x174, i < 2 ? cs[i] : 8);           /* + 32: SEL_CODE3 */
            run_registers.rdx = (u64)landing;
            run(mode, do_sysexit64);
            show("sysexit64", i << 4 | mode);
        }
        run_registers.rdx = (u64)landing32;
        run(3, do_sysexit_compat);
        show("sysexit-compat", i);
    }
    row_flush();
}

static void bases(void)
{
    static const u64 values[] = { 0x123456789, 0x7fffffffffff, 0xffff800000000000 };
    static const struct { const char *name, *code;
    } how[] = {
        { "swapgs", do_swapgs }, { "rdfsbase", do_rdfs },     { "rdfsbase32", do_rdfs32 },
        { "wrfsbase", do_wrfs }, { "wrfsbase32", do_wrfs32 }, { "wrgsbase", do_wrgs },
    };
    for (unsigned fsgsbase = 0; fsgsbase < 2; fsgsbase++) {
        u64 cr4;
        __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
        cr4 = fsgsbase ? cr4 | 0x10000 : cr4 & ~0x10000ul;
        __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
        for (unsigned h = 0; h < sizeof(how) / sizeof(*how); h++)
            for (unsigned mode = 0; mode < 2; mode++) {
                for (unsigned i = 0; i < sizeof(values) / sizeof(*values); i++) {
                    wrmsr(0xc0000100, 0xaaaaaaaaaa);
                    wrmsr(0xc0000101, 0xbbbbbbbbbb);
                    wrmsr(0xc0000102, 0xcccccccccc);
                    run_registers = (struct registers){ .rax = values[i] };
                    run(mode, how[h].code);
                    row_add(outcome());
                    row_add(trap_record.rdx);
                    row_add(rdmsr(0xc0000100));
                    row_add(rdmsr(0xc0000101));
                    row_add(rdmsr(0xc0000102));
                }
                row_end(how[h].name, fsgsbase << 8 | mode);
            }
    }
    run(2, do_swapgs32);
    row_add(outcome());
    row_end("swapgs32", 0);
    row_flush();
}

/* qemu's TCG takes any base. */
static void bad_bases(void)
{
    static const u64 values[] = { 0x800000000000, 0xffff7fffffffffff };
    for (unsigned i = 0; i < 2; i++) {
        run_registers = (struct registers){ .rax = values[i] };
        run(1, do_wrfs);
        row_add(outcome());
        run(1, do_wrgs);
        row_add(outcome());
        row_end("bases", i);
    }
    row_flush();
}

void test_syscalls(void)
{
    syscalls();
    print("golden sysenter\n");                        /* #UD in long mode on AMD's processors, so in qemu */
    sysenters();
    print("golden end\n");
    bases();
    print("golden bases\n");
    bad_bases();
    print("golden end\n");
}
