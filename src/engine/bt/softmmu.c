/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The softmmu: one TLB for each set of rights (user, kernel, kernel that SMAP keeps off user pages), looked at by
 * generated code and, here, everything behind a miss: page walk, faults, device memory, page crossings, watched pages.
 *
 * An access that cannot go to RAM directly goes to a bounce buffer of its vCPU: the slow path fills it with the old
 * bytes, generated code works on it as if it were memory, and bt_commit stores it afterwards. All faults are taken
 * before the buffer is handed out. A locked access that crosses a page or hits a device is therefore not atomic.
 *
 * Pages with translated code have no write entry: their writes come here, where the blocks that they change are
 * dropped; when the block that is running would change itself, its instruction is started again in a block of its own.
 */
#include "engine/bt/bt_private.h"

/* A tag that no address which indexes this slot can hit, not even one that crosses into the next page. */
static uint64_t invalid_tag(unsigned slot) { return -((uint64_t)(slot ^ 2) << 12); }
static unsigned slot_of(gva_t linear) { return (linear >> 12) & (TLB_SIZE - 1); }

static void mmu_clear(struct softmmu *m)
{
    for (unsigned i = 0; i < TLB_SIZE; i++)
        m->tag[0][i] = m->tag[1][i] = m->fetch[i] = invalid_tag(i);
}

void bt_mmu_init(struct bt_vcpu *v)
{
    v->index_mask = (uint64_t)(TLB_SIZE - 1) << 12;
    v->high_mask = ~0xfffull;
    v->sign_mask = 1ull << 63;
    v->jc_mask = JC_SIZE - 1;
    v->not_df_mask = ~(uint64_t)RFLAGS_DF;
    v->bit_mask[0] = 15;
    v->bit_mask[1] = 31;
    v->bit_mask[2] = 63;
    for (int i = 0; i < MMU_COUNT; i++) mmu_clear(&v->mmu[i]);
}

void bt_tlb_flush(struct bt_vcpu *v, bool global_too)
{
    v->count_flush++;
    for (int i = 0; i < MMU_COUNT; i++) {
        struct softmmu *m = &v->mmu[i];
        if (v->log_count[i] > TLB_LOG) {
            mmu_clear(m);
        } else {
            for (unsigned n = 0; n < v->log_count[i]; n++) {
                unsigned slot = v->log_slot[i][n];
                m->tag[0][slot] = m->tag[1][slot] = m->fetch[slot] = invalid_tag(slot);
            }
        }
        v->log_count[i] = 0;
        v->has_large[i] = false;
    }
    bt_new_salt(v);
}

void bt_tlb_flush_page(struct bt_vcpu *v, gva_t linear)
{
    unsigned slot = slot_of(linear);
    for (int i = 0; i < MMU_COUNT; i++) {
        struct softmmu *m = &v->mmu[i];
        if (v->has_large[i]) {
            bt_tlb_flush(v, true);
            return;
        }
        m->tag[0][slot] = m->tag[1][slot] = m->fetch[slot] = invalid_tag(slot);
    }
    bt_new_salt(v);
}

void bt_tlb_flush_pcid(struct bt_vcpu *v, unsigned pcid) { bt_tlb_flush(v, false); }

/* The page now holds translated code (or a watch): writes to it must come to the slow path. */
void bt_tlb_drop_write(struct bt_vcpu *v, gpa_t page)
{
    for (int i = 0; i < MMU_COUNT; i++) {
        struct softmmu *m = &v->mmu[i];
        for (unsigned slot = 0; slot < TLB_SIZE; slot++)
            if (m->gpa[slot] == page) m->tag[BT_WRITE][slot] = invalid_tag(slot);
    }
}

static void log_fill(struct bt_vcpu *v, unsigned idx, unsigned slot)
{
    if (v->log_count[idx] < TLB_LOG) v->log_slot[idx][v->log_count[idx]] = slot;
    if (v->log_count[idx] <= TLB_LOG) v->log_count[idx]++;
}

/* ---- Watchpoints: the guest's DR0-3 and the debugger's ---- */

static bool overlaps(gva_t a, uint64_t an, gva_t b, uint64_t bn) { return a - b < bn || b - a < an; }

