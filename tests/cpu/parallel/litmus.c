/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What several processors may and may not see of each other: the memory order of x86 (SDM 3A 9.2: store buffering,
 * message passing, load buffering, IRIW), locked operations wherever they lie, code that another processor patches,
 * interrupts between processors, TLB shootdown, accessed bits set while entries are taken away. Prints one line a test
 * and ends with "LITMUS-OK" or "LITMUS-FAILED"; the number of processors is fw_cfg's.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

enum { CPUS_MAX = 16, VECTOR_IPI = 0x40, VECTOR_SHOOTDOWN = 0x41, LINE = 64 };
enum { APIC_ID = 0x20, APIC_EOI = 0xb0, APIC_SVR = 0xf0, APIC_ICR = 0x300, APIC_ICR_HIGH = 0x310 };
enum { PTE_P = 1, PTE_W = 2, PTE_A = 32, PTE_D = 64 };

extern u64 idt[512], pml4[512], pdpt[512], pd[512];
extern u32 started;
extern const char ap_start[], ap_end[];
void on_page_fault(void);
void on_ipi(void);
void on_shootdown(void);
void on_other(void);

static u32 cpus, failures;
static volatile u8 *const apic = (volatile u8 *)0xfee00000ul;
static u64 apic_pd[512] __attribute__((aligned(4096)));

/* ---- Ports, registers ---- */

