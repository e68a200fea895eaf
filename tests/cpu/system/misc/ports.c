/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IN, OUT, INS, OUTS: who may use a port (CPL, IOPL, virtual-8086 mode, the TSS I/O map and its limit) as a
 * matrix; the string forms with pages missing, device memory, both directions: nothing may be lost or given
 * twice.
 */
#include <stdio.h>
#include <string.h>
#include "base/bits.h"
#include "bench.h"

enum { BUFFER = 0x200000, TSS_LIMIT = 0x1fff, MAP_BASE = 0x68, STRING_CASES = 4000 };

static uint64_t seed = 5;
static struct bench *b;
static unsigned cases, failed;
static struct x86_state s;
static struct result r;

static void expect(bool ok, const char *what, unsigned a, unsigned c)
{
    cases++;
    if (ok) return;
    if (failed++ < 20) printf("FAIL %s (%u, %u): vector %u error %x\n", what, a, c, r.vector, r.error);
}

static void put16(uint32_t at, uint16_t value) { memcpy(b->ram + at, &value, 2); }

/* One OUT of size to port with the given rights; is it allowed? */
static bool out_is_allowed(unsigned cpl, unsigned iopl, enum bench_mode mode, uint16_t port, unsigned size)
{
    static const struct {
        uint8_t bytes[2];
        unsigned n;
    } code[] = { { { 0xee }, 1 }, { { 0x66, 0xef }, 2 }, { { 0xef }, 1 } };
    unsigned k = size == 1 ? 0 : size == 2 ? 1 : 2;
    bench_code(b, BENCH_CODE, code[k].bytes, code[k].n);
    s.gpr[REG_RDX] = port;
    s.gpr[REG_RAX] = 0x11223344;
    s.rflags |= iopl << RFLAGS_IOPL_SHIFT;
    b->port_count = 0;
    bench_run(b, &s, mode, &r);
    if ((r.vector == 13 || r.vector == 14) && r.error == 0 && r.rip == BENCH_CODE && b->port_count == 0)
        return false;
    uint32_t want = size == 4 ? 0x11223344 : size == 2 ? 0x3344 : 0x44;
    expect(r.vector == BENCH_DONE && b->port_count == 1 && b->port_value[0] == want && b->port_number == port,
           "out", port, size);
    return true;
}

static void rights(void)
{
    for (unsigned mode = BENCH_PROT32; mode <= BENCH_LONG; mode++)
        for (unsigned cpl = 0; cpl <= 3; cpl += 3)
            for (unsigned iopl = 0; iopl < 4; iopl++)
                for (unsigned bit = 0; bit < 24; bit++)
                    for (unsigned size = 1; size <= 4; size *= 2)
                        for (uint16_t port = 0x80; port < 0x90; port++) {
                            bench_state(b, &s, mode, cpl);
                            put16(BENCH_TSS + 0x66, MAP_BASE);
                            memset(b->ram + BENCH_TSS + MAP_BASE, 0, 0x100);
                            b->ram[BENCH_TSS + MAP_BASE + (0x80 + bit) / 8] = 1 << bit % 8;
                            bool denied = cpl > iopl && port <= 0x80 + bit && 0x80 + bit < port + size;
                            expect(out_is_allowed(cpl, iopl, mode, port, size) == !denied && r.vector != 14,
                                   "rights", port, bit);
                        }
}

/* The map ends with the TSS: bytes at and behind the limit deny. */
static void limits(void)
{
    for (uint32_t limit = 0x60; limit < 0x90; limit++) {
        bench_state(b, &s, BENCH_PROT32, 3);
        put16(BENCH_TSS + 0x66, MAP_BASE);
        memset(b->ram + BENCH_TSS + MAP_BASE, 0, 0x100);
        s.tr.limit = limit;
        uint16_t port = 0x80;          /* bytes 10h and 11h of the map are read */
        expect(out_is_allowed(3, 0, BENCH_PROT32, port, 1) == (limit >= MAP_BASE + 0x11), "TSS limit", limit,
               0);
    }
    bench_state(b, &s, BENCH_PROT32, 3);
    put16(BENCH_TSS + 0x66, 0xffff);
    expect(!out_is_allowed(3, 0, BENCH_PROT32, 0x80, 1), "map base beyond", 0, 0);
    bench_state(b, &s, BENCH_PROT32, 3);
    put16(BENCH_TSS + 0x66, MAP_BASE);
    s.tr.attr = 0x83;                  /* 16-bit TSS: has no map */
    put16(BENCH_TSS + 2, 0xfff0);
    put16(BENCH_TSS + 4, 0x20);
    expect(!out_is_allowed(3, 0, BENCH_PROT32, 0x80, 1), "16-bit TSS", 0, 0);
    bench_state(b, &s, BENCH_PROT32, 3);
    bench_map(b, BENCH_TSS + 0x1000, 0, MAP_NONE);
    put16(BENCH_TSS + 0x66, 0x1000);
    expect(!out_is_allowed(3, 0, BENCH_PROT32, 0x80, 1) && r.vector == 14, "map on a missing page", 0, 0);
    bench_map(b, BENCH_TSS + 0x1000, BENCH_TSS + 0x1000, MAP_ALL);
}

