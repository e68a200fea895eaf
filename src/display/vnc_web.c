/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RFB in a browser's websocket: one HTTP request, answered with an upgrade, then frames. Frames are taken apart as they
 * come, so none is ever kept; a client must mask them. Only binary data mean anything; pings are answered.
 * Source: RFC 6455.
 */
#include <nettle/base64.h>
#include <nettle/sha1.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bits.h"
#include "display/vnc_private.h"

enum { REQUEST_MAX = 8192, CONTROL_MAX = 125, OP_CONTINUE = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

struct vnc_web {
    bool is_open;
    char request[REQUEST_MAX + 1];
    size_t request_bytes;
    uint8_t head[14], head_bytes;      /* of the frame that comes */
    uint64_t left;                     /* of its payload */
    bool in_payload;
    uint8_t mask[4], mask_at, op;
    uint8_t control[CONTROL_MAX];
    unsigned control_bytes;
};

struct vnc_web *vnc_web_new(void) { return calloc(1, sizeof(struct vnc_web)); }
void vnc_web_free(struct vnc_web *w) { free(w); }
bool vnc_web_is_open(const struct vnc_web *w) { return w->is_open; }

/* ---- handshake ---- */

/* A header's value, cut out of the request; NULL: not there. */
static const char *header(const char *request, const char *name, char *to, size_t size)
{
    size_t n = strlen(name);

    for (const char *line = strstr(request, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        const char *value = line + 2;
        size_t length;

        if (strncasecmp(value, name, n) || value[n] != ':') continue;
        value += n + 1;
        value += strspn(value, " \t");
        length = strcspn(value, "\r\n");
        while (length && (value[length - 1] == ' ' || value[length - 1] == '\t')) length--;
        snprintf(to, size, "%.*s", (int)MIN(length, size - 1), value);
        return to;
    }
    return NULL;
}

static void accept_key(const char *key, char out[32])
{
    uint8_t digest[SHA1_DIGEST_SIZE];
    struct sha1_ctx sha;

    sha1_init(&sha);
    sha1_update(&sha, strlen(key), (const uint8_t *)key);
    sha1_update(&sha, 36, (const uint8_t *)"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    sha1_digest(&sha, sizeof(digest), digest);
    base64_encode_raw(out, sizeof(digest), digest);
    out[BASE64_ENCODE_RAW_LENGTH(SHA1_DIGEST_SIZE)] = 0;
}

static int refuse(struct bytes *reply, const char *status)
{
    char text[160];

    snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status);
    bytes_add(reply, text, strlen(text));
    return -1;
}

static int upgrade(struct vnc_web *w, struct bytes *reply)
{
    char key[64], value[256], accept[32], text[320];
    bool binary;

    if (strncmp(w->request, "GET ", 4)) return refuse(reply, "405 Method Not Allowed");
    if (!header(w->request, "Upgrade", value, sizeof(value)) || strcasecmp(value, "websocket"))
        return refuse(reply, "426 Upgrade Required");
    if (!header(w->request, "Sec-WebSocket-Version", value, sizeof(value)) || strcmp(value, "13")) return refuse(reply, "400 Bad Request");
    if (!header(w->request, "Sec-WebSocket-Key", key, sizeof(key)) || strlen(key) != 24) return refuse(reply, "400 Bad Request");
    binary = header(w->request, "Sec-WebSocket-Protocol", value, sizeof(value)) && strstr(value, "binary");
    accept_key(key, accept);
    snprintf(text, sizeof(text), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
             accept, binary ? "Sec-WebSocket-Protocol: binary\r\n" : "");
    bytes_add(reply, text, strlen(text));
    w->is_open = true;
    return 0;
}

/* How much of data belonged to the request; *result -1: refused. */
static size_t request_take(struct vnc_web *w, const uint8_t *data, size_t size, struct bytes *reply, int *result)
{
    size_t used = 0;

    while (used < size && w->request_bytes < REQUEST_MAX) {
        w->request[w->request_bytes++] = (char)data[used++];
        if (w->request_bytes < 4 || memcmp(w->request + w->request_bytes - 4, "\r\n\r\n", 4)) continue;
        *result = memchr(w->request, 0, w->request_bytes) ? refuse(reply, "400 Bad Request") : upgrade(w, reply);
        return used;
    }
    if (w->request_bytes == REQUEST_MAX) *result = refuse(reply, "431 Request Header Fields Too Large");
    return used;
}

/* ---- frames ---- */

size_t vnc_web_head(uint8_t head[10], size_t n)
{
    head[0] = 0x80 | OP_BINARY;
    if (n < 126) {
        head[1] = (uint8_t)n;
        return 2;
    }
    if (n < 65536) {
        head[1] = 126;
        memcpy(head + 2, &(be16){ be16_make((uint16_t)n).raw }, 2);
        return 4;
    }
    head[1] = 127;
    memcpy(head + 2, &(be64){ be64_make(n).raw }, 8);
    return 10;
}

static unsigned head_size(const struct vnc_web *w)
{
    unsigned length = w->head_bytes < 2 ? 0 : w->head[1] & 0x7f;

    return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + 4;
}

static int head_done(struct vnc_web *w)
{
    unsigned length = w->head[1] & 0x7f, at = 2;
    bool control;

    w->op = w->head[0] & 15;
    control = w->op & 8;
    if ((w->head[0] & 0x70) || !(w->head[1] & 0x80)) return -1;    /* extensions that we did not agree to; unmasked */
    if (control && (length > CONTROL_MAX || !(w->head[0] & 0x80))) return -1;
    if (w->op != OP_CONTINUE && w->op != OP_BINARY && w->op != OP_TEXT && !control) return -1;
    w->left = length;
    if (length >= 126) {
        w->left = 0;
        for (unsigned n = length == 126 ? 2 : 8; n--;) w->left = w->left << 8 | w->head[at++];
    }
    if (w->left >> 63) return -1;
    memcpy(w->mask, w->head + at, 4);
    w->mask_at = w->head_bytes = 0;
    w->control_bytes = 0;
    w->in_payload = true;
    return 0;
}

static int frame_done(struct vnc_web *w, struct bytes *reply)
{
    w->in_payload = false;
    if (w->op == OP_PING) {
        bytes_add_u8(reply, 0x80 | OP_PONG);
        bytes_add_u8(reply, w->control_bytes);
        bytes_add(reply, w->control, w->control_bytes);
    }
    if (w->op != OP_CLOSE) return 0;
    bytes_add_u16(reply, (0x80 | OP_CLOSE) << 8);
    return -1;
}

static size_t payload_take(struct vnc_web *w, const uint8_t *data, size_t size, struct bytes *to)
{
    size_t n = (size_t)MIN(w->left, (uint64_t)size);
    bool control = w->op & 8;
    uint8_t *p = control ? w->control + w->control_bytes : bytes_grow(to, n);

    for (size_t i = 0; p && i < n; i++) p[i] = data[i] ^ w->mask[w->mask_at++ & 3];
    if (control) w->control_bytes += (unsigned)n;
    w->left -= n;
    return n;
}

int vnc_web_receive(struct vnc_web *w, const uint8_t *data, size_t size, struct bytes *to, struct bytes *reply)
{
    int result = 0;

    if (!w->is_open) {
        size_t n = request_take(w, data, size, reply, &result);

        if (result < 0) return -1;
        data += n;
        size -= n;
    }
    while (size && w->is_open) {
        if (!w->in_payload) {
            w->head[w->head_bytes++] = *data++;
            size--;
            if (w->head_bytes < 2 || w->head_bytes < head_size(w)) continue;
            if (head_done(w) < 0) return -1;
        } else {
            size_t n = payload_take(w, data, size, to);

            data += n;
            size -= n;
        }
        if (!w->left && frame_done(w, reply) < 0) return -1;
    }
    return 0;
}
