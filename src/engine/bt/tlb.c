/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The TLBs of a vCPU, two levels.
 *
 * The first is what generated code looks at: for each set of rights (enum MMU_*) direct-mapped arrays that hold only
 * the present address space. It grows while pages drive each other out (index_mask is a variable of the vCPU), and
 * keeps a log of filled slots, so that emptying it costs what filling it did. Global entries have a log of their own and
 * stay when CR3 is written.
 *
 * The second is looked at by C when the first misses, before the page tables are walked. Its entries carry an address
 * space number (asid): each PCID gets a fresh one when it is flushed, so that flushing is free and a guest which
 * comes back to a PCID without flushing finds its entries. Global entries carry one of their own.
 *
 * Large pages are kept in 4 KiB pieces; INVLPG of an address that may lie in one empties everything (large_pages is a
 * Bloom filter of the places where large pages were seen). The jump cache depends on translations too: fetch_pages is
 * a filter of the pages that it may lead to.
 * Sources: Intel SDM 3A 4.10, AMD APM volume 2, 5.5.
 */
#include <sys/mman.h>
#include "engine/bt/bt_private.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25               /* Linux 6.1; not in glibc 2.36 */
#endif

/* A tag that no address which indexes this slot can hit, not even one that crosses into the next page. */
static uint64_t invalid_tag(unsigned slot) { return -((uint64_t)(slot ^ 2) << 12); }

static unsigned tlb_size(const struct bt_vcpu *v) { return (v->index_mask >> 12) + 1; }

static void mmu_clear(struct bt_vcpu *v, unsigned idx)
{
    struct softmmu *m = &v->mmu[idx];
    for (unsigned i = 0; i < tlb_size(v); i++)
        m->entry[i].tag[0] = m->entry[i].tag[1] = invalid_tag(i), m->entry[i].fetch = PAGE_NONE;
    v->log[idx][0].count = v->log[idx][1].count = 0;
}

/* ---- Guards: what fetching found out for pages, in tables whose places are constants (branch.c) ---- */

/* gpa: with TLB_GLOBAL, if it is. */
void bt_guard_note(struct bt_vcpu *v, unsigned idx, gva_t linear, gpa_t gpa)
{
    uint64_t *place = &v->guard[idx][bt_guard_slot(linear)], key = bt_fetch_key(linear, gpa);
    if (*place == key) return;
    *place = key;
    unsigned kind = gpa & TLB_GLOBAL;
    if (v->guard_log[kind].count < GUARD_LOG) v->guard_log[kind].slot[v->guard_log[kind].count] = idx * GUARD_SIZE + bt_guard_slot(linear);
    if (v->guard_log[kind].count <= GUARD_LOG) v->guard_log[kind].count++;
}

static void guards_forget(struct bt_vcpu *v, bool global_too)
{
    uint64_t *guard = v->guard[0];
    for (unsigned kind = 0; kind <= global_too; kind++) {
        bool all = v->guard_log[kind].count > GUARD_LOG;
        unsigned count = all ? 2 * GUARD_SIZE : v->guard_log[kind].count;
        for (unsigned n = 0; n < count; n++) guard[all ? n : v->guard_log[kind].slot[n]] = PAGE_NONE;
        v->guard_log[kind].count = 0;
    }
}

/* ---- The start ---- */

void bt_mmu_init(struct bt_vcpu *v)
{
    v->index_mask = (uint64_t)((1 << TLB_BITS_FIRST) - 1) << 12;
    v->high_mask = ~0xfffull;
    v->sign_mask = 1ull << 63;
    v->jc_mask = JC_SIZE - 1;
    v->ret_mask = (RET_SIZE - 1) << 3;
    v->keep_mask[KEEP_NOT_DF] = ~(uint64_t)RFLAGS_DF;
    v->keep_mask[KEEP_NOT_IF] = ~(uint64_t)RFLAGS_IF;
    v->keep_mask[KEEP_NOT_AC] = ~(uint64_t)RFLAGS_AC;
    v->keep_mask[KEEP_ARITH] = RFLAGS_ARITH;
    v->keep_mask[KEEP_PUSHED] = ~(uint64_t)(RFLAGS_ARITH | RFLAGS_VM | RFLAGS_RF);
    v->keep_mask[KEEP_ATTR] = SEG_ATTR_DB | SEG_ATTR_G;
    v->df_mask = RFLAGS_DF;
    v->bit_mask[0] = 15;
    v->bit_mask[1] = 31;
    v->bit_mask[2] = 63;
    for (int i = 0; i < MMU_COUNT; i++) mmu_clear(v, i);
    v->guard_log[0].count = GUARD_LOG + 1;
    guards_forget(v, false);
    v->asid_global = 1;
    v->asid = v->asid_last = 2;
    v->asid_stale = 0;
    v->pcid_asid[0] = v->asid;
}

