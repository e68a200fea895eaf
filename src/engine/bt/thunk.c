/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Thunks: the fixed pieces of host code between generated code and C, emitted once at the start of the code cache.
 *
 * Generated code runs with RSP within struct bt_vcpu (BT_RSP), so a call puts its return address into the vCPU, over two general registers that are
 * in host registers then. A thunk moves it to thunk_return before anything else. The C function it calls uses the stack that grows down from
 * the vCPU. Every thunk writes all guest registers and the arithmetic flags to v->s before C runs and reads them back afterwards, so C sees and
 * may change everything.
 */
#include "engine/bt/translate.h"

/* Clobbers RAX, RCX after they are saved. */
static void save_registers(struct emitter *e)
{
    for (int g = 0; g < 16; g++)
        if (host_of(g) >= 0) e_store(e, hm(H_RSP, VOFF(s.gpr[0]) + 8 * g), host_of(g));
    e8(e, 0x9f);                                       /* lahf */
    e8(e, 0x0f); e8(e, 0x90); e8(e, 0xc0);             /* seto al */
    e8(e, 0x0f); e8(e, 0xb6); e8(e, 0xc8);             /* movzx ecx, al */
    e8(e, 0xc1); e8(e, 0xe1); e8(e, 11);               /* shl ecx, 11 */
    e8(e, 0x0f); e8(e, 0xb6); e8(e, 0xc4);             /* movzx eax, ah */
    e8(e, 0x25); e32(e, 0xd5);                         /* and eax, 0xd5 */
    e8(e, 0x09); e8(e, 0xc1);                          /* or ecx, eax */
    e_load32(e, H_RAX, hm(H_RSP, VOFF(s.rflags)));
    e8(e, 0x25); e32(e, ~(uint32_t)RFLAGS_ARITH);
    e8(e, 0x09); e8(e, 0xc8);                          /* or eax, ecx */
    e_store32(e, hm(H_RSP, VOFF(s.rflags)), H_RAX);
}

void bt_thunk_flags(struct emitter *e)
{
    e8(e, 0x89); e8(e, 0xc1);                          /* mov ecx, eax */
    e8(e, 0xc1); e8(e, 0xe9); e8(e, 11);               /* shr ecx, 11 */
    e8(e, 0x83); e8(e, 0xe1); e8(e, 1);                /* and ecx, 1 */
    e8(e, 0x88); e8(e, 0xc4);                          /* mov ah, al */
    e8(e, 0x88); e8(e, 0xc8);                          /* mov al, cl */
    e8(e, 0x04); e8(e, 0x7f);                          /* add al, 127: OF from bit 0 */
    e8(e, 0x9e);                                       /* sahf */
}

static void load_registers(struct emitter *e)
{
    e_load32(e, H_RAX, hm(H_RSP, VOFF(s.rflags)));
    bt_thunk_flags(e);
    for (int g = 0; g < 16; g++)
        if (host_of(g) >= 0) e_load(e, host_of(g), hm(H_RSP, VOFF(s.gpr[0]) + 8 * g));
}

/* RSP and RDI = the vCPU, where a stack begins. */
static void stack_begin(struct emitter *e)
{
    e_lea(e, H_RSP, hm(H_RSP, -BT_RSP));
    e_mov_rr(e, H_RDI, H_RSP);
}

static void stack_end(struct emitter *e) { e_lea(e, H_RSP, hm(H_RSP, BT_RSP)); }

static void call_c(struct emitter *e, const void *fn)
{
    e_mov_ri(e, H_RAX, (uint64_t)fn);
    e8(e, 0xff); e8(e, 0xd0);
}

/* How a thunk that is called begins and ends. */
static void called(struct emitter *e) { e_pop_mem(e, hm(H_RSP, VOFF(thunk_return))); }
static void go_back(struct emitter *e)
{
    e_push_mem(e, hm(H_RSP, VOFF(thunk_return)));
    e8(e, 0xc3);
}

/* RAX is host code to go on with; if it is a block's entry for look-ups, that wants RIP in R10, and in scratch when the block is no more. */
static void continue_at_rax(struct emitter *e)
{
    stack_end(e);
    e_store(e, hm(H_RSP, VOFF(jump_to)), H_RAX);
    load_registers(e);
    e_load(e, H_R10, hm(H_RSP, VOFF(s.rip)));
    e_store(e, hm(H_RSP, VOFF(scratch)), H_R10);
    e_jmp_mem(e, hm(H_RSP, VOFF(jump_to)));
}

uint64_t bt_thunk_begin(struct emitter *e)
{
    while (e_pc(e) & 15) e8(e, 0xcc);
    return e_pc(e);
}

static const int callee_saved[] = { H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15 };

