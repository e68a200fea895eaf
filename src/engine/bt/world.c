/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The switch between guest world and host world. C of the guest world is compiled without vector instructions; everything else may use the
 * guest's vector and x87 registers, so they are put away first.
 *
 * XSAVE and XRSTOR take some 300 cycles, as long as all else of a short access to a device. So they are for the way into vcpu_run and out of
 * it; a call to the machine stores and loads the 16 YMM registers one by one. (If guests are to have those of AVX-512 some day, they must be
 * kept too: what the machine left there could be read.) The x87 unit is left as it is while it is in its initial state (XINUSE, read by
 * XGETBV), which C finds it in anyway, and put back to that if C has used it. Upper halves that are in their initial state are left in it:
 * were they given their zeros back, each SSE instruction of the guest would wait for the one before it that wrote the same register (nbody
 * took 3.5 times as long so).
 * Sources: SDM 1 sections 13.6 (XINUSE), 13.8; SysV ABI (x87 and MXCSR at calls).
 */
#include <cpuid.h>
#include "engine/bt/bt_private.h"

enum { XINUSE_X87 = 1, XINUSE_AVX = 4, XCR0_SSE_AVX = 6 };
static const uint32_t host_mxcsr = 0x1f80;

void bt_vectors_save(struct bt_vcpu *v)
{
    uint64_t mask = v->xsave_mask;
    __asm__ volatile("xsave64 %0; vzeroupper; fninit; ldmxcsr %1"
                     : "+m"(v->s.xsave) : "m"(host_mxcsr), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

void bt_vectors_load(struct bt_vcpu *v)
{
    uint64_t mask = v->xsave_mask;
    __asm__ volatile("xrstor64 %0" : : "m"(v->s.xsave), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

/* May a call to the machine store the registers itself? xsave_mask: XCR0 bits that the guest may ever set. */
bool bt_vectors_are_light(uint64_t xsave_mask)
{
    unsigned a, b, c, d;
    return xsave_mask == (XINUSE_X87 | XCR0_SSE_AVX) && __get_cpuid_count(13, 1, &a, &b, &c, &d) && (a & 4);        /* XGETBV 1 */
}

static uint32_t xinuse(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
    return low;
}

/* XSTATE_BV is 0, so XRSTOR makes the state initial. */
static void x87_init(void)
{
    static const uint8_t initial[576] __attribute__((aligned(64)));
    __asm__ volatile("xrstor64 %0" : : "m"(initial), "a"(XINUSE_X87), "d"(0) : "memory");
}

/* FNINIT makes the state initial, but some processors count it as in use all the same. If what XSAVE stored is the initial state in each
 * byte, XRSTOR can make it so without being given it, which ends that. */
static void x87_find_initial(struct x86_state *s)
{
    static const uint64_t low = 0x37f;                 /* FCW; FSW, FTW (abridged), FOP: 0 */
    const uint64_t *image = (const uint64_t *)s->xsave;
    uint64_t differs = image[0] ^ low;
    for (unsigned n = 1; n < 20; n++)
        if (n != 3) differs |= image[n];               /* 3: MXCSR */
    if (!differs) s->xsave[512] &= ~XINUSE_X87;
}

#define EACH(what) ".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" what "\n.endr\n"

static void xmm_store(struct bt_vectors_kept *k)
{
    __asm__ volatile(EACH("movups %%xmm\\r, 32*\\r(%0)") : : "r"(k->vector) : "memory");
}

static void xmm_load(const struct bt_vectors_kept *k)
{
    __asm__ volatile("vzeroupper\n" EACH("movups 32*\\r(%0), %%xmm\\r") : : "r"(k->vector) : "memory");
}

static void ymm_store(struct bt_vectors_kept *k)
{
    __asm__ volatile(EACH("vmovups %%ymm\\r, 32*\\r(%0)") "vzeroupper" : : "r"(k->vector) : "memory");
}

static void ymm_load(const struct bt_vectors_kept *k)
{
    __asm__ volatile(EACH("vmovups 32*\\r(%0), %%ymm\\r") : : "r"(k->vector) : "memory");
}

static void call(struct bt_vcpu *v, void (*fn)(struct bt_vcpu *v, void *arg), void *arg)
{
    v->in_host = true;
    fn(v, arg);
    v->in_host = false;
}

static void call_lightly(struct bt_vcpu *v, void (*fn)(struct bt_vcpu *v, void *arg), void *arg, bool has_upper)
{
    struct bt_vectors_kept *k = &v->kept;
    if (has_upper) ymm_store(k);
    else xmm_store(k);
    __asm__ volatile("stmxcsr %0; ldmxcsr %1" : "=m"(k->mxcsr) : "m"(host_mxcsr) : "memory");
    call(v, fn, arg);
    if (xinuse() & XINUSE_X87) x87_init();
    __asm__ volatile("ldmxcsr %0" : : "m"(k->mxcsr));
    if (has_upper) ymm_load(k);
    else xmm_load(k);
}

void bt_host_call(struct bt_vcpu *v, void (*fn)(struct bt_vcpu *v, void *arg), void *arg)
{
    uint32_t used = v->in_host || !v->light ? XINUSE_X87 : xinuse();
    if (v->in_host) {
        fn(v, arg);
    } else if (!(used & XINUSE_X87)) {
        call_lightly(v, fn, arg, used & XINUSE_AVX);
    } else {
        bt_vectors_save(v);
        call(v, fn, arg);
        if (v->light) x87_find_initial(&v->s);
        bt_vectors_load(v);
    }
}
