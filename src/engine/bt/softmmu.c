/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The softmmu behind the TLB (tlb.c) that generated code looks at: faults, device memory, page crossings, watched pages.
 *
 * An access that cannot go to RAM directly goes to a bounce buffer of its vCPU: the slow path fills it with the old
 * bytes, generated code works on it as if it were memory, and bt_commit stores it afterwards. All faults are taken
 * before the buffer is handed out. That is not atomic, so when there are several vCPUs a locked instruction is started
 * again in a block of its own, with nobody else running.
 *
 * Pages with translated code have no write entry: their writes come here, where the blocks that they change are
 * dropped, under the code lock, so that nobody translates what is half written; when the block that is running would
 * change itself, its instruction is started again in a block of its own.
 */
#include "engine/bt/bt_private.h"

/* ---- Watchpoints: the guest's DR0-3 and the debugger's ---- */

static bool overlaps(gva_t a, uint64_t an, gva_t b, uint64_t bn) { return a - b < bn || b - a < an; }

bool bt_is_watching(const struct bt_vcpu *v)
{
    return v->debug.has_data || (v->s.dr[7] & 0xff && (v->s.dr[7] & 0x33330000));
}

/* Bits 0-3: guest's breakpoints hit by this access; bits 16 and up: the first of the debugger's, its index plus one. */
static uint32_t watch_hits(struct bt_vcpu *v, gva_t linear, uint64_t size, bool write)
{
    uint32_t hits = 0;
    for (int i = 0; i < 4; i++) {
        unsigned type = (v->s.dr[7] >> (16 + 4 * i)) & 3, code = (v->s.dr[7] >> (18 + 4 * i)) & 3;
        unsigned length = code == 2 ? 8 : code + 1;
        if (!((v->s.dr[7] >> (2 * i)) & 3) || !(type & 1) || (type == 1 && !write)) continue;
        if (overlaps(linear, size, v->s.dr[i] & ~(uint64_t)(length - 1), length)) hits |= 1u << i;
    }
    for (unsigned i = 0; i < v->debug.wish.count && v->debug.has_data && !(hits >> 16); i++) {
        const struct engine_breakpoint *b = &v->debug.wish.breakpoint[i];
        if (b->type == 0 || (b->type == 1 && !write) || (b->type == 2 && write)) continue;
        if (overlaps(linear, size, b->address, b->size)) hits |= (i + 1) << 16;
    }
    return hits;
}

/* Leaves the access, and starts its instruction again in a block of its own. */
static _Noreturn void restart_single(struct bt_vcpu *v)
{
    bt_unwind(v);
    v->single_tb = true;
    bt_reenter(v);
}

/* The same, while no other vCPU runs. */
static _Noreturn void restart_exclusive(struct bt_vcpu *v)
{
    v->want_exclusive = true;
    restart_single(v);
}

static void watch_check(struct bt_vcpu *v, gva_t linear, uint64_t size, bool write)
{
    uint32_t hits = watch_hits(v, linear, size, write);
    if (!hits || v->catch) return;
    if (!v->stepping_shadow) restart_single(v);
    v->data_hit |= v->data_hit >> 16 ? hits & 15 : hits;
}

/* ---- Resolving one page ---- */

enum { HIT_RAM, HIT_CODE, HIT_IO };
struct hit { unsigned kind; uint8_t *hva; gpa_t gpa; };

static unsigned mmu_for(const struct bt_vcpu *v, unsigned access)
{
    const struct x86_state *s = &v->s;
    bool smap = s->cr4 & CR4_SMAP;
    if (access & BT_SYSTEM) return smap ? MMU_KERNEL_SMAP : MMU_KERNEL;
    if (x86_cpl(s) == 3) return MMU_USER;
    return smap && !(s->rflags & RFLAGS_AC) ? MMU_KERNEL_SMAP : MMU_KERNEL;
}

static bool is_code(struct bt_vcpu *v, gpa_t page, unsigned access)
{
    struct bt_engine *e = v->engine;
    if (!bt_page_is_watched(e, page)) return false;
    return access != BT_WRITE || __atomic_load_n(&e->page_tbs[page >> 12], __ATOMIC_ACQUIRE) || !bt_page_unwatch(v, page);
}

