/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens between translation blocks: mode changes, interrupts, single steps, look-ups, exits to the machine.
 * Called by the thunks, in the guest world; each function returns the host code to go on with.
 *
 * The order at a block head is the manual's (SDM 3A table 6-2): traps of the instruction before, NMI, interrupts,
 * then breakpoints of the next instruction.
 */
#include "base/log.h"
#include "engine/bt/bt_private.h"

/* ---- Mode ---- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

static uint64_t salt_of(uint32_t tbflags, uint64_t other) { return mix(other ^ tbflags * 0x9e3779b97f4a7c15ull); }

static void salts_forget_old(struct bt_vcpu *v)
{
    if (v->gate_generation == v->generation && v->gate_asid == v->asid && v->gate_kernel == v->kernel_generation) return;
    bt_gates_shut(v);
    v->gate[GATE_USER].salt = v->gate[GATE_KERNEL].salt = 0;
    v->gate_generation = v->generation;
    v->gate_asid = v->asid;
    v->gate_kernel = v->kernel_generation;
}

/* Sets the vCPU's salt from its mode and address space; spoiled if somebody wants it to leave (the order of the two
 * stores matters: see bt_poke). The kernel's entries lead to global pages (or kernel_local tells), so they outlive
 * a change of the address space. */
void bt_salt_update(struct bt_vcpu *v)
{
    const uint32_t ac = (MMU_KERNEL ^ MMU_KERNEL_SMAP) << TBF_MMU_SHIFT;
    struct gate *g = &v->gate[(v->tbflags & TBF_CPL) == TBF_CPL ? GATE_USER : GATE_KERNEL];
    bool smap = v->s.cr4 & CR4_SMAP && v->tbflags & TBF_RIP && !(v->tbflags & TBF_CPL);
    bool with_ac = smap && (v->tbflags & TBF_MMU) >> TBF_MMU_SHIFT == MMU_KERNEL;
    uint32_t flags = with_ac ? v->tbflags ^ ac : v->tbflags;
    salts_forget_old(v);
    if (!g->salt || g->tbflags != flags || v->cs_key) {
        uint64_t space = g == &v->gate[GATE_USER] ? v->asid : ~v->kernel_generation;
        uint64_t other = mix(v->generation + space) ^ mix(v->cs_key + 1);
        bt_gates_shut(v);
        g->tbflags = flags;
        g->salt = salt_of(flags, other);
        g->ac_salt = smap ? salt_of(flags ^ ac, other) : 0;
    }
    v->good_salt = with_ac ? g->ac_salt : g->salt;
    v->ac_salt = with_ac ? g->salt : g->ac_salt;
    v->minus_salt = -v->good_salt;
    if (v->cs_key) g->salt = 0;
    __atomic_store_n(&v->salt, v->good_salt, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&v->pending, __ATOMIC_SEQ_CST)) __atomic_store_n(&v->salt, ~v->good_salt, __ATOMIC_SEQ_CST);
}

/* Forgets where returns lead. */
void bt_returns_forget(struct bt_vcpu *v) { bt_fill(v->ret_tag, 0, sizeof(v->ret_tag)); }

/* Forgets the whole jump cache. */
void bt_new_salt(struct bt_vcpu *v)
{
    v->generation = mix(v->generation + 0x9e3779b97f4a7c15ull);
    v->kernel_local = false;
    bt_fetch_pages_forget(v);
    bt_salt_update(v);
}

/* Forgets a block's places in the jump cache: RIP is known but for its page, or as a whole. */
void bt_jump_cache_forget(struct bt_vcpu *v, const struct tb *tb)
{
    uint64_t code = (uint64_t)v->engine->rx + tb->host, step = tb->flags & TBF_HAS_RIP ? JC_SIZE : PAGE_BYTES;
    for (uint64_t at = (tb->key_base + PAGE_OFFSET(tb->pc)) & MIN(step - 1, JC_SIZE - 1ull); at < JC_SIZE; at += step)
        if (v->jc[at].code == code) v->jc[at].tag = ~0ull;
}

