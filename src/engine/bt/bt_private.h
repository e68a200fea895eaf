/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the bt engine share among themselves: the memory of one vCPU as generated code sees it, the
 * translation block, the engine. docs/translator.md tells how the parts work together.
 */
#ifndef ENGINE_BT_PRIVATE_H
#define ENGINE_BT_PRIVATE_H

#include <pthread.h>
#include <setjmp.h>
#include <sys/types.h>
#include "base/bits.h"
#include "engine/bt/bt.h"
#include "engine/bt/emit.h"

enum {
    TLB_BITS_FIRST = 11,                           /* entries of one softmmu TLB: at first, */
    TLB_BITS = 15, TLB_SIZE = 1 << TLB_BITS,       /* at most */
    TLB_LOG = 4096,
    SECOND_BITS = 11, SECOND_WAYS = 4,             /* sets and ways of the second-level TLB */
    FILTER_BITS = 12,                              /* of the Bloom filters in tlb.c */
    PCIDS = 4096,
    GUARD_BITS = 13, GUARD_SIZE = 1 << GUARD_BITS, GUARD_LOG = 1024,     /* pages that jumps lead to, for user and kernel */
    RET_BITS = 8, RET_SIZE = 1 << RET_BITS,        /* entries of the return stack */
    JC_BITS = 15, JC_SIZE = 1 << JC_BITS,          /* entries of the jump cache */
    MMU_USER = 0, MMU_KERNEL = 1, MMU_KERNEL_SMAP = 2, MMU_COUNT = 3,
    TB_MAX_INSNS = 64, TB_GROUPS = 7, TB_SOFT = 4,
    WINDOWS = 48, WINDOW_PIECES = 256, WINDOW_MAPPINGS = 20000, WINDOW_SPACES = 64,     /* of a vCPU, see window.c */
    BOUNCE_BYTES = 256,
    VCPUS_MAX = 256,
    PAGES_MAX = 1 << 26,                           /* of guest-physical memory that is translated or written quickly */
};
#define PAGE_BYTES 4096ull
#define HUGE_BYTES (2ull << 20)
#define PAGE_OFFSET(a) ((a) & (PAGE_BYTES - 1))
#define PAGE_OF(a) ((a) & ~(PAGE_BYTES - 1))

/* What a translation depends on besides its bytes (struct tb's key). */
#define TBF_CODE16      0u
#define TBF_CODE32      1u
#define TBF_CODE64      2u
#define TBF_MODE        3u
#define TBF_SS32        (1u << 2)      /* SS.B */
#define TBF_CPL_SHIFT   3
#define TBF_CPL         (3u << 3)
#define TBF_MMU_SHIFT   5
#define TBF_MMU         (3u << 5)
#define TBF_PE          (1u << 7)
#define TBF_VM          (1u << 8)
#define TBF_FLAT        (1u << 9)      /* ES CS SS DS: base 0, limit 4 GiB, readable (and writable); long mode: set */
#define TBF_NO_X87      (1u << 10)     /* CR0.EM or TS: x87 and MMX raise */
#define TBF_EM          (1u << 11)
#define TBF_TS          (1u << 12)
#define TBF_NO_WAIT     (1u << 13)     /* CR0.MP and TS: WAIT raises #NM */
#define TBF_OSFXSR      (1u << 14)
#define TBF_AVX         (1u << 15)     /* CR4.OSXSAVE and XCR0 has SSE and AVX */
#define TBF_STEP        (1u << 16)     /* one instruction, then bt_step_done */
#define TBF_ALIGN       (1u << 17)     /* alignment checking is on */
#define TBF_FIXED       (1u << 18)     /* code segment limits or breakpoints count, and RIP */
#define TBF_TRACE       (1u << 19)
#define TBF_NOGROUP     (1u << 20)     /* the rest of a block, where a group's check failed (group.c) */
#define TBF_WINDOW      (1u << 21)     /* memory through windows (window.c) */
#define TBF_RIP         (1u << 22)     /* RIP is a constant of the code */
#define TBF_TSD         (1u << 23)     /* CR4.TSD */
#define TBF_HAS_RIP     (TBF_FIXED | TBF_RIP)  /* key_base, RIP of the page, is part of the key */

struct tb;

/* A direct jump out of a TB, patched to its target when that is known. One that leaves the page first checks that the
 * fetch TLB has the target's page where it was (branch.c). */
