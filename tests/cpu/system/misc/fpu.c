/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images of the FPU state: FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XSAVEC, XRSTOR, FNSTENV, FLDENV, FNSAVE, FRSTOR
 * in the engine and on the host CPU, from the same random state and the same random memory; then the faults,
 * each rule once.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "base/bits.h"
#include "bench.h"
#include "engine/bt/bt_private.h"

enum { AREA = 0x200000, AREA_BYTES = 1024, STATE_BYTES = 832, CASES = 400, XF_ALL = 7 };

static uint64_t seed = 7;
static struct bench *b;
static unsigned cases, failed;
static uint8_t state[X86_XSAVE_BYTES] __attribute__((aligned(64))),
    after[X86_XSAVE_BYTES] __attribute__((aligned(64)));
static uint8_t area[AREA_BYTES] __attribute__((aligned(64))), image[AREA_BYTES];

struct op { const char *name; uint8_t code[8]; unsigned n; bool loads, is_xsave, is_compact, is_fx; };
static const struct op ops[] = {
    { "fxsave", { 0x0f, 0xae, 0x03 }, 3, .is_fx = true },
    { "fxsave64", { 0x48, 0x0f, 0xae, 0x03 }, 4, .is_fx = true },
    { "fxrstor", { 0x0f, 0xae, 0x0b }, 3, .loads = true, .is_fx = true },
    { "fxrstor64", { 0x48, 0x0f, 0xae, 0x0b }, 4, .loads = true, .is_fx = true },
    { "xsave", { 0x0f, 0xae, 0x23 }, 3, .is_xsave = true },
    { "xsave64", { 0x48, 0x0f, 0xae, 0x23 }, 4, .is_xsave = true },
    { "xsaveopt", { 0x0f, 0xae, 0x33 }, 3, .is_xsave = true },
    { "xsavec", { 0x0f, 0xc7, 0x23 }, 3, .is_xsave = true },
    { "xsavec64", { 0x48, 0x0f, 0xc7, 0x23 }, 4, .is_xsave = true },
    { "xrstor", { 0x0f, 0xae, 0x2b }, 3, .loads = true, .is_xsave = true },
    { "xrstor64", { 0x48, 0x0f, 0xae, 0x2b }, 4, .loads = true, .is_xsave = true },
    { "xrstor compact", { 0x0f, 0xae, 0x2b }, 3, .loads = true, .is_xsave = true, .is_compact = true },
    { "fnstenv", { 0xd9, 0x33 }, 2 },
    { "fnstenv16", { 0x66, 0xd9, 0x33 }, 3 },
    { "fldenv", { 0xd9, 0x23 }, 2, .loads = true },
    { "fldenv16", { 0x66, 0xd9, 0x23 }, 3, .loads = true },
    { "fnsave", { 0xdd, 0x33 }, 2 },
    { "fnsave16", { 0x66, 0xdd, 0x33 }, 3 },
    { "frstor", { 0xdd, 0x23 }, 2, .loads = true },
    { "frstor16", { 0x66, 0xdd, 0x23 }, 3, .loads = true },
};

static void random_bytes(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) p[i] = bench_random(&seed) >> 56;
}
static void put16(uint8_t *p, uint16_t value) { memcpy(p, &value, 2); }
static void put32(uint8_t *p, uint32_t value) { memcpy(p, &value, 4); }
static void put64(uint8_t *p, uint64_t value) { memcpy(p, &value, 8); }

static uint16_t random_fcw(void) { return 0x7f | (bench_random(&seed) & 0xf00); }
static uint16_t random_fsw(void) { return bench_random(&seed) & 0x7f7f; } /* all masked: ES and B are 0 */

/* Not one that could be, in its low half, an address of generated code: such a one is hidden. */
static uint64_t instruction_pointer_pick(void)
{
    const struct bt_engine *e = container_of(b->engine, struct bt_engine, base);
    for (;;) {
        uint32_t fip = bench_random(&seed) & 0x7fffffff;
        if (fip - (uint32_t)(uintptr_t)e->rx >= e->cache_bytes) return fip;
    }
}