/* code: the page is known to be watched. false: the entry is not for writing because of that. */
static bool fill(struct bt_vcpu *v, unsigned idx, gva_t linear, const struct tlb_second *t, bool code)
{
    bool writable = (t->rights & (TLB_MAY_WRITE | TLB_IS_ROM)) == TLB_MAY_WRITE;
    bt_tlb_fill(v, idx, linear, t, writable && !code);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);           /* see bt_page_watch */
    if (!writable || (!code && !bt_page_is_watched(v->engine, t->gpa))) return true;
    bt_tlb_drop_write_at(v, idx, linear);
    return false;
}

/* Raises what the access is not allowed; fills the TLB where the page is plain memory. */
static struct hit resolve(struct bt_vcpu *v, unsigned idx, gva_t linear, unsigned access)
{
    const struct softmmu *m = &v->mmu[idx];
    unsigned slot = bt_tlb_slot(v, linear);
    gva_t page = PAGE_OF(linear);
    if (m->entry[slot].tag[access] + page == 0)
        return (struct hit){ HIT_RAM, (uint8_t *)(linear + m->entry[slot].addend), PAGE_OF(m->gpa[slot]) | PAGE_OFFSET(linear) };
    const struct tlb_second *t = bt_tlb_translate(v, idx, linear, access);
    struct hit h = { HIT_RAM, t->hva + PAGE_OFFSET(linear), t->gpa | PAGE_OFFSET(linear) };
    if (!t->hva || (t->rights & TLB_IS_ROM && access == BT_WRITE)) {
        h.kind = HIT_IO;
        return h;
    }
    bool code = is_code(v, t->gpa, access);
    if (access == BT_WRITE && code) h.kind = HIT_CODE;
    if (bt_is_watching(v) && (watch_hits(v, page, PAGE_BYTES, true) | watch_hits(v, page, PAGE_BYTES, false))) return h;
    if (fill(v, idx, linear, t, code) || access != BT_WRITE) return h;
    h.kind = HIT_CODE;
    v->mmu[idx].gpa[bt_tlb_slot(v, linear)] |= TLB_BESIDE_CODE;
    return h;
}

gpa_t bt_fetch_translate(struct bt_vcpu *v, gva_t linear, bool *io)
{
    unsigned idx = x86_cpl(&v->s) == 3 ? MMU_USER : MMU_KERNEL, slot = bt_tlb_slot(v, linear);
    const struct softmmu *m = &v->mmu[idx];
    *io = false;
    if (m->entry[slot].fetch != bt_fetch_key(linear, m->fetch_gpa[slot])) {
        const struct tlb_second *t = bt_tlb_translate(v, idx, linear, BT_FETCH);
        if (!t->hva) {
            *io = true;
            return t->gpa | PAGE_OFFSET(linear);
        }
        bt_tlb_fill_fetch(v, idx, linear, t);
    }
    if (!(m->fetch_gpa[slot] & TLB_GLOBAL)) v->fetch_local = true;
    if (v->tbflags & TBF_RIP) bt_guard_note(v, idx, linear, m->fetch_gpa[slot]);
    return PAGE_OF(m->fetch_gpa[slot]) | PAGE_OFFSET(linear);
}

/* ---- Device memory ---- */

struct mmio_call { gpa_t gpa; uint8_t *data; unsigned size; bool write; };
static void mmio_in_host(struct bt_vcpu *v, void *arg)
{
    struct mmio_call *c = arg;
    v->count[COUNT_MMIO]++;
    const struct engine_host *h = &v->engine->config.host;
    for (unsigned done = 0; done < c->size;) {
        unsigned n = c->size - done >= 8 ? 8 : c->size - done >= 4 ? 4 : c->size - done >= 2 ? 2 : 1;
        h->mmio(h->opaque, v->base.index, c->gpa + done, c->data + done, n, c->write);
        done += n;
    }
}

void bt_mmio(struct bt_vcpu *v, gpa_t gpa, void *data, unsigned size, bool write)
{
    struct mmio_call c = { gpa, data, size, write };
    bt_host_call(v, mmio_in_host, &c);
}