static void outb(u16 port, u8 v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static void outw(u16 port, u16 v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static u8 inb(u16 port)
{
    u8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static void pause(void) { __asm__ volatile("pause" : : : "memory"); }
static void serialize(void)
{
    u32 a = 0, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}
static void invlpg(const volatile void *at) { __asm__ volatile("invlpg (%0)" : : "r"(at) : "memory"); }
static u32 apic_read(u32 reg) { return *(volatile u32 *)(apic + reg); }
static void apic_write(u32 reg, u32 v) { *(volatile u32 *)(apic + reg) = v; }

static void print(const char *s)
{
    for (; *s; s++) outb(0x3f8, *s);
}

static void print_number(u64 n)
{
    char text[21], *p = text + 20;
    *p = 0;
    do *--p = '0' + n % 10; while (n /= 10);
    print(p);
}

static void result(const char *name, u64 rounds, u64 wrong, const char *unit)
{
    print(wrong ? "FAIL " : "pass ");
    print(name);
    print(": ");
    print_number(rounds);
    print(" ");
    print(unit);
    if (wrong) {
        print(", wrong: ");
        print_number(wrong);
        failures++;
    }
    print("\n");
}

/* ---- Processors in step ---- */

static volatile u32 arrived __attribute__((aligned(LINE))), sense __attribute__((aligned(LINE)));

static void barrier(void)
{
    u32 old = sense;
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST) == cpus) {
        arrived = 0;
        __atomic_store_n(&sense, old + 1, __ATOMIC_SEQ_CST);
    } else {
        while (sense == old) pause();
    }
}

static u32 random_next(u32 *seed) { return (*seed = *seed * 1664525 + 1013904223) >> 8; }
static void wait(u32 n)
{
    for (volatile u32 i = 0; i < n; i++);
}

/* ---- Memory order ---- */

static struct cell { volatile u64 v; u8 pad[LINE - 8]; } x __attribute__((aligned(LINE))), y, seen[CPUS_MAX][2];

static void fence(u32 kind)
{
    u64 old = 1;
    static u64 place;
    if (kind == 0) __asm__ volatile("" : : : "memory");
    if (kind == 1) __asm__ volatile("mfence" : : : "memory");
    if (kind == 2) __asm__ volatile("lock orl $0, (%%rsp)" : : : "memory", "cc");
    if (kind == 3) __asm__ volatile("xchgq %0, %1" : "+r"(old), "+m"(place) : : "memory");
}

enum order_test { STORE_BUFFERING, MESSAGE_PASSING, LOAD_BUFFERING, IRIW };

static void order_step(enum order_test test, u32 me, u32 kind)
{
    if (test == STORE_BUFFERING && me < 2) {
        (me ? &y : &x)->v = 1;
        fence(kind);
        seen[me][0].v = (me ? &x : &y)->v;
    } else if (test == MESSAGE_PASSING && me == 0) {
        x.v = 1;
        __asm__ volatile("" : : : "memory");
        y.v = 1;
    } else if (test == MESSAGE_PASSING || (test == IRIW && me >= 2)) {
        struct cell *first = test == IRIW && me % 2 ? &x : &y, *second = first == &x ? &y : &x;
        seen[me][0].v = first->v;
        __asm__ volatile("" : : : "memory");
        seen[me][1].v = second->v;
    } else if (test == LOAD_BUFFERING && me < 2) {
        seen[me][0].v = (me ? &y : &x)->v;
        __asm__ volatile("" : : : "memory");
        (me ? &x : &y)->v = 1;
    } else if (test == IRIW) {
        (me ? &y : &x)->v = 1;
    }
}

/* The outcome that no order allows. Without a fence store buffering shows it, which is right. */
static u32 order_is_wrong(enum order_test test, u32 kind)
{
    u32 wrong = 0;
    switch (test) {
    case STORE_BUFFERING: return kind && !seen[0][0].v && !seen[1][0].v;
    case LOAD_BUFFERING: return seen[0][0].v && seen[1][0].v;
    case MESSAGE_PASSING:
        for (u32 n = 1; n < cpus; n++) wrong |= seen[n][0].v && !seen[n][1].v;
        return wrong;
    case IRIW:
        for (u32 a = 2; a < cpus; a++)
            for (u32 b = 2; b < cpus; b++)
                wrong |= a % 2 == 0 && b % 2 && seen[a][0].v && !seen[a][1].v && seen[b][0].v && !seen[b][1].v;
        return wrong;
    }
    return 1;
}

static void order(u32 me, enum order_test test, u32 kind, const char *name)
{
    enum { ROUNDS = 3000 };
    u32 seed = me * 77 + test * 5 + kind, wrong = 0;
    for (u32 n = 0; n < ROUNDS; n++) {
        if (me == 0) x.v = y.v = 0;
        barrier();
        wait(random_next(&seed) % 64);
        order_step(test, me, kind);
        barrier();
        if (me == 0) wrong += order_is_wrong(test, kind);
    }
    if (me == 0) result(name, ROUNDS, wrong, "rounds");
    barrier();
}

/* ---- Locked operations ---- */

static u8 area[3 * 4096] __attribute__((aligned(4096)));
/* A counter between instructions: its page holds code that runs. */
__asm__(".text\n.globl coded\n.align 4096\ncoded_start: mov $7, %eax\nret\n.align 8\ncoded: .quad 0, 0\n.align 4096\n");
extern u64 coded[2];
u32 coded_start(void);

static void add_one(volatile u64 *at, u32 how)
{
    u64 one = 1;
    if (how == 0) __asm__ volatile("lock incq %0" : "+m"(*at) : : "cc");
    if (how == 1) __asm__ volatile("lock xaddq %1, %0" : "+m"(*at), "+r"(one) : : "cc");
    if (how == 2) __asm__ volatile("lock addl $1, %0" : "+m"(*(volatile u32 *)at) : : "cc");
    if (how == 3) {
        u64 old = *at;
        __asm__ volatile("1: lea 1(%%rax), %%rcx\nlock cmpxchgq %%rcx, %0\njne 1b" : "+m"(*at), "+a"(old) : : "rcx", "cc");
    }
}

static void locked(u32 me)
{
    static const struct { const char *name; u32 offset, rounds; } places[] = {
        { "locked, aligned", 64, 40000 }, { "locked, across cache lines", 60, 2000 },
        { "locked, across pages", 4093, 1500 }, { "locked, across pages by 4", 8188, 1500 },
    };
    for (u32 p = 0; p <= sizeof(places) / sizeof(*places); p++) {
        u32 on_code = p == sizeof(places) / sizeof(*places), rounds = on_code ? 1500 : places[p].rounds;
        volatile u64 *at = on_code ? coded : (volatile u64 *)(area + places[p].offset);
        if (me == 0) *at = 0;
        barrier();
        for (u32 n = 0; n < rounds; n++) {
            add_one(at, n % 4);
            if (on_code && coded_start() != 7) __atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
        }
        barrier();
        u64 want = (u64)rounds * cpus;
        if (me == 0) result(on_code ? "locked, on a page of code" : places[p].name, want, *at > want ? *at - want : want - *at, "increments");
        barrier();
    }
}

static void spin_locks(u32 me)
{
    enum { ROUNDS = 5000 };
    static volatile u32 lock __attribute__((aligned(LINE))), ticket __attribute__((aligned(LINE))), serving __attribute__((aligned(LINE)));
    static volatile u64 counter __attribute__((aligned(LINE)));
    if (me == 0) counter = 0;
    barrier();
    for (u32 n = 0; n < ROUNDS; n++) {
        if (n & 1) {
            u32 mine = __atomic_fetch_add(&ticket, 1, __ATOMIC_SEQ_CST);
            while (serving != mine) pause();
        } else {
            while (__atomic_exchange_n(&lock, 1, __ATOMIC_SEQ_CST)) pause();
        }
        if (!(n & 1)) counter = counter + 1;
        if (n & 1) serving = serving + 1;
        else __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    }
    barrier();
    if (me == 0) result("spin locks", (u64)ROUNDS / 2 * cpus, counter != (u64)ROUNDS / 2 * cpus, "turns");
    barrier();
}

/* ---- Code of others ---- */

static u8 code_pool[64][4096] __attribute__((aligned(4096)));
static volatile u32 code_version __attribute__((aligned(LINE))), code_wrong;

/* mov $value, %eax; ret */
static void code_write(u8 *at, u32 value)
{
    at[0] = 0xb8;
    *(volatile u32 *)(at + 1) = value;
    at[5] = 0xc3;
}
static u32 code_call(u8 *at) { return ((u32(*)(void))at)(); }

/* In turn each processor writes a function, where one is or on a page that was data so far; all others call it. */
static void patching(u32 me)
{
    enum { ROUNDS = 3000 };
    for (u32 n = 0; n < ROUNDS; n++) {
        u8 *at = code_pool[n % 3 ? n % 7 : 8 + n % 50] + 64 * (n % 5) + 3;
        if (n % cpus == me) {
            if (n % 4 == 0) for (u32 k = 0; k < 4096; k += 8) *(volatile u64 *)(code_pool[8 + n % 50] + k) = 0;
            code_write(at, n * 2654435761u);
            __atomic_store_n(&code_version, n + 1, __ATOMIC_SEQ_CST);
        } else {
            while (code_version != n + 1) pause();
            serialize();
        }
        if (code_call(at) != n * 2654435761u) __atomic_add_fetch(&code_wrong, 1, __ATOMIC_SEQ_CST);
        barrier();
    }
    if (me == 0) result("code that another processor wrote", (u64)ROUNDS * cpus, code_wrong, "calls");
    if (me == 0) code_version = code_wrong = 0;
    barrier();
}

/* One processor changes an immediate with one store while the others run the code: the old or the new value, then the new. */
static void live_patching(u32 me)
{
    enum { ROUNDS = 2000 };
    u8 *at = code_pool[60] + 3;                        /* the immediate is aligned */
    u64 calls = 0;
    static u64 all_calls;
    static volatile u32 running;
    if (me == 0) code_write(at, 1);
    barrier();
    serialize();
    if (me == 0) {
        while (running != cpus - 1) pause();
        for (u32 n = 0; n < ROUNDS; n++) {
            *(volatile u32 *)(at + 1) = n & 1 ? 0x11111111 : 0x22222222;
            wait(100);
        }
        code_version = 1;
    } else {
        __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);
        for (; !code_version; calls++) {
            u32 got = code_call(at);
            if (got != 1 && got != 0x11111111 && got != 0x22222222) __atomic_add_fetch(&code_wrong, 1, __ATOMIC_SEQ_CST);
        }
        serialize();
        if (code_call(at) != 0x11111111) __atomic_add_fetch(&code_wrong, 1, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&all_calls, calls, __ATOMIC_SEQ_CST);
    }
    barrier();
    if (me == 0) result("code patched while it runs", ROUNDS, code_wrong, "patches");
    if (me == 0 && cpus > 1 && !all_calls) result("code patched while it runs: nobody ran it", 0, 1, "");
    barrier();
}