/* A legal legacy area. */
static void legacy_pick(uint8_t *p)
{
    random_bytes(p, 512);
    put16(p, random_fcw());
    put16(p + 2, random_fsw());
    p[5] = 0;
    put64(p + 8, instruction_pointer_pick());
    put64(p + 16, bench_random(&seed) & 0x7fffffff);
    put16(p + 6, bench_random(&seed) & 0x7ff);
    put32(p + 24, 0x1f80 | (bench_random(&seed) & 0xffbf & 0xe03f));
    for (unsigned i = 0; i < 8; i++) { /* numbers, not denormal strangers */
        uint8_t *st = p + 32 + 16 * i;
        st[7] |= 0x80;
        memset(st + 10, 0, 6);
    }
}

static void header_set(uint8_t *p, uint64_t bv, uint64_t comp)
{
    memset(p + 512, 0, 64);
    put64(p + 512, bv);
    put64(p + 520, comp);
}

static void case_pick(const struct op *o, uint32_t *rfbm)
{
    random_bytes(state, STATE_BYTES);
    legacy_pick(state);
    header_set(state, bench_random(&seed) & XF_ALL, 0);
    if (!(state[512] & 1)) put16(state, 0x37f);
    random_bytes(area, AREA_BYTES);
    *rfbm = bench_random(&seed) & (bench_random(&seed) & 1 ? 0xffffffff : XF_ALL);
    if (!o->loads) return;
    if (o->is_fx || o->is_xsave) legacy_pick(area);
    uint64_t comp = bench_random(&seed) & XF_ALL;
    if (o->is_compact) header_set(area, comp & bench_random(&seed), comp | 1ull << 63);
    else if (o->is_xsave) header_set(area, comp, 0);
    if (o->is_fx || o->is_xsave) return;
    put16(area, random_fcw());
    put16(area + (o->code[0] == 0x66 ? 2 : 4), random_fsw());
}

