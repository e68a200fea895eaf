/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flags that POPF and IRET may change, CLI and STI, by CPL and IOPL, CR4.PVI. */
#include "legacy.h"

extern char flags_popf[], flags_popf16[], flags_cli[], flags_sti[], flags_iret[];
__asm__(".text\n"
        "flags_popf: push %eax; popf; pushf; pop %ebx; int $0x80\n"
        "flags_popf16: push %ax; popfw; pushf; pop %ebx; int $0x80\n"
        "flags_cli: cli; pushf; pop %ebx; int $0x80\n"
        "flags_sti: sti; nop; pushf; pop %ebx; int $0x80\n"
        "flags_iret: push %eax; push %cs; push $1f; iret\n"
        "1: pushf; pop %ebx; int $0x80\n");

void test_flags(void)
{
    static const struct { const char *name; const char *code;
    } how[] = {
        { "popf", flags_popf }, { "popf16", flags_popf16 }, { "iret-flags", flags_iret },
        { "cli", flags_cli },   { "sti", flags_sti },
    };
    for (unsigned h = 0; h < sizeof(how) / sizeof(*how); h++)
        for (unsigned ring = 0; ring < 4; ring++)
            for (unsigned iopl = 0; iopl < 4; iopl++)
                for (unsigned start = 0; start < 2; start++) {
                    for (unsigned bit = 0; bit < 22; bit++) {
                        if (bit == 8 || bit == 16 || bit == 17 || bit >= 19) continue;
                        run_eflags = iopl << 12 | (start ? 0x244cd5 : 0);
                        run_registers.eax = 1u << bit;
                        run(ring, how[h].code);
                        row_add(outcome() ? outcome() : trap_record.ebx);
                        row_add(trap_record.eflags & ~(1u << 16)); /* RF: some do not set it for faults */
                        run_registers.eax = 0x247ed5 & ~(1u << bit);
                        run(ring, how[h].code);
                        row_add(outcome() ? outcome() : trap_record.ebx);
                        if (how[h].code == flags_cli || how[h].code == flags_sti) break;
                    }
                    row_end(how[h].name, ring << 8 | iopl << 4 | start);
                }
    run_eflags = 0;
    row_flush();
}