/* Virtual-8086 mode: the map decides, whatever IOPL says. */
static void vm86(void)
{
    for (unsigned bit = 0; bit < 24; bit++)
        for (uint16_t port = 0x80; port < 0x98; port++) {
            bench_state(b, &s, BENCH_PROT32, 3);
            put16(BENCH_TSS + 0x66, MAP_BASE);
            memset(b->ram + BENCH_TSS + MAP_BASE, 0, 0x100);
            b->ram[BENCH_TSS + MAP_BASE + (0x80 + bit) / 8] = 1 << bit % 8;
            for (int i = 0; i < SEG_COUNT; i++)
                s.seg[i] = (struct segment){
                    .base = BENCH_CODE, .selector = BENCH_CODE >> 4, .limit = 0xffff, .attr = 0xf3
                };
            s.rip = 0;
            s.rflags |= RFLAGS_VM | 3 << RFLAGS_IOPL_SHIFT;
            bench_code(b, BENCH_CODE, "\xee", 1);
            s.gpr[REG_RDX] = port;
            b->port_count = 0;
            bench_run(b, &s, BENCH_PROT32, &r);
            bool denied = port == 0x80 + bit;
            expect(r.vector == (denied ? 13 : BENCH_DONE) && r.error == 0 && b->port_count == !denied, "vm86",
                   port, bit);
        }
}

static void in_forms(void)
{
    static const struct { const char *code; unsigned n, size; uint16_t port;
    } list[] = { { "\xe4\x71", 2, 1, 0x71 },  { "\xec", 1, 1, 0xcf8 },    { "\x66\xe5\xf0", 3, 2, 0xf0 },
                 { "\x66\xed", 2, 2, 0xcf8 }, { "\xe5\xff", 2, 4, 0xff }, { "\xed", 1, 4, 0xcf8 } };
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        bench_code(b, BENCH_CODE, list[i].code, list[i].n);
        bench_state(b, &s, BENCH_LONG, 0);
        s.gpr[REG_RDX] = 0xabc0cf8;
        s.gpr[REG_RAX] = 0x1122334455667788;
        b->port_next = 7;
        bench_run(b, &s, BENCH_LONG, &r);
        uint32_t value = 7 * 0x9e3779b1u;
        uint64_t want = list[i].size == 4   ? value
                        : list[i].size == 2 ? 0x1122334455660000 | (uint16_t)value
                                            : 0x1122334455667700 | (uint8_t)value;
        expect(r.vector == BENCH_DONE && r.s.gpr[REG_RAX] == want && b->port_number == list[i].port, "in", i,
               list[i].size);
    }
}

/* rep ins/outs over BUFFER with one page missing or device memory. */
static void string_case(bool ins, unsigned size)
{
    static uint8_t expected[4 * BENCH_PAGE];
    unsigned bad = 1 + bench_random(&seed) % 3, kind = bench_random(&seed) % 3;    /* none, missing, device */
    bool down = bench_random(&seed) % 4 == 0;
    uint32_t count = bench_random(&seed) % (down ? 600 : 3000) / size,
             start = BENCH_PAGE * (down ? 2 : 1) + bench_random(&seed) % 2000;
    uint8_t code[4] = { 0xf3, 0x66, ins ? 0x6d : 0x6f };
    unsigned n = 3;
    if (size != 2) code[1] = (ins ? 0x6c : 0x6e) + (size == 4), n = 2;
    bench_code(b, BENCH_CODE, code, n);
    bench_state(b, &s, BENCH_LONG, 0);
    for (unsigned i = 0; i < 4; i++) bench_map(b, BUFFER + i * BENCH_PAGE, BUFFER + i * BENCH_PAGE, MAP_ALL);
    if (kind == 1) bench_map(b, BUFFER + bad * BENCH_PAGE, 0, MAP_NONE);
    if (kind == 2) bench_map(b, BUFFER + bad * BENCH_PAGE, BENCH_DEVICE, MAP_ALL);
    for (unsigned i = 0; i < sizeof(expected); i++) expected[i] = bench_random(&seed) >> 56;
    memcpy(b->ram + BUFFER, expected, sizeof(expected));
    memcpy(b->device, expected + bad * BENCH_PAGE, BENCH_PAGE);
    s.gpr[ins ? REG_RDI : REG_RSI] = BUFFER + start;
    s.gpr[REG_RCX] = count;
    s.gpr[REG_RDX] = 0x1f0;
    if (down) s.rflags |= RFLAGS_DF;
    b->port_count = 0;
    b->port_next = 1;
    unsigned good = 0;
    uint32_t at = start;
    for (; good < count; good++) {
        bool missing = at / BENCH_PAGE == bad || (at + size - 1) / BENCH_PAGE == bad;
        if (kind == 1 && missing) break;
        uint32_t value = (good + 1) * 0x9e3779b1u;
        if (ins) memcpy(expected + at, &value, size);
        at += down ? -size : size;
    }
    bench_run(b, &s, BENCH_LONG, &r);
    bool ok = r.vector == (good == count ? BENCH_DONE : 14) && r.s.gpr[REG_RCX] == count - good &&
              b->port_count == good;
    ok = ok && r.s.gpr[ins ? REG_RDI : REG_RSI] == BUFFER + at;
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *page = kind == 2 && i == bad ? b->device : b->ram + BUFFER + i * BENCH_PAGE;
        if (memcmp(page, expected + i * BENCH_PAGE, BENCH_PAGE)) ok = false;
    }
    at = start;
    for (unsigned i = 0; i < good && ok && !ins; i++, at += down ? -size : size)
        ok = !memcmp(&b->port_value[i], expected + at, size);
    expect(ok, ins ? "ins" : "outs", size, kind);
}

int main(void)
{
    b = bench_new();
    if (!b) return 1;
    printf("seed %lu\n", (unsigned long)seed);
    rights();
    limits();
    vm86();
    in_forms();
    for (unsigned i = 0; i < STRING_CASES; i++) string_case(i & 1, 1 << bench_random(&seed) % 3);
    printf("%u port accesses: %u differ\n", cases, failed);
    bench_free(b);
    return failed ? 1 : 0;
}