/* Makes the vCPU leave generated code at its next poll or look-up. Any thread. A call that comes before that notes its return
 * with the spoiled salt; so no two of these are alike, or a later one would take that for good. */
void bt_poke(struct bt_vcpu *v)
{
    uint64_t spoiled = mix(__atomic_add_fetch(&v->pokes, 1, __ATOMIC_RELAXED) + (uint64_t)v);
    __atomic_store_n(&v->pending, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&v->salt, spoiled, __ATOMIC_SEQ_CST);
}

static bool is_flat_data(const struct segment *g)
{
    unsigned type = g->attr & SEG_ATTR_TYPE;
    return !(g->attr & SEG_ATTR_UNUSABLE) && g->base == 0 && g->limit == 0xffffffff && (type & 8 ? type & 2 : (type & 6) == 2);
}

/* Limits as generated code adds them: minus (limit + 1); 0 sends the access to bt_linear, which knows all rules. */
static void seg_limits(struct bt_vcpu *v)
{
    bool paragraphs = !(v->s.cr0 & CR0_PE) || (v->s.rflags & RFLAGS_VM);
    for (int n = 0; n < SEG_COUNT; n++) {
        const struct segment *g = &v->s.seg[n];
        unsigned type = g->attr & SEG_ATTR_TYPE;
        bool code = type & 8, down = !code && (type & 4), usable = !(g->attr & SEG_ATTR_UNUSABLE) && (g->attr & SEG_ATTR_P);
        bool readable = paragraphs || (usable && !down && (!code || (type & 2)));
        bool writable = paragraphs || (usable && !down && !code && (type & 2));
        v->seg_limit[0][n] = readable ? -((uint64_t)g->limit + 1) : 0;
        v->seg_limit[1][n] = writable ? -((uint64_t)g->limit + 1) : 0;
    }
}

static uint32_t fpu_flags(const struct x86_state *s)
{
    uint32_t f = 0;
    if (s->cr0 & (CR0_EM | CR0_TS)) f |= TBF_NO_X87;
    if (s->cr0 & CR0_EM) f |= TBF_EM;
    if (s->cr0 & CR0_TS) f |= TBF_TS;
    if ((s->cr0 & CR0_MP) && (s->cr0 & CR0_TS)) f |= TBF_NO_WAIT;
    if (s->cr4 & CR4_OSFXSR) f |= TBF_OSFXSR;
    if ((s->cr4 & CR4_OSXSAVE) && (s->xcr0 & 6) == 6) f |= TBF_AVX;
    return f;
}

