/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The translator's own header: what its passes (translate.c, access.c, copy.c, group.c, scratch.c, rules.c, branch.c) share. */
#ifndef ENGINE_BT_TRANSLATE_H
#define ENGINE_BT_TRANSLATE_H

#include "engine/bt/bt_private.h"
#include "engine/bt/range.h"

/* What is done with the memory operand once its host address is known. Emitted twice when it writes: in line, and in
 * the cold path that works on the bounce buffer. */
enum mem_op_kind {
    OP_COPY,           /* the guest instruction itself */
    OP_LOAD_S1,        /* S1 = value, zero-extended */
    OP_LOAD_T0,
    OP_LOAD_SCRATCH,   /* vcpu.value = value */
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
    int8_t near, address;              /* near >= 0: of that guest register, whose value is in this host register */
    bool is_group;                     /* only a check; when it fails the block goes on without groups */
    uint16_t insn;
    struct mem_op op;
};
enum { MAX_COLD = 4 * TB_MAX_INSNS };

/* A conditional jump out of the middle of a block whose way out stands in the cold part. */
struct side_exit { uint8_t *from; int64_t target; uint16_t insn; };
enum { TB_MAX_SIDES = 10, TB_MAX_JUMPS = TB_MAX_SIDES + 3 + TB_GROUPS };       /* the end of a block has two, and a return */

/* Guest registers of an address, -1: none. */
enum { ADDRESS_RIP = 16 };
struct address { int8_t base, index, scale; };
/* Accesses whose addresses differ by constants (group.c): the range, from the base as it is at the first of them. slot: where the
 * addend is kept, -1: there is only one access. hoisted: it is found out before the loop. host_base: with the base added to it. */
enum { TB_MAX_GROUPS = 48, SCRATCH_COUNT = 3 };
struct group { struct address at; int32_t low, high; bool write, hoisted, host_base; uint16_t first; int8_t slot; };

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
    bool is_label[TB_MAX_INSNS];       /* a jump of this block leads to it */
    bool is_plain[TB_MAX_INSNS];       /* emitted without a helper; of use to groups */
    bool flags_live[TB_MAX_INSNS];     /* before the instruction */
    enum x86_decode_result result[TB_MAX_INSNS];
    struct tb_insn map[TB_MAX_INSNS];
    struct cold cold[MAX_COLD];
    unsigned cold_count;
    struct tb_jump jump[TB_MAX_JUMPS];
    unsigned jump_count;
    struct { uint8_t *poll, *miss; } jump_stub[TB_MAX_JUMPS];      /* jumps to the stub, NULL: none */
    struct side_exit side[TB_MAX_SIDES + 1];
    unsigned side_count;
    struct { uint8_t *from; uint16_t insn; } inner[TB_MAX_SIDES];  /* jumps to instructions further on in the block */
    unsigned inner_count;
    struct group group[TB_MAX_GROUPS];
    unsigned group_count;
    int8_t group_of[TB_MAX_INSNS];     /* -1: none */
    struct { int8_t reg, scale; } offset_by[TB_MAX_INSNS];         /* what an access adds to its group's address, reg -1: nothing */
    unsigned group_slots;
    bool has_groups;                   /* they were looked for */
    int8_t s1_group, s2_group;         /* whose address S1, whose addend S2 holds, -1: nobody's */
    bool s1_is_host;                   /* S1 has the address with the addend: the host's */
    int8_t s1_slot;                    /* whose slot S1 holds: a loop has two of them in S1 and S2 */
    int8_t held[SCRATCH_COUNT];        /* scratch.c: the guest register that T0, S1, S2 hold beside memory, -1: none */
    bool keeps[TB_MAX_INSNS];          /* instructions that keep track of it */
    bool may_keep, keeping;            /* some of the block do, the current one does */
    int8_t carried[SCRATCH_COUNT];     /* what they hold whenever a loop begins again */
    int8_t carried_s1, carried_s2;     /* groups whose slots S1 and S2 hold then */
    const uint8_t *soft_page;          /* host address of its page: immediates may be read there; NULL: as usual */
    bool windows;                      /* memory is accessed through windows */
    bool is_loop;                      /* it ends by jumping back to its beginning */
    uint8_t *loop_poll;                /* the jump to a stub there, NULL: none */
    bool crossing;                     /* its only instruction continues on the next page */
    bool ended;                        /* the last instruction has its own exit */
    bool out_of_memory;
};

static inline const struct x86_insn *t_insn(const struct trans *t) { return &t->insn[t->current]; }
static inline uint16_t t_next_offset(const struct trans *t) { return t->offset[t->current] + t_insn(t)->len; }

