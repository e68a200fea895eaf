/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's side of NBD's fixed newstyle negotiation: TLS, structured replies, base:allocation, and the export by GO, or by
 * EXPORT_NAME where the server knows no better. Replies are limited in number and length; the socket has a timeout.
 * Source: proto.md of the NetworkBlockDevice project.
 */
#include "block/nbd_handshake.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "block/nbd_wire.h"

enum { BLOCK_MAX = 65536 };

static int lost(int r, struct error *err)
{
    return error_set(err, "the server %s during the handshake", r == -ESHUTDOWN || r == -ECONNRESET ? "hung up" :
                     r == -ETIMEDOUT ? "did not answer" : "broke the connection");
}

int nbd_option_send(struct nbd_stream *s, enum nbd_option option, const void *data, size_t length, struct error *err)
{
    struct nbd_wire_option o = { be64_make(NBD_MAGIC_OPTION), be32_make(option), be32_make((uint32_t)length) };
    struct iovec iov[2] = { { &o, sizeof(o) }, { (void *)(uintptr_t)data, length } };
    int r = nbd_stream_sendv(s, iov, length ? 2 : 1);
    return r ? lost(r, err) : 0;
}

int nbd_answer_get(struct nbd_stream *s, enum nbd_option option, struct nbd_answer *reply, struct error *err)
{
    struct nbd_wire_option_reply h;
    int r = nbd_stream_recv(s, &h, sizeof(h));
    if (r)
        return lost(r, err);
    if (be64_get(h.magic) != NBD_MAGIC_OPTION_REPLY || be32_get(h.option) != (uint32_t)option)
        return error_set(err, "the server answers something else than it was asked");
    reply->type = be32_get(h.reply);
    reply->length = be32_get(h.length);
    if (reply->length > NBD_ANSWER_MAX)
        return error_set(err, "the server answers with %u bytes, more than %d", reply->length, NBD_ANSWER_MAX);
    r = reply->length ? nbd_stream_recv(s, reply->data, reply->length) : 0;
    reply->data[reply->length] = 0;
    return r ? lost(r, err) : 0;
}

static bool is_refusal(const struct nbd_answer *r)
{
    return r->type & 0x80000000u;
}

/* Words of the server, made fit for a terminal. */
static int refused(const struct nbd_address *a, struct nbd_answer *r, struct error *err)
{
    for (uint32_t i = 0; i < r->length; i++)
        if (r->data[i] < 32 || r->data[i] > 126)
            r->data[i] = '?';
    if (r->type == NBD_REP_ERR_TLS_REQD)
        return error_set(err, "the server wants TLS; use nbds://, or tls-creds= in options");
    if (r->type == NBD_REP_ERR_UNKNOWN)
        return error_set(err, "the server has no export '%.200s'; list them with 'nbdinfo --list'", a->export);
    return error_set(err, "the server refuses the export '%.100s'%s%.200s", a->export, r->length ? ": " : "",
                     (const char *)r->data);
}

static int greeting_get(struct nbd_stream *s, uint16_t *flags, struct error *err)
{
    struct nbd_wire_greeting g;
    int r = nbd_stream_recv(s, &g, sizeof(g.magic) + sizeof(g.option_magic));
    if (r)
        return lost(r, err);
    if (be64_get(g.magic) != NBD_MAGIC_INIT)
        return error_set(err, "what answers there is no NBD server");
    if (be64_get(g.option_magic) != NBD_MAGIC_OPTION)
        return error_set(err, "the server speaks the old-style handshake only, which is not supported");
    r = nbd_stream_recv(s, &g.flags, sizeof(g.flags));
    if (r)
        return lost(r, err);
    *flags = be16_get(g.flags);
    const be32 answer = be32_make(*flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES));
    r = nbd_stream_send(s, &answer, sizeof(answer));
    return r ? lost(r, err) : 0;
}

