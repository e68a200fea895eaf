/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Near control transfers and the exits of a block.
 *
 * A target on the same page is reached by a direct jump, which is patched when the target is translated; one on another
 * page by a direct jump behind a check of where that page lies. Everything else looks in the jump cache: RIP selects an entry, whose tag is minus (RIP + salt); the salt changes with the mode
 * and whenever translations or mappings do, so that all entries die at once. To make a vCPU leave generated code, its
 * salt is spoiled: each look-up then goes to C. Backward direct jumps poll v->pending.
 *
 * A call also notes where its return will go: the return stack has a place for each guest RSP (some of its bits), with RIP
 * and salt as a tag and the host code of the block behind the call, or a stub that looks for it. A return that finds its
 * RIP there needs no look-up, however many returns a program has. What changes mappings empties the return stack.
 */
#include "engine/bt/translate.h"

static struct host_mem vm(int32_t offset) { return hm(H_RSP, offset); }

/* RIP is a constant of this block, and of all that it can lead to (the salt has the mode in it). */
static bool has_fixed_rip(const struct trans *t) { return t->flags & TBF_RIP; }

/* S1 = RIP: go there. */
void t_exit_s1(struct trans *t)
{
    struct emitter *e = &t->e;
    t->ended = true;
    if (t->flags & (TBF_STEP | TBF_TRACE)) {
        e_store(e, vm(VOFF(s.rip)), S1);
        e_store(e, vm(VOFF(scratch)), S1);
        e_jmp_to(e, t->flags & TBF_STEP ? t->en->thunk_step : t->en->thunk_lookup);
        return;
    }
    e_store(e, vm(VOFF(scratch)), S1);
    e_pext(e, S2, S1, vm(VOFF(jc_mask)));
    e_lea_scaled(e, S2, S2, sizeof(struct jump_cache_entry) / 8, VOFF8(jc));
    e_load(e, T0, hmi(H_RSP, S2, 8, VOFF_REST));
    e_lea(e, T0, hmi(T0, S1, 1, 0));
    e_load(e, H_R10, vm(VOFF(salt)));
    e_lea(e, T0, hmi(T0, H_R10, 1, 0));
    uint8_t *hit = e_jrcxz_fwd(e);
    e_jmp_to(e, t->en->thunk_lookup);
    e_bind8(e, hit);
    if (!has_fixed_rip(t)) e_load(e, H_R10, vm(VOFF(scratch)));
    e_jmp_mem(e, hmi(H_RSP, S2, 8, VOFF_REST + offsetof(struct jump_cache_entry, code)));
}

/* S1 = RIP of a target given as an offset in the page, wrapped to bits. */
static void target_to_s1(struct trans *t, int64_t target, unsigned opsize)
{
    t_rip_load(t, S1, target);
    if (t->mode != X86_CODE64 && opsize == 2) e_movzx16(&t->e, S1, S1);
}

static unsigned branch_size(const struct trans *t, const struct x86_insn *i)
{
    return t->mode == X86_CODE64 ? (i->opsize == 2 ? 2 : 8) : i->opsize;
}

/* Offset of the target in this page if a direct jump may lead there, or -1. */
static int32_t chainable(const struct trans *t, int64_t target, unsigned opsize)
{
    if (t->crossing || (t->flags & (TBF_STEP | TBF_TRACE)) || t->jump_count >= TB_MAX_JUMPS - TB_GROUPS) return -1;
    if (t->flags & TBF_FIXED) {
        uint64_t rip = (uint32_t)(t->key_base + target);
        if (opsize == 2) rip = (uint16_t)rip;
        target = (int64_t)(int32_t)(rip - (uint32_t)t->key_base);
    } else if (t->mode != X86_CODE64 && opsize == 2) {
        return -1;
    }
    return target >= 0 && target < (int64_t)PAGE_BYTES ? (int32_t)target : -1;
}

/* NOPs, so that four bytes after `before` more lie within eight aligned ones: they are changed while others execute them. */
static void align_patch(struct emitter *e, unsigned before)
{
    unsigned at = ((uintptr_t)e->p + before) % 8;
    if (at > 4) e_nops(e, 8 - at);
}

/* The same, of a jump: prefixes that mean nothing to it cost less than a NOP. */
static void align_jump(struct emitter *e, unsigned before)
{
    unsigned at = ((uintptr_t)e->p + before) % 8;
    for (; at > 4 && at < 8; at++) e8(e, 0x26);        /* ES */
}

