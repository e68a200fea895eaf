/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A boot sector that carries out a script, which lies behind it on the disk (at most SECTORS of them): one byte says
 * what, its operands follow. script.py writes such scripts. At each "sync" the guest tells so on COM1 and waits for a byte.
 */
    .code16
    .set SEGMENT, 0x1000
    .set SECTORS, 120
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    sti
    fninit                                 /* as an operating system does */
    cld
    movb $0x42, %ah
    movw $packet, %si
    int $0x13
    jc stop
    xorw %si, %si
next:
    movw $SEGMENT, %ax
    movw %ax, %ds
    xorw %ax, %ax
    movw %ax, %es
    lodsb
    cmpb $8, %al
    ja stop
    movw %ax, %bx
    addw %bx, %bx
    call *%cs:table(%bx)
    jmp next

stop:
    cli
    hlt
    jmp stop

out_byte:                                  /* port, value */
    lodsw
    movw %ax, %dx
    lodsb
    outb %al, %dx
    ret

out_word:
    lodsw
    movw %ax, %dx
    lodsw
    outw %ax, %dx
    ret

in_byte:
    lodsw
    movw %ax, %dx
    inb %dx, %al
    ret

bios:                                      /* AX, BX, CX, DX of INT 10h */
    lodsw
    pushw %ax
    lodsw
    movw %ax, %bx
    lodsw
    movw %ax, %cx
    lodsw
    movw %ax, %dx
    popw %ax
    pushw %si
    int $0x10
    popw %si
    ret

destination:                               /* segment, offset, count */
    lodsw
    movw %ax, %es
    lodsw
    movw %ax, %di
    lodsw
    movw %ax, %cx
    ret

random:                                    /* count words of a linear congruence; seed */
    call destination
    lodsw
    movw $0x6255, %bx
1:  mulw %bx
    addw $0x3619, %ax
    stosw
    loop 1b
    ret

counted:                                   /* count words; first value, step */
    call destination
    lodsw
    movw %ax, %dx
    lodsw
    xchgw %ax, %dx
1:  stosw
    addw %dx, %ax
    loop 1b
    ret

copy:                                      /* count bytes within the segment, one at a time; source */
    call destination
    lodsw
    pushw %si
    movw %ax, %si
    movw %es, %ax
    movw %ax, %ds
    rep movsb
    popw %si
    ret

sync:
    movb $'S', %al
    movw $0x3f8, %dx
    outb %al, %dx
1:  movw $0x3fd, %dx
    inb %dx, %al
    testb $1, %al
    jz 1b
    movw $0x3f8, %dx
    inb %dx, %al
    ret

    .balign 2
table:
    .word stop, out_byte, out_word, in_byte, bios, random, counted, copy, sync
packet:
    .byte 16, 0
    .word SECTORS, 0, SEGMENT
    .quad 1
    .org 510
    .word 0xaa55
