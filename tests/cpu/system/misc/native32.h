/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs a few bytes of 32-bit code on the host CPU itself: compatibility mode of this 64-bit process. */
#ifndef TESTS_CPU_SYSTEM_MISC_NATIVE32_H
#define TESTS_CPU_SYSTEM_MISC_NATIVE32_H

#include <stdbool.h>
#include <stdint.h>

enum {
    NATIVE_WINDOW = 0x200000,
    NATIVE_WINDOW_BYTES = 0x8000
}; /* memory that the code may use, at this address */
struct native_regs { uint32_t gpr[8], eflags; };

/* false, with a message: this host does not run 32-bit code. */
bool native32_open(void);
void native32_code(const void *code, unsigned n);
void *native_window(void);
/* Registers in, registers out. An exception ends the process: give it none. */
void native32_run(const struct native_regs *in, struct native_regs *out);

#endif
