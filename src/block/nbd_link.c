/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of the NBD client's connection. A connection that broke, or on which nothing came for too long, is made anew by
 * the reader thread when the user asked for it with reconnect-delay: requests in flight, and new ones, wait for so many seconds
 * and are asked (again) on the new connection; after that they fail, until the server is back. A server that lied is not gone
 * back to. It has to show the same export as before: whatever the format above knows of it stays true.
 *
 * That a server remembers what it acknowledged and was not asked to flush is its own affair, as it is with QEMU: one whose
 * machine went down may have lost that, so the message says when there was any.
 *
 * Source: qemu-block-drivers(7), blockdev-add's documentation (QEMU's QMP reference).
 */
#include "block/nbd_client.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"
#include "block/nbd_deadline.h"

enum { CONNECT_MS = 30000, HANDSHAKE_S = 30, STALL_S = 60 };
enum { AGAIN_CONNECT_MS = 3000, AGAIN_MIN_MS = 100, AGAIN_MAX_MS = 1000 };
/* What of an export's flags requests rely on. */
enum { ABILITIES = NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES };
enum outcome { CONNECTED, TRY_AGAIN, ANOTHER_EXPORT };

static void timeouts_set(int fd, int seconds)
{
    const struct timeval t = { .tv_sec = seconds };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

static int tls_find(struct nbd_client *c, const struct block_objects *objects, struct error *err)
{
    const struct nbd_address *a = &c->address;
    if (!a->tls)
        return 0;
    if (a->tls_creds) {
        c->tls = objects && objects->tls ? objects->tls(objects, a->tls_creds, err) : NULL;
        return c->tls ? 0 : objects && objects->tls ? -1 : error_set(err, "tls-creds: there is no --object '%s'", a->tls_creds);
    }
    if (!a->tls_directory)
        return error_set(err, "TLS needs certificates: add ?tls-certificates=DIRECTORY to the URI, or use --object "
                         "tls-creds-x509 and tls-creds=ID");
    const struct nbd_tls_options o = { .kind = NBD_TLS_X509, .verify_peer = true, .directory = a->tls_directory };
    c->tls = c->own_tls = nbd_tls_new(&o, err);
    return c->tls ? 0 : -1;
}

/* The server has HANDSHAKE_S for all of it, however slowly it talks. */
static int handshake(struct nbd_client *c, int fd, struct nbd_export_facts *x, struct error *err)
{
    struct nbd_deadline deadline;
    timeouts_set(fd, HANDSHAKE_S);
    nbd_deadline_begin(&deadline, fd, HANDSHAKE_S * 1000);
    int r = nbd_handshake(&c->stream, &c->address, c->tls, x, err);
    if (!nbd_deadline_end(&deadline))
        return r;
    return error_set(err, "the server did not make the export ready within %d s", HANDSHAKE_S);
}

static int first_connect(struct nbd_client *c, struct error *err)
{
    int fd = nbd_address_connect(&c->address, CONNECT_MS, err);
    if (fd < 0)
        return -1;
    nbd_stream_init(&c->stream, fd);
    int r = handshake(c, fd, &c->x, err);
    if (r)
        nbd_stream_close(&c->stream);
    return r;
}

/* What the export has to keep, so that nothing above changes under a disk in use. */
static int same_check(const struct nbd_export_facts *was, const struct nbd_export_facts *is, struct error *err)
{
    if (is->size != was->size)
        return error_set(err, "the export has %llu bytes now, and had %llu", (unsigned long long)is->size,
                         (unsigned long long)was->size);
    if (is->flags & ~was->flags & NBD_FLAG_READ_ONLY)
        return error_set(err, "the export is read-only now");
    if (was->flags & ~is->flags & ABILITIES)
        return error_set(err, "the export lacks flush, trim or write zeroes, which it had");
    if (is->structured != was->structured || is->allocation != was->allocation)
        return error_set(err, "the server %s structured replies or block status now",
                         is->structured && is->allocation ? "has" : "lacks");
    if (is->min_block != was->min_block || is->max_block < was->max_block)
        return error_set(err, "the server's block sizes have changed");
    return 0;
}

/* One attempt. Whoever closes the image meanwhile cuts the handshake short. */
static enum outcome connect_again(struct nbd_client *c, struct error *err)
{
    struct nbd_export_facts x;
    int fd = nbd_address_connect(&c->address, AGAIN_CONNECT_MS, err);
    if (fd < 0)
        return TRY_AGAIN;
    pthread_mutex_lock(&c->send);
    pthread_mutex_lock(&c->lock);
    nbd_stream_init(&c->stream, fd);
    if (c->closing)
        shutdown(fd, SHUT_RDWR);
    pthread_mutex_unlock(&c->lock);
    int r = handshake(c, fd, &x, err);
    enum outcome o = r ? TRY_AGAIN : same_check(&c->x, &x, err) ? ANOTHER_EXPORT : CONNECTED;
    pthread_mutex_lock(&c->lock);
    if (o == CONNECTED) {
        c->x.allocation_id = x.allocation_id;
        c->away = false;
        pthread_cond_broadcast(&c->free_slot);
        timeouts_set(fd, STALL_S);
    } else {
        nbd_stream_close(&c->stream);
    }
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_unlock(&c->send);
    return o;
}

/* False: the image is being closed. */
static bool pause_take(struct nbd_client *c, int64_t ms)
{
    int64_t until = clock_host_ns() + ms * 1000000;
    const struct timespec t = { until / NS_PER_SECOND, until % NS_PER_SECOND };
    pthread_mutex_lock(&c->lock);
    while (!c->closing && pthread_cond_timedwait(&c->wake, &c->lock, &t) != ETIMEDOUT)
        continue;
    bool closing = c->closing;
    pthread_mutex_unlock(&c->lock);
    return !closing;
}

/* The end for good: everybody is told. */
static void die(struct nbd_client *c, const char *why)
{
    pthread_mutex_lock(&c->lock);
    if (!c->closing)
        log_message("'%s': %s; the connection is closed, open the image again", c->p.filename, why);
    c->dead = true;
    if (c->stream.fd >= 0)
        shutdown(c->stream.fd, SHUT_RDWR);
    for (unsigned i = 0; i < NBD_SLOTS; i++)
        if (c->slot[i].used && !c->slot[i].finished)
            nbd_slot_finish_locked(&c->slot[i], -EIO);
    pthread_cond_broadcast(&c->free_slot);
    pthread_mutex_unlock(&c->lock);
}

/* From now on requests wait. Senders that are stuck in the old connection let go of it first. True: there are writes that were
 * acknowledged and not flushed. */
static bool leave(struct nbd_client *c, const char *why)
{
    shutdown(c->stream.fd, SHUT_RDWR);
    pthread_mutex_lock(&c->send);
    pthread_mutex_lock(&c->lock);
    if (!c->closing)
        log_message("'%s': %s; connecting anew, requests wait for up to %llu s", c->p.filename, why,
                    (unsigned long long)c->address.reconnect_s);
    c->away = true;
    c->epoch++;
    c->deadline_ns = clock_host_ns() + (int64_t)c->address.reconnect_s * NS_PER_SECOND;
    for (unsigned i = 0; i < NBD_SLOTS; i++)
        if (c->slot[i].used && !c->slot[i].finished)
            nbd_slot_finish_locked(&c->slot[i], NBD_LOST);
    nbd_stream_close(&c->stream);
    pthread_cond_broadcast(&c->free_slot);
    bool unflushed = c->unflushed;
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_unlock(&c->send);
    return unflushed;
}

/* False: it is over. */
static bool come_back(struct nbd_client *c, bool unflushed)
{
    struct error err;
    bool told = false;
    for (int64_t ms = AGAIN_MIN_MS; pause_take(c, ms); ms = MIN(2 * ms, (int64_t)AGAIN_MAX_MS)) {
        enum outcome o = connect_again(c, &err);
        if (o == CONNECTED)
            log_message("'%s': connected again%s", c->p.filename, unflushed ? "; what was written since the last flush is there "
                        "unless the server's machine went down" : "");
        if (o == ANOTHER_EXPORT)
            die(c, err.text);
        if (o != TRY_AGAIN)
            return o == CONNECTED;
        if (!told && clock_host_ns() >= c->deadline_ns) {
            log_message("'%s': %s; requests fail until that works", c->p.filename, err.text);
            told = true;
        }
    }
    die(c, "closed");
    return false;
}

static void *reader_thread(void *opaque)
{
    struct nbd_client *c = opaque;
    for (;;) {
        const char *wrong = nbd_replies_take(c);
        if (!c->address.reconnect_s || (wrong != nbd_broken && wrong != nbd_silent)) {
            die(c, wrong);
            return NULL;
        }
        if (!come_back(c, leave(c, wrong)))
            return NULL;
    }
}

static int reader_start(struct nbd_client *c, struct error *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&c->reader, NULL, reader_thread, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r ? error_set(err, "cannot start a thread: %s", strerror(r)) : 0;
}

static void link_free(struct nbd_client *c)
{
    nbd_stream_close(&c->stream);
    nbd_tls_free(c->own_tls);
}

int nbd_link_open(struct nbd_client *c, const struct block_objects *objects, struct error *err)
{
    int64_t until = clock_host_ns() + (int64_t)c->address.open_s * NS_PER_SECOND;
    int r = tls_find(c, objects, err);
    if (r)
        return r;
    for (int64_t ms = AGAIN_MIN_MS; (r = first_connect(c, err)) && clock_host_ns() < until; ms = MIN(2 * ms, (int64_t)AGAIN_MAX_MS))
        usleep((useconds_t)(1000 * ms));
    if (!r && c->x.flags & NBD_FLAG_READ_ONLY && !c->p.readonly)
        r = error_set(err, "the export is read-only; use readonly=on or snapshot=on");
    if (!r) {
        timeouts_set(c->stream.fd, STALL_S);
        r = reader_start(c, err);
    }
    if (r)
        link_free(c);
    return r;
}

void nbd_link_close(struct nbd_client *c)
{
    struct nbd_wire_request bye = { .magic = be32_make(NBD_MAGIC_REQUEST), .command = be16_make(NBD_CMD_DISC) };
    pthread_mutex_lock(&c->lock);
    bool up = !c->dead && !c->away;
    uint32_t epoch = c->epoch;
    c->closing = true;
    if (!up && c->stream.fd >= 0)
        shutdown(c->stream.fd, SHUT_RDWR);
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    if (up) {
        pthread_mutex_lock(&c->send);
        if (c->epoch == epoch) {
            nbd_stream_send(&c->stream, &bye, sizeof(bye));
            shutdown(c->stream.fd, SHUT_RD);
        }
        pthread_mutex_unlock(&c->send);
    }
    pthread_join(c->reader, NULL);
    link_free(c);
}
