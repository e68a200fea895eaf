/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The small helpers: CPUID, time stamps, counters, MONITOR and MWAIT, hypercalls, XLAT, CLZERO, MOVDIR64B,
 * ENTER in 64-bit mode; traps between the iterations of repeated instructions. */
#include <stdio.h>
#include <string.h>
#include "base/bits.h"
#include "bench.h"
#include "engine/bt/bt_private.h"

enum { DATA = 0x200000 };
static struct bench *b;
static unsigned cases, failed;
static struct x86_state s;
static struct result r;

static void expect(bool ok, const char *what)
{
    cases++;
    if (ok) return;
    failed++;
    printf("FAIL %s: vector %u error %x rax %lx rcx %lx rdx %lx\n", what, r.vector, r.error,
           (unsigned long)r.s.gpr[REG_RAX], (unsigned long)r.s.gpr[REG_RCX], (unsigned long)r.s.gpr[REG_RDX]);
}

static bool has(enum x86_feature f) { return container_of(b->engine, struct bt_engine, base)->feature[f]; }
static void code(const char *bytes, unsigned n) { bench_code(b, BENCH_CODE, bytes, n); }
static void run(enum bench_mode mode) { bench_run(b, &s, mode, &r); }

static void cpuid(void)
{
    static const uint32_t leaves[] = {
        0, 1, 4, 7, 13, 0x40000000, 0x40000001, 0x80000000, 0x80000001, 0x80000002, 0x80000008, 0xffffffff
    };
    const struct cpuid_model *m = &container_of(b->engine, struct bt_engine, base)->cpuid;
    code("\x0f\xa2", 2);
    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
        for (uint32_t sub = 0; sub < 3; sub++) {
            uint32_t out[4];
            bench_state(b, &s, BENCH_LONG, 3);
            for (unsigned k = 0; k < 4; k++) s.gpr[k] |= 0xdeadbeef00000000;
            s.gpr[REG_RAX] = 0xabcd000000000000 | leaves[i];
            s.gpr[REG_RCX] = 0xabcd000000000000 | sub;
            run(BENCH_LONG);
            cpuid_query(m, leaves[i], sub, 0, s.cr4, s.xcr0, out);
            expect(r.vector == BENCH_DONE && r.s.gpr[REG_RAX] == out[0] && r.s.gpr[REG_RBX] == out[1] &&
                       r.s.gpr[REG_RCX] == out[2] && r.s.gpr[REG_RDX] == out[3],
                   "cpuid");
        }
}

static void clocks(void)
{
    static const struct { const char *name, *bytes; unsigned n; enum x86_feature feature; } list[] = {
        { "rdtsc", "\x0f\x31", 2, FEAT_BASE }, { "rdtscp", "\x0f\x01\xf9", 3, FEAT_RDTSCP } };
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
        for (unsigned cpl = 0; cpl <= 3; cpl += 3)
            for (unsigned tsd = 0; tsd < 2; tsd++) {
                code(list[i].bytes, list[i].n);
                bench_state(b, &s, BENCH_LONG, cpl);
                s.cr4 |= tsd ? CR4_TSD : 0;
                s.tsc_aux = 0x12345;
                s.tsc_offset = -0x1000000000000;
                uint64_t before = __builtin_ia32_rdtsc() + s.tsc_offset;
                run(BENCH_LONG);
                uint64_t after = __builtin_ia32_rdtsc() + s.tsc_offset,
                         got = r.s.gpr[REG_RDX] << 32 | r.s.gpr[REG_RAX];
                if (!has(list[i].feature)) expect(r.vector == 6, list[i].name);
                else if (tsd && cpl) expect(r.vector == 13 && r.error == 0, list[i].name);
                else
                    expect(r.vector == BENCH_DONE && got >= before && got <= after &&
                               (!i || r.s.gpr[REG_RCX] == 0x12345),
                           list[i].name);
            }
    code("\xf3\x0f\xc7\xf8", 4);
    bench_state(b, &s, BENCH_LONG, 3);
    s.tsc_aux = 77;
    run(BENCH_LONG);
    expect(has(FEAT_RDPID) ? r.vector == BENCH_DONE && r.s.gpr[REG_RAX] == 77 : r.vector == 6, "rdpid");
}