static void put(uint8_t *to, const uint8_t *from, unsigned size)
{
    if (size == 8) __atomic_store_n((uint64_t *)to, *(const uint64_t *)from, __ATOMIC_RELAXED);
    else if (size == 4) __atomic_store_n((uint32_t *)to, *(const uint32_t *)from, __ATOMIC_RELAXED);
    else if (size == 2) __atomic_store_n((uint16_t *)to, *(const uint16_t *)from, __ATOMIC_RELAXED);
    else bt_copy(to, from, size);
}

static void get(uint8_t *to, const uint8_t *from, unsigned size)
{
    if (size == 8) *(uint64_t *)to = __atomic_load_n((const uint64_t *)from, __ATOMIC_RELAXED);
    else if (size == 4) *(uint32_t *)to = __atomic_load_n((const uint32_t *)from, __ATOMIC_RELAXED);
    else if (size == 2) *(uint16_t *)to = __atomic_load_n((const uint16_t *)from, __ATOMIC_RELAXED);
    else bt_copy(to, from, size);
}

struct string_call { struct bt_string_side from, to; uint64_t value, count, done; unsigned size; bool down, is_fill; };

static void side_move(struct bt_vcpu *v, const struct bt_string_side *s, int64_t at, uint64_t *value, unsigned size, bool write)
{
    const struct engine_host *h = &v->engine->config.host;
    if (s->host) {
        if (write) put(s->host + at, (const uint8_t *)value, size);
        else get((uint8_t *)value, s->host + at, size);
    } else {
        v->count[COUNT_MMIO]++;
        h->mmio(h->opaque, v->base.index, s->gpa + at, value, size, write);
    }
}

static void string_in_host(struct bt_vcpu *v, void *arg)
{
    struct string_call *c = arg;
    do {
        int64_t at = c->down ? -(int64_t)(c->done * c->size) : (int64_t)(c->done * c->size);
        if (!c->is_fill) side_move(v, &c->from, at, &c->value, c->size, false);
        side_move(v, &c->to, at, &c->value, c->size, true);
        c->done++;
    } while (c->done < c->count && !bt_wanted(v));
}

uint64_t bt_string_io(struct bt_vcpu *v, const struct bt_string_side *from, const struct bt_string_side *to, uint64_t value, unsigned size,
                      uint64_t count, bool down)
{
    struct string_call c = { .to = *to, .value = value, .count = count, .size = size, .down = down, .is_fill = !from };
    if (from) c.from = *from;
    bt_host_call(v, string_in_host, &c);
    return c.done;
}


static void move_in_page(struct bt_vcpu *v, unsigned idx, gva_t linear, uint8_t *data, unsigned size, bool write)
{
    struct hit h = resolve(v, idx, linear, write ? BT_WRITE : BT_READ);
    if (h.kind == HIT_IO) {
        bt_mmio(v, h.gpa, data, size, write);
        return;
    }
    if (!write) {
        get(data, h.hva, size);
    } else if (h.kind == HIT_CODE) {
        v->count[COUNT_CODE_WRITE]++;
        bt_code_lock(v);
        bt_invalidate(v->engine, h.gpa, size);
        put(h.hva, data, size);
        bt_code_unlock(v);
    } else {
        put(h.hva, data, size);
    }
}

static gva_t wrap(const struct bt_vcpu *v, gva_t linear) { return x86_is_long(&v->s) ? linear : (uint32_t)linear; }

static void move_bytes(struct bt_vcpu *v, gva_t linear, uint8_t *data, unsigned size, unsigned access, bool write)
{
    unsigned idx = mmu_for(v, access);
    if (__builtin_expect(bt_is_watching(v), 0)) watch_check(v, linear, size, write);
    if (write && PAGE_OFFSET(linear) + size > PAGE_BYTES) bt_probe(v, linear, size, access | BT_WRITE);
    while (size) {
        unsigned n = MIN((uint64_t)size, PAGE_BYTES - PAGE_OFFSET(linear));
        move_in_page(v, idx, linear, data, n, write);
        linear = wrap(v, linear + n);
        data += n;
        size -= n;
    }
}

