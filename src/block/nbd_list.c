/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Listing a server's exports: LIST for names and descriptions, then for each of them INFO and LIST_META_CONTEXT; none is chosen. A
 * server that does not know INFO leaves size and flags out. The server is a stranger: so many exports, contexts, answers and bytes, no more.
 * Source: proto.md of the NetworkBlockDevice project.
 */
#include "block/nbd_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "block/nbd_deadline.h"
#include "block/nbd_handshake.h"

const struct nbd_flag_name nbd_flag_names[] = {
    { NBD_FLAG_READ_ONLY, "readonly" }, { NBD_FLAG_SEND_FLUSH, "flush" }, { NBD_FLAG_SEND_FUA, "fua" },
    { NBD_FLAG_ROTATIONAL, "rotational" }, { NBD_FLAG_SEND_TRIM, "trim" }, { NBD_FLAG_SEND_WRITE_ZEROES, "zeroes" },
    { NBD_FLAG_SEND_DF, "df" }, { NBD_FLAG_CAN_MULTI_CONN, "multi" }, { NBD_FLAG_SEND_RESIZE, "resize" },
    { NBD_FLAG_SEND_CACHE, "cache" }, { NBD_FLAG_SEND_FAST_ZERO, "fast-zero" }, { 0, NULL },
};

static char *text_take(const uint8_t *data, size_t length)
{
    char *text = malloc(length + 1);
    for (size_t i = 0; text && i < length; i++)
        text[i] = data[i] < 32 || data[i] == 127 ? '?' : (char)data[i];
    if (text)
        text[length] = 0;
    return text;
}

/* Answer a is to be kept. */
static int room_take(struct nbd_list *l, const struct nbd_answer *a, struct error *err)
{
    l->bytes += a->length;
    return l->bytes <= NBD_LIST_BYTES_MAX ? 0 : error_set(err, "the server says more than %d MiB about its exports", NBD_LIST_BYTES_MAX >> 20);
}

static int export_take(struct nbd_list *l, const struct nbd_answer *a, struct error *err)
{
    be32 raw = be32_make(0);
    memcpy(&raw, a->data, MIN(sizeof(raw), (size_t)a->length));
    uint32_t name = be32_get(raw);
    if (a->length < sizeof(raw) || name > a->length - sizeof(raw) || name > NBD_STRING_MAX)
        return error_set(err, "the server names an export in %u bytes, which cannot be", a->length);
    if (l->count == NBD_LIST_MAX)
        return error_set(err, "the server has more than %d exports", NBD_LIST_MAX);
    if (room_take(l, a, err))
        return -1;
    struct nbd_listed *more = realloc(l->export, (l->count + 1) * sizeof(*more));
    if (!more)
        return error_set(err, "out of memory");
    l->export = more;
    struct nbd_listed *e = &more[l->count++];
    *e = (struct nbd_listed){ .name = text_take(a->data + sizeof(raw), name),
                              .description = text_take(a->data + sizeof(raw) + name, a->length - sizeof(raw) - name) };
    return e->name && e->description ? 0 : error_set(err, "out of memory");
}

static int names_get(struct nbd_stream *s, struct nbd_list *l, struct nbd_answer *a, struct error *err)
{
    if (nbd_option_send(s, NBD_OPT_LIST, NULL, 0, err))
        return -1;
    for (;;) {
        if (nbd_answer_get(s, NBD_OPT_LIST, a, err))
            return -1;
        if (a->type == NBD_REP_ACK)
            return 0;
        if (a->type == NBD_REP_ERR_TLS_REQD)
            return error_set(err, "the server wants TLS; use --tls-creds");
        if (a->type != NBD_REP_SERVER)
            return error_set(err, "the server does not tell what it has");
        if (export_take(l, a, err))
            return -1;
    }
}

static void info_take(struct nbd_listed *e, const struct nbd_answer *a)
{
    struct { be16 type; be64 size; be16 flags; } __attribute__((packed)) x;
    struct { be16 type; be32 min, preferred, max; } __attribute__((packed)) b;
    be16 type = be16_make(0);
    memcpy(&type, a->data, MIN(sizeof(type), (size_t)a->length));
    if (a->length == sizeof(x) && be16_get(type) == NBD_INFO_EXPORT) {
        memcpy(&x, a->data, sizeof(x));
        e->described = true;
        e->size = be64_get(x.size);
        e->flags = be16_get(x.flags);
    } else if (a->length == sizeof(b) && be16_get(type) == NBD_INFO_BLOCK_SIZE) {
        memcpy(&b, a->data, sizeof(b));
        e->min_block = be32_get(b.min);
        e->preferred_block = be32_get(b.preferred);
        e->max_block = be32_get(b.max);
    }
}

