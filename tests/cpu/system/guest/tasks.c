/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hardware task switches: JMP, CALL, INT and IRET between 32- and 16-bit TSSs, directly and through task gates, with
 * busy bits, links and the nested flag; task states that must not load.
 */
#include "legacy.h"

extern char task_end[], task_iret[], task_jmp[], task_call[], task_int[], task_back[], task_fault[];
extern u32 far_pointer[2];
__asm__(".text\n"
        "task_jmp: ljmp *far_pointer; int $0x80\n"
        "task_call: lcall *far_pointer; mov $0x600d, %ebx; int $0x80\n"
        "task_int: int $0x60; mov $0x600d, %ebx; int $0x80\n"
        "task_iret: add $1, %eax; iret; add $0x10, %eax; iret\n"
        "task_end: int $0x80\n"
        "task_fault: pop %eax; int $0x80\n"
        "task_back: add $2, %eax; ljmp $0x48, $0\n");

enum { BUSY = 2 };
extern char trap_0[];
static u8 stack[8192] __attribute__((aligned(16)));

static u32 busy(unsigned selector) { return (u32)(gdt[selector / 8] >> 40) & 0xff; }

static void fill32(struct tss32 *t, const void *code, unsigned ring)
{
    *t = (struct tss32){ .esp0 = (u32)stack + 2048,
                         .ss0 = SEL_DATA0,
                         .eip = (u32)code,
                         .eflags = 0x2,
                         .eax = 0xa0,
                         .ecx = 0xa1,
                         .edx = 0xa2,
                         .ebx = 0xa3,
                         .esp = (u32)stack + 4096,
                         .ebp = 0xa5,
                         .esi = 0xa6,
                         .edi = 0xa7,
                         .iomap = 0x68 };
    t->es = t->ds = t->fs = t->gs = SEL_DATA3 + 3;
    t->cs = (SEL_CODE0 + 16 * ring) | ring;
    t->ss = (SEL_DATA0 + 16 * ring) | ring;
}

static void fill16(const void *code)
{
    tss_16 = (struct tss16){ .sp0 = (u16)(u32)stack + 2048,
                             .ss0 = SEL_SCRATCH,
                             .ip = (u32)code,
                             .flags = 2,
                             .ax = 0xb0,
                             .cx = 0xb1,
                             .dx = 0xb2,
                             .bx = 0xb3,
                             .sp = (u16)(u32)(stack + 4096),
                             .bp = 0xb5,
                             .si = 0xb6,
                             .di = 0xb7,
                             .es = SEL_DATA0,
                             .cs = SEL_TARGET,
                             .ss = SEL_SCRATCH,
                             .ds = SEL_DATA0 };
    gdt[SEL_TARGET / 8] = descriptor((u32)code & 0xffff0000, 0xfffff, 0x9b, 12);
    gdt[SEL_SCRATCH / 8] = descriptor((u32)stack & 0xffff0000, 0xffff, 0x93, 0);
}

static void prepare(void)
{
    gdt[SEL_TSS / 8] = descriptor((u32)&tss_main, sizeof(tss_main) - 1, 0x89, 0);
    gdt[SEL_TSS_B / 8] = descriptor((u32)&tss_b, sizeof(tss_b) - 1, 0xe9, 0);
    gdt[SEL_TSS_16 / 8] = descriptor((u32)&tss_16, sizeof(tss_16) - 1, 0xe1, 0);
    gdt[SEL_GATE / 8] = gate(SEL_TSS_B, 0, 0xe5, 0);
    __asm__ volatile("ltr %0" : : "r"((u16)SEL_TSS));
}

static void show(const char *name, unsigned key)
{
    u16 tr;
    u32 cr0;
    __asm__ volatile("str %0; mov %%cr0, %1" : "=r"(tr), "=r"(cr0));
    __asm__ volatile("clts");
    row_add(outcome());
    row_add(tr);
    row_add(busy(SEL_TSS));
    row_add(busy(SEL_TSS_B));
    row_add(busy(SEL_TSS_16));
    row_add(trap_record.cs);
    row_add(trap_record.eflags & 0x4000);
    row_add(trap_record.eax);
    row_add(trap_record.ebx);
    row_add(trap_record.edi);
    row_add(trap_record.ds);
    row_add(tss_b.link);
    row_add(tss_b.eax);
    row_add(tss_b.eflags & 0x4000);
    row_add(tss_16.link);
    row_add(tss_main.eax);
    row_add(tss_main.eflags & 0x4000);
    row_add(tss_main.cs);
    row_add(cr0 & 8);
    row_end(name, key);
    prepare();
}