/* Works out tbflags and what hangs on them from v->s. */
void bt_mode_update(struct bt_vcpu *v)
{
    const struct x86_state *s = &v->s;
    unsigned cpl = x86_cpl(s);
    bool code64 = x86_is_code64(s);
    uint32_t f = code64 ? TBF_CODE64 : s->seg[SEG_CS].attr & SEG_ATTR_DB ? TBF_CODE32 : TBF_CODE16;
    const struct segment *cs = &s->seg[SEG_CS];
    if ((s->cr0 & CR0_PE) && (s->rflags & RFLAGS_VM)) f = TBF_CODE16;
    if (s->seg[SEG_SS].attr & SEG_ATTR_DB) f |= TBF_SS32;
    f |= cpl << TBF_CPL_SHIFT;
    if (s->cr0 & CR0_PE) f |= TBF_PE;
    if (s->rflags & RFLAGS_VM) f |= TBF_VM;
    f |= fpu_flags(s);
    if (s->cr4 & CR4_TSD) f |= TBF_TSD;                /* at any level: see gate.c */
    v->mmu_index = cpl == 3 ? MMU_USER : (s->cr4 & CR4_SMAP) && !(s->rflags & RFLAGS_AC) ? MMU_KERNEL_SMAP : MMU_KERNEL;
    f |= v->mmu_index << TBF_MMU_SHIFT;
    if (cpl == 3 && (s->cr0 & CR0_AM) && (s->rflags & RFLAGS_AC)) f |= TBF_ALIGN;
    v->cs_key = 0;
    if (code64) {
        f |= TBF_FLAT;
    } else {
        bool cs_flat = cs->base == 0 && cs->limit == 0xffffffff && (f & TBF_MODE) == TBF_CODE32;
        if (cs_flat && (cs->attr & 2) && is_flat_data(&s->seg[SEG_DS]) && is_flat_data(&s->seg[SEG_ES]) &&
            is_flat_data(&s->seg[SEG_SS])) f |= TBF_FLAT;
        if (!cs_flat) {
            f |= TBF_FIXED;
            v->cs_key = cs->base * 0x100000001b3ull ^ (uint64_t)cs->limit << 1 ^ 1;
        }
        seg_limits(v);
    }
    bool exec_break = v->debug.has_exec;
    for (int i = 0; i < 4; i++) exec_break |= (s->dr[7] >> (2 * i) & 3) && !((s->dr[7] >> (16 + 4 * i)) & 3);
    if (exec_break) f |= TBF_FIXED;
    if (exec_break || bt_is_watching(v)) f |= TBF_NOGROUP;
    if (trace_is_on(TRACE_EXEC) || trace_is_on(TRACE_CPU)) f |= TBF_TRACE;
    if (cpl == 3 && code64 && !(f & (TBF_ALIGN | TBF_FIXED | TBF_NOGROUP | TBF_TRACE)) && bt_windows_wanted(v)) f |= TBF_WINDOW | TBF_RIP;
    if (cpl == 0 && code64 && !(f & TBF_FIXED)) f |= TBF_RIP;
    v->tbflags = f;
    bt_salt_update(v);
}

/* ---- Trace ---- */

