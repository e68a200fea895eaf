/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local APICs, I/O APIC and HPET by their manuals, poked with no guest: registers and their masks, priorities, delivery to
 * physical and logical destinations, level interrupts and their EOI, the timer in its three modes, x2APIC; HPET counter,
 * one-shot, periodic and legacy replacement. A random walk of interrupts and EOIs is held against a model of the IRR and
 * ISR. (QEMU's qtest does not reach local APICs.) Sources: SDM 3A chapter 11, 82093AA data sheet, HPET 1.0a.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "device/irqchip/apic_bus.h"
#include "device/irqchip/ioapic.h"
#include "device/irqchip/lapic.h"
#include "device/timer/hpet.h"
#include "world.h"

enum { CPUS = 3, SEED = 20261124, TSC_HZ = 2000000000 };
enum { ID = 0x20, VERSION = 0x30, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0, ISR = 0x100, TMR = 0x180, IRR = 0x200,
       ESR = 0x280, ICR = 0x300, ICR_HIGH = 0x310, LVT_TIMER = 0x320, LVT_LINT0 = 0x350, LVT_ERROR = 0x370, INITIAL = 0x380, CURRENT = 0x390,
       DIVIDE = 0x3e0 };
static struct apic_bus *bus;
static struct device *cpu[CPUS], *ioapic;
static unsigned wakes, nmis, inits, startups;
static uint8_t startup_vector;

static void on_wake(void *opaque, unsigned vcpu) { wakes++; }
static void on_nmi(void *opaque, unsigned vcpu) { nmis |= 1u << vcpu; }
static void on_init(void *opaque, unsigned vcpu) { inits |= 1u << vcpu; }
static void on_startup(void *opaque, unsigned vcpu, uint8_t vector) { startups |= 1u << vcpu, startup_vector = vector; }
static uint64_t tsc(void *opaque, unsigned vcpu) { return (uint64_t)now_ns * 2; }

static uint32_t rd(unsigned n, unsigned reg)
{
    uint32_t v = 0;
    CHECK(lapic_mmio(cpu[n], 0xfee00000 + reg, &v, 4, false), "not the APIC's page");
    return v;
}

static void wr(unsigned n, unsigned reg, uint32_t v) { lapic_mmio(cpu[n], 0xfee00000 + reg, &v, 4, true); }

static void fixed(uint32_t destination, bool logical, uint8_t vector)
{
    apic_bus_send(bus, &(struct apic_message){ .destination = destination, .is_logical = logical, .mode = APIC_FIXED, .vector = vector });
}

static void start(void)
{
    struct apic_bus_config c = { .memory = memory, .max_cpus = CPUS, .wake = on_wake, .nmi = on_nmi, .init = on_init, .startup = on_startup,
                                 .tsc = tsc, .tsc_hz = TSC_HZ };
    struct ioapic_config io = { .memory = memory, .base = IOAPIC_DEFAULT_BASE };

    io.bus = bus = apic_bus_new(&c, NULL);
    for (unsigned n = 0; n < CPUS; n++) cpu[n] = lapic_new(&(struct lapic_config){ .bus = bus, .vcpu = n, .id = n, .is_bsp = n == 0 }, NULL);
    ioapic = ioapic_new(&io, NULL);
}

static void end(void)
{
    device_destroy(ioapic);
    for (unsigned n = 0; n < CPUS; n++) device_destroy(cpu[n]);
    apic_bus_free(bus);
}

static void enable(void)
{
    for (unsigned n = 0; n < CPUS; n++) {
        device_reset(cpu[n]);
        wr(n, SVR, 0x1ff);
        wr(n, LDR, 1u << (24 + n));
    }
}

static void test_registers(void)
{
    static const struct { unsigned reg; uint32_t reset, mask; } rows[] = {
        { TPR, 0, 0xff }, { LDR, 0, 0xff000000 }, { LVT_TIMER, 0x10000, 0x700ff }, { LVT_ERROR, 0x10000, 0x100ff }, { LVT_LINT0, 0x10000, 0x1a7ff },
        { DIVIDE, 0, 0xb }, { ICR_HIGH, 0, 0xff000000 }, { SVR, 0xff, 0x1ff },
    };
    for (unsigned n = 0; n < CPUS; n++) {
        device_reset(cpu[n]);
        CHECK(rd(n, ID) == n << 24 && (rd(n, VERSION) & 0xf0) == 0x10 && rd(n, DFR) == 0xffffffff, "id %x version %x", rd(n, ID), rd(n, VERSION));
        for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
            /* The BSP's LINT0 takes the 8259's interrupts from the start, as in QEMU: kernels without a BIOS expect it. */
            uint32_t reset = n == 0 && rows[i].reg == LVT_LINT0 ? 0x700 : rows[i].reset;
            CHECK(rd(n, rows[i].reg) == reset, "register %x after reset: %x", rows[i].reg, rd(n, rows[i].reg));
            wr(n, SVR, 0x1ff);                         /* disabled, the mask bits of the LVT could not be cleared */
            for (unsigned k = 0; k < 16; k++) {
                uint32_t v = (uint32_t)random_next();
                wr(n, rows[i].reg, v);
                /* EOI broadcast suppression in SVR, and read-only bits of LVTs, are not this row's matter */
                CHECK((rd(n, rows[i].reg) & rows[i].mask) == (v & rows[i].mask), "register %x: wrote %x, is %x", rows[i].reg, v, rd(n, rows[i].reg));
            }
            device_reset(cpu[n]);
        }
    }
}

