/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_uring through liburing. Submitters put operations on a list and wake the ring's thread by an eventfd;
 * the thread submits whatever has gathered with one system call and waits in the same call. The system call
 * is never made by the submitter, since a buffered read that is in the page cache would be copied right
 * there, on a vCPU's time. Buffered writes that the thread finds quick it makes itself (write_here). A few bytes are read from the page
 * cache sooner than a thread is woken: block_uring_read_now.
 *
 * io_uring may be missing (old kernels), switched off (kernel.io_uring_disabled) or filtered (containers):
 * then block_uring_new returns NULL and worker threads do the work. OSPITE_AIO=threads in the environment
 * does the same. Sources: io_uring(7), io_uring_enter(2), cachestat(2), readv(2).
 */
#include "block/uring.h"

#include "base/bits.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING_DEPTH 128
#define SLOW_NS    100000                  /* beside 1 ns a byte */
#define SLOW_MAX   1023u
#define MISSES_MAX 254u
#define PAGE_BYTES 4096u
#define SYS_CACHESTAT 451          /* Debian 12 has no name for it */
#define WRITES_IN_A_ROW 16

struct block_uring {
    struct io_uring ring;
    int fd, wake_fd;
    bool direct;
    block_uring_fn *complete;
    pthread_t thread;
    pthread_mutex_t lock;
    struct block_uring_op *first, **last;
    bool stop;
    /* The thread's own. */
    unsigned in_flight;
    bool wake_armed;
    uint64_t wake_value;
    unsigned slow, wait;            /* writes: how many go to the ring after a slow one, and how many still do */
    /* The machine's lock. */
    bool no_read_now, no_cachestat;
    unsigned misses, passes;        /* reads of now: how many are not tried after one that was not in the page cache, and how many still are not */
};

static struct block_uring_op *op_take(struct block_uring *u)
{
    pthread_mutex_lock(&u->lock);
    struct block_uring_op *op = u->first;
    if (op) {
        u->first = op->next;
        if (!u->first)
            u->last = &u->first;
    }
    pthread_mutex_unlock(&u->lock);
    return op;
}

static void op_prepare(struct block_uring *u, struct io_uring_sqe *sqe, struct block_uring_op *op)
{
    if (op->kind == BLOCK_URING_READ)
        io_uring_prep_readv(sqe, u->fd, op->iov, (unsigned)op->iovcnt, op->offset);
    else if (op->kind == BLOCK_URING_WRITE)
        io_uring_prep_writev2(sqe, u->fd, op->iov, (unsigned)op->iovcnt, op->offset, op->stable ? RWF_DSYNC : 0);
    else
        io_uring_prep_fsync(sqe, u->fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data(sqe, op);
    u->in_flight++;
}

/* A write into the page cache is punted to a thread of the kernel's by file systems that cannot tell whether it would block
 * (ext4): two changes of threads for what takes a few microseconds, and one after the other anyway, since the file is locked.
 * So this thread makes it itself, and what comes meanwhile waits; but after one that was slow (too many pages are dirty) the
 * next ones go to the ring, ever more of them. */
static bool write_here(struct block_uring *u, struct block_uring_op *op)
{
    if (u->direct || op->kind != BLOCK_URING_WRITE || op->stable || op->iovcnt > IOV_MAX)
        return false;
    if (u->wait) {
        u->wait--;
        return false;
    }
    int64_t start = clock_host_ns();
    ssize_t r = pwritev(u->fd, op->iov, op->iovcnt, (off_t)op->offset);
    int result = r < 0 ? -errno : (int)r;
    if (clock_host_ns() - start <= SLOW_NS + MAX(r, 0))
        u->slow = 0;
    else
        u->wait = u->slow = MIN(2 * u->slow + 1, SLOW_MAX);
    u->complete(op, result);
    return true;
}

/* Keeps room for the wake-up read, so that its entry is always to be had. False when it stopped so that what has ended meanwhile
 * is seen. */
static bool gather(struct block_uring *u)
{
    unsigned written = 0;
    struct io_uring_sqe *sqe;
    if (!u->wake_armed && (sqe = io_uring_get_sqe(&u->ring))) {
        io_uring_prep_read(sqe, u->wake_fd, &u->wake_value, sizeof(u->wake_value), 0);
        io_uring_sqe_set_data(sqe, NULL);
        u->wake_armed = true;
    }
    while (u->in_flight < RING_DEPTH - 1 && io_uring_sq_space_left(&u->ring) > 1) {
        struct block_uring_op *op = op_take(u);
        if (!op)
            break;
        if (!write_here(u, op))
            op_prepare(u, io_uring_get_sqe(&u->ring), op);
        else if (++written == WRITES_IN_A_ROW)
            return false;
    }
    return true;
}

static void reap(struct block_uring *u)
{
    struct io_uring_cqe *cqe;
    while (!io_uring_peek_cqe(&u->ring, &cqe)) {
        struct block_uring_op *op = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&u->ring, cqe);
        if (!op) {
            u->wake_armed = false;
            continue;
        }
        u->in_flight--;
        u->complete(op, result);
    }
}

