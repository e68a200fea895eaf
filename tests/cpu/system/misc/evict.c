/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The code cache is too small: 16,000 small functions in a random order, each with a jump to the next, often on another page, and a call of one of a
 * few on its way. Now and then one goes some way back instead: then blocks that are still there come to others that are not. Some first call a long
 * way through the others: who called is often gone when that returns. 48,000 and these are run with caches of one part and of four. What they compute
 * is known; the cache's oldest part must have been emptied again and again, and never all of it.
 */
#include <stdio.h>
#include <string.h>
#include "base/bits.h"
#include "bench.h"
#include "engine/bt/bt_private.h"

enum { CALLEES = 64, FUNCTIONS = 16000, STEPS = 48000, BACK_MAX = 300, BACK_MASK = 0x1ff, SLOT = 96, AT = 0x100000 };
enum { DETOUR_ONE_IN = 256, DETOUR_STEPS = 1000, RETURN_SLOT = FUNCTIONS + CALLEES, FIRST_SLOT = RETURN_SLOT + 1 };
static uint64_t seed = 0x6c656166;
static struct function { uint32_t add, callee, detour; uint8_t rotate; } function[FUNCTIONS];
static uint32_t next[FUNCTIONS], back[FUNCTIONS], mask[CALLEES];

static uint32_t place(uint32_t slot) { return AT + slot * SLOT; }
static uint8_t *put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
    return p + 4;
}
static uint8_t *relative(struct bench *b, uint8_t *p, const char *opcode, uint32_t to)
{
    size_t n = strlen(opcode);
    memcpy(p, opcode, n);
    p += n;
    return put32(p, to - (uint32_t)(p + 4 - b->ram));
}

/* xor eax, mask; ret */
static void callee_write(struct bench *b, uint32_t n)
{
    uint8_t *p = b->ram + place(FUNCTIONS + n);
    *p++ = 0x35;
    p = put32(p, mask[n] = bench_random(&seed));
    *p = 0xc3;
}

/* cmp ecx, steps; jbe 1f; push rcx; mov ecx, steps; call detour; pop rcx; 1: */
static uint8_t *detour_write(struct bench *b, uint8_t *p, uint32_t to)
{
    *p++ = 0x81;
    *p++ = 0xf9;
    p = put32(p, DETOUR_STEPS);
    *p++ = 0x76;
    *p++ = 12;
    *p++ = 0x51;
    *p++ = 0xb9;
    p = put32(p, DETOUR_STEPS);
    p = relative(b, p, "\xe8", place(to));
    *p++ = 0x59;
    return p;
}

/* detour, perhaps; add eax, n; rol eax, n; call, or mov edx, callee; call edx; dec ecx; jz return; test eax, mask; jnz next; jmp back */
static void function_write(struct bench *b, uint32_t n)
{
    struct function *f = &function[n];
    uint8_t *p = b->ram + place(n);
    *f = (struct function){ bench_random(&seed), bench_random(&seed) % CALLEES, 0, 1 + bench_random(&seed) % 31 };
    if (bench_random(&seed) % DETOUR_ONE_IN == 0) {
        f->detour = 1 + bench_random(&seed) % (FUNCTIONS - 1);
        p = detour_write(b, p, f->detour);
    }
    *p++ = 0x05;
    p = put32(p, f->add);
    *p++ = 0xc1;
    *p++ = 0xc0;
    *p++ = f->rotate;
    if (f->callee % 2) {
        p = relative(b, p, "\xe8", place(FUNCTIONS + f->callee));
    } else {
        *p++ = 0xba;
        p = put32(p, place(FUNCTIONS + f->callee));
        *p++ = 0xff;
        *p++ = 0xd2;
    }
    *p++ = 0xff;
    *p++ = 0xc9;
    p = relative(b, p, "\x0f\x84", place(RETURN_SLOT));
    *p++ = 0xa9;
    p = put32(p, BACK_MASK);
    p = relative(b, p, "\x0f\x85", place(next[n]));
    relative(b, p, "\xe9", place(back[n]));
}

/* One cycle of all functions. */
static void order_make(void)
{
    uint32_t order[FUNCTIONS];
    for (uint32_t n = 0; n < FUNCTIONS; n++) order[n] = n;
    for (uint32_t n = FUNCTIONS - 1; n > 0; n--) {
        uint32_t k = bench_random(&seed) % (n + 1), was = order[n];
        order[n] = order[k];
        order[k] = was;
    }
    for (uint32_t n = 0; n < FUNCTIONS; n++) {
        next[order[n]] = order[(n + 1) % FUNCTIONS];
        back[order[n]] = order[(n + FUNCTIONS - 1 - bench_random(&seed) % BACK_MAX) % FUNCTIONS];
    }
}

static uint32_t expected(uint32_t eax, uint32_t n, uint32_t steps)
{
    for (; steps > 0; steps--, n = eax & BACK_MASK ? next[n] : back[n]) {
        if (function[n].detour && steps > DETOUR_STEPS) eax = expected(eax, function[n].detour, DETOUR_STEPS);
        eax += function[n].add;
        eax = (eax << function[n].rotate | eax >> (32 - function[n].rotate)) ^ mask[function[n].callee];
    }
    return eax;
}

static bool try(struct bench *b, enum bench_mode mode, unsigned cpl, unsigned parts)
{
    const struct bt_engine *e = container_of(b->engine, struct bt_engine, base);
    uint64_t before = e->count_parts;
    uint32_t eax = bench_random(&seed), want = expected(eax, 0, STEPS);
    struct x86_state s;
    struct result r;
    bench_state(b, &s, mode, cpl);
    s.rip = place(FIRST_SLOT);
    s.gpr[REG_RAX] = eax;
    s.gpr[REG_RCX] = STEPS;
    bench_run(b, &s, mode, &r);
    bool computed = r.vector == BENCH_DONE && (uint32_t)r.s.gpr[REG_RAX] == want;
    bool evicted = e->part_count == parts && e->count_parts - before > 2 && e->count_tb_flush == 0;
    if (!computed || !evicted)
        printf("FAIL mode %d, ring %u, %u parts: vector %u, eax %#lx, not %#x; parts emptied %lu times, all %lu times\n", mode, cpl, e->part_count, r.vector,
               (unsigned long)r.s.gpr[REG_RAX], want, (unsigned long)(e->count_parts - before), (unsigned long)e->count_tb_flush);
    return computed && evicted;
}

int main(void)
{
    static const struct { enum bench_mode mode; unsigned cpl; } kind[] = { { BENCH_LONG, 0 }, { BENCH_LONG, 3 }, { BENCH_PROT32, 3 } };
    unsigned runs = 0, failed = 0;
    printf("evict: seed %#lx\n", (unsigned long)seed);
    for (unsigned parts = 1; parts <= 4; parts += 3) {
        struct bench *b = bench_new_small((uint64_t)parts << 20);
        if (!b) return 1;
        order_make();
        for (uint32_t n = 0; n < CALLEES; n++) callee_write(b, n);
        for (uint32_t n = 0; n < FUNCTIONS; n++) function_write(b, n);
        b->ram[place(RETURN_SLOT)] = 0xc3;
        relative(b, relative(b, b->ram + place(FIRST_SLOT), "\xe8", place(0)), "\xe9", BENCH_CODE);
        bench_code(b, BENCH_CODE, "", 0);
        for (unsigned i = 0; i < ARRAY_SIZE(kind); i++, runs++) failed += !try(b, kind[i].mode, kind[i].cpl, parts);
        bench_free(b);
    }
    printf("evict: %u runs of %u functions, %u failed\n", runs, STEPS, failed);
    return failed != 0;
}
