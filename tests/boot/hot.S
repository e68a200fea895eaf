# SPDX-License-Identifier: GPL-2.0-or-later
# Counts CPUIDs, says so, and then turns for ever in a loop that a profile must find.
    .globl _start, hot, hot_end
_start:
    mov $100000, %r12d
1:  xor %eax, %eax
    cpuid
    dec %r12d
    jnz 1b
    mov $1, %eax
    mov $1, %edi
    lea message(%rip), %rsi
    mov $7, %edx
    syscall
    mov $12345, %ebx
hot:
    imul $1103515245, %rbx, %rbx
    add $12345, %rbx
    mov %rbx, %rcx
    rol $7, %rcx
    xor %rcx, table(%rip)
    jmp hot
hot_end:
message: .ascii "COUNTED"
    .data
table: .quad 0
