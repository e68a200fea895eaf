/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A boot sector that sends CMOS 39h and the INT 13h geometry of drive 80h (CH, CL, DH) to COM1 and leaves. */
.code16
.globl _start
_start:
        mov $0x39,%al
        out %al,$0x70
        in $0x71,%al
        call put
        mov $8,%ah
        mov $0x80,%dl
        int $0x13
        push %dx
        mov %ch,%al
        call put
        mov %cl,%al
        call put
        pop %dx
        mov %dh,%al
        call put
        mov $0x501,%dx
        out %al,%dx
1: hlt
        jmp 1b
put: push %dx
        mov $0x3f8,%dx
        out %al,%dx
        pop %dx
        ret
.org 510
.word 0xaa55
