/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The web server: its socket, its connections and how long each may take. It is small and our own since the libraries in Debian bring a
 * loop of their own to be tamed (libwebsockets 4.1), or no websocket frames (libmicrohttpd 0.9.75), while ours existed already; what a page
 * of a dozen files wants of HTTP is one screen of code, which is fuzzed (tests/fuzz/web.c).
 *
 * A connection takes one request at a time: while an answer is on its way nothing is read. So each costs at most one head, one answer and what
 * the kernel keeps. Who does not finish a request in ten seconds, or does not take its answer, is closed; when all places are
 * taken the one that has waited longest without having shown a session's cookie makes room.
 */
#include "display/web.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/socket_accept.h"
#include "display/listen.h"
#include "display/vnc.h"
#include "display/web_private.h"

enum { CONNECTIONS_MAX = 64, REQUEST_S = 10, IDLE_S = 60, READ_BYTES = 16 << 10 };

/* ---- connections ---- */

static void connection_free(struct web_connection *c)
{
    if (c->fd >= 0) {
        loop_fd_unwatch(c->fd);
        close(c->fd);
    }
    bytes_free(&c->in);
    bytes_free(&c->out);
    free(c);
}

static void sweep(struct web_server *s)
{
    for (struct web_connection **at = &s->connections; *at;) {
        struct web_connection *c = *at;

        if (!c->gone) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        s->count--;
        connection_free(c);
    }
}

int web_connection_release(struct web_connection *c)
{
    int fd = c->fd;

    loop_fd_unwatch(fd);
    c->fd = -1;
    c->gone = true;
    return fd;
}

static void head_take(struct web_connection *c)
{
    struct http_request r;
    size_t size = http_head_size(c->in.data + c->in.at, bytes_size(&c->in), &c->searched);
    int status;

    if (!size) {
        if (bytes_size(&c->in) >= HTTP_HEAD_MAX) web_refuse(c, 431, "the request is too long");
        return;
    }
    c->since_ns = clock_host_ns();
    status = size > HTTP_HEAD_MAX ? 431 : http_request_parse(&r, (char *)c->in.data + c->in.at, size);
    if (status) web_refuse(c, status, "this is not a request that is understood here");
    else web_request_answer(c, &r, size);
    if (!c->gone && !c->is_console) bytes_drop(&c->in, size);      /* a console's in is payload by now */
}

static void received(struct web_connection *c, const uint8_t *data, size_t size)
{
    if (c->is_console) web_console_receive(c, data, size);
    else bytes_add(&c->in, data, size);
    if (c->in.broken) c->gone = true;
}

/* Requests and console output, as long as the socket takes what comes of them. */
static void go_on(struct web_connection *c)
{
    while (!c->gone) {
        if (!c->is_console && !c->closing && !bytes_size(&c->out) && bytes_size(&c->in)) head_take(c);
        if (c->is_console && !bytes_size(&c->out)) web_console_send(c);
        if (c->gone || !bytes_size(&c->out)) break;
        ssize_t n = send(c->fd, c->out.data + c->out.at, bytes_size(&c->out), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) c->gone = true;
        if (n <= 0) break;
        bytes_drop(&c->out, (size_t)n);
        c->since_ns = clock_host_ns();
    }
    if (c->out.broken || (c->closing && !bytes_size(&c->out))) c->gone = true;
}

static void socket_ready(void *opaque, int fd, unsigned events)
{
    struct web_connection *c = opaque;
    struct web_server *s = c->server;
    uint8_t data[READ_BYTES];

    if (events & LOOP_READ) {
        ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

        if (n > 0) received(c, data, (size_t)n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR)) c->gone = true;
    } else if (events & LOOP_HANGUP) c->gone = true;
    go_on(c);
    web_output_watch(c);
    sweep(s);
}

static bool console_has_more(const struct web_connection *c)
{
    return c->is_console && c->server->console[c->console].end > c->position;
}

/* Nothing is read of who has an answer to take, or keys that the guest did not take. */
void web_output_watch(struct web_connection *c)
{
    bool writes = bytes_size(&c->out) || console_has_more(c), reads = c->is_console ? !bytes_size(&c->in) : !bytes_size(&c->out);
    unsigned events = LOOP_HANGUP | (writes ? LOOP_WRITE : 0) | (reads && !c->closing ? LOOP_READ : 0);

    if (c->gone || events == c->watched) return;
    c->watched = events;
    loop_fd_watch(c->fd, events, socket_ready, c);
}

static bool is_late(const struct web_connection *c)
{
    int64_t waited_ns = clock_host_ns() - c->since_ns;

    if (c->is_console && !bytes_size(&c->out)) return false;
    if (bytes_size(&c->out)) return waited_ns > IDLE_S * NS_PER_SECOND;
    return waited_ns > (c->authenticated && !bytes_size(&c->in) ? IDLE_S : REQUEST_S) * NS_PER_SECOND;
}