/* A patchable jump; opcode 0xe9, or 0x0f8x for a conditional one. Its stub is emitted later. */
static void patchable(struct trans *t, unsigned opcode, int32_t target)
{
    struct emitter *e = &t->e;
    struct tb_jump *j = &t->jump[t->jump_count++];
    align_jump(e, opcode > 0xff ? 2 : 1);
    e_opcode(e, opcode);
    j->patch = e->p - t->en->rw;
    j->target = target;
    if (has_fixed_rip(t)) j->rip = t->key_base + target;
    e32(e, 0);
}

/* May a jump to another page be a direct one with a check? RIP must be the linear address. */
static bool is_guardable(const struct trans *t, int64_t target, unsigned opsize)
{
    return !(t->flags & (TBF_STEP | TBF_TRACE | TBF_FIXED)) && t->jump_count < TB_MAX_JUMPS - TB_GROUPS && (t->mode == X86_CODE64 || opsize != 2) &&
           target == (int32_t)target;
}

/* Leaves for the stub of the next jump, to an offset in this page, if somebody wants the vCPU. */
static void poll(struct trans *t, int64_t target)
{
    struct emitter *e = &t->e;
    if (target == t->offset[0] && t->loop_poll) {
        t->jump_stub[t->jump_count].poll = t->loop_poll;
        return;
    }
    t_scratch_set(t, T0, -1);
    e_load32(e, T0, vm(VOFF(pending)));
    uint8_t *fine = e_jrcxz_fwd(e);
    t->jump_stub[t->jump_count].poll = e_jmp32_fwd(e);
    e_bind8(e, fine);
}

/* Does the block end by jumping back to its beginning? */
bool t_is_loop(const struct trans *t)
{
    unsigned last = t->count - 1;
    const struct x86_insn *i = &t->insn[last];
    bool jumps = t->result[last] == X86_DECODE_OK && i->operand[0].kind == OPND_REL && (i->mnemonic == X86_JCC || i->mnemonic == X86_JMP);
    return jumps && !t->crossing && !(t->flags & (TBF_STEP | TBF_TRACE | TBF_FIXED)) && branch_size(t, i) != 2 &&
           t->offset[last] + i->len + i->imm == t->offset[0];
}

/* A loop that begins by setting the flags can poll by a compare, and does so there: its last instruction is then all of the way back. */
void t_loop_begin(struct trans *t)
{
    struct emitter *e = &t->e;
    if (!t->is_loop || t->flags_live[0]) return;
    e_rm(e, false, 0x83, 7, vm(VOFF(pending)));
    e8(e, 0);
    t->loop_poll = e_jcc32_fwd(e, CC_NE);
}

/* T0 = a constant that bt_jump_connect sets. */
static void guard_load(struct trans *t)
{
    struct emitter *e = &t->e;
    e_nops(e, -((uintptr_t)e->p + 2) % 8);
    t->jump[t->jump_count].guard = e->p + 2 - t->en->rw;
    e_mov_ri64(e, T0, PAGE_NONE);
}

/* To another page: RIP + key of its page in the fetch TLB + a constant of the target is 0 when the page is mapped where it
 * was when the jump was connected. Where RIP is a constant, so is the place of the key in guard[]. Flags stay. */
static void guarded(struct trans *t, int64_t target)
{
    struct emitter *e = &t->e;
    unsigned idx = (t->flags & TBF_CPL) == TBF_CPL ? MMU_USER : MMU_KERNEL;
    int32_t entries = VOFF8(mmu[0].entry) + (int32_t)(sizeof(struct softmmu) / 8 * idx);
    if (has_fixed_rip(t)) {
        e_load(e, S2, vm(VOFF(guard[idx][0]) + 8 * (int32_t)bt_guard_slot(t->key_base + target)));
        guard_load(t);
    } else {
        t_rip_load(t, S1, target);
        e_pext(e, S2, S1, vm(VOFF(index_mask)));
        e_lea_scaled(e, S2, S2, sizeof(struct tlb_entry) / 8, entries);
        guard_load(t);
        e_load(e, S2, hmi(H_RSP, S2, 8, VOFF_REST + offsetof(struct tlb_entry, fetch)));
        e_lea(e, T0, hmi(T0, S1, 1, 0));
    }
    e_lea(e, T0, hmi(T0, S2, 1, 0));
    uint8_t *hit = e_jrcxz_fwd(e);
    t->jump_stub[t->jump_count].miss = e_jmp32_fwd(e);
    e_bind8(e, hit);
    patchable(t, 0xe9, (int32_t)target);
}

