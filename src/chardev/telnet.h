/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The telnet protocol on a stream of bytes. */
#ifndef CHARDEV_TELNET_H
#define CHARDEV_TELNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct telnet {
    uint8_t state, verb;
    bool was_cr, is_binary;            /* of what the peer sends */
    uint8_t refused[2][32];            /* bit each: options that were answered with no already */
};
enum { TELNET_GREETING_BYTES = 12, TELNET_ANSWER_BYTES = 3, TELNET_GROWTH = 2 };

/* For a new connection; what is to be sent first. */
void telnet_begin(struct telnet *t, uint8_t greeting[TELNET_GREETING_BYTES]);
/* One byte of the peer: 1: *out is a byte of data, 0: it was protocol. *has_break: the peer sent a BREAK. *answer_bytes: so much of answer is
 * to be sent. */
bool telnet_take(struct telnet *t, uint8_t in, uint8_t *out, bool *has_break, uint8_t answer[TELNET_ANSWER_BYTES], size_t *answer_bytes);
/* Data as the peer wants them: at most TELNET_GROWTH times as many. */
size_t telnet_encode(const uint8_t *data, size_t size, uint8_t *out);

#endif
