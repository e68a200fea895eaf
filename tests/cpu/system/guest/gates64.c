/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control transfers of long mode: far JMP, CALL and RET between 64-bit and compatibility code, 64-bit call gates, IRET with
 * every pair of selectors, interrupt gates with stack tables, addresses that are not canonical.
 */
#include "long.h"

u64 far_pointer[2];
SNIPPET(arrive, "nop");
SNIPPET32(arrive32, "nop");
SNIPPET(do_jmp, "ljmp *far_pointer");
SNIPPET(do_call, "push $0x1111; push $0x2222; lcall *far_pointer");
SNIPPET(do_retf, "push %rax; push %rdi; lretq $8");
SNIPPET(do_retf32, "mov %edi, %edi; sub $8, %rsp; mov %edi, (%rsp); mov %eax, 4(%rsp); lretl");
SNIPPET(do_retf_outer, "push %rbx; push %rdx; push %rax; push %rdi; lretq");
SNIPPET(do_iret, "push %rbx; push %rdx; push %rcx; push %rax; push %rdi; iretq");
SNIPPET(
    do_iretd,
    "sub $20, %rsp; mov %edi, (%rsp); mov %eax, 4(%rsp); mov %ecx, 8(%rsp); mov %edx, 12(%rsp); mov %ebx, 16(%rsp); iretl");
SNIPPET32(do_iret32, "push %ebx; push %edx; push %ecx; push %eax; push %edi; iret");
SNIPPET32(do_jmp32, "ljmp *%cs:far_pointer");
SNIPPET32(do_call32, "push $0x1111; push $0x2222; lcall *%cs:far_pointer");
SNIPPET(do_int, "int $0x60");
SNIPPET32(do_int32, "int $0x60");
SNIPPET(do_int3, "int3");
SNIPPET(do_ud, "ud2");

static void arrival(void)
{
    u64 o = outcome();
    /* Where qemu errs: the index of IDT errors (vector * 16 in old ones), the EXT bit (never set). */
    row_add(o & 2 ? o & ~0xfff9ul : o & ~1ul);
    if (o) return;
    row_add(trap_record.cs);
    row_add(trap_record.ss);
    row_add(trap_record.handler_ss);
    const u64 *sp = (const u64 *)trap_record.rsp;
    for (unsigned i = 0; i < 5; i++)
        row_add_address(sp[i] & ~0x10000ul ? sp[i] - (sp[i] < 0x80000 ? sp[i] & 0x10000 : 0) : 0); /* RF */
}

static void set(u64 offset, u16 selector)
{
    far_pointer[0] = (u32)offset | (u64)selector << 32;
    run_registers.rdi = offset;
    run_registers.rax = selector;
    run_registers.rbx = SEL_DATA3 + 3;
    run_registers.rcx = 2;
    run_registers.rdx = (u64)ring_stack[2] + 4096;
}

static void to_segments(void)
{
    static const struct { const char *name, *code; u8 modes;
    } how[] = {
        { "jmp", do_jmp, 3 },       { "call", do_call, 3 },    { "retf", do_retf, 3 },
        { "retf32", do_retf32, 3 }, { "jmp32", do_jmp32, 12 }, { "call32", do_call32, 12 },
        { "iret", do_iret, 3 },     { "iretd", do_iretd, 3 },  { "iret32", do_iret32, 12 },
    };
    for (unsigned h = 0; h < sizeof(how) / sizeof(*how); h++)
        for (unsigned mode = 0; mode < 4; mode++) {
            if (!(how[h].modes >> mode & 1)) continue;
            for (unsigned access = 0x10; access < 256; access++) {
                if (!(access & 0x10)) continue;
                for (unsigned size = 1; size < 3; size++)            /* L and D both: qemu takes it as L */
                    for (unsigned rpl = 0; rpl < 4; rpl += 3) {
                        gdt[SEL_TARGET / 8] = descriptor(0, 0xfffff, access, size << 1 | 8);
                        set((u64)(size == 1 ? arrive : arrive32), SEL_TARGET | rpl);
                        run_registers.rbx = rpl ? SEL_DATA3 + 3 : SEL_DATA;
                        run(mode, how[h].code);
                        row_add(outcome());
                    }
                row_end(how[h].name, mode << 8 | access);
            }
            row_flush();
        }
}

static void stacks(void)
{
    static const u16 selectors[] = {
        0,           3,           SEL_DATA, SEL_DATA3 + 3, SEL_DATA3 + 2, SEL_CODE3 + 3, SEL_LAST + 8 + 3,
        SEL_TSS + 3, SEL_TEST + 3
    };
    static const u16 targets[] = { SEL_CODE, SEL_CODE3 + 3, SEL_CODE32, SEL_CODE32_3 + 3 };
    for (unsigned how = 0; how < 2; how++)
        for (unsigned mode = 0; mode < 2; mode++)
            for (unsigned t = 0; t < 4; t++) {
                for (unsigned i = 0; i < sizeof(selectors) / sizeof(*selectors); i++) {
                    if (selectors[i] < 4 && (t >= 2 || (selectors[i] & 3) != (targets[t] & 3))) continue;
                    gdt[SEL_TEST / 8] = descriptor(0, 0xffff, 0xf3, 0);
                    set((u64)(t < 2 ? arrive : arrive32), targets[t]);
                    run_registers.rbx = selectors[i];
                    run_registers.rdx = (targets[t] & 3 ? 0x7fff00000000 : 0) + (u64)ring_stack[2] + 4096;
                    run(mode, how ? do_iret : do_retf_outer);
                    row_add(outcome());
                    row_add(trap_record.ss);
                    row_add(outcome() ? 0 : trap_record.rsp - (u64)ring_stack);
                    row_add(trap_record.ds);
                }
                row_end(how ? "iret-ss" : "retf-ss", mode << 4 | t);
            }
    row_flush();
}

