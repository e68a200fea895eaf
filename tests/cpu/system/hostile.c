/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile guest: random code, biased towards system instructions, with random registers, descriptor tables, TSS and page
 * tables, in every mode. Nothing is right or wrong here, but the process must not crash or hang, nothing outside the
 * guest's memory may change (guard pages lie around it), and every run must end when it is kicked.
 *     hostile [cases] [seed]
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"

enum {
    RAM_BYTES = 1 << 20,
    GUARD_BYTES = 1 << 20,
    CODE_AT = 0x8000,
    TABLES_AT = 0x10000,
    PAGES_AT = 0x20000,
    HANG_S = 60                        /* hosts that punish locks across cache lines let such a guest run for moments only */
};

static uint64_t random_state;
static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}
static unsigned below(unsigned n) { return next_random() % n; }
static bool one_in(unsigned n) { return below(n) == 0; }

static uint8_t *ram;
static struct engine_vcpu *vcpu;
static uint64_t io_count, exits[8], case_number, finished;

static void pio(void *opaque, uint16_t port, void *data, unsigned size, unsigned count, bool write)
{
    io_count += count;
    if (!write) for (unsigned i = 0; i < size * count; i++) ((uint8_t *)data)[i] = next_random();
}
static void mmio(void *opaque, unsigned n, gpa_t address, void *data, unsigned size, bool write)
{
    io_count++;
    if (!write) for (unsigned i = 0; i < size; i++) ((uint8_t *)data)[i] = next_random();
}
static bool is_pending(void *opaque, unsigned n) { return one_in(4); }
static int acknowledge(void *opaque, unsigned n) { return one_in(4) ? -1 : (int)below(256); }
static bool apic_read(void *opaque, unsigned n, uint32_t msr, uint64_t *value)
{
    *value = next_random();
    return one_in(2);
}
static bool apic_write(void *opaque, unsigned n, uint32_t msr, uint64_t value) { return one_in(2); }

/* ---- The guest ---- */

static const uint8_t one_byte[] = { 0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f,
                                    0x60, 0x61, 0x62, 0x63, 0x6c, 0x6d, 0x6e, 0x6f, 0x8c, 0x8e, 0x9a,
                                    0x9b, 0x9c, 0x9d, 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad,
                                    0xae, 0xaf, 0xc2, 0xc3, 0xc4, 0xc5, 0xc8, 0xc9, 0xca, 0xcb, 0xcc,
                                    0xcd, 0xce, 0xcf, 0xd4, 0xd5, 0xd6, 0xd7, 0xd9, 0xdb, 0xdd, 0xe4,
                                    0xe5, 0xe6, 0xe7, 0xe8, 0xea, 0xec, 0xed, 0xee, 0xef, 0xf1, 0xf4,
                                    0xfa, 0xfb, 0xfc, 0xfd, 0xff, 0x50, 0x58, 0x8f, 0x68 };
static const uint8_t two_byte[] = { 0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0b, 0x20, 0x21,
                                    0x22, 0x23, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0xa0, 0xa1, 0xa2, 0xa8,
                                    0xa9, 0xae, 0xb0, 0xb1, 0xb2, 0xb4, 0xb5, 0xba, 0xc7, 0xf7, 0xff };
static const uint8_t prefixes[] = { 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e,
                                    0x36, 0x3e, 0x64, 0x65, 0x48, 0x41, 0x4f };

static void write_code(uint8_t *at, unsigned bytes)
{
    for (unsigned i = 0; i + 16 < bytes;) {
        while (one_in(3)) at[i++ % bytes] = prefixes[below(sizeof(prefixes))];
        switch (below(4)) {
        case 0: at[i++] = next_random(); break;
        case 1: case 2: at[i++] = one_byte[below(sizeof(one_byte))]; break;
        default: at[i++] = 0x0f; at[i++] = two_byte[below(sizeof(two_byte))];
        }
        for (unsigned n = below(4); n > 0; n--) at[i++] = one_in(3) ? 0 : next_random();
    }
}

static uint64_t descriptor(void)
{
    uint64_t d = next_random();
    if (one_in(2)) d = (d & 0x000f00ff00000000ull) | 0x00cf800000000000ull | 0xffff;
    if (one_in(3)) d = (d & ~0xffffff0000ull) | (uint64_t)below(RAM_BYTES) << 16;
    return one_in(8) ? d : d | 1ull << 47;
}

static void write_tables(bool is_long)
{
    uint64_t *t = (uint64_t *)(ram + TABLES_AT);
    for (unsigned i = 0; i < 1024; i++) {
        t[i] = descriptor();
        if (i < 512 || one_in(2)) continue;            /* the IDT: gates to somewhere */
        uint16_t selector = below(64) << 3 | below(4);
        t[i] = (uint64_t)(CODE_AT + below(4096)) | (uint64_t)selector << 16 |
               (uint64_t)(0x80 | (one_in(2) ? 0x60 : 0) | below(16)) << 40;
        if (is_long && !(i & 1) && i < 1023) t[++i] = one_in(4) ? next_random() : 0;
    }
    for (unsigned i = 0; i < 64; i++) {                /* some that work */
        if (one_in(3)) t[i] = 0x00cf9b000000ffff | (uint64_t)below(4) << 45;
        else if (one_in(3)) t[i] = 0x00cf93000000ffff | (uint64_t)below(4) << 45;
        else if (one_in(3)) t[i] = 0x00af9b000000ffff | (uint64_t)below(4) << 45;
    }
}

