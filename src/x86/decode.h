/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The instruction table and the decoder: bytes in, one struct x86_insn out, with everything the translator needs to
 * emit the same instruction again with other registers and another memory operand. No engine here, no allocation,
 * no state: the same bytes and mode always give the same answer.
 * Sources: Intel SDM volume 2 (opcode maps in appendix A), AMD APM volume 3.
 */
#ifndef X86_DECODE_H
#define X86_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* x86_mnemonic: one value a mnemonic (X86_ADD, X86_MOV, X86_JCC, X86_SETCC, X86_CMOVCC, X86_VADDPS ...), generated
 * from the table by the X-macro file insn_table.def (or kept beside it). */
#include "x86/mnemonic.h"

enum x86_code_mode { X86_CODE16, X86_CODE32, X86_CODE64 };

enum x86_operand_kind {
    OPND_NONE, OPND_REG, OPND_MEM,
    OPND_IMM,            /* sign-extended into insn->imm */
    OPND_REL,            /* branch displacement in insn->imm */
    OPND_FAR,            /* ptr16:16/32: offset in imm, selector in imm2 */
    OPND_MOFFS,          /* memory at absolute offset in insn->disp (A0..A3) */
    OPND_STRING,         /* [rsi], [rdi], [rbx+al] addressed implicitly: reg tells the base register */
};
enum x86_reg_class { RC_GPR, RC_GPR8_HIGH /* ah ch dh bh: reg 4..7 as encoded */, RC_SEG, RC_CR, RC_DR, RC_X87, RC_MMX,
                     RC_VEC /* xmm/ymm/zmm by size */, RC_MASK };
enum x86_operand_place { ENC_NONE, ENC_MODRM_REG, ENC_MODRM_RM, ENC_VVVV, ENC_OPCODE /* low 3 bits */, ENC_IS4,
                         ENC_IMPLICIT, ENC_IMMEDIATE };
enum { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_COND = 4 /* the write may not happen */ };

struct x86_operand {
    uint8_t kind, reg_class, reg, place, access;
    uint8_t pad;
    uint16_t size;       /* bytes; 0: not a simple memory access (lea, invlpg, prefetch) or depends on state (xsave) */
};

enum x86_encoding { ENCODING_LEGACY, ENCODING_VEX, ENCODING_EVEX };

/* Attributes (insn->attr). */
#define IA_BRANCH       (1u << 0)   /* ends a block: any control transfer, near or far */
#define IA_SYSTEM       (1u << 1)   /* privileged, or touches system state: never copied */
#define IA_LOCKABLE     (1u << 2)   /* lock prefix is legal with a memory destination */
#define IA_X87          (1u << 3)   /* #NM rules of CR0.TS/EM */
#define IA_MMX          (1u << 4)
#define IA_SSE          (1u << 5)   /* legacy SSE encoding working on xmm (or mxcsr): CR4.OSFXSR rules */
#define IA_AVX          (1u << 6)   /* VEX vector: XCR0 rules */
#define IA_AVX512       (1u << 7)
#define IA_COPY         (1u << 8)   /* may be re-emitted with renamed GPRs and another memory operand: user level, result
                                       depends on nothing but its operands, implicit registers and flags */
#define IA_STRING       (1u << 9)   /* movs cmps scas lods stos ins outs */
#define IA_INVALID64    (1u << 10)
#define IA_STACK        (1u << 11)  /* push pop call ret enter leave pusha ...: uses rSP implicitly */
#define IA_VSIB         (1u << 12)  /* gather/scatter */
#define IA_ALIGNED      (1u << 13)  /* memory operand must be aligned to its size (movaps, legacy SSE arithmetic) */
#define IA_FWAIT_CHECK  (1u << 14)  /* x87 insn that waits for pending exceptions */
#define IA_NOP          (1u << 15)  /* nop, endbr, prefetch, hints: no effect at all */
#define IA_WRITES_SS    (1u << 16)

