/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The main thread's event loop.
 *
 * Timers lie in one binary heap a clock. The earliest deadline of both is kept in a timerfd, which whoever arms a
 * timer moves itself: a vCPU thread needs no round trip through the loop. Posted calls wait in a list, an eventfd
 * wakes the loop. Descriptors that epoll refuses (regular files, /dev/null) count as always ready, as poll(2) has it.
 *
 * The machine lock is fair between threads: who wants it first takes a turnstile and holds that while it waits, so
 * a vCPU that polls a device register in a tight loop cannot keep the main thread out.
 */
#include "base/loop.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/futex.h"
#include "base/loop_private.h"

enum { PAUSE_NS = 200000000 };

struct watch {
    loop_fd_fn *fn;
    void *opaque;
    uint32_t events;
    uint32_t generation;               /* tells events of an older watch of the same fd */
    bool always;                       /* epoll cannot watch it */
    bool paused;                       /* epoll does not know it now */
};

struct timer {
    enum timer_clock clock;
    loop_call_fn *fn;
    void *opaque;
    int64_t deadline_ns;
    size_t slot;                       /* in its heap, from 1; 0: not armed */
};

struct heap {
    struct timer **item;               /* [1..count] */
    size_t count, room;
};

struct call {
    loop_call_fn *fn;                  /* NULL: cancelled */
    void *opaque;
};

/* Calls that are being made. One of them may run the loop, so rounds nest. */
struct round {
    struct round *outer;
    struct call *call;
    size_t count;
};

static struct loop {
    int epoll, wake, alarm;
    struct watch *watch;
    size_t watch_count;
    unsigned always_count;
    struct heap heap[2];
    struct timer *resume;              /* of what is paused */
    int64_t alarm_at_ns;
    pthread_mutex_t call_lock;
    struct call *call;
    size_t call_count, call_room;
    struct round *round;               /* the main thread's */
    _Atomic bool quit;
    bool ready;
} loop = { .call_lock = PTHREAD_MUTEX_INITIALIZER };

static pthread_mutex_t turnstile = PTHREAD_MUTEX_INITIALIZER, device_world = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local unsigned lock_depth, wake_count;
static _Thread_local int *wake[8];                       /* for when the lock is let go of */

void machine_lock(void)
{
    if (lock_depth++) return;
    pthread_mutex_lock(&turnstile);
    pthread_mutex_lock(&device_world);
    pthread_mutex_unlock(&turnstile);
}

bool machine_lock_try(void)
{
    if (!lock_depth) {
        if (pthread_mutex_trylock(&turnstile)) return false;
        bool got = !pthread_mutex_trylock(&device_world);
        pthread_mutex_unlock(&turnstile);
        if (!got) return false;
    }
    lock_depth++;
    return true;
}

void machine_unlock(void)
{
    if (--lock_depth) return;
    pthread_mutex_unlock(&device_world);
    while (wake_count) futex_wake(wake[--wake_count], INT_MAX);
}

void machine_wake(int *word)
{
    if (lock_depth && wake_count < ARRAY_SIZE(wake)) wake[wake_count++] = word;
    else futex_wake(word, INT_MAX);
}

bool machine_is_locked(void)
{
    return lock_depth > 0;
}

/* Out of memory for a few bytes of bookkeeping: nothing sensible can follow. */
static void *grow(void *p, size_t bytes)
{
    void *q = realloc(p, bytes);

    if (!q) abort();
    return q;
}

static void loop_wake(void)
{
    uint64_t one = 1;

    if (write(loop.wake, &one, sizeof(one)) < 0) return;   /* the counter is full: a wake-up is waiting already */
}

/* ---- timers ---- */

static void heap_put(struct heap *h, size_t slot, struct timer *t)
{
    h->item[slot] = t;
    t->slot = slot;
}

static void heap_settle(struct heap *h, size_t slot, struct timer *t)
{
    while (slot > 1 && h->item[slot / 2]->deadline_ns > t->deadline_ns) {
        heap_put(h, slot, h->item[slot / 2]);
        slot /= 2;
    }
    for (;;) {
        size_t child = slot * 2;

        if (child > h->count) break;
        if (child < h->count && h->item[child + 1]->deadline_ns < h->item[child]->deadline_ns) child++;
        if (h->item[child]->deadline_ns >= t->deadline_ns) break;
        heap_put(h, slot, h->item[child]);
        slot = child;
    }
    heap_put(h, slot, t);
}

static void heap_remove(struct heap *h, struct timer *t)
{
    struct timer *last = h->item[h->count--];

    if (last != t) heap_settle(h, t->slot, last);
    t->slot = 0;
}

/* Host time of the next deadline; INT64_MAX: none. */
static int64_t next_deadline_ns(void)
{
    int64_t next = INT64_MAX;

    if (loop.heap[TIMER_HOST].count) next = loop.heap[TIMER_HOST].item[1]->deadline_ns;
    if (loop.heap[TIMER_VIRTUAL].count) next = MIN(next, clock_host_deadline_ns(loop.heap[TIMER_VIRTUAL].item[1]->deadline_ns));
    return next;
}