/* Four levels over the same page: random entries, most of which lead on. */
static void write_pages(void)
{
    uint64_t *t = (uint64_t *)(ram + PAGES_AT);
    for (unsigned i = 0; i < 4 * 512; i++) {
        unsigned level = i / 512;
        uint64_t to = level < 3 ? PAGES_AT + 4096 * (level + 1) : below(RAM_BYTES / 4096) * 4096ull;
        if (level == 3 && one_in(2)) to = (uint64_t)(i % 512) * 4096 % RAM_BYTES;
        t[i] = to | 7 | (next_random() & 0x60);
        if (one_in(16)) t[i] ^= 1ull << below(12);
        if (one_in(32)) t[i] ^= 1ull << below(64);
    }
}

static uint64_t interesting(void)
{
    static const uint64_t values[] = {
        0, 1, 0xff, 0xffff, 0x7fffffff, 0xffffffff, 0x7fffffffffff, 0x800000000000, 0xffff800000000000, ~0ull
    };
    if (one_in(3)) return values[below(10)] + below(3) - 1;
    return one_in(2) ? below(RAM_BYTES) : next_random();
}

static void set_segments(struct x86_state *s, unsigned mode, unsigned cpl)
{
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        struct segment *g = &s->seg[i];
        *g = (struct segment){ .limit = 0xffffffff, .attr = i == SEG_CS ? 0xc9b : 0xc93, .selector = below(64) << 3 | cpl };
        g->attr |= cpl << 5;
        if (mode == 0 || mode == 3)
            *g = (struct segment){ .limit = 0xffff,
                                   .attr = mode == 3 ? 0xf3 : 0x93,
                                   .selector = below(0x1000) };
        if (mode == 0 || mode == 3) g->base = (uint32_t)g->selector << 4;
        if (i == SEG_CS && mode == 4) g->attr = (g->attr & ~(uint32_t)SEG_ATTR_DB) | SEG_ATTR_L;
        if (mode == 1 && one_in(4)) g->base = below(RAM_BYTES);
        if (mode == 1 && one_in(4)) g->limit = below(RAM_BYTES);
        if (mode == 1 && one_in(4)) g->attr ^= i == SEG_SS ? SEG_ATTR_DB : SEG_ATTR_DB | 4;
    }
}

/* mode: 0 real, 1 protected, 2 protected with paging, 3 VM86, 4 long, 5 compatibility */
static void make_state(struct x86_state *s, unsigned mode)
{
    bool is_long = mode >= 4, paging = mode == 2 || is_long;
    unsigned cpl = mode == 3 ? 3 : mode == 0 ? 0 : one_in(2) ? 0 : below(4);
    if (is_long && cpl) cpl = 3;
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = mode >= 4 || one_in(8) ? interesting() : (uint32_t)interesting();
    s->rflags = (next_random() & 0x1e7ed5) | RFLAGS_FIXED | (mode == 3 ? RFLAGS_VM : 0);
    s->cr0 = CR0_ET | (mode ? CR0_PE : 0) | (paging ? CR0_PG : 0) |
             (next_random() & (CR0_WP | CR0_TS | CR0_EM | CR0_MP | CR0_NE | CR0_AM));
    s->cr4 = (is_long ? CR4_PAE : 0) | (next_random() & (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_OSFXSR |
                                                         CR4_UMIP | CR4_FSGSBASE | CR4_OSXSAVE));
    s->efer = is_long ? EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE : one_in(2) ? EFER_SCE : 0;
    s->cr3 = PAGES_AT;
    if (mode == 2) s->cr4 |= one_in(2) ? CR4_PAE : 0;
    s->xcr0 = 7;
    s->gdtr.base = TABLES_AT;
    s->gdtr.limit = one_in(8) ? below(65536) : 4095;
    s->idtr.base = mode == 0 ? 0 : TABLES_AT + 4096;
    s->idtr.limit = mode == 0 ? 1023 : 4095;
    s->tr = (struct segment){ .base = below(RAM_BYTES),
                              .limit = one_in(4) ? below(256) : 0x2067,
                              .attr = is_long || one_in(2) ? 0x8b : 0x83,
                              .selector = below(64) << 3 };
    s->ldtr = (struct segment){ .base = TABLES_AT,
                                .limit = 0xfff,
                                .attr = one_in(2) ? 0x82 : SEG_ATTR_UNUSABLE };
    s->star = next_random();
    s->lstar = s->cstar = interesting();
    s->sysenter_cs = below(64) << 3;
    s->kernel_gs_base = interesting();
    s->dr[7] = one_in(4) ? 0x400 | (next_random() & 0xffff00ff) : 0x400;
    for (unsigned i = 0; i < 4; i++) s->dr[i] = CODE_AT + below(4096);
    set_segments(s, mode, cpl);
    s->rip = CODE_AT + below(2048);
    if (mode == 0 || mode == 3) s->rip = (uint16_t)(s->rip - s->seg[SEG_CS].base);
    if (one_in(2)) s->gpr[REG_RSP] = 0x4000 + below(4096);
}

