/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * String instructions in the engine against a model that does one element at a time: all five, every size,
 * address size, repeat prefix, direction, mode; segments with small limits, pages that are missing,
 * read-only, permuted or device memory, counts that end inside, at and behind page borders, overlapping
 * moves.
 *     strings [cases]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bits.h"
#include "bench.h"

enum {
    WINDOW = 0x200000,
    WINDOW_PAGES = 8,
    WINDOW_BYTES = WINDOW_PAGES * BENCH_PAGE,
    REAL_WINDOW = 0x40000,
    REAL_BYTES = 0x18000,
    DEFAULT_CASES = 300000,
    FLAT_BASE16 = WINDOW - 0x4000
};
enum op { MOVS, CMPS, STOS, LODS, SCAS, OPS };
static const uint8_t opcode[OPS] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };

struct page { gpa_t gpa; unsigned rights; };
struct model {
    struct bench *b;
    enum bench_mode mode;
    unsigned cpl;
    struct x86_state s;
    struct page page[WINDOW_PAGES];
    uint8_t window[WINDOW_BYTES], device[BENCH_PAGE], real[REAL_BYTES];
    unsigned vector;                   /* BENCH_DONE or the fault */
    uint32_t error;
    uint64_t cr2;
};
struct variant { enum op op; unsigned size, addrsize; uint8_t rep, seg; uint32_t at; unsigned len; };

static uint64_t seed = 20240611;
static uint64_t pick(uint64_t n) { return bench_random(&seed) % n; }

static bool fault(struct model *m, unsigned vector, uint32_t error, uint64_t cr2)
{
    m->vector = vector;
    m->error = m->mode == BENCH_REAL ? 0 : error;
    m->cr2 = cr2;
    return false;
}

/* Where the byte at linear is kept; NULL: fault. */
static uint8_t *byte_at(struct model *m, uint64_t linear, bool write, uint64_t fault_linear)
{
    if (m->mode == BENCH_REAL) return &m->real[linear - REAL_WINDOW];
    if (linear < WINDOW || linear >= WINDOW + WINDOW_BYTES) return NULL;
    const struct page *p = &m->page[(linear - WINDOW) / BENCH_PAGE];
    uint32_t error = (write ? 2 : 0) | (m->cpl ? 4 : 0);
    if (!(p->rights & MAP_PRESENT)) return fault(m, 14, error, fault_linear), NULL;
    if ((m->cpl && !(p->rights & MAP_USER)) || (write && !(p->rights & MAP_WRITABLE)))
        return fault(m, 14, error | 1, fault_linear), NULL;
    if (p->gpa == BENCH_DEVICE) return &m->device[linear % BENCH_PAGE];
    return &m->window[p->gpa - WINDOW + linear % BENCH_PAGE];
}

static bool locate(struct model *m, unsigned seg, uint64_t offset, unsigned size, bool write,
                   uint64_t *linear)
{
    const struct segment *g = &m->s.seg[seg];
    *linear = m->mode == BENCH_LONG ? offset : (uint32_t)(g->base + offset);
    if (m->mode == BENCH_LONG) return true;
    uint64_t last = offset + size - 1;
    bool down = m->mode != BENCH_REAL && (g->attr & 4);
    if (down ? offset <= g->limit || last > (g->attr & SEG_ATTR_DB ? 0xffffffff : 0xffff) : last > g->limit)
        return fault(m, 13, 0, 0);
    return true;
}

/* One element at linear; nothing is written unless all of it can be. */
static bool element(struct model *m, uint64_t linear, unsigned size, bool write, uint64_t *value)
{
    uint8_t *at[8];
    for (unsigned i = 0; i < size; i++) {
        uint64_t here = linear + i;
        at[i] = byte_at(m, here, write, i && here % BENCH_PAGE == 0 ? here : linear);
        if (!at[i]) return false;
    }
    if (!write) *value = 0;
    for (unsigned i = 0; i < size; i++) {
        if (write) *at[i] = *value >> (8 * i);
        else *value |= (uint64_t)*at[i] << (8 * i);
    }
    return true;
}

static bool access_at(struct model *m, unsigned seg, unsigned reg, const struct variant *t, bool write,
                      uint64_t *value)
{
    uint64_t mask = t->addrsize == 8 ? ~0ull : (1ull << (8 * t->addrsize)) - 1, linear;
    return locate(m, seg, m->s.gpr[reg] & mask, t->size, write, &linear) &&
           element(m, linear, t->size, write, value);
}

static void put(uint64_t *reg, uint64_t value, unsigned size)
{
    if (size == 8) *reg = value;
    else if (size == 4) *reg = (uint32_t)value;
    else *reg = size == 2 ? (*reg & ~0xffffull) | (uint16_t)value : (*reg & ~0xffull) | (uint8_t)value;
}

