/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The translator's own header: what its passes (translate.c, access.c, copy.c, rules.c, branch.c) share. */
#ifndef ENGINE_BT_TRANSLATE_H
#define ENGINE_BT_TRANSLATE_H

#include "engine/bt/bt_private.h"

/* What is done with the memory operand once its host address is known. Emitted twice when it writes: in line, and in
 * the cold path that works on the bounce buffer. */
enum mem_op_kind {
    OP_COPY,           /* the guest instruction itself */
    OP_LOAD_S1,        /* S1 = value, zero-extended */
    OP_LOAD_T0,
    OP_LOAD_SCRATCH,   /* vcpu.scratch[1] = value */
    OP_LOAD_GPR,       /* guest register `reg` */
    OP_STORE_GPR,
    OP_STORE_IMM,
    OP_STORE_SCRATCH,
    OP_STORE_PC,       /* address of the next instruction */
    OP_BIT,            /* bt/bts/btr/btc with the bit number in a register */
    OP_MASKMOV,
};
struct mem_op { enum mem_op_kind kind; uint8_t size; int8_t reg; int64_t imm; };

struct cold {
    uint8_t *miss, *segment_miss;      /* jumps that come here, NULL: none */
    uint8_t *back, *after;             /* where the operation, and what follows it, stand */
    uint32_t what;
    uint8_t seg;
    uint16_t insn;
    struct mem_op op;
};
enum { MAX_COLD = 4 * TB_MAX_INSNS };

/* A conditional jump out of the middle of a block whose way out stands in the cold part. */
struct side_exit { uint8_t *from; int64_t target; uint16_t insn; };
enum { TB_MAX_JUMPS = 12, TB_MAX_SIDES = TB_MAX_JUMPS - 2 };   /* the end of a block has two */

struct trans {
    struct bt_vcpu *v;
    struct bt_engine *en;
    struct emitter e;
    struct tb *tb;
    uint32_t flags;                    /* TBF_* */
    unsigned mode;                     /* enum x86_code_mode */
    uint64_t key_base;
    unsigned count, current;
    struct x86_insn insn[TB_MAX_INSNS];
    uint8_t bytes[TB_MAX_INSNS][16];
    uint16_t offset[TB_MAX_INSNS];     /* in the page */
    bool flags_live[TB_MAX_INSNS];     /* before the instruction */
    enum x86_decode_result result[TB_MAX_INSNS];
    struct tb_insn map[TB_MAX_INSNS];
    struct cold cold[MAX_COLD];
    unsigned cold_count;
    struct tb_jump jump[TB_MAX_JUMPS];
    unsigned jump_count;
    struct { uint8_t *poll, *miss; } jump_stub[TB_MAX_JUMPS];      /* jumps to the stub, NULL: none */
    struct side_exit side[TB_MAX_SIDES];
    unsigned side_count;
    bool crossing;                     /* its only instruction continues on the next page */
    bool ended;                        /* the last instruction has its own exit */
    bool out_of_memory;
};

static inline const struct x86_insn *t_insn(const struct trans *t) { return &t->insn[t->current]; }
static inline uint16_t t_next_offset(const struct trans *t) { return t->offset[t->current] + t_insn(t)->len; }

/* access.c: S1 = effective offset of the memory operand. extra is added (pop [rsp+x]). */
void t_effective_offset(struct trans *t, const struct x86_insn *insn, int extra);
/* S1 = offset of the stack top plus delta, wrapped to the stack's width. */
void t_stack_offset(struct trans *t, int delta);
void t_stack_adjust(struct trans *t, int delta);
/* S1 is an offset in seg: checks, finds the host address, does op. */
void t_access(struct trans *t, unsigned seg, uint32_t what, unsigned size, struct mem_op op);
void t_emit_cold(struct trans *t);
/* copy.c: the instruction again; m: its memory operand's host address, NULL if it has none. */
void t_copy(struct trans *t, const struct x86_insn *insn, const uint8_t *bytes, const struct host_mem *m);
void t_op(struct trans *t, const struct mem_op *op, struct host_mem m);
/* Guest GPR into a host register that is free, or its own; and back. */
void t_gpr_load(struct trans *t, int host, int guest);
void t_gpr_store(struct trans *t, int guest, int host, unsigned size);
/* branch.c */
void t_exit_direct(struct trans *t, int64_t target);
void t_exit_s1(struct trans *t);
bool t_branch(struct trans *t);
void t_emit_side_exits(struct trans *t);
void t_emit_stubs(struct trans *t);
/* Does the block go on behind this instruction, a conditional jump? offset: where in the page it stands. */
bool t_goes_on(const struct trans *t, const struct x86_insn *i, unsigned offset);
/* rules.c: translates the current instruction. */
void t_instruction(struct trans *t);
bool t_has_rule(const struct x86_insn *i);
void t_helper(struct trans *t, bt_helper_fn *fn, bool end);
void *t_meta(struct bt_engine *en, uint64_t bytes);

#endif