static void test_destinations(void)
{
    enable();
    fixed(1, false, 0x41);
    CHECK(!lapic_is_pending(cpu[0]) && lapic_is_pending(cpu[1]) && !lapic_is_pending(cpu[2]), "physical");
    CHECK(lapic_acknowledge(cpu[1]) == 0x41, "vector");
    fixed(0xff, false, 0x42);
    for (unsigned n = 0; n < CPUS; n++) CHECK(lapic_is_pending(cpu[n]) == (n != 1), "broadcast to %u", n);       /* 1 serves 41h */
    enable();
    fixed(5, true, 0x50);
    for (unsigned n = 0; n < CPUS; n++) CHECK(lapic_is_pending(cpu[n]) == (n != 1), "flat logical to %u", n);
    enable();
    for (unsigned n = 0; n < CPUS; n++) wr(n, DFR, 0x0fffffff), wr(n, LDR, 0x10000000u * (n / 2) + (0x01000000u << n % 2));
    fixed(0x03, true, 0x50);
    for (unsigned n = 0; n < CPUS; n++) CHECK(lapic_is_pending(cpu[n]) == (n < 2), "cluster to %u", n);
    enable();
    wr(0, TPR, 0x60), wr(1, TPR, 0x20), wr(2, TPR, 0x40);
    apic_bus_send(bus, &(struct apic_message){ .destination = 7, .is_logical = true, .mode = APIC_LOWEST, .vector = 0x70 });
    unsigned got = 0;
    for (unsigned n = 0; n < CPUS; n++) got += lapic_is_pending(cpu[n]);
    CHECK(got == 1, "lowest priority reached %u", got);
    enable();
    wr(0, ICR, 0xc0000 | 0x55);                        /* all but self */
    CHECK(!lapic_is_pending(cpu[0]) && lapic_is_pending(cpu[1]) && lapic_is_pending(cpu[2]), "all but self");
    wr(0, ICR, 0x40000 | 0x56);
    CHECK(lapic_acknowledge(cpu[0]) == 0x56, "self");
    nmis = inits = startups = 0;
    wr(0, ICR_HIGH, 2 << 24);
    wr(0, ICR, 0x400);
    CHECK(nmis == 4, "NMI to %x", nmis);
    wr(0, ICR, 0xc4500);                               /* INIT, all but self */
    CHECK(inits == 6, "INIT to %x", inits);
    wr(0, ICR, 0xc4600 | 0x9a);
    CHECK(startups == 6 && startup_vector == 0x9a, "start-up to %x at %x", startups, startup_vector);
    fixed(0, false, 5);
    CHECK(!lapic_is_pending(cpu[0]), "vector below 16");
    wr(0, ESR, 0);
    CHECK(rd(0, ESR) & 0x40, "received illegal vector: ESR %x", rd(0, ESR));
}

