/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The eight AVX2 gathers, both lengths, in the engine and on the host CPU with random indices and masks; then
 * with a page missing: the fault must come at the first bad element, with the elements before it done and
 * their mask cleared, and the instruction, started again with the page there, must end as if nothing had
 * happened.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "base/bits.h"
#include "bench.h"

enum {
    TABLE = 0x200000,
    TABLE_PAGES = 4,
    TABLE_BYTES = TABLE_PAGES * BENCH_PAGE,
    CASES = 1500,
    XMM_AT = 160,
    YMMH_AT = 576
};

static uint64_t seed = 99;
static struct bench *b;
static unsigned cases, faults, failed;
static uint8_t *table;
struct vectors { uint8_t v[3][32]; };  /* ymm1 destination, ymm2 index, ymm3 mask */

static void vectors_put(struct x86_state *s, const struct vectors *x)
{
    memset(s->xsave, 0, 832);
    memcpy(s->xsave + 24, &(uint32_t){ 0x1f80 }, 4);
    memcpy(s->xsave, &(uint16_t){ 0x37f }, 2);
    s->xsave[512] = 7;
    for (unsigned i = 0; i < 3; i++) {
        memcpy(s->xsave + XMM_AT + 16 * (i + 1), x->v[i], 16);
        memcpy(s->xsave + YMMH_AT + 16 * (i + 1), x->v[i] + 16, 16);
    }
}

static void vectors_get(const struct x86_state *s, struct vectors *x)
{
    for (unsigned i = 0; i < 3; i++) {
        memcpy(x->v[i], s->xsave + XMM_AT + 16 * (i + 1), 16);
        memcpy(x->v[i] + 16, s->xsave + YMMH_AT + 16 * (i + 1), 16);
    }
}

static uint8_t *native_code;
static void native_run(const uint8_t *code, unsigned n, const struct vectors *in, struct vectors *out,
                       const uint8_t *base)
{
    memcpy(native_code, code, n);
    native_code[n] = 0xc3;
    register void *fn __asm__("r12") = native_code;
    *out = *in;
    __asm__ volatile(
        "vmovdqu (%0), %%ymm1\n vmovdqu 32(%0), %%ymm2\n vmovdqu 64(%0), %%ymm3\n mov %1, %%rbx\n call *%2\n"
        "vmovdqu %%ymm1, (%0)\n vmovdqu %%ymm2, 32(%0)\n vmovdqu %%ymm3, 64(%0)\n vzeroupper"
        :
        : "r"(out->v), "r"(base), "r"(fn)
        : "rbx", "memory", "xmm0", "xmm1", "xmm2", "xmm3");
}

struct gather { uint8_t opcode, w, l; };

static unsigned encode(const struct gather *g, uint8_t *code)
{
    /* vgather ymm1, [rbx + ymm2 * 4 + 16], ymm3 */
    uint8_t bytes[] = { 0xc4, 0xe2, g->w << 7 | (~3 & 15) << 3 | g->l << 2 | 1, g->opcode, 0x4c, 0x93, 0x10 };
    memcpy(code, bytes, sizeof(bytes));
    return sizeof(bytes);
}

static unsigned index_bytes(const struct gather *g) { return g->opcode & 1 ? 8 : 4; }
static unsigned data_bytes(const struct gather *g) { return g->w ? 8 : 4; }

static void vectors_pick(const struct gather *g, struct vectors *x)
{
    for (unsigned i = 0; i < 32; i++)
        for (unsigned k = 0; k < 3; k++) x->v[k][i] = bench_random(&seed) >> 56;
    unsigned n = index_bytes(g);
    for (unsigned i = 0; i < 32 / n; i++) {
        int64_t index = (int64_t)(bench_random(&seed) % ((TABLE_BYTES - 64) / 4)) - TABLE_BYTES / 8;
        memcpy(x->v[1] + n * i, &index, n);
    }
}

static int64_t get(const uint8_t *p, unsigned n)
{
    int64_t value = 0;
    memcpy(&value, p, n);
    return n == 4 ? (int32_t)value : value;
}

