/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports of the host that end in the guest (hostfwd), and addresses of the user network that end on the host (guestfwd). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "net/user_private.h"

enum { RETRY_NS = 100000000 };

struct forward { bool is_udp; struct in_addr address; unsigned port; };

/* Takes text up to separator into word; the rest, or NULL. */
static const char *word_take(const char *text, char separator, char *word, size_t size)
{
    const char *end = strchr(text, separator);

    if (!end || (size_t)(end - text) >= size) return NULL;
    memcpy(word, text, (size_t)(end - text));
    word[end - text] = 0;
    return end + 1;
}

static bool port_read(const char *text, unsigned least, unsigned *port)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    *port = (unsigned)n;
    return end != text && !*end && n <= 65535 && n >= least;
}

/* "[tcp|udp]:[ADDR]:" and what follows. NULL: *why is the part that is wrong. */
static const char *start_read(const char *text, struct forward *f, const char **why)
{
    char word[64];

    *why = "protocol";
    text = word_take(text, ':', word, sizeof(word));
    if (!text || (*word && strcmp(word, "tcp") && strcmp(word, "udp"))) return NULL;
    f->is_udp = !strcmp(word, "udp");
    *why = "address of the host (it is one of IPv4)";
    text = word_take(text, ':', word, sizeof(word));
    f->address.s_addr = INADDR_ANY;
    return !text || (*word && inet_pton(AF_INET, word, &f->address) != 1) ? NULL : text;
}

/* NULL, or the part that is wrong. A host's port of 0, or none, is any that is free. */
static const char *host_read(const char *text, struct forward *f, struct forward *guest)
{
    char word[64];
    const char *why;

    text = start_read(text, f, &why);
    if (!text) return why;
    text = word_take(text, '-', word, sizeof(word));
    if (!text || (*word && !port_read(word, 0, &f->port))) return "port of the host";
    if (!*word) f->port = 0;
    text = word_take(text, ':', word, sizeof(word));
    guest->address.s_addr = INADDR_ANY;
    if (!text || (*word && inet_pton(AF_INET, word, &guest->address) != 1)) return "address of the guest (it is one of IPv4, or none)";
    return port_read(text, 1, &guest->port) ? NULL : "port of the guest";
}

int net_user_forward_add(struct net_backend *b, const char *text, struct error *err)
{
    struct user *u = (struct user *)b;
    struct forward host, guest = { .port = 0 };
    const char *why = host_read(text, &host, &guest);

    if (why)
        return error_set(err, "hostfwd=%s: wrong is the %s; write it as tcp:127.0.0.1:2222-:22 (protocol, address and port here, '-', address and port of "
                         "the guest; addresses may be left out)", text, why);
    errno = 0;
    if (slirp_add_hostfwd(u->slirp, host.is_udp, host.address, (int)host.port, guest.address, (int)guest.port) == 0) {
        user_sync(u);
        return 0;
    }
    return error_set(err, "hostfwd=%s: cannot listen there: %s", text, errno ? strerror(errno) : "the address is taken");
}

int net_user_forward_remove(struct net_backend *b, const char *text, struct error *err)
{
    struct user *u = (struct user *)b;
    const char *port, *why;
    struct forward host;

    port = start_read(text, &host, &why);
    if (!port || !port_read(port, 0, &host.port)) return error_set(err, "'%s': write it as tcp:127.0.0.1:2222", text);
    if (slirp_remove_hostfwd(u->slirp, host.is_udp, host.address, (int)host.port) == 0) {
        user_sync(u);
        return 0;
    }
    return error_set(err, "there is no host forwarding rule for %s", text);
}

/* What is behind the '-' of "[tcp]:[ADDR]:PORT-WHERE" (no ADDR: the network's fourth); NULL: it is no such rule. */
static const char *guestfwd_read(const char *text, struct forward *f)
{
    char word[64];
    const char *why, *rest = start_read(text, f, &why);

    if (rest) rest = word_take(rest, '-', word, sizeof(word));
    return !rest || f->is_udp || !port_read(word, 1, &f->port) ? NULL : rest;
}

static bool is_command(const char *where) { return !strncmp(where, "cmd:", 4); }
static bool is_socket(const char *where) { return !strncmp(where, "unix:", 5); }

static int guestfwd_failed(const char *text, struct error *err)
{
    return error_set(err, "guestfwd=%s: that address is outside of the network, or the host's or the DNS server's, or taken", text);
}

/* "...-cmd:COMMAND" runs COMMAND for each connection, "...-unix:PATH" connects each to a socket of the host. */
int user_guestfwd_add(struct user *u, const char *text, struct error *err)
{
    struct forward f;
    const char *where = guestfwd_read(text, &f);
    int result = -1;

    if (!where) return error_set(err, "guestfwd=%s: write it as tcp:10.0.2.100:80-cmd:COMMAND, tcp:10.0.2.100:80-unix:PATH or tcp:10.0.2.100:80-chardev:ID", text);
    if (is_command(where)) result = slirp_add_exec(u->slirp, where + 4, &f.address, (int)f.port);
    else if (is_socket(where)) result = slirp_add_unix(u->slirp, where + 5, &f.address, (int)f.port);
    return result == 0 ? 0 : guestfwd_failed(text, err);
}

