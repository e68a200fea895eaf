/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several vCPUs in parallel: who may touch what they share.
 *
 * Each vCPU owns its registers, TLBs and jump cache. Shared are the blocks (tb.c) with their code, and which physical
 * pages are watched because blocks were made from them. All that is changed under the code lock only, but generated
 * code runs without it: a block that dies stays where it is until everything is flushed, and a flush waits until all
 * others rest.
 *
 * A vCPU is at rest outside of vcpu_run, and where it waits in bt_next, between two blocks. bt_exclusive_begin makes
 * all others rest, for a flush of the code cache and for locked operations that the host cannot do in one piece (across
 * pages, on pages with code): their instruction runs in a block of its own while nobody else runs.
 *
 * A page's bytes may be translated only once no vCPU can still be storing to it unnoticed. bt_page_watch takes away all
 * TLB entries for writing; a vCPU that had one may stand between its look at the TLB and its store, so it is
 * waited for until it has come to the end of a block (epoch). The other side, softmmu.c, looks again whether a page is
 * watched after it has filled an entry.
 *
 * Lock order: exclusive lock, code lock, the machine's lock. Nothing is held when a vCPU rests or waits for an epoch.
 */
#include <sched.h>
#include <unistd.h>

#include "base/futex.h"
#include "engine/bt/bt_private.h"

/* ---- Locks: 0 free, 1 held, 2 held and waited for ---- */

