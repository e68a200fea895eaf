/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Translation blocks as a collection: found by guest-physical address and mode, by host address (for faults), by
 * physical page (for invalidation); and the direct jumps between them.
 *
 * The code cache and the arena for descriptions only grow; when one is full everything is forgotten at once. A block
 * that is invalidated is taken out of all look-ups and nothing jumps to it any more, but its code stays where it is,
 * so that a vCPU which is inside it comes out safely. All under the code lock (parallel.c), but bt_tb_of_host, which
 * looks at an array that only grows.
 */
#include "engine/bt/bt_private.h"

static unsigned hash_of(gpa_t pc, uint32_t flags)
{
    return ((pc ^ pc >> 13) * 0x9e3779b97f4a7c15ull + flags * 0x85ebca6bull) >> (64 - TB_HASH_BITS);
}

/* The block for the vCPU's present mode at pc; NULL: not translated. */
struct tb *bt_tb_find(struct bt_vcpu *v, gpa_t pc, uint64_t rip)
{
    uint64_t base = v->tbflags & TBF_HAS_RIP ? rip - PAGE_OFFSET(pc) : 0;
    uint32_t limit = v->tbflags & TBF_FIXED ? v->s.seg[SEG_CS].limit : 0xffffffff;
    for (struct tb *tb = v->engine->hash[hash_of(pc, v->tbflags)]; tb; tb = tb->hash_next)
        if (tb->pc == pc && tb->flags == v->tbflags && tb->key_base == base && tb->cs_limit == limit) return tb;
    return NULL;
}

/* The lines of the page that the bytes from first to last (both in the page, or not at all) lie in. */
static uint64_t lines_between(gpa_t first, gpa_t last)
{
    return ~0ull << PAGE_OFFSET(first) / 64 & ~0ull >> (63 - PAGE_OFFSET(last) / 64);
}

static uint64_t tb_lines(const struct tb *tb, gpa_t page)
{
    uint64_t first_part = MIN((uint64_t)tb->size, PAGE_BYTES - PAGE_OFFSET(tb->pc)), lines = 0;
    if (PAGE_OF(tb->pc) == page) lines |= lines_between(tb->pc, tb->pc + first_part - 1);
    if (tb->page2 == page) lines |= lines_between(page, page + (tb->size > first_part ? tb->size - first_part : 1) - 1);
    return lines;
}

static void page_add(struct bt_engine *e, struct tb *tb, gpa_t page, int n)
{
    struct tb **head = &e->page_tbs[page >> 12];
    tb->page_next[n] = *head;
    *head = tb;
    e->page_lines[page >> 12] |= tb_lines(tb, page);
}

static int page_index(const struct tb *tb, gpa_t page) { return PAGE_OF(tb->pc) == page ? 0 : 1; }

void bt_tb_insert(struct bt_engine *e, struct tb *tb)
{
    struct tb **slot = &e->hash[hash_of(tb->pc, tb->flags)];
    tb->hash_next = *slot;
    *slot = tb;
    page_add(e, tb, PAGE_OF(tb->pc), 0);
    if (tb->page2 != ~0ull && tb->page2 != PAGE_OF(tb->pc)) page_add(e, tb, tb->page2, 1);
}

/* Points jump j at target, an offset in the cache. The four bytes may be being executed: one store. */
static void patch(struct bt_engine *e, struct tb_jump *j, uint32_t target)
{
    int32_t *place = (int32_t *)(e->rw + j->patch);
    __atomic_store_n(place, (int32_t)(target - (j->patch + 4)), __ATOMIC_RELEASE);
}

/* The bytes are aligned. Code that runs may see them before or after the jump is patched: both ways it goes right, since a
 * jump that leads nowhere leads to the stub. */
static void guard_set(struct bt_engine *e, struct tb_jump *j, uint64_t value)
{
    __atomic_store_n((uint64_t *)(e->rw + j->guard), value, __ATOMIC_RELEASE);
}

void bt_jump_connect(struct bt_engine *e, struct tb_jump *j, struct tb *to)
{
    if (j->to || j->from->dead || to->dead) return;
    j->to = to;
    j->next_incoming = to->incoming;
    to->incoming = j;
    bool fixed = j->from->flags & TBF_RIP;
    patch(e, j, (j->guard && !fixed) || j->is_return ? to->host : to == j->from ? to->host_loop : to->host_main);
    if (j->guard) guard_set(e, j, fixed ? -bt_fetch_key(j->rip, to->pc) : bt_guard(to->pc));
}

