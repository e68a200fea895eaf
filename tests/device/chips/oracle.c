/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 8259 pair, 8254 with port 61h, MC146818 and 16550A against QEMU's, driven by its qtest protocol: the same random pokes
 * and steps of time must read the same. Skipped, aloud, where qemu-system-x86_64 is missing.
 * Left out: registers and moments in which QEMU differs from the data sheet, each with its reason at its place.
 */
#include <stdlib.h>
#include <string.h>

#include "device/irqchip/i8259.h"
#include "device/serial/ns16550.h"
#include "device/timer/i8254.h"
#include "device/timer/mc146818.h"
#include "device/timer/port61.h"
#include "base/bits.h"
#include "base/clock.h"
#include "world.h"

enum { SEED = 20261123 };
static bool verbose;

static void out(uint16_t port, uint8_t value)
{
    if (verbose) printf("  out %x %02x at %lld\n", port, value, (long long)now_ns);
    memory_io_write(ports, port, value, 1);
    qemu_ask("outb 0x%llx 0x%llx\n", port, value);
}

static uint8_t in(uint16_t port, const char *what)
{
    uint8_t ours = (uint8_t)memory_io_read(ports, port, 1), theirs = (uint8_t)qemu_ask("inb 0x%llx\n", port, 0);

    if (verbose) printf("  in %x %02x, %02x in qemu\n", port, ours, theirs);
    CHECK(ours == theirs, "%s: port %x at %lld ns: %02x, qemu has %02x", what, port, (long long)now_ns, ours, theirs);
    return ours;
}

/* Reads that may differ within a mask or by a few units, each for the reason told where it is used. */
static uint8_t in_masked(uint16_t port, uint8_t mask, const char *what)
{
    uint8_t ours = (uint8_t)memory_io_read(ports, port, 1), theirs = (uint8_t)qemu_ask("inb 0x%llx\n", port, 0);

    if (verbose) printf("  in %x %02x, %02x in qemu\n", port, ours, theirs);
    CHECK((ours & mask) == (theirs & mask), "%s: port %x at %lld ns: %02x, qemu has %02x", what, port, (long long)now_ns, ours, theirs);
    return ours & theirs;
}

/* About us go by there, exactly as much here. Not next to a tick of the 8254, since QEMU's time is known to 10 ns only. */
static void step(unsigned us)
{
    int64_t there;

    do there = qemu_run(us);
    while (muldiv64((uint64_t)there, I8254_HZ, NS_PER_SECOND) != muldiv64((uint64_t)there + 10, I8254_HZ, NS_PER_SECOND));
    if (verbose) printf("  step to %lld\n", (long long)there);
    time_step(there - now_ns);
}

/* ---- 8259 ---- */

static void pic_init(uint8_t icw4)
{
    for (unsigned n = 0; n < 2; n++) {
        uint16_t port = n ? 0xa0 : 0x20;
        out(port, 0x11);
        out(port + 1, n ? 0x70 : 8);
        out(port + 1, n ? 2 : 4);
        out(port + 1, icw4);
        out(port + 1, 0);
    }
}

static void pic_line(struct device *pic, unsigned irq, int level)
{
    char command[80];

    if (verbose) printf("  irq %u %d\n", irq, level);
    snprintf(command, sizeof command, "set_irq_in /machine/unattached/device[%%llu] unnamed-gpio-in %%llu %d\n", level);
    i8259_irq_set(pic, (int)irq, level);
    qemu_ask(command, irq < 8 ? 6 : 7, irq & 7);       /* the chips' places in QEMU's object tree, checked by the test itself */
}

/* Acknowledges. The low bits mean nothing without bit 7 (data sheet, "poll command"). */
static void pic_poll(uint16_t port)
{
    uint8_t ours = (uint8_t)memory_io_read(ports, port, 1), theirs = (uint8_t)qemu_ask("inb 0x%llx\n", port, 0);

    if (verbose) printf("  poll %x %02x, %02x in qemu\n", port, ours, theirs);
    CHECK(ours >> 7 == theirs >> 7 && (!(ours >> 7) || ours == theirs), "poll of %x: %02x, qemu has %02x", port, ours, theirs);
}

