/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Real mode: there and back, segments with 4 GiB limits that survive (unreal mode), interrupts through the vector table,
 * faults, flags, wrapping stacks and strings, far transfers. The 16-bit code is copied to 7000h and notes its results at
 * 6000h.
 */
#include "legacy.h"

enum { CODE_AT = 0x7000, NOTES_AT = 0x6000, NOTES = 96 };
extern char real_begin[], real_end[];
void real_run(void);
u32 real_esp, real_variable = 0x600df00d;
const struct { u16 limit; u32 base; } __attribute__((packed)) real_idt = { 0x3ff, 0 };
u8 real_old_idt[6];

__asm__(".text\n.code32\n.globl real_run\n"
        "real_run: pusha; pushf; mov %esp, real_esp; sidt real_old_idt; lidt real_idt; ljmp $0x90, $0x7000\n"
        "real_back: mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss; mov %eax, %fs; mov %eax, %gs\n"
        "mov real_esp, %esp; lidt real_old_idt; popf; popa; ret\n"
        ".code16\n"
        "real_begin: mov $0x98, %ax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss\n"
        "mov $0x10, %ax; mov %ax, %fs; mov %ax, %gs\n"
        "mov %cr0, %eax; and $0xfe, %al; mov %eax, %cr0; ljmp $0, $0x7000 + 1f - real_begin\n"
        "1: xor %ax, %ax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss; mov %ax, %fs; mov $0x6000, %di; mov $0x5ff0, %sp\n"
        /* note: selectors, unreal FS */
        "mov %cs, %eax; stosl; mov %gs, %eax; stosl; mov $real_variable, %ebx; mov %fs:(%ebx), %eax; stosl\n"
        "mov $0xfff, %ax; mov %ax, %gs; mov $real_variable - 0xfff0, %ebx; mov %gs:(%ebx), %eax; stosl\n"
        /* flags that POPF may change here */
        "pushf; push $0x7dd5 & ~0x100; popf; pushf; pop %ax; popf; stosw; pushf; pop %ax; stosw\n"
        "pushl $0x247cd5; popfl; pushfl; popl %eax; pushl $2; popfl; stosl\n"
        /* INT through the table: the frame */
        "movw $0x7000 + 2f - real_begin, 0x180; movw $0, 0x182; stc; int $0x60\n"
        "jmp 3f\n"
        "2: push %bp; mov %sp, %bp; pushf; pop %ax; stosw; mov 2(%bp), %ax; sub $0x7000, %ax; stosw; mov 4(%bp), %ax; stosw; mov 6(%bp), %ax; stosw\n"
        "pop %bp; iret\n"
        "3: pushf; pop %ax; stosw\n"
        /* #DE: the address is that of the instruction; #UD, INT3, INTO, BOUND likewise */
        "movl $0x7000 + 4f - real_begin, 0; movl $0x7000 + 4f - real_begin, 0x18; movl $0x7000 + 5f - real_begin, 0xc\n"
        "movl $0x7000 + 5f - real_begin, 0x10; movl $0x7000 + 4f - real_begin, 0x14\n"
        "xor %dx, %dx; mov $1, %ax; xor %cx, %cx; div %cx; ud2\n"
        "int3; mov $0x7f, %al; inc %al; into\n"
        "movl $0x00020001, 0x5000; mov $5, %ax; mov $0x5000, %bx; bound %ax, (%bx); jmp 6f\n"
        "4: push %bp; mov %sp, %bp; push %ax; mov 2(%bp), %ax; sub $0x7000, %ax; stosw; pop %ax; addw $2, 2(%bp)\n"
        "pop %bp; iret\n"
        "5: push %bp; mov %sp, %bp; push %ax; mov 2(%bp), %ax; sub $0x7000, %ax; stosw; pop %ax; pop %bp; iret\n"
        "6: pushf; pop %ax; stosw\n"
        /* SP wraps at 64 KiB */
        "mov %sp, %bp; mov $0x8000, %ax; mov %ax, %ss; xor %sp, %sp; push $0x1234; mov %sp, %ax; stosw; mov %ss:0xfffe, %ax; stosw\n"
        "pop %bx; mov %sp, %ax; stosw; pushl $0x55667788; mov %ss:0xfffc, %eax; stosl; add $4, %sp; xor %ax, %ax; mov %ax, %ss; mov %bp, %sp\n"
        /* strings wrap too; direction both ways */
        "mov $0x9000, %ax; mov %ax, %es; push %di; mov $0xfffe, %di; mov $4, %cx; mov $0x41, %al; rep stosb; mov %di, %bx; mov %es:0xffff, %dl\n"
        "mov %es:1, %dh; std; mov $1, %di; mov $3, %cx; mov $0x42, %al; rep stosb; cld; mov %di, %bp; pop %di; xor %ax, %ax; mov %es:0xffff, %cl\n"
        "mov %es:0, %ch; mov %ax, %es; mov %bx, %ax; stosw; mov %dx, %ax; stosw; mov %bp, %ax; stosw; mov %cx, %ax; stosw\n"
        /* far call and return, LDS, segment pushes */
        "lcall $0x6ff, $0x10 + 8f - real_begin\n"
        "9: mov %ax, (%di); add $2, %di; movl $0x12345678, 0x5000; lds 0x5000, %si; mov %ds, %ax; push %ds; pop %bx; xor %cx, %cx; mov %cx, %ds\n"
        "stosw; mov %si, %ax; stosw; mov %bx, %ax; stosw; jmp 1f\n"
        "8: mov %sp, %bp; mov (%bp), %ax; sub $0x7000, %ax; sub $9b - real_begin, %ax; lret\n"
        /* SMSW, LMSW sets PE, SGDT */
        "1: smsw %ax; and $0xf, %ax; stosw; mov $0, %eax; sgdt 0x5000; mov 0x5000, %ax; stosw\n"
        "mov %di, %ax; stosw\n"
        "mov %cr0, %eax; or $1, %al; mov %eax, %cr0; .byte 0x66, 0xea; .long real_back; .word 8\n"
        "real_end: .code32\n");

void test_real(void)
{
    u8 *to = (u8 *)CODE_AT;
    for (const char *p = real_begin; p < real_end; p++) *to++ = *p;
    u16 *notes = (u16 *)NOTES_AT;
    for (unsigned i = 0; i < NOTES; i++) notes[i] = 0xeeee;
    real_run();
    for (unsigned i = 0; i < NOTES; i++) {
        row_add(notes[i]);
        if (i % 16 == 15) row_end("real", i / 16);
    }
    row_flush();
}
