/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions as text, Intel syntax, for traces and the monitor. The names of mnemonics are the table's. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "x86/decode.h"
#include "x86/state.h"

struct text { char *at, *end; };

static void put(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *t, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(t->at, (size_t)(t->end - t->at), fmt, args);
    va_end(args);
    if (n > 0) t->at = n < t->end - t->at ? t->at + n : t->end - 1;
}

static const char *const seg_names[] = { "es", "cs", "ss", "ds", "fs", "gs" };
static const char *const cc_names[] = { "o", "no", "b", "nb", "z", "nz", "be", "nbe", "s", "ns", "p", "np", "l", "nl", "le", "nle" };

static void put_gpr(struct text *t, unsigned reg, unsigned size)
{
    static const char *const low[] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };
    static const char *const byte[] = { "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil" };

    if (reg >= 8) put(t, "r%u%s", reg, size == 1 ? "b" : size == 2 ? "w" : size == 4 ? "d" : "");
    else if (size == 1) put(t, "%s", byte[reg]);
    else put(t, "%s%s", size == 8 ? "r" : size == 4 ? "e" : "", low[reg]);
}

static void put_register(struct text *t, const struct x86_operand *o)
{
    static const char *const high[] = { "ah", "ch", "dh", "bh" };

    switch (o->reg_class) {
    case RC_GPR: put_gpr(t, o->reg, o->size); break;
    case RC_GPR8_HIGH: put(t, "%s", high[o->reg & 3]); break;
    case RC_SEG: put(t, "%s", o->reg < ARRAY_SIZE(seg_names) ? seg_names[o->reg] : "?"); break;
    case RC_CR: put(t, "cr%u", o->reg); break;
    case RC_DR: put(t, "dr%u", o->reg); break;
    case RC_X87: put(t, o->reg ? "st(%u)" : "st", o->reg); break;
    case RC_MMX: put(t, "mm%u", o->reg); break;
    case RC_MASK: put(t, "k%u", o->reg); break;
    default: put(t, "%cmm%u", o->size > 32 ? 'z' : o->size > 16 ? 'y' : 'x', o->reg); break;
    }
}

static void put_displacement(struct text *t, int64_t disp, bool first, unsigned size)
{
    if (first) put(t, "%#llx", (unsigned long long)disp & (size == 8 ? ~0ull : (1ull << 8 * size) - 1));
    else if (disp) put(t, "%c%#llx", disp < 0 ? '-' : '+', (unsigned long long)(disp < 0 ? -disp : disp));
}

static void put_memory(struct text *t, const struct x86_insn *i, const struct x86_operand *o)
{
    const char *name = o->size == 1 ? "byte ptr " : o->size == 2 ? "word ptr " : o->size == 4 ? "dword ptr "
                     : o->size == 8 ? "qword ptr " : o->size == 10 ? "tbyte ptr " : o->size == 16 ? "xmmword ptr "
                     : o->size == 32 ? "ymmword ptr " : "";
    bool first = true;

    put(t, "%s", o->access ? name : "");
    if (i->seg_override) put(t, "%s:", seg_names[i->seg]);
    put(t, "[");
    if (i->rip_relative) {
        put(t, "rip");
        first = false;
    }
    if (i->base >= 0) {
        put_gpr(t, (unsigned)i->base, i->addrsize);
        first = false;
    }
    if (i->index >= 0) {
        if (!first) put(t, "+");
        if (i->attr & IA_VSIB) put(t, "%cmm%d", i->vl ? 'y' : 'x', i->index);
        else put_gpr(t, (unsigned)i->index, i->addrsize);
        if (i->scale > 1) put(t, "*%u", i->scale);
        first = false;
    }
    put_displacement(t, i->disp, first, i->addrsize);
    put(t, "]");
}

static void put_operand(struct text *t, const struct x86_insn *i, const struct x86_operand *o, uint64_t pc)
{
    uint64_t target;

    switch (o->kind) {
    case OPND_REG: put_register(t, o); break;
    case OPND_MEM: put_memory(t, i, o); break;
    case OPND_IMM: put(t, "%#llx", (unsigned long long)i->imm & (i->opsize >= 8 ? ~0ull : (1ull << 8 * i->opsize) - 1)); break;
    case OPND_REL:
        target = pc + i->len + (uint64_t)i->imm;
        put(t, "%#llx", (unsigned long long)(i->opsize == 2 ? target & 0xffff : i->opsize == 4 ? (uint32_t)target : target));
        break;
    case OPND_FAR: put(t, "%#x:%#x", (unsigned)i->imm2, (unsigned)i->imm); break;
    case OPND_MOFFS: put(t, "%s:[%#llx]", seg_names[i->seg], (unsigned long long)i->disp); break;
    case OPND_STRING:
        put(t, "%s:[", seg_names[o->reg == REG_RDI ? SEG_ES : i->seg]);
        put_gpr(t, o->reg, i->addrsize);
        put(t, "]");
        break;
    }
}

static void put_mnemonic(struct text *t, const struct x86_insn *i)
{
    static const char *const suffixes[] = { "", "b", "w", "", "d", "", "", "", "q" };
    char name[32];
    size_t n = 0;

    for (const char *p = x86_mnemonic_name(i->mnemonic); *p && *p != '_' && n < sizeof name - 1; p++) name[n++] = (char)tolower(*p);
    name[n] = 0;
    if (i->mnemonic == X86_JCC || i->mnemonic == X86_SETCC || i->mnemonic == X86_CMOVCC) {
        name[n - 2] = 0;
        put(t, "%s%s", name, cc_names[i->cc]);
    } else if (i->mnemonic == X86_JCXZ) {              /* named by the register that it looks at */
        put(t, "%s", i->addrsize == 8 ? "jrcxz" : i->addrsize == 4 ? "jecxz" : "jcxz");
    } else {
        put(t, "%s%s", name, i->attr & IA_STRING ? suffixes[i->operand[0].kind == OPND_STRING ? i->operand[0].size & 15
                                                                                             : i->operand[1].size & 15] : "");
    }
}

void x86_format(const struct x86_insn *insn, uint64_t pc, char *buf, size_t size)
{
    struct text t = { buf, buf + size };

    if (!size) return;
    buf[0] = 0;
    if (insn->lock) put(&t, "lock ");
    if (insn->rep && insn->attr & IA_STRING) {
        bool compares = insn->mnemonic == X86_CMPS || insn->mnemonic == X86_SCAS;
        put(&t, insn->rep == 0xf2 ? "repne " : compares ? "repe " : "rep ");
    }
    put_mnemonic(&t, insn);
    if (insn->attr & IA_STRING) return;
    for (unsigned n = 0; n < insn->operand_count; n++) {
        put(&t, n ? ", " : " ");
        put_operand(&t, insn, &insn->operand[n], pc);
    }
}