/* ---- Filters ---- */

static unsigned filter_bit(uint64_t key) { return key * 0x9e3779b97f4a7c15ull >> (64 - FILTER_BITS); }
static void filter_add(uint64_t *filter, uint64_t key) { filter[filter_bit(key) / 64] |= 1ull << filter_bit(key) % 64; }
static bool filter_has(const uint64_t *filter, uint64_t key) { return filter[filter_bit(key) / 64] >> filter_bit(key) % 64 & 1; }
static void filter_clear(uint64_t *filter) { bt_fill(filter, 0, (1 << FILTER_BITS) / 8); }

void bt_fetch_page_note(struct bt_vcpu *v, gva_t linear) { filter_add(v->fetch_pages, linear >> 12); }
void bt_fetch_pages_forget(struct bt_vcpu *v) { filter_clear(v->fetch_pages); }

/* Large pages are noted by 2 MiB and by 1 GiB, in one filter. */
static void large_note(struct bt_vcpu *v, gva_t linear, unsigned shift)
{
    filter_add(v->large_pages, shift > 22 ? ~(linear >> 30) : linear >> 22);
}
static bool large_may_be_at(const struct bt_vcpu *v, gva_t linear)
{
    return filter_has(v->large_pages, linear >> 22) || filter_has(v->large_pages, ~(linear >> 30));
}

/* ---- Emptying ---- */

static void drop_slot(struct softmmu *m, unsigned slot, bool global_too)
{
    if (global_too || !(m->gpa[slot] & TLB_GLOBAL)) m->entry[slot].tag[0] = m->entry[slot].tag[1] = invalid_tag(slot);
    if (global_too || !(m->fetch_gpa[slot] & TLB_GLOBAL)) m->entry[slot].fetch = PAGE_NONE;
}

static void first_flush(struct bt_vcpu *v, bool global_too)
{
    for (unsigned idx = 0; idx < MMU_COUNT; idx++) {
        struct tlb_log *log = v->log[idx];
        if (log[0].count > TLB_LOG || (global_too && log[1].count > TLB_LOG)) {
            mmu_clear(v, idx);
            continue;
        }
        for (unsigned kind = 0; kind <= global_too; kind++) {
            for (unsigned n = 0; n < log[kind].count; n++) drop_slot(&v->mmu[idx], log[kind].slot[n], global_too);
            log[kind].count = 0;
        }
    }
    guards_forget(v, global_too);
    v->evictions /= 2;
}

/* Forgets everything, or all that is not global, of all PCIDs. */
void bt_tlb_flush(struct bt_vcpu *v, bool global_too)
{
    v->count[COUNT_TLB_FLUSH]++;
    first_flush(v, global_too);
    v->asid_stale = v->asid_last;
    bt_windows_inherit(v, v->asid, v->asid_last + 1);
    v->asid = ++v->asid_last;
    v->pcid_asid[v->pcid] = v->asid;
    if (global_too) {
        v->asid_global = ++v->asid_last;
        filter_clear(v->large_pages);
    }
    bt_new_salt(v);
}

static void jump_cache_switch(struct bt_vcpu *v)
{
    bt_returns_forget(v);
    if (v->kernel_local) v->kernel_generation++;
    v->kernel_local = false;
    bt_salt_update(v);
}

/* CR3 was loaded: pcid is the new address space's (0 without CR4.PCIDE). keep: its entries are still good. */
void bt_tlb_switch(struct bt_vcpu *v, unsigned pcid, bool keep)
{
    v->count[COUNT_TLB_SWITCH]++;
    first_flush(v, false);
    if (!keep || v->pcid_asid[pcid] <= v->asid_stale) v->pcid_asid[pcid] = ++v->asid_last;
    v->pcid = pcid;
    v->asid = v->pcid_asid[pcid];
    jump_cache_switch(v);
}