/* translate.c: a host register = RIP, given as an offset from the start of the page. */
void t_rip_load(struct trans *t, int to, int64_t offset);
/* access.c: S1 = effective offset of the memory operand. extra is added (pop [rsp+x]). */
void t_effective_offset(struct trans *t, const struct x86_insn *insn, int extra);
/* S1 = offset of the stack top plus delta, wrapped to the stack's width. */
void t_stack_offset(struct trans *t, int delta);
void t_stack_adjust(struct trans *t, int delta);
/* S1 is an offset in seg: checks, finds the host address, does op. */
void t_access(struct trans *t, unsigned seg, uint32_t what, unsigned size, struct mem_op op);
/* S1 is the start of bytes that are to lie in one page: S2 = its addend, or the block is left for one without groups. */
void t_group_check(struct trans *t, unsigned bytes, bool write);
void t_window_addend(struct trans *t, int address);
void t_window_addend_near(struct trans *t, int address, int guest);
void t_emit_cold(struct trans *t);
/* group.c */
void t_find_groups(struct trans *t);
void t_groups_hoist(struct trans *t);
void t_group_begin(struct trans *t);
void t_groups_carry(struct trans *t, unsigned s1_reads);
void t_groups_restore(struct trans *t);
bool t_group_access(struct trans *t, int32_t disp, struct mem_op op);
/* scratch.c. set: host registers, a bit each. */
void t_scratch_plan(struct trans *t);
void t_scratch_carry(struct trans *t);
void t_scratch_restore(struct trans *t);
void t_scratch_begin(struct trans *t);
void t_scratch_end(struct trans *t);
void t_scratch_set(struct trans *t, int host, int guest);
void t_scratch_forget(struct trans *t, int guest);
int t_scratch_choose(const struct trans *t, unsigned set);
bool t_scratch_pays(const struct trans *t, int guest, unsigned set);
int t_gpr_find(const struct trans *t, int guest);
int t_gpr_to(struct trans *t, int guest, unsigned set);
int t_gpr_somewhere(struct trans *t, int guest, unsigned set);
/* copy.c: the instruction again; m: its memory operand's host address, NULL if it has none. */
void t_copy(struct trans *t, const struct x86_insn *insn, const uint8_t *bytes, const struct host_mem *m);
void t_op(struct trans *t, const struct mem_op *op, struct host_mem m);
bool t_needs_lock(const struct trans *t, const struct x86_insn *i);
/* Guest GPR into a host register that is free, or its own; and back. */
void t_gpr_load(struct trans *t, int host, int guest);
void t_gpr_store(struct trans *t, int guest, int host, unsigned size);
/* reg &= the vCPU's mask, without a flag. */
void t_keep_bits(struct trans *t, int reg, enum bt_keep which);
/* privileged.c: is the instruction translated there, so that the block goes on behind it? Such as leave the arithmetic flags alone; that
 * groups go on behind. */
bool t_is_privileged_rule(const struct trans *t, const struct x86_insn *i);
bool t_leaves_flags(const struct x86_insn *i);
bool t_is_plain_privileged(const struct trans *t, const struct x86_insn *i);
bool t_privileged(struct trans *t, const struct x86_insn *i);
/* thunk.c: where a thunk begins; the host's arithmetic flags are those of EAX now, RAX and RCX anything. */
uint64_t bt_thunk_begin(struct emitter *e);
void bt_thunk_flags(struct emitter *e);
/* gate.c */
bool t_gate(struct trans *t, const struct x86_insn *i);
void bt_gates_build(struct bt_engine *en, struct emitter *e);
/* branch.c */
void t_exit_direct(struct trans *t, int64_t target);
void t_exit_s1(struct trans *t);
bool t_branch(struct trans *t);
bool t_is_near_branch(const struct x86_insn *i);
/* The instruction of this block that conditional jump n leads to, 0: it leads out of it. */
unsigned t_inner_target(const struct trans *t, unsigned n);
void t_exit_ungrouped(struct trans *t);
void t_emit_side_exits(struct trans *t);
bool t_is_loop(const struct trans *t);
void t_loop_begin(struct trans *t);
void t_emit_stubs(struct trans *t);
/* Does the block go on behind this instruction, a conditional jump? offset: where in the page it stands. */
bool t_goes_on(const struct trans *t, const struct x86_insn *i, unsigned offset);
/* rules.c: translates the current instruction. */
void t_instruction(struct trans *t);
bool t_has_rule(const struct x86_insn *i);
/* Is it emitted here, without a helper? */
bool t_is_plain(const struct trans *t, const struct x86_insn *i);
/* The memory operand of an instruction that is copied, if it is an access like any other; else NULL. */
const struct x86_operand *t_plain_operand(const struct x86_insn *i);
void t_helper(struct trans *t, bt_helper_fn *fn, bool end);
/* S1 and S2 as the thunks for helpers want them. */
void t_helper_call(struct trans *t, bt_helper_fn *fn);

#endif
