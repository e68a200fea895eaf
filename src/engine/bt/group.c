/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Groups: several accesses of a block whose addresses differ by constants: a stack frame, a structure, an element that is read and
 * written again. The first finds out the addend (host minus linear address), the others add it and are done.
 *
 * Without windows the accesses go off one base register. The first checks the whole range, which must lie in one page and may be written if any of
 * them writes. The check says nothing to the guest: if it fails, the block goes on in a
 * translation of its rest that has no groups (TBF_NOGROUP), where each access faults, crosses a page or reaches a device
 * in its turn. With windows there is nothing to check, and any address will do: base and index, RIP, none.
 *
 * A loop finds addends out before it begins, where it can, and begins each round with two of them in S1 and S2.
 *
 * A group ends where a jump from within the block leads to, where one of its registers is changed, unless that is the stack pointer by a known
 * amount, and at every helper, since that may change what is mapped. 64-bit code only.
 */
#include "engine/bt/translate.h"

enum { SPAN_MAX = 128 };

struct access { struct address at; int32_t disp; uint8_t size; bool write; int8_t offset, offset_scale; };
/* shift: what was added to the base since the group began. */
struct open_group { bool is_open; int32_t shift; };

static bool stack_access(const struct x86_insn *i, struct access *a)
{
    const struct x86_operand *o = &i->operand[0];
    *a = (struct access){ .at = { REG_RSP, -1, 0 }, .size = 8, .offset = -1 };
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

static bool is_offset(struct range r, unsigned scale) { return r.bits + __builtin_ctz(scale) <= WINDOW_OFFSET_BITS; }

/* With windows: of base and index one may be known to be small. What is left makes the group. */
static void split(const struct range *r, struct access *a)
{
    struct address *at = &a->at;
    if (at->base < 0 && a->disp < 0) return;           /* one subtracted from an index, say: no pointer */
    if (is_offset(r[at->index], at->scale)) {
        a->offset = at->index;
        a->offset_scale = at->scale;
    } else if (at->base >= 0 && at->scale == 1 && is_offset(r[at->base], 1)) {
        a->offset = at->base;
        a->offset_scale = 1;
        at->base = at->index;
    } else {
        return;
    }
    at->index = -1;
    at->scale = 0;
}

/* Constants that the base has been given, and displacements, stay far within the border of a window. */
static bool copy_access(const struct trans *t, const struct range *r, unsigned n, struct access *a)
{
    const struct x86_insn *i = &t->insn[n];
    const struct x86_operand *m = t_plain_operand(i);
    if (!m || i->addrsize != 8 || i->seg == SEG_FS || i->seg == SEG_GS || !m->size || i->disp != (int32_t)i->disp) return false;
    int64_t disp = i->disp + (i->rip_relative ? t->offset[n] + i->len : 0);
    *a = (struct access){ .at = { i->rip_relative ? ADDRESS_RIP : i->base, i->index, i->index >= 0 ? i->scale : 0 },
                          .disp = (int32_t)disp, .size = m->size, .write = m->access & ACCESS_WRITE, .offset = -1 };
    if (t->windows && i->index >= 0) split(r, a);
    if (t->windows) return disp == (int32_t)disp;
    return i->base >= 0 && i->index < 0 && !i->rip_relative && host_of(i->base) >= 0 && disp == (int16_t)disp && m->size <= 32;
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

static bool is_same(const struct address *a, const struct address *b)
{
    return a->base == b->base && a->index == b->index && a->scale == b->scale;
}

/* Makes access a of instruction n one of an open group. */
static bool group_join(struct trans *t, struct open_group *open, const struct access *a, unsigned n)
{
    for (unsigned k = 0; k < t->group_count; k++) {
        struct group *g = &t->group[k];
        if (!open[k].is_open || !is_same(&g->at, &a->at)) continue;
        int32_t at = a->disp + open[k].shift, low = MIN(g->low, at), high = MAX(g->high, at + a->size);
        bool fits = t->windows || high - low <= SPAN_MAX;
        if (fits && g->slot < 0 && t->group_slots < TB_GROUPS) g->slot = t->group_slots++;
        if (!fits || g->slot < 0) {
            open[k].is_open = false;
            return false;
        }
        g->low = low;
        g->high = high;
        g->write |= a->write;
        t->group_of[n] = k;
        return true;
    }
    return false;
}

static void group_begin(struct trans *t, struct open_group *open, const struct access *a, unsigned n)
{
    if (t->group_count == TB_MAX_GROUPS) return;
    unsigned k = t->group_count++;
    open[k] = (struct open_group){ .is_open = true };
    t->group[k] = (struct group){ .at = a->at, .low = a->disp, .high = a->disp + a->size, .write = a->write, .first = n, .slot = -1 };
    t->group_of[n] = k;
}

static void registers_written(const struct trans *t, const struct x86_insn *i, struct open_group *open)
{
    int32_t by = 0;
    bool shifts = stack_shift(i, &by);
    for (unsigned k = 0; k < t->group_count && i->gpr_written; k++) {
        const struct address *a = &t->group[k].at;
        bool base = a->base >= 0 && a->base < 16 && i->gpr_written >> a->base & 1, index = a->index >= 0 && i->gpr_written >> a->index & 1;
        if (index || (base && !(shifts && a->base == REG_RSP && a->index < 0))) open[k].is_open = false;
        else if (base) open[k].shift += by;
    }
}

/* ---- Loops ---- */

/* Is a register left alone by the block, but for small constants that are added? */
static bool only_steps(const struct trans *t, int reg)
{
    enum { STEP_MAX = 1 << 20 };
    for (unsigned n = 0; n < t->count && reg >= 0; n++) {
        const struct x86_insn *i = &t->insn[n];
        int32_t by;
        bool adds = (i->mnemonic == X86_ADD || i->mnemonic == X86_SUB) && i->operand[1].kind == OPND_IMM && i->imm <= STEP_MAX && i->imm >= -STEP_MAX;
        bool steps = i->opsize == 8 && i->operand[0].kind == OPND_REG && i->operand[0].reg == reg && (adds || i->mnemonic == X86_INC || i->mnemonic == X86_DEC);
        if (!(i->gpr_written >> reg & 1) || steps || (reg == REG_RSP && stack_shift(i, &by))) continue;
        return false;
    }
    return true;
}

static bool is_written(const struct trans *t, int reg)
{
    for (unsigned n = 0; n < t->count; n++)
        if (t->insn[n].gpr_written >> reg & 1) return true;
    return false;
}

/* In a loop an address that moves by small steps, and is accessed each time round, cannot come past the border of its window without an
 * access there, which ends the loop. So its addend is found out once, before the loop. */
static void find_hoisted(struct trans *t)
{
    unsigned always = 0;                               /* instructions that are executed each time */
    for (unsigned n = 0; n < t->count; n++)
        if (!t->is_plain[n] || t->insn[n].attr & IA_STRING) return;
    while (always < t->count && !(t->insn[always].attr & IA_BRANCH)) always++;
    for (unsigned k = 0; k < t->group_count; k++) {
        struct group *g = &t->group[k];
        int base = g->at.base < 16 ? g->at.base : -1;
        if ((base < 0 && g->at.index < 0) || g->first >= always || !only_steps(t, base) || !only_steps(t, g->at.index)) continue;
        if (g->slot < 0 && t->group_slots == TB_GROUPS) continue;
        if (g->slot < 0) g->slot = t->group_slots++;
        g->hoisted = true;
        g->host_base = base >= 0 && !is_written(t, base);
    }
}

/* Is it of use to know how large values are? */
static bool has_index(const struct trans *t)
{
    for (unsigned n = 0; n < t->count; n++)
        if (t->insn[n].has_mem && t->insn[n].index >= 0) return true;
    return false;
}

/* Fills t->group and t->group_of. */
void t_find_groups(struct trans *t)
{
    struct open_group open[TB_MAX_GROUPS];
    struct range range[16];
    t->group_count = t->group_slots = 0;
    bt_fill(t->group_of, 0xff, sizeof(t->group_of));
    t->has_groups = t->mode == X86_CODE64 && !(t->flags & (TBF_STEP | TBF_TRACE | TBF_ALIGN | TBF_NOGROUP));
    if (!t->has_groups) return;
    bool follow = t->windows && !t->soft_page && has_index(t);      /* soft immediates may become others */
    t_range_forget(range);
    for (unsigned n = 0; n < t->count && t->result[n] == X86_DECODE_OK; n++) {
        const struct x86_insn *i = &t->insn[n];
        struct access a;
        t->is_plain[n] = t_is_plain(t, i);
        bool ends = t->is_label[n] || !t->is_plain[n] || i->attr & IA_STRING;
        for (unsigned k = 0; k < t->group_count && ends; k++) open[k].is_open = false;
        if (ends) t_range_forget(range);
        if (!t->is_plain[n] || i->attr & IA_STRING) continue;
        if (stack_access(i, &a) || copy_access(t, range, n, &a)) {
            if (!group_join(t, open, &a, n)) group_begin(t, open, &a, n);
            t->offset_by[n].reg = a.offset;
            t->offset_by[n].scale = a.offset_scale;
        }
        registers_written(t, i, open);
        if (follow) t_range_step(range, i);
    }
    if (t->windows && t->is_loop) find_hoisted(t);
    for (unsigned n = 0; n < t->count && !t->windows; n++)
        if (t->group_of[n] >= 0 && t->group[t->group_of[n]].slot < 0) t->group_of[n] = -1;
}

/* Do S1 and S2 keep their values during the current instruction, up to its own access if that is in a group? */
static bool keeps_scratch(const struct trans *t)
{
    const struct x86_insn *i = t_insn(t);
    if (t->group_of[t->current] >= 0) return true;
    if (i->mnemonic == X86_JCC) return t->current + 1u < t->count || t->is_loop;
    if (i->mnemonic == X86_JMP) return t->is_loop && t->current + 1u == t->count;
    if (i->mnemonic == X86_LEA || i->attr & IA_NOP) return true;
    if (!(i->attr & IA_COPY) || i->attr & IA_BRANCH || t_has_rule(i)) return false;
    for (unsigned n = 0; n < i->operand_count; n++)
        if (i->operand[n].kind != OPND_REG && i->operand[n].kind != OPND_IMM) return false;
    return true;
}

/* A new instruction begins. */
void t_group_begin(struct trans *t)
{
    if (t->current && t->s1_is_host && t->s1_group >= 0 && t->insn[t->current - 1].gpr_written >> t->group[t->s1_group].at.base & 1) t->s1_group = -1;
    if (!t->is_label[t->current] && keeps_scratch(t)) return;
    t->s2_group = t->s1_group = t->s1_slot = -1;
}

static struct host_mem slot_of(const struct group *g) { return hm(H_RSP, VOFF(group_addend[TB_GROUPS - 1]) - 8 * g->slot); }

/* An address without a register, or relative to RIP where that is a constant. */
static bool is_constant(const struct trans *t, const struct address *a)
{
    return a->index < 0 && (a->base < 0 || (a->base == ADDRESS_RIP && t->flags & TBF_RIP));
}

static uint64_t constant_base(const struct trans *t, const struct address *a) { return a->base < 0 ? 0 : t->key_base; }
static int32_t piece_of(uint64_t linear) { return linear >> 39; }

/* Of an address: the register that a loop loads for the next time round, as one that walks a list; each access would wait for the last one's
 * addend. -1: none. */
static int chased(const struct trans *t, const struct address *a)
{
    if (!t->is_loop || t->flags_live[t->current]) return -1;
    for (unsigned n = 0; n < t->count; n++) {
        const struct x86_insn *i = &t->insn[n];
        if (i->mnemonic != X86_MOV || !t_plain_operand(i) || i->operand[0].kind != OPND_REG) continue;
        if (i->operand[0].reg == a->base || i->operand[0].reg == a->index) return i->operand[0].reg;
    }
    return -1;
}

/* The addend of the current instruction's group in S2. address: a register with an address of it. */
static void addend_to_s2(struct trans *t, int n, int address)
{
    const struct group *g = &t->group[n];
    struct emitter *e = &t->e;
    if (t->s2_group == n) return;
    t_scratch_set(t, S2, -1);
    if (g->first != t->current || g->hoisted) {
        e_load(e, S2, slot_of(g));
        return;
    }
    if (is_constant(t, &g->at)) e_load(e, S2, hm(H_RSP, WINDOW_TABLE_VOFF + 8 * piece_of(constant_base(t, &g->at) + g->low)));
    else if (chased(t, &g->at) >= 0) t_window_addend_near(t, address, chased(t, &g->at));
    else t_window_addend(t, address);
    if (g->slot >= 0) e_store(e, slot_of(g), S2);
}

/* The host register that holds what the current instruction's group has found out. */
static int slot_somewhere(struct trans *t, int n, int address)
{
    if (t->s1_slot == n) return S1;
    addend_to_s2(t, n, address);
    t->s2_group = n;
    return S2;
}

static void s1_is(struct trans *t, int group, bool is_host)
{
    t->s1_group = group;
    t->s1_is_host = is_host;
}

/* S2 will have the addend, T0 perhaps RCX. */
static unsigned free_for_address(const struct trans *t)
{
    bool rcx = (t_insn(t)->gpr_read | t_insn(t)->gpr_written) >> REG_RCX & 1;
    return rcx ? 1 << S1 : 1 << S1 | 1 << T0;
}

/* The host register with the address of a group, without its displacement. It is S1 where the address is more than a register. */
static int address_somewhere(struct trans *t, int n)
{
    const struct address *a = &t->group[n].at;
    struct emitter *e = &t->e;
    int base = -1, index;
    if (t->s1_group == n && !t->s1_is_host) return S1;
    if (a->base == ADDRESS_RIP) {
        t_scratch_set(t, S1, -1);
        t_rip_load(t, S1, 0);
        s1_is(t, n, false);
        return S1;
    }
    if (a->index < 0) return host_of(a->base) >= 0 ? host_of(a->base) : t_gpr_to(t, a->base, free_for_address(t));
    if (a->base >= 0) base = t_gpr_somewhere(t, a->base, 1 << T0 | 1 << S1);
    index = t_gpr_somewhere(t, a->index, (1 << T0 | 1 << S1) & ~(base < 0 ? 0 : 1 << base));
    if (base >= 0) e_lea(e, S1, hmi(base, index, a->scale, 0));
    else e_lea_scaled(e, S1, index, a->scale, 0);
    t_scratch_set(t, S1, -1);
    s1_is(t, n, false);
    return S1;
}

/* S1 = the host address that belongs to that of a group, which is one register. */
static void host_address_to_s1(struct trans *t, int n)
{
    if (t->s1_group == n && t->s1_is_host) return;
    int address = address_somewhere(t, n), slot = slot_somewhere(t, n, address);
    e_lea(&t->e, S1, hmi(slot, address, 1, 0));
    t_scratch_set(t, S1, -1);
    s1_is(t, n, true);
}

/* S1 = the address of a group and what the current instruction adds to it. */
static void sum_to_s1(struct trans *t, int n)
{
    int base = t_gpr_somewhere(t, t->group[n].at.base, 1 << T0 | 1 << S1);
    int offset = t_gpr_somewhere(t, t->offset_by[t->current].reg, (1 << T0 | 1 << S1) & ~(1 << base));
    e_lea(&t->e, S1, hmi(base, offset, t->offset_by[t->current].scale, 0));
    t_scratch_set(t, S1, -1);
}

/* Before the block's first instruction, which its own jump back leads to. */
void t_groups_hoist(struct trans *t)
{
    for (unsigned n = 0; n < t->group_count; n++) {
        const struct group *g = &t->group[n];
        if (!g->hoisted) continue;
        t_window_addend(t, address_somewhere(t, n));
        if (g->host_base) e_lea(&t->e, S2, hmi(S2, t_gpr_somewhere(t, g->at.base, 1 << S1), 1, 0));
        e_store(&t->e, slot_of(g), S2);
        t->s1_group = t->s2_group = -1;                /* they are not when it comes round */
    }
}

static unsigned uses_of(const struct trans *t, int group)
{
    unsigned count = 0;
    for (unsigned n = 0; n < t->count; n++) count += t->group_of[n] == group;
    return count;
}

/* Of the slots that were filled before the loop, the one that is used most, but for one; -1: none. A push in S1 could not be told from S2's
 * if it faults. */
static int most_used(const struct trans *t, int but, bool for_s1)
{
    int best = -1;
    for (int k = 0; k < (int)t->group_count; k++) {
        const struct group *g = &t->group[k];
        if (!g->hoisted || k == but || (for_s1 && g->at.base == REG_RSP)) continue;
        if (best < 0 || uses_of(t, k) > uses_of(t, best)) best = k;
    }
    return best;
}

/* Accesses that need S2 for an addend of their own. */
static bool has_other_access(const struct trans *t)
{
    for (unsigned n = 0; n < t->count; n++) {
        const struct x86_insn *i = &t->insn[n];
        bool has_slot = t->group_of[n] >= 0 && t->group[t->group_of[n]].hoisted;
        if (!has_slot && (t->group_of[n] >= 0 || (i->has_mem && i->mnemonic != X86_LEA && !(i->attr & IA_NOP)))) return true;
    }
    return false;
}

/* Chooses which slots S1 and S2 hold whenever the loop begins. s1_reads: how often another content of S1 would be read. */
void t_groups_carry(struct trans *t, unsigned s1_reads)
{
    if (!t->has_groups || !keeps_scratch(t)) return;
    if (!has_other_access(t)) t->carried_s2 = most_used(t, -1, false);
    int k = most_used(t, t->carried_s2, true);
    if (k >= 0 && uses_of(t, k) >= s1_reads) t->carried_s1 = k;
}

/* Before a jump to the loop's beginning. */
void t_groups_restore(struct trans *t)
{
    if (t->carried_s1 >= 0 && t->s1_slot != t->carried_s1) e_load(&t->e, S1, slot_of(&t->group[t->carried_s1]));
    if (t->carried_s2 >= 0 && t->s2_group != t->carried_s2) e_load(&t->e, S2, slot_of(&t->group[t->carried_s2]));
}

/* The slot has addend and base in one. */
static void access_off_host_base(struct trans *t, int n, int32_t disp, const struct mem_op *op)
{
    const struct address *a = &t->group[n].at;
    int index = a->index >= 0 ? a->index : t->offset_by[t->current].reg, scale = a->index >= 0 ? a->scale : t->offset_by[t->current].scale;
    if (index >= 0) index = host_of(index) >= 0 ? host_of(index) : t_gpr_to(t, index, free_for_address(t));
    int slot = slot_somewhere(t, n, -1);
    t_op(t, op, index < 0 ? hm(slot, disp) : hmi(slot, index, scale, disp));
}

static void access_in_window(struct trans *t, int n, int32_t disp, const struct mem_op *op)
{
    const struct address *a = &t->group[n].at;
    int64_t constant = constant_base(t, a) + disp;
    if (t->group[n].host_base) {
        access_off_host_base(t, n, disp, op);
        return;
    }
    int offset = t->offset_by[t->current].reg, scale = t->offset_by[t->current].scale;
    if (is_constant(t, a) && constant == (int32_t)constant) {
        if (offset >= 0 && host_of(offset) < 0) offset = t_gpr_to(t, offset, 1 << S1);
        else if (offset >= 0) offset = host_of(offset);
        addend_to_s2(t, n, -1);
        t->s2_group = n;
        t_op(t, op, offset < 0 ? hm(S2, (int32_t)constant) : hmi(S2, offset, scale, (int32_t)constant));
    } else if (offset >= 0 && host_of(offset) >= 0) {
        host_address_to_s1(t, n);
        t_op(t, op, hmi(S1, host_of(offset), scale, disp));
    } else if (offset < 0 && t->s1_is_host && t->s1_group == n) {
        t_op(t, op, hm(S1, disp));
    } else {
        int address = S1;
        if (offset >= 0) sum_to_s1(t, n);
        else address = address_somewhere(t, n);
        int slot = slot_somewhere(t, n, address);
        t_op(t, op, hmi(slot, address, 1, disp));
    }
}

/* The access of the current instruction, if it is in a group, at disp off its address as that is now. false: it is not. */
bool t_group_access(struct trans *t, int32_t disp, struct mem_op op)
{
    int n = t->group_of[t->current];
    if (n < 0) return false;
    const struct group *g = &t->group[n];
    struct emitter *e = &t->e;
    if (t->windows) {
        access_in_window(t, n, disp, &op);
        return true;
    }
    if (g->first == t->current) {
        e_lea(e, S1, hm(host_of(g->at.base), g->low));
        t_group_check(t, g->high - g->low, g->write);
        e_store(e, slot_of(g), S2);
    } else if (t->s2_group != n) {
        e_load(e, S2, slot_of(g));
    }
    t->s2_group = n;
    t_op(t, &op, hmi(S2, host_of(g->at.base), 1, disp));
    return true;
}
