/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions that exist only outside 64-bit mode, in the engine and on the host CPU in compatibility mode:
 * decimal adjustment over all inputs, ENTER with every level, PUSHA, POPA, BOUND, XLAT, SALC. Flags that the
 * manual leaves undefined are counted where they differ, not held against the engine.
 */
#include <stdio.h>
#include <string.h>
#include "base/bits.h"
#include "bench.h"
#include "native32.h"

static uint64_t seed = 41;
static struct bench *b;
static unsigned long cases, undefined_differ;
static unsigned failed;
static uint8_t memory[NATIVE_WINDOW_BYTES];

struct code { const char *name; uint8_t bytes[8]; unsigned n; uint32_t defined; };
static uint32_t code_at;

static void code_set(const struct code *c)
{
    code_at = BENCH_CODE;
    bench_code(b, code_at, c->bytes, c->n);
    native32_code(c->bytes, c->n);
}

static void both(const struct code *c, const struct native_regs *in, bool has_memory)
{
    static struct x86_state s;
    static struct result r;
    struct native_regs out;
    bench_state(b, &s, BENCH_PROT32, 3);
    for (unsigned i = 0; i < 8; i++) s.gpr[i] = in->gpr[i];
    s.rflags = (in->eflags & RFLAGS_ARITH) | RFLAGS_FIXED;
    if (has_memory) {
        memcpy(native_window(), memory, sizeof(memory));
        memcpy(b->ram + NATIVE_WINDOW, memory, sizeof(memory));
    }
    native32_run(in, &out);
    bench_run(b, &s, BENCH_PROT32, &r);
    const char *bad = r.vector != BENCH_DONE ? "vector" : NULL;
    r.s.gpr[REG_RSP] = r.rsp;
    for (unsigned i = 0; i < 8 && !bad; i++)
        if ((uint32_t)r.s.gpr[i] != out.gpr[i]) bad = "registers";
    uint32_t differ = (r.rflags ^ out.eflags) & RFLAGS_ARITH;
    if (differ & c->defined) bad = "flags";
    if (differ & ~c->defined) undefined_differ++;
    if (has_memory && memcmp(native_window(), b->ram + NATIVE_WINDOW, sizeof(memory))) bad = "memory";
    cases++;
    if (!bad || failed++ > 20) return;
    printf("FAIL %s, %s: eax %08x flags %03x esp %08x ebp %08x, engine: vector %u eax %08x flags %03x esp "
           "%08x ebp %08x, host: eax %08x "
           "flags %03x esp %08x ebp %08x\n",
           c->name, bad, in->gpr[0], in->eflags & RFLAGS_ARITH, in->gpr[4], in->gpr[5], r.vector,
           (uint32_t)r.s.gpr[0], (uint32_t)r.rflags & RFLAGS_ARITH, (uint32_t)r.rsp, (uint32_t)r.s.gpr[5],
           out.gpr[0], out.eflags & RFLAGS_ARITH, out.gpr[4], out.gpr[5]);
}

static void regs_pick(struct native_regs *in)
{
    for (unsigned i = 0; i < 8; i++) in->gpr[i] = bench_random(&seed);
    in->gpr[REG_RSP] = NATIVE_WINDOW + 0x6000 + bench_random(&seed) % 0x1000;
    in->eflags = RFLAGS_FIXED | (bench_random(&seed) & RFLAGS_ARITH);
}

static void decimal(void)
{
    enum { CAPZS = RFLAGS_CF | RFLAGS_AF | RFLAGS_PF | RFLAGS_ZF | RFLAGS_SF, CA = RFLAGS_CF | RFLAGS_AF };
    static const struct code list[] = { { "daa", { 0x27 }, 1, CAPZS },
                                        { "das", { 0x2f }, 1, CAPZS },
                                        { "aaa", { 0x37 }, 1, CA },
                                        { "aas", { 0x3f }, 1, CA },
                                        { "salc", { 0xd6 }, 1, RFLAGS_ARITH } };
    struct native_regs in;
    for (unsigned n = 0; n < ARRAY_SIZE(list); n++) {
        code_set(&list[n]);
        bool wide = n == 2 || n == 3;
        for (uint32_t value = 0; value < (wide ? 0x10000 : 0x400); value += wide ? 5 : 1)
            for (unsigned flags = 0; flags < 4; flags++) {
                regs_pick(&in);
                in.gpr[0] = (in.gpr[0] & 0xffff0000) | (wide ? value : value & 0xff) |
                            (wide ? 0 : value >> 8 << 12);
                in.eflags = (in.eflags & ~(uint32_t)CA) | (flags & 1 ? RFLAGS_CF : 0) |
                            (flags & 2 ? RFLAGS_AF : 0);
                both(&list[n], &in, false);
            }
    }
}

static void decimal_immediate(void)
{
    struct native_regs in;
    for (unsigned base = 0; base < 256; base++)
        for (unsigned aad = 0; aad < 2; aad++) {
            struct code c = {
                aad ? "aad" : "aam", { aad ? 0xd5 : 0xd4, base }, 2, RFLAGS_PF | RFLAGS_ZF | RFLAGS_SF
            };
            if (!base && !aad) continue;
            code_set(&c);
            for (unsigned i = 0; i < 64; i++) {
                regs_pick(&in);
                both(&c, &in, false);
            }
        }
}

