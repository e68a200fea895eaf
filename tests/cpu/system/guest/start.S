/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A multiboot guest's first instructions, its trap stubs, and the way into a snippet of code at any privilege: run_at
 * goes there by IRET; whatever trap comes next (int $0x80 when the snippet is through) ends it, and run_at returns.
 */
    .set CODE0, 0x08
    .set DATA0, 0x10

    .section .multiboot, "a"
    .align 4
    .long 0x1badb002, 0, -0x1badb002

    .text
    .code32
    .globl start
start:
    cld
    cli
    movl $stack_top, %esp
    lgdt gdt_pointer
    ljmp $CODE0, $1f
1:  movw $DATA0, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %fs
    movw %ax, %gs
    call guest_main
    movb %al, %dl
    movb $0, %al
    outb %al, $0xf4
2:  hlt
    jmp 2b

/* void run_at(void): frame to IRET to in run_frame (5 dwords, 9 for VM86), registers in run_registers (pusha order). */
    .globl run_at
run_at:
    pushl %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    pushfl
    movl %esp, recover_esp
    movl run_frame_words, %ecx
1:  pushl run_frame-4(,%ecx,4)
    loop 1b
    movl run_registers+0, %edi
    movl run_registers+4, %esi
    movl run_registers+8, %ebp
    movl run_registers+16, %ebx
    movl run_registers+20, %edx
    movl run_registers+24, %ecx
    movl run_segments+4, %eax
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movl run_registers+28, %eax
    pushl run_segments
    popl %ds
    iret

/* Traps: vector and error code on the stack. */
    .macro trap n, has_error=0
    .align 16
trap_\n:
    .if \has_error == 0
    pushl $0x5555
    .endif
    pushl $\n
    jmp trap_common
    .endm
    .align 16
    .globl trap_0
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
    trap 128

trap_common:
    pushal
    pushl %ds
    pushl %es
    pushl %fs
    pushl %gs
    movl $DATA0, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    cld
    movl %esp, %esi
    movl $trap_record, %edi
    movl $23, %ecx
    rep movsl
    movw %ss, %ax
    movw %ax, trap_ss
    .globl recover
recover:
    movl $DATA0, %eax
    movw %ax, %ss
    movl recover_esp, %esp
    popfl
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret

    .bss
    .align 4096
    .skip 65536
    .globl stack_top
stack_top:
    .globl recover_esp, trap_record, trap_ss
recover_esp: .long 0
trap_record: .skip 23*4
trap_ss: .long 0