static void pic_random(struct device *pic, unsigned pokes)
{
    for (unsigned k = 0; k < pokes; k++) {
        unsigned n = random_next() & 1, ir = random_next() & 7, level;
        uint16_t port = n ? 0xa0 : 0x20;
        switch (random_next() % 12) {
        case 0: out(port + 1, (uint8_t)(random_next() & random_next())); break;
        case 1: out(port, 0x20); break;
        case 2: out(port, 0x60 | ir); break;
        case 3: out(port, 0xa0); break;
        case 4: out(port, (random_next() & 1 ? 0xc0 : 0xe0) | ir); break;
        case 5: out(port, 0x0a | (random_next() & 1)); in(port, "pic"); break;
        case 6: out(port, 0x0c); pic_poll(port); break;
        default:
            if (!n && ir == 2) break;
            out(port, 0x0a);
            level = random_next() & 1;
            /* An edge that goes away unserved is forgotten (data sheet, IR7 "default"); QEMU keeps it. */
            if (level || !(in(port, "irr") >> ir & 1) || in(0x4d0 + n, "elcr") >> ir & 1) pic_line(pic, n * 8 + ir, level);
            break;
        }
        /* The same with the slave's INT, an edge for the master: nothing to compare from there on. */
        out(0x20, 0x0a);
        if (!(memory_io_read(ports, 0x20, 1) & 4) && qemu_ask("inb 0x%llx\n", 0x20, 0) & 4) return;
        for (unsigned m = 0; m < 2; m++) {
            out(m ? 0xa0 : 0x20, 0x0a);
            in(m ? 0xa0 : 0x20, "irr");
            out(m ? 0xa0 : 0x20, 0x0b);
            in(m ? 0xa0 : 0x20, "isr");
            in(m ? 0xa1 : 0x21, "imr");
        }
        if (failures) return;
    }
}

static void test_pic(void)
{
    struct i8259_config config = { .ports = ports };
    struct device *pic = i8259_new(&config, NULL);

    for (unsigned round = 0; round < 150 && !failures; round++) {
        pic_init(random_next() & 1 ? 1 : 3);          /* not 11h: QEMU lets all pass the slave in special nested mode */
        for (unsigned n = 0; n < 2; n++) {             /* not later: QEMU leaves IRR alone when ELCR changes */
            out(0x4d0 + n, (uint8_t)random_next());
            in(0x4d0 + n, "elcr");
        }
        pic_random(pic, 60);
        for (unsigned irq = 0; irq < 16; irq++)
            if (irq != 2) pic_line(pic, irq, 0);
        out(0x4d0, 0);
        out(0x4d1, 0);
    }
    device_destroy(pic);
    printf("8259: %u reads compared\n", checks);
}

/* ---- 8254 ---- */

static unsigned pit_value(uint16_t port, unsigned access, bool here)
{
    unsigned value = 0;

    for (unsigned n = 0; n < (access == 3 ? 2 : 1); n++) {
        uint8_t byte = here ? (uint8_t)memory_io_read(ports, port, 1) : (uint8_t)qemu_ask("inb 0x%llx\n", port, 0);
        value |= (unsigned)byte << (n || access == 2 ? 8 : 0);
    }
    return value;
}

/* QEMU counts from the nanosecond of the write, we count whole ticks and the one that loads the counter (data sheet,
 * "mode definitions"): two ticks at most between them, twice that in mode 3; a reading in the middle of a wrap is skipped. */
static bool pit_compare(uint16_t port, unsigned mode, unsigned access)
{
    unsigned ours = pit_value(port, access, true), theirs = pit_value(port, access, false);
    int difference = (int16_t)(ours - theirs);
    int limit = access == 2 ? 0x100 : mode == 3 ? 4 : 2;

    if (verbose) printf("  count %04x, %04x in qemu\n", ours, theirs);
    if (access == 1) difference = (int8_t)difference;
    if (ours < 6 || theirs < 6) return false;
    CHECK(abs(difference) <= limit, "count of port %x, mode %u access %u at %lld ns: %04x, qemu has %04x", port, mode, access,
          (long long)now_ns, ours, theirs);
    return abs(difference) <= limit;
}

