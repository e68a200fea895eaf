# SPDX-License-Identifier: GPL-2.0-or-later
# A triple fault: without an IDT the first exception ends in a reset. It says so on the serial port first, so that a
# test sees how often the machine came by.
.include "common.inc"
.code16
.globl _start
_start:
    ljmp $0, $begin
begin:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov $text, %si
    serial_print
    lidt idt_pointer
    int $3
6:  jmp 6b
idt_pointer:
    .word 0
    .long 0
text: .asciz "TRIPLE\r\n"
signature