static void set_registers(unsigned selector)
{
    run_registers = (struct registers){
        .edi = 0x77, .esi = 0x66, .ebp = 0x55, .ebx = 0x33, .edx = 0x22, .ecx = 0x11, .eax = 0x99
    };
    far_pointer[0] = 0;
    far_pointer[1] = selector;
}

static void switches(void)
{
    static const struct { const char *name; const char *code; unsigned selector; } how[] = {
        { "jmp", task_jmp, SEL_TSS_B }, { "call", task_call, SEL_TSS_B }, { "jmp-gate", task_jmp, SEL_GATE },
        { "call-gate", task_call, SEL_GATE }, { "int", task_int, 0 }, { "jmp16", task_jmp, SEL_TSS_16 },
        { "call16", task_call, SEL_TSS_16 },
    };
    for (unsigned h = 0; h < sizeof(how) / sizeof(*how); h++)
        for (unsigned ring = 0; ring < 4; ring += 3)
            for (unsigned ends = 0; ends < 2; ends++) {
                int is16;
                const void *code = ends ? task_iret : task_end;
                is16 = how[h].selector == SEL_TSS_16;
                if (is16 ? !ends : ends && how[h].code == task_jmp) continue; /* traps want a 32-bit stack */
                if (is16 && how[h].code == task_jmp) code = task_back;
                prepare();
                fill32(&tss_b, code, ends ? 0 : ring);
                fill16(code);
                idt[0x60] = gate(SEL_TSS_B, 0, 0xe5, 0);
                set_registers(how[h].selector | ring);
                run(ring, how[h].code);
                show(how[h].name, ring << 4 | ends);
            }
    row_flush();
}

static void bad_targets(void)
{
    for (unsigned access = 0; access < 256; access++) {
        if ((access & 16) ||
            ((access & 15) != 1 && (access & 15) != 9 && (access & 15) != 3 && (access & 15) != 11))
            continue;
        for (unsigned ring = 0; ring < 4; ring += 3) {
            prepare();
            fill32(&tss_b, task_end, ring);
            gdt[SEL_TSS_B / 8] = descriptor((u32)&tss_b, sizeof(tss_b) - 1, access, 0);
            if (!(access & 8)) gdt[SEL_TSS_B / 8] = descriptor((u32)&tss_b, 0x20, access, 0);
            set_registers(SEL_TSS_B | ring);
            run(ring, task_call);
            row_add(outcome());
            set_registers(SEL_GATE | ring);
            run(ring, task_call);
            row_add(outcome());
        }
        row_end("tss", access);
    }
    row_flush();
    prepare();
    fill32(&tss_b, task_end, 0);
    gdt[SEL_TSS_B / 8] = descriptor((u32)&tss_b, 0x66, 0x89, 0);
    set_registers(SEL_TSS_B);
    run(0, task_call);
    show("short", 0);
}

/* Selectors that the new task cannot load; the fault belongs to it. A double fault is not meant here. */
static void bad_states(void)
{
    static const u16 selectors[] = {
        0, SEL_CODE0, SEL_DATA0, SEL_CODE3 + 3, SEL_DATA3 + 3, SEL_TSS, SEL_LAST + 8, SEL_TEST, 4
    };
    for (unsigned which = 0; which < 4; which++)
        for (unsigned i = 0; i < sizeof(selectors) / sizeof(*selectors); i++) {
            prepare();
            fill32(&tss_b, task_end, 0);
            gdt[SEL_TEST / 8] = descriptor(0, 0xfffff, which == 1 ? 0x1b : 0x13, 12);
            if (which == 0) tss_b.ds = selectors[i];
            if (which == 1) tss_b.cs = selectors[i];
            if (which == 2) tss_b.ss = selectors[i];
            if (which == 3) tss_b.ldt = selectors[i];
            if (which == 1 && (selectors[i] & 3)) tss_b.ss = SEL_DATA3 + 3;
            /* SS is not loaded yet when these faults come: their handler is a task of its own. */
            fill32(&tss_df, task_fault, 0);
            gdt[SEL_TSS_DF / 8] = descriptor((u32)&tss_df, sizeof(tss_df) - 1, 0x89, 0);
            for (unsigned n = 10; which && n < 14; n++) idt[n] = gate(SEL_TSS_DF, 0, 0x85, 0);
            set_registers(SEL_TSS_B);
            run(0, task_call);
            for (unsigned n = 10; n < 14; n++) idt[n] = gate(SEL_CODE0, (u32)trap_0 + 16 * n, 0x8e, 0);
            row_add(tss_df.link);
            row_add(tss_b.esp - (u32)stack);
            show("state", which << 4 | i);
        }
    row_flush();
}

void test_tasks(void)
{
    switches();
    bad_targets();
    bad_states();
    prepare();
}