static void direct(struct trans *t, int64_t target, unsigned opsize)
{
    int32_t chain = chainable(t, target, opsize);
    bool backward = target <= t->offset[t->current];
    t->ended = true;
    if (chain >= 0) {
        if (chain <= t->offset[t->current]) poll(t, chain);
        if (chain == t->offset[0]) t_scratch_restore(t);
        patchable(t, 0xe9, chain);
    } else if (is_guardable(t, target, opsize)) {
        if (backward || t->mode != X86_CODE64) poll(t, target);    /* 32-bit code could go round forward */
        guarded(t, target);
    } else {
        target_to_s1(t, target, opsize);
        t_exit_s1(t);
    }
}

/* Goes on at target, an offset from the start of this page. */
void t_exit_direct(struct trans *t, int64_t target) { direct(t, target, 8); }

void t_emit_stubs(struct trans *t)
{
    struct emitter *e = &t->e;
    struct tb_jump *jumps = bt_cache_meta(t->en, t->jump_count * sizeof(struct tb_jump) + 1, 16);
    if (!jumps) {
        t->out_of_memory = true;
        return;
    }
    for (unsigned n = 0; n < t->jump_count && !e->full; n++) {
        struct tb_jump *j = &jumps[n];
        align_patch(e, 11);
        *j = t->jump[n];
        j->from = t->tb;
        j->stub = e->p - t->en->rw;
        if (t->jump_stub[n].poll) e_bind32(e, t->jump_stub[n].poll);
        if (t->jump_stub[n].miss) e_bind32(e, t->jump_stub[n].miss);
        int32_t d = j->stub - (j->patch + 4);
        __builtin_memcpy(t->en->rw + j->patch, &d, 4);
        e_mov_ri64(e, H_R10, (uint64_t)j);             /* bt_jump_by_cache counts its bytes */
        e_jmp_to(e, j->is_return ? t->en->thunk_return : t->en->thunk_chain);
    }
    t->tb->jump = jumps;
    t->tb->jump_count = t->jump_count;
}

/* ---- The instructions ---- */

/* taken: a jump that was emitted for the taken side (rel32 to bind), NULL: none. Both exits follow. */
static void two_exits(struct trans *t, const struct x86_insn *i, uint8_t *taken)
{
    direct(t, t_next_offset(t), 8);
    e_bind32(&t->e, taken);
    direct(t, t_next_offset(t) + i->imm, branch_size(t, i));
}

/* Forward only: the way back of a loop is the end of a block. */
bool t_goes_on(const struct trans *t, const struct x86_insn *i, unsigned offset)
{
    return i->mnemonic == X86_JCC && i->imm > 0 && !(t->flags & (TBF_STEP | TBF_TRACE | TBF_FIXED)) &&
           branch_size(t, i) != 2 && t->count < TB_MAX_INSNS && offset + i->len < PAGE_BYTES;
}

unsigned t_inner_target(const struct trans *t, unsigned n)
{
    const struct x86_insn *i = &t->insn[n];
    if (t->result[n] != X86_DECODE_OK || i->mnemonic != X86_JCC || i->imm <= 0 || n + 1 == t->count || branch_size(t, i) == 2) return 0;
    int64_t target = t->offset[n] + i->len + i->imm;
    for (unsigned k = n + 1; k < t->count && t->offset[k] <= target; k++)
        if (t->offset[k] == target) return k;
    return 0;
}