static void lock(int *l)
{
    enum { SPINS = 200 };
    for (int i = 0; i < SPINS; i++) {
        int expected = 0;
        if (__atomic_compare_exchange_n(l, &expected, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
        __builtin_ia32_pause();
    }
    while (__atomic_exchange_n(l, 2, __ATOMIC_ACQUIRE)) futex_wait(l, 2);
}

static void unlock(int *l)
{
    if (__atomic_exchange_n(l, 0, __ATOMIC_RELEASE) == 2) futex_wake(l, 1);
}

static bool is_alone(const struct bt_vcpu *v) { return v->engine->vcpu_count == 1; }

void bt_code_lock(struct bt_vcpu *v)
{
    if (is_alone(v)) return;
    lock(&v->engine->code_lock);
    v->has_code_lock = true;
}

void bt_code_unlock(struct bt_vcpu *v)
{
    if (!v->has_code_lock) return;
    v->has_code_lock = false;
    unlock(&v->engine->code_lock);
}

/* ---- Rest ---- */

static void rest_begin(struct bt_vcpu *v)
{
    struct bt_engine *e = v->engine;
    __atomic_store_n(&v->at_rest, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&e->rest_wanted, __ATOMIC_SEQ_CST)) return;
    __atomic_add_fetch(&e->rest_changes, 1, __ATOMIC_SEQ_CST);
    futex_wake(&e->rest_changes, 1);
}

/* Whoever wants rest stores its wish and then looks at at_rest; here it is the other way round. */
static void rest_end(struct bt_vcpu *v)
{
    struct bt_engine *e = v->engine;
    for (;;) {
        __atomic_store_n(&v->at_rest, 0, __ATOMIC_SEQ_CST);
        if (v->exclusive || !__atomic_load_n(&e->rest_wanted, __ATOMIC_SEQ_CST)) return;
        rest_begin(v);
        while (__atomic_load_n(&e->rest_wanted, __ATOMIC_SEQ_CST)) futex_wait(&e->rest_wanted, 1);
    }
}

void bt_run_begin(struct bt_vcpu *v) { rest_end(v); }
void bt_run_end(struct bt_vcpu *v) { rest_begin(v); }

void bt_rest(struct bt_vcpu *v)
{
    if (v->exclusive || !__atomic_load_n(&v->engine->rest_wanted, __ATOMIC_SEQ_CST)) return;
    v->count[COUNT_REST]++;
    rest_begin(v);
    rest_end(v);
}

void bt_exclusive_begin(struct bt_vcpu *v)
{
    struct bt_engine *e = v->engine;
    if (v->exclusive++ || is_alone(v)) return;
    v->count[COUNT_EXCLUSIVE]++;
    rest_begin(v);
    lock(&e->exclusive_lock);
    __atomic_store_n(&e->rest_wanted, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < e->vcpu_count; i++) {
        struct bt_vcpu *w = e->vcpu[i];
        if (!w || w == v) continue;
        bt_poke(w);
        for (;;) {
            int seen = __atomic_load_n(&e->rest_changes, __ATOMIC_SEQ_CST);
            if (__atomic_load_n(&w->at_rest, __ATOMIC_SEQ_CST)) break;
            futex_wait(&e->rest_changes, seen);
        }
    }
    __atomic_store_n(&v->at_rest, 0, __ATOMIC_SEQ_CST);
}

void bt_exclusive_end(struct bt_vcpu *v)
{
    struct bt_engine *e = v->engine;
    if (--v->exclusive || is_alone(v)) return;
    __atomic_store_n(&e->rest_wanted, 0, __ATOMIC_SEQ_CST);
    futex_wake(&e->rest_wanted, INT32_MAX);
    unlock(&e->exclusive_lock);
}

/* ---- Epochs ---- */

/* Waits until each vCPU whose bit is set in `who` has left the block that it is in. Between blocks, no lock held. */
static void epochs_wait(struct bt_vcpu *v, const uint64_t *who)
{
    enum { SPINS = 1000 };
    struct bt_engine *e = v->engine;
    rest_begin(v);                                     /* it may be waiting for us */
    for (unsigned i = 0; i < e->vcpu_count; i++) {
        struct bt_vcpu *w = e->vcpu[i];
        if (!(who[i / 64] >> i % 64 & 1) || !w) continue;
        uint64_t epoch = __atomic_load_n(&w->epoch, __ATOMIC_SEQ_CST);
        bt_poke(w);
        for (unsigned spins = 0; !__atomic_load_n(&w->at_rest, __ATOMIC_SEQ_CST) &&
                                 __atomic_load_n(&w->epoch, __ATOMIC_SEQ_CST) == epoch; spins++) {
            if (spins < SPINS) __builtin_ia32_pause();
            else sched_yield();
        }
    }
    rest_end(v);
}

/* Code is going to be translated from the page: from now on no write to it goes unnoticed. Code lock held. false: the lock
 * was given up meanwhile, all that was found out under it is old; look and call again. */
bool bt_page_watch(struct bt_vcpu *v, gpa_t page)
{
    struct bt_engine *e = v->engine;
    uint8_t *state = &e->page_watch[page >> 12];
    uint64_t who[VCPUS_MAX / 64] = { 0 };
    bool others = false;
    if (*state == PAGE_WATCHED) return true;
    if (*state == PAGE_CLOSING) {                      /* another vCPU is at it */
        bt_code_unlock(v);
        rest_begin(v);
        sched_yield();
        rest_end(v);
        bt_code_lock(v);
        return false;
    }
    __atomic_store_n(state, PAGE_CLOSING, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < e->vcpu_count; i++) {
        struct bt_vcpu *w = e->vcpu[i];
        if (w) bt_windows_drop_write(w, page);
        if (!w || !(bt_tlb_drop_write(w, page) || bt_is_watching(w)) || w == v) continue;
        who[i / 64] |= 1ull << i % 64;
        others = true;
    }
    if (others) {
        bt_code_unlock(v);
        epochs_wait(v, who);
        bt_code_lock(v);
    }
    __atomic_store_n(state, PAGE_WATCHED, __ATOMIC_SEQ_CST);
    return !others;
}

/* The page is written and holds no blocks: let writes be quick again. true: it is watched no more. */
bool bt_page_unwatch(struct bt_vcpu *v, gpa_t page)
{
    struct bt_engine *e = v->engine;
    bt_code_lock(v);
    bool none = !e->page_tbs[page >> 12] && e->page_watch[page >> 12] != PAGE_CLOSING;
    if (none) __atomic_store_n(&e->page_watch[page >> 12], PAGE_FREE, __ATOMIC_SEQ_CST);
    bt_code_unlock(v);
    return none;
}

/* Empties the code cache, or its oldest part, if that is (still) wanted. Between blocks, no lock held. */
void bt_flush_wanted(struct bt_vcpu *v)
{
    bt_exclusive_begin(v);
    if (v->engine->flush_all) {
        bt_cache_empty(v->engine);
    } else if (v->engine->part_full) {
        bt_cache_advance(v->engine);
        bt_perf_part(v);
    }
    bt_exclusive_end(v);
}