/* Whatever the server answers but information ends it. */
static int info_get(struct nbd_stream *s, struct nbd_listed *e, struct nbd_answer *a, struct error *err)
{
    uint8_t data[NBD_STRING_MAX + 64];
    const struct { be16 count, info; } __attribute__((packed)) wants = { be16_make(1), be16_make(NBD_INFO_BLOCK_SIZE) };
    size_t n = nbd_name_put(data, e->name);
    memcpy(data + n, &wants, sizeof(wants));
    if (nbd_option_send(s, NBD_OPT_INFO, data, n + sizeof(wants), err))
        return -1;
    for (unsigned i = 0; i < NBD_ANSWERS_MAX; i++) {
        if (nbd_answer_get(s, NBD_OPT_INFO, a, err))
            return -1;
        if (a->type != NBD_REP_INFO)
            return 0;
        info_take(e, a);
    }
    return error_set(err, "the server does not stop describing '%.200s'", e->name);
}

static int context_take(struct nbd_list *l, struct nbd_listed *e, const struct nbd_answer *a, struct error *err)
{
    if (a->length < sizeof(be32) || e->contexts == NBD_LIST_CONTEXTS_MAX)
        return error_set(err, "the server's list of contexts is too long, or broken");
    if (room_take(l, a, err))
        return -1;
    char **more = realloc(e->context, (e->contexts + 1) * sizeof(*more));
    if (!more)
        return error_set(err, "out of memory");
    e->context = more;
    more[e->contexts] = text_take(a->data + sizeof(be32), a->length - sizeof(be32));
    return more[e->contexts++] ? 0 : error_set(err, "out of memory");
}

static int contexts_get(struct nbd_stream *s, struct nbd_list *l, struct nbd_listed *e, struct nbd_answer *a, struct error *err)
{
    uint8_t data[NBD_STRING_MAX + 64];
    const be32 none = be32_make(0);
    size_t n = nbd_name_put(data, e->name);
    memcpy(data + n, &none, sizeof(none));
    if (nbd_option_send(s, NBD_OPT_LIST_META_CONTEXT, data, n + sizeof(none), err))
        return -1;
    for (;;) {
        if (nbd_answer_get(s, NBD_OPT_LIST_META_CONTEXT, a, err))
            return -1;
        if (a->type != NBD_REP_META_CONTEXT)
            return 0;
        if (context_take(l, e, a, err))
            return -1;
    }
}

static int all_get(struct nbd_stream *s, const struct nbd_address *address, struct nbd_tls *tls, struct nbd_list *l,
                   struct nbd_answer *a, struct error *err)
{
    struct nbd_greeting g;
    if (nbd_handshake_begin(s, address, tls, a, &g, err))
        return -1;
    if (!g.fixed)
        return error_set(err, "the server is too old to tell what it has");
    int r = names_get(s, l, a, err);
    for (unsigned i = 0; !r && i < l->count; i++) {
        r = info_get(s, &l->export[i], a, err);
        if (!r && g.structured)
            r = contexts_get(s, l, &l->export[i], a, err);
    }
    if (!r)
        r = nbd_option_send(s, NBD_OPT_ABORT, NULL, 0, err);
    return r;
}

int nbd_list_get(struct nbd_list *l, const char *path, const char *host, const char *port, struct nbd_tls *tls,
                 const char *tls_hostname, unsigned within_ms, struct error *err)
{
    const struct timeval within = { .tv_sec = within_ms / 1000, .tv_usec = within_ms % 1000 * 1000 };
    struct nbd_deadline deadline;
    const struct nbd_address address = {
        .path = (char *)(uintptr_t)path, .host = (char *)(uintptr_t)host, .port = (char *)(uintptr_t)port,
        .export = (char *)(uintptr_t)"", .tls_hostname = (char *)(uintptr_t)tls_hostname,
    };
    *l = (struct nbd_list){ .count = 0 };
    struct nbd_stream *s = malloc(sizeof(*s));
    struct nbd_answer *a = malloc(sizeof(*a));
    int fd = s && a ? nbd_address_connect(&address, (int)within_ms, err) : error_set(err, "out of memory");
    int r = fd < 0 ? -1 : 0;
    if (!r) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &within, sizeof(within));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &within, sizeof(within));
        nbd_stream_init(s, fd);
        nbd_deadline_begin(&deadline, fd, within_ms);
        r = all_get(s, &address, tls, l, a, err);
        if (nbd_deadline_end(&deadline) && r)
            error_set(err, "the server did not come to an end within %u s", within_ms / 1000);
        nbd_stream_close(s);
    }
    free(a);
    free(s);
    return r;
}

void nbd_list_free(struct nbd_list *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        struct nbd_listed *e = &l->export[i];
        for (unsigned k = 0; k < e->contexts; k++)
            free(e->context[k]);
        free(e->context);
        free(e->name);
        free(e->description);
    }
    free(l->export);
    *l = (struct nbd_list){ .count = 0 };
}
