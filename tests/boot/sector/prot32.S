# SPDX-License-Identifier: GPL-2.0-or-later
# 32-bit protected mode: flat segments, 4 MiB pages with an alias, a page fault that is handled, software interrupt.
# Exit value 0x11; 0x2N: check N failed.
.include "common.inc"
.set PAGE_DIR, 0x10000
.code16
.globl _start
_start:
    ljmp $0, $begin
begin:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7c00, %sp
    in $0x92, %al
    or $2, %al
    out %al, $0x92
    lgdt gdt_pointer
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmp $8, $prot
.code32
prot:
    mov $16, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %esp
    # Page directory: 0..4 MiB at 0 and again at 1 GiB.
    mov $PAGE_DIR, %edi
    xor %eax, %eax
    mov $1024, %ecx
    cld
    rep stosl
    movl $0x83, PAGE_DIR
    movl $0x83, PAGE_DIR + 256 * 4
    # IDT at 0x11000: gate 14 and 0x40.
    mov $page_fault, %eax
    mov $0x11000 + 14 * 8, %edi
    call gate
    mov $soft, %eax
    mov $0x11000 + 0x40 * 8, %edi
    call gate
    lidt idt_pointer
    mov $PAGE_DIR, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x10, %al
    mov %eax, %cr4
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0

    mov $1, %bl
    movl $0x12345678, 0x20000
    cmpl $0x12345678, 0x40020000
    jne fail
    mov $2, %bl
    xor %esi, %esi
    mov 0x80000000, %eax            # not mapped: the handler maps it and counts
    cmp $1, %esi
    jne fail
    cmp 0, %eax
    jne fail
    mov $3, %bl
    int $0x40
    cmp $2, %esi
    jne fail
    mov $4, %bl
    mov $100, %eax
    mov $7, %ecx
    cltd
    idivl %ecx
    cmp $14, %eax
    jne fail
    cmp $2, %edx
    jne fail
    mov $text, %esi
    serial_print
    debug_exit 0x11
fail:
    mov $DEBUG_EXIT, %dx
    mov %bl, %al
    or $0x20, %al
    out %al, %dx
5:  hlt
    jmp 5b

gate:
    mov %ax, (%edi)
    movw $8, 2(%edi)
    movw $0x8e00, 4(%edi)
    shr $16, %eax
    mov %ax, 6(%edi)
    ret
page_fault:
    push %eax
    mov %cr2, %eax
    cmp $0x80000000, %eax
    jne fail
    cmpl $0, 4(%esp)                # error code: not present, read, supervisor
    jne fail
    movl $0x83, PAGE_DIR + 512 * 4
    inc %esi
    pop %eax
    add $4, %esp
    iret
soft:
    inc %esi
    iret

.align 8
gdt:
    .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
    .word 23
    .long gdt
idt_pointer:
    .word 0x41 * 8 - 1
    .long 0x11000
text: .asciz "PROT32-OK\r\n"
signature
