/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames are taken apart as they come, so none is ever kept; a client must mask them. Text and binary data are the same to us; pings
 * are answered. No extensions.
 * Source: RFC 6455.
 */
#include "display/websocket.h"

#include <nettle/base64.h>
#include <nettle/sha1.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/bits.h"
#include "display/bytes.h"
#include "display/http.h"

enum { OP_CONTINUE = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10, KEY_CHARACTERS = 24 };

/* ---- handshake ---- */

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

int websocket_accept(const struct http_request *r, struct bytes *reply)
{
    const char *key = http_header(r, "Sec-WebSocket-Key"), *version = http_header(r, "Sec-WebSocket-Version");
    char accept[32], text[320];

    if (strcmp(r->method, "GET")) return 405;
    if (!http_header_has(r, "Upgrade", "websocket")) return 426;
    if (!version || strcmp(version, "13") || !key || strlen(key) != KEY_CHARACTERS) return 400;
    accept_key(key, accept);
    snprintf(text, sizeof(text), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
             accept, http_header_has(r, "Sec-WebSocket-Protocol", "binary") ? "Sec-WebSocket-Protocol: binary\r\n" : "");
    bytes_add(reply, text, strlen(text));
    return 101;
}

/* ---- frames ---- */

size_t websocket_head(uint8_t head[WEBSOCKET_HEAD_MAX], size_t n)
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

static unsigned head_size(const struct websocket *w)
{
    unsigned length = w->head_bytes < 2 ? 0 : w->head[1] & 0x7f;

    return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + 4;
}

static int head_done(struct websocket *w)
{
    unsigned length = w->head[1] & 0x7f, at = 2;
    bool control;

    w->op = w->head[0] & 15;
    control = w->op & 8;
    if ((w->head[0] & 0x70) || !(w->head[1] & 0x80)) return -1;    /* extensions that we did not agree to; unmasked */
    if (control && (length > WEBSOCKET_CONTROL_MAX || !(w->head[0] & 0x80))) return -1;
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

static int frame_done(struct websocket *w, struct bytes *reply, size_t unread)
{
    w->in_payload = false;
    if (w->op == OP_PING && unread + bytes_size(reply) < WEBSOCKET_UNREAD_MAX) {
        bytes_add_u8(reply, 0x80 | OP_PONG);
        bytes_add_u8(reply, w->control_bytes);
        bytes_add(reply, w->control, w->control_bytes);
    }
    if (w->op != OP_CLOSE) return 0;
    bytes_add_u16(reply, (0x80 | OP_CLOSE) << 8);
    return -1;
}

static size_t payload_take(struct websocket *w, const uint8_t *data, size_t size, struct bytes *to)
{
    size_t n = (size_t)MIN(w->left, (uint64_t)size);
    bool control = w->op & 8;
    uint8_t *p = control ? w->control + w->control_bytes : bytes_grow(to, n);

    for (size_t i = 0; p && i < n; i++) p[i] = data[i] ^ w->mask[w->mask_at++ & 3];
    if (control) w->control_bytes += (unsigned)n;
    w->left -= n;
    return n;
}

int websocket_receive(struct websocket *w, const uint8_t *data, size_t size, struct bytes *to, struct bytes *reply, size_t unread)
{
    while (size) {
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
        if (!w->left && frame_done(w, reply, unread) < 0) return -1;
    }
    return 0;
}
