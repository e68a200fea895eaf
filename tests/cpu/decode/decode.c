/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The decoder against Zydis on random byte strings in the three code sizes: validity, length, mnemonic, operand and
 * memory operand, general registers and flags that are read and written.
 *
 * Three kinds of strings: every opcode of every map with every ModRM byte (prefixes and tail random), random prefixes
 * before a random opcode, plain random bytes. What may differ, and why, is in the functions named allowed_*.
 */
#include <Zydis/Zydis.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "x86/decode.h"
#include "x86/state.h"

static const uint64_t seed = 0x0591170dec0de;
static uint64_t state;
static uint64_t count_total, count_valid, count_invalid, count_skipped, failures;
static unsigned shown_per[X86_MNEMONIC_COUNT + 1];
static ZydisDecoder decoder[3];

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

struct both {
    const uint8_t *bytes;
    enum x86_code_mode mode;
    struct x86_insn ours;
    enum x86_decode_result result;
    ZydisDecodedInstruction theirs;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    bool valid;
};

static void fail(const struct both *b, const char *what, const char *detail)
{
    char text[160] = "(bad)";
    unsigned n = b->result == X86_DECODE_OK ? b->ours.mnemonic : X86_MNEMONIC_COUNT;

    failures++;
    if (shown_per[n]++ >= 3) return;
    if (b->result == X86_DECODE_OK) x86_format(&b->ours, 0, text, sizeof text);
    printf("  mode %d ", b->mode == X86_CODE16 ? 16 : b->mode == X86_CODE32 ? 32 : 64);
    for (int i = 0; i < 15; i++) printf("%02x%s", b->bytes[i], i + 1 == b->ours.len ? "|" : "");
    printf(" %s: %s %s; Zydis: %s len %d\n", text, what, detail, b->valid ? ZydisMnemonicGetString(b->theirs.mnemonic) : "invalid",
           b->valid ? b->theirs.length : 0);
}

/* ---- mnemonics ---- */

static const struct { const char *ours, *theirs; } names[] = {
    { "MOV_SREG", "mov" }, { "MOV_CR", "mov" }, { "MOV_DR", "mov" }, { "PUSH_SREG", "push" }, { "POP_SREG", "pop" },
    { "WAIT", "fwait" }, { "JMPF", "jmp" }, { "CALLF", "call" }, { "RETF", "ret" },
    { "PUSHF", "pushf pushfd pushfq" }, { "POPF", "popf popfd popfq" }, { "PUSHA", "pusha pushad" }, { "POPA", "popa popad" },
    { "IRET", "iret iretd iretq" }, { "MOVS", "movsb movsw movsd movsq" }, { "CMPS", "cmpsb cmpsw cmpsd cmpsq" },
    { "STOS", "stosb stosw stosd stosq" }, { "LODS", "lodsb lodsw lodsd lodsq" }, { "SCAS", "scasb scasw scasd scasq" },
    { "INS", "insb insw insd" }, { "OUTS", "outsb outsw outsd" }, { "FXSAVE", "fxsave fxsave64" },
    { "FXRSTOR", "fxrstor fxrstor64" }, { "XSAVE", "xsave xsave64" }, { "XRSTOR", "xrstor xrstor64" },
    { "XSAVEOPT", "xsaveopt xsaveopt64" }, { "XSAVEC", "xsavec xsavec64" }, { "INT1", "int1" }, { "XLAT", "xlat" },
    { "SETCC", "seto setno setb setnb setz setnz setbe setnbe sets setns setp setnp setl setnl setle setnle" },
    { "CMOVCC", "cmovo cmovno cmovb cmovnb cmovz cmovnz cmovbe cmovnbe cmovs cmovns cmovp cmovnp cmovl cmovnl cmovle cmovnle" },
    /* Zydis tells the NOPs apart by what they are prefixes of; to us they do nothing. */
    { "NOP", "nop prefetch prefetchw prefetchwt1 prefetchnta prefetcht0 prefetcht1 prefetcht2 endbr32 endbr64 rdsspd rdsspq "
             "cldemote bndmk bndcl bndcu bndcn bndmov bndldx bndstx" },
    { "WBNOINVD", "wbinvd" },
};

