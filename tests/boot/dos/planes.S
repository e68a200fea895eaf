/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mode 12h: 640x480 in 16 colours, a pixel at a time by write mode 2 and the bit mask, then text by the BIOS. */
    .code16
    .globl _start
_start:
    movw $0x12, %ax
    int $0x10
    movw $0xa000, %ax
    movw %ax, %es
    movw $0x3ce, %dx
    movw $0x0205, %ax                      /* write mode 2 */
    outw %ax, %dx
    xorw %di, %di                          /* y */
row:
    xorw %si, %si                          /* x */
pixel:
    movw %si, %cx
    andb $7, %cl
    movb $0x80, %ah
    shrb %cl, %ah
    movb $8, %al
    outw %ax, %dx
    pushw %dx
    movw %si, %ax
    mulw %di
    movb %ah, %cl
    popw %dx
    imulw $80, %di, %bx
    movw %si, %ax
    shrw $3, %ax
    addw %ax, %bx
    movb %es:(%bx), %al                    /* the latches */
    movb %cl, %es:(%bx)
    addw $3, %si
    cmpw $640, %si
    jb pixel
    addw $4, %di
    cmpw $480, %di
    jb row
    movw $0x0005, %ax
    outw %ax, %dx
    movw $0xff08, %ax
    outw %ax, %dx
    movw $name, %si
1:  lodsb
    testb %al, %al
    jz 2f
    movb $0x0e, %ah
    movw $0x0e, %bx
    int $0x10
    jmp 1b
2:  movb $0x08, %ah
    int $0x21
    int $0x20
name:
    .asciz "640x480, 16 colours"