struct tb_jump {
    struct tb *from, *to;
    struct tb_jump *next_incoming, **link;     /* list of the jumps that lead to `to`; what points to this one */
    uint32_t patch;                    /* offset in the cache of the rel32 */
    uint32_t stub;                     /* offset of: mov r10, this; jmp to a thunk that asks for the target */
    uint32_t guard;                    /* offset of the 8 bytes that the check adds; 0: within the page, no check */
    uint64_t rip;                      /* of the target, where RIP is a constant */
    int32_t target;                    /* offset from the start of the page */
    bool ungrouped;                    /* to the same code without groups */
    bool is_return;                    /* no jump: the address that a call notes for its return */
};
struct tb_insn {
    uint32_t host;                     /* offset from the TB's host code to the first byte of this instruction */
    uint16_t guest;                    /* offset in the page */
    uint8_t len;
};
/* A piece of cold code (misses), in the order of the cache. */
struct tb_cold { uint32_t host; uint16_t insn; };
/* Bytes of a block, by their offset in its page, that it reads each time it runs: they may be written. */
struct tb_soft { uint16_t at; uint8_t size; };

struct tb {
    /* What look-ups want: one cache line. */
    gpa_t pc;                          /* guest-physical address of the first byte */
    uint32_t flags;
    uint32_t cs_limit;
    uint64_t key_base;
    struct tb *hash_next;
    gpa_t page2;                       /* page of the bytes behind the border, or ~0 */
    uint32_t host, host_main, host_loop, host_end;         /* offsets in the cache: look-up entry, chained entry, its own way back, end */
    uint8_t dead, listed;              /* listed: bits of page_next */
    bool uncached;
    uint16_t insn_count;
    uint32_t size;                     /* guest bytes */
    uint32_t cold_start, cold_end;     /* its cold code: misses, stubs */
    uint16_t cold_count, jump_count;
    uint8_t soft_count;
    struct tb_soft soft[TB_SOFT];
    struct tb_insn *insn;
    struct tb_cold *cold;
    struct tb_jump *jump;
    struct tb_jump *incoming;
    struct tb *page_next[2];           /* lists by page: of pc, of page2 */
};

/* One softmmu TLB. What generated code looks at lies in one cache line. A tag is minus the linear page address, so that
 * address + tag is the offset in the page if, and only if, it hits. */
struct tlb_entry {
    uint64_t tag[2];                   /* BT_READ, BT_WRITE */
    uint64_t addend;                   /* host address - linear address */
    uint64_t fetch;                    /* bt_fetch_key */
};
struct softmmu {
    struct tlb_entry entry[TLB_SIZE] __attribute__((aligned(64)));
    uint64_t gpa[TLB_SIZE];            /* page of the read and write entry | TLB_GLOBAL | TLB_BESIDE_CODE */
    uint64_t fetch_gpa[TLB_SIZE];      /* page of the fetch entry | TLB_GLOBAL */
};
struct jump_cache_entry { uint64_t tag, code; };
#define TLB_GLOBAL 1ull
#define TLB_BESIDE_CODE 2ull           /* of a read entry: the page may be written, but has translated code */

/* Linear and physical page in one word: minus their sum, the page number of the latter laid where a canonical linear
 * page has no bits of its own. RIP + key + bt_guard(physical address of the target) is 0 if, and only if, both are those
 * of the key; bits 12 to 48 of a key with PAGE_NONE fit nothing. */
#define PAGE_NONE (1ull << 48)
static inline uint64_t bt_fetch_key(gva_t page, gpa_t gpa)
{
    uint64_t number = gpa >> 12;
    return -(PAGE_OF(page) + ((number & 0xfff) | number >> 12 << 49));
}
static inline unsigned bt_guard_slot(gva_t linear) { return linear >> 12 & (GUARD_SIZE - 1); }
static inline uint64_t bt_guard(gpa_t target) { return -bt_fetch_key(0, target) - PAGE_OFFSET(target); }

struct tlb_log { uint32_t count; uint16_t slot[TLB_LOG]; };        /* count TLB_LOG + 1: there were more */

/* An entry of the second-level TLB. The rights are bits by enum bt_access, and more. */
enum { TLB_MAY_READ = 1 << 0, TLB_MAY_WRITE = 1 << 1, TLB_MAY_FETCH = 1 << 2, TLB_IS_GLOBAL = 1 << 3, TLB_IS_ROM = 1 << 4 };
struct tlb_second {
    uint64_t key;                      /* linear page | MMU_* */
    uint64_t asid;
    gpa_t gpa;                         /* page */
    uint8_t *hva;                      /* of the page; NULL: device memory */
    unsigned rights;
};

