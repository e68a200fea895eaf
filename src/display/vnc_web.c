/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RFB in a browser's websocket: one HTTP request (http.c), answered with an upgrade, then frames (websocket.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "display/http.h"
#include "display/vnc_private.h"
#include "display/websocket.h"

struct vnc_web {
    bool is_open;
    char request[HTTP_HEAD_MAX];
    size_t request_bytes, searched;
    struct websocket socket;
};

struct vnc_web *vnc_web_new(bool is_open)
{
    struct vnc_web *w = calloc(1, sizeof(*w));

    if (w) w->is_open = is_open;
    return w;
}

void vnc_web_free(struct vnc_web *w) { free(w); }
bool vnc_web_is_open(const struct vnc_web *w) { return w->is_open; }

static int refuse(struct bytes *reply, int status)
{
    char text[160];

    snprintf(text, sizeof(text), "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status, http_status_text(status));
    bytes_add(reply, text, strlen(text));
    return -1;
}

static int upgrade(struct vnc_web *w, struct bytes *reply)
{
    struct http_request r;
    int status = http_request_parse(&r, w->request, w->request_bytes);

    if (!status) status = websocket_accept(&r, reply);
    if (status != 101) return refuse(reply, status);
    w->is_open = true;
    return 0;
}

/* How much of data belonged to the request; *result -1: refused. */
static size_t request_take(struct vnc_web *w, const uint8_t *data, size_t size, struct bytes *reply, int *result)
{
    size_t before = w->request_bytes, n = MIN(size, sizeof(w->request) - before), head;

    memcpy(w->request + before, data, n);
    head = http_head_size((const uint8_t *)w->request, before + n, &w->searched);
    w->request_bytes = head ? head : before + n;
    if (head) *result = upgrade(w, reply);
    else if (w->request_bytes == sizeof(w->request)) *result = refuse(reply, 431);
    return w->request_bytes - before;
}

int vnc_web_receive(struct vnc_web *w, const uint8_t *data, size_t size, struct bytes *to, struct bytes *reply, size_t unread)
{
    int result = 0;

    if (!w->is_open) {
        size_t n = request_take(w, data, size, reply, &result);

        if (result < 0 || !w->is_open) return result;
        data += n;
        size -= n;
    }
    return websocket_receive(&w->socket, data, size, to, reply, unread);
}
