/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest writes chunks, of which messages are made; what is too long for us is passed over. Text goes by demand: who copied tells that there is some
 * (grab), the other asks (request) and gets it. We ask at once, so that viewers have it. The guest's end starts anew whenever its port is opened.
 * A guest that asks and does not read what it gets is not answered again before it has.
 * Source: spice-protocol's vd_agent.h.
 */
#include "chardev/vdagent.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "chardev/chardev_private.h"

enum { CLIENT_PORT = 1, PROTOCOL = 1, CHUNK_HEADER = 8, MESSAGE_HEADER = 20, CHUNK_DATA = 2048, BODY_MAX = VDAGENT_TEXT_MAX + 64, ANSWER_BYTES = 64 << 10 };
enum { TYPE_CLIPBOARD = 4, TYPE_CAPABILITIES = 6, TYPE_GRAB = 7, TYPE_REQUEST = 8, TYPE_RELEASE = 9 };
enum { CAP_BY_DEMAND = 1 << 5, CAP_SELECTION = 1 << 6, SELECTION_CLIPBOARD = 0, TEXT_NONE = 0, TEXT_UTF8 = 1 };

struct vdagent {
    struct chardev base;
    struct vdagent_user user;
    bool has_clipboard;
    /* From the guest. */
    uint8_t chunk[CHUNK_HEADER], message[MESSAGE_HEADER];
    uint32_t chunk_got, chunk_left;    /* of the header; of its data */
    uint32_t message_got, body_size, body_got;
    uint8_t *body;                     /* NULL: it is passed over */
    uint32_t capabilities;
    bool is_there, wants_text, host_has;   /* it told its capabilities; it was asked; the last that copied was the host */
    /* To the guest. */
    uint8_t *out;
    size_t out_at, out_end, out_room;
    bool delivering;
};

static struct vdagent *agent_of(struct chardev *c) { return container_of(c, struct vdagent, base); }

static uint32_t word(const uint8_t *data) { return data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24; }

static void word_set(uint8_t *to, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) to[i] = (uint8_t)(value >> 8 * i);
}

/* ---- to the guest ---- */

static void deliver(struct chardev *c)
{
    struct vdagent *a = agent_of(c);
    const struct chardev_frontend *f = &c->frontend;

    if (a->delivering || !f->receive) return;
    a->delivering = true;
    while (a->out_at < a->out_end) {
        size_t n = MIN(a->out_end - a->out_at, f->can_receive(f->opaque)), at = a->out_at;

        if (!n) break;
        a->out_at += n;
        f->receive(f->opaque, a->out + at, n);
    }
    a->delivering = false;
    if (a->out_at == a->out_end) a->out_at = a->out_end = 0;
}

static uint8_t *out_room(struct vdagent *a, size_t size)
{
    if (a->out_at) memmove(a->out, a->out + a->out_at, a->out_end - a->out_at);
    a->out_end -= a->out_at;
    a->out_at = 0;
    if (a->out_end + size > a->out_room) {
        uint8_t *more = realloc(a->out, a->out_end + size);

        if (!more) return NULL;
        a->out = more;
        a->out_room = a->out_end + size;
    }
    a->out_end += size;
    return a->out + a->out_end - size;
}

/* A message of up to two parts, cut into chunks. */
static void send(struct vdagent *a, uint32_t type, const void *head, size_t head_size, const void *data, size_t size)
{
    size_t whole = MESSAGE_HEADER + head_size + size, chunks = (whole + CHUNK_DATA - 1) / CHUNK_DATA;
    uint8_t *message, *to;

    if (a->delivering || a->out_end - a->out_at > ANSWER_BYTES || !(message = calloc(1, whole))) return;
    word_set(message, PROTOCOL);
    word_set(message + 4, type);
    word_set(message + 16, (uint32_t)(head_size + size));
    memcpy(message + MESSAGE_HEADER, head, head_size);
    if (size) memcpy(message + MESSAGE_HEADER + head_size, data, size);
    to = out_room(a, whole + chunks * CHUNK_HEADER);
    for (size_t at = 0, n; to && at < whole; at += n, to += CHUNK_HEADER + n) {
        n = MIN(whole - at, (size_t)CHUNK_DATA);
        word_set(to, CLIENT_PORT);
        word_set(to + 4, (uint32_t)n);
        memcpy(to + CHUNK_HEADER, message + at, n);
    }
    free(message);
}

