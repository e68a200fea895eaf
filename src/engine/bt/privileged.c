/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions of systems that are frequent enough to stay in translated code: CLI, STI, PUSHF, POPF, SWAPGS, STAC, CLAC at privilege level 0,
 * loads of data segment registers in real mode, and RDTSC and RDTSCP where CR4 allows them. All else, and what these do only now and then, is done by their helpers.
 *
 * STI holds interrupts back until the instruction behind it is done. Here that follows in the same block, and nothing looks for interrupts
 * in between; if one waits already, or STI ends its block, the helper is asked. POPF asks it where more than the arithmetic flags, IF and DF
 * change. The flags of the system are in s.rflags, the arithmetic ones in the host's. Sources: as helper/flags.c, helper/segment.c.
 */
#include "engine/bt/translate.h"

static struct host_mem rflags_mem(void) { return hm(H_RSP, VOFF(s.rflags)); }

void t_keep_bits(struct trans *t, int reg, enum bt_keep which)
{
    struct host_mem mask = hm(H_RSP, VOFF(keep_mask[0]) + 8 * which);
    e_pext(&t->e, reg, reg, mask);
    e_pdep(&t->e, reg, reg, mask);
}

/* 16-bit code, where the mode does not hang on what a data segment register holds. */
static bool is_real(const struct trans *t) { return t->mode == X86_CODE16 && !(t->flags & (TBF_PE | TBF_FLAT)); }

static bool is_paragraph_load(const struct trans *t, const struct x86_insn *i)
{
    const struct x86_operand *to = &i->operand[0];
    bool data = to->reg == SEG_DS || to->reg == SEG_ES || to->reg == SEG_FS || to->reg == SEG_GS;
    return i->mnemonic == X86_MOV_SREG && is_real(t) && to->kind == OPND_REG && to->reg_class == RC_SEG && data;
}

static bool is_tsc_read(const struct trans *t, const struct x86_insn *i)
{
    if (t->flags & (TBF_TSD | TBF_STEP | TBF_TRACE)) return false;
    return i->mnemonic == X86_RDTSC || (i->mnemonic == X86_RDTSCP && t->en->feature[i->feature]);
}

bool t_is_privileged_rule(const struct trans *t, const struct x86_insn *i)
{
    if (is_tsc_read(t, i)) return true;
    if (t->flags & (TBF_CPL | TBF_VM | TBF_STEP | TBF_TRACE)) return false;
    switch (i->mnemonic) {
    case X86_CLI: case X86_STI: case X86_PUSHF: case X86_POPF: return true;
    case X86_SWAPGS: return t->mode == X86_CODE64;
    default: return is_paragraph_load(t, i);
    }
}

bool t_leaves_flags(const struct x86_insn *i)
{
    return i->mnemonic == X86_CLI || i->mnemonic == X86_SWAPGS || i->mnemonic == X86_MOV_SREG ||
           i->mnemonic == X86_RDTSC || i->mnemonic == X86_RDTSCP;
}

bool t_is_plain_privileged(const struct trans *t, const struct x86_insn *i)
{
    return t_is_privileged_rule(t, i) && (i->mnemonic == X86_CLI || i->mnemonic == X86_STI || i->mnemonic == X86_SWAPGS);
}

static void helper_instead(struct trans *t, const struct x86_insn *i)
{
    t_helper(t, bt_helper_find(i).fn, true);
    t->ended = false;
}

static void cli(struct trans *t)
{
    struct emitter *e = &t->e;
    if (!t->flags_live[t->current]) {
        e_rm(e, false, 0x81, 4, rflags_mem());         /* and */
        e32(e, ~(uint32_t)RFLAGS_IF);
        return;
    }
    e_load(e, T0, rflags_mem());
    t_keep_bits(t, T0, KEEP_NOT_IF);
    e_store(e, rflags_mem(), T0);
}

static bool sti(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    unsigned next = t->current + 1;
    if (next == t->count || t->result[next] != X86_DECODE_OK || t->insn[next].attr & IA_BRANCH) return false;
    e_load32(e, T0, hm(H_RSP, VOFF(irq_request)));
    uint8_t *none = e_jrcxz_fwd(e);
    helper_instead(t, i);
    e_bind8(e, none);
    e_load(e, T0, rflags_mem());
    t_keep_bits(t, T0, KEEP_NOT_IF);
    e_lea(e, T0, hm(T0, RFLAGS_IF));
    e_store(e, rflags_mem(), T0);
    return true;
}

