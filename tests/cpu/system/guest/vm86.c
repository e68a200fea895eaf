/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual-8086 mode: sensitive instructions with IOPL 0 and 3, interrupts to protected mode and through the redirection
 * bitmap (CR4.VME), the frame that a trap leaves, IRET there and back.
 */
#include "legacy.h"

enum { CODE_AT = 0x8000, STACK_AT = 0x9000, EFLAGS_VM = 1 << 17 };

/* 16-bit snippets; each ends with int $0x80, which in VM86 is a trap to protected mode or #GP with IOPL below 3. */
#define SNIPPET16(name, text) \
    extern const char name[], name##_end[]; \
    __asm__(".text\n.code16\n" #name ":\n" text "\nhlt\n" #name "_end:\n.code32\n")

SNIPPET16(vm_cli, "cli");
SNIPPET16(vm_sti, "sti; nop");
SNIPPET16(vm_pushf, "pushf; pop %ax");
SNIPPET16(vm_pushfl, "pushfl; pop %eax");
SNIPPET16(vm_popf, "push %dx; popf; pushf; pop %ax");
SNIPPET16(vm_iret, "push %dx; push $0x800; push $1f - vm_iret; iret; 1: pushf; pop %ax");
SNIPPET16(vm_int, "int $0x21");
SNIPPET16(vm_int3, "int3");
SNIPPET16(vm_into, "movb $0x7f, %al; incb %al; into");
SNIPPET16(
    vm_far,
    "ljmp $0x7fe, $1f - vm_far + 0x20; nop; 1: mov %cs, %ax; lcall $0x7ff, $2f - vm_far + 0x10; 2: pop %bx; pop %cx");
SNIPPET16(vm_retf, "push $0x7fd; push $1f - vm_retf + 0x30; lret $2; 1: mov %cs, %ax");
SNIPPET16(vm_segments,
          "mov $0x1234, %ax; mov %ax, %ds; mov %ax, %fs; push %dx; pop %es; mov %es, %bx; lds (0), %si");
SNIPPET16(vm_sldt, "sldt %ax");
SNIPPET16(vm_lar, "lar %dx, %ax");
SNIPPET16(vm_arpl, ".byte 0x63, 0xd0");
SNIPPET16(vm_smsw, "smsw %ax; and $1, %ax");
SNIPPET16(vm_sgdt, "sgdtl (0x100)");
SNIPPET16(vm_lgdt, "lgdtl (0x100)");
SNIPPET16(vm_clts, "clts");
SNIPPET16(vm_movcr, "mov %cr0, %eax");
SNIPPET16(vm_hlt, "hlt");
SNIPPET16(vm_rdmsr, "mov $0x10, %ecx; rdmsr");
SNIPPET16(vm_in, "in $0x70, %al; mov $0x1234, %ax");
SNIPPET16(vm_out, "mov $0x80, %dx; out %al, %dx");
SNIPPET16(vm_syscall, "syscall");

static const struct { const char *name, *code, *end;
} snippets[] = {
#define S(name) { #name, name, name##_end }
    S(vm_cli),   S(vm_sti),  S(vm_pushf), S(vm_pushfl),  S(vm_popf),     S(vm_iret),  S(vm_int),
    S(vm_int3),  S(vm_into), S(vm_far),   S(vm_retf),    S(vm_segments), S(vm_sldt),  S(vm_lar),
    S(vm_arpl),  S(vm_smsw), S(vm_sgdt),  S(vm_lgdt),    S(vm_clts),     S(vm_movcr), S(vm_hlt),
    S(vm_rdmsr), S(vm_in),   S(vm_out),   S(vm_syscall),
};

static void run_vm(unsigned n, u32 eflags)
{
    u8 *to = (u8 *)CODE_AT;
    for (const char *p = snippets[n].code; p < snippets[n].end; p++) *to++ = *p;
    run_frame[0] = 0;
    run_frame[1] = CODE_AT >> 4;
    run_frame[2] = 2 | EFLAGS_VM | eflags;
    run_frame[3] = 0x800;
    run_frame[4] = STACK_AT >> 4;
    run_frame[5] = 0x900;
    run_frame[6] = 0x880;
    run_frame[7] = 0x1111;
    run_frame[8] = 0x2222;
    run_frame_words = 9;
    run_segments[0] = run_segments[1] = SEL_DATA3 + 3;
    run_at();
}

static void show(unsigned n, unsigned key)
{
    row_add(outcome());
    row_add(trap_record.eip);
    row_add(trap_record.cs);
    row_add(trap_record.eflags & ~(1u << 16));
    row_add(trap_record.esp);
    row_add(trap_record.ss);
    row_add(trap_record.vm_es << 16 | trap_record.vm_ds);
    row_add(trap_record.vm_fs << 16 | trap_record.vm_gs);
    row_add(trap_record.eax);
    row_add(trap_record.ebx);
    row_add(trap_record.ecx);
    row_add(trap_record.ds | trap_record.gs);
    row_end(snippets[n].name, key);
}

static void set_cr4(u32 value) { __asm__ volatile("mov %0, %%cr4" : : "r"(value)); }

void test_vm86(void)
{
    *(u32 *)(0x21 * 4) = 0x08500010;                   /* where the redirected INT 21h goes */
    *(u8 *)0x8510 = 0xf4;
    for (unsigned i = 0; i < 128; i++) tss_main.io[i] = 0xff;
    for (unsigned i = 0; i < 32; i++) tss_main.redirect[i] = 0;
    tss_main.io[0x70 / 8] = 0xfe;                      /* port 70h only */
    tss_main.redirect[0x40 / 8] = 0;
    for (unsigned vme = 0; vme < 3; vme++) {
        if (vme == 1) print("golden vme\n");           /* qemu's TCG has no CR4.VME: checked by hand */
        set_cr4(vme != 0);
        tss_main.redirect[0x21 / 8] = vme == 2 ? 1 << (0x21 & 7) : 0;
        for (unsigned n = 0; n < sizeof(snippets) / sizeof(*snippets); n++)
            for (unsigned iopl = 0; iopl < 4; iopl += 3)
                for (unsigned flags = 0; flags < 4; flags++) {
                    run_registers = (struct registers){ .eax = 0xaaaa0000, .edx = flags & 2 ? 0x3202 : 0x0002 };
                    run_vm(n, iopl << 12 | (flags & 1 ? 1 << 19 : 0) | (flags == 3 ? 1 << 20 : 0));
                    show(n, vme << 8 | iopl << 4 | flags);
                }
        row_flush();
    }
    print("golden end\n");
    set_cr4(0);
}
