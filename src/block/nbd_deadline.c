/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A socket's own timeout is one for each call: a server that sends a byte now and then is never late, and the calls are
 * GnuTLS's where there is TLS. So a thread watches the clock and shuts the socket down. Without one (no memory) the
 * socket's timeouts are left.
 */
#include "block/nbd_deadline.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"

static void *deadline_thread(void *opaque)
{
    struct nbd_deadline *d = opaque;
    const struct timespec at = { d->at_ns / NS_PER_SECOND, d->at_ns % NS_PER_SECOND };
    pthread_mutex_lock(&d->lock);
    while (!d->ended && !d->struck)
        if (pthread_cond_clockwait(&d->over, &d->lock, CLOCK_MONOTONIC, &at) == ETIMEDOUT && !d->ended) {
            d->struck = true;
            shutdown(d->fd, SHUT_RDWR);
        }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

void nbd_deadline_begin(struct nbd_deadline *d, int fd, unsigned ms)
{
    struct timespec now;
    sigset_t all, old;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *d = (struct nbd_deadline){ .fd = fd, .at_ns = now.tv_sec * NS_PER_SECOND + now.tv_nsec + ms * 1000000ll };
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->over, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    d->started = !pthread_create(&d->thread, NULL, deadline_thread, d);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

bool nbd_deadline_end(struct nbd_deadline *d)
{
    pthread_mutex_lock(&d->lock);
    d->ended = true;
    pthread_cond_signal(&d->over);
    pthread_mutex_unlock(&d->lock);
    if (d->started)
        pthread_join(d->thread, NULL);
    pthread_cond_destroy(&d->over);
    pthread_mutex_destroy(&d->lock);
    return d->struck;
}
