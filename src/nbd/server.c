/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of the server: exports, listening sockets, connections.
 *
 * The thread in nbd_server_run accepts and watches the clock of those that negotiate; each connection is a detached
 * thread that negotiates and then serves, and that starts helpers when the disk makes it wait (serve.c). The last
 * thread of a connection takes it off the list, closes its socket and says that it is gone. A client that is over the
 * limit waits in the socket's backlog. The accepting thread is only told of an end that it waits for.
 */
#include "nbd/server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "block/block.h"
#include "block/nbd_wire.h"
#include "nbd/client_private.h"

enum { CLIENTS_MAX = 1024, LISTEN_MAX = 64, EXPORTS_MAX = 1024, HANDSHAKE_MS = 10000, FINISH_MS = 2000,
       STACK_BYTES = 256 << 10, SEND_BUFFER = 512 << 10 };

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

void nbd_server_note(struct nbd_server *s, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    if (!s->options.verbose)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_message("nbd: %s", text);
}

struct nbd_server *nbd_server_new(const struct nbd_server_options *o, struct error *err)
{
    struct nbd_server *s = calloc(1, sizeof(*s));
    if (s && (s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        free(s);
        s = NULL;
    }
    if (!s) {
        error_set(err, "cannot start the NBD server: out of memory or descriptors");
        return NULL;
    }
    s->options = *o;
    if (!s->options.handshake_ms)
        s->options.handshake_ms = HANDSHAKE_MS;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->gone, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return s;
}

struct nbd_export *nbd_server_export_find(struct nbd_server *s, const char *name, size_t length)
{
    for (struct nbd_export *x = s->exports; x; x = x->next)
        if (strlen(x->name) == length && !memcmp(x->name, name, length))
            return x;
    return NULL;
}

static int export_check(struct nbd_server *s, const struct nbd_export_options *o, struct error *err)
{
    uint64_t size = block_size_bytes(o->node);
    const struct { const char *what, *text; } strings[] = { { "name", o->name }, { "description", o->description } };
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        if (strings[i].text && strlen(strings[i].text) > NBD_STRING_MAX)
            return error_set(err, "the export's %s has more than %d bytes", strings[i].what, NBD_STRING_MAX);
    if (nbd_server_export_find(s, o->name, strlen(o->name)))
        return error_set(err, "two exports have the name '%s'; give each its own", o->name);
    if (s->export_count == EXPORTS_MAX)
        return error_set(err, "more than %d exports", EXPORTS_MAX);
    if (o->offset_bytes > size || (o->length_bytes != UINT64_MAX && o->length_bytes > size - o->offset_bytes))
        return error_set(err, "'%s' has %llu bytes, the part to export lies beyond: it begins at %llu",
                         block_filename(o->node), (unsigned long long)size, (unsigned long long)o->offset_bytes);
    return 0;
}

int nbd_server_export_add(struct nbd_server *s, const struct nbd_export_options *o, struct error *err)
{
    if (export_check(s, o, err))
        return -1;
    struct nbd_export *x = calloc(1, sizeof(*x)), **last = &s->exports;
    char *name = strdup(o->name), *description = o->description ? strdup(o->description) : NULL;
    if (!x || !name || (o->description && !description)) {
        free(x);
        free(name);
        free(description);
        return error_set(err, "out of memory");
    }
    *x = (struct nbd_export){ .name = name, .description = description, .node = o->node, .offset = o->offset_bytes,
                              .length = o->length_bytes, .readonly = o->readonly || block_is_readonly(o->node), .detect = o->detect_zeroes,
                              .depth = o->depth };
    if (o->bitmap && nbd_export_bitmap_set(x, o->bitmap, err)) {
        free(name);
        free(description);
        free(x);
        return -1;
    }
    pthread_rwlock_init(&x->partial, NULL);
    while (*last)
        last = &(*last)->next;
    *last = x;
    s->export_count++;
    return 0;
}

int nbd_server_listen(struct nbd_server *s, int fd, struct error *err)
{
    int *more = s->listen_count < LISTEN_MAX ? realloc(s->listen_fd, (s->listen_count + 1) * sizeof(*more)) : NULL;
    if (!more) {
        close(fd);
        return error_set(err, "more than %d sockets to listen on, or out of memory", LISTEN_MAX);
    }
    s->listen_fd = more;
    s->listen_fd[s->listen_count++] = fd;
    return 0;
}

int nbd_server_export_look(struct nbd_server *s, const char *name, uint64_t *size_bytes, uint16_t *flags,
                           struct error *err)
{
    const struct nbd_client nobody = { .server = s };
    const struct nbd_export *x = nbd_server_export_find(s, name, strlen(name));
    if (!x)
        return error_set(err, "there is no export '%s'", name);
    *size_bytes = nbd_export_size(x);
    *flags = nbd_client_flags(&nobody, x);
    return 0;
}

static void client_unlink(struct nbd_client *c)
{
    struct nbd_server *s = c->server;
    pthread_mutex_lock(&s->lock);
    for (struct nbd_client **p = &s->clients; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            break;
        }
    pthread_mutex_unlock(&s->lock);
}

static unsigned clients_limit(const struct nbd_server *s)
{
    return s->options.clients_max ? MIN(s->options.clients_max, (unsigned)CLIENTS_MAX) : CLIENTS_MAX;
}

/* The last thread's last deed. The server may be freed as soon as the lock is open again. */
static void client_end(struct nbd_client *c)
{
    struct nbd_server *s = c->server;
    bool had_export = c->export != NULL;
    client_unlink(c);
    nbd_stream_close(&c->stream);
    pthread_mutex_destroy(&c->receive);
    pthread_mutex_destroy(&c->send);
    free(c);
    const uint64_t one = 1;
    pthread_mutex_lock(&s->lock);
    bool was_full = s->client_count-- >= clients_limit(s);
    s->left |= had_export && !s->client_count;
    pthread_cond_broadcast(&s->gone);
    ssize_t told = was_full || !s->options.persistent ? write(s->wake_fd, &one, sizeof(one)) : 0;
    (void)told;                                             /* full is as good */
    pthread_mutex_unlock(&s->lock);
}

static bool client_prepare(struct nbd_client *c)
{
    struct error err = { { 0 } };
    bool ready = c->export || nbd_client_negotiate(c, &err) == 0;
    pthread_mutex_lock(&c->server->lock);
    bool late = c->deadline_ns && now_ns() > c->deadline_ns;
    c->deadline_ns = 0;
    pthread_mutex_unlock(&c->server->lock);
    if (!ready && late)
        nbd_server_note(c->server, "a client did not choose an export within %u ms", c->server->options.handshake_ms);
    else if (!ready && err.text[0])
        nbd_server_note(c->server, "%s", err.text);
    return ready;
}

static void *client_thread(void *opaque)
{
    struct nbd_client *c = opaque;
    nbd_client_serve(c);
    if (__atomic_sub_fetch(&c->threads, 1, __ATOMIC_ACQ_REL) == 0)
        client_end(c);
    return NULL;
}

static void *client_first_thread(void *opaque)
{
    struct nbd_client *c = opaque;
    if (client_prepare(c))
        return client_thread(c);
    c->export = NULL;
    client_end(c);
    return NULL;
}

static bool thread_start(struct nbd_client *c, void *(*run)(void *))
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, old;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, MAX((size_t)STACK_BYTES, (size_t)PTHREAD_STACK_MIN));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    __atomic_add_fetch(&c->threads, 1, __ATOMIC_ACQ_REL);
    int r = pthread_create(&thread, &attributes, run, c);
    if (r)
        __atomic_sub_fetch(&c->threads, 1, __ATOMIC_ACQ_REL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return !r;
}

