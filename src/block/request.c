/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asynchronous requests of a node. Up to WORKERS threads run the synchronous node functions; transfers of raw
 * images, and those of formats that say that they are one plain transfer of the file (place), go to io_uring
 * instead, where the kernel has it, and come back to the workers whenever they did not move all bytes (end of
 * file, alignment, errors), so that there is one place that knows what to do then.
 *
 * Finished requests gather on a list that one posted call in the main thread, or block_drain, empties one by
 * one, the callbacks called with the queue unlocked and the machine locked; a callback may submit, drain and
 * close. Of a device that does less (block_done_anywhere), a request that succeeds is called back by the thread that
 * finished it, when the machine's lock is free.
 */
#include "block/block_private.h"

#include "base/bits.h"
#include "base/clock.h"
#include "base/loop.h"
#include "block/throttle.h"
#include "block/uring.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 8 };
enum op { OP_READ, OP_WRITE, OP_FLUSH, OP_DISCARD, OP_ZEROES };

struct request {
    struct block_queue *queue;
    struct request *next;
    enum op op;
    bool may_unmap;
    int iovcnt, result;
    int64_t start_ns;
    uint64_t offset, length;
    block_done_fn *done;
    void *opaque;
    bool placed;                    /* place holds what place_end gives back */
    struct block_place place;
    struct block_throttle_wait wait;
    unsigned throttle;              /* the place that it waits at, or the next one */
    struct block_uring_op ring_op;
    struct iovec iov[];
};

struct list {
    struct request *first, **last;
};

struct block_queue {
    struct block_node *node;
    struct block_uring *ring;       /* NULL: workers do all */
    pthread_mutex_t lock;
    pthread_cond_t work, finished;
    struct list todo, done;
    unsigned in_flight;             /* submitted and not yet called back */
    unsigned references;            /* the node, and a posted call */
    unsigned workers, idle;
    bool posted, stop;
    pthread_t thread[WORKERS];
};

static void list_add(struct list *l, struct request *r)
{
    r->next = NULL;
    *l->last = r;
    l->last = &r->next;
}

static struct request *list_take(struct list *l)
{
    struct request *r = l->first;
    if (r && !(l->first = r->next))
        l->last = &l->first;
    return r;
}

