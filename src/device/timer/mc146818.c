/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The MC146818 clock. Time is a number of seconds since 1970 at a moment of its clock ("base"): the host's wall clock, the host's
 * monotonic one, or virtual time, which stands still while the machine is stopped. The registers are worked out from it when they are read, and written back into it when the guest sets them. While the clock is stopped
 * (SET, or the divider held in reset) the registers themselves hold the time.
 *
 * An update happens once a second; UIP is up in the 244 us before it. One timer serves the update-ended and alarm
 * flags and runs only while somebody could notice (a flag is clear); a second one serves the periodic flag, on the grid
 * of the time base that the divider's reset started. Reading C between two timers catches up first, so polling works.
 * Periods that went by unseen make one flag, or with slew one each, four times as fast until they are made good. The wall
 * clock may be set back: what is behind then counts from there.
 * Limits: no daylight saving (the bit is kept), no square wave output.
 * Source: Motorola MC146818A data sheet (1984); 82371SB data sheet for the second bank (128 bytes) and NMI mask.
 */
#include "device/timer/mc146818.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH, YEAR, A, B, C, D, CENTURY = 0x32 };
enum { A_UIP = 0x80 };
enum { B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_BINARY = 4, B_24H = 2 };
enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10 };
enum { UIP_NS = 244141, HALF_SECOND_NS = 500000000, CRYSTAL_HZ = 32768 };
enum { SLEW_MOST_S = 60 };             /* more than this much of lost periods is forgotten */
#define WALL_LOOK_NS NS_PER_SECOND     /* how long a timer waits before it looks whether the wall clock was set */

struct mc146818 {
    struct device device;
    struct mc146818_config config;
    struct memory_range *range;
    struct timer *update, *periodic;
    uint8_t index;
    uint8_t ram[128];
    int64_t base_s;                  /* seconds since 1970 that the clock shows at base_ns of its clock */
    int64_t base_ns;
    int64_t first_s, first_ns;       /* both as they were at power-on */
    int64_t seen_s;                  /* last second whose update made its flags */
    uint64_t seen_period;            /* number of the last period that made its flag */
};

/* ---- time ---- */

static bool is_running(const struct mc146818 *s) { return !(s->ram[B] & B_SET) && (s->ram[A] >> 4 & 7) <= 2; }

static int64_t clock_ns(const struct mc146818 *s)
{
    switch (s->config.clock) {
    case MC146818_CLOCK_HOST: return clock_wall_ns();
    case MC146818_CLOCK_RT: return clock_host_ns();
    default: return clock_virtual_ns();
    }
}

static int64_t seconds_at(const struct mc146818 *s, int64_t now)
{
    int64_t ns = now - s->base_ns;

    return s->base_s + ns / NS_PER_SECOND - (ns % NS_PER_SECOND < 0);
}

static int64_t second_start(const struct mc146818 *s, int64_t second) { return s->base_ns + (second - s->base_s) * NS_PER_SECOND; }

static uint8_t to_register(const struct mc146818 *s, unsigned n)
{
    return (uint8_t)(s->ram[B] & B_BINARY ? n : n / 10 % 10 << 4 | n % 10);
}

static unsigned from_register(const struct mc146818 *s, uint8_t value)
{
    return s->ram[B] & B_BINARY ? value : (value >> 4) * 10u + (value & 15);
}

