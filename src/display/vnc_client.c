/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One client: bytes in, messages carried out, bytes out. A message is looked at when it is there in full; none that
 * we keep is longer than a few kilobytes, clipboard text is skipped as it comes. A message of unknown kind or a length
 * that makes no sense ends the connection: there is no way to find the next one.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/loop.h"
#include "display/vnc_private.h"
#include "display/websocket.h"

enum { READ_BYTES = 16 << 10, ENCODINGS_MAX = 1024 };
enum { PSEUDO_DESKTOP_SIZE = -223, PSEUDO_CURSOR = -239, PSEUDO_COMPRESS_0 = -256, PSEUDO_COMPRESS_9 = -247, PSEUDO_POINTER_TYPE = -257,
       PSEUDO_EXT_KEY = -258, PSEUDO_EXT_SIZE = -308, PSEUDO_CLIPBOARD = (int)0xc0a1e5ce };

static unsigned u16(const uint8_t *p) { return (unsigned)p[0] << 8 | p[1]; }
static uint32_t u32(const uint8_t *p) { return (uint32_t)u16(p) << 16 | u16(p + 2); }

/* ---- messages ---- */

static void set_pixel_format(struct vnc_client *c, const uint8_t *data)
{
    if (vnc_format_set(&c->format, data + 4) < 0) {
        c->gone = true;
        return;
    }
    c->map_due = !c->format.true_color;
    vnc_dirty_mark(c, 0, 0, c->width, c->height);
}

static void encoding_note(struct vnc_client *c, int32_t e, bool *chosen)
{
    switch (e) {
    case ENC_RAW: case ENC_TIGHT: case ENC_ZRLE:
        if (!*chosen) c->encoding = e;
        *chosen = true;
        break;
    case PSEUDO_DESKTOP_SIZE: c->can_resize = true; break;
    case PSEUDO_EXT_SIZE: c->can_resize_ext = true; break;
    case PSEUDO_CURSOR: c->can_cursor = c->cursor_due = true; break;
    case PSEUDO_POINTER_TYPE: c->can_pointer_type = true; break;
    case PSEUDO_EXT_KEY: c->can_ext_key = true; break;
    case PSEUDO_CLIPBOARD: vnc_clipboard_known(c); break;
    default:
        if (e >= PSEUDO_COMPRESS_0 && e <= PSEUDO_COMPRESS_9) c->compress = e - PSEUDO_COMPRESS_0;
    }
}

static void set_encodings(struct vnc_client *c, const uint8_t *data)
{
    const struct surface *s = display_surface(c->server->display);
    bool chosen = false, had_ext_size = c->can_resize_ext;

    c->encoding = ENC_RAW;
    c->can_resize = c->can_resize_ext = c->can_cursor = c->can_pointer_type = c->can_ext_key = false;
    for (unsigned i = 0; i < u16(data + 2); i++) encoding_note(c, (int32_t)u32(data + 4 + 4 * i), &chosen);
    if (c->resize_due && !c->can_resize && !c->can_resize_ext && vnc_dirty_reset(c) < 0) c->gone = true;   /* it will not be told any more */
    if (c->can_resize_ext && !had_ext_size) vnc_size_tell(c, 0, 0);
    else if (c->can_resize && (c->told_width != s->width || c->told_height != s->height)) vnc_size_tell(c, 0, 0);
}

/* Answered when all is read that came with it: thousands of requests are no reason to make thousands of pictures. */
static void update_request(struct vnc_client *c, const uint8_t *data)
{
    c->wants = true;
    if (!data[1]) {
        vnc_dirty_mark(c, u16(data + 2), u16(data + 4), u16(data + 6), u16(data + 8));
        c->wants_whole = c->any_dirty;
    }
    vnc_interest_update(c->server);
}

static void key_event(struct vnc_client *c, const uint8_t *data) { vnc_key(c, data[1], u32(data + 4)); }
static void pointer_event(struct vnc_client *c, const uint8_t *data) { vnc_pointer(c, data[1], u16(data + 2), u16(data + 4)); }

static size_t step_message(struct vnc_client *c, const uint8_t *data, size_t size);

static size_t step_text(struct vnc_client *c, const uint8_t *data, size_t size)
{
    size = c->need;
    vnc_clipboard_take(c, c->text_is_extended, data, size);
    c->step = step_message;
    c->need = 1;
    return size;
}

/* Negative lengths are the extension's messages. */
static void cut_text(struct vnc_client *c, const uint8_t *data)
{
    size_t size;
    int wants = vnc_clipboard_wants(c, u32(data + 4), &size);

    if (wants < 0) c->gone = true;
    else if (!wants) c->skip = size;
    else {
        c->text_is_extended = u32(data + 4) >> 31;
        c->step = step_text;
        c->need = size;
    }
}