/* CPUID feature that an instruction belongs to: the engine refuses (#UD) what it does not promise. */
enum x86_feature { FEAT_BASE, FEAT_X87, FEAT_MMX, FEAT_SSE, FEAT_SSE2, FEAT_SSE3, FEAT_SSSE3, FEAT_SSE41, FEAT_SSE42,
                   FEAT_SSE4A, FEAT_POPCNT, FEAT_LZCNT, FEAT_BMI1, FEAT_BMI2, FEAT_ADX, FEAT_MOVBE, FEAT_AES, FEAT_PCLMUL,
                   FEAT_SHA, FEAT_AVX, FEAT_AVX2, FEAT_FMA, FEAT_F16C, FEAT_GFNI, FEAT_VAES, FEAT_VPCLMUL, FEAT_AVX512,
                   FEAT_RDRAND, FEAT_RDSEED, FEAT_FSGSBASE, FEAT_CX16, FEAT_CX8, FEAT_CMOV, FEAT_XSAVE, FEAT_XSAVEOPT,
                   FEAT_XSAVEC, FEAT_CLFLUSH, FEAT_CLFLUSHOPT, FEAT_CLWB, FEAT_RDTSCP, FEAT_RDPID, FEAT_INVPCID, FEAT_MONITOR,
                   FEAT_3DNOW_PREFETCH, FEAT_AVX_VNNI, FEAT_MOVDIRI, FEAT_MOVDIR64B, FEAT_CLZERO, FEAT_TBM, FEAT_SVM,
                   FEAT_COUNT };

struct x86_insn {
    uint8_t len;                 /* 1..15 */
    uint8_t mode;                /* enum x86_code_mode */
    uint8_t opsize;              /* 2, 4, 8: effective operand size of GPR instructions */
    uint8_t addrsize;            /* 2, 4, 8 */
    uint8_t encoding;
    uint8_t map;                 /* 0 one-byte, 1 0F, 2 0F38, 3 0F3A (5, 6 EVEX) */
    uint8_t opcode;              /* last opcode byte */
    uint8_t mandatory;           /* prefix that is part of the opcode: 0, 0x66, 0xF3, 0xF2 */
    bool has_modrm, has_sib, has_66, has_67, lock;
    uint8_t rep;                 /* last of F2/F3 seen as a prefix that is not mandatory: 0, 0xF2, 0xF3 */
    uint8_t seg;                 /* effective segment of the memory operand (SEG_*), override applied */
    bool seg_override;
    uint8_t rex;                 /* 0 or 0x40..0x4f as it stood */
    uint8_t modrm, sib;
    bool w, evex_z, evex_b;
    uint8_t vl;                  /* 0 128, 1 256, 2 512 */
    uint8_t evex_aaa;
    /* The memory operand, if there is one (operand kind OPND_MEM): base/index are register numbers 0..15 (31 for
     * VSIB) or -1; rip_relative: base is the address of the next instruction. */
    int8_t base, index;
    uint8_t scale;               /* 1, 2, 4, 8 */
    bool has_mem, rip_relative;
    int64_t disp;                /* sign-extended (EVEX disp8*N applied); MOFFS: the address */
    int64_t imm;
    int64_t imm2;
    uint8_t imm_bytes;           /* of imm as encoded: 0, 1, 2, 4, 8 */
    uint8_t cc;                  /* condition code 0..15 of jcc, setcc, cmovcc */
    uint16_t mnemonic;
    uint16_t feature;
    uint32_t attr;
    uint16_t flags_read, flags_written, flags_undefined; /* RFLAGS bits; a conditional write (shift by cl) counts as
                                                            read and written */
    uint32_t gpr_read, gpr_written;     /* bit per GPR 0..15, implicit ones and address registers included (read) */
    uint8_t operand_count;
    struct x86_operand operand[5];      /* explicit ones first, in Intel order, then implicit */
};

enum x86_decode_result {
    X86_DECODE_OK,
    X86_DECODE_SHORT,     /* bytes ended before the instruction */
    X86_DECODE_INVALID,   /* #UD; insn->len is what was read */
    X86_DECODE_TOO_LONG,  /* #GP: more than 15 bytes */
};
/* Decodes at most avail bytes (reading never goes past 15). */
enum x86_decode_result x86_decode(const uint8_t *bytes, size_t avail, enum x86_code_mode mode, struct x86_insn *insn);

const char *x86_mnemonic_name(unsigned mnemonic);
/* Intel-syntax text into buf; pc is used for branch targets. */
void x86_format(const struct x86_insn *insn, uint64_t pc, char *buf, size_t size);

#endif