static void stack_instructions(void)
{
    struct native_regs in;
    for (unsigned level = 0; level < 64; level++)
        for (unsigned i = 0; i < 16; i++) {
            unsigned size = bench_random(&seed) % 0x2000, word = i & 1;
            struct code c = { "enter", { 0x66, 0xc8, size, size >> 8, level }, 5, RFLAGS_ARITH };
            if (!word) {
                memmove(c.bytes, c.bytes + 1, 4);
                c.n = 4;
            }
            code_set(&c);
            regs_pick(&in);
            in.gpr[REG_RBP] = NATIVE_WINDOW + 0x4000 + bench_random(&seed) % 0x3000;
            both(&c, &in, true);
        }
    static const struct code list[] = { { "pusha", { 0x60 }, 1, RFLAGS_ARITH },
                                        { "pushaw", { 0x66, 0x60 }, 2, RFLAGS_ARITH },
                                        { "popa", { 0x61 }, 1, RFLAGS_ARITH },
                                        { "popaw", { 0x66, 0x61 }, 2, RFLAGS_ARITH } };
    for (unsigned n = 0; n < ARRAY_SIZE(list); n++) {
        code_set(&list[n]);
        for (unsigned i = 0; i < 500; i++) {
            regs_pick(&in);
            both(&list[n], &in, true);
        }
    }
}

static void memory_instructions(void)
{
    static const struct code list[] = { { "xlat", { 0xd7 }, 1, RFLAGS_ARITH },
                                        { "bound", { 0x62, 0x03 }, 2, RFLAGS_ARITH },
                                        { "boundw", { 0x66, 0x62, 0x03 }, 3, RFLAGS_ARITH } };
    struct native_regs in;
    for (unsigned n = 0; n < ARRAY_SIZE(list); n++) {
        code_set(&list[n]);
        for (unsigned i = 0; i < 1000; i++) {
            regs_pick(&in);
            in.gpr[REG_RBX] = NATIVE_WINDOW + bench_random(&seed) % 0x7000;
            int32_t bounds[2] = { (int32_t)in.gpr[0] - 1 + (i & 1), (int32_t)in.gpr[0] + (i >> 1 & 1) };
            int16_t words[2] = { (int16_t)in.gpr[0] - 1 + (i & 1), (int16_t)in.gpr[0] + (i >> 1 & 1) };
            if ((int32_t)in.gpr[0] == INT32_MIN || (int32_t)in.gpr[0] == INT32_MAX ||
                (int16_t)in.gpr[0] == INT16_MIN || (int16_t)in.gpr[0] == INT16_MAX)
                continue;
            if (n == 1) memcpy(memory + in.gpr[REG_RBX] - NATIVE_WINDOW, bounds, 8);
            if (n == 2) memcpy(memory + in.gpr[REG_RBX] - NATIVE_WINDOW, words, 4);
            both(&list[n], &in, true);
        }
    }
}

/* Exceptions: the engine alone. */
static void one_fault(const char *name, const void *code, unsigned n, uint32_t eax, uint32_t eflags,
                      unsigned vector, unsigned rip_after)
{
    static struct x86_state s;
    static struct result r;
    bench_code(b, BENCH_CODE, code, n);
    bench_state(b, &s, BENCH_PROT32, 0);
    s.gpr[REG_RAX] = eax;
    s.gpr[REG_RBX] = NATIVE_WINDOW;
    s.rflags |= eflags;
    bench_run(b, &s, BENCH_PROT32, &r);
    cases++;
    if (r.vector == vector && r.rip == BENCH_CODE + rip_after) return;
    failed++;
    printf("FAIL %s: vector %u at %#lx, want %u\n", name, r.vector, (unsigned long)r.rip, vector);
}

static void faults(void)
{
    memcpy(b->ram + NATIVE_WINDOW, (int32_t[2]){ -5, 7 }, 8);
    one_fault("bound below", "\x62\x03", 2, -6, 0, 5, 0);
    one_fault("bound above", "\x62\x03", 2, 8, 0, 5, 0);
    one_fault("bound at lower", "\x62\x03", 2, -5, 0, BENCH_DONE, 4);
    one_fault("bound at upper", "\x62\x03", 2, 7, 0, BENCH_DONE, 4);
    one_fault("aam 0", "\xd4\x00", 2, 0x1234, 0, 0, 0);
    one_fault("into, OF", "\xce", 1, 0, RFLAGS_OF, 4, 1);
    one_fault("into, no OF", "\xce", 1, 0, 0, BENCH_DONE, 3);
}

int main(void)
{
    b = bench_new();
    if (!b) return 1;
    printf("seed %lu\n", (unsigned long)seed);
    for (unsigned i = 0; i < sizeof(memory); i++) memory[i] = bench_random(&seed) >> 56;
    faults();
    if (native32_open()) {
        decimal();
        decimal_immediate();
        stack_instructions();
        memory_instructions();
    } else {
        printf("SKIPPED: comparison with the host CPU\n");
    }
    printf("%lu cases, %u differ; undefined flags differ in %lu\n", cases, failed, undefined_differ);
    bench_free(b);
    return failed ? 1 : 0;
}