static void run_engine(const struct vectors *in, struct vectors *out, struct result *r)
{
    static struct x86_state s;
    bench_state(b, &s, BENCH_LONG, 3);
    vectors_put(&s, in);
    s.gpr[REG_RBX] = TABLE + TABLE_BYTES / 2;
    bench_run(b, &s, BENCH_LONG, r);
    vectors_get(&r->s, out);
}

/* What a fault at the first element that touches the missing page must leave. false: no element does. */
static bool model_until_fault(const struct gather *g, const struct vectors *in, unsigned missing,
                              struct vectors *out, uint64_t *cr2)
{
    unsigned count = (g->l ? 32 : 16) / MAX(index_bytes(g), data_bytes(g)), n = data_bytes(g);
    uint64_t from = TABLE + missing * BENCH_PAGE, to = from + BENCH_PAGE;
    *out = *in;
    for (unsigned i = 0; i < count; i++) {
        if (get(in->v[2] + n * i, n) >= 0) continue;
        uint64_t at = TABLE + TABLE_BYTES / 2 + 16 + 4 * get(in->v[1] + index_bytes(g) * i, index_bytes(g));
        if (at < to && at + n > from) {
            *cr2 = MAX(at, from);
            return true;
        }
        memcpy(out->v[0] + n * i, table + (at - TABLE), n);
        memset(out->v[2] + n * i, 0, n);
    }
    return false;
}

static void one(const struct gather *g, unsigned missing)
{
    static struct result r;
    struct vectors in, want, got, part;
    uint64_t cr2;
    vectors_pick(g, &in);
    uint8_t code[8];
    unsigned n = encode(g, code);
    native_run(code, n, &in, &want, table + TABLE_BYTES / 2);
    bool will_fault = missing < TABLE_PAGES && model_until_fault(g, &in, missing, &part, &cr2);
    if (missing < TABLE_PAGES) bench_map(b, TABLE + missing * BENCH_PAGE, 0, MAP_NONE);
    run_engine(&in, &got, &r);
    if (missing < TABLE_PAGES)
        bench_map(b, TABLE + missing * BENCH_PAGE, TABLE + missing * BENCH_PAGE, MAP_ALL);
    bool ok = r.vector == (will_fault ? 14 : BENCH_DONE);
    if (will_fault) {
        faults++;
        ok = ok && r.s.cr2 == cr2 && r.error == 4 && !memcmp(&got, &part, sizeof(got));
        struct vectors again = got;
        run_engine(&again, &got, &r);
        ok = ok && r.vector == BENCH_DONE;
    }
    ok = ok && !memcmp(&got, &want, sizeof(got));
    cases++;
    if (ok || failed++ > 10) return;
    printf("FAIL gather %02x w%u l%u, missing page %u: vector %u\n", g->opcode, g->w, g->l, missing,
           r.vector);
}

int main(void)
{
    if (!__builtin_cpu_supports("avx2")) {
        printf("SKIPPED: this CPU has no AVX2\n");
        return 77;
    }
    b = bench_new();
    native_code = mmap(NULL, BENCH_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0);
    if (!b || native_code == MAP_FAILED) return 1;
    table = b->ram + TABLE;
    printf("seed %lu\n", (unsigned long)seed);
    for (unsigned i = 0; i < TABLE_BYTES; i++) table[i] = bench_random(&seed) >> 56;
    for (unsigned k = 0; k < 16; k++) {
        struct gather g = { 0x90 + (k & 3), k >> 2 & 1, k >> 3 };
        uint8_t code[8];
        bench_code(b, BENCH_CODE, code, encode(&g, code));
        for (unsigned i = 0; i < CASES; i++) one(&g, bench_random(&seed) % (2 * TABLE_PAGES));
    }
    printf("%u gathers, %u of them with a page fault inside: %u differ from the host CPU\n", cases, faults,
           failed);
    bench_free(b);
    return failed ? 1 : 0;
}
