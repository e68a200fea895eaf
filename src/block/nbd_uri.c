/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where an NBD server is: URIs, QEMU's older names, or options; and the connection to it.
 * Sources: the NBD project's doc/uri.md; qemu-block-drivers(7).
 */
#include "block/nbd_client.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "block/nbd_wire.h"

static int out_of_memory(struct error *err)
{
    return error_set(err, "out of memory");
}

static int text_set(char **field, const char *text, size_t length, struct error *err)
{
    free(*field);
    *field = strndup(text, length);
    return *field ? 0 : out_of_memory(err);
}

/* With %XX resolved; a zero byte is no part of any name. */
static int decoded_set(char **field, const char *text, size_t length, struct error *err)
{
    char *out = malloc(length + 1);
    size_t used = 0;
    if (!out)
        return out_of_memory(err);
    for (size_t i = 0; i < length; i++) {
        char digits[3] = { 0 };
        if (text[i] == '%') {
            if (i + 2 >= length || !isxdigit((unsigned char)text[i + 1]) || !isxdigit((unsigned char)text[i + 2]) ||
                !strncmp(text + i + 1, "00", 2)) {
                free(out);
                return error_set(err, "'%%' in a URI is followed by two hexadecimal digits, not 00");
            }
            memcpy(digits, text + i + 1, 2);
            out[used++] = (char)strtoul(digits, NULL, 16);
            i += 2;
        } else {
            out[used++] = text[i];
        }
    }
    out[used] = 0;
    free(*field);
    *field = out;
    return 0;
}

static int query_parse(struct nbd_address *a, const char *query, struct error *err)
{
    const struct { const char *key; char **field; } keys[] = {
        { "socket", &a->path }, { "tls-hostname", &a->tls_hostname }, { "tls-certificates", &a->tls_directory },
        { "tls-creds", &a->tls_creds },
    };
    while (*query) {
        size_t length = strcspn(query, "&;"), key = strcspn(query, "=&;"), i = 0;
        while (i < ARRAY_SIZE(keys) && (strlen(keys[i].key) != key || strncmp(keys[i].key, query, key)))
            i++;
        if (i == ARRAY_SIZE(keys) || key == length)
            return error_set(err, "'%.*s' in the URI is not known; socket=, tls-certificates=, tls-creds= and tls-hostname= are",
                             (int)length, query);
        if (decoded_set(keys[i].field, query + key + 1, length - key - 1, err))
            return -1;
        query += length + (query[length] != 0);
    }
    return 0;
}

static int authority_parse(struct nbd_address *a, const char *text, size_t length, struct error *err)
{
    const char *at = memchr(text, '@', length), *end = text + length;
    if (at)
        text = at + 1;
    const char *host = text, *host_end;
    if (*text == '[') {
        host++;
        host_end = memchr(host, ']', (size_t)(end - host));
        if (!host_end)
            return error_set(err, "the IPv6 address in the URI has no ']'");
        text = host_end + 1;
    } else {
        host_end = memchr(text, ':', (size_t)(end - text));
        text = host_end = host_end ? host_end : end;
    }
    if (text < end && (*text != ':' || text + 1 == end))
        return error_set(err, "behind the host of a URI comes :PORT");
    if (decoded_set(&a->host, host, (size_t)(host_end - host), err))
        return -1;
    return text < end ? text_set(&a->port, text + 1, (size_t)(end - text - 1), err) : 0;
}

static int uri_parse(struct nbd_address *a, const char *name, struct error *err)
{
    static const struct { const char *name; bool tls, unix_socket; } schemes[] = {
        { "nbd", false, false }, { "nbd+tcp", false, false }, { "nbd+unix", false, true },
        { "nbds", true, false }, { "nbds+tcp", true, false }, { "nbds+unix", true, true },
    };
    const char *rest = strstr(name, "://");
    size_t length = (size_t)(rest - name), i = 0;
    while (i < ARRAY_SIZE(schemes) && (strlen(schemes[i].name) != length || strncmp(schemes[i].name, name, length)))
        i++;
    if (i == ARRAY_SIZE(schemes))
        return error_set(err, "'%.*s' is no scheme of an NBD URI; nbd, nbds, nbd+unix and nbds+unix are", (int)length, name);
    a->tls = schemes[i].tls;
    rest += 3;
    size_t authority = strcspn(rest, "/?"), path = strcspn(rest + authority, "?");
    const char *export = rest + authority;
    if (query_parse(a, export[path] ? export + path + 1 : "", err))
        return -1;
    if (path && decoded_set(&a->export, export + 1, path - 1, err))
        return -1;
    if (schemes[i].unix_socket)
        return authority ? error_set(err, "a URI for a unix socket is nbd+unix:///EXPORT?socket=PATH") :
               a->path ? 0 : error_set(err, "the URI lacks ?socket=PATH");
    if (a->path)
        return error_set(err, "socket= goes with nbd+unix:// only");
    return authority_parse(a, rest, authority, err);
}