/* Interrupts, acknowledgements and EOIs at random against sets of vectors. */
static bool irr[256], isr[256];
static int highest(const bool *set)
{
    for (int n = 255; n >= 16; n--) if (set[n]) return n;
    return -1;
}

static void test_priorities(void)
{
    enable();
    memset(irr, 0, sizeof irr);
    memset(isr, 0, sizeof isr);
    unsigned tpr = 0, failed = failures;
    for (unsigned k = 0; k < 20000; k++) {
        unsigned v = 16 + random_next() % 240;
        switch (random_next() % 6) {
        case 0: case 1: fixed(0, false, (uint8_t)v); irr[v] = true; break;
        case 2: wr(0, TPR, tpr = random_next() % 4 ? random_next() & 0x3f : random_next() & 0xff); break;
        case 3: wr(0, EOI, 0); if (highest(isr) >= 0) isr[highest(isr)] = false; break;
        default: break;
        }
        int serving = highest(isr), waiting = highest(irr);
        unsigned ppr = serving >= 0 && (unsigned)serving >> 4 > tpr >> 4 ? (unsigned)serving & 0xf0 : tpr;
        if ((unsigned)MAX(serving, 0) >> 4 == tpr >> 4) ppr = rd(0, PPR) & 0xf0 ? (tpr & 0xf0) | (rd(0, PPR) & 15) : tpr;
        bool pending = waiting >= 0 && (unsigned)waiting >> 4 > ppr >> 4;
        CHECK(rd(0, PPR) >> 4 == ppr >> 4, "step %u: PPR %x, not %x", k, rd(0, PPR), ppr);
        CHECK(lapic_is_pending(cpu[0]) == pending, "step %u: pending %d", k, !pending);
        if (pending && random_next() & 1) {
            int got = lapic_acknowledge(cpu[0]);
            CHECK(got == waiting, "step %u: vector %x, not %x", k, got, waiting);
            irr[waiting] = false;
            isr[waiting] = true;
        }
        unsigned word = random_next() % 8;
        uint32_t want[2] = { 0 };
        for (unsigned b = 0; b < 32; b++) want[0] |= (uint32_t)irr[32 * word + b] << b, want[1] |= (uint32_t)isr[32 * word + b] << b;
        CHECK(rd(0, IRR + 16 * word) == want[0] && rd(0, ISR + 16 * word) == want[1], "step %u: IRR or ISR", k);
        if (failures != failed) return;
    }
}

static void io_write(unsigned reg, uint32_t v)
{
    memory_io_write(memory, IOAPIC_DEFAULT_BASE, reg, 4);
    memory_io_write(memory, IOAPIC_DEFAULT_BASE + 0x10, v, 4);
}

static uint32_t io_read(unsigned reg)
{
    memory_io_write(memory, IOAPIC_DEFAULT_BASE, reg, 4);
    return (uint32_t)memory_io_read(memory, IOAPIC_DEFAULT_BASE + 0x10, 4);
}

