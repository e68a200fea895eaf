# SPDX-License-Identifier: GPL-2.0-or-later
# Real mode: the BIOS's disk read, video and timer, string instructions, stack, far calls. Exit value 0x10; 0x2N: check N
# failed.
.include "common.inc"
.code16
.globl _start
_start:
    ljmp $0, $begin
begin:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    mov %dl, drive
    sti
    cld

    # 1: the second sector holds 512 bytes that count up and down again; read it with INT 13h.
    mov $0x0201, %ax
    mov $0x0002, %cx
    mov $0, %dh
    mov drive, %dl
    mov $0x8000, %bx
    int $0x13
    mov $1, %bl
    jc fail
    mov $0x8000, %si
    mov $512, %cx
    xor %dx, %dx
sum:
    lodsb
    add %al, %dl
    adc $0, %dh
    loop sum
    cmp $0xff00, %dx
    jne fail

    # 2: a copy by rep movsw and its comparison.
    mov $2, %bl
    mov $0x8000, %si
    mov $0x9000, %di
    mov $256, %cx
    rep movsw
    mov $0x8000, %si
    mov $0x9000, %di
    mov $512, %cx
    repe cmpsb
    jne fail

    # 3: a far call into another segment for the same place, with a value on the stack.
    mov $3, %bl
    push $0x1234
    lcall $0x07c0, $(far_target - 0x7c00)
    pop %ax
    cmp $0x4321, %ax
    jne fail

    # 4: the timer interrupt comes: three ticks of the BIOS's counter.
    mov $4, %bl
    mov 0x46c, %cx
    add $3, %cx
tick:
    hlt
    mov 0x46c, %ax
    sub %cx, %ax
    js tick

    mov $text, %si
video:
    lodsb
    test %al, %al
    jz shown
    mov $0x0e, %ah
    mov $7, %bx
    int $0x10
    jmp video
shown:
    mov $text, %si
    serial_print
    debug_exit 0x10
fail:
    mov $DEBUG_EXIT, %dx
    mov %bl, %al
    or $0x20, %al
    out %al, %dx
5:  hlt
    jmp 5b

far_target:
    mov %sp, %bp
    xorw $0x5115, 4(%bp)
    lret

drive: .byte 0
text: .asciz "REAL16-OK\r\n"
signature
# The second sector: 0..255, 255..0; its sum is 65280.
.set i, 0
.rept 256
    .byte i
    .set i, i + 1
.endr
.rept 256
    .set i, i - 1
    .byte i
.endr
