/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports of the host that end in the guest (hostfwd), and addresses of the user network that end on the host (guestfwd). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "net/user_private.h"

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

/* "[tcp|udp]:[ADDR]:" and what follows. */
static const char *start_read(const char *text, struct forward *f)
{
    char word[64];

    text = word_take(text, ':', word, sizeof(word));
    if (!text || (*word && strcmp(word, "tcp") && strcmp(word, "udp"))) return NULL;
    f->is_udp = !strcmp(word, "udp");
    text = word_take(text, ':', word, sizeof(word));
    f->address.s_addr = INADDR_ANY;
    return !text || (*word && inet_pton(AF_INET, word, &f->address) != 1) ? NULL : text;
}

static int host_read(const char *text, struct forward *f, struct forward *guest, struct error *err)
{
    char word[64];

    text = start_read(text, f);
    if (text) text = word_take(text, '-', word, sizeof(word));
    if (!text || !port_read(word, 0, &f->port)) return -1;
    text = word_take(text, ':', word, sizeof(word));
    guest->address.s_addr = INADDR_ANY;
    if (!text || (*word && inet_pton(AF_INET, word, &guest->address) != 1)) return -1;
    return port_read(text, 1, &guest->port) ? 0 : -1;
}

int net_user_forward_add(struct net_backend *b, const char *text, struct error *err)
{
    struct user *u = (struct user *)b;
    struct forward host, guest = { .port = 0 };

    if (host_read(text, &host, &guest, err) < 0)
        return error_set(err, "hostfwd=%s: write it as tcp:127.0.0.1:2222-:22 (protocol, address and port here, '-', address and port of the guest; "
                         "addresses may be left out)", text);
    errno = 0;
    if (slirp_add_hostfwd(u->slirp, host.is_udp, host.address, (int)host.port, guest.address, (int)guest.port) == 0) return 0;
    return error_set(err, "hostfwd=%s: cannot listen there: %s", text, errno ? strerror(errno) : "the address is taken");
}

int net_user_forward_remove(struct net_backend *b, const char *text, struct error *err)
{
    struct user *u = (struct user *)b;
    const char *port;
    struct forward host;

    port = start_read(text, &host);
    if (!port || !port_read(port, 0, &host.port)) return error_set(err, "'%s': write it as tcp:127.0.0.1:2222", text);
    if (slirp_remove_hostfwd(u->slirp, host.is_udp, host.address, (int)host.port) == 0) return 0;
    return error_set(err, "there is no host forwarding rule for %s", text);
}

/* "[tcp]:ADDR:PORT-cmd:COMMAND" runs COMMAND for each connection, "...-unix:PATH" connects each to a socket of the host. */
int user_guestfwd_add(struct user *u, const char *text, struct error *err)
{
    struct forward f;
    char word[64];
    const char *rest = start_read(text, &f);
    int result = -1;

    if (rest) rest = word_take(rest, '-', word, sizeof(word));
    if (!rest || f.is_udp || f.address.s_addr == INADDR_ANY || !port_read(word, 1, &f.port))
        return error_set(err, "guestfwd=%s: write it as tcp:10.0.2.100:80-cmd:COMMAND or tcp:10.0.2.100:80-unix:PATH", text);
    if (!strncmp(rest, "cmd:", 4)) result = slirp_add_exec(u->slirp, rest + 4, &f.address, (int)f.port);
    else if (!strncmp(rest, "unix:", 5)) result = slirp_add_unix(u->slirp, rest + 5, &f.address, (int)f.port);
    else return error_set(err, "guestfwd=%s: behind the '-' there can be cmd:COMMAND or unix:PATH in this version", text);
    if (result == 0) return 0;
    return error_set(err, "guestfwd=%s: that address is outside of the network, or the host's or the DNS server's, or taken", text);
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
