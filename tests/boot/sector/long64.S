# SPDX-License-Identifier: GPL-2.0-or-later
# Long mode: 4-level paging with a 2 MiB page, 64-bit arithmetic, SSE2, an exception through a 64-bit gate.
# Exit value 0x12; 0x2N: check N failed.
.include "common.inc"
.set PML4, 0x10000
.code16
.globl _start
_start:
    ljmp $0, $begin
begin:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    mov $0x1000, %ax
    mov %ax, %es
    xor %di, %di
    xor %eax, %eax
    mov $0x1000, %cx
    cld
    rep stosl
    movl $PML4 + 0x1003, %es:0
    movl $PML4 + 0x2003, %es:0x1000
    movl $0x83, %es:0x2000
    mov $PML4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x620, %ax                   # PAE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %ax
    wrmsr
    lgdt gdt_pointer
    mov %cr0, %eax
    or $0x80000003, %eax
    and $0xfffffffb, %eax
    mov %eax, %cr0
    ljmp $8, $long
.code64
long:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %ss
    mov $0x7c00, %esp
    # 1: 64-bit multiply and rotate.
    mov $1, %bl
    movabs $0x123456789abcdef0, %rax
    mov $0x10001, %ecx
    mul %rcx
    rol $8, %rax
    add %rdx, %rax
    # rax is known by construction: compare against the value computed in two halves.
    movabs $0x123456789abcdef0, %rsi
    mov %rsi, %rdi
    shl $16, %rdi
    add %rdi, %rsi
    rol $8, %rsi
    movabs $0x1234, %rcx
    add %rcx, %rsi
    cmp %rsi, %rax
    jne fail
    # 2: SSE2 integer add.
    mov $2, %bl
    movq %rax, %xmm0
    paddq %xmm0, %xmm0
    movq %xmm0, %rcx
    lea (%rax,%rax), %rdx
    cmp %rcx, %rdx
    jne fail
    # 3: ud2 through a 64-bit interrupt gate; the handler steps over it.
    mov $3, %bl
    mov $0x20000 + 6 * 16, %edi
    lea handler(%rip), %rax
    mov %ax, (%rdi)
    movl $0x8e000008, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    movw $8, 2(%rdi)
    movl $0, 6(%rdi)
    movl $0, 12(%rdi)
    lidt idt_pointer(%rip)
    xor %r15d, %r15d
    ud2
    cmp $0x77, %r15d
    jne fail
    lea text(%rip), %rsi
    serial_print
    debug_exit 0x12
fail:
    mov $DEBUG_EXIT, %dx
    mov %bl, %al
    or $0x20, %al
    out %al, %dx
5:  hlt
    jmp 5b
handler:
    addq $2, (%rsp)
    mov $0x77, %r15d
    iretq

.align 8
gdt:
    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
    .word 23
    .long gdt
idt_pointer:
    .word 0xfff
    .quad 0x20000
text: .asciz "LONG64-OK\r\n"
signature
