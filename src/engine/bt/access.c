/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory operands: effective address, segment, softmmu check, the access itself, and the cold code for misses.
 *
 * The check of S1 (linear address), where the flags are dead:
 *     pext  S2, S1, index_mask        slot
 *     lea   S2, [S2*4 + entries/8]    vcpu + S2*8: its entry
 *     lea   T0, [S1 + size - 1]
 *     and   T0, high_mask             page of the last byte
 *     add   T0, [vcpu + S2*8 + tag]   tags are minus the page: zero hits
 *     jne   cold
 *     mov   S2, [vcpu + S2*8 + addend]
 *     op    [S1 + S2]
 * and where the guest's flags are live in the host's, without touching them:
 *     mov   T0, [vcpu + S2*8 + tag]
 *     lea   T0, [T0 + S1 + size - 1]  the offset in the page, if it hits
 *     pext  T0, T0, high_mask
 *     jrcxz hit; jmp cold
 */
#include "engine/bt/translate.h"

static struct host_mem vm(int32_t offset) { return hm(H_RSP, offset); }

static void lea_sized(struct trans *t, unsigned addrsize, int to, struct host_mem m)
{
    if (addrsize == 8) e_lea(&t->e, to, m);
    else e_lea32(&t->e, to, m);
    if (addrsize == 2) e_movzx16(&t->e, to, to);
}

void t_effective_offset(struct trans *t, const struct x86_insn *insn, int extra)
{
    struct emitter *e = &t->e;
    int64_t disp = insn->disp + extra;
    if (insn->rip_relative) {
        t_scratch_set(t, S1, -1);
        t_rip_load(t, S1, (int32_t)(t_next_offset(t) + insn->disp));
        if (insn->addrsize != 8) lea_sized(t, insn->addrsize, S1, hm(S1, 0));
        return;
    }
    if (insn->base < 0 || disp != (int32_t)disp) {
        t_scratch_set(t, S1, -1);
        e_mov_ri(e, S1, insn->addrsize == 8 ? (uint64_t)disp : insn->addrsize == 4 ? (uint32_t)disp : (uint16_t)disp);
        if (insn->base >= 0) lea_sized(t, insn->addrsize, S1, hmi(S1, t_gpr_somewhere(t, insn->base, 1 << S2), 1, 0));
        if (insn->index >= 0) lea_sized(t, insn->addrsize, S1, hmi(S1, t_gpr_somewhere(t, insn->index, 1 << S2), insn->scale, 0));
        return;
    }
    int base = t_gpr_somewhere(t, insn->base, 1 << S1);
    struct host_mem m = hm(base, (int32_t)disp);
    if (insn->index >= 0) {
        m.index = t_gpr_somewhere(t, insn->index, base == S2 ? 1 << S1 : 1 << S2);
        m.scale = insn->scale;
    }
    lea_sized(t, insn->addrsize, S1, m);
    t_scratch_set(t, S1, -1);
}

static unsigned stack_width(const struct trans *t)
{
    return t->mode == X86_CODE64 ? 8 : t->flags & TBF_SS32 ? 4 : 2;
}

void t_stack_offset(struct trans *t, int delta) { lea_sized(t, stack_width(t), S1, hm(HOST_RSP, delta)); }

void t_stack_adjust(struct trans *t, int delta)
{
    struct emitter *e = &t->e;
    switch (stack_width(t)) {
    case 8: e_lea(e, HOST_RSP, hm(HOST_RSP, delta)); break;
    case 4: e_lea32(e, HOST_RSP, hm(HOST_RSP, delta)); break;
    default:
        e_lea32(e, S2, hm(HOST_RSP, delta));
        e_mov16_rr(e, HOST_RSP, S2);
    }
}

/* Does the access need the segment's base, and its limit checked? */
static bool is_flat(const struct trans *t, unsigned seg)
{
    if (seg == SEG_FS || seg == SEG_GS) return false;
    return t->mode == X86_CODE64 || (t->flags & TBF_FLAT);
}

