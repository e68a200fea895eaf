/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk in pieces by several threads: each takes the next piece under a lock (which is where holes are skipped: a piece
 * may be as large as the hole) and works on it with a buffer of its own. So several requests are in flight, compression
 * uses all processors, and memory is threads times buffer, whatever the image's size.
 */
#include "tool/img/img_private.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

enum { THREADS_MAX = 64 };

struct run {
    struct img_walk *w;
    pthread_mutex_t lock;
    uint64_t at, done;
    int result;                     /* 1: ended, -errno; the first counts */
};

/* More than one for each processor, where these are few: some wait for disks. */
unsigned img_threads(void)
{
    cpu_set_t set;
    unsigned n = sched_getaffinity(0, sizeof(set), &set) ? 1 : (unsigned)CPU_COUNT(&set);
    return MAX(4u, MIN(n, (unsigned)THREADS_MAX));
}

int img_map_get(struct img_map *known, struct block_node *n, uint64_t at, uint64_t length, unsigned layers, struct block_map *m)
{
    if (known->n != n || at < known->from || at >= known->to) {
        int r = block_map_get(n, at, length, layers, &known->m);
        known->n = r ? NULL : n;
        if (r)
            return r;
        known->from = at;
        known->to = at + known->m.length_bytes;
    }
    *m = known->m;
    m->length_bytes = MIN(known->to - at, length);
    return 0;
}

static void fail_locked(struct run *u, int result, uint64_t offset)
{
    if (u->result)
        return;
    u->result = result;
    u->w->failed = result;
    u->w->failed_at = offset;
}

/* 1: there is a piece. */
static int piece_take(struct run *u, struct img_piece *piece)
{
    struct img_walk *w = u->w;
    int r = 0;
    pthread_mutex_lock(&u->lock);
    if (!u->result && u->at < w->to) {
        *piece = (struct img_piece){ .offset = u->at, .length = w->to - u->at };
        r = w->next(w, piece);
        if (r < 0)
            fail_locked(u, r, u->at);
        u->at += piece->length;
        r = r ? 0 : 1;
    }
    pthread_mutex_unlock(&u->lock);
    return r;
}

static void piece_done(struct run *u, const struct img_piece *piece, int r)
{
    pthread_mutex_lock(&u->lock);
    if (r)
        fail_locked(u, r, piece->offset);
    u->done += piece->length;
    if (u->w->progress)
        img_progress_report(u->w->progress, u->done, u->w->to - u->w->from);
    pthread_mutex_unlock(&u->lock);
}

static void *walk_thread(void *opaque)
{
    struct run *u = opaque;
    struct img_walk *w = u->w;
    struct img_piece piece;
    uint8_t *buffer = aligned_alloc(4096, ALIGN_UP(w->buffer_bytes, 4096ull) * w->buffers);
    if (!buffer) {
        pthread_mutex_lock(&u->lock);
        fail_locked(u, -ENOMEM, u->at);
        pthread_mutex_unlock(&u->lock);
        return NULL;
    }
    while (piece_take(u, &piece))
        piece_done(u, &piece, w->work(w, &piece, buffer));
    free(buffer);
    return NULL;
}

int img_walk_run(struct img_walk *w)
{
    struct run u = { .w = w, .lock = PTHREAD_MUTEX_INITIALIZER, .at = w->from };
    pthread_t thread[THREADS_MAX];
    unsigned started = 0;
    while (started + 1 < MIN(w->threads, (unsigned)THREADS_MAX) &&
           !pthread_create(&thread[started], NULL, walk_thread, &u))
        started++;
    walk_thread(&u);
    for (unsigned i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    pthread_mutex_destroy(&u.lock);
    return u.result;
}
