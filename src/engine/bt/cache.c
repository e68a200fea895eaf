/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The code cache: where blocks' code and descriptions lie, and how room is made.
 *
 * Behind the thunks the cache has two halves, code that runs often and code that runs seldom; each is cut into as many parts, and so is the
 * arena of descriptions. Translations go to one part until its code, its seldom code or its descriptions are full, then to the next, whose blocks
 * are forgotten first: those are the oldest, all others go on. A part only grows, so its blocks are sorted by address in both halves.
 *
 * A block that is invalidated is taken out of all look-ups and nothing jumps to it any more, but its code stays where it is, so that a vCPU which is
 * inside it comes out safely. So a part is emptied while all others rest and this vCPU is between blocks (parallel.c).
 */
#include "engine/bt/bt_private.h"

enum { BLOCK_BYTES_MAX = 65536, PART_BYTES_MIN = 1 << 20 };    /* a block's code, in each half */

static struct code_part *current(struct bt_engine *e) { return &e->part[e->current_part]; }

static void part_reset(struct bt_engine *e, unsigned n)
{
    struct code_part *p = &e->part[n];
    __atomic_store_n(&p->tb_count, 0, __ATOMIC_RELEASE);
    p->hot = e->hot_base + n * e->hot_bytes;
    p->cold = e->cold_base + n * e->cold_bytes;
    p->meta = n * e->meta_part_bytes;
}

/* Lays the parts out; the thunks are there. */
void bt_cache_init(struct bt_engine *e)
{
    e->part_count = MAX(MIN(e->cache_bytes / PART_BYTES_MIN, (uint64_t)CODE_PARTS), 1ull);
    e->hot_base = e->thunk_bytes;
    e->cold_base = ALIGN_UP(e->cache_bytes / 2, PAGE_BYTES);
    e->hot_bytes = (e->cold_base - e->hot_base) / e->part_count & ~63ull;
    e->cold_bytes = (e->cache_bytes - e->cold_base) / e->part_count & ~63ull;
    e->meta_part_bytes = e->meta_bytes / e->part_count & ~63ull;
    e->tb_part_max = e->tb_max / e->part_count;
    for (unsigned n = 0; n < e->part_count; n++) part_reset(e, n);
}

static struct tb **part_tbs(const struct bt_engine *e, unsigned n) { return e->by_host + (uint64_t)n * e->tb_part_max; }

void *bt_cache_meta(struct bt_engine *e, uint64_t bytes, uint64_t align)
{
    struct code_part *p = current(e);
    uint64_t at = ALIGN_UP(p->meta, align);
    if (at + bytes > (e->current_part + 1) * e->meta_part_bytes) return NULL;
    p->meta = at + bytes;
    return e->meta + at;
}

bool bt_cache_place(struct bt_engine *e, uint64_t *hot, uint64_t *cold)
{
    const struct code_part *p = current(e);
    unsigned n = e->current_part;
    if (p->hot + BLOCK_BYTES_MAX > e->hot_base + (n + 1) * e->hot_bytes || p->cold + BLOCK_BYTES_MAX > e->cold_base + (n + 1) * e->cold_bytes ||
        p->tb_count == e->tb_part_max) return false;
    *hot = p->hot;
    *cold = p->cold;
    return true;
}

struct emitter bt_cache_emitter(const struct bt_engine *e, uint64_t at)
{
    return (struct emitter){ e->rw + at, e->rw + at + BLOCK_BYTES_MAX, e->rx - e->rw, false };
}

void bt_cache_keep(struct bt_engine *e, struct tb *tb)
{
    struct code_part *p = current(e);
    part_tbs(e, e->current_part)[p->tb_count] = tb;
    p->hot = ALIGN_UP((uint64_t)tb->host_end, 16);
    p->cold = tb->cold_end;
    __atomic_store_n(&p->tb_count, p->tb_count + 1, __ATOMIC_RELEASE);
}

struct tb *bt_tb_at(const struct bt_engine *e, unsigned part, uint32_t n)
{
    return n < __atomic_load_n(&e->part[part].tb_count, __ATOMIC_ACQUIRE) ? part_tbs(e, part)[n] : NULL;
}

/* The block whose host code holds host_pc, NULL if none does. */
struct tb *bt_tb_of_host(struct bt_engine *e, uint64_t host_pc)
{
    uint64_t at = host_pc - (uint64_t)e->rx;
    if (at >= e->cache_bytes || at < e->hot_base) return NULL;
    bool cold = at >= e->cold_base;
    uint64_t part = cold ? (at - e->cold_base) / e->cold_bytes : (at - e->hot_base) / e->hot_bytes;
    if (part >= e->part_count) return NULL;
    struct tb **tbs = part_tbs(e, part);
    uint32_t low = 0, high = __atomic_load_n(&e->part[part].tb_count, __ATOMIC_ACQUIRE);
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        struct tb *tb = tbs[middle];
        if (at < (cold ? tb->cold_start : tb->host)) high = middle;
        else if (at >= (cold ? tb->cold_end : tb->host_end)) low = middle + 1;
        else return tb;
    }
    return NULL;
}

/* ---- Making room ---- */

static void part_empty(struct bt_engine *e, unsigned n)
{
    bt_tbs_forget(e, part_tbs(e, n), e->part[n].tb_count);
    part_reset(e, n);
}

/* The vCPU's own look-ups lead to no block of the part any more. */
static void part_leave(struct bt_vcpu *v, unsigned n)
{
    uint64_t start = (uint64_t)v->engine->rx + v->engine->hot_base + n * v->engine->hot_bytes;
    for (unsigned i = 0; i < JC_SIZE; i++)
        if (v->jc[i].code - start < v->engine->hot_bytes) v->jc[i].tag = ~0ull;
    bt_returns_forget(v);
}

/* Forgets the oldest part and goes on there. All other vCPUs rest, and this one is between blocks. */
void bt_cache_advance(struct bt_engine *e)
{
    unsigned next = (e->current_part + 1) % e->part_count;
    if (e->part[next].tb_count) e->count_parts++;
    part_empty(e, next);
    for (unsigned i = 0; i < e->vcpu_count; i++)
        if (e->vcpu[i]) part_leave(e->vcpu[i], next);
    e->current_part = next;
    e->part_full = false;
    e->count_emptied++;
}

/* Forgets everything. As above. */
void bt_cache_empty(struct bt_engine *e)
{
    for (unsigned n = 0; n < e->part_count; n++) part_empty(e, n);
    for (unsigned i = 0; i < e->vcpu_count; i++)
        if (e->vcpu[i]) bt_new_salt(e->vcpu[i]);
    bt_fill(e->heat, 0, sizeof(e->heat));
    bt_fill(e->window_special, 0, sizeof(e->window_special));
    e->current_part = 0;
    e->flush_all = e->part_full = false;
    bt_perf_flush(e);
    e->count_tb_flush++;
    e->count_emptied++;
}
