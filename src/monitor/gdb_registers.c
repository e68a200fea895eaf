/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One table of registers a width. The order up to gs and of the x87 and SSE registers is gdb's own; the control
 * registers in between are additions that gdb shows by name.
 * Source: gdb manual, appendix G (target descriptions), features org.gnu.gdb.i386.core and org.gnu.gdb.i386.sse.
 */
#include "monitor/gdb_registers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "x86/state.h"

enum kind { K_GPR, K_RIP, K_FLAGS, K_SEG, K_FS_BASE, K_GS_BASE, K_KERNEL_GS, K_CR0, K_CR2, K_CR3, K_CR4, K_CR8, K_EFER,
            K_ST, K_FCTRL, K_FSTAT, K_FTAG, K_FISEG, K_FIOFF, K_FOSEG, K_FOOFF, K_FOP, K_XMM, K_MXCSR };

struct reg {
    const char *name;
    uint8_t kind, index, size;
    const char *type;
};

#define FPU_AND_CONTROL(word)                                                                                        \
    { "fs_base", K_FS_BASE, 0, word, "int" }, { "gs_base", K_GS_BASE, 0, word, "int" },                              \
    { "k_gs_base", K_KERNEL_GS, 0, word, "int" }, { "cr0", K_CR0, 0, word, "int" }, { "cr2", K_CR2, 0, word, "int" }, \
    { "cr3", K_CR3, 0, word, "int" }, { "cr4", K_CR4, 0, word, "int" }, { "cr8", K_CR8, 0, word, "int" },            \
    { "efer", K_EFER, 0, word, "int" },                                                                              \
    { "st0", K_ST, 0, 10, "i387_ext" }, { "st1", K_ST, 1, 10, "i387_ext" }, { "st2", K_ST, 2, 10, "i387_ext" },      \
    { "st3", K_ST, 3, 10, "i387_ext" }, { "st4", K_ST, 4, 10, "i387_ext" }, { "st5", K_ST, 5, 10, "i387_ext" },      \
    { "st6", K_ST, 6, 10, "i387_ext" }, { "st7", K_ST, 7, 10, "i387_ext" },                                          \
    { "fctrl", K_FCTRL, 0, 4, "int" }, { "fstat", K_FSTAT, 0, 4, "int" }, { "ftag", K_FTAG, 0, 4, "int" },           \
    { "fiseg", K_FISEG, 0, 4, "int" }, { "fioff", K_FIOFF, 0, 4, "int" }, { "foseg", K_FOSEG, 0, 4, "int" },         \
    { "fooff", K_FOOFF, 0, 4, "int" }, { "fop", K_FOP, 0, 4, "int" }
#define SEGMENTS                                                                                                     \
    { "cs", K_SEG, SEG_CS, 4, "int32" }, { "ss", K_SEG, SEG_SS, 4, "int32" }, { "ds", K_SEG, SEG_DS, 4, "int32" },   \
    { "es", K_SEG, SEG_ES, 4, "int32" }, { "fs", K_SEG, SEG_FS, 4, "int32" }, { "gs", K_SEG, SEG_GS, 4, "int32" }
#define XMM(n) { "xmm" #n, K_XMM, n, 16, "vec128" }

static const struct reg wide_regs[] = {
    { "rax", K_GPR, REG_RAX, 8, "int64" }, { "rbx", K_GPR, REG_RBX, 8, "int64" }, { "rcx", K_GPR, REG_RCX, 8, "int64" },
    { "rdx", K_GPR, REG_RDX, 8, "int64" }, { "rsi", K_GPR, REG_RSI, 8, "int64" }, { "rdi", K_GPR, REG_RDI, 8, "int64" },
    { "rbp", K_GPR, REG_RBP, 8, "data_ptr" }, { "rsp", K_GPR, REG_RSP, 8, "data_ptr" },
    { "r8", K_GPR, 8, 8, "int64" }, { "r9", K_GPR, 9, 8, "int64" }, { "r10", K_GPR, 10, 8, "int64" },
    { "r11", K_GPR, 11, 8, "int64" }, { "r12", K_GPR, 12, 8, "int64" }, { "r13", K_GPR, 13, 8, "int64" },
    { "r14", K_GPR, 14, 8, "int64" }, { "r15", K_GPR, 15, 8, "int64" },
    { "rip", K_RIP, 0, 8, "code_ptr" }, { "eflags", K_FLAGS, 0, 4, "i386_eflags" }, SEGMENTS, FPU_AND_CONTROL(8),
    XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7), XMM(8), XMM(9), XMM(10), XMM(11), XMM(12), XMM(13),
    XMM(14), XMM(15), { "mxcsr", K_MXCSR, 0, 4, "int" },
};

