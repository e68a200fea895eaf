/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page walk: linear address to guest-physical address through the guest's tables, with every permission of
 * 32-bit, PAE and 4-level paging, reserved bits, and the accessed and dirty bits, which are set (atomically) only when
 * the access is allowed. Sources: Intel SDM 3A chapter 4, AMD APM volume 2 chapter 5.
 *
 * A table that does not lie in RAM reads as not present.
 */
#include "engine/bt/bt_private.h"

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 32, PTE_D = 64, PTE_PS = 128, PTE_G = 256 };
#define PTE_NX (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull
enum { ERROR_P = 1, ERROR_W = 2, ERROR_U = 4, ERROR_RSVD = 8, ERROR_FETCH = 16 };

struct walk {
    struct bt_vcpu *v;
    gva_t linear;
    uint64_t write_ok, user_ok, nx;    /* of all levels so far */
    void *entry[4];                    /* where the entries were read, and what, for the accessed bits */
    uint64_t value[4];
    unsigned levels;
    bool wide;                         /* 8-byte entries */
};

static bool read_entry(struct walk *w, gpa_t at, uint64_t *value)
{
    bool readonly;
    void *p = bt_ram(w->v->engine, at, &readonly);
    if (!p) return false;
    *value = w->wide ? __atomic_load_n((uint64_t *)p, __ATOMIC_RELAXED) : __atomic_load_n((uint32_t *)p, __ATOMIC_RELAXED);
    w->entry[w->levels] = readonly ? NULL : p;
    w->value[w->levels++] = *value;
    return true;
}

