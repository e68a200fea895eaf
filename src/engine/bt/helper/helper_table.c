/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which helper executes which instruction. What is not in a table here, and not copied or translated, is #UD.
 *
 * HELPER_NEXT: nothing but registers, flags and memory changes, the block goes on. HELPER_END: control goes elsewhere, or
 * something changes that translations depend on (mode, privilege, segments, paging, interrupt flag).
 */
#include "engine/bt/helper/helper.h"

static bool to_segment(const struct x86_insn *insn)
{
    return insn->operand[0].reg_class == RC_SEG && insn->operand[0].kind == OPND_REG;
}
static bool to_special(const struct x86_insn *insn)
{
    return insn->operand[0].reg_class == RC_CR || insn->operand[0].reg_class == RC_DR;
}

const struct helper_row helper_rows_system[] = {
    { X86_MOV_SREG, HELPER_END, helper_mov_to_sreg, to_segment },
    { X86_MOV_SREG, HELPER_NEXT, helper_mov_from_sreg, NULL },
    { X86_PUSH_SREG, HELPER_NEXT, helper_push_sreg, NULL },
    { X86_POP_SREG, HELPER_END, helper_pop_sreg, NULL },
    { X86_LDS, HELPER_END, helper_load_far_pointer, NULL },
    { X86_LES, HELPER_END, helper_load_far_pointer, NULL },
    { X86_LSS, HELPER_END, helper_load_far_pointer, NULL },
    { X86_LFS, HELPER_END, helper_load_far_pointer, NULL },
    { X86_LGS, HELPER_END, helper_load_far_pointer, NULL },
    { X86_LAR, HELPER_NEXT, helper_lar, NULL },
    { X86_LSL, HELPER_NEXT, helper_lsl, NULL },
    { X86_VERR, HELPER_NEXT, helper_verr, NULL },
    { X86_VERW, HELPER_NEXT, helper_verw, NULL },
    { X86_ARPL, HELPER_NEXT, helper_arpl, NULL },
    { X86_JMPF, HELPER_END, helper_jmp_far, NULL },
    { X86_CALLF, HELPER_END, helper_call_far, NULL },
    { X86_RETF, HELPER_END, helper_ret_far, NULL },
    { X86_IRET, HELPER_END, helper_iret, NULL },
    { X86_INT, HELPER_END, helper_int, NULL },
    { X86_INT3, HELPER_END, helper_int3, NULL },
    { X86_INT1, HELPER_END, helper_int1, NULL },
    { X86_SYSCALL, HELPER_END, helper_syscall, NULL },
    { X86_SYSRET, HELPER_END, helper_sysret, NULL },
    { X86_SYSENTER, HELPER_END, helper_sysenter, NULL },
    { X86_SYSEXIT, HELPER_END, helper_sysexit, NULL },
    { X86_PUSHF, HELPER_NEXT, helper_pushf, NULL },
    { X86_POPF, HELPER_END, helper_popf, NULL },
    { X86_CLI, HELPER_NEXT, helper_cli, NULL },
    { X86_STI, HELPER_END, helper_sti, NULL },
    { X86_CLAC, HELPER_END, helper_clac, NULL },
    { X86_STAC, HELPER_END, helper_stac, NULL },
    { X86_MOV_CR, HELPER_END, helper_mov_to_cr, to_special },
    { X86_MOV_CR, HELPER_NEXT, helper_mov_from_cr, NULL },
    { X86_MOV_DR, HELPER_END, helper_mov_to_dr, to_special },
    { X86_MOV_DR, HELPER_NEXT, helper_mov_from_dr, NULL },
    { X86_CLTS, HELPER_END, helper_clts, NULL },
    { X86_SMSW, HELPER_NEXT, helper_smsw, NULL },
    { X86_LMSW, HELPER_END, helper_lmsw, NULL },
    { X86_SGDT, HELPER_NEXT, helper_sgdt, NULL },
    { X86_SIDT, HELPER_NEXT, helper_sidt, NULL },
    { X86_SLDT, HELPER_NEXT, helper_sldt, NULL },
    { X86_STR, HELPER_NEXT, helper_str, NULL },
    { X86_LGDT, HELPER_END, helper_lgdt, NULL },
    { X86_LIDT, HELPER_END, helper_lidt, NULL },
    { X86_LLDT, HELPER_END, helper_lldt, NULL },
    { X86_LTR, HELPER_END, helper_ltr, NULL },
    { X86_SWAPGS, HELPER_NEXT, helper_swapgs, NULL },
    { X86_RDFSBASE, HELPER_NEXT, helper_rdfsgsbase, NULL },
    { X86_RDGSBASE, HELPER_NEXT, helper_rdfsgsbase, NULL },
    { X86_WRFSBASE, HELPER_NEXT, helper_wrfsgsbase, NULL },
    { X86_WRGSBASE, HELPER_NEXT, helper_wrfsgsbase, NULL },
    { X86_INVLPG, HELPER_END, helper_invlpg, NULL },
    { X86_INVPCID, HELPER_END, helper_invpcid, NULL },
    { X86_INVD, HELPER_NEXT, helper_wbinvd, NULL },
    { X86_WBINVD, HELPER_NEXT, helper_wbinvd, NULL },
    { X86_WBNOINVD, HELPER_NEXT, helper_wbinvd, NULL },
    { X86_HLT, HELPER_END, helper_hlt, NULL },
    { X86_RDMSR, HELPER_NEXT, helper_rdmsr, NULL },
    { X86_WRMSR, HELPER_END, helper_wrmsr, NULL },
};
const unsigned helper_rows_system_count = ARRAY_SIZE(helper_rows_system);

static const struct helper_row *find_in(const struct helper_row *rows, unsigned count,
                                        const struct x86_insn *insn)
{
    for (unsigned i = 0; i < count; i++)
        if (rows[i].mnemonic == insn->mnemonic && (!rows[i].is_for || rows[i].is_for(insn))) return &rows[i];
    return NULL;
}

struct bt_helper bt_helper_find(const struct x86_insn *insn)
{
    const struct helper_row *r = find_in(helper_rows_system, helper_rows_system_count, insn);
    if (!r) r = find_in(helper_rows_misc, helper_rows_misc_count, insn);
    return r ? (struct bt_helper){ r->fn, r->kind } : (struct bt_helper){ NULL, HELPER_NONE };
}