static void test_ioapic(void)
{
    enable();
    device_reset(ioapic);
    CHECK((io_read(1) & 0xff00ff) == 0x170020 || (io_read(1) & 0xff00ff) == 0x170011, "version %x", io_read(1));
    for (unsigned pin = 0; pin < 24; pin++) {
        CHECK(io_read(0x10 + 2 * pin) == 0x10000, "pin %u after reset %x", pin, io_read(0x10 + 2 * pin));
        for (unsigned k = 0; k < 8; k++) {
            uint32_t v = (uint32_t)random_next() | 0x10000;
            io_write(0x10 + 2 * pin, v), io_write(0x11 + 2 * pin, v);
            CHECK((io_read(0x10 + 2 * pin) & 0x1afff) == (v & 0x1afff), "pin %u: %x is %x", pin, v, io_read(0x10 + 2 * pin));
            CHECK(io_read(0x11 + 2 * pin) >> 24 == v >> 24, "pin %u high: %x is %x", pin, v, io_read(0x11 + 2 * pin));
        }
        io_write(0x11 + 2 * pin, 1 << 24);
        io_write(0x10 + 2 * pin, 0x60 + pin);          /* edge, fixed, to CPU 1 */
        ioapic_irq_set(ioapic, (int)pin, 0);
        ioapic_irq_set(ioapic, (int)pin, 1);
        ioapic_irq_set(ioapic, (int)pin, 1);
        CHECK(lapic_acknowledge(cpu[1]) == 0x60 + (int)pin && !lapic_is_pending(cpu[1]), "edge on pin %u", pin);
        wr(1, EOI, 0);
        CHECK(!lapic_is_pending(cpu[1]), "edge twice on pin %u", pin);
        ioapic_irq_set(ioapic, (int)pin, 0);
        io_write(0x10 + 2 * pin, 0x8000 | (0x80 + pin));                       /* level */
        ioapic_irq_set(ioapic, (int)pin, 1);
        CHECK(io_read(0x10 + 2 * pin) & 0x4000, "remote IRR of pin %u", pin);
        CHECK(lapic_acknowledge(cpu[1]) == 0x80 + (int)pin, "level on pin %u", pin);
        wr(1, EOI, 0);
        CHECK(lapic_acknowledge(cpu[1]) == 0x80 + (int)pin, "level again on pin %u", pin);
        ioapic_irq_set(ioapic, (int)pin, 0);
        wr(1, EOI, 0);
        CHECK(!lapic_is_pending(cpu[1]) && !(io_read(0x10 + 2 * pin) & 0x4000), "level ended on pin %u", pin);
        io_write(0x10 + 2 * pin, 0x10000 | (0xa0 + pin));
        ioapic_irq_set(ioapic, (int)pin, 1);
        CHECK(!lapic_is_pending(cpu[1]), "masked pin %u", pin);
        ioapic_irq_set(ioapic, (int)pin, 0);
    }
}

static void test_timer(void)
{
    enable();
    wr(0, DIVIDE, 0xb);                                /* by 1: 1 GHz */
    wr(0, LVT_TIMER, 0x44);
    wr(0, INITIAL, 100000);
    time_step(99990);
    CHECK(!lapic_is_pending(cpu[0]) && rd(0, CURRENT) <= 11 && rd(0, CURRENT) > 0, "one-shot early, current %u", rd(0, CURRENT));
    time_step(20);
    CHECK(lapic_acknowledge(cpu[0]) == 0x44 && rd(0, CURRENT) == 0, "one-shot, current %u", rd(0, CURRENT));
    wr(0, EOI, 0);
    time_step(1000000);
    CHECK(!lapic_is_pending(cpu[0]), "one-shot twice");
    wr(0, LVT_TIMER, 0x20045);
    wr(0, DIVIDE, 3);                                  /* by 16 */
    wr(0, INITIAL, 1000);
    for (unsigned k = 0; k < 50; k++) {
        time_step(16000);
        CHECK(lapic_is_pending(cpu[0]) && lapic_acknowledge(cpu[0]) == 0x45, "period %u", k);
        wr(0, EOI, 0);
        CHECK(!lapic_is_pending(cpu[0]), "period %u twice", k);
    }
    wr(0, INITIAL, 0);
    time_step(1000000);
    CHECK(!lapic_is_pending(cpu[0]), "stopped timer");
    wr(0, LVT_TIMER, 0x40046);
    CHECK(lapic_msr_write(cpu[0], 0x6e0, (uint64_t)now_ns * 2 + 20000), "deadline MSR");
    time_step(9990);
    CHECK(!lapic_is_pending(cpu[0]), "deadline early");
    time_step(20);
    uint64_t left = 1;
    CHECK(lapic_acknowledge(cpu[0]) == 0x46 && lapic_msr_read(cpu[0], 0x6e0, &left) && left == 0, "deadline");
    wr(0, EOI, 0);
    lapic_msr_write(cpu[0], 0x6e0, 1);
    time_step(1);
    CHECK(lapic_is_pending(cpu[0]), "deadline in the past");
    CHECK(lapic_acknowledge(cpu[0]) == 0x46, "its vector");
    wr(0, EOI, 0);
    wr(0, LVT_TIMER, 0x10044);
}

