/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clients' clipboards. Those of old send and get all text at once, in Latin-1. Those that know the extension say that they have some and are asked
 * for it, and the other way round, in UTF-8, compressed. Of formats there is text only. A client that does not read is not told of more.
 * Source: the RFB protocol of the community (rfbproto), ClientCutText and the Extended Clipboard pseudo-encoding.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "display/clipboard.h"
#include "display/vnc_private.h"

enum { SERVER_CUT_TEXT = 3, FORMAT_TEXT = 1, SLOW_BYTES = 256 << 10, DEFLATE_LEVEL = 1 };
enum { ACTION_CAPS = 1 << 24, ACTION_REQUEST = 1 << 25, ACTION_PEEK = 1 << 26, ACTION_NOTIFY = 1 << 27, ACTION_PROVIDE = 1 << 28 };

static bool is_slow(const struct vnc_client *c) { return bytes_size(&c->out) > SLOW_BYTES; }

static uint32_t word(const uint8_t *data) { return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3]; }

static void header_put(struct vnc_client *c, uint32_t length)
{
    bytes_add_u32(&c->out, (uint32_t)SERVER_CUT_TEXT << 24);
    bytes_add_u32(&c->out, length);
}

/* The extension's messages have negative lengths. */
static void extended_put(struct vnc_client *c, uint32_t flags, const void *data, size_t size)
{
    header_put(c, -(uint32_t)(size + 4));
    bytes_add_u32(&c->out, flags);
    bytes_add(&c->out, data, size);
}

void vnc_clipboard_known(struct vnc_client *c)
{
    static const uint8_t unasked[4] = { 0 };           /* bytes of text that may be provided without a request */

    if (c->has_clipboard || !c->server->config.clipboard) return;
    c->has_clipboard = true;
    extended_put(c, ACTION_CAPS | ACTION_REQUEST | ACTION_PEEK | ACTION_NOTIFY | ACTION_PROVIDE | FORMAT_TEXT, unasked, sizeof(unasked));
}

/* ---- to clients ---- */

/* What Latin-1 does not have becomes a question mark. */
static void latin_put(struct vnc_client *c, const char *text, size_t size)
{
    uint8_t *to = malloc(size + 1);
    size_t n = 0;

    for (size_t i = 0; to && i < size; n++) {
        uint8_t b = (uint8_t)text[i];

        if (b < 0x80) to[n] = b;
        else to[n] = b < 0xc4 ? (uint8_t)(b << 6 | ((uint8_t)text[i + 1] & 0x3f)) : '?';
        i += b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
    }
    if (!to) return;
    header_put(c, (uint32_t)n);
    bytes_add(&c->out, to, n);
    free(to);
}

/* Its size, the text with CR-LF, a NUL. */
static void provide(struct vnc_client *c)
{
    size_t size, n = 4;
    const char *text = clipboard_text(c->server->config.clipboard, &size);
    uint8_t *plain = malloc(2 * size + 5), *packed;
    uLongf packed_bytes = compressBound(2 * size + 5);

    packed = malloc(packed_bytes);
    for (size_t i = 0; plain && i < size; i++) {
        if (text[i] == '\n') plain[n++] = '\r';
        plain[n++] = (uint8_t)text[i];
    }
    if (plain && packed) {
        plain[n++] = 0;
        for (unsigned i = 0; i < 4; i++) plain[i] = (uint8_t)((n - 4) >> (24 - 8 * i));
        if (compress2(packed, &packed_bytes, plain, n, DEFLATE_LEVEL) == Z_OK) extended_put(c, ACTION_PROVIDE | FORMAT_TEXT, packed, packed_bytes);
    }
    free(plain);
    free(packed);
}

static void notify(struct vnc_client *c)
{
    size_t size;
    const char *text = clipboard_text(c->server->config.clipboard, &size);

    if (c->has_clipboard) extended_put(c, ACTION_NOTIFY | (size ? FORMAT_TEXT : 0), NULL, 0);
    else latin_put(c, text, size);
}

void vnc_clipboard_changed(void *opaque, const void *by)
{
    struct vnc_server *s = opaque;

    for (struct vnc_client *c = s->clients; c; c = c->next) {
        if (!c->ready || c->gone || c == by || is_slow(c)) continue;
        notify(c);
        vnc_client_flush(c);
    }
}

/* ---- from clients ---- */

static void text_take(struct vnc_client *c, const char *text, size_t size) { clipboard_set(c->server->config.clipboard, c, text, size); }

static void latin_take(struct vnc_client *c, const uint8_t *data, size_t size)
{
    char *text = malloc(2 * size + 1);
    size_t n = 0;

    for (size_t i = 0; text && i < size; i++) {
        if (data[i] >= 0x80) text[n++] = (char)(0xc0 | data[i] >> 6);
        text[n++] = (char)(data[i] < 0x80 ? data[i] : 0x80 | (data[i] & 0x3f));
    }
    if (text) text_take(c, text, n);
    free(text);
}

static void provided_take(struct vnc_client *c, const uint8_t *data, size_t size)
{
    enum { ROOM = 4 + CLIPBOARD_MAX };
    uint8_t *plain = malloc(ROOM);
    z_stream z = { .next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size, .next_out = plain, .avail_out = ROOM };
    size_t n;

    if (!plain || inflateInit(&z) != Z_OK) {
        free(plain);
        return;
    }
    inflate(&z, Z_SYNC_FLUSH);
    n = ROOM - z.avail_out;
    inflateEnd(&z);
    if (n >= 4 && word(plain) <= n - 4) text_take(c, (char *)plain + 4, word(plain));
    free(plain);
}

static void extended_take(struct vnc_client *c, const uint8_t *data, size_t size)
{
    uint32_t flags = word(data);

    if (flags & ACTION_CAPS) return;                   /* text is all that could be spoken of, and every client has it */
    if (flags & ACTION_NOTIFY && flags & FORMAT_TEXT && !is_slow(c)) extended_put(c, ACTION_REQUEST | FORMAT_TEXT, NULL, 0);
    if (flags & ACTION_PEEK && !is_slow(c)) notify(c);
    if (flags & ACTION_REQUEST && flags & FORMAT_TEXT && !is_slow(c)) provide(c);
    if (flags & ACTION_PROVIDE && flags & FORMAT_TEXT) provided_take(c, data + 4, size - 4);
}

int vnc_clipboard_wants(const struct vnc_client *c, uint32_t length, size_t *size)
{
    bool is_extended = length >> 31;

    *size = is_extended ? -length : length;
    if (*size > CLIPBOARD_MAX || (is_extended && c->has_clipboard && *size < 4)) return -1;
    return *size && c->server->config.clipboard && is_extended <= c->has_clipboard;
}

void vnc_clipboard_take(struct vnc_client *c, bool is_extended, const uint8_t *data, size_t size)
{
    if (is_extended) extended_take(c, data, size);
    else latin_take(c, data, size);
}