static const struct reg narrow_regs[] = {
    { "eax", K_GPR, REG_RAX, 4, "int32" }, { "ecx", K_GPR, REG_RCX, 4, "int32" }, { "edx", K_GPR, REG_RDX, 4, "int32" },
    { "ebx", K_GPR, REG_RBX, 4, "int32" }, { "esp", K_GPR, REG_RSP, 4, "data_ptr" },
    { "ebp", K_GPR, REG_RBP, 4, "data_ptr" }, { "esi", K_GPR, REG_RSI, 4, "int32" }, { "edi", K_GPR, REG_RDI, 4, "int32" },
    { "eip", K_RIP, 0, 4, "code_ptr" }, { "eflags", K_FLAGS, 0, 4, "i386_eflags" }, SEGMENTS, FPU_AND_CONTROL(4),
    XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7), { "mxcsr", K_MXCSR, 0, 4, "int" },
};

static const struct reg *reg_find(bool wide, unsigned n)
{
    if (n >= gdb_register_count(wide)) return NULL;
    return wide ? &wide_regs[n] : &narrow_regs[n];
}

unsigned gdb_register_count(bool wide)
{
    return wide ? ARRAY_SIZE(wide_regs) : ARRAY_SIZE(narrow_regs);
}

unsigned gdb_register_size(bool wide, unsigned n)
{
    const struct reg *r = reg_find(wide, n);

    return r ? r->size : 0;
}

/* ---- the FXSAVE image (SDM volume 1, table 10-2) inside the XSAVE area ---- */

enum { FX_FCW = 0, FX_FSW = 2, FX_FTW = 4, FX_FOP = 6, FX_FIP = 8, FX_FCS = 12, FX_FDP = 16, FX_FDS = 20, FX_MXCSR = 24,
       FX_ST = 32, FX_XMM = 160, XSAVE_HEADER = 512, XSTATE_X87 = 1, XSTATE_SSE = 2 };

static uint64_t field(const struct x86_state *s, unsigned offset, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, s->xsave + offset, size);
    return v;
}

static bool has_state(const struct x86_state *s, unsigned component)
{
    return s->xsave[XSAVE_HEADER] & component;
}

/* The full tag word from the abridged one: 3 empty, else by the contents. */
static unsigned full_tag(const struct x86_state *s)
{
    unsigned top = field(s, FX_FSW, 2) >> 11 & 7, full = 0;

    for (unsigned physical = 0; physical < 8; physical++) {
        const uint8_t *st = s->xsave + FX_ST + ((physical - top) & 7) * 16;
        unsigned tag = 3, exponent = (st[8] | st[9] << 8) & 0x7fff;
        uint64_t mantissa;

        memcpy(&mantissa, st, 8);
        if (s->xsave[FX_FTW] >> physical & 1)
            tag = exponent == 0 && !mantissa ? 1 : exponent == 0 || exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
        full |= tag << (2 * physical);
    }
    return full;
}

static uint64_t x87_control(const struct x86_state *s, enum kind k)
{
    if (!has_state(s, XSTATE_X87)) return k == K_FCTRL ? 0x37f : k == K_FTAG ? 0xffff : 0;
    switch (k) {
    case K_FCTRL: return field(s, FX_FCW, 2);
    case K_FSTAT: return field(s, FX_FSW, 2);
    case K_FTAG: return full_tag(s);
    case K_FISEG: return field(s, FX_FCS, 2);
    case K_FIOFF: return field(s, FX_FIP, 4);
    case K_FOSEG: return field(s, FX_FDS, 2);
    case K_FOOFF: return field(s, FX_FDP, 4);
    default: return field(s, FX_FOP, 2);
    }
}

static uint64_t *word_of(struct x86_state *s, const struct reg *r)
{
    switch (r->kind) {
    case K_GPR: return &s->gpr[r->index];
    case K_RIP: return &s->rip;
    case K_FLAGS: return &s->rflags;
    case K_FS_BASE: return &s->seg[SEG_FS].base;
    case K_GS_BASE: return &s->seg[SEG_GS].base;
    case K_KERNEL_GS: return &s->kernel_gs_base;
    case K_CR0: return &s->cr0;
    case K_CR2: return &s->cr2;
    case K_CR3: return &s->cr3;
    case K_CR4: return &s->cr4;
    case K_CR8: return &s->cr8;
    case K_EFER: return &s->efer;
    default: return NULL;
    }
}

unsigned gdb_register_get(const struct x86_state *s, bool wide, unsigned n, uint8_t *data)
{
    const struct reg *r = reg_find(wide, n);
    uint64_t value;

    if (!r) return 0;
    memset(data, 0, GDB_REGISTER_BYTES);
    if (r->kind == K_ST) {
        if (has_state(s, XSTATE_X87)) memcpy(data, s->xsave + FX_ST + r->index * 16, 10);
        return r->size;
    }
    if (r->kind == K_XMM) {
        if (has_state(s, XSTATE_SSE)) memcpy(data, s->xsave + FX_XMM + r->index * 16, 16);
        return r->size;
    }
    if (r->kind == K_SEG) value = s->seg[r->index].selector;
    else if (r->kind == K_MXCSR) value = field(s, FX_MXCSR, 4);
    else if (r->kind >= K_FCTRL && r->kind <= K_FOP) value = x87_control(s, r->kind);
    else value = *word_of((struct x86_state *)(uintptr_t)s, r);
    memcpy(data, &value, r->size);
    return r->size;
}