static void alarm_update(void)
{
    int64_t next = next_deadline_ns();
    struct itimerspec when = { 0 };

    if (!loop.ready || next == loop.alarm_at_ns) return;
    loop.alarm_at_ns = next;
    if (next != INT64_MAX) {
        next = MAX(next, (int64_t)1);
        when.it_value = (struct timespec){ next / NS_PER_SECOND, next % NS_PER_SECOND };
    }
    timerfd_settime(loop.alarm, TFD_TIMER_ABSTIME, &when, NULL);
}

struct timer *timer_new(enum timer_clock clock, loop_call_fn *fn, void *opaque)
{
    struct timer *t = grow(NULL, sizeof(*t));

    *t = (struct timer){ .clock = clock, .fn = fn, .opaque = opaque };
    return t;
}

void timer_arm_ns(struct timer *t, int64_t deadline_ns)
{
    struct heap *h = &loop.heap[t->clock];

    if (t->slot && t->deadline_ns == deadline_ns) return;
    t->deadline_ns = deadline_ns;
    if (!t->slot) {
        if (h->count + 2 > h->room) {
            h->room = h->room ? h->room * 2 : 32;
            h->item = grow(h->item, h->room * sizeof(*h->item));
        }
        t->slot = ++h->count;
    }
    heap_settle(h, t->slot, t);
    if (t->slot == 1) alarm_update();
}

void timer_disarm(struct timer *t)
{
    if (t && t->slot) heap_remove(&loop.heap[t->clock], t);
}

bool timer_is_armed(const struct timer *t)
{
    return t->slot != 0;
}

void timer_free(struct timer *t)
{
    if (!t) return;
    timer_disarm(t);
    free(t);
}

/* A timer that arms itself for the past again and again must not keep the loop from its descriptors: each run takes
 * as many as were armed when it began. */
static void timers_run(enum timer_clock clock)
{
    struct heap *h = &loop.heap[clock];
    int64_t now;

    if (clock == TIMER_VIRTUAL && !clock_virtual_is_running()) return;
    now = clock == TIMER_VIRTUAL ? clock_virtual_ns() : clock_host_ns();
    for (size_t n = h->count; n && h->count && h->item[1]->deadline_ns <= now; n--) {
        struct timer *t = h->item[1];

        heap_remove(h, t);
        t->fn(t->opaque);
        if (clock == TIMER_VIRTUAL && !clock_virtual_is_running()) return;
    }
}

void loop_clock_changed(void)
{
    if (loop.ready) loop_wake();
}

/* ---- posted calls ---- */

void loop_post(loop_call_fn *fn, void *opaque)
{
    bool first;

    pthread_mutex_lock(&loop.call_lock);
    if (loop.call_count == loop.call_room) {
        loop.call_room = loop.call_room ? loop.call_room * 2 : 64;
        loop.call = grow(loop.call, loop.call_room * sizeof(*loop.call));
    }
    first = !loop.call_count;
    loop.call[loop.call_count++] = (struct call){ fn, opaque };
    pthread_mutex_unlock(&loop.call_lock);
    if (first && loop.ready) loop_wake();
}

void loop_post_cancel(void *opaque)
{
    size_t kept = 0;

    pthread_mutex_lock(&loop.call_lock);
    for (size_t i = 0; i < loop.call_count; i++)
        if (loop.call[i].opaque != opaque) loop.call[kept++] = loop.call[i];
    loop.call_count = kept;
    pthread_mutex_unlock(&loop.call_lock);
    for (struct round *r = loop.round; r; r = r->outer)
        for (size_t i = 0; i < r->count; i++)
            if (r->call[i].opaque == opaque) r->call[i].fn = NULL;
}

static void calls_run(void)
{
    struct round r = { .outer = loop.round };

    pthread_mutex_lock(&loop.call_lock);
    r.call = loop.call;
    r.count = loop.call_count;
    loop.call = NULL;
    loop.call_count = loop.call_room = 0;
    pthread_mutex_unlock(&loop.call_lock);
    loop.round = &r;
    for (size_t i = 0; i < r.count; i++)
        if (r.call[i].fn) r.call[i].fn(r.call[i].opaque);
    loop.round = r.outer;
    free(r.call);
}

static bool calls_are_waiting(void)
{
    bool waiting;

    pthread_mutex_lock(&loop.call_lock);
    waiting = loop.call_count > 0;
    pthread_mutex_unlock(&loop.call_lock);
    return waiting;
}

/* ---- descriptors ---- */

static uint32_t to_epoll(unsigned events)
{
    return (events & LOOP_READ ? EPOLLIN : 0) | (events & LOOP_WRITE ? EPOLLOUT : 0) |
           (events & LOOP_HANGUP ? EPOLLRDHUP : 0);
}

static unsigned from_epoll(uint32_t events)
{
    return (events & EPOLLIN ? LOOP_READ : 0) | (events & EPOLLOUT ? LOOP_WRITE : 0) |
           (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP) ? LOOP_HANGUP : 0);
}

