/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptor tables, task register, FS and GS bases, TLB invalidation, HLT.
 *
 * LGDT with a 16-bit operand loads 24 bits of base; SGDT always stores all of it. UMIP is honoured.
 * Sources: Intel SDM volume 2, AMD APM volume 3.
 */
#include "engine/bt/helper/helper.h"

static _Noreturn void gp(struct bt_vcpu *v, uint32_t error) { bt_raise_error(v, VECTOR_GP, error); }
static void next(struct bt_vcpu *v, const struct x86_insn *insn) { bt_state(v)->rip = bt_next_rip(v, insn); }

static void need_protected(struct bt_vcpu *v)
{
    if (!x86_is_protected(bt_state(v))) bt_raise(v, VECTOR_UD);
}

static void refuse_for_umip(struct bt_vcpu *v)
{
    if ((bt_state(v)->cr4 & CR4_UMIP) && x86_cpl(bt_state(v)) == 3) gp(v, 0);
}

/* ---- GDTR, IDTR ---- */

static void table_store(struct bt_vcpu *v, const struct x86_insn *insn, const struct descriptor_table *table)
{
    uint8_t raw[10];
    unsigned n = insn->mode == X86_CODE64 ? 8 : 4;
    if (!insn->has_mem) bt_raise(v, VECTOR_UD);
    refuse_for_umip(v);
    bt_copy(raw, &table->limit, 2);
    bt_copy(raw + 2, &table->base, n);
    bt_store_bytes(v, bt_operand_linear(v, insn, n + 2, BT_WRITE), raw, n + 2, BT_WRITE);
}

void helper_sgdt(struct bt_vcpu *v, const struct x86_insn *insn) { table_store(v, insn, &bt_state(v)->gdtr); }
void helper_sidt(struct bt_vcpu *v, const struct x86_insn *insn) { table_store(v, insn, &bt_state(v)->idtr); }

static void table_load(struct bt_vcpu *v, const struct x86_insn *insn, struct descriptor_table *table)
{
    uint8_t raw[10];
    struct descriptor_table t = { 0 };
    unsigned n = insn->mode == X86_CODE64 ? 8 : 4;
    if (!insn->has_mem) bt_raise(v, VECTOR_UD);
    require_cpl0(v);
    bt_load_bytes(v, bt_operand_linear(v, insn, n + 2, BT_READ), raw, n + 2, BT_READ);
    bt_copy(&t.limit, raw, 2);
    bt_copy(&t.base, raw + 2, n);
    if (n == 8 && !is_canonical(t.base)) gp(v, 0);
    if (n == 4 && insn->opsize == 2) t.base &= 0xffffff;
    *table = t;
    next(v, insn);
}

void helper_lgdt(struct bt_vcpu *v, const struct x86_insn *insn) { table_load(v, insn, &bt_state(v)->gdtr); }
void helper_lidt(struct bt_vcpu *v, const struct x86_insn *insn) { table_load(v, insn, &bt_state(v)->idtr); }

/* ---- LDTR, TR ---- */

static void selector_store(struct bt_vcpu *v, const struct x86_insn *insn, uint16_t selector)
{
    need_protected(v);
    refuse_for_umip(v);
    if (insn->operand[0].kind == OPND_MEM) {
        bt_store(v, bt_operand_linear(v, insn, 2, BT_WRITE), selector, 2, BT_WRITE);
        return;
    }
    uint64_t *g = &bt_state(v)->gpr[insn->operand[0].reg & 15];
    *g = insn->opsize == 2 ? (*g & ~0xffffull) | selector : selector;
}

void helper_sldt(struct bt_vcpu *v, const struct x86_insn *insn)
{
    selector_store(v, insn, bt_state(v)->ldtr.selector);
}
void helper_str(struct bt_vcpu *v, const struct x86_insn *insn)
{
    selector_store(v, insn, bt_state(v)->tr.selector);
}

static uint16_t selector_operand(struct bt_vcpu *v, const struct x86_insn *insn)
{
    const struct x86_operand *o = &insn->operand[0];
    if (o->kind == OPND_MEM) return bt_load(v, bt_operand_linear(v, insn, 2, BT_READ), 2, BT_READ);
    return bt_state(v)->gpr[o->reg & 15];
}

/* Reads a system descriptor of one of types (bit mask) from the GDT. */
static void system_descriptor(struct bt_vcpu *v, uint16_t selector, uint32_t types, struct descriptor *d)
{
    uint32_t error = selector & ~3u;
    if (selector & 4) gp(v, error);
    descriptor_need(v, selector, d, VECTOR_GP);
    if (!is_system(d) || !(types >> type_of(d) & 1)) gp(v, error);
    if (!(d->attr & SEG_ATTR_P)) bt_raise_error(v, VECTOR_NP, error);
    if (!x86_is_long(bt_state(v))) return;
    if (!descriptor_read_high(v, d) || !is_canonical(descriptor_base(d))) gp(v, error);
}

