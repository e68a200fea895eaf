/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Room base: errors, nearest names, clocks, and the loop with its timers, posts, descriptors and lock under threads. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fdset.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/nearest.h"
#include "unit.h"

static void test_error(void)
{
    struct error e, big;
    char text[3000];

    check(error_set(&e, "cannot open '%s'", "a") == -1 && !strcmp(e.text, "cannot open 'a'"), "error_set");
    check(error_prefix(&e, "disk%d", 0) == -1 && !strcmp(e.text, "disk0: cannot open 'a'"), "error_prefix");
    check(error_set(NULL, "x") == -1 && error_prefix(NULL, "x") == -1, "errors without a place");
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    error_set(&big, "%s", text);
    error_prefix(&big, "%s", text);
    check(strlen(big.text) == sizeof(big.text) - 1, "an overlong error is cut");
}

static void test_nearest(void)
{
    static const char *const names[] = { "nographic", "serial", "snapshot", "smp", "machine", NULL, "m" };

    check(nearest_distance("abc", "abc") == 0 && nearest_distance("", "abc") == 3, "distance: equal, empty");
    check(nearest_distance("kitten", "sitting") == 3 && nearest_distance("acb", "abc") == 1, "distance: known pairs");
    check(nearest_distance("ABC", "abd") == 1, "distance: case");
    check(!strcmp(nearest_name("nografic", names, 7), "nographic"), "nearest: nografic");
    check(!strcmp(nearest_name("seriall", names, 7), "serial"), "nearest: seriall");
    check(!strcmp(nearest_name("mahcine", names, 7), "machine"), "nearest: mahcine");
    check(nearest_name("zzzzzzzz", names, 7) == NULL, "nearest: nothing near");
    check(!nearest_name("usb-host", (const char *[]){ "usb-mouse" }, 1) && !nearest_name("set", (const char *[]){ "sendnet", "nit" }, 2), "nearest: other words");
    check(!nearest_name("singlestep", (const char *[]){ "s" }, 1), "nearest: a letter is no beginning");
    check(!strcmp(nearest_name("usbdev", (const char *[]){ "usbdevice" }, 1), "usbdevice"), "nearest: a beginning");
    for (unsigned i = 0; i < 2000; i++) {
        char a[80], b[80];
        size_t na = rand() % 79, nb = rand() % 79;

        for (size_t j = 0; j < na; j++) a[j] = 'a' + rand() % 3;
        for (size_t j = 0; j < nb; j++) b[j] = 'a' + rand() % 3;
        a[na] = b[nb] = 0;
        check(nearest_distance(a, b) == nearest_distance(b, a) && nearest_distance(a, b) <= 63, "distance: symmetric");
    }
}

static void test_log(void)
{
    struct error e = { "" };

    check(log_trace_enable("int,mmu", &e) == 0 && trace_is_on(TRACE_INT) && trace_is_on(TRACE_MMU) &&
          !trace_is_on(TRACE_IDE), "trace categories");
    check(log_trace_enable("in_asn", &e) == -1 && strstr(e.text, "'in_asm'"), "unknown category names the nearest");
    check(trace_is_on(TRACE_INT), "a refused list changes nothing");
    check(log_trace_enable("none", &e) == 0 && !trace_mask, "none");
    check(log_trace_file("/nonexistent/x", &e) == -1, "trace file that cannot be");
}

static int fired[1000], fired_count;

static void note_fired(void *opaque)
{
    fired[fired_count++] = (int)(intptr_t)opaque;
}

static void quit(void *opaque)
{
    loop_quit();
}

static void test_timers(void)
{
    enum { N = 300 };
    struct timer *t[N], *end = timer_new(TIMER_HOST, quit, NULL);
    int64_t start = clock_host_ns(), late = 0;
    int order_ok = 1;

    machine_lock();
    for (int i = 0; i < N; i++) {
        t[i] = timer_new(TIMER_HOST, note_fired, (void *)(intptr_t)i);
        timer_arm_ns(t[i], start + 1000000 + rand() % 50 * 1000000LL);
        timer_arm_ns(t[i], start + 1000000 + i * 100000LL);          /* moved: i-th in order */
    }
    for (int i = 0; i < N; i += 3) timer_disarm(t[i]);
    timer_arm_ns(end, start + 60000000);
    machine_unlock();
    loop_run();
    late = clock_host_ns() - start - 60000000;
    for (int i = 1; i < fired_count; i++) order_ok &= fired[i] > fired[i - 1];
    check(fired_count == 200 && order_ok, "200 of 300 timers fire, in the order of their deadlines");
    check(late >= 0 && late < 60000000000, "the last timer is not early");
    for (int i = 0; i < N; i++) {
        check(!timer_is_armed(t[i]), "no timer is left armed");
        timer_free(t[i]);
    }
    timer_free(end);
}