uint64_t bt_load(struct bt_vcpu *v, gva_t linear, unsigned size, unsigned access)
{
    uint64_t value = 0;
    move_bytes(v, linear, (uint8_t *)&value, size, access, false);
    return value;
}

void bt_store(struct bt_vcpu *v, gva_t linear, uint64_t value, unsigned size, unsigned access)
{
    move_bytes(v, linear, (uint8_t *)&value, size, access, true);
}

void bt_load_bytes(struct bt_vcpu *v, gva_t linear, void *data, unsigned size, unsigned access)
{
    move_bytes(v, linear, data, size, access, false);
}

void bt_store_bytes(struct bt_vcpu *v, gva_t linear, const void *data, unsigned size, unsigned access)
{
    move_bytes(v, linear, (uint8_t *)data, size, access, true);
}

void bt_probe(struct bt_vcpu *v, gva_t linear, unsigned size, unsigned access)
{
    unsigned idx = mmu_for(v, access & ~BT_WRITE), kind = access & BT_WRITE ? BT_WRITE : BT_READ;
    if (!size) return;
    resolve(v, idx, linear, kind);
    gva_t last = wrap(v, linear + size - 1);
    for (gva_t page = PAGE_OF(linear); page != PAGE_OF(last);) {
        page = wrap(v, page + PAGE_BYTES);
        resolve(v, idx, page, kind);
    }
}

uint8_t *bt_host_pointer(struct bt_vcpu *v, gva_t linear, unsigned access)
{
    struct hit h = resolve(v, mmu_for(v, access & ~BT_WRITE), linear, access & BT_WRITE ? BT_WRITE : BT_READ);
    if (h.kind != HIT_RAM) return NULL;
    if (bt_is_watching(v) && watch_hits(v, PAGE_OF(linear), PAGE_BYTES, access & BT_WRITE)) return NULL;
    return h.hva;
}

bool bt_is_device(struct bt_vcpu *v, gva_t linear, unsigned access, gpa_t *gpa)
{
    struct hit h = resolve(v, mmu_for(v, access & ~BT_WRITE), linear, access & BT_WRITE ? BT_WRITE : BT_READ);
    *gpa = h.gpa;
    return h.kind == HIT_IO && !bt_is_watching(v);
}

/* Plain memory within a page is about to be overwritten: forgets the blocks made from it now, all at once. Where it was a page's
 * last code, bt_host_pointer will give the page. */
void bt_code_forget(struct bt_vcpu *v, gva_t linear, unsigned size)
{
    struct hit h = resolve(v, mmu_for(v, 0), linear, BT_WRITE);
    if (h.kind != HIT_CODE) return;
    bt_code_lock(v);
    bt_invalidate(v->engine, h.gpa, size);
    bt_code_unlock(v);
}

/* ---- Misses of generated code ---- */

static void check_alignment(struct bt_vcpu *v, gva_t linear, unsigned size, uint32_t what)
{
    if (what & MISS_ALIGNED && linear & (size - 1)) bt_raise_error(v, VECTOR_GP, 0);
    if (!(v->tbflags & TBF_ALIGN) || (what & MISS_ALIGN_ANY)) return;
    unsigned natural = size <= 8 ? size : size == 10 ? 8 : 16;
    if ((natural & (natural - 1)) == 0 && (linear & (natural - 1))) bt_raise_error(v, VECTOR_AC, 0);
}

static uint64_t use_bounce(struct bt_vcpu *v, unsigned idx, gva_t linear, unsigned size, uint32_t what)
{
    if (what & MISS_LOCKED && v->engine->vcpu_count > 1 && !v->exclusive) restart_exclusive(v);
    uint8_t *place = v->bounce + (linear & 63);
    if (what & MISS_READ) {
        for (unsigned done = 0; done < size;) {
            gva_t at = wrap(v, linear + done);
            unsigned n = MIN((uint64_t)(size - done), PAGE_BYTES - PAGE_OFFSET(at));
            move_in_page(v, idx, at, place + done, n, false);
            done += n;
        }
    }
    v->bounce_linear = linear;
    v->bounce_size = size;
    v->scratch = what & MISS_WRITE ? 1 : 0;
    v->unwind_pc = 0;
    return (uint64_t)place;
}