static bool same_mnemonic(const struct both *b)
{
    const char *ours = x86_mnemonic_name(b->ours.mnemonic), *theirs = ZydisMnemonicGetString(b->theirs.mnemonic);
    size_t n = strlen(theirs);
    char text[160];

    if (b->ours.mnemonic == X86_JCXZ || b->ours.mnemonic == X86_JCC) {       /* the text must name these exactly */
        x86_format(&b->ours, 0, text, sizeof text);
        return !strncmp(text, theirs, n) && text[n] == ' ';
    }
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i].ours, ours)) continue;
        for (const char *p = names[i].theirs; (p = strstr(p, theirs)); p++)
            if ((p == names[i].theirs || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
        return false;
    }
    return strcasecmp(ours, theirs) == 0;
}

/* ---- what may differ ---- */

static bool name_is_one_of(const char *name, const char *list)
{
    size_t n = strlen(name);

    for (const char *p = list; (p = strstr(p, name)); p++)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

/* Valid for Zydis, which knows every extension of every vendor, invalid here because the engine promises no such
 * feature: AVX-512 and Knights Corner, XOP/FMA4/TBM/3DNow!, VMX, TSX, CET, MPX, AMX, PKU, user interrupts ... */
static bool allowed_invalid(const struct both *b)
{
    const char *ext = ZydisISAExtGetString(b->theirs.meta.isa_ext), *name = ZydisMnemonicGetString(b->theirs.mnemonic);

    if (b->theirs.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX || b->theirs.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
        b->theirs.encoding == ZYDIS_INSTRUCTION_ENCODING_XOP || b->theirs.encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW) return true;
    if (name_is_one_of(ext, "FMA4 TBM XOP AMD3DNOW VTX RTM CET MPX PKU SMX MONITORX SGX ENQCMD AMX_TILE AMX_INT8 AMX_BF16 UINTR "
                            "PTWRITE WAITPKG TDX HRESET KEYLOCKER KEYLOCKER_WIDE SERIALIZE TSX_LDTRK SNP MCOMMIT RDPRU "
                            "PADLOCK XSAVES PCONFIG INVPCID_AMD AVX512EVEX AVX512VEX KNC KNCE KNCV KNCSTREAM CLDEMOTE SVM "
                            "AVXAES_ RAO LWP")) return true;
    return name_is_one_of(name, "jmpe getsec xsaves xrstors xsaves64 xrstors64 cldemote rdpkru wrpkru vmread vmwrite "
                                "rdshr wrshr smint svdc rsdc svldt rsldt svts rsts bb0_reset bb1_reset cpu_write cpu_read "
                                "dmint rdm altinst getseq knop psmash pvalidate rmpadjust rmpupdate tlbsync invlpgb mcommit "
                                "ud0 femms vmxon vmxoff vmptrld vmptrst vmclear vmlaunch vmresume vmfunc encls enclu enclv "
                                "montmul xsha1 xsha256 xstore xcryptcbc xcryptcfb xcryptctr xcryptecb xcryptofb ccs_encrypt ccs_hash "
                                "ptwrite tpause umonitor umwait wrssd wrssq wrussd wrussq incsspd incsspq setssbsy clrssbsy "
                                "rstorssp saveprevssp");
}

/* 0F 1A and 0F 1B are MPX to Zydis, which restricts their operands; without MPX they are NOPs. */
static bool allowed_valid(const struct both *b)
{
    return b->ours.mnemonic == X86_NOP && b->ours.map == 1 && (b->ours.opcode == 0x1a || b->ours.opcode == 0x1b);
}

/* PAUSE with REX.B exchanges R8 and RAX (tried on a processor); Zydis says PAUSE. */
static bool allowed_pause(const struct both *b)
{
    return b->ours.opcode == 0x90 && b->ours.map == 0 && b->ours.rex & 1 && b->theirs.mnemonic == ZYDIS_MNEMONIC_PAUSE;
}

/* Zydis takes R13 as base where ModRM.mod is 0, SIB.base 5 and REX.B set, with a 32-bit address; there is no base (SDM
 * volume 2, table 2-3; the oracle of the engine runs such instructions). */
static bool allowed_memory(const struct both *b)
{
    return b->ours.has_sib && b->ours.modrm < 0x40 && (b->ours.sib & 7) == 5 && b->ours.rex & 1;
}

/* Zydis takes 3E before an indirect near branch as NOTRACK alone; without CET it is still the prefix for DS (SDM volume 1,
 * 17.3.4). */
static bool allowed_segment(const struct both *b)
{
    return b->theirs.attributes & ZYDIS_ATTRIB_HAS_NOTRACK && b->ours.seg == 3;
}

/* Zydis leaves out the flags that these clear. */
static bool allowed_flags(const struct x86_insn *i)
{
    return i->mnemonic == X86_VPTEST || i->mnemonic == X86_VTESTPS || i->mnemonic == X86_VTESTPD;
}

/* ---- registers ---- */

static uint32_t gpr_bit(ZydisRegister r)
{
    ZydisRegister wide = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);

    return wide >= ZYDIS_REGISTER_RAX && wide <= ZYDIS_REGISTER_R15 ? 1u << (wide - ZYDIS_REGISTER_RAX) : 0;
}

