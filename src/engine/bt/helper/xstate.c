/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XSAVEC, XRSTOR, XGETBV, XSETBV.
 *
 * The guest's x87 and vector state is live in the host's registers, so the host's instruction makes an image
 * on our stack, always in 64-bit standard form, and what the guest's instruction writes is copied from it;
 * the other way round, the guest's image is checked and laid out anew before the host loads it. Nothing the
 * guest writes there can make the host's instruction fault. Outside 64-bit mode registers 8-15 are neither
 * saved nor changed.
 *
 * FIP, FDP and FOP: after an x87 instruction the host's registers hold addresses of generated code. Such a
 * FIP is shown as 0, with FDP and FOP; values that the guest itself has loaded come back unchanged. XSAVEOPT
 * has the init optimization, not the modified one.
 * Sources: Intel SDM volume 1 chapter 13 and section 10.5, AMD APM volume 2 section 11.5 and volume 4.
 */
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper_b.h"

enum { XF_X87 = 1, XF_SSE = 2, XF_AVX = 4 };
enum {
    LEGACY_BYTES = 512,
    HEADER_AT = 512,
    HEADER_BYTES = 64,
    EXTENDED_AT = 576,
    AVX_AT = 576,
    AVX_BYTES = 256,
    FOP_AT = 6,
    FIP_AT = 8,
    FDP_AT = 16,
    MXCSR_AT = 24,
    MXCSR_MASK_AT = 28,
    ST_AT = 32,
    XMM_AT = 160,
    ST_BYTES = 128,
    XMM_BYTES = 256,
    AVAILABLE_AT = 464,
    MXCSR_INIT = 0x1f80
};
#define XCOMP_COMPACT (1ull << 63)

struct image { uint8_t b[X86_XSAVE_BYTES] __attribute__((aligned(64))); };

static uint64_t get64(const struct image *m, unsigned at) { return *(const uint64_t *)(m->b + at); }
static uint32_t get32(const struct image *m, unsigned at) { return *(const uint32_t *)(m->b + at); }
static void put64(struct image *m, unsigned at, uint64_t value) { *(uint64_t *)(m->b + at) = value; }
static void put32(struct image *m, unsigned at, uint32_t value) { *(uint32_t *)(m->b + at) = value; }