/* Is the block that runs among those that a write there would change (and longer than this instruction)? */
static bool hits_itself(struct bt_vcpu *v, gpa_t gpa, unsigned size, uint64_t host_pc)
{
    struct tb *current = bt_tb_of_host(v->engine, host_pc);
    if (!current || current->insn_count <= 1) return false;
    gpa_t last = gpa + size - 1;
    return (gpa < current->pc + current->size && last >= current->pc) ||
           (current->page2 != ~0ull && PAGE_OF(last) == current->page2);
}

/* Does the block that runs lie on other pages? */
static bool is_elsewhere(struct bt_vcpu *v, gpa_t gpa, uint64_t host_pc)
{
    const struct tb *current = bt_tb_of_host(v->engine, host_pc);
    return current && PAGE_OF(current->pc) != PAGE_OF(gpa) && current->page2 != PAGE_OF(gpa);
}

/* A write to what can be read as memory may be a command to a flash chip, which then answers reads with its status: the block must end
 * with it, so that the change is seen by the next instruction. */
static bool is_flash_command(struct bt_vcpu *v, const struct hit *h, unsigned access, uint64_t host_pc)
{
    const struct tb *current;
    if (access != BT_WRITE || (uintptr_t)h->hva < PAGE_BYTES) return false;
    current = bt_tb_of_host(v->engine, host_pc);
    return current && current->insn_count > 1;
}

/* Where a store goes that has been found before to be one into a page with code, if it hits none of that: compilers write for long beside their
 * code. NULL: ask in full. */
static uint8_t *beside_code(struct bt_vcpu *v, unsigned idx, gva_t linear, unsigned size)
{
    const struct softmmu *m = &v->mmu[idx];
    unsigned slot = bt_tlb_slot(v, linear);
    gpa_t gpa = PAGE_OF(m->gpa[slot]) | PAGE_OFFSET(linear);
    if (v->engine->vcpu_count > 1 || m->entry[slot].tag[BT_READ] + PAGE_OF(linear) != 0 || !(m->gpa[slot] & TLB_BESIDE_CODE)) return NULL;
    bool has_code = bt_page_is_watched(v->engine, gpa) && v->engine->page_tbs[gpa >> 12];
    return has_code && !bt_tb_overlaps(v->engine, gpa, size, NULL) ? (uint8_t *)(linear + m->entry[slot].addend) : NULL;
}

/* Called by generated code when an access misses the TLB. Returns the host address to use instead; v->scratch tells
 * whether bt_commit must follow. */