static uint8_t *native_code;
/* The host CPU: from state, over area, to after. */
static void native_run(const struct op *o, uint32_t rfbm)
{
    static const uint32_t mxcsr = 0x1f80;
    memcpy(native_code, o->code, o->n);
    native_code[o->n] = 0xc3;
    register void *fn __asm__("r12") = native_code;
    __asm__ volatile(
        "xrstor64 (%[state])\n mov %[rfbm], %%eax\n xor %%edx, %%edx\n mov %[area], %%rbx\n call *%[fn]\n"
        "mov $7, %%eax\n xor %%edx, %%edx\n xsave64 (%[after])\n fninit\n ldmxcsr %[mxcsr]\n vzeroall"
        :
        : [state] "r"(state), [area] "r"(area), [after] "r"(after), [fn] "r"(fn), [rfbm] "r"(rfbm),
          [mxcsr] "m"(mxcsr), "a"(7), "d"(0)
        : "rbx", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
          "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static int first_difference(const uint8_t *a, const uint8_t *b_, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (a[i] != b_[i]) return i;
    return -1;
}

/* One run of the host and one of the engine on the case picked; where they differ. */
static struct result compare_once(uint32_t rfbm, const struct op *o, int *in_area, int *in_state)
{
    static uint8_t area_before[AREA_BYTES];
    static struct x86_state s;
    static struct result r;
    memcpy(area_before, area, AREA_BYTES);
    bench_state(b, &s, BENCH_LONG, 3);
    memcpy(s.xsave, state, STATE_BYTES);
    memcpy(b->ram + AREA, area, AREA_BYTES);
    s.gpr[REG_RBX] = AREA;
    s.gpr[REG_RAX] = rfbm;
    s.gpr[REG_RDX] = ~0ull;
    memset(after, 0, sizeof(after));
    native_run(o, rfbm & XF_ALL);      /* the guest's XCR0 is 7, the host's may be more */
    memcpy(image, area, AREA_BYTES);
    memcpy(area, area_before, AREA_BYTES);
    bench_run(b, &s, BENCH_LONG, &r);
    memset(after + 416, 0, 160); /* reserved bytes and the header, which XSAVE leaves as it found them */
    memset(r.s.xsave + 416, 0, 160);
    *in_area = first_difference(image, b->ram + AREA, AREA_BYTES);
    *in_state = first_difference(after, r.s.xsave, STATE_BYTES);
    return r;
}

/* A host of AMD's keeps the x87 pointers across a context switch only while an exception is pending, so a run that was
 * preempted may lose them. What is wrong stays wrong when it is run again. */
static void compare(const struct op *o)
{
    enum { TRIES = 3 };
    static struct result r;
    int in_area = 0, in_state = 0;
    uint32_t rfbm;
    case_pick(o, &rfbm);
    cases++;
    for (unsigned n = 0; n < TRIES; n++) {
        r = compare_once(rfbm, o, &in_area, &in_state);
        if (r.vector == BENCH_DONE && in_area < 0 && in_state < 0) return;
    }
    if (failed++ > 20) return;
    printf("FAIL %s rfbm %x bv %x: vector %u, memory differs at %d", o->name, rfbm, state[512], r.vector,
           in_area);
    if (in_area >= 0) printf(" (host %02x engine %02x)", image[in_area], b->ram[AREA + in_area]);
    printf(", state at %d", in_state);
    if (in_state >= 0) printf(" (host %02x engine %02x)", after[in_state], r.s.xsave[in_state]);
    printf("\n");
}

/* ---- Faults ---- */

struct fault_case {
    const char *name, *code;
    unsigned n, vector;
    uint64_t cr0_set, cr4_clear;
    uint32_t offset;                   /* of the area */
    uint64_t bv, comp;
    uint32_t reserved_at, mxcsr;
    uint64_t xcr0;
};
#define XRSTOR "\x0f\xae\x2b"
static const struct fault_case fault_cases[] = {
    { "fxsave, EM", "\x0f\xae\x03", 3, 7, .cr0_set = CR0_EM },
    { "fxsave, TS", "\x0f\xae\x03", 3, 7, .cr0_set = CR0_TS },
    { "fxsave, misaligned", "\x0f\xae\x03", 3, 13, .offset = 8 },
    { "fxrstor, misaligned", "\x0f\xae\x0b", 3, 13, .offset = 4 },
    { "fxrstor, MXCSR", "\x0f\xae\x0b", 3, 13, .mxcsr = 0x80001f80 },
    { "xsave, OSXSAVE clear", "\x0f\xae\x23", 3, 6, .cr4_clear = CR4_OSXSAVE },
    { "xsave, TS", "\x0f\xae\x23", 3, 7, .cr0_set = CR0_TS },
    { "xsave, EM is nothing to it", "\x0f\xae\x23", 3, BENCH_DONE, .cr0_set = CR0_EM },
    { "xsave, misaligned", "\x0f\xae\x23", 3, 13, .offset = 16 },
    { "xrstor, OSXSAVE clear", XRSTOR, 3, 6, .cr4_clear = CR4_OSXSAVE },
    { "xrstor, TS", XRSTOR, 3, 7, .cr0_set = CR0_TS },
    { "xrstor, misaligned", XRSTOR, 3, 13, .offset = 32 },
    { "xrstor, good", XRSTOR, 3, BENCH_DONE, .bv = 7 },
    { "xrstor, XSTATE_BV beyond XCR0", XRSTOR, 3, 13, .bv = 1ull << 9 },
    { "xrstor, AVX not in XCR0", XRSTOR, 3, 13, .bv = 7, .xcr0 = 3 },
    { "xrstor, XCOMP_BV without compact", XRSTOR, 3, 13, .bv = 3, .comp = 3 },
    { "xrstor, compact, good", XRSTOR, 3, BENCH_DONE, .bv = 3, .comp = 1ull << 63 | 7 },
    { "xrstor, compact, XSTATE_BV beyond XCOMP_BV", XRSTOR, 3, 13, .bv = 7, .comp = 1ull << 63 | 3 },
    { "xrstor, compact, XCOMP_BV beyond XCR0", XRSTOR, 3, 13, .bv = 3, .comp = 1ull << 63 | 0x207 },
    { "xrstor, reserved byte 16", XRSTOR, 3, 13, .bv = 3, .reserved_at = 528 },
    { "xrstor, MXCSR", XRSTOR, 3, 13, .bv = 3, .mxcsr = 0x40001f80 },
    { "xrstor, compact, reserved byte 40", XRSTOR, 3, 13, .bv = 3, .comp = 1ull << 63 | 7,
      .reserved_at = 552 },
    { "fnstenv, EM", "\xd9\x33", 2, 7, .cr0_set = CR0_EM },
    { "frstor, TS", "\xdd\x23", 2, 7, .cr0_set = CR0_TS },
    { "xgetbv, OSXSAVE clear", "\x0f\x01\xd0", 3, 6, .cr4_clear = CR4_OSXSAVE },
    { "xgetbv, index 2", "\xb9\x02\x00\x00\x00\x0f\x01\xd0", 8, 13 },
    { "xgetbv, index 0", "\x31\xc9\x0f\x01\xd0", 5, BENCH_DONE },
    { "xsetbv, OSXSAVE clear", "\x0f\x01\xd1", 3, 6, .cr4_clear = CR4_OSXSAVE },
    { "xsetbv, x87 missing", "\x31\xc9\x31\xd2\xb8\x06\x00\x00\x00\x0f\x01\xd1", 12, 13 },
    { "xsetbv, AVX without SSE", "\x31\xc9\x31\xd2\xb8\x05\x00\x00\x00\x0f\x01\xd1", 12, 13 },
    { "xsetbv, unknown bit", "\x31\xc9\xba\x00\x00\x00\x40\xb8\x07\x00\x00\x00\x0f\x01\xd1", 15, 13 },
    { "xsetbv, index 1", "\x31\xc9\xff\xc1\x31\xd2\xb8\x07\x00\x00\x00\x0f\x01\xd1", 14, 13 },
    { "xsetbv, good", "\x31\xc9\x31\xd2\xb8\x03\x00\x00\x00\x0f\x01\xd1", 12, BENCH_DONE },
};

static void faults(void)
{
    static struct x86_state s;
    static struct result r;
    for (unsigned i = 0; i < ARRAY_SIZE(fault_cases); i++) {
        const struct fault_case *f = &fault_cases[i];
        bench_code(b, BENCH_CODE, f->code, f->n);
        bench_state(b, &s, BENCH_LONG, 0);
        memset(b->ram + AREA, 0, AREA_BYTES);
        put16(b->ram + AREA + f->offset, 0x37f);
        put32(b->ram + AREA + f->offset + 24, f->mxcsr ? f->mxcsr : 0x1f80);
        put64(b->ram + AREA + 512, f->bv);
        put64(b->ram + AREA + 520, f->comp);
        if (f->reserved_at) b->ram[AREA + f->reserved_at] = 1;
        s.cr0 |= f->cr0_set;
        s.cr4 &= ~f->cr4_clear;
        if (f->xcr0) s.xcr0 = f->xcr0;
        s.gpr[REG_RBX] = AREA + f->offset;
        s.gpr[REG_RAX] = s.gpr[REG_RDX] = ~0u;
        bench_run(b, &s, BENCH_LONG, &r);
        cases++;
        if (r.vector == f->vector && r.error == 0) continue;
        failed++;
        printf("FAIL %s: vector %u, want %u\n", f->name, r.vector, f->vector);
    }
}

/* A pending unmasked exception: waiting instructions raise #MF, the others do not. */
static void pending(void)
{
    static const struct { const char *name, *code; unsigned n, vector;
    } list[] = {
        { "fwait", "\x9b", 1, 16 },
        { "fldenv", "\xd9\x23", 2, 16 },
        { "frstor", "\xdd\x23", 2, 16 },
        { "fld1", "\xd9\xe8", 2, 16 },
        { "fnstenv", "\xd9\x33", 2, BENCH_DONE },
        { "fnsave", "\xdd\x33", 2, BENCH_DONE },
        { "fnclex, fwait", "\xdb\xe2\x9b", 3, BENCH_DONE },
        { "fnstenv, fwait", "\xd9\x33\x9b", 3, BENCH_DONE },
        { "fxsave", "\x0f\xae\x03", 3, BENCH_DONE },
    };
    static struct x86_state s;
    static struct result r;
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        bench_code(b, BENCH_CODE, list[i].code, list[i].n);
        bench_state(b, &s, BENCH_LONG, 3);
        memset(s.xsave, 0, STATE_BYTES);
        put16(s.xsave, 0x37b);         /* ZM clear */
        put16(s.xsave + 2, 0x8084);    /* ZE, ES, B */
        put32(s.xsave + 24, 0x1f80);
        put64(s.xsave + 512, 1);
        s.gpr[REG_RBX] = AREA;
        memset(b->ram + AREA, 0, AREA_BYTES);
        bench_run(b, &s, BENCH_LONG, &r);
        cases++;
        bool ok = r.vector == list[i].vector && (r.vector != 16 || r.rip == BENCH_CODE);
        if (ok && list[i].code[0] == '\xd9' && list[i].vector == BENCH_DONE)
            ok = b->ram[AREA] == 0x7b && b->ram[AREA + 4] == 0x84;
        if (ok) continue;
        failed++;
        printf("FAIL pending exception, %s: vector %u, want %u\n", list[i].name, r.vector, list[i].vector);
    }
}