static int tls_start(struct nbd_stream *s, const struct nbd_address *a, struct nbd_tls *tls, struct nbd_answer *reply,
                     struct error *err)
{
    const char *name = a->tls_hostname ? a->tls_hostname : a->host ? a->host : "localhost";
    if (nbd_option_send(s, NBD_OPT_STARTTLS, NULL, 0, err) || nbd_answer_get(s, NBD_OPT_STARTTLS, reply, err))
        return -1;
    if (reply->type != NBD_REP_ACK)
        return error_set(err, "the server has no TLS; without it use nbd:// and no tls-creds");
    return nbd_stream_tls(s, tls, name, err);
}

/* 1: yes, 0: the server does not know it. */
static int structured_ask(struct nbd_stream *s, const struct nbd_address *a, struct nbd_answer *reply, struct error *err)
{
    if (nbd_option_send(s, NBD_OPT_STRUCTURED_REPLY, NULL, 0, err) || nbd_answer_get(s, NBD_OPT_STRUCTURED_REPLY, reply, err))
        return -1;
    if (reply->type == NBD_REP_ERR_TLS_REQD)
        return refused(a, reply, err);
    return reply->type == NBD_REP_ACK;
}

size_t nbd_name_put(uint8_t *to, const char *name)
{
    const be32 length = be32_make((uint32_t)strlen(name));
    memcpy(to, &length, sizeof(length));
    memcpy(to + sizeof(length), name, strlen(name));
    return sizeof(length) + strlen(name);
}

static int context_ask(struct nbd_stream *s, const struct nbd_address *a, struct nbd_export_facts *f, struct nbd_answer *reply,
                       struct error *err)
{
    const char *context = a->context ? a->context : "base:allocation";
    size_t length = strlen(context);
    uint8_t data[2 * NBD_STRING_MAX + 64];
    const be32 one = be32_make(1);
    be32 id;
    size_t n = nbd_name_put(data, a->export);
    memcpy(data + n, &one, sizeof(one));
    n += sizeof(one);
    n += nbd_name_put(data + n, context);
    if (nbd_option_send(s, NBD_OPT_SET_META_CONTEXT, data, n, err))
        return -1;
    for (unsigned i = 0; i < NBD_ANSWERS_MAX; i++) {
        if (nbd_answer_get(s, NBD_OPT_SET_META_CONTEXT, reply, err))
            return -1;
        if (reply->type != NBD_REP_META_CONTEXT)    /* the end, or a refusal: then there are none */
            return f->allocation || !a->context ? 0 : error_set(err, "x-dirty-bitmap: the server has no context '%.200s'", context);
        if (reply->length != sizeof(id) + length || memcmp(reply->data + sizeof(id), context, length))
            continue;
        memcpy(&id, reply->data, sizeof(id));
        f->allocation_id = be32_get(id);
        f->allocation = true;
    }
    return error_set(err, "the server does not stop naming contexts");
}

static int info_take(const struct nbd_answer *r, struct nbd_export_facts *f, struct error *err)
{
    struct { be16 type; be64 size; be16 flags; } __attribute__((packed)) x;
    struct { be16 type; be32 min, preferred, max; } __attribute__((packed)) b;
    be16 type;
    if (r->length < sizeof(type))
        return error_set(err, "the server describes the export in %u bytes", r->length);
    memcpy(&type, r->data, sizeof(type));
    if (be16_get(type) == NBD_INFO_EXPORT && r->length == sizeof(x)) {
        memcpy(&x, r->data, sizeof(x));
        f->size = be64_get(x.size);
        f->flags = be16_get(x.flags);
    } else if (be16_get(type) == NBD_INFO_BLOCK_SIZE && r->length == sizeof(b)) {
        memcpy(&b, r->data, sizeof(b));
        f->min_block = be32_get(b.min);
        f->max_block = be32_get(b.max);
        if (!f->min_block || f->min_block > BLOCK_MAX || f->min_block & (f->min_block - 1) || f->max_block < f->min_block)
            return error_set(err, "the server wants blocks of %u to %u bytes", f->min_block, f->max_block);
    }
    return 0;
}

