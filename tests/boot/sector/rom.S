# SPDX-License-Identifier: GPL-2.0-or-later
# An option ROM of 512 bytes that tells when it is initialized, and offers itself to be started: exit value 0x13. The test fills in the checksum.
# Sources: Plug and Play BIOS Specification 1.0a, section 3.2.
.include "common.inc"
.code16
.globl _start
_start:
    .word 0xaa55
    .byte 1
    jmp initialize
    .org 0x1a
    .word expansion

expansion:
    .ascii "$PnP"
    .byte 1, 2                          # revision, length in paragraphs
    .word 0                             # no further header
    .byte 0, 0                          # checksum, which SeaBIOS does not look at
    .long 0                             # device
    .word 0, name                       # manufacturer, product
    .byte 0, 0, 0                       # device type
    .byte 0                             # indicators
    .word 0, 0, start                   # connection, disconnection, bootstrap entry
    .word 0, 0

initialize:
    pusha
    push %ds
    push %cs
    pop %ds
    cld
    mov $init_text, %si
    serial_print
    pop %ds
    popa
    mov $0x20, %ax                      # started by its entry
    lret

start:
    push %cs
    pop %ds
    cld
    mov $start_text, %si
    serial_print
    debug_exit 0x13

name: .asciz "ROM of the test"
init_text: .asciz "ROM-INIT\r\n"
start_text: .asciz "ROM-START\r\n"
    .org 512