/* With AC the kernel's MMU mode changes, and so the jump cache's salt, which bt_salt_update has worked out for both. Whoever wants the vCPU sets
 * `pending` before he spoils the salt; the exchange is a barrier between the new salt and the look at that. */
static void ac_write(struct trans *t, const struct x86_insn *i, bool set)
{
    struct emitter *e = &t->e;
    int to = set ? MMU_KERNEL : MMU_KERNEL_SMAP, from = (t->flags & TBF_MMU) >> TBF_MMU_SHIFT;
    e_load(e, T0, hm(H_RSP, VOFF(ac_salt)));
    uint8_t *none = e_jrcxz_fwd(e), *both = e_jmp8_fwd(e);
    e_bind8(e, none);
    helper_instead(t, i);
    e_bind8(e, both);
    e_load(e, S1, rflags_mem());
    t_keep_bits(t, S1, KEEP_NOT_AC);
    if (set) e_lea(e, S1, hm(S1, RFLAGS_AC));
    e_store(e, rflags_mem(), S1);
    e_load32(e, S1, hm(H_RSP, VOFF(tbflags)));
    e_lea32(e, S1, hm(S1, (to - from) << TBF_MMU_SHIFT));
    e_store32(e, hm(H_RSP, VOFF(tbflags)), S1);
    e_store32_i(e, hm(H_RSP, VOFF(mmu_index)), to);
    e_load(e, S1, hm(H_RSP, VOFF(good_salt)));
    e_store(e, hm(H_RSP, VOFF(ac_salt)), S1);
    e_store(e, hm(H_RSP, VOFF(good_salt)), T0);
    e_mov_rr(e, S1, T0);
    e_not(e, S1);
    e_lea(e, S1, hm(S1, 1));
    e_store(e, hm(H_RSP, VOFF(minus_salt)), S1);
    e_rm(e, true, 0x87, T0, hm(H_RSP, VOFF(salt)));    /* xchg */
    e_load32(e, T0, hm(H_RSP, VOFF(pending)));
    uint8_t *nobody = e_jrcxz_fwd(e);
    t_rip_load(t, S1, t_next_offset(t));
    e_store(e, hm(H_RSP, VOFF(scratch)), S1);
    e_jmp_to(e, t->en->thunk_lookup);
    e_bind8(e, nobody);
    t_exit_direct(t, t_next_offset(t));
}

static bool ac_changes_mode(const struct trans *t, const struct x86_insn *i)
{
    unsigned idx = (t->flags & TBF_MMU) >> TBF_MMU_SHIFT;
    return i->mnemonic == X86_STAC ? idx == MMU_KERNEL_SMAP : i->mnemonic == X86_CLAC && idx == MMU_KERNEL;
}

static unsigned flags_bytes(const struct trans *t, const struct x86_insn *i)
{
    return t->mode == X86_CODE64 && i->opsize == 4 ? 8 : i->opsize;
}

/* The host's flags go by a push, to where a thunk's return address goes (thunk.c). */
static void pushf(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    unsigned n = flags_bytes(t, i);
    e8(e, 0x9c);                                       /* pushfq */
    e8(e, 0x59);                                       /* pop rcx */
    t_keep_bits(t, T0, KEEP_ARITH);
    e_load(e, S1, rflags_mem());
    t_keep_bits(t, S1, KEEP_PUSHED);
    e_lea(e, T0, hmi(T0, S1, 1, 0));
    e_store(e, hm(H_RSP, VOFF(value)), T0);
    t_stack_offset(t, -(int)n);
    t_access(t, SEG_SS, MISS_WRITE, n, (struct mem_op){ OP_STORE_SCRATCH, n, 0, 0 });
    t_stack_adjust(t, -(int)n);
}