static bool is_watching(const struct bt_vcpu *v)
{
    return v->debug.has_data || (v->s.dr[7] & 0xff && (v->s.dr[7] & 0x33330000));
}

/* Bits 0-3: guest's breakpoints hit by this access; bit 16 and up: the debugger's (16 + index). */
static uint32_t watch_hits(struct bt_vcpu *v, gva_t linear, uint64_t size, bool write)
{
    uint32_t hits = 0;
    for (int i = 0; i < 4; i++) {
        unsigned type = (v->s.dr[7] >> (16 + 4 * i)) & 3, code = (v->s.dr[7] >> (18 + 4 * i)) & 3;
        unsigned length = code == 2 ? 8 : code + 1;
        if (!((v->s.dr[7] >> (2 * i)) & 3) || !(type & 1) || (type == 1 && !write)) continue;
        if (overlaps(linear, size, v->s.dr[i] & ~(uint64_t)(length - 1), length)) hits |= 1u << i;
    }
    for (unsigned i = 0; i < v->debug.wish.count && v->debug.has_data; i++) {
        const struct engine_breakpoint *b = &v->debug.wish.breakpoint[i];
        if (b->type == 0 || (b->type == 1 && !write) || (b->type == 2 && write)) continue;
        if (overlaps(linear, size, b->address, b->size)) hits |= 1u << 16;
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

static void watch_check(struct bt_vcpu *v, gva_t linear, uint64_t size, bool write)
{
    uint32_t hits = watch_hits(v, linear, size, write);
    if (!hits || v->catch) return;
    if (!v->stepping_shadow) restart_single(v);
    v->data_hit |= hits;
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

/* Raises what the access is not allowed; fills the TLB where the page is plain memory. */
static struct hit resolve(struct bt_vcpu *v, unsigned idx, gva_t linear, unsigned access)
{
    struct softmmu *m = &v->mmu[idx];
    unsigned slot = slot_of(linear);
    gva_t page = PAGE_OF(linear);
    struct hit h = { HIT_RAM };
    if (m->tag[access][slot] + page == 0) {
        h.gpa = m->gpa[slot] | PAGE_OFFSET(linear);
        h.hva = (uint8_t *)(linear + m->addend[slot]);
        return h;
    }
    v->count_miss++;
    struct walk_result w = bt_walk(v, linear, access, idx == MMU_USER, idx == MMU_KERNEL_SMAP, true);
    if (!w.ok) bt_raise_page_fault(v, linear, w.error);
    bool readonly = false;
    h.gpa = w.gpa;
    h.hva = bt_ram(v->engine, w.gpa, &readonly);
    if (!h.hva || (readonly && access == BT_WRITE)) {
        h.kind = HIT_IO;
        return h;
    }
    bool code = bt_page_has_code(v->engine, w.gpa);
    if (access == BT_WRITE && code) h.kind = HIT_CODE;
    if (is_watching(v) && (watch_hits(v, page, PAGE_BYTES, true) | watch_hits(v, page, PAGE_BYTES, false))) return h;
    log_fill(v, idx, slot);
    if (w.large) v->has_large[idx] = true;
    m->tag[BT_READ][slot] = -page;
    m->tag[BT_WRITE][slot] = w.writable && w.dirty && !readonly && !code ? -page : invalid_tag(slot);
    m->addend[slot] = (uint64_t)h.hva - linear;
    m->gpa[slot] = PAGE_OF(w.gpa);
    return h;
}

gpa_t bt_fetch_translate(struct bt_vcpu *v, gva_t linear, bool *io)
{
    unsigned idx = x86_cpl(&v->s) == 3 ? MMU_USER : MMU_KERNEL, slot = slot_of(linear);
    struct softmmu *m = &v->mmu[idx];
    gva_t page = PAGE_OF(linear);
    *io = false;
    if (m->fetch[slot] + page == 0) return m->fetch_gpa[slot] | PAGE_OFFSET(linear);
    struct walk_result w = bt_walk(v, linear, BT_FETCH, idx == MMU_USER, false, true);
    if (!w.ok) bt_raise_page_fault(v, linear, w.error);
    bool readonly;
    if (!bt_ram(v->engine, w.gpa, &readonly)) {
        *io = true;
        return w.gpa;
    }
    log_fill(v, idx, slot);
    if (w.large) v->has_large[idx] = true;
    m->fetch[slot] = -page;
    m->fetch_gpa[slot] = PAGE_OF(w.gpa);
    return w.gpa;
}

/* ---- Device memory ---- */

struct mmio_call { gpa_t gpa; uint8_t *data; unsigned size; bool write; };
static void mmio_in_host(struct bt_vcpu *v, void *arg)
{
    struct mmio_call *c = arg;
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

/* ---- Memory for C: any size, any place ---- */

static void move_in_page(struct bt_vcpu *v, unsigned idx, gva_t linear, uint8_t *data, unsigned size, bool write)
{
    struct hit h = resolve(v, idx, linear, write ? BT_WRITE : BT_READ);
    if (h.kind == HIT_IO) {
        bt_mmio(v, h.gpa, data, size, write);
        return;
    }
    if (h.kind == HIT_CODE) bt_invalidate(v->engine, h.gpa, size);
    if (write && size == 8) __atomic_store_n((uint64_t *)h.hva, *(uint64_t *)data, __ATOMIC_RELAXED);
    else if (write && size == 4) __atomic_store_n((uint32_t *)h.hva, *(uint32_t *)data, __ATOMIC_RELAXED);
    else if (write) bt_copy(h.hva, data, size);
    else if (size == 8) *(uint64_t *)data = __atomic_load_n((uint64_t *)h.hva, __ATOMIC_RELAXED);
    else if (size == 4) *(uint32_t *)data = __atomic_load_n((uint32_t *)h.hva, __ATOMIC_RELAXED);
    else bt_copy(data, h.hva, size);
}

static gva_t wrap(const struct bt_vcpu *v, gva_t linear) { return x86_is_long(&v->s) ? linear : (uint32_t)linear; }

static void move_bytes(struct bt_vcpu *v, gva_t linear, uint8_t *data, unsigned size, unsigned access, bool write)
{
    unsigned idx = mmu_for(v, access);
    if (__builtin_expect(is_watching(v), 0)) watch_check(v, linear, size, write);
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
    if (is_watching(v) && watch_hits(v, PAGE_OF(linear), PAGE_BYTES, access & BT_WRITE)) return NULL;
    return h.hva;
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
    v->scratch[0] = what & MISS_WRITE ? 1 : 0;
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

/* Called by generated code when an access misses the TLB. Returns the host address to use instead; v->scratch[0] tells
 * whether bt_commit must follow. */
uint64_t bt_miss(struct bt_vcpu *v, uint64_t address, uint32_t what, uint64_t host_pc)
{
    unsigned size = what & MISS_SIZE, access = what & MISS_WRITE ? BT_WRITE : BT_READ;
    unsigned seg = (what & MISS_SEG) >> MISS_SEG_SHIFT;
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
    if (__builtin_expect(is_watching(v), 0)) watch_check(v, linear, size, access == BT_WRITE);
    unsigned idx = mmu_for(v, 0);
    if (PAGE_OFFSET(linear) + size > PAGE_BYTES) {
        struct hit h = resolve(v, idx, linear, access);
        if (h.kind == HIT_CODE && hits_itself(v, h.gpa, PAGE_BYTES - PAGE_OFFSET(linear), host_pc)) restart_single(v);
        gva_t second = wrap(v, PAGE_OF(linear) + PAGE_BYTES);
        h = resolve(v, idx, second, access);
        if (h.kind == HIT_CODE && hits_itself(v, h.gpa, PAGE_OFFSET(linear) + size - PAGE_BYTES, host_pc)) restart_single(v);
        return use_bounce(v, idx, linear, size, what);
    }
    struct hit h = resolve(v, idx, linear, access);
    if (h.kind == HIT_IO) return use_bounce(v, idx, linear, size, what);
    if (h.kind == HIT_CODE && bt_tb_overlaps(v->engine, h.gpa, size, NULL)) {
        if (hits_itself(v, h.gpa, size, host_pc)) restart_single(v);
        return use_bounce(v, idx, linear, size, what);
    }
    v->scratch[0] = 0;
    v->unwind_pc = 0;
    return (uint64_t)h.hva;
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
