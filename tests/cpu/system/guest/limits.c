/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Segment limits, which qemu's TCG does not look at: data (expand-up and expand-down), stack, code; far transfers beyond a
 * limit; writes through read-only and code segments; null selectors. Its transcript is golden/limits.txt.
 */
#include "legacy.h"

extern char use1[], use2[], use4[], put4[], pop_ss[], push_ss[], limit_jmp[], limit_call[], limit_retf[],
    limit_arrive[], run_out[], string[];
extern u32 far_pointer[2];
__asm__(".text\n"
        "use1: mov %eax, %fs; movb %fs:(%ebx), %dl; int $0x80\n"
        "use2: mov %eax, %fs; movw %fs:(%ebx), %dx; int $0x80\n"
        "use4: mov %eax, %fs; movl %fs:(%ebx), %edx; int $0x80\n"
        "put4: mov %eax, %fs; movl %edx, %fs:(%ebx); int $0x80\n"
        "string: push %ds; mov %eax, %ds; mov %ebx, %esi; mov $4, %ecx; rep lodsb; pop %ds; int $0x80\n"
        "push_ss: mov %esp, %ebp; mov %ss, %ecx; mov %eax, %ss; mov %ebx, %esp; push %edx; mov %ecx, %ss; mov %ebp, %esp; int $0x80\n"
        "limit_jmp: ljmp *%cs:far_pointer\n"
        "limit_call: lcall *%cs:far_pointer\n"
        "limit_retf: pushl far_pointer + 4; pushl far_pointer; lret\n"
        "limit_arrive: int $0x80\n"
        "run_out: nop; nop; nop; nop; nop; nop; nop; nop; int $0x80\n");

static void data(void)
{
    static const struct { const char *name; u32 limit; u8 access, flags;
    } kinds[] = {
        { "up", 0xfff, 0xf3, 4 },        { "up-pages", 1, 0xf3, 12 },  { "all", 0xfffff, 0xf3, 12 },
        { "down", 0xfff, 0xf7, 4 },      { "down16", 0xfff, 0xf7, 0 }, { "down-pages", 1, 0xf7, 12 },
        { "read-only", 0xfff, 0xf1, 4 }, { "code", 0xfff, 0xfb, 4 },   { "code-xo", 0xfff, 0xf9, 4 },
    };
    static const u32 offsets[] = { 0,         0xffc,      0xffd,      0xfff,     0x1000, 0x1ffc,
                                   0x1fff,    0x2000,     0xfffc,     0xfffd,    0xffff, 0x10000,
                                   0x7fffff0, 0xfffffffc, 0xfffffffe, 0xffffffff };
    static const char *const how[] = { use1, use2, use4, put4, string };
    for (unsigned k = 0; k < sizeof(kinds) / sizeof(*kinds); k++)
        for (unsigned o = 0; o < sizeof(offsets) / sizeof(*offsets); o++) {
            for (unsigned h = 0; h < sizeof(how) / sizeof(*how); h++) {
                /* a base that keeps the accesses within low memory */
                gdt[SEL_TEST / 8] = descriptor(0x9000 - (offsets[o] & ~0xfff), kinds[k].limit,
                                               kinds[k].access, kinds[k].flags);
                run_registers.eax = SEL_TEST | 3;
                run_registers.ebx = offsets[o];
                run(3, how[h]);
                row_add(outcome());
            }
            row_end(kinds[k].name, offsets[o]);
        }
    row_flush();
    run_registers.eax = 0;
    run(3, use1);
    row_add(outcome());
    run(0, put4);
    row_add(outcome());
    row_end("null", 0);
}

static void stack(void)
{
    static const u32 offsets[] = { 0x1000, 0x1001, 0x1003, 0x1004, 0x1005, 4, 3, 0, 0x2004, 0x2000, 0x10000 };
    for (unsigned down = 0; down < 2; down++)
        for (unsigned big = 0; big < 2; big++) {
            for (unsigned o = 0; o < sizeof(offsets) / sizeof(*offsets); o++) {
                gdt[SEL_TEST / 8] = descriptor(0x9000, 0xfff, down ? 0xf7 : 0xf3, big ? 4 : 0);
                run_registers.eax = SEL_TEST | 3;
                run_registers.ebx = offsets[o];
                run(3, push_ss);
                row_add(outcome());
            }
            row_end("stack", down << 4 | big);
        }
    row_flush();
}

static void code(void)
{
    static const char *const how[] = { limit_jmp, limit_call, limit_retf };
    u32 at = (u32)limit_arrive & 0xffff, base = (u32)limit_arrive & ~0xffffu, out = (u32)run_out - base;
    for (unsigned h = 0; h < 3; h++) {
        for (int beyond = -2; beyond < 3; beyond++) {
            gdt[SEL_TARGET / 8] = descriptor(base, at + beyond, 0xfb, 4);
            far_pointer[0] = at;
            far_pointer[1] = SEL_TARGET | 3;
            run(3, how[h]);
            row_add(outcome());
            row_add(trap_record.cs);
        }
        row_end("code", h);
    }
    for (unsigned n = 0; n < 10; n++) {
        gdt[SEL_TARGET / 8] = descriptor(base, out + n, 0xfb, 4);
        far_pointer[0] = out;
        far_pointer[1] = SEL_TARGET | 3;
        run(3, limit_jmp);
        row_add(outcome());
        row_add(trap_record.eip - out < 64 ? trap_record.eip - out : 0xadd);
        row_end("run-out", n);
    }
    row_flush();
}

void test_limits(void)
{
    print("golden limits\n");
    data();
    stack();
    code();
    print("golden end\n");
}
