/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole machines on the bt engine with a small guest: exit status, the ways to reset and what a reset restores,
 * triple fault with -no-reboot and -no-shutdown, stop and cont, A20, and a second CPU's start. Machines follow
 * each other in one process.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "machine/machine.h"

static unsigned checks, failures;
#define CHECK(condition, ...) \
    do { \
        checks++; \
        if (condition) break; \
        failures++; \
        printf("%s:%d: %s: ", __FILE__, __LINE__, #condition); \
        printf(__VA_ARGS__); \
        printf("\n"); \
    } while (0)

static const char *guest;
static struct machine *m;
static struct timer *timer;
static unsigned step;
static gpa_t counter_at;

static struct machine_config config_for(const char *what)
{
    struct machine_config c;

    machine_config_defaults(&c);
    c.accel = ACCEL_BT;
    c.ram_bytes = 16 << 20;
    c.has_vga = false;
    c.isa_debug_exit = true;
    c.kernel = guest;
    c.append = what;
    return c;
}

/* Runs one machine to its end. A guest that hangs is ended with status 99. */
static void too_long(void *opaque) { machine_request_quit(m, 99, CAUSE_SIGNAL); }

static int run(const struct machine_config *c)
{
    struct timer *limit = timer_new(TIMER_HOST, too_long, NULL);
    struct error err;
    int status;

    m = machine_new(c, &err);
    if (!m) {
        printf("machine_new: %s\n", err.text);
        exit(1);
    }
    machine_lock();
    timer_arm_ns(limit, clock_host_ns() + 120 * NS_PER_SECOND);
    if (timer) timer_arm_ns(timer, clock_host_ns() + NS_PER_SECOND / 5);
    machine_unlock();
    status = machine_run(m);
    machine_lock();
    timer_free(limit);
    machine_unlock();
    machine_free(m);
    return status;
}

static void test_status(void)
{
    struct machine_config c = config_for("a");
    int status = run(&c);

    CHECK(status == 0x2b, "status %x", status);
    c.append = "b";
    status = run(&c);
    CHECK(status == 0x67, "resets: status %x", status);
    c.append = "e";
    status = run(&c);
    CHECK(status == (7 << 1 | 1), "A20: status %x", status);
    c.append = "c";
    c.no_reboot = true;
    status = run(&c);
    CHECK(status == 0, "triple fault: status %x", status);
    c = config_for("f");
    c.cpus = c.topology.cores = 2;
    status = run(&c);
    CHECK(status == 0x55, "second CPU: status %x", status);
}

static uint32_t counter(void)
{
    uint32_t value = 0;

    if (!counter_at) {
        uint8_t image[4096];

        memory_read(machine_memory(m), 0x200000, image, sizeof(image));
        for (unsigned i = 0; i + 8 <= sizeof(image); i += 4) {
            if (memcmp(image + i, "CNTR", 4)) continue;
            memcpy(&value, image + i + 4, 4);
            counter_at = value;
        }
    }
    memory_read(machine_memory(m), counter_at, &value, sizeof(value));
    return value;
}

static unsigned stops;
static void on_stop(void *opaque, enum run_state why, unsigned vcpu) { stops += why == RUN_PAUSED; }

/* Every 50 ms the next thing happens, when the guest has counted on; on a busy host that takes longer. run() ends what takes too long. */
static void control(void *opaque)
{
    static uint32_t last;
    static int64_t frozen;
    struct x86_state s;
    bool from_start = step == 0 || step == 3 || step == 5;

    if ((from_start && counter() <= 1000) || (step == 2 && counter() == last)) {
        timer_arm_ns(timer, clock_host_ns() + NS_PER_SECOND / 20);
        return;
    }
    switch (step++) {
    case 0:
        machine_on_stop(m, on_stop, NULL);
        machine_stop(m, RUN_PAUSED);
        last = counter();
        frozen = clock_virtual_ns();
        CHECK(last > 1000 && stops == 1 && machine_state(m) == RUN_PAUSED, "counted to %u", last);
        machine_vcpu_get(m, 0, &s);
        CHECK(s.rip >= 0x200000 && s.rip < 0x201000, "rip %llx", (unsigned long long)s.rip);
        break;
    case 1:
        CHECK(counter() == last && clock_virtual_ns() == frozen, "it stands still");
        machine_start(m);
        break;
    case 2:
        CHECK(counter() > last && clock_virtual_ns() > frozen && machine_state(m) == RUN_RUNNING, "it goes on");
        machine_request_reset(m, CAUSE_MONITOR_RESET);
        break;
    case 3:
        last = counter();
        CHECK(last > 1000 && machine_state(m) == RUN_RUNNING, "running after reset: %u", last);
        machine_stop(m, RUN_PAUSED);
        machine_request_reset(m, CAUSE_MONITOR_RESET);
        break;
    case 4:
        CHECK(counter() == 0 && machine_state(m) == RUN_PAUSED, "reset while stopped: %u", counter());
        machine_vcpu_get(m, 0, &s);
        CHECK(s.rip < 0x200040, "at its entry: %llx", (unsigned long long)s.rip);
        machine_start(m);
        break;
    case 5:
        CHECK(counter() > 1000, "runs again");
        machine_request_quit(m, 9, CAUSE_SIGNAL);
        return;
    }
    timer_arm_ns(timer, clock_host_ns() + NS_PER_SECOND / 20);
}

/* With -no-shutdown and -no-reboot a triple fault leaves a machine that is off, sooner or later; 'quit' ends it. */
static void check_off(void *opaque)
{
    if (machine_state(m) != RUN_SHUTDOWN) {
        timer_arm_ns(timer, clock_host_ns() + NS_PER_SECOND / 20);
        return;
    }
    machine_request_quit(m, 5, CAUSE_SIGNAL);
}

static void test_control(void)
{
    struct machine_config c = config_for("d");
    int status;

    timer = timer_new(TIMER_HOST, control, NULL);
    status = run(&c);
    CHECK(status == 9 && step == 6, "status %d after step %u", status, step);
    timer_free(timer);
    timer = timer_new(TIMER_HOST, check_off, NULL);
    c = config_for("c");
    c.no_reboot = c.no_shutdown = true;
    status = run(&c);
    CHECK(status == 5, "status %d", status);
    timer_free(timer);
    timer = NULL;
}

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    guest = argv[1];
    loop_init();
    test_status();
    test_control();
    printf("machine: %u checks, %u failed\n", checks, failures);
    return failures != 0;
}
