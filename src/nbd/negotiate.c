/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handshake, fixed newstyle: greeting, client flags, then options until one of them starts the transmission.
 *
 * An option's data are at most OPTION_MAX bytes, longer ones are skipped and refused; the number of options is limited
 * and server.c watches the time, so that nobody negotiates for ever. With TLS in the server's options, nothing but
 * STARTTLS and ABORT is answered before TLS runs, and what the client has chosen before is forgotten (a man in the
 * middle may have put it there). Source: proto.md, "Fixed newstyle negotiation" and "Option types".
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/nbd_wire.h"
#include "nbd/client_private.h"

enum { OPTION_MAX = 16384, OPTIONS = 1000, HELD = 512 };
enum step { STEP_ON, STEP_SERVE, STEP_END };

struct option {
    struct nbd_client *c;
    uint32_t number, length;
    struct error *err;
    size_t held_length;
    uint8_t held[HELD];             /* replies that others follow */
    uint8_t data[OPTION_MAX + 1];   /* length bytes and a NUL */
};

static enum step io_failed(struct option *o, int r)
{
    if (r == -ESHUTDOWN || r == -ECONNRESET || r == -EPIPE)
        o->err->text[0] = 0;
    else
        error_set(o->err, "the connection failed in the handshake: %s", strerror(-r));
    return STEP_END;
}

/* After these the option's answer is not complete. */
static bool goes_on(uint32_t type)
{
    return type == NBD_REP_SERVER || type == NBD_REP_INFO || type == NBD_REP_META_CONTEXT;
}

/* Small replies wait for the last one, so that one call sends them all and wakes the client once. */
static enum step reply(struct option *o, uint32_t type, const void *data, size_t length)
{
    struct nbd_wire_option_reply head = { be64_make(NBD_MAGIC_OPTION_REPLY), be32_make(o->number), be32_make(type),
                                          be32_make((uint32_t)length) };
    if (goes_on(type) && sizeof(head) + length <= HELD - o->held_length) {
        memcpy(o->held + o->held_length, &head, sizeof(head));
        memcpy(o->held + o->held_length + sizeof(head), data, length);
        o->held_length += sizeof(head) + length;
        return STEP_ON;
    }
    struct iovec iov[3] = { { o->held, o->held_length }, { &head, sizeof(head) }, { (void *)(uintptr_t)data, length } };
    int r = nbd_stream_sendv(&o->c->stream, iov, length ? 3 : 2);
    o->held_length = 0;
    return r ? io_failed(o, r) : STEP_ON;
}

static enum step refuse(struct option *o, uint32_t type, const char *why)
{
    return reply(o, type, why, strlen(why));
}

uint16_t nbd_client_flags(const struct nbd_client *c, const struct nbd_export *x)
{
    unsigned flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE;
    if (x->readonly)
        flags |= NBD_FLAG_READ_ONLY;
    else
        flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES;
    /* All connections share the node, so a flush on one covers the others; but who can't have two shouldn't try. */
    if (x->readonly || c->server->options.clients_max != 1)
        flags |= NBD_FLAG_CAN_MULTI_CONN;
    if (c->structured)
        flags |= NBD_FLAG_SEND_DF;
    return (uint16_t)flags;
}

static enum step option_export_name(struct option *o)
{
    struct nbd_client *c = o->c;
    struct nbd_export *x = nbd_server_export_find(c->server, (char *)o->data, o->length);
    if (!x) {                       /* this option has no error reply */
        error_set(o->err, "a client wants the export '%.80s', which is not here", o->data);
        return STEP_END;
    }
    struct { be64 size; be16 flags; uint8_t zeroes[124]; } __attribute__((packed)) answer = {
        be64_make(nbd_export_size(x)), be16_make(nbd_client_flags(c, x)), { 0 },
    };
    int r = nbd_stream_send(&c->stream, &answer, c->no_zeroes ? 10 : sizeof(answer));
    if (r)
        return io_failed(o, r);
    c->export = x;
    return STEP_SERVE;
}

static enum step option_abort(struct option *o)
{
    o->err->text[0] = 0;
    reply(o, NBD_REP_ACK, NULL, 0);
    return STEP_END;
}

