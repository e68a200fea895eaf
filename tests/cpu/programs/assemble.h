/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small assembler for the programs of this folder: 64-bit instructions by their opcode, operand size and operands,
 * labels that are bound later, and where each instruction starts (data lies between them).
 */
#ifndef TESTS_CPU_PROGRAMS_ASSEMBLE_H
#define TESTS_CPU_PROGRAMS_ASSEMBLE_H

#include <stdbool.h>
#include <stdint.h>

enum { CODE_MAX = 0x6000, INSNS_MAX = 1024, LABELS_MAX = 256, FIXUPS_MAX = 512 };
enum { NO_LABEL = -1, UNBOUND = 0xffff };

struct code {
    uint64_t base;                     /* linear address of byte[0] */
    uint8_t byte[CODE_MAX];
    unsigned bytes;
    uint16_t insn_at[INSNS_MAX];
    unsigned insns;
    uint16_t label_at[LABELS_MAX];
    unsigned labels;
    struct fixup { uint16_t at, end; int16_t label; int16_t add; uint8_t size; } fixup[FIXUPS_MAX];
    unsigned fixups;
};

/* The operand that may be memory: a register (base, is_memory false); [base + disp]; [base + index * 8 + disp];
 * [label + disp], relative to RIP; [disp] (base -1, no label). */
struct operand { bool is_memory; int base, index; int32_t disp; int label; };

static inline struct operand in_register(int r) { return (struct operand){ false, r, -1, 0, NO_LABEL }; }
static inline struct operand at_base(int r, int32_t disp) { return (struct operand){ true, r, -1, disp, NO_LABEL }; }
static inline struct operand at_label(int label, int32_t disp) { return (struct operand){ true, -1, -1, disp, label }; }

int code_label(struct code *c);                        /* a new one, unbound */
void code_bind(struct code *c, int label);
/* Puts displacements and addresses of labels in place. */
void code_finish(struct code *c);

void code_raw(struct code *c, const void *bytes, unsigned n);      /* part of an instruction, or data */
void code_bytes(struct code *c, const void *bytes, unsigned n);    /* one whole instruction */
void code_address(struct code *c, int label);                      /* 8 bytes of data */
/* opcode: one byte, 0x0fxx, or 0xf30fxx; size: of the operands, 1, 2, 4, 8, which makes the prefixes (the opcode is the
 * caller's); reg: register or digit; imm_bytes of imm follow. */
void code_op(struct code *c, unsigned opcode, unsigned size, int reg, struct operand rm, unsigned imm_bytes, int64_t imm);
/* An opcode with its register in it (push, pop, mov imm, bswap). */
void code_op_reg(struct code *c, unsigned opcode, unsigned size, int reg, unsigned imm_bytes, int64_t imm);
/* jmp, call, jcc with a displacement of 1 or 4 bytes. */
void code_branch(struct code *c, unsigned opcode, unsigned bytes, int label);

#endif
