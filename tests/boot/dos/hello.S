/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text through DOS and the video BIOS: strings, sixteen colours, a scrolled window, a cursor of another shape. */
    .code16
    .globl _start
_start:
    movb $0x09, %ah
    movw $hello, %dx
    int $0x21
    xorw %si, %si
1:  movb $0x02, %ah                        /* cursor */
    movb $0, %bh
    movw %si, %dx
    movb %dl, %dh
    addb $4, %dh
    shlb $2, %dl
    int $0x10
    movw %si, %bx
    movb $0, %bh
    movb $0x09, %ah                        /* a character and its colour, 12 times */
    movb %bl, %al
    addb $'A', %al
    movw $12, %cx
    int $0x10
    incw %si
    cmpw $16, %si
    jb 1b
    movw $0x0602, %ax                      /* two lines up, within a window */
    movb $0x1f, %bh
    movw $0x0828, %cx
    movw $0x1046, %dx
    int $0x10
    movb $0x01, %ah
    movw $0x2000, %cx                      /* no cursor: it would blink */
    int $0x10
    movb $0x08, %ah
    int $0x21
    movw $0x4c00, %ax
    int $0x21
hello:
    .ascii "A program for DOS says hello.\r\n$"