/* S1: offset to linear. Returns the jump taken when the limit check wants the slow path. */
static uint8_t *segment(struct trans *t, unsigned seg, uint32_t what, unsigned size)
{
    struct emitter *e = &t->e;
    uint8_t *miss = NULL;
    t_scratch_set(t, T0, -1);
    if (t->mode != X86_CODE64) {
        e_load(e, T0, vm(VOFF(seg_limit[0][0]) + (what & MISS_WRITE ? 8 * SEG_COUNT : 0) + 8 * seg));
        e_lea(e, T0, hmi(T0, S1, 1, size - 1));        /* negative: within the limit */
        e_not(e, T0);
        e_pext(e, T0, T0, vm(VOFF(sign_mask)));
        uint8_t *fine = e_jrcxz_fwd(e);
        miss = e_jmp32_fwd(e);
        e_bind8(e, fine);
    }
    e_load(e, T0, vm(VOFF(s.seg[0].base) + (int)sizeof(struct segment) * seg));
    if (t->mode == X86_CODE64) e_lea(e, S1, hmi(S1, T0, 1, 0));
    else e_lea32(e, S1, hmi(S1, T0, 1, 0));
    return miss;
}

static uint8_t *check(struct trans *t, uint32_t what, unsigned size)
{
    struct emitter *e = &t->e;
    if (t->flags & TBF_ALIGN) return e_jmp32_fwd(e);
    int32_t entries = VOFF8(mmu[0].entry) + (int32_t)sizeof(struct softmmu) / 8 * ((t->flags & TBF_MMU) >> TBF_MMU_SHIFT);
    int32_t tag = VOFF_REST + offsetof(struct tlb_entry, tag) + 8 * (what & MISS_WRITE ? BT_WRITE : BT_READ);
    uint8_t *miss;
    e_pext(e, S2, S1, vm(VOFF(index_mask)));
    e_lea_scaled(e, S2, S2, sizeof(struct tlb_entry) / 8, entries);
    if (!t->flags_live[t->current]) {
        e_lea(e, T0, hm(S1, size - 1));
        e_rm(e, true, 0x23, T0, vm(VOFF(high_mask)));
        e_rm(e, true, 0x03, T0, hmi(H_RSP, S2, 8, tag));
        miss = e_jcc32_fwd(e, CC_NE);
    } else {
        e_load(e, T0, hmi(H_RSP, S2, 8, tag));
        e_lea(e, T0, hmi(T0, S1, 1, size - 1));
        e_pext(e, T0, T0, vm(VOFF(high_mask)));
        uint8_t *hit = e_jrcxz_fwd(e);
        miss = e_jmp32_fwd(e);
        e_bind8(e, hit);
    }
    e_load(e, S2, hmi(H_RSP, S2, 8, VOFF_REST + offsetof(struct tlb_entry, addend)));
    return miss;
}

/* S2 = addend of the window that the address in a register selects. */
void t_window_addend(struct trans *t, int address)
{
    t_scratch_set(t, S2, -1);
    e_shrx(&t->e, S2, address, H_RSP);
    e_load(&t->e, S2, hmi(H_RSP, S2, 8, WINDOW_TABLE_VOFF));
}

/* The same, where the piece is mostly the one that addresses in this guest register had before: nothing waits for the address then. Flags go. */
void t_window_addend_near(struct trans *t, int address, int guest)
{
    struct emitter *e = &t->e;
    int32_t place = VOFF(near[0]) + (int32_t)sizeof(t->v->near[0]) * guest;
    if (t->cold_count == MAX_COLD) {
        e->full = true;
        return;
    }
    struct cold *c = &t->cold[t->cold_count++];
    *c = (struct cold){ .insn = t->current, .near = guest, .address = address };
    t_scratch_set(t, S2, -1);
    e_shrx(e, S2, address, H_RSP);
    e_rm(e, true, 0x39, S2, vm(place));
    c->miss = e_jcc32_fwd(e, CC_NE);
    e_load(e, S2, vm(place + 8));
    c->back = e->p;
}

/* What was not near is now. The piece is noted last: a wild address faults before. */
static void cold_near(struct trans *t, const struct cold *c)
{
    struct emitter *e = &t->e;
    int32_t place = VOFF(near[0]) + (int32_t)sizeof(t->v->near[0]) * c->near;
    e_bind32(e, c->miss);
    e_load(e, S2, hmi(H_RSP, S2, 8, WINDOW_TABLE_VOFF));
    e_store(e, vm(place + 8), S2);
    e_shrx(e, S2, c->address, H_RSP);
    e_store(e, vm(place), S2);
    e_load(e, S2, vm(place + 8));
    e_jmp_to(e, (uint64_t)((intptr_t)c->back + e->exec_delta));
}