static void jcc(struct trans *t, const struct x86_insn *i)
{
    unsigned inner = t_inner_target(t, t->current);
    if (inner) {
        t->inner[t->inner_count].insn = inner;
        t->inner[t->inner_count++].from = e_jcc32_fwd(&t->e, i->cc);
        return;
    }
    int64_t target = t_next_offset(t) + i->imm;
    int32_t chain = chainable(t, target, branch_size(t, i));
    bool last = t->current + 1 == t->count;
    if (chain > t->offset[t->current]) {
        patchable(t, 0x0f80 | i->cc, chain);
        if (last) direct(t, t_next_offset(t), 8);
        return;
    }
    if (last && chain == t->offset[0] && t->loop_poll) {
        poll(t, chain);
        t_scratch_restore(t);
        patchable(t, 0x0f80 | i->cc, chain);
        direct(t, t_next_offset(t), 8);
        return;
    }
    if (last && i->imm < 0) {                          /* the way back of a loop in line, the way out in the cold part */
        uint8_t *out = e_jcc32_fwd(&t->e, i->cc ^ 1);
        t->side[t->side_count++] = (struct side_exit){ out, t_next_offset(t), t->current };
        direct(t, target, branch_size(t, i));
        return;
    }
    uint8_t *taken = e_jcc32_fwd(&t->e, i->cc);
    if (last) two_exits(t, i, taken);
    else t->side[t->side_count++] = (struct side_exit){ taken, target, t->current };
}

/* To the current instruction, in a block without groups. */
void t_exit_ungrouped(struct trans *t)
{
    struct tb_jump *j = &t->jump[t->jump_count];
    patchable(t, 0xe9, t->offset[t->current]);
    j->ungrouped = true;
}

void t_emit_side_exits(struct trans *t)
{
    for (unsigned n = 0; n < t->side_count; n++) {
        t->current = t->side[n].insn;
        e_bind32(&t->e, t->side[n].from);
        direct(t, t->side[n].target, 8);
    }
}

static void count_to_t0(struct trans *t, unsigned addrsize)
{
    struct emitter *e = &t->e;
    if (addrsize == 8) e_mov_rr(e, T0, HOST_RCX);
    else if (addrsize == 4) e_mov32_rr(e, T0, HOST_RCX);
    else e_movzx16(e, T0, HOST_RCX);
}

static void loop(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    if (i->addrsize == 8) {
        e_lea(e, HOST_RCX, hm(HOST_RCX, -1));
    } else if (i->addrsize == 4) {
        e_lea32(e, HOST_RCX, hm(HOST_RCX, -1));
    } else {
        e_lea32(e, T0, hm(HOST_RCX, -1));
        e_mov16_rr(e, HOST_RCX, T0);
    }
    count_to_t0(t, i->addrsize);
    uint8_t *out = e_jrcxz_fwd(e);
    uint8_t *taken = i->mnemonic == X86_LOOP ? e_jmp32_fwd(e) : e_jcc32_fwd(e, i->mnemonic == X86_LOOPE ? CC_E : CC_NE);
    e_bind8(e, out);
    two_exits(t, i, taken);
}

static void jcxz(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    count_to_t0(t, i->addrsize);
    uint8_t *zero = e_jrcxz_fwd(e), *not_zero = e_jmp8_fwd(e);
    e_bind8(e, zero);
    uint8_t *taken = e_jmp32_fwd(e);
    e_bind8(e, not_zero);
    two_exits(t, i, taken);
}

/* S1 = target of an indirect jmp or call. */
static void indirect_target(struct trans *t, const struct x86_insn *i, unsigned n)
{
    struct emitter *e = &t->e;
    if (i->operand[0].kind == OPND_MEM) {
        t_effective_offset(t, i, 0);
        t_access(t, i->seg, MISS_READ, n, (struct mem_op){ OP_LOAD_S1, n, 0, 0 });
        return;
    }
    t_gpr_load(t, S1, i->operand[0].reg);
    if (n == 4) e_mov32_rr(e, S1, S1);
    if (n == 2) e_movzx16(e, S1, S1);
}

static bool has_return_stack(const struct trans *t)
{
    return t->mode == X86_CODE64 && !(t->flags & (TBF_STEP | TBF_TRACE | TBF_FIXED));
}

static struct host_mem ret_entry(int32_t array) { return hmi(H_RSP, S2, 8, array); }