static void test_virtual_clock(void)
{
    struct timer *t = timer_new(TIMER_VIRTUAL, note_fired, NULL);
    int64_t v;

    fired_count = 0;
    check(clock_virtual_ns() == 0 && !clock_virtual_is_running(), "virtual time starts at 0, stopped");
    machine_lock();
    timer_arm_ns(t, 5000000);
    machine_unlock();
    for (int i = 0; i < 5; i++) loop_step(5);
    check(fired_count == 0, "no virtual timer fires while the clock stands");
    clock_virtual_start();
    while (!fired_count) loop_step(1000);
    v = clock_virtual_ns();
    check(v >= 5000000 && v < 60000000000, "it fires when its time has come");
    clock_virtual_stop();
    v = clock_virtual_ns();
    usleep(5000);
    check(clock_virtual_ns() == v, "stopped means stopped");
    clock_virtual_start();
    check(clock_virtual_ns() - v < 60000000000, "it goes on where it stood");
    clock_virtual_stop();
    timer_free(t);
}

static unsigned posted;
static void count_post(void *opaque) { posted++; }

/* What is cancelled does not come, though it was next in the round that is under way; nor does it from a loop in a loop. */
static unsigned alive[2], calls_to[2];
static void count_call(void *opaque)
{
    unsigned n = (unsigned)((unsigned *)opaque - alive);

    check(alive[n], "a call for what is there still");
    calls_to[n]++;
}

static void cancel_first(void *opaque)
{
    alive[0] = 0;
    loop_post_cancel(&alive[0]);
    if (opaque) loop_step(0);
}

static void test_cancelled(void)
{
    for (unsigned nested = 0; nested < 2; nested++) {
        alive[0] = alive[1] = 1;
        calls_to[0] = calls_to[1] = 0;
        loop_post(count_call, &alive[0]);
        loop_post(cancel_first, nested ? &nested : NULL);
        loop_post(count_call, &alive[0]);
        loop_post(count_call, &alive[1]);
        loop_step(0);
        loop_step(0);
        check(calls_to[0] == 1 && calls_to[1] == 1, "%u and %u calls, loop in a loop: %u", calls_to[0], calls_to[1], nested);
    }
}

static struct timer *remote;
static void *poster(void *arg)
{
    for (int i = 0; i < 20000; i++) loop_post(count_post, NULL);
    return NULL;
}

static void *armer(void *arg)
{
    usleep(20000);                               /* the loop sleeps in epoll by now */
    machine_lock();
    timer_arm_ns(remote, clock_host_ns() + 1000000);
    machine_unlock();
    return NULL;
}

static void test_threads(void)
{
    pthread_t p[4], a;
    int64_t start;

    for (int i = 0; i < 4; i++) pthread_create(&p[i], NULL, poster, NULL);
    while (posted < 80000) loop_step(1000);
    for (int i = 0; i < 4; i++) pthread_join(p[i], NULL);
    loop_step(0);
    check(posted == 80000, "80000 posted calls of four threads arrive once each");

    remote = timer_new(TIMER_HOST, quit, NULL);
    start = clock_host_ns();
    pthread_create(&a, NULL, armer, NULL);
    loop_run();
    pthread_join(a, NULL);
    check(clock_host_ns() - start < 60000000000, "a timer armed by another thread wakes the loop");
    timer_free(remote);
}

static uint64_t guarded[2];
static void *locker(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        machine_lock();
        machine_lock();
        guarded[0]++;
        guarded[1]++;
        machine_unlock();
        if (guarded[0] != guarded[1] || !machine_is_locked()) abort();
        machine_unlock();
    }
    return NULL;
}

static _Atomic bool hog_stop;
static void *hog(void *arg)
{
    while (!hog_stop) {
        machine_lock();
        for (volatile int i = 0; i < 2000; i++) {}
        machine_unlock();
    }
    return NULL;
}

static void test_lock(void)
{
    pthread_t p[3];
    unsigned late = 0;                           /* now and then others have the processors for a second */

    for (int i = 0; i < 3; i++) pthread_create(&p[i], NULL, locker, NULL);
    for (int i = 0; i < 3; i++) pthread_join(p[i], NULL);
    check(guarded[0] == 60000 && guarded[1] == 60000, "the machine lock excludes and nests");
    pthread_create(&p[0], NULL, hog, NULL);
    for (int i = 0; i < 200; i++) {
        int64_t t = clock_host_ns();

        machine_lock();
        machine_unlock();
        late += clock_host_ns() - t > 1000000000;
    }
    hog_stop = true;
    pthread_join(p[0], NULL);
    check(late < 5, "a thread that takes the lock all the time keeps nobody out");
}

static size_t got;
static int chatter[2];
static void pipe_ready(void *opaque, int fd, unsigned events)
{
    char buf[100];
    ssize_t n = read(fd, buf, sizeof(buf));

    if (n > 0) got += n;
    else loop_fd_unwatch(fd);
    if (n <= 0) loop_quit();
}