/* With CR0.NE clear the error goes out on FERR#, and the waiting instruction is not executed. */
static void external_error(void)
{
    static const char *const codes[] = { "\x9b", "\xd9\x23", "\xdd\x23", "\xd9\xe8" };
    static struct x86_state s, end;
    for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
        bench_code(b, BENCH_CODE, codes[i], i ? 2 : 1);
        bench_state(b, &s, BENCH_LONG, 3);
        memset(s.xsave, 0, STATE_BYTES);
        put16(s.xsave, 0x37b);
        put16(s.xsave + 2, 0x8084);
        put32(s.xsave + 24, 0x1f80);
        put64(s.xsave + 512, 1);
        s.cr0 &= ~(uint64_t)CR0_NE;
        s.gpr[REG_RBX] = AREA;
        b->ferr_count = 0;
        engine_bt.vcpu_set(b->vcpu, &s);
        enum engine_exit exit = engine_bt.vcpu_run(b->vcpu);
        engine_bt.vcpu_get(b->vcpu, &end);
        cases++;
        if (exit == EXIT_KICKED && b->ferr_count == 1 && end.rip == BENCH_CODE) continue;
        failed++;
        printf("FAIL FERR# %u: exit %d, asserted %u times, rip %lx\n", i, exit, b->ferr_count,
               (unsigned long)end.rip);
    }
}