static void pit_random(unsigned counter)
{
    unsigned mode = random_next() % 6, access = 1 + random_next() % 3;
    uint16_t port = 0x40 + counter, value = (uint16_t)(random_next() % 0xf000 + 0x800);

    if (access == 1) value = value & 0xff ? value & 0xff : 77;
    if (access == 2) value &= 0xff00;
    if ((mode == 1 || mode == 5) && counter != 2) mode = 2;            /* their gate is tied: nothing would start them */
    if (counter == 2) out(0x61, 0);
    out(0x43, (uint8_t)(counter << 6 | access << 4 | mode << 1));
    if (access != 2) out(port, (uint8_t)value);
    if (access != 1) out(port, value >> 8);
    if (counter == 2) out(0x61, 1);
    for (unsigned k = 0; k < 12 && !failures; k++) {
        step((unsigned)(random_next() % 4000 >> random_next() % 6));
        switch (random_next() % 3) {
        case 0: out(0x43, (uint8_t)(counter << 6)); break;                             /* latch */
        case 1: out(0x43, (uint8_t)(0xd0 | 2 << counter)); break;                      /* read-back of the count */
        default:                                                                       /* and of the status */
            out(0x43, (uint8_t)(0xc0 | 2 << counter));
            in_masked(port, 0x3f, "status");
            break;
        }
        if (pit_compare(port, mode, access) && (mode == 0 || mode == 3)) {   /* QEMU's others are inverted or not there */
            out(0x43, (uint8_t)(0xe0 | 2 << counter));
            in_masked(port, 0xbf, "output");
        }
        if (counter == 2) in_masked(0x61, 0x0f, "port 61");
    }
}

static void test_pit(void)
{
    struct i8254_config config = { .ports = ports, .base = 0x40 };
    struct device *pit = i8254_new(&config, NULL);
    struct port61_config p61 = { ports, pit };
    struct device *port61 = port61_new(&p61, NULL);
    unsigned before = checks;

    for (unsigned round = 0; round < 60 && !failures; round++) pit_random(round % 3);
    device_destroy(port61);
    device_destroy(pit);
    printf("8254: %u reads compared\n", checks - before);
}

/* ---- MC146818 ---- */

static void cmos_out(uint8_t index, uint8_t value)
{
    out(0x70, index);
    out(0x71, value);
}

static bool periodic;

static uint8_t cmos_in(uint8_t index, const char *what)
{
    out(0x70, index);
    if (index == 0x0c && !periodic) return in_masked(0x71, 0xbf, what);        /* QEMU sets PF only while PIE is set */
    return in(0x71, what);
}

/* Sets a date one second before something rolls over, in one of the four register formats; the divider's reset puts the next
 * update half a second away. */
static void rtc_set(uint8_t format, unsigned which)
{
    static const uint8_t dates[][6] = {                /* century, year, month, day, hour, minute; second 59 follows */
        { 20, 26, 12, 31, 23, 59 }, { 20, 24, 2, 28, 23, 59 }, { 20, 23, 2, 28, 23, 59 }, { 19, 99, 12, 31, 23, 59 },
        { 20, 0, 2, 28, 23, 59 }, { 20, 26, 6, 15, 11, 59 }, { 20, 26, 6, 15, 0, 59 }, { 20, 38, 1, 19, 3, 14 },
    };
    static const uint8_t index[] = { 0x32, 9, 8, 7, 4, 2, 0 };
    const uint8_t *d = dates[which % ARRAY_SIZE(dates)];

    cmos_out(0x0b, 0x80 | format);
    cmos_out(0x0a, 0x76);
    for (unsigned n = 0; n < 7; n++) {
        uint8_t value = n == 6 ? 59 : d[n], pm = 0;
        if (n == 4 && !(format & 2)) {
            pm = value >= 12 ? 0x80 : 0;
            value = value % 12 ? value % 12 : 12;
        }
        if (!(format & 4)) value = (uint8_t)(value / 10 << 4 | value % 10);
        cmos_out(index[n], value | pm);
    }
    cmos_out(0x0b, format);
    cmos_out(0x0a, 0x26);
}

static void rtc_read_all(const char *what)
{
    static const uint8_t index[] = { 0, 2, 4, 7, 8, 9, 0x32, 0x0b, 0x0d };

    for (unsigned n = 0; n < ARRAY_SIZE(index); n++) cmos_in(index[n], what);
}