/* ---- Interrupts between processors ---- */

static u32 apic_id[CPUS_MAX];
static volatile u32 ipi_count[CPUS_MAX][LINE / 4];

static u32 who(void)
{
    u32 id = apic_read(APIC_ID) >> 24;
    for (u32 n = 0; n < cpus; n++)
        if (apic_id[n] == id) return n;
    return 0;
}

void on_ipi_c(u64 *frame)
{
    (void)frame;
    ipi_count[who()][0]++;
    apic_write(APIC_EOI, 0);
}

static void ipi_send(u32 to, u32 vector)
{
    __asm__ volatile("cli");
    apic_write(APIC_ICR_HIGH, apic_id[to] << 24);
    apic_write(APIC_ICR, 0x4000 | vector);
    __asm__ volatile("sti");
}

/* Round and round: each waits in HLT for the interrupt of the one before. */
static void interrupts(u32 me)
{
    enum { ROUNDS = 500 };
    u32 next = (me + 1) % cpus;
    ipi_count[me][0] = 0;
    barrier();
    if (me == 0) ipi_send(next, VECTOR_IPI);
    for (u32 n = 1; n <= ROUNDS; n++) {
        __asm__ volatile("cli");
        while (ipi_count[me][0] < n) __asm__ volatile("sti; hlt; cli" : : : "memory");
        __asm__ volatile("sti");
        if (me || n < ROUNDS) ipi_send(next, VECTOR_IPI);
    }
    barrier();
    u64 wrong = 0;
    for (u32 n = 0; n < cpus; n++) wrong += ipi_count[n][0] != ROUNDS;
    if (me == 0) result("interrupts that end HLT", (u64)ROUNDS * cpus, wrong, "interrupts");
    barrier();
}