static void counters(void)
{
    code("\x0f\x33", 2);
    for (unsigned cpl = 0; cpl <= 3; cpl += 3)
        for (unsigned pce = 0; pce < 2; pce++)
            for (uint32_t index = 2; index < 6; index++) {
                bench_state(b, &s, BENCH_LONG, cpl);
                s.cr4 |= pce ? CR4_PCE : 0;
                s.gpr[REG_RCX] = index;
                run(BENCH_LONG);
                bool ok = (pce || !cpl) && index < 4;
                expect(r.vector == (ok ? BENCH_DONE : 13) &&
                           (!ok || (r.s.gpr[REG_RAX] | r.s.gpr[REG_RDX]) == 0),
                       "rdpmc");
            }
}

static void waiting(void)
{
    for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
        code("\x0f\x01\xc9", 3);       /* mwait */
        bench_state(b, &s, BENCH_LONG, cpl);
        s.gpr[REG_RCX] = 0;
        run(BENCH_LONG);
        expect(r.vector == (has(FEAT_MONITOR) && !cpl ? BENCH_DONE : 6), "mwait");
        code("\x0f\x01\xc8", 3);       /* monitor */
        bench_state(b, &s, BENCH_LONG, cpl);
        s.gpr[REG_RCX] = 0;
        s.gpr[REG_RAX] = DATA;
        run(BENCH_LONG);
        expect(r.vector == (has(FEAT_MONITOR) && !cpl ? BENCH_DONE : 6), "monitor");
        code("\xf3\x90", 2);
        bench_state(b, &s, BENCH_LONG, cpl);
        run(BENCH_LONG);
        expect(r.vector == BENCH_DONE, "pause");
    }
}

static void hypercalls(void)
{
    uint32_t out[4];
    cpuid_query(&container_of(b->engine, struct bt_engine, base)->cpuid, 0x40000000, 0, 0, 0, 0, out);
    bool kvm = !memcmp(out + 1, "KVMKVMKVM\0\0\0", 12);
    for (unsigned cpl = 0; cpl <= 3; cpl += 3)
        for (unsigned intel = 0; intel < 2; intel++) {
            code(intel ? "\x0f\x01\xc1" : "\x0f\x01\xd9", 3);
            bench_state(b, &s, BENCH_LONG, cpl);
            run(BENCH_LONG);
            expect(kvm ? r.vector == BENCH_DONE && r.s.gpr[REG_RAX] == (uint64_t)(cpl ? -1 : -1000)
                       : r.vector == 6,
                   "vmmcall");
        }
}

static void memory(void)
{
    for (unsigned al = 0; al < 256; al += 5) {
        code("\x67\xd7", 2);           /* xlat with a 32-bit address: wraps at 4 GiB */
        bench_state(b, &s, BENCH_LONG, 0);
        for (unsigned i = 0; i < 256; i++) b->ram[DATA + i] = i ^ 0x5a;
        s.gpr[REG_RAX] = 0xaabbccddeeff0000 | al;
        s.gpr[REG_RBX] = 0x1234567800000000 | DATA;
        run(BENCH_LONG);
        expect(r.vector == BENCH_DONE && r.s.gpr[REG_RAX] == (0xaabbccddeeff0000 | (al ^ 0x5a)), "xlat");
    }
    code("\x0f\x01\xfc", 3);           /* clzero */
    bench_state(b, &s, BENCH_LONG, 3);
    memset(b->ram + DATA, 0x77, 256);
    s.gpr[REG_RAX] = DATA + 64 + 13;
    run(BENCH_LONG);
    bool ok = b->ram[DATA + 63] == 0x77 && b->ram[DATA + 128] == 0x77;
    for (unsigned i = 64; i < 128; i++) ok = ok && b->ram[DATA + i] == 0;
    expect(has(FEAT_CLZERO) ? ok && r.vector == BENCH_DONE : r.vector == 6, "clzero");
    for (unsigned off = 0; off < 128; off += 32) {
        code("\x66\x0f\x38\xf8\x03", 5);        /* movdir64b rax, [rbx] */
        bench_state(b, &s, BENCH_LONG, 3);
        for (unsigned i = 0; i < 64; i++) b->ram[DATA + 1000 + i] = i;
        memset(b->ram + DATA, 0x77, 256);
        s.gpr[REG_RAX] = DATA + off;
        s.gpr[REG_RBX] = DATA + 1000;
        run(BENCH_LONG);
        if (!has(FEAT_MOVDIR64B)) expect(r.vector == 6, "movdir64b");
        else if (off & 63) expect(r.vector == 13 && b->ram[DATA + off] == 0x77, "movdir64b, misaligned");
        else
            expect(r.vector == BENCH_DONE && !memcmp(b->ram + DATA + off, b->ram + DATA + 1000, 64),
                   "movdir64b");
    }
}