/* Removes its neighbour, whose event may wait in the same batch: that must not be called. */
static unsigned neighbours;
static void remove_other(void *opaque, int fd, unsigned events)
{
    neighbours++;
    loop_fd_unwatch(chatter[0]);
    loop_fd_unwatch(chatter[1]);
}

static void test_descriptors(void)
{
    char name[] = "/tmp/ospite-test-XXXXXX";
    int p[2], q[2], file;

    if (pipe(p) < 0 || pipe(q) < 0) abort();
    loop_fd_watch(p[0], LOOP_READ, pipe_ready, NULL);
    check(write(p[1], "hello", 5) == 5, "write to a pipe");
    while (got < 5) loop_step(1000);
    close(p[1]);
    loop_run();
    check(got == 5, "a pipe's bytes and its end are seen");

    chatter[0] = p[0];
    chatter[1] = q[0];
    close(p[0]);
    if (pipe(p) < 0) abort();
    chatter[0] = p[0];
    loop_fd_watch(p[0], LOOP_READ, remove_other, NULL);
    loop_fd_watch(q[0], LOOP_READ, remove_other, NULL);
    check(write(p[1], "x", 1) == 1 && write(q[1], "x", 1) == 1, "two pipes ready");
    loop_step(1000);
    loop_step(0);
    check(neighbours == 1, "a removed watch is not called, not even for an event already fetched");

    file = mkstemp(name);
    unlink(name);
    check(write(file, "0123456789", 10) == 10 && lseek(file, 0, SEEK_SET) == 0, "a regular file");
    got = 0;
    loop_fd_watch(file, LOOP_READ, pipe_ready, NULL);
    loop_run();
    check(got == 10, "a regular file counts as always ready");
}

static unsigned looks;
static void look_and_pause(void *opaque, int fd, unsigned events)
{
    looks++;
    loop_fd_pause(fd);
}

static void steps_for(int64_t ns)
{
    for (int64_t end = clock_host_ns() + ns; clock_host_ns() < end;) loop_step(10);
}

/* What is ready all the time and pauses is seen now and then; what is not watched any more does not come back by that. */
static void test_pause(void)
{
    int p[2];

    if (pipe(p) < 0) abort();
    check(write(p[1], "x", 1) == 1, "a pipe that stays ready");
    loop_fd_pause(p[0]);
    loop_fd_pause(-1);
    loop_fd_watch(p[0], LOOP_READ, look_and_pause, NULL);
    steps_for(NS_PER_SECOND);
    check(looks >= 2 && looks <= 8, "what pauses was seen %u times in a second", looks);
    looks = 0;
    loop_fd_pause(p[0]);
    loop_fd_watch(p[0], LOOP_READ, look_and_pause, NULL);
    loop_step(1000);
    check(looks == 1, "a new watch ends a pause");
    loop_fd_unwatch(p[0]);
    steps_for(NS_PER_SECOND / 2);
    check(looks == 1, "a watch that went while it paused does not come back");
    close(p[0]);
    close(p[1]);
}

static void member_count(void *opaque, int64_t set, int fd, const char *text)
{
    if (set == 7 && fd >= 0 && text && !strcmp(text, "what for")) ++*(unsigned *)opaque;
}

/* As many as there is room for, and then some; the leak checker sees what those that were refused leave. */
static void test_fdsets(void)
{
    enum { MORE_THAN_FIT = 1100 };
    struct error err;
    unsigned added = 0, listed = 0;
    int null = open("/dev/null", O_RDWR), other;

    for (unsigned i = 0; i < MORE_THAN_FIT; i++) added += fdset_add(7, 1 << 20 | (int)i, "what for", &err) == 7;
    fdset_list(member_count, &listed);
    check(added == 1024 && listed == 1024 && strstr(err.text, "1024"), "as many descriptors as there is room for");
    check(fdset_remove(7, 1 << 20, &err) == 0 && fdset_remove(7, 1 << 20, &err) == -1 && fdset_remove(7, -1, &err) == 0, "one goes, then all");
    check(fdset_remove(7, -1, &err) == -1 && fdset_open("/dev/fdset/7", O_RDONLY, 0) == -1 && errno == ENOENT, "nothing is left");
    check(fdset_add(-1, null, NULL, &err) == 0, "the first free number");
    other = fdset_open("/dev/fdset/0", O_RDONLY, 0);
    check(other >= 0 && other != null && fdset_remove(0, null, &err) == 0 && write(other, "x", 1) == 1, "a duplicate, which stays");
    close(other);
}

int main(void)
{
    unsigned seed = 20240601;

    printf("seed %u\n", seed);
    srand(seed);
    loop_init();
    test_error();
    test_nearest();
    test_log();
    test_timers();
    test_virtual_clock();
    test_cancelled();
    test_threads();
    test_lock();
    test_descriptors();
    test_pause();
    test_fdsets();
    return report("base");
}
