/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random programs that end, and where they and their data lie. See generate.c.
 */
#ifndef TESTS_CPU_PROGRAMS_GENERATE_H
#define TESTS_CPU_PROGRAMS_GENERATE_H

#include "assemble.h"

/* Linear addresses. Around each region is nothing. */
enum {
    DATA = 0x200000, DATA_BYTES = 0x3000, READ_ONLY = DATA + 0x2000, HOLE = DATA + DATA_BYTES,
    STACK = 0x240000, STACK_BYTES = 0x2000,
    CODE = 0x280000, CODE_BYTES = 0x10000,
};

/* Fills *c with the program of this seed; its first byte is where it starts, UD2 at *end is where it ends, if it does
 * not fault before. is_exact: for an engine that keeps flags exactly, also where a block changes its own code. */
void program_generate(struct code *c, uint64_t seed, bool is_exact, uint64_t *end);
/* General registers for a run. */
void program_registers(uint64_t seed, uint64_t gpr[16]);

#endif