/* No lists of screens longer than one: we have one. */
static void set_desktop_size(struct vnc_client *c, const uint8_t *data)
{
    enum { FROM_CLIENT = 1, PROHIBITED = 1 };
    const struct display_input *input = display_input(c->server->display);
    unsigned width = u16(data + 2), height = u16(data + 4);

    if (!input->size_wish || !width || !height || data[6] != 1) {
        vnc_size_tell(c, FROM_CLIENT, PROHIBITED);
        return;
    }
    input->size_wish(input->opaque, width, height);
    vnc_size_tell(c, FROM_CLIENT, 0);
}

static void qemu_message(struct vnc_client *c, const uint8_t *data)
{
    vnc_key_extended(c, u16(data + 2), u32(data + 4), u32(data + 8));
}

/* ---- message lengths ---- */

static size_t encodings_length(const uint8_t *data, size_t size)
{
    if (size < 4) return 4;
    return u16(data + 2) > ENCODINGS_MAX ? 0 : 4 + 4 * (size_t)u16(data + 2);
}

static size_t desktop_size_length(const uint8_t *data, size_t size) { return size < 8 ? 8 : 8 + 16 * (size_t)data[6]; }

/* Of QEMU's messages only extended keys are known to clients that we answer. */
static size_t qemu_length(const uint8_t *data, size_t size)
{
    if (size < 2) return 2;
    return data[1] == 0 ? 12 : 0;
}

static const struct message {
    uint8_t type, bytes;
    size_t (*length)(const uint8_t *data, size_t size);          /* 0: it makes no sense */
    void (*handle)(struct vnc_client *c, const uint8_t *data);
} messages[] = {
    { 0, 20, NULL, set_pixel_format }, { 2, 0, encodings_length, set_encodings }, { 3, 10, NULL, update_request }, { 4, 8, NULL, key_event },
    { 5, 6, NULL, pointer_event }, { 6, 8, NULL, cut_text }, { 251, 0, desktop_size_length, set_desktop_size }, { 255, 0, qemu_length, qemu_message },
};

static size_t step_message(struct vnc_client *c, const uint8_t *data, size_t size)
{
    for (unsigned i = 0; i < ARRAY_SIZE(messages); i++) {
        const struct message *m = &messages[i];

        if (m->type != data[0]) continue;
        c->need = m->length ? m->length(data, size) : m->bytes;
        if (!c->need) break;
        if (size < c->need) return 0;
        size = c->need;
        c->need = 1;
        m->handle(c, data);
        return size;
    }
    c->gone = true;
    return 0;
}

void vnc_client_begin(struct vnc_client *c)
{
    c->ready = true;
    vnc_event_tell(c, VNC_INITIALIZED);
    c->step = step_message;
    c->need = 1;
    if (vnc_dirty_reset(c) < 0) c->gone = true;
    c->told_width = c->width;
    c->told_height = c->height;
}

/* ---- bytes ---- */

static void input_process(struct vnc_client *c)
{
    while (!c->gone && !c->closing && c->tls_due == c->tls_open) {
        size_t n = MIN(c->skip, bytes_size(&c->in));

        c->skip -= n;
        bytes_drop(&c->in, n);
        if (c->skip || bytes_size(&c->in) < c->need) return;
        n = c->step(c, c->in.data + c->in.at, bytes_size(&c->in));
        bytes_drop(&c->in, n);
    }
}

/* RFB's bytes become a frame in place: only what was added since. */
static void frame_put(struct vnc_client *c)
{
    size_t n = bytes_size(&c->out) - c->framed, head_size;
    uint8_t head[WEBSOCKET_HEAD_MAX], *start;

    if (!n) return;
    head_size = websocket_head(head, n);
    if (!bytes_grow(&c->out, head_size)) return;
    start = c->out.data + c->out.at + c->framed;
    memmove(start + head_size, start, n);
    memcpy(start, head, head_size);
    c->framed += n + head_size;
}

static void received(struct vnc_client *c, const uint8_t *data, size_t size)
{
    struct bytes reply = { 0 };

    if (!c->web) bytes_add(&c->in, data, size);
    else {
        bool was_open = vnc_web_is_open(c->web);

        if (vnc_web_receive(c->web, data, size, &c->in, &reply, bytes_size(&c->out)) < 0) c->closing = true;
        if (was_open) frame_put(c);
        if (bytes_size(&reply)) bytes_add(&c->out, reply.data + reply.at, bytes_size(&reply));
        c->framed += bytes_size(&reply);
        bytes_free(&reply);
        if (!was_open && vnc_web_is_open(c->web) && !c->closing) vnc_handshake_begin(c);
    }
    if (c->in.broken) c->gone = true;
    if (c->step) input_process(c);
}