static void canonical(void)
{
    static const u64 addresses[] = { 0x800000000000, 0xffff7fffffffffff, 0x7fffffffffff, 0xffff800000000000 };
    for (unsigned i = 0; i < 4; i++) {
        set(addresses[i], SEL_CODE);
        run_registers.rbx = SEL_DATA;
        run(0, do_iret);
        row_add(outcome());
        row_add(trap_record.cs);
        run(0, do_retf_outer);
        row_add(outcome());
        row_add(trap_record.cs);
        row_end("canonical", i);
    }
    row_flush();
}

static void call_gates(void)
{
    static const u8 targets[] = { 0x9a, 0xfa, 0x9e, 0x1a, 0x92 };
    for (unsigned call = 0; call < 2; call++)
        for (unsigned mode = 0; mode < 3; mode++)
            for (unsigned type = 0; type < 16; type++)
                for (unsigned attr = 0; attr < 3; attr++)
                    for (unsigned t = 0; t < sizeof(targets); t++)
                        for (unsigned size = 1; size < 4; size++) {
                            u8 access = type | (attr == 0 ? 0x80 : attr == 1 ? 0xe0 : 0x60);
                            if (type < 8 && type != 2) continue;
                            if (targets[t] == 0x1a && !call) continue;
                            gdt[SEL_TARGET / 8] = descriptor(0, 0xfffff, targets[t], size << 1 | 8);
                            gate_set(&gdt[SEL_GATE / 8], SEL_TARGET, (u64)arrive, access, 0);
                            set(0xbad, SEL_GATE | (mode ? 3 : 0));
                            run(mode, mode == 2 ? (call ? do_call32 : do_jmp32) : call ? do_call : do_jmp);
                            if (targets[t] == 0x9e) row_add(outcome());
                            else arrival();
                            row_end(call ? "call-gate" : "jmp-gate",
                                    mode << 20 | size << 16 | access << 8 | targets[t]);
                        }
    row_flush();
    gate_set(&gdt[SEL_GATE / 8], SEL_CODE, (u64)arrive, 0xec, 0);
    for (unsigned i = 0; i < 4; i++) {
        gdt[SEL_GATE / 8 + 1] = i == 0 ? 0 : i == 1 ? 0x1f0000000000 : i == 2 ? 0x8000 : 0xffff7fff;
        set(0xbad, SEL_GATE);
        run(0, do_call);
        row_add(outcome());
    }
    row_end("gate-high", 0);
    row_flush();
}

static void interrupts(void)
{
    static const u8 targets[] = { 0x9a, 0xfa, 0x9e, 0x1a, 0x92 };
    for (unsigned how = 0; how < 3; how++)
        for (unsigned mode = 0; mode < 3; mode++)
            for (unsigned type = 0; type < 32; type++)
                for (unsigned attr = 0; attr < 3; attr++)
                    for (unsigned t = 0; t < sizeof(targets); t++) {
                        const char *code = how == 0   ? (mode == 2 ? do_int32 : do_int)
                                           : how == 1 ? do_int3
                                                      : do_ud;
                        unsigned vector = how == 0 ? 0x60 : how == 1 ? 3 : 6;
                        u64 old[2] = { idt[2 * vector], idt[2 * vector + 1] };
                        u8 access = type | (attr == 0 ? 0x80 : attr == 1 ? 0xe0 : 0x60);
                        gdt[SEL_TARGET / 8] = descriptor(0, 0xfffff, targets[t], 10);
                        gate_set(&idt[2 * vector], SEL_TARGET, (u64)arrive, access,
                                 attr == 1 && mode && targets[t] == 0x9a ? type & 7 : 0);
                        set(0, 0);
                        run_rflags = 0x40200;
                        run(mode, code);
                        run_rflags = 0;
                        idt[2 * vector] = old[0];
                        idt[2 * vector + 1] = old[1];
                        if (targets[t] == 0x9e) row_add(outcome() >> 16);
                        else arrival();
                        if (targets[t] == 0x9a && !outcome()) row_add(trap_record.rsp - (u64)ring_stack);
                        row_add(trap_record.rflags & 0x40200);
                        row_end(how == 0   ? "int"
                                : how == 1 ? "int3"
                                           : "ud2",
                                mode << 16 | access << 8 | targets[t]);
                    }
    row_flush();
}

void test_gates(void)
{
    to_segments();
    stacks();
    canonical();
    call_gates();
    interrupts();
}
