/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector instructions that touch memory element by element.
 *
 * VPGATHERxx, VGATHERxPx (AVX2): element by element, lowest first. An element that is loaded clears its part
 * of the mask, so a fault leaves the registers such that the instruction goes on with the faulting element
 * when it is started again.
 *
 * VMASKMOVPx, VPMASKMOVx: only elements whose mask is set are touched; the translator copies these instructions and
 * comes here when an access misses. A store checks all of them before it writes the first.
 *
 * The registers are worked on in an XSAVE image on our stack and loaded at the end, or before a fault is
 * passed on.
 * Limit: data breakpoints do not see the elements.
 * Sources: Intel SDM volume 2 (VPGATHERDD), AMD APM volume 4.
 */
#include "engine/bt/helper/helper_b.h"

enum { XMM_AT = 160, HEADER_AT = 512, HEADER_BYTES = 64, YMMH_AT = 576, AREA_BYTES = 832, XF_SSE_AVX = 6 };
struct area { uint8_t b[AREA_BYTES] __attribute__((aligned(64))); };

struct gather {
    struct area area;
    const struct x86_insn *insn;
    unsigned count, data_bytes, index_bytes;
};

static uint8_t *element(struct area *a, unsigned reg, unsigned n, unsigned bytes)
{
    unsigned at = n * bytes;
    return a->b + (at < 16 ? XMM_AT : YMMH_AT) + 16 * reg + (at & 15);
}

static int64_t read_signed(const uint8_t *p, unsigned bytes)
{
    return bytes == 4 ? *(const int32_t *)p : *(const int64_t *)p;
}

static void store_sized(uint8_t *p, uint64_t value, unsigned bytes)
{
    if (bytes == 4) *(uint32_t *)p = value;
    else *(uint64_t *)p = value;
}

static void gather_elements(struct bt_vcpu *v, void *arg)
{
    struct gather *g = arg;
    const struct x86_insn *i = g->insn;
    const struct x86_state *s = bt_state(v);
    unsigned to = i->operand[0].reg & 15, mask = i->operand[2].reg & 15, index = i->index & 15;
    uint64_t base = i->disp + (i->base >= 0 ? s->gpr[i->base & 15] : 0);
    for (unsigned n = 0; n < g->count; n++) {
        uint8_t *m = element(&g->area, mask, n, g->data_bytes);
        if (read_signed(m, g->data_bytes) >= 0) continue;
        int64_t distance = read_signed(element(&g->area, index, n, g->index_bytes), g->index_bytes);
        uint64_t offset = base + (uint64_t)distance * i->scale;
        gva_t linear = bt_linear(v, i->seg, offset & mask_of_size(i->addrsize), g->data_bytes, BT_READ);
        uint64_t value = bt_load(v, linear, g->data_bytes, BT_READ);
        store_sized(element(&g->area, to, n, g->data_bytes), value, g->data_bytes);
        store_sized(m, 0, g->data_bytes);
    }
}

/* The registers, with all of the header that XSAVE leaves and XRSTOR looks at: area is not initialized, which would be a memset. */
static void area_save(struct area *a)
{
    bt_fill(a->b + HEADER_AT, 0, HEADER_BYTES);
    __asm__ volatile("xsave64 %0" : "+m"(*a) : "a"(XF_SSE_AVX), "d"(0) : "memory");
}

static void area_load(struct area *a)
{
    *(uint64_t *)(a->b + HEADER_AT) = XF_SSE_AVX;
    __asm__ volatile("xrstor64 %0" : : "m"(*a), "a"(XF_SSE_AVX), "d"(0) : "memory");
}

/* Bytes from `from` on of a register become 0: what the gather's length does not reach. */
static void clear_rest(struct area *a, unsigned reg, unsigned from)
{
    for (unsigned at = from; at < 32; at += 4) store_sized(element(a, reg, at / 4, 4), 0, 4);
}

void helper_gather(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct gather g;
    struct bt_event e;
    unsigned to = insn->operand[0].reg & 15, mask = insn->operand[2].reg & 15, index = insn->index & 15;
    unsigned length = insn->vl ? 32 : 16;
    if (to == mask || to == index || mask == index) bt_raise(v, VECTOR_UD);
    g.insn = insn;
    g.data_bytes = insn->w ? 8 : 4;
    g.index_bytes = insn->opcode & 1 ? 8 : 4;
    g.count = length / (g.data_bytes > g.index_bytes ? g.data_bytes : g.index_bytes);
    area_save(&g.area);
    if (!bt_try(v, gather_elements, &g, &e)) {
        area_load(&g.area);
        if (e.has_error) bt_raise_error(v, e.vector, e.error);
        bt_raise(v, e.vector);
    }
    clear_rest(&g.area, to, g.count * g.data_bytes);
    clear_rest(&g.area, mask, 0);
    area_load(&g.area);
}

struct masked { struct area area; const struct x86_insn *insn; unsigned count, bytes; uint64_t offset; };

/* The elements that the mask names, through fn. */
static void masked_each(struct bt_vcpu *v, struct masked *m, void (*fn)(struct bt_vcpu *v, struct masked *m, unsigned n, gva_t linear), unsigned access)
{
    const struct x86_insn *i = m->insn;
    for (unsigned n = 0; n < m->count; n++) {
        if (read_signed(element(&m->area, i->operand[1].reg & 15, n, m->bytes), m->bytes) >= 0) continue;
        uint64_t offset = (m->offset + n * m->bytes) & mask_of_size(i->addrsize);
        fn(v, m, n, bt_linear(v, i->seg, offset, m->bytes, access));
    }
}

static void masked_probe(struct bt_vcpu *v, struct masked *m, unsigned n, gva_t linear) { bt_probe(v, linear, m->bytes, BT_WRITE); }

static void masked_store(struct bt_vcpu *v, struct masked *m, unsigned n, gva_t linear)
{
    bt_store(v, linear, (uint64_t)read_signed(element(&m->area, m->insn->operand[2].reg & 15, n, m->bytes), m->bytes), m->bytes, BT_WRITE);
}

static void masked_load(struct bt_vcpu *v, struct masked *m, unsigned n, gva_t linear)
{
    /* The destination may be the mask: values wait in the header's reserved bytes, which XRSTOR wants to be zero again. */
    store_sized(m->area.b + HEADER_AT + 16 + n * m->bytes, bt_load(v, linear, m->bytes, BT_READ), m->bytes);
}

void helper_masked_move(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct masked m;
    bool is_store = insn->operand[0].kind == OPND_MEM;
    m.insn = insn;
    m.bytes = insn->mnemonic == X86_VMASKMOVPD || insn->mnemonic == X86_VPMASKMOVQ ? 8 : 4;
    m.count = (insn->vl ? 32 : 16) / m.bytes;
    m.offset = bt_effective_offset(v, insn);
    area_save(&m.area);
    if (is_store) {
        masked_each(v, &m, masked_probe, BT_WRITE);
        masked_each(v, &m, masked_store, BT_WRITE);
        return;
    }
    masked_each(v, &m, masked_load, BT_READ);
    for (unsigned n = 0; n < m.count; n++)
        store_sized(element(&m.area, insn->operand[0].reg & 15, n, m.bytes),
                    (uint64_t)read_signed(m.area.b + HEADER_AT + 16 + n * m.bytes, m.bytes), m.bytes);
    clear_rest(&m.area, insn->operand[0].reg & 15, m.count * m.bytes);
    bt_fill(m.area.b + HEADER_AT + 8, 0, 56);
    area_load(&m.area);
}
