/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'info registers' of one CPU, laid out line by line as qemu prints it, so that scripts which read it go on working: 32-bit names
 * unless the CPU runs 64-bit code, segments with their descriptors in words, YMM registers when XCR0 has them on.
 */
#include <string.h>

#include "base/bits.h"
#include "monitor/registers_print.h"

enum { XCR0_YMM = 4, XSAVE_LEGACY_BYTES = 576 };

static void general_print(struct monitor *mon, const struct x86_state *s)
{
    static const char *const wide[16] = { "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                          "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15" };
    static const uint8_t order[16] = { 0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15 };
    bool is64 = x86_is_code64(s);

    for (unsigned i = 0; i < (is64 ? 16 : 8); i++) {
        unsigned r = order[i];

        if (is64) monitor_print(mon, "%s=%016llx", wide[r], (unsigned long long)s->gpr[r]);
        else monitor_print(mon, "E%s=%08x", wide[r] + 1, (uint32_t)s->gpr[r]);
        monitor_print(mon, i % 4 == 3 ? "\n" : " ");
    }
}

static void flags_print(struct monitor *mon, const struct x86_state *s, bool a20)
{
    static const char flags[] = "ODSZAPC";
    static const uint32_t bits[] = { RFLAGS_OF, RFLAGS_DF, RFLAGS_SF, RFLAGS_ZF, RFLAGS_AF, RFLAGS_PF, RFLAGS_CF };

    if (x86_is_code64(s)) monitor_print(mon, "RIP=%016llx RFL=%08x [", (unsigned long long)s->rip, (uint32_t)s->rflags);
    else monitor_print(mon, "EIP=%08x EFL=%08x [", (uint32_t)s->rip, (uint32_t)s->rflags);
    for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) monitor_print(mon, "%c", s->rflags & bits[i] ? flags[i] : '-');
    monitor_print(mon, "] CPL=%u II=%u A20=%u SMM=0 HLT=%u\n", x86_cpl(s), s->interrupt_shadow != 0, a20, s->halted);
}

/* ---- segments ---- */

/* Type of a system segment; the second row in long mode. */
static const char *const system_types[2][16] = {
    { "Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16", "TrapGate16", "Reserved", "TSS32-avl",
      "Reserved", "TSS32-busy", "CallGate32", "Reserved", "IntGate32", "TrapGate32" },
    { "<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved", "TSS64-avl", "Reserved",
      "TSS64-busy", "CallGate64", "Reserved", "IntGate64", "TrapGate64" },
};