static uint8_t hours_to_register(const struct mc146818 *s, unsigned hour)
{
    if (s->ram[B] & B_24H) return to_register(s, hour);
    return to_register(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static unsigned hours_from_register(const struct mc146818 *s, uint8_t value)
{
    if (s->ram[B] & B_24H) return from_register(s, value);
    return from_register(s, value & 0x7f) % 12 + (value & 0x80 ? 12 : 0);
}

/* Puts a moment into the time registers. */
static void registers_fill(struct mc146818 *s, int64_t seconds)
{
    struct tm t;
    time_t when = (time_t)seconds;

    if (!gmtime_r(&when, &t)) return;
    s->ram[SECONDS] = to_register(s, (unsigned)t.tm_sec);
    s->ram[MINUTES] = to_register(s, (unsigned)t.tm_min);
    s->ram[HOURS] = hours_to_register(s, (unsigned)t.tm_hour);
    s->ram[WEEKDAY] = to_register(s, (unsigned)t.tm_wday + 1);
    s->ram[DAY] = to_register(s, (unsigned)t.tm_mday);
    s->ram[MONTH] = to_register(s, (unsigned)t.tm_mon + 1);
    s->ram[YEAR] = to_register(s, (unsigned)((t.tm_year % 100 + 100) % 100));
    s->ram[CENTURY] = to_register(s, (unsigned)((t.tm_year + 1900) / 100));
}

/* The moment that the time registers show. The weekday is not part of it: it follows from the date. */
static int64_t registers_time(const struct mc146818 *s)
{
    struct tm t = {
        .tm_sec = (int)from_register(s, s->ram[SECONDS]), .tm_min = (int)from_register(s, s->ram[MINUTES]),
        .tm_hour = (int)hours_from_register(s, s->ram[HOURS]), .tm_mday = (int)from_register(s, s->ram[DAY]),
        .tm_mon = (int)from_register(s, s->ram[MONTH]) - 1,
        .tm_year = (int)from_register(s, s->ram[YEAR]) + (int)from_register(s, s->ram[CENTURY]) * 100 - 1900,
    };

    return timegm(&t);
}

static void registers_refresh(struct mc146818 *s)
{
    if (is_running(s)) registers_fill(s, seconds_at(s, clock_ns(s)));
}

/* The clock starts from what the registers show; fraction_ns of that second have gone by. */
static void time_set(struct mc146818 *s, int64_t fraction_ns)
{
    int64_t now = clock_ns(s);

    s->base_s = s->seen_s = registers_time(s);
    s->base_ns = now - fraction_ns;
    if (s->config.changed) s->config.changed(s->config.opaque, s->base_s - s->first_s - (now - s->first_ns) / NS_PER_SECOND);
}

/* ---- interrupt flags ---- */

static void irq_update(struct mc146818 *s)
{
    if (s->ram[B] & s->ram[C] & (C_PF | C_AF | C_UF)) s->ram[C] |= C_IRQF;
    else s->ram[C] &= ~C_IRQF;
    irq_set(&s->config.irq, s->ram[C] >> 7);
}

static bool alarm_field_matches(uint8_t alarm, uint8_t value) { return alarm >= 0xc0 || alarm == value; }

/* The next second from..from + a day at which the alarm goes off; 0: never. */
static int64_t alarm_next(const struct mc146818 *s, int64_t from)
{
    unsigned n = 0;

    while (n < 60 && !alarm_field_matches(s->ram[SECONDS_ALARM], to_register(s, n))) n++;
    if (n == 60) return 0;
    for (int64_t second = from; second < from + 86400; second++) {
        unsigned of_day = (unsigned)((second % 86400 + 86400) % 86400);
        if (!alarm_field_matches(s->ram[HOURS_ALARM], hours_to_register(s, of_day / 3600))) second += 3599 - of_day % 3600;
        else if (!alarm_field_matches(s->ram[MINUTES_ALARM], to_register(s, of_day / 60 % 60))) second += 59 - of_day % 60;
        else if (alarm_field_matches(s->ram[SECONDS_ALARM], to_register(s, of_day % 60))) return second;
    }
    return 0;
}

/* Length of a period in crystal ticks; 0: off. */
static unsigned period_ticks(const struct mc146818 *s)
{
    unsigned rate = s->ram[A] & 15, divider = s->ram[A] >> 4 & 7;

    if (!rate || divider > 2) return 0;
    if (divider == 2 && rate <= 2) rate += 7;
    return 1u << (rate - 1);
}

static uint64_t crystal_ticks(const struct mc146818 *s, int64_t now)
{
    return muldiv64((uint64_t)(now - s->base_ns), CRYSTAL_HZ, NS_PER_SECOND);
}

/* The wall clock may have been set back behind the base, or behind what was seen. */
static void clock_check(struct mc146818 *s, int64_t now, unsigned ticks)
{
    int64_t back_s = now < s->base_ns ? (s->base_ns - now + NS_PER_SECOND - 1) / NS_PER_SECOND : 0;

    s->base_ns -= back_s * NS_PER_SECOND;
    s->base_s -= back_s;
    s->seen_s = MIN(s->seen_s, seconds_at(s, now));
    if (back_s || (ticks && crystal_ticks(s, now) / ticks < s->seen_period))
        s->seen_period = ticks ? crystal_ticks(s, now) / ticks : 0;
}

/* The periodic flag: one for all periods that are over, or (slew) for the oldest of them. */
static void period_catch_up(struct mc146818 *s, uint64_t period, unsigned ticks)
{
    uint64_t most = (uint64_t)SLEW_MOST_S * CRYSTAL_HZ / ticks;

    if (period <= s->seen_period) return;
    if (s->config.slew && s->ram[B] & B_PIE) {
        if (s->ram[C] & C_PF) return;                  /* the guest has not seen the last one */
        s->seen_period = MAX(s->seen_period + 1, period > most ? period - most : 0);
    } else s->seen_period = period;
    s->ram[C] |= C_PF;
}

/* Makes the flags that became due since the last call. */
static void catch_up(struct mc146818 *s)
{
    int64_t now = clock_ns(s), second;
    unsigned ticks = period_ticks(s);

    clock_check(s, now, ticks);
    if (is_running(s) && (second = seconds_at(s, now)) > s->seen_s) {
        int64_t alarm = s->ram[C] & C_AF ? 0 : alarm_next(s, MAX(s->seen_s + 1, second - 86399));
        if (alarm && alarm <= second) s->ram[C] |= C_AF;
        s->ram[C] |= C_UF;
        s->seen_s = second;
    }
    if (ticks) period_catch_up(s, crystal_ticks(s, now) / ticks, ticks);
    irq_update(s);
}

static void arm(struct mc146818 *s, struct timer *t, int64_t deadline)
{
    int64_t now = clock_ns(s);

    if (s->config.clock == MC146818_CLOCK_HOST)
        deadline = clock_host_ns() + MIN(MAX(deadline - now, 0), WALL_LOOK_NS);
    timer_arm_ns(t, deadline);
}

/* When the next period ends; lost ones are made good at four times the rate. */
static int64_t period_end(const struct mc146818 *s, unsigned ticks)
{
    int64_t end = s->base_ns + (int64_t)muldiv64((s->seen_period + 1) * ticks, NS_PER_SECOND, CRYSTAL_HZ) + 1;

    if (!s->config.slew) return end;
    return MAX(end, clock_ns(s) + (int64_t)muldiv64(ticks, NS_PER_SECOND / 4, CRYSTAL_HZ));
}

/* Arms the timers for the next flag that raises the interrupt; flags nobody enabled are made when C is read. */
static void plan(struct mc146818 *s)
{
    unsigned ticks = period_ticks(s);
    int64_t second = 0;

    timer_disarm(s->update);
    timer_disarm(s->periodic);
    if (is_running(s) && !(s->ram[C] & C_IRQF)) {
        if (s->ram[B] & B_UIE) second = s->seen_s + 1;
        else if (s->ram[B] & B_AIE) second = alarm_next(s, s->seen_s + 1);
        if (second) arm(s, s->update, second_start(s, second));
    }
    if (ticks && s->ram[B] & B_PIE && !(s->ram[C] & C_IRQF)) arm(s, s->periodic, period_end(s, ticks));
}

static void timer_fired(void *opaque)
{
    catch_up(opaque);
    plan(opaque);
}

/* After something changed the period or the base: the grid is kept, what lies behind us makes no flag. */
static void period_restart(struct mc146818 *s)
{
    unsigned ticks = period_ticks(s);

    s->seen_period = ticks ? crystal_ticks(s, clock_ns(s)) / ticks : 0;
}

/* ---- registers ---- */

static bool is_time_register(uint8_t index)
{
    return index == SECONDS || index == MINUTES || index == HOURS || (index >= WEEKDAY && index <= YEAR) || index == CENTURY;
}

static bool update_in_progress(const struct mc146818 *s)
{
    int64_t now = clock_ns(s);

    return is_running(s) && second_start(s, seconds_at(s, now) + 1) - now <= UIP_NS;
}

static uint8_t register_read(struct mc146818 *s, uint8_t index)
{
    uint8_t value;

    if (is_time_register(index)) registers_refresh(s);
    switch (index) {
    case A: return (s->ram[A] & 0x7f) | (update_in_progress(s) ? A_UIP : 0);
    case C:
        catch_up(s);
        value = s->ram[C];
        s->ram[C] = 0;
        irq_update(s);
        plan(s);
        return value;
    case D: return 0x80;                               /* the battery is good */
    default: return s->ram[index];
    }
}

static void a_write(struct mc146818 *s, uint8_t value)
{
    bool was_running = is_running(s), was_reset = (s->ram[A] >> 4 & 7) >= 6;

    if (was_running) registers_refresh(s);
    s->ram[A] = value & 0x7f;
    if (!was_running && is_running(s)) time_set(s, was_reset ? HALF_SECOND_NS : 0);    /* data sheet, "divider control" */
    period_restart(s);
}

static void b_write(struct mc146818 *s, uint8_t value)
{
    bool was_running = is_running(s);
    int64_t fraction = (clock_ns(s) - s->base_ns) % NS_PER_SECOND;

    if (was_running) registers_refresh(s);
    if (value & B_SET) value &= ~B_UIE;
    s->ram[B] = value;
    if (was_running || !is_running(s)) return;
    time_set(s, fraction);                             /* the divider went on meanwhile */
    period_restart(s);
}

static void register_write(struct mc146818 *s, uint8_t index, uint8_t value)
{
    int64_t fraction;

    catch_up(s);
    switch (index) {
    case A: a_write(s, value); break;
    case B: b_write(s, value); break;
    case C: case D: return;
    default:
        if (!is_time_register(index) || !is_running(s)) {
            s->ram[index] = value;
            break;
        }
        /* Set while running: only this register changes, the second goes on. */
        registers_refresh(s);
        s->ram[index] = value;
        fraction = (clock_ns(s) - s->base_ns) % NS_PER_SECOND;
        time_set(s, fraction);
        period_restart(s);
        break;
    }
    irq_update(s);
    plan(s);
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    struct mc146818 *s = opaque;

    return offset & 1 ? register_read(s, s->index) : 0xff;             /* the index cannot be read */
}

static void rtc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct mc146818 *s = opaque;

    if (offset & 1) {
        register_write(s, s->index, (uint8_t)value);
        return;
    }
    s->index = value & 0x7f;
    irq_set(&s->config.nmi_disable, value >> 7 & 1);
}

static const struct io_ops rtc_io = { rtc_read, rtc_write, 1, 1 };

/* ---- device ---- */

void mc146818_cmos_set(struct device *d, uint8_t index, uint8_t value)
{
    if (index > D && index < 128 && index != CENTURY) ((struct mc146818 *)d)->ram[index] = value;
}

uint8_t mc146818_cmos_get(const struct device *d, uint8_t index) { return ((const struct mc146818 *)d)->ram[index & 0x7f]; }

/* The clock is battery-backed: a reset clears the interrupt enables and flags and nothing else. */
static void mc146818_reset(struct device *d)
{
    struct mc146818 *s = (struct mc146818 *)d;

    s->ram[B] &= ~(B_PIE | B_AIE | B_UIE);
    s->ram[C] = 0;
    s->index = 0;
    irq_update(s);
    plan(s);
}

static void power_on(struct mc146818 *s)
{
    int64_t wall = clock_wall_ns();
    time_t now = (time_t)(wall / NS_PER_SECOND);
    struct tm t;

    s->base_s = now;
    s->base_ns = clock_ns(s) - wall % NS_PER_SECOND;
    if (s->config.base == MC146818_LOCALTIME && localtime_r(&now, &t)) s->base_s = timegm(&t);
    if (s->config.base == MC146818_DATE) {
        s->base_s = s->config.date_s;
        s->base_ns = clock_ns(s);
    }
    s->first_s = s->base_s;
    s->first_ns = s->base_ns;
    s->seen_s = s->base_s;
}

static void mc146818_info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    struct mc146818 *s = (struct mc146818 *)d;
    char line[128];

    registers_refresh(s);
    snprintf(line, sizeof line, "rtc: %02x%02x-%02x-%02x %02x:%02x:%02x a=%02x b=%02x c=%02x", s->ram[CENTURY], s->ram[YEAR],
             s->ram[MONTH], s->ram[DAY], s->ram[HOURS], s->ram[MINUTES], s->ram[SECONDS], s->ram[A], s->ram[B], s->ram[C]);
    print(opaque, line);
}