/* A read, or with TLS several: what lies in GnuTLS's own buffers does not make a socket ready. */
static void input_read(struct vnc_client *c)
{
    uint8_t data[READ_BYTES];
    ssize_t n;

    do {
        n = c->tls_open ? vnc_tls_receive(c->tls, data, sizeof(data)) : recv(c->fd, data, sizeof(data), MSG_DONTWAIT);
        if (n > 0) received(c, data, (size_t)n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR)) c->gone = true;
    } while (n > 0 && !c->gone && !c->closing && c->tls_open && vnc_tls_has_more(c->tls));
}

/* True: the handshake is over since just now. */
static bool tls_go_on(struct vnc_client *c)
{
    int r = vnc_tls_handshake(c->tls);

    if (r < 0) c->gone = true;
    if (r <= 0) return false;
    c->tls_open = true;
    vnc_tls_opened(c);
    return true;
}

/* After the plain words are out. What is in came behind them: it is TLS's. */
static void tls_begin(struct vnc_client *c)
{
    c->tls = vnc_tls_new(c->server->config.tls, c->fd, c->in.data + c->in.at, bytes_size(&c->in));
    bytes_clear(&c->in);
    if (!c->tls) c->gone = true;
    else if (tls_go_on(c)) input_read(c);
}

static void socket_ready(void *opaque, int fd, unsigned events)
{
    struct vnc_client *c = opaque;
    struct vnc_server *s = c->server;

    if (c->tls && !c->tls_open) {
        if (tls_go_on(c)) input_read(c);
    } else if (events & LOOP_READ) input_read(c);
    else if (events & LOOP_HANGUP) c->gone = true;
    if (!c->gone) vnc_client_flush(c);
    if (!c->gone && c->ready && c->wants && !bytes_size(&c->out)) vnc_update_send(c);
    vnc_clients_sweep(s);
}

static void output_watch(struct vnc_client *c)
{
    if (c->tls && !c->tls_open) {
        loop_fd_watch(c->fd, vnc_tls_wants_write(c->tls) ? LOOP_WRITE : LOOP_READ, socket_ready, c);
        return;
    }
    loop_fd_watch(c->fd, LOOP_READ | (bytes_size(&c->out) ? LOOP_WRITE : 0), socket_ready, c);
}

void vnc_client_flush(struct vnc_client *c)
{
    if (c->web && vnc_web_is_open(c->web)) frame_put(c);
    while (bytes_size(&c->out)) {
        const uint8_t *data = c->out.data + c->out.at;
        ssize_t n = c->tls_open ? vnc_tls_send(c->tls, data, bytes_size(&c->out)) : send(c->fd, data, bytes_size(&c->out), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) c->gone = true;
        if (n <= 0) break;
        bytes_drop(&c->out, (size_t)n);
        if (c->web) c->framed -= (size_t)n;
    }
    if (c->tls_due && !c->tls && !c->gone && !bytes_size(&c->out)) {
        tls_begin(c);
        if (!c->gone && bytes_size(&c->out)) {
            vnc_client_flush(c);
            return;
        }
    }
    if (c->out.broken || c->closing) c->gone = true;           /* the last words fit into the socket, or nobody reads them */
    if (!c->gone) output_watch(c);
}

struct vnc_client *vnc_client_new(struct vnc_server *s, int fd, const char *peer, struct vnc_web *web, bool skip_auth)
{
    struct vnc_client *c = calloc(1, sizeof(*c));
    int on = 1;

    if (!c) return NULL;
    c->server = s;
    c->fd = fd;
    c->skip_auth = skip_auth;
    c->since_ns = clock_host_ns();
    c->compress = 1;
    c->out.keep = 2 << 20;             /* an update and its last rectangle: while pictures come, the pages stay */
    strncpy(c->peer, peer, sizeof(c->peer) - 1);
    vnc_format_default(&c->format);
    c->web = web;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (!web) vnc_handshake_begin(c);
    else c->tls_due = s->config.tls != NULL;
    vnc_client_flush(c);
    return c;
}

void vnc_client_opened(struct vnc_client *c, const uint8_t *reply, size_t reply_bytes, const uint8_t *data, size_t size)
{
    bytes_add(&c->out, reply, reply_bytes);
    c->framed = bytes_size(&c->out);
    vnc_handshake_begin(c);
    if (size) received(c, data, size);
    if (!c->gone) vnc_client_flush(c);
}

void vnc_client_free(struct vnc_client *c)
{
    vnc_input_release(c);
    loop_fd_unwatch(c->fd);
    vnc_tls_free(c->tls);
    close(c->fd);
    vnc_web_free(c->web);
    vnc_streams_free(c);
    bytes_free(&c->in);
    bytes_free(&c->out);
    bytes_free(&c->scratch);
    free(c->dirty);
    free(c);
}