/* Sets accessed and dirty bits. false: an entry is no longer what was read; walk again. */
static bool set_bits(struct walk *w, bool dirty)
{
    for (unsigned i = 0; i < w->levels; i++) {
        uint64_t old = w->value[i], new = old | PTE_A | (dirty && i == w->levels - 1 ? PTE_D : 0);
        uint32_t old_32 = old;
        void *p = w->entry[i];
        if (!p || new == old) continue;
        if (w->wide ? !__atomic_compare_exchange_n((uint64_t *)p, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)
                    : !__atomic_compare_exchange_n((uint32_t *)p, &old_32, new, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            return false;
    }
    return true;
}

/* Takes one entry's permissions in. Returns 0, or the P/RSVD part of an error code plus bit 31 when it faults. */
enum { WALK_FAULT = 1 << 30 };
static uint32_t take(struct walk *w, uint64_t pte, uint64_t reserved)
{
    if (!(pte & PTE_P)) return WALK_FAULT;
    if (pte & reserved) return WALK_FAULT | ERROR_P | ERROR_RSVD;
    w->write_ok &= pte;
    w->user_ok &= pte;
    w->nx |= pte & PTE_NX;
    return 0;
}

/* Four-level or PAE tables. page_shift: of the page found. */
static uint32_t walk_wide(struct walk *w, uint64_t *leaf, unsigned *page_shift)
{
    const struct x86_state *s = &w->v->s;
    bool is_long = s->efer & EFER_LMA;
    uint64_t high = ~w->v->engine->host_phys_mask & 0x000fffffffffffffull;
    uint64_t nx = s->efer & EFER_NXE ? 0 : PTE_NX;
    uint64_t table = is_long ? s->cr3 & PTE_ADDRESS : s->cr3 & 0xffffffe0;
    if (!is_long) high |= 0x7ff0000000000000ull;
    for (int level = is_long ? 3 : 2; ; level--) {
        unsigned shift = 12 + 9 * level;
        uint64_t pte;
        if (!read_entry(w, table + ((w->linear >> shift) & (level == 2 && !is_long ? 3 : 511)) * 8, &pte))
            return WALK_FAULT;
        bool is_pdpte = level == 2 && !is_long, large = level > 0 && (pte & PTE_PS) && !is_pdpte;
        uint64_t reserved = high | nx;
        if (is_pdpte) {
            if (!(pte & PTE_P)) return WALK_FAULT;
            if (pte & (high | PTE_NX | 0x1e6)) return WALK_FAULT | ERROR_P | ERROR_RSVD;
            w->levels--;                               /* PDPTEs have no accessed bit */
        } else {
            if (level == 3) reserved |= PTE_PS;
            if (large) reserved |= ((1ull << shift) - 1) & ~0x1fffull;
            uint32_t fault = take(w, pte, reserved);
            if (fault) return fault;
        }
        if (level == 0 || large) {
            *leaf = pte;
            *page_shift = shift;
            return 0;
        }
        table = pte & PTE_ADDRESS;
    }
}

static uint32_t walk_32(struct walk *w, uint64_t *leaf, unsigned *page_shift)
{
    const struct x86_state *s = &w->v->s;
    uint64_t pde, pte;
    uint32_t fault;
    if (!read_entry(w, (s->cr3 & 0xfffff000) + ((w->linear >> 22) & 1023) * 4, &pde)) return WALK_FAULT;
    if ((pde & PTE_PS) && (s->cr4 & CR4_PSE)) {
        fault = take(w, pde, 1 << 21);
        if (fault) return fault;
        *leaf = (pde & 0xffc01fff) | (pde & 0x1fe000) << 19;   /* PSE-36: bits 13-20 are address bits 32-39 */
        *leaf &= ~0x1fe000ull;
        *page_shift = 22;
        return 0;
    }
    fault = take(w, pde, 0);
    if (fault) return fault;
    if (!read_entry(w, (pde & 0xfffff000) + ((w->linear >> 12) & 1023) * 4, &pte)) return WALK_FAULT;
    *leaf = pte;
    *page_shift = 12;
    return take(w, pte, 0);
}

static bool is_forbidden(const struct walk *w, unsigned access, bool user, bool smap)
{
    const struct x86_state *s = &w->v->s;
    bool user_page = w->user_ok & PTE_U;
    if (access == BT_FETCH) {
        if (w->nx && (s->efer & EFER_NXE)) return true;
        return user ? !user_page : user_page && (s->cr4 & CR4_SMEP);
    }
    if (user) return !user_page || (access == BT_WRITE && !(w->write_ok & PTE_W));
    if (user_page && smap) return true;
    return access == BT_WRITE && !(w->write_ok & PTE_W) && (s->cr0 & CR0_WP);
}

/* Translates linear for an access (BT_READ, BT_WRITE, BT_FETCH) with user or supervisor rights. Never raises: a result
 * that is not ok carries the #PF error code. set_bits false: a debugger looks, A and D stay. */
struct walk_result bt_walk(struct bt_vcpu *v, gva_t linear, unsigned access, bool user, bool smap, bool set)
{
    const struct x86_state *s = &v->s;
    struct walk_result r = { .ok = true };
    if (!(s->cr0 & CR0_PG)) {
        r.gpa = (uint32_t)linear;
        r.writable = r.user = r.executable = r.accessed = r.dirty = true;
        return r;
    }
    struct walk w;
    uint64_t leaf;
    unsigned shift;
    uint32_t fault;
again:
    w = (struct walk){ .v = v, .linear = linear, .write_ok = ~0ull, .user_ok = ~0ull, .wide = s->cr4 & CR4_PAE };
    leaf = 0;
    shift = 12;
    fault = w.wide ? walk_wide(&w, &leaf, &shift) : walk_32(&w, &leaf, &shift);
    if (!fault && is_forbidden(&w, access, user, smap)) fault = WALK_FAULT | ERROR_P;
    if (fault) {
        r.ok = false;
        r.error = (fault & ~WALK_FAULT) | (access == BT_WRITE ? ERROR_W : 0) | (user ? ERROR_U : 0);
        if (access == BT_FETCH && ((w.wide && (s->efer & EFER_NXE)) || (s->cr4 & CR4_SMEP))) r.error |= ERROR_FETCH;
        return r;
    }
    if (set && !set_bits(&w, access == BT_WRITE)) goto again;
    uint64_t mask = (1ull << shift) - 1;
    r.gpa = ((leaf & (w.wide ? PTE_ADDRESS : 0xfffffff000ull)) & ~mask) | (linear & mask);
    r.writable = (w.write_ok & PTE_W) || (!user && !(s->cr0 & CR0_WP));
    r.user = w.user_ok & PTE_U;
    r.executable = !w.nx;
    r.accessed = set || (leaf & PTE_A);
    r.dirty = access == BT_WRITE || (leaf & PTE_D);
    r.shift = shift;
    r.global = (leaf & PTE_G) && (s->cr4 & CR4_PGE);
    return r;
}