static void host_xsave(struct image *m, uint64_t mask)
{
    bt_fill(m->b, 0, EXTENDED_AT);
    __asm__ volatile("xsave64 %0" : "+m"(m->b) : "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static void host_xrstor(const struct image *m, uint64_t mask)
{
    __asm__ volatile("xrstor64 %0"
                     :
                     : "m"(m->b), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
                     : "memory");
}

static void host_fxsave(struct image *m)
{
    bt_fill(m->b, 0, ST_AT);
    __asm__ volatile("fxsave64 %0" : "+m"(m->b) : : "memory");
}

static void pointers_clean(struct bt_vcpu *v, struct image *m, bool wide)
{
    if (get64(m, FIP_AT) - (uint64_t)v->engine->rx < v->engine->cache_bytes) {
        put64(m, FIP_AT, 0);
        put64(m, FDP_AT, 0);
        m->b[FOP_AT] = m->b[FOP_AT + 1] = 0;
    }
    if (wide) return;
    put64(m, FIP_AT, (uint32_t)get64(m, FIP_AT));      /* FCS and FDS are 0 */
    put64(m, FDP_AT, (uint32_t)get64(m, FDP_AT));
}

static void pointers_take(struct image *m, bool wide)
{
    if (wide) return;
    put64(m, FIP_AT, (uint32_t)get64(m, FIP_AT));
    put64(m, FDP_AT, (uint32_t)get64(m, FDP_AT));
}

static bool is_wide(const struct x86_insn *insn) { return insn->rex & 8; }
/* Registers 8-15 exist only in 64-bit mode. */
static unsigned half_unless64(const struct x86_insn *insn, unsigned bytes)
{
    return insn->mode == X86_CODE64 ? bytes : bytes / 2;
}

static void mxcsr_check(struct bt_vcpu *v, uint32_t mxcsr)
{
    struct image now;
    host_fxsave(&now);
    if (mxcsr & ~get32(&now, MXCSR_MASK_AT)) bt_raise_error(v, VECTOR_GP, 0);
}

/* ---- FXSAVE, FXRSTOR ---- */

static gva_t fx_area(struct bt_vcpu *v, const struct x86_insn *insn, unsigned access)
{
    if (v->s.cr0 & (CR0_EM | CR0_TS)) bt_raise(v, VECTOR_NM);
    gva_t linear = bt_operand_linear(v, insn, LEGACY_BYTES, access);
    if (linear & 15) bt_raise_error(v, VECTOR_GP, 0);
    return linear;
}

void helper_fxsave(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct image m;
    gva_t linear = fx_area(v, insn, BT_WRITE);
    host_fxsave(&m);
    pointers_clean(v, &m, is_wide(insn));
    bt_probe(v, linear, LEGACY_BYTES, BT_WRITE);
    bt_store_bytes(v, linear, m.b, XMM_AT + half_unless64(insn, XMM_BYTES), BT_WRITE);
}

void helper_fxrstor(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct image m, now;
    gva_t linear = fx_area(v, insn, BT_READ);
    bt_load_bytes(v, linear, m.b, LEGACY_BYTES, BT_READ);
    host_fxsave(&now);
    if (get32(&m, MXCSR_AT) & ~get32(&now, MXCSR_MASK_AT)) bt_raise_error(v, VECTOR_GP, 0);
    pointers_take(&m, is_wide(insn));
    if (insn->mode != X86_CODE64)
        bt_copy(m.b + XMM_AT + XMM_BYTES / 2, now.b + XMM_AT + XMM_BYTES / 2, XMM_BYTES / 2);
    __asm__ volatile("fxrstor64 %0" : : "m"(m.b) : "memory");
}

/* ---- XSAVE and its kin ---- */

static uint64_t edx_eax(const struct x86_state *s)
{
    return s->gpr[REG_RDX] << 32 | (uint32_t)s->gpr[REG_RAX];
}

static void xsave_check(struct bt_vcpu *v)
{
    if (!(v->s.cr4 & CR4_OSXSAVE)) bt_raise(v, VECTOR_UD);
    if (v->s.cr0 & CR0_TS) bt_raise(v, VECTOR_NM);
}

/* Where the components from 2 on stand: in the standard form, and in the compact one. */
struct component { uint8_t n; unsigned at, bytes, compact; };
struct layout { unsigned count, end, compact_end; struct component c[8]; };

static struct component component_find(struct bt_vcpu *v, unsigned n, bool *aligned)
{
    *aligned = false;
    if (n == 2) return (struct component){ n, AVX_AT, AVX_BYTES, 0 };
    uint32_t out[4];
    bt_cpuid(v, 13, n, out);
    *aligned = out[2] & 2;
    bool bad = out[1] < EXTENDED_AT || out[1] > X86_XSAVE_BYTES || out[0] > X86_XSAVE_BYTES - out[1];
    return (struct component){ n, out[1], bad ? 0 : out[0], 0 };
}

static void layout_make(struct bt_vcpu *v, uint64_t mask, struct layout *l)
{
    l->count = 0;
    l->end = l->compact_end = EXTENDED_AT;
    for (unsigned n = 2; n < 63 && l->count < ARRAY_SIZE(l->c); n++) {
        if (!(mask >> n & 1)) continue;
        bool aligned;
        struct component c = component_find(v, n, &aligned);
        c.compact = aligned ? ALIGN_UP(l->compact_end, 64u) : l->compact_end;
        l->compact_end = c.compact + c.bytes;
        l->end = MAX(l->end, c.at + c.bytes);
        l->c[l->count++] = c;
    }
}

static gva_t xsave_area(struct bt_vcpu *v, const struct x86_insn *insn, unsigned bytes, unsigned access)
{
    gva_t linear = bt_operand_linear(v, insn, bytes, access);
    if (linear & 63) bt_raise_error(v, VECTOR_GP, 0);
    return linear;
}

static void store_legacy(struct bt_vcpu *v, const struct x86_insn *insn, gva_t linear, const struct image *m,
                         uint64_t write, bool mxcsr)
{
    if (write & XF_X87) {
        bt_store_bytes(v, linear, m->b, MXCSR_AT, BT_WRITE);
        bt_store_bytes(v, linear + ST_AT, m->b + ST_AT, ST_BYTES, BT_WRITE);
    }
    if (mxcsr) bt_store_bytes(v, linear + MXCSR_AT, m->b + MXCSR_AT, 8, BT_WRITE);
    if (write & XF_SSE)
        bt_store_bytes(v, linear + XMM_AT, m->b + XMM_AT, half_unless64(insn, XMM_BYTES), BT_WRITE);
}

static void store_component(struct bt_vcpu *v, const struct x86_insn *insn, gva_t linear,
                            const struct image *m, const struct component *c)
{
    bt_store_bytes(v, linear, m->b + c->at, c->n == 2 ? half_unless64(insn, c->bytes) : c->bytes, BT_WRITE);
}

void helper_xsave(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct image m;
    struct layout l;
    xsave_check(v);
    uint64_t rfbm = edx_eax(&v->s) & v->s.xcr0;
    layout_make(v, rfbm, &l);
    gva_t linear = xsave_area(v, insn, l.end, BT_WRITE);
    bt_probe(v, linear, l.end, BT_WRITE);
    uint64_t old = bt_load(v, linear + HEADER_AT, 8, BT_READ);
    host_xsave(&m, rfbm);
    pointers_clean(v, &m, is_wide(insn));
    uint64_t in_use = get64(&m, HEADER_AT), write = insn->mnemonic == X86_XSAVEOPT ? rfbm & in_use : rfbm;
    store_legacy(v, insn, linear, &m, write, rfbm & (XF_SSE | XF_AVX));
    for (unsigned i = 0; i < l.count; i++)
        if (write >> l.c[i].n & 1) store_component(v, insn, linear + l.c[i].at, &m, &l.c[i]);
    bt_store(v, linear + HEADER_AT, (old & ~rfbm) | (in_use & rfbm), 8, BT_WRITE);
}

void helper_xsavec(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct image m;
    struct layout l;
    xsave_check(v);
    uint64_t rfbm = edx_eax(&v->s) & v->s.xcr0;
    layout_make(v, rfbm, &l);
    gva_t linear = xsave_area(v, insn, l.compact_end, BT_WRITE);
    bt_probe(v, linear, l.compact_end, BT_WRITE);
    host_xsave(&m, rfbm);
    pointers_clean(v, &m, is_wide(insn));
    uint64_t in_use = get64(&m, HEADER_AT) & rfbm;
    if ((rfbm & XF_SSE) && get32(&m, MXCSR_AT) != MXCSR_INIT) in_use |= XF_SSE;
    store_legacy(v, insn, linear, &m, in_use, in_use & XF_SSE);
    for (unsigned i = 0; i < l.count; i++)
        if (in_use >> l.c[i].n & 1) store_component(v, insn, linear + l.c[i].compact, &m, &l.c[i]);
    bt_store(v, linear + HEADER_AT, in_use, 8, BT_WRITE);
    bt_store(v, linear + HEADER_AT + 8, rfbm | XCOMP_COMPACT, 8, BT_WRITE);
}

/* #GP(0) for a header that the architecture refuses. Returns whether the area is compact. */
static bool header_check(struct bt_vcpu *v, const struct image *m)
{
    uint64_t bv = get64(m, HEADER_AT), comp = get64(m, HEADER_AT + 8), reserved = 0;
    bool compact = comp & XCOMP_COMPACT, bad;
    for (unsigned at = 16; at < (compact ? HEADER_BYTES : 24); at += 8) reserved |= get64(m, HEADER_AT + at);
    if (compact)
        bad = !v->engine->feature[FEAT_XSAVEC] || (comp & ~XCOMP_COMPACT & ~v->s.xcr0) || (bv & ~comp) ||
              (bv >> 63);
    else bad = comp || (bv & ~v->s.xcr0);
    if (bad || reserved) bt_raise_error(v, VECTOR_GP, 0);
    return compact;
}

/* Outside 64-bit mode registers 8-15 keep their values. */
static void upper_halves_keep(struct image *m, uint64_t rfbm)
{
    struct image now;
    uint64_t bv = get64(m, HEADER_AT);
    host_xsave(&now, rfbm & (XF_SSE | XF_AVX));
    uint64_t now_bv = get64(&now, HEADER_AT);
    static const struct { uint64_t bit; unsigned at, half; } part[] = {
        { XF_SSE, XMM_AT, XMM_BYTES / 2 }, { XF_AVX, AVX_AT, AVX_BYTES / 2 } };
    for (unsigned i = 0; i < ARRAY_SIZE(part); i++) {
        if (!(rfbm & part[i].bit)) continue;
        uint8_t *low = m->b + part[i].at, *high = low + part[i].half;
        if (!(bv & part[i].bit)) bt_fill(low, 0, part[i].half);
        if (now_bv & part[i].bit) bt_copy(high, now.b + part[i].at + part[i].half, part[i].half);
        else bt_fill(high, 0, part[i].half);
        bv |= part[i].bit & (bv | now_bv);
    }
    put64(m, HEADER_AT, bv);
}

void helper_xrstor(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct image m;
    struct layout l;
    xsave_check(v);
    uint64_t rfbm = edx_eax(&v->s) & v->s.xcr0;
    gva_t linear = xsave_area(v, insn, EXTENDED_AT, BT_READ);
    bt_load_bytes(v, linear, m.b, EXTENDED_AT, BT_READ);
    bool is_compact = header_check(v, &m);
    uint64_t bv = get64(&m, HEADER_AT), present = is_compact ? get64(&m, HEADER_AT + 8) & ~XCOMP_COMPACT : bv;
    if (is_compact && !(bv & XF_SSE)) put32(&m, MXCSR_AT, MXCSR_INIT);
    if (is_compact && !(rfbm & XF_SSE)) {
        struct image now;
        host_fxsave(&now);
        put32(&m, MXCSR_AT, get32(&now, MXCSR_AT));
    }
    if (rfbm & (XF_SSE | XF_AVX)) mxcsr_check(v, get32(&m, MXCSR_AT));
    layout_make(v, present, &l);
    bt_operand_linear(v, insn, is_compact ? l.compact_end : l.end, BT_READ);
    for (unsigned i = 0; i < l.count; i++)
        if (rfbm & bv & 1ull << l.c[i].n)
            bt_load_bytes(v, linear + (is_compact ? l.c[i].compact : l.c[i].at), m.b + l.c[i].at,
                          l.c[i].bytes, BT_READ);
    bt_fill(m.b + HEADER_AT, 0, HEADER_BYTES);
    put64(&m, HEADER_AT, bv & rfbm);
    pointers_take(&m, is_wide(insn));
    if (insn->mode != X86_CODE64) upper_halves_keep(&m, rfbm);
    host_xrstor(&m, rfbm);
}

/* ---- XCR0 ---- */

void helper_xgetbv(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = &v->s;
    uint64_t value = s->xcr0;
    if (!(s->cr4 & CR4_OSXSAVE)) bt_raise(v, VECTOR_UD);
    uint32_t index = s->gpr[REG_RCX];
    if (index > 1 || (index == 1 && !bt_has(v, 13, 1, 0, 2))) bt_raise_error(v, VECTOR_GP, 0);
    if (index == 1) {
        uint32_t low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
        value &= (uint64_t)high << 32 | low;
    }
    s->gpr[REG_RAX] = (uint32_t)value;
    s->gpr[REG_RDX] = value >> 32;
}

void helper_xsetbv(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x86_state *s = &v->s;
    enum { AVX512 = 0xe0 };
    if (!(s->cr4 & CR4_OSXSAVE)) bt_raise(v, VECTOR_UD);
    require_cpl0(v);
    uint64_t value = edx_eax(s);
    bool bad = (uint32_t)s->gpr[REG_RCX] || !(value & XF_X87) || (value & ~bt_xcr0_allowed(v));
    if ((value & XF_AVX) && !(value & XF_SSE)) bad = true;
    if ((value & AVX512) && ((value & AVX512) != AVX512 || !(value & XF_AVX))) bad = true;
    if (bad) bt_raise_error(v, VECTOR_GP, 0);
    s->xcr0 = value;
    s->rip = bt_next_rip(v, insn);
}
