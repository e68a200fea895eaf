/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Far JMP, CALL, RET, IRET and interrupts through every kind of code segment and gate, at every CPL. A transfer that
 * succeeds arrives at `arrive`, which ends the snippet; the row shows CS there, how far the stack moved and what was
 * pushed.
 */
#include "legacy.h"

extern char arrive[], do_jmp[], do_call[], do_call16[], do_retf[], do_retf_outer[], do_iret[],
    do_iret_outer[], do_int[], do_int3[];
u32 far_pointer[2];
__asm__(".text\n"
        "arrive: int $0x80\n"
        "do_jmp: ljmp *far_pointer\n"
        "do_call: push $0x11111111; push $0x22222222; lcall *far_pointer\n"
        "do_call16: push $0x11111111; push $0x22222222; lcallw *far_pointer\n"
        "do_retf: push %eax; push $arrive; lret $4\n"
        "do_retf_outer: push %ebx; push %edx; push $0x77777777; push %eax; push $arrive; lret $4\n"
        "do_iret: push %ecx; push %eax; push $arrive; iret\n"
        "do_iret_outer: push %ebx; push %edx; push %ecx; push %eax; push $arrive; iret\n"
        "do_int: int $0x60\n"
        "do_int3: int3\n");

static u32 pushed[8];

/* What lies on the stack at arrival when no privilege changes back: the trap frame of int $0x80 comes from an inner or
 * equal ring; the words above it are those that the transfer pushed. */
static void arrival(void)
{
    u32 result = outcome();
    row_add(result);
    if (result) return;
    row_add(trap_record.cs);
    const u32 *sp;
    if (trap_record.cs & 3) {
        sp = (const u32 *)trap_record.esp;
        row_add(trap_record.ss);
    } else {
        sp = (const u32 *)(trap_record.esp_unused + 20);       /* behind vector, error code, EIP, CS, EFLAGS */
    }
    for (unsigned i = 0; i < 6; i++) pushed[i] = sp[i];
    for (unsigned i = 0; i < 6; i++) {
        u32 x = pushed[i];
        row_add(x > 0x100000 && x < 0x200000 ? 0xadd : x);         /* addresses may differ between builds */
    }
    row_add(trap_record.ds << 16 | (trap_record.es & 0xffff));
}

static const struct { const char *name; const char *code; } direct[] = {
    { "jmp", do_jmp }, { "call", do_call }, { "call16", do_call16 }, { "retf", do_retf }, { "iret", do_iret },
};

static void prepare(void)
{
    run_registers.ecx = 2;
    run_registers.ebp = 0x1234;
    far_pointer[0] = (u32)arrive;
}

static void to_segments(void)
{
    for (unsigned how = 0; how < sizeof(direct) / sizeof(*direct); how++)
        for (unsigned ring = 0; ring < 4; ring++) {
            for (unsigned access = 0x10; access < 256; access++) {
                if ((access & 0x10) == 0) continue;
                for (unsigned rpl = 0; rpl < 4; rpl++) {
                    gdt[SEL_TARGET / 8] = descriptor(0, 0xfffff, access, 12);
                    prepare();
                    run_registers.eax = far_pointer[1] = SEL_TARGET | rpl;
                    run(ring, direct[how].code);
                    row_add(outcome());
                }
                row_end(direct[how].name, ring << 8 | access);
            }
            for (unsigned n = 0; n < 4; n++) {
                far_pointer[1] = run_registers.eax = n == 3 ? SEL_LAST + 8 : n;
                run(ring, direct[how].code);
                row_add(outcome());
            }
            row_end("outside", ring);
            row_flush();
        }
}

/* Outer returns: every ring to every other, with stacks of every kind. */
static void to_outer(void)
{
    static const u16 stacks[] = { 0,
                                  3,
                                  SEL_DATA0,
                                  SEL_DATA0 + 16 + 1,
                                  SEL_DATA0 + 32 + 2,
                                  SEL_DATA0 + 48 + 3,
                                  SEL_DATA0 + 48 + 2,
                                  SEL_CODE3 + 3,
                                  SEL_LAST + 8 + 3,
                                  SEL_TSS + 3 };
    static u8 stack[4096];
    for (unsigned iret = 0; iret < 2; iret++)
        for (unsigned ring = 0; ring < 4; ring++)
            for (unsigned to = ring; to < 4; to++) {
                for (unsigned i = 0; i < sizeof(stacks) / sizeof(*stacks); i++) {
                    prepare();
                    run_registers.eax = (SEL_CODE0 + 16 * to) | to;
                    run_registers.ebx = stacks[i];
                    run_registers.edx = (u32)stack + 2048;
                    run(ring, iret ? do_iret_outer : do_retf_outer);
                    row_add(outcome());
                    if (!outcome() && to) row_add(trap_record.esp - (u32)stack);
                    row_add(trap_record.ds);
                }
                row_end(iret ? "iret-outer" : "retf-outer", ring << 4 | to);
            }
    row_flush();
}

