/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A time by which a conversation with an NBD server has to be over. */
#ifndef BLOCK_NBD_DEADLINE_H
#define BLOCK_NBD_DEADLINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct nbd_deadline {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t over;
    int fd;
    int64_t at_ns;                  /* CLOCK_MONOTONIC */
    bool started, ended, struck;
};

/* When ms have gone by, fd is shut down. It stays open until nbd_deadline_end was called. */
void nbd_deadline_begin(struct nbd_deadline *d, int fd, unsigned ms);
/* Whether it was shut down. */
bool nbd_deadline_end(struct nbd_deadline *d);

#endif