/* Which of the clipboards, and one word, as most messages begin. */
static void clipboard_send(struct vdagent *a, uint32_t type, uint32_t value, const void *data, size_t size)
{
    uint8_t head[8] = { SELECTION_CLIPBOARD };
    bool selection = a->capabilities & CAP_SELECTION;

    word_set(head + 4, value);
    send(a, type, selection ? head : head + 4, selection ? 8 : 4, data, size);
}

static void capabilities_send(struct vdagent *a, bool request)
{
    uint8_t data[8];

    word_set(data, request);
    word_set(data + 4, a->has_clipboard ? CAP_BY_DEMAND | CAP_SELECTION : 0);
    send(a, TYPE_CAPABILITIES, data, sizeof(data), NULL, 0);
}

static void grab_send(struct vdagent *a)
{
    if (a->is_there && a->host_has && a->capabilities & CAP_BY_DEMAND) clipboard_send(a, TYPE_GRAB, TEXT_UTF8, NULL, 0);
}

/* ---- messages ---- */

static void on_capabilities(struct vdagent *a, const uint8_t *data, size_t size)
{
    if (size < 8) return;
    a->capabilities = word(data + 4);
    a->is_there = true;
    if (word(data)) capabilities_send(a, false);
    grab_send(a);
}

static void on_grab(struct vdagent *a, const uint8_t *data, size_t size)
{
    a->host_has = a->wants_text = false;
    for (size_t i = 0; i + 4 <= size && !a->wants_text; i += 4) a->wants_text = word(data + i) == TEXT_UTF8;
    if (a->wants_text) clipboard_send(a, TYPE_REQUEST, TEXT_UTF8, NULL, 0);
}

static void on_request(struct vdagent *a, const uint8_t *data, size_t size)
{
    size_t bytes = 0;
    const char *text = a->user.text && a->host_has ? a->user.text(a->user.opaque, &bytes) : NULL;
    bool has = size >= 4 && word(data) == TEXT_UTF8 && text;

    clipboard_send(a, TYPE_CLIPBOARD, has ? TEXT_UTF8 : TEXT_NONE, has ? text : NULL, has ? MIN(bytes, (size_t)VDAGENT_TEXT_MAX) : 0);
}

static void on_clipboard(struct vdagent *a, const uint8_t *data, size_t size)
{
    if (!a->wants_text || size < 4) return;
    a->wants_text = false;
    if (word(data) == TEXT_UTF8 && a->user.copied) a->user.copied(a->user.opaque, (const char *)data + 4, size - 4);
}

static const struct message {
    uint32_t type;
    bool selects;                      /* begins with a selection */
    void (*handle)(struct vdagent *a, const uint8_t *data, size_t size);
} messages[] = {
    { TYPE_CAPABILITIES, false, on_capabilities }, { TYPE_GRAB, true, on_grab }, { TYPE_REQUEST, true, on_request }, { TYPE_CLIPBOARD, true, on_clipboard },
};

static const struct message *message_find(const struct vdagent *a, uint32_t type)
{
    for (unsigned i = 0; i < ARRAY_SIZE(messages); i++)
        if (messages[i].type == type && (a->has_clipboard || !messages[i].selects)) return &messages[i];
    return NULL;
}

static void message_handle(struct vdagent *a)
{
    const struct message *m = message_find(a, word(a->message + 4));
    const uint8_t *data = a->body;
    size_t size = a->body_size;

    if (!m || !data) return;
    if (m->selects && a->capabilities & CAP_SELECTION) {
        if (size < 4 || data[0] != SELECTION_CLIPBOARD) return;       /* X's primary selection is the guest's own business */
        data += 4;
        size -= 4;
    }
    m->handle(a, data, size);
}

/* ---- bytes of the guest ---- */

static void message_begin(struct vdagent *a)
{
    bool is_known = word(a->message) == PROTOCOL && message_find(a, word(a->message + 4));

    a->body_size = word(a->message + 16);
    a->body_got = 0;
    a->body = is_known && a->body_size <= BODY_MAX ? malloc(a->body_size + 1) : NULL;
}