/* RSP points to the return address, which is that of the next instruction. */
static void note_return(struct trans *t)
{
    struct emitter *e = &t->e;
    unsigned next = t_next_offset(t);
    if (!has_return_stack(t) || t->crossing || next >= PAGE_BYTES || t->jump_count >= TB_MAX_JUMPS - TB_GROUPS - 1) return;
    e_pext(e, S2, HOST_RSP, vm(VOFF(ret_mask)));
    if (has_fixed_rip(t)) {
        int64_t add = -(int64_t)(t->key_base + next) - 1;
        e_load(e, T0, vm(VOFF(minus_salt)));
        if (add != (int32_t)add) {
            e_mov_ri(e, S1, add);
            e_lea(e, T0, hmi(T0, S1, 1, 0));
        } else {
            e_lea(e, T0, hm(T0, (int32_t)add));
        }
    } else {
        e_load(e, T0, vm(VOFF(pcbase)));
        e_load(e, S1, vm(VOFF(salt)));
        e_lea(e, T0, hmi(T0, S1, 1, next));
        e_not(e, T0);
    }
    e_store(e, ret_entry(VOFF(ret_tag)), T0);
    struct tb_jump *j = &t->jump[t->jump_count++];
    align_patch(e, 3);
    e8(e, 0x48); e8(e, 0x8d); e8(e, 0x0d);             /* lea rcx, [rip + d] */
    j->patch = e->p - t->en->rw;
    j->target = next;
    j->is_return = true;
    e32(e, 0);
    e_store(e, ret_entry(VOFF(ret_code)), T0);
}

/* S1 = RIP, S2 = its place in the return stack. */
static void exit_return(struct trans *t)
{
    struct emitter *e = &t->e;
    t->ended = true;
    e_store(e, vm(VOFF(scratch)), S1);
    e_load(e, T0, ret_entry(VOFF(ret_tag)));
    e_lea(e, T0, hmi(T0, S1, 1, 1));
    e_load(e, S1, vm(VOFF(salt)));
    e_lea(e, T0, hmi(T0, S1, 1, 0));
    uint8_t *hit = e_jrcxz_fwd(e);
    e_jmp_to(e, t->en->thunk_by_cache);
    e_bind8(e, hit);
    if (!has_fixed_rip(t)) e_load(e, S1, vm(VOFF(scratch)));
    e_jmp_mem(e, ret_entry(VOFF(ret_code)));
}

static void call(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    unsigned n = branch_size(t, i);
    bool is_direct = i->operand[0].kind == OPND_REL;
    if (!is_direct) {
        indirect_target(t, i, n);
        e_store(e, vm(VOFF(call_target)), S1);
    }
    struct mem_op op = { OP_STORE_PC, n, 0, 0 };
    if (!t_group_access(t, -(int)n, op)) {
        t_stack_offset(t, -(int)n);
        t_access(t, SEG_SS, MISS_WRITE, n, op);
    }
    t_stack_adjust(t, -(int)n);
    note_return(t);
    if (is_direct) {
        direct(t, t_next_offset(t) + i->imm, n);
    } else {
        e_load(e, S1, vm(VOFF(call_target)));
        t_exit_s1(t);
    }
}

static void ret(struct trans *t, const struct x86_insn *i)
{
    unsigned n = branch_size(t, i);
    int extra = i->operand[0].kind == OPND_IMM ? (uint16_t)i->imm : 0;
    struct mem_op op = { OP_LOAD_S1, n, 0, 0 };
    if (!t_group_access(t, 0, op)) {
        t_stack_offset(t, 0);
        t_access(t, SEG_SS, MISS_READ, n, op);
    }
    if (has_return_stack(t)) e_pext(&t->e, S2, HOST_RSP, vm(VOFF(ret_mask)));
    t_stack_adjust(t, n + extra);
    if (has_return_stack(t)) exit_return(t);
    else t_exit_s1(t);
}

/* One that t_branch translates. */
bool t_is_near_branch(const struct x86_insn *i)
{
    switch (i->mnemonic) {
    case X86_JCC: case X86_LOOP: case X86_LOOPE: case X86_LOOPNE: case X86_JCXZ: case X86_CALL: case X86_RET: case X86_JMP: return true;
    default: return false;
    }
}

/* Translates a near control transfer; false if the instruction is none. */
bool t_branch(struct trans *t)
{
    const struct x86_insn *i = t_insn(t);
    switch (i->mnemonic) {
    case X86_JCC: jcc(t, i); return true;
    case X86_LOOP: case X86_LOOPE: case X86_LOOPNE: loop(t, i); return true;
    case X86_JCXZ: jcxz(t, i); return true;
    case X86_CALL: call(t, i); return true;
    case X86_RET: ret(t, i); return true;
    case X86_JMP:
        if (i->operand[0].kind == OPND_REL) {
            direct(t, t_next_offset(t) + i->imm, branch_size(t, i));
        } else {
            indirect_target(t, i, branch_size(t, i));
            t_exit_s1(t);
        }
        return true;
    default: return false;
    }
}
