/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server: sockets to listen on, the list of clients, and what a display tells its viewers. All in the main thread;
 * no socket is ever waited for. A client that does not read gets no more updates; one that does not finish its handshake in
 * ten seconds is closed. When all places are taken, the one that has been at its handshake for longest makes room; if there is none, whoever comes
 * is closed.
 *
 * Own code, since the one maintained library, libvncserver 0.9.14, did not serve when measured: in a main loop a single
 * client that does not read stops it for 25 s (writes wait), in its threaded mode threads of its own read the
 * surface while it changes; it has no scan code keys and no TLS for servers.
 * Sources: RFC 6143; github.com/rfbproto (pseudo-encodings, Tight, QEMU's extensions).
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "base/socket_accept.h"
#include "display/listen.h"
#include "display/vnc_private.h"

enum { CLIENTS_MAX = 64, HANDSHAKE_S = 10 };

/* ---- clients ---- */

static bool in_handshake(const struct vnc_server *s)
{
    for (const struct vnc_client *c = s->clients; c; c = c->next)
        if (!c->ready) return true;
    return false;
}

void vnc_clients_sweep(struct vnc_server *s)
{
    for (struct vnc_client **at = &s->clients; *at;) {
        struct vnc_client *c = *at;

        if (!c->gone) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        s->count--;
        vnc_event_tell(c, VNC_DISCONNECTED);
        vnc_client_free(c);
    }
    vnc_interest_update(s);
}

void vnc_others_drop(struct vnc_client *c)
{
    for (struct vnc_client *o = c->server->clients; o; o = o->next)
        if (o != c && o->ready) o->gone = true;
}

void vnc_interest_update(struct vnc_server *s)
{
    bool wanted = false;

    for (const struct vnc_client *c = s->clients; c; c = c->next) wanted |= c->wants && !c->gone;
    if (s->viewer.paused == !wanted) return;
    s->viewer.paused = !wanted;
    display_viewer_wake(s->display);
}

static void handshakes_check(void *opaque)
{
    struct vnc_server *s = opaque;

    for (struct vnc_client *c = s->clients; c; c = c->next)
        if (!c->ready && clock_host_ns() - c->since_ns > HANDSHAKE_S * NS_PER_SECOND) c->gone = true;
    vnc_clients_sweep(s);
    if (in_handshake(s)) timer_arm_ns(s->timer, clock_host_ns() + NS_PER_SECOND);
}

static unsigned clients_most(const struct vnc_server *s) { return s->config.clients ? s->config.clients : CLIENTS_MAX; }

/* Strangers who say nothing keep out nobody who knows the password. */
static void room_make(struct vnc_server *s)
{
    struct vnc_client *oldest = NULL;

    if (s->count < clients_most(s)) return;
    for (struct vnc_client *c = s->clients; c; c = c->next)
        if (!c->ready && (!oldest || c->since_ns <= oldest->since_ns)) oldest = c;
    if (oldest) oldest->gone = true;
    vnc_clients_sweep(s);
}

/* Takes fd, closed if there is no room; web is taken too. */
static struct vnc_client *client_add(struct vnc_server *s, int fd, struct vnc_web *web, bool skip_auth)
{
    struct vnc_client *c;
    char peer[72];

    listen_peer_name(fd, peer, sizeof(peer));
    room_make(s);
    c = s->count < clients_most(s) ? vnc_client_new(s, fd, peer, web, skip_auth) : NULL;
    if (!c) {
        vnc_web_free(web);
        close(fd);
        return NULL;
    }
    c->next = s->clients;
    s->clients = c;
    s->count++;
    vnc_event_tell(c, VNC_CONNECTED);
    if (!timer_is_armed(s->timer)) timer_arm_ns(s->timer, clock_host_ns() + NS_PER_SECOND);
    return c;
}

void vnc_accept(struct vnc_server *s, int listener, bool over_web)
{
    int fd = socket_accept(listener);
    struct vnc_web *web = over_web ? vnc_web_new(false) : NULL;

    if (fd < 0 || (over_web && !web)) {
        vnc_web_free(web);
        if (fd >= 0) close(fd);
        return;
    }
    client_add(s, fd, web, false);
    vnc_clients_sweep(s);
}

void vnc_server_adopt(struct vnc_server *s, int fd, const uint8_t *reply, size_t reply_bytes, const uint8_t *data, size_t size)
{
    struct vnc_web *web = vnc_web_new(true);
    struct vnc_client *c;

    if (!web) close(fd);
    else if ((c = client_add(s, fd, web, false))) vnc_client_opened(c, reply, reply_bytes, data, size);
    vnc_clients_sweep(s);
}

void vnc_server_add(struct vnc_server *s, int fd, bool skip_auth)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    client_add(s, fd, NULL, skip_auth);
    vnc_clients_sweep(s);
}

/* ---- the display ---- */

static void on_resized(void *opaque)
{
    struct vnc_server *s = opaque;

    for (struct vnc_client *c = s->clients; c; c = c->next)
        if (c->ready) vnc_size_tell(c, 0, 0);
}