#define WINDOW_BYTES (1ull << 39)
#define WINDOW_BORDER (128ull << 30)
#define WINDOW_OFFSET_BITS 35          /* what may be added to an address whose addend is known, beside a displacement */
struct window { uint64_t asid, used; uint32_t mappings; uint16_t piece; };
struct window_space { uint64_t asid, since; int64_t credit; uint8_t heat; bool on; };
struct windows {
    int lock;                          /* mappings; others take it to make pages read-only */
    unsigned count;                    /* 0: there are none; the first stays empty */
    bool always;                       /* in every address space, whatever it costs */
    uint8_t *base;
    uint64_t bytes, clock, asid;       /* whose addends are in place */
    uint32_t mappings;
    gva_t wanted;                      /* where the guest faulted last, 0: nowhere */
    bool wants_write;
    uint64_t *place;                   /* by physical page: where it may be mapped for writing */
    uint64_t *mapped;                  /* a bit for each page of each window */
    unsigned window_count;
    struct window window[WINDOWS];
    struct window_space space[WINDOW_SPACES];
};

/* Bits that are kept: of RFLAGS all but DF, IF, AC, the arithmetic flags, the others that PUSHF shows; of a segment's attributes those that
 * a load in real mode leaves. */
enum bt_keep { KEEP_NOT_DF, KEEP_NOT_IF, KEEP_NOT_AC, KEEP_ARITH, KEEP_PUSHED, KEEP_ATTR, KEEP_COUNT };

struct bt_debug_state { struct engine_debug wish; struct engine_debug_info info; bool has_exec, has_data; };

/* What is counted all the time; info.c has their names. */
enum bt_counter {
    COUNT_MISS, COUNT_GROUP_MISS, COUNT_WALK, COUNT_BOUNCE_CROSSING, COUNT_BOUNCE_DEVICE, COUNT_BOUNCE_CODE, COUNT_CODE_WRITE,
    COUNT_TLB_FLUSH, COUNT_TLB_SWITCH, COUNT_PAGE_FLUSH, COUNT_TLB_GROW,
    COUNT_WINDOW_PAGE, COUNT_WINDOW_FAULT, COUNT_WINDOW_SPECIAL, COUNT_WINDOW_COSTLY,
    COUNT_CHAIN, COUNT_RETURN, COUNT_LOOKUP, COUNT_NEXT, COUNT_CODE_CHANGED, COUNT_TRANSLATE,
    COUNT_PIO, COUNT_MMIO, COUNT_APIC, COUNT_TPR, COUNT_CPUID, COUNT_ACKNOWLEDGE,
    COUNT_IRQ, COUNT_NMI, COUNT_REST, COUNT_EXCLUSIVE, COUNT_YIELD,
    BT_COUNTERS
};
struct bt_profile;

/* Where a call to the machine puts the vector registers away (world.c). */
struct bt_vectors_kept {
    uint8_t vector[16 * 32] __attribute__((aligned(64)));
    uint32_t mxcsr;
};

/* The jump cache's salt in the last mode of the kernel and of the user's programs, and, while it is open, all that SYSCALL and SYSRET
 * change (gate.c). */
enum gate_to { GATE_KERNEL, GATE_USER };
struct gate {
    uint64_t open;                     /* the salt, or 0: shut */
    uint64_t salt, ac_salt;            /* 0: not known */
    uint32_t tbflags, mmu_index;
    struct segment cs, ss;
};