/* The target is no place to jump to directly: the stub looks in the jump cache from now on. */
void bt_jump_by_cache(struct bt_engine *e, struct tb_jump *j)
{
    enum { MOV_R10_BYTES = 10, JMP_BYTES = 5 };
    uint64_t end = (uint64_t)e->rx + j->stub + MOV_R10_BYTES + JMP_BYTES;
    int32_t *place = (int32_t *)(e->rw + j->stub + MOV_R10_BYTES + 1);
    uint64_t thunk = j->is_return ? e->thunk_by_cache : j->from->flags & TBF_RIP ? e->thunk_crossing_fixed : e->thunk_crossing;
    __atomic_store_n(place, (int32_t)(thunk - end), __ATOMIC_RELEASE);
}

static void jump_disconnect(struct bt_engine *e, struct tb_jump *j)
{
    if (!j->to) return;
    struct tb_jump **p = &j->to->incoming;
    while (*p && *p != j) p = &(*p)->next_incoming;
    if (*p) *p = j->next_incoming;
    j->to = NULL;
}

static void page_remove(struct bt_engine *e, struct tb *tb, gpa_t page)
{
    struct tb **p = &e->page_tbs[page >> 12];
    while (*p && *p != tb) p = &(*p)->page_next[page_index(*p, page)];
    if (*p) *p = tb->page_next[page_index(tb, page)];
}

/* Whoever still comes to the look-up entry (a vCPU may have taken the address from its return stack and not jumped yet) is
 * sent on. The entry is aligned, and its first instruction has seven bytes: one store replaces it. */
static void entry_close(struct bt_engine *e, const struct tb *tb)
{
    enum { JMP_BYTES = 5 };
    uint64_t *place = (uint64_t *)(e->rw + tb->host), end = (uint64_t)e->rx + tb->host + JMP_BYTES;
    uint32_t d = (tb->flags & TBF_RIP ? e->thunk_by_cache : e->thunk_dead) - end;
    __atomic_store_n(place, (*place & 0xffffff0000000000ull) | (uint64_t)d << 8 | 0xe9, __ATOMIC_RELEASE);
}

/* Takes tb out of every look-up. */
void bt_tb_unlink(struct bt_engine *e, struct tb *tb)
{
    if (tb->dead) return;
    tb->dead = true;
    entry_close(e, tb);
    struct tb **p = &e->hash[hash_of(tb->pc, tb->flags)];
    while (*p && *p != tb) p = &(*p)->hash_next;
    if (*p) *p = tb->hash_next;
    page_remove(e, tb, PAGE_OF(tb->pc));
    if (tb->page2 != ~0ull && tb->page2 != PAGE_OF(tb->pc)) page_remove(e, tb, tb->page2);
    while (tb->incoming) {
        struct tb_jump *j = tb->incoming;
        tb->incoming = j->next_incoming;
        j->to = NULL;
        if (j->guard) guard_set(e, j, PAGE_NONE);
        patch(e, j, j->stub);
    }
    for (unsigned i = 0; i < tb->jump_count; i++) jump_disconnect(e, &tb->jump[i]);
    for (unsigned i = 0; i < e->vcpu_count; i++)
        if (e->vcpu[i]) bt_jump_cache_forget(e->vcpu[i], tb);
    e->count_invalidated++;
}

/* Any thread. */
bool bt_page_is_watched(const struct bt_engine *e, gpa_t gpa)
{
    return gpa >> 12 < e->page_count && __atomic_load_n(&e->page_watch[gpa >> 12], __ATOMIC_ACQUIRE);
}

static bool is_soft(const struct tb *tb, gpa_t start, gpa_t last)
{
    if (PAGE_OF(start) != PAGE_OF(tb->pc)) return false;
    for (unsigned n = 0; n < tb->soft_count; n++)
        if (PAGE_OFFSET(start) >= tb->soft[n].at && PAGE_OFFSET(last) < tb->soft[n].at + tb->soft[n].size) return true;
    return false;
}

static bool tb_touches(const struct tb *tb, gpa_t start, gpa_t last)
{
    if (is_soft(tb, start, last)) return false;
    uint64_t first_part = MIN((uint64_t)tb->size, PAGE_BYTES - PAGE_OFFSET(tb->pc));
    if (start < tb->pc + first_part && last >= tb->pc) return true;
    return tb->page2 != ~0ull && start < tb->page2 + (tb->size - first_part) && last >= tb->page2;
}