/* ---- Page tables ---- */

static u64 test_pd[512] __attribute__((aligned(4096))), test_pt[512] __attribute__((aligned(4096)));
static volatile u32 shot[CPUS_MAX][LINE / 4], touch_stop, touch_faults;
static volatile u64 *const window = (volatile u64 *)0x40000000ul;

void on_shootdown_c(u64 *frame)
{
    (void)frame;
    invlpg(window);
    shot[who()][0]++;
    apic_write(APIC_EOI, 0);
}

static void window_map(u32 page, u32 bits) { *(volatile u64 *)&test_pt[0] = (u64)code_pool[page] | bits; }

/* The first processor maps the window elsewhere and tells the others, as an operating system does. */
static void shootdown(u32 me)
{
    enum { ROUNDS = 400, PAGES = 5 };
    static volatile u32 round __attribute__((aligned(LINE))), wrong;
    if (me == 0) {
        wrong = round = 0;
        for (u32 n = 0; n < PAGES; n++) *(volatile u64 *)code_pool[n] = 1000 + n;
        window_map(0, PTE_P | PTE_W);
        invlpg(window);
    }
    shot[me][0] = 0;
    barrier();
    for (u32 n = 1; n <= ROUNDS; n++) {
        if (me == 0) {
            window_map(n % PAGES, PTE_P | PTE_W);
            invlpg(window);
            for (u32 k = 1; k < cpus; k++) ipi_send(k, VECTOR_SHOOTDOWN);
            for (u32 k = 1; k < cpus; k++) while (shot[k][0] != n) pause();
            round = n;
        } else {
            while (round != n) (void)*window, pause();
        }
        if (*window != 1000 + n % PAGES) __atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
        barrier();
    }
    if (me == 0) result("TLB shootdown", (u64)ROUNDS * cpus, wrong, "looks");
    barrier();
}

void on_page_fault_c(u64 *frame)
{
    u64 at;
    __asm__ volatile("mov %%cr2, %0" : "=r"(at));
    if (at != (u64)window || frame[0] & 1) {
        print("FAIL an unexpected page fault\nLITMUS-FAILED\n");
        outb(0xf4, 1);
        for (;;) __asm__ volatile("cli; hlt");
    }
    __atomic_add_fetch(&touch_faults, 1, __ATOMIC_RELAXED);
    pause();
}

void on_other_c(u64 *frame)
{
    (void)frame;
    print("FAIL an unexpected exception\nLITMUS-FAILED\n");
    outb(0xf4, 1);
    for (;;) __asm__ volatile("cli; hlt");
}