static enum step option_list(struct option *o)
{
    if (o->length)
        return refuse(o, NBD_REP_ERR_INVALID, "NBD_OPT_LIST has no data");
    enum step step = STEP_ON;
    for (struct nbd_export *x = o->c->server->exports; x && step == STEP_ON; x = x->next) {
        size_t name = strlen(x->name), words = x->description ? strlen(x->description) : 0;
        uint8_t item[4 + 2 * NBD_STRING_MAX];
        be32 length = be32_make((uint32_t)name);
        memcpy(item, &length, 4);
        memcpy(item + 4, x->name, name);
        if (words)
            memcpy(item + 4 + name, x->description, words);
        step = reply(o, NBD_REP_SERVER, item, 4 + name + words);
    }
    return step == STEP_ON ? reply(o, NBD_REP_ACK, NULL, 0) : step;
}

static enum step option_starttls(struct option *o)
{
    struct nbd_client *c = o->c;
    if (o->length)
        return refuse(o, NBD_REP_ERR_INVALID, "NBD_OPT_STARTTLS has no data");
    if (!c->server->options.tls)
        return refuse(o, NBD_REP_ERR_POLICY, "this server has no TLS");
    if (c->stream.tls)
        return refuse(o, NBD_REP_ERR_INVALID, "TLS is running already");
    enum step step = reply(o, NBD_REP_ACK, NULL, 0);
    if (step == STEP_ON && nbd_stream_tls(&c->stream, c->server->options.tls, NULL, o->err))
        step = STEP_END;
    c->structured = false;
    c->contexts = 0;
    return step;
}

static enum step option_structured(struct option *o)
{
    if (o->length)
        return refuse(o, NBD_REP_ERR_INVALID, "NBD_OPT_STRUCTURED_REPLY has no data");
    o->c->structured = true;
    return reply(o, NBD_REP_ACK, NULL, 0);
}

/* A string with its length in front, from *at on. NULL when it does not fit. */
static const char *string_take(const struct option *o, size_t *at, size_t *length)
{
    be32 n;
    if (o->length - *at < 4)
        return NULL;
    memcpy(&n, o->data + *at, 4);
    *length = be32_get(n);
    *at += 4;
    if (*length > NBD_STRING_MAX || *length > o->length - *at)
        return NULL;
    const char *text = (const char *)o->data + *at;
    *at += *length;
    return text;
}

static enum step info_send(struct option *o, enum nbd_info kind, const struct nbd_export *x)
{
    uint8_t data[2 + NBD_STRING_MAX];
    be16 type = be16_make((uint16_t)kind);
    size_t length = 2;
    memcpy(data, &type, 2);
    if (kind == NBD_INFO_EXPORT) {
        be64 size = be64_make(nbd_export_size(x));
        be16 flags = be16_make(nbd_client_flags(o->c, x));
        memcpy(data + 2, &size, 8);
        memcpy(data + 10, &flags, 2);
        length = 12;
    } else if (kind == NBD_INFO_BLOCK_SIZE) {
        const be32 sizes[3] = { be32_make(1), be32_make(4096), be32_make(NBD_PAYLOAD_MAX) };
        memcpy(data + 2, sizes, 12);
        length = 14;
    } else {
        const char *text = kind == NBD_INFO_NAME ? x->name : x->description;
        if (!text)
            return STEP_ON;
        length += strlen(text);
        memcpy(data + 2, text, length - 2);
    }
    return reply(o, NBD_REP_INFO, data, length);
}

/* INFO and GO: name, then how many kinds of information and which. The size comes unasked. */
static enum step option_info(struct option *o)
{
    size_t at = 0, length = 0;
    const char *name = string_take(o, &at, &length);
    be16 count, kind;
    if (!name || o->length - at < 2)
        return refuse(o, NBD_REP_ERR_INVALID, "the export's name does not fit into the option");
    memcpy(&count, o->data + at, 2);
    at += 2;
    if (o->length - at != 2u * be16_get(count))
        return refuse(o, NBD_REP_ERR_INVALID, "the number of information requests does not fit the option");
    struct nbd_export *x = nbd_server_export_find(o->c->server, name, length);
    if (!x)
        return refuse(o, NBD_REP_ERR_UNKNOWN, "no such export");
    unsigned asked = 0;
    for (; at < o->length; at += 2) {
        memcpy(&kind, o->data + at, 2);
        if (be16_get(kind) <= NBD_INFO_BLOCK_SIZE)
            asked |= 1u << be16_get(kind);
    }
    enum step step = STEP_ON;
    static const enum nbd_info order[] = { NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE, NBD_INFO_EXPORT };
    for (size_t i = 0; i < ARRAY_SIZE(order) && step == STEP_ON; i++)
        if (order[i] == NBD_INFO_EXPORT || order[i] == NBD_INFO_BLOCK_SIZE || asked >> order[i] & 1)
            step = info_send(o, order[i], x);
    if (step == STEP_ON)
        step = reply(o, NBD_REP_ACK, NULL, 0);
    if (step != STEP_ON || o->number == NBD_OPT_INFO)
        return step;
    o->c->export = x;
    if (o->c->context_export != x)
        o->c->contexts = 0;
    return STEP_SERVE;
}

