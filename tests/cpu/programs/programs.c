/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Oracle: random programs (generate.c) on the host CPU and through the engine bt; registers, flags, memory, the bytes of
 * the code, and where and with what they end must be the same.
 *
 * A program runs up to three times, from new registers, with the code as it has become. Signals end it on the host: UD2
 * behind it, or its fault. All is repeatable: a program is made from the seed and its number, and each batch begins with
 * an engine that knows nothing. After a fault flags are compared only with OSPITE_BT_EXACT_FLAGS set
 * (docs/translator.md); UD2 ends a block, so they are known at it.
 *
 * Usage: test-programs [COUNT [SEED]], or test-programs show NUMBER [SEED], which prints the program and its runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../oracle/native64.h"
#include "../oracle/values.h"
#include "base/bits.h"
#include "generate.h"
#include "x86/decode.h"

enum { BATCH = 1024, RUNS_MAX = 3, FAILURES_SHOWN = 5, FAILURES_MAX = 50, BATCH_SECONDS = 60, NX_BIT = 63 };

static const struct { const char *name; uint32_t at, bytes; int protection; } regions[] = {
    { "data", DATA, READ_ONLY - DATA, PROT_READ | PROT_WRITE }, { "constants", READ_ONLY, HOLE - READ_ONLY, PROT_READ },
    { "stack", STACK, STACK_BYTES, PROT_READ | PROT_WRITE }, { "code", CODE, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC },
};

static uint64_t seed = 0x9609a3, number, failures, runs, insns, per_vector[32];
static bool is_exact, is_shown;
static struct bench *bench;
static struct x86_state base_state;
static struct code program, now;       /* as it was made, as it is before a run */
static uint64_t program_end;

/* ---- memory ---- */

