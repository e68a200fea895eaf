/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A browser's websocket on the server's side: the answer that opens it, then frames. Bytes are a stream: where a frame ends says nothing. */
#ifndef DISPLAY_WEBSOCKET_H
#define DISPLAY_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes;
struct http_request;

/* Who does not read what waits for him gets no more pongs than that: he could have us keep one for each of his pings. */
enum { WEBSOCKET_CONTROL_MAX = 125, WEBSOCKET_HEAD_MAX = 10, WEBSOCKET_UNREAD_MAX = 64 << 10 };
struct websocket {
    uint8_t head[14], head_bytes;      /* of the frame that comes */
    uint64_t left;                     /* of its payload */
    bool in_payload;
    uint8_t mask[4], mask_at, op;
    uint8_t control[WEBSOCKET_CONTROL_MAX];
    unsigned control_bytes;
};

/* 101 with the answer added to reply, or the status that says why not; nothing is added then. */
int websocket_accept(const struct http_request *r, struct bytes *reply);
/*
 * Payload is added to to, frames that answer (pongs) to reply, before which unread bytes wait to be sent elsewhere. -1: the connection is to be closed
 * once reply is out. w begins zeroed.
 */
int websocket_receive(struct websocket *w, const uint8_t *data, size_t size, struct bytes *to, struct bytes *reply, size_t unread);
/* The head of a frame with n bytes of payload: its size. */
size_t websocket_head(uint8_t head[WEBSOCKET_HEAD_MAX], size_t n);

#endif
