/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MOVS, STOS, LODS, SCAS, CMPS, with and without repeat prefixes.
 *
 * A repeated instruction goes page by page: where both sides are plain memory, the host's own string
 * instruction of the same element size does the piece (so overlapping moves come out element by element, as
 * they must); where a device is on one side, the piece is one call to the machine; elements that cross a page, and watched pages, go one
 * at a time. The registers are up
 * to date after every piece: a fault leaves them at the element that faulted, and an interrupt is taken
 * between two pieces. With TF set, one iteration is done, then the trap is taken.
 *
 * Limit: a fault in the middle of REPE/REPNE leaves the flags as they were before the instruction (SDM says
 * so).
 * Sources: Intel SDM volume 2 (MOVS, REP), AMD APM volume 3.
 */
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper_b.h"

struct string_op {
    unsigned size, addrsize;
    bool rep, down;
    uint64_t count;                    /* iterations left */
};

static struct string_op string_begin(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct string_op o = { .size = insn->opcode & 1 ? insn->opsize : 1, .addrsize = insn->addrsize };
    o.rep = insn->rep != 0;
    o.down = v->s.rflags & RFLAGS_DF;
    o.count = o.rep ? address_get(&v->s, REG_RCX, o.addrsize) : 1;
    return o;
}

uint64_t string_room(struct bt_vcpu *v, unsigned seg, uint64_t offset, gva_t linear, unsigned size,
                     unsigned addrsize, bool down)
{
    const struct segment *g = &v->s.seg[seg];
    uint64_t in_page = PAGE_OFFSET(linear);
    if (in_page + size > PAGE_BYTES) return 0;
    uint64_t n = down ? in_page / size + 1 : (PAGE_BYTES - in_page) / size;
    if (down) n = MIN(n, offset / size + 1);
    else if (addrsize < 8) n = MIN(n, (mask_of_size(addrsize) - offset + 1) / size);
    if (x86_is_code64(&v->s)) return n;
    if (x86_is_protected(&v->s) && !(g->attr & TYPE_CODE) && (g->attr & TYPE_DOWN)) return MIN(n, 1ull);
    return down ? n : MIN(n, ((uint64_t)g->limit - offset + 1) / size);
}

void string_pause(struct bt_vcpu *v)
{
    if (bt_wanted(v) || v->data_hit || v->stepping_shadow) bt_restart(v);
}

/* n iterations are done. Returns true when more follow. */
static bool string_advance(struct bt_vcpu *v, struct string_op *o, uint64_t n, bool uses_rsi, bool uses_rdi)
{
    struct x86_state *s = &v->s;
    uint64_t bytes = o->down ? -(n * o->size) : n * o->size;
    if (uses_rsi) gpr_set(s, REG_RSI, s->gpr[REG_RSI] + bytes, o->addrsize);
    if (uses_rdi) gpr_set(s, REG_RDI, s->gpr[REG_RDI] + bytes, o->addrsize);
    o->count -= n;
    if (!o->rep) return false;
    gpr_set(s, REG_RCX, o->count, o->addrsize);
    return o->count != 0;
}

/* A long piece that goes to a page with translated code (the kernel clears pages that held a program): its blocks die at once, not
 * element by element. */
static uint8_t *overwrite(struct bt_vcpu *v, const struct string_op *o, gva_t linear, uint64_t room)
{
    enum { LONG_BYTES = 64 };
    uint64_t n = MIN(o->count, room), bytes = n * o->size;
    if (bytes < LONG_BYTES || v->stepping_shadow) return NULL;
    bt_code_forget(v, o->down ? linear - (bytes - o->size) : linear, bytes);
    return bt_host_pointer(v, linear, BT_WRITE);
}

/* One side of the operation: the next element, checked, and the plain memory there, if it is that. */
struct side { gva_t linear; uint64_t room; uint8_t *host; bool is_device; gpa_t gpa; };

