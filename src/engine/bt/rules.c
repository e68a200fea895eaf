/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One instruction: copied, translated by a rule of its own (stack, moffs, lea, bit tests with a register, direction
 * flag), or handed to a helper; and the faults that follow from the mode alone (#UD, #NM).
 */
#include "engine/bt/translate.h"

/* ---- The operation on a memory operand ---- */

static void load_sized(struct emitter *e, int to, unsigned size, struct host_mem m)
{
    if (size == 8) e_load(e, to, m);
    else if (size == 4) e_load32(e, to, m);
    else e_rm(e, false, size == 2 ? 0x0fb7 : 0x0fb6, to, m);
}

static void store_sized(struct emitter *e, struct host_mem m, unsigned size, int from)
{
    if (size == 2) e8(e, 0x66);
    if (size == 1) {
        e_rex(e, false, from, m.index < 0 ? 0 : m.index, m.base, true);
        e8(e, 0x88);
        e_modrm_mem(e, from, m);
        return;
    }
    e_rm(e, size == 8, 0x89, from, m);
}

static void store_imm(struct emitter *e, struct host_mem m, unsigned size, int64_t imm)
{
    if (size == 2) e8(e, 0x66);
    e_rm(e, size == 8, 0xc7, 0, m);
    if (size == 2) e16(e, imm);
    else e32(e, imm);
}

/* bt family with a register as the bit number: S1 already points at the operand that holds the bit; T0 = the number
 * within it. */
static void bit_operation(struct trans *t, const struct x86_insn *i, struct host_mem m)
{
    struct emitter *e = &t->e;
    t_gpr_load(t, T0, i->operand[1].reg);
    e_pext(e, T0, T0, hm(H_RSP, VOFF(bit_mask[0]) + (i->opsize == 2 ? 0 : i->opsize == 4 ? 8 : 16)));
    if (i->lock && t_needs_lock(t, i)) e8(e, 0xf0);
    if (i->opsize == 2) e8(e, 0x66);
    e_rm(e, i->opsize == 8, 0x0f00 | i->opcode, T0, m);
}

static void maskmov(struct trans *t, const struct x86_insn *i, struct host_mem m)
{
    struct emitter *e = &t->e;
    e_mov_rr(e, T0, H_RDI);
    e_lea(e, H_RDI, m);
    const uint8_t *b = t->bytes[t->current];
    unsigned n = 0;
    for (; b[n] != 0x0f && b[n] != 0xc4 && b[n] != 0xc5; n++)     /* prefixes, but for those that change the address */
        if (b[n] == 0x66 || b[n] == 0xf2 || b[n] == 0xf3 || (b[n] & 0xf0) == 0x40) e8(e, b[n]);
    for (; n < i->len; n++) e8(e, b[n]);
    e_mov_rr(e, H_RDI, T0);
}

void t_op(struct trans *t, const struct mem_op *op, struct host_mem m)
{
    struct emitter *e = &t->e;
    const struct x86_insn *i = t_insn(t);
    switch (op->kind) {
    case OP_COPY: t_copy(t, i, t->bytes[t->current], &m); break;
    case OP_LOAD_S1: load_sized(e, S1, op->size, m); break;
    case OP_LOAD_T0: load_sized(e, T0, op->size, m); break;
    case OP_LOAD_SCRATCH:
        load_sized(e, T0, op->size, m);
        e_store(e, hm(H_RSP, VOFF(value)), T0);
        break;
    case OP_LOAD_GPR:
        if (host_of(op->reg) >= 0 && op->size >= 4) {
            load_sized(e, host_of(op->reg), op->size, m);
        } else {
            t_scratch_set(t, T0, -1);
            load_sized(e, T0, op->size, m);
            t_gpr_store(t, op->reg, T0, op->size);
        }
        break;
    case OP_STORE_GPR:
        store_sized(e, m, op->size, t_gpr_somewhere(t, op->reg, 1 << T0));
        break;
    case OP_STORE_IMM: store_imm(e, m, op->size, op->imm); break;
    case OP_STORE_SCRATCH:
        e_load(e, T0, hm(H_RSP, VOFF(value)));
        store_sized(e, m, op->size, T0);
        break;
    case OP_STORE_PC:
        if (t->flags & TBF_RIP && op->size == 8 && (int64_t)(t->key_base + t_next_offset(t)) == (int32_t)(t->key_base + t_next_offset(t))) {
            store_imm(e, m, 8, (int64_t)(t->key_base + t_next_offset(t)));
            break;
        }
        t_rip_load(t, T0, t_next_offset(t));
        store_sized(e, m, op->size, T0);
        break;
    case OP_BIT: bit_operation(t, i, m); break;
    case OP_MASKMOV: maskmov(t, i, m); break;
    }
}

/* ---- Helpers ---- */

void t_helper_call(struct trans *t, bt_helper_fn *fn)
{
    struct emitter *e = &t->e;
    struct bt_helper_call *call = bt_cache_meta(t->en, sizeof(*call), 16);
    if (!call) {
        t->out_of_memory = true;
        return;
    }
    call->fn = fn;
    bt_copy(&call->copy, t_insn(t), sizeof(call->copy));
    call->insn = &call->copy;
    e_mov_ri(e, H_R10, (uint64_t)call);
    t_rip_load(t, H_R11, t->offset[t->current]);
}

void t_helper(struct trans *t, bt_helper_fn *fn, bool end)
{
    struct emitter *e = &t->e;
    t_helper_call(t, fn);
    if (end) {
        e_jmp_to(e, t->en->thunk_helper_end);
        t->ended = true;
    } else {
        e_call_to(e, t->en->thunk_helper_next);
    }
}

static void raise_ud(struct bt_vcpu *v, const struct x86_insn *i) { bt_raise(v, VECTOR_UD); }
static void raise_nm(struct bt_vcpu *v, const struct x86_insn *i) { bt_raise(v, VECTOR_NM); }
static void raise_gp(struct bt_vcpu *v, const struct x86_insn *i) { bt_raise_error(v, VECTOR_GP, 0); }

/* Faults that the mode decides: NULL if the instruction may run. */
static bt_helper_fn *mode_fault(const struct trans *t, const struct x86_insn *i)
{
    uint32_t f = t->flags;
    if (!t->en->feature[i->feature]) return raise_ud;
    bool descriptors = (f & TBF_PE) && !(f & TBF_VM);
    if (i->encoding != ENCODING_LEGACY && !descriptors) return raise_ud;
    if (i->attr & (IA_AVX | IA_AVX512)) {
        if (!(f & TBF_AVX)) return raise_ud;
        return f & TBF_TS ? raise_nm : NULL;
    }
    if (i->attr & IA_SSE) {
        if ((f & TBF_EM) || !(f & TBF_OSFXSR)) return raise_ud;
        return f & TBF_TS ? raise_nm : NULL;
    }
    if (i->attr & IA_MMX) {
        if (f & TBF_EM) return raise_ud;
        return f & TBF_TS ? raise_nm : NULL;
    }
    if (i->mnemonic == X86_WAIT) return f & TBF_NO_WAIT ? raise_nm : NULL;
    if (i->attr & IA_X87) return f & TBF_NO_X87 ? raise_nm : NULL;
    return NULL;
}

/* ---- Stack ---- */

static unsigned stack_size(const struct trans *t, const struct x86_insn *i)
{
    return t->mode == X86_CODE64 && i->opsize == 4 ? 8 : i->opsize;
}

static void push(struct trans *t, const struct x86_insn *i)
{
    unsigned n = stack_size(t, i);
    const struct x86_operand *o = &i->operand[0];
    struct mem_op op = { OP_STORE_GPR, n, o->reg, 0 };
    if (o->kind == OPND_IMM) {
        op = (struct mem_op){ OP_STORE_IMM, n, 0, i->imm };
    } else if (o->kind == OPND_MEM) {
        t_effective_offset(t, i, 0);
        t_access(t, i->seg, MISS_READ, n, (struct mem_op){ OP_LOAD_SCRATCH, n, 0, 0 });
        op.kind = OP_STORE_SCRATCH;
    }
    if (!t_group_access(t, -(int)n, op)) {
        t_stack_offset(t, -(int)n);
        t_access(t, SEG_SS, MISS_WRITE, n, op);
    }
    t_stack_adjust(t, -(int)n);
}

static void pop(struct trans *t, const struct x86_insn *i)
{
    unsigned n = stack_size(t, i);
    const struct x86_operand *o = &i->operand[0];
    if (o->kind == OPND_REG && t_group_access(t, 0, (struct mem_op){ OP_LOAD_GPR, n, o->reg, 0 })) {
        t_stack_adjust(t, n);
        return;
    }
    t_stack_offset(t, 0);
    if (o->kind == OPND_MEM) {
        t_access(t, SEG_SS, MISS_READ, n, (struct mem_op){ OP_LOAD_SCRATCH, n, 0, 0 });
        t_effective_offset(t, i, i->base == REG_RSP ? n : 0);
        t_access(t, i->seg, MISS_WRITE, n, (struct mem_op){ OP_STORE_SCRATCH, n, 0, 0 });
        t_stack_adjust(t, n);
    } else if (o->reg == REG_RSP) {
        t_access(t, SEG_SS, MISS_READ, n, (struct mem_op){ OP_LOAD_T0, n, 0, 0 });
        if (n == 2) t_stack_adjust(t, n);
        t_gpr_store(t, REG_RSP, T0, n);
    } else {
        t_access(t, SEG_SS, MISS_READ, n, (struct mem_op){ OP_LOAD_GPR, n, o->reg, 0 });
        t_stack_adjust(t, n);
    }
}

static void leave(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    unsigned n = stack_size(t, i);
    bool wide = t->mode == X86_CODE64, ss32 = t->flags & TBF_SS32;
    if (wide) e_mov_rr(e, S1, H_RBP);
    else if (ss32) e_mov32_rr(e, S1, H_RBP);
    else e_movzx16(e, S1, H_RBP);
    t_access(t, SEG_SS, MISS_READ, n, (struct mem_op){ OP_LOAD_T0, n, 0, 0 });
    if (wide) {
        e_lea(e, HOST_RSP, hm(H_RBP, n));
    } else if (ss32) {
        e_lea32(e, HOST_RSP, hm(H_RBP, n));
    } else {
        e_lea32(e, S1, hm(H_RBP, n));
        e_mov16_rr(e, HOST_RSP, S1);
    }
    t_gpr_store(t, REG_RBP, T0, n);
}

/* ---- Others ---- */

static void lea(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    int guest = i->operand[0].reg, to = host_of(guest);
    if (to >= 0 && !i->rip_relative && i->base >= 0 && i->disp == (int32_t)i->disp && i->addrsize >= 4 && i->opsize >= 4) {
        struct host_mem m = hm(t_gpr_somewhere(t, i->base, 1 << T0 | 1 << S1), (int32_t)i->disp);
        if (i->index >= 0) {
            m.index = t_gpr_somewhere(t, i->index, (1 << T0 | 1 << S1) & ~(1 << m.base));
            m.scale = i->scale;
        }
        if (i->addrsize == 8 && i->opsize == 8) e_lea(e, to, m);
        else e_lea32(e, to, m);
        return;
    }
    t_effective_offset(t, i, 0);
    t_gpr_store(t, guest, S1, i->opsize);
}

/* mov al/ax/eax/rax <-> [absolute]. */
static void moffs(struct trans *t, const struct x86_insn *i)
{
    bool store = i->operand[0].kind == OPND_MOFFS;
    unsigned size = i->operand[store ? 1 : 0].size;
    e_mov_ri(&t->e, S1, i->addrsize == 8 ? (uint64_t)i->disp : i->addrsize == 4 ? (uint32_t)i->disp : (uint16_t)i->disp);
    if (store) {
        t_access(t, i->seg, MISS_WRITE, size, (struct mem_op){ OP_STORE_GPR, size, REG_RAX, 0 });
    } else if (size == 1) {
        t_access(t, i->seg, MISS_READ, 1, (struct mem_op){ OP_LOAD_T0, 1, 0, 0 });
        e_rr(&t->e, false, 0x8a, H_RAX, H_RCX);        /* mov al, cl */
    } else {
        t_access(t, i->seg, MISS_READ, size, (struct mem_op){ OP_LOAD_GPR, size, REG_RAX, 0 });
    }
}

/* DF lives in s.rflags; flags are kept. */
static void direction(struct trans *t, bool set)
{
    struct emitter *e = &t->e;
    e_load(e, T0, hm(H_RSP, VOFF(s.rflags)));
    t_keep_bits(t, T0, KEEP_NOT_DF);
    if (set) e_lea(e, T0, hm(T0, RFLAGS_DF));
    e_store(e, hm(H_RSP, VOFF(s.rflags)), T0);
}

/* ---- MOVS, STOS, LODS without a repeat prefix: byte-wise copy loops of boot loaders ---- */

static void string_offset(struct trans *t, int reg)
{
    unsigned size = t_insn(t)->addrsize;
    if (size == 8) e_mov_rr(&t->e, S1, host_of(reg));
    else if (size == 4) e_mov32_rr(&t->e, S1, host_of(reg));
    else e_movzx16(&t->e, S1, host_of(reg));
}

static void string_add(struct trans *t, int reg, int by)
{
    struct emitter *e = &t->e;
    int host = host_of(reg);
    switch (t_insn(t)->addrsize) {
    case 8: e_lea(e, host, hm(host, by)); break;
    case 4: e_lea32(e, host, hm(host, by)); break;
    default:
        e_lea32(e, S1, hm(host, by));
        e_mov16_rr(e, host, S1);
    }
}

static void string_advance(struct trans *t, int size)
{
    struct emitter *e = &t->e;
    bool rsi = t_insn(t)->mnemonic != X86_STOS, rdi = t_insn(t)->mnemonic != X86_LODS;
    e_load(e, T0, hm(H_RSP, VOFF(s.rflags)));
    e_pext(e, T0, T0, hm(H_RSP, VOFF(df_mask)));
    uint8_t *up = e_jrcxz_fwd(e);
    if (rsi) string_add(t, REG_RSI, -size);
    if (rdi) string_add(t, REG_RDI, -size);
    uint8_t *done = e_jmp8_fwd(e);
    e_bind8(e, up);
    if (rsi) string_add(t, REG_RSI, size);
    if (rdi) string_add(t, REG_RDI, size);
    e_bind8(e, done);
}

static void string(struct trans *t, const struct x86_insn *i)
{
    unsigned size = i->opcode & 1 ? i->opsize : 1;
    struct mem_op store = { OP_STORE_GPR, size, REG_RAX, 0 };
    if (i->mnemonic == X86_MOVS) {
        string_offset(t, REG_RSI);
        t_access(t, i->seg, MISS_READ, size, (struct mem_op){ OP_LOAD_SCRATCH, size, 0, 0 });
        store.kind = OP_STORE_SCRATCH;
    }
    if (i->mnemonic == X86_LODS) {
        string_offset(t, REG_RSI);
        t_access(t, i->seg, MISS_READ, size, (struct mem_op){ size == 1 ? OP_LOAD_T0 : OP_LOAD_GPR, size, REG_RAX, 0 });
        if (size == 1) {
            e8(&t->e, 0x88);                           /* mov al, cl */
            e8(&t->e, 0xc8);
        }
    } else {
        string_offset(t, REG_RDI);
        t_access(t, SEG_ES, MISS_WRITE, size, store);
    }
    string_advance(t, size);
}

static uint32_t what_of(unsigned access)
{
    return (access & ACCESS_READ ? MISS_READ : 0) | (access & ACCESS_WRITE ? MISS_WRITE : 0) |
           (access & ACCESS_COND ? MISS_COND | MISS_READ : 0);
}

/* bt/bts/btr/btc [mem], reg: the bit may lie outside the operand. */
static void bit_test(struct trans *t, const struct x86_insn *i, const struct x86_operand *m)
{
    struct emitter *e = &t->e;
    unsigned shift = i->opsize == 2 ? 4 : i->opsize == 4 ? 5 : 6;
    t_effective_offset(t, i, 0);
    t_gpr_load(t, T0, i->operand[1].reg);
    if (i->opsize == 4) e_rr(e, true, 0x63, T0, T0);               /* movsxd */
    if (i->opsize == 2) e_rr(e, true, 0x0fbf, T0, T0);             /* movsx */
    e_mov_ri(e, S2, shift);
    e_sarx(e, T0, T0, S2);
    if (i->addrsize == 8) e_lea(e, S1, hmi(S1, T0, i->opsize, 0));
    else e_lea32(e, S1, hmi(S1, T0, i->opsize, 0));
    if (i->addrsize == 2) e_movzx16(e, S1, S1);
    t_access(t, i->seg, what_of(m->access) | (i->lock ? MISS_LOCKED : 0), i->opsize, (struct mem_op){ OP_BIT, i->opsize, 0, 0 });
}

static bool is_bit_test(const struct x86_insn *i)
{
    return (i->mnemonic == X86_BT || i->mnemonic == X86_BTS || i->mnemonic == X86_BTR || i->mnemonic == X86_BTC) &&
           i->operand[1].kind == OPND_REG;
}

static void maskmov_rule(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    unsigned size = i->mnemonic == X86_MASKMOVQ ? 8 : 16;
    if (i->addrsize == 8) e_mov_rr(e, S1, H_RDI);
    else if (i->addrsize == 4) e_mov32_rr(e, S1, H_RDI);
    else e_movzx16(e, S1, H_RDI);
    t_access(t, i->seg, MISS_READ | MISS_WRITE | MISS_ALIGN_ANY, size, (struct mem_op){ OP_MASKMOV, size, 0, 0 });
}

/* AVX moves that touch only the elements a mask names. */
static bool is_masked_move(const struct x86_insn *i)
{
    return i->mnemonic == X86_VMASKMOVPS || i->mnemonic == X86_VMASKMOVPD || i->mnemonic == X86_VPMASKMOVD || i->mnemonic == X86_VPMASKMOVQ;
}

/* mov register, immediate in a block that was written to again and again: by somebody who writes such constants. The block
 * reads them where they stand, and writes to them leave it alone. */
static bool soft_immediate(struct trans *t, const struct x86_insn *i)
{
    struct tb *tb = t->tb;
    if (!t->soft_page || i->mnemonic != X86_MOV || i->imm_bytes < 4 || i->operand[0].kind != OPND_REG ||
        i->operand[1].kind != OPND_IMM || tb->soft_count == TB_SOFT) return false;
    uint16_t at = t_next_offset(t) - i->imm_bytes;
    struct host_mem m = hm(S1, 0);
    tb->soft[tb->soft_count++] = (struct tb_soft){ at, i->imm_bytes };
    t_scratch_set(t, S1, -1);
    e_mov_ri(&t->e, S1, (uint64_t)(t->soft_page + at));
    if (i->imm_bytes == 8) e_load(&t->e, T0, m);
    else if (i->opsize == 8) e_movsxd_load(&t->e, T0, m);
    else e_load32(&t->e, T0, m);
    t_gpr_store(t, i->operand[0].reg, T0, i->opsize);
    return true;
}

static void copy_rule(struct trans *t, const struct x86_insn *i)
{
    const struct x86_operand *m = NULL;
    for (unsigned n = 0; n < i->operand_count; n++) {
        if (i->operand[n].kind == OPND_MOFFS) {
            moffs(t, i);
            return;
        }
        if (i->operand[n].kind == OPND_MEM && i->operand[n].access) m = &i->operand[n];
    }
    if (!m) {
        if (!soft_immediate(t, i)) t_copy(t, i, t->bytes[t->current], NULL);
    } else if (is_bit_test(i)) {
        bit_test(t, i, m);
    } else {
        uint32_t what = what_of(m->access);
        if (i->attr & (IA_SSE | IA_AVX)) what |= MISS_ALIGN_ANY;
        if (i->attr & IA_ALIGNED) what |= MISS_ALIGNED;
        if (is_masked_move(i)) what |= MISS_MASKED;
        if (i->attr & (IA_MMX | IA_FWAIT_CHECK)) what |= MISS_X87;
        if (i->lock || i->mnemonic == X86_XCHG) what |= MISS_LOCKED;
        if (i->attr & IA_X87) what |= MISS_READ;       /* an unmasked exception keeps a store from happening */
        if (t_group_access(t, (int32_t)i->disp + (i->rip_relative ? t_next_offset(t) : 0), (struct mem_op){ OP_COPY, 0, 0, 0 })) return;
        t_effective_offset(t, i, 0);
        t_access(t, i->seg, what, m->size, (struct mem_op){ OP_COPY, 0, 0, 0 });
    }
}

const struct x86_operand *t_plain_operand(const struct x86_insn *i)
{
    const struct x86_operand *m = NULL;
    if (!(i->attr & IA_COPY) || i->attr & IA_BRANCH || i->lock || i->mnemonic == X86_XCHG) return NULL;
    if (t_has_rule(i) || is_bit_test(i) || is_masked_move(i)) return NULL;
    for (unsigned n = 0; n < i->operand_count; n++) {
        if (i->operand[n].kind == OPND_MOFFS) return NULL;
        if (i->operand[n].kind == OPND_MEM && i->operand[n].access) m = &i->operand[n];
    }
    return m;
}

/* Has the instruction a rule here, one that falls through to the next instruction? */
bool t_has_rule(const struct x86_insn *i)
{
    switch (i->mnemonic) {
    case X86_PUSH: case X86_POP: case X86_LEAVE: case X86_LEA: case X86_CLD: case X86_STD:
    case X86_MASKMOVQ: case X86_MASKMOVDQU: case X86_VMASKMOVDQU: return true;
    case X86_MOVS: case X86_STOS: case X86_LODS: return !i->rep;
    default: return false;
    }
}

bool t_is_plain(const struct trans *t, const struct x86_insn *i)
{
    if (mode_fault(t, i)) return false;
    if (i->attr & IA_BRANCH) return t_is_near_branch(i);
    return i->attr & (IA_COPY | IA_NOP) || t_has_rule(i) || t_is_plain_privileged(t, i);
}

static bool own_rule(struct trans *t, const struct x86_insn *i)
{
    switch (i->mnemonic) {
    case X86_PUSH: push(t, i); return true;
    case X86_POP: pop(t, i); return true;
    case X86_LEAVE: leave(t, i); return true;
    case X86_LEA: lea(t, i); return true;
    case X86_CLD: direction(t, false); return true;
    case X86_STD: direction(t, true); return true;
    case X86_MOVS: case X86_STOS: case X86_LODS:
        if (i->rep) return false;
        string(t, i);
        return true;
    case X86_MASKMOVQ: case X86_MASKMOVDQU: case X86_VMASKMOVDQU: maskmov_rule(t, i); return true;
    default: return t_branch(t);
    }
}

void t_instruction(struct trans *t)
{
    const struct x86_insn *i = t_insn(t);
    if (t->result[t->current] != X86_DECODE_OK) {
        t_helper(t, t->result[t->current] == X86_DECODE_TOO_LONG ? raise_gp : raise_ud, true);
        return;
    }
    bt_helper_fn *fault = mode_fault(t, i);
    if (fault) {
        t_helper(t, fault, true);
        return;
    }
    if (own_rule(t, i) || (i->attr & IA_NOP) || t_privileged(t, i) || t_gate(t, i)) return;
    /* A masked move that missed is done element by element, in a block of its own (see bt_miss). */
    if (i->attr & IA_COPY && !(is_masked_move(i) && t->flags & TBF_STEP)) {
        copy_rule(t, i);
        return;
    }
    struct bt_helper h = bt_helper_find(i);
    t_helper(t, h.fn ? h.fn : raise_ud, !h.fn || h.kind == HELPER_END);
}