void t_access(struct trans *t, unsigned seg, uint32_t what, unsigned size, struct mem_op op)
{
    if (t->windows && op.kind != OP_MASKMOV) {      /* that one has no guest RDI when it faults */
        if (!is_flat(t, seg)) segment(t, seg, what, size);
        t_window_addend(t, S1);
        t_op(t, &op, hmi(S1, S2, 1, 0));
        return;
    }
    if (t->cold_count == MAX_COLD) {
        t->e.full = true;
        return;
    }
    struct cold *c = &t->cold[t->cold_count++];
    *c = (struct cold){ .near = -1, .what = what | size, .seg = seg, .insn = t->current, .op = op };
    if (!is_flat(t, seg)) c->segment_miss = segment(t, seg, what, size);
    c->miss = check(t, what, size);
    c->back = t->e.p;
    t_op(t, &op, hmi(S1, S2, 1, 0));
    c->after = t->e.p;
}

void t_group_check(struct trans *t, unsigned bytes, bool write)
{
    if (t->cold_count == MAX_COLD) {
        t->e.full = true;
        return;
    }
    struct cold *c = &t->cold[t->cold_count++];
    *c = (struct cold){ .near = -1, .what = bytes | (write ? MISS_WRITE : 0), .insn = t->current, .is_group = true };
    c->miss = check(t, c->what, bytes);
    c->back = t->e.p;
}

static void jump_back(struct trans *t, uint8_t *to) { e_jmp_to(&t->e, (uint64_t)((intptr_t)to + t->e.exec_delta)); }

static void cold_group(struct trans *t, const struct cold *c)
{
    struct emitter *e = &t->e;
    t->current = c->insn;
    e_bind32(e, c->miss);
    e_mov_ri(e, T0, c->what);
    e_call_to(e, t->en->thunk_group);
    uint8_t *good = e_jrcxz_fwd(e), *bad = e_jmp8_fwd(e);
    e_bind8(e, good);
    jump_back(t, c->back);
    e_bind8(e, bad);
    t_exit_ungrouped(t);
}

static void cold_one(struct trans *t, struct cold *c)
{
    struct emitter *e = &t->e;
    uint32_t what = c->what | (uint32_t)c->seg << MISS_SEG_SHIFT;
    uint8_t *joint = NULL;
    t->current = c->insn;
    if (c->segment_miss) {
        e_bind32(e, c->segment_miss);
        e_mov_ri(e, T0, what | MISS_OFFSET);
        joint = e_jmp8_fwd(e);
    }
    e_bind32(e, c->miss);
    e_mov_ri(e, T0, what);
    if (joint) e_bind8(e, joint);
    e_call_to(e, t->en->thunk_miss);
    if (!(c->what & MISS_WRITE)) {
        jump_back(t, c->back);
        return;
    }
    uint8_t *direct = e_jrcxz_fwd(e), *bounce = e_jmp8_fwd(e);
    e_bind8(e, direct);
    jump_back(t, c->back);
    e_bind8(e, bounce);
    t_op(t, &c->op, hmi(S1, S2, 1, 0));
    e_call_to(e, t->en->thunk_commit);
    jump_back(t, c->after);
}

void t_emit_cold(struct trans *t)
{
    struct tb_cold *map = bt_cache_meta(t->en, t->cold_count * sizeof(struct tb_cold) + 1, 16);
    if (!map) {
        t->out_of_memory = true;
        return;
    }
    for (unsigned i = 0; i < t->cold_count && !t->e.full; i++) {
        map[i] = (struct tb_cold){ t->e.p - (t->en->rw + t->tb->host), t->cold[i].insn };
        if (t->cold[i].near >= 0) cold_near(t, &t->cold[i]);
        else if (t->cold[i].is_group) cold_group(t, &t->cold[i]);
        else cold_one(t, &t->cold[i]);
    }
    t->tb->cold = map;
    t->tb->cold_count = t->cold_count;
}
