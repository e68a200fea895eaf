/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest registers that lie in memory (R10, R11, R14, R15), kept in scratch registers from one instruction to the next.
 *
 * What has been loaded or computed stays known to be in its scratch register until that is used for something else; every write goes to
 * memory too. So memory has the truth at each instruction, and nothing is to be done where a block is left, or faults. Which scratch register
 * is taken next is decided by looking ahead: the one whose content is wanted last.
 *
 * Only instructions that are copied, and a few others whose emission tells what it does to scratch registers (t_scratch_set), keep them. All is
 * forgotten at others, and where a jump within the block arrives.
 */
#include "engine/bt/translate.h"

enum { AHEAD = 16, IN_MEMORY = 1 << REG_R10 | 1 << REG_R11 | 1 << REG_R14 | 1 << REG_R15 };
static const int8_t scratch[SCRATCH_COUNT] = { T0, S1, S2 };

static int number(int host)
{
    for (int k = 0; k < SCRATCH_COUNT; k++)
        if (scratch[k] == host) return k;
    return -1;
}

static void forget_all(struct trans *t) { bt_fill(t->held, 0xff, sizeof(t->held)); }

/* Does the emission of instruction n tell what it does to scratch registers? */
static bool is_keeper(const struct trans *t, unsigned n)
{
    const struct x86_insn *i = &t->insn[n];
    const struct x86_operand *o = &i->operand[0];
    if (t->result[n] != X86_DECODE_OK || !t->is_plain[n] || t_is_privileged_rule(t, i)) return false;
    if (i->attr & IA_NOP) return true;
    switch (i->mnemonic) {
    case X86_JCC: return n + 1 < t->count || t->is_loop;
    case X86_JMP: return t->is_loop && n + 1 == t->count;
    case X86_LEA: return true;
    case X86_PUSH: case X86_POP: return t->windows && t->group_of[n] >= 0 && o->kind == OPND_REG && o->reg != REG_RSP;
    default: break;
    }
    if (!(i->attr & IA_COPY) || i->attr & IA_BRANCH || t_has_rule(i)) return false;
    if (t_plain_operand(i)) return t->windows;
    for (unsigned k = 0; k < i->operand_count; k++)
        if (i->operand[k].kind != OPND_REG && i->operand[k].kind != OPND_IMM) return false;
    return true;
}

/* Once the groups are known. */
void t_scratch_plan(struct trans *t)
{
    uint32_t used = 0;
    forget_all(t);
    bt_fill(t->carried, 0xff, sizeof(t->carried));
    t->keeping = false;
    for (unsigned n = 0; n < t->count; n++) used |= t->insn[n].gpr_read | t->insn[n].gpr_written;
    t->may_keep = t->has_groups && !t->soft_page && used & IN_MEMORY;
    for (unsigned n = 0; n < t->count && t->may_keep; n++) t->keeps[n] = is_keeper(t, n);
}

/* Does instruction n need the value of a guest register? Not if that is the base of an address which the loop has found out, base and all. */
static bool needs(const struct trans *t, unsigned n, int guest)
{
    const struct x86_insn *i = &t->insn[n];
    const struct group *g = t->group_of[n] < 0 ? NULL : &t->group[t->group_of[n]];
    if (!(i->gpr_read >> guest & 1)) return false;
    if (!g || !g->host_base || g->at.base != guest || g->at.index == guest || t->offset_by[n].reg == guest) return true;
    for (unsigned k = 0; k < i->operand_count; k++) {
        const struct x86_operand *o = &i->operand[k];
        if (o->kind == OPND_REG && o->reg_class == RC_GPR && o->reg == guest && o->access & ACCESS_READ) return true;
    }
    return false;
}

static unsigned reads_of(const struct trans *t, int guest)
{
    unsigned count = 0;
    for (unsigned n = 0; n < t->count && guest >= 0; n++) count += needs(t, n, guest);
    return count;
}

/* Before a loop: two guest registers, or one and what two groups have found out, or the like, are in scratch registers at each of its beginnings. */
void t_scratch_carry(struct trans *t)
{
    if (!t->is_loop) return;
    t->keeping = t->may_keep && t->keeps[0];
    for (int k = 0; k < 2 && t->keeping; k++)
        for (int g = 0; g < 16; g++)
            if (IN_MEMORY >> g & 1 && g != t->carried[0] && reads_of(t, g) > reads_of(t, t->carried[k])) t->carried[k] = g;
    t_groups_carry(t, reads_of(t, t->carried[1]));
    if (t->carried_s1 >= 0) t->carried[1] = -1;
    t_scratch_restore(t);
    bt_copy(t->held, t->carried, sizeof(t->held));
    t->s1_group = -1;
    t->s1_slot = t->carried_s1;
    t->s2_group = t->carried_s2;
}

