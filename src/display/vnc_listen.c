/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a VNC server listens: at first where its configuration says, later where display-update of QMP does. New sockets are opened before
 * the old ones are closed, so that nothing changes if one cannot be; a socket that is wanted again stays as it is. Clients stay in any case.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/loop.h"
#include "display/listen.h"
#include "display/vnc_private.h"

static void plain_ready(void *opaque, int fd, unsigned events) { vnc_accept(opaque, fd, false); }
static void web_ready(void *opaque, int fd, unsigned events) { vnc_accept(opaque, fd, true); }

/* ---- one ---- */

/* Is this what a means? By the words that it was opened with, or by what the kernel calls it. */
static bool is_same(const struct vnc_listener *l, const struct vnc_address *a)
{
    char where[sizeof(l->where)];
    struct vnc_peer p;

    if (a->has_fd) return false;
    if (a->unix_path) return l->unix_path && !strcmp(l->unix_path, a->unix_path);
    if (l->unix_path) return false;
    vnc_socket_name(l->fd, &p);
    snprintf(where, sizeof(where), "%u", a->port);
    if (a->host && !strcmp(p.host, a->host) && !strcmp(p.service, where)) return true;
    listen_where_name(a->host, a->port, where, sizeof(where));
    return l->family == a->family && !strcmp(l->where, where);
}

static int inherited_check(int fd, struct error *err)
{
    int listens = 0;
    socklen_t n = sizeof(listens);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) < 0 || !listens) return error_set(err, "the descriptor is no socket that listens");
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

static int listener_open(struct vnc_listener *l, const struct vnc_address *a, struct error *err)
{
    struct listen_where where = { a->host, a->port, a->port_to, a->family, "display number, or to=N to try some more" };

    *l = (struct vnc_listener){ .family = a->family };
    if (a->has_fd) {
        snprintf(l->where, sizeof(l->where), "fd:%d", a->fd);
        l->fd = inherited_check(a->fd, err);
    } else if (a->unix_path) {
        snprintf(l->where, sizeof(l->where), "unix:%s", a->unix_path);
        l->fd = listen_unix(a->unix_path, err);
    } else l->fd = listen_tcp(&where, l->where, sizeof(l->where), err);
    if (l->fd >= 0 && a->unix_path) l->unix_path = strdup(a->unix_path);
    return l->fd < 0 ? -1 : 0;
}

static void listener_close(struct vnc_listener *l)
{
    close(l->fd);
    if (l->unix_path) unlink(l->unix_path);
    free(l->unix_path);
}

/* ---- all ---- */

static const struct vnc_listener *find(const struct vnc_server *s, const struct vnc_address *a)
{
    for (unsigned i = 0; i < s->listeners; i++)
        if (is_same(&s->listener[i], a)) return &s->listener[i];
    return NULL;
}

static bool has(const struct vnc_listener *l, unsigned count, int fd)
{
    while (count && l[count - 1].fd != fd) count--;
    return count;
}

static int next_open(const struct vnc_server *s, const struct vnc_address *a, unsigned count, struct vnc_listener *next, struct error *err)
{
    for (unsigned i = 0; i < count; i++) {
        const struct vnc_listener *old = find(s, &a[i]);

        if (old && has(next, i, old->fd)) error_set(err, "%s is wanted twice", old->where);
        else if (old) next[i] = *old;
        if (old ? !has(next, i, old->fd) : listener_open(&next[i], &a[i], err) == 0) continue;
        while (i--)
            if (!a[i].has_fd && !has(s->listener, s->listeners, next[i].fd)) listener_close(&next[i]);
        return -1;
    }
    return 0;
}

int vnc_server_listen(struct vnc_server *s, const struct vnc_address *a, unsigned count, struct error *err)
{
    struct vnc_listener next[VNC_LISTENERS];

    if (count > VNC_LISTENERS) return error_set(err, "a VNC server listens at %d addresses at most", VNC_LISTENERS);
    if (next_open(s, a, count, next, err) < 0) return -1;
    for (unsigned i = 0; i < s->listeners; i++) {
        if (has(next, count, s->listener[i].fd)) continue;
        loop_fd_unwatch(s->listener[i].fd);
        listener_close(&s->listener[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        if (!has(s->listener, s->listeners, next[i].fd)) loop_fd_watch(next[i].fd, LOOP_READ, plain_ready, s);
    }
    memcpy(s->listener, next, count * sizeof(next[0]));
    s->listeners = count;
    return 0;
}

int vnc_listen_begin(struct vnc_server *s, struct error *err)
{
    const struct vnc_config *c = &s->config;
    struct vnc_address plain = { .unix_path = c->unix_path, .host = c->host, .port = c->port, .port_to = c->port_to, .family = c->family };
    struct listen_where web = { c->web_host, c->web_port, 0, c->family, "port" };

    if (c->is_internal) return 0;
    if (vnc_server_listen(s, &plain, 1, err) < 0) return -1;
    if (!c->web_port) return 0;
    s->web_fd = listen_tcp(&web, s->web_where, sizeof(s->web_where), err);
    if (s->web_fd < 0) return error_prefix(err, "websocket");
    loop_fd_watch(s->web_fd, LOOP_READ, web_ready, s);
    return 0;
}

void vnc_listen_end(struct vnc_server *s)
{
    vnc_server_listen(s, NULL, 0, NULL);
    if (s->web_fd < 0) return;
    loop_fd_unwatch(s->web_fd);
    close(s->web_fd);
    s->web_fd = -1;
}