static uint64_t compare_flags(uint64_t a, uint64_t b, unsigned size)
{
    uint64_t flags;
    switch (size) {
    case 1: __asm__("cmpb %b2, %b1; pushfq; popq %0" : "=r"(flags) : "q"(a), "q"(b) : "cc"); break;
    case 2: __asm__("cmpw %w2, %w1; pushfq; popq %0" : "=r"(flags) : "r"(a), "r"(b) : "cc"); break;
    case 4: __asm__("cmpl %k2, %k1; pushfq; popq %0" : "=r"(flags) : "r"(a), "r"(b) : "cc"); break;
    default: __asm__("cmpq %2, %1; pushfq; popq %0" : "=r"(flags) : "r"(a), "r"(b) : "cc"); break;
    }
    return flags & RFLAGS_ARITH;
}

static bool iteration(struct model *m, const struct variant *t, uint64_t *a, uint64_t *b)
{
    *a = m->s.gpr[REG_RAX] & (t->size == 8 ? ~0ull : (1ull << (8 * t->size)) - 1);
    if (t->op == MOVS || t->op == CMPS || t->op == LODS)
        if (!access_at(m, t->seg, REG_RSI, t, false, a)) return false;
    if (t->op == MOVS || t->op == STOS) return access_at(m, SEG_ES, REG_RDI, t, true, a);
    if (t->op == CMPS || t->op == SCAS) return access_at(m, SEG_ES, REG_RDI, t, false, b);
    put(&m->s.gpr[REG_RAX], *a, t->size);
    return true;
}

static void model_run(struct model *m, const struct variant *t)
{
    uint64_t mask = t->addrsize == 8 ? ~0ull : (1ull << (8 * t->addrsize)) - 1, a = 0, b = 0,
             flags = m->s.rflags;
    uint64_t count = t->rep ? m->s.gpr[REG_RCX] & mask : 1;
    uint64_t step = m->s.rflags & RFLAGS_DF ? -(uint64_t)t->size : t->size;
    bool compares = t->op == CMPS || t->op == SCAS;
    m->vector = BENCH_DONE;
    for (; count; count--) {
        if (!iteration(m, t, &a, &b)) return;
        if (t->op != STOS && t->op != SCAS) put(&m->s.gpr[REG_RSI], m->s.gpr[REG_RSI] + step, t->addrsize);
        if (t->op != LODS) put(&m->s.gpr[REG_RDI], m->s.gpr[REG_RDI] + step, t->addrsize);
        if (t->rep) put(&m->s.gpr[REG_RCX], count - 1, t->addrsize);
        if (compares) flags = (m->s.rflags & ~(uint64_t)RFLAGS_ARITH) | compare_flags(a, b, t->size);
        if (compares && t->rep && (a == b) != (t->rep == 0xf3)) break;
    }
    m->s.rflags = flags;
}

/* ---- Cases ---- */

static unsigned variants_make(struct bench *b, enum bench_mode mode, struct variant *v)
{
    static const uint8_t reps[] = { 0, 0xf3, 0xf2 };
    unsigned n = 0, max_size = mode == BENCH_LONG ? 8 : 4,
             big = mode == BENCH_LONG     ? 8
                   : mode == BENCH_PROT32 ? 4
                                          : 2;
    for (unsigned op = 0; op < OPS; op++)
        for (unsigned size = 1; size <= max_size; size *= 2)
            for (unsigned other = 0; other < 2; other++)
                for (unsigned rep = 0; rep < 3; rep++) {
                    uint8_t code[8];
                    unsigned k = 0, normal = mode == BENCH_REAL || mode == BENCH_PROT16 ? 2 : 4;
                    struct variant t = { op,        size,   other ? (big == 4 ? 2 : 4) : big,
                                         reps[rep], SEG_DS, 0x10000 + n * 16,
                                         0 };
                    if (other) code[k++] = 0x67;
                    if (rep == 2) t.seg = SEG_FS, code[k++] = 0x64;
                    if (reps[rep]) code[k++] = reps[rep];
                    if (size == 8) code[k++] = 0x48;
                    else if (size > 1 && size != normal) code[k++] = 0x66;
                    code[k++] = opcode[op] | (size > 1);
                    t.len = k;
                    t.at += BENCH_CODE - 0x10000;
                    bench_code(b, t.at, code, k);
                    v[n++] = t;
                }
    return n;
}

