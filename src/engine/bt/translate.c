/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One translation block: decode up to a branch, the end of the page or TB_MAX_INSNS; find where the flags are live;
 * emit. An instruction that continues on the next page is a block of its own, known on both pages.
 */
#include "base/log.h"
#include "engine/bt/translate.h"

struct source { const uint8_t *page; unsigned available; uint8_t buffer[16]; };

/* Bytes behind the page border, for an instruction that starts at the end of this page. */
static unsigned bytes_beyond(struct bt_vcpu *v, gva_t linear, unsigned have, uint8_t *to, gpa_t *page2)
{
    gva_t next = PAGE_OF(linear) + PAGE_BYTES;
    bool io, readonly;
    if (!x86_is_code64(&v->s)) next = (uint32_t)next;
    gpa_t gpa = bt_fetch_translate(v, next, &io);
    unsigned n = 15 - have;
    if (io) {
        bt_mmio(v, gpa, to, n, false);
    } else {
        bt_copy(to, bt_ram(v->engine, gpa, &readonly), n);
    }
    *page2 = PAGE_OF(gpa);
    return n;
}

static bool is_last(const struct trans *t, const struct x86_insn *i)
{
    if (i->attr & IA_BRANCH) return true;
    if ((i->attr & (IA_COPY | IA_NOP)) || t_has_rule(i) || t_is_privileged_rule(t, i)) return false;
    struct bt_helper h = bt_helper_find(i);
    return h.fn && h.kind == HELPER_END;
}

static bool breaks_before(const struct trans *t, unsigned offset)
{
    struct bt_vcpu *v = t->v;
    if (!(t->flags & TBF_FIXED)) return false;
    gva_t linear = v->s.seg[SEG_CS].base + t->key_base + offset;
    if (!x86_is_code64(&v->s)) linear = (uint32_t)linear;
    for (unsigned n = 0; n < v->debug.wish.count; n++)
        if (v->debug.wish.breakpoint[n].type == 0 && v->debug.wish.breakpoint[n].address == linear) return true;
    for (unsigned n = 0; n < 4; n++)
        if ((v->s.dr[7] >> (2 * n) & 3) && !((v->s.dr[7] >> (16 + 4 * n)) & 3) && v->s.dr[n] == linear) return true;
    return false;
}

/* F3 before BSF and BSR makes TZCNT and LZCNT of them where those exist; elsewhere it means nothing. */
static void scan_without_rep(const struct trans *t, const uint8_t *bytes, struct x86_insn *i)
{
    uint8_t plain[15], len = i->len;
    unsigned n = 0, at = 0;
    bool counts_zeros = i->mnemonic == X86_TZCNT || i->mnemonic == X86_LZCNT;
    if (!counts_zeros || t->en->feature[i->feature]) return;
    for (; bytes[at] != 0x0f; at++) {
        if (bytes[at] != 0xf2 && bytes[at] != 0xf3) plain[n++] = bytes[at];
        else if (t->mode == X86_CODE64 && n && (plain[n - 1] & 0xf0) == 0x40) n--;      /* REX counts only beside the opcode */
    }
    for (; at < len; at++) plain[n++] = bytes[at];
    x86_decode(plain, n, t->mode, i);
    i->len = len;
}

/* Decodes the block's instructions into t. page: bytes of the page, valid from offset on for available bytes. */
static void scan(struct trans *t, gva_t linear, const uint8_t *at, unsigned available, gpa_t *page2)
{
    unsigned offset = PAGE_OFFSET(linear), limit = t->flags & TBF_STEP ? 1 : TB_MAX_INSNS, sides = 0;
    uint64_t cs_limit = t->flags & TBF_FIXED && t->mode != X86_CODE64 ? t->tb->cs_limit : ~0ull;
    while (t->count < limit && available) {
        unsigned n = t->count;
        uint64_t rip = (uint32_t)(t->key_base + offset);
        if (n && breaks_before(t, offset)) return;
        uint8_t *bytes = t->bytes[n];
        unsigned have = MIN(available, 15u);
        if (available >= 16) __builtin_memcpy(bytes, at, 16);
        else bt_copy(bytes, at, have);
        enum x86_decode_result r = x86_decode(bytes, have, t->mode, &t->insn[n]);
        if (r == X86_DECODE_SHORT && have < 15) {
            if (n) return;
            have += bytes_beyond(t->v, linear, have, bytes + have, page2);
            r = x86_decode(bytes, have, t->mode, &t->insn[n]);
            if (t->insn[n].len > available) t->crossing = true;
            else *page2 = ~0ull;
        }
        if (r == X86_DECODE_SHORT) r = X86_DECODE_TOO_LONG;
        if (cs_limit != ~0ull && rip + t->insn[n].len - 1 > cs_limit) {
            if (n) return;
            r = X86_DECODE_TOO_LONG;                   /* #GP(0), like a fetch beyond the limit */
        }
        if (r == X86_DECODE_OK) scan_without_rep(t, bytes, &t->insn[n]);
        t->result[n] = r;
        t->offset[n] = offset;
        t->count++;
        if (t->insn[n].len == 0) t->insn[n].len = 1;
        if (r != X86_DECODE_OK || t->crossing) return;
        bool goes_on = sides < TB_MAX_SIDES && t_goes_on(t, &t->insn[n], offset);
        if (!goes_on && is_last(t, &t->insn[n])) return;
        sides += goes_on;
        offset += t->insn[n].len;
        at += t->insn[n].len;
        available -= t->insn[n].len;
    }
}

