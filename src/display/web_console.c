/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Serial consoles in websockets. Of what a console puts out the last 256 KiB are kept, and every browser has a position in that: who opens
 * the page later sees what was there, who reads slowly loses the middle, and neither costs more memory. Keys that the console does not take
 * stay, and their socket is not read until it does.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "display/web_private.h"

enum { PIECE = 32 << 10 };

void web_console_output(struct web_server *s, unsigned console, const uint8_t *data, size_t size)
{
    struct web_console *k = &s->console[console];

    if (!k->ring && !(k->ring = malloc(WEB_HISTORY))) return;
    for (size_t n; size; data += n, size -= n, k->end += n) {
        size_t at = k->end % WEB_HISTORY;

        n = MIN(size, WEB_HISTORY - at);
        memcpy(k->ring + at, data, n);
    }
    for (struct web_connection *c = s->connections; c; c = c->next) {
        if (c->gone || !c->is_console || c->console != console) continue;
        web_output_watch(c);
    }
}

void web_console_send(struct web_connection *c)
{
    const struct web_console *k = &c->server->console[c->console];
    uint8_t head[WEBSOCKET_HEAD_MAX];
    size_t n, at;

    if (k->end - c->position > WEB_HISTORY) c->position = k->end - WEB_HISTORY;
    at = c->position % WEB_HISTORY;
    n = (size_t)MIN(MIN(k->end - c->position, (uint64_t)PIECE), (uint64_t)(WEB_HISTORY - at));
    if (!n) return;
    bytes_add(&c->out, head, websocket_head(head, n));
    bytes_add(&c->out, k->ring + at, n);
    c->position += n;
}

static void keys_deliver(struct web_connection *c)
{
    const struct web_host *h = &c->server->host;

    if (bytes_size(&c->in)) bytes_drop(&c->in, h->console_input(h->opaque, c->console, c->in.data + c->in.at, bytes_size(&c->in)));
}

void web_console_open(struct web_connection *c, unsigned console)
{
    c->is_console = true;
    c->console = console;
    web_console_send(c);
}

void web_console_receive(struct web_connection *c, const uint8_t *data, size_t size)
{
    if (websocket_receive(&c->socket, data, size, &c->in, &c->out, 0) < 0) c->closing = true;
    keys_deliver(c);
}

void web_console_ready(struct web_server *s, unsigned console)
{
    for (struct web_connection *c = s->connections; c; c = c->next) {
        if (c->gone || !c->is_console || c->console != console || !bytes_size(&c->in)) continue;
        keys_deliver(c);
        web_output_watch(c);
    }
}

void web_consoles_free(struct web_server *s)
{
    for (unsigned i = 0; i < WEB_CONSOLES_MAX; i++) free(s->console[i].ring);
}
