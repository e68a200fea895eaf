/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A call to the machine leaves the guest's vector, mask and x87 registers alone, whatever the machine's C does with the host's, and shows the
 * guest nothing of it: random states, each component random or initial, an access to a port whose device writes all of them, and the state
 * behind it. For processors with AVX and with SSE alone.
 */
#include <stdio.h>
#include <string.h>
#include "base/bits.h"
#include "bench.h"

enum { CASES = 500, X87 = 1, SSE = 2, AVX = 4 };

static uint64_t seed = 11;
static unsigned failed;

/* What C of a device might do, and more. */
static void use_registers(void *opaque)
{
    static const uint32_t with_flags = 0x1fbf;
    const uint64_t *mask = opaque;
    if (*mask & AVX)
        __asm__ volatile(".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\nvpcmpeqd %ymm\\r, %ymm\\r, %ymm\\r\n.endr");
    __asm__ volatile(".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\npcmpeqd %xmm\\r, %xmm\\r\n.endr\n"
                     "fldpi; fld1; fdivp; fstp %st(0)");
    __asm__ volatile("ldmxcsr %0" : : "m"(with_flags));
}

struct component { uint32_t bit, offset, size; };
static const struct component c[] = { { X87, 32, 128 }, { SSE, 160, 256 }, { AVX, 576, 256 } };

static void image_make(uint8_t *image, uint32_t used)
{
    uint16_t fcw = used & X87 ? 0x37f & ~(unsigned)(bench_random(&seed) & 0x300) : 0x37f;
    uint32_t mxcsr = 0x1f80 | (bench_random(&seed) & 0xe03f);
    memset(image, 0, 4096);
    memcpy(image, &fcw, 2);
    memcpy(image + 24, &mxcsr, 4);
    for (unsigned n = 0; n < ARRAY_SIZE(c); n++) {
        if (!(used & c[n].bit)) continue;
        for (unsigned i = 0; i < c[n].size; i++)
            if (c[n].bit != X87 || i % 16 < 10) image[c[n].offset + i] = bench_random(&seed) >> 56;
    }
    image[512] = used;
}

/* A component that is not in use is all zeros. */
static bool is_same(const uint8_t *want, const uint8_t *got, const struct component *p)
{
    bool w = want[512] & p->bit, g = got[512] & p->bit;
    for (unsigned i = 0; i < p->size; i++)
        if ((w ? want[p->offset + i] : 0) != (g ? got[p->offset + i] : 0)) return false;
    return true;
}

/* Does VZEROUPPER make the upper halves' state initial? Then they must not come to be in use: legacy SSE instructions would be slow. */
static bool tracks_upper(uint64_t mask)
{
    uint32_t low = AVX, high;
    if (mask & AVX) __asm__ volatile("vzeroupper; xgetbv" : "=a"(low), "=d"(high) : "c"(1));
    return !(low & AVX);
}

static void run_case(struct bench *b, uint64_t mask)
{
    static const char two_outs[] = "\xee\xee";
    static uint8_t want[4096];
    struct x86_state s;
    struct result r;
    uint32_t used = bench_random(&seed) & mask;
    if (used & AVX) used |= SSE;
    bench_state(b, &s, BENCH_LONG, 0);
    image_make(want, used);
    memcpy(s.xsave, want, MIN(sizeof(s.xsave), sizeof(want)));
    s.gpr[REG_RDX] = 0x80;
    s.xcr0 = mask;
    b->port_count = 0;
    bench_code(b, BENCH_CODE, two_outs, 2);
    bench_run(b, &s, BENCH_LONG, &r);
    bool ok = r.vector == BENCH_DONE && b->port_count == 2 && !memcmp(want + 24, r.s.xsave + 24, 4);
    ok = ok && !memcmp(used & X87 || r.s.xsave[512] & X87 ? r.s.xsave : want, want, 24);
    for (unsigned n = 0; n < ARRAY_SIZE(c) && ok; n++) ok = is_same(want, r.s.xsave, &c[n]);
    ok = ok && (used & AVX || !(r.s.xsave[512] & AVX) || !tracks_upper(mask));
    if (!ok && failed++ < 10) printf("FAIL in use %x, afterwards %x\n", used, r.s.xsave[512]);
}

int main(void)
{
    static const char *const cpus[] = { NULL, "max,-avx" };
    printf("seed %lu\n", (unsigned long)seed);
    for (unsigned k = 0; k < ARRAY_SIZE(cpus); k++) {
        struct bench *b = bench_new_cpu(cpus[k]);
        if (!b) return 1;
        uint64_t mask = b->xcr0;
        b->on_port = use_registers;
        b->on_port_opaque = &mask;
        for (unsigned n = 0; n < CASES; n++) run_case(b, mask);
        printf("%s: XCR0 up to %lx, %u states\n", cpus[k] ? cpus[k] : "default", (unsigned long)mask, CASES);
        bench_free(b);
    }
    printf("%u differ\n", failed);
    return failed ? 1 : 0;
}