/* Call gates and task gates of all types to code of all privileges. */
static void through_gates(void)
{
    static const u8 targets[] = { 0x9a, 0xba, 0xda, 0xfa, 0x9e, 0xbe, 0xde, 0xfe, 0x1a, 0x92 };
    for (unsigned call = 0; call < 2; call++)
        for (unsigned ring = 0; ring < 4; ring++)
            for (unsigned type = 0; type < 16; type++) {
                if (type == 1 || type == 9 || type == 5) continue;          /* tasks have their own test */
                for (unsigned attr = 0; attr < 5; attr++)
                    for (unsigned t = 0; t < sizeof(targets); t++) {
                        u8 access = type | (attr == 4 ? 0x60 : 0x80 | attr << 5);
                        if (!call && targets[t] == 0x1a) continue;          /* #NP; some raise #GP */
                        gdt[SEL_TARGET / 8] = descriptor(0, 0xfffff, targets[t], 12);
                        gdt[SEL_GATE / 8] = gate(SEL_TARGET | (t & 3),
                                                 type & 8 ? (u32)arrive : (u16)(u32)arrive, access, 2);
                        prepare();
                        far_pointer[0] = 0xbad;
                        far_pointer[1] = SEL_GATE | (t & 1 ? ring : 0);
                        if (type == 4)
                            gdt[SEL_TARGET / 8] = descriptor((u32)arrive & 0xffff0000, 0xfffff, targets[t],
                                                             12);
                        run(ring, call ? do_call : do_jmp);
                        /* some emulators leave the RPL of a conforming CS as the gate has it */
                        if ((type == 12 || type == 4) && !(targets[t] & 4)) arrival();
                        else row_add(outcome());
                        row_end(call ? "call-gate" : "jmp-gate", ring << 16 | access << 8 | targets[t]);
                    }
            }
    row_flush();
}

/* Bad stacks in the TSS, parameters, a gate with a null selector. */
static void gate_stacks(void)
{
    static const u16 stacks[] = {
        0, 1, SEL_DATA0, SEL_DATA0 | 1, SEL_DATA0 + 16, SEL_CODE0, SEL_LAST + 8, SEL_TSS
    };
    for (unsigned n = 0; n < sizeof(stacks) / sizeof(*stacks); n++) {
        u32 old = tss_main.ss1;
        gdt[SEL_TARGET / 8] = descriptor(0, 0xfffff, 0xba, 12);
        gdt[SEL_GATE / 8] = gate(SEL_TARGET, (u32)arrive, 0xec, 2);
        prepare();
        far_pointer[1] = SEL_GATE;
        tss_main.ss1 = stacks[n];
        run(3, do_call);
        tss_main.ss1 = old;
        row_add(outcome());
    }
    row_end("gate-stacks", 0);
    for (unsigned count = 0; count < 32; count += 7) {
        gdt[SEL_GATE / 8] = gate(SEL_TARGET, (u32)arrive, 0xec, count);
        run(3, do_call);
        row_add(outcome());
        row_add(tss_main.esp1 - trap_record.esp);
    }
    gdt[SEL_GATE / 8] = gate(0, (u32)arrive, 0xec, 0);
    run(3, do_call);
    row_add(outcome());
    row_end("gate-counts", 0);
    row_flush();
}

static void interrupts(void)
{
    static const u8 targets[] = { 0x9a, 0xba, 0xda, 0xfa, 0x9e, 0xfe, 0x1a, 0x92 };
    static const struct { const char *name; const char *code; u8 vector; } how[] = {
        { "int", do_int, 0x60 }, { "int3", do_int3, 3 },
    };
    for (unsigned h = 0; h < 2; h++)
        for (unsigned ring = 0; ring < 4; ring++)
            for (unsigned type = 0; type < 32; type++) {
                if (type == 5) continue;
                for (unsigned attr = 0; attr < 5; attr++)
                    for (unsigned t = 0; t < sizeof(targets); t++) {
                        u64 old = idt[how[h].vector];
                        u8 access = type | (attr == 4 ? 0x60 : 0x80 | attr << 5);
                        gdt[SEL_TARGET / 8] = descriptor(
                            (type & 15) == 6 || (type & 15) == 7 ? (u32)arrive & 0xffff0000 : 0, 0xfffff,
                            targets[t], 12);
                        idt[how[h].vector] = gate(SEL_TARGET, type & 8 ? (u32)arrive : (u16)(u32)arrive,
                                                  access, 0);
                        prepare();
                        run_eflags = 0x4000;
                        run(ring, how[h].code);
                        run_eflags = 0;
                        idt[how[h].vector] = old;
                        if (type == 14 || type == 15 || type == 6) arrival();
                        else row_add(outcome());
                        row_add(trap_record.eflags & 0x4200);
                        row_end(how[h].name, ring << 16 | access << 8 | targets[t]);
                    }
            }
    row_flush();
}

void test_transfers(void)
{
    to_segments();
    to_outer();
    through_gates();
    gate_stacks();
    interrupts();
}