void helper_lldt(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    struct descriptor d;
    need_protected(v);
    require_cpl0(v);
    uint16_t selector = selector_operand(v, insn);
    if (is_null_selector(selector)) {
        s->ldtr = (struct segment){ .selector = selector, .attr = SEG_ATTR_UNUSABLE };
    } else {
        system_descriptor(v, selector, 1u << TYPE_LDT, &d);
        s->ldtr = descriptor_segment(&d, selector);
    }
    next(v, insn);
}

void helper_ltr(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    struct descriptor d;
    need_protected(v);
    require_cpl0(v);
    uint16_t selector = selector_operand(v, insn);
    if (is_null_selector(selector)) gp(v, 0);
    system_descriptor(v, selector, x86_is_long(s) ? 1u << TYPE_TSS32 : 1u << TYPE_TSS16 | 1u << TYPE_TSS32, &d);
    descriptor_set_busy(v, &d, true);
    s->tr = descriptor_segment(&d, selector);
    next(v, insn);
}

/* ---- FS and GS bases ---- */

void helper_swapgs(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    if (insn->mode != X86_CODE64) bt_raise(v, VECTOR_UD);
    require_cpl0(v);
    uint64_t base = s->seg[SEG_GS].base;
    s->seg[SEG_GS].base = s->kernel_gs_base;
    s->kernel_gs_base = base;
}

static struct segment *base_segment(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = bt_state(v);
    if (insn->mode != X86_CODE64 || !(s->cr4 & CR4_FSGSBASE)) bt_raise(v, VECTOR_UD);
    return &s->seg[insn->mnemonic == X86_RDFSBASE || insn->mnemonic == X86_WRFSBASE ? SEG_FS : SEG_GS];
}

void helper_rdfsgsbase(struct bt_vcpu *v, const struct x86_insn *insn)
{
    uint64_t base = base_segment(v, insn)->base;
    bt_state(v)->gpr[insn->operand[0].reg & 15] = insn->opsize == 8 ? base : (uint32_t)base;
}

void helper_wrfsgsbase(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct segment *g = base_segment(v, insn);
    uint64_t base = bt_state(v)->gpr[insn->operand[0].reg & 15];
    if (insn->opsize != 8) base = (uint32_t)base;
    if (!is_canonical(base)) gp(v, 0);
    g->base = base;
}

/* ---- TLB, caches, waiting ---- */

void helper_invlpg(struct bt_vcpu *v, const struct x86_insn *insn)
{
    const struct x86_state *s = bt_state(v);
    if (!insn->has_mem) bt_raise(v, VECTOR_UD);
    require_cpl0(v);
    gva_t linear = bt_effective_offset(v, insn);
    if (insn->mode != X86_CODE64) linear = (uint32_t)(linear + s->seg[insn->seg].base);
    else if (insn->seg == SEG_FS || insn->seg == SEG_GS) linear += s->seg[insn->seg].base;
    if (is_canonical(linear)) bt_tlb_flush_page(v, linear);
    next(v, insn);
}

void helper_invpcid(struct bt_vcpu *v, const struct x86_insn *insn)
{
    const struct x86_state *s = bt_state(v);
    uint64_t what[2];
    if (!insn->has_mem || is_vm86(s)) bt_raise(v, VECTOR_UD);
    require_cpl0(v);
    uint64_t type = s->gpr[insn->operand[0].reg & 15];
    if (insn->mode != X86_CODE64) type = (uint32_t)type;
    bt_load_bytes(v, bt_operand_linear(v, insn, 16, BT_READ), what, 16, BT_READ);
    unsigned pcid = what[0];
    if (type > 3 || (type < 2 && what[0] >> 12)) gp(v, 0);
    if (type < 2 && pcid && !(s->cr4 & CR4_PCIDE)) gp(v, 0);
    if (type == 0 && !is_canonical(what[1])) gp(v, 0);
    if (type == 0) bt_tlb_flush_pcid_page(v, pcid, what[1]);
    else if (type == 1) bt_tlb_flush_pcid(v, pcid);
    else bt_tlb_flush(v, type == 2);
    next(v, insn);
}

void helper_wbinvd(struct bt_vcpu *v, const struct x86_insn *insn) { require_cpl0(v); }

void helper_hlt(struct bt_vcpu *v, const struct x86_insn *insn)
{
    require_cpl0(v);
    next(v, insn);
    bt_halt(v);
}