static void pages_pick(struct model *m)
{
    for (unsigned i = 0; i < WINDOW_PAGES; i++) {
        unsigned what = pick(20);
        struct page *p = &m->page[i];
        p->gpa = what == 0 ? BENCH_DEVICE : WINDOW + pick(4) / 3 * pick(WINDOW_PAGES) * BENCH_PAGE + 0;
        if (what && p->gpa == WINDOW) p->gpa = WINDOW + i * BENCH_PAGE;
        p->rights = what == 1   ? MAP_NONE
                    : what == 2 ? MAP_PRESENT | MAP_USER
                    : what == 3 ? MAP_PRESENT | MAP_WRITABLE
                                : MAP_ALL;
        bench_map(m->b, WINDOW + i * BENCH_PAGE, p->gpa, p->rights);
    }
}

static void segments_pick(struct model *m, const struct variant *t)
{
    for (unsigned seg = 0; seg < SEG_COUNT; seg++) {
        struct segment *g = &m->s.seg[seg];
        if (seg == SEG_CS || seg == SEG_SS || m->mode == BENCH_LONG) continue;
        if (m->mode == BENCH_REAL) {
            g->selector = (REAL_WINDOW + pick(3) * 0x4000) >> 4;
            g->base = g->selector << 4;
            continue;
        }
        if (t->addrsize == 2 || pick(2)) g->base = FLAT_BASE16;
        if (pick(8) == 0) {            /* a limit inside the window */
            g->attr &= ~SEG_ATTR_G;
            g->limit = WINDOW + pick(WINDOW_BYTES) - g->base;
        } else if (pick(16) == 0) {
            g->attr = (g->attr | 4) & ~(pick(2) ? (uint32_t)SEG_ATTR_DB : 0);
            g->limit = WINDOW + pick(WINDOW_BYTES) - g->base;
        }
    }
}

/* An offset in seg such that the first element lies in the window, often near a page border. */
static uint64_t offset_pick(const struct model *m, unsigned seg, const struct variant *t)
{
    if (m->mode == BENCH_REAL) return pick(4) ? pick(0x10000) : pick(2) ? pick(64) : 0xffff - pick(64);
    uint64_t linear = WINDOW + 64 +
                      (pick(2) ? pick(WINDOW_BYTES - 128)
                               : (1 + pick(WINDOW_PAGES - 1)) * BENCH_PAGE - 96 + pick(64));
    uint64_t base = m->mode == BENCH_LONG ? 0 : m->s.seg[seg].base;
    return linear - base;
}

/* So many elements that none leaves the window (the model knows nothing outside). */
static uint64_t count_pick(const struct model *m, const struct variant *t)
{
    uint64_t most = 5000;
    static const unsigned reg[2] = { REG_RSI, REG_RDI };
    for (unsigned i = 0; i < 2; i++) {
        unsigned seg = i ? SEG_ES : t->seg;
        uint64_t linear = m->s.gpr[reg[i]] + (m->mode == BENCH_LONG ? 0 : m->s.seg[seg].base);
        uint64_t room = m->s.rflags & RFLAGS_DF ? linear - WINDOW : WINDOW + WINDOW_BYTES - linear;
        if (m->mode != BENCH_REAL) most = MIN(most, room / t->size);
    }
    return pick(3) ? MIN(most, pick(40)) : pick(most + 1);
}

static void registers_pick(struct model *m, const struct variant *t)
{
    struct x86_state *s = &m->s;
    for (unsigned i = 0; i < 16; i++)
        if (i != REG_RSP) s->gpr[i] = bench_random(&seed);
    s->rflags |= (bench_random(&seed) & RFLAGS_ARITH) | (pick(3) ? 0 : RFLAGS_DF);
    uint64_t keep = t->addrsize == 2 ? ~0xffffull : t->addrsize == 4 ? ~0xffffffffull : 0;
    uint64_t si = offset_pick(m, t->seg, t), di = pick(4) ? offset_pick(m, SEG_ES, t) : si + pick(32) - 16;
    if (m->mode == BENCH_REAL) di &= 0xffff, si &= 0xffff;
    uint64_t junk[3] = { s->gpr[REG_RSI] & keep, s->gpr[REG_RDI] & keep, s->gpr[REG_RCX] & keep };
    s->gpr[REG_RSI] = si;
    s->gpr[REG_RDI] = m->mode == BENCH_REAL ||
                              (m->mode != BENCH_LONG && s->seg[SEG_ES].base != s->seg[t->seg].base)
                          ? offset_pick(m, SEG_ES, t)
                          : di;
    uint64_t count = count_pick(m, t);
    s->gpr[REG_RSI] = (si & ~keep) | junk[0];
    s->gpr[REG_RDI] = (s->gpr[REG_RDI] & ~keep) | junk[1];
    s->gpr[REG_RCX] = count | junk[2];
    if (pick(4) == 0) put(&s->gpr[REG_RAX], 0, t->size);
}