uint64_t bt_miss(struct bt_vcpu *v, uint64_t address, uint32_t what, uint64_t host_pc)
{
    unsigned size = what & MISS_SIZE, access = what & MISS_WRITE ? BT_WRITE : BT_READ;
    unsigned seg = (what & MISS_SEG) >> MISS_SEG_SHIFT;
    v->count[COUNT_MISS]++;
    v->unwind_pc = host_pc;
    if (what & MISS_X87) x87_exception_check(v);
    if (what & MISS_MASKED) restart_single(v);
    gva_t linear = what & MISS_OFFSET ? bt_linear(v, seg, address, size, access) : address;
    if (x86_is_code64(&v->s)) {
        gva_t last = linear + size - 1;
        if ((uint64_t)((int64_t)(linear << 16) >> 16) != linear || (uint64_t)((int64_t)(last << 16) >> 16) != last)
            bt_raise_error(v, seg == SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
    }
    check_alignment(v, linear, size, what);
    if (__builtin_expect(bt_is_watching(v), 0)) watch_check(v, linear, size, access == BT_WRITE);
    unsigned idx = mmu_for(v, 0);
    if (PAGE_OFFSET(linear) + size > PAGE_BYTES) {
        v->count[COUNT_BOUNCE_CROSSING]++;
        struct hit h = resolve(v, idx, linear, access);
        if (h.kind == HIT_CODE && hits_itself(v, h.gpa, PAGE_BYTES - PAGE_OFFSET(linear), host_pc)) restart_single(v);
        gva_t second = wrap(v, PAGE_OF(linear) + PAGE_BYTES);
        h = resolve(v, idx, second, access);
        if (h.kind == HIT_CODE && hits_itself(v, h.gpa, PAGE_OFFSET(linear) + size - PAGE_BYTES, host_pc)) restart_single(v);
        return use_bounce(v, idx, linear, size, what);
    }
    uint8_t *beside = access == BT_WRITE ? beside_code(v, idx, linear, size) : NULL;
    struct hit h = beside ? (struct hit){ HIT_RAM, beside, 0 } : resolve(v, idx, linear, access);
    if (h.kind == HIT_IO) {
        v->count[COUNT_BOUNCE_DEVICE]++;
        if (is_flash_command(v, &h, access, host_pc)) restart_single(v);
        return use_bounce(v, idx, linear, size, what);
    }
    if (h.kind == HIT_CODE && (v->engine->vcpu_count > 1 || bt_tb_overlaps(v->engine, h.gpa, size, NULL))) {
        v->count[COUNT_BOUNCE_CODE]++;
        if (hits_itself(v, h.gpa, size, host_pc)) restart_single(v);
        if (v->engine->vcpu_count == 1 && is_elsewhere(v, h.gpa, host_pc)) bt_page_rewritten(v->engine, PAGE_OF(h.gpa));
        return use_bounce(v, idx, linear, size, what);
    }
    v->scratch = 0;
    v->unwind_pc = 0;
    return (uint64_t)h.hva;
}

/* Called by generated code when a group's range (group.c) misses the TLB. Returns the page's addend; v->scratch not 0: it
 * is no range of plain memory that may be accessed so. Raises nothing. */
uint64_t bt_group_miss(struct bt_vcpu *v, uint64_t linear, uint32_t what)
{
    unsigned size = what & MISS_SIZE, access = what & MISS_WRITE ? BT_WRITE : BT_READ, idx = mmu_for(v, 0);
    v->count[COUNT_GROUP_MISS]++;
    v->scratch = 1;
    if (PAGE_OFFSET(linear) + size > PAGE_BYTES || (uint64_t)((int64_t)(linear << 16) >> 16) != linear || bt_is_watching(v)) return 0;
    const struct tlb_second *t = bt_tlb_look(v, idx, linear, access);
    if (!t || !t->hva || (access == BT_WRITE && t->rights & TLB_IS_ROM)) return 0;
    bool code = is_code(v, t->gpa, access);
    if (access == BT_WRITE && code) return 0;
    if (!fill(v, idx, linear, t, code) && access == BT_WRITE) return 0;
    v->scratch = 0;
    return (uint64_t)t->hva - PAGE_OF(linear);
}

/* The write to the bounce buffer is done: carry it out. Cannot fault: bt_miss resolved the same pages for writing. */
void bt_commit(struct bt_vcpu *v, uint64_t host_pc)
{
    gva_t linear = v->bounce_linear;
    unsigned idx = mmu_for(v, 0), size = v->bounce_size;
    uint8_t *place = v->bounce + (linear & 63);
    for (unsigned done = 0; done < size;) {
        gva_t at = wrap(v, linear + done);
        unsigned n = MIN((uint64_t)(size - done), PAGE_BYTES - PAGE_OFFSET(at));
        move_in_page(v, idx, at, place + done, n, true);
        done += n;
    }
}

/* Host address of guest-physical memory, NULL where there is none (or less than the whole page). Any thread. */
uint8_t *bt_ram(struct bt_engine *e, gpa_t gpa, bool *readonly)
{
    struct bt_ranges *r = __atomic_load_n(&e->ranges, __ATOMIC_ACQUIRE);
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct bt_range *x = &r->range[middle];
        if (gpa < x->start) high = middle;
        else if (gpa - x->start >= x->size) low = middle + 1;
        else {
            gpa_t page = PAGE_OF(gpa);
            if (page < x->start || page + PAGE_BYTES > x->start + x->size) return NULL;
            *readonly = x->readonly;
            return x->hva + (gpa - x->start);
        }
    }
    return NULL;
}
