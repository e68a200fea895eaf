/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What generate.c, which builds programs, and statements.c, which makes statements without bodies, share.
 */
#ifndef TESTS_CPU_PROGRAMS_GENERATE_PRIVATE_H
#define TESTS_CPU_PROGRAMS_GENERATE_PRIVATE_H

#include "../oracle/values.h"
#include "generate.h"
#include "x86/state.h"

enum { FUNCTIONS_MAX = 4, TARGETS_MAX = 64, SLOT_BYTES = 8, LOCAL_BYTES = 64, DEPTH_MAX = 3 };

/* What may be stored to: an immediate, a slot, or an instruction MOV EAX or EDX, imm32 (its opcode is B8 or BA). */
enum target_kind { IMMEDIATE, SLOT, MOV };
struct target { int label; uint8_t bytes; enum target_kind kind; };

struct gen {
    struct code *c;
    uint64_t seed;
    unsigned busy;                     /* registers that count */
    bool is_exact;                     /* the engine keeps all flags */
    unsigned fault_in;                 /* one statement in so many faults; 0: none */
    int frame, pushed;                 /* bytes of locals (0: none), what lies between RSP and them */
    bool has_rbp;
    int function[FUNCTIONS_MAX];
    unsigned functions, current;       /* current: those behind it may be called; 0: the main program */
    int local, table;                  /* labels of data beside the code */
    int table_entry[8];
    unsigned table_entries;
    struct target target[TARGETS_MAX];
    unsigned targets, statements;
    struct patch { unsigned fixup; uint8_t bytes; enum target_kind kind; } patch[TARGETS_MAX];
    unsigned patches;
};

static const uint8_t pointers[] = { REG_RBX, REG_RSI, REG_R8, REG_R10 };

static inline unsigned below(struct gen *g, unsigned n) { return (unsigned)(bench_random(&g->seed) % n); }
static inline bool one_in(struct gen *g, unsigned n) { return below(g, n) == 0; }

/* Registers and places that may be written (but for operand_any_register). */
int operand_data_register(struct gen *g);
int operand_pointer(struct gen *g);
int operand_any_register(struct gen *g);
struct operand operand_place(struct gen *g);

void statement_alu(struct gen *g);
void statement_move(struct gen *g);
void statement_simple(struct gen *g);
void statement_group(struct gen *g);
void statement_access(struct gen *g, struct operand at);
void statement_indexed(struct gen *g);
void statement_fault(struct gen *g);
void statement_patchable(struct gen *g);
void statement_store_into_code(struct gen *g);
/* Chooses what the stores into code hit, when all of it is there. */
void statement_patches_finish(struct gen *g);

#endif