void loop_fd_watch(int fd, unsigned events, loop_fd_fn *fn, void *opaque)
{
    struct epoll_event e = { .events = to_epoll(events) };
    struct watch *w;

    if (!events) {
        loop_fd_unwatch(fd);
        return;
    }
    if (fd < 0) return;
    if ((size_t)fd >= loop.watch_count) {
        size_t count = ALIGN_UP((size_t)fd + 1, (size_t)64);

        loop.watch = grow(loop.watch, count * sizeof(*loop.watch));
        memset(loop.watch + loop.watch_count, 0, (count - loop.watch_count) * sizeof(*loop.watch));
        loop.watch_count = count;
    }
    w = &loop.watch[fd];
    if (!w->fn) w->generation++;
    e.data.u64 = (uint64_t)w->generation << 32 | (uint32_t)fd;
    if (!w->always && epoll_ctl(loop.epoll, w->fn ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e) < 0) {
        /* A descriptor that was closed while watched has left epoll by itself. */
        if (errno == ENOENT) epoll_ctl(loop.epoll, EPOLL_CTL_ADD, fd, &e);
        else if (errno == EEXIST) epoll_ctl(loop.epoll, EPOLL_CTL_MOD, fd, &e);
        else if (errno == EPERM) {
            w->always = true;
            loop.always_count++;
        }
    }
    w->fn = fn;
    w->opaque = opaque;
    w->events = events;
    w->paused = false;
}

void loop_fd_unwatch(int fd)
{
    struct watch *w;

    if (fd < 0 || (size_t)fd >= loop.watch_count || !loop.watch[fd].fn) return;
    w = &loop.watch[fd];
    if (w->always) loop.always_count--;
    else epoll_ctl(loop.epoll, EPOLL_CTL_DEL, fd, NULL);
    *w = (struct watch){ .generation = w->generation };
}

static void watches_resume(void *opaque)
{
    for (size_t fd = 0; fd < loop.watch_count; fd++) {
        struct watch *w = &loop.watch[fd];

        if (w->paused) loop_fd_watch((int)fd, w->events, w->fn, w->opaque);
    }
}

void loop_fd_pause(int fd)
{
    struct watch *w = fd >= 0 && (size_t)fd < loop.watch_count ? &loop.watch[fd] : NULL;

    if (!w || !w->fn || w->always) return;
    epoll_ctl(loop.epoll, EPOLL_CTL_DEL, fd, NULL);
    w->paused = true;
    if (!loop.resume) loop.resume = timer_new(TIMER_HOST, watches_resume, NULL);
    if (!timer_is_armed(loop.resume)) timer_arm_ns(loop.resume, clock_host_ns() + PAUSE_NS);
}

static void fd_dispatch(const struct epoll_event *e)
{
    uint32_t fd = (uint32_t)e->data.u64;
    struct watch *w = fd < loop.watch_count ? &loop.watch[fd] : NULL;

    if (w && w->fn && w->generation == (uint32_t)(e->data.u64 >> 32))
        w->fn(w->opaque, (int)fd, from_epoll(e->events));
}

static void always_ready_dispatch(void)
{
    for (size_t fd = 0; fd < loop.watch_count && loop.always_count; fd++) {
        struct watch *w = &loop.watch[fd];

        if (w->fn && w->always) w->fn(w->opaque, (int)fd, w->events & (LOOP_READ | LOOP_WRITE));
    }
}

/* The counters of eventfd and timerfd only matter for having woken the loop. */
static void counter_drain(void *opaque, int fd, unsigned events)
{
    uint64_t count;

    if (fd == loop.alarm) loop.alarm_at_ns = INT64_MIN;
    if (read(fd, &count, sizeof(count)) < 0) return;
}

/* ---- the loop ---- */

void loop_init(void)
{
    if (loop.ready) return;
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    loop.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    loop.alarm = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop.epoll < 0 || loop.wake < 0 || loop.alarm < 0) {
        perror("ospite: cannot make the descriptors of the event loop");
        abort();
    }
    loop.alarm_at_ns = INT64_MIN;
    loop.ready = true;
    loop_fd_watch(loop.wake, LOOP_READ, counter_drain, NULL);
    loop_fd_watch(loop.alarm, LOOP_READ, counter_drain, NULL);
    if (calls_are_waiting()) loop_wake();
}

void loop_step(int timeout_ms)
{
    struct epoll_event event[32];
    int n;

    machine_lock();
    alarm_update();
    if (loop.always_count || calls_are_waiting()) timeout_ms = 0;
    machine_unlock();

    n = epoll_wait(loop.epoll, event, ARRAY_SIZE(event), timeout_ms);

    machine_lock();
    for (int i = 0; i < n; i++) fd_dispatch(&event[i]);
    if (loop.always_count) always_ready_dispatch();
    calls_run();
    timers_run(TIMER_HOST);
    timers_run(TIMER_VIRTUAL);
    alarm_update();
    machine_unlock();
}

void loop_run(void)
{
    while (!atomic_exchange(&loop.quit, false)) loop_step(-1);
}

void loop_quit(void)
{
    atomic_store(&loop.quit, true);
    if (loop.ready) loop_wake();
}
