/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop of the main thread: epoll over descriptors, virtual-time and host-time timers, and calls posted
 * from other threads. Every callback runs in the main thread with the machine lock held.
 *
 * The machine lock is one recursive lock around the device world: the loop holds it while it runs callbacks, vCPU
 * threads take it around port and device-memory accesses. Timers may be armed and disarmed from any thread that
 * holds the lock.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct timer;

enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };
typedef void loop_fd_fn(void *opaque, int fd, unsigned events);
typedef void loop_call_fn(void *opaque);

/* There is one loop in a process. Created by loop_init, used through these functions. */
void loop_init(void);
/* Runs until loop_quit. */
void loop_run(void);
void loop_quit(void);
/* Runs callbacks that are due; waits at most timeout_ms (-1: until something happens). For tests and tools. */
void loop_step(int timeout_ms);

/* Watches fd for events (LOOP_*); replaces an earlier watch of the same fd. events 0 removes it. */
void loop_fd_watch(int fd, unsigned events, loop_fd_fn *fn, void *opaque);
void loop_fd_unwatch(int fd);
/* Does not look at fd for at most 200 ms; a new watch ends that. */
void loop_fd_pause(int fd);

/* Has fn(opaque) called in the main thread soon, once a call. From any thread, no lock needed. */
void loop_post(loop_call_fn *fn, void *opaque);
/* Forgets posted calls with this argument that were not made yet. Main thread, before what it points to is freed. */
void loop_post_cancel(void *opaque);

enum timer_clock { TIMER_VIRTUAL, TIMER_HOST };
struct timer *timer_new(enum timer_clock clock, loop_call_fn *fn, void *opaque);
void timer_arm_ns(struct timer *t, int64_t deadline_ns);   /* absolute, on its clock; moves an armed one */
void timer_disarm(struct timer *t);
bool timer_is_armed(const struct timer *t);
void timer_free(struct timer *t);

void machine_lock(void);
bool machine_lock_try(void);         /* false: another thread has it, or waits for it */
void machine_unlock(void);
bool machine_is_locked(void);      /* by this thread */
/* futex_wake of all on the word, once this thread has let go of the lock, which those who wake are going to want; at once if it has not got it. */
void machine_wake(int *word);

#endif
