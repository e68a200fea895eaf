/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See http_ahead.h. */
#include "block/http_ahead.h"

#include "base/bits.h"
#include "block/block_private.h"

#include <stdlib.h>

void http_ahead_init(struct http_ahead *a)
{
    *a = (struct http_ahead){ .clock = 1 };
    pthread_mutex_init(&a->lock, NULL);
}

void http_ahead_free(struct http_ahead *a)
{
    for (unsigned i = 0; i < HTTP_WINDOWS; i++)
        free(a->window[i].data);
    pthread_mutex_destroy(&a->lock);
}

size_t http_ahead_find(struct http_ahead *a, uint64_t offset, size_t length, const struct iovec *iov, int iovcnt, size_t skip)
{
    size_t found = 0;
    pthread_mutex_lock(&a->lock);
    for (unsigned i = 0; i < HTTP_WINDOWS && !found; i++) {
        struct http_window *w = &a->window[i];
        if (offset < w->from || offset - w->from >= w->length)
            continue;
        found = (size_t)MIN((uint64_t)length, w->length - (offset - w->from));
        block_iov_from(iov, iovcnt, skip, w->data + (offset - w->from), found);
        w->used = a->clock++;
    }
    pthread_mutex_unlock(&a->lock);
    return found;
}

size_t http_ahead_note(struct http_ahead *a, uint64_t offset, size_t length)
{
    unsigned i = 0;
    pthread_mutex_lock(&a->lock);
    while (i < HTTP_TRAILS && (a->trail[i].end != offset || !a->trail[i].run))
        i++;
    uint64_t run = i < HTTP_TRAILS ? a->trail[i].run : 0;
    struct http_trail *t = &a->trail[i < HTTP_TRAILS ? i : a->next_trail++ % HTTP_TRAILS];
    *t = (struct http_trail){ offset + length, run + length };
    pthread_mutex_unlock(&a->lock);
    return (size_t)MAX((uint64_t)length, MIN(2 * run, (uint64_t)HTTP_AHEAD_BYTES));
}

void http_ahead_keep(struct http_ahead *a, uint64_t from, uint8_t *data, size_t length)
{
    struct http_window *w = &a->window[0];
    pthread_mutex_lock(&a->lock);
    for (unsigned i = 1; i < HTTP_WINDOWS; i++)
        if (a->window[i].used < w->used)
            w = &a->window[i];
    free(w->data);
    *w = (struct http_window){ from, a->clock++, length, data };
    pthread_mutex_unlock(&a->lock);
}
