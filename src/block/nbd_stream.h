/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes to and from an NBD peer: a connected, blocking socket, plain or TLS. */
#ifndef BLOCK_NBD_STREAM_H
#define BLOCK_NBD_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "block/nbd_tls.h"

/* Eight requests of 4 KiB come with one call; what misses as much as DIRECT does not go through the buffer. */
enum { NBD_STREAM_BUFFER = 64 << 10, NBD_STREAM_DIRECT = 32 << 10 };

/* One thread at a time may receive and one, perhaps another, may send. */
struct nbd_stream {
    int fd;
    gnutls_session_t tls;           /* NULL: plain */
    size_t begin, end;              /* received ahead */
    uint8_t buffer[NBD_STREAM_BUFFER];
};

void nbd_stream_init(struct nbd_stream *s, int fd);
/* From now on TLS. 0, or -1 with *err; also when plain bytes were received ahead, which an attacker may have put there. */
int nbd_stream_tls(struct nbd_stream *s, struct nbd_tls *t, const char *hostname, struct error *err);
/* All of it: 0; the peer has ended the stream before the first byte: -ESHUTDOWN; -errno. */
int nbd_stream_recv(struct nbd_stream *s, void *data, size_t length);
/* Receives and drops. */
int nbd_stream_skip(struct nbd_stream *s, uint64_t length);
/* Whether so many bytes can be received without waiting. */
static inline bool nbd_stream_has(const struct nbd_stream *s, size_t length) { return s->end - s->begin >= length; }
/* Sends all of it and spoils the array. 0 or -errno. */
int nbd_stream_sendv(struct nbd_stream *s, struct iovec *iov, int iovcnt);
int nbd_stream_send(struct nbd_stream *s, const void *data, size_t length);
/* Says goodbye and closes the socket. */
void nbd_stream_close(struct nbd_stream *s);

#endif