/* An entry taken away with XCHG stays away: nobody sets accessed or dirty bits in it afterwards; and the dirty bit of a
 * page written before is in what was taken. */
static void accessed_bits(u32 me)
{
    enum { ROUNDS = 3000 };
    u64 wrong = 0;
    if (me == 0) {
        touch_stop = touch_faults = 0;
        window_map(0, PTE_P | PTE_W);
    }
    barrier();
    if (me == 0) {
        for (u32 n = 0; n < ROUNDS; n++) {
            u64 none = 0;
            window_map(0, PTE_P | PTE_W);
            wait(n % 50);
            __asm__ volatile("xchgq %0, %1" : "+r"(none), "+m"(test_pt[0]) : : "memory");
            for (u32 k = 0; k < 20; k++) wrong += *(volatile u64 *)&test_pt[0] != 0;
        }
        window_map(0, PTE_P | PTE_W);
        touch_stop = 1;
    } else {
        while (!touch_stop) {
            invlpg(window);
            window[0] = me;
        }
    }
    barrier();
    if (me == 0) result("entries taken away while they are walked", ROUNDS, wrong, "rounds");
    barrier();
}

/* ---- Start ---- */

static void gate(u32 vector, void (*fn)(void))
{
    u64 at = (u64)fn;
    idt[2 * vector] = (at & 0xffff) | 8ul << 16 | 0x8e00ul << 32 | (at >> 16 & 0xffff) << 48;
    idt[2 * vector + 1] = at >> 32;
}

static void first_start(void)
{
    outw(0x510, 5);                                    /* fw_cfg: number of processors */
    cpus = inb(0x511);
    cpus |= inb(0x511) << 8;
    if (cpus > CPUS_MAX) cpus = CPUS_MAX;
    for (u32 n = 0; n < 32; n++) gate(n, on_other);
    gate(14, on_page_fault);
    gate(VECTOR_IPI, on_ipi);
    gate(VECTOR_SHOOTDOWN, on_shootdown);
    gate(0xff, on_other);
    pdpt[1] = (u64)test_pd | 7;
    test_pd[0] = (u64)test_pt | 7;
    pdpt[3] = (u64)apic_pd | 7;
    apic_pd[0xfee00000ul >> 21 & 511] = 0xfee00000ul | 0x9b;   /* uncached */
    invlpg((const void *)0xfee00000ul);
    for (u32 n = 0; ap_start + n < ap_end; n++) ((volatile u8 *)0x8000)[n] = ap_start[n];
    apic_write(APIC_SVR, 0x1ff);
    apic_write(APIC_ICR, 0xc4500);                     /* INIT, then SIPI to 8000h, to all others */
    wait(100000);
    apic_write(APIC_ICR, 0xc4608);
    while (*(volatile u32 *)&started < cpus) pause();
}

void guest_main(u32 me)
{
    static volatile u32 ready;
    if (me == 0) {
        first_start();
        print("processors: ");
        print_number(cpus);
        print("\n");
        ready = 1;
    }
    while (!ready) pause();
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    apic_write(APIC_SVR, 0x1ff);
    apic_id[me] = apic_read(APIC_ID) >> 24;
    barrier();
    __asm__ volatile("sti");
    if (cpus > 1) {
        order(me, STORE_BUFFERING, 0, "store buffering");
        order(me, STORE_BUFFERING, 1, "store buffering, MFENCE");
        order(me, STORE_BUFFERING, 2, "store buffering, locked OR");
        order(me, STORE_BUFFERING, 3, "store buffering, XCHG");
        order(me, MESSAGE_PASSING, 0, "message passing");
        order(me, LOAD_BUFFERING, 0, "load buffering");
    }
    if (cpus > 3) order(me, IRIW, 0, "independent reads of independent writes");
    locked(me);
    spin_locks(me);
    patching(me);
    live_patching(me);
    interrupts(me);
    shootdown(me);
    accessed_bits(me);
    if (me == 0) {
        print(failures ? "LITMUS-FAILED\n" : "LITMUS-OK\n");
        outb(0xf4, failures ? 1 : 0);
    }
}