static struct side side_make(struct bt_vcpu *v, const struct string_op *o, unsigned seg, unsigned reg,
                             unsigned access)
{
    struct side d;
    uint64_t offset = address_get(&v->s, reg, o->addrsize);
    d.linear = bt_linear(v, seg, offset, o->size, access);
    alignment_check(v, d.linear, o->size);
    d.room = string_room(v, seg, offset, d.linear, o->size, o->addrsize, o->down);
    d.host = d.room ? bt_host_pointer(v, d.linear, access) : NULL;
    if (d.room && !d.host && access == BT_WRITE) d.host = overwrite(v, o, d.linear, d.room);
    d.is_device = d.room && !d.host && bt_is_device(v, d.linear, access, &d.gpa);
    if (v->stepping_shadow) d.room = MIN(d.room, 1ull);
    return d;
}

static bool is_piece(const struct side *d) { return d->host || d->is_device; }

static uint64_t host_read(const uint8_t *p, unsigned size)
{
    switch (size) {
    case 1: return *p;
    case 2: return *(const volatile uint16_t *)p;
    case 4: return *(const volatile uint32_t *)p;
    default: return *(const volatile uint64_t *)p;
    }
}

static uint64_t side_read(struct bt_vcpu *v, const struct string_op *o, const struct side *d)
{
    return d->host ? host_read(d->host, o->size) : bt_load(v, d->linear, o->size, BT_READ);
}

/* ---- MOVS ---- */

#define HOST_MOVS(suffix) \
    if (down) __asm__ volatile("std; rep movs" suffix "; cld" : "+D"(to), "+S"(from), "+c"(n) : : "memory"); \
    else __asm__ volatile("rep movs" suffix : "+D"(to), "+S"(from), "+c"(n) : : "memory")

static void host_movs(uint8_t *to, const uint8_t *from, uint64_t n, unsigned size, bool down)
{
    switch (size) {
    case 1: HOST_MOVS("b"); break;
    case 2: HOST_MOVS("w"); break;
    case 4: HOST_MOVS("l"); break;
    default: HOST_MOVS("q"); break;
    }
}

void helper_movs(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct string_op o = string_begin(v, insn);
    if (!o.count) return;
    for (;;) {
        uint64_t n = 1, value = 0;
        struct side from = side_make(v, &o, insn->seg, REG_RSI, BT_READ);
        if (!is_piece(&from)) value = bt_load(v, from.linear, o.size, BT_READ);
        struct side to = side_make(v, &o, SEG_ES, REG_RDI, BT_WRITE);
        if (is_piece(&from) && is_piece(&to)) {
            n = MIN(o.count, MIN(from.room, to.room));
            if (from.host && to.host) host_movs(to.host, from.host, n, o.size, o.down);
            else n = bt_string_io(v, &(struct bt_string_side){ from.host, from.gpa }, &(struct bt_string_side){ to.host, to.gpa }, 0, o.size, n, o.down);
        } else {
            if (is_piece(&from)) value = side_read(v, &o, &from);
            bt_store(v, to.linear, value, o.size, BT_WRITE);
        }
        if (!string_advance(v, &o, n, true, true)) return;
        string_pause(v);
    }
}

/* ---- STOS ---- */

#define HOST_STOS(suffix) \
    if (down) __asm__ volatile("std; rep stos" suffix "; cld" : "+D"(to), "+c"(n) : "a"(value) : "memory"); \
    else __asm__ volatile("rep stos" suffix : "+D"(to), "+c"(n) : "a"(value) : "memory")

static void host_stos(uint8_t *to, uint64_t value, uint64_t n, unsigned size, bool down)
{
    switch (size) {
    case 1: HOST_STOS("b"); break;
    case 2: HOST_STOS("w"); break;
    case 4: HOST_STOS("l"); break;
    default: HOST_STOS("q"); break;
    }
}

