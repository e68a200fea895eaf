/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VBE mode 101h: 640x480 in 256 colours, through 64 KiB banks that the BIOS switches. */
    .code16
    .globl _start
_start:
    movw $0x4f02, %ax
    movw $0x101, %bx
    int $0x10
    cmpw $0x004f, %ax
    jne 3f
    movw $0xa000, %ax
    movw %ax, %es
    xorw %si, %si
1:  movw $0x4f05, %ax
    xorw %bx, %bx
    movw %si, %dx
    int $0x10
    xorw %di, %di
2:  movw %di, %ax
    xorb %ah, %al
    addw %si, %ax
    stosb
    testw %di, %di
    jnz 2b
    incw %si
    cmpw $5, %si
    jb 1b
3:  movb $0x08, %ah
    int $0x21
    int $0x20