static void message_end(struct vdagent *a)
{
    message_handle(a);
    free(a->body);
    a->body = NULL;
    a->message_got = 0;
}

/* Part of a chunk's data; how much of it was used. */
static size_t message_add(struct vdagent *a, const uint8_t *data, size_t size)
{
    size_t n = MIN(size, (size_t)(MESSAGE_HEADER - a->message_got));

    if (n) {
        memcpy(a->message + a->message_got, data, n);
        a->message_got += (uint32_t)n;
        if (a->message_got < MESSAGE_HEADER) return n;
        message_begin(a);
    } else {
        n = MIN(size, (size_t)(a->body_size - a->body_got));
        if (a->body) memcpy(a->body + a->body_got, data, n);
        a->body_got += (uint32_t)n;
    }
    if (a->body_got == a->body_size) message_end(a);
    return n;
}

static size_t chunk_add(struct vdagent *a, const uint8_t *data, size_t size)
{
    size_t n;

    if (a->chunk_got < CHUNK_HEADER) {
        n = MIN(size, (size_t)(CHUNK_HEADER - a->chunk_got));
        memcpy(a->chunk + a->chunk_got, data, n);
        a->chunk_got += (uint32_t)n;
        if (a->chunk_got == CHUNK_HEADER) a->chunk_left = word(a->chunk + 4);
    } else {
        n = MIN(size, (size_t)a->chunk_left);
        if (word(a->chunk) == CLIENT_PORT) n = message_add(a, data, n);
        a->chunk_left -= (uint32_t)n;
    }
    if (a->chunk_got == CHUNK_HEADER && !a->chunk_left) a->chunk_got = 0;
    return n;
}

static size_t agent_write(struct chardev *c, const uint8_t *data, size_t size)
{
    struct vdagent *a = agent_of(c);

    for (size_t done = 0; done < size;) done += chunk_add(a, data + done, size - done);
    deliver(c);
    return size;
}

static void agent_guest_opened(struct chardev *c, bool open)
{
    struct vdagent *a = agent_of(c);

    free(a->body);
    a->body = NULL;
    a->chunk_got = a->chunk_left = a->message_got = a->capabilities = 0;
    a->out_at = a->out_end = 0;
    a->is_there = a->wants_text = false;
    if (!open) return;
    capabilities_send(a, true);
    deliver(c);
}

/* ---- life ---- */

static void agent_close(struct chardev *c)
{
    struct vdagent *a = agent_of(c);

    free(a->body);
    free(a->out);
    free(a);
}

static const struct chardev_ops agent_ops = { agent_write, deliver, agent_close, agent_guest_opened };

struct chardev *vdagent_open(const char *path, const char *options, struct error *err)
{
    static const char *const names[] = { "clipboard", "mouse", "name", NULL };
    struct vdagent *a;
    bool mouse = false, clipboard = false;

    if (chardev_options_check("qemu-vdagent", options, names, err) < 0 || chardev_option_bool(options, "clipboard", &clipboard, err) < 0 ||
        chardev_option_bool(options, "mouse", &mouse, err) < 0) return NULL;
    if (mouse) {
        error_set(err, "qemu-vdagent: mouse=on is not supported in this version; use -usbdevice tablet");
        return NULL;
    }
    a = calloc(1, sizeof(*a));
    if (!a) {
        error_set(err, "out of memory");
        return NULL;
    }
    a->base.ops = &agent_ops;
    a->has_clipboard = clipboard;
    return &a->base;
}

bool vdagent_is(const struct chardev *c) { return c->ops == &agent_ops; }

bool vdagent_has_clipboard(const struct chardev *c) { return vdagent_is(c) && ((const struct vdagent *)c)->has_clipboard; }

void vdagent_use(struct chardev *c, const struct vdagent_user *user) { agent_of(c)->user = *user; }

void vdagent_offer(struct chardev *c)
{
    struct vdagent *a = agent_of(c);

    a->host_has = true;
    a->wants_text = false;
    grab_send(a);
    deliver(c);
}