/* void enter(struct bt_vcpu *v, uint64_t code); and its way back. */
static void build_enter(struct bt_engine *en, struct emitter *e)
{
    en->thunk_enter = bt_thunk_begin(e);
    for (unsigned i = 0; i < ARRAY_SIZE(callee_saved); i++) {
        e_rex(e, false, 0, 0, callee_saved[i], false);
        e8(e, 0x50 | (callee_saved[i] & 7));
    }
    e_lea(e, H_RSP, hm(H_RSP, -8));
    e_store(e, hm(H_RDI, BT_RSP + VOFF(host_rsp)), H_RSP);
    e_mov_rr(e, H_RSP, H_RDI);
    e_mov_rr(e, H_RAX, H_RSI);
    continue_at_rax(e);

    en->thunk_exit = bt_thunk_begin(e);
    e_load(e, H_RSP, hm(H_RSP, VOFF(host_rsp)));
    e_lea(e, H_RSP, hm(H_RSP, 8));
    for (int i = ARRAY_SIZE(callee_saved) - 1; i >= 0; i--) {
        e_rex(e, false, 0, 0, callee_saved[i], false);
        e8(e, 0x58 | (callee_saved[i] & 7));
    }
    e8(e, 0xc3);
}

/* R10: struct bt_helper_call. Counts by mnemonic; clobbers RAX. */
static void count_helper(struct emitter *e)
{
    e_rm(e, false, 0x0fb7, H_RAX, hm(H_R10, offsetof(struct bt_helper_call, copy.mnemonic)));         /* movzx */
    e_rm(e, true, 0xff, 0, hmi(H_RSP, H_RAX, 8, VOFF(count_helper)));                             /* inc */
}

/* R10: struct bt_helper_call { fn, insn }; R11: address of the instruction. */
static void build_helpers(struct bt_engine *en, struct emitter *e)
{
    en->thunk_helper_next = bt_thunk_begin(e);
    called(e);
    save_registers(e);
    count_helper(e);
    e_store(e, hm(H_RSP, VOFF(s.rip)), H_R11);
    stack_begin(e);
    e_load(e, H_RSI, hm(H_R10, 8));
    e_call_mem(e, hm(H_R10, 0));
    stack_end(e);
    load_registers(e);
    e_load(e, H_RCX, hm(H_RSP, VOFF(code_changed)));
    uint8_t *same = e_jrcxz_fwd(e);
    uint8_t *changed = e_jmp32_fwd(e);
    e_bind8(e, same);
    go_back(e);
    e_bind32(e, changed);                              /* was it the block that called? */
    save_registers(e);
    e_load(e, H_RSI, hm(H_RSP, VOFF(thunk_return)));
    stack_begin(e);
    call_c(e, bt_code_changed);
    continue_at_rax(e);

    en->thunk_helper_end = bt_thunk_begin(e);
    save_registers(e);
    count_helper(e);
    e_store(e, hm(H_RSP, VOFF(s.rip)), H_R11);
    stack_begin(e);
    e_load(e, H_RSI, hm(H_R10, 8));
    e_call_mem(e, hm(H_R10, 0));
    e_mov_rr(e, H_RDI, H_RSP);
    call_c(e, bt_next);
    continue_at_rax(e);
}

/* R10: address, ECX: what. Out: R10 host address, R11 0, RCX not 0: bounce buffer, to be committed after the write. */
static void build_memory(struct bt_engine *en, struct emitter *e)
{
    en->thunk_miss = bt_thunk_begin(e);
    called(e);
    e_mov32_rr(e, H_R11, H_RCX);
    save_registers(e);
    e_mov_rr(e, H_RSI, H_R10);
    e_mov32_rr(e, H_RDX, H_R11);
    e_load(e, H_RCX, hm(H_RSP, VOFF(thunk_return)));
    stack_begin(e);
    call_c(e, bt_miss);
    stack_end(e);
    e_mov_rr(e, H_R10, H_RAX);
    load_registers(e);
    e_load(e, H_RCX, hm(H_RSP, VOFF(scratch)));
    e_mov_ri(e, H_R11, 0);
    go_back(e);

    en->thunk_group = bt_thunk_begin(e);
    called(e);
    e_mov32_rr(e, H_R11, H_RCX);
    save_registers(e);
    e_mov_rr(e, H_RSI, H_R10);
    e_mov32_rr(e, H_RDX, H_R11);
    stack_begin(e);
    call_c(e, bt_group_miss);
    stack_end(e);
    e_mov_rr(e, H_R11, H_RAX);
    load_registers(e);
    e_load(e, H_RCX, hm(H_RSP, VOFF(scratch)));
    go_back(e);

    en->thunk_commit = bt_thunk_begin(e);
    called(e);
    save_registers(e);
    e_load(e, H_RSI, hm(H_RSP, VOFF(thunk_return)));
    stack_begin(e);
    call_c(e, bt_commit);
    stack_end(e);
    load_registers(e);
    go_back(e);
}

static uint64_t build_out(struct emitter *e, const void *fn, bool has_jump)
{
    uint64_t at = bt_thunk_begin(e);
    save_registers(e);
    stack_begin(e);
    if (has_jump) e_mov_rr(e, H_RSI, H_R10);
    call_c(e, fn);
    continue_at_rax(e);
    return at;
}