/* After arithmetic the pointers must not tell where the host's code lies. */
static void pointers(void)
{
    static const struct { const char *name, *code; unsigned n, from, to;
    } list[] = {
        { "fnstenv", "\xd9\xe8\xd8\x33\xd9\x73\x20", 7, 0x2c, 0x3c },
        { "fxsave64", "\xd9\xe8\xd8\x33\x48\x0f\xae\x43\x40", 9, 0x48, 0x58 },
        { "fnsave", "\xd9\xe8\xd8\x33\xdd\x73\x20", 7, 0x2c, 0x3c },
    };
    static struct x86_state s;
    static struct result r;
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        bench_code(b, BENCH_CODE, list[i].code, list[i].n);
        bench_state(b, &s, BENCH_LONG, 3);
        memset(s.xsave, 0, STATE_BYTES);
        put16(s.xsave, 0x37f);
        put32(s.xsave + 24, 0x1f80);
        put64(s.xsave + 512, 1);
        s.gpr[REG_RBX] = AREA;
        memset(b->ram + AREA, 0xee, AREA_BYTES);
        memset(b->ram + AREA, 0, 4);   /* fdiv by 0.0: an exception, masked */
        bench_run(b, &s, BENCH_LONG, &r);
        bool ok = r.vector == BENCH_DONE;
        for (unsigned k = list[i].from; k < list[i].to; k++)
            if (b->ram[AREA + k] && b->ram[AREA + k] != 0xff) ok = false;
        cases++;
        if (ok) continue;
        failed++;
        printf("FAIL pointers of %s are not hidden, vector %u\n", list[i].name, r.vector);
    }
}

