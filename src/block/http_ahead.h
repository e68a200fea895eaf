/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading ahead, for files behind a server where each request costs a round trip: reads that go on where another one ended get more
 * and more at a time (up to 1 MiB), and the next ones find it here. Several of them may go on at once.
 */
#ifndef BLOCK_HTTP_AHEAD_H
#define BLOCK_HTTP_AHEAD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { HTTP_WINDOWS = 4, HTTP_TRAILS = 16, HTTP_AHEAD_BYTES = 1 << 20 };

struct http_ahead {
    pthread_mutex_t lock;
    struct http_window {
        uint64_t from, used;            /* used: when, for the choice of the one to give up */
        size_t length;
        uint8_t *data;
    } window[HTTP_WINDOWS];
    struct http_trail {
        uint64_t end, run;              /* where reads have come to, and how many bytes in a row */
    } trail[HTTP_TRAILS];
    uint64_t clock;
    unsigned next_trail;
};

void http_ahead_init(struct http_ahead *a);
void http_ahead_free(struct http_ahead *a);
/* Copies what is here of [offset, offset + length) to byte skip of the list; how much from the beginning. */
size_t http_ahead_find(struct http_ahead *a, uint64_t offset, size_t length, const struct iovec *iov, int iovcnt, size_t skip);
/* [offset, offset + length) is read: how much is worth reading from offset on, at least length. */
size_t http_ahead_note(struct http_ahead *a, uint64_t offset, size_t length);
/* Keeps data (malloc'ed, its own from now on), read from `from`. */
void http_ahead_keep(struct http_ahead *a, uint64_t from, uint8_t *data, size_t length);

#endif
