/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Groups: several accesses of a block off one base register, a few bytes apart: a stack frame, a structure. The first
 * checks the whole range, which must lie in one page and may be written if any of them writes, and keeps the page's
 * addend in the vCPU; the others only add it. The check says nothing to the guest: if it fails, the block goes on in a
 * translation of its rest that has no groups (TBF_NOGROUP), where each access faults, crosses a page or reaches a device
 * in its turn.
 *
 * A group ends where a jump from within the block leads to, where its base register is changed, unless that is the stack pointer by a known amount, and at every
 * helper, since that may change what is mapped. 64-bit code only.
 */
#include "engine/bt/translate.h"

enum { SPAN_MAX = 128 };

struct access { int8_t base; int32_t disp; uint8_t size; bool write; };
/* shift: what was added to the base since the group began. */
struct open_group { int8_t group; int32_t shift; };

static bool stack_access(const struct x86_insn *i, struct access *a)
{
    const struct x86_operand *o = &i->operand[0];
    *a = (struct access){ .base = REG_RSP, .size = 8 };
    switch (i->mnemonic) {
    case X86_PUSH:
        a->disp = -8;
        a->write = true;
        return i->opsize != 2 && (o->kind == OPND_REG || o->kind == OPND_IMM);
    case X86_CALL:
        a->disp = -8;
        a->write = true;
        return i->opsize != 2 && o->kind != OPND_MEM;
    case X86_POP: return i->opsize != 2 && o->kind == OPND_REG && o->reg != REG_RSP;
    case X86_RET: return i->opsize != 2;
    default: return false;
    }
}

static bool copy_access(const struct x86_insn *i, struct access *a)
{
    const struct x86_operand *m = t_plain_operand(i);
    if (!m || i->base < 0 || i->index >= 0 || i->rip_relative || i->addrsize != 8 || host_of(i->base) < 0) return false;
    if (i->seg == SEG_FS || i->seg == SEG_GS || i->disp != (int16_t)i->disp || !m->size || m->size > 32) return false;
    *a = (struct access){ i->base, (int32_t)i->disp, m->size, m->access & ACCESS_WRITE };
    return true;
}

/* Does RSP change by an amount that is known? */
static bool stack_shift(const struct x86_insn *i, int32_t *by)
{
    struct access a;
    bool pointer = i->operand[0].kind == OPND_REG && i->operand[0].reg == REG_RSP && i->operand[1].kind == OPND_IMM &&
                   i->opsize == 8 && i->imm == (int16_t)i->imm;
    if ((i->mnemonic == X86_PUSH || i->mnemonic == X86_POP) && stack_access(i, &a)) *by = i->mnemonic == X86_PUSH ? -8 : 8;
    else if (i->mnemonic == X86_ADD && pointer) *by = (int32_t)i->imm;
    else if (i->mnemonic == X86_SUB && pointer) *by = (int32_t)-i->imm;
    else return false;
    return true;
}

static void group_join(struct trans *t, struct open_group *o, const struct access *a, unsigned n)
{
    int32_t at = a->disp + o->shift;
    if (o->group >= 0) {
        struct group *g = &t->group[o->group];
        int32_t low = MIN(g->low, at), high = MAX(g->high, at + a->size);
        if (high - low <= SPAN_MAX || t->windows) {
            g->low = low;
            g->high = high;
            g->write |= a->write;
            g->members++;
            t->group_of[n] = o->group;
            return;
        }
    }
    o->group = -1;
    if (t->group_count == TB_GROUPS) return;
    o->group = t->group_count++;
    o->shift = 0;
    t->group[o->group] = (struct group){ a->base, a->disp, a->disp + a->size, a->write, n, 1 };
    t->group_of[n] = o->group;
}

static void registers_written(const struct x86_insn *i, struct open_group *open)
{
    int32_t by;
    for (unsigned r = 0; r < 16; r++) {
        if (!(i->gpr_written >> r & 1)) continue;
        if (r == REG_RSP && stack_shift(i, &by)) open[r].shift += by;
        else open[r].group = -1;
    }
}

/* Fills t->group and t->group_of. */
void t_find_groups(struct trans *t)
{
    struct open_group open[16];
    t->group_count = 0;
    bt_fill(t->group_of, 0xff, sizeof(t->group_of));
    if (t->mode != X86_CODE64 || t->flags & (TBF_STEP | TBF_TRACE | TBF_ALIGN | TBF_NOGROUP)) return;
    bt_fill(open, 0xff, sizeof(open));
    for (unsigned n = 0; n < t->count && t->result[n] == X86_DECODE_OK; n++) {
        const struct x86_insn *i = &t->insn[n];
        struct access a;
        if (t->is_label[n]) bt_fill(open, 0xff, sizeof(open));
        if (!t_is_plain(t, i)) {
            bt_fill(open, 0xff, sizeof(open));
            continue;
        }
        if (stack_access(i, &a) || copy_access(i, &a)) group_join(t, &open[a.base], &a, n);
        registers_written(i, open);
    }
    for (unsigned n = 0; n < t->count; n++)
        if (t->group_of[n] >= 0 && t->group[t->group_of[n]].members < 2 && !(t->windows)) t->group_of[n] = -1;
}

/* Does S2 keep its value during the current instruction, up to its own access if that is in a group? */
static bool keeps_s2(const struct trans *t)
{
    const struct x86_insn *i = t_insn(t);
    if (t->group_of[t->current] >= 0) return true;
    if (i->mnemonic == X86_JCC) return t->current + 1u < t->count;
    if (!(i->attr & IA_COPY) || i->attr & IA_BRANCH || t_has_rule(i)) return false;
    for (unsigned n = 0; n < i->operand_count; n++)
        if (i->operand[n].kind != OPND_REG && i->operand[n].kind != OPND_IMM) return false;
    return true;
}

/* A new instruction begins. */
void t_group_begin(struct trans *t)
{
    if (t->is_label[t->current] || !keeps_s2(t)) t->s2_group = -1;
}

/* The access of the current instruction, if it is in a group, at disp off the base as it is now. false: it is not. */
bool t_group_access(struct trans *t, int32_t disp, struct mem_op op)
{
    int n = t->group_of[t->current];
    if (n < 0) return false;
    const struct group *g = &t->group[n];
    struct emitter *e = &t->e;
    struct host_mem slot = hm(H_RSP, VOFF(group_addend[0]) + 8 * n);
    if (g->first == t->current && t->windows) {
        t_window_addend(t, host_of(g->base));
        if (g->members > 1) e_store(e, slot, S2);
    } else if (g->first == t->current) {
        e_lea(e, S1, hm(host_of(g->base), g->low));
        t_group_check(t, g->high - g->low, g->write);
        e_store(e, slot, S2);
    } else if (t->s2_group != n) {
        e_load(e, S2, slot);
    }
    t->s2_group = n;
    t_op(t, &op, hmi(S2, host_of(g->base), 1, disp));
    return true;
}