void bt_tlb_flush_pcid(struct bt_vcpu *v, unsigned pcid)
{
    if (pcid == v->pcid) bt_tlb_switch(v, pcid, false);
    else v->pcid_asid[pcid] = 0;
}

static struct tlb_second *second_set(struct bt_vcpu *v, gva_t page)
{
    return v->second[(page * 0x9e3779b97f4a7c15ull) >> (64 - SECOND_BITS)];
}

/* INVLPG: also the second level's entries of other address spaces, which is allowed. */
void bt_tlb_flush_page(struct bt_vcpu *v, gva_t linear)
{
    unsigned slot = bt_tlb_slot(v, linear);
    gva_t page = PAGE_OF(linear);
    if (large_may_be_at(v, linear)) {
        bt_tlb_flush(v, true);
        return;
    }
    v->count[COUNT_PAGE_FLUSH]++;
    for (unsigned i = 0; i < MMU_COUNT; i++) drop_slot(&v->mmu[i], slot, true);
    v->guard[0][bt_guard_slot(linear)] = v->guard[1][bt_guard_slot(linear)] = PAGE_NONE;
    struct tlb_second *set = second_set(v, page);
    for (unsigned way = 0; way < SECOND_WAYS; way++)
        if (PAGE_OF(set[way].key) == page) set[way].asid = 0;
    bt_windows_drop_linear(v, linear);
    bt_returns_forget(v);
    if (filter_has(v->fetch_pages, linear >> 12)) bt_new_salt(v);
}

/* INVPCID of one address. */
void bt_tlb_flush_pcid_page(struct bt_vcpu *v, unsigned pcid, gva_t linear)
{
    if (pcid == v->pcid) bt_tlb_flush_page(v, linear);
    else v->pcid_asid[pcid] = 0;
}

/* ---- Who may write a physical page ---- */

static bool hits_write(const struct bt_vcpu *v, unsigned idx, gva_t linear, gpa_t page)
{
    const struct softmmu *m = &v->mmu[idx];
    unsigned slot = bt_tlb_slot(v, linear);
    return m->entry[slot].tag[BT_WRITE] + linear == 0 && PAGE_OF(m->gpa[slot]) == page;
}

/* Write entries of a physical page are found again by the linear page that write_place holds, one for the user's and one
 * for the kernel's; WRITE_PLACES: there may be several, and all slots are to be looked at. */
enum { WRITE_PLACES = 1 };
static void write_place_note(struct bt_vcpu *v, unsigned idx, gva_t linear, gpa_t page)
{
    uint64_t *place = &v->write_place[idx != MMU_USER][page >> 12], old = *place;     /* bt_ram knows no page beyond */
    if (old == (linear | 2) || old == WRITE_PLACES) return;
    bool other = old && (idx == MMU_USER ? hits_write(v, MMU_USER, old & ~2ull, page)
                                         : hits_write(v, MMU_KERNEL, old & ~2ull, page) ||
                                           hits_write(v, MMU_KERNEL_SMAP, old & ~2ull, page));
    *place = other ? WRITE_PLACES : linear | 2;
}