static void their_registers(const struct both *b, uint32_t *read, uint32_t *written)
{
    *read = *written = 0;
    for (unsigned n = 0; n < b->theirs.operand_count; n++) {
        const ZydisDecodedOperand *o = &b->operand[n];
        if (o->type == ZYDIS_OPERAND_TYPE_REGISTER) {
            if (o->actions & (ZYDIS_OPERAND_ACTION_MASK_READ | ZYDIS_OPERAND_ACTION_CONDWRITE)) *read |= gpr_bit(o->reg.value);
            if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) *written |= gpr_bit(o->reg.value);
        } else if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            *read |= gpr_bit(o->mem.base) | gpr_bit(o->mem.index);
        }
    }
}

/* System instructions with implicit state, and those which only name operands, are modelled differently. */
static bool registers_are_compared(const struct x86_insn *i)
{
    switch (i->mnemonic) {
    case X86_UD0: case X86_UD1: case X86_NOP: case X86_SYSCALL: case X86_SYSRET: case X86_SYSENTER: case X86_SYSEXIT: case X86_ENTER:
    case X86_LEAVE: case X86_PUSHA: case X86_POPA: case X86_INT: case X86_INT3: case X86_INT1: case X86_INTO: case X86_IRET:
    case X86_MOVDIR64B: case X86_RSM: case X86_INVLPGA: case X86_CALLF: case X86_CMOVCC: case X86_LAR: case X86_LSL:
    case X86_XCHG: case X86_CMPXCHG: case X86_BSF: case X86_BSR: case X86_SALC: case X86_VMCALL: case X86_VMMCALL:
    case X86_SKINIT: case X86_CMPXCHG8B: case X86_CMPXCHG16B: case X86_XGETBV: case X86_AAA: case X86_AAS: case X86_AAM: case X86_AAD:
    case X86_MWAIT: case X86_MONITOR: case X86_CLZERO: case X86_RETF: case X86_XLAT: case X86_IMUL: case X86_VMRUN: case X86_VMLOAD:
    case X86_VMSAVE:
        return false;
    }
    return !(i->attr & IA_STRING);
}

static void compare_registers(const struct both *b)
{
    uint32_t read, written;
    char text[96];

    if (!registers_are_compared(&b->ours) || allowed_memory(b)) return;
    their_registers(b, &read, &written);
    /* A partial write (8 or 16 bits) keeps the rest: some rows count that as reading. */
    if (written != b->ours.gpr_written || (read & ~b->ours.gpr_read) || (b->ours.gpr_read & ~(read | written))) {
        snprintf(text, sizeof text, "read %#x/%#x written %#x/%#x", b->ours.gpr_read, read, b->ours.gpr_written, written);
        fail(b, "registers", text);
    }
}