bool nbd_client_thread_start(struct nbd_client *c)
{
    return thread_start(c, client_thread);
}

/* Takes fd over, whatever happens. export NULL: to be negotiated. */
static bool client_start(struct nbd_server *s, int fd, struct nbd_export *x)
{
    struct nbd_client *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return false;
    }
    c->server = s;
    c->export = x;
    c->deadline_ns = x ? 0 : now_ns() + s->options.handshake_ms * 1000000ll;
    nbd_stream_init(&c->stream, fd);
    pthread_mutex_init(&c->receive, NULL);
    pthread_mutex_init(&c->send, NULL);
    pthread_mutex_lock(&s->lock);
    c->next = s->clients;
    s->clients = c;
    s->client_count++;
    pthread_mutex_unlock(&s->lock);
    if (!x)
        nbd_client_greet(c);        /* the client can go on before the thread runs; if it fails, so does what follows */
    if (thread_start(c, client_first_thread))
        return true;
    c->export = NULL;
    client_end(c);
    return false;
}

int nbd_server_attach(struct nbd_server *s, int fd, const char *export_name, struct error *err)
{
    struct nbd_export *x = nbd_server_export_find(s, export_name, strlen(export_name));
    if (!x) {
        close(fd);
        return error_set(err, "there is no export '%s'", export_name);
    }
    return client_start(s, fd, x) ? 0 : error_set(err, "cannot start a thread for the connection");
}

