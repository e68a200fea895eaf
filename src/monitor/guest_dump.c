/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes a core (guest_core.c) to a file, or to a pipe whose reader may be slow: with detach by a thread of its own, which touches nothing
 * but the head and the guest's memory. Memory stays as it is meanwhile, since the machine stands: 'cont' waits for the end. One dump at
 * a time.
 */
#include "monitor/guest_dump.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "machine/event.h"
#include "machine/machine.h"
#include "monitor/guest_core.h"

enum { CHUNK_BYTES = 1 << 20, LOOK_MS = 100 };

/* The last one, main thread only; the thread shares done, cancelled and, when it is over, why. */
static struct {
    enum guest_dump_state state;
    struct machine *m;
    struct guest_core core;
    struct guest_dump_config config;
    pthread_t thread;
    bool goes_on;                      /* the machine, afterwards */
    _Atomic uint64_t done;
    atomic_bool cancelled;
    int why;                           /* errno; 0: all was written */
    uint64_t total;
} dump;

/* 0 or an errno. */
static int all_write(const uint8_t *data, uint64_t size, bool counts)
{
    while (size && !dump.cancelled) {
        struct pollfd p = { dump.config.fd, POLLOUT, 0 };
        ssize_t n = write(dump.config.fd, data, MIN(size, (uint64_t)CHUNK_BYTES));

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            poll(&p, 1, LOOK_MS);
            continue;
        }
        if (n <= 0) return n < 0 ? errno : ENOSPC;
        data += n;
        size -= (uint64_t)n;
        if (counts) dump.done += (uint64_t)n;
    }
    return dump.cancelled ? ECANCELED : 0;
}

static int core_write(void)
{
    int why = all_write(dump.core.head, dump.core.head_bytes, false);

    for (unsigned i = 0; i < dump.core.pieces && !why; i++) why = all_write(dump.core.piece[i].hva, dump.core.piece[i].size, true);
    return why;
}

static const char *why_text(void)
{
    return strerror(dump.why);
}

static void finish(void)
{
    json_t *result;

    if (close(dump.config.fd) < 0 && !dump.why) dump.why = errno;
    guest_core_free(&dump.core);
    dump.state = dump.why ? GUEST_DUMP_FAILED : GUEST_DUMP_COMPLETED;
    result = json_pack("{s:{s:I, s:I, s:s}}", "result", "total", (json_int_t)dump.total, "completed", (json_int_t)dump.done, "status",
                       dump.why ? "failed" : "completed");
    if (dump.why) json_object_set_new(result, "error", json_sprintf("cannot write the dump: %s", why_text()));
    machine_event(dump.m, "DUMP_COMPLETED", result);
    if (dump.goes_on) machine_start(dump.m);
}

static void thread_over(void *opaque)
{
    pthread_join(dump.thread, NULL);
    finish();
}

static void *thread_run(void *opaque)
{
    dump.why = core_write();
    loop_post(thread_over, &dump);
    return NULL;
}

static int begin(struct error *err)
{
    if (!dump.config.detach) {
        dump.why = core_write();
        finish();
        return dump.why ? error_set(err, "cannot write the dump: %s", why_text()) : 0;
    }
    /* A thread that a full pipe holds could not be ended. */
    fcntl(dump.config.fd, F_SETFL, fcntl(dump.config.fd, F_GETFL) | O_NONBLOCK);
    if (pthread_create(&dump.thread, NULL, thread_run, NULL) == 0) return 0;
    dump.why = EAGAIN;
    finish();
    return error_set(err, "no thread can be made for the dump");
}

int guest_dump_run(struct machine *m, const struct guest_dump_config *config, struct error *err)
{
    struct guest_core core;

    if (dump.state == GUEST_DUMP_ACTIVE) {
        close(config->fd);
        return error_set(err, "There is a dump in process, please wait.");
    }
    dump.goes_on = machine_state(m) == RUN_RUNNING;
    if (dump.goes_on) machine_stop(m, RUN_PAUSED);
    if (guest_core_make(&core, m, config->paging, config->begin, config->length, err) < 0) {
        close(config->fd);
        if (dump.goes_on) machine_start(m);
        return -1;
    }
    dump.m = m;
    dump.core = core;
    dump.config = *config;
    dump.total = core.total;
    dump.done = 0;
    dump.cancelled = false;
    dump.why = 0;
    dump.state = GUEST_DUMP_ACTIVE;
    return begin(err);
}

enum guest_dump_state guest_dump_progress(uint64_t *done, uint64_t *total)
{
    *done = dump.done;
    *total = dump.total;
    return dump.state;
}

void guest_dump_end(void)
{
    if (dump.state != GUEST_DUMP_ACTIVE) return;
    dump.cancelled = true;
    pthread_join(dump.thread, NULL);
    loop_post_cancel(&dump);
    close(dump.config.fd);
    guest_core_free(&dump.core);
    dump.state = GUEST_DUMP_FAILED;
}