static void popf(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    unsigned n = flags_bytes(t, i);
    t_stack_offset(t, 0);
    t_access(t, SEG_SS, MISS_READ, n, (struct mem_op){ OP_LOAD_T0, n, 0, 0 });
    e_load(e, S1, rflags_mem());
    e_rr(e, true, 0x33, T0, S1);                       /* xor: what changes */
    if (n == 2) e_movzx16(e, T0, T0);
    e_rr(e, true, 0xf7, 0, T0);                        /* test */
    e32(e, ~(uint32_t)(RFLAGS_ARITH | RFLAGS_IF | RFLAGS_DF));
    uint8_t *other = e_jcc8_fwd(e, CC_NE);
    e_rr(e, true, 0xf7, 0, T0);
    e32(e, RFLAGS_IF);
    uint8_t *same = e_jcc8_fwd(e, CC_E);
    e_rm(e, false, 0x83, 7, hm(H_RSP, VOFF(irq_request))); /* cmp */
    e8(e, 0);
    uint8_t *none = e_jcc8_fwd(e, CC_E);
    e_bind8(e, other);
    helper_instead(t, i);
    e_bind8(e, same);
    e_bind8(e, none);
    e_rr(e, true, 0x33, S1, T0);
    e_store(e, rflags_mem(), S1);
    e_alu_ri(e, false, 4, S1, RFLAGS_ARITH);
    e8(e, 0x41);                                       /* push r10 */
    e8(e, 0x52);
    e8(e, 0x9d);                                       /* popfq */
    t_stack_adjust(t, n);
}

static void swapgs(struct trans *t)
{
    struct emitter *e = &t->e;
    struct host_mem base = hm(H_RSP, VOFF(s.seg[SEG_GS].base)), other = hm(H_RSP, VOFF(s.kernel_gs_base));
    e_load(e, T0, base);
    e_load(e, S1, other);
    e_store(e, base, S1);
    e_store(e, other, T0);
}

static void tsc_read(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    bool with_aux = i->mnemonic == X86_RDTSCP;
    if (with_aux) { e8(e, 0x0f); e8(e, 0xae); e8(e, 0xe8); }         /* lfence: RDTSCP waits for what is before it */
    e8(e, 0x0f); e8(e, 0x31);                          /* rdtsc; clears the upper halves of RAX and RDX */
    e_rorx(e, H_RDX, H_RDX, 32);
    e_lea(e, H_RAX, hmi(H_RAX, H_RDX, 1, 0));
    e_load(e, S1, hm(H_RSP, VOFF(s.tsc_offset)));
    e_lea(e, H_RAX, hmi(H_RAX, S1, 1, 0));
    e_rorx(e, H_RDX, H_RAX, 32);
    e_mov32_rr(e, H_RDX, H_RDX);
    e_mov32_rr(e, H_RAX, H_RAX);
    if (with_aux) e_load32(e, HOST_RCX, hm(H_RSP, VOFF(s.tsc_aux)));
}

static void paragraph_load(struct trans *t, const struct x86_insn *i)
{
    struct emitter *e = &t->e;
    const struct x86_operand *from = &i->operand[1];
    int32_t at = VOFF(s.seg[0]) + (int32_t)sizeof(struct segment) * i->operand[0].reg;
    if (from->kind == OPND_MEM) {
        t_effective_offset(t, i, 0);
        t_access(t, i->seg, MISS_READ, 2, (struct mem_op){ OP_LOAD_T0, 2, 0, 0 });
    } else {
        t_gpr_load(t, T0, from->reg);
        e_movzx16(e, T0, T0);
    }
    e8(e, 0x66);
    e_rm(e, false, 0x89, T0, hm(H_RSP, at + (int)offsetof(struct segment, selector)));
    e_lea32(e, T0, hmi(T0, T0, 1, 0));
    e_lea_scaled(e, T0, T0, 8, 0);
    e_store(e, hm(H_RSP, at + (int)offsetof(struct segment, base)), T0);
    e_load32(e, T0, hm(H_RSP, at + (int)offsetof(struct segment, attr)));
    t_keep_bits(t, T0, KEEP_ATTR);
    e_lea(e, T0, hm(T0, SEG_ATTR_P | SEG_ATTR_S | 3)); /* writable, accessed */
    e_store32(e, hm(H_RSP, at + (int)offsetof(struct segment, attr)), T0);
}

bool t_privileged(struct trans *t, const struct x86_insn *i)
{
    if (t->flags & TBF_RIP && !(t->flags & (TBF_CPL | TBF_STEP | TBF_TRACE)) && ac_changes_mode(t, i)) {
        ac_write(t, i, i->mnemonic == X86_STAC);
        return true;
    }
    if (!t_is_privileged_rule(t, i)) return false;
    switch (i->mnemonic) {
    case X86_CLI: cli(t); return true;
    case X86_STI: return sti(t, i);
    case X86_PUSHF: pushf(t, i); return true;
    case X86_POPF: popf(t, i); return true;
    case X86_SWAPGS: swapgs(t); return true;
    case X86_RDTSC: case X86_RDTSCP: tsc_read(t, i); return true;
    default: paragraph_load(t, i); return true;
    }
}