struct bt_engine;
struct bt_vcpu {
    /* Used by generated code, whose RSP is BT_RSP further on: from group_addend[1] to the general registers one byte of displacement
     * is enough. */
    uint64_t minus_salt;               /* of good_salt */
    uint64_t pcbase;                   /* RIP of the current TB's page start, unless that is a constant (TBF_RIP) */
    uint64_t jc_mask;
    uint64_t ret_mask;                 /* of the return stack, see branch.c */
    uint64_t group_addend[TB_GROUPS];  /* the last one is used first */
    uint32_t pending;                  /* not 0: leave generated code at the next poll */
    uint32_t unused;
    uint64_t salt;                     /* of the jump cache; 0x.. poison when pending */
    uint64_t scratch;
    uint64_t index_mask;               /* for pext: TLB index bits */
    uint64_t high_mask;                /* ~0xfff */
    struct x86_state s;
    uint64_t code_changed;             /* a block was invalidated: helpers look whether it was their own */
    uint64_t sign_mask;                /* bit 63 */
    uint64_t df_mask;
    uint64_t keep_mask[KEEP_COUNT];    /* for pext and pdep, which change no flags */
    uint64_t bit_mask[3];              /* 15, 31, 63 */
    uint64_t seg_limit[2][SEG_COUNT];  /* minus (limit + 1) for reading, writing; 0: ask the slow path */
    uint64_t call_target;              /* of an indirect call, while its return address is pushed */
    uint64_t host_rsp, jump_to;
    uint64_t thunk_raise;
    uint64_t value;                    /* of an instruction on its way to memory */
    uint64_t thunk_return;             /* where a thunk that was called goes on */
    uint64_t ret_tag[RET_SIZE], ret_code[RET_SIZE];
    struct { uint64_t piece, addend; } near[16];       /* where a register's addresses lay last; of a guest register each */
    uint64_t guard[2][GUARD_SIZE];     /* bt_fetch_key by low bits of the page number, for MMU_USER and MMU_KERNEL */
    struct jump_cache_entry jc[JC_SIZE] __attribute__((aligned(64)));
    struct softmmu mmu[MMU_COUNT];
    /* Used by C only. */
    struct engine_vcpu base;
    struct bt_engine *engine;
    void *region, *signal_stack;
    uint64_t xsave_mask;
    bool light;                        /* calls to the machine need no XSAVE */
    struct bt_vectors_kept kept;
    bool in_host, ferr;
    uint64_t region_bytes;
    uint64_t good_salt, generation, pokes;
    uint64_t ac_salt;                  /* good_salt after STAC or CLAC; 0: that is not known here */
    uint32_t tbflags, mmu_index;
    uint64_t cs_key;
    struct gate gate[2];               /* by enum gate_to */
    uint64_t gate_generation, gate_asid, gate_kernel;      /* what their salts were made for */
    bool mode_dirty;
    volatile uint32_t kick, irq_request, flush_request, work_request;
    uint64_t ranges_seen;              /* it uses no older ones, unless it rests */
    /* Parallel work (parallel.c). */
    int at_rest;                       /* others look at it */
    uint64_t epoch;                    /* counts ends of blocks, those that C sees */
    unsigned exclusive;                /* all others rest */
    bool has_code_lock, want_exclusive;
    uint32_t pauses;
    bool running;
    uint64_t unwind_pc;                /* host PC of the memory access being served, 0: s.rip is right */
    struct bt_event event;             /* raised, to be delivered */
    bool event_pending;
    struct bt_catch { struct bt_catch *up; void *buf[5]; struct bt_event *event; } *catch;
    enum engine_exit exit;
    bool want_exit, step_tf, step_no_trap, single_tb;
    uint8_t stepping_shadow;
    uint32_t data_hit;                 /* DR6 bits of data breakpoints hit by the instruction being stepped */
    bool resume_bp;
    gva_t resume_pc;
    struct tb *discard;                /* uncached TB to forget */
    /* Bounce buffer of the access being served. */
    gva_t bounce_linear;
    uint32_t bounce_size, bounce_mmu_user;
    uint8_t bounce[BOUNCE_BYTES] __attribute__((aligned(64)));
    /* TLBs (tlb.c). */
    struct tlb_log log[MMU_COUNT][2];  /* filled slots: local, global */
    uint32_t evictions;                /* of the first level, lately */
    uint32_t second_victim;
    struct { uint32_t count; uint16_t slot[GUARD_LOG]; } guard_log[2];     /* of guard[], as tlb_log */
    uint64_t asid, asid_global, asid_last, asid_stale;     /* PCIDs' up to asid_stale are no longer good */
    unsigned pcid;
    uint64_t pcid_asid[PCIDS];
    uint64_t large_pages[(1 << FILTER_BITS) / 64], fetch_pages[(1 << FILTER_BITS) / 64];
    uint64_t *write_place[2];          /* by physical page, for user and kernel: where it may be written, see tlb.c */
    struct tlb_second second[1 << SECOND_BITS][SECOND_WAYS];
    bool fetch_local;                  /* a page of the last look-up is not global */
    bool kernel_local;                 /* the jump cache leads to a page that is not global, for the kernel */
    uint64_t kernel_generation;
    uint64_t *window;                  /* addends: host minus linear address, by bits 39 and up; see bt_vcpu_create */
    struct windows windows;
    struct bt_debug_state debug;
    uint64_t tsc_khz;
    char error[256];
    /* Counters (info.c); only the vCPU's own thread adds to them. */
    uint64_t count[BT_COUNTERS], count_exit[EXIT_INTERNAL_ERROR + 1], count_exception[32];
    uint64_t count_helper[X86_MNEMONIC_COUNT];             /* the thunks for helpers do that */
    struct bt_profile *profile;
    pthread_t thread;
    pid_t thread_id;
};