static void test_x2apic(void)
{
    uint64_t v = 0;

    enable();
    CHECK(lapic_msr_read(cpu[1], 0x1b, &v) && v == 0xfee00800, "APIC base %llx", (unsigned long long)v);
    CHECK(!lapic_msr_read(cpu[1], 0x802, &v), "x2APIC MSR in xAPIC mode");
    CHECK(lapic_msr_write(cpu[1], 0x1b, v | 0xfee00c00), "to x2APIC");
    CHECK(!lapic_mmio(cpu[1], 0xfee00020, &v, 4, false), "page in x2APIC mode");
    CHECK(lapic_msr_read(cpu[1], 0x802, &v) && v == 1, "ID %llx", (unsigned long long)v);
    CHECK(lapic_msr_read(cpu[1], 0x80d, &v) && v == 2, "logical ID %llx", (unsigned long long)v);
    CHECK(!lapic_msr_write(cpu[1], 0x802, 5) && !lapic_msr_write(cpu[1], 0x831, 0) && !lapic_msr_read(cpu[1], 0x80e, &v), "what is not there");
    CHECK(!lapic_msr_write(cpu[1], 0x808, 0x100) && !lapic_msr_write(cpu[1], 0x80b, 1), "reserved bits");
    CHECK(lapic_msr_write(cpu[1], 0x83f, 0x77) && lapic_acknowledge(cpu[1]) == 0x77, "self IPI");
    CHECK(lapic_msr_write(cpu[1], 0x80b, 0), "EOI");
    CHECK(lapic_msr_write(cpu[1], 0x830, 1ull << 32 | 0x78) && lapic_acknowledge(cpu[1]) == 0x78, "64-bit ICR");
    CHECK(!lapic_msr_write(cpu[1], 0x1b, 0xfee00800), "straight back to xAPIC");
    CHECK(lapic_msr_write(cpu[1], 0x1b, 0xfee00000) && lapic_msr_write(cpu[1], 0x1b, 0xfee00800), "through off");
}

/* ---- HPET ---- */

static int line[32];
static unsigned edges[32];
static void gsi_set(void *opaque, int n, int level)
{
    edges[n & 31] += level && !line[n & 31];
    line[n & 31] = level;
}

static uint64_t hpet(unsigned reg, unsigned size) { return memory_io_read(memory, HPET_DEFAULT_BASE + reg, size); }
static void hpet_set(unsigned reg, uint64_t v, unsigned size) { memory_io_write(memory, HPET_DEFAULT_BASE + reg, v, size); }