void helper_stos(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct string_op o = string_begin(v, insn);
    uint64_t value = v->s.gpr[REG_RAX] & mask_of_size(o.size);
    if (!o.count) return;
    for (;;) {
        uint64_t n = 1;
        struct side to = side_make(v, &o, SEG_ES, REG_RDI, BT_WRITE);
        if (is_piece(&to)) {
            n = MIN(o.count, to.room);
            if (to.host) host_stos(to.host, value, n, o.size, o.down);
            else n = bt_string_io(v, NULL, &(struct bt_string_side){ NULL, to.gpa }, value, o.size, n, o.down);
        } else {
            bt_store(v, to.linear, value, o.size, BT_WRITE);
        }
        if (!string_advance(v, &o, n, false, true)) return;
        string_pause(v);
    }
}

/* ---- LODS ---- */

void helper_lods(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct string_op o = string_begin(v, insn);
    if (!o.count) return;
    for (;;) {
        uint64_t n = 1;
        struct side from = side_make(v, &o, insn->seg, REG_RSI, BT_READ);
        if (from.host) {               /* only the last element of the piece is seen */
            n = MIN(o.count, from.room);
            from.host += (o.down ? -(int64_t)o.size : (int64_t)o.size) * (int64_t)(n - 1);
        }
        gpr_set(&v->s, REG_RAX, side_read(v, &o, &from), o.size);
        if (!string_advance(v, &o, n, true, false)) return;
        string_pause(v);
    }
}

/* ---- SCAS, CMPS ---- */

/* After one more comparison: does the repeat prefix go on? */
static bool goes_on(const struct x86_insn *insn, uint64_t a, uint64_t b)
{
    return (a == b) == (insn->rep == 0xf3);
}

void helper_scas(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct string_op o = string_begin(v, insn);
    uint64_t a = v->s.gpr[REG_RAX] & mask_of_size(o.size);
    int64_t step = o.down ? -(int64_t)o.size : (int64_t)o.size;
    if (!o.count) return;
    for (;;) {
        uint64_t n = 1, b;
        struct side in = side_make(v, &o, SEG_ES, REG_RDI, BT_READ);
        if (in.host) {
            uint64_t most = MIN(o.count, in.room);
            const uint8_t *p = in.host;
            while (b = host_read(p, o.size), n < most && goes_on(insn, a, b)) {
                p += step;
                n++;
            }
        } else {
            b = bt_load(v, in.linear, o.size, BT_READ);
        }
        bool more = string_advance(v, &o, n, false, true);
        if (!more || !goes_on(insn, a, b)) {
            arith_flags_set(&v->s, subtraction_flags(a, b, o.size));
            return;
        }
        if (bt_wanted(v) || v->stepping_shadow) arith_flags_set(&v->s, subtraction_flags(a, b, o.size));
        string_pause(v);
    }
}

void helper_cmps(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct string_op o = string_begin(v, insn);
    int64_t step = o.down ? -(int64_t)o.size : (int64_t)o.size;
    if (!o.count) return;
    for (;;) {
        uint64_t n = 1, a, b;
        struct side first = side_make(v, &o, insn->seg, REG_RSI, BT_READ);
        if (!first.host) a = bt_load(v, first.linear, o.size, BT_READ);
        struct side second = side_make(v, &o, SEG_ES, REG_RDI, BT_READ);
        if (first.host && second.host) {
            uint64_t most = MIN(o.count, MIN(first.room, second.room));
            const uint8_t *p = first.host, *q = second.host;
            while (a = host_read(p, o.size), b = host_read(q, o.size), n < most && goes_on(insn, a, b)) {
                p += step;
                q += step;
                n++;
            }
        } else {
            if (first.host) a = host_read(first.host, o.size);
            b = side_read(v, &o, &second);
        }
        bool more = string_advance(v, &o, n, true, true);
        if (!more || !goes_on(insn, a, b)) {
            arith_flags_set(&v->s, subtraction_flags(a, b, o.size));
            return;
        }
        if (bt_wanted(v) || v->stepping_shadow) arith_flags_set(&v->s, subtraction_flags(a, b, o.size));
        string_pause(v);
    }
}