/* So that the reply to a large read goes to a unix socket whole, and the client does not wake us for each piece of it.
 * TCP finds the best size itself. */
static void send_buffer_grow(int fd)
{
    const int bytes = SEND_BUFFER;
    struct sockaddr_storage own;
    socklen_t length = sizeof(own);
    if (!getsockname(fd, (struct sockaddr *)&own, &length) && own.ss_family == AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));       /* as much of it as the system allows */
}

/* False when there is no room for another connection for the moment. */
static bool client_accept(struct nbd_server *s, int listen_fd)
{
    const int on = 1;
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));      /* fails on unix sockets, which need neither */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    send_buffer_grow(fd);
    return client_start(s, fd, NULL);
}

/* Ends what negotiates for too long. How long until the next is due, in ms; -1: nobody negotiates. */
static int clock_watch(struct nbd_server *s)
{
    int64_t next = INT64_MAX, now = now_ns();
    for (struct nbd_client *c = s->clients; c; c = c->next) {
        if (!c->deadline_ns)
            continue;
        if (c->deadline_ns < now)
            shutdown(c->stream.fd, SHUT_RDWR);
        next = MIN(next, MAX(c->deadline_ns, now + 100000000));
    }
    return next == INT64_MAX ? -1 : (int)((next - now) / 1000000) + 1;
}

void nbd_server_run(struct nbd_server *s, int stop_fd)
{
    struct pollfd p[LISTEN_MAX + 2] = { { stop_fd, POLLIN, 0 }, { s->wake_fd, POLLIN, 0 } };
    unsigned limit = clients_limit(s);
    bool pause = false;
    uint64_t scrap;
    for (unsigned i = 0; i < s->listen_count; i++) {
        p[i + 2] = (struct pollfd){ s->listen_fd[i], POLLIN, 0 };
        fcntl(s->listen_fd[i], F_SETFL, fcntl(s->listen_fd[i], F_GETFL) | O_NONBLOCK);
    }
    for (;;) {
        pthread_mutex_lock(&s->lock);
        int timeout = clock_watch(s);
        bool full = s->client_count >= limit, done = s->left && !s->client_count && !s->options.persistent;
        pthread_mutex_unlock(&s->lock);
        if (done)
            break;
        if (pause)
            timeout = 100;
        int r = poll(p, full || pause ? 2 : s->listen_count + 2, timeout);
        if (r > 0 && p[0].revents)
            break;
        if (r > 0 && p[1].revents && read(s->wake_fd, &scrap, sizeof(scrap)) < 0 && errno != EAGAIN)
            break;
        bool accepting = r > 0 && !full && !pause;
        pause = false;
        for (unsigned i = 0; accepting && i < s->listen_count; i++)
            if (p[i + 2].revents) {
                pause = !client_accept(s, s->listen_fd[i]);
                break;              /* one at a time: the limit is looked at in between */
            }
    }
}

static void clients_shutdown(struct nbd_server *s, int how)
{
    for (struct nbd_client *c = s->clients; c; c = c->next)
        shutdown(c->stream.fd, c->deadline_ns ? SHUT_RDWR : how);
}

void nbd_server_free(struct nbd_server *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->listen_count; i++)
        close(s->listen_fd[i]);
    free(s->listen_fd);
    int64_t until = now_ns() + FINISH_MS * 1000000ll;
    const struct timespec limit = { until / 1000000000, until % 1000000000 };
    pthread_mutex_lock(&s->lock);
    clients_shutdown(s, SHUT_RD);
    while (s->client_count && pthread_cond_timedwait(&s->gone, &s->lock, &limit) != ETIMEDOUT)
        ;
    clients_shutdown(s, SHUT_RDWR);
    while (s->client_count)
        pthread_cond_wait(&s->gone, &s->lock);
    pthread_mutex_unlock(&s->lock);
    for (struct nbd_export *x; (x = s->exports);) {
        s->exports = x->next;
        pthread_rwlock_destroy(&x->partial);
        free(x->name);
        free(x->description);
        free(x->bitmap);
        free(x);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->gone);
    close(s->wake_fd);
    free(s);
}