static void test_hpet(void)
{
    struct hpet_config c = { memory, HPET_DEFAULT_BASE, { gsi_set, NULL, 0 }, { gsi_set, NULL, 24 }, { gsi_set, NULL, 25 }, { NULL, NULL } };
    struct device *d = hpet_new(&c, NULL);

    CHECK(hpet(4, 4) == HPET_PERIOD_FS && (hpet(0, 4) & 0x1f00) == (HPET_TIMERS - 1) << 8, "capabilities %llx", (unsigned long long)hpet(0, 8));
    hpet_set(0x10, 1, 4);
    uint64_t before = hpet(0xf0, 8);
    time_step(1000000);
    CHECK(hpet(0xf0, 8) - before == 100000 && (uint32_t)hpet(0xf0, 4) == (uint32_t)hpet(0xf0, 8), "counter after 1 ms");
    hpet_set(0x10, 0, 4);
    before = hpet(0xf0, 8);
    time_step(1000000);
    CHECK(hpet(0xf0, 8) == before, "a stopped counter");
    hpet_set(0xf0, 0x12345678, 8);
    CHECK(hpet(0xf0, 8) == 0x12345678, "counter set");
    hpet_set(0x10, 1, 4);
    uint64_t routes = hpet(0x104, 4);
    for (unsigned pin = 16; pin < 24; pin++) {
        if (!(routes >> pin & 1)) continue;
        hpet_set(0x100, pin << 9 | 4, 4);
        hpet_set(0x108, hpet(0xf0, 8) + 1000, 8);
        unsigned was = edges[pin];
        time_step(9980);
        CHECK(edges[pin] == was, "comparator early on pin %u", pin);
        time_step(40);
        CHECK(edges[pin] == was + 1, "comparator on pin %u", pin);
    }
    CHECK(hpet(0x100, 4) & 0x10, "timer 0 can be periodic");
    hpet_set(0x100, 0x4c | 20 << 9, 4);                /* periodic, value to be set */
    hpet_set(0x108, hpet(0xf0, 8) + 5000, 8);
    hpet_set(0x108, 5000, 8);
    unsigned was = edges[20];
    time_step(50000 * 10 + 100);
    CHECK(edges[20] == was + 10, "%u periods of 10", edges[20] - was);
    uint64_t value = hpet(0x108, 8);
    hpet_set(0x100, 0x8 | 20 << 9, 4);                 /* disabled: the value goes on, and nobody is woken for it */
    was = timers_fired;
    time_step(50000 * 7);
    CHECK(timers_fired == was, "%u timers for a comparator that is disabled", timers_fired - was);
    CHECK(hpet(0x108, 8) == value + 7 * 5000, "after 7 periods %lld", (long long)(hpet(0x108, 8) - value));
    time_step(50000 * 2);
    hpet_set(0x100, 0xc | 20 << 9, 4);
    was = edges[20];
    time_step(50000 * 3);
    CHECK(edges[20] == was + 3 && hpet(0x108, 8) == value + 12 * 5000, "%u periods of 3, in step", edges[20] - was);
    hpet_set(0x100, 0xa | 20 << 9, 4);                 /* disabled, by level: its status tells */
    time_step(50000);
    CHECK(hpet(0x20, 4) == 1, "status of a disabled comparator by level");
    hpet_set(0x20, 1, 4);
    hpet_set(0x100, 0x8 | 20 << 9, 4);
    time_step(50000);
    hpet_set(0x10, 0, 4);                              /* the counter stands, and goes on */
    value = hpet(0x108, 8);
    time_step(50000 * 5);
    CHECK(hpet(0x108, 8) == value, "the value while the counter stands");
    hpet_set(0x10, 1, 4);
    time_step(50000 * 2);
    CHECK(hpet(0x108, 8) == value + 2 * 5000, "after 2 periods more %lld", (long long)(hpet(0x108, 8) - value));
    hpet_set(0x100, 0, 4);
    hpet_set(0x10, 3, 4);                              /* legacy replacement: timer 0 is IRQ 0, PIT and RTC are cut off */
    hpet_set(0x100, 4, 4);
    hpet_set(0x108, hpet(0xf0, 8) + 1000, 8);
    was = edges[24];
    hpet_legacy_irq_set(d, 0, 1);
    CHECK(edges[24] == was, "the PIT in legacy replacement");
    hpet_legacy_irq_set(d, 0, 0);
    time_step(10100);
    CHECK(edges[24] == was + 1, "timer 0 as IRQ 0");
    device_reset(d);
    CHECK(hpet(0x10, 4) == 0 && hpet(0xf0, 8) == 0, "reset");
    hpet_legacy_irq_set(d, 0, 1);
    CHECK(line[24] == 1, "the PIT after reset");
    device_destroy(d);
}

int main(void)
{
    static const struct { const char *name; void (*run)(void); } tests[] = {
        { "registers", test_registers }, { "destinations", test_destinations }, { "priorities", test_priorities }, { "I/O APIC", test_ioapic },
        { "timer", test_timer }, { "x2APIC", test_x2apic }, { "HPET", test_hpet },
    };
    world_new();
    random_seed(SEED);
    start();
    for (unsigned n = 0; n < ARRAY_SIZE(tests); n++) {
        unsigned before = checks;
        tests[n].run();
        printf("%s: %u checks\n", tests[n].name, checks - before);
    }
    end();
    printf("apic: %u checks, %u failures, seed %d\n", checks, failures, SEED);
    return failures != 0;
}