static void trace_block(struct bt_vcpu *v, void *arg)
{
    const struct x86_state *s = &v->s;
    if (trace_is_on(TRACE_EXEC)) trace_print("Trace %04x:%lx flags %x\n", s->seg[SEG_CS].selector, (unsigned long)s->rip, v->tbflags);
    if (!trace_is_on(TRACE_CPU)) return;
    static const char names[16][4] = { "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                       "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15" };
    for (int i = 0; i < 16; i++)
        trace_print("%s=%016lx%s", names[i], (unsigned long)s->gpr[i], i % 4 == 3 ? "\n" : " ");
    trace_print("RIP=%016lx RFL=%08lx CPL=%u CR0=%08lx CR2=%016lx CR3=%08lx CR4=%08lx\n", (unsigned long)s->rip,
                (unsigned long)s->rflags, x86_cpl(s), (unsigned long)s->cr0, (unsigned long)s->cr2, (unsigned long)s->cr3,
                (unsigned long)s->cr4);
}

/* ---- Interrupts ---- */

struct acknowledge { int vector; };
static void acknowledge_in_host(struct bt_vcpu *v, void *arg)
{
    const struct engine_host *h = &v->engine->config.host;
    struct acknowledge *a = arg;
    v->count[COUNT_ACKNOWLEDGE]++;
    v->irq_request = 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    a->vector = -1;
    if (!h->interrupt_is_pending || !h->interrupt_is_pending(h->opaque, v->base.index)) return;
    a->vector = h->interrupt_acknowledge(h->opaque, v->base.index);
    v->irq_request = 1;                                /* perhaps there is another one */
}

/* Delivers what is waiting and may be taken now. */
static void take_interrupts(struct bt_vcpu *v)
{
    struct x86_state *s = &v->s;
    if (s->nmi_pending && !s->nmi_blocked) {
        s->nmi_pending = 0;
        v->count[COUNT_NMI]++;
        s->halted = 0;
        s->nmi_blocked = 1;
        bt_event_deliver(v, &(struct bt_event){ .kind = BT_EVENT_NMI, .vector = VECTOR_NMI });
    } else if (v->irq_request && (s->rflags & RFLAGS_IF)) {
        struct acknowledge a;
        bt_host_call(v, acknowledge_in_host, &a);
        if (a.vector < 0) return;
        if (x86_cpl(s) == 3) bt_windows_tick(v);
        v->count[COUNT_IRQ]++;
        s->halted = 0;
        bt_event_deliver(v, &(struct bt_event){ .kind = BT_EVENT_EXTERNAL, .vector = a.vector });
    } else {
        return;
    }
    v->mode_dirty = true;
}

static void do_work(struct bt_vcpu *v)
{
    struct bt_engine *e = v->engine;
    bt_code_lock(v);
    while (__atomic_exchange_n(&e->work_lock, 1, __ATOMIC_ACQUIRE)) __builtin_ia32_pause();
    unsigned count = e->work_count;
    bool all = count > ARRAY_SIZE(e->work);
    for (unsigned i = 0; i < count && !all; i++) bt_invalidate(e, e->work[i].start, e->work[i].size);
    if (all) e->flush_all = true;
    e->work_count = 0;
    v->work_request = 0;
    __atomic_store_n(&e->work_lock, 0, __ATOMIC_RELEASE);
    bt_code_unlock(v);
    if (v->flush_request) {                            /* the memory map changed */
        v->flush_request = 0;
        __atomic_store_n(&v->ranges_seen, __atomic_load_n(&e->ranges, __ATOMIC_SEQ_CST)->serial, __ATOMIC_SEQ_CST);
        bt_tlb_flush(v, true);
        e->flush_all = true;
    }
}

static uint64_t leave(struct bt_vcpu *v, enum engine_exit why)
{
    v->exit = why;
    v->count_exit[why]++;
    return v->engine->thunk_exit;
}

/* ---- Steps and breakpoints ---- */

/* The instruction that ran in a block of its own is done: its traps. true: *exit is where to go. */
static bool step_traps(struct bt_vcpu *v, uint64_t *exit)
{
    struct x86_state *s = &v->s;
    uint32_t dr6 = 0;
    bool tf = v->step_tf && !(v->step_no_trap);
    v->stepping_shadow = 0;
    v->step_tf = v->step_no_trap = false;
    if (tf) dr6 |= 1 << 14;
    dr6 |= v->data_hit & 15;
    int watch = (int)(v->data_hit >> 16) - 1;
    v->data_hit = 0;
    if (dr6) {
        s->dr[6] = (s->dr[6] & ~15ull) | dr6;
        bt_event_deliver(v, &(struct bt_event){ .kind = BT_EVENT_EXCEPTION, .vector = VECTOR_DB });
        v->mode_dirty = true;
    }
    if (watch < 0 && !v->debug.wish.single_step) return false;
    v->debug.info = (struct engine_debug_info){ .pc = s->rip, .is_step = watch < 0, .breakpoint = watch };
    if (watch >= 0 && (unsigned)watch < v->debug.wish.count) v->debug.info.address = v->debug.wish.breakpoint[watch].address;
    *exit = leave(v, EXIT_DEBUG);
    return true;
}

/* Breakpoints on the instruction at RIP. */
static bool exec_breakpoints(struct bt_vcpu *v, gva_t linear, uint64_t *exit)
{
    struct x86_state *s = &v->s;
    bool resumed = v->resume_bp && v->resume_pc == s->rip;
    v->resume_bp = false;
    for (unsigned n = 0; n < v->debug.wish.count && v->debug.has_exec && !resumed; n++) {
        if (v->debug.wish.breakpoint[n].type || v->debug.wish.breakpoint[n].address != linear) continue;
        v->debug.info = (struct engine_debug_info){ .pc = s->rip, .breakpoint = n, .address = linear };
        v->resume_bp = true;
        v->resume_pc = s->rip;
        *exit = leave(v, EXIT_DEBUG);
        return true;
    }
    if (s->rflags & RFLAGS_RF) {
        s->rflags &= ~(uint64_t)RFLAGS_RF;
        return false;
    }
    uint32_t hit = 0;
    for (int n = 0; n < 4; n++)
        if ((s->dr[7] >> (2 * n) & 3) && !((s->dr[7] >> (16 + 4 * n)) & 3) && s->dr[n] == linear) hit |= 1 << n;
    if (!hit) return false;
    s->dr[6] = (s->dr[6] & ~15ull) | hit;
    bt_raise(v, VECTOR_DB);
}

/* ---- Look-up ---- */

static gva_t linear_pc(const struct bt_vcpu *v)
{
    return x86_is_code64(&v->s) ? v->s.rip : (uint32_t)(v->s.seg[SEG_CS].base + v->s.rip);
}

/* The page behind that of linear, of a block that crosses. */
static gpa_t second_page(struct bt_vcpu *v, gva_t linear)
{
    gva_t next = PAGE_OF(linear) + PAGE_BYTES;
    bool io;
    if (!x86_is_code64(&v->s)) next = (uint32_t)next;
    return PAGE_OF(bt_fetch_translate(v, next, &io));
}

/* The block at RIP, with the code lock held. Raises what fetching raises. */
static struct tb *find_or_translate(struct bt_vcpu *v)
{
    struct x86_state *s = &v->s;
    gva_t linear = linear_pc(v);
    bool io;
    if (v->tbflags & TBF_CODE64) {
        if ((uint64_t)((int64_t)(s->rip << 16) >> 16) != s->rip) bt_raise_error(v, VECTOR_GP, 0);
    } else if (s->rip > s->seg[SEG_CS].limit) {
        bt_raise_error(v, VECTOR_GP, 0);
    }
    v->fetch_local = false;
    gpa_t pc = bt_fetch_translate(v, linear, &io);
    v->pcbase = s->rip - PAGE_OFFSET(pc);
    for (;;) {
        bt_code_lock(v);
        gpa_t unwatched = ~0ull;
        struct tb *tb = io ? NULL : bt_tb_find(v, pc, s->rip);
        if (tb && tb->page2 != ~0ull && second_page(v, linear) != tb->page2) {      /* mapped elsewhere meanwhile */
            bt_tb_unlink(v->engine, tb);
            tb = NULL;
        }
        if (tb) return tb;
        if (!io && !bt_page_watch(v, PAGE_OF(pc))) {
            bt_code_unlock(v);
            continue;
        }
        if (!v->engine->flush_all && !v->engine->part_full) tb = bt_translate(v, pc, s->rip, linear, io, &unwatched);
        if (tb && !tb->uncached) bt_tb_insert(v->engine, tb);
        if (tb) return tb;
        if (unwatched == ~0ull) v->engine->part_full = true;
        else bt_page_watch(v, unwatched);
        bt_code_unlock(v);
        if (unwatched == ~0ull) bt_flush_wanted(v);
    }
}

/* Notes tb in the jump cache; gives the code lock up. */
static uint64_t enter_tb(struct bt_vcpu *v, struct tb *tb)
{
    struct bt_engine *e = v->engine;
    if (!((v->tbflags | tb->flags) & (TBF_STEP | TBF_TRACE | TBF_NOGROUP)) && !tb->uncached && !v->debug.has_exec && !(v->s.dr[7] & 0xff)) {
        unsigned slot = v->s.rip & (JC_SIZE - 1);
        v->jc[slot].tag = -(v->s.rip + v->good_salt);
        v->jc[slot].code = (uint64_t)e->rx + tb->host;
        gva_t linear = linear_pc(v), next = linear + PAGE_BYTES;
        bt_fetch_page_note(v, linear);
        if (tb->page2 != ~0ull) bt_fetch_page_note(v, v->tbflags & TBF_CODE64 ? next : (uint32_t)next);
        if ((v->tbflags & TBF_CPL) != TBF_CPL && v->fetch_local) v->kernel_local = true;
    }
    bt_code_unlock(v);
    return (uint64_t)e->rx + tb->host_main;
}

/* The instruction at RIP in a block of its own: traps after it, no interrupt before it. */
static uint64_t enter_step(struct bt_vcpu *v, bool trap)
{
    uint32_t flags = v->tbflags;
    v->stepping_shadow = 1;
    v->step_tf = trap;
    v->tbflags = (flags & ~TBF_WINDOW) | TBF_STEP;
    struct tb *tb = find_or_translate(v);
    uint64_t code = enter_tb(v, tb);
    v->tbflags = flags;
    return code;
}

/* ---- The way on, from everywhere ---- */

uint64_t bt_next(struct bt_vcpu *v)
{
    struct x86_state *s = &v->s;
    uint64_t exit;
    v->epoch++;
    v->count[COUNT_NEXT]++;
    if (v->exclusive) bt_exclusive_end(v);
    bool debug_exit = v->stepping_shadow && step_traps(v, &exit);
    if (debug_exit) return exit;
    for (;;) {
        bool shadow = s->interrupt_shadow;
        v->code_changed = 0;
        if (__atomic_load_n(&v->pending, __ATOMIC_RELAXED)) __atomic_store_n(&v->pending, 0, __ATOMIC_SEQ_CST);
        bt_rest(v);
        if (v->work_request | v->flush_request) do_work(v);
        if (v->kick) {
            v->kick = 0;
            return leave(v, EXIT_KICKED);
        }
        if (v->want_exit) {
            v->want_exit = false;
            return leave(v, v->exit);
        }
        /* The debugger's step shall not end in an interrupt handler; it still ends a HLT. */
        bool masked = v->debug.wish.single_step;
        if (!shadow && !masked && (v->irq_request || s->nmi_pending)) take_interrupts(v);
        if (s->halted) {
            bool wakes = (v->irq_request && (s->rflags & RFLAGS_IF)) || (s->nmi_pending && !s->nmi_blocked);
            if (!wakes) return leave(v, EXIT_HALTED);
            if (!masked) continue;
            s->halted = 0;
        }
        bt_mode_update(v);
        if (v->engine->flush_all) bt_flush_wanted(v);
        if (v->work_request | v->flush_request | v->kick) continue;
        if (trace_is_on(TRACE_EXEC) || trace_is_on(TRACE_CPU)) bt_host_call(v, trace_block, NULL);
        bool breakpoints = v->debug.has_exec || (s->dr[7] & 0xff);
        if (breakpoints && exec_breakpoints(v, linear_pc(v), &exit)) return exit;
        bool trap = s->rflags & RFLAGS_TF;             /* MOV SS itself asks for none: step_no_trap */
        s->interrupt_shadow = 0;
        if (trap || shadow || v->single_tb || v->debug.wish.single_step) {
            v->single_tb = false;
            if (v->want_exclusive) bt_exclusive_begin(v);
            v->want_exclusive = false;
            return enter_step(v, trap);
        }
        unsigned slot = s->rip & (JC_SIZE - 1);
        if (!breakpoints && v->jc[slot].tag + s->rip + v->good_salt == 0) return v->jc[slot].code;
        return enter_tb(v, find_or_translate(v));
    }
}

/* A look-up in the jump cache missed; s.rip is where to go. */
uint64_t bt_lookup(struct bt_vcpu *v)
{
    v->epoch++;
    v->count[COUNT_LOOKUP]++;
    if (v->pending || (v->tbflags & TBF_TRACE) || v->debug.has_exec || (v->s.dr[7] & 0xff)) return bt_next(v);
    v->code_changed = 0;
    return enter_tb(v, find_or_translate(v));
}

uint64_t bt_step_done(struct bt_vcpu *v) { return bt_next(v); }

/* Direct jump j wants its target. */
uint64_t bt_chain(struct bt_vcpu *v, struct tb_jump *j)
{
    uint64_t rip = bt_page_rip(v, j->from) + j->target;
    v->s.rip = x86_is_code64(&v->s) ? rip : (uint32_t)rip;
    v->epoch++;
    v->count[COUNT_CHAIN]++;
    /* A group that failed goes on here and now, or it would fail again. */
    if (!j->ungrouped && (v->pending || v->debug.has_exec || (v->s.dr[7] & 0xff))) return bt_next(v);
    v->code_changed = 0;
    uint64_t emptied = v->engine->count_emptied;
    uint32_t mode = v->tbflags;
    if (j->ungrouped) v->tbflags |= TBF_NOGROUP;
    struct tb *tb = find_or_translate(v);
    v->tbflags = mode;
    bool jump_lives = emptied == v->engine->count_emptied && !j->from->dead;
    if (jump_lives && !tb->uncached) {
        if (tb->page2 == ~0ull && (j->guard || PAGE_OF(tb->pc) == PAGE_OF(j->from->pc))) bt_jump_connect(v->engine, j, tb);
        else if (tb->page2 != ~0ull && (v->tbflags & TBF_CODE64)) bt_jump_by_cache(v->engine, j);
    }
    return enter_tb(v, tb);
}

static bool return_fits(const struct tb_jump *j, const struct tb *tb)
{
    const struct tb *from = j->from;
    return tb->pc == (PAGE_OF(from->pc) | (uint32_t)j->target) && (tb->flags | TBF_NOGROUP) == (from->flags | TBF_NOGROUP);
}

/* A return found its RIP (scratch) in the return stack, but its call does not know yet where that leads. */
uint64_t bt_return(struct bt_vcpu *v, struct tb_jump *j)
{
    v->s.rip = v->scratch;
    v->epoch++;
    v->count[COUNT_RETURN]++;
    if (v->pending || v->debug.has_exec || (v->s.dr[7] & 0xff)) return bt_next(v);
    v->code_changed = 0;
    uint64_t emptied = v->engine->count_emptied;
    struct tb *tb = find_or_translate(v);
    bool jump_lives = emptied == v->engine->count_emptied && !j->from->dead && !j->to;
    if (jump_lives && !tb->uncached && return_fits(j, tb)) {
        if (tb->page2 == ~0ull) bt_jump_connect(v->engine, j, tb);
        else bt_jump_by_cache(v->engine, j);
    }
    return enter_tb(v, tb);
}

/* A helper was called by the code at host_pc, and blocks were invalidated meanwhile. */
uint64_t bt_code_changed(struct bt_vcpu *v, uint64_t host_pc)
{
    struct tb *tb = bt_tb_of_host(v->engine, host_pc);
    v->count[COUNT_CODE_CHANGED]++;
    v->code_changed = 0;
    if (!tb || !tb->dead) return host_pc;
    const struct tb_insn *i = bt_tb_insn_at(v->engine, tb, host_pc - 1);
    v->s.rip = bt_rip_mask(v, bt_page_rip(v, tb) + i->guest + i->len);
    return bt_next(v);
}

/* ---- Exceptions ---- */

/* s.rip from the host PC of the access being served. */
void bt_unwind(struct bt_vcpu *v)
{
    if (!v->unwind_pc) return;
    struct tb *tb = bt_tb_of_host(v->engine, v->unwind_pc);
    if (tb) v->s.rip = bt_rip_mask(v, bt_page_rip(v, tb) + bt_tb_insn_at(v->engine, tb, v->unwind_pc - 1)->guest);
    v->unwind_pc = 0;
}

_Noreturn void bt_reenter(struct bt_vcpu *v)
{
    v->unwind_pc = 0;
    bt_code_unlock(v);                                 /* translation met a page that is not there */
    ((void (*)(struct bt_vcpu *))v->engine->thunk_raise)(v);
    __builtin_unreachable();
}

uint64_t bt_raised(struct bt_vcpu *v)
{
    if (v->ferr) {                                     /* CR0.NE clear: the error goes out as IRQ 13 */
        v->ferr = false;
        bt_ferr(v);
    }
    if (v->event_pending) {
        struct bt_event e = v->event;
        v->event_pending = false;
        v->count_exception[e.vector & 31]++;
        v->stepping_shadow = 0;
        v->step_tf = false;
        v->data_hit = 0;
        bt_event_deliver(v, &e);
    }
    return bt_next(v);
}

static _Noreturn void raise_event(struct bt_vcpu *v, struct bt_event e)
{
    bt_unwind(v);
    if (v->catch) {
        struct bt_catch *c = v->catch;
        v->catch = c->up;
        *c->event = e;
        __builtin_longjmp(c->buf, 1);
    }
    v->event = e;
    v->event_pending = true;
    bt_reenter(v);
}

_Noreturn void bt_raise(struct bt_vcpu *v, unsigned vector)
{
    raise_event(v, (struct bt_event){ .kind = BT_EVENT_EXCEPTION, .vector = vector });
}

_Noreturn void bt_raise_error(struct bt_vcpu *v, unsigned vector, uint32_t error)
{
    raise_event(v, (struct bt_event){ .kind = BT_EVENT_EXCEPTION, .vector = vector, .has_error = true, .error = error });
}

_Noreturn void bt_raise_page_fault(struct bt_vcpu *v, gva_t address, uint32_t error)
{
    v->s.cr2 = address;
    if (trace_is_on(TRACE_MMU)) trace_page_fault(v, address, error);
    bt_raise_error(v, VECTOR_PF, error);
}

bool bt_try(struct bt_vcpu *v, void (*fn)(struct bt_vcpu *v, void *arg), void *arg, struct bt_event *e)
{
    struct bt_catch c = { .up = v->catch, .event = e };
    if (__builtin_setjmp(c.buf)) return false;
    v->catch = &c;
    fn(v, arg);
    v->catch = c.up;
    return true;
}

_Noreturn void bt_restart(struct bt_vcpu *v) { bt_reenter(v); }

_Noreturn void bt_shutdown(struct bt_vcpu *v)
{
    v->exit = EXIT_SHUTDOWN;
    v->want_exit = true;
    v->catch = NULL;
    bt_reenter(v);
}

void bt_halt(struct bt_vcpu *v) { v->s.halted = 1; }
bool bt_wanted(struct bt_vcpu *v) { return __atomic_load_n(&v->pending, __ATOMIC_RELAXED); }

/* ---- Requests from other threads ---- */

void bt_vcpu_interrupt(struct engine_vcpu *base)
{
    struct bt_vcpu *v = bt_of(base);
    __atomic_store_n(&v->irq_request, 1, __ATOMIC_SEQ_CST);
    bt_poke(v);
}

void bt_vcpu_nmi(struct engine_vcpu *base)
{
    struct bt_vcpu *v = bt_of(base);
    __atomic_store_n(&v->s.nmi_pending, 1, __ATOMIC_SEQ_CST);
    bt_poke(v);
}

void bt_vcpu_kick(struct engine_vcpu *base)
{
    struct bt_vcpu *v = bt_of(base);
    __atomic_store_n(&v->kick, 1, __ATOMIC_SEQ_CST);
    bt_poke(v);
}

/* RAM was written behind the engine's back: drop what was translated from it. */
void bt_memory_written(void *opaque, gpa_t start, size_t size)
{
    struct bt_engine *e = opaque;
    bool any = false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);           /* what was written is seen by those who watch from now on */
    for (gpa_t page = PAGE_OF(start); page < start + size && !any; page += PAGE_BYTES) any = bt_page_is_watched(e, page);
    if (!any) return;
    while (__atomic_exchange_n(&e->work_lock, 1, __ATOMIC_ACQUIRE)) __builtin_ia32_pause();
    if (e->work_count < ARRAY_SIZE(e->work)) {
        e->work[e->work_count].start = start;
        e->work[e->work_count].size = size;
    }
    if (e->work_count <= ARRAY_SIZE(e->work)) e->work_count++;
    __atomic_store_n(&e->work_lock, 0, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < e->vcpu_count; i++) {
        if (!e->vcpu[i]) continue;
        __atomic_store_n(&e->vcpu[i]->work_request, 1, __ATOMIC_SEQ_CST);
        bt_poke(e->vcpu[i]);
    }
}

void bt_request_flush(struct bt_engine *e)
{
    for (unsigned i = 0; i < e->vcpu_count; i++) {
        if (!e->vcpu[i]) continue;
        __atomic_store_n(&e->vcpu[i]->flush_request, 1, __ATOMIC_SEQ_CST);
        bt_poke(e->vcpu[i]);
    }
}