static bool should_stop(struct block_uring *u)
{
    pthread_mutex_lock(&u->lock);
    bool stop = u->stop && !u->first;
    pthread_mutex_unlock(&u->lock);
    return stop && !u->in_flight;
}

static void *ring_thread(void *opaque)
{
    struct block_uring *u = opaque;
    while (!should_stop(u)) {
        bool all = gather(u);
        int r = io_uring_submit_and_wait(&u->ring, all);
        if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
            usleep(1000);           /* out of kernel memory: the entries stay queued, try again */
        reap(u);
    }
    return NULL;
}

static bool start(struct block_uring *u)
{
    sigset_t all, old;
    u->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (u->wake_fd < 0)
        return false;
    if (io_uring_queue_init(RING_DEPTH, &u->ring, 0)) {
        close(u->wake_fd);
        return false;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&u->thread, NULL, ring_thread, u);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r) {
        io_uring_queue_exit(&u->ring);
        close(u->wake_fd);
    } else {
        pthread_setname_np(u->thread, "disk");
    }
    return !r;
}

struct block_uring *block_uring_new(int fd, block_uring_fn *complete)
{
    const char *choice = getenv("OSPITE_AIO");
    if (choice && !strcmp(choice, "threads"))
        return NULL;
    struct block_uring *u = calloc(1, sizeof(*u));
    if (!u)
        return NULL;
    u->fd = fd;
    u->direct = fcntl(fd, F_GETFL) & O_DIRECT;
    u->complete = complete;
    u->last = &u->first;
    pthread_mutex_init(&u->lock, NULL);
    if (start(u))
        return u;
    pthread_mutex_destroy(&u->lock);
    free(u);
    return NULL;
}

static void wake(struct block_uring *u)
{
    const uint64_t one = 1;
    while (write(u->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void block_uring_submit(struct block_uring *u, struct block_uring_op *op)
{
    op->next = NULL;
    pthread_mutex_lock(&u->lock);
    bool first = !u->first;
    *u->last = op;
    u->last = &op->next;
    pthread_mutex_unlock(&u->lock);
    if (first)
        wake(u);
}

/* Are all pages of it in the page cache? -1: the kernel (before 6.5, or of files that we may not write) does not tell. */
static int is_cached(struct block_uring *u, uint64_t offset, uint64_t length)
{
    struct { uint64_t offset, length; } range = { offset, length };
    struct { uint64_t cached, dirty, writeback, evicted, recently_evicted; } pages;
    if (u->no_cachestat || syscall(SYS_CACHESTAT, u->fd, &range, &pages, 0)) {
        u->no_cachestat = true;
        return -1;
    }
    return pages.cached >= (offset + length - 1) / PAGE_BYTES - offset / PAGE_BYTES + 1;
}

/* RWF_NOWAIT does not wait for data, but where they are missing it has them read ahead, and to put that request into a full queue of the
 * device takes milliseconds. So it is not tried where they are known to be missing; where that is not known, after one that missed or
 * took long, not for a while. */
bool block_uring_read_now(struct block_uring *u, uint64_t offset, const struct iovec *iov, int iovcnt, uint64_t length)
{
    if (u->direct || u->no_read_now || iovcnt > IOV_MAX)
        return false;
    int cached = is_cached(u, offset, length);
    if (!cached)
        return false;
    if (cached < 0 && u->passes) {
        u->passes--;
        return false;
    }
    int64_t start = clock_host_ns();
    ssize_t r = preadv2(u->fd, iov, iovcnt, (off_t)offset, RWF_NOWAIT);
    bool done = r >= 0 && (uint64_t)r == length;
    u->no_read_now = r < 0 && (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS);
    if (clock_host_ns() - start > SLOW_NS)
        u->misses = MISSES_MAX;
    else
        u->misses = done ? u->misses / 2 : MIN(2 * u->misses + 2, MISSES_MAX);
    u->passes = u->misses;
    return done;
}

void block_uring_free(struct block_uring *u)
{
    pthread_mutex_lock(&u->lock);
    u->stop = true;
    pthread_mutex_unlock(&u->lock);
    wake(u);
    pthread_join(u->thread, NULL);
    io_uring_queue_exit(&u->ring);
    close(u->wake_fd);
    pthread_mutex_destroy(&u->lock);
    free(u);
}
