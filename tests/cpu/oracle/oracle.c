/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Oracle: random user-level instructions on the host CPU and through the engine bt; registers, flags, x87 and vector
 * state, memory and exceptions must be the same.
 *
 * A case is one instruction, or a block of up to six, made from random bytes that the decoder accepts and the engine
 * offers. Its memory operand is steered into a window of four pages that both sides have at the same linear address: two
 * are plain, one is read-only, and none follows; operands cross page borders. The guest runs at CPL 3 in 64-bit mode.
 * Left out: FS and GS overrides (the host's belong to the C library), what reads time or chance, and what is system.
 * What the translator believes about the size of values (range.c) is held against the values that come out.
 * After an exception flags are compared only with OSPITE_BT_EXACT_FLAGS set: else those that the instruction or a later
 * one of the block overwrites may be anything in the frame (docs/translator.md).
 *
 * Usage: test-oracle [CASES [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "engine/bt/range.h"
#include "native64.h"
#include "values.h"
#include "x86/decode.h"

enum { WINDOW = 0x200000, READ_ONLY = WINDOW + 0x2000, HOLE = WINDOW + 0x3000, WINDOW_BYTES = 0x3000, BLOCK_MAX = 6, NEAR = 512 };

static uint64_t seed = 0x05917e;
static bool host_is_intel;
static uint64_t disagreed;
static uint64_t cases, exceptions, failures, ranges, per_class[6], per_vector[32];
static uint32_t forms_seen[X86_MNEMONIC_COUNT];
static const char *const class_names[6] = { "general", "x87", "mmx", "sse", "avx", "block" };
static struct bench *bench;
static struct cpuid_model model;
static struct x86_state base_state;

static uint64_t next_random(void) { return bench_random(&seed); }
static unsigned below(unsigned n) { return next_random() % n; }

/* ---- which instructions ---- */

static bool is_offered(unsigned feature)
{
    static const struct { uint8_t feature; uint32_t leaf; uint8_t reg, bit; } bits[] = {
        { FEAT_SSE3, 1, 2, 0 }, { FEAT_PCLMUL, 1, 2, 1 }, { FEAT_SSSE3, 1, 2, 9 }, { FEAT_FMA, 1, 2, 12 }, { FEAT_SSE41, 1, 2, 19 },
        { FEAT_SSE42, 1, 2, 20 }, { FEAT_MOVBE, 1, 2, 22 }, { FEAT_POPCNT, 1, 2, 23 }, { FEAT_AES, 1, 2, 25 }, { FEAT_AVX, 1, 2, 28 },
        { FEAT_F16C, 1, 2, 29 }, { FEAT_BMI1, 7, 1, 3 }, { FEAT_AVX2, 7, 1, 5 }, { FEAT_BMI2, 7, 1, 8 }, { FEAT_ADX, 7, 1, 19 },
        { FEAT_SHA, 7, 1, 29 }, { FEAT_GFNI, 7, 2, 8 }, { FEAT_VAES, 7, 2, 9 }, { FEAT_VPCLMUL, 7, 2, 10 }, { FEAT_MOVDIRI, 7, 2, 27 },
        { FEAT_LZCNT, 0x80000001, 2, 5 }, { FEAT_SSE4A, 0x80000001, 2, 6 },
    };

    for (unsigned n = 0; n < ARRAY_SIZE(bits); n++)
        if (bits[n].feature == feature) return cpuid_has(&model, bits[n].leaf, 0, bits[n].reg, bits[n].bit);
    if (feature == FEAT_AVX_VNNI) return cpuid_has(&model, 7, 1, 0, 4);
    switch (feature) {
    case FEAT_BASE: case FEAT_X87: case FEAT_MMX: case FEAT_SSE: case FEAT_SSE2: case FEAT_CMOV: case FEAT_CX8: case FEAT_CX16: return true;
    default: return false;
    }
}

static bool has_own_rule(const struct x86_insn *i)
{
    switch (i->mnemonic) {
    case X86_PUSH: case X86_POP: case X86_LEAVE: case X86_LEA: case X86_CLD: case X86_STD: case X86_XLAT: case X86_MOVS: case X86_STOS:
    case X86_LODS: case X86_SCAS: case X86_CMPS: case X86_WAIT: return true;
    default: return false;
    }
}

static bool is_wanted(const struct x86_insn *i)
{
    if (i->attr & (IA_SYSTEM | IA_BRANCH | IA_NOP | IA_VSIB) || !is_offered(i->feature)) return false;
    if (!(i->attr & IA_COPY) && !has_own_rule(i)) return false;
    if (i->seg_override && i->mnemonic != X86_LEA) return false;
    return i->mnemonic != X86_RDRAND && i->mnemonic != X86_RDSEED;
}

static unsigned random_bytes(uint8_t *to)
{
    static const uint8_t prefixes[] = { 0x66, 0xf2, 0xf3, 0x67, 0xf0 };
    unsigned n = 0, space = below(16);

    for (unsigned k = 0; k < 32; k += 8) {
        uint64_t r = next_random();
        memcpy(to + k, &r, 8);
    }
    if (below(10) == 0) {
        to[0] = 0xd8 + below(8);                       /* x87 has but eight of all the opcodes */
        return 1;
    }
    if (space >= 9) {                                  /* VEX */
        to[n++] = 0xc4;
        to[n++] = (next_random() & 0xe0) | (1 + below(3));
        to[n++] = next_random();
        return n;
    }
    for (unsigned k = below(3) ? 0 : 1 + below(2); k; k--) to[n++] = prefixes[below(3) ? below(3) : below(5)];
    if (below(2)) to[n++] = 0x40 | below(16);
    if (space >= 3) to[n++] = 0x0f;
    if (space == 7) to[n++] = 0x38;
    if (space == 8) to[n++] = 0x3a;
    return n;
}

/* One instruction the engine should take, from random bytes. */
static void choose(uint8_t *bytes, struct x86_insn *i)
{
    do random_bytes(bytes);
    while (x86_decode(bytes, 15, X86_CODE64, i) != X86_DECODE_OK || !is_wanted(i));
}

/* ---- where memory operands go ---- */

/* An address in the window, rather often near its borders. */
static uint64_t target(void)
{
    static const uint32_t borders[] = { WINDOW + 0x1000, READ_ONLY, HOLE };

    if (below(4)) return WINDOW + 64 + (below(0x1f00) & (below(2) ? ~31u : ~0u));
    return borders[below(3)] - 40 + below(64);
}

static uint64_t effective(const struct native_state *s, const struct x86_insn *i)
{
    uint64_t at = i->disp;

    if (i->rip_relative) at += s->rip + i->len;
    if (i->base >= 0) at += s->gpr[i->base];
    if (i->index >= 0) at += s->gpr[i->index] * i->scale;
    return i->addrsize == 4 ? (uint32_t)at : at;
}

static bool in_reach(uint64_t at) { return at >= WINDOW + 64 && at < HOLE + 256; }

/* The displacement stands before the immediates. */
static unsigned displacement_at(const struct x86_insn *i)
{
    unsigned imm = i->imm_bytes;

    for (unsigned n = 0; n < i->operand_count; n++)
        if (i->operand[n].place == ENC_IS4) imm = 1;
    if (i->mnemonic == X86_EXTRQ || i->mnemonic == X86_INSERTQ) imm = 2;
    return i->len - imm - 4;
}

/* Makes the operand's address land in the window: by its base or index register, or by its displacement. */
static bool steer(struct native_state *s, struct x86_insn *i, uint8_t *bytes, uint64_t rip, bool by_register)
{
    uint64_t want = target();
    int reg = i->base >= 0 ? i->base : i->index;

    if (i->rip_relative || reg < 0) {
        int32_t disp = (int32_t)(want - (i->rip_relative ? rip + i->len : 0));
        memcpy(bytes + displacement_at(i), &disp, 4);
        i->disp = disp;
        return true;
    }
    if (!by_register) return false;
    if (i->base >= 0 && i->index == i->base) s->gpr[reg] = (want - i->disp) / (1 + i->scale);
    else if (i->base >= 0) s->gpr[reg] = want - i->disp - (i->index >= 0 ? s->gpr[i->index] * i->scale : 0);
    else s->gpr[reg] = (want - i->disp) / i->scale;
    return in_reach(effective(s, i));
}

/* Bit tests with a bit number in a register reach beyond their operand. */
static bool bit_number_tame(struct native_state *s, const struct x86_insn *i)
{
    bool is_bit = i->mnemonic == X86_BT || i->mnemonic == X86_BTS || i->mnemonic == X86_BTR || i->mnemonic == X86_BTC;
    unsigned reg;

    if (!is_bit || i->operand[1].kind != OPND_REG || !i->has_mem) return true;
    reg = i->operand[1].reg;
    s->gpr[reg] &= 0x3ff;
    return (int)reg != i->base && (int)reg != i->index;
}

/* Registers that address memory without being named. false: the case is not wanted. */
static bool steer_implicit(struct native_state *s, const struct x86_insn *i)
{
    if (i->attr & IA_STACK) s->gpr[REG_RSP] = target();
    switch (i->mnemonic) {
    case X86_LEAVE: s->gpr[REG_RBP] = target(); return true;
    case X86_XLAT: s->gpr[REG_RBX] = target() - (s->gpr[REG_RAX] & 0xff); return true;
    case X86_MASKMOVQ: case X86_MASKMOVDQU: case X86_VMASKMOVDQU:
        /* Whether bytes outside the mask can fault is left to the processor: here they do. */
        s->gpr[REG_RDI] = WINDOW + 64 + below(0x1e00);
        return true;
    default: break;
    }
    if (i->attr & IA_STRING) {
        s->gpr[REG_RSI] = target();
        s->gpr[REG_RDI] = target();
        s->gpr[REG_RCX] = below(40);
    }
    return true;
}

/* ---- states ---- */

/* Bits that mean something as floating point: ordinary numbers, zeros, denormals, infinities, NaNs. */
static uint64_t random_float_bits(void)
{
    static const uint64_t special[] = { 0, 1ull << 63, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001, 1,
                                        0x7f8000003f800000, 0x3ff0000000000000, 0x00000001007fffff, 0x4330000000000000, 0xc1e0000000200000 };
    uint64_t r = next_random();

    switch (below(5)) {
    case 0: return special[below(ARRAY_SIZE(special))];
    case 1: return (r & 0x800fffffffffffff) | (uint64_t)(1000 + below(60)) << 52;
    case 2: return (r & 0x807fffff807fffff) | (uint64_t)(120 + below(16)) << 55 | (uint64_t)(120 + below(16)) << 23;
    default: return r;
    }
}

static void random_fpu(uint8_t *x)
{
    uint16_t control = 0x300 | below(4) << 10 | (below(4) ? 0x3f : below(64)), status = below(8) << 11 | (next_random() & 0x4700);
    uint32_t mxcsr = below(4) << 13 | (below(4) ? 0x1f80 : below(64) << 7) | (below(8) ? 0 : 0x8000) | (below(8) ? 0 : 0x40);

    if (below(4) == 0) control = (control & ~0x300) | below(4) << 8;
    memset(x, 0, NATIVE_XSAVE_BYTES);
    memcpy(x, &control, 2);
    memcpy(x + 2, &status, 2);
    x[4] = below(3) ? 0xff : next_random();
    memcpy(x + 24, &mxcsr, 4);
    for (unsigned n = 0; n < 8; n++) {
        uint64_t m = next_random() | (below(6) ? 1ull << 63 : 0);
        uint16_t e = below(6) ? (below(2) << 15) | (0x3fff - 40 + below(80)) : next_random();
        memcpy(x + 32 + 16 * n, &m, 8);
        memcpy(x + 40 + 16 * n, &e, 2);
    }
    for (unsigned at = 160; at < 416; at += 8) memcpy(x + at, &(uint64_t){ random_float_bits() }, 8);
    for (unsigned at = 576; at < 832; at += 8) memcpy(x + at, &(uint64_t){ random_float_bits() }, 8);
    x[512] = 7;
}

static void random_state(struct native_state *s)
{
    memset(s, 0, sizeof *s);
    for (unsigned n = 0; n < 16; n++) s->gpr[n] = random_value(&seed);
    s->rip = NATIVE_CODE;
    s->rflags = 0x202 | (next_random() & RFLAGS_ARITH) | (below(4) ? 0 : RFLAGS_DF);
    random_fpu(s->xsave);
}

static void window_fill(void)
{
    for (unsigned at = 0; at < WINDOW_BYTES; at += 8) {
        uint64_t r = random_float_bits();
        memcpy((uint8_t *)WINDOW + at, &r, 8);
    }
    memcpy(bench->ram + WINDOW, (void *)WINDOW, WINDOW_BYTES);
}

/* ---- running and comparing ---- */

struct one_case {
    uint8_t code[BLOCK_MAX * 16];
    unsigned bytes, count, class;
    struct x86_insn insn[BLOCK_MAX];
    struct native_state in, native;
    struct result guest;
};

static void show(const struct one_case *c)
{
    char text[128];
    unsigned at = 0;

    for (unsigned n = 0; n < c->count; n++) {
        x86_format(&c->insn[n], NATIVE_CODE + at, text, sizeof text);
        printf("    ");
        for (unsigned k = 0; k < c->insn[n].len; k++) printf("%02x", c->code[at + k]);
        printf("  %s\n", text);
        at += c->insn[n].len;
    }
}

static void differ(const struct one_case *c, const char *what, uint64_t native, uint64_t guest)
{
    if (failures++ >= 40) return;
    printf("  %s: host %#lx, bt %#lx\n", what, (unsigned long)native, (unsigned long)guest);
    show(c);
}

static bool compare_fpu(const struct one_case *c)
{
    static const struct { const char *name; unsigned at, bytes; } parts[] = {
        { "x87 control", 0, 2 }, { "x87 status", 2, 2 }, { "x87 tags", 4, 1 }, { "MXCSR", 24, 4 },
    };
    uint8_t guest[NATIVE_XSAVE_BYTES];
    const uint8_t *host = c->native.xsave;
    char name[32];

    memcpy(guest, c->guest.s.xsave, sizeof guest);
    if (!(guest[512] & 1)) {
        memset(guest, 0, 24);
        guest[0] = 0x7f;
        guest[1] = 3;
        memset(guest + 32, 0, 128);
    }
    if (!(guest[512] & 2)) memset(guest + 160, 0, 256);
    if (!(guest[512] & 4)) memset(guest + 576, 0, 256);
    for (unsigned n = 0; n < ARRAY_SIZE(parts); n++)
        if (memcmp(host + parts[n].at, guest + parts[n].at, parts[n].bytes)) {
            uint32_t a = 0, b = 0;
            memcpy(&a, host + parts[n].at, parts[n].bytes);
            memcpy(&b, guest + parts[n].at, parts[n].bytes);
            differ(c, parts[n].name, a, b);
            return false;
        }
    for (unsigned n = 0; n < 40; n++) {
        unsigned at = n < 8 ? 32 + 16 * n : n < 24 ? 160 + 16 * (n - 8) : 576 + 16 * (n - 24), bytes = n < 8 ? 10 : 16;
        uint64_t a, b;
        if (!memcmp(host + at, guest + at, bytes)) continue;
        snprintf(name, sizeof name, "%s%u", n < 8 ? "ST" : n < 24 ? "XMM" : "YMM high ", n < 8 ? n : n < 24 ? n - 8 : n - 24);
        memcpy(&a, host + at, 8);
        memcpy(&b, guest + at, 8);
        if (a == b) memcpy(&a, host + at + bytes - 8, 8), memcpy(&b, guest + at + bytes - 8, 8);
        differ(c, name, a, b);
        return false;
    }
    return true;
}

/* Is this where Intel's processors do something else than AMD's, which bt follows?
 * - F3 REX.B 90 is PAUSE to the one and XCHG with R8 to the other.
 * - A store from an MMX register sets the x87 top to 0 with Intel alone.
 * - An operand that is both misaligned and not mapped is #GP to Intel, #PF to AMD.
 * - An x87 store that raises an unmasked exception does not look at its operand with Intel; one of ten bytes has stored the first when the
 *   others are a fault.
 * - VCVTPS2PH raises its own exception before it looks at where it stores with Intel, afterwards with AMD.
 * - MOVSXD of 16 bits reads two bytes with Intel, four with AMD.
 * - VMASKMOV tells the address of the element that is a fault with Intel, of the page with AMD. */
static bool makers_disagree(const struct one_case *c)
{
    for (unsigned n = 0; n < c->count; n++) {
        const struct x86_insn *i = &c->insn[n];
        if (i->mnemonic == X86_XCHG && i->opcode == 0x90 && i->rep == 0xf3 && i->rex & 1) return true;
        if (i->attr & IA_MMX && i->has_mem && i->operand[0].kind == OPND_MEM) return true;
        if (c->guest.vector != VECTOR_PF) continue;
        if (i->has_mem && (i->mnemonic == X86_VCVTPS2PH || (i->mnemonic == X86_MOVSXD && i->opsize == 2))) return true;
        if (c->native.vector == VECTOR_GP && i->attr & IA_SSE && i->has_mem) return true;
        if (i->attr & IA_X87 && i->has_mem) return true;
        if (i->mnemonic == X86_VMASKMOVPS || i->mnemonic == X86_VMASKMOVPD) return true;
        if (i->mnemonic == X86_VPMASKMOVD || i->mnemonic == X86_VPMASKMOVQ) return true;
    }
    return false;
}

/* CMPS, both of whose operands are faults, tells of the one or of the other, by the model of the processor; bt of RSI's. */
static bool tells_of_the_other(const struct one_case *c)
{
    const struct x86_insn *i = &c->insn[0];

    return c->count == 1 && i->attr & IA_STRING && (i->opcode == 0xa6 || i->opcode == 0xa7) && c->guest.vector == VECTOR_PF &&
           c->native.vector == VECTOR_PF && c->guest.error == c->native.error && c->guest.s.cr2 != c->native.address;
}

static bool compare(const struct one_case *c)
{
    unsigned vector = c->native.vector == 3 ? BENCH_DONE : c->native.vector;
    uint64_t flags = RFLAGS_ARITH | RFLAGS_DF;

    if (tells_of_the_other(c) || (host_is_intel && makers_disagree(c))) {
        disagreed++;
        return false;
    }

    /* Undefined flags depend on those before, which the engine does not keep for an instruction that defines none of them. */
    for (unsigned n = 0; n < c->count; n++) flags &= ~(uint64_t)c->insn[n].flags_undefined;
    if (c->guest.vector != vector) {
        differ(c, "vector", vector, c->guest.vector);
        return false;
    }
    if (vector != BENCH_DONE && c->guest.rip != c->native.rip) {
        differ(c, "RIP", c->native.rip, c->guest.rip);
        return false;
    }
    /* What the host's kernel has mapped in its half is its own affair. */
    bool same_error = c->guest.error == c->native.error || c->native.address >> 47;
    if (vector == VECTOR_PF && (!same_error || c->guest.s.cr2 != c->native.address)) {
        differ(c, "page fault (error code, address)", (uint64_t)c->native.error << 32 | c->native.address, (uint64_t)c->guest.error << 32 | c->guest.s.cr2);
        return false;
    }
    if (vector != BENCH_DONE && !getenv("OSPITE_BT_EXACT_FLAGS")) flags = RFLAGS_DF;
    if (vector != BENCH_DONE && c->insn[0].attr & IA_STRING) flags = RFLAGS_DF;  /* the manuals differ from each other and from the host */
    if ((c->guest.rflags ^ c->native.rflags) & flags) {
        differ(c, "RFLAGS", c->native.rflags & flags, c->guest.rflags & flags);
        return false;
    }
    for (unsigned n = 0; n < 16; n++) {
        uint64_t got = n == REG_RSP ? c->guest.rsp : c->guest.s.gpr[n];
        if (got == c->native.gpr[n]) continue;
        differ(c, register_names[n], c->native.gpr[n], got);
        return false;
    }
    if (!compare_fpu(c)) return false;
    if (memcmp((void *)WINDOW, bench->ram + WINDOW, WINDOW_BYTES)) {
        unsigned at = 0;
        while (((uint8_t *)WINDOW)[at] == bench->ram[WINDOW + at]) at++;
        differ(c, "memory at", WINDOW + at, bench->ram[WINDOW + at]);
        return false;
    }
    return true;
}

/* The least that may be said of a value; now and then of its absolute value. */
static struct range range_of(uint64_t value)
{
    bool is_signed = (int64_t)value < 0 || !below(4);
    uint64_t size = (int64_t)value < 0 ? ~value : value;
    return (struct range){ size ? 64 - __builtin_clzll(size) : 0, is_signed };
}

static bool is_within(struct range r, uint64_t value)
{
    if (r.bits >= 64) return true;
    return !(value >> r.bits) || (r.is_signed && !(~value >> r.bits));
}

/* Of a case without an exception. */
static void compare_ranges(const struct one_case *c)
{
    struct range r[16];

    for (unsigned g = 0; g < 16; g++) r[g] = range_of(c->in.gpr[g]);
    for (unsigned n = 0; n < c->count; n++) t_range_step(r, &c->insn[n]);
    for (unsigned g = 0; g < 16; g++) {
        ranges += r[g].bits < 64;
        if (is_within(r[g], c->native.gpr[g])) continue;
        failures++;
        printf("  register %u is %#lx, but range.c says %u bits%s\n", g, (unsigned long)c->native.gpr[g], r[g].bits, r[g].is_signed ? ", signed" : "");
        show(c);
    }
}

static void run(struct one_case *c)
{
    struct x86_state s = base_state;
    unsigned offset = cases * 64 % 0xf00;              /* many places: translations are not thrown away each time */

    c->in.rip = NATIVE_CODE + offset;
    native64_code(offset, c->code, c->bytes);
    bench_code(bench, BENCH_CODE + offset, c->code, c->bytes);
    c->native = c->in;
    memcpy(s.gpr, c->in.gpr, sizeof s.gpr);
    s.rip = c->in.rip;
    s.rflags = c->in.rflags;
    memcpy(s.xsave, c->in.xsave, sizeof c->in.xsave);
    native64_run(&c->native);
    bench_run(bench, &s, BENCH_LONG, &c->guest);
    cases++;
    per_class[c->class]++;
    if (c->native.vector != 3) {
        exceptions++;
        per_vector[c->native.vector & 31]++;
    }
    else if (!host_is_intel || !makers_disagree(c)) compare_ranges(c);
    for (unsigned n = 0; n < c->count; n++) forms_seen[c->insn[n].mnemonic]++;
    if (!compare(c)) memcpy(bench->ram + WINDOW, (void *)WINDOW, WINDOW_BYTES);
}

static unsigned class_of(const struct x86_insn *i)
{
    return i->attr & IA_AVX ? 4 : i->attr & IA_SSE ? 3 : i->attr & IA_MMX ? 2 : i->attr & IA_X87 ? 1 : 0;
}

static bool make_single(struct one_case *c)
{
    struct x86_insn *i = &c->insn[0];

    random_state(&c->in);
    choose(c->code, i);
    c->count = 1;
    c->bytes = i->len;
    c->class = class_of(i);
    c->in.rip = NATIVE_CODE + cases * 64 % 0xf00;
    if (!steer_implicit(&c->in, i) || !bit_number_tame(&c->in, i)) return false;
    for (unsigned n = 0; n < i->operand_count; n++)
        if (i->operand[n].kind == OPND_MOFFS) {
            uint64_t at = target();
            memcpy(c->code + i->len - i->addrsize, &at, i->addrsize);
        }
    return !i->has_mem || i->mnemonic == X86_LEA || steer(&c->in, i, c->code, c->in.rip, true);
}

/* A block uses only addresses that do not depend on registers, so that what came before cannot spoil them. */
static bool make_block(struct one_case *c)
{
    random_state(&c->in);
    c->count = 2 + below(BLOCK_MAX - 1);
    c->bytes = 0;
    c->class = 5;
    c->in.rip = NATIVE_CODE + cases * 64 % 0xf00;
    uint16_t undefined = 0;
    for (unsigned n = 0; n < c->count; n++) {
        struct x86_insn *i = &c->insn[n];
        uint8_t *at = c->code + c->bytes;
        do choose(at, i);
        while (i->flags_read & undefined || i->attr & (IA_STACK | IA_STRING) || i->mnemonic == X86_XLAT || i->mnemonic == X86_MASKMOVQ || i->mnemonic == X86_MASKMOVDQU ||
               i->mnemonic == X86_VMASKMOVDQU || i->mnemonic == X86_BT || i->mnemonic == X86_BTS || i->mnemonic == X86_BTR || i->mnemonic == X86_BTC ||
               i->operand[0].kind == OPND_MOFFS || i->operand[1].kind == OPND_MOFFS ||
               (i->has_mem && i->mnemonic != X86_LEA && (i->base >= 0 || i->index >= 0)));
        if (i->has_mem && i->mnemonic != X86_LEA) steer(&c->in, i, at, c->in.rip + c->bytes, false);
        undefined = (undefined & ~i->flags_written) | i->flags_undefined;
        c->bytes += i->len;
    }
    return c->bytes < 60;
}

static bool window_open(void)
{
    void *p = mmap((void *)WINDOW, WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    if (p != (void *)WINDOW) {
        perror("oracle: no memory at the address of the window");
        return false;
    }
    for (unsigned at = READ_ONLY; at < HOLE; at += BENCH_PAGE) bench_map(bench, at, at, MAP_PRESENT | MAP_USER);
    for (unsigned n = 0; n < 16; n++) {
        bench_map(bench, HOLE + n * BENCH_PAGE, 0, MAP_NONE);
        bench_map(bench, WINDOW - (n + 1) * BENCH_PAGE, 0, MAP_NONE);
    }
    return true;
}

static void refill(void)
{
    mprotect((void *)READ_ONLY, HOLE - READ_ONLY, PROT_READ | PROT_WRITE);
    window_fill();
    mprotect((void *)READ_ONLY, HOLE - READ_ONLY, PROT_READ);
}

int main(int argc, char **argv)
{
    uint64_t want = argc > 1 ? strtoull(argv[1], NULL, 0) : 2000000;
    static struct one_case c;
    unsigned mnemonics = 0;

    if (argc > 2) seed = strtoull(argv[2], NULL, 0);
    host_is_intel = __builtin_cpu_is("intel");
    printf("oracle: seed %#lx\n", (unsigned long)seed);
    bench = bench_new();
    if (!bench || cpuid_model_build(&model, NULL, CPUID_FOR_BT, NULL, NULL) < 0 || !window_open() || !native64_open()) return 1;
    bench_state(bench, &base_state, BENCH_LONG, 3);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (cases < want) {
        if (cases % 4096 == 0) refill();
        if (below(4) ? make_single(&c) : make_block(&c)) run(&c);
    }
    for (unsigned n = 0; n < X86_MNEMONIC_COUNT; n++) mnemonics += forms_seen[n] != 0;
    printf("oracle: %lu sizes of values foretold\n", (unsigned long)ranges);
    printf("oracle: %lu cases of %u mnemonics:", (unsigned long)cases, mnemonics);
    for (unsigned n = 0; n < 6; n++) printf(" %s %lu", class_names[n], (unsigned long)per_class[n]);
    printf("\noracle: %lu ended in an exception:", (unsigned long)exceptions);
    for (unsigned n = 0; n < 32; n++)
        if (per_vector[n]) printf(" #%u %lu", n, (unsigned long)per_vector[n]);
    printf("\noracle: %lu left out, where processors are known to differ from each other", (unsigned long)disagreed);
    printf("\noracle: %lu differ\n", (unsigned long)failures);
    bench_free(bench);
    return failures != 0;
}