static void find_labels(struct trans *t)
{
    bt_fill(t->is_label, 0, sizeof(t->is_label));
    for (unsigned n = 0; n < t->count; n++) t->is_label[t_inner_target(t, n)] = true;
    t->is_label[0] = false;
}

static void find_live_flags(struct trans *t)
{
    bool live = true;
    uint16_t need = RFLAGS_ARITH, need_at[TB_MAX_INSNS];
    for (unsigned n = t->count; n-- > 0;) {
        const struct x86_insn *i = &t->insn[n];
        unsigned inner = t_inner_target(t, n);
        bool plain = t->result[n] == X86_DECODE_OK && (i->attr & (IA_COPY | IA_NOP)) && !(i->attr & IA_BRANCH);
        if (plain || (t->result[n] == X86_DECODE_OK && t_has_rule(i))) {
            if ((i->flags_written & RFLAGS_ARITH) || (i->flags_undefined & RFLAGS_ARITH))
                need &= ~((i->flags_written | i->flags_undefined) & ~i->flags_read);
            need |= i->flags_read & RFLAGS_ARITH;
        } else if (t->result[n] == X86_DECODE_OK && t_is_privileged_rule(t, i) && t_leaves_flags(i)) {
            ;
        } else if (inner) {
            need |= need_at[inner] | (i->flags_read & RFLAGS_ARITH);
        } else {
            need = RFLAGS_ARITH;
        }
        live = need != 0 || t->en->exact_flags;
        t->flags_live[n] = live;
        need_at[n] = need;
    }
}

static void bind_label(struct trans *t, unsigned n)
{
    for (unsigned k = 0; k < t->inner_count && t->is_label[n]; k++)
        if (t->inner[k].insn == n) e_bind32(&t->e, t->inner[k].from);
}

void t_rip_load(struct trans *t, int to, int64_t offset)
{
    if (t->flags & TBF_RIP) {
        e_mov_ri(&t->e, to, t->key_base + offset);
        return;
    }
    e_load(&t->e, to, hm(H_RSP, VOFF(pcbase)));
    if (!offset) return;
    if (t->mode == X86_CODE64) e_lea(&t->e, to, hm(to, (int32_t)offset));
    else e_lea32(&t->e, to, hm(to, (int32_t)offset));
}

/* A short loop that lies across two lines of 64 bytes takes up to twice the time. */
enum { LOOP_ALIGN = 64 };

static void emit_block(struct trans *t)
{
    struct emitter *e = &t->e;
    struct tb *tb = t->tb;
    if (t->flags & TBF_RIP) {                       /* look-up entry; bt_tb_unlink writes over it */
        e_nops(e, 7);
    } else {
        e_lea32_disp(e, S1, S1, -(int32_t)t->offset[0]);
        e_store(e, hm(H_RSP, VOFF(pcbase)), S1);
    }
    tb->host_main = e->p - t->en->rw;
    t_groups_hoist(t);
    t_scratch_carry(t);
    if (t->is_loop && t->windows) e_align(e, LOOP_ALIGN);
    tb->host_loop = e->p - t->en->rw;
    t_loop_begin(t);
    for (unsigned n = 0; n < t->count && !e->full; n++) {
        t->current = n;
        t->ended = false;
        bind_label(t, n);
        t_group_begin(t);
        t_scratch_begin(t);
        t->map[n] = (struct tb_insn){ e->p - (t->en->rw + tb->host), t->offset[n], t->insn[n].len };
        t_instruction(t);
    }
    t_scratch_end(t);
    if (!t->ended) t_exit_direct(t, t_next_offset(t));
    tb->host_end = e->p - t->en->rw;
    if (e->full) return;
    *e = bt_cache_emitter(t->en, tb->cold_start);
    t_emit_cold(t);
    t_emit_side_exits(t);
    t_emit_stubs(t);
    tb->cold_end = e->p - t->en->rw;
}

static void print_in_asm(const struct trans *t, uint64_t rip)
{
    char text[128];
    trace_print("IN: %#lx flags %#x\n", (unsigned long)rip, t->flags);
    for (unsigned n = 0; n < t->count; n++) {
        uint64_t pc = rip + t->offset[n] - t->offset[0];
        if (t->result[n] == X86_DECODE_OK) x86_format(&t->insn[n], pc, text, sizeof(text));
        else snprintf(text, sizeof(text), "(bad)");
        trace_print("%#010lx: ", (unsigned long)pc);
        for (unsigned k = 0; k < t->insn[n].len; k++) trace_print("%02x", t->bytes[n][k]);
        trace_print("  %s\n", text);
    }
}