bool nbd_context_is_shown(const struct nbd_export *x, enum nbd_context which)
{
    return which == NBD_CONTEXT_ALLOCATION || (which == NBD_CONTEXT_BITMAP ? x->bitmap != NULL : x->depth);
}

static void context_name(const struct nbd_export *x, enum nbd_context which, char *name, size_t room)
{
    if (which != NBD_CONTEXT_BITMAP)
        snprintf(name, room, "%s", which == NBD_CONTEXT_ALLOCATION ? "base:allocation" : "qemu:allocation-depth");
    else
        snprintf(name, room, NBD_CONTEXT_BITMAP_PREFIX "%s", x->bitmap);
}

static enum step context_send(struct option *o, const struct nbd_export *x, enum nbd_context which, bool list)
{
    uint8_t data[4 + NBD_STRING_MAX];
    be32 wire = be32_make(list ? 0 : which);
    memcpy(data, &wire, 4);
    context_name(x, which, (char *)data + 4, sizeof(data) - 4);
    return reply(o, NBD_REP_META_CONTEXT, data, 4 + strlen((char *)data + 4));
}

/* Which contexts a query means; a name space alone is a question what there is. */
static unsigned query_match(const struct nbd_export *x, const char *query, size_t length, bool list)
{
    static const char *const spaces[][2] = {
        [NBD_CONTEXT_ALLOCATION] = { "base:", "base:" }, [NBD_CONTEXT_BITMAP] = { "qemu:", NBD_CONTEXT_BITMAP_PREFIX },
        [NBD_CONTEXT_DEPTH] = { "qemu:", "qemu:" },
    };
    char name[NBD_STRING_MAX];
    unsigned found = 0;
    for (unsigned i = NBD_CONTEXT_ALLOCATION; i <= NBD_CONTEXT_DEPTH; i++) {
        if (!nbd_context_is_shown(x, i))
            continue;
        context_name(x, i, name, sizeof(name));
        bool same = length == strlen(name) && !memcmp(query, name, length);
        for (size_t k = 0; list && !same && k < 2; k++)
            same = length == strlen(spaces[i][k]) && !memcmp(query, spaces[i][k], length);
        found |= same ? 1u << i : 0;
    }
    return found;
}

/* LIST and SET_META_CONTEXT: export name, number of queries, queries. Unknown contexts are passed over. */
static enum step option_context(struct option *o)
{
    struct nbd_client *c = o->c;
    bool list = o->number == NBD_OPT_LIST_META_CONTEXT;
    unsigned found = 0;
    size_t at = 0, length = 0;
    be32 count;
    if (!list)
        c->contexts = 0;
    if (!c->structured)
        return refuse(o, NBD_REP_ERR_INVALID, "structured replies come first");
    const char *name = string_take(o, &at, &length);
    if (!name || o->length - at < 4)
        return refuse(o, NBD_REP_ERR_INVALID, "the export's name does not fit into the option");
    struct nbd_export *x = nbd_server_export_find(c->server, name, length);
    memcpy(&count, o->data + at, 4);
    at += 4;
    for (uint32_t i = 0; i < be32_get(count); i++) {
        const char *query = string_take(o, &at, &length);
        if (!query)
            return refuse(o, NBD_REP_ERR_INVALID, "the queries do not fit into the option");
        found |= x ? query_match(x, query, length, list) : 0;
    }
    if (at != o->length)
        return refuse(o, NBD_REP_ERR_INVALID, "there is more than the queries in the option");
    if (!x)
        return refuse(o, NBD_REP_ERR_UNKNOWN, "no such export");
    for (unsigned i = NBD_CONTEXT_ALLOCATION; list && !be32_get(count) && i <= NBD_CONTEXT_DEPTH; i++)
        found |= nbd_context_is_shown(x, i) ? 1u << i : 0;
    enum step step = STEP_ON;
    for (unsigned which = NBD_CONTEXT_ALLOCATION; which <= NBD_CONTEXT_DEPTH && step == STEP_ON; which++)
        if (found >> which & 1)
            step = context_send(o, x, which, list);
    if (!list) {
        c->contexts = found;
        c->context_export = x;
    }
    return step == STEP_ON ? reply(o, NBD_REP_ACK, NULL, 0) : step;
}

