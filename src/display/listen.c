/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listening, over IPv4, IPv6 and Unix sockets. Nothing here waits, but names of hosts may have to be looked up. */
#include "display/listen.h"

#include <endian.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/socket_path.h"

void listen_peer_name(int fd, char *name, size_t size)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof(a);
    char host[48], port[8];

    snprintf(name, size, "unix");
    if (getpeername(fd, (struct sockaddr *)&a, &n) < 0 || a.ss_family == AF_UNIX) return;
    if (getnameinfo((struct sockaddr *)&a, n, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(name, size, "%s:%s", host, port);
}

int listen_unix(const char *path, struct error *err)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof(a.sun_path)) return error_set(err, "the socket's path '%s' is longer than %zu characters", path, sizeof(a.sun_path) - 1);
    strcpy(a.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socket_path_clear(path);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 64) == 0) return fd;
    error_set(err, "cannot listen on '%s': %s; name another path", path, strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
}

static int address_listen(const struct addrinfo *a, int only6)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, saved;

    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only6, sizeof(only6));
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 64) == 0) return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static unsigned port_of(int fd)
{
    struct sockaddr_storage a = { 0 };
    socklen_t n = sizeof(a);

    if (getsockname(fd, (struct sockaddr *)&a, &n) < 0) return 0;
    return be16toh(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
}

void listen_where_name(const char *host, unsigned port, char *where, size_t size)
{
    bool any = !host || !*host;

    snprintf(where, size, !any && strchr(host, ':') ? "[%s]:%u" : "%s:%u", any ? "*" : host, port);
}

int listen_tcp(const struct listen_where *w, char *where, size_t size, struct error *err)
{
    static const int families[] = { [LISTEN_ANY] = AF_UNSPEC, [LISTEN_IPV4] = AF_INET, [LISTEN_IPV6] = AF_INET6 };
    const char *host = w->host;
    struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM, .ai_family = families[w->family] }, *list;
    bool any = !host || !*host;
    int fd = -1, failure = 0;

    for (unsigned p = w->port; fd < 0 && p <= MAX(w->port_to, w->port); p++) {
        char text[8];

        snprintf(text, sizeof(text), "%u", p);
        failure = getaddrinfo(any ? NULL : host, text, &hints, &list);
        if (failure) break;
        /* "::" takes both kinds of addresses, so it comes first where any will do. */
        for (int want6 = any; fd < 0 && want6 >= 0; want6--)
            for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
                if (!any || (a->ai_family == AF_INET6) == want6) fd = address_listen(a, w->family == LISTEN_IPV6);
        freeaddrinfo(list);
        listen_where_name(host, fd < 0 ? p : port_of(fd), where, size);
    }
    if (failure && w->family != LISTEN_ANY)
        return error_set(err, "no IPv%d address for '%s': %s", w->family == LISTEN_IPV4 ? 4 : 6, host ? host : "", gai_strerror(failure));
    if (failure) return error_set(err, "unknown host '%s': %s", host ? host : "", gai_strerror(failure));
    if (fd >= 0) return fd;
    return error_set(err, "cannot listen on %s: %s; use another %s", where, strerror(errno), w->hint);
}
