/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a driver cannot have of devices that keep all clauses: more random bytes than the user allows, by resets; others' turns, by requests for a balloon
 * that name as many pages as there is room for.
 */
#include <stdio.h>

#include "base/clock.h"
#include "clauses.h"

static unsigned checks, failures;

void clause_check(bool ok, const char *file, int line, const char *what)
{
    checks++;
    if (ok) return;
    failures++;
    printf("FAILED (%s:%d): %s\n", file, line, what);
}

static unsigned taken(unsigned q)
{
    unsigned count = 0;

    for (uint32_t written; driver_take(&guest.queue[q], &written) >= 0;) count++;
    return count;
}

/* ---- entropy source ---- */

enum { RANDOM = 64, PERIOD_MS = 50, PERIODS = 4, NS_PER_MS = 1000000 };

static void queue_renew(void)
{
    reg_set(QUEUE_SELECT, 0, 2);
    reg_set(QUEUE_RESET, 1, 2);
    guest_queue_setup(0, SIZE);
}

static void device_renew(void) { guest_start(ALL); }

static void entropy(void (*renew)(void))
{
    struct driver_piece p = { DATA, RANDOM, true };
    int64_t begin;
    unsigned got = 0;

    guest.random_bytes = RANDOM;
    guest.random_ms = PERIOD_MS;
    guest_plug(RNG, 0);
    begin = clock_virtual_ns();
    guest_start(ALL);
    while (got < PERIODS) {                              /* each gets all that there is */
        check(driver_add(&guest.queue[0], &p, 1, false) >= 0);
        guest_kick(0);
        guest_turn();
        got += taken(0);
        if (clock_virtual_ns() - begin > 100ll * PERIODS * PERIOD_MS * NS_PER_MS) break;
        renew();
    }
    check(got == PERIODS && clock_virtual_ns() - begin >= (PERIODS - 1ll) * PERIOD_MS * NS_PER_MS);
    guest_unplug();
    guest.random_bytes = 0;
}

/* ---- balloon ---- */

enum { NUMBERS = 16384, REQUESTS = 128, A_TURN = 4, PAGE = 4096 };

/* No page is the neighbour of the one before, so that each costs a system call. */
static void balloon(void)
{
    struct driver_piece p = { DATA, 4 * NUMBERS, false };
    unsigned most, done, turns = 0;

    guest_plug(BALLOON, 0);
    check(guest_negotiate(ALL));
    for (unsigned q = 0; q < guest.queues; q++) guest_queue_setup(q, REQUESTS);
    reg_set(STATUS, S_ACK | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK, 1);
    for (unsigned i = 0; i < NUMBERS; i++) put(DATA + 4 * i, DATA / PAGE + 0x40 + 2 * i % 0x80, 4);
    for (unsigned i = 0; i < REQUESTS; i++) check(driver_add(&guest.queue[0], &p, 1, false) >= 0);
    guest_kick(0);
    most = done = taken(0);
    while (done < REQUESTS && turns++ < 10 * REQUESTS) {
        unsigned now;

        guest_turn();
        done += now = taken(0);
        most = MAX(most, now);
    }
    check(done == REQUESTS && most && most <= A_TURN);
    guest_unplug();
}

int main(void)
{
    guest_begin();
    entropy(queue_renew);
    entropy(device_renew);
    balloon();
    guest_end();
    printf("virtio-limits: %u checks, %u failures\n", checks, failures);
    return failures != 0;
}
