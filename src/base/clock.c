/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual time is host time plus an offset while it runs, and one frozen value while it does not. A sequence counter
 * lets any thread read the pair without a lock.
 */
#include "base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/loop_private.h"

static pthread_mutex_t change = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint32_t sequence;
static _Atomic bool running;
static _Atomic int64_t value_ns;       /* running: virtual minus host; stopped: virtual */

static int64_t clock_read(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return ts.tv_sec * NS_PER_SECOND + ts.tv_nsec;
}

int64_t clock_host_ns(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

int64_t clock_wall_ns(void)
{
    return clock_read(CLOCK_REALTIME);
}

int64_t clock_virtual_ns(void)
{
    uint32_t before;
    int64_t v;

    do {
        before = atomic_load(&sequence);
        v = atomic_load(&value_ns);
        if (atomic_load(&running)) v += clock_host_ns();
    } while ((before & 1) || before != atomic_load(&sequence));
    return v;
}

int64_t clock_host_deadline_ns(int64_t virtual_ns)
{
    uint32_t before;
    bool runs;
    int64_t v;

    do {
        before = atomic_load(&sequence);
        v = atomic_load(&value_ns);
        runs = atomic_load(&running);
    } while ((before & 1) || before != atomic_load(&sequence));
    return !runs || __builtin_sub_overflow(virtual_ns, v, &v) ? INT64_MAX : v;
}

static void clock_virtual_set(bool run)
{
    pthread_mutex_lock(&change);
    if (atomic_load(&running) != run) {
        int64_t host = clock_host_ns();

        atomic_fetch_add(&sequence, 1);
        atomic_fetch_add(&value_ns, run ? -host : host);
        atomic_store(&running, run);
        atomic_fetch_add(&sequence, 1);
    }
    pthread_mutex_unlock(&change);
    loop_clock_changed();
}

void clock_virtual_start(void)
{
    clock_virtual_set(true);
}

void clock_virtual_stop(void)
{
    clock_virtual_set(false);
}

bool clock_virtual_is_running(void)
{
    return atomic_load(&running);
}