/* 1: done, 0: the server does not know GO. */
static int go(struct nbd_stream *s, const struct nbd_address *a, struct nbd_export_facts *f, struct nbd_answer *reply,
              struct error *err)
{
    uint8_t data[NBD_STRING_MAX + 64];
    const struct { be16 count, info; } __attribute__((packed)) wants = { be16_make(1), be16_make(NBD_INFO_BLOCK_SIZE) };
    size_t n = nbd_name_put(data, a->export);
    memcpy(data + n, &wants, sizeof(wants));
    if (nbd_option_send(s, NBD_OPT_GO, data, n + sizeof(wants), err))
        return -1;
    f->size = UINT64_MAX;
    for (unsigned i = 0; i < NBD_ANSWERS_MAX; i++) {
        if (nbd_answer_get(s, NBD_OPT_GO, reply, err))
            return -1;
        if (reply->type == NBD_REP_ACK)
            return f->size != UINT64_MAX ? 1 : error_set(err, "the server does not say how large the export is");
        if (reply->type == NBD_REP_ERR_UNSUP)
            return 0;
        if (is_refusal(reply))
            return refused(a, reply, err);
        if (reply->type == NBD_REP_INFO && info_take(reply, f, err))
            return -1;
    }
    return error_set(err, "the server does not stop describing the export");
}

static int export_name(struct nbd_stream *s, const struct nbd_address *a, bool no_zeroes, struct nbd_export_facts *f,
                       struct error *err)
{
    struct { be64 size; be16 flags; } __attribute__((packed)) x;
    if (nbd_option_send(s, NBD_OPT_EXPORT_NAME, a->export, strlen(a->export), err))
        return -1;
    int r = nbd_stream_recv(s, &x, sizeof(x));
    if (!r && !no_zeroes)
        r = nbd_stream_skip(s, 124);
    if (r)
        return error_set(err, "the server hung up: most likely it has no export '%.200s'", a->export);
    f->size = be64_get(x.size);
    f->flags = be16_get(x.flags);
    return 0;
}

int nbd_handshake_begin(struct nbd_stream *s, const struct nbd_address *a, struct nbd_tls *tls, struct nbd_answer *reply,
                        struct nbd_greeting *g, struct error *err)
{
    uint16_t flags = 0;
    *g = (struct nbd_greeting){ .fixed = false };
    if (greeting_get(s, &flags, err))
        return -1;
    g->fixed = flags & NBD_FLAG_FIXED_NEWSTYLE;
    g->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
    if (tls && (g->fixed ? tls_start(s, a, tls, reply, err) : error_set(err, "the server has no TLS")))
        return -1;
    int r = g->fixed ? structured_ask(s, a, reply, err) : 0;
    g->structured = r > 0;
    return r < 0 ? -1 : 0;
}

static int negotiate(struct nbd_stream *s, const struct nbd_address *a, struct nbd_tls *tls, struct nbd_export_facts *f,
                     struct nbd_answer *reply, struct error *err)
{
    struct nbd_greeting g;
    int r = nbd_handshake_begin(s, a, tls, reply, &g, err);
    if (r)
        return -1;
    f->structured = g.structured;
    if (g.fixed) {
        if (g.structured)
            r = context_ask(s, a, f, reply, err);
        else if (a->context)
            r = error_set(err, "x-dirty-bitmap: the server has no structured replies");
        if (r >= 0)
            r = go(s, a, f, reply, err);
        if (r)
            return r < 0 ? -1 : 0;
    }
    return export_name(s, a, g.no_zeroes, f, err);
}

int nbd_handshake(struct nbd_stream *s, const struct nbd_address *a, struct nbd_tls *tls, struct nbd_export_facts *f,
                  struct error *err)
{
    struct nbd_answer *reply = malloc(sizeof(*reply));
    *f = (struct nbd_export_facts){ .min_block = 1, .max_block = NBD_PAYLOAD_MAX };
    if (!reply)
        return error_set(err, "out of memory");
    int r = negotiate(s, a, tls, f, reply, err);
    free(reply);
    if (!r && f->size > INT64_MAX)
        return error_set(err, "the server says that the export has %llu bytes", (unsigned long long)f->size);
    f->max_block = MIN(f->max_block, (uint32_t)NBD_PAYLOAD_MAX) & ~(f->min_block - 1);
    return r;
}
