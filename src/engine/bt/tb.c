/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Translation blocks as a collection: found by guest-physical address and mode, by host address (for faults), by
 * physical page (for invalidation); and the direct jumps between them.
 *
 * All under the code lock (parallel.c).
 */
#include "engine/bt/bt_private.h"

/* base counts: a library's page has blocks for each of the programs that it is mapped into, elsewhere in each. */
static unsigned hash_of(gpa_t pc, uint32_t flags, uint64_t base)
{
    return ((pc ^ pc >> 13 ^ base >> 12) * 0x9e3779b97f4a7c15ull + flags * 0x85ebca6bull) >> (64 - TB_HASH_BITS);
}

/* The block for the vCPU's present mode at pc; NULL: not translated. */
struct tb *bt_tb_find(struct bt_vcpu *v, gpa_t pc, uint64_t rip)
{
    uint64_t base = v->tbflags & TBF_HAS_RIP ? rip - PAGE_OFFSET(pc) : 0;
    uint32_t limit = v->tbflags & TBF_FIXED ? v->s.seg[SEG_CS].limit : 0xffffffff;
    for (struct tb *tb = v->engine->hash[hash_of(pc, v->tbflags, base)]; tb; tb = tb->hash_next)
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
    tb->listed |= 1 << n;
    *head = tb;
    e->page_lines[page >> 12] |= tb_lines(tb, page);
}

static int page_index(const struct tb *tb, gpa_t page) { return PAGE_OF(tb->pc) == page ? 0 : 1; }

void bt_tb_insert(struct bt_engine *e, struct tb *tb)
{
    struct tb **slot = &e->hash[hash_of(tb->pc, tb->flags, tb->key_base)];
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
    if (to->incoming) to->incoming->link = &j->next_incoming;
    j->link = &to->incoming;
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

static void jump_disconnect(struct tb_jump *j)
{
    if (!j->to) return;
    *j->link = j->next_incoming;
    if (j->next_incoming) j->next_incoming->link = j->link;
    j->to = NULL;
}

/* Takes the dead blocks out of the list of a page. */
static void page_sweep(struct bt_engine *e, gpa_t page)
{
    for (struct tb **p = &e->page_tbs[page >> 12], *tb; (tb = *p);) {
        int n = page_index(tb, page);
        if (!tb->dead) {
            p = &tb->page_next[n];
            continue;
        }
        *p = tb->page_next[n];
        tb->listed &= ~(1 << n);
    }
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

/* A dead block leaves the look-ups that all vCPUs share, and so do all on its pages. */
static void leave(struct bt_engine *e, struct tb *tb)
{
    struct tb **p = &e->hash[hash_of(tb->pc, tb->flags, tb->key_base)];
    while (*p && *p != tb) p = &(*p)->hash_next;
    if (*p) *p = tb->hash_next;
    if (tb->listed & 1) page_sweep(e, PAGE_OF(tb->pc));
    if (tb->listed & 2) page_sweep(e, tb->page2);
    while (tb->incoming) {
        struct tb_jump *j = tb->incoming;
        jump_disconnect(j);
        if (j->guard) guard_set(e, j, PAGE_NONE);
        patch(e, j, j->stub);
    }
    for (unsigned i = 0; i < tb->jump_count; i++) jump_disconnect(&tb->jump[i]);
}

/* Takes blocks out of all look-ups but those of vCPUs, which are the caller's business. */
void bt_tbs_forget(struct bt_engine *e, struct tb **tbs, uint32_t count)
{
    enum { FORGOTTEN = 2 };
    for (uint32_t i = 0; i < count; i++)
        if (!tbs[i]->dead) tbs[i]->dead = FORGOTTEN;
    for (uint32_t i = 0; i < count; i++)
        if (tbs[i]->dead == FORGOTTEN) leave(e, tbs[i]);
}

/* Takes tb out of every look-up. */
void bt_tb_unlink(struct bt_engine *e, struct tb *tb)
{
    if (tb->dead) return;
    tb->dead = 1;
    entry_close(e, tb);
    leave(e, tb);
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

static void kill(struct bt_engine *e, struct tb *tb)
{
    bt_tb_unlink(e, tb);
    if (!bt_is_hot(e, tb->pc)) e->heat[heat_of(tb->pc)]++;
    for (unsigned i = 0; i < e->vcpu_count; i++)
        if (e->vcpu[i]) e->vcpu[i]->code_changed = 1;
}

/* A store hits code on a page that is not its own. Whoever writes over one block after the other makes the page anew: then all its blocks go
 * at once, or each of the stores would walk their list. */
void bt_page_rewritten(struct bt_engine *e, gpa_t page)
{
    enum { PATIENCE = 6 };
    if (e->rewritten_page != page) e->rewritten_count = 0;
    e->rewritten_page = page;
    if (++e->rewritten_count <= PATIENCE) return;
    while (e->page_tbs[page >> 12]) kill(e, e->page_tbs[page >> 12]);
    e->rewritten_count = 0;
}

/* Forgets the blocks that overlap the range. */
void bt_invalidate(struct bt_engine *e, gpa_t start, uint64_t size)
{
    while (size) {
        uint64_t n = MIN(size, PAGE_BYTES - PAGE_OFFSET(start));
        struct tb *tb;
        while (bt_tb_overlaps(e, start, n, &tb)) kill(e, tb);
        if (start >> 12 < e->page_count && !e->page_tbs[start >> 12] && e->page_watch[start >> 12] == PAGE_WATCHED)
            __atomic_store_n(&e->page_watch[start >> 12], PAGE_FREE, __ATOMIC_SEQ_CST);
        start += n;
        size -= n;
    }
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