/* Outside real mode a selector alone says nothing about the segment: only the one that is there is accepted. */
static bool segment_set(struct x86_state *s, unsigned n, uint16_t selector)
{
    if (s->seg[n].selector == selector) return true;
    if (x86_is_protected(s)) return false;
    s->seg[n].selector = selector;
    s->seg[n].base = (uint64_t)selector << 4;
    return true;
}

static bool vector_set(struct x86_state *s, const struct reg *r, const uint8_t *data)
{
    unsigned component = r->kind == K_ST ? XSTATE_X87 : XSTATE_SSE;

    if (!has_state(s, component)) {
        if (r->kind == K_ST) return false;       /* the whole x87 state would have to be made up */
        memset(s->xsave + FX_XMM, 0, 256);
        s->xsave[XSAVE_HEADER] |= component;
    }
    memcpy(s->xsave + (r->kind == K_ST ? FX_ST : FX_XMM) + r->index * 16, data, r->size);
    return true;
}

/* Bits that would make XRSTOR fault are refused. */
static bool mxcsr_set(struct x86_state *s, uint32_t value)
{
    if (value & 0xffff0000) return false;
    memcpy(s->xsave + FX_MXCSR, &value, 4);
    return true;
}

bool gdb_register_set(struct x86_state *s, bool wide, unsigned n, const uint8_t *data)
{
    const struct reg *r = reg_find(wide, n);
    uint8_t now[GDB_REGISTER_BYTES];
    uint64_t value = 0;

    if (!r) return false;
    gdb_register_get(s, wide, n, now);
    if (!memcmp(now, data, r->size)) return true;
    if (r->kind == K_ST || r->kind == K_XMM) return vector_set(s, r, data);
    memcpy(&value, data, MIN(r->size, (uint8_t)8));
    switch (r->kind) {
    case K_SEG: return segment_set(s, r->index, value);
    case K_MXCSR: return mxcsr_set(s, value);
    case K_FLAGS:
        s->rflags = (value & 0x3f7fd5) | RFLAGS_FIXED;
        return true;
    case K_GPR: case K_RIP: case K_FS_BASE: case K_GS_BASE: case K_KERNEL_GS: case K_CR2:
        if (r->size == 8) *word_of(s, r) = value;
        else *word_of(s, r) = (uint32_t)value;
        return true;
    default: return false;                       /* modes are not for a debugger to change */
    }
}

/* ---- target.xml ---- */

struct text {
    char *buf;
    size_t size, used;
};

static void __attribute__((format(printf, 2, 3))) text_add(struct text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    t->used += vsnprintf(t->used < t->size ? t->buf + t->used : NULL, t->used < t->size ? t->size - t->used : 0, fmt, ap);
    va_end(ap);
}

static void flags_describe(struct text *t)
{
    static const struct { const char *name; int bit; } flags[] = {
        { "CF", 0 }, { "", 1 }, { "PF", 2 }, { "AF", 4 }, { "ZF", 6 }, { "SF", 7 }, { "TF", 8 }, { "IF", 9 }, { "DF", 10 },
        { "OF", 11 }, { "NT", 14 }, { "RF", 16 }, { "VM", 17 }, { "AC", 18 }, { "VIF", 19 }, { "VIP", 20 }, { "ID", 21 },
    };

    text_add(t, "<flags id=\"i386_eflags\" size=\"4\">");
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
        text_add(t, "<field name=\"%s\" start=\"%d\" end=\"%d\"/>", flags[i].name, flags[i].bit, flags[i].bit);
    text_add(t, "</flags>");
}

static void vectors_describe(struct text *t)
{
    text_add(t, "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
             "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
             "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
             "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
             "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
             "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
             "<field name=\"uint128\" type=\"uint128\"/></union>");
}

size_t gdb_target_xml(bool wide, char *buf, size_t size)
{
    struct text t = { buf, size, 0 };
    bool sse = false;

    text_add(&t, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target><architecture>%s</architecture>"
             "<feature name=\"org.gnu.gdb.i386.core\">", wide ? "i386:x86-64" : "i386");
    flags_describe(&t);
    for (unsigned n = 0; n < gdb_register_count(wide); n++) {
        const struct reg *r = reg_find(wide, n);
        const char *type = r->type;

        if (r->kind == K_XMM && !sse) {
            sse = true;
            text_add(&t, "</feature><feature name=\"org.gnu.gdb.i386.sse\">");
            vectors_describe(&t);
        }
        if (!strcmp(type, "int")) type = r->size == 8 ? "int64" : "int";
        text_add(&t, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>", r->name, r->size * 8, type);
    }
    text_add(&t, "</feature></target>");
    return t.used;
}