/* R10: struct tb_jump, whose target is an instruction across two pages and so cannot be jumped to directly. Looks in the
 * jump cache, 64-bit code only. */
static uint64_t build_crossing(struct bt_engine *en, struct emitter *e, bool fixed)
{
    uint64_t at = bt_thunk_begin(e);
    e_store(e, hm(H_RSP, VOFF(jump_to)), H_R10);
    if (fixed) {
        e_load(e, H_R10, hm(H_R10, offsetof(struct tb_jump, rip)));
    } else {
        e_movsxd_load(e, H_R11, hm(H_R10, offsetof(struct tb_jump, target)));
        e_load(e, H_R10, hm(H_RSP, VOFF(pcbase)));
        e_lea(e, H_R10, hmi(H_R10, H_R11, 1, 0));
    }
    e_pext(e, H_R11, H_R10, hm(H_RSP, VOFF(jc_mask)));
    e_lea_scaled(e, H_R11, H_R11, sizeof(struct jump_cache_entry) / 8, VOFF8(jc));
    e_load(e, H_RCX, hmi(H_RSP, H_R11, 8, VOFF_REST));
    e_lea(e, H_RCX, hmi(H_RCX, H_R10, 1, 0));
    e_store(e, hm(H_RSP, VOFF(scratch)), H_R10);
    e_load(e, H_R10, hm(H_RSP, VOFF(salt)));
    e_lea(e, H_RCX, hmi(H_RCX, H_R10, 1, 0));
    uint8_t *hit = e_jrcxz_fwd(e);
    e_load(e, H_R10, hm(H_RSP, VOFF(jump_to)));
    e_jmp_to(e, en->thunk_chain);
    e_bind8(e, hit);
    e_load(e, H_R10, hm(H_RSP, VOFF(scratch)));
    e_jmp_mem(e, hmi(H_RSP, H_R11, 8, VOFF_REST + offsetof(struct jump_cache_entry, code)));
    return at;
}

/* scratch: RIP; it looks in the jump cache. */
static void build_by_cache(struct bt_engine *en, struct emitter *e)
{
    en->thunk_dead = bt_thunk_begin(e);                /* R10: RIP; its block is no more */
    e_store(e, hm(H_RSP, VOFF(scratch)), H_R10);
    en->thunk_by_cache = e_pc(e);
    e_load(e, H_R10, hm(H_RSP, VOFF(scratch)));
    e_pext(e, H_R11, H_R10, hm(H_RSP, VOFF(jc_mask)));
    e_lea_scaled(e, H_R11, H_R11, sizeof(struct jump_cache_entry) / 8, VOFF8(jc));
    e_load(e, H_RCX, hmi(H_RSP, H_R11, 8, VOFF_REST));
    e_lea(e, H_RCX, hmi(H_RCX, H_R10, 1, 0));
    e_load(e, H_R10, hm(H_RSP, VOFF(salt)));
    e_lea(e, H_RCX, hmi(H_RCX, H_R10, 1, 0));
    uint8_t *hit = e_jrcxz_fwd(e);
    e_jmp_to(e, en->thunk_lookup);
    e_bind8(e, hit);
    e_load(e, H_R10, hm(H_RSP, VOFF(scratch)));
    e_jmp_mem(e, hmi(H_RSP, H_R11, 8, VOFF_REST + offsetof(struct jump_cache_entry, code)));
}

void bt_thunks_build(struct bt_engine *en)
{
    struct emitter em = { en->rw, en->rw + 16384, en->rx - en->rw, false }, *e = &em;
    build_enter(en, e);
    build_helpers(en, e);
    build_memory(en, e);
    en->thunk_chain = build_out(e, bt_chain, true);
    en->thunk_crossing = build_crossing(en, e, false);
    en->thunk_crossing_fixed = build_crossing(en, e, true);
    en->thunk_return = build_out(e, bt_return, true);
    en->thunk_lookup = bt_thunk_begin(e);              /* scratch: RIP */
    save_registers(e);
    e_load(e, H_RAX, hm(H_RSP, VOFF(scratch)));
    e_store(e, hm(H_RSP, VOFF(s.rip)), H_RAX);
    stack_begin(e);
    call_c(e, bt_lookup);
    continue_at_rax(e);
    build_by_cache(en, e);
    en->thunk_step = build_out(e, bt_step_done, false);
    en->thunk_start = en->thunk_step;                  /* where a run begins: at a block head */
    en->thunk_raise = bt_thunk_begin(e);               /* RDI: vCPU; the stack is dropped */
    e_mov_rr(e, H_RSP, H_RDI);
    call_c(e, bt_raised);
    continue_at_rax(e);
    bt_gates_build(en, e);
    en->thunk_bytes = ALIGN_UP((uint64_t)(e->p - en->rw), 64);
}