/* ---- pipes ---- */

struct net_user_pipe {
    struct net_user_pipe *next;
    struct user *u;
    struct net_user_pipe_end end;
    struct in_addr address;
    int port;
    bool wants_room;
    uint8_t *kept;                                       /* what the device had no room for */
    size_t kept_at, kept_bytes, kept_room;
};

const char *net_user_guestfwd_device(const char *rule)
{
    struct forward f;
    const char *where = guestfwd_read(rule, &f);

    return !where || is_command(where) || is_socket(where) ? NULL : where;
}

/* libslirp takes no refusal. One frame's worth comes here at most: the guest is held back then. */
static void pipe_keep(struct net_user_pipe *p, const uint8_t *data, size_t size)
{
    if (p->kept_at) memmove(p->kept, p->kept + p->kept_at, p->kept_bytes);
    p->kept_at = 0;
    if (p->kept_bytes + size > p->kept_room) {
        uint8_t *more = realloc(p->kept, p->kept_bytes + size);

        if (!more) abort();
        p->kept = more;
        p->kept_room = p->kept_bytes + size;
    }
    memcpy(p->kept + p->kept_bytes, data, size);
    if (!p->kept_bytes) p->u->full_pipes++;
    p->kept_bytes += size;
    timer_arm_ns(p->u->pipes_timer, clock_host_ns() + RETRY_NS);
}

/* The device may answer at once, while libslirp is in the middle of this connection: it has to wait then. */
static ssize_t pipe_output(const void *data, size_t size, void *opaque)
{
    struct net_user_pipe *p = opaque;
    size_t done;

    p->u->in_output = true;
    done = p->kept_bytes ? 0 : p->end.output(p->end.opaque, data, size);
    p->u->in_output = false;
    if (done < size) pipe_keep(p, (const uint8_t *)data + done, size - done);
    return (ssize_t)size;
}

void net_user_pipe_resume(struct net_user_pipe *p)
{
    size_t done = p->kept_bytes && !p->u->in_output ? p->end.output(p->end.opaque, p->kept + p->kept_at, p->kept_bytes) : 0;

    if (!done) return;
    p->kept_at += done;
    p->kept_bytes -= done;
    if (p->kept_bytes || --p->u->full_pipes) return;
    net_send_ready(&p->u->base, 0);
}

/* A device whose other end goes away does not tell of room. */
void user_pipes_flush(void *user)
{
    struct user *u = user;

    for (struct net_user_pipe *p = u->pipes; p; p = p->next) net_user_pipe_resume(p);
    if (u->full_pipes) timer_arm_ns(u->pipes_timer, clock_host_ns() + RETRY_NS);
}

struct net_user_pipe *net_user_pipe_new(struct net_backend *b, const char *rule, const struct net_user_pipe_end *end, struct error *err)
{
    struct user *u = (struct user *)b;
    struct net_user_pipe *p = calloc(1, sizeof(*p));
    struct forward f = { .port = 0 };

    if (!p) {
        error_set(err, "no memory for guestfwd=%s", rule);
        return NULL;
    }
    guestfwd_read(rule, &f);
    for (const struct net_user_pipe *other = u->pipes; other; other = other->next)
        if (other->address.s_addr == f.address.s_addr && other->port == (int)f.port) {
            guestfwd_failed(rule, err);
            free(p);
            return NULL;
        }
    *p = (struct net_user_pipe){ .next = u->pipes, .u = u, .end = *end, .address = f.address, .port = (int)f.port };
    if (slirp_add_guestfwd(u->slirp, pipe_output, p, &f.address, p->port) < 0) {
        guestfwd_failed(rule, err);
        free(p);
        return NULL;
    }
    p->address = f.address;
    return u->pipes = p;
}

size_t net_user_pipe_room(struct net_user_pipe *p)
{
    size_t room = p->u->in_output || p->u->first ? 0 : slirp_socket_can_recv(p->u->slirp, p->address, p->port);

    p->wants_room |= !room;
    return room;
}

void net_user_pipe_give(struct net_user_pipe *p, const void *data, size_t size)
{
    p->u->in_slirp = true;
    slirp_socket_recv(p->u->slirp, p->address, p->port, data, (int)size);
    p->u->in_slirp = false;
    user_sync(p->u);
    user_delivered_tell(p->u);
}

void user_pipes_resume(struct user *u)
{
    if (u->in_output || u->tells_room) return;           /* whoever gives data comes through here, too */
    u->tells_room = true;
    for (struct net_user_pipe *p = u->pipes; p; p = p->next) {
        if (!p->wants_room || !slirp_socket_can_recv(u->slirp, p->address, p->port)) continue;
        p->wants_room = false;
        p->end.room(p->end.opaque);
    }
    u->tells_room = false;
}

void user_pipes_free(struct user *u)
{
    for (struct net_user_pipe *p; (p = u->pipes);) {
        u->pipes = p->next;
        free(p->kept);
        free(p);
    }
}

void net_user_info(struct net_backend *b, void (*print)(void *opaque, const char *line), void *opaque)
{
    char *text = slirp_connection_info(((struct user *)b)->slirp);

    for (char *line = text, *end; line && *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end) *end++ = 0;
        print(opaque, line);
    }
    free(text);
}
