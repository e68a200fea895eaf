/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A multiboot guest for machine.c: does what the last character of its command line says and leaves through the exit port. */
        .set    MAGIC, 0x1badb002
        .set    FLAGS, 0x10000
        .code32
        .globl  _start
_start:
        .long   MAGIC, FLAGS, -(MAGIC + FLAGS)
        .long   _start, _start, 0, 0, entry
entry:
        mov     $0x90000, %esp
        cmp     $0x2badb002, %eax
        jne     bad
        mov     16(%ebx), %esi          /* command line: its last character */
1:      lodsb
        test    %al, %al
        jz      2f
        mov     %al, %bl
        jmp     1b
2:      sub     $'a', %bl
        movzx   %bl, %ebx
        cmp     $6, %ebx
        jae     bad
        jmp     *table(, %ebx, 4)

leave:                                  /* AL: status */
        mov     $0x501, %dx
        out     %al, %dx
3:      hlt
        jmp     3b
bad:    mov     $0x7f, %al
        jmp     leave

        /* a: only leaves */
plain:  mov     $0x15, %al
        jmp     leave

        /* b: resets itself three times, each another way; memory must be fresh each time, CMOS kept */
resets: cmpl    $0x12345678, fresh
        jne     bad
        movl    $0, fresh
        mov     $0x40, %al
        out     %al, $0x70
        in      $0x71, %al
        inc     %al
        mov     %al, %bl
        mov     $0x40, %al
        out     %al, $0x70
        mov     %bl, %al
        out     %al, $0x71
        cmp     $1, %bl
        je      by_cf9
        cmp     $2, %bl
        je      by_port92
        cmp     $3, %bl
        je      by_fault
        mov     $0x33, %al
        jmp     leave
by_cf9: mov     $0xcf9, %dx
        mov     $6, %al
        out     %al, %dx
        jmp     spin
by_port92:
        mov     $3, %al
        out     %al, $0x92
        jmp     spin

        /* c: triple fault */
by_fault:
        lidt    no_idt
        int3

        /* d: counts */
count:  incl    counter
        jmp     count

        /* e: A20 shut makes 1 MiB an alias of 0, and only while it is shut */
a20:    movb    $0x11, 0x600
        movb    $0x22, 0x100600
        xor     %ebx, %ebx
        cmpb    $0x11, 0x600
        jne     4f
        or      $1, %bl
4:      mov     $0, %al
        out     %al, $0x92
        movb    $0x33, 0x100600
        cmpb    $0x33, 0x600
        jne     5f
        or      $2, %bl
5:      mov     $2, %al
        out     %al, $0x92
        cmpb    $0x22, 0x100600
        jne     6f
        or      $4, %bl
6:      mov     %bl, %al
        jmp     leave

        /* f: INIT and SIPI to the other CPU, which runs at 8000h in real mode */
start_ap:
        mov     $ap, %esi
        mov     $0x8000, %edi
        mov     $ap_end - ap, %ecx
        rep movsb
        movl    $0x1ff, 0xfee000f0
        movl    $0x000c4500, 0xfee00300
        movl    $0x000c4608, 0xfee00300
7:      cmpl    $0x5a5a, 0x7f00
        jne     7b
        mov     $0x2a, %al
        jmp     leave

        .code16
ap:     xor     %ax, %ax
        mov     %ax, %ds
        mov     %cs, %bx
        cmp     $0x800, %bx
        jne     8f
        movw    $0x5a5a, 0x7f00
8:      hlt
        jmp     8b
ap_end:
        .code32
spin:   pause
        jmp     spin

        .balign 4
table:  .long   plain, resets, by_fault, count, a20, start_ap
fresh:  .long   0x12345678
counter: .long  0
no_idt: .long   0, 0
        .balign 4
        .ascii  "CNTR"
        .long   counter