static void rtc_round(unsigned which)
{
    uint8_t format = which / 2 * 2 & 6, enabled = random_next() & 0x30;

    rtc_set(format, which);
    cmos_out(1, 0xff);
    cmos_out(3, 0xff);
    cmos_out(5, 0xff);
    cmos_out(0x0b, format | enabled);
    cmos_in(0x0c, "flags are dropped");
    step(200000);
    cmos_in(0x0c, "no flags");
    rtc_read_all("time before the update");
    step(500000);
    cmos_in(0x0c, "flags");
    rtc_read_all("time after the update");
    cmos_out(0x40 + random_next() % 32, (uint8_t)random_next());
    cmos_in(0x40 + random_next() % 32, "cmos");
}

static void rtc_periodic(void)
{
    uint8_t rate = 6 + random_next() % 6;

    cmos_out(0x0a, 0x20 | rate);
    cmos_out(0x0b, 0x42);
    periodic = true;
    cmos_in(0x0c, "flags are dropped");
    for (unsigned k = 0; k < 10 && !failures; k++) {
        int64_t period = NS_PER_SECOND / 32768 << (rate - 1);
        step((unsigned)(period / 1000 * 5 / 4 + 1));
        CHECK(cmos_in(0x0c, "periodic flag") & 0x40, "periodic flag at rate %u", rate);
    }
    periodic = false;
    cmos_out(0x0a, 0x26);
    cmos_out(0x0b, 2);
    cmos_in(0x0c, "flags are dropped");
}

static void test_rtc(void)
{
    struct mc146818_config config = { .ports = ports, .port = 0x70, .base = MC146818_DATE, .date_s = 1798675200 };
    struct device *rtc = mc146818_new(&config, NULL);
    unsigned before = checks;

    step(1000);
    rtc_read_all("power-on");
    for (unsigned round = 0; round < 8 && !failures; round++) rtc_round(round);
    for (unsigned round = 0; round < 20 && !failures; round++) rtc_periodic();
    device_destroy(rtc);
    printf("mc146818: %u reads compared\n", checks - before);
}

/* ---- 16550A ---- */

static void uart_random(void)
{
    switch (random_next() % 10) {
    case 0: out(0x3f9, random_next() & 7); break;
    case 1: out(0x3fa, (uint8_t)(random_next() & 0xc7)); break;
    case 2: out(0x3fb, (uint8_t)(random_next() & 0x3f)); break;
    case 3: out(0x3fb, 0x83); out(0x3f8, (uint8_t)random_next()); in(0x3f8, "divisor"); in(0x3f9, "divisor"); out(0x3fb, 3); break;
    case 4: out(0x3ff, (uint8_t)random_next()); in(0x3ff, "scratch"); break;
    case 5: out(0x3fc, 0x10 | (random_next() & 15)); break;
    default:
        out(0x3f8, (uint8_t)random_next());
        break;
    }
    if (in(0x3fd, "lsr") & 1 && random_next() & 1) in(0x3f8, "received");
    in(0x3fb, "lcr");
    in(0x3fc, "mcr");
    in(0x3f9, "ier");
    in_masked(0x3fe, 0xf0, "msr");                     /* QEMU's loopback makes no delta bits */
    in(0x3fd, "lsr");
    in(0x3fa, "iir");
}

static void test_uart(void)
{
    struct ns16550_config config = { .ports = ports, .port = 0x3f8, .backend = (struct chardev *)&config };
    struct device *uart = ns16550_new(&config, NULL);
    unsigned before = checks;

    out(0x3fc, 0x10);
    for (unsigned round = 0; round < 1500 && !failures; round++) uart_random();
    device_destroy(uart);
    printf("16550A: %u reads compared\n", checks - before);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(void); } tests[] = {
        { "8259", test_pic }, { "8254", test_pit }, { "rtc", test_rtc }, { "uart", test_uart },
    };

    world_new();
    printf("seed %d\n", SEED);
    verbose = argc > 2;
    for (unsigned n = 0; n < ARRAY_SIZE(tests); n++) {
        if (argc > 1 && strcmp(argv[1], tests[n].name)) continue;
        random_seed(SEED + n);
        now_ns = 0;
        if (!qemu_start("base=2026-12-31T00:00:00,clock=vm")) {
            printf("SKIP: qemu-system-x86_64 is missing, nothing to compare with\n");
            return 77;
        }
        tests[n].run();
        qemu_stop();
    }
    printf("%u checks, %u failures\n", checks, failures);
    return failures != 0;
}
