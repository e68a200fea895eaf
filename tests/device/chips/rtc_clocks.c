/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The clocks that drive the MC146818: 2000 random steps with each of vm, rt and host, in which time passes, the machine is
 * stopped and the host's clock is set; the registers must show what a plain sum says. Periodic interrupts that the guest is
 * late for: their number with driftfix=slew is that of the periods, without it less.
 */
#include <time.h>

#include "base/bits.h"
#include "base/clock.h"
#include "bus/device.h"
#include "device/timer/mc146818.h"
#include "world.h"

enum { SEED = 7, STEPS = 2000 };
static unsigned raised;
static int level;

static void irq_seen(void *opaque, int n, int on)
{
    raised += on && !level;
    level = on;
}

static uint8_t cmos_read(uint8_t index)
{
    memory_io_write(ports, 0x70, index, 1);
    return (uint8_t)memory_io_read(ports, 0x71, 1);
}

static void cmos_write(uint8_t index, uint8_t value)
{
    memory_io_write(ports, 0x70, index, 1);
    memory_io_write(ports, 0x71, value, 1);
}

static int bcd(uint8_t v) { return (v >> 4) * 10 + (v & 15); }

static int64_t shown(void)
{
    struct tm t = { .tm_sec = bcd(cmos_read(0)), .tm_min = bcd(cmos_read(2)), .tm_hour = bcd(cmos_read(4)), .tm_mday = bcd(cmos_read(7)),
                    .tm_mon = bcd(cmos_read(8)) - 1, .tm_year = bcd(cmos_read(9)) + bcd(cmos_read(0x32)) * 100 - 1900 };

    return timegm(&t);
}

static int64_t floor_seconds(int64_t ns) { return ns / NS_PER_SECOND - (ns % NS_PER_SECOND < 0); }

/* What the clock should have counted so far. */
static int64_t counted_ns(enum mc146818_clock clock, int64_t start_wall)
{
    return clock == MC146818_CLOCK_VM ? now_ns - stopped_ns : clock == MC146818_CLOCK_RT ? now_ns : wall_ns + now_ns - start_wall;
}

static void walk(enum mc146818_clock clock, enum mc146818_base base)
{
    struct mc146818_config config = { .ports = ports, .port = 0x70, .base = base, .date_s = 1000000000, .clock = clock, .irq = { irq_seen, NULL, 8 } };
    int64_t start_wall, start;
    struct device *rtc;

    now_ns = stopped_ns = 0;
    wall_ns = 1700000000 * NS_PER_SECOND + 345678901;
    start_wall = wall_ns;
    start = base == MC146818_DATE ? 1000000000 * NS_PER_SECOND : wall_ns;
    rtc = mc146818_new(&config, NULL);
    cmos_write(0x0b, 0x12);                            /* update-ended interrupts: the timers run */
    for (unsigned i = 0; i < STEPS; i++) {
        int64_t ns = (int64_t)(random_next() % (3 * NS_PER_SECOND));

        switch (random_next() % 4) {
        case 0: time_step(ns); stopped_ns += ns; break;                             /* stopped meanwhile */
        case 1: wall_ns += ns - 2 * NS_PER_SECOND; break;                           /* the host's clock was set */
        default: time_step(ns);
        }
        CHECK(shown() == floor_seconds(start + counted_ns(clock, start_wall)), "clock %d step %u: shows %lld", clock, i, (long long)shown());
        if (random_next() % 2) cmos_read(0x0c);
    }
    device_destroy(rtc);
}

/* A wall clock that is set back an hour: the next second is announced all the same. */
static void set_back(void)
{
    struct mc146818_config config = { .ports = ports, .port = 0x70, .clock = MC146818_CLOCK_HOST, .irq = { irq_seen, NULL, 8 } };
    struct device *rtc = mc146818_new(&config, NULL);

    cmos_write(0x0b, 0x12);
    time_step(5 * NS_PER_SECOND);
    cmos_read(0x0c);
    wall_ns -= 3600 * NS_PER_SECOND;
    raised = 0;
    for (unsigned i = 0; i < 40; i++) {
        time_step(NS_PER_SECOND / 10);
        cmos_read(0x0c);
    }
    CHECK(raised >= 2 && raised <= 5, "%u updates in 4 seconds after the clock was set back", raised);
    device_destroy(rtc);
}

/* The guest reads C only every late_ms; the number of interrupts in 20 seconds at 64 Hz. */
static unsigned periods(enum mc146818_clock clock, bool slew, unsigned late_ms)
{
    struct mc146818_config config = { .ports = ports, .port = 0x70, .clock = clock, .slew = slew, .irq = { irq_seen, NULL, 8 } };
    struct device *rtc = mc146818_new(&config, NULL);

    cmos_write(0x0a, 0x2a);
    cmos_write(0x0b, 0x42);
    cmos_read(0x0c);
    raised = 0;
    for (unsigned ms = 0; ms < 20000; ms++) {
        time_step(NS_PER_SECOND / 1000);
        if (late_ms && ms < 2000 && ms % late_ms) continue;    /* slow for two seconds, then fast */
        if (level) cmos_read(0x0c);
    }
    device_destroy(rtc);
    return raised;
}

int main(void)
{
    world_new();
    printf("seed %d\n", SEED);
    random_seed(SEED);
    for (enum mc146818_clock clock = MC146818_CLOCK_VM; clock <= MC146818_CLOCK_HOST; clock++) {
        walk(clock, MC146818_UTC);
        walk(clock, MC146818_DATE);
    }
    set_back();
    for (enum mc146818_clock clock = MC146818_CLOCK_VM; clock <= MC146818_CLOCK_HOST; clock++) {
        unsigned exact = periods(clock, false, 0), lost = periods(clock, false, 100), slewed = periods(clock, true, 100);

        CHECK(exact >= 1278 && exact <= 1281, "clock %d: %u periods", clock, exact);
        CHECK(lost < 1200, "clock %d: %u periods of a late guest", clock, lost);
        CHECK(slewed >= 1278 && slewed <= 1281, "clock %d: %u periods of a late guest with slew", clock, slewed);
    }
    printf("%u checks, %u failures\n", checks, failures);
    return failures != 0;
}
