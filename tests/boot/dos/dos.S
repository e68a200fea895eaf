/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A boot sector that is just enough of DOS for small .COM programs: INT 21h with the functions 02h, 08h, 09h and 4Ch, and INT 20h.
 * Programs of at most 8 KiB lie one after another on the disk, from the second sector on, 16 sectors each; they are run in
 * turn, each at 2000h:0100h. An empty one ends it.
 */
    .code16
    .set PROGRAM, 0x2000
    .set SECTORS, 16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    movw $int20, 4 * 0x20
    movw %ax, 4 * 0x20 + 2
    movw $int21, 4 * 0x21
    movw %ax, 4 * 0x21 + 2
    sti
    cld
next:
    movw $3, %ax
    int $0x10
    movb $0x42, %ah
    movb $0x80, %dl
    movw $packet, %si
    int $0x13
    jc stop
    addw $SECTORS, packet + 8
    movw $PROGRAM, %ax
    movw %ax, %ds
    movw %ax, %es
    cmpb $0, 0x100
    je stop
    movw $0x20cd, 0                        /* the INT 20h that a PSP begins with */
    cli
    movw %ax, %ss
    movw $0xfffe, %sp
    sti
    pushw $0
    pushw %ax
    pushw $0x100
    lret

int20:
    xorw %ax, %ax
    movw %ax, %ds
    cli
    movw %ax, %ss
    movw $0x7c00, %sp
    sti
    jmp next

stop:
    cli
    hlt
    jmp stop

int21:
    cmpb $0x4c, %ah
    je int20
    cmpb $0x08, %ah
    je read
    cmpb $0x09, %ah
    je string
    movb %dl, %al
    call put
    iret
read:
    sti
    movb $0, %ah
    int $0x16
    movb $8, %ah
    iret
string:
    pushw %si
    movw %dx, %si
1:  lodsb
    cmpb $'$', %al
    je 2f
    call put
    jmp 1b
2:  popw %si
    iret
put:
    pushw %bx
    movb $0x0e, %ah
    movw $7, %bx
    int $0x10
    popw %bx
    ret

packet:
    .word 16, SECTORS, 0x100, PROGRAM
    .quad 1
    .org 510
    .word 0xaa55
