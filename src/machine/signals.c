/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A handler may only write to a descriptor; the loop does the rest. */
#include "machine/signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/loop.h"

static int descriptor = -1;
static void (*callback)(void *opaque);

static void on_signal(int signal)
{
    uint64_t one = 1;
    int saved = errno;

    if (write(descriptor, &one, sizeof(one)) < 0) errno = saved;     /* it is full: the loop has been told */
    errno = saved;
}

static void signal_arrived(void *opaque, int fd, unsigned events)
{
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0) return;
    callback(opaque);
}

void signals_watch(void (*fn)(void *opaque), void *opaque)
{
    static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, old;

    descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (descriptor < 0) return;
    callback = fn;
    loop_fd_watch(descriptor, LOOP_READ, signal_arrived, opaque);
    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
        if (sigaction(ends[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN) continue;   /* nohup */
        sigaction(ends[i], &a, NULL);
    }
}

void signals_forget(void)
{
    if (descriptor >= 0) loop_fd_unwatch(descriptor);
}

int signals_thread_create(pthread_t *thread, void *(*fn)(void *opaque), void *opaque)
{
    static const int users[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGALRM, SIGCHLD, SIGTSTP, SIGCONT };
    sigset_t block, old;
    int result;

    sigemptyset(&block);
    for (unsigned i = 0; i < ARRAY_SIZE(users); i++) sigaddset(&block, users[i]);
    pthread_sigmask(SIG_BLOCK, &block, &old);
    result = pthread_create(thread, NULL, fn, opaque);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return result;
}