static void memory_pick(struct model *m)
{
    unsigned style = pick(4);
    uint8_t *p = m->mode == BENCH_REAL ? m->real : m->window;
    size_t n = m->mode == BENCH_REAL ? REAL_BYTES : WINDOW_BYTES;
    size_t from = pick(n), many = MIN(n - from, 1 + pick(8192));
    for (size_t i = from; i < from + many; i++)
        p[i] = style == 0 ? 0 : style == 1 ? 'a' : bench_random(&seed) >> 56;
    memcpy(m->b->ram + (m->mode == BENCH_REAL ? REAL_WINDOW : WINDOW), p, n);
    if (pick(8) == 0) {
        for (unsigned i = 0; i < BENCH_PAGE; i++) m->device[i] = style ? bench_random(&seed) >> 56 : 0;
        memcpy(m->b->device, m->device, BENCH_PAGE);
    }
}

static bool check(const struct model *m, const struct variant *t, const struct result *r, uint64_t rip)
{
    const char *bad = NULL;
    if (r->vector != m->vector) bad = "vector";
    else if (r->vector != BENCH_DONE && r->error != m->error) bad = "error code";
    else if (r->vector == 14 && r->s.cr2 != m->cr2) bad = "CR2";
    else if (r->rip != rip + (r->vector == BENCH_DONE ? t->len + 2 : 0)) bad = "RIP";
    else if ((r->rflags ^ m->s.rflags) & (RFLAGS_ARITH | RFLAGS_DF)) bad = "flags";
    else if (m->mode == BENCH_REAL ? memcmp(m->b->ram + REAL_WINDOW, m->real, REAL_BYTES)
                                   : memcmp(m->b->ram + WINDOW, m->window, WINDOW_BYTES))
        bad = "memory";
    else if (memcmp(m->b->device, m->device, BENCH_PAGE)) bad = "device memory";
    for (unsigned i = 0; i < 16 && !bad; i++)
        if (i != REG_RSP && r->s.gpr[i] != m->s.gpr[i]) bad = "registers";
    if (!bad) return true;
    printf("FAIL %s: mode %d cpl %u op %d size %u address size %u rep %02x: vector %u (want %u) error %x "
           "(%x) cr2 %lx (%lx) rip %lx "
           "rsi %lx (%lx) rdi %lx (%lx) rcx %lx (%lx) rax %lx (%lx) flags %lx (%lx)\n",
           bad, m->mode, m->cpl, t->op, t->size, t->addrsize, t->rep, r->vector, m->vector, r->error,
           m->error, (unsigned long)r->s.cr2, (unsigned long)m->cr2, (unsigned long)r->rip,
           (unsigned long)r->s.gpr[REG_RSI], (unsigned long)m->s.gpr[REG_RSI],
           (unsigned long)r->s.gpr[REG_RDI], (unsigned long)m->s.gpr[REG_RDI],
           (unsigned long)r->s.gpr[REG_RCX], (unsigned long)m->s.gpr[REG_RCX],
           (unsigned long)r->s.gpr[REG_RAX], (unsigned long)m->s.gpr[REG_RAX], (unsigned long)r->rflags,
           (unsigned long)m->s.rflags);
    return false;
}

int main(int argc, char **argv)
{
    unsigned long cases = argc > 1 ? strtoul(argv[1], NULL, 0) : DEFAULT_CASES, done = 0, faults[32] = { 0 },
                  failed = 0;
    static struct model m;
    static struct variant v[256];
    static struct result r;
    struct bench *b = m.b = bench_new();
    if (!b) return 1;
    printf("seed %lu\n", (unsigned long)seed);
    for (unsigned mode = 0; mode < BENCH_MODES && failed < 10; mode++) {
        m.mode = mode;
        unsigned count = variants_make(b, mode, v);
        for (unsigned long i = 0; i < cases / BENCH_MODES && failed < 10; i++, done++) {
            const struct variant *t = &v[pick(count)];
            m.cpl = mode == BENCH_REAL || pick(2) ? 0 : 3;
            bench_state(b, &m.s, mode, m.cpl);
            m.s.rip += t->at - BENCH_CODE;
            pages_pick(&m);
            segments_pick(&m, t);
            memory_pick(&m);
            registers_pick(&m, t);
            struct x86_state start = m.s;
            model_run(&m, t);
            bench_run(b, &start, mode, &r);
            if (m.vector != BENCH_DONE) faults[m.vector & 31]++;
            if (!check(&m, t, &r, start.rip)) failed++;
        }
    }
    printf("%lu string instructions, %lu ended in #PF, %lu in #GP: %lu differ from the model\n", done,
           faults[14], faults[13], failed);
    bench_free(b);
    return failed ? 1 : 0;
}
