/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pieces of the client's negotiation, for those who ask a server for something else than an export. */
#ifndef BLOCK_NBD_HANDSHAKE_H
#define BLOCK_NBD_HANDSHAKE_H

#include "block/nbd_client.h"

enum { NBD_ANSWER_MAX = 8192, NBD_ANSWERS_MAX = 256 };

struct nbd_answer {
    uint32_t type, length;
    uint8_t data[NBD_ANSWER_MAX + 1];       /* with a zero byte behind */
};
struct nbd_greeting {
    bool fixed, no_zeroes, structured;
};

/* Greeting, TLS where tls is not NULL, structured replies. All: 0, or -1 with *err. */
int nbd_handshake_begin(struct nbd_stream *s, const struct nbd_address *a, struct nbd_tls *tls, struct nbd_answer *reply,
                        struct nbd_greeting *g, struct error *err);
int nbd_option_send(struct nbd_stream *s, enum nbd_option option, const void *data, size_t length, struct error *err);
int nbd_answer_get(struct nbd_stream *s, enum nbd_option option, struct nbd_answer *reply, struct error *err);
/* Length and text; how many bytes. */
size_t nbd_name_put(uint8_t *to, const char *name);

#endif