struct bt_range { gpa_t start, size; uint8_t *hva; bool readonly; };
struct bt_ranges { size_t count; uint64_t serial; struct bt_ranges *old; struct bt_range range[]; };

/* Not watched; write entries have been taken away, but a store may still be under way; watched. */
enum page_watch { PAGE_FREE, PAGE_CLOSING, PAGE_WATCHED };

/* A part of the code cache: offsets of what is free in each half of the cache and in the arena of descriptions. */
enum { CODE_PARTS = 8 };
struct code_part { uint32_t tb_count; uint64_t hot, cold, meta; };

enum { TB_HASH_BITS = 18, TB_HEAT_BITS = 12, TB_HOT = 3 };
/* Of the host's clock (helper/kvmclock.c): virtual time beside the TSC. */
struct kvmclock {
    uint64_t start_tsc;                /* the first sample */
    int64_t start_ns;
    uint64_t khz, tsc;                 /* what guests get: scale, pair; khz 0: not yet known */
    int64_t ns, shift;                 /* virtual time; virtual time minus the host's, when the pair was made */
};

struct bt_engine {
    struct engine base;
    struct engine_config config;
    struct cpuid_model cpuid;
    struct bt_ranges *ranges;          /* RAM and ROM, sorted; replaced as a whole */
    struct bt_vcpu **vcpu;
    unsigned vcpu_count;
    bool feature[FEAT_COUNT];
    bool exact_flags;
    int perf_fd;                       /* -1: perf=off */
    int64_t perf_thunks_bytes;
    uint64_t perf_part_bytes[CODE_PARTS];
    uint64_t host_xcr0;
    uint64_t host_phys_mask;
    /* Code cache: the same memory twice. */
    uint8_t *rw, *rx;
    uint64_t cache_bytes, thunk_bytes;
    uint64_t hot_base, cold_base;      /* offsets of its halves: code that runs often, seldom */
    uint64_t hot_bytes, cold_bytes, meta_part_bytes;       /* of a part */
    uint8_t *meta;                     /* arena of struct tb and its arrays */
    uint64_t meta_bytes;
    struct code_part part[CODE_PARTS];
    unsigned part_count, current_part;
    bool part_full;                    /* the next one is to be emptied */
    struct tb *hash[1 << TB_HASH_BITS];
    struct tb **by_host;               /* TBs of each part in the order of their host code */
    uint32_t tb_max, tb_part_max;
    struct tb **page_tbs;              /* by physical page number */
    uint8_t *page_watch;               /* enum page_watch of each page */
    uint64_t *page_lines;              /* by page: which of its 64 lines may hold code of page_tbs; a line has 64 bytes */
    gpa_t rewritten_page;              /* where a block was written to last, and how many there in turn */
    unsigned rewritten_count;
    uint8_t heat[1 << TB_HEAT_BITS];   /* by hash of the address: how often blocks there were written to */
    uint8_t window_special[1 << TB_HEAT_BITS];     /* by hash of the page of code: accesses that windows could not serve */
    uint64_t page_count;
    bool flush_all;
    uint64_t collapsed[PAGES_MAX / 512 / 64];      /* by 2 MiB of physical memory: huge pages have been asked for */
    /* Locks (parallel.c). */
    int code_lock, exclusive_lock, rest_wanted, rest_changes;
    /* Ranges written by others, to be invalidated by the vCPU. */
    int work_lock;
    unsigned work_count;
    struct { gpa_t start; uint64_t size; } work[64];
    /* Thunks: addresses to run. */
    uint64_t thunk_enter, thunk_exit, thunk_helper_next, thunk_helper_end, thunk_miss, thunk_group, thunk_commit, thunk_chain,
             thunk_crossing, thunk_crossing_fixed, thunk_by_cache, thunk_return, thunk_dead, thunk_lookup, thunk_raise, thunk_step, thunk_start,
             thunk_syscall, thunk_sysret;
    uint64_t count_tb, count_tb_flush, count_parts, count_emptied, count_invalidated, count_guest_insns, count_guest_bytes, count_host_bytes;
    int clock_lock;
    struct kvmclock clock;
};