static void mc146818_destroy(struct device *d)
{
    struct mc146818 *s = (struct mc146818 *)d;

    memory_range_remove(s->range);
    timer_free(s->update);
    timer_free(s->periodic);
    free(s);
}

static const struct state_field mc146818_state[] = {
    STATE_FIELD(struct mc146818, index), STATE_ARRAY(struct mc146818, ram), STATE_FIELD(struct mc146818, base_s),
    STATE_FIELD(struct mc146818, base_ns), STATE_FIELD(struct mc146818, seen_s), STATE_FIELD(struct mc146818, seen_period), STATE_END,
};

static void mc146818_after_load(struct device *d)
{
    struct mc146818 *s = (struct mc146818 *)d;

    int64_t now = clock_ns(s);

    s->index &= 0x7f;
    if (s->base_ns > now || s->base_ns < now - INT64_MAX / 4) s->base_ns = now;
    if (s->base_s < -(1ll << 40) || s->base_s > 1ll << 40) s->base_s = 0;
    s->seen_s = MIN(MAX(s->seen_s, s->base_s), seconds_at(s, now));
    period_restart(s);
    irq_update(s);
    plan(s);
}

static const struct device_ops mc146818_ops = { "mc146818rtc", "real-time clock and CMOS", mc146818_reset, mc146818_destroy,
                                                mc146818_state, mc146818_after_load, mc146818_info };

struct device *mc146818_new(const struct mc146818_config *config, struct error *err)
{
    struct mc146818 *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "rtc: out of memory");
        return NULL;
    }
    s->device.ops = &mc146818_ops;
    s->config = *config;
    s->update = timer_new(config->clock == MC146818_CLOCK_VM ? TIMER_VIRTUAL : TIMER_HOST, timer_fired, s);
    s->periodic = timer_new(config->clock == MC146818_CLOCK_VM ? TIMER_VIRTUAL : TIMER_HOST, timer_fired, s);
    s->ram[A] = 0x26;
    s->ram[B] = B_24H;
    power_on(s);
    period_restart(s);
    registers_fill(s, s->base_s);
    s->range = memory_map_add_io(config->ports, "rtc", config->port, 2, &rtc_io, s, 2);
    mc146818_reset(&s->device);
    return &s->device;
}