static void compare_flags(const struct both *b)
{
    const uint32_t mask = 0xcd5;
    uint32_t tested = 0, changed = 0, undefined = 0, ours = b->ours.flags_written | b->ours.flags_undefined;
    char text[96];

    if (b->theirs.cpu_flags) {
        tested = b->theirs.cpu_flags->tested & mask;
        changed = (b->theirs.cpu_flags->modified | b->theirs.cpu_flags->set_0 | b->theirs.cpu_flags->set_1) & mask;
        undefined = b->theirs.cpu_flags->undefined & mask;
    }
    if (b->ours.attr & (IA_SYSTEM | IA_BRANCH) || b->ours.attr & IA_X87 || b->ours.mnemonic == X86_POPF || allowed_flags(&b->ours)) return;
    /* Zydis lists no undefined flags for some, and calls flags of shifts undefined that processors define: what must hold
     * is that a flag which it says may change is in our sets, and that we test what it tests. */
    if (((changed | undefined) & ~ours) || (ours & ~(changed | undefined)) || (tested & ~b->ours.flags_read)) {
        snprintf(text, sizeof text, "flags read %#x/%#x changed %#x/%#x", b->ours.flags_read, tested, ours, changed | undefined);
        fail(b, "flags", text);
    }
}

/* ---- memory and immediates ---- */

static void compare_memory(const struct both *b)
{
    const ZydisDecodedOperand *m = NULL;
    uint32_t base = 0, index = 0;
    char text[96];

    if (b->ours.seg_override && (b->ours.mnemonic == X86_LEA || b->ours.mnemonic == X86_NOP)) return;   /* no segment is used */
    for (unsigned n = 0; n < b->theirs.operand_count_visible && !m; n++)
        if (b->operand[n].type == ZYDIS_OPERAND_TYPE_MEMORY) m = &b->operand[n];
    if (!m || !b->ours.has_mem) {
        if (!m != !b->ours.has_mem && !(b->ours.attr & IA_STRING) && b->theirs.raw.modrm.mod != 3 && b->ours.has_modrm) fail(b, "memory operand", "");
        return;
    }
    if (m->mem.base != ZYDIS_REGISTER_RIP && m->mem.base != ZYDIS_REGISTER_EIP) base = gpr_bit(m->mem.base);
    index = gpr_bit(m->mem.index);
    if (allowed_memory(b)) return;
    if (base != (b->ours.base >= 0 ? 1u << b->ours.base : 0) || m->mem.disp.value != b->ours.disp ||
        (!(b->ours.attr & IA_VSIB) && index != (b->ours.index >= 0 ? 1u << b->ours.index : 0)) ||
        (m->mem.index && m->mem.scale != b->ours.scale) || (m->mem.segment - ZYDIS_REGISTER_ES != b->ours.seg && !allowed_segment(b))) {
        snprintf(text, sizeof text, "base %d index %d scale %d disp %lld seg %d", b->ours.base, b->ours.index, b->ours.scale,
                 (long long)b->ours.disp, b->ours.seg);
        fail(b, "memory operand", text);
    }
    for (unsigned n = 0; n < b->ours.operand_count; n++) {
        if (b->ours.operand[n].kind != OPND_MEM || !b->ours.operand[n].access || !(b->ours.attr & IA_COPY) || b->ours.attr & IA_VSIB) continue;
        if (b->ours.operand[n].size * 8 == m->size) continue;
        snprintf(text, sizeof text, "%u, not %u", b->ours.operand[n].size, m->size / 8);
        fail(b, "memory size", text);
    }
}

static void compare_immediate(const struct both *b)
{
    char text[64];

    for (unsigned n = 0; n < b->theirs.operand_count_visible; n++) {
        const ZydisDecodedOperand *o = &b->operand[n];
        uint64_t mask;
        if (o->type != ZYDIS_OPERAND_TYPE_IMMEDIATE || !o->size) continue;
        mask = o->size >= 64 ? ~0ull : (1ull << o->size) - 1;
        if (b->theirs.raw.imm[0].size < o->size) mask = (1ull << b->theirs.raw.imm[0].size) - 1;
        if (((o->imm.value.u ^ (uint64_t)b->ours.imm) & mask) && b->ours.mnemonic != X86_EXTRQ) {
            snprintf(text, sizeof text, "%#llx, not %#llx", (unsigned long long)b->ours.imm, (unsigned long long)o->imm.value.u);
            fail(b, "immediate", text);
        }
        return;
    }
}

/* ---- one string ---- */

