/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a few bytes of 64-bit code on the host CPU itself, with every register given, and tells what became of them.
 *
 * A signal carries the state in and out: the handler of a first INT3 replaces the interrupted context by the one
 * wanted, the kernel loads it, and the trap or fault at the end of the code brings it back.
 */
#ifndef TESTS_CPU_ORACLE_NATIVE64_H
#define TESTS_CPU_ORACLE_NATIVE64_H

#include <stdbool.h>
#include <stdint.h>

enum { NATIVE_CODE = 0x30000, NATIVE_XSAVE_BYTES = 832 };      /* x87, SSE, AVX in the standard format */

struct native_state {
    uint64_t gpr[16], rip, rflags;   /* in the order of the encoding */
    uint8_t xsave[NATIVE_XSAVE_BYTES] __attribute__((aligned(64)));
    unsigned vector;                 /* out: 3 is the INT3 behind the code */
    uint32_t error;
    uint64_t address;                /* of a page fault */
};

/* Maps the code page and installs handlers; false with a message. */
bool native64_open(void);
/* The handlers alone, once more: after another engine was made, which installed its own. */
void native64_handlers(void);
/* expired is called (as a signal handler) if so many seconds pass; 0: no more. */
void native64_limit(unsigned seconds, void (*expired)(int));
/* Puts code and an INT3 at NATIVE_CODE + offset. */
void native64_code(unsigned offset, const void *code, unsigned n);
void native64_run(struct native_state *s);

#endif