/* nbd:HOST:PORT[:exportname=NAME], nbd:unix:PATH[:exportname=NAME] */
static int old_name_parse(struct nbd_address *a, const char *name, struct error *err)
{
    static const char mark[] = ":exportname=";
    const char *rest = name + 4, *export = strstr(rest, mark);
    size_t length = export ? (size_t)(export - rest) : strlen(rest);
    if (export && text_set(&a->export, export + sizeof(mark) - 1, strlen(export + sizeof(mark) - 1), err))
        return -1;
    if (!strncmp(rest, "unix:", 5) && length > 5)
        return text_set(&a->path, rest + 5, length - 5, err);
    const char *colon = memrchr(rest, ':', length);
    if (!colon || colon == rest || colon + 1 == rest + length)
        return error_set(err, "write nbd:HOST:PORT or nbd:unix:PATH, both with :exportname=NAME behind, or an nbd:// URI");
    bool six = *rest == '[' && colon[-1] == ']';
    if (text_set(&a->host, rest + six, (size_t)(colon - rest) - 2 * six, err))
        return -1;
    return text_set(&a->port, colon + 1, length - (size_t)(colon + 1 - rest), err);
}

static int options_take(struct nbd_address *a, const struct block_option_set *o, struct error *err)
{
    const struct { const char *key; char **field; } keys[] = {
        { "host", &a->host }, { "port", &a->port }, { "path", &a->path }, { "server.host", &a->host },
        { "server.port", &a->port }, { "server.path", &a->path }, { "export", &a->export }, { "tls-creds", &a->tls_creds },
        { "tls-hostname", &a->tls_hostname }, { "x-dirty-bitmap", &a->context },
    };
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const char *value = block_option_get(o, keys[i].key);
        if (value && text_set(keys[i].field, value, strlen(value), err))
            return -1;
    }
    const char *type = block_option_get(o, "server.type");
    if (block_option_number(o, "reconnect-delay", UINT32_MAX, &a->reconnect_s, err) ||
        block_option_number(o, "open-timeout", UINT32_MAX, &a->open_s, err))
        return -1;
    if (type && strcmp(type, "inet") && strcmp(type, "unix"))
        return error_set(err, "server.type is inet or unix, not '%s'", type);
    return 0;
}

int nbd_address_parse(struct nbd_address *a, const char *name, const struct block_option_set *options, struct error *err)
{
    *a = (struct nbd_address){ 0 };
    int r = !name ? 0 : strstr(name, "://") ? uri_parse(a, name, err) : old_name_parse(a, name, err);
    if (r || options_take(a, options, err))
        return -1;
    a->tls |= a->tls_creds != NULL;
    if (!a->export && !(a->export = strdup("")))
        return out_of_memory(err);
    if (strlen(a->export) > NBD_STRING_MAX)
        return error_set(err, "the name of the export is longer than %d bytes", NBD_STRING_MAX);
    if (a->context && strlen(a->context) > NBD_STRING_MAX)
        return error_set(err, "x-dirty-bitmap is longer than %d bytes", NBD_STRING_MAX);
    if (a->path && a->host && *a->host)
        return error_set(err, "a unix socket and a host: give one of them");
    if (!a->path && (!a->host || !*a->host) && text_set(&a->host, "localhost", 9, err))
        return -1;
    if (!a->path && !a->port && text_set(&a->port, "10809", 5, err))
        return -1;
    return 0;
}

void nbd_address_free(struct nbd_address *a)
{
    free(a->path);
    free(a->host);
    free(a->port);
    free(a->export);
    free(a->tls_creds);
    free(a->tls_hostname);
    free(a->context);
    free(a->tls_directory);
    *a = (struct nbd_address){ 0 };
}

/* 0 or -errno. */
static int connect_within(int fd, const struct sockaddr *address, socklen_t length, int within_ms)
{
    int why = 0, flags = fcntl(fd, F_GETFL);
    socklen_t size = sizeof(why);
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    if (connect(fd, address, length)) {
        if (errno != EINPROGRESS)
            return -errno;
        int r = poll(&p, 1, within_ms);
        if (r <= 0)
            return r ? -errno : -ETIMEDOUT;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size) || why)
            return why ? -why : -errno;
    }
    fcntl(fd, F_SETFL, flags);
    return 0;
}

static int unix_connect(const struct nbd_address *a, int within_ms, struct error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(a->path) >= sizeof(address.sun_path))
        return error_set(err, "the path of the socket is longer than %zu bytes", sizeof(address.sun_path) - 1);
    strcpy(address.sun_path, a->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r = fd < 0 ? -errno :
             connect_within(fd, (struct sockaddr *)&address, sizeof(address), within_ms);
    if (!r)
        return fd;
    if (fd >= 0)
        close(fd);
    return error_set(err, "cannot connect to '%s': %s%s", a->path, strerror(-r),
                     r == -ECONNREFUSED || r == -ENOENT ? "; is the server running?" : "");
}

int nbd_address_connect(const struct nbd_address *a, int within_ms, struct error *err)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    const int on = 1;
    struct addrinfo *all;
    int fd = -1, why = -ENOENT;
    if (a->path)
        return unix_connect(a, within_ms, err);
    int r = getaddrinfo(a->host, a->port, &hints, &all);
    if (r)
        return error_set(err, "cannot find '%s' port '%s': %s", a->host, a->port, gai_strerror(r));
    for (struct addrinfo *x = all; x && fd < 0; x = x->ai_next) {
        fd = socket(x->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        why = fd < 0 ? -errno : connect_within(fd, x->ai_addr, x->ai_addrlen, within_ms);
        if (why && fd >= 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(all);
    if (fd < 0)
        return error_set(err, "cannot connect to '%s' port %s: %s", a->host, a->port, strerror(-why));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    return fd;
}