/* Before each jump to the loop's beginning, flags stay. */
void t_scratch_restore(struct trans *t)
{
    for (int k = 0; k < SCRATCH_COUNT; k++)
        if (t->carried[k] >= 0 && t->held[k] != t->carried[k]) e_load(&t->e, scratch[k], hm(H_RSP, VOFF(s.gpr[0]) + 8 * t->carried[k]));
    t_groups_restore(t);
}

/* A new instruction begins. */
void t_scratch_begin(struct trans *t)
{
    if (!t->may_keep) return;
    bool keeps = t->keeps[t->current];
    if (!keeps || !t->keeping || t->is_label[t->current]) forget_all(t);
    t->keeping = keeps;
}

/* Behind the last instruction. */
void t_scratch_end(struct trans *t)
{
    forget_all(t);
    t->keeping = t->may_keep = false;
    t->s1_group = t->s2_group = t->s1_slot = -1;
}

/* A host register has been given the value of a guest register, or of none (-1). */
void t_scratch_set(struct trans *t, int host, int guest)
{
    int k = number(host);
    if (k < 0) return;
    t->held[k] = guest >= 0 && t->keeping && host_of(guest) < 0 ? guest : -1;
    if (host == S1) t->s1_group = t->s1_slot = -1;
    if (host == S2) t->s2_group = -1;
}

/* A guest register has been written to. */
void t_scratch_forget(struct trans *t, int guest)
{
    for (int k = 0; k < SCRATCH_COUNT; k++)
        if (t->held[k] == guest) t->held[k] = -1;
}

/* The host register that holds a guest register now, -1: none. */
int t_gpr_find(const struct trans *t, int guest)
{
    if (host_of(guest) >= 0) return host_of(guest);
    for (int k = 0; k < SCRATCH_COUNT; k++)
        if (t->held[k] == guest) return scratch[k];
    return -1;
}

/* The host register of a set that holds a guest register from now on. */
int t_gpr_to(struct trans *t, int guest, unsigned set)
{
    int host = t_gpr_find(t, guest);
    if (host >= 0 && set >> host & 1) return host;
    host = t_scratch_choose(t, set);
    t_gpr_load(t, host, guest);
    return host;
}

/* The host register that holds a guest register, any; one of the set if there was none. */
int t_gpr_somewhere(struct trans *t, int guest, unsigned set)
{
    int host = t_gpr_find(t, guest);
    return host >= 0 ? host : t_gpr_to(t, guest, set);
}

/* In how many instructions is a guest register read again, out of a scratch register? AHEAD: not soon. */
static unsigned next_use(const struct trans *t, int guest)
{
    for (unsigned k = 1; k < AHEAD && (t->is_loop || t->current + k < t->count); k++) {
        unsigned n = (t->current + k) % t->count;
        const struct x86_insn *i = &t->insn[n];
        if (!t->keeps[n] || t->is_label[n]) break;
        if (i->gpr_read >> guest & 1) return k;
        if (i->gpr_written >> guest & 1) break;
    }
    return AHEAD;
}

static unsigned next_use_of_group(const struct trans *t, int group)
{
    bool goes_round = t->is_loop && t->group[group].hoisted;
    for (unsigned k = 1; k < AHEAD && (goes_round || t->current + k < t->count); k++)
        if (t->group_of[(t->current + k) % t->count] == group) return k;
    return AHEAD;
}

static unsigned wanted_in(const struct trans *t, int k)
{
    int group = scratch[k] == S1 ? MAX(t->s1_group, t->s1_slot) : scratch[k] == S2 ? t->s2_group : -1;      /* S1: one of them at most */
    if (group >= 0) return next_use_of_group(t, group);
    return t->held[k] >= 0 ? next_use(t, t->held[k]) : AHEAD + 1;
}

/* Of the scratch registers in a set of host registers, the one whose content is wanted last; -1: there is none. */
int t_scratch_choose(const struct trans *t, unsigned set)
{
    int best = -1;
    for (int k = 0; k < SCRATCH_COUNT; k++) {
        if (!(set >> scratch[k] & 1)) continue;
        if (!t->keeping) return scratch[k];
        if (best < 0 || wanted_in(t, k) > wanted_in(t, best)) best = k;
    }
    return best < 0 ? -1 : scratch[best];
}

/* Does it pay to have a guest register in a scratch register of the set behind the current instruction? */
bool t_scratch_pays(const struct trans *t, int guest, unsigned set)
{
    if (!t->keeping) return false;
    int host = t_scratch_choose(t, set);
    return host >= 0 && next_use(t, guest) < wanted_in(t, number(host));
}