static void queue_release_locked(struct block_queue *q)
{
    bool last = --q->references == 0;
    pthread_mutex_unlock(&q->lock);
    if (!last)
        return;
    pthread_cond_destroy(&q->work);
    pthread_cond_destroy(&q->finished);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* Calls back everything that has finished. The machine is locked before a request leaves the list, so that who drains
 * with the machine locked never returns before a callback that another thread is about to make. */
static void callbacks_run_locked(struct block_queue *q)
{
    for (struct request *r; (r = list_take(&q->done));) {
        q->in_flight--;
        pthread_mutex_unlock(&q->lock);
        r->done(r->opaque, r->result);
        free(r);
        pthread_mutex_lock(&q->lock);
    }
    pthread_cond_broadcast(&q->finished);
}

static void posted_call(void *opaque)
{
    struct block_queue *q = opaque;
    machine_lock();
    pthread_mutex_lock(&q->lock);
    q->posted = false;
    callbacks_run_locked(q);
    queue_release_locked(q);
    machine_unlock();
}

static void count(uint64_t *counter, uint64_t by)
{
    __atomic_add_fetch(counter, by, __ATOMIC_RELAXED);
}

static void highest_write_raise(struct block_stats *s, uint64_t end)
{
    uint64_t now = __atomic_load_n(&s->highest_write_end, __ATOMIC_RELAXED);
    while (now < end && !__atomic_compare_exchange_n(&s->highest_write_end, &now, end, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

static void request_account(const struct request *r, int result)
{
    struct block_stats *s = &r->queue->node->stats;
    const struct { uint64_t *ns, *failed; } to[] = {
        [OP_READ] = { &s->read_ns, &s->failed_reads }, [OP_WRITE] = { &s->write_ns, &s->failed_writes },
        [OP_FLUSH] = { &s->flush_ns, &s->failed_flushes }, [OP_DISCARD] = { &s->discard_ns, &s->failed_discards },
        [OP_ZEROES] = { &s->write_ns, &s->failed_writes },
    };
    count(to[r->op].ns, (uint64_t)(clock_host_ns() - r->start_ns));
    if (result < 0) {
        count(to[r->op].failed, 1);
    } else if (r->op == OP_DISCARD) {
        count(&s->discards, 1);
        count(&s->discarded_bytes, r->length);
    } else if (r->op == OP_WRITE || r->op == OP_ZEROES) {
        highest_write_raise(s, r->offset + r->length);
    }
}

/* In this thread, if nobody has the machine: the way through the main thread is a change of threads more. Nobody drains meanwhile,
 * since that takes the machine's lock. */
static bool finish_here(struct request *r)
{
    struct block_queue *q = r->queue;
    if (!q->node->done_anywhere || machine_is_locked() || !machine_lock_try())
        return false;
    pthread_mutex_lock(&q->lock);
    q->in_flight--;
    pthread_mutex_unlock(&q->lock);
    r->done(r->opaque, 0);
    free(r);
    machine_unlock();
    return true;
}

static void request_finish(struct request *r, int result)
{
    struct block_queue *q = r->queue;
    request_account(r, result);
    if (!result && finish_here(r))
        return;
    pthread_mutex_lock(&q->lock);
    r->result = result;
    list_add(&q->done, r);
    bool post = !q->posted;
    if (post) {
        q->posted = true;
        q->references++;
    }
    pthread_cond_broadcast(&q->finished);
    pthread_mutex_unlock(&q->lock);
    if (post)
        loop_post(posted_call, q);
}

static int request_run(struct request *r)
{
    struct block_node *n = r->queue->node;
    switch (r->op) {
    case OP_READ:
        return block_node_preadv(n, r->offset, r->iov, r->iovcnt);
    case OP_WRITE:
        return block_node_pwritev(n, r->offset, r->iov, r->iovcnt);
    case OP_FLUSH:
        return block_node_flush(n);
    case OP_DISCARD:
        return block_node_discard(n, r->offset, r->length);
    default:
        return block_node_write_zeroes(n, r->offset, r->length, r->may_unmap);
    }
}

static void *worker_thread(void *opaque)
{
    struct block_queue *q = opaque;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        struct request *r = list_take(&q->todo);
        if (r) {
            pthread_mutex_unlock(&q->lock);
            request_finish(r, request_run(r));
            pthread_mutex_lock(&q->lock);
        } else if (q->stop) {
            break;
        } else {
            q->idle++;
            pthread_cond_wait(&q->work, &q->lock);
            q->idle--;
        }
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

static void worker_start_locked(struct block_queue *q)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (!pthread_create(&q->thread[q->workers], NULL, worker_thread, q))
        pthread_setname_np(q->thread[q->workers++], "disk worker");
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void request_to_workers(struct request *r)
{
    struct block_queue *q = r->queue;
    pthread_mutex_lock(&q->lock);
    list_add(&q->todo, r);
    if (!q->idle && q->workers < WORKERS)
        worker_start_locked(q);
    bool nobody = !q->workers;
    if (nobody)
        list_take(&q->todo);
    pthread_cond_signal(&q->work);
    pthread_mutex_unlock(&q->lock);
    if (nobody)
        request_finish(r, -EAGAIN);
}

/* A failed flush must not be tried again: the second one would find nothing left to fail. */
static bool is_lost(const struct block_uring_op *op, int result)
{
    return op->kind == BLOCK_URING_FLUSH && result < 0 && result != -EINTR && result != -EAGAIN && result != -EINVAL &&
           result != -EOPNOTSUPP && result != -ECANCELED;
}

static void ring_complete(struct block_uring_op *op, int result)
{
    struct request *r = container_of(op, struct request, ring_op);
    struct block_node *n = r->queue->node;
    if (r->placed)
        n->format->place_end(n, &r->place);
    r->placed = false;
    if (is_lost(op, result)) {
        block_protocol_flush_failed(n->file, result);
        request_finish(r, result);
        return;
    }
    if (result < 0 || (uint64_t)result != r->length) {
        request_to_workers(r);
        return;
    }
    block_node_count(n, op->kind == BLOCK_URING_READ ? BLOCK_COUNT_READ :
                     op->kind == BLOCK_URING_WRITE ? BLOCK_COUNT_WRITE : BLOCK_COUNT_FLUSH, r->length);
    request_finish(r, 0);
}

static bool is_raw(const struct block_node *n) { return n->format == &block_format_raw; }

/* After a write through to an allocated cluster the tables that lead to it may still have to be written. */
static bool request_place(struct request *r)
{
    struct block_node *n = r->queue->node;
    if (is_raw(n))
        return true;
    if (n->format->place && !(r->op == OP_WRITE && n->write_through))
        r->placed = n->format->place(n, r->offset, r->length, r->op == OP_WRITE, &r->place);
    return r->placed;
}

static bool request_fits_ring(struct request *r)
{
    const struct block_node *n = r->queue->node;
    if (!r->queue->ring || block_node_check_range(n, r->offset, r->length))
        return false;
    if (r->op == OP_FLUSH)
        return is_raw(n) && !n->readonly && !n->unsafe && !__atomic_load_n(&n->file->flush_error, __ATOMIC_RELAXED);
    if (!r->length || r->length > INT32_MAX)
        return false;
    if (r->op != OP_READ && (r->op != OP_WRITE || n->readonly || (n->probed_raw && r->offset == 0)))
        return false;
    return request_place(r);
}

static void passed_on_done(void *opaque, int result)
{
    struct request *r = opaque;
    struct block_node *n = r->queue->node;
    if (r->op != OP_DISCARD)
        block_node_count(n, r->op == OP_READ ? BLOCK_COUNT_READ : r->op == OP_FLUSH ? BLOCK_COUNT_FLUSH : BLOCK_COUNT_WRITE, result ? 0 : r->length);
    request_finish(r, result);
}

/* To the node below a filter. */
static void request_pass_on(struct request *r)
{
    struct block_node *n = r->queue->node;
    int refused = block_node_check_range(n, r->offset, r->length);
    if (!refused && n->readonly && r->op != OP_READ && r->op != OP_FLUSH)
        refused = -EROFS;
    if (refused || (r->op == OP_FLUSH && n->readonly) || (r->op == OP_DISCARD && !n->discard))
        passed_on_done(r, refused);
    else if (r->op == OP_READ)
        block_read(n->below, r->offset, r->iov, r->iovcnt, passed_on_done, r);
    else if (r->op == OP_WRITE)
        block_write(n->below, r->offset, r->iov, r->iovcnt, passed_on_done, r);
    else if (r->op == OP_FLUSH)
        block_flush(n->below, passed_on_done, r);
    else if (r->op == OP_DISCARD)
        block_discard(n->below, r->offset, r->length, passed_on_done, r);
    else
        block_write_zeroes(n->below, r->offset, r->length, r->may_unmap && n->discard, passed_on_done, r);
}

static void request_go(struct request *r)
{
    struct block_queue *q = r->queue;
    if (q->node->below) {
        request_pass_on(r);
        return;
    }
    if (!request_fits_ring(r)) {
        request_to_workers(r);
        return;
    }
    r->ring_op = (struct block_uring_op){
        .kind = r->op == OP_READ ? BLOCK_URING_READ : r->op == OP_WRITE ? BLOCK_URING_WRITE : BLOCK_URING_FLUSH,
        .offset = r->placed ? r->place.offset : r->offset, .iov = r->iov, .iovcnt = r->iovcnt, .stable = q->node->write_through,
    };
    block_uring_submit(q->ring, &r->ring_op);
}

/* A device's limits are for reads and writes; throttle nodes limit discards, too. */
static bool is_limited(const struct request *r, unsigned place)
{
    return r->queue->node->throttled[place] && r->op != OP_FLUSH && (r->op != OP_DISCARD || place != BLOCK_THROTTLE_DEVICE);
}

static void request_advance(struct request *r)
{
    while (r->throttle < BLOCK_THROTTLES) {
        unsigned place = r->throttle++;
        if (is_limited(r, place) && block_throttle_hold(r->queue->node, place, &r->wait))
            return;
    }
    request_go(r);
}

static void request_go_on(struct block_throttle_wait *w) { request_advance(container_of(w, struct request, wait)); }

static void request_submit(struct request *r)
{
    struct block_queue *q = r->queue;
    pthread_mutex_lock(&q->lock);
    q->in_flight++;
    pthread_mutex_unlock(&q->lock);
    r->wait = (struct block_throttle_wait){ NULL, r->op != OP_READ, r->length, request_go_on };
    request_advance(r);
}

struct block_queue *block_queue_new(struct block_node *n)
{
    struct block_queue *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->node = n;
    q->references = 1;
    q->todo.last = &q->todo.first;
    q->done.last = &q->done.first;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->work, NULL);
    pthread_cond_init(&q->finished, NULL);
    if ((is_raw(n) || n->format->place) && n->file->fd >= 0)
        q->ring = block_uring_new(n->file->fd, ring_complete);
    return q;
}

void block_queue_close(struct block_queue *q)
{
    block_drain(q->node);
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->lock);
    for (unsigned i = 0; i < q->workers; i++)
        pthread_join(q->thread[i], NULL);
    if (q->ring)
        block_uring_free(q->ring);
    pthread_mutex_lock(&q->lock);
    queue_release_locked(q);
}

void block_drain(struct block_node *n)
{
    struct block_queue *q = __atomic_load_n(&n->queue, __ATOMIC_ACQUIRE);
    if (!q)
        return;
    machine_lock();
    pthread_mutex_lock(&q->lock);
    for (;;) {
        callbacks_run_locked(q);
        pthread_mutex_unlock(&q->lock);
        block_throttle_release(n);
        if (n->below)
            block_drain(n->below);
        pthread_mutex_lock(&q->lock);
        if (!q->in_flight)
            break;
        if (!q->done.first && !n->below)
            pthread_cond_wait(&q->finished, &q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    machine_unlock();
}

int block_settle(struct block_node *n)
{
    block_drain(n);
    struct block_stats s = block_stats_get(n);
    uint64_t written = s.writes + s.discards;
    int r = n->readonly || written == n->settled ? 0 : block_node_flush(n);
    if (!r)
        n->settled = written;
    return r;
}

static struct block_queue *queue_of(struct block_node *n)
{
    struct block_queue *q = __atomic_load_n(&n->queue, __ATOMIC_ACQUIRE), *none = NULL;
    if (q)
        return q;
    q = block_queue_new(n);
    if (q && !__atomic_compare_exchange_n(&n->queue, &none, q, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        if (q->ring)
            block_uring_free(q->ring);
        pthread_mutex_lock(&q->lock);
        queue_release_locked(q);
        q = none;
    }
    return q;
}

/* Without memory for a request there is nothing to post: the callback is called at once, as a failed request. */
static void submit(struct block_node *n, enum op op, uint64_t offset, uint64_t length, const struct iovec *iov,
                   int iovcnt, bool may_unmap, block_done_fn *done, void *opaque)
{
    struct block_queue *q = queue_of(n);
    struct request *r = q && iovcnt >= 0 ? calloc(1, sizeof(*r) + sizeof(*iov) * (size_t)iovcnt) : NULL;
    if (!r) {
        done(opaque, -ENOMEM);
        return;
    }
    r->queue = q;
    r->op = op;
    r->offset = offset;
    r->length = iov ? block_iov_length(iov, iovcnt) : length;
    r->may_unmap = may_unmap;
    r->iovcnt = iovcnt;
    r->done = done;
    r->opaque = opaque;
    r->start_ns = clock_host_ns();
    if (iovcnt)
        memcpy(r->iov, iov, sizeof(*iov) * (size_t)iovcnt);
    if (op == OP_WRITE && n->detect_zeroes && r->length && block_iov_is_zero(iov, iovcnt)) {
        r->op = OP_ZEROES;
        r->may_unmap = n->detect_zeroes == BLOCK_DETECT_UNMAP;
    }
    request_submit(r);
}

void block_done_anywhere(struct block_node *n)
{
    if (n)
        n->done_anywhere = true;
}

void block_read(struct block_node *n, uint64_t offset_bytes, const struct iovec *iov, int iovcnt,
                block_done_fn *done, void *opaque)
{
    submit(n, OP_READ, offset_bytes, 0, iov, iovcnt, false, done, opaque);
}

bool block_read_now(struct block_node *n, uint64_t offset_bytes, const struct iovec *iov, int iovcnt)
{
    struct block_queue *q = queue_of(n);
    struct request r = { .queue = q, .op = OP_READ, .offset = offset_bytes, .length = block_iov_length(iov, iovcnt), .start_ns = clock_host_ns() };
    bool limited = !q || n->below;
    for (unsigned place = 0; place < BLOCK_THROTTLES && !limited; place++)
        limited = is_limited(&r, place);
    if (limited || !request_fits_ring(&r))
        return false;
    bool done = block_uring_read_now(q->ring, r.placed ? r.place.offset : offset_bytes, iov, iovcnt, r.length);
    if (r.placed)
        n->format->place_end(n, &r.place);
    if (done) {
        block_node_count(n, BLOCK_COUNT_READ, r.length);
        request_account(&r, 0);
    }
    return done;
}

void block_write(struct block_node *n, uint64_t offset_bytes, const struct iovec *iov, int iovcnt,
                 block_done_fn *done, void *opaque)
{
    submit(n, OP_WRITE, offset_bytes, 0, iov, iovcnt, false, done, opaque);
}

void block_flush(struct block_node *n, block_done_fn *done, void *opaque)
{
    submit(n, OP_FLUSH, 0, 0, NULL, 0, false, done, opaque);
}

void block_discard(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes, block_done_fn *done,
                   void *opaque)
{
    submit(n, OP_DISCARD, offset_bytes, length_bytes, NULL, 0, false, done, opaque);
}

void block_write_zeroes(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes, bool may_unmap,
                        block_done_fn *done, void *opaque)
{
    submit(n, OP_ZEROES, offset_bytes, length_bytes, NULL, 0, may_unmap, done, opaque);
}