/* ---- Running ---- */

/* Kicks the vCPU every half millisecond, and gives up when a case takes too long. */
static void *kicker(void *arg)
{
    uint64_t last = ~0ull;
    int64_t since = clock_host_ns();
    while (!__atomic_load_n(&finished, __ATOMIC_RELAXED)) {
        usleep(500);
        engine_bt.vcpu_kick(vcpu);
        uint64_t now = __atomic_load_n(&case_number, __ATOMIC_RELAXED);
        if (now != last) since = clock_host_ns();
        last = now;
        if (clock_host_ns() - since > HANG_S * NS_PER_SECOND) {
            printf("case %lu did not end when it was kicked\n", (unsigned long)now);
            fflush(stdout);
            _exit(1);
        }
    }
    return NULL;
}

static void one_case(const struct x86_state *reset)
{
    static struct x86_state s;
    unsigned mode = below(6);
    if (one_in(4)) for (unsigned i = 0; i < RAM_BYTES; i += 8) *(uint64_t *)(ram + i) = next_random();
    write_code(ram + CODE_AT, 8192);
    for (unsigned i = 0; i < 256 && mode == 0; i++)
        *(uint32_t *)(ram + 4 * i) = one_in(4) ? next_random() : below(4096) | CODE_AT / 16 << 16;
    write_tables(mode >= 4);
    write_pages();
    s = *reset;
    make_state(&s, mode);
    engine_bt.vcpu_set(vcpu, &s);
    for (unsigned runs = 0; runs < 3; runs++) {
        enum engine_exit why = engine_bt.vcpu_run(vcpu);
        exits[why & 7]++;
        if (why == EXIT_HALTED) engine_bt.vcpu_interrupt(vcpu);
        else if (why != EXIT_KICKED) break;
        if (one_in(4)) engine_bt.vcpu_nmi(vcpu);
    }
}

int main(int argc, char **argv)
{
    unsigned cases = argc > 1 ? strtoul(argv[1], NULL, 0) : 3000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 20260915;
    struct error err = { 0 };
    static struct cpuid_model model;
    static struct x86_state reset;
    if (cpuid_model_build(&model, NULL, CPUID_FOR_BT, NULL, &err) < 0) {
        printf("no CPUID model: %s\n", err.text);
        return 1;
    }
    ram = mmap(NULL, RAM_BYTES + 2 * GUARD_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
               0);
    ram += GUARD_BYTES;
    if (mprotect(ram, RAM_BYTES, PROT_READ | PROT_WRITE) < 0) return 1;
    struct memory_map *map = memory_map_new("memory", 1ull << 52);
    memory_map_add_ram(map, "ram", 0, RAM_BYTES, ram, false, 0);
    struct engine_config config = { .memory = map,
                                    .cpuid = &model,
                                    .max_vcpus = 1,
                                    .tb_cache_bytes = 16 << 20,
                                    .host = { .pio = pio,
                                              .mmio = mmio,
                                              .interrupt_is_pending = is_pending,
                                              .interrupt_acknowledge = acknowledge,
                                              .apic_msr_read = apic_read,
                                              .apic_msr_write = apic_write } };
    struct engine *engine = engine_bt.create(&config, &err);
    vcpu = engine ? engine_bt.vcpu_create(engine, 0, &err) : NULL;
    if (!vcpu) {
        printf("no engine: %s\n", err.text);
        return 1;
    }
    engine_bt.vcpu_get(vcpu, &reset);
    pthread_t thread;
    pthread_create(&thread, NULL, kicker, NULL);
    for (unsigned n = 0; n < cases; n++) {
        random_state = seed + n * 0x9e3779b97f4a7c15ull + 1;
        __atomic_store_n(&case_number, n, __ATOMIC_RELAXED);
        if (getenv("HOSTILE_VERBOSE")) fprintf(stderr, "case %u\n", n);
        one_case(&reset);
    }
    __atomic_store_n(&finished, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    printf(
        "%u hostile guests survived (seed %lu): exits by kick %lu, halt %lu, shutdown %lu, other %lu; %lu device accesses\n",
        cases, (unsigned long)seed, (unsigned long)exits[EXIT_KICKED], (unsigned long)exits[EXIT_HALTED],
        (unsigned long)exits[EXIT_SHUTDOWN],
        (unsigned long)(exits[EXIT_DEBUG] + exits[EXIT_RESET] + exits[EXIT_INTERNAL_ERROR]),
        (unsigned long)io_count);
    engine_bt.vcpu_destroy(vcpu);
    engine_bt.destroy(engine);
    memory_map_free(map);
    return 0;
}
