/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 64-bit guest's way from multiboot's protected mode to long mode (first 1 GiB mapped to itself by 2 MiB pages), its
 * trap stubs, and run_at, which goes to a snippet by IRETQ; the next trap comes back.
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
    movl $stack_top, %esp
    movl $pml4, %edi
    movl $pdpt + 7, (%edi)
    movl $pd + 7, pdpt
    movl $pd, %edi
    movl $0x87, %eax
    movl $512, %ecx
1:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    movl $0x20, %eax                                   /* PAE */
    movl %eax, %cr4
    movl $pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax                                   /* SCE, LME, NXE */
    wrmsr
    movl $0x80000011, %eax
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
    call guest_main
    movb $0, %al
    outb %al, $0xf4
2:  hlt
    jmp 2b

    .globl run_at
run_at:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, recover_rsp
    pushq run_frame+32
    pushq run_frame+24
    pushq run_frame+16
    pushq run_frame+8
    pushq run_frame
    movq run_registers, %rax
    movq run_registers+8, %rbx
    movq run_registers+16, %rcx
    movq run_registers+24, %rdx
    movq run_registers+32, %rsi
    movq run_registers+40, %rdi
    movq run_registers+48, %r8
    movq run_registers+56, %r11
    iretq

    .macro trap n, has_error=0
    .align 16
    .if \has_error == 0
    pushq $0x5555
    .endif
    pushq $\n
    jmp trap_common
    .endm
    .align 16
    .globl trap_0
trap_0:
    .irp n, 0,1,2,3,4,5,6,7
    trap \n
    .endr
    trap 8, 1
    trap 9
    .irp n, 10,11,12,13,14
    trap \n, 1
    .endr
    trap 15
    trap 16
    trap 17, 1
    .irp n, 18,19,20,21,22,23,24,25,26,27,28,29,30,31
    trap \n
    .endr
    .globl trap_128
    .align 16
trap_128:
    trap 128

trap_common:
    pushq %r15
    pushq %r11
    pushq %r8
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %rbx
    pushq %rax
    movw %ds, %ax
    pushq %rax
    movw %ss, %ax
    pushq %rax
    cld
    movq %rsp, %rsi
    movabsq $trap_record, %rdi
    movl $18, %ecx
    rep movsq
    movq %rsp, (%rdi)
    movl $0x10, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movq recover_rsp, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

    .bss
    .align 4096
    .globl pml4, pdpt, pd, test_pt, test_pd
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4096
test_pd: .skip 4096
test_pt: .skip 4096
    .skip 65536
stack_top:
    .globl recover_rsp, trap_record
recover_rsp: .skip 8
trap_record: .skip 19*8