static void lateness_check(void *opaque)
{
    struct web_server *s = opaque;

    for (struct web_connection *c = s->connections; c; c = c->next)
        if (is_late(c)) c->gone = true;
    sweep(s);
    if (s->connections) timer_arm_ns(s->timer, clock_host_ns() + NS_PER_SECOND);
}

static void room_make(struct web_server *s)
{
    struct web_connection *oldest = NULL;

    if (s->count < CONNECTIONS_MAX) return;
    for (struct web_connection *c = s->connections; c; c = c->next)
        if (!c->authenticated && (!oldest || c->since_ns <= oldest->since_ns)) oldest = c;
    if (oldest) oldest->gone = true;
    sweep(s);
}

static void listener_ready(void *opaque, int listener, unsigned events)
{
    struct web_server *s = opaque;
    int fd = socket_accept(listener), on = 1;
    struct web_connection *c;

    if (fd < 0) return;
    room_make(s);
    c = s->count < CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;
    if (!c) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    c->server = s;
    c->fd = fd;
    c->since_ns = clock_host_ns();
    listen_peer_name(fd, c->peer, sizeof(c->peer));
    c->next = s->connections;
    s->connections = c;
    s->count++;
    web_output_watch(c);
    if (!timer_is_armed(s->timer)) timer_arm_ns(s->timer, clock_host_ns() + NS_PER_SECOND);
}

/* ---- the server ---- */

static bool is_loopback(const char *where) { return !strncmp(where, "127.", 4) || !strncmp(where, "[::1]", 5) || !strncmp(where, "localhost:", 10); }

static int server_begin(struct web_server *s, struct display *d, struct error *err)
{
    struct vnc_config vnc = { .is_internal = true, .share = VNC_SHARE_IGNORE, .name = s->config.name, .layout = s->config.layout };
    struct listen_where w = { s->config.host ? s->config.host : "127.0.0.1", s->config.port, s->config.port_to, LISTEN_ANY, "port" };
    char url[256];

    s->timer = timer_new(TIMER_HOST, lateness_check, s);
    if (web_secret_make(&s->token) < 0) return error_set(err, "no random numbers: %s", strerror(errno));
    if (d && !(s->vnc = vnc_server_new(d, &vnc, err))) return -1;
    s->fd = listen_tcp(&w, s->where, sizeof(s->where), err);
    if (s->fd < 0) return -1;
    s->port = (unsigned)strtoul(strrchr(s->where, ':') + 1, NULL, 10);
    loop_fd_watch(s->fd, LOOP_READ, listener_ready, s);
    web_url(s, url, sizeof(url));
    log_message("the screen in a browser: %s", url);
    if (!is_loopback(s->where)) log_message("the page travels in the clear: over networks tunnel the port through ssh");
    return 0;
}

struct web_server *web_server_new(struct display *d, const struct web_config *config, const struct web_host *host, struct error *err)
{
    struct web_server *s = calloc(1, sizeof(*s));

    if (!s) {
        error_set(err, "no memory");
        return NULL;
    }
    s->config = *config;
    s->host = *host;
    s->fd = -1;
    snprintf(s->name, sizeof(s->name), "%s", config->name ? config->name : "guest");
    if (server_begin(s, d, err) == 0) return s;
    web_server_free(s);
    return NULL;
}

void web_server_free(struct web_server *s)
{
    if (!s) return;
    for (struct web_connection *c = s->connections; c; c = c->next) {
        if (c->fd >= 0) go_on(c);                                  /* the answer to "quit" */
        c->gone = true;
    }
    sweep(s);
    if (s->fd >= 0) {
        loop_fd_unwatch(s->fd);
        close(s->fd);
    }
    vnc_server_free(s->vnc);
    if (s->timer) timer_free(s->timer);
    web_consoles_free(s);
    explicit_bzero(s->session, sizeof(s->session));
    free(s);
}

void web_info(const struct web_server *s, void (*print)(void *opaque, const char *line), void *opaque)
{
    char line[480], url[256];

    web_url(s, url, sizeof(url));
    snprintf(line, sizeof(line), "Server: %s; the URL for the next browser: %s", s->where, url);
    print(opaque, line);
    snprintf(line, sizeof(line), "Browsers let in so far: %u", s->sessions);
    print(opaque, line);
    for (const struct web_connection *c = s->connections; c; c = c->next) {
        snprintf(line, sizeof(line), "Connection: %s%s%s", c->peer, c->authenticated ? "" : " (no session)", c->is_console ? " (console)" : "");
        print(opaque, line);
    }
    if (s->vnc) vnc_info(s->vnc, print, opaque);
}
