/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SYSCALL and SYSRET between 64-bit programs and their kernel, without C. The first of each kind is done by its helper (helper/syscall.c),
 * which then opens a gate: what the vCPU's mode is behind it, ready to be copied. The next ones go through the thunks here.
 *
 * A gate knows the jump cache's salt, so it is shut when that changes with the address space or with a flush; and the block's flags, so both
 * are shut when a mode is worked out that is not the one noted (bt_salt_update): what the kernel changes for its programs alone must show in
 * its own flags too. Writes to EFER, STAR and SFMASK shut them. A gate that is shut costs the helper once more, no more than that.
 *
 * What differs from one SYSCALL to the next is taken from the registers: RIP, RFLAGS, LSTAR, SFMASK. The kernel's gate opens only if SFMASK
 * clears the arithmetic flags, AC and TF; the user's lets SYSRET set the arithmetic flags and IF, no others, and only while no interrupt waits.
 * Sources: as helper/syscall.c.
 */
#include "engine/bt/helper/helper.h"
#include "engine/bt/translate.h"

enum { GATE_CLEARS = RFLAGS_ARITH | RFLAGS_AC | RFLAGS_TF, USER_FLAGS = RFLAGS_IF | RFLAGS_FIXED };
#define GATE(which, member) hm(H_RSP, VOFF(gate) + (int32_t)((which) * sizeof(struct gate) + offsetof(struct gate, member)))
_Static_assert(offsetof(struct bt_vcpu, mmu_index) == offsetof(struct bt_vcpu, tbflags) + 4, "copied at once");
_Static_assert(offsetof(struct gate, mmu_index) == offsetof(struct gate, tbflags) + 4, "copied at once");
_Static_assert(sizeof(struct segment) == 24, "copied by eight bytes");

void bt_gates_shut(struct bt_vcpu *v) { v->gate[GATE_USER].open = v->gate[GATE_KERNEL].open = 0; }

/* The instruction has been done: the next of its kind may take the gate, if the mode is one that gates are for. */
void bt_gate_open(struct bt_vcpu *v, enum gate_to to)
{
    const struct x86_state *s = &v->s;
    struct gate *g = &v->gate[to];
    bool plain = to == GATE_USER ? (s->rflags & ~(uint64_t)RFLAGS_ARITH) == USER_FLAGS
                                 : !(~s->fmask & GATE_CLEARS) && !(s->rflags & (GATE_CLEARS | RFLAGS_VM));
    if (!plain || !x86_is_code64(s) || v->debug.has_exec || (s->dr[7] & 0xff)) return;
    bt_mode_update(v);
    if (g->tbflags != v->tbflags || g->salt != v->good_salt || (v->tbflags & (TBF_TRACE | TBF_NOGROUP | TBF_FIXED))) return;
    g->open = g->salt;
    g->mmu_index = v->mmu_index;
    g->cs = s->seg[SEG_CS];
    g->ss = s->seg[SEG_SS];
}

/* ---- The thunks ---- */

static struct host_mem rflags_mem(void) { return hm(H_RSP, VOFF(s.rflags)); }

static void copy_segment(struct emitter *e, struct host_mem to, struct host_mem from)
{
    for (int at = 0; at < (int)sizeof(struct segment); at += 16) {
        bool both = at + 8 < (int)sizeof(struct segment);
        e_load(e, S1, hm(from.base, from.disp + at));
        if (both) e_load(e, S2, hm(from.base, from.disp + at + 8));
        e_store(e, hm(to.base, to.disp + at), S1);
        if (both) e_store(e, hm(to.base, to.disp + at + 8), S2);
    }
}

/* The mode of a gate whose salt is in T0, then to the RIP in scratch; the guest's flags are in the host's and stay. As in privileged.c, the
 * exchange stands between the new salt and the look at `pending`. */
static void pass(struct bt_engine *en, struct emitter *e, enum gate_to to)
{
    e_store(e, hm(H_RSP, VOFF(good_salt)), T0);
    e_mov_rr(e, S1, T0);
    e_not(e, S1);
    e_lea(e, S1, hm(S1, 1));
    e_store(e, hm(H_RSP, VOFF(minus_salt)), S1);
    e_load(e, S1, GATE(to, tbflags));
    e_load(e, S2, GATE(to, ac_salt));
    e_store(e, hm(H_RSP, VOFF(tbflags)), S1);
    e_store(e, hm(H_RSP, VOFF(ac_salt)), S2);
    copy_segment(e, hm(H_RSP, VOFF(s.seg[SEG_CS])), GATE(to, cs));
    copy_segment(e, hm(H_RSP, VOFF(s.seg[SEG_SS])), GATE(to, ss));
    e_rm(e, true, 0x87, T0, hm(H_RSP, VOFF(salt)));    /* xchg */
    e_load32(e, T0, hm(H_RSP, VOFF(pending)));
    uint8_t *nobody = e_jrcxz_fwd(e);
    e_jmp_to(e, en->thunk_lookup);
    e_bind8(e, nobody);
    e_jmp_to(e, en->thunk_by_cache);
}