/* ENTER in 64-bit mode; the new stack top must be writable or nothing changes. */
static void enter(void)
{
    for (unsigned level = 0; level < 4; level++)
        for (unsigned bad = 0; bad < 2; bad++) {
            char bytes[] = { (char)0xc8, 0x00, 0x18, (char)level };      /* 1800h bytes */
            code(bytes, 4);
            bench_state(b, &s, BENCH_LONG, 3);
            s.gpr[REG_RSP] = DATA + 0x4000;
            s.gpr[REG_RBP] = DATA + 0x5000;
            for (unsigned i = 0; i < 4; i++)
                memcpy(b->ram + DATA + 0x5000 - 8 * i, &(uint64_t){ 0x1000 + i }, 8);
            if (bad) bench_map(b, DATA + 0x2000, 0, MAP_NONE);
            run(BENCH_LONG);
            bench_map(b, DATA + 0x2000, DATA + 0x2000, MAP_ALL);
            uint64_t pushed[5] = { 0 }, frame = DATA + 0x4000 - 8, rsp = frame - 8 * level - 0x1800;
            memcpy(pushed, b->ram + DATA + 0x4000 - 40, 40);
            bool ok = pushed[4] == DATA + 0x5000;
            for (unsigned i = 1; i < level; i++) ok = ok && pushed[4 - i] == 0x1000 + i;
            if (level) ok = ok && pushed[4 - level] == frame;
            if (bad)
                expect(ok && r.vector == 14 && r.s.cr2 == rsp && r.s.gpr[REG_RBP] == DATA + 0x5000 &&
                           r.rsp == DATA + 0x4000,
                       "enter, fault");
            else expect(ok && r.vector == BENCH_DONE && r.s.gpr[REG_RBP] == frame && r.rsp == rsp, "enter");
        }
}

/* Repeated instructions are interrupted between two iterations: by TF after each, by a data breakpoint at its
 * element. */
static void traps(void)
{
    code("\xf3\xa4", 2);               /* rep movsb */
    for (unsigned count = 1; count < 4; count++) {
        bench_state(b, &s, BENCH_LONG, 3);
        s.gpr[REG_RSI] = DATA;
        s.gpr[REG_RDI] = DATA + 100;
        s.gpr[REG_RCX] = count;
        s.rflags |= RFLAGS_TF;
        run(BENCH_LONG);
        expect(r.vector == 1 && r.s.gpr[REG_RCX] == count - 1 && r.s.gpr[REG_RSI] == DATA + 1 &&
                   (r.s.dr[6] & 1 << 14) && r.rip == BENCH_CODE + (count == 1 ? 2 : 0),
               "rep movsb, TF");
    }
    static const struct { const char *name, *bytes; unsigned hit_write; } list[] = {
        { "rep movsb, data breakpoint", "\xf3\xa4", 1 }, { "rep stosb, data breakpoint", "\xf3\xaa", 1 },
        { "repe cmpsb, data breakpoint", "\xf3\xa6", 0 }, { "rep outsb, data breakpoint", "\xf3\x6e", 0 } };
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
        for (unsigned at = 0; at < 8; at++) {
            code(list[i].bytes, 2);
            memset(b->ram + DATA, 0, 300);
            bench_state(b, &s, BENCH_LONG, 0);
            s.gpr[REG_RSI] = DATA;
            s.gpr[REG_RDI] = DATA + 100;
            s.gpr[REG_RCX] = 20;
            s.dr[0] = DATA + at + (list[i].hit_write ? 100 : 0);
            s.dr[7] = 0x402 | (list[i].hit_write ? 1 : 3) << 16;
            run(BENCH_LONG);
            expect(r.vector == 1 && r.s.gpr[REG_RCX] == 20 - at - 1 && (r.s.dr[6] & 1) && r.rip == BENCH_CODE,
                   list[i].name);
            s.dr[7] = 0x400;
            engine_bt.vcpu_set(b->vcpu, &s);
        }
}

int main(void)
{
    b = bench_new();
    if (!b) return 1;
    cpuid();
    clocks();
    counters();
    waiting();
    hypercalls();
    memory();
    enter();
    traps();
    printf("%u cases of small helpers: %u wrong\n", cases, failed);
    bench_free(b);
    return failed ? 1 : 0;
}