_Static_assert(offsetof(struct bt_vcpu, s) == BT_STATE_AT, "bt_state");
/* Generated code's RSP is this much above its vCPU. The six low bits are 39, so that RSP is also the count of the shift which finds an address'
 * window. Below it is no stack, but the vCPU: a thunk that is called first moves its return address away, see thunk.c. */
enum { BT_RSP = 128 + 39 };
#define VOFF(member) ((int32_t)offsetof(struct bt_vcpu, member) - BT_RSP)
/* Where an index of eight bytes is multiplied by eight, VOFF of something aligned is 8 * VOFF8 + VOFF_REST. */
enum { VOFF_REST = 8 - BT_RSP % 8 };
#define VOFF8(member) ((VOFF(member) - VOFF_REST) / 8)
/* The addends of windows: a page of them behind the vCPU, and nothing for all the other numbers that 25 bits of an address make. */
#define WINDOW_TABLE_AT ALIGN_UP(sizeof(struct bt_vcpu), PAGE_BYTES)
#define WINDOW_TABLE_BYTES (8ull << 25)
#define WINDOW_TABLE_VOFF ((int32_t)WINDOW_TABLE_AT - BT_RSP)

/* Host register of a guest GPR; -1: it lives in memory (s.gpr). */
static inline int host_of(int guest)
{
    static const int8_t map[16] = { H_RAX, H_R14, H_RDX, H_RBX, H_R15, H_RBP, H_RSI, H_RDI,
                                    H_R8, H_R9, -1, -1, H_R12, H_R13, -1, -1 };
    return map[guest];
}
/* What R10 points to on a call of a helper. */
struct bt_helper_call { bt_helper_fn *fn; const struct x86_insn *insn; struct x86_insn copy; };

enum { HOST_RCX = H_R14, HOST_RSP = H_R15, S1 = H_R10, S2 = H_R11, T0 = H_RCX };

/* RIP of the page that tb's code is running at. */
static inline uint64_t bt_page_rip(const struct bt_vcpu *v, const struct tb *tb)
{
    return tb->flags & TBF_RIP ? tb->key_base : v->pcbase;
}

static inline struct bt_vcpu *bt_of(struct engine_vcpu *v) { return container_of(v, struct bt_vcpu, base); }

/* Parameter word of a miss: what the access is. */
#define MISS_SIZE       0xffu          /* bytes */
#define MISS_WRITE      (1u << 8)
#define MISS_READ       (1u << 9)      /* old content matters (read, read-modify-write) */
#define MISS_OFFSET     (1u << 10)     /* r10 is an offset into segment MISS_SEG, not a linear address */
#define MISS_SEG_SHIFT  11
#define MISS_SEG        (7u << 11)
#define MISS_COND       (1u << 14)
#define MISS_ALIGN_ANY  (1u << 15)     /* no alignment check */
#define MISS_X87        (1u << 18)     /* a pending x87 exception comes before any page fault */
#define MISS_MASKED     (1u << 17)     /* not all of it may be touched: see helper_masked_move */
#define MISS_LOCKED     (1u << 19)     /* reads and writes in one piece */
#define MISS_ALIGNED    (1u << 16)     /* misaligned is #GP, before any page fault */