static void check(const uint8_t *bytes, enum x86_code_mode mode)
{
    struct both b = { .bytes = bytes, .mode = mode };
    ZyanStatus status = ZydisDecoderDecodeFull(&decoder[mode], bytes, 15, &b.theirs, b.operand);

    b.valid = ZYAN_SUCCESS(status);
    b.result = x86_decode(bytes, 15, mode, &b.ours);
    count_total++;
    if (!b.valid && b.result != X86_DECODE_OK) {
        count_invalid++;
    } else if (b.valid && b.result != X86_DECODE_OK) {
        if (allowed_invalid(&b)) count_skipped++;
        else fail(&b, "invalid here", "");
    } else if (!b.valid) {
        if (allowed_valid(&b)) count_skipped++;
        else fail(&b, "valid here", "");
    } else {
        count_valid++;
        if (allowed_pause(&b)) return;
        if (!same_mnemonic(&b)) {
            fail(&b, "mnemonic", "");
            return;
        }
        if (b.ours.len != b.theirs.length) {
            fail(&b, "length", "");
            return;
        }
        compare_memory(&b);
        compare_immediate(&b);
        compare_registers(&b);
        compare_flags(&b);
    }
}

static unsigned random_prefixes(uint8_t *to)
{
    static const uint8_t prefixes[] = { 0x66, 0xf2, 0xf3, 0x67, 0xf0, 0x2e, 0x36, 0x64, 0x65, 0x26, 0x3e };
    unsigned n = 0, wish = next_random() % 8 < 5 ? 0 : next_random() % 4;

    while (n < wish) {
        unsigned some = next_random() & 1 ? 3 : ARRAY_SIZE(prefixes);
        to[n++] = prefixes[next_random() % some];
    }
    if (next_random() & 1) to[n++] = 0x40 | (next_random() & 15);
    return n;
}

static void fill_random(uint8_t *to)
{
    for (unsigned i = 0; i < 16; i += 8) {
        uint64_t r = next_random();
        memcpy(to + i, &r, 8);
    }
}

/* Space 0..3: legacy maps; 4..6: VEX maps. */
static unsigned put_opcode(uint8_t *to, unsigned space, unsigned opcode)
{
    static const uint8_t maps[4][2] = { { 0 }, { 0x0f }, { 0x0f, 0x38 }, { 0x0f, 0x3a } };
    unsigned n = 0;

    if (space < 4) {
        while (n < 2 && maps[space][n]) to[n] = maps[space][n], n++;
    } else {
        to[n++] = 0xc4;
        to[n++] = (next_random() & 0xe0) | (space - 3);
        to[n++] = next_random() & 3 ? (next_random() & 0x87) | 0x78 : next_random();
    }
    to[n++] = opcode;
    return n;
}

int main(int argc, char **argv)
{
    static const ZydisMachineMode machine[3] = { ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_MACHINE_MODE_LONG_64 };
    uint64_t want = argc > 1 ? strtoull(argv[1], NULL, 0) : 10000000;
    uint8_t bytes[32];

    state = seed;
    for (int m = 0; m < 3; m++) {
        ZydisDecoderInit(&decoder[m], machine[m], m == 2 ? ZYDIS_STACK_WIDTH_64 : m == 1 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_16);
        ZydisDecoderEnableMode(&decoder[m], ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
        ZydisDecoderEnableMode(&decoder[m], ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
    }
    for (unsigned space = 0; space < 7; space++)
        for (unsigned n = 0; n < 256 * 256 * 3; n++) {
            fill_random(bytes);
            unsigned at = space < 4 ? random_prefixes(bytes) : 0;
            at += put_opcode(bytes + at, space, n / 3 >> 8);
            bytes[at] = n / 3;
            check(bytes, n % 3);
        }
    printf("decode: %llu systematic strings\n", (unsigned long long)count_total);
    while (count_total < want) {
        fill_random(bytes);
        if (next_random() & 3) {
            unsigned at = random_prefixes(bytes), space = next_random() % 7;
            put_opcode(bytes + at, space, next_random());
        }
        check(bytes, next_random() % 3);
    }
    printf("decode: %llu strings, %llu valid in both, %llu invalid in both, %llu of features not offered, %llu differ (seed %#llx)\n",
           (unsigned long long)count_total, (unsigned long long)count_valid, (unsigned long long)count_invalid,
           (unsigned long long)count_skipped, (unsigned long long)failures, (unsigned long long)seed);
    return failures != 0;
}