static void descriptor_print(struct monitor *mon, const struct x86_state *s, uint32_t attr)
{
    bool code = attr & 8;

    monitor_print(mon, " DPL=%u ", (attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT);
    if (!(attr & 0x10)) {
        monitor_print(mon, "%s", system_types[x86_is_long(s)][attr & 15]);
        return;
    }
    if (code) monitor_print(mon, attr & SEG_ATTR_L ? "CS64" : attr & SEG_ATTR_DB ? "CS32" : "CS16");
    else monitor_print(mon, attr & SEG_ATTR_DB || x86_is_long(s) ? "DS  " : "DS16");
    monitor_print(mon, " [%c%c%c]", attr & 4 ? code ? 'C' : 'E' : '-', attr & 2 ? code ? 'R' : 'W' : '-', attr & 1 ? 'A' : '-');
}

static void segment_print(struct monitor *mon, const struct x86_state *s, const char *name, const struct segment *g)
{
    /* The descriptor's second word, without the base's bytes. */
    uint32_t high = (g->attr & 0xf00) << 12 | (g->attr & 0xff) << 8 | (g->attr & SEG_ATTR_G ? g->limit >> 28 : g->limit >> 16 & 15) << 16;

    if (x86_is_code64(s)) monitor_print(mon, "%-3s=%04x %016llx %08x %08x", name, g->selector, (unsigned long long)g->base, g->limit, high);
    else monitor_print(mon, "%-3s=%04x %08x %08x %08x", name, g->selector, (uint32_t)g->base, g->limit, high);
    if (s->cr0 & CR0_PE && g->attr & 0x80) descriptor_print(mon, s, g->attr);
    monitor_print(mon, "\n");
}

static void segments_print(struct monitor *mon, const struct x86_state *s)
{
    static const struct { const char *name; unsigned n; } seg[] = { { "ES", SEG_ES }, { "CS", SEG_CS }, { "SS", SEG_SS },
                                                                    { "DS", SEG_DS }, { "FS", SEG_FS }, { "GS", SEG_GS } };

    for (unsigned i = 0; i < ARRAY_SIZE(seg); i++) segment_print(mon, s, seg[i].name, &s->seg[seg[i].n]);
    segment_print(mon, s, "LDT", &s->ldtr);
    segment_print(mon, s, "TR", &s->tr);
}

static void system_print(struct monitor *mon, const struct x86_state *s)
{
    if (x86_is_long(s)) {
        monitor_print(mon, "GDT=     %016llx %08x\nIDT=     %016llx %08x\n", (unsigned long long)s->gdtr.base, s->gdtr.limit,
                      (unsigned long long)s->idtr.base, s->idtr.limit);
        monitor_print(mon, "CR0=%08x CR2=%016llx CR3=%016llx CR4=%08x\n", (uint32_t)s->cr0, (unsigned long long)s->cr2,
                      (unsigned long long)s->cr3, (uint32_t)s->cr4);
    } else {
        monitor_print(mon, "GDT=     %08x %08x\nIDT=     %08x %08x\n", (uint32_t)s->gdtr.base, s->gdtr.limit, (uint32_t)s->idtr.base,
                      s->idtr.limit);
        monitor_print(mon, "CR0=%08x CR2=%08x CR3=%08x CR4=%08x\n", (uint32_t)s->cr0, (uint32_t)s->cr2, (uint32_t)s->cr3,
                      (uint32_t)s->cr4);
    }
    for (unsigned i = 0; i < 4; i++) monitor_print(mon, "DR%u=%016llx ", i, (unsigned long long)s->dr[i]);
    monitor_print(mon, "\nDR6=%016llx DR7=%016llx\nEFER=%016llx\n", (unsigned long long)s->dr[6], (unsigned long long)s->dr[7],
                  (unsigned long long)s->efer);
}

/* ---- x87 and vectors ---- */

static void fpu_print(struct monitor *mon, const struct x86_state *s)
{
    uint16_t fcw, fsw, sign;
    uint64_t mantissa;
    uint32_t mxcsr;
    unsigned top;

    memcpy(&fcw, s->xsave, 2);
    memcpy(&fsw, s->xsave + 2, 2);
    memcpy(&mxcsr, s->xsave + 24, 4);
    top = fsw >> 11 & 7;
    monitor_print(mon, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n", fcw, fsw, top, s->xsave[4], mxcsr);
    for (unsigned i = 0; i < 8; i++) {
        const uint8_t *st = s->xsave + 32 + 16 * ((i - top) & 7);      /* the image counts from the top, the list does not */

        memcpy(&mantissa, st, 8);
        memcpy(&sign, st + 8, 2);
        monitor_print(mon, "FPR%u=%016llx %04x%c", i, (unsigned long long)mantissa, sign, i % 2 ? '\n' : ' ');
    }
}

static unsigned long long quad(const uint8_t *p)
{
    unsigned long long v;

    memcpy(&v, p, 8);
    return v;
}

static void vectors_print(struct monitor *mon, const struct x86_state *s)
{
    bool ymm = (s->xcr0 & XCR0_YMM) != 0;

    for (unsigned i = 0; i < (x86_is_code64(s) ? 16 : 8); i++) {
        const uint8_t *low = s->xsave + 160 + i * 16, *high = s->xsave + XSAVE_LEGACY_BYTES + i * 16;

        if (ymm) monitor_print(mon, "YMM%02u=%016llx %016llx %016llx %016llx\n", i, quad(high + 8), quad(high), quad(low + 8), quad(low));
        else monitor_print(mon, "XMM%02u=%016llx %016llx%c", i, quad(low + 8), quad(low), i % 2 ? '\n' : ' ');
    }
}

void registers_print(struct monitor *mon, const struct x86_state *s, bool a20)
{
    general_print(mon, s);
    flags_print(mon, s, a20);
    segments_print(mon, s);
    system_print(mon, s);
    fpu_print(mon, s);
    vectors_print(mon, s);
}