static const struct { uint32_t number; enum step (*run)(struct option *o); } options[] = {
    { NBD_OPT_EXPORT_NAME, option_export_name }, { NBD_OPT_ABORT, option_abort }, { NBD_OPT_LIST, option_list },
    { NBD_OPT_STARTTLS, option_starttls }, { NBD_OPT_INFO, option_info }, { NBD_OPT_GO, option_info },
    { NBD_OPT_STRUCTURED_REPLY, option_structured }, { NBD_OPT_LIST_META_CONTEXT, option_context },
    { NBD_OPT_SET_META_CONTEXT, option_context },
};

static enum step option_run(struct option *o)
{
    if (o->c->server->options.tls && !o->c->stream.tls && o->number != NBD_OPT_STARTTLS && o->number != NBD_OPT_ABORT) {
        if (o->number != NBD_OPT_EXPORT_NAME)
            return refuse(o, NBD_REP_ERR_TLS_REQD, "this server wants TLS first");
        error_set(o->err, "a client tried to go without TLS");
        return STEP_END;
    }
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (options[i].number == o->number)
            return options[i].run(o);
    return refuse(o, NBD_REP_ERR_UNSUP, "no such option here");
}

static enum step option_receive(struct option *o)
{
    struct nbd_wire_option head;
    struct nbd_stream *s = &o->c->stream;
    int r = nbd_stream_recv(s, &head, sizeof(head));
    if (r)
        return io_failed(o, r);
    if (be64_get(head.magic) != NBD_MAGIC_OPTION) {
        error_set(o->err, "a client sent something that is no NBD option");
        return STEP_END;
    }
    o->number = be32_get(head.option);
    o->length = be32_get(head.length);
    if (o->length > OPTION_MAX) {
        if (o->length > NBD_PAYLOAD_MAX || o->number == NBD_OPT_EXPORT_NAME) {
            error_set(o->err, "a client sent an option of %u bytes", o->length);
            return STEP_END;
        }
        r = nbd_stream_skip(s, o->length);
        return r ? io_failed(o, r) : refuse(o, NBD_REP_ERR_TOO_BIG, "the option is too long");
    }
    r = o->length ? nbd_stream_recv(s, o->data, o->length) : 0;
    if (r)
        return io_failed(o, r);
    o->data[o->length] = 0;
    return option_run(o);
}

int nbd_client_greet(struct nbd_client *c)
{
    const struct nbd_wire_greeting hello = { be64_make(NBD_MAGIC_INIT), be64_make(NBD_MAGIC_OPTION),
                                             be16_make(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES) };
    return nbd_stream_send(&c->stream, &hello, sizeof(hello));
}

int nbd_client_negotiate(struct nbd_client *c, struct error *err)
{
    struct option o;                /* large: what is not set here is not looked at */
    be32 flags;
    o.c = c;
    o.err = err;
    o.held_length = 0;
    err->text[0] = 0;
    int r = nbd_stream_recv(&c->stream, &flags, sizeof(flags));
    if (r) {
        io_failed(&o, r);
    } else if (be32_get(flags) & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) {
        r = error_set(err, "a client sent unknown flags: 0x%x", be32_get(flags));
    } else {
        enum step step = STEP_ON;
        c->no_zeroes = be32_get(flags) & NBD_FLAG_NO_ZEROES;
        for (unsigned i = 0; i < OPTIONS && step == STEP_ON; i++)
            step = option_receive(&o);
        if (step == STEP_ON)
            error_set(err, "a client went on negotiating");
        r = step == STEP_SERVE ? 0 : -1;
    }
    return r ? -1 : 0;
}
