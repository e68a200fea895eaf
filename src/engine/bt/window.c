/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Windows: user programs that run for long reach their memory without any check by the translator. A window is 512 GiB of the
 * host's address space, as much as one entry of the guest's topmost page table covers, with room on both sides that
 * nothing is ever mapped in. Pages of guest RAM are mapped a second time in it, where the guest's linear addresses want them and with
 * the guest's rights. Generated code adds an addend that nine bits of the address select (struct bt_vcpu's window[]), and the host's MMU
 * does the rest: what is not mapped, or not writable, faults, and the handler (signal.c) asks here.
 *
 * So a window is one more TLB, and holds what a TLB may hold: it belongs to an address space number (tlb.c), is left behind with it
 * when that is flushed, and loses a page at INVLPG. Pages with translated code are never writable in one.
 *
 * Other addresses cannot reach anything: bits 39 to 63 select the addend, and only the user's 256 pieces can have a window. Pieces without one,
 * and the next 256, have the addend of a window that stays empty; behind those the table is not mapped. (Displacements are added later: an addend of
 * 0 would let an address just above the user's come down to the host's own.)
 *
 * A page costs some microseconds to map (a signal, mremap, a page fault of the host), as much as hundreds of misses of the softmmu
 * TLB. Only address spaces that timer interrupts find at work get windows, and those that spend too much on them lose them for a while.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "engine/bt/translate.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define WINDOW_STRIDE (WINDOW_BYTES + WINDOW_BORDER)
#define POOL_BYTES (64ull << 40)
/* Cycles: what a mapped page costs, and a fault that did not lead to one; which part of its time an address space may spend on that; how
 * much it can save up, and what it must have to begin (again). */
enum { HOT_TICKS = 3, PLACE_MANY = 1, COST_MAPPED = 15000, COST_IN_VAIN = 25000, SPECIAL_MAX = 16, CREDIT = 8, CREDIT_MAX = 10000000,
       CREDIT_ON = 4000000 };

static void lock(struct bt_vcpu *v) { while (__atomic_exchange_n(&v->windows.lock, 1, __ATOMIC_ACQUIRE)) __builtin_ia32_pause(); }
static void unlock(struct bt_vcpu *v) { __atomic_store_n(&v->windows.lock, 0, __ATOMIC_RELEASE); }

static uint8_t *window_start(const struct bt_vcpu *v, unsigned n) { return v->windows.base + WINDOW_BORDER + n * WINDOW_STRIDE; }

static uint64_t addend_of(const struct bt_vcpu *v, unsigned n, unsigned piece)
{
    return (uint64_t)window_start(v, n) - ((uint64_t)piece << 39);
}

/* An addend changes. */
static void forget_near(struct bt_vcpu *v)
{
    for (int g = 0; g < 16; g++) v->near[g].piece = ~0ull;
}