static bool regions_open(void)
{
    for (unsigned n = 0; n < ARRAY_SIZE(regions); n++) {
        void *at = (void *)(uintptr_t)regions[n].at;
        if (mmap(at, regions[n].bytes, regions[n].protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == at) continue;
        perror("programs: no memory at the address of a region");
        return false;
    }
    return true;
}

/* Only the regions are mapped in the guest from DATA on, and below it the page before. */
static void guest_map(void)
{
    for (uint32_t at = DATA - BENCH_PAGE; at < BENCH_RAM_BYTES; at += BENCH_PAGE) bench_map(bench, at, 0, MAP_NONE);
    for (unsigned n = 0; n < ARRAY_SIZE(regions); n++)
        for (uint32_t at = regions[n].at; at < regions[n].at + regions[n].bytes; at += BENCH_PAGE) {
            unsigned rights = MAP_PRESENT | MAP_USER | (regions[n].protection & PROT_WRITE ? MAP_WRITABLE : 0);
            bench_map(bench, at, at | (regions[n].protection & PROT_EXEC ? 0 : 1ull << NX_BIT), rights);
        }
}

static void regions_fill(uint64_t from)
{
    uint64_t s = from;

    mprotect((void *)READ_ONLY, HOLE - READ_ONLY, PROT_READ | PROT_WRITE);
    for (unsigned n = 0; n < ARRAY_SIZE(regions); n++)
        for (uint64_t *p = (uint64_t *)(uintptr_t)regions[n].at, *end = p + regions[n].bytes / 8; p < end; p++)
            *p = regions[n].protection & PROT_EXEC ? 0 : bench_random(&s);
    mprotect((void *)READ_ONLY, HOLE - READ_ONLY, PROT_READ);
}

static void guest_copy(void)
{
    for (unsigned n = 0; n < ARRAY_SIZE(regions); n++) memcpy(bench->ram + regions[n].at, (void *)(uintptr_t)regions[n].at, regions[n].bytes);
    memory_written(bench->map, CODE, CODE_BYTES);
}

static void program_load(void)
{
    memcpy((void *)program.base, program.byte, program.bytes);
    memcpy(bench->ram + program.base, program.byte, program.bytes);
    memory_written(bench->map, program.base, program.bytes);
}

/* ---- showing ---- */

/* What begins at insn_at[n], which may be several instructions by now, or none. */
static void show_insns(const struct code *c, unsigned n)
{
    enum { SHOWN_BYTES = 11 };
    unsigned at = c->insn_at[n], end = n + 1 < c->insns ? c->insn_at[n + 1] : c->bytes;
    char text[128];
    struct x86_insn i;

    do {
        if (x86_decode(c->byte + at, c->bytes - at, X86_CODE64, &i) != X86_DECODE_OK) {
            printf("    %06lx  (bad)\n", (unsigned long)c->base + at);
            return;
        }
        x86_format(&i, c->base + at, text, sizeof text);
        printf("    %06lx  ", (unsigned long)c->base + at);
        for (unsigned k = 0; k < SHOWN_BYTES; k++) printf(k < i.len ? "%02x" : "  ", c->byte[at + k]);
        printf("  %s\n", text);
        if (i.mnemonic == X86_RET || c->base + at == program_end) return;       /* data may follow */
        at += i.len;
    } while (at < end);
}

static void show_code(const struct code *c)
{
    for (unsigned n = 0; n < c->insns; n++) show_insns(c, n);
}

static void show_registers(const char *when, const uint64_t *gpr, uint64_t rip, uint64_t rflags)
{
    printf("  %s: RIP %#lx RFLAGS %#lx", when, (unsigned long)rip, (unsigned long)rflags);
    for (unsigned n = 0; n < 16; n++) printf("%s%s %#lx", n % 4 ? "  " : "\n    ", register_names[n], (unsigned long)gpr[n]);
    printf("\n");
}

/* ---- running and comparing ---- */

struct run { uint64_t in[16], rflags; unsigned nth; struct native_state native; struct result guest; };

static void show_start(const struct run *r)
{
    show_registers("from", r->in, program.base, r->rflags);
    show_code(&now);
}

static void show_end(const struct run *r)
{
    printf("  host: vector %u, error code %#x, address %#lx\n", r->native.vector, r->native.error, (unsigned long)r->native.address);
    show_registers("host", r->native.gpr, r->native.rip, r->native.rflags);
    printf("  bt: vector %u, error code %#x, address %#lx\n", r->guest.vector, r->guest.error, (unsigned long)r->guest.s.cr2);
    show_registers("bt", r->guest.s.gpr, r->guest.rip, r->guest.rflags);
}

static bool differ(const struct run *r, const char *what, uint64_t native, uint64_t guest)
{
    if (failures++ >= FAILURES_MAX) exit(1);
    printf("programs: seed %#lx program %lu, run %u: %s: host %#lx, bt %#lx\n", (unsigned long)seed, (unsigned long)number, r->nth, what,
           (unsigned long)native, (unsigned long)guest);
    if (failures > FAILURES_SHOWN || is_shown) return false;
    show_start(r);
    show_end(r);
    return false;
}

static bool compare_memory(const struct run *r)
{
    char what[64];

    for (unsigned n = 0; n < ARRAY_SIZE(regions); n++) {
        const uint8_t *host = (const uint8_t *)(uintptr_t)regions[n].at, *guest = bench->ram + regions[n].at;
        uint32_t at = 0;
        if (!memcmp(host, guest, regions[n].bytes)) continue;
        while (host[at] == guest[at]) at++;
        snprintf(what, sizeof what, "%s at %#x", regions[n].name, regions[n].at + at);
        return differ(r, what, host[at], guest[at]);
    }
    return true;
}

static bool compare(const struct run *r)
{
    const struct native_state *host = &r->native;
    bool is_end = host->vector == VECTOR_UD && host->rip == program_end;
    uint64_t flags = is_end || is_exact ? RFLAGS_ARITH | RFLAGS_DF : RFLAGS_DF;

    if (host->vector != r->guest.vector) return differ(r, "vector", host->vector, r->guest.vector);
    if (host->rip != r->guest.rip) return differ(r, "RIP", host->rip, r->guest.rip);
    if (host->vector == VECTOR_PF && host->address != r->guest.s.cr2) return differ(r, "CR2", host->address, r->guest.s.cr2);
    if ((host->vector == VECTOR_PF || host->vector == VECTOR_GP || host->vector == VECTOR_SS) && host->error != r->guest.error)
        return differ(r, "error code", host->error, r->guest.error);
    for (unsigned n = 0; n < 16; n++)
        if (host->gpr[n] != r->guest.s.gpr[n]) return differ(r, register_names[n], host->gpr[n], r->guest.s.gpr[n]);
    if ((host->rflags ^ r->guest.rflags) & flags) return differ(r, "RFLAGS", host->rflags & flags, r->guest.rflags & flags);
    return compare_memory(r);
}

static void run_host(struct run *r)
{
    memset(&r->native, 0, sizeof r->native);
    memcpy(r->native.gpr, r->in, sizeof r->in);
    r->native.rip = program.base;
    r->native.rflags = r->rflags;
    memcpy(r->native.xsave, base_state.xsave, 32);
    native64_run(&r->native);
}

static void run_guest(struct run *r)
{
    struct x86_state s = base_state;

    memcpy(s.gpr, r->in, sizeof r->in);
    s.rip = program.base;
    s.rflags = r->rflags;
    bench_run(bench, &s, BENCH_LONG, &r->guest);
    r->guest.s.gpr[REG_RSP] = r->guest.rsp;
}

static bool run_once(unsigned nth, uint64_t from)
{
    struct run r = { .nth = nth };

    program_registers(from, r.in);
    r.rflags = RFLAGS_FIXED | RFLAGS_IF | (bench_random(&from) & RFLAGS_ARITH);
    now = program;
    memcpy(now.byte, (void *)program.base, program.bytes);
    if (is_shown) show_start(&r);
    run_host(&r);
    run_guest(&r);
    runs++;
    per_vector[r.native.vector == VECTOR_UD && r.native.rip == program_end ? 31 : r.native.vector & 31]++;
    if (is_shown) show_end(&r);
    if (compare(&r)) return true;
    guest_copy();
    return false;
}

static void run_program(void)
{
    uint64_t own = seed * 0x9e3779b97f4a7c15ull + number * 0xd1342543de82ef95ull, times = 1 + bench_random(&own) % RUNS_MAX;

    program_generate(&program, own, is_exact, &program_end);
    insns += program.insns;
    program_load();
    for (unsigned n = 1; n <= times; n++)
        if (!run_once(n, bench_random(&own))) return;
}

/* A program that does not end, on the host or in the guest. */
static void too_long(int unused)
{
    char text[80];
    int n = snprintf(text, sizeof text, "programs: seed %#lx program %lu does not end\n", (unsigned long)seed, (unsigned long)number);

    if (write(1, text, (size_t)n) == n) _exit(1);
    _exit(2);
}

static bool batch_open(void)
{
    native64_limit(BATCH_SECONDS, too_long);
    if (bench) bench_free(bench);
    bench = bench_new();
    if (!bench) return false;
    native64_handlers();
    bench_state(bench, &base_state, BENCH_LONG, 3);
    guest_map();
    regions_fill(seed + number);
    guest_copy();
    return true;
}

static void print_counts(uint64_t count)
{
    printf("programs: %lu programs of %lu instructions, %lu runs; %lu ran to their end, faults:", (unsigned long)count,
           (unsigned long)(insns / count), (unsigned long)runs, (unsigned long)per_vector[31]);
    for (unsigned n = 0; n < 31; n++)
        if (per_vector[n]) printf(" #%u %lu", n, (unsigned long)per_vector[n]);
    printf("\nprograms: %lu differ\n", (unsigned long)failures);
}

int main(int argc, char **argv)
{
    bool show = argc > 2 && !strcmp(argv[1], "show");
    uint64_t count = show ? strtoull(argv[2], NULL, 0) + 1 : argc > 1 ? strtoull(argv[1], NULL, 0) : 200000;
    int seed_at = show ? 3 : 2;

    if (argc > seed_at) seed = strtoull(argv[seed_at], NULL, 0);
    is_exact = getenv("OSPITE_BT_EXACT_FLAGS") != NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("programs: seed %#lx\n", (unsigned long)seed);
    if (!count || !native64_open() || !regions_open()) return 1;
    for (number = show ? (count - 1) / BATCH * BATCH : 0; number < count; number++) {
        if (number % BATCH == 0 && !batch_open()) return 1;
        is_shown = show && number == count - 1;
        run_program();
    }
    native64_limit(0, too_long);
    if (!show) print_counts(count);
    bench_free(bench);
    return failures != 0;
}
