/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mode 13h and the mouse by the BIOS (INT 15h, C2h): a button leaves a square of its colour where the pointer is. */
    .code16
    .globl _start
_start:
    movw $0x13, %ax
    int $0x10
    movw $0xa000, %ax
    movw %ax, %es
    xorw %di, %di
1:  movw %di, %ax                          /* a background of all colours */
    shrw $8, %ax
    stosb
    cmpw $64000, %di
    jb 1b
    movw %ds, %ax
    movw %ax, %es
    movw $0xc205, %ax                      /* packets of three bytes */
    movb $3, %bh
    int $0x15
    movw $0xc207, %ax
    movw $moved, %bx
    int $0x15
    movw $0xc200, %ax
    movb $1, %bh
    int $0x15
    movb $0x08, %ah
    int $0x21
    movw $0xc200, %ax
    movb $0, %bh
    int $0x15
    int $0x20

moved:                                     /* far, with status, x, y, 0 on the stack */
    pushw %bp
    movw %sp, %bp
    pushaw
    pushw %ds
    pushw %es
    pushw %cs
    popw %ds
    movw 12(%bp), %bx
    movb 10(%bp), %al
    movb $0, %ah
    testb $0x10, %bl
    jz 1f
    movb $0xff, %ah
1:  addw %ax, x
    movb 8(%bp), %al
    movb $0, %ah
    testb $0x20, %bl
    jz 2f
    movb $0xff, %ah
2:  subw %ax, y
    andw $7, %bx
    jz 5f
    movw $0xa000, %ax
    movw %ax, %es
    imulw $320, y, %di
    addw x, %di
    movb colors(%bx), %al
    movw $8, %dx
3:  movw $8, %cx
    rep stosb
    addw $320 - 8, %di
    decw %dx
    jnz 3b
5:  popw %es
    popw %ds
    popaw
    popw %bp
    lret
x:  .word 160
y:  .word 100
colors:
    .byte 0, 40, 44, 45, 47, 50, 52, 15