/* S1: RIP of the next instruction, T0: the kernel's salt. */
static void build_syscall(struct bt_engine *en, struct emitter *e)
{
    en->thunk_syscall = bt_thunk_begin(e);
    e_mov_rr(e, HOST_RCX, S1);
    e8(e, 0x9c);                                       /* pushfq */
    e8(e, 0x41); e8(e, 0x5a);                          /* pop r10 */
    e_rm(e, true, 0xff, 0, hm(H_RSP, VOFF(count_helper) + 8 * X86_SYSCALL));         /* inc */
    e_load(e, S2, rflags_mem());
    e_alu_ri(e, false, 4, S1, RFLAGS_ARITH);
    e_alu_ri(e, false, 4, S2, ~(RFLAGS_ARITH | RFLAGS_RF));
    e_rr(e, false, 0x0b, S1, S2);                      /* or */
    e_store(e, hm(H_RSP, VOFF(s.gpr[REG_R11])), S1);
    e_load(e, S2, hm(H_RSP, VOFF(s.fmask)));
    e_not(e, S2);
    e_rr(e, false, 0x23, S1, S2);                      /* and */
    e_alu_ri(e, false, 1, S1, RFLAGS_FIXED);           /* or */
    e_store(e, rflags_mem(), S1);
    e_load(e, S1, hm(H_RSP, VOFF(s.lstar)));
    e_store(e, hm(H_RSP, VOFF(scratch)), S1);
    e_mov_ri(e, S1, 1);
    e_alu_ri(e, false, 0, S1, 0);                      /* add: no arithmetic flag is set */
    pass(en, e, GATE_KERNEL);
}

/* S1: struct bt_helper_call, S2: address of the instruction, as thunk_helper_end wants them; T0: the user's salt. */
static void build_sysret(struct bt_engine *en, struct emitter *e)
{
    en->thunk_sysret = bt_thunk_begin(e);
    e_store(e, hm(H_RSP, VOFF(value)), T0);
    e_load32(e, T0, hm(H_RSP, VOFF(irq_request)));
    uint8_t *none = e_jrcxz_fwd(e), *slow = e_jmp32_fwd(e);
    e_bind8(e, none);
    e_load32(e, T0, hm(H_RSP, VOFF(s.gpr[REG_R11])));
    e_alu_ri(e, false, 4, T0, ~RFLAGS_ARITH);
    e_alu_ri(e, false, 7, T0, USER_FLAGS);             /* cmp */
    uint8_t *plain = e_jcc8_fwd(e, CC_E);
    e_bind32(e, slow);
    e_jmp_to(e, en->thunk_helper_end);
    e_bind8(e, plain);
    e_rm(e, true, 0xff, 0, hm(H_RSP, VOFF(count_helper) + 8 * X86_SYSRET));          /* inc */
    e_store(e, hm(H_RSP, VOFF(scratch)), HOST_RCX);
    e_store(e, hm(H_RSP, VOFF(s.gpr[REG_RAX])), H_RAX);
    e_load32(e, H_RAX, hm(H_RSP, VOFF(s.gpr[REG_R11])));
    e_store(e, rflags_mem(), H_RAX);
    bt_thunk_flags(e);
    e_load(e, H_RAX, hm(H_RSP, VOFF(s.gpr[REG_RAX])));
    e_load(e, T0, hm(H_RSP, VOFF(value)));
    pass(en, e, GATE_USER);
}

void bt_gates_build(struct bt_engine *en, struct emitter *e)
{
    build_syscall(en, e);
    build_sysret(en, e);
}

/* ---- The instructions ---- */

static void gate_salt(struct trans *t, enum gate_to to)
{
    e_load(&t->e, T0, GATE(to, open));
}

/* SYSCALL or SYSRET as the end of a block. */
bool t_gate(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    unsigned cpl = (t->flags & TBF_CPL) >> TBF_CPL_SHIFT;
    if (t->mode != X86_CODE64 || t->flags & (TBF_STEP | TBF_TRACE | TBF_FIXED)) return false;
    if (i->mnemonic == X86_SYSCALL && cpl == 3) {
        gate_salt(t, GATE_KERNEL);
        uint8_t *shut = e_jrcxz_fwd(e);
        t_rip_load(t, S1, t_next_offset(t));
        e_jmp_to(e, t->en->thunk_syscall);
        e_bind8(e, shut);
        t_helper(t, helper_syscall, true);
        return true;
    }
    if (i->mnemonic != X86_SYSRET || cpl || i->opsize != 8) return false;
    t_helper_call(t, helper_sysret);
    gate_salt(t, GATE_USER);
    uint8_t *shut = e_jrcxz_fwd(e);
    e_jmp_to(e, t->en->thunk_sysret);
    e_bind8(e, shut);
    e_jmp_to(e, t->en->thunk_helper_end);
    t->ended = true;
    return true;
}