static void on_changed(void *opaque, unsigned x, unsigned y, unsigned width)
{
    struct vnc_server *s = opaque;

    for (struct vnc_client *c = s->clients; c; c = c->next)
        if (c->ready && !c->gone) vnc_dirty_mark(c, x, y, width, 1);
}

static void on_updated(void *opaque, bool any)
{
    struct vnc_server *s = opaque;

    for (struct vnc_client *c = s->clients; c; c = c->next) {
        if (!c->ready || c->gone) continue;
        vnc_update_send(c);
        if (!any) bytes_trim(&c->out);
    }
    vnc_clients_sweep(s);
}

/* Those who understand learn at once what to send. */
static void on_input_changed(void *opaque)
{
    struct vnc_server *s = opaque;

    for (struct vnc_client *c = s->clients; c; c = c->next)
        if (c->ready && !c->gone) vnc_update_send(c);
    vnc_clients_sweep(s);
}

static void on_cursor(void *opaque)
{
    struct vnc_server *s = opaque;

    for (struct vnc_client *c = s->clients; c; c = c->next) c->cursor_due = true;
}

/* ---- life ---- */

struct vnc_server *vnc_server_new(struct display *d, const struct vnc_config *config, struct error *err)
{
    struct vnc_server *s = calloc(1, sizeof(*s));

    if (!s) {
        error_set(err, "no memory");
        return NULL;
    }
    s->display = d;
    s->config = *config;
    s->web_fd = -1;
    s->viewer = (struct display_viewer){ .resized = on_resized, .changed = on_changed, .updated = on_updated, .cursor = on_cursor, .input_changed = on_input_changed,
                                         .opaque = s, .paused = true };
    display_viewer_add(d, &s->viewer);
    s->clipboard = (struct clipboard_user){ .changed = vnc_clipboard_changed, .opaque = s };
    if (config->clipboard) clipboard_user_add(config->clipboard, &s->clipboard);
    if (asprintf(&s->name, config->name ? "ospite (%s)" : "ospite", config->name) < 0) s->name = NULL;
    s->timer = timer_new(TIMER_HOST, handshakes_check, s);
    if (!s->name || !s->timer || vnc_keys_begin(s) < 0) error_set(err, "no memory");
    else if (vnc_listen_begin(s, err) == 0) {
        s->expires_s = INT64_MAX;
        if (config->first_password) vnc_password_set(s, config->first_password, NULL);
        return s;
    }
    vnc_server_free(s);
    return NULL;
}

void vnc_server_free(struct vnc_server *s)
{
    if (!s) return;
    for (struct vnc_client *c = s->clients; c; c = c->next) c->gone = true;
    vnc_clients_sweep(s);
    vnc_keys_end(s);
    display_viewer_remove(s->display, &s->viewer);
    if (s->config.clipboard) clipboard_user_remove(s->config.clipboard, &s->clipboard);
    vnc_listen_end(s);
    free(s->name);
    if (s->timer) timer_free(s->timer);
    explicit_bzero(s->key, sizeof(s->key));
    free(s);
}

/* ---- for the monitor ---- */

int vnc_password_set(struct vnc_server *s, const char *password, struct error *err)
{
    if (!s->config.password) return error_set(err, "this VNC server asks for no password; start it with -vnc ...,password=on");
    s->has_password = password && *password;
    if (s->has_password) vnc_key_make(s->key, password);
    return 0;
}

int vnc_password_expire(struct vnc_server *s, int64_t at_s, struct error *err)
{
    if (!s->config.password) return error_set(err, "this VNC server asks for no password; start it with -vnc ...,password=on");
    s->expires_s = at_s;
    return 0;
}

int vnc_tls_reload(struct vnc_server *s, struct error *err)
{
    const struct vnc_tls_source *t = s->config.tls;

    if (!t) return error_set(err, "vnc tls is not enabled");
    if (!t->is_x509) return error_set(err, "tls-creds-anon doesn't support to reload TLS credential");
    return t->reload(t->opaque, err);
}

void vnc_info(const struct vnc_server *s, void (*print)(void *opaque, const char *line), void *opaque)
{
    char line[320];

    for (unsigned i = 0; i < MAX(s->listeners, 1u); i++) {
        snprintf(line, sizeof(line), "Server: %s (auth: %s%s)", s->listeners ? s->listener[i].where : "nowhere", !s->config.tls ? "" : s->config.tls->is_x509 ? "vencrypt+x509+" : "vencrypt+tls+",
                 !s->config.password ? "none" : s->has_password ? "vnc" : "vnc, no password is set yet");
        print(opaque, line);
    }
    if (s->web_fd >= 0) {
        snprintf(line, sizeof(line), "Websocket: %s", s->web_where);
        print(opaque, line);
    }
    for (const struct vnc_client *c = s->clients; c; c = c->next) {
        snprintf(line, sizeof(line), "Client: %s%s%s", c->peer, c->web ? " (websocket)" : "", c->ready ? "" : " (handshake)");
        print(opaque, line);
    }
    if (!s->clients) print(opaque, "Clients: none");
}