/* false: the process has as many mappings as the host allows. */
static bool nothing_mapped(void *at, uint64_t bytes)
{
    return mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

/* At the start of a vCPU's life. Without windows it works as well. */
void bt_windows_init(struct bt_vcpu *v)
{
    struct windows *w = &v->windows;
    unsigned count = MIN(POOL_BYTES / v->engine->vcpu_count / WINDOW_STRIDE, (uint64_t)WINDOWS);
    const struct ram_block *ram = v->engine->config.ram;
    const char *wish = getenv("OSPITE_BT_WINDOWS");
    w->always = wish && !strcmp(wish, "always");
    if (count < 4 || v->engine->config.no_windows || (ram && !ram->shared)) return;
    w->window_count = count;
    w->bytes = count * WINDOW_STRIDE + WINDOW_BORDER;
    w->base = mmap(NULL, w->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    w->place = mmap(NULL, v->engine->page_count * sizeof(*w->place), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    w->mapped = mmap(NULL, count * (WINDOW_BYTES / PAGE_BYTES / 8), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w->base == MAP_FAILED || w->place == MAP_FAILED || w->mapped == MAP_FAILED) return;
    w->count = count;
    forget_near(v);
    for (unsigned i = 0; i < PAGE_BYTES / sizeof(v->window[0]); i++) v->window[i] = addend_of(v, 0, i);
}

/* Which pages of the windows are mapped: a bit each. */
static uint64_t *mapped_word(const struct bt_vcpu *v, unsigned n, uint64_t offset, uint64_t *bit)
{
    uint64_t page = offset / PAGE_BYTES;
    *bit = 1ull << page % 64;
    return v->windows.mapped + n * (WINDOW_BYTES / PAGE_BYTES / 64) + page / 64;
}

static void count_mappings(struct bt_vcpu *v, unsigned n, unsigned more)
{
    v->windows.window[n].mappings += more;
    v->windows.mappings += more;
}

static void window_empty(struct bt_vcpu *v, unsigned n)
{
    struct window *w = &v->windows.window[n];
    uint64_t bit;
    if (!w->mappings) return;
    if (!nothing_mapped(window_start(v, n), WINDOW_BYTES)) __builtin_trap();       /* one mapping instead of many */
    madvise(mapped_word(v, n, 0, &bit), WINDOW_BYTES / PAGE_BYTES / 8, MADV_DONTNEED);
    v->windows.mappings -= w->mappings;
    w->mappings = 0;
}

static void all_empty(struct bt_vcpu *v)
{
    for (unsigned n = 1; n < v->windows.count; n++) window_empty(v, n);
}

/* A hole in a mapping makes two of it. */
static void page_unmap(struct bt_vcpu *v, unsigned n, uint64_t offset)
{
    uint64_t bit, *word = mapped_word(v, n, offset, &bit);
    if (!(*word & bit)) return;
    *word &= ~bit;
    count_mappings(v, n, 2);
    if (!nothing_mapped(window_start(v, n) + offset, PAGE_BYTES)) window_empty(v, n);
    if (v->windows.mappings >= WINDOW_MAPPINGS / v->engine->vcpu_count) all_empty(v);
}

/* Addends for the present address space. */
static void install(struct bt_vcpu *v)
{
    forget_near(v);
    struct windows *w = &v->windows;
    for (unsigned n = 1; n < w->count; n++)
        if (w->window[n].asid == w->asid && w->asid) v->window[w->window[n].piece] = addend_of(v, 0, w->window[n].piece);
    w->asid = v->asid;
    for (unsigned n = 1; n < w->count; n++) {
        if (w->window[n].asid != w->asid) continue;
        v->window[w->window[n].piece] = addend_of(v, n, w->window[n].piece);
        w->window[n].used = ++w->clock;
    }
}

static struct window_space *space_of(struct bt_vcpu *v, uint64_t asid)
{
    struct window_space *s = &v->windows.space[asid % WINDOW_SPACES];
    if (s->asid != asid) *s = (struct window_space){ .asid = asid };
    return s;
}

/* An interrupt came while the user's code ran. */
void bt_windows_tick(struct bt_vcpu *v)
{
    if (!v->windows.count) return;
    struct window_space *s = space_of(v, v->asid);
    uint64_t now = __builtin_ia32_rdtsc(), since = now - s->since;
    s->since = now;
    if (s->heat < HOT_TICKS) {
        if (++s->heat == HOT_TICKS) s->credit = CREDIT_MAX;
    } else {
        s->credit = MIN(s->credit + (int64_t)MIN(since / CREDIT, (uint64_t)CREDIT_MAX), (int64_t)CREDIT_MAX);
    }
    if (s->credit >= CREDIT_ON) s->on = true;
}

static void pay(struct bt_vcpu *v, int64_t cost)
{
    struct window_space *s = space_of(v, v->asid);
    s->credit -= cost;
    if (s->credit >= 0 || !s->on) return;
    s->on = false;
    bt_gates_shut(v);
    bt_poke(v);                                        /* out of loops, too */
    v->count[COUNT_WINDOW_COSTLY]++;
}

/* The same address space has got a new number. */
void bt_windows_inherit(struct bt_vcpu *v, uint64_t from, uint64_t to)
{
    if (!v->windows.count) return;
    struct window_space old = *space_of(v, from), *s = space_of(v, to);
    *s = old;
    s->asid = to;
}

/* A window for a piece of the present address space; the block that runs may know the addends of all that it has. 0: none is free. */
static unsigned window_new(struct bt_vcpu *v, unsigned piece)
{
    struct windows *w = &v->windows;
    unsigned best = 0;
    for (unsigned n = 1; n < w->count; n++)
        if (w->window[n].asid != v->asid && (!best || w->window[n].used < w->window[best].used)) best = n;
    if (!best) return 0;
    window_empty(v, best);
    w->window[best] = (struct window){ .asid = v->asid, .piece = piece, .used = ++w->clock };
    v->window[piece] = addend_of(v, best, piece);
    forget_near(v);
    return best;
}

/* Pages of a window that become one mapping: first is mapped at an offset. */
struct run { uint64_t offset, count; gpa_t gpa; uint8_t *hva; bool writable, large; };

/* May the page beside a run be mapped with it? It has been accessed already, lies beside it in memory too and has the same rights. */
static bool continues(struct bt_vcpu *v, unsigned n, gva_t start, const struct run *r, uint64_t offset)
{
    uint64_t bit;
    bool readonly = false;
    gpa_t gpa = r->gpa + (offset - r->offset);
    if (*mapped_word(v, n, offset, &bit) & bit || bt_ram(v->engine, gpa, &readonly) != r->hva + (offset - r->offset) || readonly) return false;
    bool watched = bt_page_is_watched(v->engine, gpa);
    if (r->large) return r->writable == !watched;
    struct walk_result w = bt_walk(v, start + offset, BT_READ, true, false, false);
    return w.ok && PAGE_OF(w.gpa) == gpa && w.accessed && (w.writable && w.dirty && !watched) == r->writable;
}

/* Takes in what lies beside a page: within its large page, or some pages on both sides. */
static void run_grow(struct bt_vcpu *v, unsigned n, gva_t start, struct run *r)
{
    enum { AROUND = 32 * PAGE_BYTES };
    struct walk_result w = bt_walk(v, start + r->offset, BT_READ, true, false, false);
    /* The page may come from a TLB whose entry is older than the tables: nothing follows for its neighbours then. */
    if (!w.ok || PAGE_OF(w.gpa) != r->gpa || (r->writable && !(w.writable && w.dirty))) return;
    r->large = w.shift > 12;
    uint64_t size = r->large ? HUGE_BYTES : AROUND, low = r->offset & ~(size - 1), high = low + size;
    while (r->offset + r->count * PAGE_BYTES < high && continues(v, n, start, r, r->offset + r->count * PAGE_BYTES)) r->count++;
    while (r->offset > low && continues(v, n, start, r, r->offset - PAGE_BYTES)) {
        r->offset -= PAGE_BYTES;
        r->gpa -= PAGE_BYTES;
        r->hva -= PAGE_BYTES;
        r->count++;
    }
}

static void note_mapped(struct bt_vcpu *v, unsigned n, const struct run *r)
{
    for (uint64_t k = 0; k < r->count; k++) {
        uint64_t offset = r->offset + k * PAGE_BYTES, here = ((uint64_t)n << 40 | offset) + 2, bit, *word = mapped_word(v, n, offset, &bit);
        uint64_t *place = &v->windows.place[(r->gpa >> 12) + k];
        *word |= bit;
        if (r->writable) *place = *place && *place != here ? PLACE_MANY : here;
    }
}

static bool run_map(struct bt_vcpu *v, unsigned n, const struct run *r)
{
    uint8_t *at = window_start(v, n) + r->offset;
    uint64_t bytes = r->count * PAGE_BYTES;
    count_mappings(v, n, 1);
    if (mremap(r->hva, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED) {       /* private memory, of a frame buffer say */
        if (!nothing_mapped(at, bytes)) window_empty(v, n);
        return false;
    }
    if (!r->writable && mprotect(at, bytes, PROT_READ) < 0) {
        window_empty(v, n);
        return false;
    }
    if (r->count > 1) madvise(at, bytes, r->writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    note_mapped(v, n, r);
    return true;
}

/* Where in the windows is this address? false: in a border, or nowhere (as the place of an addend behind the table). */
static bool find(const struct bt_vcpu *v, uint64_t address, unsigned *n, uint64_t *offset)
{
    const struct windows *w = &v->windows;
    uint64_t from = address - (uint64_t)w->base - WINDOW_BORDER;
    if (!w->count || address < (uint64_t)w->base + WINDOW_BORDER || from >= w->count * WINDOW_STRIDE) return false;
    *n = from / WINDOW_STRIDE;
    *offset = from % WINDOW_STRIDE;
    return *offset < WINDOW_BYTES;
}

/* addend: of a piece without a window. */
static bool piece_of_addend(const struct bt_vcpu *v, uint64_t addend, unsigned *piece)
{
    *piece = ((uint64_t)window_start(v, 0) - addend) >> 39 & (WINDOW_PIECES - 1);
    return addend_of(v, 0, *piece) == addend;
}

/* Mapped, the access can be done again; mapped, but the block has the old addend; the guest's own fault, or none yet; nothing that a window
 * could show. */
enum outcome { MAPPED, MAPPED_ANEW, FAULTS, SPECIAL };

/* Maps the page of an offset in a piece of the present address space, whose window is n, 0: it has none yet. */
static enum outcome show(struct bt_vcpu *v, unsigned n, unsigned piece, uint64_t offset, bool write)
{
    struct windows *w = &v->windows;
    gva_t linear = ((uint64_t)piece << 39) + offset;
    const struct tlb_second *t = bt_tlb_look(v, MMU_USER, linear, write ? BT_WRITE : BT_READ);
    if (!t) {
        w->wanted = linear;
        w->wants_write = write;
        return FAULTS;
    }
    if (!t->hva || (write && t->rights & TLB_IS_ROM)) return SPECIAL;
    bool code = bt_page_is_watched(v->engine, t->gpa) &&
                (!write || __atomic_load_n(&v->engine->page_tbs[t->gpa >> 12], __ATOMIC_ACQUIRE) || !bt_page_unwatch(v, t->gpa));
    bool writable = (t->rights & (TLB_MAY_WRITE | TLB_IS_ROM)) == TLB_MAY_WRITE && !code;
    if (write && !writable) return SPECIAL;
    lock(v);
    if (writable && bt_page_is_watched(v->engine, t->gpa)) writable = false;       /* since just now */
    if (w->mappings >= WINDOW_MAPPINGS / v->engine->vcpu_count) all_empty(v);
    bool fresh = !n;
    if (fresh) n = window_new(v, piece);
    struct run r = { PAGE_OF(offset), 1, t->gpa, t->hva, writable, false };
    if (n) run_grow(v, n, linear - offset, &r);
    bool ok = n && (!write || writable) && run_map(v, n, &r);
    unlock(v);
    return !ok ? SPECIAL : fresh ? MAPPED_ANEW : MAPPED;
}

/* The same for an instruction that may have its addend elsewhere (group.c): by decoding it. Its RIP and registers are in v->s. */
static bool piece_of_operand(struct bt_vcpu *v, const struct tb *tb, const struct tb_insn *at, unsigned *piece)
{
    struct x86_insn i;
    bool readonly;
    const uint8_t *code = bt_ram(v->engine, PAGE_OF(tb->pc), &readonly);
    if (!code || at->guest + at->len > PAGE_BYTES || x86_decode(code + at->guest, at->len, X86_CODE64, &i) != X86_DECODE_OK || !t_plain_operand(&i)) return false;
    uint64_t linear = bt_effective_offset(v, &i) + (i.seg == SEG_FS || i.seg == SEG_GS ? v->s.seg[i.seg].base : 0);
    *piece = linear >> 39;
    return linear >> 39 < WINDOW_PIECES;
}

static enum outcome fault(struct bt_vcpu *v, const struct tb *tb, const struct tb_insn *at, uint64_t address, uint64_t addend, bool write)
{
    unsigned n, piece;
    uint64_t offset;
    if (v->windows.asid != v->asid) return FAULTS;
    if (!find(v, address, &n, &offset)) return SPECIAL;
    if (n) piece = v->windows.window[n].piece;
    else if (!piece_of_operand(v, tb, at, &piece) && !piece_of_addend(v, addend, &piece)) return SPECIAL;
    return show(v, n, piece, offset, write);
}

/* What the guest faulted at, it will access when it comes back, having mapped it. */
static void show_wanted(struct bt_vcpu *v)
{
    struct windows *w = &v->windows;
    gva_t linear = w->wanted;
    unsigned piece = linear >> 39;
    w->wanted = 0;
    for (unsigned n = 1; n < w->count; n++) {
        if (w->window[n].asid != v->asid || w->window[n].piece != piece) continue;
        enum outcome o = show(v, n, piece, linear & (WINDOW_BYTES - 1), w->wants_write);
        w->wanted = 0;
        if (o != MAPPED) return;
        v->count[COUNT_WINDOW_PAGE]++;
        pay(v, COST_MAPPED / 2);
    }
}

/* Does the user's code now run with windows? Called whenever it is entered. */
bool bt_windows_wanted(struct bt_vcpu *v)
{
    struct windows *w = &v->windows;
    if (!w->count) return false;
    const struct window_space *s = &w->space[v->asid % WINDOW_SPACES];
    if (!w->always && (s->asid != v->asid || !s->on)) return false;
    if (w->asid != v->asid) {
        lock(v);
        install(v);
        unlock(v);
        w->wanted = 0;
    } else if (w->wanted) {
        show_wanted(v);
    }
    return true;
}

static uint8_t *special_count(struct bt_engine *e, gpa_t pc)
{
    return &e->window_special[(pc >> 12) * 0x9e3779b97f4a7c15ull >> (64 - TB_HEAT_BITS)];
}

/* Is the code at pc one that keeps accessing what no window can show? It does without. */
bool bt_window_is_special(struct bt_engine *e, gpa_t pc) { return *special_count(e, pc) >= SPECIAL_MAX; }

/* Block tb faulted in an instruction at a host address, having added this addend perhaps; RIP and general registers are in v->s. true: the page
 * is mapped, the access can be done again. false: do the instruction without windows. */
bool bt_window_fault(struct bt_vcpu *v, const struct tb *tb, const struct tb_insn *at, uint64_t address, uint64_t addend, bool write)
{
    enum outcome o = fault(v, tb, at, address, addend, write);
    pay(v, o <= MAPPED_ANEW ? COST_MAPPED : COST_IN_VAIN);
    v->count[o <= MAPPED_ANEW ? COUNT_WINDOW_PAGE : o == FAULTS ? COUNT_WINDOW_FAULT : COUNT_WINDOW_SPECIAL]++;
    if (o == SPECIAL && !bt_window_is_special(v->engine, tb->pc) && ++*special_count(v->engine, tb->pc) == SPECIAL_MAX) {
        bt_code_lock(v);
        bt_invalidate(v->engine, PAGE_OF(tb->pc), PAGE_BYTES);
        bt_code_unlock(v);
    }
    return o == MAPPED;
}

/* INVLPG: other address spaces' too, as the page may be global. */
void bt_windows_drop_linear(struct bt_vcpu *v, gva_t linear)
{
    struct windows *w = &v->windows;
    if (!w->mappings) return;
    lock(v);
    for (unsigned n = 1; n < w->count; n++)
        if (w->window[n].mappings && w->window[n].piece == linear >> 39)
            page_unmap(v, n, PAGE_OF(linear) & (WINDOW_BYTES - 1));
    unlock(v);
}

/* A physical page is to be written no more without the engine seeing it. Any thread. */
void bt_windows_drop_write(struct bt_vcpu *v, gpa_t page)
{
    struct windows *w = &v->windows;
    if (!w->count || !w->place[page >> 12]) return;
    lock(v);
    uint64_t place = w->place[page >> 12];
    if (place == PLACE_MANY) {
        all_empty(v);
    } else if (place) {
        page_unmap(v, (place - 2) >> 40, (place - 2) & (WINDOW_BYTES - 1));
    }
    w->place[page >> 12] = 0;
    unlock(v);
}

void bt_windows_free(struct bt_vcpu *v)
{
    struct windows *w = &v->windows;
    if (w->base && w->base != MAP_FAILED) munmap(w->base, w->bytes);
    if (w->place && w->place != MAP_FAILED) munmap(w->place, v->engine->page_count * sizeof(*w->place));
    if (w->mapped && w->mapped != MAP_FAILED) munmap(w->mapped, w->window_count * (WINDOW_BYTES / PAGE_BYTES / 8));
}