/* Another vCPU's entry too, while that runs: only what was looked at may be replaced. */
static bool drop_write_slot(struct softmmu *m, unsigned slot, uint64_t tag)
{
    return __atomic_compare_exchange_n(&m->entry[slot].tag[BT_WRITE], &tag, invalid_tag(slot), false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

static bool drop_write_everywhere(struct bt_vcpu *v, unsigned idx, gpa_t page)
{
    struct softmmu *m = &v->mmu[idx];
    bool any = false;
    for (unsigned slot = 0; slot < tlb_size(v); slot++) {
        uint64_t tag = __atomic_load_n(&m->entry[slot].tag[BT_WRITE], __ATOMIC_ACQUIRE);
        if (PAGE_OF(m->gpa[slot]) == page && tag != invalid_tag(slot)) any |= drop_write_slot(m, slot, tag);
    }
    return any;
}

/* The page is watched now: writes to it must come to the slow path. Any vCPU's thread; the owner may be filling entries
 * meanwhile, and looks again whether the page is watched. */
bool bt_tlb_drop_write(struct bt_vcpu *v, gpa_t page)
{
    bool any = false;
    for (unsigned idx = 0; idx < MMU_COUNT; idx++) {
        uint64_t place = v->write_place[idx != MMU_USER][page >> 12];
        unsigned slot = bt_tlb_slot(v, place);
        if (place == WRITE_PLACES) any |= drop_write_everywhere(v, idx, page);
        else if (place && hits_write(v, idx, place & ~2ull, page)) any |= drop_write_slot(&v->mmu[idx], slot, -(place & ~2ull));
    }
    v->write_place[0][page >> 12] = v->write_place[1][page >> 12] = 0;
    return any;
}

/* The vCPU's own entry, just filled: write_place need not know it, since another vCPU may be emptying that. */
void bt_tlb_drop_write_at(struct bt_vcpu *v, unsigned idx, gva_t linear)
{
    unsigned slot = bt_tlb_slot(v, linear);
    v->mmu[idx].entry[slot].tag[BT_WRITE] = invalid_tag(slot);
}

/* ---- Filling ---- */

/* Pages drive each other out of the first level: more slots. */
static void grow(struct bt_vcpu *v)
{
    v->evictions = 0;
    if (tlb_size(v) == TLB_SIZE) return;
    v->count[COUNT_TLB_GROW]++;
    v->index_mask = ((uint64_t)tlb_size(v) * 2 - 1) << 12;
    for (unsigned i = 0; i < MMU_COUNT; i++) mmu_clear(v, i);
}

static void log_fill(struct bt_vcpu *v, unsigned idx, unsigned slot, bool global)
{
    struct tlb_log *log = &v->log[idx][global];
    if (log->count < TLB_LOG) log->slot[log->count] = slot;
    if (log->count <= TLB_LOG) log->count++;
}

/* Is what the slot holds (empty: nothing) logged as such an entry would be? */
static bool is_logged(bool empty, uint64_t gpa, bool global) { return !empty && !(gpa & TLB_GLOBAL) == !global; }

/* Makes linear's page hit for reads, and for writes if writable. */
void bt_tlb_fill(struct bt_vcpu *v, unsigned idx, gva_t linear, const struct tlb_second *t, bool writable)
{
    struct softmmu *m = &v->mmu[idx];
    gva_t page = PAGE_OF(linear);
    if (v->evictions > 2 * tlb_size(v)) grow(v);
    unsigned slot = bt_tlb_slot(v, linear);
    bool global = t->rights & TLB_IS_GLOBAL;
    if (m->entry[slot].tag[BT_READ] != invalid_tag(slot) && m->entry[slot].tag[BT_READ] != -page) v->evictions++;
    if (!is_logged(m->entry[slot].tag[BT_READ] == invalid_tag(slot), m->gpa[slot], global)) log_fill(v, idx, slot, global);
    m->entry[slot].tag[BT_READ] = -page;
    m->entry[slot].tag[BT_WRITE] = writable ? -page : invalid_tag(slot);
    m->entry[slot].addend = (uint64_t)t->hva - page;
    m->gpa[slot] = t->gpa | (global ? TLB_GLOBAL : 0);
    if (writable) write_place_note(v, idx, page, t->gpa);
}

void bt_tlb_fill_fetch(struct bt_vcpu *v, unsigned idx, gva_t linear, const struct tlb_second *t)
{
    struct softmmu *m = &v->mmu[idx];
    unsigned slot = bt_tlb_slot(v, linear);
    bool global = t->rights & TLB_IS_GLOBAL;
    if (!is_logged(m->entry[slot].fetch == PAGE_NONE, m->fetch_gpa[slot], global)) log_fill(v, idx, slot, global);
    m->entry[slot].fetch = bt_fetch_key(linear, t->gpa);
    m->fetch_gpa[slot] = t->gpa | (global ? TLB_GLOBAL : 0);
}

static unsigned rights_of(const struct bt_vcpu *v, unsigned idx, const struct walk_result *w)
{
    bool user = idx == MMU_USER;
    unsigned rights = w->global ? TLB_IS_GLOBAL : 0;
    if (user ? w->user : !(w->user && idx == MMU_KERNEL_SMAP)) rights |= w->writable && w->dirty ? TLB_MAY_READ | TLB_MAY_WRITE : TLB_MAY_READ;
    if (w->executable && (user ? w->user : !(w->user && v->s.cr4 & CR4_SMEP))) rights |= TLB_MAY_FETCH;
    return rights;
}

static struct tlb_second *second_find(struct bt_vcpu *v, unsigned idx, gva_t page)
{
    struct tlb_second *set = second_set(v, page);
    for (unsigned way = 0; way < SECOND_WAYS; way++) {
        struct tlb_second *t = &set[way];
        if (t->key == (page | idx) && (t->asid == v->asid || t->asid == v->asid_global)) return t;
    }
    return NULL;
}

/* The guest touches this page, perhaps as the first of its 2 MiB: has the kernel put a huge page there. */
static void collapse(struct bt_engine *e, gpa_t gpa, uint8_t *hva)
{
    uint64_t number = gpa / HUGE_BYTES, bit = 1ull << number % 64;
    bool readonly;
    if (!e->config.ram || !e->config.ram->wants_collapse || __atomic_fetch_or(&e->collapsed[number / 64], bit, __ATOMIC_RELAXED) & bit) return;
    uint8_t *start = bt_ram(e, gpa & ~(HUGE_BYTES - 1), &readonly);
    if (!start || start != hva - (gpa & (HUGE_BYTES - 1)) || (uintptr_t)start & (HUGE_BYTES - 1)) return;
    (void)*(volatile uint8_t *)hva;                    /* of nothing it makes nothing */
    madvise(start, HUGE_BYTES, MADV_COLLAPSE);
}

/* found: the entry to be replaced, NULL: any of its set. */
static struct tlb_second *second_fill(struct bt_vcpu *v, unsigned idx, gva_t linear, struct tlb_second *found, const struct walk_result *w)
{
    gva_t page = PAGE_OF(linear);
    bool readonly = false;
    if (!found) found = &second_set(v, page)[v->second_victim++ % SECOND_WAYS];
    uint8_t *hva = bt_ram(v->engine, w->gpa, &readonly);
    if (hva) collapse(v->engine, w->gpa, hva);
    *found = (struct tlb_second){ .key = page | idx, .asid = w->global ? v->asid_global : v->asid, .gpa = PAGE_OF(w->gpa),
        .hva = hva ? hva - PAGE_OFFSET(w->gpa) : NULL, .rights = rights_of(v, idx, w) | (readonly ? TLB_IS_ROM : 0) };
    if (w->shift > 12) large_note(v, linear, w->shift);
    return found;
}

/* Translates the page of linear for an access, from the second level or by walking the tables; raises what the access
 * is not allowed. The result is good until the next call. */
const struct tlb_second *bt_tlb_translate(struct bt_vcpu *v, unsigned idx, gva_t linear, unsigned access)
{
    struct tlb_second *found = second_find(v, idx, PAGE_OF(linear));
    if (found && found->rights >> access & 1) return found;
    v->count[COUNT_WALK]++;
    struct walk_result w = bt_walk(v, linear, access, idx == MMU_USER, idx == MMU_KERNEL_SMAP, true);
    if (!w.ok) bt_raise_page_fault(v, linear, w.error);
    return second_fill(v, idx, linear, found, &w);
}

/* The same for an access that may not happen: raises nothing, sets no dirty bit. NULL: not allowed, or not yet. */
const struct tlb_second *bt_tlb_look(struct bt_vcpu *v, unsigned idx, gva_t linear, unsigned access)
{
    struct tlb_second *found = second_find(v, idx, PAGE_OF(linear));
    if (!found || !(found->rights >> access & 1)) {
        v->count[COUNT_WALK]++;
        struct walk_result w = bt_walk(v, linear, BT_READ, idx == MMU_USER, idx == MMU_KERNEL_SMAP, true);
        if (!w.ok) return NULL;
        found = second_fill(v, idx, linear, found, &w);
    }
    return found->rights >> access & 1 ? found : NULL;
}
