/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parallel guest's ways into long mode: from multiboot's protected mode, and from the real mode of a processor that
 * INIT and SIPI started (ap_start, copied to 8000h). The first 1 GiB is mapped to itself by 2 MiB pages. Each processor
 * takes a number and a stack, and calls guest_main(number). Then the stubs of its interrupts.
 */
    .section .multiboot, "a"
    .align 4
    .long 0x1badb002, 0, -0x1badb002

    .text
    .code32
    .globl start
start:
    cli
    cld
    movl $pdpt + 7, pml4
    movl $pd + 7, pdpt
    movl $pd, %edi
    movl $0x87, %eax
    movl $512, %ecx
1:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
enter_long:
    movl $0x20, %eax                                   /* PAE */
    movl %eax, %cr4
    movl $pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x900, %eax                                   /* LME, NXE */
    wrmsr
    movl $0x80010011, %eax                             /* PG, WP, ET, PE */
    movl %eax, %cr0
    lgdt gdt_pointer
    ljmp $0x08, $1f
    .code64
1:  movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %fs
    movw %ax, %gs
    lidt idt_pointer
    movl $1, %edi
    lock xaddl %edi, started
    movl %edi, %eax
    incl %eax
    shll $14, %eax
    leaq stacks(%rax), %rsp
    call guest_main
2:  cli
    hlt
    jmp 2b

    .globl ap_start, ap_end
    .code16
ap_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl ap_gdt_pointer - ap_start + 0x8000
    movl $0x11, %eax
    movl %eax, %cr0
    ljmpl $0x18, $ap_protected
ap_gdt_pointer:
    .word 31
    .long gdt
ap_end:
    .code32
ap_protected:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    jmp enter_long

    .code64
    .macro stub name, has_error
    .align 16
    .globl \name
\name:
    .if \has_error == 0
    pushq $0
    .endif
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    leaq 72(%rsp), %rdi                                /* error code, RIP, CS, RFLAGS, RSP, SS */
    cld
    call \name\()_c
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rax
    addq $8, %rsp
    iretq
    .endm
    stub on_page_fault, 1
    stub on_ipi, 0
    stub on_shootdown, 0
    stub on_other, 0

    .data
    .align 8
    .globl gdt
gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdt_pointer: .word 31
    .quad gdt
idt_pointer: .word 4095
    .quad idt
    .globl started
started: .long 0
    .bss
    .align 4096
    .globl pml4, pdpt, pd, idt
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4096
idt: .skip 4096
stacks: .skip 16384 * 17