struct print_call { const struct trans *t; uint64_t rip; };
static void print_in_host(struct bt_vcpu *v, void *arg)
{
    struct print_call *c = arg;
    if (trace_is_on(TRACE_IN_ASM)) print_in_asm(c->t, c->rip);
    if (!trace_is_on(TRACE_OUT_ASM)) return;
    const struct tb *tb = c->t->tb;
    trace_print("OUT: %u bytes at %p\n", tb->host_end - tb->host, (void *)(v->engine->rx + tb->host));
    for (uint32_t at = tb->host; at < tb->host_end; at++) trace_print("%02x", v->engine->rx[at]);
    trace_print("\n");
}

/* The arrays that outlive the translation. false: out of memory. */
static bool keep(struct trans *t)
{
    struct bt_engine *en = t->en;
    struct tb *tb = t->tb;
    tb->insn = bt_cache_meta(en, t->count * sizeof(struct tb_insn), 16);
    if (!tb->insn || t->out_of_memory || t->e.full) return false;
    bt_copy(tb->insn, t->map, t->count * sizeof(struct tb_insn));
    tb->insn_count = t->count;
    tb->size = t->offset[t->count - 1] + t->insn[t->count - 1].len - t->offset[0];
    bt_cache_keep(en, tb);
    en->count_tb++;
    t->v->count[COUNT_TRANSLATE]++;
    en->count_guest_insns += t->count;
    en->count_guest_bytes += tb->size;
    en->count_host_bytes += tb->host_end - tb->host + tb->cold_end - tb->cold_start;
    return true;
}

/* Translates the block at physical pc (linear, rip) for the vCPU's mode. NULL: its part of the cache is full, make room and try again;
 * or *unwatched is set to a page that is to be watched first. Code lock held. May raise #PF when the first instruction
 * continues on a page that is not there. io: the code is in device memory. */
struct tb *bt_translate(struct bt_vcpu *v, gpa_t pc, uint64_t rip, gva_t linear, bool io, gpa_t *unwatched)
{
    static __thread struct trans scratch;
    struct bt_engine *en = v->engine;
    struct trans *t = &scratch;
    bool readonly;
    uint8_t io_bytes[16];
    t->v = v;
    t->en = en;
    t->flags = v->tbflags;
    t->mode = v->tbflags & TBF_MODE;
    t->key_base = rip - PAGE_OFFSET(pc);
    t->count = t->current = t->cold_count = t->jump_count = t->side_count = t->inner_count = 0;
    t->s1_group = t->s2_group = t->s1_slot = t->carried_s1 = t->carried_s2 = -1;
    t->crossing = t->ended = t->out_of_memory = false;
    bt_fill(t->jump_stub, 0, sizeof(t->jump_stub));
    bt_fill(t->jump, 0, sizeof(t->jump));
    uint64_t hot, cold;
    struct tb *tb = t->tb = bt_cache_meta(en, sizeof(*tb), 64);
    if (!tb || !bt_cache_place(en, &hot, &cold)) return NULL;
    bt_fill(tb, 0, sizeof(*tb));
    tb->pc = pc;
    tb->flags = t->flags;
    tb->key_base = t->flags & TBF_HAS_RIP ? t->key_base : 0;
    tb->cs_limit = t->flags & TBF_FIXED ? v->s.seg[SEG_CS].limit : 0xffffffff;
    tb->page2 = ~0ull;
    tb->uncached = io;
    tb->host = hot;
    tb->cold_start = cold;
    t->e = bt_cache_emitter(en, hot);
    const uint8_t *at = io ? io_bytes : bt_ram(en, pc, &readonly);
    unsigned available = PAGE_BYTES - PAGE_OFFSET(pc);
    if (io) {
        bt_mmio(v, pc, io_bytes, MIN(available, 15u), false);
        t->flags |= TBF_STEP;
    }
    scan(t, linear, at, available, &tb->page2);
    if (tb->page2 != ~0ull && !bt_ram(en, tb->page2, &readonly)) tb->uncached = true;   /* continues in device memory */
    if (tb->page2 != ~0ull && !tb->uncached && !bt_page_is_watched(en, tb->page2)) {
        *unwatched = tb->page2;
        return NULL;
    }
    t->windows = t->flags & TBF_WINDOW && !(t->flags & TBF_STEP) && !bt_window_is_special(en, pc);
    t->soft_page = !io && !t->crossing && !(t->flags & TBF_STEP) && bt_is_hot(en, pc) ? at - PAGE_OFFSET(pc) : NULL;
    t->is_loop = t_is_loop(t);
    t->loop_poll = NULL;
    find_labels(t);
    find_live_flags(t);
    t_find_groups(t);
    t_scratch_plan(t);
    emit_block(t);
    if (!keep(t)) return NULL;
    bt_perf_block(v, tb, rip);
    if (trace_is_on(TRACE_IN_ASM) || trace_is_on(TRACE_OUT_ASM)) {
        struct print_call c = { t, rip };
        bt_host_call(v, print_in_host, &c);
    }
    return tb;
}
