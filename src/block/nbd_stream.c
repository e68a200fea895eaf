/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NBD's byte stream. What is received goes through a buffer, so that a burst of requests costs one system call;
 * payloads larger than what is buffered go straight to where they belong.
 */
#include "block/nbd_stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"

void nbd_stream_init(struct nbd_stream *s, int fd)
{
    s->fd = fd;
    s->tls = NULL;
    s->begin = s->end = 0;
}

int nbd_stream_tls(struct nbd_stream *s, struct nbd_tls *t, const char *hostname, struct error *err)
{
    if (s->begin != s->end)
        return error_set(err, "tls: the peer sent %zu bytes ahead of the handshake", s->end - s->begin);
    s->tls = nbd_tls_handshake(t, s->fd, hostname, err);
    return s->tls ? 0 : -1;
}

static int tls_error(ssize_t code)
{
    return code == GNUTLS_E_PREMATURE_TERMINATION ? -ESHUTDOWN : code == GNUTLS_E_AGAIN ? -ETIMEDOUT : -EPROTO;
}

/* At least one byte: how many, 0 at the end of the stream, or -errno. */
static ssize_t recv_some(struct nbd_stream *s, void *data, size_t length)
{
    ssize_t r;
    if (s->tls) {
        do
            r = gnutls_record_recv(s->tls, data, length);
        while (r == GNUTLS_E_INTERRUPTED);
        return r < 0 ? tls_error(r) : r;
    }
    do
        r = recv(s->fd, data, length, 0);
    while (r < 0 && errno == EINTR);
    return r < 0 ? errno == EAGAIN ? -ETIMEDOUT : -errno : r;
}

int nbd_stream_recv(struct nbd_stream *s, void *data, size_t length)
{
    uint8_t *to = data;
    for (size_t done = 0; done < length;) {
        size_t have = MIN(s->end - s->begin, length - done);
        memcpy(to + done, s->buffer + s->begin, have);
        s->begin += have;
        done += have;
        if (done == length)
            break;
        bool direct = length - done >= NBD_STREAM_DIRECT;
        ssize_t r = direct ? recv_some(s, to + done, length - done) : recv_some(s, s->buffer, sizeof(s->buffer));
        if (r <= 0)
            return r < 0 ? (int)r : done ? -ECONNRESET : -ESHUTDOWN;
        if (direct) {
            done += (size_t)r;
        } else {
            s->begin = 0;
            s->end = (size_t)r;
        }
    }
    return 0;
}

int nbd_stream_skip(struct nbd_stream *s, uint64_t length)
{
    uint8_t scrap[8192];
    int r = 0;
    while (!r && length) {
        size_t take = MIN(length, (uint64_t)sizeof(scrap));
        r = nbd_stream_recv(s, scrap, take);
        length -= take;
    }
    return r == -ESHUTDOWN ? -ECONNRESET : r;
}

static int tls_send(struct nbd_stream *s, const struct iovec *iov, int iovcnt)
{
    gnutls_record_cork(s->tls);
    for (int i = 0; i < iovcnt; i++) {
        const uint8_t *from = iov[i].iov_base;
        for (size_t done = 0; done < iov[i].iov_len;) {
            ssize_t r = gnutls_record_send(s->tls, from + done, iov[i].iov_len - done);
            if (r == GNUTLS_E_INTERRUPTED)
                continue;
            if (r < 0)
                return tls_error(r);
            done += (size_t)r;
        }
    }
    int r = gnutls_record_uncork(s->tls, GNUTLS_RECORD_WAIT);
    return r < 0 ? tls_error(r) : 0;
}

int nbd_stream_sendv(struct nbd_stream *s, struct iovec *iov, int iovcnt)
{
    if (s->tls)
        return tls_send(s, iov, iovcnt);
    while (iovcnt > 0) {
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)MIN(iovcnt, 1024) };
        ssize_t r = sendmsg(s->fd, &m, MSG_NOSIGNAL);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        while (iovcnt > 0 && (size_t)r >= iov->iov_len) {
            r -= (ssize_t)iov->iov_len;
            iov++;
            iovcnt--;
        }
        if (r) {
            iov->iov_base = (uint8_t *)iov->iov_base + r;
            iov->iov_len -= (size_t)r;
        }
    }
    return 0;
}

int nbd_stream_send(struct nbd_stream *s, const void *data, size_t length)
{
    struct iovec iov = { (void *)(uintptr_t)data, length };
    return nbd_stream_sendv(s, &iov, 1);
}

void nbd_stream_close(struct nbd_stream *s)
{
    if (s->fd < 0)
        return;
    if (s->tls) {
        /* A peer that takes nothing any more must not hold us up. */
        const struct timeval moment = { .tv_usec = 100000 };
        setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &moment, sizeof(moment));
        gnutls_bye(s->tls, GNUTLS_SHUT_WR);
        gnutls_deinit(s->tls);
        s->tls = NULL;
    }
    close(s->fd);
    s->fd = -1;
}
