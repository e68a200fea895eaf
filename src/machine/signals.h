/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The signals that end a machine. In a file of their own because <signal.h> and x86/state.h name registers
 * alike. */
#ifndef MACHINE_SIGNALS_H
#define MACHINE_SIGNALS_H

#include <pthread.h>

/* SIGINT, SIGTERM and SIGHUP call fn in the main loop (unless ignored when the process started). Once a
 * process. */
void signals_watch(void (*fn)(void *opaque), void *opaque);
void signals_forget(void);
/* pthread_create for a thread that leaves the user's signals to the main thread. 0 or an errno. */
int signals_thread_create(pthread_t *thread, void *(*fn)(void *opaque), void *opaque);

#endif