/* Does a write of size bytes (within one page) change a translated block? If not, the lines of blocks that are no more are taken out. */
bool bt_tb_overlaps(struct bt_engine *e, gpa_t start, uint64_t size, struct tb **first)
{
    if (start >> 12 >= e->page_count) return false;
    gpa_t page = PAGE_OF(start);
    uint64_t lines = 0;
    if (!(e->page_lines[start >> 12] & lines_between(start, start + size - 1))) return false;
    for (struct tb *tb = e->page_tbs[start >> 12]; tb; tb = tb->page_next[page_index(tb, page)]) {
        lines |= tb_lines(tb, page);
        if (!tb_touches(tb, start, start + size - 1)) continue;
        if (first) *first = tb;
        return true;
    }
    e->page_lines[start >> 12] = lines;
    return false;
}

static unsigned heat_of(gpa_t pc) { return pc * 0x9e3779b97f4a7c15ull >> (64 - TB_HEAT_BITS); }

/* Are blocks there written to again and again? */
bool bt_is_hot(const struct bt_engine *e, gpa_t pc) { return e->heat[heat_of(pc)] >= TB_HOT; }

/* Forgets the blocks that overlap the range. */
void bt_invalidate(struct bt_engine *e, gpa_t start, uint64_t size)
{
    while (size) {
        uint64_t n = MIN(size, PAGE_BYTES - PAGE_OFFSET(start));
        struct tb *tb;
        while (bt_tb_overlaps(e, start, n, &tb)) {
            bt_tb_unlink(e, tb);
            if (!bt_is_hot(e, tb->pc)) e->heat[heat_of(tb->pc)]++;
            for (unsigned i = 0; i < e->vcpu_count; i++)
                if (e->vcpu[i]) e->vcpu[i]->code_changed = 1;
        }
        if (start >> 12 < e->page_count && !e->page_tbs[start >> 12] && e->page_watch[start >> 12] == PAGE_WATCHED)
            __atomic_store_n(&e->page_watch[start >> 12], PAGE_FREE, __ATOMIC_SEQ_CST);
        start += n;
        size -= n;
    }
}

static void page_forget(struct bt_engine *e, gpa_t page)
{
    if (page >> 12 >= e->page_count) return;
    e->page_tbs[page >> 12] = NULL;
    e->page_lines[page >> 12] = 0;
}

/* Forgets everything. All other vCPUs rest, and this one is between blocks. */
void bt_tb_flush(struct bt_engine *e)
{
    for (uint32_t i = 0; i < e->tb_count; i++) {
        struct tb *tb = e->by_host[i];
        if (tb->dead) continue;
        page_forget(e, tb->pc);
        if (tb->page2 != ~0ull) page_forget(e, tb->page2);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(e->hash); i++) e->hash[i] = NULL;
    bt_fill(e->heat, 0, sizeof(e->heat));
    bt_fill(e->window_special, 0, sizeof(e->window_special));
    e->tb_count = 0;
    e->cache_used = e->thunk_bytes;
    e->cold_used = e->cold_base;
    e->meta_used = 0;
    e->flush_all = false;
    bt_perf_flush(e);
    e->count_tb_flush++;
    for (unsigned i = 0; i < e->vcpu_count; i++)
        if (e->vcpu[i]) bt_new_salt(e->vcpu[i]);
}

/* The block whose host code holds host_pc, NULL if none does. by_host is sorted, for both parts of the cache, since they
 * only grow. */
struct tb *bt_tb_of_host(struct bt_engine *e, uint64_t host_pc)
{
    uint64_t at = host_pc - (uint64_t)e->rx;
    if (at >= e->cache_bytes) return NULL;
    bool cold = at >= e->cold_base;
    uint32_t low = 0, high = __atomic_load_n(&e->tb_count, __ATOMIC_ACQUIRE);
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        struct tb *tb = e->by_host[middle];
        if (at < (cold ? tb->cold_start : tb->host)) high = middle;
        else if (at >= (cold ? tb->cold_end : tb->host_end)) low = middle + 1;
        else return tb;
    }
    return NULL;
}

/* The guest instruction that host_pc belongs to. Cold code lies behind all blocks: tb->cold tells whose it is. */
struct tb_insn *bt_tb_insn_at(struct bt_engine *e, struct tb *tb, uint64_t host_pc)
{
    uint32_t at = host_pc - (uint64_t)e->rx - tb->host;
    for (unsigned i = tb->cold_count; i-- > 0;)
        if (at >= tb->cold[i].host) return &tb->insn[tb->cold[i].insn];
    struct tb_insn *found = &tb->insn[0];
    for (unsigned i = 0; i < tb->insn_count && tb->insn[i].host <= at; i++) found = &tb->insn[i];
    return found;
}