/* features.c */
void x87_exception_check(struct bt_vcpu *v);           /* helper/x87env.c */
void bt_features_find(const struct cpuid_model *m, bool feature[FEAT_COUNT]);
/* thunk.c */
void bt_thunks_build(struct bt_engine *e);
/* softmmu.c */
uint64_t bt_miss(struct bt_vcpu *v, uint64_t address, uint32_t what, uint64_t host_pc);
void bt_commit(struct bt_vcpu *v, uint64_t host_pc);
uint64_t bt_group_miss(struct bt_vcpu *v, uint64_t linear, uint32_t what);
/* tlb.c */
void bt_mmu_init(struct bt_vcpu *v);
static inline unsigned bt_tlb_slot(const struct bt_vcpu *v, gva_t linear) { return (linear & v->index_mask) >> 12; }
const struct tlb_second *bt_tlb_translate(struct bt_vcpu *v, unsigned idx, gva_t linear, unsigned access);
const struct tlb_second *bt_tlb_look(struct bt_vcpu *v, unsigned idx, gva_t linear, unsigned access);
void bt_tlb_fill(struct bt_vcpu *v, unsigned idx, gva_t linear, const struct tlb_second *t, bool writable);
void bt_tlb_fill_fetch(struct bt_vcpu *v, unsigned idx, gva_t linear, const struct tlb_second *t);
bool bt_tlb_drop_write(struct bt_vcpu *v, gpa_t page); /* true: there was an entry */
void bt_tlb_drop_write_at(struct bt_vcpu *v, unsigned idx, gva_t linear);
void bt_guard_note(struct bt_vcpu *v, unsigned idx, gva_t linear, gpa_t gpa);
void bt_fetch_page_note(struct bt_vcpu *v, gva_t linear);      /* the jump cache leads there */
void bt_fetch_pages_forget(struct bt_vcpu *v);
/* GPA for fetching at linear; raises. io: the page is device memory. */
gpa_t bt_fetch_translate(struct bt_vcpu *v, gva_t linear, bool *io);
uint8_t *bt_ram(struct bt_engine *e, gpa_t gpa, bool *readonly);   /* host address of a byte, NULL: not RAM or ROM */
void bt_mmio(struct bt_vcpu *v, gpa_t gpa, void *data, unsigned size, bool write);
void bt_code_forget(struct bt_vcpu *v, gva_t linear, unsigned size);
bool bt_is_watching(const struct bt_vcpu *v);          /* data breakpoints are set */
/* window.c */
void bt_windows_init(struct bt_vcpu *v);
void bt_windows_free(struct bt_vcpu *v);
bool bt_windows_wanted(struct bt_vcpu *v);
void bt_windows_tick(struct bt_vcpu *v);
void bt_windows_inherit(struct bt_vcpu *v, uint64_t from, uint64_t to);
bool bt_window_fault(struct bt_vcpu *v, const struct tb *tb, const struct tb_insn *at, uint64_t address, uint64_t addend, bool write);
bool bt_window_is_special(struct bt_engine *e, gpa_t pc);
void bt_windows_drop_linear(struct bt_vcpu *v, gva_t linear);
void bt_windows_drop_write(struct bt_vcpu *v, gpa_t page);
/* walk.c */
struct walk_result { gpa_t gpa; bool ok, writable, user, executable, accessed, dirty, global; unsigned shift; uint32_t error; };
struct walk_result bt_walk(struct bt_vcpu *v, gva_t linear, unsigned access, bool user, bool smap_enforced, bool set_bits);
/* tb.c */
struct tb *bt_tb_find(struct bt_vcpu *v, gpa_t pc, uint64_t rip);
bool bt_page_is_watched(const struct bt_engine *e, gpa_t gpa);
bool bt_is_hot(const struct bt_engine *e, gpa_t pc);
bool bt_tb_overlaps(struct bt_engine *e, gpa_t start, uint64_t size, struct tb **first);
void bt_invalidate(struct bt_engine *e, gpa_t start, uint64_t size);
void bt_page_rewritten(struct bt_engine *e, gpa_t page);
void bt_tb_insert(struct bt_engine *e, struct tb *tb);
void bt_tb_unlink(struct bt_engine *e, struct tb *tb);
void bt_tbs_forget(struct bt_engine *e, struct tb **tbs, uint32_t count);
void bt_jump_connect(struct bt_engine *e, struct tb_jump *j, struct tb *to);
void bt_jump_by_cache(struct bt_engine *e, struct tb_jump *j);
void bt_returns_forget(struct bt_vcpu *v);
struct tb_insn *bt_tb_insn_at(struct bt_engine *e, struct tb *tb, uint64_t host_pc);
/* cache.c */
void bt_cache_init(struct bt_engine *e);
/* Room for a description; NULL: the part is full. */
void *bt_cache_meta(struct bt_engine *e, uint64_t bytes, uint64_t align);
/* Where the next block goes, offsets in the cache; false: the part is full. */
bool bt_cache_place(struct bt_engine *e, uint64_t *hot, uint64_t *cold);
struct emitter bt_cache_emitter(const struct bt_engine *e, uint64_t at);
void bt_cache_keep(struct bt_engine *e, struct tb *tb);        /* its code stands there */
struct tb *bt_tb_at(const struct bt_engine *e, unsigned part, uint32_t n);     /* NULL: there are no more */
struct tb *bt_tb_of_host(struct bt_engine *e, uint64_t host_pc);
void bt_cache_advance(struct bt_engine *e);
void bt_cache_empty(struct bt_engine *e);
/* translate.c */
struct tb *bt_translate(struct bt_vcpu *v, gpa_t pc, uint64_t rip, gva_t linear, bool io, gpa_t *unwatched);
/* parallel.c */
void bt_code_lock(struct bt_vcpu *v);
void bt_code_unlock(struct bt_vcpu *v);                /* nothing happens if it is not held */
void bt_run_begin(struct bt_vcpu *v);
void bt_run_end(struct bt_vcpu *v);
void bt_rest(struct bt_vcpu *v);                       /* if somebody wants it; between blocks */
void bt_exclusive_begin(struct bt_vcpu *v);            /* between blocks, no lock held; nests */
void bt_exclusive_end(struct bt_vcpu *v);
bool bt_page_watch(struct bt_vcpu *v, gpa_t page);
bool bt_page_unwatch(struct bt_vcpu *v, gpa_t page);
void bt_flush_wanted(struct bt_vcpu *v);
/* run.c */
uint64_t bt_next(struct bt_vcpu *v);
uint64_t bt_lookup(struct bt_vcpu *v);
uint64_t bt_chain(struct bt_vcpu *v, struct tb_jump *j);
uint64_t bt_return(struct bt_vcpu *v, struct tb_jump *j);
uint64_t bt_raised(struct bt_vcpu *v);
uint64_t bt_step_done(struct bt_vcpu *v);
uint64_t bt_code_changed(struct bt_vcpu *v, uint64_t host_pc);
void bt_mode_update(struct bt_vcpu *v);
void bt_new_salt(struct bt_vcpu *v);
void bt_salt_update(struct bt_vcpu *v);
/* world.c */
bool bt_vectors_are_light(uint64_t xsave_mask);
void bt_vectors_save(struct bt_vcpu *v);               /* and those of the host as C expects them */
void bt_vectors_load(struct bt_vcpu *v);
/* gate.c */
void bt_gates_shut(struct bt_vcpu *v);
void bt_gate_open(struct bt_vcpu *v, enum gate_to to);
void bt_jump_cache_forget(struct bt_vcpu *v, const struct tb *tb);
void bt_unwind(struct bt_vcpu *v);
_Noreturn void bt_reenter(struct bt_vcpu *v);      /* drop the stack, go to bt_raised */
static inline uint64_t bt_rip_mask(const struct bt_vcpu *v, uint64_t rip)
{
    return x86_is_code64(&v->s) ? rip : (uint32_t)rip;
}
void bt_poke(struct bt_vcpu *v);
void bt_vcpu_interrupt(struct engine_vcpu *base);
void bt_vcpu_nmi(struct engine_vcpu *base);
void bt_vcpu_kick(struct engine_vcpu *base);
void bt_memory_written(void *opaque, gpa_t start, size_t size);
void bt_request_flush(struct bt_engine *e);
void bt_ferr(struct bt_vcpu *v);
/* info.c */
void bt_info(struct engine *base, void (*print)(void *opaque, const char *line), void *opaque);
/* profile.c */
int bt_profile_set(struct engine *base, bool on, struct error *err);
void bt_profile_info(struct engine *base, unsigned blocks, bool disassemble, void (*print)(void *opaque, const char *line), void *opaque);
void bt_profile_vcpu_end(struct bt_vcpu *v);
/* perf.c */
bool bt_perf_cache_map(uint64_t bytes, uint8_t **rw, uint8_t **rx);
int bt_perf_begin(struct bt_engine *e, struct error *err);
void bt_perf_end(struct bt_engine *e);
void bt_perf_flush(struct bt_engine *e);
void bt_perf_part(struct bt_vcpu *v);
void bt_perf_block(struct bt_vcpu *v, const struct tb *tb, uint64_t rip);
/* signal.c */
void bt_signals_install(void);
void bt_signals_thread(struct bt_vcpu *v);

#endif
