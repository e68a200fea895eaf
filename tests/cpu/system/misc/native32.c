/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A far jump to the 32-bit code segment that Linux keeps (selector 23h) and back (33h). Code, data and stack
 * lie below 4 GiB; everything in between saves and loads registers at absolute addresses.
 */
#include "native32.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum {
    BLOCK = 0x210000,
    CODE = 0x211000,
    STACK_TOP = 0x213000,
    IN = BLOCK,
    OUT = BLOCK + 64,
    SAVED_RSP = BLOCK + 128,
    TO_32 = BLOCK + 136,
    TO_64 = BLOCK + 144,
    SEL_32 = 0x23,
    SEL_64 = 0x33,
    SEL_DATA = 0x2b
};

static uint8_t *at;
static sigjmp_buf back;

/* A pointer that the compiler does not take for a small offset from NULL. */
static uint8_t *place(uintptr_t address)
{
    __asm__("" : "+r"(address));
    return (uint8_t *)address;
}

void *native_window(void) { return place(NATIVE_WINDOW); }

static void bytes(const void *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) *at++ = ((const uint8_t *)p)[i];
}
static void with_address(const char *opcode, unsigned n, uint32_t address)
{
    bytes(opcode, n);
    bytes(&address, 4);
}

static void refused(int sig) { siglongjmp(back, sig); }

void native32_code(const void *code, unsigned n)
{
    static const uint8_t reg_store[] = {
        0x05, 0x0d, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d
    }; /* ModRM [disp32] */
    char op[2];
    at = place(CODE);
    bytes("\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57", 10);                  /* push rbx rbp r12-r15 */
    with_address("\xb8", 1, BLOCK);                                         /* mov eax, BLOCK */
    with_address("\x48\x89\xa0", 3, SAVED_RSP - BLOCK);                     /* mov [rax+..], rsp */
    with_address("\xff\xa8", 2, TO_32 - BLOCK);                             /* jmp far [rax+..] */
    uint32_t here = (uintptr_t)at;
    memcpy(place(TO_32), &here, 4);
    memcpy(place(TO_32) + 4, &(uint16_t){ SEL_32 }, 2);
    with_address("\xb9", 1, SEL_DATA); /* mov ecx, 2bh; mov ds, ecx; mov es, ecx */
    bytes("\x8e\xd9\x8e\xc1", 4);
    with_address("\xbc", 1, STACK_TOP);                                     /* mov esp, STACK_TOP */
    with_address("\xff\x35", 2, IN + 32);                                   /* push dword [eflags]; popfd */
    bytes("\x9d", 1);
    for (unsigned r = 0; r < 8; r++) {
        op[0] = 0x8b, op[1] = reg_store[r];
        with_address(op, 2, IN + 4 * r);
    }
    bytes(code, n);
    for (unsigned r = 0; r < 8; r++) {
        op[0] = 0x89, op[1] = reg_store[r];
        with_address(op, 2, OUT + 4 * r);
    }
    with_address("\xbc", 1, STACK_TOP);
    bytes("\x9c", 1);                                                       /* pushfd; pop dword [eflags] */
    with_address("\x8f\x05", 2, OUT + 32);
    with_address("\xff\x2d", 2, TO_64);                                     /* jmp far [..] */
    here = (uintptr_t)at;
    memcpy(place(TO_64), &here, 4);
    memcpy(place(TO_64) + 4, &(uint16_t){ SEL_64 }, 2);
    with_address("\xb8", 1, BLOCK);
    with_address("\x48\x8b\xa0", 3, SAVED_RSP - BLOCK);                     /* mov rsp, [rax+..] */
    bytes("\xfc\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3", 12);          /* cld; pop; ret */
}

void native32_run(const struct native_regs *in, struct native_regs *out)
{
    memcpy(place(IN), in, sizeof(*in));
    ((void (*)(void))(uintptr_t)CODE)();
    memcpy(out, place(OUT), sizeof(*out));
}

bool native32_open(void)
{
    void *p = mmap((void *)NATIVE_WINDOW, 0x20000, PROT_READ | PROT_WRITE | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != (void *)NATIVE_WINDOW) {
        printf("cannot map memory at %#x\n", NATIVE_WINDOW);
        return false;
    }
    struct native_regs in = { .gpr = { 5, 1, 2, 3, NATIVE_WINDOW, 4 }, .eflags = 2 }, out = { 0 };
    void (*old_segv)(int) = signal(SIGSEGV, refused), (*old_ill)(int) = signal(SIGILL, refused);
    bool ok = sigsetjmp(back, 1) == 0;
    if (ok) {
        native32_code("\x40", 1);      /* inc eax: a prefix in 64-bit mode */
        native32_run(&in, &out);
        ok = out.gpr[0] == 6;
    }
    signal(SIGSEGV, old_segv);
    signal(SIGILL, old_ill);
    if (!ok) printf("this host does not run 32-bit code\n");
    return ok;
}