/* Outside 64-bit mode registers 8-15 are neither stored nor changed. */
static void halves(void)
{
    static struct x86_state s;
    static struct result r;
    static const struct {
        unsigned at, op;
    } list[] = { { 288, 0 }, { 288, 2 }, { 288, 4 }, { 288, 9 }, { 704, 4 }, { 704, 9 } };
    for (unsigned i = 0; i < ARRAY_SIZE(list) * 16; i++) {
        const struct op *o = &ops[list[i / 16].op];
        unsigned at = list[i / 16].at;
        uint32_t rfbm;
        case_pick(o, &rfbm);
        state[512] = 7;
        if (o->loads) area[512] &= 7;
        bench_code(b, BENCH_CODE, o->code, o->n);
        bench_state(b, &s, BENCH_PROT32, 3);
        memcpy(s.xsave, state, STATE_BYTES);
        memcpy(b->ram + AREA, area, AREA_BYTES);
        s.gpr[REG_RBX] = AREA;
        s.gpr[REG_RAX] = s.gpr[REG_RDX] = ~0u;
        bench_run(b, &s, BENCH_PROT32, &r);
        bool in_use = o->is_fx || area[512] & (at < 512 ? 2 : 4), ok = r.vector == BENCH_DONE;
        const uint8_t *low = o->loads ? r.s.xsave + at - 128 : b->ram + AREA + at - 128;
        for (unsigned k = 0; k < 128 && ok; k++)
            ok = low[k] == (o->loads ? (in_use ? area[at - 128 + k] : 0) : state[at - 128 + k]);
        if (o->loads) ok = ok && !memcmp(r.s.xsave + at, state + at, 128);
        else ok = ok && !memcmp(b->ram + AREA + at, area + at, 128);
        cases++;
        if (ok) continue;
        failed++;
        printf("FAIL 32-bit %s, registers at %u: vector %u\n", o->name, at, r.vector);
    }
}

int main(void)
{
    b = bench_new();
    native_code = mmap(NULL, BENCH_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0);
    if (!b || native_code == MAP_FAILED) return 1;
    printf("seed %lu\n", (unsigned long)seed);
    for (unsigned n = 0; n < ARRAY_SIZE(ops); n++) {
        bench_code(b, BENCH_CODE, ops[n].code, ops[n].n);
        for (unsigned i = 0; i < CASES; i++) compare(&ops[n]);
    }
    halves();
    faults();
    pending();
    external_error();
    pointers();
    printf("%u cases with %u instructions that store or load FPU state: %u differ\n", cases,
           (unsigned)ARRAY_SIZE(ops), failed);
    bench_free(b);
    return failed ? 1 : 0;
}
